"""How an upstream is watched: checks, ejection, breakers, retries, slow start. Durations in seconds.

The rules are in cext/include/fc/{probe,outlier,breaker,retry_budget,health}.h; `fastcore.proxy` applies them.
"""

from dataclasses import dataclass

from libc.stdint cimport INT32_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memset

__all__ = ["Breaker", "Health", "Outlier", "Retry", "RetryBudget"]


@dataclass(frozen=True)
class Breaker:
    """Opens after `failures` in a row (0: not by these), or when `percent` of at least `volume` requests in `window`
    failed (0: not by these). After `open` it lets `trials` through; one that is not heard of for `trial_timeout` is given
    to another request."""

    failures: int = 5
    percent: int = 0
    volume: int = 20
    window: float = 10.0
    open: float = 10.0
    trials: int = 1
    trial_timeout: float = 10.0


@dataclass(frozen=True)
class Outlier:
    """Ejects a target after `failures` in a row, or when `percent` of at least `volume` requests in `interval` failed (0:
    not by these), for `ejection`, twice as long each time up to `ejection_max`; never more than `max_percent` of all."""

    failures: int = 5
    percent: int = 0
    volume: int = 20
    interval: float = 10.0
    ejection: float = 30.0
    ejection_max: float = 300.0
    max_percent: int = 50


@dataclass(frozen=True)
class RetryBudget:
    """Retries are at most `percent` of the requests and `per_second` besides; `burst` can be saved up."""

    percent: int = 20
    per_second: int = 10
    burst: int = 100


@dataclass(frozen=True)
class Health:
    """How an upstream is watched. healthy, unhealthy: results of checks in a row that change a target's state; 0: there
    are no checks. failures: statuses that count as failures. Target breakers stand beside the upstream's own."""

    healthy: int = 0
    unhealthy: int = 0
    outlier: Outlier | None = None
    breaker: Breaker | None = None
    target_breaker: Breaker | None = None
    budget: RetryBudget | None = None
    failures: tuple[int, ...] = tuple(range(500, 600))
    panic_percent: int = 50
    slow_start: float = 0.0


@dataclass(frozen=True)
class Retry:
    """When a request that reached a target is sent to another: "reset" (no byte of an answer), "timeout" (no first byte in
    time), statuses. any_method: also methods that are not idempotent."""

    on: tuple[str, ...] = ("reset",)
    statuses: tuple[int, ...] = ()
    any_method: bool = False


cdef uint32_t _ms(object seconds, str what) except? 0xffffffff:
    value = round(float(seconds) * 1000)
    if not 0 <= value <= INT32_MAX:
        raise ValueError(f"{what}: {seconds!r} seconds is out of range")
    return <uint32_t>value


cdef uint32_t _number(object value, str what, uint32_t least, uint32_t most) except? 0xffffffff:
    if not least <= value <= most:
        raise ValueError(f"{what}: {value!r} is not {least} to {most}")
    return <uint32_t>value


cdef int _fill_breaker(fc_breaker_settings *s, object breaker) except -1:
    s.failures = _number(breaker.failures, "failures", 0, 1023)
    s.percent = _number(breaker.percent, "percent", 0, 100)
    s.volume = _number(breaker.volume, "volume", 1, 1 << 19)
    s.window_ms = _ms(breaker.window, "window")
    s.open_ms = _ms(breaker.open, "open")
    s.trials = _number(breaker.trials, "trials", 1, 1023)
    s.trial_ms = _ms(breaker.trial_timeout, "trial_timeout")
    if s.percent and s.window_ms < 100:
        raise ValueError(f"window: {breaker.window!r} is below 0.1")
    return 0


cdef int _fill_outlier(fc_outlier_settings *s, object outlier) except -1:
    s.failures = _number(outlier.failures, "failures", 0, 16383)
    s.percent = _number(outlier.percent, "percent", 0, 100)
    s.volume = _number(outlier.volume, "volume", 1, 1 << 30)
    s.interval_ms = _ms(outlier.interval, "interval")
    s.eject_ms = _ms(outlier.ejection, "ejection")
    s.eject_max_ms = max(s.eject_ms, _ms(outlier.ejection_max, "ejection_max"))
    s.max_percent = _number(outlier.max_percent, "max_percent", 0, 100)
    return 0


cdef int fill_statuses(fc_status_set *set, object statuses) except -1:
    for status in statuses:
        fc_status_add(set, _number(status, "status", 100, 599))
    return 0


cdef int fill(fc_health_settings *s, object health) except -1:
    memset(s, 0, sizeof(fc_health_settings))
    s.probe.healthy = _number(health.healthy, "healthy", 0, 1000)
    s.probe.unhealthy = _number(health.unhealthy, "unhealthy", 0, 1000)
    if health.outlier is not None:
        _fill_outlier(&s.outlier, health.outlier)
    if health.breaker is not None:
        _fill_breaker(&s.upstream_breaker, health.breaker)
    if health.target_breaker is not None:
        _fill_breaker(&s.target_breaker, health.target_breaker)
    if health.budget is not None:
        s.budget.percent = _number(health.budget.percent, "percent", 0, 100)
        s.budget.per_second = _number(health.budget.per_second, "per_second", 0, 4000)
        s.budget.burst = _number(health.budget.burst, "burst", 1, 4000)
    fill_statuses(&s.failures, health.failures)
    s.panic_percent = _number(health.panic_percent, "panic_percent", 0, 100)
    s.slow_start_ms = _ms(health.slow_start, "slow_start")
    return 0


cdef str probe_name(fc_probe_state state):
    return {FC_PROBE_HEALTHY: "healthy", FC_PROBE_UNHEALTHY: "unhealthy"}.get(state, "unknown")


cdef str _breaker_name(uint64_t word, uint64_t now_ms):
    names = {FC_BREAKER_CLOSED: "closed", FC_BREAKER_OPEN: "open", FC_BREAKER_HALF_OPEN: "half_open"}
    return names[fc_breaker_state_at(word, now_ms)]


cdef dict target_view(const fc_health_settings *s, const fc_health_cell *cell, uint64_t now_ms):
    """Of what is watched only: check, ejected_for (seconds left), breaker."""
    view = {}
    if s.probe.unhealthy:
        view["check"] = probe_name(fc_probe_state_of(cell.probe))
    if fc_outlier_used(&s.outlier):
        view["ejected_for"] = max(0, <int64_t>fc_outlier_until_ms(cell.eject) - <int64_t>now_ms) / 1000.0
    if fc_breaker_used(&s.target_breaker):
        view["breaker"] = _breaker_name(cell.breaker, now_ms)
    return view


cdef dict upstream_view(const fc_upstream_health *h, uint64_t now_ms):
    """Of what is watched only: breaker, checks_by (pid). And this worker's counts."""
    view = {"opened": h.opened, "stopped": h.stopped, "denied": h.denied}
    if fc_breaker_used(&h.settings.upstream_breaker):
        view["breaker"] = _breaker_name(h.cell.breaker, now_ms)
    if h.settings.probe.unhealthy:
        view["checks_by"] = fc_lead_pid(h.cell.lead)
    return view
