"""The store over a long run, against plyvel (LevelDB) and rocksdict (RocksDB): `what | ours | peer | ratio`, over 1:
ours is better.

    python -m perf.load_store [--gigabytes G] [--log-gigabytes G] [--values N,N] [--peers NAME,NAME] [--parts NAME,NAME]

Each contender runs in processes of its own (perf/store_process.py), one after the other, in the same folder, with
memtables of 64 MiB, a cache of 64 MiB, no compression, 16-byte random keys and one Python thread. Parts:

  fill    G gigabytes of keys and values (5), unsynced, for each length of value (100 and 1,000). Milliseconds of a put,
          what it was slowed by included; milliseconds of a get, one among a hundred puts, which meets whatever flushes
          and compactions are under way. Write amplification: what the disk was given until nothing more was written,
          over what was put. Of the peers that is /proc/self/io. Of ours it is what the store counts, the log's zeros
          included: on ext4 with large folios the kernel counts the whole folio, up to 2 MiB, for each few kilobytes
          that are written into the middle of a log segment, and so a hundred times what reaches the disk. Space
          amplification: blocks of all files after a flush and a full compaction.
          Then, beside puts: a checkpoint and a backup, seconds and milliseconds of a put meanwhile.
  reopen  a log of G gigabytes (--log-gigabytes, 1) of which nothing is in tables, left by a process that is killed;
          seconds until the store is open and the first get has been answered. The memtable is as large as it has to be
          (ours 2 GiB, the peers' 1 GiB, LevelDB's bound).

What a put may cost at worst is what the machine does to a thread: on a shared one max is mostly waiting for a
processor. The peers' logs are never synced; ours is all the time, which is more than was asked for. DIR
(--folder, a folder under build/ without) decides which disk is measured; four times G have to be free.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from perf import loadlib
from perf.loadlib import ROOT, SOURCES, Row

PEERS = ("plyvel", "rocksdict")
PARTS = ("fill", "reopen")
LOG_VALUE_BYTES = 100
Result = dict[str, Any]


def command(what: str, kind: str, folder: Path, size: int, value_bytes: int) -> list[str]:
    return [sys.executable, "-m", "perf.store_process", what, kind, str(folder), str(size), str(value_bytes)]


def environ() -> dict[str, str]:
    return {**os.environ, **SOURCES}


def answer(line: bytes) -> Result:
    if not line:
        raise RuntimeError("a contender has ended without an answer")
    found: Result = json.loads(line)
    return found


def run(what: str, kind: str, folder: Path, size: int, value_bytes: int) -> Result:
    done = subprocess.run(
        command(what, kind, folder, size, value_bytes), cwd=ROOT, env=environ(), stdout=subprocess.PIPE, check=True
    )
    return answer(done.stdout)


def leave_a_log(kind: str, folder: Path, size: int) -> Result:
    """Killed while it has everything in memory and in the log."""
    with subprocess.Popen(
        command("abandon", kind, folder, size, LOG_VALUE_BYTES),
        cwd=ROOT,
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    return answer(line)


def tell(kind: str, result: Result) -> None:
    """At once: the others take long."""
    print(f"{kind}: {json.dumps(result)}", file=sys.stderr, flush=True)


class Table:
    """Rows as they come. Everything is one run: there is nothing to take a median of."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def compare(self, what: str, unit: str, found: dict[str, float], *, less_is_better: bool = True) -> None:
        ours = found["ours"]
        for name, theirs in found.items():
            if name != "ours":
                row = loadlib.row(f"{what} (peer: {name})", unit, [ours], [theirs], less_is_better=less_is_better)
                self.rows.append(row)
                print(row, flush=True)
        if len(found) == 1:
            self.alone(what, unit, ours)

    def alone(self, what: str, unit: str, value: float) -> None:
        print(f"{what}, {unit} | {loadlib.shown(value)} | - | -", flush=True)


def write_amplification(result: Result) -> float:
    written: float = result["own"]["written"] if "own" in result else result["written"]
    return written / float(result["user_bytes"])


