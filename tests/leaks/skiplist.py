from contextlib import suppress

from tests.leaks.table import operation

from fastcore.shm import Region
from fastcore.skiplist import SharedSkipList, SkipList

LIST = SkipList({i: str(i) for i in range(500)})
REGION = Region(1 << 20)
SHARED = SharedSkipList(REGION, "list", 1 << 18, key=int, writer=True)


@operation("keys come and go")
def changes() -> None:
    LIST[1000] = object()
    LIST[1000] = []
    LIST.setdefault(1001, "x")
    del LIST[1000]
    LIST.pop(1001)
    LIST[-1] = None
    LIST.pop_min()
    for wrong in ("text", 1.5, None):
        with suppress(TypeError):
            LIST[wrong] = 1
    with suppress(KeyError):
        del LIST[5000]


@operation("searches", weight=10)
def searches() -> None:
    LIST.get(5)
    LIST.floor(77)
    LIST.ceiling(77)
    LIST.rank(77)
    LIST.at(-1)
    list(LIST.range(10, 20, reverse=True))
    next(iter(LIST))
    with suppress(IndexError):
        LIST.at(10_000)


@operation("lists of tuples", weight=20)
def tuples() -> None:
    made = SkipList({(i, "x"): i for i in range(20)})
    made.copy().popitem()
    made.clear()


@operation("a shared list")
def shared() -> None:
    SHARED[7] = b"value"
    SHARED.get(7)
    list(SHARED.range(0, 100))
    SHARED.pop_min()
    with suppress(KeyError):
        SHARED.pop_min()
