# The table under both caches: entries in an array, an index of 8-byte slots over it, rings of 32-bit positions in it.
#
# Invariants
#  1. Between two calls each entry is in exactly one state: free (key NULL, in the free list), live (in the index, in
#     the rings of use and insertion, and with a deadline in the ring of deadlines or in the heap), or in a Chain held
#     by a caller further up the stack.
#  2. Entry 0 holds no item: it is the end of all rings. Positions stay valid when the arrays grow.
#  3. Only `find` runs Python code, through `==` of keys. It notices by `version` when that code changed the table, and
#     begins again. Everything else here is plain C: no object is made (which could start the cycle collector, and it
#     finalizers), and none let go.
#  4. The index is at most half full, while it fits the nearest memory a quarter: searches and removals are then
#     shorter. Deletion moves later slots back (Knuth vol. 3, 6.4, algorithm R): a cache at its bound deletes for every
#     insertion, and tombstones would need a rehash every so often.
#  5. Deadlines along their ring never decrease. One lifetime for all and a clock that goes forward need nothing else:
#     each new deadline is the last, O(1). An item with a lifetime of its own, or set after the clock went back, goes to
#     a binary heap, O(log n) of those. A timer wheel would be O(1) for both, but needs a tick, and the unit of time is
#     the user's: seconds, nanoseconds, days.

cdef extern from *:
    """
    #include <time.h>

    static inline Py_hash_t hash_of(PyObject *key)
    {
        if (PyUnicode_CheckExact(key)) {
            Py_hash_t known = ((PyASCIIObject *)key)->hash;
            if (known != -1)
                return known;
        }
        return PyObject_Hash(key);
    }

    /* Keys of equal hash without Python code: 1 equal, 0 not, -1 when only == can tell. */
    static inline int same(PyObject *a, PyObject *b)
    {
        if (a == b)
            return 1;
        if (PyUnicode_CheckExact(a) && PyUnicode_CheckExact(b)) {
            if (PyUnicode_GET_LENGTH(a) != PyUnicode_GET_LENGTH(b) || PyUnicode_KIND(a) != PyUnicode_KIND(b))
                return 0;
            return memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), PyUnicode_GET_LENGTH(a) * PyUnicode_KIND(a)) == 0;
        }
        if (PyLong_CheckExact(a) && PyLong_CheckExact(b)) {
            int wide_a, wide_b;
            long long x = PyLong_AsLongLongAndOverflow(a, &wide_a), y = PyLong_AsLongLongAndOverflow(b, &wide_b);
            return wide_a || wide_b ? -1 : x == y;
        }
        return -1;
    }

    /* time.monotonic(), by the same arithmetic, without making an object of it. */
    static inline double monotonic(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec) / 1e9;
    }

    /* The same clock as of the kernel's last tick: not later than monotonic(), a fifth of its cost. */
    static inline double monotonic_coarse(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }

    static inline double coarse_tick(void)
    {
        struct timespec tick;
        return clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 ? (double)tick.tv_sec + (double)tick.tv_nsec * 1e-9 : 1;
    }
    """
    Py_hash_t hash_of(PyObject *key) except -1
    int same(PyObject *a, PyObject *b) noexcept
    double monotonic() noexcept
    double monotonic_coarse() noexcept
    double coarse_tick() noexcept

cdef enum:
    END = 0                    # the entry that is the end of all rings
    FIRST = 1
    CAPACITY_MIN = 8
    SPARSE_MAX = 4096          # with more entries an index of four slots each falls out of the second-level cache
    SLOTS_MIN_BITS = 4
    RETRIES_MAX = 1000         # searches begun again before an == that always changes the cache is an error

cdef uint64_t ENTRIES_MAX = (<uint64_t>1 << 30) - 8   # 32-bit positions, and an index of twice as many slots

