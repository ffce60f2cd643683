from types import TracebackType
from typing import Final, Self, final

from fastcore.shm import Region

__all__ = ["PLACES", "AdaptiveLimiter", "ConcurrencyLimiter", "LimitExceeded"]

PLACES: Final[int]

class LimitExceeded(RuntimeError): ...

@final
class ConcurrencyLimiter:
    def __new__(
        cls,
        limit: int,
        region: Region | None = None,
        *,
        section: str = "concurrency",
        places: int | None = None,
        look_every: float = 1.0,
    ) -> ConcurrencyLimiter: ...
    @property
    def limit(self) -> int: ...
    @limit.setter
    def limit(self, value: int) -> None: ...
    @property
    def held(self) -> int: ...
    @property
    def in_use(self) -> int: ...
    def acquire(self) -> bool: ...
    def release(self) -> None: ...
    def release_dead(self, pid: int) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class AdaptiveLimiter:
    def __new__(
        cls,
        initial: int = 20,
        *,
        minimum: int = 3,
        maximum: int = 1000,
        smoothing: float = 0.2,
        tolerance: float = 1.5,
        baseline_windows: int = 600,
        window: float = 1.0,
        window_samples: int = 10,
        probe: float = 0.0,
    ) -> AdaptiveLimiter: ...
    @property
    def limit(self) -> int: ...
    @property
    def inflight(self) -> int: ...
    @property
    def baseline(self) -> float: ...
    @property
    def probing(self) -> bool: ...
    def acquire(self, now: float | None = None) -> bool: ...
    def release(self, latency: float, now: float | None = None, *, dropped: bool = False) -> None: ...
    def forget(self) -> None: ...
