"""Limits on requests: their settings, what the engine is given, what the control plane says about them."""

from unittest.mock import Mock

import falcon.testing
import pytest

from apps.gateway.config import load_settings
from apps.gateway.control import create_app
from apps.gateway.limits import RouteLimits
from apps.gateway.quota_keeper import pass_on
from apps.gateway.routing import limits_of
from apps.gateway.service import ControlOnly, FixedConfiguration
from fastcore.limiter import Quota
from fastcore.limiter_http import Policy, ratelimit_policy
from fastcore.metrics import Metrics
from fastcore.proxylimits import AT_ONCE_MAX, CAPACITY_MAX, LIMITS_MAX, PARTS_MAX, Limit, Limits
from fastcore.shm import Region

ROUTES = """\
upstreams: {u: {targets: ["a:1"]}}
routes:
  - {path: /a, upstream: u}
  - {path: /b, upstream: u, rate_limits: [two, one]}
  - {path: /c, upstream: u, rate_limits: []}
default_rate_limits: one
rate_limits:
  one: {rate: 100, period: 60s, burst: 20, by: [ip]}
  two: {concurrent: 10, by: [user, "header:X-Api-Key"]}
"""


def load(text: str):
    return load_settings("g.yaml", text=text, environ={})


def problems(limits: str, more: str = "") -> list[str]:
    """What is wrong with a file whose second line on are limits."""
    return [str(problem) for problem in load(f"rate_limits:\n{limits}\n{more}").problems]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_what_the_engine_is_given() -> None:
    settings = load(ROUTES).settings
    assert settings is not None
    assert settings.rate_limits["one"].limit("one") == Limit("one", rate=100, period=60, burst=20, by=("ip",))
    two = settings.rate_limits["two"].limit("two")
    assert two == Limit("two", at_once=10, by=("user", "header:x-api-key"))
    assert [limits_of(settings, route) for route in settings.routes] == [("one",), ("two", "one"), ()]


def test_what_is_wrong_with_shared_limits() -> None:
    def messages(limits: str, more: str = "") -> list[str]:
        return [text.partition(": ")[2] for text in problems(limits, f'upstreams: {{u: {{targets: ["a:1"]}}}}\n{more}')]

    (missing,) = messages("  a: {rate: 1, shared: true}")
    assert "redis: {url: ...}" in missing
    redis = "redis: {url: redis://:secret@127.0.0.1/0}"
    assert messages("  a: {rate: 1, shared: true, lease: 0, when_gone: refuse}", redis) == []
    (fast,) = messages("  a: {rate: 1000001, shared: true}", redis)
    assert "at most 1,000,000 a second" in fast
    lease, gone = messages("  a: {rate: 1, lease: 1s, when_gone: admit}", redis)
    assert "shared: true" in lease
    assert "shared: true" in gone
    (concurrent,) = messages("  a: {concurrent: 1, shared: true}", redis)
    assert "no effect with concurrent" in concurrent
    (scheme,) = messages("  a: {rate: 1}", "redis: {url: 'http://:secret@a'}")
    assert "rediss://" in scheme
    assert "secret" not in scheme


@pytest.mark.parametrize(
    ("limit", "burst", "lease_ms"),
    [
        (Limit("a", rate=1000, burst=500, shared=True), 400, 100),
        (Limit("a", rate=1000, burst=500), 500, 0),
        (Limit("a", rate=1000, burst=60, shared=True), 30, 30),
        (Limit("a", rate=1000, burst=8, shared=True), 8, 0),
        (Limit("a", rate=5, burst=500, shared=True), 500, 0),
        (Limit("a", rate=5, burst=500, shared=True, lease=0.5), 498, 400),
        (Limit("a", rate=100, burst=10, cost=6, shared=True), 10, 0),
        (Limit("a", rate=100, burst=10, shared=True, lease=0), 10, 0),
    ],
)
def test_a_lease_is_taken_off_the_burst(limit: Limit, burst: int, lease_ms: int) -> None:
    quota, lease = limit.share()
    assert (quota.burst, lease) == (burst, lease_ms * 1_000_000)
    assert lease * limit.rate / 1e9 <= limit.burst - quota.burst


@pytest.mark.parametrize(
    ("lease", "reply", "said"),
    [
        (200, [5, 2, 7, 0, 0], ("grant", 5, 1200, 2_000_000_007)),
        (0, [1, 0, 7, 0, 0], ("grant", 1, 1050, 7)),
        (200, [0, 2, 7, 0, 300], ("refuse", 1300, 2_000_000_007)),
        (200, [0, 2, 7, 60, 0], ("refuse", 1_000_001_000, 2_000_000_007)),
    ],
    ids=["a lease", "none: as long as an answer may take", "refused", "refused for long: asked again in a second"],
)
def test_how_long_what_redis_said_holds(lease: int, reply: list[int], said: tuple) -> None:
    question = Mock(lease=lease)
    pass_on(question, reply, 1000, 50)
    ((name, arguments, _),) = question.method_calls
    assert (name, *arguments) == said


