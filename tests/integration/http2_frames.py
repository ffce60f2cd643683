"""HTTP/2 frame by frame, right ones and wrong ones: a client that says exactly what a test wants said (RFC 9113)."""

import collections
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import hpack
from servers import EndOfStream, Wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, _, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x7, 0x8, 0x9, 0xB

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 0x3, 0x4

FieldList = Iterable[tuple[str, str]]


def request(path: str = "/", *more: tuple[str, str], method: str = "GET", authority: str = "a.test") -> FieldList:
    return [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path), *more]


@dataclass
class Frame:
    type: int
    flags: int
    stream: int
    payload: bytes
    fields: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ends(self) -> bool:
        return self.type in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        start = 4 if self.type == GOAWAY else 0
        return int.from_bytes(self.payload[start : start + 4], "big")

    @property
    def last_stream(self) -> int:
        return int.from_bytes(self.payload[:4], "big")


@dataclass
class Answer:
    """What came on one stream, to its end."""

    heads: list[dict[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.heads[-1][":status"])

    def __getitem__(self, name: str) -> str | None:
        return self.heads[-1].get(name)


class Client:
    """Windows are opened as bytes come, unless `opens` is False; SETTINGS and PING are answered."""

    def __init__(self, wire: Wire, *, opens: bool = True, settings: dict[int, int] | None = None):
        self.wire, self.opens = wire, opens
        self.settings: dict[int, int] = {}  # of the server
        self._out, self._in = hpack.Encoder(), hpack.Decoder()
        self._ids = iter(range(1, 1 << 31, 2))
        self._kept: list[Frame] = []
        self._granted: collections.Counter[int] = collections.Counter()
        self._sent: collections.Counter[int] = collections.Counter()
        payload = b"".join(struct.pack(">HL", *item) for item in (settings or {}).items())
        wire.send(PREFACE + self.bytes_of(SETTINGS, 0, 0, payload))

    @staticmethod
    def bytes_of(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self.wire.send(self.bytes_of(kind, flags, stream, payload))

    def block(self, fields: FieldList) -> bytes:
        """Never indexed, so that blocks may be sent in any order."""
        return bytes(self._out.encode([hpack.NeverIndexedHeaderTuple(*item) for item in fields], huffman=False))

    def head(self, stream: int, fields: FieldList, *, ends: bool = True) -> bytes:
        return self.bytes_of(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, self.block(fields))

    def new_stream(self) -> int:
        return next(self._ids)

    def ask(self, fields: FieldList, *, ends: bool = True) -> int:
        """The stream on which the request was sent."""
        stream = self.new_stream()
        self.wire.send(self.head(stream, fields, ends=ends))
        return stream

    def data(self, stream: int, payload: bytes, *, ends: bool = False) -> None:
        self._sent[0] += len(payload)
        self._sent[stream] += len(payload)
        self.send(DATA, END_STREAM if ends else 0, stream, payload)

    def room(self, stream: int) -> int:
        """Bytes the server has granted: on the whole connection for stream 0, otherwise on both."""
        connection = 65_535 + self._granted[0] - self._sent[0]
        own = self.settings.get(INITIAL_WINDOW_SIZE, 65_535) + self._granted[stream] - self._sent[stream]
        return min(connection, own) if stream else connection

    def body(self, stream: int, body: bytes) -> None:
        """All of it, to the end of the stream, as windows allow."""
        at = 0
        while at < len(body):
            if piece := body[at : at + min(self.room(stream), 16_384)]:
                at += len(piece)
                self.data(stream, piece, ends=at == len(body))
            else:
                self.until(lambda frame: frame.type == WINDOW_UPDATE)
        if not body:
            self.data(stream, b"", ends=True)

    # --- what comes ---

    def _read(self) -> Frame:
        head = self.wire.read(9)
        length, stream = int.from_bytes(head[:3], "big"), int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        frame = Frame(head[3], head[4], stream, self.wire.read(length))
        if frame.type == SETTINGS and not frame.flags & ACK:
            for at in range(0, length, 6):
                key, value = struct.unpack(">HL", frame.payload[at : at + 6])
                self.settings[key] = value
            self.send(SETTINGS, ACK)
        elif frame.type == HEADERS:
            assert frame.flags & END_HEADERS and not frame.flags & PADDED
            frame.fields = [(str(name), str(value)) for name, value in self._in.decode(frame.payload)]
        elif frame.type == WINDOW_UPDATE:
            self._granted[stream] += int.from_bytes(frame.payload, "big")
        elif frame.type == PING and not frame.flags & ACK:
            self.send(PING, ACK, 0, frame.payload)
        elif frame.type == DATA and frame.payload and self.opens:
            opened = struct.pack(">L", length)
            self.wire.send(self.bytes_of(WINDOW_UPDATE, 0, 0, opened) + self.bytes_of(WINDOW_UPDATE, 0, stream, opened))
        return frame

    def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first frame that is wanted, of those that were passed over before and of new ones."""
        for frame in self._kept:
            if wanted(frame):
                self._kept.remove(frame)
                return frame
        while not wanted(frame := self._read()):
            if frame.type in (DATA, HEADERS, RST_STREAM, GOAWAY):
                self._kept.append(frame)
        return frame

    def answer(self, stream: int) -> Answer:
        """Everything on the stream up to its end or reset."""
        answer = Answer()
        while True:
            frame = self.until(lambda f: f.stream == stream and f.type in (DATA, HEADERS, RST_STREAM))
            if frame.type == RST_STREAM:
                answer.reset = frame.code
                return answer
            if frame.type == DATA:
                answer.body += frame.payload
            elif answer.heads and answer.status >= 200:
                answer.trailers = dict(frame.fields)
            else:
                answer.heads.append(dict(frame.fields))
            if frame.ends:
                return answer

    def get(self, path: str = "/", *more: tuple[str, str]) -> Answer:
        return self.answer(self.ask(request(path, *more)))

    def farewell(self) -> Frame:
        """GOAWAY; after it nothing but the end may come."""
        return self.until(lambda f: f.type == GOAWAY)

    def ended(self) -> bool:
        """Waits for the end of the connection."""
        try:
            while True:
                self._read()
        except (EndOfStream, ConnectionError):
            return True

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()
