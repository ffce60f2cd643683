# The queue of finished exchanges, for the proxy that fills it.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastcore.shm cimport Region


cdef extern from "fc/records.h" nogil:
    enum:
        FC_RECORDS_SLOTS_MAX
        FC_RECORDS_EVERSION
        FC_RECORDS_ESIZE
        FC_RECORDS_EBUSY
    ctypedef struct fc_records:
        uint32_t slots, bytes
    uint64_t fc_records_size(uint32_t slots, uint32_t bytes)
    int fc_records_open(fc_records *q, void *base, uint32_t slots, uint32_t bytes)
    uint32_t fc_records_take(fc_records *q, void *out, uint32_t max, uint64_t now_ns)


cdef extern from "fc/trace.h" nogil:
    ctypedef struct fc_trace_span:
        uint8_t trace[16]
        uint64_t span, parent, client, start_ns, end_ns, asked_ns, answered_ns, sent_bytes
        uint16_t status
        uint8_t tries
        char version[3]
        bint secure, cached
        char method[18]
        char error[32]
        char route[64]
        char upstream[64]
        char endpoint[64]
        char host[64]
        char client_address[46]
        char path[130]


cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()


cdef class SpanQueue:
    cdef fc_records q
    cdef Region region
    cdef object __weakref__
