"""How one worker comes to new settings: it follows what the history says is in force, and puts there what comes from
the settings file or from the control plane.

Whoever brings settings has them checked by a process beside (`compiler`), and adds them to the history; that is the
moment they are decided. The kernel tells every worker, each puts them in force between two rounds of its loop, and says
so in the history. Settings that running workers cannot follow are the master's: it reads the file and starts new ones.
"""

import contextlib
import errno
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.socket import wait_read

from apps.gateway.compiled import Compiled
from apps.gateway.compiler import Compiler
from apps.gateway.config_live import at_start_only
from apps.gateway.config_model import Route
from apps.gateway.data import PREFIX, DataPlane
from apps.gateway.history import Entry, NeedsFile, Overtaken
from apps.gateway.origin import Origin
from apps.gateway.settings_files import place_of
from apps.gateway.turns import Turns
from apps.settings import InvalidSettings
from apps.settings_file import FileError, read_settings
from apps.threads import in_thread
from fastcore.filewatch import FolderWatch
from fastcore.metrics import Metrics

log = logging.getLogger("fastcore.gateway")

FOLLOW_SECONDS = 5.0  # that a change waits for all workers before it is answered
LOOK_SECONDS = 5.0  # between looks at the file where the kernel tells nothing, as on a network's file system
RETRY_SECONDS = 1.0
CONTROL = ("control_token", "control_hosts", "audit_log")  # what the control plane is made of
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
RUNNING_POLL = 0.005
TURN_SECONDS = (
    0.0001  # of putting in force 5,000 routes, which takes 50 ms: requests meanwhile wait no longer than this
)


