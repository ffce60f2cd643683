"""What routes change on the way, through a real gateway: fields, query, CORS, redirects, answers of its own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Gateway, Message, RawUpstream, Wire, eventually

from apps.gateway.config import load_settings

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Powered-By: old\r\nX-Frame-Options: SAMEORIGIN\r\nX-Old: 1\r\nX-Old: 2\r\n"
    b"Access-Control-Allow-Origin: *\r\nVary: Accept\r\n\r\nok"
)

SETTINGS = """\
access_log: "-"
security_headers: {{hsts: 1h, content_security_policy: "default-src 'self'"}}
auth:
  providers:
    keys:
      api_keys:
        header: X-API-Key
        keys: [{{sha256: {digest}, subject: "alice smith", scopes: [read]}}]
      headers: {{X-Scope: scope}}
upstreams: {{u: {{targets: ["{address}"]}}}}
routes:
  - path: /fields
    upstream: u
    request_headers:
      set: {{X-Client: "{{client.ip}}", X-Id: "{{request.id}}", X-Both: "{{header.x-one}}-{{query.two}}",
             X-None: "{{header.x-nowhere}}", X-Text: "{{{{braces}}}}", X-Cookie: "{{cookie.c}}"}}
      add: {{X-More: mine}}
      default: {{X-Default: mine, X-Absent: "{{request.method}} {{request.scheme}} {{request.host}} {{request.path}}"}}
      remove: [X-Secret, User-Agent]
      rename: {{X-Before: X-After}}
    response_headers:
      set: {{X-Status: "{{status}} from {{target}}", X-Echo: "{{header.x-echo}}"}}
      remove: X-Powered-By
      rename: {{X-Old: X-New}}
  - template: "/users/{{id}}/{{rest*}}"
    upstream: u
    request_headers: {{set: {{X-User-Id: "{{param.id}}", X-Rest: "{{param.rest}}"}}}}
    request_query:
      set: {{id: "{{param.id}}", a: "x&y"}}
      add: {{tag: new}}
      default: {{page: "1"}}
      remove: [drop]
      rename: {{q: query}}
    security_headers: false
  - {{path: /encoded, upstream: u, request_query: {{set: {{raw: "{{header.x-raw}}"}}}}}}
  - {{path: /long, redirect: "/{{header.x-long}}"}}
  - {{path: /longer, redirect: "/{{header.x-long}}{{header.x-long}}{{header.x-long}}"}}
  - path: /private
    upstream: u
    auth: keys
    request_headers: {{set: {{X-Who: "{{user}}", X-May: "{{claim.X-Scope}}"}}}}
    cors: {{origins: ["https://app.test"], credentials: true, expose: [X-Total]}}
  - {{path: /get, methods: [GET], upstream: u, cors: {{origins: ["https://*.pages.test", "http://localhost:3000"],
      methods: [GET], headers: [X-A, X-B], max_age: 5m}}}}
  - {{path: /open, upstream: u, cors: {{origins: "*"}}}}
  - {{path: /away, redirect: "https://{{request.host}}{{request.path}}"}}
  - {{template: "/old/{{name}}", redirect: {{to: "/new/{{param.name}}?from=old", status: 308}}}}
  - {{exact: /gone, respond: {{status: 410, body: "gone for good\\n"}}}}
  - {{exact: /json, respond: {{json: {{"ok": true}}}}, response_headers: {{set: {{Cache-Control: no-store}}}}}}
  - {{exact: /file, respond: {{file: "{file}"}}}}
  - {{exact: /nothing, respond: {{status: 204}}}}
  - {{path: /, upstream: u}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    def serve(wire: Wire) -> None:
        while True:
            wire.read_request()
            wire.send(ANSWER)

    made = RawUpstream().serve(serve)
    yield made
    made.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages") / "page.html"
    made.write_bytes(b"<p>" + b"x" * 200_000)
    return made


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], upstream: RawUpstream, file: Path) -> Gateway:
    import hashlib

    digest = hashlib.sha256(b"the-key").hexdigest()
    return one_gateway(SETTINGS.format(address=upstream.address, file=file, digest=digest))


