"""What the gateway's memory does under large bodies, many idle connections, and connections that come and go.

Figures are anonymous resident memory of the one worker, which holds everything but the shared metrics region.
FASTCORE_TEST_TRANSFER_MB is the size of each large body (256; 1024 is the promise's own measure).
"""

import contextlib
import os
import resource
import threading
from collections.abc import Callable, Iterator

import pytest
from servers import ASAN, SECONDS, Gateway, RawUpstream, Wire, answer_forever, eventually, get

MB = 1 << 20
SIZE = int(os.environ.get("FASTCORE_TEST_TRANSFER_MB", "256")) * MB
GROWTH_MAX = 4 * MB
PER_CONNECTION_MAX = 2048
LEFT_OVER_MAX = 2 * MB
BURST = 8 * MB

pytestmark = pytest.mark.skipif(ASAN, reason="the sanitizer's own memory would be measured")


@pytest.fixture(scope="module")
def bulk() -> Iterator[RawUpstream]:
    made = RawUpstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def small() -> Iterator[RawUpstream]:
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], bulk: RawUpstream, small: RawUpstream) -> Gateway:
    made = one_gateway(
        f"""
limits: {{body_bytes: 0, connections: 20000}}
timeouts: {{idle: 10m, header: 10m}}
upstreams:
  bulk: {{targets: ['{bulk.address}'], keepalive: 0}}
  small: {{targets: ['{small.address}']}}
routes:
  - {{path: /bulk, upstream: bulk}}
  - {{path: /, upstream: small}}
"""
    )
    for _ in range(50):
        assert made.ask(get()).body == b"ok"
    return made


class Discarding(Wire):
    """Counts what comes instead of keeping it, and takes it in bursts with pauses between."""

    def drink(self, size: int) -> None:
        pause, scrap = threading.Event(), bytearray(MB)
        while size:
            burst = min(size, BURST)
            size -= burst
            while burst:
                got = self.sock.recv_into(scrap, min(burst, len(scrap)))
                assert got, "cut"
                burst -= got
            pause.wait(0.01)


def pour(wire: Wire, size: int) -> None:
    block = memoryview(bytes(range(256)) * 4096)
    while size:
        part = block[: min(size, len(block))]
        wire.sock.sendall(part)
        size -= len(part)


class Watched:
    """The largest figure while other clients are served as well."""

    def __init__(self, gateway: Gateway):
        self.gateway, self.worker = gateway, gateway.worker
        self.before = self.peak = gateway.resident(self.worker)
        self.served = 0

    def until(self, done: threading.Thread) -> int:
        """How much the worker had grown at its largest."""
        with self.gateway.connect() as other:
            while done.is_alive():
                other.send(get())
                assert other.read_response().body == b"ok"
                self.served += 1
                self.peak = max(self.peak, self.gateway.resident(self.worker))
                done.join(0.01)
        return self.peak - self.before


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_download_to_a_client_that_reads_in_bursts(gateway: Gateway, bulk: RawUpstream, framing: str) -> None:
    size = SIZE if framing == "length" else SIZE // 4
    head = f"Content-Length: {size}\r\n" if framing == "length" else ""
    chunk = b"%x\r\n" % MB + bytes(MB) + b"\r\n"

    def produce() -> None:
        with bulk.accept() as target:
            target.read_request()
            if framing == "chunked":
                target.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(size // MB):
                    target.send(chunk)
                target.send(b"0\r\n\r\n")
            else:
                target.send(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
                pour(target, size)

    def consume() -> None:
        with gateway.connect() as client:
            client.send(get("/bulk", version="1.1" if framing == "length" else "1.0"))
            client.read_head()
            reader = Discarding(client.sock)
            reader.drink(size - (len(client.received) - client.received.index(b"\r\n\r\n") - 4))
            finished.append(True)

    finished: list[bool] = []
    threads = [threading.Thread(target=target, daemon=True) for target in (produce, consume)]
    watched = Watched(gateway)
    for thread in threads:
        thread.start()
    growth = watched.until(threads[1])
    threads[0].join(SECONDS)
    assert finished
    assert growth < GROWTH_MAX, f"{growth / MB:.1f} MB for {size / MB:.0f} MB"
    assert watched.served, "nobody else was served meanwhile"


def test_upload_to_a_target_that_reads_in_bursts(gateway: Gateway, bulk: RawUpstream) -> None:
    answered: list[int] = []

    def consume() -> None:
        with bulk.accept() as target:
            head = target.read_head()
            assert head["content-length"] == str(SIZE)
            already = len(target.received) - target.received.index(b"\r\n\r\n") - 4
            Discarding(target.sock).drink(SIZE - already)
            target.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    def produce() -> None:
        with gateway.connect() as client:
            client.send(f"PUT /bulk HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n".encode())
            pour(client, SIZE)
            answered.append(client.read_response().status)

    threads = [threading.Thread(target=target, daemon=True) for target in (consume, produce)]
    watched = Watched(gateway)
    for thread in threads:
        thread.start()
    growth = watched.until(threads[1])
    threads[0].join(SECONDS)
    assert answered == [204]
    assert growth < GROWTH_MAX, f"{growth / MB:.1f} MB for {SIZE / MB:.0f} MB"
    assert watched.served, "nobody else was served meanwhile"


def test_idle_connections_are_cheap(gateway: Gateway) -> None:
    """10,000, or what the descriptor limit allows (at least 2,000): each has had an answer and waits for more."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 1_000)
    if wanted < 2_000:
        pytest.skip(f"the descriptor limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, wanted + 1_000), hard))
    worker = gateway.worker
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (wanted + 1_000, hard))
    before = gateway.resident(worker)
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(gateway.connect()) for _ in range(wanted)]
        for client in clients:
            client.send(get())
            assert client.read_response().body == b"ok"
        eventually(lambda: gateway.figures()["idle_connections"] >= wanted)
        each = (settled(gateway, worker) - before) / wanted
        assert each < PER_CONNECTION_MAX, each
        clients[-1].send(get())
        assert clients[-1].read_response().body == b"ok"
    eventually(lambda: gateway.figures()["connections"] == 0)


def settled(gateway: Gateway, worker: int) -> int:
    """The smallest figure of three seconds: spare buffers go back within two of quiet."""
    pause = threading.Event()
    return min(gateway.resident(worker) for _ in range(6) if not pause.wait(0.5))


def test_connections_that_come_and_go_leave_nothing(gateway: Gateway) -> None:
    worker = gateway.worker

    def wave() -> None:
        with contextlib.ExitStack() as held:
            clients = [held.enter_context(gateway.connect()) for _ in range(300)]
            for number, client in enumerate(clients):
                client.send(get() if number % 3 else b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234")
            for number, client in enumerate(clients):
                if number % 3:
                    assert client.read_response().body == b"ok"

    for _ in range(4):
        wave()
    eventually(lambda: gateway.figures()["connections"] == 0)
    before = settled(gateway, worker)
    for _ in range(10):
        wave()
    eventually(lambda: gateway.figures()["connections"] == 0)
    gateway.quiet()
    after = settled(gateway, worker)
    assert after - before < LEFT_OVER_MAX, f"{(after - before) / MB:.1f} MB"
