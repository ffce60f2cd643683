"""More load than an upstream can bear: what becomes of it, with adaptive concurrency and without.

usage: python -m perf.load_overload [--seconds S] [--pairs N] [--times X]

The target answers so many requests at a time, each after 10 ms of service; what else comes waits in its queue, as at a
server with a pool of threads. First its peak is measured (closed loop), then it gets `--times` as much in an open loop,
a tenth of it on a route of high importance and the rest on one of low. Rows: answers a second against the peak, and p99
of the important requests against what they take without load. What this does not show: a target whose capacity changes.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from perf import loadlib, proxies
from perf.loadlib import LOAD_CORE, ROOT, SOURCES, Service

AT_ONCE = 16
SERVICE_SECONDS = 0.01
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def serve(port: int) -> None:
    """The target: a pool of AT_ONCE, and a queue without end before it."""
    places = asyncio.Semaphore(AT_ONCE)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                await reader.readuntil(b"\r\n\r\n")
                async with places:
                    await asyncio.sleep(SERVICE_SECONDS)
                writer.write(ANSWER)
                await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                writer.close()
                return

    server = await asyncio.start_server(connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def settings(target: int, port: int, control: int, adaptive: bool) -> str:
    more = ", adaptive: {window: 200ms}" if adaptive else ""
    return f"""\
listen: ["127.0.0.1:{port}"]
control: "127.0.0.1:{control}"
workers: 1
upstreams: {{u: {{targets: ["127.0.0.1:{target}"], keepalive: 4096{more}}}}}
routes:
  - {{path: /high, upstream: u, importance: high}}
  - {{path: /, upstream: u, importance: low}}
"""


def gateway(folder: Path, name: str, target: int, adaptive: bool) -> Service:
    port, control = loadlib.free_port(), loadlib.free_port()
    file = folder / f"{name}.yaml"
    file.write_text(settings(target, port, control, adaptive))
    return Service(name, [*loadlib.fastcore_command(), "gateway", "-c", str(file)], port, environ=SOURCES)


def offered(service: Service, path: str, rate: int, seconds: float, connections: int) -> "subprocess.Popen[str]":
    url = f"http://127.0.0.1:{service.port}{path}"
    options = [
        "-c",
        str(connections),
        "-d",
        f"{round(seconds * 1000)}ms",
        "-w",
        "2s",
        "-R",
        str(rate),
        "-t",
        "30s",
        "--json",
    ]
    return subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *loadlib.fastcore_command(), "bench", url, "--json", *options],
        env={**SOURCES, "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def report(process: "subprocess.Popen[str]") -> tuple[float, float]:
    """Answers with 2xx a second, and p99 of all in ms."""
    found = json.loads(process.communicate()[0])
    return found["status_classes"]["2xx"] / found["seconds"], (found["latency_us"] or {"p99": 0})["p99"] / 1000


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="more load than an upstream can bear")
    parser.add_argument("--seconds", type=float, default=10, help="length of one run (10)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each, in turns (5)")
    parser.add_argument("--times", type=float, default=3, help="of the target's peak (3)")
    parser.add_argument("--target", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.target:
        asyncio.run(serve(chosen.target))
        return
    rows = []
    raw: dict[str, object] = {}
    with loadlib.workplace() as folder, ExitStack() as stack:
        port = loadlib.free_port()
        command = [sys.executable, "-m", "perf.load_overload", "--target", str(port)]
        target = Service("target", command, port, core=LOAD_CORE, environ={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})
        stack.enter_context(loadlib.running(target, folder))
        services = [gateway(folder, "adaptive", port, True), gateway(folder, "without", port, False)]
        for service in services:
            stack.enter_context(loadlib.running(service, folder))
        peaks, alone = [], []
        goodput: dict[str, list[float]] = {service.name: [] for service in services}
        important: dict[str, list[float]] = {service.name: [] for service in services}
        for _ in range(chosen.pairs):
            peak = loadlib.bench(f"http://127.0.0.1:{services[1].port}/", "-c", str(AT_ONCE * 2), "-d", "3s").rate
            peaks.append(peak)
            rate = round(peak * chosen.times)
            alone.append(report(offered(services[0], "/high", max(1, rate // 100), 3, 4))[1])
            for service in services:
                high = offered(service, "/high", rate // 10, chosen.seconds, 256)
                low = offered(service, "/", rate - rate // 10, chosen.seconds, 1024)
                (good, p99), (rest, _) = report(high), report(low)
                goodput[service.name].append(good + rest)
                important[service.name].append(p99)
    for name in goodput:
        what = f"{name}: {chosen.times:g} times the peak (peer: the peak)"
        rows.append(loadlib.row(what, "answers a second", goodput[name], peaks))
        what = f"{name}: important requests beside it (peer: without load)"
        rows.append(loadlib.row(what, "p99 in ms", important[name], alone, less_is_better=True))
    print(loadlib.HEADER)
    for row in rows:
        print(row)
    raw |= {"peaks": peaks, "alone": alone, "goodput": goodput, "important": important}
    file = loadlib.write_results("overload", rows, raw, proxies.versions())
    print(f"raw results: {Path(file).relative_to(loadlib.ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
