# Limits for the proxy: `limits.of(names)` is what a route in C points at.
cimport cython
from cpython.ref cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastcore.limiter cimport fc_gcra, fc_hash_key, fc_limiter
from fastcore.metrics cimport Metrics
from fastcore.pikevm cimport fc_slice
from fastcore.cnet cimport fc_loop
from fastcore.reactor cimport Reactor
from fastcore.shm cimport Region


cdef extern from "fc/addr.h" nogil:
    ctypedef struct fc_addr:
        uint8_t ip[16]
    bint fc_addr_parse(const char *p, size_t n, fc_addr *out)


cdef extern from "fc/inflight.h" nogil:
    enum:
        FC_INFLIGHT_WAYS
        FC_INFLIGHT_BUCKETS
        FC_INFLIGHT_VERSION
        FC_INFLIGHT_EBUSY
    ctypedef struct fc_inflight:
        uint64_t full
    uint64_t fc_inflight_size()
    int fc_inflight_open(fc_inflight *f, void *base, uint32_t pid)
    uint32_t fc_inflight_held(const fc_inflight *f)
    uint32_t fc_inflight_reclaim(const fc_inflight *f)


cdef extern from "fc/limiter.h" nogil:
    enum:
        FC_LIMITER_VERSION


cdef extern from "fc/allowance.h" nogil:
    enum:
        FC_ALLOWANCE_UNITS_MAX
    bint fc_allowance_grant(fc_limiter *l, uint64_t key, uint64_t now_ns, uint64_t units, uint64_t until_ns)
    void fc_allowance_refuse(fc_limiter *l, uint64_t key, uint64_t now_ns, uint64_t until_ns)


cdef extern from "fc/quota_line.h" nogil:
    ctypedef struct fc_grow:
        char *p
        size_t len
    ctypedef struct fc_quota_ask:
        uint64_t fingerprint "print"
        uint64_t cost, lease_ns
        fc_gcra quota
        bint full_refuses
        uint32_t name_at, name_len, text_at, text_len
    ctypedef struct fc_quota_wait:
        fc_quota_wait *next
        uint32_t n
        fc_quota_ask *asks
        fc_grow text
        void *owner
    ctypedef struct fc_quota_line:
        uint32_t waiting
        bint posted
        uint64_t retry_ns
        void (*wake)(fc_quota_line *line) noexcept with gil
    void fc_quota_line_init(fc_quota_line *line, fc_loop *loop, uint32_t waiting_max, uint64_t *epoch)
    uint64_t fc_quota_epoch(const fc_quota_line *line)
    bint fc_quota_gone(const fc_quota_line *line)
    bint fc_quota_turn(fc_quota_line *line, uint64_t epoch)
    fc_quota_wait *fc_quota_take(fc_quota_line *line)
    void fc_quota_settle(fc_quota_wait *wait)


cdef extern from "fc/limit.h" nogil:
    enum:
        FC_LIMITS_MAX
        FC_LIMIT_PARTS_MAX
        FC_LIMIT_NAME_MAX
        FC_LIMIT_POLICY_MAX
        FC_LIMIT_CELLS
    ctypedef enum fc_limit_by:
        FC_LIMIT_IP
        FC_LIMIT_USER
        FC_LIMIT_ROUTE
        FC_LIMIT_HOST
        FC_LIMIT_HEADER
        FC_LIMIT_QUERY
        FC_LIMIT_COOKIE
    ctypedef enum fc_limit_gone:
        FC_LIMIT_GONE_LOCAL
        FC_LIMIT_GONE_ADMIT
        FC_LIMIT_GONE_REFUSE
    ctypedef struct fc_limit_part:
        fc_limit_by by
        fc_slice name
    ctypedef struct fc_limit:
        fc_slice name, policy
        uint64_t scope
        fc_limit_part *parts
        uint32_t parts_len
        uint8_t ipv4_bits, ipv6_bits
        bint needs_user, dry_run, tells, full_refuses
        const fc_hash_key *key
        fc_limiter *table
        fc_gcra quota
        uint64_t cost
        fc_limiter *allowances
        fc_slice shared_name
        uint64_t lease_ns
        fc_limit_gone when_gone
        fc_inflight *places
        uint32_t at_once
        uint32_t *cells
    ctypedef struct fc_route_limits:
        const fc_limit *const *limits
        uint32_t len
    void fc_limit_mask(const fc_limit *limit, fc_addr *client)
    uint64_t fc_limit_print(const fc_limit *limit, const uint64_t *hashes)


cdef struct tables:
    fc_limiter rates[2]    # one table, by what becomes of a request that finds no room: admitted, refused
    fc_limiter allowances


cdef struct owned_line:
    fc_quota_line line
    PyObject *owner


cdef class QuotaLine


@cython.final
cdef class Question:
    cdef QuotaLine line
    cdef uint64_t fingerprint
    cdef bint full_refuses
    cdef readonly bytes name, key
    cdef readonly uint64_t cost, interval, span, burst, lease, debt
    cdef public uint64_t waiting

    cdef void learn(self, uint64_t now, uint64_t debt) noexcept


@cython.final
cdef class QuotaLine:
    cdef owned_line *owned
    cdef tables held
    cdef Region region
    cdef Reactor reactor
    cdef object wake
    cdef uint32_t pinned

    cdef Question _question(self, fc_quota_wait *wait, fc_quota_ask *ask)


@cython.final
cdef class Limits:
    cdef Region region
    cdef tables held
    cdef bint shares
    cdef fc_inflight places
    cdef fc_limit *limits
    cdef dict numbers          # name to place in `limits`
    cdef dict routes           # names to the fc_route_limits made for them
    cdef list kept
    cdef uint32_t pinned
    cdef readonly tuple specs

    cdef int _open_places(self) except -1
    cdef list _values(self, const fc_limit *limit, spec, values)
    cdef fc_slice slice(self, str text)
    cdef int _fill(self, fc_limit *limit, object spec) except -1
    cdef int _count(self, fc_limit *limit, str name, Metrics metrics, str prefix) except -1
    # None of no names is NULL. KeyError for a name that is no limit. It lives as long as this object.
    cdef const fc_route_limits *of(self, tuple names) except? NULL
