"""Settings of figures for statsd."""

from typing import Annotated

from pydantic import AfterValidator, Field

from apps.config_base import Section
from apps.units import Address, SocketAddress, Timeout


def _port(value: Address) -> Address:
    if value.path or not value.host:
        raise ValueError("statsd listens at host:port (UDP)")
    return value


class Statsd(Section):
    address: Annotated[SocketAddress, AfterValidator(_port)]
    """Where statsd listens, as in `127.0.0.1:8125`. A plain string instead of a mapping means this."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$", max_length=100)] = "fastcore"
    """Before each name."""
    every: Timeout = 10_000
    """How often figures are sent; the flush interval of statsd itself, or longer."""
