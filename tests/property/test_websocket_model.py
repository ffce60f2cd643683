"""fastcore.websocket against a plain model (tests/models/websocket.py), against wsproto and against websockets."""

import itertools
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.exceptions import ProtocolError as WebsocketsError
from websockets.extensions.permessage_deflate import PerMessageDeflate as WebsocketsDeflate
from websockets.frames import Frame
from websockets.streams import StreamReader
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from fastcore.websocket import (
    Binary,
    Close,
    Deflate,
    Encoder,
    Event,
    FrameParser,
    Ping,
    Pong,
    RemoteProtocolError,
    Text,
    build_frame,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from models.websocket import Reader

texts = st.text(max_size=80) | st.text(alphabet="aé€😀", max_size=60)
payloads = texts.map(str.encode) | st.binary(max_size=80) | st.binary(min_size=120, max_size=140)
KEYS = st.binary(min_size=4, max_size=4)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Frames that mostly make sense, some of them damaged."""
    out, inside = [], False
    for _ in range(draw(st.integers(1, 8))):
        opcode = draw(st.sampled_from([0, 0, 9] if inside else [1, 1, 2, 9, 10, 8]))
        if draw(st.integers(0, 30)) == 0:
            opcode = draw(st.integers(0, 15))
        payload = draw(payloads)
        if opcode == 8 and payload:
            payload = draw(st.sampled_from([b"\x03\xe8", b"\x0f\xa0", b"\x03", b"\x03\xed"])) + payload[:120]
        fin = opcode >= 8 or draw(st.booleans())
        inside = not fin if opcode < 8 else inside
        key = draw(KEYS | st.just(b""))
        if draw(st.integers(0, 5)):
            key = key or b"\0\1\2\3"
        n = len(payload)
        form = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 2, 8]))
        form = form if form else 0 if n < 126 else 2
        length = n if form == 0 else 126 if form == 2 else 127
        head = bytes([fin << 7 | opcode, (0x80 if key else 0) | length]) + (n.to_bytes(form, "big") if form else b"")
        masked = bytes(b ^ key[i % 4] for i, b in enumerate(payload)) if key else payload
        out.append(head + key + masked)
    stream = b"".join(out)
    if draw(st.integers(0, 3)) == 0 and stream:
        at = draw(st.integers(0, len(stream) - 1))
        stream = stream[:at] + bytes([draw(st.integers(0, 255))]) + stream[at + 1 :]
    return stream[: draw(st.integers(0, len(stream)))] if draw(st.integers(0, 3)) == 0 else stream


def plain(event: Event) -> tuple:
    match event:
        case Text():
            return "text", event.data
        case Binary():
            return "binary", event.data
        case Ping(data):
            return "ping", data
        case Pong(data):
            return "pong", data
    return "close", event.code, event.reason.encode()


def cut(stream: bytes, places: list[int]) -> Iterator[bytes]:
    marks = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return (stream[a:b] for a, b in itertools.pairwise(marks))


def ours(pieces, **options) -> tuple[list[tuple], tuple[str, int] | None]:
    parser, events = FrameParser(**options), []
    try:
        for piece in pieces:
            events += map(plain, parser.feed(piece))
    except RemoteProtocolError as error:
        return events + list(map(plain, error.events)), (error.name, error.offset)
    return events, None


@given(
    streams(),
    st.lists(st.integers(0, 4000), max_size=8),
    st.sampled_from(["server", "client", "either"]),
    st.booleans(),
)
def test_events_errors_and_places_are_the_models(stream, places, role, decode):
    options = {"role": role, "max_frame_bytes": 130, "max_message_bytes": 200, "decode_text": decode}
    want = Reader(role, 130, 200).read(stream)
    assert ours([stream], **options) == want
    assert ours(cut(stream, places), **options) == want
    assert ours([stream[i : i + 1] for i in range(len(stream))], **options) == want


@given(streams(), st.lists(st.integers(0, 4000), max_size=8))
def test_pieces_joined_are_the_messages(stream, places):
    want, _ = ours([stream], role="either")
    for decode in (False, True):
        parser, joined, message = FrameParser("either", assemble=False, decode_text=decode), [], b""
        try:
            for piece in cut(stream, places):
                for event in parser.feed(piece):
                    if isinstance(event, (Text, Binary)):
                        assert event.first == (message == b"" and event.first)
                        message = event.data if event.first else message + event.data
                        if event.last:
                            joined.append(("text" if isinstance(event, Text) else "binary", message))
                            message = b""
                    else:
                        joined.append(plain(event))
        except RemoteProtocolError as error:
            parts = error.events
            for event in parts:
                if isinstance(event, (Text, Binary)):
                    message = event.data if event.first else message + event.data
                    if event.last:
                        joined.append(("text" if isinstance(event, Text) else "binary", message))
                        message = b""
                else:
                    joined.append(plain(event))
        assert joined == want


# --- wsproto ----------------------------------------------------------------------------------------------------------
def wsproto_reads(stream: bytes, side: ConnectionType, extensions=()) -> tuple[list[tuple], str | None]:
    """Events as ours; the error is wsproto's own text."""
    protocol = FrameProtocol(client=side is ConnectionType.CLIENT, extensions=list(extensions))
    events: list[tuple] = []
    message: list = []
    protocol.receive_bytes(stream)
    try:
        for frame in protocol.received_frames():
            if frame.opcode is Opcode.CLOSE:
                code, reason = frame.payload
                return [*events, ("close", int(code), (reason or "").encode())], None
            if frame.opcode.iscontrol():
                events.append((frame.opcode.name.lower(), bytes(frame.payload)))
                continue
            message.append(frame.payload)
            if frame.message_finished:
                is_text = isinstance(frame.payload, str)
                joined = "".join(message).encode() if is_text else b"".join(map(bytes, message))
                events.append(("text" if is_text else "binary", joined))
                message = []
    except ParseFailed as error:
        return events, str(error) or "failed"
    return events, None


# What we refuse and wsproto does not, by our name for it.
STRICTER_THAN_WSPROTO = {
    "bad_length": "RFC 6455 5.2: the highest bit of a 64-bit length is 0",
    "bad_text": "seen while the frame is arriving; wsproto decodes what is complete",
    "frame_too_big": "a bound of ours; wsproto waits for as many bytes as the header announces",
}


@given(streams())
@example(b"\x82\xff\x01" + bytes(11))  # a frame of 2 ** 56 bytes
def test_wsproto_reads_the_same(stream):
    events, error = ours([stream], role="server", max_message_bytes=1 << 20)
    theirs, their_error = wsproto_reads(stream, ConnectionType.SERVER)
    if error is not None and their_error is None:  # wsproto looks at a frame's first byte when its header is there
        theirs, their_error = wsproto_reads(stream + bytes(14), ConnectionType.SERVER)
    if error is None and their_error is None:
        assert events == theirs
    elif error is None:
        raise AssertionError(f"wsproto refuses: {their_error}")
    else:
        assert their_error is not None or error[0] in STRICTER_THAN_WSPROTO
        assert theirs[: len(events)] == events or events[: len(theirs)] == theirs


PARAMS = st.builds(
    Deflate,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.integers(9, 15),
    client_max_window_bits=st.integers(9, 15),
)
MESSAGES = st.lists(texts | payloads | texts.map(lambda text: text * 50), min_size=1, max_size=6)


def wsproto_extension(deflate: Deflate) -> PerMessageDeflate:
    extension = PerMessageDeflate(
        client_no_context_takeover=deflate.client_no_context_takeover,
        client_max_window_bits=deflate.client_max_window_bits,
        server_no_context_takeover=deflate.server_no_context_takeover,
        server_max_window_bits=deflate.server_max_window_bits,
    )
    extension._enabled = True
    return extension


def as_events(messages) -> list[tuple]:
    return [("text", m.encode()) if isinstance(m, str) else ("binary", m) for m in messages]


def encoded(encoder: Encoder, messages, fragment: int) -> bytes:
    """Messages as frames, those longer than `fragment` in several."""
    out = []
    for message in messages:
        if len(message) <= fragment:
            out.append(encoder.text(message) if isinstance(message, str) else encoder.binary(message))
            continue
        parts = [message[i : i + fragment] for i in range(0, len(message), fragment)]
        out += [encoder.fragment(part, last=False) for part in parts] + [encoder.fragment(parts[0][:0], last=True)]
    return b"".join(out)


@given(PARAMS, MESSAGES, st.integers(1, 60), st.sampled_from(["client", "server"]))
def test_wsproto_expands_what_we_compress(deflate, messages, fragment, role):
    stream = encoded(Encoder(role, deflate=deflate, compress_min_bytes=0), messages, fragment)
    side = ConnectionType.SERVER if role == "client" else ConnectionType.CLIENT
    assert wsproto_reads(stream, side, [wsproto_extension(deflate)]) == (as_events(messages), None)


@given(
    PARAMS,
    MESSAGES,
    st.integers(1, 60),
    st.sampled_from(["client", "server"]),
    st.lists(st.integers(0, 4000), max_size=5),
)
def test_we_expand_what_wsproto_compresses(deflate, messages, fragment, role, places):
    side = ConnectionType.CLIENT if role == "client" else ConnectionType.SERVER
    connection = Connection(side, [wsproto_extension(deflate)])
    stream = b""
    for message in messages:
        kind = TextMessage if isinstance(message, str) else BytesMessage
        parts = [message[i : i + fragment] for i in range(0, len(message), fragment)] or [message]
        for i, part in enumerate(parts):
            stream += connection.send(kind(data=part, message_finished=i == len(parts) - 1))
    reader = "server" if role == "client" else "client"
    assert ours(cut(stream, places), role=reader, deflate=deflate) == (as_events(messages), None)


# --- websockets -------------------------------------------------------------------------------------------------------
def websockets_reads(stream: bytes, *, mask: bool, extensions=()) -> tuple[list[tuple], bool]:
    """Frames joined to messages, as ours; whether there was an error. Text is not checked by this layer."""
    reader = StreamReader()
    reader.feed_data(stream)
    events: list[tuple] = []
    kind, message = "", b""
    while len(reader.buffer) > 0:
        parsing = Frame.parse(reader.read_exact, mask=mask, max_size=1 << 24, extensions=list(extensions))
        try:
            next(parsing)
        except StopIteration as done:
            frame = done.value
        except (WebsocketsError, PayloadTooBig):
            return events, True
        else:
            return events, False  # the stream ends inside a frame
        name = frame.opcode.name.lower()
        if name in ("ping", "pong"):
            events.append((name, bytes(frame.data)))
        elif name == "close":
            code = int.from_bytes(frame.data[:2], "big") if frame.data else 1005
            return [*events, ("close", code, bytes(frame.data[2:]))], False
        else:
            kind, message = (kind, message + bytes(frame.data)) if name == "cont" else (name, bytes(frame.data))
            if frame.fin:
                events.append((kind, message))
    return events, False


@given(streams())
def test_websockets_reads_the_same_frames(stream):
    events, error = ours([stream], role="server", max_message_bytes=1 << 20)
    theirs, failed = websockets_reads(stream, mask=True)
    # Its frame layer knows nothing of messages, text, minimal lengths and close codes: it may go on where we stop.
    assert theirs[: len(events)] == events
    assert error is not None or (theirs == events and not failed)


def websockets_extension(deflate: Deflate, role: str) -> WebsocketsDeflate:
    ends = {
        "client": (deflate.client_no_context_takeover, deflate.client_max_window_bits),
        "server": (deflate.server_no_context_takeover, deflate.server_max_window_bits),
    }
    local, remote = ends[role], ends["server" if role == "client" else "client"]
    return WebsocketsDeflate(remote[0], local[0], remote[1], local[1])


@given(PARAMS, MESSAGES, st.integers(1, 60), st.sampled_from(["client", "server"]))
def test_websockets_expands_what_we_compress(deflate, messages, fragment, role):
    stream = encoded(Encoder(role, deflate=deflate, compress_min_bytes=0), messages, fragment)
    peer = websockets_extension(deflate, "server" if role == "client" else "client")
    assert websockets_reads(stream, mask=role == "client", extensions=[peer]) == (as_events(messages), False)


@given(PARAMS, MESSAGES, st.integers(1, 60), st.lists(st.integers(0, 4000), max_size=5))
def test_we_expand_what_websockets_compresses(deflate, messages, fragment, places):
    uri = __import__("websockets.uri", fromlist=["parse_uri"]).parse_uri("ws://x/")
    client = ClientProtocol(uri)
    client.state = client.state.OPEN
    client.extensions = [websockets_extension(deflate, "client")]
    for message in messages:
        data, is_text = (message.encode(), True) if isinstance(message, str) else (message, False)
        parts = [data[i : i + fragment] for i in range(0, len(data), fragment)] or [data]
        first = client.send_text if is_text else client.send_binary
        first(parts[0], fin=False)
        for part in parts[1:]:
            client.send_continuation(part, fin=False)
        client.send_continuation(b"", fin=True)
    stream = b"".join(client.data_to_send())
    assert ours(cut(stream, places), role="server", deflate=deflate) == (as_events(messages), None)


# --- what holds for us alone ------------------------------------------------------------------------------------------
@given(payloads, KEYS, st.sampled_from([0, 1, 2]), st.booleans())
def test_a_frame_is_what_websockets_makes(payload, key, opcode, fin):
    frame = Frame(opcode, payload, fin)
    made = frame.serialize(mask=False)
    assert build_frame(opcode, payload, fin=fin) == made
    masked = build_frame(opcode, payload, fin=fin, mask=key)
    head = len(masked) - len(payload)
    assert masked[head - 4 : head] == key
    assert bytes(b ^ key[i % 4] for i, b in enumerate(masked[head:])) == payload


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=5), st.integers(0, 400))
def test_any_bytes_expand_alike_however_they_are_cut(payload, places, bound):
    stream = build_frame(2, payload, mask=b"abcd", rsv1=True)
    options = {"deflate": Deflate(), "max_message_bytes": bound, "max_frame_bytes": 1000}
    whole = ours([stream], **options)
    assert ours(cut(stream, places), **options) == whole
    if whole[1] is None:
        inflater = zlib.decompressobj(-15)
        assert bound >= len(whole[0][0][1])
        expanded = inflater.decompress(payload + b"\x00\x00\xff\xff")
        assert whole[0][0][1].startswith(expanded)  # zlib's object stops at BFINAL


@given(MESSAGES, st.integers(1, 4990))
def test_close_ends_what_there_is(messages, code):
    encoder = Encoder("client")
    stream = encoder.batch(messages)
    valid = code >= 3000 or code in (1000, 1001, 1002, 1003, *range(1007, 1015))
    try:
        stream += encoder.close(code, "bye")
    except ValueError:
        assert not valid
        return
    events = FrameParser().feed(stream)
    assert valid and events[-1] == Close(code, "bye")
    assert [plain(event) for event in events[:-1]] == as_events(messages)
