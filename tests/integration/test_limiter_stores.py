"""One contract, three stores: the limiter in a process, in a shared region and in Redis answer alike."""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import RedisServer

from fastcore.limiter import Quota, RateLimiter, RateLimits
from fastcore.limiter_redis import RedisRateLimiter, RedisRateLimits
from fastcore.shm import Region
from models.limiter import NS, Model

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"))
    yield running
    running.close()


@pytest.fixture(params=["process", "region", "redis"])
def store(request: pytest.FixtureRequest, server: RedisServer) -> Any:
    """What makes limiters: `store.limiter(rate, period, burst)`, `store.limits(quotas)`."""
    return {"process": Process, "region": Shared, "redis": InRedis}[request.param](server)


class Process:
    def __init__(self, _server: RedisServer) -> None:
        self.options: dict[str, Any] = {}

    def limiter(self, *quota: Any, **options: Any) -> Any:
        return RateLimiter(*quota, **self.options, **options)

    def limits(self, *quotas: Quota) -> Any:
        return RateLimits(*(self.limiter(quota.rate, quota.period, quota.burst) for quota in quotas))


class Shared(Process):
    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        self.options = {"region": Region(1 << 20), "capacity": 1000}


class InRedis(Process):
    def __init__(self, server: RedisServer) -> None:
        self.client = server.client()
        self.client.flushall()

    def limiter(self, *quota: Any, **options: Any) -> Any:
        return RedisRateLimiter(self.client, *quota, **options)

    def limits(self, *quotas: Quota) -> Any:
        return RedisRateLimits(self.client, *quotas)


def test_a_burst_and_then_the_rate(store: Any) -> None:
    limiter = store.limiter(10, 1.0, 3)
    assert [tuple(limiter.hit("k", now=100)) for _ in range(4)] == [
        (True, 3, 2, 0.0, 0.1),
        (True, 3, 1, 0.0, 0.2),
        (True, 3, 0, 0.0, 0.3),
        (False, 3, 0, 0.1, 0.3),
    ]
    assert not limiter.hit("k", now=100.099999999)
    assert limiter.hit("k", now=100.1) and not limiter.hit("k", now=100.1)
    assert tuple(limiter.peek("k", now=100.1)) == (False, 3, 0, 0.1, 0.3)
    assert tuple(limiter.peek("k", now=100.2)) == (True, 3, 1, 0.0, 0.2)
    assert limiter.test("k", now=100.2) and not limiter.test("k", 2, now=100.2)
    assert tuple(limiter.hit("other", now=100)) == (True, 3, 2, 0.0, 0.1)


def test_costs(store: Any) -> None:
    limiter = store.limiter(10, 1.0, 5)
    assert tuple(limiter.hit("k", 0, now=100)) == (True, 5, 5, 0.0, 0.0)
    assert tuple(limiter.hit("k", 6, now=100)) == (False, 5, 5, math.inf, 0.0)
    assert tuple(limiter.hit("k", 2**80, now=100)) == (False, 5, 5, math.inf, 0.0)
    assert tuple(limiter.hit("k", 4, now=100)) == (True, 5, 1, 0.0, 0.4)
    assert tuple(limiter.hit("k", 4, now=100)) == (False, 5, 1, 0.3, 0.4)
    assert limiter.hit("k", 4, now=100.3)
    assert limiter.hit("k", 0, now=100.3).allowed


def test_reset(store: Any) -> None:
    limiter = store.limiter(1, 60, 1)
    assert not limiter.reset("k", now=100)
    assert limiter.hit("k", now=100) and not limiter.hit("k", now=100)
    assert limiter.reset("k", now=100) and not limiter.reset("k", now=100)
    assert limiter.hit("k", now=100)


def test_a_clock_that_steps_back(store: Any) -> None:
    limiter = store.limiter(10, 1.0, 5)
    assert limiter.hit("k", 5, now=1000)
    assert not limiter.hit("k", now=940)  # up to a minute it is a slow process
    assert tuple(limiter.hit("k", now=900)) == (False, 5, 0, 0.1, 0.5)
    assert limiter.hit("k", 5, now=900.5)


def test_its_own_clock(store: Any) -> None:
    limiter = store.limiter(1, 3600, 2)
    assert limiter.hit("k").remaining == 1 and limiter.hit("k")
    answer = limiter.hit("k")
    assert not answer and 3590 < answer.retry_after <= 3600 and 7190 < answer.reset_after <= 7200
    soon = store.limiter(20, 1.0, 1)
    while (answer := soon.hit("k")).allowed:  # on a busy machine 50 ms may pass between two lines
        pass
    time.sleep(answer.retry_after)  # what it says is what it takes
    assert soon.hit("k")


