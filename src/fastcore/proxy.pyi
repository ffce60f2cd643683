import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from fastcore.metrics import Metrics
from fastcore.proxylimits import Limits, QuotaLine
from fastcore.reactor import Reactor
from fastcore.resilience import Health, Retry
from fastcore.router import Router
from fastcore.sharedcache import SharedCache
from fastcore.shm import Region
from fastcore.spans import SpanQueue
from fastcore.tls import Context

__all__ = [
    "BALANCE",
    "CELLS",
    "REASONS",
    "Adaptive",
    "Authenticator",
    "CachePolicy",
    "Coding",
    "Cors",
    "Credential",
    "Edit",
    "Endpoint",
    "Fixed",
    "HookCall",
    "Hooks",
    "Http2",
    "Literal",
    "Mirror",
    "Parameter",
    "Part",
    "Proxy",
    "Route",
    "RouteAuth",
    "RouteHooks",
    "Split",
    "Tail",
    "Upstream",
    "pack_verdict",
]

BALANCE: Final[dict[str, int]]
RETRY_ON: Final[dict[str, int]]
HEALTH_SECTION: Final[str]
HASH_ON: Final[dict[str, int]]
CELLS: Final[tuple[tuple[str, str], ...]]
CLASSES: Final[tuple[str, ...]]
REASONS: Final[tuple[str, ...]]
SOURCES: Final[dict[str, int]]
VALUE_PARTS: Final[dict[str, int]]
EDITS: Final[dict[str, int]]

@dataclass(frozen=True)
class CachePolicy:
    default_ttl: float = 0.0
    heuristic_max: float = 86400.0
    ttl_max: float = 0.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    keep: float = 600.0
    ignore_client: bool = False
    store_cookies: bool = False
    collapse: bool = True
    wait: float = 5.0
    item_max: int = 1 << 20

@dataclass(frozen=True)
class Part:
    kind: str
    text: str = ""

@dataclass(frozen=True)
class Edit:
    kind: str
    name: str
    value: tuple[Part, ...] = ()
    secure_only: bool = False

@dataclass(frozen=True)
class Cors:
    origins: tuple[str, ...]
    credentials: bool = False
    methods: tuple[str, ...] | None = None
    headers: tuple[str, ...] | None = None
    expose: tuple[str, ...] = ()
    max_age: int = 600

@dataclass(frozen=True)
class Fixed:
    status: int
    content_type: str = ""
    body: bytes = b""
    location: tuple[Part, ...] = ()

@dataclass(frozen=True)
class Endpoint:
    address: tuple[str, int] | str
    weight: int = 1
    label: str = ""
    host: str = ""
    def name(self) -> str: ...
    def host_name(self) -> str: ...

@dataclass(frozen=True)
class Literal:
    text: str

@dataclass(frozen=True)
class Parameter:
    name: str

@dataclass(frozen=True)
class Tail:
    skip: int

@dataclass(frozen=True)
class Credential:
    id: int
    fingerprint: bytes
    source: str
    name: str = ""
    forward: bool = True

@dataclass(frozen=True)
class RouteAuth:
    credentials: tuple[Credential, ...]
    required: bool = True
    scopes: int = 0
    scope_text: str = ""

def pack_verdict(
    reason: str, *, expires: float = 0, scopes: int = 0, subject: bytes = b"", fields: bytes = b""
) -> bytes: ...

@final
class Authenticator:
    reactor: Reactor
    verified: SharedCache
    refused: SharedCache
    def __init__(
        self,
        reactor: Reactor,
        verified: SharedCache,
        refused: SharedCache,
        wake: Callable[[], object],
        *,
        pending: int = 1024,
    ) -> None: ...
    def take(self) -> tuple[int, bytes, bytes] | None: ...
    def settle(self, key: bytes, verdict: bytes) -> bool: ...
    @property
    def waiting(self) -> int: ...

@dataclass(frozen=True)
class Split:
    shares: tuple[tuple[int, Route], ...]
    on: tuple[str, ...] = ("random",)

@dataclass(frozen=True)
class Coding:
    types: tuple[str, ...]
    least_bytes: int = 1024
    gzip: int = 5
    br: int = 4
    unpack: bool = True
    unpack_requests: bool = False

@dataclass(frozen=True)
class Mirror:
    route: Route
    percent: float = 100.0
    at_once: int = 100

@dataclass(frozen=True)
class Route:
    name: str
    upstream: Upstream | None
    path: tuple[Literal | Parameter | Tail, ...] | None = None
    host: str = "preserve"
    hash_on: tuple[str, ...] = ("client_ip",)
    first_byte_timeout: float = 60.0
    between_bytes_timeout: float = 60.0
    total_timeout: float = 0.0
    tunnel_idle_timeout: float = 3600.0
    body_bytes_max: int = 0
    share: int = 100
    attempts: int = 1
    retry: Retry = ...
    log: bool = True
    limits: tuple[str, ...] = ()
    auth: RouteAuth | None = None
    request_edits: tuple[Edit, ...] = ()
    query_edits: tuple[Edit, ...] = ()
    reply_edits: tuple[Edit, ...] = ()
    cors: Cors | None = None
    fixed: Fixed | None = None
    split: Split | None = None
    mirror: Mirror | None = None
    cache: CachePolicy | None = None
    coding: Coding | None = None
    hooks: RouteHooks | None = None

