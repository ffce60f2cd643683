"""fastcore.limiter: what the contract over all stores (tests/integration/test_limiter_stores.py) leaves out."""

import collections.abc
import contextlib
import copy
import gc
import math
import os
import pickle
import threading

import pytest

from endurance import LEAK_OPERATIONS, NOT_SANITIZED, resident
from fastcore.limiter import CAPACITY, Answer, Answers, Counts, Gcra, Quota, RateLimiter, RateLimits
from fastcore.shm import Region, RegionError

# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_like_a_tuple() -> None:
    limiter = RateLimiter(10, 1.0, 3)
    answer = limiter.hit("k", now=100)
    allowed, limit, remaining, retry_after, reset_after = answer
    assert (allowed, limit, remaining, retry_after, reset_after) == (True, 3, 2, 0.0, 0.1) == answer
    assert answer == limiter.hit("other", now=100) and hash(answer) == hash(tuple(answer))
    assert answer != limiter.hit("k", now=100) and answer != [True, 3, 2, 0.0, 0.1] and answer != None  # noqa: E711
    assert len(answer) == 5 and answer[0] is True and answer[-1] == 0.1 and answer[1:3] == (3, 2)
    assert answer.enforced is True and isinstance(answer.remaining, int) and isinstance(answer.retry_after, float)
    assert repr(answer) == "Answer(allowed=True, limit=3, remaining=2, retry_after=0.0, reset_after=0.1)"
    with pytest.raises(IndexError):
        answer[5]
    with pytest.raises(AttributeError):
        answer.limit = 4
    match answer:
        case [True, _, left, *_]:
            assert left == 2
        case _:
            pytest.fail("no sequence pattern matches")


def test_truth_is_whether_it_was_allowed() -> None:
    limiter = RateLimiter(1, 60)
    assert limiter.hit("k", now=5)
    assert not limiter.hit("k", now=5)


def test_answers_are_made_by_limiters() -> None:
    for make in (Answer, lambda: Answers([]), lambda: Answers([1]), lambda: Answers(None)):
        with pytest.raises(TypeError):
            make()
    for thing in (RateLimiter(1), RateLimiter(1).hit("k"), RateLimits(RateLimiter(1))):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.copy(thing)


def test_the_worst_answer() -> None:
    def answers(*found: Answer) -> Answers:
        return Answers(found)

    gcra = Gcra(Quota(1, 1.0, 5))
    _, most = gcra.decide(0, 0, 1)
    _, least = gcra.decide(0, 0, 4)
    soon, late, never = (gcra.peek(debt, 0, cost) for debt, cost in ((5 * 10**9, 1), (5 * 10**9, 4), (0, 6)))
    assert answers(most, least).worst == least == answers(least, most).worst
    assert answers(most, soon, least).worst == soon and answers(soon, late).worst == late
    assert answers(never, late).worst == never == answers(late, never, most).worst
    assert answers(most).allowed and not answers(most, soon)
    assert list(answers(most, soon)) == [most, soon] and answers(most, soon)[1] == soon
    assert repr(answers(most)) == f"Answers({most!r},)"


# --- quotas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("100/s", Quota(100, 1, 100)),
        ("100/minute burst 200", Quota(100, 60, 200)),
        ("10 per hour", Quota(10, 3600, 10)),
        ("10 PER Hour", Quota(10, 3600, 10)),
        ("5/15 minutes", Quota(5, 900, 5)),
        ("5 per 15m, burst: 3", Quota(5, 900, 3)),
        ("1000/1h", Quota(1000, 3600, 1000)),
        (" 0.5 / sec ", Quota(0.5, 1, 1)),
        ("1_000/day burst=10", Quota(1000, 86400, 10)),
        ("1/w", Quota(1, 604800, 1)),
        ("1/1.5s", Quota(1, 1.5, 1)),
        ("3/250ms", Quota(3, 0.25, 3)),
    ],
)
def test_parsing(text: str, quota: Quota) -> None:
    assert Quota.parse(text) == quota
    assert Quota.parse(str(quota)) == quota
    assert RateLimiter.parse(text).quota == quota


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no quota"),
        ("100", "is no quota"),
        ("/s", "is no quota"),
        ("100/fortnight", "no unit 'fortnight'"),
        ("1/month", "no unit 'month'"),
        ("-1/s", "is no quota"),
        ("0/s", "rate is above 0"),
        ("1/0s", "period is above 0"),
        ("1/s burst 0", "burst is at least 1"),
        ("1/s burst", "is no quota"),
        ("1/s; 2/m", "is no quota"),
        ("1/s burst 1.5", "is no quota"),
        ("1per s", None),
        ("\u0661/s", "is no quota"),
    ],
)
def test_what_is_no_quota(text: str, message: str | None) -> None:
    if message is None:
        assert Quota.parse(text)
        return
    with pytest.raises(ValueError, match=message):
        Quota.parse(text)


