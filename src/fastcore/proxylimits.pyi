from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

from fastcore.metrics import Metrics
from fastcore.shm import Region

__all__ = ["AT_ONCE_MAX", "CAPACITY", "CAPACITY_MAX", "LIMITS_MAX", "PARTS_MAX", "SOURCES", "Limit", "Limits"]

CAPACITY: int
CAPACITY_MAX: int
AT_ONCE_MAX: int
LIMITS_MAX: int
PARTS_MAX: int
SOURCES: dict[str, bool]
OUTCOMES: tuple[str, ...]

@dataclass(frozen=True)
class Limit:
    name: str
    rate: float = 0
    period: float = 1.0
    burst: int = 0
    at_once: int = 0
    by: tuple[str, ...] = ()
    ipv4_prefix: int = 32
    ipv6_prefix: int = 64
    cost: int = 1
    dry_run: bool = False
    tells: bool = False
    when_full: str = "admit"

    def scope(self) -> str: ...
    def policy(self) -> str: ...

@final
class Limits:
    specs: tuple[Limit, ...]

    def __init__(
        self,
        region: Region,
        specs: Iterable[Limit],
        *,
        capacity: int = ...,
        metrics: Metrics | None = None,
        prefix: str = "",
    ) -> None: ...
    def reset(self, name: str, values: Mapping[str, str]) -> bool: ...
    @property
    def capacity(self) -> int: ...
    def table(self) -> dict[str, int]: ...
    @property
    def full(self) -> int: ...
    def reclaim(self) -> int: ...
