"""Our gateway against nginx, haproxy and caddy, all reverse proxies before one nginx: `what | ours | peer | ratio`.

usage: python -m perf.load_gateway [--seconds S] [--pairs N] [--only WORDS] [--list]

One worker, process or thread each, on one core; backend and load generator on another. Peers at their best settings:
nginx and haproxy with pools of idle connections to the backend, no limit on requests per connection, nothing added to
the request. Ours adds Via and X-Forwarded-* as by default and keeps its metrics on. What this does not show: TLS,
several workers, real networks, machines where the generator is the bottleneck (see `rate` in the raw results), and, for
idle connections, what a server sets aside for them when it starts (nginx: all of its connection table).
"""

import argparse
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf import loadlib, proxies
from perf.loadlib import Cost, Row, Service

IDLE_CONNECTIONS = 10_000
IDLE_SECONDS = 10.0  # of looking at what idle connections cost; a clock tick of 10 ms is 1 ms/s
# Before that: deadlines of the last request (10 s for its header) are not cancelled but found over when they come.
RESTED_SECONDS = 12.0
SETTLE_SECONDS = 3.0  # what is given back when idle has been given back


@dataclass
class Bench:
    """One run of this program: the options, the rows so far, everything measured."""

    seconds: float
    pairs: int
    idle: int
    rows: list[Row] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(row, flush=True)

    def per_cpu_second(self, what: str, services: list[Service], load: Callable[[Service], loadlib.Load]) -> None:
        """Requests per server CPU-second, ours against each peer."""
        measured = loadlib.in_turns(services, self.pairs, lambda service: loadlib.cost(service, lambda: load(service)))
        self.raw[what] = {
            name: [{**vars(run.load), "rate": run.load.rate, "cpu": run.cpu} for run in runs]
            for name, runs in measured.items()
        }
        self._warn_of_failures(what, measured)
        ours = [run.per_cpu_second for run in measured[services[0].name]]
        for peer in services[1:]:
            peers = [run.per_cpu_second for run in measured[peer.name]]
            self.add(loadlib.row(f"{what} (peer: {peer.name})", "requests per CPU-second", ours, peers))

    def _warn_of_failures(self, what: str, measured: dict[str, list[Cost]]) -> None:
        for name, runs in measured.items():
            if failed := sum(run.load.failed for run in runs):
                print(f"note: {what}: {failed} requests failed at {name}", file=sys.stderr)


# --- what is measured -----------------------------------------------------------------------------------------------


def keepalive(bench: Bench, services: list[Service], label: str) -> None:
    bench.per_cpu_second(
        f"{label}, 64 connections", services, lambda service: loadlib.wrk(service.url, 64, bench.seconds)
    )


def connect(bench: Bench, services: list[Service], label: str) -> None:
    bench.per_cpu_second(
        f"{label}, 1,000 connections, one request each",
        services,
        lambda service: loadlib.wrk(service.url, 1000, bench.seconds, keepalive=False),
    )


def half_load(bench: Bench, services: list[Service], label: str) -> None:
    """p99 at half the rate the slower of each pair can do, the same rate for both."""
    ours = services[0]
    seconds = f"{round(bench.seconds * 1000)}ms"
    peaks = {service.name: loadlib.wrk(service.url, 64, bench.seconds).rate for service in services}
    bench.raw[f"{label}, half load"] = {"peaks": peaks}
    for peer in services[1:]:
        rate = max(1, int(min(peaks[ours.name], peaks[peer.name]) / 2))
        options = ("-c", "64", "-d", seconds, "-w", "500ms", "-R", str(rate))
        runs = loadlib.in_turns(
            [ours, peer], bench.pairs, lambda service, options=options: loadlib.bench(service.url, *options)
        )
        bench.raw[f"{label}, half load"][peer.name] = {"rate": rate, "runs": runs}
        mine, theirs = ([run.p99_ms for run in runs[service.name]] for service in (ours, peer))
        what = f"{label}, {rate} requests/s (peer: {peer.name})"
        bench.add(loadlib.row(what, "p99 in ms", mine, theirs, less_is_better=True))


def idle(bench: Bench, services: list[Service], label: str) -> None:
    """Memory of each server before and with idle keep-alive connections that have had one answer each, and the CPU time
    it uses while they stay."""
    cost = {service.name: _idle_cost(service, bench.idle) for service in services}
    bench.raw[f"{label}, idle"] = {"connections": bench.idle, "bytes_each and cpu ms/s": cost}
    for peer in services[1:]:
        what = f"{label}, {bench.idle} idle connections (peer: {peer.name})"
        (mine, my_cpu), (theirs, their_cpu) = cost[services[0].name], cost[peer.name]
        bench.add(loadlib.row(what, "bytes each in user space", [mine], [theirs], less_is_better=True))
        bench.add(loadlib.row(what, "CPU ms per second", [my_cpu], [their_cpu], less_is_better=True))


