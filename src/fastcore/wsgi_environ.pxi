# A request head becomes an environ. Part of wsgi.pyx.

class Refused(Exception):
    """This head does not reach the application: answered with a status and a reason."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status
        self.reason = reason


cdef enum:
    NAME_PLAIN, NAME_CONTENT_TYPE, NAME_CONTENT_LENGTH, NAME_HOST, NAME_COOKIE, NAME_UNDERSCORE, NAME_SCHEME

cdef struct NameEntry:
    uint32_t hash
    uint16_t len
    uint8_t kind
    char *name
    PyObject *key

cdef uint32_t NAME_SLOTS = 1024     # a power of two; filled to half: names beyond that are translated each time


@cython.final
cdef class NameTable:
    """Field names as clients spell them, with the environ key each becomes. Bounded: names come from strangers."""
    cdef NameEntry *slots
    cdef uint32_t used
    cdef set scheme_names

    def __cinit__(self, scheme_names):
        self.slots = <NameEntry *>calloc(NAME_SLOTS, sizeof(NameEntry))
        if self.slots is NULL:
            raise MemoryError
        self.scheme_names = {name.upper() for name in scheme_names}

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(NAME_SLOTS if self.slots is not NULL else 0):
            free(self.slots[i].name)
            Py_XDECREF(self.slots[i].key)
        free(self.slots)

    cdef object key_of(self, const char *p, uint32_t n, uint8_t *kind):
        cdef uint32_t h = 2166136261u, i
        for i in range(n):
            h = (h ^ <uint8_t>p[i]) * 16777619u
        cdef NameEntry *e
        i = h
        while True:
            e = &self.slots[i & (NAME_SLOTS - 1)]
            if e.key is NULL:
                break
            if e.hash == h and e.len == n and memcmp(e.name, p, n) == 0:
                kind[0] = e.kind
                return <object>e.key
            i += 1
        upper = p[:n].decode("latin-1").upper()
        key, kind[0] = self.translate(upper)
        if self.used < NAME_SLOTS // 2 and n <= 128:
            e.name = <char *>malloc(n)
            if e.name is not NULL:
                memcpy(e.name, p, n)
                e.hash, e.len, e.kind = h, n, kind[0]
                Py_INCREF(key)
                e.key = <PyObject *>key
                self.used += 1
        return key

    cdef tuple translate(self, str upper):
        if upper in self.scheme_names:
            kind = NAME_SCHEME
        elif upper == "CONTENT-TYPE":
            return "CONTENT_TYPE", NAME_CONTENT_TYPE
        elif upper == "CONTENT-LENGTH":
            return "CONTENT_LENGTH", NAME_CONTENT_LENGTH
        elif upper == "HOST":
            kind = NAME_HOST
        elif upper == "COOKIE":
            kind = NAME_COOKIE
        else:
            kind = NAME_UNDERSCORE if "_" in upper else NAME_PLAIN
        return sys.intern("HTTP_" + upper.replace("-", "_")), kind


cdef inline str latin1(const char *base, fc_span s):
    return PyUnicode_DecodeLatin1(base + s.off, s.len, NULL)


cdef inline int hex_digit(char c) noexcept:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 32
    return c - c'a' + 10 if c'a' <= c <= c'f' else -1


cdef str unquoted(const char *p, uint32_t n):
    """Percent-decoded, as latin-1: what PEP 3333 calls a native string of bytes."""
    if memchr(p, c'%', n) is NULL:
        return PyUnicode_DecodeLatin1(p, n, NULL)
    cdef char *out = <char *>malloc(n)
    if out is NULL:
        raise MemoryError
    cdef uint32_t i = 0, m = 0
    cdef int high, low
    while i < n:
        if p[i] == c'%' and i + 2 < n:
            high, low = hex_digit(p[i + 1]), hex_digit(p[i + 2])
            if high >= 0 and low >= 0:
                out[m] = <char>(high * 16 + low)
                m += 1
                i += 3
                continue
        out[m] = p[i]
        m += 1
        i += 1
    try:
        return PyUnicode_DecodeLatin1(out, m, NULL)
    finally:
        free(out)


cdef int peer_keys(WSGIServer server, dict env, fc_addr *peer) except -1:
    """REMOTE_ADDR and REMOTE_PORT. Afterwards server.last_peer_trusted is about this peer."""
    cdef char text[64]
    if not peer.is_ip:
        env["REMOTE_ADDR"] = ""
        server.last_peer_text = None
        server.last_peer_trusted = True   # who may open our unix socket is decided by its permissions
        return 0
    if server.last_peer_text is None or memcmp(server.last_peer.ip, peer.ip, 16) != 0:
        server.last_peer_text = text[:fc_addr_text(peer, text)].decode("ascii")
        server.last_peer = peer[0]
        server.last_peer_trusted = server.trusted is not None and server.trusted(server.last_peer_text)
    env["REMOTE_ADDR"] = server.last_peer_text
    env["REMOTE_PORT"] = str(<int>peer.port)
    return 0


cdef int repeated(dict env, key, str value, int kind) except -1:
    """A field that came before: a list joined by commas, cookies by what separates cookies."""
    if kind == NAME_CONTENT_TYPE or kind == NAME_HOST:
        raise Refused(400, f"Invalid HTTP Header: {'CONTENT-TYPE' if kind == NAME_CONTENT_TYPE else 'HOST'!r}")
    env[key] = f"{env[key]}{'; ' if kind == NAME_COOKIE else ','}{value}"
    return 0


cdef bint underscored(WSGIServer server, str upper) except -1:
    """Does a name with an underscore get in? Behind a hyphen's key it could pass for another field."""
    if server.last_peer_trusted and (upper in server.forwarder_headers or "*" in server.forwarder_headers):
        return True
    if server.header_map == "dangerous":
        return True
    if server.header_map == "drop":
        return False
    raise Refused(400, f"Invalid HTTP header name: {upper!r}")


