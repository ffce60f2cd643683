"""HTTP/1.1 without sockets: bytes in, events out, strict by RFC 9112 and RFC 9110.

Two ways in. `feed(data)` follows a connection: heads, bodies, pipelining. `parse_head(data)` looks at one head and
keeps nothing, which is the fastest way from bytes to a method and a path. Either way a head is parsed once in C, and a
header becomes Python objects only when it is asked for.

The rules are those of cext/include/fc/http1.h: what two implementations could read differently is an error, and each
leniency is a keyword that is off by default.
"""

from collections import deque

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memcmp, memcpy

__all__ = [
    "Data",
    "EndOfMessage",
    "Event",
    "Headers",
    "LocalProtocolError",
    "Message",
    "ProtocolError",
    "RemoteProtocolError",
    "Request",
    "RequestParser",
    "Response",
    "ResponseParser",
    "chunk",
]


class ProtocolError(Exception):
    """What was wrong, where, and what a server answers: `code` (a short name), `offset` (bytes), `status`.

    `events` are those that `feed` had found before the error.
    """

    def __init__(self, message, *, code, status, offset):
        super().__init__(message)
        self.code = code
        self.status = status
        self.offset = offset
        self.events = []


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. `offset` counts from the first byte of the message, or of the piece of body."""


class LocalProtocolError(ProtocolError):
    """This side used the parser in a way the protocol does not allow. `status` is 500."""


# By fc_http1_error.
cdef tuple ERROR_CODES = (
    "ok", "bad_method", "bad_target", "bad_version", "unsupported_version", "bad_status", "bad_reason", "bad_line_end",
    "bad_field_name", "bad_field_value", "obs_fold", "bad_host", "bad_length", "bad_coding", "unsupported_coding",
    "length_and_coding", "head_too_large", "target_too_long", "too_many_fields", "bad_chunk", "bad_expect",
)
cdef tuple FRAMINGS = ("none", "length", "chunked", "close")
cdef tuple TARGET_FORMS = ("origin", "absolute", "authority", "asterisk")
cdef tuple METHODS = tuple((<bytes>fc_http_method_name(<fc_http_method>i)).decode() for i in range(FC_METHOD_COUNT))


@cython.final
@cython.freelist(32)
cdef class Headers:
    """The fields of one head, in order: a lazy, read-only sequence of `(name, value)` pairs of bytes.

    Names keep the letter case they came with and are looked up in any. A value is without surrounding blanks.
    """

    def __cinit__(self):
        self.fields = NULL

    def __init__(self):
        raise TypeError("headers come from a parser")

    def __dealloc__(self):
        PyMem_Free(self.fields)

    def __len__(self):
        return self.count

    def __getitem__(self, name):
        """The value of the first field of this name (bytes, any case). KeyError without one."""
        cdef Py_ssize_t i = self.find(name, 0)
        if i < 0:
            raise KeyError(name)
        return span_bytes(self.text, self.fields[i].value)

    def __contains__(self, name):
        return isinstance(name, bytes) and self.find(name, 0) >= 0

    def __iter__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            yield name_bytes(self.text, self.fields[i].name), span_bytes(self.text, self.fields[i].value)

    def __repr__(self):
        return f"<Headers {self.items()!r}>"

    def get(self, bytes name not None, default=None):
        """The value of the first field of this name, else `default`."""
        cdef Py_ssize_t i = self.find(name, 0)
        return default if i < 0 else span_bytes(self.text, self.fields[i].value)

    def get_all(self, bytes name not None):
        """The values of all fields of this name, in order."""
        cdef list values = []
        cdef Py_ssize_t i = self.find(name, 0)
        while i >= 0:
            values.append(span_bytes(self.text, self.fields[i].value))
            i = self.find(name, i + 1)
        return values

    def items(self):
        """All fields as a list of `(name, value)`."""
        cdef list pairs = PyList_New(self.count)
        cdef tuple pair
        cdef Py_ssize_t i
        for i in range(self.count):
            pair = PyTuple_New(2)
            keep_item(pair, 0, name_bytes(self.text, self.fields[i].name))
            keep_item(pair, 1, span_bytes(self.text, self.fields[i].value))
            Py_INCREF(pair)
            PyList_SET_ITEM(pairs, i, pair)
        return pairs

    cdef Py_ssize_t find(self, bytes name, Py_ssize_t begin):
        cdef const char *wanted = PyBytes_AS_STRING(name)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(name), i
        cdef uint32_t wanted_id = fc_http_field_id(wanted, n)
        cdef fc_http1_field *field
        for i in range(begin, self.count):
            field = &self.fields[i]
            if field.id != wanted_id or <Py_ssize_t>field.name.len != n:
                continue
            if wanted_id != FC_FIELD_OTHER or same_name(self.text + field.name.off, wanted, n):
                return i
        return -1


cdef inline char fold(char c) noexcept nogil:
    return c | 0x20 if c"A" <= c <= c"Z" else c


cdef bint same_name(const char *a, const char *b, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if fold(a[i]) != fold(b[i]):
            return False
    return True


cdef inline bytes span_bytes(const char *text, fc_span span):
    return PyBytes_FromStringAndSize(text + span.off, span.len)


cdef inline void keep_item(tuple pair, Py_ssize_t i, bytes item):
    Py_INCREF(item)
    PyTuple_SET_ITEM(pair, i, item)


# Field names repeat from head to head: the last one seen of each slot is kept, so most names cost no new object. Bounded
# by its size and by NAME_BYTES_MAX, whatever peers send; a peer that spoils it costs what no cache would.
cdef enum:
    NAME_SLOTS = 256
    NAME_BYTES_MAX = 32
cdef PyObject *names[NAME_SLOTS]


cdef inline bytes name_bytes(const char *text, fc_span span):
    cdef const char *p = text + span.off
    cdef size_t n = span.len, slot
    cdef bytes name
    if n > NAME_BYTES_MAX:
        return span_bytes(text, span)
    slot = (n * 7 + <unsigned char>p[0] * 33 + <unsigned char>p[n // 2] * 5 + <unsigned char>p[n - 1] * 39) % NAME_SLOTS
    if names[slot] != NULL:
        name = <bytes>names[slot]
        if <size_t>PyBytes_GET_SIZE(name) == n and memcmp(PyBytes_AS_STRING(name), p, n) == 0:
            return name
    name = span_bytes(text, span)
    Py_INCREF(name)
    Py_XDECREF(names[slot])
    names[slot] = <PyObject *>name
    return name


cdef class Message:
    """What requests and responses have in common. `head_bytes` is the length of the head with its empty line."""

    def __init__(self):
        raise TypeError("messages come from a parser")

    @cython.nonecheck(True)  # __new__ alone makes a message without headers
    cdef bytes part(self, fc_span span):
        return PyBytes_FromStringAndSize(self.headers.text + span.off, span.len)

    @property
    def http_version(self):
        return "1.1" if self.head.minor else "1.0"

    @property
    def framing(self):
        """How the body ends: "none", "length", "chunked" or "close"."""
        return FRAMINGS[self.head.framing]

    @property
    def content_length(self):
        """As declared (also where there is no body: answers to HEAD, 304), or None."""
        return self.head.content_length if self.head.has_length else None

    @property
    def keep_alive(self):
        """May the connection be used for another message, by version, Connection and framing."""
        return self.head.keep_alive

    @property
    def upgrade(self):
        """Connection names upgrade and there is an Upgrade field."""
        return self.head.has_upgrade

    @property
    def connection_names(self):
        """Connection lists something besides close, keep-alive, upgrade and TE."""
        return self.head.connection_names


@cython.final
cdef class Request(Message):
    """The head of a request."""

    @property
    def method(self):
        return METHODS[self.head.method_id] if self.head.method_id else self.part(self.head.method).decode("ascii")

    @property
    def target(self):
        """As sent."""
        return self.part(self.head.target)

    @property
    def target_form(self):
        """ "origin", "absolute", "authority" or "asterisk" (RFC 9112 3.2)."""
        return TARGET_FORMS[self.head.target_form]

    @property
    def path(self):
        """ "/" for an absolute target without one (empty with OPTIONS), "*" for asterisk form, empty for CONNECT."""
        return self.part(self.head.path)

    @property
    def query(self):
        """What follows the first '?', or None without one."""
        return self.part(self.head.query) if self.head.has_query else None

    @property
    def authority(self):
        """The host[:port] that counts: the target's, else Host's. Empty only in 1.0 or leniently."""
        return self.part(self.head.authority)

    @property
    def expect_continue(self):
        return self.head.expect_continue

    @property
    def te_trailers(self):
        return self.head.te_trailers

    def __repr__(self):
        return f"<Request {self.method} {self.target!r} HTTP/{self.http_version}>"


@cython.final
cdef class Response(Message):
    """The head of a response; also of an interim one (1xx), which no EndOfMessage follows unless it is 101."""

    @property
    def status(self):
        return self.head.status

    @property
    def reason(self):
        return self.part(self.head.reason)

    def __repr__(self):
        return f"<Response {self.status} HTTP/{self.http_version}>"


@cython.final
cdef class Data:
    """A piece of body; `data` is never empty."""

    cdef readonly bytes data

    def __init__(self, bytes data not None):
        self.data = data

    def __repr__(self):
        return f"Data({self.data!r})"


@cython.final
cdef class EndOfMessage:
    """The message is complete. `trailers` are as received: never merge them into the headers (RFC 9110 6.5.1)."""

    cdef readonly Headers trailers

    def __repr__(self):
        return f"<EndOfMessage {self.trailers!r}>"


cdef EndOfMessage END = EndOfMessage.__new__(EndOfMessage)  # the one without trailers, which is nearly every one
END.trailers = Headers.__new__(Headers)

Event = Request | Response | Data | EndOfMessage


def chunk(data):
    """`data` (bytes-like, not empty) as one chunk of the chunked coding. The body ends with b"0\\r\\n\\r\\n"."""
    cdef char head[18]  # FC_CHUNK_HEAD_MAX
    cdef Py_buffer view
    cdef bytes out
    cdef char *p
    cdef size_t n
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len == 0:
            raise ValueError("an empty chunk would end the body")
        n = fc_chunk_head(head, view.len)
        out = PyBytes_FromStringAndSize(NULL, n + view.len + 2)
        p = PyBytes_AS_STRING(out)
        memcpy(p, head, n)
        memcpy(p + n, view.buf, view.len)
        memcpy(p + n + view.len, b"\r\n", 2)
    finally:
        PyBuffer_Release(&view)
    return out


cdef enum State:
    HEAD
    LENGTH
    CHUNKED
    TRAILERS
    UNTIL_CLOSE
    PAUSED       # after CONNECT or an upgrade: what follows may be another protocol
    CLOSED
    BROKEN


cdef class Parser:
    """What both directions share: limits, states, bodies."""

    cdef fc_http1_limits limits
    cdef uint32_t trailer_bytes_max
    cdef fc_http1_head head         # scratch: the last look
    cdef State state
    cdef State after                # the state behind the current message
    cdef uint64_t left              # of a body with a length
    cdef fc_chunked chunks
    cdef uint32_t chunk_ext_max
    cdef bytearray pending          # an unfinished head or trailer section
    cdef bytes rest                 # what came behind a message that paused the parser

    def __cinit__(self):
        self.state = HEAD
        self.pending = bytearray()
        self.rest = b""

    def __dealloc__(self):
        PyMem_Free(self.head.fields)

    cdef int configure(self, list flags, max_head_bytes, max_target_bytes, max_fields, max_chunk_ext_bytes,
                       max_trailer_bytes) except -1:
        for name, value, least, most in (
            ("max_head_bytes", max_head_bytes, 1, 2**30),
            ("max_target_bytes", max_target_bytes, 1, 2**30),
            ("max_trailer_bytes", max_trailer_bytes, 2, 2**30),
            ("max_fields", max_fields, 0, 2**16),
            ("max_chunk_ext_bytes", max_chunk_ext_bytes, 0, 2**16),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} must be from {least} to {most}, not {value!r}")
        self.limits.flags = sum([bit for enabled, bit in flags if enabled])
        self.limits.head_bytes_max = max_head_bytes
        self.limits.target_bytes_max = max_target_bytes
        self.trailer_bytes_max = max_trailer_bytes
        self.chunk_ext_max = max_chunk_ext_bytes
        PyMem_Free(self.head.fields)
        self.head.fields_max = max_fields
        self.head.fields = <fc_http1_field *>PyMem_Malloc((max_fields or 1) * sizeof(fc_http1_field))
        if self.head.fields == NULL:
            raise MemoryError
        return 0

    # --- what the two directions do differently ---------------------------------------------------------------------
    cdef int parse(self, const char *p, size_t n, size_t seen) except? -3:
        """One look at the head at p, into self.head."""
        raise NotImplementedError

    cdef int begin(self, const char *p, Py_ssize_t n, list events) except -1:
        """self.head is complete in p[0..n): append its event, set `state` for its body and `after`."""
        raise NotImplementedError

    cdef int error_status(self, int error) except -1:
        raise NotImplementedError

    # --- heads and trailers -----------------------------------------------------------------------------------------
    cdef object failure(self, int error, Py_ssize_t offset):
        text = fc_http1_error_text(<fc_http1_error>error).decode()
        return RemoteProtocolError(f"{text} (byte {offset})", code=ERROR_CODES[error],
                                   status=self.error_status(error), offset=offset)

    cdef int look(self, const char *p, size_t n, size_t seen) except? -3:
        """Length of the head (or trailer section, by state) at p, or FC_HTTP1_PARTIAL."""
        cdef fc_http1_limits limits
        cdef int end
        if self.state == TRAILERS:
            limits = self.limits
            limits.head_bytes_max = self.trailer_bytes_max
            end = fc_http1_parse_trailers(p, n, seen, &limits, &self.head)
        else:
            end = self.parse(p, n, seen)
        if end == FC_HTTP1_ERROR:
            raise self.failure(self.head.error, self.head.error_at)
        return end

    cdef Headers take_headers(self, const char *p, Py_ssize_t n):
        """The fields of self.head with a copy of the n bytes they point into."""
        cdef Headers headers = Headers.__new__(Headers)
        cdef size_t size = self.head.fields_len * sizeof(fc_http1_field)
        if size:
            headers.fields = <fc_http1_field *>PyMem_Malloc(size)
            if headers.fields == NULL:
                raise MemoryError
            memcpy(headers.fields, self.head.fields, size)
        headers.buffer = PyBytes_FromStringAndSize(p, n)
        headers.text = PyBytes_AS_STRING(headers.buffer)
        headers.count = self.head.fields_len
        return headers

    cdef Message fill(self, Message message, const char *p, Py_ssize_t n):
        message.headers = self.take_headers(p, n)
        message.head = self.head
        message.head.fields = message.headers.fields
        message.head_bytes = n
        return message

    cdef Py_ssize_t feed_head(self, const char *p, Py_ssize_t n, list events) except -1:
        """Bytes of p[0..n) used for a head or trailer section, which go to `pending` until it is complete."""
        cdef Py_ssize_t seen = PyByteArray_GET_SIZE(self.pending), total, room
        cdef int end
        if seen == 0 and not self.limits.flags & FC_HTTP1_LENIENT_OBS_FOLD:
            end = self.look(p, n, 0)
            if end != FC_HTTP1_PARTIAL:
                self.complete(p, end, events)
                return end
            self.pending[:] = p[:n]
            return n
        # No more than the limit can matter. A fold is blanked out in place, so the text must be our own.
        room = max(self.limits.head_bytes_max, self.trailer_bytes_max) - seen
        self.pending += p[:min(n, room)]
        total = PyByteArray_GET_SIZE(self.pending)
        end = self.look(PyByteArray_AS_STRING(self.pending), total, seen)
        if end == FC_HTTP1_PARTIAL:
            return n
        text, self.pending = self.pending, bytearray()
        self.complete(PyByteArray_AS_STRING(text), end, events)
        return end - seen

    cdef int complete(self, const char *p, Py_ssize_t n, list events) except -1:
        cdef EndOfMessage done
        if self.state == TRAILERS:
            done = EndOfMessage.__new__(EndOfMessage)
            done.trailers = self.take_headers(p, n)
            self.finish(done, events)
        else:
            self.begin(p, n, events)
        return 0

    # --- bodies -----------------------------------------------------------------------------------------------------
    cdef int begin_body(self, list events) except -1:
        if self.head.framing == FC_BODY_NONE:
            self.finish(END, events)
        elif self.head.framing == FC_BODY_LENGTH:
            self.left = self.head.content_length
            self.state = LENGTH
        elif self.head.framing == FC_BODY_CHUNKED:
            fc_chunked_init(&self.chunks, self.chunk_ext_max)
            self.state = CHUNKED
        else:
            self.state = UNTIL_CLOSE
        return 0

    cdef int finish(self, EndOfMessage done, list events) except -1:
        events.append(done)
        self.state = self.after
        return 0

    cdef Py_ssize_t feed_length(self, const char *p, Py_ssize_t n, list events) except -1:
        if <uint64_t>n > self.left:
            n = self.left
        events.append(Data(p[:n]))
        self.left -= n
        if self.left == 0:
            self.finish(END, events)
        return n

    cdef Py_ssize_t feed_chunks(self, const char *p, Py_ssize_t n, list events) except -1:
        cdef Py_ssize_t at = 0
        cdef size_t used
        cdef fc_slice data
        cdef fc_chunk answer = FC_CHUNK_DATA
        while answer == FC_CHUNK_DATA:
            answer = fc_chunked_next(&self.chunks, p + at, n - at, &used, &data)
            at += used
            if answer == FC_CHUNK_DATA:
                events.append(Data(data.p[:data.n]))
        if answer == FC_CHUNK_ERROR:
            raise self.failure(FC_HTTP1_BAD_CHUNK, at)
        if answer == FC_CHUNK_LAST:
            self.state = TRAILERS
        return at

    # --- the connection ---------------------------------------------------------------------------------------------
    cdef int run(self, const char *p, Py_ssize_t n, list events) except -1:
        cdef Py_ssize_t at = 0
        while at < n:
            if self.state == HEAD or self.state == TRAILERS:
                at += self.feed_head(p + at, n - at, events)
            elif self.state == LENGTH:
                at += self.feed_length(p + at, n - at, events)
            elif self.state == CHUNKED:
                at += self.feed_chunks(p + at, n - at, events)
            elif self.state == UNTIL_CLOSE:
                events.append(Data(p[at:n]))
                return 0
            elif self.state == PAUSED:
                self.rest = p[at:n]
                return 0
            else:
                return 0
        return 0

    cdef list run_events(self, const char *p, Py_ssize_t n):
        cdef list events = []
        try:
            self.run(p, n, events)
        except RemoteProtocolError as error:
            self.state = BROKEN
            error.events = events
            raise
        return events

    def feed(self, data):
        """Events in the bytes that came (bytes-like), after what came before.

        Raises RemoteProtocolError, with the events before the error in its `events`; the parser is then of no more
        use. Raises LocalProtocolError when it was already, or while it is paused. What follows a message that ended
        the connection is ignored.
        """
        cdef Py_buffer view
        if self.state == BROKEN or self.state == PAUSED:
            raise LocalProtocolError("the parser is paused" if self.state == PAUSED else "the parser has failed",
                                     code="paused" if self.state == PAUSED else "failed", status=500, offset=0)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.run_events(<const char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def feed_eof(self):
        """Events when the peer has closed: the end of a close-delimited body. RemoteProtocolError inside a message."""
        cdef list events = []
        if self.state == UNTIL_CLOSE:
            self.after = CLOSED
            self.finish(END, events)
        elif self.state == PAUSED or self.state == CLOSED or self.state == BROKEN:
            pass
        elif self.state != HEAD or self.pending or self.waiting():
            self.state = BROKEN
            raise RemoteProtocolError("the peer closed inside a message", code="incomplete",
                                      status=self.error_status(FC_HTTP1_OK), offset=len(self.pending))
        else:
            self.state = CLOSED
        return events

    cdef bint waiting(self):
        """Is a message owed to us?"""
        return False

    @property
    def paused(self):
        """After CONNECT or an upgrade: the bytes that follow may be another protocol. See `unparsed`, `resume`."""
        return self.state == PAUSED

    @property
    def closed(self):
        """No further message will come: the last one ended the connection, or the peer closed."""
        return self.state == CLOSED

    @property
    def unparsed(self):
        """The bytes that came behind the message that paused the parser."""
        return self.rest

    def resume(self):
        """The other protocol was declined: go on with HTTP. Events in what came meanwhile."""
        if self.state != PAUSED:
            raise LocalProtocolError("the parser is not paused", code="not_paused", status=500, offset=0)
        cdef bytes rest = self.rest
        self.rest = b""
        self.state = HEAD
        return self.run_events(rest, len(rest))


@cython.final
cdef class RequestParser(Parser):
    """The server's side of connections: requests in.

    Limits are in bytes, `max_fields` in fields; what is over them is answered 431 (target: 414). The `allow_*`
    leniencies are explained in fc/http1.h.
    """

    def __init__(self, *, max_head_bytes=32768, max_target_bytes=8192, max_fields=100, max_chunk_ext_bytes=256,
                 max_trailer_bytes=8192, allow_bare_lf=False, allow_obs_fold=False, allow_target_bytes=False,
                 allow_repeated_length=False, allow_missing_host=False):
        flags = [(allow_bare_lf, FC_HTTP1_LENIENT_BARE_LF), (allow_obs_fold, FC_HTTP1_LENIENT_OBS_FOLD),
                 (allow_target_bytes, FC_HTTP1_LENIENT_TARGET_BYTES),
                 (allow_repeated_length, FC_HTTP1_LENIENT_REPEATED_LENGTH),
                 (allow_missing_host, FC_HTTP1_LENIENT_MISSING_HOST)]
        self.configure(flags, max_head_bytes, max_target_bytes, max_fields, max_chunk_ext_bytes, max_trailer_bytes)

    cdef int parse(self, const char *p, size_t n, size_t seen) except? -3:
        return fc_http1_parse_request(p, n, seen, &self.limits, &self.head)

    cdef int error_status(self, int error) except -1:
        return fc_http1_error_status(<fc_http1_error>error)

    cdef int begin(self, const char *p, Py_ssize_t n, list events) except -1:
        events.append(self.fill(Request.__new__(Request), p, n))
        if self.head.method_id == FC_METHOD_CONNECT or self.head.has_upgrade:
            self.after = PAUSED
        else:
            self.after = HEAD if self.head.keep_alive else CLOSED
        return self.begin_body(events)

    def parse_head(self, data):
        """The request whose head `data` (bytes-like) begins with, or None if the head is not complete.

        Keeps nothing and does not touch the connection that `feed` follows. Raises RemoteProtocolError.
        """
        cdef int end
        cdef bytes text = data if type(data) is bytes else bytes(memoryview(data))
        if self.limits.flags & FC_HTTP1_LENIENT_OBS_FOLD:
            text = PyBytes_FromStringAndSize(PyBytes_AS_STRING(text), len(text))
        end = self.parse(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), 0)
        if end > 0:
            return self.fill(Request.__new__(Request), PyBytes_AS_STRING(text), end)
        if end == FC_HTTP1_PARTIAL:
            return None
        raise self.failure(self.head.error, self.head.error_at)


@cython.final
cdef class ResponseParser(Parser):
    """The client's side of connections: responses in, in the order of the requests named with `expect`.

    Errors have status 502. A byte that no request asked for is an error: such a connection must not be used again.
    """

    cdef object methods     # of the requests that are not answered yet
    cdef fc_http_method method

    def __init__(self, *, max_head_bytes=32768, max_fields=100, max_chunk_ext_bytes=256, max_trailer_bytes=8192,
                 allow_bare_lf=False, allow_obs_fold=False, allow_space_before_colon=False,
                 allow_repeated_length=False, allow_missing_reason_space=False):
        flags = [(allow_bare_lf, FC_HTTP1_LENIENT_BARE_LF), (allow_obs_fold, FC_HTTP1_LENIENT_OBS_FOLD),
                 (allow_space_before_colon, FC_HTTP1_LENIENT_SPACE_BEFORE_COLON),
                 (allow_repeated_length, FC_HTTP1_LENIENT_REPEATED_LENGTH),
                 (allow_missing_reason_space, FC_HTTP1_LENIENT_NO_REASON_SPACE)]
        self.configure(flags, max_head_bytes, 1, max_fields, max_chunk_ext_bytes, max_trailer_bytes)
        self.methods = deque()

    def expect(self, str method not None):
        """A request with this method was sent; its response is the next one not yet expected."""
        cdef bytes name = method.encode()
        self.methods.append(<int>fc_http_method_id(name, len(name)))

    cdef int parse(self, const char *p, size_t n, size_t seen) except? -3:
        if not self.methods:
            raise RemoteProtocolError("a response that no request asked for", code="unsolicited", status=502, offset=0)
        self.method = <fc_http_method><int>self.methods[0]
        return fc_http1_parse_response(p, n, seen, &self.limits, self.method, &self.head)

    cdef int error_status(self, int error) except -1:
        return 502

    cdef bint waiting(self):
        return bool(self.methods)

    cdef int begin(self, const char *p, Py_ssize_t n, list events) except -1:
        cdef bint connected = self.method == FC_METHOD_CONNECT and 200 <= self.head.status < 300
        events.append(self.fill(Response.__new__(Response), p, n))
        if self.head.status < 200 and self.head.status != 101:
            return 0
        self.methods.popleft()
        if self.head.status == 101 or connected:
            self.after = PAUSED
        else:
            self.after = HEAD if self.head.keep_alive else CLOSED
        return self.begin_body(events)

    def parse_head(self, data, str request_method not None="GET"):
        """The response whose head `data` (bytes-like) begins with, or None if the head is not complete.

        `request_method` decides framing. Keeps nothing, as RequestParser.parse_head. Raises RemoteProtocolError.
        """
        cdef int end
        cdef bytes text = data if type(data) is bytes else bytes(memoryview(data))
        cdef bytes name = request_method.encode()
        if self.limits.flags & FC_HTTP1_LENIENT_OBS_FOLD:
            text = PyBytes_FromStringAndSize(PyBytes_AS_STRING(text), len(text))
        end = fc_http1_parse_response(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), 0, &self.limits,
                                      fc_http_method_id(name, len(name)), &self.head)
        if end > 0:
            return self.fill(Response.__new__(Response), PyBytes_AS_STRING(text), end)
        if end == FC_HTTP1_PARTIAL:
            return None
        raise self.failure(self.head.error, self.head.error_at)
