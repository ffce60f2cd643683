"""Answers compressed on their way: which ones, for whom, and that what comes out is what went in."""

import gzip
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest
from http2_frames import Client, request
from servers import SECONDS, Gateway, Message, RawUpstream, Wire, answer, eventually, get

from apps.gateway.config import load_settings

TEXT = (b"All work and no play makes Jack a dull boy. " * 400)[:16_000]
PAGE = ["Content-Type: text/html; charset=utf-8"]

SETTINGS = """\
compress: true
cache: {{memory: 16MB}}
upstreams: {{u: {{targets: ['{address}']}}}}
routes:
  - {{path: /off, upstream: u, compress: false}}
  - {{path: /gzip, upstream: u, compress: {{br: -1}}}}
  - {{path: /json, upstream: u, compress: {{types: [application/json], min_bytes: 10}}}}
  - {{path: /bare, upstream: u, response_headers: {{remove: [ETag]}}}}
  - {{path: /cached, upstream: u, cache: {{default_ttl: 1m}}}}
  - {{path: /, upstream: u}}
"""


class Origin:
    """Answers with `said`; counts."""

    def __init__(self) -> None:
        self.said = answer(TEXT, *PAGE)
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


@pytest.fixture(autouse=True)
def page(origin: Origin) -> None:
    origin.said = answer(TEXT, *PAGE)


def decoded(got: Message) -> bytes:
    match got["content-encoding"]:
        case None:
            return got.body
        case "gzip":
            return gzip.decompress(got.body)
        case "br":
            return bytes(brotli.decompress(got.body))
    raise AssertionError(got["content-encoding"])


def ask(
    gateway: Gateway, accept: str = "gzip, deflate, br", path: str = "/", *lines: str, method: str = "GET"
) -> Message:
    accepts = [f"Accept-Encoding: {accept}"] if accept else []
    return gateway.ask(get(path, *accepts, *lines, method=method), method)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("*", "br"),
        ("", None),
        ("identity", None),
        ("br;q=0, gzip;q=0", None),
        ("zstd, deflate", None),
    ],
)
def test_what_the_client_takes(gateway: Gateway, accept: str, coding: str | None) -> None:
    got = ask(gateway, accept)
    assert got["content-encoding"] == coding
    assert decoded(got) == TEXT
    assert got["vary"] == "Accept-Encoding"
    if coding:
        assert len(got.body) < len(TEXT) // 20
        assert (got["transfer-encoding"], got["content-length"]) == ("chunked", None)
    else:
        assert got["content-length"] == str(len(TEXT))


