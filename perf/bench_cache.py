"""Caches in process: fastcore.cache against dict, cachetools, lru-dict and cachebox, one thread, in turns.

    python -m perf.bench_cache [--rounds N] [--quick]

The mixed load is what a cache is for: look up with `get`, set when it is not there; keys by Zipf's law, texts of some
10 characters; every contender is full before it is timed. The share of hits is that of an exact LRU (cachebox's TTL
cache evicts by age, and has fewer). Small caches show what the code costs; with 10,000 items and ten times as many keys
half of the time goes to fetching the key objects from memory, the same for all. The loop is Python, and a good third of
the fastest figures. The peers' other ways (`c[key]` and KeyError, `in` first) are slower for all of them.
"""

import random
from collections.abc import Callable
from importlib.metadata import version
from types import FunctionType
from typing import Any

import cachebox
import cachetools
from lru import LRU

from fastcore.cache import LRUCache, TTLCache
from perf import microbench

SIZE = 1_000
LARGE = 10_000
Loop = Callable[[Any, list[str]], None]
KEEP = 3600.0  # seconds: nothing expires while it is timed
# Size, number of keys and Zipf's exponent that give these shares of hits.
LOADS = {
    "95 % hits": (SIZE, 2_000, 1.2),
    "50 % hits": (SIZE, 20_000, 0.95),
    "95 % hits of 10,000": (LARGE, 30_000, 1.2),
    "50 % hits of 10,000": (LARGE, 100_000, 0.83),
}


def zipf(keys: int, exponent: float, count: int) -> list[str]:
    weights = [1 / (rank + 1) ** exponent for rank in range(keys)]
    names = [f"key:{number}" for number in random.Random(1).sample(range(10 * keys), keys)]
    return random.Random(2).choices(names, weights, k=count)


def mixed(cache: Any, keys: list[str]) -> None:
    get = cache.get
    for key in keys:
        if get(key) is None:
            cache[key] = key


def subscribe(cache: Any, keys: list[str]) -> None:
    for key in keys:
        cache[key]


def insert(cache: Any, keys: list[str]) -> None:
    for key in keys:
        cache[key] = key


def missing(cache: Any, keys: list[str]) -> None:
    get = cache.get
    for key in keys:
        get(key)


def own(loop: Loop, cache: Any, keys: list[str]) -> Callable[[], None]:
    """The loop with a code object of its own. The interpreter specialises each place of a code object for the types it
    meets there; a loop that all contenders share is specialised for whoever came first, or for nobody."""
    mine = FunctionType(loop.__code__.replace(), loop.__globals__)
    return lambda: mine(cache, keys)


def makers(size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    lru = {
        "ours": LRUCache(size),
        "cachetools": cachetools.LRUCache(size),
        "lru-dict": LRU(size),
        "cachebox": cachebox.LRUCache(size),
    }
    ttl = {
        "ours": TTLCache(size, KEEP),
        "cachetools": cachetools.TTLCache(size, KEEP),
        "cachebox": cachebox.TTLCache(size, KEEP),
    }
    return lru, ttl


def main() -> None:
    packages = ("cachetools", "lru-dict", "cachebox")
    bench = microbench.start("cache", __doc__.splitlines()[0], {name: version(name) for name in packages}, rounds=9)
    count = 5_000 if bench.quick else 200_000
    for load, (size, keys, exponent) in LOADS.items():
        wanted = zipf(keys, exponent, count)
        for kind, caches in zip(("LRU", "TTL"), makers(size), strict=True):
            for cache in caches.values():
                mixed(cache, wanted)
            before = caches["ours"].stats()
            mixed(caches["ours"], wanted)
            share = (caches["ours"].stats().hits - before.hits) / count
            what = f"{kind} mixed, {load} ({share:.0%} measured)"
            bench.rate(what, count, {name: own(mixed, cache, wanted) for name, cache in caches.items()})
    present = [f"key:{number}" for number in range(SIZE)]
    wanted = random.Random(3).choices(present, k=count)
    absent = [f"none:{number}" for number in range(count)]
    for kind, caches in zip(("LRU", "TTL"), makers(SIZE), strict=True):
        for cache in caches.values():
            insert(cache, present)
        peers = {**caches, "dict": dict.fromkeys(present)}
        bench.rate(f"{kind} hit by []", count, {n: own(subscribe, c, wanted) for n, c in peers.items()})
        bench.rate(f"{kind} miss by get", count, {n: own(missing, c, absent) for n, c in peers.items()})
        bench.rate(f"{kind} insert and evict", count, {n: own(insert, c, absent) for n, c in caches.items()})
    microbench.finish(bench)


if __name__ == "__main__":
    main()
