# Batches: operations that are done at once.

@cython.final
@cython.no_gc_clear   # it has C memory of its own, and a store that may be using it
cdef class WriteBatch(Single):
    """Operations to be done at once, all or none; made by write_batch().

    As a context manager it is written at the end of the block, and discarded when the block raises."""

    def __init__(self, *args, **kwargs):
        raise TypeError("batches are made by write_batch()")

    def __dealloc__(self):
        fc_batch_free(&self.c)

    cdef fc_batch *use(self) except NULL:
        self.writer.core.use()
        if self.busy:
            raise ValueError("the WriteBatch is being written")
        return &self.c

    cdef Writer target(self, object keyspace):
        if keyspace is None:
            return self.writer
        if not isinstance(keyspace, Writer):
            raise TypeError(f"keyspace is what keyspace() gives, not {type(keyspace).__name__}")
        if (<Writer>keyspace).core is not self.writer.core:
            raise ValueError("the keyspace is another store's")
        return <Writer>keyspace

    cdef int check(self) except -1:
        if self.c.error != 0:
            self.writer.core.fail(self.c.error)
        return 0

    def put(self, key, value, *, ttl=None, keyspace=None):
        """key has this value; for ttl seconds, if that is given. keyspace: another one of the same store."""
        cdef fc_batch *b = self.use()
        cdef Writer w = self.target(keyspace)
        cdef uint64_t expires = 0 if ttl is None else w.core.expiry(ttl)
        cdef bytes k = w.full(key), v = bytes_of(value, "value")
        fc_batch_put(b, w.id, slice_of(k), slice_of(v), expires)
        self.check()

    def delete(self, key, *, keyspace=None):
        """key is gone, if it is there."""
        cdef fc_batch *b = self.use()
        cdef Writer w = self.target(keyspace)
        cdef bytes k = w.full(key)
        fc_batch_delete(b, w.id, slice_of(k))
        self.check()

    def delete_range(self, begin=None, end=None, *, keyspace=None):
        """All keys from begin to before end are gone. None: from the first, to the last."""
        cdef fc_batch *b = self.use()
        cdef Writer w = self.target(keyspace)
        cdef bytes lower, upper
        lower, upper = w.full_bounds(begin, end, None, True, False)
        if not is_empty(lower, upper):
            fc_batch_delete_range(b, w.id, slice_of(lower or b""), slice_of(upper or b""))
        self.check()

    def expect(self, key, version, *, keyspace=None):
        """The batch is written only if the key has this version (get_entry), 0 or None: if it is not there. Else writing
        raises ConflictError. What the batch does itself does not count."""
        cdef fc_batch *b = self.use()
        cdef Writer w = self.target(keyspace)
        cdef bytes k = w.full(key)
        fc_batch_expect(b, w.id, slice_of(k), version_of(version))
        self.expected.append(k if w.prefix is None else k[len(w.prefix):])
        self.check()

    def append(self, WriteBatch other not None):
        """All operations and expectations of another batch of the same store, after these."""
        cdef fc_batch *b = self.use()
        if other.writer.core is not self.writer.core:
            raise ValueError("the batch is another store's")
        if other is self:
            raise ValueError("a batch cannot be appended to itself")
        fc_batch_append(b, other.use())
        self.expected.extend(other.expected)
        self.check()

    def clear(self):
        """As it was made."""
        fc_batch_clear(self.use())
        self.expected = []

    def write(self):
        """Write it, as it was told when it was made. It keeps its operations: clear() it to use it again."""
        self.writer.write(self, sync=self.flushed)

    @property
    def bytes(self):
        """Of keys and values."""
        return self.c.data_bytes

    def __len__(self):
        """Operations."""
        return self.c.operations

    def __enter__(self):
        self.use()
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None or not self.transaction:
            self.write()
        self.clear()


cdef uint64_t version_of(object version) except? 0:
    if version is None:
        return 0
    if not 0 <= version <= 0xFFFFFFFFFFFFFFFF:
        raise ValueError(f"{version} is no version; get_entry() gives them")
    return version
