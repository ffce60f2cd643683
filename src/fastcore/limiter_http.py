"""Header fields that tell a client its limits: RateLimit-Policy, RateLimit (draft-ietf-httpapi-ratelimit-headers-11,
May 2026: structured fields of RFC 9651) and Retry-After (RFC 9110 10.2.3).

The draft leaves to the server what its two numbers mean. Here, for GCRA, which has no window that begins and ends:

* q and w are the rate and the period in whole seconds (a shorter period is stretched, a fraction of a unit is dropped);
  where the burst is another number than q, it is added as `fastcore-burst`.
* r is what would be admitted now. t is the time after which nothing is used any more, or for a refused request the time
  until it would be admitted, which is also its Retry-After (section 6 wants that not to be the earlier of the two).
"""

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from fastcore.limiter import Answer
from fastcore.limiter_quota import Quota

__all__ = ["Policy", "headers", "ratelimit", "ratelimit_policy", "retry_after"]

_INTEGER_MAX = 999_999_999_999_999  # RFC 9651 3.3.1


@dataclass(frozen=True, slots=True)
class Policy:
    """A quota and the name clients see it by. `unit`: "content-bytes" or "concurrent-requests"; requests without.

    Raises ValueError for a name or unit that is no String of RFC 9651 (printable ASCII).
    """

    name: str
    quota: Quota
    unit: str | None = None

    def __post_init__(self) -> None:
        _string(self.name)
        _string(self.unit or "")


def ratelimit_policy(policies: Iterable[Policy], *, partition_key: bytes | None = None) -> str:
    """The value of RateLimit-Policy, which is the same for a sequence of responses. At least one policy."""
    items = []
    for policy in policies:
        q, w = _window(policy.quota)
        unit = f";qu={_string(policy.unit)}" if policy.unit else ""
        burst = "" if policy.quota.burst == q else f";fastcore-burst={_integer(policy.quota.burst)}"
        items.append(f"{_string(policy.name)};q={_integer(q)}{unit};w={_integer(w)}{burst}{_partition(partition_key)}")
    return _list(items)


def ratelimit(answers: Iterable[tuple[Policy | str, Answer]], *, partition_key: bytes | None = None) -> str:
    """The value of RateLimit for one response: by policy (or its name) what the limiter answered."""
    items = []
    for policy, answer in answers:
        name = policy if isinstance(policy, str) else policy.name
        until = answer.reset_after if answer.allowed else answer.retry_after
        window = f";t={_integer(math.ceil(until))}" if until < math.inf else ""
        items.append(f"{_string(name)};r={_integer(answer.remaining)}{window}{_partition(partition_key)}")
    return _list(items)


def retry_after(answers: Iterable[Answer]) -> str | None:
    """The value of Retry-After in whole seconds, at least 1. None when all allowed, or when waiting would not help."""
    waits = [answer.retry_after for answer in answers if not answer.allowed]
    if not waits or max(waits) == math.inf:
        return None
    return str(max(1, math.ceil(max(waits))))


def headers(answers: Iterable[tuple[Policy, Answer]], *, partition_key: bytes | None = None) -> list[tuple[str, str]]:
    """All three fields that apply, as pairs for a WSGI or ASGI response."""
    pairs = list(answers)
    found = [
        ("RateLimit-Policy", ratelimit_policy((policy for policy, _ in pairs), partition_key=partition_key)),
        ("RateLimit", ratelimit(pairs, partition_key=partition_key)),
    ]
    wait = retry_after(answer for _, answer in pairs)
    return found if wait is None else [*found, ("Retry-After", wait)]


def _window(quota: Quota) -> tuple[int, int]:
    w = max(1, math.ceil(quota.period))
    return math.floor(Fraction(quota.rate) * w / Fraction(quota.period)), w


def _integer(value: int) -> int:
    return min(value, _INTEGER_MAX)


def _string(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r} has other than printable ASCII characters")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _partition(key: bytes | None) -> str:
    return "" if key is None else f";pk=:{base64.b64encode(key).decode()}:"


def _list(items: list[str]) -> str:
    if not items:
        raise ValueError("the field has at least one policy")
    return ", ".join(items)
