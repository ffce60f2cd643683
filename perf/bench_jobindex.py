"""The job index and the timer wheel against what one writes in Python: `what | ours | peer | ratio`.

usage: python -m perf.bench_jobindex [--rounds N] [--quick]

A million jobs with 24-character ids wait in 4 queues with 3 priorities, run_at spread over an hour; each operation is
done to 100,000 of them. Peers: a sorted list (sortedcontainers) for each queue and priority beside a dict by id; and a
heap for each, where claiming skips what has left the dict. Both keep the order ours keeps; neither has fair shares,
protection from starvation, counts of ready jobs or bounds. Goals: to add, remove and claim faster than the sorted list,
and to add and claim faster than the heap, whose removing is deleting from a dict and cannot be beaten.

Timers: a million in the wheel; peers are a heap with lazily deleted entries, which is what asyncio does, and sched of
the standard library, which searches its heap to cancel and is therefore asked for 50 of them.

C figures (perf/bench_jobindex.c, compiled here with the flags of setup.py) have no peer; best of five.
"""

import heapq
import random
import sched
import sys
import time
from typing import Any

import sortedcontainers

from fastcore.jobindex import JobIndex
from fastcore.timers import TimerWheel
from perf import cprogram, microbench

HOUR = 3_600_000
QUEUES = ["q0", "q1", "q2", "q3"]
PRIORITIES = [2, 1, 0]

Entry = tuple[str, str, int, int]  # id, queue, priority, run_at


class SortedIndex:
    """A sorted list for each queue and priority, a dict by id."""

    def __init__(self) -> None:
        self.lists: dict[tuple[str, int], Any] = {}
        self.jobs: dict[str, Entry] = {}

    def add(self, id: str, queue: str, priority: int, run_at: int) -> None:
        key = (queue, priority)
        if id in self.jobs:
            raise ValueError(id)
        if key not in self.lists:
            self.lists[key] = sortedcontainers.SortedList()
        self.jobs[id] = (id, queue, priority, run_at)
        self.lists[key].add((run_at, id))

    def remove(self, id: str) -> None:
        _, queue, priority, run_at = self.jobs.pop(id)
        self.lists[queue, priority].remove((run_at, id))

    def claim(self, queues: list[str], now: int) -> Entry | None:
        for queue in queues:
            for priority in PRIORITIES:
                jobs = self.lists.get((queue, priority))
                if jobs and jobs[0][0] <= now:
                    return self.jobs.pop(jobs.pop(0)[1])
        return None


class HeapIndex:
    """A heap for each queue and priority, a dict by id; what has left the dict is skipped when it comes up."""

    def __init__(self) -> None:
        self.heaps: dict[tuple[str, int], list[tuple[int, str]]] = {}
        self.jobs: dict[str, Entry] = {}

    def add(self, id: str, queue: str, priority: int, run_at: int) -> None:
        if id in self.jobs:
            raise ValueError(id)
        self.jobs[id] = (id, queue, priority, run_at)
        heapq.heappush(self.heaps.setdefault((queue, priority), []), (run_at, id))

    def remove(self, id: str) -> None:
        del self.jobs[id]

    def claim(self, queues: list[str], now: int) -> Entry | None:
        for queue in queues:
            for priority in PRIORITIES:
                heap = self.heaps.get((queue, priority), [])
                while heap and heap[0][0] <= now:
                    _, id = heapq.heappop(heap)
                    if id in self.jobs:
                        return self.jobs.pop(id)
        return None


def entries(count: int, seed: int) -> list[Entry]:
    rng = random.Random(seed)
    return [
        (f"{rng.getrandbits(96):024x}", rng.choice(QUEUES), rng.choice(PRIORITIES), rng.randrange(HOUR))
        for _ in range(count)
    ]


def filled(index: Any, jobs: list[Entry]) -> Any:
    for job in jobs:
        index.add(*job)
    return index


