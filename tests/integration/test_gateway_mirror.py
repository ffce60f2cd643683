"""Copies of requests for another upstream: they are whole or they are dropped, and nobody waits for them."""

import os
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from http2_frames import CANCEL, RST_STREAM, Client, request
from http2_target import Http2Target
from servers import SECONDS, Gateway, Message, RawUpstream, Wire, answer, answer_forever, eventually, free_ports, get

from apps.gateway.config import load_settings


class Recorder:
    """A target that keeps what it was asked, and answers `said`; `hold`: not before it is set."""

    def __init__(self, make: Callable[..., RawUpstream], said: bytes = answer()):
        self.asked: list[Message] = []
        self.said = said
        self.hold = threading.Event()
        self.hold.set()
        self.raw = make().serve(self._serve)
        self.address = self.raw.address

    def _serve(self, wire: Wire) -> None:
        while True:
            got = wire.read_request()
            self.asked.append(got)
            wire.forget()
            assert self.hold.wait(SECONDS)
            wire.send(self.said)

    @property
    def connections(self) -> int:
        return len(self.raw.wires)


@pytest.fixture
def shadow(make_upstream: Any) -> Recorder:
    return Recorder(make_upstream)


@pytest.fixture
def serving(make_upstream: Any) -> Recorder:
    return Recorder(make_upstream, answer(b"served"))


def settings(serving: str, shadow: str, mirror: str = "shadow", more: str = "", route: str = "") -> str:
    return (
        f"{more}upstreams:\n  u: {{targets: ['{serving}']}}\n  shadow: {{targets: ['{shadow}']{{shadow}}}}\n"
        f"routes: [{{path: /, upstream: u, mirror: {mirror}{route}}}]\n"
    ).replace("{shadow}", "")


def counts(gateway: Gateway) -> tuple[int, int, int, int]:
    figures = gateway.figures()
    names = ("requests", "answered", "failed", "dropped")
    return tuple(int(figures[f"mirrored_{name}_total"]) for name in names)  # type: ignore[return-value]


def test_copies_are_whole(start_gateway: Callable[..., Gateway], serving: Recorder, shadow: Recorder) -> None:
    gateway = start_gateway(settings(serving.address, shadow.address))
    body = os.urandom(300_000)
    chunked = b"4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n"
    requests = [
        get("/a?b=c", "X-One: 1"),
        get("/b", f"Content-Length: {len(body)}", method="POST") + body,
        get("/c", "Transfer-Encoding: chunked", method="POST") + chunked,
    ]
    with gateway.connect() as wire:
        for number, asked in enumerate(requests, 1):
            wire.send(asked)
            assert wire.read_response().body == b"served"
            eventually(lambda n=number: counts(gateway) == (n, n, 0, 0))
    assert [message.start for message in shadow.asked] == [message.start for message in serving.asked]
    for copy, original in zip(shadow.asked, serving.asked, strict=True):
        assert (copy.fields, copy.body) == (original.fields, original.body)
    assert shadow.connections == 1  # kept for the next


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_whatever_the_copy_is_answered(
    start_gateway: Callable[..., Gateway], serving: Recorder, shadow: Recorder, said: bytes
) -> None:
    shadow.said = said
    gateway = start_gateway(settings(serving.address, shadow.address))
    for number in range(3):
        assert gateway.ask(get()).body == b"served"
        eventually(lambda n=number: counts(gateway) == (n + 1, n + 1, 0, 0))
    assert shadow.connections == 1


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_target_that_fails(
    start_gateway: Callable[..., Gateway], make_upstream: Any, serving: Recorder, said: bytes
) -> None:
    def fails(wire: Wire) -> None:
        wire.read_request()
        wire.send(said)

    gateway = start_gateway(settings(serving.address, make_upstream().serve(fails).address))
    assert gateway.ask(get()).body == b"served"
    eventually(lambda: counts(gateway) == (1, 0, 1, 0))


def test_nobody_listens(start_gateway: Callable[..., Gateway], serving: Recorder) -> None:
    gateway = start_gateway(settings(serving.address, f"127.0.0.1:{free_ports(1)[0]}"))
    for _ in range(3):
        assert gateway.ask(get()).body == b"served"
    eventually(lambda: counts(gateway) == (3, 0, 3, 0))


def test_a_slow_target_slows_nobody(start_gateway: Callable[..., Gateway], serving: Recorder, shadow: Recorder) -> None:
    """Answers come at once; no more copies than allowed are under way, the others are dropped."""
    shadow.hold.clear()
    gateway = start_gateway(settings(serving.address, shadow.address, "{upstream: shadow, at_once: 5}"))
    with gateway.connect() as wire:
        for _ in range(20):
            wire.send(get())
            assert wire.read_response().body == b"served"
    eventually(lambda: counts(gateway) == (5, 0, 0, 15))
    shadow.hold.set()
    eventually(lambda: counts(gateway) == (5, 5, 0, 15))


