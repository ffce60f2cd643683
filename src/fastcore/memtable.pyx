"""An ordered table of byte strings in memory that remembers every version, bounded by bytes: the newest part of
fastcore.lsm.Store, usable by itself.

    table = Memtable(64 << 20)
    before = table.put(b"a", b"1")
    table.put(b"a", b"2")
    table.get(b"a"), table.get(b"a", at=before)          # b"2", b"1"
"""

import os
import struct

from cpython.buffer cimport PyObject_CheckBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cimport cython

__all__ = ["Memtable", "MemtableFullError", "MemtableScan"]


class MemtableFullError(Exception):
    """There is no room for the operation within max_bytes; nothing has changed."""


# --- keys and bounds -------------------------------------------------------------------------------------------------

cdef bytes bytes_of(object data, str what):
    if type(data) is bytes:
        return <bytes>data
    if isinstance(data, str):
        raise TypeError(f"a {what} is bytes, not str: use .encode()")
    if not PyObject_CheckBuffer(data):
        raise TypeError(f"a {what} is a bytes-like object, not {type(data).__name__}")
    return bytes(memoryview(data))


cdef bytes prefix_end(bytes prefix):
    cdef bytes head = prefix.rstrip(b"\xff")
    if not head:
        return None
    return head[:len(head) - 1] + bytes((head[len(head) - 1] + 1,))


cdef tuple bounds_of(object start, object stop, object prefix, bint include_start, bint include_stop):
    """Half-open bounds, None for none."""
    cdef bytes lower = None, upper = None
    if prefix is not None:
        if start is not None or stop is not None:
            raise TypeError("prefix cannot be used together with start or stop")
        lower = bytes_of(prefix, "prefix")
        return lower, prefix_end(lower)
    if start is not None:
        lower = bytes_of(start, "start")
        if not include_start:
            lower += b"\0"
    if stop is not None:
        upper = bytes_of(stop, "stop")
        if include_stop:
            upper += b"\0"
    return lower, upper


