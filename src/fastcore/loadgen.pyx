"""Load on one URL from C, every request accounted for (cext/loadgen; fc/loadgen.h says what counts as which failure).

    report = run("http://127.0.0.1:8080/", connections=64, duration=10, rate=20_000)
    report["rate"], report["latency_us"]["p99"], report["errors"]

Without `rate` each connection sends its next request when the last is answered (closed loop). With it requests are due at
fixed moments, whatever the server does, and latency counts from those moments (open loop, "coordinated omission" avoided).
"""

import os
import re
import socket
import time
from urllib.parse import urlsplit

cimport cython
from libc.errno cimport errno
from libc.stdint cimport UINT64_MAX, uint16_t, uint32_t, uint64_t

from fastcore.http import LocalProtocolError, ProtocolError, RequestParser

__all__ = ["Generator", "Unreachable", "run"]


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct sockaddr_storage:
        pass
    int getpeername(int fd, sockaddr *addr, socklen_t *len)


cdef extern from "fc/hist.h" nogil:
    ctypedef struct fc_hist_layout:
        pass
    enum:
        FC_HIST_COUNT
        FC_HIST_SUM
    uint64_t fc_hist_quantile(fc_hist_layout l, const uint64_t *cells, double q)


cdef extern from "fc/http1.h" nogil:
    ctypedef enum fc_http1_error:
        FC_HTTP1_BAD_EXPECT
    ctypedef enum fc_http_method:
        pass
    const char *fc_http1_error_text(fc_http1_error error)
    fc_http_method fc_http_method_id(const char *name, size_t len)


cdef extern from "fc/loadgen.h" nogil:
    fc_hist_layout FC_LOAD_LATENCY
    enum:
        FC_LOAD_PIPELINE_MAX
        FC_LOAD_ERRNOS
    enum:
        FC_LOAD_CONNECT
        FC_LOAD_RESET
        FC_LOAD_CUT
        FC_LOAD_TIMEOUT
        FC_LOAD_BAD
        FC_LOAD_FAILURES

    ctypedef struct fc_load_options:
        const sockaddr *addr
        uint32_t addr_len
        uint32_t connections
        uint32_t pipeline
        bint keep_alive
        const char *request
        size_t request_len
        fc_http_method method
        double rate
        uint64_t requests_max
        uint64_t duration_ns
        uint64_t warmup_ns
        uint64_t timeout_ns
        uint64_t connect_timeout_ns

    ctypedef struct fc_load_counts:
        uint64_t requests
        uint64_t responses
        uint64_t *failures
        uint64_t *statuses
        uint64_t *connect_errnos
        uint64_t *bad_errors
        uint64_t latency_min
        uint64_t latency_max
        uint64_t *latency

    ctypedef struct fc_load_status:
        uint64_t begin_ns
        uint64_t end_ns
        uint64_t window_responses
        uint64_t window_bytes
        uint64_t bytes_sent
        uint64_t bytes_received
        uint64_t in_flight
        uint64_t unsent
        uint64_t opened
        uint64_t closed_idle
        uint64_t connects_failed
        uint64_t unasked
        const fc_load_counts *warm
        const fc_load_counts *measured

    ctypedef struct fc_load:
        pass
    fc_load *fc_load_new(const fc_load_options *options)
    void fc_load_free(fc_load *load)
    bint fc_load_run(fc_load *load, uint64_t slice_ns)
    void fc_load_stop(fc_load *load)
    fc_load_status fc_load_status_now(const fc_load *load)


cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


SLICE = 0.1  # seconds in C before Python looks for signals and the time to report progress
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
FAILURES = {
    "connect": FC_LOAD_CONNECT,
    "reset_before_response": FC_LOAD_RESET,
    "cut_response": FC_LOAD_CUT,
    "timeout": FC_LOAD_TIMEOUT,
    "bad_response": FC_LOAD_BAD,
}


class Unreachable(Exception):
    """No connection to the target at all: says the address and why."""


