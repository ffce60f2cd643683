"""Settings of TLS: towards clients (`tls`) and towards targets (`upstreams.X.tls`). The files they name are read and
tried while the settings are loaded, so that what starts can also serve."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from apps.config_base import Finding, Listed, Section
from apps.gateway.settings_files import read, said
from apps.units import SocketAddress, Timeout, Whole, is_host_name
from fastcore.tls import ClientContext, ServerContext

HOURS_MAX = 168  # a week: RFC 8446, section 4.6.1, allows no ticket more


def _host_or_address(value: str) -> str:
    if not is_host_name(value) and ":" not in value:
        raise ValueError(f"{value!r} is neither a name nor an address")
    return value


Version = Literal["1.2", "1.3"]
ServerName = Annotated[str, AfterValidator(_host_or_address)]


class Certificate(Section):
    file: str
    """PEM: the certificate, then those that lead to its authority."""
    key: str
    """PEM: its private key, without password."""


class ClientCertificates(Section):
    authorities: str
    """PEM file: who may have signed clients' certificates."""
    required: bool = True
    """false lets clients without a certificate in; routes decide, by an auth provider with `certificates`."""
    depth: Annotated[int, Field(ge=1, le=16), Whole] = 4
    """Certificates that may lead from the client's to an authority."""


class Tls(Section):
    listen: Annotated[tuple[SocketAddress, ...], Listed, Field(max_length=64)] = ()
    """Addresses of the data plane that speak TLS, beside those of `listen` that do not."""
    certificates: Annotated[tuple[Certificate, ...], Field(max_length=1000)] = ()
    """Each is shown to clients that ask for one of its names; the first to all others."""
    minimum_version: Version = "1.2"
    """Least version of TLS."""
    ciphers: str | None = None
    """Cipher suites of TLS 1.2, as OpenSSL writes them; without it those with forward secrecy and AEAD."""
    client_certificates: ClientCertificates | None = None
    """Ask clients for a certificate (mutual TLS); without it they are not asked."""
    session_tickets: bool = True
    """Clients that come back skip the expensive half of the handshake, in whichever worker they arrive."""
    ticket_hours: Annotated[int, Field(ge=1, le=HOURS_MAX), Whole] = 12
    """How long one key makes tickets; they are taken twice so long."""
    reload_every: Timeout = 5_000
    """How often the files are looked at; changed ones are used for new connections at once."""

    def context_settings(
        self, ticket_secret: bytes | None, protocols: tuple[str, ...] = ("http/1.1",)
    ) -> tuple[list[tuple[bytes, bytes]], dict[str, Any]]:
        """Certificates and other arguments of fastcore.tls.ServerContext. Raises ValueError and OSError."""
        clients = self.client_certificates
        return [(read(item.file), read(item.key)) for item in self.certificates], {
            "minimum": self.minimum_version,
            "ciphers": self.ciphers,
            "alpn": protocols,
            "client_certificates": "off" if clients is None else "required" if clients.required else "optional",
            "client_authorities": read(clients.authorities) if clients else None,
            "depth": clients.depth if clients else 8,
            "ticket_secret": ticket_secret if self.session_tickets else None,
            "ticket_hours": self.ticket_hours,
        }

    def files(self) -> list[str]:
        """Every file that is looked at."""
        named = [name for item in self.certificates for name in (item.file, item.key)]
        return [*named, self.client_certificates.authorities] if self.client_certificates else named


class UpstreamTls(Section):
    server_name: ServerName | None = None
    """What targets' certificates must be for, and what they are told (SNI); without it the host of each address."""
    authorities: str | None = None
    """PEM file: who may have signed their certificates; without it those the system trusts."""
    verify: bool = True
    """false accepts any certificate: whoever is on the way can read and change everything."""
    certificate: Certificate | None = None
    """What we show to targets that ask."""
    minimum_version: Version = "1.2"
    """Least version of TLS."""
    ciphers: str | None = None
    """Cipher suites of TLS 1.2, as OpenSSL writes them."""

    def context(self, http2: bool = False) -> ClientContext:
        """Raises ValueError and OSError."""
        shown = self.certificate
        return ClientContext(
            authorities=read(self.authorities) if self.authorities else None,
            verify=self.verify,
            name=self.server_name,
            certificate=(read(shown.file), read(shown.key)) if shown else None,
            minimum=self.minimum_version,
            ciphers=self.ciphers,
            alpn=("h2",) if http2 else ("http/1.1",),
        )


UpstreamTlsOrTrue = Annotated[UpstreamTls, BeforeValidator(lambda value: {} if value is True else value)]


class CertificateAuth(Section):
    """Part of `auth.providers`: the client is who its certificate says."""

    subject: Literal["cn", "dns", "uri", "email", "dn"] = "cn"
    """What of the certificate says who asks: the common name, the first DNS name, URI (as of SPIFFE) or address of its
    subject alternative names, or the whole distinguished name."""
    allowed: Annotated[tuple[str, ...], Listed] = ()
    """Subjects that are accepted; empty is every one an authority has signed for."""


def check_tls(tls: Tls) -> Iterator[Finding]:
    """What only the files can tell."""
    if tls.listen and not tls.certificates:
        yield ("tls", "certificates"), "a server has a certificate: give at least one"
        return
    if tls.certificates and not tls.listen:
        yield ("tls", "listen"), "nobody listens: name addresses, as in 0.0.0.0:8443"
        return
    if not tls.listen:
        return
    for index, item in enumerate(tls.certificates):
        try:
            ServerContext([(read(item.file), read(item.key))])
        except (OSError, ValueError) as error:
            yield ("tls", "certificates", index), said(error).removeprefix("certificate 1: ")
            return
    try:
        certificates, others = tls.context_settings(None)
        ServerContext(certificates, **others)
    except (OSError, ValueError) as error:
        yield ("tls",), said(error)


def check_upstream_tls(name: str, tls: UpstreamTls) -> Iterator[Finding]:
    if not tls.verify and (tls.authorities is not None or tls.server_name is not None):
        yield (
            ("upstreams", name, "tls", "verify"),
            "authorities and server_name have no effect with verify: false",
        )
        return
    try:
        tls.context()
    except (OSError, ValueError) as error:
        yield ("upstreams", name, "tls"), said(error)
