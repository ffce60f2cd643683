"""The jobs of a task queue that wait: by id, and in the order in which they are to be run (cext/include/fc/jobindex.h)."""

import os
from collections import namedtuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcpy


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *n) except NULL
    object PyType_GenericAlloc(PyTypeObject *type, Py_ssize_t n)
    unsigned long long PyLong_AsUnsignedLongLong(object number) except? 0xFFFFFFFFFFFFFFFF


__all__ = ["Depth", "Duplicate", "Full", "Job", "JobIndex", "PRIORITY_MAX", "RUN_AT_MAX", "WEIGHT_MAX"]

PRIORITY_MAX = FC_JOB_PRIORITY_MAX
RUN_AT_MAX = FC_JOB_RUN_AT_MAX
WEIGHT_MAX = FC_JOB_WEIGHT_MAX

Job = namedtuple("Job", ["id", "queue", "priority", "run_at"])
Job.__doc__ = "A job as the index knows it: id as it was given, name of its queue, 0 to 255, and milliseconds."
Depth = namedtuple("Depth", ["ready", "delayed"])
Depth.__doc__ = "Jobs of a queue that are due, and that are not yet."

cdef object job_type = Job

# Tags of ids in C: "a" and b"a" are two ids, as in a dict.
cdef uint8_t BYTES = 0
cdef uint8_t TEXT = 1

# So many queues are looked up without asking for memory.
cdef enum:
    LISTED = 64


class Full(RuntimeError):
    """As many jobs, queues or bytes as the index may have; the message names the bound."""


class Duplicate(ValueError):
    """The id is in the index already."""


cdef uint64_t whole(object value, uint64_t most, str what) except? 0xFFFFFFFFFFFFFFFF:
    """An int from 0 to `most`."""
    cdef uint64_t number
    if not isinstance(value, int):
        value = PyNumber_Index(value)
    try:
        number = PyLong_AsUnsignedLongLong(value)
        if number <= most:
            return number
    except OverflowError:
        pass
    raise ValueError(f"{what} is {value}; it is 0 to {most}")


cdef uint64_t time_of(object now) except? 0xFFFFFFFFFFFFFFFF:
    return whole(now, 0xFFFFFFFFFFFFFFFE, "now")


cdef int read_id(object id, fc_job_id *out) except -1:
    cdef Py_ssize_t n = 0
    out.p = NULL
    out.number = 0
    if isinstance(id, str):
        out.p = PyUnicode_AsUTF8AndSize(id, &n)
        out.tag = TEXT
    elif isinstance(id, bytes):
        out.p = PyBytes_AS_STRING(id)
        n = PyBytes_GET_SIZE(id)
        out.tag = BYTES
    elif isinstance(id, int):
        out.number = whole(id, 0xFFFFFFFFFFFFFFFF, "the id")
    else:
        raise TypeError(f"an id is an int, str or bytes, not {type(id).__name__}")
    if n > FC_JOB_NAME_MAX:
        raise ValueError(f"the id has {n} bytes; it has at most {FC_JOB_NAME_MAX}")
    out.n = <uint32_t>n
    return 0


cdef fc_slice name_slice(str name) except *:
    cdef Py_ssize_t n = 0
    if name is None:
        raise TypeError("a queue's name is a str, not None")
    cdef const char *p = PyUnicode_AsUTF8AndSize(name, &n)
    if n > FC_JOB_NAME_MAX:
        raise ValueError(f"the queue's name has {n} bytes; it has at most {FC_JOB_NAME_MAX}")
    return fc_slice(p, <size_t>n)


cdef fc_job_order order_of(str order) except *:
    if order == "fair":
        return FC_JOB_FAIR
    if order == "strict":
        return FC_JOB_STRICT
    raise ValueError(f"the order is {order!r}; it is 'fair' or 'strict'")


@cython.final
cdef class QueueNumbers:
    """The queues of one call, as numbers; those that do not exist are left out."""

    cdef uint32_t *numbers
    cdef size_t n
    cdef uint32_t[LISTED] few

    def __dealloc__(self):
        if self.numbers != self.few:
            PyMem_Free(self.numbers)


cdef object listed(object queues):
    """One name or several, as a list or tuple."""
    if isinstance(queues, str):
        return (queues,)
    return queues if isinstance(queues, (list, tuple)) else list(queues)


