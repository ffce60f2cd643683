"""Answers that come compressed, for clients that take that and for those that do not."""

import gzip
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest
from http2_frames import Client
from servers import Gateway, Message, RawUpstream, Wire, answer, eventually, get

TEXT = (b"All work and no play makes Jack a dull boy. " * 400)[:16_000]
PACKED = {"gzip": gzip.compress(TEXT), "br": brotli.compress(TEXT)}
PAGE = ["Content-Type: text/html; charset=utf-8"]

SETTINGS = """\
compress: true
access_log: {{path: "-"}}
cache: {{memory: 16MB}}
upstreams: {{u: {{targets: ['{address}']}}}}
routes:
  - {{path: /off, upstream: u, compress: false}}
  - {{path: /packs, upstream: u, compress: {{unpack: false}}}}
  - {{path: /only, upstream: u, compress: {{gzip: 0, br: -1}}}}
  - {{path: /cached, upstream: u, cache: {{default_ttl: 1m}}}}
  - {{path: /, upstream: u}}
"""


class Origin:
    """Answers with `said`; counts."""

    def __init__(self) -> None:
        self.said = b""
        self.asked = 0
        self.raw = RawUpstream().serve(self._serve)

    def _serve(self, wire: Wire) -> None:
        while True:
            got = wire.read_request()
            self.asked += 1
            head = self.said.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            wire.send(head if got.start.startswith("HEAD") else self.said)
            if b"Connection: close" in head:
                return


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.raw.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], origin: Origin) -> Gateway:
    return one_gateway(SETTINGS.format(address=origin.raw.address))


def packed(coding: str, *lines: str) -> bytes:
    return answer(PACKED[coding], *PAGE, f"Content-Encoding: {coding}", *lines)


def ask(gateway: Gateway, accept: str | None, path: str = "/", *lines: str, method: str = "GET") -> Message:
    accepts = [f"Accept-Encoding: {accept}"] if accept is not None else []
    return gateway.ask(get(path, *accepts, *lines, method=method), method)


@pytest.mark.parametrize("coding", ["gzip", "br"])
@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        ("gzip, br", True),
        ("*", True),
        ("identity;q=0.1, *;q=0.5", True),
        (None, False),
        ("", False),
        ("identity", False),
        ("zstd", False),
        ("gzip;q=0, br;q=0", False),
        ("*;q=0", False),
    ],
)
def test_who_gets_it_unpacked(gateway: Gateway, origin: Origin, coding: str, accept: str | None, takes: bool) -> None:
    origin.said = packed(coding)
    got = ask(gateway, accept)
    assert (got["content-encoding"], got.body) == ((coding, PACKED[coding]) if takes else (None, TEXT))
    assert got["vary"] == "Accept-Encoding"
    assert got["content-length"] == (str(len(PACKED[coding])) if takes else None)


