"""Token introspection (RFC 7662): the authorization server says whether a token is good. Asked once a token and
`remember`, from a greenlet of its own; at most `connections` questions of a worker are under way at one time."""

import base64
from urllib.parse import quote_plus, urlencode

import gevent.lock

from apps.gateway.config_auth import Introspection
from apps.gateway.issuer_http import Ask, asker
from apps.gateway.judges import Judgement, meant_for, scopes_of
from apps.gateway.jws import Refused, json_object, numeric_date


class Introspector:
    def __init__(self, settings: Introspection, ask: Ask | None = None):
        self._settings = settings
        self._places = gevent.lock.BoundedSemaphore(settings.connections)
        self._ask = ask or asker(
            settings.url, settings.timeout / 1000, _basic(settings.client_id, settings._secret or ""), settings.ca_file
        )

    def judge(self, credential: bytes, now: float) -> Judgement:
        """Blocks the greenlet. Raises Refused; unavailable when the server does not answer, or not as RFC 7662 says."""
        with self._places:
            try:
                answer = self._ask(urlencode({"token": credential, "token_type_hint": "access_token"}).encode())
                document = json_object(answer)
            except Exception as error:  # of sockets, TLS, HTTP and what stands in the answer
                raise Refused("unavailable", str(error)) from None
        return self._judge_answer(document, now)

    def _judge_answer(self, document: dict[str, object], now: float) -> Judgement:
        settings = self._settings
        if document.get("active") is not True:
            raise Refused("inactive")
        if settings.issuer and document.get("iss") not in settings.issuer:
            raise Refused("issuer")
        if settings.audience and not meant_for(document.get("aud"), settings.audience):
            raise Refused("audience")
        ends, begins = numeric_date(document, "exp"), numeric_date(document, "nbf")
        if ends is not None and ends <= now:
            raise Refused("expired")
        if begins is not None and begins > now:
            raise Refused("early")
        subject, jti = document.get(settings.subject), document.get("jti")
        if not isinstance(subject, str) or not subject or not isinstance(jti, str | None):
            raise Refused("claim", settings.subject)
        until = now + settings.remember / 1000
        return Judgement(
            subject,
            scopes_of(document.get(settings.scopes)),
            document,
            until if ends is None else min(ends, until),
            jti,
            numeric_date(document, "iat"),
        )


def _basic(client: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: both are form-encoded first."""
    return "Basic " + base64.b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()
