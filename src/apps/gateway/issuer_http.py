"""HTTP to issuers of tokens, from a greenlet of a worker: bounded in time and size, to the configured address only."""

import ssl
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from typing import IO, Any

import gevent

BYTES_MAX = 256 * 1024

Fetch = Callable[[], bytes]
Ask = Callable[[bytes], bytes]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Whoever can make the issuer's server redirect would choose who is believed."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _opener(url: str, ca_file: str | None) -> urllib.request.OpenerDirector:
    """HTTP_PROXY and the like are not heeded."""
    handlers: list[Any] = [urllib.request.ProxyHandler({}), _NoRedirects()]
    if url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
    return urllib.request.build_opener(*handlers)


def _read(opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float) -> bytes:
    # The socket's own timeout begins anew with every byte; this one does not.
    late = TimeoutError(f"not complete after {timeout:g} s")
    with gevent.Timeout(timeout, late), opener.open(request, timeout=timeout) as answer:
        data: bytes = answer.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise ValueError(f"longer than {BYTES_MAX} bytes")
    return data


def fetcher(url: str, timeout: float, ca_file: str | None = None) -> Fetch:
    """Fetches within `timeout` seconds in all. Redirects and other statuses than 200 to 299 are OSError."""
    opener = _opener(url, ca_file)
    accept = "application/jwk-set+json, application/json"

    def fetch() -> bytes:
        return _read(opener, urllib.request.Request(url, headers={"Accept": accept}), timeout)  # noqa: S310

    return fetch


def asker(url: str, timeout: float, authorization: str, ca_file: str | None = None) -> Ask:
    """The same for questions: posts a form."""
    opener = _opener(url, ca_file)
    headers = {
        "Accept": "application/json",
        "Authorization": authorization,
        "Content-Type": "application/x-www-form-urlencoded",
    }

    def ask(form: bytes) -> bytes:
        return _read(opener, urllib.request.Request(url, data=form, headers=headers), timeout)  # noqa: S310

    return ask
