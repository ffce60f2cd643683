"""The gateway's settings: names, types, bounds and defaults. What each key means is its docstring here, and the
reference in docs/gateway/configuration.md is written from these docstrings.

Models are frozen. Durations are milliseconds and sizes bytes once loaded. What needs more than one key to decide is in
`config_checks`; how values are layered, and where errors stand, is in `apps.settings`.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)

from apps.config_base import FieldToken, Listed, Name, Section, field_token, short_for
from apps.gateway.config_auth import Auth, RouteAuthOrName
from apps.gateway.config_cache import Cache, RouteCacheOrTrue
from apps.gateway.config_changes import (
    Cors,
    FieldChanges,
    ParameterChanges,
    RedirectOrText,
    RespondOrText,
    SecurityOrSwitch,
)
from apps.gateway.config_compress import CompressOrSwitch
from apps.gateway.config_health import AdaptiveOrTrue, Breaker, HealthCheck, Outlier, Percent, Retries, Status
from apps.gateway.config_hooks import Hooks, HookSettings
from apps.gateway.config_http2 import Http2, Http2OrSwitch
from apps.gateway.config_json import JsonChanges
from apps.gateway.config_limits import DEFAULT_KEYS, Names, RateLimit, TableKeys
from apps.gateway.config_redis import Redis
from apps.gateway.config_reload import Reload
from apps.gateway.config_statsd import Statsd
from apps.gateway.config_tls import Tls, UpstreamTlsOrTrue
from apps.gateway.config_tracing import Tracing
from apps.gateway.patterns import regex_parameters, rewrite_parameters, template_parameters
from apps.units import Address, Duration, Size, SocketAddress, Timeout, Whole, is_host_name

Network = IPv4Network | IPv6Network


def _auto(value: Any) -> Any:
    return 0 if value == "auto" else value


_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")


def _method(value: str) -> str:
    field_token(value)
    if value != value.upper():
        raise ValueError(f"methods are case-sensitive: did you mean {value.upper()}?")
    return value


def _host_pattern(value: str) -> str:
    name = value.removeprefix("*.")
    if name.count(":") == 1 or value.startswith("["):
        raise ValueError(f"{value!r}: a host stands without its port")
    if not is_host_name(name):
        raise ValueError(f"{value!r} is no host: write example.com or *.example.com")
    return value.lower().removesuffix(".")


def _absolute_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r}: a path starts with /")
    if re.search(r"[\x00-\x20\x7f?#]", value):
        raise ValueError(f"{value!r}: a path has no spaces, control characters, '?' or '#'")
    return value


def _hash_source(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind in ("header", "query", "cookie"):
        if not name:
            raise ValueError(f"{value!r}: name the {kind}, as in {kind}:user")
        if kind == "header":
            field_token(name)
    elif value not in ("client_ip", "path"):
        raise ValueError(f"{value!r}: write client_ip, path, header:NAME, query:NAME or cookie:NAME")
    return value


def _rewritten_host(value: str) -> str:
    if not _AUTHORITY.fullmatch(value):
        raise ValueError(f"{value!r}: write preserve, upstream, or the host to send")
    return value


def _network(value: Any) -> Network:
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{value!r} is no network: write 10.0.0.0/8, 192.0.2.1 or fd00::/8") from None


def _checked_by(parameters: Callable[[str], frozenset[str]]) -> AfterValidator:
    def check(value: str) -> str:
        parameters(value)
        return value

    return AfterValidator(check)


def _split_source(value: str) -> str:
    return value if value in ("random", "user") else _hash_source(value)


SplitSource = Annotated[str, AfterValidator(_split_source)]
Method = Annotated[str, AfterValidator(_method)]
HostPattern = Annotated[str, AfterValidator(_host_pattern)]
AbsolutePath = Annotated[str, AfterValidator(_absolute_path)]
HashSource = Annotated[str, AfterValidator(_hash_source)]
RewrittenHost = Annotated[str, AfterValidator(_rewritten_host)]
Template = Annotated[AbsolutePath, _checked_by(template_parameters)]
Regex = Annotated[str, Field(min_length=1, max_length=4096), _checked_by(regex_parameters)]
RewrittenPath = Annotated[AbsolutePath, _checked_by(rewrite_parameters)]
NetworkText = Annotated[
    Network,
    PlainValidator(_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "title": "network", "examples": ["10.0.0.0/8"]}),
]


class AccessLog(Section):
    path: str = "off"
    """`off`, `-` for standard output, or the path of a file that is appended to and reopened on USR1."""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of requests that are logged: 1 all, 0.01 one in a hundred. Answers with a 5xx status are always logged."""
    subject: bool = False
    """Log who asked, as authentication found out. That is personal data."""


