"""fastcore.websocket: the cases of the Autobahn test suite that are bytes in and events out, and what is ours alone.

Sections are Autobahn's: 1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragmentation, 6 UTF-8, 7 closing, 9 sizes,
12 and 13 compression.
"""

import gc
import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

from endurance import LEAK_OPERATIONS, NOT_SANITIZED, peak
from fastcore.websocket import (
    Binary,
    Close,
    Deflate,
    Encoder,
    FrameParser,
    LocalProtocolError,
    Message,
    Opcode,
    Ping,
    Pong,
    PreparedMessage,
    ProtocolError,
    RemoteProtocolError,
    Text,
    apply_mask,
    build_close,
    build_frame,
)

KEY = b"\x37\xfa\x21\x3d"
SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536]
CUTS = ["whole", "bytes"]


def client(opcode, payload=b"", **options):
    """A client's frame with a key that is known."""
    return build_frame(opcode, payload, mask=KEY, **options)


def feed(stream, cut="whole", parser=None):
    parser = parser or FrameParser()
    if cut == "whole":
        return parser.feed(stream)
    return [event for byte in stream for event in parser.feed(bytes([byte]))]


def fails(stream, name, code, offset, *, events=(), **options):
    """The stream breaks the rule `name` at `offset`, fed at once and byte by byte; before it were `events`."""
    for cut in CUTS:
        parser, found = FrameParser(**options), []
        with pytest.raises(RemoteProtocolError) as caught:
            for piece in [stream] if cut == "whole" else [bytes([byte]) for byte in stream]:
                found += parser.feed(piece)
        error = caught.value
        assert (error.name, error.code, error.offset) == (name, code, offset)
        assert found + error.events == list(events)
        with pytest.raises(RemoteProtocolError) as again:
            parser.feed(b"")
        assert (again.value.name, again.value.offset, again.value.events) == (name, offset, [])


# --- 1: framing -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cut", CUTS)
def test_1_messages_of_any_size(size, cut):
    data = (b"*" * size) if cut == "bytes" else os.urandom(size)
    assert feed(client(Opcode.BINARY, data), cut) == [Binary(data)]
    assert feed(client(Opcode.TEXT, "*" * size), cut) == [Text("*" * size)]


def test_1_frames_are_as_in_the_rfc():
    assert build_frame(1, "Hello") == b"\x81\x05Hello"
    assert build_frame(1, "Hello", mask=KEY) == b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
    assert build_frame(1, "Hel", fin=False) + build_frame(0, b"lo") == b"\x01\x03Hel\x80\x02lo"
    assert build_frame(2, bytes(256))[:4] == b"\x82\x7e\x01\x00"
    assert build_frame(2, bytes(65536))[:10] == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"


# --- 2: pings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cut", CUTS)
def test_2_pings_and_pongs(cut):
    stream = client(9) + client(9, b"\x00\xff\xfe") + client(10, b"unasked") + client(9, b"*" * 125)
    assert feed(stream, cut) == [Ping(), Ping(b"\x00\xff\xfe"), Pong(b"unasked"), Ping(b"*" * 125)]


def test_2_5_a_ping_of_126_bytes():
    fails(b"\x89\xfe\x00\x7e" + KEY + b"*" * 126, "control_too_long", 1002, 1)


def test_2_10_many_pings_in_one_feed():
    assert feed(b"".join(client(9, b"%d" % i) for i in range(10))) == [Ping(b"%d" % i) for i in range(10)]


# --- 3, 4: reserved bits and opcodes ----------------------------------------------------------------------------------
@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("opcode", [0, 1, 2, 8, 9, 10])
def test_3_reserved_bits(bits, opcode):
    before = client(1, "x")
    stream = before + bytes([0x80 | bits << 4 | opcode, 0x80]) + KEY
    fails(stream, "bad_rsv", 1002, len(before), events=[Text("x")])


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_4_reserved_opcodes(opcode):
    fails(client(1, "x") + bytes([0x80 | opcode, 0x80]) + KEY, "bad_opcode", 1002, 7, events=[Text("x")])


