"""Limits on how many at once: a fixed number, over processes if need be, and one found out from latency.

The rules are in cext/include/fc/concurrency.h and fc/adaptive.h. Nothing here waits: a refusal is an answer.
"""

import os

cimport cython
from libc.stdlib cimport calloc, free

from fastcore.shm import RegionError

__all__ = ["PLACES", "AdaptiveLimiter", "ConcurrencyLimiter", "LimitExceeded"]

cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()

# Places of a section unless the limit is higher: room to raise the limit later; 4 KB.
PLACES = 1024

# Who we are: asked once after each fork, because a call of the system for each request would cost more than the rest.
cdef uint32_t PID = os.getpid()


def _after_fork():
    global PID
    PID = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


class LimitExceeded(RuntimeError):
    """As many as the limit allows are in there already."""


cdef uint64_t ns_of(object seconds, str what) except? 0:
    cdef double value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{what} is a number of seconds, not {type(seconds).__name__}")
    value = seconds
    if not 0 <= value < 4e9:
        raise ValueError(f"{what} is 0 to 4 billion seconds, not {seconds!r}")
    return <uint64_t>(value * 1e9 + 0.5)


@cython.final
@cython.no_gc_clear  # gives back its places when it goes
cdef class ConcurrencyLimiter:
    """At most `limit` at once: `acquire()` and `release()`, or `with limiter:`, which raises LimitExceeded.

    Without `region` it counts in this process. With one it counts over all processes that make a limiter of the same
    `section` over that region. Places of a killed process are taken back: at once by `release_dead(pid)`, for the
    parent that reaped it, else when somebody is refused, who looks for dead holders (at most every `look_every`
    seconds, as it costs a look into /proc for each process). A forked child holds nothing, whatever its parent holds.

    limit: 1 to `places` (default 1,024, or the limit if that is more; the same for all who share a section). It may be
    changed; `limit` is each process's own setting.
    """

    def __cinit__(
        self,
        limit,
        Region region=None,
        *,
        str section not None="concurrency",
        places=None,
        look_every=1.0,
    ):
        cdef uint64_t size
        cdef char *base
        cdef int error
        if places is None:
            places = max(limit, PLACES)
        if not 1 <= places <= FC_CONCURRENCY_MAX:
            raise ValueError(f"places are 1 to {FC_CONCURRENCY_MAX}, not {places}")
        self.shared.places = places
        self.limit = limit
        self.look_every_ns = ns_of(look_every, "look_every")
        self.pid = PID
        if region is None:
            return
        self.mine = <uint32_t *>calloc(places, sizeof(uint32_t))
        if self.mine == NULL:
            raise MemoryError
        size = fc_concurrency_size(places)
        base = region.address(section, size, 0)
        self.region = region
        error = fc_concurrency_open(&self.shared, base, size, places)
        if error == FC_CONCURRENCY_EBUSY:
            raise TimeoutError(f"section {section!r}: another live process holds its lock")
        if error:
            raise RegionError(f"section {section!r}: of another layout, or something else")

    def __dealloc__(self):
        if self.region is not None:
            if self.shared.holders != NULL:
                while self.give():
                    pass
            self.region.unpin()
        free(self.mine)

    @property
    def limit(self):
        return self.maximum

    @limit.setter
    def limit(self, value):
        if not isinstance(value, int):
            raise TypeError(f"the limit is an int, not {type(value).__name__}")
        if not 1 <= value <= self.shared.places:
            raise ValueError(f"the limit is 1 to {self.shared.places}, not {value}")
        self.maximum = value

    @property
    def held(self):
        """Places this process holds through this object."""
        self.after_fork()
        return self.count

    @property
    def in_use(self):
        """Places taken by all processes, the dead included until they are taken back."""
        return self.held if self.region is None else fc_concurrency_held(&self.shared)

    cdef void after_fork(self) noexcept:
        if self.pid != PID:
            self.pid = PID
            self.count = 0

    cdef bint take(self) noexcept:
        cdef int64_t place
        cdef uint64_t now
        self.after_fork()
        if self.mine == NULL:
            if self.count >= self.maximum:
                return False
            self.count += 1
            return True
        if self.count == self.shared.places:
            return False
        place = fc_concurrency_acquire(&self.shared, self.maximum, PID, self.hint)
        if place < 0:
            now = fc_monotonic_ns()
            if now - self.looked_ns < self.look_every_ns:
                return False
            self.looked_ns = now
            if fc_concurrency_reclaim(&self.shared, 0) == 0:
                return False
            place = fc_concurrency_acquire(&self.shared, self.maximum, PID, self.hint)
            if place < 0:
                return False
        self.mine[self.count] = <uint32_t>place
        self.count += 1
        return True

    cdef bint give(self) noexcept:
        self.after_fork()
        if self.count == 0:
            return False
        self.count -= 1
        if self.mine != NULL:
            self.hint = self.mine[self.count]
            fc_concurrency_release(&self.shared, self.hint, PID)
        return True

    def acquire(self):
        """Takes a place. False: there is none; nothing waits."""
        return self.take()

    def release(self):
        """Gives one place back. RuntimeError when this process holds none through this object."""
        if not self.give():
            raise RuntimeError("released more often than acquired")

    def release_dead(self, uint32_t pid):
        """Takes back what the dead process `pid` held; returns how many places. For gunicorn's child_exit."""
        if pid == 0:
            raise ValueError("0 is no process")
        return 0 if self.region is None else fc_concurrency_reclaim(&self.shared, pid)

    def __enter__(self):
        if not self.take():
            raise LimitExceeded(f"{self.maximum} at once are in there already")
        return self

    def __exit__(self, *exc):
        self.give()

    def __repr__(self):
        return f"<ConcurrencyLimiter {self.in_use} of {self.maximum}>"


