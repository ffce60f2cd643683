import gc
import math
import random
import sys
import weakref

import pytest

from endurance import LEAK_OPERATIONS, NOT_SANITIZED, resident
from fastcore.timers import Full, Timer, TimerWheel


class Item:
    """Something that can be watched dying."""


def test_items_come_due_in_the_order_of_their_deadlines():
    wheel = TimerWheel(now=100.0)
    wheel.set(101.5, "b")
    wheel.set(100.25, "a")
    wheel.set(101.5, "c")
    wheel.set(9999, "far")
    assert len(wheel) == 4
    assert wheel.advance(100.2) == []
    assert wheel.next_deadline() == 100.25
    assert wheel.advance(101.5) == ["a", "b", "c"]
    assert wheel.advance(101.5) == []
    assert len(wheel) == 1
    assert wheel.now == 101.5


def test_what_is_due_already_is_returned_at_once():
    wheel = TimerWheel(now=10)
    wheel.set(10, "now")
    wheel.set(-5, "long ago")
    assert wheel.next_deadline() == wheel.next_wakeup() == 10
    assert wheel.advance(10) == ["now", "long ago"]


def test_a_limit_leaves_the_rest_due():
    wheel = TimerWheel()
    for i in range(10):
        wheel.set(1 + i // 3, i)
    assert wheel.advance(3, limit=0) == []
    assert wheel.advance(3, limit=4) == [0, 1, 2, 3]
    assert wheel.now == 2
    wheel.set(1.5, "late")
    assert wheel.advance(3, limit=3) == [4, 5, "late"]
    assert wheel.advance(3) == [6, 7, 8]
    assert wheel.advance(4) == [9]


def test_a_callback_that_raises_loses_nothing():
    wheel = TimerWheel()
    called = []

    def fail():
        raise ZeroDivisionError

    for call in (lambda: called.append(1), fail, lambda: called.append(2)):
        wheel.set(1, call)
    with pytest.raises(ZeroDivisionError):
        while due := wheel.advance(1, limit=1):
            due[0]()
    assert (called, len(wheel)) == ([1], 1)
    while due := wheel.advance(1, limit=1):
        due[0]()
    assert called == [1, 2]


def test_cancel_and_reset():
    wheel = TimerWheel()
    timer = wheel.set(5, "item")
    assert (timer.item, timer.armed, timer.deadline) == ("item", True, 5)
    timer.reset(7)
    assert wheel.advance(6) == []
    assert timer.deadline == 7
    assert timer.cancel() is True
    assert timer.cancel() is False
    assert (timer.armed, timer.deadline, len(wheel)) == (False, None, 0)
    assert wheel.advance(8) == []
    timer.reset(9)
    assert wheel.advance(9) == ["item"]
    assert timer.armed is False
    timer.reset(10)
    assert wheel.advance(10) == ["item"]
    assert "idle" in repr(timer)
    timer.reset(11)
    assert repr(timer) == "<Timer due at 11.0: 'item'>"
    assert repr(wheel) == "<TimerWheel at 10.0: 1 timers>"


def test_a_bound():
    wheel = TimerWheel(max_timers=2)
    first = wheel.set(1, "a")
    wheel.set(2, "b")
    with pytest.raises(Full, match="max_timers"):
        wheel.set(3, "c")
    first.reset(4)  # it has its place
    first.cancel()
    other = wheel.set(3, "c")
    with pytest.raises(Full):
        first.reset(4)
    assert (first.armed, len(wheel)) == (False, 2)
    assert wheel.advance(9) == ["b", "c"]
    assert other.armed is False
    assert wheel.max_timers == 2


def test_time_does_not_go_backwards():
    wheel = TimerWheel(now=50)
    timer = wheel.set(60, "x")
    assert wheel.advance(10) == []
    assert wheel.now == 50
    assert timer.deadline == 60
    wheel.set(20, "y")
    assert wheel.advance(-1) == ["y"]


@pytest.mark.parametrize("tick", [0.001, 0.01, 0.1, 1 / 3, 1.0, 1e-6, 1e-9])
@pytest.mark.parametrize("start", [0.0, -17.3, 86_400.123, 1.7e9])
def test_advancing_to_a_deadline_is_enough(tick, start):
    """Floats divide with an error: neither the deadline given nor the one reported may fall between two ticks."""
    rng = random.Random(1)
    wheel = TimerWheel(now=start, tick=tick)
    now = start
    for _ in range(500):
        now += rng.choice([1, 3, 1000, 86_400]) * tick  # sums drift off the ticks by rounding errors
        wheel.set(round(now / tick) * tick, "whole")
        assert wheel.advance(round(now / tick) * tick) == ["whole"]
        wheel.set(now + rng.random(), "next")
        deadline = wheel.next_deadline()
        assert wheel.advance(deadline) == ["next"]
        now = deadline


def test_never_early_and_less_than_a_tick_late():
    rng = random.Random(2)
    for tick in (0.25, 3, 0.001):
        wheel = TimerWheel(now=1000, tick=tick)
        now = 1000.0
        pending = []
        for _ in range(300):
            deadline = now + rng.random() * 100 * tick
            wheel.set(deadline, deadline)
            pending.append(deadline)
            now += rng.random() * 10 * tick
            for due in wheel.advance(now):
                assert due <= now + 1e-6 * tick
                pending.remove(due)
            assert all(deadline > now - tick * (1 + 1e-6) for deadline in pending)


def test_whole_nanoseconds_are_exact():
    now = 1_764_000_000_123_456_789
    wheel = TimerWheel(now=now, tick=1)
    wheel.set(now + 1, "one")
    wheel.set(now + 10**15 + 3, "far")
    assert wheel.advance(now) == []
    assert wheel.advance(now + 1) == ["one"]
    assert wheel.next_deadline() == now + 10**15 + 3
    assert wheel.advance(now + 10**15 + 2) == []
    assert wheel.advance(now + 10**15 + 3) == ["far"]


def test_the_farthest_deadlines():
    wheel = TimerWheel(now=-(2**63) + 1, tick=1)
    wheel.set(2**63 - 2, "last")
    assert wheel.next_deadline() == 2**63 - 2
    assert wheel.advance(2**63 - 3) == []
    assert wheel.advance(2**63 - 2) == ["last"]
    for when in (2**63 - 1, 2**63, -(2**63), 10**400):
        with pytest.raises(ValueError, match="ticks"):
            wheel.set(when, "too far")


@pytest.mark.parametrize("when", [math.nan, math.inf, -math.inf, 1e300, 10**400])
def test_times_that_are_none(when):
    wheel = TimerWheel()
    timer = wheel.set(1, "kept")
    for call in (
        lambda: wheel.set(when, 0),
        lambda: wheel.advance(when),
        lambda: timer.reset(when),
        lambda: TimerWheel(when),
    ):
        with pytest.raises(ValueError):
            call()
    assert (timer.deadline, len(wheel), wheel.now) == (1, 1, 0)


@pytest.mark.parametrize("when", ["1", None, [], object(), 1j])
def test_times_of_the_wrong_type(when):
    wheel = TimerWheel()
    timer = wheel.set(1, "kept")
    for call in (lambda: wheel.set(when, 0), lambda: wheel.advance(when), lambda: timer.reset(when)):
        with pytest.raises(TypeError):
            call()
    assert (timer.deadline, len(wheel)) == (1, 1)


def test_a_time_whose_conversion_raises():
    class Raises:
        def __float__(self):
            raise KeyError("mine")

    wheel = TimerWheel()
    for call in (lambda: wheel.set(Raises(), 0), lambda: wheel.advance(Raises())):
        with pytest.raises(KeyError, match="mine"):
            call()
    assert len(wheel) == 0


def test_a_time_whose_conversion_changes_the_wheel():
    wheel = TimerWheel()
    timer = wheel.set(1, "old")

    class Meddles:
        def __float__(self):
            timer.cancel()
            wheel.set(1, "new")
            return 2.0

    timer.reset(Meddles())
    assert wheel.advance(Meddles()) == ["new", "new"]


@pytest.mark.parametrize(
    "arguments",
    [{"tick": 0}, {"tick": -1}, {"tick": math.nan}, {"tick": math.inf}, {"max_timers": -1}, {"now": math.nan}],
)
def test_settings_out_of_bounds(arguments):
    with pytest.raises(ValueError):
        TimerWheel(**arguments)


@pytest.mark.parametrize("arguments", [{"tick": "1"}, {"tick": None}, {"max_timers": 1.5}, {"now": "0"}])
def test_settings_of_the_wrong_type(arguments):
    with pytest.raises(TypeError):
        TimerWheel(**arguments)


def test_a_limit_is_a_count():
    wheel = TimerWheel()
    wheel.set(0, "x")
    with pytest.raises(ValueError, match="limit"):
        wheel.advance(1, limit=-1)
    with pytest.raises(TypeError):
        wheel.advance(1, limit="1")
    assert len(wheel) == 1


def test_timers_are_made_by_wheels():
    with pytest.raises(TypeError, match=r"TimerWheel\.set"):
        Timer()
    stray = Timer.__new__(Timer)
    assert (stray.cancel(), stray.armed, stray.deadline) == (False, False, None)
    with pytest.raises(ReferenceError):
        stray.reset(1)


def test_clear_keeps_the_time():
    wheel = TimerWheel(now=5)
    timers = [wheel.set(5 + 10**i, i) for i in range(8)]
    wheel.clear()
    assert (len(wheel), wheel.now, wheel.next_deadline(), wheel.next_wakeup()) == (0, 5, None, None)
    assert not any(timer.armed for timer in timers)
    timers[0].reset(6)
    assert wheel.advance(6) == [0]


def test_waking_up_as_told_finds_every_deadline():
    wheel = TimerWheel(now=0, tick=1)
    wheel.set(987_654_321_987, "far")
    woken = 0
    while not wheel.advance(wheel.next_wakeup()):
        woken += 1
    assert woken <= 10
    assert wheel.now == 987_654_321_987


# --- references ---------------------------------------------------------------------------------------------------


def test_the_wheel_lets_go_of_what_came_due_or_was_cancelled():
    wheel = TimerWheel()
    item = Item()
    watch = weakref.ref(item)
    wheel.set(1, item)
    del item
    assert watch() is not None
    assert wheel.advance(1) == [watch()]
    assert watch() is None
    timer = wheel.set(2, Item())
    watch = weakref.ref(timer.item)
    timer.cancel()
    assert watch() is not None  # the handle can be set again
    del timer
    assert watch() is None


def test_a_wheel_dies_at_once_and_its_handles_live_on():
    wheel = TimerWheel()
    timer = wheel.set(1, Item())
    other = weakref.ref(wheel.set(2, Item()).item)
    del wheel
    assert other() is None
    assert (timer.armed, timer.deadline, timer.cancel()) == (False, None, False)
    assert isinstance(timer.item, Item)
    with pytest.raises(ReferenceError):
        timer.reset(3)


@pytest.mark.parametrize("distance", [0, 1, 100, 10**9])
def test_cycles_through_the_wheel_are_collected(distance):
    class Owner:
        def __init__(self):
            self.wheel = TimerWheel()
            self.timer = self.wheel.set(distance, self.on_time)  # wheel -> timer -> method -> owner -> wheel

        def on_time(self):
            pass

    owner = Owner()
    wheel = owner.wheel
    assert owner.timer in gc.get_referents(wheel)
    watch = weakref.ref(owner)
    del owner
    gc.collect()
    assert watch() is not None  # the wheel keeps it
    del wheel
    gc.collect()
    assert watch() is None


def test_a_wheel_that_holds_itself():
    wheel = TimerWheel()
    wheel.set(1, (wheel, watched := Item()))
    watch = weakref.ref(watched)
    del wheel, watched
    gc.collect()
    assert watch() is None


def test_destructors_may_use_the_wheel():
    wheel = TimerWheel()

    class Rearms:
        def __del__(self):
            wheel.set(50, Rearms())
            other.cancel()

    other = wheel.set(3, "other")
    for _ in range(5):
        wheel.set(1, Rearms())
    wheel.clear()
    assert 0 < len(wheel) <= 6
    Rearms.__del__ = lambda self: other.cancel()
    wheel.clear()
    assert len(wheel) == 0


def test_destructors_in_a_dying_wheel():
    seen = []

    class Meddles:
        def __del__(self):
            for timer in timers:
                seen.append((timer.cancel(), timer.armed))
                with pytest.raises(ReferenceError):
                    timer.reset(1)

    wheel = TimerWheel()
    timers = [wheel.set(i, None) for i in range(3)]
    wheel.set(0, Meddles())
    timers += [wheel.set(i, None) for i in range(3)]
    del wheel
    assert seen == [(False, False)] * 6


@NOT_SANITIZED
def test_operations_leak_nothing():
    """Short here; FASTCORE_LEAK_OPERATIONS makes it long."""
    rng = random.Random(5)
    wheel = TimerWheel(tick=1, max_timers=2000)

    def work(operations):
        timers = []
        for i in range(operations):
            what = rng.random()
            if what < 0.5 and len(wheel) < 2000:
                timers.append(wheel.set(wheel.now + rng.randrange(1, 5000), Item()))
            elif what < 0.7 and timers:
                timers.pop(rng.randrange(len(timers))).cancel()
            elif what < 0.9 and timers and timers[-1].armed:
                timers[-1].reset(wheel.now + rng.randrange(1, 100_000))
            else:
                wheel.advance(wheel.now + 20)
            if i % 97 == 0:
                with pytest.raises(ValueError):
                    wheel.set(math.nan, Item())
            if len(timers) > 3000:
                del timers[:2000]
        wheel.clear()

    work(50_000)
    before = resident()
    blocks = sys.getallocatedblocks()
    work(LEAK_OPERATIONS)
    grown = resident() - before
    assert sys.getallocatedblocks() - blocks < 1000
    assert grown < 4 << 20
