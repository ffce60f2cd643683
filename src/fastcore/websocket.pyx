"""WebSocket without sockets: bytes in, events out; messages in, bytes out (RFC 6455, RFC 7692).

`FrameParser.feed` follows one direction of a connection, `Encoder` makes the other, `build_frame` makes a single frame.
`server_handshake` and `client_handshake` open a connection, and say what both go on with. The rules are those of
cext/include/fc/websocket.h: every one of the two RFCs that can be seen in the bytes.

What came from the peer and broke a rule is a RemoteProtocolError with the close code to send; what this side may not
send is a LocalProtocolError.
"""

import enum
import os

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8

from fastcore.wshandshake import (
    Deflate,
    Handshake,
    HandshakeError,
    accept_key,
    client_handshake,
    client_headers,
    client_key,
    server_handshake,
)

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

__all__ = [
    "Binary",
    "Close",
    "Deflate",
    "Encoder",
    "Event",
    "FrameParser",
    "Handshake",
    "HandshakeError",
    "LocalProtocolError",
    "Message",
    "Opcode",
    "Ping",
    "Pong",
    "PreparedMessage",
    "ProtocolError",
    "RemoteProtocolError",
    "Text",
    "accept_key",
    "apply_mask",
    "build_close",
    "build_frame",
    "client_handshake",
    "client_headers",
    "client_key",
    "server_handshake",
]


include "websocket_events.pxi"
include "websocket_build.pxi"

cdef tuple ROLES = ("server", "client", "either")


