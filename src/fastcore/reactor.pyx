"""The reactor: an epoll loop in C that hangs in gevent's hub or in an asyncio loop by one file descriptor.

    class Echo(Protocol):
        def data_received(self, data):
            self.connection.write(data)

    reactor = Reactor()
    reactor.start()
    server = Server(reactor, listening_socket, Echo)

`Reactor.start()` finds out where it is: with a running asyncio loop it uses `add_reader`, otherwise gevent's hub. Callbacks
run inside that loop and must not block: a gevent service spawns a greenlet for what takes time. An exception that escapes
a callback is reported to the loop and closes that one connection.
"""

import errno
import os
import sys
from enum import IntEnum

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t, uint64_t

from fastcore.cnet cimport *

__all__ = ["Connection", "Protocol", "Reactor", "Server", "Timer", "WriteState"]

cdef extern from "<sys/epoll.h>" nogil:
    uint32_t EPOLLIN

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        int sa_family
    cdef struct sockaddr_storage:
        int ss_family
    int accept4(int fd, sockaddr *addr, socklen_t *len, int flags)
    int SOCK_NONBLOCK, SOCK_CLOEXEC, AF_UNIX
    int setsockopt(int fd, int level, int name, const void *value, socklen_t len)

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "fc/addr.h" nogil:
    fc_addr fc_addr_from(const sockaddr *sa)

cdef extern from "<errno.h>" nogil:
    int c_errno "errno"

cdef extern from "<unistd.h>" nogil:
    int close(int fd)


class WriteState(IntEnum):
    """What `Connection.write` did: a refusal is an answer, not an exception."""

    SENT = 0    #: everything is with the kernel
    QUEUED = 1  #: taken, some of it waits for the peer
    FULL = 2    #: nothing was taken: the queue is at its high mark; `Protocol.drained` tells when to go on
    CLOSED = 3  #: nothing was taken: the connection is closing or gone


cdef class Reactor:
    """One event loop for raw sockets, nested in another loop.

    buffer_bytes: bound on all bytes in flight on this reactor, in bytes.
    budget: how long one wake-up may handle events before others get their turn, in seconds.

    A reactor belongs to the process and thread that made it: make it after fork.
    """

    def __cinit__(self, *, size_t buffer_bytes=1 << 30, double budget=0.002):
        self.loop = fc_loop_new(buffer_bytes)
        if self.loop is NULL:
            raise OSError(c_errno, f"cannot create the event loop: {os.strerror(c_errno)}")
        self.budget_ns = <uint64_t>(budget * 1e9)
        self.pid = os.getpid()

    def __dealloc__(self):
        # Everything watched, every timer and every connection holds a reference to us: nothing of them is left here.
        if self.loop is not NULL:
            fc_loop_free(self.loop)

    def fileno(self):
        """The epoll descriptor: readable when there is something to do."""
        return fc_loop_fd(self.loop)

    cpdef int run_once(self, double timeout=0) except -1:
        """Handle what is ready; wait up to `timeout` seconds for the first event. Returns how much was handled."""
        return fc_loop_run(self.loop, <int>(timeout * 1000), self.budget_ns)

    def start(self):
        """Hang in the running asyncio loop, or else in gevent's hub of this thread."""
        if self.watcher is not None:
            return
        loop = _running_asyncio_loop()
        if loop is not None:
            loop.add_reader(self.fileno(), self.run_once)
            self.host, self.watcher = loop, loop
        else:
            import gevent

            self.host = gevent.get_hub()
            self.watcher = self.host.loop.io(self.fileno(), 1)
            self.watcher.start(self.run_once)

    def stop(self):
        """Leave the loop we hang in. Connections stay open and wait."""
        if self.watcher is None:
            return
        if self.watcher is self.host:
            self.host.remove_reader(self.fileno())
        else:
            self.watcher.stop()
            self.watcher.close()
        self.watcher = self.host = None

    def call_later(self, double seconds, function, *args):
        """Call function(*args) once, after so many seconds (resolution one millisecond). Returns a Timer to cancel it."""
        cdef Timer t = Timer.__new__(Timer)
        if not 0 <= seconds < 1e9:
            raise ValueError(f"seconds must be between 0 and 1e9, not {seconds!r}")
        t.reactor = self
        t.function = function
        t.args = args
        t.box.timer.fn = on_timer
        t.box.owner = <void *>t
        Py_INCREF(t)
        fc_loop_timer(self.loop, &t.box.timer, self.ms_from_now(seconds))
        return t

    def stats(self):
        """Counters since the start: wakeups, batches, events, timers, budget_exhausted; and buffers_mapped and
        buffers_in_use, in bytes."""
        cdef fc_loop_stats s = self.loop.stats
        return {"wakeups": s.wakeups, "batches": s.batches, "events": s.events, "timers": s.timers,
                "budget_exhausted": s.budget_exhausted, "buffers_mapped": fc_bufpool_mapped(self.loop.bufs),
                "buffers_in_use": fc_bufpool_in_use(self.loop.bufs)}

    cdef void sync_clock(self) noexcept:
        """Between turns the loop's clock stands still; what is set from outside counts from now."""
        if not self.loop.running:
            fc_loop_touch(self.loop)

    cdef uint64_t ms_from_now(self, double seconds) noexcept:
        """The loop's time then, rounded up: nothing is early."""
        self.sync_clock()
        return (self.loop.now_ns + <uint64_t>(seconds * 1e9) + 999_999) // 1_000_000

    cdef void report(self, context) noexcept:
        """Tell the loop we hang in about the exception being handled."""
        exc = sys.exc_info()
        try:
            if self.host is None:
                sys.excepthook(*exc)
            elif self.watcher is self.host:
                self.host.call_exception_handler({"message": f"error in a callback of {context!r}", "exception": exc[1]})
            else:
                self.host.handle_error(context, *exc)
        except BaseException:
            sys.excepthook(*exc)