# --- 5: fragmentation -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("opcode", [8, 9, 10])
def test_5_control_frames_are_whole(opcode):
    fails(bytes([opcode, 0x80]) + KEY, "control_fragmented", 1002, 0)


@pytest.mark.parametrize("cut", CUTS)
def test_5_fragments_with_control_frames_between(cut):
    stream = (
        client(1, "frag", fin=False) + client(9, b"p") + client(0, b"", fin=False) + client(10) + client(0, b"ment")
    )
    assert feed(stream, cut) == [Ping(b"p"), Pong(), Text("fragment")]


def test_5_continuation_without_a_start():
    fails(client(0, b"x"), "no_start", 1002, 0)
    fails(client(0, b"x", fin=False), "no_start", 1002, 0)
    fails(client(1, "a", fin=False) + client(0, b"b") + client(0, b"c"), "no_start", 1002, 14, events=[Text("ab")])


@pytest.mark.parametrize("opcode", [1, 2])
def test_5_a_message_inside_another(opcode):
    fails(client(1, "a", fin=False) + client(opcode, b"b"), "no_end", 1002, 7)


# --- 6: UTF-8 ---------------------------------------------------------------------------------------------------------
GREEK = "κόσμε"
VALID = [
    "",
    "a",
    GREEK,
    "\u0080",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\ufffe",
    "\U00010000",
    "\U0010ffff",
]
# Bytes, and the place of the first that cannot be (len: the end comes too early).
INVALID = [
    (b"\x80", 0), (b"\xbf", 0), (b"a\x80", 1), (b"\xc0\xaf", 0), (b"\xc1\xbf", 0), (b"\xc2", 1), (b"\xc2a", 1),
    (b"\xe0\x80\xaf", 1), (b"\xe0\x9f\xbf", 1), (b"\xe1\x80", 2), (b"\xe1\x80\xc0", 2), (b"\xed\xa0\x80", 1),
    (b"\xed\xbf\xbf", 1), (b"\xef\xbf", 2), (b"\xf0\x80\x80\xaf", 1), (b"\xf0\x8f\xbf\xbf", 1), (b"\xf0\x90\x80", 3),
    (b"\xf4\x90\x80\x80", 1), (b"\xf5\x80\x80\x80", 0), (b"\xf8\x88\x80\x80\x80", 0), (b"\xfe", 0), (b"\xff", 0),
    (GREEK.encode() + b"\xed\xa0\x80edited", 11), (b"x" * 100 + b"\xff" + b"x" * 100, 100),
]  # fmt: skip


@pytest.mark.parametrize("text", VALID)
@pytest.mark.parametrize("cut", CUTS)
def test_6_valid_text(text, cut):
    data = text.encode()
    assert feed(client(1, data), cut) == [Text(text)]
    pieces = [client(0 if i else 1, data[i : i + 1], fin=False) for i in range(len(data))]
    assert feed(b"".join(pieces) + client(0 if pieces else 1, b""), cut) == [Text(text)]


@pytest.mark.parametrize(("data", "at"), INVALID)
def test_6_invalid_text(data, at):
    head = 6 if len(data) < 126 else 8
    fails(client(1, data), "bad_text", 1007, head + at)
    pieces = [client(0 if i else 1, data[i : i + 1], fin=False) for i in range(len(data))]
    place = 7 * at + 6  # each of these frames has one byte behind six of head
    fails(b"".join(pieces) + client(0), "bad_text", 1007, place)


def test_6_text_fails_at_the_first_impossible_byte():
    parser = FrameParser()
    frame = client(1, b"\xce\xba\xf4\x90" + b"x" * 90)
    assert parser.feed(frame[:9]) == []
    with pytest.raises(RemoteProtocolError, match="UTF-8"):
        parser.feed(frame[9:10])


def test_6_binary_data_is_not_text():
    assert feed(client(2, b"\xff\xfe")) == [Binary(b"\xff\xfe")]


# --- 7: closing -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_7_codes_that_may_be_sent(code):
    assert feed(client(8, code.to_bytes(2, "big") + b"why")) == [Close(code, "why")]
    assert feed(build_close(code, "why", mask=KEY), "bytes") == [Close(code, "why")]


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_7_codes_that_may_not(code):
    fails(client(8, code.to_bytes(2, "big")), "bad_close_code", 1002, 6)
    with pytest.raises(LocalProtocolError):
        build_close(code)


