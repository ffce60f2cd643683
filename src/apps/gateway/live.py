"""The data plane with settings that change under it: what a worker serves, and its reloader beside it."""

import socket
from collections.abc import Callable

from apps.gateway.data import DataPlane
from apps.gateway.origin import Origin
from apps.gateway.reloader import Reloader
from fastcore.reactor import Reactor
from fastcore.worker import FastcoreWorker


class LivePlane:
    """Started, drained and stopped by the worker (fastcore.worker.Service). changed: called after other settings
    of the control plane have come into force."""

    def __init__(self, origin: Origin, changed: Callable[[], None]):
        self._origin, self._changed = origin.newest(), changed
        self.plane = DataPlane(self._origin.settings)
        self.reloader: Reloader | None = None

    def start(self, worker: FastcoreWorker, reactor: Reactor, listeners: list[socket.socket]) -> list[socket.socket]:
        taken = self.plane.start(worker, reactor, listeners)
        self.reloader = Reloader(self._origin, self.plane, worker.metrics, self._changed)
        self.reloader.start()
        return taken

    def drain(self) -> None:
        assert self.reloader is not None
        self.reloader.stop()  # whoever replaces us follows; what is under way here ends as it began
        self.plane.drain()

    def drained(self) -> bool:
        return self.plane.drained()

    def stop(self) -> None:
        if self.reloader is not None:
            self.reloader.stop()
        self.plane.stop()

    def reopen_logs(self) -> None:
        self.plane.reopen_logs()
