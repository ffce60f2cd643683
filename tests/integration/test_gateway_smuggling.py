"""Messages that two readers could read differently never pass: not a byte of such a request reaches the target, and no
byte of such an answer is mistaken for another one.

The corpus is the parser's own (tests/unit/http_cases.py), here over real sockets and through the whole gateway.
"""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from http_cases import REQUESTS, RESPONSES, Case
from servers import ANSWER, EndOfStream, Gateway, Message, RawUpstream, Wire, answer, answer_forever, get

INNOCENT = get("/innocent")

# What an extension means is not read, only where its line ends: the chunk is whole, and what follows is refused instead.
READ_AS_TWO = "CRLF in quoted extension"
# The bound on the fields of an answer is 256, whatever `limits.headers` says about requests.
FEWER_THAN_OURS = "more fields than the limit"


@pytest.fixture(scope="module")
def echo() -> Iterator[RawUpstream]:
    """Answers everything it is sent and remembers it: for requests that must not come."""
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


@pytest.fixture(scope="module")
def scripted() -> Iterator[RawUpstream]:
    """Says what a test wants: for answers."""
    made = RawUpstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], echo: RawUpstream, scripted: RawUpstream) -> Gateway:
    return one_gateway(
        f"""
access_log: "-"
timeouts: {{header: 2s, body: 2s, first_byte: 2s, between_bytes: 2s}}
upstreams:
  echo: {{targets: ['{echo.address}']}}
  scripted: {{targets: ['{scripted.address}']}}
routes:
  - {{path: /scripted, upstream: scripted}}
  - {{path: /, upstream: echo}}
"""
    )


def read_all(client: Wire) -> bytes:
    with contextlib.suppress(ConnectionResetError):
        client.read_rest()
    return bytes(client.received)


def answers_in(received: bytes) -> list[Message]:
    """What a client makes of the bytes it got until the connection ended."""

    class Replay(Wire):
        def __init__(self) -> None:
            self.received = bytearray(received)
            self._used = 0

        def _more(self) -> bool:
            return False

    wire, found = Replay(), []
    with contextlib.suppress(EndOfStream):
        while True:
            found.append(wire.read_response())
    return found


#: To which a session answers, not a refusal: test_gateway_http2.py.
ANOTHER_PROTOCOL = "HTTP/2 preface"


@pytest.mark.parametrize(
    "case", [case for case in REQUESTS if case.name != ANOTHER_PROTOCOL], ids=lambda case: case.name
)
def test_request_is_refused(gateway: Gateway, echo: RawUpstream, case: Case) -> None:
    before = len(echo.received)
    with gateway.connect() as client:
        client.send(case.data + INNOCENT)
        with contextlib.suppress(OSError):  # it may have been closed on us already
            client.finish()
        got = answers_in(read_all(client))
    seen = echo.received[before:]
    assert b"/innocent" not in seen
    assert b"/smuggled" not in seen
    assert len(got) <= (2 if case.name == READ_AS_TWO else 1), got
    if case.where == "head":
        assert seen == b"", "a head with any doubt in it stays here"
        assert got[0].status == case.status
    else:
        assert not got or got[-1].status == 400, "a body that breaks is never answered as if it were whole"
    assert not got or got[-1]["connection"] == "close"


def test_refusals_are_problems(gateway: Gateway) -> None:
    got = gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert got.problem["type"] == "urn:fastcore:problem:bad-request"
    assert got.problem["detail"]


def test_refusal_is_logged(gateway: Gateway) -> None:
    gateway.access.clear()
    gateway.ask(b"GET /logged HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
    line = gateway.access_of("/logged")
    assert (line["status"], line["error"], line["method"]) == (400, "bad_request", "GET")


# --- answers ---


@pytest.mark.parametrize(
    "case", [case for case in RESPONSES if case.name != FEWER_THAN_OURS], ids=lambda case: case.name
)
def test_answer_is_refused(gateway: Gateway, scripted: RawUpstream, case: Case) -> None:
    """502, or a cut where the head had passed; and this connection serves nobody else."""
    with gateway.connect() as client:
        client.send(get("/scripted"))
        with scripted.accept() as target:
            target.read_request()
            with contextlib.suppress(OSError):
                target.send(case.data)
                target.finish()
            try:
                got = client.read_response()
            except (EndOfStream, ConnectionResetError, AssertionError):
                assert case.where == "body", bytes(client.received)
                assert not client.received.endswith(b"0\r\n\r\n")
            else:
                assert got.status == 502, got
                assert got.problem["type"] == "urn:fastcore:problem:bad-answer"
            assert target.ended(), "the connection must be given up"


SECOND = answer(b"poison")


@pytest.mark.parametrize(
    "reply",
    [
        ANSWER + SECOND,
        ANSWER + b"\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n" + SECOND,
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + SECOND,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + SECOND,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=[
        "whole answer",
        "line end",
        "behind 204",
        "body of 304",
        "behind chunks",
        "behind nothing",
        "said close",
        "1.0",
    ],
)
def test_connection_is_not_used_again(gateway: Gateway, scripted: RawUpstream, reply: bytes) -> None:
    with gateway.connect() as client:
        client.send(get("/scripted"))
        with scripted.accept() as target:
            target.read_request()
            target.send(reply)
            assert b"poison" not in client.read_response().body
            client.send(get("/scripted"))
            with scripted.accept() as other:
                other.read_request()
                other.send(ANSWER)
                assert client.read_response().body == b"ok"
                other.send(b"x")  # makes the gateway drop it, so that the next test begins with an empty pool
                assert other.ended()
            assert target.ended()


def test_body_behind_the_answer_to_head(gateway: Gateway, scripted: RawUpstream) -> None:
    with gateway.connect() as client:
        client.send(get("/scripted", method="HEAD"))
        with scripted.accept() as target:
            target.read_request()
            target.send(answer(b"poison"))
            assert client.read_response("HEAD")["content-length"] == "6"
            assert target.ended()
        client.send(get("/scripted"))
        with scripted.accept() as target:
            target.read_request()
            target.send(answer(b"fresh", "Connection: close"))
            assert client.read_response().body == b"fresh"


def test_bytes_on_an_idle_connection_drop_it(gateway: Gateway, scripted: RawUpstream) -> None:
    with gateway.connect() as client:
        client.send(get("/scripted"))
        target = scripted.accept()
        target.read_request()
        target.send(ANSWER)
        assert client.read_response().body == b"ok"
        target.send(SECOND)
        assert target.ended(), "nobody asked for this"
        client.send(get("/scripted"))
        with scripted.accept() as other:
            other.read_request()
            other.send(answer(b"fresh", "Connection: close"))
            assert client.read_response().body == b"fresh"


def test_answer_before_the_request_is_not_the_answer(gateway: Gateway, scripted: RawUpstream) -> None:
    """A target that speaks first on a pooled connection must not have it taken for the next client's answer."""
    with gateway.connect() as client:
        client.send(get("/scripted"))
        target = scripted.accept()
        target.read_request()
        target.send(ANSWER)
        client.read_response()
        client.send(b"POST /scripted HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
        target.read_head()
        target.send(answer(b"early"))
        got = client.read_response()
        assert (got.body, got["connection"]) == (b"early", "close")
        assert target.read_rest() == b"bo", "its request was never complete, so nothing may follow on it"
