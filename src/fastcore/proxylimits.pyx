"""Limits on the requests of a proxy, exact over all processes that share a region.

    limits = Limits(region, [Limit("per_ip", rate=100, period=60, burst=20, by=("ip",))])
    proxy.set_routes(router, [Route(name="all", upstream=hello, limits=("per_ip",))], limits)

What counts as what, and what a refused request costs, is in cext/include/fc/limit.h. A limit that did not change keeps its
state when it is made anew over the same region (a reload); one whose quota or keys changed starts with nothing used.
"""

import hashlib
import os
import struct
from dataclasses import dataclass

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport PyObject
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastcore.limiter cimport (
    FC_GCRA_TIME_MAX,
    FC_LIMITER_EBUSY,
    FC_LIMITER_FULL_CLOSED,
    FC_LIMITER_FULL_OPEN,
    fc_gcra_answer,
    fc_gcra_init,
    fc_hash,
    fc_limiter_count,
    fc_limiter_counts,
    fc_limiter_open,
    fc_limiter_peek,
    fc_limiter_reset,
    fc_limiter_size,
    fc_limiter_update,
)
from fastcore.metrics cimport Counter, Metrics

from fastcore.limiter_http import Policy, ratelimit_policy
from fastcore.limiter_quota import Quota
from fastcore.shm import RegionError

__all__ = [
    "AT_ONCE_MAX", "CAPACITY", "CAPACITY_MAX", "LIMITS_MAX", "PARTS_MAX", "SHARED_RATE_MAX", "SOURCES", "Limit", "Limits",
    "Question", "QuotaLine",
]

cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()

# Live keys there is room for: 32 bytes each, of which untouched pages cost nothing.
CAPACITY = 65536
CAPACITY_MAX = 524288  # 16 MB of the region's 64
AT_ONCE_MAX = FC_INFLIGHT_WAYS
LIMITS_MAX = FC_LIMITS_MAX
SHARED_RATE_MAX = 1_000_000  # a second: of a limit across machines, whose unit takes whole ns
PARTS_MAX = FC_LIMIT_PARTS_MAX

cdef enum:
    HEAD_BYTES = 128     # of a limiter table, and of one of its buckets, which is for four keys
    KEYS_OF_BUCKET = 4

#: What a limit counts by; those with True take a name, as in "header:X-Api-Key".
SOURCES = {
    "ip": False, "user": False, "route": False, "host": False, "header": True, "query": True, "cookie": True,
}

cdef dict BY = {
    "ip": FC_LIMIT_IP,
    "user": FC_LIMIT_USER,
    "route": FC_LIMIT_ROUTE,
    "host": FC_LIMIT_HOST,
    "header": FC_LIMIT_HEADER,
    "query": FC_LIMIT_QUERY,
    "cookie": FC_LIMIT_COOKIE,
}

cdef dict GONE = {"local": FC_LIMIT_GONE_LOCAL, "admit": FC_LIMIT_GONE_ADMIT, "refuse": FC_LIMIT_GONE_REFUSE}

OUTCOMES = ("admitted", "refused", "dry_run")


