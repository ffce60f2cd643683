# Time as the user gives it, and as a double for comparing.

cdef object MICROSECOND = timedelta(microseconds=1)
cdef object SYSTEM_MONOTONIC = time.monotonic
cdef enum:
    EXACT_BITS = 53   # whole numbers up to 2**53 are exact as double

# The coarse clock is up to a tick behind; a busy machine can be late with a tick or two.
cdef double COARSE_LAG = 4 * coarse_tick()


@cython.final
cdef class Timer:
    """The timer of a TTLCache: callable, and a context manager inside which its time stands still (nesting allowed).

    Other attributes are those of the function it wraps.
    """

    # Readings that are numbers of ordinary size are compared as they are. Others (nanoseconds since 1970, datetimes)
    # are counted from the first one, in their own units or in microseconds, so that they are exact as double.

    def __init__(self, timer):
        self.timer = timer
        self.native = timer is SYSTEM_MONOTONIC
        self.plain = self.native

    cdef double read(self) except? -1.0:
        if self.nesting > 0:
            return self.frozen
        return monotonic() if self.native else self.number(self.timer())

    cdef double number(self, object instant) except? -1.0:
        cdef double found
        if not self.plain and self.origin is None:
            self.plain = isinstance(instant, float) or (
                instant.bit_length() <= EXACT_BITS if isinstance(instant, int) else hasattr(instant, "__float__")
            )
            if not self.plain:
                self.origin = instant
        if self.plain:
            found = instant
        else:
            passed = instant - self.origin
            found = passed / MICROSECOND if isinstance(passed, timedelta) else passed
        if isnan(found):
            raise ValueError("the time must not be NaN")
        return found

    cdef double span(self, object ttl) except? -1.0:
        """A lifetime in the units of `number`, which must have been called. TypeError when it fits no such time."""
        cdef double found
        if self.plain or (isinstance(ttl, (int, float)) and isinstance(self.origin, int)):
            found = ttl
        else:
            found = self.number(self.origin + ttl)
        if isnan(found):
            raise ValueError("ttl must not be NaN")
        return found

    cdef bint passed(self, double deadline) noexcept:
        """Only for a native timer. Most deadlines are far enough away to be told by the cheap clock: a hit costs 5 ns
        instead of 25."""
        if self.nesting > 0:
            return not self.frozen < deadline
        return not monotonic_coarse() + COARSE_LAG < deadline and not monotonic() < deadline

    def __call__(self):
        return self.frozen_value if self.nesting > 0 else self.timer()

    def __enter__(self):
        if self.nesting == 0:
            value = self.timer()
            self.frozen = self.number(value)
            self.frozen_value = value
        self.nesting += 1
        return self.frozen_value

    def __exit__(self, *exc):
        self.nesting -= 1

    def __getattr__(self, name):
        return getattr(self.timer, name)

    def __copy__(self):
        cdef Timer copy = Timer(self.timer)
        copy.origin = self.origin
        copy.plain = self.plain
        return copy

    def __deepcopy__(self, memo):   # or __getattr__ would find the function's own
        cdef Timer copy = self.__copy__()
        copy.timer = deepcopy(self.timer, memo)
        return copy

    def __reduce__(self):
        return Timer, (self.timer,), (self.origin, self.plain)

    def __setstate__(self, state):
        self.origin, self.plain = state
