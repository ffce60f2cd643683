"""fastcore.http: events, heads, headers, limits, leniencies, and every refused message of http_cases."""

import gc

import pytest
from http_cases import REQUESTS, RESPONSES, Case

from fastcore import http
from fastcore.http import (
    Data,
    EndOfMessage,
    Event,
    LocalProtocolError,
    RemoteProtocolError,
    Request,
    RequestParser,
    Response,
    ResponseParser,
)

GET = b"GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\naccept: text/html\r\n\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;e=f\r\n!\r\n0\r\nSum: 9\r\n\r\n"
)
LENGTH = b"PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nworld"


def plain(events: list[Event]) -> list[tuple[object, ...]]:
    """Events as comparable tuples, pieces of body joined."""
    out: list[tuple[object, ...]] = []
    for event in events:
        if isinstance(event, Data):
            assert event.data
            if out and out[-1][0] == "data":
                out[-1] = ("data", out[-1][1] + event.data)  # type: ignore[operator]
            else:
                out.append(("data", event.data))
        elif isinstance(event, EndOfMessage):
            out.append(("end", event.trailers.items()))
        elif isinstance(event, Request):
            out.append(("request", event.method, event.target, event.headers.items()))
        else:
            out.append(("response", event.status, event.reason, event.headers.items()))
    return out


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 61, 1000])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_pieces_make_no_difference(size: int, wrap: type) -> None:
    stream = (GET + CHUNKED + LENGTH) * 3
    parser = RequestParser()
    events: list[Event] = []
    for piece in cut(stream, size):
        events += parser.feed(wrap(piece))
    assert plain(events) == 3 * [
        ("request", "GET", b"/a?b", [(b"Host", b"x"), (b"Accept", b"*/*"), (b"accept", b"text/html")]),
        ("end", []),
        ("request", "POST", b"/", [(b"Host", b"x"), (b"Transfer-Encoding", b"chunked")]),
        ("data", b"hello!"),
        ("end", [(b"Sum", b"9")]),
        ("request", "PUT", b"/p", [(b"Host", b"x"), (b"Content-Length", b"5")]),
        ("data", b"world"),
        ("end", []),
    ]
    assert parser.feed_eof() == []
    assert parser.closed


def test_a_request_says_what_it_is() -> None:
    request = RequestParser().parse_head(bytearray(GET) + b"rest")
    assert request is not None
    assert (request.method, request.target, request.path, request.query) == ("GET", b"/a?b", b"/a", b"b")
    assert (request.authority, request.http_version, request.target_form) == (b"x", "1.1", "origin")
    assert (request.framing, request.content_length, request.keep_alive) == ("none", None, True)
    assert not (request.upgrade or request.expect_continue or request.te_trailers or request.connection_names)
    assert request.head_bytes == len(GET)
    assert repr(request) == "<Request GET b'/a?b' HTTP/1.1>"
    other = RequestParser().parse_head(
        b"BREW http://h/ HTTP/1.1\r\nHost: y\r\nExpect: 100-continue\r\nTE: trailers\r\nContent-Length: 3\r\n"
        b"Connection: upgrade, x\r\nUpgrade: w\r\n\r\n"
    )
    assert other is not None
    assert (other.method, other.query, other.authority, other.content_length) == ("BREW", None, b"h", 3)
    assert other.upgrade and other.expect_continue and other.te_trailers and other.connection_names


def test_headers_are_found_in_any_case() -> None:
    parsed = RequestParser().parse_head(GET)
    assert parsed is not None
    headers = parsed.headers
    del parsed
    gc.collect()
    assert len(headers) == 3
    assert headers[b"HOST"] == b"x" and headers.get(b"aCCept") == b"*/*"
    assert headers.get_all(b"accept") == [b"*/*", b"text/html"] and headers.get_all(b"none") == []
    assert b"hOst" in headers and b"hos" not in headers and "host" not in headers
    assert headers.get(b"none") is None and headers.get(b"none", 7) == 7
    assert list(headers) == headers.items()
    with pytest.raises(KeyError):
        headers[b"none"]
    with pytest.raises(TypeError):
        headers.get("host")  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", [http.Headers, http.Request, http.Response, http.Message])
def test_only_parsers_make_messages(kind: type) -> None:
    with pytest.raises(TypeError):
        kind()
    if kind in (http.Request, http.Response):
        with pytest.raises(AttributeError):
            _ = kind.__new__(kind).target if kind is http.Request else kind.__new__(kind).reason


def test_an_unfinished_head_is_none() -> None:
    for n in range(len(GET)):
        assert RequestParser().parse_head(GET[:n]) is None
    with pytest.raises(TypeError):
        RequestParser().parse_head(5)  # type: ignore[arg-type]


