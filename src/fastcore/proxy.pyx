"""The reverse proxy engine: an HTTP/1.1 server on a reactor whose application is other servers.

Python describes what is wanted - upstreams with endpoints, routes over a `fastcore.router.Router` - and the exchange of
requests stays in C (cext/proxy). The gateway is this engine with a configuration file around it.

    proxy = Proxy(reactor)
    hello = proxy.upstream("hello")
    hello.set_endpoints([Endpoint(("127.0.0.1", 9100))])
    proxy.set_routes(router, [Route(name="all", upstream=hello)])
    proxy.listen(sock)
"""

import os
from dataclasses import dataclass

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport errno
from libc.stdint cimport INT32_MAX, UINT32_MAX, UINT64_MAX
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastcore.metrics cimport Counter, Histogram, Metrics
from fastcore.proxylimits cimport Limits, QuotaLine
from fastcore.reactor cimport Reactor
from fastcore.resilience cimport (
    fc_health_lead,
    fc_health_open,
    fc_health_probed,
    fc_health_resign,
    fc_health_settings,
    fc_health_size,
    fc_health_table,
    fill,
    fill_statuses,
    probe_name,
    target_view,
    upstream_view,
)
from fastcore.router cimport Router, fc_router_ref, fc_router_unref
from fastcore.sharedcache cimport SharedCache
from fastcore.shm cimport Region
from fastcore.spans cimport SpanQueue
from fastcore.tls cimport Context

from fastcore.resilience import Retry
from fastcore.shm import RegionError

__all__ = ["BALANCE", "CELLS", "REASONS", "Adaptive", "Authenticator", "CachePolicy", "Coding", "Cors", "Credential", "Edit", "Endpoint", "Fixed", "HookCall", "Hooks", "Http2", "Literal", "Mirror",
           "Parameter", "Part", "Proxy", "Route", "RouteAuth", "RouteHooks", "Split", "Tail", "Upstream", "pack_verdict"]


cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <string.h>
    #include <sys/un.h>

    static int fc_py_sockaddr(struct sockaddr_storage *sa, socklen_t *len, const char *host, unsigned port)
    {
        struct sockaddr_in *in = (struct sockaddr_in *)sa;
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;
        memset(sa, 0, sizeof *sa);
        if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
            in->sin_family = AF_INET;
            in->sin_port = htons((unsigned short)port);
            *len = sizeof *in;
            return 0;
        }
        if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
            in6->sin6_family = AF_INET6;
            in6->sin6_port = htons((unsigned short)port);
            *len = sizeof *in6;
            return 0;
        }
        return -1;
    }

    static int fc_py_sockaddr_unix(struct sockaddr_storage *sa, socklen_t *len, const char *path, size_t n)
    {
        struct sockaddr_un *un = (struct sockaddr_un *)sa;
        memset(sa, 0, sizeof *sa);
        if (n == 0 || n >= sizeof un->sun_path)
            return -1;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, path, n);
        *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] != 0));
        return 0;
    }
    """
    int fc_py_sockaddr(sockaddr_storage *sa, socklen_t *len, const char *host, unsigned port)
    int fc_py_sockaddr_unix(sockaddr_storage *sa, socklen_t *len, const char *path, size_t n)


BALANCE = {
    "round_robin": FC_BALANCE_ROUND_ROBIN,
    "least_connections": FC_BALANCE_LEAST_CONN,
    "p2c_ewma": FC_BALANCE_P2C_EWMA,
    "consistent_hash": FC_BALANCE_HASH,
}

RETRY_ON = {"reset": FC_RETRY_RESET, "timeout": FC_RETRY_TIMEOUT}

# Upstreams and targets all workers can know together, of all generations alive: 1 MB. Beyond it each worker for itself.
cdef uint32_t HEALTH_CELLS = 8192
HEALTH_SECTION = "gateway.health"

HASH_ON = {
    "client_ip": FC_HASH_CLIENT_IP,
    "path": FC_HASH_PATH,
    "header": FC_HASH_HEADER,
    "cookie": FC_HASH_COOKIE,
    "query": FC_HASH_QUERY,
}

#: Counters of the engine, in the order of fc_proxy_cell: metric name without prefix, help.
CELLS = (
    ("received_bytes", "Request body bytes received from clients"),
    ("sent_bytes", "Bytes queued for clients"),
    ("upstream_connects", "Connections opened to endpoints"),
    ("upstream_reuses", "Requests sent over a pooled connection"),
    ("upstream_stale_retries", "Requests repeated because a pooled connection had been closed by the endpoint"),
    ("upstream_retries", "Requests repeated at another endpoint"),
    ("refused_requests", "Requests answered before routing because of their form or size"),
    ("unrouted_requests", "Requests that no route took"),
    ("client_aborts", "Exchanges ended by the client or by its deadlines"),
    ("upstream_failures", "Exchanges that failed because of the upstream"),
    ("log_dropped_lines", "Access log lines dropped because the disk is slower than the traffic"),
    ("cache_hits", "Requests answered from the response cache"),
    ("cache_misses", "Requests that asked a target though their route has a cache"),
    ("cache_stale_hits", "Hits past their time"),
    ("cache_revalidated", "Hits that a target confirmed"),
    ("cache_stored", "Answers stored"),
    ("cache_collapsed", "Requests that waited for an answer another one fetched"),
    ("spans", "Sampled requests handed to the exporter of traces"),
    ("spans_dropped", "Sampled requests that were not, because the exporter is behind"),
    ("mirrored_requests", "Copies of requests made for other upstreams"),
    ("mirrored_answered", "Those of them that were answered, whatever was said"),
    ("mirrored_failed", "Those of them that their targets failed"),
    ("mirrored_dropped", "Those that were not sent, or not to the end: too many, too slow, or the client gone"),
    ("compressed_answers", "Answers compressed on their way"),
    ("unpacked_answers", "Answers that came compressed and were unpacked for clients that do not take that"),
    ("unpacked_requests", "Requests whose compressed bodies were unpacked for their targets"),
    ("hook_calls", "Calls of functions of the operator's own: routes without them never enter the interpreter"),
)

#: Status classes of a route's counter, in the order of its cells.
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "none")


@dataclass(frozen=True)
class Literal:
    """A piece of a rewritten path: these bytes."""

    text: str


@dataclass(frozen=True)
class Parameter:
    """A piece of a rewritten path: a parameter of the route's template or group of its regex."""

    name: str


@dataclass(frozen=True)
class Tail:
    """A piece of a rewritten path: what follows the first `skip` bytes of the request's path."""

    skip: int


include "proxy_auth.pxi"
include "proxy_edits.pxi"
include "proxy_cache.pxi"


SPLIT_ON = {
    "random": FC_SPLIT_RANDOM,
    "client_ip": FC_SPLIT_CLIENT_IP,
    "user": FC_SPLIT_USER,
    "header": FC_SPLIT_HEADER,
    "cookie": FC_SPLIT_COOKIE,
    "query": FC_SPLIT_QUERY,
}


@dataclass(frozen=True)
class Split:
    """A route's traffic in shares: (weight, route) each, where the routes have upstreams and the same name as the whole.

    on: ("random",), ("client_ip",), ("user",), ("header", name), ("cookie", name) or ("query", name): who has the same
    value gets the same share, as long as the weights stay; who has none goes by chance.
    """

    shares: tuple[tuple[int, "Route"], ...]
    on: tuple[str, ...] = ("random",)


@dataclass(frozen=True)
class Coding:
    """Answers of these media types ("text/html", or "text/" for all of text) are compressed for clients that take it, unless
    they are known to be shorter than least_bytes. gzip: level, 0 without it; br: quality, -1 without it. unpack: answers that
    come in gzip or br are decoded for clients that do not take it. unpack_requests: so are bodies of requests, for targets."""

    types: tuple[str, ...]
    least_bytes: int = 1024
    gzip: int = 5
    br: int = 4
    unpack: bool = True
    unpack_requests: bool = False


@dataclass(frozen=True)
class Mirror:
    """Copies of a route's requests, whose answers nobody waits for. route: has an upstream and the same name. percent: of
    the requests. at_once: copies under way in this process, beyond which there are none."""

    route: "Route"
    percent: float = 100.0
    at_once: int = 100