class Reloader:
    """Of one worker. changed: called after other settings of the control plane have come into force."""

    def __init__(self, origin: Origin, plane: DataPlane, metrics: Metrics, changed: Callable[[], None]):
        self._origin, self._plane, self._metrics, self._changed = origin, plane, metrics, changed
        self._history = origin.history
        self._compiler = Compiler(origin.file, origin.flags)
        self.number = origin.entry.number
        self._tried = self.number
        self._known: dict[bytes, Route] = origin.known
        self._greenlets: list[Any] = []
        self._changes = metrics.counter(f"{PREFIX}_config_changes", "Configurations this worker put in force")
        self._failures = metrics.counter(f"{PREFIX}_config_failures", "Configurations a worker could not put in force")
        self._rejected = metrics.counter(
            f"{PREFIX}_config_rejected", "Settings that were refused for what is wrong in them"
        )
        self._number = metrics.gauge(f"{PREFIX}_config_number", "The configuration in force, as one worker runs it")

    def start(self) -> None:
        watch = FolderWatch(self._history.folder)
        self._history.runs(self.number)
        _settle()
        self._greenlets = [gevent.spawn(self._follow, watch)]
        if self._origin.file is not None and self._plane.settings.reload.watch:
            self._greenlets.append(gevent.spawn(self._watch_file, Path(self._origin.file)))

    def stop(self) -> None:
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        self._compiler.stop()
        self._history.stopped()

    # --- for the control plane ---

    def put(self, text: str, *, by: str, save: bool = True, expect: int | None = None) -> dict[str, Any]:
        """Check it, save it in the settings file, put it in force in all workers.

        Raises InvalidSettings, Overtaken, NeedsFile, and OSError when something could not be written or the check
        broke; nothing has changed then.
        """
        return self._change(text, "put", by, save, expect)

    def roll_back(self, number: int, *, by: str, save: bool = True) -> dict[str, Any]:
        """The same with the text of an earlier one. Raises KeyError for one that is not remembered."""
        text = in_thread(self._history.load, number).text
        return self._change(text, f"rollback to {number}", by, save, None)

    def entries(self) -> list[Entry]:
        return in_thread(self._history.entries)

    def running(self) -> dict[int, int]:
        return in_thread(self._history.running)

    @property
    def draining(self) -> bool:
        return self._history.draining

    def drain(self, on: bool) -> None:
        in_thread(self._history.drain, on)

    def describe(self, number: int | None = None) -> dict[str, Any]:
        """Every setting of a configuration with its origin, secrets masked; of what runs here if none is named. Raises
        KeyError."""
        compiled: Compiled = in_thread(self._history.load, self.number if number is None else number)
        return self._compiler.describe(compiled.text)

    def compare(self, before: int, after: int) -> dict[str, dict[str, Any]]:
        """Settings that differ: {path: {"from", "to"}}; None for what is not there. Raises KeyError."""
        old, new = self.describe(before), self.describe(after)
        none: dict[str, Any] = {"value": None}
        found = {
            path: {"from": old.get(path, none)["value"], "to": new.get(path, none)["value"]} for path in {**old, **new}
        }
        return {path: change for path, change in found.items() if change["from"] != change["to"]}

    # --- new settings ---

    def _change(self, text: str, source: str, by: str, save: bool, expect: int | None) -> dict[str, Any]:
        began = time.monotonic()
        try:
            compiled = self._compiler.compile(text)
        except InvalidSettings:
            self._rejected.inc()
            raise
        needs = at_start_only(self._plane.settings, compiled.general_settings())
        file = self._origin.file if save else None
        if needs and file is None:
            raise NeedsFile(f"new workers are needed for {', '.join(needs)}, and they read the settings file")
        with in_thread(self._history.change):
            current = self._history.current()
            if expect is not None and current and expect != current.number:
                raise Overtaken(f"number {current.number} is in force, not {expect}")
            if file is not None:
                in_thread(_replace, Path(file).resolve(), text)
            if needs:
                self._start_workers(needs)
                return {"in_force": False, "new_workers_for": needs, "saved": True}
            entry = self._add(compiled, source, by)
        decided = time.monotonic()
        running = self._await_workers(entry.number)
        return {
            "in_force": True,
            "number": entry.number,
            "saved": file is not None,
            "workers": {str(pid): number for pid, number in running.items()},
            "checked_ms": round((decided - began) * 1000, 1),
            "spread_ms": round((time.monotonic() - decided) * 1000, 1),
        }

    def _add(self, compiled: Compiled, source: str, by: str) -> Entry:
        """REQUIRES: the history's `change` is ours."""
        if self._origin.file is not None:
            in_thread(self._history.saw, place_of(self._origin.file))
        current = self._history.current()
        if current is not None and current.digest == compiled.digest:
            return current
        keep = compiled.general_settings().reload.keep
        entry: Entry = in_thread(self._history.add, compiled, source=source, by=by, keep=keep)
        for warning in compiled.warnings:
            log.warning("%s", warning)
        return entry

    def _start_workers(self, needs: list[str]) -> None:
        log.info("settings: new workers start for %s", ", ".join(needs))
        os.kill(os.getppid(), signal.SIGHUP)

    def _await_workers(self, number: int) -> dict[int, int]:
        """What each worker runs, once all run this; or after FOLLOW_SECONDS."""
        until = time.monotonic() + FOLLOW_SECONDS
        while True:
            running = self._history.running()
            if all(runs >= number for runs in running.values()) or time.monotonic() > until:
                return running
            gevent.sleep(RUNNING_POLL)

    # --- the settings file ---

    def _watch_file(self, file: Path) -> None:
        watch: FolderWatch | None = None
        while True:
            try:
                watch = watch or FolderWatch(file.parent)
                if watch.read() is None:
                    watch = None
                if self._metrics.leads():
                    self._look(file)
            except OSError as error:  # no descriptors left, perhaps: it is looked at again
                log.error("settings file: %s", error)
                watch = None
            if watch is None:
                gevent.sleep(LOOK_SECONDS)
            else:
                with contextlib.suppress(TimeoutError):
                    wait_read(watch.fileno(), timeout=LOOK_SECONDS)

    def _look(self, file: Path) -> None:
        """One worker does it for all; the history says what was seen, so that another can take over."""
        with in_thread(self._history.change):
            place = place_of(str(file))
            if place and place != self._history.seen():
                self._take(file)
                in_thread(self._history.saw, place)

    def _take(self, file: Path) -> None:
        try:
            text = in_thread(read_settings, str(file))
            if not text.strip():  # emptied, to be written anew: that comes as another change
                log.warning("settings: %s is empty; the running ones stay", file)
                return
            compiled = self._compiler.compile(text)
            if needs := at_start_only(self._plane.settings, compiled.general_settings()):
                self._start_workers(needs)
            else:
                self._add(compiled, "file", "")
        except (InvalidSettings, FileError) as error:
            self._rejected.inc()
            log.error("settings refused, the running ones stay:\n%s", error)
        except OSError as error:
            log.error("settings: %s; the running ones stay", error)

    # --- what the history says ---

    def _follow(self, watch: FolderWatch) -> None:
        while True:
            try:
                if self._catch_up():
                    continue
            except OSError as error:
                log.error("settings: %s; tried again", error)
                gevent.sleep(RETRY_SECONDS)
                continue
            self._number.set(self.number if self._metrics.leads() else 0)
            with contextlib.suppress(TimeoutError):  # now and then without a reason: another worker may lead
                wait_read(watch.fileno(), timeout=LOOK_SECONDS)
            if watch.read() is None:  # the folder is gone, and the gateway with it
                return

    def _catch_up(self) -> bool:
        """Put in force what the history says; false if it is. Raises OSError for what may be over in a moment."""
        entry = self._history.current()
        if entry is None or entry.number <= self._tried:
            return False
        try:
            self._put_in_force(entry)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in PASSING:
                raise
            self._failures.inc()
            log.exception("settings: number %d cannot be put in force; this worker runs %d", entry.number, self.number)
        self._tried = entry.number
        return True

    def _put_in_force(self, entry: Entry) -> None:
        turn = Turns(TURN_SECONDS)
        compiled: Compiled = in_thread(self._history.load, entry.number)
        turn.begin()
        settings, known = compiled.settings(self._known, turn)
        if needs := at_start_only(self._plane.settings, settings):
            log.info("settings: number %d is for new workers (%s)", entry.number, ", ".join(needs))
            return
        before = self._plane.settings
        self._plane.follow(settings, turn)
        self._known = known
        _settle()
        self.number = entry.number
        self._changes.inc()
        if any(getattr(before, name) != getattr(settings, name) for name in CONTROL):
            self._changed()
        self._history.runs(entry.number)
        log.info("settings: number %d in force (%s)", entry.number, entry.source)


def _settle() -> None:
    """What is there now is there to stay: the garbage collector need not look through thousands of routes again and
    again (60 ms for 5,000, in which no request moves). Reference counts free them all the same when they go."""
    gc.collect()
    gc.freeze()


def _replace(file: Path, text: str) -> None:
    """All of the new text or all of the old, also after a loss of power; the file keeps its permissions."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with part.open("w") as stream:
            if file.exists():
                os.fchmod(stream.fileno(), file.stat().st_mode & 0o7777)
            else:
                os.fchmod(stream.fileno(), 0o600)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
