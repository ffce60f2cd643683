"""Functions of the operator's own (hook_functions.py) on the way of requests and answers."""

import gzip
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http2_frames import Client, request
from issuers import ISSUER, Issuer, bearer, made
from servers import SECONDS, Gateway, Message, RawUpstream, Wire, answer, eventually, get

from apps.gateway.config import load_settings

FOLDER = Path(__file__).parent

ROUTES = {
    "mark": "{on_request: hook_functions:mark}",
    "move": "{on_request: hook_functions:move}",
    "look": "{on_request: hook_functions:look, request_body: 1MB}",
    "refuse": "{on_request: hook_functions:refuse}",
    "shout": "{on_request: hook_functions:shout, request_body: 100KB}",
    "grow": "{on_request: hook_functions:grow, request_body: 100KB}",
    "json": "{on_request: hook_functions:add_field, request_body: 100KB}",
    "sign": "{on_response: hook_functions:sign}",
    "rewrite": "{on_response: hook_functions:rewrite, response_body: 1MB}",
    "both": "{on_request: hook_functions:mark, on_response: hook_functions:sign}",
    "failing": "{on_request: hook_functions:fail}",
    "failing-answer": "{on_response: hook_functions:fail}",
    "failing-body": "{on_request: hook_functions:fail, request_body: 100KB}",
    "passing": "{on_request: hook_functions:fail, on_failure: pass}",
    "passing-body": "{on_request: hook_functions:fail, on_failure: pass, request_body: 100KB}",
    "passing-answer": "{on_response: hook_functions:fail, on_failure: pass, response_body: 1MB}",
    "slow": "{on_request: hook_functions:wait, timeout: 100ms}",
    "pause": "{on_request: hook_functions:pause}",
    "pause-answer": "{on_response: hook_functions:pause}",
    "ask-for-body": "{on_request: hook_functions:ask_for_body}",
    "inject": "{on_request: hook_functions:inject}",
    "smuggle": "{on_request: hook_functions:smuggle}",
    "inject-path": "{on_request: hook_functions:inject_path}",
    "nonsense": "{on_request: hook_functions:return_nonsense}",
}


