# wsgi.input: the request's body as a stream. Part of wsgi.pyx.

cdef Py_ssize_t INPUT_HIGH = 65536   # bytes of body held for an application that does not read: then the client waits
cdef Py_ssize_t INPUT_LOW = 16384


cdef class Input:
    """A request's body, to be read once: read, readline, readlines, iteration. Waiting blocks only the greenlet."""
    cdef Request request
    cdef list pieces             # bytes not read yet, the first of them from `at`
    cdef Py_ssize_t at, available, wanted
    cdef bint eof, paused

    cdef int push(self, const char *p, size_t n) except -1:
        self.pieces.append(PyBytes_FromStringAndSize(p, n))
        self.available += n
        if self.available >= INPUT_HIGH and not self.paused:
            self.paused = True
            fc_http_pause(self.request.req)
        if self.wanted and self.available >= self.wanted:
            self.request.wake()
        return 0

    cdef int wait(self, Py_ssize_t wanted) except -1:
        """Until `wanted` bytes are here (no more than INPUT_HIGH: then the client is stopped), or the end."""
        cdef Request r = self.request
        self.wanted = wanted if wanted < INPUT_HIGH else INPUT_HIGH
        while self.available < self.wanted and not self.eof:
            if r is None or r.req is NULL:
                raise ClientDisconnected(r.failure if r is not None and r.failure else "the request is over")
            r.sync_clock()
            fc_http_send_continue(r.req)
            self.go_on()
            r.park()
        self.wanted = 0
        return 0

    cdef int go_on(self) except -1:
        if self.paused:
            self.paused = False
            if self.request is not None and self.request.req is not NULL:
                self.request.sync_clock()
                fc_http_resume(self.request.req)
        return 0

    cdef bytes take(self, Py_ssize_t most):
        """Bytes of the first piece, at most so many."""
        cdef bytes first = <bytes>self.pieces[0]
        cdef Py_ssize_t n = PyBytes_GET_SIZE(first) - self.at
        if most < n:
            n = most
            out = first[self.at:self.at + n]
            self.at += n
        else:
            out = first[self.at:] if self.at else first
            self.at = 0
            del self.pieces[0]
        self.available -= n
        if self.paused and self.available <= INPUT_LOW:
            self.go_on()
        return out

    def read(self, size=-1):
        """At most `size` bytes, fewer only at the end of the body; everything when size is None or negative."""
        cdef Py_ssize_t left = limit(size)
        cdef list parts = []
        while left:
            if not self.available:
                if self.eof:
                    break
                self.wait(left)
                continue
            part = self.take(left)
            left -= PyBytes_GET_SIZE(part)
            parts.append(part)
        return <bytes>parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self, size=-1):
        """One line with its end, or what there is of it within `size` bytes."""
        cdef Py_ssize_t left = limit(size), n, found
        cdef list parts = []
        while left:
            if not self.available:
                if self.eof:
                    break
                self.wait(1)
                continue
            first = <bytes>self.pieces[0]
            found = first.find(b"\n", self.at)
            n = found + 1 - self.at if found >= 0 else PY_SSIZE_T_MAX
            part = self.take(min(n, left))
            left -= PyBytes_GET_SIZE(part)
            parts.append(part)
            if found >= 0:
                break
        return <bytes>parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint=-1):
        """The lines that follow, until the end or until they hold `hint` bytes."""
        cdef Py_ssize_t left = limit(hint)
        lines = []
        while left > 0:
            line = self.readline()
            if not line:
                break
            left -= len(line)
            lines.append(line)
        return lines

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line


cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX


cdef Py_ssize_t limit(size) except -1:
    if size is None:
        return PY_SSIZE_T_MAX
    cdef Py_ssize_t n = size
    return PY_SSIZE_T_MAX if n < 0 else n


cdef Input input_for(Request r, fc_http_req *req):
    cdef Input body = Input.__new__(Input)
    body.request = r
    body.pieces = []
    if req.head.expect_continue:
        # The client waits to be asked. Pausing stops its deadline, for it is the application that takes its time.
        body.paused = True
        fc_http_pause(req)
    return body