def test_a_target_that_does_not_read(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """The copy of a body it does not take is dropped when its share of the buffers is full; the request goes on."""
    size = 30_000_000
    deaf = make_upstream()
    serving = Recorder(make_upstream, answer(b"served"))
    gateway = start_gateway(settings(serving.address, deaf.address))
    before = gateway.resident(gateway.worker)
    with gateway.connect() as wire:
        wire.send(get("/", f"Content-Length: {size}", method="POST"))
        for _ in range(size // 1_000_000):
            wire.send(bytes(1_000_000))
        assert wire.read_response().body == b"served"
    eventually(lambda: counts(gateway) == (1, 0, 0, 1))
    assert gateway.resident(gateway.worker) - before < 16 << 20


def test_a_client_that_goes(start_gateway: Callable[..., Gateway], make_upstream: Any, shadow: Recorder) -> None:
    """A copy whose request will never be whole ends; one that is whole goes on though nobody waits for the original."""
    serving = make_upstream()
    gateway = start_gateway(settings(serving.address, shadow.address))
    with gateway.connect() as wire:
        wire.send(get("/", "Content-Length: 100", method="POST") + b"half")
        serving.accept().read_head()
        wire.reset()
    eventually(lambda: counts(gateway) == (1, 0, 0, 1))
    shadow.hold.clear()
    with gateway.connect() as wire:
        wire.send(get("/whole"))
        serving.accept().read_head()
        eventually(lambda: shadow.asked and shadow.asked[-1].target == "/whole")
        wire.reset()
    eventually(lambda: gateway.figures()["client_aborts_total"] == 2)
    shadow.hold.set()
    eventually(lambda: counts(gateway) == (2, 1, 0, 1))


def test_a_share_of_them(start_gateway: Callable[..., Gateway], serving: Recorder, shadow: Recorder) -> None:
    gateway = start_gateway(settings(serving.address, shadow.address, "{upstream: shadow, percent: 20}"))
    with gateway.connect() as wire:
        for _ in range(1000):
            wire.send(get())
            wire.read_response()
            wire.forget()
    assert 130 < counts(gateway)[0] < 270  # 200, give or take five and a half deviations


def test_what_has_no_copies(start_gateway: Callable[..., Gateway], serving: Recorder, shadow: Recorder) -> None:
    """What a limit refuses, what the cache answers; and a retry makes no second one."""
    more = "cache: {memory: 16MB}\nrate_limits: {few: {rate: 1, period: 1h, burst: 2}}\n"
    route = ", cache: {default_ttl: 1m}, rate_limits: [few]"
    gateway = start_gateway(settings(serving.address, shadow.address, more=more, route=route))
    statuses = [gateway.ask(get("/same")).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    eventually(lambda: counts(gateway) == (1, 1, 0, 0))


def test_over_http2(start_gateway: Callable[..., Gateway], serving: Recorder) -> None:
    shadow = Http2Target(lambda asked: asked.answer())
    text = settings(serving.address, shadow.address).replace(
        f"shadow: {{targets: ['{shadow.address}']", f"shadow: {{targets: ['{shadow.address}'], http2: true"
    )
    gateway = start_gateway(text)
    with Client(gateway.connect()) as client:
        for number in range(5):
            stream = client.ask(request(f"/{number}", method="POST"), ends=False)
            client.body(stream, b"x" * 50_000)
            assert client.answer(stream).body == b"served"
        eventually(lambda: counts(gateway) == (5, 5, 0, 0))
        assert [asked.body for asked in shadow.seen] == [b"x" * 50_000] * 5
        stream = client.ask(request("/half", method="POST"), ends=False)
        client.send(RST_STREAM, 0, stream, struct.pack(">L", CANCEL))
        eventually(lambda: counts(gateway)[3] == 1)
    shadow.close()


def test_shares_have_copies(start_gateway: Callable[..., Gateway], make_upstream: Any, shadow: Recorder) -> None:
    serving = make_upstream().serve(answer_forever)
    gateway = start_gateway(
        f"upstreams: {{u: {{targets: ['{serving.address}']}}, s: {{targets: ['{shadow.address}']}}}}\n"
        "routes: [{path: /, split: [u], mirror: s, rewrite: {host: upstream, add_prefix: /v2}}]\n"
    )
    assert gateway.ask(get("/a")).status == 200
    eventually(lambda: counts(gateway) == (1, 1, 0, 0))
    assert (shadow.asked[0].target, shadow.asked[0]["host"]) == ("/v2/a", shadow.address)


def test_stopping_with_copies_under_way(
    start_gateway: Callable[..., Gateway], serving: Recorder, shadow: Recorder
) -> None:
    shadow.hold.clear()
    gateway = start_gateway(settings(serving.address, shadow.address))
    for _ in range(3):
        assert gateway.ask(get()).body == b"served"
    eventually(lambda: len(shadow.asked) == 3)
    gateway.stop()  # at once: nobody waits for them
    shadow.hold.set()


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("upstream: u, mirror: nobody", "no upstream is called 'nobody'"),
        ("upstream: u, mirror: {upstream: u, percent: 101}", "percent"),
        ("respond: hello, mirror: u", "mirror has no effect without an upstream"),
    ],
)
def test_settings_that_are_refused(route: str, said: str) -> None:
    text = f"upstreams: {{u: {{targets: ['127.0.0.1:1']}}}}\nroutes: [{{path: /, {route}}}]\n"
    problems = [str(problem) for problem in load_settings("x.yaml", text=text, environ={}).problems]
    assert len(problems) == 1 and said in problems[0], problems
