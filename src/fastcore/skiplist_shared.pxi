# The list in shared memory: one process writes, all read. Part of skiplist.pyx.

# Which lists this process is the writer of, as (inode of the region, section): the lock in shared memory knows
# processes only. A child writes nothing that its parent was to write.
_written = set()
cdef unsigned int forks = 0


def _after_fork():
    global forks
    forks += 1
    _written.clear()


os.register_at_fork(after_in_child=_after_fork)


@cython.final
cdef class SharedSkipList:
    """A sorted mapping of keys to bytes in a section of a region: one process at a time writes, all others read.

    ``SharedSkipList(region, name, size, key=...)`` makes the section of ``size`` bytes or finds it; size and ``key``
    (int, float, str, bytes, or a tuple of these for tuples of that shape) are the same in every process, else
    RegionError or ValueError. Reads copy; readers never wait, not even for a writer that died. ``writer=True`` makes this process the
    writer: TimeoutError after ``timeout`` seconds if a live process is, RuntimeError if this one is through another
    object. A list whose writer died is put in order first, which takes some 0.3 us a key.

    Put beyond ``size`` is SkipListFull and changes nothing. Write methods raise RuntimeError in a reader, and in a
    child forked by the writer. Iteration shows each key that was there all the time once and in order; of keys that
    come and go meanwhile it shows some.
    """

    __class_getitem__ = classmethod(types.GenericAlias)

    def __cinit__(self, Region region not None, str name not None, size, *, key, writer=False, timeout=0.0):
        self.keys_ = Keys(key)
        if key is None:
            raise TypeError("key= says what the keys are, the same in all processes")
        if not FC_SKIPLIST_MIN_BYTES <= size <= FC_SKIPLIST_MAX_BYTES:
            raise ValueError(f"size is {size}; it is {FC_SKIPLIST_MIN_BYTES} to {FC_SKIPLIST_MAX_BYTES}")
        cdef uint64_t tag = self.keys_.tag()
        cdef char *memory = region.address(name, size, 4096)
        self.region = region
        self.name = name
        cdef int error = fc_skiplist_share(&self.list, memory, size, tag)
        if error:
            self.list.size = 0
            fail(error, size)
        if writer:
            self.become_writer(timeout=timeout)

    def __dealloc__(self):
        if self.region is not None:
            self.leave()
            self.region.unpin()
        free(self.buffer)

    cdef void leave(self) noexcept:
        if self.list.size and self.writing == forks + 1:
            fc_skiplist_unlock(&self.list)
            _written.discard((os.fstat(self.region.fd).st_ino, self.name))
        self.writing = 0

    cdef int check_open(self) except -1:
        if self.list.size == 0:
            raise ValueError("the list is closed")
        return 0

    cdef int check_writer(self) except -1:
        self.check_open()
        if self.writing != forks + 1:
            raise RuntimeError("this is not the writer of the list")
        return 0

    def become_writer(self, *, timeout=0.0):
        """Be the writer from now on, after ``timeout`` seconds of waiting for a live one at most (TimeoutError)."""
        self.check_open()
        if self.writing == forks + 1:
            return
        if not 0 <= timeout <= 1e6:
            raise ValueError(f"the timeout is {timeout}; it is 0 to 1e6 seconds")
        who = os.fstat(self.region.fd).st_ino, self.name
        if who in _written:
            raise RuntimeError("this process is the writer already, by another object")
        cdef int error = fc_skiplist_lock(&self.list, <uint64_t>(timeout * 1e9))
        if error:
            fail(error, self.list.size)
        self.writing = forks + 1
        _written.add(who)

    def release_writer(self):
        """Be a reader again; another process may become the writer."""
        self.check_writer()
        self.leave()

    def close(self):
        """Let go of the section, and of being the writer."""
        if self.list.size:
            self.leave()
            self.list.size = 0
            self.region.unpin()
            self.region = None

    def __enter__(self):
        self.check_open()
        return self

    def __exit__(self, *exception):
        self.close()

    cdef int enlarge(self, size_t need) except -1:
        cdef char *larger = <char *>realloc(self.buffer, need)
        if larger == NULL:
            raise MemoryError
        self.buffer = larger
        self.room = need
        return 0

    cdef int read(self, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c) except -1:
        self.check_open()
        cdef int found = fc_skiplist_read(&self.list, key, op, c, self.buffer, self.room)
        while found == FC_SKIPLIST_ESPACE:
            self.enlarge(2 * c.need)
            found = fc_skiplist_read(&self.list, key, op, c, self.buffer, self.room)
        return found

    cdef int put(self, object key, const unsigned char[::1] value) except -1:
        self.check_writer()
        if value is None:
            raise TypeError("a value is bytes or a buffer of bytes, not None")
        cdef fc_slice k, v = fc_slice(NULL, len(value))
        if v.n > FC_SKIPLIST_VALUE_MAX:
            raise ValueError(f"a value of {v.n} bytes; there can be {FC_SKIPLIST_VALUE_MAX}")
        if v.n:
            v.p = <const char *>&value[0]
        self.keys_.encode(key, False, &k)
        cdef int made = fc_skiplist_put(&self.list, k, v)
        if made < 0:
            fail(made, self.list.size)
        return made

    cdef object near(self, object key, fc_skiplist_op op):
        cdef fc_slice k
        cdef fc_skiplist_cursor c
        self.keys_.encode(key, False, &k)
        return self.item(&c) if self.read(k, op, &c) else None

    cdef tuple item(self, fc_skiplist_cursor *c):
        return self.keys_.decode(c.item.key), c.item.value.p[:c.item.value.n]

    cdef object end(self, bint last):
        cdef fc_skiplist_cursor c
        if not self.read(fc_slice(NULL, 0), FC_SKIPLIST_LAST if last else FC_SKIPLIST_FIRST, &c):
            raise KeyError("the list is empty")
        return self.item(&c)

    cdef tuple take_end(self, bint last):
        cdef fc_skiplist_item removed
        self.check_writer()
        if not fc_skiplist_pop(&self.list, last, &removed):
            raise KeyError("the list is empty")
        return self.keys_.decode(removed.key), removed.value.p[:removed.value.n]

    def __len__(self):
        self.check_open()
        return fc_skiplist_count(&self.list)

    def __contains__(self, key):
        return self.near(key, FC_SKIPLIST_EQ) is not None

    def __getitem__(self, key):
        item = self.near(key, FC_SKIPLIST_EQ)
        if item is None:
            raise KeyError(key)
        return item[1]

    def get(self, key, default=None):
        item = self.near(key, FC_SKIPLIST_EQ)
        return default if item is None else item[1]

    def __setitem__(self, key, value):
        self.put(key, value)

    def update(self, items=(), /):
        """Put all of a mapping's or of an iterable's pairs in, one by one."""
        for key, value in items.items() if isinstance(items, Mapping) else items:
            self.put(key, value)

    def __delitem__(self, key):
        cdef fc_slice k
        self.check_writer()
        self.keys_.encode(key, False, &k)
        if not fc_skiplist_remove(&self.list, k, NULL):
            raise KeyError(key)

    def pop(self, key, default=missing):
        cdef fc_slice k
        cdef fc_skiplist_item removed
        self.check_writer()
        self.keys_.encode(key, False, &k)
        if fc_skiplist_remove(&self.list, k, &removed):
            return removed.value.p[:removed.value.n]
        if default is missing:
            raise KeyError(key)
        return default

    def pop_min(self):
        """The first key and its value, removed. KeyError when the list is empty."""
        return self.take_end(False)

    def pop_max(self):
        """The last key and its value, removed. KeyError when the list is empty."""
        return self.take_end(True)

    def peek_min(self):
        """The first key and its value. KeyError when the list is empty."""
        return self.end(False)

    def peek_max(self):
        """The last key and its value. KeyError when the list is empty."""
        return self.end(True)

    def clear(self):
        self.check_writer()
        fc_skiplist_clear(&self.list)

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
        """Iterator over (key, value) from ``lo`` to ``hi``, as SkipList.range()."""
        low, high = inclusive
        return walk_shared(self, ITEMS, lo, hi, low, high, reverse)

    def irange(self, lo=None, hi=None, *, inclusive=(True, True), reverse=False):
        """As range(), keys only."""
        low, high = inclusive
        return walk_shared(self, KEYS, lo, hi, low, high, reverse)

    def __iter__(self):
        return walk_shared(self, KEYS, None, None, True, True, False)

    def __reversed__(self):
        return walk_shared(self, KEYS, None, None, True, True, True)

    def keys(self):
        """Iterator over the keys."""
        return walk_shared(self, KEYS, None, None, True, True, False)

    def values(self):
        """Iterator over the values."""
        return walk_shared(self, VALUES, None, None, True, True, False)

    def items(self):
        """Iterator over (key, value)."""
        return walk_shared(self, ITEMS, None, None, True, True, False)

    @property
    def writer_pid(self):
        """The process that writes, or None. It may have died since."""
        self.check_open()
        return fc_skiplist_writer(&self.list) or None

    @property
    def is_writer(self):
        return self.list.size != 0 and self.writing == forks + 1

    @property
    def closed(self):
        return self.list.size == 0

    @property
    def key(self):
        """The kind of the keys, as for ``key=``."""
        return self.keys_.spec()

    @property
    def nbytes(self):
        """Bytes of the section in use."""
        self.check_open()
        return fc_skiplist_bytes_used(&self.list)


