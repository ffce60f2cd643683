"""One table of endpoints is both Falcon's routes and the OpenAPI 3.1 document, so the two cannot differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import falcon

from fastcore import __version__

BODY_BYTES = 65_536

Handler = Callable[[falcon.Request, falcon.Response], None]

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One GET or POST: its path, what it answers, and who answers it."""

    path: str
    summary: str
    handler: Handler
    media_type: str = "application/json"
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "object"})
    answers: dict[int, str] = field(default_factory=lambda: {200: "the answer"})
    needs_token: bool = True
    method: Literal["GET", "POST"] = "GET"
    body: dict[str, Any] | None = None
    """Schema of the JSON document a POST takes."""


class _Reading:
    def __init__(self, handler: Handler):
        self._handler = handler

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._handler(req, resp)

    on_head = on_get


class _Changing:
    """Takes JSON only, which a page of a foreign site cannot make a browser send without asking first: without a token
    the peer's address alone lets a request in, and a browser on this machine has that."""

    def __init__(self, handler: Handler):
        self._handler = handler

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        if (req.content_type or "").partition(";")[0].strip().lower() != falcon.MEDIA_JSON:
            raise falcon.HTTPUnsupportedMediaType(description="send Content-Type: application/json")
        if (req.content_length or 0) > BODY_BYTES:
            raise falcon.HTTPContentTooLarge(description=f"a body has at most {BODY_BYTES} bytes")
        self._handler(req, resp)


def add_routes(app: "falcon.App[Any, Any]", endpoints: Sequence[Endpoint]) -> None:
    for endpoint in endpoints:
        kind = _Reading if endpoint.method == "GET" else _Changing
        app.add_route(endpoint.path, kind(endpoint.handler))


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def document(title: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of `endpoints`."""
    paths = {
        endpoint.path: {
            endpoint.method.lower(): {
                "summary": endpoint.summary,
                "operationId": endpoint.path.strip("/").replace("/", "_").replace(".", "_") or "page",
                "security": [{"token": []}] if endpoint.needs_token else [],
                **({"requestBody": _body(endpoint.body)} if endpoint.body is not None else {}),
                "responses": {
                    **{
                        str(status): {
                            "description": text,
                            "content": {endpoint.media_type: {"schema": endpoint.schema}},
                        }
                        for status, text in endpoint.answers.items()
                    },
                    "default": {
                        "description": "an error (RFC 9457)",
                        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    },
                },
            }
        }
        for endpoint in endpoints
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
