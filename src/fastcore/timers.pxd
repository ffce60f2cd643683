from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t


cdef extern from "fc/wheel.h" nogil:
    ctypedef struct fc_timer:
        fc_timer *next
        uint64_t at
    ctypedef struct fc_wheel:
        uint64_t now
        size_t count
    void fc_wheel_init(fc_wheel *w, uint64_t now)
    void fc_wheel_add(fc_wheel *w, fc_timer *t, uint64_t at)
    void fc_wheel_cancel(fc_wheel *w, fc_timer *t)
    fc_timer *fc_wheel_pop(fc_wheel *w, uint64_t now)
    uint64_t fc_wheel_next(const fc_wheel *w)
    uint64_t fc_wheel_deadline(const fc_wheel *w)
    fc_timer *fc_wheel_any(const fc_wheel *w)
    bint fc_timer_armed(const fc_timer *t)


cdef extern from "fc/wheel.h":  # calls back into code that holds the GIL
    int fc_wheel_each(const fc_wheel *w, int (*fn)(fc_timer *timer, void *ctx) noexcept, void *ctx)


ctypedef struct BoxedTimer:
    fc_timer timer
    void *owner  # the Timer this lies in


cdef class Timer:
    cdef BoxedTimer box
    cdef void *wheel  # borrowed; NULL when the wheel is gone
    cdef readonly object item
    cdef bint waits(self) noexcept
    cpdef bint cancel(self)


cdef class TimerWheel:
    """For who cimports it: times in whole ticks save the conversion."""

    cdef fc_wheel *wheel  # owned; each armed timer in it holds a reference to its Timer
    cdef readonly object tick
    cdef readonly Py_ssize_t max_timers
    cdef bint whole  # the tick is an int: ints are divided exactly
    cdef double seconds  # the tick, as a float

    cdef int64_t ticks(self, object when, bint up, str what) except? -1
    cdef object time(self, uint64_t at)
    cdef Timer set_ticks(self, int64_t ticks, object item)
    cdef int arm(self, Timer timer, int64_t ticks) except -1
    cdef list advance_ticks(self, int64_t now, Py_ssize_t limit)
