"""The opening handshake of WebSocket as pure functions: header fields in, header fields out (RFC 6455 section 4).

Everything here is also in `fastcore.websocket`. Fields are pairs of bytes or str, in order, as `fastcore.http.Headers`
gives them; those that come out are pairs of bytes. Origin and Host are the caller's policy and not looked at.
"""

import os

cimport cython
from libc.stdlib cimport free, malloc

__all__ = [
    "Deflate",
    "Handshake",
    "HandshakeError",
    "accept_key",
    "client_handshake",
    "client_headers",
    "client_key",
    "server_handshake",
]


@cython.final
cdef class Deflate:
    """Parameters of permessage-deflate (RFC 7692 7.1); immutable. Window bits are 8 to 15.

    Given to `server_handshake` it says how far a server goes, to `client_headers` what a client offers; what comes back
    in a `Handshake` is what both agreed on, and goes into FrameParser and Encoder of either side.
    """

    def __cinit__(self, *, bint server_no_context_takeover=False, bint client_no_context_takeover=False,
                  server_max_window_bits=15, client_max_window_bits=15):
        for name, bits in (("server", server_max_window_bits), ("client", client_max_window_bits)):
            if not 8 <= bits <= 15:
                raise ValueError(f"{name}_max_window_bits is {bits!r}; it is 8 to 15")
        self.params.server_no_context_takeover = server_no_context_takeover
        self.params.client_no_context_takeover = client_no_context_takeover
        self.params.server_max_window_bits = server_max_window_bits
        self.params.client_max_window_bits = client_max_window_bits

    @property
    def server_no_context_takeover(self):
        """Each message of the server is compressed by itself."""
        return self.params.server_no_context_takeover

    @property
    def client_no_context_takeover(self):
        """Each message of the client is compressed by itself."""
        return self.params.client_no_context_takeover

    @property
    def server_max_window_bits(self):
        """The server's matches reach back 2 to the power of this, bytes."""
        return self.params.server_max_window_bits

    @property
    def client_max_window_bits(self):
        """The client's matches reach back 2 to the power of this, bytes."""
        return self.params.client_max_window_bits

    def _values(self):
        return (self.params.server_no_context_takeover, self.params.client_no_context_takeover,
                self.params.server_max_window_bits, self.params.client_max_window_bits)

    def __eq__(self, other):
        return self._values() == (<Deflate>other)._values() if isinstance(other, Deflate) else NotImplemented

    def __hash__(self):
        return hash(self._values())

    def __repr__(self):
        return ("Deflate(server_no_context_takeover={}, client_no_context_takeover={}, server_max_window_bits={}, "
                "client_max_window_bits={})".format(*self._values()))


cdef Deflate agreed(const fc_ws_handshake *h):
    if not h.has_deflate:
        return None
    cdef Deflate deflate = Deflate.__new__(Deflate)
    deflate.params = h.deflate
    return deflate


@cython.final
cdef class Handshake:
    """What was agreed: `protocol` (str or None), `deflate` (Deflate or None), `headers` (a server's answer, with status
    101; empty at a client)."""

    cdef readonly list headers
    cdef readonly str protocol
    cdef readonly Deflate deflate

    def __init__(self):
        raise TypeError("a handshake comes from server_handshake or client_handshake")

    def __repr__(self):
        return f"<Handshake protocol={self.protocol!r} deflate={self.deflate!r}>"


class HandshakeError(Exception):
    """The handshake failed. `name` is short (bad_key ...); a server answers `status` with `headers`."""

    def __init__(self, message, *, name, status, headers):
        super().__init__(message)
        self.name = name
        self.status = status
        self.headers = headers


