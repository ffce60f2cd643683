"""Keys that stand in the settings or in files they name: read while the settings are loaded, with a finding for each
that cannot be used."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

from apps.config_base import Finding
from apps.gateway import jwk
from apps.gateway.config_auth import SCOPES_MAX, Auth, Introspection, Jwt, Provider, RouteAuth, TokenKey
from apps.gateway.jws import Refused, base64url
from apps.gateway.settings_files import read, said
from apps.yaml_source import Path

LEEWAY_MAX = 300_000  # RFC 7519, section 4.1.4: "usually no more than a few minutes"


def static_keys(jwt: Jwt) -> list[jwk.Key]:
    """Of settings that were loaded without problems."""
    return [*(_key(key) for key in jwt.keys), *_sets(jwt)[0]]


def check_provider(name: str, provider: Provider, environ: Mapping[str, str]) -> Iterator[Finding]:
    at: Path = ("auth", "providers", name)
    kinds = (provider.jwt, provider.introspection, provider.api_keys, provider.certificates)
    if sum(kind is not None for kind in kinds) != 1:
        yield at, "a provider has one of jwt, introspection, api_keys, certificates"
    if provider.certificates is not None:
        try:
            jwk.check_library()
        except ValueError as error:
            yield (*at, "certificates"), str(error)
    if provider.introspection is not None:
        yield from _check_introspection((*at, "introspection"), provider.introspection, environ)
    if provider.jwt is not None:
        yield from _check_jwt((*at, "jwt"), provider.jwt, environ)
    keys = provider.api_keys
    if keys is not None:
        if (keys.header is None) == (keys.query is None):
            yield (*at, "api_keys"), "keys come in one of header, query"
        if keys.header is not None and keys.header.lower() in ("authorization", "host", "cookie", "connection"):
            yield (*at, "api_keys", "header"), f"{keys.header} has a meaning of its own; choose a name like X-API-Key"
        seen: set[str] = set()
        for index, key in enumerate(keys.keys):
            if key.sha256 in seen:
                yield (*at, "api_keys", "keys", index, "sha256"), "this key stands here twice"
            seen.add(key.sha256)


def _check_jwt(at: Path, jwt: Jwt, environ: Mapping[str, str]) -> Iterator[Finding]:
    if not jwt.keys and jwt.jwks is None and jwt.jwks_file is None and jwt.jwks_url is None:
        yield at, "no key to verify by: give keys, jwks, jwks_file or jwks_url"
    if jwt.leeway > LEEWAY_MAX:
        yield (*at, "leeway"), "more than 5m: clocks that far apart are to be set, not allowed for"
    if any(name.startswith("HS") for name in jwt.algorithms):
        yield (*at, "algorithms"), "HS is for secrets, which no published set can hold; they stand in keys"
    if jwt.jwks_ca_file is not None and not FilePath(jwt.jwks_ca_file).is_file():
        yield (*at, "jwks_ca_file"), f"{jwt.jwks_ca_file}: no such file"
    for index, key in enumerate(jwt.keys):
        try:
            _read_key(key, environ)
            _key(key)
        except (ValueError, OSError) as error:
            yield (*at, "keys", index), said(error)
    try:
        _, skipped = _sets(jwt)
    except (ValueError, OSError) as error:
        yield (*at, "jwks_file" if jwt.jwks_file else "jwks"), said(error)
    else:
        for reason in skipped:
            yield (*at, "jwks_file" if jwt.jwks_file else "jwks"), reason
    try:
        jwk.check_library()
    except ValueError as error:
        yield at, str(error)


def _check_introspection(at: Path, asked: Introspection, environ: Mapping[str, str]) -> Iterator[Finding]:
    if asked.ca_file is not None and not FilePath(asked.ca_file).is_file():
        yield (*at, "ca_file"), f"{asked.ca_file}: no such file"
    try:
        secret = _file_or_variable(asked.client_secret_file, asked.client_secret_env, environ, "the secret")
        asked._secret = secret.decode().rstrip("\r\n")
    except (ValueError, OSError) as error:
        yield at, said(error)


def check_route_auth(at: Path, asked: RouteAuth, known: set[str]) -> Iterator[Finding]:
    for name in asked.providers:
        if name not in known:
            yield (*at, "providers"), f"no auth provider is called {name!r}"
    if len(set(asked.providers)) != len(asked.providers):
        yield (*at, "providers"), "a provider stands here twice"


def check_scopes(routes: Iterator[RouteAuth]) -> Iterator[Finding]:
    scopes = {scope for asked in routes for scope in asked.scopes}
    if len(scopes) > SCOPES_MAX:
        yield ("routes",), f"routes ask for {len(scopes)} different scopes; at most {SCOPES_MAX} can be told apart"


def check_claimed(auth: Auth) -> Iterator[Finding]:
    """A field that carries a credential cannot tell the target about it as well."""
    carriers = {
        p.api_keys.header.lower().replace("_", "-") for p in auth.providers.values() if p.api_keys and p.api_keys.header
    }
    for name, provider in auth.providers.items():
        for field in provider.headers:
            if field.lower().replace("_", "-") in carriers:
                yield ("auth", "providers", name, "headers", field), f"{field} carries API keys"


def _read_key(key: TokenKey, environ: Mapping[str, str]) -> None:
    data = _file_or_variable(key.file, key.env, environ, "a key")
    if key.alg.startswith("HS"):
        data = data.removesuffix(b"\n").removesuffix(b"\r")
        if key.encoding == "base64url":
            try:
                data = base64url(data)
            except Refused:
                raise ValueError("the secret is not base64url without padding") from None
    elif key.encoding != "text":
        raise ValueError("encoding is for HS secrets; public keys are PEM")
    key._material = data


def _file_or_variable(file: str | None, variable: str | None, environ: Mapping[str, str], what: str) -> bytes:
    if (file is None) == (variable is None):
        raise ValueError(f"{what} stands in one of a file, an environment variable")
    if file is not None:
        return read(file)
    value = environ.get(variable or "")
    if value is None:
        raise ValueError(f"the environment has no {variable}")
    return value.encode()


def _key(key: TokenKey) -> jwk.Key:
    if key._material is None:
        _read_key(key, os.environ)
    assert key._material is not None
    make = jwk.from_secret if key.alg.startswith("HS") else jwk.from_pem
    return make(key._material, key.alg, key.kid)


def _sets(jwt: Jwt) -> tuple[list[jwk.Key], list[str]]:
    if jwt._documents is None:
        inline = [json.dumps(jwt.jwks).encode()] if jwt.jwks is not None else []
        jwt._documents = (*inline, *([read(jwt.jwks_file)] if jwt.jwks_file is not None else []))
    keys: list[jwk.Key] = []
    skipped: list[str] = []
    for data in jwt._documents:
        found, reasons = jwk.parse_set(data, jwt.algorithms)
        keys += found
        skipped += reasons
    return keys, skipped
