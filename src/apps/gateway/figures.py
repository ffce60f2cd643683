"""What one worker's engine counts, put into the metrics that all workers share, and said once when something fails."""

import errno
import logging
import os
from typing import Any

from apps.gateway.config_model import Gateway
from apps.gateway.upstream_set import UpstreamSet
from fastcore import __version__
from fastcore.metrics import Counter, Gauge, Metrics
from fastcore.proxy import Proxy, Upstream

log = logging.getLogger("fastcore.gateway")

#: Figures of an endpoint that go up only, and those that go up and down: key in Upstream.endpoints(), help.
ENDPOINT_COUNTERS = {
    "requests": "Requests sent to an endpoint",
    "connects": "Connections opened to an endpoint",
    "reuses": "Requests sent to an endpoint over a pooled connection",
    "connect_failures": "Connections to an endpoint that could not be made",
}
ENDPOINT_GAUGES = {
    "up": "Workers that use the endpoint and could connect to it when they last tried",
    "open": "Connections to an endpoint",
    "in_use": "Connections to an endpoint with a request on them",
}
#: The same for what is watched (health_check, outlier, breakers). States are everybody's, so one worker tells them.
WATCHED_COUNTERS = {
    "ejections": "Times an endpoint was ejected for its failures",
    "opened": "Times an endpoint's breaker opened",
}
WATCHED_GAUGES = {
    "unhealthy": "1 while an endpoint's checks fail",
    "ejected": "1 while an endpoint is ejected for its failures",
    "breaker_open": "1 while an endpoint's breaker is not closed",
}
UPSTREAM_COUNTERS = {
    "opened": "Times the upstream's breaker opened",
    "stopped": "Requests answered at once because the upstream's breaker was open",
    "denied": "Retries that the budget did not allow",
}
#: Of an adaptive upstream.
ADAPTIVE_GAUGES = {
    "limit": "Requests the upstream can bear at once, as its latency shows",
    "in_flight": "Requests that are at the upstream",
}
GAUGES = {
    "connections": "Open client connections",
    "idle_connections": "Client connections without a request",
    "http2_streams": "Requests of HTTP/2 connections that are open",
    "active_requests": "Exchanges under way",
    "waiting_requests": "Requests that wait for a connection to an endpoint",
    "log_failing": "Workers whose last write to the access log failed",
    "accept_failing": "Workers that cannot accept connections (out of file descriptors)",
}