class Forwarded(Section):
    x_forwarded: bool = True
    """Send `X-Forwarded-For`, `-Proto` and `-Host`; what an untrusted client sent under these names is deleted."""
    forwarded: bool = False
    """Send `Forwarded` (RFC 7239); what an untrusted client sent under this name is deleted either way."""


class Timeouts(Section):
    header: Timeout = 10_000
    """From the first byte of a request to the end of its header; cuts slow-header clients."""
    idle: Timeout = 75_000
    """A client connection without a request is closed after this."""
    body: Timeout = 30_000
    """Longest pause between two pieces of a request body."""
    write: Timeout = 30_000
    """Longest time a client may read nothing while we have something for it."""
    connect: Timeout = 5_000
    """Establishing a connection to a target."""
    first_byte: Timeout = 60_000
    """From the last byte of the request sent to the first byte of the answer."""
    between_bytes: Timeout = 60_000
    """Longest pause between two pieces of an answer."""
    total: Duration = 0
    """Whole exchange, from the end of the request header to the last byte of the answer; 0 is no bound."""
    upstream_idle: Timeout = 60_000
    """An idle pooled connection to a target is closed after this; keep it below the target's own idle time."""
    drain: Timeout = 30_000
    """On TERM and HUP: how long requests in flight may take to finish before they are cut."""


class Limits(Section):
    header_bytes: Annotated[Size, Field(ge=1024, le=1 << 20)] = 32 * 1024
    """Request line and header fields together; more is answered 431. Bounds a target's
    header too (502). 1KB to 1MB."""
    headers: Annotated[int, Field(ge=1, le=1000), Whole] = 100
    """Number of header fields; more is answered 431."""
    url_bytes: Annotated[Size, Field(ge=128, le=1 << 20)] = 8 * 1024
    """Request target; longer is answered 414. 128 bytes to 1MB."""
    body_bytes: Size = 1 << 30
    """Request body; larger is answered 413. Bodies stream in constant memory, so this protects targets; 0 is none."""
    connections: Annotated[int, Field(ge=1, le=10_000_000), Whole] = 65_536
    """Open client connections per worker; beyond it none are accepted until one closes."""
    requests_per_connection: Annotated[int, Field(ge=0), Whole] = 0
    """A client connection is closed after this many requests; 0 is never."""
    compressions: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 1000
    """Answers a worker compresses or unpacks at one time, at up to 1 MB of memory each (br that is unpacked: as much as
    its window, 16 MB at the most); others go as they are."""
    buffer_bytes: Annotated[Size, Field(ge=4096, le=64 << 20)] = 128 * 1024
    """High watermark per exchange and direction: reading pauses while this much waits to be written. 4KB to
    64MB."""


class Target(Section):
    address: SocketAddress
    """`host:port`, `[ipv6]:port` or `unix:/path`. A name with several addresses is several targets of this weight."""
    weight: Annotated[int, Field(ge=0, le=1000), Whole] = 1
    """Share of the traffic relative to the other targets; 0 takes none."""


