"""The log on the simulated disk against a list: appends, steps, truncations, crashes, faults and full disks in any order."""

import errno

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.models.wal import LogModel

from fastcore.disk import SimDisk
from fastcore.wal import DiskFullError, Log, LogError

SIZES = st.one_of(st.integers(0, 40), st.integers(0, 1500))
SEEDS = st.integers(0, 1 << 32)


class LogMachine(RuleBasedStateMachine):
    @initialize(seed=SEEDS, segment=st.sampled_from([4096, 8192]), ballast=st.booleans())
    def begin(self, seed: int, segment: int, ballast: bool) -> None:
        self.options = {
            "segment_bytes": segment,
            "record_bytes_max": 1500,
            "buffer_bytes_max": 2048,
            "ballast": ballast,
        }
        self.disk = SimDisk(seed)
        self.model = LogModel()
        self.faulty = False
        self.log = Log(self.disk, **self.options)

    def failed(self, error: OSError) -> None:
        """Only a fault that was asked for makes a log fail, and then it stays failed."""
        assert self.faulty or isinstance(error, DiskFullError)
        if not isinstance(error, DiskFullError):
            assert error.errno == errno.EIO
            assert self.log.error is not None

    @rule(size=SIZES, type=st.integers(1, 254), urgent=st.booleans(), sync=st.booleans())
    def append(self, size: int, type: int, urgent: bool, sync: bool) -> None:
        data = bytes((len(self.model.records) + i) % 256 for i in range(size))
        try:
            self.model.appended(self.log.append(data, type, urgent=urgent), type, data)
            if sync:
                self.log.sync()
        except LogError as error:
            self.failed(error)

    @rule(times=st.integers(1, 6))
    def work(self, times: int) -> None:
        try:
            for _ in range(times):
                self.log.step()
        except LogError as error:
            self.failed(error)

    @rule(share=st.floats(0, 1))
    def truncate(self, share: float) -> None:
        durable = [record.position for record in self.model.records if record.position <= self.log.durable]
        if durable:
            position = durable[int(share * (len(durable) - 1))]
            self.log.truncate_before(position)
            self.model.truncated = max(self.model.truncated, position)

    @precondition(lambda self: not self.disk.power_off)
    @rule(seed=SEEDS, room=st.integers(1, 4))
    def fill_up(self, seed: int, room: int) -> None:
        self.disk.faults()
        used = sum(len(self.disk.read(name)) for name in self.disk.list())
        self.disk.faults(seed, capacity=used + room * 4096)

    @rule(seed=SEEDS)
    def free(self, seed: int) -> None:
        self.disk.faults(seed)

    @rule(seed=SEEDS, write=st.booleans())
    def break_down(self, seed: int, write: bool) -> None:
        self.faulty = True
        self.disk.faults(seed, write_fail=0.3 if write else 0, sync_fail=0 if write else 0.3)

    @rule(seed=SEEDS, steps=st.integers(1, 12))
    def lose_power_soon(self, seed: int, steps: int) -> None:
        self.faulty = True
        self.disk.faults(seed, crash_at=steps)

    @rule()
    def crash(self) -> None:
        self.model.durable = self.log.durable
        self.disk.crash()
        self.reopen()

    @precondition(lambda self: not self.disk.power_off)
    @rule()
    def close(self) -> None:
        try:
            self.log.close()
            self.model.durable = self.model.records[-1].position if self.model.records else 0
        except LogError:
            assert self.faulty
            self.disk.crash()
        self.reopen()

    def reopen(self) -> None:
        self.disk.faults()
        self.faulty = False
        self.log = Log(self.disk, **self.options)
        self.model.check(list(self.log.read_from()), reopened=True)

    @invariant()
    def holds_what_it_should(self) -> None:
        if self.disk.power_off:
            return
        self.model.durable = max(self.model.durable, self.log.durable)
        try:
            found = list(self.log.read_from())
        except LogError:
            assert self.disk.power_off  # opening a file to read is a step, too
            return
        self.model.check(found, reopened=False)
        assert not found or found[-1].position <= self.log.durable

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.model.durable = self.log.durable
            self.disk.crash()
            self.reopen()


LogMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
test_log = LogMachine.TestCase
