"""The public reactor under gevent and under asyncio: one suite of stories, two hosts. Clients are plain blocking sockets in
a thread or driven by the host itself, so that only the server side is ours."""

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import greenlet
import pytest

from endurance import NOT_SANITIZED
from fastcore.reactor import Connection, Protocol, Reactor, Server, WriteState

PATIENCE = 10.0


class GeventHost:
    """Runs the story in gevent's hub."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def run(self, story: Callable[["GeventHost"], Any]) -> None:
        hub = gevent.get_hub()
        hub.handle_error, plain = lambda context, kind, value, tb: self.errors.append(value), hub.handle_error
        try:
            gevent.spawn(story, self).get(timeout=3 * PATIENCE)
        finally:
            hub.handle_error = plain

    def until(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, "it did not happen"
            gevent.sleep(0.001)


class AsyncioHost:
    """Runs the story in a greenlet beside an asyncio loop, which gets its turn whenever the story waits."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def run(self, story: Callable[["AsyncioHost"], Any]) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: self.errors.append(context["exception"]))
            teller = greenlet.greenlet(story)
            teller.switch(self)
            while not teller.dead:
                await asyncio.sleep(0.001)
                teller.switch()

        asyncio.run(main())

    def until(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, "it did not happen"
            greenlet.getcurrent().parent.switch()


@pytest.fixture(params=[GeventHost, AsyncioHost], ids=["gevent", "asyncio"])
def host(request: pytest.FixtureRequest) -> Any:
    return request.param()


class Recorder(Protocol):
    """Remembers what happened to it."""

    made: list["Recorder"]

    def __init__(self) -> None:
        self.data = bytearray()
        self.events: list[str] = []
        self.lost: Any = "not yet"

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool | None:
        self.events.append("eof")
        return None

    def drained(self) -> None:
        self.events.append("drained")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = exc


class Stage:
    """A reactor, a server of Recorders, and clients."""

    def __init__(self, host: Any, factory: Callable[[], Any] = Recorder, **limits: Any) -> None:
        self.reactor = Reactor()
        self.reactor.start()
        self.host = host
        self.made: list[Any] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.clients: list[socket.socket] = []

        def make() -> Any:
            self.made.append(factory())
            return self.made[-1]

        self.server = Server(self.reactor, self.listener, make, **limits)

    def dial(self) -> socket.socket:
        client = socket.create_connection(self.listener.getsockname(), timeout=PATIENCE)
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()
        self.host.until(lambda: not len(self.server))
        self.listener.close()
        self.reactor.stop()


def play(host: Any, story: Callable[[Stage], None], factory: Callable[[], Any] = Recorder, **limits: Any) -> None:
    def acted(h: Any) -> None:
        stage = Stage(h, factory, **limits)
        try:
            story(stage)
        finally:
            stage.close()

    host.run(acted)


def take(stage: Stage, client: socket.socket, n: int) -> bytes:
    """Exactly n bytes, letting the server run."""
    got = bytearray()
    client.setblocking(False)

    def more() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.extend(client.recv(65536))
        return len(got) >= n

    stage.host.until(more)
    return bytes(got)


def test_bytes_go_both_ways(host: Any) -> None:
    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            assert self.connection is not None
            self.connection.write(data)

    def story(stage: Stage) -> None:
        client = stage.dial()
        client.sendall(b"hello")
        assert take(stage, client, 5) == b"hello"
        echo = stage.made[0]
        assert echo.events == ["made"]
        assert echo.connection.peername == client.getsockname()
        client.shutdown(socket.SHUT_WR)
        stage.host.until(lambda: echo.lost is None)
        assert echo.events == ["made", "eof"]
        assert echo.connection.closed
        assert echo.connection.write(b"x") is WriteState.CLOSED

    play(host, story, Echo)


def test_half_close_lets_the_server_go_on_writing(host: Any) -> None:
    class Late(Recorder):
        def eof_received(self) -> bool:
            assert self.connection is not None
            self.connection.write(b"goodbye")
            self.connection.close()
            return True

    def story(stage: Stage) -> None:
        client = stage.dial()
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert take(stage, client, 7) == b"goodbye"
        stage.host.until(lambda: stage.made[0].lost is None)

    play(host, story, Late)


def test_writing_is_refused_at_the_high_mark_and_goes_on_after_drained(host: Any) -> None:
    def story(stage: Stage) -> None:
        client = stage.dial()
        stage.host.until(lambda: stage.made)
        peer = stage.made[0]
        block = b"b" * 30_000
        states, taken = [], 0
        while not states or states[-1] is not WriteState.FULL:
            states.append(peer.connection.write(block))
            taken += len(block) if states[-1] is not WriteState.FULL else 0
        assert states[0] is WriteState.SENT
        assert WriteState.QUEUED in states
        assert 100_000 <= peer.connection.queued < 130_000
        assert peer.connection.write(b"x") is WriteState.FULL
        assert "drained" not in peer.events
        assert len(take(stage, client, taken)) == taken
        stage.host.until(lambda: "drained" in peer.events)
        assert peer.connection.write(b"more") is WriteState.SENT
        assert take(stage, client, 4) == b"more"

    play(host, story, high=100_000, low=10_000)


def test_close_sends_what_is_queued_first(host: Any) -> None:
    def story(stage: Stage) -> None:
        client = stage.dial()
        stage.host.until(lambda: stage.made)
        peer = stage.made[0]
        total = 0
        while peer.connection.write(b"b" * 50_000) is not WriteState.FULL:
            total += 50_000
        peer.connection.close()
        assert peer.connection.closed
        assert peer.lost == "not yet"
        assert len(take(stage, client, total)) == total
        stage.host.until(lambda: peer.lost is None)

    play(host, story)


def test_abort_resets(host: Any) -> None:
    def story(stage: Stage) -> None:
        client = stage.dial()
        stage.host.until(lambda: stage.made)
        stage.made[0].connection.abort()
        stage.host.until(lambda: stage.made[0].lost is None)
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    play(host, story)


def test_a_paused_peer_is_not_heard(host: Any) -> None:
    def story(stage: Stage) -> None:
        client = stage.dial()
        stage.host.until(lambda: stage.made)
        peer = stage.made[0]
        peer.connection.pause_reading()
        client.sendall(b"waits")
        marker: list[int] = []
        stage.reactor.call_later(0.02, marker.append, 1)
        stage.host.until(lambda: marker)
        assert not peer.data
        peer.connection.resume_reading()
        stage.host.until(lambda: peer.data == b"waits")

    play(host, story)


def test_deadlines_cut_unless_the_protocol_says_otherwise(host: Any) -> None:
    class Patient(Recorder):
        passed = 0

        def deadline_passed(self) -> bool:
            self.passed += 1
            assert self.connection is not None
            if self.passed == 1:
                self.connection.set_deadline(0.02)
            return self.passed == 1

    def story(stage: Stage) -> None:
        stage.dial()
        stage.host.until(lambda: stage.made)
        peer = stage.made[0]
        started = time.monotonic()
        peer.connection.set_deadline(5)
        peer.connection.set_deadline(0.02)
        stage.host.until(lambda: isinstance(peer.lost, TimeoutError))
        assert peer.passed == 2
        assert 0.04 <= time.monotonic() - started < 4

    play(host, story, Patient)


@pytest.mark.parametrize(
    "where", ["connection_made", "data_received", "eof_received", "connection_lost", "deadline_passed"]
)
def test_an_exception_is_reported_and_closes_only_its_connection(host: Any, where: str) -> None:
    class Broken(Recorder):
        pass

    def fail(self: Recorder, *args: Any) -> None:
        raise RuntimeError(where)

    def story(stage: Stage) -> None:
        healthy = stage.dial()
        stage.host.until(lambda: stage.made)
        setattr(Broken, where, fail)
        client = stage.dial()
        client.sendall(b"x")
        if where != "data_received":
            stage.host.until(lambda: len(stage.made) == 2)
            if where == "deadline_passed":
                stage.host.until(lambda: stage.made[1].data)
                stage.made[1].connection.set_deadline(0.001)
            if where in ("eof_received", "connection_lost"):
                client.shutdown(socket.SHUT_WR)
        stage.host.until(lambda: stage.host.errors)
        assert [str(error) for error in stage.host.errors] == [where]
        stage.host.until(lambda: len(stage.server) == 1)
        if where != "connection_lost":
            assert isinstance(stage.made[1].lost, RuntimeError)
            delattr(Broken, where)
            healthy.sendall(b"fine")
            stage.host.until(lambda: stage.made[0].data == b"fine")
        else:
            delattr(Broken, where)

    play(host, story, Broken)


def test_connections_max_leaves_others_in_the_queue(host: Any) -> None:
    def story(stage: Stage) -> None:
        clients = [stage.dial() for _ in range(4)]
        stage.host.until(lambda: len(stage.made) == 2)
        marker: list[int] = []
        stage.reactor.call_later(0.02, marker.append, 1)
        stage.host.until(lambda: marker)
        assert len(stage.made) == len(stage.server) == 2
        clients[0].close()
        stage.host.until(lambda: len(stage.made) == 3)

    play(host, story, connections_max=2)


def test_drain_waits_for_the_last_connection(host: Any) -> None:
    def story(stage: Stage) -> None:
        client = stage.dial()
        stage.host.until(lambda: stage.made)
        done: list[str] = []
        stage.server.drain(lambda: done.append("drained"))
        assert stage.server.draining
        client.sendall(b"still served")
        stage.host.until(lambda: stage.made[0].data == b"still served")
        assert not done
        client.close()
        stage.host.until(lambda: done)
        late = stage.dial()  # the kernel's queue takes it, nobody accepts
        marker: list[int] = []
        stage.reactor.call_later(0.02, marker.append, 1)
        stage.host.until(lambda: marker)
        assert len(stage.made) == 1
        late.close()

    play(host, story)


def test_timers_fire_in_order_once_and_can_be_cancelled(host: Any) -> None:
    def story(stage: Stage) -> None:
        fired: list[Any] = []
        started = time.monotonic()
        stage.reactor.call_later(0.03, fired.append, "late")
        stage.reactor.call_later(0.01, fired.append, "soon")
        never = stage.reactor.call_later(0.02, fired.append, "never")
        assert never.active
        never.cancel()
        never.cancel()
        assert not never.active
        stage.host.until(lambda: "late" in fired)
        assert fired == ["soon", "late"]
        assert time.monotonic() - started >= 0.03
        failing = stage.reactor.call_later(0, lambda: 1 / 0)
        stage.host.until(lambda: stage.host.errors)
        assert isinstance(stage.host.errors[0], ZeroDivisionError)
        assert not failing.active
        with pytest.raises(ValueError, match="seconds"):
            stage.reactor.call_later(-1, print)

    play(host, story)


def test_bad_limits_are_refused() -> None:
    reactor = Reactor()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(ValueError, match="low < high"):
            Server(reactor, listener, Recorder, high=10, low=10)
        with pytest.raises(ValueError, match="connections_max"):
            Server(reactor, listener, Recorder, connections_max=0)


def test_unix_sockets_and_adopted_pairs(host: Any, tmp_path: Any) -> None:
    def story(stage: Stage) -> None:
        ours, theirs = socket.socketpair()
        peer = Recorder()
        connection = Connection(stage.reactor, ours, peer)
        assert ours.fileno() == -1  # the descriptor was taken over
        assert connection.peername == ""
        theirs.sendall(b"through a pair")
        stage.host.until(lambda: peer.data == b"through a pair")
        theirs.close()
        stage.host.until(lambda: peer.lost is None)

    play(host, story)


@pytest.fixture
def rss() -> Iterator[Callable[[], int]]:
    def read() -> int:
        with open("/proc/self/statm") as f:  # noqa: PTH123
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    yield read


@NOT_SANITIZED
def test_connections_that_come_and_go_leave_nothing(rss: Callable[[], int]) -> None:
    host = GeventHost()

    def story(stage: Stage) -> None:
        def burst(n: int) -> None:
            done = threading.Event()

            def clients() -> None:
                for _ in range(n):
                    with socket.create_connection(stage.listener.getsockname()) as c:
                        c.sendall(b"x" * 100)
                done.set()

            before = len(stage.made)
            thread = threading.Thread(target=clients)
            thread.start()
            stage.host.until(lambda: done.is_set() and len(stage.made) == before + n and not len(stage.server))
            thread.join()
            stage.made.clear()
            gc.collect()

        burst(200)
        baseline = rss()
        objects = len(gc.get_objects())
        for _ in range(3):
            burst(200)
        assert len(gc.get_objects()) < objects + 100
        assert rss() < baseline + 2_000_000
        assert stage.reactor.stats()["buffers_in_use"] == 0

    play(host, story)
