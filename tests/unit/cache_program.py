"""A program for cachetools that takes the module of its caches as argument and prints all it sees."""

import copy
import importlib
import pickle
import random
import sys

module = importlib.import_module(sys.argv[1])


class Counting(module.LRUCache):
    """Eviction hook, default factory and sizes, the ways cachetools documents them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.log = []

    def popitem(self):
        key, value = super().popitem()
        self.log.append(f"-{key}")
        return key, value

    def __missing__(self, key):
        if key % 5 == 0:
            raise KeyError(key)
        self[key] = -key
        return -key

    def getsizeof(self, value):
        return 1 + abs(value) % 3


class Clock:
    time = 0.0

    def __call__(self):
        return self.time


class Expiring(module.TTLCache):
    def expire(self, time=None):
        items = list(super().expire(time))
        if items:
            print("expired", items)
        return items


def step(cache, rng):
    key = rng.randrange(12)
    kind = rng.randrange(14)
    if kind < 3:
        cache[key] = rng.randrange(50)
    elif kind == 3:
        return cache[key]
    elif kind == 4:
        return cache.get(key, "default")
    elif kind == 5:
        return cache.pop(key)
    elif kind == 6:
        return cache.pop(key, "default")
    elif kind == 7:
        del cache[key]
    elif kind == 8:
        return cache.setdefault(key, rng.randrange(50))
    elif kind == 9:
        return cache.popitem()
    elif kind == 10:
        return key in cache, len(cache), cache.currsize
    elif kind == 11:
        cache.update({key: 1, key + 1: 2})
    elif kind == 12:
        return list(cache.items()), cache == dict(cache), list(cache.keys())
    elif rng.randrange(10) == 0:
        cache.clear()
    return None


def play(cache, seed, steps=150):
    rng = random.Random(seed)
    for _ in range(steps):
        try:
            print(step(cache, rng), end=" ")
        except Exception as error:
            print(type(error).__name__, error, end=" ")
        if rng.randrange(30) == 0:
            cache = rng.choice([copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])(cache)  # noqa: S301
        if hasattr(cache, "timer"):
            cache.timer.function.time += rng.choice([0, 0, 0.25, 1])
        print(repr(cache))


class Timer:
    """cachetools passes unknown attributes of its timer on, this program's way to its clock."""

    def __init__(self):
        self.function = Clock()

    def __call__(self):
        return self.function()


play(module.LRUCache(5), 1)
play(module.LRUCache(maxsize=20, getsizeof=abs), 2)
play(module.LRUCache(0), 3, 20)
counting = Counting(9)
play(counting, 4)
print(counting.log)
play(module.TTLCache(5, 3, Timer()), 5, 300)
play(module.TTLCache(maxsize=40, ttl=2.5, timer=Timer(), getsizeof=float), 6, 300)
play(Expiring(6, 2, Timer()), 7, 200)