def test_7_payloads_of_close():
    assert feed(client(8)) == [Close(1005, "")]
    assert feed(client(8, b"\x03\xe8")) == [Close(1000, "")]
    assert feed(client(8, b"\x03\xe8" + b"*" * 123)) == [Close(1000, "*" * 123)]
    fails(b"\x88\x81" + KEY + b"x", "bad_close_length", 1002, 1)
    fails(b"\x88\xfe\x00\x7e" + KEY, "control_too_long", 1002, 1)
    fails(client(8, b"\x03\xe8" + GREEK.encode() + b"\xed\xa0"), "bad_reason", 1007, 6 + 2 + 11)
    fails(client(8, b"\x03\xe8\xc3"), "bad_reason", 1007, 9)


@pytest.mark.parametrize("cut", CUTS)
def test_7_what_follows_a_close_is_dropped(cut):
    parser = FrameParser()
    assert feed(client(1, "a", fin=False) + client(8) + client(9) + b"\xff\xff", cut, parser) == [Close()]
    assert parser.closed
    parser.feed_eof()


# --- 9: sizes, limited ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fragment", [1, 127, 4096, 65536])
def test_9_large_messages_in_fragments(fragment):
    size = 20_000 if fragment == 1 else 1 << 20
    data = os.urandom(size)
    parts = [data[i : i + fragment] for i in range(0, size, fragment)]
    stream = b"".join(client(0 if i else 2, p, fin=i == len(parts) - 1) for i, p in enumerate(parts))
    assert feed(stream) == [Binary(data)]
    parser = FrameParser()
    assert [e for i in range(0, len(stream), 1009) for e in parser.feed(stream[i : i + 1009])] == [Binary(data)]


# --- lengths, limits, masking -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "length",
    [
        b"\xfe\x00\x00",
        b"\xfe\x00\x7d",
        b"\xff" + bytes(8),
        b"\xff" + (65535).to_bytes(8, "big"),
        b"\xff\x80" + bytes(7),
    ],
)
def test_lengths_are_minimal_and_positive(length):
    fails(b"\x82" + length + KEY, "bad_length", 1002, 2)


def test_bounds():
    assert feed(client(2, bytes(100)), parser=FrameParser(max_message_bytes=100)) == [Binary(bytes(100))]
    fails(client(2, bytes(101)), "frame_too_big", 1009, 1, max_message_bytes=100)
    fails(client(2, bytes(60)), "frame_too_big", 1009, 1, max_message_bytes=100, max_frame_bytes=50)
    fails(client(2, bytes(60), fin=False) + client(0, bytes(41)), "message_too_big", 1009, 67, max_message_bytes=100)
    fails(b"\x82\xff\x7f" + b"\xff" * 7, "frame_too_big", 1009, 1)
    assert feed(client(9, bytes(125)), parser=FrameParser(max_message_bytes=0)) == [Ping(bytes(125))]


def test_masking_by_role():
    masked, plain = client(1, "x"), build_frame(1, "x")
    fails(plain, "not_masked", 1002, 1)
    fails(masked, "masked", 1002, 1, role="client")
    assert feed(plain, parser=FrameParser("client")) == [Text("x")]
    assert feed(masked + plain, parser=FrameParser("either")) == [Text("x"), Text("x")]


# --- 12, 13: compression ----------------------------------------------------------------------------------------------
def packed(data, level=6):
    made = zlib.compressobj(level, wbits=-15)
    return (made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072])
def test_12_compressed_messages(size):
    text = ("{'symbol': %d}" * size)[:size]
    for deflate in (Deflate(), Deflate(client_no_context_takeover=True)):
        encoder = Encoder("client", deflate=deflate, compress_min_bytes=0)
        parser = FrameParser(deflate=deflate)
        for _ in range(3):
            frame = encoder.text(text)
            assert frame[0] == 0xC1
            assert feed(frame, "whole" if size > 5000 else "bytes", parser) == [Text(text)]


