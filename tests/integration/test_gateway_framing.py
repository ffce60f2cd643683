"""What the gateway makes of well-formed messages, in both directions, seen on the wire on both sides.

One gateway for all tests; its upstream's connections are taken by hand, so that a test says what comes when.
"""

import base64
import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator

import pytest
from servers import ANSWER, SECONDS, EndOfStream, Gateway, Message, RawUpstream, Wire, answer, get

SETTINGS = """
server_name: gw1
access_log: "-"
trusted_proxies: [127.0.0.2]
forwarded: {{forwarded: true}}
limits: {{header_bytes: 32KB, url_bytes: 8KB}}
upstreams:
  once: {{targets: ['{address}'], keepalive: 0}}
  pool: {{targets: ['{pooled}']}}
  named: {{targets: ['localhost:{port}'], keepalive: 0}}
routes:
  - {{name: post-only, exact: /only-post, methods: [POST, PUT], upstream: once}}
  - {{name: strip, path: /strip, upstream: once, rewrite: {{strip_prefix: /strip, add_prefix: /new}}}}
  - {{name: bare, path: /bare, upstream: once, rewrite: {{strip_prefix: /bare}}}}
  - {{name: user, template: '/users/{{id}}/to/{{rest*}}', upstream: once, rewrite: {{path: '/u/{{rest}}/of/{{id}}'}}}}
  - {{name: fixed, path: /fixed, upstream: once, rewrite: {{host: 'fixed.test:81'}}}}
  - {{name: target, path: /target, upstream: named, rewrite: {{host: upstream}}}}
  - {{name: environment, path: /env, upstream: once, headers: {{X-Env: {{prefix: pre}}}}, query: {{v: {{regex: '[0-9]+'}}}},
     rewrite: {{path: /matched}}}}
  - {{name: absent, path: /env, upstream: once, headers: {{X-Env: {{present: false}}}}, rewrite: {{path: /without}}}}
  - {{name: small, path: /small, upstream: once, limits: {{body_bytes: 10}}}}
  - {{name: pooled, path: /pool, upstream: pool}}
  - {{name: rest, path: /, upstream: once, headers: {{X-Nothing-Else: {{present: false}}}}}}
"""

TRUSTED = "127.0.0.2"


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    made = RawUpstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def pooled() -> Iterator[RawUpstream]:
    made = RawUpstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], upstream: RawUpstream, pooled: RawUpstream) -> Gateway:
    return one_gateway(SETTINGS.format(address=upstream.address, pooled=pooled.address, port=upstream.port))


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Wire]:
    with gateway.connect() as wire:
        yield wire


@pytest.fixture(autouse=True)
def nothing_left(gateway: Gateway, upstream: RawUpstream) -> Iterator[None]:
    yield
    assert upstream.nobody_came()
    gateway.quiet()


def exchange(client: Wire, upstream: RawUpstream, request: bytes, reply: bytes = ANSWER) -> tuple[Message, Message]:
    """The request as the upstream saw it and the answer as the client did."""
    client.send(request)
    with upstream.accept() as target:
        seen = target.read_request()
        target.send(reply)
        method = request.split(b" ")[0].decode()
        return seen, client.read_response(method)


# --- answers without a body ---


def test_head_has_the_fields_and_no_body(client: Wire, upstream: RawUpstream) -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX-A: 1\r\n\r\n"
    seen, got = exchange(client, upstream, get("/h", method="HEAD"), reply)
    assert seen.start == "HEAD /h HTTP/1.1"
    assert (got.status, got["content-length"], got["x-a"]) == (200, "5000", "1")
    _, got = exchange(client, upstream, get("/again"))
    assert got.body == b"ok", "the connection must be in step after HEAD"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_body_status(client: Wire, upstream: RawUpstream, status: str) -> None:
    reply = f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode()
    _, got = exchange(client, upstream, get(), reply)
    assert got["etag"] == "x"
    assert got["transfer-encoding"] is None
    assert got["content-length"] is None
    assert exchange(client, upstream, get())[1].body == b"ok"


def test_304_may_say_how_long_the_200_would_be(client: Wire, upstream: RawUpstream) -> None:
    _, got = exchange(client, upstream, get(), b"HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n")
    assert got["content-length"] == "70"
    assert exchange(client, upstream, get())[1].body == b"ok"


