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
from libc.stdint cimport INT32_MAX, UINT32_MAX
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastcore.metrics cimport Counter, Histogram, Metrics
from fastcore.proxylimits cimport Limits
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
from fastcore.tls cimport Context

from fastcore.resilience import Retry
from fastcore.shm import RegionError

__all__ = ["BALANCE", "CELLS", "REASONS", "Authenticator", "CachePolicy", "Cors", "Credential", "Edit", "Endpoint", "Fixed", "Literal",
           "Parameter", "Part", "Proxy", "Route", "RouteAuth", "Tail", "Upstream", "pack_verdict"]


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
)

#: Status classes of a route's counter, in the order of its cells.
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "none")


@dataclass(frozen=True)
class Endpoint:
    """One address of an upstream. address: (host, port) with a numeric host, or the path of a unix socket.

    label: what logs and metrics call it. host: what goes as Host to it where a route says so; the name it was found under.
    """

    address: tuple[str, int] | str
    weight: int = 1
    label: str = ""
    host: str = ""

    def name(self):
        if self.label:
            return self.label
        if isinstance(self.address, str):
            return f"unix:{self.address}"
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def host_name(self):
        return self.host or ("localhost" if isinstance(self.address, str) else self.name())


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


@dataclass(frozen=True)
class Route:
    """What happens to a request that the router gave this route's index. Durations in seconds, 0: no limit.

    path: pieces of the path sent on (None: as it came, normalised). host: "preserve", "upstream" or the host to send.
    hash_on: for consistent hashing, ("client_ip",), ("path",), ("header", name), ("cookie", name) or ("query", name).
    attempts: endpoints tried in all for an idempotent request that got no answer; retry: when that is.
    limits: names of those it is under.
    auth: who may; None: everybody. request_edits, query_edits, reply_edits, cors: what changes on the way.
    fixed: answers instead of an upstream, which is None then.
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
    cache: "CachePolicy | None" = None


cdef uint32_t _ms(object seconds, str what) except? 0xffffffff:
    value = float(seconds) * 1000
    if not 0 <= value <= INT32_MAX:
        raise ValueError(f"{what}: {seconds!r} seconds is out of range")
    return <uint32_t>value


cdef uint32_t _count(object value, str what) except? 0xffffffff:
    if not 0 <= value < UINT32_MAX:
        raise ValueError(f"{what}: {value!r} is out of range")
    return <uint32_t>value


@cython.final
@cython.no_gc_clear  # the reactor must outlive it, also when a cycle is collected
cdef class Upstream:
    """A named set of endpoints behind one balancer; made by `Proxy.upstream`."""

    cdef fc_upstream *handle
    cdef readonly str name
    cdef readonly str balance
    cdef Reactor reactor
    cdef Region region  # holds what the endpoints' cells lie in
    cdef readonly Context tls

    def __dealloc__(self):
        if self.handle is not NULL:
            fc_upstream_free(self.handle)

    def set_endpoints(self, endpoints):
        """Replace the endpoints. Connections to those that stay are kept.

        ValueError: an address that is not numeric, a unix path too long, the same address twice, or too many.
        """
        endpoints = list(endpoints)
        cdef size_t n = len(endpoints), i
        cdef fc_endpoint_spec *specs = <fc_endpoint_spec *>PyMem_Calloc(n + 1, sizeof(fc_endpoint_spec))
        cdef bytes text
        if specs is NULL:
            raise MemoryError
        try:
            if len({endpoint.address for endpoint in endpoints}) != len(endpoints):
                raise ValueError(f"{self.name}: the same endpoint twice")
            for i, endpoint in enumerate(endpoints):
                if isinstance(endpoint.address, str):
                    text = os.fsencode(endpoint.address)
                    failed = fc_py_sockaddr_unix(&specs[i].addr, &specs[i].addr_len, PyBytes_AS_STRING(text),
                                                 PyBytes_GET_SIZE(text))
                else:
                    host, port = endpoint.address
                    text = host.encode("ascii")
                    failed = fc_py_sockaddr(&specs[i].addr, &specs[i].addr_len, text, port)
                if failed:
                    raise ValueError(f"{self.name}: {endpoint.address!r} is neither a numeric address with a port nor the "
                                     "path of a unix socket")
                specs[i].weight = endpoint.weight
                text = endpoint.name().encode()[:107]
                memcpy(specs[i].label, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
                text = endpoint.host_name().encode("ascii")
                if PyBytes_GET_SIZE(text) > 255:
                    raise ValueError(f"{self.name}: the host of {endpoint.name()} is longer than 255 bytes")
                memcpy(specs[i].host, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            self.reactor.sync_clock()
            rc = fc_upstream_set_endpoints(self.handle, specs, n)
            if rc < 0:
                raise ValueError(f"{self.name}: endpoints refused: {os.strerror(-rc)}")
        finally:
            PyMem_Free(specs)

    cdef uint64_t now_ms(self):
        self.reactor.sync_clock()
        return self.reactor.loop.now_ns // 1000000

    def endpoints(self):
        """Per endpoint of this worker: address, weight, up, connections (open, in_use, idle) and counts."""
        cdef fc_endpoint *e
        found = []
        now_ms = self.now_ms()
        for i in range(self.handle.endpoints_len):
            e = self.handle.endpoints[i]
            view = {
                "address": e.spec.label.decode(errors="replace"),
                "weight": e.spec.weight,
                "up": e.down_until_ms <= now_ms,
                "open": e.open,
                "in_use": e.in_use,
                "idle": e.idle_count,
                "requests": e.requests,
                "connects": e.connects,
                "reuses": e.reuses,
                "connect_failures": e.connect_failures,
            }
            if self.handle.health is not NULL:
                view |= target_view(&self.handle.health.settings, e.cell, now_ms)
                view |= {"ejections": e.ejections, "opened": e.opened}
            found.append(view)
        return found

    # --- what workers know together; for an upstream with `health` ---

    @property
    def watched(self):
        return self.handle.health is not NULL

    def health(self):
        """breaker and checks_by (pid), where there are such; this worker's counts opened, stopped and denied."""
        if self.handle.health is NULL:
            return {}
        return upstream_view(self.handle.health, self.now_ms())

    def touch(self):
        """What is shared stays in use: to be called at least every half minute."""
        self.reactor.sync_clock()
        fc_upstream_touch(self.handle)

    def lead(self):
        """Does this worker make the checks for the next seconds? Asking renews it."""
        if self.handle.health is NULL:
            return False
        return fc_health_lead(self.handle.health.cell, self.handle.health.pid, self.now_ms())

    def resign(self):
        """Leave the checks to another worker."""
        if self.handle.health is not NULL:
            fc_health_resign(self.handle.health.cell, self.handle.health.pid)

    def probed(self, str address, bint passed):
        """The result of a check of the endpoint with this label: "healthy" or "unhealthy" is what it now counts as; None
        for an endpoint that has gone."""
        cdef fc_endpoint *e
        cdef bytes label = address.encode()
        if self.handle.health is NULL:
            return None
        for i in range(self.handle.endpoints_len):
            e = self.handle.endpoints[i]
            if <bytes>e.spec.label == label:
                return probe_name(fc_health_probed(&self.handle.health.settings.probe, e.cell, self.now_ms(), passed))
        return None

    @property
    def waiting(self):
        """Requests that wait for a connection now."""
        return self.handle.waiting_len


