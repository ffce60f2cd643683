"""The gateway's route table (cext/include/fc/router.h, which states the rules of precedence)."""

import os
import time
cimport cython
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from fastcore import regex as regex_module

from libc.stdlib cimport calloc, free

from fastcore.hashing cimport key_of

METHOD_IDS = {
    b"GET": FC_METHOD_GET,
    b"HEAD": FC_METHOD_HEAD,
    b"POST": FC_METHOD_POST,
    b"PUT": FC_METHOD_PUT,
    b"DELETE": FC_METHOD_DELETE,
    b"CONNECT": FC_METHOD_CONNECT,
    b"OPTIONS": FC_METHOD_OPTIONS,
    b"TRACE": FC_METHOD_TRACE,
    b"PATCH": FC_METHOD_PATCH,
    b"QUERY": FC_METHOD_QUERY,
}
# Everything visible in ASCII: quoting a rule's path only touches what a client could not have sent unescaped.
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True)
class Match:
    """What became of a request.

    answer: "found", "none" (404), "method" (405 with `allowed`) or "bad path" (400 with `error`).
    path: the normalised path. params: raw values by name, a regex group without a name by its number.
    """

    answer: str
    index: int | None = None
    path: bytes = b""
    params: Mapping[str, bytes | None] | None = None
    allowed: tuple[str, ...] = ()
    error: str = ""


cdef inline fc_slice as_slice(bytes text):
    return fc_slice(<const char *>text, len(text))


cdef bytes encoded(object text):
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


@cython.final
cdef class _Slices:
    """Bytes objects kept alive together with an array of slices over them."""

    cdef list texts
    cdef fc_slice *items

    def __cinit__(self, texts):
        self.texts = [encoded(text) for text in texts]
        self.items = <fc_slice *>calloc(len(self.texts) + 1, sizeof(fc_slice))
        if self.items == NULL:
            raise MemoryError
        for i, text in enumerate(self.texts):
            self.items[i] = as_slice(text)

    def __dealloc__(self):
        free(self.items)


@cython.final
cdef class _Conditions:
    """The same for header and query conditions."""

    cdef list alive
    cdef fc_router_cond *items
    cdef uint32_t length

    def __cinit__(self, headers, query):
        self.alive = []
        self.items = <fc_router_cond *>calloc(len(headers) + len(query) + 1, sizeof(fc_router_cond))
        if self.items == NULL:
            raise MemoryError
        for name, wanted in headers.items():
            self.append(FC_COND_HEADER, encoded(name), wanted)
        for name, wanted in query.items():
            self.append(FC_COND_QUERY, encoded(name), wanted)

    def __dealloc__(self):
        free(self.items)

    cdef append(self, fc_cond_place place, bytes name, object wanted):
        cdef fc_router_cond *item = &self.items[self.length]
        item.place = place
        item.name = as_slice(name)
        if isinstance(wanted, bool):
            item.test = FC_COND_PRESENT if wanted else FC_COND_ABSENT
            text = b""
        elif isinstance(wanted, regex_module.Regex):
            item.test = FC_COND_REGEX
            text = wanted.program
            item.program = as_slice(text)
        else:
            item.test = FC_COND_EQUALS
            text = encoded(wanted)
            item.value = as_slice(text)
        self.alive += [name, text]
        self.length += 1


