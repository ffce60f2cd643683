"""The upstreams of one worker: made from the settings, followed as names and health go, and exchanged while they serve.

An upstream whose settings did not change stays the object it is, with its pools, breakers and what it knows of its
targets. One of which only the targets changed stays as well, and keeps its connections to those that are left. Any
other is made anew beside the old one, which ends with the last exchange that is on it.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import gevent

from apps.gateway.compiled import Turn
from apps.gateway.config_model import Gateway
from apps.gateway.config_model import Upstream as UpstreamModel
from apps.gateway.health import Checker, Reporter, engine_health
from apps.gateway.resolver import Resolver
from apps.gateway.tls import Client
from fastcore.metrics import Metrics
from fastcore.proxy import Endpoint, Proxy, Upstream

FOLLOWED = ("targets", "resolve_every")  # what a resolver follows; everything else is the upstream's own


@dataclass(slots=True)
class Member:
    """One upstream and who looks after it."""

    model: UpstreamModel
    general: tuple[int, ...]
    engine: Upstream
    resolver: Resolver
    checker: Checker | None
    reporter: Reporter | None

    def stop(self) -> None:
        self.resolver.stop()
        if self.checker:
            self.checker.stop()


class UpstreamSet:
    """Of one worker. `prepare` and `commit` are a change: between them the new engines are there, and the old ones
    still serve."""

    def __init__(self, proxy: Proxy, metrics: Metrics, prefix: str):
        self._proxy, self._metrics, self._prefix = proxy, metrics, prefix
        self._members: dict[str, Member] = {}
        self._leaving: weakref.WeakSet[Upstream] = weakref.WeakSet()  # exchanges may still be on them

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def engine(self, name: str) -> Upstream:
        return self._members[name].engine

    def prepare(self, settings: Gateway, turn: Turn) -> dict[str, Member]:
        """The members under these settings. Those that are new look for their targets already."""
        members = {}
        for name, model in settings.upstreams.items():
            members[name] = self._member(settings, name, model)
            turn()
        return members

    def await_names(self, prepared: Mapping[str, Member], seconds: float) -> None:
        """Until the names of all new ones have been asked for: nobody is to meet an upstream without targets only
        because its settings are new."""
        kept = {id(member.engine) for member in self}
        gevent.wait([m.resolver.settled for m in prepared.values() if id(m.engine) not in kept], timeout=seconds)

    def commit(self, prepared: dict[str, Member]) -> None:
        """They are in force: what is no more ends."""
        before, self._members = self._members, prepared
        resolvers = {id(member.resolver) for member in prepared.values()}
        for name, member in before.items():
            now = prepared.get(name)
            if now is None or now.engine is not member.engine:
                member.stop()
                self._leaving.add(member.engine)
            elif id(member.resolver) not in resolvers:
                member.resolver.stop()
                now.resolver.start()  # targets change when the routes do, not before

    def cancel(self, prepared: Mapping[str, Member]) -> None:
        """They will not be: what was made for them ends."""
        kept = {id(member.engine) for member in self}
        for member in prepared.values():
            if id(member.engine) not in kept:
                member.stop()

    def touch(self) -> None:
        """What they share with other workers stays in use."""
        for engine in (*(member.engine for member in self), *self._leaving):
            engine.touch()

    def stop_checks(self) -> None:
        for member in self:
            if member.checker:
                member.checker.stop()

    def stop(self) -> None:
        for member in self:
            member.stop()

    # --- inside ---

    def _member(self, settings: Gateway, name: str, model: UpstreamModel) -> Member:
        timeouts = settings.timeouts
        connect = timeouts.connect if model.connect_timeout is None else model.connect_timeout
        general = (connect, timeouts.upstream_idle, settings.limits.buffer_bytes)
        old = self._members.get(name)
        if old is not None and old.general == general and old.model == model:
            return old
        if old is not None and old.general == general and _own(old.model) == _own(model):
            resolver = Resolver(name, model, self._applier(old.engine, old.checker), known=old.resolver.known)
            return Member(model, general, old.engine, resolver, old.checker, old.reporter)
        engine = self._proxy.upstream(
            name,
            balance=model.balance,
            keepalive=model.keepalive,
            connections=model.max_connections,
            pending=model.max_pending,
            connect_timeout=connect / 1000,
            idle_timeout=timeouts.upstream_idle / 1000,
            buffer_bytes=settings.limits.buffer_bytes,
            health=engine_health(model),
            tls=model.tls.context(model.http2) if model.tls else None,
            http2=model.http2,
            adaptive=model.adaptive.engine() if model.adaptive else None,
        )
        checker = self._checker(engine, model) if model.health_check else None
        resolver = Resolver(name, model, self._applier(engine, checker), known=old.resolver.known if old else None)
        resolver.start()
        if checker:
            checker.start()
        return Member(model, general, engine, resolver, checker, Reporter(engine) if engine.watched else None)

    def _applier(self, engine: Upstream, checker: Checker | None) -> Callable[[list[Endpoint]], None]:
        def apply(endpoints: list[Endpoint]) -> None:
            engine.set_endpoints(endpoints)
            if checker:
                checker.set_targets(endpoints)

        return apply

    def _checker(self, engine: Upstream, model: UpstreamModel) -> Checker:
        def count(target: str, passed: bool) -> None:
            self._metrics.counter(
                f"{self._prefix}_health_checks",
                "Checks of an endpoint by result",
                upstream=engine.name,
                endpoint=target,
                result="passed" if passed else "failed",
            ).inc()

        assert model.health_check is not None
        tls = Client(model.tls, model.http2) if model.tls else None
        return Checker(engine, model.health_check, count, tls, model.http2)


def _own(model: UpstreamModel) -> UpstreamModel:
    """Without what a resolver follows."""
    return model.model_copy(update=dict.fromkeys(FOLLOWED))
