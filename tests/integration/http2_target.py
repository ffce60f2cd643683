"""A target that speaks HTTP/2, by another implementation than ours: hyper's h2."""

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings
from servers import RawUpstream, Wire


@dataclass
class Asked:
    """A request, complete, and how to answer it."""

    session: "Session"
    stream: int
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def __getitem__(self, name: str) -> str | None:
        return dict(self.fields).get(name)

    def head(self, *more: tuple[str, str], status: int = 200, ends: bool = False) -> None:
        self.session.h2.send_headers(self.stream, [(":status", str(status)), *more], end_stream=ends)
        self.session.flush()

    def data(self, data: bytes, *, ends: bool = False) -> None:
        """Within the windows, which are waited for."""
        at = 0
        while True:
            room = self.session.h2.local_flow_control_window(self.stream)
            piece = data[at : at + min(room, 16_384)]
            at += len(piece)
            last = at == len(data)
            if piece or last:
                self.session.h2.send_data(self.stream, piece, end_stream=ends and last)
                self.session.flush()
            if last:
                return
            if not piece:
                self.session.receive()

    def answer(self, body: bytes = b"ok", *more: tuple[str, str], status: int = 200) -> None:
        self.head(("content-length", str(len(body))), *more, status=status, ends=not body)
        if body:
            self.data(body, ends=True)

    def reset(self, code: int) -> None:
        self.session.h2.reset_stream(self.stream, code)
        self.session.flush()


class Session:
    def __init__(self, wire: Wire, settings: dict[int, int]):
        self.wire = wire
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_outbound_headers=False)
        )
        self.requests: dict[int, Asked] = {}
        self.resets: dict[int, int] = {}
        self.complete: list[Asked] = []
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings(settings)
        self.flush()

    def flush(self) -> None:
        self.wire.send(self.h2.data_to_send())

    def receive(self) -> bool:
        """False at the end of the connection."""
        data = self.wire.sock.recv(1 << 16)
        for event in self.h2.receive_data(data) if data else ():
            if isinstance(event, h2.events.RequestReceived):
                self.requests[event.stream_id] = Asked(self, event.stream_id, list(event.headers))
            elif isinstance(event, h2.events.DataReceived):
                self.requests[event.stream_id].body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.requests[event.stream_id].trailers = list(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                self.complete.append(self.requests[event.stream_id])
            elif isinstance(event, h2.events.StreamReset):
                self.resets[event.stream_id] = int(event.error_code)
        self.flush()
        return bool(data)

    def next(self) -> Asked | None:
        """The next request that is complete; None at the end of the connection."""
        while not self.complete:
            if not self.receive():
                return None
        return self.complete.pop(0)


class Http2Target:
    """Runs `handler(asked)` for each request, one after the other on a connection, each connection in a thread."""

    def __init__(
        self,
        handler: Callable[[Asked], None],
        *,
        settings: dict[int, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ):
        self.sessions: list[Session] = []
        self.seen: list[Asked] = []
        self._lock = threading.Lock()

        def serve(wire: Wire) -> None:
            session = Session(wire, settings or {})
            with self._lock:
                self.sessions.append(session)
            while (asked := session.next()) is not None:
                with self._lock:
                    self.seen.append(asked)
                handler(asked)

        self._raw = RawUpstream(tls=tls).serve(serve)
        self.address = self._raw.address

    def close(self) -> None:
        for session in self.sessions:
            try:
                session.wire.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._raw.close()