# Multiply-shift hashing with a random odd factor (Dietzfelbinger et al. 1997): Python's hashes of int are the values
# themselves, so a stranger could otherwise choose numbers that meet in one slot.
cdef uint64_t FACTOR = int.from_bytes(os.urandom(8), "little") | 1


cdef inline uint32_t tag_of(Py_hash_t hash) noexcept:
    return <uint32_t>((<uint64_t>hash * FACTOR) >> 32)


cdef int64_t find(Table *t, PyObject *key, Py_hash_t hash) except -1:
    """Position of the key's entry, 0 when there is none. RuntimeError if == keeps changing the table."""
    cdef uint32_t tag = tag_of(hash), slot, i
    cdef uint64_t version
    cdef PyObject *stored
    cdef int equal, tries = 0
    if t.used == 0:
        return 0
    slot = tag >> t.shift
    while True:
        i = t.slots[slot].entry
        if i == 0:
            return 0
        if t.slots[slot].tag == tag and t.entries[i].hash == hash:
            stored = t.entries[i].key
            equal = same(stored, key)
            if equal < 0:
                version = t.version
                Py_INCREF(<object>stored)
                equal = PyObject_RichCompareBool(<object>stored, <object>key, Py_EQ)
                Py_DECREF(<object>stored)
                if version != t.version:
                    tries += 1
                    if tries > RETRIES_MAX:
                        raise RuntimeError("comparing keys keeps changing the cache")
                    if t.used == 0:
                        return 0
                    slot = tag >> t.shift
                    continue
            if equal:
                return i
        slot = (slot + 1) & t.mask


cdef inline void index_add(Table *t, uint32_t i) noexcept:
    cdef uint32_t tag = tag_of(t.entries[i].hash)
    cdef uint32_t slot = tag >> t.shift
    while t.slots[slot].entry != 0:
        slot = (slot + 1) & t.mask
    t.slots[slot].tag = tag
    t.slots[slot].entry = i


cdef inline void index_remove(Table *t, uint32_t i) noexcept:
    cdef uint32_t hole = tag_of(t.entries[i].hash) >> t.shift, slot
    while t.slots[hole].entry != i:
        hole = (hole + 1) & t.mask
    slot = hole
    while True:
        slot = (slot + 1) & t.mask
        if t.slots[slot].entry == 0:
            break
        if ((slot - (t.slots[slot].tag >> t.shift)) & t.mask) >= ((slot - hole) & t.mask):
            t.slots[hole] = t.slots[slot]
            hole = slot
    t.slots[hole].entry = 0


cdef inline void use_unlink(Entry *entries, uint32_t i) noexcept:
    cdef uint32_t older = entries[i].older, newer = entries[i].newer
    entries[older].newer = newer
    entries[newer].older = older


cdef inline void use_append(Entry *entries, uint32_t i) noexcept:
    cdef uint32_t last = entries[END].older
    entries[i].older = last
    entries[i].newer = END
    entries[last].newer = i
    entries[END].older = i


cdef inline void touch(Table *t, uint32_t i) noexcept:
    """It is now the one used last."""
    if t.entries[END].older != i:
        use_unlink(t.entries, i)
        use_append(t.entries, i)


cdef void walks_pass(Table *t, uint32_t i) noexcept:
    """Entry i leaves: walks that were to visit it visit its neighbour."""
    cdef Walk *walk = t.walks
    while walk != NULL:
        if walk.at == i:
            walk.at = 0 if walk.last == i else t.entries[i].after
        elif walk.last == i:
            walk.last = t.entries[i].before
        walk = walk.next


cdef void walks_end(Table *t) noexcept:
    cdef Walk *walk = t.walks
    while walk != NULL:
        walk.at = 0
        walk = walk.next


cdef inline void order_unlink(Table *t, uint32_t i) noexcept:
    cdef uint32_t before = t.entries[i].before, after = t.entries[i].after
    if t.walks != NULL:
        walks_pass(t, i)
    t.entries[before].after = after
    t.entries[after].before = before


