"""fastcore.concurrency in one process; over killed ones it is tests/integration/test_limiter_processes.py's."""

import gc
import math
import os

import pytest

from fastcore.concurrency import PLACES, AdaptiveLimiter, ConcurrencyLimiter, LimitExceeded
from fastcore.shm import Region, RegionError


@pytest.fixture(params=[False, True], ids=["process", "region"])
def region(request: pytest.FixtureRequest) -> Region | None:
    return Region(1 << 20) if request.param else None


def test_as_many_as_the_limit(region: Region | None) -> None:
    limiter = ConcurrencyLimiter(2, region)
    assert limiter.acquire() and limiter.acquire() and not limiter.acquire()
    assert (limiter.held, limiter.in_use, limiter.limit) == (2, 2, 2)
    limiter.release()
    with limiter as same:
        assert same is limiter and limiter.held == 2
        with pytest.raises(LimitExceeded, match="2 at once"), limiter:
            pass
        assert limiter.held == 2
    assert repr(limiter) == "<ConcurrencyLimiter 1 of 2>"
    limiter.release()
    with pytest.raises(RuntimeError, match="more often"):
        limiter.release()
    with pytest.raises(KeyError), limiter:
        raise KeyError
    assert limiter.in_use == 0


def test_the_limit_changes(region: Region | None) -> None:
    limiter = ConcurrencyLimiter(3, region)
    assert all(limiter.acquire() for _ in range(3))
    limiter.limit = 1
    for _ in range(2):
        limiter.release()
        assert not limiter.acquire()
    limiter.release()
    assert limiter.acquire() and not limiter.acquire()
    limiter.limit = 2
    assert limiter.acquire()
    for bad in (0, -1, PLACES + 1, 2**40):
        with pytest.raises(ValueError, match="the limit is"):
            limiter.limit = bad
    with pytest.raises(TypeError):
        limiter.limit = "2"


def test_limiters_of_a_section_share_it() -> None:
    region = Region(1 << 20)
    one, two = (ConcurrencyLimiter(3, region) for _ in range(2))
    assert one.acquire() and two.acquire() and one.acquire() and not two.acquire()
    assert (one.held, two.held, one.in_use) == (2, 1, 3)
    assert ConcurrencyLimiter(1, region, section="other").acquire()
    del one
    gc.collect()
    assert two.in_use == 1, "what goes away gives back"
    with pytest.raises(RegionError):
        ConcurrencyLimiter(3, region, places=5)
    region.section("junk", len(region.section("concurrency")))[:8] = b"whatever"
    with pytest.raises(RegionError, match="another layout"):
        ConcurrencyLimiter(3, region, section="junk")


def test_a_child_holds_nothing(region: Region | None) -> None:
    limiter = ConcurrencyLimiter(2, region)
    limiter.acquire()
    pid = os.fork()
    if pid == 0:
        held = limiter.held
        taken = [limiter.acquire() for _ in range(2)]
        limiter.release()
        os._exit(0 if held == 0 and taken == [True, region is None] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert limiter.held == 1
    limiter.release()


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((0,), {}, ValueError),
        ((-1,), {}, ValueError),
        ((2**21,), {}, ValueError),
        ((5,), {"places": 4}, ValueError),
        ((5,), {"places": 0}, ValueError),
        ((5,), {"look_every": -1}, ValueError),
        ((5,), {"look_every": math.nan}, ValueError),
        ((5,), {"look_every": "1"}, TypeError),
        (("5",), {}, TypeError),
        ((2.5,), {}, TypeError),
        ((5, "region"), {}, TypeError),
        ((5, None), {"section": None}, TypeError),
    ],
)
def test_bad_limits(arguments: tuple, options: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        ConcurrencyLimiter(*arguments, **options)


def test_no_process_has_number_0() -> None:
    with pytest.raises(ValueError, match="no process"):
        ConcurrencyLimiter(1).release_dead(0)
    with pytest.raises(OverflowError):
        ConcurrencyLimiter(1).release_dead(-1)


# --- adaptive ---------------------------------------------------------------------------------------------------------


def test_slower_answers_lower_the_limit() -> None:
    limiter = AdaptiveLimiter(window_samples=1)
    now = 100.0
    seen = []
    for latency in [0.01] * 20 + [0.2] * 20 + [0.01] * 20:
        n = 0
        while limiter.acquire(now):
            n += 1
        assert n == limiter.limit == limiter.inflight
        for _ in range(n - 1):
            limiter.release(latency, now + 0.5)
        now += 1
        limiter.release(latency, now)
        seen.append(limiter.limit)
    assert seen[19] > 40 and seen[39] < 20 < seen[59]
    assert 0.01 < limiter.baseline < 0.2 and limiter.inflight == 0 and not limiter.probing
    assert repr(limiter) == f"<AdaptiveLimiter 0 of {limiter.limit}>"


def test_equal_calls_give_equal_limits() -> None:
    def run() -> list[int]:
        limiter, limits = AdaptiveLimiter(window=0.1, window_samples=2, probe=3.0), []
        for i in range(1000):
            if limiter.acquire(i * 0.03):
                limiter.release(0.001 * (1 + i * 7919 % 13), i * 0.03 + 0.01, dropped=i % 97 == 0)
            limits.append(limiter.limit)
        return limits

    assert run() == run() and len(set(run())) > 3


def test_on_its_own_clock() -> None:
    limiter = AdaptiveLimiter(1, minimum=1)
    assert limiter.acquire() and not limiter.acquire()
    limiter.forget()
    assert limiter.acquire()
    limiter.release(0.5)
    for over in (limiter.forget, lambda: limiter.release(1)):
        with pytest.raises(RuntimeError, match="more often"):
            over()


@pytest.mark.parametrize(
    "options",
    [
        {"initial": 0},
        {"initial": 2},
        {"maximum": 19},
        {"minimum": 21},
        {"smoothing": 0},
        {"smoothing": math.nan},
        {"tolerance": 0.5},
        {"tolerance": math.inf},
        {"window": -1},
        {"window": math.inf},
        {"window_samples": 0},
        {"baseline_windows": 2**40},
        {"probe": math.nan},
    ],
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(ValueError):
        AdaptiveLimiter(**options)


def test_bad_times_change_nothing() -> None:
    limiter = AdaptiveLimiter()
    limiter.acquire(5)
    for latency, now, error in (
        (-1, 5, ValueError),
        (math.nan, 5, ValueError),
        (1, math.inf, ValueError),
        ("1", 5, TypeError),
        (1, "5", TypeError),
        (None, 5, TypeError),
    ):
        with pytest.raises(error):
            limiter.release(latency, now)
        assert limiter.inflight == 1
