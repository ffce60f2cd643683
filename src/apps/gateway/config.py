"""Loading of the gateway's settings: the one entry the command, gunicorn.conf.py and tests use.

loaded = load_settings("gateway.yaml")       or load_settings(text=...)
if loaded.problems: for problem in loaded.problems: print(problem)      file:line:column: path: message
gateway = loaded.settings                                               apps.gateway.config_model.Gateway, frozen
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from apps.addresses import check_addresses
from apps.config_base import Finding, Section, listed
from apps.gateway import config_checks as checks
from apps.gateway import provider_keys
from apps.gateway.config_auth import Auth, Provider
from apps.gateway.config_cache import check_cache
from apps.gateway.config_compress import check_compress
from apps.gateway.config_hooks import check_hooks
from apps.gateway.config_http2 import check_http2
from apps.gateway.config_limits import RateLimit, check_limit, check_named
from apps.gateway.config_model import Gateway, Route, Upstream
from apps.gateway.config_tls import Tls, check_tls
from apps.gateway.config_tracing import check_tracing
from apps.gateway.routing import check_table
from apps.settings import Loaded, load
from apps.settings_file import read_settings, read_token
from apps.units import Address, parse_address
from apps.yaml_source import Path, Problem

Kind = TypeVar("Kind", bound=Section)

PREFIX = "FASTCORE_GATEWAY_"


def load_settings(
    file: str | None = None,
    *,
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[Path, tuple[str, Any]] | None = None,
) -> Loaded[Gateway]:
    """Reads, layers, validates and cross-checks. Raises FileError when the file cannot be read, nothing else.

    file: path of a YAML file; None runs on the other layers alone. text: its content, if it is at hand already.
    environ: os.environ unless given. flags: setting's path to (flag's name, value).
    """
    if text is None:
        text = read_settings(file) if file else ""
    loaded = load(
        Gateway,
        PREFIX,
        text=text,
        file=file or ("<text>" if text else ""),
        environ=os.environ if environ is None else environ,
        flags=flags,
    )
    for path, message in _findings(loaded, os.environ if environ is None else environ):
        loaded.problems.append(loaded.problem(path, message))
    if loaded.settings and not loaded.problems and loaded.settings.control_token_file is not None:
        token = read_token(loaded, loaded.settings.control_token_file)
        loaded.settings = loaded.settings.model_copy(update={"control_token": token})
    if loaded.problems:
        loaded.settings = None
        loaded.problems.sort(key=_place)
    return loaded


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.position.line, problem.position.column) if problem.position else (0, 0)


def _findings(loaded: Loaded[Gateway], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Cross-checks over what is valid; sections that are not have been reported already."""
    data = loaded.data
    upstreams = _valid_upstreams(loaded)
    routes = _valid_routes(loaded)
    listen, control = _addresses(loaded)
    tls = _tls(loaded)
    if control is not None:
        has_token = data.get("control_token") is not None or data.get("control_token_file") is not None
        yield from check_addresses(listen, tls.listen, control, has_token)
    yield from check_tls(tls)
    if loaded.settings:
        yield from check_tracing(loaded.settings.tracing)
        yield from check_http2(loaded.settings.http2)
        yield from check_compress(("compress",), loaded.settings.compress)
    if data.get("control_token") is not None and data.get("control_token_file") is not None:
        yield ("control_token_file",), "control_token and control_token_file exclude each other"
    if data.get("control_token") == "":
        yield ("control_token",), "an empty token protects nothing"
    for name, upstream in upstreams.items():
        yield from checks.check_upstream(name, upstream)
    for index, raw in enumerate(_listed(data.get("routes"))):
        if isinstance(raw, dict):
            yield from checks.check_route_shape(index, raw)
    named = set(data["upstreams"]) if isinstance(data.get("upstreams"), dict) else set()
    providers = _valid_providers(loaded)
    for index, route in routes.items():
        yield from checks.check_route(index, route, named)
        yield from checks.check_route_changes(index, route, providers)
        if loaded.settings:
            yield from check_cache(("routes", index, "cache"), route.cache, loaded.settings.cache.memory)
            folder = loaded.settings.hooks.folder
            yield from check_hooks(("routes", index, "hooks"), route.hooks, route.cache is not None, folder)
    yield from checks.check_names(routes)
    yield from _limit_findings(loaded, routes)
    yield from _auth_findings(loaded, routes, environ)
    yield from check_table(routes)


