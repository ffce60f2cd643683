"""What a worker runs: the WSGI callable of the control plane, which also names the listeners of the data plane.

Under `fastcore.worker.FastcoreWorker` the listeners in `listen` speak to the proxy engine and the control listener to
this callable. Under any other worker class every listener serves the control plane, and /readyz says that no data plane
runs.
"""

import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from apps.gateway.config import load_settings
from apps.gateway.config_model import Gateway
from apps.gateway.control import NoDataPlane, create_app
from apps.gateway.control_config import Configuration, Fixed
from apps.gateway.history import Entry
from apps.gateway.limits import plain_limits
from apps.gateway.origin import Origin
from apps.gateway.routing import plain_routes
from apps.settings import Loaded, described
from fastcore import __version__

if TYPE_CHECKING:
    from apps.gateway.data import DataPlane
    from apps.gateway.live import LivePlane


class ControlOnly:
    """The control plane's view where no data plane runs: settings are shown, traffic is not."""

    def __init__(self, settings: Gateway):
        self.settings = settings
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


class FixedConfiguration:
    """Settings that stay as they are, where nothing follows others."""

    number = 0

    def __init__(self, loaded: Loaded[Gateway]):
        self._loaded = loaded

    def describe(self, number: int | None = None) -> dict[str, Any]:
        if number:
            raise KeyError(number)
        return described(self._loaded)

    def entries(self) -> list[Entry]:
        return []

    def running(self) -> dict[int, int]:
        return {}

    def compare(self, before: int, after: int) -> dict[str, dict[str, Any]]:
        if before or after:
            raise KeyError(before or after)
        return {}

    def put(self, text: str, *, by: str, save: bool = True, expect: int | None = None) -> dict[str, Any]:
        raise Fixed(
            "settings stay in this process: start it by `fastcore gateway`, or with apps/gateway/gunicorn.conf.py"
        )

    def roll_back(self, number: int, *, by: str, save: bool = True) -> dict[str, Any]:
        raise KeyError(number)

    draining = False

    def drain(self, on: bool) -> None:
        raise Fixed("there is no traffic to keep away from this process")


class GatewayApp:
    """The WSGI callable gunicorn loads in each worker.

    FastcoreWorker asks it for `fastcore_service` and starts that; under any other worker class nobody asks, and the
    control plane says so.
    """

    def __init__(self, settings: Gateway, origin: Origin | FixedConfiguration):
        self._settings, self._origin = settings, origin
        self._live: LivePlane | None = None
        self._plane: DataPlane | None = None
        self._app: Any = None

    @property
    def fastcore_service(self) -> "LivePlane | DataPlane":
        from apps.gateway.data import DataPlane
        from apps.gateway.live import LivePlane

        if isinstance(self._origin, FixedConfiguration):
            self._plane = self._plane or DataPlane(self._settings)
            return self._plane
        if self._live is None:
            self._live = LivePlane(self._origin, self._settings_changed)
            self._plane = self._live.plane
        return self._live

    def _settings_changed(self) -> None:
        self._app = None  # its token and its host names may be others

    def _configuration(self) -> Configuration:
        if self._live is not None and self._live.reloader is not None:
            return self._live.reloader
        if isinstance(self._origin, FixedConfiguration):
            return self._origin
        loaded = load_settings(self._origin.file, text=self._origin.compiled.text, flags=self._origin.flags)
        return FixedConfiguration(loaded)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._app is None:
            self._app = create_app(self._plane or ControlOnly(self._settings), self._configuration())
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer
