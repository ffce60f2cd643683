"""Limits on requests through real gateways: what is admitted, what is answered, what survives."""

import collections
import contextlib
import http.client
import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import http_sf
import pytest
from servers import SECONDS, Gateway, Message, RawUpstream, answer_forever, eventually, get

SOAK_SECONDS = float(os.environ.get("FASTCORE_SOAK_SECONDS", "3"))
TRUSTED = "127.0.0.2"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@pytest.fixture(scope="module")
def serving() -> Iterator[RawUpstream]:
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


def settings(serving: RawUpstream, limits: str, routes: str, more: str = "") -> str:
    return (
        f'access_log: "-"\nupstreams: {{u: {{targets: ["{serving.address}"]}}}}\n'
        f"rate_limits:\n{limits}\nroutes:\n{routes}\n{more}\n"
    )


def parsed(message: Message, name: str) -> dict[str, dict[str, Any]]:
    """Policies by name, read by an independent parser of RFC 9651."""
    lines = message.fields.all(name)
    assert lines, message.fields
    items = http_sf.parse(", ".join(lines).encode(), tltype="list")
    assert all(isinstance(item, str) and not isinstance(item, http_sf.Token) for item, _ in items)
    assert len(dict(items)) == len(items)
    return dict(items)


def post(gateway: Gateway, path: str, body: Any, kind: str = "application/json") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.control, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, body=json.dumps(body), headers={"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def count(gateway: Gateway, limit: str, outcome: str) -> float:
    return gateway.figures()[f'limit_requests_total{{limit="{limit}",outcome="{outcome}"}}']


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], serving: RawUpstream) -> Gateway:
    """One route for each test, and so keys of its own."""
    return one_gateway(
        settings(
            serving,
            """
  told: {rate: 3, period: 60s, by: [ip, route], fields: always}
  burst: {rate: 60, period: 60s, burst: 2, by: [ip, route], fields: always}
  wide: {rate: 5, period: 60s, by: [ip, route], fields: always}
  narrow: {rate: 1, period: 60s, by: [ip, route]}
  by_user: {rate: 1, period: 60s, by: [user, route]}
  network: {rate: 1, period: 60s, by: [ip, route], ipv4_prefix: 24, ipv6_prefix: 56}
  dry: {rate: 1, period: 60s, by: [ip, route], dry_run: true, fields: always}
  header: {rate: 1, period: 60s, by: ["header:X-Api-Key", route]}
  query: {rate: 1, period: 60s, by: ["query:key", route]}
  cookie: {rate: 1, period: 60s, by: ["cookie:sid", route]}
  host: {rate: 1, period: 60s, by: [host, route]}
  costly: {rate: 10, period: 60s, cost: 4, by: [route], fields: always}
  everybody: {rate: 1, period: 60s}
""",
            """
  - {name: told, path: /told, upstream: u, rate_limits: told}
  - {name: two, path: /two, upstream: u, rate_limits: [burst, wide]}
  - {name: none, path: /one-of-two, upstream: u, rate_limits: [wide, narrow]}
  - {name: user, path: /user, upstream: u, rate_limits: [by_user, wide]}
  - {name: network, path: /network, upstream: u, rate_limits: [network]}
  - {name: dry, path: /dry, upstream: u, rate_limits: [dry, wide]}
  - {name: header, path: /header, upstream: u, rate_limits: [header]}
  - {name: query, path: /query, upstream: u, rate_limits: [query]}
  - {name: cookie, path: /cookie, upstream: u, rate_limits: [cookie]}
  - {name: host, path: /host, upstream: u, rate_limits: [host]}
  - {name: costly, path: /costly, upstream: u, rate_limits: [costly]}
  - {name: reset, path: /reset, upstream: u, rate_limits: [narrow, header]}
  - {name: free, path: /free, upstream: u, rate_limits: []}
  - {name: default, path: /, upstream: u}
""",
            f"default_rate_limits: everybody\ntrusted_proxies: [{TRUSTED}]",
        )
    )


def statuses(gateway: Gateway, *requests: bytes, source: str = "") -> list[int]:
    with gateway.connect(source) as client:
        found = []
        for request in requests:
            client.send(request)
            found.append(client.read_response().status)
        return found


# --- answers ----------------------------------------------------------------------------------------------------------


