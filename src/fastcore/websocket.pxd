# WebSocket frames for other compiled modules: the C parser, and classes to subclass.
#
# A Cython subclass of FrameParser overrides on_message and on_control and calls feed_in_place with its own buffer: no
# Python object is made, payloads are unmasked where they lie.
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastcore.wshandshake cimport Deflate as Negotiated, fc_deflate_params

cdef extern from "fc/mask.h" nogil:
    ctypedef enum fc_mask_level:
        FC_MASK_PLAIN
    fc_mask_level fc_mask_best()
    void fc_mask(char *dst, const char *src, size_t n, uint32_t key, fc_mask_level level)
    uint32_t fc_mask_turn(uint32_t key, uint64_t n)

cdef extern from "fc/utf8.h" nogil:
    ctypedef uint8_t fc_utf8
    bint fc_utf8_complete(fc_utf8 state)
    size_t fc_utf8_check(fc_utf8 *state, const char *p, size_t n)
    size_t fc_utf8_ascii(const char *p, size_t n)
    size_t fc_utf8_cut(const char *p, size_t n)

cdef extern from "fc/grow.h" nogil:
    ctypedef struct fc_grow:
        char *p
        size_t len
        size_t cap
        size_t max
    void fc_grow_init(fc_grow *g, size_t max)
    bint fc_grow_room(fc_grow *g, size_t n)
    bint fc_grow_add(fc_grow *g, const char *p, size_t n)
    void fc_grow_reset(fc_grow *g, size_t keep)

cdef extern from "fc/deflate.h" nogil:
    ctypedef enum fc_deflate_answer:
        FC_DEFLATE_OK
        FC_DEFLATE_NOMEM
    ctypedef struct fc_deflate_options:
        uint8_t bits
        uint8_t mem_level
        int8_t level
        bint takeover
        bint keep_memory
    ctypedef struct fc_deflater:
        pass
    fc_deflater *fc_deflater_new(const fc_deflate_options *options)
    void fc_deflater_free(fc_deflater *z)
    fc_deflate_answer fc_deflater_run(fc_deflater *z, const char *p, size_t n, bint last, fc_grow *out)
    void fc_deflater_forget(fc_deflater *z)

cdef extern from "fc/websocket.h" nogil:
    enum:
        FC_WS_FIN
        FC_WS_RSV1
        FC_WS_CONTROL_MAX
        FC_WS_REASON_MAX
        FC_WS_NO_CODE
    ctypedef enum fc_ws_opcode:
        FC_WS_CONTINUATION
        FC_WS_TEXT
        FC_WS_BINARY
        FC_WS_CLOSE
        FC_WS_PING
        FC_WS_PONG
    ctypedef enum fc_ws_error:
        FC_WS_OK
        FC_WS_NO_MEMORY
    const char *fc_ws_error_name(fc_ws_error error)
    const char *fc_ws_error_text(fc_ws_error error)
    uint16_t fc_ws_error_code(fc_ws_error error)
    ctypedef enum fc_ws_masking:
        FC_WS_MASK_REQUIRED
        FC_WS_MASK_FORBIDDEN
        FC_WS_MASK_EITHER
    ctypedef struct fc_ws_options:
        fc_ws_masking masking
        bint deflate
        uint64_t frame_max
        uint64_t message_max
    ctypedef struct fc_ws_parser:
        uint64_t at
        uint64_t error_at
        uint8_t error
        uint8_t level
    ctypedef enum fc_ws_answer:
        FC_WS_ERROR
        FC_WS_MORE
        FC_WS_DATA
        FC_WS_CONTROL
    ctypedef struct fc_ws_event:
        const char *p
        size_t n
        uint64_t at
        uint64_t frame_at
        uint32_t key
        uint16_t code
        uint8_t opcode
        bint first
        bint last
        bint frame_last
        bint compressed
    fc_ws_answer fc_ws_next(fc_ws_parser *w, const char *p, size_t n, size_t *used, fc_ws_event *ev)
    bint fc_ws_take(fc_ws_parser *w, const fc_ws_event *ev, char *dst)
    fc_ws_answer fc_ws_fail(fc_ws_parser *w, fc_ws_error error, uint64_t at)
    bint fc_ws_closed(const fc_ws_parser *w)
    bint fc_ws_between(const fc_ws_parser *w)
    bint fc_ws_code_valid(unsigned int code)
    size_t fc_ws_head_size(uint64_t n, bint masked)
    size_t fc_ws_frame_write(char *out, uint8_t byte0, const char *p, size_t n, const uint32_t *mask,
                             fc_mask_level level)
    ctypedef struct fc_ws_keys:
        uint32_t left
    int fc_ws_key_next(fc_ws_keys *keys, uint32_t *key)

