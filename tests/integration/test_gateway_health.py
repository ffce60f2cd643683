"""Upstreams that fail in parts, in front of a gateway of two workers that must agree about them."""

import contextlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from servers import SECONDS, Gateway, Message, RawUpstream, Wire, answer, eventually, get

Start = Callable[..., Gateway]
Make = Callable[..., RawUpstream]

CHECK_PATH = "/are-you-well"
CHECKS = f"health_check: {{path: {CHECK_PATH}, interval: 100ms, timeout: 100ms, healthy: 2, unhealthy: 2}}"


class Target:
    """An upstream whose answers can be changed: `status` for requests, `check` for health checks; `hold`: no answer."""

    def __init__(self, make: Make, port: int = 0):
        self.status = self.check = "200 OK"
        self.hold = self.stale = False
        self.requests: list[Message] = []
        self.checks = 0
        self.released = threading.Event()
        self.raw = make(port=port).serve(self._serve)
        self.address = self.raw.address

    def _serve(self, wire: Wire) -> None:
        while True:
            request = wire.read_request()
            if request.target == CHECK_PATH:
                self.checks += 1
                wire.send(answer(b"", status=self.check))
                continue
            self.requests.append(request)
            if self.stale:
                self.stale = False
                return
            if self.hold:
                self.released.wait(SECONDS)
                return
            wire.send(answer(self.address.encode(), status=self.status))

    def close(self) -> None:
        self.released.set()
        self.raw.close()


@pytest.fixture
def targets(make_upstream: Make) -> Any:
    made: list[Target] = []

    def make(n: int) -> list[Target]:
        made.extend(Target(make_upstream) for _ in range(n))
        return made[-n:]

    yield make
    for target in made:
        target.released.set()


def settings(targets: list[Target], more: str, route: str = "") -> str:
    addresses = ", ".join(f"'{target.address}'" for target in targets)
    return (
        f"access_log: '-'\nupstreams:\n  u:\n    targets: [{addresses}]\n    {more}\n"
        f"routes: [{{path: /, upstream: u{route}}}]\n"
    )


def views(gateway: Gateway) -> dict[int, dict[str, Any]]:
    """What each of both workers says about the upstream: two questions on one connection are answered by one worker."""
    found: dict[int, dict[str, Any]] = {}

    def one() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.control, timeout=SECONDS)
        with contextlib.closing(connection):
            bodies = []
            for path in ("/status", "/upstreams"):
                connection.request("GET", path)
                bodies.append(json.loads(connection.getresponse().read()))
            found[bodies[0]["workers"][0]["pid"]] = bodies[1][0]
        return len(found) == 2

    eventually(one, "both workers answer")
    return found


def everywhere(gateway: Gateway, check: Callable[[dict[str, Any]], bool], what: str) -> None:
    eventually(lambda: all(map(check, views(gateway).values())), what)


def target_of(upstream: dict[str, Any], target: Target) -> dict[str, Any]:
    return next(view for view in upstream["targets"] if view["address"] == target.address)


def served(gateway: Gateway, n: int) -> list[int]:
    """Statuses of n requests, each on a connection of its own, so that both workers get some."""
    return [gateway.ask(get()).status for _ in range(n)]


def test_target_that_answers_500_is_ejected_and_comes_back(start_gateway: Start, targets: Any) -> None:
    good, other, bad = made = targets(3)
    bad.status = "500 No"
    gateway = start_gateway(settings(made, "outlier: {failures: 4, ejection: 3s}"), workers=2)
    statuses: list[int] = []
    while not any(target_of(view, bad)["ejected_for"] for view in views(gateway).values()):
        statuses += served(gateway, 1)
    assert statuses.count(500) == 4 == len(bad.requests), "counted over both workers, and not one more"
    assert all(target_of(view, bad)["health"] == "down" for view in views(gateway).values())
    assert set(served(gateway, 20)) == {200}
    assert len(bad.requests) == 4
    assert good.requests and other.requests
    gateway.wait_log(f"upstream u: {bad.address}: ejected for")
    eventually(lambda: gateway.figures()["endpoint_ejected"] == 1)
    assert gateway.figures()["endpoint_ejections_total"] == 1
    bad.status = "200 OK"
    everywhere(gateway, lambda view: target_of(view, bad)["ejected_for"] == 0, "the ejection ends by itself")
    assert set(served(gateway, 20)) == {200}
    assert len(bad.requests) > 4
    gateway.wait_log(f"upstream u: {bad.address}: in use again")


