"""Rate limits by GCRA, one 64-bit word for each key, exact over all processes when the table lies in a shared region.

The rules and what they promise are in cext/include/fc/gcra.h (the decision) and fc/limiter.h (the table); this is their
face: keys of Python, seconds, and answers that are made lazily.
"""

import os
from collections import namedtuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_FromDouble
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

from fastcore.concurrency import AdaptiveLimiter, ConcurrencyLimiter, LimitExceeded
from fastcore.limiter_quota import Quota
from fastcore.shm import RegionError

__all__ = [
    "CAPACITY",
    "AdaptiveLimiter",
    "Answer",
    "Answers",
    "ConcurrencyLimiter",
    "Counts",
    "Gcra",
    "LimitExceeded",
    "Quota",
    "RateLimiter",
    "RateLimits",
]

cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE
    void *MAP_FAILED
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)

# Live keys a table has room for: 2 MB of address space, of which untouched pages cost nothing.
CAPACITY = 65536

cdef enum:
    LIMITS_MAX = 16  # limits on one request: an array on the stack, and nobody has shown more than five
    INLINE = 512     # bytes of an encoded tuple that need no allocation

cdef uint64_t OWN_CLOCK = <uint64_t>-1
cdef double NS = 1e9
cdef object INFINITE = float("inf")

Counts = namedtuple("Counts", ["capacity", "live", "full", "reclaimed"])
Counts.__doc__ = """`capacity` keys asked for; `live` keys that have used something; of this process: requests that
found the table `full`, entries of other keys it `reclaimed`."""

cdef dict WHEN_FULL = {"open": FC_LIMITER_FULL_OPEN, "closed": FC_LIMITER_FULL_CLOSED}


@cython.final
@cython.freelist(64)
@cython.collection_type("sequence")
cdef class Answer:
    """`(allowed, limit, remaining, retry_after, reset_after)`, the five values of redis-cell. True when allowed.

    allowed: bool. limit: the most units at once. remaining: units that would be admitted now, after this request.
    retry_after: seconds until this request would be admitted, 0.0 when it was, inf when its cost is above the limit.
    reset_after: seconds until nothing is used any more.

    It compares and unpacks as a tuple does; unlike one it is false when the request was refused. `enforced` is False
    when no state could be kept or read (the table was full, or Redis was gone), so that a policy decided.
    """

    def __init__(self):
        raise TypeError("answers come from a limiter")

    @property
    def allowed(self):
        return self.a.allowed

    @property
    def limit(self):
        return self.a.limit

    @property
    def remaining(self):
        return self.a.remaining

    @property
    def retry_after(self):
        return seconds(self.a.retry_ns)

    @property
    def reset_after(self):
        return seconds(self.a.reset_ns)

    def __bool__(self):
        return self.a.allowed

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 0:
            return self.a.allowed
        return as_tuple(self)[index]

    def __iter__(self):
        return iter(as_tuple(self))

    def __eq__(self, other):
        if isinstance(other, Answer):
            return as_tuple(self) == as_tuple(<Answer>other)
        if isinstance(other, tuple):
            return as_tuple(self) == other
        return NotImplemented

    def __hash__(self):
        return hash(as_tuple(self))

    def __repr__(self):
        return (
            f"Answer(allowed={self.allowed}, limit={self.limit}, remaining={self.remaining}, "
            f"retry_after={self.retry_after!r}, reset_after={self.reset_after!r})"
        )


cdef tuple as_tuple(Answer answer):
    return (answer.allowed, answer.a.limit, answer.a.remaining, seconds(answer.a.retry_ns), seconds(answer.a.reset_ns))


cdef inline object seconds(uint64_t ns):
    if ns >> 53 == 0:
        return PyFloat_FromDouble(ns / NS)
    return INFINITE if ns == FC_GCRA_NEVER else <object>ns / 1_000_000_000  # a double would be rounded twice


cdef inline Answer answer_of(const fc_gcra_answer *a, bint enforced):
    cdef Answer answer = Answer.__new__(Answer)
    answer.a = a[0]
    answer.enforced = enforced
    return answer


