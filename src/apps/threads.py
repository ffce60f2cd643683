"""Calls that may wait for a disk, made in a thread while other greenlets go on."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gevent

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What it returns or raises. gevent's pool by itself writes every exception to the log, expected or not."""

    def outcome() -> tuple[list[T], Exception | None]:
        try:
            return [function(*args, **kwargs)], None
        except Exception as error:
            return [], error

    values, error = gevent.get_hub().threadpool.apply(outcome)
    if error is not None:
        raise error
    made: T = values[0]
    return made
