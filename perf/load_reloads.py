"""What new settings cost the traffic that is under way: p99 beside reloads, and alone; and whether anything broke.

usage: python -m perf.load_reloads [--seconds S] [--pairs N] [--reloads N] [--routes N] [--sockets N] [--rate R]

A gateway with many routes and open WebSockets takes requests at a fixed rate. All the time of a measured run, settings
that change one route and one upstream are put by `PUT /config`, and every fifth time ones with an error are. The row
compares the gateway with itself: ours with the reloads, `peer` without. Requests that failed, sockets that closed and
refused settings that changed something are counted; the program fails if there is one. What this does not show:
more workers than CPUs; the check of the settings runs beside, and needs a CPU of its own to go unnoticed.
"""

import argparse
import http.client
import json
import socket
import statistics
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from perf import loadlib, proxies
from perf.loadlib import Service

CONNECTIONS = 16
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ASK = b"GET /sockets HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class EchoTarget:
    """Upgrades every connection and sends back what comes over it: one thread, as many sockets as there are."""

    def __init__(self) -> None:
        import selectors

        self._selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self.listener.getsockname()[1]
        self._selector.register(self.listener, selectors.EVENT_READ)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock: Any = key.fileobj
                if sock is self.listener:
                    made, _ = sock.accept()
                    self._selector.register(made, 1)
                    continue
                data = sock.recv(65536)
                if data:
                    sock.sendall(SWITCH if data.startswith(b"GET") else data)
                else:
                    self._selector.unregister(sock)
                    sock.close()


def open_socket(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(ASK)
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        got += sock.recv(4096)
    if not got.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"no tunnel: {got!r}")
    return sock


def still_open(sock: socket.socket) -> bool:
    try:
        sock.sendall(b"ping")
        return sock.recv(16) == b"ping"
    except OSError:
        return False


class Settings:
    """Many routes; `text` makes the file after so many changes."""

    def __init__(self, backend: int, sockets: int, routes: int, listen: int, control: int):
        self.control = control
        general = f"listen: ['127.0.0.1:{listen}']\ncontrol: '127.0.0.1:{control}'\nworkers: 1\naccess_log: 'off'\n"
        upstreams = "".join(f"  u{i}: {{targets: ['127.0.0.1:{backend}']}}\n" for i in range(50))
        self._start = (
            f"{general}upstreams:\n  backend: {{targets: ['127.0.0.1:{backend}']}}\n"
            f"  sockets: {{targets: ['127.0.0.1:{sockets}']}}\n{upstreams}"
        )
        self._routes = "routes:\n  - {path: /, upstream: backend}\n  - {path: /sockets, upstream: sockets}\n" + "".join(
            f"  - {{name: r{i}, path: /service{i}, upstream: u{i % 50}, methods: [GET, POST]}}\n" for i in range(routes)
        )
        self._backend = backend

    def text(self, change: int) -> str:
        upstream = f"  changing: {{targets: ['127.0.0.1:{self._backend}'], keepalive: {change % 1000}}}\n"
        return f"{self._start}{upstream}{self._routes}  - {{path: /changed{change}, upstream: changing}}\n"


