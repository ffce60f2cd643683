"""fastcore.skiplist does what a dict with sorted() does, whatever the kind of keys and the order of operations."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sortedcontainers import SortedDict
from tests.models.skiplist import SortedModel

from fastcore.shm import Region
from fastcore.skiplist import SharedSkipList, SkipList

INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20)
FLOATS = st.floats(allow_nan=False) | st.integers(-5, 5).map(float)
STRS = (
    st.text(max_size=30)
    | st.text("a\0\ud800\uffff\U0001f600", max_size=5)
    | st.text("xy", max_size=3).map("a long beginning ".__add__)
)
BYTES = st.binary(max_size=30) | st.integers(0, 3).map(bytes)
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (int, INTS),
    "float": (float, FLOATS),
    "str": (str, STRS),
    "bytes": (bytes, BYTES),
    "tuple": (
        (str, int, bytes, float),
        st.tuples(STRS, INTS, BYTES, FLOATS).flatmap(lambda t: st.integers(1, 4).map(lambda n: t[:n])),
    ),
}
BOUNDS = st.tuples(st.booleans(), st.booleans())


class Twins(RuleBasedStateMachine):
    """The list and its model do the same; keys come from a pool, so that they meet again."""

    @initialize(data=st.data(), kind=st.sampled_from(sorted(KINDS)), given_kind=st.booleans())
    def begin(self, data: st.DataObject, kind: str, given_kind: bool) -> None:
        spec, keys = KINDS[kind]
        self.pool = data.draw(st.lists(keys, min_size=1, max_size=60))
        self.ours: SkipList[Any, Any] = SkipList(key=spec if given_kind else None)
        self.model = SortedModel()

    def key(self, data: st.DataObject) -> Any:
        return data.draw(st.sampled_from(self.pool))

    @rule(data=st.data(), value=st.integers())
    def put(self, data: st.DataObject, value: int) -> None:
        key = self.key(data)
        self.ours[key] = value
        self.model.data[key] = value

    @rule(value=st.integers())
    def put_all(self, value: int) -> None:
        self.ours.update((key, value) for key in self.pool)
        self.model.data.update((key, value) for key in self.pool)

    @rule(data=st.data(), value=st.integers())
    def setdefault(self, data: st.DataObject, value: int) -> None:
        key = self.key(data)
        assert self.ours.setdefault(key, value) == self.model.data.setdefault(key, value)

    @rule(data=st.data())
    def pop(self, data: st.DataObject) -> None:
        key = self.key(data)
        assert self.ours.pop(key, "none") == self.model.data.pop(key, "none")

    @precondition(lambda self: self.model.data)
    @rule(last=st.booleans())
    def pop_end(self, last: bool) -> None:
        expected = self.model.items()[-1 if last else 0]
        assert (self.ours.peek_max() if last else self.ours.peek_min()) == expected
        assert self.ours.popitem(last) == expected
        del self.model.data[expected[0]]

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        key = self.key(data)
        assert (key in self.ours) == (key in self.model.data)
        assert self.ours.get(key, "none") == self.model.data.get(key, "none")
        for name in ("floor", "ceiling", "lower", "higher"):
            assert getattr(self.ours, name)(key) == self.model.near(key, name)
        assert self.ours.rank(key) == self.ours.bisect_left(key) == self.model.rank(key)
        assert self.ours.bisect_right(key) == self.model.rank(key) + (key in self.model.data)

    @rule(data=st.data(), inclusive=BOUNDS, reverse=st.booleans())
    def ranges(self, data: st.DataObject, inclusive: tuple[bool, bool], reverse: bool) -> None:
        lo, hi = (data.draw(st.none() | st.sampled_from(self.pool)) for _ in range(2))
        expected = self.model.range(lo, hi, inclusive, reverse)
        assert list(self.ours.range(lo, hi, inclusive=inclusive, reverse=reverse)) == expected
        assert list(self.ours.irange(lo, hi, inclusive=inclusive, reverse=reverse)) == [key for key, _ in expected]

    @rule()
    def clear(self) -> None:
        self.ours.clear()
        self.model.data.clear()

    @invariant()
    def alike(self) -> None:
        items = self.model.items()
        assert len(self.ours) == len(items)
        assert list(self.ours.items()) == items and list(reversed(self.ours)) == [key for key, _ in items][::-1]
        for index in {0, len(items) // 2, len(items) - 1} if items else ():
            assert self.ours.at(index) == items[index]


Twins.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestTwins = Twins.TestCase


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_shared_keys_come_back_in_order(kind: str, data: st.DataObject) -> None:
    spec, keys = KINDS[kind]
    pairs = data.draw(st.dictionaries(keys, st.binary(max_size=20), max_size=40))
    with Region(1 << 20) as region, SharedSkipList(region, "list", 1 << 17, key=spec, writer=True) as shared:
        shared.update(pairs)
        assert list(shared.items()) == sorted(pairs.items(), key=lambda item: item[0])
        for lo, hi in pairwise(sorted(pairs)):
            assert list(shared.irange(lo, hi, inclusive=(True, False))) == [lo]
            assert shared.lower(hi) == (lo, pairs[lo]) and shared.higher(lo) == (hi, pairs[hi])
        for key in pairs:
            assert shared.pop(key) == pairs[key]
        assert len(shared) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=2000))
def test_like_sortedcontainers(operations: list[tuple[int, bool]]) -> None:
    ours: SkipList[int, int] = SkipList()
    theirs = SortedDict()
    for key, put in operations:
        if put:
            ours[key] = theirs[key] = key
        else:
            assert ours.pop(key, None) == theirs.pop(key, None)
        assert len(ours) == len(theirs)
    assert list(ours.items()) == list(theirs.items())
    assert list(ours.irange(50, 200, reverse=True)) == list(theirs.irange(50, 200, reverse=True))
    assert [ours.rank(key) for key in range(0, 300, 7)] == [theirs.bisect_left(key) for key in range(0, 300, 7)]