def test_several_quotas() -> None:
    assert Quota.parse_all("10/s; 1000/hour burst 50") == [Quota(10), Quota(1000, 3600, 50)]
    limits = RateLimits.parse("10/s; 1000/hour", region=Region(1 << 23), name="api")
    assert [(limiter.quota.burst, limiter.name) for limiter in limits.limiters] == [(10, "api 0"), (1000, "api 1")]


def test_a_quota_is_whole() -> None:
    assert Quota(100, 60).whole() == (100, 60 * 10**9)
    assert Quota(0.1).whole() == (1, 10**10)
    assert Quota(2.5, 0.5).whole() == (5, 10**9)
    assert Quota(0.1).burst == 1 and Quota(2.5).burst == 3
    with pytest.raises(ValueError, match="below one in"):
        Quota(1e-9).whole()
    with pytest.raises(AttributeError):
        Quota(1).rate = 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ValueError),
        ((-1,), ValueError),
        ((math.nan,), ValueError),
        ((math.inf,), ValueError),
        ((1, 0), ValueError),
        ((1, math.nan), ValueError),
        ((1, 1e-10), ValueError),
        ((1, 1.0, 0), ValueError),
        ((1, 1.0, -1), ValueError),
        ((1, 3600, 2**63), ValueError),
        ((1, 1e11), ValueError),
        ((2**64, 1), ValueError),
        (("1",), TypeError),
        ((True,), TypeError),
        ((1, 1.0, 1.5), TypeError),
        ((1, 1.0, False), TypeError),
        ((1, 1.0, None, "region"), TypeError),
        ((), TypeError),
    ],
)
def test_bad_limiters(arguments: tuple, error: type[Exception]) -> None:
    with pytest.raises(error):
        RateLimiter(*arguments)


def test_bad_options() -> None:
    for options in ({"capacity": 0}, {"capacity": 2**31}, {"when_full": "maybe"}):
        with pytest.raises(ValueError, match=r"capacity|when_full"):
            RateLimiter(1, **options)
    with pytest.raises(OverflowError):
        RateLimiter(1, capacity=-1)
    for options in ({"name": None}, {"section": None}, {"when_full": None}):
        with pytest.raises(TypeError):
            RateLimiter(1, **options)


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_full_table() -> None:
    opened, closed = (RateLimiter(1, 60, 2, capacity=8, when_full=how) for how in ("open", "closed"))
    for limiter in (opened, closed):
        refused = [limiter.hit(key, now=100) for key in range(1000)]
        unenforced = [answer for answer in refused if not answer.enforced]
        assert len(unenforced) == 1000 - 16
        assert limiter.counts(now=100) == Counts(8, 16, 1000 - 16, 0)
        assert all(answer.allowed == (limiter is opened) for answer in unenforced)
        assert sum(limiter.hit(key, 2, now=100).enforced for key in range(16)) == 16, "who was there first stays"
        assert limiter.hit("new", now=161).enforced, "and makes room once nothing is used"
        assert limiter.counts(now=161).reclaimed == 1
    assert tuple(unenforced[0]) == (False, 2, 0, 60.000000001, 60.000000001)


def test_limits_with_a_full_table() -> None:
    full = RateLimiter(1, 60, 2, capacity=8, when_full="closed")
    for key in range(100):
        full.hit(key, now=100)
    limits = RateLimits(other := RateLimiter(1, 60, 5), full)
    answers = limits.hit("new", now=100)
    assert not answers and not answers[1].enforced and answers.worst == answers[1]
    assert other.peek("new", now=100).remaining == 5


def test_limits_want_limiters_of_their_own() -> None:
    region = Region(1 << 23)
    one, same, other = (RateLimiter(1, 60, region=region, name=name) for name in ("a", "a", "b"))
    RateLimits(one, other)
    with pytest.raises(ValueError, match="share their state"):
        RateLimits(one, other, same)
    with pytest.raises(ValueError, match="1 to 16"):
        RateLimits()
    with pytest.raises(ValueError, match="1 to 16"):
        RateLimits(*(RateLimiter(1) for _ in range(17)))
    with pytest.raises(TypeError, match="is a RateLimiter"):
        RateLimits(Quota(1))


# --- the region -------------------------------------------------------------------------------------------------------


