from collections.abc import Callable
from os import PathLike
from typing import Literal, NamedTuple

from fastcore.disk import Disk
from fastcore.lsm import Store

__all__ = ["CheckReport", "Loss", "Problem", "RepairReport", "repair", "verify"]

class Problem(NamedTuple):
    kind: Literal["damage", "missing", "unreadable", "leftover"]
    file: str
    offset: int
    what: str

class _CheckReport(NamedTuple):
    bytes: int
    keyspaces: int
    tables: int
    blocks: int
    entries: int
    log_records: int
    log_torn_bytes: int
    manifest: bool
    damages: int
    problems: tuple[Problem, ...]

class CheckReport(_CheckReport):
    @property
    def sound(self) -> bool: ...

_Key = bytes | None

class Loss(NamedTuple):
    file: str
    offset: int
    bytes: int
    what: str
    keyspace: str | None
    first: _Key
    last: _Key

class RepairReport(NamedTuple):
    changed: bool
    tables_sound: int
    tables_salvaged: int
    tables_lost: int
    entries_salvaged: int
    log_records: int
    keyspaces_rebuilt: int
    bytes_lost: int
    manifest_lost: bool
    log_replaced: bool
    losses: tuple[Loss, ...]
    moved: tuple[str, ...]

_Where = str | bytes | PathLike[str] | PathLike[bytes]
_Progress = Callable[[int, int], object]

def verify(where: _Where | Disk | Store, *, progress: _Progress | None = None) -> CheckReport: ...
def repair(where: _Where | Disk, *, progress: _Progress | None = None) -> RepairReport: ...
