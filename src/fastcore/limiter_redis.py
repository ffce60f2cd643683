"""The rate limiter over Redis, for limits that span machines: the same answers as `fastcore.limiter`, one round trip
each.

The state of a key is a Redis string, "seconds:nanoseconds" of the time at which nothing is used any more; it expires
then. One Lua script reads, decides and stores, so requests of all clients are decided one after the other. Times are
pairs because Lua has only doubles: nanoseconds since 1970 do not fit into 53 bits, seconds and nanoseconds within a
second do, and sums of pairs are exact. What needs a division (how many units remain) is computed here, by the C code
that decides locally, from what the script says was owed.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fastcore.limiter import Answer, Answers, Gcra, Quota, RateLimiter, RateLimits

__all__ = ["Key", "Policy", "RedisRateLimiter", "RedisRateLimits"]

Part = str | bytes | int
Key = Part | tuple[Part, ...]
Policy = Literal["fail_open", "fail_closed", "fall_back_to_local"]

# What says "Redis cannot decide now" and not "the call is wrong": no connection, no answer, loading, a replica, out of
# memory, a cluster in trouble.
GONE = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,
    redis.exceptions.TryAgainError,
    OSError,
)

# KEYS[i]: states. ARGV: what to do (hit, peek, reset); now as seconds and ns ("" for Redis's own time); seconds that a
# state outlives its time; seconds by which the clock may step back; then for each key the charge and the span, seconds
# and ns each. Reply: 1 if all are admitted, then for each key what was owed before the request, seconds and ns.
_SCRIPT = """
local now_s, now_n = tonumber(ARGV[2]), tonumber(ARGV[3])
if not now_s then
  local now = redis.call('TIME')
  now_s, now_n = tonumber(now[1]), tonumber(now[2]) * 1000
end
local function add(s, n, more_s, more_n)
  s, n = s + more_s, n + more_n
  if n >= 1000000000 then return s + 1, n - 1000000000 end
  if n < 0 then return s - 1, n + 1000000000 end
  return s, n
end
local function above(s, n, than_s, than_n)
  return s > than_s or (s == than_s and n > than_n)
end
local reply, states = {1}, {}
for i, key in ipairs(KEYS) do
  local at = 6 + 4 * (i - 1)
  local charge_s, charge_n = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local span_s, span_n = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local s, n = 0, 0
  local found = redis.call('GET', key)
  if found then
    local tat_s, tat_n = string.match(found, '^(%d+):(%d+)$')
    s, n = add(tonumber(tat_s), tonumber(tat_n), -now_s, -now_n)
    if s < 0 then s, n = 0, 0 end
  end
  local stepped = above(s, n, span_s + tonumber(ARGV[5]), span_n)
  if stepped then s, n = span_s, span_n end
  local free = charge_s == 0 and charge_n == 0
  local after_s, after_n = add(s, n, charge_s, charge_n)
  if not free and above(after_s, after_n, span_s, span_n) then reply[1] = 0 end
  states[i] = {s, n, stepped, after_s, after_n, stepped or not free}
  reply[2 * i], reply[2 * i + 1] = s, n
end
for i, key in ipairs(KEYS) do
  local s, n, store = unpack(states[i])
  if reply[1] == 1 then s, n, store = unpack(states[i], 4) end
  if ARGV[1] == 'reset' then
    redis.call('DEL', key)
  elseif ARGV[1] == 'hit' and store then
    local tat_s, tat_n = add(now_s, now_n, s, n)
    redis.call('SET', key, string.format('%d:%d', tat_s, tat_n), 'EX', string.format('%d', s + 1 + tonumber(ARGV[4])))
  end
end
return reply
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

_NS = 1_000_000_000
_BACK_S = 60  # as FC_GCRA_BACK_NS
# States expire by Redis's clock. With times given by the caller (tests, replays) they must not do so too early.
_LINGER_GIVEN_S = 3600
_TIME_MAX_S = (1 << 62) // _NS


def _encode(key: Key) -> bytes:
    """Names that tell all keys apart: kind and text, within a tuple with lengths."""
    if not isinstance(key, tuple):
        kind, text = _part(key)
        return b"%b:%b" % (kind, text)
    if not key:
        raise ValueError("an empty tuple is no key")
    return b"t:" + b"".join(b"%b%d:%b" % (kind, len(text), text) for kind, text in map(_part, key))


def _part(key: object) -> tuple[bytes, bytes]:
    match key:
        case str():
            return b"s", key.encode()
        case bytes():
            return b"b", key
        case int():
            return b"i", b"%d" % key
    raise TypeError(f"a key is a str, bytes, an int or a tuple of these, not {type(key).__name__}")


