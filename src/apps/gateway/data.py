"""The data plane of one worker: the proxy engine on the worker's reactor, set up from the settings and following them.

`DataPlane` is what FastcoreWorker starts, drains and stops (fastcore.worker.Service); to the control plane it is the
view of everything that runs. Requests never pass through this file: Python looks in once a second to publish figures.
"""

import logging
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gevent

from apps.gateway.auth import AuthService
from apps.gateway.caching import open_cache, purge, statistics
from apps.gateway.compiled import Turn, no_turn
from apps.gateway.config_model import Gateway
from apps.gateway.figures import Figures
from apps.gateway.health import engine_health
from apps.gateway.hooks import HookRunner
from apps.gateway.limits import RouteLimits
from apps.gateway.routing import Parts, RouteMaker, plain_routes, router_of
from apps.gateway.statsd_push import StatsdPush
from apps.gateway.tls import ServerSide
from apps.gateway.tracing import Tracer
from apps.gateway.upstream_set import UpstreamSet
from apps.threads import in_thread
from fastcore.metrics import Metrics
from fastcore.proxy import Http2, Proxy
from fastcore.reactor import Reactor
from fastcore.sharedcache import SharedCache
from fastcore.shm import Region, RegionError
from fastcore.worker import FastcoreWorker

if TYPE_CHECKING:
    from apps.gateway.quota_keeper import QuotaKeeper

log = logging.getLogger("fastcore.gateway")

PREFIX = "fastcore_gateway"
PUBLISH_SECONDS = 1.0
NAMES_SECONDS = 5.0  # that new settings wait for names of new targets to be found


