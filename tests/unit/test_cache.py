"""fastcore.cache beyond cachetools, and what no caller may break: keys, callbacks and timers that misbehave."""

import contextlib
import copy
import gc
import math
import os
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from contract.cache import Clock, again
from endurance import LEAK_OPERATIONS, NOT_SANITIZED
from fastcore.cache import CacheStats, LRUCache, TTLCache

BOTH = [LRUCache, lambda maxsize, *args, **more: TTLCache(maxsize, 1000, Clock(), *args, **more)]
both = pytest.mark.parametrize("make", BOTH, ids=["lru", "ttl"])


def timed(maxsize=10, ttl=10, **more):
    return TTLCache(maxsize, ttl, Clock(), **more)


def whole(cache):
    """The structure is consistent: every way to look at the items agrees, and the order of use is a full ring."""
    items = list(cache.items())
    assert len(items) == len(cache) == len(list(cache)) == len(set(map(id, cache)))
    for key, value in items:
        assert key in cache
        assert cache[key] is value
    drained = copy.copy(cache)
    assert sorted(map(id, dict(drained.popitem() for _ in range(len(drained))))) == sorted(id(key) for key, _ in items)
    return True


# -- additions


def test_an_item_with_its_own_lifetime():
    cache = timed(ttl=5)
    cache.set("short", 1, ttl=2)
    cache.set("common", 2)
    cache.set("long", 3, ttl=50)
    cache.set("same", 4, ttl=5)
    cache.set("for ever", 5, ttl=math.inf)
    assert list(cache) == ["short", "common", "long", "same", "for ever"]
    cache.timer.tick(2)
    assert cache.expire() == [("short", 1)]
    cache.timer.tick(3)
    assert cache.expire() == [("common", 2), ("same", 4)]
    cache.set("long", 6)
    cache.timer.tick(5)
    assert cache.expire() == [("long", 6)], "its lifetime is the common one again"
    assert list(cache) == ["for ever"]
    cache.set("gone", 1, ttl=0)
    assert "gone" not in cache


def test_items_of_mixed_lifetimes_expire_in_the_order_of_their_deadlines():
    cache = timed(maxsize=1000, ttl=500)
    for key in range(1000):
        cache.set(key, key, ttl=None if key % 3 == 0 else (key * 7919) % 1000 + 0.5)
    expired = cache.expire(501)
    deadlines = [500 if key % 3 == 0 else (key * 7919) % 1000 + 0.5 for key, _ in expired]
    assert deadlines == sorted(deadlines)
    assert len(expired) + len(cache) == 1000


def test_a_clock_that_goes_back_does_not_keep_items_for_longer():
    clock = Clock()
    cache = TTLCache(10, 10, clock)
    clock.time = 100
    cache["late"] = 1
    clock.time = 50
    cache["early"] = 2
    clock.time = 60
    assert cache.expire() == [("early", 2)]
    assert list(cache) == ["late"]


def test_a_setting_call_drops_few_expired_items_and_a_counting_one_all():
    cache = timed(maxsize=1000, ttl=1)
    cache.update({key: key for key in range(1000)})
    cache.timer.tick()
    cache["new"] = 1
    assert 1 <= cache.stats().expirations <= 16
    assert cache.stats().evictions == 0
    assert len(cache) == 1
    assert cache.stats().expirations == 1000


def test_setting_an_expired_key_among_many():
    cache = timed(maxsize=1000, ttl=1)
    cache.update({key: key for key in range(100)})
    cache.timer.tick()
    cache[99] = "new"
    assert [*iter(cache)] == [99]
    assert (cache[99], len(cache), cache.stats().expirations) == ("new", 1, 100)
    assert whole(cache)


@both
def test_get_many_and_set_many(make):
    cache = make(3)
    cache.set_many({1: "a", 2: "b"})
    cache.set_many([(3, "c")])
    assert cache.get_many([3, 1, 9]) == {3: "c", 1: "a"}
    cache.set(4, "d")
    assert list(cache) == [1, 3, 4], "2 was the least recently used"
    assert cache.get_many([]) == {}
    assert cache.stats()[:2] == (2, 1)
    with pytest.raises(TypeError):
        cache.get_many(5)
    with pytest.raises(TypeError, match="unhashable"):
        cache.get_many([[]])


