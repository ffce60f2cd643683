# Limits on how many at once, for other compiled modules.
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcore.shm cimport Region


cdef extern from "fc/concurrency.h" nogil:
    enum:
        FC_CONCURRENCY_ESIZE
        FC_CONCURRENCY_EVERSION
        FC_CONCURRENCY_EBUSY
        FC_CONCURRENCY_MAX
    ctypedef struct fc_concurrency:
        uint32_t *holders
        uint32_t places
    uint64_t fc_concurrency_size(uint32_t places)
    int fc_concurrency_open(fc_concurrency *c, void *base, uint64_t size, uint32_t places)
    int64_t fc_concurrency_acquire(const fc_concurrency *c, uint32_t limit, uint32_t pid, uint32_t hint)
    bint fc_concurrency_release(const fc_concurrency *c, uint32_t place, uint32_t pid)
    uint32_t fc_concurrency_held(const fc_concurrency *c)
    uint32_t fc_concurrency_reclaim(const fc_concurrency *c, uint32_t pid)


cdef extern from "fc/adaptive.h" nogil:
    ctypedef struct fc_adaptive_options:
        uint32_t initial
        uint32_t minimum
        uint32_t maximum
        double smoothing
        double tolerance
        uint32_t baseline_windows
        uint32_t window_samples
        uint64_t window_ns
        uint64_t probe_ns
    ctypedef struct fc_adaptive:
        double limit
        double baseline_ns
        uint32_t inflight
        bint probing
    bint fc_adaptive_init(fc_adaptive *a, const fc_adaptive_options *options)
    uint32_t fc_adaptive_limit(const fc_adaptive *a)
    bint fc_adaptive_acquire(fc_adaptive *a, uint64_t now_ns)
    void fc_adaptive_release(fc_adaptive *a, uint64_t now_ns, uint64_t latency_ns, bint dropped)
    void fc_adaptive_forget(fc_adaptive *a)


@cython.final
cdef class ConcurrencyLimiter:
    cdef fc_concurrency shared  # no places without a region
    cdef Region region
    cdef uint32_t maximum
    cdef uint32_t pid           # of the process that the places held belong to
    cdef uint32_t count         # of places held
    cdef uint32_t *mine         # with a region: which
    cdef uint32_t hint
    cdef uint64_t looked_ns     # when the dead were last looked for
    cdef uint64_t look_every_ns

    cdef bint take(self) noexcept
    cdef bint give(self) noexcept
    cdef void after_fork(self) noexcept


@cython.final
cdef class AdaptiveLimiter:
    cdef fc_adaptive a
