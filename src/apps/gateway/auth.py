"""Authentication in one worker: takes credentials the engine does not know, has them judged, remembers the verdicts.

A request with a known credential never comes here. One with an unknown credential is parked in the engine; a greenlet
takes the credential from the line and has it judged, the verdict goes into the table all workers share, and whoever
waits is resumed. Tokens are judged in a thread of their own; one whose key must be fetched first, or that an
authorization server judges, has a greenlet of its own.
"""

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.event

from apps.gateway import jwk
from apps.gateway.bystander import Bystander
from apps.gateway.certificate_judge import CertificateJudge
from apps.gateway.config_auth import Jwt, Provider, RouteAuth
from apps.gateway.config_model import Gateway
from apps.gateway.introspection import Introspector
from apps.gateway.issuer_http import fetcher
from apps.gateway.judges import Judge, Keys, KeysNeeded, StaticKeys, judge_for
from apps.gateway.jwks import RemoteKeys
from apps.gateway.jws import Refused, json_object, numeric_date, parse
from apps.gateway.provider_keys import static_keys
from apps.gateway.revocation_file import RevocationFile
from apps.gateway.revocations import MEMORY, Full, Revocations, tag, token_tag
from apps.gateway.settings_files import said
from apps.gateway.turns import Turns
from apps.gateway.verdicts import Verdict, Verdicts
from apps.threads import in_thread
from fastcore import proxy as engine
from fastcore.metrics import Counter, Metrics
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


@dataclass(slots=True)
class Known:
    """A provider as it was configured at one time. Credentials that waited since then are judged by what they met."""

    number: int
    name: str
    provider: Provider
    scopes: dict[str, int]
    judge: Judge
    remote: RemoteKeys | None
    credential: Credential
    verified: Counter


#: A credential that waits: whose it is, its key in the tables, itself.
Question = tuple[Known, bytes, bytes]


