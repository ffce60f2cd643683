# Functions of the operator's own: the engine's side. What runs them, and how long they may take, is the caller's business.

@dataclass(frozen=True)
class RouteHooks:
    """Numbers of functions for a route's requests and its answers; None: none. Bodies of up to so many bytes are gathered
    and given to them; 0: they see heads only. passes: what a function fails to do goes on as it is."""

    request: int | None = None
    response: int | None = None
    request_body: int = 0
    response_body: int = 0
    passes: bool = False


cdef struct owned_hooks:
    fc_hooks hooks
    PyObject *owner


cdef void _wake_hooks(fc_hooks *hooks) noexcept with gil:
    cdef Hooks owner = <Hooks>(<owned_hooks *>hooks).owner
    try:
        owner.wake()
    except BaseException:
        owner.reactor.report(owner)


cdef bytes _grown(fc_grow *g):
    return g.p[:g.len] if g.len else b""


@cython.final
cdef class HookCall:
    """A request or an answer that waits for its function. Settle it once; one that is forgotten has failed."""

    cdef fc_hook_call *call
    cdef Hooks hooks  # must not go before

    def __dealloc__(self):
        if self.call is not NULL:
            self._settle(FC_HOOK_FAILED, b"", b"")

    cdef int _settle(self, fc_hook_verdict verdict, bytes head, bytes body) except -1:
        cdef fc_slice h, b
        cdef fc_hook_call *call = self.call
        if call is NULL:
            raise RuntimeError("settled already")
        self.call = NULL
        h.p, h.n = PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head)
        b.p, b.n = PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)
        fc_hooks_settle(call, verdict, h, b)
        return 0

    def go_on(self):
        """As it came."""
        self._settle(FC_HOOK_UNCHANGED, b"", b"")

    def change(self, bytes head, bytes body=b""):
        """Go on with this head, to its empty line, and this body where there was one. A head that frames another body counts
        as a failure."""
        self._settle(FC_HOOK_CHANGED, head, body)

    def answer(self, bytes head, bytes body=b""):
        """Of a request: answer it. The head ends with its last line."""
        self._settle(FC_HOOK_ANSWER, head, body)

    def fail(self):
        self._settle(FC_HOOK_FAILED, b"", b"")

    cdef fc_hook_call *waiting(self) except NULL:
        if self.call is NULL:
            raise RuntimeError("settled already")
        return self.call

    @property
    def function(self):
        return self.waiting().function

    @property
    def response(self):
        """Is it an answer? Otherwise a request."""
        return bool(self.waiting().response)

    @property
    def head(self):
        return _grown(&self.waiting().head)

    @property
    def body(self):
        """None: its function takes heads only."""
        cdef fc_hook_call *call = self.waiting()
        return _grown(&call.body) if call.has_body else None

    @property
    def client(self):
        """Its address, as far as trusted proxies tell."""
        cdef fc_hook_call *call = self.waiting()
        return call.client[:call.client_len].decode("ascii")

    @property
    def subject(self):
        """Who asks, as authentication found out; empty: nobody known."""
        return _grown(&self.waiting().subject)


@cython.final
@cython.no_gc_clear  # C points at it
cdef class Hooks:
    """The line of requests and answers that wait for functions. wake: called without arguments, on the reactor, when the line
    begins. waiting: how many may be in line or taken; beyond it requests are answered 503."""

    cdef owned_hooks *owned
    cdef readonly Reactor reactor
    cdef object wake

    def __init__(self, Reactor reactor, wake, *, waiting=1024):
        if self.owned is not NULL:
            raise RuntimeError("already initialised")
        self.owned = <owned_hooks *>calloc(1, sizeof(owned_hooks))
        if self.owned is NULL:
            raise MemoryError
        self.reactor, self.wake = reactor, wake
        fc_hooks_init(&self.owned.hooks, reactor.loop, _count(waiting, "waiting"))
        self.owned.owner = <PyObject *>self
        self.owned.hooks.wake = _wake_hooks

    def __dealloc__(self):
        # While calls are out the loop or an exchange still points at it: a few bytes are left behind, at the end of a process.
        if self.owned is not NULL and not self.owned.hooks.waiting and not self.owned.hooks.posted:
            free(self.owned)

    def take(self):
        """The next HookCall; None when the line is empty."""
        cdef fc_hook_call *call = fc_hooks_take(&self.owned.hooks)
        cdef HookCall taken
        if call is NULL:
            return None
        taken = HookCall.__new__(HookCall)
        taken.call, taken.hooks = call, self
        return taken

    @property
    def waiting(self):
        """Calls in line, or taken and not settled."""
        return self.owned.hooks.waiting
