# What a route changes in heads, and answers without an upstream (fc/edit.h): descriptions in Python, and their C side.

VALUE_PARTS = {
    "literal": FC_VALUE_LITERAL, "param": FC_VALUE_PARAM, "client.ip": FC_VALUE_CLIENT_IP,
    "request.id": FC_VALUE_REQUEST_ID, "request.scheme": FC_VALUE_SCHEME, "request.host": FC_VALUE_HOST,
    "request.method": FC_VALUE_METHOD, "request.path": FC_VALUE_PATH, "request.query": FC_VALUE_QUERY,
    "request.query_tail": FC_VALUE_QUERY_TAIL,
    "query": FC_VALUE_PARAMETER, "header": FC_VALUE_FIELD, "cookie": FC_VALUE_COOKIE, "user": FC_VALUE_USER,
    "claim": FC_VALUE_CLAIM, "target": FC_VALUE_ENDPOINT, "status": FC_VALUE_STATUS,
}
EDITS = {"remove": FC_EDIT_REMOVE, "rename": FC_EDIT_RENAME, "set": FC_EDIT_SET, "add": FC_EDIT_ADD,
         "default": FC_EDIT_DEFAULT}


@dataclass(frozen=True)
class Part:
    """A piece of a value: kind is a key of VALUE_PARTS; text the literal, or the name of what is looked up."""

    kind: str
    text: str = ""


@dataclass(frozen=True)
class Edit:
    """A change of fields or query parameters of one name. kind: a key of EDITS; of "rename" the value is the new name.
    secure_only: over TLS only."""

    kind: str
    name: str
    value: tuple[Part, ...] = ()
    secure_only: bool = False


@dataclass(frozen=True)
class Cors:
    """Origins whose pages may read answers: as browsers send them, "https://*.example.com" for subdomains, "*" for all.
    methods, headers: None allows what is asked for."""

    origins: tuple[str, ...]
    credentials: bool = False
    methods: tuple[str, ...] | None = None
    headers: tuple[str, ...] | None = None
    expose: tuple[str, ...] = ()
    max_age: int = 600


@dataclass(frozen=True)
class Fixed:
    """An answer that no upstream gives."""

    status: int
    content_type: str = ""
    body: bytes = b""
    location: tuple[Part, ...] = ()