cdef QueueNumbers numbers_of(JobIndex index, object queues):
    cdef QueueNumbers found = QueueNumbers.__new__(QueueNumbers)
    cdef int64_t number
    found.numbers = found.few
    if len(queues) > LISTED:
        found.numbers = <uint32_t *>PyMem_Malloc(len(queues) * sizeof(uint32_t))
        if found.numbers == NULL:
            found.numbers = found.few
            raise MemoryError
    for name in queues:
        if not isinstance(name, str):
            raise TypeError(f"a queue's name is a str, not {type(name).__name__}")
        number = index.known_queue(name)
        if number >= 0:
            found.numbers[found.n] = <uint32_t>number
            found.n += 1
    return found


@cython.final
cdef class JobIndex:
    """An index of waiting jobs in the order (queue, priority, run_at, id), with constant-time look-up by id.

    Ids are ints from 0 to 2**64 - 1, str or bytes up to 255 bytes. Priorities are 0 to 255, 255 first. Times are whole
    milliseconds since whenever you like, 0 to 2**48 - 1; now is given with each call that needs it. Jobs of one queue,
    priority and run_at come in the order of their ids if these are ints; the others after them, in the order they were added.

    max_jobs, max_queues, max_bytes: bounds; Full is raised at them. None for jobs: 2**32 - 1; for bytes: 32 GiB.
    oldest_every: so many claims from a queue, and one of them takes the job that has been due for longest whatever its
    priority; 0 for strict priorities, which may starve the low ones.

    A call that raises has changed nothing. Not safe to use from several threads at once.
    """

    def __cinit__(self, *, max_jobs=None, max_queues=65536, max_bytes=None, oldest_every=16):
        cdef bytes key = os.urandom(16)
        self.options = FC_JOBINDEX_OPTIONS
        if max_jobs is not None:
            self.options.max_jobs = whole(max_jobs, self.options.max_jobs, "max_jobs")
        if max_bytes is not None:
            self.options.max_bytes = whole(max_bytes, self.options.max_bytes, "max_bytes")
            if self.options.max_bytes < FC_JOBINDEX_BYTES_MIN:
                raise ValueError(f"max_bytes is {max_bytes}; it is at least {FC_JOBINDEX_BYTES_MIN}")
        self.options.max_queues = <uint32_t>whole(max_queues, FC_JOB_QUEUES_MAX, "max_queues")
        self.options.oldest_every = <uint32_t>whole(oldest_every, 1 << 30, "oldest_every")
        memcpy(&self.options.key, PyBytes_AS_STRING(key), sizeof(self.options.key))
        self.names = []
        self.index = fc_jobindex_new(&self.options)
        if self.index == NULL:
            raise MemoryError

    def __dealloc__(self):
        fc_jobindex_free(self.index)

    # --- as C sees it ---

    cdef int64_t queue_number(self, fc_slice name) noexcept:
        self.changes += 1
        return fc_jobindex_queue(self.index, name)

    cdef int add_job(self, fc_job_id id, uint32_t queue, uint32_t priority, uint64_t run_at) noexcept:
        self.changes += 1
        return fc_jobindex_add(self.index, id, queue, priority, run_at)

    cdef bint find_job(self, fc_job_id id, fc_job *job) noexcept:
        return fc_jobindex_get(self.index, id, job)

    cdef void remove_job(self, const fc_job *job) noexcept:
        self.changes += 1
        fc_jobindex_remove(self.index, job)

    cdef bint next_job(self, const uint32_t *queues, size_t n, fc_job_order order, uint64_t now, fc_job *job) noexcept:
        return fc_jobindex_next(self.index, queues, n, order, now, job)

    cdef void take_job(self, const fc_job *job) noexcept:
        self.changes += 1
        fc_jobindex_take(self.index, job)

    # --- between the two ---

    cdef int fail(self, int64_t error, object what) except -1:
        if error == FC_JOBINDEX_EEXIST:
            raise Duplicate(f"job {what!r} is in the index already")
        if error == FC_JOBINDEX_EJOBS:
            raise Full(f"the index has its {self.options.max_jobs} jobs (max_jobs)")
        if error == FC_JOBINDEX_EQUEUES:
            raise Full(f"the index has its {self.options.max_queues} queues (max_queues)")
        if error == FC_JOBINDEX_EBYTES:
            raise Full(f"the index takes its {self.options.max_bytes} bytes (max_bytes)")
        if error == FC_JOBINDEX_ENOMEM:
            raise MemoryError
        raise ValueError(fc_jobindex_strerror(error).decode())

    cdef int64_t known_queue(self, str name) except? -1:
        return fc_jobindex_find_queue(self.index, name_slice(name))

    cdef uint32_t need_queue(self, str name) except? 0:
        cdef int64_t number = self.queue_number(name_slice(name))
        if number < 0:
            self.fail(number, name)
        return <uint32_t>number

    cdef object name_of(self, uint32_t queue):
        """The same object each time, so that a claim makes none."""
        cdef fc_slice bytes = fc_jobindex_name(self.index, queue)
        while len(self.names) <= queue:
            self.names.append(None)
        name = self.names[queue]
        if name is None:
            name = self.names[queue] = PyUnicode_DecodeUTF8(bytes.p, <Py_ssize_t>bytes.n, NULL)
        return name

    cdef object to_python(self, const fc_job *job):
        cdef object id, queue = self.name_of(job.queue), priority = job.priority, run_at = job.run_at
        if job.id.p == NULL:
            id = job.id.number
        elif job.id.tag == TEXT:
            id = PyUnicode_DecodeUTF8(job.id.p, job.id.n, NULL)
        else:
            id = PyBytes_FromStringAndSize(job.id.p, job.id.n)
        # Job(...) takes three times as long: a claim is made of little else.
        cdef object made = PyType_GenericAlloc(<PyTypeObject *>job_type, 4)
        Py_INCREF(id)
        PyTuple_SET_ITEM(made, 0, id)
        Py_INCREF(queue)
        PyTuple_SET_ITEM(made, 1, queue)
        Py_INCREF(priority)
        PyTuple_SET_ITEM(made, 2, priority)
        Py_INCREF(run_at)
        PyTuple_SET_ITEM(made, 3, run_at)
        return made

    cdef int find(self, object id, fc_job *job) except -1:
        """Raises KeyError."""
        cdef fc_job_id c_id
        read_id(id, &c_id)
        if not self.find_job(c_id, job):
            raise KeyError(id)
        return 0

    # --- jobs ---

    def __len__(self):
        return fc_jobindex_count(self.index)

    def __contains__(self, id):
        cdef fc_job_id c_id
        cdef fc_job job
        try:
            read_id(id, &c_id)
        except ValueError:
            return False
        return self.find_job(c_id, &job)

    def add(self, id, str queue not None, priority=0, run_at=0):
        """Add a job; its queue is made if need be. O(log n).

        Raises Duplicate when the id is there already, Full at a bound, ValueError and TypeError for what no job can have.
        """
        cdef fc_job_id c_id
        read_id(id, &c_id)
        cdef uint32_t c_priority = <uint32_t>whole(priority, FC_JOB_PRIORITY_MAX, "the priority")
        cdef uint64_t c_run_at = whole(run_at, FC_JOB_RUN_AT_MAX, "run_at")
        cdef int error = self.add_job(c_id, self.need_queue(queue), c_priority, c_run_at)
        if error < 0:
            self.fail(error, id)

    def add_many(self, ids, str queue not None, priority=0, run_at=0):
        """Add jobs that share all but the id: all of them, or none and what add raises."""
        cdef fc_job_id c_id
        cdef fc_job job
        cdef uint32_t c_priority = <uint32_t>whole(priority, FC_JOB_PRIORITY_MAX, "the priority")
        cdef uint64_t c_run_at = whole(run_at, FC_JOB_RUN_AT_MAX, "run_at")
        cdef list all_ids = list(ids)  # whatever making them does is done before anything is added
        cdef uint32_t number = self.need_queue(queue)
        cdef Py_ssize_t added = 0, i
        cdef int error
        try:
            for i in range(len(all_ids)):
                read_id(all_ids[i], &c_id)
                error = self.add_job(c_id, number, c_priority, c_run_at)
                if error < 0:
                    self.fail(error, all_ids[i])
                added += 1
        except BaseException:
            for i in range(added):
                read_id(all_ids[i], &c_id)
                if self.find_job(c_id, &job):
                    self.remove_job(&job)
            raise

    def remove(self, id):
        """Take a job out. Raises KeyError when there is none of this id. O(log n)."""
        cdef fc_job job
        self.find(id, &job)
        self.remove_job(&job)

    def discard(self, id):
        """Take a job out: True, or False when there is none of this id. O(log n)."""
        cdef fc_job_id c_id
        cdef fc_job job
        read_id(id, &c_id)
        if not self.find_job(c_id, &job):
            return False
        self.remove_job(&job)
        return True

    def get(self, id, default=None):
        """The Job of this id, or default. O(1)."""
        cdef fc_job_id c_id
        cdef fc_job job
        try:
            read_id(id, &c_id)
        except ValueError:
            return default
        return self.to_python(&job) if self.find_job(c_id, &job) else default

    def move(self, id, *, queue=None, priority=None, run_at=None):
        """Give a job another queue, priority or run_at; what is None stays. O(log n).

        Among jobs that are equal otherwise it keeps the place its id has. Raises KeyError when there is none of this id,
        and else what add raises.
        """
        cdef fc_job job
        cdef uint32_t c_priority = 0, number
        cdef uint64_t c_run_at = 0
        if priority is not None:
            c_priority = <uint32_t>whole(priority, FC_JOB_PRIORITY_MAX, "the priority")
        if run_at is not None:
            c_run_at = whole(run_at, FC_JOB_RUN_AT_MAX, "run_at")
        self.find(id, &job)
        number = job.queue
        if queue is not None:
            number = self.need_queue(queue)
            self.find(id, &job)
        self.changes += 1
        cdef int error = fc_jobindex_move(
            self.index, &job, number, job.priority if priority is None else c_priority,
            job.run_at if run_at is None else c_run_at,
        )
        if error < 0:
            self.fail(error, id)

    # --- claiming ---

    def claim(self, queues, now, n=1, str order not None="fair"):
        """Take up to n due jobs out of the index, as Jobs in the order in which they are to be run.

        queues: a name or several; unknown ones are taken for empty. order: "fair" gives each queue with due jobs its share
        by weight; "strict" takes from the first one listed that has any. From one queue comes the first due job of the
        highest priority that has one; every `oldest_every`-th time the one due for longest, whatever its priority.
        """
        cdef uint64_t c_now = time_of(now), before
        cdef Py_ssize_t most = <Py_ssize_t>whole(n, 1 << 32, "n")
        cdef fc_job_order c_order = order_of(order)
        cdef object names = listed(queues)
        cdef QueueNumbers found = numbers_of(self, names)
        cdef list claimed = []
        cdef fc_job job
        while len(claimed) < most and self.next_job(found.numbers, found.n, c_order, c_now, &job):
            before = self.changes
            try:
                claimed.append(self.to_python(&job))
            except MemoryError:
                if not claimed:
                    raise
                break
            if self.changes != before:  # making the object collected garbage, and some destructor changed the index
                claimed.pop()
                found = numbers_of(self, names)
                continue
            self.take_job(&job)
        return claimed

    def peek(self, queues, now, str order not None="fair"):
        """The Job that claim would take next, or None."""
        cdef QueueNumbers found
        cdef uint64_t c_now = time_of(now)
        cdef fc_job_order c_order = order_of(order)
        cdef fc_job job
        found = numbers_of(self, listed(queues))
        return self.to_python(&job) if self.next_job(found.numbers, found.n, c_order, c_now, &job) else None

    def next_run_at(self, queues):
        """The earliest run_at in these queues (a name or several), paused ones left out; None when there is no job. O(1)
        for each queue, and exact: wake up then."""
        cdef QueueNumbers found = numbers_of(self, listed(queues))
        cdef uint64_t earliest = FC_JOB_NEVER, run_at
        cdef size_t i
        for i in range(found.n):
            run_at = fc_jobindex_next_run_at(self.index, found.numbers[i])
            if run_at < earliest:
                earliest = run_at
        return None if earliest == FC_JOB_NEVER else earliest

    # --- queues ---

    def queues(self):
        """Names of all queues, empty ones included."""
        cdef list names = []
        cdef int64_t number = fc_jobindex_next_queue(self.index, 0)
        while number >= 0:
            names.append(self.name_of(<uint32_t>number))
            number = fc_jobindex_next_queue(self.index, <uint32_t>number + 1)
        return names

    def depth(self, str queue not None, now):
        """Depth(ready, delayed): jobs of the queue that are due at `now`, and that are not. O(log n) for each priority."""
        cdef uint64_t c_now = time_of(now), all_jobs, ready
        cdef int64_t number = self.known_queue(queue)
        if number < 0:
            return Depth(0, 0)
        all_jobs = fc_jobindex_depth(self.index, <uint32_t>number)
        ready = fc_jobindex_ready(self.index, <uint32_t>number, c_now)
        return Depth(ready, all_jobs - ready)

    def page(self, str queue not None, after=None, limit=100):
        """Up to `limit` Jobs of a queue in order, and a mark to go on from: (jobs, mark), the mark None at the end.

        after: the mark of the page before; it stays good when that page's jobs leave. Raises ValueError for what is no mark.
        """
        cdef Py_ssize_t most = <Py_ssize_t>whole(limit, 1 << 32, "the limit")
        cdef int64_t number = self.known_queue(queue)
        cdef list jobs = []
        cdef char[FC_JOB_KEY_MAX] key
        cdef fc_slice place
        cdef fc_job job
        cdef bint more
        place.p = key
        if after is not None:
            if not isinstance(after, bytes):
                raise TypeError(f"the mark is bytes, not {type(after).__name__}")
            place.n = <size_t>PyBytes_GET_SIZE(after)
            if not 10 < place.n <= FC_JOB_KEY_MAX:
                raise ValueError("not a mark that page returned")
            memcpy(key, PyBytes_AS_STRING(after), place.n)
        if number < 0 or most == 0:
            return jobs, after
        if after is None:
            more = fc_jobindex_first(self.index, <uint32_t>number, &job)
        else:
            more = fc_jobindex_after(self.index, <uint32_t>number, place, &job)
        while more and len(jobs) < most:
            place.n = fc_jobindex_place(self.index, &job, key)
            jobs.append(self.to_python(&job))
            more = fc_jobindex_after(self.index, <uint32_t>number, place, &job)
        return jobs, PyBytes_FromStringAndSize(key, <Py_ssize_t>place.n) if more else None

    def pause(self, str queue not None):
        """Claim nothing from this queue until it is resumed; it is made if need be."""
        fc_jobindex_pause(self.index, self.need_queue(queue), True)

    def resume(self, str queue not None):
        """The opposite of pause; nothing happens if it is not paused."""
        cdef int64_t number = self.known_queue(queue)
        if number >= 0:
            fc_jobindex_pause(self.index, <uint32_t>number, False)

    def paused(self, str queue not None):
        """Is it paused?"""
        cdef int64_t number = self.known_queue(queue)
        return number >= 0 and fc_jobindex_paused(self.index, <uint32_t>number)

    def set_weight(self, str queue not None, weight):
        """The queue's share of fair claims, 1 to 1000; it is made if need be, with 1."""
        cdef uint32_t c_weight = <uint32_t>whole(weight, FC_JOB_WEIGHT_MAX, "the weight")
        if c_weight == 0:
            raise ValueError(f"the weight is 0; it is 1 to {WEIGHT_MAX}")
        fc_jobindex_set_weight(self.index, self.need_queue(queue), c_weight)

    def weight(self, str queue not None):
        """Its weight, 1 unless set otherwise."""
        cdef int64_t number = self.known_queue(queue)
        return 1 if number < 0 else fc_jobindex_weight(self.index, <uint32_t>number)

    def drop(self, str queue not None):
        """Forget a queue, its settings and its jobs; returns how many these were. O(1): their memory comes back a few jobs
        at a time with later calls, or by purge; their ids are free at once."""
        cdef int64_t number = self.known_queue(queue)
        if number < 0:
            return 0
        self.changes += 1
        if number < len(self.names):
            self.names[number] = None
        return fc_jobindex_drop_queue(self.index, <uint32_t>number)

    def purge(self, n=1000):
        """Give back the memory of up to n jobs of dropped queues; returns how many are left. For idle moments."""
        cdef uint64_t most = whole(n, 0xFFFFFFFFFFFFFFFF, "n")
        self.changes += 1
        return fc_jobindex_purge(self.index, most)

    def clear(self):
        """Remove every job and queue, and give the memory back."""
        self.changes += 1
        if fc_jobindex_clear(self.index) < 0:
            raise MemoryError
        self.names = []

    @property
    def nbytes(self):
        """Bytes of memory in use, which max_bytes bounds."""
        return fc_jobindex_bytes(self.index)

    def __repr__(self):
        return f"<JobIndex: {len(self)} jobs in {fc_jobindex_queues(self.index)} queues>"

    def _check(self):
        """For tests: raises AssertionError when the structure is damaged. O(n)."""
        cdef const char *wrong = fc_jobindex_check(self.index)
        if wrong != NULL:
            raise AssertionError(wrong.decode())
