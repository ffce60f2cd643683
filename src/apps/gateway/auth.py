"""Authentication in one worker: takes credentials the engine does not know, has them judged, remembers the verdicts.

A request with a known credential never comes here. One with an unknown credential is parked in the engine; a greenlet
takes the credential from the line, judges it, puts the verdict into the table all workers share, and resumes whoever
waits. Only a token whose key must be fetched first gets a greenlet of its own.

Order matters where a revocation and a verdict meet: a verdict's tags are stamped, then revocations are looked up, then
it is stored; a revocation is stored first, and then invalidates the tag. Whichever comes first, the token is out.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterable
from typing import Any

import gevent
import gevent.event
import gevent.hub

from apps.gateway import jwk
from apps.gateway.certificate_judge import CertificateJudge
from apps.gateway.config_auth import Auth, Jwt, Provider, RouteAuth
from apps.gateway.config_model import Gateway
from apps.gateway.introspection import Introspector
from apps.gateway.issuer_http import fetcher
from apps.gateway.judges import Judge, Judgement, Keys, KeysNeeded, StaticKeys, header_lines, judge_for, subject_bytes
from apps.gateway.jwks import RemoteKeys
from apps.gateway.jws import Refused, json_object, numeric_date, parse
from apps.gateway.provider_keys import static_keys
from apps.gateway.revocations import MEMORY, Revocations, tag, token_tag
from fastcore import proxy as engine
from fastcore.metrics import Metrics
from fastcore.proxy import Authenticator, Credential, Proxy
from fastcore.reactor import Reactor
from fastcore.sharedcache import SharedCache
from fastcore.shm import Region

log = logging.getLogger("fastcore.gateway")

#: Verdicts "refused" have a table of their own: made-up tokens must not push out those of real clients.
REFUSED_SHARE = 4  # of `memory`
TAG_SLOTS = 65_536
TURN_SECONDS = 0.0005  # of judging, before other events of the worker have their turn
REVOKED_SECONDS = 86_400.0  # where the time a token expires is not known
LONGEST_SECONDS = 366 * 86_400.0
FORMAT = 1  # of what the tables hold; part of every fingerprint


class AuthService:
    """Everything of one worker. Credentials of routes come from `route`, the engine's half is `authenticator`."""

    def __init__(self, settings: Gateway, region: Region, metrics: Metrics, prefix: str):
        self._settings: Auth = settings.auth
        self._metrics, self._prefix = metrics, prefix
        memory = settings.auth.memory
        self.verified = _table(region, "gateway.auth.verified", memory)
        self.refused = _table(region, "gateway.auth.refused", max(memory // REFUSED_SHARE, 1 << 18), tag_slots=1)
        self.revocations = Revocations(_table(region, "gateway.auth.revoked", MEMORY, tag_slots=1, shards=1))
        self.scopes = scope_numbers(settings)
        self.remotes: dict[str, RemoteKeys] = {}
        self._providers = list(settings.auth.providers.items())
        self._judges = [self._judge_of(name, provider) for name, provider in self._providers]
        self._credentials = {
            name: credential(number, name, provider, self.scopes)
            for number, (name, provider) in enumerate(self._providers)
        }
        self._verified = [
            metrics.counter(f"{prefix}_auth_verified", "Credentials judged to be good", provider=name)
            for name, _ in self._providers
        ]
        self._fetching = 0
        self._line = gevent.event.Event()
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self, reactor: Reactor, proxy: Proxy) -> None:
        self.authenticator = Authenticator(
            reactor, self.verified, self.refused, self._line.set, pending=self._settings.pending
        )
        proxy.use_auth(self.authenticator)
        self._greenlet = gevent.spawn(self._run)
        for remote in self.remotes.values():
            remote.start()

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        for remote in self.remotes.values():
            remote.stop()

    # --- what the route table needs ---

    def route(self, asked: RouteAuth) -> engine.RouteAuth:
        return engine.RouteAuth(
            credentials=tuple(self._credentials[name] for name in asked.providers),
            required=asked.required,
            scopes=sum(1 << self.scopes[scope] for scope in set(asked.scopes)),
            scope_text=" ".join(asked.scopes),
        )

    @property
    def claimed(self) -> list[str]:
        """Fields that tell targets who asks, of all providers."""
        return sorted({name for _, provider in self._providers for name in provider.headers})

    @property
    def secret_parameters(self) -> list[str]:
        return sorted({p.api_keys.query for _, p in self._providers if p.api_keys and p.api_keys.query})

    # --- for the control plane ---

    def status(self) -> list[dict[str, Any]]:
        """Per provider: its kind, and for published keys how fetching them goes in this worker."""
        found = []
        for name, provider in self._providers:
            entry: dict[str, Any] = {"name": name, "kind": kind_of(provider)}
            if remote := self.remotes.get(name):
                entry |= {
                    "keys": [
                        {"kid": key.kid, "alg": key.alg} for key in (remote.current.keys if remote.current else ())
                    ],
                    "fetches": remote.fetches,
                    "failures": remote.failures,
                    "error": remote.error,
                    "age_seconds": None if remote.fetched is None else round(time.monotonic() - remote.fetched, 1),
                }
            found.append(entry)
        return found

    def revoke(
        self, *, token: str = "", jti: str = "", sub: str = "", provider: str = "", seconds: float | None = None
    ) -> float:
        """Not accepted from now on, in all workers; returns until when that is kept (seconds since 1970). Exactly one
        of token, jti, sub. Raises Full, and KeyError for a provider there is none of."""
        now = time.time()
        names = [provider] if provider else [name for name, _ in self._providers]
        if provider and provider not in self._credentials:
            raise KeyError(provider)
        if token:
            marks = [token_tag(token.encode())]
            seconds = seconds or self._time_left(token.encode(), now)
        else:
            marks = [tag("jti" if jti else "sub", name, jti or sub) for name in names]
        seconds = min(seconds or REVOKED_SECONDS, LONGEST_SECONDS)
        for mark in marks:
            self.revocations.add(mark, seconds, now)
            self.verified.invalidate_tag(mark)
        return now + seconds

    def _time_left(self, token: bytes, now: float) -> float:
        """Until the token's own word for when it expires, which nobody has verified: within the bounds it only decides
        how long we keep a note of it."""
        leeway = max((p.jwt.leeway / 1000 for _, p in self._providers if p.jwt), default=0.0)
        try:
            expires = numeric_date(json_object(parse(token).payload), "exp")
        except Refused:
            expires = None
        return LONGEST_SECONDS if expires is None else max(1.0, expires + leeway - now)

    # --- judging ---

    def _run(self) -> None:
        hub = gevent.get_hub()
        while True:
            self._line.wait()
            self._line.clear()
            began = time.perf_counter()
            while (taken := self.authenticator.take()) is not None:
                self._judge(*taken)
                if time.perf_counter() - began > TURN_SECONDS:
                    # Not sleep(0): that comes back within the same round of the hub, before it has looked at sockets.
                    with contextlib.closing(hub.loop.timer(0)) as turn:
                        hub.wait(turn)
                    began = time.perf_counter()

    def _judge(self, number: int, key: bytes, presented: bytes) -> None:
        if self._providers[number][1].introspection is not None:
            gevent.spawn(self._settle, number, key, presented)  # `pending` bounds these
            return
        try:
            self._settle(number, key, presented)
        except KeysNeeded:
            self._fetch(self.remotes.get(self._providers[number][0]), number, key, presented)

    def _fetch(self, remote: RemoteKeys | None, number: int, key: bytes, presented: bytes) -> None:
        if remote is None:
            self._refuse(number, key, "unknown_key")
        elif not remote.would_fetch():
            self._refuse(number, key, "unavailable" if remote.error else "unknown_key")
        elif self._fetching * 4 > self._settings.pending:
            # Tokens that name made-up keys must not take all places while an issuer hangs.
            self._refuse(number, key, "unavailable")
        else:
            self._fetching += 1
            gevent.spawn(self._fetch_and_judge, remote, number, key, presented)

    def _fetch_and_judge(self, remote: RemoteKeys, number: int, key: bytes, presented: bytes) -> None:
        try:
            remote.fetch()
            self._settle(number, key, presented)
        except KeysNeeded:
            self._refuse(number, key, "unavailable" if remote.error else "unknown_key")
        finally:
            self._fetching -= 1

    def _settle(self, number: int, key: bytes, presented: bytes) -> None:
        """Raises KeysNeeded, and then nothing has happened."""
        now = time.time()
        try:
            self._accept(number, key, presented, self._judges[number].judge(presented, now), now)
        except Refused as refused:
            self._refuse(number, key, refused.reason)
        except KeysNeeded:
            raise
        except Exception:
            # The credential is a stranger's: what it did to us goes to the log, it does not.
            log.exception("auth provider %s: judging failed", self._providers[number][0])
            self._refuse(number, key, "unavailable")

    def _accept(self, number: int, key: bytes, presented: bytes, found: Judgement, now: float) -> None:
        name, provider = self._providers[number]
        subject = subject_bytes(found.subject)
        fields = header_lines(provider.headers, found.claims)
        marks = [token_tag(presented)]
        if found.jti is not None:
            marks.append(tag("jti", name, found.jti))
        subject_mark = tag("sub", name, found.subject)
        stamp = self.verified.stamp([*marks, subject_mark, *([tag("key", name, found.key)] if found.key else [])])
        if self.revocations.covers(marks, subject_mark, found.issued):
            raise Refused("revoked")
        verdict = engine.pack_verdict(
            "ok",
            expires=int(found.expires),
            scopes=sum(1 << self.scopes[scope] for scope in found.scopes if scope in self.scopes),
            subject=subject,
            fields=fields,
        )
        seconds = min(int(found.expires) - now, provider.remember / 1000)
        if seconds > 0:
            _remember(self.verified, key, verdict, seconds, stamp)
        self._verified[number].inc()
        self.authenticator.settle(key, verdict)

    def _refuse(self, number: int, key: bytes, reason: str) -> None:
        seconds = self._providers[number][1].refused_for / 1000
        verdict = engine.pack_verdict(reason, expires=int(time.time() + seconds) + 1)
        if reason != "unavailable":  # that is our trouble, and may be over at once
            _remember(self.refused, key, verdict, seconds)
        self.authenticator.settle(key, verdict)

    def _judge_of(self, name: str, provider: Provider) -> Judge:
        if provider.introspection is not None:
            return Introspector(provider.introspection)
        if provider.certificates is not None:
            return CertificateJudge(provider.certificates)
        return judge_for(provider.jwt, provider.api_keys, self._keys(name, provider.jwt))

    def _keys(self, name: str, jwt: Jwt | None) -> Keys | None:
        if jwt is None:
            return None
        jwk.load_library()
        static = static_keys(jwt)
        if jwt.jwks_url is None:
            return StaticKeys(jwk.KeySet(static))
        remote = RemoteKeys(
            name,
            fetcher(jwt.jwks_url, jwt.jwks_timeout / 1000, jwt.jwks_ca_file),
            lambda data: _with(static, jwk.parse_set(data, jwt.algorithms)),
            refresh=jwt.jwks_refresh / 1000,
            interval=jwt.jwks_interval / 1000,
            withdrawn=lambda key: self.verified.invalidate_tag(tag("key", name, key.thumb)),
        )
        self.remotes[name] = remote
        return remote


def _with(static: list[jwk.Key], found: tuple[list[jwk.Key], list[str]]) -> tuple[list[jwk.Key], list[str]]:
    keys, skipped = found
    return ([*static, *keys] if keys else []), skipped


def _remember(table: SharedCache, key: bytes, verdict: bytes, seconds: float, stamp: bytes | None = None) -> None:
    try:
        table.set(key, verdict, ttl=seconds, stamp=stamp)
    except (TimeoutError, ValueError) as error:
        # Whoever waits hears the verdict all the same; the next one costs a verification.
        log.warning("a verdict could not be remembered: %s", error)


def _table(region: Region, section: str, capacity: int, **options: int) -> SharedCache:
    """The table of all workers. A reload keeps what an earlier start made."""
    options = {"tag_slots": TAG_SLOTS, **options}
    try:
        return SharedCache(region, section=section, capacity=capacity, **options)
    except ValueError:
        if section not in region.sections():
            raise
        log.warning("auth.memory: the tables keep their size until the next start")
        return SharedCache(region, section=section)


def kind_of(provider: Provider) -> str:
    kinds = ("jwt", "introspection", "api_keys", "certificates")
    return next(kind for kind in kinds if getattr(provider, kind) is not None)


def scope_numbers(settings: Gateway) -> dict[str, int]:
    """A bit for each scope that some route asks for."""
    asked: Iterable[str] = {scope for route in settings.routes if route.auth for scope in route.auth.scopes}
    return {scope: number for number, scope in enumerate(sorted(asked))}


def credential(number: int, name: str, provider: Provider, scopes: dict[str, int]) -> Credential:
    """How the engine finds a provider's credential. The fingerprint is of all a verdict depends on: after a reload with
    other settings nothing remembered fits."""
    depends = {
        "format": FORMAT,
        "name": name,
        "settings": provider.model_dump(mode="json", exclude={"forward", "remember", "refused_for"}),
        "keys": [key.thumb for key in static_keys(provider.jwt)] if provider.jwt else [],
        "scopes": sorted(scopes),
    }
    fingerprint = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).digest()[:16]
    if provider.certificates is not None:
        return Credential(number, fingerprint, "certificate")
    if provider.api_keys is None:
        return Credential(number, fingerprint, "bearer", forward=provider.forward)
    source = "header" if provider.api_keys.header else "query"
    carrier = provider.api_keys.header or provider.api_keys.query or ""
    return Credential(number, fingerprint, source, carrier, forward=provider.forward)
