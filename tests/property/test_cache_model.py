"""fastcore.cache does what a list of items does (tests/models/cache.py), whatever the order of calls."""

import contextlib
import copy
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contract.cache import again
from fastcore.cache import LRUCache, TTLCache
from models.cache import CacheModel

# Few keys, so that they meet; of equal value and different type, equal hash and different value (-1, -2), text and tuples.
# No more than 16 that differ: so many expired items one call that sets drops.
keys = st.sampled_from(
    [-1, -2, 0, 1, 1.0, True, 2, 3, 4, "a", "b" * 40, "é", "😀", (1, "a"), (1.0, "a"), 2**61 - 1, 2**70, None]
)
values = st.integers(0, 12)
MISSING = object()
TOLD = []


def tell(*args):
    TOLD.append(args)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def __reduce__(self):
        return "CLOCK"  # pickles and copies go on with the same clock


CLOCK = Clock()


class Cache(RuleBasedStateMachine):
    @initialize(maxsize=st.integers(0, 20), ttl=st.none() | st.integers(0, 12), sized=st.booleans())
    def make(self, maxsize, ttl, sized):
        TOLD.clear()
        CLOCK.now = 0.0
        self.timed = ttl is not None
        self.model = CacheModel(maxsize, ttl if self.timed else float("inf"), sized)
        options = {"getsizeof": abs if sized else None, "on_evict": tell}
        if self.timed:
            self.cache = TTLCache(maxsize, ttl, CLOCK, **options)
        else:
            self.cache = LRUCache(maxsize, **options)

    def same(self, real, model):
        """Both calls return equal results or raise the same."""
        outcomes = []
        for call in (real, model):
            try:
                outcomes.append(("returned", call()))
            except (KeyError, ValueError) as error:
                outcomes.append(("raised", type(error), str(error) if isinstance(error, ValueError) else ""))
        assert outcomes[0] == outcomes[1]

    @rule(key=keys, value=values)
    def set(self, key, value):
        self.same(lambda: self.cache.__setitem__(key, value), lambda: self.model.set(key, value))

    @rule(key=keys, value=values, ttl=st.integers(-1, 30))
    def set_with_ttl(self, key, value, ttl):
        if self.timed:
            self.same(lambda: self.cache.set(key, value, ttl=ttl), lambda: self.model.set(key, value, ttl))

    @rule(key=keys)
    def get(self, key):
        assert (key in self.cache) == (self.model.find(key) is not None)
        assert self.cache.get(key, MISSING) == self.model.get(key, MISSING)

    @rule(key=keys)
    def delete(self, key):
        def model():
            if self.model.pop(key, MISSING) is MISSING:
                raise KeyError

        self.settle()  # deleting an expired item drops it
        self.same(lambda: self.cache.__delitem__(key), model)

    @rule(key=keys)
    def pop(self, key):
        assert self.cache.pop(key, MISSING) == self.model.pop(key, MISSING)

    @rule()
    def popitem(self):
        self.same(self.cache.popitem, self.model.popitem)

    @rule(key=keys, value=values)
    def setdefault(self, key, value):
        def model():
            found = self.model.get(key, MISSING)
            if found is MISSING:
                self.model.set(key, value)
                return value
            return found

        self.same(lambda: self.cache.setdefault(key, value), model)

    @rule(key=keys, value=values)
    def compute(self, key, value):
        def model():
            found = self.model.get(key, MISSING)
            if found is MISSING:
                found = value
                with contextlib.suppress(ValueError):  # too large
                    self.model.set(key, value)
            return found

        self.same(lambda: self.cache.get_or_compute(key, lambda: value), model)

    @rule(by=st.sampled_from([0.5, 1, 3, 10, -2]))
    def tick(self, by):
        CLOCK.now += by
        self.model.now += by if self.timed else 0

    @rule()
    def expire(self):
        if self.timed:
            real, model = self.cache.expire(), self.model.expire()
            assert Counter(real) == Counter(model)

    @rule()
    def settle(self):
        assert len(self.cache) == len(self.model.pairs())
        assert self.cache.currsize == self.model.currsize()
        assert Counter(TOLD) == Counter(self.model.told)

    @rule(how=st.sampled_from([copy.copy, copy.deepcopy, again]))
    def replace(self, how):
        self.settle()  # a pickle drops what has expired when it is loaded, and a copy later
        self.cache = how(self.cache)

    @rule()
    def clear(self):
        self.settle()
        self.cache.clear()
        self.model.items.clear()

    @invariant()
    def same_items(self):
        if not hasattr(self, "cache"):
            return
        assert [*iter(self.cache)] == [key for key, _ in self.model.pairs()]


Cache.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestCache = Cache.TestCase