def test_empty_body(client: Wire, upstream: RawUpstream) -> None:
    seen, got = exchange(client, upstream, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", answer(b""))
    assert seen["content-length"] == "0"
    assert got["content-length"] == "0"


# --- chunked ---

CHUNKED = b"3;ext=1\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nHost: evil\r\nX_Forwarded_For: 1\r\n\r\n"


def test_chunked_request_with_trailers(client: Wire, upstream: RawUpstream) -> None:
    seen, _ = exchange(client, upstream, b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n" + CHUNKED)
    assert seen["transfer-encoding"] == "chunked"
    assert seen.body == b"abc0123456789abcdef"
    assert seen.trailers == [("X-Sum", "7")], "framing, routing and forwarding must not come in behind the body"


@pytest.mark.parametrize("te", [True, False])
def test_chunked_answer_with_trailers(client: Wire, upstream: RawUpstream, te: bool) -> None:
    lines = ["TE: trailers, deflate", "Connection: TE"] if te else []
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + CHUNKED
    seen, got = exchange(client, upstream, get("/t", *lines), reply)
    assert seen["te"] == ("trailers" if te else None)
    assert seen["connection"] == ("TE" if te else None)
    assert got.body == b"abc0123456789abcdef"
    assert got.trailers == ([("X-Sum", "7")] if te else [])
    assert got["trailer"] == ("X-Sum" if te else None)
    assert exchange(client, upstream, get())[1].body == b"ok"


def test_chunked_answer_to_http10_ends_by_closing(client: Wire, upstream: RawUpstream) -> None:
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED
    _, got = exchange(client, upstream, get("/", "Connection: keep-alive", version="1.0"), reply)
    assert got["transfer-encoding"] is None
    assert got["connection"] == "close"
    assert got.body == b"abc0123456789abcdef"


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_close_delimited_answer(client: Wire, upstream: RawUpstream, version: str) -> None:
    client.send(get("/", version=version))
    target = upstream.accept()
    target.read_head()
    target.send(b"HTTP/1.1 200 OK\r\n\r\npart one,")
    head = client.read_head()
    assert head["transfer-encoding"] == ("chunked" if version == "1.1" else None)
    target.send(b" part two")
    target.close()
    assert client.read_body(head, to_close=True).body == b"part one, part two"
    if version == "1.1":
        assert exchange(client, upstream, get())[1].body == b"ok"


def test_close_delimited_answer_that_is_reset_is_cut(client: Wire, upstream: RawUpstream, gateway: Gateway) -> None:
    client.send(get("/cut"))
    target = upstream.accept()
    target.read_head()
    target.send(b"HTTP/1.0 200 OK\r\n\r\nhalf")
    head = client.read_head()
    assert client.read(9) == b"4\r\nhalf\r\n"
    target.reset()
    assert client.was_reset()
    assert head.status == 200
    assert gateway.access_of("/cut")["error"] == "answer_cut"


# --- HTTP/1.0 ---


def test_http10_is_closed_unless_it_asks(client: Wire, upstream: RawUpstream) -> None:
    _, got = exchange(client, upstream, get("/", "Connection: keep-alive", version="1.0"))
    assert got["connection"] == "keep-alive"
    seen, got = exchange(client, upstream, get("/", version="1.0"))
    assert seen["via"] == "1.0 gw1"
    assert got["connection"] == "close"
    assert got.start.startswith("HTTP/1.1 ")
    assert client.ended()


def test_http10_without_host(client: Wire, upstream: RawUpstream) -> None:
    seen, _ = exchange(client, upstream, b"GET /old HTTP/1.0\r\n\r\n")
    assert seen["host"] == ""
    assert seen["x-forwarded-host"] is None


def test_connection_close_is_kept_as_a_promise(client: Wire, upstream: RawUpstream) -> None:
    seen, got = exchange(client, upstream, get("/", "Connection: close"))
    assert seen["connection"] is None, "what the client wants is no business of the target"
    assert got["connection"] == "close"
    assert client.ended()


# --- many requests, pieces of requests ---


def test_pipelined_requests_are_answered_in_order(client: Wire, upstream: RawUpstream) -> None:
    client.send(b"".join(get(f"/p{i}") for i in range(5)))
    for i in range(5):
        with upstream.accept() as target:
            assert target.read_head().target == f"/p{i}"
            target.send(answer(str(i).encode()))
    assert [client.read_response().body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_pipelined_behind_a_body(client: Wire, upstream: RawUpstream) -> None:
    client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" + get("/b"))
    with upstream.accept() as target:
        assert target.read_request().body == b"body"
        target.send(ANSWER)
    with upstream.accept() as target:
        assert target.read_request().start == "GET /b HTTP/1.1"
        target.send(ANSWER)
    assert client.read_response().status == client.read_response().status == 200


def test_request_split_at_every_byte(gateway: Gateway, upstream: RawUpstream) -> None:
    request = (
        b"POST /s?q=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
    )
    with gateway.connect() as client:
        for at in range(1, len(request)):
            client.send(request[:at])
            client.send(request[at:])
            with upstream.accept() as target:
                seen = target.read_request()
                assert (seen.start, seen.body, seen.trailers) == ("POST /s?q=1 HTTP/1.1", b"abc", [("T", "1")]), at
                target.send(ANSWER)
            assert client.read_response().body == b"ok", at


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n2\r\nhe\r\n3;a\r\nllo\r\n0\r\nT: 1\r\n\r\n",
    ],
)
def test_answer_split_at_every_byte(gateway: Gateway, pooled: RawUpstream, reply: bytes) -> None:
    with gateway.connect() as client:
        target = None
        for at in range(1, len(reply)):
            client.send(get("/pool", "TE: trailers"))
            target = target or pooled.accept()
            target.read_request()
            target.send(reply[:at])
            target.send(reply[at:])
            got = client.read_response()
            assert (got.start, got["x-a"], got.body) == ("HTTP/1.1 200 Fine", "b", b"hello"), at
            assert [found.status for found in got.interim] == ([103] if b"103" in reply else [])
        assert pooled.nobody_came(), "one connection serves them all"
        target.close()


def test_answer_byte_by_byte(client: Wire, upstream: RawUpstream) -> None:
    client.send(get("/", "TE: trailers"))
    with upstream.accept() as target:
        target.read_request()
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n":
            target.send(bytes([byte]))
        got = client.read_response()
    assert (got.body, got.trailers) == (b"hello", [("T", "1")])


def test_answer_before_the_end_of_the_request(client: Wire, upstream: RawUpstream) -> None:
    client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegin")
    with upstream.accept() as target:
        target.read_head()
        target.send(answer(b"no", status="403 Forbidden"))
        got = client.read_response()
    assert (got.status, got["connection"]) == (403, "close")
    client.finish()
    assert client.ended()


def test_answer_of_a_target_that_stops_reading(gateway: Gateway, upstream: RawUpstream) -> None:
    """It refuses a large body, closes with bytes unread, and so resets: its answer must still arrive."""
    with gateway.connect() as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        target = upstream.accept()
        target.read_head()
        target.send(answer(b"no", "Connection: close", status="413 Content Too Large"))
        sender = threading.Thread(target=_send_all, args=(client, b"x" * 50_000_000))
        sender.start()
        target.close()
        got = client.read_response()
        assert (got.status, got.body) == (413, b"no")
    sender.join(SECONDS)


def _send_all(client: Wire, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.send(data)


# --- 1xx ---


def test_expect_100_continue_is_answered_by_the_target(client: Wire, upstream: RawUpstream) -> None:
    client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n")
    with upstream.accept() as target:
        assert target.read_head()["expect"] == "100-continue"
        assert client.pending() == b"", "nobody but the target may say 100"
        target.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.read_head().status == 100
        client.send(b"body")
        assert target.read(4) == b"body"
        target.send(ANSWER)
        assert client.read_response().body == b"ok"
    assert exchange(client, upstream, get())[1].status == 200


def test_expect_100_continue_refused_by_the_target(client: Wire, upstream: RawUpstream) -> None:
    client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    with upstream.accept() as target:
        target.read_head()
        target.send(answer(b"", status="417 Expectation Failed"))
        got = client.read_response()
    assert got.status == 417
    assert got["connection"] == "close", "the client may send the body or not: no next request can be told from it"


def test_interim_answers_pass(client: Wire, upstream: RawUpstream) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: y\r\n\r\n" * 2
    _, got = exchange(client, upstream, get("/hints"), b"HTTP/1.1 102 Processing\r\n\r\n" + hints + ANSWER)
    assert [found.status for found in got.interim] == [102, 103, 103]
    assert got.interim[1].fields == [("Link", "</a>")]


def test_interim_answers_do_not_go_to_http10(client: Wire, upstream: RawUpstream) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert exchange(client, upstream, get("/hints", version="1.0"), hints + ANSWER)[1].interim == []


def test_100_nobody_asked_for_is_dropped(client: Wire, upstream: RawUpstream) -> None:
    assert exchange(client, upstream, get(), b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER)[1].interim == []


def test_interim_answers_have_an_end(client: Wire, upstream: RawUpstream) -> None:
    _, got = exchange(client, upstream, get(), b"HTTP/1.1 102 Processing\r\n\r\n" * 33 + ANSWER)
    assert got.status == 502


# --- fields that end here ---


def test_hop_by_hop_fields_end_here(client: Wire, upstream: RawUpstream) -> None:
    request = get(
        "/", "Connection: X-Mine, close-it", "X-Mine: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
        "TE: gzip", "Upgrade-Insecure-Requests: 1", "X-Other: 2",
    )  # fmt: skip
    reply = answer(
        b"ok", "Connection: X-Theirs", "X-Theirs: 1", "Keep-Alive: timeout=9", "Proxy-Connection: x", "Upgrade: h2c",
        "X-Kept: 3", "Set-Cookie: a=1", "Set-Cookie: b=2",
    )  # fmt: skip
    seen, got = exchange(client, upstream, request, reply)
    for name in ("connection", "x-mine", "keep-alive", "proxy-connection", "te"):
        assert seen[name] is None, name
    assert (seen["x-other"], seen["upgrade-insecure-requests"]) == ("2", "1")
    for name in ("connection", "x-theirs", "keep-alive", "proxy-connection", "upgrade"):
        assert got[name] is None, name
    assert got["x-kept"] == "3"
    assert got.fields.all("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer x"), ("Cookie", "a=1"), ("Content-Type", "text/plain"), ("Host", "a.test"),
        ("Via", "1.1 other"), ("X-Forwarded-For", "10.0.0.9"), ("Forwarded", "for=10.0.0.9"),
        ("X-Forwarded-Port", "444"), ("X-Real-IP", "10.0.0.9"),
    ],
)  # fmt: skip
def test_connection_cannot_name_what_others_rely_on(
    gateway: Gateway, upstream: RawUpstream, name: str, value: str
) -> None:
    lines = [f"Connection: {name}"] + ([f"{name}: {value}"] if name != "Host" else [])
    with gateway.connect(TRUSTED) as client:
        seen, _ = exchange(client, upstream, get("/", *lines))
    assert any(value in found for found in seen.fields.all(name)), seen.fields


def test_via_is_added_on_both_sides(client: Wire, upstream: RawUpstream) -> None:
    seen, got = exchange(client, upstream, get("/", "Via: 1.0 first"), answer(b"ok", "Via: 1.1 last"))
    assert seen.fields.all("via") == ["1.0 first", "1.1 gw1"]
    assert got.fields.all("via") == ["1.1 last", "1.1 gw1"]


def test_a_loop_is_broken(client: Wire) -> None:
    client.send(get("/", *["Via: 1.1 gw1, 1.0 other"] * 9, "Via: 1.1 gw1"))
    got = client.read_response()
    assert got.status == 508
    assert got.problem["type"] == "urn:fastcore:problem:loop"


def test_date_is_added_when_missing(client: Wire, upstream: RawUpstream) -> None:
    assert exchange(client, upstream, get())[1]["date"].endswith(" GMT")
    assert exchange(client, upstream, get(), answer(b"ok", "Date: then"))[1]["date"] == "then"


# --- who the client is ---

FORGED = (
    "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1",
    "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Request-Id: forged",
)  # fmt: skip


def test_untrusted_forwarding_fields_are_replaced(client: Wire, upstream: RawUpstream, gateway: Gateway) -> None:
    shadows = ("X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "x_real_ip: 6.6.6.6", "X_Forwarded_Proto: https")
    seen, _ = exchange(client, upstream, get("/untrusted", *FORGED, *shadows))
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == "a.test"
    assert seen["forwarded"] == 'for=127.0.0.1;proto=http;host="a.test"'
    assert "6.6.6.6" not in str(seen.fields)
    assert "_" not in "".join(name for name, _ in seen.fields)
    assert seen["x-forwarded-port"] is None
    line = gateway.access_of("/untrusted")
    assert line["client"] == "127.0.0.1"
    assert line["request_id"] == seen["x-request-id"] != "forged"


def test_trusted_forwarding_fields_are_extended(gateway: Gateway, upstream: RawUpstream) -> None:
    lines = [
        "X-Forwarded-For: 6.6.6.6, 192.0.2.1",
        "X-Forwarded-For: 127.0.0.2",
        *FORGED[1:5],
        "X-Request-Id: theirs-1",
    ]
    with gateway.connect(TRUSTED) as client:
        seen, _ = exchange(client, upstream, get("/trusted", *lines))
    assert seen["x-forwarded-for"] == "6.6.6.6, 192.0.2.1, 127.0.0.2, 127.0.0.2"
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-host"] == "evil"
    assert seen.fields.all("forwarded") == ["for=6.6.6.6", 'for=127.0.0.2;proto=http;host="a.test"']
    assert seen["x-request-id"] == "theirs-1"
    line = gateway.access_of("/trusted")
    assert line["client"] == "192.0.2.1", "the rightmost address that is no proxy of ours"
    assert line["request_id"] == "theirs-1"


@pytest.mark.parametrize("bad", ['a"b', "a\\b", "x" * 65, "", "sp ace"])
def test_a_request_id_that_cannot_be_shown_is_replaced(gateway: Gateway, upstream: RawUpstream, bad: str) -> None:
    with gateway.connect(TRUSTED) as client:
        seen, _ = exchange(client, upstream, get("/", f"X-Request-Id: {bad}"))
    assert seen["x-request-id"] != bad
    assert len(seen["x-request-id"]) == 16


# --- targets ---


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/", "/"),
        ("/a/./b/../c?x=/../y", "/a/c?x=/../y"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/strip/../only-x", "/only-x"),
        ("/%7Euser/%41", "/~user/A"),
        ("/a%2fb", "/a%2Fb"),
        ("/?", "/?"),
        ("/strip/x?q", "/new/x?q"),
        ("/strip", "/new"),
        ("/bare", "/"),
        ("/bare/x", "/x"),
        ("/users/7/to/a/b?q=1", "/u/a/b/of/7?q=1"),
        ("http://other.test/abs?x", "/abs?x"),
        ("http://other.test", "/"),
    ],
)
def test_path_sent_on(client: Wire, upstream: RawUpstream, sent: str, seen: str) -> None:
    assert exchange(client, upstream, get(sent))[0].target == seen


