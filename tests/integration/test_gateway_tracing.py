"""Requests in their traces: the context that is passed on, the spans a real OTLP receiver gets, and what happens when it
is away."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from servers import SECONDS, Gateway, RawUpstream, answer_forever, eventually, free_ports, get

from apps.gateway.config import load_settings

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CAME = f"traceparent: 00-{TRACE}-{PARENT}-01"
FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])")


class Collector:
    """Takes OTLP over HTTP as a collector does; `spans` are those that came, by name of the attribute or field."""

    def __init__(self, port: int = 0) -> None:
        collector = self
        self.spans: list[tuple[Span, dict[str, Any], dict[str, Any]]] = []
        self.fields: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = ExportTraceServiceRequest()
                message.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                collector.fields.append({name.lower(): value for name, value in self.headers.items()})
                for group in message.resource_spans:
                    resource = plain(group.resource.attributes)
                    for scope in group.scope_spans:
                        collector.spans += [(span, plain(span.attributes), resource) for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def of(self, path: str) -> list[Span]:
        """Server and client span of the exchange with this path, as far as they have come."""
        servers = [span for span, attributes, _ in self.spans if attributes.get("url.path") == path]
        return [*servers, *(s for s, _, _ in self.spans if any(s.parent_span_id == one.span_id for one in servers))]

    def pair(self, path: str) -> tuple[Span, Span]:
        eventually(lambda: len(self.of(path)) == 2, path)
        first, second = self.of(path)
        return first, second

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(SECONDS)


def plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def target() -> Iterator[RawUpstream]:
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


SETTINGS = """\
access_log: "-"
cache: {{memory: 16MB}}
tracing: {{{tracing}}}
upstreams: {{u: {{targets: ['{address}']}}, dead: {{targets: ['127.0.0.1:{dead}'], retries: {{attempts: 0}}}}}}
routes:
  - {{name: dead, path: /dead, upstream: dead}}
  - {{name: fixed, path: /fixed, respond: here}}
  - {{name: kept, path: /kept, upstream: u, cache: {{default_ttl: 1m}}}}
  - {{name: all, path: /, upstream: u}}
