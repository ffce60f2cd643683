# Where requests go: endpoints by address, and upstreams, which are sets of them (fc/upstream.h).

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
class Adaptive:
    """An upstream takes as many requests at once as its latency shows it can bear (cext/include/fc/adaptive.h), in each
    process by itself. tolerance: how many times slower than at its best is not yet overload. window, probe: seconds; a
    probe finds anew what its best is, by few requests for a window; 0: never."""

    initial: int = 20
    minimum: int = 3
    maximum: int = 1000
    tolerance: float = 1.1
    window: float = 0.5
    probe: float = 0.0


@cython.final
@cython.no_gc_clear  # the reactor must outlive it, also when a cycle is collected
cdef class Upstream:
    """A named set of endpoints behind one balancer; made by `Proxy.upstream`."""

    cdef fc_upstream *handle
    cdef object __weakref__
    cdef readonly str name
    cdef readonly str balance
    cdef uint32_t duration_cell  # of its histogram; 0: not looked up yet
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

    def adaptive(self):
        """limit, in_flight and shed (requests held back) of this process; None for one that is not adaptive."""
        if self.handle.adaptive is NULL:
            return None
        return {"limit": fc_adaptive_limit(self.handle.adaptive), "in_flight": self.handle.adaptive.inflight,
                "shed": self.handle.shed}

    @property
    def waiting(self):
        """Requests that wait for a connection now."""
        return self.handle.waiting_len
