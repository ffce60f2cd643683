"""The broker on a disk that loses what was not synced, tears writes, is full, or fails: what had been answered is there."""

import random

import pytest

from apps.tasks.core.broker import Broker, Refused
from apps.tasks.core.job import Failure
from apps.tasks.store import StoreFailed
from apps.tasks.store_embedded import EmbeddedStore
from fastcore.disk import SimDisk

NOW = 1_800_000_000_000

FAULTS = {
    "crash": {},
    "full": {"capacity": 400_000},
    "failing writes": {"write_fail": 0.05},
    "failing syncs": {"sync_fail": 0.05},
}


class Run:
    """One life of a broker after another on one disk. `sure` is what was synced, `open` what came after that."""

    def __init__(self, seed: int, fault: str):
        self.dice = random.Random(f"{seed} {fault}")
        self.fault = FAULTS[fault]
        self.seed = seed
        self.disk = SimDisk(seed)
        self.sure: dict[str, str] = {}
        self.open: dict[str, set[str]] = {}
        self.number = 0

    def life(self) -> None:
        store = EmbeddedStore(self.disk)
        broker = Broker(store, NOW, dice=lambda: 0.0)
        found = {key.decode(): "there" for key, _ in store.scan("jobs")}
        for jid in {*self.sure, *self.open, *found}:
            state = found.get(jid, "gone")
            may_be = {self.sure.get(jid, "gone"), *self.open.get(jid, ())}
            assert state in may_be, f"{jid} is {state} and may be {may_be}"
        counts = broker.counts(NOW)
        assert sum(counts.values()) == len(found)  # each is in one place
        assert {key for key, _ in store.scan("bodies")} == {jid.encode() for jid in found}
        self.sure, self.open = found, {}
        self.disk.faults(self.dice.randrange(1 << 30), **self.fault, crash_at=self.dice.randrange(20, 400))
        worker = broker.hello(f"w{self.number}", {}, NOW)
        for lease in list(broker.leases.values()):
            broker.workers.by_wid[worker.wid].jobs.add(lease.jid)
            lease.worker = worker.wid
        try:
            for _ in range(400):
                self.step(broker, worker)
        except (StoreFailed, OSError):
            pass
        self.disk.faults()
        self.disk.crash()

    def step(self, broker: Broker, worker: object) -> None:
        what = self.dice.randrange(6)
        if what < 2:
            jid = f"j{self.number}"
            self.number += 1
            self.open.setdefault(jid, set()).add("there")
            broker.push({"jid": jid, "jobtype": "t", "args": ["x" * self.dice.randrange(2000)], "retry": 1}, NOW)
        elif what == 2:
            broker.fetch(worker, ["default"], NOW)  # type: ignore[arg-type]
        elif what == 3 and broker.leases:
            jid = self.dice.choice(sorted(broker.leases))
            self.open.setdefault(jid, set()).add("gone")
            broker.ack(jid, worker, NOW)  # type: ignore[arg-type]
        elif what == 4 and broker.leases:
            jid = self.dice.choice(sorted(broker.leases))
            self.open.setdefault(jid, set()).add("there")
            broker.fail(jid, worker, Failure(NOW, "E", "m"), NOW)  # type: ignore[arg-type]
        elif what == 5:
            broker.store.sync()
            self.sure = {key.decode(): "there" for key, _ in broker.store.scan("jobs")}
            self.open = {}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(10))
def test_what_was_synced_is_there(seed: int, fault: str) -> None:
    run = Run(seed, fault)
    for _ in range(6):
        try:
            run.life()
        except Refused as refused:
            raise AssertionError(refused) from None
