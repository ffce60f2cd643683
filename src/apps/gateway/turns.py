"""Long work on the hub, in pieces between which other events have their turn."""

import contextlib
import time

import gevent.hub


class Turns:
    """Call it between two pieces: once `seconds` have passed it lets the hub look at sockets and timers."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hub = gevent.get_hub()
        self._began = time.perf_counter()

    def begin(self) -> None:
        """The work begins, or goes on after a wait of its own."""
        self._began = time.perf_counter()

    def __call__(self) -> None:
        if time.perf_counter() - self._began > self._seconds:
            # Not sleep(0): that comes back within the same round of the hub, before it has looked at sockets.
            with contextlib.closing(self._hub.loop.timer(0)) as turn:
                self._hub.wait(turn)
            self.begin()