def test_keys(store: Any) -> None:
    limiter = store.limiter(1, 3600)
    different = [
        "1",
        b"1",
        1,
        ("1",),
        (b"1",),
        (1,),
        ("a", "bc"),
        ("ab", "c"),
        ("a", "b", "c"),
        "",
        b"",
        "a}b",
        ("}", 1),
    ]
    different += [
        -1,
        2**64,
        -(2**64),
        2**64 + 1,
        255,
        256,
        "é",
        ("s1:x", "y"),
        ("s1", ":xy"),
        "x" * 5000,
        ("x" * 600, 1),
    ]
    for key in different:
        assert limiter.hit(key, now=5), key
        assert not limiter.hit(key, now=5), key
    assert not limiter.hit(True, now=5)  # as in a dict
    for bad, error in (
        (None, TypeError),
        (1.5, TypeError),
        ((), ValueError),
        (("a", None), TypeError),
        ([], TypeError),
    ):
        with pytest.raises(error):
            limiter.hit(bad)
    with pytest.raises(TypeError):
        limiter.hit((("a",),))
    with pytest.raises(UnicodeEncodeError):
        limiter.hit("\ud800")


@pytest.mark.parametrize(
    ("cost", "now", "error"),
    [
        (-1, None, ValueError),
        (-(2**70), None, ValueError),
        (1.0, None, TypeError),
        ("1", None, TypeError),
        (1, -1, ValueError),
        (1, -1.0, ValueError),
        (1, math.nan, ValueError),
        (1, math.inf, ValueError),
        (1, 2**40, ValueError),
        (1, "5", TypeError),
    ],
)
def test_bad_arguments_charge_nothing(store: Any, cost: Any, now: Any, error: type[Exception]) -> None:
    limiter, limits = store.limiter(1, 3600, 2), store.limits(Quota(1, 3600, 2), Quota(1, 60, 2))
    for one in (limiter, limits):
        with pytest.raises(error):
            one.hit("k", cost, now)
        assert one.peek("k", 2).allowed


def test_limiters_are_apart(store: Any) -> None:
    first, second, third = store.limiter(1, 60), store.limiter(2, 60), store.limiter(1, 60, name="named")
    for limiter in (first, second, third):
        assert limiter.hit("k", now=5)
    assert not first.hit("k", now=5) and second.hit("k", now=5) and not third.hit("k", now=5)


def test_several_at_once(store: Any) -> None:
    limits = store.limits(Quota(10, 1, 3), Quota(20, 60, 5))
    assert all(limits.hit("k", now=100) for _ in range(3))
    answers = limits.hit("k", now=100)
    assert not answers and [tuple(answer) for answer in answers] == [(False, 3, 0, 0.1, 0.3), (True, 5, 2, 0.0, 9.0)]
    assert answers.worst == answers[0] and len(answers) == 2
    assert limits.hit("k", 2, now=101)
    answers = limits.hit("k", now=101)
    assert not answers and answers.worst == answers[1] and answers[0].remaining == 1
    assert limits.test("k", 0, now=101) and not limits.test("k", now=101)
    assert limits.reset("k", now=101) and limits.hit("k", 3, now=101)


def test_long_periods_stay_exact(store: Any) -> None:
    """A year in ns is above 2**53: Lua's doubles alone would lose the last ones."""
    limiter = store.limiter(7, 365 * 86400, 3)
    interval = -(-365 * 86400 * NS // 7)
    for used in range(1, 4):
        assert limiter.hit("k", now=1_700_000_000).reset_after == used * interval / NS
    model = Model(7, 365 * 86400 * NS, 3)
    for _ in range(3):
        model.hit("k", 1_700_000_000 * NS)
    assert tuple(limiter.hit("k", now=1_700_000_000)) == model.hit("k", 1_700_000_000 * NS)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    quota=st.tuples(st.sampled_from([1, 3, 1000, 3_000_000]), st.sampled_from([1, NS, 60 * NS]), st.integers(1, 100)),
    script=st.lists(
        st.tuples(
            st.sampled_from(["hit", "hit", "peek", "reset"]),
            st.sampled_from([0, 1, 1, 2, 100, 101]),
            st.one_of(st.integers(0, 1000), st.integers(-NS, 100 * NS), st.just(-200 * NS)),
        ),
        max_size=30,
    ),
)
def test_the_model_agrees(store: Any, quota: tuple[int, int, int], script: list) -> None:
    model = Model(*quota)
    limiter = store.limiter(quota[0], quota[1] / NS, quota[2])
    now = 1000 * NS
    limiter.reset("k", now=now / NS)
    for what, cost, step in script:
        now = max(0, now + step)
        if what == "reset":
            assert limiter.reset("k", now=now / NS) == model.reset("k", now)
        elif what == "hit":
            assert tuple(limiter.hit("k", cost, now=now / NS)) == model.hit("k", now, cost)
        else:
            assert tuple(limiter.peek("k", cost, now=now / NS)) == model.hit("k", now, cost, charge=False)


# --- what only Redis has ----------------------------------------------------------------------------------------------


def test_clients_share_a_limit(server: RedisServer) -> None:
    server.client().flushall()
    one, other = (server.clients.enter_context(RedisRateLimiter.connect(server.url, 5, 3600)) for _ in range(2))
    assert sum(limiter.hit("k").allowed for _ in range(5) for limiter in (one, other)) == 5


