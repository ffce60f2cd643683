"""How long the tests go on that may go on for long, and what a process holds.

In the suite they take seconds; FASTCORE_SOAK_SECONDS and FASTCORE_LEAK_OPERATIONS make the same tests minutes and
millions. ru_maxrss is of no use to them: it is the peak of a process's life, so after a test that held more it does not
move, and the next test that looks at it cannot fail.
"""

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

SOAK_SECONDS = float(os.environ.get("FASTCORE_SOAK_SECONDS", "3"))
LEAK_OPERATIONS = int(os.environ.get("FASTCORE_LEAK_OPERATIONS", "200000"))
#: For tests that go on for SOAK_SECONDS: those, and what any test is given.
SOAK_TIMEOUT = pytest.mark.timeout(SOAK_SECONDS + 120)
#: For tests that look at resident memory: what is freed stays in the address sanitizer's quarantine.
NOT_SANITIZED = pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="quarantined memory")
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory this process holds now, what the cycle collector frees not counted."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def peak(work: Callable[[], object]) -> int:
    """How many bytes more than before it this process held at most during the work."""
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak (VmHWM) starts anew from what is held now
    work()
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024 - before
