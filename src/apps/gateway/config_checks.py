"""What no single key can tell: names that must exist, keys that exclude each other, addresses that collide.

Each check takes the merged plain data and what could be validated of it, so that one broken route does not hide what
is wrong with the others. Problems come back as (path, message); the caller knows the lines.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from apps.config_base import Finding
from apps.gateway.config_auth import Provider
from apps.gateway.config_changes import check_changes, check_cors, check_parts, check_respond, parts_of
from apps.gateway.config_compress import check_compress
from apps.gateway.config_health import check_health, check_retries
from apps.gateway.config_json import check_json
from apps.gateway.config_model import Condition, Route, Upstream
from apps.gateway.config_tls import check_upstream_tls
from apps.gateway.patterns import regex_parameters, rewrite_parameters, template_parameters
from apps.units import Address
from apps.yaml_source import Path
from fastcore.proxy import Part

MATCHERS = ("path", "exact", "template", "regex")
#: What happens on the way to an upstream and back.
FOR_UPSTREAMS = (
    "rewrite",
    "request_headers",
    "request_query",
    "request_json",
    "response_json",
    "timeouts",
    "cache",
    "mirror",
    "compress",
    "hooks",
)
ANSWERS = ("upstream", "split", "redirect", "respond")


def check_upstream(name: str, upstream: Upstream) -> Iterator[Finding]:
    at = ("upstreams", name)
    if upstream.balance == "consistent_hash" and upstream.hash_on is None:
        yield (*at, "balance"), "consistent_hash needs hash_on, as in `hash_on: client_ip`"
    if upstream.balance != "consistent_hash" and upstream.hash_on is not None:
        yield (*at, "hash_on"), f"hash_on has no effect with balance {upstream.balance}"
    if all(target.weight == 0 for target in upstream.targets):
        yield (*at, "targets"), "every target has weight 0, so none would take a request"
    adaptive = upstream.adaptive
    if adaptive is not None and not adaptive.minimum <= adaptive.initial <= adaptive.maximum:
        yield (*at, "adaptive"), "must hold: minimum <= initial <= maximum"
    seen: set[Address] = set()
    for index, target in enumerate(upstream.targets):
        if target.address in seen:
            yield (*at, "targets", index), f"{target.address} stands here twice; use weight for a larger share"
        seen.add(target.address)
    breakers = {"breaker": upstream.breaker, "target_breaker": upstream.target_breaker}
    yield from check_health(at, upstream.health_check, upstream.outlier, breakers, upstream.http2)
    yield from check_retries(at, upstream.retries)
    if upstream.tls is not None:
        yield from check_upstream_tls(name, upstream.tls)


def check_route_shape(index: int, raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Which keys stand together, decided by their names alone."""
    at = ("routes", index)
    matchers = [key for key in MATCHERS if raw.get(key) is not None]
    if not matchers:
        yield at, f"a route needs one of {', '.join(MATCHERS)}"
    for extra in matchers[1:]:
        yield (*at, extra), f"{matchers[0]} already says which paths match; a route has one of {', '.join(MATCHERS)}"
    answers = [key for key in ANSWERS if raw.get(key) is not None]
    if not answers:
        yield at, f"a route needs one of {', '.join(ANSWERS)}"
    for extra in answers[1:]:
        yield (*at, extra), f"{answers[0]} already answers; a route has one of {', '.join(ANSWERS)}"
    if raw.get("host") is not None and raw.get("hosts"):
        yield (*at, "hosts"), "host and hosts exclude each other"


