"""WSGI applications the worker is tested with. `app` picks one by path, so that one server serves all stories."""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any
from wsgiref.validate import validator

import falcon
import gevent

Start = Callable[..., Callable[[bytes], object]]
Environ = dict[str, Any]

PLAIN = [("Content-Type", "text/plain")]
FILE_BYTES = bytes(range(256)) * 4096
CLOSED: list[str] = []  # iterables whose close() was called, in this worker


def hello(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def pid(environ: Environ, start: Start) -> Iterable[bytes]:
    body = str(os.getpid()).encode()
    start("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def environ_text(environ: Environ, start: Start) -> Iterable[bytes]:
    lines = [f"{key}={environ[key]!r}" for key in sorted(environ) if isinstance(environ[key], str | bool | tuple)]
    start("200 OK", PLAIN)
    return ["\n".join(lines).encode()]


def echo(environ: Environ, start: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def digest(environ: Environ, start: Start) -> Iterable[bytes]:
    """Reads in the odd sizes of the query string, and tells what it read."""
    reads = [int(size) for size in environ["QUERY_STRING"].split(",")]
    stream, hashed, total, i = environ["wsgi.input"], hashlib.sha256(), 0, 0
    while block := stream.read(reads[i % len(reads)]):
        hashed.update(block)
        total += len(block)
        i += 1
    start("200 OK", PLAIN)
    return [f"{total} {hashed.hexdigest()}".encode()]


def lines(environ: Environ, start: Start) -> Iterable[bytes]:
    stream = environ["wsgi.input"]
    found = [stream.readline(), stream.readline(3), *stream.readlines(5), *stream]
    start("200 OK", PLAIN)
    return [repr(found).encode()]


def unread(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*PLAIN, ("Content-Length", "6")])
    return [b"unread"]


def several(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    return [b"one ", b"", b"two ", b"three"]


def generator(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", PLAIN)
    for i in range(4):
        yield f"part {i}\n".encode()


def lazy(environ: Environ, start: Start) -> Iterator[bytes]:
    """Calls start_response only when iterated."""
    start("202 Accepted", [*PLAIN, ("Content-Length", "4")])
    yield b"lazy"


def writer(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", PLAIN)
    write(b"written ")
    write(b"twice ")
    return [b"and returned"]


def empty(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    return []


def no_content(environ: Environ, start: Start) -> Iterable[bytes]:
    start("204 No Content", [("Content-Length", "0")])
    return [b""]


def not_modified(environ: Environ, start: Start) -> Iterable[bytes]:
    start("304 Not Modified", [("ETag", '"x"'), ("Content-Length", "99")])
    return [b"dropped"]


def too_many(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hel", b"lo and more", b"still more"]


def too_few(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*PLAIN, ("Content-Length", "50")])
    return [b"short"]


def hop_by_hop(environ: Environ, start: Start) -> Iterable[bytes]:
    fields = [
        "Connection",
        "Keep-Alive",
        "Transfer-Encoding",
        "TE",
        "Trailers",
        "Upgrade",
        "Proxy-Authenticate",
        "Server",
        "Date",
    ]
    start(
        "200 OK",
        [
            *((name, "chunked") for name in fields),
            ("X-Kept", "  spaced\t"),
            ("x-LoWeR", "as is"),
            ("Content-Length", "2"),
        ],
    )
    return [b"ok"]


def websocket_fields(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Content-Length", "0")])
    return []


def raises(environ: Environ, start: Start) -> Iterable[bytes]:
    raise RuntimeError("secret detail")


def raises_late(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", PLAIN)
    yield b"begun"
    raise RuntimeError("secret detail")


def raises_after_start(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    raise SystemExit("secret detail")


def replaced(environ: Environ, start: Start) -> Iterable[bytes]:
    import sys

    start("200 OK", [("X-First", "1")])
    try:
        raise ValueError("x")
    except ValueError:
        start("503 Service Unavailable", [("X-Second", "2"), ("Content-Length", "3")], sys.exc_info())
    return [b"two"]


def started_twice(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    start("200 OK", [])
    return []


def never_started(environ: Environ, start: Start) -> Iterable[bytes]:
    return [b"x"]


def bad_field(environ: Environ, start: Start) -> Iterable[bytes]:
    name, _, value = environ["QUERY_STRING"].partition("=")
    fields: dict[str, Any] = {
        "crlf": ("X", "a\r\nSet-Cookie: b"), "name": ("X Y", "a"), "empty": ("", "a"), "bytes": ("X", b"a"),
        "wide": ("X", "\u20ac"), "nul": ("X", "a\0b"), "length": ("Content-Length", "many"), "negative": ("Content-Length", "-1"),
    }  # fmt: skip
    start(value or "200 OK", [fields[name]] if name in fields else [])
    return [b"x"]


def not_bytes(environ: Environ, start: Start) -> Iterable[Any]:
    start("200 OK", PLAIN)
    return ["text"]


def latin1(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 Très bien", [("X-Name", "caf\xe9"), ("Content-Length", "0")])
    return []


class Closing:
    """An iterable that wants to be closed."""

    def __init__(self, name: str, blocks: Iterable[bytes]):
        self.name = name
        self.blocks = iter(blocks)

    def __iter__(self) -> Iterator[bytes]:
        return self.blocks

    def close(self) -> None:
        CLOSED.append(self.name)


def closing(environ: Environ, start: Start) -> Iterable[bytes]:
    """Streams for ever: only a client that goes away ends it."""
    start("200 OK", PLAIN)

    def blocks() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    return Closing(environ["QUERY_STRING"], blocks())


def closed(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    return [",".join(CLOSED).encode() or b"none"]


def open_file() -> IO[bytes]:
    with tempfile.NamedTemporaryFile(prefix="fastcore-test-") as named:
        named.write(FILE_BYTES)
        named.flush()
        return open(named.name, "rb")  # noqa: PTH123


def file(environ: Environ, start: Start) -> Iterable[bytes]:
    """?length, ?chunked, ?offset, ?memory, ?short"""
    how = environ["QUERY_STRING"]
    stream: Any = io.BytesIO(FILE_BYTES) if how == "memory" else open_file()
    if how == "offset":
        stream.seek(1000)
    left = len(FILE_BYTES) - stream.tell()
    start("200 OK", PLAIN if how == "chunked" else [*PLAIN, ("Content-Length", str(100 if how == "short" else left))])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](stream, 65536)
    return wrapped


def big(environ: Environ, start: Start) -> Iterable[bytes]:
    size = int(environ["QUERY_STRING"])
    start("200 OK", [*PLAIN, ("Content-Length", str(size))])
    return [b"b" * size]


def hints(environ: Environ, start: Start) -> Iterable[bytes]:
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def slow(environ: Environ, start: Start) -> Iterable[bytes]:
    gevent.sleep(float(environ["QUERY_STRING"] or 0.2))
    start("200 OK", [*PLAIN, ("Content-Length", "4")])
    return [b"slow"]


def log_error(environ: Environ, start: Start) -> Iterable[bytes]:
    print("written to wsgi.errors", file=environ["wsgi.errors"], flush=True)
    start("200 OK", [("Content-Length", "0")])
    return []


def metrics(environ: Environ, start: Start) -> Iterable[bytes]:
    """Counts in shared memory: the same number from whichever worker answers."""
    from fastcore.worker import FastcoreWorker

    counter = FastcoreWorker.metrics.counter("visits")
    counter.inc()
    start("200 OK", PLAIN)
    return [str(counter.value).encode()]


class Hello:
    """Falcon's hello world, as in the benchmark."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "text/plain"
        resp.text = "hello, world"

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = req.bounded_stream.read()


falcon_app = falcon.App()
falcon_app.add_route("/", Hello())
falcon_app.add_route("/falcon", Hello())
validated = validator(falcon_app)
validated_echo = validator(echo)

APPS: dict[str, Callable[[Environ, Start], Iterable[bytes]]] = {
    "/" + f.__name__.replace("_text", ""): f
    for f in (
        hello, pid, environ_text, echo, digest, lines, unread, several, generator, lazy, writer, empty, no_content, not_modified,
        too_many, too_few, hop_by_hop, websocket_fields, raises, raises_late, raises_after_start, replaced, started_twice,
        never_started, bad_field, not_bytes, latin1, closing, closed, file, big, hints, slow, log_error, metrics,
    )
}  # fmt: skip
APPS["/falcon"] = falcon_app
APPS["/validated"] = validator(lambda environ, start: echo(environ, start))


def app(environ: Environ, start: Start) -> Iterable[bytes]:
    """Dispatch by the first part of the path; everything unknown is the environ."""
    path = "/" + environ["PATH_INFO"].split("/")[1] if environ["PATH_INFO"].startswith("/") else ""
    return APPS.get(path, environ_text)(environ, start)
