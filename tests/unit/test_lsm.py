"""The store from Python: every call, every error, greenlets and threads, and that a plyvel user finds what he knows."""

import errno
import gc
import os
import random
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import plyvel
import pytest
from tests.models.lsm import CursorModel, StoreModel

from fastcore.disk import Disk, SimDisk
from fastcore.lsm import (
    ClosedError,
    ConflictError,
    CorruptionError,
    DiskFullError,
    Entry,
    ExistsError,
    ForkedError,
    FormatError,
    Iterator,
    Keyspace,
    KeyspaceError,
    LockedError,
    Memtable,
    MemtableFullError,
    MissingError,
    ReadOnlyError,
    Snapshot,
    Store,
    StoreError,
    TooLargeError,
    WriteBatch,
)

# Everything small, so that tests meet tables, levels and full memtables.
SMALL: dict[str, Any] = {
    "segment_bytes": 65536,
    "memtable_bytes": 65536,
    "table_bytes": 16384,
    "level_bytes": 65536,
    "block_bytes": 512,
    "cache_bytes": 65536,
}


def in_thread(function: Callable[[], object]) -> object:
    """What function() answers in a plain thread, one that has no hub."""
    answer: list[object] = []

    def run() -> None:
        try:
            answer.append(function())
        except BaseException as error:
            answer.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert answer, "the thread hangs"
    if isinstance(answer[0], BaseException):
        raise answer[0]
    return answer[0]


