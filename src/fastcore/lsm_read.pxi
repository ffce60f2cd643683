# Reading: what keyspaces, the store and snapshots have in common.

Entry = namedtuple("Entry", ["value", "version", "expires"])
Entry.__doc__ = """A value with its version, which no other value of the store has and which grows with every write, and the
time when it expires, in seconds since 1970; None: never."""


@cython.final
@cython.no_gc_clear
cdef class Held:
    """A snapshot of the C store."""

    cdef fc_snapshot *use(self) except NULL:
        if self.p == NULL:
            raise ClosedError(errno.EBADF, "the snapshot is closed", self.core.place)
        return self.p

    def __dealloc__(self):
        if self.p != NULL and self.core.generation == generation:
            fc_snapshot_release(self.p)


cdef Held NO_SNAPSHOT = Held.__new__(Held)
NO_SNAPSHOT.core = NOWHERE


cdef inline bint is_empty(bytes lower, bytes upper) noexcept:
    """To the C store, an empty upper bound is the end of all keys."""
    return upper is not None and upper <= (b"" if lower is None else lower)


@cython.no_gc_clear
cdef class Reader:
    """Reading one keyspace: the calls that Store, Keyspace and Snapshot share."""

    def __cinit__(self):
        self.core = NOWHERE

    cdef Reader copy_to(self, Reader other):
        other.core = self.core
        other.waits = self.waits
        other.id = self.id
        other.prefix = self.prefix
        other.name = self.name
        other.held = self.held
        return other

    cdef bytes full(self, object key):
        if self.prefix is None:
            return bytes_of(key, "key")
        return self.prefix + bytes_of(key, "key")

    cdef tuple full_bounds(self, object start, object stop, object prefix, bint include_start, bint include_stop):
        cdef bytes lower, upper
        lower, upper = bounds_of(start, stop, prefix, include_start, include_stop)
        if self.prefix is not None:
            lower = self.prefix if lower is None else self.prefix + lower
            upper = prefix_end(self.prefix) if upper is None else self.prefix + upper
        return lower, upper

    # --- single keys

    cdef int look(self, bytes key, fc_read *r, fc_value *v) except? -1:
        """1 and a value in a read that is the caller's to end, or 0."""
        cdef fc_store *s = self.core.use()
        cdef fc_snapshot *snapshot = NULL
        cdef int found
        if self.held is not None:
            snapshot = self.held.use()
        found = fc_read_begin(s, self.id, snapshot, r)
        if found < 0:
            return self.core.fail(found)
        found = fc_read_get(r, slice_of(key), True, v)
        if found == FC_EWOULDREAD:
            found = self.look_on_disk(key, r, v)
        if found != 1:
            fc_read_end(r)
            if found < 0:
                return self.core.fail(found)
        return found

    cdef int look_on_disk(self, bytes key, fc_read *r, fc_value *v) except? -1:
        """When this raises, the read is not the caller's any more: a thread may be at work with it."""
        cdef Job job
        cdef int found
        cdef fc_slice k = slice_of(key)
        if not self.core.threaded or current_hub() is None:
            with nogil:
                found = fc_read_get(r, k, False, v)
            return found
        job = Job.__new__(Job)
        job.keep = key
        job.work.what = LOOK_UP
        job.work.read = r[0]
        job.work.reading = True
        job.work.wanted = <Wanted *>calloc(1, sizeof(Wanted))
        if job.work.wanted == NULL:
            raise MemoryError
        job.work.n = 1
        job.work.wanted.key = k
        job.work.wanted.found = FC_EWOULDREAD
        self.waits.run(job)
        r[0] = job.work.read
        v[0] = job.work.wanted.value
        found = job.work.wanted.found
        job.work.reading = False
        job.work.n = 0
        return found

    def get(self, key, default=None):
        """The value of a key, default if it has none."""
        cdef fc_read r
        cdef fc_value v
        if type(key) is not bytes or self.prefix is not None:
            key = self.full(key)
        if self.look(<bytes>key, &r, &v) == 0:
            return default
        try:
            return PyBytes_FromStringAndSize(v.value.p, v.value.n)
        finally:
            fc_value_release(&v)
            fc_read_end(&r)

    def get_entry(self, key):
        """Entry(value, version, expires) of a key, None if it has no value."""
        cdef fc_read r
        cdef fc_value v
        if self.look(self.full(key), &r, &v) == 0:
            return None
        try:
            return Entry(PyBytes_FromStringAndSize(v.value.p, v.value.n), v.version,
                         v.expires_ms / 1e3 if v.expires_ms else None)
        finally:
            fc_value_release(&v)
            fc_read_end(&r)

    def __contains__(self, key):
        cdef fc_read r
        cdef fc_value v
        if self.look(self.full(key), &r, &v) == 0:
            return False
        fc_value_release(&v)
        fc_read_end(&r)
        return True

    def multi_get(self, keys, default=None):
        """A list with the value of each key, default where there is none, all of one moment."""
        cdef fc_store *s = self.core.use()
        cdef fc_snapshot *snapshot = NULL
        cdef Job job = Job.__new__(Job)
        cdef Work *w = &job.work
        cdef list full = [self.full(key) for key in keys]
        cdef list values
        cdef size_t i
        cdef bint on_disk = False
        cdef int error
        if self.held is not None:
            snapshot = self.held.use()
        job.keep = full
        w.what = LOOK_UP
        w.wanted = <Wanted *>calloc(len(full) + 1, sizeof(Wanted))
        if w.wanted == NULL:
            raise MemoryError
        w.n = len(full)
        error = fc_read_begin(s, self.id, snapshot, &w.read)
        if error < 0:
            self.core.fail(error)
        w.reading = True
        for i in range(w.n):
            w.wanted[i].key = slice_of(<bytes>full[i])
            w.wanted[i].found = fc_read_get(&w.read, w.wanted[i].key, True, &w.wanted[i].value)
            on_disk |= w.wanted[i].found == FC_EWOULDREAD
        if on_disk:
            self.waits.run(job)
        values = []
        for i in range(w.n):
            if w.wanted[i].found < 0:
                self.core.fail(w.wanted[i].found)
            values.append(PyBytes_FromStringAndSize(w.wanted[i].value.value.p, w.wanted[i].value.value.n)
                          if w.wanted[i].found else default)
        return values

    # --- ranges

    def iterator(self, *, bint reverse=False, start=None, stop=None, bint include_start=True, bint include_stop=False,
                 prefix=None, bint include_key=True, bint include_value=True, bint fill_cache=True):
        """An Iterator over the keys from start to before stop, or over those with a prefix, as they are now.

        It gives (key, value), or with include_value=False keys, with include_key=False values. include_start, include_stop:
        whether the bounds are inside. reverse: the last first. fill_cache: whether what it reads from the disk is kept in
        memory."""
        return new_iterator(self, start, stop, prefix, include_start, include_stop, reverse, include_key, include_value,
                            fill_cache, None)

    def scan(self, start=None, stop=None, *, prefix=None, bint reverse=False, limit=None, bint include_key=True,
             bint include_value=True, bint fill_cache=True):
        """The same in short: from start to before stop, limit of them at most."""
        return new_iterator(self, start, stop, prefix, True, False, reverse, include_key, include_value, fill_cache, limit)

    def __iter__(self):
        return self.iterator()

    def approximate_size(self, start=None, stop=None):
        """About how many bytes on the disk the keys from start to before stop take. What is still in memory is not counted."""
        cdef fc_store *s = self.core.use()
        cdef bytes lower, upper
        lower, upper = self.full_bounds(start, stop, None, True, False)
        if is_empty(lower, upper):
            return 0
        return fc_store_bytes_between(s, self.id, slice_of(lower or b""), slice_of(upper or b""))

    def approximate_sizes(self, *ranges):
        """A list of them, for (start, stop) each."""
        return [self.approximate_size(start, stop) for start, stop in ranges]

    @property
    def closed(self):
        return self.core.s == NULL or self.core.closed

    def __repr__(self):
        return f"<fastcore.lsm.{type(self).__name__} {'closed' if self.closed else f'{self.name} of {self.core.place}'}>"


