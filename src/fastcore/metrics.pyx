"""Counters, gauges and histograms summed over all workers, and their OpenMetrics text (see docs/shared-memory.md)."""

import os
import re
import weakref
from collections import namedtuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport PyObject, Py_XDECREF

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

cdef extern from "Python.h":
    PyObject *bytes_new "PyBytes_FromStringAndSize"(const char *p, Py_ssize_t n) except NULL
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t n) except -1

SERIES_MAX = 4096
SLOTS_MAX = 32

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Layout = namedtuple("Layout", ["sub", "min_log2", "max_log2"])
Layout.__doc__ = """Buckets of a histogram, in recorded units: 2**sub of them per octave (error at most 2**-sub), one run of
equal ones below 2**min_log2, one for everything from 2**max_log2 up. sub 0..6, min_log2 and sub < max_log2 <= 63."""

LATENCY = Layout(2, 0, 26)  # microseconds: 1 us .. 67 s
SIZE = Layout(1, 6, 32)  # bytes: 64 B .. 4 GB

Sample = namedtuple("Sample", ["labels", "value"])
Sample.__doc__ = "One series: labels as a dict, and an int (counter, gauge) or a HistogramValue."

Family = namedtuple("Family", ["name", "type", "unit", "help", "samples"])
Family.__doc__ = """All series of one name; type is "counter", "gauge" or "histogram". A counter's name has no _total."""

cdef dict TYPES = {FC_METRICS_COUNTER: "counter", FC_METRICS_GAUGE: "gauge", FC_METRICS_HISTOGRAM: "histogram"}

_label_name = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_label_pairs = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"').findall
_unescape = re.compile(r"\\(.)").sub

# Each process counts in a row of its own, so a child must not go on in its parent's: it claims one when it first counts.
_living = weakref.WeakSet()


def _after_fork() -> None:
    cdef Metrics metrics
    for metrics in _living:
        metrics.m.row = NULL
        metrics.m.slot = -1


os.register_at_fork(after_in_child=_after_fork)


cdef int fail(int64_t error, str subject) except -1:
    message = f"{subject}: {fc_metrics_strerror(error).decode()}"
    if error == FC_METRICS_EBUSY:
        raise TimeoutError(message)
    if error in (FC_METRICS_EFULL, FC_METRICS_ESLOTS, FC_METRICS_EVERSION):
        raise RuntimeError(message)
    raise ValueError(message)


cdef fc_metrics_limits limits_for(object series_max, object slots_max) except *:
    if not 1 <= series_max <= 1 << 22 or not 1 <= slots_max <= 4096:
        raise ValueError(f"series_max {series_max} must be in 1..4194304 and slots_max {slots_max} in 1..4096")
    return fc_metrics_limits_for(series_max, slots_max)


def section_size(*, series_max: int = SERIES_MAX, slots_max: int = SLOTS_MAX) -> int:
    """Bytes of address space that Metrics with these limits takes in a region; touched as series and workers come."""
    cdef fc_metrics_limits limits = limits_for(series_max, slots_max)
    return fc_metrics_size(&limits)


cdef bytes label_text(dict labels):
    parts = []
    for name in sorted(labels):
        value = labels[name]
        if _label_name(name) is None or name.startswith("__") or name in ("le", "overflow"):
            raise ValueError(f"label {name!r}: a name is [a-zA-Z_][a-zA-Z0-9_]*, not __..., and not le or overflow")
        if not isinstance(value, str):
            raise TypeError(f"label {name!r}: the value must be a str, not {type(value).__name__}")
        if "\\" in value or '"' in value or "\n" in value:
            value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        parts.append(f'{name}="{value}"')
    return ",".join(parts).encode()


cdef dict parse_labels(fc_slice text):
    cdef str line = text.p[:text.n].decode()
    pairs = _label_pairs(line)
    if "\\" in line:
        return {name: _unescape(lambda found: "\n" if found[1] == "n" else found[1], value) for name, value in pairs}
    return dict(pairs)


