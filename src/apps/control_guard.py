"""Who may talk to a control plane: the same three rules for every service.

1. With a token configured, everything but probes and the empty page needs it (`Authorization: Bearer`).
2. Without one, only peers on this machine are answered, whatever address the server was bound to.
3. On a loopback address the Host header must name this machine: a page of a foreign site that rebinds its DNS name to
   127.0.0.1 reaches us from the user's own browser, but sends its own name.
"""

import hmac
import ipaddress
from collections.abc import Collection
from typing import Any

import falcon

from apps.units import Address

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NOTHING_MAY_LOAD = "default-src 'none'; frame-ancestors 'none'"
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Falcon middleware. `open_paths` need no token: they hold nothing secret."""

    def __init__(self, token: str | None, address: Address, hosts: Collection[str], open_paths: Collection[str]):
        self._token = token.encode() if token else None
        self._local = address.is_loopback
        self._hosts = LOCAL_NAMES | {host.lower() for host in hosts} | ({address.host} if address.host else set())
        self._open = frozenset(open_paths)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        if self._local and not self._names_us(req):
            raise falcon.HTTPError(
                421, description="the Host header does not name this control plane; see control_hosts"
            )
        if self._token is None:
            if not is_local_peer(req.env.get("REMOTE_ADDR", "")):
                raise falcon.HTTPForbidden(description="without control_token only this machine is answered")
        elif req.path not in self._open and not self.is_authorized(req):
            raise falcon.HTTPUnauthorized(
                description="send Authorization: Bearer <control_token>", challenges=["Bearer"]
            )

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: object, succeeded: bool) -> None:
        for name, value in SECURITY_HEADERS.items():
            resp.set_header(name, value)
        if resp.get_header("Content-Security-Policy") is None:
            resp.set_header("Content-Security-Policy", NOTHING_MAY_LOAD)

    def is_authorized(self, req: falcon.Request) -> bool:
        """True when no token is needed or this request carries it."""
        if self._token is None:
            return True
        scheme, _, given = (req.auth or "").partition(" ")
        # latin-1 is what WSGI decoded the header with, so these are the bytes that were sent
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token)

    def _names_us(self, req: falcon.Request) -> bool:
        return host_name(req.get_header("Host") or "") in self._hosts


def host_name(authority: str) -> str:
    """The name in a Host header, lower case, without port and brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.rpartition(":")[0].lower() if ":" in authority else authority.lower()


def is_local_peer(peer: Any) -> bool:
    """True for loopback addresses and for unix sockets, whose peer has no address."""
    if not peer:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
