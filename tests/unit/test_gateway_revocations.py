"""What is revoked, for how long, and that nothing pushes it out."""

import pytest
from tokens import b64, private, token

from apps.gateway.revocations import Full, Revocations, tag, token_tag
from fastcore.sharedcache import SharedCache


def made(capacity: int = 1 << 16) -> Revocations:
    return Revocations(SharedCache(capacity=capacity, shards=1, tag_slots=1))


def test_marks_are_of_one_kind_and_provider() -> None:
    marks = {tag(kind, name, value) for kind in ("jti", "sub", "token") for name in ("a", "b") for value in ("x", "y")}
    assert len(marks) == 12
    assert tag("jti", "a", "b\0c") == tag("jti", "a\0b", "c")  # names of providers have no NUL


def test_a_mark_is_revoked_and_others_are_not() -> None:
    revoked = made()
    revoked.add(token_tag(b"key"), 60)
    subject = tag("sub", "p", "alice")
    assert revoked.covers([token_tag(b"key")], subject, None)
    assert not revoked.covers([token_tag(b"other"), tag("jti", "p", "1")], subject, None)


def test_a_subject_is_revoked_for_what_was_issued_before() -> None:
    revoked, subject = made(), tag("sub", "p", "alice")
    revoked.add(subject, 60, now=1000.5)
    assert revoked.covers([], subject, 1000.0)
    assert revoked.covers([], subject, None)
    assert not revoked.covers([], subject, 1001.0)


def test_another_signature_does_not_make_another_token() -> None:
    """(r, n - s) is as valid as (r, s): the holder of a revoked token could go on with it."""
    from judging import judge, reason

    from apps.gateway import jwk
    from apps.gateway.jws import parse

    first = token("ES256")
    signature = parse(first).signature
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    s = order - int.from_bytes(signature[32:], "big")
    second = first.rpartition(b".")[0] + b"." + b64(signature[:32] + s.to_bytes(32, "big"))
    by = judge(jwk.from_public(private("ES256").public_key(), "ES256"))
    assert first != second and reason(first, by) == reason(second, by) == "ok"
    assert token_tag(first) == token_tag(second) != token_tag(token("ES256", sub="bob"))


def test_nothing_goes_before_its_time() -> None:
    revoked = made(1 << 16)
    marks = [tag("jti", "p", str(number)) for number in range(1000)]
    added = []
    with pytest.raises(Full):
        for mark in marks:
            revoked.add(mark, 60)
            added.append(mark)
    assert 200 < len(added) < 256
    assert all(revoked.covers([mark], b"", None) for mark in added)


def test_room_of_what_has_expired_is_used_again() -> None:
    revoked = made(1 << 16)
    for number in range(1000):
        revoked.add(tag("jti", "p", str(number)), 1e-6)
    assert len(revoked) < 256