@cython.final
cdef class _Changes:
    """The C side of the edits, CORS and fixed answer of a table's routes. What it made lives as long as it does."""

    cdef list kept
    cdef list blocks  # addresses of memory, as integers

    def __cinit__(self):
        self.kept = []
        self.blocks = []

    def __dealloc__(self):
        for block in self.blocks or ():
            PyMem_Free(<void *><size_t>block)

    cdef void *room(self, size_t n) except NULL:
        cdef void *p = PyMem_Calloc(1, n + 1)
        if p is NULL:
            raise MemoryError
        self.blocks.append(<size_t>p)
        return p

    cdef fc_slice bytes_of(self, bytes data):
        cdef fc_slice s
        self.kept.append(data)
        s.p = PyBytes_AS_STRING(data)
        s.n = PyBytes_GET_SIZE(data)
        return s

    cdef fc_slice slice(self, str text):
        if any(c in "\r\n\0" for c in text):
            raise ValueError(f"{text!r}: no line ends in fields")
        return self.bytes_of(text.encode())

    cdef int value(self, fc_value *out, object parts) except -1:
        cdef fc_value_part *made = <fc_value_part *>self.room(len(parts) * sizeof(fc_value_part))
        cdef uint32_t i
        for i, part in enumerate(parts):
            made[i].kind = <fc_value_kind><int>VALUE_PARTS[part.kind]
            made[i].text = self.slice(part.text)
        out.parts = made
        out.parts_len = len(parts)
        return 0

    cdef const fc_edits *edits(self, object asked, bint exact=False) except? NULL:
        """NULL for none."""
        cdef fc_edits *edits
        cdef fc_edit *made
        cdef uint32_t i, k
        if not asked:
            return NULL
        if len(asked) > FC_EDITS_MAX:
            raise ValueError(f"{len(asked)} changes of fields; at most {FC_EDITS_MAX} fit a route")
        edits = <fc_edits *>self.room(sizeof(fc_edits))
        made = <fc_edit *>self.room(len(asked) * sizeof(fc_edit))
        for i, edit in enumerate(asked):
            made[i].kind = <fc_edit_kind><int>EDITS[edit.kind]
            made[i].name = self.slice(edit.name)
            made[i].secure_only = edit.secure_only
            self.value(&made[i].value, edit.value)
            edits.room += <uint32_t>made[i].name.n + 4
            for k in range(made[i].value.parts_len):
                edits.room += <uint32_t>made[i].value.parts[k].text.n
                edits.dynamic += made[i].value.parts[k].kind != FC_VALUE_LITERAL
        edits.edits = made
        edits.len = len(asked)
        edits.exact = exact
        return edits

    cdef const fc_cors *cors(self, object asked) except? NULL:
        cdef fc_cors *cors
        cdef fc_origin *origins
        cdef uint32_t n = 0
        if asked is None:
            return NULL
        cors = <fc_cors *>self.room(sizeof(fc_cors))
        origins = <fc_origin *>self.room(len(asked.origins) * sizeof(fc_origin))
        for origin in asked.origins:
            if origin == "*":
                cors.any = True
                continue
            before, star, after = origin.partition("*")
            origins[n].text = self.slice(before)
            origins[n].after = self.slice(after)
            origins[n].pattern = bool(star)
            n += 1
        cors.origins = origins
        cors.origins_len = n
        cors.credentials = asked.credentials
        cors.methods = self.slice(", ".join(asked.methods or ()))
        cors.headers = self.slice(", ".join(asked.headers or ()))
        cors.expose = self.slice(", ".join(asked.expose))
        cors.max_age_s = _count(asked.max_age, "max_age")
        return cors

    cdef const fc_route_hooks *hooks(self, object asked) except? NULL:
        cdef fc_route_hooks *hooks
        if asked is None:
            return NULL
        hooks = <fc_route_hooks *>self.room(sizeof(fc_route_hooks))
        hooks.request = -1 if asked.request is None else asked.request
        hooks.response = -1 if asked.response is None else asked.response
        hooks.request_body_max = _count(asked.request_body, "request_body")
        hooks.response_body_max = _count(asked.response_body, "response_body")
        hooks.passes = asked.passes
        return hooks

    cdef const fc_coding_policy *coding(self, object asked) except? NULL:
        cdef fc_coding_policy *coding
        cdef fc_slice *types
        cdef uint32_t i
        if asked is None:
            return NULL
        if not 0 <= asked.gzip <= 9 or not -1 <= asked.br <= 11:
            raise ValueError(f"gzip has levels up to 9, br qualities up to 11: {asked}")
        coding = <fc_coding_policy *>self.room(sizeof(fc_coding_policy))
        types = <fc_slice *>self.room(len(asked.types) * sizeof(fc_slice))
        for i, name in enumerate(asked.types):
            types[i] = self.slice(name)
            if types[i].n == 0:
                raise ValueError("an empty media type")
        coding.types = types
        coding.types_len = len(asked.types)
        coding.least_bytes = asked.least_bytes
        coding.gzip_level = asked.gzip
        coding.br_quality = asked.br
        coding.unpack = asked.unpack
        coding.unpack_requests = asked.unpack_requests
        return coding

    cdef const fc_cache_policy *policy(self, object asked) except? NULL:
        cdef fc_cache_policy *policy
        if asked is None:
            return NULL
        policy = <fc_cache_policy *>self.room(sizeof(fc_cache_policy))
        fill_policy(policy, asked)
        return policy

    cdef const fc_fixed *fixed(self, object asked) except? NULL:
        cdef fc_fixed *fixed
        if asked is None:
            return NULL
        if len(asked.body) > FC_FIXED_BODY_MAX:
            raise ValueError(f"a fixed answer has {len(asked.body)} bytes; at most {FC_FIXED_BODY_MAX} fit")
        fixed = <fc_fixed *>self.room(sizeof(fc_fixed))
        fixed.status = asked.status
        fixed.type = self.slice(asked.content_type)
        fixed.body = self.bytes_of(asked.body)
        self.value(&fixed.location, asked.location)
        return fixed
