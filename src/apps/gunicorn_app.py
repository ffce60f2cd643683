"""gunicorn as a library: one application class for every service of the `fastcore` command.

A service gives a function that reads its settings and one that makes its WSGI callable. HUP calls the first again; when
it finds problems they are logged and the running settings stay, where gunicorn alone would end the master.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from apps.settings import InvalidSettings

WORKER_CLASS = "fastcore.worker.FastcoreWorker"

log = logging.getLogger("fastcore")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run a service: gunicorn's settings, and the WSGI callable each worker makes after the fork."""

    options: Mapping[str, Any]
    load: Callable[[], Any]


class ServiceApplication(BaseApplication):  # type: ignore[misc]
    """Runs `plan()`; on HUP runs it again. The callable and its settings reach the workers through fork."""

    def __init__(self, plan: Callable[[], Plan]):
        self._make_plan = plan
        self._plan = plan()
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._plan.options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._plan.load()

    def accept_reload(self) -> bool:
        """Reads the settings again. False when they have problems: nothing may change then."""
        try:
            self._plan = self._make_plan()
        except InvalidSettings as error:
            log.error("reload refused, the running settings stay:\n%s", error)
            return False
        self.callable = None
        return True

    def run(self) -> None:
        ServiceArbiter(self).run()


class ServiceArbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's master, but a reload with wrong settings replaces no worker: connections and pools stay."""

    app: ServiceApplication

    def reload(self) -> None:
        if self.app.accept_reload():
            super().reload()
