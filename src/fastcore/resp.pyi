from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Self

from typing_extensions import Buffer, disjoint_base

__all__ = [
    "BigNumber",
    "ProtocolError",
    "PushNotification",
    "Reader",
    "ReplyError",
    "RequestReader",
    "RespError",
    "SimpleString",
    "Verbatim",
    "WithAttributes",
    "encode",
    "pack",
    "pack_command",
    "pack_many",
]

_Argument = bytes | bytearray | memoryview | str | int | float

class RespError(Exception): ...

class ProtocolError(RespError):
    commands: list[list[bytes]]
    def __init__(self, *args: object) -> None: ...

class ReplyError(RespError): ...
class PushNotification(list[Any]): ...

@disjoint_base
class Reader:
    def __init__(
        self,
        protocolError: Callable[[str], Exception] = ...,
        replyError: Callable[[str], Any] = ...,
        encoding: str | None = None,
        errors: str | None = None,
        notEnoughData: Any = False,
        convertSetsToLists: bool = True,
        *,
        max_string: int = ...,
        max_line: int = 65536,
        max_elements: int = ...,
        max_depth: int = 1024,
    ) -> None: ...
    @property
    def attributes(self) -> dict[Any, Any] | None: ...
    def feed(self, data: Buffer | str, offset: int = 0, length: int = -1, /) -> None: ...
    def gets(self, should_decode: bool = True, /) -> Any: ...
    def has_data(self) -> bool: ...
    def len(self) -> int: ...
    def setmaxbuf(self, maxbuf: int | None, /) -> None: ...
    def getmaxbuf(self) -> int: ...
    def set_encoding(self, encoding: str | None = None, errors: str | None = None) -> None: ...

@disjoint_base
class RequestReader:
    def __init__(
        self,
        *,
        max_arguments: int = ...,
        max_argument_bytes: int = ...,
        max_request_bytes: int = ...,
        max_inline_bytes: int = 65536,
    ) -> None: ...
    def limit(
        self,
        *,
        max_arguments: int | None = None,
        max_argument_bytes: int | None = None,
        max_request_bytes: int | None = None,
        max_inline_bytes: int | None = None,
    ) -> None: ...
    def feed(self, data: Buffer, /) -> list[list[bytes]]: ...
    def has_data(self) -> bool: ...
    def len(self) -> int: ...

def pack(*args: _Argument) -> bytes: ...
def pack_command(command: tuple[_Argument, ...] | list[_Argument], /) -> bytes: ...
def pack_many(commands: Iterable[tuple[_Argument, ...] | list[_Argument]], /) -> bytes: ...

@disjoint_base
class SimpleString(bytes): ...

@disjoint_base
class Verbatim(bytes):
    format: str
    def __new__(cls, data: Buffer, format: str = "txt") -> Self: ...

@disjoint_base
class BigNumber(int): ...

class WithAttributes:
    __slots__ = ("attributes", "value")
    value: Any
    attributes: Mapping[Any, Any]
    def __init__(self, value: Any, attributes: Mapping[Any, Any]) -> None: ...

def encode(value: Any, protocol: Literal[2, 3] = 2, *, max_depth: int = 128) -> bytes: ...