def test_share_of_failures_ejects(start_gateway: Start, targets: Any) -> None:
    _, bad = made = targets(2)
    more = "outlier: {failures: 0, percent: 40, min_requests: 10, interval: 500ms, ejection: 30s}"
    gateway = start_gateway(settings(made, more), workers=2)
    while not any(target_of(view, bad)["ejected_for"] for view in views(gateway).values()):
        bad.status = "200 OK" if len(bad.requests) % 2 else "500 No"
        served(gateway, 1)
    seen = len(bad.requests)
    assert seen >= 10
    assert set(served(gateway, 10)) == {200} and len(bad.requests) == seen


def test_at_most_a_share_of_the_targets_is_ejected(start_gateway: Start, targets: Any) -> None:
    made = targets(3)
    for target in made:
        target.status = "503 No"
    gateway = start_gateway(settings(made, "outlier: {failures: 2, ejection: 30s, max_percent: 67}"), workers=2)
    served(gateway, 30)
    view = next(iter(views(gateway).values()))
    assert sum(target["ejected_for"] > 0 for target in view["targets"]) == 2


def test_breaker_opens_and_recovers_when_the_upstream_is_killed_and_restarted(
    start_gateway: Start, targets: Any, make_upstream: Make
) -> None:
    (target,) = targets(1)
    gateway = start_gateway(settings([target], "breaker: {failures: 3, open: 2s}"), workers=2)
    assert served(gateway, 4) == [200] * 4
    target.close()
    statuses = served(gateway, 10)
    assert statuses == [502] * 3 + [503] * 7, "it opens within its setting, whichever worker saw the failures"
    refused = gateway.ask(get("/refused"))
    assert refused.problem["type"] == "urn:fastcore:problem:breaker-open"
    assert refused["retry-after"] in ("1", "2")
    assert gateway.access_of("/refused")["error"] == "breaker_open"
    assert {view["breaker"] for view in views(gateway).values()} == {"open"}
    gateway.wait_log("upstream u: breaker opened")
    eventually(lambda: gateway.figures()["upstream_breaker_open"] == 1)
    assert gateway.figures()["upstream_stopped_total"] == 8
    again = Target(make_upstream, port=target.raw.port)
    eventually(lambda: gateway.ask(get()).status == 200, "it recovers by itself")
    assert set(served(gateway, 10)) == {200}
    assert len(again.requests) == 11
    assert {view["breaker"] for view in views(gateway).values()} == {"closed"}
    gateway.wait_log("upstream u: breaker closed")


def test_breaker_opens_by_rate(start_gateway: Start, targets: Any) -> None:
    (target,) = targets(1)
    more = "breaker: {failures: 0, percent: 50, min_requests: 10, window: 1m, open: 1m}"
    gateway = start_gateway(settings([target], more), workers=2)
    assert served(gateway, 5) == [200] * 5
    target.status = "500 No"
    assert served(gateway, 8) == [500] * 5 + [503] * 3


def test_target_breaker_leaves_the_others_in_use(start_gateway: Start, targets: Any) -> None:
    good, bad = made = targets(2)
    bad.status = "500 No"
    gateway = start_gateway(settings(made, "target_breaker: {failures: 2, open: 1m}"), workers=2)
    assert served(gateway, 20).count(500) == 2
    assert {target_of(view, bad)["breaker"] for view in views(gateway).values()} == {"open"}
    assert {target_of(view, good)["breaker"] for view in views(gateway).values()} == {"closed"}
    good.status = "500 No"
    assert served(gateway, 5) == [500, 500, 503, 503, 503], "both are open now"


def test_trial_whose_worker_was_killed_expires(start_gateway: Start, targets: Any) -> None:
    (target,) = targets(1)
    more = "breaker: {failures: 1, open: 300ms, trials: 1, trial_timeout: 2s}"
    gateway = start_gateway(settings([target], more), workers=2)
    target.status = "500 No"
    assert served(gateway, 1) == [500]
    target.hold = True
    eventually(lambda: next(iter(views(gateway).values()))["breaker"] == "half_open")
    workers = views(gateway).keys()
    with gateway.connect() as client:
        client.send(get())
        eventually(lambda: len(target.requests) == 2, "the trial has reached the target")
        assert gateway.ask(get()).status == 503, "there is one trial only"
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        client.ended()
    target.hold, target.status = False, "200 OK"
    eventually(lambda: not (views(gateway).keys() & workers), "new workers")
    statuses: list[int] = []
    eventually(lambda: statuses.append(gateway.ask(get()).status) or statuses[-1] == 200, "another trial")
    assert set(statuses[:-1]) <= {503}
    assert {view["breaker"] for view in views(gateway).values()} == {"closed"}


