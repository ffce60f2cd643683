# Iteration over keys.


@cython.final
cdef class _Keys:
    """Visits the keys that were there when it was made and are still, each once; the cache may change meanwhile.

    fixed: the number of items must not change, as with dict.
    """

    cdef Cache cache
    cdef Walk walk
    cdef uint32_t used
    cdef bint fixed

    def __cinit__(self, Cache cache not None, bint fixed):
        cdef Table *t = &cache.t
        self.cache = cache
        self.fixed = fixed
        self.used = t.used
        if t.used == 0:
            return
        self.walk.at = t.entries[END].after
        self.walk.last = t.entries[END].before
        self.walk.next = t.walks
        self.walk.link = &t.walks
        if t.walks != NULL:
            t.walks.link = &self.walk.next
        t.walks = &self.walk

    def __dealloc__(self):
        self.leave()

    cdef void leave(self) noexcept:
        if self.walk.link != NULL:
            self.walk.link[0] = self.walk.next
            if self.walk.next != NULL:
                self.walk.next.link = self.walk.link
            self.walk.link = NULL

    def __iter__(self):
        return self

    def __next__(self):
        cdef double now = 0
        cdef uint32_t i
        if self.walk.link == NULL:
            raise StopIteration
        if self.fixed and self.used != self.cache.t.used:
            self.leave()
            raise RuntimeError("cache changed size during iteration")
        if self.cache.t.timed:
            now = self.cache.clock.read()
        while True:
            i = self.walk.at
            if i == 0:
                self.leave()
                raise StopIteration
            self.walk.at = 0 if i == self.walk.last else self.cache.t.entries[i].after
            if not self.cache.t.timed or now < self.cache.t.entries[i].at:
                return <object>self.cache.t.entries[i].key

    def __length_hint__(self):
        return self.used


cdef void walks_forget(Table *t) noexcept:
    """The table goes away before its iterators, which the cycle collector can do."""
    while t.walks != NULL:
        t.walks.link = NULL
        t.walks = t.walks.next
