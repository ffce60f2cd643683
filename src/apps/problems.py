"""Falcon answers errors as RFC 9457 problem details, and never with a traceback."""

import json
import logging
from http import HTTPStatus
from typing import Any

import falcon

log = logging.getLogger("fastcore.control")


def install(app: "falcon.App[Any, Any]") -> None:
    """Makes every error of `app` an application/problem+json answer; unexpected ones are logged and say nothing."""
    app.set_error_serializer(_serialize)
    app.add_error_handler(Exception, _unexpected)


def problem(status: int, detail: str) -> dict[str, Any]:
    """The document for a status without a type of its own (`about:blank`, whose title is the status phrase)."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return {**document, "detail": detail} if detail else document


def _serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    resp.content_type = "application/problem+json"
    resp.data = json.dumps(problem(error.status_code, error.description or "")).encode()
    resp.append_header("Vary", "Accept")


def _unexpected(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    if isinstance(error, falcon.HTTPStatus | falcon.HTTPError):
        raise error
    log.error("%s %s failed", req.method, req.path, exc_info=error)
    raise falcon.HTTPInternalServerError(description="an unexpected error; the log has it")
