"""Limits on the requests of a proxy, exact over all processes that share a region.

    limits = Limits(region, [Limit("per_ip", rate=100, period=60, burst=20, by=("ip",))])
    proxy.set_routes(router, [Route(name="all", upstream=hello, limits=("per_ip",))], limits)

What counts as what, and what a refused request costs, is in cext/include/fc/limit.h. A limit that did not change keeps its
state when it is made anew over the same region (a reload); one whose quota or keys changed starts with nothing used.
"""

import os
from dataclasses import dataclass

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memcpy

from fastcore.limiter cimport (
    FC_GCRA_TIME_MAX,
    FC_LIMITER_EBUSY,
    FC_LIMITER_FULL_CLOSED,
    FC_LIMITER_FULL_OPEN,
    fc_gcra_init,
    fc_hash,
    fc_limiter_count,
    fc_limiter_counts,
    fc_limiter_open,
    fc_limiter_reset,
    fc_limiter_size,
)
from fastcore.metrics cimport Counter, Metrics

from fastcore.limiter_http import Policy, ratelimit_policy
from fastcore.limiter_quota import Quota
from fastcore.shm import RegionError

__all__ = ["AT_ONCE_MAX", "CAPACITY", "CAPACITY_MAX", "LIMITS_MAX", "PARTS_MAX", "SOURCES", "Limit", "Limits"]

cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()

# Live keys there is room for: 32 bytes each, of which untouched pages cost nothing.
CAPACITY = 65536
CAPACITY_MAX = 524288  # 16 MB of the region's 64
AT_ONCE_MAX = FC_INFLIGHT_WAYS
LIMITS_MAX = FC_LIMITS_MAX
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

OUTCOMES = ("admitted", "refused", "dry_run")


@dataclass(frozen=True)
class Limit:
    """`rate` units every `period` seconds, at most `burst` at once (0: the rate), each request `cost` of them; or, with
    `at_once`, so many requests in flight.

    by: what makes a key, see SOURCES; nothing is one key for all. ipv4_prefix, ipv6_prefix: bits of an address that count.
    dry_run: refuse nobody. tells: admitted answers carry the fields, too. when_full: "admit" or "refuse", what becomes of a
    new key when the table has no room.
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

    def scope(self):
        """What its state depends on; a limit of requests in flight goes on counting those there are."""
        quota = "at once" if self.at_once else Quota(self.rate, self.period, self.burst).whole() + (self.burst,)
        return repr((self.name, self.by, self.ipv4_prefix, self.ipv6_prefix, quota))

    def policy(self):
        """Its member of the field RateLimit-Policy."""
        if self.at_once:
            return f'"{self.name}";q={self.at_once};qu="concurrent-requests"'
        return ratelimit_policy([Policy(self.name, Quota(self.rate, self.period, self.burst))])


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
        self._open(capacity)
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

    cdef int _open(self, uint64_t capacity) except -1:
        cdef bytes seed = os.urandom(16)
        cdef fc_hash_key random
        cdef str section = f"limits.{FC_LIMITER_VERSION}"
        cdef uint64_t size = self.region.find(section)
        cdef char *base
        cdef int error
        if not 0 < capacity <= CAPACITY_MAX:
            raise ValueError(f"capacity is 1 to {CAPACITY_MAX}, not {capacity}")
        if size:
            capacity = (size - HEAD_BYTES) // HEAD_BYTES * KEYS_OF_BUCKET
        size = fc_limiter_size(capacity)
        base = self.region.address(section, size, 0)
        self.pinned += 1
        memcpy(&random, PyBytes_AS_STRING(seed), sizeof(random))
        error = fc_limiter_open(&self.tables[0], base, size, capacity, &random, FC_LIMITER_FULL_OPEN)
        if error == 0:
            error = fc_limiter_open(&self.tables[1], base, size, capacity, &random, FC_LIMITER_FULL_CLOSED)
        if error == FC_LIMITER_EBUSY:
            raise TimeoutError("another live process holds the lock of the limits' table")
        if error:
            raise RegionError(f"section {section!r} is no limits' table of {size} bytes")
        base = self.region.address(f"limits.inflight.{FC_INFLIGHT_VERSION}", fc_inflight_size(), 0)
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
        limit.key = &self.tables[0].key
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
        quota = Quota(spec.rate, spec.period, spec.burst)
        rate, period_ns = quota.whole()
        if not 0 < spec.cost <= quota.burst:
            raise ValueError(f"{spec.name}: a request of cost {spec.cost} would never fit into a burst of {quota.burst}")
        if not (period_ns <= FC_GCRA_TIME_MAX and rate < 1 << 64 and quota.burst < 1 << 64
                and fc_gcra_init(&limit.quota, rate, period_ns, quota.burst)):
            raise ValueError(f"{spec.name}: the period and the time of the whole burst are at most 146 years")
        limit.quota.back_ns = <uint64_t>-1  # the monotonic clock never steps
        limit.cost = spec.cost
        limit.table = &self.tables[1 if limit.full_refuses else 0]
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
        """Forget what a key of a rate has used. True if it had used something.

        values: text by source, as in {"ip": "192.0.2.7"}; what is left out is what a request without it counts as.
        KeyError: no such limit. ValueError: a source the limit does not count by, no address, or a limit of requests in
        flight, which has nothing to forget.
        """
        cdef fc_limit *limit = &self.limits[<uint32_t>self.numbers[name]]
        cdef uint64_t hashes[FC_LIMIT_PARTS_MAX]
        cdef fc_addr address
        cdef bytes data
        cdef uint32_t i
        spec = self.specs[self.numbers[name]]
        if limit.table is NULL:
            raise ValueError(f"{name} counts requests in flight; they end by themselves")
        for source in values:
            if source not in spec.by:
                raise ValueError(f"{name} does not count by {source!r} but by {', '.join(spec.by) or 'nothing'}")
        for i, source in enumerate(spec.by):
            data = values.get(source, "").encode("utf-8", "surrogateescape")
            if source == "ip":
                if not fc_addr_parse(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &address):
                    raise ValueError(f"{values.get(source, '')!r} is no address")
                fc_limit_mask(limit, &address)
                hashes[i] = fc_hash(limit.key, address.ip, sizeof(address.ip))
                continue
            if source == "host":
                data = data.lower()
            hashes[i] = fc_hash(limit.key, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return fc_limiter_reset(limit.table, fc_limit_print(limit, hashes), fc_monotonic_ns())

    @property
    def capacity(self):
        """Live keys the shared table has room for."""
        return self.tables[0].keys

    def table(self):
        """The shared table: capacity, live keys, requests in flight under limits; and requests of this process that found
        it full."""
        cdef fc_limiter_counts counts
        with nogil:
            fc_limiter_count(&self.tables[0], fc_monotonic_ns(), &counts)
        return {
            "capacity": self.tables[0].keys,
            "live": counts.live,
            "in_flight": fc_inflight_held(&self.places),
            "full": self.full,
        }

    @property
    def full(self):
        """Requests of this process that found the table full."""
        return self.tables[0].full + self.tables[1].full + self.places.full

    def reclaim(self):
        """Frees the places of dead processes. Returns how many."""
        cdef uint32_t n
        with nogil:
            n = fc_inflight_reclaim(&self.places)
        return n
