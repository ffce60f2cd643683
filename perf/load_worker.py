"""FastcoreWorker against other WSGI servers on a Falcon hello world: requests per CPU-second, in turns.

usage: python -m perf.load_worker [--seconds S] [--pairs N]

One worker each, 64 connections, no access log. meinheld and bjoern take part when they are installed. What this does
not show: an application that spends its time elsewhere; the server's share of such a request is small with any of them.
"""

import argparse
import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path

from perf import loadlib
from perf.loadlib import Row, Service

APP = "perf.falcon_hello:app"
PATHS = f"{loadlib.ROOT}:{loadlib.ROOT / 'src'}"


def gunicorn(name: str, worker_class: str) -> Service:
    """gunicorn with one worker of this class."""
    port = loadlib.free_port()
    command = [
        str(Path(sys.executable).parent / "gunicorn"), "-k", worker_class, "-w", "1", "-b", f"127.0.0.1:{port}",
        "--no-control-socket", "--log-level", "error", "--keep-alive", "60", "--worker-connections", "10000", APP,
    ]  # fmt: skip
    return Service(name, command, port, environ={"PYTHONPATH": PATHS})


def bjoern() -> Service:
    """bjoern has no command of its own."""
    port = loadlib.free_port()
    program = f"import bjoern; from perf.falcon_hello import app; bjoern.run(app, '127.0.0.1', {port})"
    return Service("bjoern", [sys.executable, "-c", program], port, environ={"PYTHONPATH": PATHS})


def servers() -> list[Service]:
    """Ours first, then every peer that can be started here."""
    found = [gunicorn("fastcore", "fastcore.worker.FastcoreWorker"), gunicorn("gunicorn-gevent", "gevent")]
    if importlib.util.find_spec("meinheld"):
        found.append(gunicorn("meinheld", "meinheld.gmeinheld.MeinheldWorker"))
    if importlib.util.find_spec("bjoern"):
        found.append(bjoern())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run (4)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each server (5)")
    options = parser.parse_args()
    rows: list[Row] = []
    raw: dict[str, object] = {}
    print(loadlib.HEADER)
    with loadlib.workplace() as folder, ExitStack() as stack:
        services = [stack.enter_context(loadlib.running(service, folder)) for service in servers()]
        for what, keepalive in (("Falcon, keep-alive", True), ("Falcon, connection per request", False)):

            def once(service: Service, keepalive: bool = keepalive) -> loadlib.Cost:
                return loadlib.cost(service, lambda: loadlib.wrk(service.url, 64, options.seconds, keepalive=keepalive))

            loadlib.in_turns(services, 1, once)  # caches, imports, lazily made objects
            measured = loadlib.in_turns(services, options.pairs, once)
            raw[what] = {name: [{**vars(run.load), "cpu": run.cpu} for run in runs] for name, runs in measured.items()}
            ours = [run.per_cpu_second for run in measured[services[0].name]]
            for peer in services[1:]:
                peers = [run.per_cpu_second for run in measured[peer.name]]
                rows.append(loadlib.row(f"{what} (peer: {peer.name})", "requests per CPU-second", ours, peers))
                print(rows[-1], flush=True)
    versions = {"gunicorn": loadlib.version("gunicorn", "--version"), "wrk": loadlib.version("wrk", "-v")}
    loadlib.write_results("worker", rows, raw, versions)


if __name__ == "__main__":
    main()
