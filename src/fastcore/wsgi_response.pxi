# One request's greenlet and its answer. Part of wsgi.pyx.

cdef class FileWrapper:
    """wsgi.file_wrapper: a file to be sent; by sendfile(2) where it has a descriptor of a regular file."""
    cdef readonly object filelike
    cdef readonly Py_ssize_t blksize

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if not data:
            raise StopIteration
        return data

    def close(self):
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


# Which bytes a field name and a field value may hold (RFC 9110 5.1, 5.5); bit 1: name, bit 2: value.
cdef uint8_t ALLOWED[256]
for _byte in range(256):
    ALLOWED[_byte] = (1 if chr(_byte) in "!#$%&'*+-.^_`|~" or (_byte < 128 and chr(_byte).isalnum()) else 0) | \
                     (2 if _byte == 9 or (32 <= _byte != 127) else 0)


cdef inline bint only(const uint8_t *p, Py_ssize_t n, uint8_t bit) noexcept:
    cdef Py_ssize_t i
    for i in range(n):
        if not ALLOWED[p[i]] & bit:
            return False
    return True


cdef enum:
    FIELD_PLAIN, FIELD_LENGTH, FIELD_CONNECTION, FIELD_UPGRADE, FIELD_HOP


cdef int field_kind(const uint8_t *p, Py_ssize_t n) noexcept:
    """Fields of an answer that are not the application's to decide are dropped: hop-by-hop, Server and Date."""
    cdef uint8_t low[20]
    cdef Py_ssize_t i
    if n > 19 or n < 2:
        return FIELD_PLAIN
    for i in range(n):
        low[i] = p[i] | 32
    if n == 14:
        return FIELD_LENGTH if memcmp(low, b"content-length", 14) == 0 else FIELD_PLAIN
    if n == 10:
        if memcmp(low, b"connection", 10) == 0:
            return FIELD_CONNECTION
        return FIELD_HOP if memcmp(low, b"keep-alive", 10) == 0 else FIELD_PLAIN
    if n == 7:
        return FIELD_UPGRADE if memcmp(low, b"upgrade", 7) == 0 else FIELD_PLAIN
    if ((n == 4 and memcmp(low, b"date", 4) == 0) or (n == 6 and memcmp(low, b"server", 6) == 0)
            or (n == 2 and memcmp(low, b"te", 2) == 0) or (n == 8 and memcmp(low, b"trailers", 8) == 0)
            or (n == 17 and memcmp(low, b"transfer-encoding", 17) == 0)
            or (n == 18 and memcmp(low, b"proxy-authenticate", 18) == 0)
            or (n == 19 and memcmp(low, b"proxy-authorization", 19) == 0)):
        return FIELD_HOP
    return FIELD_PLAIN


cdef int check_field(name, value) except -1:
    """Raise what is wrong with a field of the application's; the value is not repeated, it may be a secret."""
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is not a string")
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    if not PyUnicode_GET_LENGTH(name) or PyUnicode_KIND(name) != 1 \
            or not only(<uint8_t *>PyUnicode_DATA(name), PyUnicode_GET_LENGTH(name), 1):
        raise ValueError(f"Invalid HTTP header name: {name!r}")
    if PyUnicode_KIND(value) != 1 or not only(<uint8_t *>PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value), 2):
        raise ValueError(f"Invalid HTTP Header: {name!r}")
    return 0


cdef inline char *put(char *at, const void *p, size_t n) noexcept:
    memcpy(at, p, n)
    return at + n


cdef inline char *put_str(char *at, str text) noexcept:
    return put(at, PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))


cdef size_t chunk_head(char *out, size_t n) noexcept:
    """The size line of a chunk, in the upper-case digits that gunicorn writes."""
    cdef const char *hexadecimal = b"0123456789ABCDEF"
    cdef char digits[16]
    cdef int len = 0, i
    while True:
        digits[len] = hexadecimal[n & 15]
        len += 1
        n >>= 4
        if n == 0:
            break
    for i in range(len):
        out[i] = digits[len - 1 - i]
    out[len] = c'\r'
    out[len + 1] = c'\n'
    return len + 2


