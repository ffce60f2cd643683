"""Watched upstreams: what the engine is told about them, the checks of their targets, and what is written about both.

Every worker with the same upstream asks for its lead, and the one that has it makes the checks; results are shared
memory's. A leader that dies is missed within a second, one that is stopped within FC_HEALTH_LEAD_MS.
"""

import logging
import random
import time
from collections.abc import Callable

import gevent

from apps.gateway import config_health as model
from apps.gateway.config_model import Upstream as UpstreamModel
from apps.gateway.health_look import CheckFailed, look
from apps.gateway.tls import Client
from fastcore.proxy import Endpoint, Upstream
from fastcore.resilience import Breaker, Health, Outlier, RetryBudget

log = logging.getLogger("fastcore.gateway")

LEAD_SECONDS = 1.0  # how often the lead is asked for and renewed; it lasts three times as long


def engine_health(upstream: UpstreamModel) -> Health | None:
    """What the engine is to watch; None when the settings ask for nothing of it."""
    check, budget, outlier = upstream.health_check, upstream.retries.budget, upstream.outlier
    if not (check or budget or outlier or upstream.breaker or upstream.target_breaker):
        return None
    return Health(
        healthy=check.healthy if check else 0,
        unhealthy=check.unhealthy if check else 0,
        outlier=_outlier(outlier) if outlier else None,
        breaker=_breaker(upstream.breaker) if upstream.breaker else None,
        target_breaker=_breaker(upstream.target_breaker) if upstream.target_breaker else None,
        budget=RetryBudget(budget.percent, budget.per_second, budget.burst) if budget else None,
        failures=model.numbers(upstream.failure_statuses),
        panic_percent=upstream.panic_percent,
        slow_start=upstream.slow_start / 1000,
    )


def _outlier(outlier: model.Outlier) -> Outlier:
    return Outlier(
        failures=outlier.failures,
        percent=outlier.percent,
        volume=outlier.min_requests,
        interval=outlier.interval / 1000,
        ejection=outlier.ejection / 1000,
        ejection_max=outlier.max_ejection / 1000,
        max_percent=outlier.max_percent,
    )


def _breaker(breaker: model.Breaker) -> Breaker:
    return Breaker(
        failures=breaker.failures,
        percent=breaker.percent,
        volume=breaker.min_requests,
        window=breaker.window / 1000,
        open=breaker.open / 1000,
        trials=breaker.trials,
        trial_timeout=breaker.trial_timeout / 1000,
    )


class Checker:
    """Makes the checks of one upstream while this worker leads. count is called with a target's name and the result."""

    def __init__(
        self,
        upstream: Upstream,
        check: model.HealthCheck,
        count: Callable[[str, bool], None],
        tls: Client | None = None,
        http2: bool = False,
    ):
        self._upstream = upstream
        self._tls, self._http2 = tls, http2
        self._check = check
        self._count = count
        self._targets: dict[str, Endpoint] = {}
        self._due: dict[str, float] = {}
        self._loop: gevent.Greenlet[[], None] | None = None
        self._looks: dict[str, gevent.Greenlet[..., None]] = {}

    def set_targets(self, endpoints: list[Endpoint]) -> None:
        self._targets = {endpoint.name(): endpoint for endpoint in endpoints}
        self._due = {name: due for name, due in self._due.items() if name in self._targets}

    def start(self) -> None:
        self._loop = gevent.spawn(self._run)

    def stop(self) -> None:
        """Another worker may lead at once."""
        for greenlet in (self._loop, *self._looks.values()):
            if greenlet is not None:
                greenlet.kill(block=False)
        self._upstream.resign()

    def unknown(self) -> list[str]:
        """Targets nobody has looked at yet."""
        return [view["address"] for view in self._upstream.endpoints() if view["check"] == "unknown"]

    def _run(self) -> None:
        while True:
            pause = LEAD_SECONDS
            if self._upstream.lead():
                pause = self._round()
            else:
                self._due.clear()
            gevent.sleep(pause)

    def _round(self) -> float:
        """Start the checks that are due; seconds until the next one is."""
        now = time.monotonic()
        nearest = now + LEAD_SECONDS
        for name in self._targets:
            due = self._due.get(name, now)
            if due <= now:
                if name not in self._looks:
                    self._looks[name] = gevent.spawn(self._look, name)
                # All are asked at once when they are new, and must not be so for ever.
                least, most = (0.9, 1.1) if name in self._due else (0.1, 1.1)
                due = now + self._check.interval / 1000 * random.uniform(least, most)  # noqa: S311
                self._due[name] = due
            nearest = min(nearest, due)
        return max(0.001, nearest - now)

    def _look(self, name: str) -> None:
        endpoint, reason = self._targets[name], ""
        try:
            look(endpoint, self._check, self._tls, self._http2)
        except CheckFailed as error:
            reason = str(error)
        finally:
            self._looks.pop(name, None)
        before = next((view["check"] for view in self._upstream.endpoints() if view["address"] == name), None)
        after = self._upstream.probed(name, not reason)
        self._count(name, not reason)
        if after == "unhealthy" and before != after:
            log.warning("upstream %s: %s is unhealthy: %s", self._upstream.name, name, reason)
        elif before == "unhealthy" and before != after:
            log.warning("upstream %s: %s is healthy again", self._upstream.name, name)


class Reporter:
    """Says what this worker did to an upstream and its targets, and when that is over. Every ejection and every opening
    is one worker's, so each is told once."""

    def __init__(self, upstream: Upstream):
        self._upstream = upstream
        self._counts: dict[tuple[str, str], int] = {}
        self._out: set[tuple[str, str]] = set()

    def report(self) -> None:
        own = self._upstream.health()
        if "breaker" in own:
            self._one("", "opened", own["opened"], own["breaker"] == "closed")
        for view in self._upstream.endpoints():
            target = view["address"]
            if "ejected_for" in view:
                seconds = view["ejected_for"]
                self._one(target, "ejections", view["ejections"], seconds == 0, seconds)
            if "breaker" in view:
                self._one(target, "opened", view["opened"], view["breaker"] == "closed")

    def _one(self, target: str, what: str, count: int, over: bool, seconds: float = 0.0) -> None:
        key = (target, what)
        where = f"upstream {self._upstream.name}" + (f": {target}" if target else "")
        if count > self._counts.get(key, 0):
            self._out.add(key)
            if what == "opened":
                log.warning("%s: breaker opened", where)
            else:
                log.warning("%s: ejected for %.1f s", where, seconds)
        elif over and key in self._out:
            self._out.discard(key)
            log.warning("%s: %s", where, "breaker closed" if what == "opened" else "in use again")
        self._counts[key] = count
