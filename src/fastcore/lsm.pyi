from collections.abc import Callable, Iterable
from os import PathLike
from types import GenericAlias, TracebackType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, final, overload

from typing_extensions import Buffer, disjoint_base

from fastcore.disk import Disk
from fastcore.memtable import Memtable as Memtable
from fastcore.memtable import MemtableFullError as MemtableFullError
from fastcore.memtable import MemtableScan as MemtableScan
from fastcore.storebackup import Backup
from fastcore.storecheck import CheckReport, RepairReport
from fastcore.wal import LogReport

__all__ = [
    "CacheStats",
    "ClosedError",
    "ConflictError",
    "CorruptionError",
    "DiskFullError",
    "Entry",
    "ExistsError",
    "ForkedError",
    "FormatError",
    "Iterator",
    "Keyspace",
    "KeyspaceError",
    "KeyspaceStats",
    "LevelStats",
    "LockedError",
    "Memtable",
    "MemtableFullError",
    "MemtableScan",
    "MissingError",
    "ReadOnlyError",
    "Reader",
    "Snapshot",
    "Store",
    "StoreError",
    "StoreStats",
    "TooLargeError",
    "WriteBatch",
    "Writer",
    "backups",
    "purge",
    "repair",
    "restore",
    "verify",
]

_D = TypeVar("_D")
_T = TypeVar("_T", covariant=True)
_Durability = Literal["memory", "flushed"]
_Compression = Literal["lz4", "zstd"] | None

class StoreError(OSError): ...

class CorruptionError(StoreError):
    file: str | None
    offset: int | None
    what: str | None

class ReadOnlyError(StoreError): ...
class DiskFullError(StoreError): ...
class LockedError(StoreError): ...
class FormatError(StoreError): ...
class MissingError(StoreError): ...
class ExistsError(StoreError): ...

class ConflictError(StoreError):
    key: bytes | None

class TooLargeError(StoreError, ValueError): ...
class KeyspaceError(StoreError, LookupError): ...
class ClosedError(StoreError, ValueError): ...
class ForkedError(StoreError, RuntimeError): ...

class Entry(NamedTuple):
    value: bytes
    version: int
    expires: float | None

class LevelStats(NamedTuple):
    tables: int
    bytes: int
    entries: int
    deletes: int

class KeyspaceStats(NamedTuple):
    levels: tuple[LevelStats, ...]
    memtables: int
    memtable_bytes: int
    memtable_entries: int
    table_memory: int
    debt_bytes: int
    flushes: int
    flushed_bytes: int
    compactions: int
    compacted_read_bytes: int
    compacted_written_bytes: int
    moved_tables: int

class CacheStats(NamedTuple):
    bytes: int
    blocks: int
    hits: int
    misses: int
    inserted: int
    evicted: int
    returned: int

class StoreStats(NamedTuple):
    sequence: int
    snapshots: int
    oldest_snapshot: int
    writes: int
    operations: int
    written_bytes: int
    gets: int
    delayed_seconds: float
    busy: int
    manifest_bytes: int
    log: LogReport
    cache: CacheStats
    keyspaces: dict[str, KeyspaceStats]

@disjoint_base
class Reader:
    @property
    def name(self) -> str: ...
    @overload
    def get(self, key: Buffer, default: None = None) -> bytes | None: ...
    @overload
    def get(self, key: Buffer, default: _D) -> bytes | _D: ...
    def get_entry(self, key: Buffer) -> Entry | None: ...
    def __contains__(self, key: Buffer, /) -> bool: ...
    @overload
    def multi_get(self, keys: Iterable[Buffer], default: None = None) -> list[bytes | None]: ...
    @overload
    def multi_get(self, keys: Iterable[Buffer], default: _D) -> list[bytes | _D]: ...
    # What an Iterator gives depends on include_key and include_value.
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: Buffer | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[True] = True,
        fill_cache: bool = True,
    ) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: Buffer | None = None,
        include_key: bool = True,
        include_value: bool = True,
        fill_cache: bool = True,
    ) -> Iterator[Any]: ...
    @overload
    def scan(
        self,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        *,
        prefix: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[True] = True,
        fill_cache: bool = True,
    ) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def scan(
        self,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        *,
        prefix: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        include_key: bool = True,
        include_value: bool = True,
        fill_cache: bool = True,
    ) -> Iterator[Any]: ...
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...
    def approximate_size(self, start: Buffer | None = None, stop: Buffer | None = None) -> int: ...
    def approximate_sizes(self, *ranges: tuple[Buffer | None, Buffer | None]) -> list[int]: ...
    @property
    def closed(self) -> bool: ...

