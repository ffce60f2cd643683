"""gunicorn worker that serves any WSGI application, or a raw-socket service, on fastcore's reactor.

    gunicorn -k fastcore.worker.FastcoreWorker yourapp:app

Each listener gets a protocol. What gunicorn loads may have an attribute `fastcore_service` (see `Service`): it takes
the listeners its data plane wants; all others serve the WSGI application through `fastcore.wsgi`. Signals keep
gunicorn's meaning, and its settings for limits, keep-alive, proxies, hooks and logs are respected. No TLS yet.

The master makes one shared memory region before it forks: `FastcoreWorker.region`, with `FastcoreWorker.metrics` in it.
It survives HUP because the master does, and USR2 because the new master inherits the descriptor and its number. There
the workers also see whether their successors serve yet (`fastcore.succession`): a reload makes no connection wait for
an application that is still being imported.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Protocol

import gevent
import gevent.event
from gunicorn import SERVER_SOFTWARE
from gunicorn.config import Config
from gunicorn.http.wsgi import base_environ
from gunicorn.workers.ggevent import GeventWorker

from fastcore import stackchunks
from fastcore.metrics import Metrics
from fastcore.reactor import Reactor
from fastcore.shm import DEFAULT_SIZE, Region, RegionError
from fastcore.succession import Succession
from fastcore.wsgi import FileWrapper, WSGIServer

__all__ = ["FastcoreWorker", "Service"]

REGION_FD = "FASTCORE_REGION_FD"
#: How large the region is made. Pages nobody has touched cost nothing.
REGION_BYTES = "FASTCORE_REGION_BYTES"
SERVICE_POLL = 0.02  # seconds between looks at a draining service that reports by return value
SUCCESSOR_POLL = 0.02  # seconds between looks whether a successor serves


class Service(Protocol):
    """A data plane on raw sockets, as the attribute `fastcore_service` of what gunicorn loads."""

    def start(self, worker: FastcoreWorker, reactor: Reactor, listeners: list[socket.socket]) -> list[socket.socket]:
        """Begin to serve on those of the listeners it wants, and return them."""

    def drain(self) -> None:
        """Accept no more, and finish what is under way."""

    def drained(self) -> bool:
        """Has everything been finished?"""

    def stop(self) -> None:
        """The last call, drained or not: close connections that are left, write logs out."""

    def reopen_logs(self) -> None:
        """Log files have been rotated."""


class FastcoreWorker(GeventWorker):  # type: ignore[misc]  # gunicorn is untyped
    """GeventWorker whose connections live on the C reactor."""

    region: ClassVar[Region]
    metrics: ClassVar[Metrics]
    succession: ClassVar[Succession]
    alive: bool

    # --- in the master ---

    @classmethod
    def setup(cls) -> None:
        """Make the shared region, or take over the one a previous master left us. gunicorn calls this for every look at
        its worker_class setting, the first time before it forks."""
        if hasattr(FastcoreWorker, "region"):
            return
        FastcoreWorker.region = _inherited_region() or Region(int(os.environ.get(REGION_BYTES, DEFAULT_SIZE)))
        master = os.getpid()
        os.register_at_fork(after_in_child=lambda: _heed_signals(master))
        FastcoreWorker.metrics = Metrics(FastcoreWorker.region)
        FastcoreWorker.succession = Succession(FastcoreWorker.region)

    @classmethod
    def check_config(cls, cfg: Config, log: Any) -> None:
        """Refuse at start-up what this worker cannot do; gunicorn calls it in the master."""
        if cfg.is_ssl:
            log.error(
                "FastcoreWorker does not speak TLS yet: remove certfile and keyfile, terminate TLS in front of it, "
                "or use the worker class 'gevent'"
            )
            sys.exit(1)

    def __init__(self, age: int, ppid: int, sockets: Any, app: Any, timeout: float, cfg: Config, log: Any) -> None:
        super().__init__(age, ppid, sockets, app, timeout, cfg, log)
        # Here and not in setup(): the master makes a worker for each fork, with the settings of the day.
        _first_worker_of(cfg)
        self.generation = FastcoreWorker.succession.current()
        self._told_to_stop = 0
        self.reactor: Reactor | None = None
        self.server: WSGIServer | None = None
        self.service: Service | None = None
        self._stopping = gevent.event.Event()

    # --- in the worker ---

    def init_process(self) -> None:
        FastcoreWorker.metrics.claim()
        stackchunks.install()
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        # A signal writes to this pipe: the hub wakes up and handles it at once instead of at the next heartbeat.
        self._signal_watcher = gevent.get_hub().loop.io(self.PIPE[0], 1)
        self._signal_watcher.start(self._on_signal)

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.PIPE[0], 4096)
        self._look()

    def _look(self) -> None:
        if not self.alive:
            self._stopping.set()

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._told_to_stop += 1
        super().handle_exit(sig, frame)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        super().handle_usr1(sig, frame)
        if self.service is not None:
            gevent.spawn(self.service.reopen_logs)

    def run(self) -> None:
        """Serve until told to stop, then drain; returns as soon as nothing is left to do."""
        self.reactor = Reactor()
        self.reactor.start()
        listeners: list[socket.socket] = list(self.sockets)
        self.service = getattr(self.wsgi, "fastcore_service", None)
        taken = self.service.start(self, self.reactor, listeners) if self.service is not None else []
        ours = [listener for listener in listeners if listener not in taken]
        if ours:
            self.server = wsgi_server(self, self.reactor)
            for listener in ours:
                self.server.listen(listener)
        FastcoreWorker.succession.serves(self.generation)
        while self.alive:
            self.notify()
            self._stopping.wait(1.0)
        until = time.monotonic() + self.cfg.graceful_timeout
        try:
            self._await_successor(until)
            self._drain(until)
        finally:
            if self.service is not None:
                self.service.stop()

    def _await_successor(self, until: float) -> None:
        """Serve on while the reload that replaces us has nobody who does. No longer than half the time left, so that
        requests can still finish; a second signal means the whole service stops."""
        until -= (until - time.monotonic()) / 2
        while FastcoreWorker.succession.awaited(self.generation):
            if self._told_to_stop > 1 or time.monotonic() > until:
                return
            self.notify()
            gevent.sleep(SUCCESSOR_POLL)

    def _drain(self, until: float) -> None:
        idle = gevent.event.Event()
        if self.server is not None:
            self.server.drain(idle.set)
        if self.service is not None:
            self.service.drain()
        while (left := until - time.monotonic()) > 0:
            self.notify()
            waiting_for_service = self.service is not None and not self.service.drained()
            if not waiting_for_service and (self.server is None or idle.is_set()):
                return
            if waiting_for_service:
                gevent.sleep(SERVICE_POLL)
            else:
                idle.wait(min(left, 1.0))
        self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
        if self.server is not None:
            self.server.stop()
            gevent.sleep(0)  # applications that wait for their client hear that it is over

    def limit_reached(self) -> None:
        """max_requests have been taken: finish, and let the master start another worker."""
        if self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self._look()


# --- gunicorn's settings ----------------------------------------------------------------------------------------------


def wsgi_server(worker: FastcoreWorker, reactor: Reactor) -> WSGIServer:
    """The WSGI server that gunicorn's settings describe."""
    cfg = worker.cfg

    def trusted(address: str) -> bool:
        ip = ipaddress.ip_address(address)
        return "*" in cfg.forwarded_allow_ips or any(ip in network for network in cfg.forwarded_allow_networks())

    environ = base_environ(cfg)
    environ.update({"wsgi.multithread": True, "wsgi.file_wrapper": FileWrapper, "SERVER_SOFTWARE": SERVER_SOFTWARE})
    before, after = request_hooks(worker)
    return WSGIServer(
        reactor,
        worker.wsgi,
        environ=environ,
        limit_request_line=cfg.limit_request_line,
        limit_request_fields=cfg.limit_request_fields,
        limit_request_field_size=cfg.limit_request_field_size,
        connections_max=cfg.worker_connections,
        keepalive=cfg.keepalive,
        body_timeout=cfg.timeout,
        write_timeout=cfg.timeout,
        sendfile=cfg.sendfile is not False,
        any_method=cfg.permit_unconventional_http_method,
        secure_scheme_headers=cfg.secure_scheme_headers,
        forwarder_headers=cfg.forwarder_headers,
        header_map=cfg.header_map,
        trusted=trusted,
        script_name=os.environ.get("SCRIPT_NAME", ""),
        max_requests=worker.max_requests if cfg.max_requests > 0 else 0,
        limit_reached=worker.limit_reached,
        before=before,
        after=after,
        error_log=worker.log.error_log,
    )


