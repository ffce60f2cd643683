"""WSGI applications (PEP 3333) on the C HTTP/1.1 server, one greenlet per request.

The connection, its framing, deadlines and queues are C (fc/http_server.h). A complete head becomes an environ and a fresh
greenlet that calls the application; the greenlet waits only where the client is slower than the application: for body
bytes it wants, and for room in the output queue. There is no greenlet per connection.

What goes out follows gunicorn's own gevent worker byte for byte, `Server` and `Date` apart, so that changing the worker
class changes nothing else. Where that worker leaves a broken connection behind (an application that promises more bytes
than it sends) this one closes it.
"""

import io
import logging
import os
import stat as stat_module
import sys
from html import escape
from http import HTTPStatus

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy

from fastcore.cnet cimport *
from fastcore.reactor cimport Reactor

__all__ = ["ClientDisconnected", "FileWrapper", "WSGIServer"]

log = logging.getLogger("fastcore.wsgi")


class ClientDisconnected(ConnectionError):
    """The client went away, or was cut off by a deadline, while the application was reading its body or answering."""


cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    PyObject *PyDict_SetDefault(object d, object key, object default) except NULL
    PyObject *PyDict_GetItemWithError(object d, object key) except? NULL


include "wsgi_input.pxi"
include "wsgi_environ.pxi"
include "wsgi_response.pxi"


# By fc_http_method; the first is any method without a name.
cdef tuple METHODS = tuple(sys.intern((<bytes>fc_http_method_name(m)).decode("ascii")) for m in range(FC_METHOD_COUNT))


cdef class Listener:
    """One listening socket: the C server behind it and the part of the environ all its requests share."""
    cdef fc_http_server http
    cdef WSGIServer server
    cdef dict template          # copied for each request
    cdef bint by_host           # a unix socket: SERVER_NAME and SERVER_PORT come from Host
    cdef bint running
    cdef object socket

    cdef void finished(self) noexcept:
        """The C server holds no pointer to us any more."""
        if self.running:
            self.running = False
            self.server.listener_drained()
            Py_DECREF(self)


