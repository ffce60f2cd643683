# What both caches have in common: the mapping.

cdef enum:                    # methods that a subclass in Python replaces
    MISSING = 1
    GETITEM = 2
    SETITEM = 4
    DELITEM = 8
    CONTAINS = 16
    POPITEM = 32
    EXPIRE = 64

cdef object STILL = nullcontext()   # what has no clock stands still anyway

cdef dict REPLACEABLE = {
    "__missing__": MISSING, "__getitem__": GETITEM, "__setitem__": SETITEM, "__delitem__": DELITEM,
    "__contains__": CONTAINS, "popitem": POPITEM, "expire": EXPIRE,
}


cdef int replaced(type cls, type ours) except -1:
    cdef int found = 0
    for name, bit in REPLACEABLE.items():
        if getattr(cls, name, None) is not getattr(ours, name, None):
            found |= bit
    return found


@cython.trashcan(True)
@cython.collection_type("mapping")
cdef class Cache:
    """What LRUCache and TTLCache share. Not made by itself."""

    __reversed__ = None   # as collections.abc.Mapping: no reading backwards

    def __cinit__(self):
        if type(self) is not LRUCache and type(self) is not TTLCache:
            if not isinstance(self, (LRUCache, TTLCache)):
                raise TypeError("make an LRUCache or a TTLCache")
            self.overrides = replaced(type(self), LRUCache if isinstance(self, LRUCache) else TTLCache)
        self.t.timed = isinstance(self, TTLCache)
        if self.t.timed:   # for a subclass that never calls __init__
            self.clock = Timer(SYSTEM_MONOTONIC)
            self.lifetime = 0
        self.bound = 0
        self.uniform = NAN

    def __dealloc__(self):
        cdef Chain all = Chain(0, 0)
        walks_forget(&self.t)
        remove_all(&self.t, &all)
        discard(&self.t, &all)
        free_arrays(&self.t)

    cdef int take_over(self, object maxsize, object getsizeof, object on_evict) except -1:
        """What __init__ does; a second call empties the cache as cachetools' does."""
        cdef double maximum
        if maxsize < 0:
            raise ValueError("maxsize must be non-negative")
        try:
            maximum = maxsize
        except OverflowError:
            maximum = INFINITY
        if isnan(maximum):
            raise ValueError("maxsize must not be NaN")
        if on_evict is not None and not callable(on_evict):
            raise TypeError(f"on_evict must be callable, not {type(on_evict).__name__}")
        if self.t.limbo > 0:
            raise RuntimeError("a cache cannot be initialised from its own callback")
        self.empty()
        if getsizeof is not None:
            (<object>self).getsizeof = getsizeof
        self.settings(maxsize, maximum, (<object>self).getsizeof is not Cache.getsizeof)
        self.on_evict = on_evict
        return 0

    cdef void settings(self, object maxsize, double maximum, bint sized) noexcept:
        self.bound = maxsize
        self.maximum = maximum
        self.t.sized = sized
        self.t.limit = <uint64_t>floor(maximum) if maximum < <double>ENTRIES_MAX else ENTRIES_MAX

    # -- looking up

    cdef PyObject *look(self, object key) except? NULL:
        return look(self, key)

    cdef object absent(self, object key):
        self.misses += 1
        if self.overrides & MISSING:
            return self.__missing__(key)
        raise KeyError(key)

    def __missing__(self, key):
        raise KeyError(key)

    def __getitem__(self, key):
        cdef int64_t i = seek(self, key)
        if i == 0:
            return self.absent(key)
        self.hits += 1
        touch(&self.t, <uint32_t>i)
        return <object>self.t.entries[i].value

    def get(self, key, default=None):
        """The value of a key, or the default."""
        cdef PyObject *found
        if self.overrides & (GETITEM | CONTAINS):
            return self.get_by_methods(key, default)
        found = look(self, key)
        return default if found == NULL else <object>found

    cdef object get_by_methods(self, object key, object default):
        with self.still():
            return self[key] if key in self else default

    def get_many(self, keys):
        """A dict of the items that are there, in the order of the keys; each counts as used."""
        cdef PyObject *found
        cdef dict many = {}
        for key in keys:
            if self.overrides & (GETITEM | CONTAINS):
                if key in self:
                    many[key] = self[key]
            else:
                found = look(self, key)
                if found != NULL:
                    many[key] = <object>found
        return many

    def __contains__(self, key):
        return seek(self, key) != 0

    # -- setting

    cdef int measure(self, object value, double *size) except -1:
        """The size of a value, in a sized table: 1 when it is allowed, 0 when it is too large."""
        found = (<object>self).getsizeof(value)
        try:
            size[0] = found
        except OverflowError:
            size[0] = INFINITY if found > 0 else -INFINITY
        if size[0] > self.maximum:
            return 0
        if not size[0] >= 0:
            raise ValueError("value size must be non-negative")
        if type(found) is not int and not hasattr(found, "__index__"):
            self.fractional = True
        return 1

    cdef double ttl_units(self, object ttl) except? -1.0:
        if ttl is not None:
            return self.clock.span(ttl)
        if isnan(self.uniform):
            self.uniform = self.clock.span(self.lifetime)
        return self.uniform

    cdef int put(self, object key, object value, object ttl=None, int how=0, PyObject **kept=NULL) except -1:
        return store(self, key, value, ttl, how, kept)

    cdef int room_by_methods(self, object key, Py_hash_t hash, double size) except -1:
        """What `put` does to make room, through the methods of a subclass."""
        cdef Table *t = &self.t
        cdef uint64_t rounds = t.used + RETRIES_MAX
        cdef int64_t i
        if t.timed and not self.overrides & EXPIRE:
            self.expire_now(self.clock.read())
        while True:
            i = find(t, <PyObject *>key, hash)
            if not t.sized:
                if i != 0 or t.used < t.limit:
                    return 0
            elif t.used == 0 or t.current + (size - t.sizes[i] if i != 0 else size) <= self.maximum:
                return 0
            if rounds == 0:
                raise RuntimeError("popitem() of the subclass makes no room")
            rounds -= 1
            with self.still():
                dropped_key, dropped_value = self.popitem()
            self.evictions += 1
            if self.on_evict is not None:
                self.on_evict(dropped_key, dropped_value, "evicted")

    def setdefault(self, key, default=None):
        """The value of a key; without one the default, which is set."""
        cdef PyObject *found
        cdef PyObject *kept = NULL
        if self.overrides & (GETITEM | SETITEM | CONTAINS):
            with self.still():
                if key in self:
                    return self[key]
                self[key] = default
                return default
        found = look(self, key)
        if found != NULL:
            return <object>found
        try:
            self.put(key, default, None, KEEP, &kept)
            return <object>kept
        finally:
            Py_XDECREF(kept)

    def update(self, other=(), /, **named):
        """As dict.update."""
        if isinstance(other, dict):
            pairs = other.items()
        elif isinstance(other, Mapping):
            pairs = ((key, other[key]) for key in other)
        elif hasattr(other, "keys"):
            pairs = ((key, other[key]) for key in other.keys())
        else:
            pairs = other
        for key, value in pairs:
            self.assign(key, value)
        for key, value in named.items():
            self.assign(key, value)

    cdef int assign(self, object key, object value) except -1:
        if self.overrides & SETITEM:
            self[key] = value
        else:
            store(self, key, value, None, 0, NULL)
        return 0

    cdef object compute(self, object key, object fn, object ttl):
        cdef PyObject *found = look(self, key)
        cdef Flight flight
        cdef bint first = False
        if found != NULL:
            return <object>found
        if self.flights is None:
            self.flights = Flights()
        while True:
            flight = self.flights.join(key, &first)
            if first:
                return self.lead(flight, key, fn, ttl)
            flight.wait()
            if flight.state == LANDED:
                return flight.value
            if flight.state == FAILED:
                raise flight.error

    cdef object lead(self, Flight flight, object key, object fn, object ttl):
        """Compute for all who wait. A value that could not be stored is theirs all the same."""
        cdef int64_t i
        try:
            i = seek(self, key)   # another flight may have landed since this caller looked
            if i != 0:
                value = <object>self.t.entries[i].value
            else:
                value = fn()
        except BaseException as error:
            self.flights.fail(key, flight, error)
            raise
        try:
            if i != 0:
                return value
            if self.overrides & SETITEM and ttl is None:
                try:
                    self[key] = value
                except ValueError:   # too large, as cachetools.cached takes it
                    pass
            else:
                self.put(key, value, ttl, LENIENT)
        finally:
            self.flights.land(key, flight, value)
        return value

    # -- removing

    def __setitem__(self, key, value):
        store(self, key, value, None, 0, NULL)

    def __delitem__(self, key):
        cdef Chain removed = Chain(0, 0), none = Chain(0, 0)
        cdef double now = self.clock.read() if self.t.timed else 0
        cdef Py_hash_t hash = hash_of(<PyObject *>key)
        cdef int64_t i = find(&self.t, <PyObject *>key, hash)
        cdef bint late
        if i == 0:
            raise KeyError(key)
        late = self.t.timed and not now < self.t.entries[i].at
        remove(&self.t, <uint32_t>i, &removed)
        if not late:
            discard(&self.t, &removed)
            return
        self.expirations += 1
        self.let_go(&removed, &none)
        raise KeyError(key)

    def pop(self, key, default=NOTHING):
        """Remove a key and return its value; without it the default, or KeyError."""
        cdef Chain removed = Chain(0, 0)
        cdef int64_t i
        if self.overrides & (GETITEM | DELITEM | CONTAINS):
            with self.still():
                if key in self:
                    value = self[key]
                    del self[key]
                    return value
        else:
            i = seek(self, key)
            if i != 0:
                value = <object>self.t.entries[i].value
                remove(&self.t, <uint32_t>i, &removed)
                discard(&self.t, &removed)
                return value
        if default is NOTHING:
            raise KeyError(key)
        return default

    def popitem(self):
        """Remove and return the live (key, value) pair that was not used for longest. KeyError when there is none."""
        cdef Chain removed = Chain(0, 0)
        cdef uint32_t i
        with self.still():
            self.settle()
            if self.t.used == 0:
                raise KeyError(f"{type(self).__name__} is empty") from None
            i = self.t.entries[END].newer
            key = <object>self.t.entries[i].key
            value = <object>self.t.entries[i].value
            if self.overrides & DELITEM:
                del self[key]
            else:
                remove(&self.t, i, &removed)
                discard(&self.t, &removed)
        return key, value

    def clear(self):
        """Remove everything. No callback is called."""
        self.empty()

    cdef void empty(self) noexcept:
        cdef Chain all = Chain(0, 0)
        remove_all(&self.t, &all)
        discard(&self.t, &all)
        self.fractional = self.fractional and self.t.used > 0
        if self.t.used == 0 and self.t.limbo == 0:
            free_arrays(&self.t)

    cdef int expire_now(self, double now, list into=None) except -1:
        """Drop everything that has expired; the pairs go to the end of the list."""
        cdef Chain expired = Chain(0, 0)
        if self.t.used > 0:
            self.expirations += drop_expired(&self.t, now, self.t.used, &expired)
            self.release(&expired, "expired", into)
        return 0

    cdef int settle(self) except -1:
        """Before items are counted or returned: drop what has expired."""
        if self.t.timed:
            if self.overrides & EXPIRE:
                with self.clock as stopped:
                    self.expire(stopped)
            else:
                self.expire_now(self.clock.read())
        return 0

    cdef int let_go(self, Chain *expired, Chain *evicted) except -1:
        if self.on_evict is None:
            discard(&self.t, expired)
            discard(&self.t, evicted)
            return 0
        try:
            self.release(expired, "expired")
        finally:
            self.release(evicted, "evicted")
        return 0

    cdef int release(self, Chain *chain, str reason, list into=None) except -1:
        """Let go of a chain's items, telling the callback. What it raises is raised when all have been told; of several
        exceptions the first, the others are reported as unraisable."""
        cdef Table *t = &self.t
        cdef uint32_t i
        cdef PyObject *held_key
        cdef PyObject *held_value
        failure = None
        if self.on_evict is None and into is None:
            discard(t, chain)
            return 0
        t.limbo += 1
        while chain.head != 0:
            i = chain.head
            held_key = t.entries[i].key
            held_value = t.entries[i].value
            chain.head = t.entries[i].newer
            give_back(t, i)
            key = <object>held_key
            value = <object>held_value
            Py_DECREF(key)
            Py_DECREF(value)
            try:
                if into is not None:
                    into.append((key, value))
                if self.on_evict is not None:
                    self.on_evict(key, value, reason)
            except BaseException as error:
                if failure is None:
                    failure = error
                else:
                    PyErr_SetObject(type(error), error)
                    PyErr_WriteUnraisable(self.on_evict)
        t.limbo -= 1
        if failure is not None:
            raise failure
        return 0

    # -- the rest of the mapping

    cdef object still(self):
        """In this context the time stands still: methods of a subclass that one call goes through agree on it."""
        return STILL if self.clock is None else self.clock

    def __len__(self):
        self.settle()
        return self.t.used

    def __iter__(self):
        return _Keys(self, not self.t.timed)

    def keys(self):
        """A view of the keys."""
        return KeysView(self)

    def values(self):
        """A view of the values. Reading it looks each key up, which counts as use."""
        return ValuesView(self)

    def items(self):
        """A view of the (key, value) pairs. Reading it looks each key up, which counts as use."""
        return ItemsView(self)

    def __eq__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    def __repr__(self):
        cdef list flat
        cdef int inside = Py_ReprEnter(self)
        if inside != 0:
            return f"{type(self).__name__}({{...}})"
        try:
            with self.still():
                self.settle()
                flat = self.flat()
                pairs = ", ".join([f"{key!r}: {value!r}" for key, value in zip(flat[::2], flat[1::2])])
                return f"{type(self).__name__}({{{pairs}}}, maxsize={self.bound!r}, currsize={self.currsize!r})"
        finally:
            Py_ReprLeave(self)

    @classmethod
    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)

    @property
    def maxsize(self):
        """The largest sum of sizes."""
        return self.bound

    @property
    def currsize(self):
        """The sum of the sizes of all items."""
        self.settle()
        if not self.t.sized:
            return self.t.used
        return self.t.current if self.fractional else int(self.t.current)

    @staticmethod
    def getsizeof(value):
        """The size of a value: 1, unless given to the cache or overridden."""
        return 1

    def stats(self):
        """Counts since the cache was made, a CacheStats."""
        return CacheStats(self.hits, self.misses, self.insertions, self.evictions, self.expirations)

    # -- copies and pickles

    cdef list flat(self):
        """Keys and values in the order of iteration, alternating."""
        cdef Table *t = &self.t
        cdef uint64_t version
        cdef uint32_t i
        cdef Py_ssize_t n = 0
        cdef list flat
        while True:   # making a list can start the cycle collector, filling it cannot
            version = t.version
            flat = PyList_New(2 * <Py_ssize_t>t.used)
            if version == t.version:
                break
        i = t.entries[END].after if t.used > 0 else END
        while i != END:
            put_item(flat, n, <object>t.entries[i].key)
            put_item(flat, n + 1, <object>t.entries[i].value)
            n += 2
            i = t.entries[i].after
        return flat

    def __copy__(self):
        cls = type(self)
        cdef Cache copy = cls.__new__(cls)
        vars(copy).update(vars(self))
        copy.settings(self.bound, self.maximum, self.t.sized)
        copy.fractional = self.fractional
        copy.on_evict = self.on_evict
        copy.clock = None if self.clock is None else self.clock.__copy__()
        copy.lifetime = self.lifetime
        copy.uniform = self.uniform
        copy_table(&copy.t, &self.t)
        return copy

    def __reduce__(self):
        cdef Table *t = &self.t
        cdef uint64_t version
        cdef uint32_t i
        cdef Py_ssize_t n = 0
        cdef list flat, order, sizes, times
        while True:
            version = t.version
            flat = self.flat()
            order = PyList_New(t.used)
            sizes = PyList_New(t.used)
            times = PyList_New(t.used)
            if version == t.version:
                break
        cdef uint32_t *number = <uint32_t *>PyMem_RawMalloc((t.filled + 1) * sizeof(uint32_t))
        if number == NULL:
            raise MemoryError
        try:
            i = t.entries[END].after if t.used > 0 else END
            while i != END:
                number[i] = <uint32_t>n
                put_item(sizes, n, t.sizes[i] if t.sized else None)
                put_item(times, n, t.entries[i].at if t.timed else None)
                n += 1
                i = t.entries[i].after
            n = 0
            i = t.entries[END].newer if t.used > 0 else END
            while i != END:
                put_item(order, n, number[i])
                n += 1
                i = t.entries[i].newer
        finally:
            PyMem_RawFree(number)
        settings = self.bound, t.sized, self.fractional, self.on_evict, self.clock, self.lifetime
        return new_object, (type(self),), (settings, flat, sizes, times, order, vars(self))

    def __setstate__(self, state):
        cdef Table *t = &self.t
        cdef Py_hash_t hash
        cdef double at = 0, number = 0
        cdef uint32_t i
        settings, flat, sizes, times, order, attributes = state
        maxsize, sized, fractional, on_evict, clock, lifetime = settings
        if t.timed != isinstance(clock, Timer):
            raise TypeError(f"the state is not that of a {type(self).__name__}")
        vars(self).update(attributes)
        self.take_over(maxsize, None, on_evict)
        t.sized = sized
        self.fractional = fractional
        self.clock = clock
        self.lifetime = lifetime
        self.uniform = NAN
        for key, value, size, time in zip(flat[::2], flat[1::2], sizes, times):
            if t.sized:
                number = size
            if t.timed:
                at = time
            hash = hash_of(<PyObject *>key)
            if find(t, <PyObject *>key, hash) == 0:
                reserve(t)
                i = add(t, <PyObject *>key, hash, <PyObject *>value, number)
                if t.timed:
                    schedule(t, i, at, False)
        for key in [flat[2 * position] for position in order]:
            hash = hash_of(<PyObject *>key)
            i = <uint32_t>find(t, <PyObject *>key, hash)
            if i != 0:
                touch(t, i)
        self.settle()


cdef inline void put_item(list into, Py_ssize_t n, object item) noexcept:
    Py_INCREF(item)
    PyList_SET_ITEM(into, n, item)
