"""What signals do to a gunicorn full of traffic: nobody loses a request who does not have to."""

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from gunicorn_server import PATIENCE, Client, Gunicorn, body_of, request

APP = "wsgi_apps:app"
TURNS = 50  # requests on a connection before a client makes another, so that new workers get their share


class Load:
    """Clients that ask without pause, each on its own connection; with keep-alive a connection is left when the server
    says so, never before. What goes wrong is kept."""

    def __init__(self, address: tuple[str, int] | str, clients: int = 4, keep_alive: bool = True, path: str = "/pid"):
        self.address = address
        self.keep_alive = keep_alive
        self.path = path
        self.stopping = threading.Event()
        self.answered = 0
        self.pids: set[int] = set()
        self.failures: list[str] = []
        self.progress = threading.Condition()
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        fields = [] if self.keep_alive else ["Connection: close"]
        while not self.stopping.is_set():
            try:
                with Client(self.address) as client:
                    for _ in range(TURNS):
                        if self.stopping.is_set():
                            break
                        answer = client.get(self.path, *fields)
                        if not answer.startswith(b"HTTP/1.1 200 OK"):
                            self._note(f"answer {answer!r}")
                            break
                        with self.progress:
                            self.answered += 1
                            self.pids.add(int(body_of(answer)))
                            self.progress.notify_all()
                        if b"Connection: close" in answer:
                            break
            except OSError as error:
                self._note(repr(error))

    def _note(self, failure: str) -> None:
        with self.progress:
            self.failures.append(failure)
            self.progress.notify_all()

    def wait(self, what: Callable[[], bool]) -> None:
        """Until something is true of what has been answered."""
        with self.progress:
            assert self.progress.wait_for(what, PATIENCE), (self.answered, self.pids, self.failures)

    def some_more(self, n: int = 200) -> None:
        """Until so many further answers have come."""
        target = self.answered + n
        self.wait(lambda: self.answered >= target)

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        self.some_more()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "connection per request"])
def test_hup_under_load_loses_nothing(keep_alive: bool) -> None:
    with Gunicorn(APP, "--keep-alive", "20", workers=2) as server:
        with Load(server.address, keep_alive=keep_alive) as load:
            for turn in range(1, 4):
                old = set(server.pids())
                server.signal(signal.SIGHUP)
                server.wait_for("Worker exiting", 2 * turn)
                load.wait(lambda old=old: bool(load.pids - old))  # type: ignore[misc]
                load.some_more()
        assert load.failures == []


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a pipe may be made: then importing gated_app waits until somebody writes to it."""
    pipe = tmp_path / "gate"
    waiting = f"import os\nif os.path.exists({str(pipe)!r}): open({str(pipe)!r}).read()\n"
    (tmp_path / "gated_app.py").write_text(waiting + "from wsgi_apps import app\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return pipe


def test_old_workers_serve_while_new_ones_are_still_being_imported(gate: Path) -> None:
    with Gunicorn("gated_app:app", "--graceful-timeout", "60") as server:
        (old,) = server.pids()
        os.mkfifo(gate)
        server.signal(signal.SIGHUP)
        server.wait_for("Booting worker", 2)
        for _ in range(50):  # told to leave, and nobody else is there
            with Client(server.address) as client:
                assert body_of(client.get("/pid")) == str(old).encode()
        gate.write_text("")
        server.wait_for(f"Worker exiting .pid: {old}")
        with Client(server.address) as client:
            assert body_of(client.get("/pid")) != str(old).encode()


def test_a_worker_told_twice_waits_for_no_successor(gate: Path) -> None:
    with Gunicorn("gated_app:app", "--graceful-timeout", "60") as server:
        (old,) = server.pids()
        os.mkfifo(gate)
        server.signal(signal.SIGHUP)
        server.wait_for("Booting worker", 2)
        while Path(f"/proc/{old}").exists():  # as systemd does, which tells every process of a service
            with contextlib.suppress(OSError), Client(server.address) as client:
                os.kill(old, signal.SIGTERM)
                client.sock.settimeout(0.1)
                client.get("/pid")
        gate.write_text("")


def test_killed_worker_is_replaced_and_others_go_on() -> None:
    with Gunicorn(APP, "--keep-alive", "20", workers=2) as server:
        with Load(server.address, clients=6) as load:
            victim = next(iter(load.pids))
            os.kill(victim, signal.SIGKILL)
            server.wait_for("Booting worker", 3)
            replacement = server.pids()[-1]
            load.some_more(500)
            load.wait(lambda: replacement in load.pids)
        assert len(load.failures) <= 6  # at most what was under way in the dead worker
        with Client(server.address) as client:
            assert client.get("/hello").endswith(b"hello")


def test_usr2_upgrade_loses_nothing_and_keeps_shared_memory() -> None:
    def visits(address: tuple[str, int] | str) -> int:
        with Client(address) as client:
            return int(re.sub(rb"^[0-9A-F]+\r\n", b"", body_of(client.get("/metrics"))).split(b"\r\n")[0])

    with Gunicorn(APP, "--keep-alive", "20", "--pid", "/dev/shm/fastcore-usr2.pid") as server:
        assert visits(server.address) == 1
        with Load(server.address) as load:
            old_worker = server.pids()[0]
            server.signal(signal.SIGUSR2)
            new_master = int(server.wait_for(r"Starting gunicorn", 2)[1].string.split("[")[2].split("]")[0])
            server.wait_for("Booting worker", 2)
            try:
                load.some_more()
                server.signal(signal.SIGTERM)  # the old master goes; its region lives on in the new one
                server.process.wait(PATIENCE)
                load.wait(lambda: bool(load.pids - {old_worker}))
                load.some_more()
                assert visits(server.address) == 2
            finally:
                load.stopping.set()
                os.kill(new_master, signal.SIGTERM)
                server.wait_for("Shutting down", 2)
        # Between our signal and the old listener's closing, nothing was lost. (Errors after the last signal are the end.)
        assert [f for f in load.failures if "ConnectionRefused" not in f and "FileNotFound" not in f] == []
        assert "fresh shared memory" not in server.log()


def test_term_answers_what_is_under_way_and_leaves_at_once() -> None:
    with (
        Gunicorn(APP, "--keep-alive", "20") as server,
        Client(server.address) as busy,
        Client(server.address) as idle,
    ):
        assert idle.get("/hello").endswith(b"hello")
        busy.send(request("GET", "/slow?0.5"))
        with Client(server.address) as probe:
            probe.get("/hello")
        started = time.monotonic()
        os.kill(server.pids()[0], signal.SIGTERM)
        answer = busy.answer()
        assert answer.endswith(b"slow")
        assert b"Connection: close" in answer
        assert idle.rest() == b""
        server.wait_for("Worker exiting")
        assert 0.4 < time.monotonic() - started < 4  # idle grace included, far from the graceful timeout


def test_graceful_timeout_cuts_what_does_not_end() -> None:
    with Gunicorn(APP, "--graceful-timeout", "1") as server, Client(server.address) as client:
        client.send(request("GET", "/slow?60"))
        with Client(server.address) as probe:
            probe.get("/hello")
        started = time.monotonic()
        os.kill(server.pids()[0], signal.SIGTERM)
        assert client.rest() == b""
        server.wait_for("Worker graceful timeout")
        assert time.monotonic() - started < 5


def test_workers_come_and_go_by_ttin_and_ttou() -> None:
    with Gunicorn(APP) as server:
        server.signal(signal.SIGTTIN)
        server.wait_for("Booting worker", 2)
        server.signal(signal.SIGTTOU)
        server.wait_for("Worker exiting", 1)
        with Client(server.address) as client:
            assert client.get("/hello").endswith(b"hello")


def test_orphaned_worker_leaves() -> None:
    with Gunicorn(APP) as server:
        worker = server.pids()[0]
        os.kill(server.process.pid, signal.SIGKILL)
        server.wait_for("Parent changed, shutting down")
        end = time.monotonic() + PATIENCE
        while os.path.exists(f"/proc/{worker}/fd/0"):  # noqa: PTH110
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_metrics_slot_is_free_again_when_its_worker_has_died() -> None:
    with Gunicorn(APP) as server:
        for turn in range(2, 5):
            os.kill(server.pids()[-1], signal.SIGKILL)
            server.wait_for("Booting worker", turn)
        with Client(server.address) as client:
            assert client.get("/metrics").startswith(b"HTTP/1.1 200")
