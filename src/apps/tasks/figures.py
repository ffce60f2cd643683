"""The broker's figures for Prometheus."""

from apps.tasks.core.broker import Broker
from fastcore.metrics import Metrics

PREFIX = "fastcore_tasks"

COUNTERS = {
    "pushed": "Jobs taken from producers",
    "acked": "Jobs done",
    "failed": "Failures that workers reported, or whose time was over",
    "lost": "Leases that ended because their worker was gone",
}
STATES = ("ready", "scheduled", "retries", "leased", "dead")


class Figures:
    """Counted by the broker, and put into the registry when somebody asks."""

    def __init__(self, broker: Broker, metrics: Metrics):
        self._broker = broker
        self._counters = {name: metrics.counter(f"{PREFIX}_{name}_jobs", text) for name, text in COUNTERS.items()}
        self._told = dict.fromkeys(COUNTERS, 0)
        self._states = {
            state: metrics.gauge(f"{PREFIX}_jobs", "Jobs there are, by what they wait for", state=state)
            for state in STATES
        }
        self._workers = metrics.gauge(f"{PREFIX}_workers", "Workers that are known to live")
        self._read_only = metrics.gauge(f"{PREFIX}_store_read_only", "1 when the store failed: nothing can be written")

    def publish(self, now: int, failed: bool) -> None:
        broker = self._broker
        for name, counter in self._counters.items():
            value = getattr(broker, name)
            counter.inc(value - self._told[name])
            self._told[name] = value
        for state, number in broker.counts(now).items():
            self._states[state].set(number)
        self._workers.set(len(broker.workers.by_wid))
        self._read_only.set(int(failed))
