"""TimerWheel as a list that is searched: what it means, without how it is done."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class ModelTimer:
    item: object
    at: int | None = None  # in ticks; None: idle
    order: int = 0


@dataclass
class ModelWheel:
    """Times are whole ticks."""

    now: int
    max_timers: int
    timers: list[ModelTimer] = field(default_factory=list)
    orders: int = 0

    def set(self, timer: ModelTimer, at: int) -> bool:
        """False: full, and nothing changed."""
        if timer.at is None and self.armed() >= self.max_timers:
            return False
        if timer not in self.timers:
            self.timers.append(timer)
        timer.at = max(at, self.now)
        timer.order = self.orders = self.orders + 1
        return True

    def cancel(self, timer: ModelTimer) -> bool:
        was, timer.at = timer.at is not None, None
        return was

    def advance(self, now: int, limit: int | None) -> list[object]:
        waiting = sorted((t for t in self.timers if t.at is not None), key=lambda t: (t.at, t.order))
        due = [t for t in waiting if t.at <= max(now, self.now)][:limit]
        if limit is None or len(due) < limit:
            self.now = max(now, self.now)
        elif due:
            self.now = max(self.now, due[-1].at)
        for timer in due:
            timer.at = None
        return [timer.item for timer in due]

    def armed(self) -> int:
        return sum(t.at is not None for t in self.timers)

    def next_deadline(self) -> int | None:
        return min((t.at for t in self.timers if t.at is not None), default=None)
