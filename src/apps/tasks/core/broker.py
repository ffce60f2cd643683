"""The broker: jobs from PUSH to ACK, leases, retries, the dead.

Pure but for its store: `now` (milliseconds since 1970) and randomness come in as arguments. In memory it has where each
waiting job is (`fastcore.jobindex`), and the leases; the rest of a job is read from the store when a worker gets it.

Invariants
 1. A jid in `jobs` is in exactly one of: the index (waiting), `leases`, the dead.
 2. A change is written before the method that makes it returns; the caller answers when the store has synced.
 3. Tokens of leases grow, over restarts too.
"""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from apps.tasks.core.job import (
    TIME_MAX,
    Body,
    Failure,
    Job,
    handed_out,
    read_job,
    text_of,
    unique_seconds,
)
from apps.tasks.core.workers import Worker, Workers
from apps.tasks.store import Change, Store
from fastcore.jobindex import JobIndex

TOKENS_AHEAD = 100_000  # reserved in the store at one time
DEAD_A_TICK = 100  # that are forgotten in one tick, and dropped entries that are cleared
PAGE = 1000
RETRIES_QUEUE = "retries"
TOKEN_KEY = b"token"


class Refused(Exception):
    """`code` is the word the answer begins with."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


class Broker:
    def __init__(
        self,
        store: Store,
        now: int,
        *,
        jobs_max: int = 10_000_000,
        crashes_max: int = 5,
        dead_days: float = 180,
        worker_timeout: int = 60_000,
        dice: Callable[[], float] = random.random,
    ):
        self.store = store
        self.workers = Workers()
        self.leases: dict[str, Job] = {}
        self.index = JobIndex()
        self.retries = JobIndex()
        self.dead = 0
        self.pushed = self.acked = self.failed = self.lost = 0
        """Since the start."""
        self._paused: set[str] = set()
        self._reservations: list[tuple[int, str, int]] = []
        self._jobs_max = jobs_max  # waiting or leased: what is leased must have a place to come back to
        self._crashes_max, self._dead_ms, self._worker_timeout = (
            crashes_max,
            int(dead_days * 86_400_000),
            worker_timeout,
        )
        self._dice = dice
        self._token = self._tokens_end = int.from_bytes(store.get("meta", TOKEN_KEY) or b"\0", "big")
        self._recover(now)

    # --- producers ---

    def push(self, value: Any, now: int) -> None:
        """Raises BadJob, Refused."""
        job, body = read_job(value, now)
        key = job.jid.encode()
        if job.jid in self.leases or job.jid in self.index or self.store.get("jobs", key) is not None:
            return  # its producer did not hear the answer
        if len(self.index) + len(self.leases) >= self._jobs_max:
            raise Refused("FULL", f"there are {self._jobs_max} jobs, as many as may be (limits.jobs)")
        changes: list[Change] = [("jobs", key, job.pack()), ("bodies", key, body.pack())]
        if job.unique:
            held = self.store.get("unique", job.unique)
            if held is not None and int.from_bytes(held[:8], "big") > now:
                raise Refused("NOTUNIQUE", f"a job like it is there: {held[8:].decode()}")
            until = now + unique_seconds(value) * 1000
            changes.append(("unique", job.unique, until.to_bytes(8, "big") + key))
        self.store.write(changes)
        self._wait(job, now)
        self.pushed += 1

    # --- workers ---

    def hello(self, wid: str, hello: dict[str, Any], now: int, timeout: int | None = None) -> Worker:
        return self.workers.hello(wid, hello, timeout or self._worker_timeout, now)

    def left(self, worker: Worker, now: int) -> None:
        """One of its connections is closed; with the last one it is gone."""
        worker.connections -= 1
        if worker.connections <= 0 and self.workers.by_wid.get(worker.wid) is worker:
            self._bury(worker, now)

    def fetch(self, worker: Worker, queues: list[str], now: int) -> bytes | None:
        """A job for it, as JSON; None: there is none to be had now."""
        worker = self.workers.known(worker)
        worker.seen = now
        worker.fetches_from(queues)
        while not worker.quiet and (taken := self.index.claim(queues, now, 1, "strict")):
            jid = str(taken[0].id)
            try:
                job = self._load(jid)
                body = self.store.get("bodies", jid.encode())
                if job is None or body is None:
                    raise RuntimeError(f"job {jid!r} is in the index and not in the store")
                if job.expires is not None and job.expires <= now:
                    self._remove(job)
                    continue
                self._lease(job, worker, now)
            except BaseException:
                if jid not in self.leases:  # what could not be written has not happened
                    self.index.add(jid, taken[0].queue, taken[0].priority, taken[0].run_at)
                raise
            self.retries.discard(jid)
            return handed_out(job, Body.unpack(body))
        return None

    def ack(self, jid: str, worker: Worker | None, now: int) -> None:
        """Raises Refused: another worker has it now."""
        if job := self._leased(jid, worker, now):
            self._remove(job)
            self.acked += 1

    def fail(self, jid: str, worker: Worker | None, failure: Failure, now: int) -> None:
        """Raises Refused: another worker has it now."""
        if job := self._leased(jid, worker, now):
            self._fail(job, failure, now)

    def beat(self, worker: Worker, now: int, rss_kb: int = 0) -> str:
        """What it is to do: nothing, "quiet" or "terminate"."""
        worker.seen = now
        worker.rss_kb = rss_kb
        return worker.state

    # --- time ---

    def next_at(self) -> int | None:
        """When `tick` has something to do."""
        times = [time for time in (self.workers.next_death(), self._next_reservation()) if time is not None]
        return min(times, default=None)

    def tick(self, now: int) -> None:
        for worker in self.workers.dead(now):
            self._bury(worker, now)
        while (due := self._next_reservation()) is not None and due <= now:
            _, jid, _ = self._reservations[0]
            job = self.leases[jid]
            failure = Failure.cut(now, "ReservationExpired", f"not done within the {job.reserve} s it had", [])
            self._fail(job, failure, now)
        for key, _ in self._first("dead", DEAD_A_TICK):
            if int.from_bytes(key[:8], "big") + self._dead_ms > now:
                break
            self._forget_dead(key)
        self.index.purge(DEAD_A_TICK)

    # --- operators ---

    def pause(self, queues: Iterable[str], paused: bool) -> None:
        for queue in list(self.index.queues()) if "*" in (queues := list(queues)) else queues:
            self.store.write([("queues", queue.encode(), b"paused" if paused else None)])
            if paused:
                self._paused.add(queue)
                self.index.pause(queue)
            else:
                self._paused.discard(queue)
                self.index.resume(queue)

    def remove_queues(self, queues: Iterable[str]) -> None:
        """And the jobs that wait in them."""
        for queue in list(self.index.queues()) if "*" in (queues := list(queues)) else queues:
            for job in list(self._waiting(queue)):
                self._discard(job)

    def flush(self) -> None:
        """Every job; leases too, so that their workers hear +OK."""
        self.store.clear()
        self._token = self._tokens_end
        self.store.write([("meta", TOKEN_KEY, self._tokens_end.to_bytes(8, "big"))])
        self.index.clear()
        self.retries.clear()
        self.leases.clear()
        self._reservations.clear()
        self._paused.clear()
        for worker in self.workers.by_wid.values():
            worker.jobs.clear()
        self.dead = 0

    def scheduled(self, now: int) -> Iterator[Job]:
        """Waiting for their time, without those that failed."""
        for queue in self.index.queues():
            for job in self._waiting(queue):
                if job.run_at > now and not job.failures:
                    yield job

    def retrying(self) -> Iterator[Job]:
        """Waiting after a failure."""
        after: bytes | None = None
        while True:
            page, after = self.retries.page(RETRIES_QUEUE, after, PAGE)
            for place in page:
                if (job := self._load(str(place.id))) is not None:
                    yield job
            if after is None:
                return

    def buried(self) -> Iterator[Job]:
        """The dead, the oldest first."""
        for key, _ in self.store.scan("dead"):
            if (job := self._load(key[8:].decode())) is not None:
                yield job

    def body(self, job: Job) -> bytes:
        """Its JSON as a worker would get it."""
        packed = self.store.get("bodies", job.jid.encode())
        return handed_out(job, Body.unpack(packed)) if packed is not None else b"{}"

    def why(self, jid: str, now: int) -> dict[str, Any] | None:
        """Why it does not run: `reasons`, the first of which is enough. None: there is no such job."""
        job = self.leases.get(jid) or self._load(jid)
        if job is None:
            return None
        told: dict[str, Any] = {"jid": jid, "queue": job.queue, "jobtype": job.jobtype}
        if job.died:
            why = job.failure.message if job.failure else "it was killed"
            return told | {"state": "dead", "reasons": [f"it is dead since {text_of(job.died)}: {why}"]}
        if jid in self.leases:
            until = text_of(job.reserved_until)
            return told | {"state": "leased", "reasons": [f"worker {job.worker} has it, until {until} at the latest"]}
        reasons = []
        if job.run_at > now:
            after = f", after failure {job.failures}" if job.failures else ""
            reasons.append(f"it is not due before {text_of(job.run_at)}{after}")
        if job.expires is not None and job.expires <= now:
            reasons.append("it has expired, and is dropped when its turn comes")
        if job.queue in self._paused:
            reasons.append("its queue is paused")
        if not any(job.queue in worker.queues and not worker.quiet for worker in self.workers.by_wid.values()):
            reasons.append("no living worker fetches from its queue")
        elif not reasons:
            reasons.append(f"{self.index.depth(job.queue, now).ready} jobs of its queue are due, and it is among them")
        return told | {"state": "waiting", "reasons": reasons}

    def requeue(self, job: Job, now: int) -> None:
        """A waiting or dead one waits no longer than for its turn; of a dead one crashes and failures are forgotten."""
        key = job.jid.encode()
        changes: list[Change] = []
        if job.died:
            changes.append(("dead", job.died.to_bytes(8, "big") + key, None))
            job.died = job.failures = job.crashes = 0
        job.run_at = job.enqueued = now
        changes.append(("jobs", key, job.pack()))
        self.store.write(changes)
        self.retries.discard(job.jid)
        if not self.index.discard(job.jid):
            self.dead -= 1
        self._wait(job, now)

    def discard(self, job: Job) -> None:
        """A waiting or dead one is gone."""
        self._discard(job)

    def kill(self, job: Job, now: int) -> None:
        """A waiting one is dead."""
        if not job.died:
            self._drop_waiting(job.jid)
            self._die(job, now)

    # --- figures ---

    def counts(self, now: int) -> dict[str, int]:
        retrying = self.retries.depth(RETRIES_QUEUE, now).delayed
        delayed = sum(self.index.depth(queue, now).delayed for queue in self.index.queues())
        return {
            "ready": len(self.index) - delayed,
            "scheduled": delayed - retrying,
            "retries": retrying,
            "leased": len(self.leases),
            "dead": self.dead,
        }

    def depths(self, now: int) -> dict[str, int]:
        """Jobs that are due, by queue."""
        return {queue: self.index.depth(queue, now).ready for queue in self.index.queues()}

    def paused(self) -> set[str]:
        return set(self._paused)

    # --- inside ---

    def _recover(self, now: int) -> None:
        for key, _ in self.store.scan("queues"):
            self._paused.add(key.decode())
            self.index.pause(key.decode())
        for key, packed in self.store.scan("jobs"):
            job = Job.unpack(key.decode(), packed)
            if job.died:
                self.dead += 1
            elif job.token:
                self.leases[job.jid] = job
                self.workers.recovered(job.worker, self._worker_timeout, now).jobs.add(job.jid)
                heapq.heappush(self._reservations, (job.reserved_until, job.jid, job.token))
            else:
                self._wait(job, now)

    def _wait(self, job: Job, now: int) -> None:
        """It is in the index."""
        self.index.add(job.jid, job.queue, job.priority, job.run_at)
        if job.failures and job.run_at > now:
            self.retries.add(job.jid, RETRIES_QUEUE, 0, job.run_at)

    def _load(self, jid: str) -> Job | None:
        packed = self.store.get("jobs", jid.encode())
        return None if packed is None else Job.unpack(jid, packed)

    def _lease(self, job: Job, worker: Worker, now: int) -> None:
        job.token, job.worker, job.reserved_until = self._next_token(), worker.wid, now + job.reserve * 1000
        changes: list[Change] = [("jobs", job.jid.encode(), job.pack())]
        if job.unique and job.unique_until_start:
            changes += self._unlike(job)
            job.unique = b""
            changes[0] = ("jobs", job.jid.encode(), job.pack())
        self.store.write(changes)
        self.leases[job.jid] = job
        worker.jobs.add(job.jid)
        heapq.heappush(self._reservations, (job.reserved_until, job.jid, job.token))

    def _next_token(self) -> int:
        if self._token == self._tokens_end:
            end = self._tokens_end + TOKENS_AHEAD
            self.store.write([("meta", TOKEN_KEY, end.to_bytes(8, "big"))])
            self._tokens_end = end
        self._token += 1
        return self._token

    def _leased(self, jid: str, worker: Worker | None, now: int) -> Job | None:
        """None: it is not known, or waits again and is not that worker's any more; then it will run once more."""
        if worker is not None:
            worker.seen = now
        job = self.leases.get(jid)
        if job is None:
            if jid in self.index:
                raise Refused("STALE", f"the lease of {jid} is over: it waits for another worker")
            return None
        if worker is None or job.worker != worker.wid:
            raise Refused("STALE", f"another worker has the lease of {jid}")
        return job

    def _unlease(self, job: Job) -> None:
        del self.leases[job.jid]
        if worker := self.workers.by_wid.get(job.worker):
            worker.jobs.discard(job.jid)
        job.token, job.worker, job.reserved_until = 0, "", 0

    def _next_reservation(self) -> int | None:
        """The first that still holds."""
        heap = self._reservations
        while heap:
            until, jid, token = heap[0]
            job = self.leases.get(jid)
            if job is not None and job.token == token:
                return until
            heapq.heappop(heap)
        return None

    def _fail(self, job: Job, failure: Failure, now: int) -> None:
        """A leased one."""
        before = job.pack()
        self.failed += 1
        delay = int(job.backoff.delay(job.failures, self._dice) * 1000)
        job.failure = failure
        job.failures += 1
        run_at = min(now + delay, TIME_MAX)
        oldest = job.backoff.max_age
        last = job.failures > job.retry or (oldest is not None and run_at > job.created + oldest * 1000)
        try:
            if job.retry == 0:
                self._remove(job)
            elif last:
                self._unlease(job)
                self._die(job, now)
            else:
                self._unlease(job)
                job.run_at = run_at
                self.store.write([("jobs", job.jid.encode(), job.pack())])
                self._wait(job, now)
        except BaseException:
            self._restore(before, job.jid)
            raise

    def _bury(self, worker: Worker, now: int) -> None:
        """It is gone; what it had waits again at once."""
        del self.workers.by_wid[worker.wid]
        for jid in sorted(worker.jobs):
            job = self.leases[jid]
            before = job.pack()
            self.lost += 1
            job.crashes += 1
            try:
                self._unlease(job)
                if job.crashes >= self._crashes_max:
                    text = f"its worker was lost while it ran, {job.crashes} times; the last was {worker.wid}"
                    job.failure = Failure.cut(now, "WorkerLost", text, [])
                    self._die(job, now)
                else:
                    self.store.write([("jobs", jid.encode(), job.pack())])
                    self._wait(job, now)
            except BaseException:
                self._restore(before, jid)
                raise

    def _restore(self, packed: bytes, jid: str) -> None:
        """Leased as before: the store took nothing of it."""
        if jid not in self.index:
            job = self.leases[jid] = Job.unpack(jid, packed)
            if worker := self.workers.by_wid.get(job.worker):
                worker.jobs.add(jid)

    def _die(self, job: Job, now: int) -> None:
        """It is neither in the index nor leased."""
        job.died = now
        key = job.jid.encode()
        changes: list[Change] = [("jobs", key, job.pack()), ("dead", now.to_bytes(8, "big") + key, b"")]
        self.store.write([*changes, *self._unlike(job)])
        self.dead += 1

    def _remove(self, job: Job) -> None:
        """Leased or just claimed: it is gone."""
        key = job.jid.encode()
        self.store.write([("jobs", key, None), ("bodies", key, None), *self._unlike(job)])
        if job.jid in self.leases:
            self._unlease(job)
        self.retries.discard(job.jid)

    def _discard(self, job: Job) -> None:
        key = job.jid.encode()
        changes: list[Change] = [("jobs", key, None), ("bodies", key, None), *self._unlike(job)]
        if job.died:
            changes.append(("dead", job.died.to_bytes(8, "big") + key, None))
        self.store.write(changes)
        if job.died:
            self.dead -= 1
        else:
            self._drop_waiting(job.jid)

    def _drop_waiting(self, jid: str) -> None:
        self.index.discard(jid)
        self.retries.discard(jid)

    def _forget_dead(self, key: bytes) -> None:
        job = self._load(key[8:].decode())
        if job is None:
            self.store.write([("dead", key, None)])
        else:
            self._discard(job)

    def _unlike(self, job: Job) -> list[Change]:
        """Others may be like it again."""
        if not job.unique:
            return []
        held = self.store.get("unique", job.unique)
        return [("unique", job.unique, None)] if held is not None and held[8:] == job.jid.encode() else []

    def _waiting(self, queue: str) -> Iterator[Job]:
        after: bytes | None = None
        while True:
            page, after = self.index.page(queue, after, PAGE)
            for place in page:
                if (job := self._load(str(place.id))) is not None:
                    yield job
            if after is None:
                return

    def _first(self, space: str, n: int) -> list[tuple[bytes, bytes]]:
        rows = self.store.scan(space)
        return [row for _, row in zip(range(n), rows, strict=False)]
