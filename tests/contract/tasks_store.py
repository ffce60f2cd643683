"""What every store of the task queue does."""

from apps.tasks.store import SPACES, Store


def check_store(store: Store) -> None:
    assert store.get("jobs", b"a") is None
    store.write([("jobs", b"a", b"1"), ("bodies", b"a", b"2"), ("jobs", b"b", b"3"), ("dead", b"\x00\xff", b"")])
    assert (store.get("jobs", b"a"), store.get("bodies", b"a"), store.get("unique", b"a")) == (b"1", b"2", None)
    assert store.get("dead", b"\x00\xff") == b""
    store.write([("jobs", b"a", b"4"), ("jobs", b"c", b"5"), ("bodies", b"a", None), ("bodies", b"none", None)])
    assert list(store.scan("jobs")) == [(b"a", b"4"), (b"b", b"3"), (b"c", b"5")]
    assert list(store.scan("jobs", b"a")) == [(b"b", b"3"), (b"c", b"5")]
    assert list(store.scan("bodies")) == []
    store.write([("jobs", b"d", b"1"), ("jobs", b"d", b"2")])  # the last one holds
    assert store.get("jobs", b"d") == b"2"
    rows = store.scan("jobs")
    assert next(rows) == (b"a", b"4")
    store.write([("jobs", b"aa", b"new")])
    assert [key for key, _ in rows] == [b"b", b"c", b"d"]  # as it was
    store.sync()
    store.clear()
    assert all(list(store.scan(space)) == [] for space in SPACES)
    store.write([])
    store.sync()
