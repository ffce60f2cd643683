"""Single flight: of all who ask for the same thing at the same time one computes it, the others wait for that.

A waiting thread sleeps on a native lock with the GIL released. A waiting greenlet must not: the lock would stop its
hub, and with it perhaps the very greenlet that computes. So a thread that has a gevent hub waits through the hub,
whether or not anything is monkey-patched, and is woken by `run_callback_threadsafe`, because who computes may be in
another thread. Both kinds can wait for one flight.
"""

import sys

from cpython.exc cimport PyErr_CheckSignals, PyErr_SetObject, PyErr_WriteUnraisable
from cpython.pythread cimport (
    WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_get_thread_ident,
    PyThread_release_lock, PyThread_type_lock,
)
from posix.unistd cimport getpid

cimport cython

__all__ = ["Flights"]

cdef extern from "pythread.h" nogil:   # Cython's own declaration raises at every return, and the GIL is not held here
    ctypedef enum PyLockStatus:
        PY_LOCK_INTR
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long timeout, int interruptible) noexcept

# Who waits for what, to see a circle before it closes. Entries live as long as the wait.
cdef dict waiting = {}


cdef object current():
    """What runs here: a greenlet if the program uses any, else the thread."""
    greenlet = sys.modules.get("greenlet")
    return PyThread_get_thread_ident() if greenlet is None else greenlet.getcurrent()


cdef object current_hub():
    """The gevent hub of this thread, or None."""
    if "gevent" not in sys.modules:
        return None
    from gevent._hub_local import get_hub_if_exists
    return get_hub_if_exists()


cdef class _ThreadWaiter:
    """Sleeps on a lock of the interpreter's own, which monkey-patching does not reach."""

    cdef PyThread_type_lock lock

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError
        PyThread_acquire_lock(self.lock, WAIT_LOCK)

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def sleep(self):
        cdef PyThread_type_lock lock = self.lock
        cdef PyLockStatus status = PY_LOCK_INTR
        while status == PY_LOCK_INTR:
            with nogil:
                status = PyThread_acquire_lock_timed(lock, -1, 1)
            if status == PY_LOCK_INTR:
                PyErr_CheckSignals()

    def wake(self):
        PyThread_release_lock(self.lock)


cdef class _HubWaiter:
    """Switches to the hub of its thread."""

    cdef object hub, waiter

    def __cinit__(self, hub):
        from gevent.hub import Waiter
        self.hub = hub
        self.waiter = Waiter(hub)

    def sleep(self):
        self.waiter.get()

    def wake(self):
        self.hub.loop.run_callback_threadsafe(self.waiter.switch, None)


@cython.final
cdef class Flight:
    """One computation under way."""

    def __cinit__(self):
        self.owner = current()
        self.thread = PyThread_get_thread_ident()
        self.process = getpid()
        self.waiters = []

    cdef int wait(self) except -1:
        """Until it is over. RuntimeError when that could never be: who computes would wait for this caller."""
        me = current()
        hub = current_hub()
        cdef Flight flight = self
        cdef Py_ssize_t steps = len(waiting)
        while flight is not None and steps >= 0:
            if flight.owner == me or (hub is None and flight.thread == PyThread_get_thread_ident()):
                raise RuntimeError("a computation waits for itself: its function asks for the key that it computes")
            flight = waiting.get(flight.owner)
            steps -= 1
        waiter = _ThreadWaiter() if hub is None else _HubWaiter(hub)
        if self.state != FLYING:
            return 0
        self.waiters.append(waiter)
        waiting[me] = self
        try:
            waiter.sleep()
        finally:
            waiting.pop(me, None)
            if self.state == FLYING:   # interrupted, killed or timed out
                self.waiters.remove(waiter)
        return 0


@cython.final
cdef class Flights:
    """Computations under way, by key."""

    def __cinit__(self):
        self.flying = {}

    cdef Flight join(self, object key, bint *first):
        """The flight for this key. first: it is new and the caller's, who has to call `land` or `fail`."""
        cdef Flight mine = Flight(), flight = None
        while True:
            flight = self.flying.setdefault(key, mine)
            # One that is over stays only if == of keys raised. One of the parent process will not land in this one.
            if flight is mine or (flight.state == FLYING and flight.process == mine.process):
                break
            self.flying[key] = mine
        first[0] = flight is mine
        return flight

    cdef int over(self, object key, Flight flight) except -1:
        cdef Flight found
        waiters = flight.waiters
        flight.waiters = []
        try:
            # == of keys can let another thread in, which replaced this flight: then that one flies on.
            found = self.flying.pop(key, None)
            if found is not None and found is not flight and found.state == FLYING:
                self.flying.setdefault(key, found)
        finally:
            for waiter in waiters:
                try:
                    waiter.wake()
                except Exception as error:   # the hub of one that waits is gone: the others must not suffer
                    PyErr_SetObject(type(error), error)
                    PyErr_WriteUnraisable(waiter)
        return 0

    cdef int land(self, object key, Flight flight, object value) except -1:
        flight.value = value
        flight.state = LANDED
        return self.over(key, flight)

    cdef int fail(self, object key, Flight flight, object error) except -1:
        """An Exception is the result of all who wait; anything else (a kill, Ctrl-C) is the owner's alone."""
        flight.error = error
        flight.state = FAILED if isinstance(error, Exception) else ABANDONED
        return self.over(key, flight)

    def run(self, key, fn):
        """fn(), called once for all callers who ask for an equal key before it returns.

        What fn returns, or the Exception it raises, goes to all of them. When it ends otherwise (GreenletExit, a gevent
        Timeout, KeyboardInterrupt), that goes to its caller alone and one of those who wait calls its own fn. Raises
        RuntimeError when fn, directly or in a circle, waits for itself.
        """
        cdef bint first = False
        cdef Flight flight
        while True:
            flight = self.join(key, &first)
            if first:
                try:
                    value = fn()
                except BaseException as error:
                    self.fail(key, flight, error)
                    raise
                self.land(key, flight, value)
                return value
            flight.wait()
            if flight.state == LANDED:
                return flight.value
            if flight.state == FAILED:
                raise flight.error

    def waiting(self):
        """How many callers wait."""
        return sum([len((<Flight>flight).waiters) for flight in list(self.flying.values())])

    def __len__(self):
        """How many computations are under way."""
        return len(self.flying)
