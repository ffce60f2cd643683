"""Settings of what keeps an upstream usable while parts of it fail: checks, ejection, breakers, retries, slow start.

All of it is off unless the file says otherwise.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from apps.config_base import Finding, Listed, Section
from apps.units import Duration, Timeout, Whole
from apps.yaml_source import Path
from fastcore.proxy import Adaptive as EngineAdaptive

_STATUS = re.compile(r"[1-5](xx|[0-9]{2})")
_REQUEST_PATH = re.compile(r"/[\x21-\x22\x24-\x7e]*")  # visible characters, no fragment
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")


def _status(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _STATUS.fullmatch(text):
        raise ValueError(f"{value!r} is no status: write 503, or 5xx for all of them")
    return text


def _retry_condition(value: Any) -> str:
    if value in ("reset", "timeout"):
        return str(value)
    try:
        return _status(value)
    except ValueError:
        raise ValueError(f"{value!r} is no condition: write reset, timeout, or a status as in 503 or 5xx") from None


def _window(value: int) -> int:
    if not 100 <= value <= 3_600_000:
        raise ValueError("a window is 100ms to 1h")
    return value


def _interval(value: int) -> int:
    if value < 100:
        raise ValueError("checks are at least 100ms apart")
    return value


def _check_path(value: str) -> str:
    if not isinstance(value, str) or not _REQUEST_PATH.fullmatch(value):
        raise ValueError(f"{value!r}: a path starts with / and has no spaces and no '#'")
    return value


def _check_host(value: str) -> str:
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise ValueError(f"{value!r} is no host")
    return value


Status = Annotated[str, BeforeValidator(_status)]
RetryCondition = Annotated[str, BeforeValidator(_retry_condition)]
RequestPath = Annotated[str, BeforeValidator(_check_path)]
HostText = Annotated[str, BeforeValidator(_check_host)]
Row = Annotated[int, Field(ge=0, le=1000), Whole]
Results = Annotated[int, Field(ge=1, le=1000), Whole]
Volume = Annotated[int, Field(ge=1, le=100_000), Whole]
Percent = Annotated[int, Field(ge=0, le=100), Whole]


def numbers(statuses: Iterable[str]) -> tuple[int, ...]:
    """The codes that `503` and `5xx` stand for."""
    found: set[int] = set()
    for status in statuses:
        first = int(status[0]) * 100
        found |= set(range(first, first + 100)) if status.endswith("xx") else {int(status)}
    return tuple(sorted(found))


#: Keys of a check that do not concern its type.
WITHOUT_EFFECT = {
    "http": ("service",),
    "tcp": ("path", "host", "statuses", "service"),
    "grpc": ("path", "statuses"),
}


class HealthCheck(Section):
    type: Literal["http", "tcp", "grpc"] = "http"
    """`http` asks for a path and looks at the status, `grpc` calls `grpc.health.v1.Health/Check` (for upstreams with
    `http2`); `tcp` only connects."""
    path: RequestPath = "/"
    """What is asked for with GET; may have a query."""
    host: HostText | None = None
    """Host of the request; the target's own unless given."""
    statuses: Annotated[tuple[Status, ...], Listed, Field(min_length=1)] = ("2xx",)
    """Statuses that pass, as in 200 or 2xx."""
    service: Annotated[str, Field(max_length=100)] = ""
    """With `grpc`: the service that is asked for; empty is the target as a whole."""
    interval: Annotated[Duration, AfterValidator(_interval)] = 5_000
    """From one check of a target to the next, give or take a tenth. At least 100ms."""
    timeout: Timeout = 2_000
    """A check that takes longer has failed."""
    healthy: Results = 2
    """Passes in a row that bring a target back. The very first result decides alone."""
    unhealthy: Results = 3
    """Failures in a row that take a target out."""


class Outlier(Section):
    failures: Row = 5
    """Failures in a row that eject a target; 0: these do not."""
    percent: Percent = 0
    """Share of failures within `interval` that ejects a target; 0: this does not."""
    min_requests: Volume = 20
    """Fewer requests than this to a target within `interval` tell nothing."""
    interval: Timeout = 10_000
    """How often shares of failures are looked at."""
    ejection: Timeout = 30_000
    """How long the first ejection lasts; the next ones last twice as long each. One is forgotten for every such time
    without."""
    max_ejection: Timeout = 300_000
    """No ejection lasts longer, but the first one as long as `ejection` says."""
    max_percent: Percent = 50
    """At most this share of the targets is ejected at one time, rounded down: one of two at 50."""


