"""Operations done many times leave nothing behind (tests/leaks). `make refs` counts references as well."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.leaks import __main__ as leaks
from tests.leaks.table import Operation

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "tests/leaks").glob("*.py") if path.stem not in ("__main__", "table"))


@pytest.mark.timeout(3600)  # FASTCORE_LEAK_OPERATIONS may ask for millions
@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_left_behind(module: str) -> None:
    # Ten times less than by hand: a hundred seconds for all modules instead of a quarter of an hour.
    operations = os.environ.get("FASTCORE_LEAK_OPERATIONS", "20000")
    command = [sys.executable, "-m", "tests.leaks", module, "--operations", operations]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count(f"\n{module} | ") >= 1


KEPT: list[object] = []


def keep_pages() -> None:
    """Of a mapping of its own: malloc would take pages that an earlier test has left behind."""
    pages = mmap.mmap(-1, 20_480)
    pages.write(b"x" * 20_480)
    KEPT.append(pages)


@pytest.mark.parametrize(
    ("what", "run"),
    [
        ("blocks", lambda: KEPT.append(object())),
        ("malloc", lambda: KEPT.append(bytes(2000))),
        ("resident", keep_pages),
    ],
)
def test_a_leak_is_seen(what, run) -> None:
    assert what in leaks.leaks(leaks.growth(Operation("test", "leaks", run, 1), 2000), 2000)
    KEPT.clear()
