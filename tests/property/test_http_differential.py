"""fastcore.http against h11 and httptools (llhttp): where we accept a request, they must read the same thing.

Requests are generated valid, then damaged. Each may be refused by us and accepted by another only for a reason in
STRICTER, and accepted by us and refused by h11 or llhttp only for one in LOOSER.
"""

import re
from dataclasses import dataclass, field

import h11
import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcore.http import Data, EndOfMessage, RemoteProtocolError, Request, RequestParser

# What we refuse and h11 or llhttp accepts, by our error code, with the rule.
STRICTER = {
    "bad_line_end": "RFC 9112 2.2 lets a recipient accept a bare LF; errata 7633 and smuggling say why we do not",
    "bad_method": "RFC 9112 2.2: one empty line before a request line may be ignored; h11 and llhttp skip any number",
    "bad_target": "RFC 9112 3.2: the form must fit the method; RFC 3986: no '#', quotes, backslash, non-ASCII bytes",
    "bad_version": "RFC 9112 2.3: HTTP-version is required, one space before it and none behind it",
    "unsupported_version": "RFC 9110 15.6.6: only 1.0 and 1.1 are spoken here",
    "bad_field_name": "RFC 9112 2.2 and 5.1: no blanks before a name or its colon",
    "bad_field_value": "RFC 9110 5.5: control characters are invalid",
    "obs_fold": "RFC 9112 5.2: a server must refuse or unfold; we refuse",
    "bad_host": "RFC 9112 3.2: exactly one valid Host in 1.1; RFC 9110 4.2.1: not empty",
    "bad_length": "RFC 9112 6.3: lists that agree may be accepted; we refuse. RFC 9110 9.3.6: CONNECT has no content",
    "bad_coding": "RFC 9112 6.1: no coding in 1.0, chunked once and last",
    "unsupported_coding": "RFC 9112 6.1: 501 for a coding we do not have",
    "length_and_coding": "RFC 9112 6.1: a server may refuse both framings in one message; we do",
    "bad_chunk": "RFC 9112 7.1: hex digits, CRLF, bounded extensions; errata 7633",
    "bad_expect": "RFC 9110 10.1.1: 417 for an expectation we do not know",
}

# What we accept and the others refuse: a pattern in their message, with the rule that lets us.
LOOSER_H11 = {
    r"no request line received": "RFC 9112 2.2: a server should ignore one empty line before a request line",
    r"illegal chunk header": "RFC 9112 7.1.1: blanks before the ';' of a chunk extension are to be parsed and dropped",
}
LOOSER_LLHTTP = {
    r"Invalid method encountered": "RFC 9110 9.1: a method is any token; llhttp has a list",
    r"Invalid character in chunk size": "RFC 9112 7.1.1: blanks before the ';' of a chunk extension",
    r"Invalid character in chunk extensions": "we drop extensions: any byte but a control character passes",
}


@dataclass
class Reading:
    """One request as one implementation read it; `complete` if its end was seen."""

    method: bytes = b""
    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False


def ours(data: bytes) -> Reading | str | None:
    """A reading of the first request, our error code, or None if its head is not complete."""
    reading: Reading | None = None
    error = ""
    try:
        events = RequestParser().feed(data)
    except RemoteProtocolError as caught:
        events, error = caught.events, caught.code
    for event in events:
        if isinstance(event, Request):
            if reading is not None:
                break
            headers = [(name.lower(), value) for name, value in event.headers]
            reading = Reading(event.method.encode(), event.target, headers)
        elif isinstance(event, Data) and reading is not None:
            reading.body += event.data
        elif isinstance(event, EndOfMessage) and reading is not None:
            reading.complete = True
            return reading
    return error or reading


