"""Caches as one would write them in a lesson: a list of items, looked through from end to end."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Item:
    key: Any
    value: Any
    size: float
    deadline: float
    used: int  # when last
    added: int


class CacheModel:
    """Both caches: an LRU cache is one whose items have an endless deadline."""

    def __init__(self, maxsize: float, ttl: float = float("inf"), sized: bool = False) -> None:
        self.maxsize, self.ttl, self.sized = maxsize, ttl, sized
        self.items: list[Item] = []
        self.now: float = 0
        self.steps = 0
        self.told: list[tuple[Any, Any, str]] = []

    def step(self) -> int:
        self.steps += 1
        return self.steps

    def find(self, key: Any) -> Item | None:
        return next((item for item in self.items if item.key == key and self.now < item.deadline), None)

    def expire(self) -> list[tuple[Any, Any]]:
        gone = sorted((item for item in self.items if not self.now < item.deadline), key=lambda item: item.deadline)
        self.items = [item for item in self.items if self.now < item.deadline]
        self.told += [(item.key, item.value, "expired") for item in gone]
        return [(item.key, item.value) for item in gone]

    def get(self, key: Any, default: Any = None) -> Any:
        item = self.find(key)
        if item is None:
            return default
        item.used = self.step()
        return item.value

    def currsize(self) -> float:
        self.expire()
        return sum(item.size for item in self.items)

    def set(self, key: Any, value: Any, ttl: float | None = None) -> None:
        size = value if self.sized else 1
        if size > self.maxsize:
            raise ValueError("value too large")
        if size < 0:
            raise ValueError("value size must be non-negative")
        self.expire()
        item = self.find(key)
        while self.currsize() + size - (item.size if item else 0) > self.maxsize:
            oldest = min(self.items, key=lambda other: other.used)
            self.items.remove(oldest)
            self.told.append((oldest.key, oldest.value, "evicted"))
            item = self.find(key)
        deadline = self.now + (self.ttl if ttl is None else ttl)
        if item is None:
            self.items.append(Item(key, value, size, deadline, self.step(), self.step()))
        else:
            item.value, item.size, item.deadline, item.used = value, size, deadline, self.step()

    def pop(self, key: Any, default: Any) -> Any:
        item = self.find(key)
        if item is None:
            return default
        self.items.remove(item)
        return item.value

    def popitem(self) -> tuple[Any, Any]:
        self.expire()
        if not self.items:
            raise KeyError
        oldest = min(self.items, key=lambda item: item.used)
        self.items.remove(oldest)
        return oldest.key, oldest.value

    def pairs(self) -> list[tuple[Any, Any]]:
        return [
            (item.key, item.value) for item in sorted(self.items, key=lambda i: i.added) if self.now < item.deadline
        ]
