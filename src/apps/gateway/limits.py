"""Limits on requests in one worker: made from the settings over the region of all workers, and the view of them.

Deciding is the engine's (cext/include/fc/limit.h). A reload makes them anew over the same table, so a limit that did
not change keeps what its keys have used, and so does an upgrade, whose master inherits the region.
"""

import logging
from collections.abc import Mapping
from typing import Any

from apps.gateway.config_model import Gateway
from apps.gateway.routing import limits_of, route_name
from fastcore.metrics import Metrics
from fastcore.proxylimits import OUTCOMES, Limits
from fastcore.shm import Region

log = logging.getLogger("fastcore.gateway")


def plain_limits(settings: Gateway) -> list[dict[str, Any]]:
    """The limits as plain data, each with the routes that are under it."""
    routes = [(route_name(index, route), limits_of(settings, route)) for index, route in enumerate(settings.routes)]
    return [
        {
            "name": name,
            **limit.model_dump(mode="json", exclude_defaults=True),
            "routes": [route for route, names in routes if name in names],
        }
        for name, limit in settings.rate_limits.items()
    ]


class RouteLimits:
    """The limits of one worker. Without any in the settings there is no table, and `engine` is None."""

    def __init__(
        self,
        settings: Gateway,
        region: Region,
        metrics: Metrics,
        prefix: str,
        before: "RouteLimits | None" = None,
    ):
        self._settings = settings
        self._region = region
        self._metrics = metrics
        self._prefix = prefix
        self._seen_full = 0
        self.engine: Limits | None = None
        if not settings.rate_limits:
            return
        if before is not None and before._settings.rate_limits == settings.rate_limits:
            self.engine, self._seen_full = before.engine, before._seen_full
        if self.engine is None:
            specs = [limit.limit(name) for name, limit in settings.rate_limits.items()]
            self.engine = Limits(region, specs, capacity=settings.rate_limit_keys, metrics=metrics, prefix=prefix)
        if self.engine.capacity < settings.rate_limit_keys:
            log.warning("rate_limit_keys: the table has room for %d keys until the next restart", self.engine.capacity)
        self._full = metrics.counter(f"{prefix}_limit_table_full", "Requests of new keys that found no room for limits")
        self._reclaimed = metrics.counter(f"{prefix}_limit_reclaimed", "Places in flight that dead workers had held")
        self._concurrent = any(limit.concurrent for limit in settings.rate_limits.values())
        self.reclaim()

    def followed(self, settings: Gateway) -> "RouteLimits":
        """The limits under these settings. Requests under way are still counted by those they began under."""
        if settings is self._settings:
            return self
        return RouteLimits(settings, self._region, self._metrics, self._prefix, before=self)

    @property
    def shared(self) -> bool:
        """Are there limits that machines share?"""
        return self.engine is not None and any(limit.shared for limit in self._settings.rate_limits.values())

    def reclaim(self) -> None:
        """Requests in flight of workers that died are over."""
        if self.engine is not None and self._concurrent:
            self._reclaimed.inc(self.engine.reclaim())

    def publish(self) -> None:
        if self.engine is not None:
            full = self.engine.full
            self._full.inc(full - self._seen_full)
            self._seen_full = full

    def view(self) -> dict[str, Any]:
        """What the control plane shows: sums over all workers but for what is the table's."""
        shown = plain_limits(self._settings)
        if self.engine is None:
            return {"limits": shown, "table": None}
        for limit in shown:
            limit["requests"] = {outcome: self._counted(limit["name"], outcome) for outcome in OUTCOMES}
        table = self.engine.table()
        return {"limits": shown, "table": {key: table[key] for key in ("capacity", "live", "in_flight")}}

    def _counted(self, name: str, outcome: str) -> int:
        counter = self._metrics.counter(f"{self._prefix}_limit_requests", "", limit=name, outcome=outcome)
        return int(counter.value)

    def reset(self, name: str, key: Mapping[str, str]) -> bool:
        """KeyError: no such limit. ValueError: the key is none of this limit."""
        if self.engine is None:
            raise KeyError(name)
        return self.engine.reset(name, _sources(key))

    def shared_key(self, name: str, key: Mapping[str, str]) -> tuple[bytes, bytes, int] | None:
        """(name, key, span) where the limit is counted in Redis. Errors as of reset."""
        if self.engine is None:
            raise KeyError(name)
        return self.engine.shared_key(name, _sources(key))


def _sources(key: Mapping[str, str]) -> dict[str, str]:
    return {source.lower() if source[:7].lower() == "header:" else source: key[source] for source in key}
