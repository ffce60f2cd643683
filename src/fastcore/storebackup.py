"""Backups of a store, each of them whole and all of them sharing what they have in common.

    backup(store, "/mnt/backups/orders")                 # while it works on; copies only tables that are not there yet
    for made in backups("/mnt/backups/orders"):
        print(made.number, made.created, made.bytes)
    restore("/mnt/backups/orders", "/var/lib/app/store")
    purge("/mnt/backups/orders", keep=7)

    <path>/tables/<table's number>-<digest>.tbl    what several backups may name; never changed
    <path>/<number>/backup.json                    which tables, with a checksum over the list
    <path>/<number>/CURRENT, MANIFEST-...          the other files of the store

Everything a list names is synced before the list gets its name, and a list is gone before what it alone names is
removed, so that a crash leaves whole backups and perhaps files that nobody names, which the next purge removes. Files
are copied, not linked: the backup may be on another filesystem, and bits that rot in the store do not rot here.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastcore.disk import Disk, File
from fastcore.lsm import CorruptionError, ExistsError, LockedError, MissingError, Store, StoreError
from fastcore.storecheck import verify as verify_store

__all__ = ["Backup", "backup", "backups", "purge", "restore"]

FORMAT = 1
LIST = "backup.json"
TABLES = "tables"
LEAVING = "backup.leaving"  # the checkpoint that is copied, in the store's folder: links stay on its filesystem
COPY_BYTES = 1 << 20
# Of a table's end, where its index and its properties are; with size and time of its making it tells tables apart that
# have the same number, as those of a store that was restored and went another way.
TAIL_BYTES = 64 << 10

Where = str | os.PathLike[str]
Progress = Callable[[int, int], object]


class Backup(NamedTuple):
    """number: counts up. created: seconds since 1970. bytes: of all its tables. copied_tables, copied_bytes: those that
    had not been there before."""

    number: int
    created: float
    bytes: int
    tables: int
    copied_tables: int
    copied_bytes: int


# --- files -----------------------------------------------------------------------------------------------------------


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _copy(source: Path, target: Path, told: Callable[[int], None]) -> None:
    """Bytes and time of the last change; synced under another name first, so that the name stands for all of it."""
    made = target.with_name(target.name + ".new")
    with source.open("rb") as reader, made.open("wb") as writer:
        while data := reader.read(COPY_BYTES):
            writer.write(data)
            told(len(data))
        writer.flush()
        status = os.fstat(reader.fileno())
        os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(writer.fileno())
    made.rename(target)


def _digest(table: Path) -> str:
    status = table.stat()
    with table.open("rb") as reader:
        reader.seek(max(status.st_size - TAIL_BYTES, 0))
        tail = reader.read()
    return hashlib.blake2b(b"%d %d " % (status.st_size, status.st_mtime_ns) + tail, digest_size=8).hexdigest()


class _Counter:
    """Tells how many bytes of all have been copied."""

    def __init__(self, total: int, progress: Progress | None):
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self, n: int) -> None:
        self.done += n
        if self.progress:
            self.progress(self.done, self.total)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[File]:
    """The folder of backups, for one writer at a time."""
    with Disk(path, create=False) as disk:
        try:
            lock = disk.lock("LOCK")
        except BlockingIOError:
            text = "a backup is being made or purged here already; wait until it is done"
            raise LockedError(errno.EBUSY, text, str(path)) from None
        with lock:
            yield lock


# --- lists -----------------------------------------------------------------------------------------------------------


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _read(path: Path, number: int) -> dict[str, Any]:
    file = path / str(number) / LIST
    try:
        content: dict[str, Any] = json.loads(file.read_text())
        checksum = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, FileNotFoundError):
        checksum, content = None, {}
    if checksum != _checksum(content):
        text = f"the list of backup {number} is damaged; take another one (backups() has their numbers)"
        raise CorruptionError(errno.EBADMSG, text, str(file))
    if content["format"] != FORMAT:
        raise StoreError(errno.ENOTSUP, f"backup {number} was made by a later version of fastcore", str(file))
    return content


def _numbers(path: Path) -> list[int]:
    if not path.is_dir():
        raise MissingError(errno.ENOENT, "there are no backups here", str(path))
    return sorted(int(entry.name) for entry in path.iterdir() if re.fullmatch("[1-9][0-9]*", entry.name))


def _of(number: int, content: dict[str, Any]) -> Backup:
    tables = content["tables"]
    total = sum(table["bytes"] for table in tables)
    return Backup(number, content["created"], total, len(tables), content["copied_tables"], content["copied_bytes"])


def backups(path: Where) -> list[Backup]:
    """Those that are there, the oldest first."""
    root = Path(path)
    return [_of(number, _read(root, number)) for number in _numbers(root)]


# --- making one ------------------------------------------------------------------------------------------------------


def backup(store: Store, path: Where, *, progress: Progress | None = None) -> Backup:
    """Back up everything that has been written to the store so far. It works on meanwhile.

    path: a folder for the backups of this one store, made if it is absent.
    progress: called with bytes that have been copied, and bytes to copy in all."""
    if store.path is None:
        raise ValueError("a store on a simulated disk has no files to back up")
    root, leaving = Path(path), Path(os.fsdecode(store.path)) / LEAVING
    if not root.is_dir():
        root.mkdir()
        _sync(root.absolute().parent)
    with _locked(root):
        shutil.rmtree(leaving, ignore_errors=True)  # a crash's
        store.checkpoint(leaving)
        try:
            return _copy_checkpoint(leaving, root, progress)
        finally:
            shutil.rmtree(leaving, ignore_errors=True)


def _is_table(name: str) -> bool:
    return name.endswith(".tbl")


def _copy_checkpoint(source: Path, root: Path, progress: Progress | None) -> Backup:
    shared = root / TABLES
    shared.mkdir(exist_ok=True)
    tables, missing = [], []
    for table in sorted(entry for entry in source.iterdir() if _is_table(entry.name)):
        size = table.stat().st_size
        kept = shared / f"{table.stem}-{_digest(table)}.tbl"
        tables.append({"name": table.name, "file": kept.name, "bytes": size})
        if not kept.exists() or kept.stat().st_size != size:
            missing.append((table, kept, size))
    total = sum(size for _, _, size in missing)
    counter = _Counter(total, progress)
    for table, kept, _ in missing:
        _copy(table, kept, counter)
    _sync(shared)
    number = max(_numbers(root), default=0) + 1
    content = {
        "format": FORMAT,
        "created": time.time(),
        "tables": tables,
        "copied_tables": len(missing),
        "copied_bytes": total,
    }
    _write_list(root, number, source, content)
    return _of(number, content)


def _write_list(root: Path, number: int, source: Path, content: dict[str, Any]) -> None:
    made = root / f"{number}.new"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    others = sorted(entry for entry in source.iterdir() if entry.is_file() and not _is_table(entry.name))
    content["files"] = [entry.name for entry in others]
    for entry in others:
        _copy(entry, made / entry.name, lambda n: None)
    file = made / LIST
    file.write_text(json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n")
    _sync(file)
    _sync(made)
    _sync(root)
    made.rename(root / str(number))
    _sync(root)


# --- restoring -------------------------------------------------------------------------------------------------------


def restore(
    path: Where, target: Where, number: int | None = None, *, verify: bool = True, progress: Progress | None = None
) -> Backup:
    """Make a store of a backup, of the newest unless a number is given.

    target: where nothing is yet, or an empty folder. It is there when all of it is.
    verify: look at every block of it first; CorruptionError when one is damaged, and there is no store then.
    progress: called with bytes that have been copied, and bytes to copy in all."""
    root, goal = Path(path), Path(target).absolute()
    numbers = _numbers(root)
    if not numbers or number not in (None, *numbers):
        there = f"there are {', '.join(map(str, numbers))}" if numbers else "there is none"
        raise MissingError(
            errno.ENOENT, "no such backup" if number is None else f"no backup {number}: {there}", str(root)
        )
    if goal.exists() and (not goal.is_dir() or any(goal.iterdir())):
        raise ExistsError(
            errno.EEXIST, "there is something already; a backup is restored to where nothing is", str(goal)
        )
    content = _read(root, number or numbers[-1])
    made = goal.with_name(goal.name + ".restoring")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        _fill(root, number or numbers[-1], content, made, progress)
        if verify:
            _check(made)
        if goal.exists():
            goal.rmdir()
        made.rename(goal)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    _sync(goal.parent)
    return _of(number or numbers[-1], content)


def _fill(root: Path, number: int, content: dict[str, Any], made: Path, progress: Progress | None) -> None:
    counter = _Counter(sum(table["bytes"] for table in content["tables"]), progress)
    try:
        for table in content["tables"]:
            _copy(root / TABLES / table["file"], made / table["name"], counter)
        for name in content["files"]:
            _copy(root / str(number) / name, made / name, lambda n: None)
    except FileNotFoundError as error:
        text = f"a file of backup {number} is missing; take another one"
        raise CorruptionError(errno.EBADMSG, text, error.filename) from None
    _sync(made)


def _check(made: Path) -> None:
    report = verify_store(made)
    if not report.sound:
        bad = next(problem for problem in report.problems if problem.kind != "leftover")
        text = (
            f"the backup is damaged: {bad.file} at {bad.offset}: {bad.what}; take another one, or restore this one with"
        )
        raise CorruptionError(errno.EBADMSG, f"{text} verify=False and repair what comes of it", str(made))


# --- purging ---------------------------------------------------------------------------------------------------------


def purge(path: Where, *, keep: int) -> list[int]:
    """Remove all but the newest `keep` backups, tables that none of those has, and what a crash has left.

    Answers the numbers of those that are gone."""
    if keep < 1:
        raise ValueError(f"keep is {keep}; at least one backup is kept: remove the folder to have none")
    root = Path(path)
    numbers = _numbers(root)
    with _locked(root):
        gone = numbers[:-keep]
        kept = [_read(root, number) for number in numbers[-keep:]]  # before anything is removed
        for number in gone:
            (root / str(number)).rename(root / f"{number}.gone")
        _sync(root)
        for entry in root.iterdir():
            if re.fullmatch(r"[1-9][0-9]*\.(new|gone)", entry.name):
                shutil.rmtree(entry)
        named = {table["file"] for content in kept for table in content["tables"]}
        for entry in (root / TABLES).iterdir():
            if entry.name not in named:
                entry.unlink()
    return gone
