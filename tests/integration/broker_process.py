"""A broker as its users run it, and a wire to it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

from servers import ROOT, SECONDS, eventually, free_ports


class BrokerProcess:
    """`fastcore tasks` over a directory; `start` again after `kill`."""

    def __init__(self, data: Path, settings: str = ""):
        self.data = data
        self.port, self.control = free_ports(2)
        self.file = data.parent / f"tasks-{self.port}.yaml"
        self.file.write_text(
            f"listen: ['127.0.0.1:{self.port}']\ncontrol: '127.0.0.1:{self.control}'\ndata: {data}\n{settings}"
        )
        self.log: list[str] = []
        self.up = threading.Event()
        """Set while it is not being killed or started."""
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.cli", "tasks", "-c", str(self.file)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=[self.process], daemon=True)
        self._reader.start()
        try:
            eventually(self.ready, "ready")
        except BaseException:
            self.kill()
            raise AssertionError("the broker did not start:\n" + "".join(self.log)) from None
        self.up.set()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.log.append(line.decode())

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError("the broker ended:\n" + "".join(self.log))
        try:
            return self.get("/readyz")["status"] == "ready"
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}{path}", timeout=SECONDS) as answer:
            body = answer.read().decode()
        return json.loads(body) if "json" in answer.headers["content-type"] else body

    def post(self, path: str, sent: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control}{path}", json.dumps(sent).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return json.load(answer)

    def counts(self) -> dict[str, int]:
        return {state: number for state, number in self.get("/status")["jobs"].items() if number}

    def connect(self, wid: str | None = None, **hello: Any) -> "Peer":
        return Peer(self.port, wid, **hello)

    def kill(self) -> None:
        """Everything of it, as a power cut would (but for the kernel)."""
        self.up.clear()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError("the broker did not stop:\n" + "".join(self.log)) from None
        finally:
            self.kill()
        text = "".join(self.log)
        assert "Traceback" not in text and status == 0, text


class Peer:
    """A connection that has said HELLO."""

    def __init__(self, port: int, wid: str | None = None, *, greet: bool = True, **hello: Any):
        self.sock = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.sock.makefile("rb")
        try:
            self.greeting = self.answer()
            if greet:
                told = {"v": 2, **({"wid": wid} if wid else {}), **hello}
                assert self.ask("HELLO", told) == "OK"
        except BaseException:
            self.close()
            raise

    def send(self, verb: str, argument: Any = None) -> None:
        text = argument if isinstance(argument, str) else "" if argument is None else json.dumps(argument)
        self.sock.sendall(f"{verb} {text}\r\n".encode())

    def answer(self) -> Any:
        """Text, bytes or None; an error is an OSError."""
        line = self.reader.readline()
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n"), line
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"+":
            return text
        if kind == b"-":
            raise OSError(text)
        assert kind == b"$", line
        if text == "-1":
            return None
        data = self.reader.read(int(text) + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    def ask(self, verb: str, argument: Any = None) -> Any:
        self.send(verb, argument)
        return self.answer()

    def push(self, jid: str, **members: Any) -> None:
        assert self.ask("PUSH", {"jid": jid, "jobtype": "t", "args": [], **members}) == "OK"

    def fetch(self, *queues: str) -> dict[str, Any] | None:
        got = self.ask("FETCH", " ".join(queues))
        return None if got is None else dict(json.loads(got))

    def close(self) -> None:
        self.reader.close()
        self.sock.close()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