def test_every_error_with_its_line() -> None:
    found = problems(
        """\
  zero: {rate: 0}
  none: {by: ip}
  both: {rate: 1, concurrent: 1}
  odd: {concurrent: 5, burst: 3, period: 2s, cost: 2}
  many: {concurrent: 1000000}
  source: {rate: 1, by: [ip, port]}
  nameless: {rate: 1, by: "header:"}
  named: {rate: 1, by: "ip:x"}
  token: {rate: 1, by: "header:a b"}
  twice: {rate: 1, by: [ip, ip, "header:A", "header:a"]}
  prefix: {rate: 1, by: [ip], ipv4_prefix: 33}
  useless: {rate: 1, by: [user], ipv6_prefix: 48}
  dear: {rate: 5, cost: 6}
  year: {rate: 5, period: 400d}
  full: {rate: 5, when_full: wait}
  "bad name": {rate: 5}""",
        """\
default_rate_limits: [dear, deer]
rate_limit_keys: 1
upstreams: {u: {targets: ["a:1"]}}
routes:
  - {path: /, upstream: u, rate_limits: [dear, source, dear, zzz]}""",
    )
    expected = [
        "2:10: rate_limits.zero.rate: Input should be greater than 0",
        "3:3: rate_limits.none: a limit has either rate or concurrent",
        "4:3: rate_limits.both: a limit has either rate or concurrent",
        "5:24: rate_limits.odd.burst: burst has no effect with concurrent",
        "5:34: rate_limits.odd.period: period has no effect with concurrent",
        "5:46: rate_limits.odd.cost: cost has no effect with concurrent",
        "6:10: rate_limits.many.concurrent: 1000000 is more than 1024",
        "7:30: rate_limits.source.by[1]: 'port': write ip, user, route, host, header:NAME, query:NAME, cookie:NAME",
        "8:23: rate_limits.nameless.by[0]: 'header:': name the header, as in header:user",
        "9:20: rate_limits.named.by[0]: 'ip:x': write ip, user, route, host, header:NAME, query:NAME, cookie:NAME",
        "10:20: rate_limits.token.by[0]: 'a b' is no token: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, se",
        "11:20: rate_limits.twice.by: header:a stands here twice",
        "11:20: rate_limits.twice.by: ip stands here twice",
        "12:31: rate_limits.prefix.ipv4_prefix: 33 is more than 32",
        "13:34: rate_limits.useless.ipv6_prefix: ipv6_prefix has no effect without `by: [ip]`",
        "14:19: rate_limits.dear.cost: a request of cost 6 would never fit into a burst of 5",
        "15:19: rate_limits.year.period: '400d' is longer than a year",
        "16:19: rate_limits.full.when_full: 'wait' is not one of admit, refuse; did you mean admit?",
        "17:3: rate_limits['bad name']: 'bad name' is no name: 1 to 64 letters, digits, '_', '-', '.', the fi",
        "18:29: default_rate_limits[1]: no limit of rate_limits is called 'deer'; did you mean dear?",
        "19:1: rate_limit_keys: 1 is less than 1024",
        "22:56: routes[0].rate_limits[2]: dear stands here twice",
        "22:62: routes[0].rate_limits[3]: no limit of rate_limits is called 'zzz'",
    ]
    assert len(found) == len(expected), found
    for line, text in zip(found, expected, strict=True):
        assert line.startswith(f"g.yaml:{text}")


def test_too_many() -> None:
    names = ", ".join(f"l{i}" for i in range(LIMITS_MAX + 1))
    limits = "\n".join(f"  l{i}: {{rate: 1}}" for i in range(LIMITS_MAX + 1))
    assert [line for line in problems(limits, f"default_rate_limits: [{names}]") if "at most 16" in line]
    parts = ", ".join(f"'query:q{i}'" for i in range(PARTS_MAX + 1))
    assert [line for line in problems(f"  a: {{rate: 1, by: [{parts}]}}") if "at most 8" in line]


# --- the engine's ------------------------------------------------------------------------------------------------------


@pytest.fixture
def region() -> Region:
    return Region()


def test_policies_are_those_of_the_limiter_for_python() -> None:
    for rate, period, burst in ((100, 60, 20), (0.5, 1, 1), (10, 0.25, 10), (7, 2.5, 99)):
        limit = Limit("a", rate=rate, period=period, burst=burst)
        assert limit.policy() == ratelimit_policy([Policy("a", Quota(rate, period, burst))])
    assert Limit("a", at_once=5).policy() == '"a";q=5;qu="concurrent-requests"'


def test_a_changed_limit_has_another_scope() -> None:
    limit = Limit("a", rate=10, by=("ip",))
    same = [Limit("a", rate=10.0, by=("ip",)), Limit("a", rate=10, by=("ip",), dry_run=True, tells=True, cost=2)]
    others = [
        Limit("b", rate=10, by=("ip",)), Limit("a", rate=11, by=("ip",)), Limit("a", rate=10, period=2, by=("ip",)),
        Limit("a", rate=10, burst=5, by=("ip",)), Limit("a", rate=10), Limit("a", rate=10, by=("ip",), ipv6_prefix=48),
    ]  # fmt: skip
    assert {other.scope() for other in same} == {limit.scope()}
    assert len({other.scope() for other in [limit, *others]}) == 1 + len(others)
    assert Limit("a", at_once=5).scope() == Limit("a", at_once=6).scope(), "those in flight stay"