cdef inline void order_append(Entry *entries, uint32_t i) noexcept:
    cdef uint32_t last = entries[END].before
    entries[i].before = last
    entries[i].after = END
    entries[last].after = i
    entries[END].before = i


cdef inline void heap_put(Table *t, uint32_t place, uint32_t i) noexcept:
    t.heap[place] = i
    t.entries[i].place = place + 1


cdef void heap_up(Table *t, uint32_t place, uint32_t i) noexcept:
    cdef uint32_t parent
    while place > 0:
        parent = (place - 1) >> 1
        if t.entries[t.heap[parent]].at <= t.entries[i].at:
            break
        heap_put(t, place, t.heap[parent])
        place = parent
    heap_put(t, place, i)


cdef void heap_remove(Table *t, uint32_t i) noexcept:
    cdef uint32_t place = t.entries[i].place - 1, child, moved
    t.entries[i].place = 0
    t.heap_used -= 1
    moved = t.heap[t.heap_used]
    if moved == i:
        return
    while True:
        child = 2 * place + 1
        if child >= t.heap_used:
            break
        if child + 1 < t.heap_used and t.entries[t.heap[child + 1]].at < t.entries[t.heap[child]].at:
            child += 1
        if t.entries[moved].at <= t.entries[t.heap[child]].at:
            break
        heap_put(t, place, t.heap[child])
        place = child
    heap_up(t, place, moved)


cdef void schedule(Table *t, uint32_t i, double at, bint own) noexcept:
    """The entry, which has no deadline, expires at `at`. own: its lifetime is not the one all others have."""
    cdef Entry *entries = t.entries
    cdef uint32_t last = entries[END].sooner
    entries[i].at = at
    if own or (last != END and at < entries[last].at):
        t.heap_used += 1
        heap_up(t, t.heap_used - 1, i)
        return
    entries[i].place = 0
    entries[i].sooner = last
    entries[i].later = END
    entries[last].later = i
    entries[END].sooner = i


cdef inline void unschedule(Table *t, uint32_t i) noexcept:
    cdef uint32_t sooner, later
    if t.entries[i].place != 0:
        heap_remove(t, i)
        return
    sooner = t.entries[i].sooner
    later = t.entries[i].later
    t.entries[sooner].later = later
    t.entries[later].sooner = sooner


cdef inline uint32_t first_expired(Table *t, double now) noexcept:
    """The entry whose deadline passed first, 0 when none has."""
    cdef uint32_t i = t.entries[END].later, other
    if i != END and now < t.entries[i].at:
        i = 0
    if t.heap_used > 0:
        other = t.heap[0]
        if not now < t.entries[other].at and (i == 0 or t.entries[other].at < t.entries[i].at):
            i = other
    return i


cdef void remove(Table *t, uint32_t i, Chain *chain) noexcept:
    """Out of index and rings, to the end of the chain: its objects are let go later, by whoever holds the chain."""
    index_remove(t, i)
    use_unlink(t.entries, i)
    order_unlink(t, i)
    if t.timed:
        unschedule(t, i)
    t.used -= 1
    t.version += 1
    if t.sized:
        t.current = t.current - t.sizes[i] if t.used > 0 else 0
    t.entries[i].newer = 0
    if chain.tail != 0:
        t.entries[chain.tail].newer = i
    else:
        chain.head = i
    chain.tail = i


cdef void remove_all(Table *t, Chain *chain) noexcept:
    """As `remove` of every entry, from the one used longest ago; the chain must be empty."""
    if t.used == 0:
        return
    chain.head = t.entries[END].newer
    chain.tail = t.entries[END].older
    walks_end(t)
    clear_rings(t)
    memset(t.slots, 0, (<size_t>t.mask + 1) * sizeof(Slot))
    t.used = 0
    t.heap_used = 0
    t.current = 0
    t.version += 1