cdef inline uint64_t cost_of(object cost) except? 0:
    """An int from 0; more than 64 bits is as good as the largest."""
    cdef int overflow = 0
    cdef long long value
    if not isinstance(cost, int):
        raise TypeError(f"cost is an int, not {type(cost).__name__}")
    value = PyLong_AsLongLongAndOverflow(cost, &overflow)
    if value < 0 and overflow <= 0:
        raise ValueError(f"cost is at least 0, not {cost}")
    return <uint64_t>-1 if overflow else value


cdef uint64_t time_of(object now) except? 0:
    """Seconds as ns."""
    cdef double value
    if isinstance(now, float):
        value = now
        if not 0 <= value * NS < <double>FC_GCRA_TIME_MAX:
            raise ValueError(f"now is from 0 to {FC_GCRA_TIME_MAX // 10**9} seconds, not {now!r}")
        return <uint64_t>(value * NS + 0.5)
    if not isinstance(now, int):
        raise TypeError(f"now is a number of seconds, not {type(now).__name__}")
    if not 0 <= now < FC_GCRA_TIME_MAX // 10**9:
        raise ValueError(f"now is from 0 to {FC_GCRA_TIME_MAX // 10**9} seconds, not {now}")
    return now * 10**9


cdef int fill(fc_gcra *gcra, quota) except -1:
    rate, period_ns = quota.whole()
    too_long = f"{quota}: the period and the time of the whole burst are at most {FC_GCRA_TIME_MAX} ns (146 years)"
    if not (0 < period_ns <= FC_GCRA_TIME_MAX and rate < 1 << 64 and quota.burst < 1 << 64):
        raise ValueError(too_long)
    if not fc_gcra_init(gcra, rate, period_ns, quota.burst):
        raise ValueError(too_long)
    return 0


cdef int check_times(uint64_t tat_ns, uint64_t now_ns) except -1:
    if now_ns >= FC_GCRA_TIME_MAX or tat_ns >= 2 * FC_GCRA_TIME_MAX:
        raise ValueError(f"now_ns {now_ns} or tat_ns {tat_ns} is out of range")
    return 0


@cython.final
cdef class Gcra:
    """The decision alone, for states that are kept elsewhere: pure, times in nanoseconds."""

    cdef fc_gcra gcra
    cdef readonly object quota

    def __cinit__(self, quota):
        fill(&self.gcra, quota)
        self.quota = quota

    @property
    def span_ns(self):
        """The time of the whole burst: how far ahead of now a state may be."""
        return self.gcra.span

    def decide(self, uint64_t tat_ns, uint64_t now_ns, cost=1):
        """`(new_tat_ns, Answer)` for a request at `now_ns` in the state `tat_ns` (0: none yet).

        The state is the time at which nothing is used any more; it is unchanged when there is nothing to store.
        now_ns is below 2**62, tat_ns below 2**63.
        """
        cdef fc_gcra_answer a
        check_times(tat_ns, now_ns)
        cdef uint64_t tat = fc_gcra_decide(&self.gcra, tat_ns, now_ns, cost_of(cost), &a)
        return tat, answer_of(&a, True)

    def peek(self, uint64_t tat_ns, uint64_t now_ns, cost=1):
        """The Answer with `allowed` and `retry_after` as `decide` has them, and the rest without charging."""
        cdef fc_gcra_answer a
        check_times(tat_ns, now_ns)
        fc_gcra_peek(&self.gcra, tat_ns, now_ns, cost_of(cost), &a)
        return answer_of(&a, True)

    def by_policy(self, bint allowed, double retry_after=0.0):
        """An Answer that no state made: all of the limit is there, or nothing until `retry_after` seconds from now."""
        cdef fc_gcra_answer a
        if not 0 <= retry_after < 1e9:
            raise ValueError(f"retry_after is 0 to a billion seconds, not {retry_after}")
        a.allowed = allowed
        a.limit = self.gcra.burst
        a.remaining = a.limit if allowed else 0
        a.retry_ns = a.reset_ns = 0 if allowed else <uint64_t>(retry_after * NS)
        return answer_of(&a, False)


cdef struct Part:
    const char *p
    Py_ssize_t n
    int kind         # 0 str, 1 bytes, 2 int; of RateLimiter.keys
    long long small