class Figures:
    """Of one worker. `publish` puts gauges as they stand, and counters by what came since the last time."""

    def __init__(self, proxy: Proxy, upstreams: UpstreamSet, metrics: Metrics, prefix: str):
        self._proxy, self._upstreams = proxy, upstreams
        self._metrics, self._prefix = metrics, prefix
        self._totals: dict[tuple[Upstream | None, str, str], int] = {}
        self._counters: dict[tuple[str, str, str], Counter] = {}
        self._endpoint_gauges: dict[tuple[str, str, str], Gauge] = {}
        self._accept_errno = 0
        self._log_failed = False
        self.gauges = {name: metrics.gauge(f"{prefix}_{name}", text) for name, text in GAUGES.items()}
        metrics.gauge("fastcore_build_info", "Workers by version of fastcore", version=__version__).set(1)
        self._http2 = {
            "http2_sessions": metrics.counter(f"{prefix}_http2_sessions", "Client connections that speak HTTP/2"),
            "http2_failed": metrics.counter(
                f"{prefix}_http2_failures", "Those of them that broke its rules, or a limit on what they may cost"
            ),
        }
        self._lost = metrics.counter(f"{prefix}_log_lost", "Access log lines lost to a failing disk")

    def publish(self) -> None:
        stats = self._proxy.stats()
        lines = self._proxy.log_stats()
        values = {
            "connections": stats["open"],
            "idle_connections": stats["idle"],
            "http2_streams": stats["streams"],
            "active_requests": self._proxy.active,
            "waiting_requests": sum(member.engine.waiting for member in self._upstreams),
            "log_failing": int(bool(lines and lines["last_errno"])),
            "accept_failing": int(bool(stats["accept_errno"])),
        }
        for name, value in values.items():
            self.gauges[name].set(value)
        for name, counter in self._http2.items():
            counter.inc(self._since(None, "http2", name, stats[name]))
        if lines:
            self._lost.inc(self._since(None, "log", "lost", lines["dropped_error"]))
        leads = self._metrics.leads()
        shown: set[tuple[str, str, str]] = set()
        for member in self._upstreams:
            self._publish_upstream(member.engine, leads, shown)
        for gone in self._endpoint_gauges.keys() - shown:
            self._endpoint_gauges.pop(gone).set(0)

    def forget(self) -> None:
        """Upstreams have changed: totals of engines that are no more are not needed."""
        engines = {member.engine for member in self._upstreams}
        self._totals = {key: total for key, total in self._totals.items() if key[0] is None or key[0] in engines}
        names = {engine.name for engine in engines}
        self._counters = {key: counter for key, counter in self._counters.items() if key[0] in names}

    def target(self, upstream: str, endpoint: dict[str, Any]) -> dict[str, Any]:
        """An endpoint as the control plane shows it: sums over all workers but for what only this one knows."""
        labels = {"upstream": upstream, "endpoint": endpoint["address"]}
        summed = {key: self._counter(key, labels).value for key in ENDPOINT_COUNTERS}
        summed |= {key: self._gauge(key, labels).value for key in ENDPOINT_GAUGES}
        return {
            "address": endpoint["address"],
            "weight": endpoint["weight"],
            "health": "up" if endpoint["up"] and not any(_states(endpoint).values()) else "down",
            **{key: endpoint[key] for key in ("check", "ejected_for", "breaker") if key in endpoint},
            "connections": summed["open"],
            **{key: summed[key] for key in ("in_use", *ENDPOINT_COUNTERS)},
        }

    def report(self, settings: Gateway) -> None:
        """Say it once when something begins or ceases to fail."""
        for member in self._upstreams:
            if member.reporter:
                member.reporter.report()
        number = self._proxy.stats()["accept_errno"]
        if number != self._accept_errno:
            self._accept_errno = number
            if number:
                log.error("cannot accept connections: %s; clients wait in the kernel's queue", os.strerror(number))
            else:
                log.warning("accepting connections again")
        lines = self._proxy.log_stats()
        failing = bool(lines and lines["last_errno"])
        if failing != self._log_failed:
            self._log_failed = failing
            path = settings.access_log.path
            if failing and lines:
                log.error("access log %s: %s; lines are lost", path, os.strerror(lines["last_errno"]))
            else:
                log.warning("access log %s: writing again", path)

    def worker(self) -> dict[str, Any]:
        """This worker, as /status shows it."""
        stats = self._proxy.stats()
        return {
            "pid": os.getpid(),
            "draining": self._proxy.draining,
            "connections": stats["open"],
            "requests": stats["requests"],
            "accept_error": errno.errorcode.get(stats["accept_errno"], ""),
            "access_log": self._proxy.log_stats(),
        }

    # --- inside ---

    def _publish_upstream(self, engine: Upstream, leads: bool, shown: set[tuple[str, str, str]]) -> None:
        for endpoint in engine.endpoints():
            labels = {"upstream": engine.name, "endpoint": endpoint["address"]}
            gauges = {key: int(endpoint[key]) for key in ENDPOINT_GAUGES}
            counters = [*ENDPOINT_COUNTERS]
            if engine.watched:
                gauges |= {key: int(leads and state) for key, state in _states(endpoint).items()}
                counters += WATCHED_COUNTERS
            for key in counters:
                counter = self._counter(key, labels)
                counter.inc(self._since(engine, endpoint["address"], key, endpoint[key]))
            for key, value in gauges.items():
                place = (engine.name, endpoint["address"], key)
                shown.add(place)
                if place not in self._endpoint_gauges:
                    self._endpoint_gauges[place] = self._gauge(key, labels)
                self._endpoint_gauges[place].set(value)
        if (adaptive := engine.adaptive()) is not None:
            self._publish_adaptive(engine, adaptive, shown)
        if engine.watched:
            self._publish_watched(engine, leads, shown)

    def _publish_adaptive(self, engine: Upstream, found: dict[str, int], shown: set[tuple[str, str, str]]) -> None:
        counter = self._metrics.counter(
            f"{self._prefix}_upstream_shed",
            "Requests held back because the upstream could bear no more",
            upstream=engine.name,
        )
        counter.inc(self._since(engine, "", "shed", found["shed"]))
        for key, text in ADAPTIVE_GAUGES.items():
            place = (engine.name, "", key)
            shown.add(place)
            gauge = self._endpoint_gauges[place] = self._metrics.gauge(
                f"{self._prefix}_upstream_{key}", text, upstream=engine.name
            )
            gauge.set(found[key])

    def _publish_watched(self, engine: Upstream, leads: bool, shown: set[tuple[str, str, str]]) -> None:
        own = engine.health()
        for key, text in UPSTREAM_COUNTERS.items():
            counter = self._metrics.counter(f"{self._prefix}_upstream_{key}", text, upstream=engine.name)
            counter.inc(self._since(engine, "", key, own[key]))
        if "breaker" in own:
            place = (engine.name, "", "breaker_open")
            shown.add(place)
            gauge = self._endpoint_gauges[place] = self._metrics.gauge(
                f"{self._prefix}_upstream_breaker_open",
                "1 while the upstream's breaker is not closed",
                upstream=engine.name,
            )
            gauge.set(int(leads and own["breaker"] != "closed"))

    def _counter(self, key: str, labels: dict[str, str]) -> Counter:
        place = (labels["upstream"], labels["endpoint"], key)
        if place not in self._counters:
            text = ENDPOINT_COUNTERS.get(key) or WATCHED_COUNTERS[key]
            self._counters[place] = self._metrics.counter(f"{self._prefix}_endpoint_{key}", text, **labels)
        return self._counters[place]

    def _gauge(self, key: str, labels: dict[str, str]) -> Gauge:
        text = ENDPOINT_GAUGES.get(key) or WATCHED_GAUGES[key]
        return self._metrics.gauge(f"{self._prefix}_endpoint_{key}", text, **labels)

    def _since(self, engine: Upstream | None, address: str, key: str, total: int) -> int:
        """How much a counter of the engine grew since the last look; an endpoint that came back starts at 0 again."""
        place = (engine, address, key)
        before = self._totals.get(place, 0)
        self._totals[place] = total
        return total - before if total >= before else total


def _states(endpoint: dict[str, Any]) -> dict[str, bool]:
    """What keeps an endpoint from being used, as far as it is watched."""
    return {
        "unhealthy": endpoint.get("check") == "unhealthy",
        "ejected": endpoint.get("ejected_for", 0) > 0,
        "breaker_open": endpoint.get("breaker", "closed") != "closed",
    }
