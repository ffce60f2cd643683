"""The configurations that were in force, in a folder that the workers of one gateway share: what runs, and what ran.

    <folder>/index.json     their list, the last one in force; replaced whole, which is what workers watch for
    <folder>/12.settings    number 12, compiled
    <folder>/running-4711   the number that worker 4711 runs
    <folder>/draining       there while no more traffic is to come
    <folder>/seen           what tells the settings file as it was last read from a changed one

The folder is ours alone (0700), because settings hold secrets and because compiled ones are unpickled. All calls touch
files: they belong into a thread where the folder may lie on a disk.
"""

import atexit
import contextlib
import fcntl
import itertools
import json
import os
import pickle
import shutil
import stat
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from apps.gateway.compiled import PROTOCOL, Compiled

INDEX = "index.json"
SEEN = "seen"
DRAINING = "draining"
RUNNING = "running-"
#: Memory, where there is such a place: what is kept there ends with the gateway anyway.
MEMORY = Path("/dev/shm")  # noqa: S108
PREFIX = "fastcore-gateway-"


class Overtaken(Exception):
    """Somebody else changed the settings meanwhile."""


class NeedsFile(Exception):
    """The settings need new workers, and those read the settings file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One configuration. at: seconds since 1970. source: start, file, put or rollback; by: whose doing, if known."""

    number: int
    at: float
    source: str
    by: str
    routes: int
    digest: str


class History:
    """Raises OSError when the folder cannot be made or belongs to somebody else."""

    def __init__(self, folder: Path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(1, "must be ours, and closed to everybody else (mode 0700)", str(folder))
        self.folder = folder
        self._parts = itertools.count()

    def add(self, compiled: Compiled, *, source: str, by: str = "", keep: int) -> Entry:
        """Puts it in force, in all workers that watch."""
        with self._lock("index"):
            entries = self.entries()
            last = entries[-1].number if entries else 0
            entry = Entry(last + 1, time.time(), source, by, len(compiled.routes), compiled.digest)
            self._write(f"{entry.number}.settings", pickle.dumps(compiled, PROTOCOL))
            kept = [*entries, entry][-keep:]
            self._write(INDEX, json.dumps([asdict(each) for each in kept]).encode())
            for gone in {each.number for each in entries} - {each.number for each in kept}:
                (self.folder / f"{gone}.settings").unlink(missing_ok=True)
        return entry

    def change(self) -> IO[bytes]:
        """Nobody else brings new settings, from when this returns until the answer is closed."""
        return self._lock("change")

    def entries(self) -> list[Entry]:
        """The oldest first; the last is in force."""
        try:
            return [Entry(**each) for each in json.loads((self.folder / INDEX).read_bytes())]
        except FileNotFoundError:
            return []

    def current(self) -> Entry | None:
        entries = self.entries()
        return entries[-1] if entries else None

    def load(self, number: int) -> Compiled:
        """Raises KeyError for one that is not remembered."""
        try:
            data = (self.folder / f"{number:d}.settings").read_bytes()
        except FileNotFoundError:
            raise KeyError(number) from None
        made: Compiled = pickle.loads(data)  # noqa: S301
        return made

    def saw(self, place: str) -> None:
        """The settings file has been read, as it stood there."""
        self._write(SEEN, place.encode())

    def seen(self) -> str:
        try:
            return (self.folder / SEEN).read_text()
        except FileNotFoundError:
            return ""

    # --- no more traffic ---

    def drain(self, on: bool) -> None:
        """All workers say that no more traffic is to come, or that it may."""
        if on:
            self._write(DRAINING, b"")
        else:
            (self.folder / DRAINING).unlink(missing_ok=True)

    @property
    def draining(self) -> bool:
        return (self.folder / DRAINING).exists()

    # --- who runs what ---

    def runs(self, number: int) -> None:
        """This worker runs it now."""
        self._write(f"{RUNNING}{os.getpid()}", str(number).encode())

    def stopped(self) -> None:
        """This worker runs no more."""
        (self.folder / f"{RUNNING}{os.getpid()}").unlink(missing_ok=True)

    def running(self) -> dict[int, int]:
        """Number by worker, of those alive."""
        found = {}
        for file in self.folder.glob(f"{RUNNING}*"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(file.name.removeprefix(RUNNING))
                if _alive(pid):
                    found[pid] = int(file.read_bytes())
                else:
                    file.unlink()
        return found

    # --- inside ---

    def _lock(self, name: str) -> IO[bytes]:
        lock = (self.folder / f"{name}.lock").open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _write(self, name: str, data: bytes) -> None:
        """All of it under that name, or nothing."""
        part = self.folder / f".{name}.{os.getpid()}.{next(self._parts)}"
        part.write_bytes(data)
        part.replace(self.folder / name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def private_history() -> History:
    """In memory, for as long as this process lives; what killed ones have left is taken away."""
    parent = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and left.stat().st_uid == os.geteuid() and not _alive(int(pid)):
                shutil.rmtree(left)
    owner = os.getpid()
    history = History(Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-", dir=parent)))

    def remove() -> None:
        if os.getpid() == owner:  # workers inherit what is registered, and end before their master
            shutil.rmtree(history.folder, ignore_errors=True)

    atexit.register(remove)
    return history
