"""A WSGI application with a raw-socket service beside it: upper-cases what it hears on the second listener."""

import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

from fastcore.reactor import Protocol, Reactor, Server
from fastcore.worker import FastcoreWorker

log = logging.getLogger("gunicorn.error")


class Upper(Protocol):
    """Answers in capitals."""

    def data_received(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.write(data.upper())


class Service:
    """fastcore.worker.Service on fastcore.reactor.Server."""

    def start(self, worker: FastcoreWorker, reactor: Reactor, listeners: list[socket.socket]) -> list[socket.socket]:
        """Takes the second listener."""
        self.server = Server(reactor, listeners[1], Upper)
        return [listeners[1]]

    def drain(self) -> None:
        """Stop accepting."""
        log.info("service drains")
        self.server.drain()

    def drained(self) -> bool:
        """No connection is left."""
        return not len(self.server)

    def stop(self) -> None:
        """Close what is left."""
        log.info("service stops")
        self.server.close()

    def reopen_logs(self) -> None:
        """There are none; say so."""
        log.info("service reopens its logs")


class App:
    """The control plane."""

    fastcore_service = Service()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "7")])
        return [b"control"]


app = App()