cdef class Timer:
    """A call that waits for its time; made by Reactor.call_later."""

    def cancel(self):
        """It will not be called; nothing happens if it has been."""
        if fc_timer_armed(&self.box.timer):
            fc_loop_timer_cancel(self.reactor.loop, &self.box.timer)
            self.function = self.args = None
            Py_DECREF(self)

    @property
    def active(self):
        """Is the call still to come?"""
        return bool(fc_timer_armed(&self.box.timer))


cdef void on_timer(fc_timer *timer, void *ctx) noexcept with gil:
    cdef Timer t = <Timer>(<OwnedTimer *>timer).owner
    function, args = t.function, t.args
    t.function = t.args = None
    Py_DECREF(t)
    try:
        function(*args)
    except BaseException:
        t.reactor.report(function)


class Protocol:
    """One connection's behaviour; a server makes one for each. Subclass and override what is needed."""

    connection = None  #: the Connection, from connection_made on

    def connection_made(self, connection):
        """The peer is connected."""
        self.connection = connection

    def data_received(self, data):
        """Bytes have come, at least one."""

    def eof_received(self):
        """The peer will send no more. A true answer keeps the connection open for writing; else it is closed."""

    def drained(self):
        """The queue has fallen to its low mark after having been full: write again."""

    def deadline_passed(self):
        """The time given to set_deadline is over. A true answer keeps the connection; else it is cut."""

    def connection_lost(self, exc):
        """Over. exc: None for an orderly end, else the exception (OSError, TimeoutError, or what a callback raised)."""


cdef class Connection:
    """A connected stream socket: bytes out through a bounded queue, one deadline.

    Made by Server, or from a connected socket: Connection(reactor, sock, protocol). The descriptor is taken over.
    high, low: bytes that may wait for the peer before write() refuses, and at which `drained` is called.
    """

    def __init__(self, Reactor reactor not None, sock, protocol, *, high=256 * 1024, low=64 * 1024):
        if not 0 <= low < high:
            raise ValueError(f"need 0 <= low < high, not low={low}, high={high}")
        peername = sock.getpeername()
        sock.setblocking(False)
        open_connection(self, reactor, sock.fileno(), protocol, high, low, peername)
        sock.detach()
        self.begin()

    def write(self, data):
        """Send bytes (any contiguous buffer). Returns a WriteState; on FULL and CLOSED nothing was taken.

        What is taken is copied. At most `high` bytes plus one write wait in the queue."""
        cdef const unsigned char[::1] view = data
        cdef size_t n = view.shape[0]
        cdef int rc
        if self.closing or self.box.conn.dead:
            return WriteState.CLOSED
        if fc_conn_full(&self.box.conn):
            return WriteState.FULL
        if n:
            rc = fc_conn_write_copy(&self.box.conn, <const char *>&view[0], n)
            if rc == 0:
                rc = fc_conn_flush(&self.box.conn)
            if rc < 0:
                self.lost = OSError(-rc, os.strerror(-rc))
                fc_conn_abort(&self.box.conn)
                return WriteState.CLOSED
        return WriteState.QUEUED if self.box.conn.out.len else WriteState.SENT

    @property
    def queued(self):
        """Bytes that wait for the peer."""
        return self.box.conn.out.bytes

    @property
    def closed(self):
        """Has close() or abort() been called, or the connection been lost?"""
        return bool(self.closing or self.box.conn.dead)

    def pause_reading(self):
        """No data_received until resume_reading: the peer is slowed down by its own full socket."""
        fc_conn_pause(&self.box.conn)

    def resume_reading(self):
        """Go on after pause_reading."""
        if not self.closing and not self.box.conn.dead:
            fc_conn_resume(&self.box.conn)

    def set_deadline(self, seconds):
        """deadline_passed() is called after so many seconds, unless another deadline is set first; None: none."""
        if self.box.conn.dead:
            return
        fc_conn_deadline(&self.box.conn, 0 if seconds is None else self.reactor.ms_from_now(max(seconds, 0)))

    def close(self):
        """Send what is queued, then close. Nothing more is received."""
        if self.closing or self.box.conn.dead:
            return
        self.closing = True
        fc_conn_pause(&self.box.conn)
        if not self.box.conn.out.len:
            fc_conn_close(&self.box.conn)

    def abort(self):
        """Close at once; the peer sees a reset."""
        self.closing = True
        fc_conn_abort(&self.box.conn)

    cdef void fail(self) noexcept:
        """A callback raised."""
        self.reactor.report(self.protocol)
        self.lost = sys.exc_info()[1]
        fc_conn_abort(&self.box.conn)

    cdef void begin(self) noexcept:
        try:
            self.protocol.connection_made(self)
        except BaseException:
            self.fail()


