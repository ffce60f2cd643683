"""A job: what its producer said of it, read strictly, and what the broker keeps."""

import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgpack

from apps.tasks.core import backoff
from apps.tasks.core.backoff import Backoff

NAME_MAX = 255  # bytes of a jid, jobtype or queue
PRIORITY = 128
RESERVE_SECONDS = 1800
RESERVE_RANGE = (60, 86_400)
RETRIES = 25
RETRIES_MAX = 1_000_000
FORMAT = 1
POLICY_AT, FAILURE_AT = 11, 14  # among the members of a stored job
TIME_MAX = 253_402_300_799_999  # ms: the end of the year 9999, which RFC 3339 can say; the index could hold more

ERRTYPE_MAX, MESSAGE_MAX, BACKTRACE_MAX = 100, 1000, 50

_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# Made once: json.dumps with options makes one each time.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_ASCII_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

#: Ours to say; what a producer wrote there is replaced.
OURS = ("created_at", "enqueued_at", "failure", "state")


class BadJob(ValueError):
    """The text says which member, and what it may be."""


@dataclass(slots=True)
class Failure:
    """The last time it failed."""

    at: int
    errtype: str
    message: str
    backtrace: list[str] = field(default_factory=list)

    @classmethod
    def cut(cls, at: int, errtype: str, message: str, backtrace: list[str]) -> "Failure":
        """Within what is kept."""
        return cls(
            at, errtype[:ERRTYPE_MAX], message[:MESSAGE_MAX], [line[:1000] for line in backtrace[:BACKTRACE_MAX]]
        )


@dataclass(slots=True)
class Job:
    """Times are milliseconds since 1970."""

    jid: str
    jobtype: str
    queue: str
    priority: int
    run_at: int
    retry: int
    reserve: int
    """Seconds a worker may take."""
    created: int
    enqueued: int
    expires: int | None = None
    unique: bytes = b""
    """What no other job may be like meanwhile; empty: any may."""
    unique_until_start: bool = False
    backoff: Backoff = backoff.DEFAULT
    failures: int = 0
    crashes: int = 0
    failure: Failure | None = None
    token: int = 0
    """Of its lease; 0: nobody has it."""
    worker: str = ""
    reserved_until: int = 0
    died: int = 0

    def pack(self) -> bytes:
        failure = self.failure
        policy = self.backoff
        made: bytes = msgpack.packb(
            [
                FORMAT,
                self.jobtype,
                self.queue,
                self.priority,
                self.run_at,
                self.retry,
                self.reserve,
                self.created,
                self.enqueued,
                self.expires,
                self.unique,
                self.unique_until_start,
                None if policy is backoff.DEFAULT else _packed(policy),
                self.failures,
                self.crashes,
                None if failure is None else [failure.at, failure.errtype, failure.message, failure.backtrace],
                self.token,
                self.worker,
                self.reserved_until,
                self.died,
            ]
        )
        return made

    @classmethod
    def unpack(cls, jid: str, data: bytes) -> "Job":
        """Raises ValueError for what this version does not know."""
        form, *members = msgpack.unpackb(data)
        if form != FORMAT:
            raise ValueError(f"job {jid!r} was stored in format {form}; this version reads {FORMAT}")
        policy, failure = members[POLICY_AT], members[FAILURE_AT]
        members[POLICY_AT] = backoff.DEFAULT if policy is None else _unpacked(policy)
        members[FAILURE_AT] = None if failure is None else Failure(*failure)
        return cls(jid, *members)


def _packed(policy: Backoff) -> list[Any]:
    return [
        policy.kind,
        policy.first,
        policy.base,
        policy.step,
        policy.cap,
        policy.jitter,
        policy.delays,
        policy.max_age,
    ]


def _unpacked(policy: list[Any]) -> Backoff:
    kind, first, base, step, cap, jitter, delays, max_age = policy
    return Backoff(kind, first, base, step, cap, jitter, tuple(delays), max_age)


@dataclass(frozen=True, slots=True)
class Body:
    """What a worker gets of a job, but for what the broker says: JSON, split where that goes in."""

    members: bytes
    """Without braces, not empty."""
    custom: bytes
    """Members of `custom`, without braces; empty when there are none."""

    def pack(self) -> bytes:
        made: bytes = msgpack.packb([self.members, self.custom])
        return made

    @classmethod
    def unpack(cls, data: bytes) -> "Body":
        return cls(*msgpack.unpackb(data))