@cython.final
cdef class AdaptiveLimiter:
    """As many at once as the latency says a server can take (Netflix's Gradient2 with Envoy's headroom and probe).

    Ask `acquire()` before a request and report with `release(latency)` after it; latency in seconds. Averages are over
    windows of at least `window` seconds and `window_samples` requests. A latency up to `tolerance` times the baseline
    is not yet queueing. The baseline is the average of the last `baseline_windows` windows or, with `probe` (seconds
    between probes; 0: none), what was measured while only `minimum` were let in. cext/include/fc/adaptive.h has the
    formula.

    Pure when `now` (seconds) is given to each call; without, the monotonic clock is read. Raises ValueError for options
    out of range.
    """

    def __cinit__(
        self,
        initial=20,
        *,
        minimum=3,
        maximum=1000,
        double smoothing=0.2,
        double tolerance=1.5,
        baseline_windows=600,
        window=1.0,
        window_samples=10,
        probe=0.0,
    ):
        cdef fc_adaptive_options options
        for name, value in (("initial", initial), ("minimum", minimum), ("maximum", maximum),
                            ("baseline_windows", baseline_windows), ("window_samples", window_samples)):
            if not 1 <= value <= 1000000:
                raise ValueError(f"{name} is 1 to a million, not {value!r}")
        options.initial = initial
        options.minimum = minimum
        options.maximum = maximum
        options.smoothing = smoothing
        options.tolerance = tolerance
        options.baseline_windows = baseline_windows
        options.window_samples = window_samples
        options.window_ns = ns_of(window, "window")
        options.probe_ns = ns_of(probe, "probe")
        if not fc_adaptive_init(&self.a, &options):
            raise ValueError(
                "minimum <= initial <= maximum, 0 < smoothing <= 1 and 1 <= tolerance <= 1000 do not hold: "
                f"{minimum}, {initial}, {maximum}, {smoothing}, {tolerance}"
            )

    @property
    def limit(self):
        """Requests that may be in flight now."""
        return fc_adaptive_limit(&self.a)

    @property
    def inflight(self):
        return self.a.inflight

    @property
    def baseline(self):
        """The latency without queueing, in seconds; 0.0 before the first window."""
        return self.a.baseline_ns / 1e9

    @property
    def probing(self):
        """The limit is `minimum` until a window has been measured."""
        return self.a.probing

    def acquire(self, now=None):
        """One more request. False: the limit is reached."""
        return fc_adaptive_acquire(&self.a, fc_monotonic_ns() if now is None else ns_of(now, "now"))

    def release(self, latency, now=None, *, bint dropped=False):
        """A request is over, `latency` seconds after it began. dropped: it timed out or was refused by the server."""
        cdef uint64_t took = ns_of(latency, "latency"), at = fc_monotonic_ns() if now is None else ns_of(now, "now")
        if self.a.inflight == 0:
            raise RuntimeError("released more often than acquired")
        fc_adaptive_release(&self.a, at, took, dropped)

    def forget(self):
        """A request is over and says nothing about the server, as when the client went away."""
        if self.a.inflight == 0:
            raise RuntimeError("released more often than acquired")
        fc_adaptive_forget(&self.a)

    def __repr__(self):
        return f"<AdaptiveLimiter {self.a.inflight} of {self.limit}>"