cdef inline fc_slice slice_of(bytes data) noexcept:
    return fc_slice(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef uint64_t snapshot_of(Memtable table, object at) except? 0:
    if at is None:
        return table.seq
    if not 0 <= at <= table.seq:
        raise ValueError(f"at is {at}; the table's operations are numbered 1 to {table.seq}")
    return at


# --- the table -------------------------------------------------------------------------------------------------------

@cython.final
cdef class Memtable:
    """max_bytes: what it may take, 64 KiB to 32 GiB; the versions of a key, and deletions, count until it goes.

    Each change has a number, one more than the last, which it returns. `at=number` reads what was there right after it.
    Scans do not see what is changed after they began. Any thread may use it."""

    def __init__(self, max_bytes=64 << 20):
        if self.m != NULL:
            raise RuntimeError("the table has been made already")
        if not FC_MEMTABLE_MIN_BYTES <= max_bytes <= FC_MEMTABLE_MAX_BYTES:
            raise ValueError(f"max_bytes is {max_bytes}; it is {FC_MEMTABLE_MIN_BYTES} to {FC_MEMTABLE_MAX_BYTES}")
        self.hash_key.k0, self.hash_key.k1 = struct.unpack("QQ", os.urandom(16))
        self.m = fc_memtable_new(max_bytes, &self.hash_key)
        if self.m == NULL:
            raise MemoryError
        self.max_bytes = max_bytes

    def __dealloc__(self):
        if self.m != NULL:
            fc_memtable_free(self.m)

    cdef fc_memtable *use(self) except NULL:
        if self.m == NULL:
            raise ValueError("the table has not been made")
        return self.m

    cdef int add(self, fc_key_type type, bytes key, bytes value) except -1:
        cdef fc_memtable *m = self.use()
        cdef int error
        if type == FC_KEY_RANGE_DELETE:
            error = fc_memtable_delete_range(m, self.seq + 1, slice_of(key), slice_of(value))
        else:
            error = fc_memtable_add(m, self.seq + 1, type, slice_of(key), slice_of(value))
        if error == FC_MEMTABLE_EFULL:
            raise MemtableFullError(f"no room within {self.max_bytes} bytes")
        if error == FC_MEMTABLE_ESIZE:
            raise ValueError(f"a key has at most {FC_KEY_MAX} bytes, a value {FC_VALUE_MAX}")
        if error < 0:
            raise MemoryError
        self.seq += 1
        return 0

    def put(self, key, value):
        """key has this value. Returns the number of the change."""
        self.add(FC_KEY_VALUE, bytes_of(key, "key"), bytes_of(value, "value"))
        return self.seq

    def delete(self, key):
        """key is gone, if it was there. Returns the number of the change."""
        self.add(FC_KEY_DELETE, bytes_of(key, "key"), b"")
        return self.seq

    def delete_range(self, begin, end):
        """All keys from begin to before end are gone. Returns the number of the change."""
        self.add(FC_KEY_RANGE_DELETE, bytes_of(begin, "key"), bytes_of(end, "key"))
        return self.seq

    def get(self, key, default=None, *, at=None):
        """The value of key, now or right after change number `at`."""
        cdef fc_memtable *m = self.use()
        cdef bytes wanted = bytes_of(key, "key")
        cdef fc_lookup lookup = fc_lookup_of(slice_of(wanted), snapshot_of(self, at), 0, &self.hash_key)
        cdef fc_found found
        if fc_memtable_get(m, &lookup, &found) != FC_FOUND:
            return default
        return PyBytes_FromStringAndSize(found.value.p, found.value.n)

    def scan(self, start=None, stop=None, *, prefix=None, bint reverse=False, at=None):
        """An iterator of (key, value): from start to before stop, or those with the prefix; the last first if reverse."""
        self.use()
        return MemtableScan(self, start, stop, prefix, reverse, snapshot_of(self, at))

    def __iter__(self):
        return self.scan()

    def __contains__(self, key):
        return self.get(key) is not None

    def __len__(self):
        """How many keys it has ever had; those that were deleted count."""
        cdef fc_memtable_stats s
        fc_memtable_get_stats(self.use(), &s)
        return s.keys

    @property
    def bytes(self):
        """What has been taken of max_bytes."""
        return fc_memtable_bytes(self.use())

    @property
    def last(self):
        """The number of the last change, 0 before the first."""
        return self.seq

    def __repr__(self):
        return f"<fastcore.lsm.Memtable {'not made' if self.m == NULL else f'of {len(self)} keys'}>"


@cython.final
@cython.no_gc_clear   # the iterator needs the table when it goes
cdef class MemtableScan:
    """An iterator over a Memtable; made by Memtable.scan."""

    cdef Memtable table
    cdef bytes lower, upper
    cdef fc_read_options how
    cdef fc_view *view
    cdef bint reverse, begun

    def __init__(self, Memtable table not None, start, stop, prefix, bint reverse, at):
        cdef fc_view_options options
        cdef fc_source source
        if self.view != NULL:
            raise RuntimeError("the iterator has been made already")
        self.lower, self.upper = bounds_of(start, stop, prefix, True, False)
        self.how.bounded_below = self.lower is not None
        if self.how.bounded_below:
            self.how.lower = slice_of(self.lower)
        self.how.bounded_above = self.upper is not None
        if self.how.bounded_above:
            self.how.upper = slice_of(self.upper)
        options.snapshot = at
        options.now_ms = 0
        options.skip_max = 0
        source = fc_source_memtable(table.use(), &self.how)
        self.table = table
        self.reverse = reverse
        self.view = fc_view_open(&source, 1, &options)
        if self.view == NULL:
            raise MemoryError

    def __dealloc__(self):
        fc_view_close(self.view)

    def __iter__(self):
        return self

    def __next__(self):
        cdef fc_view *v = self.view
        if v == NULL:
            raise StopIteration
        if not self.begun:
            self.begun = True
            if self.reverse:
                fc_view_last(v)
            else:
                fc_view_first(v)
        elif v.valid:
            if self.reverse:
                fc_view_prev(v)
            else:
                fc_view_next(v)
        if v.valid:
            return (PyBytes_FromStringAndSize(v.key.p, v.key.n), PyBytes_FromStringAndSize(v.value.p, v.value.n))
        if v.error != 0:
            raise MemoryError
        raise StopIteration
