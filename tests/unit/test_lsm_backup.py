"""Backups of a store: whole, incremental, restored to what was there, and safe against whatever breaks off half way."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest

from fastcore import storebackup
from fastcore.lsm import CorruptionError, ExistsError, LockedError, MissingError, Store
from fastcore.storebackup import backup, backups, purge, restore
from fastcore.storecheck import verify

OPTIONS = {"memtable_bytes": 256 << 10, "segment_bytes": 1 << 20}


def open_store(path: Path) -> Store:
    return Store(path, **OPTIONS)


def fill(store: Store, begin: int, end: int, mark: bytes = b"") -> None:
    for i in range(begin, end):
        store.put(b"key%06d" % i, b"value %d " % i + mark + b"." * 80)
    store.keyspace("users").put(b"last", b"%d" % end)
    store.flush()


def content(path: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    with open_store(path) as store:
        return {name: list(store.keyspace(name)) for name in store.keyspaces()}


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path / "store") as store:
        yield store


def test_backup_and_restore(store, root, tmp_path):
    fill(store, 0, 2000)
    store.put(b"in the log only", b"1")
    told = []
    made = backup(store, root, progress=lambda done, total: told.append((done, total)))
    assert made.number == 1 and made.copied_tables == made.tables > 0 and made.copied_bytes == made.bytes
    assert told[-1] == (made.bytes, made.bytes)
    was = {name: list(store.keyspace(name)) for name in store.keyspaces()}
    fill(store, 1000, 3000, b"later")
    told = []
    restored = restore(root, tmp_path / "new", progress=lambda done, total: told.append((done, total)))
    assert restored == made and told[-1] == (made.bytes, made.bytes)
    assert content(tmp_path / "new") == was
    assert verify(tmp_path / "new").sound
    assert names_in(tmp_path) == ["backups", "new", "store"]


def test_only_new_tables_are_copied(store, root, tmp_path):
    fill(store, 0, 3000)
    first = backup(store, root)
    again = backup(store, root)
    assert again.number == 2 and again.copied_tables == 0 and again.bytes == first.bytes
    fill(store, 3000, 3100)
    third = backup(store, root)
    assert 0 < third.copied_tables < third.tables
    assert [made.number for made in backups(root)] == [1, 2, 3]
    assert backups(root)[2] == third
    for number, last in ((1, b"3000"), (3, b"3100"), (None, b"3100")):
        target = tmp_path / f"restored{number}"
        restore(root, target, number)
        with open_store(target) as copy:
            assert copy.keyspace("users").get(b"last") == last


def test_restored_stores_that_go_different_ways_share_no_wrong_table(store, root, tmp_path, monkeypatch):
    """Same numbers, same keys, same lengths: only the values differ, and those lie before what is compared."""
    monkeypatch.setattr(storebackup, "TAIL_BYTES", 64)
    fill(store, 0, 500)
    backup(store, root)
    expected = {}
    for mark in (b"A", b"B"):
        target = tmp_path / mark.decode()
        restore(root, target, 1)
        with open_store(target) as other:
            assert backup(other, root).copied_tables == 0  # the same tables still
            fill(other, 500, 900, mark)
            number = backup(other, root).number
            expected[number] = list(other)
    lists = [json.loads((root / str(n) / "backup.json").read_text())["tables"] for n in expected]
    assert [(t["name"], t["bytes"]) for t in lists[0]] == [(t["name"], t["bytes"]) for t in lists[1]]
    for number, pairs in expected.items():
        restore(root, tmp_path / "again", number)
        with open_store(tmp_path / "again") as again:
            assert list(again) == pairs
        shutil.rmtree(tmp_path / "again")


def test_purge(store, root, tmp_path):
    for i in range(4):
        fill(store, 0, 500, b"%d" % i)
        store.compact()
        backup(store, root)
    (root / "7.new").mkdir()
    (root / "tables" / "000001-aa.tbl.new").write_bytes(b"half a table")
    before = len(names_in(root / "tables"))
    assert purge(root, keep=2) == [1, 2]
    assert [made.number for made in backups(root)] == [3, 4]
    named = {
        table["file"] for n in (3, 4) for table in json.loads((root / str(n) / "backup.json").read_text())["tables"]
    }
    assert set(names_in(root / "tables")) == named and len(named) < before
    assert names_in(root) == ["3", "4", "LOCK", "tables"]
    restore(root, tmp_path / "new", 3)
    assert purge(root, keep=5) == []
    with pytest.raises(ValueError):
        purge(root, keep=0)


@pytest.mark.parametrize("at", range(1, 14))
def test_broken_off(store, root, tmp_path, at, monkeypatch):
    """Whatever step a backup gets to, the one before is whole, and the next one works."""
    fill(store, 0, 800)
    backup(store, root)
    fill(store, 800, 1200)
    steps = 0

    class Off(BaseException):
        pass

    def after_some(function):
        def step(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps >= at:
                raise Off
            return function(*args, **kwargs)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(storebackup.os, "fsync", after_some(os.fsync))
        patched.setattr(storebackup.Path, "rename", after_some(Path.rename))
        patched.setattr(storebackup.shutil, "rmtree", lambda *args, **kwargs: None)  # who is dead tidies nothing up
        with contextlib.suppress(Off):
            backup(store, root)
    assert steps >= at  # it was broken off
    shutil.rmtree(tmp_path / "store" / storebackup.LEAVING, ignore_errors=True)
    for made in backups(root):
        restore(root, tmp_path / f"check{made.number}", made.number)
        assert content(tmp_path / f"check{made.number}")["users"] == [
            (b"last", b"800" if made.number == 1 else b"1200")
        ]
    made = backup(store, root)
    purge(root, keep=1)
    restore(root, tmp_path / "new")
    assert content(tmp_path / "new")["users"] == [(b"last", b"1200")]


def test_damage(store, root, tmp_path):
    fill(store, 0, 2000)
    backup(store, root)
    fill(store, 2000, 2100)
    backup(store, root)
    table = root / "tables" / json.loads((root / "1" / "backup.json").read_text())["tables"][0]["file"]
    data = bytearray(table.read_bytes())
    data[100] ^= 1
    table.write_bytes(data)
    with pytest.raises(CorruptionError, match="damaged"):
        restore(root, tmp_path / "new")
    assert names_in(tmp_path) == ["backups", "store"]
    restore(root, tmp_path / "new", verify=False)
    assert not verify(tmp_path / "new").sound
    table.unlink()
    with pytest.raises(CorruptionError, match="missing"):
        restore(root, tmp_path / "newer")
    made = root / "2" / "backup.json"
    made.write_text(made.read_text().replace('"bytes": ', '"bytes": 1'))
    with pytest.raises(CorruptionError, match="backup 2 is damaged"):
        backups(root)
    with pytest.raises(CorruptionError, match="backup 2 is damaged"):
        purge(root, keep=1)
    assert (root / "1").is_dir()  # nothing was removed


def test_refusals(store, root, tmp_path):
    with pytest.raises(MissingError):
        backups(root)
    with pytest.raises(MissingError):
        restore(root, tmp_path / "new")
    fill(store, 0, 10)
    backup(store, root)
    with pytest.raises(MissingError, match="there are 1"):
        restore(root, tmp_path / "new", 2)
    with pytest.raises(ExistsError):
        restore(root, tmp_path / "store")
    (tmp_path / "empty").mkdir()
    restore(root, tmp_path / "empty")
    with storebackup._locked(root), pytest.raises(LockedError, match="already"):
        backup(store, root)
    backup(store, root)
