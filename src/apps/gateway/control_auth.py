"""The control plane's view of authentication: providers and their keys, and revoking credentials."""

from datetime import UTC, datetime
from typing import Any, Protocol

import falcon

from apps.audit import details
from apps.gateway.revocations import Full
from apps.openapi import Endpoint
from apps.units import parse_duration

LONGEST = 16_384  # of a token, as in requests

REVOCATION = {
    "type": "object",
    "properties": {
        "token": {"type": "string", "description": "the credential itself, a token or an API key"},
        "jti": {"type": "string", "description": "id of a token"},
        "sub": {"type": "string", "description": "everything issued to this subject until now"},
        "provider": {"type": "string", "description": "with jti and sub: of this provider only"},
        "for": {"type": "string", "description": "how long to keep it, as in 12h; a token's own expiry if it has one"},
    },
    "additionalProperties": False,
}


class Revoker(Protocol):
    def auth_providers(self) -> list[dict[str, Any]]:
        """{"name", "kind", "keys"?, "error"?}: one entry a provider; of published keys, as this worker has them."""
        ...

    def revoke(self, what: dict[str, str], seconds: float | None) -> float | None:
        """what: one of token, jti, sub, and maybe provider. Until when it is kept, in seconds since 1970; None when no
        provider is configured. Raises KeyError for an unknown provider, Full without room."""
        ...


class AuthViews:
    def __init__(self, service: Revoker):
        self._service = service
        self.endpoints = (
            Endpoint("/auth", "Who vouches for clients, and their keys.", self.providers, schema={"type": "array"}),
            Endpoint(
                "/tokens/revoke",
                "Accept a credential no more, in all workers, from the moment this is answered.",
                self.revoke,
                answers={200: "revoked; until when that is kept"},
                method="POST",
                body=REVOCATION,
            ),
        )

    def providers(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = self._service.auth_providers()

    def revoke(self, req: falcon.Request, resp: falcon.Response) -> None:
        document = req.get_media()
        if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
            raise falcon.HTTPBadRequest(description="send an object whose values are strings")
        unknown = set(document) - set(REVOCATION["properties"])  # type: ignore[call-overload]
        kinds = [kind for kind in ("token", "jti", "sub") if document.get(kind)]
        if unknown or len(kinds) != 1:
            raise falcon.HTTPBadRequest(description="send one of token, jti, sub, and maybe provider and for")
        what = {key: document[key] for key in (*kinds, "provider") if key in document}
        if len(what[kinds[0]]) > LONGEST:
            raise falcon.HTTPBadRequest(description=f"{kinds[0]} has at most {LONGEST} characters")
        told = {key: value for key, value in what.items() if key != "token"}  # which is a secret
        details(req).update(revoked=kinds[0], **told)
        try:
            seconds = parse_duration(document["for"]) / 1000 if "for" in document else None
            until = self._service.revoke(what, seconds)
        except ValueError as error:
            raise falcon.HTTPBadRequest(description=str(error)) from None
        except KeyError:
            raise falcon.HTTPBadRequest(description="no auth provider has this name") from None
        except Full:
            raise falcon.HTTPError(507, description="no room for a further revocation before others expire") from None
        except OSError as error:
            raise falcon.HTTPInternalServerError(
                description=f"revoked until the next start, and not saved: {error.filename}: {error.strerror}"
            ) from None
        if until is None:
            raise falcon.HTTPConflict(description="no auth provider is configured")
        resp.media = {"revoked": kinds[0], "until": datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")}