PARAMS = [
    Deflate(
        server_no_context_takeover=s, client_no_context_takeover=c, server_max_window_bits=b, client_max_window_bits=b
    )
    for s in (False, True)
    for c in (False, True)
    for b in (8, 9, 12, 15)
]


@pytest.mark.parametrize("deflate", PARAMS, ids=repr)
@pytest.mark.parametrize("role", ["server", "client"])
def test_13_every_agreement(deflate, role):
    encoder = Encoder(role, deflate=deflate)
    parser = FrameParser("client" if role == "server" else "server", deflate=deflate)
    for size in (0, 10, 700, 700, 40000, 63, 64):
        data = (os.urandom(20) * 2000)[:size]
        parts = [data[: size // 3], data[size // 3 : size // 2], data[size // 2 :], b""]
        stream = encoder.binary(data)
        stream += b"".join(encoder.fragment(part, last=i == 3) + encoder.ping() for i, part in enumerate(parts))
        assert parser.feed(stream) == [Binary(data), Ping(), Ping(), Ping(), Binary(data), Ping()]


def test_compressed_and_plain_messages_alternate():
    parser, d = FrameParser(deflate=Deflate()), packed(b"Hello")
    assert feed(client(1, d, rsv1=True) + client(1, "plain") + client(2, d, rsv1=True), parser=parser) == [
        Text("Hello"), Text("plain"), Binary(b"Hello"),
    ]  # fmt: skip


def test_rsv1_is_for_the_first_frame():
    parser = FrameParser(deflate=Deflate())
    stream = client(1, packed(b"Hello")[:3], fin=False, rsv1=True)
    with pytest.raises(RemoteProtocolError) as caught:
        parser.feed(stream + b"\xc0\x80" + KEY)
    assert (caught.value.name, caught.value.offset) == ("bad_rsv", len(stream))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"),  # RFC 7692 7.2.3.1
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"),  # 7.2.3.3: a stored block
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"),  # 7.2.3.4: BFINAL
        (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"),  # 7.2.3.5: two blocks
        (b"\x00", ""),  # 7.2.3.6
        (b"", ""),
        (packed(b"Hel") + b"\x00\x00\xff\xff" + packed(b"lo"), "Hello"),  # an empty block inside
    ],
)
def test_compressed_payloads_of_the_rfc(payload, text):
    for cut in CUTS:
        assert feed(client(1, payload, rsv1=True), cut, FrameParser(deflate=Deflate())) == [Text(text)]


def test_compressed_data_that_is_none():
    for payload in (b"\x06\x00", packed(b"Hello")[:-2], b"\xff" * 9):
        fails(client(2, b"x") + client(2, payload, rsv1=True), "bad_deflate", 1007, 7, events=[Binary(b"x")],
              deflate=Deflate())  # fmt: skip
    fails(client(1, packed(b"\xff"), rsv1=True), "bad_text", 1007, 0, deflate=Deflate())
    fails(client(1, packed(b"\xc3"), rsv1=True), "bad_text", 1007, 0, deflate=Deflate())


def test_a_bomb_is_refused_at_the_bound():
    bomb = packed(bytes(50 << 20), 9)
    assert len(bomb) < 60_000

    def feed():
        for assemble in (True, False):
            parser = FrameParser(deflate=Deflate(), assemble=assemble)
            with pytest.raises(RemoteProtocolError) as caught:
                parser.feed(client(2, bomb, rsv1=True))
            assert (caught.value.name, caught.value.code) == ("message_too_big", 1009)

    assert peak(feed) < 10 << 20


def test_short_messages_are_not_compressed():
    encoder = Encoder(deflate=Deflate(), compress_min_bytes=10)
    assert encoder.text("short") == b"\x81\x05short"
    assert encoder.text("x" * 10)[0] == 0xC1
    assert encoder.text("x" * 10, compress=False)[0] == 0x81


# --- pieces -----------------------------------------------------------------------------------------------------------
def test_pieces_as_they_arrive():
    parser = FrameParser(assemble=False)
    frame = client(2, b"0123456789")
    assert parser.feed(frame[:9]) == [Binary(b"012", first=True, last=False, frame_last=False)]
    assert parser.feed(frame[9:] + client(9)) == [Binary(b"3456789", first=False, last=True), Ping()]
    assert parser.feed(client(2, b"ab", fin=False) + client(9, b"!") + client(0, b"")) == [
        Binary(b"ab", last=False), Ping(b"!"), Binary(b"", first=False),
    ]  # fmt: skip


@pytest.mark.parametrize("rsv1", [False, True])
def test_pieces_of_text_are_whole_characters(rsv1):
    text = "aé€😀" * 20
    data = packed(text.encode()) if rsv1 else text.encode()
    frame = client(1, data[:30], fin=False, rsv1=rsv1) + client(0, data[30:])
    pieces = feed(frame, "bytes", FrameParser(assemble=False, deflate=Deflate()))
    assert "".join(piece.text for piece in pieces) == text
    assert [p.first for p in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [p.last for p in pieces] == [False] * (len(pieces) - 1) + [True]
    raw = feed(frame, "bytes", FrameParser(assemble=False, deflate=Deflate(), decode_text=False))
    assert b"".join(piece.data for piece in raw) == text.encode()


def test_text_as_str_or_bytes():
    for text in ("plain", GREEK, "é"):
        as_str, as_bytes = feed(client(1, text))[0], feed(client(1, text), parser=FrameParser(decode_text=False))[0]
        assert as_str == as_bytes == Text(text) == Text(text.encode())
        assert as_str.text == as_bytes.text == text and as_str.data == as_bytes.data == text.encode()
        assert repr(as_str) == f"Text({text!r})" and repr(as_bytes) == f"Text({text.encode()!r})"


# --- feeding ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_is_fed_is_not_changed(kind):
    frame = client(1, "Hello") + client(9, b"x")
    data = kind(frame)
    assert FrameParser().feed(data) == [Text("Hello"), Ping(b"x")]
    assert bytes(data) == frame
    with pytest.raises(TypeError):
        FrameParser().feed("text")
    with pytest.raises(TypeError):
        FrameParser().feed(None)


def test_the_end_of_the_connection():
    FrameParser().feed_eof()
    for stream in (b"\x81", client(1, "abc")[:-1], client(1, "a", fin=False)):
        parser = FrameParser()
        parser.feed(stream)
        with pytest.raises(RemoteProtocolError) as caught:
            parser.feed_eof()
        assert (caught.value.name, caught.value.offset) == ("incomplete", len(stream))
    parser = FrameParser()
    parser.feed(client(1, "whole"))
    parser.feed_eof()
    assert parser.offset == 11 and not parser.closed


def test_parser_options_are_checked():
    for options in (
        {"role": "peer"}, {"max_message_bytes": -1}, {"max_frame_bytes": -1}, {"max_message_bytes": 2**63}, {"keep_bytes": -1},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            FrameParser(**options)
    for options in ({"role": None}, {"deflate": True}, {"max_message_bytes": "1"}):
        with pytest.raises(TypeError):
            FrameParser(**options)


def test_a_parser_that_was_not_initialised_is_harmless():
    parser = FrameParser.__new__(FrameParser)
    assert parser.feed(client(9)) == [Ping()]
    with pytest.raises(RemoteProtocolError):
        parser.feed(client(1, "x"))


def test_a_parser_made_anew_forgets():
    parser = FrameParser(deflate=Deflate())
    parser.feed(client(1, packed(b"Hello")[:3], fin=False, rsv1=True))
    parser.__init__("client")
    assert parser.feed(build_frame(1, "x")) == [Text("x")]


def test_events_are_values():
    assert Text("a") != Binary(b"a") and Ping(b"a") != Pong(b"a") and Close(1000) != Close(1001)
    assert Text("a") != Text("a", last=False)
    assert repr(Text("a", last=False)) == "Text('a', first=True, last=False)"
    match FrameParser().feed(client(1, "x") + client(2, b"y") + client(8, b"\x03\xe8z")):
        case [Text(text), Binary(data), Close(code, reason)]:
            assert (text, data, code, reason) == ("x", b"y", 1000, "z")
        case other:
            pytest.fail(repr(other))
    for wrong in (lambda: Message("x"), lambda: Binary("x"), lambda: Text(1), lambda: Ping("x"), lambda: Close("x")):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError):
        hash(Text("a"))


# --- building ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("opcode", "options", "name"),
    [
        (3, {}, "bad_opcode"), (-1, {}, "bad_opcode"), (11, {}, "bad_opcode"), (256, {}, "bad_opcode"),
        (9, {"payload": bytes(126)}, "control_too_long"), (8, {"fin": False}, "control_fragmented"),
        (9, {"rsv1": True}, "bad_rsv"), (0, {"rsv1": True}, "bad_rsv"),
    ],
)  # fmt: skip
def test_frames_that_may_not_be_built(opcode, options, name):
    with pytest.raises(LocalProtocolError) as caught:
        build_frame(opcode, **options)
    assert (
        caught.value.name == name and isinstance(caught.value, ValueError) and isinstance(caught.value, ProtocolError)
    )


def test_arguments_that_are_wrong():
    for mask, error in ((b"abc", ValueError), (b"abcde", ValueError), ("abcd", TypeError), (7, TypeError)):
        with pytest.raises(error):
            build_frame(1, b"x", mask=mask)
    for payload in (None, 7, ["x"]):
        with pytest.raises(TypeError):
            build_frame(1, payload)
    with pytest.raises(UnicodeEncodeError):
        build_frame(1, "\ud800")
    with pytest.raises(UnicodeEncodeError):
        build_close(1000, "\ud800")
    for code, reason in ((None, "why"), (1000, "x" * 124), (1000, "é" * 62), (2**70, ""), (-1, "")):
        with pytest.raises(LocalProtocolError):
            build_close(code, reason)
    with pytest.raises(TypeError):
        build_close("1000")


def test_random_masks():
    frames = {build_frame(1, "same", mask=True) for _ in range(600)}
    assert len(frames) > 590
    assert all(feed(frame) == [Text("same")] for frame in frames)
    assert build_frame(1, "x", mask=False) == build_frame(1, "x", mask=None) == b"\x81\x01x"


def test_a_fork_draws_keys_of_its_own():
    build_frame(1, mask=True)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, b"".join(build_frame(1, mask=True) for _ in range(8)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 100)
    os.close(reader)
    os.close(writer)
    assert theirs != b"".join(build_frame(1, mask=True) for _ in range(8))


def test_apply_mask():
    data = os.urandom(300)
    assert apply_mask(apply_mask(data, KEY), KEY) == data
    for cut in range(9):
        assert apply_mask(data[:cut], KEY) + apply_mask(data[cut:], KEY, offset=cut) == apply_mask(data, KEY)
    assert apply_mask(b"", KEY) == b""
    with pytest.raises(TypeError):
        apply_mask("text", KEY)
    with pytest.raises(TypeError):
        apply_mask(b"x", True)


def test_an_encoder_keeps_the_order():
    encoder = Encoder()
    with pytest.raises(TypeError):
        encoder.binary("text")
    with pytest.raises(LocalProtocolError, match="UTF-8"):
        encoder.text(b"\xff")
    assert encoder.fragment("a", last=False) == b"\x01\x01a"
    for wrong in (encoder.text, encoder.prepared):
        with pytest.raises(LocalProtocolError, match="not finished"):
            wrong(PreparedMessage("x") if wrong == encoder.prepared else "x")
    assert encoder.ping(b"p") == b"\x89\x01p"
    assert encoder.fragment(b"b", last=True) == b"\x80\x01b"
    assert encoder.fragment(b"c", last=True) == b"\x82\x01c"
    with pytest.raises(LocalProtocolError):
        encoder.pong(bytes(126))
    with pytest.raises(LocalProtocolError):
        encoder.close(1005)
    assert encoder.close(1000, "bye") == b"\x88\x05\x03\xe8bye"
    for late in (encoder.text, encoder.ping, encoder.close):
        with pytest.raises(LocalProtocolError, match="after a Close"):
            late() if late == encoder.close else late("x")


def test_encoder_options_are_checked():
    for options in ({"role": "either"}, {"compress_min_bytes": -1}, {"deflate": Deflate(), "level": 10},
                    {"deflate": Deflate(), "mem_level": 0}):  # fmt: skip
        with pytest.raises(ValueError):
            Encoder(**options)
    with pytest.raises(ValueError):
        PreparedMessage("x", level=10)


def test_a_batch_is_its_messages():
    for deflate in (None, Deflate()):
        parser = FrameParser(deflate=deflate)
        messages = ["text", b"binary", "x" * 300, "", bytearray(b"more"), "x" * 300]
        events = parser.feed(Encoder("client", deflate=deflate).batch(messages))
        assert events == [Text(m) if isinstance(m, str) else Binary(bytes(m)) for m in messages]
    assert Encoder().batch([]) == b""


def test_a_batch_that_fails_sends_nothing():
    deflate = Deflate()
    encoder, parser = Encoder("client", deflate=deflate), FrameParser(deflate=deflate)
    text = "once upon a time " * 9
    assert parser.feed(encoder.text(text)) == [Text(text)]
    with pytest.raises(TypeError):
        encoder.batch([text, text + "and", None])
    assert parser.feed(encoder.text(text + "and")) == [Text(text + "and")]


def test_a_prepared_message_is_made_once():
    text = "the same for all " * 9
    message = PreparedMessage(text)
    agreed = [None, Deflate(), Deflate(server_no_context_takeover=True), Deflate(server_max_window_bits=9)]
    sides = [(Encoder(deflate=d), FrameParser("client", deflate=d)) for d in agreed]
    for _ in range(3):
        frames = []
        for encoder, parser in sides:
            frames.append(encoder.prepared(message))
            assert parser.feed(encoder.text("before " * 20) + frames[-1] + encoder.text("before " * 20)) != []
        assert frames[1] is frames[2] and frames[0] is not frames[1]
    for encoder, parser in sides:
        assert parser.feed(encoder.prepared(message) + encoder.text(text)) == [Text(text)] * 2
        assert parser.feed(encoder.prepared(message, compress=False)) == [Text(text)]
    assert message.frame() == build_frame(1, text)
    noise = PreparedMessage(os.urandom(200))
    assert noise.frame(Deflate()) is noise.frame()
    client_side = Encoder("client", deflate=Deflate())
    assert FrameParser(deflate=Deflate()).feed(client_side.prepared(message)) == [Text(text)]


# --- memory -----------------------------------------------------------------------------------------------------------
LEAK = """
import gc, resource, sys
from fastcore.websocket import *
deflate = Deflate()

def round(count):
    for i in range(count):
        parser, encoder = FrameParser(deflate=deflate), Encoder("client", deflate=deflate, mem_level=1)
        stream = encoder.text("é" * 50) + encoder.binary(b"x" * 5000) + encoder.ping(b"p") + encoder.batch(["a", b"b"])
        stream += encoder.fragment("a" * 99, last=False) + encoder.fragment("b", last=True) + encoder.prepared(PreparedMessage("c" * 99))
        assert len(parser.feed(stream[:40]) + parser.feed(stream[40:])) == 7
        try:
            parser.feed(build_frame(3 if i < 0 else 1, b"\\xff", mask=True))
        except RemoteProtocolError as error:
            assert error.events == []
        try:
            build_close(1005)
        except LocalProtocolError:
            pass
        key = client_key()
        server_handshake("GET", client_headers(key, protocols=["a"], deflate=deflate), protocols=["a"], deflate=deflate)
        build_frame(1, "é", mask=True)

round(300)
gc.collect()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
round(int(sys.argv[1]) // 20)
gc.collect()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@NOT_SANITIZED
def test_memory_stays_where_it_is():
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", LEAK, str(LEAK_OPERATIONS)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 1500, "KB more after as many rounds as it takes to see a leak of one object each"


def test_parsers_in_threads():
    def work(found):
        parser = FrameParser(deflate=Deflate())
        encoder = Encoder("client", deflate=Deflate())
        found.append(all(parser.feed(encoder.text(f"{i} " * 50)) == [Text(f"{i} " * 50)] for i in range(200)))

    results = []
    threads = [threading.Thread(target=work, args=(results,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    gc.collect()
