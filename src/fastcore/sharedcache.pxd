# The shared cache for other compiled modules. `fetch` and `store` are what Python's get and set stand on; for more (find
# with freshness, reading in pieces, streams) call fc/cache.h with `&cache.c`.
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcore.shm cimport Region


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n


cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()


cdef extern from "fc/hash.h" nogil:
    ctypedef struct fc_hash_key:
        uint64_t k0
        uint64_t k1


cdef extern from "fc/cache.h" nogil:
    enum:
        FC_CACHE_ALIGN
        FC_CACHE_TAGS_MAX
        FC_CACHE_COPY_MAX
        FC_CACHE_ESIZE
        FC_CACHE_EVERSION
        FC_CACHE_EBUSY
        FC_CACHE_EBIG
        FC_CACHE_EFULL
        FC_CACHE_ETAGS
        FC_CACHE_ELOST
    uint64_t FC_CACHE_NEVER

    ctypedef struct fc_cache_options:
        uint64_t capacity
        uint64_t item_max
        uint32_t shards
        uint32_t block
        uint32_t tag_slots
        fc_hash_key key

    ctypedef struct fc_cache:
        fc_cache_options options
        uint64_t wait_ns

    ctypedef struct fc_cache_stamp:
        uint64_t epoch
        uint32_t len
        uint64_t *tags

    ctypedef enum fc_cache_state:
        FC_CACHE_MISS
        FC_CACHE_FRESH
        FC_CACHE_STALE
        FC_CACHE_PENDING

    ctypedef struct fc_cache_item:
        fc_cache_state state
        uint32_t flags
        uint32_t meta_len
        uint32_t value_len
        uint64_t fresh_until
        uint64_t keep_until
        uint64_t stored

    ctypedef struct fc_cache_new:
        fc_slice key
        fc_slice meta
        fc_slice value
        uint64_t fresh_until
        uint64_t keep_until
        uint32_t flags
        const fc_cache_stamp *stamp

    ctypedef struct fc_cache_put:
        pass

    ctypedef struct fc_cache_stats:
        uint64_t hits
        uint64_t misses
        uint64_t stored
        uint64_t evicted
        uint64_t removed
        uint64_t repairs
        uint64_t entries
        uint64_t bytes
        uint64_t pending
        uint64_t capacity

    uint64_t fc_cache_size(const fc_cache_options *o)
    int fc_cache_open(fc_cache *c, void *base, uint64_t size, const fc_cache_options *o)
    const char *fc_cache_strerror(int64_t error)
    void fc_cache_stamp_now(const fc_cache *c, fc_cache_stamp *stamp)
    int fc_cache_stamp_tag(const fc_cache *c, fc_cache_stamp *stamp, fc_slice tag)
    void fc_cache_invalidate(fc_cache *c, fc_slice tag, bint soft)
    void fc_cache_clear(fc_cache *c)
    fc_cache_state fc_cache_find(const fc_cache *c, fc_slice key, uint64_t now, fc_cache_item *item)
    bint fc_cache_read(const fc_cache *c, fc_cache_item *item, uint32_t at, void *out, uint32_t n)
    bint fc_cache_read_meta(const fc_cache *c, fc_cache_item *item, void *out)
    bint fc_cache_same(const fc_cache *c, const fc_cache_item *item)
    void fc_cache_count(const fc_cache *c, bint hit)
    int fc_cache_set(fc_cache *c, const fc_cache_new *n, bint absent_only, uint64_t now)
    int fc_cache_delete(fc_cache *c, fc_slice key, uint64_t now)
    int fc_cache_touch(fc_cache *c, fc_slice key, uint64_t fresh_until, uint64_t keep_until, const fc_cache_stamp *stamp,
                       uint64_t now)
    int fc_cache_claim(fc_cache *c, fc_slice key, uint64_t until, uint64_t now)
    int fc_cache_put_begin(fc_cache *c, fc_cache_put *put, const fc_cache_new *n, uint64_t now)
    int fc_cache_put_write(fc_cache *c, fc_cache_put *put, const void *p, size_t n, uint64_t now)
    int fc_cache_put_commit(fc_cache *c, fc_cache_put *put, uint64_t now)
    void fc_cache_put_abort(fc_cache *c, fc_cache_put *put)
    uint64_t fc_cache_expire(fc_cache *c, uint64_t now)
    void fc_cache_release(fc_cache *c, uint32_t pid)
    void fc_cache_stats_get(const fc_cache *c, fc_cache_stats *stats)


@cython.final
cdef class SharedCache:
    cdef fc_cache c
    cdef readonly Region region
    cdef bint pinned

    # A fresh value, or None; counted. `now` from fc_monotonic_ns().
    cdef bytes fetch(self, fc_slice key, uint64_t now)
    # 1 stored, 0 not stored or (absent_only) there already; ValueError when it never could be.
    cdef int store(self, const fc_cache_new *n, bint absent_only, uint64_t now) except -1
    # Fills `room` from tags or from a stamp given; NULL when there are neither.
    cdef fc_cache_stamp *stamp_of(self, object tags, object stamp, fc_cache_stamp *room) except? NULL
    cdef int put(self, object key, object value, object ttl, object tags, object stale, object flags, object meta,
                 object stamp, object now, bint absent_only) except -1


@cython.final
cdef class Writer:
    cdef readonly SharedCache cache
    cdef fc_cache_put put
    cdef bytes key  # the C side keeps a pointer to it
    cdef int state
