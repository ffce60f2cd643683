"""WebSocket frames in C and from Python: `what | ours | peer | ratio` (a ratio over 1: we are faster).

    python -m perf.bench_websocket [--rounds N] [--quick]

Goals: parsing and building masked 256-byte frames at least 5 times wsproto, like for like (its frame layer against
pieces, its connection against messages); masking 64 KB at the speed of memcpy. wsproto masks in Python; websockets has
a C function for masking and is shown at its best, its frame layer alone. Peers draw a key for each frame as they always
do (os.urandom or secrets). The C figures are best of nine; those with a peer are medians of interleaved rounds.
"""

import importlib.metadata
import os
from collections.abc import Callable, Iterator

from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate as WebsocketsDeflate
from websockets.frames import Frame
from websockets.frames import Opcode as WebsocketsOpcode
from websockets.speedups import apply_mask as websockets_mask
from websockets.streams import StreamReader
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage
from wsproto.frame_protocol import FrameProtocol

from fastcore.websocket import Deflate, Encoder, FrameParser, PreparedMessage, apply_mask, build_frame
from perf import cprogram, microbench

BINARY = os.urandom(256)
TEXT = "The quick brown fox jumps over the lazy dog. " * 6
TEXT = TEXT[:256]
JSON = ('{"channel":"chat:1","pub":{"data":{"user":"7","text":"see you at the station"},"offset":%d}}' * 3) % (1, 2, 3)
LARGE = os.urandom(65536)
KEY = os.urandom(4)