class Upstream(Section):
    targets: Annotated[
        tuple[Annotated[Target, short_for("address")], ...], Listed, Field(min_length=1, max_length=1024)
    ]
    """Where requests go: addresses, or mappings with address and weight."""
    balance: Literal["round_robin", "least_connections", "p2c_ewma", "consistent_hash"] = "round_robin"
    """How a target is chosen; `p2c_ewma` takes the better of two random ones by recent latency."""
    hash_on: HashSource | None = None
    """With `consistent_hash`: `client_ip`, `path`, `header:NAME`, `query:NAME` or `cookie:NAME`."""
    keepalive: Annotated[int, Field(ge=0, le=65_536), Whole] = 64
    """Idle connections kept per target and worker; 0 closes each after its answer."""
    max_connections: Annotated[int, Field(ge=0), Whole] = 0
    """Connections per target and worker; 0 is no bound."""
    max_pending: Annotated[int, Field(ge=0), Whole] = 1024
    """Requests that may wait per target for a connection when `max_connections` is reached; more are answered 503."""
    resolve_every: Duration = 30_000
    """How often names are looked up again; 0 only at start. The last good answer stays when a look-up fails."""
    connect_timeout: Timeout | None = None
    """Overrides `timeouts.connect`; with `tls` it covers the handshake."""
    tls: UpstreamTlsOrTrue | None = None
    """`true`, or a mapping: targets speak TLS, and must prove who they are. Without it we speak in the clear."""
    http2: bool = False
    """Speak HTTP/2 with the targets, as gRPC does: over TLS (they must agree to it by ALPN), or in the clear with prior
    knowledge. All requests of a worker share a few connections to each target; `max_connections` then bounds
    requests."""
    retries: Retries = Retries()
    """Retries of requests that a target failed."""
    health_check: HealthCheck | None = None
    """Targets are asked again and again whether they are well; without it they are not."""
    outlier: Outlier | None = None
    """A target that fails real requests is left out for a while; without it none is."""
    adaptive: AdaptiveOrTrue | None = None
    """`true`, or a mapping: send as many requests at once as latency shows the upstream can bear, and answer 503 for
    the rest, the least important first (`importance`). Every worker finds its own number."""
    breaker: Breaker | None = None
    """Requests are answered 503 at once while the upstream as a whole fails."""
    target_breaker: Breaker | None = None
    """The same for each target by itself: requests go to the others."""
    failure_statuses: Annotated[tuple[Status, ...], Listed] = ("5xx",)
    """Answers that count as failures for `outlier` and the breakers; failed connects, resets and timeouts always do."""
    panic_percent: Percent = 30
    """With a smaller share of targets neither unhealthy nor ejected than this, all are used; 0: never."""
    slow_start: Duration = 0
    """A target that comes back gets its full share only after this time; 0: at once."""


class Condition(Section):
    equals: str | None = None
    """The value, byte for byte. A plain string instead of a mapping means this."""
    prefix: str | None = None
    """How the value starts."""
    regex: Regex | None = None
    """Linear-time regular expression the whole value must match."""
    present: bool | None = None
    """true: there with any value; false: absent."""


class Rewrite(Section):
    path: RewrittenPath | None = None
    """New path; `{name}` inserts a parameter of the template or a named group of the regex. The query is kept."""
    strip_prefix: AbsolutePath | None = None
    """Removed from the start of the path, by whole segments."""
    add_prefix: AbsolutePath | None = None
    """Put before the path, after `strip_prefix`."""
    host: RewrittenHost = "preserve"
    """`preserve` sends the client's Host, `upstream` the target's, anything else is sent as written."""


class RouteTimeouts(Section):
    first_byte: Timeout | None = None
    """Overrides `timeouts.first_byte`."""
    between_bytes: Timeout | None = None
    """Overrides `timeouts.between_bytes`."""
    total: Duration | None = None
    """Overrides `timeouts.total`; 0 is no bound."""


class RouteLimits(Section):
    body_bytes: Size | None = None
    """Overrides `limits.body_bytes`; 0 is no bound."""


class Share(Section):
    upstream: str
    """Name of the upstream that gets it."""
    weight: Annotated[int, Field(ge=0, le=1_000_000), Whole] = 1
    """Its part of the traffic relative to the other shares; 0 is none."""


class Split(Section):
    shares: Annotated[tuple[Annotated[Share, short_for("upstream")], ...], Listed, Field(min_length=1, max_length=64)]
    """Upstreams with weights, as in `[{upstream: old, weight: 95}, {upstream: new, weight: 5}]`."""
    by: SplitSource = "random"
    """Who stays where: `random` (every request by itself), `client_ip`, `user`, `header:NAME`, `cookie:NAME` or
    `query:NAME`. What has no such value goes by chance. Changed weights move no more clients than they must."""


SplitOrShares = Annotated[Split, BeforeValidator(lambda value: {"shares": value} if isinstance(value, list) else value)]