@dataclass(frozen=True)
class Route:
    """What happens to a request that the router gave this route's index. Durations in seconds, 0: no limit.

    path: pieces of the path sent on (None: as it came, normalised). host: "preserve", "upstream" or the host to send.
    hash_on: for consistent hashing, ("client_ip",), ("path",), ("header", name), ("cookie", name) or ("query", name).
    share: percent of an adaptive upstream's places that these requests may take; what is less important has less.
    attempts: endpoints tried in all for an idempotent request that got no answer; retry: when that is.
    limits: names of those it is under.
    auth: who may; None: everybody. request_edits, query_edits, reply_edits, cors: what changes on the way.
    fixed: answers instead of an upstream, which is None then. split: so do the routes of its shares.
    """

    name: str
    upstream: "Upstream | None"
    path: tuple[Literal | Parameter | Tail, ...] | None = None
    host: str = "preserve"
    hash_on: tuple[str, ...] = ("client_ip",)
    first_byte_timeout: float = 60.0
    between_bytes_timeout: float = 60.0
    total_timeout: float = 0.0
    tunnel_idle_timeout: float = 3600.0
    body_bytes_max: int = 0
    share: int = 100
    attempts: int = 1
    retry: Retry = Retry()
    log: bool = True
    limits: tuple[str, ...] = ()
    auth: RouteAuth | None = None
    request_edits: tuple[Edit, ...] = ()
    query_edits: tuple[Edit, ...] = ()
    reply_edits: tuple[Edit, ...] = ()
    cors: Cors | None = None
    fixed: Fixed | None = None
    split: Split | None = None
    mirror: Mirror | None = None
    cache: "CachePolicy | None" = None
    coding: Coding | None = None
    hooks: "RouteHooks | None" = None


@dataclass(frozen=True)
class Http2:
    """HTTP/2 with clients. streams: at once on a connection. Windows in bytes: what may come before its target has taken
    it, of one stream and of all of a connection. control_burst, control_rate (per second): frames that only make work."""

    streams: int = 128
    stream_window: int = 262144
    connection_window: int = 1048576
    control_burst: int = 1000
    control_rate: int = 100


cdef uint32_t _ms(object seconds, str what) except? 0xffffffff:
    value = float(seconds) * 1000
    if not 0 <= value <= INT32_MAX:
        raise ValueError(f"{what}: {seconds!r} seconds is out of range")
    return <uint32_t>value


cdef uint32_t _count(object value, str what) except? 0xffffffff:
    if not 0 <= value < UINT32_MAX:
        raise ValueError(f"{what}: {value!r} is out of range")
    return <uint32_t>value


include "proxy_hooks.pxi"
include "proxy_upstream.pxi"
include "proxy_table.pxi"


