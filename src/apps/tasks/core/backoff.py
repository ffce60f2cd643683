"""How long a job that failed waits before it is tried again."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: What it may come to, whatever a policy says: a year.
SECONDS_MAX = 366 * 86_400.0
DELAYS_MAX = 1000

Random = Callable[[], float]
"""Uniform over [0, 1)."""


class BadPolicy(ValueError):
    """The text says which member, and what it may be."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """`delay(n, random)`: seconds before try number n + 2, where n failures lie behind (0: none before this one)."""

    kind: str = "faktory"
    first: float = 1.0
    base: float = 2.0
    step: float = 10.0
    cap: float = SECONDS_MAX
    jitter: bool = True
    delays: tuple[float, ...] = field(default=())
    max_age: float | None = None
    """Seconds after the job was made past which it is not tried again."""

    def delay(self, failures: int, random: Random) -> float:
        match self.kind:
            case "exponential":
                # In logarithms: 2.0 ** 2000 does not exist.
                most = math.log(max(self.first, 1e-9)) + failures * math.log(self.base)
                whole = self.cap if most > math.log(SECONDS_MAX) else min(self.cap, math.exp(most))
                seconds = whole * random() if self.jitter else whole
            case "linear":
                seconds = min(self.cap, self.step * (failures + 1))
            case "fixed":
                seconds = self.step
            case "list":
                seconds = self.delays[min(failures, len(self.delays) - 1)]
            case _:  # Faktory's curve, with its jitter
                seconds = float(failures**4 + 15 + int(random() * 30) * (failures + 1))
        return min(seconds, SECONDS_MAX)


DEFAULT = Backoff()


def read(value: Any) -> Backoff:
    """A policy as jobs carry it. Raises BadPolicy."""
    if value is None:
        return DEFAULT
    if not isinstance(value, dict):
        raise BadPolicy("backoff must be an object")
    kind = value.get("kind")
    known = {
        "exponential": ("first", "base", "cap", "jitter"),
        "linear": ("step", "cap"),
        "fixed": ("delay",),
        "list": ("delays",),
    }
    if kind not in known:
        raise BadPolicy(f"backoff.kind must be one of {', '.join(known)}")
    unknown = set(value) - {"kind", "max_age", *known[kind]}
    if unknown:
        raise BadPolicy(f"backoff has no {sorted(unknown)[0]!r} where kind is {kind!r}")
    jitter = value.get("jitter", True)
    if not isinstance(jitter, bool):
        raise BadPolicy("backoff.jitter must be true or false")
    delays: tuple[float, ...] = ()
    if kind == "list":
        listed = value.get("delays")
        if not isinstance(listed, list) or not 1 <= len(listed) <= DELAYS_MAX:
            raise BadPolicy(f"backoff.delays must be an array of 1 to {DELAYS_MAX} numbers of seconds")
        delays = tuple(_seconds(item, "delays") for item in listed)
    return Backoff(
        kind,
        first=_seconds(value.get("first", 1), "first"),
        base=_number(value.get("base", 2), "base", 1.0, 1000.0),
        step=_seconds(
            value["delay"] if kind == "fixed" and "delay" in value else value.get("step", 10), "delay or step"
        ),
        cap=_seconds(value.get("cap", SECONDS_MAX), "cap"),
        jitter=jitter,
        delays=delays,
        max_age=None if value.get("max_age") is None else _seconds(value["max_age"], "max_age"),
    )


def _seconds(value: Any, name: str) -> float:
    return _number(value, name, 0.0, SECONDS_MAX)


def _number(value: Any, name: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadPolicy(f"backoff.{name} must be a number from {least:g} to {most:g}")
    return float(value)