def as_h11(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Our fields as h11 gives them: the coding in lower case."""
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers]


def by_h11(data: bytes) -> Reading | str | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    reading: Reading | None = None
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                reading = Reading(event.method, event.target, list(event.headers))
            elif isinstance(event, h11.Data) and reading is not None:
                reading.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and reading is not None:
                reading.complete = True
                return reading
            else:
                return reading
    except h11.RemoteProtocolError as error:
        return str(error)


class Llhttp:
    """Callbacks of httptools, for the first request only."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.begun = False

    def on_url(self, url: bytes) -> None:
        if not self.reading.complete:
            self.reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.begun:
            self.reading.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if not self.begun:
            self.begun = True
            self.reading.method = self.parser.get_method()

    def on_body(self, body: bytes) -> None:
        if not self.reading.complete:
            self.reading.body += body

    def on_message_complete(self) -> None:
        self.reading.complete = True

    def read(self, data: bytes) -> Reading | str | None:
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except (httptools.HttpParserError, AttributeError) as error:
            if not self.reading.complete:
                return str(error)
        return self.reading if self.begun else None


TOKEN = st.text("ABCXYZabcxyz019-_.!#~", min_size=1, max_size=12).map(str.encode)
VALUE = st.one_of(
    st.binary(max_size=20),
    st.text("abc ,;=\"'\t\x80\xff", max_size=20).map(lambda text: text.encode("latin-1")),
    st.sampled_from([b"close", b"keep-alive", b"chunked", b"5", b"100-continue", b"trailers", b"a, b"]),
)
PATH = st.tuples(
    st.text("ab/.%20[]|~:@!$&'()*+,;=-_", max_size=20),
    st.one_of(st.just(""), st.text("ab/?%20[]|~:@!$&'()*+,;=-_{}^`\\", max_size=20).map("?".__add__)),
).map(lambda parts: b"/" + "".join(parts).encode())
TARGET = st.one_of(
    PATH,
    PATH,
    st.sampled_from([b"*", b"http://h/p", b"https://h:8/?q", b"h:80", b"http://h", b"x", b"/#f", b"/\xc3\xa5"]),
)
METHOD = st.one_of(st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"HEAD", b"DELETE"]), TOKEN)
HOST = st.sampled_from([b"h", b"example.org:80", b"[::1]", b"", b"a b", b"h:x", b"1.2.3.4"])
BODY = st.binary(max_size=30)


@st.composite
def chunked_body(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    extension = draw(st.sampled_from([b"", b"", b";a", b";a=b", b' ;a="b"', b"; \x80"]))
    trailer = draw(st.sampled_from([b"", b"", b"X: y\r\n", b"A: b\r\nC:\r\n"]))
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return body + draw(st.sampled_from([b"0", b"000"])) + extension + b"\r\n" + trailer + b"\r\n"


@st.composite
def valid_request(draw: st.DrawFn) -> bytes:
    """Nothing but what the grammar allows and no rule forbids."""
    lines = [b"Host: " + draw(st.sampled_from([b"h", b"example.org:80", b"[::1]", b"1.2.3.4:", b"a-b_c.d~"]))]
    text = st.binary(max_size=20).map(lambda raw: bytes(c for c in raw if c == 9 or 32 <= c != 127))
    for name, value in draw(st.lists(st.tuples(TOKEN, text), max_size=5)):
        lines.append(b"x-" + name + b": " + value)
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    body = b""
    method = draw(METHOD)
    if method == b"CONNECT":
        kind = "none"
    if kind == "length":
        body = draw(BODY)
        lines.append(b"CONTENT-length:%03d " % len(body))
    elif kind == "chunked":
        body = draw(chunked_body())
        lines.append(b"transfer-Encoding:\tchunkeD")
    for line in (
        b"Expect: 100-continue",
        b"Connection: close",
        b"TE: trailers, deflate;q=0.5",
        b"Connection: x-a, x-b",
    ):
        if not draw(st.integers(0, 4)):
            lines.append(line)
    lines = draw(st.permutations(lines))
    target = draw(PATH if method != b"CONNECT" else st.sampled_from([b"h:1", b"[::1]:65535", b"a.b:443"]))
    if method == b"OPTIONS" and draw(st.booleans()):
        target = draw(st.sampled_from([b"*", b"http://h", b"HTTPS://h:8?x"]))
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *lines, b"", b""]) + body


