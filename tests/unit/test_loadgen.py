"""The load generator against small servers that misbehave on purpose: every request must end in the right counter."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.cli import main
from fastcore.loadgen import Generator, Unreachable, run

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
OK_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

Answer = Callable[[int, bytes], bytes | None]


class Server:
    """Threads that answer request number n (over all connections) with what `answer(n, head)` says.

    Bytes are sent; the connection ends after `Connection: close`, after half an answer, and on None (nothing sent).
    """

    def __init__(self, answer: Answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.requests: list[bytes] = []
        self.drops_all = False
        self.asked = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._open: set[socket.socket] = set()
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            if self.drops_all:
                client.close()
                continue
            with self._lock:
                self._open.add(client)
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        pending = b""
        try:
            while True:
                while b"\r\n\r\n" not in pending:
                    got = client.recv(65536)
                    if not got:
                        return
                    pending += got
                head, _, pending = pending.partition(b"\r\n\r\n")
                with self._lock:
                    self.requests.append(head)
                    n = len(self.requests) - 1
                self.asked.set()
                reply = self.answer(n, head)
                if reply is None:
                    return
                client.sendall(reply)
                if b"Connection: close" in reply or not reply.endswith((b"hello", b"\r\n\r\n")):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def refuse(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def hang_up(self) -> None:
        with self._lock:
            for client in self._open:
                with suppress(OSError):  # the client was first
                    client.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        if self.listener.fileno() >= 0:
            self.refuse()
        self.hang_up()
        for thread in self._threads:
            thread.join()


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    server = Server(answer)
    try:
        yield server
    finally:
        server.stop()


def always(reply: bytes) -> Answer:
    return lambda n, head: reply


def no_errors(report: dict) -> bool:
    return report["failed"] == 0 and not any(report["errors"].values()) and not report["causes"]


@pytest.mark.parametrize(
    "reply",
    [OK, OK_CLOSE, CHUNKED, b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK],
    ids=["length", "close", "chunked", "103"],
)
@pytest.mark.parametrize("more", [{}, {"keepalive": False}, {"pipeline": 4}], ids=["keep", "close", "pipeline"])
def test_every_request_is_counted_once(reply: bytes, more: dict) -> None:
    with serving(always(reply)) as server:
        report = run(server.url, connections=3, requests=60, **more)
    assert no_errors(report)
    assert report["requests"] == report["responses"] == 60
    assert report["statuses"] == {"200": 60}
    assert report["status_classes"] == {"1xx": 0, "2xx": 60, "3xx": 0, "4xx": 0, "5xx": 0}
    assert report["unfinished"] == report["unsent"] == 0
    assert report["bytes_received"] >= 60 * len(reply)
    closes = reply is OK_CLOSE
    if closes or "keepalive" in more:
        assert 60 <= report["connections"]["opened"] <= 63
    else:
        assert report["connections"]["opened"] == 3
    if "pipeline" not in more:  # behind an answer with close they are asked again
        assert len(server.requests) == 60
        assert report["bytes_received"] == 60 * len(reply)
        assert report["bytes_sent"] == sum(len(head) + 4 for head in server.requests)


def test_what_is_sent() -> None:
    with serving(always(OK_CLOSE)) as server:
        run(server.url + "a?b=c", connections=1, requests=1, keepalive=False, headers=[("X-One", "1")])
        run(server.url, connections=1, requests=1, method="POST", headers=[("Host", "other")])
    first, second = (head.decode().split("\r\n") for head in server.requests)
    assert first[0] == "GET /a?b=c HTTP/1.1"
    assert set(first[1:]) == {
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: fastcore-bench",
        "X-One: 1",
        "Connection: close",
    }
    assert second[0] == "POST / HTTP/1.1"
    assert "Host: other" in second
    assert "Content-Length: 0" in second


def test_head_has_no_body() -> None:
    with serving(always(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as server:
        report = run(server.url, connections=2, requests=20, method="HEAD")
    assert no_errors(report)
    assert report["responses"] == 20


def test_a_body_that_ends_with_the_connection() -> None:
    with serving(always(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")) as server:
        report = run(server.url, connections=2, requests=10)
    assert no_errors(report)
    assert report["responses"] == 10


def test_statuses_are_told_apart() -> None:
    codes = [b"200 OK", b"301 Moved", b"404 Not Found", b"503 Busy"]
    reply = [b"HTTP/1.1 " + code + b"\r\nContent-Length: 0\r\n\r\n" for code in codes]
    with serving(lambda n, head: reply[n % 4]) as server:
        report = run(server.url, connections=1, requests=40)
    assert report["statuses"] == {"200": 10, "301": 10, "404": 10, "503": 10}
    assert report["status_classes"] == {"1xx": 0, "2xx": 10, "3xx": 10, "4xx": 10, "5xx": 10}
    assert report["failed"] == 0


def test_closed_between_requests_is_no_error() -> None:
    """The answer does not say that the server closes; by the time of the next request it has."""
    with serving(always(OK)) as server:
        closing = threading.Thread(target=close_when_idle, args=(server, 20))
        closing.start()
        report = run(server.url, connections=1, rate=50, requests=20)
        closing.join()
    assert no_errors(report)
    assert report["responses"] == 20
    assert report["connections"]["closed_idle"] >= 10


def test_an_end_that_nobody_has_noticed_yet_is_no_error() -> None:
    """The next request becomes due first, then the server closes, and only then the generator gets to run: the loop
    hears of both at once, of the due time first."""
    with serving(always(OK)) as server:
        generator = Generator(server.url, connections=1, rate=5, requests=2)
        while generator.progress()[1] == 0:
            generator.step(0.01)
        time.sleep(0.3)
        server.hang_up()
        for thread in server._threads[1:]:
            thread.join()
        while not generator.step():
            pass
        report = generator.report()
    assert no_errors(report)
    assert report["responses"] == 2
    assert report["connections"]["closed_idle"] == 1


def close_when_idle(server: Server, answers: int) -> None:
    """End connections a moment after each answer, well before the next request is due."""
    for n in range(1, answers + 1):
        while len(server.requests) < n:
            time.sleep(0.001)
        time.sleep(0.005)
        server.hang_up()


def pattern(n: int, every: int, other: bytes | None) -> bytes | None:
    return other if n % every == every - 1 else OK


@pytest.mark.parametrize(
    ("kind", "other", "cause"),
    [
        ("reset_before_response", None, None),
        ("cut_response", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", None),
        ("cut_response", b"HTTP/1.1 200 OK\r\nConte", None),
        ("cut_response", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", None),
        ("bad_response", b"SSH-2.0-nothing\r\n\r\n", "malformed"),
    ],
    ids=["reset", "half a body", "half a head", "half a chunk", "no HTTP"],
)
@pytest.mark.parametrize("rate", [None, 2000.0])
def test_each_failure_has_its_kind(kind: str, other: bytes | None, cause: str | None, rate: float | None) -> None:
    with serving(lambda n, head: pattern(n, 10, other)) as server:
        report = run(server.url, connections=2, requests=50, rate=rate)
    expected = {name: 5 if name == kind else 0 for name in report["errors"]}
    assert report["errors"] == expected
    assert (report["requests"], report["responses"], report["failed"]) == (50, 45, 5)
    assert len(server.requests) == 50
    assert sum(report["causes"].values()) == (5 if cause else 0)


def test_no_answer_in_time() -> None:
    release = threading.Event()

    def answer(n: int, head: bytes) -> bytes:
        if n == 3:
            release.wait(10)
        return OK

    with serving(answer) as server:
        report = run(server.url, connections=1, requests=10, timeout=0.15)
        release.set()
    assert report["errors"]["timeout"] == report["failed"] == 1
    assert report["responses"] == 9


def test_refused_while_running() -> None:
    def answer(n: int, head: bytes) -> bytes:
        if n == 6:
            server.refuse()
        return OK_CLOSE

    with serving(answer) as server:
        report = run(server.url, connections=1, requests=9, keepalive=False)
    assert report["responses"] == 7
    assert report["errors"]["connect"] == report["failed"] == 2
    assert report["causes"] == {"Connection refused": 2}


def test_a_server_that_closes_at_once() -> None:
    with serving(always(OK)) as server:
        server.drops_all = True
        closed = run(server.url, connections=4, requests=8)
        opened = run(server.url, connections=4, duration=0.3, rate=50)
    assert closed["errors"]["reset_before_response"] == closed["requests"] == 8
    assert opened["requests"] + opened["unsent"] == 15
    assert opened["errors"]["reset_before_response"] == opened["requests"] > 0
    assert server.requests == []


LARGE = bytes(range(256)) * 65536  # more than both socket buffers hold


@contextmanager
def scripted(*scripts: Callable[[socket.socket], object]) -> Iterator[str]:
    """The URL of a server with one script for each connection, after the probe. It ends with the last script."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        release = threading.Event()

        def serve() -> None:
            clients = []
            with suppress(OSError):  # the test is over
                listener.accept()[0].close()
                for script in scripts:
                    clients.append(listener.accept()[0])
                    if script(clients[-1]) is None:
                        clients.pop().close()
            release.wait(10)
            for client in clients:
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            release.set()
            thread.join()


