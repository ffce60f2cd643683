"""The skip list against sortedcontainers from Python, and alone in C (a ratio over 1: ours is faster).

usage: python -m perf.bench_skiplist [--rounds N] [--quick]

A million int keys in random order (quick: 20,000). Our list is asked for the same thing in the same loop as SortedDict;
where SortedList does the job alone (a priority queue of bare keys) it is a peer too. Each round builds anew what it
changes, outside the time taken where the work allows. The C figures are processor time per operation of
perf/bench_skiplist.c, compiled here with the flags of setup.py; goals: 1,500 ns an insertion, 300 ns a look-up.
"""

import itertools
import random
from collections.abc import Iterator
from importlib.metadata import version

from sortedcontainers import SortedDict, SortedList

from fastcore.skiplist import SkipList
from perf import cprogram, microbench

C_FIGURES = {
    "word-insert": "C, insert, 8 random bytes (goal 1,500)",
    "word-lookup": "C, look-up (goal 300)",
    "word-miss": "C, look-up that misses",
    "word-iterate": "C, iterate, a key",
    "word-rank": "C, rank",
    "word-pop+insert": "C, pop-min and insert",
    "word-bytes": "C, memory a key, 8 + 8 bytes of it the entry's",
    "job-insert": "C, insert, 24-byte job keys",
    "job-lookup": "C, look-up, 24-byte job keys",
    "text-lookup": "C, look-up, 24-byte names",
    "rising-insert": "C, insert in order",
}


def c_figures(keys: int) -> dict[str, float]:
    with cprogram.compiled("bench_skiplist", "ds/skiplist*.c", "shm/pidlock.c") as program:
        return {name: float(figure) for name, figure in program(keys)}


def mixed_ours(s: SkipList[int, None], lots: Iterator[list[int]]) -> None:
    for key in next(lots):
        s[key] = None
        s.pop_min()


def mixed_dict(s: SortedDict, lots: Iterator[list[int]]) -> None:
    for key in next(lots):
        s[key] = None
        s.popitem(0)


def mixed_list(s: SortedList, lots: Iterator[list[int]]) -> None:
    for key in next(lots):
        s.add(key)
        s.pop(0)


def fill(s: SkipList[int, None] | SortedDict, keys: list[int]) -> None:
    for key in keys:
        s[key] = None


def look_up(s: SkipList[int, None] | SortedDict, keys: list[int]) -> None:
    for key in keys:
        s[key]


def neighbours_ours(s: SkipList[int, None], keys: list[int]) -> None:
    for key in keys:
        s.floor(key)


def neighbours_theirs(s: SortedDict, keys: list[int]) -> None:
    for key in keys:
        s.peekitem(s.bisect_right(key) - 1)


def ranges(s: SkipList[int, None] | SortedDict, pairs: list[tuple[int, int]]) -> None:
    for lo, hi in pairs:
        for _ in s.irange(lo, hi):
            pass


def main() -> None:
    bench = microbench.start(
        "skiplist", __doc__.splitlines()[0], {"sortedcontainers": version("sortedcontainers")}, rounds=5
    )
    n = 20_000 if bench.quick else 1_000_000
    few = n // 5
    rng = random.Random(1)
    keys = rng.sample(range(10 * n), n)
    fresh = [rng.randrange(10 * n) for _ in range(few)]
    asked = rng.sample(keys, few)

    bench.rate(
        f"insert {n:,} random ints",
        n,
        {"ours": lambda: fill(SkipList(), keys), "SortedDict": lambda: fill(SortedDict(), keys)},
    )
    ours: SkipList[int, None] = SkipList((key, None) for key in sorted(keys))
    theirs = SortedDict.fromkeys(keys)
    bare = SortedList(keys)
    bench.rate(
        "look up",
        few,
        {"ours": lambda: look_up(ours, asked), "SortedDict, a hash look-up": lambda: look_up(theirs, asked)},
    )
    bench.rate(
        "floor",
        few,
        {"ours": lambda: neighbours_ours(ours, fresh), "SortedDict": lambda: neighbours_theirs(theirs, fresh)},
    )
    bench.rate("iterate", n, {"ours": lambda: list(ours), "SortedDict": lambda: list(theirs)})
    pairs = [(key, key + 1000) for key in fresh[: few // 10]]
    bench.rate(
        "range of 100",
        len(pairs) * 100,
        {"ours": lambda: ranges(ours, pairs), "SortedDict": lambda: ranges(theirs, pairs)},
    )
    # Each round has keys of its own: those of the round before are in the list already.
    lots = [[rng.randrange(10 * n) for _ in range(few)] for _ in range(bench.rounds + 1)]
    mine, dicts, lists = (itertools.chain(lots) for _ in range(3))
    bench.rate(
        f"insert and pop-min at {n:,} keys",
        2 * few,
        {
            "ours": lambda: mixed_ours(ours, mine),
            "SortedDict": lambda: mixed_dict(theirs, dicts),
            "SortedList": lambda: mixed_list(bare, lists),
        },
    )
    figures = c_figures(n)
    for name, what in C_FIGURES.items():
        bench.alone(what, "bytes" if name.endswith("bytes") else "ns", figures[name])
    microbench.finish(bench)


if __name__ == "__main__":
    main()
