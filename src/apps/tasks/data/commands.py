"""Each verb of Faktory's protocol: what it does with the broker, and its answer."""

import fnmatch
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.tasks.core.broker import Broker, Refused
from apps.tasks.core.job import BadJob, Failure, Job
from apps.tasks.core.workers import QUEUES_MAX
from apps.tasks.data import wire
from apps.tasks.data.wire import BadRequest
from fastcore import __version__

if TYPE_CHECKING:
    from apps.tasks.data.server import Peer, TaskServer

TIMEOUT_LEAST = 3.0  # seconds a worker may be silent: a FETCH that waits takes 2 of them


@dataclass(frozen=True)
class Later:
    """FETCH found nothing: the answer comes when there is a job, or the time is over."""

    queues: list[str]


Answer = bytes | Later


class Commands:
    def __init__(self, broker: Broker, server: "TaskServer"):
        self._broker, self._server = broker, server
        self._started = time.time()
        self._commands = 0
        self._verbs: dict[bytes, Callable[[Peer, bytes, int], Answer]] = {
            b"PUSH": self._push,
            b"PUSHB": self._push_bulk,
            b"FETCH": self._fetch,
            b"ACK": self._ack,
            b"FAIL": self._fail,
            b"BEAT": self._beat,
            b"INFO": self._info,
            b"FLUSH": self._flush,
            b"MUTATE": self._mutate,
            b"QUEUE": self._queue,
            b"END": self._end,
        }

    def carry_out(self, peer: "Peer", request: bytes, now: int) -> Answer:
        """Raises BadRequest, BadJob, Refused, StoreFailed."""
        verb, _, rest = request.partition(b" ")
        self._commands += 1
        if not peer.greeted:
            return self._hello(peer, verb, rest, now)
        command = self._verbs.get(verb.upper())
        if command is None:
            raise BadRequest(f"unknown command {verb[:20].decode('ascii', 'replace')}")
        return command(peer, rest.strip(), now)

    def _hello(self, peer: "Peer", verb: bytes, rest: bytes, now: int) -> bytes:
        if verb.upper() != b"HELLO":
            raise BadRequest("say HELLO first")
        hello = wire.parse_object(rest)
        password = self._server.password
        if password and not wire.knows_password(hello, password, peer.salt, peer.rounds):
            raise BadRequest("wrong password")
        wid = hello.get("wid")
        if wid is not None:
            if not isinstance(wid, str) or not 1 <= len(wid) <= 255:
                raise BadRequest("wid must be a string of 1 to 255 characters")
            beat = hello.get("beat_timeout")
            if beat is not None and (
                isinstance(beat, bool) or not isinstance(beat, int | float) or beat < TIMEOUT_LEAST
            ):
                raise BadRequest(f"beat_timeout must be a number of seconds from {TIMEOUT_LEAST:g} on")
            peer.worker = self._broker.hello(wid, hello, now, None if beat is None else int(beat * 1000))
        peer.greeted = True
        if peer.connection is not None:
            peer.connection.set_deadline(None)
        return wire.simple("OK")

    def _push(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        self._broker.push(wire.parse(rest), now)
        return wire.simple("OK")

    def _push_bulk(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        jobs = wire.parse(rest)
        if not isinstance(jobs, list):
            raise BadRequest("PUSHB takes an array of jobs")
        errors = {}
        for place, job in enumerate(jobs):
            try:
                self._broker.push(job, now)
            except (BadJob, Refused) as refused:
                jid = job.get("jid") if isinstance(job, dict) else None
                errors[jid if isinstance(jid, str) else str(place)] = str(refused)
        return wire.bulk(wire.to_json(errors))

    def _fetch(self, peer: "Peer", rest: bytes, now: int) -> Answer:
        if peer.worker is None:
            raise BadRequest("FETCH is for workers: say HELLO with a wid")
        try:
            queues = list(dict.fromkeys(rest.decode().split())) or ["default"]
        except UnicodeDecodeError:
            raise BadRequest("queue names are UTF-8") from None
        if len(queues) > QUEUES_MAX:
            raise BadRequest(f"FETCH takes at most {QUEUES_MAX} queues")
        found = self._broker.fetch(peer.worker, queues, now)
        if found is None and not peer.worker.quiet:
            return Later(queues)
        return wire.bulk(found)

    def _ack(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        self._broker.ack(_jid(wire.parse_object(rest)), peer.worker, now)
        return wire.simple("OK")

    def _fail(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        told = wire.parse_object(rest)
        trace = told.get("backtrace")
        failure = Failure.cut(
            now,
            str(told.get("errtype") or "unknown"),
            str(told.get("message") or ""),
            [str(line) for line in trace] if isinstance(trace, list) else [],
        )
        self._broker.fail(_jid(told), peer.worker, failure, now)
        return wire.simple("OK")

    def _beat(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        told = wire.parse_object(rest)
        wid = told.get("wid")
        worker = self._broker.workers.by_wid.get(wid) if isinstance(wid, str) else None
        if worker is None:
            raise BadRequest("no worker of that wid is known: say HELLO again")
        if told.get("current_state") in ("quiet", "terminate") and not worker.state:
            worker.state = "quiet"  # it says so of itself: it fetches no more
        rss = told.get("rss_kb")
        state = self._broker.beat(worker, now, rss if isinstance(rss, int) else 0)
        return wire.bulk(wire.to_json({"state": state})) if state else wire.simple("OK")

    def _info(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        broker = self._broker
        counts = broker.counts(now)
        sizes = {"Scheduled": "scheduled", "Retries": "retries", "Dead": "dead", "Working": "leased"}
        told = {
            "now": now / 1000,
            "server_utc_time": time.strftime("%H:%M:%S UTC", time.gmtime(now / 1000)),
            "faktory": {
                "queues": broker.depths(now),
                "total_enqueued": counts["ready"],
                "total_processed": broker.acked + broker.failed,
                "total_failures": broker.failed,
                "total_queues": len(broker.index.queues()),
                "tasks": {name: {"size": counts[ours]} for name, ours in sizes.items()},
                "sets": {name.lower(): counts[ours] for name, ours in sizes.items()},
            },
            "server": {
                "description": "fastcore tasks",
                "faktory_version": __version__,
                "uptime": int(time.time() - self._started),
                "connections": len(self._server.peers),
                "command_count": self._commands,
            },
        }
        return wire.bulk(wire.to_json(told))

    def _flush(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        self._broker.flush()
        return wire.simple("OK")

    def _mutate(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        told = wire.parse_object(rest)
        broker = self._broker
        targets: dict[str, Callable[[], Iterable[Job]]] = {
            "scheduled": lambda: broker.scheduled(now),
            "retries": broker.retrying,
            "dead": broker.buried,
        }
        commands: dict[str, Callable[[Job], None]] = {
            "clear": broker.discard,
            "discard": broker.discard,
            "kill": lambda job: broker.kill(job, now),
            "requeue": lambda job: broker.requeue(job, now),
        }
        target, command = targets.get(str(told.get("target"))), commands.get(str(told.get("cmd")))
        if target is None or command is None:
            raise BadRequest(f"MUTATE takes cmd {', '.join(commands)} and target {', '.join(targets)}")
        chosen = _filter(told.get("filter") if told["cmd"] != "clear" else None, broker.body)
        for job in list(filter(chosen, target())):
            command(job)
        return wire.simple("OK")

    def _queue(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        action, *names = rest.decode("utf-8", "replace").split()
        if not names:
            raise BadRequest("QUEUE takes an action and names of queues, or *")
        match action.upper():
            case "PAUSE":
                self._broker.pause(names, True)
            case "RESUME" | "UNPAUSE":
                self._broker.pause(names, False)
            case "REMOVE":
                self._broker.remove_queues(names)
            case _:
                raise BadRequest("QUEUE knows PAUSE, RESUME and REMOVE")
        return wire.simple("OK")

    def _end(self, peer: "Peer", rest: bytes, now: int) -> bytes:
        peer.greeted = False  # nothing more is taken from it, and it is closed behind the answer
        return wire.simple("OK")


def _jid(told: dict[str, Any]) -> str:
    jid = told.get("jid")
    if not isinstance(jid, str) or not jid:
        raise BadRequest("jid is missing")
    return jid


def _filter(told: Any, body: Callable[[Job], bytes]) -> Callable[[Job], bool]:
    if told is None:
        return lambda job: True
    if not isinstance(told, dict):
        raise BadRequest("filter must be an object")
    jids, jobtype, glob = told.get("jids"), told.get("jobtype"), told.get("regexp")  # Faktory's "regexp" is Redis' glob
    if jids is not None and not isinstance(jids, list):
        raise BadRequest("filter.jids must be an array")

    def chosen(job: Job) -> bool:
        return (
            (jids is None or job.jid in jids)
            and (jobtype is None or job.jobtype == jobtype)
            and (not glob or fnmatch.fnmatchcase(body(job).decode("utf-8", "replace"), str(glob)))
        )

    return chosen
