"""Small stores that tests meet tables, levels and full memtables in."""

from typing import Any

SMALL: dict[str, Any] = {
    "segment_bytes": 65536,
    "memtable_bytes": 65536,
    "table_bytes": 16384,
    "level_bytes": 65536,
    "block_bytes": 512,
    "cache_bytes": 65536,
}


def fill(store: Any, n: int, value: bytes = b"v" * 100) -> dict[bytes, bytes]:
    expected = {b"key%06d" % i: b"%d" % i + value for i in range(n)}
    for key, data in expected.items():
        store.put(key, data)
    return expected
