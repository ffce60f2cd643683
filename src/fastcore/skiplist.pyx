"""Sorted mappings: SkipList in this process, SharedSkipList in a region (see docs/toolkit/skiplist.md)."""

import os
import types
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView

cimport cython
from cpython.object cimport PyObject, PyTypeObject, inquiry, traverseproc
from cpython.ref cimport Py_INCREF, Py_XDECREF

__all__ = ["MAX_BYTES", "SharedSkipList", "SkipList", "SkipListFull"]

MAX_BYTES = FC_SKIPLIST_MAX_BYTES

include "skiplist_keys.pxi"


class SkipListFull(MemoryError):
    """There is no room for the new entry; the list is as it was."""


cdef int fail(int error, object bound) except -1:
    if error == FC_SKIPLIST_EFULL:
        raise SkipListFull(f"the list is full: its bound is {bound} bytes")
    message = fc_skiplist_strerror(error).decode()
    if error == FC_SKIPLIST_ENOMEM:
        raise MemoryError(message)
    if error == FC_SKIPLIST_EBUSY:
        raise TimeoutError(message)
    raise ValueError(message)


# What an entry's value holds: the key and value objects, owned by the list.
cdef struct Pair:
    PyObject *key
    PyObject *value


cdef inline Pair *pair_of(const fc_skiplist_item *item) noexcept:
    return <Pair *>item.value.p


cdef inline tuple as_tuple(const fc_skiplist_item *item):
    return <object>pair_of(item).key, <object>pair_of(item).value


cdef void give_up(fc_skiplist *old) noexcept:
    """Lets go of all objects of a list that nobody can reach any more, and of its memory."""
    cdef fc_skiplist_cursor c
    cdef fc_slice none = fc_slice(NULL, 0)
    cdef bint more = fc_skiplist_seek(old, none, FC_SKIPLIST_FIRST, &c)
    while more:
        Py_XDECREF(pair_of(&c.item).key)
        Py_XDECREF(pair_of(&c.item).value)
        more = fc_skiplist_next(old, &c)
    fc_skiplist_close(old)


cdef object missing = object()