@cython.final
@cython.no_gc_clear  # the reactor must outlive it, also when a cycle is collected
cdef class Proxy:
    """A reverse proxy on a reactor, in this process.

    name: our pseudonym in Via. trusted: networks ("10.0.0.0/8") whose forwarding
    fields are believed. hops_max: how often Via may name us before the request counts as a loop (508).
    log_sample: share of requests logged, 0..1. log_subject: the log says who asked. Further keyword arguments are the HTTP server's limits: header_bytes,
    headers, url_bytes, body_bytes, body_rate_min, requests_per_connection, connections, buffer_bytes (high watermark), and
    its timeouts in seconds: header_timeout, idle_timeout, body_timeout, write_timeout, drain_idle. http2: an Http2; None
    speaks HTTP/1.1 only. compressions: bodies that may be compressed or unpacked at one time.
    """

    cdef fc_proxy *handle
    cdef readonly Reactor reactor
    cdef Metrics metrics
    cdef str prefix
    cdef Region region
    cdef fc_health_table health
    cdef readonly Authenticator authenticator
    cdef list contexts  # of listeners, which C points at
    cdef dict cells     # of counters, by the route's name
    cdef list retired   # route tables that no exchange is on any more
    cdef readonly SharedCache cache
    cdef readonly SpanQueue spans
    cdef readonly Hooks hooks
    cdef QuotaLine quotas

    def __init__(self, Reactor reactor, *, name="fastcore", trusted=(), x_forwarded=True, forwarded=False,
                 hops_max=10, log_sample=1.0, log_subject=False, lenient=0, header_bytes=32768, headers=100, url_bytes=8192, body_bytes=0,
                 body_rate_min=0, requests_per_connection=0, connections=65536, buffer_bytes=131072, header_timeout=10.0,
                 idle_timeout=75.0, body_timeout=30.0, write_timeout=30.0, drain_idle=1.0, http2=None, compressions=1000):
        cdef fc_proxy_settings settings
        cdef bytes name_bytes = name.encode("ascii"), text
        cdef fc_net *nets
        cdef uint32_t i
        trusted = list(trusted)
        memset(&settings, 0, sizeof(fc_proxy_settings))
        settings.http = fc_http_settings_default()
        settings.http.parse.flags = lenient
        settings.http.parse.head_bytes_max = _count(header_bytes, "header_bytes")
        settings.http.parse.target_bytes_max = _count(url_bytes, "url_bytes")
        settings.http.fields_max = _count(headers, "headers")
        settings.http.body_bytes_max = body_bytes
        settings.http.body_rate_min = _count(body_rate_min, "body_rate_min")
        settings.http.requests_max = _count(requests_per_connection, "requests_per_connection")
        settings.http.connections_max = _count(connections, "connections")
        settings.http.out_high = _count(buffer_bytes, "buffer_bytes")
        settings.http.out_low = settings.http.out_high // 2
        settings.http.header_timeout_ms = _ms(header_timeout, "header_timeout")
        settings.http.idle_timeout_ms = _ms(idle_timeout, "idle_timeout")
        settings.http.body_timeout_ms = _ms(body_timeout, "body_timeout")
        settings.http.write_timeout_ms = _ms(write_timeout, "write_timeout")
        settings.http.drain_idle_ms = _ms(drain_idle, "drain_idle")
        if http2 is not None:
            settings.http.h2 = True
            settings.http.streams.streams_max = _count(http2.streams, "http2.streams")
            settings.http.streams.stream_window = _count(http2.stream_window, "http2.stream_window")
            settings.http.streams.connection_window = _count(http2.connection_window, "http2.connection_window")
            settings.http.streams.control_burst = _count(http2.control_burst, "http2.control_burst")
            settings.http.streams.control_rate = _count(http2.control_rate, "http2.control_rate")
        settings.name = name_bytes
        settings.x_forwarded = x_forwarded
        settings.forwarded = forwarded
        settings.hops_max = _count(hops_max, "hops_max")
        settings.log_sample = log_sample
        settings.log_subject = log_subject
        settings.coders_max = _count(compressions, "compressions")
        nets = <fc_net *>PyMem_Calloc(len(trusted) + 1, sizeof(fc_net))
        if nets is NULL:
            raise MemoryError
        try:
            for i, network in enumerate(trusted):
                text = str(network).encode("ascii")
                if not fc_net_parse(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &nets[i]):
                    raise ValueError(f"{network!r} is no network: write 10.0.0.0/8 or 2001:db8::/32")
            settings.trusted = nets
            settings.trusted_len = len(trusted)
            self.handle = <fc_proxy *>calloc(1, sizeof(fc_proxy))
            if self.handle is NULL or fc_proxy_init(self.handle, reactor.loop, &settings, int.from_bytes(os.urandom(8), "little")) < 0:
                raise MemoryError
        finally:
            PyMem_Free(nets)
        # The same in all workers: consistent hashing must send a key to one place whoever accepted the connection.
        self.handle.hash_key.k0 = 0x6761746577617920
        self.handle.hash_key.k1 = 0x616666696e697479
        self.reactor = reactor
        self.contexts = []
        self.retired = []
        self.cells = {}

    def __dealloc__(self):
        if self.region is not None:
            self.region.unpin()
        if self.handle is NULL:
            return
        fc_proxy_stop(self.handle)
        fc_logfile_close(self.handle.log)
        self.handle.log = NULL
        # Connections that were open until now go at the end of the reactor's next round, and count themselves out here.
        if self.handle.server.stats.open == 0 and self.handle.server.stats.streams == 0:
            fc_proxy_close(self.handle)
            free(self.handle)
            self.retired.clear()

    # --- what it does ---

    def upstream(self, str name, *, balance="round_robin", load_factor=0.0, keepalive=64, connections=0, pending=1024,
                 connect_timeout=5.0, idle_timeout=60.0, fail_timeout=1.0, buffer_bytes=131072, health=None,
                 Context tls=None, adaptive=None, http2=False):
        """Make an upstream without endpoints yet. connections: per endpoint, 0 no limit; pending: who may wait.
        health: a fastcore.resilience.Health; what it learns is shared with other processes after `use_region`. tls: a
        ClientContext under every connection. adaptive: an Adaptive; None takes what comes. http2: speak it, on a few
        connections per endpoint that all requests share; `connections` then bounds requests."""
        cdef fc_adaptive_options adapt
        cdef fc_upstream_settings s = fc_upstream_settings_default()
        cdef fc_health_settings watch
        cdef Upstream upstream = Upstream.__new__(Upstream)
        cdef bytes encoded = name.encode()
        s.balance = <fc_balance_policy><int>BALANCE[balance]
        s.load_factor = load_factor
        s.keepalive = _count(keepalive, "keepalive")
        s.connections_max = _count(connections, "connections")
        s.pending_max = _count(pending, "pending")
        s.connect_timeout_ms = _ms(connect_timeout, "connect_timeout")
        s.idle_timeout_ms = _ms(idle_timeout, "idle_timeout")
        s.fail_timeout_ms = _ms(fail_timeout, "fail_timeout")
        s.out_high = _count(buffer_bytes, "buffer_bytes")
        s.out_low = s.out_high // 2
        s.securer = &tls.slot.securer if tls is not None else NULL
        s.h2 = http2
        s.streams.head_bytes_max = self.handle.server.settings.parse.head_bytes_max
        upstream.tls = tls
        upstream.name = name
        upstream.balance = balance
        upstream.reactor = self.reactor
        upstream.handle = fc_upstream_new(self.reactor.loop, encoded, &s, int.from_bytes(os.urandom(8), "little"))
        if upstream.handle is NULL:
            raise MemoryError
        if adaptive is not None:
            adapt = FC_ADAPTIVE_OPTIONS
            adapt.initial = _count(adaptive.initial, "initial")
            adapt.minimum = _count(adaptive.minimum, "minimum")
            adapt.maximum = _count(adaptive.maximum, "maximum")
            adapt.tolerance = adaptive.tolerance
            adapt.window_ns = <uint64_t>_ms(adaptive.window, "window") * 1000000
            adapt.probe_ns = <uint64_t>_ms(adaptive.probe, "probe") * 1000000
            failed = fc_upstream_adapt(upstream.handle, &adapt)
            if failed:
                raise ValueError(f"{name}: adaptive: {os.strerror(-failed)}")
        if health is not None:
            fill(&watch, health)
            upstream.region = self.region
            if fc_upstream_watch(upstream.handle, &watch, &self.health, os.getpid()) < 0:
                raise MemoryError
        return upstream

    def use_region(self, Region region):
        """Share the health of upstreams made after this with the other processes that use the region."""
        cdef uint64_t size = fc_health_size(HEALTH_CELLS)
        cdef char *base
        if self.region is not None:
            raise ValueError("a proxy uses one region")
        base = region.address(HEALTH_SECTION, size, 64)
        self.region = region
        if fc_health_open(&self.health, base, size, HEALTH_CELLS) < 0:
            raise RegionError(f"section {HEALTH_SECTION!r}: of another layout, or its lock is held")

    def use_hooks(self, Hooks hooks):
        """Functions of routes are called through this. Before set_routes, after use_metrics."""
        self.hooks = hooks
        self.handle.hooks = &hooks.owned.hooks
        if self.handle.metrics.row is not NULL:
            hooks.owned.hooks.calls = &self.handle.metrics.row[self.handle.metrics.cell[<int>FC_CELL_HOOKS]]

    def use_quotas(self, QuotaLine line not None):
        """Requests under shared limits wait there. Before set_routes with such limits."""
        self.quotas = line
        self.handle.quotas = &line.owned.line

    def use_metrics(self, Metrics metrics, str prefix):
        """Count into these metrics, under names that begin with `prefix`. Before set_routes, in the process that serves."""
        cdef uint32_t i
        cdef Counter counter
        self.metrics, self.prefix = metrics, prefix
        for i, (name, text) in enumerate(CELLS):
            counter = metrics.counter(f"{prefix}_{name}", text)
            self.handle.metrics.cell[i] = counter.cell
        for i, cell in enumerate(self.status_cells("")):
            self.handle.metrics.unrouted[i] = cell
        self.handle.metrics.duration_us = self.duration_cell("")
        self.handle.metrics.row = metrics.row()

    cdef list status_cells(self, str route):
        cdef Counter counter
        cdef list cells = []
        for code in CLASSES:
            counter = self.metrics.counter(f"{self.prefix}_requests", "Requests by route and class of the answer",
                                           route=route, code=code)
            cells.append(counter.cell)
        return cells

    cdef uint32_t duration_cell(self, str route):
        cdef Histogram histogram = self.metrics.histogram(
            f"{self.prefix}_request_duration_seconds", "From the request's head to the last byte queued", route=route)
        return histogram.cell

    cdef int count_route(self, fc_route *r, str route, Upstream upstream) except -1:
        """Cells are looked up once for each name: a table of thousands of routes differs from the next by a few."""
        cdef Histogram histogram
        cdef uint32_t i
        if route not in self.cells:
            self.cells[route] = (*self.status_cells(route), self.duration_cell(route))
        for i in range(FC_STATUS_CLASSES):
            r.cells[i] = self.cells[route][i]
        r.duration_us = self.cells[route][FC_STATUS_CLASSES]
        if upstream is not None:
            if upstream.duration_cell == 0:
                histogram = self.metrics.histogram(
                    f"{self.prefix}_upstream_duration_seconds", "From the connection to the answer's head",
                    upstream=upstream.name)
                upstream.duration_cell = histogram.cell
            r.upstream_us = upstream.duration_cell
        return 0

    def use_auth(self, Authenticator authenticator):
        """Who judges credentials; once, after use_metrics and before routes that ask for it."""
        if self.authenticator is not None:
            raise RuntimeError("there is one already")
        if self.metrics is not None:
            authenticator.count_into(self.metrics, self.prefix)
        self.authenticator = authenticator
        self.handle.auth = &authenticator.owned.auth

    def use_cache(self, SharedCache cache):
        """Where answers are stored; once, and before routes that have a policy for it."""
        if self.cache is not None:
            raise RuntimeError("there is one already")
        self.cache = cache
        self.handle.cache = &cache.c

    def use_tracing(self, SpanQueue queue=None, *, double sample=0.0, bint trust=True):
        """Stand in traces (W3C Trace Context): the context a client sent is passed on with us in between, others begin here.

        queue: gets what was sampled. sample: share of the traces that begin here. trust: take every client's context, or
        that of trusted proxies alone.
        """
        if not 0 <= sample <= 1:
            raise ValueError(f"sample: {sample!r} is no share between 0 and 1")
        self.spans = queue
        self.handle.tracing.on = True
        self.handle.tracing.trust = trust
        self.handle.tracing.sample = UINT64_MAX if sample == 1 else <uint64_t>(sample * 18446744073709551616.0)
        self.handle.tracing.spans = &queue.q if queue is not None else NULL

    def set_routes(self, Router router, routes, Limits limits=None, *, claimed=(), secret_parameters=(), turn=None):
        """Put a route table in force: the router's indexes count into `routes`. Exchanges finish on the old one, which
        goes, with upstreams nobody else holds, in a `sweep` after the last of them.

        limits: those that routes name. KeyError for a name that is none of them.
        claimed: fields that tell upstreams who asks; clients' own are deleted on every route. secret_parameters: of the
        query, whose values are not logged. turn: called between two routes, for who has others to serve meanwhile.
        ValueError: a route asks for authentication, and there is no Authenticator.
        """
        cdef _Table table = _Table.__new__(_Table)
        routes = list(routes)
        if self.authenticator is None and any(route.auth is not None for route in routes):
            raise ValueError("a route asks for authentication: call use_auth first")
        if self.hooks is None and any(route.hooks is not None for route in routes):
            raise ValueError("a route has functions: call use_hooks first")
        if self.cache is None and any(route.cache is not None for route in routes):
            raise ValueError("a route wants its answers stored: call use_cache first")
        if limits is not None and limits.shares and self.quotas is None:
            raise RuntimeError("limits across machines need use_quotas first")
        table.fill(router, routes, list(claimed), list(secret_parameters), self, limits, turn)
        table.retired = self.retired
        self.cells = {route.name: self.cells[route.name] for route in routes if route.name in self.cells}
        if fc_proxy_set_table(self.handle, table.table) < 0:
            raise MemoryError
        Py_INCREF(table)
        table.table.refs = 1

    def sweep(self):
        """Let go of route tables that are over. To be called now and then, and never from within the engine: the last
        exchange of a table ends while its upstream is at work."""
        self.retired.clear()

    def listen(self, sock, Context tls=None):
        """Accept from a listening socket, which stays the caller's and must stay open. tls: None speaks in the clear."""
        sock.setblocking(False)
        if tls is not None:
            self.contexts.append(tls)
        rc = fc_http_server_listen(&self.handle.server, sock.fileno(), &tls.slot.securer if tls is not None else NULL)
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))

    # --- access log ---

    def open_log(self, path, buffer_bytes=1 << 20):
        """Write the access log there ("-": standard output). OSError when it cannot be opened."""
        cdef bytes encoded = os.fsencode(path)
        cdef fc_logfile *log = fc_logfile_open(encoded, buffer_bytes)
        if log is NULL:
            raise OSError(errno, os.strerror(errno), path)
        if self.handle.log is not NULL:
            fc_logfile_close(self.handle.log)
        self.handle.log = log

    def reopen_log(self):
        """After rotation. OSError when the path cannot be opened; the old file stays in use then."""
        if self.handle.log is not NULL:
            rc = fc_logfile_reopen(self.handle.log)
            if rc < 0:
                raise OSError(-rc, os.strerror(-rc))

    def close_log(self):
        """Write what is left and close it: no line is lost by stopping. Waits for the disk."""
        cdef fc_logfile *log = self.handle.log
        self.handle.log = NULL
        with nogil:
            fc_logfile_close(log)

    def log_stats(self):
        """Lines accepted and lost, and the last write's error (0: none); None without a log."""
        cdef fc_logfile_stats s
        if self.handle.log is NULL:
            return None
        s = fc_logfile_get_stats(self.handle.log)
        return {"lines": s.lines, "dropped_full": s.dropped_full, "dropped_error": s.dropped_error,
                "last_errno": s.last_errno}

    # --- the end ---

    def drain(self):
        """Stop accepting; answers say Connection: close; idle connections go after `drain_idle`."""
        fc_http_server_drain(&self.handle.server)

    def stop(self):
        """Close every connection now."""
        fc_proxy_stop(self.handle)

    @property
    def connections(self):
        """Open client connections."""
        return self.handle.server.stats.open

    @property
    def active(self):
        """Exchanges under way."""
        return self.handle.active

    @property
    def draining(self):
        return bool(self.handle.server.draining)

    def stats(self):
        """Counters of this worker: accepted, requests, refused, open, idle, accept_errors and the last accept's errno; of
        HTTP/2 sessions, those of them that failed, and streams that are open."""
        cdef fc_http_stats s = self.handle.server.stats
        return {"accepted": s.accepted, "requests": s.requests, "refused": s.refused, "open": s.open, "idle": s.idle,
                "http2_sessions": s.h2_sessions, "http2_failed": s.h2_failed, "streams": s.streams,
                "accept_errors": s.accept_errors, "accept_errno": self.handle.server.accept_errno}
