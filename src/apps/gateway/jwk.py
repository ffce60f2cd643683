"""Keys, each bound to one algorithm (RFC 8725, section 3.1): what a token says about its algorithm is only compared.

The cryptography is PyJWT's and cryptography's; who has no JWT provider does not need them. Keys are made in the master,
while settings are loaded, and used in workers. PyJWT must not be imported before that: it imports ssl, which gevent has
to patch first.
"""

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from apps.gateway.config_auth import ALGORITHMS
from apps.gateway.jws import KID_MAX, Refused, base64url, json_object

RSA_BITS_MIN = 2048  # RFC 7518, section 3.3
SET_KEYS_MAX = 64
KEYS_TRIED_MAX = 4  # for a token that names none: each costs a verification

CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
PUBLIC = tuple(name for name in ALGORITHMS if not name.startswith("HS"))


@dataclass(frozen=True, slots=True)
class Key:
    alg: str
    kid: str | None
    thumb: str
    """A hash of key and algorithm: the same key has the same, wherever it came from."""
    verify: Callable[[bytes, bytes], bool]
    """Whether this signature is over these bytes: verify(signed, signature)."""


class KeySet:
    def __init__(self, keys: Iterable[Key]):
        self.keys = tuple(keys)
        self._by_kid: dict[str | None, list[Key]] = {}
        for key in self.keys:
            self._by_kid.setdefault(key.kid, []).append(key)

    def candidates(self, alg: str, kid: str | None) -> list[Key]:
        """Keys that may have signed. Raises Refused: unknown_key, or algorithm when the key is for another one."""
        named = list(self.keys) if kid is None else self._by_kid.get(kid, []) + self._by_kid.get(None, [])
        if not named:
            raise Refused("unknown_key")
        fitting = [key for key in named if key.alg == alg]
        if not fitting:
            # A key without a name of its own says nothing about a kid it does not have.
            raise Refused("algorithm" if kid is None or kid in self._by_kid else "unknown_key")
        if len(fitting) > KEYS_TRIED_MAX:
            raise Refused("unknown_key", "too many keys fit a token that names none")
        return fitting


def check_library() -> None:
    """Raises ValueError saying how to get what is missing."""
    if any(importlib.util.find_spec(name) is None for name in ("jwt", "cryptography")):
        raise ValueError("JWT needs PyJWT and cryptography: pip install 'fastcore-services[auth]'")


@functools.cache
def load_library() -> dict[str, Any]:
    """PyJWT's algorithms; the first call takes some 50 ms, which a worker spends before it takes requests."""
    from jwt import algorithms

    return dict(algorithms.get_default_algorithms())


def _make(alg: str, kid: str | None, material: Any, identity: bytes) -> Key:
    thumb = hashlib.sha256(alg.encode() + b"\0" + identity).hexdigest()

    def verify(signed: bytes, signature: bytes) -> bool:
        return bool(load_library()[alg].verify(signed, material, signature))

    return Key(alg, kid, thumb, verify)


def from_secret(secret: bytes, alg: str, kid: str | None = None) -> Key:
    """Raises ValueError: shorter than the hash (RFC 7518, section 3.2), or a key of another kind."""
    bits = int(alg[2:])
    if len(secret) * 8 < bits:
        raise ValueError(f"a secret for {alg} has at least {bits // 8} bytes; this one has {len(secret)}")
    if b"-----BEGIN " in secret or secret.startswith((b"ssh-", b"ecdsa-sha2-")):
        raise ValueError(f"{alg} takes a secret; this is a key that others may know")
    return _make(alg, kid, secret, secret)


def from_pem(pem: bytes, alg: str, kid: str | None = None) -> Key:
    """A public key or certificate. Raises ValueError: none, or not one for this algorithm."""
    check_library()
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if b"PRIVATE KEY" in pem:
        raise ValueError("this is a private key; verifying takes the public one")
    try:
        if b"BEGIN CERTIFICATE" in pem:
            public: Any = x509.load_pem_x509_certificate(pem).public_key()
        else:
            public = serialization.load_pem_public_key(pem)
    except Exception as error:
        raise ValueError(f"no public key in PEM ({error})") from None
    return from_public(public, alg, kid)


