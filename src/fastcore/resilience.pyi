from dataclasses import dataclass

__all__ = ["Breaker", "Health", "Outlier", "Retry", "RetryBudget"]

@dataclass(frozen=True)
class Breaker:
    failures: int = 5
    percent: int = 0
    volume: int = 20
    window: float = 10.0
    open: float = 10.0
    trials: int = 1
    trial_timeout: float = 10.0

@dataclass(frozen=True)
class Outlier:
    failures: int = 5
    percent: int = 0
    volume: int = 20
    interval: float = 10.0
    ejection: float = 30.0
    ejection_max: float = 300.0
    max_percent: int = 50

@dataclass(frozen=True)
class RetryBudget:
    percent: int = 20
    per_second: int = 10
    burst: int = 100

@dataclass(frozen=True)
class Health:
    healthy: int = 0
    unhealthy: int = 0
    outlier: Outlier | None = None
    breaker: Breaker | None = None
    target_breaker: Breaker | None = None
    budget: RetryBudget | None = None
    failures: tuple[int, ...] = ...
    panic_percent: int = 50
    slow_start: float = 0.0

@dataclass(frozen=True)
class Retry:
    on: tuple[str, ...] = ("reset",)
    statuses: tuple[int, ...] = ()
    any_method: bool = False
