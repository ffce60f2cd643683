"""fastcore.sharedcache against a model: a dict when there is room, and "what I stored last or nothing" when there is not."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.sharedcache import Held, Model

from fastcore.sharedcache import SharedCache

TAGS = ["red", "green", "blue"]
keys = st.sampled_from([b"", b"a", b"bb", b"k" * 300, bytes(range(256)) * 3])
values = st.one_of(st.binary(max_size=40), st.integers(0, 30_000).map(lambda n: bytes(i % 251 for i in range(n))))
times = st.integers(1, 12)
tags = st.lists(st.sampled_from(TAGS), max_size=3, unique=True)
steps = st.one_of(
    st.tuples(st.sampled_from(["set", "add", "stream"]), keys, values, times, st.integers(0, 5), tags, st.booleans()),
    st.tuples(st.sampled_from(["touch", "claim"]), keys, times, st.integers(0, 5)),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("invalidate"), st.sampled_from(TAGS), st.booleans()),
    st.tuples(st.sampled_from(["clear", "expire", "stamp"])),
    st.tuples(st.just("wait"), times),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=40))
def test_with_room_it_is_the_model(history: list[tuple]) -> None:
    cache = SharedCache(capacity=2 << 20, shards=2, item_max=40_000, tag_slots=1 << 16)
    model, now = Model(), 100.0
    stamp, model_stamp = cache.stamp(TAGS), model.stamp(TAGS)
    for kind, *arguments in history:
        if kind in ("set", "add", "stream"):
            key, value, ttl, stale, names, old = arguments
            given_tags = {"stamp": stamp} if old else {"tags": names}
            held = Held(value, now + ttl, now + ttl + stale, {}, flags=len(value), meta=value[:20])
            told = copy.deepcopy(model_stamp) if old else model.stamp(names)
            more = {"stale": stale, "flags": len(value), "meta": value[:20], "now": now, **given_tags}
            if kind == "stream":
                writer = cache.writer(key, ttl, size=len(value) // 2, **more)
                for at in range(0, len(value), 777):
                    writer.write(value[at : at + 777])
                done = writer.commit()
            else:
                done = getattr(cache, kind)(key, value, ttl, **more)
            assert done == model.set(key, held, told, absent_only=kind == "add", now=now)
        elif kind == "touch":
            key, ttl, stale = arguments
            assert cache.touch(key, ttl, stale=stale, now=now) == model.touch(key, now + ttl, now + ttl + stale, now)
        elif kind == "claim":
            key, lease, _ = arguments
            assert cache.claim(key, lease, now=now) == model.claim(key, now + lease, now)
        elif kind == "delete":
            assert cache.delete(*arguments, now=now) == model.delete(*arguments, now)
        elif kind == "invalidate":
            cache.invalidate_tag(arguments[0], soft=arguments[1])
            model.invalidate(*arguments)
        elif kind == "clear":
            cache.clear()
            model.clear()
        elif kind == "expire":
            # A clear leaves nothing to count; what writers freed on their way is not counted here either.
            assert cache.expire(now=now) == model.expire(now)
            assert len(cache) == len(model.held)
        elif kind == "stamp":
            stamp, model_stamp = cache.stamp(TAGS), model.stamp(TAGS)
        else:
            now += arguments[0]
        for key in (b"", b"a", b"bb", b"k" * 300, bytes(range(256)) * 3):
            assert cache.get(key, now=now) == model.get(key, now)
            found, state = cache.find(key, now=now), model.state(key, now)
            assert (found is not None) == (state in ("fresh", "stale"))
            if found is not None:
                held = model.held[key]
                assert (found.value, found.meta, found.flags) == (held.value, held.meta, held.flags)
                assert found.fresh == (state == "fresh")
                assert abs(found.ttl - (held.fresh_until - now)) < 1e-6
                assert abs(found.keep - (held.keep_until - now)) < 1e-6
    stats = cache.stats()
    assert stats.evictions == 0
    assert stats.pending == 0


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 7000), st.booleans()), max_size=200))
def test_without_room_it_forgets_but_never_lies(history: list[tuple[int, int, bool]]) -> None:
    cache = SharedCache(capacity=32 << 10, shards=1, item_max=8000)
    last: dict[bytes, bytes] = {}
    for number, size, reading in history:
        key = b"key%d" % number
        if reading:
            assert cache.get(key) in (None, last.get(key))
        else:
            last[key] = bytes([len(last) % 256]) * size
            assert cache.set(key, last[key])
            assert cache.get(key) == last[key]
        stats = cache.stats()
        assert stats.bytes <= stats.capacity
        assert stats.entries <= len(last)
    assert cache.stats().evictions + len(cache) >= len(last)
