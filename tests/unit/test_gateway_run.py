"""The control plane under real gunicorn masters: start, reload with a broken file, stop.

The data plane has tests of its own; here the worker class is gunicorn's gevent, so every listener serves the control plane.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

CONF = Path(__file__).resolve().parents[2] / "src/apps/gateway/gunicorn.conf.py"
COMMAND = (
    "import apps.gateway.serving as s, sys; s.WORKER_CLASS = 'gevent'; from apps.cli import main; sys.exit(main())"
)
SECONDS = 30


class Running:
    """A master whose log is read as it comes, so that tests wait for lines and not for time."""

    def __init__(self, command: list[str], folder: Path):
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            self.listen, self.control = one.getsockname()[1], other.getsockname()[1]
        self.file = folder / "gateway.yaml"
        self.write("u")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FASTCORE_")}
        environ["FASTCORE_GATEWAY_CONFIG"] = str(self.file)
        self.process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.by_gunicorn = False
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def write(self, upstream: str, more: str = "") -> None:
        self.file.write_text(
            f"listen: ['127.0.0.1:{self.listen}']\ncontrol: '127.0.0.1:{self.control}'\nworkers: 1\n"
            f"upstreams: {{{upstream}: {{targets: [a:1]}}}}\nroutes: [{{path: /, upstream: {upstream}}}]\n{more}"
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: sum(text in line for line in self.lines) >= times, SECONDS)
        assert found, f"{text!r} never came:\n" + "".join(self.lines)

    def get(self, path: str) -> tuple[int, object]:
        connection = http.client.HTTPConnection("127.0.0.1", self.control, timeout=SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.terminate()
        status = self.process.wait(SECONDS)
        self._reader.join()
        self.process.stdout.close()
        return status


@pytest.fixture(params=["fastcore gateway", "gunicorn -c"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    python = sys.executable
    commands = {
        "fastcore gateway": [python, "-c", COMMAND, "gateway"],
        "gunicorn -c": [python, "-m", "gunicorn", "-k", "gevent", "-c", str(CONF), "apps.gateway:app"],
    }
    master = Running(commands[request.param], tmp_path)
    master.by_gunicorn = request.param == "gunicorn -c"
    try:
        yield master
    finally:
        if master.process.poll() is None:
            master.stop()


def test_start_reload_and_stop(running: Running) -> None:
    running.wait_for("Booting worker with pid")
    assert running.get("/upstreams")[1][0]["name"] == "u"

    running.write("broken", "nonsense: 1\n")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("nonsense: unknown key")
    if running.by_gunicorn:  # it replaces its workers all the same, with the settings they had
        running.wait_for("Booting worker with pid", 2)
        running.wait_for("Worker exiting", 1)
    assert running.get("/upstreams")[1][0]["name"] == "u", "the running settings must stay"

    running.write("v")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("Booting worker with pid", 3 if running.by_gunicorn else 2)
    running.wait_for("Worker exiting", 2 if running.by_gunicorn else 1)
    assert running.get("/upstreams")[1][0]["name"] == "v"
    assert running.stop() == 0


def test_plain_gunicorn_needs_no_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", f"127.0.0.1:{port}", "apps.gateway:app"]
    master = Running(command, tmp_path)
    try:
        master.wait_for("Booting worker with pid")
        master.control = port
        status, body = master.get("/readyz")
        assert status == 503
        assert "worker class" in body["reasons"][0]
    finally:
        assert master.stop() == 0


def test_a_broken_file_ends_gunicorn_with_78(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("nonsense: 1\n")
    environ = {**os.environ, "FASTCORE_GATEWAY_CONFIG": str(tmp_path / "g.yaml")}
    command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-c", str(CONF), "apps.gateway:app"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 78
    assert "g.yaml:1:1: nonsense: unknown key" in ended.stderr
