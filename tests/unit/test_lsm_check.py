"""Checking and repairing a store from Python: flipped bits are found or harm nobody, repair keeps what is sound."""

import random

import gevent
import pytest

from fastcore import lsm
from fastcore.disk import SimDisk
from fastcore.lsm import LockedError, MissingError, Store
from fastcore.storecheck import repair, verify

OPTIONS = {"memtable_bytes": 128 << 10, "segment_bytes": 64 << 10, "ballast": False, "block_bytes": 1024}


def fill(store: Store, seed: int) -> dict[bytes, bytes]:
    chance = random.Random(seed)
    expected = {}
    for turn in range(6):
        for _ in range(300):
            key, value = (
                b"key%04d" % chance.randrange(2000),
                b"%d" % chance.randrange(1 << 60) * chance.randrange(1, 12),
            )
            expected[key] = value
            store.put(key, value)
        if turn < 5:
            store.flush()
    store.sync()
    store.put(
        b"end", b"", durability="flushed"
    )  # damage of the log's last batch looks like one that was not written whole
    return expected


def make(seed: int) -> tuple[SimDisk, dict[bytes, bytes]]:
    disk = SimDisk(seed=seed)
    with Store(disk, **OPTIONS) as store:
        return disk, fill(store, seed)


def test_live_and_offline(tmp_path):
    told = []
    with Store(tmp_path / "store", **OPTIONS) as store:
        fill(store, 1)
        report = store.verify(progress=lambda done, total: told.append((done, total)))
        assert report.sound and report.tables > 0 and report.entries > 0 and report.log_records == 0
        assert told[-1][0] == told[-1][1] == report.bytes > 0
        with pytest.raises(LockedError, match="close it there first"):
            lsm.verify(tmp_path / "store")
        with pytest.raises(LockedError):
            lsm.repair(tmp_path / "store")
    report = lsm.verify(tmp_path / "store")
    assert report.sound and report.manifest and report.keyspaces == 1 and report.log_records > 0
    assert not lsm.repair(tmp_path / "store").changed
    with pytest.raises(ValueError):
        store.verify()
    with pytest.raises(MissingError):
        verify(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_progress_may_end_it(tmp_path):
    class Enough(Exception):
        pass

    def enough(done: int, total: int) -> None:
        raise Enough

    with Store(tmp_path / "store", **OPTIONS) as store:
        fill(store, 1)
        with pytest.raises(Enough):
            store.verify(progress=enough)
    for function in (verify, repair):
        with pytest.raises(Enough):
            function(tmp_path / "store", progress=enough)
    assert verify(tmp_path / "store").sound  # the lock was given back


def test_live_finds_damage(tmp_path):
    with Store(tmp_path / "store", **OPTIONS) as store:
        fill(store, 1)
        store.compact()
        table = max((tmp_path / "store").glob("*.tbl"))  # older ones may be on their way out
        with table.open("r+b") as file:
            file.seek(200)
            file.write(b"rot")
        report = store.verify()
        assert not report.sound and report.problems[0].file == table.name and report.problems[0].kind == "damage"


@pytest.mark.parametrize("seed", range(100))
def test_flipped_bit(seed):
    """One in a file of the store: verify finds it, or everything reads as it was. Repair keeps all but what was hit."""
    disk, expected = make(seed % 7)
    chance = random.Random(seed)
    names = sorted(
        name for name in disk.list() if name.endswith((".tbl", ".wal")) or name.startswith(("MANIFEST", "CURRENT"))
    )
    name = names[seed % len(names)]
    with disk.open(name) as file:
        size = file.size()
    disk.flip(name, chance.randrange(8 * size))
    report = verify(disk)
    if not report.sound:
        assert any(problem.file == name for problem in report.problems) or name == "CURRENT"
        done = repair(disk)
        assert done.changed and verify(disk).sound
    with Store(disk, **OPTIONS) as store:
        found = dict(store)
        found.pop(b"end", None)
        assert len(found) >= len(expected) - 40
        wrong = {key for key in found if expected[key] != found[key]}
        assert len(wrong) <= 40
        if report.sound:
            assert found == expected
        store.put(b"new", b"1")
        assert store.get_entry(b"new").version > 1800


def test_others_work_on_meanwhile(tmp_path):
    """In a thread that runs a hub the look at the disk is a thread's of gevent's pool."""
    with Store(tmp_path / "store", **OPTIONS) as store:
        fill(store, 1)
        turns = []

        def tick() -> None:
            while True:
                turns.append(1)
                gevent.sleep(0)

        ticking = gevent.spawn(tick)
        gevent.sleep(0)
        before = len(turns)
        assert store.verify().sound
        assert len(turns) > before
        ticking.kill()
