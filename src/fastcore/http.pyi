from collections.abc import Iterator
from typing import Literal, TypeVar, final, overload

from typing_extensions import Buffer, disjoint_base

__all__ = [
    "Data",
    "EndOfMessage",
    "Event",
    "Headers",
    "LocalProtocolError",
    "Message",
    "ProtocolError",
    "RemoteProtocolError",
    "Request",
    "RequestParser",
    "Response",
    "ResponseParser",
    "chunk",
]

_T = TypeVar("_T")

class ProtocolError(Exception):
    code: str
    status: int
    offset: int
    events: list[Event]
    def __init__(self, message: str, *, code: str, status: int, offset: int) -> None: ...

class RemoteProtocolError(ProtocolError): ...
class LocalProtocolError(ProtocolError): ...

@final
class Headers:
    def __len__(self) -> int: ...
    def __getitem__(self, name: bytes, /) -> bytes: ...
    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def get(self, name: bytes) -> bytes | None: ...
    @overload
    def get(self, name: bytes, default: _T) -> bytes | _T: ...
    def get_all(self, name: bytes) -> list[bytes]: ...
    def items(self) -> list[tuple[bytes, bytes]]: ...

@disjoint_base
class Message:
    @property
    def headers(self) -> Headers: ...
    @property
    def head_bytes(self) -> int: ...
    @property
    def http_version(self) -> Literal["1.0", "1.1"]: ...
    @property
    def framing(self) -> Literal["none", "length", "chunked", "close"]: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def keep_alive(self) -> bool: ...
    @property
    def upgrade(self) -> bool: ...
    @property
    def connection_names(self) -> bool: ...

@final
class Request(Message):
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> bytes: ...
    @property
    def target_form(self) -> Literal["origin", "absolute", "authority", "asterisk"]: ...
    @property
    def path(self) -> bytes: ...
    @property
    def query(self) -> bytes | None: ...
    @property
    def authority(self) -> bytes: ...
    @property
    def expect_continue(self) -> bool: ...
    @property
    def te_trailers(self) -> bool: ...

@final
class Response(Message):
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> bytes: ...

@final
class Data:
    def __init__(self, data: bytes) -> None: ...
    @property
    def data(self) -> bytes: ...

@final
class EndOfMessage:
    @property
    def trailers(self) -> Headers: ...

Event = Request | Response | Data | EndOfMessage

def chunk(data: Buffer) -> bytes: ...

class _Parser:
    def feed(self, data: Buffer) -> list[Event]: ...
    def feed_eof(self) -> list[Event]: ...
    @property
    def paused(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def unparsed(self) -> bytes: ...
    def resume(self) -> list[Event]: ...

@final
class RequestParser(_Parser):
    def __init__(
        self,
        *,
        max_head_bytes: int = 32768,
        max_target_bytes: int = 8192,
        max_fields: int = 100,
        max_chunk_ext_bytes: int = 256,
        max_trailer_bytes: int = 8192,
        allow_bare_lf: bool = False,
        allow_obs_fold: bool = False,
        allow_target_bytes: bool = False,
        allow_repeated_length: bool = False,
        allow_missing_host: bool = False,
    ) -> None: ...
    def parse_head(self, data: Buffer) -> Request | None: ...

@final
class ResponseParser(_Parser):
    def __init__(
        self,
        *,
        max_head_bytes: int = 32768,
        max_fields: int = 100,
        max_chunk_ext_bytes: int = 256,
        max_trailer_bytes: int = 8192,
        allow_bare_lf: bool = False,
        allow_obs_fold: bool = False,
        allow_space_before_colon: bool = False,
        allow_repeated_length: bool = False,
        allow_missing_reason_space: bool = False,
    ) -> None: ...
    def expect(self, method: str) -> None: ...
    def parse_head(self, data: Buffer, request_method: str = "GET") -> Response | None: ...
