"""A store as one would write it in a minute: a dict for each keyspace, sorted() wherever order matters, a copy for each
snapshot. Time is a number that the test moves."""

from copy import deepcopy
from dataclasses import dataclass, field


@dataclass
class StoreModel:
    now: float = 1000.0
    keyspaces: dict[str, dict[bytes, tuple[bytes, float | None]]] = field(default_factory=lambda: {"default": {}})

    def put(self, name: str, key: bytes, value: bytes, ttl: float | None = None) -> None:
        self.keyspaces[name][key] = (value, None if ttl is None else self.now + ttl)

    def delete(self, name: str, key: bytes) -> None:
        self.keyspaces[name].pop(key, None)

    def delete_range(self, name: str, begin: bytes | None, end: bytes | None) -> None:
        for key in list(self.keyspaces[name]):
            if (begin is None or begin <= key) and (end is None or key < end):
                del self.keyspaces[name][key]

    def get(self, name: str, key: bytes) -> bytes | None:
        value, expires = self.keyspaces[name].get(key, (None, None))
        return value if expires is None or expires > self.now else None

    def items(self, name: str, start: bytes | None = None, stop: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return [
            (key, value)
            for key, (value, expires) in sorted(self.keyspaces[name].items())
            if (start is None or start <= key) and (stop is None or key < stop)
            if expires is None or expires > self.now
        ]

    def copy(self) -> "StoreModel":
        return deepcopy(self)


class CursorModel:
    """plyvel's iterator over a list: a gap between two entries, which next and prev go over."""

    def __init__(self, items: list[tuple[bytes, bytes]], reverse: bool = False) -> None:
        self.items, self.reverse = items, reverse
        self.gap = len(items) if reverse else 0

    def move(self, forward: bool) -> tuple[bytes, bytes] | None:
        if self.gap == (len(self.items) if forward else 0):
            return None
        self.gap += 1 if forward else -1
        return self.items[self.gap - 1 if forward else self.gap]

    def next(self) -> tuple[bytes, bytes] | None:
        return self.move(not self.reverse)

    def prev(self) -> tuple[bytes, bytes] | None:
        return self.move(self.reverse)

    def seek(self, target: bytes) -> None:
        self.gap = sum(key < target for key, _ in self.items)

    def seek_to_start(self) -> None:
        self.gap = 0

    def seek_to_stop(self) -> None:
        self.gap = len(self.items)