@cython.final
cdef class RouterBuilder:
    """Collects routes; `build` freezes them into a Router and uses the builder up.

    key: 16 random bytes for the hashes (os.urandom if not given). path_max: bytes of a request's path. segments_max: of
    one route. visits_max: nodes, rules and regexes that one request may have to try. bytes_max: memory of the table.
    """

    def __cinit__(
        self,
        *,
        bint merge_slashes=True,
        bint refuse_encoded_slash=False,
        path_max=None,
        segments_max=None,
        visits_max=None,
        bytes_max=None,
        bytes key=None,
    ):
        cdef fc_router_limits limits = FC_ROUTER_LIMITS
        self.names = {}
        if merge_slashes:
            limits.path_flags |= FC_PATH_MERGE_SLASHES
        if refuse_encoded_slash:
            limits.path_flags |= FC_PATH_REFUSE_ENCODED_SLASH
        if path_max is not None:
            limits.path_max = path_max
        if segments_max is not None:
            limits.segments_max = segments_max
        if visits_max is not None:
            limits.visits_max = visits_max
        if bytes_max is not None:
            limits.bytes_max = bytes_max
        if key is None:
            key = os.urandom(16)
        limits.key = key_of(key)
        self.builder = fc_router_builder_new(&limits)
        if self.builder == NULL:
            raise MemoryError

    def __dealloc__(self):
        fc_router_builder_free(self.builder)

    def add(
        self,
        *,
        uint32_t index,
        hosts=(),
        path=None,
        prefix=None,
        template=None,
        regex=None,
        methods=(),
        headers=None,
        query=None,
        int32_t priority=0,
        str name=None,
    ):
        """Add one route; exactly one of path, prefix, template and regex (a pattern or a fastcore.regex.Regex).

        headers, query: by name True (present), False (absent), a str or bytes (equals) or a Regex (matches whole).
        name: for error messages, otherwise the index. Raises ValueError with the route's name and what is wrong.
        """
        cdef fc_router_rule rule
        cdef fc_router_error error
        if self.builder == NULL:
            raise ValueError("the builder has built its router already")
        label = repr(name) if name is not None else str(index)
        given = [
            (kind, text)
            for kind, text in (
                (FC_ROUTER_EXACT, path),
                (FC_ROUTER_PREFIX, prefix),
                (FC_ROUTER_TEMPLATE, template),
                (FC_ROUTER_REGEX, regex),
            )
            if text is not None
        ]
        if len(given) != 1:
            raise ValueError(f"route {label}: give exactly one of path, prefix, template and regex, not {len(given)}.")
        kind, text = given[0]
        if kind == FC_ROUTER_REGEX:
            try:
                program = (text if isinstance(text, regex_module.Regex) else regex_module.compile(text)).program
            except regex_module.RegexError as bad:
                raise ValueError(f"route {label}: {bad}.") from None
            encoded_path = b""
        else:
            program = b""
            encoded_path = quote(text, safe=VISIBLE).encode("ascii")
        mask = 0
        others = []
        for method in map(encoded, methods):
            if method in METHOD_IDS:
                mask |= 1 << METHOD_IDS[method]
            elif method not in others:
                others.append(method)
        cdef _Slices host_slices = _Slices(hosts)
        cdef _Slices method_slices = _Slices(others)
        cdef _Conditions conds = _Conditions(headers or {}, query or {})
        rule = fc_router_rule(
            index=index,
            priority=priority,
            kind=<fc_router_kind><int>kind,
            path=as_slice(encoded_path),
            program=as_slice(program),
            hosts=host_slices.items,
            hosts_len=len(host_slices.texts),
            methods=mask,
            other_methods=method_slices.items,
            other_methods_len=len(others),
            conds=conds.items,
            conds_len=conds.length,
        )
        if fc_router_builder_add(self.builder, &rule, &error) != 0:
            raise ValueError(f"route {label}: {error.text.decode('utf-8', 'replace')}")
        self.names[index] = label

    def build(self):
        """Freeze into a Router. Raises ValueError for two routes with the same rules and for a table over its bounds.

        Other threads run meanwhile: thousands of routes take milliseconds.
        """
        cdef fc_router_error error
        cdef fc_router_builder *builder = self.builder
        if builder == NULL:
            raise ValueError("the builder has built its router already")
        self.builder = NULL
        cdef Router router = Router.__new__(Router)
        with nogil:
            router.table = fc_router_build(builder, &error)
            fc_router_builder_free(builder)
        if router.table == NULL:
            text = error.text.decode("utf-8", "replace")
            if error.pair:
                text = f"routes {self.names[error.first]} and {self.names[error.second]} {text}"
            raise ValueError(text)
        if fc_router_scratch_fit(router.scratch, router.table) != 0:
            raise MemoryError
        return router


