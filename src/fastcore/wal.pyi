from collections.abc import Iterable
from os import PathLike
from types import TracebackType
from typing import NamedTuple, Self, final

from typing_extensions import Buffer

from fastcore.disk import Disk

__all__ = [
    "ClosedError",
    "CorruptionError",
    "DiskFullError",
    "ForkedError",
    "FormatError",
    "LockedError",
    "Log",
    "LogError",
    "LogReport",
    "Record",
    "RecordTooLargeError",
    "Records",
    "TruncatedError",
]

class Record(NamedTuple):
    position: int
    type: int
    data: bytes

class LogReport(NamedTuple):
    first: int
    durable: int
    end: int
    records: int
    torn_bytes: int
    appends: int
    bytes: int
    batches: int
    syncs: int
    sync_seconds: float
    sync_seconds_max: float
    sync_times: tuple[tuple[float, int], ...]

class LogError(OSError): ...

class CorruptionError(LogError):
    file: str | None
    offset: int | None

class DiskFullError(LogError): ...
class LockedError(LogError): ...
class FormatError(LogError): ...
class TruncatedError(LogError, LookupError): ...
class RecordTooLargeError(LogError, ValueError): ...
class ClosedError(LogError, ValueError): ...
class ForkedError(LogError, RuntimeError): ...

@final
class Log:
    def __init__(
        self,
        where: str | bytes | PathLike[str] | PathLike[bytes] | Disk,
        *,
        segment_bytes: int = ...,
        record_bytes_max: int | None = None,
        buffer_bytes_max: int | None = None,
        ballast: bool = True,
        threaded: bool | None = None,
        salvage: bool = False,
    ) -> None: ...
    def append(self, data: Buffer, type: int = 1, *, sync: bool = False, urgent: bool = False) -> int: ...
    def append_many(
        self, records: Iterable[Buffer], type: int = 1, *, sync: bool = False, urgent: bool = False
    ) -> list[int]: ...
    def wait(self, position: int, timeout: float | None = None) -> None: ...
    def sync(self, timeout: float | None = None) -> int: ...
    def truncate_before(self, position: int) -> None: ...
    def read_from(self, position: int = 0) -> Records: ...
    def step(self) -> bool: ...
    @property
    def durable(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def error(self) -> LogError | None: ...
    def report(self) -> LogReport: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class Records:
    def __init__(self, log: Log, position: int = 0) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Record: ...
