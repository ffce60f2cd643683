"""The list of what is tried: each file beside this one names the operations of one module.

    @operation("what it does")
    def anything() -> None: ...

An operation leaves the world as it found it; whatever it needs is made once, at import. `weight` says how many plain
operations it is worth (one that makes a megabyte table is run less often). `foreign`: compiled code of others takes part
(gevent), whose references a debug interpreter sees go but not come; they are shown and not judged.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    module: str
    what: str
    run: Callable[[], object]
    weight: int
    foreign: bool = False


OPERATIONS: list[Operation] = []


def operation(
    what: str, weight: int = 1, foreign: bool = False
) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def add(function: Callable[[], object]) -> Callable[[], object]:
        OPERATIONS.append(Operation(function.__module__.rpartition(".")[2], what, function, weight, foreign))
        return function

    return add
