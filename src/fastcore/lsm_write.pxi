# Writing: what keyspaces and the store have in common.

cdef enum:
    COPIED_AT_ONCE = 8192     # bytes that are written without releasing the GIL: it costs more than to copy them


cdef bint flushed_of(object durability, bint sync) except? True:
    if durability == "memory":
        return sync
    if durability == "flushed":
        return True
    raise ValueError(f"durability is {durability!r}; it is 'memory' or 'flushed'")


@cython.no_gc_clear
cdef class Writer(Reader):
    """Writing to one keyspace: the calls that Store and Keyspace share.

    durability: "memory" returns when the write is seen by all who read; a crash of the machine or the process may take the last
    ones, never one without those after it. "flushed" returns when it is on the disk. sync=True is the same, as plyvel has
    it. A greenlet or thread that is killed while it waits has written all the same."""

    cdef int after(self, fc_write_result *result, bint flushed) except -1:
        cdef Core core = self.core
        core.owed_ns += result.delay_ns
        if core.owed_ns >= PAY_FROM_NS:
            self.waits.pay()
        if flushed:
            self.waits.durable(result.pos, None)
        return 0

    cdef int single(self, fc_key_type type, bytes key, bytes value, uint64_t expires_ms, bint flushed) except -1:
        cdef Core core = self.core
        cdef fc_batch *b = &core.scratch
        cdef fc_write_result result
        cdef fc_store *s
        cdef WriteBatch large
        cdef int error
        if PyBytes_GET_SIZE(key) + PyBytes_GET_SIZE(value) > COPIED_AT_ONCE:
            large = new_batch(self, True, False)
            b = &large.c
        while True:
            s = core.use()
            fc_batch_clear(b)
            if type == FC_KEY_DELETE:
                fc_batch_delete(b, self.id, slice_of(key))
            elif type == FC_KEY_RANGE_DELETE:
                fc_batch_delete_range(b, self.id, slice_of(key), slice_of(value))
            else:
                fc_batch_put(b, self.id, slice_of(key), slice_of(value), expires_ms)
            if b != &core.scratch:
                error = self.commit(large, 0, &result)
            else:
                error = fc_store_write(s, b, 0 if type == FC_KEY_VALUE else FC_WRITE_URGENT, &result)
            if error == 0:
                break
            if error != FC_STORE_EBUSY:
                core.fail(error)
            self.waits.room()
        return self.after(&result, flushed)

    cdef int commit(self, WriteBatch batch, unsigned int flags, fc_write_result *result) except? -1:
        """What fc_store_write answers; the batch is taken meanwhile."""
        cdef fc_store *s = self.core.use()
        cdef fc_batch *b = &batch.c
        cdef Job job
        cdef int error
        batch.take()
        try:
            while True:
                if b.expectations == 0 and b.data_bytes <= COPIED_AT_ONCE:
                    error = fc_store_write(s, b, flags, result)
                else:
                    with nogil:
                        error = fc_store_write(s, b, flags | FC_WRITE_MEMORY_ONLY, result)
                if error == FC_EWOULDREAD:   # an expectation of a key that is not in memory
                    job = Job.__new__(Job)
                    job.keep = batch
                    job.work.what = WRITE
                    job.work.store = s
                    job.work.batch = b
                    job.work.flags = flags
                    self.waits.run_for(job, batch)
                    result[0] = job.work.result
                    error = job.work.error
                if error != FC_STORE_EBUSY:
                    return error
                self.waits.room()
        finally:
            batch.give()

    def put(self, key, value, *, ttl=None, durability="memory", bint sync=False):
        """key has this value. ttl: for so many seconds. See Writer for durability."""
        cdef bint flushed = flushed_of(durability, sync)
        if type(key) is not bytes or self.prefix is not None:
            key = self.full(key)
        if type(value) is not bytes:
            value = bytes_of(value, "value")
        self.single(FC_KEY_VALUE, <bytes>key, <bytes>value, 0 if ttl is None else self.core.expiry(ttl), flushed)

    def delete(self, key, *, durability="memory", bint sync=False):
        """key is gone, if it was there."""
        self.single(FC_KEY_DELETE, self.full(key), b"", 0, flushed_of(durability, sync))

    def delete_range(self, begin=None, end=None, *, durability="memory", bint sync=False):
        """All keys from begin to before end are gone, however many, at once. None: from the first, to the last."""
        cdef bint flushed = flushed_of(durability, sync)
        cdef bytes lower, upper
        lower, upper = self.full_bounds(begin, end, None, True, False)
        self.core.use()
        if not is_empty(lower, upper):
            self.single(FC_KEY_RANGE_DELETE, lower or b"", upper or b"", 0, flushed)

    def write_batch(self, *, bint transaction=True, durability="memory", bint sync=False):
        """A WriteBatch. As a context manager it is written at the end of the block; when the block raises it is discarded,
        unless transaction is False."""
        self.core.use()
        return new_batch(self, transaction, flushed_of(durability, sync))

    def write(self, WriteBatch batch not None, *, durability="memory", bint sync=False):
        """All of the batch at once. ConflictError, and nothing is written, if one of its expectations does not hold."""
        cdef bint flushed = flushed_of(durability, sync)
        cdef fc_write_result result
        cdef int error
        if batch.writer.core is not self.core:
            raise ValueError("the batch is another store's")
        batch.use()
        batch.check()
        if batch.c.operations == 0 and batch.c.expectations == 0:
            return
        error = self.commit(batch, 0, &result)
        if error == FC_STORE_ECONFLICT:
            made = self.core.exception(error)
            made.key = batch.expected[result.conflict]
            raise made
        if error < 0:
            self.core.fail(error)
        self.after(&result, flushed)

    def compare_and_set(self, key, version, value, *, ttl=None, durability="memory", bint sync=False):
        """key has this value from now on, if its version is the given one (get_entry), or None or 0 and it is not there. value
        None: it is deleted. False, and nothing changes, if another has been faster."""
        cdef bint flushed = flushed_of(durability, sync)
        cdef WriteBatch batch = new_batch(self, True, False)
        cdef fc_write_result result
        cdef int error
        batch.expect(key, version)
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value, ttl=ttl)
        error = self.commit(batch, 0, &result)
        if error == FC_STORE_ECONFLICT:
            return False
        if error < 0:
            self.core.fail(error)
        self.after(&result, flushed)
        return True

    def snapshot(self):
        """A Snapshot: everything as it is now, for as long as it is open."""
        cdef fc_store *s = self.core.use()
        cdef Snapshot made = Snapshot.__new__(Snapshot)
        cdef Held held = Held.__new__(Held)
        held.core = self.core
        held.p = fc_store_snapshot(s)
        if held.p == NULL:
            raise MemoryError
        self.copy_to(made)
        made.held = held
        return made

    def prefixed(self, prefix):
        """The same, of keys that begin with this: they are given and taken without it."""
        cdef Keyspace made = Keyspace.__new__(Keyspace)
        self.core.use()
        self.copy_to(made)
        made.prefix = self.full(prefix)
        return made

    def flush(self):
        """Everything written so far is in tables, which are on the disk, when this returns."""
        cdef int error = self.upkeep(True, b"", b"")
        if error < 0:
            self.core.fail(error)

    def compact_range(self, start=None, stop=None):
        """Merge all tables with keys from start to before stop into the last level: what is deleted or expired is given back,
        and reading there is fastest. Takes as long as it takes to write them."""
        cdef bytes lower, upper
        cdef int error
        lower, upper = self.full_bounds(start, stop, None, True, False)
        if is_empty(lower, upper):
            return
        error = self.upkeep(False, lower or b"", upper or b"")
        if error < 0:
            self.core.fail(error)

    def compact(self):
        """The same for all keys."""
        self.compact_range()

    cdef int upkeep(self, bint flush, bytes lower, bytes upper) except? -1:
        cdef Core core = self.core
        cdef uint32_t id = self.id
        core.use()
        return off_the_hub(core.threaded, lambda: maintain(core, id, flush, lower, upper))


cdef int maintain(Core core, uint32_t id, bint flush, bytes lower, bytes upper):
    cdef fc_slice begin = slice_of(lower), end = slice_of(upper)
    cdef int error
    with nogil:
        error = fc_store_flush(core.s, id) if flush else fc_store_compact(core.s, id, begin, end)
    return error


cdef WriteBatch new_batch(Writer writer, bint transaction, bint flushed):
    cdef WriteBatch made = WriteBatch.__new__(WriteBatch)
    made.writer = writer
    made.transaction = transaction
    made.flushed = flushed
    made.expected = []
    return made


@cython.final
@cython.no_gc_clear
cdef class Keyspace(Writer):
    """Keys of their own, with options of their own; made by Store.keyspace(), and by prefixed()."""

    def __init__(self, *args, **kwargs):
        raise TypeError("keyspaces are made by Store.keyspace()")

    def stats(self):
        """KeyspaceStats."""
        return keyspace_stats(self.core, self.id)
