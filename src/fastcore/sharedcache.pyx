"""A cache of bytes that all worker processes share (cext/include/fc/cache.h says how, docs/toolkit/sharedcache.md what for)."""

import os
from collections import namedtuple

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

__all__ = [
    "BLOCK",
    "CAPACITY",
    "ITEM_MAX",
    "SHARDS",
    "TAG_SLOTS",
    "WAIT",
    "Entry",
    "SharedCache",
    "Stats",
    "Writer",
    "section_size",
]

CAPACITY = 32 << 20
ITEM_MAX = 1 << 20
SHARDS = 8
BLOCK = 256
TAG_SLOTS = 4096
WAIT = 0.01

Entry = namedtuple("Entry", ["value", "meta", "flags", "fresh", "age", "ttl", "keep"])
Entry.__doc__ = """What find() answers: value and metadata as bytes, the flags given with them, whether it is fresh, and in seconds
its age, how long it stays fresh (below 0: since when it has been stale; None: for ever; of an entry softly invalidated: had it
not been) and how long it is kept (None: for ever)."""

Stats = namedtuple(
    "Stats",
    ["hits", "misses", "stored", "evictions", "expirations", "repairs", "entries", "bytes", "pending", "capacity"],
)
Stats.__doc__ = """Counts of all processes since the section was made: lookups that found (hits) and did not (misses), entries stored,
entries evicted while still good, entries freed after their time, shards repaired after a death. And as it is now: entries and
the bytes of their blocks (expired ones nobody came by included), bytes reserved by writers, bytes there are."""

# Copies longer than this let other threads run.
cdef enum:
    LONG = 65536
    ROUNDS = 64

cdef enum:
    CLOSED
    OPEN
    REFUSED


cdef int fail(int64_t error, str subject) except -1:
    message = f"{subject}: {fc_cache_strerror(error).decode()}"
    if error == FC_CACHE_EBUSY:
        raise TimeoutError(message)
    if error == FC_CACHE_EVERSION:
        raise RuntimeError(message)
    raise ValueError(message)


@cython.final
cdef class _Bytes:
    """A buffer, held while C looks at it."""

    cdef Py_buffer buffer
    cdef bint held

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)


cdef inline object hold(object o, fc_slice *s):
    """Points s at the bytes of o, which stay while the object returned does."""
    cdef _Bytes held
    if PyBytes_CheckExact(o):
        s.p = PyBytes_AS_STRING(o)
        s.n = PyBytes_GET_SIZE(o)
        return o
    held = _Bytes.__new__(_Bytes)
    PyObject_GetBuffer(o, &held.buffer, PyBUF_SIMPLE)
    held.held = True
    s.p = <const char *>held.buffer.buf
    s.n = held.buffer.len
    return held


cdef object hold_tag(object tag, fc_slice *s):
    return hold(tag.encode() if isinstance(tag, str) else tag, s)


cdef uint64_t clock(object now) except? 0:
    """Nanoseconds: of CLOCK_MONOTONIC, or those of `now` in seconds."""
    cdef double seconds
    if now is None:
        return fc_monotonic_ns()
    seconds = now
    if not 0 <= seconds < 9e9:
        raise ValueError(f"now is {now}; it is in seconds, not below 0 and below 9e9")
    return <uint64_t>(seconds * 1e9)


cdef uint64_t after(uint64_t now, object seconds, str name) except? 0:
    """`seconds` from now; None is for ever."""
    cdef double span
    if seconds is None:
        return FC_CACHE_NEVER
    span = seconds
    if not span > 0:
        raise ValueError(f"{name} is {seconds}; it must be above 0, or None for ever")
    return now + <uint64_t>(span * 1e9) if span < 9e9 else FC_CACHE_NEVER


cdef uint64_t longer(uint64_t fresh_until, object stale) except? 0:
    """When an entry goes that is kept for `stale` seconds past its freshness."""
    cdef double span
    if stale is None:
        return FC_CACHE_NEVER
    span = stale
    if not span >= 0:
        raise ValueError(f"stale is {stale}; it must not be below 0, or None for ever")
    if span >= 9e9 or fresh_until == FC_CACHE_NEVER:
        return FC_CACHE_NEVER
    return fresh_until + <uint64_t>(span * 1e9)


