"""The write-ahead log: durable appends against a bare fdatasync, `what | ours | peer | ratio` (over 1: ours is faster).

    python -m perf.bench_wal [--rounds N] [--quick] [--folder DIR]

The peer of durable appends is what a program would do by hand: write 128 bytes behind the last ones into a file whose
space is allocated and zero-filled, fdatasync, one after the other. Both run in turns in the same folder, on the wall
clock, for disks are waited for. Rates count records that are durable; percentiles are those of single calls of
append(sync=True), in microseconds, of all rounds together. syncs per record is the log's own count.

DIR decides which disk is measured; the default is a folder under build/. /tmp may be memory.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gevent

from fastcore.wal import Log
from perf import loadlib, microbench
from perf.loadlib import ROOT
from perf.microbench import Bench

RECORD = b"r" * 128
GREENLETS = 64


def raw(folder: Path, n: int) -> list[int]:
    """Nanoseconds of each of n appends by hand."""
    path = folder / "raw"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(fd, bytes(len(RECORD) * n), 0)
        os.fsync(fd)
        taken = []
        for i in range(n):
            begin = time.perf_counter_ns()
            os.pwrite(fd, RECORD, i * len(RECORD))
            os.fdatasync(fd)
            taken.append(time.perf_counter_ns() - begin)
        return taken
    finally:
        os.close(fd)
        path.unlink()


def appending(log: Log, n: int) -> list[int]:
    taken = []
    append, clock = log.append, time.perf_counter_ns
    for _ in range(n):
        begin = clock()
        append(RECORD, sync=True)
        taken.append(clock() - begin)
    return taken


def greenlets(log: Log, how_many: int, n: int) -> list[int]:
    """Nanoseconds of each call when so many greenlets share n records."""
    workers = [gevent.spawn(appending, log, n // how_many) for _ in range(how_many)]
    gevent.joinall(workers, raise_error=True)
    return [taken for worker in workers for taken in worker.value]


def percentile_us(taken: list[int], share: float) -> float:
    return sorted(taken)[min(int(len(taken) * share), len(taken) - 1)] / 1e3


def durable(bench: Bench, folder: Path) -> None:
    n = 200 if bench.quick else 2000
    log = Log(folder / "log", segment_bytes=16 << 20)
    contenders: dict[str, Callable[[], list[int]]] = {
        "raw": lambda: raw(folder, n),
        "1 greenlet": lambda: greenlets(log, 1, n),
        f"{GREENLETS} greenlets": lambda: greenlets(log, GREENLETS, n * 8),
    }
    calls: dict[str, list[int]] = {name: [] for name in contenders}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    syncs = dict.fromkeys(contenders, 0)
    for turn in range(-1, bench.rounds):
        for name in contenders if turn % 2 == 0 else reversed(list(contenders)):
            before, begin = log.report().syncs, time.perf_counter()
            taken = contenders[name]()
            seconds = time.perf_counter() - begin
            if turn >= 0:
                calls[name] += taken
                # Without making the file ready, which the log does in its own time.
                rates[name].append(len(taken) * 1e9 / sum(taken) if name == "raw" else len(taken) / seconds)
                syncs[name] += log.report().syncs - before
    log.close()
    bench.raw["durable"] = {"records_per_second": rates, "syncs": syncs}
    one, many = list(contenders)[1:]
    bench.add(loadlib.row(f"durable appends, {one} (peer: bare fdatasync)", "/s", rates[one], rates["raw"]))
    bench.add(loadlib.row(f"durable appends, {many} (peer: bare fdatasync)", "/s", rates[many], rates["raw"]))
    bench.add(loadlib.row(f"durable appends, {many} (peer: {one})", "/s", rates[many], rates[one]))
    for share, what in ((0.5, "p50"), (0.99, "p99")):
        for name in (one, many):
            ours, peer = percentile_us(calls[name], share), percentile_us(calls["raw"], share)
            bench.add(loadlib.row(f"{what} of one, {name} (peer: bare)", "us", [ours], [peer], less_is_better=True))
    for name in (one, many):
        bench.alone(f"syncs per record, {name}", "", syncs[name] / len(calls[name]))


def memory_speed(bench: Bench, folder: Path) -> None:
    """Appending without waiting, as fast as the disk takes it; and reading back."""
    n = 20_000 if bench.quick else 200_000
    rates: dict[str, list[float]] = {"append": [], "append_many": [], "read": []}
    for turn in range(bench.rounds):
        with Log(folder / f"many{turn}", segment_bytes=64 << 20) as log:
            log.append(RECORD, sync=True)
            for what, work in (
                ("append", lambda log=log: [log.append(RECORD) for _ in range(n)]),
                ("append_many", lambda log=log: log.append_many([RECORD] * n)),
                ("read", lambda log=log: sum(1 for _ in log.read_from())),
            ):
                begin = time.perf_counter()
                work()
                seconds = time.perf_counter() - begin
                rates[what].append((2 * n if what == "read" else n) / seconds / 1e6)
                log.sync()
        shutil.rmtree(folder / f"many{turn}")
    for what, found in rates.items():
        bench.alone(f"{what}, {len(RECORD)} bytes", "M/s", statistics.median(found))


def reopening(bench: Bench, folder: Path) -> None:
    """The time to be ready again with a log of this size."""
    mebibytes = 32 if bench.quick else 1024
    with Log(folder / "large") as log:
        for _ in range(mebibytes):
            log.append_many([b"x" * 1008] * 1024)
            log.sync()
    begin = time.perf_counter()
    log = Log(folder / "large")
    bench.alone(f"opening a log of {mebibytes} MiB", "s", time.perf_counter() - begin)
    log.close()


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--folder", type=Path, default=ROOT / "build")
    chosen, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    bench = microbench.start("wal", __doc__ or "", {}, rounds=5)
    chosen.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        durable(bench, Path(name))
        memory_speed(bench, Path(name))
        reopening(bench, Path(name))
    microbench.finish(bench)


if __name__ == "__main__":
    main()
