"""Counts of fastcore.metrics to a statsd server, once a period, through the `statsd` package.

A datagram per event, which is what statsd clients usually send, would cost more than the request it counts. Here the
counts are already in shared memory, summed over workers, so one process sends what changed since the last time:

    counter      name.label-values             |c  the increase since the last flush
    gauge        name.label-values             |g  the level
    histogram    name.label-values.count       |c  values recorded since the last flush
                 name.label-values.p50 (...)   |g  quantiles of those values, in milliseconds if the unit is seconds

Plain statsd has no labels: their values follow the name, in order of label name, with anything but letters, digits, -
and _ replaced by _.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from statsd import StatsClient  # type: ignore[import-untyped]

from fastcore.metrics import Family, HistogramValue, Metrics

__all__ = ["Flusher", "Line", "lines"]

QUANTILES = (0.5, 0.95, 0.99)
NAME_MAX = 200  # bytes; longer names are cut
LINES_MAX = 10_000  # per flush

_foreign = re.compile(r"[^a-zA-Z0-9_-]")


class Line(NamedTuple):
    """One statsd line: a counter's increase ("c") or a gauge's level ("g")."""

    kind: Literal["c", "g"]
    name: str
    value: float


def _name(family: str, labels: dict[str, str]) -> str:
    parts = [family, *(labels[label] or "none" for label in sorted(labels))]
    return ".".join(_foreign.sub("_", part) for part in parts)[:NAME_MAX]


def _histogram(name: str, unit: str, delta: HistogramValue, quantiles: Sequence[float]) -> Iterator[Line]:
    yield Line("c", f"{name}.count", delta.count)
    factor = 1000.0 if unit == "seconds" else 1.0
    for q in quantiles:
        yield Line("g", f"{name}.p{f'{q * 100:g}'.replace('.', '_')}", round(delta.quantile(q) * factor, 3))


def lines(
    earlier: list[Family], later: list[Family], *, quantiles: Sequence[float] = QUANTILES, lines_max: int = LINES_MAX
) -> tuple[list[Line], int]:
    """What to send for the time between two snapshots (`Metrics.collect`), and how many lines `lines_max` left out.

    Counters and histograms that did not move send nothing; gauges always do. A series not in `earlier` counts from 0.
    """
    before = {
        (family.name, tuple(sample.labels.items())): sample.value for family in earlier for sample in family.samples
    }
    found: list[Line] = []
    for family in later:
        for sample in family.samples:
            name, now = _name(family.name, sample.labels), sample.value
            then = before.get((family.name, tuple(sample.labels.items())))
            if isinstance(now, HistogramValue):
                delta = now.since(then) if isinstance(then, HistogramValue) else now
                if delta.count > 0:
                    found.extend(_histogram(name, family.unit, delta, quantiles))
            elif family.type == "gauge":
                found.append(Line("g", name, now))
            else:
                increase = now - then if isinstance(then, int) else now
                if increase > 0:
                    found.append(Line("c", name, increase))
    return found[:lines_max], max(0, len(found) - lines_max)


class Flusher:
    """Sends one pipeline of datagrams per `flush()`.

    Every worker may call it each period: only the one that leads (lowest live slot) sends. A worker that comes to lead
    first takes a snapshot and sends from then on, so what was counted between its predecessor's last flush and that
    moment is not sent; the totals of the exposition have it.

    Sending is a UDP `sendto` whose errors the client swallows. The host name is resolved by the first flush; OSError
    from that is raised and the flush may be tried again. `dropped` counts lines left out by `lines_max` so far.
    ValueError for a prefix that is not ASCII letters, digits, `.`, `-` and `_`.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        host: str = "127.0.0.1",
        port: int = 8125,
        prefix: str = "fastcore",
        datagram_max: int = 1432,
        ipv6: bool = False,
        quantiles: Sequence[float] = QUANTILES,
        lines_max: int = LINES_MAX,
    ) -> None:
        if _foreign.search(prefix.replace(".", "")):
            raise ValueError(f"statsd prefix {prefix!r}: letters, digits, . - and _ only")
        self.dropped = 0
        self._metrics = metrics
        self._connect: Callable[[], StatsClient] = lambda: StatsClient(
            host, port, prefix=prefix or None, maxudpsize=datagram_max, ipv6=ipv6
        )
        self._client: StatsClient | None = None
        self._quantiles = quantiles
        self._lines_max = lines_max
        self._last: list[Family] | None = None

    def flush(self) -> int:
        """Sends what changed since the last flush; the number of lines sent, 0 for a worker that does not lead."""
        self._metrics.claim()
        if not self._metrics.leads():
            self._last = None
            return 0
        if self._client is None:
            self._client = self._connect()
        last, now = self._last, self._metrics.collect()
        self._last = now
        if last is None:
            return 0
        due, left_out = lines(last, now, quantiles=self._quantiles, lines_max=self._lines_max)
        self.dropped += left_out
        with self._client.pipeline() as pipe:
            for line in due:
                if line.kind == "c":
                    pipe.incr(line.name, line.value)
                else:
                    pipe.gauge(line.name, line.value)
        return len(due)

    def close(self) -> None:
        """Closes the socket."""
        if self._client is not None:
            self._client.close()
            self._client = None
