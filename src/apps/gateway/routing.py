"""Settings to a route table: which rules the router compiles, and what the engine does with each route.

Pure: no socket, no clock. `check_table` is what `fastcore check` and every start and reload ask first.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from apps.gateway.config_auth import RouteAuth
from apps.gateway.config_changes import edits_of
from apps.gateway.config_health import Retries, numbers
from apps.gateway.config_model import Condition, Gateway, Rewrite, Route
from apps.yaml_source import Path
from fastcore import regex
from fastcore.proxy import Edit, Literal, Mirror, Parameter, Part, Split, Tail, Upstream
from fastcore.proxy import Route as EngineRoute
from fastcore.proxy import RouteAuth as EngineAuth
from fastcore.proxy import RouteHooks as EngineHooks
from fastcore.resilience import Retry
from fastcore.router import RouterBuilder

Piece = Literal | Parameter | Tail

# Tunnels (WebSocket) are quiet for long times by nature; nginx's 60 s cut them, which is what its users ask about most.
TUNNEL_IDLE_SECONDS = 3600.0

#: Percent of an adaptive upstream's places. Above a half each, because a limit that is never more than half in use does
#: not grow.
SHARES = {"high": 100, "normal": 85, "low": 60}


def route_name(index: int, route: Route) -> str:
    """What logs and metrics call a route."""
    return route.name or f"#{index}"


def plain_routes(settings: Gateway) -> list[dict[str, Any]]:
    """The route table as plain data, in file order; only what is not default."""
    return [
        {"name": route_name(index, route), **route.model_dump(mode="json", exclude_defaults=True, exclude={"name"})}
        for index, route in enumerate(settings.routes)
    ]


def limits_of(settings: Gateway, route: Route) -> tuple[str, ...]:
    """Names of the limits a route's requests are under."""
    return settings.default_rate_limits if route.rate_limits is None else route.rate_limits


def router_of(settings: Gateway, turn: Callable[[], None]) -> RouterBuilder:
    """What builds the table; a route's index is its place in the file. turn: called between two routes. Raises
    ValueError naming what is wrong."""
    builder = RouterBuilder()
    for index, route in enumerate(settings.routes):
        add_rule(builder, index, route)
        turn()
    return builder


def check_table(routes: Mapping[int, Route]) -> Iterator[tuple[Path, str]]:
    """What only the whole table shows: rules the router refuses, and routes that can never be told apart."""
    builder = RouterBuilder()
    for index, route in routes.items():
        if sum(matcher is not None for matcher in (route.path, route.exact, route.template, route.regex)) != 1:
            continue  # reported by the shape of the route
        try:
            add_rule(builder, index, route)
        except ValueError as error:
            yield ("routes", index), str(error)
    try:
        builder.build()
    except ValueError as error:
        yield ("routes",), str(error)


def add_rule(builder: RouterBuilder, index: int, route: Route) -> None:
    """Raises ValueError when the router refuses the rule."""
    builder.add(
        index=index,
        hosts=(route.host,) if route.host else route.hosts,
        path=route.exact,
        prefix=route.path,
        template=route.template,
        regex=route.regex,
        methods=route.methods,
        headers=conditions(route.headers),
        query=conditions(route.query),
        priority=route.priority,
        name=route_name(index, route),
    )


def conditions(wanted: Mapping[str, Condition]) -> dict[str, str | bytes | bool | regex.Regex]:
    """As the router takes them: a string must equal, a boolean asks for presence, a Regex matches whole values."""
    made: dict[str, str | bytes | bool | regex.Regex] = {}
    for name, condition in wanted.items():
        if condition.equals is not None:
            made[name] = condition.equals
        elif condition.prefix is not None:
            made[name] = regex.compile(f"(?s:{re.escape(condition.prefix)}.*)")
        elif condition.regex is not None:
            made[name] = regex.compile(condition.regex)
        else:
            made[name] = bool(condition.present)
    return made


def rewritten_path(route: Route) -> tuple[Piece, ...] | None:
    """The pieces of the path that is sent on; None when it goes as it came."""
    rewrite: Rewrite = route.rewrite
    if rewrite.path is not None:
        return tuple(_pieces(rewrite.path))
    if rewrite.strip_prefix is None and rewrite.add_prefix is None:
        return None
    pieces: list[Piece] = [Literal(rewrite.add_prefix)] if rewrite.add_prefix else []
    pieces.append(Tail(len((rewrite.strip_prefix or "").rstrip("/"))))
    return tuple(pieces)