@cython.final
@cython.no_gc_clear
cdef class Snapshot(Reader):
    """All keyspaces as they were at one moment; made by snapshot(). Its calls read the keyspace that it was made from, with
    its prefix; `keyspace` gives another one of the same moment. What it keeps from being given back it keeps until it is
    closed: use it as a context manager."""

    def __init__(self, *args, **kwargs):
        raise TypeError("snapshots are made by snapshot()")

    def keyspace(self, other):
        """The same moment of another keyspace of the store, as keyspace() or prefixed() gave it."""
        cdef Snapshot made = Snapshot.__new__(Snapshot)
        if not isinstance(other, Reader):
            raise TypeError(f"keyspace takes what Store.keyspace() gives, not {type(other).__name__}")
        if (<Reader>other).core is not self.core:
            raise ValueError("the keyspace is another store's")
        (<Reader>other).copy_to(made)
        made.held = self.held
        return made

    @property
    def sequence(self):
        """The number of the last operation it sees."""
        self.core.use()
        return fc_snapshot_seq(self.held.use())

    @property
    def closed(self):
        return self.held is None or self.held.p == NULL or self.core.closed

    def close(self):
        """Let go of it. Its iterators go on."""
        self.held = NO_SNAPSHOT

    release = close

    def __enter__(self):
        self.held.use()
        return self

    def __exit__(self, *exc):
        self.close()
