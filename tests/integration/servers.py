"""A real gateway process, a raw upstream that says exactly what a test wants, and a raw client.

Nothing here knows HTTP better than it must: `read_message` is a reader of its own, strict enough to notice framing the
gateway got wrong. Everything waits on sockets, on lines of the log or, for figures, on `eventually`.

FASTCORE_TEST_ASAN=1 runs the gateway under the sanitized build that `make asan` leaves in build/asan/lib.
"""

import collections
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]
ASAN = os.environ.get("FASTCORE_TEST_ASAN") == "1"


GIVEN: set[int] = set()  # by free_ports: the system gives a port again as soon as it is closed


def free_ports(n: int) -> list[int]:
    """Ports nobody listens on, each given once: two of them may end in the same file of settings."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < n:
            port = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            if port not in GIVEN:
                found.append(port)
        GIVEN.update(found)
    return found


def eventually(check: Callable[[], Any], what: str = "", seconds: float = SECONDS) -> Any:
    """The first true value of `check`: for figures of another process, which send no event."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := check()):
        assert time.monotonic() < deadline, f"never came true: {what or check}; last value {value!r}"
        pause.wait(0.01)
    return value


# --- messages ---------------------------------------------------------------------------------------------------------


def children(pid: int) -> set[int]:
    """Of a process that runs; empty once it has gone."""
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


class Fields(list[tuple[str, str]]):
    """Header or trailer fields in their order; names as they were written."""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a field that must not come twice."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None


@dataclass
class Message:
    """A request or an answer as it stood on the wire."""

    start: str
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=Fields)
    interim: list["Message"] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def problem(self) -> dict[str, Any]:
        assert self.fields.get("content-type") == "application/problem+json"
        return dict(json.loads(self.body))

    def __getitem__(self, name: str) -> str | None:
        return self.fields.get(name)


class EndOfStream(AssertionError):
    """The peer closed where bytes were expected; `got` had come by then."""

    def __init__(self, got: bytes):
        super().__init__(f"closed after {got!r}")
        self.got = got


class Wire:
    """A socket with a buffer and a record of every byte that came."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.sock.settimeout(SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces go out as they were sent
        self.received = bytearray()
        self._used = 0

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _more(self) -> bool:
        data = self.sock.recv(1 << 20)
        self.received += data
        return bool(data)

    def read(self, n: int) -> bytes:
        while len(self.received) - self._used < n:
            if not self._more():
                raise EndOfStream(bytes(self.received[self._used :]))
        self._used += n
        return bytes(self.received[self._used - n : self._used])

    def forget(self) -> None:
        """Drops the record of what was read: for wires that go on for long."""
        del self.received[: self._used]
        self._used = 0

    def read_until(self, mark: bytes) -> bytes:
        while (at := self.received.find(mark, self._used)) < 0:
            if not self._more():
                raise EndOfStream(bytes(self.received[self._used :]))
        return self.read(at + len(mark) - self._used)

    def read_rest(self) -> bytes:
        """Everything up to the peer's FIN."""
        while self._more():
            pass
        return self.read(len(self.received) - self._used)

    def pending(self) -> bytes:
        """What came and was not read yet, without waiting."""
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while self._more():
                pass
        self.sock.settimeout(SECONDS)
        return bytes(self.received[self._used :])

    def ended(self) -> bool:
        """Waits for the end of the connection; true when nothing but the end came."""
        try:
            return self.read_rest() == b""
        except ConnectionResetError:
            return len(self.received) == self._used

    def was_reset(self) -> bool:
        """Waits for the end; true when it was a reset."""
        try:
            self.read_rest()
        except ConnectionResetError:
            return True
        return False

    def finish(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def _fields(self) -> Fields:
        fields = Fields()
        while line := self.read_until(b"\r\n")[:-2]:
            name, colon, value = line.decode("latin-1").partition(":")
            assert colon and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name), line
            fields.append((name, value.strip(" \t")))
        return fields

    def read_head(self) -> Message:
        start = self.read_until(b"\r\n")[:-2].decode("latin-1")
        return Message(start, self._fields())

    def _chunks(self, message: Message) -> None:
        parts = []
        while size := int(self.read_until(b"\r\n")[:-2], 16):
            parts.append(self.read(size))
            assert self.read(2) == b"\r\n"
        message.body = b"".join(parts)
        message.trailers = self._fields()

    def read_body(self, message: Message, to_close: bool) -> Message:
        coding, length = message["transfer-encoding"], message["content-length"]
        assert not (coding and length), message.fields
        if coding:
            assert coding == "chunked"
            self._chunks(message)
        elif length is not None:
            message.body = self.read(int(length))
        elif to_close:
            message.body = self.read_rest()
        return message

    def read_request(self) -> Message:
        return self.read_body(self.read_head(), to_close=False)

    def read_response(self, method: str = "GET") -> Message:
        interim = []
        while (message := self.read_head()).status < 200 and message.status != 101:
            interim.append(message)
        message.interim = interim
        if method == "HEAD" or message.status in (101, 204, 304):
            return message
        return self.read_body(message, to_close=True)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- upstream ---------------------------------------------------------------------------------------------------------

