"""gRPC through the gateway, by grpcio on both sides (grpc_calls.py)."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http2_frames import HEADERS, Client, request
from servers import Gateway, RawUpstream, answer, free_ports


class Calls:
    """The process with the gRPC server, which also makes calls."""

    def __init__(self) -> None:
        script = str(Path(__file__).with_name("grpc_calls.py"))
        self.process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def ask(self, port: int, *paths: str) -> Any:
        """What came of every kind of call, or of calls to these paths."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(" ".join((f"127.0.0.1:{port}", *paths)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def service() -> Iterator[Calls]:
    made = Calls()
    yield made
    made.close()


def settings(address: str, more: str = "", route: str = "") -> str:
    return (
        f"{more}access_log: '-'\nupstreams: {{g: {{targets: ['{address}'], http2: true}}}}\n"
        f"routes: [{{path: /test.Calls/, upstream: g{route}}}]\n"
    )


def test_every_kind_of_call(start_gateway: Callable[..., Gateway], service: Calls) -> None:
    gateway = start_gateway(settings(service.address))
    got = service.ask(gateway.port)
    assert (got["unary"], got["initial"]) == ("hello", "1")
    assert got["trailing"]["x-trailing"] == "'2'"
    assert got["trailing"]["x-data-bin"] == repr(b"\0\xff")
    assert got["empty"] == ""
    assert got["large"] is True
    assert got["many"] == [str(number) for number in range(300)]
    assert got["none"] == []
    assert got["total"] == "3000"
    assert got["twice"] == [str(number) * 2 for number in range(50)]
    assert (got["refused"]["code"], got["refused"]["details"]) == ("FAILED_PRECONDITION", "no: ü 100%")
    assert got["refused"]["trailing"]["x-why"] == "because"
    assert got["deadline"]["code"] == "DEADLINE_EXCEEDED"
    assert 0.3 <= got["deadline"]["seconds"] < 5
    assert (got["first"], got["cancelled"]) == ("first", True)
    assert (got["unknown"]["code"], got["unknown"]["details"]) == ("UNIMPLEMENTED", "Method not found!")
    assert got["unrouted"]["code"] == "UNIMPLEMENTED"
    line = gateway.access_of("/test.Calls/Refuse")
    assert (line["status"], line["grpc_status"]) == (200, 9)
    line = gateway.access_of("/test.Other/Nothing")
    assert (line["status"], line["grpc_status"], line["error"]) == (404, 12, "no_route")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("nobody listens", "UNAVAILABLE"),
        ("a limit", "UNAVAILABLE"),
        ("no token", "UNAUTHENTICATED"),
        ("too large", "UNKNOWN"),
    ],
)
def test_errors_of_ours(start_gateway: Callable[..., Gateway], service: Calls, what: str, code: str) -> None:
    """As gRPC's clients understand them: HTTP 200, grpc-status and grpc-message in the head."""
    address, more, route, calls = service.address, "", "", 1
    if what == "nobody listens":
        address = f"127.0.0.1:{free_ports(1)[0]}"
    elif what == "a limit":
        more, route, calls = "rate_limits: {few: {rate: 1, period: 1h, burst: 1}}\n", ", rate_limits: [few]", 2
    elif what == "no token":
        more = "auth: {providers: {k: {api_keys: {header: x-key, keys: [{subject: a, sha256: '%s'}]}}}}\n" % ("0" * 64)
        route = ", auth: k"
    else:
        more = "limits: {body_bytes: 1}\n"
    gateway = start_gateway(settings(address, more, route))
    got = service.ask(gateway.port, *["/test.Calls/Unary"] * calls)[-1]
    assert got["code"] == code, got
    assert got["details"]


def test_the_wire(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    """A refusal is one HEADERS frame that ends its stream ("Trailers-Only"); others than gRPC get problems."""
    gateway = start_gateway(settings(make_upstream().address))
    with Client(gateway.connect()) as client:
        for kind, is_grpc in (
            ("application/grpc", True),
            ("application/grpc+proto", True),
            ("application/grpc;a=b", True),
            ("application/grpc-web", False),
            ("application/json", False),
        ):
            more = [("te", "trailers"), ("content-type", kind)]
            stream = client.ask(request("/nowhere", *more, method="POST"), ends=False)
            frame = client.until(lambda f, s=stream: f.stream == s and f.type == HEADERS)  # type: ignore[misc]
            fields = dict(frame.fields)
            if is_grpc:
                assert frame.ends
                assert fields[":status"] == "200"
                assert (fields["content-type"], fields["grpc-status"]) == ("application/grpc", "12")
                assert "content-length" not in fields
            else:
                assert (fields[":status"], fields["content-type"]) == ("404", "application/problem+json")
                assert "grpc-status" not in fields


@pytest.mark.parametrize("timeout", ["200m", "200000u", "99999999n"])
def test_a_deadline_is_kept(start_gateway: Callable[..., Gateway], make_upstream: Any, timeout: str) -> None:
    """Also where the client forgets it: a call whose answer has begun ends with DEADLINE_EXCEEDED in its trailers."""
    upstream = make_upstream()
    text = settings(upstream.address).replace(", http2: true", "")
    gateway = start_gateway(text)
    with Client(gateway.connect()) as client:
        more = [("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", timeout)]
        begun, silent = (client.ask(request(f"/test.Calls/{name}", *more, method="POST")) for name in ("b", "s"))
        for _ in range(2):
            target = upstream.accept()
            if target.read_request().target.endswith("b"):
                target.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n")
                target.send(b"5\r\nhello\r\n")
        got = client.answer(begun)
        assert (got.status, got.body, got.trailers["grpc-status"]) == (200, b"hello", "4")
        assert client.answer(silent)["grpc-status"] == "4"


@pytest.mark.parametrize("timeout", ["", "5", "m", "123456789S", "-1S", "1x", "1.5S"])
def test_timeouts_that_are_none(start_gateway: Callable[..., Gateway], make_upstream: Any, timeout: str) -> None:
    upstream = make_upstream()
    gateway = start_gateway(settings(upstream.address).replace(", http2: true", ""))
    with Client(gateway.connect()) as client:
        more = [("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", timeout)]
        stream = client.ask(request("/test.Calls/x", *more, method="POST"))
        target = upstream.accept()
        target.read_request()
        target.send(answer(b"", "Content-Type: application/grpc", "grpc-status: 0"))
        assert client.answer(stream)["grpc-status"] == "0"


def test_a_target_that_breaks_off(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    def serve(wire: Any) -> None:
        wire.read_request()
        wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )

    upstream: RawUpstream = make_upstream().serve(serve)
    gateway = start_gateway(settings(upstream.address).replace(", http2: true", ""))
    with Client(gateway.connect()) as client:
        more = [("te", "trailers"), ("content-type", "application/grpc")]
        got = client.answer(client.ask(request("/test.Calls/x", *more, method="POST")))
        assert (got.body, got.trailers["grpc-status"], got.reset) == (b"hello", "14", None)
