"""The settings of authentication: who vouches for clients, by which keys, and what routes ask for.

Key material is read once, while the settings are loaded, so that nothing later needs a file or its permissions.
"""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, WithJsonSchema

from apps.config_base import FieldToken, Listed, Name, Section
from apps.gateway.config_tls import CertificateAuth
from apps.units import Duration, Size, Timeout, Whole, parse_address

ALGORITHMS = (
    *(f"{family}{bits}" for family in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)),
    "EdDSA",
)
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]

SCOPES_MAX = 64  # different ones that routes ask for: a verdict has one bit for each

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
_PARAMETER = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
#: Fields that say how a message is framed, routed or understood: no claim may be sent under these names.
_RESERVED = re.compile(
    r"(?i)host|authorization|cookie|connection|keep-alive|te|trailer|upgrade|expect|via|forwarded|x-forwarded-.*|x-real-ip|"
    r"max-forwards|cdn-loop|content-.*|transfer-encoding|proxy-.*|x-request-id|traceparent|user-agent|referer|date|server"
)


def _scope(value: str) -> str:
    if not _SCOPE.fullmatch(value):
        raise ValueError(f"{value!r} is no scope: visible characters but '\"' and '\\' (RFC 6749, section 3.3)")
    return value


def _claim_field(value: str) -> str:
    if _RESERVED.fullmatch(value.replace("_", "-")):
        raise ValueError(f"{value!r} has a meaning of its own; choose a name like X-User")
    return value


def _parameter(value: str) -> str:
    if not _PARAMETER.fullmatch(value):
        raise ValueError(f"{value!r}: a parameter is 1 to 64 letters, digits, '_', '.', '~', '-'")
    return value


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("a SHA-256 in 64 hex digits, as `fastcore api-key` prints it")
    return value.lower()


def _issuer_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.fragment:
        raise ValueError(f"{value!r} is no URL of an issuer: write https://issuer.example/path")
    if parts.scheme == "http" and not parse_address(f"{_bracketed(parts.hostname)}:80").is_loopback:
        raise ValueError(f"{value!r}: whoever can change the answer on its way can make tokens; use https")
    return value


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _accepted(value: Any) -> Any:
    """null: the claim is there. One value stands for a list of one."""
    return () if value is None else value if isinstance(value, list | tuple) else (value,)


Scope = Annotated[str, AfterValidator(_scope)]
ClaimField = Annotated[FieldToken, AfterValidator(_claim_field)]
Parameter = Annotated[str, AfterValidator(_parameter)]
Claim = Annotated[str, Field(min_length=1, max_length=256)]


class TokenKey(Section):
    alg: Algorithm
    """The one algorithm this key is used with; what a token says about it must be the same."""
    file: str | None = None
    """File with the key: a public key or certificate in PEM, or for HS the secret (one newline at its end is cut)."""
    env: str | None = None
    """Environment variable with the same."""
    encoding: Literal["text", "base64url"] = "text"
    """How an HS secret is written."""
    kid: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Only for tokens that name it; without it the key is tried for every token of its algorithm."""

    _material: bytes | None = PrivateAttr(None)


class Jwt(Section):
    issuer: Annotated[tuple[str, ...], Listed, Field(min_length=1)]
    """Accepted values of `iss`, byte for byte."""
    audience: Annotated[tuple[str, ...], Listed]
    """Values of which `aud` must have one. `[]` accepts tokens for anybody, and must be said."""
    keys: Annotated[tuple[TokenKey, ...], Field(max_length=64)] = ()
    """Keys that do not change."""
    jwks: Annotated[dict[str, Any], WithJsonSchema({"type": "object"})] | None = None
    """A JWK Set (RFC 7517) of public keys."""
    jwks_file: str | None = None
    """File with a JWK Set."""
    jwks_url: Annotated[str, AfterValidator(_issuer_url)] | None = None
    """Where the issuer publishes its JWK Set. https; http on this machine only. Redirects are not followed."""
    jwks_ca_file: str | None = None
    """Certificates to verify that server by, in PEM, instead of the system's."""
    jwks_refresh: Timeout = 600_000
    """How often the set is fetched again. While that fails the last good one stays in force."""
    jwks_interval: Timeout = 10_000
    """Least time between two fetches, also when tokens name unknown keys or a fetch has failed."""
    jwks_timeout: Timeout = 5_000
    """How long one fetch may take in all."""
    algorithms: Annotated[tuple[Algorithm, ...], Listed] = ()
    """Algorithms a key from a JWK Set may have. Without it all but HS. A key that does not say (`alg`) has the one of
    these that fits it; RSA keys that do not say have RS256 unless just one RSA algorithm stands here."""
    leeway: Duration = 30_000
    """How far clocks may differ, for `exp`, `nbf` and `iat`. At most 5m."""
    type: str | None = None
    """What `typ` in the token's header must be, as in at+jwt (RFC 9068)."""
    required_claims: dict[Claim, Annotated[tuple[str | int | bool, ...], BeforeValidator(_accepted)]] = {}
    """Claims that must be there, and their accepted values (none: any)."""
    subject: Claim = "sub"
    """The claim that says who asks; a token without it is refused."""
    scopes: Claim = "scope"
    """The claim with scopes: a string with spaces between them, or a list."""

    _documents: tuple[bytes, ...] | None = PrivateAttr(None)
    """Keys of jwks and jwks_file, once read, and why others were skipped."""