@pytest.fixture
def ask(gateway: Gateway, upstream: RawUpstream) -> Callable[..., tuple[Message, Message | None]]:
    """The answer, and what the upstream got."""

    def asked(target: str, method: str = "GET", **fields: str) -> tuple[Message, Message | None]:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        before = len(upstream.received)
        with gateway.connect() as wire:
            wire.send(f"{method} {target} HTTP/1.1\r\nHost: api.test:80\r\n{lines}\r\n".encode())
            answer = wire.read_response(method)
        got = upstream.received[before:].decode("latin-1")
        if not got:
            return answer, None
        head = got.split("\r\n")
        return answer, Message(head[0], type(answer.fields)([tuple(line.split(": ", 1)) for line in head[1:] if line]))  # type: ignore[misc]

    return asked


Ask = Callable[..., tuple[Message, Message | None]]


def test_request_fields(ask: Ask) -> None:
    answer, got = ask(
        "/fields?two=2%0d%0aX-Evil:1",
        X_Client="forged",
        X_One="1",
        X_More="theirs",
        X_Default="theirs",
        X_Secret="s",
        User_Agent="curl",
        X_Before="b",
        Cookie="a=0; c=crumb",
    )
    assert answer.status == 200
    assert got is not None
    assert got["X-Client"] == "127.0.0.1"
    assert got["X-Id"] == got["X-Request-Id"]
    assert got["X-Both"] == "1-2%0d%0aX-Evil:1"  # an escape stays one
    assert got["X-Text"] == "{braces}"
    assert got["X-Cookie"] == "crumb"
    assert got.fields.all("X-More") == ["theirs", "mine"]
    assert got["X-Default"] == "theirs"
    assert got["X-Absent"] == "GET http api.test:80 /fields"
    assert got["X-After"] == "b"
    for name in ("X-None", "X-Secret", "User-Agent", "X-Before", "X-Evil"):
        assert got.fields.all(name) == [], name


def test_answer_fields(ask: Ask, upstream: RawUpstream) -> None:
    answer, _ = ask("/fields", X_Echo="back")
    assert answer["X-Status"] == f"200 from {upstream.address}"
    assert answer["X-Echo"] == "back"
    assert answer.fields.all("X-New") == ["1", "2"]
    assert answer.fields.all("X-Powered-By") == answer.fields.all("X-Old") == []


def test_security_fields(ask: Ask) -> None:
    answer, _ = ask("/")
    assert answer["X-Frame-Options"] == "SAMEORIGIN"  # the application's own word stands
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'self'"
    assert answer["Strict-Transport-Security"] is None  # not in the clear (RFC 6797, 7.2)
    answer, _ = ask("/users/1/x")
    assert answer["X-Content-Type-Options"] is None
    answer, _ = ask("/private")
    assert answer.status == 401
    assert answer["X-Content-Type-Options"] == "nosniff"  # answers of ours as well


def test_path_parameters_and_the_query(ask: Ask) -> None:
    _, got = ask("/users/a%20b/c/d?q=1&drop=2&id=9&tag=old&drop&x=%zz")
    assert got is not None
    assert got["X-User-Id"] == "a%20b"
    assert got["X-Rest"] == "c/d"
    assert got.target == "/users/a%20b/c/d?query=1&tag=old&x=%zz&id=a%20b&a=x&y&tag=new&page=1"
    _, got = ask("/users/7/x?ID=9&Drop=1&page=3")
    assert got is not None
    assert got.target == "/users/7/x?ID=9&Drop=1&page=3&id=7&a=x&y&tag=new", "names of parameters have a letter case"
    _, got = ask("/users/7/x?page=3")
    assert got is not None
    assert got.target == "/users/7/x?page=3&id=7&a=x&y&tag=new"


def test_what_is_no_part_of_a_url_is_encoded_wholly(ask: Ask) -> None:
    _, got = ask("/encoded", X_Raw="50%26a=1&b c")
    assert got is not None
    assert got.target == "/encoded?raw=50%2526a%3D1%26b%20c"


