# What fastcore.websocket sends: single frames, the encoder of a connection, messages prepared for many.

# Room for a whole Python object is the only bound on what we build.
cdef size_t FRAME_MAX = <size_t>1 << 48
# Scratch for compressed payloads that an encoder keeps; more goes back after each message.
cdef size_t PACKED_KEPT = 4096
cdef fc_mask_level LEVEL = fc_mask_best()
cdef fc_ws_keys KEYS
KEYS.left = 0


def _forget_keys():
    """The child of a fork draws keys of its own."""
    KEYS.left = 0


os.register_at_fork(after_in_child=_forget_keys)


@cython.final
cdef class Payload:
    """The bytes of a str or a bytes-like object, held while this object lives."""

    cdef Py_buffer view
    cdef object text
    cdef const char *p
    cdef size_t n

    def __cinit__(self, data):
        cdef Py_ssize_t n
        if type(data) is bytes:
            self.text = data
            self.p, self.n = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        elif isinstance(data, str):
            self.text = data
            self.p = PyUnicode_AsUTF8AndSize(data, &n)
            self.n = n
        else:
            PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)
            self.p, self.n = <const char *>self.view.buf, self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef int draw_key(uint32_t *key) except -1:
    cdef int rc = fc_ws_key_next(&KEYS, key)
    if rc < 0:
        raise OSError(-rc, os.strerror(-rc))
    return 0


cdef bytes frame(int byte0, const char *p, size_t n, const uint32_t *key):
    cdef bytes out = PyBytes_FromStringAndSize(NULL, fc_ws_head_size(n, key != NULL) + n)
    fc_ws_frame_write(PyBytes_AS_STRING(out), byte0, p, n, key, LEVEL)
    return out


cdef int check_control(int opcode, size_t n, bint fin) except -1:
    if n > FC_WS_CONTROL_MAX:
        raise misuse(f"a control frame of {n} bytes; there can be {FC_WS_CONTROL_MAX}", "control_too_long")
    if not fin:
        raise misuse("a control frame cannot be fragmented", "control_fragmented")
    return 0


def build_frame(int opcode, payload=b"", *, mask=None, bint fin=True, bint rsv1=False):
    """One frame as bytes. payload: str or bytes-like. mask: None or False for none (a server's), True for a random key
    (a client's), or the key, 4 bytes.

    LocalProtocolError (a ValueError): a reserved opcode, a control frame that is fragmented, compressed or over 125
    bytes.
    """
    cdef Payload data = None
    cdef const char *p
    cdef size_t n
    cdef uint32_t key = 0
    cdef bint masked = mask is not None and mask is not False
    if type(payload) is bytes:
        p, n = PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)
    else:
        data = Payload(payload)
        p, n = data.p, data.n
    if not 0 <= opcode <= FC_WS_PONG or FC_WS_BINARY < opcode < FC_WS_CLOSE:
        raise misuse(f"{opcode} is not an opcode", "bad_opcode")
    if opcode >= FC_WS_CLOSE:
        check_control(opcode, n, fin)
    if rsv1 and not FC_WS_TEXT <= opcode <= FC_WS_BINARY:
        raise misuse("RSV1 is for the first frame of a message", "bad_rsv")
    if mask is True:
        draw_key(&key)
    elif masked:
        key = key_of(mask)
    return frame(opcode | (FC_WS_FIN if fin else 0) | (FC_WS_RSV1 if rsv1 else 0), p, n, &key if masked else NULL)


cdef uint32_t key_of(object mask) except? 0:
    cdef uint32_t key
    cdef bytes four = bytes(mask) if isinstance(mask, (bytes, bytearray, memoryview)) else None
    if four is None:
        raise TypeError(f"a mask is True, None or 4 bytes, not {type(mask).__name__}")
    if len(four) != 4:
        raise ValueError(f"a mask has 4 bytes, not {len(four)}")
    (<char *>&key)[0], (<char *>&key)[1], (<char *>&key)[2], (<char *>&key)[3] = four[0], four[1], four[2], four[3]
    return key


