# The C parser for other compiled modules, and the head object they may look into.
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n
    ctypedef struct fc_span:
        uint32_t off
        uint32_t len

cdef extern from "fc/http1.h" nogil:
    const uint32_t FC_HTTP1_LENIENT_BARE_LF
    const uint32_t FC_HTTP1_LENIENT_OBS_FOLD
    const uint32_t FC_HTTP1_LENIENT_SPACE_BEFORE_COLON
    const uint32_t FC_HTTP1_LENIENT_TARGET_BYTES
    const uint32_t FC_HTTP1_LENIENT_REPEATED_LENGTH
    const uint32_t FC_HTTP1_LENIENT_MISSING_HOST
    const uint32_t FC_HTTP1_LENIENT_NO_REASON_SPACE
    const int FC_HTTP1_PARTIAL
    const int FC_HTTP1_ERROR

    ctypedef enum fc_http1_error:
        FC_HTTP1_OK
        FC_HTTP1_BAD_CHUNK
        FC_HTTP1_BAD_EXPECT

    const char *fc_http1_error_text(fc_http1_error error)
    int fc_http1_error_status(fc_http1_error error)

    ctypedef enum fc_http_method:
        FC_METHOD_OTHER
        FC_METHOD_GET
        FC_METHOD_HEAD
        FC_METHOD_CONNECT
        FC_METHOD_COUNT

    ctypedef enum fc_http_field:
        FC_FIELD_OTHER

    fc_http_field fc_http_field_id(const char *name, size_t len)
    fc_http_method fc_http_method_id(const char *name, size_t len)
    const char *fc_http_method_name(fc_http_method method)

    ctypedef struct fc_http1_field:
        fc_span name
        fc_span value
        uint32_t id

    ctypedef enum fc_http1_framing:
        FC_BODY_NONE
        FC_BODY_LENGTH
        FC_BODY_CHUNKED
        FC_BODY_CLOSE

    ctypedef enum fc_http1_target:
        FC_TARGET_ORIGIN
        FC_TARGET_ABSOLUTE
        FC_TARGET_AUTHORITY
        FC_TARGET_ASTERISK

    ctypedef struct fc_http1_limits:
        uint32_t flags
        uint32_t head_bytes_max
        uint32_t target_bytes_max

    ctypedef struct fc_http1_head:
        fc_http1_field *fields
        uint32_t fields_max
        uint32_t fields_len
        fc_span method
        fc_span target
        fc_span path
        fc_span query
        fc_span authority
        fc_span reason
        uint64_t content_length
        uint16_t status
        uint8_t method_id
        uint8_t target_form
        uint8_t minor
        uint8_t framing
        bint has_query
        bint has_length
        bint keep_alive
        bint expect_continue
        bint te_trailers
        bint has_upgrade
        bint connection_names
        uint8_t error
        uint32_t error_at

    int fc_http1_parse_request(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                               fc_http1_head *head)
    int fc_http1_parse_response(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                                fc_http_method request_method, fc_http1_head *head)
    int fc_http1_parse_trailers(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                                fc_http1_head *head)
    bint fc_http_list_has(const char *value, size_t len, const char *token, size_t token_len)

cdef extern from "fc/chunked.h" nogil:
    ctypedef struct fc_chunked:
        uint64_t left
        uint32_t ext_bytes
        uint32_t ext_max
        uint8_t state
        uint8_t digits

    ctypedef enum fc_chunk:
        FC_CHUNK_ERROR
        FC_CHUNK_MORE
        FC_CHUNK_DATA
        FC_CHUNK_LAST

    const uint32_t FC_CHUNK_EXT_MAX
    const size_t FC_CHUNK_HEAD_MAX

    void fc_chunked_init(fc_chunked *d, uint32_t ext_max)
    fc_chunk fc_chunked_next(fc_chunked *d, const char *p, size_t n, size_t *used, fc_slice *data)
    size_t fc_chunk_head(char *out, uint64_t n)


@cython.final
cdef class Headers:
    cdef bytes buffer              # the head the spans point into
    cdef const char *text
    cdef fc_http1_field *fields
    cdef Py_ssize_t count

    cdef Py_ssize_t find(self, bytes name, Py_ssize_t begin)


cdef class Message:
    cdef fc_http1_head head        # its spans are valid for headers.text; head.fields is headers.fields
    cdef readonly Headers headers
    cdef readonly int head_bytes

    cdef bytes part(self, fc_span span)


@cython.final
cdef class Request(Message):
    pass


@cython.final
cdef class Response(Message):
    pass
