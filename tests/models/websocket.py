"""What a stream of WebSocket bytes amounts to, the slow and obvious way: the whole stream at once, uncompressed.

`read` follows RFC 6455 section 5 in the order of the bytes and answers events, then what was wrong and where.
"""

import codecs

Event = tuple[str, bytes] | tuple[str, int, bytes]


class Wrong(Exception):
    """A rule is broken at a byte of the stream."""

    def __init__(self, name: str, at: int) -> None:
        super().__init__(name, at)
        self.name = name
        self.at = at


def first_bad_utf8(data: bytes, final: bool) -> int | None:
    """The first byte after which no text can follow; len(data) when only the end comes too early."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(len(data)):
        try:
            decoder.decode(data[at : at + 1])
        except UnicodeDecodeError:
            return at
    try:
        decoder.decode(b"", final)
    except UnicodeDecodeError:
        return len(data)
    return None


def code_is_valid(code: int) -> bool:
    return code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code <= 4999


class Reader:
    def __init__(self, role: str, frame_max: int, message_max: int) -> None:
        self.role, self.frame_max, self.message_max = role, frame_max, message_max
        self.opcode = 0
        self.message = b""
        self.places: list[int] = []  # of each byte of the message in the stream
        self.declared = 0

    def read(self, stream: bytes) -> tuple[list[Event], tuple[str, int] | None]:
        events: list[Event] = []
        at = 0
        try:
            while at < len(stream):
                at, event = self.frame(stream, at)
                if event is not None:
                    events.append(event)
                if event is not None and event[0] == "close":
                    break
        except IndexError:
            pass  # the stream ends inside a frame
        except Wrong as wrong:
            return events, (wrong.name, wrong.at)
        return events, None

    def frame(self, stream: bytes, begin: int) -> tuple[int, Event | None]:
        byte = stream[begin]
        fin, opcode = byte >> 7, byte & 15
        if byte & 0x70:
            raise Wrong("bad_rsv", begin)
        if opcode not in (0, 1, 2, 8, 9, 10):
            raise Wrong("bad_opcode", begin)
        if opcode >= 8 and not fin:
            raise Wrong("control_fragmented", begin)
        if opcode == 0 and not self.opcode:
            raise Wrong("no_start", begin)
        if opcode in (1, 2) and self.opcode:
            raise Wrong("no_end", begin)
        masked, length = stream[begin + 1] >> 7, stream[begin + 1] & 127
        if self.role == "server" and not masked:
            raise Wrong("not_masked", begin + 1)
        if self.role == "client" and masked:
            raise Wrong("masked", begin + 1)
        if opcode >= 8 and length > 125:
            raise Wrong("control_too_long", begin + 1)
        if opcode == 8 and length == 1:
            raise Wrong("bad_close_length", begin + 1)
        at = begin + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(stream[at : at + size], "big")
            _ = stream[at + size - 1]
            if length < (126 if size == 2 else 65536) or length >> 63:
                raise Wrong("bad_length", at)
            at += size
        if opcode < 8 and length > self.frame_max:
            raise Wrong("frame_too_big", begin + 1)
        if opcode < 8 and length + (self.declared if opcode == 0 else 0) > self.message_max:
            raise Wrong("message_too_big", begin + 1)
        key = bytes(4)
        if masked:
            key = stream[at : at + 4]
            _ = stream[at + 3]
            at += 4
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(stream[at : at + length]))
        whole = len(payload) == length
        if opcode >= 8:
            return at + length, self.control(opcode, payload, at) if whole else None
        return at + length, self.data(opcode, payload, at, length, whole and bool(fin))

    def control(self, opcode: int, payload: bytes, at: int) -> Event:
        if opcode != 8:
            return ("ping" if opcode == 9 else "pong"), payload
        if not payload:
            return "close", 1005, b""
        code = int.from_bytes(payload[:2], "big")
        if not code_is_valid(code):
            raise Wrong("bad_close_code", at)
        bad = first_bad_utf8(payload[2:], True)
        if bad is not None:
            raise Wrong("bad_reason", at + 2 + bad)
        return "close", code, payload[2:]

    def data(self, opcode: int, payload: bytes, at: int, length: int, ends: bool) -> Event | None:
        if opcode:
            self.opcode, self.message, self.places, self.declared = opcode, b"", [], 0
        self.declared += length
        self.message += payload
        self.places += range(at, at + len(payload))
        bad = first_bad_utf8(self.message, ends) if self.opcode == 1 else None
        if bad is not None:
            raise Wrong("bad_text", self.places[bad] if bad < len(self.places) else at + length)
        if not ends:
            return None
        kind, self.opcode = ("text" if self.opcode == 1 else "binary"), 0
        return kind, self.message
