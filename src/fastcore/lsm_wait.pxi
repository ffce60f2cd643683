# The C store, and how its users wait: for the disk, for room, for durability.

cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept, void (*child)() noexcept)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    ssize_t read_fd "read"(int fd, void *buf, size_t n)
    int close_fd "close"(int fd)

cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()
    uint64_t fc_wall_ns()

cdef extern from *:
    """
    static inline uint64_t word_load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline void word_store(uint64_t *p, uint64_t value) { __atomic_store_n(p, value, __ATOMIC_RELAXED); }
    static inline void rest_ns(uint64_t ns)
    {
        struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
        nanosleep(&t, NULL);
    }
    """
    uint64_t word_load(const uint64_t *p) nogil
    void word_store(uint64_t *p, uint64_t value) nogil
    void rest_ns(uint64_t ns) nogil

cdef enum:
    READ_THREADS = 4             # what the pool may have; a disk's queue is deeper, but each core is wanted elsewhere
    SIGNALS_EVERY_NS = 50000000  # how long Ctrl-C may have to wait for a thread that waits
    PAY_FROM_NS = 200000         # delays are gathered up to this, for a sleep costs more than a write
    CREDIT_NS = 2000000          # sleeps are longer than asked for, loops' by a millisecond: what is too much counts later

cdef int again = errno.EAGAIN
cdef int timed_out = errno.ETIMEDOUT

# How many forks lie between this process and the one that loaded the module.
cdef uint32_t generation = 0


cdef void count_fork() noexcept nogil:
    global generation
    generation += 1


pthread_atfork(NULL, NULL, count_fork)


cdef uint64_t read_clock(void *ctx) noexcept nogil:
    return word_load(<const uint64_t *>ctx)


# no_gc_clear, here and below: what the collector finds in a circle still needs its store when it goes.