def test_fields_of_admitted_and_refused(gateway: Gateway) -> None:
    with gateway.connect() as client:
        for left in (2, 1, 0):
            client.send(get("/told"))
            admitted = client.read_response()
            assert admitted.status == 200
            assert parsed(admitted, "RateLimit-Policy") == {"told": {"q": 3, "w": 60}}
            state = parsed(admitted, "RateLimit")["told"]
            assert state["r"] == left
            assert 20 * (3 - left) - 2 <= state["t"] <= 20 * (3 - left), "when nothing is used any more"
            assert admitted["Retry-After"] is None
        client.send(get("/told"))
        refused = client.read_response()
    assert refused.start == "HTTP/1.1 429 Too Many Requests"
    assert parsed(refused, "RateLimit-Policy") == {"told": {"q": 3, "w": 60}}
    state = parsed(refused, "RateLimit")["told"]
    assert state["r"] == 0
    assert 17 <= state["t"] <= 20
    assert refused["Retry-After"] == str(state["t"])
    assert refused["Cache-Control"] == "no-store"
    problem = refused.problem
    assert problem["type"] == QUOTA_EXCEEDED
    assert (problem["status"], problem["violated-policies"]) == (429, ["told"])
    while (line := gateway.access_of("/told"))["status"] == 200:
        assert "limit" not in line
    assert (line["status"], line["limit"], line["error"]) == (429, "told", "rate_limit")


