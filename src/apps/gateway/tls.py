"""The data plane's TLS towards clients in one worker: one context, which follows the files it was made from."""

import logging
import os
from typing import Any

import gevent
from gevent import ssl

from apps.gateway.config_tls import Tls, UpstreamTls
from apps.gateway.settings_files import place_of, said
from apps.threads import in_thread
from fastcore.metrics import Gauge, Metrics
from fastcore.sharedcache import SharedCache
from fastcore.shm import Region
from fastcore.tls import ServerContext, certificate_end

log = logging.getLogger("fastcore.gateway")

SECRET_BYTES = 32
SECTION = "gateway.tls"


class ServerSide:
    """The context of the listeners that speak TLS. Certificates are renewed under it, also while connections stand."""

    def __init__(self, settings: Tls, protocols: tuple[str, ...], region: Region, metrics: Metrics, prefix: str):
        self._settings, self._protocols = settings, protocols
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
        certificates, others = settings.context_settings(self._secret, protocols)
        self.context = ServerContext(certificates, **others)
        self._ends = self._ends_of(certificates)
        self._greenlet = gevent.spawn(self._watch)

    def stop(self) -> None:
        self._greenlet.kill(block=False)

    def follow(self, settings: Tls) -> None:
        """Use these settings for new connections. Where they cannot be used, what was stays in use."""
        if settings != self._settings:
            before, self._settings = self._settings, settings
            if not self._refresh():
                self._settings = before

    def publish(self) -> None:
        for name, value in self.context.stats().items():
            self._counters[name].inc(value - self._seen[name])
            self._seen[name] = value
        self._tell_ends()

    def _watch(self) -> None:
        while True:
            gevent.sleep(self._settings.reload_every / 1000)
            places = in_thread(self._look)
            if places != self._places:
                self._places = places
                self._refresh()

    def _refresh(self) -> bool:
        """Use the files as they are now, for new connections. Where they cannot be used, what was stays."""
        try:
            certificates, others = in_thread(self._settings.context_settings, self._secret, self._protocols)
            self.context.replace(certificates, **others)
            for gone in self._ends.keys() - (ends := self._ends_of(certificates)).keys():
                self._end_gauge(gone).set(0)
            self._ends = ends
        except (OSError, ValueError) as error:
            log.error("tls: %s; the certificates that were loaded stay in use", said(error))
            self._failing.set(1)
            return False
        self._failing.set(0)
        log.info("tls: certificates loaded again")
        return True

    def _ends_of(self, certificates: list[tuple[bytes, bytes]]) -> dict[str, int]:
        """When each ends, by its file."""
        files = [item.file for item in self._settings.certificates]
        return {file: certificate_end(chain) for file, (chain, _) in zip(files, certificates, strict=True)}

    def _tell_ends(self) -> None:
        """Gauges are summed over workers, and the end of a certificate is everybody's: one worker tells it."""
        for file, end in self._ends.items():
            self._end_gauge(file).set(end if self._metrics.leads() else 0)

    def _end_gauge(self, file: str) -> Gauge:
        return self._metrics.gauge(
            f"{self._prefix}_tls_certificate_not_after_seconds",
            "When a certificate ends, in seconds since 1970",
            file=file,
        )

    def _look(self) -> list[str]:
        """What tells that a file is another one; a link that leads elsewhere, too."""
        return [place_of(file) for file in self._settings.files()]


class Client:
    """For our own questions to targets: greenlets speak TLS by the standard library, under the same settings."""

    def __init__(self, settings: UpstreamTls, http2: bool = False):
        context = ssl.create_default_context(cafile=settings.authorities)
        if http2:
            context.set_alpn_protocols(["h2"])
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