class Origin:
    """Answers `said`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.said = answer()
        self.asked: list[Message] = []
        self.raw = RawUpstream().serve(self._serve)

    def _serve(self, wire: Wire) -> None:
        while True:
            got = wire.read_request()
            self.asked.append(got)
            head, mark, _ = self.said.partition(b"\r\n\r\n")
            wire.send(head + mark if got.start.startswith("HEAD") else self.said)
            wire.forget()
            if b"Connection: close" in head:
                return


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    made_origin = Origin()
    yield made_origin
    made_origin.raw.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], origin: Origin) -> Gateway:
    routes = "".join(
        f"  - {{path: /{name}, upstream: u, hooks: {hooks}, rewrite: {{strip_prefix: /{name}}}}}\n"
        for name, hooks in ROUTES.items()
    )
    return one_gateway(
        f"access_log: '-'\nhooks: {{folder: {FOLDER}}}\nupstreams: {{u: {{targets: ['{origin.raw.address}']}}}}\n"
        f"routes:\n  - {{path: /plain, upstream: u}}\n{routes}"
    )


@pytest.fixture(autouse=True)
def fresh(origin: Origin) -> None:
    origin.said = answer()
    origin.asked.clear()


def post(path: str, body: bytes, *lines: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *lines, method="POST") + body


def chunked(path: str, *pieces: bytes) -> bytes:
    coded = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return get(path, "Transfer-Encoding: chunked", method="POST") + coded


def test_fields(gateway: Gateway, origin: Origin) -> None:
    got = gateway.ask(get("/mark/a", "X-Secret: s", "x-twice: 0"))
    assert got.body == b"ok"
    (asked,) = origin.asked
    assert asked["x-marked"] == "GET /a 127.0.0.1 None"
    assert asked["x-secret"] is None
    assert asked.fields.all("x-twice") == ["0", "1", "2"]
    assert asked["via"] == "1.1 fastcore"


def test_path_and_query(gateway: Gateway, origin: Origin) -> None:
    assert gateway.ask(get("/move/a?old=1")).status == 200
    assert origin.asked[0].target == "/moved/a?a=1&b=%20"


def test_answers(gateway: Gateway, origin: Origin) -> None:
    with gateway.connect() as wire:
        wire.send(get("/refuse/no"))
        got = wire.read_response()
        assert (got.status, got.body, got["x-why"]) == (403, b"not you\n", "because")
        assert got["content-type"] == "text/plain; charset=utf-8"
        wire.send(get("/refuse/no", method="HEAD"))
        got = wire.read_response("HEAD")
        assert (got.status, got["content-length"]) == (403, "8")
        wire.send(get("/refuse/empty"))
        assert wire.read_response().status == 204
        assert origin.asked == []
        wire.send(get("/refuse/yes"))
        assert wire.read_response().body == b"ok"
    assert gateway.access_of("/refuse/no")["status"] == 403


@pytest.mark.parametrize("size", [0, 1, 1000, 90_000])
def test_bodies_of_requests(gateway: Gateway, origin: Origin, size: int) -> None:
    body = (b"abcdefghij" * (size // 10 + 1))[:size]
    with gateway.connect() as wire:
        for sent in (
            post("/shout/", body),
            chunked("/shout/", body[:5], body[5:]) if size > 5 else post("/shout/", body),
        ):
            wire.send(sent)
            assert wire.read_response().body == b"ok"
            asked = origin.asked.pop()
            assert asked.body == body.upper()
            assert (asked["content-length"], asked["transfer-encoding"]) == (str(size), None)
    if size:
        assert gateway.ask(post("/grow/", body[:1000])).status == 200
        assert origin.asked.pop().body == body[:1000] * 100


def test_json(gateway: Gateway, origin: Origin) -> None:
    assert gateway.ask(post("/json/", b'{"a": [1, 2]}', "Content-Type: application/json")).status == 200
    assert json.loads(origin.asked[0].body) == {"a": [1, 2], "added": "ü"}
    assert gateway.ask(post("/json/", b"{")).status == 500


def test_bodies_that_are_only_looked_at(gateway: Gateway, origin: Origin) -> None:
    body = os.urandom(200_000)
    assert gateway.ask(post("/look/", body)).status == 200
    assert origin.asked.pop().body == body
    assert gateway.ask(chunked("/look/", body[:70_000], body[70_000:])).status == 200
    assert origin.asked.pop().body == body
    with gateway.connect() as wire:  # whoever waits for leave to send gets it from us
        wire.send(get("/look/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert wire.read_head().status == 100
        wire.send(b"hello")
        assert wire.read_response().body == b"ok"
    assert origin.asked.pop().body == b"hello"


def test_bodies_that_are_too_large(gateway: Gateway, origin: Origin) -> None:
    assert gateway.ask(post("/shout/", bytes(200_000))).status == 413
    assert gateway.ask(chunked("/shout/", bytes(60_000), bytes(60_000))).status == 413
    assert origin.asked == []
    origin.said = answer(bytes(2_000_000))
    got = gateway.ask(get("/rewrite/"))
    assert (got.status, got.problem["type"]) == (500, "urn:fastcore:problem:hook-failed")


def test_heads_of_answers(gateway: Gateway, origin: Origin) -> None:
    body = os.urandom(500_000)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for said in (answer(b""), answer(b"short"), answer(body), head + b"3\r\nabc\r\n0\r\n\r\n"):
        origin.said = said
        got = gateway.ask(get("/sign/"))
        assert got["x-signed"] == "200 127.0.0.1"
        assert got.body in (b"", b"short", body, b"abc")
    origin.said = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"
    assert gateway.ask(get("/sign/")).body == b"to the end"
    origin.said = answer(b"tea", "X-Teapot: 1")
    got = gateway.ask(get("/sign/"))
    assert (got.status, got.body) == (418, b"tea")
    origin.said = answer(b"12345")
    got = gateway.ask(get("/sign/", method="HEAD"), "HEAD")
    assert (got["x-signed"], got["content-length"]) == ("200 127.0.0.1", "5")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_bodies_of_answers(gateway: Gateway, origin: Origin, framing: str) -> None:
    body = b"a secret " * 20_000
    if framing == "length":
        origin.said = answer(body)
    elif framing == "chunked":
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:7], body[7:], b""))
        origin.said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces
    else:
        origin.said = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body
    with gateway.connect() as wire:
        for _ in range(2):
            wire.send(get("/rewrite/"))
            got = wire.read_response()
            assert got.body == body.replace(b"secret", b"******")
            assert got["x-length"] == got["content-length"] == str(len(body))
    origin.said = answer(b"")
    assert gateway.ask(get("/rewrite/")).body == b""


def test_both_and_over_http2(gateway: Gateway, origin: Origin) -> None:
    with Client(gateway.connect()) as client:
        got = client.get("/both/a")
        assert got["x-signed"] == "200 127.0.0.1"
        stream = client.ask(request("/shout/", method="POST"), ends=False)
        client.body(stream, b"abc" * 20_000)
        assert client.answer(stream).body == b"ok"
    assert origin.asked[1].body == b"ABC" * 20_000


@pytest.mark.parametrize(
    "path",
    ["failing", "failing-body", "failing-answer", "ask-for-body", "inject", "smuggle", "inject-path", "nonsense"],
)
def test_functions_that_fail(gateway: Gateway, origin: Origin, path: str) -> None:
    got = gateway.ask(post(f"/{path}/", b"body"))
    assert (got.status, got.problem["type"]) == (500, "urn:fastcore:problem:hook-failed")
    assert len(origin.asked) == (path == "failing-answer")
    assert gateway.access_of(f"/{path}/")["error"] == "hook"
    assert gateway.ask(get("/plain")).status == 200


@pytest.mark.parametrize("path", ["passing", "passing-body", "passing-answer"])
def test_functions_that_may_fail(gateway: Gateway, origin: Origin, path: str) -> None:
    body = os.urandom(50_000)
    for sent in (post(f"/{path}/", body), chunked(f"/{path}/", body[:9], body[9:]), chunked(f"/{path}/")):
        assert gateway.ask(sent).body == b"ok"
        assert origin.asked.pop().body in (body, b"")
    origin.said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with gateway.connect() as wire:
        for _ in range(2):
            wire.send(get(f"/{path}/"))
            assert wire.read_response().body == b"abcde"


def test_the_time_they_have(gateway: Gateway, origin: Origin) -> None:
    before = gateway.figures()['hook_failures_total{reason="timeout"}']
    began = time.monotonic()
    assert gateway.ask(get("/slow/")).status == 500
    assert time.monotonic() - began < 10
    assert origin.asked == []
    eventually(lambda: gateway.figures()['hook_failures_total{reason="timeout"}'] == before + 1)


@pytest.fixture
def gate() -> Iterator[socket.socket]:
    """Where hook_functions.pause calls; it goes on when its connection is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        yield listener