cdef bytes close_payload(object code, object reason):
    """The payload of a Close frame. code None: empty."""
    cdef bytes text = reason.encode()
    if code is None:
        if text:
            raise misuse("a reason without a close code", "bad_close_code")
        return b""
    if not 0 <= code <= 65535 or not fc_ws_code_valid(code):
        raise misuse(f"{code!r} may not be sent as a close code", "bad_close_code")
    if len(text) > FC_WS_REASON_MAX:
        raise misuse(f"a reason of {len(text)} bytes; there can be {FC_WS_REASON_MAX}", "control_too_long")
    return (<int>code).to_bytes(2, "big") + text


def build_close(code=None, str reason not None="", *, mask=None):
    """A Close frame; without a code its payload is empty. mask as for build_frame.

    LocalProtocolError: a code that may not be on the wire (it is 1000-1003, 1007-1014 or 3000-4999), a reason over 123
    bytes of UTF-8, or a reason without a code.
    """
    return build_frame(FC_WS_CLOSE, close_payload(code, reason), mask=mask)


def apply_mask(data, mask, *, uint64_t offset=0):
    """`data` (bytes-like) masked or unmasked with the 4 bytes of `mask`, as bytes. offset: of data in its payload."""
    cdef Payload source = Payload(memoryview(data))
    cdef bytes out = PyBytes_FromStringAndSize(NULL, source.n)
    fc_mask(PyBytes_AS_STRING(out), source.p, source.n, fc_mask_turn(key_of(mask), offset), LEVEL)
    return out


cdef int check_levels(level, mem_level) except -1:
    if not 0 <= level <= 9:
        raise ValueError(f"level is {level!r}; it is 0 to 9")
    if not 1 <= mem_level <= 9:
        raise ValueError(f"mem_level is {mem_level!r}; it is 1 to 9")
    return 0


cdef fc_deflater *new_deflater(int bits, bint takeover, bint keep_memory, level, mem_level) except NULL:
    cdef fc_deflate_options options
    cdef fc_deflater *made
    check_levels(level, mem_level)
    options.bits, options.takeover, options.keep_memory = bits, takeover, keep_memory
    options.level, options.mem_level = level, mem_level
    made = fc_deflater_new(&options)
    if made == NULL:
        raise MemoryError
    return made