def test_errors_keep_the_events_before_them() -> None:
    parser = RequestParser()
    with pytest.raises(RemoteProtocolError) as caught:
        parser.feed(GET + b"GET /\x00 HTTP/1.1\r\n")
    error = caught.value
    assert (error.code, error.status, error.offset) == ("bad_target", 400, 5)
    assert [kind for kind, *_ in plain(error.events)] == ["request", "end"]
    with pytest.raises(LocalProtocolError) as again:
        parser.feed(GET)
    assert again.value.status == 500
    assert parser.feed_eof() == []


@pytest.mark.parametrize("size", [1, 5, 10**6])
@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_refused_requests(case: Case, size: int) -> None:
    parser = RequestParser()
    seen: list[Event] = []
    with pytest.raises(RemoteProtocolError) as caught:
        for piece in cut(case.data, size):
            seen += parser.feed(piece)
    seen += caught.value.events
    assert caught.value.status == case.status, caught.value.code
    assert (case.where == "body") == bool(seen)
    assert all(event.target != b"/smuggled" for event in seen if isinstance(event, Request))


@pytest.mark.parametrize("size", [1, 5, 10**6])
@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case.name)
def test_refused_responses(case: Case, size: int) -> None:
    parser = ResponseParser()
    parser.expect("GET")
    seen: list[Event] = []
    with pytest.raises(RemoteProtocolError) as caught:
        for piece in cut(case.data, size):
            seen += parser.feed(piece)
        parser.feed_eof()
    seen += caught.value.events
    assert caught.value.status == case.status == 502
    assert (case.where == "body") == bool(seen)


def test_the_corpus_is_large_and_named() -> None:
    assert len(REQUESTS) + len(RESPONSES) >= 200
    for cases in (REQUESTS, RESPONSES):
        assert len({case.name for case in cases}) == len({case.data for case in cases}) == len(cases)
    assert {case.status for case in REQUESTS} == {400, 414, 417, 431, 501, 505}


def respond(parser: ResponseParser, method: str, data: bytes) -> list[tuple[object, ...]]:
    parser.expect(method)
    return plain(parser.feed(data))


def test_interim_responses_do_not_answer() -> None:
    parser = ResponseParser()
    data = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert respond(parser, "GET", data) == [
        ("response", 103, b"Early Hints", [(b"Link", b"</a>")]),
        ("response", 200, b"OK", [(b"Content-Length", b"2")]),
        ("data", b"ok"),
        ("end", []),
    ]


def test_bodies_depend_on_method_and_status() -> None:
    parser = ResponseParser()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert [kind for kind, *_ in respond(parser, "HEAD", head)] == ["response", "end"]
    assert [kind for kind, *_ in respond(parser, "GET", head + b"ok")] == ["response", "data", "end"]
    not_modified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"
    assert [kind for kind, *_ in respond(parser, "GET", not_modified)] == ["response", "end"]
    assert [kind for kind, *_ in respond(parser, "GET", b"HTTP/1.1 204 \r\n\r\n")] == ["response", "end"]
    alone = parser.parse_head(head, "HEAD")
    assert alone is not None and alone.framing == "none" and alone.content_length == 2
    assert parser.parse_head(head[:-1]) is None


def test_responses_until_close() -> None:
    parser = ResponseParser()
    assert [k for k, *_ in respond(parser, "GET", b"HTTP/1.1 200 OK\r\n\r\nabc")] == ["response", "data"]
    assert plain(parser.feed(b"def")) == [("data", b"def")]
    assert not parser.closed
    assert plain(parser.feed_eof()) == [("end", [])]
    assert parser.closed and parser.feed(b"more") == []


def test_pipelined_responses_meet_their_methods() -> None:
    parser = ResponseParser()
    for method in ("HEAD", "GET", "HEAD"):
        parser.expect(method)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    kinds = [kind for kind, *_ in plain(parser.feed(head + head + b"x" + head))]
    assert kinds == ["response", "end", "response", "data", "end", "response", "end"]
    with pytest.raises(RemoteProtocolError) as caught:
        parser.feed(b"HTTP/1.1 408 \r\n\r\n")
    assert (caught.value.code, caught.value.status) == ("unsolicited", 502)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 2", CHUNKED[-30:]])
def test_a_close_inside_a_response(data: bytes) -> None:
    parser = ResponseParser()
    parser.expect("GET")
    if data == CHUNKED[-30:]:
        parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
    parser.feed(data)
    with pytest.raises(RemoteProtocolError) as caught:
        parser.feed_eof()
    assert (caught.value.code, caught.value.status) == ("incomplete", 502)


@pytest.mark.parametrize("cut_at", [5, len(CHUNKED) - 50, len(CHUNKED) - 1])
def test_a_close_inside_a_request(cut_at: int) -> None:
    parser = RequestParser()
    parser.feed(CHUNKED[:cut_at])
    with pytest.raises(RemoteProtocolError) as caught:
        parser.feed_eof()
    assert (caught.value.code, caught.value.status) == ("incomplete", 400)


def test_nothing_is_read_behind_connection_close() -> None:
    parser = RequestParser()
    events = parser.feed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET)
    assert [kind for kind, *_ in plain(events)] == ["request", "end"]
    assert parser.closed and parser.feed(GET) == []


