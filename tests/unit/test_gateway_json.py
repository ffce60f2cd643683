"""Changes to JSON values by their places."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.gateway.config import load_settings
from apps.gateway.config_json import JsonChanges
from apps.gateway.json_changes import JsonEditor
from fastcore.hooks import Answer, Request, Response


def edited(value: Any, **changes: Any) -> Any:
    return JsonEditor(JsonChanges.model_validate(changes)).edited(value)


USER = {"id": 7, "name": "Ann", "mail": "a@x", "tags": ["a", "b"], "home": {"city": "Rome", "zip": "1"}}


def user() -> Any:
    return json.loads(json.dumps(USER))


def test_project() -> None:
    assert edited(user(), project=["/id", "/home/city", "/missing", "/name/deeper"]) == {
        "id": 7,
        "home": {"city": "Rome"},
        "name": "Ann",
    }
    assert edited([user(), user()], project=["/id"]) == [{"id": 7}, {"id": 7}]
    assert edited({"items": [{"a": 1, "b": 2}, {"a": 3}]}, project=["/items/a"]) == {"items": [{"a": 1}, {"a": 3}]}
    assert edited(user(), project=["/home", "/home/city"])["home"] == USER["home"]
    assert edited(user(), project=["/home/city", "/home"])["home"] == USER["home"]


def test_remove() -> None:
    assert edited(user(), remove=["/mail", "/home/zip", "/tags/0", "/no/where", "/tags/9", "/name/x"]) == {
        "id": 7,
        "name": "Ann",
        "tags": ["b"],
        "home": {"city": "Rome"},
    }


def test_rename() -> None:
    got = edited(user(), rename={"/mail": "email", "/home/zip": "code", "/missing": "x", "/tags/0": "x"})
    assert (got["email"], got["home"]["code"], got["tags"]) == ("a@x", "1", ["a", "b"])
    assert "mail" not in got and "x" not in got
    assert edited({"a": 1, "b": 2}, rename={"/a": "b"}) == {"b": 1}


def test_set() -> None:
    got = edited(user(), set={"/id": 8, "/new/deep": [1], "/tags/-": "c", "/tags/0": None, "/a~1b/~0": True})
    assert (got["id"], got["new"], got["tags"], got["a/b"]) == (8, {"deep": [1]}, [None, "b", "c"], {"~": True})
    with pytest.raises(ValueError, match="nothing can be set there"):
        edited(user(), set={"/tags/7": 1})
    with pytest.raises(ValueError, match="cannot be made"):
        edited(user(), set={"/name/first/x": 1})


def test_one_after_the_other() -> None:
    got = edited(user(), project=["/id", "/mail"], remove=["/id"], rename={"/mail": "id"}, set={"/x": 1})
    assert got == {"id": "a@x", "x": 1}


def test_what_is_set_is_nobody_elses() -> None:
    editor = JsonEditor(JsonChanges.model_validate({"set": {"/list": []}}))
    editor.edited({})["list"].append(1)
    assert editor.edited({}) == {"list": []}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet="ab01", max_size=2), inner, max_size=4)
    ),
    max_leaves=20,
)
PLACES = st.lists(st.sampled_from(["a", "b", "ab", "0", "1"]), min_size=1, max_size=3)


def found(value: Any, parts: list[str]) -> list[Any]:
    """What is there, or nothing."""
    for part in parts:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return []
    return [value]


@given(JSON, PLACES)
def test_removing_takes_away_one_thing(value: Any, parts: list[str]) -> None:
    before = json.loads(json.dumps(value))
    after = edited(value, remove=["/" + "/".join(parts)])
    if not found(before, parts):
        assert after == before
        return
    (parent,), (shorter,) = found(before, parts[:-1]), found(after, parts[:-1])
    assert len(shorter) == len(parent) - 1
    if isinstance(parent, list):
        del parent[int(parts[-1])]
    else:
        del parent[parts[-1]]
    assert after == before


@given(JSON, PLACES)
def test_setting_puts_it_there(value: Any, parts: list[str]) -> None:
    try:
        assert found(edited(value, set={"/" + "/".join(parts): "new"}), parts) == ["new"]
    except ValueError:
        assert not found(value, parts)


@given(JSON, PLACES)
def test_projecting_one_place(value: Any, parts: list[str]) -> None:
    there = found(value, parts)
    on_the_way = [found(value, parts[:n]) for n in range(len(parts))]
    if there and all(isinstance(step[0], dict) for step in on_the_way):
        assert found(edited(value, project=["/" + "/".join(parts)]), parts) == there


def packed_request(body: bytes, coding: str) -> Request:
    return Request(
        f"POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode(),
        body,
    )


@pytest.mark.parametrize("coding", ["gzip", "X-GZIP"])
@pytest.mark.parametrize("at", [0, 4, 10])
def test_gzip_is_unpacked(coding: str, at: int) -> None:
    editor = JsonEditor(JsonChanges.model_validate({"remove": "/a"}))
    text = b'{"a":1,"b":2}'
    request = packed_request(gzip.compress(text[:at]) + gzip.compress(text[at:]), coding)
    assert editor.request(request) is None
    assert (request.body, "content-encoding" in request.headers) == (b'{"b":2}', False)
    answer = Response(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n", gzip.compress(text)
    )
    editor.response(answer)
    assert (answer.body, "content-encoding" in answer.headers) == (b'{"b":2}', False)


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b"{}")[:-1], "gzip", 400),
        (gzip.compress(b"{}") + b"x", "gzip", 400),
        (b"{}", "gzip", 400),
        (b"{}", "br", 415),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", 415),
        (gzip.compress(b"[%b]" % (b"1," * 500 + b"1")), "gzip", 413),
        (gzip.compress(b" " * 50_000_000), "gzip", 413),
        (gzip.compress(b" " * 60 + b"{}") + gzip.compress(b" " * 60), "gzip", 413),
        (gzip.compress(b" " * 98 + b"{}"), "gzip", 0),
    ],
    ids=["torn", "more behind it", "plain", "br", "twice", "large", "bomb", "large in two", "just fits"],
)
def test_what_is_not_unpacked(body: bytes, coding: str, status: int) -> None:
    editor = JsonEditor(JsonChanges.model_validate({"set": {"/b": 1}, "max_bytes": 100}))
    said = editor.request(packed_request(body, coding))
    assert (said.status if said else 0) == status
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\n\r\n".encode()
    if status:
        with pytest.raises(ValueError, match=r"gzip|Content-Encoding|unfolds"):
            editor.response(Response(head, body))


HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/%s\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize(("kind", "is_json"), [(b"json", True), (b"problem+JSON; x=1", True), (b"xml", False)])
def test_only_what_says_that_it_is_json(kind: bytes, is_json: bool) -> None:
    editor = JsonEditor(JsonChanges.model_validate({"set": {"/b": "ü"}}))
    request = Request(HEAD % kind, b'{"a": 10}')
    assert editor.request(request) is None
    assert request.body == ('{"a":10,"b":"ü"}'.encode() if is_json else b'{"a": 10}')
    broken = editor.request(Request(HEAD % kind, b'{"a": 10'))
    assert isinstance(broken, Answer) is is_json
    answer = Response(b"HTTP/1.1 200 OK\r\nContent-Type: application/%s\r\n\r\n" % kind, b"{")
    if is_json:
        with pytest.raises(ValueError, match="Expecting"):
            editor.response(answer)
    else:
        editor.response(answer)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("request_json: {}", "changes nothing"),
        ("request_json: {remove: a}", "is no JSON Pointer"),
        ("request_json: {remove: /a~2}", "stands for itself as ~0"),
        ("response_json: {remove: /a}, cache: {default_ttl: 1m}", "cannot have both"),
    ],
)
def test_settings_that_are_refused(route: str, said: str) -> None:
    text = (
        "cache: {memory: 16MB}\nupstreams: {u: {targets: ['127.0.0.1:1']}}\n"
        f"routes: [{{path: /, upstream: u, {route}}}]\n"
    )
    problems = [str(problem) for problem in load_settings("x.yaml", text=text, environ={}).problems]
    assert len(problems) == 1 and said in problems[0], problems
