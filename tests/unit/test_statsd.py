"""fastcore.statsd: what is due between two snapshots, and datagrams as a server receives them."""

import os
import socket
from collections.abc import Iterator

import pytest

from fastcore.metrics import Metrics
from fastcore.statsd import Flusher, Line, lines


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


def flusher(metrics: Metrics, server: socket.socket, **options) -> Flusher:
    return Flusher(metrics, port=server.getsockname()[1], **options)


def test_lines_are_the_difference() -> None:
    metrics = Metrics()
    hits = metrics.counter("hits", route="/a b", code="2xx")
    still = metrics.counter("still")
    depth = metrics.gauge("depth", pool="")
    wait = metrics.histogram("wait_seconds", route="/ä")
    size = metrics.histogram("body_bytes", unit="bytes")
    hits.inc(3)
    still.inc(9)
    wait.observe(60)
    earlier = metrics.collect()
    hits.inc(4)
    depth.set(-2)
    for milliseconds in range(1, 101):
        wait.observe(milliseconds / 1000)
    size.observe(1000)
    later = metrics.collect()
    found, left_out = lines(earlier, later, quantiles=(0.5, 0.999))
    assert left_out == 0
    assert found == [
        Line("c", "hits.2xx._a_b", 4),
        Line("g", "depth.none", -2),
        Line("c", "wait_seconds.__.count", 100),
        Line("g", "wait_seconds.__.p50", 57.343),
        Line("g", "wait_seconds.__.p99_9", 114.687),
        Line("c", "body_bytes.count", 1),
        Line("g", "body_bytes.p50", 1023.0),
        Line("g", "body_bytes.p99_9", 1023.0),
    ]
    assert lines(later, later)[0] == [Line("g", "depth.none", -2)]
    assert lines([], later)[0][:2] == [Line("c", "hits.2xx._a_b", 7), Line("c", "still", 9)]


def test_lines_are_bounded() -> None:
    metrics = Metrics()
    for i in range(20):
        metrics.counter("hits", route="x" * 300, number=str(i)).inc()
    found, left_out = lines([], metrics.collect(), lines_max=15)
    assert len(found) == 15 and left_out == 5
    assert all(len(line.name) == 200 for line in found)


def test_datagrams(server: socket.socket) -> None:
    metrics = Metrics()
    counters = [metrics.counter("hits", route=f"route-{i}") for i in range(100)]
    gauge = metrics.gauge("depth")
    sender = flusher(metrics, server, prefix="my.app", datagram_max=500, lines_max=99)
    assert sender.flush() == 0, "the first one only takes the snapshot to count from"
    for counter in counters[:98]:
        counter.inc(2)
    gauge.set(-5)
    assert sender.flush() == 99
    received: list[str] = []
    while len(received) < 100:
        datagram = server.recv(65536)
        assert len(datagram) <= 500
        received += datagram.decode().split("\n")
    assert received == [f"my.app.hits.route-{i}:2|c" for i in range(98)] + ["my.app.depth:0|g", "my.app.depth:-5|g"]
    assert sender.flush() == 1 and server.recv(65536) == b"my.app.depth:0|g\nmy.app.depth:-5|g"
    for counter in counters:
        counter.inc()
    assert sender.dropped == 0
    assert sender.flush() == 99 and sender.dropped == 2
    sender.close()
    sender.close()


def test_only_the_leader_sends(server: socket.socket) -> None:
    metrics = Metrics()
    counter = metrics.counter("hits")
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        first = flusher(metrics, server)
        sent = first.flush()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        counter.inc()
        sent += first.flush()
        os._exit(sent != 1)
    os.read(ready[0], 1)
    second = flusher(metrics, server)
    assert second.flush() == 0
    counter.inc()
    assert second.flush() == 0
    os.write(go[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert server.recv(65536) == b"fastcore.hits:2|c"
    assert second.flush() == 0, "leads from now on, and counts from here"
    counter.inc(5)
    assert second.flush() == 1 and server.recv(65536) == b"fastcore.hits:5|c"
    third = os.fork()
    if third == 0:
        newcomer = flusher(metrics, server)
        sent = newcomer.flush()
        counter.inc(7)
        sent += newcomer.flush()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(sent != 1 or metrics.slot != 0)
    os.read(ready[0], 1)
    assert second.flush() == 0, "the newcomer has the lower slot"
    assert server.recv(65536) == b"fastcore.hits:7|c"
    os.write(go[1], b"x")
    assert os.waitpid(third, 0)[1] == 0
    assert second.flush() == 0, "leads again, and does not send what the other has sent"
    second.close()
    for fd in ready + go:
        os.close(fd)


def test_bad_options(server: socket.socket) -> None:
    with pytest.raises(ValueError, match="statsd prefix 'a b'"):
        flusher(Metrics(), server, prefix="a b")
    sender = Flusher(Metrics(), host="name.invalid")
    for _ in range(2):
        with pytest.raises(OSError, match=r"(?i)name|resolution"):
            sender.flush()