def check_route_changes(index: int, route: Route, providers: Mapping[str, Provider]) -> Iterator[Finding]:
    """What the route changes in heads, and what its values are made of."""
    at = ("routes", index)
    parameters = template_parameters(route.template) if route.template else frozenset[str]()
    parameters |= regex_parameters(route.regex) if route.regex else frozenset()
    asked = route.auth.providers if route.auth else ()
    claims = {field.lower() for name in asked if name in providers for field in providers[name].headers}

    def usable(part: Part) -> str | None:
        if part.kind == "param" and part.text not in parameters:
            known = f"known: {', '.join(sorted(parameters))}" if parameters else "this route has no parameters"
            return f"{{param.{part.text}}} is no parameter of this route ({known})"
        if part.kind in ("user", "claim") and not asked:
            return f"{{{part.kind}}}: this route asks nobody who he is (auth)"
        if part.kind == "claim" and part.text.lower() not in claims:
            return f"{{claim.{part.text}}}: no provider of this route sends a claim as {part.text} (headers)"
        return None

    yield from check_changes((*at, "request_headers"), route.request_headers, False, usable)
    yield from check_changes((*at, "request_query"), route.request_query, False, usable)
    yield from check_changes((*at, "response_headers"), route.response_headers, True, usable)
    yield from check_cors((*at, "cors"), route.cors)
    yield from check_compress((*at, "compress"), route.compress)
    yield from check_json((*at, "request_json"), route.request_json)
    yield from check_json((*at, "response_json"), route.response_json)
    if route.response_json is not None and route.cache is not None:
        yield (*at, "response_json"), "answers out of the cache come from no target: the route cannot have both"
    yield from check_respond((*at, "respond"), route.respond)
    if route.redirect is not None:
        yield from check_parts((*at, "redirect", "to"), parts_of(route.redirect.to), False, usable)
    if route.upstream is None and route.split is None:
        for key in FOR_UPSTREAMS:
            if key in route.model_fields_set:
                yield (*at, key), f"{key} has no effect without an upstream"


def check_route(index: int, route: Route, upstreams: set[str]) -> Iterator[Finding]:
    """The meaning of one valid route: its upstream, its rewrite, its conditions."""
    at = ("routes", index)
    if route.upstream is not None:
        yield from _check_named((*at, "upstream"), route.upstream, upstreams)
    if route.mirror is not None:
        yield from _check_named((*at, "mirror", "upstream"), route.mirror.upstream, upstreams)
    if route.split is not None:
        for number, share in enumerate(route.split.shares):
            yield from _check_named((*at, "split", "shares", number, "upstream"), share.upstream, upstreams)
        if not any(share.weight for share in route.split.shares):
            yield (*at, "split"), "all weights are 0: nobody would answer"
        if route.split.by == "user" and route.auth is None:
            yield (*at, "split", "by"), "this route asks nobody who he is (auth)"
        if route.split.by == "path":
            yield (*at, "split", "by"), "write random, client_ip, user, header:NAME, cookie:NAME or query:NAME"
    rewrite = route.rewrite
    if rewrite.path is not None:
        if rewrite.strip_prefix is not None or rewrite.add_prefix is not None:
            yield (*at, "rewrite", "path"), "path and strip_prefix or add_prefix exclude each other"
        parameters = template_parameters(route.template) if route.template else frozenset[str]()
        parameters |= regex_parameters(route.regex) if route.regex else frozenset()
        for name in sorted(rewrite_parameters(rewrite.path) - parameters):
            known = f"known: {', '.join(sorted(parameters))}" if parameters else "this route has no parameters"
            yield (*at, "rewrite", "path"), f"{{{name}}} is no parameter of this route ({known})"
    if rewrite.strip_prefix is not None and route.path is not None and not _below(route.path, rewrite.strip_prefix):
        yield (
            (*at, "rewrite", "strip_prefix"),
            f"paths of this route start with {route.path}, not {rewrite.strip_prefix}",
        )
    for group in ("headers", "query"):
        conditions: dict[str, Condition] = getattr(route, group)
        for name, condition in conditions.items():
            yield from _check_condition((*at, group, name), condition)


def _check_named(at: Path, name: str, upstreams: set[str]) -> Iterator[Finding]:
    if name not in upstreams:
        close = difflib.get_close_matches(name, upstreams, 1)
        yield at, f"no upstream is called {name!r}" + (f"; did you mean {close[0]}?" if close else "")


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")


def _check_condition(at: Path, condition: Condition) -> Iterator[Finding]:
    given = [key for key in ("equals", "prefix", "regex", "present") if getattr(condition, key) is not None]
    if len(given) != 1:
        yield at, "a condition is a string, or has exactly one of equals, prefix, regex, present"


def check_names(routes: Mapping[int, Route]) -> Iterator[Finding]:
    """No two routes have one name, or their figures and log lines would be one."""
    first: dict[str, int] = {}
    for index, route in routes.items():
        if route.name is not None and first.setdefault(route.name, index) != index:
            yield ("routes", index, "name"), f"routes[{first[route.name]}] is called {route.name!r} already"