def test_states_expire(server: RedisServer) -> None:
    client = server.client()
    client.flushall()
    RedisRateLimiter(client, 10, 1.0, name="n").hit("k")
    assert client.keys() == [b"fastcore:limit:{s:k}:n"]
    assert client.ttl("fastcore:limit:{s:k}:n") in (0, 1)
    RedisRateLimits(client, Quota(1, 1), Quota(1, 60), name="n", prefix="p:").hit(("a", 1))
    assert sorted(client.keys("p:*")) == [b"p:{t:s1:ai1:1}:n", b"p:{t:s1:ai1:1}:n 1"]


def test_a_forgotten_script_is_sent_again(server: RedisServer) -> None:
    client = server.client()
    limiter = RedisRateLimiter(client, 10, 3600, 5)
    client.flushall()
    client.script_flush()
    assert limiter.hit("k").remaining == 4
    client.script_flush()
    assert limiter.hit("k").remaining == 3


def test_a_key_of_another_kind_is_an_error(server: RedisServer) -> None:
    client = server.client()
    client.flushall()
    client.lpush("fastcore:limit:{s:k}:n", "x")
    with pytest.raises(redis.ResponseError):
        RedisRateLimiter(client, 10, name="n").hit("k")


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lost(tmp_path: Any) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path)
    yield running
    running.close()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_redis_gone_and_back(lost: RedisServer, how: str) -> None:
    clock = Time()
    options = {"timeout": 0.2, "timer": clock, "cooldown": 2.0}
    opened = lost.clients.enter_context
    limiters = {
        policy: opened(RedisRateLimiter.connect(lost.url, 2, 3600, policy=policy, **options))
        for policy in ("fail_open", "fail_closed", "fall_back_to_local")
    }
    options["policy"] = "fall_back_to_local"
    limits = opened(RedisRateLimits.connect(lost.url, Quota(2, 3600), Quota(5, 7200), **options))
    for name, limiter in [*limiters.items(), ("several", limits)]:
        assert limiter.hit((name, "k"))
    lost.stop() if how == "killed" else lost.freeze()

    begin = time.monotonic()
    free = [limiters["fail_open"].hit("k") for _ in range(1000)]
    assert all(free) and not any(answer.enforced for answer in free)
    closed = [limiters["fail_closed"].hit("k") for _ in range(1000)]
    assert not any(closed) and tuple(closed[-1]) == (False, 2, 0, 2.0, 2.0) and not closed[-1].enforced
    assert sum(limiters["fall_back_to_local"].hit("k").allowed for _ in range(1000)) == 2
    assert sum(limits.hit("k").allowed for _ in range(1000)) == 2
    assert time.monotonic() - begin < 60, "each waits for Redis once, not 1000 times for 0.2 s"
    for limiter in (*limiters.values(), limits):
        assert (limiter.failures, limiter.degraded) == (1, 1000)
        assert isinstance(limiter.last_error, redis.ConnectionError | redis.TimeoutError)
    assert limiters["fail_closed"].test("k") is False and limiters["fall_back_to_local"].reset("k")

    clock.now += 2.0  # one tries again, and finds it gone
    assert not limiters["fail_closed"].hit("k") and limiters["fail_closed"].failures == 2
    assert not limiters["fail_closed"].hit("k") and limiters["fail_closed"].failures == 2

    lost.start() if how == "killed" else lost.thaw()
    clock.now += 2.0
    for name, limiter in limiters.items():
        answer = limiter.hit((name, "back"))
        assert answer and answer.enforced and answer.remaining == 1
        assert limiter.hit((name, "back")).remaining == 0 and not limiter.hit((name, "back"))


def test_greenlets_wait_side_by_side(lost: RedisServer) -> None:
    """While one waits for a frozen Redis, others run; redis-py over a patched socket does that, and we hold no lock."""
    limiter = lost.clients.enter_context(RedisRateLimiter.connect(lost.url, 2, 3600, policy="fail_closed", timeout=0.3))
    assert limiter.hit("k")
    lost.freeze()
    script = f"""
import gevent.monkey; gevent.monkey.patch_all()
import gevent, time
from fastcore.limiter_redis import RedisRateLimiter
limiter = RedisRateLimiter.connect({lost.url!r}, 2, 3600, policy="fail_closed", timeout=1.0)
turns = 0
def count():
    global turns
    while True:
        turns += 1
        gevent.sleep(0.01)
gevent.spawn(count)
begin = time.monotonic()
waiting = [gevent.spawn(limiter.hit, "k") for _ in range(20)]
gevent.joinall(waiting)
assert not any(one.value for one in waiting)
assert time.monotonic() - begin < 10 and turns > 20, turns
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "hope"}, "policy is"),
        ({"cooldown": 0}, "cooldown is"),
        ({"cooldown": math.nan}, "cooldown is"),
        ({"prefix": "{x}"}, "braces"),
        ({"burst": 0}, "burst"),
        ({"burst": -1}, "burst"),
        ({"rate": 0}, "rate"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RedisRateLimiter(redis.Redis(), **{"rate": 1, **options})
    with pytest.raises(ValueError, match="each is there once"):
        RedisRateLimits(redis.Redis(), Quota(1), Quota(1))
