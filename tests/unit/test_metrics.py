"""fastcore.metrics: definitions, values, exposition (prometheus_client's parsers decide), processes killed."""

import copy
import mmap
import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from fastcore.metrics import (
    OPENMETRICS,
    PROMETHEUS,
    Counter,
    HistogramValue,
    Layout,
    Metrics,
    section_size,
)
from fastcore.shm import Region


def samples(text: bytes, parse: Callable = parse_openmetrics) -> dict[tuple, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def wait_for(pid: int) -> None:
    assert os.waitpid(pid, 0)[1] == 0


def test_counter_gauge_histogram() -> None:
    metrics = Metrics()
    hits = metrics.counter("hits_total", "Requests.", route="/a", code="2xx")
    assert metrics.slot is None
    hits.inc()
    hits.inc(41)
    assert metrics.slot == 0 and metrics.claim() == 0
    assert metrics.counter("hits", code="2xx", route="/a").value == 42
    level = metrics.gauge("level")
    level.set(5)
    level.dec(7)
    level.inc()
    assert level.value == -1
    waits = metrics.histogram("wait_seconds", "Waits.")
    for value in (0, 0.001, 0.0010004, 0.0010006, 2, 100):
        waits.observe(value)
    value = waits.value
    assert value.count == 6
    assert value.sum == pytest.approx(102.003001)
    assert value.quantile(0) == 0 and 0.001 <= value.quantile(0.5) <= 0.00125
    assert value.quantile(1) == 67.108864
    buckets = value.buckets()
    assert sum(count for _, count in buckets) == 6 and buckets[-1] == (float("inf"), 1)
    assert [edge for edge, _ in buckets[:5]] == [0, 1e-6, 2e-6, 3e-6, 4e-6]
    waits.observe(0.5)
    since = waits.value.since(value)
    assert since.count == 1 and since.sum == 0.5 and 0.5 <= since.quantile(0.5) <= 0.625

    assert [(family.name, family.type, family.unit, family.help) for family in metrics.collect()] == [
        ("hits", "counter", "", "Requests."),
        ("level", "gauge", "", ""),
        ("wait_seconds", "histogram", "seconds", "Waits."),
    ]
    assert metrics.collect()[0].samples == [({"code": "2xx", "route": "/a"}, 42)]
    assert isinstance(metrics.collect()[2].samples[0].value, HistogramValue)
    assert metrics.series_count == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.counter("9"), ValueError, "metric '9': a metric name is"),
        (lambda m: m.counter("a b"), ValueError, "a metric name is"),
        (lambda m: m.counter("_total"), ValueError, "a metric name is"),
        (lambda m: m.gauge("a_count"), ValueError, "a metric name is"),
        (lambda m: m.gauge("ä"), ValueError, "a metric name is"),
        (lambda m: m.gauge("x" * 129), ValueError, "a metric name is"),
        (lambda m: m.gauge("nul\0"), ValueError, "a metric name is"),
        (lambda m: m.counter("a", "x" * 1025), ValueError, "help text over 1024"),
        (lambda m: m.histogram("wait"), ValueError, "metric 'wait': a unit is a word"),
        (lambda m: m.histogram("wait_s", unit="s "), ValueError, "a unit is a word"),
        (lambda m: m.histogram("a_seconds", layout=Layout(7, 0, 26)), ValueError, "layout"),
        (lambda m: m.histogram("a_seconds", layout=Layout(2, 0, 300)), ValueError, "layout"),
        (lambda m: m.histogram("a_seconds", layout=Layout(2, 9, 9)), ValueError, "layout"),
        (lambda m: m.gauge("taken"), ValueError, "exists with another type"),
        (lambda m: m.histogram("dist_seconds", layout=Layout(0, 0, 9)), ValueError, "exists with another type"),
        (lambda m: m.counter("a", **{"b-c": "x"}), ValueError, "label 'b-c'"),
        (lambda m: m.counter("a", __b="x"), ValueError, "label '__b'"),
        (lambda m: m.histogram("a_seconds", le="x"), ValueError, "label 'le'"),
        (lambda m: m.counter("a", overflow="x"), ValueError, "label 'overflow'"),
        (lambda m: m.counter("a", b=1), TypeError, "label 'b': the value must be a str, not int"),
        (lambda m: m.counter("a", b="x" * 5000), ValueError, "labels over 4096"),
        (lambda m: m.counter("a", b="\ud800"), UnicodeEncodeError, "surrogates"),
        (lambda m: m.counter("taken").inc(-1), ValueError, "only goes up"),
        (lambda m: m.counter("taken").inc(1.5), TypeError, "must be an int, not float"),
        (lambda m: m.gauge("level").set(1.5), TypeError, "must be an int, not float"),
        (lambda m: m.gauge("level").set(1 << 63), OverflowError, "too"),
        (lambda m: m.histogram("dist_seconds").observe(-1e-9), ValueError, "negative"),
        (lambda m: m.histogram("dist_seconds").observe(float("nan")), ValueError, "not a number"),
        (lambda m: m.histogram("dist_seconds").observe(float("inf")), ValueError, "too large"),
        (
            lambda m: m.histogram("dist_seconds").value.since(m.histogram("b_bytes", unit="bytes").value),
            ValueError,
            "layou",
        ),
        (lambda m: Metrics(m.region, series_max=99), ValueError, "exists with series_max 4096, not 99"),
        (lambda m: Metrics(m.region, slots_max=99), ValueError, "exists with slots_max 32, not 99"),
        (lambda m: Metrics(series_max=0), ValueError, "series_max 0"),
        (lambda m: Metrics(slots_max=5000), ValueError, "slots_max 5000"),
        (lambda m: copy.copy(m.counter("taken")), TypeError, "pickle"),
        (lambda m: Counter(), TypeError, "made by"),
        (lambda m: HistogramValue(), TypeError, "made by"),
        (lambda m: m.region.close(), BufferError, "in use"),
        (lambda m: m.__init__(), RuntimeError, "already"),
    ],
)
def test_bad_input(call: Callable[[Metrics], object], error: type[Exception], message: str) -> None:
    metrics = Metrics()
    metrics.counter("taken")
    metrics.histogram("dist_seconds")
    with pytest.raises(error, match=message):
        call(metrics)
    assert {family.name for family in metrics.collect()} <= {
        "taken",
        "dist_seconds",
        "a",
        "a_seconds",
        "b_bytes",
        "level",
    }
    samples(metrics.openmetrics())


