"""TLS 1.2 and 1.3 under the connections of a server or of an upstream, by OpenSSL.

    context = ServerContext([(chain, key)])      # PEM, as bytes
    proxy.listen(sock, tls=context)
    context.replace([(new_chain, new_key)])      # from now on; connections that stand keep theirs

The secure transport itself is C (cext/net/tls*.c): nothing here runs for a connection.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memset

__all__ = ["ClientContext", "Context", "ServerContext", "TlsError", "certificate_end"]

VERSIONS = ("1.2", "1.3")
CLIENT_CERTIFICATES = {
    "off": FC_TLS_VERIFY_NONE, "optional": FC_TLS_VERIFY_OPTIONAL, "required": FC_TLS_VERIFY_REQUIRED
}


class TlsError(ValueError):
    """A certificate, key or setting that cannot be used, and why."""


def certificate_end(bytes chain):
    """When the first certificate of a PEM text ends, in seconds since 1970. Raises TlsError."""
    cdef int64_t end = fc_tls_certificate_end(PyBytes_AS_STRING(chain), PyBytes_GET_SIZE(chain))
    if end < 0:
        raise TlsError("the certificate cannot be read")
    return end


cdef bytes _alpn(object protocols):
    names = [name.encode("ascii") for name in protocols]
    if any(not 0 < len(name) < 256 for name in names):
        raise TlsError("a protocol's name has 1 to 255 characters")
    return b"".join(bytes((len(name),)) + name for name in names)


cdef class Context:
    """What connections of one side have in common; made as ServerContext or ClientContext."""

    def __cinit__(self):
        fc_tls_slot_init(&self.slot)

    def __dealloc__(self):
        fc_tls_unref(self.slot.tls)

    cdef int put(self, fc_tls_options *options, object certificates, str ciphers, object alpn, bytes authorities,
                 bytes secret) except -1:
        cdef char why[FC_TLS_WHY_MAX]
        cdef bytes cipher_text = ciphers.encode("ascii") if ciphers is not None else b""
        cdef bytes protocols = _alpn(alpn), chain, key
        cdef fc_tls *tls
        if ciphers is not None:
            options.ciphers = PyBytes_AS_STRING(cipher_text)
        if protocols:
            options.alpn = PyBytes_AS_STRING(protocols)
            options.alpn_len = PyBytes_GET_SIZE(protocols)
        if authorities is not None:
            options.authorities = PyBytes_AS_STRING(authorities)
            options.authorities_len = PyBytes_GET_SIZE(authorities)
        if secret is not None:
            if PyBytes_GET_SIZE(secret) != FC_TLS_SECRET_BYTES:
                raise TlsError(f"a ticket secret has {FC_TLS_SECRET_BYTES} bytes")
            options.ticket_secret = <const unsigned char *>PyBytes_AS_STRING(secret)
        tls = fc_tls_new(options, why)
        if tls is NULL:
            raise TlsError(why.decode(errors="replace"))
        try:
            for number, (chain, key) in enumerate(certificates, 1):
                if fc_tls_add_certificate(tls, PyBytes_AS_STRING(chain), PyBytes_GET_SIZE(chain), PyBytes_AS_STRING(key),
                                          PyBytes_GET_SIZE(key), why) < 0:
                    raise TlsError(f"certificate {number}: {why.decode(errors='replace')}")
        except BaseException:
            fc_tls_unref(tls)
            raise
        fc_tls_slot_set(&self.slot, tls)
        return 0

    def stats(self):
        """Of this process: handshakes, those of them that resumed a session, and failed ones."""
        cdef fc_tls_stats s = fc_tls_slot_stats(&self.slot)
        return {"handshakes": s.handshakes, "resumed": s.resumed, "failed": s.failed}


@cython.final
cdef class ServerContext(Context):
    """A server's side.

    certificates: (chain, key) pairs in PEM, without password; the first is for clients that name no server, or one that no
    certificate is for. minimum: "1.2" or "1.3". ciphers: of TLS 1.2, in OpenSSL's form. alpn: protocols, the preferred first;
    a client that offers others only is refused. client_certificates: "off", "optional" or "required", signed by one of
    client_authorities (PEM). ticket_secret: 32 bytes; contexts with the same resume each other's sessions; their keys change
    every ticket_hours. Raises TlsError.
    """

    def __init__(self, certificates, *, minimum="1.2", ciphers=None, alpn=(), client_certificates="off",
                 client_authorities=None, depth=8, ticket_secret=None, ticket_hours=12):
        self.replace(certificates, minimum=minimum, ciphers=ciphers, alpn=alpn, client_certificates=client_certificates,
                     client_authorities=client_authorities, depth=depth, ticket_secret=ticket_secret,
                     ticket_hours=ticket_hours)

    def replace(self, certificates, *, minimum="1.2", ciphers=None, alpn=(), client_certificates="off",
                client_authorities=None, depth=8, ticket_secret=None, ticket_hours=12):
        """From now on. Connections that stand go on as they were. Raises TlsError, and then nothing has changed."""
        cdef fc_tls_options options
        certificates = list(certificates)
        if not certificates:
            raise TlsError("a server has a certificate")
        if minimum not in VERSIONS:
            raise TlsError(f"{minimum!r}: the least version is one of {', '.join(VERSIONS)}")
        if client_certificates not in CLIENT_CERTIFICATES:
            raise TlsError(f"{client_certificates!r}: client certificates are off, optional or required")
        if client_certificates != "off" and client_authorities is None:
            raise TlsError("client certificates need client_authorities: those of the system sign for anybody")
        memset(&options, 0, sizeof(options))
        options.server = True
        options.tls13_only = minimum == "1.3"
        options.verify = <fc_tls_verify><int>CLIENT_CERTIFICATES[client_certificates]
        options.depth = depth
        options.ticket_hours = ticket_hours
        self.put(&options, certificates, ciphers, alpn, client_authorities if options.verify else None, ticket_secret)


@cython.final
cdef class ClientContext(Context):
    """A client's side: towards upstreams.

    authorities: PEM; None: those the system trusts. verify: False accepts any certificate. name: what every peer must prove
    to be; None: the host each is configured by. certificate: (chain, key) to show. Raises TlsError.
    """

    def __init__(self, authorities=None, *, verify=True, name=None, certificate=None, minimum="1.2", ciphers=None, alpn=()):
        cdef fc_tls_options options
        if minimum not in VERSIONS:
            raise TlsError(f"{minimum!r}: the least version is one of {', '.join(VERSIONS)}")
        memset(&options, 0, sizeof(options))
        options.tls13_only = minimum == "1.3"
        options.verify = FC_TLS_VERIFY_REQUIRED if verify else FC_TLS_VERIFY_NONE
        self.put(&options, [certificate] if certificate is not None else [], ciphers, alpn, authorities, None)
        if name is not None:
            self.name = name.encode("ascii")
            self.slot.name = PyBytes_AS_STRING(self.name)
