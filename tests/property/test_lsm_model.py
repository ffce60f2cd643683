"""The store does what a dict with sorted() does: keyspaces, batches, ranges, expiry, snapshots, cursors, in any order, with
its background's work in between, reopened and crashed; under different options the same."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.models.lsm import CursorModel, StoreModel

from fastcore.disk import SimDisk
from fastcore.lsm import Iterator, Snapshot, Store, Writer

KEYS = st.one_of(st.text("ab", max_size=3), st.text("abc", max_size=12)).map(str.encode) | st.binary(max_size=3)
VALUES = st.binary(max_size=20) | st.integers(0, 3000).map(bytes)
BOUNDS = st.none() | KEYS
NAMES = st.sampled_from(["default", "one", "two"])
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "memtable_bytes": st.sampled_from([65536, 262144]),
    "memtables_max": st.integers(2, 4),
    "table_bytes": st.sampled_from([4096, 65536]),
    "level0_tables": st.integers(1, 4),
    "level_bytes": st.sampled_from([8192, 1 << 20]),
    "level_factor": st.sampled_from([2, 10]),
    "block_bytes": st.sampled_from([512, 4096]),
    "restart_interval": st.sampled_from([1, 2, 16]),
    "filter_bits": st.sampled_from([0, 10]),
    "compression": st.sampled_from([None, "lz4", "zstd"]),
    "cache_bytes": st.sampled_from([65536, 1 << 20]),
}


class StoreMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1 << 32), options=st.fixed_dictionaries({}, optional=OPTIONS))
    def begin(self, seed: int, options: dict[str, Any]) -> None:
        self.disk = SimDisk(seed)
        self.options = {"segment_bytes": 65536, **options}
        self.model = StoreModel()
        self.held: list[tuple[Snapshot, StoreModel]] = []
        self.cursors: list[tuple[Iterator[Any], CursorModel]] = []
        self.open()

    def open(self) -> None:
        self.store = Store(self.disk, clock=lambda: self.model.now, **self.options)
        assert self.store.keyspaces() == sorted(self.model.keyspaces)

    def keyspace(self, name: str) -> Writer:
        self.model.keyspaces.setdefault(name, {})
        return self.store.keyspace(name)

    @rule(name=NAMES, key=KEYS, value=VALUES, ttl=st.none() | st.integers(1, 50), sync=st.booleans())
    def put(self, name: str, key: bytes, value: bytes, ttl: int | None, sync: bool) -> None:
        self.keyspace(name).put(key, value, ttl=ttl, sync=sync)
        self.model.put(name, key, value, ttl)

    @rule(name=NAMES, keys=st.lists(KEYS, max_size=60), size=st.integers(0, 2000))
    def put_many(self, name: str, keys: list[bytes], size: int) -> None:
        keyspace = self.keyspace(name)
        for key in keys:
            keyspace.put(key, bytes(size))
            self.model.put(name, key, bytes(size))

    @rule(name=NAMES, key=KEYS)
    def delete(self, name: str, key: bytes) -> None:
        self.keyspace(name).delete(key)
        self.model.delete(name, key)

    @rule(name=NAMES, begin=BOUNDS, end=BOUNDS)
    def delete_range(self, name: str, begin: bytes | None, end: bytes | None) -> None:
        self.keyspace(name).delete_range(begin, end)
        self.model.delete_range(name, begin, end)

    @rule(operations=st.lists(st.tuples(st.sampled_from("pdr"), NAMES, KEYS, KEYS), max_size=20))
    def batch(self, operations: list[tuple[str, str, bytes, bytes]]) -> None:
        with self.store.write_batch() as batch:
            for kind, name, one, two in operations:
                keyspace = self.keyspace(name)
                if kind == "p":
                    batch.put(one, two, keyspace=keyspace)
                    self.model.put(name, one, two)
                elif kind == "d":
                    batch.delete(one, keyspace=keyspace)
                    self.model.delete(name, one)
                else:
                    batch.delete_range(one, two, keyspace=keyspace)
                    self.model.delete_range(name, one, two)

    @rule(name=NAMES, key=KEYS, value=st.none() | VALUES, right=st.booleans())
    def compare_and_set(self, name: str, key: bytes, value: bytes | None, right: bool) -> None:
        keyspace = self.keyspace(name)
        entry = keyspace.get_entry(key)
        assert (entry and entry.value) == self.model.get(name, key)
        version = entry.version if entry else 0
        assert keyspace.compare_and_set(key, version if right else version + 1, value) == right
        if right and value is None:
            self.model.delete(name, key)
        elif right:
            self.model.put(name, key, value)

    @rule(seconds=st.integers(1, 30))
    def time_goes_by(self, seconds: int) -> None:
        self.model.now += seconds

    @rule(name=NAMES, key=KEYS, keys=st.lists(KEYS, max_size=10))
    def get(self, name: str, key: bytes, keys: list[bytes]) -> None:
        keyspace = self.keyspace(name)
        assert keyspace.get(key) == self.model.get(name, key)
        assert keyspace.multi_get(keys) == [self.model.get(name, key) for key in keys]

    @rule(name=NAMES, start=BOUNDS, stop=BOUNDS, reverse=st.booleans())
    def scan(self, name: str, start: bytes | None, stop: bytes | None, reverse: bool) -> None:
        keyspace = self.keyspace(name)
        expected = self.model.items(name, start, stop)
        assert list(keyspace.scan(start, stop, reverse=reverse)) == expected[:: -1 if reverse else 1]

    @rule()
    def snapshot(self) -> None:
        if len(self.held) == 3:
            self.held.pop(0)[0].close()
        self.held.append((self.store.snapshot(), self.model.copy()))

    @precondition(lambda self: self.held)
    @rule(i=st.integers(0, 2), name=NAMES, key=KEYS, start=BOUNDS, reverse=st.booleans())
    def look_back(self, i: int, name: str, key: bytes, start: bytes | None, reverse: bool) -> None:
        snapshot, model = self.held[i % len(self.held)]
        if name in model.keyspaces:
            model.now = self.model.now  # what has expired is gone there, too
            old = snapshot.keyspace(self.store.keyspace(name))
            assert old.get(key) == model.get(name, key)
            assert list(old.scan(start, reverse=reverse)) == model.items(name, start)[:: -1 if reverse else 1]

    @rule(name=NAMES, start=BOUNDS, reverse=st.booleans())
    def cursor(self, name: str, start: bytes | None, reverse: bool) -> None:
        iterator = self.keyspace(name).iterator(start=start, reverse=reverse)
        self.cursors = [*self.cursors[-2:], (iterator, CursorModel(self.model.items(name, start), reverse))]

    @precondition(lambda self: self.cursors)
    @rule(
        i=st.integers(0, 2),
        moves=st.lists(st.tuples(st.sampled_from(["next", "prev", "seek"]), KEYS, st.integers(1, 20)), max_size=8),
    )
    def walk(self, i: int, moves: list[tuple[str, bytes, int]]) -> None:
        iterator, model = self.cursors[i % len(self.cursors)]
        for what, target, times in moves:
            if what == "seek":
                iterator.seek(target)
                model.seek(target)
                continue
            for _ in range(times):
                if what == "next":
                    assert next(iterator, None) == model.next()
                else:
                    try:
                        got = iterator.prev()
                    except StopIteration:
                        got = None
                    assert got == model.prev()

    @rule(times=st.integers(1, 30))
    def work(self, times: int) -> None:
        for _ in range(times):
            self.store.step()

    @rule(name=NAMES)
    def flush(self, name: str) -> None:
        self.keyspace(name).flush()

    @rule(name=NAMES, start=BOUNDS, stop=BOUNDS)
    def compact(self, name: str, start: bytes | None, stop: bytes | None) -> None:
        self.keyspace(name).compact_range(start, stop)

    @rule(name=st.sampled_from(["one", "two"]))
    def drop(self, name: str) -> None:
        if name in self.model.keyspaces:
            self.store.drop_keyspace(name)
            del self.model.keyspaces[name]
            for _, model in self.held:
                model.keyspaces.pop(name, None)

    def let_go(self) -> None:
        self.held.clear()
        self.cursors.clear()

    @rule()
    def reopen(self) -> None:
        self.let_go()
        self.store.close()
        self.open()

    @rule()
    def crash(self) -> None:
        self.store.sync()
        self.let_go()
        self.disk.crash()
        self.open()

    @invariant()
    def no_error(self) -> None:
        assert self.store.error is None

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for name in self.model.keyspaces:
                assert list(self.store.keyspace(name)) == self.model.items(name)
            self.let_go()
            self.store.close()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