def times(count: int, call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            call()

    return run


def wsproto_frames(stream: bytes) -> Callable[[], None]:
    protocol = FrameProtocol(client=False, extensions=[])

    def run() -> None:
        protocol.receive_bytes(stream)
        for frame in protocol.received_frames():
            _ = frame.payload

    return run


def wsproto_messages(stream: bytes) -> Callable[[], None]:
    connection = Connection(ConnectionType.SERVER)

    def run() -> None:
        connection.receive_data(stream)
        for event in connection.events():
            _ = event.data  # type: ignore[union-attr]

    return run


def websockets_frames(
    stream: bytes, count: int, mask: bool = True, extension: Extension | None = None
) -> Callable[[], None]:
    reader = StreamReader()
    extensions = [extension] if extension else None

    def run() -> None:
        reader.feed_data(stream)
        for _ in range(count):
            try:
                next(Frame.parse(reader.read_exact, mask=mask, max_size=1 << 20, extensions=extensions))
            except StopIteration as done:
                _ = done.value.data

    return run


def ours(stream: bytes, **options: object) -> Callable[[], None]:
    parser = FrameParser(**options)  # type: ignore[arg-type]

    def run() -> None:
        for event in parser.feed(stream):
            _ = event.data  # type: ignore[union-attr]

    return run


def ours_text(stream: bytes) -> Callable[[], None]:
    parser = FrameParser()

    def run() -> None:
        for event in parser.feed(stream):
            _ = event.text  # type: ignore[union-attr]

    return run


def c_figures() -> Iterator[tuple[str, float, str]]:
    """Name, figure and unit, from the C program."""
    sources = [f"proto/{name}.c" for name in ("mask", "utf8", "deflate", "websocket", "websocket_build", "ws_reader")]
    with cprogram.compiled("bench_websocket", *sources) as program:
        for name, figure, unit in program():
            yield name, float(figure), unit


def parsing(bench: microbench.Bench, count: int) -> None:
    one = build_frame(2, BINARY, mask=KEY)
    text = build_frame(1, TEXT, mask=KEY)
    bench.rate(
        "parse, 256 bytes binary, frame level",
        count,
        {
            "ours": times(count, ours(one, assemble=False)),
            "wsproto": times(count, wsproto_frames(one)),
            "websockets": times(count, websockets_frames(one, 1)),
        },
    )
    bench.rate(
        "parse, 256 bytes of text as str, messages",
        count,
        {"ours": times(count, ours_text(text)), "wsproto": times(count, wsproto_messages(text))},
    )
    bench.rate(
        "parse, 256 bytes binary, 64 in a feed",
        count,
        {
            "ours": times(count // 64, ours(one * 64)),
            "wsproto": times(count // 64, wsproto_messages(one * 64)),
            "websockets": times(count // 64, websockets_frames(one * 64, 64)),
        },
    )
    large = build_frame(2, LARGE, mask=KEY)
    few = max(1, count // 64)
    bench.rate(
        "parse, 64 KB binary",
        few,
        {
            "ours": times(few, ours(large)),
            "wsproto": times(few, wsproto_frames(large)),
            "websockets": times(few, websockets_frames(large, 1)),
        },
    )


def building(bench: microbench.Bench, count: int) -> None:
    wsproto = FrameProtocol(client=True, extensions=[])
    connection = Connection(ConnectionType.CLIENT)
    encoder = Encoder("client")
    bench.rate(
        "build, 256 bytes binary masked, one frame",
        count,
        {
            "ours": times(count, lambda: build_frame(2, BINARY, mask=True)),
            "wsproto": times(count, lambda: wsproto.send_data(BINARY, True)),
            "websockets": times(count, lambda: Frame(WebsocketsOpcode.BINARY, BINARY).serialize(mask=True)),
        },
    )
    bench.rate(
        "build, 256 bytes of text masked, connection",
        count,
        {
            "ours": times(count, lambda: encoder.text(TEXT)),
            "wsproto": times(count, lambda: connection.send(TextMessage(TEXT))),
        },
    )
    server, peer = Encoder(), Connection(ConnectionType.SERVER)
    bench.rate(
        "build, 64 messages of 256 bytes at once, not masked",
        count,
        {
            "ours": times(count // 64, lambda: server.batch([BINARY] * 64)),
            "wsproto": times(count // 64, lambda: b"".join([peer.send(BytesMessage(BINARY)) for _ in range(64)])),
            "websockets": times(
                count // 64,
                lambda: b"".join([Frame(WebsocketsOpcode.BINARY, BINARY).serialize(mask=False) for _ in range(64)]),
            ),
        },
    )
    bench.rate(
        "mask 64 KB",
        count // 64,
        {
            "ours": times(count // 64, lambda: apply_mask(LARGE, KEY)),
            "websockets": times(count // 64, lambda: websockets_mask(LARGE, KEY)),
        },
    )


def deflating(bench: microbench.Bench, count: int) -> None:
    params = Deflate()
    encoder, theirs = Encoder(deflate=params), WebsocketsDeflate(False, False, 15, 15)
    data = JSON.encode()
    bench.rate(
        f"compress, {len(data)} bytes of JSON, context takeover",
        count,
        {
            "ours": times(count, lambda: encoder.text(data)),
            "websockets": times(
                count, lambda: Frame(WebsocketsOpcode.TEXT, data).serialize(mask=False, extensions=[theirs])
            ),
        },
    )
    no_context = Deflate(server_no_context_takeover=True)
    alone = WebsocketsDeflate(False, True, 15, 15)
    frame = PreparedMessage(data).frame(no_context)
    bench.rate(
        "expand it, no context takeover",
        count,
        {
            "ours": times(count, ours(frame, role="client", deflate=no_context)),
            "websockets": times(count, websockets_frames(frame, 1, False, WebsocketsDeflate(True, False, 15, 15))),
        },
    )
    kept = Encoder(deflate=no_context, keep_memory=True)
    given_back = Encoder(deflate=no_context)
    small = Encoder(deflate=Deflate(server_no_context_takeover=True, server_max_window_bits=10), mem_level=3)
    bench.rate(
        "compress it alone, memory kept",
        count,
        {
            "ours": times(count, lambda: kept.text(data)),
            "ours, memory given back": times(count, lambda: given_back.text(data)),
            "ours, memory given back, 10 bits and mem_level 3": times(count, lambda: small.text(data)),
            "websockets": times(
                count, lambda: Frame(WebsocketsOpcode.TEXT, data).serialize(mask=False, extensions=[alone])
            ),
        },
    )


def main() -> None:
    versions = {name: importlib.metadata.version(name) for name in ("websockets", "wsproto")}
    bench = microbench.start("websocket", "cost of WebSocket frames", versions)
    for name, figure, unit in c_figures():
        bench.alone(f"C, {name}", unit, figure)
    count = 256 if bench.quick else 8192
    parsing(bench, count)
    building(bench, count)
    deflating(bench, count // 4)
    microbench.finish(bench)


if __name__ == "__main__":
    main()
