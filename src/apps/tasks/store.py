"""What the broker needs of a store. One contract test runs over all there are: tests/contract/tasks_store.py."""

from collections.abc import Iterator
from typing import Protocol

#: A keyspace, a key in it, and its new value; None: it is removed.
Change = tuple[str, bytes, bytes | None]

SPACES = ("jobs", "bodies", "dead", "unique", "queues", "meta")


class StoreFailed(Exception):
    """Nothing can be written any more; the text says why, and is for operators."""


class Store(Protocol):
    def get(self, space: str, key: bytes) -> bytes | None: ...

    def write(self, changes: list[Change]) -> None:
        """All of them or none, visible at once, durable after the next `sync`. Raises StoreFailed."""

    def sync(self) -> None:
        """Until everything written so far is on the disk. Others may write meanwhile. Raises StoreFailed."""

    def scan(self, space: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """In the order of keys, from behind `after`, as it was when it began."""

    def clear(self) -> None:
        """Removes everything."""

    def close(self) -> None: ...
