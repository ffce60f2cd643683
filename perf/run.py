"""All benchmarks in turn and their tables together: `make bench`, or `python -m perf.run [names] [--readme]`.

Each benchmark is a program of its own that prints `what | ours | peer | ratio` lines; here they are collected. One that
fails is said so at the end and makes the status 1, the others still run.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

from perf.loadlib import ROOT, SOURCES, machine_name

#: name -> (file, what it measures, options for a quick look)
BENCHES = {
    "parser": ("bench_http", "HTTP/1.1 parser", ["--rounds", "1"]),
    "router": ("bench_router", "Router", []),
    "cache": ("bench_cache", "Caches in process", ["--quick"]),
    "sharedcache": ("bench_sharedcache", "Cache in shared memory", ["--quick"]),
    "limiter": ("bench_limiter", "Rate limiter", ["--quick"]),
    "skiplist": ("bench_skiplist", "Skip list", ["--quick"]),
    "jobindex": ("bench_jobindex", "Job index and timers", ["--quick"]),
    "websocket": ("bench_websocket", "WebSocket frames", ["--quick"]),
    "resp": ("bench_resp", "RESP", ["--quick"]),
    "hashing": ("bench_hashing", "Hashing", ["--quick"]),
    "wal": ("bench_wal", "Write-ahead log", ["--quick"]),
    "lsm": ("bench_lsm", "Store", ["--quick"]),
    "worker": ("load_worker", "WSGI worker", ["--seconds", "1", "--pairs", "1"]),
    "gateway": ("load_gateway", "Gateway", ["--seconds", "1", "--pairs", "1", "--idle", "500"]),
    "http2": ("load_http2", "HTTP/2", ["--seconds", "1", "--pairs", "1"]),
    "policies": ("load_policies", "Gateway policies", ["--seconds", "1", "--pairs", "1"]),
    "reloads": (
        "load_reloads",
        "Gateway, new settings under traffic",
        ["--seconds", "2", "--pairs", "1", "--reloads", "2", "--routes", "100", "--sockets", "20"],
    ),
    "overload": ("load_overload", "Gateway, more load than an upstream can bear", ["--seconds", "1", "--pairs", "1"]),
    "store": ("load_store", "Store, long runs", ["--gigabytes", "0.02", "--log-gigabytes", "0.02", "--no-results"]),
    "transfers": ("load_transfers", "Small requests beside large transfers", ["--seconds", "1", "--pairs", "1"]),
}
MARKS = ("<!-- figures: written by `python -m perf.run --readme` -->", "<!-- end of figures -->")


def present() -> list[str]:
    return [name for name, (file, _, _) in BENCHES.items() if (ROOT / f"perf/{file}.py").exists()]


def columns(line: str) -> list[str] | None:
    """The four columns of a line of a table, or None."""
    found = [column.strip() for column in line.split(" | ")]
    return found if len(found) == 4 else None


def run(name: str, quick: bool) -> list[list[str]] | None:
    """Run one benchmark, show what it prints as it comes. Its lines, its own heading first; None when it failed."""
    file, title, quick_options = BENCHES[name]
    print(f"== {title}", flush=True)
    command = [sys.executable, "-m", f"perf.{file}", *(quick_options if quick else [])]
    lines = []
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if (found := columns(line)) is not None:
                lines.append(found)
    return lines if process.returncode == 0 and lines else None


def environment() -> dict[str, str]:
    return {**os.environ, **SOURCES}


def table(title: str, lines: list[list[str]]) -> str:
    """One benchmark as a Markdown table."""
    heading, *rest = lines
    rows = ["| " + " | ".join(cell or " " for cell in row) + " |" for row in (heading, ["---"] * 4, *rest)]
    return f"**{title}**\n\n" + "\n".join(rows)


def write_readme(file: Path, text: str) -> None:
    """Replace what stands between the two marks. Raises ValueError when they are not there."""
    begin, end = MARKS
    whole = file.read_text()
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(whole):
        raise ValueError(f"{file}: the marks {begin} and {end} are missing")
    file.write_text(pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", whole, count=1))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="run the benchmarks and print one table")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {' '.join(present())}; all without")
    parser.add_argument("--readme", action="store_true", help="also put the tables into README.md")
    parser.add_argument("--quick", action="store_true", help="shortest runs: shows that it works, measures nothing")
    chosen = parser.parse_args(argv)
    if unknown := set(chosen.names) - set(present()):
        parser.error(f"no benchmark called {', '.join(sorted(unknown))}; there are {' '.join(present())}")
    if chosen.quick and chosen.readme:
        parser.error("--quick measures nothing that belongs into README.md")
    found = {name: run(name, chosen.quick) for name in chosen.names or present()}
    tables = [table(BENCHES[name][1], lines) for name, lines in found.items() if lines]
    for name, lines in found.items():
        print(f"\n{BENCHES[name][1]}", *(" | ".join(line) for line in lines or [["failed"]]), sep="\n")
    if chosen.readme and tables:
        on = f"Measured {datetime.date.today().isoformat()} on {machine_name()} by `make bench`."
        write_readme(ROOT / "README.md", "\n\n".join([on, *tables]))
    failed = [name for name, lines in found.items() if lines is None]
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
