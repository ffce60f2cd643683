# What a client reads.

cdef enum:
    TOKENS = 64         # for each look of the parser: 3 KB on the stack
    LIST_ROOM_MAX = 4096

cdef enum Codec:
    NONE = 0
    UTF8
    OTHER


cdef class Reader:
    """Parses replies of both versions of the protocol; a drop-in for hiredis.Reader.

    protocolError: called with a message, returns the exception `gets` raises when the peer breaks the protocol.
    replyError: called with the text of an error reply, returns the object that stands for it in the reply.
    encoding, errors: how strings become str (`errors` as for bytes.decode); without an encoding they stay bytes.
    notEnoughData: what `gets` returns while no complete reply is there.
    convertSetsToLists: sets as lists, like hiredis since 3.2. With False they are sets, and a set with an unhashable
    element (a map, another set) raises TypeError.

    max_string, max_line (bytes), max_elements (of an aggregate, pairs of a map), max_depth: limits; beyond them the
    peer breaks the protocol. TypeError if one of the callables is none, LookupError for an unknown encoding, ValueError
    for a limit out of range.
    """

    def __cinit__(self):
        fc_resp_init(&self.parser, &FC_RESP_LIMITS)
        self.maxbuf = MAXBUF

    def __init__(
        self,
        protocolError=ProtocolError,
        replyError=ReplyError,
        encoding=None,
        errors=None,
        notEnoughData=False,
        bint convertSetsToLists=True,
        *,
        max_string=512 << 20,
        max_line=65536,
        max_elements=2**32 - 1,
        max_depth=1024,
    ):
        cdef fc_resp_limits limits = FC_RESP_LIMITS
        self.check_idle()
        if not callable(protocolError) or not callable(replyError):
            raise TypeError("protocolError and replyError must be callable")
        for name, value, least, most in (
            ("max_string", max_string, 0, 2**62),
            ("max_line", max_line, 1, 2**31),
            ("max_elements", max_elements, 0, 2**60),
            ("max_depth", max_depth, 0, 2**20),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} must be from {least} to {most}, not {value!r}")
        self.choose(encoding, errors)
        limits.blob_max = max_string
        limits.line_max = max_line
        limits.elements_max = max_elements
        limits.depth_max = max_depth
        drop_reply(self)
        input_forget(&self.input)
        fc_resp_free(&self.parser)
        fc_resp_init(&self.parser, &limits)
        self.protocol_error = protocolError
        self.reply_error = replyError
        self.not_enough = notEnoughData
        self.sets_to_lists = convertSetsToLists

    def __dealloc__(self):
        drop_reply(self)
        free(self.frames)
        input_free(&self.input)
        fc_resp_free(&self.parser)

    cdef int check_idle(self) except -1:
        if self.busy:
            raise RuntimeError("the reader is in use by the callable it called, or by another thread")
        return 0

    # --- in ---------------------------------------------------------------------------------------------------------
    def feed(self, data, Py_ssize_t offset=0, Py_ssize_t length=-1, /):
        """Add data[offset:offset + length] (bytes-like or str); up to the end without a length.

        After a protocol error nothing is taken any more. ValueError when that is not inside the data.
        """
        cdef Py_buffer view
        if PyBytes_CheckExact(data):
            check_range(PyBytes_GET_SIZE(data), offset, &length)
            self.check_idle()
            if (<size_t>length >= KEEP_MIN and self.input.pos == self.input.end
                    and not self.parser.error):
                input_forget(&self.input)
                Py_INCREF(data)
                self.input.held = <PyObject *>data
                self.input.data = PyBytes_AS_STRING(data)
                self.input.pos = offset
                self.input.end = offset + length
            else:
                self.push(PyBytes_AS_STRING(data) + offset, length)
            return
        if PyByteArray_CheckExact(data):
            check_range(PyByteArray_GET_SIZE(data), offset, &length)
            self.push(PyByteArray_AS_STRING(data) + offset, length)
            return
        if isinstance(data, str):
            data = (<str>data).encode()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            check_range(view.len, offset, &length)
            self.push(<const char *>view.buf + offset, length)
        finally:
            PyBuffer_Release(&view)

    cdef int push(self, const char *p, size_t n) except -1:
        self.check_idle()
        if n and not self.parser.error:
            input_append(&self.input, p, n, self.maxbuf)
        return 0

    # --- out --------------------------------------------------------------------------------------------------------
    def gets(self, bint should_decode=True, /):
        """The next reply, or `notEnoughData`. With should_decode=False strings of this reply stay bytes.

        Raises what protocolError made, again and again once the peer has broken the protocol. An exception of
        replyError, of decoding, or a TypeError for an unhashable key of a map comes when the reply is complete, which
        is then consumed: the next call gets the next reply.
        """
        return self.reply(should_decode)

    cdef object reply(self, bint decode):
        cdef fc_resp_token[TOKENS] tokens
        cdef fc_resp_status status = FC_RESP_FULL
        cdef size_t used, count, i
        cdef object result
        self.check_idle()
        self.busy = True
        self.decode = decode and self.codec != NONE
        if not fc_resp_inside(&self.parser):
            self.attributes = None
        while status == FC_RESP_FULL:
            status = fc_resp_read(&self.parser, self.input.data + self.input.pos, self.input.end - self.input.pos,
                                  &used, tokens, TOKENS, &count)
            i = take_strings(self, tokens, count)
            while i < count:
                if take_token(self, &tokens[i]) < 0:
                    self.parser.error = FC_RESP_NO_MEMORY
                    status = FC_RESP_FAILED
                    break
                i += 1
                i += take_strings(self, tokens + i, count - i)
            self.input.pos += used
        if self.input.pos == self.input.end:
            input_forget(&self.input)
        self.busy = False
        if status == FC_RESP_DONE:
            result = <object>self.result
            Py_CLEAR(self.result)
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            return result
        if status == FC_RESP_FAILED:
            self.refuse()
        return self.not_enough

    cdef int refuse(self) except -1:
        """Raise what the protocol error becomes, and forget everything."""
        drop_reply(self)
        input_free(&self.input)
        if self.parser.error == FC_RESP_NO_MEMORY:
            raise MemoryError
        message = fc_resp_error_text(<fc_resp_error>self.parser.error).decode()
        raise self.protocol_error(f"Protocol error: {message} (byte {self.parser.error_at})")

    def has_data(self):
        """Is there anything that gets() has not returned: bytes, or the beginning of a reply."""
        return self.input.end > self.input.pos or fc_resp_inside(&self.parser)

    def len(self):
        """Bytes that are not parsed yet."""
        return self.input.end - self.input.pos

    # --- settings ---------------------------------------------------------------------------------------------------
    def setmaxbuf(self, maxbuf, /):
        """How many bytes of buffer to keep while it is empty; 0: all, None: the default of 16,384."""
        if maxbuf is None:
            maxbuf = MAXBUF
        if not 0 <= maxbuf < 2**63:
            raise ValueError("maxbuf value out of range")
        self.maxbuf = maxbuf

    def getmaxbuf(self):
        return self.maxbuf

    def set_encoding(self, encoding=None, errors=None):
        """As the arguments of the constructor, from the next string on."""
        self.check_idle()
        self.choose(encoding, errors)

    cdef int choose(self, encoding, errors) except -1:
        cdef str name
        if errors is not None:
            codecs.lookup_error(errors)
        if encoding is None:
            self.codec = NONE
            self.encoding = None
        else:
            name = codecs.lookup(encoding).name
            self.codec = UTF8 if name == "utf-8" else OTHER
            self.encoding = name.encode()
        self.errors = None if errors is None else errors.encode()
        self.errors_text = NULL if errors is None else PyBytes_AS_STRING(self.errors)
        return 0
