"""The data plane of one worker: the proxy engine on the worker's reactor, set up from the settings.

`DataPlane` is what FastcoreWorker starts, drains and stops (fastcore.worker.Service); to the control plane it is the
view of everything that runs. Requests never pass through this file: Python looks in once a second to publish figures.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import gevent

from apps.gateway.auth import AuthService
from apps.gateway.caching import open_cache, purge, statistics
from apps.gateway.config_model import Gateway
from apps.gateway.config_model import Upstream as UpstreamModel
from apps.gateway.health import Checker, Reporter, engine_health
from apps.gateway.limits import RouteLimits
from apps.gateway.resolver import Resolver
from apps.gateway.routing import build_router, engine_routes, plain_routes
from apps.gateway.tls import Client, ServerSide
from apps.settings import Loaded
from fastcore import __version__
from fastcore.metrics import Counter, Gauge, Metrics
from fastcore.proxy import Endpoint, Proxy, Upstream
from fastcore.reactor import Reactor
from fastcore.sharedcache import SharedCache
from fastcore.shm import RegionError
from fastcore.worker import FastcoreWorker

log = logging.getLogger("fastcore.gateway")

PREFIX = "fastcore_gateway"
PUBLISH_SECONDS = 1.0

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


class DataPlane:
    """One worker's proxy. Started by the worker after fork; knows nothing of gunicorn but its `Service` interface."""

    def __init__(self, loaded: Loaded[Gateway]):
        assert loaded.settings is not None
        self.loaded = loaded
        self.settings = loaded.settings
        self.started = time.time()
        self._resolvers: list[Resolver] = []
        self._checkers: dict[str, Checker] = {}
        self._reporters: list[Reporter] = []
        self.auth: AuthService | None = None
        self.cache: SharedCache | None = None
        self._published: dict[tuple[str, str, str], int] = {}
        self._tls: ServerSide | None = None
        self._accept_errno = 0
        self._log_failed = False

    # --- fastcore.worker.Service ---

    def start(self, worker: FastcoreWorker, reactor: Reactor, listeners: list[socket.socket]) -> list[socket.socket]:
        """Takes the listeners at the addresses of `listen`. Raises OSError when the access log cannot be opened."""
        settings = self.settings
        assert worker.metrics is not None
        self.metrics_registry: Metrics = worker.metrics
        self.proxy = Proxy(
            reactor,
            name=settings.server_name,
            trusted=settings.trusted_proxies,
            x_forwarded=settings.forwarded.x_forwarded,
            forwarded=settings.forwarded.forwarded,
            log_sample=settings.access_log.sample,
            log_subject=settings.access_log.subject,
            header_bytes=settings.limits.header_bytes,
            headers=settings.limits.headers,
            url_bytes=settings.limits.url_bytes,
            body_bytes=0,  # each route has its own bound, which may be above the general one
            requests_per_connection=settings.limits.requests_per_connection,
            connections=settings.limits.connections,
            buffer_bytes=settings.limits.buffer_bytes,
            header_timeout=settings.timeouts.header / 1000,
            idle_timeout=settings.timeouts.idle / 1000,
            body_timeout=settings.timeouts.body / 1000,
            write_timeout=settings.timeouts.write / 1000,
        )
        self.proxy.use_metrics(self.metrics_registry, PREFIX)
        if any(map(engine_health, settings.upstreams.values())):
            try:
                self.proxy.use_region(worker.region)
            except RegionError as error:  # of another version, after USR2
                log.error("health: each worker for itself until all have been restarted: %s", error)
        self._upstreams = {name: self._make_upstream(name) for name in settings.upstreams}
        self.cache = open_cache(settings, worker.region)
        if self.cache is not None:
            self.proxy.use_cache(self.cache)
        self._limits = RouteLimits(settings, worker.region, self.metrics_registry, PREFIX)
        if settings.auth.providers:
            self.auth = AuthService(settings, worker.region, self.metrics_registry, PREFIX)
            self.auth.start(reactor, self.proxy)
        self.proxy.set_routes(
            build_router(settings),
            engine_routes(
                settings,
                self._upstreams.__getitem__,
                self.auth.route if self.auth else None,
                has_cache=self.cache is not None,
            ),
            self._limits.engine,
            claimed=self.auth.claimed if self.auth else (),
            secret_parameters=self.auth.secret_parameters if self.auth else (),
        )
        if settings.access_log.path != "off":
            self.proxy.open_log(settings.access_log.path)
        self._gauges = {
            name: self.metrics_registry.gauge(f"{PREFIX}_{name}", text)
            for name, text in (
                ("connections", "Open client connections"),
                ("idle_connections", "Client connections without a request"),
                ("active_requests", "Exchanges under way"),
                ("waiting_requests", "Requests that wait for a connection to an endpoint"),
                ("log_failing", "Workers whose last write to the access log failed"),
                ("accept_failing", "Workers that cannot accept connections (out of file descriptors)"),
            )
        }
        self.metrics_registry.gauge("fastcore_build_info", "Workers by version of fastcore", version=__version__).set(1)
        self._lost = self.metrics_registry.counter(f"{PREFIX}_log_lost", "Access log lines lost to a failing disk")
        taken = [sock for sock in listeners if self._is_ours(sock)]
        if settings.tls.listen:
            self._tls = ServerSide(settings.tls, worker.region, self.metrics_registry, PREFIX)
        for number, sock in enumerate(taken):  # in the order of `bind`
            self.proxy.listen(sock, self._tls.context if self._tls and number >= len(settings.listen) else None)
        self._publisher = gevent.spawn(self._publish_forever)
        return taken

    def drain(self) -> None:
        for checker in self._checkers.values():
            checker.stop()
        self.proxy.drain()

    def drained(self) -> bool:
        return not self.proxy.connections

    def stop(self) -> None:
        self._publisher.kill(block=False)
        for resolver in self._resolvers:
            resolver.stop()
        for checker in self._checkers.values():
            checker.stop()
        if self.auth is not None:
            self.auth.stop()
        if self._tls is not None:
            self._tls.stop()
        self.proxy.stop()
        self._publish()
        self.proxy.close_log()

    def reopen_logs(self) -> None:
        try:
            self.proxy.reopen_log()
        except OSError as error:
            log.error("access log: %s: %s; the old file stays in use", self.settings.access_log.path, error.strerror)

    # --- the control plane's view ---

    def not_ready(self) -> list[str]:
        reasons = ["draining: this worker takes no new connections"] if self.proxy.draining else []
        for resolver in self._resolvers:
            if not self._upstreams[resolver.name].endpoints():
                names = ", ".join(resolver.unresolved)
                detail = "; ".join(resolver.errors.values()) or "looking it up"
                reasons.append(f"upstream {resolver.name} has no address yet: {names} ({detail})")
        for name, checker in self._checkers.items():
            if unknown := checker.unknown():
                reasons.append(f"upstream {name}: not checked yet: {', '.join(unknown)}")
        return reasons

    def status(self) -> dict[str, Any]:
        stats = self.proxy.stats()
        worker = {
            "pid": os.getpid(),
            "draining": self.proxy.draining,
            "connections": stats["open"],
            "requests": stats["requests"],
            "accept_error": errno.errorcode.get(stats["accept_errno"], ""),
            "access_log": self.proxy.log_stats(),
        }
        return {
            "workers": [worker],
            "connections": self._gauges["connections"].value,
            "active_requests": self._gauges["active_requests"].value,
        }

    def routes(self) -> list[dict[str, Any]]:
        return plain_routes(self.settings)

    def upstreams(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "balance": upstream.balance,
                "waiting": upstream.waiting,
                **{key: value for key, value in upstream.health().items() if key in ("breaker", "checks_by")},
                "targets": [self._target(name, endpoint) for endpoint in upstream.endpoints()],
            }
            for name, upstream in self._upstreams.items()
        ]

    def limits(self) -> dict[str, Any]:
        return self._limits.view()

    def reset_limit(self, name: str, key: Mapping[str, str]) -> bool:
        return self._limits.reset(name, key)

    def cache_statistics(self) -> dict[str, Any] | None:
        return statistics(self.cache) if self.cache is not None else None

    def purge_cache(self, what: dict[str, str], soft: bool) -> bool:
        if self.cache is not None:
            purge(self.cache, **what, soft=soft)
        return self.cache is not None

    def auth_providers(self) -> list[dict[str, Any]]:
        return self.auth.status() if self.auth else []

    def revoke(self, what: dict[str, str], seconds: float | None) -> float | None:
        return self.auth.revoke(**what, seconds=seconds) if self.auth else None

    def metrics(self, openmetrics: bool) -> bytes:
        self._publish()
        return self.metrics_registry.openmetrics() if openmetrics else self.metrics_registry.prometheus()

    # --- inside ---

    def _make_upstream(self, name: str) -> Upstream:
        model = self.settings.upstreams[name]
        timeouts = self.settings.timeouts
        connect = timeouts.connect if model.connect_timeout is None else model.connect_timeout
        upstream = self.proxy.upstream(
            name,
            balance=model.balance,
            keepalive=model.keepalive,
            connections=model.max_connections,
            pending=model.max_pending,
            connect_timeout=connect / 1000,
            idle_timeout=timeouts.upstream_idle / 1000,
            buffer_bytes=self.settings.limits.buffer_bytes,
            health=engine_health(model),
            tls=model.tls.context() if model.tls else None,
        )
        if upstream.watched:
            self._reporters.append(Reporter(upstream))
        checker = self._make_checker(upstream, model) if model.health_check else None

        def apply(endpoints: list[Endpoint]) -> None:
            upstream.set_endpoints(endpoints)
            if checker:
                checker.set_targets(endpoints)

        resolver = Resolver(name, model, apply)
        resolver.start()
        if checker:
            checker.start()
        self._resolvers.append(resolver)
        return upstream

    def _make_checker(self, upstream: Upstream, model: UpstreamModel) -> Checker:
        def count(target: str, passed: bool) -> None:
            self.metrics_registry.counter(
                f"{PREFIX}_health_checks",
                "Checks of an endpoint by result",
                upstream=upstream.name,
                endpoint=target,
                result="passed" if passed else "failed",
            ).inc()

        assert model.health_check is not None
        checker = self._checkers[upstream.name] = Checker(
            upstream, model.health_check, count, Client(model.tls) if model.tls else None
        )
        return checker

    def _is_ours(self, sock: socket.socket) -> bool:
        """Everything but the control plane's listener: the data plane's addresses may be wildcards or port 0."""
        control = self.settings.control
        name = sock.getsockname()
        if control.path:
            return bool(name != control.path)
        return isinstance(name, str) or tuple(name[:2]) != (control.host, control.port)

    def _target(self, upstream: str, endpoint: dict[str, Any]) -> dict[str, Any]:
        address = endpoint["address"]
        labels = {"upstream": upstream, "endpoint": address}
        summed = {key: self._instrument(key, labels).value for key in (*ENDPOINT_COUNTERS, *ENDPOINT_GAUGES)}
        return {
            "address": address,
            "weight": endpoint["weight"],
            "health": "up" if endpoint["up"] and not any(_states(endpoint).values()) else "down",
            **{key: endpoint[key] for key in ("check", "ejected_for", "breaker") if key in endpoint},
            "connections": summed["open"],
            **{key: summed[key] for key in ("in_use", *ENDPOINT_COUNTERS)},
        }

    def _instrument(self, key: str, labels: dict[str, str]) -> Counter | Gauge:
        if key in ENDPOINT_COUNTERS:
            return self.metrics_registry.counter(f"{PREFIX}_endpoint_{key}", ENDPOINT_COUNTERS[key], **labels)
        return self.metrics_registry.gauge(f"{PREFIX}_endpoint_{key}", ENDPOINT_GAUGES[key], **labels)

    def _publish_forever(self) -> None:
        while True:
            gevent.sleep(PUBLISH_SECONDS)
            self._limits.reclaim()
            for upstream in self._upstreams.values():
                upstream.touch()
            self._publish()
            self._report()

    def _publish(self) -> None:
        """What the engine counts goes into this worker's row: gauges as they stand, counters by what came."""
        self._limits.publish()
        if self._tls is not None:
            self._tls.publish()
        stats = self.proxy.stats()
        lines = self.proxy.log_stats()
        gauges = {
            "connections": stats["open"],
            "idle_connections": stats["idle"],
            "active_requests": self.proxy.active,
            "waiting_requests": sum(upstream.waiting for upstream in self._upstreams.values()),
            "log_failing": int(bool(lines and lines["last_errno"])),
            "accept_failing": int(bool(stats["accept_errno"])),
        }
        for name, value in gauges.items():
            self._gauges[name].set(value)
        if lines:
            self._lost.inc(self._since(("log", "", "lost"), lines["dropped_error"]))
        for name, upstream in self._upstreams.items():
            for endpoint in upstream.endpoints():
                labels = {"upstream": name, "endpoint": endpoint["address"]}
                for key in ENDPOINT_COUNTERS:
                    counter = self.metrics_registry.counter(
                        f"{PREFIX}_endpoint_{key}", ENDPOINT_COUNTERS[key], **labels
                    )
                    counter.inc(self._since((name, endpoint["address"], key), endpoint[key]))
                for key in ENDPOINT_GAUGES:
                    gauge = self.metrics_registry.gauge(f"{PREFIX}_endpoint_{key}", ENDPOINT_GAUGES[key], **labels)
                    gauge.set(int(endpoint[key]))
            if upstream.watched:
                self._publish_watched(name, upstream)

    def _publish_watched(self, name: str, upstream: Upstream) -> None:
        metrics, leads = self.metrics_registry, self.metrics_registry.leads()
        own = upstream.health()
        for key, text in UPSTREAM_COUNTERS.items():
            counter = metrics.counter(f"{PREFIX}_upstream_{key}", text, upstream=name)
            counter.inc(self._since((name, "", key), own[key]))
        if "breaker" in own:
            gauge = metrics.gauge(
                f"{PREFIX}_upstream_breaker_open", "1 while the upstream's breaker is not closed", upstream=name
            )
            gauge.set(int(leads and own["breaker"] != "closed"))
        for endpoint in upstream.endpoints():
            labels = {"upstream": name, "endpoint": endpoint["address"]}
            for key, text in WATCHED_COUNTERS.items():
                counter = metrics.counter(f"{PREFIX}_endpoint_{key}", text, **labels)
                counter.inc(self._since((name, endpoint["address"], key), endpoint[key]))
            for key, state in _states(endpoint).items():
                gauge = metrics.gauge(f"{PREFIX}_endpoint_{key}", WATCHED_GAUGES[key], **labels)
                gauge.set(int(leads and state))

    def _since(self, what: tuple[str, str, str], total: int) -> int:
        """How much a counter of the engine grew since the last look; an endpoint that came back starts at 0 again."""
        before = self._published.get(what, 0)
        self._published[what] = total
        return total - before if total >= before else total

    def _report(self) -> None:
        """Say it once when something begins or ceases to fail."""
        for reporter in self._reporters:
            reporter.report()
        number = self.proxy.stats()["accept_errno"]
        if number != self._accept_errno:
            self._accept_errno = number
            if number:
                log.error("cannot accept connections: %s; clients wait in the kernel's queue", os.strerror(number))
            else:
                log.warning("accepting connections again")
        lines = self.proxy.log_stats()
        failing = bool(lines and lines["last_errno"])
        if failing != self._log_failed:
            self._log_failed = failing
            path = self.settings.access_log.path
            if failing and lines:
                log.error("access log %s: %s; lines are lost", path, os.strerror(lines["last_errno"]))
            else:
                log.warning("access log %s: writing again", path)


def _states(endpoint: dict[str, Any]) -> dict[str, bool]:
    """What keeps an endpoint from being used, as far as it is watched."""
    return {
        "unhealthy": endpoint.get("check") == "unhealthy",
        "ejected": endpoint.get("ejected_for", 0) > 0,
        "breaker_open": endpoint.get("breaker", "closed") != "closed",
    }
