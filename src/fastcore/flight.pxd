cdef enum:
    FLYING
    LANDED      # value is there
    FAILED      # error is there, an Exception that all who waited get
    ABANDONED   # who computed was killed or interrupted: another one has to


cdef class Flight:
    cdef object owner       # the greenlet or, where there are none, the thread that computes
    cdef unsigned long thread
    cdef int process
    cdef int state
    cdef object value
    cdef object error
    cdef list waiters
    cdef int wait(self) except -1


cdef class Flights:
    cdef dict flying        # key -> Flight
    cdef Flight join(self, object key, bint *first)
    cdef int over(self, object key, Flight flight) except -1
    cdef int land(self, object key, Flight flight, object value) except -1
    cdef int fail(self, object key, Flight flight, object error) except -1
