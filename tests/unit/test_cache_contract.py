"""fastcore.cache keeps the contract of a cache; cachetools' own classes show that the contract is right."""

import math

import cachetools

from contract.cache import Clock, LRUContract, TTLContract
from fastcore import cache


class OurTimed(cache.TTLCache):
    def __init__(self, maxsize, ttl=math.inf, **more):
        cache.TTLCache.__init__(self, maxsize, ttl=ttl, timer=Clock(), **more)


class TheirTimed(cachetools.TTLCache):
    def __init__(self, maxsize, ttl=math.inf, **more):
        cachetools.TTLCache.__init__(self, maxsize, ttl=ttl, timer=Clock(), **more)


class TestOurLRUCache(LRUContract):
    Cache = cache.LRUCache


class TestTheirLRUCache(LRUContract):
    Cache = cachetools.LRUCache


class TestOurTTLCache(TTLContract):
    Cache = OurTimed
    Timed = cache.TTLCache


class TestTheirTTLCache(TTLContract):
    Cache = TheirTimed
    Timed = cachetools.TTLCache
