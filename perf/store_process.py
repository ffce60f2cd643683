"""One contender of perf.load_store in a process of its own, so that what /proc says of the process is its alone.

    python -m perf.store_process fill|abandon|reopen ours|plyvel|rocksdict FOLDER BYTES VALUE_BYTES

Prints one line of JSON. `abandon` then waits to be killed.
"""

import gc
import json
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perf.bench_lsm import Ours, Plyvel, Rocksdict
from perf.calltimes import Times

KINDS: dict[str, Any] = {kind.name: kind for kind in (Ours, Plyvel, Rocksdict)}
KEY_BYTES = 16
CHUNK = 10_000  # keys made at once
GET_EVERY = 100  # puts
QUIET_SECONDS = 3.0  # without a byte written: the background has nothing left to do
BESIDE_SECONDS = 3.0  # of puts before a checkpoint or backup is made beside them
#: LevelDB's bound; all of the log then belongs to one memtable.
LARGE_BUFFER = 1 << 30
OURS_LARGE_BUFFER = 2 << 30  # counts indexes too
PAGE = 4096
PEER_RECORD_BYTES = 22  # LevelDB's: 7 of the log, 12 of the batch, type and lengths
LOG_ZEROED = 16 << 26  # 16 segments: many more than are there at once, and segments are used again


