"""The data plane's TLS towards clients in one worker: one context, which follows the files it was made from."""

import logging
import os
from typing import Any

import gevent
from gevent import ssl

from apps.gateway.config_tls import Tls, UpstreamTls, said
from fastcore.metrics import Metrics
from fastcore.sharedcache import SharedCache
from fastcore.shm import Region
from fastcore.tls import ServerContext, certificate_end

log = logging.getLogger("fastcore.gateway")

SECRET_BYTES = 32
SECTION = "gateway.tls"


class ServerSide:
    """The context of the listeners that speak TLS. Certificates are renewed under it, also while connections stand."""

    def __init__(self, settings: Tls, region: Region, metrics: Metrics, prefix: str):
        self._settings = settings
        self._secret = ticket_secret(region) if settings.session_tickets else None
        self._metrics, self._prefix = metrics, prefix
        self._counters = {
            "handshakes": metrics.counter(f"{prefix}_tls_handshakes", "TLS handshakes with clients that succeeded"),
            "resumed": metrics.counter(f"{prefix}_tls_resumed", "Those of them that resumed a session"),
            "failed": metrics.counter(f"{prefix}_tls_failures", "TLS handshakes with clients that failed"),
        }
        self._seen = dict.fromkeys(self._counters, 0)
        self._failing = metrics.gauge(f"{prefix}_tls_reload_failing", "Workers whose last look at certificates failed")
        self._places = self._look()
        loaded = self._load()
        self.context = ServerContext(loaded.pop("certificates"), **loaded)
        self._greenlet = gevent.spawn(self._watch)

    def stop(self) -> None:
        self._greenlet.kill(block=False)

    def publish(self) -> None:
        for name, value in self.context.stats().items():
            self._counters[name].inc(value - self._seen[name])
            self._seen[name] = value

    def refresh(self) -> bool:
        """Use the files as they are now, for new connections. False: they cannot be used, and what was stays."""
        self._places = self._look()
        try:
            loaded = self._load()
            self.context.replace(loaded.pop("certificates"), **loaded)
        except (OSError, ValueError) as error:
            log.error("tls: %s; the certificates that were loaded stay in use", said(error))
            self._failing.set(1)
            return False
        self._failing.set(0)
        log.info("tls: certificates loaded again")
        return True

    def _load(self) -> dict[str, Any]:
        settings = self._settings.context_settings(self._secret)
        for item, (chain, _) in zip(self._settings.certificates, settings["certificates"], strict=True):
            self._tell_end(item.file, chain)
        return settings

    def _tell_end(self, file: str, chain: bytes) -> None:
        gauge = self._metrics.gauge(
            f"{self._prefix}_tls_certificate_not_after_seconds",
            "When a certificate ends, in seconds since 1970",
            file=file,
        )
        gauge.set(certificate_end(chain))

    def _watch(self) -> None:
        while True:
            gevent.sleep(self._settings.reload_every / 1000)
            if self._look() != self._places:
                self.refresh()

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What tells that a file is another one; a link that leads elsewhere, too."""
        return [_place(file) for file in self._settings.files()]


def _place(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 (of what a link leads to)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Client:
    """For our own questions to targets: greenlets speak TLS by the standard library, under the same settings."""

    def __init__(self, settings: UpstreamTls):
        context = ssl.create_default_context(cafile=settings.authorities)
        if not settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.minimum_version == "1.3":
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        if settings.ciphers:
            context.set_ciphers(settings.ciphers)
        if settings.certificate:
            context.load_cert_chain(settings.certificate.file, settings.certificate.key)
        self._context = context
        self._name = settings.server_name

    def wrap(self, sock: Any, host: str) -> Any:
        """sock, connected, with TLS over it. host: the target's, with its port perhaps. Raises OSError."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return self._context.wrap_socket(sock, server_hostname=self._name or name.strip("[]"))


def ticket_secret(region: Region) -> bytes:
    """The same in all workers of the region, and in those of an upgrade, which attach it."""
    table = SharedCache(region, section=SECTION, capacity=1 << 18, tag_slots=1, shards=1)
    table.add(b"ticket secret", os.urandom(SECRET_BYTES))
    secret = table.get(b"ticket secret")
    assert secret is not None
    return secret
