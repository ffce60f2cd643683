"""Runs services as child processes: starts them in order, stops them in reverse, ends when one dies.

Each child leads a session of its own, so that Ctrl-C in a terminal reaches only this process and the order of stopping
is ours: first what takes traffic, then what it leans on.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from apps.exits import OK, UNAVAILABLE, CommandError
from apps.units import Address

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0  # between looks at the children, should a death have been told to nobody


@dataclass(slots=True)
class Child:
    """A service: what it is called, how it starts, and where it answers once it has."""

    name: str
    command: Sequence[str]
    addresses: Sequence[Address] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)


def run(children: Sequence[Child], *, started: Callable[[], None], start_seconds: float, stop_seconds: float) -> int:
    """Starts `children` one after another, calls `started`, waits for a signal or a death, stops them in reverse.

    Returns the exit status: 0 after a signal. Raises CommandError when a child dies or does not answer within
    `start_seconds`; the others are stopped first. A child that has not ended `stop_seconds` after TERM is killed.
    """
    watched = {*STOPPING, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        for child in children:
            # Children must not inherit the blocked mask, or TERM would never reach them.
            child.process = subprocess.Popen(
                child.command,
                start_new_session=True,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            )
            if not _wait_until_up(child, children, start_seconds):
                return OK
        started()
        while True:
            told = signal.sigtimedwait(watched, LOOK_SECONDS)
            if told is not None and told.si_signo != signal.SIGCHLD:
                return OK
            _refuse_dead(children)
    finally:
        for child in reversed(children):
            _stop(child, stop_seconds)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_until_up(child: Child, children: Sequence[Child], seconds: float) -> bool:
    """True when all its addresses answer, False when a signal asked to stop meanwhile."""
    deadline = time.monotonic() + seconds
    waiting = list(child.addresses)
    while waiting:
        if _answers(waiting[0]):
            waiting.pop(0)
            continue
        _refuse_dead(children)
        if time.monotonic() > deadline:
            raise CommandError(f"{child.name} did not answer at {waiting[0]} within {seconds:g} s", UNAVAILABLE)
        if signal.sigtimedwait(STOPPING, POLL_SECONDS):
            return False
    _refuse_dead(children)
    return True


def _refuse_dead(children: Sequence[Child]) -> None:
    for child in children:
        if child.process is not None and (status := child.process.poll()) is not None:
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            raise CommandError(f"{child.name} ended ({how})", status if status > 0 else UNAVAILABLE)


def _answers(address: Address) -> bool:
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(address.path or (host, address.port))
        except OSError:
            return False
    return True


def _stop(child: Child, seconds: float) -> None:
    process = child.process
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the whole session: a gunicorn master killed alone leaves its workers
        process.wait()
