from contextlib import suppress

from tests.leaks.table import operation

from fastcore.cache import LRUCache, SharedCache, TTLCache
from fastcore.shm import Region

LRU: LRUCache = LRUCache(50, on_evict=lambda key, value, reason: None)
now = [0.0]
TTL: TTLCache = TTLCache(50, 10, timer=lambda: now[0])
REGION = Region(8 << 20)
SHARED = SharedCache(REGION, capacity=1 << 20, item_max=1 << 16, shards=1)
turn = [0]


@operation("keys come and go")
def changes() -> None:
    turn[0] += 1
    now[0] += 0.5
    for cache in (LRU, TTL):
        cache[turn[0]] = object()
        cache[(turn[0], "x")] = []
        cache.get(turn[0])
        cache.get("nobody")
        cache.pop((turn[0], "x"), None)
        cache.setdefault("same", 1)
        cache.get_or_compute(turn[0] - 5, object)
        with suppress(KeyError):
            cache["nobody"]
        with suppress(TypeError):
            cache[[]] = 1
    TTL.set("short", 1, ttl=0.1)
    TTL.expire()


@operation("many at once, copies", weight=20)
def many() -> None:
    for cache in (LRU, TTL):
        cache.set_many({f"key {i}": i for i in range(10)})
        cache.get_many(["key 1", "key 5", "nobody"])
        cache.__copy__().clear()
        list(cache.items())


@operation("caches that raise", weight=4)
def raising() -> None:
    cache: LRUCache = LRUCache(2, getsizeof=len)
    with suppress(TypeError):
        cache["a"] = 5
    with suppress(ValueError):
        cache["a"] = "too large"
    with suppress(ZeroDivisionError):
        cache.get_or_compute("b", lambda: 1 / 0)


@operation("a shared cache", weight=4)
def shared() -> None:
    turn[0] += 1
    key = b"%d" % (turn[0] % 5000)
    SHARED.set(key, b"value" * 20, 10.0, ["tag", b"other"], meta=b"m")
    SHARED.get(key)
    SHARED.find(key)
    SHARED.get_many([key, b"nobody"])
    SHARED.delete(key)
    with SHARED.writer(key, 5.0) as writer:
        writer.write(b"in pieces")
        writer.commit()
    SHARED.invalidate_tag("tag")
    with suppress(TypeError):
        SHARED.set("text", b"")
