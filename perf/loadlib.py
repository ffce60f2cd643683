"""What every load comparison here shares: pinned processes, CPU time from /proc, runs in turns, one table, raw results.

Server under test on one core, backend and load generator on another. The figure that counts is requests per server
CPU-second: what a request costs, which noise on the machine and a generator that is too slow change little.
"""

import datetime
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "perf/results"
TICKS = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
LOAD_CORE = CORES[1 % len(CORES)]
START_SECONDS = 20
#: What is measured is this tree, whatever is installed.
SOURCES = {"PYTHONPATH": str(ROOT / "src")}
_T = TypeVar("_T")


# --- processes -------------------------------------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """A process and everything that descends from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree, children that have ended included. Steps of a clock tick (10 ms)."""
    ticks = 0
    for member in tree(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def memory_bytes(pid: int) -> int:
    """Proportional set size of a process tree: user-space memory, what processes share counted once."""
    total = 0
    for member in tree(pid):
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{member}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@dataclass
class Service:
    """Something to start: its files are written into a folder of its own, `command` runs there."""

    name: str
    command: list[str]
    port: int
    path: str = "/"
    core: int = SERVER_CORE
    environ: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} is not running"
        return self.process.pid


@contextmanager
def running(service: Service, folder: Path) -> Iterator[Service]:
    """The service, started on its core and answering on its port; ended when the block is left."""
    log = folder / f"{service.name.replace('/', '-')}.log"
    with log.open("wb") as out:
        service.process = subprocess.Popen(
            ["taskset", "-c", str(service.core), *service.command],
            cwd=folder,
            env={**os.environ, **service.environ},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(service, log)
        yield service
    finally:
        service.process.terminate()
        try:
            service.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in reversed(tree(service.process.pid)):
                os.kill(pid, 9)
            service.process.wait()


def _wait_for(service: Service, log: Path) -> None:
    assert service.process is not None
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and service.process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", service.port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{service.name} does not listen on {service.port}:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for settings and logs, on memory where possible: a slow disk must not be what is measured."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="fastcore-perf-", dir=parent) as folder:
        yield Path(folder)


def fastcore_command() -> list[str]:
    """The installed command beside this Python, or the sources."""
    installed = Path(sys.executable).with_name("fastcore")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "apps.cli"]


def on_load_core(command: Sequence[str]) -> str:
    """Standard output of a command on the generator's core. `fastcore bench` has status 1 when requests failed."""
    pinned, environ = ["taskset", "-c", str(LOAD_CORE), *command], {**os.environ, **SOURCES}
    done = subprocess.run(pinned, env=environ, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


# --- generators ------------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """What one run of a generator saw."""

    requests: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float
    unsent: int = 0
    """Of those that failed: due, and never sent, because the generator was behind."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}


def _ms(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)(us|ms|s|m|h)", text)
    assert found, text
    return float(found[1]) * _UNITS_MS[found[2]]


def parse_wrk(text: str) -> Load:
    """Figures of `wrk --latency`. Raises ValueError when it is not that."""
    total = re.search(r"(\d+) requests in ([0-9.]+(?:us|ms|s|m|h)),", text)
    quantiles = {name: _ms(value) for name, value in re.findall(r"^\s+(50|99)%\s+(\S+)\s*$", text, re.MULTILINE)}
    if not total or quantiles.keys() != {"50", "99"}:
        raise ValueError(f"this is not what wrk --latency prints:\n{text}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed = sum(map(int, errors.groups())) if errors else 0
    failed += int(wrong[1]) if wrong else 0
    return Load(int(total[1]), _ms(total[2]) / 1000, failed, quantiles["50"], quantiles["99"])


def wrk(url: str, connections: int, seconds: float, *, keepalive: bool = True, headers: Sequence[str] = ()) -> Load:
    """Closed loop by wrk, an outsider, one thread. headers: as in `Name: value`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "5s", url]
    for header in headers if keepalive else (*headers, "Connection: close"):
        command += ["-H", header]
    return parse_wrk(on_load_core(command))


