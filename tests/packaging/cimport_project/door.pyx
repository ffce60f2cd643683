"""A doorkeeper's inner loop: who may come in, who is known, who has been here longest, who must go when."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastcore.cache cimport LRUCache
from fastcore.jobindex cimport FC_JOB_FAIR, JobIndex, fc_job
from fastcore.limiter cimport RateLimiter, fc_gcra_answer
from fastcore.resp cimport RequestReader
from fastcore.sharedcache cimport SharedCache, fc_slice
from fastcore.skiplist cimport SkipList
from fastcore.timers cimport TimerWheel
from fastcore.websocket cimport FrameParser


cdef class Door:
    cdef RateLimiter limiter
    cdef LRUCache names
    cdef SkipList arrivals
    cdef TimerWheel wheel

    def __cinit__(self):
        self.limiter = RateLimiter(1, 60.0, burst=2)
        self.names = LRUCache(100)
        self.arrivals = SkipList()
        self.wheel = TimerWheel(tick=1)

    def admit(self, str caller, uint64_t now_ns):
        """The name under which the caller is known, or None: too often."""
        cdef fc_gcra_answer answer
        cdef PyObject *known
        if not self.limiter.check(self.limiter.print_of(caller), 1, now_ns, &answer) or not answer.allowed:
            return None
        known = self.names.look(caller)
        if known == NULL:
            self.names.put(caller, caller.title())
            known = self.names.look(caller)
        self.arrivals.store(now_ns, caller)
        self.wheel.set_ticks(now_ns // 1_000_000_000 + 10, caller)
        return <object>known

    def first(self):
        return self.arrivals.take_end(False)

    def leave(self, int now):
        return self.wheel.advance_ticks(now, -1)


def due(JobIndex index, str queue, uint64_t now):
    """Whether a job is due, asked without making one an object."""
    cdef fc_job job
    cdef unsigned int number = index.need_queue(queue)
    return index.next_job(&number, 1, FC_JOB_FAIR, now, &job)


def fetch(SharedCache cache, bytes key, uint64_t now):
    return cache.fetch(fc_slice(key, len(key)), now)


cdef class CountingReader(RequestReader):
    cdef readonly int fed

    def feed(self, data):
        self.fed += 1
        return RequestReader.feed(self, data)


cdef class CountingParser(FrameParser):
    cdef readonly int fed

    def feed(self, data):
        self.fed += 1
        return FrameParser.feed(self, data)
