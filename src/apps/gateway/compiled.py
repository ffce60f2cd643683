"""Checked settings as they travel from the process that checked them to the workers that run them.

Checking 5,000 routes takes a second, and a worker has requests to move meanwhile. So it is done once and elsewhere, and
what workers read is this: everything but the routes in one piece, and each route by itself, so that one that did not
change is known by its bytes and costs nothing.
"""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from apps.gateway.config import load_settings
from apps.gateway.config_model import Gateway, Route
from apps.settings import InvalidSettings
from apps.yaml_source import Path

PROTOCOL = 5

Flags = Mapping[Path, tuple[str, Any]]
#: Called between two pieces of long work, to let others do something.
Turn = Callable[[], None]


def no_turn() -> None:
    """Nobody waits."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """text: the file as it was. general: pickled, without routes; routes: each pickled. digest: the same for settings
    that say the same, however they are written. Unpickled by none but processes of the user who made it (see
    `history`)."""

    text: str
    general: bytes
    routes: tuple[bytes, ...]
    digest: str
    warnings: tuple[str, ...] = ()

    def general_settings(self) -> Gateway:
        """Without routes: quick, whatever the size of the file."""
        made: Gateway = pickle.loads(self.general)  # noqa: S301
        return made

    def settings(self, known: Mapping[bytes, Route], turn: Turn) -> tuple[Gateway, dict[bytes, Route]]:
        """And its routes by their bytes. known: those that are at hand. turn: called between two routes."""
        routes = []
        by_bytes = {}
        for data in self.routes:
            route = known.get(data)
            by_bytes[data] = route = pickle.loads(data) if route is None else route  # noqa: S301
            routes.append(route)
            turn()
        return self.general_settings().model_copy(update={"routes": tuple(routes)}), by_bytes


def compile_text(text: str, file: str | None, flags: Flags | None = None) -> Compiled:
    """The settings in `text`, under the flags and this process's environment. file: what errors call it. Raises
    InvalidSettings, also where they cannot be followed on this machine."""
    loaded = load_settings(file, text=text, flags=flags)
    if loaded.problems:
        raise InvalidSettings.of(loaded.problems)
    assert loaded.settings is not None
    _try_log(loaded.settings.access_log.path)
    general = pickle.dumps(loaded.settings.model_copy(update={"routes": ()}), PROTOCOL)
    routes = tuple(pickle.dumps(route, PROTOCOL) for route in loaded.settings.routes)
    digest = hashlib.sha256(general)
    for route in routes:
        digest.update(route)
    return Compiled(text, general, routes, digest.hexdigest(), tuple(loaded.warnings))


def _try_log(path: str) -> None:
    """An access log that cannot be opened is a refused start or reload; found by a worker, it would end the service."""
    if path in ("off", "-"):
        return
    try:
        FilePath(path).open("ab").close()
    except OSError as error:
        raise InvalidSettings(f"access_log.path: {path}: {error.strerror}") from None
