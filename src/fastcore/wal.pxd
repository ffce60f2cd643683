# The write-ahead log for other compiled modules:
#     log.put(slice, type, urgent, &position)     # like append, from C memory
#     log.wait_for(position, None)                # waits as wait() does: a greenlet through its hub, a thread on a condition
# A Station is how the greenlets of one hub wait for one log; fc_wal_watch (fc/wal.h) is underneath.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastcore.disk cimport Disk, fc_disk


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n


cdef extern from "fc/hist.h" nogil:
    ctypedef struct fc_hist_layout:
        pass
    enum:
        FC_HIST_FIRST
    uint64_t fc_hist_floor(fc_hist_layout l, uint32_t i)


cdef extern from "fc/wal.h" nogil:
    const fc_hist_layout FC_WAL_SYNC_US
    enum:
        FC_WAL_SYNC_CELLS
    ctypedef struct fc_wal:
        pass
    ctypedef uint64_t fc_wal_pos
    enum:
        FC_WAL_ECORRUPT
        FC_WAL_EFULL
        FC_WAL_ELARGE
        FC_WAL_ECLOSED
        FC_WAL_EFORMAT
        FC_WAL_EGONE
        FC_WAL_ELOCKED
    ctypedef struct fc_wal_options:
        uint64_t segment_bytes
        uint32_t record_bytes_max
        uint32_t buffer_bytes_max
        bint ballast
        bint threaded
        uint64_t salt_seed
    const fc_wal_options FC_WAL_OPTIONS
    ctypedef struct fc_wal_report:
        fc_wal_pos first, end
        uint64_t records, torn_bytes, corrupt_offset
        char corrupt_name[24]
        uint64_t appends, bytes, batches, syncs, sync_ns_total, sync_ns_max
        uint64_t *sync_us
        int error
    ctypedef struct fc_wal_watch:
        int event_fd
        fc_wal_pos wanted
    const fc_wal_pos FC_WAL_NOTHING
    ctypedef struct fc_wal_reader:
        pass
    ctypedef struct fc_wal_record:
        fc_wal_pos pos
        uint8_t type
        fc_slice payload
    int fc_wal_open(fc_disk *disk, const fc_wal_options *options, fc_wal **out)
    int fc_wal_stop(fc_wal *w)
    int fc_wal_close(fc_wal *w)
    int fc_wal_append(fc_wal *w, uint8_t type, const fc_slice *pieces, size_t n, bint urgent, fc_wal_pos *pos)
    fc_wal_pos fc_wal_durable(const fc_wal *w)
    fc_wal_pos fc_wal_end(fc_wal *w)
    int fc_wal_error(fc_wal *w)
    int fc_wal_wait_for(fc_wal *w, fc_wal_pos pos, uint64_t timeout_ns)
    void fc_wal_watch_add(fc_wal *w, fc_wal_watch *watch)
    void fc_wal_watch_remove(fc_wal *w, fc_wal_watch *watch)
    bint fc_wal_watch_for(fc_wal *w, fc_wal_watch *watch, fc_wal_pos pos)
    int fc_wal_state(fc_wal *w, fc_wal_pos pos)
    void fc_wal_truncate_before(fc_wal *w, fc_wal_pos pos)
    int fc_wal_reader_open(fc_wal *w, fc_wal_pos pos, fc_wal_reader **out)
    int fc_wal_reader_next(fc_wal_reader *r, fc_wal_record *out)
    void fc_wal_reader_close(fc_wal_reader *r)
    int fc_wal_step(fc_wal *w)
    void fc_wal_get_report(fc_wal *w, fc_wal_report *out)
    const char *fc_wal_strerror(int error)


# The gevent hub of this thread, or None.
cdef object current_hub()
# function(), in a thread of gevent's pool if this one runs a hub and `threaded`: for what reads from disks or waits for
# them. It returns its errors: gevent prints what is raised there.
cdef object off_the_hub(bint threaded, object function)


# A LogReport.
cdef object report_of(fc_wal *w)


# The C log, as long as anybody uses it.
cdef class Core:
    cdef fc_wal *w
    cdef Disk disk
    cdef uint32_t generation     # of processes: a forked child's is another
    cdef bint threaded, closed
    cdef str place
    cdef object failure          # the sticky error as an exception, once it has been asked for
    cdef object owner            # whose log it is, if it is part of something: closing it is the owner's business

    cdef fc_wal *use(self) except NULL
    cdef object exception(self, int error)
    cdef int fail(self, int error) except -1
    cdef int open(self, fc_disk *d, fc_wal_options *options)


cdef class Waiter:
    cdef Waiter before, after
    cdef fc_wal_pos pos
    cdef object greenlet
    cdef bint queued


cdef class Station:
    cdef Core core
    cdef fc_wal_watch watch
    cdef object hub              # a weak reference
    cdef object io
    cdef bint watching
    cdef Waiter head, tail       # by position, the least first

    cdef void insert(self, Waiter waiter) noexcept
    cdef void remove(self, Waiter waiter) noexcept
    cdef int wait(self, object hub, fc_wal_pos pos, object timeout) except 1


cdef class Log:
    cdef Core core
    cdef bint own_disk
    cdef uint32_t record_bytes_max
    cdef Station station         # of the hub that waited last
    cdef object stations         # hub -> Station, weakly

    cdef int put(self, fc_slice data, uint8_t type, bint urgent, fc_wal_pos *pos) except -1
    cdef int put_object(self, object data, uint8_t type, bint urgent, fc_wal_pos *pos) except -1
    cdef int wait_for(self, fc_wal_pos pos, object timeout) except -1
    cdef Station station_of(self, object hub)


cdef class Records:
    cdef Log log
    cdef fc_wal_reader *reader
    cdef object batch            # Record tuples that have been read, the next one last
    cdef object error            # what follows them
    cdef bint busy, finished

    cdef int open(self, fc_wal_pos pos)
    cdef object fetch(self)
