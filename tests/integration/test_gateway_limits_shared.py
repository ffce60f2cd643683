"""Limits that gateways share through a real Redis: counted together, bounded by leases, and what holds while it is gone."""

import contextlib
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer
from servers import Gateway, RawUpstream, answer_forever, eventually, get
from test_gateway_limits import check_bound, count, parsed, post, statuses

SOAK_SECONDS = float(os.environ.get("FASTCORE_SOAK_SECONDS", "4"))


@pytest.fixture(scope="module")
def serving() -> Iterator[RawUpstream]:
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path)
    yield running
    running.close()


@pytest.fixture
def gateways(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, serving: RawUpstream
) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways that share the Redis."""
    started: list[Gateway] = []

    def start(limits: str, names: str = "k", route: str = "", more: str = "", **options: int) -> Gateway:
        text = (
            f'upstreams: {{u: {{targets: ["{serving.address}"]}}}}\n'
            f"redis: {{url: '{redis_server.url}', retry: 50ms, timeout: 200ms}}\n"
            f"rate_limits: {{{limits}}}\nroutes: [{{path: /, upstream: u, rate_limits: [{names}]{route}}}]\n{more}\n"
        )
        started.append(Gateway(tmp_path_factory.mktemp("gateway"), text, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


def gone(gateway: Gateway) -> bool:
    return bool(gateway.get("/limits")[1]["redis"]["gone"])


def test_gateways_count_together(gateways: Callable[..., Gateway]) -> None:
    limits = "k: {rate: 5, period: 1h, by: 'header:k', fields: always, shared: true}"
    one, other = gateways(limits), gateways(limits)
    left = []
    for gateway in (one, other, one, other, one):
        answered = gateway.ask(get("/", "k: a"))
        assert answered.status == 200
        left.append(parsed(answered, "RateLimit")["k"]["r"])
    assert left == [4, 3, 2, 1, 0]
    for gateway in (one, other):
        refused = gateway.ask(get("/", "k: a"))
        assert refused.status == 429
        state = parsed(refused, "RateLimit")["k"]
        assert state["r"] == 0
        assert 600 < state["t"] <= 720
        assert refused["Retry-After"] == str(state["t"])
        assert gateway.ask(get("/", "k: b")).status == 200, "another key"


def test_who_is_refused_asks_redis_once_a_second_at_most(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways("k: {rate: 1, period: 1h, shared: true}")
    assert statuses(gateway, *[get("/")] * 200) == [200] + [429] * 199
    assert gateway.figures()["limit_redis_questions_total"] < 20


def test_a_busy_key_asks_once_a_lease(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways("k: {rate: 100000, shared: true, lease: 1s}")
    assert set(statuses(gateway, *[get("/")] * 1000)) == {200}
    assert gateway.figures()["limit_redis_questions_total"] < 100


def test_a_burst_is_less_by_what_comes_in_within_the_lease(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways("k: {rate: 100, period: 100s, burst: 10, fields: always, shared: true, lease: 3500ms}")
    assert parsed(gateway.ask(get("/")), "RateLimit-Policy")["k"]["fastcore-burst"] == 7


def test_refused_by_one_charged_by_none(gateways: Callable[..., Gateway]) -> None:
    limits = (
        "wide: {rate: 100, period: 1h, fields: always, shared: true}, narrow: {rate: 1, period: 1h, shared: true}, "
        "here: {rate: 1, period: 1h, by: 'header:h'}"
    )
    gateway = gateways(limits, "wide, narrow, here")
    assert gateway.ask(get("/", "h: 1")).status == 200
    refused = [gateway.ask(get("/", f"h: {i}")) for i in range(2, 8)]
    assert [answer.status for answer in refused] == [429] * 6
    assert parsed(refused[-1], "RateLimit")["wide"]["r"] >= 98, "one may be on loan, no more"
    assert gateway.ask(get("/", "h: 1")).problem["violated-policies"] == ["narrow", "here"]


def test_a_limit_by_user_and_a_body_that_waits(gateways: Callable[..., Gateway]) -> None:
    digest = hashlib.sha256(b"key").hexdigest()
    auth = f"auth: {{providers: {{keys: {{api_keys: {{header: X-Key, keys: [{{sha256: {digest}, subject: ann}}]}}}}}}}}"
    gateway = gateways(
        "k: {rate: 2, period: 1h, by: user, shared: true}, all: {rate: 10, period: 1h, shared: true}",
        "k, all",
        ", auth: keys",
        auth,
    )
    body = b"x" * 100_000
    with gateway.connect() as client:
        for status in (200, 200, 429):
            client.send(get("/", "X-Key: key", f"Content-Length: {len(body)}", method="POST") + body)
            assert client.read_response().status == status


def test_a_dry_run_refuses_nobody(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways("k: {rate: 2, period: 1h, dry_run: true, shared: true}")
    assert statuses(gateway, *[get("/")] * 5) == [200] * 5
    gateway.quiet()
    assert (count(gateway, "k", "admitted"), count(gateway, "k", "dry_run")) == (2, 3)


def test_reset_everywhere(gateways: Callable[..., Gateway], redis_server: RedisServer) -> None:
    limits = "k: {rate: 2, period: 1h, by: ['header:k', ip], shared: true}"
    one, other = gateways(limits), gateways(limits)
    secret = get("/", "k: secret")
    assert statuses(one, secret, secret, secret) == [200, 200, 429]
    assert other.ask(secret).status == 429
    key = {"header:k": "secret", "ip": "127.0.0.1"}
    assert post(one, "/limits/reset", {"name": "k", "key": key})[1]["had_used"] is True
    assert one.ask(secret).status == 200
    eventually(lambda: other.ask(secret).status == 200, "the other machine hears of it within a second")
    assert statuses(one, secret) == [429]
    keys = redis_server.client().keys("*")
    assert keys and not any(b"secret" in found or b"127" in found for found in keys)
    redis_server.stop()
    status, answer = post(one, "/limits/reset", {"name": "k", "key": key})
    assert (status, "this machine only" in answer["detail"]) == (503, True)


@pytest.mark.parametrize(("policy", "while_gone"), [("local", [200, 429]), ("admit", [200] * 9), ("refuse", [429])])
def test_without_redis(
    gateways: Callable[..., Gateway], redis_server: RedisServer, policy: str, while_gone: list[int]
) -> None:
    gateway = gateways(f"k: {{rate: 3, period: 1h, by: 'header:k', shared: true, when_gone: {policy}}}", workers=1)
    key = get("/", "k: a")
    assert statuses(gateway, key, key) == [200, 200]
    redis_server.stop()
    found = statuses(gateway, *[key] * len(while_gone))
    assert found == while_gone, "what was known of the key still holds"
    assert gone(gateway)
    assert gateway.figures()["limit_redis_gone"] == 1
    redis_server.start()
    eventually(lambda: not gone(gateway), "it has found Redis again")
    assert statuses(gateway, key, key) == [200 if policy != "local" else 429, 429], (
        "an empty Redis is told what was used"
    )
    assert statuses(gateway, *[get("/", "k: new")] * 4) == [200, 200, 200, 429]


def test_a_redis_that_hangs(gateways: Callable[..., Gateway], redis_server: RedisServer) -> None:
    gateway = gateways("k: {rate: 3, period: 1h, shared: true, when_gone: local}", workers=1)
    redis_server.freeze()
    assert statuses(gateway, *[get("/")] * 4) == [200, 200, 200, 429]
    assert gone(gateway)
    redis_server.thaw()
    eventually(lambda: not gone(gateway), "it has found Redis again")


def test_who_comes_while_redis_is_found_to_be_gone(gateways: Callable[..., Gateway], redis_server: RedisServer) -> None:
    gateway = gateways("k: {rate: 1, period: 1h, shared: true, when_gone: admit}", workers=1)
    redis_server.freeze()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(5)]
        for waiting, client in enumerate(clients, 1):
            client.send(get("/"))
            eventually(
                lambda n=waiting: gone(gateway) or gateway.get("/limits")[1]["redis"]["waiting"] == n, "it is in line"
            )
        assert [client.read_response().status for client in clients] == [200] * 5


def test_a_route_gives_its_requests_less_time_than_redis(
    gateways: Callable[..., Gateway], redis_server: RedisServer
) -> None:
    gateway = gateways("k: {rate: 1, period: 1h, shared: true}", route=", timeouts: {total: 50ms}", workers=1)
    redis_server.freeze()
    assert gateway.ask(get("/")).status == 504


def test_a_client_that_goes_while_it_waits(gateways: Callable[..., Gateway], redis_server: RedisServer) -> None:
    gateway = gateways("k: {rate: 3, period: 1h, shared: true}", workers=1)
    assert statuses(gateway, get("/")) == [200]
    redis_server.freeze()
    with gateway.connect() as client:
        client.send(get("/"))
        eventually(lambda: gateway.get("/limits")[1]["redis"]["waiting"] == 1, "it waits")
        client.reset()
        gateway.quiet()
    redis_server.thaw()
    eventually(lambda: gateway.get("/limits")[1]["redis"]["waiting"] == 0, "nobody waits")
    assert statuses(gateway, get("/")) == [200]


@pytest.mark.parametrize("policy", ["local", "admit", "refuse"])
@pytest.mark.timeout(SOAK_SECONDS * 2 + 120)
def test_never_above_the_bound_while_redis_comes_and_goes(
    gateways: Callable[..., Gateway], redis_server: RedisServer, policy: str
) -> None:
    rate, burst, keys = 200, 40, 3
    gateway = gateways(
        f"k: {{rate: {rate}, burst: {burst}, by: 'header:k', fields: always, shared: true, lease: 50ms, "
        f"when_gone: {policy}}}",
        workers=4,
    )
    admitted: list[list[tuple[int, int]]] = [[] for _ in range(keys)]
    refused = [0] * keys
    over = threading.Event()
    errors: list[BaseException] = []

    def hammer(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while not over.is_set():
                with gateway.connect() as client:
                    for _ in range(rng.randrange(1, 40)):
                        key = rng.randrange(keys)
                        sent = time.monotonic_ns()
                        client.send(get("/", f"k: {key}"))
                        answered = client.read_response()
                        came = time.monotonic_ns()
                        state = parsed(answered, "RateLimit")["k"]
                        if answered.status == 200:
                            admitted[key].append((sent, came))
                            assert 0 <= state["r"] <= burst
                        else:
                            assert answered.status == 429, answered.start
                            assert answered.problem["violated-policies"] == ["k"]
                            assert state["t"] >= 1
                            assert answered["Retry-After"] is not None
                            refused[key] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    rng, restarts = random.Random(1), 0
    until = time.monotonic() + SOAK_SECONDS
    away: list[tuple[int, int]] = []
    while time.monotonic() < until:
        over.wait(rng.uniform(0.3, 0.9))
        begun = time.monotonic_ns()
        redis_server.stop()
        over.wait(rng.uniform(0.1, 0.5))
        redis_server.start()
        eventually(lambda: not gone(gateway), "Redis is back for the worker that is asked")
        away.append((begun, time.monotonic_ns()))
        restarts += 1
    over.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    for key in range(keys):
        print(f"{policy}: key {key}: {len(admitted[key])} admitted, {refused[key]} refused, {restarts} restarts")
        assert refused[key] > 0, "the load was too low to mean anything"
        if policy != "admit":
            check_bound(admitted[key], rate, burst)
    gateway.quiet()
    assert count(gateway, "k", "admitted") == sum(map(len, admitted))
    assert count(gateway, "k", "refused") == sum(refused)
    with contextlib.suppress(KeyError):
        assert gateway.figures()["limit_redis_failures_total"] >= restarts
