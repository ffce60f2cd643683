"""Whether a credential is good, and what it says: one judge for each provider.

A judge knows nothing of requests, tables and time limits. It answers from what it has at hand; for keys that must be
fetched first it raises KeysNeeded, and is asked again when somebody has tried.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from apps.gateway.config_auth import ApiKey, ApiKeys, Jwt
from apps.gateway.jwk import Key, KeySet
from apps.gateway.jws import Refused, Token, numeric_date, parse

SUBJECT_BYTES_MAX = 256
FIELDS_BYTES_MAX = 2048  # of header lines for the target
NEVER = float(1 << 40)  # for keys that do not expire

# Claims may hold any text, header fields may not: what is no visible ASCII is written %XX, and so is '%'.
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}


class KeysNeeded(Exception):
    """The keys at hand do not settle it; `kid` is the one that was looked for."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A credential that is good, and until when (seconds since 1970)."""

    subject: str
    scopes: frozenset[str]
    claims: Mapping[str, Any]
    expires: float
    jti: str | None = None
    issued: float | None = None
    key: str = ""
    """The thumb of the key that signed it: when that is withdrawn, the token goes with it."""


class Judge(Protocol):
    def judge(self, credential: bytes, now: float) -> Judgement:
        """Raises Refused or KeysNeeded. now: seconds since 1970."""
        ...


class Keys(Protocol):
    """Where keys come from; None while there are none yet."""

    @property
    def current(self) -> KeySet | None: ...


@dataclass(frozen=True, slots=True)
class StaticKeys:
    current: KeySet | None


class JwtJudge:
    def __init__(self, settings: Jwt, keys: Keys):
        self._settings = settings
        self._keys = keys
        self._leeway = settings.leeway / 1000

    def judge(self, credential: bytes, now: float) -> Judgement:
        token = parse(credential)
        wanted = self._settings.type
        if wanted is not None and _media_type(token.typ or "") != _media_type(wanted):
            raise Refused("claim", "typ")
        key = self._signed_by(token)
        return self._judge_claims(token.claims(), key, now)

    def _signed_by(self, token: Token) -> Key:
        known = self._keys.current
        if known is None:
            raise KeysNeeded
        try:
            candidates = known.candidates(token.alg, token.kid)
        except Refused as refused:
            if refused.reason == "unknown_key":
                raise KeysNeeded from None
            raise
        for key in candidates:
            if key.verify(token.signed, token.signature):
                return key
        raise Refused("signature")

    def _judge_claims(self, claims: dict[str, Any], key: Key, now: float) -> Judgement:
        settings = self._settings
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in settings.issuer:
            raise Refused("issuer")
        if settings.audience and not meant_for(claims.get("aud"), settings.audience):
            raise Refused("audience")
        expires = numeric_date(claims, "exp")
        if expires is None:
            raise Refused("claim", "exp")
        if now >= expires + self._leeway:
            raise Refused("expired")
        begins, issued = numeric_date(claims, "nbf"), numeric_date(claims, "iat")
        if max(begins or 0.0, issued or 0.0) > now + self._leeway:
            raise Refused("early")
        for name, accepted in settings.required_claims.items():
            if not _has(claims, name, accepted):
                raise Refused("claim", name)
        subject, jti = claims.get(settings.subject), claims.get("jti")
        if isinstance(subject, int) and not isinstance(subject, bool):
            subject = str(subject)
        if not isinstance(subject, str) or not subject or not isinstance(jti, str | None):
            raise Refused("claim", settings.subject)
        scopes = scopes_of(claims.get(settings.scopes))
        return Judgement(subject, scopes, claims, expires + self._leeway, jti, issued, key.thumb)


class ApiKeyJudge:
    def __init__(self, settings: ApiKeys):
        self._known: dict[bytes, ApiKey] = {bytes.fromhex(key.sha256): key for key in settings.keys}

    def judge(self, credential: bytes, now: float) -> Judgement:
        # What is compared is a hash a stranger cannot steer: the time a dict takes tells nothing about the key.
        digest = hashlib.sha256(credential).digest()
        key = self._known.get(digest)
        if key is None or not hmac.compare_digest(bytes.fromhex(key.sha256), digest):
            raise Refused("unknown")
        claims = {"sub": key.subject, "scope": " ".join(key.scopes)}
        return Judgement(key.subject, frozenset(key.scopes), claims, NEVER)


def header_lines(fields: Mapping[str, str], claims: Mapping[str, Any]) -> bytes:
    """Lines that tell the target who asks. A claim that is not there, or has no text form, has no line. Raises Refused
    when they are too long."""
    lines = []
    for name, claim in fields.items():
        text = _text(_at(claims, claim))
        if text is not None:
            lines.append(name.encode("ascii") + b": " + text + b"\r\n")
    joined = b"".join(lines)
    if len(joined) > FIELDS_BYTES_MAX:
        raise Refused("claim", "too long for header fields")
    return joined


def subject_bytes(subject: str) -> bytes:
    """As it stands in logs and limits. Raises Refused when it is too long."""
    text = _escaped(subject)
    if len(text) > SUBJECT_BYTES_MAX:
        raise Refused("claim", "the subject is too long")
    return text


def _media_type(value: str) -> str:
    """RFC 7515, section 4.1.9: application/ may be left out."""
    return value.lower().removeprefix("application/")


def meant_for(audience: Any, accepted: tuple[str, ...]) -> bool:
    named = audience if isinstance(audience, list) else [audience]
    return all(isinstance(name, str) for name in named) and any(name in accepted for name in named)


def _has(claims: Mapping[str, Any], name: str, accepted: tuple[str | int | bool, ...]) -> bool:
    """Whether the claim is there with an accepted value; of a list, whether it has one. true is not 1."""
    value = _at(claims, name)
    if value is None:
        return False
    values = value if isinstance(value, list) else [value]
    same: Callable[[Any, Any], bool] = lambda one, other: type(one) is type(other) and one == other  # noqa: E731
    return not accepted or any(same(item, wanted) for item in values for wanted in accepted)


def scopes_of(value: Any) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(value.split(" ")) - {""}
    if isinstance(value, list):
        return frozenset(item for item in value if isinstance(item, str))
    return frozenset()


def _at(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or the one the dotted path leads to."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> bytes | None:
    if isinstance(value, list):
        items = [_text(item) for item in value]
        if any(item is None or isinstance(inner, list) for item, inner in zip(items, value, strict=True)):
            return None
        return b",".join(item.replace(b",", b"%2C") for item in items if item is not None)
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int | float):
        return str(value).encode("ascii")
    return _escaped(value) if isinstance(value, str) else None


def _escaped(text: str) -> bytes:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write
        raise Refused("malformed", "text") from None
    escaped = b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in data)
    # Readers of fields cut spaces at the ends, and " a" must not become "a".
    inner = escaped.lstrip(b" ")
    escaped = b"%20" * (len(escaped) - len(inner)) + inner
    inner = escaped.rstrip(b" ")
    return inner + b"%20" * (len(escaped) - len(inner))


def judge_for(jwt: Jwt | None, api_keys: ApiKeys | None, keys: Keys | None) -> Judge:
    if jwt is not None:
        assert keys is not None
        return JwtJudge(jwt, keys)
    assert api_keys is not None
    return ApiKeyJudge(api_keys)
