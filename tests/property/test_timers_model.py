"""TimerWheel against a list that is searched (tests/models/timers.py)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastcore.timers import Full, TimerWheel
from models.timers import ModelTimer, ModelWheel

#: distances of every magnitude: levels of the wheel are powers of 64
distances = st.one_of(
    st.integers(-5, 130), st.builds(lambda bit, by: (1 << bit) + by, st.integers(6, 60), st.integers(-2, 2))
)


class Wheels(RuleBasedStateMachine):
    @initialize(now=st.integers(-(1 << 61), 1 << 61), tick=st.sampled_from([1, 7, 1000]), bound=st.integers(1, 12))
    def begin(self, now, tick, bound):
        self.tick = tick
        self.clock = now
        self.model = ModelWheel(now, bound)
        self.wheel = TimerWheel(now * tick, tick, bound)
        self.timers = []  # (ours, model's)

    @rule(distance=distances, above=st.integers(0, 999))
    def set(self, distance, above):
        at = self.clock + distance
        theirs = ModelTimer(f"item {len(self.timers)}")
        deadline = at * self.tick - above % self.tick  # rounded up to `at`
        if self.model.set(theirs, at):
            self.timers.append((self.wheel.set(deadline, theirs.item), theirs))
        else:
            try:
                self.wheel.set(deadline, "one too many")
                raise AssertionError("not refused")
            except Full:
                pass

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def cancel(self, data):
        ours, theirs = data.draw(st.sampled_from(self.timers))
        assert ours.cancel() is self.model.cancel(theirs)

    @precondition(lambda self: self.timers)
    @rule(data=st.data(), distance=distances)
    def reset(self, data, distance):
        ours, theirs = data.draw(st.sampled_from(self.timers))
        at = self.clock + distance
        if self.model.set(theirs, at):
            ours.reset(at * self.tick)
        else:
            try:
                ours.reset(at * self.tick)
                raise AssertionError("not refused")
            except Full:
                pass

    @rule(distance=distances, above=st.integers(0, 999), limit=st.one_of(st.none(), st.integers(0, 4)))
    def advance(self, distance, above, limit):
        to = self.clock + distance
        got = self.wheel.advance(to * self.tick + above % self.tick, limit)
        assert got == self.model.advance(to, limit)
        if limit is None:
            self.clock = max(self.clock, to)

    @rule()
    def to_the_next_deadline(self):
        at = self.model.next_deadline()
        if at is not None:
            assert self.wheel.next_deadline() == at * self.tick
            got = self.wheel.advance(self.wheel.next_deadline(), 1)
            assert got == self.model.advance(at, 1) != []

    @invariant()
    def looks_the_same(self):
        if not hasattr(self, "wheel"):
            return
        assert len(self.wheel) == self.model.armed()
        assert self.wheel.now == self.model.now * self.tick
        at = self.model.next_deadline()
        assert self.wheel.next_deadline() == (None if at is None else at * self.tick)
        assert (self.wheel.next_wakeup() is None) == (at is None)
        assert at is None or self.wheel.next_wakeup() <= at * self.tick
        for ours, theirs in self.timers:
            assert ours.armed is (theirs.at is not None)
            assert ours.deadline == (None if theirs.at is None else theirs.at * self.tick)


TestWheels = Wheels.TestCase
TestWheels.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
