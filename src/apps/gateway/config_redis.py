"""Settings of the Redis that several machines share."""

import importlib.util
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from apps.config_base import Section
from apps.units import Duration, Whole


def _redis_url(value: SecretStr) -> SecretStr:
    scheme, _, rest = value.get_secret_value().partition("://")
    if scheme not in ("redis", "rediss", "unix") or not rest:
        raise ValueError("write redis://HOST:PORT/0, rediss://USER:PASSWORD@HOST:PORT/0 (TLS) or unix:///PATH")
    if importlib.util.find_spec("redis") is None:
        raise ValueError("the package redis is not installed: pip install 'fastcore[redis]'")
    return value


class Redis(Section):
    url: Annotated[SecretStr, AfterValidator(_redis_url)]
    """`redis://HOST:PORT/0`, `rediss://USER:PASSWORD@HOST:PORT/0` (TLS, verified) or `unix:///PATH`. Redis 6.2
    or newer."""
    ca_file: str | None = None
    """With `rediss`: whose certificates are believed; without it those the system believes."""
    timeout: Annotated[Duration, Field(ge=5, le=10_000)] = 100
    """How long an answer may take before Redis counts as gone; what requests wait at most for it. 5ms to 10s."""
    retry: Annotated[Duration, Field(ge=50, le=600_000)] = 1000
    """While it is gone: how often it is tried again. 50ms to 10m."""
    prefix: str = "fastcore:limit:"
    """What its keys begin with; gateways with another prefix have limits of their own."""
    waiting: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 4096
    """Requests of a worker that may wait for it at one time; beyond it they are answered 503."""
