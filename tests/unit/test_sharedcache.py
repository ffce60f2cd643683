"""fastcore.sharedcache in one process and its children: what is promised, and what bad input gets."""

import contextlib
import gc
import math
import os
import random
import signal
import threading
import time

import pytest

from endurance import LEAK_OPERATIONS, NOT_SANITIZED, resident
from fastcore import sharedcache
from fastcore.sharedcache import Entry, SharedCache, section_size
from fastcore.shm import Region


@pytest.fixture
def cache() -> SharedCache:
    return SharedCache(capacity=1 << 20, shards=2)


def test_what_is_set_is_got(cache: SharedCache) -> None:
    assert cache.get(b"k") is None
    assert cache.get(b"k", "other") == "other"
    assert cache.set(b"k", b"v") is True
    assert cache.get(b"k") == b"v"
    assert b"k" in cache
    assert b"x" not in cache
    assert len(cache) == 1
    assert cache.set(b"k", b"") is True
    assert cache.get(b"k", "other") == b""
    assert cache.set(b"", b"empty key") is True
    assert cache.get(b"") == b"empty key"
    assert cache.delete(b"k") is True
    assert cache.delete(b"k") is False
    assert cache.get(b"k") is None
    assert cache.get_many([b"", b"k", b"x"]) == {b"": b"empty key"}
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.stored, stats.entries) == (4, 5, 3, 1)
    assert repr(cache) == "<fastcore.sharedcache.SharedCache 1 entries, capacity 1048576>"


@pytest.mark.parametrize("size", [1, 7, 8, 183, 184, 185, 16384, 16385, 65536, 100_000])
def test_sizes(cache: SharedCache, size: int) -> None:
    value = os.urandom(size)
    assert cache.set(b"k", value)
    assert cache.get(b"k") == value
    assert cache.find(b"k").value == value


def test_anything_with_a_buffer(cache: SharedCache) -> None:
    value = bytearray(b"abcdef")
    assert cache.set(memoryview(b"xkeyx")[1:4], memoryview(value)[::1], tags=[bytearray(b"t")], meta=memoryview(b"m"))
    value.append(1)  # nothing holds on to it
    assert cache.get(bytearray(b"key")) == b"abcdef"
    assert cache.find(b"key").meta == b"m"


def test_times(cache: SharedCache) -> None:
    assert cache.set(b"k", b"v", 2, stale=3, flags=7, meta=b"m", now=10)
    assert cache.get(b"k", now=11.9) == b"v"
    assert cache.get(b"k", now=12) is None
    assert cache.find(b"k", now=11) == Entry(b"v", b"m", 7, True, 1.0, 1.0, 4.0)
    assert cache.find(b"k", now=13) == Entry(b"v", b"m", 7, False, 3.0, -1.0, 2.0)
    assert cache.find(b"k", now=15) is None
    assert cache.touch(b"k", 10, now=14)
    assert cache.get(b"k", now=23) == b"v"
    assert not cache.touch(b"k", 10, now=24)
    assert cache.expire(now=24) == 1
    assert len(cache) == 0
    assert cache.set(b"k", b"v")
    assert cache.find(b"k").ttl is None
    assert cache.find(b"k").keep is None
    assert cache.set(b"k", b"v", math.inf)
    assert cache.find(b"k").ttl is None
    assert cache.set(b"k", b"v", 1, stale=None, now=1)
    assert cache.find(b"k", now=1e9).fresh is False
    assert cache.set(b"k", b"v", 3600)
    assert 3599 < cache.find(b"k").ttl <= 3600
    assert b"k" in cache


def test_add(cache: SharedCache) -> None:
    assert cache.add(b"k", b"1", 5, now=1)
    assert not cache.add(b"k", b"2", 5, now=5.9)
    assert cache.get(b"k", now=5.9) == b"1"
    assert cache.add(b"k", b"2", 5, now=6)
    big = bytes(50_000)
    assert not cache.add(b"k", big, now=7)
    assert cache.add(b"x", big, now=7)
    assert cache.get(b"x") == big


def test_claim(cache: SharedCache) -> None:
    assert cache.claim(b"k", 5, now=1)
    assert not cache.claim(b"k", 5, now=2)
    assert cache.find(b"k", now=2) is None
    assert cache.get(b"k", now=2) is None
    assert cache.claim(b"k", 5, now=6)
    assert cache.set(b"k", b"v", 10, stale=10, now=7)
    assert not cache.claim(b"k", 5, now=16)
    assert cache.claim(b"k", 5, now=17)
    assert not cache.claim(b"k", 5, now=18)
    assert cache.find(b"k", now=18).value == b"v"


def test_tags_and_stamps(cache: SharedCache) -> None:
    assert cache.set(b"a", b"1", tags=["red", b"round"])
    assert cache.set(b"b", b"2", tags=["blue", "round"])
    cache.invalidate_tag(b"red")
    assert cache.get_many([b"a", b"b"]) == {b"b": b"2"}
    stamp = cache.stamp(["blue"])
    cache.invalidate_tag("round", soft=True)
    assert cache.get(b"b") is None
    assert cache.find(b"b").value == b"2"
    cache.invalidate_tag("blue")
    assert cache.find(b"b") is None
    assert cache.set(b"b", b"read before the invalidation", stamp=stamp)
    assert cache.get(b"b") is None
    assert cache.set(b"b", b"read after", stamp=cache.stamp(["blue"]))
    cache.invalidate_tag("blue", soft=True)
    stamp = cache.stamp(["blue"])
    assert cache.touch(b"b", 10)
    assert cache.get(b"b") is None
    assert cache.touch(b"b", 10, stamp=stamp)
    assert cache.get(b"b") == b"read after"
    assert cache.set(b"c", b"3", tags=(str(i) for i in range(16)))


def test_two_tags_in_one_slot_go_together() -> None:
    cache = SharedCache(capacity=1 << 20, tag_slots=1)
    cache.set(b"a", b"1", tags=["red"])
    cache.set(b"b", b"2")
    cache.invalidate_tag("blue")
    assert cache.get_many([b"a", b"b"]) == {b"b": b"2"}


def test_clear(cache: SharedCache) -> None:
    for i in range(100):
        cache.set(b"%d" % i, b"v")
    stamp = cache.stamp()
    cache.clear()
    assert len(cache) == 0
    assert cache.stats().bytes == 0
    assert cache.get(b"5") is None
    assert cache.set(b"5", b"old", stamp=stamp) is False
    assert cache.set(b"5", b"new") is True
    assert len(cache) == 1
    cache.clear()
    cache.clear()
    assert cache.get(b"5") is None


def test_memory_is_bounded_and_mixtures_fit() -> None:
    cache = SharedCache(capacity=1 << 20, shards=1, item_max=400_000)
    for i in range(3000):
        assert cache.set(b"%d" % i, bytes(i * 7919 % (300_000 if i % 50 == 0 else 3000)))
        assert cache.get(b"%d" % i) is not None
    stats = cache.stats()
    assert stats.bytes <= stats.capacity == 1 << 20
    assert stats.evictions + stats.entries == stats.stored == 3000
    cache.set(b"hot", b"v")
    for i in range(20_000):
        assert cache.get(b"hot") == b"v"
        cache.set(b"cold%d" % i, bytes(100))


def test_writer(cache: SharedCache) -> None:
    cache.set(b"k", b"before")
    with cache.writer(b"k", 60, ["t"], flags=3, meta=b"m") as writer:
        assert writer.write(b"piece ")
        assert cache.get(b"k") == b"before"
        assert writer.write(bytearray(b"by piece"))
    assert cache.find(b"k")[:4] == (b"piece by piece", b"m", 3, True)
    assert cache.stats().pending == 0
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="closed"):
        writer.commit()
    writer.abort()
    with pytest.raises(ZeroDivisionError), cache.writer(b"k") as writer:
        writer.write(b"half")
        raise ZeroDivisionError
    assert cache.get(b"k") == b"piece by piece"
    writer = cache.writer(b"gone", size=100)
    assert cache.stats().pending > 0
    del writer
    assert cache.stats().pending == 0
    writer = cache.writer(b"k")
    assert writer.cache is cache
    assert writer.write(bytes(cache.item_max - 1))
    assert not writer.write(bytes(2))
    assert not writer.write(b"")
    assert not writer.commit()
    stamped = cache.writer(b"k", stamp=cache.stamp())
    cache.clear()
    assert not stamped.commit()
    writers = [cache.writer(b"k") for _ in range(20)]
    assert sum(writer.commit() for writer in writers) == 16
    with pytest.raises(TypeError):
        sharedcache.Writer()


def test_writer_belongs_to_its_process(cache: SharedCache) -> None:
    writer = cache.writer(b"k")
    pid = os.fork()
    if pid == 0:
        refused = not writer.write(b"child") and not writer.commit()
        del writer
        gc.collect()
        os._exit(not refused)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert writer.write(b"parent")
    assert writer.commit()
    assert cache.get(b"k") == b"parent"


BAD_TIMES = [0, -1, math.nan, -math.inf]


@pytest.mark.parametrize("ttl", BAD_TIMES)
def test_bad_times(cache: SharedCache, ttl: float) -> None:
    cache.set(b"k", b"before")
    for act in (
        lambda: cache.set(b"k", b"v", ttl),
        lambda: cache.add(b"k", b"v", ttl),
        lambda: cache.touch(b"k", ttl),
        lambda: cache.claim(b"k", ttl),
        lambda: cache.writer(b"k", ttl),
    ):
        with pytest.raises(ValueError, match=r"(ttl|lease) is .*above 0"):
            act()
    if ttl != 0:
        with pytest.raises(ValueError, match="stale is"):
            cache.set(b"k", b"v", 1, stale=ttl)
        with pytest.raises(ValueError, match="now is"):
            cache.get(b"k", now=ttl)
    assert cache.get(b"k") == b"before"