@st.composite
def request(draw: st.DrawFn) -> bytes:
    """Mostly valid; each deviation is rare, so that the rest of the request still matters."""
    version = draw(st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0"]))
    lines = [b"Host: " + draw(HOST)] if draw(st.integers(0, 9)) else []
    names = st.one_of(
        TOKEN, st.sampled_from([b"Connection", b"Expect", b"TE", b"Accept", b"Upgrade", b"Host", b"Content-Length"])
    )
    blank = st.sampled_from([b"", b" ", b" ", b" ", b"\t", b"  \t"])
    for name in draw(st.lists(names, max_size=4)):
        lines.append(name + b":" + draw(blank) + draw(VALUE) + draw(blank))
    kind = draw(st.sampled_from(["none", "length", "chunked", "both", "odd"]))
    body = b""
    if kind in ("length", "both"):
        body = draw(BODY)
        lines.append(b"Content-Length: %d" % (len(body) + draw(st.sampled_from([0] * 8 + [1, 10**18]))))
    if kind in ("chunked", "both"):
        body = draw(chunked_body())
        lines.append(b"Transfer-Encoding: " + draw(st.sampled_from([b"chunked", b"Chunked"])))
    if kind == "odd":
        odd = [b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked", b"", b"chunked,"]
        body = draw(chunked_body())
        lines.append(b"Transfer-Encoding: " + draw(st.sampled_from(odd)))
    lines = draw(st.permutations(lines))
    first = draw(st.sampled_from([b""] * 9 + [b"\r\n"])) + draw(METHOD) + b" " + draw(TARGET) + b" " + version
    return b"\r\n".join([first, *lines, b"", b""]) + body


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A request with a few bytes replaced, inserted or left out."""
    data = bytearray(draw(request()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        piece = draw(
            st.one_of(st.binary(max_size=2), st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b","]))
        )
        data[at : at + draw(st.integers(0, 2))] = piece
    return bytes(data)


def compare(mine: Reading, other: Reading, whose: str) -> None:
    assert (mine.method, mine.target) == (other.method, other.target), whose
    assert mine.complete == other.complete and mine.body == other.body, whose


def known(message: str, reasons: dict[str, str]) -> bool:
    return any(re.search(pattern, message) for pattern in reasons)


def check(data: bytes) -> None:
    mine = ours(data)
    theirs = by_h11(data)
    if isinstance(mine, str):
        assert mine in STRICTER or isinstance(theirs, str), (mine, theirs)
        return
    if mine is None:
        return
    if isinstance(theirs, str):
        assert known(theirs, LOOSER_H11), theirs
    else:
        assert theirs is not None
        compare(mine, theirs, "h11")
        assert as_h11(mine.headers) == theirs.headers
    llhttp = Llhttp().read(data)
    if isinstance(llhttp, str):
        assert known(llhttp, LOOSER_LLHTTP), llhttp
    elif llhttp is not None:
        compare(mine, llhttp, "llhttp")
        stripped = [(name, value.strip(b" \t")) for name, value in llhttp.headers]
        assert mine.headers == stripped[: len(mine.headers)]


@settings(max_examples=500, deadline=None)
@given(valid_request())
def test_valid_requests_are_accepted(data: bytes) -> None:
    mine = ours(data)
    assert isinstance(mine, Reading) and mine.complete, mine
    check(data)


@settings(max_examples=500, deadline=None)
@given(request())
def test_generated_requests(data: bytes) -> None:
    check(data)


@settings(max_examples=500, deadline=None)
@given(damaged())
def test_damaged_requests(data: bytes) -> None:
    check(data)


@settings(max_examples=300, deadline=None)
@given(damaged(), st.data())
def test_cuts_make_no_difference(data: bytes, draws: st.DataObject) -> None:
    cuts = sorted(draws.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    parser = RequestParser()
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def run(pieces: list[bytes], parser: RequestParser) -> tuple[list[object], str]:
        out: list[object] = []
        error = ""
        for piece in pieces:
            try:
                events = parser.feed(piece)
            except RemoteProtocolError as caught:
                events, error = caught.events, f"{caught.code}"
            for event in events:
                if isinstance(event, Data) and out and isinstance(out[-1], bytes):
                    out[-1] += event.data
                elif isinstance(event, Data):
                    out.append(event.data)
                elif isinstance(event, Request):
                    out.append((event.method, event.target, event.headers.items()))
                else:
                    out.append("end")
            if error or parser.paused:
                break
        return out, error

    whole = run([data], RequestParser())
    if not whole[1] and run(pieces, parser)[1]:
        raise AssertionError("an error that the whole does not have")
    assert run(pieces, RequestParser())[0] == whole[0]