def parse_h2load(text: str) -> Load:
    seconds = re.search(r"finished in ([0-9.]+(?:us|ms|s|m))", text)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    mean = re.search(r"time for request: +\S+ +\S+ +(\S+)", text)
    if not seconds or not counts:
        raise ValueError(f"h2load said:\n{text}")
    succeeded, *failed = (int(count) for count in counts.groups())
    return Load(succeeded, _ms(seconds[1]) / 1e3, sum(failed), _ms(mean[1]) if mean else 0.0, 0.0)


def h2load(url: str, connections: int, streams: int, seconds: float) -> Load:
    """Closed loop by h2load, one thread: so many streams at once on each connection. It tells no percentiles: the
    middle is the mean."""
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{max(1, round(seconds))}", url]
    return parse_h2load(on_load_core(command))


def bench(url: str, *options: str) -> Load:
    """`fastcore bench` with these options: open loop with -R, exact failures."""
    report = json.loads(on_load_core([*fastcore_command(), "bench", url, "--json", *options]))
    refused = report["status_classes"]["4xx"] + report["status_classes"]["5xx"]
    latency = report["latency_us"] or {"p50": 0.0, "p99": 0.0}
    failed = report["failed"] + refused + report["unsent"]
    unsent = report["unsent"]
    return Load(report["responses"], report["seconds"], failed, latency["p50"] / 1e3, latency["p99"] / 1e3, unsent)


@dataclass
class Cost:
    """One run and what it cost the server."""

    load: Load
    cpu: float

    @property
    def per_cpu_second(self) -> float:
        return self.load.requests / self.cpu if self.cpu else 0.0


def cost(service: Service, load: Callable[[], Load]) -> Cost:
    before = cpu_seconds(service.pid)
    seen = load()
    return Cost(seen, cpu_seconds(service.pid) - before)


def in_turns(services: Sequence[Service], pairs: int, measure: Callable[[Service], _T]) -> dict[str, list[_T]]:
    """Every service measured `pairs` times, one after the other, so that the machine's moods hit all of them. Every
    second round goes backwards: who is first gets no advantage."""
    measured: dict[str, list[_T]] = {service.name: [] for service in services}
    for turn in range(pairs):
        for service in services if turn % 2 == 0 else reversed(services):
            measured[service.name].append(measure(service))
    return measured


# --- results ---------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One line: medians, and the median of the ratios of each pair. A ratio over 1: we are better."""

    what: str
    unit: str
    ours: float
    peer: float
    ratio: float

    def __str__(self) -> str:
        what = f"{self.what}, {self.unit}" if self.unit else self.what
        return f"{what} | {shown(self.ours)} | {shown(self.peer)} | {self.ratio:.2f}"


HEADER = "what | ours | peer | ratio"


def row(what: str, unit: str, ours: Sequence[float], peer: Sequence[float], *, less_is_better: bool = False) -> Row:
    ratios = [_ratio(b, a) if less_is_better else _ratio(a, b) for a, b in zip(ours, peer, strict=True)]
    return Row(what, unit, statistics.median(ours), statistics.median(peer), statistics.median(ratios))


def _ratio(over: float, under: float) -> float:
    return over / under if under else float("inf")


def shown(value: float) -> str:
    """Three digits at least: 41234, 85.2, 1.27."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def machine_name() -> str:
    """The kind of machine, as a file name: results say what they ran on, not where."""
    words = re.findall(r"[a-z0-9.]+", cpu_model().lower().replace("(r)", "").replace("(tm)", ""))
    return "-".join([*words[:4], f"{len(CORES)}cpu"])


def version(*command: str) -> str:
    """First line a program says of itself, or that it is missing."""
    if not shutil.which(command[0]):
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def write_results(name: str, rows: Sequence[Row], raw: Any, versions: Mapping[str, str]) -> Path:
    """Put this benchmark's part into perf/results/<date>-<machine>.json; other parts of the day stay."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{datetime.date.today().isoformat()}-{machine_name()}.json"
    everything = json.loads(file.read_text()) if file.exists() else {}
    everything[name] = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", f"perf.{Path(sys.argv[0]).stem}", *sys.argv[1:]],
        "machine": {"cpu": cpu_model(), "cpus": len(CORES), "kernel": platform.release(), "load": os.getloadavg()},
        "versions": {"python": platform.python_version(), **versions},
        "rows": [vars(line) for line in rows],
        "raw": raw,
    }
    file.write_text(json.dumps(everything, indent=1, default=vars) + "\n")
    return file
