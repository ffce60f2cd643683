"""A write-ahead log: records appended by many, made durable together.

    with Log("/var/lib/app/log") as log:
        position = log.append(b"something happened")
        log.wait(position)                              # or log.append(..., sync=True)
        for position, type, data in log.read_from():
            ...

A C thread writes and syncs. While it syncs one batch the next one gathers, so a lone writer waits for one sync and a
thousand for two at most. Waiting stops nobody else: in a thread that runs a gevent hub only the calling greenlet waits,
in any other the GIL is released. docs/storage/wal.md describes the files.
"""

import errno
import os
import sys
import weakref
from collections import namedtuple

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cimport cython

from fastcore.disk cimport SimDisk

__all__ = ["ClosedError", "CorruptionError", "DiskFullError", "ForkedError", "FormatError", "LockedError", "Log", "LogError",
           "LogReport", "Record", "RecordTooLargeError", "Records", "TruncatedError"]

cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept, void (*child)() noexcept)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *buf, size_t n)
    int close(int fd)

Record = namedtuple("Record", ["position", "type", "data"])
Record.__doc__ = "One record: the position that append gave, its type, its bytes."

LogReport = namedtuple("LogReport", ["first", "durable", "end", "records", "torn_bytes", "appends", "bytes", "batches", "syncs",
                                     "sync_seconds", "sync_seconds_max", "sync_times"])
LogReport.__doc__ = """What a log holds, and what it has done since it was opened.

first, durable, end: positions: what can be read lies from first to durable, what was appended ends at end.
records, torn_bytes: found and cut off when it was opened. appends, bytes: of payload. batches, syncs: a batch is one sync,
or one for each segment it touches. sync_seconds, sync_seconds_max: spent in them, and in the longest. sync_times: (seconds,
how many took so long, or up to an eighth less), shortest first."""


# --- errors ----------------------------------------------------------------------------------------------------------

class LogError(OSError):
    """What went wrong with a log: `errno`, `strerror`, and the place as `filename`. Once an append or a sync has failed the log
    stays failed: nobody knows what is on the disk. Open it anew to find out."""


class CorruptionError(LogError):
    """A record that had been durable is damaged: `file`, `offset` in it."""

    file = None
    offset = None


class DiskFullError(LogError):
    """There is no room for one more segment. Nothing is lost and the log works on: truncate_before() makes room, and so does
    anybody who frees some. Appends with urgent=True have a reserve."""


class LockedError(LogError):
    """The log is open already, here or in another process."""


class FormatError(LogError):
    """The files are not a log's, or of another version."""


class TruncatedError(LogError, LookupError):
    """The position has been truncated."""


class RecordTooLargeError(LogError, ValueError):
    """The record is longer than record_bytes_max."""


class ClosedError(LogError, ValueError):
    """The log is closed."""


class ForkedError(LogError, RuntimeError):
    """A log belongs to the process that opened it, and this is a forked child."""


cdef dict KINDS = {
    FC_WAL_ECORRUPT: (CorruptionError, errno.EBADMSG),
    FC_WAL_EFULL: (LogError, errno.ENOBUFS),
    FC_WAL_ELARGE: (RecordTooLargeError, errno.EMSGSIZE),
    FC_WAL_ECLOSED: (ClosedError, errno.EBADF),
    FC_WAL_EFORMAT: (FormatError, errno.EBADMSG),
    FC_WAL_EGONE: (TruncatedError, errno.ENODATA),
    FC_WAL_ELOCKED: (LockedError, errno.EBUSY),
    -errno.ENOSPC: (DiskFullError, errno.ENOSPC),
}

cdef int again = errno.EAGAIN
cdef int timed_out = errno.ETIMEDOUT
cdef int invalid = errno.EINVAL
cdef int no_memory = errno.ENOMEM


# --- the C log -------------------------------------------------------------------------------------------------------

# How many forks lie between this process and the one that loaded the module.
cdef uint32_t generation = 0


cdef void count_fork() noexcept nogil:
    global generation
    generation += 1


pthread_atfork(NULL, NULL, count_fork)


