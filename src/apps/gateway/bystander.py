"""A thread that works beside the greenlets of a worker and gives way to them.

For work that lets go of the interpreter's lock, as checking a signature does: on the hub 500 new tokens a second kept
everybody else waiting for a tenth of the time.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import gevent
from gevent.monkey import get_original

Question = TypeVar("Question")
Answer = TypeVar("Answer")

NICE = 10  # more than the worker: it has a tenth of the processor when both want it, and all that is idle


class Bystander(Generic[Question, Answer]):
    """answer: called in the thread, must raise nothing and touch nothing of gevent's. heard: called on the hub with
    each question and its answer, must not wait."""

    def __init__(self, answer: Callable[[Question], Answer], heard: Callable[[Question, Answer], None]):
        self._answer, self._heard = answer, heard
        self._questions = get_original("queue", "SimpleQueue")()
        self._answers: deque[tuple[Question, Answer]] = deque()
        self._rung = gevent.get_hub().loop.async_()
        self._rung.start(self._deliver)
        # Not threading.Thread: under gevent's patches starting it waits for a greenlet's event that nobody sets.
        get_original("_thread", "start_new_thread")(self._run, ())

    def ask(self, question: Question) -> None:
        self._questions.put((question,))

    def stop(self) -> None:
        """What has not been answered is not."""
        self._questions.put(None)
        self._rung.stop()  # not closed: the thread may be about to ring

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # where threads have no priorities of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        while (taken := self._questions.get()) is not None:
            (question,) = taken
            self._answers.append((question, self._answer(question)))
            self._rung.send()

    def _deliver(self) -> None:
        while self._answers:
            self._heard(*self._answers.popleft())
