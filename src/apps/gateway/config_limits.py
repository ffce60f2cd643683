"""Settings of limits on requests, and what is wrong with them beyond a single key.

The settings `limits` are bounds on one request; these here are over many, so they are called `rate_limits`.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from apps.config_base import Finding, Listed, Section, field_token
from apps.units import Duration, Whole
from apps.yaml_source import Path
from fastcore.limiter_quota import Quota
from fastcore.proxylimits import (
    AT_ONCE_MAX,
    CAPACITY,
    CAPACITY_MAX,
    LIMITS_MAX,
    PARTS_MAX,
    SHARED_RATE_MAX,
    SOURCES,
    Limit,
)


def _source(value: str) -> str:
    kind, colon, name = value.partition(":")
    if kind not in SOURCES or bool(colon) != SOURCES[kind]:
        choices = (f"{source}:NAME" if named else source for source, named in SOURCES.items())
        raise ValueError(f"{value!r}: write {', '.join(choices)}")
    if colon and not name:
        raise ValueError(f"{value!r}: name the {kind}, as in {kind}:user")
    if kind == "header":
        field_token(name)
        return f"header:{name.lower()}"
    if not name.isascii():
        raise ValueError(f"{value!r}: a name has ASCII characters only")
    return value


Source = Annotated[str, AfterValidator(_source)]
Names = Annotated[tuple[str, ...], Listed, Field(max_length=LIMITS_MAX)]


class RateLimit(Section):
    rate: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Requests (or units of `cost`) in each `period`, spread evenly."""
    period: Annotated[Duration, Field(ge=1, le=366 * 86_400_000)] = 1000
    """The time of `rate`; at most a year."""
    burst: Annotated[int, Field(ge=1, le=1_000_000_000), Whole] | None = None
    """Most at once; without it the rate. In any time t at most burst + t * rate / period are admitted."""
    concurrent: Annotated[int, Field(ge=1, le=AT_ONCE_MAX), Whole] | None = None
    """Instead of a rate: requests in flight at one time."""
    by: Annotated[tuple[Source, ...], Listed, Field(max_length=PARTS_MAX)] = ()
    """What is counted apart: `ip`, `user`, `route`, `host`, `header:NAME`, `query:NAME`, `cookie:NAME`, or several of
    these together. Empty: one count for all. Requests without the value, or with several, are counted as one."""
    ipv4_prefix: Annotated[int, Field(ge=0, le=32), Whole] = 32
    """Bits of an IPv4 address that count with `ip`."""
    ipv6_prefix: Annotated[int, Field(ge=0, le=128), Whole] = 64
    """Bits of an IPv6 address that count with `ip`; a site has 64 bits to choose addresses from."""
    cost: Annotated[int, Field(ge=1, le=1_000_000_000), Whole] = 1
    """Units a request costs."""
    dry_run: bool = False
    """true: count and log what would be refused, and refuse nothing."""
    fields: Literal["refused", "always"] = "refused"
    """Which answers carry `RateLimit-Policy` and `RateLimit`: refused ones alone, or targets' answers too."""
    when_full: Literal["admit", "refuse"] = "admit"
    """What becomes of a new key when the table has no room (`rate_limit_keys`)."""
    shared: bool = False
    """true: a rate counted by all gateways with this `redis` together. A worker asks Redis for units to use for a
    while."""
    lease: Annotated[Duration, Field(ge=0, le=60_000)] = 100
    """With `shared`: how long such units may be used. The burst is less by what the rate brings in meanwhile, at most
    by half, so that the bound holds. 0, or less than the time of one unit, or than 5ms: Redis is asked for each
    request."""
    when_gone: Literal["local", "admit", "refuse"] = "local"
    """With `shared`, while Redis cannot be asked: this machine counts alone, or every request is admitted, or
    refused."""

    def limit(self, name: str) -> Limit:
        """As the engine takes it."""
        return Limit(
            name=name,
            rate=self.rate or 0,
            period=self.period / 1000,
            burst=self.burst or 0,
            at_once=self.concurrent or 0,
            by=self.by,
            ipv4_prefix=self.ipv4_prefix,
            ipv6_prefix=self.ipv6_prefix,
            dry_run=self.dry_run,
            tells=self.fields == "always",
            cost=self.cost,
            when_full=self.when_full,
            shared=self.shared,
            lease=self.lease / 1000,
            when_gone=self.when_gone,
        )


TableKeys = Annotated[int, Field(ge=1024, le=CAPACITY_MAX), Whole]
DEFAULT_KEYS = CAPACITY


def check_limit(name: str, limit: RateLimit, has_redis: bool) -> Iterator[Finding]:
    """Keys that exclude each other, and limits no request would pass."""
    at = ("rate_limits", name)
    given = limit.model_fields_set
    for source in sorted({source for source in limit.by if limit.by.count(source) > 1}):
        yield (*at, "by"), f"{source} stands here twice"
    for key in ("ipv4_prefix", "ipv6_prefix"):
        if key in given and "ip" not in limit.by:
            yield (*at, key), f"{key} has no effect without `by: [ip]`"
    for key in ("lease", "when_gone"):
        if key in given and not limit.shared:
            yield (*at, key), f"{key} has no effect without `shared: true`"
    if limit.shared and not has_redis:
        yield (*at, "shared"), "a shared limit is counted in Redis: say where that is, in `redis: {url: ...}`"
    if (limit.rate is None) == (limit.concurrent is None):
        yield at, "a limit has either rate or concurrent"
        return
    if limit.concurrent is not None:
        for key in ("period", "burst", "cost", "shared"):
            if key in given:
                yield (*at, key), f"{key} has no effect with concurrent"
        return
    assert limit.rate is not None
    if limit.shared and limit.rate * 1000 > SHARED_RATE_MAX * limit.period:
        yield (*at, "rate"), f"a shared limit has a rate of at most {SHARED_RATE_MAX:,} a second"
    burst = Quota(limit.rate, limit.period / 1000, limit.burst or 0).burst
    if limit.cost > burst:
        yield (*at, "cost"), f"a request of cost {limit.cost} would never fit into a burst of {burst}"


def check_named(at: Path, names: Sequence[str], known: Collection[str]) -> Iterator[Finding]:
    """The limits that a route names."""
    for index, name in enumerate(names):
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield (*at, index), f"no limit of rate_limits is called {name!r}{hint}"
        elif name in names[:index]:
            yield (*at, index), f"{name} stands here twice"
