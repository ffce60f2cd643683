"""Slow clients, slow targets, dead targets: who is waited for, how long, and who is asked instead.

One gateway with short deadlines; each group of tests has upstreams of its own, so that none disturbs another's pool.
"""

import collections
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from servers import ANSWER, SECONDS, EndOfStream, Gateway, RawUpstream, Wire, answer, eventually, free_ports, get

HEADER, IDLE, BODY, WRITE, CONNECT, FIRST, BETWEEN, TOTAL = 0.4, 0.6, 0.4, 0.6, 0.4, 0.5, 0.5, 0.8

SETTINGS = """
access_log: "-"
timeouts: {{header: 400ms, idle: 600ms, body: 400ms, write: 600ms, connect: 400ms, first_byte: 500ms, between_bytes: 500ms,
  upstream_idle: 500ms}}
upstreams:
  one: {{targets: ['{one}'], keepalive: 0}}
  pool: {{targets: ['{pool}']}}
  dead: {{targets: ['127.0.0.1:{dead}']}}
  hole: {{targets: ['{hole}']}}
  some-dead: {{targets: ['127.0.0.1:{dead}', '{live}'], keepalive: 0}}
  some-hole: {{targets: ['{hole}', '{live}'], keepalive: 0}}
  left-right: {{targets: ['{left}', '{right}'], keepalive: 0}}
  narrow: {{targets: ['{narrow}'], max_connections: 1, max_pending: 1}}
  weighted: {{targets: [{{address: '{a}', weight: 3}}, {{address: '{b}', weight: 1}}]}}
  hashed: {{targets: ['{a}', '{b}', '{c}'], balance: consistent_hash, hash_on: 'header:X-User'}}
  least: {{targets: ['{left}', '{right}'], balance: least_connections, keepalive: 0}}
routes:
  - {{path: /one/total, upstream: one, timeouts: {{total: 800ms, first_byte: 5s, between_bytes: 5s}}}}
  - {{path: /left-right/never, upstream: left-right, retries: false}}
  - {{path: /one, upstream: one}}
  - {{path: /pool, upstream: pool}}
  - {{path: /dead, upstream: dead}}
  - {{path: /hole, upstream: hole}}
  - {{path: /some-dead, upstream: some-dead}}
  - {{path: /some-hole, upstream: some-hole}}
  - {{path: /left-right, upstream: left-right}}
  - {{path: /narrow, upstream: narrow, timeouts: {{first_byte: 5s}}}}
  - {{path: /weighted, upstream: weighted}}
  - {{path: /hashed, upstream: hashed}}
  - {{path: /least, upstream: least}}
"""

POST = "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n"


def post(path: str, length: int) -> bytes:
    return POST.format(path, length).encode()


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, RawUpstream]]:
    made = {name: RawUpstream() for name in ("one", "pool", "live", "left", "right", "narrow", "a", "b", "c")}
    made["hole"] = RawUpstream(backlog=0)
    for name in ("a", "b", "c"):
        made[name].serve(_named(name.encode()))
    yield made
    for upstream in made.values():
        upstream.close()


def _named(name: bytes) -> Callable[[Wire], None]:
    def handle(wire: Wire) -> None:
        while True:
            wire.read_request()
            wire.send(answer(name))

    return handle


@pytest.fixture(scope="module")
def full_backlog(targets: dict[str, RawUpstream]) -> Iterator[None]:
    """Connections nobody accepts, until the kernel ignores further ones: connecting there hangs."""
    with contextlib.ExitStack() as held:
        for _ in range(4):
            sock = held.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", targets["hole"].port))
        yield


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], targets: dict[str, RawUpstream], full_backlog: None) -> Gateway:
    addresses = {name: upstream.address for name, upstream in targets.items()}
    return one_gateway(SETTINGS.format(dead=free_ports(1)[0], **addresses))


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Wire]:
    gateway.access.clear()
    with gateway.connect() as wire:
        yield wire


