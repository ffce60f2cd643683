"""What an authorization server's answer about a token means (RFC 7662)."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import gevent
import gevent.event
import pytest
from tokens import NOW

from apps.gateway.config_auth import Introspection
from apps.gateway.introspection import Introspector
from apps.gateway.jws import Refused


def asked(answer: Any, **settings: Any) -> Introspector:
    def ask(form: bytes) -> bytes:
        assert parse_qs(form.decode()) == {"token": ["to+k/en=="], "token_type_hint": ["access_token"]}
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    return Introspector(Introspection(url="https://as.test/introspect", client_id="gw", **settings), ask)


def reason(answer: Any, **settings: Any) -> str:
    try:
        asked(answer, **settings).judge(b"to+k/en==", NOW)
    except Refused as refused:
        return refused.reason
    return "ok"


GOOD = {"active": True, "sub": "alice", "scope": "read write", "jti": "1", "iat": NOW - 5}


def test_an_active_token() -> None:
    found = asked(GOOD).judge(b"to+k/en==", NOW)
    assert (found.subject, found.scopes, found.jti, found.issued) == ("alice", {"read", "write"}, "1", NOW - 5)
    assert found.expires == NOW + 60
    assert asked({**GOOD, "exp": NOW + 5}).judge(b"to+k/en==", NOW).expires == NOW + 5
    assert asked({**GOOD, "exp": NOW + 500}, remember="1s").judge(b"to+k/en==", NOW).expires == NOW + 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"active": False}, "inactive"),
        ({**GOOD, "active": "true"}, "inactive"),
        ({**GOOD, "active": 1}, "inactive"),
        ({"sub": "alice"}, "inactive"),
        ({"active": True}, "claim"),
        ({**GOOD, "sub": 1}, "claim"),
        ({**GOOD, "jti": 1}, "claim"),
        ({**GOOD, "exp": NOW}, "expired"),
        ({**GOOD, "exp": "never"}, "malformed"),
        ({**GOOD, "nbf": NOW + 1}, "early"),
        (b"", "unavailable"),
        (b"[]", "unavailable"),
        (b'{"active":false,"active":true,"sub":"alice"}', "unavailable"),
        (OSError("refused"), "unavailable"),
        (TimeoutError("late"), "unavailable"),
    ],
)
def test_what_is_refused(answer: Any, why: str) -> None:
    assert reason(answer) == why


def test_issuer_and_audience_where_they_are_asked_for() -> None:
    assert reason({**GOOD, "iss": "i", "aud": ["x", "api"]}, issuer="i", audience="api") == "ok"
    assert reason(GOOD, issuer="i") == "issuer"
    assert reason({**GOOD, "iss": ["i"]}, issuer="i") == "issuer"
    assert reason({**GOOD, "aud": "x"}, audience="api") == "audience"


def test_questions_at_one_time_are_bounded() -> None:
    go, under_way, most = gevent.event.Event(), 0, 0

    def ask(form: bytes) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        go.wait()
        under_way -= 1
        return json.dumps(GOOD).encode()

    by = Introspector(Introspection(url="https://as.test/i", client_id="gw", connections=3), ask)
    judging: Callable[[], Any] = lambda: by.judge(b"t", NOW)  # noqa: E731
    waiting = [gevent.spawn(judging) for _ in range(10)]
    gevent.sleep(0)
    go.set()
    assert [greenlet.get(timeout=5).subject for greenlet in waiting] == ["alice"] * 10
    assert most == 3
