# Looking up and setting: what everything else is made of.

cdef enum:                    # how to put
    KEEP = 1                  # leave a live item alone
    LENIENT = 2               # a value too large is no error

cdef enum:
    # Expired items dropped by one call that sets: as it adds one item, more than one keeps up, and a bound keeps a call
    # short when very many expire at once. Calls that count or return items drop all.
    EXPIRE_STEP = 16


cdef inline int64_t seek(Cache self, object key) except -1:
    """The entry of a live item, 0 when there is none."""
    cdef double now = 0
    cdef bint late = self.t.timed and self.clock.native   # reading it runs no Python code, so only for what is found
    cdef Py_hash_t hash
    cdef int64_t i
    if self.t.timed and not late:
        now = self.clock.read()
    hash = hash_of(<PyObject *>key)
    i = find(&self.t, <PyObject *>key, hash)
    if i != 0 and self.t.timed:
        if self.clock.passed(self.t.entries[i].at) if late else not now < self.t.entries[i].at:
            return 0
    return i


cdef inline PyObject *look(Cache self, object key) except? NULL:
    """The value of a live item, borrowed, which then counts as used."""
    cdef int64_t i = seek(self, key)
    if i == 0:
        self.misses += 1
        return NULL
    self.hits += 1
    touch(&self.t, <uint32_t>i)
    return self.t.entries[i].value


cdef int store(Cache self, object key, object value, object ttl, int how, PyObject **kept) except -1:
    """Set an item. kept: becomes a new reference to the value that is there afterwards."""
    cdef Table *t = &self.t
    cdef Chain expired = Chain(0, 0), evicted = Chain(0, 0)
    cdef double size = 1, now = 0, at = 0, more
    cdef Py_hash_t hash
    cdef uint32_t i, other
    cdef PyObject *old_key = NULL
    cdef PyObject *old_value = NULL
    if not (self.measure(value, &size) if t.sized else t.limit >= 1):
        if how & LENIENT:
            return 0
        raise ValueError("value too large")
    if t.timed:
        now = self.clock.read()
        at = now + self.ttl_units(ttl)
        if isnan(at):   # -inf + inf
            raise ValueError("the time must not be NaN")
        if self.overrides & EXPIRE:
            self.settle()
    hash = hash_of(<PyObject *>key)
    if self.overrides & (POPITEM | DELITEM):
        self.room_by_methods(key, hash, size)
    i = <uint32_t>find(t, <PyObject *>key, hash)
    reserve(t)
    # From here to the end of the changes nothing runs Python code.
    if t.timed:
        if i != 0 and not now < t.entries[i].at:
            self.expirations += 1
            remove(t, i, &expired)
            i = 0
        if not self.overrides & EXPIRE:
            self.expirations += drop_expired(t, now, EXPIRE_STEP, &expired)
    if i != 0 and how & KEEP:
        touch(t, i)
    elif i == 0 and not t.sized and t.used >= t.limit and self.on_evict is None:
        self.evictions += 1
        self.insertions += 1
        i = t.entries[END].newer
        old_key = t.entries[i].key
        old_value = t.entries[i].value
        reuse(t, i, <PyObject *>key, hash, <PyObject *>value)
        if t.timed:
            schedule(t, i, at, ttl is not None and at != now + self.uniform)
    else:
        while True:
            if not t.sized:
                if i != 0 or t.used < t.limit:
                    break
            else:
                more = size - t.sizes[i] if i != 0 else size
                if t.current + more <= self.maximum or t.used == 0:
                    break
            other = first_expired(t, now) if t.timed else 0
            if other != 0:
                self.expirations += 1
                remove(t, other, &expired)
            else:
                other = t.entries[END].newer
                self.evictions += 1
                remove(t, other, &evicted)
            if other == i:
                i = 0
        if i == 0:
            self.insertions += 1
            i = add(t, <PyObject *>key, hash, <PyObject *>value, size)
        else:
            old_value = t.entries[i].value
            Py_INCREF(value)
            t.entries[i].value = <PyObject *>value
            touch(t, i)
            if t.sized:
                t.current += size - t.sizes[i]
                t.sizes[i] = size
            if t.timed:
                unschedule(t, i)
        if t.timed:
            schedule(t, i, at, ttl is not None and at != now + self.uniform)
    if kept != NULL:
        kept[0] = t.entries[i].value
        Py_INCREF(<object>kept[0])
    if old_value != NULL:
        t.limbo += 1   # both chains are still held
        Py_XDECREF(old_key)
        Py_DECREF(<object>old_value)
        t.limbo -= 1
    if expired.head != 0 or evicted.head != 0:
        self.let_go(&expired, &evicted)
    return 0
