"""The response cache of a real gateway: hits, variants, validation, stale answers, collapsing, purging, bounds."""

import contextlib
import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers import SECONDS, Gateway, Message, RawUpstream, Wire, eventually

SETTINGS = """\
access_log: "-"
cache: {{memory: 8MB}}
upstreams: {{u: {{targets: ["{address}"], retries: {{attempts: 0}}}}}}
routes:
  - {{path: /small, upstream: u, cache: {{max_body: 100KB}}}}
  - {{path: /lazy, upstream: u, cache: {{collapse: false, stale_if_error: 1h, default_ttl: 1m}}}}
  - {{path: /edited, upstream: u, cache: true, response_headers: {{set: {{X-Id: "{{request.id}}"}}}},
      cors: {{origins: ["https://a.test", "https://b.test"]}}}}
  - {{path: /plain, upstream: u}}
  - {{path: /, upstream: u, cache: {{max_body: 500KB, wait: 3s}}}}
"""


class Origin:
    """Answers by path with what a test puts there; counts what came."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Message], bytes]] = {}
        self.requests: list[Message] = []
        self.upstream = RawUpstream().serve(self._serve)

    def _serve(self, wire: Wire) -> None:
        while True:
            request = wire.read_request()
            self.requests.append(request)
            answer = self.answers[request.target.partition("?")[0]](request)
            wire.send(answer)
            if b"Connection: close" in answer or not answer:
                wire.close()
                return

    def at(self, path: str, *lines: str, body: bytes = b"body", status: int = 200) -> None:
        head = "".join(f"{line}\r\n" for line in lines)
        made = f"HTTP/1.1 {status} OK\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self.answers[path] = lambda request: made

    def asked(self, path: str) -> int:
        return sum(request.target.partition("?")[0] == path for request in self.requests)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.upstream.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], origin: Origin) -> Gateway:
    return one_gateway(SETTINGS.format(address=origin.upstream.address), workers=2)


def ask(gateway: Gateway, target: str, method: str = "GET", host: str = "a.test", **fields: str) -> Message:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    with gateway.connect() as wire:
        wire.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode())
        return wire.read_response(method)


def post(gateway: Gateway, path: str, **document: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.control, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, body=json.dumps(document), headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def hold_the_first(origin: Origin, path: str) -> tuple[threading.Event, threading.Event]:
    """Events: the first request has come, and it may be answered."""
    began, go_on = threading.Event(), threading.Event()

    def answer(request: Message) -> bytes:
        if not began.is_set():
            began.set()
            go_on.wait(SECONDS)
        return b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\nContent-Length: 2\r\n\r\nok"

    origin.answers[path] = answer
    return began, go_on


def test_a_hit_in_every_worker(gateway: Gateway, origin: Origin) -> None:
    origin.at("/hit", "Cache-Control: max-age=100", "X-Kept: yes", "Connection: X-Hop", "X-Hop: 1", "Age: 7")
    first = ask(gateway, "/hit")
    assert first["Cache-Status"] == "fastcore; fwd=uri-miss; stored"
    for _ in range(20):
        again = ask(gateway, "/hit")
        assert again.body == b"body"
        assert re.fullmatch(r"fastcore; hit; ttl=\d+", again["Cache-Status"] or "")
        assert 7 <= int(again["Age"] or "") <= 60
        assert again["X-Kept"] == "yes"
        assert again["X-Hop"] is None
        assert again["Via"] == "1.1 fastcore"
        assert again.fields.all("Date") == first.fields.all("Date")
    assert origin.asked("/hit") == 1
    assert gateway.access_of("/hit")["cache"] == "miss"
    assert gateway.access_of("/hit")["cache"] == "hit"
    figures = gateway.figures()
    assert figures["cache_hits_total"] >= 20
    assert figures["cache_stored_total"] >= 1


def test_what_the_key_is(gateway: Gateway, origin: Origin) -> None:
    """Scheme, authority, path and query: an answer for one host is never given to another (CVE-2026-2836)."""
    origin.answers["/key"] = lambda request: (
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\nContent-Length: %d\r\n\r\n%s"
        % (len(request["Host"] or ""), (request["Host"] or "").encode())
    )
    assert ask(gateway, "/key", host="a.test").body == b"a.test"
    assert ask(gateway, "/key", host="b.test").body == b"b.test"
    assert ask(gateway, "/key", host="a.test:81").body == b"a.test:81"
    assert ask(gateway, "/key", host="A.test").body == b"a.test", "hosts have no letter case"
    assert ask(gateway, "/key?x", host="a.test").body == b"a.test"
    assert origin.asked("/key") == 4
    ask(gateway, "/key", host="c.test", X_Forwarded_Host="a.test", X_Forwarded_Scheme="https")
    assert ask(gateway, "/key", host="c.test").body == b"c.test"


def test_bodies_of_all_sizes(gateway: Gateway, origin: Origin) -> None:
    for size in (0, 1, 2047, 2048, 2049, 60_000, 65_536, 200_000, 499_000):
        body = bytes(i % 251 for i in range(size))
        origin.at(f"/size/{size}", "Cache-Control: max-age=100", body=body)
        for _ in range(3):
            assert ask(gateway, f"/size/{size}").body == body
        assert origin.asked(f"/size/{size}") == 1, size
        part = ask(gateway, f"/size/{size}", Range="bytes=10-99999")
        if size > 10:
            assert part.status == 206
            assert part.body == body[10:100_000]
            assert part["Content-Range"] == f"bytes 10-{min(size, 100_000) - 1}/{size}"
        else:
            assert part.status == 416
    origin.at("/size/large", "Cache-Control: max-age=100", body=b"x" * 600_000)
    assert len(ask(gateway, "/size/large").body) == 600_000
    assert ask(gateway, "/size/large")["Cache-Status"] == "fastcore; fwd=uri-miss; detail=too-large"


def test_chunked_and_unbounded_answers_are_stored_whole_or_not(gateway: Gateway, origin: Origin) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (n, b"c" * n) for n in (1, 5000, 70_000, 3))
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\n"
    origin.answers["/chunked"] = lambda request: head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    origin.answers["/closed"] = lambda request: head + b"Connection: close\r\n\r\n" + b"z" * 30_000
    for path, size in (("/chunked", 75_004), ("/closed", 30_000)):
        assert len(ask(gateway, path).body) == size
        again = ask(gateway, path)
        assert (len(again.body), again["Content-Length"]) == (size, str(size))
        assert origin.asked(path) == 1
    origin.answers["/cut"] = lambda request: head + b"Content-Length: 100\r\nConnection: close\r\n\r\n" + b"half"
    for count in (1, 2):
        with gateway.connect() as wire:
            wire.send(b"GET /cut HTTP/1.1\r\nHost: a.test\r\n\r\n")
            with pytest.raises((AssertionError, ConnectionResetError)):
                wire.read_response()
        assert origin.asked("/cut") == count
    origin.answers["/grows"] = lambda request: (
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n%s\r\n" % (b"g" * 0xFFFF) * 9 + b"0\r\n\r\n"
    )
    for _ in range(2):
        assert len(ask(gateway, "/grows").body) == 9 * 0xFFFF
    assert origin.asked("/grows") == 2, "over max_body, which only its end shows"


def test_slow_clients_get_large_hits(gateway: Gateway, origin: Origin) -> None:
    body = bytes(i % 253 for i in range(490_000))
    origin.at("/slow", "Cache-Control: max-age=100", body=body)
    origin.at("/hit2", "Cache-Control: max-age=100")
    ask(gateway, "/slow")
    with gateway.connect(receive_buffer=4096) as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\nGET /hit2 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert wire.read_response().body == body
        assert wire.read_response().body == b"body"
    assert origin.asked("/slow") == 1


# --- variants ---------------------------------------------------------------------------------------------------------


def test_variants(gateway: Gateway, origin: Origin) -> None:
    def answer(request: Message) -> bytes:
        word = f"{request['Accept-Language']}/{request['X-Two']}".encode()
        return (
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\nVary: Accept-Language, x-two\r\nContent-Length: %d\r\n\r\n%s"
            % (
                len(word),
                word,
            )
        )

    origin.answers["/vary"] = answer
    for _ in range(3):
        assert ask(gateway, "/vary", Accept_Language="de").body == b"de/None"
        assert ask(gateway, "/vary", Accept_Language="en").body == b"en/None"
        assert ask(gateway, "/vary", Accept_Language="de", X_Two="2").body == b"de/2"
        assert ask(gateway, "/vary").body == b"None/None"
    assert origin.asked("/vary") == 4
    assert ask(gateway, "/vary", Accept_Language="fr")["Cache-Status"] == "fastcore; fwd=vary-miss; stored"
    assert post(gateway, "/cache/purge", url="http://a.test/vary")[0] == 200
    assert ask(gateway, "/vary", Accept_Language="de").body == b"de/None"
    assert ask(gateway, "/vary", Accept_Language="en").body == b"en/None"
    assert origin.asked("/vary") == 7, "all variants of the URL went"


def test_edits_and_cors_are_of_the_request(gateway: Gateway, origin: Origin) -> None:
    origin.at("/edited", "Cache-Control: max-age=100")
    ids = set()
    for name in ("a", "b", "c"):
        answer = ask(gateway, "/edited", Origin=f"https://{name}.test")
        ids.add(answer["X-Id"])
        assert answer["Access-Control-Allow-Origin"] == (None if name == "c" else f"https://{name}.test")
    assert len(ids) == 3
    assert origin.asked("/edited") == 1


# --- validation and stale answers -------------------------------------------------------------------------------------


def test_validation(gateway: Gateway, origin: Origin) -> None:
    def answer(request: Message) -> bytes:
        if request["If-None-Match"] == '"v1"':
            return b'HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=100\r\nX-New: 1\r\nETag: "v1"\r\n\r\n'
        return b'HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nX-New: 0\r\nETag: "v1"\r\nContent-Length: 3\r\n\r\nold'

    origin.answers["/valid"] = answer
    assert ask(gateway, "/valid")["X-New"] == "0"
    second = ask(gateway, "/valid", If_None_Match='"other"')
    assert (second.status, second.body, second["X-New"]) == (200, b"old", "1")
    assert second["Cache-Status"] == "fastcore; fwd=stale; fwd-status=304; stored"
    third = ask(gateway, "/valid")
    assert (third.body, third["X-New"]) == (b"old", "1")
    assert third["Cache-Status"] is not None
    assert "hit" in third["Cache-Status"]
    assert origin.asked("/valid") == 2
    assert ask(gateway, "/valid", If_None_Match='W/"v1"').status == 304
    assert origin.asked("/valid") == 2


def test_stale_while_somebody_brings_a_new_one(gateway: Gateway, origin: Origin) -> None:
    go_on, began = threading.Event(), threading.Event()
    state = {"n": 0}

    def answer(request: Message) -> bytes:
        state["n"] += 1
        if state["n"] > 1:
            began.set()
            go_on.wait(SECONDS)
        body = b"%d" % state["n"]
        return (
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=10, stale-while-revalidate=100\r\nAge: %d\r\nContent-Length: 1\r\n\r\n%s"
            % (20 if state["n"] == 1 else 0, body)
        )

    origin.answers["/swr"] = answer
    assert ask(gateway, "/swr").body == b"1"
    fetched: list[bytes] = []
    fetcher = threading.Thread(target=lambda: fetched.append(ask(gateway, "/swr").body))
    fetcher.start()
    assert began.wait(SECONDS)
    for _ in range(5):
        stale = ask(gateway, "/swr")
        assert stale.body == b"1"
        assert re.fullmatch(r"fastcore; hit; ttl=-\d+", stale["Cache-Status"] or "")
    go_on.set()
    fetcher.join(SECONDS)
    assert fetched == [b"2"]
    assert ask(gateway, "/swr").body == b"2"
    assert state["n"] == 2


@pytest.mark.parametrize("failure", ["status", "connection"])
def test_stale_if_the_target_fails(gateway: Gateway, origin: Origin, failure: str) -> None:
    path = f"/sie/{failure}"
    origin.at(path, "Cache-Control: max-age=10, stale-if-error=100", "Age: 20")
    assert ask(gateway, path).status == 200
    bad = b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nbad" if failure == "status" else b""
    origin.answers[path] = lambda request: bad
    stale = ask(gateway, path)
    assert (stale.status, stale.body) == (200, b"body")
    assert "detail=stale-if-error" in (stale["Cache-Status"] or "")
    origin.at(path + "/none", "Cache-Control: max-age=10, must-revalidate, stale-if-error=100", "Age: 20")
    assert ask(gateway, path + "/none").status == 200
    origin.answers[path + "/none"] = lambda request: bad
    assert ask(gateway, path + "/none").status in (502, 503)


# --- collapsing -------------------------------------------------------------------------------------------------------


def test_one_fetches_for_all(gateway: Gateway, origin: Origin) -> None:
    go_on = threading.Event()

    def answer(request: Message) -> bytes:
        go_on.wait(SECONDS)
        return b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\nContent-Length: 3\r\n\r\none"

    origin.answers["/many"] = answer
    before = gateway.figures()["cache_collapsed_total"]
    answers: list[Message] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(gateway, "/many"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    eventually(lambda: gateway.figures()["cache_collapsed_total"] - before == 11, "eleven wait")
    go_on.set()
    for thread in threads:
        thread.join(SECONDS)
    assert [answer.body for answer in answers] == [b"one"] * 12
    assert origin.asked("/many") == 1
    assert sum("collapsed" in (answer["Cache-Status"] or "") for answer in answers) == 11


def test_what_cannot_be_stored_makes_nobody_wait(gateway: Gateway, origin: Origin) -> None:
    origin.at("/private", "Cache-Control: private")
    assert ask(gateway, "/private")["Cache-Status"] == "fastcore; fwd=uri-miss; detail=private"
    go_on = threading.Event()
    held = [0]

    def answer(request: Message) -> bytes:
        held[0] += 1
        go_on.wait(SECONDS)
        return b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 0\r\n\r\n"

    origin.answers["/private"] = answer
    threads = [threading.Thread(target=lambda: ask(gateway, "/private")) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: held[0] == 6, "all six ask at once")
    go_on.set()
    for thread in threads:
        thread.join(SECONDS)


def test_who_fetches_and_leaves_blocks_nobody(gateway: Gateway, origin: Origin) -> None:
    began, go_on = hold_the_first(origin, "/leaves")
    with gateway.connect() as wire:
        wire.send(b"GET /leaves HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert began.wait(SECONDS)
        wire.reset()
    assert ask(gateway, "/leaves").body == b"ok"
    go_on.set()


def test_a_killed_worker_blocks_nobody(start_gateway: Callable[..., Gateway], origin: Origin) -> None:
    gateway = start_gateway(SETTINGS.format(address=origin.upstream.address).replace("wait: 3s", "wait: 1s"), workers=1)
    began, go_on = hold_the_first(origin, "/killed")
    with gateway.connect() as wire:
        wire.send(b"GET /killed HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert began.wait(SECONDS)
        os.kill(gateway.worker, signal.SIGKILL)
        assert wire.ended()
    assert eventually(lambda: _try(gateway, "/killed"), "another worker answers") == b"ok"
    go_on.set()


def _try(gateway: Gateway, path: str) -> bytes | None:
    try:
        return ask(gateway, path).body
    except (OSError, AssertionError):  # until there is a new worker nobody accepts
        return None


# --- purging ----------------------------------------------------------------------------------------------------------


def test_purging(gateway: Gateway, origin: Origin) -> None:
    paths = ("/shop/a", "/shop/b/c", "/shop", "/other")
    for path in paths:
        origin.at(
            path, "Cache-Control: max-age=100, stale-while-revalidate=100", f"Cache-Tag: t{path[-1]}, all-of-them"
        )

    def fetched(**purge: Any) -> list[str]:
        """Which are fetched again after that."""
        status, answer = post(gateway, "/cache/purge", **purge)
        assert status == 200, answer
        before = {path: origin.asked(path) for path in paths}
        for path in paths:
            assert ask(gateway, path).status == 200
        return [path for path in paths if origin.asked(path) > before[path]]

    fetched(all=True)
    assert fetched(url="http://a.test/nowhere") == []
    assert fetched(url="http://a.test/shop/a") == ["/shop/a"]
    assert fetched(url="https://a.test/shop/a") == []
    assert fetched(prefix="http://a.test/shop/") == ["/shop/a", "/shop/b/c"]
    assert fetched(prefix="http://A.test/shop/b/") == ["/shop/b/c"]
    assert fetched(tag="tc") == ["/shop/b/c"]
    assert fetched(tag="all-of-them") == list(paths)
    assert fetched(prefix="http://a.test/") == list(paths)
    assert fetched(all=True) == list(paths)
    assert fetched(url="http://a.test/shop/a", soft=True) == ["/shop/a"]
    for bad in (
        {},
        {"url": "nowhere"},
        {"url": "http://a.test/", "tag": "x"},
        {"prefix": "http://a.test/shop"},
        {"x": 1},
    ):
        assert post(gateway, "/cache/purge", **bad)[0] == 400, bad
    status, figures = gateway.get("/cache")
    assert status == 200
    assert figures["bytes"] <= figures["capacity"]


def test_an_answer_that_was_asked_for_before_a_purge_is_not_stored(gateway: Gateway, origin: Origin) -> None:
    began, go_on = threading.Event(), threading.Event()

    def answer(request: Message) -> bytes:
        began.set()
        go_on.wait(SECONDS)
        return b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\nContent-Length: 3\r\n\r\nold"

    origin.answers["/race"] = answer
    thread = threading.Thread(target=lambda: ask(gateway, "/race"))
    thread.start()
    assert began.wait(SECONDS)
    assert post(gateway, "/cache/purge", url="http://a.test/race")[0] == 200
    go_on.set()
    thread.join(SECONDS)
    origin.at("/race", "Cache-Control: max-age=100", body=b"new")
    assert ask(gateway, "/race").body == b"new"


def test_unsafe_methods_make_it_forget(gateway: Gateway, origin: Origin) -> None:
    for path in ("/thing", "/thing/1", "/thing/2"):
        origin.at(path, "Cache-Control: max-age=100")

    def change(status: int, *lines: str) -> None:
        get = origin.answers["/thing"]
        origin.at("/thing", *lines, body=b"", status=status)
        assert ask(gateway, "/thing", method="POST", Content_Length="0").status == status
        origin.answers["/thing"] = get

    def cached(path: str) -> bool:
        before = origin.asked(path)
        ask(gateway, path)
        return origin.asked(path) == before

    for path in ("/thing", "/thing/1", "/thing/2"):
        cached(path)
    assert cached("/thing")
    change(500)
    assert cached("/thing"), "an error changes nothing (RFC 9111, 4.4)"
    change(200)
    assert not cached("/thing")
    change(201, "Location: /thing/1", "Content-Location: http://a.test/thing/2")
    assert not cached("/thing")
    assert not cached("/thing/1")
    assert not cached("/thing/2")
    change(303, "Location: http://b.test/thing/1")
    assert cached("/thing/1"), "of another origin: not for us to forget"


def test_memory_is_bounded(gateway: Gateway, origin: Origin) -> None:
    for n in range(150):
        origin.at(f"/fill/{n}", "Cache-Control: max-age=1000", body=b"f" * 100_000)
        assert ask(gateway, f"/fill/{n}").status == 200
    figures = gateway.get("/cache")[1]
    assert figures["bytes"] <= figures["capacity"]
    assert figures["evictions"] > 0
    assert ask(gateway, "/fill/149")["Cache-Status"] != "fastcore; fwd=uri-miss; stored"


def test_the_tags_of_an_answer_outlive_its_validation(gateway: Gateway, origin: Origin) -> None:
    def answer(request: Message) -> bytes:
        if request["If-None-Match"]:
            return b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=100\r\n\r\n"
        return b'HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: "v"\r\nCache-Tag: kept\r\nContent-Length: 2\r\n\r\nok'

    origin.answers["/kept"] = answer
    for _ in range(3):
        assert ask(gateway, "/kept").body == b"ok"
    assert origin.asked("/kept") == 2
    assert post(gateway, "/cache/purge", tag="kept")[0] == 200
    assert ask(gateway, "/kept")["Cache-Status"] == "fastcore; fwd=uri-miss; stored"


def test_a_confirmation_that_forbids_storing(gateway: Gateway, origin: Origin) -> None:
    def answer(request: Message) -> bytes:
        if request["If-None-Match"]:
            return b"HTTP/1.1 304 Not Modified\r\nCache-Control: no-store\r\n\r\n"
        return b'HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: "v"\r\nContent-Length: 2\r\n\r\nok'

    origin.answers["/forbids"] = answer
    for count in (1, 2, 3):
        assert ask(gateway, "/forbids").body == b"ok"
        assert origin.asked("/forbids") == count


def test_a_cache_that_comes_by_a_reload_and_finds_no_room(
    start_gateway: Callable[..., Gateway], origin: Origin
) -> None:
    text = f'upstreams: {{u: {{targets: ["{origin.upstream.address}"]}}}}\nroutes: [{{path: /, upstream: u%s}}]\n'
    gateway = start_gateway(text % "")
    origin.at("/late", "Cache-Control: max-age=100")
    gateway.write("cache: {memory: 2GB}\n" + text % ", cache: true")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_log("nothing is stored until the next start")
    eventually(lambda: gateway.get("/readyz")[0] == 200)
    for _ in range(2):
        assert ask(gateway, "/late").status == 200
    assert origin.asked("/late") == 2


def test_routes_without_a_cache(gateway: Gateway, origin: Origin) -> None:
    origin.at("/plain", "Cache-Control: max-age=100")
    for _ in range(2):
        assert ask(gateway, "/plain")["Cache-Status"] is None
    assert origin.asked("/plain") == 2