def _time(now: float | None) -> tuple[object, object]:
    if now is None:
        return "", ""
    if not isinstance(now, int | float):
        raise TypeError(f"now is a number of seconds, not {type(now).__name__}")
    if not 0 <= now < _TIME_MAX_S:
        raise ValueError(f"now is from 0 to {_TIME_MAX_S} seconds, not {now!r}")
    return divmod(now * _NS if isinstance(now, int) else math.floor(now * 1e9 + 0.5), _NS)


class _Limits:
    """What one limit and several have in common: the script, and what happens without Redis."""

    def __init__(
        self,
        client: Any,
        quotas: Sequence[Quota],
        name: str,
        prefix: str,
        policy: Policy,
        cooldown: float,
        timer: Callable[[], float],
    ) -> None:
        if policy not in ("fail_open", "fail_closed", "fall_back_to_local"):
            raise ValueError(f"policy is 'fail_open', 'fail_closed' or 'fall_back_to_local', not {policy!r}")
        if not 0 < cooldown < 86400:
            raise ValueError(f"cooldown is above 0 and below a day, not {cooldown}")
        if "{" in prefix or "}" in prefix:
            raise ValueError(f"prefix {prefix!r} has braces, which would move the hash tag of a cluster")
        self.policy = policy
        self.failures = 0
        self.degraded = 0
        self.last_error: Exception | None = None
        self._client = client
        self._owns_client = False
        self._prefix = prefix.encode()
        self._deciders = [Gcra(quota) for quota in quotas]
        rates = ["{}/{}".format(*quota.whole()) + f"/{quota.burst}" for quota in quotas]
        self._suffixes = [f":{name} {i}" if name and i else f":{name or rate}" for i, rate in enumerate(rates)]
        self._cooldown = cooldown
        self._timer = timer
        self._shut_until = 0.0

    def close(self) -> None:
        """Closes the client that `connect` made; one of the caller's is left open."""
        if self._owns_client:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _answers(self, what: str, key: Key, cost: int, now: float | None) -> list[Answer] | None:
        """None: Redis cannot say."""
        reply = self._ask(what, key, self._charges(cost), now)
        if reply is None:
            return None
        owed = [s * _NS + n for s, n in zip(reply[1::2], reply[2::2], strict=True)]
        if what != "hit" or not reply[0]:
            return [one.peek(ns, 0, cost) for one, ns in zip(self._deciders, owed, strict=True)]
        return [one.decide(ns, 0, cost)[1] for one, ns in zip(self._deciders, owed, strict=True)]

    def _charges(self, cost: int) -> list[int]:
        charges: list[int] = []
        for one in self._deciders:
            tat, fresh = one.decide(0, 0, cost)
            charges += divmod(tat if fresh.allowed else one.span_ns + 1, _NS)
            charges += divmod(one.span_ns, _NS)
        return charges

    def _ask(self, what: str, key: Key, charges: list[int], now: float | None) -> list[int] | None:
        encoded = b"%b{%b}" % (self._prefix, _encode(key))
        keys = [encoded + suffix.encode() for suffix in self._suffixes]
        arguments = [what, *_time(now), 0 if now is None else _LINGER_GIVEN_S, _BACK_S, *charges]
        if self._shut_until:
            begin = self._timer()
            if begin < self._shut_until:
                return None
            self._shut_until = begin + self._cooldown  # this request tries, the others need not
        try:
            reply: list[int] = self._eval(keys, arguments)
        except GONE as error:
            self.failures += 1
            self.last_error = error
            self._shut_until = self._timer() + self._cooldown
            return None
        self._shut_until = 0.0
        return reply

    def _eval(self, keys: list[bytes], arguments: list[object]) -> Any:
        try:
            return self._client.evalsha(_SHA, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            return self._client.eval(_SCRIPT, len(keys), *keys, *arguments)

    def _by_policy(self) -> list[Answer]:
        allowed = self.policy == "fail_open"
        return [one.by_policy(allowed, 0.0 if allowed else self._cooldown) for one in self._deciders]

    def _reset(self, key: Key, now: float | None) -> bool:
        reply = self._ask("reset", key, self._charges(0), now)
        return reply is not None and any(reply[1:])


class RedisRateLimiter(_Limits):
    """`rate` units every `period` seconds for each key, at most `burst` at once, counted in Redis 5 or newer.

    client: a `redis.Redis` or RedisCluster of the caller's, whose timeouts and retries bound what a call may cost;
    `RedisRateLimiter.connect(url, ...)` makes one that gives up soon. Under gevent a waiting call yields, as redis-py
    does. A client that sends again what it had no answer to may charge twice, never too little.

    The state of a key is called `prefix{key}:name`, and without a name by the quota, so limiters share a state as those
    of `fastcore.limiter` in one section do. The braces make one hash tag of the key for clusters.

    policy: what happens when Redis is gone. "fail_open": everything is admitted. "fail_closed": everything is refused,
    to be tried again after `cooldown`. "fall_back_to_local": `local` decides (default: a RateLimiter of the same quota
    in this process; one with a region is exact over the workers of this machine). After a failure Redis is left alone
    for `cooldown` seconds; then one request tries it, and the others go on by the policy. So a dead Redis costs the
    client's timeout once each cooldown, and those who were waiting when it died. Answers of the first two policies have
    `enforced` False.

    `failures` counts calls of Redis that failed, `degraded` answers without Redis; `last_error` is the last exception.
    """

    def __init__(
        self,
        client: Any,
        rate: float,
        period: float = 1.0,
        burst: int | None = None,
        *,
        name: str = "",
        prefix: str = "fastcore:limit:",
        policy: Policy = "fail_open",
        local: RateLimiter | None = None,
        cooldown: float = 1.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        if burst is not None and burst == 0 and not isinstance(burst, bool):
            raise ValueError("burst is at least 1, not 0")
        self.quota = Quota(rate, period, 0 if burst is None else burst)
        super().__init__(client, [self.quota], name, prefix, policy, cooldown, timer)
        self.local = local
        if policy == "fall_back_to_local" and local is None:
            self.local = RateLimiter(rate, period, self.quota.burst)

    @classmethod
    def connect(cls, url: str, rate: float, period: float = 1.0, burst: int | None = None, **options: Any) -> Self:
        """With a client of its own that waits `timeout` seconds (0.1) for a connection or an answer, and tries once."""
        made = cls(_client(url, options), rate, period, burst, **options)
        made._owns_client = True
        return made

    def hit(self, key: Key, cost: int = 1, now: float | None = None) -> Answer:
        """As `RateLimiter.hit`; `now` in seconds, by default Redis's own clock (microseconds)."""
        found = self._answers("hit", key, cost, now)
        if found is None:
            self.degraded += 1
            found = self._by_policy() if self.local is None else [self.local.hit(key, cost)]
        return found[0]

    def peek(self, key: Key, cost: int = 1, now: float | None = None) -> Answer:
        """As `RateLimiter.peek`."""
        found = self._answers("peek", key, cost, now)
        if found is None:
            self.degraded += 1
            found = self._by_policy() if self.local is None else [self.local.peek(key, cost)]
        return found[0]

    def test(self, key: Key, cost: int = 1, now: float | None = None) -> bool:
        """Would `hit` be allowed? Charges nothing."""
        return self.peek(key, cost, now).allowed

    def reset(self, key: Key, now: float | None = None) -> bool:
        """Forgets what the key has used, in Redis and in `local`. True if there was something."""
        there = self._reset(key, now)
        return (self.local is not None and self.local.reset(key)) or there


class RedisRateLimits(_Limits):
    """Several quotas on the same requests, all or nothing in one script. Options as for RedisRateLimiter."""

    def __init__(
        self,
        client: Any,
        *quotas: Quota,
        name: str = "",
        prefix: str = "fastcore:limit:",
        policy: Policy = "fail_open",
        local: RateLimits | None = None,
        cooldown: float = 1.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        if not quotas or len(set(quotas)) < len(quotas):
            raise ValueError("there is at least one quota, and each is there once")
        self.quotas = quotas
        super().__init__(client, quotas, name, prefix, policy, cooldown, timer)
        self.local = local
        if policy == "fall_back_to_local" and local is None:
            self.local = RateLimits(*(RateLimiter(q.rate, q.period, q.burst) for q in quotas))

    @classmethod
    def connect(cls, url: str, *quotas: Quota, **options: Any) -> Self:
        """With a client of its own, as `RedisRateLimiter.connect`."""
        made = cls(_client(url, options), *quotas, **options)
        made._owns_client = True
        return made

    def hit(self, key: Key, cost: int = 1, now: float | None = None) -> Answers:
        """As `RateLimits.hit`."""
        found = self._answers("hit", key, cost, now)
        if found is None:
            self.degraded += 1
            return Answers(self._by_policy()) if self.local is None else self.local.hit(key, cost)
        return Answers(found)

    def peek(self, key: Key, cost: int = 1, now: float | None = None) -> Answers:
        """As `RateLimits.peek`."""
        found = self._answers("peek", key, cost, now)
        if found is None:
            self.degraded += 1
            return Answers(self._by_policy()) if self.local is None else self.local.peek(key, cost)
        return Answers(found)

    def test(self, key: Key, cost: int = 1, now: float | None = None) -> bool:
        """Would `hit` be allowed? Charges nothing."""
        return self.peek(key, cost, now).allowed

    def reset(self, key: Key, now: float | None = None) -> bool:
        """As `RateLimits.reset`, in Redis and in `local`."""
        there = self._reset(key, now)
        return (self.local is not None and self.local.reset(key)) or there


def _client(url: str, options: dict[str, Any]) -> Any:
    timeout = options.pop("timeout", 0.1)
    return redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
    )
