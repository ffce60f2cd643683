from collections.abc import Iterable, Sequence
from typing import final

__all__ = [
    "Deflate",
    "Handshake",
    "HandshakeError",
    "accept_key",
    "client_handshake",
    "client_headers",
    "client_key",
    "server_handshake",
]

_Text = str | bytes
_Headers = Iterable[tuple[_Text, _Text]]

@final
class Deflate:
    def __new__(
        cls,
        *,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int = 15,
        client_max_window_bits: int = 15,
    ) -> Deflate: ...
    @property
    def server_no_context_takeover(self) -> bool: ...
    @property
    def client_no_context_takeover(self) -> bool: ...
    @property
    def server_max_window_bits(self) -> int: ...
    @property
    def client_max_window_bits(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Handshake:
    @property
    def headers(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def protocol(self) -> str | None: ...
    @property
    def deflate(self) -> Deflate | None: ...

class HandshakeError(Exception):
    name: str
    status: int
    headers: list[tuple[bytes, bytes]]
    def __init__(self, message: str, *, name: str, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

def accept_key(key: _Text) -> bytes: ...
def server_handshake(
    method: str,
    headers: _Headers,
    *,
    http_version: str = "1.1",
    protocols: Sequence[_Text] = (),
    deflate: Deflate | None = None,
) -> Handshake: ...
def client_key() -> bytes: ...
def client_headers(
    key: _Text, *, protocols: Sequence[_Text] = (), deflate: Deflate | None = None
) -> list[tuple[bytes, bytes]]: ...
def client_handshake(
    key: _Text,
    status: int,
    headers: _Headers,
    *,
    protocols: Sequence[_Text] = (),
    deflate: Deflate | None = None,
) -> Handshake: ...