@dataclass(frozen=True)
class Limit:
    """`rate` units every `period` seconds, at most `burst` at once (0: the rate), each request `cost` of them; or, with
    `at_once`, so many requests in flight.

    by: what makes a key, see SOURCES; nothing is one key for all. ipv4_prefix, ipv6_prefix: bits of an address that count.
    dry_run: refuse nobody. tells: admitted answers carry the fields, too. when_full: "admit" or "refuse", what becomes of a
    new key when the table has no room.

    shared: counted by all machines together, see QuotaLine. lease: seconds for which units may be handed out at most.
    when_gone: "local" (this machine counts alone), "admit" or "refuse", while nobody can be asked.
    """

    name: str
    rate: float = 0
    period: float = 1.0
    burst: int = 0
    at_once: int = 0
    by: tuple[str, ...] = ()
    ipv4_prefix: int = 32
    ipv6_prefix: int = 64
    cost: int = 1
    dry_run: bool = False
    tells: bool = False
    when_full: str = "admit"
    shared: bool = False
    lease: float = 0.1
    when_gone: str = "local"

    def scope(self):
        """What its state depends on; a limit of requests in flight goes on counting those there are."""
        quota = "at once" if self.at_once else Quota(self.rate, self.period, self.burst).whole() + (self.burst,)
        return repr((self.name, self.by, self.ipv4_prefix, self.ipv6_prefix, quota) + ((self.lease,) if self.shared else ()))

    def share(self):
        """How a shared limit is counted: its quota, and ns that an allowance lasts.

        In any time t the units of a GCRA are at most burst + rate * t. Units handed out may be used `lease` later, so the burst
        is less by those of that time, at most by half. Where the time brings in not one unit, or less than 5 ms are left of it,
        each request asks: 0.
        """
        quota = Quota(self.rate, self.period, self.burst)
        rate, period_ns = quota.whole()
        interval = -(-period_ns // rate)
        units = min(int(self.lease * 1e9) // interval, quota.burst // 2) if self.shared else 0
        if units * interval < 5_000_000 or self.cost > quota.burst - units:
            return quota, 0
        return Quota(self.rate, self.period, quota.burst - units), units * interval

    def shared_name(self):
        """What it is called where machines share it: of what its state depends on, so a changed limit starts anew."""
        return f"{self.name}:{hashlib.sha256(self.scope().encode()).hexdigest()[:16]}"

    def policy(self):
        """Its member of the field RateLimit-Policy."""
        if self.at_once:
            return f'"{self.name}";q={self.at_once};qu="concurrent-requests"'
        return ratelimit_policy([Policy(self.name, self.share()[0])])


cdef uint32_t open_tables(tables *held, Region region, uint64_t capacity, bint shares) except 0:
    """How many sections of the region have been pinned."""
    cdef bytes seed = os.urandom(16)
    cdef fc_hash_key random
    cdef str section = f"limits.{FC_LIMITER_VERSION}"
    cdef uint64_t size = region.find(section)
    cdef char *base
    cdef int error = 0
    if not 0 < capacity <= CAPACITY_MAX:
        raise ValueError(f"capacity is 1 to {CAPACITY_MAX}, not {capacity}")
    if size:
        capacity = (size - HEAD_BYTES) // HEAD_BYTES * KEYS_OF_BUCKET
    size = fc_limiter_size(capacity)
    memcpy(&random, PyBytes_AS_STRING(seed), sizeof(random))
    base = region.address(section, size, 0)
    error = fc_limiter_open(&held.rates[0], base, size, capacity, &random, FC_LIMITER_FULL_OPEN)
    if error == 0:
        error = fc_limiter_open(&held.rates[1], base, size, capacity, &random, FC_LIMITER_FULL_CLOSED)
    if error == 0 and shares:
        base = region.address(f"limits.allowances.{FC_LIMITER_VERSION}", size, 0)
        error = fc_limiter_open(&held.allowances, base, size, capacity, &random, FC_LIMITER_FULL_OPEN)
    if error == FC_LIMITER_EBUSY:
        raise TimeoutError("another live process holds the lock of the limits' table")
    if error:
        raise RegionError(f"section {section!r} is no limits' table of {size} bytes")
    return 1 + shares


cdef void _wake_line(fc_quota_line *line) noexcept with gil:
    cdef QuotaLine owner = <QuotaLine>(<owned_line *>line).owner
    try:
        owner.wake()
    except BaseException:
        owner.reactor.report(owner)


@cython.final
cdef class Question:
    """A key of a shared limit that requests wait for. Answer it with grant or refuse.

    name: of limit, keys and quota, the same on all machines; key: the values; cost: of a request, of which `waiting` wait.
    interval, span: ns of a unit and of the whole burst; lease: ns. debt: ns that the key had used when last heard of."""

    def grant(self, uint64_t units, uint64_t until, uint64_t debt):
        """Units to use until then (ns, of time.monotonic_ns), and what the key has used now. False: there is no room."""
        cdef uint64_t now = fc_monotonic_ns()
        self.learn(now, debt)
        return fc_allowance_grant(&self.line.held.allowances, self.fingerprint, now, units, until)

    def refuse(self, uint64_t until, uint64_t debt):
        """Nothing until then."""
        cdef uint64_t now = fc_monotonic_ns()
        self.learn(now, debt)
        fc_allowance_refuse(&self.line.held.allowances, self.fingerprint, now, until)

    cdef void learn(self, uint64_t now, uint64_t debt) noexcept:
        cdef uint64_t tat = now + debt
        fc_limiter_update(&self.line.held.rates[1 if self.full_refuses else 0], self.fingerprint, now, _later, &tat)


cdef uint64_t _later(uint64_t word, void *tat) noexcept nogil:
    return word if word > (<uint64_t *>tat)[0] else (<uint64_t *>tat)[0]


@cython.final
@cython.no_gc_clear  # it points at what waits
cdef class Batch:
    """Requests that were taken from the line together. `questions` has each key once. Call done when they are answered."""

    cdef fc_quota_wait *waits
    cdef readonly list questions
    cdef QuotaLine line  # must not go before

    def __dealloc__(self):
        self.done()

    cpdef done(self):
        """Those who waited look at what has come."""
        cdef fc_quota_wait *wait = self.waits
        cdef fc_quota_wait *after
        self.waits = NULL
        while wait is not NULL:
            after = wait.next
            fc_quota_settle(wait)
            wait = after


@cython.final
@cython.no_gc_clear  # C points at it
cdef class QuotaLine:
    """Requests of one proxy that wait for limits which machines share, over the tables of its Limits.

    wake: called without arguments, on the reactor, when the line begins; then `take`. waiting: requests that may wait at one
    time, more are answered 503. retry: seconds after which who was refused while nobody can be asked may try again.
    capacity: as for Limits."""

    def __init__(self, Reactor reactor not None, Region region not None, wake, *, waiting=4096, double retry=1.0,
                 uint64_t capacity=CAPACITY):
        cdef char *base
        if self.owned is not NULL:
            raise RuntimeError("already initialised")
        if not 0 < waiting < 1 << 31:
            raise ValueError(f"waiting is 1 to {(1 << 31) - 1}, not {waiting}")
        self.region, self.reactor, self.wake = region, reactor, wake
        self.pinned = open_tables(&self.held, region, capacity, True)
        self.owned = <owned_line *>calloc(1, sizeof(owned_line))
        if self.owned is NULL:
            raise MemoryError
        base = region.address("limits.epoch", sizeof(uint64_t), 0)
        self.pinned += 1
        fc_quota_line_init(&self.owned.line, reactor.loop, waiting, <uint64_t *>base)
        self.owned.line.retry_ns = <uint64_t>(retry * 1e9)
        self.owned.owner = <PyObject *>self
        self.owned.line.wake = _wake_line

    def __dealloc__(self):
        # While requests wait the loop or they still point at it: a few bytes are left behind, at the end of a process.
        if self.owned is not NULL and not self.owned.line.waiting and not self.owned.line.posted:
            free(self.owned)
        while self.pinned:
            self.pinned -= 1
            self.region.unpin()

    def take(self):
        """All who wait, as a Batch; it may be of nobody."""
        cdef Batch batch = Batch.__new__(Batch)
        cdef fc_quota_wait *wait = fc_quota_take(&self.owned.line)
        cdef Question question
        cdef dict found = {}
        cdef uint32_t i
        batch.line, batch.waits = self, wait
        while wait is not NULL:
            for i in range(wait.n if wait.owner is not NULL else 0):
                at = (wait.asks[i].fingerprint, wait.asks[i].cost)
                question = found.get(at)
                if question is None:
                    found[at] = question = self._question(wait, &wait.asks[i])
                question.waiting += 1
            wait = wait.next
        batch.questions = list(found.values())
        return batch

    cdef Question _question(self, fc_quota_wait *wait, fc_quota_ask *ask):
        cdef Question question = Question.__new__(Question)
        cdef fc_gcra_answer known
        fc_limiter_peek(&self.held.rates[0], &ask.quota, ask.fingerprint, fc_monotonic_ns(), 1, &known)
        question.line, question.fingerprint, question.full_refuses = self, ask.fingerprint, ask.full_refuses
        question.name = wait.text.p[ask.name_at:ask.name_at + ask.name_len]
        question.key = wait.text.p[ask.text_at:ask.text_at + ask.text_len] if ask.text_len else b""
        question.cost, question.lease, question.debt = ask.cost, ask.lease_ns, known.reset_ns
        question.interval, question.span, question.burst = ask.quota.interval, ask.quota.span, ask.quota.burst
        return question

    @property
    def gone(self):
        """Nobody can be asked, as far as any process knows: each limit's own policy decides."""
        return bool(fc_quota_gone(&self.owned.line))

    @property
    def epoch(self):
        """It changes whenever `gone` does. What was asked in another one must not be granted."""
        return fc_quota_epoch(&self.owned.line)

    def lose(self, uint64_t epoch):
        """Nobody could be asked in this epoch: gone, for all processes. False: it had ended already."""
        return not epoch & 1 and fc_quota_turn(&self.owned.line, epoch)

    def find(self, uint64_t epoch):
        """Somebody answers again, for all processes."""
        return epoch & 1 and fc_quota_turn(&self.owned.line, epoch)

    @property
    def waiting(self):
        """Requests in line, or taken and not done."""
        return self.owned.line.waiting


@cython.final
@cython.no_gc_clear  # C may point at what it keeps
cdef class Limits:
    """A set of limits over sections of a region that all processes share.

    capacity: live keys there is room for. A region keeps the capacity it began with; `capacity` says which that is.
    With metrics, requests are counted under `prefix`_limit_requests{limit, outcome}. Make it in the process that serves.

    ValueError for limits out of range, RegionError when the region has no room or holds tables of another layout.
    """

    def __init__(self, Region region not None, specs, *, uint64_t capacity=CAPACITY, Metrics metrics=None, str prefix=""):
        self.region = region
        self.specs = tuple(specs)
        self.numbers, self.routes, self.kept = {}, {}, []
        self.shares = any(spec.shared for spec in self.specs)
        self.pinned = open_tables(&self.held, region, capacity, self.shares)
        self._open_places()
        self.limits = <fc_limit *>PyMem_Calloc(len(self.specs) + 1, sizeof(fc_limit))
        if self.limits is NULL:
            raise MemoryError
        for number, spec in enumerate(self.specs):
            if self.numbers.setdefault(spec.name, number) != number:
                raise ValueError(f"two limits are called {spec.name!r}")
            self._fill(&self.limits[number], spec)
            if metrics is not None:
                self._count(&self.limits[number], spec.name, metrics, prefix)

    def __dealloc__(self):
        if self.routes is not None:
            for address in self.routes.values():
                PyMem_Free(<void *><size_t>address)
        PyMem_Free(self.limits)
        while self.pinned:
            self.pinned -= 1
            self.region.unpin()

    cdef int _open_places(self) except -1:
        cdef char *base = self.region.address(f"limits.inflight.{FC_INFLIGHT_VERSION}", fc_inflight_size(), 0)
        cdef int error
        self.pinned += 1
        error = fc_inflight_open(&self.places, base, os.getpid())
        if error == FC_INFLIGHT_EBUSY:
            raise TimeoutError("another live process holds the lock of the table of requests in flight")
        if error:
            raise RegionError("the table of requests in flight has another layout")
        return 0

    cdef fc_slice slice(self, str text):
        cdef bytes data = text.encode("ascii")
        cdef fc_slice s
        self.kept.append(data)
        s.p = PyBytes_AS_STRING(data)
        s.n = PyBytes_GET_SIZE(data)
        return s

    cdef int _fill(self, fc_limit *limit, object spec) except -1:
        cdef bytes scope = spec.scope().encode()
        cdef uint32_t i
        if len(spec.name) > FC_LIMIT_NAME_MAX or not spec.name.replace("_", "a").replace("-", "a").replace(".", "a").isalnum():
            raise ValueError(f"{spec.name!r} is no name of a limit: 1 to {FC_LIMIT_NAME_MAX} of A-Z a-z 0-9 _ - .")
        if len(spec.by) > FC_LIMIT_PARTS_MAX:
            raise ValueError(f"{spec.name}: a key has at most {FC_LIMIT_PARTS_MAX} parts")
        if not (0 <= spec.ipv4_prefix <= 32 and 0 <= spec.ipv6_prefix <= 128):
            raise ValueError(f"{spec.name}: a prefix is 0 to 32 bits for IPv4 and 0 to 128 for IPv6")
        limit.name = self.slice(spec.name)
        limit.policy = self.slice(spec.policy())
        if limit.policy.n > FC_LIMIT_POLICY_MAX:
            raise ValueError(f"{spec.name}: its policy is longer than {FC_LIMIT_POLICY_MAX} bytes")
        limit.key = &self.held.rates[0].key
        limit.scope = fc_hash(limit.key, PyBytes_AS_STRING(scope), PyBytes_GET_SIZE(scope))
        for i, source in enumerate(spec.by):
            kind, _, name = source.partition(":")
            if kind not in SOURCES or SOURCES[kind] != bool(name):
                raise ValueError(f"{spec.name}: {source!r} is nothing to count by: {', '.join(SOURCES)}")
            limit.parts[i].by = <fc_limit_by><int>BY[kind]
            limit.parts[i].name = self.slice(name)
            limit.needs_user |= kind == "user"
        limit.parts_len = len(spec.by)
        limit.ipv4_bits, limit.ipv6_bits = spec.ipv4_prefix, spec.ipv6_prefix
        limit.dry_run, limit.tells = spec.dry_run, spec.tells
        limit.full_refuses = spec.when_full == "refuse"
        if spec.at_once:
            if not 0 < spec.at_once <= FC_INFLIGHT_WAYS:
                raise ValueError(f"{spec.name}: at_once is 1 to {FC_INFLIGHT_WAYS}")
            limit.at_once = spec.at_once
            limit.places = &self.places
            return 0
        quota, lease = spec.share()
        rate, period_ns = quota.whole()
        if spec.shared:
            if rate * 1_000_000_000 > SHARED_RATE_MAX * period_ns:
                raise ValueError(f"{spec.name}: a limit across machines has a rate of at most {SHARED_RATE_MAX} a second")
            limit.allowances = &self.held.allowances
            limit.lease_ns = lease
            limit.shared_name = self.slice(spec.shared_name())
            limit.when_gone = <fc_limit_gone><int>GONE[spec.when_gone]
        if not 0 < spec.cost <= quota.burst:
            raise ValueError(f"{spec.name}: a request of cost {spec.cost} would never fit into a burst of {quota.burst}")
        if not (period_ns <= FC_GCRA_TIME_MAX and rate < 1 << 64 and quota.burst < 1 << 64
                and fc_gcra_init(&limit.quota, rate, period_ns, quota.burst)):
            raise ValueError(f"{spec.name}: the period and the time of the whole burst are at most 146 years")
        limit.quota.back_ns = <uint64_t>-1  # the monotonic clock never steps
        limit.cost = spec.cost
        limit.table = &self.held.rates[1 if limit.full_refuses else 0]
        return 0

    cdef int _count(self, fc_limit *limit, str name, Metrics metrics, str prefix) except -1:
        cdef Counter counter
        cdef uint32_t i
        for i in range(<uint32_t>FC_LIMIT_CELLS):
            counter = metrics.counter(f"{prefix}_limit_requests", "Requests by limit and what became of them there",
                                      limit=name, outcome=OUTCOMES[i])
            limit.cells[i] = counter.cell
        return 0

    cdef const fc_route_limits *of(self, tuple names) except? NULL:
        cdef fc_route_limits *made
        cdef const fc_limit **listed
        cdef uint32_t i
        if not names:
            return NULL
        if names in self.routes:
            return <const fc_route_limits *><size_t>self.routes[names]
        if len(names) > FC_LIMITS_MAX:
            raise ValueError(f"a route has at most {FC_LIMITS_MAX} limits")
        numbers = [self.numbers[name] for name in names]
        made = <fc_route_limits *>PyMem_Calloc(1, sizeof(fc_route_limits) + len(names) * sizeof(fc_limit *))
        if made is NULL:
            raise MemoryError
        listed = <const fc_limit **>(made + 1)
        for i, number in enumerate(numbers):
            listed[i] = &self.limits[<uint32_t>number]
        made.limits = listed
        made.len = len(names)
        self.routes[names] = <size_t>made
        return made

    def reset(self, str name, values):
        """Forget what a key of a rate has used here. True if it had used something.

        values: text by source, as in {"ip": "192.0.2.7"}; what is left out is what a request without it counts as.
        KeyError: no such limit. ValueError: a source the limit does not count by, no address, or a limit of requests in
        flight, which has nothing to forget.
        """
        cdef fc_limit *limit = &self.limits[<uint32_t>self.numbers[name]]
        cdef uint64_t hashes[FC_LIMIT_PARTS_MAX]
        cdef uint64_t key
        cdef bytes data
        cdef uint32_t i
        for i, data in enumerate(self._values(limit, self.specs[self.numbers[name]], values)):
            hashes[i] = fc_hash(limit.key, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        key = fc_limit_print(limit, hashes)
        if limit.allowances is not NULL:
            fc_limiter_reset(limit.allowances, key, fc_monotonic_ns())
        return fc_limiter_reset(limit.table, key, fc_monotonic_ns())

    def shared_key(self, str name, values):
        """(name, key, span) of a shared limit as in a Question, to forget it where it is counted; None: it is counted here.
        Errors as of reset."""
        cdef fc_limit *limit = &self.limits[<uint32_t>self.numbers[name]]
        if limit.allowances is NULL:
            return None
        spec = self.specs[self.numbers[name]]
        key = b"".join(struct.pack("=I", len(value)) + value for value in self._values(limit, spec, values))
        return limit.shared_name.p[:limit.shared_name.n], key, limit.quota.span

    cdef list _values(self, const fc_limit *limit, spec, values):
        cdef fc_addr address
        cdef bytes data
        cdef list found = []
        if limit.table is NULL:
            raise ValueError(f"{spec.name} counts requests in flight; they end by themselves")
        for source in values:
            if source not in spec.by:
                raise ValueError(f"{spec.name} does not count by {source!r} but by {', '.join(spec.by) or 'nothing'}")
        for source in spec.by:
            data = values.get(source, "").encode("utf-8", "surrogateescape")
            if source == "ip":
                if not fc_addr_parse(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &address):
                    raise ValueError(f"{values.get(source, '')!r} is no address")
                fc_limit_mask(limit, &address)
                data = (<char *>address.ip)[:sizeof(address.ip)]
            elif source == "host":
                data = data.lower()
            found.append(data)
        return found

    @property
    def capacity(self):
        """Live keys the shared table has room for."""
        return self.held.rates[0].keys

    def table(self):
        """The shared table: capacity, live keys, requests in flight under limits; and requests of this process that found
        it full."""
        cdef fc_limiter_counts counts
        with nogil:
            fc_limiter_count(&self.held.rates[0], fc_monotonic_ns(), &counts)
        return {
            "capacity": self.held.rates[0].keys,
            "live": counts.live,
            "in_flight": fc_inflight_held(&self.places),
            "full": self.full,
        }

    @property
    def full(self):
        """Requests of this process that found the table full."""
        return self.held.rates[0].full + self.held.rates[1].full + self.places.full

    def reclaim(self):
        """Frees the places of dead processes. Returns how many."""
        cdef uint32_t n
        with nogil:
            n = fc_inflight_reclaim(&self.places)
        return n
