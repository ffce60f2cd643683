from contextlib import suppress

import gevent
from tests.leaks.table import operation

from fastcore.disk import SimDisk
from fastcore.lsm import ConflictError, Memtable, MemtableFullError, Store, StoreError

SMALL = {
    "segment_bytes": 65536,
    "memtable_bytes": 65536,
    "table_bytes": 16384,
    "block_bytes": 512,
    "cache_bytes": 65536,
}
STORE = Store(SimDisk(1), **SMALL)
USERS = STORE.keyspace("users")
KEYS = [b"key%04d" % i for i in range(300)]
for key in KEYS:
    STORE.put(key, b"v" * 100)
STORE.flush()
THREADED = Store(SimDisk(2), threaded=True, **SMALL)
for key in KEYS * 3:
    THREADED.put(key, b"v" * 100)
THREADED.flush()
gevent.get_hub().threadpool.maxsize = 1  # it grows by a thread now and then, which is no leak


# What is written is kept, in memory, on a simulated disk: so each time in a store of its own.


@operation("put, get, delete in a new store", weight=200)
def single() -> None:
    with Store(SimDisk(1), clock=lambda: 1000.0, **SMALL) as store:
        users = store.keyspace("users")
        for _ in range(10):
            store.put(b"a", b"1", ttl=5)
            store.put(bytearray(b"a"), memoryview(b"2"))
            _ = store.get(b"a"), store.get(b"none", 5), store.get_entry(b"a"), b"a" in store
            store.delete(b"a")
            store.put(b"large", b"x" * 9000, sync=True)
            assert users.compare_and_set(b"k", None, b"") and not users.compare_and_set(b"k", 1, b"")
            store.delete_range(b"k", b"m")
            users.delete(b"k", durability="flushed")
            while store.step():
                pass
        store.flush()
        store.compact()


@operation("batches in a new store", weight=200)
def batches() -> None:
    with Store(SimDisk(1), **SMALL) as store:
        users = store.keyspace("users")
        for _ in range(10):
            with store.write_batch() as batch:
                batch.put(b"a", b"1", keyspace=users)
                batch.delete_range(b"a", b"b")
            batch.expect(b"a", 5)
            other = store.write_batch()
            other.append(batch)
            with suppress(ConflictError):
                other.write()


@operation("scans and cursors", weight=40)
def scans() -> None:
    assert len(list(STORE.scan(prefix=b"key"))) == 300
    iterator = STORE.iterator(start=b"key0100", include_key=False)
    for _ in range(30):
        next(iterator)
    iterator.prev()
    iterator.seek(b"key0200")
    next(iterator)
    iterator.close()
    next(STORE.prefixed(b"key").scan(reverse=True, limit=1))


@operation("snapshots and many keys", weight=20)
def snapshots() -> None:
    with STORE.snapshot() as snapshot:
        snapshot.multi_get(KEYS[::3])
        snapshot.keyspace(USERS).get(b"a")
        next(iter(snapshot))


@operation("what is refused", weight=10)
def refused() -> None:
    for call in (
        lambda: STORE.get("a"),
        lambda: STORE.put(b"a", 5),
        lambda: STORE.put(b"a", b"", durability="none"),
        lambda: STORE.put(b"a", b"", ttl=-1),
        lambda: STORE.scan(b"a", prefix=b"b"),
        lambda: STORE.keyspace("none", create=False),
        lambda: STORE.keyspace("x", colour=1),
        lambda: STORE.put(b"k" * (1 << 21), b""),
        lambda: STORE.multi_get([b"a", 5]),
    ):
        with suppress(StoreError, TypeError, ValueError):
            call()


@operation("figures", weight=10)
def figures() -> None:
    _ = STORE.stats(), USERS.stats(), STORE.keyspaces(), STORE.approximate_size(b"a", b"z"), STORE.error, repr(STORE)


@operation("a store on a simulated disk, closed and opened again", weight=200)
def opened() -> None:
    disk = SimDisk(1)
    with Store(disk, **SMALL) as store:
        store.put(b"a", b"1")
        store.flush()
        store.keyspace("x").put(b"b", b"2")
        left = iter(store), store.snapshot(), store.write_batch()
    with suppress(StoreError):
        left[2].put(b"a", b"")
    Store(disk, **SMALL).drop_keyspace("x")


@operation("greenlets that wait for the disk", weight=200, foreign=True)
def waiting() -> None:
    greenlets = [gevent.spawn(THREADED.get, key) for key in KEYS[::30]]
    greenlets += [gevent.spawn(THREADED.multi_get, KEYS[1::30]), gevent.spawn(THREADED.put, b"a", b"", sync=True)]
    greenlets += [gevent.spawn(list, THREADED.scan(b"key0100", b"key0120"))]
    gevent.joinall(greenlets, raise_error=True)


@operation("a memtable", weight=40)
def memtable() -> None:
    table = Memtable(65536)
    with suppress(MemtableFullError):
        for i in range(1000):
            table.put(b"%d" % i, b"x" * 100)
    _ = table.get(b"5"), table.get(b"5", at=1), list(table.scan(b"1", b"2", reverse=True)), len(table), table.bytes


for _ in range(300):  # gevent's free lists fill up meanwhile
    waiting()