cdef int open_connection(Connection c, Reactor reactor, int fd, protocol, uint32_t high, uint32_t low, peername) except -1:
    cdef int rc
    c.box.owner = <void *>c
    c.reactor = reactor
    c.protocol = protocol
    c.peername = peername
    c.box.conn.out_high = high
    c.box.conn.out_low = low
    rc = fc_conn_open(&c.box.conn, reactor.loop, fd, &OPS)
    if rc < 0:
        raise OSError(-rc, os.strerror(-rc))
    Py_INCREF(c)   # until on_closed: the loop points at us
    return 0


# --- what the loop calls ----------------------------------------------------------------------------------------------

cdef inline Connection of(fc_conn *conn):
    return <Connection>(<OwnedConn *>conn).owner


cdef int errno_again = errno.EAGAIN

cdef enum:
    READ_BYTES = 65536      # one recv: what a busy peer's socket holds
    READS_PER_TURN = 4      # then others get their turn


cdef void on_read(fc_conn *conn) noexcept with gil:
    cdef Connection c = of(conn)
    cdef char scrap[READ_BYTES]
    cdef ssize_t n
    cdef int i
    try:
        for i in range(READS_PER_TURN):
            if conn.dead or conn.paused or not conn.readable or c.finished:
                return
            n = fc_conn_recv(conn, scrap, READ_BYTES)
            if n > 0:
                c.protocol.data_received(PyBytes_FromStringAndSize(scrap, n))
            elif n == 0:
                c.finished = True
                if not c.protocol.eof_received() and not conn.dead:
                    c.close()
                return
            elif n == -errno_again:
                return
            else:
                on_broken(conn, <int>n)
                return
        fc_conn_again(conn)
    except BaseException:
        c.fail()


cdef void on_conn_drain(fc_conn *conn) noexcept with gil:
    cdef Connection c = of(conn)
    if c.closing:
        return
    try:
        c.protocol.drained()
    except BaseException:
        c.fail()


cdef void on_sent(fc_conn *conn) noexcept with gil:
    if of(conn).closing:
        fc_conn_close(conn)


cdef void on_timeout(fc_conn *conn) noexcept with gil:
    cdef Connection c = of(conn)
    try:
        if not c.protocol.deadline_passed() and not conn.dead:
            c.lost = TimeoutError("the connection's deadline has passed")
            c.abort()
    except BaseException:
        c.fail()


cdef void on_broken(fc_conn *conn, int err) noexcept with gil:
    cdef Connection c = of(conn)
    if c.lost is None:
        c.lost = OSError(-err, os.strerror(-err))
    fc_conn_close(conn)


cdef void on_closed(fc_conn *conn) noexcept with gil:
    cdef Connection c = of(conn)
    Py_DECREF(c)
    c.closing = True
    try:
        c.protocol.connection_lost(c.lost)
    except BaseException:
        c.reactor.report(c.protocol)
    c.lost = None
    if c.server is not None:
        try:
            c.server.forget(c)
        except BaseException:
            c.reactor.report(c.server)


cdef fc_conn_ops OPS
OPS.read = on_read
OPS.drain = on_conn_drain
OPS.sent = on_sent
OPS.timeout = on_timeout
OPS.broken = on_broken
OPS.closed = on_closed


