"""The store against plyvel (LevelDB), rocksdict (RocksDB) and lmdb, `what | ours | peer | ratio` (over 1: ours is
faster).

    python -m perf.bench_lsm [--rounds N] [--quick] [--folder DIR]

16-byte random keys, 100-byte values, 1 M of them, from one Python thread. Rates are thousands a second on the wall
clock, what the store's own threads cost included; the contenders run in turns in the same folder.

  put     unsynced, one by one, in random order, into a new store, each with memtables of 64 MiB; no compression
  get     of keys that are there and of keys that are not, in random order, from stores that were compacted
  scan    all of it, forwards and backwards
  durable puts of 100 bytes by 64 greenlets, by 16 and by one (ours), by 64 threads (plyvel, rocksdict with sync on)

lmdb, whose puts are those of one transaction and whose reads are those of another, is shown beside: it has neither a
log nor writers side by side.

How long a durable put takes is told in syncs: its p99 over the median, and over the p99, of the syncs that the log made
in the same run; the median of all runs' quotients. 64 greenlets also wait for each other: one turn of all of them takes
longer than a sync of a fast disk. syncs per put is the log's own count. Where there is strace, the kernel counts the
fdatasync calls of durable puts in a process of their own, too: what is more are a segment's, a table's, a manifest's.

DIR decides which disk is measured; the default is a folder under build/. /tmp may be memory.
"""

import argparse
import gc
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gevent
import lmdb
import plyvel
from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteOptions

from fastcore.lsm import Store
from perf import loadlib, microbench
from perf.loadlib import ROOT
from perf.microbench import Bench

VALUE = b"v" * 100
BUFFER = 64 << 20
CACHE = 64 << 20
GREENLETS = 64
FEW_GREENLETS = 16
COUNTED_PUTS = 16_000
LMDB_ROOM = 4 << 30


class Ours:
    name = "ours"

    def __init__(self, folder: Path, buffer: int = BUFFER) -> None:
        log = max(1 << 30, 2 * buffer)  # not the log's length is what flushes
        self.db = Store(folder, memtable_bytes=buffer, cache_bytes=CACHE, log_bytes_max=log)
        self.put, self.get, self.close = self.db.put, self.db.get, self.db.close

    def items(self, reverse: bool) -> Iterable[Any]:
        return self.db.scan(reverse=reverse)

    def settle(self) -> None:
        self.db.flush()
        self.db.compact()

    def durable(self, key: bytes) -> None:
        self.db.put(key, VALUE, durability="flushed")

    def done(self) -> None:
        pass


class Plyvel:
    name = "plyvel"

    def __init__(self, folder: Path, buffer: int = BUFFER) -> None:
        self.db = plyvel.DB(
            str(folder),
            create_if_missing=True,
            write_buffer_size=buffer,
            lru_cache_size=CACHE,
            bloom_filter_bits=10,
            compression=None,
        )
        self.put, self.get, self.close = self.db.put, self.db.get, self.db.close

    def items(self, reverse: bool) -> Iterable[Any]:
        return self.db.iterator(reverse=reverse)

    def settle(self) -> None:
        self.db.compact_range()

    def durable(self, key: bytes) -> None:
        self.db.put(key, VALUE, sync=True)

    def done(self) -> None:
        pass


class Rocksdict:
    name = "rocksdict"

    def __init__(self, folder: Path, buffer: int = BUFFER) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(buffer)
        options.set_compression_type(DBCompressionType.none())
        tables = BlockBasedOptions()
        tables.set_block_cache(Cache(CACHE))
        tables.set_bloom_filter(10, False)
        options.set_block_based_table_factory(tables)
        self.db = Rdict(str(folder), options)
        self.put, self.get, self.close = self.db.put, self.db.get, self.db.close
        self.sync = WriteOptions()
        self.sync.sync = True

    def items(self, reverse: bool) -> Iterable[Any]:
        return self.db.items(backwards=reverse)

    def settle(self) -> None:
        self.db.flush()
        self.db.compact_range(None, None)

    def durable(self, key: bytes) -> None:
        self.db.put(key, VALUE, write_opt=self.sync)

    def done(self) -> None:
        pass


