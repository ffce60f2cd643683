"""Calling in a forked child."""

import os
from collections.abc import Callable


def forked(function: Callable[[], object]) -> int:
    """The exit code of a forked child that calls it: 0 when it returned."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def child(function: Callable[[], object], expected: type[BaseException]) -> int:
    """The exit code of a forked child that calls it: 0 when it raised what is expected."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
        except expected:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