def fill(table: Table, kinds: list[str], folder: Path, size: int, value_bytes: int) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for kind in kinds:
        results[kind] = run("fill", kind, folder / kind, size, value_bytes)
        shutil.rmtree(folder / kind)
        tell(kind, results[kind])
    what = f"{value_bytes}-byte values"
    rates = {kind: r["user_bytes"] / r["seconds"] / 1e6 for kind, r in results.items()}
    table.compare(f"fill, {what}", "MB/s", rates, less_is_better=False)
    for calls, name in (("puts", "a put"), ("gets", "a get beside the fill")):
        for quantile in ("p50", "p99", "p99.9", "max"):
            table.compare(f"{quantile} of {name}, {what}", "ms", {k: r[calls][quantile] for k, r in results.items()})
    table.compare(f"write amplification, {what}", "", {k: write_amplification(r) for k, r in results.items()})
    space = {kind: r["settled_bytes"] / r["user_bytes"] for kind, r in results.items()}
    table.compare(f"space amplification, {what}", "", space)
    beside(table, results, what)
    return results


def beside(table: Table, results: dict[str, Result], what: str) -> None:
    for work in ("alone", "checkpoint", "backup"):
        found = {kind: r["beside"][work] for kind, r in results.items() if work in r["beside"]}
        if work != "alone":
            table.compare(f"a {work} beside puts, {what}", "s", {kind: r["seconds"] for kind, r in found.items()})
        for quantile in ("p99", "p99.9", "max"):
            times = {kind: r["puts"][quantile] for kind, r in found.items()}
            table.compare(
                f"{quantile} of a put, {work if work == 'alone' else f'beside a {work}'}, {what}", "ms", times
            )


def reopen(table: Table, kinds: list[str], folder: Path, size: int) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for kind in kinds:
        left = leave_a_log(kind, folder / kind, size)
        results[kind] = {"left": left, **run("reopen", kind, folder / kind, 0, LOG_VALUE_BYTES)}
        shutil.rmtree(folder / kind)
        tell(kind, results[kind])
    log = f"{loadlib.shown(size / 1e9)} GB of log"
    table.compare(
        "log left by a kill", "GB", {k: r["log_bytes"] / 1e9 for k, r in results.items()}, less_is_better=False
    )
    table.compare(f"open after a kill, {log}", "s", {kind: r["open"] for kind, r in results.items()})
    table.compare(f"the first get after a kill, {log}", "s", {kind: r["first_get"] for kind, r in results.items()})
    table.compare(f"opening's CPU, {log}", "s", {kind: r["cpu"] for kind, r in results.items()})
    return results


def listed(text: str, allowed: tuple[str, ...]) -> list[str]:
    names = [name for name in text.split(",") if name]
    if wrong := set(names) - set(allowed):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(wrong))}: there are {', '.join(allowed)}")
    return names


def lengths(text: str) -> list[int]:
    found = [int(part) for part in text.split(",")]
    if min(found) < 1:
        raise ValueError(text)
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5.0, metavar="G", help="to fill (5)")
    parser.add_argument("--log-gigabytes", type=float, default=1.0, metavar="G", help="of log to reopen (1)")
    parser.add_argument(
        "--values", type=lengths, default=[100, 1000], metavar="N,N", help="bytes of a value (100,1000)"
    )
    parser.add_argument("--peers", type=lambda text: listed(text, PEERS), default=list(PEERS), metavar="NAME,NAME")
    parser.add_argument("--parts", type=lambda text: listed(text, PARTS), default=list(PARTS), metavar="NAME,NAME")
    parser.add_argument("--folder", type=Path, default=ROOT / "build", metavar="DIR", help="where to fill and reopen")
    parser.add_argument("--no-results", action="store_true", help="do not keep raw results")
    parser.add_argument("--note", default="", help="a sentence for the results: what else the machine did")
    chosen = parser.parse_args(argv)
    kinds = ["ours", *chosen.peers]
    size, log = int(chosen.gigabytes * 1e9), int(chosen.log_gigabytes * 1e9)
    parts: dict[str, Callable[[Table, Path], dict[str, Result]]] = {}
    for length in chosen.values if "fill" in chosen.parts else []:
        parts[f"fill, {chosen.gigabytes:g} GB, {length}-byte values"] = lambda table, folder, length=length: fill(
            table, kinds, folder, size, length
        )  # type: ignore[misc]
    if "reopen" in chosen.parts:
        parts["reopen"] = lambda table, folder: reopen(table, kinds, folder, log)
    print(loadlib.HEADER)
    chosen.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for part, work in parts.items():
            table = Table()
            raw = {"note": chosen.note, **work(table, Path(name))}
            if not chosen.no_results:  # at once: what comes after takes long
                versions = {peer: version(peer) for peer in PEERS}
                file = loadlib.write_results(f"store, {part}", table.rows, raw, versions)
                print(f"raw results: {file.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
