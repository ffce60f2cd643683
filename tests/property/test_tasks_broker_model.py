"""The broker against a model that knows each job's state, through crashes that lose what was not synced."""

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from apps.tasks.core.broker import Broker, Refused
from apps.tasks.core.job import Failure, text_of
from models.memory_store import MemoryStore

NOW = 1_800_000_000_000
JIDS = [f"j{n}" for n in range(8)]
WIDS = ["w0", "w1", "w2"]
QUEUES = ["a", "b"]
TIMEOUT = 60_000
CRASHES_MAX = 3


class BrokerMachine(RuleBasedStateMachine):
    """The model: jid to what it is. A crash sets the broker back to the last sync, and the model with it."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.now = NOW
        self.jobs: dict[str, dict[str, Any]] = {}
        self.synced: dict[str, dict[str, Any]] = {}
        self.token = self.synced_token = 0  # of a lease nobody was told of one may come again
        self._open()

    def _open(self) -> None:
        self.broker = Broker(
            self.store, self.now, crashes_max=CRASHES_MAX, worker_timeout=TIMEOUT, dice=lambda: 0.0, jobs_max=6
        )
        self.workers: dict[str, Any] = {}

    def _worker(self, wid: str) -> Any:
        if wid not in self.workers:
            self.workers[wid] = self.broker.hello(wid, {}, self.now)
        return self.workers[wid]

    @rule(
        jid=st.sampled_from(JIDS),
        queue=st.sampled_from(QUEUES),
        delay=st.sampled_from([0, 0, 500, 70_000]),
        retry=st.sampled_from([25, 0, -1, 1]),
        priority=st.integers(0, 255),
    )
    def push(self, jid: str, queue: str, delay: int, retry: int, priority: int) -> None:
        job = {
            "jid": jid,
            "jobtype": "t",
            "args": [jid],
            "queue": queue,
            "retry": retry,
            "custom": {"priority": priority, "backoff": {"kind": "fixed", "delay": 5}},
        }
        if delay:
            job["at"] = text_of(self.now + delay)
        alive = sum(other["state"] != "dead" for other in self.jobs.values())
        try:
            self.broker.push(job, self.now)
        except Refused as refused:
            assert refused.code == "FULL" and alive >= 6 and jid not in self.jobs
            return
        if jid not in self.jobs:
            assert alive < 6
            self.jobs[jid] = {
                "state": "waiting",
                "queue": queue,
                "run_at": self.now + delay,
                "retry": retry,
                "failures": 0,
                "crashes": 0,
                "wid": "",
            }

    @rule(wid=st.sampled_from(WIDS), queues=st.sampled_from([["a"], ["b"], ["a", "b"]]))
    def fetch(self, wid: str, queues: list[str]) -> None:
        got = self.broker.fetch(self._worker(wid), queues, self.now)
        due = {
            jid: job
            for jid, job in self.jobs.items()
            if job["state"] == "waiting" and job["queue"] in queues and job["run_at"] <= self.now
        }
        if got is None:
            assert not due
            return
        told = json.loads(got)
        assert told["jid"] in due and told["args"] == [told["jid"]]
        if any(job["queue"] == queues[0] for job in due.values()):
            assert told["queue"] == queues[0]
        assert told["custom"]["fencing_token"] > self.token
        self.token = told["custom"]["fencing_token"]
        self.jobs[told["jid"]] |= {"state": "leased", "wid": wid}

    def _report(self, jid: str, wid: str, send: Any) -> bool:
        """True: it was taken."""
        worker = self._worker(wid)
        job = self.jobs.get(jid)
        try:
            send(worker)
        except Refused as refused:
            assert (
                refused.code == "STALE"
                and job is not None
                and job["state"] in ("waiting", "leased")
                and job["wid"] != wid
            )
            return False
        assert job is None or job["state"] == "dead" or (job["state"] == "leased" and job["wid"] == wid)
        return job is not None and job["state"] == "leased"

    @rule(jid=st.sampled_from(JIDS), wid=st.sampled_from(WIDS))
    def ack(self, jid: str, wid: str) -> None:
        if self._report(jid, wid, lambda worker: self.broker.ack(jid, worker, self.now)):
            del self.jobs[jid]

    @rule(jid=st.sampled_from(JIDS), wid=st.sampled_from(WIDS))
    def fail(self, jid: str, wid: str) -> None:
        failure = Failure(self.now, "E", "m")
        if self._report(jid, wid, lambda worker: self.broker.fail(jid, worker, failure, self.now)):
            self._failed(jid)

    def _failed(self, jid: str) -> None:
        job = self.jobs[jid]
        job["failures"] += 1
        if job["retry"] == 0:
            del self.jobs[jid]
        elif job["failures"] > job["retry"]:
            job |= {"state": "dead", "wid": ""}
        else:
            job |= {"state": "waiting", "wid": "", "run_at": self.now + 5000}

    def _lost(self, wid: str) -> None:
        for job in self.jobs.values():
            if job["state"] == "leased" and job["wid"] == wid:
                job["crashes"] += 1
                job |= {"wid": "", "state": "dead" if job["crashes"] == CRASHES_MAX else "waiting"}

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        wid = data.draw(st.sampled_from(sorted(self.workers)))
        self.broker.left(self.workers.pop(wid), self.now)
        self._lost(wid)

    @rule(seconds=st.sampled_from([0.4, 5, 30, 61]), beating=st.booleans())
    def later(self, seconds: float, beating: bool) -> None:
        self.now += int(seconds * 1000)
        if beating:
            for worker in self.workers.values():
                self.broker.beat(worker, self.now)
        dead = [worker.wid for worker in self.broker.workers.dead(self.now)]
        self.broker.tick(self.now)
        for wid in dead:
            self.workers.pop(wid, None)
            self._lost(wid)

    @rule()
    def sync(self) -> None:
        self.store.sync()
        self.synced = {jid: dict(job) for jid, job in self.jobs.items()}
        self.synced_token = self.token

    @rule()
    def crash(self) -> None:
        self.store.crash()
        self.jobs = {jid: dict(job) for jid, job in self.synced.items()}
        self.token = self.synced_token
        self._open()

    @rule()
    def restart(self) -> None:
        self.sync()
        self.crash()

    @rule(jid=st.sampled_from(JIDS), what=st.sampled_from(["requeue", "discard", "kill"]))
    def change(self, jid: str, what: str) -> None:
        listed = [*self.broker.scheduled(self.now), *self.broker.retrying(), *self.broker.buried()]
        for job in [job for job in listed if job.jid == jid]:
            model = self.jobs[jid]
            if what == "discard":
                self.broker.discard(job)
                del self.jobs[jid]
            elif what == "kill":
                self.broker.kill(job, self.now)
                model["state"] = "dead"
            else:
                if model["state"] == "dead":
                    model |= {"failures": 0, "crashes": 0}
                model |= {"state": "waiting", "run_at": self.now}
                self.broker.requeue(job, self.now)

    @invariant()
    def they_agree(self) -> None:
        states = [job["state"] for job in self.jobs.values()]
        counts = self.broker.counts(self.now)
        assert counts["leased"] == states.count("leased")
        assert counts["dead"] == states.count("dead")
        assert counts["ready"] + counts["scheduled"] + counts["retries"] == states.count("waiting")
        due = sum(job["state"] == "waiting" and job["run_at"] <= self.now for job in self.jobs.values())
        assert counts["ready"] == due
        failed = [
            job
            for job in self.jobs.values()
            if job["state"] == "waiting" and job["failures"] and job["run_at"] > self.now
        ]
        assert counts["retries"] == len(failed)
        assert {key.decode() for key, _ in self.store.scan("jobs")} == set(self.jobs)
        assert {key.decode() for key, _ in self.store.scan("bodies")} == set(self.jobs)


TestBroker = BrokerMachine.TestCase