cdef object look(object o, Part *part):
    """The bytes of a simple key. Returns what they belong to."""
    cdef int overflow = 0
    if isinstance(o, str):
        part.kind = 0
        part.p = PyUnicode_AsUTF8AndSize(o, &part.n)
        return o
    if isinstance(o, bytes):
        part.kind = 1
        part.p = PyBytes_AS_STRING(o)
        part.n = PyBytes_GET_SIZE(o)
        return o
    if not isinstance(o, int):
        raise TypeError(f"a key is a str, bytes, an int or a tuple of these, not {type(o).__name__}")
    part.kind = 2
    part.small = PyLong_AsLongLongAndOverflow(o, &overflow)
    if not overflow:
        part.p = <const char *>&part.small
        part.n = sizeof(part.small)
        return o
    big = int.to_bytes(o, o.bit_length() // 8 + 1, "little", signed=True)
    part.p = PyBytes_AS_STRING(big)
    part.n = PyBytes_GET_SIZE(big)
    return big


@cython.final
@cython.no_gc_clear  # unpins its region when it goes, which a collected cycle would have taken away before
cdef class RateLimiter:
    """`rate` units every `period` seconds for each key, at most `burst` at once (default: the rate).

    Keys are str, bytes, ints and tuples of these, all kept apart: "1", b"1", 1 and ("1",) are four keys (True is 1).
    Only a 64-bit hash of a key is stored, under a random key.

    Without `region` the limiter belongs to this process. With one, every process that makes a limiter of the same
    `section` and `name` over that region shares its state, and no limit is exceeded whatever they do or whenever they
    are killed. Limiters in one section with different quotas are apart; two of the same quota are apart if their names
    differ. The state is a time, so it stays right when the quota of a `name` changes; without a name it then starts
    anew.

    capacity: live keys there is room for, the same for all who share a section; 32 bytes each. when_full: "open" or
    "closed", what becomes of a new key that finds no room. Keys that have used nothing need none.

    Raises ValueError for what is out of range, RegionError for a section of another capacity or layout.
    """

    def __cinit__(
        self,
        rate,
        period=1.0,
        burst=None,
        Region region=None,
        *,
        str name not None="",
        str section not None="limiter",
        uint64_t capacity=CAPACITY,
        str when_full not None="open",
    ):
        cdef fc_hash_key random
        cdef bytes seed = os.urandom(16), scope
        if burst is not None and not burst and not isinstance(burst, bool):
            raise ValueError(f"burst is at least 1, not {burst!r}")
        self.quota = Quota(rate, period, 0 if burst is None else burst)
        self.name = name
        fill(&self.given, self.quota)
        self.own = self.given
        self.own.back_ns = <uint64_t>-1
        self.size = fc_limiter_size(capacity)
        if self.size == 0:
            raise ValueError(f"capacity is 1 to {FC_LIMITER_KEYS_MAX}, not {capacity}")
        if when_full not in WHEN_FULL:
            raise ValueError(f"when_full is 'open' or 'closed', not {when_full!r}")
        if region is None:
            self.base = <char *>mmap(
                NULL, self.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
            )
            if self.base == <char *>MAP_FAILED:
                self.base = NULL
                raise MemoryError
        else:
            self.base = region.address(section, self.size, 0)
            self.region = region
        memcpy(&random, PyBytes_AS_STRING(seed), 16)
        cdef int error = fc_limiter_open(&self.table, self.base, self.size, capacity, &random, WHEN_FULL[when_full])
        if error == FC_LIMITER_EBUSY:
            raise TimeoutError(f"section {section!r}: another live process holds the lock of the limiter table")
        if error:
            raise RegionError(f"section {section!r}: a limiter table of another layout or capacity, or something else")
        scope = (name and f"name {name}" or f"quota {self.own.interval} {self.own.shift} {self.own.burst}").encode()
        for kind in range(4):
            for half in range(2):
                part = bytes([kind, half]) + scope
                word = fc_hash(&self.table.key, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
                if half == 0:
                    self.keys[kind].k0 = word
                else:
                    self.keys[kind].k1 = word

    def __dealloc__(self):
        if self.region is not None:
            self.region.unpin()
        elif self.base != NULL:
            munmap(self.base, self.size)

    @classmethod
    def parse(cls, str text not None, **options):
        """A limiter for a quota as `Quota.parse` reads it; `options` as for the class."""
        quota = Quota.parse(text)
        return cls(quota.rate, quota.period, quota.burst, **options)

    cdef uint64_t print_of(self, object key) except 0:
        cdef Part part
        if isinstance(key, tuple):
            return print_of_tuple(&self.keys[3], key)
        owner = look(key, &part)
        return fc_hash(&self.keys[part.kind], part.p, part.n) or 1

    cdef bint check(self, uint64_t key, uint64_t cost, uint64_t now_ns, fc_gcra_answer *answer) noexcept nogil:
        if now_ns == OWN_CLOCK:
            return fc_limiter_hit(&self.table, &self.own, key, fc_monotonic_ns(), cost, answer)
        return fc_limiter_hit(&self.table, &self.given, key, now_ns, cost, answer)

    def hit(self, key, cost=1, now=None):
        """Charges `cost` units to the key if they are admitted: an Answer, which is true when they are.

        cost: an int from 0 (always allowed, charges nothing); above the burst it never is. now: seconds of a clock of
        the caller's, from 0; None: the machine's monotonic clock. Use one clock for a table; if it steps back by more
        than a minute, a key that is still charged for later counts as used up at the new time.
        """
        cdef fc_gcra_answer a
        cdef bint enforced = self.check(self.print_of(key), cost_of(cost), OWN_CLOCK if now is None else time_of(now), &a)
        return answer_of(&a, enforced)

    def peek(self, key, cost=1, now=None):
        """What `hit` would say about `allowed` and `retry_after`, charging nothing; the rest is as it is now."""
        cdef fc_gcra_answer a
        cdef uint64_t fingerprint = self.print_of(key), units = cost_of(cost)
        if now is None:
            fc_limiter_peek(&self.table, &self.own, fingerprint, fc_monotonic_ns(), units, &a)
        else:
            fc_limiter_peek(&self.table, &self.given, fingerprint, time_of(now), units, &a)
        return answer_of(&a, True)

    def test(self, key, cost=1, now=None):
        """Would `hit` be allowed? Charges nothing."""
        return self.peek(key, cost, now).allowed

    def reset(self, key, now=None):
        """Forgets what the key has used. True if there was something."""
        return fc_limiter_reset(&self.table, self.print_of(key), fc_monotonic_ns() if now is None else time_of(now))

    def counts(self, now=None):
        """Counts of the whole table, which is read through: a millisecond or so for each 10 MB."""
        cdef fc_limiter_counts found
        fc_limiter_count(&self.table, fc_monotonic_ns() if now is None else time_of(now), &found)
        return Counts(self.table.keys, found.live, self.table.full, self.table.reclaimed)

    def __repr__(self):
        return f"<RateLimiter {self.name or 'without a name'}: {self.quota}>"


cdef uint64_t print_of_tuple(const fc_hash_key *key, tuple parts) except 0:
    """Each part is preceded by its kind and length, so ("a", "bc") and ("ab", "c") differ."""
    cdef char[INLINE] inline_text
    cdef char *text = inline_text
    cdef size_t used = 0, room = INLINE, needed
    cdef Part part
    cdef uint64_t head
    cdef char *larger
    text[0] = 0
    if not parts:
        raise ValueError("an empty tuple is no key")
    try:
        for item in parts:
            if isinstance(item, tuple):
                raise TypeError("a key is one tuple of str, bytes and ints, with no other inside")
            owner = look(item, &part)
            needed = used + sizeof(head) + part.n
            if needed > room:
                larger = <char *>PyMem_Malloc(2 * needed)
                if larger == NULL:
                    raise MemoryError
                memcpy(larger, text, used)
                if text != inline_text:
                    PyMem_Free(text)
                text = larger
                room = 2 * needed
            head = <uint64_t>part.n << 2 | <uint64_t>part.kind
            memcpy(text + used, &head, sizeof(head))
            memcpy(text + used + sizeof(head), part.p, part.n)
            used = needed
        return fc_hash(key, text, used) or 1
    finally:
        if text != inline_text:
            PyMem_Free(text)


@cython.final
@cython.collection_type("sequence")
cdef class Answers:
    """The answers of several limits to one request, in their order. True when all allowed it, and then all charged
    it."""

    cdef readonly tuple answers

    def __cinit__(self, found):
        self.answers = tuple(found)
        if not self.answers or not all([isinstance(answer, Answer) for answer in self.answers]):
            raise TypeError("answers are made of at least one Answer")

    @property
    def allowed(self):
        cdef Answer answer
        for answer in self.answers:
            if not answer.a.allowed:
                return False
        return True

    @property
    def worst(self):
        """Of the refusing ones the one to wait for longest; if all allowed it, the one with the least remaining."""
        cdef Answer answer, worst = self.answers[0]
        for answer in self.answers:
            if answer.a.allowed != worst.a.allowed:
                if not answer.a.allowed:
                    worst = answer
            elif answer.a.retry_ns > worst.a.retry_ns:
                worst = answer
            elif answer.a.allowed and answer.a.remaining < worst.a.remaining:
                worst = answer
        return worst

    def __bool__(self):
        return self.allowed

    def __len__(self):
        return len(self.answers)

    def __getitem__(self, index):
        return self.answers[index]

    def __iter__(self):
        return iter(self.answers)

    def __repr__(self):
        return f"Answers{self.answers!r}"


@cython.final
cdef class RateLimits:
    """Several limits on the same requests, all or nothing: 10 a second and 1,000 an hour, say.

    A request is charged to all limits or to none. Between processes: no limit is ever exceeded; while one process
    charges them one after the other, another may see a charge that is about to be given back, and be refused for it; a
    process killed in that microsecond leaves the first ones charged.

    Takes 1 to 16 limiters, no two of which may be the same limit.
    """

    cdef readonly tuple limiters

    def __cinit__(self, *limiters):
        cdef RateLimiter one, other
        if not 1 <= len(limiters) <= LIMITS_MAX:
            raise ValueError(f"{len(limiters)} limiters; there can be 1 to {LIMITS_MAX}")
        for i, limiter in enumerate(limiters):
            if not isinstance(limiter, RateLimiter):
                raise TypeError(f"a limit is a RateLimiter, not {type(limiter).__name__}")
            one = limiter
            for previous in limiters[:i]:
                other = previous
                if other.table.entries == one.table.entries and other.keys[0].k0 == one.keys[0].k0:
                    raise ValueError(f"{other!r} and {one!r} share their state; give them different names")
        self.limiters = limiters

    @classmethod
    def parse(cls, str text not None, **options):
        """Limiters for quotas with ';' between them, as `Quota.parse_all` reads them; `options` as for RateLimiter."""
        name = options.pop("name", "")
        quotas = Quota.parse_all(text)
        return cls(*(
            RateLimiter(q.rate, q.period, q.burst, name=name and f"{name} {i}", **options) for i, q in enumerate(quotas)
        ))

    def hit(self, key, cost=1, now=None):
        """Charges `cost` units to the key in every limit, or in none: Answers, true when it did."""
        cdef fc_limiter_limit[LIMITS_MAX] limits
        cdef uint64_t units = cost_of(cost)
        cdef uint32_t n = self.prepare(limits, key, units, now is not None)
        fc_limiter_hit_all(limits, n, fc_monotonic_ns() if now is None else time_of(now))
        return answers_of(limits, n)

    def peek(self, key, cost=1, now=None):
        """What `hit` would say about `allowed` and `retry_after`, charging nothing."""
        return Answers([limiter.peek(key, cost, now) for limiter in self.limiters])

    def test(self, key, cost=1, now=None):
        """Would `hit` be allowed? Charges nothing."""
        return self.peek(key, cost, now).allowed

    def reset(self, key, now=None):
        """Forgets what the key has used in every limit. True if there was something."""
        return any([limiter.reset(key, now) for limiter in self.limiters])

    cdef uint32_t prepare(self, fc_limiter_limit *limits, object key, uint64_t cost, bint given) except 0:
        cdef RateLimiter limiter
        cdef uint32_t n = 0
        for limiter in self.limiters:
            limits[n].limiter = &limiter.table
            limits[n].quota = &limiter.given if given else &limiter.own
            limits[n].fingerprint = limiter.print_of(key)
            limits[n].cost = cost
            n += 1
        return n


cdef Answers answers_of(const fc_limiter_limit *limits, uint32_t n):
    return Answers([answer_of(&limits[i].answer, not limits[i].full) for i in range(n)])