cdef uint64_t drop_expired(Table *t, double now, uint64_t most, Chain *chain) noexcept:
    """Remove up to `most` expired entries in the order of their deadlines; how many that were."""
    cdef uint64_t n = 0
    cdef uint32_t i
    while n < most:
        i = first_expired(t, now)
        if i == 0:
            break
        remove(t, i, chain)
        n += 1
    return n


cdef uint32_t add(Table *t, PyObject *key, Py_hash_t hash, PyObject *value, double size) noexcept:
    """A new entry, used last. `reserve` was called, the key is not there; a timed entry still needs `schedule`."""
    cdef uint32_t i = t.free
    if i != 0:
        t.free = t.entries[i].newer
    else:
        i = t.filled
        t.filled += 1
    Py_INCREF(<object>key)
    Py_INCREF(<object>value)
    t.entries[i].hash = hash
    t.entries[i].key = key
    t.entries[i].value = value
    use_append(t.entries, i)
    order_append(t.entries, i)
    if t.sized:
        t.sizes[i] = size
        t.current += size
    index_add(t, i)
    t.used += 1
    t.version += 1
    return i


cdef inline void reuse(Table *t, uint32_t i, PyObject *key, Py_hash_t hash, PyObject *value) noexcept:
    """A live entry of an unsized table becomes that of a new key, used last: `remove` and `add` in one, at two thirds
    of their cost. The caller has the references it held. A timed entry still needs `schedule`."""
    index_remove(t, i)
    touch(t, i)
    order_unlink(t, i)
    order_append(t.entries, i)
    if t.timed:
        unschedule(t, i)
    Py_INCREF(<object>key)
    Py_INCREF(<object>value)
    t.entries[i].hash = hash
    t.entries[i].key = key
    t.entries[i].value = value
    index_add(t, i)
    t.version += 1


cdef inline void give_back(Table *t, uint32_t i) noexcept:
    """An entry of a chain, its objects taken, can be used again."""
    t.entries[i].key = NULL
    t.entries[i].value = NULL
    t.entries[i].newer = t.free
    t.free = i


cdef void clear_rings(Table *t) noexcept:
    t.entries[END].older = t.entries[END].newer = END
    t.entries[END].before = t.entries[END].after = END
    if t.timed:
        t.entries[END].sooner = t.entries[END].later = END


cdef int grow_index(Table *t, uint64_t entries) except -1:
    """Slots for so many entries, or nothing changed and MemoryError."""
    cdef uint32_t bits = SLOTS_MIN_BITS, i
    while (<uint64_t>1 << bits) < (4 if entries <= SPARSE_MAX else 2) * entries:
        bits += 1
    if t.slots != NULL and t.mask == (<uint64_t>1 << bits) - 1:
        return 0
    cdef Slot *slots = <Slot *>PyMem_RawCalloc(<size_t>1 << bits, sizeof(Slot))
    if slots == NULL:
        raise MemoryError
    PyMem_RawFree(t.slots)
    t.slots = slots
    t.mask = <uint32_t>((<uint64_t>1 << bits) - 1)
    t.shift = 32 - bits
    t.version += 1
    if t.used > 0:
        i = t.entries[END].newer
        while i != END:
            index_add(t, i)
            i = t.entries[i].newer
    return 0


cdef int grow(Table *t) except -1:
    """More entries, twice as many up to the limit; MemoryError leaves everything as it was."""
    cdef uint64_t capacity = max(2 * <uint64_t>t.capacity, <uint64_t>CAPACITY_MIN)
    cdef void *moved
    cdef Entry *entries
    # One more than the limit: the new item is in before the evicted one's objects are let go. Chains held further up
    # the stack can need more.
    if t.limit + FIRST + 1 > t.capacity:
        capacity = min(capacity, t.limit + FIRST + 1)
    if capacity > ENTRIES_MAX:
        raise MemoryError(f"a cache holds at most {ENTRIES_MAX} items")
    grow_index(t, capacity)
    moved = PyMem_RawMalloc((capacity + 1) * sizeof(Entry))
    if moved == NULL:
        raise MemoryError
    entries = <Entry *>((<uintptr_t>moved + sizeof(Entry) - 1) & ~<uintptr_t>(sizeof(Entry) - 1))
    if t.filled > 0:
        memcpy(entries, t.entries, t.filled * sizeof(Entry))
    PyMem_RawFree(t.block)
    t.block = moved
    t.entries = entries
    if t.sized:
        moved = PyMem_RawRealloc(t.sizes, capacity * sizeof(double))
        if moved == NULL:
            raise MemoryError
        t.sizes = <double *>moved
    if t.capacity == 0:
        t.filled = FIRST
        clear_rings(t)
    t.capacity = <uint32_t>capacity
    return 0


