"""Single keys, batches, snapshots and keyspaces of a store."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from lsm_stores import SMALL, fill

from fastcore.disk import SimDisk
from fastcore.lsm import (
    ClosedError,
    ConflictError,
    Entry,
    Keyspace,
    KeyspaceError,
    Snapshot,
    Store,
    WriteBatch,
)


@pytest.fixture(params=["real", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Store(tmp_path / "store" if request.param == "real" else SimDisk(1), **SMALL) as store:
        yield store


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
