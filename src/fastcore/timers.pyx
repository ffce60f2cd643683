"""Deadlines by the million: a hierarchical timer wheel that is told what time it is (cext/include/fc/wheel.h)."""

cimport cython
from cpython.object cimport PyObject, PyTypeObject, inquiry, traverseproc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.math cimport INFINITY, ceil, fabs, floor, isfinite, rint
from libc.stdlib cimport calloc, free


cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX


__all__ = ["Full", "Timer", "TimerWheel"]

# The wheel counts in unsigned ticks; times before zero are as good as others.
cdef uint64_t ZERO = 1ull << 63


class Full(RuntimeError):
    """The wheel holds as many timers as it may."""


@cython.final
@cython.freelist(256)
cdef class Timer:
    """A deadline in a wheel and the item to be returned then; made by TimerWheel.set."""

    def __init__(self, *args, **kwargs):
        raise TypeError("timers are made by TimerWheel.set")

    cdef bint waits(self) noexcept:
        return self.wheel != NULL and fc_timer_armed(&self.box.timer)

    cpdef bint cancel(self):
        """Take it out of the wheel: True, or False when it was not in there (any more). O(1)."""
        if not self.waits():
            return False
        fc_wheel_cancel((<TimerWheel>self.wheel).wheel, &self.box.timer)
        Py_DECREF(self)
        return True

    def reset(self, deadline):
        """Give it another deadline, also when it has been cancelled or has come due before. O(1).

        Raises Full, ValueError and TypeError as TimerWheel.set does, ReferenceError when the wheel is gone; the timer is
        then as it was.
        """
        if self.wheel == NULL:
            raise ReferenceError("the timer's wheel is gone")
        cdef TimerWheel wheel = <TimerWheel>self.wheel
        wheel.arm(self, wheel.ticks(deadline, True, "the deadline"))

    @property
    def armed(self):
        """Is it in the wheel?"""
        return bool(self.waits())

    @property
    def deadline(self):
        """Its deadline, rounded up to a whole tick; None when it is not armed."""
        if not self.waits():
            return None
        return (<TimerWheel>self.wheel).time(self.box.timer.at)

    def __repr__(self):
        state = f"due at {self.deadline!r}" if self.armed else "idle"
        return f"<Timer {state}: {self.item!r}>"