def test_set_many_with_a_lifetime():
    cache = timed()
    cache.set_many({1: 1, 2: 2}, ttl=3)
    cache.set_many(iter([(3, 3)]), ttl=4)
    cache.timer.tick(3)
    assert list(cache) == [3]


@both
def test_stats_count_lookups_and_what_left(make):
    cache = make(2)
    cache.update({1: 1, 2: 2, 3: 3})
    assert 9 not in cache
    assert (cache.get(9), cache.get(3), cache[3], cache.setdefault(2, 0)) == (None, 3, 3, 2)
    with pytest.raises(KeyError):
        cache[9]
    cache.pop(2)
    assert cache.stats() == CacheStats(hits=3, misses=2, insertions=3, evictions=1, expirations=0)
    assert copy.copy(cache).stats() == CacheStats(0, 0, 0, 0, 0)


@both
def test_the_callback_hears_of_what_the_cache_drops(make):
    heard = []
    cache = make(2, on_evict=lambda *args: heard.append(args))
    cache.update({1: "a", 2: "b", 3: "c"})
    assert heard == [(1, "a", "evicted")]
    del cache[2]
    cache.pop(3)
    cache[4] = 4
    cache[4] = 5
    cache.popitem()
    cache[5] = 5
    cache.clear()
    assert len(heard) == 1, "what its user removes is no eviction"


def test_the_callback_hears_of_expired_items():
    heard = []
    cache = timed(maxsize=2, ttl=2, on_evict=lambda *args: heard.append(args))
    cache[1] = 1
    cache.timer.tick()
    cache[2] = 2
    cache.timer.tick()
    cache[3] = 3
    cache[4] = 4
    assert heard == [(1, 1, "expired"), (2, 2, "evicted")]
    cache.timer.tick(2)
    with pytest.raises(KeyError):
        del cache[3]
    assert cache.expire() == [(4, 4)]
    assert heard[2:] == [(3, 3, "expired"), (4, 4, "expired")]


def test_one_large_value_evicts_many():
    heard = []
    cache = LRUCache(10, getsizeof=lambda value: value, on_evict=lambda *args: heard.append(args))
    cache.update(dict.fromkeys(range(5), 2))
    cache["large"] = 7
    assert heard == [(key, 2, "evicted") for key in range(4)]
    assert (list(cache), cache.currsize) == ([4, "large"], 9)
    cache[4] = 10
    assert heard[4:] == [(4, 2, "evicted"), ("large", 7, "evicted")], "as in cachetools, itself on the way"


def test_growing_an_item_can_evict_itself_on_the_way():
    heard = []
    cache = LRUCache(10, getsizeof=lambda value: value, on_evict=lambda *args: heard.append(args))
    cache.update([("a", 4), ("b", 6)])
    cache["a"] = 10
    assert (dict(cache), cache.currsize) == ({"a": 10}, 10)
    assert heard == [("a", 4, "evicted"), ("b", 6, "evicted")]


@both
def test_the_callback_may_use_the_cache(make):
    def keep(key, value, reason):
        assert key not in cache
        assert len(cache) <= 3
        assert whole(cache)
        if value < 3:
            cache[key] = value + 1  # comes back, and something else goes
        if value == 2:
            cache.clear()

    cache = make(3, on_evict=keep)
    for key in range(50):
        cache[key] = 0
    assert whole(cache)
    assert len(cache) <= 3


@both
@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_callback_or_finalizer_that_clears_while_many_are_dropped(make, count):
    class Value:
        def __del__(self):
            cache.clear()

    heard = []

    def clear(key, value, reason):
        heard.append(key)
        if len(heard) == count:
            cache.clear()
            cache["back"] = 1

    for on_evict in (clear, None):
        cache = make(10, lambda value: 10 if value == "large" else 1, on_evict=on_evict)
        cache.update({key: Value() for key in range(10)})
        cache["large"] = "large"
        assert whole(cache)
        cache.clear()
    assert heard[:10] == list(range(10))


