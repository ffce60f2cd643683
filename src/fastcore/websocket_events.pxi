# Opcodes, errors and events of fastcore.websocket.

class Opcode(enum.IntEnum):
    """RFC 6455 5.2."""

    CONTINUATION = FC_WS_CONTINUATION
    TEXT = FC_WS_TEXT
    BINARY = FC_WS_BINARY
    CLOSE = FC_WS_CLOSE
    PING = FC_WS_PING
    PONG = FC_WS_PONG


class ProtocolError(Exception):
    """A rule was broken. `name` is short (bad_rsv ...), `code` the close code to send (1002, 1007, 1009, 1011).

    `offset` counts from the first byte ever fed; for compressed data it is where the frame began. `events` are those
    that `feed` had found before the error.
    """

    def __init__(self, message, *, name, code, offset=0):
        super().__init__(message)
        self.name = name
        self.code = code
        self.offset = offset
        self.events = []


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol or a limit: send Close with `code`, then close the connection."""


class LocalProtocolError(ProtocolError, ValueError):
    """This side was about to break it. Nothing was sent; `code` is 1011."""


cdef object misuse(str message, str name):
    return LocalProtocolError(message, name=name, code=1011)


cdef class Message:
    """A message, or with `assemble=False` a piece of one.

    `first` and `last` tell where the message begins and ends (both true for a whole one), `frame_last` where a frame
    does.
    """

    def __init__(self, data, *, bint first=True, bint last=True, bint frame_last=True):
        if type(self) is Message:
            raise TypeError("a message is Text or Binary")
        if not isinstance(data, bytes) and not (isinstance(data, str) and type(self) is Text):
            raise TypeError(f"{type(self).__name__} of {type(data).__name__}")
        self.payload = data
        self.first = first
        self.last = last
        self.frame_last = frame_last

    @property
    def data(self):
        """The payload as bytes."""
        return self.payload if type(self.payload) is bytes else (<str>self.payload).encode()

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return ((self.data, self.first, self.last, self.frame_last)
                == (other.data, other.first, other.last, other.frame_last))

    __hash__ = None

    def __repr__(self):
        marks = "" if self.first and self.last else f", first={self.first}, last={self.last}"
        return f"{type(self).__name__}({self.payload!r}{marks})"


@cython.final
cdef class Text(Message):
    """Text. The parser has made a str or bytes of it, as `decode_text` says; `text` and `data` convert if need be. A
    piece that was not decoded may begin or end inside a character, and has no `text` then (UnicodeDecodeError)."""

    __match_args__ = ("text",)

    @property
    def text(self):
        """The payload as str."""
        return self.payload if type(self.payload) is str else (<bytes>self.payload).decode()


@cython.final
cdef class Binary(Message):
    """Binary data."""

    __match_args__ = ("data",)


@cython.final
@cython.freelist(16)
cdef class Ping:
    """A Ping frame; it is answered by a Pong with the same `data`."""

    cdef readonly bytes data
    __match_args__ = ("data",)

    def __init__(self, bytes data not None=b""):
        self.data = data

    def __eq__(self, other):
        return self.data == other.data if isinstance(other, Ping) else NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"Ping({self.data!r})"


@cython.final
@cython.freelist(16)
cdef class Pong:
    """A Pong frame, asked for or not."""

    cdef readonly bytes data
    __match_args__ = ("data",)

    def __init__(self, bytes data not None=b""):
        self.data = data

    def __eq__(self, other):
        return self.data == other.data if isinstance(other, Pong) else NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"Pong({self.data!r})"


@cython.final
cdef class Close:
    """A Close frame: the last event there is. `code` is 1005 when the frame had none (RFC 6455 7.1.5)."""

    cdef readonly int code
    cdef readonly str reason
    __match_args__ = ("code", "reason")

    def __init__(self, int code=FC_WS_NO_CODE, str reason not None=""):
        self.code = code
        self.reason = reason

    def __eq__(self, other):
        return (self.code, self.reason) == (other.code, other.reason) if isinstance(other, Close) else NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"Close({self.code}, {self.reason!r})"


Event = Text | Binary | Ping | Pong | Close


cdef object control_event(const fc_ws_event *ev):
    cdef Ping ping
    cdef Pong pong
    cdef Close close
    if ev.opcode == FC_WS_PING:
        ping = Ping.__new__(Ping)
        ping.data = PyBytes_FromStringAndSize(ev.p, ev.n)
        return ping
    if ev.opcode == FC_WS_PONG:
        pong = Pong.__new__(Pong)
        pong.data = PyBytes_FromStringAndSize(ev.p, ev.n)
        return pong
    close = Close.__new__(Close)
    close.code = ev.code
    close.reason = PyUnicode_DecodeUTF8(ev.p, ev.n, NULL)
    return close


cdef inline Message message_event(const fc_ws_event *ev, object payload):
    cdef Message message
    message = <Message>Text.__new__(Text) if ev.opcode == FC_WS_TEXT else <Message>Binary.__new__(Binary)
    message.payload = payload
    message.first = ev.first
    message.last = ev.last
    message.frame_last = ev.frame_last
    return message
