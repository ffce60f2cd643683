from contextlib import suppress

from tests.leaks.table import operation

from fastcore.jobindex import Duplicate, JobIndex
from fastcore.timers import TimerWheel

INDEX = JobIndex()
WHEEL = TimerWheel()
clock = [0.0]


@operation("a job's life", weight=4)
def job() -> None:
    INDEX.add("a job", "queue", 3, 500)
    with suppress(Duplicate):
        INDEX.add("a job", "queue")
    INDEX.add(77, "other")
    INDEX.add(b"bytes", "queue", 255)
    INDEX.move("a job", priority=5, run_at=10)
    INDEX.get("a job")
    INDEX.page("queue")
    INDEX.depth("queue", 20)
    INDEX.next_run_at(["queue", "other"])
    INDEX.claim(["queue", "other"], 600, 2)
    INDEX.claim("queue", 600, 2, "strict")
    INDEX.discard(77)
    with suppress(KeyError):
        INDEX.remove("a job")
    with suppress(TypeError):
        INDEX.add(1.5, "queue")


@operation("queues", weight=4)
def queues() -> None:
    INDEX.add_many(range(5), "short-lived")
    INDEX.set_weight("short-lived", 3)
    INDEX.drop("short-lived")
    INDEX.purge()


@operation("timers", weight=2)
def timers() -> None:
    clock[0] += 1
    handle = WHEEL.set(clock[0] + 5, object())
    handle.reset(clock[0] + 2)
    WHEEL.set(clock[0] + 900, "later").cancel()
    WHEEL.set(clock[0] + 0.5, handle)
    WHEEL.advance(clock[0])
    WHEEL.next_deadline()
    with suppress(ValueError):
        WHEEL.set(float("nan"), None)
