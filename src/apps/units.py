"""The value types settings share: durations, sizes and addresses, as people write them and as programs use them."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d)?")
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?)\s*([KMGT]?B?)", re.IGNORECASE)
_LONGEST_MS = 366 * 86_400_000


def parse_duration(value: Any) -> int:
    """Milliseconds of `500ms`, `2s`, `1.5m`, `1h`, `1d`, or of a number of seconds.

    Raises ValueError for anything else, for a negative or a too long (over a year) one, and for a fraction of a
    millisecond, which no timer here keeps.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a duration is written 500ms, 2s, 1m, 1h, or as a number of seconds")
    found = _DURATION.fullmatch(str(value).strip())
    if not found:
        raise ValueError(f"{value!r} is no duration: write 500ms, 2s, 1m, 1h, or a number of seconds")
    milliseconds = float(found[1]) * _DURATION_UNITS[found[2] or "s"]
    if milliseconds > _LONGEST_MS:
        raise ValueError(f"{value!r} is longer than a year")
    if milliseconds != int(milliseconds):
        raise ValueError(f"{value!r} is finer than a millisecond")
    return int(milliseconds)


def format_duration(milliseconds: int) -> str:
    """The shortest writing `parse_duration` reads back: 1500 is 1500ms, 60000 is 1m."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _DURATION_UNITS[unit] == 0:
            return f"{milliseconds // _DURATION_UNITS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_size(value: Any) -> int:
    """Bytes of `64KB`, `1MB`, `1.5GB` (powers of 1024, as servers count) or of a whole number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a size is written 64KB, 1MB, 2GB, or as a number of bytes")
    found = _SIZE.fullmatch(str(value).strip())
    if not found:
        raise ValueError(f"{value!r} is no size: write 64KB, 1MB, 2GB, or a number of bytes")
    unit = found[2].upper()
    factor = _SIZE_UNITS[unit if unit.endswith("B") or not unit else unit + "B"]
    size = int(found[1]) * factor if "." not in found[1] else int(float(found[1]) * factor)
    if size >= 1 << 62:
        raise ValueError(f"{value!r} is too large")
    return size


def format_size(size: int) -> str:
    """The shortest writing `parse_size` reads back: 65536 is 64KB."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return str(size)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: a host with a port, or a unix socket (`path` set, port 0)."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_any(self) -> bool:
        """True for the wildcard addresses 0.0.0.0 and ::."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104


_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def is_host_name(text: str) -> bool:
    """True for a DNS name as RFC 1123 has it (underscores allowed, as containers use them)."""
    return 0 < len(text) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in text.removesuffix(".").split("."))


def parse_address(value: Any) -> Address:
    """`host:port`, `[ipv6]:port`, `:port` (every interface) or `unix:/path`. Raises ValueError with the reason."""
    if isinstance(value, Address):
        return value
    how = "write host:port, [ipv6]:port or unix:/path"
    if not isinstance(value, str) or not value:
        raise ValueError(f"an address is a string: {how}")
    if "://" in value:
        raise ValueError(f"{value!r} is a URL: {how}, without a scheme")
    if value.startswith("unix:"):
        path = value.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"{value!r}: the path of a unix socket starts with /")
        if len(path.encode()) > 107:
            raise ValueError(f"{value!r}: the path of a unix socket has at most 107 bytes (sun_path)")
        return Address("", 0, path)
    host, colon, port_text = value.rpartition(":")
    if not colon or not port_text:
        raise ValueError(f"{value!r} has no port: {how}")
    if not port_text.isascii() or not port_text.isdigit() or len(port_text) > 5 or not 1 <= int(port_text) <= 65535:
        raise ValueError(f"{value!r}: a port is a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"{value!r}: {host} is no IPv6 address") from None
    elif ":" in host:
        raise ValueError(f"{value!r}: an IPv6 address stands in brackets, as in [::1]:8080")
    elif re.fullmatch(r"[0-9.]+", host):
        try:
            host = str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{value!r}: {host} is no IPv4 address") from None
    elif host in ("", "*"):
        host = "0.0.0.0"  # noqa: S104 (asked for by its own writing)
    elif not is_host_name(host):
        raise ValueError(f"{value!r}: {host!r} is no host name")
    return Address(host, int(port_text))


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would take true for 1
        raise ValueError("expected a number")
    return value


def _positive(milliseconds: int) -> int:
    if milliseconds == 0:
        raise ValueError("must be more than 0")
    return milliseconds


Whole = BeforeValidator(_whole_number)

Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)?$", "title": "duration"}
    ),
]
Timeout = Annotated[Duration, AfterValidator(_positive)]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*([KMGTkmgt]?[Bb]?)$", "title": "size"}
    ),
]
SocketAddress = Annotated[
    Address,
    BeforeValidator(parse_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {"type": "string", "title": "address", "examples": ["127.0.0.1:8080", "[::1]:80", "unix:/run/x.sock"]}
    ),
]
