"""The queue of spans from Python; what the C side promises is in cext/test/test_records.c, what comes out of a gateway in
tests/integration/test_gateway_tracing.py."""

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from apps.gateway.span_exporter import readable
from fastcore.shm import Region, RegionError
from fastcore.spans import Span, SpanQueue

SPAN = Span(
    trace=0xABC,
    span=0x1,
    parent=0x2,
    client=0x3,
    start=10,
    end=40,
    asked=15,
    answered=20,
    sent_bytes=99,
    status=200,
    tries=1,
    protocol="1.1",
    scheme="https",
    cached=False,
    method="GET",
    error="",
    route="all",
    upstream="u",
    endpoint="[::1]:9100",
    host="a.test",
    client_address="::1",
    path="/x",
)


def test_who_comes_later_takes_the_queue_as_it_is() -> None:
    region = Region(1 << 22)
    assert SpanQueue(region, slots=64).take() == []
    assert SpanQueue(region, slots=64).take(0) == []
    with pytest.raises(RegionError):
        SpanQueue(region, slots=128)
    with pytest.raises(RegionError):
        SpanQueue(Region(1 << 20))  # no room for the usual number


@pytest.mark.parametrize("slots", [0, 3, -1, 1 << 21])
def test_a_power_of_two(slots: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        SpanQueue(Region(1 << 20), slots=slots)


def test_a_request_and_the_question_it_asked() -> None:
    server, client = readable(SPAN, Resource.get_empty())
    assert (server.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert (server.context.span_id, server.parent.span_id, server.parent.is_remote) == (1, 2, True)
    assert (client.context.span_id, client.parent.span_id, client.parent.is_remote) == (3, 1, False)
    assert (client.start_time, client.end_time) == (15, 40)
    assert (client.attributes["server.address"], client.attributes["server.port"]) == ("::1", 9100)


@pytest.mark.parametrize(
    ("change", "server", "client"),
    [
        ({"status": 404}, StatusCode.UNSET, StatusCode.ERROR),
        ({"status": 503}, StatusCode.ERROR, StatusCode.ERROR),
        ({"status": 200, "error": "client_aborted"}, StatusCode.ERROR, StatusCode.ERROR),
        ({"client": 0, "status": 429}, StatusCode.UNSET, None),
    ],
)
def test_what_counts_as_failed(change: dict[str, object], server: StatusCode, client: StatusCode | None) -> None:
    found = list(readable(SPAN._replace(**change), Resource.get_empty()))
    assert found[0].status.status_code is server
    assert [span.status.status_code for span in found[1:]] == ([client] if client else [])


def test_a_trace_that_begins_here_has_no_parent() -> None:
    assert next(readable(SPAN._replace(parent=0), Resource.get_empty())).parent is None


def test_a_unix_socket_has_no_port() -> None:
    client = list(readable(SPAN._replace(endpoint="unix:/run/x.sock"), Resource.get_empty()))[1]
    assert "server.port" not in client.attributes
