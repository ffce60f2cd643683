"""One table of endpoints is both Falcon's routes and the OpenAPI 3.1 document, so the two cannot differ."""

from collections.abc import Callable, Mapping, Sequence
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
    """One method of a path: what it answers, and who answers it."""

    path: str
    summary: str
    handler: Handler
    media_type: str = "application/json"
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "object"})
    answers: dict[int, str] = field(default_factory=lambda: {200: "the answer"})
    needs_token: bool = True
    method: Literal["GET", "POST", "PUT"] = "GET"
    body: dict[str, Any] | None = None
    """Schema of the document that is sent."""
    body_types: tuple[str, ...] = (falcon.MEDIA_JSON,)
    body_bytes: int = BODY_BYTES
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters by name, each with what it means."""


class _Resource:
    """The methods of one path.

    What changes something takes certain media types only, which a page of a foreign site cannot make a browser send
    without asking first: without a token the peer's address alone lets a request in, and a browser on this machine has
    that.
    """

    def __init__(self, endpoints: Sequence[Endpoint]):
        for endpoint in endpoints:
            setattr(
                self,
                f"on_{endpoint.method.lower()}",
                _reading(endpoint) if endpoint.method == "GET" else _changing(endpoint),
            )
            if endpoint.method == "GET":
                self.on_head = _reading(endpoint)


def _reading(endpoint: Endpoint) -> Handler:
    def answer(req: falcon.Request, resp: falcon.Response) -> None:
        endpoint.handler(req, resp)

    return answer


def _changing(endpoint: Endpoint) -> Handler:
    def answer(req: falcon.Request, resp: falcon.Response) -> None:
        if (req.content_type or "").partition(";")[0].strip().lower() not in endpoint.body_types:
            raise falcon.HTTPUnsupportedMediaType(description=f"send Content-Type: {' or '.join(endpoint.body_types)}")
        if (req.content_length or 0) > endpoint.body_bytes:
            raise falcon.HTTPContentTooLarge(description=f"a body has at most {endpoint.body_bytes} bytes")
        endpoint.handler(req, resp)

    return answer


def by_path(endpoints: Sequence[Endpoint]) -> dict[str, list[Endpoint]]:
    found: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        found.setdefault(endpoint.path, []).append(endpoint)
    return found


def add_routes(app: "falcon.App[Any, Any]", endpoints: Sequence[Endpoint]) -> None:
    for path, methods in by_path(endpoints).items():
        app.add_route(path, _Resource(methods))


def document(title: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of `endpoints`."""
    paths = {
        path: {endpoint.method.lower(): _operation(endpoint, single=len(methods) == 1) for endpoint in methods}
        for path, methods in by_path(endpoints).items()
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


def _operation(endpoint: Endpoint, *, single: bool) -> dict[str, Any]:
    name = endpoint.path.strip("/").replace("/", "_").replace(".", "_") or "page"
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in endpoint.query.items()
    ]
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": name if single else f"{endpoint.method.lower()}_{name}",
        "security": [{"token": []}] if endpoint.needs_token else [],
        "responses": {
            **{
                str(status): {"description": text, "content": {endpoint.media_type: {"schema": endpoint.schema}}}
                for status, text in endpoint.answers.items()
            },
            "default": {
                "description": "an error (RFC 9457)",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {media_type: {"schema": endpoint.body} for media_type in endpoint.body_types}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