def at_gate(gate: socket.socket) -> str:
    return f"X-Gate: {gate.getsockname()[1]}"


def test_who_waits_holds_up_nobody(gateway: Gateway, origin: Origin, gate: socket.socket) -> None:
    """Calls that wait are greenlets side by side; other routes do not notice them."""
    origin.said = answer(b"ok", at_gate(gate))
    with gateway.connect() as one, gateway.connect() as two, gateway.connect() as plain:
        one.send(get("/pause/", at_gate(gate)))
        two.send(get("/pause-answer/"))
        with gate.accept()[0], gate.accept()[0]:  # both wait
            plain.send(get("/plain"))
            assert plain.read_response().status == 200
            assert one.received == two.received == b""
        assert one.read_response().status == two.read_response().status == 200


@pytest.mark.parametrize("path", ["pause", "pause-answer", "look"])
def test_clients_that_go(gateway: Gateway, origin: Origin, gate: socket.socket, path: str) -> None:
    origin.said = answer(b"ok", at_gate(gate))
    with gateway.connect() as wire:
        if path == "look":
            wire.send(get("/look/", "Content-Length: 100", method="POST") + b"half")
            wire.reset()
        else:
            wire.send(get(f"/{path}/", at_gate(gate)))
            with gate.accept()[0]:
                wire.reset()
                gateway.quiet()
    gateway.quiet()
    assert gateway.ask(get("/plain")).status == 200


def test_targets_that_go(start_gateway: Callable[..., Gateway], make_upstream: Any, gate: socket.socket) -> None:
    """While a function looks at the head of their answer: what came is sent, and the missing end is seen."""
    upstream = make_upstream()
    gateway = start_gateway(
        f"hooks: {{folder: {FOLDER}}}\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\n"
        "routes: [{path: /, upstream: u, hooks: {on_response: 'hook_functions:pause'}}]\n"
    )
    with gateway.connect() as wire:
        wire.send(get())
        with upstream.accept() as target:
            target.read_request()
            head = f"HTTP/1.1 200 OK\r\n{at_gate(gate)}\r\nContent-Length: 100\r\n\r\n"
            target.send(head.encode() + b"half")
            function = gate.accept()[0]
        function.close()
        assert wire.read_head().status == 200
        assert wire.read(4) == b"half"
        assert wire.was_reset()


def test_routes_without_functions_never_enter_the_interpreter(gateway: Gateway) -> None:
    gateway.quiet()
    before = gateway.figures()["hook_calls_total"]
    for _ in range(100):
        gateway.ask(get("/plain"))
    assert gateway.figures()["hook_calls_total"] == before
    gateway.ask(get("/both/"))
    eventually(lambda: gateway.figures()["hook_calls_total"] == before + 2)