cdef int grow_heap(Table *t) except -1:
    cdef size_t capacity = max(2 * <size_t>t.heap_capacity, <size_t>CAPACITY_MIN)
    cdef void *moved = PyMem_RawRealloc(t.heap, capacity * sizeof(uint32_t))
    if moved == NULL:
        raise MemoryError
    t.heap = <uint32_t *>moved
    t.heap_capacity = <uint32_t>capacity
    return 0


cdef inline int reserve(Table *t) except -1:
    """Room for one `add` and one `schedule`."""
    if t.free == 0 and t.filled >= t.capacity:
        grow(t)
    if t.timed and t.heap_used >= t.heap_capacity:
        grow_heap(t)
    return 0


cdef void free_arrays(Table *t) noexcept:
    """All memory goes; the table is empty and no chain is held."""
    PyMem_RawFree(t.slots)
    PyMem_RawFree(t.block)
    PyMem_RawFree(t.sizes)
    PyMem_RawFree(t.heap)
    t.slots = NULL
    t.entries = NULL
    t.block = NULL
    t.sizes = NULL
    t.heap = NULL
    t.mask = t.shift = t.capacity = t.filled = t.free = t.heap_used = t.heap_capacity = 0


cdef void discard(Table *t, Chain *chain) noexcept:
    """Let go of a chain's objects, which may run any code; each entry is free again before that."""
    cdef uint32_t i = chain.head
    cdef PyObject *key
    cdef PyObject *value
    if i == 0:
        return
    t.limbo += 1
    while i != 0:
        key = t.entries[i].key
        value = t.entries[i].value
        chain.head = t.entries[i].newer
        give_back(t, i)
        Py_DECREF(<object>key)
        Py_DECREF(<object>value)
        i = chain.head
    t.limbo -= 1


cdef int copy_deadlines(Table *to, const Table *source, const uint32_t *moved) except -1:
    """Schedule the copied entries, in the order in which none of the ring goes to the heap."""
    cdef uint32_t i = source.entries[END].later, place
    while to.heap_capacity < source.heap_used:
        grow_heap(to)
    while i != END:
        schedule(to, moved[i], source.entries[i].at, False)
        i = source.entries[i].later
    for place in range(source.heap_used):
        i = source.heap[place]
        schedule(to, moved[i], source.entries[i].at, True)
    return 0


cdef int copy_table(Table *to, const Table *source) except -1:
    """The same items in the same orders, into an empty table with the same settings."""
    cdef uint32_t *moved
    cdef const Entry *entry
    cdef uint32_t i
    if source.used == 0:
        return 0
    moved = <uint32_t *>PyMem_RawMalloc(source.filled * sizeof(uint32_t))
    if moved == NULL:
        raise MemoryError
    try:
        i = source.entries[END].after
        while i != END:
            reserve(to)
            entry = &source.entries[i]
            moved[i] = add(to, entry.key, entry.hash, entry.value, source.sizes[i] if source.sized else 0)
            i = source.entries[i].after
        i = source.entries[END].newer
        while i != END:
            touch(to, moved[i])
            i = source.entries[i].newer
        if source.timed:
            copy_deadlines(to, source, moved)
        to.current = source.current
    finally:
        PyMem_RawFree(moved)
    return 0