@both
def test_what_the_callback_raises_comes_out_when_the_work_is_done(make, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))

    def fail(key, value, reason):
        raise LookupError(key)

    cache = make(4, lambda value: value, on_evict=fail)
    cache.update([("a", 1), ("b", 1), ("c", 1)])
    with pytest.raises(LookupError, match="a"):
        cache["d"] = 3
    assert dict(cache) == {"c": 1, "d": 3}
    assert [str(error) for error in unraisable] == ["b"], "the second one"
    assert whole(cache)


def test_an_overridden_popitem_and_the_callback():
    class Mine(LRUCache):
        def popitem(self):
            return super().popitem()

    heard = []
    cache = Mine(1, on_evict=lambda *args: heard.append(args))
    cache.update({1: 1, 2: 2})
    assert heard == [(1, 1, "evicted")]
    assert cache.stats().evictions == 1


def test_a_popitem_that_removes_nothing_is_an_error():
    class Stuck(LRUCache):
        def popitem(self):
            return None, None

    cache = Stuck(1)
    cache[1] = 1
    with pytest.raises(RuntimeError, match="makes no room"):
        cache[2] = 2
    assert dict(cache) == {1: 1}


def test_own_lifetimes_survive_copies_and_pickles():
    cache = timed(ttl=10)
    cache.set(1, 1, ttl=20)
    cache[2] = 2
    cache.set(3, 3, ttl=1)
    for other in (copy.copy(cache), copy.deepcopy(cache), again(cache)):
        assert list(other) == [1, 2, 3]
        assert other.expire(1) == [(3, 3)]
        assert other.expire(10) == [(2, 2)]
        assert other.expire(20) == [(1, 1)]


def test_a_copy_keeps_the_callback_and_sizes():
    heard = []
    cache = LRUCache(3, lambda value: value, on_evict=lambda *args: heard.append(args))
    cache[1] = 2
    other = copy.copy(cache)
    other[2] = 3
    assert heard == [(1, 2, "evicted")]
    assert (cache.currsize, other.currsize) == (2, 3)


def test_the_default_timer_is_monotonic_time():
    cache = TTLCache(5, 1000)
    before = time.monotonic()
    cache["a"] = 1
    after = time.monotonic()
    assert cache["a"] == 1
    assert before <= cache.timer() <= time.monotonic()
    assert cache.expire(before + 999.99) == []
    assert cache.expire(after + 1000) == [("a", 1)]
    brief = TTLCache(5, 0.002)
    brief["a"] = 1
    until = time.monotonic() + 0.002
    while time.monotonic() < until:
        assert brief.timer() <= time.monotonic()
    assert brief.get("a") is None
    assert again(cache).timer() >= after


# -- keys


class Key:
    """Hashes and compares as told."""

    def __init__(self, name, hashed=1, hook=None):
        self.name, self.hashed, self.hook = name, hashed, hook

    def __hash__(self):
        return self.hashed() if callable(self.hashed) else self.hashed

    def __eq__(self, other):
        for hook in (self.hook, getattr(other, "hook", None)):
            if hook is not None:
                hook()
        return isinstance(other, Key) and self.name == other.name

    def __repr__(self):
        return self.name


def raising():
    raise LookupError("mine")


USES = {
    "getitem": lambda cache, key: cache[key],
    "get": lambda cache, key: cache.get(key),
    "in": lambda cache, key: key in cache,
    "set": lambda cache, key: cache.__setitem__(key, 0),
    "del": lambda cache, key: cache.__delitem__(key),
    "pop": lambda cache, key: cache.pop(key, None),
    "setdefault": lambda cache, key: cache.setdefault(key, 0),
    "get_many": lambda cache, key: cache.get_many([key]),
    "get_or_compute": lambda cache, key: cache.get_or_compute(key, int),
}


