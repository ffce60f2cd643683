"""Who follows whom: a reload's old workers go on serving until one of the new ones does.

gunicorn forks the new workers of a reload and at once tells the old ones to leave, while the new ones still import
the application. Connections that come meanwhile would wait in the listeners' queue for as long as that takes. So
generations of workers are numbered in the shared region, and an old worker that is told to stop looks there whether its
successors serve already. The same holds for an upgrade by USR2, whose master attaches the same region.
"""

import os

from fastcore.shm import Region

__all__ = ["Succession"]

CURRENT, SERVING, MASTER = range(3)  # words of the section


class Succession:
    """Generations of workers of one region. Only masters begin one; a word is one store, so no lock is needed."""

    def __init__(self, region: Region) -> None:
        self._words = region.section("succession", 64).cast("I")

    def begin(self) -> int:
        """A master is about to fork the first worker of a new generation: its number."""
        self._words[MASTER] = os.getpid()
        self._words[CURRENT] += 1
        return self._words[CURRENT]

    def current(self) -> int:
        """The generation begun last; 0 before the first."""
        return self._words[CURRENT]

    def serves(self, generation: int) -> None:
        """A worker of this generation accepts connections."""
        if self._words[SERVING] < generation:
            self._words[SERVING] = generation

    def awaited(self, generation: int) -> bool:
        """Are there successors of this generation that do not serve yet, and somebody who forks them?"""
        return self._words[CURRENT] > generation >= self._words[SERVING] and _runs(self._words[MASTER])


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
