"""HTTP/2 from clients: what they ask for and get, through a gateway with one worker and targets that speak HTTP/1.1."""

import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http2_frames import (
    CANCEL,
    DATA,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    NO_ERROR,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    WINDOW_UPDATE,
    Client,
    request,
)
from servers import ASAN, SECONDS, Gateway, RawUpstream, Wire, answer, eventually, get

LENGTHS = [0, 1, 100, 4095, 16_384, 65_536, 1_000_000]


def echo(wire: Wire) -> None:
    """The request's body, framed as it was framed, with its trailers; "x-head" says what the head was."""
    while True:
        asked = wire.read_request()
        lines = [f"{name}: {value}" for name, value in asked.fields]
        said = "\n".join([asked.start, *lines]).encode().hex()
        if asked["transfer-encoding"]:
            wire.send(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Head: {said}\r\n\r\n".encode())
            for at in range(0, len(asked.body), 10_000):
                piece = asked.body[at : at + 10_000]
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            trailers = "".join(f"{name}: {value}\r\n" for name, value in asked.trailers)
            wire.send(f"0\r\n{trailers}\r\n".encode())
        else:
            wire.send(answer(asked.body, f"X-Head: {said}"))
        wire.forget()


def head_of(got: Any) -> list[str]:
    """The lines of the head its target saw."""
    return bytes.fromhex(got["x-head"]).decode().split("\n")


ROUTES = "upstreams: {u: {targets: ['%s']}}\nroutes: [{path: /, upstream: u}]\n"


@pytest.fixture(scope="module")
def shared(one_gateway: Callable[..., Gateway]) -> Iterator[Gateway]:
    upstream = RawUpstream().serve(echo)
    yield one_gateway(f'access_log: "-"\n{ROUTES % upstream.address}')
    upstream.close()


@pytest.fixture
def client(shared: Gateway) -> Iterator[Client]:
    with Client(shared.connect()) as made:
        yield made


# --- requests and answers ---------------------------------------------------------------------------------------------


def test_a_request(shared: Gateway, client: Client) -> None:
    got = client.get("/a?b=c", ("x-one", "1"), ("cookie", "a=b"), ("x-two", "2"), ("cookie", "c=d"))
    assert got.status == 200
    start, *lines = head_of(got)
    assert start == "GET /a?b=c HTTP/1.1"
    assert "Host: a.test" in lines
    assert "Cookie: a=b; c=d" in lines  # RFC 9113 8.2.3: crumbs are one field for HTTP/1.1
    assert "x-one: 1" in lines and "x-two: 2" in lines
    assert "Via: 2.0 fastcore" in lines
    assert "X-Forwarded-Proto: http" in lines and "X-Forwarded-Host: a.test" in lines
    assert got["via"] == "1.1 fastcore"
    assert not {"connection", "transfer-encoding", "keep-alive"} & got.heads[0].keys()
    line = shared.access_of("/a")
    assert (line["protocol"], line["status"]) == ("HTTP/2.0", 200)


def test_many_at_once_end_in_any_order(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    gateway = start_gateway(ROUTES % upstream.address)
    with Client(gateway.connect()) as client:
        streams = [client.ask(request(f"/{number}")) for number in range(5)]
        targets = {}
        for _ in streams:
            wire = upstream.accept()
            targets[wire.read_request().target] = wire
        for number in (3, 0, 4, 1, 2):
            targets[f"/{number}"].send(answer(b"%d" % number))
            assert client.answer(streams[number]).body == b"%d" % number


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("declared", [True, False])
def test_bodies(client: Client, length: int, declared: bool) -> None:
    """As long as it likes, with its length or without, in windows that open as the target takes it."""
    body = os.urandom(length)
    more = [("content-length", str(length))] if declared else []
    stream = client.ask(request("/", *more, method="POST"), ends=False)
    client.body(stream, body)
    got = client.answer(stream)
    assert got.status == 200
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(body).digest()
    lines = head_of(got)
    assert (f"Content-Length: {length}" in lines) == declared
    assert ("Transfer-Encoding: chunked" in lines) != declared


def test_trailers_both_ways(client: Client) -> None:
    stream = client.ask(request("/", ("te", "trailers"), method="POST"), ends=False)
    client.data(stream, b"abc")
    client.wire.send(client.head(stream, [("x-sum", "6"), ("authorization", "x")]))
    got = client.answer(stream)
    assert got.body == b"abc"
    assert got.trailers == {"x-sum": "6"}  # what authenticates is none (RFC 9110 6.5.1)


def test_head_and_statuses_without_a_body(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    answers = iter(
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 5\r\n\r\n',
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nto the end",
        ]
    )

    def serve(wire: Wire) -> None:
        while wire.read_request():
            said = next(answers)
            wire.send(said)
            if said.endswith(b"end"):
                return

    upstream = make_upstream().serve(serve)
    gateway = start_gateway(ROUTES % upstream.address)
    with Client(gateway.connect()) as client:
        got = client.answer(client.ask(request(method="HEAD")))
        assert (got.status, got["content-length"], got.body) == (200, "5", b"")
        assert client.get().status == 204
        got = client.get()
        assert (got.status, got["etag"], got.body) == (304, '"x"', b"")
        got = client.get()
        assert [head[":status"] for head in got.heads] == ["103", "200"]
        assert got.heads[0]["link"] == "</a>"
        assert client.get().body == b"to the end"


def test_100_continue(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    gateway = start_gateway(ROUTES % upstream.address)
    with Client(gateway.connect()) as client:
        stream = client.ask(request("/", ("expect", "100-continue"), method="POST"), ends=False)
        target = upstream.accept()
        assert target.read_head()["expect"] == "100-continue"
        target.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.until(lambda f: f.type == HEADERS).fields == [(":status", "100")]
        client.data(stream, b"body", ends=True)
        assert target.read(len(b"4\r\nbody\r\n0\r\n\r\n")) == b"4\r\nbody\r\n0\r\n\r\n"
        target.send(answer())
        assert client.answer(stream).body == b"ok"


def test_an_answer_before_the_body_is_whole(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """RFC 9113 8.1: the answer in full, then RST_STREAM with NO_ERROR; other streams go on."""
    upstream = make_upstream()
    gateway = start_gateway(f"limits: {{body_bytes: 1KB}}\n{ROUTES % upstream.address}")
    with Client(gateway.connect()) as client:
        stream = client.ask(request("/", ("content-length", "9999"), method="POST"), ends=False)
        got = client.answer(stream)
        assert got.status == 413
        assert client.until(lambda f: f.type == RST_STREAM and f.stream == stream).code == NO_ERROR
        other = client.ask(request("/other"))
        target = upstream.accept()
        target.read_request()
        target.send(answer())
        assert client.answer(other).body == b"ok"


def test_the_client_cancels(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    gateway = start_gateway(f'access_log: "-"\n{ROUTES % upstream.address}')
    with Client(gateway.connect()) as client:
        stream = client.ask(request("/slow"))
        target = upstream.accept()
        target.read_request()
        client.send(RST_STREAM, 0, stream, struct.pack(">L", CANCEL))
        assert target.ended()
        assert gateway.access_of("/slow")["status"] == 499


def test_the_target_breaks_off(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    def serve(wire: Wire) -> None:
        wire.read_request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    upstream = make_upstream().serve(serve)
    gateway = start_gateway(ROUTES % upstream.address)
    with Client(gateway.connect()) as client:
        got = client.get()
        assert (got.status, got.body) == (200, b"half")
        assert got.reset is not None  # not an end: the answer is not whole


# --- who asks wrongly -------------------------------------------------------------------------------------------------

GOOD = list(request())
MALFORMED = {
    "a field in upper case": [*GOOD, ("X-Upper", "1")],
    "Connection": [*GOOD, ("connection", "close")],
    "Keep-Alive": [*GOOD, ("keep-alive", "5")],
    "Proxy-Connection": [*GOOD, ("proxy-connection", "close")],
    "Transfer-Encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "Upgrade": [*GOOD, ("upgrade", "websocket")],
    "TE other than trailers": [*GOOD, ("te", "gzip")],
    "no method": GOOD[1:],
    "no path": GOOD[:3],
    "no scheme": [GOOD[0], *GOOD[2:]],
    "two methods": [GOOD[0], *GOOD],
    "a pseudo field after others": [*GOOD[:3], ("a", "b"), GOOD[3]],
    "an unknown pseudo field": [(":unknown", "1"), *GOOD],
    "a pseudo field of answers": [(":status", "200"), *GOOD],
    "an empty path": [*GOOD[:3], (":path", "")],
    "a path without a slash": [*GOOD[:3], (":path", "a")],
    "CR in a value": [*GOOD, ("a", "b\rc")],
    "LF in a value": [*GOOD, ("a", "b\nevil: 1")],
    "NUL in a value": [*GOOD, ("a", "b\0c")],
    "a colon in a name": [*GOOD, ("a:b", "c")],
    "a space in a name": [*GOOD, ("a b", "c")],
    "an empty name": [*GOOD, ("", "c")],
    "a space before a value": [*GOOD, ("a", " b")],
    "LF in the path": [*GOOD[:3], (":path", "/a\n")],
    "a space in the path": [*GOOD[:3], (":path", "/a HTTP/1.1")],
    "CR LF in the path": [*GOOD[:3], (":path", "/a HTTP/1.1\r\nevil: 1\r\nx: ")],
    "CR LF in the method": [(":method", "GET / HTTP/1.1\r\nevil: 1"), *GOOD[1:]],
    "CR LF in the authority": [*GOOD[:2], (":authority", "a\r\nevil: 1"), GOOD[3]],
    "another Host": [*GOOD, ("host", "b.test")],
    "no host at all": [*GOOD[:2], GOOD[3]],
    "user information in the authority": [*GOOD[:2], (":authority", "u@a.test"), GOOD[3]],
    "a length that is no number": [*GOOD, ("content-length", "+5")],
    "two lengths": [*GOOD, ("content-length", "0"), ("content-length", "0")],
    "a length without a body": [*GOOD, ("content-length", "5")],
    "a fragment": [*GOOD[:3], (":path", "/a#b")],
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests(shared: Gateway, client: Client, case: str) -> None:
    """RFC 9113 8.1.1: reset, or answered 400; in no case something a target sees. Other streams go on."""
    got = client.answer(client.ask(MALFORMED[case]))
    assert got.reset == PROTOCOL_ERROR or got.status == 400, got
    assert client.get("/after").status == 200


@pytest.mark.parametrize("sent", [3, 7])
def test_more_or_less_than_the_length_says(client: Client, sent: int) -> None:
    stream = client.ask(request("/", ("content-length", "5"), method="POST"), ends=False)
    client.data(stream, b"x" * sent, ends=True)
    assert client.answer(stream).reset == PROTOCOL_ERROR
    assert client.get("/after").status == 200


def test_a_head_that_is_too_large(client: Client) -> None:
    """Answered 431, whether one field is too large or all of them together are; the connection goes on."""
    for fields in ([("a", "x" * 40_000)], [(f"a{n}", "x" * 1000) for n in range(60)], [("cookie", "x" * 1000)] * 50):
        block = client.block([*request(), *fields])
        stream = client.new_stream()
        pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
        for number, piece in enumerate(pieces):
            last = 0x4 if number == len(pieces) - 1 else 0
            client.send(HEADERS if number == 0 else 0x9, last | (0x1 if number == 0 else 0), stream, piece)
        assert client.answer(stream).status == 431
    assert client.answer(client.ask(request("/" + "p" * 9000))).status == 414
    assert client.answer(client.ask([*request(), *[("a", "b")] * 200])).status == 431
    assert client.get("/after").status == 200


def test_connect_and_trace(client: Client) -> None:
    assert client.answer(client.ask([(":method", "CONNECT"), (":authority", "a.test:443")])).status == 405
    assert client.answer(client.ask(request(method="TRACE"))).status == 405


def test_http1_on_the_same_port(shared: Gateway) -> None:
    """Also byte by byte, also what only begins as the preface does; and nobody upgrades (RFC 9113 3.1)."""
    with shared.connect() as wire:
        for byte in get("/one"):
            wire.send(bytes((byte,)))
        assert wire.read_response().status == 200
    assert shared.ask(b"PRIVATE / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    assert shared.ask(b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n").status == 400
    upgrade = get(
        "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
    )
    assert shared.ask(upgrade).status == 200


def test_the_preface_byte_by_byte(shared: Gateway) -> None:
    with shared.connect() as wire:
        for byte in PREFACE[:-1]:
            wire.send(bytes((byte,)))
        wire.send(PREFACE[-1:] + Client.bytes_of(0x4, 0, 0))
        assert wire.read(9)[3] == 0x4  # SETTINGS


def test_switched_off(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    gateway = start_gateway(f"http2: false\n{ROUTES % make_upstream().address}")
    with gateway.connect() as wire:
        wire.send(PREFACE)
        assert wire.read_response().status == 505


# --- flow control -----------------------------------------------------------------------------------------------------


def test_one_stream_stands_still(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """A client that opens no window for one answer gets others; of the first no more is taken from its target than the
    window and our buffers hold."""
    taken = []

    def serve(wire: Wire) -> None:
        asked = wire.read_request()
        if asked.target != "/large":
            wire.send(answer(b"x" * 30_000))
            return
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            wire.send(bytes(100_000))
            taken.append(100_000)

    upstream = make_upstream().serve(serve)
    gateway = start_gateway(ROUTES % upstream.address)
    before = gateway.resident(gateway.worker)
    with Client(gateway.connect(), opens=False, settings={INITIAL_WINDOW_SIZE: 20_000}) as client:
        large = client.ask(request("/large"))
        got = 0
        while got < 20_000:
            got += len(client.until(lambda f: f.type == DATA and f.stream == large).payload)
        assert got == 20_000
        for number in range(20):  # of the connection's window only
            client.opens = True
            other = client.ask(request(f"/{number}"))
            assert client.answer(other).body == b"x" * 30_000
        assert ASAN or gateway.resident(gateway.worker) - before < 8 << 20
        stuck = sum(taken)
        client.send(WINDOW_UPDATE, 0, large, struct.pack(">L", 10_000_000))
        got = 0
        while got < stuck + 1_000_000:
            got += len(client.until(lambda f: f.type == DATA and f.stream == large).payload)


def test_a_target_that_does_not_read(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """Its client's stream window closes, and opens again when it reads; meanwhile others are served."""
    upstream = make_upstream()
    settings = "http2: {stream_window: 100KB, connection_window: 1MB}\n" + ROUTES % upstream.address
    gateway = start_gateway(settings)
    with Client(gateway.connect()) as client:
        stream = client.ask(request("/upload", ("content-length", "100000000"), method="POST"), ends=False)
        target = upstream.accept()
        target.read_head()
        client.until(lambda f: f.type == WINDOW_UPDATE)  # the connection's, beyond 65,535
        sent = 0
        client.wire.sock.settimeout(0.5)
        try:
            while True:  # until the target's and our buffers are full: no window comes any more
                while room := min(client.room(stream), 16_384):
                    client.data(stream, bytes(room))
                    sent += room
                client.until(lambda f: f.type == WINDOW_UPDATE and f.stream == stream)
        except TimeoutError:
            client.wire.sock.settimeout(SECONDS)
        assert client.room(stream) == 0 < client.room(0)
        other = client.ask(request("/other"))
        second = upstream.accept()
        second.read_request()
        second.send(answer())
        assert client.answer(other).body == b"ok"
        target.read(sent)
        client.until(lambda f: f.type == WINDOW_UPDATE and f.stream == stream)


# --- limits and deadlines ---------------------------------------------------------------------------------------------


def test_more_streams_than_allowed(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    gateway = start_gateway(f"http2: {{streams: 3}}\n{ROUTES % upstream.address}")
    with Client(gateway.connect()) as client:
        streams = [client.ask(request(f"/{number}")) for number in range(4)]
        assert client.answer(streams[3]).reset == REFUSED_STREAM  # may be sent again (8.7)
        assert client.settings[MAX_CONCURRENT_STREAMS] == 3
        for _ in range(3):
            target = upstream.accept()
            target.read_request()
            target.send(answer())
        assert [client.answer(stream).status for stream in streams[:3]] == [200] * 3


def test_deadlines(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream()
    timeouts = "timeouts: {header: 200ms, idle: 300ms, body: 200ms, write: 300ms}\n"
    gateway = start_gateway(f'access_log: "-"\n{timeouts}{ROUTES % upstream.address}')
    with Client(gateway.connect()) as client:  # a head that never ends
        client.answer(client.ask(request(method="TRACE")))
        client.send(HEADERS, 0x1, client.new_stream(), client.block(request()))
        assert client.farewell().code == 0xB
        assert client.ended()
    with gateway.connect() as wire:  # a preface that never ends
        wire.send(PREFACE[:10])
        assert wire.ended()
    with Client(gateway.connect()) as client:  # nothing to do; pings do not count
        client.answer(client.ask(request(method="TRACE")))
        client.send(0x6, 0, 0, bytes(8))
        assert client.farewell().code == NO_ERROR
        assert client.ended()
    with Client(gateway.connect()) as client:  # a body that does not come
        stream = client.ask(request("/body", method="POST"), ends=False)
        assert client.answer(stream).status == 408
        upstream.accept().read_head()
    with Client(gateway.connect(), opens=False, settings={INITIAL_WINDOW_SIZE: 10}) as client:  # an answer nobody takes
        stream = client.ask(request("/stuck"))
        target = upstream.accept()
        target.read_request()
        target.send(answer(b"x" * 1000))
        assert client.answer(stream).reset == CANCEL


def test_draining(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """RFC 9113 6.8: first a notice, then the last stream; what was asked is answered."""
    upstream = make_upstream()
    gateway = start_gateway(ROUTES % upstream.address)
    with Client(gateway.connect()) as client:
        stream = client.ask(request("/slow"))
        target = upstream.accept()
        target.read_request()
        gateway.process.terminate()
        assert client.farewell().last_stream == (1 << 31) - 1
        last = client.farewell()
        assert (last.last_stream, last.code) == (stream, NO_ERROR)
        target.send(answer())
        assert client.answer(stream).body == b"ok"
        assert client.ended()
    assert gateway.process.wait(SECONDS) == 0


def test_figures(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    upstream = make_upstream().serve(echo)
    gateway = start_gateway(ROUTES % upstream.address)
    with Client(gateway.connect()) as client:
        assert client.get().status == 200
        figures = eventually(lambda: found if (found := gateway.figures())["http2_sessions_total"] else None)
        assert figures["http2_sessions_total"] == 1
        assert figures["connections"] == 1
        assert figures["http2_streams"] == 0
        client.send(0x0, 0, 0, b"")  # DATA on stream 0
        assert client.farewell().code == PROTOCOL_ERROR
        assert client.ended()
    eventually(lambda: gateway.figures()["http2_failures_total"] == 1)


# --- clients people use -----------------------------------------------------------------------------------------------


def run(*command: str) -> str:
    assert shutil.which(command[0]), f"{command[0]} is missing: make test installs it"
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done
    return done.stdout


def test_curl(shared: Gateway, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(3_000_000))
    url = f"http://127.0.0.1:{shared.port}/"
    said = run(
        "curl",
        "-sS",
        "--http2-prior-knowledge",
        "-T",
        str(sent),
        "-o",
        str(back),
        "-w",
        "%{http_version} %{http_code}",
        url,
    )
    assert said == "2 200"
    assert back.read_bytes() == sent.read_bytes()


def test_nghttp(shared: Gateway) -> None:
    url = f"http://127.0.0.1:{shared.port}"
    said = run("nghttp", "-nvs", "--no-dep", *[f"{url}/{number}" for number in range(20)])
    assert len(re.findall(r"recv .*:status: 200", said)) == 20
    assert "error_code=PROTOCOL_ERROR" not in said


def test_h2load(shared: Gateway) -> None:
    said = run("h2load", "-n", "2000", "-c", "4", "-m", "25", f"http://127.0.0.1:{shared.port}/")
    assert "2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