@both
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_hash_or_comparison_that_raises_changes_nothing(make, use):
    cache = make(3)
    cache.update([(Key("a"), 1), (Key("b"), 2)])
    before = list(cache.items())
    for key in (Key("a", hook=raising), Key("c", hook=raising), Key("a", hashed=raising)):
        with pytest.raises(LookupError, match="mine"):
            use(cache, key)
        assert list(cache.items()) == before
    assert whole(cache)
    assert cache.get_or_compute("other", lambda: 7) == 7


CHANGES = {
    "clear": lambda cache: cache.clear(),
    "delete": lambda cache: cache.pop(Key("a"), None),
    "grow": lambda cache: cache.update({number: number for number in range(100)}),
    "init": lambda cache: cache.__init__(*((5,) if isinstance(cache, LRUCache) else (5, 1000, Clock()))),
    "popitem": lambda cache: cache and cache.popitem(),
    "expire": lambda cache: isinstance(cache, TTLCache) and cache.timer.tick(2000),
}


@both
@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["a", "c", "z"])
def test_a_comparison_that_changes_the_cache(make, use, change, name):
    cache = make(200)
    cache.update([(Key(key), key) for key in "abcdef"])
    armed = [True]

    def hook():
        if armed:
            armed.clear()
            change(cache)

    with contextlib.suppress(KeyError):
        use(cache, Key(name, hook=hook))
    assert not armed
    assert whole(cache)


def test_a_comparison_that_always_changes_the_cache_is_an_error():
    cache = LRUCache(10)
    cache.update([(Key(key), key) for key in "ab"])
    cache["spare"] = 0

    def hook():
        cache["spare"] = cache.pop("spare")

    with pytest.raises(RuntimeError, match="keeps changing the cache"):
        cache.get(Key("c", hook=hook))
    assert whole(cache)


@both
def test_a_finalizer_may_use_the_cache(make):
    class Value:
        def __del__(self):
            cache["died"] = cache.stats().insertions
            cache.pop(0, None)

    cache = make(4)
    for key in range(40):
        cache[key] = Value()
    cache[39] = None
    assert whole(cache)
    cache.clear()
    assert set(cache) <= {"died"}
    del cache["died"]


@both
def test_sizes_and_defaults_that_use_the_cache(make):
    cache = make(5, lambda value: len(cache.setdefault("size", [1])) if value != [1] else 1)
    cache["a"] = "x"
    assert whole(cache)


def test_colliding_keys():
    cache = LRUCache(300)
    keys = [Key(str(number), hashed=number % 3) for number in range(600)]
    cache.update({key: key.name for key in keys})
    for key in keys[::2]:
        cache.pop(key, None)
    assert {key.name for key in cache} == {str(number) for number in range(300, 600) if number % 2}
    assert whole(cache)


@pytest.mark.parametrize("step", [1, 2**8, 2**20, 2**32, 2**40])
def test_regular_numbers_do_not_pile_up(step):
    """Patterns that meet in one slot of a plain power-of-two table; at 5,000 keys in one slot this would take minutes."""
    cache = LRUCache(5000)
    cache.update({number * step: number for number in range(10_000)})
    assert all(cache[number * step] == number for number in range(5000, 10_000))


def test_large_and_negative_numbers_as_keys():
    cache = LRUCache(50)
    numbers = [
        sign * (base + offset) for sign in (1, -1) for base in (0, 2**31, 2**61 - 1, 2**63, 2**200) for offset in (0, 1)
    ]
    cache.update({number: str(number) for number in numbers})
    for number in numbers:
        assert cache[int(str(number))] == str(number)
    assert len(cache) == len(set(numbers))


def test_texts_of_every_width_as_keys():
    texts = [character * count + "end" for character in "aé€😀" for count in (1, 2, 50)]
    cache = LRUCache(50)
    cache.update({text: text for text in texts})
    for text in texts:
        assert cache["".join(list(text))] == text
        assert text[:-1] not in cache


# -- other bad input


@both
@pytest.mark.parametrize("maxsize", [None, "5", [], object()])
def test_maxsize_of_a_wrong_type(make, maxsize):
    with pytest.raises(TypeError):
        make(maxsize)


