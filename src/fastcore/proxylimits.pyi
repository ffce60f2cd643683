from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

from fastcore.limiter_quota import Quota
from fastcore.metrics import Metrics
from fastcore.reactor import Reactor
from fastcore.shm import Region

__all__ = [
    "AT_ONCE_MAX",
    "CAPACITY",
    "CAPACITY_MAX",
    "LIMITS_MAX",
    "PARTS_MAX",
    "SHARED_RATE_MAX",
    "SOURCES",
    "Limit",
    "Limits",
    "Question",
    "QuotaLine",
]

CAPACITY: int
CAPACITY_MAX: int
AT_ONCE_MAX: int
LIMITS_MAX: int
PARTS_MAX: int
SHARED_RATE_MAX: int
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
    shared: bool = False
    lease: float = 0.1
    when_gone: str = "local"

    def scope(self) -> str: ...
    def share(self) -> tuple[Quota, int]: ...
    def shared_name(self) -> str: ...
    def policy(self) -> str: ...

@final
class Question:
    name: bytes
    key: bytes
    cost: int
    interval: int
    span: int
    burst: int
    lease: int
    debt: int
    waiting: int

    def grant(self, units: int, until: int, debt: int) -> bool: ...
    def refuse(self, until: int, debt: int) -> None: ...

@final
class Batch:
    questions: list[Question]

    def done(self) -> None: ...

@final
class QuotaLine:
    def __init__(
        self,
        reactor: Reactor,
        region: Region,
        wake: Callable[[], object],
        *,
        waiting: int = 4096,
        retry: float = 1.0,
        capacity: int = ...,
    ) -> None: ...
    def take(self) -> Batch: ...
    def lose(self, epoch: int) -> bool: ...
    def find(self, epoch: int) -> bool: ...
    @property
    def gone(self) -> bool: ...
    @property
    def epoch(self) -> int: ...
    @property
    def waiting(self) -> int: ...

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
    def shared_key(self, name: str, values: Mapping[str, str]) -> tuple[bytes, bytes, int] | None: ...
    def reset(self, name: str, values: Mapping[str, str]) -> bool: ...
    @property
    def capacity(self) -> int: ...
    def table(self) -> dict[str, int]: ...
    @property
    def full(self) -> int: ...
    def reclaim(self) -> int: ...
