"""A store of the task queue in memory, which a crash sets back to its last sync."""

from collections.abc import Iterator

from apps.tasks.store import SPACES, Change, StoreFailed


class MemoryStore:
    def __init__(self) -> None:
        self._now: dict[str, dict[bytes, bytes]] = {space: {} for space in SPACES}
        self._durable = self._copied()
        self.failing = ""
        """When not empty writes and syncs fail with it."""

    def _copied(self) -> dict[str, dict[bytes, bytes]]:
        return {space: dict(rows) for space, rows in self._now.items()}

    def get(self, space: str, key: bytes) -> bytes | None:
        return self._now[space].get(key)

    def write(self, changes: list[Change]) -> None:
        if self.failing:
            raise StoreFailed(self.failing)
        for space, key, value in changes:
            if value is None:
                self._now[space].pop(key, None)
            else:
                self._now[space][key] = value

    def sync(self) -> None:
        if self.failing:
            raise StoreFailed(self.failing)
        self._durable = self._copied()

    def scan(self, space: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        rows = sorted(self._now[space].items())
        return iter([row for row in rows if not after or row[0] > after])

    def clear(self) -> None:
        if self.failing:
            raise StoreFailed(self.failing)
        for rows in self._now.values():
            rows.clear()

    def crash(self) -> None:
        """What has not been synced is gone."""
        self._now = self._durable
        self._durable = self._copied()
        self.failing = ""

    def close(self) -> None:
        pass