@both
def test_arguments_that_make_no_sense(make):
    with pytest.raises(ValueError, match="must not be NaN"):
        make(math.nan)
    with pytest.raises(TypeError, match="on_evict must be callable"):
        make(5, on_evict=5)
    with pytest.raises(TypeError):
        make(5, None, None, None, None)
    with pytest.raises(TypeError):
        make()


@both
@pytest.mark.parametrize(
    ("size", "error"),
    [
        (math.nan, ValueError),
        (-0.5, ValueError),
        ("3", TypeError),
        (None, TypeError),
        (10**400, ValueError),
        (-(10**400), ValueError),
    ],
)
def test_sizes_that_make_no_sense(make, size, error):
    cache = make(10, lambda value: size if value == "bad" else 1)
    cache["a"] = 1
    for use in (
        lambda: cache.__setitem__("a", "bad"),
        lambda: cache.__setitem__("b", "bad"),
        lambda: cache.setdefault("b", "bad"),
    ):
        with pytest.raises(error):
            use()
    assert (dict(cache), cache.currsize) == ({"a": 1}, 1)


@pytest.mark.parametrize("ttl", [math.nan, "5", None, []])
def test_lifetimes_that_make_no_sense(ttl):
    with pytest.raises((ValueError, TypeError)):
        cache = TTLCache(5, ttl, Clock())
        cache[1] = 1
    if ttl is not None:
        cache = timed()
        with pytest.raises((ValueError, TypeError)):
            cache.set(1, 1, ttl=ttl)
        assert len(cache) == 0


def test_times_that_make_no_sense():
    now = 0.0
    cache = TTLCache(5, 10, lambda: now)
    cache[1] = 1
    for now in (math.nan, "text", None):  # noqa: B007
        for use in (
            lambda: cache[1],
            lambda: cache.__setitem__(2, 2),
            lambda: len(cache),
            lambda: cache.expire(),
            lambda: list(cache),
        ):
            with pytest.raises((ValueError, TypeError)):
                use()
    now = 1.0
    for then in (math.nan, "text"):
        with pytest.raises((ValueError, TypeError)):
            cache.expire(then)
    assert list(cache) == [1]


def test_a_timer_that_raises():
    def timer():
        if broken:
            raise LookupError("clock")
        return 0

    broken = False
    cache = TTLCache(5, 10, timer)
    cache[1] = 1
    broken = True
    for use in (
        lambda: cache[1],
        lambda: cache.get(1),
        lambda: cache.update({2: 2}),
        lambda: repr(cache),
        lambda: cache.currsize,
        lambda: cache.timer.__enter__(),
    ):
        with pytest.raises(LookupError):
            use()
    broken = False
    assert list(cache) == [1]
    assert cache.timer() == 0, "it does not stand still"


def test_a_second_init_empties_the_cache():
    cache = LRUCache(2)
    cache[1] = 1
    cache.__init__(3, len)
    assert (len(cache), cache.maxsize, cache.getsizeof("ab")) == (0, 3, 2)
    cache["a"] = "ab"
    assert cache.currsize == 2

    def again(*args):
        mine.__init__(5)

    mine = LRUCache(1, on_evict=again)
    mine[1] = 1
    with pytest.raises(RuntimeError, match="its own callback"):
        mine[2] = 2
    assert dict(mine) == {2: 2}


def test_without_init_nothing_fits():
    class Lazy(LRUCache):
        def __init__(self):
            pass

    class LazyTimed(TTLCache):
        def __init__(self):
            pass

    for cache in (Lazy(), LazyTimed()):
        with pytest.raises(ValueError, match="value too large"):
            cache[1] = 1
        assert (len(cache), cache.maxsize, cache.get(1), repr(cache)[-26:]) == (
            0,
            0,
            None,
            "{}, maxsize=0, currsize=0)",
        )


def test_the_common_base_is_not_for_use():
    with pytest.raises(TypeError, match="make an LRUCache or a TTLCache"):
        LRUCache.__mro__[1]()


@pytest.mark.parametrize(
    "state", [None, (), (1, 2, 3, 4, 5, 6), ((5, False, False, None, None, 1), [1, 1], [None], ["x"], [0], {})]
)
def test_a_pickled_state_that_is_none(state):
    cache = TTLCache(5, 5)
    with pytest.raises((TypeError, ValueError)):
        cache.__setstate__(state)
    assert len(cache) == 0


@pytest.mark.parametrize("order", [[0, 0], [5], [-3], []])
def test_a_pickled_order_that_is_wrong_does_no_harm(order):
    cache = LRUCache(5)
    with contextlib.suppress(IndexError):
        cache.__setstate__(((5, False, False, None, None, None), [1, 1, 1, 1], [None, None], [None, None], order, {}))
    assert whole(cache)


# -- memory


@both
def test_the_cycle_collector_finds_caches(make):
    cache = make(5)
    cache["self"] = cache
    cache[cache.get] = 1
    gone = weakref.ref(cache)
    walk = iter(cache)
    next(walk)
    del cache
    gc.collect()
    assert gone() is not None, "the iterator holds it"
    del walk
    gc.collect()
    assert gone() is None


def test_an_iterator_may_be_collected_after_its_cache():
    for _ in range(10):
        cache = LRUCache(5)
        walk = iter(cache)
        cache["walk"] = iter(cache)
        cache["other"] = walk
        next(cache["walk"], None)
        del cache, walk
        gc.collect()


def test_caches_nested_deeply_die_without_overflow():
    cache = LRUCache(1)
    for _ in range(200_000):
        outer = LRUCache(1)
        outer[1] = cache
        cache = outer
    del cache, outer


@both
def test_references_are_given_back(make):
    class Thing:
        pass

    key, value = Thing(), Thing()
    cache = make(3)
    held = sys.getrefcount(key), sys.getrefcount(value)
    for _ in range(5):
        cache[key] = value
        cache[key] = value
        cache.get(key)
        cache.setdefault(key, value)
        cache.get_many([key])
        cache.get_or_compute(key, Thing)
        copy.copy(cache)
        list(cache.items())
        repr(cache)
        cache.pop(key)
        cache[key] = value
        cache.popitem()
        cache[key] = value
        del cache[key]
        cache[key] = value
        for number in range(10):
            cache[number] = value
        cache.clear()
    assert (sys.getrefcount(key), sys.getrefcount(value)) == held


LEAK = """
import gc, sys
from fastcore.cache import LRUCache, TTLCache

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def work(operations):
    lru = LRUCache(500, len, on_evict=lambda *args: None)
    ttl = TTLCache(500, 0.001)
    for number in range(operations // 10):
        key = f"key {number % 3000}"
        lru[key] = "x" * (number % 7)
        ttl[key] = [number]
        ttl.set(str(number), key, ttl=number % 5 * 0.001)
        lru.get(key), ttl.get(str(number - 5)), lru.pop(f"key {number % 100}", None)
        ttl.get_or_compute(key, list)
        if number % 997 == 0:
            lru and lru.popitem(); ttl.expire(); lru[key] = ""; list(lru.items()); repr(ttl); lru.clear()
        try:
            ttl[number]
        except KeyError:
            pass

work(50_000)
before = resident()
work(int(sys.argv[1]))
print(resident() - before)
"""


@NOT_SANITIZED
def test_memory_does_not_grow():
    done = subprocess.run(
        [sys.executable, "-c", LEAK, str(LEAK_OPERATIONS)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")},
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) < 1 << 20


def test_what_two_imports_print():
    """A program written for cachetools says the same when only its import changes."""
    program = Path(__file__).with_name("cache_program.py")
    told = [
        subprocess.run(
            [sys.executable, program, module],
            env={**os.environ, "PYTHONPATH": str(program.parents[2] / "src")},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for module in ("cachetools", "fastcore.cache")
    ]
    assert len(told[0].splitlines()) > 500
    assert told[0] == told[1]
