"""Names of targets to addresses, again and again, without ever stopping traffic.

One greenlet per upstream that has names. A look-up that fails leaves the last good answer in force; until the first
good one the upstream has no endpoints and the gateway answers 503 for it and is not ready.
"""

import logging
import random
import socket
from collections.abc import Callable, Mapping

import gevent
import gevent.event

from apps.gateway.config_model import Upstream
from apps.units import Address
from fastcore.proxy import Endpoint

log = logging.getLogger("fastcore.gateway")

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 10.0


def is_numeric(address: Address) -> bool:
    """True when there is nothing to look up."""
    if address.path:
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address.host)
        except OSError:
            continue
        return True
    return False


def look_up(address: Address) -> list[tuple[str, int]]:
    """Numeric addresses of a name, in a stable order. Blocks the greenlet only. Raises OSError."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return sorted({(str(entry[4][0]), int(entry[4][1])) for entry in found})


class Resolver:
    """Keeps one upstream's endpoints current. apply is called with the endpoints whenever they change."""

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        apply: Callable[[list[Endpoint]], None],
        known: Mapping[Address, list[tuple[str, int]]] | None = None,
    ):
        """known: addresses of names that a resolver before this one had found."""
        self.name = name
        self.errors: dict[str, str] = {}
        self.settled = gevent.event.Event()
        """Set once every name has been asked for."""
        self._upstream = upstream
        self._apply = apply
        self._replaces = known is not None
        self.known: dict[Address, list[tuple[str, int]]] = dict(known or {})
        self._current: list[Endpoint] | None = None
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Numeric targets are in force when this returns; names follow as they are found. Endpoints that another
        resolver has set stay until it is known what replaces them."""
        if not self.unresolved:
            self.settled.set()
        if self.settled.is_set() or not self._replaces:
            self._publish()
        if any(not is_numeric(target.address) for target in self._upstream.targets):
            self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    @property
    def unresolved(self) -> list[str]:
        """Names that have never been found."""
        return [
            str(target.address)
            for target in self._upstream.targets
            if not is_numeric(target.address) and target.address not in self.known
        ]

    def _run(self) -> None:
        retry = FIRST_RETRY_SECONDS
        while True:
            complete = self._refresh()
            if complete:
                retry = FIRST_RETRY_SECONDS
                if not self._upstream.resolve_every:
                    return
                # Workers and upstreams must not ask the name server all at once.
                gevent.sleep(self._upstream.resolve_every / 1000 * random.uniform(0.9, 1.1))  # noqa: S311
            else:
                gevent.sleep(retry)
                retry = min(retry * 2, LAST_RETRY_SECONDS)

    def _refresh(self) -> bool:
        complete = True
        for target in self._upstream.targets:
            if is_numeric(target.address):
                continue
            name = str(target.address)
            try:
                self.known[target.address] = look_up(target.address)
            except OSError as error:
                complete = False
                reason = error.strerror or str(error)
                if self.errors.get(name) != reason:
                    log.warning("upstream %s: %s: %s", self.name, name, reason)
                self.errors[name] = reason
            else:
                self.errors.pop(name, None)
        self._publish()
        self.settled.set()
        return complete

    def _publish(self) -> None:
        endpoints: dict[tuple[str, int] | str, Endpoint] = {}
        for target in self._upstream.targets:
            address = target.address
            places: list[tuple[str, int] | str]
            if address.path:
                places = [address.path]
            elif is_numeric(address):
                places = [(address.host, address.port)]
            else:
                places = list(self.known.get(address, ()))
            for place in places:
                host = "" if address.path else str(address)
                endpoints.setdefault(place, Endpoint(place, weight=target.weight, host=host))
        current = list(endpoints.values())
        if current != self._current:
            self._apply(current)
            self._current = current
