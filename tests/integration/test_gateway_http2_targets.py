"""HTTP/2 to targets, which speak it by another implementation (http2_target.py)."""

import contextlib
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from http2_frames import CANCEL, INTERNAL_ERROR, MAX_CONCURRENT_STREAMS, NO_ERROR, REFUSED_STREAM, Client, request
from http2_target import Asked, Http2Target
from servers import SECONDS, Gateway, answer_forever, eventually, get


@pytest.fixture
def make_target() -> Iterator[Callable[..., Http2Target]]:
    made: list[Http2Target] = []

    def make(*arguments: Any, **options: Any) -> Http2Target:
        made.append(Http2Target(*arguments, **options))
        return made[-1]

    yield make
    for target in made:
        target.close()


def settings(*addresses: str, more: str = "", upstream: str = "", route: str = "") -> str:
    targets = ", ".join(f"'{address}'" for address in addresses)
    return (
        f"{more}access_log: '-'\nupstreams: {{u: {{targets: [{targets}], http2: true{upstream}}}}}\n"
        f"routes: [{{path: /, upstream: u{route}}}]\n"
    )


def echo(asked: Asked) -> None:
    asked.head(("x-head", json.dumps(asked.fields).encode().hex()))
    asked.data(asked.body, ends=not asked.trailers)
    if asked.trailers:
        asked.session.h2.send_headers(asked.stream, asked.trailers, end_stream=True)
        asked.session.flush()


def seen(text: str | None) -> list[tuple[str, str]]:
    assert text is not None
    return [(name, value) for name, value in json.loads(bytes.fromhex(text))]