def _pieces(path: str) -> list[Piece]:
    found: list[Piece] = []
    for place, text in enumerate(re.split(r"\{([^{}]*)\}", path)):
        if text:
            found.append(Parameter(text.removesuffix("*")) if place % 2 else Literal(text))
    return found


def upstreams_of(route: Route) -> tuple[str, ...]:
    """Names of the upstreams a route's requests, and copies of them, may go to."""
    copies = (route.mirror.upstream,) if route.mirror is not None else ()
    if route.split is not None:
        return (*(share.upstream for share in route.split.shares), *copies)
    return (route.upstream, *copies) if route.upstream is not None else ()


def without_cache(route: EngineRoute) -> EngineRoute:
    """And its shares."""
    if route.split is None:
        return replace(route, cache=None)
    shares = tuple((weight, without_cache(share)) for weight, share in route.split.shares)
    return replace(route, cache=None, split=replace(route.split, shares=shares))


@dataclass(frozen=True)
class Parts:
    """What routes are made with: upstreams by name, who may use them, functions. None: nobody gives these."""

    upstream: Callable[[str], Upstream]
    auth: Callable[[RouteAuth], EngineAuth] | None = None
    hooks: Callable[[Route], EngineHooks | None] | None = None


class RouteMaker:
    """Makes what the engine does with each route, and makes it again only where something it depends on changed."""

    def __init__(self) -> None:
        self._general: tuple[Any, ...] = ()
        self._made: dict[int, tuple[Route, str, tuple[Upstream, ...], EngineRoute]] = {}

    def make(
        self,
        settings: Gateway,
        parts: Parts,
        *,
        has_cache: bool = True,
        turn: Callable[[], None],
    ) -> list[EngineRoute]:
        """In the order of the router's indexes. Without a cache nothing is stored. turn: called between two routes."""
        limits, timeouts = settings.limits, settings.timeouts
        general = (
            settings.default_rate_limits,
            settings.security_headers,
            settings.compress,
            limits.body_bytes,
            timeouts,
            has_cache,
        )
        before = self._made if general == self._general else {}
        made: dict[int, tuple[Route, str, tuple[Upstream, ...], EngineRoute]] = {}
        found = []
        for index, route in enumerate(settings.routes):
            name = route_name(index, route)
            engines = tuple(map(parts.upstream, upstreams_of(route)))
            # A route that did not change is the same object, and so is an upstream; those of providers may differ.
            known = before.get(id(route))
            if known is None or known[1] != name or known[2] != engines or route.auth is not None:
                engine_route = _engine_route(settings, index, route, parts)
                known = (route, name, engines, engine_route if has_cache else without_cache(engine_route))
            turn()
            made[id(route)] = known  # holds the route, so that nothing else has its id
            found.append(known[3])
        self._general, self._made = general, made
        return found


def _engine_route(settings: Gateway, index: int, route: Route, parts: Parts) -> EngineRoute:
    if route.auth is not None and parts.auth is None:
        raise ValueError(f"{route_name(index, route)} asks for authentication, and nobody gives it")
    if route.mirror is not None:
        return _mirrored(settings, index, route, parts)
    if route.split is not None:
        return _split_up(settings, index, route, parts)
    if route.upstream is None:
        return _answered_here(settings, index, route, parts)
    target = settings.upstreams[route.upstream]
    timeouts, overrides = settings.timeouts, route.timeouts
    body = route.limits.body_bytes

    def seconds(override: int | None, default: int) -> float:
        return (default if override is None else override) / 1000

    compress = settings.compress if route.compress is None else route.compress
    first_byte = seconds(overrides.first_byte, timeouts.first_byte)
    if target.retries.per_try_timeout is not None:
        first_byte = min(first_byte, target.retries.per_try_timeout / 1000)
    return EngineRoute(
        name=route_name(index, route),
        upstream=parts.upstream(route.upstream),
        path=rewritten_path(route),
        host=route.rewrite.host,
        hash_on=tuple((target.hash_on or "client_ip").split(":", 1)),
        first_byte_timeout=first_byte,
        between_bytes_timeout=seconds(overrides.between_bytes, timeouts.between_bytes),
        total_timeout=seconds(overrides.total, timeouts.total),
        tunnel_idle_timeout=TUNNEL_IDLE_SECONDS,
        body_bytes_max=settings.limits.body_bytes if body is None else body,
        share=SHARES[route.importance],
        attempts=1 + (target.retries.attempts if route.retries else 0),
        retry=_retry(target.retries, route.retry_any_method),
        log=route.access_log,
        limits=limits_of(settings, route),
        auth=parts.auth(route.auth) if route.auth is not None and parts.auth is not None else None,
        request_edits=request_edits(route),
        query_edits=tuple(edits_of(route.request_query)),
        reply_edits=reply_edits(settings, route),
        cors=route.cors.engine() if route.cors else None,
        cache=route.cache.policy() if route.cache else None,
        coding=compress.coding() if compress else None,
        hooks=parts.hooks(route) if parts.hooks is not None and _has_functions(route) else None,
    )