def test_processes_share_a_limit() -> None:
    region = Region(1 << 23)
    limiter = RateLimiter(5, 3600, region=region)
    pid = os.fork()
    if pid == 0:
        mine = RateLimiter(5, 3600, region=region)
        os._exit(sum(mine.hit("k").allowed for _ in range(3)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert sum(limiter.hit("k").allowed for _ in range(5)) == 2


def test_a_name_keeps_its_state_when_its_quota_changes() -> None:
    region = Region(1 << 23)
    before = RateLimiter(10, 60, region=region, name="api")
    assert before.hit("k", 10, now=100)
    assert RateLimiter(20, 60, region=region, name="api").hit("k", now=100).remaining == 0
    assert RateLimiter(20, 60, region=region).hit("k", now=100).remaining == 19


def test_sections() -> None:
    region = Region(1 << 23)
    limiter = RateLimiter(1, 60, region=region, capacity=100, section="small")
    assert limiter.hit("k", now=5) and not RateLimiter(1, 60, region=region, capacity=100, section="small").test(
        "k", now=5
    )
    assert RateLimiter(1, 60, region=region, capacity=100, section="other").hit("k", now=5)
    with pytest.raises(RegionError, match="another size"):
        RateLimiter(1, region=region, capacity=1000, section="small")
    region.section("junk", len(region.section("small")))[:8] = b"whatever"
    with pytest.raises(RegionError, match="another layout or capacity"):
        RateLimiter(1, region=region, capacity=100, section="junk")
    with pytest.raises(RegionError, match="not enough room"):
        RateLimiter(1, region=region, capacity=1 << 20, section="large")
    with pytest.raises(ValueError, match="the region is closed"):
        closed = Region(1 << 20)
        closed.close()
        RateLimiter(1, region=closed)
    assert limiter.counts().capacity * 655 + 36 == CAPACITY


def test_a_region_in_use_stays() -> None:
    region = Region(1 << 23)
    limiter = RateLimiter(1, region=region)
    with pytest.raises(BufferError, match="in use"):
        region.close()
    with pytest.raises(ValueError, match="capacity"):
        RateLimiter(1, region=region, capacity=0)
    del limiter
    gc.collect()
    region.close()


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_the_decision_alone() -> None:
    gcra = Gcra(Quota(10, 1.0, 2))
    tat, answer = gcra.decide(0, 5 * 10**9)
    assert tat == 5_100_000_000 and answer == (True, 2, 1, 0.0, 0.1)
    assert gcra.span_ns == 200_000_000 and gcra.quota == Quota(10, 1.0, 2)
    assert gcra.peek(tat, 5 * 10**9, 2) == (False, 2, 1, 0.1, 0.1)
    assert gcra.by_policy(True) == (True, 2, 2, 0.0, 0.0) and not gcra.by_policy(True).enforced
    assert gcra.by_policy(False, 1.5) == (False, 2, 0, 1.5, 1.5)
    for bad in ((-1, 0), (0, -1), (2**64, 0)):
        with pytest.raises(OverflowError):
            gcra.decide(*bad)
    for bad in ((2**63, 0), (0, 2**62)):
        with pytest.raises(ValueError, match="out of range"):
            gcra.decide(*bad)
        with pytest.raises(ValueError, match="out of range"):
            gcra.peek(*bad)
    for bad in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="retry_after"):
            gcra.by_policy(False, bad)
    with pytest.raises(AttributeError):
        Gcra("10/s")


class Rude(str):
    """Its methods raise; a key is its text, and none of them is called."""

    def __hash__(self) -> int:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def encode(self, *_: object) -> bytes:
        raise RuntimeError


class RudeInt(int):
    def __index__(self) -> int:
        raise RuntimeError

    def __mul__(self, other: object) -> int:
        raise RuntimeError


def test_subclasses_are_taken_for_what_they_hold() -> None:
    limiter = RateLimiter(1, 60, 2)
    assert limiter.hit("k", now=5) and limiter.hit(Rude("k"), now=5) and not limiter.hit(Rude("k"), now=5)
    assert limiter.hit(RudeInt(7), RudeInt(2), now=5) and not limiter.hit(7, now=5)
    with pytest.raises(RuntimeError):
        limiter.hit("other", now=RudeInt(5))
    assert limiter.peek("other", now=5).remaining == 2


def test_threads_share_a_limiter() -> None:
    limiter = RateLimiter(1, 3600, 5000)
    admitted: list[int] = []
    threads = [
        threading.Thread(target=lambda: admitted.append(sum(limiter.hit("k").allowed for _ in range(3000))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 5000


def test_introspection() -> None:
    limiter = RateLimiter(10, 60, name="api")
    assert repr(limiter) == "<RateLimiter api: 10/60s burst 10>"
    assert limiter.name == "api" and isinstance(limiter.counts(), Counts)
    assert not isinstance(limiter, collections.abc.Sequence)
    assert "redis-cell" in Answer.__doc__ and "random key" in RateLimiter.__doc__


@NOT_SANITIZED
def test_nothing_leaks() -> None:
    limiter, limits = RateLimiter(10, 1.0, capacity=1000), RateLimits.parse("10/s; 20/m")

    def use(operations: int) -> None:
        for i in range(operations // 10):
            limiter.hit(f"user {i}")
            limiter.peek(("a" * 600, i, b"x", 2**70 + i))
            tuple(limits.hit(i).worst)
            limits.peek(i)
            for bad in (None, ("a" * 600, None), ()):
                with contextlib.suppress(TypeError, ValueError):
                    limiter.hit(bad)
            if i % 50 == 0:
                RateLimiter(5, region=Region(1 << 22), capacity=100).hit(1)
                Quota.parse("100/minute burst 200")

    use(LEAK_OPERATIONS // 4)
    before = resident()
    use(LEAK_OPERATIONS)
    assert resident() - before < 1 << 20