# --- accepting --------------------------------------------------------------------------------------------------------

cdef double ACCEPT_BACKOFF = 0.1   # out of descriptors: the kernel's queue holds the clients meanwhile
cdef int ACCEPT_BATCH = 16


cdef class Server:
    """Accepts on a listening socket and gives each connection a protocol from factory().

    connections_max: beyond it clients wait in the kernel's queue. high, low: see Connection.
    The socket is made non-blocking and stays the caller's: close it after drain() or close().
    """

    def __init__(self, Reactor reactor not None, sock, factory, *, connections_max=65536, high=256 * 1024, low=64 * 1024):
        if not 0 <= low < high:
            raise ValueError(f"need 0 <= low < high, not low={low}, high={high}")
        if connections_max < 1:
            raise ValueError(f"connections_max must be at least 1, not {connections_max}")
        sock.setblocking(False)
        self.reactor = reactor
        self.socket = sock
        self.factory = factory
        self.connections = set()
        self.connections_max = connections_max
        self.high = high
        self.low = low
        self.box.owner = <void *>self
        self.box.io.fn = on_accept
        self.box.io.fd = sock.fileno()
        cdef int rc = fc_loop_watch(reactor.loop, &self.box.io, EPOLLIN)
        if rc < 0:
            raise OSError(-rc, f"cannot watch the listening socket: {os.strerror(-rc)}")
        self.accepting = True
        Py_INCREF(self)   # until we stop accepting: the loop points at us

    def __len__(self):
        return len(self.connections)

    def stop_accepting(self):
        """Accept no more."""
        if not self.draining:
            self.draining = True
            fc_loop_unwatch(self.reactor.loop, &self.box.io)
            if self.retry is not None:
                self.retry.cancel()
            # Not before this batch of events is over: a later one of it may still point at us.
            self.reactor.call_later(0, self._let_go)

    def _let_go(self):
        Py_DECREF(self)
        self.check_drained()

    def drain(self, drained=None):
        """Accept no more; drained() is called once, when the last connection is over, which is for the protocols to see to."""
        self.drained_callback = drained
        if self.draining:
            self.check_drained()
        else:
            self.stop_accepting()

    def close(self):
        """Accept no more and close every connection after what it has queued."""
        self.stop_accepting()
        cdef Connection c
        for c in list(self.connections):
            c.close()

    cdef int check_drained(self) except -1:
        if not self.connections:
            callback, self.drained_callback = self.drained_callback, None
            if callback is not None:
                callback()
        return 0

    cdef void pause_accepting(self, bint on) noexcept:
        if self.accepting == on and not self.draining:
            self.accepting = not on
            fc_loop_rewatch(self.reactor.loop, &self.box.io, 0 if on else EPOLLIN)

    def _retry_accepting(self):
        self.retry = None
        self.pause_accepting(False)

    cdef int forget(self, Connection connection) except -1:
        self.connections.discard(connection)
        if self.draining:
            self.check_drained()
        elif self.retry is None and len(self.connections) < self.connections_max:
            self.pause_accepting(False)
        return 0


cdef void on_accept(fc_loop *loop, fc_io *io, uint32_t events) noexcept with gil:
    cdef Server server = <Server>(<OwnedIo *>io).owner
    cdef Connection c
    cdef sockaddr_storage sa
    cdef socklen_t len_
    cdef int fd, i, one = 1
    cdef fc_addr peer
    cdef char text[64]
    for i in range(ACCEPT_BATCH):
        if server.draining:
            return
        if len(server.connections) >= server.connections_max:
            server.pause_accepting(True)
            return
        len_ = sizeof(sa)
        fd = accept4(io.fd, <sockaddr *>&sa, &len_, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if c_errno in (errno.EINTR, errno.ECONNABORTED):
                continue
            if c_errno != errno.EAGAIN:
                server.pause_accepting(True)
                server.retry = server.reactor.call_later(ACCEPT_BACKOFF, server._retry_accepting)
            return
        peername = ""
        if sa.ss_family != AF_UNIX:
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
            peer = fc_addr_from(<sockaddr *>&sa)
            peername = (text[:fc_addr_text(&peer, text)].decode("ascii"), <int>peer.port)
        c = Connection.__new__(Connection)
        try:
            open_connection(c, server.reactor, fd, server.factory(), server.high, server.low, peername)
        except BaseException:
            close(fd)
            server.reactor.report(server)
            continue
        c.server = server
        server.connections.add(c)
        c.begin()


def _running_asyncio_loop():
    if "asyncio" not in sys.modules:
        return None
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
