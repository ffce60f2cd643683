"""Memtables by themselves, and a long run of a store against its model."""

import random
from pathlib import Path

import pytest
from lsm_stores import SMALL
from tests.models.lsm import StoreModel

from fastcore.disk import Disk
from fastcore.lsm import (
    Memtable,
    MemtableFullError,
    Store,
)


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
