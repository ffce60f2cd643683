"""The control plane's view of the response cache: what it holds, and purging."""

from typing import Any, Protocol

import falcon

from apps.audit import details
from apps.openapi import Endpoint

PURGE = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "description": "this URL, all its variants: https://example.com/a?b"},
        "prefix": {"type": "string", "description": "everything below this URL, which ends with /"},
        "tag": {"type": "string", "description": "everything whose target gave it this tag (Cache-Tag)"},
        "all": {"type": "boolean", "description": "everything"},
        "soft": {"type": "boolean", "description": "stale instead of gone: used where stale answers may be"},
    },
    "additionalProperties": False,
}


class Store(Protocol):
    def cache_statistics(self) -> dict[str, Any] | None:
        """Counts and bytes; None when no route has a cache."""
        ...

    def purge_cache(self, what: dict[str, str], soft: bool) -> bool:
        """what: one of url, prefix, tag; empty: everything. False when no route has a cache. Raises ValueError."""
        ...


class CacheViews:
    def __init__(self, service: Store):
        self._service = service
        self.endpoints = (
            Endpoint("/cache", "What the response cache holds.", self.statistics),
            Endpoint(
                "/cache/purge",
                "Answer with it no more, in all workers, from the moment this is answered.",
                self.purge,
                answers={200: "purged"},
                method="POST",
                body=PURGE,
            ),
        )

    def statistics(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = self._service.cache_statistics() or {"enabled": False}

    def purge(self, req: falcon.Request, resp: falcon.Response) -> None:
        document = req.get_media()
        if not isinstance(document, dict) or set(document) - set(PURGE["properties"]):  # type: ignore[call-overload]
            raise falcon.HTTPBadRequest(description="send an object with one of url, prefix, tag, all, and maybe soft")
        soft = document.pop("soft", False)
        kinds = [kind for kind, value in document.items() if value]
        what = {kind: document[kind] for kind in kinds if kind != "all"}
        if len(kinds) != 1 or not all(isinstance(value, str) for value in what.values()) or not isinstance(soft, bool):
            raise falcon.HTTPBadRequest(description="send an object with one of url, prefix, tag, all, and maybe soft")
        details(req).update(what or {"all": True}, soft=soft)
        try:
            done = self._service.purge_cache(what, soft)
        except ValueError as error:
            raise falcon.HTTPBadRequest(description=str(error)) from None
        if not done:
            raise falcon.HTTPConflict(description="no route has a cache")
        resp.media = {"purged": kinds[0], "soft": soft}
