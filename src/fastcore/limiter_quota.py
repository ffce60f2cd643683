"""What is allowed: so many units in so much time, at most so many at once. `fastcore.limiter` re-exports it."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

__all__ = ["Quota"]

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNITS = {
    name: seconds
    for short, names in {
        "ms": "ms millisecond milliseconds",
        "s": "s sec second seconds",
        "m": "m min minute minutes",
        "h": "h hr hour hours",
        "d": "d day days",
        "w": "w week weeks",
    }.items()
    for name in names.split()
    for seconds in (_SECONDS[short],)
}
_NUMBER = r"[0-9][0-9_]*(?:\.[0-9]+)?"
_parse = re.compile(
    rf"\s*(?P<rate>{_NUMBER})\s*(?:/|per\b)\s*(?P<count>{_NUMBER})?\s*(?P<unit>[a-z]+)"
    rf"(?:\s*,?\s*burst\s*[:=]?\s*(?P<burst>[0-9][0-9_]*))?\s*",
    re.IGNORECASE,
).fullmatch

# A float is taken for the simplest fraction near it, so that 0.1 a second is one in ten seconds exactly.
_DENOMINATOR_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """`rate` units in `period` seconds, spread evenly; at most `burst` (an int, default: the rate, at least 1) at once.

    Rate and period are ints or floats above 0. Raises TypeError and ValueError for what is no such number.
    """

    rate: float
    period: float = 1.0
    burst: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "period"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, not {type(value).__name__}")
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is above 0 and finite, not {value}")
        if isinstance(self.burst, bool) or not isinstance(self.burst, int):
            raise TypeError(f"burst is an int, not {type(self.burst).__name__}")
        if self.burst < 0:
            raise ValueError(f"burst is at least 1, not {self.burst}")
        if self.burst == 0:
            object.__setattr__(self, "burst", max(1, math.ceil(self.rate)))

    def whole(self) -> tuple[int, int]:
        """The same rate as (units, nanoseconds), both ints."""
        rate = Fraction(self.rate)
        if isinstance(self.rate, float):
            rate = rate.limit_denominator(_DENOMINATOR_MAX)
        if rate == 0:
            raise ValueError(f"a rate of {self.rate} is below one in {_DENOMINATOR_MAX} periods")
        return rate.numerator, round(self.period * 1_000_000_000) * rate.denominator

    @classmethod
    def parse(cls, text: str) -> Self:
        """From text: 100/s, 100/minute burst 200, 10 per hour, 5/15 minutes, 0.5/s. Units: ms s m h d w or their names.

        There are no months and years, which have no fixed length. Raises ValueError.
        """
        found = _parse(text)
        if found is None:
            raise ValueError(f"{text!r} is no quota; one looks like '100/minute burst 200' or '10 per 15 minutes'")
        unit = found["unit"].lower()
        if unit not in _UNITS:
            raise ValueError(
                f"{text!r}: there is no unit {found['unit']!r}, only {', '.join(_SECONDS)} and their names"
            )
        rate, count = (_number(found[name] or "1") for name in ("rate", "count"))
        burst = int(found["burst"]) if found["burst"] else 0
        if found["burst"] and burst == 0:
            raise ValueError(f"{text!r}: burst is at least 1")
        return cls(rate, count * _UNITS[unit], burst)

    @classmethod
    def parse_all(cls, text: str) -> list[Self]:
        """Several quotas with ';' between them."""
        return [cls.parse(part) for part in text.split(";")]

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.rate:.15g}/{self.period:.15g}s burst {self.burst}"


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)
