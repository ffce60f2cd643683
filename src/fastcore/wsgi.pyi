import logging
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, final

from typing_extensions import disjoint_base

from fastcore.reactor import Reactor

__all__ = ["ClientDisconnected", "FileWrapper", "WSGIServer"]

class ClientDisconnected(ConnectionError): ...

@disjoint_base
class FileWrapper:
    def __init__(self, filelike: Any, blksize: int = 8192) -> None: ...
    @property
    def filelike(self) -> Any: ...
    @property
    def blksize(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None: ...

@final
class WSGIServer:
    def __init__(
        self,
        reactor: Reactor,
        application: Callable[..., Any],
        *,
        environ: Mapping[str, Any],
        server_name: str = "fastcore",
        limit_request_line: int = 4094,
        limit_request_fields: int = 100,
        limit_request_field_size: int = 8190,
        connections_max: int = 65536,
        keepalive: float = 75.0,
        header_timeout: float = 10.0,
        body_timeout: float = 30.0,
        write_timeout: float = 30.0,
        drain_idle: float = 1.0,
        body_bytes_max: int = 0,
        out_high: int = ...,
        out_low: int = ...,
        sendfile: bool = True,
        any_method: bool = False,
        secure_scheme_headers: Mapping[str, str] | None = None,
        forwarder_headers: Collection[str] = (),
        header_map: str = "drop",
        trusted: Callable[[str], bool] | None = None,
        script_name: str = "",
        max_requests: int = 0,
        limit_reached: Callable[[], object] | None = None,
        before: Callable[[dict[str, Any]], object] | None = None,
        after: Callable[[dict[str, Any], str, list[tuple[str, str]], int, float], object] | None = None,
        error_log: logging.Logger | None = None,
    ) -> None: ...
    @property
    def reactor(self) -> Reactor: ...
    @property
    def requests(self) -> int: ...
    def listen(self, sock: socket.socket) -> None: ...
    def drain(self, drained: Callable[[], object] | None = None) -> None: ...
    def stop(self) -> None: ...
    def stats(self) -> dict[str, int]: ...