@cython.final
@cython.no_gc_clear  # ours, below: it must empty the list and leave the rest usable
@cython.trashcan(True)
cdef class SkipList:
    """A sorted mapping: a MutableMapping in key order, with neighbours, ranges, ranks and both ends.

    ``SkipList(items)`` takes a mapping or (key, value) pairs. Keys are of one kind: int (64 bits), float (not NaN; ints
    that are exact floats are taken too), str, bytes, or tuples of these whose elements have the same kinds position by
    position. The kind is ``key=`` (a type, or a tuple of types for tuples of that shape) or that of the first key put
    in. A key of another kind is a TypeError, an int that does not fit an OverflowError, NaN a ValueError, for look-ups
    as well.

    Values are any objects. ``max_bytes`` (8 KiB to 32 GiB) bounds the list's own memory, about 70 bytes a key, objects
    not counted; beyond it SkipListFull, a MemoryError, and nothing is changed.

    Iterators and ranges stay valid while the list changes: they go on with the next key in order at that moment.
    One thread at a time, as the GIL sees to.
    """

    def __cinit__(self, items=(), /, *, key=None, max_bytes=MAX_BYTES):
        self.keys_ = Keys(key)
        if not FC_SKIPLIST_MIN_BYTES <= max_bytes <= FC_SKIPLIST_MAX_BYTES:
            raise ValueError(f"max_bytes is {max_bytes}; it is {FC_SKIPLIST_MIN_BYTES} to {FC_SKIPLIST_MAX_BYTES}")
        cdef int error = fc_skiplist_open(&self.list, 0, max_bytes)
        if error:
            fail(error, max_bytes)
        self.update(items)

    def __dealloc__(self):
        if self.list.size:
            give_up(&self.list)

    cdef PyObject *find(self, object key) except? NULL:
        cdef fc_slice k
        cdef fc_skiplist_cursor c
        self.keys_.encode(key, False, &k)
        return pair_of(&c.item).value if fc_skiplist_seek(&self.list, k, FC_SKIPLIST_EQ, &c) else NULL

    cdef int store(self, object key, object value) except -1:
        cdef fc_slice k
        cdef fc_skiplist_item found
        cdef Pair pair = Pair(<PyObject *>key, <PyObject *>value)
        cdef PyObject *old
        self.keys_.encode(key, True, &k)
        cdef int made = fc_skiplist_insert(&self.list, k, fc_slice(<const char *>&pair, sizeof(pair)), &found)
        if made < 0:
            fail(made, self.list.max)
        Py_INCREF(value)
        if made:
            Py_INCREF(key)
            self.changes += 1
        else:
            old = pair_of(&found).value
            pair_of(&found).value = <PyObject *>value
            Py_XDECREF(old)
        return made

    cdef object take(self, object key):
        """The value out of the list. Not a KeyError but `missing` when there is none."""
        cdef fc_slice k
        cdef fc_skiplist_item removed
        self.keys_.encode(key, False, &k)
        if not fc_skiplist_remove(&self.list, k, &removed):
            return missing
        self.changes += 1
        cdef Pair pair = pair_of(&removed)[0]
        value = <object>pair.value
        Py_XDECREF(pair.value)
        Py_XDECREF(pair.key)
        return value

    cdef tuple take_end(self, bint last):
        cdef fc_skiplist_item removed
        if not fc_skiplist_pop(&self.list, last, &removed):
            raise KeyError("the list is empty")
        self.changes += 1
        cdef Pair pair = pair_of(&removed)[0]
        item = <object>pair.key, <object>pair.value
        Py_XDECREF(pair.key)
        Py_XDECREF(pair.value)
        return item

    cdef object near(self, object key, fc_skiplist_op op):
        cdef fc_slice k
        cdef fc_skiplist_cursor c
        self.keys_.encode(key, False, &k)
        return as_tuple(&c.item) if fc_skiplist_seek(&self.list, k, op, &c) else None

    def __len__(self):
        return fc_skiplist_count(&self.list)

    def __contains__(self, key):
        return self.find(key) != NULL

    def __getitem__(self, key):
        cdef PyObject *value = self.find(key)
        if value == NULL:
            raise KeyError(key)
        return <object>value

    def __setitem__(self, key, value):
        self.store(key, value)

    def __delitem__(self, key):
        if self.take(key) is missing:
            raise KeyError(key)

    def __iter__(self):
        return walk(self, KEYS, None, None, True, True, False)

    def __reversed__(self):
        return walk(self, KEYS, None, None, True, True, True)

    def __eq__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    __hash__ = None
    __class_getitem__ = classmethod(types.GenericAlias)

    def __repr__(self):
        return f"SkipList({dict(self.items())!r})" if len(self) else "SkipList()"

    def get(self, key, default=None):
        cdef PyObject *value = self.find(key)
        return default if value == NULL else <object>value

    def setdefault(self, key, default=None):
        cdef PyObject *value = self.find(key)
        if value != NULL:
            return <object>value
        self.store(key, default)
        return default

    def pop(self, key, default=missing):
        value = self.take(key)
        if value is not missing:
            return value
        if default is missing:
            raise KeyError(key)
        return default

    def popitem(self, last=True):
        """The last (or first) key and its value, removed. KeyError when the list is empty."""
        return self.take_end(last)

    def pop_min(self):
        """The first key and its value, removed. KeyError when the list is empty."""
        return self.take_end(False)

    def pop_max(self):
        """The last key and its value, removed. KeyError when the list is empty."""
        return self.take_end(True)

    def peek_min(self):
        """The first key and its value. KeyError when the list is empty."""
        return self.peek(FC_SKIPLIST_FIRST)

    def peek_max(self):
        """The last key and its value. KeyError when the list is empty."""
        return self.peek(FC_SKIPLIST_LAST)

    cdef tuple peek(self, fc_skiplist_op op):
        cdef fc_skiplist_cursor c
        if not fc_skiplist_seek(&self.list, fc_slice(NULL, 0), op, &c):
            raise KeyError("the list is empty")
        return as_tuple(&c.item)

    def update(self, items=(), /):
        """Put all of a mapping's or of an iterable's pairs in. In ascending order that is several times faster."""
        if isinstance(items, Mapping):
            items = items.items()
        for key, value in items:
            self.store(key, value)

    def clear(self):
        """Remove all; a kind of key that was not given by key= may be another from now on."""
        cdef fc_skiplist old = self.list
        cdef fc_skiplist empty
        cdef int error = fc_skiplist_open(&empty, 0, old.max)
        if error:
            fail(error, old.max)
        self.list = empty
        self.changes += 1
        self.keys_.forget()
        give_up(&old)

    def copy(self):
        """Another list with the same keys, values and bound."""
        return SkipList(self, key=self.keys_.spec() if self.keys_.given else None, max_bytes=self.list.max)

    def keys(self):
        return _KeysView(self)

    def values(self):
        return _ValuesView(self)

    def items(self):
        return _ItemsView(self)

    def floor(self, key):
        """(key, value) of the greatest key at or below ``key``, or None."""
        return self.near(key, FC_SKIPLIST_LE)

    def ceiling(self, key):
        """(key, value) of the least key at or above ``key``, or None."""
        return self.near(key, FC_SKIPLIST_GE)

    def lower(self, key):
        """(key, value) of the greatest key below ``key``, or None."""
        return self.near(key, FC_SKIPLIST_LT)

    def higher(self, key):
        """(key, value) of the least key above ``key``, or None."""
        return self.near(key, FC_SKIPLIST_GT)

    def range(self, lo=None, hi=None, *, inclusive=(True, True), reverse=False):
        """Iterator over (key, value) from ``lo`` to ``hi`` in order, or backwards with ``reverse``.

        None is no bound; ``inclusive`` says for each whether the bound itself belongs to it.
        """
        low, high = inclusive
        return walk(self, ITEMS, lo, hi, low, high, reverse)

    def irange(self, lo=None, hi=None, *, inclusive=(True, True), reverse=False):
        """As range(), keys only."""
        low, high = inclusive
        return walk(self, KEYS, lo, hi, low, high, reverse)

    def rank(self, key):
        """Number of keys below ``key``: its index, if it is there. O(log n)."""
        cdef fc_slice k
        self.keys_.encode(key, False, &k)
        return fc_skiplist_rank(&self.list, k)

    def bisect_left(self, key):
        """The same as rank()."""
        return self.rank(key)

    def bisect_right(self, key):
        """Number of keys at or below ``key``. O(log n)."""
        return self.rank(key) + (self.find(key) != NULL)

    def at(self, index):
        """(key, value) at that index in key order; negative ones count from the end. IndexError outside. O(log n)."""
        cdef fc_skiplist_cursor c
        cdef Py_ssize_t place = index, length = fc_skiplist_count(&self.list)
        if place < 0:
            place += length
        if not 0 <= place < length:
            raise IndexError(f"index {index} of {length}")
        fc_skiplist_at(&self.list, place, &c)
        return as_tuple(&c.item)

    @property
    def key(self):
        """The kind of the keys, as for ``key=``; None while it is open."""
        return self.keys_.spec()

    @property
    def nbytes(self):
        """Bytes of the list's own memory in use; freed ones that wait for use again are not counted."""
        return fc_skiplist_bytes_used(&self.list)

    def __sizeof__(self):
        return object.__sizeof__(self) + fc_skiplist_bytes(&self.list)