cdef class Encoder:
    """The frames of one direction of a connection.

    role: the side that sends: "server" or "client" (whose frames are masked, each with a new random key).
    deflate: what was negotiated; messages under compress_min_bytes are sent as they are, since zlib seldom makes them
    smaller. level 0-9 and mem_level 1-9 are zlib's (memory: see cext/include/fc/deflate.h). keep_memory: do not give
    zlib's memory back between messages when there is no context takeover.

    Whatever raises leaves the encoder as it was, except MemoryError, which closes it: what the peer's window holds is
    then unknown.
    """

    def __init__(self, str role not None="server", *, Negotiated deflate=None, compress_min_bytes=64, level=6,
                 mem_level=8, bint keep_memory=False):
        cdef fc_deflater *deflater = NULL
        if role not in ROLES[:2]:
            raise ValueError(f"role is {role!r}; it is server or client")
        if not 0 <= compress_min_bytes <= 2**62:
            raise ValueError(f"compress_min_bytes is {compress_min_bytes!r}")
        self.client = role == "client"
        if deflate is not None:
            deflater = new_deflater(
                deflate.params.client_max_window_bits if self.client else deflate.params.server_max_window_bits,
                not (deflate.params.client_no_context_takeover if self.client
                     else deflate.params.server_no_context_takeover), keep_memory, level, mem_level)
        fc_deflater_free(self.deflater)
        self.deflater = deflater
        self.deflate = deflate
        self.compress_min = compress_min_bytes
        self.open = 0
        self.closed = False
        fc_grow_reset(&self.packed, 0)
        fc_grow_init(&self.packed, FRAME_MAX)

    def __dealloc__(self):
        fc_deflater_free(self.deflater)
        fc_grow_reset(&self.packed, 0)

    cdef int check_send(self, bint first) except -1:
        if self.closed:
            raise misuse("nothing is sent after a Close frame", "closed")
        if first and self.open:
            raise misuse("the fragmented message before is not finished", "no_end")
        return 0

    cdef int pack(self, Outgoing *o, bint last) except -1:
        """Replace a fragment by its compressed form, in self.packed."""
        self.packed.len = 0
        if fc_deflater_run(self.deflater, o.p, o.n, last, &self.packed) != FC_DEFLATE_OK:
            self.closed = True
            raise MemoryError
        o.p, o.n = self.packed.p, self.packed.len
        return 0

    cdef object prepare(self, Outgoing *o, int opcode, object data, bint first, bint last, bint compress):
        """What o needs for a frame. Its pointer is good while the object that is returned lives."""
        cdef Payload payload = None
        cdef bint packed = self.open_packed
        cdef fc_utf8 state = 0
        self.check_send(first)
        if type(data) is bytes:
            o.p, o.n = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        else:
            payload = Payload(data)
            o.p, o.n = payload.p, payload.n
        if opcode == FC_WS_TEXT and first and last and not isinstance(data, str):
            if fc_utf8_check(&state, o.p, o.n) < o.n or not fc_utf8_complete(state):
                raise misuse("text is not UTF-8", "bad_text")
        if self.client:
            draw_key(&o.key)
        if first:
            packed = self.deflater != NULL and compress and (o.n >= self.compress_min or not last)
        o.byte0 = (opcode if first else FC_WS_CONTINUATION) | (FC_WS_FIN if last else 0)
        if packed:
            o.byte0 |= FC_WS_RSV1 if first else 0
            self.pack(o, last)
        self.open = 0 if last else opcode
        self.open_packed = packed and not last
        return data if payload is None else payload

    cdef bytes make_frame(self, int opcode, object data, bint first, bint last, bint compress):
        cdef Outgoing o
        cdef bytes made
        held = self.prepare(&o, opcode, data, first, last, compress)
        try:
            made = frame(o.byte0, o.p, o.n, &o.key if self.client else NULL)
        except MemoryError:
            self.closed = True
            raise
        if self.packed.cap > PACKED_KEPT:
            fc_grow_reset(&self.packed, 0)
        return made

    cdef int add_frame(self, fc_grow *out, int opcode, object data, bint first, bint last, bint compress) except -1:
        cdef Outgoing o
        held = self.prepare(&o, opcode, data, first, last, compress)
        if not fc_grow_room(out, fc_ws_head_size(o.n, self.client) + o.n):
            self.closed = True
            raise MemoryError
        out.len += fc_ws_frame_write(out.p + out.len, o.byte0, o.p, o.n, &o.key if self.client else NULL, LEVEL)
        return 0

    def text(self, data, *, bint compress=True):
        """A text message as one frame. data: str, or bytes-like holding UTF-8. compress False: not this one."""
        return self.make_frame(FC_WS_TEXT, data, True, True, compress)

    def binary(self, data, *, bint compress=True):
        """A binary message as one frame. data: bytes-like."""
        if isinstance(data, str):
            raise TypeError("a binary message is bytes-like, not str")
        return self.make_frame(FC_WS_BINARY, data, True, True, compress)

    def fragment(self, data, *, bint last, bint compress=True):
        """The next fragment of a message: of text when the first one is a str, else binary. What is sent first and goes
        on as bytes-like is not checked for UTF-8. Control frames may come between fragments, other messages not."""
        cdef bint first = self.open == 0
        if first:
            return self.make_frame(FC_WS_TEXT if isinstance(data, str) else FC_WS_BINARY, data, True, last, compress)
        return self.make_frame(self.open, data, False, last, compress)

    def batch(self, messages, *, bint compress=True):
        """Several messages one after the other as one bytes object: str as text, bytes-like as binary.

        If one of them raises, none was sent: the encoder forgets the context that the others had made.
        """
        cdef fc_grow out
        fc_grow_init(&out, FRAME_MAX)
        try:
            for data in messages:
                self.add_frame(&out, FC_WS_TEXT if isinstance(data, str) else FC_WS_BINARY, data, True, True, compress)
            return PyBytes_FromStringAndSize(out.p, out.len)
        except BaseException:
            if self.deflater != NULL and not self.open:
                fc_deflater_forget(self.deflater)
            raise
        finally:
            fc_grow_reset(&out, 0)

    def prepared(self, PreparedMessage message not None, *, bint compress=True):
        """A message that many connections get. At a server all with equal parameters share one bytes object.

        What was compressed elsewhere is not in this encoder's window, so its own next message starts afresh.
        """
        cdef bytes made
        if self.client:
            return self.make_frame(message.opcode, message.payload, True, True, compress)
        self.check_send(True)
        made = message.frame(self.deflate if compress else None)
        if self.deflater != NULL and PyBytes_AS_STRING(made)[0] & FC_WS_RSV1:
            fc_deflater_forget(self.deflater)
        return made

    cdef bytes control(self, int opcode, object data):
        cdef uint32_t key = 0
        cdef Payload payload = Payload(data)
        self.check_send(False)
        check_control(opcode, payload.n, True)
        if self.client:
            draw_key(&key)
        return frame(opcode | FC_WS_FIN, payload.p, payload.n, &key if self.client else NULL)

    def ping(self, data=b""):
        """A Ping frame of at most 125 bytes."""
        return self.control(FC_WS_PING, data)

    def pong(self, data=b""):
        """A Pong frame: the answer to a Ping, with its data."""
        return self.control(FC_WS_PONG, data)

    def close(self, code=None, str reason not None=""):
        """A Close frame, after which nothing is sent. Code and reason as for build_close."""
        made = self.control(FC_WS_CLOSE, close_payload(code, reason))
        self.closed = True
        return made