def test_values_that_are_too_long_make_no_half_lines(ask: Ask, gateway: Gateway) -> None:
    long = "x" * 30_000
    answer, _ = ask("/long", X_Long=long)
    assert answer["Location"] == f"/{long}"
    answer, _ = ask("/longer", X_Long=long)
    assert answer.status == 431
    assert answer.problem["status"] == 431


def test_who_asks(ask: Ask) -> None:
    answer, got = ask("/private", X_API_Key="the-key")
    assert answer.status == 200
    assert got is not None
    assert got["X-Who"] == "alice smith"
    assert got["X-May"] == "read"
    assert got["X-API-Key"] is None


# --- CORS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "origin", "allowed"),
    [
        ("/get", "https://a.pages.test", "https://a.pages.test"),
        ("/get", "https://a.b.pages.test", "https://a.b.pages.test"),
        ("/get", "http://localhost:3000", "http://localhost:3000"),
        ("/get", "https://pages.test", None),
        ("/get", "https://.pages.test", None),
        ("/get", "https://evil.test/.pages.test", None),
        ("/get", "https://evil.test:1@a.pages.test", None),
        ("/get", "https://a.pages.test:8443", None),
        ("/get", "http://a.pages.test", None),
        ("/get", "null", None),
        ("/open", "https://anybody.test", "*"),
        ("/open", "null", "*"),
    ],
)
def test_origins(ask: Ask, path: str, origin: str, allowed: str | None) -> None:
    answer, got = ask(path, Origin=origin)
    assert answer.status == 200
    assert got is not None
    assert answer.fields.all("Access-Control-Allow-Origin") == ([allowed] if allowed else [])
    assert answer.fields.all("Vary") == (["Accept"] if path == "/open" else ["Accept", "Origin"])
    before, got = ask(path, method="OPTIONS", Origin=origin, Access_Control_Request_Method="GET")
    assert before.status == 204
    assert got is None
    assert before["Access-Control-Allow-Origin"] == allowed
    assert bool(before["Access-Control-Allow-Methods"]) == bool(allowed)


def test_preflights(ask: Ask) -> None:
    answer, _ = ask(
        "/get",
        method="OPTIONS",
        Origin="https://a.pages.test",
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="x-c",
    )
    assert answer["Access-Control-Allow-Methods"] == "GET"
    assert answer["Access-Control-Allow-Headers"] == "X-A, X-B"
    assert answer["Access-Control-Max-Age"] == "300"
    answer, _ = ask(
        "/private",
        method="OPTIONS",
        Origin="https://app.test",
        Access_Control_Request_Method="DELETE",
        Access_Control_Request_Headers="authorization,x-c",
    )
    assert answer.status == 204, "before authentication: a browser sends no credentials with it"
    assert answer["Access-Control-Allow-Methods"] == "DELETE"
    assert answer["Access-Control-Allow-Headers"] == "authorization,x-c"
    assert answer["Access-Control-Allow-Credentials"] == "true"
    answer, got = ask("/get", method="OPTIONS", Origin="https://a.pages.test", Access_Control_Request_Method="DELETE")
    assert answer.status == 200, "no route takes DELETE there, so it is the last route's, which leaves CORS alone"
    assert got is not None
    answer, got = ask("/get", method="OPTIONS", Origin="https://a.pages.test")
    assert got is not None, "an OPTIONS that asks for nothing is like any request"


def test_refusals_can_be_read_across_origins(ask: Ask) -> None:
    answer, _ = ask("/private", Origin="https://app.test")
    assert answer.status == 401
    assert answer["Access-Control-Allow-Origin"] == "https://app.test"
    assert answer["Access-Control-Expose-Headers"] == "X-Total"
    answer, _ = ask("/", Origin="https://app.test")
    assert answer["Access-Control-Allow-Origin"] == "*", "other routes keep what their targets say"


# --- answers without an upstream --------------------------------------------------------------------------------------


