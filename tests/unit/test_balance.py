from collections import Counter

import pytest

from fastcore.balance import TARGETS_MAX, Balancer

MS = 1_000_000
S = 1_000_000_000
POLICIES = ["round_robin", "least_connections", "p2c_ewma", "consistent_hash"]


def equal(n):
    return {f"t{i}": 1 for i in range(n)}


def test_round_robin_spreads_a_heavy_targets_turns():
    balancer = Balancer("round_robin", {"a": 5, "b": 1, "c": 1})
    assert [balancer.pick() for _ in range(7)] == [0, 0, 1, 0, 2, 0, 0]


def test_least_connections_by_weight_and_ties_in_turn():
    balancer = Balancer("least_connections", {"a": 1, "b": 2})
    picks = []
    for _ in range(6):
        picks.append(balancer.pick())
        balancer.started(picks[-1])
    assert Counter(picks) == {0: 2, 1: 4}
    balancer.finished(0)
    balancer.finished(0)
    assert balancer.pick() == 0
    idle = Balancer("least_connections", equal(3))
    assert [idle.pick() for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_p2c_prefers_the_faster_and_forgives_with_time():
    balancer = Balancer("p2c_ewma", equal(2), tau=1.0)
    for target, latency in ((0, 100 * MS), (1, 1 * MS)):
        balancer.started(target)
        balancer.finished(target, now_ns=S, latency_ns=latency)
    assert {balancer.pick(now_ns=S) for _ in range(20)} == {1}
    balancer.started(1)
    balancer.finished(1, now_ns=8 * S, latency_ns=1 * MS)
    assert {balancer.pick(now_ns=8 * S) for _ in range(20)} == {0}, "0 was slow long ago"


def test_p2c_counts_requests_in_flight_and_weights():
    balancer = Balancer("p2c_ewma", {"a": 1, "b": 3})
    for target in (0, 1):
        balancer.started(target)
        balancer.finished(target, now_ns=S, latency_ns=MS)
    picks = Counter()
    for _ in range(8):
        target = balancer.pick(now_ns=S)
        balancer.started(target)
        picks[target] += 1
    assert picks == {0: 2, 1: 6}


def test_p2c_peak_counts_at_once_and_recovers_slowly():
    balancer = Balancer("p2c_ewma", equal(1), tau=10.0)
    for now, latency in ((1 * S, 10 * MS), (2 * S, 500 * MS)):
        balancer.started(0)
        balancer.finished(0, now_ns=now, latency_ns=latency)
    assert balancer.latency_ns(0, now_ns=2 * S) == 500 * MS
    balancer.started(0)
    balancer.finished(0, now_ns=3 * S, latency_ns=10 * MS)
    assert 400 * MS < balancer.latency_ns(0, now_ns=3 * S) < 500 * MS


def test_p2c_a_quick_failure_is_not_a_quick_answer():
    balancer = Balancer("p2c_ewma", equal(2))
    for target, failed in ((0, True), (1, False)):
        balancer.started(target)
        balancer.finished(target, now_ns=S, latency_ns=MS, failed=failed)
    assert {balancer.pick(now_ns=S) for _ in range(20)} == {1}


def test_p2c_sends_one_request_at_a_time_to_a_target_never_measured():
    balancer = Balancer("p2c_ewma", equal(2))
    balancer.started(1)
    balancer.finished(1, now_ns=S, latency_ns=MS)
    assert balancer.pick(now_ns=S) == 0
    balancer.started(0)
    assert {balancer.pick(now_ns=S) for _ in range(20)} == {1}


def test_clock_going_back_does_no_harm():
    balancer = Balancer("p2c_ewma", equal(2))
    balancer.started(0)
    balancer.finished(0, now_ns=5 * S, latency_ns=MS)
    balancer.finished(0, now_ns=1 * S, latency_ns=MS)
    assert balancer.latency_ns(0, now_ns=0) == MS
    assert balancer.active(0) == 0, "never below 0"


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_available(policy):
    balancer = Balancer(policy, {"a": 1, "b": 0})
    assert balancer.pick(available=0) is None
    assert balancer.pick(available=0b10) is None, "weight 0"
    assert balancer.pick(available=0b01) == 0
    assert Balancer(policy, {"a": 0}).pick() is None


@pytest.mark.parametrize("policy", POLICIES)
def test_largest(policy):
    balancer = Balancer(policy, equal(TARGETS_MAX))
    assert balancer.pick(available=1 << (TARGETS_MAX - 1)) == TARGETS_MAX - 1
    assert balancer.pick() is not None


def test_bad_values_are_named():
    for match, call in [
        ("'best' is not a policy; there are round_robin", lambda: Balancer("best", equal(1))),
        ("0 targets", lambda: Balancer("round_robin", {})),
        ("1025 targets", lambda: Balancer("round_robin", equal(TARGETS_MAX + 1))),
        ("weight of 'a' is -1", lambda: Balancer("round_robin", {"a": -1})),
        ("weight of 'a' is 65536", lambda: Balancer("round_robin", {"a": 65536})),
        ("load factor is 0.5", lambda: Balancer("consistent_hash", equal(2), load_factor=0.5)),
        ("tau", lambda: Balancer("p2c_ewma", equal(2), tau=0)),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(IndexError, match="target 2 of 2"):
        Balancer("round_robin", equal(2)).started(2)
