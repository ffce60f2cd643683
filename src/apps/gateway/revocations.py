"""Credentials that are not accepted any more though they would be: in shared memory, for all workers, until their end.

A table of its own: strangers can fill the table of verdicts and push entries out, and here nothing may go before its
time. So it never evicts; when it is full, a further revocation is refused and says so.
"""

import hashlib
import struct
import time
from collections.abc import Iterator

from fastcore.sharedcache import SharedCache

MEMORY = 2 << 20  # 8,000 revocations
ENTRY_BYTES = 256
ROOM_LEFT = 4 * ENTRY_BYTES  # workers that add at the same time

_ISSUED = struct.Struct("<d")


class Full(Exception):
    """No room for a further revocation before others expire."""


def tag(kind: str, provider: str, value: str | bytes) -> bytes:
    """What a remembered verdict carries, and what a revocation is found by. kind: token, jti, sub or key."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return kind.encode() + hashlib.sha256(provider.encode() + b"\0" + data).digest()


def token_tag(credential: bytes) -> bytes:
    """The same for all providers: who revokes a token wants it gone. Of a JWT what is signed: from an ECDSA signature
    anybody can make another that is valid as well."""
    signed, _, _ = credential.rpartition(b".")
    return tag("token", "", signed if credential.count(b".") == 2 else credential)


class Revocations:
    def __init__(self, table: SharedCache):
        """The table has one shard: with more, one could be full before the others."""
        self._table = table

    def add(self, mark: bytes, seconds: float, now: float | None = None) -> None:
        """Keep it for so long. now: wall clock; `covers` compares it with when a token was issued. Raises Full."""
        stats = self._table.stats()
        if stats.bytes + ROOM_LEFT > stats.capacity:
            self._table.expire()
            stats = self._table.stats()
            if stats.bytes + ROOM_LEFT > stats.capacity:
                raise Full
        self._table.set(mark, _ISSUED.pack(time.time() if now is None else now), ttl=seconds)

    def covers(self, marks: Iterator[bytes] | list[bytes], subject: bytes, issued: float | None) -> bool:
        """Whether one of the marks is revoked, or the subject was after the token had been issued: who logs in again
        after that is welcome."""
        if any(self._table.get(mark) is not None for mark in marks):
            return True
        since = self._table.get(subject)
        return since is not None and (issued is None or issued <= _ISSUED.unpack(since)[0])

    def has(self, mark: bytes) -> bool:
        return self._table.get(mark) is not None

    def __len__(self) -> int:
        return len(self._table)
