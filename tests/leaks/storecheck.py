"""Checks and repairs of small stores on simulated disks: sound, damaged, broken off."""

from contextlib import suppress

from tests.leaks.table import operation

from fastcore.disk import SimDisk
from fastcore.lsm import LockedError, MissingError, Store
from fastcore.storecheck import repair, verify

SMALL = {"segment_bytes": 4096, "memtable_bytes": 65536, "table_bytes": 16384, "block_bytes": 512, "cache_bytes": 65536}


def fill(disk: SimDisk) -> Store:
    store = Store(disk, **SMALL)
    for i in range(60):
        store.put(b"key%02d" % i, b"v" * 100)
    store.flush()
    store.put(b"in the log", b"")
    return store


SOUND, EMPTY = SimDisk(1), SimDisk(2)
fill(SOUND).close()
LIVE = fill(SimDisk(3))


@operation("verify", weight=60)
def look() -> None:
    assert verify(SOUND).sound and LIVE.verify().sound and not repair(SOUND).changed
    with suppress(MissingError):
        verify(EMPTY)


@operation("damage, repair", weight=400)
def mend() -> None:
    with SimDisk(4) as disk:
        fill(disk).close()
        for name in disk.list():
            if name.endswith(".tbl") or name.startswith("MANIFEST"):
                disk.flip(name, 1300)
        assert not verify(disk).sound
        assert repair(disk).changed and verify(disk).sound


@operation("broken off", weight=40)
def broken_off() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyError

    for function in (verify, repair):
        with suppress(KeyError):
            function(SOUND, progress=stop)
    with Store(SOUND, **SMALL), suppress(LockedError):
        verify(SOUND)