#: What is done with a request or an answer in Python.
NO_FUNCTIONS = {"hooks": None, "request_json": None, "response_json": None}


def _has_functions(route: Route) -> bool:
    return any(getattr(route, key) is not None for key in NO_FUNCTIONS)


def _mirrored(settings: Gateway, index: int, route: Route, parts: Parts) -> EngineRoute:
    """The route as it is without copies; and as it is for them, where nobody is asked who he is or anything stored."""
    assert route.mirror is not None
    same = {"mirror": None, "name": route_name(index, route)}
    other = {"split": None, "upstream": route.mirror.upstream, "auth": None, "cache": None, **NO_FUNCTIONS}
    copy = _engine_route(settings, index, route.model_copy(update={**same, **other}), parts)
    mirror = Mirror(copy, route.mirror.percent, route.mirror.at_once)
    return replace(_engine_route(settings, index, route.model_copy(update=same), parts), mirror=mirror)


def _split_up(settings: Gateway, index: int, route: Route, parts: Parts) -> EngineRoute:
    """The route as it is for one upstream, once for each share; and one that has them all."""
    assert route.split is not None
    same = {"split": None, "name": route_name(index, route)}

    def made(name: str) -> EngineRoute:
        return _engine_route(settings, index, route.model_copy(update={**same, "upstream": name}), parts)

    shares = tuple((share.weight, made(share.upstream)) for share in route.split.shares)
    split = Split(shares, tuple(route.split.by.split(":", 1)))
    return replace(shares[0][1], upstream=None, split=split)


def _answered_here(settings: Gateway, index: int, route: Route, parts: Parts) -> EngineRoute:
    fixed = route.redirect.fixed() if route.redirect else route.respond.fixed() if route.respond else None
    body = route.limits.body_bytes
    return EngineRoute(
        name=route_name(index, route),
        upstream=None,
        fixed=fixed,
        body_bytes_max=settings.limits.body_bytes if body is None else body,
        log=route.access_log,
        limits=limits_of(settings, route),
        auth=parts.auth(route.auth) if route.auth is not None and parts.auth is not None else None,
        reply_edits=reply_edits(settings, route),
        cors=route.cors.engine() if route.cors else None,
    )


def request_edits(route: Route) -> tuple[Edit, ...]:
    """An answer that is to be changed is asked for plain, unless the route asks for something itself."""
    own = tuple(edits_of(route.request_headers))
    if route.response_json is None or any(edit.name.lower() == "accept-encoding" for edit in own):
        return own
    return (*own, Edit("set", "Accept-Encoding", (Part("literal", "identity"),)))


def reply_edits(settings: Gateway, route: Route) -> tuple[Edit, ...]:
    """What the route says itself comes first, and stands against the general fields of the same name."""
    own = edits_of(route.response_headers)
    security = settings.security_headers if route.security_headers is None else route.security_headers
    named = {edit.name.lower() for edit in own}
    general = security.edits() if security else []
    return (*own, *(edit for edit in general if edit.name.lower() not in named))


def _retry(retries: Retries, any_method: bool) -> Retry:
    words = [word for word in retries.on if not word[0].isdigit()]
    statuses = numbers(word for word in retries.on if word[0].isdigit())
    return Retry(on=tuple(words), statuses=statuses, any_method=any_method)