# no_gc_clear, here and below: what the collector finds in a circle still needs its disk, or its log, when it goes.

@cython.final
@cython.no_gc_clear
cdef class Core:
    """Freed when the log, its iterators and everybody who waits have let go of it."""

    cdef fc_wal *use(self) except NULL:
        if self.w == NULL:
            raise ValueError("the log has not been opened")
        if self.generation != generation:
            raise ForkedError(errno.EPERM, "the log was opened by the process this one was forked from; open it anew there or "
                              "here, after it was closed", self.place)
        if self.closed:
            raise ClosedError(errno.EBADF, "the log is closed", self.place)
        return self.w

    cdef object exception(self, int error):
        cdef fc_wal_report report
        kind, number = KINDS.get(error, (LogError, -error))
        if error != FC_WAL_ECORRUPT:
            return kind(number, fc_wal_strerror(error).decode(), self.place)
        fc_wal_get_report(self.w, &report)
        file = (<bytes>report.corrupt_name).decode()
        made = kind(number, f"{file} is damaged at offset {report.corrupt_offset}, which had been durable", self.place)
        made.file = file
        made.offset = report.corrupt_offset
        return made

    cdef int fail(self, int error) except -1:
        raise self.exception(error)

    cdef int open(self, fc_disk *d, fc_wal_options *options):
        cdef fc_wal *w = NULL
        cdef int error
        self.disk.pin()
        with nogil:
            error = fc_wal_open(d, options, &w)
        self.w = w
        if w == NULL:
            self.disk.unpin()
        return error

    def __dealloc__(self):
        if self.w == NULL or self.owner is not None:
            return
        if self.generation == generation:   # a child has no thread to wait for, and perhaps a lock that is held for ever
            with nogil:
                fc_wal_close(self.w)
            self.disk.unpin()


cdef object get_hub_if_exists = None


cdef object current_hub():
    global get_hub_if_exists
    if get_hub_if_exists is None:
        if "gevent" not in sys.modules:
            return None
        from gevent._hub_local import get_hub_if_exists as found
        get_hub_if_exists = found
    return get_hub_if_exists()


cdef object off_the_hub(bint threaded, object function):
    hub = current_hub() if threaded else None
    if hub is None:
        return function()
    from greenlet import getcurrent
    return function() if getcurrent() is hub else hub.threadpool.apply(function)


cdef fc_wal_pos position_of(object position) except? 1:
    if not 0 <= position < FC_WAL_NOTHING:
        raise ValueError(f"{position!r} is no position in a log")
    return position


# --- greenlets that wait ---------------------------------------------------------------------------------------------

@cython.final
cdef class Waiter:
    """A greenlet and the position it waits for."""


