"""What engines know together about upstreams: two of them on one region, and bounds of the settings."""

import dataclasses
import os

import pytest

from fastcore.proxy import HEALTH_SECTION, Endpoint, Proxy
from fastcore.reactor import Reactor
from fastcore.resilience import Breaker, Health, Outlier, RetryBudget
from fastcore.shm import Region, RegionError

TARGETS = [Endpoint(("127.0.0.1", 1)), Endpoint(("::1", 2)), Endpoint("/run/a.sock")]
HEALTH = Health(healthy=2, unhealthy=2, outlier=Outlier(), breaker=Breaker(), target_breaker=Breaker())


def upstream(region: Region | None, health: Health | None = HEALTH, name: str = "u"):
    proxy = Proxy(Reactor())
    if region is not None:
        proxy.use_region(region)
    made = proxy.upstream(name, health=health)
    made.set_endpoints(TARGETS)
    return made


def checks(watched) -> list[str]:
    return [view["check"] for view in watched.endpoints()]


def test_results_are_known_to_all() -> None:
    with_region = Region(1 << 22)
    one, other = upstream(with_region), upstream(with_region)
    stranger, loner = upstream(with_region, name="v"), upstream(None)
    assert checks(one) == ["unknown"] * 3
    assert one.probed("[::1]:2", False) == "unhealthy"
    assert one.probed("unix:/run/a.sock", True) == "healthy"
    assert checks(one) == checks(other) == ["unknown", "unhealthy", "healthy"]
    assert checks(stranger) == checks(loner) == ["unknown"] * 3
    assert other.probed("[::1]:2", True) == "unhealthy"
    assert one.probed("[::1]:2", True) == "healthy", "the passes of both are one row"
    assert one.probed("127.0.0.1:7", True) is None
    other.set_endpoints(TARGETS[1:])
    assert checks(other) == ["healthy", "healthy"]
    other.set_endpoints(TARGETS)
    assert checks(other) == checks(one)
    other.touch()


def test_lead_of_a_dead_process_is_free_at_once() -> None:
    region = Region(1 << 22)
    child = os.fork()
    if child == 0:
        os._exit(0 if upstream(region).lead() else 1)
    assert os.waitpid(child, 0)[1] == 0
    watched = upstream(region)
    assert watched.health()["checks_by"] == child
    assert watched.lead()
    assert watched.health()["checks_by"] == os.getpid()
    watched.resign()
    assert watched.health()["checks_by"] == 0


def test_only_what_is_watched_is_shown() -> None:
    bare = upstream(None, None)
    assert not bare.watched
    assert bare.health() == {}
    assert not bare.lead()
    bare.resign()
    bare.touch()
    assert bare.probed("127.0.0.1:1", True) is None
    assert not {"check", "breaker", "ejected_for"} & set(bare.endpoints()[0])
    view = upstream(None, Health(budget=RetryBudget()))
    assert view.health() == {"opened": 0, "stopped": 0, "denied": 0}
    assert not {"check", "breaker", "ejected_for"} & set(view.endpoints()[0])
    assert upstream(None).endpoints()[0]["ejected_for"] == 0.0


def test_section_of_another_size() -> None:
    region = Region(1 << 22)
    region.section(HEALTH_SECTION, 4096)
    with pytest.raises(RegionError, match=HEALTH_SECTION):
        upstream(region)


@pytest.mark.parametrize(
    "changes",
    [
        {"healthy": -1},
        {"unhealthy": 1001},
        {"panic_percent": 101},
        {"slow_start": -1},
        {"failures": (99,)},
        {"breaker": Breaker(trials=0)},
        {"breaker": Breaker(percent=1, window=0.05)},
        {"target_breaker": Breaker(failures=1024)},
        {"outlier": Outlier(max_percent=101)},
        {"outlier": Outlier(ejection=1e9)},
        {"budget": RetryBudget(burst=0)},
        {"budget": RetryBudget(burst=4001)},
    ],
)
def test_bounds(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is not|is out of range|is below"):
        upstream(None, dataclasses.replace(HEALTH, **changes))
