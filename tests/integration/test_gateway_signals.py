"""Reloads, upgrades and killed workers under constant load: who must notice nothing, and who may.

The load is `fastcore bench`, one process over kept connections and one with a connection for each request; its accounting
tells a connection closed between requests (not an error) from one closed under a request (an error). FASTCORE_SIGNALS=full
runs as often as the figures in the README say: 50 reloads, 5 upgrades, 20 kills.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Gateway, RawUpstream, children, eventually

FULL = os.environ.get("FASTCORE_SIGNALS") == "full"
RELOADS, UPGRADES, KILLS = (50, 5, 20) if FULL else (5, 2, 4)

SETTINGS = "upstreams: {{u: {{targets: ['{address}']}}}}\nroutes: [{{path: /, upstream: u}}]\n"


class Load:
    """Two load generators that run until they are told to stop."""

    def __init__(self, port: int):
        url = f"http://127.0.0.1:{port}/"
        self.processes = [
            self._start(url, "-c", "32", "-R", "1500"),
            self._start(url, "-c", "8", "-R", "150", "--no-keepalive"),
        ]

    @staticmethod
    def _start(url: str, *options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "apps.cli", "bench", url, "-d", "3600", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def stop(self) -> list[dict[str, Any]]:
        """The two reports."""
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        return [json.loads(process.communicate(timeout=60)[0]) for process in self.processes]

    def runs(self) -> bool:
        """Both have opened their connections, and so listen to SIGINT themselves."""
        return all(opened_sockets(process.pid) for process in self.processes)


def opened_sockets(pid: int) -> bool:
    links = (str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    with contextlib.suppress(FileNotFoundError):  # a descriptor closed while we looked
        return any(link.startswith("socket:") for link in links)
    return False


@pytest.fixture
def start_load() -> Iterator[Callable[[int], Load]]:
    started: list[Load] = []

    def start(port: int) -> Load:
        started.append(Load(port))
        return started[-1]

    yield start
    for load in started:
        load.kill()


def gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def workers_of(gateway: Gateway, master: int) -> set[int]:
    """The master's children once there are as many as wanted and no more."""
    return eventually(lambda: len(found := children(master)) == gateway.workers and found, "all workers there")


def answered(gateway: Gateway) -> int:
    return int(gateway.figures()['requests_total{code="2xx",route="#0"}'])


def test_reloads_fail_no_request(
    start_gateway: Callable[..., Gateway],
    make_upstream: Callable[..., RawUpstream],
    start_load: Callable[[int], Load],
) -> None:
    upstream = make_upstream().serve()
    gateway = start_gateway(SETTINGS.format(address=upstream.address), workers=2)
    before = workers_of(gateway, gateway.process.pid)
    load = start_load(gateway.port)
    eventually(lambda: load.runs() and answered(gateway) > 100, "load runs")
    for _ in range(RELOADS):
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: not before & children(gateway.process.pid), "old workers gone")  # noqa: B023
        before = workers_of(gateway, gateway.process.pid)
    for report in load.stop():
        assert report["requests"] > 0
        assert report["failed"] == 0, report
        assert report["statuses"].keys() == {"200"}, report


def upgrade(gateway: Gateway, old: int, times: int) -> int:
    """A new master beside the old one, then the old one told to go; the new one's pid. `times`: upgrades so far."""
    workers = workers_of(gateway, old)
    os.kill(old, signal.SIGUSR2)
    (new,) = eventually(lambda: children(old) - workers, "a new master")
    workers_of(gateway, new)
    before = answered(gateway)
    os.kill(old, signal.SIGTERM)
    eventually(lambda: gone(workers), "the old workers drained")
    # Before that gunicorn ignores another USR2.
    eventually(lambda: sum("Master has been promoted" in line for line in gateway.log) >= times, "promoted")
    assert answered(gateway) >= before  # the figures went over with the region
    return int(new)


def test_upgrades_fail_no_request(
    start_gateway: Callable[..., Gateway],
    make_upstream: Callable[..., RawUpstream],
    start_load: Callable[[int], Load],
) -> None:
    upstream = make_upstream().serve()
    gateway = start_gateway(SETTINGS.format(address=upstream.address), workers=2)
    master = gateway.process.pid
    load = start_load(gateway.port)
    eventually(lambda: load.runs() and answered(gateway) > 100, "load runs")
    masters = [master]
    try:
        for times in range(1, UPGRADES + 1):
            masters.append(upgrade(gateway, masters[-1], times))
        reports = load.stop()
    finally:
        # Upgraded masters are not the fixture's children, but hold its pipe.
        for pid in masters[1:]:
            workers = children(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            eventually(lambda: gone(workers), "the last workers drained")  # noqa: B023
    for report in reports:
        assert report["failed"] == 0, report
        assert report["statuses"].keys() == {"200"}, report


def test_killed_workers_fail_only_what_they_held(
    start_gateway: Callable[..., Gateway],
    make_upstream: Callable[..., RawUpstream],
    start_load: Callable[[int], Load],
) -> None:
    upstream = make_upstream().serve()
    gateway = start_gateway(SETTINGS.format(address=upstream.address), workers=4)
    load = start_load(gateway.port)
    eventually(lambda: load.runs() and answered(gateway) > 100, "load runs")
    chance = random.Random(7)
    last = answered(gateway)
    for _ in range(KILLS):
        workers = workers_of(gateway, gateway.process.pid)
        victim = chance.choice(sorted(workers))
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in children(gateway.process.pid), "the victim reaped")  # noqa: B023
        workers_of(gateway, gateway.process.pid)
        now = answered(gateway)
        assert now >= last  # a dead worker's counts stay
        last = now
    kept, fresh = load.stop()
    # 40 connections at most have a request under way at one instant: no kill can fail more, and none fails otherwise.
    assert kept["failed"] + fresh["failed"] <= 40 * KILLS
    for report in (kept, fresh):
        kinds = {kind for kind, count in report["errors"].items() if count}
        assert kinds <= {"reset_before_response", "cut_response"}, report
        assert report["statuses"].keys() == {"200"}, report