def test_an_upgrade_pauses() -> None:
    head = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n"
    parser = RequestParser()
    events = parser.feed(head + b"ok" + GET)
    assert [kind for kind, *_ in plain(events)] == ["request", "data", "end"]
    assert parser.paused and parser.unparsed == GET
    with pytest.raises(LocalProtocolError):
        parser.feed(b"x")
    assert [kind for kind, *_ in plain(parser.resume())] == ["request", "end"]
    assert not parser.paused and parser.unparsed == b""
    with pytest.raises(LocalProtocolError):
        parser.resume()


def test_tunnels_pause() -> None:
    parser = RequestParser()
    parser.feed(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n\x00\x01")
    assert parser.paused and parser.unparsed == b"\x00\x01" and parser.feed_eof() == []
    client = ResponseParser()
    assert [k for k, *_ in respond(client, "CONNECT", b"HTTP/1.1 200 \r\n\r\n\x00")] == ["response", "end"]
    assert client.paused and client.unparsed == b"\x00"
    client = ResponseParser()
    refused = b"HTTP/1.1 407 \r\nContent-Length: 1\r\n\r\nx"
    assert [k for k, *_ in respond(client, "CONNECT", refused)] == ["response", "data", "end"]
    assert not client.paused
    client = ResponseParser()
    respond(client, "GET", b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n\x81")
    assert client.paused and client.unparsed == b"\x81"


def test_limits_are_settings() -> None:
    with pytest.raises(RemoteProtocolError, match="larger than the limit") as caught:
        RequestParser(max_head_bytes=len(GET) - 1).feed(GET)
    assert caught.value.status == 431
    assert RequestParser(max_head_bytes=len(GET)).parse_head(GET) is not None
    with pytest.raises(RemoteProtocolError) as caught:
        RequestParser(max_target_bytes=3).parse_head(GET)
    assert caught.value.status == 414
    with pytest.raises(RemoteProtocolError) as caught:
        RequestParser(max_fields=2).parse_head(GET)
    assert caught.value.code == "too_many_fields"
    with pytest.raises(RemoteProtocolError) as caught:
        RequestParser(max_chunk_ext_bytes=2).feed(CHUNKED)
    assert caught.value.code == "bad_chunk"
    with pytest.raises(RemoteProtocolError) as caught:
        RequestParser(max_trailer_bytes=8).feed(CHUNKED)
    assert caught.value.status == 431
    many = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(999)) + b"\r\n"
    request = RequestParser(max_fields=1000).parse_head(many)
    assert request is not None and len(request.headers) == 1000 and request.headers[b"x998"] == b"y"


@pytest.mark.parametrize(
    "setting", [{"max_head_bytes": 0}, {"max_target_bytes": 2**31}, {"max_fields": -1}, {"max_chunk_ext_bytes": 2**20}]
)
def test_limits_have_limits(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        RequestParser(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("allow_bare_lf", b"GET / HTTP/1.1\nHost: a\n\n"),
        ("allow_obs_fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
        ("allow_target_bytes", b"GET /\xc3\xa5\\ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("allow_repeated_length", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n"),
        ("allow_missing_host", b"GET / HTTP/1.1\r\n\r\n"),
    ],
)
def test_request_leniencies(name: str, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        RequestParser().feed(data)
    for size in (1, 1000):
        parser = RequestParser(**{name: True})  # type: ignore[arg-type]
        events: list[Event] = []
        for piece in cut(data, size):
            events += parser.feed(piece)
        assert [kind for kind, *_ in plain(events)] == ["request", "end"]
        assert isinstance(events[0], Request)
        assert events[0].headers.get(b"x", b"b   c") == b"b   c"
    kept = bytes(bytearray(data))  # another object: nobody may write into the caller's bytes
    assert RequestParser(**{name: True}).parse_head(data) is not None  # type: ignore[arg-type]
    assert data == kept


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("allow_space_before_colon", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
        ("allow_missing_reason_space", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
        ("allow_obs_fold", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 0\r\n\r\n"),
    ],
)
def test_response_leniencies(name: str, data: bytes) -> None:
    parser = ResponseParser(**{name: True})  # type: ignore[arg-type]
    assert [k for k, *_ in respond(parser, "GET", data)] == ["response", "end"]
    assert isinstance(parser.parse_head(data), Response)


def test_a_dripped_head_costs_no_more_than_its_limit() -> None:
    parser = RequestParser(max_head_bytes=1000)
    sent = 0
    with pytest.raises(RemoteProtocolError) as caught:
        for piece in cut(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000, 3):
            sent += len(piece)
            parser.feed(piece)
    assert caught.value.status == 431 and sent < 1010


def test_chunks_decode_again() -> None:
    body = http.chunk(b"hello") + http.chunk(memoryview(b"x" * 4096)) + b"0\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert plain(RequestParser().feed(head + body))[1] == ("data", b"hello" + b"x" * 4096)
    with pytest.raises(ValueError, match="empty"):
        http.chunk(b"")