def test_a_request_over_http1(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    gateway = start_gateway(settings(make_target(echo).address))
    with gateway.connect() as wire:
        wire.send(get("/a?b=c", "Cookie: a=b", "X-One: 1", "Connection: X-Two", "X-Two: 2"))
        got = wire.read_response()
        assert (got.status, got["via"], got["transfer-encoding"]) == (200, "2.0 fastcore", "chunked")
        fields = seen(got["x-head"])
        names = [name for name, _ in fields]
        assert fields[:4] == [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/a?b=c")]
        assert ("cookie", "a=b") in fields and ("x-one", "1") in fields and ("via", "1.1 fastcore") in fields
        assert not {"connection", "x-two", "host", "transfer-encoding", "te"} & set(names)
        for size in (1, 100_000, 3_000_000):
            body = os.urandom(size)
            wire.send(get("/", f"Content-Length: {size}", method="POST"))
            sender = threading.Thread(target=wire.send, args=(body,))
            sender.start()
            assert wire.read_response().body == body
            sender.join(SECONDS)


def test_from_http2_to_http2(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    target = make_target(echo)
    gateway = start_gateway(settings(target.address))
    with Client(gateway.connect()) as client:
        for size in (0, 1, 70_000, 2_000_000):
            body = os.urandom(size)
            stream = client.ask(request("/", method="POST"), ends=False)
            client.body(stream, body)
            assert client.answer(stream).body == body
        stream = client.ask(request("/", ("te", "trailers"), method="POST"), ends=False)
        client.data(stream, b"abc")
        client.wire.send(client.head(stream, [("x-sum", "6")]))
        got = client.answer(stream)
        assert (got.body, got.trailers) == (b"abc", {"x-sum": "6"})
        assert ("te", "trailers") in seen(got["x-head"])
        assert len(target.sessions) == 1  # all of them on one connection


def test_requests_share_a_connection(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    """Until it is full: the target allows three at once."""
    held: list[Asked] = []
    target = make_target(held.append, settings={MAX_CONCURRENT_STREAMS: 3})
    gateway = start_gateway(settings(target.address))
    with Client(gateway.connect()) as client:
        client.ask(request("/first"))
        eventually(lambda: len(held) == 1)  # its SETTINGS have come by then
        for number in range(5):
            client.ask(request(f"/{number}"))
        eventually(lambda: len(held) == 6)
        assert [len(session.requests) for session in target.sessions] == [3, 3]
        eventually(lambda: gateway.figures()["endpoint_connects_total"] == 2)


def test_answers_that_are_only_a_head(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    def serve(asked: Asked) -> None:
        status = int(str(asked[":path"]).strip("/"))
        asked.head(("x-a", "b"), status=status, ends=True)

    gateway = start_gateway(settings(make_target(serve).address))
    with gateway.connect() as wire:
        for status in (200, 204, 302, 304, 404):
            wire.send(get(f"/{status}"))
            got = wire.read_response()
            assert (got.status, got.body, got["x-a"]) == (status, b"", "b")
        wire.send(get("/200", method="HEAD"))
        assert wire.read_response("HEAD").status == 200


def test_interim_answers(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    def serve(asked: Asked) -> None:
        asked.session.h2.send_headers(asked.stream, [(":status", "103"), ("link", "</a>")])
        asked.answer(b"done")

    gateway = start_gateway(settings(make_target(serve).address))
    got = gateway.ask(get())
    assert [message.status for message in got.interim] == [103]
    assert got.interim[0]["link"] == "</a>"
    assert got.body == b"done"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_stream_is_sent_again(start_gateway: Callable[..., Gateway], make_target: Any, method: str) -> None:
    """RFC 9113 8.7: it was not looked at, so it may be, whatever its method."""
    tries = iter(range(100))

    def serve(asked: Asked) -> None:
        if next(tries) == 0:
            asked.reset(REFUSED_STREAM)
        else:
            asked.answer()

    gateway = start_gateway(settings(make_target(serve).address))
    assert gateway.ask(get(method=method)).body == b"ok"


def test_a_target_that_leaves(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    """GOAWAY: what it has seen is answered there, what comes later goes over a new connection."""
    waiting = threading.Event()

    def serve(asked: Asked) -> None:
        if asked[":path"] == "/first":
            asked.session.h2.close_connection(NO_ERROR, last_stream_id=asked.stream)
            asked.session.wire.send(asked.session.h2.data_to_send())
            waiting.wait(SECONDS)
            return
        asked.answer(b"second")

    target = make_target(serve)
    gateway = start_gateway(settings(target.address))
    with gateway.connect() as wire:
        wire.send(get("/first"))
        eventually(lambda: len(target.seen) == 1)
        assert gateway.ask(get("/second")).body == b"second"
        assert len(target.sessions) == 2
        waiting.set()


def test_resets(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    def serve(asked: Asked) -> None:
        if asked[":path"] == "/half":
            asked.head(("content-length", "100"))
            asked.data(b"half")
        asked.reset(INTERNAL_ERROR)

    gateway = start_gateway(settings(make_target(serve).address))
    assert gateway.ask(get("/", method="POST")).status == 502
    with gateway.connect() as wire:
        wire.send(get("/half"))
        assert wire.read_head().status == 200
        assert wire.read(4) == b"half"
        assert wire.was_reset()


def test_the_client_goes(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    """Its stream is cancelled; the connection is not."""
    target = make_target(lambda asked: asked.answer() if asked[":path"] != "/slow" else None)
    gateway = start_gateway(settings(target.address))
    with gateway.connect() as wire:
        wire.send(get("/slow"))
        eventually(lambda: len(target.seen) == 1)
        wire.reset()
    eventually(lambda: target.sessions[0].resets == {1: CANCEL})
    assert gateway.ask(get("/next")).body == b"ok"
    assert len(target.sessions) == 1


def test_a_slow_client_holds_up_its_own_stream_only(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    size = 20_000_000
    begun = threading.Event()

    def serve(asked: Asked) -> None:
        if asked[":path"] == "/large":
            session = asked.session
            asked.head(("content-length", str(size)))
            begun.set()

            def rest() -> None:
                asked.data(bytes(size), ends=True)

            session.large = rest  # type: ignore[attr-defined]
            rest()
        else:
            asked.answer()

    # Two targets' worth of sessions would hide it: the other request goes to the same connection.
    target = make_target(serve)
    gateway = start_gateway(settings(target.address))
    before = gateway.resident(gateway.worker)
    with gateway.connect(receive_buffer=4096) as slow:
        slow.send(get("/large"))
        assert begun.wait(SECONDS)
        assert slow.read_head().status == 200
        assert gateway.resident(gateway.worker) - before < 8 << 20
        left = size
        while left:
            left -= len(slow.read(min(left, 1 << 20)))
            slow.forget()
    assert gateway.ask(get("/other")).body == b"ok"


def test_a_target_without_http2(start_gateway: Callable[..., Gateway], make_upstream: Any) -> None:
    gateway = start_gateway(settings(make_upstream().serve(answer_forever).address))
    for _ in range(2):
        assert gateway.ask(get()).status == 502


# --- health checks ------------------------------------------------------------------------------------------------------

QUICK = "interval: 100ms, timeout: 100ms, unhealthy: 1, healthy: 1"


def healthy(gateway: Gateway) -> int:
    """Targets that are up."""
    return sum(target["health"] == "up" for target in gateway.get("/upstreams")[1][0]["targets"])


def test_checks_speak_http2(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    status = [200]
    asked_for: list[Asked] = []

    def serve(asked: Asked) -> None:
        if asked[":path"] == "/well":
            asked_for.append(asked)
            asked.answer(status=status[0])
        else:
            asked.answer()

    target = make_target(serve)
    gateway = start_gateway(settings(target.address, upstream=f", health_check: {{path: /well, {QUICK}}}"))
    eventually(lambda: healthy(gateway) == 1)
    status[0] = 500
    eventually(lambda: healthy(gateway) == 0)
    status[0] = 204
    eventually(lambda: healthy(gateway) == 1)
    assert (asked_for[0]["user-agent"], asked_for[0][":authority"]) == ("fastcore-health-check", target.address)


def test_checks_by_grpc(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    said = [b"\x08\x01", "0"]
    asked_for: list[Asked] = []

    def serve(asked: Asked) -> None:
        asked_for.append(asked)
        asked.head(("content-type", "application/grpc"))
        asked.data(b"\0\0\0\0" + bytes((len(said[0]),)) + said[0])  # type: ignore[operator, arg-type]
        asked.session.h2.send_headers(asked.stream, [("grpc-status", str(said[1]))], end_stream=True)
        asked.session.flush()

    check = f", health_check: {{type: grpc, service: shop.Cart, {QUICK}}}"
    gateway = start_gateway(settings(make_target(serve).address, upstream=check))
    eventually(lambda: healthy(gateway) == 1)
    assert asked_for[0][":path"] == "/grpc.health.v1.Health/Check"
    assert asked_for[0].body == b"\0\0\0\0\x0b\x0a\x09shop.Cart"
    said[0] = b"\x08\x02"  # NOT_SERVING
    eventually(lambda: healthy(gateway) == 0)
    said[0] = b"\x08\x01"
    eventually(lambda: healthy(gateway) == 1)
    said[1] = "12"
    eventually(lambda: healthy(gateway) == 0)


# --- over TLS ---------------------------------------------------------------------------------------------------------


def context(folder: Path, *protocols: str) -> tuple[ssl.SSLContext, str]:
    """A target's context, and the upstream's settings that trust it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made, f", tls: {{authorities: {folder / 'authority.pem'}}}"


def test_over_tls(start_gateway: Callable[..., Gateway], make_target: Any, tmp_path: Path) -> None:
    tls, trust = context(tmp_path, "h2")
    target = make_target(echo, tls=tls)
    gateway = start_gateway(settings(target.address, upstream=trust))
    for _ in range(3):
        got = gateway.ask(get())
        assert (":scheme", "https") in seen(got["x-head"])
    assert len(target.sessions) == 1


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
def test_a_target_that_does_not_agree(
    start_gateway: Callable[..., Gateway], make_upstream: Any, tmp_path: Path, protocols: tuple[str, ...]
) -> None:
    tls, trust = context(tmp_path, *protocols)
    with contextlib.closing(make_upstream(tls=tls).serve(answer_forever)) as upstream:
        gateway = start_gateway(settings(upstream.address, upstream=trust))
        got = gateway.ask(get())
        assert got.status == 502
        assert "TLS failed" in got.problem["detail"]


def test_nobody_listens(start_gateway: Callable[..., Gateway], make_target: Any, make_upstream: Any) -> None:
    """The other target takes over; with both gone it is said."""
    down = make_upstream()
    down.close()
    target = make_target(lambda asked: asked.answer())
    gateway = start_gateway(settings(down.address, target.address))
    for _ in range(4):
        assert gateway.ask(get()).body == b"ok"
    other = start_gateway(settings(down.address))
    assert other.ask(get()).status == 502


def test_a_session_ends_when_it_is_idle(start_gateway: Callable[..., Gateway], make_target: Any) -> None:
    target = make_target(lambda asked: asked.answer())
    gateway = start_gateway(settings(target.address, more="timeouts: {upstream_idle: 200ms}\n"))
    assert gateway.ask(get()).body == b"ok"
    session = target.sessions[0]
    eventually(lambda: session.wire.sock.fileno() < 0, "the session's end")
    assert gateway.ask(get()).body == b"ok"
    assert len(target.sessions) == 2
