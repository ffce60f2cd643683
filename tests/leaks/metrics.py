from contextlib import suppress

from tests.leaks.table import operation

from fastcore.metrics import Metrics
from fastcore.shm import Region

METRICS = Metrics()
COUNTER = METRICS.counter("hits", "help", place="a")
GAUGE = METRICS.gauge("level")
HISTOGRAM = METRICS.histogram("took_seconds")


@operation("counting")
def counting() -> None:
    COUNTER.inc()
    GAUGE.set(5)
    GAUGE.dec(2)
    HISTOGRAM.observe(0.01)
    with suppress(ValueError):
        COUNTER.inc(-1)
    with suppress(TypeError):
        HISTOGRAM.observe("long")


@operation("series that exist, asked for anew")
def series() -> None:
    METRICS.counter("hits", "help", place="a").inc()
    with suppress(ValueError, TypeError):
        METRICS.gauge("hits")


@operation("reading", weight=20)
def reading() -> None:
    METRICS.collect()
    METRICS.openmetrics()
    METRICS.exposition("text/plain")
    HISTOGRAM.value.quantile(0.99)


@operation("a set of metrics in a region of its own", weight=500)
def made() -> None:
    region = Region()
    metrics = Metrics(region)
    metrics.counter("a").inc()
    metrics.openmetrics()