cdef object refused(fc_ws_refusal why):
    headers = []
    if why == FC_WS_NOT_GET:
        headers.append((b"Allow", b"GET"))
    elif why == FC_WS_NO_UPGRADE or why == FC_WS_BAD_VERSION:  # RFC 9110 15.5.22: 426 names what to upgrade to
        headers += [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Version", b"13")]
    return HandshakeError(fc_ws_refusal_text(why).decode(), name=fc_ws_refusal_name(why).decode(),
                          status=fc_ws_refusal_status(why), headers=headers)


cdef bytes octets(object text):
    """A field's name or value as bytes. Nothing outside Latin-1 can be in one (RFC 9110 5.5)."""
    if isinstance(text, str):
        return (<str>text).encode("latin-1")
    if isinstance(text, bytes):
        return text
    raise TypeError(f"names and values of fields are bytes or str, not {type(text).__name__}")


@cython.final
cdef class Slices:
    """Names of protocols as C sees them."""

    cdef list names
    cdef fc_slice *items
    cdef size_t length

    def __cinit__(self, names):
        if isinstance(names, (str, bytes)):
            raise TypeError("protocols is a sequence of names, not one name")
        self.names = [octets(name) for name in names]
        for name in self.names:
            if not fc_ws_token(<bytes>name, len(name)):
                raise ValueError(f"{name.decode('latin-1')!r} cannot be the name of a protocol")
        self.length = len(self.names)
        self.items = <fc_slice *>malloc((self.length or 1) * sizeof(fc_slice))
        if self.items == NULL:
            raise MemoryError
        for i in range(self.length):
            self.items[i].p = <bytes>self.names[i]
            self.items[i].n = len(self.names[i])

    def __dealloc__(self):
        free(self.items)


cdef list show(fc_ws_handshake *h, const fc_ws_handshake_options *options, object headers):
    """Show every field to h. What is returned keeps the bytes that h points into."""
    cdef bytes name, value
    kept = []
    fc_ws_handshake_init(h, options)
    for pair in headers:
        name, value = octets(pair[0]), octets(pair[1])
        kept.append((name, value))
        fc_ws_handshake_field(h, name, len(name), value, len(value))
    return kept


cdef Handshake finished(const fc_ws_handshake *h, list headers):
    cdef Handshake done = Handshake.__new__(Handshake)
    done.headers = headers
    done.protocol = h.protocol.p[:h.protocol.n].decode("ascii") if h.protocol.p != NULL else None
    done.deflate = agreed(h)
    return done


def accept_key(key):
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (bytes or str). ValueError when it is not 16 bytes in base64."""
    cdef bytes text = octets(key)
    cdef char[28] out  # FC_WS_ACCEPT_SIZE
    if not fc_ws_key_valid(text, len(text)):
        raise ValueError("the key is not 16 bytes in base64")
    fc_ws_accept(text, out)
    return out[:FC_WS_ACCEPT_SIZE]


def server_handshake(str method not None, headers, *, str http_version not None="1.1", protocols=(),
                     Deflate deflate=None):
    """Answer a client's request: a Handshake whose `headers` go out with status 101.

    protocols: names this server speaks; the first of the client's that is among them is chosen, none is no error.
    deflate: how far this server goes, None for no compression. Raises HandshakeError with what to answer instead.
    """
    cdef Slices names = Slices(protocols)
    cdef fc_ws_handshake_options options
    cdef fc_ws_handshake h
    cdef char[28] accept
    cdef char[160] text  # FC_WS_DEFLATE_TEXT_MAX
    options.protocols, options.protocols_len = names.items, names.length
    options.deflate = &deflate.params if deflate is not None else NULL
    options.accept = NULL
    options.any_client_bits = False
    kept = show(&h, &options, headers)
    if http_version not in ("1.0", "1.1"):
        raise ValueError(f"http_version is {http_version!r}; it is 1.0 or 1.1")
    cdef fc_ws_refusal why = fc_ws_server_verdict(&h, method == "GET", http_version == "1.1")
    if why != FC_WS_AGREED:
        raise refused(why)
    fc_ws_accept(h.key.p, accept)
    answer = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"),
              (b"Sec-WebSocket-Accept", accept[:FC_WS_ACCEPT_SIZE])]
    if h.protocol.p != NULL:
        answer.append((b"Sec-WebSocket-Protocol", h.protocol.p[:h.protocol.n]))
    if h.has_deflate:
        answer.append((b"Sec-WebSocket-Extensions", text[:fc_ws_deflate_answer(&h, text)]))
    return finished(&h, answer)


def client_key():
    """A new Sec-WebSocket-Key: 16 random bytes in base64."""
    cdef bytes nonce = os.urandom(16)
    cdef char[24] out  # FC_WS_KEY_SIZE
    fc_ws_key_write(<const uint8_t *><const char *>nonce, out)
    return out[:FC_WS_KEY_SIZE]


cdef bytes checked_key(object key):
    cdef bytes text = octets(key)
    if not fc_ws_key_valid(text, len(text)):
        raise ValueError("the key is not 16 bytes in base64")
    return text


def client_headers(key, *, protocols=(), Deflate deflate=None):
    """The fields of a client's request besides Host: for `key` from `client_key`, offering `protocols` in order of
    preference and `deflate` (the server may always bound the client's window)."""
    cdef Slices names = Slices(protocols)
    cdef fc_ws_handshake_options options
    cdef char[160] text
    fields = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Key", checked_key(key)),
              (b"Sec-WebSocket-Version", b"13")]
    if names.names:
        fields.append((b"Sec-WebSocket-Protocol", b", ".join(names.names)))
    if deflate is not None:
        options.deflate, options.any_client_bits = &deflate.params, True
        fields.append((b"Sec-WebSocket-Extensions", text[:fc_ws_deflate_offer(&options, text)]))
    return fields


def client_handshake(key, int status, headers, *, protocols=(), Deflate deflate=None):
    """What the server's answer agrees to, as a Handshake. The other arguments are those the request was made with.

    Raises HandshakeError: the answer is not 101, not for this key, or holds what was not offered.
    """
    cdef Slices names = Slices(protocols)
    cdef fc_ws_handshake_options options
    cdef fc_ws_handshake h
    cdef char[28] accept
    cdef bytes text = checked_key(key)
    fc_ws_accept(text, accept)
    options.protocols, options.protocols_len = names.items, names.length
    options.deflate = &deflate.params if deflate is not None else NULL
    options.accept = accept
    options.any_client_bits = True
    kept = show(&h, &options, headers)
    cdef fc_ws_refusal why = fc_ws_client_verdict(&h, status if 0 <= status <= 999 else 0)
    if why != FC_WS_AGREED:
        error = refused(why)
        error.headers = []
        raise error
    return finished(&h, [])
