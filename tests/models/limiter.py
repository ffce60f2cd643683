"""GCRA in plain Python with exact fractions: what fastcore.limiter has to answer, and the promise it makes."""

import math
from collections.abc import Sequence
from fractions import Fraction

NS = 1_000_000_000
BACK_NS = 60 * NS


class Model:
    """One quota over any keys, unbounded: `rate` units in `period_ns`, `burst` at once. Times in ns."""

    def __init__(self, rate: int, period_ns: int, burst: int) -> None:
        exact = Fraction(period_ns, rate)
        if exact.denominator == 1 or exact >= 1000:
            self.interval = Fraction(math.ceil(exact))
        else:
            self.interval = Fraction(math.ceil(exact * 2**32), 2**32)
        self.burst = burst
        self.span = math.ceil(burst * self.interval)
        self.nothing_used_at: dict[object, int] = {}

    def hit(self, key: object, now: int, cost: int = 1, charge: bool = True) -> tuple[bool, int, int, float, float]:
        owed = max(0, self.nothing_used_at.get(key, 0) - now)
        if owed > self.span + BACK_NS:
            owed = self.span
            if charge:
                self.nothing_used_at[key] = now + owed
        wanted = owed + math.ceil(cost * self.interval)
        allowed = cost == 0 or (cost <= self.burst and wanted <= self.span)
        if allowed:
            wait = 0.0
            if charge and cost > 0:
                owed = wanted
                self.nothing_used_at[key] = now + owed
        else:
            wait = math.inf if cost > self.burst else (wanted - self.span) / NS
        left = max(0, min(self.burst, math.floor((self.span - owed) / self.interval)))
        return allowed, self.burst, left, wait, owed / NS

    def hit_all(self, others: "Sequence[Model]", key: object, now: int, cost: int = 1) -> bool:
        models = [self, *others]
        if not all(model.hit(key, now, cost, charge=False)[0] for model in models):
            return False
        for model in models:
            model.hit(key, now, cost)
        return True

    def reset(self, key: object, now: int) -> bool:
        return self.nothing_used_at.pop(key, 0) > now


def over_the_promise(log: Sequence[tuple[int, int]], rate: int, period_ns: int, burst: int) -> Fraction:
    """The most by which any stretch of `(now_ns, cost)` admitted, in order of time, is above burst + rate x time."""
    worst = Fraction(-burst)
    for first in range(len(log)):
        units = 0
        for now, cost in log[first:]:
            units += cost
            worst = max(worst, units - burst - Fraction((now - log[first][0]) * rate, period_ns))
    return worst
