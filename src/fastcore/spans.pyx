"""What is left of sampled exchanges of the proxy (`Proxy.use_tracing`), in a shared region, until an exporter takes it.

    queue = SpanQueue(region)
    for span in queue.take():
        ...

Many processes fill it, one empties it; nobody waits for anybody (cext/include/fc/records.h). When it is full, spans are
dropped and counted where they are made.
"""

from typing import NamedTuple

from cpython.mem cimport PyMem_Free, PyMem_Malloc

from fastcore.shm import RegionError

__all__ = ["Span", "SpanQueue"]

SECTION = "gateway.spans"
SLOTS = 8192  # 5 MB; a second of 8,000 sampled requests a second


class Span(NamedTuple):
    """One exchange. Ids are numbers, as W3C Trace Context writes them in hexadecimal; times nanoseconds since 1970.

    parent: 0 where the trace begins. client: the id under which the upstream was asked; 0: none was. asked, answered: of
    the last try at the upstream, and its answer's head; 0: none. status: 0 if no answer was sent. Texts are cut to fit.
    """

    trace: int
    span: int
    parent: int
    client: int
    start: int
    end: int
    asked: int
    answered: int
    sent_bytes: int
    status: int
    tries: int
    protocol: str
    scheme: str
    cached: bool
    method: str
    error: str
    route: str
    upstream: str
    endpoint: str
    host: str
    client_address: str
    path: str


cdef str text(const char *p):
    return (<bytes>p).decode("utf-8", "replace")


cdef object span_of(const fc_trace_span *s):
    return Span(
        trace=int.from_bytes((<const char *>s.trace)[:16], "big"),
        span=s.span,
        parent=s.parent,
        client=s.client,
        start=s.start_ns,
        end=s.end_ns,
        asked=s.asked_ns,
        answered=s.answered_ns,
        sent_bytes=s.sent_bytes,
        status=s.status,
        tries=s.tries,
        protocol=s.version[:3].decode("ascii"),
        scheme="https" if s.secure else "http",
        cached=bool(s.cached),
        method=text(s.method),
        error=text(s.error),
        route=text(s.route),
        upstream=text(s.upstream),
        endpoint=text(s.endpoint),
        host=text(s.host),
        client_address=text(s.client_address),
        path=text(s.path),
    )


cdef class SpanQueue:
    """slots: a power of two, used when the queue is made; who comes later takes it as it is. RegionError: no room, or
    one of another layout."""

    def __init__(self, Region region, *, slots=SLOTS, section=SECTION):
        cdef uint64_t size
        if not 0 < slots <= FC_RECORDS_SLOTS_MAX or slots & (slots - 1):
            raise ValueError(f"slots: {slots!r} is no power of two up to {FC_RECORDS_SLOTS_MAX}")
        size = fc_records_size(slots, sizeof(fc_trace_span))
        self.region = region
        error = fc_records_open(&self.q, region.address(section, size, 64), slots, sizeof(fc_trace_span))
        if error == FC_RECORDS_EBUSY:
            raise RegionError(f"section {section!r}: another process holds its lock")
        if error:
            raise RegionError(f"section {section!r}: of another layout")

    def take(self, uint32_t most=512):
        """The oldest spans that wait, without waiting for more. Another process that takes at this moment gets them."""
        cdef fc_trace_span *room = <fc_trace_span *>PyMem_Malloc(most * sizeof(fc_trace_span))
        cdef uint32_t i, n
        if room is NULL:
            raise MemoryError
        try:
            n = fc_records_take(&self.q, room, most, fc_monotonic_ns())
            return [span_of(&room[i]) for i in range(n)]
        finally:
            PyMem_Free(room)
