"""Health checks of targets that speak HTTP/2: a GET, or gRPC's own protocol for them."""

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from apps.gateway import config_health as model
from apps.gateway.health_look import AGENT, CheckFailed, judge
from fastcore.proxy import Endpoint

PIECE = 1 << 14
GRPC_PATH = "/grpc.health.v1.Health/Check"
GRPC_MESSAGE_MAX = 4096
#: Of grpc.health.v1.HealthCheckResponse: field 1, the enum's SERVING.
SERVING = b"\x08\x01"


def ask_http2(sock: Any, endpoint: Endpoint, check: model.HealthCheck, *, secure: bool) -> None:
    """Raises CheckFailed and OSError."""
    _Question(sock, endpoint, check, secure).ask()


class _Question:
    """One request on a connection of its own."""

    def __init__(self, sock: Any, endpoint: Endpoint, check: model.HealthCheck, secure: bool):
        self._sock, self._check = sock, check
        self._host = check.host or endpoint.host_name()
        self._scheme = "https" if secure else "http"
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._fields: dict[str, str] = {}
        self._body = b""

    def ask(self) -> None:
        try:
            self._exchange()
        except h2.exceptions.H2Error as error:
            raise CheckFailed(f"no HTTP/2: {error}") from None
        if self._check.type == "grpc":
            self._judge_grpc()
        else:
            judge(int(self._fields[":status"]), self._check)

    def _exchange(self) -> None:
        grpc = self._check.type == "grpc"
        fields = [(":method", "POST" if grpc else "GET"), (":scheme", self._scheme), (":authority", self._host)]
        fields += [(":path", GRPC_PATH if grpc else self._check.path), ("user-agent", AGENT)]
        if grpc:
            fields += [("te", "trailers"), ("content-type", "application/grpc")]
        self._h2.initiate_connection()
        self._h2.send_headers(1, fields, end_stream=not grpc)
        if grpc:
            self._h2.send_data(1, _grpc_request(self._check.service), end_stream=True)
        while True:
            self._sock.sendall(self._h2.data_to_send())
            data = self._sock.recv(PIECE)
            if not data:
                raise CheckFailed("no HTTP/2 answer")
            for event in self._h2.receive_data(data):
                if self._take(event):
                    return

    def _take(self, event: h2.events.Event) -> bool:
        """True when what was asked for is here."""
        if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            raise CheckFailed(f"refused by HTTP/2 error {int(event.error_code or 0)}")
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self._fields |= {str(name): str(value) for name, value in event.headers or ()}
            return self._check.type == "http"
        if isinstance(event, h2.events.DataReceived):
            self._body += event.data or b""
            if len(self._body) > GRPC_MESSAGE_MAX:
                raise CheckFailed("an answer that is no health check's")
        return isinstance(event, h2.events.StreamEnded)

    def _judge_grpc(self) -> None:
        status = self._fields.get("grpc-status")
        if status != "0":
            raise CheckFailed(f"grpc-status {status or 'missing'}: {self._fields.get('grpc-message', '')}"[:200])
        if self._body[5:] != SERVING:
            raise CheckFailed("not serving")


def _grpc_request(service: str) -> bytes:
    """HealthCheckRequest with its service in field 1, as a message of gRPC: a byte, its length in four, itself."""
    name = service.encode()
    message = b"\x0a" + bytes((len(name),)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message
