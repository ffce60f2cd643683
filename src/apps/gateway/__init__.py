"""The API gateway. `fastcore gateway` starts it; `gunicorn -k gevent apps.gateway:app` its control plane alone."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`app` is made when gunicorn asks for it, so that importing a part of the gateway reads no settings."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from apps.gateway.serving import from_environment

    globals()["app"] = app = from_environment.app()
    return app