class Changes:
    """Puts settings one after the other while the block lasts; keeps what became of them."""

    def __init__(self, settings: Settings, every: float):
        self.settings, self.every = settings, every
        self.done = self.refused = 0
        self.wrong: list[str] = []
        self.spread_ms: list[float] = []
        self.checked_ms: list[float] = []
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Changes":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def put(self, text: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.control, timeout=60)
        with closing(connection):
            connection.request("PUT", "/config", text.encode(), {"Content-Type": "application/yaml"})
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
            return answer.status, found

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._number += 1
            change = time.time_ns()
            status, told = self.put(self.settings.text(change))
            if status == 200 and told["in_force"]:
                self.done += 1
                self.spread_ms.append(told["spread_ms"])
                self.checked_ms.append(told["checked_ms"])
            else:
                self.wrong.append(f"{status} {told}")
            if self._number % 5 == 0:
                status, told = self.put(self.settings.text(change + 1) + "  - {path: x, upstream: nobody}\n")
                self.refused += 1
                if status != 422:
                    self.wrong.append(f"settings with an error: {status} {told}")
            due = max(due + self.every, time.monotonic())
            self._stop.wait(due - time.monotonic())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="p99 of requests beside reloads")
    parser.add_argument("--seconds", type=float, default=60, help="length of one run with reloads (60)")
    parser.add_argument("--pairs", type=int, default=10, help="runs with and without, in turns (10)")
    parser.add_argument("--reloads", type=int, default=50, help="in each run (50)")
    parser.add_argument("--routes", type=int, default=5000, help="in the settings (5000)")
    parser.add_argument("--sockets", type=int, default=1000, help="open WebSockets (1000)")
    parser.add_argument("--rate", type=int, default=5000, help="requests a second (5000)")
    chosen = parser.parse_args(argv)
    wrong: list[str] = []
    beside, alone, spread, checked = [], [], [], []
    done = refused = unsent = 0
    with loadlib.workplace() as folder, ExitStack() as stack:
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        echo = EchoTarget()
        settings = Settings(backend.port, echo.port, chosen.routes, loadlib.free_port(), loadlib.free_port())
        service = gateway(folder, settings)
        stack.enter_context(loadlib.running(service, folder))
        sockets = [stack.enter_context(closing(open_socket(service.port))) for _ in range(chosen.sockets)]
        options = ("-c", str(CONNECTIONS), "-w", "500ms", "-R", str(chosen.rate))
        for _ in range(chosen.pairs):
            load = loadlib.bench(service.url, *options, "-d", f"{round(chosen.seconds * 500)}ms")
            alone.append(load.p99_ms)
            with Changes(settings, chosen.seconds / chosen.reloads) as changes:
                beside_load = loadlib.bench(service.url, *options, "-d", f"{round(chosen.seconds * 1000)}ms")
            beside.append(beside_load.p99_ms)
            wrong += [
                f"{run.failed - run.unsent} requests failed" for run in (load, beside_load) if run.failed > run.unsent
            ]
            unsent += load.unsent + beside_load.unsent
            wrong += changes.wrong
            done += changes.done
            refused += changes.refused
            spread += changes.spread_ms
            checked += changes.checked_ms
            print(
                f"{done} reloads, {refused} refused, p99 {load.p99_ms:.2f} -> {beside_load.p99_ms:.2f} ms",
                file=sys.stderr,
            )
        closed = sum(not still_open(sock) for sock in sockets)
        wrong += [f"{closed} sockets closed"] if closed else []
    row = loadlib.row(
        f"{chosen.rate} requests/s beside reloads of {chosen.routes} routes (peer: without)",
        "p99 in ms",
        beside,
        alone,
        less_is_better=True,
    )
    print(loadlib.HEADER)
    print(row)
    print(
        f"{done} reloads and {refused} refused; a check took {statistics.median(checked):.0f} ms, putting it in force "
        f"{statistics.median(spread):.1f} ms (most {max(spread):.1f}); {len(wrong)} things went wrong, {unsent} "
        "requests were due and never sent because the generator was behind",
        file=sys.stderr,
    )
    raw = {"beside": beside, "alone": alone, "spread_ms": spread, "checked_ms": checked, "wrong": wrong}
    file = loadlib.write_results("reloads", [row], raw, proxies.versions())
    print(f"raw results: {Path(file).relative_to(loadlib.ROOT)}", file=sys.stderr)
    for each in wrong[:20]:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


def gateway(folder: Path, settings: Settings) -> Service:
    file = folder / "reloads.yaml"
    file.write_text(settings.text(0))
    port = int(settings.text(0).partition("127.0.0.1:")[2].partition("'")[0])
    command = [*loadlib.fastcore_command(), "gateway", "-c", str(file)]
    return Service("reloads", command, port, environ=loadlib.SOURCES)


if __name__ == "__main__":
    sys.exit(main())
