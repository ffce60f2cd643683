"""RESP against hiredis-py 3, its C parser and packer: `what | ours | peer | ratio` (over 1: ours is faster).

    python -m perf.bench_resp [--rounds N] [--quick]

A reply is fed and taken whole, as one read of a socket gives it; the reader is kept, as for a connection. The C figures
are those of perf/bench_resp.c, compiled here with the flags of setup.py; they have no peer: the request parser is what
the key-value store reads with, its goal 600,000 requests a second of one core with everything else in them (80 ns would
be 5 % of that).
"""

from collections.abc import Callable
from typing import Any

import hiredis

from fastcore import resp
from perf import cprogram, microbench
from perf.microbench import Bench


def blob(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def repeated(head: bytes, elements: list[bytes]) -> bytes:
    return head + b"".join(elements)


REPLIES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "+OK": (b"+OK\r\n", {}),
    "$3 foo": (b"$3\r\nfoo\r\n", {}),
    ":1": (b":1\r\n", {}),
    "GET, 100 bytes": (blob(b"x" * 100), {}),
    "GET, 100 bytes, decoded": (blob(b"x" * 100), {"encoding": "utf-8"}),
    "array of 1,000 strings": (repeated(b"*1000\r\n", [blob(b"value-%04d" % i) for i in range(1000)]), {}),
    "array of 1,000 strings, decoded": (
        repeated(b"*1000\r\n", [blob(b"value-%04d" % i) for i in range(1000)]),
        {"encoding": "utf-8"},
    ),
    "array of 1,000 integers": (repeated(b"*1000\r\n", [b":%d\r\n" % (i * i) for i in range(1000)]), {}),
    "array of 1,000 doubles": (repeated(b"*1000\r\n", [b",%b\r\n" % repr(i / 7).encode() for i in range(1000)]), {}),
    "100 arrays of 10 strings": (repeated(b"*100\r\n", [b"*10\r\n" + blob(b"foo") * 10] * 100), {}),
    "map of 100": (repeated(b"%100\r\n", [blob(b"field%03d" % i) + blob(b"value") for i in range(100)]), {}),
    "push of 3": (b">3\r\n" + blob(b"message") + blob(b"channel") + blob(b"x" * 50), {}),
}

COMMANDS: dict[str, tuple[Any, ...]] = {
    "GET key": ("GET", "key:000000000001"),
    "SET key, 100 bytes": ("SET", "key:000000000001", b"x" * 100),
    "ZADD, numbers": ("ZADD", "board", 1.5, "a", 100_000, "b"),
    "MSET, 100 pairs": ("MSET", *(f"key:{i}" for i in range(200))),
}


def reading(make: Callable[..., Any], wire: bytes, options: dict[str, Any], times: int) -> Callable[[], None]:
    reader = make(**options)

    def run() -> None:
        feed, gets = reader.feed, reader.gets
        for _ in range(times):
            feed(wire)
            gets()

    return run


def packing(pack: Callable[[tuple[Any, ...]], bytes], command: tuple[Any, ...], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            pack(command)

    return run


def pipelined(make: Callable[..., Any], count: int) -> Callable[[], None]:
    """One feed of many replies, then take them all."""
    wire = blob(b"x" * 100) * count
    reader = make()

    def run() -> None:
        gets = reader.gets
        reader.feed(wire)
        for _ in range(count):
            gets()

    return run


def large(make: Callable[..., Any], size: int) -> Callable[[], None]:
    """One string in pieces of 64 KB from a buffer that is used again, as redis-py reads."""
    piece = bytearray(65536)

    def run() -> None:
        reader = make()
        reader.feed(b"$%d\r\n" % size)
        for done in range(0, size, len(piece)):
            reader.feed(piece, 0, min(len(piece), size - done))
            reader.gets()
        reader.feed(b"\r\n")
        assert len(reader.gets()) == size

    return run


def serving(count: int) -> Callable[[], None]:
    wire = resp.pack("SET", "key:000000000001", b"x" * 100) * count
    reader = resp.RequestReader()

    def run() -> None:
        reader.feed(wire)

    return run


def c_figures(bench: Bench) -> None:
    with cprogram.compiled("bench_resp", "proto/resp*.c") as program:
        lines = program(1 if bench.quick else 3)
    names = {
        "request_get": "C, request GET",
        "request_set": "C, request SET, 100 bytes",
        "reply_element": "C, element of an array of 1,000",
        "reply_get": "C, reply of 100 bytes",
        "write_blob": "C, writing a string of 100 bytes",
    }
    for name, ns in lines:
        bench.alone(names[name], "ns", float(ns))


def main() -> None:
    assert __doc__
    bench = microbench.start("resp", __doc__.splitlines()[0], {"hiredis": hiredis.__version__}, rounds=9)
    budget = 20_000 if bench.quick else 2_000_000  # bytes of wire for each run
    for name, (wire, options) in REPLIES.items():
        times = max(budget // (len(wire) + 40), 1)
        contenders = {
            "ours": reading(resp.Reader, wire, options, times),
            "hiredis": reading(hiredis.Reader, wire, options, times),
        }
        bench.rate(f"read {name}", times, contenders)
    count = 100 if bench.quick else 20_000
    bench.rate(
        "read 100 bytes, pipelined",
        count,
        {"ours": pipelined(resp.Reader, count), "hiredis": pipelined(hiredis.Reader, count)},
    )
    size = 1_000_000 if bench.quick else 100_000_000
    bench.rate(
        f"read one string of {size // 10**6} MB in pieces, bytes",
        size,
        {"ours": large(resp.Reader, size), "hiredis": large(hiredis.Reader, size)},
    )
    for name, command in COMMANDS.items():
        times = max(budget // (40 * len(command)), 1)
        contenders = {
            "ours": packing(resp.pack_command, command, times),
            "hiredis": packing(hiredis.pack_command, command, times),
        }
        bench.rate(f"pack {name}", times, contenders)
    bench.rate("requests into lists of bytes (SET, 100 bytes)", count, {"ours": serving(count)})
    c_figures(bench)
    microbench.finish(bench)


if __name__ == "__main__":
    main()
