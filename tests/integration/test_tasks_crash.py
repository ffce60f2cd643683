"""Nothing acknowledged is lost, nothing unknown appears: brokers and workers are killed, and a checker reads the history.

FASTCORE_SOAK_SECONDS makes it longer.
"""

import itertools
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from broker_process import BrokerProcess, Peer
from servers import eventually

SECONDS = float(os.environ.get("FASTCORE_SOAK_SECONDS", "6"))
WORKER_SECONDS = 3
STARTED_WITHIN = 20.0
GONE = (OSError, EOFError)


class History:
    """What clients did and heard, in the order in which they heard it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = itertools.count()
        self.sent: set[str] = set()
        self.pushed: dict[str, int] = {}
        self.started: dict[str, list[tuple[int, int]]] = {}
        self.acked: set[str] = set()
        """ACK was sent, and perhaps carried out."""
        self.done: dict[str, int] = {}
        """Its answer was heard."""

    def push(self, jid: str) -> None:
        with self._lock:
            self.sent.add(jid)

    def heard_push(self, jid: str) -> None:
        with self._lock:
            self.pushed[jid] = next(self._number)

    def start(self, jid: str, token: int) -> None:
        with self._lock:
            self.started.setdefault(jid, []).append((next(self._number), token))

    def ack(self, jid: str) -> None:
        with self._lock:
            self.acked.add(jid)

    def heard_done(self, jid: str) -> None:
        with self._lock:
            self.done.setdefault(jid, next(self._number))

    def problems(self) -> list[str]:
        found = [f"{jid} was acknowledged and never done" for jid in self.pushed.keys() - self.acked]
        found += [f"{jid} was never sent" for jid in self.started.keys() - self.sent]
        for jid, starts in self.started.items():
            tokens = [token for _, token in starts]
            if any(number > self.done.get(jid, 1 << 62) for number, _ in starts):
                found.append(f"{jid} ran again after its ACK had been answered")
            if tokens != sorted(set(tokens)):
                found.append(f"the tokens of {jid} do not grow: {tokens}")
        return found


class Clients:
    """Producers and workers that go on whatever happens to the broker."""

    def __init__(self, broker: BrokerProcess, history: History, seed: int):
        self._broker, self._history, self._seed = broker, history, seed
        self.producing, self.working = threading.Event(), threading.Event()
        self.producing.set()
        self.working.set()
        self.threads = [threading.Thread(target=self._produce, args=[n]) for n in range(4)]
        self.threads += [threading.Thread(target=self._work, args=[n]) for n in range(3)]
        for thread in self.threads:
            thread.start()

    def _connect(self, on: threading.Event, wid: str | None = None) -> Peer | None:
        while on.is_set():
            try:
                return Peer(self._broker.port, wid)
            except GONE:
                self._broker.up.wait(STARTED_WITHIN)
        return None

    def _produce(self, number: int) -> None:
        peer: Peer | None = None
        for job in itertools.count():
            jid = f"p{number}-{job}"
            self._history.push(jid)
            while self.producing.is_set():
                try:
                    peer = peer or self._connect(self.producing)
                    if peer is not None:
                        peer.push(jid, queue=f"q{job % 2}", retry=1000)
                        self._history.heard_push(jid)
                    break
                except GONE:  # it did not hear the answer, and sends it again
                    if peer is not None:
                        peer.close()
                    peer = None
            if not self.producing.is_set():
                break
        if peer is not None:
            peer.close()

    def _work(self, number: int) -> None:
        dice = random.Random(self._seed * 100 + number)
        for life in itertools.count():
            peer = self._connect(self.working, f"w{number}-{life}")
            if peer is None:
                return
            try:
                while self.working.is_set():
                    got = peer.fetch("q0", "q1")
                    if got is None:
                        continue
                    self._history.start(got["jid"], got["custom"]["fencing_token"])
                    fate = dice.random()
                    if fate < 0.02:
                        break  # killed
                    if fate < 0.1:
                        peer.ask("FAIL", {"jid": got["jid"], "errtype": "E", "message": "m"})
                        self._requeue(peer)
                    else:
                        self._history.ack(got["jid"])
                        assert peer.ask("ACK", {"jid": got["jid"]}) == "OK"
                        self._history.heard_done(got["jid"])
            except GONE:
                pass
            finally:
                peer.close()

    def _requeue(self, peer: Peer) -> None:
        """Nobody waits for a backoff here, nor for a grave."""
        for target in ("retries", "dead"):
            peer.ask("MUTATE", {"cmd": "requeue", "target": target})


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.timeout(int(SECONDS) + 120)
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    broker = BrokerProcess(tmp_path / "jobs", f"timeouts: {{worker: {WORKER_SECONDS}s}}\nlimits: {{crashes: 1000}}\n")
    history = History()
    clients = Clients(broker, history, seed)
    kills = 0
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            pushed = len(history.pushed)
            eventually(lambda pushed=pushed: len(history.pushed) > pushed + dice.randrange(1, 300))  # type: ignore[misc]
            broker.kill()
            broker.start()
            kills += 1
        clients.producing.clear()
        with broker.connect() as operator:

            def drained() -> bool:
                clients._requeue(operator)
                return not broker.counts()

            eventually(drained)
    finally:
        clients.producing.clear()
        clients.working.clear()
        broker.up.set()  # nobody waits for it any more
        for thread in clients.threads:
            thread.join()
        broker.stop()
    assert history.problems() == []
    runs = Counter(len(starts) for starts in history.started.values())
    print(f"{kills} kills, {len(history.pushed)} jobs, runs of a job: {dict(runs)}")
    assert kills >= 2 and len(history.done) > len(history.pushed) * 0.9 > 50


def test_the_checker_finds_what_it_is_for() -> None:
    for fault, said in [
        (lambda h: h.heard_push("a"), "never done"),
        (lambda h: h.start("ghost", 1), "never sent"),
        (lambda h: (h.push("b"), h.heard_done("b"), h.start("b", 2)), "after its ACK"),
        (lambda h: (h.push("c"), h.start("c", 2), h.start("c", 2), h.heard_done("c")), "do not grow"),
    ]:
        history = History()
        fault(history)
        assert any(said in problem for problem in history.problems())