class Introspection(Section):
    url: Annotated[str, AfterValidator(_issuer_url)]
    """The authorization server's introspection endpoint. https; http on this machine only."""
    client_id: Annotated[str, Field(min_length=1)]
    """Who we are to it (HTTP Basic, RFC 6749, section 2.3.1)."""
    client_secret_file: str | None = None
    """File with our secret there (one newline at its end is cut)."""
    client_secret_env: str | None = None
    """Environment variable with the same."""
    ca_file: str | None = None
    """Certificates to verify that server by, in PEM, instead of the system's."""
    timeout: Timeout = 5_000
    """How long one question may take in all."""
    connections: Annotated[int, Field(ge=1, le=1024), Whole] = 16
    """Questions per worker at one time; further tokens wait."""
    remember: Timeout = 60_000
    """Longest time an answer is remembered. A token the server revokes is accepted for so long (RFC 7662, 4)."""
    issuer: Annotated[tuple[str, ...], Listed] = ()
    """If given, `iss` must be there and be one of these."""
    audience: Annotated[tuple[str, ...], Listed] = ()
    """If given, `aud` must have one of these."""
    subject: Claim = "sub"
    """The member that says who asks; a token without it is refused."""
    scopes: Claim = "scope"
    """The member with scopes."""

    _secret: str | None = PrivateAttr(None)


class ApiKey(Section):
    sha256: Annotated[str, AfterValidator(_digest)]
    """SHA-256 of the key in hex; `fastcore api-key` makes a key and this."""
    subject: Annotated[str, Field(min_length=1, max_length=256)]
    """Whose key it is."""
    scopes: Annotated[tuple[Scope, ...], Listed] = ()
    """What it may be used for."""


class ApiKeys(Section):
    header: FieldToken | None = None
    """The field that carries the key, as in X-API-Key."""
    query: Parameter | None = None
    """The query parameter that carries it. Keys in URLs end up in histories and in other people's logs."""
    keys: Annotated[tuple[ApiKey, ...], Field(min_length=1, max_length=100_000)]
    """The keys that are accepted."""


class Provider(Section):
    jwt: Jwt | None = None
    """JSON Web Tokens (RFC 7519), as `Authorization: Bearer`."""
    introspection: Introspection | None = None
    """Tokens of any form, as `Authorization: Bearer`, which the authorization server is asked about (RFC 7662)."""
    api_keys: ApiKeys | None = None
    """Keys given out by you."""
    certificates: CertificateAuth | None = None
    """The client's certificate, which `tls.client_certificates` asks for and verifies."""
    forward: bool = False
    """Send the credential on to the target; otherwise it is removed."""
    headers: dict[ClaimField, Claim] = {}
    """Fields that tell the target who asks: name and claim, a path like `realm.roles` into nested ones (API keys have
    sub and scope; certificates sub, cn, dns, uri, email, dn, issuer, serial and fingerprint). What clients send under
    these names is deleted, on every route."""
    remember: Timeout = 3_600_000
    """Longest time a verdict is remembered; shorter when the token expires before."""
    refused_for: Timeout = 5_000
    """How long a refused credential is refused without looking at it again."""


class Auth(Section):
    providers: Annotated[dict[Name, Provider], Field(max_length=1000)] = {}
    """Who vouches for clients, by name; routes say whom they believe."""
    memory: Annotated[Size, Field(ge=1 << 20, le=1 << 40)] = 16 << 20
    """Shared memory for verdicts, from 512 bytes each. When it is full, those not used lately go. A new size needs a
    restart."""
    revocations: str | None = None
    """File in which revocations outlive a start of the gateway. Without it they last until it stops."""
    pending: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 1024
    """Credentials per worker that may wait for a verdict; requests with further ones are answered 503."""


class RouteAuth(Section):
    providers: Annotated[tuple[Name, ...], Listed, Field(min_length=1, max_length=16)]
    """Names of the providers that are asked, in this order, until one knows the client. A plain string means this."""
    required: bool = True
    """false lets requests without any credential through, as nobody's. A bad credential is refused either way."""
    scopes: Annotated[tuple[Scope, ...], Listed] = ()
    """Scopes the credential must have, all of them."""


def _short(value: Any) -> Any:
    return {"providers": value} if isinstance(value, str | list) else value


RouteAuthOrName = Annotated[RouteAuth, BeforeValidator(_short)]