cdef class FrameParser:
    """Events from the bytes of one direction of a connection.

    role: the side this parser is on: "server" (frames must be masked), "client" (must not), or "either".
    max_message_bytes bounds a message, expanded if it was compressed, and the memory of this parser; max_frame_bytes a
    frame as sent (None: the same). Over them is 1009.
    deflate: what was negotiated. assemble: whole messages; else pieces as they arrive, with memory for none of them.
    decode_text: Text holds str, else bytes; either way it was checked. keep_bytes: memory kept between messages.
    """

    def __init__(self, str role not None="server", *, max_message_bytes=1048576, max_frame_bytes=None,
                 Negotiated deflate=None, bint assemble=True, bint decode_text=True, keep_bytes=4096):
        cdef fc_ws_options options
        if role not in ROLES:
            raise ValueError(f"role is {role!r}; it is server, client or either")
        if max_frame_bytes is None:
            max_frame_bytes = max_message_bytes
        for name, value, most in (("max_message_bytes", max_message_bytes, 2**62), ("keep_bytes", keep_bytes, 2**30),
                                  ("max_frame_bytes", max_frame_bytes, 2**62)):
            if not 0 <= value <= most:
                raise ValueError(f"{name} is {value!r}; it is 0 to {most}")
        self.check_idle()
        options.masking = <fc_ws_masking><int>ROLES.index(role)
        options.message_max = max_message_bytes
        options.frame_max = max_frame_bytes
        self.assemble = assemble
        self.decode = decode_text
        self.carry = b""
        fc_ws_reader_free(&self.reader)
        fc_ws_reader_init(&self.reader, &options, &deflate.params if deflate is not None else NULL, keep_bytes)

    def __dealloc__(self):
        fc_ws_reader_free(&self.reader)

    cdef int check_idle(self) except -1:
        if self.busy:
            raise RuntimeError("the parser is fed from inside one of its own hooks")
        return 0

    def feed(self, data):
        """Events in `data` (bytes-like, not changed), after what came before.

        Raises RemoteProtocolError, with the events before the error in its `events`, and again each time it is fed
        after that. What follows a Close frame is dropped.
        """
        cdef Py_buffer view
        self.check_idle()
        if type(data) is bytes:
            return self.feed_bytes(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.feed_bytes(<const char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef list feed_bytes(self, const char *p, size_t n):
        cdef list events = []
        cdef fc_ws_parser *parser = &self.reader.parser
        cdef fc_ws_answer answer
        cdef fc_ws_event ev
        cdef size_t used
        cdef object payload
        while True:
            answer = fc_ws_next(parser, p, n, &used, &ev)
            p += used
            n -= used
            if answer == FC_WS_DATA:
                try:
                    payload = self.payload_of(&ev)
                except MemoryError:
                    fc_ws_fail(parser, FC_WS_NO_MEMORY, ev.at)
                    raise
                # Inflating may have nothing to show yet.
                if payload is not None and (payload or ev.first or ev.frame_last):
                    ev.first |= self.assemble
                    events.append(message_event(&ev, payload))
            elif answer == FC_WS_CONTROL:
                events.append(control_event(&ev))
            elif answer == FC_WS_MORE:
                return events
            if parser.error:
                raise self.failure(events)

    cdef object payload_of(self, const fc_ws_event *ev):
        """str or bytes for the piece, or None: it is not to be told yet, or the parser has failed."""
        cdef bint whole = ev.first and ev.last
        cdef object payload
        if not ev.compressed and (whole or not self.assemble):
            if ev.opcode == FC_WS_TEXT and self.decode:
                return self.take_str(ev) if whole else self.take_part(ev)
            payload = PyBytes_FromStringAndSize(NULL, ev.n)
            return payload if fc_ws_take(&self.reader.parser, ev, PyBytes_AS_STRING(payload)) else None
        if not fc_ws_gather(&self.reader, ev) or (self.assemble and not ev.last):
            return None
        if ev.opcode == FC_WS_TEXT and self.decode:
            payload = self.decoded(self.reader.text.p, self.reader.text.len, ev.first or self.assemble, ev.last)
        else:
            payload = PyBytes_FromStringAndSize(self.reader.text.p, self.reader.text.len)
        fc_ws_reader_clear(&self.reader)
        return payload

    cdef object take_str(self, const fc_ws_event *ev):
        """Text is mostly ASCII, which is a str as it stands: unmasked into a new str, decoded only if it was not."""
        if ev.n == 0:
            return ""
        cdef object text = PyUnicode_New(ev.n, 127)
        cdef char *p = <char *>PyUnicode_DATA(text)
        if not fc_ws_take(&self.reader.parser, ev, p):
            return None
        return text if fc_utf8_ascii(p, ev.n) == ev.n else PyUnicode_DecodeUTF8(p, ev.n, NULL)

    cdef object take_part(self, const fc_ws_event *ev):
        cdef bytes part = PyBytes_FromStringAndSize(NULL, ev.n)
        if not fc_ws_take(&self.reader.parser, ev, PyBytes_AS_STRING(part)):
            return None
        return self.decoded(PyBytes_AS_STRING(part), ev.n, ev.first, ev.last)

    cdef str decoded(self, const char *p, size_t n, bint first, bint last):
        """A checked piece of text, with the character begun by the piece before, without one that is not complete."""
        cdef bytes joined
        cdef size_t cut
        if not first and self.carry:
            joined = self.carry + p[:n]
            p, n = PyBytes_AS_STRING(joined), PyBytes_GET_SIZE(joined)
        cut = 0 if last else fc_utf8_cut(p, n)
        self.carry = p[n - cut:n] if cut else b""
        return PyUnicode_DecodeUTF8(p, n - cut, NULL)

    cdef object failure(self, list events):
        cdef fc_ws_error error = <fc_ws_error>self.reader.parser.error
        cdef uint64_t at = self.reader.parser.error_at
        if error == FC_WS_NO_MEMORY:
            return MemoryError("no memory for a message")
        failed = RemoteProtocolError(f"{fc_ws_error_text(error).decode()} (byte {at})", offset=at,
                                     name=fc_ws_error_name(error).decode(), code=fc_ws_error_code(error))
        failed.events = events
        return failed

    def feed_eof(self):
        """The peer has closed the connection. RemoteProtocolError inside a frame or a message; without a Close frame
        before it the connection ended with 1006, whatever was said (RFC 6455 7.1.5): see `closed`."""
        self.check_idle()
        if self.reader.parser.error:
            raise self.failure([])
        if not self.closed and not fc_ws_between(&self.reader.parser):
            raise RemoteProtocolError("the peer closed inside a message", name="incomplete", code=1002,
                                      offset=self.reader.parser.at)

    @property
    def closed(self):
        """A Close frame has come."""
        return fc_ws_closed(&self.reader.parser)

    @property
    def offset(self):
        """Bytes used so far."""
        return self.reader.parser.at

    # --- for Cython -------------------------------------------------------------------------------------------------
    cdef int feed_in_place(self, char *p, size_t n) except -1:
        cdef fc_ws_parser *parser = &self.reader.parser
        cdef fc_ws_answer answer
        cdef fc_ws_event ev
        cdef size_t used
        self.check_idle()
        self.busy = True
        try:
            while True:
                if self.assemble:
                    answer = fc_ws_read(&self.reader, p, n, &used, &ev)
                else:
                    answer = fc_ws_next(parser, p, n, &used, &ev)
                    if answer == FC_WS_DATA and not ev.compressed:
                        fc_ws_take(parser, &ev, <char *>ev.p)
                    elif answer == FC_WS_DATA and fc_ws_gather(&self.reader, &ev):
                        ev.p, ev.n = self.reader.text.p, self.reader.text.len
                if answer == FC_WS_ERROR or parser.error:
                    raise self.failure([])
                p += used
                n -= used
                if answer == FC_WS_MORE:
                    return 0
                if answer == FC_WS_CONTROL:
                    self.on_control(ev.opcode, ev.code, ev.p, ev.n)
                else:
                    self.on_message(ev.opcode, ev.first or self.assemble, ev.last, ev.p, ev.n)
                    if not self.assemble and ev.compressed:
                        fc_ws_reader_clear(&self.reader)
        finally:
            self.busy = False

    cdef int on_message(self, int opcode, bint first, bint last, const char *p, size_t n) except -1:
        raise NotImplementedError

    cdef int on_control(self, int opcode, int code, const char *p, size_t n) except -1:
        raise NotImplementedError