cdef fc_cache_options options_of(object capacity, object item_max, object shards, object block, object tag_slots) except *:
    cdef fc_cache_options o
    capacity = CAPACITY if capacity is None else capacity
    shards = SHARDS if shards is None else shards
    block = BLOCK if block is None else block
    tag_slots = TAG_SLOTS if tag_slots is None else tag_slots
    for name, value, least, most in (
        ("capacity", capacity, 1, 1 << 40),
        ("shards", shards, 1, 64),
        ("block", block, 256, 65536),
        ("tag_slots", tag_slots, 1, 1 << 20),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name} is {value}; it must be {least} to {most}")
    if item_max is None:  # a quarter of a shard, less what an entry has around its bytes
        item_max = max(1, min(ITEM_MAX, capacity // shards // 4 - 512))
    if not 1 <= item_max < 1 << 31:
        raise ValueError(f"item_max is {item_max}; it must be 1 to 2147483647")
    o.capacity = capacity
    o.item_max = item_max
    o.shards = shards
    o.block = block
    o.tag_slots = tag_slots
    key = os.urandom(16)
    memcpy(&o.key, <const char *>key, 16)
    return o


def section_size(
    *,
    capacity: int | None = None,
    item_max: int | None = None,
    shards: int | None = None,
    block: int | None = None,
    tag_slots: int | None = None,
) -> int:
    """Bytes that a SharedCache with these parameters takes in a region: about 1.12 times its capacity."""
    cdef fc_cache_options o = options_of(capacity, item_max, shards, block, tag_slots)
    cdef uint64_t size = fc_cache_size(&o)
    if size == 0:
        fail(FC_CACHE_ESIZE, "shared cache")
    return size


@cython.final
@cython.no_gc_clear  # unpins its region when it goes, which a collected cycle would have taken away before
cdef class SharedCache:
    """Bytes by bytes for every process that has the region; SIEVE eviction, time to live, tags.

    Reading takes no lock and never waits for a writer, not even one that was stopped or killed in the middle. A value read is
    one that was written whole. Writers of the same shard exclude each other for about a microsecond; a process killed at any
    instruction leaves everything usable, and what it had not finished storing is absent.

    Without ``region`` it makes one of its own, shared with children forked later. Parameters, all of which are settled by
    whoever makes the section (asking an existing one for others is a ValueError):

    capacity: bytes in blocks, rounded up to whole blocks for each shard (32 MiB). It is never exceeded.
    item_max: longest key, metadata and value together; at most about half of a shard (1 MiB, or a quarter of a shard).
    shards: parts with a lock each, 1 to 64 (8). Each evicts by itself, so few keys or very large values fill them unevenly.
    block: 256 to 65536, a power of two (256). An entry takes whole blocks, for 72 bytes, its tags, key, metadata, value.
    tag_slots: 1 to 2**20 (4096). Two tags in one slot are invalidated together.
    wait: seconds a write waits for a shard's lock (0.01), for this object only.

    Keys, values and metadata are anything with the buffer protocol; keys are at most 65535 bytes long. Tags are str (as
    UTF-8) or bytes, at most 16 for an entry. Times are seconds; ``now`` is for tests and is CLOCK_MONOTONIC by default.
    """

    def __init__(
        self,
        region: Region | None = None,
        *,
        capacity: int | None = None,
        item_max: int | None = None,
        shards: int | None = None,
        block: int | None = None,
        tag_slots: int | None = None,
        wait: float = WAIT,
        section: str = "cache",
    ):
        if self.pinned:
            raise RuntimeError("already initialised")
        cdef double seconds = wait
        if not 0 <= seconds <= 60:
            raise ValueError(f"wait is {wait}; it must be 0 to 60 seconds")
        cdef fc_cache_options o = options_of(capacity, item_max, shards, block, tag_slots)
        cdef uint64_t size = fc_cache_size(&o)
        if size == 0:
            fail(FC_CACHE_ESIZE, f"section {section!r}")
        self.region = Region(size=size + 2 * FC_CACHE_ALIGN) if region is None else region
        cdef uint64_t existing = self.region.find(section)
        if existing > 0:
            size = existing
        cdef char *base = self.region.address(section, size, FC_CACHE_ALIGN)
        self.pinned = True
        cdef int error = fc_cache_open(&self.c, base, size, &o)
        if error:
            fail(error, f"section {section!r}")
        for name, asked, found in (
            ("capacity", capacity, self.c.options.capacity),
            ("item_max", item_max, self.c.options.item_max),
            ("shards", shards, self.c.options.shards),
            ("block", block, self.c.options.block),
            ("tag_slots", tag_slots, self.c.options.tag_slots),
        ):
            if asked is not None and asked != found:
                raise ValueError(f"section {section!r} exists with {name} {found}, not {asked}")
        self.c.wait_ns = <uint64_t>(seconds * 1e9)

    def __dealloc__(self):
        if self.pinned:
            self.region.unpin()

    cdef bytes fetch(self, fc_slice key, uint64_t now):
        cdef fc_cache_item item
        cdef bytes value
        cdef char *out
        cdef bint same
        for _ in range(ROUNDS):
            if fc_cache_find(&self.c, key, now, &item) != FC_CACHE_FRESH:
                break
            value = PyBytes_FromStringAndSize(NULL, item.value_len)
            out = PyBytes_AS_STRING(value)
            if item.value_len < LONG:
                same = fc_cache_read(&self.c, &item, 0, out, item.value_len)
            else:
                with nogil:
                    same = fc_cache_read(&self.c, &item, 0, out, item.value_len)
            if same:
                fc_cache_count(&self.c, True)
                return value
        fc_cache_count(&self.c, False)
        return None

    cdef int store(self, const fc_cache_new *n, bint absent_only, uint64_t now) except -1:
        cdef int result
        if n.value.n <= FC_CACHE_COPY_MAX:
            result = fc_cache_set(&self.c, n, absent_only, now)
        else:
            with nogil:
                result = fc_cache_set(&self.c, n, absent_only, now)
        if result == FC_CACHE_EBIG or result == FC_CACHE_ETAGS:
            fail(result, "value of %d bytes" % n.value.n)
        return result > 0

    cdef fc_cache_stamp *stamp_of(self, object tags, object stamp, fc_cache_stamp *room) except? NULL:
        cdef fc_slice s
        if stamp is not None:
            if tags:
                raise ValueError("tags are in the stamp already; give one or the other")
            _held = hold(stamp, &s)
            if s.n < 8 or s.n % 8 != 0 or s.n > 8 * (1 + FC_CACHE_TAGS_MAX):
                raise ValueError("not a stamp")
            memcpy(&room.epoch, s.p, 8)
            memcpy(room.tags, s.p + 8, s.n - 8)
            room.len = s.n // 8 - 1
            return room
        if type(tags) is tuple and not <tuple>tags:
            return NULL
        if isinstance(tags, (str, bytes)):
            raise TypeError(f"tags must be an iterable of tags, not one {type(tags).__name__}")
        fc_cache_stamp_now(&self.c, room)
        for tag in tags:
            _held = hold_tag(tag, &s)
            if fc_cache_stamp_tag(&self.c, room, s) != 0:
                fail(FC_CACHE_ETAGS, "tags")
        return room

    @property
    def capacity(self) -> int:
        return self.c.options.capacity

    @property
    def item_max(self) -> int:
        return self.c.options.item_max

    @property
    def shards(self) -> int:
        return self.c.options.shards

    @property
    def block(self) -> int:
        return self.c.options.block

    @property
    def tag_slots(self) -> int:
        return self.c.options.tag_slots

    def get(self, key, default=None, *, now=None):
        """The fresh value under key as bytes, or default."""
        cdef fc_slice s
        _held = hold(key, &s)
        value = self.fetch(s, clock(now))
        return default if value is None else value

    def get_many(self, keys, *, now=None) -> dict:
        """The fresh values of those keys that have one, by key. The keys must be hashable, as bytes are."""
        cdef fc_slice s
        cdef uint64_t ns = clock(now)
        cdef dict found = {}
        cdef bytes value
        for key in keys:
            _held = hold(key, &s)
            value = self.fetch(s, ns)
            if value is not None:
                found[key] = value
        return found

    def find(self, key, *, now=None):
        """The entry under key, fresh or kept though stale, with all that is known of it; None when there is none."""
        cdef fc_slice s
        cdef fc_cache_item item
        cdef bytes value, meta
        cdef uint64_t ns = clock(now)
        _held = hold(key, &s)
        for _ in range(ROUNDS):
            fc_cache_find(&self.c, s, ns, &item)
            if item.state != FC_CACHE_FRESH and item.state != FC_CACHE_STALE:
                break
            meta = PyBytes_FromStringAndSize(NULL, item.meta_len)
            value = PyBytes_FromStringAndSize(NULL, item.value_len)
            if fc_cache_read_meta(&self.c, &item, PyBytes_AS_STRING(meta)) and fc_cache_read(
                &self.c, &item, 0, PyBytes_AS_STRING(value), item.value_len
            ):
                fc_cache_count(&self.c, True)
                return Entry(
                    value,
                    meta,
                    item.flags,
                    item.state == FC_CACHE_FRESH,
                    (<double>ns - <double>item.stored) / 1e9,
                    None if item.fresh_until == FC_CACHE_NEVER else (<double>item.fresh_until - <double>ns) / 1e9,
                    None if item.keep_until == FC_CACHE_NEVER else (<double>item.keep_until - <double>ns) / 1e9,
                )
        fc_cache_count(&self.c, False)
        return None

    cdef int put(self, object key, object value, object ttl, object tags, object stale, object flags, object meta,
                 object stamp, object now, bint absent_only) except -1:
        cdef fc_cache_new n
        cdef fc_cache_stamp room
        cdef uint64_t ns = clock(now)
        _key = hold(key, &n.key)
        _value = hold(value, &n.value)
        _meta = hold(meta, &n.meta)
        n.flags = flags
        n.fresh_until = after(ns, ttl, "ttl")
        n.keep_until = longer(n.fresh_until, stale)
        n.stamp = self.stamp_of(tags, stamp, &room)
        return self.store(&n, absent_only, ns)

    def set(self, key, value, ttl=None, tags=(), *, stale=0, flags=0, meta=b"", stamp=None, now=None) -> bool:
        """Stores value under key in place of any other; whether it did.

        ttl: seconds until it counts as a miss, None for ever. stale: seconds it is kept after that for find(). flags: any
        32-bit number, meta: any bytes, both given back by find(). stamp: what stamp() gave before the data was read, in
        place of tags.

        False: a stopped process holds the shard's lock, writers in progress have all the room, or the stamp is from before
        a clear(). In the first two cases the key has no value then, not an old one. ValueError: over item_max; 17 tags; a
        time that is none.
        """
        return self.put(key, value, ttl, tags, stale, flags, meta, stamp, now, False) != 0

    def add(self, key, value, ttl=None, tags=(), *, stale=0, flags=0, meta=b"", stamp=None, now=None) -> bool:
        """As set, when there is no fresh value. True for one of those who try at the same time."""
        return self.put(key, value, ttl, tags, stale, flags, meta, stamp, now, True) != 0

    def delete(self, key, *, now=None) -> bool:
        """Takes the entry away; whether there was one. TimeoutError when a stopped process holds the shard's lock: the entry
        cannot be found any more, but its memory is still in use."""
        cdef fc_slice s
        _held = hold(key, &s)
        cdef int found = fc_cache_delete(&self.c, s, clock(now))
        if found < 0:
            fail(found, "delete")
        return found != 0

    def touch(self, key, ttl=None, *, stale=0, stamp=None, now=None) -> bool:
        """Gives the entry, fresh or kept though stale, new times; whether there was one.

        With the stamp of its tags, in the same order, taken before its data was found to be still valid, earlier soft
        invalidations of them are settled too. False also when a stopped process holds the shard's lock.
        """
        cdef fc_slice s
        cdef fc_cache_stamp room
        cdef fc_cache_stamp *with_tags = NULL
        cdef uint64_t ns = clock(now), until = after(ns, ttl, "ttl")
        _held = hold(key, &s)
        if stamp is not None:
            with_tags = self.stamp_of((), stamp, &room)
        return fc_cache_touch(&self.c, s, until, longer(until, stale), with_tags, ns) > 0

    def claim(self, key, lease, *, now=None) -> bool:
        """Whether the caller should bring a new value for key: True for one process when it is absent or stale, who has
        ``lease`` seconds to set it; False while it is fresh or somebody's lease runs. True too when a stopped process holds the
        shard's lock: better twice than never."""
        cdef fc_slice s
        cdef uint64_t ns = clock(now)
        if lease is None:
            raise ValueError("a lease ends; give seconds")
        _held = hold(key, &s)
        cdef int result = fc_cache_claim(&self.c, s, after(ns, lease, "lease"), ns)
        if result == FC_CACHE_EBIG:
            fail(result, "claim")
        return result != 0

    def writer(self, key, ttl=None, tags=(), *, size=0, stale=0, flags=0, meta=b"", stamp=None, now=None) -> Writer:
        """Stores a value that comes in pieces: ``with cache.writer(key) as w: w.write(piece)``. Visible from the end of the
        block on, or never when it is left by an exception. ``size`` is a guess of the value's length. The time to live counts from
        now on."""
        cdef Writer made = Writer.__new__(Writer)
        cdef fc_cache_new n
        cdef fc_cache_stamp room
        cdef uint64_t ns = clock(now)
        made.key = bytes(memoryview(key))
        made.cache = self
        _meta = hold(meta, &n.meta)
        n.key = fc_slice(<const char *>made.key, len(made.key))
        n.value = fc_slice(NULL, size)
        n.flags = flags
        n.fresh_until = after(ns, ttl, "ttl")
        n.keep_until = longer(n.fresh_until, stale)
        n.stamp = self.stamp_of(tags, stamp, &room)
        cdef int error = fc_cache_put_begin(&self.c, &made.put, &n, ns)
        if error == FC_CACHE_EBIG or error == FC_CACHE_ETAGS:
            fail(error, "value of %d bytes" % size)
        made.state = OPEN if error == 0 else REFUSED
        return made

    def stamp(self, tags=()) -> bytes:
        """What set() needs to know that these tags, and the cache as a whole, were not invalidated since now. Take it before
        reading the data that will be cached."""
        cdef fc_cache_stamp room
        fc_cache_stamp_now(&self.c, &room)
        self.stamp_of(tags, None, &room)
        return PyBytes_FromStringAndSize(<const char *>&room.epoch, 8) + PyBytes_FromStringAndSize(
            <const char *>room.tags, 8 * room.len
        )

    def invalidate_tag(self, tag, *, soft=False) -> None:
        """No entry with this tag that is in the cache now is found any more; with soft they are stale. Takes the same short time
        however many they are, and never waits. Another tag in the same slot goes with it."""
        cdef fc_slice s
        _held = hold_tag(tag, &s)
        fc_cache_invalidate(&self.c, s, soft)

    def clear(self) -> None:
        """Nothing that is in the cache now is found any more. Takes the same short time however much it is, and never waits; the
        memory is free for the next writers."""
        fc_cache_clear(&self.c)

    def expire(self, *, now=None) -> int:
        """Frees the entries whose time is over or whose tags were invalidated, and what dead processes left; how many entries.
        Eviction does the same as it comes by, so this is for exact figures."""
        cdef uint64_t ns = clock(now), freed
        with nogil:
            freed = fc_cache_expire(&self.c, ns)
        return freed

    def release(self, pid: int) -> None:
        """Frees what the dead process ``pid`` held: for gunicorn's child_exit, or whoever reaps the workers. Others would
        find it dead by themselves when they meet it."""
        fc_cache_release(&self.c, pid)

    def stats(self):
        """Figures of all processes together."""
        cdef fc_cache_stats s
        fc_cache_stats_get(&self.c, &s)
        return Stats(
            s.hits, s.misses, s.stored, s.evicted, s.removed, s.repairs, s.entries, s.bytes, s.pending, s.capacity
        )

    def __contains__(self, key) -> bool:
        cdef fc_slice s
        cdef fc_cache_item item
        _held = hold(key, &s)
        return fc_cache_find(&self.c, s, fc_monotonic_ns(), &item) == FC_CACHE_FRESH

    def __len__(self) -> int:
        """Entries that take room: expired and invalidated ones too, until expire() or a writer comes by."""
        cdef fc_cache_stats s
        fc_cache_stats_get(&self.c, &s)
        return s.entries

    def __repr__(self) -> str:
        return f"<fastcore.sharedcache.SharedCache {len(self)} entries, capacity {self.capacity}>"


@cython.final
@cython.no_gc_clear  # gives its blocks back when it goes
cdef class Writer:
    """A value on its way into the cache, in pieces. Made by SharedCache.writer()."""

    def __init__(self, *args, **kwargs):
        raise TypeError("SharedCache.writer() makes these")

    def __dealloc__(self):
        if self.state == OPEN:
            fc_cache_put_abort(&self.cache.c, &self.put)

    def write(self, data) -> bool:
        """Appends; whether the value can still be stored. False: no room, longer than item_max, or a lock not to be had."""
        cdef fc_slice s
        cdef int error
        if self.state == CLOSED:
            raise ValueError("the writer is closed")
        _held = hold(data, &s)
        if self.state == OPEN:
            error = fc_cache_put_write(&self.cache.c, &self.put, s.p, s.n, fc_monotonic_ns())
            if error:
                fc_cache_put_abort(&self.cache.c, &self.put)
                self.state = REFUSED
        return self.state == OPEN

    def commit(self) -> bool:
        """Makes the value visible in place of any other; whether it is."""
        cdef int state = self.state
        if state == CLOSED:
            raise ValueError("the writer is closed")
        self.state = CLOSED
        return state == OPEN and fc_cache_put_commit(&self.cache.c, &self.put, fc_monotonic_ns()) > 0

    def abort(self) -> None:
        """Gives up; what was there before stays. Does nothing to a closed one."""
        if self.state == OPEN:
            fc_cache_put_abort(&self.cache.c, &self.put)
        self.state = CLOSED

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback, /) -> None:
        if kind is not None:
            self.abort()
        elif self.state != CLOSED:
            self.commit()
