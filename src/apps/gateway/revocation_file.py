"""Revocations on disk, so that a gateway that starts again does not accept what was revoked before.

One JSON object a line: {"mark": hexadecimal, "at": seconds since 1970, "until": seconds since 1970}. A mark is a hash
(see `revocations.tag`): the file holds no credentials. Lines are appended and synced one by one; when most are over,
the file is written anew beside and put in place.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger("fastcore.gateway")

OVER_MAX = 1000  # lines whose time is over that may stand in the file


@dataclass(frozen=True, slots=True)
class Line:
    mark: str
    at: float
    until: float


class RevocationFile:
    """Used by several processes at once. Raises OSError."""

    def __init__(self, path: str):
        self._path = Path(path)

    def append(self, mark: bytes, at: float, until: float) -> None:
        """It is on the disk when this returns."""
        line = json.dumps(asdict(Line(mark.hex(), at, until))).encode() + b"\n"
        with self._locked(), self._path.open("ab+") as stream:
            os.fchmod(stream.fileno(), 0o600)
            if stream.seek(0, os.SEEK_END):
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":  # somebody died in the middle of a line
                    line = b"\n" + line
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())

    def load(self, now: float) -> list[Line]:
        """Those that are not over. A line that cannot be read is told in the log and left out; it stays in the file."""
        with self._locked():
            lines = self._path.read_text().splitlines() if self._path.exists() else []
            found = list(self._readable(lines))
            live = [line for line in found if line.until > now]
            if len(found) == len(lines) and len(found) - len(live) > max(OVER_MAX, len(live)):
                self._rewrite(live)
        return live

    def _readable(self, lines: list[str]) -> Iterator[Line]:
        for number, text in enumerate(lines, 1):
            try:
                line = Line(**json.loads(text))
                bytes.fromhex(line.mark)
                line.at + line.until
            except (ValueError, TypeError) as error:
                log.error("%s:%d: no revocation: %s", self._path, number, error)
            else:
                yield line

    def _rewrite(self, lines: list[Line]) -> None:
        part = self._path.with_name(f".{self._path.name}.new")
        with part.open("w") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.writelines(json.dumps(asdict(line)) + "\n" for line in lines)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Held on a file beside, because this one may be replaced."""
        with self._path.with_name(f".{self._path.name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
