"""Bodies of requests that come compressed, for targets that take them plain."""

import gzip
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest
from servers import Gateway, Message, RawUpstream, Wire, answer, eventually, free_ports, get

TEXT = (b"All work and no play makes Jack a dull boy. " * 400)[:16_000]

SETTINGS = """\
access_log: "-"
upstreams: {{u: {{targets: ['{address}']}}}}
routes:
  - {{path: /off, upstream: u}}
  - {{path: /small, upstream: u, limits: {{body_bytes: 20000}}, compress: {{unpack_requests: true}}}}
  - {{path: /, upstream: u, compress: {{unpack_requests: true}}}}
"""


class Target:
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.raw = RawUpstream().serve(self._serve)

    def _serve(self, wire: Wire) -> None:
        while True:
            self.got.append(wire.read_request())
            wire.send(answer())


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.raw.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], target: Target) -> Gateway:
    return one_gateway(SETTINGS.format(address=target.raw.address))


def pack(coding: str, data: bytes) -> bytes:
    return gzip.compress(data) if coding == "gzip" else bytes(brotli.compress(data))


def post(path: str, body: bytes, *lines: str, chunked: bool = False, version: str = "1.1") -> bytes:
    if not chunked:
        return get(path, *lines, f"Content-Length: {len(body)}", method="POST", version=version) + body
    pieces = [body[at : at + 30_000] for at in range(0, len(body), 30_000)]
    return get(path, *lines, "Transfer-Encoding: chunked", method="POST") + b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""]
    )


