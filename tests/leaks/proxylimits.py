from contextlib import suppress

from tests.leaks.table import operation

from fastcore.proxylimits import Limit, Limits
from fastcore.shm import Region

REGION = Region(8 << 20)
SPECS = [Limit("a", rate=10, by=("ip", "header:k")), Limit("b", at_once=5)]
LIMITS = Limits(REGION, SPECS, capacity=1024)


@operation("made anew")
def made() -> None:
    Limits(REGION, SPECS, capacity=1024)
    with suppress(ValueError):
        Limits(REGION, [Limit("a", rate=1, cost=9)])


@operation("looked at")
def looked_at() -> None:
    LIMITS.reset("a", {"ip": "192.0.2.1", "header:k": "x"})
    with suppress(ValueError):
        LIMITS.reset("a", {"ip": "x"})
    with suppress(KeyError):
        LIMITS.reset("c", {})
    LIMITS.table()
    LIMITS.reclaim()