@cython.final
cdef class WSGIServer:
    """Serves a WSGI application on listening sockets, on a reactor in gevent's hub.

    application: the WSGI callable.
    environ: keys every request's environ starts from; `wsgi.errors` must be among them.
    server_name: value of the Server field.

    Limits, all settings (see fc/http_server.h): limit_request_line, limit_request_field_size (bytes; 0: only the head's
    own limit of 64 KB), limit_request_fields, connections_max; keepalive, header_timeout, body_timeout, write_timeout,
    drain_idle (seconds; keepalive 0 closes after each answer); out_high, out_low (bytes queued for one client before the
    application waits, and goes on); body_bytes_max (bytes, 0: none).
    secure_scheme_headers: fields that make the scheme https, believed of peers for which trusted(address) is true.
    forwarder_headers, header_map ("drop", "refuse" or "dangerous"): what becomes of names with an underscore.
    max_requests: after so many requests `limit_reached()` is called once.
    before(environ) and after(environ, status, headers, sent, seconds): called around each request when given.
    """
    cdef readonly Reactor reactor
    cdef object application, hub, run_callback, greenlet, getcurrent
    cdef readonly uint64_t requests      # taken so far, over all listeners
    cdef uint64_t max_requests
    cdef object limit_reached, before, after, error_log, trusted, drained_callback
    cdef dict base
    cdef list listeners
    cdef fc_http_settings settings
    cdef NameTable names
    cdef fc_date date
    cdef bint keepalive, sendfile, any_method
    cdef uint32_t limit_line, limit_field
    cdef bytes server_field
    cdef str script_name
    cdef dict secure_scheme_headers
    cdef set forwarder_headers
    cdef str header_map
    cdef fc_addr last_peer               # most requests come from the peer of the one before: its text is kept
    cdef str last_peer_text
    cdef bint last_peer_trusted
    cdef object empty_input

    def __init__(self, Reactor reactor not None, application, *, environ, server_name="fastcore",
                 limit_request_line=4094, limit_request_fields=100, limit_request_field_size=8190,
                 connections_max=65536, keepalive=75.0, header_timeout=10.0, body_timeout=30.0, write_timeout=30.0,
                 drain_idle=1.0, body_bytes_max=0, out_high=256 * 1024, out_low=64 * 1024, sendfile=True,
                 any_method=False, secure_scheme_headers=None, forwarder_headers=(), header_map="drop", trusted=None,
                 script_name="", max_requests=0, limit_reached=None, before=None, after=None, error_log=None):
        import gevent
        import greenlet

        self.reactor = reactor
        self.application = application
        self.hub = gevent.get_hub()
        self.run_callback = self.hub.loop.run_callback
        self.greenlet = greenlet.greenlet
        self.getcurrent = greenlet.getcurrent
        self.max_requests = max_requests
        self.limit_reached = limit_reached
        self.before = before
        self.after = after
        self.error_log = error_log or log
        self.trusted = trusted
        self.listeners = []
        self.names = NameTable(secure_scheme_headers or ())
        self.keepalive = keepalive > 0
        self.sendfile = sendfile
        self.any_method = any_method
        self.limit_line = limit_request_line
        self.limit_field = limit_request_field_size
        self.server_field = f"\r\nServer: {server_name}\r\nDate: ".encode("latin-1")
        self.script_name = script_name
        self.secure_scheme_headers = dict(secure_scheme_headers or {})
        self.forwarder_headers = set(forwarder_headers)
        self.header_map = header_map
        self.empty_input = Input.__new__(Input)
        (<Input>self.empty_input).eof = True
        self.base = {
            "wsgi.version": (1, 0), "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper, "wsgi.input_terminated": True, "wsgi.url_scheme": "http",
            "SCRIPT_NAME": script_name, **environ,
        }
        cdef fc_http_settings s = fc_http_settings_default()
        s.app_bytes = sizeof(void *)
        s.fields_max = min(limit_request_fields if limit_request_fields > 0 else FIELDS_MAX, FIELDS_MAX)
        s.parse.target_bytes_max = limit_request_line if limit_request_line > 0 else HEAD_MAX
        s.parse.head_bytes_max = min(HEAD_MAX, s.parse.target_bytes_max + 32
                                     + s.fields_max * ((limit_request_field_size or 8190) + 2) + 4)
        s.connections_max = connections_max
        s.idle_timeout_ms = milliseconds(keepalive)
        s.header_timeout_ms = milliseconds(header_timeout)
        s.body_timeout_ms = milliseconds(body_timeout)
        s.write_timeout_ms = milliseconds(write_timeout)
        s.drain_idle_ms = milliseconds(drain_idle)
        s.body_bytes_max = body_bytes_max
        s.out_high = out_high
        s.out_low = out_low
        self.settings = s

    def listen(self, sock):
        """Accept from a listening socket, which is made non-blocking and must stay open until `drain` or `stop`."""
        cdef Listener l = Listener.__new__(Listener)
        sock.setblocking(False)
        name = sock.getsockname()
        l.server = self
        l.socket = sock
        l.template = dict(self.base)
        l.by_host = isinstance(name, (str, bytes))
        if l.by_host:
            l.template["SERVER_NAME"] = name if isinstance(name, str) else os.fsdecode(name)
            l.template["SERVER_PORT"] = ""
        else:
            l.template["SERVER_NAME"] = name[0]
            l.template["SERVER_PORT"] = str(name[1])
        fc_http_server_init(&l.http, self.reactor.loop, &OPS, <void *>l, &self.settings)
        l.http.drained = on_drained
        cdef int rc = fc_http_server_listen(&l.http, sock.fileno(), NULL)
        if rc < 0:
            raise OSError(-rc, f"cannot watch the listening socket {name!r}: {os.strerror(-rc)}")
        l.running = True
        Py_INCREF(l)
        self.listeners.append(l)

    def drain(self, drained=None):
        """Stop accepting, close idle connections after drain_idle seconds, announce `Connection: close` on the others.

        drained() is called once, when the last connection has gone."""
        cdef Listener l
        self.drained_callback = drained
        fc_loop_touch(self.reactor.loop)
        for l in self.listeners:
            fc_http_server_drain(&l.http)
        if not self.listeners:
            self.listener_drained()

    def stop(self):
        """Close every connection now; applications that are waiting see ClientDisconnected."""
        cdef Listener l
        for l in list(self.listeners):
            fc_http_server_stop(&l.http)
            if l.http.stats.open == 0:
                l.finished()

    def stats(self):
        """Counters over all listeners: accepted, requests, refused, accept_errors, open, idle; accept_errno of the last
        failure to accept (0: none)."""
        cdef Listener l
        out = {"accepted": 0, "requests": 0, "refused": 0, "accept_errors": 0, "open": 0, "idle": 0, "accept_errno": 0}
        for l in self.listeners:
            out["accepted"] += l.http.stats.accepted
            out["requests"] += l.http.stats.requests
            out["refused"] += l.http.stats.refused
            out["accept_errors"] += l.http.stats.accept_errors
            out["open"] += l.http.stats.open
            out["idle"] += l.http.stats.idle
            out["accept_errno"] = out["accept_errno"] or l.http.accept_errno
        return out

    cdef void listener_drained(self) noexcept:
        cdef Listener l
        for l in self.listeners:
            if l.running:
                return
        callback, self.drained_callback = self.drained_callback, None
        if callback is not None:
            try:
                callback()
            except BaseException:
                self.hub.handle_error(self, *sys.exc_info())

    cdef int resume(self, greenlet) except -1:
        """Let a greenlet run: at once when we are the hub, else soon."""
        if self.getcurrent() is self.hub:
            greenlet.switch()
        else:
            self.run_callback(greenlet.switch)
        return 0

    cdef int count(self) except -1:
        self.requests += 1
        if self.requests == self.max_requests and self.limit_reached is not None:
            self.limit_reached()
        return 0