cdef int server_keys(dict env) except -1:
    """On a unix socket SERVER_NAME and SERVER_PORT are the client's words, as far as it has any."""
    host = env.get("HTTP_HOST")
    if not host:
        return 0
    parts = host.split(":")
    env["SERVER_NAME"] = parts[0]
    env["SERVER_PORT"] = parts[1] if len(parts) > 1 else "443" if env["wsgi.url_scheme"] == "https" else "80"
    return 0


cdef dict build_environ(Listener l, Request r, fc_http_req *req):
    cdef WSGIServer server = l.server
    cdef fc_http1_head *head = &req.head
    cdef const char *base = req.base
    cdef dict env = PyDict_Copy(l.template)
    cdef fc_http1_field *f
    cdef uint8_t kind
    cdef uint32_t i
    cdef str value, script_name = server.script_name, uri, scheme = None
    if server.limit_line and head.method.len + head.target.len + 10 > server.limit_line:
        raise Refused(414, f"Request Line is too large ({head.method.len + head.target.len + 10} > {server.limit_line})")
    if head.method_id != FC_METHOD_OTHER:
        env["REQUEST_METHOD"] = METHODS[head.method_id]
    else:
        method = env["REQUEST_METHOD"] = latin1(base, head.method)
        if not server.any_method and (not 3 <= len(method) <= 20 or method != method.upper() or "#" in method):
            raise Refused(400, f"Invalid Method 'Invalid HTTP method: {method!r}'")
    peer_keys(server, env, &req.conn.peer)
    for i in range(head.fields_len):
        f = &head.fields[i]
        if server.limit_field and f.value.off + f.value.len + 2 - f.name.off > server.limit_field:
            raise Refused(431, "Error parsing headers: 'limit request headers fields size'")
        key = server.names.key_of(base + f.name.off, f.name.len, &kind)
        value = latin1(base, f.value)
        if kind == NAME_UNDERSCORE:
            upper = latin1(base, f.name).upper()
            if not underscored(server, upper):
                continue
            if upper == "SCRIPT_NAME":
                script_name = value
        elif kind == NAME_SCHEME and server.last_peer_trusted:
            this = "https" if value == server.secure_scheme_headers[latin1(base, f.name).upper()] else "http"
            if scheme is not None and scheme != this:
                raise Refused(400, "Contradictory scheme headers")
            scheme = this
        if PyDict_SetDefault(env, key, value) is not <PyObject *>value:
            repeated(env, key, value, kind)
    if scheme is not None:
        env["wsgi.url_scheme"] = scheme
    if l.by_host:
        server_keys(env)
    uri = env["RAW_URI"] = latin1(base, head.target)
    env["QUERY_STRING"] = latin1(base, head.query)
    env["SERVER_PROTOCOL"] = "HTTP/1.1" if head.minor else "HTTP/1.0"
    if script_name:
        path = latin1(base, head.path)
        if not path.startswith(script_name):
            raise Refused(500, f"Request path {path!r} does not start with SCRIPT_NAME {script_name!r}")
        quoted = path[len(script_name):].encode("latin-1")
        env["PATH_INFO"] = unquoted(PyBytes_AS_STRING(quoted), PyBytes_GET_SIZE(quoted))
        env["SCRIPT_NAME"] = script_name
    elif head.path.len == head.target.len and memchr(base + head.path.off, c'%', head.path.len) is NULL:
        env["PATH_INFO"] = uri
    else:
        env["PATH_INFO"] = unquoted(base + head.path.off, head.path.len)
    if head.framing == FC_BODY_NONE:
        env["wsgi.input"] = server.empty_input
    else:
        r.input = input_for(r, req)
        env["wsgi.input"] = r.input
    env["wsgi.early_hints"] = r.early_hints
    return env
