"""Figures of all workers to statsd, sent by the worker that leads."""

import logging

import gevent

from apps.gateway.config_statsd import Statsd
from apps.threads import in_thread
from fastcore.metrics import Metrics
from fastcore.statsd import Flusher

log = logging.getLogger("fastcore.gateway")


class StatsdPush:
    def __init__(self, settings: Statsd, metrics: Metrics):
        address = settings.address
        self._seconds = settings.every / 1000
        self._flusher = Flusher(
            metrics, host=address.host, port=address.port, prefix=settings.prefix, ipv6=":" in address.host
        )
        self._failed = ""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        self._greenlet.kill(block=False)

    def _run(self) -> None:
        while True:
            gevent.sleep(self._seconds)
            failed = ""
            try:
                in_thread(self._flusher.flush)
            except OSError as error:
                failed = error.strerror or str(error)
            if failed and failed != self._failed:
                log.error("statsd: %s; figures are not sent", failed)
            self._failed = failed