"""


def text(target: RawUpstream, tracing: str) -> str:
    return SETTINGS.format(tracing=tracing, address=target.address, dead=free_ports(1)[0])


def asked(target: RawUpstream, path: str) -> dict[str, list[str]]:
    """Fields the target got with the request for this path."""
    heads = [head for wire in target.wires for head in bytes(wire.received).decode("latin-1").split("\r\n\r\n")]
    head = next(head for head in heads if f"GET {path} HTTP/1.1\r\n" in f"{head}\r\n")
    found: dict[str, list[str]] = {}
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], target: RawUpstream, collector: Collector) -> Gateway:
    tracing = f"export: '{collector.url}', export_every: 20ms, sample: 1, export_headers: {{X-Key: secret}}"
    return one_gateway(text(target, tracing))


# --- the context ------------------------------------------------------------------------------------------------------


def test_a_context_goes_on_with_us_in_between(gateway: Gateway, target: RawUpstream) -> None:
    assert gateway.ask(get("/on", CAME, "tracestate: a=1", "Tracestate: b=2")).status == 200
    fields = asked(target, "/on")
    (value,) = fields["traceparent"]
    trace, parent, sampled = FORM.fullmatch(value).groups()  # type: ignore[union-attr]
    assert (trace, sampled) == (TRACE, "1")
    assert parent != PARENT
    assert fields["tracestate"] == ["a=1", "b=2"]
    assert gateway.access_of("/on")["trace"] == TRACE


def test_what_is_not_sampled_stays_so(gateway: Gateway, target: RawUpstream, collector: Collector) -> None:
    gateway.ask(get("/unsampled", CAME[:-1] + "0"))
    assert asked(target, "/unsampled")["traceparent"][0].endswith("-00")
    gateway.ask(get("/after-unsampled", CAME))
    collector.pair("/after-unsampled")
    assert collector.of("/unsampled") == []


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("none", []),
        ("bad", [CAME.replace("b7ad", "B7AD"), "tracestate: a=1"]),
        ("zeros", [f"traceparent: 00-{'0' * 32}-{PARENT}-01", "tracestate: a=1"]),
        ("two", [CAME, CAME, "tracestate: a=1"]),
    ],
)
def test_where_there_is_none_a_trace_begins(gateway: Gateway, target: RawUpstream, name: str, lines: list[str]) -> None:
    path = f"/begins/{name}"
    gateway.ask(get(path, *lines))
    fields = asked(target, path)
    (value,) = fields["traceparent"]
    trace, _, sampled = FORM.fullmatch(value).groups()  # type: ignore[union-attr]
    assert trace not in (TRACE, "0" * 32)
    assert sampled == "1"
    assert "tracestate" not in fields
    assert gateway.access_of(path)["trace"] == trace


def test_strangers_are_not_followed(start_gateway: Callable[..., Gateway], target: RawUpstream) -> None:
    settings = text(target, "trust: false, sample: 0") + "trusted_proxies: [127.0.0.7]\n"
    gateway = start_gateway(settings)
    for source, path in (("127.0.0.8", "/stranger"), ("127.0.0.7", "/known")):
        with gateway.connect(source) as wire:
            wire.send(get(path, CAME))
            assert wire.read_response().status == 200
    trace, _, sampled = FORM.fullmatch(asked(target, "/stranger")["traceparent"][0]).groups()  # type: ignore[union-attr]
    assert (trace != TRACE, sampled) == (True, "0")
    assert asked(target, "/known")["traceparent"][0].startswith(f"00-{TRACE}-")


def test_without_tracing_nothing_is_touched(start_gateway: Callable[..., Gateway], target: RawUpstream) -> None:
    settings = text(target, "").replace("tracing: {}\n", "")
    gateway = start_gateway(settings)
    gateway.ask(get("/off", CAME, "tracestate: a=1"))
    fields = asked(target, "/off")
    assert (fields["traceparent"], fields["tracestate"]) == ([CAME.partition(": ")[2]], ["a=1"])
    assert gateway.access_of("/off")["trace"] == TRACE


# --- spans ------------------------------------------------------------------------------------------------------------


def test_spans_have_the_right_parents(gateway: Gateway, target: RawUpstream, collector: Collector) -> None:
    gateway.ask(get("/span?secret=1", CAME, "Host: shop.test:81"))
    server, client = collector.pair("/span")
    assert {server.trace_id.hex(), client.trace_id.hex()} == {TRACE}
    assert server.parent_span_id.hex() == PARENT
    assert client.parent_span_id == server.span_id
    assert asked(target, "/span?secret=1")["traceparent"] == [f"00-{TRACE}-{client.span_id.hex()}-01"]
    assert (server.kind, client.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert (server.name, client.name) == ("GET all", "GET")
    assert plain(server.attributes) | {"http.response.size": 0} == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/span",
        "server.address": "shop.test",
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.response.size": 0,
        "fastcore.route": "all",
    }
    host, _, port = target.address.rpartition(":")
    assert plain(client.attributes) == {
        "http.request.method": "GET",
        "server.address": host,
        "server.port": int(port),
        "http.response.status_code": 200,
        "fastcore.upstream": "u",
    }
    assert server.status.code == client.status.code == Status.STATUS_CODE_UNSET
    assert server.start_time_unix_nano <= client.start_time_unix_nano <= client.end_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    assert abs(server.end_time_unix_nano / 1e9 - time.time()) < 60
    resource = next(resource for span, _, resource in collector.spans if span.span_id == server.span_id)
    assert resource["service.name"] == "fastcore-gateway"
    assert collector.fields[-1]["x-key"] == "secret"


def test_what_failed_and_what_asked_nobody(gateway: Gateway, collector: Collector) -> None:
    for path in ("/dead", "/fixed", "/kept/a", "/kept/a?again"):
        gateway.ask(get(path, CAME))
    gateway.ask(get("/kept/a", CAME))
    (dead,) = eventually(lambda: collector.of("/dead"))
    attributes = plain(dead.attributes)
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (502, "connect")
    assert dead.status.code == Status.STATUS_CODE_ERROR
    (fixed,) = eventually(lambda: collector.of("/fixed"))
    assert fixed.name == "GET fixed"
    eventually(lambda: len(collector.of("/kept/a")) == 5)
    kept = collector.of("/kept/a")
    assert [plain(span.attributes).get("fastcore.cached", False) for span in kept[:3]] == [False, False, True]


def test_long_texts_are_cut(gateway: Gateway, collector: Collector) -> None:
    path = "/" + "%C3%A9" * 100
    assert gateway.ask(get(path, f"Host: {'h' * 200}.test", CAME)).status == 200
    found = eventually(lambda: [(s, a) for s, a, _ in collector.spans if a.get("server.address", "").startswith("hhh")])
    assert found[0][1]["url.path"] == path[:129]
    assert found[0][1]["server.address"] == "h" * 63


def test_every_sampled_request_is_counted(gateway: Gateway, collector: Collector) -> None:
    eventually(lambda: (f := gateway.figures())["spans_total"] == f["spans_sent_total"] > 0)
    figures = gateway.figures()
    servers = [span for span, _, _ in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert len(servers) == figures["spans_total"]
    assert len({span.span_id for span in servers}) == len(servers)
    assert figures["spans_dropped_total"] == figures["spans_lost_total"] == 0


# --- faults -----------------------------------------------------------------------------------------------------------


def test_what_is_left_is_sent_at_the_end(
    start_gateway: Callable[..., Gateway], target: RawUpstream, collector: Collector
) -> None:
    gateway = start_gateway(text(target, f"export: '{collector.url}', export_every: 1h, sample: 1"), workers=2)
    for number in range(20):
        gateway.ask(get(f"/last/{number}"))
    gateway.stop()
    for number in range(20):
        collector.pair(f"/last/{number}")


def test_an_exporter_without_settings_ends() -> None:
    """Its worker was stopped or killed between starting it and telling it: it must not look for a line for ever."""
    program = [sys.executable, "-m", "apps.gateway.span_exporter"]
    assert subprocess.run(program, input=b'{"region":', timeout=SECONDS).returncode == 0


def test_the_exporter_follows_the_lead(
    start_gateway: Callable[..., Gateway], target: RawUpstream, collector: Collector
) -> None:
    """Workers die, one after the other; whoever leads has an exporter."""
    gateway = start_gateway(text(target, f"export: '{collector.url}', export_every: 20ms, sample: 1"), workers=2)
    for round in range(3):
        gateway.ask(get(f"/lead/{round}"))
        collector.pair(f"/lead/{round}")
        workers = [pid for pid in children(gateway.process.pid) if "span_exporter" not in command(pid)]
        assert sum("span_exporter" in command(child) for pid in workers for child in children(pid)) == 1
        os.kill(min(workers), signal.SIGKILL)
        gateway.wait_log("Booting worker", times=3 + round)
        eventually(lambda: gateway.get("/readyz")[0] == 200)


def test_a_collector_that_is_away(start_gateway: Callable[..., Gateway], target: RawUpstream) -> None:
    """Spans are lost, and counted; requests notice nothing."""
    port = free_ports(1)[0]
    tracing = f"export: 'http://127.0.0.1:{port}/v1/traces', export_every: 20ms, export_timeout: 200ms, sample: 1"
    gateway = start_gateway(text(target, tracing))
    assert gateway.ask(get("/away")).status == 200
    eventually(lambda: gateway.figures()["spans_lost_total"] == 1)
    back = Collector(port)
    gateway.ask(get("/back"))
    back.pair("/back")
    back.close()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_settings() -> None:
    for tracing, problem in (
        ("export: 'http://a'", "no OTLP/HTTP address"),
        ("sample: 2", "2 is more than 1"),
        ("exprot: x", "did you mean export?"),
    ):
        (found,) = load_settings(text=f"tracing: {{{tracing}}}\n").problems
        assert problem in str(found)
