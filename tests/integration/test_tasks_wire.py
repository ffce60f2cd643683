"""`fastcore tasks` over its socket and its control plane."""

import hashlib
import json
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_process import BrokerProcess, Peer
from servers import SECONDS, eventually

from apps.tasks.core.job import text_of


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    made = BrokerProcess(tmp_path_factory.mktemp("tasks") / "jobs")
    yield made
    made.stop()


@pytest.fixture
def broker(shared: BrokerProcess) -> BrokerProcess:
    with shared.connect() as peer:
        assert peer.ask("FLUSH") == "OK"
    return shared


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    made: list[BrokerProcess] = []

    def start_one(settings: str = "") -> BrokerProcess:
        made.append(BrokerProcess(tmp_path / f"jobs{len(made)}", settings))
        return made[-1]

    yield start_one
    for each in made:
        each.stop()


def test_push_fetch_ack(broker: BrokerProcess) -> None:
    with broker.connect() as producer, broker.connect("w") as worker:
        assert producer.greeting == 'HI {"v":2}'
        producer.push("a", args=[1, "é"], queue="q")
        got = worker.fetch("other", "q")
        assert got is not None and got["args"] == [1, "é"]
        assert broker.counts() == {"leased": 1}
        assert worker.ask("ACK", {"jid": "a"}) == "OK"
        assert broker.counts() == {}


def test_a_fetch_waits_for_a_job_and_no_longer_than_two_seconds(broker: BrokerProcess) -> None:
    with broker.connect() as producer, broker.connect("w1") as first, broker.connect("w2") as second:
        first.send("FETCH", "q")
        eventually(lambda: [w for w in broker.get("/workers") if w["wid"] == "w1"])
        second.send("FETCH", "q")
        producer.push("a", queue="q")
        got = json.loads(first.answer())  # who waited for longer
        assert got["jid"] == "a"
        assert second.answer() is None
        producer.push("b", queue="q", at=text_of(int(time.time() * 1000) + 300))
        assert second.fetch("q") is not None
        # A queue that is paused with a job in it does not hide when another's is due.
        producer.push("held", queue="paused")
        assert producer.ask("QUEUE", "PAUSE paused") == "OK"
        producer.push("c", queue="q", at=text_of(int(time.time() * 1000) + 300))
        before = time.monotonic()
        assert second.fetch("paused", "q") is not None
        assert time.monotonic() - before < 1.5


def test_pipelined_requests_are_answered_in_order(broker: BrokerProcess) -> None:
    with broker.connect("w") as peer:
        for number in range(300):
            peer.send("PUSH", {"jid": f"j{number}", "jobtype": "t", "args": [], "queue": "q"})
            peer.send("FETCH", "q")
            peer.send("ACK", {"jid": f"j{number}"})
        for number in range(300):
            assert peer.answer() == "OK"
            assert json.loads(peer.answer())["jid"] == f"j{number}"
            assert peer.answer() == "OK"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PUSH {", "not JSON at character"),
        ("PUSH []", "must be an object"),
        ('PUSH {"jid":"x","jobtype":"t"}', "args must be an array"),
        ('PUSH {"jid":"x","jobtype":"t","args":[NaN]}', "not JSON"),
        ("PUSH " + '{"jid":"x","jobtype":"t","args":' + "[" * 70 + "]" * 70 + "}", "nested more than 64 deep"),
        ("PUSH " + "[" * 5000 + "]" * 5000, "not JSON|nested"),
        ("PUSHB {}", "array of jobs"),
        ("FETCH q", "say HELLO with a wid"),
        ("ACK {}", "jid is missing"),
        ('BEAT {"wid":"nobody"}', "say HELLO again"),
        ("QUEUE PAUSE", "names of queues"),
        ("QUEUE BREAK q", "PAUSE, RESUME and REMOVE"),
        ('MUTATE {"cmd":"eat","target":"dead"}', "takes cmd"),
        ('MUTATE {"cmd":"kill","target":"dead","filter":5}', "filter must be an object"),
        ("DANCE", "unknown command DANCE"),
        ("", "unknown command"),
        ("\x00\x01", "unknown command"),
    ],
)
def test_what_cannot_be_read_costs_one_answer(broker: BrokerProcess, line: str, said: str) -> None:
    with broker.connect() as peer:
        peer.sock.sendall(line.encode() + b"\n")  # a bare LF ends a line, too
        with pytest.raises(OSError, match=said):
            peer.answer()
        peer.push("fine")


