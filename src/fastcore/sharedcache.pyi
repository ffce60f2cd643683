from collections.abc import Iterable
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar, final, overload

from typing_extensions import Buffer

from fastcore.shm import Region

__all__ = [
    "BLOCK",
    "CAPACITY",
    "ITEM_MAX",
    "SHARDS",
    "TAG_SLOTS",
    "WAIT",
    "Entry",
    "SharedCache",
    "Stats",
    "Writer",
    "section_size",
]

_D = TypeVar("_D")
_K = TypeVar("_K", bound=Buffer)

CAPACITY: Final[int]
ITEM_MAX: Final[int]
SHARDS: Final[int]
BLOCK: Final[int]
TAG_SLOTS: Final[int]
WAIT: Final[float]

class Entry(NamedTuple):
    value: bytes
    meta: bytes
    flags: int
    fresh: bool
    age: float
    ttl: float | None
    keep: float | None

class Stats(NamedTuple):
    hits: int
    misses: int
    stored: int
    evictions: int
    expirations: int
    repairs: int
    entries: int
    bytes: int
    pending: int
    capacity: int

def section_size(
    *,
    capacity: int | None = None,
    item_max: int | None = None,
    shards: int | None = None,
    block: int | None = None,
    tag_slots: int | None = None,
) -> int: ...

@final
class SharedCache:
    def __init__(
        self,
        region: Region | None = None,
        *,
        capacity: int | None = None,
        item_max: int | None = None,
        shards: int | None = None,
        block: int | None = None,
        tag_slots: int | None = None,
        wait: float = ...,
        section: str = "cache",
    ) -> None: ...
    @property
    def region(self) -> Region: ...
    @property
    def capacity(self) -> int: ...
    @property
    def item_max(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def block(self) -> int: ...
    @property
    def tag_slots(self) -> int: ...
    @overload
    def get(self, key: Buffer, default: None = None, *, now: float | None = None) -> bytes | None: ...
    @overload
    def get(self, key: Buffer, default: _D, *, now: float | None = None) -> bytes | _D: ...
    def get_many(self, keys: Iterable[_K], *, now: float | None = None) -> dict[_K, bytes]: ...
    def find(self, key: Buffer, *, now: float | None = None) -> Entry | None: ...
    def set(
        self,
        key: Buffer,
        value: Buffer,
        ttl: float | None = None,
        tags: Iterable[str | Buffer] = (),
        *,
        stale: float | None = 0,
        flags: int = 0,
        meta: Buffer = b"",
        stamp: Buffer | None = None,
        now: float | None = None,
    ) -> bool: ...
    def add(
        self,
        key: Buffer,
        value: Buffer,
        ttl: float | None = None,
        tags: Iterable[str | Buffer] = (),
        *,
        stale: float | None = 0,
        flags: int = 0,
        meta: Buffer = b"",
        stamp: Buffer | None = None,
        now: float | None = None,
    ) -> bool: ...
    def delete(self, key: Buffer, *, now: float | None = None) -> bool: ...
    def touch(
        self,
        key: Buffer,
        ttl: float | None = None,
        *,
        stale: float | None = 0,
        stamp: Buffer | None = None,
        now: float | None = None,
    ) -> bool: ...
    def claim(self, key: Buffer, lease: float, *, now: float | None = None) -> bool: ...
    def writer(
        self,
        key: Buffer,
        ttl: float | None = None,
        tags: Iterable[str | Buffer] = (),
        *,
        size: int = 0,
        stale: float | None = 0,
        flags: int = 0,
        meta: Buffer = b"",
        stamp: Buffer | None = None,
        now: float | None = None,
    ) -> Writer: ...
    def stamp(self, tags: Iterable[str | Buffer] = ()) -> bytes: ...
    def invalidate_tag(self, tag: str | Buffer, *, soft: bool = False) -> None: ...
    def clear(self) -> None: ...
    def expire(self, *, now: float | None = None) -> int: ...
    def release(self, pid: int) -> None: ...
    def stats(self) -> Stats: ...
    def __contains__(self, key: Buffer, /) -> bool: ...
    def __len__(self) -> int: ...

@final
class Writer:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def cache(self) -> SharedCache: ...
    def write(self, data: Buffer) -> bool: ...
    def commit(self) -> bool: ...
    def abort(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