def test_several_limits_are_told_together(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(get("/two"))
        policies = parsed(answered := client.read_response(), "RateLimit-Policy")
        assert policies == {"burst": {"q": 60, "w": 60, "fastcore-burst": 2}, "wide": {"q": 5, "w": 60}}
        assert {name: state["r"] for name, state in parsed(answered, "RateLimit").items()} == {"burst": 1, "wide": 4}


def test_who_is_refused_by_one_is_charged_by_none(gateway: Gateway) -> None:
    before = count(gateway, "wide", "admitted")
    with gateway.connect() as client:
        client.send(get("/one-of-two"))
        first = client.read_response()
        assert set(parsed(first, "RateLimit")) == {"wide"}, "narrow tells refused ones only"
        for _ in range(10):
            client.send(get("/one-of-two"))
            refused = client.read_response()
            assert refused.status == 429
            assert refused.problem["violated-policies"] == ["narrow"]
            states = parsed(refused, "RateLimit")
            assert (states["wide"]["r"], states["narrow"]["r"]) == (4, 0)
    assert count(gateway, "wide", "admitted") == before + 1
    assert count(gateway, "narrow", "refused") >= 10


def test_a_limit_by_user_is_asked_last_and_takes_back_what_the_others_charged(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(get("/user"))
        assert parsed(client.read_response(), "RateLimit")["wide"]["r"] == 4
        for _ in range(8):
            client.send(get("/user"))
            refused = client.read_response()
            assert (refused.status, refused.problem["violated-policies"]) == (429, ["by_user"])
            assert parsed(refused, "RateLimit")["wide"]["r"] == 4


def test_cost(gateway: Gateway) -> None:
    with gateway.connect() as client:
        for status, left in ((200, 6), (200, 2), (429, 2)):
            client.send(get("/costly"))
            answered = client.read_response()
            assert (answered.status, parsed(answered, "RateLimit")["costly"]["r"]) == (status, left)


def test_a_default_and_none(gateway: Gateway) -> None:
    assert statuses(gateway, *[get("/x")] * 3) == [200, 429, 429]
    assert statuses(gateway, get("/other"), source="127.0.0.9") == [429], "one for all"
    assert statuses(gateway, *[get("/free")] * 5) == [200] * 5


def test_a_body_that_was_refused_is_not_read_as_a_request(gateway: Gateway) -> None:
    statuses(gateway, get("/x"))
    smuggled = get("/free")
    with gateway.connect() as client:
        client.send(get("/x", "Content-Length: 1000", method="POST") + smuggled)
        refused = client.read_response()
        assert (refused.status, refused["Connection"]) == (429, "close")
        assert client.ended()


# --- keys -------------------------------------------------------------------------------------------------------------


def test_by_prefix_of_what_a_trusted_proxy_said(gateway: Gateway) -> None:
    def said(*addresses: str, source: str = TRUSTED) -> list[int]:
        return statuses(gateway, *[get("/network", f"X-Forwarded-For: {a}") for a in addresses], source=source)

    assert said("2001:db8::1", "2001:db8::2", "2001:db8:0:ff::1") == [200, 429, 429]
    assert said("2001:db8:0:100::1", "2001:db8:0:1ff::1", "2001:db8:0:200::1") == [200, 429, 200]
    assert said("192.0.2.7", "192.0.2.200", "192.0.3.1") == [200, 429, 200]
    assert said("198.51.100.1, 2001:db8::9") == [429], "the rightmost that is no proxy of ours"
    assert said("192.0.9.1", "192.0.10.1", source="127.0.5.1") == [200, 429], "nobody else is believed"


def test_by_header(gateway: Gateway) -> None:
    def key(*values: str) -> bytes:
        return get("/header", *[f"x-API-key: {value}" for value in values])

    assert statuses(gateway, key("a"), key("a"), key("b"), key("A")) == [200, 429, 200, 200]
    assert statuses(gateway, key(), key()) == [200, 429]
    assert statuses(gateway, key("junk1", "c"), key("junk2", "c")) == [429, 429], "several count as none"
    long = "x" * 6000
    assert statuses(gateway, key(long + "1"), key(long + "2"), key(long + "1")) == [200, 200, 429]


def test_by_query_and_cookie(gateway: Gateway) -> None:
    def query(text: str) -> bytes:
        return get(f"/query?{text}")

    assert statuses(gateway, query("key=ab+c"), query("x=1&key=%61%62%20c"), query("key=ab")) == [200, 429, 200]
    assert statuses(gateway, query("x=1"), query("key=junk1&key=z"), query("key=junk2&key=z")) == [200, 429, 429]

    def cookie(*lines: str) -> bytes:
        return get("/cookie", *[f"Cookie: {line}" for line in lines])

    assert statuses(gateway, cookie("a=1; sid=7"), cookie("sid=7; b=2"), cookie("sid=8")) == [200, 429, 200]
    assert statuses(gateway, cookie(), cookie("sid=1; sid=2"), cookie("sid=3", "sid=4")) == [200, 429, 429]


def test_by_host(gateway: Gateway) -> None:
    asked = [get("/host", f"Host: {host}") for host in ("a.test", "A.TEST:8080", "b.test")]
    assert statuses(gateway, *asked) == [200, 429, 200]


# --- dry run, figures, the control plane ------------------------------------------------------------------------------


def test_a_dry_run_refuses_nobody(gateway: Gateway) -> None:
    with gateway.connect() as client:
        for _ in range(3):
            client.send(get("/dry"))
            admitted = client.read_response()
            assert admitted.status == 200
            assert set(parsed(admitted, "RateLimit")) == {"wide"}, "a client is not told of it"
    lines = [gateway.access_of("/dry") for _ in range(3)]
    assert ["limit_dry_run" in line for line in lines] == [False, True, True]
    assert lines[1]["limit_dry_run"] == "dry"
    assert not any("limit" in line or "error" in line for line in lines)
    assert (count(gateway, "dry", "admitted"), count(gateway, "dry", "dry_run")) == (1, 2)
    statuses(gateway, *[get("/dry")] * 3)
    assert count(gateway, "dry", "dry_run") == 4, "who is refused by another limit is not tried against it"


def test_look_and_reset(gateway: Gateway) -> None:
    request = get("/reset", "X-Api-Key: k")
    assert statuses(gateway, request, request) == [200, 429]
    assert post(gateway, "/limits/reset", {"name": "narrow", "key": {"ip": "127.0.0.1", "route": "reset"}}) == (
        200,
        {"name": "narrow", "key": {"ip": "127.0.0.1", "route": "reset"}, "had_used": True},
    )
    assert statuses(gateway, request) == [429], "the other one still holds"
    key = {"header:X-Api-Key": "k", "route": "reset"}
    assert post(gateway, "/limits/reset", {"name": "header", "key": key})[1]["had_used"] is True
    assert post(gateway, "/limits/reset", {"name": "header", "key": key})[1]["had_used"] is False
    assert statuses(gateway, request, request) == [200, 429]
    status, view = gateway.get("/limits")
    assert status == 200
    by_name = {limit["name"]: limit for limit in view["limits"]}
    assert by_name["network"]["ipv6_prefix"] == 56
    assert by_name["wide"]["routes"] == ["two", "none", "user", "dry"]
    assert by_name["narrow"]["requests"]["refused"] >= 1
    assert view["table"]["capacity"] == 65536
    assert view["table"]["live"] >= 3


def test_a_reset_that_cannot_be(gateway: Gateway) -> None:
    assert post(gateway, "/limits/reset", {"name": "nobody"})[0] == 404
    assert post(gateway, "/limits/reset", {"name": "narrow", "key": {"ip": "x"}})[0] == 400
    assert post(gateway, "/limits/reset", {"name": "narrow", "key": {"user": "x"}})[0] == 400
    assert post(gateway, "/limits/reset", {"key": {}})[0] == 400
    assert post(gateway, "/limits/reset", ["narrow"])[0] == 400
    assert post(gateway, "/limits/reset", {"name": "everybody"}, "text/plain")[0] == 415, "what a form can send"
    assert gateway.get("/limits/reset")[0] == 405


# --- in flight --------------------------------------------------------------------------------------------------------


def in_flight(gateway: Gateway) -> int:
    return int(gateway.get("/limits")[1]["table"]["in_flight"])


def test_requests_in_flight(start_gateway: Callable[..., Gateway], make_upstream: Callable[..., RawUpstream]) -> None:
    target = make_upstream()
    gateway = start_gateway(
        settings(
            target, "  two: {concurrent: 2, by: [ip], fields: always}", "  - {path: /, upstream: u, rate_limits: two}"
        ),
        workers=2,
    )
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(2)]
        wires = []
        for client in clients:
            client.send(get("/"))
            wires.append(target.accept())
            wires[-1].read_request()
        refused = gateway.ask(get("/"))
        assert refused.status == 429
        assert parsed(refused, "RateLimit-Policy") == {"two": {"q": 2, "qu": "concurrent-requests"}}
        assert parsed(refused, "RateLimit") == {"two": {"r": 0}}
        assert refused["Retry-After"] == "1"
        other = stack.enter_context(gateway.connect("127.0.0.3"))
        other.send(get("/"))
        target.accept().read_request()
        assert in_flight(gateway) == 3
        wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert parsed(clients[0].read_response(), "RateLimit") == {"two": {"r": 1}}, "as it was when it was admitted"
        eventually(lambda: in_flight(gateway) == 2)
        clients[0].send(get("/again"))
        eventually(lambda: in_flight(gateway) == 3)
        clients[0].reset()
        eventually(lambda: in_flight(gateway) == 2, "a client that went away holds no place")


def test_places_of_a_killed_worker_come_back(
    start_gateway: Callable[..., Gateway], make_upstream: Callable[..., RawUpstream]
) -> None:
    target = make_upstream()
    gateway = start_gateway(
        settings(target, "  one: {concurrent: 1}", "  - {path: /, upstream: u, rate_limits: one}"), workers=1
    )
    with gateway.connect() as client:
        client.send(get("/"))
        target.accept().read_request()
        assert gateway.ask(get("/")).status == 429
        os.kill(gateway.worker, signal.SIGKILL)
        assert client.read_rest() == b""
    gateway.wait_log("Booting worker", 2)
    target.serve(answer_forever)
    eventually(lambda: gateway.ask(get("/")).status == 200, "the dead worker's place is free")


# --- what survives ----------------------------------------------------------------------------------------------------

KEPT = "  kept: {rate: 2, period: 60s}\n  changed: {rate: %d, period: 60s}"
KEPT_ROUTES = "  - {path: /kept, upstream: u, rate_limits: kept}\n  - {path: /, upstream: u, rate_limits: changed}"


def test_a_reload_keeps_what_did_not_change(start_gateway: Callable[..., Gateway], serving: RawUpstream) -> None:
    gateway = start_gateway(settings(serving, KEPT % 1, KEPT_ROUTES), workers=2)
    assert [gateway.ask(get("/kept")).status for _ in range(3)] == [200, 200, 429]
    assert [gateway.ask(get("/")).status for _ in range(2)] == [200, 429]
    old = {gateway.worker for _ in range(20)}
    gateway.write(settings(serving, KEPT % 3, KEPT_ROUTES, "rate_limit_keys: 200000"))
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.worker not in old and len(gateway.get("/limits")[1]["limits"]) == 2, "new workers")
    gateway.wait_log("the table has room for 65536 keys until the next restart")
    eventually(lambda: sum("Worker exiting" in line for line in gateway.log) >= 2, "the old ones left")
    assert gateway.ask(get("/kept")).status == 429
    assert [gateway.ask(get("/")).status for _ in range(4)] == [200, 200, 200, 429]


