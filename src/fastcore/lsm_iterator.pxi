# Walking ranges. Entries are fetched in chunks: a call that leaves Python and a look at every source for each of them would
# be most of what a scan costs.

cdef enum:
    CHUNK_FIRST = 8           # entries of the first chunk, for who wants one or two; each next is four times as long
    CHUNK_MAX = 256
    CHUNK_BYTES = 65536
    SKIP_MAX = 4096           # entries that are passed over while the GIL is held

cdef enum:
    AT_START
    AT_END
    AT_TARGET                 # before the first key at or after the target

cdef enum:
    VIEW_LOST
    VIEW_FIRST
    VIEW_LAST


cdef Iterator new_iterator(Reader reader, object start, object stop, object prefix, bint include_start, bint include_stop,
                           bint reverse, bint include_key, bint include_value, bint fill_cache, object limit):
    cdef Iterator it = Iterator.__new__(Iterator)
    it.lower, it.upper = reader.full_bounds(start, stop, prefix, include_start, include_stop)
    it.reader = reader
    it.strip = 0 if reader.prefix is None else len(reader.prefix)
    it.reverse = reverse
    it.include_key = include_key
    it.include_value = include_value
    it.left = -1
    if limit is not None:
        if not 0 <= limit < 1 << 62:
            raise ValueError(f"limit is {limit}; it is 0 or more, or None")
        it.left = limit
    it.open(fill_cache)
    it.place = AT_END if reverse else AT_START
    return it


