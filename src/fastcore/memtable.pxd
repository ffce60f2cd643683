# The engine's memtable, and what its other parts share with it, for compiled modules.
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from fastcore.wal cimport fc_slice


cdef extern from "fc/hash.h" nogil:
    ctypedef struct fc_hash_key:
        uint64_t k0, k1


cdef extern from "fc/ikey.h" nogil:
    enum:
        FC_KEY_MAX
        FC_VALUE_MAX
    ctypedef enum fc_key_type:
        FC_KEY_DELETE
        FC_KEY_VALUE
        FC_KEY_EXPIRING
        FC_KEY_RANGE_DELETE
    const uint64_t FC_SEQ_MAX


cdef extern from "fc/iter.h" nogil:
    enum:
        FC_EWOULDREAD
        FC_FOUND
    ctypedef struct fc_read_options:
        bint memory_only, keep_out, bounded_below, bounded_above
        fc_slice lower, upper
    ctypedef struct fc_lookup:
        pass
    fc_lookup fc_lookup_of(fc_slice key, uint64_t snapshot, uint64_t now_ms, const fc_hash_key *hash_key)
    ctypedef struct fc_found:
        fc_slice value
        uint64_t tag, expires_ms


cdef extern from "fc/memtable.h" nogil:
    enum:
        FC_MEMTABLE_EFULL
        FC_MEMTABLE_ESIZE
        FC_MEMTABLE_MIN_BYTES
    const uint64_t FC_MEMTABLE_MAX_BYTES
    ctypedef struct fc_memtable:
        pass
    ctypedef struct fc_memtable_stats:
        uint64_t entries, keys, deletes, ranges, first_seq, last_seq, bytes, data_bytes
    fc_memtable *fc_memtable_new(uint64_t bytes_max, const fc_hash_key *hash_key)
    void fc_memtable_free(fc_memtable *m)
    bint fc_memtable_has_room(const fc_memtable *m, uint64_t operations, uint64_t ranges, uint64_t bytes)
    int fc_memtable_add(fc_memtable *m, uint64_t seq, fc_key_type type, fc_slice key, fc_slice value)
    int fc_memtable_delete_range(fc_memtable *m, uint64_t seq, fc_slice begin, fc_slice end)
    int fc_memtable_get(const fc_memtable *m, const fc_lookup *lookup, fc_found *out)
    uint64_t fc_memtable_bytes(const fc_memtable *m)
    void fc_memtable_get_stats(const fc_memtable *m, fc_memtable_stats *out)


cdef extern from "fc/merge.h" nogil:
    enum:
        FC_VIEW_ESKIPPED
    ctypedef struct fc_source:
        pass
    fc_source fc_source_memtable(const fc_memtable *m, const fc_read_options *how)
    ctypedef struct fc_view_options:
        uint64_t snapshot, now_ms
        uint32_t skip_max
    ctypedef struct fc_view:
        fc_slice key, value
        uint64_t tag, expires_ms, skipped
        int error
        bint valid
    fc_view *fc_view_open(const fc_source *sources, size_t n, const fc_view_options *options)
    void fc_view_close(fc_view *v)
    void fc_view_first(fc_view *v)
    void fc_view_last(fc_view *v)
    void fc_view_seek(fc_view *v, fc_slice key)
    void fc_view_seek_back(fc_view *v, fc_slice key)
    void fc_view_next(fc_view *v)
    void fc_view_prev(fc_view *v)


# A key or value as bytes, what it is called in the error.
cdef bytes bytes_of(object data, str what)
# Where the keys with this prefix end: None when all keys follow it.
cdef bytes prefix_end(bytes prefix)
# (lower, upper), half-open, each bytes or None, of what plyvel calls start, stop, prefix, include_start, include_stop.
cdef tuple bounds_of(object start, object stop, object prefix, bint include_start, bint include_stop)


cdef class Memtable:
    cdef fc_memtable *m
    cdef fc_hash_key hash_key
    cdef uint64_t seq
    cdef readonly uint64_t max_bytes

    cdef fc_memtable *use(self) except NULL
    cdef int add(self, fc_key_type type, bytes key, bytes value) except -1
