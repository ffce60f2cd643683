"""The gateway's control plane: health, figures, settings and a status page, for people and for their tools.

It asks a `Service` for plain data and knows nothing of workers, sockets or shared memory. Every worker serves it, so
what a Service answers must be the sum over all of them.
"""

import base64
import hashlib
import re
import time
from collections.abc import Mapping
from importlib import resources
from typing import Any, Protocol

import falcon

from apps import openapi, problems
from apps.audit import AuditTrail, details
from apps.control_guard import Guard
from apps.gateway.config_model import Gateway
from apps.gateway.control_auth import AuthViews, Revoker
from apps.gateway.control_cache import CacheViews, Store
from apps.gateway.control_config import Configuration, ConfigViews, Fixed
from apps.openapi import Endpoint
from apps.threads import in_thread
from fastcore import __version__

RESET = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "description": "of the limit"},
        "key": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "what the limit counts by, to its value; what is left out counts as absent",
        },
    },
}

DRAIN = {
    "type": "object",
    "properties": {"on": {"type": "boolean", "description": "false: traffic may come again (true)"}},
    "additionalProperties": False,
}

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSIC_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class NoDataPlane(Exception):
    """What was asked needs one, and in this process there is none."""


class Service(Revoker, Store, Protocol):
    """What the control plane needs to know. All answers are quick: they are made on the worker's event loop."""

    settings: Gateway
    started: float
    """Wall-clock time the service started, in seconds."""

    def not_ready(self) -> list[str]:
        """Why no traffic should come here (draining, an upstream without an address); empty when it may."""
        ...

    def status(self) -> dict[str, Any]:
        """{"workers": [{"pid", "draining", "connections"?}]}: one entry a worker."""
        ...

    def routes(self) -> list[dict[str, Any]]:
        """In the order they are tried: {"name", matcher, "upstream", ...}."""
        ...

    def upstreams(self) -> list[dict[str, Any]]:
        """{"name", "balance", "targets": [{"address", "weight", "health": up|down|unknown, "connections"?}]}.

        Of what is watched also "breaker" and "checks_by" (pid), and of targets "check", "ejected_for" (s), "breaker".
        """
        ...

    def limits(self) -> dict[str, Any]:
        """{"limits": [{"name", "routes", settings, counts?}], "table": {"capacity", "live", "in_flight"} or None}."""
        ...

    def reset_limit(self, name: str, key: Mapping[str, str]) -> bool:
        """True if that key had used something. KeyError: no such limit. ValueError: the key is none of this limit.
        OSError: forgotten here, but Redis, where it is counted, cannot be asked. NoDataPlane."""
        ...

    def metrics(self, openmetrics: bool) -> bytes:
        """Exposition summed over workers: OpenMetrics 1.0, or the classic text format 0.0.4.

        The status page draws rates from the counter fastcore_gateway_requests_total{route,code}.
        """
        ...


def create_app(service: Service, configuration: Configuration) -> "falcon.App[Any, Any]":
    settings = service.settings
    control = _Control(service, configuration)
    token = settings.control_token.get_secret_value() if settings.control_token else None
    open_paths = [endpoint.path for endpoint in control.endpoints if not endpoint.needs_token]
    control.guard = Guard(token, settings.control, settings.control_hosts, open_paths)
    app: falcon.App[Any, Any] = falcon.App(middleware=[AuditTrail(settings.audit_log, in_thread), control.guard])
    problems.install(app)
    openapi.add_routes(app, control.endpoints)
    return app


class _Control:
    guard: Guard

    def __init__(self, service: Service, configuration: Configuration):
        self._service = service
        self._configuration = configuration
        self._page, self._page_policy = _page()
        self.endpoints = (
            Endpoint("/livez", "This worker answers.", self.livez, needs_token=False),
            Endpoint(
                "/readyz",
                "Traffic may come; the reasons why not need the token.",
                self.readyz,
                answers={200: "ready", 503: "not ready"},
                needs_token=False,
            ),
            Endpoint(
                "/metrics",
                "Figures over all workers; Accept chooses the format.",
                self.metrics,
                OPENMETRICS,
                {"type": "string"},
            ),
            Endpoint("/status", "Version, uptime, workers.", self.status),
            Endpoint("/routes", "Routes as they are tried.", self.routes, schema={"type": "array"}),
            Endpoint("/upstreams", "Upstreams, targets and their health.", self.upstreams, schema={"type": "array"}),
            Endpoint("/limits", "Limits on requests, what they counted, and how full their table is.", self.limits),
            Endpoint(
                "/limits/reset",
                "Forgets what one key of a limit has used.",
                self.reset_limit,
                answers={
                    200: "done",
                    400: "the key is none of this limit",
                    404: "no such limit",
                    503: "no data plane, or no Redis",
                },
                method="POST",
                body=RESET,
            ),
            *AuthViews(service).endpoints,
            *CacheViews(service).endpoints,
            *ConfigViews(configuration).endpoints,
            Endpoint(
                "/drain",
                "Say on /readyz that no more traffic is to come, and go on serving what does; or take that back.",
                self.drain,
                answers={200: "done, in all workers", 409: "no data plane"},
                method="POST",
                body=DRAIN,
            ),
            Endpoint("/openapi.json", "This document.", self.openapi),
            Endpoint(
                "/",
                "The status page; it asks for the token itself.",
                self.page,
                "text/html",
                {"type": "string"},
                needs_token=False,
            ),
        )

    def livez(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"status": "alive"}

    def readyz(self, req: falcon.Request, resp: falcon.Response) -> None:
        reasons = self._not_ready()
        body: dict[str, Any] = {"status": "not ready" if reasons else "ready"}
        if reasons:
            resp.status = falcon.HTTP_503
            if self.guard.is_authorized(req):
                body["reasons"] = reasons
        resp.media = body

    def metrics(self, req: falcon.Request, resp: falcon.Response) -> None:
        openmetrics = (
            req.client_prefers(["text/plain", "application/openmetrics-text"]) == "application/openmetrics-text"
        )
        resp.content_type = OPENMETRICS if openmetrics else CLASSIC_TEXT
        resp.append_header("Vary", "Accept")
        resp.data = self._service.metrics(openmetrics)

    def status(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {
            "version": __version__,
            "uptime_seconds": round(max(0.0, time.time() - self._service.started), 3),
            "ready": not self._not_ready(),
            **self._service.status(),
        }

    def routes(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = self._service.routes()

    def upstreams(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = self._service.upstreams()

    def limits(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = self._service.limits()

    def reset_limit(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = req.get_media()
        name, key = (asked.get("name"), asked.get("key", {})) if isinstance(asked, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(key, dict) or not all(isinstance(v, str) for v in key.values()):
            raise falcon.HTTPBadRequest(description='send {"name": "per_ip", "key": {"ip": "192.0.2.7"}}')
        try:
            details(req).update(limit=name, key=key)
            had_used = self._service.reset_limit(name, key)
        except KeyError:
            raise falcon.HTTPNotFound(description=f"no limit is called {name!r}") from None
        except ValueError as error:
            raise falcon.HTTPBadRequest(description=str(error)) from None
        except OSError as error:
            raise falcon.HTTPServiceUnavailable(description=f"forgotten by this machine only: {error}") from None
        except NoDataPlane as error:
            raise falcon.HTTPServiceUnavailable(description=str(error)) from None
        resp.media = {"name": name, "key": key, "had_used": had_used}

    def _not_ready(self) -> list[str]:
        asked = ["draining: POST /drain has asked for it"] if self._configuration.draining else []
        return [*asked, *self._service.not_ready()]

    def drain(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = req.get_media()
        if not isinstance(asked, dict) or set(asked) - {"on"} or type(asked.get("on", True)) is not bool:
            raise falcon.HTTPBadRequest(description='send {"on": true} or {"on": false}')
        details(req).update(on=asked.get("on", True))
        try:
            self._configuration.drain(asked.get("on", True))
        except Fixed as error:
            raise falcon.HTTPConflict(description=str(error)) from None
        resp.media = {"draining": self._configuration.draining}

    def openapi(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = openapi.document("fastcore gateway: control plane", self.endpoints)

    def page(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "text/html; charset=utf-8"
        resp.set_header("Content-Security-Policy", self._page_policy)
        resp.data = self._page


def _page() -> tuple[bytes, str]:
    """The status page and the policy that lets exactly its own script and style run."""
    text = resources.files("apps.gateway").joinpath("control_page.html").read_text()
    policy = [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    for kind in ("script", "style"):
        hashes = [
            base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            for body in re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        ]
        policy.append(f"{kind}-src " + " ".join(f"'sha256-{value}'" for value in hashes))
    return text.encode(), "; ".join(policy)
