"""What the benchmarks of single modules share: contenders timed in turns in one thread, one table, raw results.

A contender is a function that does its work once and is timed as a whole, so loops over many operations belong inside
it. In every round each contender runs once, and every second round goes backwards: the machine's moods hit all alike.
Medians count, and the median of the ratios of each round.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perf import loadlib
from perf.loadlib import Row

Contender = Callable[[], object]


def in_turns_ns(
    contenders: Mapping[str, Contender], rounds: int, before: Mapping[str, Contender] | None = None
) -> dict[str, list[int]]:
    """CPU nanoseconds of each run of each contender, the cycle collector off. The first round only warms up.

    before: what is done before each run of a contender and not timed, such as putting back what the last run took."""
    taken: dict[str, list[int]] = {name: [] for name in contenders}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(-1, rounds):
            for name in contenders if turn % 2 == 0 else reversed(list(contenders)):
                if before is not None:
                    before[name]()
                begin = time.thread_time_ns()
                contenders[name]()
                if turn >= 0:
                    taken[name].append(time.thread_time_ns() - begin)
            gc.collect()
    finally:
        if enabled:
            gc.enable()
    return taken


@dataclass
class Bench:
    """One program's rows and raw figures. `rounds` and `quick` come from its command line."""

    name: str
    rounds: int
    quick: bool
    versions: Mapping[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(row, flush=True)

    def rate(
        self,
        what: str,
        operations: int,
        contenders: Mapping[str, Contender],
        before: Mapping[str, Contender] | None = None,
    ) -> None:
        """Millions of operations a second, the first contender (ours) against each other one, a row each. Without
        another the row has no peer."""
        taken = in_turns_ns(contenders, self.rounds, before)
        self.raw[what] = {"operations": operations, "ns": taken}
        rates = {name: [operations * 1e3 / ns for ns in runs] for name, runs in taken.items()}
        (_, ours), *peers = rates.items()
        for name, theirs in peers:
            self.add(loadlib.row(f"{what} (peer: {name})", "M/s", ours, theirs))
        if not peers:
            self.alone(what, "M/s", statistics.median(ours))

    def alone(self, what: str, unit: str, value: float) -> None:
        """A figure that has no peer, against a goal that the text names."""
        print(f"{what}, {unit} | {loadlib.shown(value)} | - | -", flush=True)
        self.raw[what] = {"unit": unit, "value": value}


def start(name: str, description: str, versions: Mapping[str, str], rounds: int = 7) -> Bench:
    """Read the command line every module benchmark has, print the heading of the table."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"runs of each contender, in turns ({rounds})")
    parser.add_argument("--quick", action="store_true", help="shortest: shows that it works, measures nothing")
    chosen = parser.parse_args()
    print(loadlib.HEADER)
    return Bench(name, 1 if chosen.quick else chosen.rounds, chosen.quick, versions)


def finish(bench: Bench) -> None:
    """Keep the raw results, unless it was only a quick look."""
    if not bench.quick:
        file = loadlib.write_results(bench.name, bench.rows, bench.raw, bench.versions)
        print(f"raw results: {file.relative_to(loadlib.ROOT)}", file=sys.stderr)
