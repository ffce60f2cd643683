"""JobIndex as a dict that is sorted whenever something is asked: what it means, without how it is done."""

from dataclasses import dataclass, field


@dataclass
class ModelJob:
    id: int | str | bytes
    queue: str
    priority: int
    run_at: int
    arrival: int

    def key(self) -> tuple:
        """The order within a queue: ids that are ints by value, the others behind them as they came."""
        among_equals = (0, self.id) if isinstance(self.id, int) else (1, self.arrival)
        return (-self.priority, self.run_at, among_equals)

    def shown(self) -> tuple:
        return (self.id, self.queue, self.priority, self.run_at)


@dataclass
class ModelQueue:
    weight: int = 1
    paused: bool = False
    turns: int = 0
    #: times served divided by weight, in units of 1 / ROUND
    served: int = 0


@dataclass
class ModelIndex:
    max_jobs: int
    max_queues: int
    oldest_every: int
    jobs: dict = field(default_factory=dict)  # (type, id) -> ModelJob
    queues: dict[str, ModelQueue] = field(default_factory=dict)
    arrivals: int = 0

    ROUND = 720_720

    def queue(self, name: str) -> bool:
        """Make the queue if need be. False: there are too many."""
        if name not in self.queues:
            if len(self.queues) >= self.max_queues:
                return False
            self.queues[name] = ModelQueue()
        return True

    def add(self, id, queue: str, priority: int, run_at: int) -> str | None:
        """None, "duplicate" or "full"."""
        if not self.queue(queue):
            return "full"
        if (type(id), id) in self.jobs:
            return "duplicate"
        if len(self.jobs) >= self.max_jobs:
            return "full"
        self.jobs[type(id), id] = ModelJob(id, queue, priority, run_at, self.arrivals)
        self.arrivals += 1
        return None

    def in_queue(self, queue: str) -> list[ModelJob]:
        return sorted((job for job in self.jobs.values() if job.queue == queue), key=ModelJob.key)

    def due(self, queue: str, now: int) -> list[ModelJob]:
        if queue not in self.queues or self.queues[queue].paused:
            return []
        return [job for job in self.in_queue(queue) if job.run_at <= now]

    def choose(self, queues: list[str], now: int, order: str) -> tuple[ModelJob, int] | None:
        """The job, and what its queue has been served then."""
        busy = [name for name in queues if self.due(name, now)]
        if not busy:
            return None
        if order == "strict":
            name, lag = busy[0], self.queues[busy[0]].served
        else:
            # Who was away counts as one round behind the one that was served most.
            foremost = max(self.queues[name].served for name in busy)
            lags = {name: max(self.queues[name].served, foremost - self.ROUND) for name in busy}
            name = min(busy, key=lambda name: lags[name])
            lag = lags[name] + self.ROUND // self.queues[name].weight
        queue, due = self.queues[name], self.due(name, now)
        if queue.turns + 1 == self.oldest_every:
            return min(due, key=lambda job: job.run_at), lag
        return due[0], lag

    def claim(self, queues: list[str], now: int, n: int, order: str) -> list[ModelJob]:
        claimed = []
        while len(claimed) < n and (chosen := self.choose(queues, now, order)) is not None:
            job, served = chosen
            queue = self.queues[job.queue]
            queue.served = served
            queue.turns = 0 if queue.turns + 1 == self.oldest_every or self.oldest_every == 0 else queue.turns + 1
            claimed.append(self.jobs.pop((type(job.id), job.id)))
        return claimed

    def next_run_at(self, queues: list[str]) -> int | None:
        return min(
            (
                job.run_at
                for name in queues
                if name in self.queues and not self.queues[name].paused
                for job in self.in_queue(name)
            ),
            default=None,
        )

    def drop(self, queue: str) -> int:
        dropped = [key for key, job in self.jobs.items() if job.queue == queue]
        for key in dropped:
            del self.jobs[key]
        self.queues.pop(queue, None)
        return len(dropped)
