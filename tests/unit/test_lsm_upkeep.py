"""Flushing, compaction, figures, checkpoints, and what a store says when something is wrong."""

import errno
from pathlib import Path
from typing import Any

import gevent
import pytest
from lsm_stores import SMALL, fill

from fastcore.disk import SimDisk
from fastcore.lsm import (
    ClosedError,
    CorruptionError,
    DiskFullError,
    ExistsError,
    FormatError,
    LockedError,
    MissingError,
    ReadOnlyError,
    Store,
    StoreError,
    TooLargeError,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["real", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Store(tmp_path / "store" if request.param == "real" else SimDisk(1), **SMALL) as store:
        yield store


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
    other = next(place for place in (Path("/dev/shm"), ROOT) if place.stat().st_dev != tmp_path.stat().st_dev)
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
