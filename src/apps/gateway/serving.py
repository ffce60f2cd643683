"""From settings to a running gunicorn: the options, and the WSGI callable that also tells which listener is ours.

Used by `fastcore gateway` (through `apps.gunicorn_app`), by gunicorn.conf.py, and by `gunicorn apps.gateway:app`.
"""

import os
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from apps.gateway.config import FileError, load_settings
from apps.gateway.config_model import Gateway
from apps.gateway.service import GatewayApp
from apps.gunicorn_app import WORKER_CLASS, InvalidSettings, Plan, log
from apps.settings import Loaded
from apps.yaml_source import Path
from fastcore.shm import DEFAULT_SIZE

REGION_BYTES = "FASTCORE_REGION_BYTES"  # as fastcore.worker has it, which is not imported before it is needed

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
    return DEFAULT_SIZE + 2 * settings.cache.memory + 2 * settings.auth.memory


def checked(file: str | None, flags: Mapping[Path, tuple[str, Any]] | None = None) -> Loaded[Gateway]:
    """Settings without problems. Raises InvalidSettings with every problem on a line of its own, or FileError."""
    loaded = load_settings(file, flags=flags)
    if loaded.problems:
        raise InvalidSettings("\n".join(map(str, loaded.problems)))
    return loaded


def _try_log(path: str) -> None:
    """An access log that cannot be opened is a refused start or reload; found by a worker, it would end the service."""
    if path in ("off", "-"):
        return
    try:
        FilePath(path).open("ab").close()
    except OSError as error:
        raise InvalidSettings(f"access_log.path: {path}: {error.strerror}") from None


def plan(file: str | None, flags: Mapping[Path, tuple[str, Any]] | None = None) -> Plan:
    """Reads the settings and says how to run them. Raises InvalidSettings, also for a file that cannot be read."""
    try:
        loaded = checked(file, flags)
    except FileError as error:
        raise InvalidSettings(str(error)) from None
    assert loaded.settings is not None
    _try_log(loaded.settings.access_log.path)
    # The worker class makes the region when gunicorn first looks at it, which is after this; a reload finds it made.
    os.environ.setdefault(REGION_BYTES, str(region_bytes(loaded.settings)))
    return Plan(gunicorn_options(loaded.settings), lambda: GatewayApp(loaded))


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
        """The WSGI callable; without gunicorn.conf.py the settings are read here, in each worker."""
        made: GatewayApp = (self._plan or self.plan()).load()
        return made


from_environment = FromEnvironment()