@pytest.mark.parametrize("size", [1, 1024, 16_383, 65_536, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_whatever_its_framing(gateway: Gateway, origin: Origin, size: int, framing: str, coding: str) -> None:
    text = (os.urandom(1000).hex().encode() * (size // 2000 + 1))[:size]
    body = gzip.compress(text) if coding == "gzip" else brotli.compress(text)
    fields = [*PAGE, f"Content-Encoding: {coding}"]
    if framing == "length":
        origin.said = answer(body, *fields)
    elif framing == "chunked":
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:1], body[1:7], body[7:]) if piece)
        head = "\r\n".join(["HTTP/1.1 200 OK", *fields, "Transfer-Encoding: chunked", "", ""]).encode()
        origin.said = head + pieces + b"0\r\nDigest: 1\r\n\r\n"
    else:
        origin.said = "\r\n".join(["HTTP/1.1 200 OK", *fields, "Connection: close", "", ""]).encode() + body
    got = ask(gateway, None, "/", "TE: trailers", "Connection: TE")
    assert (got["content-encoding"], got.body) == (None, text)
    assert not got.trailers  # they were about other bytes
    with gateway.connect() as old:  # who has no chunks knows the end by the connection's
        old.send(get("/", "Connection: keep-alive", version="1.0"))
        head = old.read_head()
        assert (head["transfer-encoding"], head["content-length"], head["connection"]) == (None, None, "close")
        assert old.read_rest() == text


def test_on_one_connection_and_over_http2(gateway: Gateway, origin: Origin) -> None:
    origin.said = packed("gzip")
    with gateway.connect() as wire:
        for number in range(4):
            wire.send(get("/", *(["Accept-Encoding: gzip"] if number % 2 else [])))
            assert wire.read_response().body == (PACKED["gzip"] if number % 2 else TEXT)
    with Client(gateway.connect()) as client:
        got = client.get("/")
        assert got.body == TEXT and "content-encoding" not in got.heads[0] and "content-length" not in got.heads[0]


def test_members_are_joined(gateway: Gateway, origin: Origin) -> None:
    """RFC 1952 2.2: a gzip file is a series of members."""
    origin.said = answer(PACKED["gzip"] + gzip.compress(b"more"), *PAGE, "Content-Encoding: x-gzip")
    assert ask(gateway, None).body == TEXT + b"more"


@pytest.mark.parametrize(
    "said",
    [
        answer(PACKED["gzip"], *PAGE, "Content-Encoding: zstd"),
        answer(PACKED["gzip"], *PAGE, "Content-Encoding: gzip, br"),
        answer(PACKED["gzip"], *PAGE, "Content-Encoding: gzip", "Content-Encoding: br"),
        packed("gzip", "Cache-Control: no-transform"),
        answer(
            PACKED["gzip"],
            *PAGE,
            "Content-Encoding: gzip",
            "Content-Range: bytes 0-99/20000",
            status="206 Partial Content",
        ),
    ],
)
def test_what_is_left_alone(gateway: Gateway, origin: Origin, said: bytes) -> None:
    origin.said = said
    got = ask(gateway, None)
    assert got.fields.all("content-encoding") and not got["vary"]
    assert got.body == said.partition(b"\r\n\r\n")[2]


def test_what_does_not_hold_for_other_bytes(gateway: Gateway, origin: Origin) -> None:
    origin.said = packed("br", 'ETag: "v1"', "Accept-Ranges: bytes", "Content-Digest: sha-256=:x:")
    got = ask(gateway, "gzip")
    assert (got["etag"], got["accept-ranges"], got["content-digest"]) == ('W/"v1"', None, None)
    assert ask(gateway, "br")["etag"] == '"v1"'
    got = ask(gateway, None, method="HEAD")
    assert (got["content-encoding"], got["vary"]) == ("br", "Accept-Encoding")


def test_routes_have_their_own(gateway: Gateway, origin: Origin) -> None:
    origin.said = packed("gzip")
    for path in ("/off", "/packs"):
        got = ask(gateway, None, path)
        assert (got["content-encoding"], got["vary"]) == ("gzip", None)
    assert ask(gateway, None, "/only").body == TEXT
    origin.said = answer(TEXT, *PAGE)
    assert ask(gateway, "gzip", "/only")["content-encoding"] is None
    assert ask(gateway, "gzip", "/only")["vary"] is None
    assert ask(gateway, "gzip", "/packs")["content-encoding"] == "gzip"


@pytest.mark.parametrize("size", [20_000, 3_000_000])
def test_out_of_the_cache(gateway: Gateway, origin: Origin, size: int) -> None:
    """Stored once as it came."""
    text = os.urandom(1000).hex().encode() * (size // 2000)
    body = gzip.compress(text)
    origin.said = answer(body, *PAGE, "Content-Encoding: gzip", "Cache-Control: max-age=60")
    before = origin.asked
    for number, accept in enumerate([None, "gzip", "", "br", "gzip"]):
        got = ask(gateway, accept, f"/cached/{size}")
        assert got.body == (body if accept == "gzip" else text)
        assert ("hit" in (got["cache-status"] or "")) == (number > 0)
    with gateway.connect() as old:
        old.send(get(f"/cached/{size}", version="1.0"))
        assert old.read_head()["content-encoding"] is None
        assert old.read_rest() == text
    assert origin.asked == before + 1


@pytest.mark.parametrize("framing", ["length", "close"])
@pytest.mark.parametrize(
    "body", [PACKED["gzip"][:-5], b"plain " * 1000, PACKED["gzip"] + b"what is this?"], ids=["cut", "plain", "more"]
)
def test_what_is_not_what_it_says(gateway: Gateway, origin: Origin, framing: str, body: bytes) -> None:
    """Cut, so that nobody takes a part for the whole; and the log says whose fault it was."""
    origin.said = answer(body, *PAGE, "Content-Encoding: gzip")
    if framing == "close":
        head = "\r\n".join(["HTTP/1.1 200 OK", *PAGE, "Content-Encoding: gzip", "Connection: close", "", ""])
        origin.said = head.encode() + body
    with gateway.connect() as wire:
        wire.send(get(f"/wrong/{framing}{len(body)}"))
        assert wire.was_reset()
        assert not wire.received.endswith(b"0\r\n\r\n")
    assert gateway.access_of(f"/wrong/{framing}{len(body)}")["error"] == "bad_coding"
    gateway.quiet()
    assert ask(gateway, "gzip")["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", ["/", "/cached/zeros"])
@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_what_unfolds_waits_for_a_slow_client(
    start_gateway: Callable[..., Gateway], make_upstream: Any, path: str, coding: str
) -> None:
    """A few kilobytes that are gigabytes: they are made as fast as the client reads, and others have their turn."""
    size = 300_000_000
    packer = brotli.Compressor(quality=5)
    body = gzip.compress(bytes(size), 1) if coding == "gzip" else packer.process(bytes(size)) + packer.finish()
    origin = make_upstream()

    def serve(wire: Wire) -> None:
        while got := wire.read_request():
            wire.send(
                answer(b"small")
                if got.start.startswith("GET /small")
                else answer(body, f"Content-Encoding: {coding}", "Cache-Control: max-age=60")
            )

    origin.serve(serve)
    gateway = start_gateway(
        f"compress: true\ncache: {{memory: 16MB}}\nupstreams: {{u: {{targets: ['{origin.address}']}}}}\n"
        "routes: [{path: /cached, upstream: u, cache: {default_ttl: 1m}}, {path: /, upstream: u}]\n"
    )
    if path != "/":
        assert len(gateway.ask(get(path, f"Accept-Encoding: {coding}")).body) == len(body)
    gateway.ask(get("/small"))
    before = gateway.resident(gateway.worker)
    stop = threading.Event()
    with gateway.connect(receive_buffer=4096) as wire, gateway.connect() as other:
        wire.send(get(path))
        assert wire.read_head()["content-encoding"] is None
        other.send(get("/small"))
        assert other.read_response().body == b"small"
        assert gateway.resident(gateway.worker) - before < 24 << 20
        asked = 0

        def ask_on() -> None:
            nonlocal asked
            while not stop.is_set():
                other.send(get("/small"))
                other.read_response()
                other.forget()
                asked += 1

        beside = threading.Thread(target=ask_on)
        beside.start()
        got = 0
        while piece := int(wire.read_until(b"\r\n"), 16):
            got += wire.read(piece).count(0)
            wire.read(2)
            wire.forget()
        stop.set()
        beside.join()
        assert got == size and asked > 10
        assert gateway.resident(gateway.worker) - before < 24 << 20
    gateway.quiet()
    assert gateway.figures()["unpacked_answers_total"] == 1


def test_what_came_is_here_at_once(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """An event stream that its target packs: each event can be read as it comes."""
    upstream = make_upstream()
    gateway = start_gateway(
        f"compress: true\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\nroutes: [{{path: /, upstream: u}}]\n"
    )
    packer = brotli.Compressor(quality=4)
    with gateway.connect() as wire:
        wire.send(get("/"))
        target = upstream.accept()
        target.read_request()
        target.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert wire.read_head()["content-encoding"] is None
        for number in range(5):
            event = b"data: %d\n\n" % number
            piece = packer.process(event) + packer.flush()
            target.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            assert int(wire.read_until(b"\r\n"), 16) == len(event)
            assert wire.read(len(event) + 2) == event + b"\r\n"
        piece = packer.finish()
        target.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(piece), piece))
        assert wire.read(5) == b"0\r\n\r\n"


def test_no_more_at_once_than_allowed(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    gateway = start_gateway(
        f"compress: true\nlimits: {{compressions: 1}}\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\n"
        "routes: [{path: /, upstream: u}]\n"
    )
    head = "\r\n".join(["HTTP/1.1 200 OK", *PAGE, "Content-Encoding: gzip", "Content-Length: 5000", "", ""]).encode()
    with gateway.connect() as first, gateway.connect() as second:
        for wire, coding in ((first, None), (second, "gzip")):
            wire.send(get("/"))
            target = upstream.accept()
            target.read_request()
            target.send(head + PACKED["gzip"][:10])
            assert wire.read_head()["content-encoding"] == coding
        first.reset()
        second.reset()
    gateway.quiet()
    with gateway.connect() as third:  # the place is free again
        third.send(get("/"))
        target = upstream.accept()
        target.read_request()
        target.send(packed("gzip"))
        assert third.read_response().body == TEXT
    eventually(lambda: gateway.figures()["unpacked_answers_total"] == 2)