@pytest.mark.parametrize("size", [1024, 16_383, 65_536, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_whatever_its_framing(gateway: Gateway, origin: Origin, size: int, framing: str, coding: str) -> None:
    body = (os.urandom(1000).hex().encode() * (size // 2000 + 1))[:size]
    if framing == "length":
        origin.said = answer(body, *PAGE)
    elif framing == "chunked":
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:700], body[700:]))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        origin.said = head + pieces + b"0\r\nX-Sum: 1\r\n\r\n"
    else:
        origin.said = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + body
    got = ask(gateway, coding, "/", "TE: trailers", "Connection: TE")
    assert got["content-encoding"] == coding
    assert decoded(got) == body
    if framing == "chunked":
        assert got.trailers.get("x-sum") == "1"


def test_over_http2_and_on_one_connection(gateway: Gateway) -> None:
    with Client(gateway.connect()) as client:
        got = client.get("/", ("accept-encoding", "gzip"))
        assert got["content-encoding"] == "gzip" and "content-length" not in got.heads[0]
        assert gzip.decompress(got.body) == TEXT
        assert client.answer(client.ask(request("/"))).body == TEXT
    with gateway.connect() as wire:
        for number in range(4):
            accept = ["Accept-Encoding: br"] if number % 2 else []
            wire.send(get("/", *accept))
            assert decoded(wire.read_response()) == TEXT


@pytest.mark.parametrize(
    "said",
    [
        answer(TEXT, "Content-Type: image/png"),
        answer(TEXT),
        answer(TEXT[:1023], *PAGE),
        answer(TEXT, *PAGE, "Content-Encoding: zstd"),
        answer(TEXT, *PAGE, "Cache-Control: public, no-transform"),
        answer(TEXT, *PAGE, "Content-Range: bytes 0-15999/20000", status="206 Partial Content"),
        b"HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Type: text/html\r\n\r\n",
    ],
)
def test_what_is_left_alone(gateway: Gateway, origin: Origin, said: bytes) -> None:
    origin.said = said
    got = ask(gateway)
    assert got["content-encoding"] in (None, "zstd")
    assert got["vary"] is None
    assert got.body == said.partition(b"\r\n\r\n")[2]


def test_what_does_not_hold_for_other_bytes(gateway: Gateway, origin: Origin) -> None:
    """RFC 9110 8.8.3.3: a validator of what is not sent is weak, and there are no ranges of it."""
    fields = ['ETag: "v1"', "Accept-Ranges: bytes", "Content-MD5: x", "Content-Digest: sha-256=:x:", "Vary: Accept"]
    origin.said = answer(TEXT, *PAGE, *fields)
    got = ask(gateway)
    assert got["etag"] == 'W/"v1"'
    assert got["accept-ranges"] is got["content-md5"] is got["content-digest"] is None
    assert got.fields.all("vary") == ["Accept", "Accept-Encoding"]
    got = ask(gateway, "")
    assert (got["etag"], got["accept-ranges"]) == ('"v1"', "bytes")
    assert ask(gateway, path="/bare")["etag"] is None  # what the route says of it holds all the same
    origin.said = answer(TEXT, *PAGE, 'ETag: W/"v1"')
    assert ask(gateway)["etag"] == 'W/"v1"'


def test_errors_and_heads(gateway: Gateway, origin: Origin) -> None:
    origin.said = answer(TEXT, *PAGE, status="404 Not Found")
    assert ask(gateway)["content-encoding"] == "br"
    origin.said = answer(TEXT, *PAGE)
    got = ask(gateway, method="HEAD")
    assert (got["content-encoding"], got["content-length"], got["vary"]) == (None, str(len(TEXT)), "Accept-Encoding")
    with gateway.connect() as wire:  # nobody can send HTTP/1.0 an answer whose length is not known
        wire.send(get("/", "Accept-Encoding: gzip", version="1.0"))
        got = wire.read_response()
        assert (got["content-encoding"], got.body) == (None, TEXT)


def test_routes_have_their_own(gateway: Gateway, origin: Origin) -> None:
    assert ask(gateway, path="/off")["content-encoding"] is None
    assert ask(gateway, path="/off")["vary"] is None
    assert ask(gateway, path="/gzip")["content-encoding"] == "gzip"
    assert ask(gateway, path="/json")["content-encoding"] is None
    origin.said = answer(b'{"a": "aaaaaaaaaaaaaaaaa"}', "Content-Type: application/json;charset=utf-8")
    assert ask(gateway, path="/json")["content-encoding"] == "br"


def test_out_of_the_cache(gateway: Gateway, origin: Origin) -> None:
    """Stored once as the target sent it, and encoded for each client as it likes."""
    origin.said = answer(TEXT, *PAGE, 'ETag: "c"', "Cache-Control: max-age=60")
    before = origin.asked
    for number, (accept, coding) in enumerate([("gzip", "gzip"), ("br", "br"), ("", None), ("gzip", "gzip")]):
        got = ask(gateway, accept, "/cached/a")
        assert got["content-encoding"] == coding
        assert decoded(got) == TEXT
        assert got["etag"] == ('W/"c"' if coding else '"c"')
        assert ("hit" in (got["cache-status"] or "")) == (number > 0)
    assert ask(gateway, "br", "/cached/a", 'If-None-Match: W/"c"').status == 304
    part = ask(gateway, "br", "/cached/a", "Range: bytes=0-9")
    assert (part.status, part.body, part["content-encoding"]) == (206, TEXT[:10], None)
    assert origin.asked == before + 1


def test_large_out_of_the_cache(gateway: Gateway, origin: Origin) -> None:
    body = os.urandom(300).hex().encode() * 1500  # 900 KB
    origin.said = answer(body, *PAGE, "Cache-Control: max-age=60")
    for _ in range(2):
        assert decoded(ask(gateway, "gzip", "/cached/large")) == body


def test_what_is_here_goes_out(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """Of an answer that pauses: an event stream is read as it comes."""
    upstream = make_upstream()
    gateway = start_gateway(
        f"compress: true\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\nroutes: [{{path: /, upstream: u}}]\n"
    )
    with gateway.connect() as wire:
        wire.send(get("/", "Accept-Encoding: gzip"))
        target = upstream.accept()
        target.read_request()
        target.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert wire.read_head()["content-encoding"] == "gzip"
        inflater = zlib.decompressobj(31)
        for number in range(5):
            event = b"data: %d\n\n" % number
            target.send(b"%x\r\n%s\r\n" % (len(event), event))
            got = b""
            while got != event:
                size = int(wire.read_until(b"\r\n"), 16)
                got += inflater.decompress(wire.read(size))
                assert wire.read(2) == b"\r\n"
        target.send(b"0\r\n\r\n")
        rest = b""
        while size := int(wire.read_until(b"\r\n"), 16):
            rest += inflater.decompress(wire.read(size))
            wire.read(2)
        assert rest == b"" and inflater.eof


def test_a_slow_client(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """Encoding waits with everything else for a client that does not read."""
    size = 60_000_000
    sent = []

    def serve(wire: Wire) -> None:
        wire.read_request()
        wire.send(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n".encode())
        block = os.urandom(1_000_000)  # what does not shrink
        for _ in range(size // len(block)):
            wire.send(block)
            sent.append(len(block))

    upstream = make_upstream().serve(serve)
    gateway = start_gateway(
        f"compress: {{gzip: 1, br: -1}}\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\nroutes: [{{path: /, upstream: u}}]\n"
    )
    before = gateway.resident(gateway.worker)
    with gateway.connect(receive_buffer=4096) as wire:
        wire.send(get("/", "Accept-Encoding: gzip"))
        assert wire.read_head().status == 200
        threading.Event().wait(0.5)  # long enough to read all of it, if anybody did
        assert sum(sent) < size
        assert gateway.resident(gateway.worker) - before < 16 << 20
        inflater, got = zlib.decompressobj(31), 0
        wire.sock.settimeout(SECONDS)
        while piece := int(wire.read_until(b"\r\n"), 16):
            got += len(inflater.decompress(wire.read(piece)))
            wire.read(2)
            wire.forget()
        assert got == size and inflater.eof


def test_no_more_at_once_than_allowed(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    gateway = start_gateway(
        f"compress: true\nlimits: {{compressions: 1}}\nupstreams: {{u: {{targets: ['{upstream.address}']}}}}\n"
        "routes: [{path: /, upstream: u}]\n"
    )
    with gateway.connect() as first, gateway.connect() as second:
        for wire, coding in ((first, "gzip"), (second, None)):
            wire.send(get("/", "Accept-Encoding: gzip"))
            target = upstream.accept()
            target.read_request()
            target.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nhalf")
            assert wire.read_head()["content-encoding"] == coding
        first.reset()
        second.reset()
    gateway.quiet()
    eventually(lambda: gateway.figures()["compressed_answers_total"] == 1)
    with gateway.connect() as third:  # the place is free again
        third.send(get("/", "Accept-Encoding: gzip"))
        target = upstream.accept()
        target.read_request()
        target.send(answer(TEXT, *PAGE))
        assert decoded(third.read_response()) == TEXT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("compress: {gzip: 0, br: -1, unpack: false}", "neither gzip nor br"),
        ("compress: {gzip: 10}", "compress.gzip"),
        ("compress: {types: [html]}", "is no media type"),
        ("compress: {types: ['text/html; charset=utf-8']}", "is no media type"),
    ],
)
def test_settings_that_are_refused(text: str, said: str) -> None:
    problems = [str(problem) for problem in load_settings("x.yaml", text=f"{text}\n", environ={}).problems]
    assert len(problems) == 1 and said in problems[0], problems