class RequestView:
    """What gunicorn's hooks and access log want to know of a request, read from its environ."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.path: str = environ["PATH_INFO"]
        self.query: str = environ["QUERY_STRING"]
        self.scheme: str = environ["wsgi.url_scheme"]
        self.version = (1, 1) if environ["SERVER_PROTOCOL"] == "HTTP/1.1" else (1, 0)
        self.peer_addr = self.remote_addr = (environ["REMOTE_ADDR"], environ.get("REMOTE_PORT"))

    @property
    def headers(self) -> list[tuple[str, str]]:
        """(NAME, value) pairs, in no particular order."""
        pairs = [(key[5:].replace("_", "-"), value) for key, value in self.environ.items() if key.startswith("HTTP_")]
        without_prefix = [key for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if key in self.environ]
        return pairs + [(key.replace("_", "-"), self.environ[key]) for key in without_prefix]


class ResponseView:
    """The same of an answer."""

    def __init__(self, status: str, headers: Sequence[tuple[str, str]], sent: int) -> None:
        self.status = status
        self.status_code = int(status[:3])
        self.headers = headers
        self.sent = sent
        self.response_length = sent


def request_hooks(
    worker: FastcoreWorker,
) -> tuple[Callable[..., None] | None, Callable[..., None] | None]:
    """Calls to make before and after each request: only what the settings ask for, so that others pay nothing."""
    cfg, log = worker.cfg, worker.log
    has_pre = cfg.settings["pre_request"].get() is not cfg.settings["pre_request"].default
    has_post = cfg.settings["post_request"].get() is not cfg.settings["post_request"].default
    logs = log.access_log_enabled

    def before(environ: dict[str, Any]) -> None:
        cfg.pre_request(worker, RequestView(environ))

    def after(environ: dict[str, Any], status: str, headers: list[tuple[str, str]], sent: int, seconds: float) -> None:
        request, response = RequestView(environ), ResponseView(status, headers, sent)
        if logs:
            log.access(response, request, environ, timedelta(seconds=seconds))
        if has_post:
            cfg.post_request(worker, request, environ, response)

    return before if has_pre else None, after if has_post or logs else None


def _heed_signals(master: int) -> None:
    """A worker that is told to stop before it has its own signal handlers must do so. Until then it has the master's,
    which only queue the signal for a loop that does not run here: gunicorn loses it, and a reload waits in vain."""
    if os.getppid() != master:  # a fork of a worker's
        return

    def leave(number: int, frame: object) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        signal.signal(number, leave)


def _inherited_region() -> Region | None:
    number = os.environ.pop(REGION_FD, None)
    if number is None:
        return None
    try:
        region = Region.attach(int(number))
        region.set_inheritable(False)
    except (RegionError, OSError, ValueError) as error:
        print(f"fastcore: fresh shared memory, for the inherited region is of no use: {error}", file=sys.stderr)
        return None
    return region


def _first_worker_of(cfg: Config) -> None:
    """In the master. Each start and each reload has settings of its own: with them begins a generation of workers, and
    two of the hooks get what the shared region needs; the user's own run as before."""
    if getattr(cfg, "_fastcore_seen", False):
        return
    cfg._fastcore_seen = True
    FastcoreWorker.succession.begin()
    child_exit, pre_exec = cfg.child_exit, cfg.pre_exec

    def release(server: Any, worker: Any) -> None:
        """What a dead worker held is free again."""
        FastcoreWorker.metrics.release(worker.pid)
        FastcoreWorker.region.release(worker.pid)
        child_exit(server, worker)

    def hand_over(server: Any) -> None:
        """USR2: we are the fork that becomes the new master, and env_orig is what it will find in its environment."""
        FastcoreWorker.region.set_inheritable(True)
        server.cfg.env_orig[REGION_FD] = str(FastcoreWorker.region.fd)
        pre_exec(server)

    cfg.set("child_exit", release)
    cfg.set("pre_exec", hand_over)