def test_no_more_at_once_than_allowed(
    start_gateway: Callable[..., Gateway], origin: Origin, gate: socket.socket
) -> None:
    gateway = start_gateway(
        f"hooks: {{folder: {FOLDER}, waiting: 2}}\nupstreams: {{u: {{targets: ['{origin.raw.address}']}}}}\n"
        "routes: [{path: /, upstream: u, hooks: {on_request: 'hook_functions:pause'}}]\n"
    )
    with gateway.connect() as one, gateway.connect() as two:
        for wire in (one, two):
            wire.send(get("/", at_gate(gate)))
        with gate.accept()[0], gate.accept()[0]:
            assert gateway.ask(get("/", at_gate(gate))).status == 503
        assert one.read_response().status == two.read_response().status == 200
        one.send(get("/", at_gate(gate)))
        gate.accept()[0].close()
        assert one.read_response().status == 200


def test_who_asks(start_gateway: Callable[..., Gateway], origin: Origin) -> None:
    issuer = Issuer()
    gateway = start_gateway(
        f"hooks: {{folder: {FOLDER}}}\nauth: {{providers: {{m: {{jwt: {{issuer: '{ISSUER}', audience: api, jwks_url: '{issuer.url}'}}}}}}}}\n"
        f"upstreams: {{u: {{targets: ['{origin.raw.address}'], retries: {{attempts: 0}}}}}}\n"
        "routes: [{path: /, upstream: u, auth: m, hooks: {on_request: 'hook_functions:mark'}}]\n"
    )
    token = made(iss=ISSUER, aud="api", sub="alice")
    assert gateway.ask(get("/", bearer(token))).status == 200
    assert origin.asked[0]["x-marked"] == "GET / 127.0.0.1 alice"
    issuer.close()


def test_changes_to_json(start_gateway: Callable[..., Gateway], origin: Origin) -> None:
    """By settings alone; and beside functions, which see requests before, and answers after them."""
    gateway = start_gateway(
        f"hooks: {{folder: {FOLDER}}}\nupstreams: {{u: {{targets: ['{origin.raw.address}']}}}}\nroutes:\n"
        "  - path: /\n    upstream: u\n    request_json: {remove: /secret, set: {/from: gateway}, max_bytes: 1KB}\n"
        "    response_json: {project: [/id, /name], rename: {/name: label}}\n"
        "    hooks: {on_request: 'hook_functions:add_field', on_response: 'hook_functions:sign'}\n"
    )
    kind = "Content-Type: application/json"
    origin.said = answer(b'{"id": 1, "name": "x", "hidden": true}', kind)
    got = gateway.ask(post("/", b'{"secret": 1, "a": 2}', kind))
    assert json.loads(origin.asked[0].body) == {"a": 2, "added": "ü", "from": "gateway"}
    assert json.loads(got.body) == {"id": 1, "label": "x"}
    assert got["x-signed"] == "200 127.0.0.1"
    origin.said = answer(b"no json", "Content-Type: text/plain")
    assert gateway.ask(post("/", b'{"a": 2}', kind)).body == b"no json"
    origin.said = answer(b"no json", kind)
    assert gateway.ask(post("/", b'{"a": 2}', kind)).status == 500
    origin.said = answer(gzip.compress(b'{"id": 1, "hidden": true}'), kind, "Content-Encoding: gzip")
    got = gateway.ask(post("/", b'{"a": 2}', kind, "Accept-Encoding: gzip, br"))
    assert origin.asked[-1]["accept-encoding"] == "identity", "what is to be changed is asked for plain"
    assert (got.body, got["content-encoding"]) == (b'{"id":1}', None)
    origin.said = answer(b"\x8b", kind, "Content-Encoding: br")
    assert gateway.ask(post("/", b'{"a": 2}', kind)).status == 500, "nothing hidden passes in what cannot be read"
    assert gateway.ask(post("/", b'{"a": "' + b"x" * 2000 + b'"}', kind)).status == 413


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("{}", "names no function"),
        ("{on_request: nowhere:f}", "No module named 'nowhere'"),
        ("{on_request: 'hook_functions:nothing'}", "has no function nothing"),
        ("{on_request: 'hook_functions:not_callable'}", "has no function not_callable"),
        ("{on_request: mark}", "write module:function"),
        ("{on_request: 'hook_functions:mark', response_body: 1KB}", "no function to gather it for"),
        ("{on_response: 'hook_functions:sign'}, cache: {default_ttl: 1m}", "cannot have both"),
    ],
)
def test_settings_that_are_refused(route: str, said: str) -> None:
    text = (
        f"hooks: {{folder: {FOLDER}}}\ncache: {{memory: 16MB}}\nupstreams: {{u: {{targets: ['127.0.0.1:1']}}}}\n"
        f"routes: [{{path: /, upstream: u, hooks: {route}}}]\n"
    )
    problems = [str(problem) for problem in load_settings("x.yaml", text=text, environ={}).problems]
    assert len(problems) == 1 and said in problems[0], problems
