"""Algorithms and keys: each key has one algorithm, and what a token says changes nothing (RFC 8725, 2.1, 3.1, 3.2, 3.10)."""

import json
from typing import Any

import pytest
from judging import judge, reason
from tokens import SECRET, b64, claims, jwk, pem, private, raw, rsa_key, token

from apps.gateway import jwk as keys
from apps.gateway.config_auth import ALGORITHMS
from apps.gateway.jws import parse

PAYLOAD = json.dumps(claims()).encode()
GOOD = raw(b'{"alg":"HS256"}', PAYLOAD)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize("signature", [b"", b"abcd"])
def test_unsigned_tokens_are_refused(alg: str, signature: bytes) -> None:
    """2.1: "the algorithm can be changed to "none" by an attacker, and some libraries would trust this value"."""
    header = json.dumps({"alg": alg}).encode()
    assert reason(b64(header) + b"." + b64(PAYLOAD) + b"." + signature) == "algorithm"


def test_a_signature_that_was_cut_off_is_refused() -> None:
    assert reason(GOOD.rpartition(b".")[0] + b".") == "algorithm"


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_secret(alg: str) -> None:
    """2.1: "an RS256 parameter value can be changed into HS256, and some libraries would try to validate the signature using
    HMAC-SHA256 and using the RSA public key as the HMAC shared secret"."""
    public = pem(private("RS256"))
    by = judge(keys.from_pem(public, "RS256", "a"))
    for secret in (public, public.strip(), b"".join(public.splitlines()[1:-1])):
        assert reason(token(alg, secret), by) == "algorithm"
        assert reason(token(alg, secret, {"kid": "a"}), by) == "algorithm"
    with pytest.raises(ValueError, match="this is a key that others may know"):
        keys.from_secret(public, alg)


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("bound", ["HS256", "RS256", "PS256", "ES256", "EdDSA"])
def test_a_key_has_one_algorithm(alg: str, bound: str) -> None:
    """3.1: "each key MUST be used with exactly one algorithm, and this MUST be checked when the cryptographic operation is
    performed"."""
    known = keys.from_secret(SECRET, bound) if bound == "HS256" else keys.from_pem(pem(private(bound)), bound)
    assert reason(token(alg), judge(known)) == ("ok" if alg == bound else "algorithm")


