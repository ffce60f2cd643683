"""Who changed what through a control plane: one JSON object a line, written before the change is answered.

    {"time": "2026-01-31T23:59:59.123Z", "by": "192.0.2.7", "method": "PUT", "path": "/config", "status": 200,
     "number": 12, ...}

Requests that were refused stand there as well, with the status they got. What else a line tells, handlers put into
`details(req)`; secrets are none of it.
"""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import falcon

log = logging.getLogger("fastcore.audit")

READING = ("GET", "HEAD", "OPTIONS")


def details(req: falcon.Request) -> dict[str, Any]:
    """What the line of this request will tell besides; to be filled."""
    if "audit" not in req.context:
        req.context.audit = {}
    found: dict[str, Any] = req.context.audit
    return found


class AuditTrail:
    """Falcon middleware, the outermost: it sees what others refuse.

    path: `-` for the log, `off`, or a file that is appended to; opened for each line, so that it may be rotated at any
    time. in_thread: runs a function that may wait for a disk. A line that cannot be written is told in the log, loudly:
    the change has been made by then.
    """

    def __init__(self, path: str, in_thread: Callable[..., Any] = lambda function, *args: function(*args)):
        self._path, self._in_thread = path, in_thread

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: object, succeeded: bool) -> None:
        if req.method in READING or self._path == "off":
            return
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "by": req.env.get("REMOTE_ADDR") or "unix",
            "method": req.method,
            "path": req.path,
            "status": falcon.http_status_to_code(resp.status),
            **details(req),
        }
        line = json.dumps(entry, default=str)
        if self._path == "-":
            log.info("%s", line)
            return
        try:
            self._in_thread(append, self._path, line + "\n")
        except OSError as error:
            log.error("%s: %s; this change is told here only: %s", self._path, error.strerror, line)


def append(path: str, line: str) -> None:
    """The whole line, on the disk when this returns. Raises OSError; then a part of it may stand there, which the next
    line is kept apart from."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "ab") as out:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = "\n" + line
        out.write(line.encode())
        out.flush()
        os.fsync(file)
