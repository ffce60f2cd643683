"""RateLimit, RateLimit-Policy and Retry-After, read back by a small parser of RFC 9651 lists."""

import base64
import math
import re

import pytest

from fastcore.limiter import Gcra, Quota, RateLimiter
from fastcore.limiter_http import Policy, headers, ratelimit, ratelimit_policy, retry_after


def parsed(field: str) -> list[tuple[str, dict[str, object]]]:
    """A List of Items that are Strings, their parameters Integers, Strings or Byte Sequences."""
    items = []
    rest = field
    while rest:
        name = re.match(r'"((?:[ !#-\[\]-~]|\\["\\])*)"', rest)
        assert name, rest
        rest = rest[name.end() :]
        parameters: dict[str, object] = {}
        while found := re.match(r';([a-z*][a-z0-9_.*-]*)=(?:(-?[0-9]{1,15})|"([^"\\]*)"|:([A-Za-z0-9+/=]*):)', rest):
            key, integer, string, octets = found.groups()
            parameters[key] = int(integer) if integer else base64.b64decode(octets) if octets is not None else string
            rest = rest[found.end() :]
        items.append((re.sub(r"\\(.)", r"\1", name[1]), parameters))
        if rest:
            comma = re.match(r"[ \t]*,[ \t]*(?=.)", rest)
            assert comma, rest
            rest = rest[comma.end() :]
    return items


def test_policies() -> None:
    field = ratelimit_policy([Policy("burst", Quota(100, 60)), Policy("daily", Quota(1000, 86400, 1000))])
    assert field == '"burst";q=100;w=60, "daily";q=1000;w=86400'
    assert parsed(field) == [("burst", {"q": 100, "w": 60}), ("daily", {"q": 1000, "w": 86400})]
    field = ratelimit_policy([Policy("peruser", Quota(65535, 10), "content-bytes")], partition_key=b"\xb1\xe2")
    assert parsed(field) == [("peruser", {"q": 65535, "qu": "content-bytes", "w": 10, "pk": b"\xb1\xe2"})]


@pytest.mark.parametrize(
    ("quota", "q", "w"),
    [
        (Quota(10, 0.5, 20), 20, 1),
        (Quota(3, 1.5, 4), 4, 2),
        (Quota(0.5, 1, 1), 0, 1),
        (Quota(10**17, 1, 10**17), 999_999_999_999_999, 1),
    ],
)
def test_windows_are_whole_seconds(quota: Quota, q: int, w: int) -> None:
    assert parsed(ratelimit_policy([Policy("p", quota)]))[0][1].items() >= {"q": q, "w": w}.items()


def test_a_burst_that_is_not_the_quota_is_told() -> None:
    assert ratelimit_policy([Policy("p", Quota(100, 60, 200))]) == '"p";q=100;w=60;fastcore-burst=200'


def test_what_a_client_sees() -> None:
    limiter, policy = RateLimiter(10, 60, 3), Policy("default", Quota(10, 60, 3))
    answers = [limiter.hit("k", now=100) for _ in range(4)]
    assert [ratelimit([(policy, answer)]) for answer in answers] == [
        '"default";r=2;t=6',
        '"default";r=1;t=12',
        '"default";r=0;t=18',
        '"default";r=0;t=6',
    ]
    assert headers([(policy, answers[0])]) == [
        ("RateLimit-Policy", '"default";q=10;w=60;fastcore-burst=3'),
        ("RateLimit", '"default";r=2;t=6'),
    ]
    assert headers([(policy, answers[-1])], partition_key=b"x")[1:] == [
        ("RateLimit", '"default";r=0;t=6;pk=:eA==:'),
        ("Retry-After", "6"),
    ]


def test_retry_after() -> None:
    gcra = Gcra(Quota(1, 60, 2))
    _, allowed = gcra.decide(0, 0)
    soon, late, never = gcra.peek(60_000_000_001, 0, 1), gcra.peek(120 * 10**9, 0, 2), gcra.peek(0, 0, 3)
    assert retry_after([allowed]) is None and retry_after([]) is None
    assert retry_after([soon]) == "1" and retry_after([soon, allowed, late]) == "120"
    assert retry_after([never]) is None and retry_after([late, never]) is None
    assert never.retry_after == math.inf and ratelimit([("p", never)]) == '"p";r=2'


def test_names() -> None:
    awkward = 'a "b" \\ c'
    assert parsed(ratelimit_policy([Policy(awkward, Quota(1))]))[0][0] == awkward
    for bad in ("é", "line\nbreak", "\x7f"):
        with pytest.raises(ValueError, match="printable ASCII"):
            Policy(bad, Quota(1))
        with pytest.raises(ValueError, match="printable ASCII"):
            Policy("p", Quota(1), bad)
    with pytest.raises(ValueError, match="at least one policy"):
        ratelimit_policy([])
