# Who may use a route: the engine's side of authentication. What a verdict is made of is the caller's business.

#: Why nobody is known: the words of fc_auth_reason, in its order. They label the counter of refusals.
REASONS = ("ok", "missing", "malformed", "algorithm", "unknown_key", "signature", "critical", "issuer", "audience", "expired",
           "early", "claim", "unknown", "inactive", "revoked", "scope", "unavailable", "busy")

SOURCES = {"bearer": FC_AUTH_BEARER, "header": FC_AUTH_HEADER, "query": FC_AUTH_QUERY, "certificate": FC_AUTH_CERTIFICATE}


@dataclass(frozen=True)
class Credential:
    """How a credential is presented, and the number of who judges it.

    fingerprint: 16 bytes of a hash of everything a verdict depends on. source: "bearer", "header", "query" or "certificate"; name: of the
    field or parameter. forward: it goes on to the upstream.
    """

    id: int
    fingerprint: bytes
    source: str
    name: str = ""
    forward: bool = True


@dataclass(frozen=True)
class RouteAuth:
    """Who may use a route. credentials: tried in this order. scopes: bits that a verdict must have; scope_text: their names,
    separated by spaces, for the challenge."""

    credentials: tuple[Credential, ...]
    required: bool = True
    scopes: int = 0
    scope_text: str = ""


def pack_verdict(reason, *, expires=0, scopes=0, bytes subject=b"", bytes fields=b""):
    """A verdict as the tables hold it. reason: a word of REASONS; expires: seconds since 1970; fields: complete header lines.
    ValueError: too long, or a line that is none."""
    cdef fc_auth_verdict v
    memset(&v, 0, sizeof(v))
    if len(subject) + len(fields) + sizeof(v) > FC_AUTH_VERDICT_MAX:
        raise ValueError(f"subject and fields together have {len(subject) + len(fields)} bytes; {FC_AUTH_VERDICT_MAX - sizeof(v)} fit")
    if fields and (not fields.endswith(b"\r\n") or any(b < 32 or b == 127 for line in fields.removesuffix(b"\r\n").split(b"\r\n") for b in line)):
        raise ValueError("fields are header lines, each with CRLF")
    v.reason = REASONS.index(reason)
    v.expires_s = max(0, int(expires))
    v.scopes = scopes
    v.subject_len = len(subject)
    v.fields_len = len(fields)
    return (<char *>&v)[:sizeof(v)] + subject + fields


cdef struct owned_auth:
    fc_auth auth
    PyObject *owner


cdef void _wake_authenticator(fc_auth *auth) noexcept with gil:
    cdef Authenticator owner = <Authenticator>(<owned_auth *>auth).owner
    try:
        owner.wake()
    except BaseException:
        owner.reactor.report(owner)


