"""Who works: from HELLO to the end of its last connection, or until it has not been heard of for too long."""

from dataclasses import dataclass, field
from typing import Any

QUEUES_MAX = 1000  # that a FETCH may name, and that are remembered of a worker


@dataclass(slots=True)
class Worker:
    wid: str
    timeout: int
    """Milliseconds after which it is taken for dead when nothing is heard of it."""
    seen: int
    hello: dict[str, Any] = field(default_factory=dict)
    started: int = 0
    connections: int = 0
    jobs: set[str] = field(default_factory=set)
    """jids of its leases."""
    queues: set[str] = field(default_factory=set)
    """It has fetched from."""
    state: str = ""
    """What it is to do: nothing, quiet, terminate."""
    rss_kb: int = 0

    def fetches_from(self, queues: list[str]) -> None:
        self.queues.update(queues)
        if len(self.queues) > QUEUES_MAX:
            self.queues = set(queues)

    @property
    def dies(self) -> int:
        return self.seen + self.timeout

    @property
    def quiet(self) -> bool:
        return self.state != ""


class Workers:
    def __init__(self) -> None:
        self.by_wid: dict[str, Worker] = {}

    def hello(self, wid: str, hello: dict[str, Any], timeout: int, now: int) -> Worker:
        """One more connection of it."""
        worker = self.by_wid.get(wid)
        if worker is None:
            worker = self.by_wid[wid] = Worker(wid, timeout, now, started=now)
        worker.timeout, worker.hello, worker.seen = timeout, hello, now
        worker.connections += 1
        return worker

    def known(self, worker: Worker) -> Worker:
        """The one of this wid: it may have been thought dead, or have said HELLO again since on another connection."""
        return self.by_wid.setdefault(worker.wid, worker)

    def recovered(self, wid: str, timeout: int, now: int) -> Worker:
        """One that held a lease when the broker stopped: it may come back."""
        return self.by_wid.setdefault(wid, Worker(wid, timeout, now, started=now))

    def next_death(self) -> int | None:
        return min((worker.dies for worker in self.by_wid.values()), default=None)

    def dead(self, now: int) -> list[Worker]:
        return [worker for worker in self.by_wid.values() if worker.dies <= now]
