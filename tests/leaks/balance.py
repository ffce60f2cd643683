from contextlib import suppress

from tests.leaks.table import operation

from fastcore.balance import POLICIES, Balancer

TARGETS = {f"10.0.0.{i}:80": 1 + i % 3 for i in range(8)}
BALANCERS = [Balancer(policy, TARGETS) for policy in POLICIES]


@operation("pick, started, finished by every policy")
def pick() -> None:
    for balancer in BALANCERS:
        target = balancer.pick(now_ns=5, key_hash=7, available=0b1111)
        balancer.started(target)
        balancer.finished(target, now_ns=9, latency_ns=4)


@operation("balancers, and some that are refused", weight=200)
def made() -> None:
    for policy in POLICIES:
        Balancer(policy, TARGETS)
    for arguments in (
        ("best", TARGETS),
        ("round_robin", {}),
        ("round_robin", {"a": -1}),
        ("consistent_hash", {"a": "x"}),
    ):
        with suppress(ValueError, TypeError):
            Balancer(*arguments)
    with suppress(IndexError):
        BALANCERS[0].started(99)