class Lmdb:
    name = "lmdb"

    def __init__(self, folder: Path) -> None:
        self.env = lmdb.open(str(folder), map_size=LMDB_ROOM, sync=False)
        self.transaction = self.env.begin(write=True)
        self.put, self.get, self.close = self.transaction.put, self.transaction.get, self.env.close

    def items(self, reverse: bool) -> Iterable[Any]:
        return self.transaction.cursor().iterprev() if reverse else self.transaction.cursor()

    def done(self) -> None:
        self.transaction.commit()

    def settle(self) -> None:
        self.transaction = self.env.begin()
        self.get = self.transaction.get


KINDS: tuple[Callable[[Path], Any], ...] = (Ours, Plyvel, Rocksdict, Lmdb)


def turns(bench: Bench, names: list[str]) -> Iterable[tuple[bool, str]]:
    """(does it count, who) for each run: all in every round, every second round backwards, the first to warm up."""
    for turn in range(0 if bench.quick else -1, bench.rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            gc.collect()
            yield turn >= 0, name


def table(bench: Bench, what: str, rates: dict[str, list[float]]) -> None:
    bench.raw[what] = rates
    for name in rates:
        if name != "ours":
            bench.add(loadlib.row(f"{what} (peer: {name})", "k/s", rates["ours"], rates[name]))


def puts(bench: Bench, folder: Path, keys: list[bytes]) -> None:
    kinds = {kind.name: kind for kind in KINDS}  # type: ignore[attr-defined]
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    slowest: dict[str, list[float]] = {name: [] for name in kinds}
    clock = time.perf_counter
    for counts, name in turns(bench, list(kinds)):
        path = folder / "put"
        db = kinds[name](path)
        put, longest = db.put, 0.0
        begin = last = clock()
        for key in keys:
            put(key, VALUE)
            now = clock()
            if now - last > longest:
                longest = now - last
            last = now
        db.done()
        seconds = clock() - begin
        db.close()
        shutil.rmtree(path)
        if counts:
            rates[name].append(len(keys) / seconds / 1e3)
            slowest[name].append(longest * 1e3)
    table(bench, "put, unsynced", rates)
    for name, found in slowest.items():
        bench.alone(f"slowest put, {name}", "ms", statistics.median(found))


def reads(bench: Bench, folder: Path, keys: list[bytes], absent: list[bytes]) -> None:
    stores: dict[str, Any] = {}
    for kind in KINDS:
        db = kind(folder / f"read {kind.name}")  # type: ignore[attr-defined]
        for key in keys:
            db.put(key, VALUE)
        db.done()
        db.settle()
        stores[db.name] = db

    def get_all(db: Any, wanted: list[bytes]) -> None:
        get = db.get
        for key in wanted:
            get(key)

    shuffled = random.Random(2).sample(keys, len(keys))
    for what, work in (
        ("get, present", lambda db: get_all(db, shuffled)),
        ("get, absent", lambda db: get_all(db, absent)),
        ("scan, forwards", lambda db: [None for _ in db.items(False)] and None),
        ("scan, backwards", lambda db: [None for _ in db.items(True)] and None),
    ):
        rates: dict[str, list[float]] = {name: [] for name in stores}
        for counts, name in turns(bench, list(stores)):
            begin = time.perf_counter()
            work(stores[name])
            seconds = time.perf_counter() - begin
            if counts:
                rates[name].append(len(keys) / seconds / 1e3)
        table(bench, what, rates)
    for db in stores.values():
        db.close()


def by_greenlets(db: Any, keys: list[bytes], how_many: int) -> list[float]:
    workers = [gevent.spawn(durable_puts, db, keys[i::how_many]) for i in range(how_many)]
    gevent.joinall(workers, raise_error=True)
    return [taken for worker in workers for taken in worker.value]


def by_threads(db: Any, keys: list[bytes], how_many: int) -> list[float]:
    taken: list[float] = []
    threads = [
        threading.Thread(target=lambda part=keys[i::how_many]: taken.extend(durable_puts(db, part)))
        for i in range(how_many)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def durable_puts(db: Any, keys: list[bytes]) -> list[float]:
    taken = []
    put, clock = db.durable, time.perf_counter
    for key in keys:
        begin = clock()
        put(key)
        taken.append(clock() - begin)
    return taken


def quantile(counts: Counter[float], q: float) -> float:
    """The value of that rank; counts: how often each is there."""
    rank = q * counts.total()
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return 0.0


def durable(bench: Bench, folder: Path, keys: list[bytes]) -> None:
    ours, theirs, rocks = Ours(folder / "durable"), Plyvel(folder / "durable p"), Rocksdict(folder / "durable r")
    few = keys[: 128 if bench.quick else 2000]
    many = keys[: 640 if bench.quick else 16000]
    contenders: dict[str, Callable[[], list[float]]] = {
        "1 greenlet": lambda: by_greenlets(ours, few, 1),
        "64 greenlets": lambda: by_greenlets(ours, many, GREENLETS),
        "16 greenlets": lambda: by_greenlets(ours, many, FEW_GREENLETS),
        "plyvel, 64 threads": lambda: by_threads(theirs, many, GREENLETS),
        "rocksdict, 64 threads": lambda: by_threads(rocks, many, GREENLETS),
    }
    one, many_ours, few_ours, *peers = contenders
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    p99: dict[str, list[float]] = {name: [] for name in contenders}
    syncs: dict[str, list[Counter[float]]] = {name: [] for name in contenders}
    for counts, name in turns(bench, list(contenders)):
        before, begin = ours.db.stats().log, time.perf_counter()
        taken = sorted(contenders[name]())
        seconds = time.perf_counter() - begin
        if counts:
            rates[name].append(len(taken) / seconds)
            p99[name].append(taken[int(len(taken) * 0.99)])
            syncs[name].append(Counter(dict(ours.db.stats().log.sync_times)) - Counter(dict(before.sync_times)))
    bench.raw["durable"] = {
        "puts_per_second": rates,
        "p99_seconds": p99,
        "sync_seconds": {name: [sorted(found.items()) for found in syncs[name]] for name in (one, many_ours, few_ours)},
    }
    for peer in (one, *peers):
        bench.add(loadlib.row(f"durable puts, {many_ours} (peer: {peer})", "/s", rates[many_ours], rates[peer]))
    for name in (one, many_ours):
        per_run = len(few) if name == one else len(many)
        bench.alone(f"syncs per put, {name}", "", sum(found.total() for found in syncs[name]) / per_run / bench.rounds)
    for name in (many_ours, few_ours):
        bench.alone(f"p99 of a put, {name}", "ms", statistics.median(p99[name]) * 1e3)
        for which, q in (("median", 0.5), ("p99", 0.99)):
            of_syncs = [quantile(found, q) for found in syncs[name]]
            quotients = [put / max(sync, 1e-9) for put, sync in zip(p99[name], of_syncs, strict=True)]
            bench.alone(f"{which} of a sync, {name}", "ms", statistics.median(of_syncs) * 1e3)
            bench.alone(f"p99 of a put, {name}, in a sync's {which}", "", statistics.median(quotients))
    for db in (ours, theirs, rocks):
        db.close()


def counted_puts(folder: str) -> None:
    """In a process of its own: prints how many syncs the log says it made for so many durable puts."""
    db = Ours(Path(folder))
    chance = random.Random(1)
    by_greenlets(db, [chance.randbytes(16) for _ in range(COUNTED_PUTS)], GREENLETS)
    print(db.db.stats().log.syncs)
    db.close()


def counted_syncs(bench: Bench, folder: Path) -> None:
    if shutil.which("strace") is None:
        return
    counts = folder / "strace"
    code = f"from perf.bench_lsm import counted_puts; counted_puts({str(folder / 'counted')!r})"
    strace = ["strace", "-f", "-c", "-e", "trace=fdatasync", "-o", str(counts)]
    said = subprocess.run([*strace, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found = re.search(r"(\d+)\s+fdatasync$", counts.read_text(), re.MULTILINE)
    bench.alone(f"fdatasync calls for {COUNTED_PUTS} durable puts, the log's count", "", int(said.stdout))
    bench.alone(f"fdatasync calls for {COUNTED_PUTS} durable puts, the kernel's", "", int(found[1]) if found else 0)


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--folder", type=Path, default=ROOT / "build")
    chosen, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    versions = {name: version(name) for name in ("plyvel", "rocksdict", "lmdb")}
    bench = microbench.start("lsm", __doc__ or "", versions, rounds=5)
    chance = random.Random(1)
    n = 20_000 if bench.quick else 1_000_000
    keys = [chance.randbytes(16) for _ in range(n)]
    absent = [chance.randbytes(16) for _ in range(n)]
    chosen.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        puts(bench, Path(name), keys)
        reads(bench, Path(name), keys, absent)
        durable(bench, Path(name), keys)
        counted_syncs(bench, Path(name))
    microbench.finish(bench)


if __name__ == "__main__":
    main()
