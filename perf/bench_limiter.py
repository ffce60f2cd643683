"""Rate limiters: checks a second, ours against `limits` in memory, and what a check costs in C.

usage: python -m perf.bench_limiter [--rounds N] [--quick]

Peers: limits' fixed window, moving window and sliding window counter over its MemoryStorage, which are all it has (no
GCRA, no token bucket). Every contender is asked about the same 1,000 keys in turn, once under a limit that admits
everything and once under one that refuses nearly everything. Goals: 3 M checks/s from Python, 20 M/s in C on one core.
"""

from importlib.metadata import version

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

from fastcore.limiter import RateLimiter, RateLimits
from fastcore.shm import Region
from perf import cprogram, microbench
from perf.microbench import Bench, Contender

KEYS = [f"user:{i}" for i in range(1000)]
C_ROWS = {
    "decision": "C, the decision alone",
    "check": "C, hash of the key and check, time given",
    "check-clock": "C, the same and reading the clock",
    "refused": "C, hash of the key and check, refused",
}


def ours(limiter: RateLimiter | RateLimits, loops: int) -> Contender:
    def run() -> None:
        hit = limiter.hit
        for _ in range(loops):
            for key in KEYS:
                hit(key)

    return run


def theirs(strategy: type, quota: str, loops: int) -> Contender:
    limiter, item = strategy(MemoryStorage()), limits.parse(quota)

    def run() -> None:
        hit = limiter.hit
        for _ in range(loops):
            for key in KEYS:
                hit(item, key)

    return run


def tuples(limiter: RateLimiter, loops: int) -> Contender:
    def run() -> None:
        hit = limiter.hit
        for _ in range(loops):
            for key in KEYS:
                hit(("route", key))

    return run


def python_rows(bench: Bench) -> None:
    loops = 2 if bench.quick else 20
    operations = loops * len(KEYS)
    region = Region(1 << 24)
    for what, quota, options in (
        ("checks, admitted", "1000000 per 1 second", {"rate": 1_000_000_000, "period": 1.0}),
        ("checks, refused", "1 per 1 day", {"rate": 1, "period": 86400.0}),
    ):
        contenders = {"fastcore": ours(RateLimiter(**options), loops)}
        for name, strategy in (
            ("limits fixed window", FixedWindowRateLimiter),
            ("limits moving window", MovingWindowRateLimiter),
            ("limits sliding window", SlidingWindowCounterRateLimiter),
        ):
            if what == "checks, admitted" and strategy is MovingWindowRateLimiter:
                quota = "1000 per 1 second"  # it keeps every hit of the window, and looks through them
            contenders[name] = theirs(strategy, quota, loops)
        bench.rate(what, operations, contenders)
    bench.rate("checks in a shared region", operations, {"fastcore": ours(RateLimiter(10**6, region=region), loops)})
    bench.rate("checks, keys of two parts", operations, {"fastcore": tuples(RateLimiter(10**6), loops)})
    several = RateLimits.parse("1000000/s; 10000000/m")
    bench.rate("checks of two limits at once", operations, {"fastcore": ours(several, loops)})


def c_rows(bench: Bench) -> None:
    with cprogram.compiled("bench_limiter", "shm/limiter.c", "shm/pidlock.c", "base/hash.c") as program:
        lines = program()
    for name, ns in lines:
        if name in C_ROWS:
            bench.alone(C_ROWS[name], "M/s", 1e3 / float(ns))


def main() -> None:
    bench = microbench.start("limiter", "checks a second of rate limiters", {"limits": version("limits")})
    python_rows(bench)
    c_rows(bench)
    microbench.finish(bench)


if __name__ == "__main__":
    main()
