"""Where a running process spends its time: a flamegraph of its user and kernel stacks.

usage: python -m perf.flame.record PID SECONDS OUT.svg [--with py-spy]

By `perf record -g` with frame pointers (our own code is compiled with them; kernel frames where
/proc/sys/kernel/perf_event_paranoid lets us see them). Where perf is missing or forbidden, py-spy with native frames:
Python functions by name, no kernel.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from perf.flame import svg

HERTZ = 999  # not a divisor of what timers fire at, so that samples do not walk in step with them
Folded = Counter[tuple[str, ...]]


def fold_perf(text: str) -> Folded:
    """The output of `perf script -F comm,ip,sym,dso`: a line with the command, then frames from the innermost."""
    folded: Folded = Counter()
    stack: list[str] = []
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if stack:
                folded[tuple(reversed(stack))] += 1
            stack = []
        elif not line[0].isspace():
            continue  # the command: one process is one picture
        elif found := re.fullmatch(r"\s+[0-9a-f]+\s+(.+?)\s+\((.*)\)", line):
            name, where = found.groups()
            kernel = where.startswith("[kernel") or where.endswith((".ko", ".ko.xz"))
            name = f"[{Path(where).name.strip('[]')}]" if name == "[unknown]" else name.partition("+0x")[0]
            stack.append(f"{name}_[k]" if kernel else name)
    return folded


def fold_raw(text: str) -> Folded:
    """The raw format of py-spy: frames from the outermost, separated by semicolons, then the count."""
    folded: Folded = Counter()
    for line in text.splitlines():
        stack, _, samples = line.rpartition(" ")
        if stack and samples.isdigit():
            folded[tuple(stack.split(";"))] += int(samples)
    return folded


def by_perf(pid: int, seconds: float) -> Folded:
    """Raises RuntimeError when perf cannot: not there, not allowed, no counter it could use."""
    if not shutil.which("perf"):
        raise RuntimeError("perf is not installed")
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "perf.data"))
        # Virtual machines often have no cycle counter; the clock is next best.
        for event in ("cycles", "cpu-clock"):
            command = ["perf", "record", "-q", "-g", "-e", event, "-F", str(HERTZ), "-p", str(pid), "-o", data]
            done = run([*command, "--", "sleep", str(seconds)])
            if done.returncode == 0:
                folded = fold_perf(run(["perf", "script", "-i", data, "-F", "comm,ip,sym,dso"]).stdout)
                if folded:
                    return folded
            reasons.append((done.stderr.strip().splitlines() or [f"{event}: no samples"])[0])
    raise RuntimeError("; ".join(reasons))


def by_py_spy(pid: int, seconds: float) -> Folded:
    """Raises RuntimeError when py-spy cannot."""
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if not program:
        raise RuntimeError("py-spy is not installed")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "stacks")
        command = [program, "record", "--native", "-f", "raw", "-r", "250", "-d", str(max(1, round(seconds)))]
        done = run([*command, "-p", str(pid), "-o", str(out)])
        if done.returncode != 0 or not out.exists():
            raise RuntimeError((done.stderr.strip().splitlines() or ["py-spy failed"])[-1])
        return fold_raw(out.read_text())


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


TOOLS = {"perf": by_perf, "py-spy": by_py_spy}  # in the order they are tried


def record(pid: int, seconds: float, tools: list[str]) -> tuple[str, Folded]:
    """(tool, stacks) of the first tool that works. Raises RuntimeError with what each of them said."""
    reasons = []
    for tool in tools:
        try:
            return tool, TOOLS[tool](pid, seconds)
        except RuntimeError as error:
            reasons.append(f"{tool}: {error}")
    raise RuntimeError("\n".join(reasons))


def draw(pid: int, seconds: float, out: Path, tools: list[str]) -> str:
    """Record and write the picture; says so in one line. Raises RuntimeError or ValueError when nothing was seen."""
    command = Path(f"/proc/{pid}/comm").read_text().strip()
    tool, folded = record(pid, seconds, tools)
    text = svg.render(folded, f"{command}, {seconds:g} s on {os.uname().machine}, {tool}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    return f"{out}: {sum(folded.values())} samples by {tool}"


def main() -> None:
    parser = argparse.ArgumentParser(description="flamegraph of a running process")
    parser.add_argument("pid", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("out", type=Path)
    parser.add_argument("--with", dest="tool", choices=TOOLS, help="only this; perf, else py-spy, without")
    chosen = parser.parse_args()
    if not Path(f"/proc/{chosen.pid}").exists():
        raise SystemExit(f"there is no process {chosen.pid}")
    try:
        print(draw(chosen.pid, chosen.seconds, chosen.out, [chosen.tool] if chosen.tool else list(TOOLS)))
    except (RuntimeError, ValueError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
