"""Real servers for tests: started on free ports, waited for by what they say, always stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent
PATIENCE = 20.0
FASTCORE = "fastcore.worker.FastcoreWorker"


class Gunicorn:
    """A gunicorn with its workers, as a context manager. Its log is read as it comes, so that tests wait for lines of it."""

    def __init__(
        self, app: str, *options: str, worker_class: str = FASTCORE, workers: int = 1, bind: str = "127.0.0.1:0"
    ):
        command = [
            str(Path(sys.executable).parent / "gunicorn"), "-k", worker_class, "-w", str(workers), "-b", bind,
            "--no-control-socket", *options, app,
        ]  # fmt: skip
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error"},
        )
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()

    def wait_for(self, pattern: str, times: int = 1) -> list[re.Match[str]]:
        """Wait until the log has this many lines that match."""
        end = time.monotonic() + PATIENCE
        with self.changed:
            while len(found := [m for line in self.lines if (m := re.search(pattern, line))]) < times:
                left = end - time.monotonic()
                assert left > 0, f"{pattern!r} x {times} did not come:\n{''.join(self.lines)}"
                self.changed.wait(left)
        return found

    def log(self) -> str:
        """What the log says so far."""
        with self.changed:
            return "".join(self.lines)

    def __enter__(self) -> Self:
        address = self.wait_for(r"Listening at: ([^,\s]+)")[0][1]
        self.address: tuple[str, int] | str
        if address.startswith("unix:"):
            self.address = address[5:]
        else:
            host, _, port = address.removeprefix("http://").rpartition(":")
            self.address = (host, int(port))
        with Client(self.address) as client:  # the first answer: a worker is up
            assert client.get("/hello").startswith(b"HTTP/1.1 ")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.close()

    def close(self) -> int:
        """Wait for its end; returns the exit status."""
        status = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status

    def signal(self, number: int) -> None:
        """Send the master a signal."""
        self.process.send_signal(number)

    def pids(self) -> list[int]:
        """The workers that have been started, in order; some may be gone."""
        return [int(m[1]) for m in self.wait_for(r"Booting worker with pid: (\d+)")]

    @property
    def url(self) -> str:
        """Address for HTTP clients; TCP only."""
        return f"http://{self.address[0]}:{self.address[1]}"


class Client:
    """A raw client: says bytes, reads whole answers by their own framing."""

    def __init__(self, address: tuple[str, int] | str):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        self.pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Say these bytes."""
        self.sock.sendall(data)

    def _more(self) -> bool:
        try:
            block = self.sock.recv(262144)
        except ConnectionResetError:
            block = b""
        self.pending += block
        return bool(block)

    def head(self) -> bytes:
        """The next head, with its empty line; what there is of it if the connection ends."""
        while b"\r\n\r\n" not in self.pending and self._more():
            pass
        end = self.pending.find(b"\r\n\r\n")
        end = len(self.pending) if end < 0 else end + 4
        head, self.pending = self.pending[:end], self.pending[end:]
        return head

    def take(self, n: int) -> bytes:
        """Exactly n bytes, fewer if the connection ends."""
        blocks = [self.pending]
        total = len(self.pending)
        while total < n:
            try:
                block = self.sock.recv(262144)
            except ConnectionResetError:
                break
            if not block:
                break
            blocks.append(block)
            total += len(block)
        data = b"".join(blocks)
        self.pending = data[n:]
        return data[:n]

    def answer(self, head_only: bool = False) -> bytes:
        """The next answer as it came: head, body in its framing."""
        head = self.head()
        if head_only or not head or re.match(rb"HTTP/1.. (204|304|1..)", head):
            return head
        if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
            return head + self.take(int(length[1]))
        if re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):
            body = b""
            while True:
                while b"\r\n" not in self.pending and self._more():
                    pass
                line, _, _ = self.pending.partition(b"\r\n")
                if not line:
                    return head + body + self.pending
                size = int(line, 16)
                body += self.take(len(line) + 2 + size + 2)
                if size == 0:
                    return head + body
        return head + self.rest()

    def rest(self) -> bytes:
        """Everything until the connection ends."""
        while self._more():
            pass
        data, self.pending = self.pending, b""
        return data

    def get(self, path: str, *fields: str) -> bytes:
        """One request on this connection, and its answer."""
        self.send(request("GET", path, *fields))
        return self.answer()


def request(method: str, path: str, *fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """A request's bytes; Content-Length is added for a body unless a field frames it."""
    lines = [f"{method} {path} HTTP/{version}", "Host: test"]
    if body and not any(f.lower().startswith("transfer-encoding") for f in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + body


def body_of(answer: bytes) -> bytes:
    """What follows the head; for answers framed by length."""
    return answer.partition(b"\r\n\r\n")[2]


def chunks(blocks: Sequence[bytes]) -> bytes:
    """Blocks in the chunked coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks if block) + b"0\r\n\r\n"
