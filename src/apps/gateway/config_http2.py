"""Settings of HTTP/2 towards clients (RFC 9113)."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from apps.config_base import Finding, Section
from apps.units import Size, Whole

WINDOW_MAX = (1 << 31) - 1  # RFC 9113, section 6.9.1


class Http2(Section):
    enabled: bool = True
    """Speak it with clients that ask: over TLS by ALPN, in the clear with prior knowledge (a connection that begins
    with its preface). A plain `false` instead of a mapping means this."""
    streams: Annotated[int, Field(ge=1, le=10_000), Whole] = 128
    """Requests a client may have under way on one connection; more are refused, and it may send them again."""
    stream_window: Annotated[Size, Field(ge=65_535, le=WINDOW_MAX)] = 256 * 1024
    """Bytes of a request's body that may come before its target has taken them."""
    connection_window: Annotated[Size, Field(ge=65_535, le=WINDOW_MAX)] = 1 << 20
    """The same for all requests of a connection together."""
    control_burst: Annotated[int, Field(ge=10, le=1_000_000), Whole] = 1000
    """Frames that only make work (RST_STREAM, PING, SETTINGS, PRIORITY, empty DATA) a client may send at once; beyond
    it the connection ends (ENHANCE_YOUR_CALM)."""
    control_rate: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 100
    """How many of them it may send per second in the long run."""

    def protocols(self) -> tuple[str, ...]:
        """What is offered by ALPN, the preferred first."""
        return ("h2", "http/1.1") if self.enabled else ("http/1.1",)


Http2OrSwitch = Annotated[
    Http2, BeforeValidator(lambda value: {"enabled": value} if isinstance(value, bool) else value)
]


def check_http2(settings: Http2) -> Iterator[Finding]:
    if settings.connection_window < settings.stream_window:
        yield ("http2", "connection_window"), "smaller than stream_window: one request could never use its own"