cdef const char *PROTOCOL[2]
PROTOCOL[0] = b"HTTP/1.0 "
PROTOCOL[1] = b"HTTP/1.1 "

cdef size_t HEAD_FIXED = 200   # status line without its text, Server, Date, Connection, Transfer-Encoding, empty line


@cython.final
@cython.freelist(64)
cdef class Request:
    """One request: what its greenlet runs, and the answer's state. `req` is NULL once the C server has let go of it."""
    cdef fc_http_req *req
    cdef fc_buf *stage            # the block that bytes of the answer are written into
    cdef WSGIServer server
    cdef dict environ
    cdef Input input
    cdef object waiting           # the greenlet that waits in park()
    cdef str status, failure
    cdef int code
    cdef list headers             # (name, value) of the application, checked
    cdef size_t headers_bytes
    cdef int64_t length           # what Content-Length promised; -1: nothing
    cdef int64_t sent             # body bytes taken from the application
    cdef uint8_t minor
    cdef bint is_head, head_sent, chunked, no_body, keep, upgrade, warned

    def __dealloc__(self):
        if self.stage is not NULL:
            fc_buf_unref(self.stage)

    # --- the C request's life ---

    cdef void detach(self) noexcept:
        if self.req is not NULL:
            (<void **>fc_http_app(self.req))[0] = NULL
            self.req = NULL
            if self.stage is not NULL:
                fc_buf_unref(self.stage)
                self.stage = NULL
            Py_DECREF(self)

    cdef void end(self, bint keep) noexcept:
        cdef fc_http_req *req = self.req
        if req is not NULL:
            self.sync_clock()
            self.detach()
            fc_http_end(req, keep)

    cdef void abort(self) noexcept:
        cdef fc_http_req *req = self.req
        if req is not NULL:
            self.detach()
            fc_http_abort(req)

    cdef inline void sync_clock(self) noexcept:
        """Between the reactor's turns its clock stands still; deadlines set by a greenlet count from now."""
        cdef fc_loop *loop = self.server.reactor.loop
        if not loop.running:
            fc_loop_touch(loop)

    # --- waiting ---

    cdef int park(self) except -1:
        self.waiting = self.server.getcurrent()
        try:
            self.server.hub.switch()
        finally:
            self.waiting = None
        return 0

    cdef void wake(self) noexcept:
        waiting = self.waiting
        if waiting is not None:
            try:
                self.server.resume(waiting)
            except BaseException:
                self.server.hub.handle_error(self, *sys.exc_info())

    cdef void wake_soon(self) noexcept:
        waiting = self.waiting
        if waiting is not None:
            self.server.run_callback(waiting.switch)

    # --- the greenlet ---

    def __call__(self):
        cdef WSGIServer server = self.server
        cdef dict environ = self.environ
        cdef uint64_t started = 0
        self.environ = None
        try:
            if server.before is not None:
                server.before(environ)
            if server.after is not None:
                started = self.req.started_ns if self.req is not NULL else server.reactor.loop.now_ns
            result = server.application(environ, self.start_response)
            try:
                self.answer(result)
            finally:
                if type(result) is not list:
                    close = getattr(result, "close", None)
                    if close is not None:
                        close()
        except ClientDisconnected as gone:
            if self.req is not NULL:   # the application's own
                self.failed(environ)
            else:
                log.debug("%s %s: %s", environ["REQUEST_METHOD"], environ["RAW_URI"], gone)
        except GREENLET_EXIT:
            self.cut()
        except KeyboardInterrupt:
            self.cut()
            server.hub.handle_error(self, *sys.exc_info())
        except BaseException:   # SystemExit and gevent.Timeout too: a request's greenlet does not end the worker
            self.failed(environ)
        finally:
            self.abort()   # only if nobody has ended it
            if self.input is not None:
                self.input.request = None
                self.input = None
            if server.after is not None:
                self.sync_clock()
                self.tell(environ, (server.reactor.loop.now_ns - started) / 1e9)

    cdef int tell(self, dict environ, double seconds) except -1:
        try:
            self.server.after(environ, self.status or "500 Internal Server Error", self.headers or [], self.sent, seconds)
        except Exception:
            self.server.error_log.exception("Exception after the request")
        return 0

    cdef int failed(self, dict environ) except -1:
        """The application raised: a 500 that says nothing about it, or no more if the answer has begun."""
        self.server.error_log.exception("Error handling request %s %s", environ["REQUEST_METHOD"], environ["RAW_URI"])
        if self.req is NULL:
            return 0
        if self.head_sent:
            self.cut()
            return 0
        self.sync_clock()
        page = error_page(500, "")
        self.status = "500 Internal Server Error"
        fc_http_send_copy(self.req, PyBytes_AS_STRING(page), PyBytes_GET_SIZE(page))
        self.end(False)
        return 0

    cdef void cut(self) noexcept:
        """End an answer so that the client can tell it is not whole: what was sent goes out, and its framing stays open.
        An answer whose end is the connection's can only be told apart by a reset."""
        if self.head_sent and (self.chunked or self.length >= 0):
            self.end(False)
        else:
            self.abort()

    cdef int answer(self, result) except -1:
        if type(result) is list or type(result) is tuple:
            for item in result:
                self.write_body(item, False)
        elif isinstance(result, FileWrapper):
            if not self.send_file(<FileWrapper>result):
                for item in result:
                    self.write_body(item, True)
        else:
            for item in result:
                self.write_body(item, True)
        self.finish()
        return 0

    # --- what the application calls ---

    def start_response(self, status, headers, exc_info=None):
        """PEP 3333. Raises TypeError or ValueError for what may not go into a head."""
        cdef Py_ssize_t n
        cdef const uint8_t *p
        if exc_info:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            raise AssertionError("Response headers already set!")
        if not isinstance(status, str):
            raise TypeError(f"{status!r} is not a string")
        n = PyUnicode_GET_LENGTH(status)
        p = <const uint8_t *>PyUnicode_DATA(status)
        if (PyUnicode_KIND(status) != 1 or n < 3 or not (c'0' <= p[0] <= c'9' and c'0' <= p[1] <= c'9' and c'0' <= p[2] <= c'9')
                or (n > 3 and p[3] != c' ') or not only(p, n, 2)):
            raise ValueError(f"Invalid status {status!r}")
        self.headers = []
        self.headers_bytes = 0
        self.length = -1
        self.upgrade = False
        for name, value in headers:
            self.add_header(name, value)
        self.status = status
        self.code = (p[0] - c'0') * 100 + (p[1] - c'0') * 10 + p[2] - c'0'
        self.no_body = self.is_head or self.code == 204 or self.code == 304 or 100 <= self.code < 200
        if self.length >= 0 and (self.code == 204 or 100 <= self.code < 200):
            self.headers = [(k, v) for k, v in self.headers if k.lower() != "content-length"]
            self.length = -1
        self.chunked = self.length < 0 and self.minor > 0 and not self.no_body
        return self.write

    cdef int add_header(self, name, value) except -1:
        cdef int kind
        cdef Py_ssize_t n
        cdef const uint8_t *p
        check_field(name, value)
        n = PyUnicode_GET_LENGTH(value)
        p = <const uint8_t *>PyUnicode_DATA(value)
        if n and (p[0] <= 32 or p[n - 1] <= 32):
            value = value.strip(" \t")
        kind = field_kind(<const uint8_t *>PyUnicode_DATA(name), PyUnicode_GET_LENGTH(name))
        if kind == FIELD_LENGTH:
            length = int(value)
            if not 0 <= length < 1 << 62:
                raise ValueError("Invalid HTTP Header: 'Content-Length'")
            self.length = length
        elif kind == FIELD_CONNECTION:
            self.upgrade = value.lower() == "upgrade"
            return 0
        elif kind == FIELD_HOP or (kind == FIELD_UPGRADE and value.lower() != "websocket"):
            return 0
        self.headers.append((name, value))
        self.headers_bytes += PyUnicode_GET_LENGTH(name) + PyUnicode_GET_LENGTH(value) + 4
        return 0

    def write(self, data):
        """PEP 3333's write callable."""
        self.write_body(data, True)

    def early_hints(self, headers):
        """Send a 103 answer with these (name, value) fields before the final one; nothing for HTTP/1.0 clients."""
        if self.head_sent or self.minor == 0 or self.req is NULL:
            return
        lines = ["HTTP/1.1 103 Early Hints\r\n"]
        for name, value in headers:
            name = name.decode("latin-1") if isinstance(name, bytes) else name
            value = value.decode("latin-1") if isinstance(value, bytes) else value
            check_field(name, value)
            lines.append(f"{name}: {value.strip(' ' + chr(9))}\r\n")
        lines.append("\r\n")
        hints = "".join(lines).encode("latin-1")
        self.put_bytes(PyBytes_AS_STRING(hints), PyBytes_GET_SIZE(hints))
        fc_http_flush(self.req)

    # --- bytes ---

    cdef char *reserve(self, size_t n) except NULL:
        """Room for n bytes in one block, to be filled and given to commit()."""
        if self.req is NULL:
            raise ClientDisconnected(self.failure or "the request is over")
        self.sync_clock()
        if self.stage is not NULL and fc_buf_room(self.stage) < n:
            fc_buf_unref(self.stage)
            self.stage = NULL
        if self.stage is NULL:
            self.stage = fc_buf_get(self.server.reactor.loop.bufs, n)
            if self.stage is NULL:
                raise MemoryError("no room for the answer: too large a head, or the reactor's buffers are at their bound")
        return self.stage.data + self.stage.used

    cdef int commit(self, size_t n) except -1:
        # Several sends out of one block are one segment of the queue: we are its only writer, behind what was shown.
        cdef char *p = self.stage.data + self.stage.used
        self.stage.used += <uint32_t>n
        if fc_http_send(self.req, self.stage, p, n) < 0:
            raise MemoryError("no room in the output queue")
        return 0

    cdef int put_bytes(self, const char *p, size_t n) except -1:
        """Queue bytes, waiting while the client has too much to read already."""
        cdef size_t part
        while n:
            if self.stage is not NULL and 0 < fc_buf_room(self.stage) < n:
                part = fc_buf_room(self.stage)
            else:
                part = n if n < FC_BUF_LARGE else FC_BUF_LARGE
            memcpy(self.reserve(part), p, part)
            self.commit(part)
            p += part
            n -= part
            if fc_http_full(self.req):
                self.wait_for_room()
        return 0

    cdef int wait_for_room(self) except -1:
        fc_http_flush(self.req)
        while self.req is not NULL and fc_http_full(self.req):
            self.park()
        if self.req is NULL:
            raise ClientDisconnected(self.failure or "the request is over")
        return 0

    cdef int send_head(self, size_t room) except -1:
        """The head, in a block with room for the bytes that follow it if they are few."""
        cdef size_t size
        cdef char *start
        cdef char *at
        cdef WSGIServer server = self.server
        if self.status is None:
            raise AssertionError("the application did not call start_response")
        size = HEAD_FIXED + len(server.server_field) + PyUnicode_GET_LENGTH(self.status) + self.headers_bytes
        start = at = self.reserve(size + room if size + room <= FC_BUF_LARGE else size)
        self.keep = (server.keepalive and fc_http_may_keep(self.req) and self.req.head.method_id != FC_METHOD_CONNECT
                     and (self.length >= 0 or self.chunked or self.no_body))
        at = put(at, PROTOCOL[self.minor], 9)
        at = put_str(at, self.status)
        at = put(at, PyBytes_AS_STRING(server.server_field), PyBytes_GET_SIZE(server.server_field))
        at = put(at, fc_date_now(&server.date), FC_DATE_LEN)
        if self.upgrade:
            at = put(at, b"\r\nConnection: upgrade\r\n", 23)
        elif self.keep:
            at = put(at, b"\r\nConnection: keep-alive\r\n", 26)
        else:
            at = put(at, b"\r\nConnection: close\r\n", 21)
        if self.chunked:
            at = put(at, b"Transfer-Encoding: chunked\r\n", 28)
        for name, value in self.headers:
            at = put_str(at, <str>name)
            at = put(at, b": ", 2)
            at = put_str(at, <str>value)
            at = put(at, b"\r\n", 2)
        at = put(at, b"\r\n", 2)
        self.head_sent = True
        self.commit(at - start)
        return 0

    cdef int write_body(self, data, bint flush) except -1:
        cdef const char *p
        cdef Py_ssize_t n
        cdef char line[20]
        if not isinstance(data, bytes):
            raise TypeError(f"{data!r} is not a byte")
        p = PyBytes_AS_STRING(data)
        n = PyBytes_GET_SIZE(data)
        if not self.head_sent:
            self.send_head(n + 32)
        elif self.req is NULL:
            raise ClientDisconnected(self.failure or "the request is over")
        if self.no_body:
            if n:
                self.warn("sent a body where none may be: dropped (RFC 9110)")
            n = 0
        elif self.length >= 0 and self.sent + n > self.length:
            self.warn(f"sent more than its Content-Length of {self.length}: the rest is dropped")
            n = self.length - self.sent
        if n:
            self.sent += n
            if self.chunked:
                self.put_bytes(line, chunk_head(line, n))
                self.put_bytes(p, n)
                self.put_bytes(b"\r\n", 2)
            else:
                self.put_bytes(p, n)
        if flush:
            self.sync_clock()
            fc_http_flush(self.req)
        return 0

    cdef int warn(self, str what) except -1:
        if not self.warned:
            self.warned = True
            self.server.error_log.warning("The application %s (status %s).", what, self.status)
        return 0

    cdef int finish(self) except -1:
        if not self.head_sent:
            self.send_head(8)
        if self.req is NULL:
            raise ClientDisconnected(self.failure or "the request is over")
        if self.chunked:
            self.put_bytes(b"0\r\n\r\n", 5)
        elif self.length >= 0 and self.sent < self.length and not self.no_body:
            self.warn(f"sent {self.sent} of the {self.length} bytes it promised: the connection is closed")
            self.keep = False
        self.end(self.keep)
        return 0

    cdef bint send_file(self, FileWrapper wrapper) except -1:
        """True when the kernel sends it. The queue holds a descriptor of its own, so the file may be closed at once."""
        cdef char line[20]
        if not self.server.sendfile or self.status is None or not hasattr(wrapper.filelike, "fileno"):
            return False
        try:
            fd = wrapper.filelike.fileno()
            about = os.fstat(fd)
            offset = wrapper.filelike.tell()
        except (OSError, AttributeError, ValueError, io.UnsupportedOperation):
            return False
        if not stat_module.S_ISREG(about.st_mode):
            return False
        left = max(about.st_size - offset, 0)
        if self.length >= 0:
            left = min(left, self.length - self.sent)
        if not self.head_sent:
            self.send_head(32)
        if self.no_body or not left:
            return True
        if self.chunked:
            self.put_bytes(line, chunk_head(line, left))
        own = os.dup(fd)
        if fc_http_send_file(self.req, own, offset, left) < 0:
            os.close(own)
            raise MemoryError("no room in the output queue")
        self.sent += left
        if self.chunked:
            self.put_bytes(b"\r\n", 2)
        return True


from greenlet import GreenletExit as GREENLET_EXIT