class _KeysView(KeysView):
    def __reversed__(self):
        return reversed(self._mapping)


class _ValuesView(ValuesView):
    def __iter__(self):
        return walk(self._mapping, VALUES, None, None, True, True, False)

    def __reversed__(self):
        return walk(self._mapping, VALUES, None, None, True, True, True)


class _ItemsView(ItemsView):
    def __iter__(self):
        return walk(self._mapping, ITEMS, None, None, True, True, False)

    def __reversed__(self):
        return walk(self._mapping, ITEMS, None, None, True, True, True)


MutableMapping.register(SkipList)


cdef enum:
    KEYS
    VALUES
    ITEMS


cdef inline bint passed(fc_slice key, bytes stop, bint inclusive, bint reverse) noexcept:
    """Whether a key lies beyond the last one wanted."""
    cdef size_t n = len(stop)
    cdef int c = memcmp(key.p, <const char *>stop, min(n, key.n))
    if c == 0:
        c = (key.n > n) - (key.n < n)
    if reverse:
        c = -c
    return c > 0 or (c == 0 and not inclusive)


@cython.final
cdef class _Walk:
    """An iterator. It knows its place as long as the list does not change, and by the last key finds it again."""

    cdef SkipList list
    cdef fc_skiplist_cursor c
    cdef uint64_t changes
    cdef object last   # key to go on from, when known
    cdef bytes stop    # encoded bound at the far end, or None
    cdef bint started, inclusive, begin_inclusive, reverse
    cdef int what

    def __iter__(self):
        return self

    cdef bint seek(self) except -1:
        cdef fc_slice k = fc_slice(NULL, 0)
        cdef bint strict = self.started or not self.begin_inclusive
        cdef fc_skiplist_op op = FC_SKIPLIST_LAST if self.reverse else FC_SKIPLIST_FIRST
        if self.last is not missing:
            self.list.keys_.encode(self.last, False, &k)
            if self.reverse:
                op = FC_SKIPLIST_LT if strict else FC_SKIPLIST_LE
            else:
                op = FC_SKIPLIST_GT if strict else FC_SKIPLIST_GE
        self.changes = self.list.changes
        return fc_skiplist_seek(&self.list.list, k, op, &self.c)

    def __next__(self):
        cdef bint found = False
        if self.list is None:
            raise StopIteration
        if not self.started or self.changes != self.list.changes:
            found = self.seek()
        elif self.reverse:
            found = fc_skiplist_prev(&self.list.list, &self.c)
        else:
            found = fc_skiplist_next(&self.list.list, &self.c)
        if not found or (self.stop is not None and passed(self.c.item.key, self.stop, self.inclusive, self.reverse)):
            self.list = None
            self.last = None
            raise StopIteration
        self.started = True
        cdef Pair *pair = pair_of(&self.c.item)
        self.last = <object>pair.key
        if self.what == KEYS:
            return self.last
        if self.what == VALUES:
            return <object>pair.value
        return self.last, <object>pair.value


