from contextlib import suppress

import gevent
from tests.leaks.table import operation

from fastcore.disk import Disk, SimDisk
from fastcore.wal import CorruptionError, Log, LogError, Record

SMALL = {"segment_bytes": 4096, "record_bytes_max": 1000, "buffer_bytes_max": 2048}
LOG = Log(SimDisk(1), **SMALL)
DAMAGED = SimDisk(1)
with Log(DAMAGED, **SMALL) as log:
    PLACES = [log.append(b"x" * 100, sync=True) for _ in range(10)]
gevent.get_hub().threadpool.maxsize = 1  # it grows by a thread now and then, which is no leak
DAMAGED.flip("0000000000000000.wal", (PLACES[4] + 50) * 8)


@operation("append, wait, truncate", weight=4)
def append() -> None:
    position = LOG.append(b"x" * 100, sync=True)
    LOG.append_many([b"one", bytearray(b"two")], 7)
    LOG.truncate_before(position)
    while LOG.step():
        pass
    _ = LOG.report(), LOG.durable, LOG.end, LOG.error


@operation("what is refused", weight=4)
def refused() -> None:
    for arguments in ((b"x" * 1001,), ("text",), (b"x", 0), (b"x", 1 << 70)):
        with suppress(LogError, TypeError, ValueError, OverflowError):
            LOG.append(*arguments)
    for call in (lambda: LOG.wait(1 << 63), lambda: LOG.read_from(1), lambda: LOG.append_many(["text"])):
        with suppress(LogError, TypeError, ValueError):
            call()


@operation("read all of it", weight=20)
def read() -> None:
    for _ in LOG.read_from():
        pass
    next(LOG.read_from(), None)


@operation("a log on a simulated disk, crashed and opened again", weight=100)
def crashed() -> None:
    disk = SimDisk(1)
    old = Log(disk, **SMALL)
    old.append_many([b"x" * 500] * 10, sync=True)
    records = old.read_from()
    next(records)
    disk.crash()
    assert isinstance(next(iter(Log(disk, **SMALL).read_from())), Record)


@operation("a damaged log", weight=100)
def damaged() -> None:
    with suppress(CorruptionError):
        Log(DAMAGED, **SMALL)
    with Log(DAMAGED, salvage=True, **SMALL) as log, suppress(CorruptionError):
        list(log.read_from())


@operation("files of both disks", weight=50)
def files() -> None:
    for disk in (SimDisk(2), Disk("/dev/shm")):
        name = "fastcore-leak-check"
        disk.write(name, b"x" * 100)
        disk.read(name)
        disk.list()
        with disk.open(name) as file:
            file.read(10, 5)
        with suppress(OSError):
            disk.open("none")
        disk.remove(name)
        disk.close()


@operation("a log with its threads, waited for by greenlets", weight=100, foreign=True)
def threaded() -> None:
    with Log(SimDisk(1), threaded=True, **SMALL) as log:
        gevent.joinall([gevent.spawn(log.append, b"x", sync=True) for _ in range(5)], raise_error=True)
        assert len(list(log.read_from())) == 5


for _ in range(800):  # gevent's free lists fill up meanwhile
    threaded()