@cython.final
cdef class TimerWheel:
    """Timers by the million: set, cancel and reset cost the same however many there are.

    now: the time to begin with. tick: the resolution, in the unit of every other time given here (seconds, if now is a
    time.monotonic()). max_timers: a bound on the timers in the wheel, None for as many as memory allows.

    A timer never comes due before its deadline (times within a millionth of a tick of a whole one count as that one, so
    that floats may be used), and less than a tick after it. With an int as tick, ints of any size up to 2**63 ticks are
    exact. The wheel looks at no clock and calls nothing: whoever owns it says what time it is, and gets what is due.

    Raises ValueError for a tick that is not above zero and for a time that is not finite or 2**63 ticks or more from zero.
    Not safe to use from several threads at once; the items may refer to the wheel and to their timers.
    """

    def __cinit__(self, now=0, tick=0.001, max_timers=None):
        self.wheel = <fc_wheel *>calloc(1, sizeof(fc_wheel))
        if self.wheel == NULL:
            raise MemoryError
        self.tick = tick
        self.whole = isinstance(tick, int)
        self.seconds = tick
        if not (self.seconds > 0 and isfinite(self.seconds)):
            raise ValueError(f"the tick is {tick!r}; it is above 0 and finite")
        self.max_timers = PY_SSIZE_T_MAX if max_timers is None else max_timers
        if self.max_timers < 0:
            raise ValueError(f"max_timers is {max_timers!r}; it is not below 0")
        fc_wheel_init(self.wheel, ZERO + <uint64_t>self.ticks(now, False, "now"))

    def __dealloc__(self):
        if self.wheel != NULL:
            drop_timers(self, True)
            free(self.wheel)

    cdef int64_t ticks(self, object when, bint up, str what) except? -1:
        """The time in ticks, rounded down, or up."""
        cdef double t, nearest
        if isinstance(when, float):
            t = when
        elif self.whole and isinstance(when, int):
            count = -(-when // self.tick) if up else when // self.tick
            if not -(1 << 63) < count < (1 << 63) - 1:
                raise ValueError(f"{what} is {when!r}: 2**63 ticks or more from zero")
            return count
        else:
            try:
                t = when
            except OverflowError:
                t = INFINITY
        t /= self.seconds
        if not fabs(t) < 9.2e18:
            raise ValueError(f"{what} is {when!r}: not finite, or 2**63 ticks or more from zero")
        nearest = rint(t)
        if fabs(t - nearest) <= 1e-6 + fabs(t) * 1e-15:  # a few units in the last place of a large time
            t = nearest
        return <int64_t>(ceil(t) if up else floor(t))

    cdef object time(self, uint64_t at):
        return <int64_t>(at - ZERO) * self.tick

    cdef Timer set_ticks(self, int64_t ticks, object item):
        """set, with the deadline in ticks."""
        cdef Timer timer = Timer.__new__(Timer)
        timer.box.owner = <void *>timer
        timer.item = item
        self.arm(timer, ticks)
        timer.wheel = <void *>self
        return timer

    cdef int arm(self, Timer timer, int64_t ticks) except -1:
        if not fc_timer_armed(&timer.box.timer):
            if <Py_ssize_t>self.wheel.count >= self.max_timers:
                raise Full(f"the wheel has its {self.max_timers} timers (max_timers)")
            Py_INCREF(timer)
        fc_wheel_add(self.wheel, &timer.box.timer, ZERO + <uint64_t>ticks)
        return 0

    cdef list advance_ticks(self, int64_t now, Py_ssize_t limit):
        """advance, with now in ticks; limit below 0: none."""
        cdef list due = []
        cdef fc_timer *t
        cdef Timer timer
        while limit != 0:
            t = fc_wheel_pop(self.wheel, ZERO + <uint64_t>now)
            if t == NULL:
                break
            timer = <Timer>(<BoxedTimer *>t).owner
            try:
                due.append(timer.item)
            except MemoryError:
                fc_wheel_add(self.wheel, t, t.at)
                if not due:
                    raise
                break
            Py_DECREF(timer)
            limit -= 1
        return due

    def set(self, deadline, item):
        """Return a Timer; advance returns the item once the deadline has been reached. O(1).

        A deadline that is not in the future is due at once. Raises Full when there are max_timers, TypeError and
        ValueError for a deadline that is no number, or none the wheel can hold.
        """
        return self.set_ticks(self.ticks(deadline, True, "the deadline"), item)

    def advance(self, now, limit=None):
        """It is `now`: take the timers that are due out of the wheel and return their items, the earliest deadline first,
        and those of one tick in the order they were set.

        limit: at most so many; the others stay due. Time does not go backwards: a `now` before the wheel's counts as that.
        """
        cdef Py_ssize_t most = -1
        if limit is not None:
            most = limit
            if most < 0:
                raise ValueError(f"the limit is {limit!r}; it is not below 0")
        return self.advance_ticks(self.ticks(now, False, "now"), most)

    def next_deadline(self):
        """The earliest deadline, rounded up to a whole tick, or None when there is no timer: advance(that) returns its
        item. Looks at the timers of one slot, those whose deadlines are closer to each other than to now."""
        if self.wheel.count == 0:
            return None
        return self.time(fc_wheel_deadline(self.wheel))

    def next_wakeup(self):
        """A time not after the next deadline, None when there is no timer. O(1); for loops that would rather wake up a
        few times for nothing (at most ten for one deadline) than look for the earliest of a million."""
        if self.wheel.count == 0:
            return None
        return self.time(fc_wheel_next(self.wheel))

    def clear(self):
        """Cancel every timer."""
        drop_timers(self, False)

    @property
    def now(self):
        """The latest time the wheel was told, rounded down to a whole tick; while a limit leaves timers due, the deadline
        of the last one returned."""
        return self.time(self.wheel.now)

    def __len__(self):
        return self.wheel.count

    def __repr__(self):
        return f"<TimerWheel at {self.now!r}: {len(self)} timers>"


cdef int forget_wheel(fc_timer *timer, void *ctx) noexcept:
    (<Timer>(<BoxedTimer *>timer).owner).wheel = NULL
    return 0


cdef void drop_timers(TimerWheel self, bint dying) noexcept:
    """Cancel all. What an item's destructor does meanwhile finds a wheel in order, or none when it is dying."""
    cdef fc_timer *t
    cdef Timer timer
    if dying:
        fc_wheel_each(self.wheel, forget_wheel, NULL)
    for _ in range(self.wheel.count):  # not until it is empty: a destructor may set another
        t = fc_wheel_any(self.wheel)
        if t == NULL:
            break
        fc_wheel_cancel(self.wheel, t)
        timer = <Timer>(<BoxedTimer *>t).owner
        Py_DECREF(timer)
        timer = None


# The references a wheel holds are in C rings, where the cycle collector does not see them; Cython generates a traversal of
# the attributes alone. So the type's two functions are wrapped: a set or list beside the rings would cost 8 to 70 bytes a
# timer and a hash.
ctypedef int (*visit_fn)(PyObject *referent, void *arg) noexcept
ctypedef int (*traverse_fn)(PyObject *self, visit_fn visit, void *arg) noexcept

cdef struct Visit:
    visit_fn fn
    void *arg

cdef traverse_fn traverse_attributes


cdef int visit_timer(fc_timer *timer, void *ctx) noexcept:
    cdef Visit *visit = <Visit *>ctx
    return visit.fn(<PyObject *>(<BoxedTimer *>timer).owner, visit.arg)


cdef int wheel_traverse(PyObject *self, visit_fn fn, void *arg) noexcept:
    cdef Visit visit = Visit(fn, arg)
    cdef int answer = traverse_attributes(self, fn, arg)
    cdef fc_wheel *wheel = (<TimerWheel>self).wheel
    if answer == 0 and wheel != NULL:
        answer = fc_wheel_each(wheel, visit_timer, &visit)
    return answer


cdef int wheel_clear(PyObject *self) noexcept:
    drop_timers(<TimerWheel>self, False)
    return 0


cdef PyTypeObject *wheel_type = <PyTypeObject *>TimerWheel
traverse_attributes = <traverse_fn>wheel_type.tp_traverse
wheel_type.tp_traverse = <traverseproc>wheel_traverse
wheel_type.tp_clear = <inquiry>wheel_clear
