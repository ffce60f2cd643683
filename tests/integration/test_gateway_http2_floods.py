"""Peers that make work and bring nothing: each is cut off at a cost that is bounded, and others are served meanwhile.

RFC 9113, section 10.5; CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2024-27316 (CONTINUATION), CVE-2025-8671
(resets a peer makes us send)."""

import contextlib
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from http2_frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    request,
)
from servers import SECONDS, EndOfStream, Gateway, RawUpstream, answer_forever, eventually

BURST = 100
FRAMES = 50_000


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], upstream: RawUpstream) -> Gateway:
    return one_gateway(
        f"http2: {{control_burst: {BURST}, control_rate: 10}}\n"
        f"upstreams: {{u: {{targets: ['{upstream.address}']}}}}\nroutes: [{{path: /, upstream: u}}]\n"
    )


def frames(client: Client, kind: str) -> Iterator[bytes]:
    """Of one kind of flood, one after the other."""
    make = client.bytes_of
    cancelled = struct.pack(">L", CANCEL)
    for number in itertools.count():
        stream = 2 * number + 1
        match kind:
            case "rapid reset":
                yield client.head(stream, request("/reset")) + make(RST_STREAM, 0, stream, cancelled)
            case "resets we are made to send":  # a window of nothing is an error of the stream (6.9)
                yield client.head(stream, request("/made"), ends=False) + make(WINDOW_UPDATE, 0, stream, bytes(4))
            case "malformed requests":
                yield client.head(stream, [*request("/bad"), ("connection", "close")])
            case "PING":
                yield make(PING, 0, 0, bytes(8))
            case "SETTINGS":
                yield make(SETTINGS, 0, 0, struct.pack(">HL", 4, 65_535))
            case "empty SETTINGS":
                yield make(SETTINGS, 0, 0)
            case "PRIORITY":
                yield make(PRIORITY, 0, stream, bytes((0, 0, 0, 0, 1)))
            case "empty DATA":
                yield (client.head(1, request("/data", method="POST"), ends=False) if number == 0 else b"") + make(
                    DATA, 0, 1
                )
            case "CONTINUATION":
                yield make(HEADERS, 0x1, 1, client.block(request())) if number == 0 else make(CONTINUATION, 0, 1)
            case "CONTINUATION with fields":
                block = client.block([("a", "x" * 1000)])
                yield make(HEADERS, 0x1, 1, client.block(request())) if number == 0 else make(CONTINUATION, 0, 1, block)
            case _:
                raise AssertionError(kind)


KINDS = (
    "rapid reset",
    "resets we are made to send",
    "malformed requests",
    "PING",
    "SETTINGS",
    "empty SETTINGS",
    "PRIORITY",
    "empty DATA",
    "CONTINUATION",
    "CONTINUATION with fields",
)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("kind", KINDS)
def test_floods_are_cut(gateway: Gateway, upstream: RawUpstream, kind: str) -> None:
    failed = gateway.figures()["http2_failures_total"]
    asked = gateway.figures()["requests_total"]
    used = cpu_seconds(gateway.worker)
    sent = 0
    with Client(gateway.connect()) as client, Client(gateway.connect()) as innocent:
        try:
            for frame in itertools.islice(frames(client, kind), FRAMES):
                client.wire.send(frame)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            raise AssertionError("the flood went on to its end")
        assert innocent.get("/innocent").status == 200
    eventually(lambda: gateway.figures()["http2_failures_total"] == failed + 1, "the connection counted as failed")
    gateway.quiet()
    assert gateway.figures()["requests_total"] - asked <= BURST + 200  # of those that were in a block already read
    assert cpu_seconds(gateway.worker) - used < 5


def test_the_peer_is_told(gateway: Gateway) -> None:
    """As long as it listens: GOAWAY with ENHANCE_YOUR_CALM, and which streams were looked at."""
    with Client(gateway.connect()) as client:
        client.wire.send(b"".join(itertools.islice(frames(client, "PING"), BURST + 10)))
        assert client.until(lambda f: f.type == GOAWAY).code == ENHANCE_YOUR_CALM
        assert client.ended()


def test_the_budget_fills_again(gateway: Gateway) -> None:
    """Resets now and then are how browsers go to the next page."""
    with Client(gateway.connect()) as client:
        for _ in range(BURST // 2):
            stream = client.ask(request("/page"))
            client.send(RST_STREAM, 0, stream, struct.pack(">L", CANCEL))
        assert client.get("/next").status == 200


def test_a_client_that_does_not_read_what_it_asks_for(gateway: Gateway) -> None:
    """PINGs are answered; who does not take the answers is not read from any more, and pays with its budget."""
    before = gateway.resident(gateway.worker)
    with Client(gateway.connect(receive_buffer=4096)) as client:
        client.wire.sock.settimeout(1)
        try:
            for frame in itertools.islice(frames(client, "SETTINGS"), FRAMES):
                client.wire.send(frame)
        except OSError:
            client.wire.sock.settimeout(SECONDS)
        assert gateway.resident(gateway.worker) - before < 8 << 20


def test_hpack_that_grows(gateway: Gateway) -> None:
    """A small block that stands for a large head ("HPACK bomb"): 431, and never more than a head's memory."""
    before = gateway.resident(gateway.worker)
    with Client(gateway.connect()) as client:
        plain = client.block(request())
        insert = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000  # literal with indexing, 4,000 bytes
        for _ in range(20):
            stream = client.new_stream()
            block = plain + (insert if stream == 1 else b"") + b"\xbe" * 5000  # the entry, 5,000 times: 20 MB
            client.send(HEADERS, 0x5, stream, block)
            assert client.answer(stream).status == 431
        assert client.get("/after").status == 200
    assert gateway.resident(gateway.worker) - before < 4 << 20


def test_nothing_but_noise(gateway: Gateway) -> None:
    for seed in range(50):
        with gateway.connect() as wire:
            wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((seed * 7 + i * i) % 256 for i in range(500)))
            wire.finish()
            with contextlib.suppress(EndOfStream, ConnectionResetError):
                wire.read_rest()
    with Client(gateway.connect()) as client:
        assert client.get().status == 200
        client.send(GOAWAY, 0, 0, struct.pack(">LL", 0, NO_ERROR))
        assert client.ended()  # with nothing under way
