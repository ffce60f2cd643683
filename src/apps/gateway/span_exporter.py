"""The program that sends spans to a collector (OTLP over HTTP, by the OpenTelemetry SDK): one process beside the
workers, which never wait for it. See `tracing`, which starts it.

Its first line of input are its settings. It takes spans from the shared region until its input ends, then sends what is
left and ends. Each line of output says what became of a batch: {"sent": 512, "lost": 0}.
"""

import json
import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fastcore import __version__
from fastcore.shm import Region
from fastcore.spans import Span, SpanQueue

BATCH = 512
SCOPE = InstrumentationScope("fastcore.gateway", __version__)


def readable(span: Span, resource: Resource) -> Iterator[ReadableSpan]:
    """The request as the client saw it and, below it, what we asked an upstream. Names of attributes are those of
    OpenTelemetry's semantic conventions for HTTP."""
    failed = bool(span.error) or span.status >= 500
    yield ReadableSpan(
        name=f"{span.method} {span.route}".strip() or "HTTP",
        context=_context(span.trace, span.span),
        parent=_context(span.trace, span.parent, remote=True) if span.parent else None,
        resource=resource,
        attributes=_present(
            {
                "http.request.method": span.method,
                "url.scheme": span.scheme,
                "url.path": span.path,
                "server.address": span.host,
                "client.address": span.client_address,
                "network.protocol.version": span.protocol,
                "http.response.status_code": span.status,
                "http.response.size": span.sent_bytes,
                "error.type": span.error or (str(span.status) if failed else ""),
                "fastcore.route": span.route,
                "fastcore.cached": span.cached,
            }
        ),
        kind=SpanKind.SERVER,
        instrumentation_scope=SCOPE,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=span.start,
        end_time=span.end,
    )
    if span.client:
        address, _, port = span.endpoint.rpartition(":")
        # A client's 404 is the target's answer and no failure of ours; 4xx fail for who asked (conventions, "Status").
        wrong = failed or span.status >= 400
        yield ReadableSpan(
            name=span.method,
            context=_context(span.trace, span.client),
            parent=_context(span.trace, span.span),
            resource=resource,
            attributes=_present(
                {
                    "http.request.method": span.method,
                    "server.address": address.strip("[]") or span.endpoint,
                    "server.port": int(port) if port.isdigit() else 0,
                    "http.response.status_code": span.status if span.answered else 0,
                    "http.request.resend_count": max(0, span.tries - 1),
                    "error.type": span.error or (str(span.status) if wrong else ""),
                    "fastcore.upstream": span.upstream,
                }
            ),
            kind=SpanKind.CLIENT,
            instrumentation_scope=SCOPE,
            status=Status(StatusCode.ERROR if wrong else StatusCode.UNSET),
            start_time=span.asked or span.start,
            end_time=span.end,
        )


def _context(trace: int, span: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace, span, is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _present(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value}


def _line() -> bytes:
    """The first line of input, and not a byte more: what follows is waited for without a buffer in between. Empty when
    the input ends before the line does."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return b""
        line += byte
    return line


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the workers tell us when it is over
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s spans: %(message)s")
    if not (line := _line()):
        return  # the worker was stopped or killed before it said what to do
    settings = json.loads(line)
    queue = SpanQueue(Region.attach(settings["region"]))
    exporter = OTLPSpanExporter(endpoint=settings["export"], headers=settings["headers"], timeout=settings["timeout"])
    resource = Resource.create({"service.name": settings["service_name"], "service.version": __version__})
    over = False
    while True:
        taken = queue.take(BATCH)
        if taken:
            sent = exporter.export([each for span in taken for each in readable(span, resource)])
            lost = 0 if sent is SpanExportResult.SUCCESS else len(taken)
            print(json.dumps({"sent": len(taken) - lost, "lost": lost}), flush=True)
        if over and not taken:
            return
        if not over and len(taken) < BATCH and select.select([sys.stdin], [], [], settings["every"])[0]:
            over = not os.read(0, 1)


if __name__ == "__main__":
    main()
