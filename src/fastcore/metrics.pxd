# Metrics for other compiled modules. Once per process, after fork:
#     cdef uint64_t *row = metrics.row()
# and on the hot path, with the cell numbers taken from the instruments when they were defined:
#     fc_metrics_add(row, counter.cell, 1)
#     fc_hist_record(histogram.layout, row + histogram.cell, microseconds)
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastcore.shm cimport Region


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n


cdef extern from "fc/hist.h" nogil:
    ctypedef struct fc_hist_layout:
        uint8_t sub
        uint8_t min_log2
        uint8_t max_log2

    int fc_hist_valid(fc_hist_layout l)
    uint32_t fc_hist_buckets(fc_hist_layout l)
    uint32_t fc_hist_cells(fc_hist_layout l)
    uint64_t fc_hist_floor(fc_hist_layout l, uint32_t i)
    void fc_hist_record(fc_hist_layout l, uint64_t *cells, uint64_t value)
    uint64_t fc_hist_quantile(fc_hist_layout l, const uint64_t *cells, double q)


cdef extern from "fc/metrics.h" nogil:
    enum:
        FC_METRICS_ALIGN
        FC_METRICS_ESIZE
        FC_METRICS_EVERSION
        FC_METRICS_EBUSY
        FC_METRICS_EKIND
        FC_METRICS_EFULL
        FC_METRICS_ESLOTS

    ctypedef enum fc_metrics_type:
        FC_METRICS_COUNTER
        FC_METRICS_GAUGE
        FC_METRICS_HISTOGRAM

    ctypedef enum fc_metrics_format:
        FC_METRICS_OPENMETRICS
        FC_METRICS_PROMETHEUS

    ctypedef struct fc_metrics_limits:
        uint32_t slots
        uint32_t families
        uint32_t series
        uint32_t cells
        uint32_t text

    ctypedef struct fc_metrics:
        fc_metrics_limits limits
        uint64_t *row
        int slot

    ctypedef struct fc_metrics_family_def:
        fc_metrics_type type
        fc_slice name
        fc_slice help
        fc_slice unit
        uint32_t scale
        fc_hist_layout layout

    ctypedef struct fc_metrics_family_info:
        fc_metrics_type type
        fc_slice name
        fc_slice help
        fc_slice unit
        uint32_t scale
        fc_hist_layout layout
        uint32_t overflow
        uint32_t cells
        uint32_t first

    ctypedef struct fc_metrics_series_info:
        fc_slice labels
        uint32_t cell
        uint32_t next

    ctypedef struct fc_metrics_scrape:
        uint32_t families
        uint32_t series
        size_t bound

    fc_metrics_limits fc_metrics_limits_for(uint32_t series, uint32_t slots)
    uint64_t fc_metrics_size(const fc_metrics_limits *limits)
    int fc_metrics_open(fc_metrics *m, void *base, uint64_t size, const fc_metrics_limits *limits)
    int fc_metrics_family(fc_metrics *m, const fc_metrics_family_def *d)
    int64_t fc_metrics_series(fc_metrics *m, int family, fc_slice labels)
    uint32_t fc_metrics_overflow(const fc_metrics *m, int family)
    int fc_metrics_claim(fc_metrics *m)
    void fc_metrics_release(fc_metrics *m, uint32_t pid)
    int fc_metrics_leads(const fc_metrics *m)
    void fc_metrics_add(uint64_t *row, uint32_t cell, uint64_t n)
    void fc_metrics_set(uint64_t *row, uint32_t cell, int64_t value)
    uint64_t fc_metrics_sum(const fc_metrics *m, uint32_t cell)
    void fc_metrics_sum_range(const fc_metrics *m, uint32_t cell, uint32_t n, uint64_t *sums)
    uint32_t fc_metrics_family_count(const fc_metrics *m)
    uint32_t fc_metrics_series_count(const fc_metrics *m)
    void fc_metrics_family_get(const fc_metrics *m, uint32_t i, fc_metrics_family_info *info)
    void fc_metrics_series_get(const fc_metrics *m, uint32_t no, fc_metrics_series_info *info)
    void fc_metrics_scrape_begin(const fc_metrics *m, fc_metrics_scrape *scrape)
    size_t fc_metrics_scrape_write(const fc_metrics *m, const fc_metrics_scrape *scrape, fc_metrics_format format, char *out)
    const char *fc_metrics_strerror(int64_t error)


@cython.final
cdef class Metrics:
    cdef fc_metrics m
    cdef readonly Region region
    cdef bint pinned
    cdef object __weakref__

    # This process's row of cells; claims a slot the first time after a fork. Valid for the life of the process.
    cdef uint64_t *row(self) except NULL
    cdef int family(self, fc_metrics_type kind, str name, str help, str unit, uint32_t scale, fc_hist_layout layout) except -1
    cdef uint32_t series(self, int family, dict labels) except? 0
    cdef bytes text(self, fc_metrics_format format)


cdef class Instrument:
    cdef readonly Metrics metrics
    # First (or only) cell in any row.
    cdef readonly uint32_t cell
    # Whether the counts of this one go to the family's overflow series, for want of room.
    cdef readonly bint overflowed


@cython.final
cdef class Counter(Instrument):
    pass


@cython.final
cdef class Gauge(Instrument):
    pass


@cython.final
cdef class Histogram(Instrument):
    cdef fc_hist_layout layout
    cdef readonly uint32_t scale


@cython.final
cdef class HistogramValue:
    cdef bytes cells
    cdef fc_hist_layout layout
    cdef uint32_t scale