def test_client_that_leaves_gives_the_trial_back(start_gateway: Start, targets: Any) -> None:
    (target,) = targets(1)
    more = "breaker: {failures: 1, open: 300ms, trial_timeout: 1h}\n    target_breaker: {failures: 1, open: 300ms, trial_timeout: 1h}"
    gateway = start_gateway(settings([target], more), workers=2)
    target.status = "500 No"
    assert served(gateway, 1) == [500]
    target.hold = True
    eventually(lambda: next(iter(views(gateway).values()))["breaker"] == "half_open")
    with gateway.connect() as client:
        client.send(get())
        eventually(lambda: len(target.requests) == 2, "the trial has reached the target")
        assert gateway.ask(get()).status == 503, "there is one trial only"
        client.reset()
    target.hold, target.status = False, "200 OK"
    eventually(lambda: gateway.ask(get()).status == 200, "another trial")


def test_trial_on_a_connection_that_went_stale(start_gateway: Start, targets: Any) -> None:
    """Its repetition on a fresh connection is the same trial, not a second one."""
    (target,) = targets(1)
    more = "retries: {attempts: 1}\n    breaker: {failures: 1, open: 300ms, trial_timeout: 1h}"
    gateway = start_gateway(settings([target], more))
    target.status = "500 No"
    assert served(gateway, 1) == [500]
    target.status = "200 OK"
    target.stale = True
    eventually(lambda: gateway.get("/upstreams")[1][0]["breaker"] == "half_open")
    assert served(gateway, 2) == [200, 200]
    assert gateway.figures()["upstream_stale_retries_total"] == 1


def test_states_survive_a_reload(start_gateway: Start, targets: Any) -> None:
    _, bad = made = targets(2)
    more = CHECKS + "\n    outlier: {failures: 1, ejection: 10m}\n    breaker: {failures: 0, percent: 100}"
    gateway = start_gateway(settings(made, more), workers=2)
    bad.status = "500 No"
    assert served(gateway, 4).count(500) == 1
    workers = views(gateway).keys()
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: not (views(gateway).keys() & workers), "new workers alone")
    assert set(served(gateway, 10)) == {200}
    assert all(target_of(view, bad)["ejected_for"] > 500 for view in views(gateway).values())
    everywhere(gateway, lambda view: view["checks_by"] not in (0, *workers), "one of the new ones makes the checks")
    checks = bad.checks
    eventually(lambda: bad.checks > checks)


def test_answer_is_passed_on_when_nobody_else_may_be_tried(start_gateway: Start, targets: Any) -> None:
    first, second = made = targets(2)
    first.status = second.status = "503 No"
    more = "retries: {attempts: 1, on: [503]}\n    target_breaker: {failures: 3, open: 1m}"
    gateway = start_gateway(settings(made, more), workers=2)
    assert served(gateway, 3) == [503] * 3
    assert len(first.requests) == len(second.requests) == 3
    first.status = "200 OK"
    assert served(gateway, 1) == [503], "both breakers are open"
    more = "retries: {attempts: 1, on: [503]}\n    breaker: {failures: 1, open: 1m}"
    second.status = "503 Mine"
    gateway = start_gateway(settings([second, first], more))
    answers = [gateway.ask(get()) for _ in range(3)]
    assert {got.status for got in answers} <= {200, 503}
    refused = next(got for got in answers if got.status == 503)
    assert refused.start == "HTTP/1.1 503 Mine", "the target's own answer, for the breaker lets no second try through"


def test_slow_target_of_three(start_gateway: Start, targets: Any) -> None:
    *_, slow = made = targets(3)
    slow.hold = True
    more = "{retries: {attempts: 2, on: [reset, timeout], per_try_timeout: 150ms}, outlier: {failures: 3, ejection: 1m}"
    more = more.removeprefix("{").replace(", outlier", "\n    outlier")
    gateway = start_gateway(settings(made, more), workers=2)
    assert set(served(gateway, 40)) == {200}, "no client sees the slow one"
    assert len(slow.requests) == 3
    assert all(target_of(view, slow)["ejected_for"] for view in views(gateway).values())


def test_check_takes_a_target_out_before_a_client_sees_it(start_gateway: Start, targets: Any) -> None:
    good, bad = made = targets(2)
    gateway = start_gateway(settings(made, CHECKS), workers=2)
    assert all(target_of(view, bad)["check"] == "healthy" for view in views(gateway).values()), "ready means looked at"
    bad.check, bad.status = "503 No", "500 No"
    everywhere(gateway, lambda view: target_of(view, bad)["check"] == "unhealthy", "both workers know")
    assert set(served(gateway, 20)) == {200}
    assert not bad.requests
    gateway.wait_log(f"upstream u: {bad.address} is unhealthy: status 503")
    eventually(lambda: gateway.figures()["endpoint_unhealthy"] == 1)
    figures = gateway.figures()
    assert figures[f'health_checks_total{{endpoint="{bad.address}",result="failed",upstream="u"}}'] >= 2
    bad.check = bad.status = "200 OK"
    everywhere(gateway, lambda view: target_of(view, bad)["check"] == "healthy", "it is back")
    assert set(served(gateway, 20)) == {200}
    assert bad.requests and good.requests
    gateway.wait_log(f"upstream u: {bad.address} is healthy again")