@contextlib.contextmanager
def taking(at_least: float, at_most: float = 3.0) -> Iterator[None]:
    """The timer wheel may fire within the millisecond; the machine may be busy."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert at_least - 0.02 <= took <= at_least + at_most, took


# --- clients ---


def test_silent_client_is_closed_without_a_word(client: Wire) -> None:
    with taking(HEADER):
        assert client.ended()


def test_idle_client_is_closed(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/weighted"))
    client.read_response()
    with taking(IDLE):
        assert client.ended()


@pytest.mark.parametrize("drip", [False, True])
def test_slow_header(client: Wire, gateway: Gateway, drip: bool) -> None:
    with taking(HEADER):
        stop = threading.Event()
        client.send(b"GET /one HTTP/1.1\r\nX: ")

        def feed() -> None:
            with contextlib.suppress(OSError):
                while drip and not stop.wait(0.05):
                    client.send(b"x")

        feeder = threading.Thread(target=feed)
        feeder.start()
        got = client.read_response()
        stop.set()
        feeder.join(SECONDS)
    assert (got.status, got["connection"]) == (408, "close")
    assert gateway.next_access()["error"] == "header_timeout"


@pytest.mark.parametrize(
    "head", [post("/one/b", 100), b"POST /one/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]
)
def test_body_that_stops(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream], head: bytes) -> None:
    client.send(head)
    with targets["one"].accept() as target:
        with taking(BODY):
            got = client.read_response()
        assert got.status == 408
        with pytest.raises(EndOfStream):
            target.read_request()
    line = gateway.access_of("/one/b")
    assert (line["status"], line["error"]) == (408, "body_timeout")


def test_client_that_half_closes_in_its_header(client: Wire) -> None:
    client.send(b"GET /one HTTP/1.1\r\n")
    client.finish()
    assert client.ended()


def test_client_that_half_closes_in_its_body(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    client.send(post("/one/half", 10) + b"123")
    with targets["one"].accept() as target:
        target.read_head()
        client.finish()
        assert target.read_rest() in (b"", b"123")
    assert client.ended()
    line = gateway.access_of("/one/half")
    assert (line["status"], line["error"]) == (499, "client_closed")


def test_client_that_half_closes_behind_its_request_is_answered(client: Wire, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/one"))
    client.finish()
    with targets["one"].accept() as target:
        target.read_head()
        target.send(ANSWER)
    assert client.read_response().body == b"ok"
    assert client.ended()


def test_client_that_resets_ends_the_exchange(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/one/total/reset"))
    with targets["one"].accept() as target:
        target.read_head()
        client.reset()
        assert target.ended()
    line = gateway.access_of("/one/total/reset")
    assert (line["status"], line["error"]) == (499, "client_closed")


def test_client_that_never_reads(gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    gateway.access.clear()
    with gateway.connect(receive_buffer=4096) as client:
        client.send(get("/one/unread"))
        target = targets["one"].accept()
        target.read_head()
        with taking(WRITE), contextlib.suppress(OSError):
            target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000_000)
        target.close()
        line = gateway.access_of("/one/unread")
        assert (line["status"], line["error"]) == (200, "write_timeout")


# --- targets ---


def test_first_byte(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/one/mute"))
    with targets["one"].accept() as target, taking(FIRST):
        got = client.read_response()
        assert target.read_request().start == "GET /one/mute HTTP/1.1"
        assert target.ended()
    assert got.status == 504
    assert got.problem["type"].endswith("answer-timeout")
    assert got["connection"] is None, "it is not the client's fault"
    assert gateway.access_of("/one/mute")["error"] == "first_byte_timeout"


def test_between_bytes(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/one/pause"))
    with targets["one"].accept() as target:
        target.read_request()
        target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        with taking(BETWEEN):
            assert client.was_reset()
        assert target.ended()
    assert client.received.endswith(b"half")
    line = gateway.access_of("/one/pause")
    assert (line["status"], line["error"]) == (200, "answer_cut")


def test_between_bytes_counts_pauses_only(client: Wire, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/one"))
    pause = threading.Event()
    with targets["one"].accept() as target:
        target.read_request()
        target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            pause.wait(BETWEEN / 3)
            target.send(b"x")
        assert client.read_response().body == b"xxxxxx"


@pytest.mark.parametrize("begun", [False, True])
def test_total(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream], begun: bool) -> None:
    client.send(get("/one/total"))
    with targets["one"].accept() as target, taking(TOTAL):
        target.read_request()
        if begun:
            target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            assert client.was_reset()
        else:
            assert client.read_response().status == 504
        assert target.ended()
    assert gateway.access_of("/one/total")["error"] == ("answer_cut" if begun else "total_timeout")


def test_target_that_never_reads(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    size = 100_000_000
    client.send(post("/one/deaf", size))

    def send() -> None:
        with contextlib.suppress(OSError):
            client.send(b"x" * size)

    sender = threading.Thread(target=send)
    sender.start()
    with targets["one"].accept():
        got = client.read_response()
    assert got.status == 504
    client.close()
    sender.join(SECONDS)
    assert gateway.access_of("/one/deaf")["error"] == "send_timeout"


def test_slow_upload_is_no_fault_of_the_target(client: Wire, targets: dict[str, RawUpstream]) -> None:
    """Longer than first_byte and between_bytes, with a piece before the body's own deadline each time."""
    client.send(post("/one", 8))
    pause = threading.Event()
    with targets["one"].accept() as target:
        for _ in range(8):
            pause.wait(BODY / 2)
            client.send(b"x")
        assert target.read_request().body == b"x" * 8
        target.send(ANSWER)
        assert client.read_response().body == b"ok"


