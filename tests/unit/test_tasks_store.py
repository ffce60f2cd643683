"""Stores of the task queue."""

from pathlib import Path

import pytest

from apps.tasks.store import StoreFailed
from apps.tasks.store_embedded import EmbeddedStore
from contract.tasks_store import check_store
from fastcore import lsm
from fastcore.disk import SimDisk
from models.memory_store import MemoryStore


def test_the_model_is_one() -> None:
    check_store(MemoryStore())


def test_the_embedded_one_is_one_and_keeps_it(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "jobs")
    check_store(store)
    store.write([("jobs", b"kept", b"1")])
    store.sync()
    with pytest.raises(lsm.LockedError):
        EmbeddedStore(tmp_path / "jobs")
    store.close()
    again = EmbeddedStore(tmp_path / "jobs")
    assert list(again.scan("jobs")) == [(b"kept", b"1")]
    again.close()


def test_a_disk_that_fails_says_so() -> None:
    disk = SimDisk()
    store = EmbeddedStore(disk)
    store.write([("jobs", b"a", b"1")])
    store.sync()
    disk.faults(sync_fail=1.0)
    store.write([("jobs", b"b", b"2")])
    with pytest.raises(StoreFailed):
        store.sync()
    with pytest.raises(StoreFailed):
        store.write([("jobs", b"c", b"3")])
    assert store.failed
    assert store.get("jobs", b"a") == b"1"
