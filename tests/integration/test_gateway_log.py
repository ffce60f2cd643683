"""The access log against its schema in PROTOCOL.md."""

import hashlib
import itertools
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import ROOT, Gateway, RawUpstream, answer, answer_forever, eventually, free_ports, get

PROTOCOL = (ROOT / "src/apps/gateway/PROTOCOL.md").read_text()
SCHEMA = re.findall(r"^\| `(\w+)` \| (string|number)(, optional)? \|", PROTOCOL, re.MULTILINE)
WORDS = set(
    re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|(?: \d{3}| none) \|.*\|([^|]*)\|$", PROTOCOL, re.MULTILINE)))
)
TRUSTED = "127.0.0.2"


@pytest.fixture(scope="module")
def target() -> Iterator[RawUpstream]:
    made = RawUpstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def serving() -> Iterator[RawUpstream]:
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], target: RawUpstream, serving: RawUpstream) -> Gateway:
    return one_gateway(
        f"""
access_log: {{path: "-", subject: true}}
trusted_proxies: [{TRUSTED}]
auth:
  providers:
    keys: {{api_keys: {{header: X-API-Key, keys: [{{sha256: '{hashlib.sha256(b"key").hexdigest()}', subject: alice}}]}}}}
upstreams:
  pair: {{targets: ['127.0.0.1:{free_ports(1)[0]}', '{target.address}'], keepalive: 0}}
  plain: {{targets: ['{target.address}'], keepalive: 0}}
  serving: {{targets: ['{serving.address}']}}
routes:
  - {{name: pair, path: /pair, upstream: pair, auth: keys}}
  - {{name: plain, path: /plain, upstream: plain}}
  - {{name: quiet, path: /quiet, upstream: serving, access_log: false}}
  - {{name: serving, path: /, upstream: serving}}
"""
    )


def test_the_schema_was_found() -> None:
    assert len(SCHEMA) == 24
    assert {"bad_request", "no_route", "answer_cut", "client_closed", "connect_timeout", "overload", "loop"} <= WORDS


def test_a_line_with_every_key(gateway: Gateway, target: RawUpstream) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    request = get(
        "/pair/x?full=1", "Host: API.Test:8080", "X-Forwarded-For: 192.0.2.7", "X-Request-Id: id-7",
        f"traceparent: 00-{trace}-00f067aa0ba902b7-01", "User-Agent: test/1", "Referer: https://a.test/b?secret=1",
        "X-API-Key: key",
    )  # fmt: skip
    for _ in range(2):  # the dead target is the first choice of one of two
        with gateway.connect(TRUSTED) as client:
            client.send(request)
            with target.accept() as wire:
                wire.read_request()
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                wire.finish()
                assert client.was_reset()
            line = gateway.access_of("/pair/x")
            if "tries" in line:
                break
    # Limits are test_gateway_limits' affair: a request they refused has no upstream. gRPC is test_gateway_grpc's.
    schema = [(name, kind) for name, kind, _ in SCHEMA if not name.startswith(("limit", "grpc"))]
    assert list(line) == [name for name, _ in schema]
    for name, kind in schema:
        assert type(line[name]) is (str if kind == "string" else int), name
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    del line["time"], line["duration_us"], line["upstream_us"], line["bytes_out"]
    assert line == {
        "client": "192.0.2.7",
        "method": "GET",
        "host": "api.test",
        "path": "/pair/x",
        "query": "full=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes_in": len(request),
        "route": "pair",
        "upstream": f"pair/{target.address}",
        "tries": 2,
        "request_id": "id-7",
        "subject": "alice",
        "trace": trace,
        "user_agent": "test/1",
        "referer": "https://a.test/b",
        "error": "answer_cut",
    }
    assert line["error"] in WORDS