def test_connect_timeout(client: Wire, gateway: Gateway) -> None:
    with taking(CONNECT):
        client.send(get("/hole"))
        got = client.read_response()
    assert got.status == 504
    assert got.problem["type"].endswith("connect-timeout")
    line = gateway.access_of("/hole")
    assert line["error"] == "connect_timeout"
    assert line["upstream"].startswith("hole/127.0.0.1:")


def test_all_targets_down(client: Wire, gateway: Gateway) -> None:
    client.send(get("/dead"))
    got = client.read_response()
    assert got.status == 502
    assert got.problem["type"].endswith("connect-failed")
    assert gateway.access_of("/dead")["error"] == "connect"
    states = {upstream["name"]: upstream["targets"] for upstream in gateway.get("/upstreams")[1]}
    assert states["dead"][0]["health"] == "down"


# --- retries ---


@pytest.mark.parametrize("path", ["/some-dead", "/some-hole"])
def test_connect_failure_goes_on_to_the_next_target(
    gateway: Gateway, targets: dict[str, RawUpstream], path: str
) -> None:
    """Also for POST: nothing of it has been sent anywhere."""
    gateway.access.clear()
    tries = []
    for _ in range(2):
        with gateway.connect() as client:
            client.send(post(path, 4) + b"body")
            with targets["live"].accept() as target:
                assert target.read_request().body == b"body"
                target.send(ANSWER)
                assert client.read_response().status == 200
        tries.append(gateway.access_of(path).get("tries", 1))
    assert sorted(tries) == [1, 2]


def pooled(client: Wire, upstream: RawUpstream) -> Wire:
    """A connection that has served a request of this client and waits in the pool."""
    client.send(get("/pool"))
    target = upstream.accept()
    target.read_request()
    target.send(ANSWER)
    assert client.read_response().body == b"ok"
    return target


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "QUERY"])
def test_stale_connection_is_replaced(
    client: Wire, gateway: Gateway, targets: dict[str, RawUpstream], method: str, how: str
) -> None:
    stale = pooled(client, targets["pool"])
    before = gateway.figures()["upstream_stale_retries_total"]
    client.send(get("/pool", method=method))
    stale.read_request()
    getattr(stale, how)()
    with targets["pool"].accept() as target:
        assert target.read_request().start == f"{method} /pool HTTP/1.1"
        target.send(answer(b"ok", "Connection: close"))
        assert client.read_response(method).status == 200
    assert gateway.figures()["upstream_stale_retries_total"] == before + 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        post("/pool/2", 4) + b"body",
        post("/pool/2", 0),
        post("/pool/2", 4).replace(b"POST", b"PUT") + b"body",
        b"PUT /pool/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        get("/pool/2", method="LOCK"),
    ],
    ids=["POST", "empty POST", "PUT with its body sent", "PUT with its last chunk sent", "unknown method"],
)
def test_stale_connection_is_an_error_where_repeating_is_not_safe(
    client: Wire, gateway: Gateway, targets: dict[str, RawUpstream], request_bytes: bytes
) -> None:
    stale = pooled(client, targets["pool"])
    client.send(request_bytes)
    stale.read_request()
    stale.close()
    got = client.read_response()
    assert got.status == 502
    assert gateway.access_of("/pool/2")["error"] == "upstream_closed"
    assert targets["pool"].nobody_came()


def test_pooled_connection_is_closed_when_idle(client: Wire, targets: dict[str, RawUpstream]) -> None:
    with taking(0.5):
        assert pooled(client, targets["pool"]).ended()


def test_pooled_connection_closed_by_the_target_is_noticed(
    client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]
) -> None:
    pooled(client, targets["pool"]).close()
    figure = f'endpoint_open{{endpoint="{targets["pool"].address}",upstream="pool"}}'
    eventually(lambda: gateway.figures()[figure] == 0)
    client.send(post("/pool", 0))
    with targets["pool"].accept() as target:
        target.read_request()
        target.send(answer(b"ok", "Connection: close"))
        assert client.read_response().status == 200


def accept_either(targets: dict[str, RawUpstream]) -> tuple[str, Wire]:
    """The next connection to left or right."""
    import select

    listeners = {targets[name].listener: name for name in ("left", "right")}
    ready, _, _ = select.select(list(listeners), [], [], SECONDS)
    name = listeners[ready[0]]
    return name, targets[name].accept()


