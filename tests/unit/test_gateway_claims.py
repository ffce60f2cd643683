"""What tokens and keys say of whom, and what targets are told about it (RFC 7519; RFC 8725, 3.8 to 3.12)."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import accepted, judge, reason
from tokens import ISSUER, NOW, claims, raw, token

from apps.gateway.config_auth import ApiKeys
from apps.gateway.judges import ApiKeyJudge, header_lines, subject_bytes
from apps.gateway.jws import Refused

HEADER = b'{"alg":"HS256"}'


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": None}, "issuer"),
        ({"iss": "https://issuer.test/"}, "issuer"),
        ({"iss": "https://ISSUER.test"}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"iss": "https://mallory.test"}, "issuer"),
        ({"aud": None}, "audience"),
        ({"aud": "other"}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": ["other", 1]}, "audience"),
        ({"aud": ["api", 1]}, "audience"),
        ({"aud": {"api": 1}}, "audience"),
        ({"aud": "api "}, "audience"),
        ({"exp": None}, "claim"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": -1e300}, "expired"),
        ({"exp": str(int(NOW + 600))}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": [NOW + 600]}, "malformed"),
        ({"nbf": NOW + 31}, "early"),
        ({"nbf": "0"}, "malformed"),
        ({"nbf": False}, "malformed"),
        ({"iat": NOW + 31}, "early"),
        ({"iat": {}}, "malformed"),
        ({"sub": None}, "claim"),
        ({"sub": ""}, "claim"),
        ({"sub": ["alice"]}, "claim"),
        ({"sub": True}, "claim"),
        ({"jti": 1}, "claim"),
    ],
)
def test_claims_that_are_refused(changes: dict[str, Any], why: str) -> None:
    assert reason(token(**changes)) == why


@pytest.mark.parametrize("value", ["1e999", "-1e999", "1" + "0" * 400, "null"])
def test_times_that_are_no_times(value: str) -> None:
    payload = json.dumps(claims(exp=None)).encode()[:-1] + f',"exp":{value}}}'.encode()
    assert reason(raw(HEADER, payload)) == "malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 29},  # within the leeway
        {"exp": NOW + 0.5},
        {"exp": int(NOW) + 10**15},
        {"nbf": NOW + 29, "iat": NOW + 29},
        {"aud": ["other", "api"]},
        {"sub": 42},
    ],
)
def test_claims_that_are_accepted(changes: dict[str, Any]) -> None:
    assert reason(token(**changes)) == "ok"


def test_a_token_for_somebody_else_is_accepted_only_when_that_is_said() -> None:
    assert reason(token(aud=None), judge(audience=[])) == "ok"
    assert reason(token(aud="other"), judge(audience=["a", "other"])) == "ok"


def test_required_claims() -> None:
    by = judge(required_claims={"tenant": "a", "level": [1, 2], "realm.roles": "admin", "email": None, "ok": True})
    good = {"tenant": "a", "level": 2, "realm": {"roles": ["user", "admin"]}, "email": "a@b", "ok": True}
    assert reason(token(**good), by) == "ok"
    for name, value in (("tenant", "b"), ("tenant", ["b"]), ("level", True), ("level", "1"), ("realm", {}), ("realm", 1),
                        ("email", None), ("ok", 1)):  # fmt: skip
        assert reason(token(**{**good, name: value}), by) == "claim", (name, value)


def test_a_type_that_is_asked_for() -> None:
    """RFC 8725, 3.11: "Use Explicit Typing"."""
    by = judge(type="at+jwt")
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert reason(token(header={"typ": typ}), by) == "ok"
    for header in ({}, {"typ": "JWT"}, {"typ": ""}, {"typ": "at+jwt "}):
        assert reason(token(header=header), by) == "claim"


def test_scopes_come_as_text_or_as_a_list() -> None:
    assert accepted(token(scope="a  b")).scopes == {"a", "b"}
    assert accepted(token(scope=["a", "b", 1])).scopes == {"a", "b"}
    assert accepted(token(scope=7)).scopes == frozenset()
    assert accepted(token(scp=["a"], scope="b"), judge(scopes="scp")).scopes == {"a"}


def test_the_end_includes_the_leeway() -> None:
    assert accepted(token(exp=NOW + 5)).expires == NOW + 35


# --- what targets are told --------------------------------------------------------------------------------------------


def test_claims_as_header_fields() -> None:
    made = header_lines(
        {"X-User": "sub", "X-Roles": "realm.roles", "X-No": "missing", "X-Ok": "ok", "X-N": "n", "X-O": "realm"},
        {"sub": "a", "realm": {"roles": ["x", "y,z", 1]}, "ok": True, "n": 1.5},
    )
    assert made == b"X-User: a\r\nX-Roles: x,y%2Cz,1\r\nX-Ok: true\r\nX-N: 1.5\r\n"


@given(st.text(max_size=300))
def test_no_claim_breaks_out_of_its_line(text: str) -> None:
    try:
        made = header_lines({"X-User": "sub"}, {"sub": text})
    except Refused:
        return
    assert made.startswith(b"X-User: ") and made.endswith(b"\r\n")
    assert all(0x20 <= byte < 0x7F for byte in made[:-2])


def test_subjects_stay_different() -> None:
    made = [subject_bytes(text) for text in ("a", " a", "a ", "  a", "%20a", " ", "a b")]
    assert len(set(made)) == len(made)
    assert made[1:3] == [b"%20a", b"a%20"] and made[6] == b"a b"
    assert all(text == text.strip() and text for text in made)


def test_what_is_too_long_for_a_head_is_refused() -> None:
    with pytest.raises(Refused):
        header_lines({"X-A": "a"}, {"a": "x" * 3000})
    with pytest.raises(Refused):
        subject_bytes("x" * 257)
    with pytest.raises(Refused):
        header_lines({"X-A": "a"}, {"a": "\ud800"})


# --- API keys ---------------------------------------------------------------------------------------------------------


def test_api_keys_are_known_by_their_hash() -> None:
    digest = hashlib.sha256(b"fc_key").hexdigest()
    by = ApiKeyJudge(
        ApiKeys(header="X-API-Key", keys=[{"sha256": digest.upper(), "subject": "bob", "scopes": "read,write"}])
    )
    found = by.judge(b"fc_key", NOW)
    assert (found.subject, found.scopes, dict(found.claims)) == (
        "bob", {"read", "write"}, {"sub": "bob", "scope": "read write"},
    )  # fmt: skip
    for wrong in (b"", b"fc_kez", b"FC_KEY", b"fc_key ", digest.encode(), bytes.fromhex(digest)):
        with pytest.raises(Refused) as refused:
            by.judge(wrong, NOW)
        assert refused.value.reason == "unknown"