class DataPlane:
    """One worker's proxy. Started by the worker after fork; knows nothing of gunicorn but its `Service` interface."""

    def __init__(self, settings: Gateway):
        self.settings = settings
        self.started = time.time()
        self.auth: AuthService | None = None
        self.cache: SharedCache | None = None
        self._hooks: HookRunner | None = None
        self._quotas: QuotaKeeper | None = None
        self._tls: ServerSide | None = None
        self._tracer: Tracer | None = None
        self._statsd: StatsdPush | None = None

    # --- fastcore.worker.Service ---

    def start(self, worker: FastcoreWorker, reactor: Reactor, listeners: list[socket.socket]) -> list[socket.socket]:
        """Takes the listeners at the addresses of `listen`. Raises OSError when the access log cannot be opened."""
        settings = self.settings
        assert worker.metrics is not None
        self.metrics_registry: Metrics = worker.metrics
        self._region: Region = worker.region
        self._reactor = reactor
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
            http2=self._http2(),
            compressions=settings.limits.compressions,
        )
        self.proxy.use_metrics(self.metrics_registry, PREFIX)
        if settings.tracing is not None:
            self._tracer = Tracer(settings.tracing, self.proxy, self._region, self.metrics_registry, PREFIX)
        self._shares_health = False
        self._upstreams = UpstreamSet(self.proxy, self.metrics_registry, PREFIX)
        self._routes = RouteMaker()
        self._figures = Figures(self.proxy, self._upstreams, self.metrics_registry, PREFIX)
        self._limits = RouteLimits(settings, self._region, self.metrics_registry, PREFIX)
        self._put_in_force(settings, no_turn)
        if settings.access_log.path != "off":
            self.proxy.open_log(settings.access_log.path)
        taken = [sock for sock in listeners if self._is_ours(sock)]
        if settings.tls.listen:
            self._tls = ServerSide(
                settings.tls, settings.http2.protocols(), self._region, self.metrics_registry, PREFIX
            )
        for number, sock in enumerate(taken):  # in the order of `bind`
            self.proxy.listen(sock, self._tls.context if self._tls and number >= len(settings.listen) else None)
        self._publisher = gevent.spawn(self._publish_forever)
        if settings.statsd is not None:
            self._statsd = StatsdPush(settings.statsd, self.metrics_registry)
        return taken

    def follow(self, settings: Gateway, turn: Turn) -> None:
        """Put settings in force that differ from today's in what `config_live` names. Exchanges finish as they began.

        turn: called often while it takes its time, to let others do something. Raises OSError, ValueError, RegionError;
        nothing has changed then.
        """
        before = self.settings
        self._publish()
        self._put_in_force(settings, turn)
        self.settings = settings
        self._figures.forget()
        if self._tls is not None:
            self._tls.follow(settings.tls)
        if settings.access_log.path != before.access_log.path:
            self._move_log(settings.access_log.path)

    def drain(self) -> None:
        self._upstreams.stop_checks()
        self.proxy.drain()

    def drained(self) -> bool:
        return not self.proxy.connections

    def stop(self) -> None:
        self._publisher.kill(block=False)
        self._upstreams.stop()
        if self.auth is not None:
            self.auth.stop()
        if self._hooks is not None:
            self._hooks.stop()
        if self._quotas is not None:
            self._quotas.stop()
        if self._tls is not None:
            self._tls.stop()
        self.proxy.stop()
        if self._tracer is not None:
            self._tracer.stop()
        if self._statsd is not None:
            self._statsd.stop()
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
        for member in self._upstreams:
            if not member.engine.endpoints():
                names = ", ".join(member.resolver.unresolved)
                detail = "; ".join(member.resolver.errors.values()) or "looking it up"
                reasons.append(f"upstream {member.engine.name} has no address yet: {names} ({detail})")
            if member.checker and (unknown := member.checker.unknown()):
                reasons.append(f"upstream {member.engine.name}: not checked yet: {', '.join(unknown)}")
        return reasons

    def status(self) -> dict[str, Any]:
        return {
            "workers": [self._figures.worker()],
            "connections": self._figures.gauges["connections"].value,
            "active_requests": self._figures.gauges["active_requests"].value,
        }

    def routes(self) -> list[dict[str, Any]]:
        return plain_routes(self.settings)

    def upstreams(self) -> list[dict[str, Any]]:
        return [
            {
                "name": member.engine.name,
                "balance": member.engine.balance,
                "waiting": member.engine.waiting,
                **{key: value for key, value in member.engine.health().items() if key in ("breaker", "checks_by")},
                **({"adaptive": adaptive} if (adaptive := member.engine.adaptive()) else {}),
                "targets": [
                    self._figures.target(member.engine.name, endpoint) for endpoint in member.engine.endpoints()
                ],
            }
            for member in self._upstreams
        ]

    def limits(self) -> dict[str, Any]:
        return {**self._limits.view(), **({"redis": self._quotas.view} if self._quotas else {})}

    def reset_limit(self, name: str, key: Mapping[str, str]) -> bool:
        """Raises OSError when the limit is shared and Redis cannot be asked; it has been reset here then."""
        had_used, shared = self._limits.reset(name, key), self._limits.shared_key(name, key)
        if shared is None or self._quotas is None:
            return had_used
        return self._quotas.forget(*shared) or had_used

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

    def _put_in_force(self, settings: Gateway, turn: Turn) -> None:
        """Everything new is made first; what can fail comes before what cannot."""
        if any(map(engine_health, settings.upstreams.values())):
            self._share_health()
        if self.cache is None and (cache := open_cache(settings, self._region, turn)) is not None:
            self.cache = cache
            self.proxy.use_cache(cache)
        limits = self._limits.followed(settings)
        if limits.shared:
            self._keep_quotas(settings)
        if settings.auth.providers or self.auth:
            self._follow_auth(settings)
        members = self._upstreams.prepare(settings, turn)
        try:
            if turn is not no_turn:  # at the start there is nothing to serve meanwhile: /readyz says who is missing
                self._upstreams.await_names(members, NAMES_SECONDS)
            router = in_thread(router_of(settings, turn).build)
            made = self._routes.make(
                settings,
                Parts(
                    lambda name: members[name].engine,
                    self.auth.route if self.auth else None,
                    lambda route: self._hook_runner(settings).route(route),
                ),
                has_cache=self.cache is not None,
                turn=turn,
            )
            self.proxy.set_routes(
                router,
                made,
                limits.engine,
                claimed=self.auth.claimed if self.auth else (),
                secret_parameters=self.auth.secret_parameters if self.auth else (),
                turn=turn,
            )
        except BaseException:
            self._upstreams.cancel(members)
            if self.auth is not None:
                self.auth.cancel()
            raise
        self._limits = limits
        self._upstreams.commit(members)
        if self.auth is not None:
            self.auth.commit()

    def _share_health(self) -> None:
        if not self._shares_health:
            self._shares_health = True
            try:
                self.proxy.use_region(self._region)
            except RegionError as error:  # of another version, after USR2
                log.error("health: each worker for itself until all have been restarted: %s", error)

    def _keep_quotas(self, settings: Gateway) -> None:
        """Made for the first limit that machines share; it stays for the worker's life."""
        if self._quotas is None:
            from apps.gateway.quota_keeper import QuotaKeeper  # needs a package that others need not have

            assert settings.redis is not None
            self._quotas = QuotaKeeper(
                settings.redis, self._reactor, self._region, self.proxy, self.metrics_registry, PREFIX
            )

    def _follow_auth(self, settings: Gateway) -> None:
        if self.auth is not None:
            self.auth.follow(settings)
        else:
            self.auth = AuthService(settings, self._region, self.metrics_registry, PREFIX)
            self.auth.start(self._reactor, self.proxy)

    def _hook_runner(self, settings: Gateway) -> HookRunner:
        """Made for the first route with a function; it stays for the worker's life."""
        if self._hooks is None:
            self._hooks = HookRunner(settings.hooks, self._reactor, self.proxy, self.metrics_registry, PREFIX)
        return self._hooks

    def _move_log(self, path: str) -> None:
        if path == "off":
            self.proxy.close_log()
            return
        try:
            self.proxy.open_log(path)
        except OSError as error:  # it could be opened when the settings were checked
            log.error("access log: %s: %s; the old file stays in use", path, error.strerror)

    def _http2(self) -> Http2 | None:
        s = self.settings.http2
        if not s.enabled:
            return None
        return Http2(s.streams, s.stream_window, s.connection_window, s.control_burst, s.control_rate)

    def _is_ours(self, sock: socket.socket) -> bool:
        """Everything but the control plane's listener: the data plane's addresses may be wildcards or port 0."""
        control = self.settings.control
        name = sock.getsockname()
        if control.path:
            return bool(name != control.path)
        return isinstance(name, str) or tuple(name[:2]) != (control.host, control.port)

    def _publish_forever(self) -> None:
        while True:
            gevent.sleep(PUBLISH_SECONDS)
            self._limits.reclaim()
            self._upstreams.touch()
            self.proxy.sweep()
            self._publish()
            self._figures.report(self.settings)

    def _publish(self) -> None:
        """What the engine counts goes into this worker's row."""
        self._limits.publish()
        if self._tls is not None:
            self._tls.publish()
        self._figures.publish()
