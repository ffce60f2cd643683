# The C side of one route table, and everything it points at.

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
    cdef list retired  # of the proxy; where this goes at the end
    cdef fc_path_part **parts
    cdef _Credentials credentials
    cdef _Changes changes
    cdef fc_split *splits
    cdef fc_share *shares
    cdef fc_mirror *mirrors
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
        PyMem_Free(self.splits)
        PyMem_Free(self.shares)
        PyMem_Free(self.mirrors)
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

    cdef int fill(self, Router router, list routes, list claimed, list secret, Proxy proxy, Limits limits, object turn) except -1:
        cdef uint32_t i, n, shown = len(routes)
        self.kept = [limits]
        # Shares stand behind all routes, where the router's indexes do not lead, and the routes of copies behind them.
        mirrored = [route.mirror.route for route in routes if route.mirror is not None]
        routes = routes + [share for route in routes if route.split is not None for _, share in route.split.shares]
        copies = len(routes)
        routes = routes + mirrored
        n = len(routes)
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
                proxy.count_route(&self.table.routes[i], routes[i].name, routes[i].upstream)
            if turn is not None:
                turn()
        self.split(routes[:copies], shown)
        self.mirror(routes, shown, copies)
        return 0

    cdef int mirror(self, list routes, uint32_t shown, uint32_t next) except -1:
        cdef uint32_t i, m = 0
        cdef fc_mirror *mirror
        self.mirrors = <fc_mirror *>PyMem_Calloc(len(routes) - next + 1, sizeof(fc_mirror))
        if self.mirrors is NULL:
            raise MemoryError
        for i in range(shown):
            spec = routes[i].mirror
            if spec is None:
                continue
            if spec.route.upstream is None or not 0 <= spec.percent <= 100:
                raise ValueError(f"route {routes[i].name}: a copy has an upstream and a percentage")
            mirror = &self.mirrors[m]
            mirror.route = &self.table.routes[next + m]
            mirror.share = <uint64_t>(spec.percent / 100 * 4294967296.0)
            mirror.at_once = _count(spec.at_once, "at_once")
            self.table.routes[i].mirror = mirror
            m += 1
        return 0

    cdef int split(self, list routes, uint32_t shown) except -1:
        cdef uint32_t i, k, s = 0, next = 0, splits = sum(route.split is not None for route in routes[:shown])
        cdef fc_split *split
        self.splits = <fc_split *>PyMem_Calloc(splits + 1, sizeof(fc_split))
        self.shares = <fc_share *>PyMem_Calloc(len(routes) - shown + 1, sizeof(fc_share))
        if self.splits is NULL or self.shares is NULL:
            raise MemoryError
        for i in range(shown):
            if routes[i].split is None:
                continue
            split = &self.splits[s]
            s += 1
            split.on = <fc_split_on><int>SPLIT_ON[routes[i].split.on[0]]
            if len(routes[i].split.on) > 1:
                split.name = self.slice(routes[i].split.on[1])
            split.shares = &self.shares[next]
            for weight, share in routes[i].split.shares:
                if share.split is not None or share.upstream is None:
                    raise ValueError(f"route {routes[i].name}: a share has an upstream and no shares of its own")
                self.shares[next].weight = _count(weight, "weight")
                self.shares[next].route = &self.table.routes[shown + next]
                split.total += self.shares[next].weight
                next += 1
            if split.total == 0:
                raise ValueError(f"route {routes[i].name}: all weights are 0")
            self.table.routes[i].split = split
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
        if (upstream is not None) + (spec.fixed is not None) + (spec.split is not None) != 1:
            raise ValueError(f"route {spec.name}: one of an upstream, a fixed answer and a split")
        if upstream is not None:
            self.kept.append(upstream)
            r.upstream = upstream.handle
        r.fixed = self.changes.fixed(spec.fixed)
        r.request_edits = self.changes.edits(spec.request_edits)
        r.query_edits = self.changes.edits(spec.query_edits, True)
        r.reply_edits = self.changes.edits(spec.reply_edits)
        r.cors = self.changes.cors(spec.cors)
        r.cache = self.changes.policy(spec.cache)
        r.coding = self.changes.coding(spec.coding)
        r.hooks = self.changes.hooks(spec.hooks)
        if spec.hooks is not None and spec.hooks.response is not None and spec.cache is not None:
            raise ValueError(f"route {spec.name}: no function sees answers out of the cache")
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
        r.share_percent = _count(spec.share, "share")
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
    cdef _Table owner = <_Table><object>(<owned_table *>table).owner
    owner.retired.append(owner)
    Py_DECREF(owner)
