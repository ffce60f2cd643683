"""The control plane's view of the settings: what is in force and where it comes from, putting others there, the
configurations before, comparing and going back."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import falcon

from apps.audit import details
from apps.gateway.history import Entry, NeedsFile, Overtaken
from apps.openapi import Endpoint
from apps.settings import InvalidSettings
from apps.yaml_source import Bounds

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", falcon.MEDIA_JSON)
ROLLBACK = {
    "type": "object",
    "required": ["number"],
    "properties": {
        "number": {"type": "integer", "description": "of an earlier configuration"},
        "save": {"type": "boolean", "description": "also in the settings file (true)"},
    },
    "additionalProperties": False,
}
CHANGED = {
    200: "in force in all workers, or new workers start for it",
    409: "it needs new workers and no file was to be saved, or settings cannot change in this process",
    412: "another configuration is in force than If-Match names",
    422: "refused; every problem stands in detail, and nothing has changed",
}

T = TypeVar("T")


class Fixed(Exception):
    """Settings do not change in this process."""


class Configuration(Protocol):
    """What runs, what ran, and how that changes (see `reloader`)."""

    @property
    def number(self) -> int: ...
    def describe(self, number: int | None = None) -> dict[str, Any]: ...
    def entries(self) -> Sequence[Entry]: ...
    def running(self) -> dict[int, int]: ...
    def compare(self, before: int, after: int) -> dict[str, dict[str, Any]]: ...
    def put(self, text: str, *, by: str, save: bool = True, expect: int | None = None) -> dict[str, Any]: ...
    def roll_back(self, number: int, *, by: str, save: bool = True) -> dict[str, Any]: ...
    @property
    def draining(self) -> bool: ...
    def drain(self, on: bool) -> None: ...


class ConfigViews:
    def __init__(self, configuration: Configuration):
        self._configuration = configuration
        self.endpoints = (
            Endpoint(
                "/config",
                "Settings in force, secrets masked, with the origin of each. ETag is the configuration's number.",
                self.show,
                query={"number": "of an earlier configuration"},
                answers={200: "by dotted path", 404: "not remembered"},
            ),
            Endpoint(
                "/config",
                "Put these settings in force instead, in all workers, without interrupting anything.",
                self.put,
                method="PUT",
                body={"type": "object", "description": "a settings file, as YAML or as JSON"},
                body_types=YAML_TYPES,
                body_bytes=Bounds().file_bytes,
                query={"save": "false: until the next start only; otherwise the settings file is replaced as well"},
                answers=CHANGED,
            ),
            Endpoint(
                "/config/history",
                "The configurations that were in force, the last one now, and the one each worker runs.",
                self.history,
            ),
            Endpoint(
                "/config/compare",
                "Settings that differ between two configurations; what is secret is not told.",
                self.compare,
                query={"from": "a number; without it the one before", "to": "a number; without it the one in force"},
                answers={200: "by dotted path", 404: "not remembered"},
            ),
            Endpoint(
                "/config/rollback",
                "Put an earlier configuration in force again.",
                self.roll_back,
                method="POST",
                body=ROLLBACK,
                answers={**CHANGED, 404: "not remembered"},
            ),
        )

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        number = req.get_param_as_int("number", default=self._configuration.number)
        resp.media = _told(lambda: self._configuration.describe(number))
        resp.etag = str(number)

    def history(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {
            "in_force": self._configuration.number,
            "workers": {str(pid): number for pid, number in self._configuration.running().items()},
            "configurations": [
                {
                    "number": entry.number,
                    "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.at)),
                    "source": entry.source,
                    "by": entry.by,
                    "routes": entry.routes,
                    "digest": entry.digest,
                }
                for entry in self._configuration.entries()
            ],
        }

    def compare(self, req: falcon.Request, resp: falcon.Response) -> None:
        after = req.get_param_as_int("to", default=self._configuration.number)
        numbers = [entry.number for entry in self._configuration.entries() if entry.number < after]
        before = req.get_param_as_int("from", default=numbers[-1] if numbers else after)
        resp.media = {
            "from": before,
            "to": after,
            "settings": _told(lambda: self._configuration.compare(before, after)),
        }

    def put(self, req: falcon.Request, resp: falcon.Response) -> None:
        try:
            text = req.bounded_stream.read(Bounds().file_bytes + 1).decode()
        except UnicodeDecodeError as error:
            raise falcon.HTTPBadRequest(description=f"not UTF-8 at byte {error.start}") from None
        save = req.get_param_as_bool("save", default=True)
        by = req.env.get("REMOTE_ADDR", "?")
        expect = _expected(req)
        details(req).update(save=save, before=self._configuration.number)
        resp.media = _told(lambda: self._configuration.put(text, by=by, save=save, expect=expect))
        details(req).update({key: resp.media[key] for key in ("number", "new_workers_for") if key in resp.media})

    def roll_back(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = req.get_media()
        number, save = (asked.get("number"), asked.get("save", True)) if isinstance(asked, dict) else (None, None)
        if type(number) is not int or type(save) is not bool or set(asked) - {"number", "save"}:
            raise falcon.HTTPBadRequest(description='send {"number": 12}')
        by = req.env.get("REMOTE_ADDR", "?")
        details(req).update(to=number, save=save, before=self._configuration.number)
        resp.media = _told(lambda: self._configuration.roll_back(number, by=by, save=save))
        details(req).update({key: resp.media[key] for key in ("number", "new_workers_for") if key in resp.media})


def _expected(req: falcon.Request) -> int | None:
    tags = req.if_match
    if not tags or tags == ["*"]:
        return None
    if len(tags) != 1 or not tags[0].isdigit():
        raise falcon.HTTPPreconditionFailed(description="If-Match takes the ETag that GET /config gave")
    return int(tags[0])


def _told(ask: Callable[[], T]) -> T:
    """What was asked, or why not as an HTTP error."""
    try:
        return ask()
    except KeyError as error:
        raise falcon.HTTPNotFound(description=f"configuration {error.args[0]} is not remembered") from None
    except InvalidSettings as error:
        raise falcon.HTTPUnprocessableEntity(description=str(error)) from None
    except Overtaken as error:
        raise falcon.HTTPPreconditionFailed(description=str(error)) from None
    except (Fixed, NeedsFile) as error:
        raise falcon.HTTPConflict(description=str(error)) from None
    except OSError as error:
        raise falcon.HTTPInternalServerError(
            description=f"{error.filename or 'settings'}: {error.strerror or error}; nothing has changed"
        ) from None