@cython.final
cdef class _SharedWalk:
    cdef SharedSkipList list
    cdef fc_skiplist_cursor c
    cdef char *buffer
    cdef size_t room
    cdef bytes begin, stop
    cdef bint started, inclusive, begin_inclusive, reverse
    cdef int what

    def __dealloc__(self):
        free(self.buffer)

    def __iter__(self):
        return self

    cdef int step(self):
        if self.started:
            return fc_skiplist_read_next(&self.list.list, &self.c, self.reverse, self.buffer, self.room)
        cdef fc_skiplist_op op = FC_SKIPLIST_LAST if self.reverse else FC_SKIPLIST_FIRST
        cdef fc_slice k = fc_slice(NULL, 0)
        if self.begin is not None:
            k = fc_slice(<const char *>self.begin, len(self.begin))
            if self.reverse:
                op = FC_SKIPLIST_LE if self.begin_inclusive else FC_SKIPLIST_LT
            else:
                op = FC_SKIPLIST_GE if self.begin_inclusive else FC_SKIPLIST_GT
        return fc_skiplist_read(&self.list.list, k, op, &self.c, self.buffer, self.room)

    def __next__(self):
        cdef char *larger
        cdef int found
        if self.list is None:
            raise StopIteration
        self.list.check_open()
        found = self.step()
        while found == FC_SKIPLIST_ESPACE:
            larger = <char *>realloc(self.buffer, 2 * self.c.need)
            if larger == NULL:
                raise MemoryError
            self.buffer = larger
            self.room = 2 * self.c.need
            found = self.step()
        if not found or (self.stop is not None and passed(self.c.item.key, self.stop, self.inclusive, self.reverse)):
            self.list = None
            raise StopIteration
        self.started = True
        if self.what == KEYS:
            return self.list.keys_.decode(self.c.item.key)
        value = self.c.item.value.p[:self.c.item.value.n]
        if self.what == VALUES:
            return value
        return self.list.keys_.decode(self.c.item.key), value


cdef _SharedWalk walk_shared(SharedSkipList list, int what, object lo, object hi, bint low, bint high, bint reverse):
    cdef _SharedWalk self = _SharedWalk.__new__(_SharedWalk)
    cdef fc_slice k
    list.check_open()
    begin, end = (hi, lo) if reverse else (lo, hi)
    self.list = list
    self.what = what
    self.reverse = reverse
    self.begin_inclusive, self.inclusive = (high, low) if reverse else (low, high)
    if begin is not None:
        list.keys_.encode(begin, False, &k)
        self.begin = k.p[:k.n]
    if end is not None:
        list.keys_.encode(end, False, &k)
        self.stop = k.p[:k.n]
    return self
