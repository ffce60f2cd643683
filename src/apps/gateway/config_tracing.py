"""Settings of tracing: whose context is taken, what is sampled, and where spans go."""

import importlib.util
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from apps.config_base import FieldToken, Finding, Section
from apps.units import Timeout

LIBRARY = "opentelemetry.exporter.otlp.proto.http"


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"{value!r} is no OTLP/HTTP address: write http://127.0.0.1:4318/v1/traces")
    return value


class Tracing(Section):
    export: Annotated[str, AfterValidator(_url)] | None = None
    """Where spans go, by OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`. Without it the context is passed on, the
    access log has the trace's id, and nothing else is kept."""
    export_headers: dict[FieldToken, SecretStr] = {}
    """Fields of the exporter's requests, for collectors that ask for a key."""
    export_every: Timeout = 1_000
    """Longest time a finished span waits."""
    export_timeout: Timeout = 10_000
    """For the collector's answer."""
    service_name: Annotated[str, Field(min_length=1, max_length=255)] = "fastcore-gateway"
    """Name of this service in traces."""
    sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the traces that begin here and are kept. Those that began elsewhere are kept if they are there."""
    trust: bool = True
    """Take the context of every client; false: of `trusted_proxies` alone, everybody else's traces begin here."""


def check_tracing(tracing: Tracing | None) -> Iterator[Finding]:
    if tracing is None or tracing.export is None:
        return
    try:
        found = importlib.util.find_spec(LIBRARY) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        yield ("tracing", "export"), "needs OpenTelemetry: pip install 'fastcore-services[otel]'"