@final
class Snapshot(Reader):
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def keyspace(self, other: Reader) -> Snapshot: ...
    @property
    def sequence(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def release(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

class Writer(Reader):
    def put(
        self,
        key: Buffer,
        value: Buffer,
        *,
        ttl: float | None = None,
        durability: _Durability = "memory",
        sync: bool = False,
    ) -> None: ...
    def delete(self, key: Buffer, *, durability: _Durability = "memory", sync: bool = False) -> None: ...
    def delete_range(
        self,
        begin: Buffer | None = None,
        end: Buffer | None = None,
        *,
        durability: _Durability = "memory",
        sync: bool = False,
    ) -> None: ...
    def write_batch(
        self, *, transaction: bool = True, durability: _Durability = "memory", sync: bool = False
    ) -> WriteBatch: ...
    def write(self, batch: WriteBatch, *, durability: _Durability = "memory", sync: bool = False) -> None: ...
    def compare_and_set(
        self,
        key: Buffer,
        version: int | None,
        value: Buffer | None,
        *,
        ttl: float | None = None,
        durability: _Durability = "memory",
        sync: bool = False,
    ) -> bool: ...
    def snapshot(self) -> Snapshot: ...
    def prefixed(self, prefix: Buffer) -> Keyspace: ...
    def flush(self) -> None: ...
    def compact_range(self, start: Buffer | None = None, stop: Buffer | None = None) -> None: ...
    def compact(self) -> None: ...

@final
class Keyspace(Writer):
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def stats(self) -> KeyspaceStats: ...

@final
class Store(Writer):
    def __init__(
        self,
        where: str | bytes | PathLike[str] | PathLike[bytes] | Disk,
        *,
        create_if_missing: bool = True,
        error_if_exists: bool = False,
        cache_bytes: int = ...,
        log_bytes_max: int = ...,
        segment_bytes: int = ...,
        buffer_bytes_max: int | None = None,
        ballast: bool = True,
        threaded: bool | None = None,
        clock: Callable[[], float] | None = None,
        **options: int | _Compression,
    ) -> None: ...
    def keyspace(self, name: str, *, create: bool = True, **options: int | _Compression) -> Keyspace: ...
    def keyspaces(self) -> list[str]: ...
    def drop_keyspace(self, name: str) -> None: ...
    def sync(self, timeout: float | None = None) -> None: ...
    def checkpoint(self, path: str | bytes | PathLike[str] | PathLike[bytes]) -> None: ...
    def backup(self, path: str | PathLike[str], *, progress: Callable[[int, int], object] | None = None) -> Backup: ...
    def verify(self, *, progress: Callable[[int, int], object] | None = None) -> CheckReport: ...
    def step(self) -> bool: ...
    def stats(self) -> StoreStats: ...
    @property
    def error(self) -> StoreError | None: ...
    @property
    def path(self) -> str | bytes | None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class WriteBatch:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def put(self, key: Buffer, value: Buffer, *, ttl: float | None = None, keyspace: Writer | None = None) -> None: ...
    def delete(self, key: Buffer, *, keyspace: Writer | None = None) -> None: ...
    def delete_range(
        self, begin: Buffer | None = None, end: Buffer | None = None, *, keyspace: Writer | None = None
    ) -> None: ...
    def expect(self, key: Buffer, version: int | None, *, keyspace: Writer | None = None) -> None: ...
    def append(self, other: WriteBatch) -> None: ...
    def clear(self) -> None: ...
    def write(self) -> None: ...
    @property
    def bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class Iterator(Generic[_T]):
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...
    def prev(self) -> _T: ...
    def seek(self, target: Buffer) -> None: ...
    def seek_to_start(self) -> None: ...
    def seek_to_stop(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

def verify(
    where: str | bytes | PathLike[str] | PathLike[bytes] | Disk, *, progress: Callable[[int, int], object] | None = None
) -> CheckReport: ...
def repair(
    where: str | bytes | PathLike[str] | PathLike[bytes] | Disk, *, progress: Callable[[int, int], object] | None = None
) -> RepairReport: ...
def backups(path: str | PathLike[str]) -> list[Backup]: ...
def restore(
    path: str | PathLike[str],
    target: str | PathLike[str],
    number: int | None = None,
    *,
    verify: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> Backup: ...
def purge(path: str | PathLike[str], *, keep: int) -> list[int]: ...
