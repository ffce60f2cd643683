"""Jobs in a `fastcore.lsm.Store`: one directory, one broker at a time."""

from collections.abc import Iterator
from os import PathLike

from apps.tasks.store import SPACES, Change, StoreFailed
from fastcore import lsm
from fastcore.disk import Disk


class EmbeddedStore:
    """Raises `fastcore.lsm.StoreError` when it cannot be opened, which names the directory."""

    def __init__(self, where: "str | PathLike[str] | Disk"):
        self._store = lsm.Store(where)
        self._spaces = {name: self._store.keyspace(name) for name in SPACES}

    def get(self, space: str, key: bytes) -> bytes | None:
        try:
            return self._spaces[space].get(key)
        except lsm.StoreError as error:
            raise StoreFailed(str(error)) from error

    def write(self, changes: list[Change]) -> None:
        spaces = self._spaces
        try:
            batch = self._store.write_batch()
            for space, key, value in changes:
                if value is None:
                    batch.delete(key, keyspace=spaces[space])
                else:
                    batch.put(key, value, keyspace=spaces[space])
            batch.write()
        except lsm.StoreError as error:
            raise StoreFailed(str(error)) from error

    def sync(self) -> None:
        try:
            self._store.sync()
        except lsm.StoreError as error:
            raise StoreFailed(str(error)) from error

    def scan(self, space: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._spaces[space].scan(after + b"\0" if after else None) as rows:
                yield from rows
        except lsm.StoreError as error:
            raise StoreFailed(str(error)) from error

    def clear(self) -> None:
        try:
            for space in self._spaces.values():
                space.delete_range()
        except lsm.StoreError as error:
            raise StoreFailed(str(error)) from error

    @property
    def failed(self) -> str:
        """Why nothing can be written any more; empty while it can."""
        return str(self._store.error or "")

    def close(self) -> None:
        self._store.close()