class Mirror(Section):
    upstream: str
    """Name of the upstream that gets copies. A plain string instead of a mapping means this."""
    percent: Annotated[float, Field(ge=0, le=100)] = 100
    """Of the requests that go to the route's own upstream."""
    at_once: Annotated[int, Field(ge=1, le=100_000), Whole] = 100
    """Copies under way per worker; beyond it there are none, so that a slow upstream costs no more."""


class Route(Section):
    name: Name | None = None
    """Shown in logs, metrics and /routes; unique. A route without one is called by its place, as in `#3`."""
    host: HostPattern | None = None
    """Host to match: a name, or `*.example.com` for its subdomains. Without host and hosts every host matches."""
    hosts: Annotated[tuple[HostPattern, ...], Listed] = ()
    """Several hosts."""
    path: AbsolutePath | None = None
    """Path prefix by whole segments: `/api` matches `/api` and `/api/x`, not `/apis`."""
    exact: AbsolutePath | None = None
    """The whole path."""
    template: Template | None = None
    """Path with parameters: `/users/{id}` (one segment), `/files/{rest*}` (everything that follows)."""
    regex: Regex | None = None
    """Linear-time regular expression (RE2 syntax) that must match the whole path; named groups become parameters."""
    methods: Annotated[tuple[Method, ...], Listed] = ()
    """Methods to match; empty is every method."""
    headers: dict[FieldToken, Annotated[Condition, short_for("equals")]] = {}
    """Header fields that must match, by name."""
    query: dict[str, Annotated[Condition, short_for("equals")]] = {}
    """Query parameters that must match, by name."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000), Whole] = 0
    """Higher is tried first; among equals exact, template, regex, longest prefix, then order in the file."""
    upstream: str | None = None
    """Name of the upstream that answers. A route has one of upstream, split, redirect and respond."""
    split: (
        Annotated[Split, BeforeValidator(lambda value: {"shares": value} if isinstance(value, list) else value)] | None
    ) = None
    """Several upstreams, each with its share of the traffic: a list of shares, or a mapping."""
    mirror: Annotated[Mirror, short_for("upstream")] | None = None
    """Send copies of the requests to another upstream as well, whose answers nobody waits for."""
    request_json: JsonChanges | None = None
    """Changes to JSON bodies before requests are sent on."""
    response_json: JsonChanges | None = None
    """Changes to JSON bodies of targets' answers."""
    hooks: Hooks | None = None
    """Python functions of your own that see requests and answers on their way."""
    redirect: RedirectOrText | None = None
    """Send clients elsewhere: an address, or a mapping."""
    respond: RespondOrText | None = None
    """Answer by yourself: a text, or a mapping."""
    request_headers: FieldChanges | None = None
    """Changes to header fields before the request is sent on. Values are templates: `{user}`, `{client.ip}`,
    `{param.NAME}`, `{header.NAME}` and others."""
    request_query: ParameterChanges | None = None
    """Changes to the query before the request is sent on."""
    response_headers: FieldChanges | None = None
    """Changes to header fields of every answer on this route, ours included."""
    security_headers: SecurityOrSwitch | None = None
    """Fields that make browsers careful. Without it the general `security_headers`; false: none."""
    compress: CompressOrSwitch | None = None
    """Compress answers for clients that take it, unpack them for others. Without it the general `compress`; false:
    neither."""
    cache: RouteCacheOrTrue | None = None
    """`true`, or a mapping: store answers as RFC 9111 allows, and answer with them. Without it nothing is stored."""
    cors: Cors | None = None
    """Pages of which other origins may use this route. Preflights are answered before authentication; what targets
    say about it is dropped."""
    rewrite: Rewrite = Rewrite()
    """Changes to path and host before the request is sent on."""
    timeouts: RouteTimeouts = RouteTimeouts()
    """Overrides of `timeouts` for this route."""
    limits: RouteLimits = RouteLimits()
    """Overrides of `limits` for this route."""
    rate_limits: Names | None = None
    """Names of the limits its requests are under, all of which must admit them. Without it `default_rate_limits`, `[]`
    is none."""
    auth: RouteAuthOrName | None = None
    """Who may use it: a provider's name, several, or a mapping. Without it everybody may."""
    importance: Literal["high", "normal", "low"] = "normal"
    """Who goes last when an upstream with `adaptive` cannot bear more: of its places high may take all, normal 85 %,
    low 60 %."""
    access_log: bool = True
    """false leaves this route out of the access log."""
    retries: bool = True
    """false never retries on this route."""
    retry_any_method: bool = False
    """true: also requests with POST, PATCH and other methods are sent again, where doing so twice does no harm."""