def test_redirects(ask: Ask) -> None:
    answer, got = ask("/away/x?a=1&b=2")
    assert got is None
    assert (answer.status, answer["Location"]) == (302, "https://api.test:80/away/x?a=1&b=2")
    answer, _ = ask("/old/n%20m?c=3", method="POST")
    assert (answer.status, answer["Location"]) == (308, "/new/n%20m?from=old")


def test_answers_of_the_settings(ask: Ask, file: Path) -> None:
    answer, got = ask("/gone")
    assert got is None
    assert (answer.status, answer.body) == (410, b"gone for good\n")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    answer, _ = ask("/json")
    assert json.loads(answer.body) == {"ok": True}
    assert answer["Cache-Control"] == "no-store"
    answer, _ = ask("/file")
    assert answer.body == file.read_bytes()
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    answer, _ = ask("/file", method="HEAD")
    assert answer["Content-Length"] == str(len(file.read_bytes()))
    answer, _ = ask("/nothing")
    assert (answer.status, answer.body, answer["Content-Length"]) == (204, b"", None)


def test_many_answers_on_one_connection(gateway: Gateway) -> None:
    with gateway.connect() as wire:
        for _ in range(50):
            wire.send(b"GET /json HTTP/1.1\r\nHost: a\r\n\r\nGET /file HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().status == 200
            assert len(wire.read_response().body) == 200_003
    assert eventually(lambda: gateway.figures()["active_requests"] == 0)


def test_their_lines_in_the_log(gateway: Gateway, ask: Ask) -> None:
    ask("/gone")
    line = gateway.access_of("/gone")
    assert line["status"] == 410
    assert not line.get("error")


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("path: /", "a route needs one of upstream, split, redirect, respond"),
        ("path: /, upstream: u, respond: x", "upstream already answers"),
        ("path: /, upstream: u, request_headers: {set: {Host: x}}", "Host: the gateway itself writes this field"),
        ("path: /, upstream: u, request_headers: {set: {X-Forwarded-For: x}}", "itself writes"),
        ("path: /, upstream: u, response_headers: {remove: content-length}", "itself writes"),
        (
            'path: /, upstream: u, request_headers: {set: {A: "{nonsense}"}}',
            "{nonsense} is nothing that can be inserted",
        ),
        ('path: /, upstream: u, request_headers: {set: {A: "{user"}}', "a brace has no partner"),
        ('path: /, upstream: u, request_headers: {set: {A: "a\\r\\nB: c"}}', "control characters"),
        ('path: /, upstream: u, request_headers: {set: {A: "{user}"}}', "asks nobody who he is"),
        ('path: /, upstream: u, request_headers: {set: {A: "{param.x}"}}', "no parameter of this route"),
        ('path: /, upstream: u, request_headers: {set: {A: "{status}"}}', "known in answers only"),
        ('template: "/{x}", upstream: u, response_headers: {set: {A: "{param.x}"}}', "in requests and redirects only"),
        ("path: /, upstream: u, request_headers: {set: {A: x}, remove: [a]}", "stands under remove, too"),
        ('path: /, upstream: u, cors: {origins: "*", credentials: true}', "name the origins"),
        ("path: /, upstream: u, cors: {origins: [example.com]}", "is no origin"),
        ("path: /, respond: {body: x, json: 1}", "exclude each other"),
        ("path: /, respond: {file: /nowhere}", "/nowhere: No such file"),
        ("path: /, redirect: /x, rewrite: {host: b}", "rewrite has no effect without an upstream"),
    ],
)
def test_settings_that_are_refused(route: str, said: str) -> None:
    loaded = load_settings(text=f"upstreams: {{u: {{targets: ['a:1']}}}}\nroutes:\n  - {{{route}}}\n")
    assert [said in str(problem) for problem in loaded.problems] == [True], loaded.problems
    assert str(loaded.problems[0]).startswith("<text>:3:"), "with its line"


def test_the_control_plane_shows_them(gateway: Gateway) -> None:
    routes: list[dict[str, Any]] = gateway.get("/routes")[1]
    assert next(route for route in routes if route.get("exact") == "/gone")["respond"]["status"] == 410
