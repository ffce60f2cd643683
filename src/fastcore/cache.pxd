from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcore.flight cimport Flight, Flights


cdef struct Slot:           # of the index: open addressing, linear probing, no tombstones
    uint32_t tag            # upper bits of the mixed hash; its own upper bits are the slot where the search begins
    uint32_t entry          # 0: the slot is empty


cdef struct Entry:          # 64 bytes, and so aligned: whatever is done to an item fetches one line of memory for it
    Py_hash_t hash
    PyObject *key           # owned; NULL in a free entry
    PyObject *value         # owned
    double at               # its deadline, in units of the timer; this and the last three only in a timed table
    uint32_t older, newer   # by last use, a ring through entry 0; `newer` also chains free and removed entries
    uint32_t before, after  # by insertion, a ring through entry 0
    uint32_t sooner, later  # by deadline, a ring through entry 0
    uint32_t place          # 1 + position in the heap; 0 when it is in the ring


cdef struct Walk:           # an iterator on its way: what it has still to visit
    uint32_t at             # next entry, 0 when done
    uint32_t last           # the last entry to visit
    Walk *next
    Walk **link             # what points at this walk; NULL when it is not registered


cdef struct Chain:          # entries taken out of the table whose objects are still to be let go
    uint32_t head, tail


cdef struct Table:
    Slot *slots
    Entry *entries          # the first line in block
    void *block
    double *sizes           # by entry, only when `sized`
    uint32_t *heap          # entries with a ttl of their own, or whose deadline came before that of the ring's last
    Walk *walks
    uint64_t version        # changes when a key comes or goes: a search that ran Python code compares it
    uint64_t limit          # entries that are enough, for growing no further than needed
    double current          # sum of sizes
    uint32_t mask, shift
    uint32_t capacity       # entries allocated
    uint32_t filled         # entries used at least once
    uint32_t free           # first free entry, 0 for none
    uint32_t used
    uint32_t heap_used, heap_capacity
    uint32_t limbo          # callers that hold a Chain: entries may not be thrown away as a whole
    bint sized, timed


cdef class Timer:
    cdef object timer       # the user's function
    cdef object origin      # what readings are counted from when they are no plain numbers; None otherwise
    cdef object frozen_value
    cdef double frozen
    cdef Py_ssize_t nesting
    cdef bint native, plain
    cdef double read(self) except? -1.0
    cdef double number(self, object instant) except? -1.0
    cdef bint passed(self, double deadline) noexcept
    cdef double span(self, object ttl) except? -1.0


cdef class Cache:
    cdef Table t
    cdef object bound       # maxsize as given
    cdef double maximum
    cdef int overrides      # what a subclass in Python replaces
    cdef bint fractional    # a size was no integer
    cdef object on_evict
    cdef Timer clock        # None in an LRUCache
    cdef object lifetime    # ttl as given
    cdef double uniform     # ttl in units of the timer, NaN before the first use
    cdef Flights flights
    cdef uint64_t hits, misses, insertions, evictions, expirations
    cdef dict __dict__
    cdef object __weakref__

    # For other compiled modules. `look` is `cache.get(key)` without a default: a borrowed reference, NULL without an
    # exception for a miss. `put` is `cache.set(key, value, ttl)`.
    cdef PyObject *look(self, object key) except? NULL
    cdef int put(self, object key, object value, object ttl=*, int how=*, PyObject **kept=*) except -1

    cdef int take_over(self, object maxsize, object getsizeof, object on_evict) except -1
    cdef void settings(self, object maxsize, double maximum, bint sized) noexcept
    cdef object absent(self, object key)
    cdef object get_by_methods(self, object key, object default)
    cdef int measure(self, object value, double *size) except -1
    cdef double ttl_units(self, object ttl) except? -1.0
    cdef int room_by_methods(self, object key, Py_hash_t hash, double size) except -1
    cdef int assign(self, object key, object value) except -1
    cdef object compute(self, object key, object fn, object ttl)
    cdef object lead(self, Flight flight, object key, object fn, object ttl)
    cdef void empty(self) noexcept
    cdef int expire_now(self, double now, list into=*) except -1
    cdef int settle(self) except -1
    cdef int let_go(self, Chain *expired, Chain *evicted) except -1
    cdef int release(self, Chain *chain, str reason, list into=*) except -1
    cdef object still(self)
    cdef list flat(self)


cdef class LRUCache(Cache):
    pass


cdef class TTLCache(Cache):
    pass
