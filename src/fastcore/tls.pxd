from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "fc/tls.h" nogil:
    enum:
        FC_TLS_WHY_MAX
        FC_TLS_SECRET_BYTES
    ctypedef struct fc_securer:
        pass
    ctypedef struct fc_tls:
        pass
    ctypedef enum fc_tls_verify:
        FC_TLS_VERIFY_NONE
        FC_TLS_VERIFY_OPTIONAL
        FC_TLS_VERIFY_REQUIRED
    ctypedef struct fc_tls_options:
        bint server, tls13_only
        const char *ciphers
        const char *alpn
        uint32_t alpn_len
        fc_tls_verify verify
        const char *authorities
        size_t authorities_len
        uint32_t depth
        const unsigned char *ticket_secret
        uint32_t ticket_hours
    ctypedef struct fc_tls_stats:
        uint64_t handshakes, resumed, failed
    ctypedef struct fc_tls_slot:
        fc_securer securer
        fc_tls *tls
        const char *name
    fc_tls *fc_tls_new(const fc_tls_options *options, char *why)
    int fc_tls_add_certificate(fc_tls *tls, const char *chain, size_t chain_len, const char *key, size_t key_len, char *why)
    int64_t fc_tls_certificate_end(const char *pem, size_t n)
    void fc_tls_unref(fc_tls *tls)
    void fc_tls_slot_init(fc_tls_slot *slot)
    void fc_tls_slot_set(fc_tls_slot *slot, fc_tls *tls)
    fc_tls_stats fc_tls_slot_stats(const fc_tls_slot *slot)


cdef class Context:
    cdef fc_tls_slot slot
    cdef bytes name
    cdef int put(self, fc_tls_options *options, object certificates, str ciphers, object alpn, bytes authorities,
                 bytes secret) except -1
