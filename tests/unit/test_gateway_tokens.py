"""Tokens that must be refused, each with the sentence that says so, and those that must not.

RFC 8725 is JSON Web Token Best Current Practices, RFC 7515 JSON Web Signature.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import accepted, judge, reason
from tokens import SECRET, b64, claims, pem, private, raw, sign, token

from apps.gateway import jwk as keys
from apps.gateway.config_auth import ALGORITHMS

# --- what is accepted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_verifies(alg: str) -> None:
    key = keys.from_secret(SECRET, alg) if alg.startswith("HS") else keys.from_pem(pem(private(alg)), alg)
    found = accepted(token(alg, scope="read write", jti="1"), judge(key))
    assert (found.subject, found.scopes, found.jti) == ("alice", {"read", "write"}, "1")
    damaged = token(alg)
    damaged = damaged[:-20] + (b"A" if damaged[-20:-19] != b"A" else b"B") + damaged[-19:]
    assert reason(damaged, judge(key)) == "signature"


# --- RFC 7515: the form -----------------------------------------------------------------------------------------------

HEADER, PAYLOAD = b'{"alg":"HS256"}', json.dumps(claims()).encode()
GOOD = raw(HEADER, PAYLOAD)


def resigned(header_part: bytes, payload_part: bytes) -> bytes:
    signed = header_part + b"." + payload_part
    return signed + b"." + b64(sign("HS256", SECRET, signed))


def with_trailing_bits(part: bytes) -> bytes:
    """The same bytes when decoded carelessly: the bits behind the last byte are set."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(part) % 4, "a part with bits to spare"
    return part[:-1] + bytes((alphabet[alphabet.index(part[-1]) | 1],))