class AuthService:
    """Everything of one worker. Credentials of routes come from `route`, the engine's half is `authenticator`."""

    def __init__(self, settings: Gateway, region: Region, metrics: Metrics, prefix: str):
        self._metrics, self._prefix = metrics, prefix
        self._pending = settings.auth.pending
        memory = settings.auth.memory
        self.verified = _table(region, "gateway.auth.verified", memory)
        self.refused = _table(region, "gateway.auth.refused", max(memory // REFUSED_SHARE, 1 << 18), tag_slots=1)
        self.revocations = Revocations(_table(region, "gateway.auth.revoked", MEMORY, tag_slots=1, shards=1))
        self.verdicts = Verdicts(self.verified, self.refused, self.revocations)
        self._file = RevocationFile(settings.auth.revocations) if settings.auth.revocations else None
        self._remember_revocations()
        self._numbers = itertools.count()
        self._providers: dict[str, Known] = {}
        self._by_number: dict[int, Known] = {}
        self._started = False
        self.follow(settings)
        self.commit()
        self._fetching = 0
        self._line = gevent.event.Event()
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._beside: Bystander[Question, Verdict | None] | None = None

    def start(self, reactor: Reactor, proxy: Proxy) -> None:
        self.authenticator = Authenticator(reactor, self.verified, self.refused, self._line.set, pending=self._pending)
        proxy.use_auth(self.authenticator)
        self._beside = Bystander(self._verdict, self._heard)
        self._greenlet = gevent.spawn(self._run)
        self._started = True
        for known in self._providers.values():
            if known.remote:
                known.remote.start()

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        if self._beside is not None:
            self._beside.stop()
        for known in self._providers.values():
            if known.remote:
                known.remote.stop()

    def follow(self, settings: Gateway) -> None:
        """Judge by these settings, for a route table that is made now; then `commit` or `cancel`. A provider that did
        not change keeps its keys, and what was judged by it stays remembered."""
        self._before = self._providers, self._by_number
        scopes = scope_numbers(settings)
        before, self._providers = self._providers, {}
        for name, provider in settings.auth.providers.items():
            self._providers[name] = self._know(name, provider, scopes, before.get(name))
        # Credentials may still be in line under the numbers of the configuration before.
        self._by_number = {known.number: known for known in (*before.values(), *self._providers.values())}

    def commit(self) -> None:
        """That table is in force."""
        self._end_remotes(self._before[0], self._providers)

    def cancel(self) -> None:
        """It will not be: credentials are judged as before, under the numbers of the table that stays."""
        followed, (self._providers, self._by_number) = self._providers, self._before
        self._end_remotes(followed, self._providers)

    def _end_remotes(self, gone: dict[str, Known], kept: dict[str, Known]) -> None:
        used = {id(known.remote) for known in kept.values()}
        for known in gone.values():
            if known.remote and id(known.remote) not in used:
                known.remote.stop()

    def _know(self, name: str, provider: Provider, scopes: dict[str, int], old: Known | None) -> Known:
        if old is not None and old.provider == provider and old.scopes == scopes:
            return old
        number = next(self._numbers)
        made = credential(number, name, provider, scopes)
        if old is not None and old.provider == provider:
            return Known(number, name, provider, scopes, old.judge, old.remote, made, old.verified)
        judge, remote = self._judge_of(name, provider)
        if remote and self._started:
            remote.start()
        verified = self._metrics.counter(
            f"{self._prefix}_auth_verified", "Credentials judged to be good", provider=name
        )
        return Known(number, name, provider, scopes, judge, remote, made, verified)

    # --- what the route table needs ---

    def route(self, asked: RouteAuth) -> engine.RouteAuth:
        return engine.RouteAuth(
            credentials=tuple(self._providers[name].credential for name in asked.providers),
            required=asked.required,
            scopes=sum(1 << self._providers[asked.providers[0]].scopes[scope] for scope in set(asked.scopes)),
            scope_text=" ".join(asked.scopes),
        )

    @property
    def claimed(self) -> list[str]:
        """Fields that tell targets who asks, of all providers."""
        return sorted({name for known in self._providers.values() for name in known.provider.headers})

    @property
    def secret_parameters(self) -> list[str]:
        keys = [known.provider.api_keys for known in self._providers.values()]
        return sorted({key.query for key in keys if key and key.query})

    # --- for the control plane ---

    def status(self) -> list[dict[str, Any]]:
        """Per provider: its kind, and for published keys how fetching them goes in this worker."""
        found = []
        for name, known in self._providers.items():
            entry: dict[str, Any] = {"name": name, "kind": kind_of(known.provider)}
            if remote := known.remote:
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
        of token, jti, sub. Raises Full, KeyError for a provider there is none of, and OSError when it is in force but
        could not be saved."""
        now = time.time()
        names = [provider] if provider else list(self._providers)
        if provider and provider not in self._providers:
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
        if self._file is not None:
            for mark in marks:
                in_thread(self._file.append, mark, now, now + seconds)
        return now + seconds

    def _remember_revocations(self) -> None:
        """Of an earlier start. Every worker reads them; what the table has already stays as it is."""
        if self._file is None:
            return
        now = time.time()
        try:
            lines = self._file.load(now)
        except OSError as error:
            log.error("auth.revocations: %s; what was revoked earlier is not known", said(error))
            return
        for line in lines:
            mark = bytes.fromhex(line.mark)
            if not self.revocations.has(mark):
                try:
                    self.revocations.add(mark, line.until - now, line.at)
                except Full:
                    log.error("auth.revocations: no room for all of them")
                    return

    def _time_left(self, token: bytes, now: float) -> float:
        """Until the token's own word for when it expires, which nobody has verified: within the bounds it only decides
        how long we keep a note of it."""
        jwts = [known.provider.jwt for known in self._providers.values()]
        leeway = max((jwt.leeway / 1000 for jwt in jwts if jwt), default=0.0)
        try:
            expires = numeric_date(json_object(parse(token).payload), "exp")
        except Refused:
            expires = None
        return LONGEST_SECONDS if expires is None else max(1.0, expires + leeway - now)

    # --- judging ---

    def _run(self) -> None:
        turn = Turns(TURN_SECONDS)
        while True:
            self._line.wait()
            self._line.clear()
            turn.begin()
            while (taken := self.authenticator.take()) is not None:
                self._judge(*taken)
                turn()

    def _judge(self, number: int, key: bytes, presented: bytes) -> None:
        known = self._by_number.get(number)
        if known is None:  # it waited in line while the settings changed twice
            self._refuse(None, key, "unavailable")
        elif known.provider.introspection is not None:
            gevent.spawn(self._ask, (known, key, presented))  # `pending` bounds these
        elif known.provider.jwt is not None and self._beside is not None:
            self._beside.ask((known, key, presented))
        else:
            self._ask((known, key, presented))

    def _ask(self, question: Question) -> None:
        self._heard(question, self._verdict(question))

    def _verdict(self, question: Question) -> Verdict | None:
        """None: keys must be fetched first."""
        known, key, presented = question
        try:
            return self.verdicts.judge(known.name, known.provider, known.scopes, known.judge, key, presented)
        except KeysNeeded:
            return None

    def _heard(self, question: Question, verdict: Verdict | None) -> None:
        known, key, _ = question
        if verdict is None:
            self._fetch(*question)
            return
        if verdict.trouble is not None:
            log.error("auth provider %s: judging failed", known.name, exc_info=verdict.trouble)
        if verdict.forgotten is not None:
            log.warning("a verdict could not be remembered: %s", verdict.forgotten)
        if verdict.good:
            known.verified.inc()
        self.authenticator.settle(key, verdict.packed)

    def _fetch(self, known: Known, key: bytes, presented: bytes) -> None:
        remote = known.remote
        if remote is None:
            self._refuse(known, key, "unknown_key")
        elif not remote.would_fetch():
            # They may have come since the thread looked.
            verdict = self._verdict((known, key, presented))
            if verdict is None:
                self._refuse(known, key, "unavailable" if remote.error else "unknown_key")
            else:
                self._heard((known, key, presented), verdict)
        elif self._fetching * 4 > self._pending:
            # Tokens that name made-up keys must not take all places while an issuer hangs.
            self._refuse(known, key, "unavailable")
        else:
            self._fetching += 1
            gevent.spawn(self._fetch_and_judge, known, remote, key, presented)

    def _fetch_and_judge(self, known: Known, remote: RemoteKeys, key: bytes, presented: bytes) -> None:
        try:
            remote.fetch()
            question = known, key, presented
            verdict = self._verdict(question)
            if verdict is None:
                self._refuse(known, key, "unavailable" if remote.error else "unknown_key")
            else:
                self._heard(question, verdict)
        finally:
            self._fetching -= 1

    def _refuse(self, known: Known | None, key: bytes, reason: str) -> None:
        seconds = known.provider.refused_for / 1000 if known else 0.0
        self.authenticator.settle(key, self.verdicts.refuse(key, reason, seconds).packed)

    def _judge_of(self, name: str, provider: Provider) -> tuple[Judge, RemoteKeys | None]:
        if provider.introspection is not None:
            return Introspector(provider.introspection), None
        if provider.certificates is not None:
            return CertificateJudge(provider.certificates), None
        keys = self._keys(name, provider.jwt)
        judge = judge_for(provider.jwt, provider.api_keys, keys)
        return judge, keys if isinstance(keys, RemoteKeys) else None

    def _keys(self, name: str, jwt: Jwt | None) -> Keys | None:
        if jwt is None:
            return None
        jwk.load_library()
        static = static_keys(jwt)
        if jwt.jwks_url is None:
            return StaticKeys(jwk.KeySet(static))
        return RemoteKeys(
            name,
            fetcher(jwt.jwks_url, jwt.jwks_timeout / 1000, jwt.jwks_ca_file),
            lambda data: _with(static, jwk.parse_set(data, jwt.algorithms)),
            refresh=jwt.jwks_refresh / 1000,
            interval=jwt.jwks_interval / 1000,
            withdrawn=lambda key: self.verified.invalidate_tag(tag("key", name, key.thumb)),
        )


def _with(static: list[jwk.Key], found: tuple[list[jwk.Key], list[str]]) -> tuple[list[jwk.Key], list[str]]:
    keys, skipped = found
    return ([*static, *keys] if keys else []), skipped


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