def test_retry_at_another_target(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/left-right/x"))
    first, target = accept_either(targets)
    target.read_request()
    target.close()
    second, target = accept_either(targets)
    assert second != first
    target.read_request()
    target.send(ANSWER)
    target.close()
    assert client.read_response().status == 200
    line = gateway.access_of("/left-right/x")
    assert line["tries"] == 2
    assert line["upstream"] == f"left-right/{targets[second].address}"


def test_retries_have_an_end(client: Wire, gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    client.send(get("/left-right/x"))
    for _ in range(2):
        _, target = accept_either(targets)
        target.read_request()
        target.close()
    assert client.read_response().status == 502
    assert targets["left"].nobody_came()
    assert targets["right"].nobody_came()


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("/left-right/never", b""),
        ("/left-right/x", b"HTTP/1.1 200 O"),
        ("/left-right/x", b"HTTP/1.1 103 Hints\r\n\r\n"),
    ],
    ids=["route forbids", "answer begun", "interim answer sent"],
)
def test_no_retry(client: Wire, targets: dict[str, RawUpstream], path: str, reply: bytes) -> None:
    client.send(get(path))
    _, target = accept_either(targets)
    target.read_request()
    target.send(reply)
    target.close()
    assert client.read_response().status == 502
    assert targets["left"].nobody_came()
    assert targets["right"].nobody_came()


# --- limits ---


def test_waiting_line(gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    gateway.access.clear()
    with gateway.connect() as first, gateway.connect() as second, gateway.connect() as third:
        first.send(get("/narrow/1"))
        target = targets["narrow"].accept()
        target.read_request()
        second.send(get("/narrow/2"))
        eventually(lambda: gateway.figures()["waiting_requests"] == 1)
        third.send(get("/narrow/3"))
        got = third.read_response()
        assert (got.status, got["retry-after"]) == (503, "1")
        assert got.problem["type"].endswith("overloaded")
        assert gateway.access_of("/narrow/3")["error"] == "overload"
        target.send(ANSWER)
        assert first.read_response().status == 200
        assert target.read_request().target == "/narrow/2", "the same connection serves who waited"
        with taking(CONNECT):  # and who waits too long is told so
            third.send(get("/narrow/4"))
            assert third.read_response().status == 504
        assert gateway.access_of("/narrow/4")["error"] == "connect_timeout"
        target.send(answer(b"ok", "Connection: close"))
        assert second.read_response().status == 200
        assert targets["narrow"].nobody_came()
        assert target.ended()


def test_who_waits_may_leave(gateway: Gateway, targets: dict[str, RawUpstream]) -> None:
    with gateway.connect() as first, gateway.connect() as second:
        first.send(get("/narrow/1"))
        with targets["narrow"].accept() as target:
            target.read_request()
            second.send(get("/narrow/2"))
            eventually(lambda: gateway.figures()["waiting_requests"] == 1)
            second.reset()
            eventually(lambda: gateway.figures()["waiting_requests"] == 0)
            target.send(answer(b"ok", "Connection: close"))
            assert first.read_response().status == 200
            assert target.ended()


# --- balancing ---


def test_weights(client: Wire) -> None:
    counted: collections.Counter[bytes] = collections.Counter()
    for _ in range(40):
        client.send(get("/weighted"))
        counted[client.read_response().body] += 1
    assert counted == {b"a": 30, b"b": 10}


def test_consistent_hash(client: Wire) -> None:
    places: dict[int, set[bytes]] = collections.defaultdict(set)
    for user in range(30):
        for _ in range(2):
            client.send(get("/hashed", f"X-User: {user}"))
            places[user].add(client.read_response().body)
    assert all(len(found) == 1 for found in places.values()), "a user stays at one target"
    assert set().union(*places.values()) == {b"a", b"b", b"c"}


def test_least_connections(gateway: Gateway, client: Wire, targets: dict[str, RawUpstream]) -> None:
    with gateway.connect() as holder:
        holder.send(get("/least"))
        busy, held = accept_either(targets)
        held.read_request()
        for _ in range(4):
            client.send(get("/least"))
            name, target = accept_either(targets)
            assert name != busy
            target.read_request()
            target.send(ANSWER)
            target.close()
            assert client.read_response().status == 200
        held.send(ANSWER)
        assert holder.read_response().status == 200
        held.close()


# --- names ---


def test_name_that_is_not_found(
    start_gateway: Callable[..., Gateway], make_upstream: Callable[..., RawUpstream]
) -> None:
    good = make_upstream().serve()
    gateway = start_gateway(
        f"""
access_log: "-"
upstreams: {{bad: {{targets: ['nowhere.invalid:80']}}, good: {{targets: ['{good.address}']}}}}
routes: [{{path: /bad, upstream: bad}}, {{path: /, upstream: good}}]
""",
        ready=False,
    )
    gateway.wait_log("Listening at")
    status, body = gateway.get("/readyz")
    assert status == 503
    assert "nowhere.invalid:80" in body["reasons"][0]
    got = gateway.ask(get("/bad"))
    assert (got.status, got.problem["type"]) == (503, "urn:fastcore:problem:no-target")
    assert gateway.access_of("/bad")["error"] == "no_target"
    assert gateway.ask(get("/")).body == b"ok", "other upstreams are served meanwhile"