def written_bytes() -> int:
    """What this process has given the kernel to be put on the disk."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise RuntimeError("no write_bytes in /proc/self/io")


def folder_bytes(folder: Path) -> int:
    return sum(name.stat().st_blocks * 512 for name in folder.rglob("*") if name.is_file())


def key_chunks(chance: random.Random) -> Iterator[list[bytes]]:
    while True:
        block = chance.randbytes(KEY_BYTES * CHUNK)
        yield [block[i : i + KEY_BYTES] for i in range(0, len(block), KEY_BYTES)]


def fill(kind: str, folder: Path, size: int, value_bytes: int) -> dict[str, Any]:
    """Puts of random keys with a get among a hundred of them; then what is on the disk when the background rests."""
    db = KINDS[kind](folder)
    value = b"v" * value_bytes
    puts, gets = Times(), Times()
    chance, pick = random.Random(1), random.Random(2)
    keys_wanted = size // (KEY_BYTES + value_bytes)
    known: list[bytes] = []  # some of the keys, for the gets
    put, get, clock = db.put, db.get, time.perf_counter_ns
    before, begin, done = written_bytes(), time.perf_counter(), 0
    for keys in key_chunks(chance):
        for i, key in enumerate(keys):
            at = clock()
            put(key, value)
            puts.add(clock() - at)
            if i % GET_EVERY == 0:
                known.append(key)
                wanted = known[int(pick.random() * len(known))]
                at = clock()
                found = get(wanted)
                gets.add(clock() - at)
                if found != value:
                    raise RuntimeError(f"{kind} has lost a key")
        done += len(keys)
        if done >= keys_wanted:
            break
    seconds = time.perf_counter() - begin
    user = done * (KEY_BYTES + value_bytes)
    during = written_bytes() - before
    await_rest()
    result: dict[str, Any] = {
        "puts": puts.figures(),
        "gets": gets.figures(),
        "seconds": seconds,
        "user_bytes": user,
        "written_during": during,
        "written": written_bytes() - before,
    }
    if kind == "ours":
        result["own"] = own_figures(db.db)
    db.settle()
    await_rest()
    result["settled_bytes"] = folder_bytes(folder)
    result["beside"] = beside(kind, db, folder, value, chance)
    db.close()
    return result


def own_figures(store: Any) -> dict[str, Any]:
    stats = store.stats()
    tables = stats.keyspaces["default"]
    zeros = min(stats.log.end, LOG_ZEROED)
    log = stats.log.end + zeros + stats.log.syncs * PAGE  # the last page of a batch is written again with the next
    written = tables.flushed_bytes + tables.compacted_written_bytes + log + stats.manifest_bytes
    return {
        "written": written,
        "flushed": tables.flushed_bytes,
        "compacted": tables.compacted_written_bytes,
        "log": log,
        "delayed_seconds": stats.delayed_seconds,
        "busy": stats.busy,
        "longest_sync_ms": stats.log.sync_seconds_max * 1e3,
    }


def await_rest() -> None:
    last, since = written_bytes(), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.1)
        if (now := written_bytes()) != last:
            last, since = now, time.monotonic()


# --- beside puts -----------------------------------------------------------------------------------------------------


def beside(kind: str, db: Any, folder: Path, value: bytes, chance: random.Random) -> dict[str, Any]:
    """Times of puts alone, while a checkpoint is made, and while a backup is."""
    result: dict[str, Any] = {"alone": puts_while(db, value, chance, lambda: time.sleep(BESIDE_SECONDS))}
    copy = folder.with_name(f"{folder.name} copy")
    if kind == "ours":
        result["checkpoint"] = puts_while(db, value, chance, lambda: db.db.checkpoint(copy))
        shutil.rmtree(copy)
        result["backup"] = puts_while(db, value, chance, lambda: db.db.backup(copy))
    elif kind == "rocksdict":
        from rocksdict import Checkpoint

        result["checkpoint"] = puts_while(db, value, chance, lambda: Checkpoint(db.db).create_checkpoint(str(copy)))
    shutil.rmtree(copy, ignore_errors=True)
    return result


def puts_while(db: Any, value: bytes, chance: random.Random, work: Callable[[], object]) -> dict[str, Any]:
    taken: list[float] = []

    def timed() -> None:
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)

    times, clock = Times(), time.perf_counter_ns
    thread = threading.Thread(target=timed)
    thread.start()
    for keys in key_chunks(chance):
        for key in keys:
            at = clock()
            db.put(key, value)
            times.add(clock() - at)
        if not thread.is_alive():
            break
    thread.join()
    if not taken:
        raise RuntimeError("what was to be done beside the puts has failed")
    return {"seconds": taken[0], "puts": times.figures()}


# --- a large log -----------------------------------------------------------------------------------------------------


def large(kind: str, folder: Path) -> Any:
    return KINDS[kind](folder, OURS_LARGE_BUFFER if kind == "ours" else LARGE_BUFFER)


def abandon(kind: str, folder: Path, size: int, value_bytes: int) -> dict[str, Any]:
    """Fills until the log has so many bytes, then waits for the kill."""
    db = large(kind, folder)
    value = b"v" * value_bytes
    count = 0
    for keys in key_chunks(random.Random(1)):
        for key in keys:
            db.put(key, value)
        count += len(keys)
        if log_bytes(kind, db, count, value_bytes) >= size:
            break
    if kind == "ours":
        db.db.sync()
    print(json.dumps({"log_bytes": log_bytes(kind, db, count, value_bytes), "puts": count}), flush=True)
    sys.stdin.read()
    raise SystemExit("not killed")


def log_bytes(kind: str, db: Any, count: int, value_bytes: int) -> int:
    """For the peers about so many; what is there when they are opened again is counted."""
    if kind == "ours":
        report = db.db.stats().log
        return int(report.end - report.first)
    return count * (KEY_BYTES + value_bytes + PEER_RECORD_BYTES)


def reopen(kind: str, folder: Path, size: int, value_bytes: int) -> dict[str, Any]:
    key = random.Random(1).randbytes(KEY_BYTES * CHUNK)[:KEY_BYTES]
    log = sum(name.stat().st_size for name in (*folder.glob("*.log"), *folder.glob("*.wal")))
    begin, cpu_before = time.perf_counter(), time.process_time()
    db = large(kind, folder)
    opened, cpu = time.perf_counter(), time.process_time() - cpu_before
    found = db.get(key)
    first = time.perf_counter()
    if found != b"v" * value_bytes:
        raise RuntimeError(f"{kind} has lost a key")
    db.close()
    return {"open": opened - begin, "first_get": first - begin, "cpu": cpu, "log_bytes": log}


def main() -> None:
    what, kind, folder, size, value_bytes = sys.argv[1:]
    work = {"fill": fill, "abandon": abandon, "reopen": reopen}[what]
    gc.disable()
    print(json.dumps(work(kind, Path(folder), int(size), int(value_bytes))), flush=True)
    os._exit(0)  # nothing is to be tidied up that costs time


if __name__ == "__main__":
    main()
