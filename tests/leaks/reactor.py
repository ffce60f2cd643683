import socket
from contextlib import suppress

from tests.leaks.table import operation

from fastcore.reactor import Connection, Protocol, Reactor, Server

REACTOR = Reactor()


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.connection.write(data)


def turn_until(what) -> None:
    for _ in range(10_000):
        if what():
            return
        REACTOR.run_once(0)
    raise AssertionError("it did not happen")


LISTENER = socket.create_server(("127.0.0.1", 0))
LISTENER.setblocking(False)
SERVER = Server(REACTOR, LISTENER, Echo)


@operation("timers")
def timers() -> None:
    fired = []
    REACTOR.call_later(0, fired.append, 1)
    REACTOR.call_later(60, fired.append, 2).cancel()
    REACTOR.call_later(60, fired.append, 3).cancel()
    REACTOR.run_once(0.01)


@operation("a connection, echoed and closed", weight=20)
def connection() -> None:
    with socket.create_connection(LISTENER.getsockname()) as client:
        client.setblocking(False)
        client.send(b"x" * 100)
        got = []

        def answered() -> bool:
            with suppress(BlockingIOError):
                got.append(client.recv(1000))
            return bool(got)

        turn_until(answered)
    turn_until(lambda: len(SERVER) == 0)


@operation("a pair whose protocol raises", weight=20)
def raising() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    lost = []

    class Bad(Protocol):
        def data_received(self, data: bytes) -> None:
            self.connection.abort()

        def connection_lost(self, exc: BaseException | None) -> None:
            lost.append(exc)

    with theirs:
        _made = Connection(REACTOR, ours, Bad())
        theirs.send(b"x")
        turn_until(lambda: lost)


@operation("reactors", weight=50)
def reactors() -> None:
    reactor = Reactor()
    reactor.run_once(0)
    reactor.stats()
