"""Settings of health checks, ejection, breakers and retries: bounds, cross-checks with lines, and what the engine gets."""

import pytest

from apps.gateway.compiled import no_turn
from apps.gateway.config import load_settings
from apps.gateway.config_health import numbers
from apps.gateway.config_model import Gateway
from apps.gateway.health import engine_health
from apps.gateway.routing import Parts, RouteMaker
from fastcore.resilience import Breaker, Health, Outlier, Retry, RetryBudget


def load(upstream: str, route: str = "{path: /, upstream: u}"):
    text = f"upstreams:\n  u:\n    targets: [a:1, b:1]\n    {upstream}\nroutes:\n  - {route}\n"
    return load_settings("g.yaml", text=text, environ={})


def settings(upstream: str, route: str = "{path: /, upstream: u}") -> Gateway:
    loaded = load(upstream, route)
    assert loaded.problems == []
    return loaded.settings


def engine_route(gateway: Gateway):
    (route,) = RouteMaker().make(gateway, Parts(lambda name: None), turn=no_turn)
    return route


def test_nothing_is_watched_by_default() -> None:
    gateway = settings("keepalive: 1")
    assert engine_health(gateway.upstreams["u"]) is None
    route = engine_route(gateway)
    assert (route.attempts, route.retry, route.first_byte_timeout) == (2, Retry(on=("reset",)), 60.0)


def test_everything() -> None:
    gateway = settings(
        """\
health_check: {path: "/h?full=1", statuses: [200, 3xx], interval: 1s, timeout: 500ms, healthy: 4, unhealthy: 5}
    outlier: {failures: 6, percent: 7, min_requests: 8, interval: 9s, ejection: 10s, max_ejection: 11s, max_percent: 12}
    breaker: {failures: 13, percent: 14, min_requests: 15, window: 16s, open: 17s, trials: 18, trial_timeout: 19s}
    target_breaker: {failures: 20}
    failure_statuses: [503, 504]
    retries: {attempts: 3, on: [timeout, 502, 503], per_try_timeout: 1500ms, budget: {percent: 21, per_second: 22, burst: 23}}
    panic_percent: 24
    slow_start: 25s""",
        "{path: /, upstream: u, retry_any_method: true, timeouts: {first_byte: 2s}}",
    )
    assert engine_health(gateway.upstreams["u"]) == Health(
        healthy=4,
        unhealthy=5,
        outlier=Outlier(6, 7, 8, 9.0, 10.0, 11.0, 12),
        breaker=Breaker(13, 14, 15, 16.0, 17.0, 18, 19.0),
        target_breaker=Breaker(20),
        budget=RetryBudget(21, 22, 23),
        failures=(503, 504),
        panic_percent=24,
        slow_start=25.0,
    )
    route = engine_route(gateway)
    assert route.retry == Retry(on=("timeout",), statuses=(502, 503), any_method=True)
    assert (route.attempts, route.first_byte_timeout) == (4, 1.5)


def test_defaults_agree_with_the_engines() -> None:
    gateway = settings("outlier: {}\n    breaker: {}\n    retries: {budget: {}}")
    assert engine_health(gateway.upstreams["u"]) == Health(
        outlier=Outlier(), breaker=Breaker(), budget=RetryBudget(), panic_percent=30
    )


def test_a_route_may_wait_longer_than_the_rest() -> None:
    route = engine_route(settings("keepalive: 1", "{path: /, upstream: u, timeouts: {first_byte: 5m}}"))
    assert route.first_byte_timeout == 300.0


def test_numbers() -> None:
    assert numbers(["503", "2xx", "503"]) == (*range(200, 300), 503)
    assert numbers([]) == ()


@pytest.mark.parametrize(
    ("upstream", "problem"),
    [
        ("failure_statuses: [600]", "4:24: upstreams.u.failure_statuses[0]: 600 is no status"),
        ("failure_statuses: 5x", "upstreams.u.failure_statuses[0]: '5x' is no status: write 503, or 5xx"),
        ("retries: {on: [bad]}", "4:20: upstreams.u.retries.on[0]: 'bad' is no condition: write reset, timeout, or a"),
        ("retries: {per_try_timeout: 1s}", "4:15: upstreams.u.retries.per_try_timeout: has no retry to lead to"),
        (
            "retries: {budget: {percent: 0, per_second: 0}}",
            "4:15: upstreams.u.retries.budget: percent and per_second are",
        ),
        ("retries: {budget: {percent: 101}}", "4:24: upstreams.u.retries.budget.percent: "),
        ("retries: {budget: {burst: 0}}", "4:24: upstreams.u.retries.budget.burst: "),
        ("health_check: {path: health}", "4:20: upstreams.u.health_check.path: 'health': a path starts with /"),
        ("health_check: {path: '/a b'}", "4:20: upstreams.u.health_check.path: "),
        ('health_check: {path: "/a\\r\\nX: 1"}', "4:20: upstreams.u.health_check.path: "),
        ('health_check: {host: "a\\r\\nX: 1"}', "4:20: upstreams.u.health_check.host: "),
        ("health_check: {interval: 1s, timeout: 2s}", "4:34: upstreams.u.health_check.timeout: a check must be over"),
        (
            "health_check: {type: tcp, path: /x}",
            "4:31: upstreams.u.health_check.path: path has no effect with type tcp",
        ),
        ("health_check: {type: udp}", "4:20: upstreams.u.health_check.type: "),
        ("health_check: {healthy: 0}", "4:20: upstreams.u.health_check.healthy: "),
        ("health_check: {statuses: []}", "upstreams.u.health_check.statuses: "),
        ("outlier: {failures: 0}", "4:5: upstreams.u.outlier: failures and percent are both 0"),
        (
            "outlier: {ejection: 1h, max_ejection: 1m}",
            "upstreams.u.outlier.max_ejection: max_ejection is shorter than ejection",
        ),
        ("outlier: {max_percent: 101}", "4:15: upstreams.u.outlier.max_percent: "),
        ("outlier: {falures: 1}", "upstreams.u.outlier.falures: "),
        ("breaker: {failures: 0}", "4:5: upstreams.u.breaker: failures and percent are both 0"),
        ("target_breaker: {failures: 0}", "4:5: upstreams.u.target_breaker: failures and percent are both 0"),
        ("breaker: {window: 99ms}", "4:15: upstreams.u.breaker.window: a window is 100ms to 1h"),
        ("breaker: {open: 0}", "4:15: upstreams.u.breaker.open: "),
        ("breaker: {trials: 0}", "4:15: upstreams.u.breaker.trials: "),
        ("panic_percent: -1", "4:5: upstreams.u.panic_percent: "),
    ],
)
def test_problems_with_their_lines(upstream: str, problem: str) -> None:
    (found,) = map(str, load(upstream).problems)
    assert problem in found