Handler = Callable[[Wire], None]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer_forever(wire: Wire) -> None:
    """Answers every request with "ok"."""
    while True:
        wire.read_request()
        wire.send(ANSWER)


class RawUpstream:
    """A listening socket. Either the test takes connections by hand with `accept`, or `serve` runs a handler in a thread
    for each. What came over every connection is kept in `wires`."""

    def __init__(self, host: str = "127.0.0.1", backlog: int = 1024, port: int = 0, tls: ssl.SSLContext | None = None):
        self._tls = tls
        self.listener = socket.create_server((host, port), backlog=backlog)
        self.listener.settimeout(SECONDS)
        self.port: int = self.listener.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self.wires: list[Wire] = []
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._closing = False

    def accept(self) -> Wire:
        wire = Wire(self.listener.accept()[0])
        self.wires.append(wire)
        return wire

    def nobody_came(self) -> bool:
        """True when no connection waits to be accepted."""
        self.listener.settimeout(0)
        try:
            self.wires.append(Wire(self.listener.accept()[0]))
        except BlockingIOError:
            return True
        finally:
            self.listener.settimeout(SECONDS)
        return False

    def serve(self, handler: Handler = answer_forever) -> "RawUpstream":
        self.listener.settimeout(None)
        self._spawn(self._accept_forever, handler)
        return self

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept_forever(self, handler: Handler) -> None:
        while not self._closing:
            try:
                wire = Wire(self.listener.accept()[0])
            except OSError:
                return
            self.wires.append(wire)
            self._spawn(self._handle, handler, wire)

    def _handle(self, handler: Handler, wire: Wire) -> None:
        if self._tls is not None:
            try:
                wire.sock = self._tls.wrap_socket(wire.sock, server_side=True)
            except OSError:
                return  # a gateway that does not trust us
        try:
            with wire:
                handler(wire)
        except (EndOfStream, OSError):
            pass
        except BaseException as error:
            self.errors.append(error)

    @property
    def received(self) -> bytes:
        return b"".join(bytes(wire.received) for wire in self.wires)

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for wire in self.wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        for wire in self.wires:
            wire.close()
        assert not self.errors, self.errors


# --- gateway ----------------------------------------------------------------------------------------------------------


def _environment() -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FASTCORE_")}
    environ["PYTHONUNBUFFERED"] = "1"
    if ASAN:
        libraries = [
            subprocess.run(
                ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for name in ("libasan.so", "libstdc++.so")
        ]
        environ |= {
            "LD_PRELOAD": " ".join(libraries),
            "PYTHONMALLOC": "malloc",
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONPATH": str(ROOT / "build/asan/lib"),
        }
    return environ


class Gateway:
    """A gateway process. `settings` is YAML without listen and control, which are chosen here.

    Its output is read as it comes: `log` are its own lines, `access` the access log's objects when that goes to "-".
    """

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        workers: int = 1,
        ready: bool = True,
        limit: Callable[[], None] | None = None,
    ):
        self.port, self.control = free_ports(2)
        self.file = folder / f"gateway-{self.port}.yaml"
        self.workers = workers
        self.write(settings)
        self.log: list[str] = []
        self.access: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.cli", "gateway", "-c", str(self.file)],
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=limit,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if ready:
            try:
                self.wait_log("Listening at")
                eventually(lambda: self.get("/readyz")[0] == 200, "ready")
            except BaseException:
                self.stop()
                raise

    def text(self, settings: str) -> str:
        """The whole file."""
        return (
            f"listen: ['127.0.0.1:{self.port}']\ncontrol: '127.0.0.1:{self.control}'\n"
            f"workers: {self.workers}\n{settings}"
        )

    def write(self, settings: str) -> None:
        self.file.write_text(self.text(settings))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode()
            with self._changed:
                if line.startswith('{"time"'):
                    self.access.append(json.loads(line))
                else:
                    self.log.append(line)
                self._changed.notify_all()
        self.process.wait()
        with self._changed:
            self._changed.notify_all()

    def wait_log(self, text: str, times: int = 1) -> None:
        with self._changed:
            found = self._changed.wait_for(
                lambda: sum(text in line for line in self.log) >= times or self.process.poll() is not None, SECONDS
            )
            found = found and sum(text in line for line in self.log) >= times
            assert found, f"{text!r} never came:\n" + "".join(self.log)

    def next_access(self) -> dict[str, Any]:
        """The oldest line of the access log not taken yet."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.access, SECONDS), "no line in the access log"
            return self.access.pop(0)

    def access_of(self, path: str) -> dict[str, Any]:
        """The line for a path; those before it are dropped."""
        while (line := self.next_access())["path"] != path:
            pass
        return line

    # --- control plane ---

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.control, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read().decode()
            is_json = "json" in (answer.getheader("content-type") or "")
            return answer.status, json.loads(body) if is_json else body

    def figures(self) -> dict[str, float]:
        """Every sample of /metrics by its name with labels; sums over labels stand under the bare name."""
        figures: dict[str, float] = collections.defaultdict(float)
        for line in self.get("/metrics")[1].splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                figures[name.removeprefix("fastcore_gateway_")] += float(value)
                if "{" in name:
                    figures[name.partition("{")[0].removeprefix("fastcore_gateway_")] += float(value)
        return figures

    def quiet(self) -> None:
        """Waits until no exchange is under way and nobody waits."""
        eventually(
            lambda: (figures := self.figures())["active_requests"] == 0 and figures["waiting_requests"] == 0,
            "all exchanges over",
        )

    @property
    def worker(self) -> int:
        return int(self.get("/status")[1]["workers"][0]["pid"])

    def resident(self, pid: int) -> int:
        """Resident memory of a worker in bytes, without pages of files."""
        text = Path(f"/proc/{pid}/status").read_text()
        return int(re.findall(r"RssAnon:\s+(\d+) kB", text)[0]) * 1024

    # --- data plane ---

    def connect(self, source: str = "", receive_buffer: int = 0) -> Wire:
        """A connection; from another loopback address than 127.0.0.1 if `source` says so."""
        sock = socket.socket()
        if source:
            sock.bind((source, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(SECONDS)
        sock.connect(("127.0.0.1", self.port))
        return Wire(sock)

    def ask(self, request: bytes, method: str = "GET") -> Message:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(request)
            return client.read_response(method)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError("the gateway did not stop:\n" + "".join(self.log)) from None
        finally:
            # Whoever is left (an upgraded master, workers of a killed one) holds the pipe, and the reader would never end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self._reader.join(SECONDS)
            assert self.process.stdout is not None
            self.process.stdout.close()
        words = ("Sanitizer", "runtime error", "Traceback", "was sent SIGSEGV", "was sent SIGABRT", "Exception ignored")
        assert not any(word in line for line in self.log for word in words), "".join(self.log)
        assert status == 0, f"ended with {status}:\n" + "".join(self.log)
        return status


def get(path: str = "/", *lines: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without a body."""
    host = [] if any(line.lower().startswith("host:") for line in lines) else ["Host: a.test"]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *host, *lines, "", ""]).encode("latin-1")


def answer(body: bytes = b"ok", *lines: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body
