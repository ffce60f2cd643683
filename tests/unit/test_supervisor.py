"""Child processes: started in order, stopped in reverse, and a death ends it all."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from apps.exits import CommandError
from apps.supervisor import Child, run
from apps.units import Address

LISTENER = """
import os, signal, socket, sys, time
path, log = sys.argv[1:]
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
def stop(*_):
    open(log, "a").write(os.path.basename(path) + "\\n"); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
while True: signal.pause()
"""
STUBBORN = "import signal, socket, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); exec('while True: signal.pause()')"


def listener(folder: Path, name: str) -> Child:
    path = folder / name
    return Child(name, [sys.executable, "-c", LISTENER, str(path), str(folder / "log")], [Address("", 0, str(path))])


def test_a_signal_stops_all_in_reverse(tmp_path: Path) -> None:
    children = [listener(tmp_path, "first"), listener(tmp_path, "second")]
    status = run(children, started=lambda: signal.raise_signal(signal.SIGTERM), start_seconds=20, stop_seconds=10)
    assert status == 0
    assert (tmp_path / "log").read_text() == "second\nfirst\n"
    assert all(child.process.returncode == 0 for child in children)


def test_a_death_at_start_is_an_error_and_stops_the_others(tmp_path: Path) -> None:
    first = listener(tmp_path, "first")
    dying = Child("the second", [sys.executable, "-c", "raise SystemExit(3)"], [Address("", 0, str(tmp_path / "none"))])
    with pytest.raises(CommandError, match=r"the second ended \(exit status 3\)") as error:
        run([first, dying], started=pytest.fail, start_seconds=20, stop_seconds=10)
    assert error.value.status == 3
    assert first.process.returncode == 0


def test_a_death_later_ends_everything(tmp_path: Path) -> None:
    children = [listener(tmp_path, "first"), listener(tmp_path, "second")]
    with pytest.raises(CommandError, match=r"first ended \(signal SIGKILL\)"):
        run(children, started=lambda: children[0].process.kill(), start_seconds=20, stop_seconds=10)
    assert (tmp_path / "log").read_text() == "second\n"


def test_one_that_never_answers(tmp_path: Path) -> None:
    silent = Child(
        "silent", [sys.executable, "-c", "import signal; signal.pause()"], [Address("", 0, str(tmp_path / "none"))]
    )
    with pytest.raises(CommandError, match=r"silent did not answer at unix:.*/none within 0\.2 s"):
        run([silent], started=pytest.fail, start_seconds=0.2, stop_seconds=10)
    assert silent.process.returncode == -signal.SIGTERM


def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    stubborn = Child("stubborn", [sys.executable, "-c", STUBBORN, path], [Address("", 0, path)])
    run([stubborn], started=lambda: signal.raise_signal(signal.SIGINT), start_seconds=20, stop_seconds=0.2)
    assert stubborn.process.returncode == -signal.SIGKILL


def test_signals_are_as_before_afterwards(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    test_a_signal_stops_all_in_reverse(tmp_path)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert threading.active_count() == 1
    assert subprocess.run(["true"], check=False).returncode == 0
