"""A route's traffic in shares: how large they are, who stays where, and what a share keeps of its upstream."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from issuers import ISSUER, Issuer, bearer, made
from servers import Gateway, RawUpstream, Wire, answer, free_ports, get
from test_gateway_reload import put

from apps.gateway.config import load_settings

SETTINGS = """\
access_log: "-"
cache: {{memory: 16MB}}
auth: {{providers: {{main: {{jwt: {{issuer: '{issuer}', audience: api, jwks_url: '{url}'}}}}}}}}
upstreams:
  old: {{targets: ['{old}']}}
  new: {{targets: ['{new}']}}
  dead: {{targets: ['127.0.0.1:{dead}'], retries: {{attempts: 0}}}}
routes:
  - {{name: third, path: /third, split: [{{upstream: old, weight: 2}}, new]}}
  - {{path: /none, split: [old, {{upstream: dead, weight: 0}}]}}
  - {{path: /ip, split: {{by: client_ip, shares: [old, new]}}}}
  - {{path: /header, split: {{by: "header:X-Team", shares: [old, new]}}}}
  - {{path: /cookie, split: {{by: "cookie:id", shares: [old, new]}}}}
  - {{path: /query, split: {{by: "query:id", shares: [old, new]}}}}
  - {{path: /user, auth: main, split: {{by: user, shares: [old, new]}}}}
  - {{path: /dead, split: [{{upstream: dead}}], response_headers: {{set: {{X-Route: dead}}}}}}
  - {{path: /cached, cache: {{default_ttl: 1m}}, split: [old, new]}}
"""


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway]) -> Iterator[Gateway]:
    def named(name: bytes) -> Callable[[Wire], None]:
        def serve(wire: Wire) -> None:
            while True:
                wire.read_request()
                wire.send(answer(name))

        return serve

    issuer = Issuer()
    old, new = RawUpstream().serve(named(b"old")), RawUpstream().serve(named(b"new"))
    yield one_gateway(
        SETTINGS.format(issuer=ISSUER, url=issuer.url, old=old.address, new=new.address, dead=free_ports(1)[0])
    )
    issuer.close()
    for upstream in (old, new):
        upstream.close()


def asked(gateway: Gateway, times: int, path: str, *lines: str, source: str = "") -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    with gateway.connect(source) as wire:
        for _ in range(times):
            wire.send(get(path, *lines))
            found[wire.read_response().body] += 1
    return found


def test_shares_are_as_large_as_they_say(gateway: Gateway) -> None:
    """Within five standard deviations: of 3,000 requests a third has 1,000 give or take 26."""
    found = asked(gateway, 3000, "/third")
    assert found.total() == 3000
    assert abs(found[b"new"] - 1000) < 130
    line = gateway.access_of("/third")
    assert line["route"] == "third"
    assert line["upstream"].partition("/")[0] in ("old", "new")


def test_a_weight_of_nothing_gets_nothing(gateway: Gateway) -> None:
    assert asked(gateway, 200, "/none") == {b"old": 200}


@pytest.mark.parametrize(
    ("path", "with_value"),
    [
        ("/header", lambda value: ("/header", [f"X-Team: {value}"])),
        ("/cookie", lambda value: ("/cookie", [f"Cookie: a=b; id={value}"])),
        ("/query", lambda value: (f"/query?id={value}", [])),
        ("/user", lambda value: ("/user", [bearer(made(sub=value))])),
    ],
)
def test_who_has_a_value_stays(gateway: Gateway, path: str, with_value: Callable[[str], tuple[str, list[str]]]) -> None:
    places = Counter[bytes]()
    for number in range(40):
        target, lines = with_value(f"someone-{number}")
        found = asked(gateway, 4, target, *lines)
        assert len(found) == 1, found
        places.update(found.keys())
    assert min(places[b"old"], places[b"new"]) > 5


def test_who_has_none_goes_by_chance(gateway: Gateway) -> None:
    for path in ("/header", "/cookie", "/query"):
        assert len(asked(gateway, 60, path)) == 2


def test_addresses_stay(gateway: Gateway) -> None:
    places = [asked(gateway, 4, "/ip", source=f"127.0.7.{number}") for number in range(1, 31)]
    assert all(len(found) == 1 for found in places)
    assert {name for found in places for name in found} == {b"old", b"new"}


def test_a_share_keeps_what_its_upstream_is_and_what_its_route_does(gateway: Gateway) -> None:
    got = gateway.ask(get("/dead"))
    assert (got.status, got["x-route"]) == (502, "dead")
    assert gateway.access_of("/dead")["error"] == "connect"


def test_a_cached_answer_is_of_both(gateway: Gateway) -> None:
    assert len(asked(gateway, 50, "/cached")) == 1


def test_weights_change_under_traffic(start_gateway: Callable[..., Gateway]) -> None:
    """A roll-out: none, a part, all; and nobody who has arrived at the new one goes back."""
    old, new = RawUpstream(), RawUpstream()
    for upstream, name in ((old, b"old"), (new, b"new")):

        def serve(wire: Wire, name: bytes = name) -> None:
            while True:
                wire.read_request()
                wire.send(answer(name))

        upstream.serve(serve)

    def text(weight: int) -> str:
        shares = f"[{{upstream: new, weight: {weight}}}, {{upstream: old, weight: {100 - weight}}}]"
        return (
            f"upstreams: {{old: {{targets: ['{old.address}']}}, new: {{targets: ['{new.address}']}}}}\n"
            f"routes: [{{path: /, split: {{by: 'query:id', shares: {shares}}}}}]\n"
        )

    gateway = start_gateway(text(0))
    there: set[int] = set()
    for weight in (0, 10, 50, 100):
        assert put(gateway, text(weight))[0] == 200
        now = {number for number in range(100) if asked(gateway, 1, f"/?id={number}")[b"new"]}
        assert there <= now
        there = now
        assert abs(len(now) - weight) < 25
    assert len(there) == 100
    old.close()
    new.close()


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("{path: /, split: [a, c]}", "routes[0].split.shares[1].upstream: no upstream is called 'c'"),
        ("{path: /, split: [{upstream: a, weight: 0}]}", "routes[0].split: all weights are 0"),
        ("{path: /, split: []}", "routes[0].split.shares: expected at least 1 of them"),
        ("{path: /, split: [a], upstream: a}", "routes[0].split: upstream already answers"),
        ("{path: /, split: {by: user, shares: [a]}}", "routes[0].split.by: this route asks nobody who he is"),
        ("{path: /, split: {by: path, shares: [a]}}", "routes[0].split.by: write random, client_ip"),
        ("{path: /, split: {by: 'header', shares: [a]}}", "name the header"),
    ],
)
def test_settings(route: str, problem: str) -> None:
    text = f"upstreams: {{a: {{targets: ['127.0.0.1:1']}}}}\nroutes: [{route}]\n"
    problems = [str(found) for found in load_settings("g.yaml", text=text).problems]
    assert any(problem in found for found in problems), problems