@cython.final
@cython.no_gc_clear
cdef class Core:
    """Freed when the store, its keyspaces, snapshots and iterators, and everybody who waits have let go of it."""

    cdef inline fc_store *use(self) except NULL:
        if self.s != NULL and not self.closed and self.generation == generation and self.clock is None:
            return self.s
        return self.use_slowly()

    cdef fc_store *use_slowly(self) except NULL:
        if self.s == NULL:
            raise ValueError("the store has not been opened")
        if self.generation != generation:
            raise ForkedError(errno.EPERM, "the store was opened by the process this one was forked from; open it anew there or "
                              "here, after it was closed", self.place)
        if self.closed:
            raise ClosedError(errno.EBADF, "the store is closed; open it anew", self.place)
        # The C threads read the time as well, and may hold what this thread will wait for: they never call Python.
        if self.clock is not None:
            word_store(&self.clock_ms, <uint64_t>(self.clock() * 1000))
        return self.s

    cdef object exception(self, int error):
        cdef fc_damage damage
        if error == FC_TABLE_ECORRUPT:   # as iterators answer it
            error = FC_STORE_ECORRUPT
        if error == FC_STORE_ECORRUPT and self.s != NULL and fc_store_damage(self.s, &damage):
            return damage_error(&damage, self.place)
        made = error_of(error, self.place)
        if self.s != NULL and error == fc_store_error(self.s):
            made = ReadOnlyError(made.errno or errno.EIO, f"the store is read-only since a write failed ({made.strerror}); close "
                                 "it, see to the disk, and open it anew: what was durable is there", self.place)
        return made

    cdef int fail(self, int error) except? -1:
        raise self.exception(error)

    cdef int open(self, fc_disk *d, fc_store_options *options, fc_damage *damage):
        cdef fc_store *s = NULL
        cdef int error
        self.disk.pin()
        with nogil:
            error = fc_store_open(d, options, damage, &s)
        if error < 0:
            self.disk.unpin()
        else:
            self.s = s
        return error

    cdef uint64_t expiry(self, object ttl) except? 0:
        """When something that lives so many seconds ends."""
        cdef double seconds = ttl
        if not 0 < seconds < 1e12:
            raise ValueError(f"ttl is {ttl}; it is more than 0 seconds, or None")
        self.use()   # asks the clock
        return (fc_wall_ns() // 1000000 if self.clock is None else self.clock_ms) + <uint64_t>ceil(seconds * 1000)

    def __dealloc__(self):
        fc_batch_free(&self.scratch)
        if self.s == NULL or self.generation != generation:
            return   # a child has no threads to wait for, and perhaps a lock that is held for ever
        with nogil:
            fc_pool_close(self.pool)
            fc_store_close(self.s)
        self.disk.unpin()


cdef Core NOWHERE = Core.__new__(Core)


cdef inline fc_slice slice_of(bytes data) noexcept:
    return fc_slice(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


# --- work for the pool -----------------------------------------------------------------------------------------------

cdef enum What:
    LOOK_UP
    STEP
    WRITE
    ROOM


cdef void run_work(fc_pool_job *job) noexcept nogil:
    cdef Work *w = <Work *>job
    cdef fc_view *view
    cdef size_t i
    if w.what == LOOK_UP:
        for i in range(w.n):
            if w.wanted[i].found == FC_EWOULDREAD:
                w.wanted[i].found = fc_read_get(&w.read, w.wanted[i].key, False, &w.wanted[i].value)
    elif w.what == STEP:
        view = fc_scan_view(w.scan)
        fc_scan_memory_only(w.scan, False)
        while True:
            if w.forward:
                fc_view_next(view)
            else:
                fc_view_prev(view)
            if view.error != FC_VIEW_ESKIPPED:
                break
        fc_scan_memory_only(w.scan, True)
    elif w.what == WRITE:
        w.error = fc_store_write(w.store, w.batch, w.flags, &w.result)
    else:
        w.error = fc_store_wait_room(w.store, SIGNALS_EVERY_NS)


cdef class Single:
    """One user at a time: other greenlets and threads are told so."""

    cdef int take(self) except -1:
        if self.busy:
            raise ValueError(f"the {type(self).__name__} is being used by another thread or greenlet")
        self.busy = True
        return 0

    cdef void give(self) noexcept:
        if not self.left_behind:
            self.busy = False


@cython.final
@cython.no_gc_clear
cdef class Job:
    """Work, and all it points to: a greenlet that is killed meanwhile does not take that away."""

    def __cinit__(self):
        self.work.job.run = run_work
        self.work.object = <void *>self
        self.generation = generation

    def __dealloc__(self):
        cdef size_t i
        if self.generation != generation:
            return   # a thread of the parent was at it when this process was forked
        if self.work.wanted != NULL:
            for i in range(self.work.n):
                if self.work.wanted[i].found == FC_FOUND:
                    fc_value_release(&self.work.wanted[i].value)
            free(self.work.wanted)
        if self.work.reading:
            fc_read_end(&self.work.read)

    cdef void finish(self) noexcept:
        self.done = True
        if self.subject is not None:
            self.subject.left_behind = self.subject.busy = False


@cython.final
@cython.no_gc_clear
cdef class Station:
    """Where the pool gives a hub's jobs back. The hub watches the descriptor only while there are some."""

    def __cinit__(self, Core core not None, object hub):
        self.c.event_fd = -1
        cdef int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if fd < 0:
            raise OSError(errno.EMFILE, "no descriptor for waiting")
        self.core = core
        self.c.event_fd = fd
        self.hub = weakref.ref(hub)
        self.io = hub.loop.io(fd, 1)
        self.jobs = set()

    def __dealloc__(self):
        if self.c.event_fd < 0:
            return
        if self.core.pool != NULL and self.core.generation == generation:
            fc_pool_leave(self.core.pool)
        close_fd(self.c.event_fd)

    def ready(self):
        """Jobs are done: called by the hub."""
        cdef uint64_t count
        cdef fc_pool_job *c
        cdef Job job
        cdef list done = []
        hub = self.hub()
        if self.core.generation == generation:
            read_fd(self.c.event_fd, &count, sizeof(count))
            c = fc_pool_take(&self.c)
            while c != NULL:
                job = <Job>(<Work *>c).object
                c = c.next
                job.finish()
                job.station = None
                done.append(job)
                if job is self.room:
                    self.room = None
            self.jobs.difference_update(done)
        else:   # in a forked child nothing comes back any more: all are woken, to be told so
            done.extend(self.jobs)
            self.jobs.clear()
        if not self.jobs:
            self.io.stop()
        for job in done:
            for waiter in job.waiters:
                hub.loop.run_callback(waiter.switch, None)

    cdef int submit(self, Job job) except -1:
        if self.core.pool == NULL:
            self.core.pool = fc_pool_new(READ_THREADS)
            if self.core.pool == NULL:
                raise MemoryError
        job.station = self
        job.waiters = []
        job.work.job.station = &self.c
        if fc_pool_submit(self.core.pool, &job.work.job) < 0:
            raise OSError(errno.EAGAIN, "no thread could be started")
        if not self.jobs:
            self.io.start(self.ready)
        self.jobs.add(job)
        return 0

    cdef int wait(self, object hub, Job job) except -1:
        from gevent.hub import Waiter
        waiter = Waiter(hub)
        job.waiters.append(waiter)
        waiter.get()
        self.core.use()
        return 0


@cython.final
@cython.no_gc_clear
cdef class Waits:

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

    cdef int run(self, Job job) except -1:
        """Until the job is done: in the pool if this is a greenlet, here if not."""
        hub = current_hub() if self.core.threaded else None
        if hub is not None and getcurrent() is not hub:
            station = self.station_of(hub)
            station.submit(job)
            station.wait(hub, job)
            return 0
        with nogil:
            run_work(&job.work.job)
        job.finish()
        return 0

    cdef int run_for(self, Job job, Single subject) except -1:
        """The same with what the caller has taken: if he is killed meanwhile, it stays taken until the job is done."""
        try:
            return self.run(job)
        except BaseException:
            if not job.done:
                subject.left_behind = True
                job.subject = subject
            raise

    cdef int durable(self, fc_wal_pos pos, object timeout) except -1:
        try:
            self.log.wait_for(pos, timeout)
        except LogError as error:
            self.core.use()
            sticky = fc_store_error(self.core.s)
            if sticky != 0:
                raise self.core.exception(sticky) from None
            raise StoreError(error.errno, error.strerror, self.core.place) from None
        return 0

    cdef int room(self) except -1:
        """Until a write may go on, or for a while."""
        cdef fc_store *s = self.core.use()
        cdef Station station
        cdef Job job
        cdef int error
        hub = current_hub() if self.core.threaded else None
        if hub is not None:
            if getcurrent() is hub:
                raise RuntimeError("a callback of the hub cannot wait for room: spawn a greenlet")
            station = self.station_of(hub)
            job = station.room
            if job is None:
                job = Job.__new__(Job)
                job.work.what = ROOM
                job.work.store = s
                station.submit(job)
                station.room = job
            station.wait(hub, job)
            error = job.work.error
        else:
            with nogil:
                error = fc_store_wait_room(s, SIGNALS_EVERY_NS)
            PyErr_CheckSignals()
        if error < 0 and error != -timed_out:
            self.core.fail(error)
        return 0

    cdef int pay(self) except -1:
        """Spends the delays that writes were given. All writers together keep to them: each waits behind those before it."""
        cdef Core core = self.core
        cdef uint64_t now = fc_monotonic_ns(), rest
        if core.resume_ns + CREDIT_NS < now:
            core.resume_ns = now - CREDIT_NS
        core.resume_ns += core.owed_ns
        core.owed_ns = 0
        if core.resume_ns < now + PAY_FROM_NS or not core.threaded:
            return 0
        rest = core.resume_ns - now
        hub = current_hub()
        if hub is None:
            with nogil:
                rest_ns(rest)
        elif getcurrent() is not hub:
            hub_sleep(rest / 1e9)
        return 0


cdef object hub_sleep(double seconds):
    from gevent import sleep
    sleep(seconds)
