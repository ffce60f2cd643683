from collections.abc import Iterable, Sequence
from typing import Final, Literal, final

from typing_extensions import disjoint_base

__all__ = ["ClientContext", "Context", "ServerContext", "TlsError", "certificate_end"]

CLIENT_CERTIFICATES: Final[dict[str, int]]
VERSIONS: Final[tuple[str, ...]]

_Certificate = tuple[bytes, bytes]

class TlsError(ValueError): ...

def certificate_end(chain: bytes) -> int: ...

@disjoint_base
class Context:
    def stats(self) -> dict[str, int]: ...

@final
class ServerContext(Context):
    def __init__(
        self,
        certificates: Iterable[_Certificate],
        *,
        minimum: str = "1.2",
        ciphers: str | None = None,
        alpn: Sequence[str] = (),
        client_certificates: Literal["off", "optional", "required"] = "off",
        client_authorities: bytes | None = None,
        depth: int = 8,
        ticket_secret: bytes | None = None,
        ticket_hours: int = 12,
    ) -> None: ...
    def replace(
        self,
        certificates: Iterable[_Certificate],
        *,
        minimum: str = "1.2",
        ciphers: str | None = None,
        alpn: Sequence[str] = (),
        client_certificates: Literal["off", "optional", "required"] = "off",
        client_authorities: bytes | None = None,
        depth: int = 8,
        ticket_secret: bytes | None = None,
        ticket_hours: int = 12,
    ) -> None: ...

@final
class ClientContext(Context):
    def __init__(
        self,
        authorities: bytes | None = None,
        *,
        verify: bool = True,
        name: str | None = None,
        certificate: _Certificate | None = None,
        minimum: str = "1.2",
        ciphers: str | None = None,
        alpn: Sequence[str] = (),
    ) -> None: ...