@pytest.mark.parametrize("sent", ["/a%00b", "/%", "/%zz"])
def test_paths_that_are_refused(client: Wire, sent: str) -> None:
    client.send(get(sent))
    assert client.read_response().status == 400


def test_absolute_form_overrides_host(client: Wire, upstream: RawUpstream) -> None:
    seen, _ = exchange(client, upstream, get("http://Other.test:8080/x", "Host: a.test"))
    assert seen["host"].lower() == "other.test:8080"


def test_host_as_settings_say(client: Wire, upstream: RawUpstream) -> None:
    assert exchange(client, upstream, get("/x", "Host: A.test:81"))[0]["host"] == "A.test:81"
    assert exchange(client, upstream, get("/fixed"))[0]["host"] == "fixed.test:81"
    seen, _ = exchange(client, upstream, get("/target"))
    assert seen["host"] == f"localhost:{upstream.port}", "the name in the settings, not the address it stands for"
    assert seen["x-forwarded-host"] == "a.test"


def test_conditions(client: Wire, upstream: RawUpstream) -> None:
    assert exchange(client, upstream, get("/env?v=12", "X-Env: preprod"))[0].target == "/matched?v=12"
    assert exchange(client, upstream, get("/env?v=12"))[0].target == "/without?v=12"
    assert exchange(client, upstream, get("/env?v=x", "X-Env: preprod"))[0].target == "/env?v=x"


