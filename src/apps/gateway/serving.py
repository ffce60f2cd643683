"""From settings to a running gunicorn: the options, and the WSGI callable that also tells which listener is ours.

Used by `fastcore gateway` (through `apps.gunicorn_app`), by gunicorn.conf.py, and by `gunicorn apps.gateway:app`.
"""

import os
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, ClassVar

from apps.gateway.compiled import Compiled, Flags, compile_text, no_turn
from apps.gateway.config import load_settings
from apps.gateway.config_model import Gateway
from apps.gateway.history import Entry, History, private_history
from apps.gateway.origin import Origin
from apps.gateway.service import FixedConfiguration, GatewayApp
from apps.gateway.settings_files import place_of, said
from apps.gunicorn_app import WORKER_CLASS, Plan, log
from apps.settings import InvalidSettings, Loaded
from apps.settings_file import FileError, read_settings
from apps.yaml_source import Path
from fastcore.shm import DEFAULT_SIZE

REGION_BYTES = "FASTCORE_REGION_BYTES"  # as fastcore.worker has it, which is not imported before it is needed

SPAN_BYTES = 8 << 20  # for the queue of fastcore.spans

CONFIG_VARIABLE = "FASTCORE_GATEWAY_CONFIG"
BACKLOG = 4096  # new connections that may queue while every worker is busy; the kernel cuts it to net.core.somaxconn


def cpu_count() -> int:
    """CPUs this process may use, which in a container is less than the machine has."""
    return len(os.sched_getaffinity(0))


def gunicorn_options(settings: Gateway) -> dict[str, Any]:
    """gunicorn's settings for these of ours; bind has the data plane's addresses first, those with TLS
    after the others, the control plane's last."""
    return {
        "bind": [str(address) for address in (*settings.listen, *settings.tls.listen, settings.control)],
        "workers": settings.workers or cpu_count(),
        "worker_class": WORKER_CLASS,
        "worker_connections": settings.limits.connections,
        "graceful_timeout": -(-settings.timeouts.drain // 1000),
        "backlog": BACKLOG,
        "pidfile": settings.pid_file,
        "proc_name": "fastcore gateway",
        # One default control socket for all of a user's gunicorns: a second service would take the first one's away.
        "control_socket_disable": True,
        # The heartbeat file on a disk would stall with that disk, and the master kill a healthy worker.
        "worker_tmp_dir": "/dev/shm" if FilePath("/dev/shm").is_dir() else None,  # noqa: S108
    }


def region_bytes(settings: Gateway) -> int:
    """What the workers share: the tables the settings size, twice for what is beside their contents, and the rest."""
    spans = SPAN_BYTES if settings.tracing is not None and settings.tracing.export is not None else 0
    return DEFAULT_SIZE + 2 * settings.cache.memory + 2 * settings.auth.memory + spans


def checked(file: str | None, flags: Mapping[Path, tuple[str, Any]] | None = None) -> Loaded[Gateway]:
    """Settings without problems. Raises InvalidSettings with every problem on a line of its own, or FileError."""
    loaded = load_settings(file, flags=flags)
    if loaded.problems:
        raise InvalidSettings.of(loaded.problems)
    return loaded


def plan(file: str | None, flags: Flags | None = None) -> Plan:
    """Reads the settings and says how to run them. Raises InvalidSettings, also for a file that cannot be read."""
    place = place_of(file) if file else ""
    try:
        compiled = compile_text(read_settings(file) if file else "", file, flags)
    except FileError as error:
        raise InvalidSettings(str(error)) from None
    settings, known = compiled.settings({}, no_turn)
    # The worker class makes the region when gunicorn first looks at it, which is after this; a reload finds it made.
    os.environ.setdefault(REGION_BYTES, str(region_bytes(settings)))
    origin = Origin(file, flags, *_remembered(compiled, settings, place), compiled, settings, known)
    return Plan(gunicorn_options(settings), lambda: GatewayApp(settings, origin))


class _Histories:
    """Of this process, the master: one for all its reloads."""

    by_directory: ClassVar[dict[str | None, History]] = {}


def _remembered(compiled: Compiled, settings: Gateway, place: str) -> tuple[History, Entry]:
    """The history, with these settings in force."""
    directory = settings.reload.directory
    histories = _Histories.by_directory
    source = "reload" if histories else "start"
    try:
        if directory not in histories:
            histories[directory] = History(FilePath(directory)) if directory else private_history()
        history = histories[directory]
        entry = history.current()
        if entry is None or entry.digest != compiled.digest:
            entry = history.add(compiled, source=source, keep=settings.reload.keep)
        history.saw(place)
        if source == "start":
            history.drain(False)  # left by an earlier gateway with the same folder
    except OSError as error:
        raise InvalidSettings(f"reload.directory: {said(error)}") from None
    return history, entry


class FromEnvironment:
    """Settings for a gunicorn somebody else started, named by FASTCORE_GATEWAY_CONFIG and the environment.

    gunicorn.conf.py runs in the master, at start and on HUP, and asks for the plan; workers inherit it by fork. A
    reload that finds problems keeps the last good plan: gunicorn by itself would end the master and all traffic.
    """

    def __init__(self) -> None:
        self._plan: Plan | None = None

    def plan(self) -> Plan:
        """Raises InvalidSettings only when there is no good plan from before."""
        try:
            self._plan = plan(os.environ.get(CONFIG_VARIABLE))
        except InvalidSettings as error:
            if self._plan is None:
                raise
            log.error("reload refused, the running settings stay:\n%s", error)
        return self._plan

    def app(self) -> GatewayApp:
        """The WSGI callable; without gunicorn.conf.py the settings are read here, in each worker, and stay so."""
        if self._plan is not None:
            made: GatewayApp = self._plan.load()
            return made
        loaded = checked(os.environ.get(CONFIG_VARIABLE))
        assert loaded.settings is not None
        return GatewayApp(loaded.settings, FixedConfiguration(loaded))


from_environment = FromEnvironment()