@cython.final
@cython.no_gc_clear  # C may point at what it keeps
cdef class Authenticator:
    """Verdicts on credentials, remembered in two tables that all workers share, and the line of those nobody knows yet.

    Put a verdict into the table under its key, then settle() it. wake: called without arguments, on the reactor, when the
    line begins. pending: different credentials that may wait; beyond it requests are answered 503.
    """

    cdef owned_auth *owned
    cdef readonly Reactor reactor
    cdef readonly SharedCache verified
    cdef readonly SharedCache refused
    cdef object wake

    def __init__(self, Reactor reactor, SharedCache verified, SharedCache refused, wake, *, pending=1024):
        if self.owned is not NULL:
            raise RuntimeError("already initialised")
        self.reactor, self.verified, self.refused, self.wake = reactor, verified, refused, wake
        self.owned = <owned_auth *>calloc(1, sizeof(owned_auth))
        if self.owned is NULL or fc_auth_init(&self.owned.auth, reactor.loop, &verified.c, &refused.c,
                                              <const fc_hash_key *>&verified.c.options.key, _count(pending, "pending")) < 0:
            raise MemoryError
        self.owned.owner = <PyObject *>self
        self.owned.auth.wake = _wake_authenticator

    def __dealloc__(self):
        # With a job posted the loop still points at it: a few bytes are left behind, at the end of a process.
        if self.owned is not NULL and not self.owned.auth.posted:
            fc_auth_close(&self.owned.auth)
            free(self.owned)

    def take(self):
        """The next credential to judge, as (id of who judges, key, credential); None when the line is empty."""
        cdef uint32_t provider
        cdef const unsigned char *key
        cdef fc_slice credential
        if not fc_auth_take(&self.owned.auth, &provider, &key, &credential):
            return None
        return provider, (<const char *>key)[:FC_AUTH_KEY_BYTES], credential.p[:credential.n]

    def settle(self, bytes key, bytes verdict):
        """Tell everybody who waits for this key; they hear it in the reactor's next round. False: nobody took it."""
        if PyBytes_GET_SIZE(key) != FC_AUTH_KEY_BYTES:
            raise ValueError(f"a key has {FC_AUTH_KEY_BYTES} bytes")
        return fc_auth_settle(&self.owned.auth, <const unsigned char *>PyBytes_AS_STRING(key), PyBytes_AS_STRING(verdict),
                              PyBytes_GET_SIZE(verdict))

    @property
    def waiting(self):
        """Credentials that wait for a verdict now."""
        return self.owned.auth.pending_len

    cdef int count_into(self, Metrics metrics, str prefix) except -1:
        cdef Counter counter
        cdef uint32_t i
        for i, (name, text) in enumerate((
            ("auth_known", "Requests whose credential was remembered: no cryptography, no Python"),
            ("auth_parked", "Requests that waited for a verdict on their credential"),
            ("auth_anonymous", "Requests without a credential where none is required"),
        )):
            counter = metrics.counter(f"{prefix}_{name}", text)
            self.owned.auth.cell[i] = counter.cell
        for i, reason in enumerate(REASONS):
            if reason != "ok":
                counter = metrics.counter(f"{prefix}_auth_refused", "Requests refused by authentication", reason=reason)
                self.owned.auth.cell[<uint32_t>FC_AUTH_CELL_REFUSED + i] = counter.cell
        return 0


cdef class _Credentials:
    """The C side of the credentials and requirements of one route table."""

    cdef list kept
    cdef dict numbers      # Credential to its place
    cdef fc_auth_provider *providers
    cdef fc_route_auth *routes
    cdef const fc_auth_provider **order
    cdef uint32_t used, given

    def __dealloc__(self):
        PyMem_Free(self.providers)
        PyMem_Free(self.routes)
        PyMem_Free(self.order)

    cdef fc_slice slice(self, str text):
        cdef bytes data = text.encode("ascii")
        cdef fc_slice s
        self.kept.append(data)
        s.p = PyBytes_AS_STRING(data)
        s.n = PyBytes_GET_SIZE(data)
        return s

    cdef int prepare(self, list specs) except -1:
        """Room for all: pointers into it must not move."""
        cdef uint32_t i, asked = sum(spec.auth is not None for spec in specs)
        self.kept = []
        distinct = list(dict.fromkeys(c for spec in specs if spec.auth is not None for c in spec.auth.credentials))
        self.numbers = {credential: place for place, credential in enumerate(distinct)}
        self.providers = <fc_auth_provider *>PyMem_Calloc(len(distinct) + 1, sizeof(fc_auth_provider))
        self.routes = <fc_route_auth *>PyMem_Calloc(asked + 1, sizeof(fc_route_auth))
        places = sum(len(spec.auth.credentials) for spec in specs if spec.auth is not None)
        self.order = <const fc_auth_provider **>PyMem_Calloc(places + 1, sizeof(fc_auth_provider *))
        if self.providers is NULL or self.routes is NULL or self.order is NULL:
            raise MemoryError
        for i, credential in enumerate(distinct):
            if len(credential.fingerprint) != 16:
                raise ValueError("a fingerprint has 16 bytes")
            self.providers[i].id = credential.id
            memcpy(self.providers[i].fingerprint, PyBytes_AS_STRING(credential.fingerprint), 16)
            self.providers[i].source = <fc_auth_source><int>SOURCES[credential.source]
            self.providers[i].name = self.slice(credential.name)
            self.providers[i].forward = credential.forward
        self.used = self.given = 0
        return 0

    cdef const fc_route_auth *route(self, object spec) except NULL:
        cdef fc_route_auth *r = &self.routes[self.given]
        self.given += 1
        r.providers = &self.order[self.used]
        r.providers_len = len(spec.credentials)
        for credential in spec.credentials:
            self.order[self.used] = &self.providers[<uint32_t>self.numbers[credential]]
            self.used += 1
        r.required = spec.required
        r.scopes = spec.scopes
        r.scope_text = self.slice(spec.scope_text)
        return r
