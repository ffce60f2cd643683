"""The keys an issuer publishes: fetched again and again, and once more when a token names one that is not known.

One for each provider and worker. At most one fetch is under way, and between two at least the interval passes, whatever
tokens name. A fetch that fails leaves the last good set in force: an issuer that is down must not lock everybody out.
"""

import logging
import time
from collections.abc import Callable

import gevent

from apps.gateway.issuer_http import Fetch
from apps.gateway.jwk import Key, KeySet

log = logging.getLogger("fastcore.gateway")

Parse = Callable[[bytes], tuple[list[Key], list[str]]]


class RemoteKeys:
    """current: the last good set. withdrawn: called with each key that a new set has no more."""

    def __init__(
        self,
        name: str,
        fetch: Fetch,
        parse: Parse,
        *,
        refresh: float,
        interval: float,
        withdrawn: Callable[[Key], None] = lambda key: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name = name
        self.current: KeySet | None = None
        self.error = ""
        self.fetches = self.failures = 0
        self.fetched: float | None = None
        """When the last good set came, by the clock given."""
        self._fetch, self._parse, self._withdrawn, self._clock = fetch, parse, withdrawn, clock
        self._refresh, self._interval = refresh, interval
        self._began: float | None = None
        self._flight: gevent.Greenlet[[], None] | None = None
        self._loop: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        self._loop = gevent.spawn(self._run)

    def stop(self) -> None:
        for greenlet in (self._loop, self._flight):
            if greenlet is not None:
                greenlet.kill(block=False)

    def would_fetch(self) -> bool:
        """Whether `fetch` would wait for anything."""
        return self._flight is not None or self._began is None or self._clock() - self._began >= self._interval

    def fetch(self) -> bool:
        """Fetch now, or wait for who does; False when the interval has not passed. How it went is in `error`."""
        if self._flight is None:
            if not self.would_fetch():
                return False
            self._began = self._clock()
            self._flight = gevent.spawn(self._fetch_once)
        self._flight.join()
        return True

    def _run(self) -> None:
        while True:
            self.fetch()
            # A failure is tried again soon: the set in force may lack a key that tokens have by now.
            gevent.sleep(self._interval if self.error else max(self._refresh, self._interval))

    def _fetch_once(self) -> None:
        self.fetches += 1
        try:
            keys, skipped = self._parse(self._fetch())
            if not keys:
                raise ValueError("no key in it can be used" + "".join(f"; {reason}" for reason in skipped[:3]))
        except Exception as error:
            self.failures += 1
            if not self.error:
                log.error("auth provider %s: keys: %s; %s", self.name, error, self._consequence())
            self.error = str(error) or type(error).__name__
        else:
            if self.error:
                log.warning("auth provider %s: keys can be fetched again", self.name)
            for reason in skipped:
                log.debug("auth provider %s: skipped %s", self.name, reason)
            self.error = ""
            self.fetched = self._clock()
            before, self.current = self.current, KeySet(keys)
            thumbs = {key.thumb for key in keys}
            for key in before.keys if before is not None else ():
                if key.thumb not in thumbs:
                    self._withdrawn(key)
        finally:
            self._flight = None

    def _consequence(self) -> str:
        return "the last ones stay in force" if self.current is not None else "there are none yet"