@pytest.mark.parametrize("size", [1, 1024, 16_383, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_targets_get_it_plain(gateway: Gateway, target: Target, size: int, chunked: bool, coding: str) -> None:
    text = (os.urandom(1000).hex().encode() * (size // 2000 + 1))[:size]
    with gateway.connect() as wire:
        for _ in range(2):
            lines = [f"Content-Encoding: {coding}", "Content-Digest: sha-256=:x:", "X-Kept: 1"]
            wire.send(post("/", pack(coding, text), *lines, chunked=chunked))
            assert wire.read_response().status == 200
            got = target.got.pop()
            assert got.body == text
            assert (got["transfer-encoding"], got["content-length"], got["x-kept"]) == ("chunked", None, "1")
            assert got["content-encoding"] is got["content-digest"] is None


def test_old_clients_and_curl(gateway: Gateway, target: Target) -> None:
    with gateway.connect() as wire:
        wire.send(post("/", gzip.compress(TEXT), "Content-Encoding: x-gzip", version="1.0"))
        assert wire.read_response().status == 200
    assert target.got.pop().body == TEXT
    url = f"http://127.0.0.1:{gateway.port}/"
    for version in ("--http1.1", "--http2-prior-knowledge"):  # asks first whether it may send, and by HTTP/2
        done = subprocess.run(
            [
                "curl",
                "-sf",
                version,
                "-H",
                "Content-Encoding: gzip",
                "-H",
                "Expect: 100-continue",
                "--data-binary",
                "@-",
                url,
            ],
            input=gzip.compress(TEXT),
            check=True,
            capture_output=True,
        )
        assert done.stdout == b"ok"
        assert target.got.pop().body == TEXT


def test_what_goes_as_it_came(gateway: Gateway, target: Target) -> None:
    packed = gzip.compress(TEXT)
    for path, lines in [
        ("/off", ["Content-Encoding: gzip"]),
        ("/", ["Content-Encoding: zstd"]),
        ("/", ["Content-Encoding: gzip, gzip"]),
        ("/", ["Content-Encoding: gzip", "Content-Encoding: gzip"]),
        ("/", []),
    ]:
        assert gateway.ask(post(path, packed, *lines)).status == 200
        got = target.got.pop()
        assert (got.body, got["content-length"]) == (packed, str(len(packed)))
        assert len(got.fields.all("content-encoding")) == len(lines)
    assert gateway.ask(get("/", "Content-Encoding: gzip")).status == 200
    assert target.got.pop()["transfer-encoding"] is None


@pytest.mark.parametrize(
    "body",
    [gzip.compress(TEXT)[:-5], b"plain " * 1000, gzip.compress(TEXT) + b"what is this?", gzip.compress(TEXT)[:7]],
    ids=["cut", "plain", "more", "begun"],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_not_what_it_says(gateway: Gateway, target: Target, body: bytes, chunked: bool) -> None:
    """It is the client's fault, and the target never takes a part for the whole."""
    with gateway.connect() as wire:
        wire.send(post("/bad", body, "Content-Encoding: gzip", chunked=chunked))
        got = wire.read_response()
    assert got.status == 400 and "Content-Encoding" in got.problem["detail"]
    assert gateway.access_of("/bad")["error"] == "bad_request"
    assert target.got == []


def test_the_limit_is_about_what_it_makes(gateway: Gateway, target: Target) -> None:
    assert gateway.ask(post("/small", gzip.compress(TEXT), "Content-Encoding: gzip")).status == 200
    assert target.got.pop().body == TEXT
    got = gateway.ask(post("/small", gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip"))
    assert got.status == 413 and "unpacks to more" in got.problem["detail"]
    assert target.got == []


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_what_unfolds_waits_for_a_slow_target(
    start_gateway: Callable[..., Gateway], make_upstream: Any, coding: str
) -> None:
    size = 300_000_000
    packer = brotli.Compressor(quality=5)
    body = gzip.compress(bytes(size), 1) if coding == "gzip" else packer.process(bytes(size)) + packer.finish()
    upstream = make_upstream()
    gateway = start_gateway(
        f"limits: {{body_bytes: 1GB}}\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\n"
        "routes: [{path: /ok, respond: fine}, {path: /, upstream: u, compress: {unpack_requests: true}}]\n"
    )
    gateway.ask(get("/ok"))
    before = gateway.resident(gateway.worker)
    with gateway.connect() as wire, gateway.connect() as other:
        sender = threading.Thread(target=wire.send, args=[post("/", body, f"Content-Encoding: {coding}")])
        sender.start()
        slow = upstream.accept()
        assert slow.read_head()["content-encoding"] is None
        other.send(get("/ok"))
        assert other.read_response().body == b"fine"
        assert gateway.resident(gateway.worker) - before < 24 << 20
        got = 0
        while piece := int(slow.read_until(b"\r\n"), 16):
            got += slow.read(piece).count(0)
            slow.read(2)
            slow.forget()
        slow.read(2)
        assert got == size
        slow.send(answer(b"thanks"))
        assert wire.read_response().body == b"thanks"
        sender.join()
        assert gateway.resident(gateway.worker) - before < 24 << 20
    assert gateway.figures()["unpacked_requests_total"] == 1


def test_a_target_that_answers_early_or_dies(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    gateway = start_gateway(
        f"limits: {{body_bytes: 1GB}}\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\n"
        "routes: [{path: /, upstream: u, compress: {unpack_requests: true}}]\n"
    )
    body = gzip.compress(bytes(100_000_000), 1)
    for status, dies in ((413, False), (502, True)):
        with gateway.connect() as wire:
            wire.send(post("/", body, "Content-Encoding: gzip"))
            busy = upstream.accept()
            busy.read_head()
            if dies:
                busy.reset()
            else:
                busy.send(answer(b"too much", "Connection: close", status="413 Too Large"))
            assert wire.read_response().status == status
            busy.close()
    gateway.quiet()


def test_copies_are_plain_too(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    first, shadow = Target(), Target()
    gateway = start_gateway(
        f"upstreams: {{u: {{targets: ['{first.raw.address}']}}, s: {{targets: ['{shadow.raw.address}']}}}}\n"
        "routes: [{path: /, upstream: u, mirror: s, compress: {unpack_requests: true}}]\n"
    )
    assert gateway.ask(post("/", gzip.compress(TEXT), "Content-Encoding: gzip")).status == 200
    eventually(lambda: shadow.got)
    assert first.got.pop().body == shadow.got.pop().body == TEXT
    first.raw.close()
    shadow.raw.close()


def test_a_retry_sends_it_again_or_not_at_all(start_gateway: Callable[..., Gateway], target: Target) -> None:
    """Nothing was sent to a target that could not be reached: the next one gets all of it."""
    [nobody] = free_ports(1)
    gateway = start_gateway(
        f"upstreams: {{u: {{targets: ['127.0.0.1:{nobody}', '{target.raw.address}']}}}}\n"
        "routes: [{path: /, upstream: u, compress: {unpack_requests: true}}]\n"
    )
    for _ in range(4):
        assert gateway.ask(post("/", gzip.compress(TEXT), "Content-Encoding: gzip")).status == 200
        assert target.got.pop().body == TEXT
