"""Limits over processes that are killed at any moment and replaced: never more than the bound, and hardly less.

FASTCORE_SOAK_SECONDS (3) is how long each soak lasts.
"""

import array
import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from servers import eventually

from endurance import SOAK_SECONDS, SOAK_TIMEOUT
from fastcore.concurrency import ConcurrencyLimiter
from fastcore.limiter import RateLimiter
from fastcore.shm import Region

pytestmark = SOAK_TIMEOUT

WORKERS = 4
KEYS = 1000


class Crowd:
    """WORKERS forked processes that run `work(number)` for ever; `kill_one` replaces one after kill -9."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self.work = work
        self.kills = 0
        self.pids: list[int] = []
        for number in range(WORKERS):
            self.pids.append(self.fork(number))

    def fork(self, number: int) -> int:
        pid = os.fork()
        if pid == 0:
            self.pids = []
            try:
                self.work(number)
            finally:
                os._exit(1)
        return pid

    def kill(self, number: int) -> int:
        pid = self.pids[number]
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "a worker ended by itself"
        return pid

    def kill_one(self) -> int:
        number = random.randrange(WORKERS)
        pid = self.kill(number)
        self.kills += 1
        self.pids[number] = self.fork(number)
        return pid

    def end(self) -> None:
        while self.pids:
            self.kill(len(self.pids) - 1)
            self.pids.pop()

    def __del__(self) -> None:
        self.end()  # a test that failed leaves no worker behind


def columns(region: Region, name: str) -> list[memoryview]:
    """For each worker one count for each key, which only it writes."""
    whole = region.section(name, WORKERS * KEYS * 8).cast("Q")
    return [whole[i * KEYS : (i + 1) * KEYS] for i in range(WORKERS)]


@pytest.mark.timeout(2 * SOAK_SECONDS + 60)
@pytest.mark.parametrize(
    ("capacity", "rate", "burst"),
    [
        pytest.param(2000, 50, 20, id="keys that stay"),
        # A bucket is full again after 5 ms, and there is room for a tenth of the keys: entries are taken over all the time.
        pytest.param(50, 200, 1, id="keys that come and go"),
    ],
)
def test_never_above_the_bound(capacity: int, rate: int, burst: int) -> None:
    region = Region(1 << 22)
    counts = columns(region, "admitted")
    begin = time.monotonic()

    def work(number: int) -> None:
        limiter = RateLimiter(rate, 1.0, burst, region, capacity=capacity, when_full="closed")
        mine = counts[number]
        keys = list(range(KEYS))
        random.seed()
        while True:
            random.shuffle(keys)
            for key in keys:
                if limiter.hit(key):
                    mine[key] += 1

    crowd = Crowd(work)
    samples = []
    while time.monotonic() - begin < SOAK_SECONDS:
        before = time.monotonic()
        seen = array.array("Q", map(sum, zip(*counts, strict=True)))
        samples.append((before, seen, time.monotonic()))
        time.sleep(random.uniform(0.01, 0.05))
        crowd.kill_one()
    crowd.end()
    elapsed = time.monotonic() - begin

    totals = [sum(column) for column in zip(*counts, strict=True)]
    assert crowd.kills >= 5 * SOAK_SECONDS and sum(totals) > KEYS * burst
    for key, total in enumerate(totals):
        # A worker killed between a hit and its count only lowers the total.
        assert total <= burst + elapsed * rate + 1, f"key {key}: {total} in {elapsed} s"
    # The same from any sample to the last. What a worker had been admitted and not yet counted is one for each worker.
    last, seen_last, after_last = samples[-1]
    for first, seen_first, _ in samples[:-1]:
        most = burst + (after_last - first) * rate + 1 + WORKERS
        assert all(b - a <= most for a, b in zip(seen_first, seen_last, strict=True)), (first, last)
    limiter = RateLimiter(rate, 1.0, burst, region, capacity=capacity, when_full="closed")
    time.sleep(burst / rate + 0.01)
    assert limiter.hit("a new key", burst).remaining == 0, "nothing of the dead is in the way"
    assert limiter.counts().live <= 1
    if capacity > KEYS:
        # Nor does it admit much less, though the machine may be too busy to ask for all of it.
        assert sum(totals) >= KEYS * (burst + 0.2 * elapsed * rate)


@pytest.mark.timeout(2 * SOAK_SECONDS + 60)
def test_places_of_the_dead_come_back() -> None:
    region = Region(1 << 20)
    limit = 3
    inside = region.section("inside", 8 * WORKERS * 8).cast("Q")

    def work(number: int) -> None:
        limiter = ConcurrencyLimiter(limit, region, look_every=0.001)
        inside[8 * number] = 0
        while True:
            if limiter.acquire():
                inside[8 * number] = 1
                others = sum(inside[8 * i] for i in range(WORKERS))
                inside[8 * number + 1] = max(inside[8 * number + 1], others)
                inside[8 * number] = 0
                inside[8 * number + 2] += 1
                limiter.release()

    crowd = Crowd(work)
    mine = ConcurrencyLimiter(limit, region)
    begin = time.monotonic()
    while time.monotonic() - begin < SOAK_SECONDS:
        time.sleep(random.uniform(0.005, 0.02))
        dead = crowd.kill_one()
        if random.random() < 0.3:
            mine.release_dead(dead)
    served = [inside[8 * i + 2] for i in range(WORKERS)]
    eventually(lambda: all(inside[8 * i + 2] > served[i] for i in range(WORKERS)), "everybody gets in")
    last = list(crowd.pids)
    crowd.end()
    for pid in last:
        mine.release_dead(pid)
    assert mine.in_use == 0
    assert max(inside[8 * i + 1] for i in range(WORKERS)) >= 1
    assert all(mine.acquire() for _ in range(limit)) and not mine.acquire()


def test_a_refused_one_finds_the_dead() -> None:
    region = Region(1 << 20)
    limiter = ConcurrencyLimiter(2, region)

    def hold(_: int) -> None:
        limiter.acquire()
        signal.pause()

    crowd = Crowd(hold)
    eventually(lambda: limiter.in_use == 2)
    assert not limiter.acquire()
    crowd.end()
    eventually(limiter.acquire, "looked for at most once a second")
    assert (limiter.held, limiter.in_use) == (1, 1)
