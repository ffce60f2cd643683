"""Fixtures for tests against real gateway processes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Gateway, RawUpstream

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))  # http_cases: one corpus for parser and gateway


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways from settings; stops them after the test, where a crash or a sanitizer's report fails it."""
    started: list[Gateway] = []

    def start(settings: str, **options: object) -> Gateway:
        started.append(Gateway(tmp_path, settings, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture(scope="module")
def one_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Gateway]]:
    """As start_gateway, for a gateway that all tests of a file share."""
    started: list[Gateway] = []

    def start(settings: str, **options: object) -> Gateway:
        started.append(Gateway(tmp_path_factory.mktemp("gateway"), settings, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def make_upstream() -> Iterator[Callable[..., RawUpstream]]:
    made: list[RawUpstream] = []

    def make(*arguments: object, **options: object) -> RawUpstream:
        made.append(RawUpstream(*arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for upstream in made:
        upstream.close()


@pytest.fixture
def issuer() -> Iterator[Any]:
    """Of tokens (issuers.Issuer)."""
    from issuers import Issuer

    made = Issuer()
    yield made
    made.close()


@pytest.fixture
def upstream(make_upstream: Callable[..., RawUpstream]) -> RawUpstream:
    """Answers every request with "ok"."""
    return make_upstream().serve()