@pytest.mark.parametrize(
    "first", ["INFO", "PUSH {}", "HELLO {", "HELLO []", 'HELLO {"wid":""}', 'HELLO {"wid":"w","beat_timeout":0}']
)
def test_who_does_not_say_hello(broker: BrokerProcess, first: str) -> None:
    peer = Peer(broker.port, greet=False)
    peer.sock.sendall(f"{first}\r\nINFO\r\n".encode())
    with pytest.raises(OSError, match="ERR"):
        peer.answer()
    with pytest.raises(EOFError):
        peer.answer()
    peer.close()


def test_limits(start: Callable[..., BrokerProcess]) -> None:
    broker = start("timeouts: {hello: 200ms}\nlimits: {line_bytes: 1000, jobs: 2, connections: 3}\n")
    silent = Peer(broker.port, greet=False)
    with pytest.raises((EOFError, ConnectionResetError)):
        silent.answer()
    silent.close()
    with broker.connect() as peer:
        peer.push("a")
        peer.push("b")
        with pytest.raises(OSError, match="FULL"):
            peer.push("c")
        peer.sock.sendall(b"x" * 1500)
        with pytest.raises(OSError, match="at most 1000 bytes"):
            peer.answer()
        with pytest.raises((EOFError, ConnectionResetError)):
            peer.answer()


@pytest.mark.parametrize("version", [1, 2])
def test_password(start: Callable[..., BrokerProcess], version: int) -> None:
    broker = start("password: open sesame\n")
    peer = Peer(broker.port, greet=False)
    asked = json.loads(peer.greeting[3:])
    digest = b"open sesame" + asked["s"].encode()
    for _ in range(asked["i"] if version == 2 else 1):
        digest = hashlib.sha256(digest).digest()
    assert peer.ask("HELLO", {**({"v": 2} if version == 2 else {}), "pwdhash": digest.hex()}) == "OK"
    peer.close()
    for wrong in ({}, {"pwdhash": 5}, {"pwdhash": "0" * 64}):
        peer = Peer(broker.port, greet=False)
        with pytest.raises(OSError, match="wrong password"):
            peer.ask("HELLO", {"v": 2, **wrong})
        peer.close()
    assert "sesame" not in json.dumps(broker.get("/config"))


def test_failures_retries_and_the_dead(broker: BrokerProcess) -> None:
    with broker.connect("w") as peer:
        peer.push("a", retry=1, custom={"backoff": {"kind": "fixed", "delay": 0}})
        for _ in range(2):
            assert peer.fetch() is not None
            assert peer.ask("FAIL", {"jid": "a", "errtype": "E", "message": "m", "backtrace": ["x"]}) == "OK"
        [dead] = broker.get("/jobs?state=dead")
        assert (dead["jid"], dead["failures"], dead["failure"]["message"]) == ("a", 2, "m")
        assert peer.ask("MUTATE", {"cmd": "requeue", "target": "dead", "filter": {"jobtype": "other"}}) == "OK"
        assert broker.counts() == {"dead": 1}
        assert (
            peer.ask("MUTATE", {"cmd": "requeue", "target": "dead", "filter": {"jids": ["a"], "regexp": '*"t"*'}})
            == "OK"
        )
        got = peer.fetch()
        assert got is not None and got["failure"]["retry_count"] == 0
        info = json.loads(peer.ask("INFO"))["faktory"]
        assert (info["tasks"]["Working"]["size"], info["total_failures"] >= 2) == (1, True)


def test_queues_are_paused_and_removed(broker: BrokerProcess) -> None:
    with broker.connect("w") as peer:
        peer.push("a", queue="q")
        assert peer.ask("QUEUE", "PAUSE q") == "OK"
        assert peer.fetch("q") is None
        assert broker.get("/queues") == [{"name": "q", "ready": 1, "paused": True}]
        assert "paused" in broker.get("/why?jid=a")["reasons"][0]
        peer.send("FETCH", "q")
        with broker.connect() as other:
            assert other.ask("QUEUE", "RESUME *") == "OK"
        assert json.loads(peer.answer())["jid"] == "a"
        peer.push("b", queue="q")
        assert peer.ask("QUEUE", "REMOVE q") == "OK"
        assert broker.counts() == {"leased": 1}


