from typing import Final, Literal, NamedTuple, final

from typing_extensions import disjoint_base

from fastcore.shm import Region

__all__ = [
    "LATENCY",
    "OPENMETRICS",
    "PROMETHEUS",
    "SERIES_MAX",
    "SIZE",
    "SLOTS_MAX",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "HistogramValue",
    "Layout",
    "Metrics",
    "Sample",
    "section_size",
]

SERIES_MAX: Final[int]
SLOTS_MAX: Final[int]
OPENMETRICS: Final[str]
PROMETHEUS: Final[str]

class Layout(NamedTuple):
    sub: int
    min_log2: int
    max_log2: int

LATENCY: Final[Layout]
SIZE: Final[Layout]

class Sample(NamedTuple):
    labels: dict[str, str]
    value: int | HistogramValue

class Family(NamedTuple):
    name: str
    type: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    samples: list[Sample]

def section_size(*, series_max: int = ..., slots_max: int = ...) -> int: ...

@final
class Metrics:
    def __init__(
        self,
        region: Region | None = None,
        *,
        series_max: int | None = None,
        slots_max: int | None = None,
        section: str = "metrics",
    ) -> None: ...
    @property
    def region(self) -> Region: ...
    @property
    def series_max(self) -> int: ...
    @property
    def slots_max(self) -> int: ...
    @property
    def series_count(self) -> int: ...
    @property
    def slot(self) -> int | None: ...
    def counter(self, name: str, help: str = "", /, **labels: str) -> Counter: ...
    def gauge(self, name: str, help: str = "", /, **labels: str) -> Gauge: ...
    def histogram(
        self, name: str, help: str = "", /, *, unit: str = "seconds", layout: Layout | None = None, **labels: str
    ) -> Histogram: ...
    def claim(self) -> int: ...
    def release(self, pid: int) -> None: ...
    def leads(self) -> bool: ...
    def collect(self) -> list[Family]: ...
    def openmetrics(self) -> bytes: ...
    def prometheus(self) -> bytes: ...
    def exposition(self, accept: str | None = None) -> tuple[str, bytes]: ...

@disjoint_base
class Instrument:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def cell(self) -> int: ...
    @property
    def overflowed(self) -> bool: ...

@final
class Counter(Instrument):
    def inc(self, n: int = 1) -> None: ...
    @property
    def value(self) -> int: ...

@final
class Gauge(Instrument):
    def inc(self, n: int = 1) -> None: ...
    def dec(self, n: int = 1) -> None: ...
    def set(self, value: int) -> None: ...
    @property
    def value(self) -> int: ...

@final
class Histogram(Instrument):
    @property
    def scale(self) -> int: ...
    def observe(self, value: float) -> None: ...
    @property
    def value(self) -> HistogramValue: ...

@final
class HistogramValue:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def sum(self) -> float: ...
    def buckets(self) -> list[tuple[float, int]]: ...
    def quantile(self, q: float) -> float: ...
    def since(self, earlier: HistogramValue) -> HistogramValue: ...
