"""The broker's decisions, without sockets or clocks."""

import json
from typing import Any

import pytest

from apps.tasks.core.broker import Broker, Refused
from apps.tasks.core.job import BadJob, Failure, text_of
from apps.tasks.core.workers import Worker
from apps.tasks.store import StoreFailed
from models.memory_store import MemoryStore

NOW = 1_800_000_000_000
S = 1000  # a second


class Bench:
    """A broker with a clock that somebody turns."""

    def __init__(self, store: MemoryStore | None = None, **options: Any):
        self.store, self.options = store or MemoryStore(), options
        self.now = NOW
        self.start()

    def start(self) -> None:
        self.broker = Broker(self.store, self.now, dice=lambda: 0.0, **self.options)
        self.worker = self.join("w")

    def restart(self) -> None:
        self.store.crash()
        self.start()

    def join(self, wid: str) -> Worker:
        return self.broker.hello(wid, {}, self.now)

    def push(self, jid: str, **members: Any) -> None:
        self.broker.push({"jid": jid, "jobtype": "t", "args": [], **members}, self.now)
        self.store.sync()

    def fetch(self, *queues: str, worker: Worker | None = None) -> dict[str, Any] | None:
        got = self.broker.fetch(worker or self.worker, list(queues) or ["default"], self.now)
        self.store.sync()
        return None if got is None else json.loads(got)

    def taken(self, *queues: str, worker: Worker | None = None) -> str:
        got = self.fetch(*queues, worker=worker)
        assert got is not None
        return str(got["jid"])

    def ack(self, jid: str, worker: Worker | None = None) -> None:
        self.broker.ack(jid, worker or self.worker, self.now)
        self.store.sync()

    def fail(self, jid: str, worker: Worker | None = None) -> None:
        self.broker.fail(jid, worker or self.worker, Failure.cut(self.now, "E", "broke", []), self.now)
        self.store.sync()

    def later(self, seconds: float) -> None:
        self.now += int(seconds * S)
        self.broker.tick(self.now)
        self.store.sync()

    def counts(self) -> dict[str, int]:
        return {state: n for state, n in self.broker.counts(self.now).items() if n}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_from_push_to_ack(bench: Bench) -> None:
    assert bench.fetch() is None
    bench.push("a", args=[1, {"x": "y"}], mine=5)
    got = bench.fetch()
    assert got is not None and (got["args"], got["mine"]) == ([1, {"x": "y"}], 5)
    assert bench.counts() == {"leased": 1}
    assert bench.fetch() is None
    bench.ack("a")
    bench.ack("a")  # its worker did not hear the answer
    assert bench.counts() == {} and bench.broker.acked == 1
    assert list(bench.store.scan("jobs")) == list(bench.store.scan("bodies")) == []


def test_a_push_that_is_sent_again_changes_nothing(bench: Bench) -> None:
    for _ in range(2):
        bench.push("a", args=[1])
    assert bench.taken() == "a"
    bench.push("a", args=[2])
    assert bench.fetch() is None
    bench.fail("a")
    bench.push("a", args=[3])
    assert bench.counts() == {"retries": 1} and bench.broker.pushed == 1


def test_order_by_queue_then_priority_then_age(bench: Bench) -> None:
    for number, (queue, priority) in enumerate([("b", 128), ("a", 128), ("a", 255), ("a", 128)]):
        bench.now += 1
        bench.push(str(number), queue=queue, custom={"priority": priority})
    assert [bench.taken("a", "b") for _ in range(4)] == ["2", "1", "3", "0"]
    assert bench.fetch("a", "b") is None


def test_low_priorities_do_not_starve(bench: Bench) -> None:
    bench.push("low", custom={"priority": 0})
    for number in range(100):
        bench.now += 1
        bench.push(f"high{number}", custom={"priority": 255})
    assert "low" in [bench.taken() for _ in range(32)]


def test_delays_are_exact(bench: Bench) -> None:
    bench.push("a", at=text_of(NOW + 1500))
    assert bench.counts() == {"scheduled": 1}
    bench.now = NOW + 1499
    assert bench.fetch() is None
    bench.now = NOW + 1500
    assert bench.taken() == "a"