class Gateway(Section):
    """All settings of `fastcore gateway`."""

    listen: Annotated[tuple[SocketAddress, ...], Listed, Field(max_length=64)] = (Address("127.0.0.1", 8080),)
    """Addresses of the data plane that speak in the clear: `host:port`, `[ipv6]:port`, `:port` (every interface),
    `unix:/path`. `[]` where all speak TLS."""
    tls: Tls = Tls()
    """Addresses of the data plane that speak TLS, and with which certificates."""
    http2: Http2OrSwitch = Http2()
    """HTTP/2 with clients, on all of these addresses."""
    control: SocketAddress = Address("127.0.0.1", 8081)
    """Address of the control plane: health, metrics, status page."""
    control_token: SecretStr | None = None
    """Bearer token of the control plane; required when `control` is reachable from other machines."""
    control_token_file: str | None = None
    """File that holds the token, as secret stores mount them."""
    control_hosts: Annotated[tuple[HostPattern, ...], Listed] = ()
    """Host names the control plane answers to besides its own address and localhost (against DNS rebinding)."""
    workers: Annotated[int, Field(ge=0, le=1024), Whole, BeforeValidator(_auto)] = 0
    """Worker processes; 0 or `auto` is one for each CPU this process may use."""
    access_log: Annotated[AccessLog, short_for("path")] = AccessLog()
    """`off`, `-`, a path, or a mapping with path and sample. One JSON object a line (see PROTOCOL.md)."""
    audit_log: Annotated[str, Field(min_length=1)] = "-"
    """Who changed what through the control plane: `-` for the log, `off`, or the path of a file that is appended to.
    One JSON object a line, on the disk before the change is answered."""
    pid_file: str | None = None
    """The master writes its process id here, for HUP (new workers) and USR2 (upgrade)."""
    server_name: FieldToken = "fastcore"
    """Our pseudonym in `Via` (RFC 9110, section 7.6.3) and `Server`."""
    trusted_proxies: Annotated[tuple[NetworkText, ...], Listed] = ()
    """Networks whose `Forwarded` and `X-Forwarded-*` are believed and extended, as in 10.0.0.0/8."""
    forwarded: Forwarded = Forwarded()
    """Which fields tell targets about the client."""
    timeouts: Timeouts = Timeouts()
    """Deadlines, each with its reason below."""
    limits: Limits = Limits()
    """Bounds, each with what happens beyond it."""
    rate_limits: Annotated[dict[Name, RateLimit], Field(max_length=1000)] = {}
    """Limits on how many requests are admitted, by name; routes say which they are under."""
    default_rate_limits: Names = ()
    """Names of the limits of routes that do not say."""
    redis: Redis | None = None
    """Where limits with `shared` are counted."""
    rate_limit_keys: TableKeys = DEFAULT_KEYS
    """Keys (clients, users ...) that all limits together can remember at one time; one that has used nothing needs no
    room. Changes at a restart only: a reload keeps the table."""
    auth: Auth = Auth()
    """Who vouches for clients. Nothing is asked of anybody unless a route says so."""
    cache: Cache = Cache()
    """Where answers are stored; routes say whether theirs are."""
    tracing: Tracing | None = None
    """Stand in traces (W3C Trace Context). Without it `traceparent` and `tracestate` go on as they came."""
    statsd: Annotated[Statsd, short_for("address")] | None = None
    """Send figures to statsd as well; `/metrics` has them all the time."""
    reload: Reload = Reload()
    """How new settings come into force."""
    security_headers: SecurityOrSwitch | None = None
    """Of routes that do not say: `true`, or a mapping."""
    compress: CompressOrSwitch | None = None
    """Compress answers of routes that do not say: `true`, or a mapping."""
    hooks: HookSettings = HookSettings()
    """Python functions of your own: where they are, and how many calls may be under way."""
    upstreams: Annotated[dict[Name, Upstream], Field(max_length=10_000)] = {}
    """Groups of targets by name."""
    routes: Annotated[tuple[Route, ...], Field(max_length=100_000)] = ()
    """Which requests go to which upstream. A request no route matches is answered 404."""