def handed_out(job: Job, body: Body) -> bytes:
    """The job's JSON for a worker."""
    custom = b"%b%b" % (body.custom, b"," if body.custom else b"")
    failure = b""
    if job.failure is not None:
        failure = b',"failure":' + _json(failure_object(job))
    return b'{%b,"created_at":"%b","enqueued_at":"%b"%b,"custom":{%b"fencing_token":%d}}' % (
        body.members,
        text_of(job.created).encode(),
        text_of(job.enqueued).encode(),
        failure,
        custom,
        job.token,
    )


def failure_object(job: Job) -> dict[str, Any]:
    failure = job.failure
    assert failure is not None
    made: dict[str, Any] = {
        "retry_count": max(0, job.failures - 1),
        "failed_at": text_of(failure.at),
        "message": failure.message,
        "errtype": failure.errtype,
    }
    if not job.died:
        made["next_at"] = text_of(job.run_at)
    if failure.backtrace:
        made["backtrace"] = failure.backtrace
    return made


def read_job(value: Any, now: int) -> tuple[Job, Body]:
    """A job as a producer sends it. Raises BadJob."""
    if not isinstance(value, dict):
        raise BadJob("a job must be an object")
    jid, jobtype = _name(value.get("jid"), "jid"), _name(value.get("jobtype"), "jobtype")
    if not isinstance(value.get("args"), list):
        raise BadJob("args must be an array")
    queue = _name(value.get("queue", "default"), "queue")
    custom = value.get("custom")
    if custom is None:
        custom = {}
    if not isinstance(custom, dict):
        raise BadJob("custom must be an object")
    at = _time(value.get("at"), "at")
    reserve = _whole(value.get("reserve_for"), "reserve_for", 0, 1 << 31) or RESERVE_SECONDS
    retry = _whole(value.get("retry"), "retry", -1, RETRIES_MAX)
    priority = _whole(custom.get("priority"), "custom.priority", 0, 255)
    unique_for = _whole(custom.get("unique_for"), "custom.unique_for", 1, 366 * 86_400)
    until = custom.get("unique_until", "success")
    if until not in ("success", "start"):
        raise BadJob('custom.unique_until must be "success" or "start"')
    try:
        policy = backoff.read(custom.get("backoff"))
    except backoff.BadPolicy as error:
        raise BadJob(f"custom.{error}") from None
    job = Job(
        jid,
        jobtype,
        queue,
        PRIORITY if priority is None else priority,
        run_at=max(now, at or 0),
        retry=RETRIES if retry is None else retry,
        reserve=min(max(reserve, RESERVE_RANGE[0]), RESERVE_RANGE[1]),
        created=_time(value.get("created_at"), "created_at") or now,
        enqueued=now,
        expires=_time(custom.get("expires_at"), "custom.expires_at"),
        unique=likeness(jobtype, queue, value["args"]) if unique_for else b"",
        unique_until_start=until == "start",
        backoff=policy,
    )
    kept = {name: member for name, member in value.items() if name not in OURS and name != "custom"}
    inner = {name: member for name, member in custom.items() if name != "fencing_token"}
    return job, Body(_json(kept)[1:-1], _json(inner)[1:-1])


def unique_seconds(value: dict[str, Any]) -> int:
    """Of a job that `read_job` took: how long no other may be like it; 0: any time."""
    custom = value.get("custom") or {}
    return int(custom.get("unique_for") or 0)


def likeness(jobtype: str, queue: str, args: list[Any]) -> bytes:
    """The same for jobs that do the same."""
    return hashlib.sha256(json.dumps([jobtype, queue, args], sort_keys=True).encode()).digest()[:16]


def text_of(ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@functools.lru_cache(maxsize=256)  # of jobs that come and go now, nearly all times are in the same few seconds
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _json(value: Any) -> bytes:
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # 1e999
        raise BadJob("a number is greater than a double can be") from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # lone surrogates, which JSON can only say by escapes
        return _ASCII_ENCODER.encode(value).encode()


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value or len(value.encode("utf-8", "surrogatepass")) > NAME_MAX:
        raise BadJob(f"{name} must be a string of 1 to {NAME_MAX} bytes")
    if _NOT_IN_NAMES.search(value):
        raise BadJob(f"{name} must not have control characters or lone surrogates")
    return value


def _whole(value: Any, name: str, least: int, most: int) -> int | None:
    """None where there is none, as JSON's null."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadJob(f"{name} must be a whole number from {least} to {most}")
    return value


def _time(value: Any, name: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise BadJob(f"{name} must be a time by RFC 3339, as 2026-01-31T23:59:59.5Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    ms = round(moment.timestamp() * 1000)
    if not 0 <= ms <= TIME_MAX:
        raise BadJob(f"{name} must be a time from 1970 on")
    return ms
