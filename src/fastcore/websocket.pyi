import enum
from collections.abc import Iterable
from typing import ClassVar, Literal, final

from typing_extensions import Buffer, disjoint_base

from fastcore.wshandshake import (
    Deflate,
    Handshake,
    HandshakeError,
    accept_key,
    client_handshake,
    client_headers,
    client_key,
    server_handshake,
)

__all__ = [
    "Binary",
    "Close",
    "Deflate",
    "Encoder",
    "Event",
    "FrameParser",
    "Handshake",
    "HandshakeError",
    "LocalProtocolError",
    "Message",
    "Opcode",
    "Ping",
    "Pong",
    "PreparedMessage",
    "ProtocolError",
    "RemoteProtocolError",
    "Text",
    "accept_key",
    "apply_mask",
    "build_close",
    "build_frame",
    "client_handshake",
    "client_headers",
    "client_key",
    "server_handshake",
]

_Mask = Buffer | bool | None

class Opcode(enum.IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10

class ProtocolError(Exception):
    name: str
    code: int
    offset: int
    events: list[Event]
    def __init__(self, message: str, *, name: str, code: int, offset: int = 0) -> None: ...

class RemoteProtocolError(ProtocolError): ...
class LocalProtocolError(ProtocolError, ValueError): ...

@disjoint_base
class Message:
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __init__(
        self, data: str | bytes, *, first: bool = True, last: bool = True, frame_last: bool = True
    ) -> None: ...
    @property
    def data(self) -> bytes: ...
    @property
    def first(self) -> bool: ...
    @property
    def last(self) -> bool: ...
    @property
    def frame_last(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Text(Message):
    __match_args__: ClassVar[tuple[str, ...]]
    @property
    def text(self) -> str: ...

@final
class Binary(Message):
    __match_args__: ClassVar[tuple[str, ...]]

@final
class Ping:
    __match_args__: ClassVar[tuple[str, ...]]
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __init__(self, data: bytes = b"") -> None: ...
    @property
    def data(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Pong:
    __match_args__: ClassVar[tuple[str, ...]]
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __init__(self, data: bytes = b"") -> None: ...
    @property
    def data(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Close:
    __match_args__: ClassVar[tuple[str, ...]]
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __init__(self, code: int = 1005, reason: str = "") -> None: ...
    @property
    def code(self) -> int: ...
    @property
    def reason(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...

Event = Text | Binary | Ping | Pong | Close

@disjoint_base
class FrameParser:
    def __init__(
        self,
        role: Literal["server", "client", "either"] = "server",
        *,
        max_message_bytes: int = 1048576,
        max_frame_bytes: int | None = None,
        deflate: Deflate | None = None,
        assemble: bool = True,
        decode_text: bool = True,
        keep_bytes: int = 4096,
    ) -> None: ...
    def feed(self, data: Buffer) -> list[Event]: ...
    def feed_eof(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def offset(self) -> int: ...

def build_frame(
    opcode: int, payload: str | Buffer = b"", *, mask: _Mask = None, fin: bool = True, rsv1: bool = False
) -> bytes: ...
def build_close(code: int | None = None, reason: str = "", *, mask: _Mask = None) -> bytes: ...
def apply_mask(data: Buffer, mask: Buffer, *, offset: int = 0) -> bytes: ...

@disjoint_base
class Encoder:
    def __init__(
        self,
        role: Literal["server", "client"] = "server",
        *,
        deflate: Deflate | None = None,
        compress_min_bytes: int = 64,
        level: int = 6,
        mem_level: int = 8,
        keep_memory: bool = False,
    ) -> None: ...
    def text(self, data: str | Buffer, *, compress: bool = True) -> bytes: ...
    def binary(self, data: Buffer, *, compress: bool = True) -> bytes: ...
    def fragment(self, data: str | Buffer, *, last: bool, compress: bool = True) -> bytes: ...
    def batch(self, messages: Iterable[str | Buffer], *, compress: bool = True) -> bytes: ...
    def prepared(self, message: PreparedMessage, *, compress: bool = True) -> bytes: ...
    def ping(self, data: str | Buffer = b"") -> bytes: ...
    def pong(self, data: str | Buffer = b"") -> bytes: ...
    def close(self, code: int | None = None, reason: str = "") -> bytes: ...

@final
class PreparedMessage:
    def __init__(
        self, data: str | Buffer, *, compress_min_bytes: int = 64, level: int = 6, mem_level: int = 8
    ) -> None: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def opcode(self) -> int: ...
    def frame(self, deflate: Deflate | None = None) -> bytes: ...