def test_405_names_the_methods(client: Wire) -> None:
    client.send(get("/only-post", "X-Nothing-Else: 1", method="DELETE"))
    got = client.read_response()
    assert (got.status, got["allow"]) == (405, "POST, PUT")
    assert got.problem["status"] == 405


def test_404(client: Wire, gateway: Gateway) -> None:
    client.send(get("/nowhere", "X-Nothing-Else: 1") * 2)
    for _ in range(2):
        got = client.read_response()
        assert got.problem == {
            "type": "urn:fastcore:problem:no-route",
            "title": "Not Found",
            "status": 404,
            "detail": "no route matches this host and path",
            "request_id": got.problem["request_id"],
        }
        line = gateway.access_of("/nowhere")
        assert (line["status"], line["error"], line["request_id"]) == (404, "no_route", got.problem["request_id"])


def test_options_asterisk_and_max_forwards(client: Wire, upstream: RawUpstream) -> None:
    client.send(get("*", method="OPTIONS") + get("/x", "Max-Forwards: 0", method="OPTIONS"))
    for _ in range(2):
        got = client.read_response()
        assert (got.status, got["allow"] is not None) == (204, True)
    seen, _ = exchange(client, upstream, get("/x", "Max-Forwards: 5", method="OPTIONS"))
    assert seen["max-forwards"] == "4"
    seen, _ = exchange(client, upstream, get("/x", "Max-Forwards: many", method="OPTIONS"))
    assert seen["max-forwards"] is None


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_that_are_not_taken(client: Wire, method: str) -> None:
    client.send(get("a.test:443" if method == "CONNECT" else "/", method=method))
    got = client.read_response()
    assert got.status == 405
    assert got["allow"]