def test_an_upgrade_keeps_them_too(start_gateway: Callable[..., Gateway], serving: RawUpstream) -> None:
    gateway = start_gateway(settings(serving, KEPT % 1, KEPT_ROUTES))
    assert [gateway.ask(get("/kept")).status for _ in range(3)] == [200, 200, 429]
    old = gateway.worker
    gateway.process.send_signal(signal.SIGUSR2)
    gateway.wait_log("Booting worker", 2)
    gateway.process.send_signal(signal.SIGWINCH)
    eventually(lambda: gateway.worker != old, "the new master's worker")
    assert {gateway.ask(get("/kept")).status for _ in range(5)} == {429}


# --- a full table -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["admit", "refuse"])
def test_a_full_table(start_gateway: Callable[..., Gateway], serving: RawUpstream, policy: str) -> None:
    limit = f"  keyed: {{rate: 2, period: 1h, by: 'header:k', when_full: {policy}}}"
    routes = "  - {path: /, upstream: u, rate_limits: keyed}"
    gateway = start_gateway(settings(serving, limit, routes, "rate_limit_keys: 1024"))
    found: collections.Counter[int] = collections.Counter()
    with gateway.connect() as client:
        for number in range(4000):
            client.send(get("/", f"k: {number}"))
            found[client.read_response().status] += 1
        gateway.get("/metrics")
        full = gateway.figures()["limit_table_full_total"]
        assert full > 1000, "half of the entries at most are meant to be used, and all of them are 2048"
        assert found == ({200: 4000} if policy == "admit" else {200: 4000 - full, 429: full})
        client.send(get("/", "k: 0"))
        client.read_response()
        client.send(get("/", "k: 0"))
        assert client.read_response().status == 429, "who is in the table is limited as ever"
    assert gateway.get("/limits")[1]["table"]["live"] == 4000 - full


