from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n
    ctypedef struct fc_span:
        uint32_t off
        uint32_t len


cdef extern from "fc/resp.h" nogil:
    ctypedef enum fc_resp_error:
        FC_RESP_OK
        FC_RESP_NO_MEMORY
    const char *fc_resp_error_text(fc_resp_error error)

    enum:
        FC_RESP_SIMPLE
        FC_RESP_ERROR
        FC_RESP_INTEGER
        FC_RESP_BLOB
        FC_RESP_NULL
        FC_RESP_DOUBLE
        FC_RESP_BOOLEAN
        FC_RESP_BIG_NUMBER
        FC_RESP_BLOB_ERROR
        FC_RESP_VERBATIM
        FC_RESP_ARRAY
        FC_RESP_MAP
        FC_RESP_SET
        FC_RESP_PUSH
        FC_RESP_ATTRIBUTE
        FC_RESP_PART
        FC_RESP_END

    ctypedef struct fc_resp_token:
        uint8_t type
        bint streamed
        uint32_t closes
        int64_t integer
        double real
        uint64_t count
        fc_slice text

    ctypedef struct fc_resp_limits:
        uint64_t blob_max
        uint64_t elements_max
        uint32_t line_max
        uint32_t depth_max
        uint64_t parts_min
    const fc_resp_limits FC_RESP_LIMITS

    ctypedef enum fc_resp_status:
        FC_RESP_FAILED
        FC_RESP_MORE
        FC_RESP_DONE
        FC_RESP_FULL

    ctypedef struct fc_resp_parser:
        uint64_t offset
        size_t need
        uint64_t error_at
        uint8_t error

    void fc_resp_init(fc_resp_parser *r, const fc_resp_limits *limits)
    void fc_resp_free(fc_resp_parser *r)
    bint fc_resp_inside(const fc_resp_parser *r)
    fc_resp_status fc_resp_read(fc_resp_parser *r, const char *p, size_t n, size_t *used, fc_resp_token *tokens,
                                size_t room, size_t *count)

    ctypedef struct fc_resp_request_limits:
        uint32_t args_max
        uint32_t bulk_max
        uint32_t bytes_max
        uint32_t inline_max
    const fc_resp_request_limits FC_RESP_REQUEST_LIMITS

    ctypedef struct fc_resp_request:
        fc_resp_request_limits limits
        const char *base
        fc_span *args
        uint32_t argc
        size_t need
        size_t error_at
        uint8_t error

    void fc_resp_request_init(fc_resp_request *request, const fc_resp_request_limits *limits)
    void fc_resp_request_free(fc_resp_request *request)
    int64_t fc_resp_request_parse(fc_resp_request *request, const char *p, size_t n)
    bint fc_resp_request_inside(const fc_resp_request *request)

    ctypedef struct fc_resp_out:
        char *p
        size_t n
        uint8_t protocol
        bint failed

    fc_resp_out fc_resp_out_growing(size_t max, uint8_t protocol)
    void fc_resp_out_free(fc_resp_out *out)
    void fc_resp_put_simple(fc_resp_out *out, const char *p, size_t n)
    void fc_resp_put_error(fc_resp_out *out, const char *p, size_t n)
    void fc_resp_put_blob_error(fc_resp_out *out, const char *p, size_t n)
    void fc_resp_put_integer(fc_resp_out *out, int64_t v)
    void fc_resp_put_blob(fc_resp_out *out, const char *p, size_t n)
    void fc_resp_put_null(fc_resp_out *out)
    void fc_resp_put_null_array(fc_resp_out *out)
    void fc_resp_put_double(fc_resp_out *out, double v)
    void fc_resp_put_boolean(fc_resp_out *out, bint v)
    void fc_resp_put_big_number(fc_resp_out *out, const char *digits, size_t n)
    void fc_resp_put_verbatim(fc_resp_out *out, const char *format, const char *p, size_t n)
    void fc_resp_put_aggregate(fc_resp_out *out, char type, uint64_t count)
    void fc_resp_put_stream(fc_resp_out *out, char type)
    void fc_resp_put_end(fc_resp_out *out, char type)

    ctypedef struct fc_resp_arg:
        const char *p
        size_t n
        char *digits
    size_t fc_resp_command_size(const fc_resp_arg *args, size_t argc)
    char *fc_resp_command_write(char *out, const fc_resp_arg *args, size_t argc)
    size_t fc_resp_format_integer(char *out, int64_t v)


# Bytes received and not parsed yet: in memory of its own, or in a bytes object that was fed and is kept.
cdef struct Input:
    char *own
    size_t room
    const char *data     # own, or the contents of held
    size_t pos
    size_t end
    PyObject *held


# An aggregate that is being read.
cdef struct Frame:
    PyObject *container
    PyObject *key        # of a map, waiting for its value
    uint8_t type


cdef class Reader:
    cdef fc_resp_parser parser
    cdef Input input
    cdef Frame *frames
    cdef uint32_t depth
    cdef uint32_t room
    cdef PyObject *result          # the complete reply
    cdef PyObject *blob            # a bytes object that is being filled
    cdef size_t blob_used
    cdef uint8_t blob_type
    cdef uint8_t codec
    cdef bint decode               # for the reply in progress
    cdef bint busy
    cdef bint sets_to_lists
    cdef size_t maxbuf
    cdef object error              # the first that came up in the reply in progress
    cdef object protocol_error
    cdef object reply_error
    cdef object not_enough
    cdef bytes encoding
    cdef bytes errors
    cdef const char *errors_text
    cdef readonly dict attributes

    # Feed without a Python object: p[0..n) is copied.
    cdef int push(self, const char *p, size_t n) except -1
    # What gets() returns.
    cdef object reply(self, bint decode)

    cdef int refuse(self) except -1
    cdef int choose(self, encoding, errors) except -1
    cdef int check_idle(self) except -1


cdef class RequestReader:
    cdef fc_resp_request request
    cdef Input input

    # One look at p[0..n), which begins with the first byte of a request. Its length, and its arguments in self.request
    # until the next look; 0: more is needed. Raises ProtocolError. For who keeps the bytes, instead of feed().
    cdef int64_t look(self, const char *p, size_t n) except -1

    cdef Py_ssize_t split(self, const char *p, size_t n, list commands) except -1
    cdef object failure(self, list commands)
