"""What the one worker runs: store, broker, raw socket, and the WSGI callable of the control plane."""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from gunicorn.arbiter import Arbiter

from apps.tasks.config import Flags, Tasks
from apps.tasks.control import create_app
from apps.tasks.core.broker import Broker
from apps.tasks.data.server import TaskServer, now_ms
from apps.tasks.figures import Figures
from apps.tasks.store_embedded import EmbeddedStore
from apps.units import Address
from fastcore.reactor import Reactor
from fastcore.worker import FastcoreWorker

log = logging.getLogger("fastcore.tasks")


class TaskService:
    """`fastcore.worker.Service`: started by the worker after fork."""

    def __init__(self, settings: Tasks, file: str | None = None, flags: Flags | None = None):
        self.settings, self.file, self.flags = settings, file, flags
        self.started = time.time()
        self.server: TaskServer | None = None
        self.draining = False

    def start(self, worker: FastcoreWorker, reactor: Reactor, listeners: list[socket.socket]) -> list[socket.socket]:
        """Ends the process, and with it the master, when the directory cannot be used."""
        settings = self.settings
        try:
            os.makedirs(settings.data, mode=0o700, exist_ok=True)  # noqa: PTH103 (a mode for the parents as well)
            self._store = EmbeddedStore(settings.data)
        except OSError as error:
            log.critical("data: %s: %s", settings.data, error.strerror or error)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)  # another try would find the same
        limits = settings.limits
        self.broker = Broker(
            self._store,
            now_ms(),
            jobs_max=limits.jobs,
            crashes_max=limits.crashes,
            dead_days=limits.dead_days,
            worker_timeout=settings.timeouts.worker,
        )
        self.server = TaskServer(
            self.broker,
            password=settings.password.get_secret_value() if settings.password else None,
            line_bytes=limits.line_bytes,
            hello_seconds=settings.timeouts.hello / 1000,
            connections=limits.connections,
        )
        self.metrics = worker.metrics
        self.figures = Figures(self.broker, worker.metrics)
        taken = [sock for sock in listeners if _is_at(sock, settings.listen)]
        self.server.start(reactor, taken)
        return taken

    def drain(self) -> None:
        self.draining = True
        if self.server is not None:
            self.server.stop_accepting()

    def drained(self) -> bool:
        """Connections stay open for as long as workers like: what was answered is on the disk, and that is enough."""
        return True

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self._store.close()

    def reopen_logs(self) -> None:
        pass  # all of it goes to standard error


def _is_at(sock: socket.socket, addresses: tuple[Address, ...]) -> bool:
    name = sock.getsockname()
    if isinstance(name, str):
        return any(address.path == name for address in addresses)
    return any(not address.path and address.port == name[1] for address in addresses)


class TasksApp:
    """The WSGI callable gunicorn loads. FastcoreWorker asks it for `fastcore_service`; under any other worker class
    nobody asks, and the control plane says that no broker runs."""

    def __init__(self, settings: Tasks, file: str | None = None, flags: Flags | None = None):
        self.service = TaskService(settings, file, flags)
        self._app: Any = None

    @property
    def fastcore_service(self) -> TaskService:
        return self.service

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._app is None:
            self._app = create_app(self.service)
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer
