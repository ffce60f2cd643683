# What a server reads.


cdef class RequestReader:
    """Splits what clients send into commands: arrays of bulk strings, and inline commands (a line of words).

    max_arguments, max_argument_bytes, max_request_bytes, max_inline_bytes (0: no inline commands) are limits, the
    defaults those of Redis; beyond them the client breaks the protocol. `limit()` changes them later: Redis allows 10
    arguments of 16,384 bytes until a client has authenticated. ValueError for values out of range.
    """

    def __cinit__(self):
        fc_resp_request_init(&self.request, &FC_RESP_REQUEST_LIMITS)

    def __init__(
        self,
        *,
        max_arguments=1 << 20,
        max_argument_bytes=512 << 20,
        max_request_bytes=1 << 30,
        max_inline_bytes=65536,
    ):
        self.limit(max_arguments=max_arguments, max_argument_bytes=max_argument_bytes,
                   max_request_bytes=max_request_bytes, max_inline_bytes=max_inline_bytes)

    def __dealloc__(self):
        fc_resp_request_free(&self.request)
        input_free(&self.input)

    def limit(self, *, max_arguments=None, max_argument_bytes=None, max_request_bytes=None, max_inline_bytes=None):
        """Change these limits for what is not parsed yet."""
        cdef fc_resp_request_limits limits = self.request.limits
        if max_arguments is not None:
            limits.args_max = in_range("max_arguments", max_arguments, 1, 2**30)
        if max_argument_bytes is not None:
            limits.bulk_max = in_range("max_argument_bytes", max_argument_bytes, 0, 2**31)
        if max_request_bytes is not None:
            limits.bytes_max = in_range("max_request_bytes", max_request_bytes, 16, 2**32 - 1)
        if max_inline_bytes is not None:
            limits.inline_max = in_range("max_inline_bytes", max_inline_bytes, 0, 2**31)
        self.request.limits = limits

    def feed(self, data, /):
        """The commands that data (bytes-like) completes, each a list of bytes; empty ones are left out.

        Raises ProtocolError, whose text is what Redis would answer behind "ERR ", and whose `commands` are those that
        were complete before; again and again once the client has broken the protocol.
        """
        cdef Py_buffer view
        cdef list commands = []
        cdef size_t used
        if self.request.error:
            raise self.failure(commands)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if self.input.pos == self.input.end:  # nothing is waiting: parse where the bytes are
                used = self.split(<const char *>view.buf, view.len, commands)
                if used < <size_t>view.len:
                    input_append(&self.input, <const char *>view.buf + used, view.len - used, MAXBUF)
            else:
                input_append(&self.input, <const char *>view.buf, view.len, MAXBUF)
                if self.input.end - self.input.pos >= self.request.need:
                    self.input.pos += self.split(self.input.data + self.input.pos, self.input.end - self.input.pos,
                                                 commands)
                    if self.input.pos == self.input.end and self.input.room > MAXBUF:
                        input_free(&self.input)
        finally:
            PyBuffer_Release(&view)
        return commands

    def has_data(self):
        """Is part of a command waiting for the rest."""
        return self.input.end > self.input.pos

    def len(self):
        """Bytes that are waiting."""
        return self.input.end - self.input.pos

    cdef Py_ssize_t split(self, const char *p, size_t n, list commands) except -1:
        """Bytes of the commands that are complete in p[0..n)."""
        cdef size_t at = 0
        cdef int64_t used
        cdef uint32_t i
        cdef list command
        cdef PyObject *arg
        while at < n:
            used = fc_resp_request_parse(&self.request, p + at, n - at)
            if used < 0:
                raise self.failure(commands)
            if used == 0:
                break
            at += used
            if self.request.argc == 0:
                continue
            command = PyList_New(self.request.argc)
            for i in range(self.request.argc):
                arg = PyBytes_FromStringAndSize(self.request.base + self.request.args[i].off, self.request.args[i].len)
                if arg == NULL:
                    raise MemoryError
                PyList_SET_ITEM_raw(command, i, arg)
            commands.append(command)
        return at

    cdef int64_t look(self, const char *p, size_t n) except -1:
        cdef int64_t used = fc_resp_request_parse(&self.request, p, n)
        if used < 0:
            raise self.failure([])
        return used

    cdef object failure(self, list commands):
        error = ProtocolError("Protocol error: " + fc_resp_error_text(<fc_resp_error>self.request.error).decode())
        error.commands = commands
        input_free(&self.input)
        return error