@cython.final
cdef class _Request:
    """A request as the C side sees it, and the bytes it points into."""

    cdef fc_router_request q
    cdef list alive
    cdef bytes buf
    cdef fc_http1_field *fields

    def __cinit__(self, method, host, path, query, headers):
        cdef uint32_t at = 0
        self.alive = [encoded(method), encoded(host or b""), encoded(path), encoded(query or b"")]
        pairs = [(encoded(name), encoded(value)) for name, value in headers]
        self.buf = b"".join(name + value for name, value in pairs)
        self.fields = <fc_http1_field *>calloc(len(pairs) + 1, sizeof(fc_http1_field))
        if self.fields == NULL:
            raise MemoryError
        for i, (name, value) in enumerate(pairs):
            self.fields[i].name = fc_span(at, len(name))
            self.fields[i].value = fc_span(at + len(name), len(value))
            at += len(name) + len(value)
        self.q = fc_router_request(
            method_id=<fc_http_method><int>METHOD_IDS.get(self.alive[0], FC_METHOD_OTHER),
            method=as_slice(self.alive[0]),
            host=as_slice(self.alive[1]),
            path=as_slice(self.alive[2]),
            query=as_slice(self.alive[3]),
            fields=self.fields,
            fields_len=len(pairs),
            buf=self.buf,
        )

    def __dealloc__(self):
        free(self.fields)


@cython.final
cdef class Router:
    """An immutable route table; made by RouterBuilder."""

    def __cinit__(self):
        self.scratch = fc_router_scratch_new()
        if self.scratch == NULL:
            raise MemoryError

    def __init__(self):
        raise TypeError("a Router comes from RouterBuilder.build()")

    def __dealloc__(self):
        fc_router_unref(self.table)
        fc_router_scratch_free(self.scratch)

    def match(self, method, host, path, query=None, headers=()):
        """Find the route of one request. headers: pairs of name and value."""
        cdef _Request request = _Request(method, host, path, query, headers)
        cdef fc_router_match out
        cdef fc_router_param *param
        answer = fc_router_find(self.table, &request.q, &out, self.scratch)
        if answer == FC_ROUTER_BAD_PATH:
            error = fc_path_error_text(out.path_error).decode()
            return Match("bad path", error=f"{error} (at offset {out.error_at})")
        normal = out.path.p[:out.path.n]
        if answer == FC_ROUTER_NONE:
            return Match("none", path=normal)
        if answer == FC_ROUTER_METHOD:
            allowed = [name.decode() for name, number in METHOD_IDS.items() if out.allowed >> number & 1]
            for i in range(out.other_methods_len):
                allowed.append(out.other_methods[i].p[:out.other_methods[i].n].decode("utf-8", "replace"))
            return Match("method", path=normal, allowed=tuple(allowed))
        params = {}
        for i in range(out.params_len):
            param = &out.params[i]
            name = param.name.p[:param.name.n].decode() if param.name.n else str(i + 1)
            taken = param.value.off != FC_ROUTER_UNSET
            params[name] = normal[param.value.off:param.value.off + param.value.len] if taken else None
        return Match("found", out.index, normal, params)

    def measure(self, requests, int rounds=1):
        """Nanoseconds per match in C alone, over requests given as tuples of match's arguments, `rounds` times each."""
        cdef fc_router_match out
        cdef _Request request
        cdef int i
        prepared = [_Request(*(tuple(one) + (None, ()))[:5]) for one in requests]
        started = time.perf_counter_ns()
        for i in range(rounds):
            for request in prepared:
                fc_router_find(self.table, &request.q, &out, self.scratch)
        return (time.perf_counter_ns() - started) / (rounds * len(prepared))

    @property
    def stats(self):
        """Sizes of the table, and `visits_worst`: the most nodes, rules and regexes that one request can meet."""
        cdef fc_router_stats stats = fc_router_get_stats(self.table)
        return dict(stats)