def test_a_line_with_what_must_be_there(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(b"GET /min HTTP/1.0\r\n\r\n")
        client.read_response()
        sent = len(client.received)
    line = gateway.access_of("/min")
    optional = {name for name, _, optional in SCHEMA if optional}
    assert [name for name in line if name not in optional] == [name for name, _, optional in SCHEMA if not optional]
    assert (line["host"], line["protocol"], line["bytes_in"], line["bytes_out"]) == ("", "HTTP/1.0", 21, sent)
    assert not {"query", "tries", "subject", "trace", "user_agent", "referer", "error"} & set(line)


def test_bytes_and_times(gateway: Gateway, target: RawUpstream) -> None:
    head = b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    with gateway.connect() as client:
        client.send(head + b"x" * 1000)
        with target.accept() as wire:
            wire.read_request()
            threading.Event().wait(0.05)
            wire.send(answer(b"y" * 5000))
            client.read_response()
        received = len(client.received)
    line = gateway.access_of("/plain")
    assert (line["bytes_in"], line["bytes_out"]) == (len(head) + 1000, received)
    assert line["duration_us"] >= line["upstream_us"] >= 50_000


def test_nasty_bytes(gateway: Gateway) -> None:
    agent = b'\xff\x80 "quoted" back\\slash \xc3\xa9 \xed\xa0\x80 \xf4\x90\x80\x80 \xc0\xaf tab\there'
    with gateway.connect() as client:
        client.send(b"GET /nasty?a=%22%0a HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + b"\r\nReferer: \xfe\r\n\r\n")
        client.read_response()
    line = gateway.access_of("/nasty")
    wrong = agent.replace(b"\xc3\xa9", b"@").decode("latin-1").replace("@", "é")
    assert line["user_agent"] == wrong, "UTF-8 stays, every other byte stands for itself"
    assert line["referer"] == "\xfe"
    assert line["query"] == "a=%22%0a"


def test_long_and_repeated_values(gateway: Gateway) -> None:
    agents = [f"User-Agent: {letter * 400}" for letter in "abcdefghijklmnop"]
    referers = ["Referer: \xff" + "r" * 400] * 16
    path = "/" + "p" * 3000
    request = get(
        f"{path}?{'q' * 3000}", *agents, *referers, *["traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01"] * 2
    )
    with gateway.connect() as client:
        client.send(request.replace(b"GET", b"M" * 300, 1))
        client.read_response()
    line = gateway.access_of(path[:1024])
    assert (line["user_agent"], line["query"], line["method"]) == ("a" * 256, "q" * 1024, "M" * 64)
    assert line["referer"] == "\xff" + "r" * 255
    assert "trace" not in line, "two traceparents are none"


@pytest.mark.parametrize(
    "bad",
    [
        "00-" + "0" * 32 + "-" + "2" * 16 + "-01", "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "2" * 16 + "-01", "00-" + "A" * 32 + "-" + "2" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "2" * 16 + "-01-x", "00-" + "1" * 31, "",
    ],
)  # fmt: skip
def test_invalid_trace_parents(gateway: Gateway, bad: str) -> None:
    gateway.ask(get("/trace", f"traceparent: {bad}"))
    assert "trace" not in gateway.access_of("/trace")
    gateway.ask(get("/trace", "traceparent: cc-" + "1" * 32 + "-" + "2" * 16 + "-01-future"))
    assert gateway.access_of("/trace")["trace"] == "1" * 32


def test_a_route_may_be_left_out(gateway: Gateway) -> None:
    gateway.access.clear()
    gateway.ask(get("/quiet"))
    gateway.ask(get("/after"))
    assert gateway.next_access()["path"] == "/after"


def test_sampling_is_even_and_keeps_failures(start_gateway: Callable[..., Gateway], serving: RawUpstream) -> None:
    gateway = start_gateway(
        f"""
access_log: {{path: "-", sample: 0.25}}
upstreams: {{u: {{targets: ['{serving.address}']}}, dead: {{targets: ['127.0.0.1:{free_ports(1)[0]}']}}}}
routes: [{{path: /dead, upstream: dead}}, {{path: /, upstream: u}}]
"""
    )
    with gateway.connect() as client:
        for number in range(40):
            client.send(get(f"/{number}"))
            client.read_response()
            if number % 10 == 9:
                client.send(get("/dead"))
                client.read_response()
    paths = []
    while paths.count("/dead") < 4:
        paths.append(gateway.next_access()["path"])
    sampled = [int(path[1:]) for path in paths if path != "/dead"]
    assert len(sampled) == 10
    assert {b - a for a, b in itertools.pairwise(sampled)} == {4}


def test_rotation_loses_nothing(start_gateway: Callable[..., Gateway], serving: RawUpstream, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    gateway = start_gateway(
        f"access_log: {log}\nupstreams: {{u: {{targets: ['{serving.address}']}}}}\nroutes: [{{path: /, upstream: u}}]\n"
    )
    total = 0
    with gateway.connect() as client:
        for turn in range(3):
            for _ in range(20):
                client.send(get(f"/{total}"))
                client.read_response()
                total += 1
            if turn < 2:
                eventually(lambda: log.stat().st_size)
                log.rename(tmp_path / f"access.log.{turn}")
                gateway.process.send_signal(signal.SIGUSR1)
                eventually(log.exists, "the new file")
    gateway.stop()
    files = [tmp_path / "access.log.0", tmp_path / "access.log.1", log]
    assert all(file.stat().st_size for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [line["path"] for line in lines] == [f"/{number}" for number in range(total)]
    assert log.stat().st_mode & 0o007 == 0, "not for everybody: it names clients"