def _target(str url):
    """Host, port, authority and request target of an http URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r}: write http://host:port/path")
    if parts.username is not None:
        raise ValueError(f"{url!r}: give credentials as a header")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.hostname, parts.port or 80, parts.netloc, target


def _request(str method, str target, str authority, headers, bytes body, bint keepalive):
    """The bytes of one request. Raises ValueError for whatever our own parser would refuse."""
    given = {name.lower() for name, _ in headers}
    for name in ("content-length", "transfer-encoding", "connection"):
        if name in given:
            raise ValueError(f"the header {name} follows from the other options")
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: {authority}")
    if "user-agent" not in given:
        lines.append("User-Agent: fastcore-bench")
    for name, value in headers:
        if re.search(r"[\r\n]", name + value):
            raise ValueError(f"the header {name!r} has a line break")
        lines.append(f"{name}: {value}")
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    if not keepalive:
        lines.append("Connection: close")
    try:
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        RequestParser().feed(head)
    except UnicodeEncodeError:
        raise ValueError("the URL and headers may have Latin-1 characters only") from None
    except (ProtocolError, LocalProtocolError) as error:
        raise ValueError(f"the request would not be valid HTTP: {error}") from None
    return head + body


cdef uint64_t _ns(str name, seconds) except? 0:
    if not 0 <= seconds <= 366 * 86400:
        raise ValueError(f"{name} is {seconds}: seconds from 0 to a year")
    return <uint64_t>(seconds * 1e9)


@cython.final
cdef class Generator:
    """One load on one URL, run in steps; `run()` is the whole of it in one call.

    connections: how many, all opened before the clock starts (keep-alive).
    duration: seconds of measuring; requests: how many at most. At least one of them.
    rate: requests a second over all connections; None: as fast as they are answered.
    keepalive: False makes a connection for each request, and counts connecting in its latency.
    pipeline: requests in flight on one connection, 1 to 1024.
    timeout, connect_timeout: seconds for a complete answer, for a connection.
    warmup: seconds before measuring, reported apart.

    Raises ValueError for options that make no sense, Unreachable when no connection can be made, OSError when this
    process may not have the descriptors.
    """

    cdef fc_load *load
    cdef readonly object url, options
    cdef double rate
    cdef bint interrupted

    def __cinit__(self, str url not None, *, uint32_t connections=64, duration=None, requests=None, rate=None,
                  bint keepalive=True, uint32_t pipeline=1, str method="GET", headers=(), bytes body=b"",
                  timeout=10.0, connect_timeout=3.0, warmup=0.0):
        cdef fc_load_options o
        cdef sockaddr_storage addr
        cdef socklen_t addr_len = sizeof(addr)
        host, port, authority, target = _target(url)
        if duration is None and requests is None:
            raise ValueError("say how long (duration) or how many (requests)")
        if duration is not None and duration <= 0 or requests is not None and requests <= 0:
            raise ValueError("duration and requests must be more than 0")
        if rate is not None and not 0 < rate <= 1e7:
            raise ValueError(f"rate is {rate}: requests a second, up to ten million")
        if connections == 0 or not 1 <= pipeline <= FC_LOAD_PIPELINE_MAX:
            raise ValueError(f"connections from 1, pipeline from 1 to {FC_LOAD_PIPELINE_MAX}")
        if pipeline > 1 and not keepalive:
            raise ValueError("a connection for each request leaves nothing to pipeline")
        if timeout <= 0 or connect_timeout <= 0:
            raise ValueError("timeouts must be more than 0")
        cdef bytes request = _request(method, target, authority, list(headers), body, keepalive)
        cdef bytes name = method.encode()
        o.connections = connections
        o.pipeline = pipeline
        o.keep_alive = keepalive
        o.request = request
        o.request_len = len(request)
        o.method = fc_http_method_id(name, len(name))
        o.rate = rate or 0
        o.requests_max = requests or 0
        o.duration_ns = _ns("duration", duration or 0)
        o.warmup_ns = _ns("warmup", warmup)
        o.timeout_ns = _ns("timeout", timeout)
        o.connect_timeout_ns = _ns("connect_timeout", connect_timeout)
        _allow_descriptors(connections)
        try:
            # Tries every address the name has; the load goes to the one that answered.
            probe = socket.create_connection((host, port), connect_timeout)
        except OSError as error:
            raise Unreachable(f"cannot reach {host}:{port}: {error.strerror or error}") from None
        with probe:
            if getpeername(probe.fileno(), <sockaddr *>&addr, &addr_len) != 0:
                raise Unreachable(f"{host}:{port} closed the connection at once")
            address = probe.getpeername()
        o.addr = <const sockaddr *>&addr
        o.addr_len = addr_len
        self.load = fc_load_new(&o)
        if self.load is NULL:
            raise OSError(errno, os.strerror(errno))
        self.url = url
        self.rate = o.rate
        self.options = {
            "address": f"{address[0]}:{address[1]}", "connections": connections, "duration": duration,
            "requests": requests, "rate": rate, "keepalive": bool(keepalive), "pipeline": pipeline, "method": method,
            "body_bytes": len(body), "timeout": timeout, "connect_timeout": connect_timeout, "warmup": warmup,
        }

    def __dealloc__(self):
        fc_load_free(self.load)

    def step(self, double seconds=SLICE):
        """Run for up to `seconds`; True when the load is over and every request has its outcome."""
        cdef uint64_t slice_ns = <uint64_t>(seconds * 1e9)
        cdef bint done
        with nogil:
            done = fc_load_run(self.load, slice_ns)
        return bool(done)

    def stop(self):
        """End now. Requests in flight have no outcome; the report has them as `unfinished`."""
        self.interrupted = True
        fc_load_stop(self.load)

    def progress(self):
        """(seconds measured, responses, failures, in flight) so far."""
        cdef fc_load_status st = fc_load_status_now(self.load)
        return (_seconds(&st), st.measured.responses, _failures(st.measured), st.in_flight)

    def report(self):
        """What was measured so far; see the TypedDict Report."""
        cdef fc_load_status st = fc_load_status_now(self.load)
        cdef const fc_load_counts *m = st.measured
        cdef uint64_t n
        cdef int i
        seconds = _seconds(&st)
        causes = {os.strerror(i) if i else "unknown": m.connect_errnos[i] for i in range(FC_LOAD_ERRNOS)}
        for i in range(FC_HTTP1_BAD_EXPECT + 1):
            causes[fc_http1_error_text(<fc_http1_error>i).decode()] = m.bad_errors[i]
        statuses = {i: m.statuses[i] for i in range(600) if m.statuses[i]}
        return {
            "url": self.url,
            "options": self.options,
            "interrupted": bool(self.interrupted),
            "seconds": seconds,
            "requests": m.requests,
            "responses": m.responses,
            "unfinished": m.requests - m.responses - _failures(m),
            "unsent": st.unsent,
            "failed": _failures(m),
            "errors": {kind: m.failures[<int>index] for kind, index in FAILURES.items()},
            "causes": {cause: n for cause, n in causes.items() if n},
            "statuses": {str(status): n for status, n in statuses.items()},
            "status_classes": {
                f"{hundred}xx": sum(n for status, n in statuses.items() if status // 100 == hundred)
                for hundred in range(1, 6)
            },
            "rate": st.window_responses / seconds if seconds else 0.0,
            "bytes_per_second": st.window_bytes / seconds if seconds else 0.0,
            "bytes_received": st.bytes_received,
            "bytes_sent": st.bytes_sent,
            "latency_us": _latency(m),
            "connections": {
                "opened": st.opened, "closed_idle": st.closed_idle, "connects_failed": st.connects_failed,
                "unasked": st.unasked,
            },
            "warmup": {"requests": st.warm.requests, "responses": st.warm.responses, "failed": _failures(st.warm)},
        }


cdef double _seconds(const fc_load_status *st) noexcept:
    return <double>(st.end_ns - st.begin_ns) / 1e9 if st.end_ns > st.begin_ns else 0


cdef uint64_t _failures(const fc_load_counts *counts) noexcept:
    cdef uint64_t sum = 0
    for i in range(FC_LOAD_FAILURES):
        sum += counts.failures[i]
    return sum


cdef _latency(const fc_load_counts *counts):
    if not counts.responses:
        return None
    found = {"min": counts.latency_min / 1e3, "mean": counts.latency[FC_HIST_SUM] / 1e3 / counts.responses}
    for name, q in QUANTILES.items():
        # a quantile is the upper edge of its bucket, which may lie above the largest value seen
        found[name] = min(fc_hist_quantile(FC_LOAD_LATENCY, counts.latency, q), counts.latency_max) / 1e3
    found["max"] = counts.latency_max / 1e3
    return found


def _allow_descriptors(connections):
    """Raise the soft limit as far as the hard one. Raises OSError when that is not enough."""
    import resource

    needed = connections + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise OSError(f"{connections} connections need {needed} file descriptors, this process may have {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def run(url, *, progress=None, **options):
    """Run a whole load; options as for Generator. `progress(seconds, responses, failures, in_flight)` is called once a
    second. Ctrl-C ends it, and what was measured is reported. Returns the report."""
    generator = Generator(url, **options)
    said = time.monotonic()
    try:
        while not generator.step():
            PyErr_CheckSignals()
            if progress is not None and time.monotonic() - said >= 1:
                said = time.monotonic()
                progress(*generator.progress())
    except KeyboardInterrupt:
        generator.stop()
    return generator.report()