cdef _Walk walk(SkipList list, int what, object lo, object hi, bint low, bint high, bint reverse):
    cdef _Walk self = _Walk.__new__(_Walk)
    cdef fc_slice k
    begin, end = (hi, lo) if reverse else (lo, hi)
    self.list = list
    self.what = what
    self.reverse = reverse
    self.begin_inclusive, self.inclusive = (high, low) if reverse else (low, high)
    self.last = missing
    if begin is not None:
        list.keys_.encode(begin, False, &k)
        self.last = begin
    if end is not None:
        list.keys_.encode(end, False, &k)
        self.stop = k.p[:k.n]
    return self


# The collector must see the objects that lie in C memory, which Cython has no word for.
ctypedef int (*Visit)(PyObject *, void *) noexcept
ctypedef int (*Traverse)(PyObject *, Visit, void *) noexcept

cdef Traverse traverse_attributes = <Traverse><void *>(<PyTypeObject *>SkipList).tp_traverse


cdef int traverse(PyObject *object_, Visit visit, void *arg) noexcept:
    cdef SkipList self = <SkipList>object_
    cdef fc_skiplist_cursor c
    cdef int stopped = traverse_attributes(object_, visit, arg)
    if stopped or self.list.size == 0:
        return stopped
    cdef bint more = fc_skiplist_seek(&self.list, fc_slice(NULL, 0), FC_SKIPLIST_FIRST, &c)
    while more:
        stopped = visit(pair_of(&c.item).key, arg) or visit(pair_of(&c.item).value, arg)
        if stopped:
            return stopped
        more = fc_skiplist_next(&self.list, &c)
    return 0


cdef int clear(PyObject *object_) noexcept:
    cdef SkipList self = <SkipList>object_
    cdef fc_skiplist old = self.list
    cdef fc_skiplist empty
    # Without memory for an empty list the cycle stays, and the collector will come again.
    if old.size and fc_skiplist_open(&empty, 0, old.max) == 0:
        self.list = empty
        self.changes += 1
        give_up(&old)
    return 0


(<PyTypeObject *>SkipList).tp_traverse = <traverseproc><void *>traverse
(<PyTypeObject *>SkipList).tp_clear = <inquiry><void *>clear

include "skiplist_shared.pxi"