def _idle_cost(service: Service, connections: int) -> tuple[float, float]:
    """Bytes each, and CPU milliseconds a second."""
    request = f"GET {service.path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n\r\n".encode()
    loadlib.wrk(service.url, 64, 1)  # pools and buffers have their size now
    time.sleep(SETTLE_SECONDS)
    before = loadlib.memory_bytes(service.pid)
    with ExitStack() as stack:
        for _ in range(connections):
            client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", service.port), timeout=10)))
            client.sendall(request)
            if not client.recv(65536).startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{service.name} did not answer 200")
        time.sleep(RESTED_SECONDS)
        used = loadlib.cpu_seconds(service.pid)
        time.sleep(IDLE_SECONDS)
        used = loadlib.cpu_seconds(service.pid) - used
        each = max(0.0, (loadlib.memory_bytes(service.pid) - before) / connections)
        return each, used * 1000 / IDLE_SECONDS


@dataclass(frozen=True)
class Scenario:
    name: str
    measure: Callable[[Bench, list[Service], str], None]
    path: str
    label: str
    access_log: bool = False


SCENARIOS = (
    Scenario("small", keepalive, "/", "99 bytes"),
    Scenario("10k", keepalive, "/10k", "10 KB"),
    Scenario("small-logged", keepalive, "/", "99 bytes, access log on", access_log=True),
    Scenario("10k-logged", keepalive, "/10k", "10 KB, access log on", access_log=True),
    Scenario("p99", half_load, "/", "99 bytes"),
    Scenario("connect", connect, "/", "99 bytes"),
    Scenario("idle", idle, "/", "99 bytes"),
)


def run(bench: Bench, scenario: Scenario, peers: list[str]) -> None:
    with loadlib.workplace() as folder, ExitStack() as stack:
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        services = []
        for name in ("fastcore", *peers):
            if scenario.access_log and name == "caddy":
                continue  # its log is structured and synchronous: nobody runs it for speed
            service = proxies.PROXIES[name](folder, backend.port, access_log=scenario.access_log)
            service.path = scenario.path
            services.append(stack.enter_context(loadlib.running(service, folder)))
            loadlib.wrk(service.url, 8, 1)  # warm, and proves that it answers
        scenario.measure(bench, services, scenario.label)


def options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="our gateway against nginx, haproxy and caddy")
    parser.add_argument("--seconds", type=float, default=10, help="length of one run (10)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each, in turns (5)")
    parser.add_argument("--idle", type=int, default=IDLE_CONNECTIONS, help="idle connections (10000)")
    parser.add_argument("--only", default="", metavar="WORDS", help="scenarios and peers, as in small,p99,nginx")
    parser.add_argument("--list", action="store_true", help="name the scenarios and peers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    chosen = options(argv)
    names = [scenario.name for scenario in SCENARIOS]
    words = [word for word in chosen.only.split(",") if word]
    if chosen.list:
        print(f"scenarios: {' '.join(names)}\npeers: {' '.join(proxies.PEERS)}")
        return
    if unknown := set(words) - {*names, *proxies.PEERS}:
        raise SystemExit(f"--only: no {', '.join(sorted(unknown))}; there are {' '.join([*names, *proxies.PEERS])}")
    peers = [peer for peer in proxies.PEERS if peer in words or not set(words) & set(proxies.PEERS)]
    missing = [peer for peer in peers if not shutil.which(peer)]
    for peer in missing:
        print(f"note: {peer} is not installed and left out", file=sys.stderr)
    peers = [peer for peer in peers if peer not in missing]
    if not shutil.which("nginx") or not shutil.which("wrk"):
        raise SystemExit("needs nginx (it is the backend, too) and wrk: tools/system-packages bench")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # servers inherit it
    # haproxy sets two descriptors aside for each connection
    bench = Bench(chosen.seconds, chosen.pairs, min(chosen.idle, hard // 2 - 200))
    if loadlib.SERVER_CORE == loadlib.LOAD_CORE:
        print("note: one core only: server and generator take it from each other", file=sys.stderr)
    print(loadlib.HEADER)
    for scenario in SCENARIOS:
        if scenario.name in words or not set(words) & set(names):
            run(bench, scenario, peers)
    part = f"gateway: {chosen.only}" if chosen.only else "gateway"
    file = loadlib.write_results(part, bench.rows, bench.raw, proxies.versions())
    print(f"raw results: {Path(file).relative_to(loadlib.ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