class Contestant:
    """One index, and what brings it back to where it was: a million jobs and, if asked for, some more."""

    def __init__(self, index: Any, base: list[Entry], more: list[Entry]) -> None:
        self.index = filled(index, base)
        self.more = more
        self.claimed: list[Entry] = []

    def with_more(self, wanted: bool) -> None:
        jobs = self.index.jobs if hasattr(self.index, "jobs") else self.index
        for job in self.claimed:
            self.index.add(*job)
        self.claimed = []
        for job in self.more:
            if (job[0] in jobs) is not wanted:
                self.index.add(*job) if wanted else self.index.remove(job[0])

    def add(self) -> None:
        add = self.index.add
        for job in self.more:
            add(*job)

    def add_many(self) -> None:
        self.index.add_many([job[0] for job in self.more], QUEUES[0], 0, HOUR)

    def remove(self, ids: list[str]) -> None:
        remove = self.index.remove
        for id in ids:
            remove(id)

    def claim(self) -> None:
        claim = self.index.claim
        for _ in self.more:
            self.claimed.append(claim(QUEUES, HOUR))

    def claim_each(self) -> None:
        claim = self.index.claim
        for _ in self.more:
            self.claimed += claim(QUEUES, HOUR)

    def claim_hundreds(self) -> None:
        claim = self.index.claim
        for _ in range(len(self.more) // 100):
            self.claimed += claim(QUEUES, HOUR, 100)


def index_rows(bench: microbench.Bench, jobs: int, part: int) -> None:
    base, more = entries(jobs, 1), entries(part, 2)
    shuffled = random.Random(3).sample([job[0] for job in more], part)
    begin = JobIndex().nbytes
    ours = Contestant(JobIndex(), base, more)
    bench.alone(f"memory of a waiting job, {jobs:,} of them", "bytes", (ours.index.nbytes - begin) / jobs)
    peers = {
        "sortedcontainers": Contestant(SortedIndex(), base, more),
        "heapq": Contestant(HeapIndex(), base, more),
    }
    everyone = {"fastcore": ours, **peers}
    full = {name: lambda one=one: one.with_more(True) for name, one in everyone.items()}
    base_only = {name: lambda one=one: one.with_more(False) for name, one in everyone.items()}
    waiting = f"{jobs:,} waiting"
    bench.rate(f"add, {waiting}", part, {name: one.add for name, one in everyone.items()}, base_only)
    bench.rate(
        f"remove, {waiting}",
        part,
        {name: lambda one=one: one.remove(shuffled) for name, one in everyone.items()},
        full,
    )
    claims = {name: one.claim for name, one in peers.items()}
    bench.rate(f"claim one, {waiting}", part, {"fastcore": ours.claim_each, **claims}, full)
    bench.rate(f"claim 100 (peers: one), {waiting}", part, {"fastcore": ours.claim_hundreds, **claims}, full)
    bench.rate(
        f"add_many (peers: add), {waiting}",
        part,
        {"fastcore": ours.add_many, **{name: one.add for name, one in peers.items()}},
        base_only,
    )


class HeapTimers:
    """As asyncio does it: cancelled entries stay in the heap until they come up."""

    def __init__(self) -> None:
        self.heap: list[list[Any]] = []
        self.count = 0

    def set(self, deadline: int, item: object) -> list[Any]:
        self.count += 1
        entry = [deadline, self.count, item]
        heapq.heappush(self.heap, entry)
        return entry

    def advance(self, now: int) -> list[object]:
        due = []
        while self.heap and self.heap[0][0] <= now:
            item = heapq.heappop(self.heap)[2]
            if item is not None:
                due.append(item)
        return due


def timer_rows(bench: microbench.Bench, count: int) -> None:
    rng = random.Random(4)
    deadlines = [rng.randrange(1, HOUR) for _ in range(count)]

    def wheel(cancel: bool) -> None:
        timers = TimerWheel(tick=1)
        handles = [timers.set(deadline, 1) for deadline in deadlines]
        if cancel:
            for handle in handles[: count * 9 // 10]:
                handle.cancel()
        for now in range(0, HOUR + 1, HOUR // 100):
            timers.advance(now)

    def heap(cancel: bool) -> None:
        timers = HeapTimers()
        handles = [timers.set(deadline, 1) for deadline in deadlines]
        if cancel:
            for handle in handles[: count * 9 // 10]:
                handle[2] = None
        for now in range(0, HOUR + 1, HOUR // 100):
            timers.advance(now)

    bench.rate(
        f"timers: set {count:,}, cancel 9 of 10, the rest comes due",
        count,
        {"fastcore": lambda: wheel(True), "heap, lazy": lambda: heap(True)},
    )
    bench.rate(
        f"timers: set {count:,}, all come due",
        count,
        {"fastcore": lambda: wheel(False), "heap, lazy": lambda: heap(False)},
    )
    few = 50
    clock = sched.scheduler(time.monotonic)
    for deadline in deadlines[: count // 10]:
        clock.enterabs(deadline, 0, int)
    timers = TimerWheel(tick=1)
    for deadline in deadlines[: count // 10]:
        timers.set(deadline, int)

    def wheel_few() -> None:
        for handle in [timers.set(deadline, int) for deadline in deadlines[:few]]:
            handle.cancel()

    def sched_few() -> None:
        for event in [clock.enterabs(deadline, 0, int) for deadline in deadlines[:few]]:
            clock.cancel(event)

    bench.rate(f"timers: set and cancel beside {count // 10:,}", few, {"fastcore": wheel_few, "sched": sched_few})


def c_rows(bench: microbench.Bench, jobs: int) -> None:
    best: dict[str, float] = {}
    with cprogram.compiled("bench_jobindex", "ds/*.c", "base/*.c", "shm/*.c") as program:
        for _ in range(1 if bench.quick else 5):
            for name, value in program(jobs):
                better = min if name.startswith("bytes") else max
                best[name] = better(best.get(name, float(value)), float(value))
    for name, figure in best.items():
        what, _, order = name.partition("_")
        unit = "bytes" if what == "bytes" else "M/s"
        text = "timers" if order == "timer" else f"{jobs:,} jobs, {order.replace('_', ' ')}"
        bench.alone(f"C: {what}, {text}", unit, figure)


def main() -> int:
    versions = {"sortedcontainers": sortedcontainers.__version__}
    bench = microbench.start("jobindex", __doc__.splitlines()[0], versions, rounds=5)
    jobs = 20_000 if bench.quick else 1_000_000
    index_rows(bench, jobs, jobs // 10)
    timer_rows(bench, jobs)
    c_rows(bench, jobs)
    microbench.finish(bench)
    return 0


if __name__ == "__main__":
    sys.exit(main())
