"""What a cache class promises its users, whoever wrote it: fastcore.cache and cachetools 8 both keep to this.

A test class inherits a contract and names the class under test. Where time plays a part the class under test takes its
time from a `Clock`.
"""

import contextlib
import copy
import math
import pickle
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import datetime, timedelta
from typing import Any

import cachetools
import pytest
from cachetools import keys


class Clock:
    """A timer that goes when told to, or, with auto, by one at each reading."""

    def __init__(self, auto: bool = False) -> None:
        self.auto = auto
        self.time = 0

    def __call__(self) -> int:
        if self.auto:
            self.time += 1
        return self.time

    def tick(self, by: int = 1) -> None:
        self.time += by


def again(cache: Any, protocol: int | None = None) -> Any:
    """What comes out of a pickle of it."""
    return pickle.loads(pickle.dumps(cache, protocol))  # noqa: S301


class CacheContract:
    """Any bounded cache. `Cache` takes maxsize and getsizeof."""

    Cache: Any

    def test_a_new_cache(self):
        cache = self.Cache(maxsize=1)
        assert (len(cache), cache.maxsize, cache.currsize) == (0, 1, 0)
        assert not cache
        assert [cache.getsizeof(value) for value in (None, "", 0)] == [1, 1, 1]
        assert self.Cache.getsizeof(7) == 1
        assert repr(cache) == f"{self.Cache.__name__}({{}}, maxsize=1, currsize=0)"

    def test_it_is_a_mutable_mapping(self):
        cache = self.Cache(maxsize=2)
        cache["a"] = 1
        assert isinstance(cache, MutableMapping)
        assert issubclass(self.Cache, Mapping)
        assert isinstance(cache, cachetools.Cache)
        match cache:
            case {"a": found}:
                assert found == 1
            case _:
                pytest.fail("no mapping to a match statement")
        assert dict(cache) == {"a": 1} == {**cache}
        assert self.Cache[str, int] is not None
        with pytest.raises(TypeError):
            reversed(cache)
        with pytest.raises(TypeError):
            hash(cache)

    def test_items_come_in_and_stay_within_maxsize(self):
        cache = self.Cache(maxsize=2)
        cache.update({1: 1, 2: 2})
        assert (len(cache), cache[1], cache[2]) == (2, 1, 2)
        for key in (3, 4):
            cache[key] = key
            assert len(cache) == 2
            assert cache[key] == key
        assert cache.currsize == 2

    def test_the_least_recently_used_goes(self):
        cache = self.Cache(maxsize=2)
        cache.update([(1, 1), (2, 2)])
        assert cache[1] == 1
        cache[3] = 3
        assert sorted(cache) == [1, 3]
        assert cache.get(1) == 1
        cache[4] = 4
        assert sorted(cache) == [1, 4]
        cache[1] = 5
        cache[6] = 6
        assert sorted(cache) == [1, 6]
        assert 1 in cache, "which is no use"
        assert cache.setdefault(1) == 5
        cache[7] = 7
        assert sorted(cache) == [1, 7]

    def test_update_takes_what_dict_update_takes(self):
        cache = self.Cache(maxsize=10)
        cache.update({1: 1})
        cache.update([(1, 2), (2, 3)], word=4)
        cache.update(self.Cache(maxsize=1))
        cache.update(other=5)
        cache.update()

        class Keyed:
            def keys(self):
                return [8, 9]

            def __getitem__(self, key):
                return -key

        cache.update(Keyed())
        assert dict(cache.items()) == {1: 2, 2: 3, "word": 4, "other": 5, 8: -8, 9: -9}
        with pytest.raises(TypeError):
            cache.update(5)
        with pytest.raises(TypeError):
            cache.update({}, {})

    def test_delete(self):
        cache = self.Cache(maxsize=2)
        cache.update({1: 1, 2: 2})
        del cache[2]
        assert (len(cache), cache[1], 2 in cache) == (1, 1, False)
        del cache[1]
        assert len(cache) == cache.currsize == 0
        with pytest.raises(KeyError, match="1"):
            del cache[1]

    def test_pop(self):
        cache = self.Cache(maxsize=2)
        cache.update({1: 1, 2: 2})
        assert (cache.pop(2), cache.pop(1), len(cache)) == (2, 1, 0)
        for key in (2, 1, 0):
            with pytest.raises(KeyError):
                cache.pop(key)
            assert cache.pop(key, None) is None
            assert cache.pop(key, default=5) == 5

    def test_popitem_takes_the_least_recently_used(self):
        cache = self.Cache(maxsize=3)
        cache.update([(1, "a"), (2, "b"), (3, "c")])
        assert cache[1] == "a"
        assert [cache.popitem() for _ in range(3)] == [(2, "b"), (3, "c"), (1, "a")]
        with pytest.raises(KeyError, match="is empty") as caught:
            cache.popitem()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_get_and_setdefault(self):
        cache = self.Cache(maxsize=2)
        assert cache.get(1) is None
        assert cache.get(1, 2) == cache.get(1, default=2) == cache.get(key=1, default=2) == 2
        assert cache.setdefault(1, 2) == cache.setdefault(1, 3) == cache.setdefault(key=1) == 2
        assert cache.setdefault(5) is None
        assert 5 in cache

    def test_clear_forgets_the_order_of_use(self):
        cache = self.Cache(maxsize=2)
        cache.update({1: 1, 2: 2})
        cache.clear()
        assert (len(cache), cache.currsize, list(cache)) == (0, 0, [])
        cache.update([(2, 2), (1, 1)])
        cache[3] = 3
        assert sorted(cache) == [1, 3]

    def test_views_and_equality(self):
        cache = self.Cache(maxsize=3)
        cache.update([(1, "a"), (2, "b")])
        assert list(cache.keys()) == list(cache) == [1, 2]
        assert list(cache.values()) == ["a", "b"]
        assert list(cache.items()) == [(1, "a"), (2, "b")]
        assert cache.keys() & {1, 5} == {1}
        assert (1, "a") in cache.items()
        assert "b" in cache.values()
        assert cache == {1: "a", 2: "b"} == cache
        assert cache != {1: "a"}
        assert cache != [1, 2]
        assert cache != 5
        assert repr(cache) == f"{self.Cache.__name__}({{1: 'a', 2: 'b'}}, maxsize=3, currsize=2)"

    def test_a_cache_may_hold_itself(self):
        cache = self.Cache(maxsize=2)
        cache[1] = cache
        assert "..." in repr(cache)

    def test_missing_of_a_subclass_serves_only_subscription(self):
        class Default(self.Cache):
            def __missing__(self, key):
                self[key] = key
                return key

        cache = Default(maxsize=2)
        assert [cache[key] for key in (1, 2, 3, 4)] == [1, 2, 3, 4]
        assert sorted(cache) == [3, 4]
        assert (cache.get(5), cache.get(5, 25), cache.pop(5, 25), len(cache)) == (None, 25, 25, 2)
        with pytest.raises(KeyError):
            cache.pop(5)
        assert cache.setdefault(6, 7) == 7

    def test_missing_may_leave_the_key_out(self):
        class Default(self.Cache):
            def __missing__(self, key):
                with contextlib.suppress(ValueError):
                    self[key] = key
                return key

        cache = Default(maxsize=2, getsizeof=lambda value: value)
        assert [cache[key] for key in (1, 2, 3)] == [1, 2, 3]
        assert (list(cache), cache.currsize) == ([2], 2)

    def test_missing_of_the_class_itself_is_callable(self):
        with pytest.raises(KeyError):
            self.Cache(maxsize=1).__missing__(5)

    def sized(self, cache):
        assert (cache.currsize, cache.maxsize, cache.getsizeof(3)) == (0, 3, 3)
        cache.update({1: 1, 2: 2})
        assert (len(cache), cache.currsize) == (2, 3)
        cache[1] = 2
        assert (dict(cache), cache.currsize) == ({1: 2}, 2)
        cache.update({1: 1, 2: 2})
        assert (len(cache), cache.currsize) == (2, 3)
        cache[3] = 3
        assert (dict(cache), cache.currsize) == ({3: 3}, 3)
        for key in (3, 4):
            with pytest.raises(ValueError, match="value too large"):
                cache[key] = 4
        assert (dict(cache), cache.currsize) == ({3: 3}, 3)
        with pytest.raises(ValueError, match="must be non-negative"):
            cache[5] = -1
        cache[6] = 0
        assert (sorted(cache), cache.currsize) == ([3, 6], 3)
        assert (cache.pop(3), cache.currsize) == (3, 0)

    def test_sizes_by_a_function(self):
        self.sized(self.Cache(maxsize=3, getsizeof=lambda value: value))

    def test_sizes_by_a_method(self):
        class Sized(self.Cache):
            def getsizeof(self, value):
                return value

        self.sized(Sized(maxsize=3))

    def test_sizes_by_a_static_method(self):
        class Sized(self.Cache):
            @staticmethod
            def getsizeof(value):
                return value

        self.sized(Sized(maxsize=3))

    def test_sizes_may_be_fractions(self):
        cache = self.Cache(maxsize=2.5, getsizeof=lambda value: value)
        cache.update([("a", 1), ("b", 1)])
        assert repr(cache.currsize) == "2"
        cache["c"] = 0.5
        assert (cache.currsize, cache.maxsize) == (2.5, 2.5)
        cache["d"] = 0.25
        assert (sorted(cache), cache.currsize) == (["b", "c", "d"], 1.75)
        assert repr(cache).endswith("maxsize=2.5, currsize=1.75)")

    @pytest.mark.parametrize(("maxsize", "count"), [(0, 0), (0.5, 0), (1.5, 1), (2.9, 2), (math.inf, 50), (2**70, 50)])
    def test_maxsize_of_any_kind(self, maxsize, count):
        cache = self.Cache(maxsize=maxsize)
        for key in range(50):
            if count == 0:
                with pytest.raises(ValueError, match="value too large"):
                    cache[key] = key
            else:
                cache[key] = key
        assert len(cache) == count
        assert cache.maxsize == maxsize

    def test_a_negative_maxsize_is_refused(self):
        with pytest.raises(ValueError, match="maxsize must be non-negative"):
            self.Cache(maxsize=-1)

    def test_eviction_goes_through_an_overridden_popitem(self):
        dropped = []

        class Telling(self.Cache):
            def popitem(self):
                dropped.append(super().popitem())
                return dropped[-1]

        cache = Telling(maxsize=2)
        cache.update({key: -key for key in range(5)})
        assert dropped == [(0, 0), (1, -1), (2, -2)]
        assert sorted(cache) == [3, 4]

    def test_a_popitem_with_its_own_policy(self):
        class Newest(self.Cache):
            def popitem(self):
                key = max(self)
                return key, self.pop(key)

        cache = Newest(maxsize=2)
        cache.update({key: key for key in range(5)})
        assert sorted(cache) == [0, 4]

    def test_eviction_goes_through_an_overridden_delitem(self):
        deleted = []

        class Telling(self.Cache):
            def __delitem__(self, key):
                super().__delitem__(key)
                deleted.append(key)

        cache = Telling(maxsize=2)
        cache.update({key: key for key in range(3)})
        assert deleted == [0]
        assert cache.pop(1) == 1
        del cache[2]
        assert deleted == [0, 1, 2]
        cache[5] = 5
        assert cache.popitem() == (5, 5)
        assert deleted[-1] == 5
        cache[6] = 6
        cache.clear()
        assert deleted[-1] == 5, "clear does not delete one by one"

    def test_setting_goes_through_an_overridden_setitem(self):
        class Doubling(self.Cache):
            def __setitem__(self, key, value):
                super().__setitem__(key, 2 * value)

        cache = Doubling(maxsize=5)
        cache[1] = 1
        cache.update({2: 2})
        assert cache.setdefault(3, 3) == 3, "what was given"
        assert dict(cache) == {1: 2, 2: 4, 3: 6}

    def test_get_and_pop_go_through_overridden_lookups(self):
        class Negative(self.Cache):
            def __getitem__(self, key):
                return -super().__getitem__(key)

            def __contains__(self, key):
                return key != 9 and super().__contains__(key)

        cache = Negative(maxsize=5)
        cache.update({1: 1, 9: 9})
        assert (cache.get(1), cache.get(9), cache.setdefault(1)) == (-1, None, -1)
        assert (cache.pop(1), cache.pop(9, "no")) == (-1, "no")

    def test_a_subclass_with_its_own_init_and_attributes(self):
        class Named(self.Cache):
            def __init__(self, name):
                super().__init__(maxsize=3)
                self.name = name

        cache = Named("x")
        cache[1] = 1
        other = copy.copy(cache)
        assert (other.name, other[1], type(other)) == ("x", 1, Named)

    def test_attributes_can_be_set(self):
        cache = self.Cache(maxsize=1)
        cache.note = "mine"
        assert copy.copy(cache).note == "mine"

    def test_setting_known_keys_while_iterating(self):
        cache = self.Cache(maxsize=10)
        cache.update({key: key for key in range(5)})
        for key in cache:
            cache[key] = -key
        assert list(cache.values()) == [0, -1, -2, -3, -4]

    def test_iteration_is_in_the_order_of_insertion(self):
        cache = self.Cache(maxsize=4)
        cache.update([(3, 3), (1, 1), (2, 2)])
        assert cache[3] == 3
        cache[1] = 5
        assert list(cache) == [3, 1, 2]
        del cache[1]
        cache[1] = 1
        assert list(cache) == [3, 2, 1]
        assert repr(cache) == f"{self.Cache.__name__}({{3: 3, 2: 2, 1: 1}}, maxsize=4, currsize=3)"

    def test_a_copy_is_independent_and_keeps_the_order(self):
        cache = self.Cache(maxsize=3, getsizeof=lambda value: 1)
        cache.update([(1, [1]), (2, [2]), (3, [3])])
        assert cache[1] == [1]
        other = copy.copy(cache)
        assert other == cache
        assert type(other) is type(cache)
        assert other[1] is cache[1]
        other[4] = [4]
        assert (sorted(other), sorted(cache)) == ([1, 3, 4], [1, 2, 3])
        assert (other.maxsize, other.currsize, other.getsizeof([7, 7])) == (3, 3, 1)
        other.clear()
        assert len(cache) == 3
        assert cache.popitem() == (2, [2])
        deep = copy.deepcopy(cache)
        assert deep == cache
        assert deep[1] is not cache[1]

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle_keeps_items_and_order(self, protocol):
        source = self.Cache(maxsize=2)
        source.update({1: 1, 2: 2})
        assert source[1] == 1
        cache = again(source, protocol)
        assert cache == source
        assert source[1] == cache[1] == 1
        cache[3] = 3
        assert sorted(cache) == [1, 3]
        assert again(cache) == cache

    @pytest.mark.parametrize("count", [0, 1, 2 * sys.getrecursionlimit()])
    def test_pickle_of_any_number(self, count):
        source = self.Cache(maxsize=count)
        source.update((key, key) for key in range(count))
        cache = again(source)
        assert (len(cache), cache.maxsize) == (count, count)
        assert cache == source

    def test_a_key_without_hash(self):
        cache = self.Cache(maxsize=2)
        for use in (
            lambda: cache[[]],
            lambda: cache.get([]),
            lambda: [] in cache,
            lambda: cache.pop([], None),
            lambda: cache.setdefault([], 1),
            lambda: cache.__setitem__([], 1),
            lambda: cache.__delitem__([]),
        ):
            with pytest.raises(TypeError, match="unhashable"):
                use()
        assert len(cache) == 0

    def test_equal_keys_of_different_types_are_one(self):
        cache = self.Cache(maxsize=5)
        cache[1] = "int"
        cache[1.0] = "float"
        cache[True] = "bool"
        assert dict(cache) == {1: "bool"}
        assert type(next(iter(cache))) is int, "the first key stays"
        nan = float("nan")
        cache[nan] = 1
        assert cache[nan] == 1

    # -- inside cachetools' decorators

    @pytest.mark.parametrize("key", [keys.hashkey, keys.typedkey])
    @pytest.mark.parametrize("lock", [None, threading.Lock, threading.RLock])
    @pytest.mark.parametrize("condition", [None, threading.Condition])
    @pytest.mark.parametrize("info", [False, True])
    def test_in_cached(self, key, lock, condition, info):
        calls = []
        options = {name: make() for name, make in (("lock", lock), ("condition", condition)) if make is not None}
        if len(options) == 2:
            options["condition"] = threading.Condition(options["lock"])
        cache = self.Cache(maxsize=2)

        @cachetools.cached(cache, key=key, info=info, **options)
        def double(number, *, more=0):
            calls.append(number)
            return 2 * number + more

        assert [double(1), double(1), double(2), double(1, more=1), double(2), double(1)] == [2, 2, 4, 3, 4, 2]
        assert calls == [1, 2, 1, 1]
        assert double.cache is cache
        if info:
            assert double.cache_info() == (2, 4, 2, 2)
        double.cache_clear()
        assert len(cache) == 0

    def test_in_cached_a_value_too_large_is_returned(self):
        function = cachetools.cached(self.Cache(maxsize=1, getsizeof=len))(lambda text: text)
        assert [function("long"), function("long"), function("s")] == ["long", "long", "s"]

    @pytest.mark.parametrize("key", [keys.methodkey, keys.typedmethodkey])
    @pytest.mark.parametrize("with_condition", [False, True])
    def test_in_cachedmethod(self, key, with_condition):
        options = (
            {"condition": lambda self: self.condition} if with_condition else {"lock": lambda self: self.condition}
        )

        class Service:
            def __init__(self, cache):
                self.cache = cache
                self.condition = threading.Condition()
                self.calls = 0

            @cachetools.cachedmethod(lambda self: self.cache, key=key, info=True, **options)
            def square(self, number):
                self.calls += 1
                return number * number

        service = Service(self.Cache(maxsize=2))
        assert [service.square(number) for number in (2, 2, 3, 2, 2.0)] == [4, 4, 9, 4, 4.0]
        assert service.calls == (3 if key is keys.typedmethodkey else 2)
        assert service.square.cache_info().maxsize == 2


