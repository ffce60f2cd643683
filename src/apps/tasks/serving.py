"""From settings to a running gunicorn: the options, and the WSGI callable that also tells which listener is ours."""

import os
import sys
from pathlib import Path
from typing import Any

from apps.gunicorn_app import WORKER_CLASS, Plan
from apps.settings import InvalidSettings
from apps.settings_file import FileError
from apps.tasks.config import CONFIG_VARIABLE, Flags, Tasks, checked
from apps.tasks.service import TasksApp

BACKLOG = 4096


def gunicorn_options(settings: Tasks) -> dict[str, Any]:
    """gunicorn's settings for these of ours: one worker, for the store is one process's at a time."""
    return {
        "bind": [str(address) for address in (*settings.listen, settings.control)],
        "workers": 1,
        "worker_class": WORKER_CLASS,
        "worker_connections": settings.limits.connections,
        "graceful_timeout": -(-settings.timeouts.drain // 1000),
        "backlog": BACKLOG,
        "pidfile": settings.pid_file,
        "proc_name": "fastcore tasks",
        # One default control socket for all of a user's gunicorns: a second service would take the first one's away.
        "control_socket_disable": True,
        # The heartbeat file on a disk would stall with that disk, and the master kill a healthy worker.
        "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,  # noqa: S108
    }


def plan(file: str | None, flags: Flags | None = None) -> Plan:
    """Reads the settings and says how to run them. Raises InvalidSettings, also for a file that cannot be read."""
    try:
        settings = checked(file, flags).settings
    except FileError as error:
        raise InvalidSettings(str(error)) from None
    assert settings is not None
    made = settings
    return Plan(gunicorn_options(made), lambda: TasksApp(made, file, flags))


def app_from_environment() -> TasksApp:
    """Raises InvalidSettings."""
    file = os.environ.get(CONFIG_VARIABLE)
    settings = checked(file).settings
    assert settings is not None
    return TasksApp(settings, file)


def options_from_environment() -> dict[str, Any]:
    """For gunicorn.conf.py: ends the process with every problem said."""
    from apps.exits import CONFIG

    try:
        return dict(plan(os.environ.get(CONFIG_VARIABLE)).options)
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        sys.exit(CONFIG)