def test_a_section_of_other_content_is_refused() -> None:
    with Region(1 << 20) as region:
        region.section("small", 4096, align=4096).release()
        with pytest.raises(ValueError, match="section 'small': limits out of range, or the section is smaller"):
            Metrics(region, section="small")
        size = section_size(series_max=10, slots_max=2)
        with region.section("odd", size, align=4096) as view:
            view[:8] = b"whatever"
        with pytest.raises(RuntimeError, match="another version"):
            Metrics(region, section="odd", series_max=10, slots_max=2)


def test_exposition_is_what_the_parsers_read() -> None:
    metrics = Metrics()
    value = 'quote " backslash \\ newline \n end, comma ä {le="1"} \\n'
    metrics.counter("hits_total", 'A "quoted"\nhelp \\n.', route=value).inc(3)
    metrics.counter("hits_total", route="other")
    metrics.gauge("build_info", "Version.", version="1").set(1)
    metrics.gauge("depth").set(-12)
    metrics.histogram("wait_seconds", "Waits.", code="2xx").observe(0.003)
    metrics.histogram("wait_seconds", code="5xx").observe(1000)
    metrics.histogram("body_bytes", unit="bytes").observe(100)
    metrics.histogram("wave", unit="", layout=Layout(0, 0, 3)).observe(2.4)

    families = {family.name: family for family in parse_openmetrics(metrics.openmetrics().decode())}
    assert families["hits"].type == "counter" and families["hits"].documentation == 'A "quoted"\nhelp \\n.'
    assert families["hits"].samples[0].labels == {"route": value} == metrics.collect()[0].samples[0].labels
    assert families["wait_seconds"].type == "histogram" and families["wait_seconds"].unit == "seconds"
    assert families["body_bytes"].unit == "bytes"
    found = samples(metrics.openmetrics())
    assert found["hits_total", (("route", value),)] == 3
    assert found["depth", ()] == -12
    assert found["wait_seconds_sum", (("code", "2xx"),)] == 0.003
    assert found["wait_seconds_bucket", (("code", "2xx"), ("le", "0.002047"))] == 0
    assert found["wait_seconds_bucket", (("code", "2xx"), ("le", "0.004095"))] == 1
    assert found["wait_seconds_bucket", (("code", "5xx"), ("le", "67.108863"))] == 0
    assert found["wait_seconds_bucket", (("code", "5xx"), ("le", "+Inf"))] == 1
    assert found["wait_seconds_sum", (("code", "5xx"),)] == 1000
    assert found["body_bytes_bucket", (("le", "63.0"),)] == 0
    assert found["body_bytes_bucket", (("le", "127.0"),)] == 1
    assert [(key[1], v) for key, v in found.items() if key[0] == "wave_bucket"] == [
        ((("le", "0.0"),), 0),
        ((("le", "1.0"),), 0),
        ((("le", "3.0"),), 1),
        ((("le", "7.0"),), 1),
        ((("le", "+Inf"),), 1),
    ]
    assert samples(metrics.prometheus(), parse_classic) == found
    assert b"# TYPE hits_total counter\n" in metrics.prometheus()

    assert metrics.exposition("application/openmetrics-text;version=1.0.0,*/*;q=0.1") == (
        OPENMETRICS,
        metrics.openmetrics(),
    )
    for accept in (None, "", "text/plain", "*/*"):
        assert metrics.exposition(accept) == (PROMETHEUS, metrics.prometheus())