cdef uint32_t FIELDS_MAX = 2000     # what one 64 KB block has room for, beside the request itself
cdef uint32_t HEAD_MAX = 65000      # a head fits one block (fc/http_server.h)


cdef uint32_t milliseconds(double seconds) noexcept:
    """0 and less: no such deadline, which is as good as a week."""
    return <uint32_t>(seconds * 1000) if 0 < seconds < 604800 else 604800000


# --- what the C server calls ------------------------------------------------------------------------------------------

cdef inline Request request_of(fc_http_req *req):
    cdef void *p = (<void **>fc_http_app(req))[0]
    return <Request>p if p is not NULL else None


cdef void on_request(fc_http_req *req) noexcept with gil:
    cdef Listener l = <Listener>req.server.app
    cdef WSGIServer server = l.server
    cdef Request r = Request.__new__(Request)
    r.server = server
    r.req = req
    r.length = -1
    (<void **>fc_http_app(req))[0] = <void *>r
    Py_INCREF(r)
    try:
        server.count()
        r.is_head = req.head.method_id == FC_METHOD_HEAD
        r.minor = req.head.minor
        r.environ = build_environ(l, r, req)
        server.resume(server.greenlet(r, server.hub))
    except Refused as refused:
        refuse(r.server, req, refused.status, refused.reason)
        r.end(False)
    except BaseException:
        server.hub.handle_error(r, *sys.exc_info())
        r.abort()


cdef void on_refuse(fc_http_req *req, int status, const char *reason) noexcept with gil:
    cdef WSGIServer server = (<Listener>req.server.app).server
    (<void **>fc_http_app(req))[0] = NULL
    try:
        refuse(server, req, status, reason.decode())
    except BaseException:
        server.hub.handle_error(server, *sys.exc_info())
    fc_http_end(req, False)


cdef void on_body(fc_http_req *req, fc_buf *buf, const char *p, size_t n) noexcept with gil:
    cdef Request r = request_of(req)
    if r is None or r.input is None:
        return
    try:
        r.input.push(p, n)
    except BaseException:
        r.server.hub.handle_error(r, *sys.exc_info())
        r.abort()


cdef void on_body_end(fc_http_req *req, const char *base, const fc_http1_head *trailers) noexcept with gil:
    cdef Request r = request_of(req)
    if r is None or r.input is None:
        return
    r.input.eof = True
    r.wake()


cdef void on_drain(fc_http_req *req) noexcept with gil:
    cdef Request r = request_of(req)
    if r is not None:
        r.wake()


cdef void on_failed(fc_http_req *req, fc_http_failure why) noexcept with gil:
    cdef Request r = request_of(req)
    if r is None:
        return
    cdef int status = 0
    if why == FC_HTTP_BODY_MALFORMED:
        status, r.failure = 400, "the body's chunked coding is malformed"
    elif why == FC_HTTP_BODY_TOO_LARGE:
        status, r.failure = 413, "the body is larger than this server accepts"
    elif why == FC_HTTP_BODY_TIMEOUT:
        status, r.failure = 408, "the body came too slowly"
    elif why == FC_HTTP_NO_MEMORY:
        status, r.failure = 503, "out of buffers"
    elif why == FC_HTTP_WRITE_TIMEOUT:
        r.failure = "the client does not read its answer"
    elif why == FC_HTTP_SHUTDOWN:
        r.failure = "the server is stopping"
    else:
        r.failure = "the client closed the connection"
    try:
        if status and not r.head_sent and not req.ended:
            refuse(r.server, req, status, r.failure)
            fc_http_end(req, False)
    except BaseException:
        r.server.hub.handle_error(r, *sys.exc_info())
    r.detach()
    r.wake_soon()


cdef void on_drained(fc_http_server *http) noexcept with gil:
    (<Listener>http.app).finished()


cdef fc_http_ops OPS
OPS.request = on_request
OPS.refuse = on_refuse
OPS.body = on_body
OPS.body_end = on_body_end
OPS.drain = on_drain
OPS.failed = on_failed


cdef int refuse(WSGIServer server, fc_http_req *req, int status, str reason) except -1:
    """The answer to a request that does not reach the application; the caller ends the request."""
    cdef char text[64]
    cdef size_t n = fc_addr_text(&req.conn.peer, text)
    server.error_log.warning("Invalid request from ip=%s: %s", text[:n].decode(), reason)
    page = error_page(status, reason)
    fc_http_send_copy(req, PyBytes_AS_STRING(page), PyBytes_GET_SIZE(page))
    return 0


cdef bytes error_page(int status, str message):
    """The answer gunicorn gives, down to the blanks in its page."""
    reason = {414: "URI Too Long", 431: "Request Header Fields Too Large"}.get(status) or HTTPStatus(status).phrase
    page = (f"<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    <h1><p>{reason}</p></h1>\n"
            f"    {escape(message)}\n  </body>\n</html>\n")
    return (f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: text/html\r\n"
            f"Content-Length: {len(page)}\r\n\r\n{page}").encode("latin-1", "replace")