cdef extern from "fc/ws_reader.h" nogil:
    ctypedef struct fc_ws_reader:
        fc_ws_parser parser
        fc_grow text
    void fc_ws_reader_init(fc_ws_reader *r, const fc_ws_options *options, const fc_deflate_params *deflate,
                           uint32_t keep_max)
    void fc_ws_reader_free(fc_ws_reader *r)
    fc_ws_answer fc_ws_read(fc_ws_reader *r, char *p, size_t n, size_t *used, fc_ws_event *ev)
    bint fc_ws_gather(fc_ws_reader *r, const fc_ws_event *ev)
    void fc_ws_reader_clear(fc_ws_reader *r)


@cython.freelist(64)
cdef class Message:
    cdef object payload             # str or bytes, as the parser was asked for
    cdef readonly bint first, last, frame_last


@cython.final
cdef class Text(Message):
    pass


@cython.final
cdef class Binary(Message):
    pass


cdef class FrameParser:
    cdef fc_ws_reader reader
    cdef bint assemble, decode, busy
    cdef bytes carry                # the beginning of a character whose rest is in the next piece

    # Events in p[0..n), which is not written to.
    cdef list feed_bytes(self, const char *p, size_t n)
    # Call the hooks for what is in p[0..n); payloads are unmasked there. Returns 0.
    cdef int feed_in_place(self, char *p, size_t n) except -1
    # To override. p[0..n) is valid during the call. A message is FC_WS_TEXT or FC_WS_BINARY; unless it is assembled, it
    # comes in pieces. code is that of a Close frame.
    cdef int on_message(self, int opcode, bint first, bint last, const char *p, size_t n) except -1
    cdef int on_control(self, int opcode, int code, const char *p, size_t n) except -1

    cdef int check_idle(self) except -1
    cdef object payload_of(self, const fc_ws_event *ev)
    cdef object take_str(self, const fc_ws_event *ev)
    cdef object take_part(self, const fc_ws_event *ev)
    cdef str decoded(self, const char *p, size_t n, bint first, bint last)
    cdef object failure(self, list events)


cdef struct Outgoing:
    const char *p
    size_t n
    uint32_t key
    int byte0


cdef class Encoder:
    cdef fc_deflater *deflater      # NULL: not negotiated
    cdef fc_grow packed             # scratch: one compressed payload
    cdef Negotiated deflate
    cdef size_t compress_min
    cdef bint client, closed
    cdef int open                   # opcode of the message whose fragments are being sent, or 0
    cdef bint open_packed           # it is compressed

    # Append a frame to out; data is str or bytes-like. Raises as the methods below do.
    cdef int add_frame(self, fc_grow *out, int opcode, object data, bint first, bint last, bint compress) except -1

    cdef int check_send(self, bint first) except -1
    cdef int pack(self, Outgoing *o, bint last) except -1
    cdef object prepare(self, Outgoing *o, int opcode, object data, bint first, bint last, bint compress)
    cdef bytes make_frame(self, int opcode, object data, bint first, bint last, bint compress)
    cdef bytes control(self, int opcode, object data)