def test_nothing_defined() -> None:
    assert Metrics().openmetrics() == b"# EOF\n"
    assert Metrics().prometheus() == b""
    assert Metrics().collect() == []


def test_overflow_loses_nothing() -> None:
    metrics = Metrics(series_max=10)
    for i in range(30):
        counter = metrics.counter("hits", route=f"/{i}")
        counter.inc()
        assert counter.overflowed == (i >= 10)
        assert counter.value == (1 if i < 10 else i - 9)
    wait = metrics.histogram("wait_seconds", route="/30")
    assert wait.overflowed
    wait.observe(1)
    found = samples(metrics.openmetrics())
    assert sum(value for (name, _), value in found.items() if name == "hits_total") == 30
    assert found["hits_total", (("overflow", "true"),)] == 20
    assert found["wait_seconds_count", (("overflow", "true"),)] == 1
    assert metrics.collect()[0].samples[-1] == ({"overflow": "true"}, 20)
    for i in range(254):
        metrics.gauge(f"g{i}")
    with pytest.raises(RuntimeError, match="no room for another metric family"):
        metrics.gauge("one_more")


def test_children_count_in_rows_of_their_own() -> None:
    region = Region()
    metrics = Metrics(region)
    counter, gauge = metrics.counter("hits"), metrics.gauge("busy")
    counter.inc(1)
    gauge.inc()
    pid = os.fork()
    if pid == 0:
        counter.inc(10)
        gauge.inc()
        mine = Metrics(region)
        mine.counter("hits").inc(100)
        mine.counter("only_here").inc()
        os._exit(metrics.slot != 1 or mine.slot != 1 or mine.leads())
    wait_for(pid)
    assert metrics.slot == 0 and metrics.leads()
    assert counter.value == 111
    assert metrics.counter("only_here").value == 1
    assert gauge.value == 2
    metrics.release(pid)
    assert gauge.value == 1 and counter.value == 111


def test_slots_run_out_and_come_back() -> None:
    metrics = Metrics(slots_max=2)
    counter = metrics.counter("hits")
    counter.inc()
    ready, go = os.pipe(), os.pipe()
    first = os.fork()
    if first == 0:
        counter.inc()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    second = os.fork()
    if second == 0:
        try:
            counter.inc()
        except RuntimeError as error:
            os._exit("every worker slot belongs to a live process" not in str(error))
        os._exit(1)
    wait_for(second)
    os.write(go[1], b"x")
    wait_for(first)
    third = os.fork()
    if third == 0:
        counter.inc()
        os._exit(metrics.slot != 1)
    wait_for(third)
    assert counter.value == 3
    for fd in ready + go:
        os.close(fd)