def from_public(public: Any, alg: str, kid: str | None = None) -> Key:
    """A key object of cryptography's. Raises ValueError when it is not one for this algorithm."""
    from cryptography.hazmat.primitives import serialization

    if alg not in fitting(public):
        raise ValueError(f"this key is not one for {alg}")
    identity = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _make(alg, kid, public, identity)


def fitting(public: Any) -> tuple[str, ...]:
    """Algorithms a public key can be used with. Raises ValueError for a weak one."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < RSA_BITS_MIN:
            raise ValueError(f"an RSA key has at least {RSA_BITS_MIN} bits; this one has {public.key_size}")
        return tuple(name for name in PUBLIC if name[:2] in ("RS", "PS"))
    if isinstance(public, ec.EllipticCurvePublicKey):
        return tuple(name for name, curve in CURVES.items() if curve == public.curve.name)
    if isinstance(public, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return ("EdDSA",)
    return ()


def parse_set(data: bytes, allowed: Collection[str] = ()) -> tuple[list[Key], list[str]]:
    """The keys of a JWK Set that can be used, and why others cannot. Raises ValueError when it is none.

    allowed: algorithms; without any all of public keys. Secrets (`oct`) are never taken: others can read the set, so
    that a token signed with one proves nothing.
    """
    try:
        document = json_object(data)
    except Refused:
        raise ValueError("no JWK Set: not a JSON object, or with duplicate members") from None
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ValueError("no JWK Set: `keys` is missing")
    if len(listed) > SET_KEYS_MAX:
        raise ValueError(f"the set has {len(listed)} keys; at most {SET_KEYS_MAX} are taken")
    check_library()
    keys, skipped = [], []
    for place, raw in enumerate(listed):
        try:
            keys.append(_from_jwk(raw, tuple(allowed) or PUBLIC))
        except (ValueError, Refused) as error:
            skipped.append(f"keys[{place}]: {error}")
    return keys, skipped


def _from_jwk(raw: Any, allowed: tuple[str, ...]) -> Key:
    if not isinstance(raw, dict):
        raise ValueError("no object")
    kid, kty, alg = raw.get("kid"), raw.get("kty"), raw.get("alg")
    if not isinstance(kid, str | None) or len(kid or "") > KID_MAX:
        raise ValueError("an odd kid")
    if raw.get("use", "sig") != "sig" or "verify" not in raw.get("key_ops", ["verify"]):
        raise ValueError("not for signatures")
    if alg is not None and alg not in allowed:
        raise ValueError(f"{alg!r} is not accepted here")
    if kty == "oct":
        raise ValueError("a secret in a public set")
    if "d" in raw:
        raise ValueError("a private key in a public set")
    try:
        public = _public(raw)
    except Exception as error:
        raise ValueError(f"no {kty} key ({error})") from None
    usable = [name for name in fitting(public) if name in allowed]
    if alg is None:
        alg = "RS256" if "RS256" in usable else usable[0] if len(usable) == 1 else None
    if alg not in usable:
        raise ValueError("which algorithm it is for is not said, or is not accepted here")
    return from_public(public, alg, kid)


def _public(raw: dict[str, Any]) -> Any:
    """RFC 7518, section 6, and RFC 8037, section 2. That a point is on its curve is checked by cryptography."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    def data(name: str) -> bytes:
        return base64url(raw[name].encode("ascii"))

    def number(name: str, size: int | None = None) -> int:
        value = data(name)
        if size is not None and len(value) != size:
            raise ValueError(f"{name} has {len(value)} bytes")
        return int.from_bytes(value, "big")

    match raw.get("kty"), raw.get("crv"):
        case "RSA", None:
            return rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
        case "EC", ("P-256" | "P-384" | "P-521") as name:
            curve = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[name]
            size = (curve.key_size + 7) // 8
            return ec.EllipticCurvePublicNumbers(number("x", size), number("y", size), curve).public_key()
        case "OKP", "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(data("x"))
        case "OKP", "Ed448":
            return ed448.Ed448PublicKey.from_public_bytes(data("x"))
    raise ValueError("a kind of key nothing here can use")