def test_unknown_methods_pass(client: Wire, upstream: RawUpstream) -> None:
    assert exchange(client, upstream, get("/", method="PROPFIND"))[0].start == "PROPFIND / HTTP/1.1"


def test_body_limit_of_a_route(gateway: Gateway, upstream: RawUpstream) -> None:
    assert gateway.ask(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n").status == 413
    with gateway.connect() as client:
        client.send(
            b"POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"
        )
        assert client.read_response().status == 413
        with upstream.accept() as target, pytest.raises(EndOfStream):
            target.read_request()


# --- sizes ---


def test_large_headers_pass(client: Wire, upstream: RawUpstream) -> None:
    big = "v" * 20_000
    seen, got = exchange(client, upstream, get("/", f"X-Big: {big}"), answer(b"ok", f"X-Big: {big}"))
    assert seen["x-big"] == got["x-big"] == big


def test_too_large_a_header_in_an_answer(client: Wire, upstream: RawUpstream) -> None:
    assert exchange(client, upstream, get(), answer(b"ok", f"X-Big: {'v' * 40_000}"))[1].status == 502
    assert exchange(client, upstream, get(), answer(b"ok", *["X: y"] * 300))[1].status == 502


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_large_bodies_pass_both_ways(gateway: Gateway, upstream: RawUpstream, version: str) -> None:
    body = bytes(range(256)) * 40_000
    with gateway.connect() as client:
        sender = threading.Thread(
            target=client.send,
            args=(f"PUT / HTTP/{version}\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body,),
        )
        sender.start()
        target = upstream.accept()
        assert target.read_request().body == body
        sender.join(SECONDS)
        parts = b"".join(
            b"%x\r\n%b\r\n" % (len(body[i : i + 9999]), body[i : i + 9999]) for i in range(0, len(body), 9999)
        )
        sender = threading.Thread(
            target=target.send, args=(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n",)
        )
        sender.start()
        assert client.read_response().body == body
        sender.join(SECONDS)
        target.close()


# --- tunnels ---

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = get(
    "/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}"
)


def _frame(payload: bytes, mask: bytes = b"") -> bytes:
    head = bytes([0x82, len(payload) | (0x80 if mask else 0)]) + mask
    return head + (bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if mask else payload)


def _accept_websocket(target: Wire) -> Message:
    seen = target.read_head()
    keyed = seen["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    made = base64.b64encode(hashlib.sha1(keyed).digest())  # noqa: S324 (RFC 6455)
    target.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + made + b"\r\n\r\n"
    )
    return seen


def _echo_one(target: Wire) -> None:
    head = target.read(2)
    mask = target.read(4)
    payload = target.read(head[1] & 0x7F)
    target.send(_frame(bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))))


def test_websocket(client: Wire, upstream: RawUpstream, gateway: Gateway) -> None:
    client.send(UPGRADE)
    target = upstream.accept()
    seen = _accept_websocket(target)
    assert (seen["connection"].lower(), seen["upgrade"]) == ("upgrade", "websocket")
    got = client.read_response()
    assert (got.status, got["upgrade"]) == (101, "websocket")
    assert got["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for payload in (b"hello", b"", b"x" * 125):
        client.send(_frame(payload, b"mask"))
        _echo_one(target)
        assert client.read(2 + len(payload)) == _frame(payload)
    target.send(b"last words")
    target.close()
    assert client.read_rest() == b"last words"
    line = gateway.access_of("/ws")
    assert line["status"] == 101
    assert "error" not in line


def test_bytes_before_101_wait_for_it(client: Wire, upstream: RawUpstream) -> None:
    client.send(UPGRADE + b"early")
    with upstream.accept() as target:
        target.read_head()
        assert target.pending() == b""
        target.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert client.read_response().status == 101
        assert target.read(5) == b"early"


def test_bytes_before_a_refusal_are_a_request(client: Wire, upstream: RawUpstream) -> None:
    """The upgrade smuggle: what follows is HTTP as long as nobody said 101."""
    client.send(UPGRADE + get("/innocent"))
    with upstream.accept() as target:
        target.read_head()
        target.send(answer(b"no", status="426 Upgrade Required"))
        assert client.read_response().status == 426
        assert target.pending() == b""
    with upstream.accept() as target:
        assert target.read_head().target == "/innocent"
        target.send(ANSWER)
    assert client.read_response().status == 200


def test_426_offers_its_upgrade(client: Wire, upstream: RawUpstream) -> None:
    reply = answer(b"", "Upgrade: websocket", "Connection: upgrade", status="426 Upgrade Required")
    got = exchange(client, upstream, get(), reply)[1]
    assert (got["upgrade"], got["connection"]) == ("websocket", "upgrade")


def test_101_nobody_asked_for(client: Wire, upstream: RawUpstream) -> None:
    reply = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert exchange(client, upstream, get(), reply)[1].status == 502


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        get("/", "Connection: Upgrade", "Upgrade: websocket, h2c"),
        get("/", "Connection: Upgrade", "Upgrade: websocket", version="1.0"),
        get("/", "Upgrade: websocket"),
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
    ],
    ids=["h2c", "list with h2c", "HTTP/1.0", "not in Connection", "with a body"],
)
def test_upgrades_that_are_not_passed_on(client: Wire, upstream: RawUpstream, request_bytes: bytes) -> None:
    seen, _ = exchange(client, upstream, request_bytes)
    assert (seen["upgrade"], seen["connection"], seen["http2-settings"]) == (None, None, None)


def test_tunnel_passes_the_clients_end_behind_its_bytes(client: Wire, upstream: RawUpstream) -> None:
    """More than the queues hold, then FIN: all of it arrives before the end does, and the target may still answer."""
    client.send(UPGRADE)
    target = upstream.accept()
    _accept_websocket(target)
    assert client.read_response().status == 101
    data = bytes(range(256)) * 60_000

    def send() -> None:
        client.send(data)
        client.finish()

    sender = threading.Thread(target=send)
    sender.start()
    assert target.read_rest() == data
    sender.join(SECONDS)
    target.send(b"bye")
    target.close()
    assert client.read_rest() == b"bye"


def test_tunnel_is_over_when_the_client_is_gone(client: Wire, upstream: RawUpstream) -> None:
    client.send(UPGRADE)
    with upstream.accept() as target:
        _accept_websocket(target)
        assert client.read_response().status == 101
        client.reset()
        assert target.ended()