@cython.final
@cython.no_gc_clear  # unpins its region when it goes, which a collected cycle would have taken away before
cdef class Metrics:
    """A directory of series and one row of counts per worker process, in a section of a shared region.

    Without ``region`` it makes one of its own, shared with children forked later. ``series_max`` (default 4096) bounds the
    series, ``slots_max`` (default 32) the live processes that count; in a region that already holds the section its limits
    apply, and asking for others is a ValueError. Where a family has no more room for new label values, their counts go to its
    series ``{overflow="true"}``.

    Define before or after fork, in any process: the same name and labels are the same series. Counting starts in a process
    when it claims a slot: explicitly with ``claim()``, or by counting. The parent calls ``release(pid)`` for a dead child, or
    else the next claim notices; its counters stay in the totals, its gauges go.

    Gauges are summed over workers. All values are integers; a histogram of seconds is kept in microseconds.
    """

    def __init__(
        self,
        region: Region | None = None,
        *,
        series_max: int | None = None,
        slots_max: int | None = None,
        section: str = "metrics",
    ):
        if self.pinned:
            raise RuntimeError("already initialised")
        cdef fc_metrics_limits limits = limits_for(
            SERIES_MAX if series_max is None else series_max, SLOTS_MAX if slots_max is None else slots_max
        )
        cdef uint64_t size = fc_metrics_size(&limits)
        self.region = Region(size=size + 2 * FC_METRICS_ALIGN) if region is None else region
        cdef uint64_t existing = self.region.find(section)
        if existing > 0:
            size = existing
        cdef char *base = self.region.address(section, size, FC_METRICS_ALIGN)
        self.pinned = True
        cdef int error = fc_metrics_open(&self.m, base, size, &limits)
        if error:
            fail(error, f"section {section!r}")
        for name, asked, found in (
            ("series_max", series_max, self.m.limits.series),
            ("slots_max", slots_max, self.m.limits.slots),
        ):
            if asked is not None and asked != found:
                raise ValueError(f"section {section!r} exists with {name} {found}, not {asked}")
        _living.add(self)

    def __dealloc__(self):
        if self.pinned:
            self.region.unpin()

    cdef uint64_t *row(self) except NULL:
        if self.m.row == NULL:
            self.claim()
        return self.m.row

    cdef int family(self, fc_metrics_type kind, str name, str help, str unit, uint32_t scale, fc_hist_layout layout) except -1:
        cdef bytes name_text = name.encode()
        cdef bytes help_text = help.encode()
        cdef bytes unit_text = unit.encode()
        cdef fc_metrics_family_def d
        d.type = kind
        d.name = fc_slice(name_text, len(name_text))
        d.help = fc_slice(help_text, len(help_text))
        d.unit = fc_slice(unit_text, len(unit_text))
        d.scale = scale
        d.layout = layout
        cdef int i = fc_metrics_family(&self.m, &d)
        if i < 0:
            fail(i, f"metric {name!r}")
        return i

    cdef uint32_t series(self, int family, dict labels) except? 0:
        cdef bytes text = label_text(labels)
        cdef int64_t cell = fc_metrics_series(&self.m, family, fc_slice(text, len(text)))
        if cell < 0:
            fail(cell, f"labels {text.decode()}")
        return <uint32_t>cell

    cdef bytes text(self, fc_metrics_format format):
        cdef fc_metrics_scrape scrape
        cdef size_t length
        fc_metrics_scrape_begin(&self.m, &scrape)
        cdef PyObject *out = bytes_new(NULL, scrape.bound)
        cdef char *at = PyBytes_AS_STRING(<object>out)
        with nogil:
            length = fc_metrics_scrape_write(&self.m, &scrape, format, at)
        _PyBytes_Resize(&out, length)
        text = <bytes>out
        Py_XDECREF(out)
        return text

    @property
    def series_max(self) -> int:
        return self.m.limits.series

    @property
    def slots_max(self) -> int:
        return self.m.limits.slots

    @property
    def series_count(self) -> int:
        """Series defined so far, overflow series not counted."""
        return fc_metrics_series_count(&self.m)

    @property
    def slot(self) -> int | None:
        """This process's slot, None before it claimed one."""
        return None if self.m.row == NULL else self.m.slot

    def counter(self, name: str, help: str = "", /, **labels: str) -> Counter:
        """A count that only goes up. ``name`` may be given with or without its _total."""
        cdef Counter made = Counter.__new__(Counter)
        cdef int family = self.family(FC_METRICS_COUNTER, name.removesuffix("_total"), help, "", 1, fc_hist_layout(0, 0, 0))
        made.metrics = self
        made.cell = self.series(family, labels)
        made.overflowed = made.cell == fc_metrics_overflow(&self.m, family)
        return made

    def gauge(self, name: str, help: str = "", /, **labels: str) -> Gauge:
        """A level that goes up and down; exposed as the sum over live workers."""
        cdef Gauge made = Gauge.__new__(Gauge)
        cdef int family = self.family(FC_METRICS_GAUGE, name, help, "", 1, fc_hist_layout(0, 0, 0))
        made.metrics = self
        made.cell = self.series(family, labels)
        made.overflowed = made.cell == fc_metrics_overflow(&self.m, family)
        return made

    def histogram(
        self, name: str, help: str = "", /, *, unit: str = "seconds", layout: Layout | None = None, **labels: str
    ) -> Histogram:
        """A distribution. ``name`` ends with _ and the unit, as OpenMetrics asks; unit "" is for bare numbers.

        Seconds are recorded as microseconds (layout LATENCY unless given), everything else as it comes, rounded to an integer
        (layout SIZE). The exposition has one bucket an octave whatever the layout's ``sub``, which serves quantiles.
        """
        cdef Histogram made = Histogram.__new__(Histogram)
        sub, min_log2, max_log2 = layout or (LATENCY if unit == "seconds" else SIZE)
        if not (0 <= sub <= 6 and 0 <= min_log2 <= 63 and 0 <= max_log2 <= 63):
            raise ValueError(f"metric {name!r}: histogram layout {layout} out of range")
        made.layout = fc_hist_layout(sub, min_log2, max_log2)
        made.scale = 1000000 if unit == "seconds" else 1
        cdef int family = self.family(FC_METRICS_HISTOGRAM, name, help, unit, made.scale, made.layout)
        made.metrics = self
        made.cell = self.series(family, labels)
        made.overflowed = made.cell == fc_metrics_overflow(&self.m, family)
        return made

    def claim(self) -> int:
        """Takes a slot for this process and returns its number; again, the same one. RuntimeError when all are taken."""
        cdef int slot = fc_metrics_claim(&self.m)
        if slot < 0:
            fail(slot, f"process {os.getpid()}")
        return slot

    def release(self, pid: int) -> None:
        """Frees what the dead process ``pid`` held. For gunicorn's child_exit, or whoever reaps the workers."""
        fc_metrics_release(&self.m, pid)

    def leads(self) -> bool:
        """Whether this process has the lowest slot of all live ones: one of them does what needs doing once."""
        return fc_metrics_leads(&self.m) != 0

    def collect(self) -> list[Family]:
        """Everything, summed over workers, as plain data in order of definition. Overflow series only where used."""
        cdef fc_metrics_family_info f
        cdef fc_metrics_series_info s
        cdef uint32_t i
        families = []
        for i in range(fc_metrics_family_count(&self.m)):
            fc_metrics_family_get(&self.m, i, &f)
            samples = []
            s.next = f.first
            while s.next != 0:
                fc_metrics_series_get(&self.m, s.next, &s)
                samples.append(Sample(parse_labels(s.labels), read(&self.m, &f, s.cell)))
            if fc_metrics_sum(&self.m, f.overflow) != 0:
                samples.append(Sample({"overflow": "true"}, read(&self.m, &f, f.overflow)))
            families.append(
                Family(
                    f.name.p[:f.name.n].decode(), TYPES[f.type], f.unit.p[:f.unit.n].decode(), f.help.p[:f.help.n].decode(), samples
                )
            )
        return families

    def openmetrics(self) -> bytes:
        """OpenMetrics 1.0 text (content type OPENMETRICS)."""
        return self.text(FC_METRICS_OPENMETRICS)

    def prometheus(self) -> bytes:
        """The classic Prometheus text format 0.0.4 (content type PROMETHEUS)."""
        return self.text(FC_METRICS_PROMETHEUS)

    def exposition(self, accept: str | None = None) -> tuple[str, bytes]:
        """Content type and text for a request's Accept header: OpenMetrics for those who name it, as Prometheus does."""
        if accept is not None and "application/openmetrics-text" in accept:
            return OPENMETRICS, self.openmetrics()
        return PROMETHEUS, self.prometheus()


