# Limits for the proxy: `limits.of(names)` is what a route in C points at.
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastcore.limiter cimport fc_gcra, fc_hash_key, fc_limiter
from fastcore.metrics cimport Metrics
from fastcore.pikevm cimport fc_slice
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
        fc_inflight *places
        uint32_t at_once
        uint32_t *cells
    ctypedef struct fc_route_limits:
        const fc_limit *const *limits
        uint32_t len
    void fc_limit_mask(const fc_limit *limit, fc_addr *client)
    uint64_t fc_limit_print(const fc_limit *limit, const uint64_t *hashes)


@cython.final
cdef class Limits:
    cdef Region region
    cdef fc_limiter tables[2]  # one table, by what becomes of a request that finds no room: admitted, refused
    cdef fc_inflight places
    cdef fc_limit *limits
    cdef dict numbers          # name to place in `limits`
    cdef dict routes           # names to the fc_route_limits made for them
    cdef list kept
    cdef uint32_t pinned
    cdef readonly tuple specs

    cdef int _open(self, uint64_t capacity) except -1
    cdef fc_slice slice(self, str text)
    cdef int _fill(self, fc_limit *limit, object spec) except -1
    cdef int _count(self, fc_limit *limit, str name, Metrics metrics, str prefix) except -1
    # None of no names is NULL. KeyError for a name that is no limit. It lives as long as this object.
    cdef const fc_route_limits *of(self, tuple names) except? NULL