def _auth_findings(
    loaded: Loaded[Gateway], routes: Mapping[int, Route], environ: Mapping[str, str]
) -> Iterator[Finding]:
    named = _raw_providers(loaded)
    valid = _valid_providers(loaded)
    for name, provider in valid.items():
        yield from provider_keys.check_provider(name, provider, environ)
    yield from provider_keys.check_claimed(Auth.model_construct(providers=valid))
    for index, route in routes.items():
        if route.auth is not None:
            yield from provider_keys.check_route_auth(("routes", index, "auth"), route.auth, set(named))
    yield from provider_keys.check_scopes(route.auth for route in routes.values() if route.auth)


def _raw_providers(loaded: Loaded[Gateway]) -> dict[str, Any]:
    raw = loaded.data.get("auth")
    raw = raw.get("providers") if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


def _valid_providers(loaded: Loaded[Gateway]) -> dict[str, Provider]:
    """With settings at hand these very objects, as they keep what is read from files."""
    return dict(loaded.settings.auth.providers) if loaded.settings else _valid(Provider, _raw_providers(loaded).items())


def _limit_findings(loaded: Loaded[Gateway], routes: Mapping[int, Route]) -> Iterator[Finding]:
    raw = loaded.data.get("rate_limits")
    for name, limit in _valid(RateLimit, raw.items() if isinstance(raw, dict) else ()).items():
        yield from check_limit(name, limit, has_redis=loaded.data.get("redis") is not None)
    known = list(raw) if isinstance(raw, dict) else []
    defaults = listed(loaded.data.get("default_rate_limits"))
    yield from check_named(
        ("default_rate_limits",), [name for name in _listed(defaults) if isinstance(name, str)], known
    )
    for index, route in routes.items():
        yield from check_named(("routes", index, "rate_limits"), route.rate_limits or (), known)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tls(loaded: Loaded[Gateway]) -> Tls:
    if loaded.settings:
        return loaded.settings.tls
    found: dict[str, Tls] = _valid(Tls, [("tls", loaded.data.get("tls", {}))])
    return found.get("tls", Tls())


def _valid_upstreams(loaded: Loaded[Gateway]) -> dict[str, Upstream]:
    if loaded.settings:
        return dict(loaded.settings.upstreams)
    raw = loaded.data.get("upstreams")
    return _valid(Upstream, raw.items() if isinstance(raw, dict) else ())


def _valid_routes(loaded: Loaded[Gateway]) -> dict[int, Route]:
    if loaded.settings:
        return dict(enumerate(loaded.settings.routes))
    return _valid(Route, enumerate(_listed(loaded.data.get("routes"))))


def _valid(kind: type[Kind], items: Iterable[tuple[Any, Any]]) -> dict[Any, Kind]:
    found = {}
    for key, raw in items:
        try:
            found[key] = kind.model_validate(raw)
        except ValidationError:
            continue
    return found


def _addresses(loaded: Loaded[Gateway]) -> tuple[tuple[Address, ...], Address | None]:
    if loaded.settings:
        return loaded.settings.listen, loaded.settings.control
    defaults = Gateway()
    raw = loaded.data.get("listen")
    listen = []
    for text in raw.split(",") if isinstance(raw, str) else _listed(raw):
        address = _address(text)
        if address:
            listen.append(address)
    control = _address(loaded.data["control"]) if "control" in loaded.data else defaults.control
    return tuple(listen) if raw is not None else defaults.listen, control


def _address(text: Any) -> Address | None:
    try:
        return parse_address(text.strip() if isinstance(text, str) else text)
    except ValueError:
        return None