def test_bad_arguments(cache: SharedCache) -> None:
    cache.set(b"k", b"before")
    for wrong in ("text", 5, None, 1.5, [1]):
        for act in (
            lambda wrong=wrong: cache.get(wrong),
            lambda wrong=wrong: cache.find(wrong),
            lambda wrong=wrong: cache.set(wrong, b"v"),
            lambda wrong=wrong: cache.set(b"k", wrong),
            lambda wrong=wrong: cache.set(b"k", b"v", meta=wrong),
            lambda wrong=wrong: cache.delete(wrong),
            lambda wrong=wrong: cache.touch(wrong, 1),
            lambda wrong=wrong: cache.claim(wrong, 1),
            lambda wrong=wrong: cache.writer(wrong),
            lambda wrong=wrong: cache.get_many([b"k", wrong]),
            lambda wrong=wrong: wrong in cache,
        ):
            with pytest.raises(TypeError):
                act()
    for tags in ("red", b"red", 5, [5], [None]):
        with pytest.raises(TypeError):
            cache.set(b"k", b"v", tags=tags)
    for error, arguments in (
        (TypeError, {"ttl": "soon"}),
        (TypeError, {"now": "now"}),
        (OverflowError, {"flags": 1 << 32}),
        (OverflowError, {"flags": -1}),
        (TypeError, {"flags": "f"}),
        (ValueError, {"tags": map(str, range(17))}),
        (ValueError, {"stamp": b"short"}),
        (ValueError, {"stamp": bytes(8 * 18)}),
        (ValueError, {"stamp": cache.stamp(), "tags": ["t"]}),
        (ValueError, {"value": bytes(cache.item_max)}),
        (ValueError, {"meta": bytes(cache.item_max)}),
        (ValueError, {"key": bytes(70_000)}),
    ):
        with pytest.raises(error):
            cache.set(**{"key": b"k", "value": b"v", **arguments})
    with pytest.raises(ValueError, match="a lease ends"):
        cache.claim(b"k", None)
    with pytest.raises(BufferError):
        cache.set(memoryview(b"abcd")[::2], b"v")
    with pytest.raises(ValueError, match="item_max"):
        cache.writer(b"k", size=cache.item_max)
    with pytest.raises(OverflowError):
        cache.writer(b"k", size=-1)

    def broken():
        yield "red"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.set(b"k", b"v", tags=broken())
    with pytest.raises(ZeroDivisionError):
        cache.get_many(1 // 0 for _ in range(2))
    # A stamp that was made up names no tag slot there is: stored, and not found.
    assert cache.set(b"made up", b"v", stamp=cache.stamp() + b"\xff" * 8)
    assert cache.get(b"made up") is None
    assert cache.get(b"k") == b"before"
    assert len(cache) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"capacity": 0},
        {"capacity": 1 << 41},
        {"shards": 0},
        {"shards": 65},
        {"block": 128},
        {"block": 300},
        {"tag_slots": 0},
        {"tag_slots": (1 << 20) + 1},
        {"item_max": 0},
        {"item_max": 20 << 20},
        {"capacity": 1000},
    ],
)
def test_bad_parameters(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|out of range"):
        SharedCache(**arguments)
    with pytest.raises(ValueError, match=r"must be|out of range"):
        section_size(**arguments)


def test_bad_wait() -> None:
    for wait in (-1, math.nan, 61):
        with pytest.raises(ValueError, match="wait is"):
            SharedCache(wait=wait)


def test_in_a_region() -> None:
    size = section_size(capacity=1 << 20)
    assert 1 << 20 < size < 1.4 * (1 << 20)
    with Region(size + 32768) as region:
        one = SharedCache(region, capacity=1 << 20, shards=8)
        two = SharedCache(region)
        assert two.region is region
        assert (two.capacity, two.shards, two.block, two.tag_slots) == (1 << 20, 8, 256, 4096)
        assert two.item_max == one.item_max == (1 << 20) // 32 - 512
        one.set(b"k", b"v")
        assert two.get(b"k") == b"v"
        with pytest.raises(ValueError, match="exists with shards 8, not 4"):
            SharedCache(region, shards=4)
        with pytest.raises(RuntimeError, match="already initialised"):
            one.__init__(region)
        with pytest.raises(BufferError):
            region.close()
        region.section("other", 16384, align=4096)[:8] = b"whatever"
        with pytest.raises(RuntimeError, match="another version"):
            SharedCache(region, section="other")
        del one, two
        gc.collect()


def test_children_share_it(cache: SharedCache) -> None:
    cache.set(b"parent", b"1")
    pid = os.fork()
    if pid == 0:
        os._exit(not (cache.get(b"parent") == b"1" and cache.set(b"child", b"2")))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    cache.release(pid)
    assert cache.get(b"child") == b"2"
    assert cache.stats().hits == 2


def test_a_stopped_writer_stops_nobody() -> None:
    """A child in endless writing is stopped until it is caught with a lock: readers go on, writers are refused in time."""
    cache = SharedCache(capacity=1 << 20, shards=1, wait=0.02)
    cache.set(b"k", b"old")
    pid = os.fork()
    if pid == 0:
        while True:
            cache.set(b"other", bytes(16_000))
    try:
        dice = random.Random(1)
        until = time.monotonic() + 60
        caught = False
        while not caught and time.monotonic() < until:
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
            cache.set(b"k", b"old")
            caught = not cache.set(b"k", b"new")
            if not caught:
                os.kill(pid, signal.SIGCONT)
                time.sleep(dice.random() / 1000)  # it has to get somewhere, on a machine of one free core too
        assert caught
        assert cache.get(b"k") is None  # not the old one
        begin = time.monotonic()
        for _ in range(20):
            assert cache.set(b"k", b"new") is False
            assert cache.add(b"k", b"new") is False
            assert cache.touch(b"k", 5) is False
            assert cache.claim(b"k", 5) is True
            assert cache.get(b"x") is None
            with pytest.raises(TimeoutError, match="holds the lock"):
                cache.delete(b"k")
            assert not cache.writer(b"k").commit()
            cache.expire()
        assert time.monotonic() - begin < 5
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert cache.set(b"k", b"new")
    assert cache.get(b"k") == b"new"
    assert cache.stats().repairs == 1


def test_threads_share_one_object(cache: SharedCache) -> None:
    wrong = []

    def work(number: int) -> None:
        for i in range(300):
            value = bytes([number]) * (70_000 if i % 10 == 0 else 100)
            cache.set(b"k%d" % (i % 3), value)
            found = cache.get(b"k%d" % (i % 3))
            if found is not None and len(set(found)) != 1:
                wrong.append(found[:10])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@NOT_SANITIZED
def test_nothing_leaks() -> None:
    cache = SharedCache(capacity=1 << 20, shards=2)

    def work(times: int) -> None:
        for i in range(times // 10):
            key = b"%d" % (i % 5000)
            cache.set(key, bytes(i % 600), 60, ["t", "u"], meta=b"m")
            cache.add(bytearray(key), memoryview(b"v"))
            cache.get(key)
            cache.find(key)
            cache.get_many([key, b"absent"])
            cache.touch(key, 5, stamp=cache.stamp(["t", "u"]))
            cache.claim(b"c" + key, 1)
            with cache.writer(key) as writer:
                writer.write(b"piece")
            cache.delete(key)
            with contextlib.suppress(TypeError):
                cache.set(key, b"v", tags=5)

    work(LEAK_OPERATIONS // 2)
    before = resident()
    work(LEAK_OPERATIONS)
    assert resident() - before < 1 << 20
    assert cache.stats().pending == 0
