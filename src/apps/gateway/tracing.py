"""Traces in one worker: the engine is told to stand in them, and the worker that leads looks after the exporter."""

import contextlib
import json
import logging
import sys
from typing import Any

import gevent
from gevent import subprocess

from apps.gateway.config_tracing import Tracing
from fastcore.metrics import Metrics
from fastcore.proxy import Proxy
from fastcore.shm import Region, RegionError
from fastcore.spans import SpanQueue

log = logging.getLogger("fastcore.gateway")

LEAD_SECONDS = 1.0  # between looks whether this worker leads
FLUSH_SECONDS = 10.0  # of a worker's end: an exporter that is only just starting takes seconds on a busy machine
AGAIN_SECONDS = 10.0  # before an exporter that ended by itself is started anew


class Tracer:
    """Of one worker. The exporter belongs to the worker that leads, and ends with it; the next one starts its own."""

    def __init__(self, settings: Tracing, proxy: Proxy, region: Region, metrics: Metrics, prefix: str):
        self._settings, self._region, self._metrics = settings, region, metrics
        self._process: Any = None
        self._greenlet: Any = None
        self._sent = metrics.counter(f"{prefix}_spans_sent", "Sampled requests the collector took")
        self._lost = metrics.counter(f"{prefix}_spans_lost", "Sampled requests the collector did not take")
        queue: SpanQueue | None = None
        if settings.export is not None:
            try:
                queue = SpanQueue(region)
            except RegionError as error:
                log.error("tracing: %s; nothing is exported until the next start", error)
        proxy.use_tracing(queue, sample=settings.sample, trust=settings.trust)
        if queue is not None:
            self._greenlet = gevent.spawn(self._look_after)

    def stop(self) -> None:
        """The exporter sends what is left, and ends; it has FLUSH_SECONDS for that."""
        if self._greenlet is None:
            return
        self._greenlet.kill()
        try:
            with contextlib.suppress(TimeoutError), gevent.Timeout(FLUSH_SECONDS, TimeoutError()):
                if self._process is None and self._metrics.leads():
                    self._start()  # stopped before the first was: what is queued has nobody else
                if self._process is not None and self._process.poll() is None:
                    self._process.stdin.close()
                    self._hear()
        except OSError as error:
            log.error("tracing: the exporter could not be told to send what is left (%s)", error)

    def _look_after(self) -> None:
        while True:
            if not self._metrics.leads():
                gevent.sleep(LEAD_SECONDS)
                continue
            try:
                status = self._run()
            except OSError as error:
                status = str(error)
            log.error("tracing: the exporter ended (%s); another starts in %g s", status, AGAIN_SECONDS)
            gevent.sleep(AGAIN_SECONDS)

    def _run(self) -> object:
        """One exporter, from its start to its end."""
        self._start()
        return self._hear()

    def _start(self) -> None:
        """`_process` is one that knows its settings: `stop` may end this at any point, and start another then."""
        settings = self._settings
        given = {
            "region": self._region.fd,
            "export": settings.export,
            "headers": {name: value.get_secret_value() for name, value in settings.export_headers.items()},
            "timeout": settings.export_timeout / 1000,
            "every": settings.export_every / 1000,
            "service_name": settings.service_name,
        }
        process: Any = subprocess.Popen(
            [sys.executable, "-m", "apps.gateway.span_exporter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._region.fd],
        )
        process.stdin.write(json.dumps(given).encode() + b"\n")
        process.stdin.flush()
        self._process = process

    def _hear(self) -> object:
        """What the exporter says, until it ends."""
        for line in self._process.stdout:
            told = json.loads(line)
            self._sent.inc(told["sent"])
            self._lost.inc(told["lost"])
        return self._process.wait()