def read_request(client: socket.socket, body_bytes: int) -> bytes:
    """One request with a body of that size; returns the body, so a script that ends here keeps the connection."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += client.recv(1)
    chunks = []
    while body_bytes:
        chunks.append(client.recv(min(body_bytes, 1 << 20)))
        body_bytes -= len(chunks[-1])
    return b"".join(chunks)


def test_a_large_body_arrives_whole() -> None:
    got = []

    def script(client: socket.socket) -> None:
        got.append(read_request(client, len(LARGE)))
        client.sendall(OK_CLOSE)

    with scripted(script) as url:
        report = run(url, connections=1, requests=1, method="PUT", body=LARGE)
    assert no_errors(report)
    assert got == [LARGE]


@pytest.mark.parametrize("close", [True, False])
def test_an_early_answer_ends_the_connection_and_is_no_error(close: bool) -> None:
    """Nobody reads the rest of the body, so a second request behind it would never arrive."""

    def refuse(client: socket.socket) -> bool:
        client.recv(1000)
        client.sendall((OK_CLOSE if close else OK).replace(b"200 OK", b"413 Too Large"))
        return True

    with scripted(refuse, refuse) as url:
        report = run(url, connections=1, requests=2, method="POST", body=LARGE, timeout=2)
    assert no_errors(report)
    assert report["statuses"] == {"413": 2}
    assert report["bytes_sent"] < 2 * len(LARGE)


def test_pipelined_requests_that_were_never_written_are_no_errors() -> None:
    """Of three, the first is answered, the second partly written when the connection ends, the third not at all."""

    def answer_one(client: socket.socket) -> None:
        read_request(client, len(LARGE))
        client.sendall(OK)
        client.recv(1)

    def answer(client: socket.socket) -> None:
        read_request(client, len(LARGE))
        client.sendall(OK_CLOSE)

    with scripted(answer_one, answer) as url:
        report = run(url, connections=1, requests=3, pipeline=3, method="POST", body=LARGE)
    assert (report["requests"], report["responses"], report["failed"]) == (3, 2, 1)
    assert report["errors"]["reset_before_response"] == 1


BEHAVIOURS: dict[str, bytes | None] = {
    "responses": OK,
    "closing": OK_CLOSE,
    "chunked": CHUNKED,
    "reset_before_response": None,
    "cut_response": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello\r\n",
    "bad_response": b"HTTP/1.1 2000 OK\r\n\r\n",
}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=12), st.booleans())
def test_any_order_of_behaviours_is_counted(script: list[str], keepalive: bool) -> None:
    # a connection that brought nothing is held back for 100 ms, which would make this test slow: answer first
    script = [step for pair in zip(["responses"] * len(script), script, strict=True) for step in pair]
    with serving(lambda n, head: BEHAVIOURS[script[n]]) as server:
        report = run(server.url, connections=1, requests=len(script), keepalive=keepalive or len(script) > 8)
    for kind in report["errors"]:
        assert report["errors"][kind] == script.count(kind)
    assert report["responses"] == sum(script.count(kind) for kind in ("responses", "closing", "chunked"))
    assert len(server.requests) == len(script)


def test_the_rate_is_kept() -> None:
    with serving(always(OK)) as server:
        report = run(server.url, connections=4, rate=400, duration=1.5)
    assert no_errors(report)
    assert report["requests"] + report["unsent"] == 600
    assert report["rate"] == pytest.approx(400, rel=0.02)


def test_a_stall_is_felt_by_every_request_it_delays() -> None:
    """One pause of 0.4 s in a second at 200/s: 80 requests were due in it. A closed loop would see one slow answer."""

    def answer(n: int, head: bytes) -> bytes:
        if n == 20:
            time.sleep(0.4)
        return OK

    with serving(answer) as server:
        opened = run(server.url, connections=1, rate=200, requests=200)
    with serving(answer) as server:
        closed = run(server.url, connections=1, requests=200)
    assert opened["responses"] == closed["responses"] == 200
    assert opened["latency_us"]["max"] >= 400_000
    assert opened["latency_us"]["p90"] > 200_000
    assert closed["latency_us"]["max"] >= 400_000
    assert closed["latency_us"]["p90"] < 200_000


def test_quantiles_against_known_delays() -> None:
    """Of 200 answers 160 take 20 ms, 30 take 60 ms and 10 take 150 ms (and what the machine adds)."""

    def answer(n: int, head: bytes) -> bytes:
        time.sleep(0.15 if n % 20 == 0 else 0.06 if n % 20 in (5, 10, 15) else 0.02)
        return OK

    with serving(answer) as server:
        latency = run(server.url, connections=10, requests=200)["latency_us"]
    assert latency is not None
    assert 20_000 <= latency["min"] <= latency["p50"] < 45_000
    assert 60_000 <= latency["p90"] < 120_000
    assert 150_000 <= latency["p99"] <= latency["p99.9"] <= latency["max"] < 300_000
    assert 32_500 <= latency["mean"] < 60_000  # 0.8 * 20 + 0.15 * 60 + 0.05 * 150


def test_warm_up_is_reported_apart() -> None:
    with serving(always(OK)) as server:
        report = run(server.url, connections=2, rate=200, warmup=0.5, duration=0.5)
    assert report["warmup"]["requests"] == report["warmup"]["responses"] == 100
    assert report["requests"] + report["unsent"] == 100
    assert report["responses"] == report["requests"]
    assert report["seconds"] == pytest.approx(0.5)


def test_stopping_leaves_what_is_in_flight() -> None:
    release = threading.Event()

    def answer(n: int, head: bytes) -> bytes:
        release.wait(10)
        return OK

    with serving(answer) as server:
        generator = Generator(server.url, connections=3, duration=60)
        while len(server.requests) < 3:
            assert not generator.step(0.01)
        assert generator.progress()[1:] == (0, 0, 3)
        generator.stop()
        report = generator.report()
        release.set()
    assert report["interrupted"]
    assert (report["requests"], report["responses"], report["failed"], report["unfinished"]) == (3, 0, 0, 3)
    assert report["latency_us"] is None


def test_a_rate_that_is_too_high_leaves_requests_unsent() -> None:
    def answer(n: int, head: bytes) -> bytes:
        time.sleep(0.05)
        return OK

    with serving(answer) as server:
        report = run(server.url, connections=1, rate=100, duration=0.5)
    assert report["requests"] + report["unsent"] == 50
    assert report["unsent"] > 30
    assert no_errors(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"requests": 0}, "more than 0"),
        ({}, "how long"),
        ({"duration": 1, "rate": 0}, "rate is 0"),
        ({"duration": 1, "connections": 0}, "connections from 1"),
        ({"duration": 1, "pipeline": 1025}, "1024"),
        ({"duration": 1, "pipeline": 2, "keepalive": False}, "pipeline"),
        ({"duration": 1, "timeout": 0}, "timeouts"),
        ({"duration": 1, "warmup": -1}, "warmup is -1"),
        ({"duration": 1, "method": "G T"}, "not be valid HTTP"),
        ({"duration": 1, "headers": [("A", "x\r\nB: y")]}, "line break"),
        ({"duration": 1, "headers": [("Bad Name", "x")]}, "not be valid HTTP"),
        ({"duration": 1, "headers": [("Content-Length", "3")]}, "follows"),
    ],
)
def test_options_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run("http://127.0.0.1:1/", **options)


@pytest.mark.parametrize("url", ["https://x/", "x", "http://", "http://u:p@x/"])
def test_urls_it_cannot_load(url: str) -> None:
    with pytest.raises(ValueError, match=r"write http|credentials"):
        run(url, duration=1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_nobody_there() -> None:
    port = free_port()
    with pytest.raises(Unreachable, match=f"cannot reach 127.0.0.1:{port}: Connection refused"):
        run(f"http://127.0.0.1:{port}/", duration=1)


class TestCommand:
    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(lambda n, head: pattern(n, 10, None)) as server:
            assert main(["bench", server.url, "-n", "20", "-c", "1"]) == 1
        out = capsys.readouterr().out
        assert "requests   20 in" in out
        assert "200: 18" in out
        assert "failed     2  (connection lost before the answer: 2)" in out

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(always(OK)) as server:
            assert main(["bench", server.url, "-n", "20", "-c", "2", "--json", "-b", "x", "-H", "A: b"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["responses"] == 20
        assert server.requests[0].startswith(b"POST / HTTP/1.1\r\n")
        assert b"\r\nA: b\r\n" in server.requests[0]

    def test_answers_that_are_errors_fail_the_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(always(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")) as server:
            assert main(["bench", server.url, "-n", "5", "-c", "1"]) == 1
        assert "502: 5" in capsys.readouterr().out

    def test_unreachable_is_69(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["bench", f"http://127.0.0.1:{free_port()}/"]) == 69
        assert "Connection refused" in capsys.readouterr().err

    def test_ctrl_c_prints_what_was_measured(self) -> None:
        with serving(always(OK)) as server:
            command = [sys.executable, "-m", "apps.cli", "bench", server.url, "-d", "60s", "-R", "100", "--json"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert server.asked.wait(30)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        report = json.loads(out)
        assert report["interrupted"]
        assert 1 <= report["responses"] <= report["requests"] == report["responses"] + report["unfinished"]
        assert process.returncode == 0
