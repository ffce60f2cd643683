"""fastcore.skiplist: what a mapping promises, kinds of keys, order, bad input, memory; shared lists within one process."""

import contextlib
import copy
import gc
import itertools
import os
import sys
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest

from endurance import LEAK_OPERATIONS, NOT_SANITIZED, resident
from fastcore.shm import Region
from fastcore.skiplist import MAX_BYTES, SharedSkipList, SkipList, SkipListFull


@pytest.fixture
def region() -> Iterator[Region]:
    with Region(4 << 20) as made:
        yield made


def test_a_mutable_mapping_in_order() -> None:
    s = SkipList({5: "e", 1: "a"})
    assert isinstance(s, MutableMapping)
    s[3] = "c"
    s.update([(4, "d"), (2, "b")])
    s[3] = "C"
    assert list(s) == [1, 2, 3, 4, 5] and list(reversed(s)) == [5, 4, 3, 2, 1]
    assert list(s.keys()) == list(s) and list(s.values()) == ["a", "b", "C", "d", "e"]
    assert list(reversed(s.items()))[:2] == [(5, "e"), (4, "d")] and next(reversed(s.values())) == "e"
    assert 3 in s and 6 not in s and (3, "C") in s.items() and s.keys() & {1, 9} == {1}
    assert s[3] == "C" and s.get(9) is None and s.get(9, "x") == "x"
    assert s.setdefault(9, "i") == "i" and s.setdefault(9, "j") == "i" and s.setdefault(10) is None
    assert s.pop(9) == "i" and s.pop(9, None) is None
    del s[10]
    assert s == {1: "a", 2: "b", 3: "C", 4: "d", 5: "e"} and s != {1: "a"} and s != [1]
    assert s.copy() == s and s.copy() is not s
    assert repr(s) == "SkipList({1: 'a', 2: 'b', 3: 'C', 4: 'd', 5: 'e'})" and repr(SkipList()) == "SkipList()"
    assert s.popitem() == (5, "e") and s.popitem(last=False) == (1, "a")
    assert s.pop_min() == (2, "b") and s.pop_max() == (4, "d") and len(s) == 1 and s
    s.clear()
    assert len(s) == 0 and not s and list(s) == []
    with pytest.raises(TypeError, match="unhashable"):
        hash(s)


def test_what_is_missing() -> None:
    s: SkipList[int, int] = SkipList()
    for use in (s.pop_min, s.pop_max, s.popitem, s.peek_min, s.peek_max):
        with pytest.raises(KeyError, match="the list is empty"):
            use()
    s[1] = 1
    for use in (lambda: s[2], lambda: s.pop(2), lambda: s.__delitem__(2)):
        with pytest.raises(KeyError, match="2"):
            use()
    assert s.peek_min() == s.peek_max() == (1, 1)


def test_neighbours_and_ranks() -> None:
    s = SkipList((n, str(n)) for n in range(0, 1000, 10))
    assert s.floor(55) == (50, "50") and s.floor(50) == (50, "50") and s.lower(50) == (40, "40") and s.lower(0) is None
    assert s.ceiling(55) == (60, "60") and s.ceiling(60) == (60, "60") and s.higher(60) == (70, "70")
    assert s.higher(990) is None and s.ceiling(991) is None and s.floor(-1) is None
    assert (
        s.rank(500) == s.bisect_left(500) == 50
        and s.bisect_right(500) == 51
        and s.rank(505) == s.bisect_right(505) == 51
    )
    assert s.at(0) == (0, "0") and s.at(99) == s.at(-1) == (990, "990")
    for index in (100, -101, 2**62):
        with pytest.raises(IndexError, match="of 100"):
            s.at(index)
    assert [key for key, _ in s.range(20, 50)] == list(s.irange(20, 50)) == [20, 30, 40, 50]
    assert list(s.irange(20, 50, inclusive=(False, False))) == [30, 40]
    assert list(s.irange(20, 50, inclusive=(False, True), reverse=True)) == [50, 40, 30]
    assert list(s.irange(hi=20)) == [0, 10, 20] and list(s.irange(980)) == [980, 990]
    assert list(s.irange(50, 20)) == [] and list(s.irange(15, 15)) == [] and list(s.irange(25, 35)) == [30]
    with pytest.raises(ValueError, match="unpack"):
        s.range(inclusive=(True,))  # type: ignore[arg-type]


