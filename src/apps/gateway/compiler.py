"""A process beside a worker that checks settings for it: started when there is something to check, ended when there has
been nothing for a while. A worker that checked 5,000 routes by itself would let its connections wait for a second.

Run as a program it reads questions from standard input and writes answers to standard output, both pickled; it ends
with its input, that is with its worker.
"""

import contextlib
import os
import pickle
import sys
from typing import Any

import gevent
import gevent.event
import gevent.lock
from gevent import subprocess

from apps.gateway.compiled import PROTOCOL, Compiled, Flags, compile_text
from apps.gateway.config import load_settings
from apps.settings import InvalidSettings, described

ANSWER_SECONDS = 60.0
IDLE_SECONDS = 30.0
NICE = 19  # requests come first


class Compiler:
    """For the greenlets of one worker; questions are answered one after the other."""

    def __init__(self, file: str | None, flags: Flags | None = None):
        self._file, self._flags = file, flags
        self._process: Any = None
        self._line = gevent.lock.RLock()
        self._end: Any = None

    def compile(self, text: str) -> Compiled:
        """Raises InvalidSettings, and OSError when the process died or took too long."""
        made: Compiled = self._ask("compile", text)
        return made

    def describe(self, text: str) -> dict[str, Any]:
        """What stands at each path, secrets masked, and where it comes from. Raises as `compile`."""
        found: dict[str, Any] = self._ask("describe", text)
        return found

    def stop(self) -> None:
        """Whoever still waits for an answer gets an OSError."""
        if self._end is not None:
            self._end.kill(block=False)
        if self._process is not None:
            self._process.kill()

    def _ask(self, what: str, text: str) -> Any:
        with self._line:
            if self._end is not None:
                self._end.kill(block=False)
            try:
                with gevent.Timeout(ANSWER_SECONDS, TimeoutError(f"no answer within {ANSWER_SECONDS:g} s")):
                    answer = self._exchange((what, text, self._file, self._flags))
            except BaseException:
                self._end_process()  # half an answer may be under way
                raise
            self._end = gevent.spawn_later(IDLE_SECONDS, self._end_process)
        if isinstance(answer, InvalidSettings):
            raise answer
        return answer

    def _exchange(self, question: object) -> Any:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "apps.gateway.compiler"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        try:
            pickle.dump(question, self._process.stdin, PROTOCOL)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)  # noqa: S301 (our own child's)
        except EOFError:
            raise OSError("the process that checks settings died; its last words are in the log") from None

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.stdin.close()
            process.stdout.close()
            process.wait()


def answer(what: str, text: str, file: str | None, flags: Flags | None) -> object:
    try:
        if what == "compile":
            return compile_text(text, file, flags)
        return described(load_settings(file, text=text, flags=flags))
    except InvalidSettings as refused:
        return refused


def main() -> None:
    os.nice(NICE)
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            pickle.dump(answer(*pickle.load(questions)), answers, PROTOCOL)  # noqa: S301 (our own worker's)
            answers.flush()


if __name__ == "__main__":
    main()
