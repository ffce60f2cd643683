# The opening handshake of WebSocket for other compiled modules (cext/include/fc/ws_handshake.h).
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t

cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n

cdef extern from "fc/deflate.h" nogil:
    ctypedef struct fc_deflate_params:
        bint server_no_context_takeover
        bint client_no_context_takeover
        uint8_t server_max_window_bits
        uint8_t client_max_window_bits

cdef extern from "fc/ws_handshake.h" nogil:
    enum:
        FC_WS_KEY_SIZE
        FC_WS_ACCEPT_SIZE
        FC_WS_DEFLATE_TEXT_MAX
    ctypedef enum fc_ws_refusal:
        FC_WS_AGREED
        FC_WS_NOT_GET
        FC_WS_OLD_HTTP
        FC_WS_NO_UPGRADE
        FC_WS_BAD_VERSION
    ctypedef struct fc_ws_handshake_options:
        const fc_slice *protocols
        size_t protocols_len
        const fc_deflate_params *deflate
        const char *accept
        bint any_client_bits
    ctypedef struct fc_ws_handshake:
        fc_slice key
        fc_slice protocol
        fc_deflate_params deflate
        bint has_deflate
    const char *fc_ws_refusal_name(fc_ws_refusal why)
    const char *fc_ws_refusal_text(fc_ws_refusal why)
    uint16_t fc_ws_refusal_status(fc_ws_refusal why)
    void fc_ws_handshake_init(fc_ws_handshake *h, const fc_ws_handshake_options *options)
    void fc_ws_handshake_field(fc_ws_handshake *h, const char *name, size_t name_len, const char *value, size_t n)
    fc_ws_refusal fc_ws_server_verdict(const fc_ws_handshake *h, bint is_get, unsigned int minor)
    fc_ws_refusal fc_ws_client_verdict(const fc_ws_handshake *h, unsigned int status)
    bint fc_ws_key_valid(const char *key, size_t n)
    void fc_ws_accept(const char *key, char *out)
    void fc_ws_key_write(const uint8_t *nonce, char *out)
    size_t fc_ws_deflate_answer(const fc_ws_handshake *h, char *out)
    size_t fc_ws_deflate_offer(const fc_ws_handshake_options *options, char *out)
    bint fc_ws_token(const char *p, size_t n)


cdef class Deflate:
    cdef fc_deflate_params params