class LRUContract(CacheContract):
    """Without time: iteration is that of a dict."""

    @pytest.mark.parametrize("change", [lambda c: c.__delitem__(0), lambda c: c.__setitem__(9, 9), lambda c: c.clear()])
    def test_changing_the_number_of_items_ends_an_iteration(self, change):
        cache = self.Cache(maxsize=10)
        cache.update({key: key for key in range(5)})
        walk = iter(cache)
        assert next(walk) == 0
        change(cache)
        with pytest.raises(RuntimeError, match="changed size during iteration"):
            next(walk)


class TTLContract(CacheContract):
    """With time. `Cache` is a subclass with an endless ttl and a Clock; `Timed` takes maxsize, ttl, timer, getsizeof."""

    Timed: Any

    def timed(self, maxsize=3, ttl=3, **more):
        return self.Timed(maxsize, ttl, timer=Clock(), **more)

    def test_items_expire(self):
        cache = self.timed(maxsize=2, ttl=2)
        assert (cache.timer(), cache.ttl) == (0, 2)
        cache[1] = 1
        cache.timer.tick()
        cache[2] = 2
        assert (cache[1], len(cache), list(cache)) == (1, 2, [1, 2])
        cache.timer.tick()
        assert 1 not in cache
        assert cache.get(1, "gone") == "gone"
        with pytest.raises(KeyError):
            cache[1]
        assert (cache[2], len(cache), cache.currsize, list(cache)) == (2, 1, 1, [2])
        cache[3] = 3
        assert sorted(cache) == [2, 3]
        cache.timer.tick(2)
        assert (len(cache), list(cache), cache.currsize) == (0, [], 0)
        assert repr(cache).endswith("({}, maxsize=2, currsize=0)")
        with pytest.raises(KeyError):
            cache.popitem()

    def test_deleting_an_expired_item_is_a_key_error_and_deletes(self):
        cache = self.timed(ttl=1)
        cache[1] = 1
        cache.timer.tick()
        for _ in range(2):
            with pytest.raises(KeyError):
                del cache[1]
        with pytest.raises(KeyError):
            cache.pop(1)
        assert cache.pop(1, 5) == 5

    def test_setting_renews(self):
        cache = self.timed(ttl=2)
        cache.update([(1, 1), (2, 2)])
        cache.timer.tick()
        cache[1] = 1
        assert list(cache) == [1, 2], "iteration is in the order of insertion"
        cache.timer.tick()
        assert list(cache) == [1]
        assert cache[1] == 1, "reading does not"
        cache.timer.tick()
        assert list(cache) == []

    def test_expired_items_leave_before_live_ones(self):
        cache = self.timed(maxsize=2, ttl=2)
        cache[1] = 1
        cache.timer.tick()
        cache[2] = 2
        assert cache[1] == 1, "2 is now the least recently used"
        cache.timer.tick()
        cache[3] = 3
        assert sorted(cache) == [2, 3]

    def test_expire_returns_what_it_removes(self):
        cache = self.timed()
        for key in (1, 2, 3):
            cache[key] = -key
            cache.timer.tick()
        assert list(cache.expire(2)) == []
        assert len(cache) == 2, "by its own time, 3"
        cache = self.timed()
        for key in (1, 2, 3):
            cache[key] = -key
            cache.timer.tick()
        assert list(cache.expire(4)) == [(1, -1), (2, -2)]
        assert list(cache) == [3]
        assert list(cache.expire(time=100)) == [(3, -3)]
        assert list(cache.expire()) == []

    def test_popitem_after_expiry(self):
        cache = self.timed(ttl=2)
        cache[1] = 1
        cache.timer.tick()
        cache.update([(2, 2), (3, 3)])
        assert cache[2] == 2
        cache.timer.tick()
        assert [cache.popitem(), cache.popitem()] == [(3, 3), (2, 2)]

    @pytest.mark.parametrize("ttl", [0, -1, -math.inf])
    def test_no_lifetime(self, ttl):
        cache = self.timed(ttl=ttl)
        cache[1] = 1
        assert 1 not in cache
        assert len(cache) == 0

    def test_time_stands_still_inside_the_timer(self):
        cache = self.timed(ttl=1)
        cache[1] = 1
        with cache.timer as outer:
            cache.timer.tick()
            assert cache.timer() == outer == 0
            assert cache.timer.time == 1, "other attributes are the function's own"
            with cache.timer as inner:
                assert inner == outer
                assert cache[1] == 1
            assert list(cache) == [1]
            assert len(cache) == 1
        assert cache.timer() == 1
        assert 1 not in cache

    def test_the_timer_goes_on_after_an_exception(self):
        cache = self.timed()
        with pytest.raises(ZeroDivisionError), cache.timer:
            1 / 0  # noqa: B018
        cache.timer.tick()
        assert cache.timer() == 1

    def test_one_call_sees_one_time(self):
        cache = self.Timed(1, 2, timer=Clock(auto=True))
        for look in (lambda: cache[1], lambda: cache.get(1), lambda: cache.pop(1), lambda: cache.setdefault(1)):
            cache[1] = 1
            assert look() == 1
        cache[1] = 1
        cache.clear()
        assert len(cache) == 0

    def test_datetimes(self):
        cache = self.Timed(2, timedelta(days=1), timer=lambda: now)
        now = datetime(2026, 11, 25, 12)
        cache[1] = 1
        now += timedelta(days=1, microseconds=-1)
        assert cache[1] == 1
        assert cache.ttl == timedelta(days=1)
        assert list(cache.expire(now)) == []
        assert list(cache.expire(now + timedelta(microseconds=1))) == [(1, 1)]

    def test_a_lifetime_that_does_not_fit_the_timer(self):
        cache = self.Timed(2, 5, timer=datetime.now)
        with pytest.raises(TypeError):
            cache[1] = 1
        assert len(cache) == 0

    def test_nanoseconds(self):
        now = 1_764_000_000_123_456_789
        cache = self.Timed(2, 10, timer=lambda: now)
        cache[1] = 1
        now += 9
        assert cache[1] == 1
        now += 1
        assert 1 not in cache

    def test_iterating_while_deleting(self):
        cache = self.timed(maxsize=10)
        cache.update({key: key for key in range(5)})
        for key in cache:
            del cache[key]
        assert len(cache) == 0
        cache.update({key: key for key in range(5)})
        for key in cache:
            cache[key + 5] = key
        assert len(cache) == 10, "new items are not visited"
        walk = iter(cache)
        assert next(walk) == 0
        for key in (0, 1, 2, 9):
            del cache[key]
        cache["new"] = 1
        cache[9] = 9
        assert list(walk) in ([3, 4, 5, 6, 7, 8], [3, 4, 5, 6, 7, 8, 9]), "one that came back counts as new or not"
        cache.pop("new")
        walk = iter(cache)
        assert next(walk) == 3
        cache.timer.tick(3)
        assert list(walk) == [], "expired on the way"

    def test_a_copy_keeps_deadlines(self):
        cache = self.timed(ttl=3)
        cache[1] = 1
        cache.timer.tick()
        cache[2] = 2
        assert cache[1] == 1
        other = copy.copy(cache)
        cache.timer.tick(2)
        assert list(other) == list(cache) == [2]
        other[3] = 3
        assert list(cache) == [2]
        assert other.popitem() == (2, 2)

    def test_pickle_keeps_deadlines(self):
        cache = self.timed(ttl=3)
        cache[1] = 1
        cache.timer.tick()
        cache[2] = 2
        other = again(cache)
        assert (list(other), other.ttl, other.timer()) == ([1, 2], 3, 1)
        other.timer.tick(2)
        assert list(other) == [2]
        assert list(cache) == [1, 2], "it has a clock of its own"

    def test_setting_and_len_go_through_an_overridden_expire(self):
        told = []

        class Telling(self.Timed):
            def expire(self, time=None):
                items = list(super().expire(time))
                told.extend(items)
                return items

        cache = Telling(3, 1, timer=Clock())
        cache[1] = 1
        cache.timer.tick()
        cache[2] = 2
        assert told == [(1, 1)]
        cache.timer.tick()
        assert len(cache) == 0
        assert told == [(1, 1), (2, 2)]

    def test_methods_of_a_subclass_see_one_time(self):
        times = []

        class Telling(self.Timed):
            def __getitem__(self, key):
                times.append(self.timer())
                return super().__getitem__(key)

            def __contains__(self, key):
                times.append(self.timer())
                return super().__contains__(key)

        cache = Telling(3, 10, timer=Clock(auto=True))
        cache[1] = 1
        assert cache.get(1) == 1
        assert len(set(times)) == 1
