from contextlib import suppress

from tests.leaks.table import operation

from fastcore.http import ProtocolError, RequestParser, ResponseParser, chunk

GET = b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\nCookie: a=1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PARSER = RequestParser()


@operation("feed a request, look at all of it")
def whole() -> None:
    request, _end = PARSER.feed(GET)
    _ = request.method, request.target, request.path, request.query, request.headers.items(), request.headers[b"cookie"]


@operation("a parser, a chunked body in pieces, trailers")
def pieces() -> None:
    parser = RequestParser()
    for at in range(0, len(POST), 25):
        parser.feed(POST[at : at + 25])


@operation("a response to HEAD and one with a body")
def response() -> None:
    parser = ResponseParser()
    parser.expect("GET")
    parser.feed(ANSWER)
    parser.parse_head(ANSWER, "HEAD")


@operation("what is refused")
def refused() -> None:
    for bad in (b"GET  / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"\x00" * 10):
        with suppress(ProtocolError):
            RequestParser().feed(bad)
    with suppress(ProtocolError):
        ResponseParser().feed(ANSWER)
    with suppress(TypeError):
        PARSER.parse_head("text")
    with suppress(KeyError):
        PARSER.parse_head(GET).headers[b"absent"]


@operation("chunk")
def chunked() -> None:
    chunk(b"x" * 100)
