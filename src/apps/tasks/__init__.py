"""The task queue. `fastcore tasks` starts it; `gunicorn -k gevent apps.tasks:app` its control plane alone."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`app` is made when gunicorn asks for it, so that importing a part of the queue reads no settings."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from apps.tasks.serving import app_from_environment

    globals()["app"] = app = app_from_environment()
    return app
