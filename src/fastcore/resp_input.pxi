# Bytes received and not parsed yet (struct Input).

# From here on a bytes object is kept instead of copied: below it copying is cheaper than what keeping costs later.
cdef size_t KEEP_MIN = 2048
cdef size_t ROOM_MIN = 256


cdef void input_forget(Input *input) noexcept:
    """Everything is parsed."""
    Py_CLEAR(input.held)
    input.data = input.own
    input.pos = input.end = 0


cdef void input_free(Input *input) noexcept:
    Py_CLEAR(input.held)
    free(input.own)
    input.own = NULL
    input.data = NULL
    input.room = input.pos = input.end = 0


cdef int input_append(Input *input, const char *p, size_t n, size_t spare) except -1:
    """Copy p[0..n) behind what is there. Memory above `spare` is not kept once everything is parsed; 0: it is."""
    cdef size_t live = input.end - input.pos, room
    cdef char *fresh
    if live == 0:
        input_forget(input)
        if spare and input.room > spare and n <= spare:
            free(input.own)
            input.own = NULL
            input.data = NULL
            input.room = 0
    if input.held != NULL or input.room - input.end < n:
        # What is left moves to the front when at least as much has been parsed (a byte moves for each that was parsed),
        # else to where as much again fits (a byte moves for each that comes): linear either way.
        if input.held == NULL and input.pos >= live and input.room - live >= n:
            memmove(input.own, input.own + input.pos, live)
        else:
            room = max(input.room, ROOM_MIN)
            while room < live + max(n, live):
                room *= 2
            fresh = <char *>malloc(room)
            if fresh == NULL:
                raise MemoryError
            if live:
                memcpy(fresh, input.data + input.pos, live)
            free(input.own)
            Py_CLEAR(input.held)
            input.own = fresh
            input.room = room
        input.data = input.own
        input.pos = 0
        input.end = live
    memcpy(input.own + input.end, p, n)
    input.end += n
    return 0
