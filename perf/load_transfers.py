"""What large transfers cost the other connections: p99 of small requests, beside them and alone.

usage: python -m perf.load_transfers [--seconds S] [--pairs N] [--rate R]

All the time that is measured, one body is downloaded through the proxy by a client that reads a burst and pauses, and
one uploaded to a target that does the same, again and again. Each row compares a proxy with itself: ours with the
transfers, `peer` without, and a ratio of 1 means that nobody noticed. What this does not show: the transfers' own
speed, which the pauses set: a client on a slow line. With bursts of 4 MB every 20 ms both ways the generator, which
shares its core with the transfers' ends, is late itself: p99 is then four times as high beside nginx as well.
"""

import argparse
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Self

from perf import loadlib, proxies
from perf.loadlib import Row, Service

BODY_BYTES = 1 << 30
BURST_BYTES = 256 << 10
PAUSE_SECONDS = 0.05
BLOCK = bytes(1 << 18)
CONNECTIONS = 16


def read_in_bursts(sock: socket.socket, size: int, stop: threading.Event) -> None:
    """Take `size` bytes: a burst, a pause, a burst. Ends early when told to or cut off."""
    scrap = bytearray(len(BLOCK))
    burst = 0
    while size > 0 and not stop.is_set():
        got = sock.recv_into(scrap)
        if not got:
            return
        size -= got
        burst += got
        if burst >= BURST_BYTES:
            burst = 0
            stop.wait(PAUSE_SECONDS)


def write_all(sock: socket.socket, size: int, stop: threading.Event) -> None:
    while size > 0 and not stop.is_set():
        sock.sendall(BLOCK)
        size -= len(BLOCK)


def read_head(sock: socket.socket) -> bytes:
    """A head, byte by byte: what follows is left in the socket."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionResetError("no head")
        head += byte
    return head


class BulkTarget:
    """Answers GET with a large body as fast as it is taken; takes the body of a POST in bursts."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with closing(sock):
            try:
                if read_head(sock).startswith(b"GET"):
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES)
                    write_all(sock, BODY_BYTES, self.stop)
                else:
                    read_in_bursts(sock, BODY_BYTES, self.stop)
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                return  # cut off at the end of a run

    def close(self) -> None:
        self.stop.set()
        self.listener.close()


class Transfers:
    """A download and an upload through a proxy, one after the other until the block is left."""

    def __init__(self, service: Service):
        self.service = service
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._repeat, args=(one,)) for one in (self._download, self._upload)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _repeat(self, one: Callable[[socket.socket], None]) -> None:
        while not self.stop.is_set():
            with socket.create_connection(("127.0.0.1", self.service.port), timeout=10) as sock:
                one(sock)

    def _download(self, sock: socket.socket) -> None:
        sock.sendall(b"GET /bulk HTTP/1.1\r\nHost: x\r\n\r\n")
        read_in_bursts(sock, BODY_BYTES, self.stop)

    def _upload(self, sock: socket.socket) -> None:
        sock.sendall(b"POST /bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES)
        write_all(sock, BODY_BYTES, self.stop)
        if not self.stop.is_set():
            sock.recv(1024)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="p99 of small requests beside large transfers")
    parser.add_argument("--seconds", type=float, default=8, help="length of one run (8)")
    parser.add_argument("--pairs", type=int, default=5, help="runs with and without, in turns (5)")
    parser.add_argument("--rate", type=int, default=2000, help="small requests a second (2000)")
    chosen = parser.parse_args(argv)
    os.sched_setaffinity(0, {loadlib.LOAD_CORE})  # both ends of the transfers; the services pin themselves
    options = ("-c", str(CONNECTIONS), "-d", f"{round(chosen.seconds * 1000)}ms", "-w", "500ms", "-R", str(chosen.rate))
    rows: list[Row] = []
    raw: dict[str, object] = {}
    print(loadlib.HEADER)
    with loadlib.workplace() as folder, ExitStack() as stack:
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        bulk = stack.enter_context(closing(BulkTarget()))
        for name in ("fastcore", "nginx"):
            made = proxies.PROXIES[name](folder, backend.port, access_log=False, bulk=bulk.port)
            with loadlib.running(made, folder) as service:
                loadlib.bench(service.url, *options)
                beside, alone = [], []
                for _ in range(chosen.pairs):
                    alone.append(loadlib.bench(service.url, *options))
                    with Transfers(service):
                        beside.append(loadlib.bench(service.url, *options))
                raw[name] = {"beside": beside, "alone": alone}
                what = f"{name}: {chosen.rate} requests/s beside transfers (peer: alone)"
                figures = [[run.p99_ms for run in runs] for runs in (beside, alone)]
                rows.append(loadlib.row(what, "p99 in ms", *figures, less_is_better=True))
                print(rows[-1], flush=True)
    file = loadlib.write_results("transfers", rows, raw, proxies.versions())
    print(f"raw results: {file.relative_to(loadlib.ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