def test_tcp_check(start_gateway: Start, targets: Any) -> None:
    _, gone = made = targets(2)
    more = "health_check: {type: tcp, interval: 100ms, timeout: 100ms, unhealthy: 1}"
    gateway = start_gateway(settings(made, more), workers=2)
    gone.close()
    everywhere(gateway, lambda view: target_of(view, gone)["check"] == "unhealthy", "nobody listens there")
    assert set(served(gateway, 10)) == {200}


def test_worker_killed_while_it_leads_the_checks(start_gateway: Start, targets: Any) -> None:
    _, bad = made = targets(2)
    gateway = start_gateway(settings(made, CHECKS), workers=2)
    leader = next(iter(views(gateway).values()))["checks_by"]
    assert leader in views(gateway)
    os.kill(leader, signal.SIGKILL)
    bad.check = "503 No"
    everywhere(gateway, lambda view: view["checks_by"] not in (0, leader), "another leads")
    everywhere(gateway, lambda view: target_of(view, bad)["check"] == "unhealthy", "and makes the checks")
    assert set(served(gateway, 10)) == {200} and not bad.requests


def test_all_targets_unhealthy(start_gateway: Start, targets: Any) -> None:
    made = targets(2)
    for target in made:
        target.check = "503 No"
    panicking = start_gateway(settings(made, CHECKS), workers=2)
    assert set(served(panicking, 10)) == {200}, "too few are well: all are used"
    steady = start_gateway(settings(made, CHECKS + "\n    panic_percent: 0"), workers=2)
    refused = steady.ask(get())
    assert refused.status == 503
    assert refused["retry-after"] == "1"
    assert steady.access_of("/")["error"] == "no_healthy_target"


def test_retry_by_status_and_method(start_gateway: Start, targets: Any) -> None:
    good, bad = made = targets(2)
    bad.status = "503 No"
    more = "retries: {attempts: 1, on: [reset, 503]}"
    gateway = start_gateway(settings(made, more), workers=2)
    assert set(served(gateway, 10)) == {200}
    assert bad.requests and len(good.requests) == 10
    post = get(method="POST")
    statuses = [gateway.ask(post, "POST").status for _ in range(10)]
    assert set(statuses) == {200, 503}, "a POST is sent once"
    willing = start_gateway(settings(made, more, ", retry_any_method: true"), workers=2)
    assert {willing.ask(post, "POST").status for _ in range(10)} == {200}
    body = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
    assert {willing.ask(body, "POST").status for _ in range(10)} == {200, 503}, "a body that was given away is gone"


def test_retry_budget_holds(start_gateway: Start, targets: Any) -> None:
    made = targets(3)
    for target in made:
        target.status = "503 No"
    more = "retries: {attempts: 2, on: [503], budget: {percent: 20, per_second: 0}}"
    gateway = start_gateway(settings(made, more), workers=2)
    assert set(served(gateway, 200)) == {503}
    received = sum(len(target.requests) for target in made)
    assert received == 240, "200 requests and 20 % of them again, over both workers together"
    figures = eventually(lambda: (found := gateway.figures())["upstream_retries_total"] == 40 and found)
    assert figures["upstream_denied_total"] > 0


def test_without_a_budget_every_attempt_is_made(start_gateway: Start, targets: Any) -> None:
    made = targets(3)
    for target in made:
        target.status = "503 No"
    gateway = start_gateway(settings(made, "retries: {attempts: 2, on: [503]}"))
    assert set(served(gateway, 10)) == {503}
    assert [len(target.requests) for target in made] == [10] * 3


def test_slow_start(start_gateway: Start, targets: Any) -> None:
    _, back = made = targets(2)
    back.status = "500 No"
    gateway = start_gateway(settings(made, "slow_start: 10m\n    outlier: {failures: 2, ejection: 100ms}"), workers=2)
    while not any(target_of(view, back)["ejected_for"] for view in views(gateway).values()):
        served(gateway, 1)
    back.status = "200 OK"
    everywhere(gateway, lambda view: target_of(view, back)["ejected_for"] == 0, "it is back")
    before = len(back.requests)
    assert set(served(gateway, 300)) == {200}
    came = len(back.requests) - before
    assert 2 <= came <= 60, "about a tenth of its share, where it had half"