@cython.final
cdef class Compressor:
    """A deflater without context takeover, shared by all messages prepared with its parameters."""

    cdef fc_deflater *deflater

    def __cinit__(self, int bits, level, mem_level):
        self.deflater = new_deflater(bits, False, True, level, mem_level)

    def __dealloc__(self):
        fc_deflater_free(self.deflater)


# Some 270 KB each, kept because setting one up may cost ten times what a small message does (when malloc returns the
# memory to the kernel each time; 103 us against 10 were seen). A service uses one or two sets of parameters; who goes
# through many pays for setting up.
cdef dict COMPRESSORS = {}
cdef Py_ssize_t COMPRESSORS_MAX = 8


cdef Compressor shared_compressor(int bits, int level, int mem_level):
    cdef Compressor found = COMPRESSORS.get((bits, level, mem_level))
    if found is None:
        found = Compressor(bits, level, mem_level)
        if len(COMPRESSORS) >= COMPRESSORS_MAX:
            COMPRESSORS.clear()
        COMPRESSORS[bits, level, mem_level] = found
    return found


@cython.final
cdef class PreparedMessage:
    """A message for many connections: each form that is asked for is made once.

    data: str (text) or bytes-like (binary). The rest is as for Encoder.
    """

    cdef readonly bytes payload
    cdef readonly int opcode
    cdef dict frames            # window bits, or 0 for plain: frame
    cdef size_t compress_min
    cdef int level, mem_level

    def __init__(self, data, *, compress_min_bytes=64, int level=6, int mem_level=8):
        cdef Payload payload = Payload(data)
        check_levels(level, mem_level)
        self.opcode = FC_WS_TEXT if isinstance(data, str) else FC_WS_BINARY
        self.payload = PyBytes_FromStringAndSize(payload.p, payload.n)
        self.frames = {}
        self.compress_min = compress_min_bytes
        self.level = level
        self.mem_level = mem_level

    cpdef bytes frame(self, Negotiated deflate=None):
        """A server's frame with this message; compressed if `deflate` was negotiated, it is long enough, and that makes
        it smaller. It refers to no message before it, whatever was negotiated."""
        cdef int bits = 0
        cdef bytes made
        if deflate is not None and <size_t>PyBytes_GET_SIZE(self.payload) >= self.compress_min:
            bits = deflate.params.server_max_window_bits
        made = self.frames.get(bits)
        if made is None:
            if bits:
                made = self.compressed(bits)
            else:
                made = frame(self.opcode | FC_WS_FIN, self.payload, len(self.payload), NULL)
            self.frames[bits] = made
        return made

    cdef bytes compressed(self, int bits):
        cdef fc_grow out
        cdef Compressor shared = shared_compressor(bits, self.level, self.mem_level)
        cdef size_t n = PyBytes_GET_SIZE(self.payload)
        fc_grow_init(&out, FRAME_MAX)
        try:
            if fc_deflater_run(shared.deflater, self.payload, n, True, &out) != FC_DEFLATE_OK:
                COMPRESSORS.clear()  # its stream may be cut off
                raise MemoryError
            if out.len >= n:
                return self.frame()
            return frame(self.opcode | FC_WS_FIN | FC_WS_RSV1, out.p, out.len, NULL)
        finally:
            fc_grow_reset(&out, 0)