def test_failures_wait_and_come_back_with_their_story(bench: Bench) -> None:
    bench.push("a", retry=2)
    for failures, wait in enumerate([15, 16], 1):
        assert bench.taken() == "a"
        bench.fail("a")
        assert bench.counts() == {"retries": 1}
        bench.later(wait - 0.001)
        assert bench.fetch() is None
        bench.later(0.001)
        assert bench.counts() == {"ready": 1}
        bench.restart()  # known after a restart
        assert bench.counts() == {"ready": 1}
        assert (
            json.loads(bench.broker.body(next(iter(bench.broker._waiting("default")))))["failure"]["retry_count"]
            == failures - 1
        )
    got = bench.fetch()
    assert got is not None and got["failure"]["message"] == "broke"
    bench.fail("a")
    assert bench.counts() == {"dead": 1}
    assert [job.jid for job in bench.broker.buried()] == ["a"]


@pytest.mark.parametrize(("retry", "left"), [(0, {}), (-1, {"dead": 1})])
def test_jobs_that_are_not_tried_again(bench: Bench, retry: int, left: dict[str, int]) -> None:
    bench.push("a", retry=retry)
    bench.taken()
    bench.fail("a")
    assert bench.counts() == left


def test_too_old_to_be_tried_again(bench: Bench) -> None:
    bench.push("a", custom={"backoff": {"kind": "fixed", "delay": 10, "max_age": 15}})
    bench.taken()
    bench.fail("a")
    bench.later(10)
    bench.taken()
    bench.fail("a")
    assert bench.counts() == {"dead": 1}


def test_a_worker_that_goes_gives_back_at_once(bench: Bench) -> None:
    other = bench.join("other")
    bench.broker.hello("other", {}, bench.now)  # a second connection
    bench.push("a")
    assert bench.taken(worker=other) == "a"
    bench.broker.left(other, bench.now)
    assert bench.fetch() is None
    bench.broker.left(other, bench.now)
    assert bench.taken() == "a"
    assert bench.broker.lost == 1


def test_a_worker_that_is_silent_is_dead_and_what_it_says_later_is_stale(bench: Bench) -> None:
    other = bench.join("other")
    bench.push("a")
    bench.taken(worker=other)
    for _ in range(5):
        bench.later(59)
        bench.broker.beat(other, bench.now)
        bench.broker.beat(bench.worker, bench.now)
    bench.later(60)
    bench.start_worker = bench.join("w")  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="waits for another worker"):
        bench.ack("a", other)
    worker = bench.join("third")
    got = bench.fetch(worker=worker)
    assert got is not None and got["custom"]["fencing_token"] == 2
    for late in (bench.ack, bench.fail):
        with pytest.raises(Refused, match="another worker has the lease"):
            late("a", other)
    bench.ack("a", worker)
    assert bench.counts() == {}


def test_a_worker_on_two_connections_that_was_thought_dead(bench: Bench) -> None:
    old = bench.join("other")
    bench.later(60)
    new = bench.broker.hello("other", {}, bench.now)
    bench.push("a")
    assert bench.taken(worker=old) == "a"  # its first connection was open all the time
    bench.broker.left(new, bench.now)
    assert bench.taken(worker=bench.join("w2")) == "a"


def test_a_worker_may_name_a_shorter_time() -> None:
    bench = Bench()
    quick = bench.broker.hello("quick", {}, bench.now, 5 * S)
    bench.push("a")
    bench.taken(worker=quick)
    assert bench.broker.next_at() == NOW + 5 * S
    bench.later(5)
    assert bench.taken() == "a"


def test_time_to_work_is_over(bench: Bench) -> None:
    bench.push("a", reserve_for=60, retry=1)
    bench.taken()
    bench.now += 30 * S
    bench.broker.beat(bench.worker, bench.now)
    bench.later(30)
    assert bench.counts() == {"retries": 1}
    [job] = bench.broker.retrying()
    assert job.failure is not None and job.failure.errtype == "ReservationExpired"


def test_an_earlier_lease_does_not_end_a_later_one(bench: Bench) -> None:
    bench.push("a", reserve_for=60, custom={"backoff": {"kind": "fixed", "delay": 0}})
    bench.taken()
    bench.fail("a")
    bench.now += 30 * S
    bench.broker.beat(bench.worker, bench.now)
    assert bench.taken() == "a"
    bench.later(30)
    assert bench.counts() == {"leased": 1}
    bench.broker.beat(bench.worker, bench.now)
    bench.later(30)
    assert bench.counts() == {"ready": 1}