class Adaptive(Section):
    initial: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 20
    """Requests at once to begin with, per worker."""
    minimum: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 3
    """Never fewer."""
    maximum: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 1000
    """Never more."""
    tolerance: Annotated[float, Field(ge=1, le=10)] = 1.1
    """How many times slower than at its best the upstream may be before less is sent to it."""
    window: Annotated[Duration, Field(ge=10, le=60_000)] = 500
    """How often the number is found anew; a window has ten answers at least."""
    probe: Duration = 0
    """How often its best is found anew, by `minimum` requests at once for one window; 0 never."""

    def engine(self) -> EngineAdaptive:
        return EngineAdaptive(
            self.initial, self.minimum, self.maximum, self.tolerance, self.window / 1000, self.probe / 1000
        )


class Breaker(Section):
    failures: Row = 5
    """Failures in a row that open it; 0: these do not."""
    percent: Percent = 0
    """Share of failures within `window` that opens it; 0: this does not."""
    min_requests: Volume = 20
    """Fewer requests than this within `window` tell nothing."""
    window: Annotated[Duration, AfterValidator(_window)] = 10_000
    """Rolling window for `percent`; it moves by eighths. 100ms to 1h."""
    open: Timeout = 10_000
    """How long it stays open before requests are tried again."""
    trials: Results = 1
    """Requests that may be tried then; when so many have succeeded it closes, when one fails it opens again."""
    trial_timeout: Timeout = 10_000
    """A trial that nothing was heard of for this long, because its worker died, is given to another request."""


class RetryBudget(Section):
    percent: Percent = 20
    """Share of the requests that may be sent again."""
    per_second: Annotated[int, Field(ge=0, le=4000), Whole] = 10
    """Retries a second that may go besides, so that an upstream with little traffic has some."""
    burst: Annotated[int, Field(ge=1, le=4000), Whole] = 100
    """Retries that can be saved up."""


class Retries(Section):
    attempts: Annotated[int, Field(ge=0, le=10), Whole] = 1
    """Further tries after the first, only for idempotent requests or when nothing was sent, and before any answer."""
    on: Annotated[tuple[RetryCondition, ...], Listed] = ("reset",)
    """When: `reset` (the connection ended before a byte of an answer), `timeout` (no first byte in time), and statuses
    as in 503 or 5xx. A target that cannot be connected to is passed over in any case."""
    per_try_timeout: Timeout | None = None
    """From a try's last byte sent to the first byte of its answer, where that is less than `timeouts.first_byte`."""
    budget: RetryBudget | None = None
    """Bound on the retries of all workers together; without it only `attempts` bounds them."""


def check_health(
    at: Path, check: HealthCheck | None, outlier: Outlier | None, breakers: dict[str, Breaker | None], http2: bool
) -> Iterator[Finding]:
    """What needs more than one key of an upstream's health to decide."""
    if check is not None and check.timeout > check.interval:
        yield (
            (*at, "health_check", "timeout"),
            "a check must be over when the next one is due: timeout is above interval",
        )
    if check is not None and check.type == "grpc" and not http2:
        yield (*at, "health_check", "type"), "gRPC needs HTTP/2: set http2 of the upstream"
    if check is not None:
        for key in WITHOUT_EFFECT[check.type]:
            if key in check.model_fields_set:
                yield (*at, "health_check", key), f"{key} has no effect with type {check.type}"
    if outlier is not None and not outlier.failures and not outlier.percent:
        yield (*at, "outlier"), "failures and percent are both 0, so nothing would ever be ejected"
    if outlier is not None and "max_ejection" in outlier.model_fields_set and outlier.max_ejection < outlier.ejection:
        yield (*at, "outlier", "max_ejection"), "max_ejection is shorter than ejection"
    for key, breaker in breakers.items():
        if breaker is not None and not breaker.failures and not breaker.percent:
            yield (*at, key), "failures and percent are both 0, so it would never open"


def check_retries(at: Path, retries: Retries) -> Iterator[Finding]:
    if retries.per_try_timeout is not None and "timeout" not in retries.on:
        yield (*at, "retries", "per_try_timeout"), "has no retry to lead to: `on` needs timeout"
    if retries.budget is not None and not retries.budget.percent and not retries.budget.per_second:
        yield (*at, "retries", "budget"), "percent and per_second are both 0, so nothing would ever be sent again"


AdaptiveOrTrue = Annotated[Adaptive, BeforeValidator(lambda value: {} if value is True else value)]