# --- exact over all workers -------------------------------------------------------------------------------------------


def test_never_above_the_bound_over_four_workers(start_gateway: Callable[..., Gateway], serving: RawUpstream) -> None:
    rate, burst, keys = 200, 20, 3
    gateway = start_gateway(
        f'upstreams: {{u: {{targets: ["{serving.address}"]}}}}\n'
        f"rate_limits: {{k: {{rate: {rate}, burst: {burst}, by: 'header:k', fields: always}}}}\n"
        "routes: [{path: /, upstream: u, rate_limits: k}]\n",
        workers=4,
    )
    admitted: list[list[tuple[int, int]]] = [[] for _ in range(keys)]
    refused = [0] * keys
    until = time.monotonic() + SOAK_SECONDS

    def hammer(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until:
            with gateway.connect() as client:  # many connections, so that every worker takes part
                for _ in range(rng.randrange(1, 40)):
                    key = rng.randrange(keys)
                    sent = time.monotonic_ns()
                    client.send(get("/", f"k: {key}"))
                    answered = client.read_response()
                    came = time.monotonic_ns()
                    state = parsed(answered, "RateLimit")["k"]
                    if answered.status == 200:
                        admitted[key].append((sent, came))
                        assert 0 <= state["r"] < burst
                    else:
                        assert (answered.status, state["r"]) == (429, 0)
                        assert answered["Retry-After"] == "1"
                        refused[key] += 1

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for key in range(keys):
        assert refused[key] > 0, "the load was too low to mean anything"
        check_bound(admitted[key], rate, burst)
    total = sum(map(len, admitted))
    least = keys * rate * (SOAK_SECONDS - 0.5)
    assert total > 0.8 * least, "the limit was not used up"
    gateway.quiet()
    assert count(gateway, "k", "admitted") == total
    assert count(gateway, "k", "refused") == sum(refused)


def check_bound(admitted: list[tuple[int, int]], rate: int, burst: int) -> None:
    """Of any stretch of time: those sent and answered in it were decided in it."""
    begins = sorted(sent for sent, _ in admitted)
    for first in begins[:: max(1, len(begins) // 50)]:
        inside = sorted(came for sent, came in admitted if sent >= first)
        for n, last in enumerate(inside, 1):
            bound = burst + (last - first) * rate / 1e9
            assert n < bound + 1, f"{n} admitted in {(last - first) / 1e9:.3f} s: the bound is {bound:.1f}"


def test_the_bound_is_a_test() -> None:
    with pytest.raises(AssertionError, match="the bound is"):
        check_bound([(i * 1000, i * 1000 + 1) for i in range(30)], 200, 20)


def test_metrics_have_bounded_labels(gateway: Gateway) -> None:
    text = gateway.get("/metrics")[1]
    samples = set(re.findall(r"^fastcore_gateway_limit_requests_total(\{.*\}) ", text, re.MULTILINE))
    assert len(samples) == 13 * 3, "limits times outcomes"
