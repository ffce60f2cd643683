from contextlib import suppress

from tests.leaks.table import operation

from fastcore.websocket import (
    Deflate,
    Encoder,
    FrameParser,
    HandshakeError,
    PreparedMessage,
    RemoteProtocolError,
    accept_key,
    build_close,
    build_frame,
    client_handshake,
    client_headers,
    client_key,
    server_handshake,
)

SERVER, CLIENT = FrameParser("server"), FrameParser("client")
OFFER = Deflate()
PACKED, UNPACKED = Encoder("client", deflate=OFFER), FrameParser("server", deflate=OFFER)
MESSAGE = PreparedMessage("to everybody, again and again and again and again and again and again")


@operation("frames", weight=4)
def frames() -> None:
    data = build_frame(1, "text", mask=True) + build_frame(2, b"bytes", mask=b"abcd") + build_frame(9, b"", mask=True)
    SERVER.feed(data)
    for at in range(0, len(data), 5):
        SERVER.feed(data[at : at + 5])
    CLIENT.feed(build_frame(1, b"part", fin=False) + build_frame(0, b"rest"))


@operation("compressed messages", weight=40)
def compressed() -> None:
    for event in UNPACKED.feed(PACKED.text("some text that repeats, repeats, repeats, repeats, repeats")):
        assert event.text
    MESSAGE.frame(OFFER)


@operation("broken frames", weight=10)
def broken() -> None:
    for wrong in (b"\xff\x00", b"\x81\x01a", build_close(1000, mask=True) + b"more", b"\x81\x82abcd\xff\xff"):
        parser = FrameParser("server")
        with suppress(RemoteProtocolError):
            parser.feed(wrong)


@operation("handshakes", weight=10)
def handshakes() -> None:
    key = client_key()
    asked = client_headers(key, protocols=["chat"], deflate=OFFER)
    answer = server_handshake("GET", [(b"Host", b"x"), *asked], protocols=["chat"], deflate=OFFER)
    client_handshake(key, 101, answer.headers, protocols=["chat"], deflate=OFFER)
    accept_key(key)
    with suppress(HandshakeError):
        server_handshake("POST", [])