@cython.final
@cython.no_gc_clear
cdef class Station:
    """Where the greenlets of one hub wait for one log: in order of position, so that a wake-up costs what is ready.

    The hub watches the descriptor only while somebody waits: a loop with nothing else to do may end."""

    def __cinit__(self, Core core not None, object hub):
        self.watch.event_fd = -1
        cdef fc_wal *w = core.use()
        cdef int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if fd < 0:
            raise OSError(errno.EMFILE, "no descriptor for waiting")
        self.core = core
        self.hub = weakref.ref(hub)
        self.watch.event_fd = fd
        fc_wal_watch_add(w, &self.watch)
        self.io = hub.loop.io(fd, 1)

    def __dealloc__(self):
        if self.watch.event_fd < 0:
            return
        if self.core.generation == generation:
            fc_wal_watch_remove(self.core.w, &self.watch)
        close(self.watch.event_fd)

    cdef void insert(self, Waiter waiter) noexcept:
        # Positions grow, so who comes later nearly always belongs at the end.
        cdef Waiter before = self.tail
        while before is not None and before.pos > waiter.pos:
            before = before.before
        waiter.before = before
        waiter.after = self.head if before is None else before.after
        if before is None:
            self.head = waiter
        else:
            before.after = waiter
        if waiter.after is None:
            self.tail = waiter
        else:
            waiter.after.before = waiter
        waiter.queued = True

    cdef void remove(self, Waiter waiter) noexcept:
        if waiter.before is None:
            self.head = waiter.after
        else:
            waiter.before.after = waiter.after
        if waiter.after is None:
            self.tail = waiter.before
        else:
            waiter.after.before = waiter.before
        waiter.before = waiter.after = None
        waiter.queued = False
        if self.head is None and self.watching:
            self.watching = False
            self.io.stop()

    def ready(self):
        """The log has come further: called by the hub."""
        cdef uint64_t count
        cdef Waiter waiter
        cdef fc_wal_pos reached = FC_WAL_NOTHING   # in a forked child all are woken, to be told so
        hub = self.hub()
        if self.core.generation == generation:
            read(self.watch.event_fd, &count, sizeof(count))
            reached = fc_wal_durable(self.core.w)
        while self.head is not None:
            waiter = self.head
            if waiter.pos > reached:
                if fc_wal_watch_for(self.core.w, &self.watch, waiter.pos):
                    break
                reached = fc_wal_durable(self.core.w)
                if waiter.pos > reached:   # never: the log has failed or is closed
                    reached = FC_WAL_NOTHING
            self.remove(waiter)
            hub.loop.run_callback(waiter.greenlet.switch, None)

    cdef int wait(self, object hub, fc_wal_pos pos, object timeout) except 1:
        """What fc_wal_state says when it is over; -EAGAIN when the time is."""
        from gevent.hub import Waiter as Switch
        cdef Waiter waiter = Waiter.__new__(Waiter)
        waiter.pos = pos
        waiter.greenlet = Switch(hub)
        if not fc_wal_watch_for(self.core.w, &self.watch, pos):
            return fc_wal_state(self.core.w, pos)
        self.insert(waiter)
        if not self.watching:
            self.watching = True
            self.io.start(self.ready)
        try:
            if timeout is None:
                waiter.greenlet.get()
            else:
                from gevent import Timeout
                with Timeout(timeout, False):
                    waiter.greenlet.get()
        finally:
            if waiter.queued:
                self.remove(waiter)
        if self.core.generation != generation:
            self.core.use()
        return fc_wal_state(self.core.w, pos)


# --- the log ---------------------------------------------------------------------------------------------------------

cdef enum:
    COPIED_AT_ONCE = 8192          # bytes that are appended without releasing the GIL: it costs more than to copy them
    SIGNALS_EVERY_NS = 50000000    # how long Ctrl-C may have to wait for a thread that waits