@pytest.mark.parametrize("alg", ["hs256", "HS256 ", "HS1", "RS1", "ES256K", "A128KW", "dir", "", "HS256\0"])
def test_algorithms_nobody_bound_are_refused(alg: str) -> None:
    assert reason(raw(json.dumps({"alg": alg}).encode(), PAYLOAD)) == "algorithm"


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512"])
def test_signatures_of_zeros_and_of_other_forms_are_refused(alg: str) -> None:
    """CVE-2022-21449: r = s = 0. RFC 7518, 3.4: the signature is R and S of fixed length, not ASN.1."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from tokens import HASHES

    by = judge(keys.from_pem(pem(private(alg)), alg))
    signed, _, good = token(alg).rpartition(b".")
    size = len(parse(signed + b"." + good).signature)
    der = private(alg).sign(signed, ec.ECDSA(HASHES[alg[2:]]))
    for signature in (bytes(size), bytes(size - 2), b"\0" + bytes(size), der):
        assert reason(signed + b"." + b64(signature), by) == "signature"


def test_keys_a_token_brings_along_are_not_looked_at() -> None:
    """3.10: "Do Not Trust Received Claims"; jwk, jku, x5u and x5c in the header choose the key for the attacker."""
    mallory = rsa_key(1)
    header = {
        "jwk": jwk(mallory),
        "jku": "https://mallory.test/jwks.json",
        "x5u": "https://mallory.test/cert.pem",
        "x5c": ["MIIB"],
        "kid": "a",
    }
    by = judge(keys.from_pem(pem(private("RS256")), "RS256", "a"))
    assert reason(token("RS256", mallory, header), by) == "signature"
    assert reason(token("RS256", None, header), by) == "ok"


@pytest.mark.parametrize(
    "kid",
    [
        "../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "b' UNION SELECT 'secret",
        "$(id)",
        "a\0",
        "A",
        "",
        "None",
        "http://x/",
    ],
)
def test_a_kid_is_a_name_and_nothing_else(kid: str) -> None:
    """3.10: "the kid header is used by the relying application to perform key lookup [...] injection"."""
    by = judge(keys.from_secret(SECRET, "HS256", "a"))
    for secret in (b"", b"\0", SECRET):
        assert reason(token("HS256", secret, {"kid": kid}), by) == "keys needed"
    assert reason(token("HS256", SECRET, {"kid": "a"}), by) == "ok"


def test_a_kid_chooses_among_keys_with_names_and_tries_those_without() -> None:
    named, other, plain = (rsa_key(number) for number in (0, 1, 2))
    by = judge(
        keys.from_pem(pem(named), "RS256", "a"),
        keys.from_pem(pem(other), "RS256", "b"),
        keys.from_pem(pem(plain), "RS256"),
    )
    assert reason(token("RS256", other, {"kid": "a"}), by) == "signature"
    assert reason(token("RS256", named, {"kid": "a"}), by) == "ok"
    assert reason(token("RS256", plain, {"kid": "a"}), by) == "ok"
    assert reason(token("RS256", plain, {"kid": "other"}), by) == "ok"
    for key in (named, other, plain):
        assert reason(token("RS256", key), by) == "ok"


def test_a_token_without_kid_does_not_cost_a_verification_for_every_key() -> None:
    known = [keys.from_secret(SECRET + bytes((n,)), "HS256", str(n)) for n in range(keys.KEYS_TRIED_MAX + 1)]
    assert reason(token("HS256", SECRET + b"\0"), judge(*known)) == "keys needed"
    assert reason(token("HS256", SECRET + b"\0", {"kid": "0"}), judge(*known)) == "ok"


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_short_secrets_are_refused(alg: str) -> None:
    """RFC 8725, 3.5: "human-memorizable passwords MUST NOT be directly used as the key to a keyed-MAC algorithm"."""
    size = int(alg[2:]) // 8
    with pytest.raises(ValueError, match=f"at least {size} bytes"):
        keys.from_secret(SECRET[: size - 1], alg)
    keys.from_secret(SECRET[:size], alg)


def test_keys_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2048 bits"):
        keys.from_pem(pem(rsa_key(0, 1024)), "RS256")
    for alg, other in (("ES256", "ES384"), ("ES384", "RS256"), ("RS256", "EdDSA"), ("EdDSA", "ES256")):
        with pytest.raises(ValueError, match="not one for"):
            keys.from_pem(pem(private(other)), alg)
    with pytest.raises(ValueError, match="no public key in PEM"):
        keys.from_pem(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "RS256")
    with pytest.raises(ValueError, match="private key"):
        keys.from_pem(b"-----BEGIN PRIVATE KEY-----", "RS256")


def parsed(*members: Any, **options: Any) -> tuple[list[keys.Key], list[str]]:
    return keys.parse_set(json.dumps({"keys": members}).encode(), **options)


def test_a_set_gives_each_key_its_algorithm() -> None:
    found, skipped = parsed(
        jwk(private("RS256"), kid="rs"),
        jwk(private("RS256"), kid="ps", alg="PS256", use="sig", key_ops=["verify"]),
        *(jwk(private(alg), kid=alg) for alg in ("ES256", "ES384", "ES512", "EdDSA")),
    )
    assert skipped == []
    assert {key.kid: key.alg for key in found} == {
        "rs": "RS256", "ps": "PS256", "ES256": "ES256", "ES384": "ES384", "ES512": "ES512", "EdDSA": "EdDSA",
    }  # fmt: skip
    by = judge(*found)
    assert reason(token("PS256", None, {"kid": "ps"}), by) == "ok"
    assert reason(token("PS256", None, {"kid": "rs"}), by) == "algorithm"
    only, _ = parsed(jwk(private("RS256")), allowed=("PS384", "ES256"))
    assert [key.alg for key in only] == ["PS384"]


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ({"kty": "oct", "k": b64(SECRET).decode(), "alg": "HS256"}, "not accepted here"),
        ({"kty": "oct", "k": b64(SECRET).decode()}, "a secret in a public set"),
        (jwk(private("RS256"), use="enc"), "not for signatures"),
        (jwk(private("RS256"), key_ops=["encrypt"]), "not for signatures"),
        (jwk(private("RS256"), alg="HS256"), "not accepted here"),
        (jwk(private("RS256"), alg="ES256"), "not said, or is not accepted"),
        (jwk(private("RS256"), alg="RSA-OAEP"), "not accepted here"),
        (jwk(private("RS256"), d="AQAB"), "private key"),
        (jwk(private("RS256"), kid=7), "odd kid"),
        (jwk(rsa_key(0, 1024)), "at least 2048 bits"),
        ({"kty": "RSA", "n": "AQAB"}, "no RSA key"),
        # RFC 8725, 3.4: "For ECDH-ES and ECDSA: the point must be on the curve"
        ({"kty": "EC", "crv": "P-256", "x": b64(bytes(32)).decode(), "y": b64(b"\1" * 32).decode()}, "no EC key"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "no EC key"),
        ({"kty": "made-up"}, "no made-up key"),
        ("key", "no object"),
    ],
)
def test_a_key_that_cannot_be_used_does_not_spoil_the_set(member: Any, why: str) -> None:
    found, skipped = parsed(member, jwk(private("ES256")))
    assert [key.alg for key in found] == ["ES256"]
    assert len(skipped) == 1 and why in skipped[0]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[],"keys":[]}', b"<html>", b"\xff"])
def test_what_is_no_set(data: bytes) -> None:
    with pytest.raises(ValueError, match="no JWK Set"):
        keys.parse_set(data)


def test_a_set_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        parsed(*[{}] * 65)