@dataclass(frozen=True)
class RouteHooks:
    request: int | None = None
    response: int | None = None
    request_body: int = 0
    response_body: int = 0
    passes: bool = False

@final
class HookCall:
    def go_on(self) -> None: ...
    def change(self, head: bytes, body: bytes = b"") -> None: ...
    def answer(self, head: bytes, body: bytes = b"") -> None: ...
    def fail(self) -> None: ...
    @property
    def function(self) -> int: ...
    @property
    def response(self) -> bool: ...
    @property
    def head(self) -> bytes: ...
    @property
    def body(self) -> bytes | None: ...
    @property
    def client(self) -> str: ...
    @property
    def subject(self) -> bytes: ...

@final
class Hooks:
    reactor: Reactor
    def __init__(self, reactor: Reactor, wake: Callable[[], object], *, waiting: int = 1024) -> None: ...
    def take(self) -> HookCall | None: ...
    @property
    def waiting(self) -> int: ...

@dataclass(frozen=True)
class Http2:
    streams: int = 128
    stream_window: int = 262144
    connection_window: int = 1048576
    control_burst: int = 1000
    control_rate: int = 100

@dataclass(frozen=True)
class Adaptive:
    initial: int = 20
    minimum: int = 3
    maximum: int = 1000
    tolerance: float = 1.1
    window: float = 0.5
    probe: float = 0.0

@final
class Upstream:
    name: str
    balance: str
    tls: Context | None
    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None: ...
    def endpoints(self) -> list[dict[str, Any]]: ...
    @property
    def watched(self) -> bool: ...
    def health(self) -> dict[str, Any]: ...
    def touch(self) -> None: ...
    def lead(self) -> bool: ...
    def resign(self) -> None: ...
    def probed(self, address: str, passed: bool) -> str | None: ...
    def adaptive(self) -> dict[str, int] | None: ...
    @property
    def waiting(self) -> int: ...

@final
class Proxy:
    reactor: Reactor
    def __init__(
        self,
        reactor: Reactor,
        *,
        name: str = "fastcore",
        trusted: Iterable[object] = (),
        x_forwarded: bool = True,
        forwarded: bool = False,
        hops_max: int = 10,
        log_sample: float = 1.0,
        log_subject: bool = False,
        lenient: int = 0,
        header_bytes: int = 32768,
        headers: int = 100,
        url_bytes: int = 8192,
        body_bytes: int = 0,
        body_rate_min: int = 0,
        requests_per_connection: int = 0,
        connections: int = 65536,
        buffer_bytes: int = 131072,
        header_timeout: float = 10.0,
        idle_timeout: float = 75.0,
        body_timeout: float = 30.0,
        write_timeout: float = 30.0,
        drain_idle: float = 1.0,
        http2: Http2 | None = None,
        compressions: int = 1000,
    ) -> None: ...
    def upstream(
        self,
        name: str,
        *,
        balance: str = "round_robin",
        load_factor: float = 0.0,
        keepalive: int = 64,
        connections: int = 0,
        pending: int = 1024,
        connect_timeout: float = 5.0,
        idle_timeout: float = 60.0,
        fail_timeout: float = 1.0,
        buffer_bytes: int = 131072,
        health: Health | None = None,
        tls: Context | None = None,
        adaptive: Adaptive | None = None,
        http2: bool = False,
    ) -> Upstream: ...
    hooks: Hooks | None
    def use_hooks(self, hooks: Hooks) -> None: ...
    def use_region(self, region: Region) -> None: ...
    def use_quotas(self, line: QuotaLine) -> None: ...
    def use_metrics(self, metrics: Metrics, prefix: str) -> None: ...
    authenticator: Authenticator | None
    cache: SharedCache | None
    spans: SpanQueue | None
    def use_cache(self, cache: SharedCache) -> None: ...
    def use_auth(self, authenticator: Authenticator) -> None: ...
    def use_tracing(self, queue: SpanQueue | None = None, *, sample: float = 0.0, trust: bool = True) -> None: ...
    def set_routes(
        self,
        router: Router,
        routes: Sequence[Route],
        limits: Limits | None = None,
        *,
        claimed: Iterable[str] = (),
        secret_parameters: Iterable[str] = (),
        turn: Callable[[], object] | None = None,
    ) -> None: ...
    def sweep(self) -> None: ...
    def listen(self, sock: socket.socket, tls: Context | None = None) -> None: ...
    def open_log(self, path: str, buffer_bytes: int = 1048576) -> None: ...
    def reopen_log(self) -> None: ...
    def close_log(self) -> None: ...
    def log_stats(self) -> dict[str, int] | None: ...
    def drain(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def connections(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def draining(self) -> bool: ...
    def stats(self) -> dict[str, int]: ...