@cython.final
@cython.no_gc_clear
cdef class Iterator(Single):
    """A cursor between entries, made by iterator(), scan() and iter(): next() gives the one behind it and goes over it, prev()
    the one before it, so that prev() after next() gives the same once more. Of a reverse one it is the other way round.

    It sees what was there when it was made. Closing it, or letting it go, gives back what it holds."""

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, *args, **kwargs):
        raise TypeError("iterators are made by iterator() and scan()")

    def __cinit__(self):
        self.items = []
        self.chunk = CHUNK_FIRST

    def __dealloc__(self):
        if self.scan != NULL and self.reader.core.generation == generation:
            fc_scan_close(self.scan)
        free(self.key)

    cdef int open(self, bint fill_cache) except -1:
        cdef Core core = self.reader.core
        cdef fc_store *s = core.use()
        cdef fc_scan_options options
        cdef int error
        memset(&options, 0, sizeof(options))
        if self.reader.held is not None:
            options.snapshot = self.reader.held.use()
        options.bounded_below = self.lower is not None
        if options.bounded_below:
            options.lower = slice_of(self.lower)
        options.bounded_above = self.upper is not None
        if options.bounded_above:
            options.upper = slice_of(self.upper)
        options.fill_cache = fill_cache
        options.skip_max = SKIP_MAX
        error = fc_scan_open(s, self.reader.id, &options, &self.scan)
        if error < 0:
            core.fail(error)
        fc_scan_memory_only(self.scan, True)
        self.view = fc_scan_view(self.scan)
        return 0

    cdef object item(self):
        cdef fc_view *v = self.view
        cdef size_t strip = self.strip
        if not self.include_value:
            return PyBytes_FromStringAndSize(v.key.p + strip, v.key.n - strip) if self.include_key else None
        if not self.include_key:
            return PyBytes_FromStringAndSize(v.value.p, v.value.n)
        return (PyBytes_FromStringAndSize(v.key.p + strip, v.key.n - strip), PyBytes_FromStringAndSize(v.value.p, v.value.n))

    cdef bytes key_of(self, object item):
        return (<tuple>item)[0] if self.include_value else item

    cdef bytes begin(self, bint forward):
        """The view's first step of a chunk: from where it stands if that is the right end, else with a search. Returns a key
        that the search may find and the cursor has already gone over, or None."""
        cdef fc_view *v = self.view
        cdef bytes over = None
        if self.items:
            if self.view_at == (VIEW_LAST if forward else VIEW_FIRST):
                if forward:   # also where it was broken off by what is not in memory: it goes on from there
                    fc_view_next(v)
                else:
                    fc_view_prev(v)
            elif forward:
                over = self.last
                fc_view_seek(v, slice_of(self.last))
            else:
                over = self.first
                fc_view_seek_back(v, slice_of(self.first))
        elif self.place == AT_START:
            fc_view_first(v)
        elif self.place == AT_END:
            fc_view_last(v)
        elif forward:
            fc_view_seek(v, slice_of(self.target))
        else:
            over = self.target
            fc_view_seek_back(v, slice_of(self.target))
        if v.error == FC_EWOULDREAD or v.error == FC_VIEW_ESKIPPED:
            self.step(forward)
        return over

    cdef int step(self, bint forward) except -1:
        """The view goes on where it would have had to read, or had passed over many."""
        cdef Job job = Job.__new__(Job)
        job.keep = self
        job.work.what = STEP
        job.work.scan = self.scan
        job.work.forward = forward
        self.view_at = VIEW_LOST   # if this raises
        return self.reader.waits.run_for(job, self)

    cdef int remember(self) except -1:
        """The view's key, which is lost when it goes on."""
        cdef fc_view *v = self.view
        cdef char *grown
        if v.key.n > self.key_room:
            grown = <char *>realloc(self.key, v.key.n + 64)
            if grown == NULL:
                raise MemoryError
            self.key = grown
            self.key_room = v.key.n + 64
        if v.key.n:
            memcpy(self.key, v.key.p, v.key.n)
        self.key_n = v.key.n
        return 0

    cdef Py_ssize_t collect(self, bint forward) except -1:
        cdef fc_view *v = self.view
        cdef list items = []
        cdef bytes skip, nearest = None, farthest
        cdef size_t used = 0
        cdef Py_ssize_t n = 0, most
        cdef int this_end = VIEW_LAST if forward else VIEW_FIRST
        cdef bint whole = self.include_key and self.strip == 0   # the items have the keys that are to be remembered
        if self.items:
            if self.view_at != this_end:
                self.chunk = CHUNK_FIRST   # it has turned round
            elif self.ended:
                return 0
        elif self.place == (AT_END if forward else AT_START):
            return 0
        most = self.chunk if self.left < 0 else max(min(self.chunk, self.left), 1)
        skip = self.begin(forward)
        while v.valid:
            if skip is not None and v.key.n == <size_t>len(skip) and memcmp(v.key.p, PyBytes_AS_STRING(skip), v.key.n) == 0:
                skip = None
            else:
                items.append(self.item())
                n += 1
                if not whole:
                    self.remember()
                    if n == 1:
                        nearest = PyBytes_FromStringAndSize(v.key.p, v.key.n)
                used += v.key.n + v.value.n
                if n >= most or used >= CHUNK_BYTES:
                    break
            if forward:
                fc_view_next(v)
            else:
                fc_view_prev(v)
            if v.error == FC_EWOULDREAD or v.error == FC_VIEW_ESKIPPED:
                if n > 0:
                    break
                self.step(forward)
        if n == 0:
            self.view_at = VIEW_LOST
            if v.error < 0:
                self.reader.core.fail(v.error)
            return 0
        self.ended = not v.valid and v.error == 0
        # An error is met again, and raised, when these entries have been given.
        if v.valid or self.ended or v.error == FC_EWOULDREAD or v.error == FC_VIEW_ESKIPPED:
            self.view_at = this_end
        else:
            self.view_at = VIEW_LOST
        if whole:
            nearest, farthest = self.key_of(items[0]), self.key_of(items[n - 1])
        else:
            farthest = PyBytes_FromStringAndSize(self.key, self.key_n)
        self.chunk = min(self.chunk * 4, CHUNK_MAX)
        if forward:
            self.first, self.last, self.at = nearest, farthest, 0
        else:
            items.reverse()
            self.first, self.last, self.at = farthest, nearest, n
        self.items = items
        return n

    cdef Py_ssize_t fetch(self, bint forward) except -1:
        """Entries on that side of the cursor, where it has none left. How many."""
        self.reader.core.use()
        if self.scan == NULL:
            raise ClosedError(errno.EBADF, "the iterator is closed", self.reader.core.place)
        self.take()
        try:
            return self.collect(forward)
        finally:
            self.give()

    cdef inline bint forwards(self) except -1:
        if self.at == PyList_GET_SIZE(self.items) and self.fetch(True) == 0:
            return False
        self.at += 1
        return True

    cdef inline bint backwards(self) except -1:
        if self.at == 0 and self.fetch(False) == 0:
            return False
        self.at -= 1
        return True

    def __iter__(self):
        return self

    def __next__(self):
        if self.left == 0:
            raise StopIteration
        if not (self.backwards() if self.reverse else self.forwards()):
            raise StopIteration
        if self.left > 0:
            self.left -= 1
        return self.items[self.at if self.reverse else self.at - 1]

    def prev(self):
        """The entry before the cursor, which goes over it. StopIteration when there is none."""
        if not (self.forwards() if self.reverse else self.backwards()):
            raise StopIteration
        return self.items[self.at - 1 if self.reverse else self.at]

    cdef int go(self, int place) except -1:
        self.reader.core.use()
        self.take()
        self.items = []
        self.at = 0
        self.place = place
        self.view_at = VIEW_LOST
        self.chunk = CHUNK_FIRST
        self.give()
        return 0

    def seek(self, target):
        """The cursor before the first key at or after target, but not outside the bounds."""
        cdef bytes key = self.reader.full(target)
        if self.lower is not None and key < self.lower:
            key = self.lower
        if self.upper is not None and key > self.upper:
            key = self.upper
        self.go(AT_TARGET)
        self.target = key

    def seek_to_start(self):
        """The cursor before the first entry."""
        self.go(AT_START)

    def seek_to_stop(self):
        """The cursor behind the last entry."""
        self.go(AT_END)

    def close(self):
        """Give back what it holds."""
        if self.scan == NULL:
            return
        if self.reader.core.generation != generation:
            return
        self.take()
        fc_scan_close(self.scan)
        self.scan = NULL
        self.items = []
        self.at = 0
        self.give()

    @property
    def closed(self):
        return self.scan == NULL or self.reader.core.closed

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
