# cython: binding=False, embedsignature=True, embedsignature.format=clinic
# Plain C methods: the interpreter calls those by a way of its own, Cython's function objects through two vectorcalls
# more, which was 9 to 12 ns of a `get` of 30. What binding functions give, names and signatures, the docstrings carry.

"""Bounded caches in one process: LRUCache and TTLCache, with the interface and behaviour of cachetools 8. (SharedCache, for
all processes at once, is at home in fastcore.sharedcache.)

A subclass may replace methods as with cachetools: what the cache does by itself (making room, expiring, `get`, `pop`)
then goes through its methods. Without such a subclass no call leaves compiled code, but for `__hash__` and `==` of keys
that are neither str nor int, for `getsizeof`, a timer of the user's, and callbacks.

Threads and greenlets: a call is atomic under the GIL, whatever the Python code does that it runs. Hashing, sizing and
reading the time come before the table is looked at; a search that ran `==` starts again if the table was changed;
objects are let go, and callbacks run, when the table is whole again.
"""

import os
import time
from collections import namedtuple
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView
from contextlib import nullcontext
from copy import deepcopy
from copyreg import __newobj__ as new_object
from datetime import timedelta
from types import GenericAlias

cimport cython
from cpython.exc cimport PyErr_SetObject, PyErr_WriteUnraisable
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport Py_EQ, PyObject_RichCompareBool
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.math cimport INFINITY, NAN, floor, isnan
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset

from fastcore.flight cimport FAILED, LANDED, Flight, Flights
from fastcore.sharedcache import SharedCache

__all__ = ["CacheStats", "LRUCache", "SharedCache", "TTLCache"]

CacheStats = namedtuple("CacheStats", ["hits", "misses", "insertions", "evictions", "expirations"])
CacheStats.__doc__ = """Counts since the cache was made: lookups that found a live item and that did not (`[]`, `get`,
`setdefault`, `get_many`, `get_or_compute`; `in` is not counted), keys that came in, items dropped to make room, items
dropped because their time was over."""

cdef extern from "Python.h":
    int Py_ReprEnter(object) except -1
    void Py_ReprLeave(object)

cdef object NOTHING = object()

include "cache_table.pxi"
include "cache_timer.pxi"
include "cache_walk.pxi"
include "cache_store.pxi"
include "cache_base.pxi"


@cython.collection_type("mapping")
cdef class LRUCache(Cache):
    """A mapping of bounded size that drops what was not used for longest.

    maxsize: the largest sum of sizes; an int or float, infinity included. getsizeof(value): the size of a value, 0 or
    more; without it each item has size 1. on_evict(key, value, reason): called after an item was dropped to make room
    (reason "evicted"), when the cache is whole again; it may use the cache, and what it raises comes out of the call
    that made the item go, whose work is done by then.

    Raises ValueError for a negative maxsize, and from setting a value larger than maxsize.
    """

    def __init__(self, maxsize, getsizeof=None, *, on_evict=None):
        self.take_over(maxsize, getsizeof, on_evict)

    def set(self, key, value):
        """The same as `cache[key] = value`."""
        self.put(key, value)

    def set_many(self, items):
        """Set each key and value of a mapping, or of an iterable of pairs."""
        self.update(items)

    def get_or_compute(self, key, fn):
        """The value of the key; without one fn() is called, its result stored and returned.

        Of all threads and greenlets that ask at the same time one calls fn, the others wait and get its result, or the
        Exception it raised, which is not stored. When it ends otherwise (GreenletExit, a gevent Timeout,
        KeyboardInterrupt) only its caller sees that, and one of the others calls its own fn. A value too large for the
        cache is returned all the same. RuntimeError when fn asks, directly or in a circle, for the key it computes.
        """
        return self.compute(key, fn, None)


@cython.collection_type("mapping")
cdef class TTLCache(Cache):
    """An LRUCache whose items also expire, `ttl` after they were set, in units of the timer.

    An expired item counts as absent everywhere; it is dropped by later calls that set, count or iterate. timer: any
    function whose results can be added to ttl and compared, such as time.time, datetime.now with a timedelta, or a
    test's own. The default costs no Python call. ttl: may be infinite; 0 or less expires at once.

    on_evict is called for expired items too, with reason "expired". Raises ValueError as LRUCache does, and for NaN.
    """

    def __init__(self, maxsize, ttl, timer=time.monotonic, getsizeof=None, *, on_evict=None):
        if isinstance(ttl, float) and isnan(ttl):
            raise ValueError("ttl must not be NaN")
        self.take_over(maxsize, getsizeof, on_evict)
        self.clock = Timer(timer)
        self.lifetime = ttl
        self.uniform = NAN

    @property
    def ttl(self):
        """The lifetime of items that are set without one of their own."""
        return self.lifetime

    @property
    def timer(self):
        """The timer: called it gives the time; as a context manager it stops this cache's time inside the block."""
        return self.clock

    def set(self, key, value, ttl=None):
        """As `cache[key] = value`; with ttl the item has a lifetime of its own."""
        self.put(key, value, ttl)

    def set_many(self, items, ttl=None):
        """Set each key and value of a mapping, or of an iterable of pairs, all with this lifetime."""
        if ttl is None:
            self.update(items)
            return
        for key, value in items.items() if isinstance(items, Mapping) else items:
            self.put(key, value, ttl)

    def get_or_compute(self, key, fn, ttl=None):
        """As LRUCache.get_or_compute; ttl is the computed item's own lifetime."""
        return self.compute(key, fn, ttl)

    def expire(self, time=None):
        """Drop what has expired by `time` (default: now) and return the (key, value) pairs, first expired first."""
        found = []
        self.expire_now(self.clock.read() if time is None else self.clock.number(time), found)
        return found


# The arrays hold references that Cython does not know of.

cdef extern from "Python.h":
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear

cdef traverseproc traverse_members = (<PyTypeObject *>Cache).tp_traverse
cdef inquiry clear_members = (<PyTypeObject *>Cache).tp_clear


cdef int traverse(PyObject *cache, visitproc visit, void *arg) noexcept:
    cdef Table *t = &(<Cache>cache).t
    cdef int stopped = traverse_members(cache, visit, arg)
    cdef uint32_t i
    if stopped != 0:
        return stopped
    for i in range(FIRST, t.filled):
        if t.entries[i].key != NULL:
            stopped = visit(t.entries[i].key, arg)
            if stopped == 0:
                stopped = visit(t.entries[i].value, arg)
            if stopped != 0:
                return stopped
    return 0


cdef int clear_garbage(PyObject *cache) noexcept:
    cdef Table *t = &(<Cache>cache).t
    cdef Chain all = Chain(0, 0)
    remove_all(t, &all)
    discard(t, &all)
    return clear_members(cache)


for kind in (Cache, LRUCache, TTLCache):
    (<PyTypeObject *>kind).tp_traverse = traverse
    (<PyTypeObject *>kind).tp_clear = clear_garbage

MutableMapping.register(Cache)
try:   # cachetools.cached(info=True) asks for its own base class before it reports maxsize
    from cachetools import Cache as _CachetoolsCache
except ImportError:
    pass
else:
    _CachetoolsCache.register(Cache)
