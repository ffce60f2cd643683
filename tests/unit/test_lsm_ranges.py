"""Scans and iterators: what a plyvel user expects of them."""

import random
from pathlib import Path
from typing import Any

import plyvel
import pytest
from lsm_stores import SMALL, fill
from tests.models.lsm import CursorModel

from fastcore.disk import SimDisk
from fastcore.lsm import (
    ClosedError,
    Iterator,
    Store,
)


@pytest.fixture(params=["real", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Store(tmp_path / "store" if request.param == "real" else SimDisk(1), **SMALL) as store:
        yield store


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
