"""What a worker runs: the WSGI callable of the control plane, which also names the listeners of the data plane.

Under `fastcore.worker.FastcoreWorker` the listeners in `listen` speak to the proxy engine and the control listener to
this callable. Under any other worker class every listener serves the control plane, and /readyz says that no data plane
runs.
"""

import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from apps.gateway.config_model import Gateway
from apps.gateway.control import NoDataPlane, Service, create_app
from apps.gateway.limits import plain_limits
from apps.gateway.routing import plain_routes
from apps.settings import Loaded
from fastcore import __version__

if TYPE_CHECKING:
    from apps.gateway.data import DataPlane


class ControlOnly:
    """The control plane's view where no data plane runs: settings are shown, traffic is not."""

    def __init__(self, loaded: Loaded[Gateway]):
        assert loaded.settings is not None
        self.loaded = loaded
        self.settings = loaded.settings
        self.started = time.time()

    def not_ready(self) -> list[str]:
        return ["no data plane runs in this process: its worker class is not fastcore.worker.FastcoreWorker"]

    def status(self) -> dict[str, Any]:
        return {"workers": [{"pid": os.getpid(), "draining": False}]}

    def routes(self) -> list[dict[str, Any]]:
        return plain_routes(self.settings)

    def upstreams(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "balance": upstream.balance,
                "targets": [
                    {"address": str(t.address), "weight": t.weight, "health": "unknown"} for t in upstream.targets
                ],
            }
            for name, upstream in self.settings.upstreams.items()
        ]

    def limits(self) -> dict[str, Any]:
        return {"limits": plain_limits(self.settings), "table": None}

    def reset_limit(self, name: str, key: Mapping[str, str]) -> bool:
        raise NoDataPlane("no data plane runs in this process")

    def cache_statistics(self) -> dict[str, Any] | None:
        return None

    def purge_cache(self, what: dict[str, str], soft: bool) -> bool:
        return False

    def auth_providers(self) -> list[dict[str, Any]]:
        return [{"name": name} for name in self.settings.auth.providers]

    def revoke(self, what: dict[str, str], seconds: float | None) -> float | None:
        return None

    def metrics(self, openmetrics: bool) -> bytes:
        kind = "info" if openmetrics else "gauge"
        family = "fastcore_build" if openmetrics else "fastcore_build_info"
        lines = [
            f"# HELP {family} Version of fastcore.",
            f"# TYPE {family} {kind}",
            f'fastcore_build_info{{version="{__version__}"}} 1',
            "# HELP fastcore_start_time_seconds When this process started.",
            "# TYPE fastcore_start_time_seconds gauge",
            f"fastcore_start_time_seconds {self.started:.3f}",
        ]
        return ("\n".join(lines) + "\n" + ("# EOF\n" if openmetrics else "")).encode()


class GatewayApp:
    """The WSGI callable gunicorn loads in each worker.

    FastcoreWorker asks it for `fastcore_service` and starts that; under any other worker class nobody asks, and the
    control plane says so.
    """

    def __init__(self, loaded: Loaded[Gateway]):
        self.loaded = loaded
        self.service: Service = ControlOnly(loaded)
        self._app: Any = None

    @property
    def fastcore_service(self) -> "DataPlane":
        from apps.gateway.data import DataPlane

        if not isinstance(self.service, DataPlane):
            self.service = DataPlane(self.loaded)
        return self.service

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._app is None:
            self._app = create_app(self.service)
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer
