"""A redis-server of a test's own: on a free port, in a folder of its own, without persistence."""

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import redis
from servers import free_ports


class RedisServer:
    """Running after construction; `stop()` ends it, `start()` runs it again on the same port, empty. What is entered into
    `clients` is closed with the server.

    more: settings of redis.conf beyond ours."""

    def __init__(self, folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> None:
        command = shutil.which("redis-server")
        assert command, "redis-server is not installed; tools/system-packages test says how to get it"
        self.command = command
        self.folder = folder
        self.more = more
        self.clients = contextlib.ExitStack()
        for attempt in range(5):
            (self.port,) = free_ports(1)
            if self._run():
                break
            assert attempt < 4, f"redis-server does not start: {(folder / 'redis.log').read_text()[-2000:]}"
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _run(self) -> bool:
        ours = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self.folder, "logfile": "redis.log"}
        words = [str(word) for name, value in {**ours, **self.more}.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([self.command, *words])
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            until = time.monotonic() + 20
            while self.process.poll() is None and time.monotonic() < until:
                with contextlib.suppress(redis.ConnectionError):
                    return bool(client.ping())
                time.sleep(0.01)
        self.stop()
        return False

    def start(self) -> None:
        assert self._run(), "redis-server does not start again"

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """For good, and its clients: a socket that is left to the collector is a warning, and so an error."""
        self.clients.close()
        self.thaw()
        self.stop()

    def client(self, **options: object) -> redis.Redis:
        return self.clients.enter_context(redis.Redis(port=self.port, **options))  # type: ignore[arg-type]