def test_leadership_passes_on() -> None:
    metrics = Metrics()
    assert not metrics.leads()
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        metrics.claim()
        os.write(ready[1], b"1" if metrics.leads() else b"0")
        os.read(go[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"1"
    assert metrics.claim() == 1 and not metrics.leads()
    os.write(go[1], b"x")
    wait_for(pid)
    assert metrics.leads()
    for fd in ready + go:
        os.close(fd)


def test_region_is_carried_on_with_its_totals() -> None:
    region = Region()
    Metrics(region, series_max=100).counter("hits", route="/").inc(5)
    other = Metrics(Region.attach(os.dup(region.fd)))
    assert other.series_max == 100
    assert other.counter("hits", route="/").value == 5


def test_ten_thousand_routes() -> None:
    """50,000 series: all are there, none is in another's place."""
    metrics = Metrics(series_max=50_000, slots_max=4)
    for i in range(10_000):
        for code in ("2xx", "3xx", "4xx", "5xx"):
            metrics.counter("requests", "Requests.", route=f"/api/v1/things/{i}", code=code).inc(i)
        metrics.histogram("duration_seconds", route=f"/api/v1/things/{i}").observe(i / 1000)
    assert metrics.series_count == 50_000
    text = metrics.openmetrics()
    assert text.count(b"\n") == 40_000 + 10_000 * 28 + 5
    assert b'requests_total{code="5xx",route="/api/v1/things/9999"} 9999\n' in text
    assert b'duration_seconds_sum{route="/api/v1/things/9999"} 9.999000\n' in text
    assert not metrics.counter("requests", route="/api/v1/things/77", code="2xx").overflowed
    assert metrics.counter("requests", route="one more", code="2xx").overflowed


def test_counting_processes_killed_at_random() -> None:
    """Four processes count and define series, are killed and replaced for 3 s, 21 times at least, while this one scrapes."""
    rng = random.Random(11)
    workers_max, names = 4, 200
    metrics = Metrics(series_max=300, slots_max=workers_max + 1)
    metrics.claim()
    hits, busy = metrics.counter("hits"), metrics.gauge("busy")
    confirmed = memoryview(mmap.mmap(-1, 8 * 4096)).cast("Q")  # one store each, where struct would clear first

    def work(generation: int) -> None:
        mine = random.Random(generation)
        busy.set(1)
        count = 0
        while True:
            hits.inc()
            count += 1
            confirmed[generation] = count
            if count % 50 == 0:
                metrics.counter("made", name=str(mine.randrange(names))).inc()

    workers: list[int] = []
    unreleased: list[int] = []
    deaths, before, until = 0, {}, time.monotonic() + 3
    slowest = 0.0
    while time.monotonic() < until or deaths <= 20:  # sanitized they come slowly
        while len(workers) < workers_max:
            pid = os.fork()
            if pid == 0:
                work(deaths + len(workers))
            workers.append(pid)
        started = time.monotonic()
        metrics.counter("made", name=str(rng.randrange(names)))
        slowest = max(slowest, time.monotonic() - started)
        now = samples(metrics.openmetrics())
        assert all(now[key] >= value for key, value in before.items() if key[0].endswith("_total"))
        before = now
        victim = workers.pop(0)  # the oldest, so that generation numbers stay distinct
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        deaths += 1
        if rng.random() < 0.5:
            metrics.release(victim)
        else:
            unreleased.append(victim)
        assert 0 <= busy.value <= workers_max + 1
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for pid in workers + unreleased:
        metrics.release(pid)
    generations = deaths + len(workers)
    assert generations < 4096
    total = sum(confirmed[:generations])
    assert deaths > 20 and total > 10_000
    assert total <= hits.value <= total + generations
    assert slowest < 1.0, "a survivor waited for the dead"
    made = next(family for family in metrics.collect() if family.name == "made").samples
    assert len({sample.labels["name"] for sample in made}) == len(made) == metrics.series_count - 2
    assert busy.value == 0
