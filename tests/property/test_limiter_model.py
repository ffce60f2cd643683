"""RateLimiter, its table and its arithmetic against exact fractions (tests/models/limiter.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcore.limiter import Gcra, Quota, RateLimiter, RateLimits
from fastcore.shm import Region
from models.limiter import NS, Model, over_the_promise

BEGIN = 1000 * NS

quotas = st.tuples(
    st.sampled_from([1, 2, 3, 7, 10, 1000, 999_983, 3_000_000, 7 * 10**9]),
    st.sampled_from([1, 7, 1000, NS // 3, NS, 60 * NS, 86400 * NS]),
    st.sampled_from([1, 2, 3, 5, 100, 10**6]),
).filter(lambda quota: quota[1] * quota[2] < quota[0] * 2**61)  # a burst of less than 73 years
steps = st.lists(
    st.tuples(
        st.sampled_from(["hit", "hit", "hit", "hit", "peek", "reset"]),
        st.sampled_from(["a", b"a", 1, ("a", "b"), ("ab",)]),
        st.sampled_from([0, 1, 1, 1, 2, 3, 100, 101, 10**6, 2**70]),
        st.one_of(
            st.just(0),
            st.integers(0, 2 * NS),
            st.integers(-NS, 100 * NS),
            st.sampled_from([-100 * NS, 86400 * NS]),
        ),
    ),
    max_size=60,
)


def quota_of(rate: int, period_ns: int, burst: int) -> Quota:
    return Quota(rate, period_ns / NS, burst)


@pytest.mark.parametrize("shared", [False, True])
@given(quota=quotas, script=steps)
def test_every_answer_is_the_models(shared: bool, quota: tuple[int, int, int], script: list) -> None:
    model = Model(*quota)
    exact = quota_of(*quota)
    # Room for all: a key that is idle makes room for others, which shows when time then runs backwards.
    limiter = RateLimiter(exact.rate, exact.period, exact.burst, Region(1 << 20) if shared else None, capacity=10_000)
    now = BEGIN
    for what, key, cost, step in script:
        now = max(0, now + step)
        moment = now / NS
        if what == "reset":
            assert limiter.reset(key, now=moment) == model.reset(key, now)
        else:
            answer = getattr(limiter, what)(key, cost, now=moment)
            expected = model.hit(key, now, cost, charge=False)
            assert answer[0] == expected[0] and answer[3] == expected[3]
            if what == "hit":
                expected = model.hit(key, now, cost)
            assert tuple(answer) == expected
            assert bool(answer) == expected[0] and answer.enforced


@given(quota=quotas, script=steps)
def test_no_stretch_of_time_admits_more_than_promised(quota: tuple[int, int, int], script: list) -> None:
    exact = quota_of(*quota)
    limiter = RateLimiter(exact.rate, exact.period, exact.burst, capacity=100)
    now, log = BEGIN, []
    for _, _, cost, step in script:
        now += abs(step)
        if limiter.hit("k", cost, now=now / NS) and cost:
            log.append((now, cost))
    assert over_the_promise(log, *quota) < 1  # never by one: only the last unit of a burst may be rounded


@given(
    rate=st.integers(1, 2**64 - 1),
    period_ns=st.integers(1, 2**62),
    burst=st.integers(1, 2**64 - 1),
    tat=st.integers(0, 2**63 - 1),
    now=st.integers(0, 2**62 - 1),
    cost=st.integers(0, 2**70),
)
def test_the_arithmetic_at_its_ends(rate: int, period_ns: int, burst: int, tat: int, now: int, cost: int) -> None:
    model = Model(rate, period_ns, burst)
    quota = _Whole(rate, period_ns, burst)
    if model.span > 2**62:
        with pytest.raises(ValueError, match="146 years"):
            Gcra(quota)
        return
    gcra = Gcra(quota)
    assert gcra.span_ns == model.span
    model.nothing_used_at["k"] = tat
    assert tuple(gcra.peek(tat, now, cost)) == model.hit("k", now, cost, charge=False)
    new, answer = gcra.decide(tat, now, cost)
    assert tuple(answer) == model.hit("k", now, cost)
    assert new == model.nothing_used_at["k"] < 2**63


class _Whole:
    """A quota given in whole nanoseconds, which no float could express."""

    def __init__(self, rate: int, period_ns: int, burst: int) -> None:
        self.burst = burst
        self.whole = lambda: (rate, period_ns)

    def __str__(self) -> str:
        return "a quota"


@given(quotas=st.lists(quotas, min_size=2, max_size=4, unique=True), script=steps)
def test_several_limits_are_all_or_nothing(quotas: list, script: list) -> None:
    models = [Model(*quota) for quota in quotas]
    limits = RateLimits(*(RateLimiter(q.rate, q.period, q.burst) for q in (quota_of(*quota) for quota in quotas)))
    now = BEGIN
    for what, key, cost, step in script:
        now += abs(step)
        before = [model.hit(key, now, cost, charge=False) for model in models]
        if what == "peek":
            assert [tuple(answer) for answer in limits.peek(key, cost, now=now / NS)] == before
        else:
            answers = limits.hit(key, cost, now=now / NS)
            assert bool(answers) == models[0].hit_all(models[1:], key, now, cost)
            if not answers:
                assert [tuple(answer) for answer in answers] == before


texts = st.text(max_size=8)
parts = st.one_of(texts, st.binary(max_size=8), st.integers(-(2**80), 2**80))
keys = st.one_of(parts, st.lists(parts, min_size=1, max_size=4).map(tuple))


@given(st.lists(keys, max_size=30))
def test_keys_are_told_apart(found: list) -> None:
    limiter = RateLimiter(1, 3600, capacity=1000)
    seen = set()
    for key in found:
        name = (type(key), key) if not isinstance(key, tuple) else (tuple, tuple((type(part), part) for part in key))
        assert limiter.hit(key, now=5.0).allowed == (name not in seen)
        seen.add(name)
