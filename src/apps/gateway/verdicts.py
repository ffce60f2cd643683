"""Verdicts on credentials as all workers remember them.

Order matters where a revocation and a verdict meet: a verdict's tags are stamped, then revocations are looked up, then
it is stored; a revocation is stored first, and then invalidates the tag. Whichever comes first, the token is out.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from apps.gateway.config_auth import Provider
from apps.gateway.judges import Judge, Judgement, KeysNeeded, header_lines, subject_bytes
from apps.gateway.jws import Refused
from apps.gateway.revocations import Revocations, tag, token_tag
from fastcore import proxy as engine
from fastcore.sharedcache import SharedCache


@dataclass(frozen=True, slots=True)
class Verdict:
    packed: bytes
    """As the engine takes it."""
    good: bool
    trouble: Exception | None = None
    """What went wrong with judging: ours, not the credential's."""
    forgotten: Exception | None = None
    """Why it is not remembered: whoever waits hears it all the same; the next one costs a verification."""


class Verdicts:
    """Makes them and remembers them: good ones and refusals in tables of their own. Any thread may ask for one."""

    def __init__(self, verified: SharedCache, refused: SharedCache, revocations: Revocations):
        self.verified, self.refused, self.revocations = verified, refused, revocations

    def judge(
        self, name: str, provider: Provider, scopes: Mapping[str, int], judge: Judge, key: bytes, presented: bytes
    ) -> Verdict:
        """name, provider, scopes (their bits): whose credential it is. Raises KeysNeeded, and then nothing happened."""
        now = time.time()
        try:
            return self._accept(name, provider, scopes, key, presented, judge.judge(presented, now), now)
        except Refused as refused:
            return self.refuse(key, refused.reason, provider.refused_for / 1000)
        except KeysNeeded:
            raise
        except Exception as error:  # the credential is a stranger's: what it did to us goes to the log, it does not
            return self.refuse(key, "unavailable", 0.0, error)

    def refuse(self, key: bytes, reason: str, seconds: float, trouble: Exception | None = None) -> Verdict:
        packed = engine.pack_verdict(reason, expires=int(time.time() + seconds) + 1)
        forgotten = None
        if reason != "unavailable":  # that is our trouble, and may be over at once
            forgotten = _failure(lambda: self.refused.set(key, packed, ttl=seconds))
        return Verdict(packed, False, trouble, forgotten)

    def _accept(
        self,
        name: str,
        provider: Provider,
        scopes: Mapping[str, int],
        key: bytes,
        presented: bytes,
        found: Judgement,
        now: float,
    ) -> Verdict:
        subject = subject_bytes(found.subject)
        fields = header_lines(provider.headers, found.claims)
        marks = [token_tag(presented)]
        if found.jti is not None:
            marks.append(tag("jti", name, found.jti))
        subject_mark = tag("sub", name, found.subject)
        stamp = self.verified.stamp([*marks, subject_mark, *([tag("key", name, found.key)] if found.key else [])])
        if self.revocations.covers(marks, subject_mark, found.issued):
            raise Refused("revoked")
        packed = engine.pack_verdict(
            "ok",
            expires=int(found.expires),
            scopes=sum(1 << scopes[scope] for scope in found.scopes if scope in scopes),
            subject=subject,
            fields=fields,
        )
        seconds = min(int(found.expires) - now, provider.remember / 1000)
        forgotten = None
        if seconds > 0:
            forgotten = _failure(lambda: self.verified.set(key, packed, ttl=seconds, stamp=stamp))
        return Verdict(packed, True, forgotten=forgotten)


def _failure(remember: Callable[[], object]) -> Exception | None:
    try:
        remember()
    except (TimeoutError, ValueError) as error:
        return error
    return None
