"""`fastcore bench`: load on a URL from C, for figures that are the server's and not the client's."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from apps.commands.common import command
from apps.exits import FAILED, NO_INPUT, OK, UNAVAILABLE, USAGE, CommandError
from apps.units import format_duration, parse_duration

if TYPE_CHECKING:
    from fastcore.loadgen import Report

EXAMPLES = """\
  fastcore bench http://127.0.0.1:8080/              64 connections for 10 s, as fast as they are answered
  fastcore bench http://127.0.0.1:8080/ -c 256 -d 30s -R 20000   at a fixed rate: honest latencies under that load
  fastcore bench http://127.0.0.1:8080/ -n 100000 --no-keepalive --json
  fastcore bench http://127.0.0.1:8080/api -X POST -H 'Content-Type: application/json' -b @order.json

The status is 1 when a request failed or was answered 4xx or 5xx. Ctrl-C prints what was measured until then."""

WORDS = {
    "connect": "no connection",
    "reset_before_response": "connection lost before the answer",
    "cut_response": "answer cut short",
    "timeout": "timed out",
    "bad_response": "answer is not HTTP",
}
CONNECTION_WORDS = {
    "closed_idle": "closed by the server between requests",
    "connects_failed": "attempts failed while no request waited",
    "unasked": "closed for bytes nobody asked for",
}


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = command(subparsers, "bench", "Put load on a URL and print rates and latencies.", EXAMPLES)
    parser.add_argument("url", metavar="URL", help="http://host:port/path")
    parser.add_argument("-c", "--connections", type=positive, default=64, metavar="N", help="open connections (64)")
    parser.add_argument("-d", "--duration", type=duration, metavar="TIME", help="how long (10s, unless -n is given)")
    parser.add_argument("-n", "--requests", type=positive, metavar="N", help="stop after so many requests")
    parser.add_argument("-R", "--rate", type=positive, metavar="N", help="requests a second in all; without: no limit")
    parser.add_argument("-w", "--warmup", type=duration, default=0, metavar="TIME", help="load before measuring")
    parser.add_argument("-p", "--pipeline", type=positive, default=1, metavar="N", help="requests in flight each (1)")
    parser.add_argument("--no-keepalive", action="store_true", help="a new connection for each request")
    parser.add_argument("-X", "--method", help="GET, or POST with a body")
    parser.add_argument("-H", "--header", type=header, action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("-b", "--body", default="", metavar="TEXT", help="request body, or @FILE")
    parser.add_argument("-t", "--timeout", type=duration, default=10_000, metavar="TIME", help="for an answer (10s)")
    parser.add_argument("--connect-timeout", type=duration, default=3000, metavar="TIME", help="for connecting (3s)")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.set_defaults(run=run)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def duration(text: str) -> int:
    try:
        milliseconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if milliseconds == 0:
        raise argparse.ArgumentTypeError(f"{format_duration(0)} is too short")
    return milliseconds


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: write 'Name: value'")
    return name.strip(), value.strip()


def read_body(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise CommandError(f"{text[1:]}: {error.strerror}", NO_INPUT) from None


def run(arguments: argparse.Namespace) -> int:
    from fastcore import loadgen  # compiled, and only this command needs it

    body = read_body(arguments.body)
    seconds = arguments.duration / 1000 if arguments.duration else None if arguments.requests else 10.0
    on_terminal = sys.stderr.isatty()
    try:
        report = loadgen.run(
            arguments.url,
            progress=show_progress if on_terminal else None,
            connections=arguments.connections,
            duration=seconds,
            requests=arguments.requests,
            rate=arguments.rate,
            keepalive=not arguments.no_keepalive,
            pipeline=arguments.pipeline,
            method=arguments.method or ("POST" if body else "GET"),
            headers=arguments.header,
            body=body,
            timeout=arguments.timeout / 1000,
            connect_timeout=arguments.connect_timeout / 1000,
            warmup=arguments.warmup / 1000,
        )
    except ValueError as error:
        raise CommandError(str(error), USAGE) from None
    except loadgen.Unreachable as error:
        raise CommandError(str(error), UNAVAILABLE) from None
    except OSError as error:
        raise CommandError(str(error)) from None
    if on_terminal:
        print("\r\033[K", end="", file=sys.stderr)
    print(json.dumps(report, indent=2) if arguments.json else text_of(report))
    refused = report["status_classes"]["4xx"] + report["status_classes"]["5xx"]
    return FAILED if report["failed"] or refused or not report["responses"] else OK


def show_progress(seconds: float, responses: int, failures: int, in_flight: int) -> None:
    rate = responses / seconds if seconds else 0
    line = f"{seconds:.0f} s  {responses} answers  {rate:.0f}/s  {failures} failed  {in_flight} in flight"
    print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def text_of(report: "Report") -> str:
    """The report for people: only what happened has a line."""
    asked = report["options"]["rate"]
    wanted = f" (asked for {asked})" if asked else ""
    lines = [
        f"{report['url']}  {report['options']['connections']} connections"
        + ("" if report["options"]["keepalive"] else ", one for each request"),
        f"  requests   {report['requests']} in {report['seconds']:.2f} s, {report['responses']} answered",
        f"  rate       {report['rate']:.1f}/s{wanted}, {report['bytes_per_second'] / 1e6:.2f} MB/s",
    ]
    if (latency := report["latency_us"]) is not None:
        since = "since each was due" if asked else "since each was sent"
        lines.append("  latency    " + "  ".join(f"{n} {readable_us(us)}" for n, us in latency.items()) + f"  {since}")
    lines.append("  answers    " + ("  ".join(f"{s}: {n}" for s, n in report["statuses"].items()) or "none"))
    errors = [f"{WORDS[kind]}: {n}" for kind, n in report["errors"].items() if n]
    causes = [f"{cause}: {n}" for cause, n in report["causes"].items()]
    lines.append(f"  failed     {report['failed']}" + (f"  ({'; '.join(errors + causes)})" if errors else ""))
    counts = report["connections"]
    unusual = [f", {counts[name]} {words}" for name, words in CONNECTION_WORDS.items() if counts[name]]
    lines.append(f"  connected  {counts['opened']} times{''.join(unusual)}")
    if report["unsent"]:
        lines.append(f"  behind     {report['unsent']} requests were due and never sent: this rate is too high here")
    if report["interrupted"]:
        lines.append(f"  interrupted, {report['unfinished']} requests were under way")
    return "\n".join(lines)


def readable_us(microseconds: float) -> str:
    """Three digits with a unit: 85.2us, 1.27ms, 3.05s."""
    for limit, factor, unit in ((1e3, 1, "us"), (1e6, 1e3, "ms")):
        if microseconds < limit:
            return f"{microseconds / factor:.3g}{unit}"
    return f"{microseconds / 1e6:.3g}s"