cdef struct owned_table:
    fc_route_table table
    PyObject *owner


@cython.final
@cython.no_gc_clear  # C may point at what it keeps
cdef class _Table:
    """A route table and everything its C structs point at. While C holds the table, the table holds this object."""

    cdef owned_table owned
    cdef fc_route_table *table
    cdef list kept
    cdef fc_path_part **parts
    cdef _Credentials credentials
    cdef _Changes changes
    cdef fc_slice *names  # claimed fields, then secret parameters

    def __cinit__(self):
        memset(&self.owned, 0, sizeof(owned_table))
        self.owned.owner = <PyObject *>self
        self.table = &self.owned.table

    def __dealloc__(self):
        cdef uint32_t i
        if self.parts is not NULL:
            for i in range(self.table.routes_len):
                PyMem_Free(self.parts[i])
            PyMem_Free(self.parts)
        PyMem_Free(self.names)
        PyMem_Free(self.table.routes)
        if self.table.router is not NULL:
            fc_router_unref(self.table.router)

    cdef fc_slice slice(self, str text):
        cdef bytes data = text.encode()
        cdef fc_slice s
        self.kept.append(data)
        s.p = PyBytes_AS_STRING(data)
        s.n = PyBytes_GET_SIZE(data)
        return s

    cdef int fill(self, Router router, list routes, list claimed, list secret, Proxy proxy, Limits limits) except -1:
        cdef uint32_t i, k, n = len(routes)
        self.kept = [limits]
        self.table.router = fc_router_ref(router.table)
        self.table.release = _release_table
        self.table.routes = <fc_route *>PyMem_Calloc(n + 1, sizeof(fc_route))
        self.parts = <fc_path_part **>PyMem_Calloc(n + 1, sizeof(fc_path_part *))
        if self.table.routes is NULL or self.parts is NULL:
            raise MemoryError
        self.table.routes_len = n
        self.credentials = _Credentials.__new__(_Credentials)
        self.credentials.prepare(routes)
        self.changes = _Changes.__new__(_Changes)
        self.name_fields(claimed, secret)
        for i in range(n):
            self.route(i, routes[i])
            if limits is not None:
                self.table.routes[i].limits = limits.of(routes[i].limits)
            if proxy.metrics is not None:
                for k, cell in enumerate(proxy.status_cells(routes[i].name)):
                    self.table.routes[i].cells[k] = cell
        return 0

    cdef int name_fields(self, list claimed, list secret) except -1:
        cdef uint32_t i
        self.names = <fc_slice *>PyMem_Calloc(len(claimed) + len(secret) + 1, sizeof(fc_slice))
        if self.names is NULL:
            raise MemoryError
        for i, name in enumerate(claimed + secret):
            self.names[i] = self.slice(name)
        self.table.claimed = self.names
        self.table.claimed_len = len(claimed)
        self.table.secret_parameters = self.names + len(claimed)
        self.table.secret_parameters_len = len(secret)
        return 0

    cdef int route(self, uint32_t i, object spec) except -1:
        cdef fc_route *r = &self.table.routes[i]
        cdef Upstream upstream = spec.upstream
        cdef uint32_t k
        r.name = self.slice(spec.name)
        if (upstream is None) != (spec.fixed is not None):
            raise ValueError(f"route {spec.name}: one of an upstream and a fixed answer")
        if upstream is not None:
            self.kept.append(upstream)
            r.upstream = upstream.handle
        r.fixed = self.changes.fixed(spec.fixed)
        r.request_edits = self.changes.edits(spec.request_edits)
        r.query_edits = self.changes.edits(spec.query_edits)
        r.reply_edits = self.changes.edits(spec.reply_edits)
        r.cors = self.changes.cors(spec.cors)
        r.cache = self.changes.policy(spec.cache)
        self.table.has_cors |= r.cors is not NULL
        if spec.path is not None:
            self.parts[i] = <fc_path_part *>PyMem_Calloc(len(spec.path) + 1, sizeof(fc_path_part))
            if self.parts[i] is NULL:
                raise MemoryError
            for k, piece in enumerate(spec.path):
                if isinstance(piece, Literal):
                    self.parts[i][k].kind = FC_PART_LITERAL
                    self.parts[i][k].text = self.slice(piece.text)
                elif isinstance(piece, Parameter):
                    self.parts[i][k].kind = FC_PART_PARAM
                    self.parts[i][k].text = self.slice(piece.name)
                else:
                    self.parts[i][k].kind = FC_PART_TAIL
                    self.parts[i][k].number = _count(piece.skip, "skip")
            r.parts = self.parts[i]
            r.parts_len = len(spec.path)
        if spec.host == "preserve":
            r.host_mode = FC_HOST_PRESERVE
        elif spec.host == "upstream":
            r.host_mode = FC_HOST_UPSTREAM
        else:
            r.host_mode = FC_HOST_LITERAL
            r.host = self.slice(spec.host)
        r.hash_on = <fc_hash_on><int>HASH_ON[spec.hash_on[0]]
        if len(spec.hash_on) > 1:
            r.hash_name = self.slice(spec.hash_on[1])
        r.first_byte_ms = _ms(spec.first_byte_timeout, "first_byte_timeout")
        r.between_bytes_ms = _ms(spec.between_bytes_timeout, "between_bytes_timeout")
        r.total_ms = _ms(spec.total_timeout, "total_timeout")
        r.tunnel_idle_ms = _ms(spec.tunnel_idle_timeout, "tunnel_idle_timeout")
        r.body_bytes_max = spec.body_bytes_max
        r.attempts = _count(spec.attempts, "attempts")
        for word in spec.retry.on:
            r.retry.on |= <uint32_t>RETRY_ON[word]
        fill_statuses(&r.retry.statuses, spec.retry.statuses)
        r.retry.any_method = spec.retry.any_method
        r.log = spec.log
        if spec.auth is not None:
            r.auth = self.credentials.route(spec.auth)
        return 0


