"""One look at one target: is it well? Over TLS and HTTP/2 where the upstream speaks them: these may be what is ill."""

from typing import Any

import gevent
from gevent import socket

from apps.gateway import config_health as model
from apps.gateway.tls import Client
from fastcore.proxy import Endpoint

AGENT = "fastcore-health-check"
STATUS_LINE_MAX = 4096


class CheckFailed(Exception):
    """Why a target did not pass."""


def look(endpoint: Endpoint, check: model.HealthCheck, tls: Client | None = None, http2: bool = False) -> None:
    """Raises CheckFailed, also after `check.timeout`."""
    try:
        with gevent.Timeout(check.timeout / 1000, CheckFailed("no answer in time")):
            family = socket.AF_UNIX if isinstance(endpoint.address, str) else _family(endpoint.address[0])
            with socket.socket(family) as sock:
                sock.connect(endpoint.address)
                stream = tls.wrap(sock, endpoint.host_name()) if tls else sock
                if check.type == "tcp":
                    return
                if http2:
                    # Here, because h2 takes 60 ms to import, and most gateways need none.
                    from apps.gateway.health_http2 import ask_http2

                    ask_http2(stream, endpoint, check, secure=tls is not None)
                else:
                    _ask_http1(stream, endpoint, check)
    except OSError as error:
        raise CheckFailed(error.strerror or str(error)) from None


def _family(host: str) -> int:
    return int(socket.AF_INET6 if ":" in host else socket.AF_INET)


def judge(status: int, check: model.HealthCheck) -> None:
    if status not in model.numbers(check.statuses):
        raise CheckFailed(f"status {status}")


def _ask_http1(sock: Any, endpoint: Endpoint, check: model.HealthCheck) -> None:
    host = check.host or endpoint.host_name()
    lines = [f"GET {check.path} HTTP/1.1", f"Host: {host}", f"User-Agent: {AGENT}", "Connection: close"]
    sock.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    line = b""
    while b"\n" not in line and len(line) < STATUS_LINE_MAX:
        piece = sock.recv(STATUS_LINE_MAX)
        if not piece:
            break
        line += piece
    words = line.split(b"\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise CheckFailed("no HTTP answer")
    judge(int(words[1]), check)
