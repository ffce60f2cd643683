# The rate limiter for other compiled modules: `limiter.print_of(key)` once, `limiter.check(...)` for each request.
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from fastcore.shm cimport Region


cdef extern from "fc/hash.h" nogil:
    ctypedef struct fc_hash_key:
        uint64_t k0
        uint64_t k1
    uint64_t fc_hash(const fc_hash_key *key, const void *p, size_t n)


cdef extern from "fc/gcra.h" nogil:
    uint64_t FC_GCRA_TIME_MAX
    uint64_t FC_GCRA_NEVER
    ctypedef struct fc_gcra:
        uint64_t interval
        uint64_t span
        uint64_t burst
        uint64_t back_ns
        uint32_t shift
    ctypedef struct fc_gcra_answer:
        uint64_t limit
        uint64_t remaining
        uint64_t retry_ns
        uint64_t reset_ns
        bint allowed
        bint stepped
    bint fc_gcra_init(fc_gcra *q, uint64_t rate, uint64_t period_ns, uint64_t burst)
    uint64_t fc_gcra_decide(const fc_gcra *q, uint64_t tat, uint64_t now_ns, uint64_t cost, fc_gcra_answer *a)
    void fc_gcra_peek(const fc_gcra *q, uint64_t tat, uint64_t now_ns, uint64_t cost, fc_gcra_answer *a)


cdef extern from "fc/limiter.h" nogil:
    enum:
        FC_LIMITER_ESIZE
        FC_LIMITER_EVERSION
        FC_LIMITER_EBUSY
    uint64_t FC_LIMITER_KEYS_MAX
    ctypedef enum fc_limiter_full:
        FC_LIMITER_FULL_OPEN
        FC_LIMITER_FULL_CLOSED
    ctypedef struct fc_limiter:
        void *entries
        fc_hash_key key
        uint64_t keys
        uint64_t full
        uint64_t reclaimed
    ctypedef struct fc_limiter_counts:
        uint64_t entries
        uint64_t live
        uint64_t claims
    ctypedef struct fc_limiter_limit:
        fc_limiter *limiter
        const fc_gcra *quota
        uint64_t fingerprint "print"
        uint64_t cost
        fc_gcra_answer answer
        bint full
    uint64_t fc_limiter_size(uint64_t keys)
    int fc_limiter_open(
        fc_limiter *l, void *base, uint64_t size, uint64_t keys, const fc_hash_key *key, fc_limiter_full full
    )
    bint fc_limiter_hit(
        fc_limiter *l, const fc_gcra *quota, uint64_t key, uint64_t now_ns, uint64_t cost, fc_gcra_answer *a
    )
    void fc_limiter_peek(
        const fc_limiter *l, const fc_gcra *quota, uint64_t key, uint64_t now_ns, uint64_t cost, fc_gcra_answer *a
    )
    bint fc_limiter_hit_all(fc_limiter_limit *limits, uint32_t n, uint64_t now_ns)
    bint fc_limiter_update(
        fc_limiter *l, uint64_t key, uint64_t now_ns, uint64_t (*next)(uint64_t word, void *ctx) noexcept nogil, void *ctx
    )
    bint fc_limiter_reset(const fc_limiter *l, uint64_t key, uint64_t now_ns)
    void fc_limiter_count(const fc_limiter *l, uint64_t now_ns, fc_limiter_counts *counts)


@cython.final
cdef class Answer:
    cdef fc_gcra_answer a
    cdef readonly bint enforced


@cython.final
cdef class RateLimiter:
    cdef fc_limiter table
    cdef fc_gcra own            # for our own clock, which never steps
    cdef fc_gcra given          # for a time that the caller gives
    cdef fc_hash_key keys[4]    # by kind of key: str, bytes, int, tuple
    cdef char *base
    cdef uint64_t size
    cdef Region region          # None: the memory is this object's own
    cdef readonly object quota
    cdef readonly str name

    # The key's print, never 0. TypeError for what is no key.
    cdef uint64_t print_of(self, object key) except 0
    # Charges `cost`; now_ns 2**64 - 1: read the clock. False: there was no room in the table, and the answer is `when_full`'s.
    cdef bint check(self, uint64_t key, uint64_t cost, uint64_t now_ns, fc_gcra_answer *answer) noexcept nogil
