# The skip list for other compiled modules: SkipList's cdef methods, or the C functions (link cext/ds/skiplist*.c).
cimport cython
from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastcore.shm cimport Region


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n


cdef extern from "fc/skiplist.h" nogil:
    enum:
        FC_SKIPLIST_MIN_BYTES
        FC_SKIPLIST_EFULL
        FC_SKIPLIST_ESIZE
        FC_SKIPLIST_EFORMAT
        FC_SKIPLIST_EBUSY
        FC_SKIPLIST_ENOMEM
        FC_SKIPLIST_ESPACE
    const uint64_t FC_SKIPLIST_MAX_BYTES
    const uint32_t FC_SKIPLIST_KEY_MAX
    const uint32_t FC_SKIPLIST_VALUE_MAX
    ctypedef struct fc_skiplist:
        uint64_t size
        uint64_t max
    ctypedef struct fc_skiplist_item:
        fc_slice key
        fc_slice value
    ctypedef struct fc_skiplist_cursor:
        fc_skiplist_item item
        size_t need
    ctypedef enum fc_skiplist_op:
        FC_SKIPLIST_EQ
        FC_SKIPLIST_GE
        FC_SKIPLIST_GT
        FC_SKIPLIST_LE
        FC_SKIPLIST_LT
        FC_SKIPLIST_FIRST
        FC_SKIPLIST_LAST
    int fc_skiplist_open(fc_skiplist *l, uint64_t size, uint64_t max)
    int fc_skiplist_share(fc_skiplist *l, void *memory, uint64_t size, uint64_t tag)
    void fc_skiplist_close(fc_skiplist *l)
    int fc_skiplist_lock(fc_skiplist *l, uint64_t wait_ns)
    void fc_skiplist_unlock(fc_skiplist *l)
    uint32_t fc_skiplist_writer(const fc_skiplist *l)
    int fc_skiplist_put(fc_skiplist *l, fc_slice key, fc_slice value)
    int fc_skiplist_insert(fc_skiplist *l, fc_slice key, fc_slice value, fc_skiplist_item *found)
    int fc_skiplist_remove(fc_skiplist *l, fc_slice key, fc_skiplist_item *removed)
    int fc_skiplist_pop(fc_skiplist *l, bint last, fc_skiplist_item *removed)
    void fc_skiplist_clear(fc_skiplist *l)
    bint fc_skiplist_seek(const fc_skiplist *l, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c)
    bint fc_skiplist_next(const fc_skiplist *l, fc_skiplist_cursor *c)
    bint fc_skiplist_prev(const fc_skiplist *l, fc_skiplist_cursor *c)
    int fc_skiplist_read(
        const fc_skiplist *l, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c, char *buf, size_t cap
    )
    int fc_skiplist_read_next(const fc_skiplist *l, fc_skiplist_cursor *c, bint backwards, char *buf, size_t cap)
    uint64_t fc_skiplist_rank(const fc_skiplist *l, fc_slice key)
    bint fc_skiplist_at(const fc_skiplist *l, uint64_t index, fc_skiplist_cursor *c)
    uint64_t fc_skiplist_count(const fc_skiplist *l)
    uint64_t fc_skiplist_bytes(const fc_skiplist *l)
    uint64_t fc_skiplist_bytes_used(const fc_skiplist *l)
    const char *fc_skiplist_strerror(int error)


# Python keys to bytes that memcmp orders as Python orders the keys, and back.
@cython.final
cdef class Keys:
    cdef int kind         # 0 until known
    cdef bint given       # kind was asked for, not found out
    cdef bint shape_given
    cdef list shape       # kinds of the elements of tuples
    cdef char[8] word     # an encoded number
    cdef char *buffer     # an encoded tuple
    cdef size_t used, room
    cdef bytes held       # an encoded text that has no UTF-8 of its own

    # The slice is good until the next call or the key's end. `fix`: an unknown kind becomes this key's.
    cdef int encode(self, object key, bint fix, fc_slice *out) except -1
    cdef object decode(self, fc_slice encoded)
    cdef int encode_kind(self, object key, int kind, fc_slice *out) except -1
    cdef int encode_tuple(self, tuple key, bint fix, fc_slice *out) except -1
    cdef int add(self, const char *p, size_t n) except -1
    cdef int add_escaped(self, const char *p, size_t n) except -1
    cdef void forget(self) noexcept
    cdef object spec(self)
    cdef uint64_t tag(self) except? 0


@cython.final
cdef class SkipList:
    cdef fc_skiplist list
    cdef Keys keys_
    cdef uint64_t changes  # of the set of keys, so iterators know when to look for their place again
    cdef object __weakref__

    # The value, borrowed, or NULL when there is none (no exception) or the key is of the wrong kind (TypeError).
    cdef PyObject *find(self, object key) except? NULL
    # 1: the key is new, 0: its value was replaced.
    cdef int store(self, object key, object value) except -1
    # The value, removed, or the module's `missing`.
    cdef object take(self, object key)
    # (key, value) of the first or last, or KeyError.
    cdef tuple take_end(self, bint last)
    # (key, value) nearest to key, or None.
    cdef object near(self, object key, fc_skiplist_op op)
    cdef tuple peek(self, fc_skiplist_op op)


@cython.final
cdef class SharedSkipList:
    cdef fc_skiplist list
    cdef Keys keys_
    cdef Region region
    cdef str name
    cdef unsigned int writing  # number of the fork generation in which this became the writer, plus one; 0: a reader
    cdef char *buffer
    cdef size_t room
    cdef object __weakref__

    # Copies of key and value are in c.item until the next call. 1 or 0.
    cdef int read(self, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c) except -1
    cdef int put(self, object key, const unsigned char[::1] value) except -1
    cdef int check_open(self) except -1
    cdef int check_writer(self) except -1
    cdef int enlarge(self, size_t need) except -1
    cdef void leave(self) noexcept
    cdef tuple item(self, fc_skiplist_cursor *c)
    cdef object near(self, object key, fc_skiplist_op op)
    cdef object end(self, bint last)
    cdef tuple take_end(self, bint last)