def test_a_failed_job_that_is_asked_for_again_is_no_retry_any_more(bench: Bench) -> None:
    bench.push("a")
    bench.taken()
    bench.fail("a")
    [job] = bench.broker.retrying()
    bench.broker.requeue(job, bench.now)
    assert bench.counts() == {"ready": 1}
    assert list(bench.broker.retrying()) == []


def test_a_job_that_kills_its_workers_is_dead_with_evidence() -> None:
    bench = Bench(crashes_max=3)
    bench.push("poison")
    for number in range(3):
        victim = bench.join(f"v{number}")
        assert bench.taken(worker=victim) == "poison"
        bench.broker.left(victim, bench.now)
    assert bench.counts() == {"dead": 1}
    [job] = bench.broker.buried()
    assert job.crashes == 3 and job.failure is not None
    assert (job.failure.errtype, "v2" in job.failure.message) == ("WorkerLost", True)


def test_expired_jobs_are_never_handed_out(bench: Bench) -> None:
    bench.push("a", custom={"expires_at": text_of(NOW + S)})
    bench.push("b")
    bench.now += S
    assert bench.taken() == "b"
    assert bench.counts() == {"leased": 1}


@pytest.mark.parametrize("until", ["success", "start"])
def test_unique(bench: Bench, until: str) -> None:
    like = {"args": [1], "custom": {"unique_for": 60, "unique_until": until}}
    bench.push("a", **like)
    bench.push("a", **like)  # the same one
    with pytest.raises(Refused, match="a job like it is there: a"):
        bench.push("b", **like)
    bench.push("other", args=[2], custom=like["custom"])
    bench.restart()
    with pytest.raises(Refused) as refused:
        bench.push("b", **like)
    assert refused.value.code == "NOTUNIQUE"
    assert bench.taken() == "a"
    if until == "start":
        bench.push("b", **like)
        bench.ack("a")
        with pytest.raises(Refused):  # and "b" holds it now
            bench.push("c", **like)
    else:
        with pytest.raises(Refused):
            bench.push("b", **like)
        bench.ack("a")
        bench.push("b", **like)


def test_unique_for_no_longer_than_asked(bench: Bench) -> None:
    like = {"custom": {"unique_for": 60}}
    bench.push("a", **like)
    bench.now += 60 * S
    bench.push("b", **like)
    assert bench.taken() == "a"
    bench.ack("a")  # gives free what is "b"'s? No:
    with pytest.raises(Refused):
        bench.push("c", **like)


def test_full() -> None:
    bench = Bench(jobs_max=2)
    bench.push("a")
    bench.push("b")
    with pytest.raises(Refused) as refused:
        bench.push("c")
    assert refused.value.code == "FULL"
    bench.ack(bench.taken())
    bench.push("c")


def test_pause_outlives_a_restart(bench: Bench) -> None:
    bench.push("a")
    bench.broker.pause(["default", "empty"], True)
    bench.store.sync()
    assert bench.fetch() is None
    bench.restart()
    assert bench.fetch() is None and bench.broker.paused() == {"default", "empty"}
    bench.push("x", queue="empty")
    assert bench.fetch("empty") is None
    bench.broker.remove_queues(["empty"])
    bench.broker.tick(bench.now)
    bench.push("x", queue="empty")
    assert bench.fetch("empty") is None
    bench.broker.pause(["*"], False)
    assert {bench.taken("default", "empty") for _ in range(2)} == {"a", "x"}


def test_quiet_workers_get_nothing(bench: Bench) -> None:
    bench.push("a")
    bench.worker.state = "quiet"
    assert bench.fetch() is None
    assert bench.broker.beat(bench.worker, bench.now) == "quiet"