SPARE_HEADER = b64(b'{"alg":"HS256" }')  # 16 bytes: 4 bits to spare
SPARE_PAYLOAD = b64(PAYLOAD + b" " * ((2 - len(PAYLOAD)) % 3))
NOT_WELL_FORMED = {
    # 7.1: BASE64URL(header) '.' BASE64URL(payload) '.' BASE64URL(signature)
    "empty": b"",
    "one part": b"abc",
    "two parts": GOOD.rpartition(b".")[0],
    "four parts": GOOD + b".abc",
    "five parts, which is JWE": b"a.b.c.d.e",
    "no header": GOOD[GOOD.index(b".") :],
    "no payload": resigned(b64(HEADER), b""),
    # 2: "Base64 encoding using the URL- and filename-safe character set [...] with all trailing '=' characters omitted
    # and without the inclusion of any line breaks, whitespace, or other additional characters"
    "padded signature": GOOD + b"=",
    "padded header": resigned(SPARE_HEADER + b"==", b64(PAYLOAD)),
    "padded payload": resigned(b64(HEADER), SPARE_PAYLOAD + b"=" * (-len(SPARE_PAYLOAD) % 4)),
    "standard alphabet": resigned(
        b64(HEADER), b64(PAYLOAD[:-1] + b',"x":"\xc3\xbf\xc3\xbf\xc3\xbe"}').replace(b"_", b"/")
    ),
    "line break": resigned(b64(HEADER)[:8] + b"\n" + b64(HEADER)[8:], b64(PAYLOAD)),
    "white space": resigned(b64(HEADER), b64(PAYLOAD) + b" "),
    "other characters": resigned(b64(HEADER)[:8] + b"!" + b64(HEADER)[8:], b64(PAYLOAD)),
    "an impossible length": resigned(b64(HEADER), b64(PAYLOAD)[: (len(b64(PAYLOAD)) - 1) // 4 * 4 + 1]),
    # RFC 4648, 3.5: "decoders MAY chose to reject an encoding if the pad bits have not been set to zero": two spellings of
    # one token would be two to whoever revokes it
    "trailing bits in the signature": GOOD[: GOOD.rindex(b".") + 1] + with_trailing_bits(GOOD.rpartition(b".")[2]),
    "trailing bits in the header": resigned(with_trailing_bits(SPARE_HEADER), b64(PAYLOAD)),
    # 4: "The Header Parameter names within the JOSE Header MUST be unique"
    "duplicate alg": raw(b'{"alg":"none","alg":"HS256"}', PAYLOAD),
    "duplicate in a nested object": raw(b'{"alg":"HS256","x":{"a":1,"a":2}}', PAYLOAD),
    "duplicate by escape": raw(b'{"alg":"HS256","al\\u0067":"HS256"}', PAYLOAD),
    # RFC 7519, 4: "The Claim Names within a JWT Claims Set MUST be unique"
    "duplicate claim": raw(HEADER, PAYLOAD[:-1] + b',"sub":"mallory"}'),
    "duplicate nested claim": raw(HEADER, PAYLOAD[:-1] + b',"x":[{"a":1,"a":1}]}'),
    # 5.2, 3: "Verify that the resulting octet sequence is a UTF-8-encoded representation of a completely valid JSON object"
    "header no JSON": raw(b"alg:HS256", PAYLOAD),
    "header cut": raw(b'{"alg":"HS256"', PAYLOAD),
    "header with a tail": raw(b'{"alg":"HS256"}x', PAYLOAD),
    "header a list": raw(b'["HS256"]', PAYLOAD),
    "header a string": raw(b'"HS256"', PAYLOAD),
    "header in UTF-16": raw('{"alg":"HS256"}'.encode("utf-16"), PAYLOAD),
    "header with a byte order mark": raw(b"\xef\xbb\xbf" + HEADER, PAYLOAD),
    "header not UTF-8": raw(b'{"alg":"HS256","x":"\xff"}', PAYLOAD),
    "payload no JSON": raw(HEADER, b"hello"),
    "payload a list": raw(HEADER, b"[]"),
    "payload in UTF-16": raw(HEADER, PAYLOAD.decode().encode("utf-16-le")),
    "NaN": raw(HEADER, PAYLOAD[:-1] + b',"x":NaN}'),
    "Infinity": raw(HEADER, PAYLOAD[:-1] + b',"x":-Infinity}'),
    "nested without end": raw(b'{"alg":"HS256","x":' + b"[" * 5000 + b"]" * 5000 + b"}", PAYLOAD),
    "a number without end": raw(HEADER, PAYLOAD[:-1] + b',"x":' + b"9" * 5000 + b"}"),
    # 4.1.1: alg "MUST be present"; its value is a string
    "no alg": raw(b"{}", PAYLOAD),
    "alg a number": raw(b'{"alg":256}', PAYLOAD),
    "alg a list": raw(b'{"alg":["HS256"]}', PAYLOAD),
    "alg null": raw(b'{"alg":null}', PAYLOAD),
    # 4.1.4: kid "MUST be a case-sensitive string"
    "kid a number": raw(b'{"alg":"HS256","kid":1}', PAYLOAD),
    "kid an object": raw(b'{"alg":"HS256","kid":{"a":1}}', PAYLOAD),
    "kid endless": raw(b'{"alg":"HS256","kid":"' + b"k" * 257 + b'"}', PAYLOAD),
    "typ a list": raw(b'{"alg":"HS256","typ":["JWT"]}', PAYLOAD),
    # RFC 8725, 3.6: "Avoid Compression of Encryption Inputs"; this is none of our kinds of token
    "compressed": raw(b'{"alg":"HS256","zip":"DEF"}', PAYLOAD),
    "encrypted": raw(b'{"alg":"dir","enc":"A128GCM"}', PAYLOAD),
}


@pytest.mark.parametrize("credential", NOT_WELL_FORMED.values(), ids=NOT_WELL_FORMED)
def test_what_is_not_well_formed_is_refused(credential: bytes) -> None:
    assert reason(credential) == "malformed"


def test_the_cases_differ_from_a_good_token_by_one_thing() -> None:
    assert reason(GOOD) == "ok"
    assert reason(resigned(SPARE_HEADER, SPARE_PAYLOAD)) == "ok"
    assert reason(raw(HEADER, PAYLOAD[:-1] + b',"x":[{"a":1},{"a":1}]}')) == "ok"


@pytest.mark.parametrize(
    "header",
    [
        # 4.1.11: "If any of the listed extension Header Parameters are not understood and supported by the recipient, then
        # the JWS is invalid"; "Producers MUST NOT use the empty list"; the value is a list of strings
        '{"alg":"HS256","crit":["exp"],"exp":1}',
        '{"alg":"HS256","crit":["x"]}',
        '{"alg":"HS256","crit":["alg"]}',
        '{"alg":"HS256","crit":[]}',
        '{"alg":"HS256","crit":"x"}',
        '{"alg":"HS256","crit":null}',
        # RFC 7797, 6: b64 must be listed in crit; whoever ignores it verifies other bytes than were signed
        '{"alg":"HS256","b64":false}',
        '{"alg":"HS256","b64":false,"crit":["b64"]}',
        '{"alg":"HS256","b64":true}',
    ],
)
def test_critical_extensions_are_refused(header: str) -> None:
    assert reason(raw(header.encode(), PAYLOAD)) == "critical"


# --- anything at all --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60).map(b64), min_size=3, max_size=3).map(b".".join))
def test_bytes_of_strangers_are_refused_and_raise_nothing_else(data: bytes) -> None:
    assert reason(data) in ("malformed", "critical", "algorithm", "keys needed", "signature")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))  # fmt: skip


@given(st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "scope", "x"]), JSON))
def test_signed_claims_of_any_shape_are_judged(changes: dict[str, Any]) -> None:
    credential = raw(HEADER, json.dumps({**claims(), **changes}).encode())
    assert reason(credential) in ("ok", "malformed", "issuer", "audience", "claim", "expired", "early")


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_changed_byte_is_never_accepted(place: int, byte: int) -> None:
    changed = GOOD[:place] + bytes((byte,)) + GOOD[place + 1 :]
    assert changed == GOOD or reason(changed) != "ok"
