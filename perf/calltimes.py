"""Times of very many calls: quantiles in little memory."""

from array import array
from typing import Any

STEP_NS = 100
STEPS = 100_000
SLOWEST_KEPT = 20


class Times:
    """Of calls, in steps of 100 ns up to 10 ms and exactly beyond: 50 million calls have to fit into memory."""

    def __init__(self) -> None:
        self.counts = array("Q", bytes(STEPS * 8))
        self.slow: list[int] = []

    def add(self, ns: int) -> None:
        step = ns // STEP_NS
        if step < STEPS:
            self.counts[step] += 1
        else:
            self.slow.append(ns)

    def figures(self) -> dict[str, Any]:
        """In milliseconds."""
        total = sum(self.counts) + len(self.slow)
        slow = sorted(self.slow)

        def quantile(share: float) -> float:
            left = int(total * share)
            for step, n in enumerate(self.counts):
                if left < n:
                    return step / 1e4
                left -= n
            return slow[min(left, len(slow) - 1)] / 1e6 if slow else 0.0

        largest = slow[-1] / 1e6 if slow else max((i for i, n in enumerate(self.counts) if n), default=0) / 1e4
        found = {"p50": quantile(0.5), "p99": quantile(0.99), "p99.9": quantile(0.999), "max": largest, "calls": total}
        return {**found, "slowest": [ns / 1e6 for ns in slow[-SLOWEST_KEPT:]]}