cdef void _release_table(fc_route_table *table) noexcept with gil:
    Py_DECREF(<object>(<owned_table *>table).owner)


@cython.final
@cython.no_gc_clear  # the reactor must outlive it, also when a cycle is collected
cdef class Proxy:
    """A reverse proxy on a reactor, in this process.

    name: our pseudonym in Via. trusted: networks ("10.0.0.0/8") whose forwarding
    fields are believed. hops_max: how often Via may name us before the request counts as a loop (508).
    log_sample: share of requests logged, 0..1. log_subject: the log says who asked. Further keyword arguments are the HTTP server's limits: header_bytes,
    headers, url_bytes, body_bytes, body_rate_min, requests_per_connection, connections, buffer_bytes (high watermark), and
    its timeouts in seconds: header_timeout, idle_timeout, body_timeout, write_timeout, drain_idle.
    """

    cdef fc_proxy *handle
    cdef readonly Reactor reactor
    cdef readonly dict upstreams
    cdef Metrics metrics
    cdef str prefix
    cdef Region region
    cdef fc_health_table health
    cdef readonly Authenticator authenticator
    cdef list contexts  # of listeners, which C points at
    cdef readonly SharedCache cache

    def __init__(self, Reactor reactor, *, name="fastcore", trusted=(), x_forwarded=True, forwarded=False,
                 hops_max=10, log_sample=1.0, log_subject=False, lenient=0, header_bytes=32768, headers=100, url_bytes=8192, body_bytes=0,
                 body_rate_min=0, requests_per_connection=0, connections=65536, buffer_bytes=131072, header_timeout=10.0,
                 idle_timeout=75.0, body_timeout=30.0, write_timeout=30.0, drain_idle=1.0):
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
        settings.name = name_bytes
        settings.x_forwarded = x_forwarded
        settings.forwarded = forwarded
        settings.hops_max = _count(hops_max, "hops_max")
        settings.log_sample = log_sample
        settings.log_subject = log_subject
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
        self.upstreams = {}
        self.contexts = []

    def __dealloc__(self):
        if self.region is not None:
            self.region.unpin()
        if self.handle is NULL:
            return
        fc_http_server_stop(&self.handle.server)
        fc_logfile_close(self.handle.log)
        self.handle.log = NULL
        # Connections that were open until now go at the end of the reactor's next round, and count themselves out here.
        if self.handle.server.stats.open == 0:
            fc_proxy_close(self.handle)
            free(self.handle)

    # --- what it does ---

    def upstream(self, str name, *, balance="round_robin", load_factor=0.0, keepalive=64, connections=0, pending=1024,
                 connect_timeout=5.0, idle_timeout=60.0, fail_timeout=1.0, buffer_bytes=131072, health=None,
                 Context tls=None):
        """Make an upstream without endpoints yet. connections: per endpoint, 0 no limit; pending: who may wait.
        health: a fastcore.resilience.Health; what it learns is shared with other processes after `use_region`. tls: a
        ClientContext under every connection."""
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
        upstream.tls = tls
        upstream.name = name
        upstream.balance = balance
        upstream.reactor = self.reactor
        upstream.handle = fc_upstream_new(self.reactor.loop, encoded, &s, int.from_bytes(os.urandom(8), "little"))
        if upstream.handle is NULL:
            raise MemoryError
        if health is not None:
            fill(&watch, health)
            upstream.region = self.region
            if fc_upstream_watch(upstream.handle, &watch, &self.health, os.getpid()) < 0:
                raise MemoryError
        self.upstreams[name] = upstream
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

    def use_metrics(self, Metrics metrics, str prefix):
        """Count into these metrics, under names that begin with `prefix`. Before set_routes, in the process that serves."""
        cdef uint32_t i
        cdef Counter counter
        cdef Histogram histogram
        self.metrics, self.prefix = metrics, prefix
        for i, (name, text) in enumerate(CELLS):
            counter = metrics.counter(f"{prefix}_{name}", text)
            self.handle.metrics.cell[i] = counter.cell
        histogram = metrics.histogram(f"{prefix}_request_duration_seconds", "From the request head to the last byte queued")
        self.handle.metrics.duration_us = histogram.cell
        histogram = metrics.histogram(f"{prefix}_upstream_duration_seconds", "From the connection's lease to the answer's head")
        self.handle.metrics.upstream_us = histogram.cell
        for i, cell in enumerate(self.status_cells("")):
            self.handle.metrics.unrouted[i] = cell
        self.handle.metrics.row = metrics.row()

    cdef list status_cells(self, str route):
        cdef Counter counter
        cdef list cells = []
        for code in CLASSES:
            counter = self.metrics.counter(f"{self.prefix}_requests", "Requests by route and class of the answer",
                                           route=route, code=code)
            cells.append(counter.cell)
        return cells

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

    def set_routes(self, Router router, routes, Limits limits=None, *, claimed=(), secret_parameters=()):
        """Put a route table in force: the router's indexes count into `routes`. Exchanges finish on the old one.

        limits: those that routes name. KeyError for a name that is none of them.
        claimed: fields that tell upstreams who asks; clients' own are deleted on every route. secret_parameters: of the
        query, whose values are not logged. ValueError: a route asks for authentication, and there is no Authenticator.
        """
        cdef _Table table = _Table.__new__(_Table)
        routes = list(routes)
        if self.authenticator is None and any(route.auth is not None for route in routes):
            raise ValueError("a route asks for authentication: call use_auth first")
        if self.cache is None and any(route.cache is not None for route in routes):
            raise ValueError("a route wants its answers stored: call use_cache first")
        table.fill(router, routes, list(claimed), list(secret_parameters), self, limits)
        if fc_proxy_set_table(self.handle, table.table) < 0:
            raise MemoryError
        Py_INCREF(table)
        table.table.refs = 1

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
        fc_http_server_stop(&self.handle.server)

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
        """Counters of this worker: accepted, requests, refused, open, idle, accept_errors and the last accept's errno."""
        cdef fc_http_stats s = self.handle.server.stats
        return {"accepted": s.accepted, "requests": s.requests, "refused": s.refused, "open": s.open, "idle": s.idle,
                "accept_errors": s.accept_errors, "accept_errno": self.handle.server.accept_errno}