KEYS: dict[str, list[Any]] = {
    "int": [-(2**63), -1, 0, True, 2, 2**63 - 1],
    "float": [float("-inf"), -1e308, -1.5, -5e-324, 0.0, 5e-324, 1, 1.5, 2**53, 1e308, float("inf")],
    "str": ["", "\0", "a", "a\0", "a\0b", "aa", "\x7f", "\x80", "\ud800", "\uffff", "\U0001f600"],
    "bytes": [b"", b"\0", b"\0\0", b"a", b"a\0", b"a" * 8, b"a" * 8 + b"\0", b"a" * 17, b"\xff"],
    "tuple": [(), ("",), ("", -1), ("\0",), ("a",), ("a", -1), ("a", 0), ("a", 0, 1.5), ("a\0", 5), ("b", -9)],
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_order_as_python_orders_them(kind: str) -> None:
    keys = KEYS[kind]
    assert all(a < b for a, b in itertools.pairwise(keys))
    for order in (keys, keys[::-1], keys[::2] + keys[1::2]):
        s = SkipList(((key, key) for key in order), key=float if kind == "float" else None)
        assert [(k, type(k)) for k in s] == [(k, type(k)) for k in keys]
        assert [s.rank(key) for key in keys] == list(range(len(keys)))


def test_keys_are_kept_as_given() -> None:
    first = (1, "x" * 1000)
    s = SkipList([(first, "old")])
    s[1, "x" * 1000] = "new"
    assert next(iter(s)) is first and s.peek_min()[1] == "new" and len(s) == 1
    assert list(SkipList([(-0.0, 1), (0.0, 2)]).items()) == [(0.0, 2)]


@pytest.mark.parametrize(
    ("first", "bad", "error", "message"),
    [
        (1, "a", TypeError, "keys are int here, not str"),
        (1, 1.5, TypeError, "keys are int here, not float"),
        (1, None, TypeError, "keys are int here, not NoneType"),
        (1, 2**63, OverflowError, "64 bits"),
        pytest.param(1, -(10**5000), OverflowError, "64 bits", id="too long to print"),
        (1.5, float("nan"), ValueError, "NaN"),
        (1.5, 2**53 + 1, OverflowError, "would be rounded"),
        (1.5, 10**400, OverflowError, "too large"),
        (1.5, "a", TypeError, "keys are float here"),
        ("a", b"a", TypeError, "keys are str here, not bytes"),
        (b"a", "a", TypeError, "keys are bytes here, not str"),
        (b"a", bytearray(b"a"), TypeError, "keys are bytes here, not bytearray"),
        (("a", 1), "a", TypeError, "keys are tuples here, not str"),
        (("a", 1), (1, "a"), TypeError, "keys are str here, not int"),
        (("a", 1), ("a", 1, None), TypeError, "not NoneType"),
        (("a", 1), ("a", 1, (1,)), TypeError, "a tuple in a tuple"),
        (("a", 1), ("a", 1, "b", 2**64), OverflowError, "64 bits"),
        (b"a", b"x" * (1 << 20) + b"x", ValueError, "a key of 1048577 bytes"),
    ],
)
def test_a_wrong_key_is_refused_everywhere(first: Any, bad: Any, error: type[Exception], message: str) -> None:
    s = SkipList([(first, 1)])
    kind = s.key
    uses: list[Callable[[], object]] = [
        lambda: s.__setitem__(bad, 2),
        lambda: s[bad],
        lambda: bad in s,
        lambda: s.get(bad),
        lambda: s.pop(bad, None),
        lambda: s.__delitem__(bad),
        lambda: s.setdefault(bad, 1),
        lambda: s.floor(bad),
        lambda: s.rank(bad),
        lambda: s.bisect_right(bad),
        lambda: s.update([(bad, 1)]),
    ]
    if bad is not None:
        uses += [lambda: s.range(bad), lambda: s.irange(hi=bad, reverse=True)]
    for use in uses:
        with pytest.raises(error, match=message):
            use()
    assert list(s.items()) == [(first, 1)] and s.key == kind


@pytest.mark.parametrize("bad", [None, object(), [1], {1}, 1j, ((1,),), (None,), float("nan"), 2**64])
def test_a_wrong_first_key_fixes_nothing(bad: Any) -> None:
    s: SkipList[Any, int] = SkipList()
    with pytest.raises((TypeError, ValueError, OverflowError)):
        s[bad] = 1
    assert s.key is None and len(s) == 0
    assert "a" not in s and s.key is None
    s["a"] = 1
    assert s.key is str
    s.clear()
    s[1] = 1
    assert s.key is int


def test_a_given_kind() -> None:
    s = SkipList({2.5: "x", 1: "y"}, key=float)
    assert s.key is float and list(s) == [1, 2.5]
    s.clear()
    with pytest.raises(TypeError, match="keys are float here"):
        s["a"] = 1
    t = SkipList(key=(int, str))
    t[1, "a"] = t[1,] = 0
    assert t.key == (int, str) and list(t) == [(1,), (1, "a")] and t.copy().key == (int, str)
    with pytest.raises(TypeError, match="a key of 3 elements; there can be 2"):
        t[1, "a", 2] = 0
    assert SkipList(key=tuple).key is tuple
    for bad in (list, "int", 5, (int, list), (int, tuple), complex):
        with pytest.raises(TypeError):
            SkipList(key=bad)
    for size in (0, 8191, MAX_BYTES + 1, -1):
        with pytest.raises(ValueError, match="max_bytes"):
            SkipList(max_bytes=size)
    with pytest.raises(TypeError):
        SkipList(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        SkipList([1])  # type: ignore[list-item]


def test_full_changes_nothing() -> None:
    s = SkipList(max_bytes=16 << 10)
    with pytest.raises(SkipListFull, match="its bound is 16384 bytes"):
        s.update((n, n) for n in itertools.count())
    full = len(s)
    assert full > 150 and list(s) == list(range(full)) and isinstance(SkipListFull(), MemoryError)
    s[0] = "replaced"
    assert s.pop_min() == (0, "replaced")
    for _ in range(20):  # room for a key is not always room for the blocks it needs
        s.pop_min()
    for n in range(full, full + 10):
        s[n] = n
    assert list(s) == list(range(21, full + 10))
    with pytest.raises(SkipListFull):
        s.update((n, n) for n in itertools.count(1000))
    assert s.nbytes <= 16 << 10 and sys.getsizeof(s) >= s.nbytes


def test_changes_during_iteration_are_well_defined() -> None:
    s = SkipList((n, n) for n in range(100))
    seen = []
    for key in s:
        seen.append(key)
        del s[key]
        s.pop(key + 1, None)
        if key < 40:
            s[key + 2] = key
            s[key - 1000] = key
    assert seen == list(range(0, 100, 2)) and all(key < 0 for key in s)
    back = SkipList((n, n) for n in range(50))
    walk = reversed(back)
    assert [next(walk), next(walk)] == [49, 48]
    back.clear()
    assert list(walk) == [] and list(walk) == []
    back.update((n, n) for n in range(5))
    ranged = back.range(1, 3)
    assert next(ranged) == (1, 1)
    back[2] = "new"
    back[10] = 10
    assert list(ranged) == [(2, "new"), (3, 3)]


class Loud:
    """Does something to the list when it dies."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


def test_values_that_act_when_they_die() -> None:
    s: SkipList[int, Any] = SkipList((n, n) for n in range(30))
    died = []

    def act() -> None:
        died.append(len(s))
        s.clear()

    s[5] = Loud(act)
    s[5] = 1
    assert died == [30] and len(s) == 0
    s[1] = Loud(lambda: s.update({2: 2, 3: 3}))
    del s[1]
    assert list(s) == [2, 3]
    s[4] = Loud(lambda: s.pop_min())
    s.pop_max()
    assert list(s) == [3]
    s[1] = Loud(lambda: s.update({7: 7}))
    s.clear()
    assert list(s) == [7]


def test_cycles_are_collected() -> None:
    s: SkipList[int, Any] = SkipList((n, [n]) for n in range(100))
    s[1000] = s
    s[1001] = iter(s)
    assert gc.is_tracked(s) and any(x is s for x in gc.get_referents(s))
    gone = weakref.ref(s)
    del s
    gc.collect()
    assert gone() is None
    deep: Any = None
    for _ in range(20_000):
        deep = SkipList({1: deep}, max_bytes=8192)
    del deep


def test_no_accidental_copies() -> None:
    with pytest.raises(TypeError):
        copy.copy(SkipList({1: 2}))


@NOT_SANITIZED
def test_nothing_leaks(region: Region) -> None:
    shared = SharedSkipList(region, "leak", 1 << 20, key=(str, int), writer=True)

    def work(operations: int) -> None:
        s: SkipList[Any, Any] = SkipList()
        for n in range(operations // 10):
            key = f"key {n % 1000}", n % 77
            s[key] = [n]
            s[key] = shared[key] = b"x" * (n % 100)
            assert shared[key] == s.get(key) and s.floor(key) and shared.ceiling(key)
            if n % 3 == 0:
                s.pop_min(), shared.pop_min()
            if n % 5 == 0:
                s.pop(key, None), shared.pop(key, None)
            for bad in (5, ("a", None)):
                with contextlib.suppress(TypeError):
                    s[bad] = 1
            if n % 1000 == 0:
                list(s.range(reverse=True)), list(shared.items()), s.copy()
                s.clear(), shared.clear()

    work(LEAK_OPERATIONS // 4)
    before = resident()
    references = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else 0
    work(LEAK_OPERATIONS)
    assert resident() - before < 2 << 20
    if references:
        assert sys.gettotalrefcount() - references < 1000
    shared.close()


def test_shared_lists(region: Region) -> None:
    with (
        SharedSkipList(region, "list", 1 << 20, key=str, writer=True) as w,
        SharedSkipList(region, "list", 1 << 20, key=str) as r,
    ):
        assert w.is_writer and not r.is_writer and r.writer_pid == os.getpid()
        w.update({"b": b"2", "a": b"1"})
        w["c"] = bytearray(b"3")
        w["d"] = memoryview(b"x4x")[1:2]
        assert list(r) == list(r.keys()) == ["a", "b", "c", "d"] and list(reversed(r)) == ["d", "c", "b", "a"]
        assert list(r.values()) == [b"1", b"2", b"3", b"4"] and dict(r.items()) == {
            "a": b"1",
            "b": b"2",
            "c": b"3",
            "d": b"4",
        }
        assert (
            r["b"] == b"2"
            and r.get("x") is None
            and r.get("x", b"") == b""
            and "c" in r
            and "x" not in r
            and len(r) == 4
        )
        assert (
            r.floor("bb") == ("b", b"2")
            and r.lower("a") is None
            and r.peek_min() == ("a", b"1")
            and r.peek_max() == ("d", b"4")
        )
        assert list(r.range("b", "d", inclusive=(False, False), reverse=True)) == [("c", b"3")] and list(
            r.irange("c")
        ) == ["c", "d"]
        w["big"] = b"z" * 100_000
        assert r["big"] == b"z" * 100_000 and dict(r.items())["big"] == r["big"] and r.nbytes > 100_000
        assert (
            w.pop("big")[:1] == b"z"
            and w.pop("big", None) is None
            and w.pop_min() == ("a", b"1")
            and w.pop_max() == ("d", b"4")
        )
        del w["b"]
        assert list(r) == ["c"]
        for use in (lambda: w.pop("x"), lambda: w["x"], lambda: w.__delitem__("x")):
            with pytest.raises(KeyError, match="x"):
                use()
        w.clear()
        for use in (w.pop_min, w.pop_max, r.peek_min, r.peek_max):
            with pytest.raises(KeyError, match="empty"):
                use()
        assert r.key is str


def test_shared_bad_input(region: Region) -> None:
    with pytest.raises(TypeError, match="key= says"):
        SharedSkipList(region, "list", 1 << 16, key=None)
    for key in (tuple, (), (int,) * 17, list):
        with pytest.raises(TypeError):
            SharedSkipList(region, "list", 1 << 16, key=key)
    for size in (0, -1, 8191, MAX_BYTES + 1):
        with pytest.raises(ValueError, match="size is"):
            SharedSkipList(region, "list", size, key=int)
    with pytest.raises(ValueError, match="a section's name"):
        SharedSkipList(region, "LIST", 1 << 16, key=int)
    w = SharedSkipList(region, "list", 1 << 16, key=int, writer=True)
    with pytest.raises(ValueError, match="another size or kind of key"):
        SharedSkipList(region, "list", 1 << 16, key=float)
    w[1] = b"one"
    for key, value, error in (
        ("a", b"", TypeError),
        (1, "text", TypeError),
        (1, None, TypeError),
        (1, 5, TypeError),
        (2**70, b"", OverflowError),
    ):
        with pytest.raises(error):
            w[key] = value
    with pytest.raises(SkipListFull):
        w.update((n, b"x" * 100) for n in itertools.count())
    assert w[1] == b"x" * 100 and list(w) == list(range(len(w)))
    w.close()
    w.close()
    assert w.closed and not w.is_writer
    for use in (
        lambda: w[1],
        lambda: list(w),
        lambda: len(w),
        lambda: w.pop_min(),
        lambda: w.become_writer(),
        lambda: w.nbytes,
    ):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_shared_roles(region: Region) -> None:
    a = SharedSkipList(region, "list", 1 << 16, key=int)
    b = SharedSkipList(region, "list", 1 << 16, key=int)
    for use in (
        lambda: a.__setitem__(1, b""),
        lambda: a.pop(1),
        lambda: a.pop_min(),
        a.clear,
        lambda: a.__delitem__(1),
        a.release_writer,
    ):
        with pytest.raises(RuntimeError, match="not the writer"):
            use()
    assert a.writer_pid is None
    a.become_writer()
    a.become_writer()
    with pytest.raises(RuntimeError, match="by another object"):
        b.become_writer()
    for timeout in (-1, float("nan"), 1e9):
        with pytest.raises(ValueError, match="timeout"):
            b.become_writer(timeout=timeout)
    a[1] = b"1"
    walk = iter(b)
    a.release_writer()
    b.become_writer()
    b[2] = b"2"
    assert list(walk) == [1, 2]
    with pytest.raises(BufferError):
        region.close()
    del b
    a.become_writer()
    a.close()
