"""Tokens for tests, made by hand: what libraries refuse to write is what readers must refuse to read."""

import base64
import functools
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
SECRET = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
ISSUER, AUDIENCE = "https://issuer.test", "api"
NOW = 1_800_000_000.0


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@functools.cache
def private(alg: str) -> Any:
    if alg[:2] in ("RS", "PS"):
        return rsa_key()
    return ec.generate_private_key(CURVES[alg]) if alg in CURVES else ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def sign(alg: str, key: Any, data: bytes) -> bytes:
    if alg.startswith("HS"):
        return hmac.new(key, data, getattr(hashlib, f"sha{alg[2:]}")).digest()
    if alg == "EdDSA":
        return bytes(key.sign(data))
    used = HASHES[alg[2:]]
    if alg.startswith("RS"):
        return bytes(key.sign(data, padding.PKCS1v15(), used))
    if alg.startswith("PS"):
        return bytes(key.sign(data, padding.PSS(padding.MGF1(used), used.digest_size), used))
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(used)))
    n = (key.key_size + 7) // 8
    return r.to_bytes(n, "big") + s.to_bytes(n, "big")


def claims(**changes: Any) -> dict[str, Any]:
    """Good ones; None takes one away."""
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600, **changes}
    return {name: value for name, value in made.items() if value is not None}


def raw(header: bytes, payload: bytes, key: Any = SECRET, alg: str = "HS256") -> bytes:
    """Signed whatever stands in it."""
    signed = b64(header) + b"." + b64(payload)
    return signed + b"." + b64(sign(alg, key, signed))


def token(alg: str = "HS256", key: Any = None, header: dict[str, Any] | None = None, **changes: Any) -> bytes:
    key = key if key is not None else SECRET if alg.startswith("HS") else private(alg)
    return raw(json.dumps({"alg": alg, **(header or {})}).encode(), json.dumps(claims(**changes)).encode(), key, alg)


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """The public key as a JWK."""

    def number(value: int, size: int = 0) -> str:
        return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big")).decode()

    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **members}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers, size = public.public_numbers(), (key.key_size + 7) // 8
        crv = {256: "P-256", 384: "P-384", 521: "P-521"}[key.key_size]
        return {"kty": "EC", "crv": crv, "x": number(numbers.x, size), "y": number(numbers.y, size), **members}
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw()).decode(), **members}