def test_limits_out_of_range(region: Region) -> None:
    for wrong, match in [
        (Limit("a b", rate=1), "no name"),
        (Limit("", rate=1), "no name"),
        (Limit("a", rate=1, by=("port",)), "nothing to count by"),
        (Limit("a", rate=1, by=("header",)), "nothing to count by"),
        (Limit("a", rate=1, by=("ip",) * 9), "at most 8 parts"),
        (Limit("a", rate=1, by=("ip",), ipv4_prefix=33), "prefix"),
        (Limit("a", rate=1, cost=2), "never fit"),
        (Limit("a", at_once=AT_ONCE_MAX + 1), "at_once"),
        (Limit("a", rate=1, period=1e11), "146 years"),
    ]:
        with pytest.raises(ValueError, match=match):
            Limits(region, [wrong])
    with pytest.raises(ValueError, match="two limits"):
        Limits(region, [Limit("a", rate=1), Limit("a", rate=2)])
    with pytest.raises(ValueError, match="capacity"):
        Limits(region, [], capacity=CAPACITY_MAX + 1)


def test_the_table_keeps_its_size(region: Region) -> None:
    first = Limits(region, [], capacity=1024)
    assert Limits(region, [], capacity=100_000).capacity == first.capacity
    assert first.table() == {"capacity": first.capacity, "live": 0, "in_flight": 0, "full": 0}
    assert first.capacity == 1024
    del first
    region.close()  # nothing of it is in use any more


def test_reset(region: Region) -> None:
    limits = Limits(region, [Limit("a", rate=1, by=("ip", "host")), Limit("c", at_once=1)])
    assert limits.reset("a", {"ip": "192.0.2.1", "host": "A.test"}) is False
    with pytest.raises(KeyError):
        limits.reset("b", {})
    for key, match in (({"ip": "x"}, "no address"), ({}, "no address"), ({"user": "u"}, "does not count by 'user'")):
        with pytest.raises(ValueError, match=match):
            limits.reset("a", key)
    with pytest.raises(ValueError, match="in flight"):
        limits.reset("c", {})


def test_without_limits_there_is_no_table(region: Region) -> None:
    metrics = Metrics(region)
    metrics.claim()
    settings = load("").settings
    assert settings is not None
    limits = RouteLimits(settings, region, metrics, "g")
    assert limits.engine is None
    assert limits.view() == {"limits": [], "table": None}
    assert not any(name.startswith("limits") for name in region.sections())
    with pytest.raises(KeyError):
        limits.reset("a", {})


# --- the control plane -------------------------------------------------------------------------------------------------


def client(text: str = ROUTES) -> falcon.testing.TestClient:
    app = create_app(ControlOnly(load(text).settings), FixedConfiguration(load(text)))
    return falcon.testing.TestClient(app, headers={"Host": "localhost:8081"})


def test_limits_are_shown_without_a_data_plane() -> None:
    assert client().simulate_get("/limits").json == {
        "limits": [
            {"name": "one", "rate": 100, "period": "1m", "burst": 20, "by": ["ip"], "routes": ["#0", "#1"]},
            {"name": "two", "concurrent": 10, "by": ["user", "header:x-api-key"], "routes": ["#1"]},
        ],
        "table": None,
    }


def test_who_may_reset() -> None:
    asking = client(f"control_token: s3cret\n{ROUTES}")
    body = {"name": "one", "key": {"ip": "192.0.2.1"}}
    assert asking.simulate_post("/limits/reset", json=body).status_code == 401
    token = {"Authorization": "Bearer s3cret", "Host": "localhost"}
    answer = asking.simulate_post("/limits/reset", json=body, headers=token)
    assert (answer.status_code, answer.json["detail"]) == (503, "no data plane runs in this process")
    assert client().simulate_post("/limits/reset", body=b'{"name": "one"}').status_code == 415
    form = {"Host": "localhost", "Content-Type": "text/plain"}
    assert client().simulate_post("/limits/reset", body=b'{"name": "one"}', headers=form).status_code == 415
    assert (
        client()
        .simulate_post("/limits/reset", body=b"{", headers={**form, "Content-Type": "application/json"})
        .status_code
        == 400
    )
    long = client().simulate_post("/limits/reset", json={"name": "x" * 70_000})
    assert long.status_code == 413


def test_the_document_says_it_is_a_post() -> None:
    paths = client().simulate_get("/openapi.json").json["paths"]
    assert set(paths["/limits/reset"]) == {"post"}
    assert paths["/limits/reset"]["post"]["requestBody"]["content"]["application/json"]["schema"]["required"] == [
        "name"
    ]
    assert set(paths["/limits"]) == {"get"}