cdef object read(const fc_metrics *m, const fc_metrics_family_info *f, uint32_t cell):
    cdef HistogramValue value
    if f.type == FC_METRICS_COUNTER:
        return fc_metrics_sum(m, cell)
    if f.type == FC_METRICS_GAUGE:
        return <int64_t>fc_metrics_sum(m, cell)
    value = HistogramValue.__new__(HistogramValue)
    value.layout = f.layout
    value.scale = f.scale
    value.cells = PyBytes_FromStringAndSize(NULL, f.cells * sizeof(uint64_t))
    fc_metrics_sum_range(m, cell, f.cells, <uint64_t *><char *>value.cells)
    return value


cdef inline int64_t integer(object n) except? -1:
    # Both a C integer argument and an argument annotated `int` would take 1.5 for 1.
    if not isinstance(n, int):
        raise TypeError(f"a count must be an int, not {type(n).__name__}")
    return n


cdef class Instrument:
    """One series. Objects of the same name and labels count in the same cell."""

    def __init__(self, *args, **kwargs):
        raise TypeError("made by Metrics.counter, gauge and histogram")


@cython.final
cdef class Counter(Instrument):
    def inc(self, n=1) -> None:
        """Adds ``n`` >= 0."""
        cdef int64_t amount = integer(n)
        if amount < 0:
            raise ValueError(f"a counter only goes up, not by {amount}")
        fc_metrics_add(self.metrics.row(), self.cell, <uint64_t>amount)

    @property
    def value(self) -> int:
        """The sum over all processes that ever counted."""
        return fc_metrics_sum(&self.metrics.m, self.cell)


