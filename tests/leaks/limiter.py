from contextlib import suppress

from tests.leaks.table import operation

from fastcore.limiter import AdaptiveLimiter, ConcurrencyLimiter, LimitExceeded, Quota, RateLimiter, RateLimits
from fastcore.shm import Region

REGION = Region(8 << 20)
LIMITER = RateLimiter(100, 1.0, capacity=1000)
SHARED = RateLimiter(100, 60.0, region=REGION, capacity=1000)
BOTH = RateLimits(LIMITER, SHARED)
PLACES = ConcurrencyLimiter(2)
SHARED_PLACES = ConcurrencyLimiter(2, REGION)


@operation("checks")
def checks() -> None:
    for key in ("text", b"bytes", 5, ("user", 7, b"x")):
        tuple(LIMITER.hit(key))
        SHARED.hit(key, 2)
        LIMITER.peek(key)
        BOTH.hit(key)
    LIMITER.reset("text")
    with suppress(TypeError):
        LIMITER.hit(None)
    with suppress(ValueError):
        LIMITER.hit("text", -1)


@operation("quotas", weight=4)
def quotas() -> None:
    quota = Quota.parse("100/minute burst 200")
    RateLimiter(quota.rate, quota.period, quota.burst, capacity=10)
    with suppress(ValueError):
        Quota.parse("a lot")


@operation("places")
def places() -> None:
    with suppress(LimitExceeded), PLACES, PLACES, PLACES:
        pass


@operation("places of all processes")
def shared_places() -> None:
    with suppress(LimitExceeded), SHARED_PLACES, SHARED_PLACES, SHARED_PLACES:
        pass
    assert SHARED_PLACES.in_use == 0


@operation("adaptive limits", weight=4)
def adaptive() -> None:
    limiter = AdaptiveLimiter()
    if limiter.acquire(1.0):
        limiter.release(0.1, 1.1)
