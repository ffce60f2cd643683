"""Calling from a plain thread."""

import threading
from collections.abc import Callable


def in_thread(function: Callable[[], object]) -> object:
    """What function() answers in a plain thread, one that has no hub."""
    answer: list[object] = []

    def run() -> None:
        try:
            answer.append(function())
        except BaseException as error:
            answer.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert answer, "the thread hangs"
    if isinstance(answer[0], BaseException):
        raise answer[0]
    return answer[0]
