# What other Cython modules need of the reactor: the loop it drives, and connections to subclass or embed.
from libc.stdint cimport uint32_t, uint64_t

from fastcore.cnet cimport fc_conn, fc_io, fc_loop, fc_timer


# What the loop points at, with the way back to the Python object; the C part comes first, so their addresses are one.
cdef struct OwnedConn:
    fc_conn conn
    void *owner

cdef struct OwnedIo:
    fc_io io
    void *owner

cdef struct OwnedTimer:
    fc_timer timer
    void *owner


cdef class Reactor:
    cdef fc_loop *loop
    cdef uint64_t budget_ns
    cdef object host          # the gevent hub or the asyncio loop we hang in
    cdef object watcher
    cdef readonly int pid     # the process that made it: a reactor does not survive fork
    cpdef int run_once(self, double timeout=*) except -1
    cdef void sync_clock(self) noexcept
    cdef uint64_t ms_from_now(self, double seconds) noexcept
    cdef void report(self, context) noexcept


cdef class Timer:
    cdef OwnedTimer box
    cdef Reactor reactor
    cdef object function, args


cdef class Server:
    cdef OwnedIo box
    cdef readonly Reactor reactor
    cdef readonly object socket
    cdef object factory, drained_callback
    cdef set connections
    cdef uint32_t high, low
    cdef readonly Py_ssize_t connections_max
    cdef readonly bint draining
    cdef bint accepting
    cdef Timer retry
    cdef int forget(self, Connection connection) except -1
    cdef int check_drained(self) except -1
    cdef void pause_accepting(self, bint on) noexcept


cdef class Connection:
    cdef OwnedConn box
    cdef readonly Reactor reactor
    cdef readonly object protocol
    cdef readonly object peername
    cdef Server server
    cdef object lost          # what connection_lost will be told
    cdef bint closing, finished
    cdef void begin(self) noexcept
    cdef void fail(self) noexcept