def test_operators_look_and_change(bench: Bench) -> None:
    bench.push("soon", at=text_of(NOW + 60 * S))
    bench.push("ready")
    bench.push("retry")
    assert {bench.taken(), bench.taken()} == {"ready", "retry"}
    bench.fail("retry")
    bench.ack("ready")
    assert [job.jid for job in bench.broker.scheduled(bench.now)] == ["soon"]
    [failed] = bench.broker.retrying()
    bench.broker.kill(failed, bench.now)
    assert bench.counts() == {"scheduled": 1, "dead": 1}
    bench.store.sync()
    bench.restart()
    assert bench.counts() == {"scheduled": 1, "dead": 1}
    [dead] = bench.broker.buried()
    bench.broker.requeue(dead, bench.now)
    assert bench.counts() == {"scheduled": 1, "ready": 1}
    assert bench.taken() == "retry"
    [soon] = bench.broker.scheduled(bench.now)
    bench.broker.requeue(soon, bench.now)
    assert bench.taken() == "soon"
    bench.push("gone", at=text_of(NOW + 60 * S))
    [gone] = bench.broker.scheduled(bench.now)
    bench.broker.discard(gone)
    assert bench.counts() == {"leased": 2}
    bench.push("x", queue="q")
    bench.broker.remove_queues(["q"])
    assert bench.counts() == {"leased": 2} and bench.store.get("bodies", b"x") is None
    bench.broker.flush()
    assert bench.counts() == {}
    bench.ack("soon")
    bench.restart()
    assert bench.counts() == {}


def test_the_dead_are_forgotten_in_time() -> None:
    bench = Bench(dead_days=1)
    bench.push("a", retry=-1)
    bench.taken()
    bench.fail("a")
    bench.later(86_399)
    assert bench.counts() == {"dead": 1}
    bench.later(1)
    assert bench.counts() == {}
    assert all(list(bench.store.scan(space)) == [] for space in ("jobs", "bodies", "dead"))


def test_tokens_grow_over_restarts(bench: Bench) -> None:
    tokens = []
    for number in range(3):
        bench.push(str(number))
        got = bench.fetch()
        assert got is not None
        tokens.append(got["custom"]["fencing_token"])
        bench.ack(str(number))
        bench.restart()
    assert tokens == sorted(set(tokens))


def test_leases_outlive_a_restart(bench: Bench) -> None:
    bench.push("a")
    bench.push("b")
    worker = bench.join("other")
    taken = {bench.taken(worker=worker), bench.taken(worker=worker)}
    bench.restart()
    assert bench.fetch() is None and bench.counts() == {"leased": 2}
    again = bench.join("other")  # reconnects, and is done with one
    bench.ack("a", again)
    bench.broker.left(again, bench.now)
    assert bench.taken() == "b" and taken == {"a", "b"}
    bench.restart()
    bench.later(60)  # nobody came back
    assert bench.counts() == {"ready": 1}


def test_what_could_not_be_written_has_not_happened(bench: Bench) -> None:
    for jid in "abc":
        bench.push(jid)
    for jid in "ab":
        assert bench.taken() == jid
    bench.store.failing = "full"
    for change in (
        lambda: bench.push("d"),
        bench.fetch,
        lambda: bench.ack("a"),
        lambda: bench.fail("b"),
        lambda: bench.broker.left(bench.worker, bench.now),
    ):
        with pytest.raises(StoreFailed):
            change()
    bench.store.failing = ""
    bench.worker = bench.join("w")
    assert bench.counts() == {"ready": 1, "leased": 2}
    assert bench.taken() == "c"


def test_why(bench: Bench) -> None:
    def why(jid: str) -> str:
        told = bench.broker.why(jid, bench.now)
        return "" if told is None else f"{told['state']}: {'; '.join(told['reasons'])}"

    assert why("a") == ""
    bench.push("a", at=text_of(NOW + S), custom={"expires_at": text_of(NOW + S)})
    assert why("a") == f"waiting: it is not due before {text_of(NOW + S)}; no living worker fetches from its queue"
    bench.fetch()
    bench.now += S
    assert why("a") == "waiting: it has expired, and is dropped when its turn comes"
    bench.push("b")
    assert why("b") == "waiting: 2 jobs of its queue are due, and it is among them"
    bench.broker.pause(["default"], True)
    assert why("b") == "waiting: its queue is paused"
    bench.broker.pause(["default"], False)
    assert bench.taken() == "b"
    assert why("b") == f"leased: worker w has it, until {text_of(bench.now + 1800 * S)} at the latest"
    bench.fail("b")
    assert why("b").endswith("after failure 1")
    [job] = bench.broker.retrying()
    bench.broker.kill(job, bench.now)
    assert why("b") == f"dead: it is dead since {text_of(bench.now)}: broke"


def test_bad_jobs_leave_nothing(bench: Bench) -> None:
    with pytest.raises(BadJob):
        bench.push("a", args=5)
    assert all(list(bench.store.scan(space)) == [] for space in ("jobs", "bodies", "unique"))