def test_beats_tell_workers_what_to_do(broker: BrokerProcess) -> None:
    with broker.connect("w", pid=5, hostname="h", labels=["x"]) as peer:
        assert peer.ask("BEAT", {"wid": "w", "rss_kb": 77}) == "OK"
        [told] = [worker for worker in broker.get("/workers") if worker["wid"] == "w"]
        assert (told["pid"], told["hostname"], told["labels"], told["rss_kb"]) == (5, "h", ["x"], 77)
        with pytest.raises(OSError, match="at most 1000 queues"):
            peer.fetch(*(f"q{n}" for n in range(1001)))
        assert json.loads(peer.ask("BEAT", {"wid": "w", "current_state": "quiet"})) == {"state": "quiet"}
        peer.push("a")
        assert peer.fetch() is None


def test_a_worker_that_is_killed_gives_back_at_once(broker: BrokerProcess) -> None:
    with broker.connect() as producer, broker.connect("alive") as alive:
        dying = broker.connect("dying")
        producer.push("a")
        assert dying.fetch() is not None
        alive.send("FETCH", "default")
        before = time.monotonic()
        dying.close()
        got = json.loads(alive.answer())
        assert got["custom"]["fencing_token"] > 0 and time.monotonic() - before < 1.5
        with broker.connect("dying") as late, pytest.raises(OSError, match="STALE"):
            late.ask("ACK", {"jid": "a"})


def test_bulk(broker: BrokerProcess) -> None:
    with broker.connect() as peer:
        jobs: list[Any] = [{"jid": f"j{n}", "jobtype": "t", "args": [n]} for n in range(2000)]
        jobs += [{"jid": "bad", "jobtype": "t"}, 5]
        errors = json.loads(peer.ask("PUSHB", jobs))
        assert set(errors) == {"bad", "2001"}
        assert broker.counts() == {"ready": 2000}


def test_the_control_plane_takes_jobs_and_tells(broker: BrokerProcess) -> None:
    with broker.connect("w") as peer:
        peer.send("FETCH", "q")
        assert broker.post("/jobs", {"jid": "a", "jobtype": "t", "args": [], "queue": "q"}) == {
            "taken": 1,
            "errors": {},
        }
        assert json.loads(peer.answer())["jid"] == "a"
    told = broker.post("/jobs", [{"jid": "b", "jobtype": "t", "args": []}, {"jid": "c"}])
    assert told["taken"] == 1 and "jobtype" in told["errors"]["1"]
    for wrong in ({"jid": "c"}, 5):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            broker.post("/jobs", wrong)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        broker.get("/why?jid=none")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        broker.get("/jobs?state=all")
    assert 'fastcore_tasks_jobs{state="ready"}' in broker.get("/metrics")
    assert broker.get("/config")["limits.jobs"] == {"value": 10_000_000, "origin": "default"}
    assert "/why" in broker.get("/openapi.json")["paths"]


def test_everything_is_there_after_a_stop_and_after_a_kill(start: Callable[..., BrokerProcess]) -> None:
    broker = start()
    with broker.connect("w") as peer:
        for jid in "abcd":
            peer.push(jid)
        peer.push("later", at=text_of(int(time.time() * 1000) + 3_600_000))
        first, second = peer.fetch(), peer.fetch()
        assert first is not None and second is not None
        assert peer.ask("ACK", {"jid": first["jid"]}) == "OK"
        assert peer.ask("FAIL", {"jid": second["jid"]}) == "OK"
        third = peer.fetch()
        broker.kill()
    broker.start()
    assert broker.counts() == {"ready": 1, "leased": 1, "scheduled": 1, "retries": 1}
    with broker.connect("w") as peer:  # the worker comes back, and is done
        assert third is not None and peer.ask("ACK", {"jid": third["jid"]}) == "OK"
        broker.process.terminate()
        assert broker.process.wait(SECONDS) == 0
    broker.start()
    assert broker.counts() == {"ready": 1, "scheduled": 1, "retries": 1}


def test_one_broker_a_directory(start: Callable[..., BrokerProcess], tmp_path: Path) -> None:
    broker = start()
    with pytest.raises(AssertionError, match="one store has one opener"):
        BrokerProcess(broker.data)


def test_many_producers_share_a_sync(broker: BrokerProcess) -> None:
    def produce(name: str) -> None:
        with broker.connect() as peer:
            for number in range(50):
                peer.push(f"{name}-{number}", queue="many")

    threads = [threading.Thread(target=produce, args=[f"p{n}"]) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broker.counts() == {"ready": 800}