@cython.final
@cython.no_gc_clear
cdef class Log:
    """A write-ahead log in the directory `where`, which is made if need be, or on a Disk.

    segment_bytes: size of its files, 4 KiB to 1 GiB; the unit in which space is taken and given back. Up to three are taken
    ahead of need.
    record_bytes_max: longest record, at most half a segment.
    buffer_bytes_max: what may wait for the disk; beyond it append waits. At most half a segment, or a disk that fills up may
    make the log fail rather than refuse.
    ballast: keep one segment's room for urgent appends on a full disk.
    threaded: None is True but for a SimDisk. Without a thread whoever waits does the work, and step() does: tests are
    reproducible.
    salvage: open a damaged log for reading: up to the damage, where the iterator raises.

    Raises CorruptionError, FormatError, LockedError, DiskFullError, LogError for other errors of the disk.

    Any thread and greenlet may call anything. A forked child must not use it: every call raises ForkedError; it also keeps the
    directory locked as long as it lives, or until it executes another program.
    """

    def __cinit__(self):
        self.core = Core.__new__(Core)

    def __init__(self, where, *, segment_bytes=64 << 20, record_bytes_max=None, buffer_bytes_max=None, bint ballast=True,
                 threaded=None, bint salvage=False):
        cdef fc_wal_options options = FC_WAL_OPTIONS
        cdef Core core = self.core
        if core.w != NULL:
            raise RuntimeError("the log is open already")
        if record_bytes_max is None:
            record_bytes_max = min(16 << 20, segment_bytes // 4)
        if buffer_bytes_max is None:
            buffer_bytes_max = min(32 << 20, segment_bytes // 2)
        for name, value in (("segment_bytes", segment_bytes), ("record_bytes_max", record_bytes_max),
                            ("buffer_bytes_max", buffer_bytes_max)):
            if not 0 < value <= 1 << 30:
                raise ValueError(f"{name} is {value}; it is 1 to 2**30")
        options.segment_bytes = segment_bytes
        options.record_bytes_max = record_bytes_max
        options.buffer_bytes_max = buffer_bytes_max
        options.ballast = ballast
        self.own_disk = not isinstance(where, Disk)
        core.disk = Disk(where) if self.own_disk else where
        core.threaded = options.threaded = not isinstance(where, SimDisk) if threaded is None else threaded
        if isinstance(where, SimDisk) and not options.threaded:
            options.salt_seed = (<SimDisk>where).stream()
        core.generation = generation
        core.place = "a simulated disk" if core.disk.path is None else os.fsdecode(core.disk.path)
        cdef fc_disk *d = core.disk.handle()
        cdef int error = off_the_hub(core.threaded, lambda: core.open(d, &options))
        if self.own_disk and error < 0:
            core.disk.close()
        if error == -invalid:
            raise ValueError("segment_bytes is 4 KiB to 1 GiB and a multiple of 8, record_bytes_max at most half of it and at "
                             "most buffer_bytes_max")
        if error < 0 and not (salvage and core.w != NULL):
            core.fail(error)
        self.record_bytes_max = options.record_bytes_max

    cdef int wait_for(self, fc_wal_pos pos, object timeout) except -1:
        cdef fc_wal *w = self.core.use()
        cdef int error = 0
        cdef uint64_t slice_ns
        if fc_wal_durable(w) >= pos:
            return 0
        hub = current_hub() if self.core.threaded else None
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout is {timeout!r}; it is None or 0 or more seconds")
        if hub is not None:
            from greenlet import getcurrent
            if getcurrent() is hub:
                raise RuntimeError("a callback of the hub cannot wait: spawn a greenlet")
            error = self.station_of(hub).wait(hub, pos, timeout)
        else:
            left = None if timeout is None else <int64_t>min(timeout * 1e9, 9e18)
            while True:
                slice_ns = SIGNALS_EVERY_NS if left is None else min(left, SIGNALS_EVERY_NS)
                with nogil:
                    error = fc_wal_wait_for(w, pos, slice_ns)
                if error != -timed_out or fc_wal_error(w) != 0:
                    break
                PyErr_CheckSignals()
                if left is not None:
                    left -= slice_ns
                    if left <= 0:
                        error = -again
                        break
        if error == -again:
            raise TimeoutError(f"position {pos} is not durable after {timeout} seconds")
        if error == -invalid:
            raise ValueError(f"position {pos} is beyond the log's end")
        if error < 0:
            self.core.fail(error)
        return 0

    cdef Station station_of(self, object hub):
        cdef Station station = self.station
        if station is None or station.hub() is not hub:
            if self.stations is None:
                self.stations = weakref.WeakKeyDictionary()
            station = self.stations.get(hub)
            if station is None:
                station = self.stations[hub] = Station(self.core, hub)
            self.station = station
        return station

    cdef int put(self, fc_slice data, uint8_t type, bint urgent, fc_wal_pos *pos) except -1:
        cdef fc_wal *w
        cdef int error
        while True:
            w = self.core.use()
            if data.n <= COPIED_AT_ONCE:
                error = fc_wal_append(w, type, &data, 1, urgent, pos)
            else:
                with nogil:
                    error = fc_wal_append(w, type, &data, 1, urgent, pos)
            if error == 0:
                return 0
            if error != FC_WAL_EFULL:
                self.core.fail(error)
            self.wait_for(fc_wal_durable(w) + 1, None)   # until the batch that is being written is through

    cdef int put_object(self, object data, uint8_t type, bint urgent, fc_wal_pos *pos) except -1:
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.put(fc_slice(<const char *>view.buf, view.len), type, urgent, pos)
        finally:
            PyBuffer_Release(&view)

    def append(self, data, type=1, *, bint sync=False, bint urgent=False):
        """One record: any contiguous buffer. Returns its position, which grows with each record; it is durable later (wait), or
        with sync=True when this returns.

        type: 1 to 254, the caller's own. urgent: may use the reserve when the disk is full (deletions, shutdown).
        Waits when buffer_bytes_max bytes wait for the disk. Raises RecordTooLargeError, DiskFullError."""
        cdef fc_wal_pos pos = 0
        if not 1 <= type <= 254:
            raise ValueError(f"type is {type}; it is 1 to 254")
        self.put_object(data, type, urgent, &pos)
        if sync:
            self.wait_for(pos, None)
        return pos

    def append_many(self, records, type=1, *, bint sync=False, bint urgent=False):
        """A record of each buffer, in order. Returns their positions. All are looked at before the first is appended; still they
        are records and no transaction: a crash may leave the first few of them."""
        cdef fc_wal_pos pos = 0
        cdef list positions = []
        if not 1 <= type <= 254:
            raise ValueError(f"type is {type}; it is 1 to 254")
        if isinstance(records, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"append_many takes an iterable of records, not {records.__class__.__name__}")
        records = list(records)
        self.core.use()
        for record in records:
            if not PyObject_CheckBuffer(record):
                raise TypeError(f"a record is a bytes-like object, not {record.__class__.__name__}")
            if memoryview(record).nbytes > self.record_bytes_max:
                self.core.fail(FC_WAL_ELARGE)
        for record in records:
            self.put_object(record, type, urgent, &pos)
            positions.append(pos)
        if sync and positions:
            self.wait_for(pos, None)
        return positions

    def wait(self, position, timeout=None):
        """Until everything up to the position is durable. timeout: seconds, then TimeoutError. ValueError for a position
        beyond the end, LogError when the log has failed before."""
        self.wait_for(position_of(position), timeout)

    def sync(self, timeout=None):
        """Until everything that has been appended is durable. Returns the position of the last record."""
        cdef fc_wal_pos end = fc_wal_end(self.core.use())
        self.wait_for(end, timeout)
        return end

    def truncate_before(self, position):
        """Records before the position are not needed any more. Whole segments are given back, soon; the others stay readable."""
        cdef fc_wal *w = self.core.use()
        cdef fc_wal_pos pos = position_of(position)
        if pos > fc_wal_end(w):
            raise ValueError(f"position {pos} is beyond the log's end")
        fc_wal_truncate_before(w, pos)

    def read_from(self, position=0):
        """An iterator of Record tuples: those whose position is greater, to what is durable when it gets there. 0: from the
        oldest. Raises TruncatedError when the position is gone, here or later on; CorruptionError at a damaged record."""
        return Records(self, position)

    def step(self):
        """Of a log without a thread: the next piece of its work. False when there is none."""
        cdef fc_wal *w = self.core.use()
        cdef int error
        if self.core.threaded:
            raise RuntimeError("the log has a thread that does its work")
        with nogil:
            error = fc_wal_step(w)
        if error < 0:
            self.core.fail(error)
        return error > 0

    @property
    def durable(self):
        """The position up to which everything is on the disk."""
        return fc_wal_durable(self.core.use())

    @property
    def end(self):
        """The position of the last record."""
        return fc_wal_end(self.core.use())

    @property
    def error(self):
        """The LogError that the log has failed with, for good; None while it works."""
        cdef int error = fc_wal_error(self.core.use())
        if error != 0 and self.core.failure is None:
            self.core.failure = self.core.exception(error)
        return self.core.failure

    def report(self):
        """LogReport: what the log holds and has done."""
        return report_of(self.core.use())

    @property
    def closed(self):
        return self.core.closed or self.core.w == NULL

    def close(self):
        """Make everything durable that was appended and let go of the directory. Whoever waits gets an answer. Raises the
        LogError that kept something from becoming durable; closed it is all the same. A forked child lets go of nothing."""
        cdef Core core = self.core
        if core.closed or core.w == NULL:
            return
        core.closed = True
        if core.generation != generation:
            return
        error = off_the_hub(core.threaded, lambda: stop(core))
        if self.own_disk:
            core.disk.close()
        if error < 0 and fc_wal_durable(core.w) < fc_wal_end(core.w):
            core.fail(error)

    def __enter__(self):
        self.core.use()
        return self

    def __exit__(self, *exc):
        self.close()

    def __repr__(self):
        return f"<fastcore.wal.Log {'closed' if self.closed else self.core.place!r}>"


cdef object report_of(fc_wal *w):
    cdef fc_wal_report r
    cdef fc_wal_pos end = fc_wal_end(w)
    cdef int i
    fc_wal_get_report(w, &r)
    times = [(fc_hist_floor(FC_WAL_SYNC_US, i + 1) / 1e6, r.sync_us[FC_HIST_FIRST + i])
             for i in range(FC_WAL_SYNC_CELLS - FC_HIST_FIRST) if r.sync_us[FC_HIST_FIRST + i] > 0]
    return LogReport(r.first, r.end, end, r.records, r.torn_bytes, r.appends, r.bytes, r.batches, r.syncs,
                     r.sync_ns_total / 1e9, r.sync_ns_max / 1e9, tuple(times))


cdef int stop(Core core):
    cdef int error
    with nogil:
        error = fc_wal_stop(core.w)
    return error


# --- reading ---------------------------------------------------------------------------------------------------------

cdef enum:
    BATCH_RECORDS = 512       # read in one go without the GIL
    BATCH_BYTES = 262144

cdef struct Found:
    fc_wal_pos pos
    size_t at, n
    uint8_t type


@cython.final
@cython.no_gc_clear
cdef class Records:
    """An iterator over a log's records; made by Log.read_from."""

    def __cinit__(self):
        self.batch = []
        self.finished = True

    def __init__(self, Log log not None, position=0):
        cdef fc_wal_pos pos = position_of(position)
        if self.log is not None:
            raise RuntimeError("the iterator has been made already")
        log.core.use()
        self.log = log
        cdef int error = off_the_hub(log.core.threaded, lambda: self.open(pos))
        if error < 0:
            log.core.fail(error)
        self.finished = False

    def __dealloc__(self):
        if self.reader != NULL and self.log.core.generation == generation:
            fc_wal_reader_close(self.reader)

    cdef int open(self, fc_wal_pos pos):
        cdef fc_wal *w = self.log.core.w
        cdef fc_wal_reader *reader = NULL
        cdef int error
        with nogil:
            error = fc_wal_reader_open(w, pos, &reader)
        self.reader = reader
        return error

    cdef object fetch(self):
        """Some more records into the batch, or what comes instead."""
        cdef Found found[BATCH_RECORDS]
        cdef fc_wal_record record
        cdef fc_wal_reader *reader = self.reader
        cdef char *bytes_ = NULL
        cdef char *grown
        cdef size_t n = 0, used = 0, room = 0, i
        cdef int answer = 1
        with nogil:
            while n < BATCH_RECORDS and used < BATCH_BYTES:
                answer = fc_wal_reader_next(reader, &record)
                if answer <= 0:
                    break
                if used + record.payload.n > room:
                    room = 2 * (used + record.payload.n)
                    grown = <char *>realloc(bytes_, room)
                    if grown == NULL:
                        answer = -no_memory
                        break
                    bytes_ = grown
                if record.payload.n:
                    memcpy(bytes_ + used, record.payload.p, record.payload.n)
                found[n] = Found(record.pos, used, record.payload.n, record.type)
                used += record.payload.n
                n += 1
        try:
            self.finished = answer <= 0
            self.error = self.log.core.exception(answer) if answer < 0 else None
            for i in range(n, 0, -1):
                self.batch.append(Record(found[i - 1].pos, found[i - 1].type,
                                         PyBytes_FromStringAndSize(bytes_ + found[i - 1].at, found[i - 1].n)))
        finally:
            free(bytes_)

    def __iter__(self):
        return self

    def __next__(self):
        if not self.batch and not self.finished:
            self.log.core.use()
            if self.busy:
                raise ValueError("the iterator is being used by another thread or greenlet")
            self.busy = True
            try:
                off_the_hub(self.log.core.threaded, lambda: self.fetch())
            finally:
                self.busy = False
        if self.batch:
            return self.batch.pop()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        raise StopIteration
