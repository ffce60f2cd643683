"""The raw socket: connections that speak Faktory's protocol to the broker of this process.

Requests are carried out by one greenlet, in the order in which they came; their answers go through the gate, which
opens when the store has synced what was written before. While it syncs, the next are carried out: one sync serves all
who wait.
"""

import logging
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.lock

from apps.tasks.core.broker import Broker, Refused
from apps.tasks.core.job import BadJob
from apps.tasks.core.workers import Worker
from apps.tasks.data import wire
from apps.tasks.data.commands import Commands, Later
from apps.tasks.data.wire import BadRequest, Lines, LineTooLong
from apps.tasks.store import StoreFailed
from fastcore.reactor import Connection, Protocol, Reactor, Server, WriteState

log = logging.getLogger("fastcore.tasks")

WAITING_MAX = 1000  # requests of one connection that have no answer yet; it is not read meanwhile
FETCH_SECONDS = 2.0
ROUNDS = 4000, 4095


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Peer(Protocol):
    """One connection."""

    def __init__(self, service: "TaskServer"):
        self._service = service
        self._lines = Lines(service.line_bytes)
        self.requests: deque[bytes] = deque()
        self.waiting = 0
        """Requests read whose answer has not been sent."""
        self.salt = secrets.token_hex(8) if service.password else ""
        self.rounds = ROUNDS[0] + secrets.randbelow(ROUNDS[1] - ROUNDS[0]) if service.password else 0
        self.greeted = False
        self.worker: Worker | None = None
        self.parked: Parked | None = None
        self.ended = False
        self._full = False

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        greeting: dict[str, Any] = {"v": 2}
        if self.salt:
            greeting |= {"s": self.salt, "i": self.rounds}
        connection.set_deadline(self._service.hello_seconds)
        connection.write(wire.simple("HI " + wire.to_json(greeting).decode()))

    def data_received(self, data: bytes) -> None:
        if self.ended:
            return
        try:
            lines = self._lines.feed(data)
        except LineTooLong as problem:
            self._service.refuse(self, str(problem))
            return
        if lines:
            self.requests.extend(lines)
            self.waiting += len(lines)
            if self.waiting > WAITING_MAX and self.connection is not None:
                self.connection.pause_reading()
            self._service.has_requests(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended = True
        self.requests.clear()
        self._service.lost(self)

    def drained(self) -> None:
        self._full = False
        self._go_on()

    def answer(self, data: bytes) -> None:
        """Sent now: what it says is on the disk."""
        if self.connection is None or self.connection.closed:
            return
        self.waiting -= 1
        self._full = self.connection.write(data) is WriteState.FULL
        self._go_on()

    def close(self) -> None:
        self.ended = True
        self.requests.clear()
        if self.connection is not None:
            self.connection.close()

    def _go_on(self) -> None:
        if self.connection is None or self.connection.closed or self.ended:
            return
        if self._full or self.waiting > WAITING_MAX:
            self.connection.pause_reading()
        else:
            self.connection.resume_reading()


class Parked:
    """A FETCH that waits for a job."""

    def __init__(self, peer: Peer, worker: Worker, queues: list[str], until: float):
        self.peer, self.worker, self.queues, self.until = peer, worker, queues, until


class TaskServer:
    def __init__(
        self,
        broker: Broker,
        *,
        password: str | None = None,
        line_bytes: int = 1 << 20,
        hello_seconds: float = 5.0,
        connections: int = 10_000,
        clock: Callable[[], int] = now_ms,
    ):
        self.broker, self.password, self.clock = broker, password, clock
        self.line_bytes, self.hello_seconds, self._connections = line_bytes, hello_seconds, connections
        self.failed = ""
        """Why nothing can be written any more."""
        self.peers: set[Peer] = set()
        self._commands = Commands(broker, self)
        self._ready: dict[Peer, None] = {}
        self._gone: list[Peer] = []
        self._parked: dict[Parked, None] = {}
        self._gate: list[tuple[Peer, bytes | None]] = []
        self._work, self._answers = gevent.event.Event(), gevent.event.Event()
        self._servers: list[Server] = []
        self._greenlets: list[Any] = []
        self._stopping = False
        self.lock = gevent.lock.RLock()
        """Held while something is done with the broker: reading from its store may let other greenlets run."""

    def start(self, reactor: Reactor, listeners: list[socket.socket]) -> None:
        self._reactor = reactor
        for sock in listeners:
            self._servers.append(Server(reactor, sock, self._peer, connections_max=self._connections))
        self._greenlets = [gevent.spawn(self._carry_out_forever), gevent.spawn(self._open_gate_forever)]

    def stop_accepting(self) -> None:
        for server in self._servers:
            server.stop_accepting()

    def stop(self) -> None:
        """Answers that wait for the disk are sent; then connections are closed. What workers hold stays theirs, if they
        come back in time."""
        self._stopping = True
        self._work.set()
        self._answers.set()
        gevent.joinall(self._greenlets, timeout=5.0)
        for peer in list(self.peers):
            peer.close()
        for server in self._servers:
            server.close()

    # --- from connections ---

    def _peer(self) -> Peer:
        peer = Peer(self)
        self.peers.add(peer)
        return peer

    def has_requests(self, peer: Peer) -> None:
        if peer.parked is None:
            self._ready[peer] = None
        self._work.set()

    def came(self) -> None:
        """Jobs, on another way than these connections."""
        self._work.set()

    def refuse(self, peer: Peer, text: str) -> None:
        """The last that it hears."""
        peer.requests.clear()
        peer.ended = True
        self._answer(peer, wire.error(text))
        self._answer(peer, None)

    def lost(self, peer: Peer) -> None:
        self.peers.discard(peer)
        self._gone.append(peer)
        self._work.set()

    # --- carrying out ---

    def _carry_out_forever(self) -> None:
        while not self._stopping:
            self._work.wait(self._seconds_to_next())
            self._work.clear()
            try:
                with self.lock:
                    self._carry_out(self.clock())
            except StoreFailed as failure:
                self.fail(str(failure))

    def _seconds_to_next(self) -> float | None:
        if self.failed:
            return None
        now = self.clock()
        times: list[float | None] = [self.broker.next_at(), *(parked.until for parked in self._parked)]
        for queue in {queue for parked in self._parked for queue in parked.queues}:
            due = self.broker.index.next_run_at(queue)
            if due is not None and due > now:  # what is due and was not taken is paused
                times.append(due)
        nearest = min((time for time in times if time is not None), default=None)
        return None if nearest is None else max(0.0, (nearest - now) / 1000)

    def _carry_out(self, now: int) -> None:
        for peer in self._gone:
            if peer.parked is not None:
                self._parked.pop(peer.parked, None)
                peer.parked = None
            self._ready.pop(peer, None)
            if peer.worker is not None and not self.failed:
                self.broker.left(peer.worker, now)
        self._gone.clear()
        if not self.failed and (due := self.broker.next_at()) is not None and due <= now:
            self.broker.tick(now)
        ready, self._ready = self._ready, {}
        for peer in ready:
            self._serve(peer, now)
        self._serve_parked(now)
        if self._gate:
            self._answers.set()

    def _serve(self, peer: Peer, now: int) -> None:
        while peer.requests and peer.parked is None and not peer.ended:
            self._answer_to(peer, peer.requests.popleft(), now)

    def _answer_to(self, peer: Peer, request: bytes, now: int) -> None:
        if self.failed:
            self._answer(peer, wire.error(f"the store is read-only: {self.failed}"))
            return
        try:
            made = self._commands.carry_out(peer, request, now)
        except (BadRequest, BadJob) as problem:
            made = wire.error(str(problem))
        except Refused as refused:
            made = wire.error(str(refused), refused.code)
        except StoreFailed as failure:
            self.fail(str(failure))
            made = wire.error(f"the store is read-only: {failure}")
        except Exception:
            log.exception("a request could not be carried out")
            made = wire.error("this is a mistake of the broker's; it is in its log")
        if isinstance(made, Later):
            if peer.worker is not None:
                peer.parked = Parked(peer, peer.worker, made.queues, now + FETCH_SECONDS * 1000)
                self._parked[peer.parked] = None
            return
        self._answer(peer, made)
        if not peer.greeted:
            peer.ended = True
            peer.requests.clear()
            self._answer(peer, None)

    def _serve_parked(self, now: int) -> None:
        """Who has waited for longest is first."""
        queues = {queue for parked in self._parked for queue in parked.queues}
        due = set() if self.failed else {queue for queue in queues if self.broker.index.depth(queue, now).ready}
        for parked in list(self._parked):
            there_may_be = not due.isdisjoint(parked.queues)
            found = self.broker.fetch(parked.worker, parked.queues, now) if there_may_be else None
            if found is None and parked.until > now and not self.failed and not parked.worker.quiet:
                continue
            del self._parked[parked]
            parked.peer.parked = None
            self._answer(parked.peer, wire.bulk(found))
            self._serve(parked.peer, now)

    def _answer(self, peer: Peer, data: bytes | None) -> None:
        """data: None closes the connection."""
        self._gate.append((peer, data))
        self._answers.set()

    def fail(self, why: str) -> None:
        """Answers that wait for the disk must not be sent."""
        if not self.failed:
            log.critical("the store is read-only from now on: %s", why)
            self.failed = why

    def _open_gate_forever(self) -> None:
        while not (self._stopping and not self._gate):
            self._answers.wait()
            self._answers.clear()
            gate, self._gate = self._gate, []
            if not gate:
                if self._stopping:
                    return
                continue
            try:
                if not self.failed:
                    self.broker.store.sync()
            except StoreFailed as failure:
                self.fail(str(failure))
            for peer, data in gate:
                if data is None:
                    peer.close()
                elif self.failed and not data.startswith(b"-"):
                    peer.answer(wire.error(f"the store is read-only: {self.failed}"))
                else:
                    peer.answer(data)
