"""What an HTTP/1.1 head costs, in C and from Python: `what | ours | peer | ratio` (a ratio over 1: we are cheaper).

usage: python -m perf.bench_http [--rounds N] [--cflags FLAGS]

The C figure is the best of five runs of perf/bench_http1.c, compiled here with the flags of setup.py. picohttpparser
runs in the same program when its source can be had: the sdist of gunicorn_h1c on the package index carries it (compiled
here with -O3 for this very processor, its best setting). Otherwise the ~145 ns that hparse's README implies are quoted,
which were another machine's. Either way it is a parser that neither identifies fields nor checks Host and framing. From
Python, ours and httptools take turns; the median of the rounds counts.
"""

import argparse
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httptools

from fastcore.http import RequestParser
from perf import cprogram, loadlib

PICO_NS = 145.0
LOOPS = 20_000
BROWSER = (
    b"GET /media/gallery/2024/11/northern-lights-over-the-fjord.jpg HTTP/1.1\r\n"
    b"Host: pictures.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7; rv:128.0) Gecko/20100101 Firefox/128.0 Safari/605\r\n"
    b"Accept: image/avif,image/webp,image/apng,image/svg+xml,image/*;q=0.8,text/html;q=0.5,*/*;q=0.1\r\n"
    b"Accept-Language: nb-NO,nb;q=0.9,en-GB;q=0.7,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Referer: https://www.example.org/travel/norway/tromso/?season=winter\r\n"
    b"Connection: keep-alive\r\n"
    b"Cookie: sid=7f3c9a52e1b04d68; __utma=1.1234567890.1700000000.1700000000.1700000001.3; "
    b"__utmz=1.1700000000.1.1.utmcsr=search|utmccn=(organic)|utmcmd=organic|utmctr=lights\r\n"
    b"Cache-Control: max-age=0\r\n\r\n"
)


class Callbacks:
    """The least a server does with httptools: keep the URL and the headers."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


class UrlOnly:
    """As Callbacks, but blind to headers: the cheapest httptools can be."""

    __slots__ = ("url",)

    def on_url(self, url: bytes) -> None:
        self.url = url


def peer_all() -> None:
    callbacks = Callbacks()
    parser = httptools.HttpRequestParser(callbacks)
    parser.feed_data(BROWSER)
    parser.get_method()


def peer_url() -> None:
    callbacks = UrlOnly()
    parser = httptools.HttpRequestParser(callbacks)
    parser.feed_data(BROWSER)
    parser.get_method()


PARSER = RequestParser()
KEPT = Callbacks()
PEER = httptools.HttpRequestParser(KEPT)


def ours_route() -> None:
    request = PARSER.parse_head(BROWSER)
    assert request is not None
    _ = request.method, request.path, request.headers.get(b"host")


def ours_url() -> None:
    request = PARSER.parse_head(BROWSER)
    assert request is not None
    _ = request.method, request.target


def ours_all() -> None:
    request = PARSER.parse_head(BROWSER)
    assert request is not None
    _ = request.method, request.target, request.headers.items()


def ours_feed() -> None:
    request, _end = PARSER.feed(BROWSER)
    _ = request.method, request.target, request.headers.items()  # type: ignore[union-attr]


def ours_feed_route() -> None:
    request, _end = PARSER.feed(BROWSER)
    _ = request.method, request.path, request.headers.get(b"host")  # type: ignore[union-attr]


def peer_feed() -> None:
    KEPT.headers.clear()
    PEER.feed_data(BROWSER)
    PEER.get_method()


def ns_per_call(call: Callable[[], None]) -> float:
    begin = time.perf_counter_ns()
    for _ in range(LOOPS):
        call()
    return (time.perf_counter_ns() - begin) / LOOPS


def in_turns(ours: Callable[[], None], peer: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Medians, in ns per call, of calls that alternate so that the machine's moods hit both."""
    pairs = [(ns_per_call(ours), ns_per_call(peer)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def picohttpparser(folder: Path) -> Path | None:
    """Its source, out of a package that carries it; None where there is no package index to ask."""
    fetch = ["-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", folder]
    subprocess.run([sys.executable, *fetch, "gunicorn_h1c"], check=False, capture_output=True)
    for sdist in folder.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
    return next((source.parent for source in folder.rglob("picohttpparser.c")), None)


def c_figures(cflags: str) -> dict[str, tuple[float, int]]:
    """Variant -> (ns per head, bytes of head), from the C program."""
    flags: list[str | Path] = [*shlex.split(cflags)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if (pico := picohttpparser(folder)) is not None:
            built = folder / "pico.o"
            best = ["cc", "-O3", "-march=native", "-w", "-c", pico / "picohttpparser.c", "-o", built]
            subprocess.run(best, check=True)
            flags += ["-DWITH_PICO", "-I", pico, built]
        with cprogram.compiled("bench_http1", "proto/http1*.c", "proto/scan.c", flags=flags) as program:
            return {variant: (float(ns), int(size)) for variant, ns, size in program()}


def main() -> None:
    options = argparse.ArgumentParser(description="cost of an HTTP/1.1 head")
    options.add_argument("--rounds", type=int, default=7, help="pairs of runs to take the median of")
    options.add_argument("--cflags", default="", help="further flags for the C program")
    chosen = options.parse_args()

    print(loadlib.HEADER)
    figures = c_figures(chosen.cflags)
    ns, size = figures["browser"]
    pico, peer = (figures["pico"][0], "picohttpparser") if "pico" in figures else (PICO_NS, "picohttpparser, published")
    print(f"C, {size}-byte head, ns (peer: {peer}) | {ns:.0f} | {pico:.0f} | {pico / ns:.2f}")
    plain, _ = figures["browser-plain"]
    print(f"C, same, SIMD and plain, ns | {ns:.0f} | {plain:.0f} | {plain / ns:.2f}")
    small, size = figures["small"]
    print(f"C, {size}-byte head, ns | {small:.0f} | - | -")
    for what, ours, peer in (
        ("method, path, Host (peer: URL and header callbacks)", ours_route, peer_all),
        ("method, target (peer: URL callback only)", ours_url, peer_url),
        ("method, target, every header", ours_all, peer_all),
        ("one parser per connection: method, path, Host (peer: all headers)", ours_feed_route, peer_feed),
        ("one parser per connection: method, target, every header", ours_feed, peer_feed),
    ):
        mine, theirs = in_turns(ours, peer, chosen.rounds)
        print(f"Python, {what}, us | {mine / 1000:.2f} | {theirs / 1000:.2f} | {theirs / mine:.2f}")


if __name__ == "__main__":
    main()