@pytest.fixture(params=["real", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Store(tmp_path / "store" if request.param == "real" else SimDisk(1), **SMALL) as store:
        yield store


def fill(store: Any, n: int, value: bytes = b"v" * 100) -> dict[bytes, bytes]:
    expected = {b"key%06d" % i: b"%d" % i + value for i in range(n)}
    for key, data in expected.items():
        store.put(key, data)
    return expected


# --- single keys ---


def test_put_get_delete(store: Store) -> None:
    assert store.get(b"a") is None
    assert store.get(b"a", b"none") == b"none"
    store.put(b"a", b"1")
    store.put(bytearray(b"b"), memoryview(b"2"))
    assert (store.get(b"a"), store.get(memoryview(b"b"))) == (b"1", b"2")
    assert b"a" in store and b"c" not in store
    store.put(b"a", b"")
    assert store.get(b"a") == b""
    store.delete(b"a")
    store.delete(b"absent")
    assert store.get(b"a") is None and b"a" not in store


@pytest.mark.parametrize("how", [{"sync": True}, {"durability": "flushed"}])
def test_what_was_flushed_is_there_after_a_crash(how: dict[str, Any]) -> None:
    disk = SimDisk(3)
    store = Store(disk, **SMALL)
    store.put(b"a", b"1", **how)
    store.put(b"b", b"2")
    store.delete(b"a", **how)
    store.put(b"c", b"3")
    disk.crash()
    store = Store(disk, **SMALL)
    assert [store.get(key) for key in (b"a", b"b")] == [None, b"2"]
    with store.write_batch(**how) as batch:
        batch.put(b"d", b"4")
    store.delete_range(b"b", b"c", **how)
    assert store.compare_and_set(b"e", None, b"5", **how)
    disk.crash()
    assert [key for key, _ in Store(disk, **SMALL)][-2:] == [b"d", b"e"]


def test_sync_makes_everything_durable() -> None:
    disk = SimDisk(4)
    store = Store(disk, **SMALL)
    fill(store, 20)
    store.sync()
    disk.crash()
    assert len(list(Store(disk, **SMALL))) == 20


def test_large_values(store: Store) -> None:
    for size in (8000, 8192, 8193, 12000):
        store.put(b"large", bytes([size % 251]) * size)
        assert store.get(b"large") == bytes([size % 251]) * size


def test_everything_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    where = tmp_path / "store"
    with Store(where, **SMALL) as store:
        expected = fill(store, 3000)
        assert store.closed is False
    assert store.closed
    for path in (where, str(where), os.fsencode(where)):
        with Store(path, **SMALL) as store:
            assert dict(store) == expected


def test_time_to_live() -> None:
    now = [1000.0]
    store = Store(SimDisk(1), clock=lambda: now[0], **SMALL)
    store.put(b"a", b"1", ttl=10)
    store.put(b"b", b"2", ttl=0.5)
    store.put(b"c", b"3")
    assert store.get_entry(b"a") == Entry(b"1", store.get_entry(b"a").version, 1010.0)
    assert store.get_entry(b"c").expires is None
    with store.write_batch() as batch:
        batch.put(b"d", b"4", ttl=20)
    assert store.compare_and_set(b"e", 0, b"5", ttl=5)
    assert len(list(store)) == 5
    now[0] = 1000.5
    assert store.get(b"b") is None and b"b" not in store
    store.flush()
    now[0] = 1010.0
    assert [key for key, _ in store] == [b"c", b"d"]
    assert store.multi_get([b"a", b"c"]) == [None, b"3"]
    store.put(b"a", b"again")
    assert store.get(b"a") == b"again"
    for bad in (0, -1, float("nan"), 1e13):
        with pytest.raises(ValueError, match="ttl"):
            store.put(b"x", b"", ttl=bad)
    with pytest.raises(TypeError):
        store.put(b"x", b"", ttl="10")
    real = Store(SimDisk(1), **SMALL)
    real.put(b"a", b"1", ttl=100)
    assert 90 < real.get_entry(b"a").expires - time.time() < 110


def test_versions_and_compare_and_set(store: Store) -> None:
    assert store.get_entry(b"k") is None
    assert store.compare_and_set(b"k", None, b"1")
    assert not store.compare_and_set(b"k", 0, b"2")
    first = store.get_entry(b"k")
    assert isinstance(first, Entry) and first.value == b"1" and first.version > 0
    assert store.compare_and_set(b"k", first.version, b"2")
    assert not store.compare_and_set(b"k", first.version, b"3")
    second = store.get_entry(b"k")
    assert second.value == b"2" and second.version > first.version
    store.flush()
    assert store.get_entry(b"k") == second
    fill(store, 2000)  # the key's block leaves the memory
    store.flush()
    assert not store.compare_and_set(b"k", first.version, b"3")
    assert store.compare_and_set(b"k", second.version, None)
    assert store.get(b"k") is None
    for bad, kind in ((-1, ValueError), (1 << 64, ValueError), ("1", TypeError)):
        with pytest.raises(kind):
            store.compare_and_set(b"k", bad, b"")


def test_multi_get(store: Store) -> None:
    expected = fill(store, 1500)
    keys = [*list(expected)[::7], b"absent", bytearray(b"key000003")]
    assert store.multi_get(keys, b"none") == [expected.get(bytes(key), b"none") for key in keys]
    store.flush()
    assert store.multi_get(iter(keys)) == [expected.get(bytes(key)) for key in keys]
    assert store.multi_get([]) == []
    with pytest.raises(TypeError):
        store.multi_get([b"a", "b"])


# --- batches ---


def test_batches(store: Store) -> None:
    store.put(b"old", b"")
    batch = store.write_batch()
    assert isinstance(batch, WriteBatch) and len(batch) == 0
    batch.put(b"a", b"1")
    batch.put(b"b", b"2")
    batch.delete(b"old")
    batch.delete_range(b"b", b"c")
    batch.put(b"bb", b"3")
    assert len(batch) == 5 and batch.bytes == 12
    assert store.get(b"a") is None
    store.write(batch)
    assert list(store) == [(b"a", b"1"), (b"bb", b"3")]
    batch.clear()
    assert len(batch) == 0
    store.write(batch)
    other = store.write_batch()
    other.put(b"z", b"9")
    batch.append(other)
    batch.write()
    assert store.get(b"z") == b"9"
    for bad, kind in (
        (lambda: batch.append(batch), ValueError),
        (lambda: batch.append(Store(SimDisk()).write_batch()), ValueError),
        (lambda: Store(SimDisk()).write(batch), ValueError),
        (lambda: batch.put(b"a", b"", keyspace="name"), TypeError),
        (lambda: batch.put(b"a", b"", keyspace=Store(SimDisk())), ValueError),
        (lambda: batch.put("a", b""), TypeError),
        (lambda: store.write(b"batch"), TypeError),
        (WriteBatch, TypeError),
    ):
        with pytest.raises(kind):
            bad()


def test_a_batch_as_a_context_manager(store: Store) -> None:
    with store.write_batch() as batch:
        batch.put(b"a", b"1")
    assert store.get(b"a") == b"1"
    with pytest.raises(ZeroDivisionError), store.write_batch(sync=True) as batch:
        batch.put(b"b", b"2")
        raise ZeroDivisionError
    assert store.get(b"b") is None and len(batch) == 0
    with pytest.raises(ZeroDivisionError), store.write_batch(transaction=False) as batch:
        batch.put(b"b", b"2")
        raise ZeroDivisionError
    assert store.get(b"b") == b"2", "as plyvel does without transaction"


def test_expectations(store: Store) -> None:
    store.put(b"a", b"1")
    version = store.get_entry(b"a").version
    with store.write_batch() as batch:
        batch.expect(b"a", version)
        batch.expect(b"b", None)
        batch.put(b"b", b"2")
    batch = store.write_batch()
    batch.put(b"c", b"3")
    batch.expect(b"a", version)
    batch.expect(b"b", 0)
    with pytest.raises(ConflictError) as caught:
        store.write(batch)
    assert caught.value.key == b"b" and store.get(b"c") is None
    assert "read the key again" in str(caught.value)
    batch.clear()
    batch.expect(b"a", version + 1)
    with pytest.raises(ConflictError):
        batch.write()


# --- ranges ---


def test_delete_range(store: Store) -> None:
    expected = fill(store, 500)
    store.flush()
    store.delete_range(b"key000100", b"key000200")
    store.delete_range(b"key000300", b"key000300")
    store.delete_range(b"key000400", b"key000300")
    store.delete_range(end=b"")  # nothing comes before the empty key, whatever fc/store.h means by an empty end
    store.compact_range(stop=b"")
    assert store.approximate_size(stop=b"") == store.approximate_size(b"b", b"a") == 0
    with store.write_batch() as batch:
        batch.delete_range(b"", b"")
    assert len(batch) == 0
    left = [key for key in expected if not b"key000100" <= key < b"key000200"]
    assert [key for key, _ in store] == left
    store.delete_range(end=b"key000010")
    store.delete_range(b"key000490")
    assert [key for key, _ in store] == [key for key in left if b"key000010" <= key < b"key000490"]
    store.delete_range()
    assert list(store) == []


def test_scans(store: Store) -> None:
    expected = fill(store, 3000)
    items = list(expected.items())
    for step in range(2):
        assert list(store.scan()) == list(store) == items
        assert list(store.scan(b"key000100", b"key002000")) == items[100:2000]
        assert list(store.scan(b"key000100", b"key002000", reverse=True)) == items[1999:99:-1]
        assert list(store.scan(prefix=b"key0010")) == items[1000:1100]
        assert list(store.scan(prefix=b"key0010", reverse=True)) == items[1099:999:-1]
        assert list(store.scan(limit=5)) == items[:5]
        assert list(store.scan(limit=0)) == []
        assert list(store.scan(include_value=False)) == list(expected)
        assert list(store.scan(include_key=False, reverse=True)) == list(expected.values())[::-1]
        assert list(store.scan(b"key000100", b"key000103", include_key=False, include_value=False)) == [None] * 3
        assert list(store.scan(b"x")) == list(store.scan(b"b", b"a")) == []
        if step == 0:
            store.compact()
    for bad, kind in (
        (lambda: store.scan(limit=-1), ValueError),
        (lambda: store.scan(b"a", prefix=b"a"), TypeError),
        (lambda: store.scan("a"), TypeError),
        (lambda: store.iterator(b"a"), TypeError),
        (Iterator, TypeError),
    ):
        with pytest.raises(kind):
            bad()


def test_a_prefix_of_high_bytes(store: Store) -> None:
    for key in (b"\xfe", b"\xff", b"\xff\xff", b"\xff\xff\x01", b"a\xff", b"a\xff\xff", b"b"):
        store.put(key, b"")
    assert list(store.scan(prefix=b"\xff\xff", include_value=False)) == [b"\xff\xff", b"\xff\xff\x01"]
    assert list(store.scan(prefix=b"a\xff", include_value=False)) == [b"a\xff", b"a\xff\xff"]
    assert len(list(store.scan(prefix=b""))) == 7


def test_an_iterator_sees_one_moment(store: Store) -> None:
    expected = fill(store, 1000)
    iterator = iter(store)
    seen = [next(iterator)]
    store.delete_range()
    store.put(b"key9", b"")
    store.flush()
    store.compact()
    assert [*seen, *iterator] == list(expected.items())
    assert list(iterator) == []


OPERATIONS = ("next", "prev", "seek", "seek_to_start", "seek_to_stop")


def answer_of(iterator: Any, operation: str, target: bytes) -> Any:
    if operation == "next":
        return next(iterator, None)
    if operation == "prev":
        try:
            return iterator.prev()
        except StopIteration:
            return None
    return iterator.seek(target) if operation == "seek" else getattr(iterator, operation)()


@pytest.mark.parametrize("seed", range(12))
def test_iterators_move_as_plyvels_do(seed: int, tmp_path: Path) -> None:
    """Without bounds, where plyvel keeps to its own rules; with bounds against the model of them."""
    chance = random.Random(seed)
    keys = sorted({bytes(chance.choices(b"ab\xff", k=chance.randrange(1, 7))) for _ in range(400)})
    theirs = plyvel.DB(str(tmp_path / "plyvel"), create_if_missing=True)
    with Store(SimDisk(seed), **SMALL) as ours:
        for i, key in enumerate(chance.sample(keys, len(keys))):
            ours.put(key, b"%d" % i)
            theirs.put(key, b"%d" % i)
            if i == len(keys) // 2:
                ours.flush()
        items = list(theirs)
        for turn in range(20):
            reverse, bounded = chance.random() < 0.5, turn % 2 == 1
            start, stop = sorted(chance.choices(keys, k=2)) if bounded else (None, None)
            inclusive = {"include_start": chance.random() < 0.5, "include_stop": chance.random() < 0.5}
            inside = [
                (key, value)
                for key, value in items
                if start is None or start < key < stop
                or (key == start and inclusive["include_start"] and (key != stop or inclusive["include_stop"]))
                or (key == stop and inclusive["include_stop"] and (key != start or inclusive["include_start"]))
            ]  # fmt: skip
            model = CursorModel(inside, reverse)
            mine = ours.iterator(reverse=reverse, start=start, stop=stop, **inclusive)
            his = theirs.iterator(reverse=reverse)
            for _ in range(300):
                run = chance.choice((1, 1, 1, 2, 30))
                operation = chance.choices(OPERATIONS, (10, 8, 3, 1, 1))[0]
                target = bytes(chance.choices(b"ab\xff", k=chance.randrange(7)))
                for _ in range(run):
                    got = answer_of(mine, operation, target)
                    expected = getattr(model, operation)(target) if operation == "seek" else getattr(model, operation)()
                    assert got == expected
                    if not bounded:
                        assert answer_of(his, operation, target) == got
    theirs.close()


@pytest.mark.parametrize("seed", range(4))
def test_bounds_are_plyvels(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    keys = sorted({bytes(chance.choices(b"ab\xff", k=chance.randrange(1, 5))) for _ in range(60)})
    theirs = plyvel.DB(str(tmp_path / "plyvel"), create_if_missing=True)
    with Store(SimDisk(seed), **SMALL) as ours:
        for key in keys:
            ours.put(key, key)
            theirs.put(key, key)
        for _ in range(300):
            how: dict[str, Any] = {name: chance.random() < 0.5 for name in ("include_key", "include_value")}
            if chance.random() < 0.3:
                how["prefix"] = bytes(chance.choices(b"ab\xff", k=chance.randrange(4)))
            else:
                how |= {name: chance.random() < 0.5 for name in ("include_start", "include_stop")}
                how["start"], how["stop"] = (
                    bytes(chance.choices(b"ab\xff", k=chance.randrange(1, 5))) if chance.random() < 0.8 else None
                    for _ in range(2)
                )
            expected = list(theirs.iterator(**how))
            assert list(ours.iterator(**how)) == expected, how
            assert list(ours.iterator(reverse=True, **how)) == expected[::-1], how
    theirs.close()


def test_closing_an_iterator(store: Store) -> None:
    fill(store, 10)
    with store.iterator() as iterator:
        next(iterator)
        assert not iterator.closed
    assert iterator.closed
    iterator.close()
    for call in (lambda: next(iterator), iterator.prev):
        with pytest.raises(ClosedError):
            call()


# --- snapshots ---


def test_snapshots(store: Store) -> None:
    expected = fill(store, 500)
    with store.snapshot() as snapshot:
        assert isinstance(snapshot, Snapshot)
        sequence = snapshot.sequence
        store.delete_range(b"key000100", b"key000200")
        store.put(b"key000001", b"new")
        store.flush()
        store.compact()
        fill(store, 300, b"other")
        assert snapshot.get(b"key000001") == expected[b"key000001"]
        assert snapshot.get(b"new", b"none") == b"none"
        assert snapshot.get_entry(b"key000150").value == expected[b"key000150"]
        assert b"key000150" in snapshot
        assert snapshot.multi_get([b"key000150", b"x"]) == [expected[b"key000150"], None]
        assert list(snapshot) == list(snapshot.scan()) == list(expected.items())
        assert next(snapshot.iterator(prefix=b"key00015", reverse=True))[0] == b"key000159"
        assert store.stats().snapshots == 1
        left = iter(snapshot)
        assert snapshot.sequence == sequence and not snapshot.closed
    assert snapshot.closed and store.stats().snapshots == 0
    assert len(list(left)) == 500
    for call in (lambda: snapshot.get(b"a"), snapshot.scan, lambda: snapshot.sequence, lambda: snapshot.multi_get([])):
        with pytest.raises(ClosedError):
            call()
    snapshot.close()
    snapshot.release()
    with pytest.raises(TypeError):
        Snapshot()


def test_a_snapshot_is_of_all_keyspaces(store: Store) -> None:
    users = store.keyspace("users")
    users.put(b"a", b"1")
    with store.snapshot() as snapshot, users.snapshot() as of_users:
        users.put(b"a", b"2")
        assert snapshot.keyspace(users).get(b"a") == b"1"
        assert of_users.get(b"a") == b"1"
        assert of_users.keyspace(store).get(b"a") is None
        assert snapshot.keyspace(users.prefixed(b"a")).get(b"") == b"1"
        with pytest.raises(TypeError):
            snapshot.keyspace("users")
        with pytest.raises(ValueError, match="another store"):
            snapshot.keyspace(Store(SimDisk()))


# --- keyspaces and prefixes ---


def test_keyspaces(tmp_path: Path) -> None:
    with Store(tmp_path / "store", **SMALL) as store:
        users = store.keyspace("users", memtable_bytes=131072, filter_bits=0)
        logs = store.keyspace("lögs", compression=None)
        assert isinstance(users, Keyspace)
        assert (store.name, users.name, logs.name) == ("default", "users", "lögs")
        users.put(b"a", b"user")
        logs.put(b"a", b"log")
        store.put(b"a", b"default")
        with store.write_batch() as batch:
            batch.put(b"b", b"1")
            batch.put(b"b", b"2", keyspace=users)
            batch.delete(b"a", keyspace=logs)
            batch.expect(b"a", users.get_entry(b"a").version, keyspace=users)
        assert store.keyspaces() == ["default", "lögs", "users"]
        assert list(users) == [(b"a", b"user"), (b"b", b"2")]
        users.flush()
        assert users.stats().levels[0].tables == 1
    with Store(tmp_path / "store", **SMALL) as store:
        users = store.keyspace("users", create=False)
        assert list(users) == [(b"a", b"user"), (b"b", b"2")]
        assert store.keyspace("default").get(b"a") == b"default"
        assert list(store.keyspace("lögs")) == []
        store.drop_keyspace("users")
        for call in (lambda: users.get(b"a"), lambda: users.put(b"a", b""), users.scan, users.flush):
            with pytest.raises(KeyspaceError):
                call()
        assert list(store.keyspace("users")) == []
        with pytest.raises(KeyspaceError, match="there are default, lögs, users") as caught:
            store.keyspace("none", create=False)
        assert isinstance(caught.value, LookupError)
        with pytest.raises(KeyspaceError):
            store.drop_keyspace("none")
        for bad, kind in (
            (lambda: store.drop_keyspace("default"), ValueError),
            (lambda: store.keyspace(""), ValueError),
            (lambda: store.keyspace("x" * 256), ValueError),
            (lambda: store.keyspace(b"x"), TypeError),
            (lambda: store.keyspace("x", colour=1), TypeError),
            (lambda: store.keyspace("x", compression="gzip"), ValueError),
            (lambda: store.keyspace("x", memtable_bytes=1), ValueError),
            (lambda: store.keyspace("x", memtable_bytes="1"), TypeError),
            (Keyspace, TypeError),
        ):
            with pytest.raises(kind):
                bad()
        assert store.keyspaces() == ["default", "lögs", "users"]


def test_prefixed(store: Store) -> None:
    fill(store, 10)
    store.put(b"us", b"")
    store.put(b"ut", b"")
    users = store.prefixed(b"us").prefixed(b":")
    for key in (b"a", b"b", b"c", b""):
        users.put(key, key)
    assert store.get(b"us:a") == b"a"
    assert (users.get(b"b"), b"b" in users, users.get_entry(b"c").value) == (b"b", True, b"c")
    assert [key for key, _ in users] == [b"", b"a", b"b", b"c"]
    assert list(users.scan(b"b", include_value=False)) == [b"b", b"c"]
    assert list(users.scan(stop=b"b", include_value=False, reverse=True)) == [b"a", b""]
    assert list(users.scan(prefix=b"b")) == [(b"b", b"b")]
    assert users.multi_get([b"a", b"x"]) == [b"a", None]
    iterator = users.iterator()
    iterator.seek(b"bb")
    assert next(iterator) == (b"c", b"c")
    with users.write_batch() as batch:
        batch.put(b"d", b"d")
        batch.delete(b"")
        batch.delete_range(b"a", b"b")
    assert [key for key, _ in users] == [b"b", b"c", b"d"]
    assert users.compare_and_set(b"e", None, b"")
    with users.snapshot() as snapshot:
        users.delete(b"b")
        assert snapshot.get(b"b") == b"b"
    batch = users.write_batch()
    batch.expect(b"e", None)
    with pytest.raises(ConflictError) as caught:
        batch.write()
    assert caught.value.key == b"e"
    users.delete_range()
    assert list(users) == [] and len(list(store)) == 12
    assert users.approximate_size() == 0


# --- upkeep ---


def test_flush_compact_and_sizes(store: Store) -> None:
    fill(store, 2000)
    store.delete_range(b"key000500", b"key001500")
    store.flush()
    assert store.stats().keyspaces["default"].memtable_entries == 0
    store.compact_range(b"key000000", b"key000100")
    store.compact_range(stop=b"key000100")
    store.compact()
    keyspace = store.stats().keyspaces["default"]
    assert keyspace.compactions + keyspace.moved_tables > 0
    assert sum(level.entries for level in keyspace.levels) == 1000
    everything = store.approximate_size()
    assert 100_000 < everything < 200_000
    low, high = store.approximate_sizes((None, b"key000250"), (b"key000250", None))
    assert 0 < low < high and low + high == pytest.approx(everything, rel=0.2)


def test_stats(store: Store) -> None:
    fill(store, 100)
    with store.write_batch() as batch:
        batch.put(b"a", b"")
        batch.put(b"b", b"")
    store.get(b"a")
    store.sync()
    stats = store.stats()
    assert (stats.writes, stats.operations, stats.sequence) == (101, 102, 102)
    assert stats.gets == 1 and stats.written_bytes > 10_000
    assert stats.log.durable == stats.log.end and stats.log.syncs >= 1
    assert stats.snapshots == 0 and stats.busy == 0 and stats.manifest_bytes > 0
    assert list(stats.keyspaces) == ["default"]
    assert len(stats.keyspaces["default"].levels) == 7


def test_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "store" / "checkpoint.leaving-0").mkdir(parents=True)
    (tmp_path / "store" / "checkpoint.leaving-0" / "of an earlier crash").touch()
    with Store(tmp_path / "store", **SMALL) as store:
        expected = fill(store, 2000)
        store.keyspace("users").put(b"a", b"1")
        store.checkpoint(tmp_path / "copy")
        assert not list((tmp_path / "store").glob("checkpoint*"))
        store.delete_range()
        store.compact()
        with pytest.raises(ExistsError):
            store.checkpoint(tmp_path / "copy")
        with pytest.raises(StoreError) as caught:
            store.checkpoint(tmp_path / "no" / "copy")
        assert caught.value.errno == errno.ENOENT
        paths = [str(tmp_path / name) for name in ("second", "third", "fourth")]
        gevent.joinall([gevent.spawn(store.checkpoint, path) for path in paths], raise_error=True)
    with Store(tmp_path / "copy", **SMALL) as copy:
        assert dict(copy) == expected
        assert copy.keyspace("users", create=False).get(b"a") == b"1"
        copy.put(b"new", b"")
    with Store(tmp_path / "second", **SMALL) as second:
        assert list(second) == []


def test_a_checkpoint_on_another_filesystem(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one filesystem")
    with Store(tmp_path / "store", **SMALL) as store, pytest.raises(StoreError, match="backup") as caught:
        store.checkpoint(other / "fastcore-test-checkpoint")
    assert caught.value.errno == errno.EXDEV


def test_a_checkpoint_on_a_simulated_disk() -> None:
    disk = SimDisk(1)
    store = Store(disk, **SMALL)
    fill(store, 100)
    store.checkpoint("copy")
    assert disk.list("copy")
    with pytest.raises(ExistsError):
        store.checkpoint("copy")
    with pytest.raises(ValueError, match="folder"):
        store.checkpoint("copy/deeper")


# --- errors ---


def test_keys_and_values_are_bytes(store: Store) -> None:
    for call in (
        lambda: store.get("a"),
        lambda: store.put("a", b""),
        lambda: store.put(b"a", "b"),
        lambda: store.delete("a"),
        lambda: "a" in store,
        lambda: store.iterator().seek("a"),
        lambda: store.prefixed("a"),
    ):
        with pytest.raises(TypeError, match="encode"):
            call()
    for wrong in (None, 5, [1, 2]):
        with pytest.raises(TypeError, match="bytes-like"):
            store.get(wrong)
        with pytest.raises(TypeError, match="bytes-like"):
            store.put(b"a", wrong)
    for call in (lambda: store.put(b"a", b"", durability="disk"), lambda: store.delete(b"a", durability=None)):
        with pytest.raises(ValueError, match="'memory' or 'flushed'"):
            call()
    with pytest.raises(TooLargeError):
        store.put(b"k" * ((1 << 20) + 1), b"")
    assert list(store) == []


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((MissingError, FileNotFoundError)):
        Store(tmp_path / "none", create_if_missing=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="create_if_missing"):
        Store(tmp_path / "empty", create_if_missing=False)
    with Store(tmp_path / "empty", **SMALL) as store:
        store.put(b"a", b"1")
    with pytest.raises(ExistsError):
        Store(tmp_path / "empty", error_if_exists=True)
    Store(tmp_path / "empty", create_if_missing=False, **SMALL).close()


def test_one_opener(tmp_path: Path) -> None:
    with Store(tmp_path / "store", **SMALL) as store:
        with pytest.raises(LockedError, match="one opener") as caught:
            Store(tmp_path / "store", **SMALL)
        assert caught.value.filename == str(tmp_path / "store")
        store.put(b"a", b"1")
    Store(tmp_path / "store", **SMALL).close()


def test_bad_options() -> None:
    for options, kind in (
        ({"memtable_bytes": 10}, ValueError),
        ({"memtable_bytes": -1}, ValueError),
        ({"cache_bytes": 1}, ValueError),
        ({"segment_bytes": 100}, ValueError),
        ({"segment_bytes": 1 << 40}, ValueError),
        ({"block_bytes": "big"}, TypeError),
        ({"compression": "gzip"}, ValueError),
        ({"write_buffer_size": 1}, TypeError),
        ({"clock": 5}, TypeError),
    ):
        with pytest.raises(kind):
            Store(SimDisk(), **options)
    with pytest.raises(TypeError):
        Store(5)
    closed = SimDisk()
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        Store(closed)
    store = Store(SimDisk(), **SMALL)
    with pytest.raises(RuntimeError):
        store.__init__(SimDisk())
    threaded = Store(SimDisk(), threaded=True, **SMALL)
    with pytest.raises(RuntimeError):
        threaded.step()
    threaded.close()


def test_a_closed_store(tmp_path: Path) -> None:
    store = Store(tmp_path, **SMALL)
    fill(store, 10)
    batch, snapshot, iterator, users = store.write_batch(), store.snapshot(), iter(store), store.keyspace("users")
    next(iterator)
    store.close()
    store.close()
    for call in (
        lambda: store.get(b"a"),
        lambda: store.put(b"a", b""),
        lambda: users.put(b"a", b""),
        lambda: batch.put(b"a", b""),
        lambda: snapshot.get(b"a"),
        lambda: list(iterator),
        lambda: store.keyspace("x"),
        store.keyspaces,
        store.stats,
        store.sync,
        store.flush,
        store.snapshot,
        store.__enter__,
        lambda: store.checkpoint("x"),
    ):
        with pytest.raises(ClosedError) as caught:
            call()
        assert isinstance(caught.value, ValueError)
    assert store.closed and snapshot.closed and iterator.closed
    assert "closed" in repr(store)
    Store(tmp_path, **SMALL).close()


def test_a_store_that_was_never_opened() -> None:
    store = Store.__new__(Store)
    for call in (lambda: store.get(b"x"), store.sync, store.scan, store.__enter__, store.stats, store.write_batch):
        with pytest.raises(ValueError):
            call()
    assert store.closed and store.path is None
    store.close()
    assert repr(store)


def test_a_failed_sync_makes_it_read_only() -> None:
    disk = SimDisk(1)
    store = Store(disk, **SMALL)
    store.put(b"a", b"1", sync=True)
    assert store.error is None
    disk.faults(sync_fail=1)
    with pytest.raises(StoreError) as caught:
        store.put(b"b", b"2", sync=True)
    assert caught.value.errno == errno.EIO
    disk.faults()
    for call in (lambda: store.put(b"c", b"3"), lambda: store.delete(b"a"), store.sync):
        with pytest.raises(ReadOnlyError, match="open it anew"):
            call()
    assert isinstance(store.error, ReadOnlyError)
    assert store.get(b"a") == b"1"
    with pytest.raises(StoreError):
        store.close()
    assert store.closed
    with Store(disk, **SMALL) as store:
        assert store.get(b"a") == b"1"


def test_a_full_disk() -> None:
    disk = SimDisk(1, capacity=400_000)
    store = Store(disk, **SMALL)
    with pytest.raises(DiskFullError) as caught:
        for i in range(100_000):
            store.put(b"%d" % i, b"x" * 1000)
            store.sync()
    assert caught.value.errno == errno.ENOSPC
    assert store.get(b"0") == b"x" * 1000
    disk.faults()
    with pytest.raises(DiskFullError):
        Store(SimDisk(capacity=1000), **SMALL)


def test_corruption() -> None:
    disk = SimDisk(1)
    with Store(disk, **SMALL) as store:
        fill(store, 500)
        store.flush()
        store.compact()
    damaged = [name for name in disk.list() if name.endswith(".tbl")]
    assert damaged
    for name in damaged:
        disk.flip(name, 8 * 600)
    with Store(disk, **SMALL) as store:
        with pytest.raises(CorruptionError) as caught:
            list(store)
        assert caught.value.file in damaged and caught.value.errno == errno.EBADMSG
        assert isinstance(caught.value.offset, int) and caught.value.what
        assert "repair" in str(caught.value)


def test_other_peoples_files(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_bytes(b"x" * 100)
    (tmp_path / "notes.txt").write_bytes(b"mine")
    with pytest.raises((FormatError, CorruptionError)):
        Store(tmp_path, **SMALL)
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


# --- greenlets and threads ---


def test_nobody_else_waits_while_a_sync_stalls() -> None:
    """2 s of it: the hub goes on, and so do reads and writes that need no disk."""
    disk = SimDisk(1)
    store = Store(disk, threaded=True, segment_bytes=1 << 20)
    fill(store, 1000)
    store.sync()
    disk.faults(sync_stall=2)
    late = [0.0]
    reads = []

    def tick() -> None:
        while True:
            begin = time.monotonic()
            gevent.sleep(0.001)
            late.append(time.monotonic() - begin - 0.001)

    def read() -> None:
        while True:
            begin = time.perf_counter()
            store.get(b"key000500")
            store.put(b"unsynced", b"")
            reads.append(time.perf_counter() - begin)
            gevent.sleep(0.0005)

    helpers = [gevent.spawn(tick), gevent.spawn(read)]
    gevent.sleep(0)
    begin = time.monotonic()
    writers = [gevent.spawn(store.put, b"%d" % i, b"", sync=True) for i in range(20)]
    gevent.joinall(writers, raise_error=True)
    assert time.monotonic() - begin >= 1.9
    gevent.killall(helpers)
    disk.faults()
    assert len(late) > 300 and len(reads) > 300
    # The 5 ms are for a machine of one's own: what others' programs take from this thread is theirs.
    late.sort()
    assert late[int(len(late) * 0.99)] < 0.005 and late[-1] < 0.5
    assert sorted(reads)[int(len(reads) * 0.99)] < 0.005
    store.close()


def test_the_hub_goes_on_while_writers_wait_for_room() -> None:
    """Every sync stalls: the log's, of segments and of tables. Writers fill what there is; flush() and close() wait too."""
    disk = SimDisk(1)
    store = Store(disk, threaded=True, **SMALL)
    fill(store, 100)
    store.flush()
    disk.faults(sync_stall=0.5)
    turns: list[float] = []

    def tick() -> None:
        while True:
            begin = time.monotonic()
            gevent.sleep(0.001)
            turns.append(time.monotonic() - begin)

    def write() -> None:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            store.put(b"key000001", b"x" * 1000)

    def flush() -> None:
        store.put(b"key000001", b"")
        store.flush()

    def close() -> None:
        store.put(b"key000001", b"")
        store.close()

    helper = gevent.spawn(tick)
    for works in ([write] * 5, [flush], [close]):
        turns.clear()
        begin = time.monotonic()
        gevent.joinall([gevent.spawn(work) for work in works], raise_error=True)
        assert time.monotonic() - begin > 0.4
        assert max(turns) < 0.25, "half a stall would show"
        assert len(turns) > 100 and statistics.median(turns) < 0.005
        if works[0] is write:
            assert store.stats().busy > 0
    helper.kill()


def test_a_read_from_the_disk_waits_in_the_pool(tmp_path: Path) -> None:
    with Store(tmp_path, **SMALL) as store:
        expected = fill(store, 5000)
        store.flush()
        store.compact()
        keys = list(expected)

        def read(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(100):
                key = chance.choice(keys)
                assert store.get(key) == expected[key]
            some = chance.sample(keys, 50)
            assert store.multi_get(some) == [expected[key] for key in some]
            assert list(store.scan(b"key001000", b"key001500", reverse=seed % 2 == 0)) == sorted(
                list(expected.items())[1000:1500], reverse=seed % 2 == 0
            )
            entry = store.get_entry(keys[seed])
            assert not store.compare_and_set(keys[seed], entry.version + 1, b"")

        gevent.joinall([gevent.spawn(read, seed) for seed in range(10)], raise_error=True)
        threads = [threading.Thread(target=in_thread, args=(lambda seed=seed: read(seed),)) for seed in range(3)]
        for thread in threads:
            thread.start()
        gevent.joinall([gevent.spawn(read, seed) for seed in range(10)], raise_error=True)
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def test_what_is_in_memory_is_answered_at_once() -> None:
    """And what is not lets the other greenlets run meanwhile."""
    disk = SimDisk(1)  # nothing of it is in the kernel's memory
    with Store(disk, threaded=True, **SMALL) as store:
        fill(store, 100)
        store.flush()
    with Store(disk, threaded=True, **SMALL) as store:
        entry = store.get_entry(b"key000099")
        ran = []
        gevent.spawn(ran.append, 1)
        for _ in range(2):
            store.put(b"a", b"1")
            assert store.get(b"a") == b"1" and store.get(b"key000099") == entry.value
            assert store.multi_get([b"a", b"absent"]) == [b"1", None]
            assert store.compare_and_set(b"b", None, b"") and store.compare_and_set(
                b"b", store.get_entry(b"b").version, None
            )
            assert next(store.scan(b"key000099"))[0] == b"key000099"
        assert ran == [], "a greenlet ran, so this one has waited"

        def conflict() -> None:
            batch = store.write_batch()
            batch.expect(b"key000020", 1)
            with pytest.raises(ConflictError):
                store.write(batch)

        for call in (
            lambda: store.get(b"key000000"),
            lambda: store.multi_get([b"a", b"key000050"]),
            lambda: list(store.scan(b"key000010", b"key000015")),
            conflict,
        ):
            gevent.sleep(0)
            ran.clear()
            gevent.spawn(ran.append, 1)
            call()
            assert ran == [1], "no greenlet ran, so the hub was blocked"


def test_one_that_is_killed_leaves_the_others() -> None:
    with Store(SimDisk(1), threaded=True, **SMALL) as store:
        expected = fill(store, 5000)
        store.flush()
        store.compact()
        keys = list(expected)
        iterator = iter(store)
        for turn in range(200):
            batch = store.write_batch()
            batch.expect(keys[turn * 7], 1)
            victims = [
                gevent.spawn(store.get, keys[turn * 3]),
                gevent.spawn(store.multi_get, keys[turn * 5 :: 100]),
                gevent.spawn(next, iterator, None),
                gevent.spawn(store.write, batch),
            ]
            other = gevent.spawn(store.get, keys[turn * 11])
            gevent.sleep(0)
            gevent.killall(victims)
            assert other.get(timeout=10) == expected[keys[turn * 11]]
            try:
                iterator.seek(keys[turn])
            except ValueError as error:
                assert "used by another" in str(error)
        with gevent.Timeout(10):
            while True:
                try:
                    iterator.seek(keys[7])
                    break
                except ValueError:
                    gevent.sleep(0.001)
        assert next(iterator) == (keys[7], expected[keys[7]])


def test_an_iterator_has_one_user() -> None:
    with Store(SimDisk(1), threaded=True, **SMALL) as store:
        fill(store, 3000)
        store.flush()
        store.compact()
        iterator = store.iterator()
        seen = 0
        refused = 0

        def walk() -> None:
            nonlocal seen, refused
            while True:
                try:
                    next(iterator)
                    seen += 1
                except StopIteration:
                    return
                except ValueError:
                    refused += 1
                    gevent.sleep(0)

        gevent.joinall([gevent.spawn(walk) for _ in range(3)], raise_error=True)
        assert seen == 3000 and refused > 0


def test_waiting_for_room() -> None:
    """More is written than memtables take, by greenlets and threads: they wait, and nothing is lost."""
    store = Store(SimDisk(1, sync_stall=0.005), threaded=True, **SMALL)

    def work(name: bytes) -> None:
        for i in range(300):
            store.put(name + b"%d" % i, b"x" * 1000)

    thread = threading.Thread(target=in_thread, args=(lambda: work(b"thread"),))
    thread.start()
    gevent.joinall([gevent.spawn(work, b"greenlet%d " % i) for i in range(5)], raise_error=True)
    thread.join(60)
    assert not thread.is_alive()
    assert len(list(store)) == 1800
    store.close()


@pytest.mark.parametrize("greenlets", [0, 100])
def test_writers_spend_the_delays_they_are_given(greenlets: int) -> None:
    """All together, not each its own: greenlets are slowed to the same rate as one thread."""
    disk = SimDisk(1)
    options = {**SMALL, "segment_bytes": 32 << 20, "memtable_bytes": 1 << 20, "memtables_max": 16}
    store = Store(disk, threaded=True, **options)
    disk.faults(sync_stall=1)  # so that memtables gather

    def work(n: int) -> None:
        for i in range(n):
            store.put(b"%d" % i, b"x" * 1000)

    begin = time.monotonic()
    if greenlets:
        gevent.joinall([gevent.spawn(work, 13000 // greenlets) for _ in range(greenlets)], raise_error=True)
    else:
        in_thread(lambda: work(13000))
    seconds, stats = time.monotonic() - begin, store.stats()
    disk.faults()
    store.close()
    assert stats.busy == 0 and stats.delayed_seconds > 0.05
    assert seconds > stats.delayed_seconds - 0.003, "2 ms are lent, 0.2 ms gathered"


def test_threads_and_hubs_write_durably(tmp_path: Path) -> None:
    store = Store(tmp_path, **SMALL)

    def work(name: bytes) -> None:
        for i in range(20):
            store.put(name + b"%d" % i, b"", sync=True)

    def hub(name: bytes) -> None:
        gevent.joinall([gevent.spawn(work, name + b"%d " % i) for i in range(5)], raise_error=True)
        gevent.get_hub().destroy(destroy_loop=True)

    threads = [threading.Thread(target=target, args=(b"%d " % i,)) for i, target in enumerate((hub, hub, work, work))]
    for thread in threads:
        thread.start()
    hub_names = [gevent.spawn(work, b"main%d " % i) for i in range(5)]
    gevent.joinall(hub_names, raise_error=True)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    stats = store.stats()
    assert stats.writes == 20 * 17 == len(list(store))
    assert stats.log.syncs < stats.writes
    store.close()


def test_closing_while_others_wait() -> None:
    disk = SimDisk(1)
    store = Store(disk, threaded=True, **SMALL)
    disk.faults(sync_stall=0.2)
    waiting = [gevent.spawn(store.put, b"%d" % i, b"", sync=True) for i in range(5)]
    gevent.sleep(0.02)
    store.close()
    gevent.joinall(waiting, timeout=10)
    assert all(greenlet.ready() and not isinstance(greenlet.exception, TimeoutError) for greenlet in waiting)


def test_long_calls_leave_the_hub_alone(tmp_path: Path) -> None:
    """Opening, flushing, compacting, checkpoints and closing are another thread's work."""
    disk = SimDisk(1)
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            gevent.sleep(0.001)

    ticker = gevent.spawn(tick)
    store = Store(disk, threaded=True, **SMALL)
    fill(store, 500)
    disk.faults(sync_stall=0.05)
    for call in (
        store.flush,
        store.compact,
        lambda: store.checkpoint("copy"),
        lambda: store.keyspace("x"),
        store.close,
    ):
        store.put(b"a", b"")
        before = ticks
        call()
        assert ticks > before + 5, call
    ticker.kill()


def test_it_is_freed(tmp_path: Path) -> None:
    """Whatever is let go of first, and in circles with itself."""
    for turn in range(6):
        store = Store(tmp_path / str(turn), **SMALL)
        fill(store, 10)
        things: list[Any] = [store, store.snapshot(), iter(store), store.keyspace("x"), store.write_batch()]
        gevent.spawn(store.put, b"a", b"", sync=True).get()
        circle: list[Any] = [things, store]
        circle.append(circle)
        random.Random(turn).shuffle(things)
        del store, circle
        while things:
            things.pop()
    gc.collect()
    for turn in range(6):
        Store(tmp_path / str(turn), **SMALL).close()


# --- fork ---


def child(function: Callable[[], object]) -> int:
    """The exit code of a forked child that calls it: 0 when it raised ForkedError."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
        except ForkedError:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_must_not_use_it(tmp_path: Path) -> None:
    store = Store(tmp_path, **SMALL)
    fill(store, 1000)
    iterator, snapshot, batch = iter(store), store.snapshot(), store.write_batch()
    for call in (
        lambda: store.get(b"a"),
        lambda: store.put(b"a", b""),
        lambda: list(iterator),
        lambda: snapshot.get(b"a"),
        lambda: batch.put(b"a", b""),
        store.sync,
        store.flush,
        store.stats,
    ):
        assert child(call) == 0

    def close_and_go() -> None:
        nonlocal store, iterator, snapshot, batch
        snapshot.close()
        iterator.close()
        store.close()
        del store, iterator, snapshot, batch
        gc.collect()
        raise ForkedError

    assert child(close_and_go) == 0
    store.put(b"y", b"", sync=True)
    assert store.get(b"y") == b""
    store.close()


# --- memtables ---


def test_a_memtable() -> None:
    table = Memtable(1 << 20)
    assert (len(table), table.last, list(table)) == (0, 0, [])
    assert [table.put(b"a", b"1"), table.put(b"b", b"2"), table.put(b"a", b"3")] == [1, 2, 3]
    assert (table.get(b"a"), table.get(b"a", at=2), table.get(b"a", b"none", at=0)) == (b"3", b"1", b"none")
    assert table.delete(b"b") == 4
    assert (b"a" in table, b"b" in table, len(table), table.last) == (True, False, 2, 4)
    assert table.delete_range(b"a", b"b") == 5
    assert list(table) == [] and list(table.scan(at=3)) == [(b"a", b"3"), (b"b", b"2")]
    before = table.bytes
    for i in range(100):
        table.put(bytearray(b"%02d" % i), memoryview(b"x"))
    assert before < table.bytes <= table.max_bytes == 1 << 20
    scan = table.scan(b"10", b"20")
    table.put(b"105", b"later")
    assert [key for key, _ in scan] == [b"%d" % i for i in range(10, 20)]
    assert list(scan) == []
    assert [key for key, _ in table.scan(prefix=b"1", reverse=True)][:2] == [b"19", b"18"]
    assert "keys" in repr(table)


def test_a_full_memtable() -> None:
    table = Memtable(65536)
    with pytest.raises(MemtableFullError):
        for i in range(100_000):
            table.put(b"%06d" % i, b"x" * 100)
    assert [key for key, _ in table] == [b"%06d" % i for i in range(table.last)]
    for bad, kind in (
        (lambda: table.put("a", b""), TypeError),
        (lambda: table.put(b"a", 5), TypeError),
        (lambda: table.get(b"a", at=-1), ValueError),
        (lambda: table.get(b"a", at=table.last + 1), ValueError),
        (lambda: table.scan(b"a", prefix=b"a"), TypeError),
        (lambda: Memtable(100), ValueError),
        (lambda: Memtable.__new__(Memtable).get(b"a"), ValueError),
        (lambda: table.__init__(1 << 20), RuntimeError),
        (lambda: table.put(b"k" * ((1 << 20) + 1), b""), ValueError),
    ):
        with pytest.raises(kind):
            bad()


def test_a_model_of_everything(tmp_path: Path) -> None:
    """A long run of one program on a real disk with threads, against the model."""
    chance = random.Random(5)
    model = StoreModel()
    store = Store(tmp_path, clock=lambda: model.now, **SMALL)
    for step in range(6000):
        key = b"%03d" % chance.randrange(400)
        kind = chance.random()
        if kind < 0.6:
            value = b"%d " % step + b"v" * chance.randrange(100)
            ttl = chance.choice((None, None, 50))
            store.put(key, value, ttl=ttl)
            model.put("default", key, value, ttl)
        elif kind < 0.8:
            store.delete(key)
            model.delete("default", key)
        elif kind < 0.82:
            end = b"%03d" % chance.randrange(400)
            store.delete_range(key, end)
            model.delete_range("default", key, end)
        elif kind < 0.95:
            assert store.get(key) == model.get("default", key)
        elif kind < 0.96:
            model.now += chance.randrange(20)
        elif kind < 0.98:
            assert list(store.scan(key)) == model.items("default", key)
        elif kind < 0.99:
            store.flush()
        else:
            store.compact_range(key)
        if step % 1500 == 1499:
            store.close()
            store = Store(tmp_path, clock=lambda: model.now, **SMALL)
            assert list(store) == model.items("default")
    store.close()
    assert isinstance(Disk(tmp_path).list(), list)