@cython.final
cdef class Gauge(Instrument):
    def inc(self, n=1) -> None:
        cdef int64_t amount = integer(n)
        fc_metrics_add(self.metrics.row(), self.cell, <uint64_t>amount)

    def dec(self, n=1) -> None:
        cdef int64_t amount = integer(n)
        fc_metrics_add(self.metrics.row(), self.cell, 0 - <uint64_t>amount)

    def set(self, value) -> None:
        """This process's share of the sum."""
        cdef int64_t level = integer(value)
        fc_metrics_set(self.metrics.row(), self.cell, level)

    @property
    def value(self) -> int:
        """The sum over live processes."""
        return <int64_t>fc_metrics_sum(&self.metrics.m, self.cell)


@cython.final
cdef class Histogram(Instrument):
    def observe(self, double value) -> None:
        """Records a value in the exposed unit (seconds, bytes): 0 up to 2**53 recorded units, else ValueError."""
        cdef double units = value * self.scale + 0.5
        if not (value >= 0 and units < 9007199254740992.0):
            raise ValueError(f"value {value} is negative, not a number or too large")
        fc_hist_record(self.layout, self.metrics.row() + self.cell, <uint64_t>units)

    @property
    def value(self) -> HistogramValue:
        """The distribution over all processes that ever recorded."""
        cdef fc_metrics_family_info f
        f.type = FC_METRICS_HISTOGRAM
        f.layout = self.layout
        f.scale = self.scale
        f.cells = fc_hist_cells(self.layout)
        return read(&self.metrics.m, &f, self.cell)


@cython.final
cdef class HistogramValue:
    """A distribution at one moment."""

    def __init__(self, *args, **kwargs):
        raise TypeError("made by Metrics.collect and Histogram.value")

    @property
    def count(self) -> int:
        """Values recorded: the sum of the buckets."""
        cdef const uint64_t *cells = <const uint64_t *><const char *>self.cells
        cdef uint64_t count = 0
        cdef uint32_t i
        for i in range(2, fc_hist_cells(self.layout)):
            count += cells[i]
        return count

    @property
    def sum(self) -> float:
        """Sum of the values, in the exposed unit."""
        return (<const uint64_t *><const char *>self.cells)[1] / <double>self.scale

    def buckets(self) -> list[tuple[float, int]]:
        """(largest value the bucket can hold, values in it) for each bucket; the last one's edge is infinite."""
        cdef const uint64_t *cells = <const uint64_t *><const char *>self.cells
        cdef uint32_t i, n = fc_hist_buckets(self.layout)
        found = [((fc_hist_floor(self.layout, i + 1) - 1) / <double>self.scale, cells[2 + i]) for i in range(n - 1)]
        found.append((float("inf"), cells[1 + n]))
        return found

    def quantile(self, double q) -> float:
        """Value at quantile ``q`` (0..1), never too low and at most 2**-sub too high; 0 when empty."""
        return fc_hist_quantile(self.layout, <const uint64_t *><const char *>self.cells, q) / <double>self.scale

    def since(self, earlier: HistogramValue) -> HistogramValue:
        """What was recorded between ``earlier``, a value of the same series, and this one."""
        cdef HistogramValue other = earlier
        cdef const uint64_t *mine = <const uint64_t *><const char *>self.cells
        cdef const uint64_t *theirs = <const uint64_t *><const char *>other.cells
        cdef HistogramValue result = HistogramValue.__new__(HistogramValue)
        cdef uint64_t *cells
        cdef uint32_t i
        if len(self.cells) != len(other.cells):
            raise ValueError("histograms of different layouts")
        result.layout = self.layout
        result.scale = self.scale
        result.cells = PyBytes_FromStringAndSize(NULL, len(self.cells))
        cells = <uint64_t *><char *>result.cells
        for i in range(fc_hist_cells(self.layout)):
            cells[i] = mine[i] - theirs[i]
        return result
