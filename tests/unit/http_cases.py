"""Requests and responses that a strict HTTP/1.1 implementation refuses: malformed, ambiguous, or shaped for smuggling.

Data only, so that the parser tests and the tests over real sockets share it. Each case stands for itself: `data` is
what one side sends on a fresh connection, nothing comes before it. Smuggling-shaped requests carry a second request to
`/smuggled` behind the ambiguity: whoever sees that request has been fooled.

`status` is the answer a server owes to a request (400, 414, 417, 431, 501, 505). For responses, which answer
`GET / HTTP/1.1`, it is the 502 of a gateway. `where` is "body" if the head alone is in order: a gateway that streams
may then have sent on a valid head before it can know, and must cut the message short.

Limits assumed by the cases about size: 32 KB of head, 8 KB of target, 100 fields, 256 bytes of chunk extension.
"""

from typing import NamedTuple


class Case(NamedTuple):
    """One refused message: what it is called, its bytes, the answer it gets, the rule it breaks."""

    name: str
    data: bytes
    status: int
    rfc: str
    where: str = "head"


MANY_LONG = b"\r\n".join(b"X-%d: %s" % (i, b"a" * 600) for i in range(60))
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def line(name: str, request_line: bytes, status: int = 400, rfc: str = "9112 3") -> Case:
    """A bad request line before a good field."""
    return Case(name, request_line + b"\r\nHost: a\r\n\r\n", status, rfc)


def field(name: str, lines: bytes, status: int = 400, rfc: str = "9112 5") -> Case:
    """Bad field lines in an otherwise good GET."""
    return Case(name, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n", status, rfc)


def host(name: str, lines: bytes, target: bytes = b"/", rfc: str = "9112 3.2") -> Case:
    """Bad Host lines."""
    return Case(name, b"GET " + target + b" HTTP/1.1\r\n" + lines + b"\r\n\r\n", 400, rfc)


def framed(name: str, lines: bytes, status: int = 400, rfc: str = "9112 6.3", body: bytes = b"0\r\n\r\n") -> Case:
    """Bad framing in a POST, with a second request hidden behind the body."""
    return Case(name, b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n" + body + SMUGGLED, status, rfc)


def chunked(name: str, body: bytes, rfc: str = "9112 7.1") -> Case:
    """A bad chunked body behind a good head."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Case(name, head + body + SMUGGLED, 400, rfc, "body")


REQUESTS: list[Case] = [
    # --- request line ---
    line("space before method", b" GET / HTTP/1.1"),
    line("tab before method", b"\tGET / HTTP/1.1"),
    line("empty method", b" / HTTP/1.1"),
    line("method with parenthesis", b"G(T / HTTP/1.1", rfc="9110 9.1"),
    line("method with at sign", b"G@T / HTTP/1.1", rfc="9110 9.1"),
    line("method with slash", b"GET/ / HTTP/1.1", rfc="9110 9.1"),
    line("method with colon", b"GET: / HTTP/1.1", rfc="9110 9.1"),
    line("method with NUL", b"GE\0T / HTTP/1.1", rfc="9110 9.1"),
    line("method with non-ASCII", b"G\xc3\x89T / HTTP/1.1", rfc="9110 9.1"),
    line("method with DEL", b"GET\x7f / HTTP/1.1", rfc="9110 9.1"),
    line("tab after method", b"GET\t/ HTTP/1.1"),
    line("two spaces after method", b"GET  / HTTP/1.1"),
    line("vertical tab after method", b"GET\x0b/ HTTP/1.1"),
    line("no target", b"GET HTTP/1.1"),
    line("method alone", b"GET"),
    line("two spaces after target", b"GET /  HTTP/1.1"),
    line("tab after target", b"GET /\tHTTP/1.1"),
    line("space in target", b"GET /a b HTTP/1.1"),
    line("no version (HTTP/0.9)", b"GET /", rfc="9112 2.3"),
    line("space instead of version", b"GET / ", rfc="9112 2.3"),
    line("trailing space", b"GET / HTTP/1.1 ", rfc="9112 3"),
    line("trailing tab", b"GET / HTTP/1.1\t", rfc="9112 3"),
    line("word after version", b"GET / HTTP/1.1 x", rfc="9112 3"),
    line("lower-case version name", b"GET / http/1.1", rfc="9112 2.3"),
    line("mixed-case version name", b"GET / Http/1.1", rfc="9112 2.3"),
    line("another protocol", b"GET / HTTPS/1.1", rfc="9112 2.3"),
    line("RTSP", b"OPTIONS * RTSP/1.0", rfc="9112 2.3"),
    line("version without minor", b"GET / HTTP/1", rfc="9112 2.3"),
    line("version without digits", b"GET / HTTP/", rfc="9112 2.3"),
    line("version with comma", b"GET / HTTP/1,1", rfc="9112 2.3"),
    line("version with two-digit minor", b"GET / HTTP/1.10", rfc="9112 2.3"),
    line("version with two-digit major", b"GET / HTTP/01.1", rfc="9112 2.3"),
    line("version with plus sign", b"GET / HTTP/+1.1", rfc="9112 2.3"),
    line("version with space", b"GET / HTTP/ 1.1", rfc="9112 2.3"),
    line("version in other digits", b"GET / HTTP/1.\xd9\xa1", rfc="9112 2.3"),
    line("HTTP/0.9 named", b"GET / HTTP/0.9", 505, "9110 15.6.6"),
    line("HTTP/1.2", b"GET / HTTP/1.2", 505, "9110 15.6.6"),
    line("HTTP/2.0", b"GET / HTTP/2.0", 505, "9110 15.6.6"),
    line("HTTP/3.0", b"GET / HTTP/3.0", 505, "9110 15.6.6"),
    line("HTTP/9.9", b"GET / HTTP/9.9", 505, "9110 15.6.6"),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "9113 3.4"),
    Case("TLS client hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32, 400, "9112 3"),
    Case("two empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "9112 2.2"),
    Case("bare LF first", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "9112 2.2"),
    Case("bare CR first", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "9112 2.2"),
    Case("a response instead of a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400, "9112 3"),
    # --- target ---
    line("fragment", b"GET /a#b HTTP/1.1", rfc="9112 3.2.1"),
    line("fragment in absolute form", b"GET http://a/b#c HTTP/1.1", rfc="9112 3.2.2"),
    line("double quote in path", b'GET /" HTTP/1.1', rfc="3986 3.3"),
    line("less-than in path", b"GET /<script> HTTP/1.1", rfc="3986 3.3"),
    line("greater-than in query", b"GET /?a>b HTTP/1.1", rfc="3986 3.4"),
    line("backslash in path", b"GET /a\\..\\b HTTP/1.1", rfc="3986 3.3"),
    line("caret in path", b"GET /a^b HTTP/1.1", rfc="3986 3.3"),
    line("brace in path", b"GET /{a} HTTP/1.1", rfc="3986 3.3"),
    line("NUL in path", b"GET /a\0b HTTP/1.1", rfc="3986 3.3"),
    line("DEL in path", b"GET /a\x7fb HTTP/1.1", rfc="3986 3.3"),
    line("UTF-8 in path", b"GET /\xc3\xa5 HTTP/1.1", rfc="3986 2.1"),
    line("Latin-1 in query", b"GET /?q=\xe5 HTTP/1.1", rfc="3986 2.1"),
    line("tab in path", b"GET /a\tb HTTP/1.1", rfc="3986 3.3"),
    line("relative path", b"GET index.html HTTP/1.1", rfc="9112 3.2"),
    line("query alone", b"GET ?a=b HTTP/1.1", rfc="9112 3.2.1"),
    line("asterisk with GET", b"GET * HTTP/1.1", rfc="9112 3.2.4"),
    line("asterisk and more with OPTIONS", b"OPTIONS *x HTTP/1.1", rfc="9112 3.2.4"),
    line("asterisk with query", b"OPTIONS *?a HTTP/1.1", rfc="9112 3.2.4"),
    line("authority form with GET", b"GET a:80 HTTP/1.1", rfc="9112 3.2.3"),
    line("origin form with CONNECT", b"CONNECT / HTTP/1.1", rfc="9112 3.2.3"),
    line("absolute form with CONNECT", b"CONNECT http://a:80/ HTTP/1.1", rfc="9112 3.2.3"),
    line("CONNECT without port", b"CONNECT a HTTP/1.1", rfc="9112 3.2.3"),
    line("CONNECT with empty port", b"CONNECT a: HTTP/1.1", rfc="9110 9.3.6"),
    line("CONNECT with port 0", b"CONNECT a:0 HTTP/1.1", rfc="9110 9.3.6"),
    line("CONNECT with port 65536", b"CONNECT a:65536 HTTP/1.1", rfc="9110 9.3.6"),
    line("CONNECT without host", b"CONNECT :443 HTTP/1.1", rfc="9110 9.3.6"),
    line("CONNECT with userinfo", b"CONNECT u@a:443 HTTP/1.1", rfc="9112 3.2.3"),
    line("CONNECT with path", b"CONNECT a:443/x HTTP/1.1", rfc="9112 3.2.3"),
    line("userinfo", b"GET http://user@a/ HTTP/1.1", rfc="9110 4.2.4"),
    line("userinfo with password", b"GET http://user:pw@a/ HTTP/1.1", rfc="9110 4.2.4"),
    line("empty host in absolute form", b"GET http:///a HTTP/1.1", rfc="9110 4.2.1"),
    line("port without host in absolute form", b"GET http://:80/ HTTP/1.1", rfc="9110 4.2.1"),
    line("absolute form with bad port", b"GET http://a:8x/ HTTP/1.1", rfc="3986 3.2.3"),
    line("absolute form with huge port", b"GET http://a:99999/ HTTP/1.1", rfc="3986 3.2.3"),
    line("absolute form with unclosed bracket", b"GET http://[::1/ HTTP/1.1", rfc="3986 3.2.2"),
    line("absolute form without slashes", b"GET http:/a HTTP/1.1", rfc="9110 4.2.1"),
    line("scheme ftp", b"GET ftp://a/ HTTP/1.1", rfc="9110 4.2"),
    line("scheme file", b"GET file:///etc/passwd HTTP/1.1", rfc="9110 4.2"),
    line("scheme javascript", b"GET javascript:alert(1) HTTP/1.1", rfc="9110 4.2"),
    line("target over the limit", b"GET /" + b"a" * 8192 + b" HTTP/1.1", 414, "9110 15.5.15"),
    line("query over the limit", b"GET /?" + b"a=b&" * 2100 + b" HTTP/1.1", 414, "9110 15.5.15"),
    # --- line ends ---
    Case("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", 400, "9112 2.2"),
    Case("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "9112 2.2"),
    field("bare LF after a field", b"X: y\nY: z", rfc="9112 2.2"),
    Case("bare LF as empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n" + SMUGGLED, 400, "9112 2.2"),
    Case("bare CR after the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "9112 2.2"),
    field("bare CR in a value", b"X: y\rz", rfc="9112 2.2"),
    field("bare CR hides a field", b"X: y\rTransfer-Encoding: chunked", rfc="9112 2.2"),
    Case("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400, "9112 2.2"),
    Case("bare CR as empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\rX" + SMUGGLED, 400, "9112 2.2"),
    Case("LF CR", b"GET / HTTP/1.1\n\rHost: a\n\r\n\r", 400, "9112 2.2"),
    Case("Unicode line separator", b"GET / HTTP/1.1\xe2\x80\xa8Host: a\r\n\r\n", 400, "9112 2.2"),
    # --- field lines ---
    Case("space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "9112 2.2"),
    Case("tab before the first field", b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", 400, "9112 2.2"),
    field("space before colon", b"X : y", rfc="9112 5.1"),
    field("tab before colon", b"X\t: y", rfc="9112 5.1"),
    field("space before colon of Content-Length", b"Content-Length : 5", rfc="9112 5.1"),
    field("space before colon of Transfer-Encoding", b"Transfer-Encoding : chunked", rfc="9112 5.1"),
    field("vertical tab before colon", b"Transfer-Encoding\x0b: chunked", rfc="9112 5.1"),
    field("empty name", b": y", rfc="9110 5.1"),
    field("no colon", b"X", rfc="9112 5"),
    field("no colon but a space", b"X y", rfc="9112 5"),
    field("space in a name", b"X Y: z", rfc="9110 5.1"),
    field("slash in a name", b"X/Y: z", rfc="9110 5.1"),
    field("parenthesis in a name", b"X(Y): z", rfc="9110 5.1"),
    field("double quote in a name", b'"X": z', rfc="9110 5.1"),
    field("comma in a name", b"X,Y: z", rfc="9110 5.1"),
    field("semicolon in a name", b"X;Y: z", rfc="9110 5.1"),
    field("equals sign in a name", b"X=Y: z", rfc="9110 5.1"),
    field("brackets in a name", b"[X]: z", rfc="9110 5.1"),
    field("at sign in a name", b"X@Y: z", rfc="9110 5.1"),
    field("backslash in a name", b"X\\Y: z", rfc="9110 5.1"),
    field("NUL in a name", b"X\0Y: z", rfc="9110 5.1"),
    field("control byte in a name", b"X\x01Y: z", rfc="9110 5.1"),
    field("DEL in a name", b"X\x7f: z", rfc="9110 5.1"),
    field("non-ASCII in a name", b"X-\xc3\xa5: z", rfc="9110 5.1"),
    field("HTTP/2 pseudo field", b":authority: b", rfc="9110 5.1"),
    field("NUL in a value", b"X: a\0b", rfc="9110 5.5"),
    field("control byte in a value", b"X: a\x01b", rfc="9110 5.5"),
    field("backspace in a value", b"X: a\x08b", rfc="9110 5.5"),
    field("vertical tab in a value", b"X: a\x0bb", rfc="9110 5.5"),
    field("form feed in a value", b"X: a\x0cb", rfc="9110 5.5"),
    field("escape in a value", b"X: \x1b[31m", rfc="9110 5.5"),
    field("DEL in a value", b"X: a\x7fb", rfc="9110 5.5"),
    field("folded value", b"X: a\r\n b", rfc="9112 5.2"),
    field("folded with tab", b"X: a\r\n\tb", rfc="9112 5.2"),
    field("folded empty value", b"X:\r\n a", rfc="9112 5.2"),
    field("fold hides the coding", b"Transfer-Encoding:\r\n chunked", rfc="9112 5.2"),
    field("fold hides a field", b"X: a\r\n Content-Length: 5", rfc="9112 5.2"),
    field("fold of blanks only", b"X: a\r\n \r\nY: b", rfc="9112 5.2"),
    field("head over the limit", b"X: " + b"a" * 40000, 431, "6585 5"),
    field("head over the limit in many fields", MANY_LONG, 431, "6585 5"),
    field("more fields than the limit", b"\r\n".join(b"X-%d: y" % i for i in range(120)), 431, "6585 5"),
    field("name over the limit", b"a" * 40000 + b": b", 431, "6585 5"),
    Case("method over the limit", b"A" * 40000 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 431, "6585 5"),
    # --- Host ---
    host("no Host", b"X: y"),
    host("empty Host", b"Host:", rfc="9110 4.2.1"),
    host("blank Host", b"Host: \t ", rfc="9110 4.2.1"),
    host("two Hosts that agree", b"Host: a\r\nHost: a"),
    host("two Hosts that differ", b"Host: a\r\nHost: b"),
    host("two Hosts in other case", b"Host: a\r\nhOST: b"),
    host("two Hosts apart", b"Host: a\r\nX: y\r\nHost: b"),
    host("two Hosts, the first empty", b"Host:\r\nHost: a"),
    host("list of hosts with a space", b"Host: a, b"),
    host("host with space", b"Host: a b"),
    host("host with tab", b"Host: a\tb"),
    host("host with path", b"Host: a/b"),
    host("host with query", b"Host: a?b"),
    host("host with fragment", b"Host: a#b"),
    host("host with userinfo", b"Host: user@a"),
    host("host as URI", b"Host: http://a"),
    host("host with backslash", b"Host: a\\b"),
    host("host with quotes", b'Host: "a"'),
    host("host with angle brackets", b"Host: <a>"),
    host("host with non-ASCII", b"Host: \xc3\xa5.example"),
    host("host with percent-encoding", b"Host: %61"),
    host("port without host", b"Host: :80", rfc="9110 4.2.1"),
    host("port not a number", b"Host: a:b"),
    host("port with sign", b"Host: a:+80"),
    host("negative port", b"Host: a:-1"),
    host("port over 65535", b"Host: a:65536"),
    host("very long port", b"Host: a:00000000000000000000000000000099999"),
    host("port and more", b"Host: a:80:90"),
    host("port with path", b"Host: a:80/b"),
    host("unclosed bracket", b"Host: [::1"),
    host("bare IPv6", b"Host: ::1"),
    host("bracketed name", b"Host: [a]"),
    host("bracketed IPv4", b"Host: [127.0.0.1]"),
    host("IPv6 too long", b"Host: [1:2:3:4:5:6:7:8:9]"),
    host("IPv6 with two gaps", b"Host: [1::2::3]"),
    host("IPv6 with zone", b"Host: [fe80::1%25eth0]"),
    host("IPv6 and more", b"Host: [::1]a"),
    host("IPvFuture", b"Host: [v1.x]"),
    host("no Host beside an absolute target", b"X: y", b"http://a/"),
    host("two Hosts beside an absolute target", b"Host: a\r\nHost: a", b"http://a/"),
    host("bad Host beside an absolute target", b"Host: a b", b"http://a/"),
    Case("two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "9112 3.2"),
    Case("bad Host in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400, "9112 3.2"),
    # --- length and coding ---
    framed("CL.TE", b"Content-Length: 5\r\nTransfer-Encoding: chunked", rfc="9112 6.1"),
    framed("TE.CL", b"Transfer-Encoding: chunked\r\nContent-Length: 5", rfc="9112 6.1"),
    framed("CL 0 and TE", b"Content-Length: 0\r\nTransfer-Encoding: chunked", rfc="9112 6.1"),
    framed("CL.TE in odd case", b"content-LENGTH: 5\r\ntransfer-ENCODING: Chunked", rfc="9112 6.1"),
    framed("CL and unknown TE", b"Content-Length: 5\r\nTransfer-Encoding: x", 501, "9112 6.1"),
    framed("two lengths that differ", b"Content-Length: 5\r\nContent-Length: 6"),
    framed("two lengths that agree", b"Content-Length: 5\r\nContent-Length: 5"),
    framed("two lengths, one zero", b"Content-Length: 0\r\nContent-Length: 44"),
    framed("list of lengths that differ", b"Content-Length: 5, 6"),
    framed("list of lengths that agree", b"Content-Length: 5, 5"),
    framed("length with trailing comma", b"Content-Length: 5,"),
    framed("length with leading comma", b"Content-Length: ,5"),
    framed("empty length", b"Content-Length:", rfc="9110 8.6"),
    framed("blank length", b"Content-Length:  \t", rfc="9110 8.6"),
    framed("length with plus", b"Content-Length: +5", rfc="9110 8.6"),
    framed("length with minus", b"Content-Length: -5", rfc="9110 8.6"),
    framed("minus zero", b"Content-Length: -0", rfc="9110 8.6"),
    framed("length in hexadecimal", b"Content-Length: 0x5", rfc="9110 8.6"),
    framed("hexadecimal digits", b"Content-Length: 5a", rfc="9110 8.6"),
    framed("length with underscore", b"Content-Length: 1_0", rfc="9110 8.6"),
    framed("length with space", b"Content-Length: 1 0", rfc="9110 8.6"),
    framed("length with decimals", b"Content-Length: 5.0", rfc="9110 8.6"),
    framed("length with exponent", b"Content-Length: 5e0", rfc="9110 8.6"),
    framed("length in quotes", b'Content-Length: "5"', rfc="9110 8.6"),
    framed("length with semicolon", b"Content-Length: 5;", rfc="9110 8.6"),
    framed("length in other digits", b"Content-Length: \xd9\xa5", rfc="9110 8.6"),
    framed("length in superscript", b"Content-Length: \xb2", rfc="9110 8.6"),
    framed("length of 2**63", b"Content-Length: 9223372036854775808", rfc="9110 8.6"),
    framed("length of 2**64", b"Content-Length: 18446744073709551616", rfc="9110 8.6"),
    framed("length of 2**64 + 5", b"Content-Length: 18446744073709551621", rfc="9110 8.6"),
    framed("length of a hundred digits", b"Content-Length: " + b"9" * 100, rfc="9110 8.6"),
    framed("length with a hundred zeros", b"Content-Length: " + b"0" * 100 + b"5", rfc="9110 8.6"),
    framed("bad length in GET", b"Content-Length: x", rfc="9110 8.6"),
    framed("gzip, chunked", b"Transfer-Encoding: gzip, chunked", 501, "9112 6.1"),
    framed("chunked, gzip", b"Transfer-Encoding: chunked, gzip"),
    framed("chunked, identity", b"Transfer-Encoding: chunked, identity"),
    framed("chunked, chunked", b"Transfer-Encoding: chunked, chunked", rfc="9112 6.1"),
    framed("chunked twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", rfc="9112 6.1"),
    framed("chunked, then identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", rfc="9112 6.1"),
    framed("identity, then chunked", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501, "9112 6.1"),
    framed("identity", b"Transfer-Encoding: identity", 501, "9112 6.1"),
    framed("gzip", b"Transfer-Encoding: gzip", 501, "9112 6.1"),
    framed("xchunked", b"Transfer-Encoding: xchunked", 501, "9112 6.1"),
    framed("chunkedx", b"Transfer-Encoding: chunkedx", 501, "9112 6.1"),
    framed("chunke", b"Transfer-Encoding: chunke", 501, "9112 6.1"),
    framed("empty coding", b"Transfer-Encoding:", rfc="9112 6.1"),
    framed("comma before chunked", b"Transfer-Encoding: ,chunked", rfc="9112 6.1"),
    framed("comma after chunked", b"Transfer-Encoding: chunked,", rfc="9112 6.1"),
    framed("chunked with parameter", b"Transfer-Encoding: chunked;q=1", rfc="9112 7"),
    framed("chunked with semicolon", b"Transfer-Encoding: chunked;", rfc="9112 7"),
    framed("chunked in quotes", b'Transfer-Encoding: "chunked"', rfc="9112 6.1"),
    framed("chunked in apostrophes", b"Transfer-Encoding: 'chunked'", 501, "9112 6.1"),
    framed("chunked and a word", b"Transfer-Encoding: chunked x", rfc="9112 6.1"),
    framed("a word and chunked", b"Transfer-Encoding: x chunked", rfc="9112 6.1"),
    framed("vertical tab before chunked", b"Transfer-Encoding: \x0bchunked", rfc="9110 5.5"),
    framed("form feed after chunked", b"Transfer-Encoding: chunked\x0c", rfc="9110 5.5"),
    framed("NUL after chunked", b"Transfer-Encoding: chunked\0", rfc="9110 5.5"),
    framed("no-break space before chunked", b"Transfer-Encoding: \xa0chunked", rfc="9112 6.1"),
    framed("chunked with long s", b"Transfer-Encoding: \xc5\xbfchunked", rfc="9112 6.1"),
    Case(
        "chunked in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        400,
        "9112 6.1",
    ),
    Case(
        "CL.TE in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        400,
        "9112 6.1",
    ),
    Case(
        "CONNECT with length",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\nhello" + SMUGGLED,
        400,
        "9110 9.3.6",
    ),
    Case(
        "CONNECT with coding",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        400,
        "9110 9.3.6",
    ),
    # --- expectations ---
    field("unknown expectation", b"Expect: 200-ok", 417, "9110 10.1.1"),
    field("100-continue and another", b"Expect: 100-continue, x", 417, "9110 10.1.1"),
    field("100-continue with parameter", b"Expect: 100-continue;q=1", 417, "9110 10.1.1"),
    # --- chunked bodies ---
    chunked("size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    chunked("size with plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    chunked("size with minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    chunked("size with leading space", b" 5\r\nhello\r\n0\r\n\r\n"),
    chunked("size with trailing space", b"5 \r\nhello\r\n0\r\n\r\n"),
    chunked("size with trailing tab", b"5\t\r\nhello\r\n0\r\n\r\n"),
    chunked("size with underscore", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    chunked("size with non-hex digit", b"5g\r\nhello\r\n0\r\n\r\n"),
    chunked("size with h suffix", b"5h\r\nhello\r\n0\r\n\r\n"),
    chunked("no size", b"\r\nhello\r\n0\r\n\r\n"),
    chunked("extension without size", b";a=b\r\nhello\r\n0\r\n\r\n"),
    chunked("size of 2**63", b"8000000000000000\r\nhello\r\n0\r\n\r\n"),
    chunked("size of 2**64", b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
    chunked("size of 2**64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    chunked("size of twenty zeros", b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n"),
    chunked("bare LF after size", b"5\nhello\r\n0\r\n\r\n", "9112 7.1, errata 7633"),
    chunked("bare LF after data", b"5\r\nhello\n0\r\n\r\n"),
    chunked("bare LF after the last size", b"5\r\nhello\r\n0\n\r\n"),
    chunked("bare CR after size", b"5\rhello\r\n0\r\n\r\n"),
    chunked("CR CR LF after size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    chunked("bare LF in extension", b"5;a\nhello\r\n0\r\n\r\n", "9112 7.1.1, errata 7633"),
    chunked("bare CR in extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n", "9112 7.1.1"),
    chunked("NUL in extension", b"5;a\0\r\nhello\r\n0\r\n\r\n", "9112 7.1.1"),
    chunked("DEL in extension", b"5;a\x7f\r\nhello\r\n0\r\n\r\n", "9112 7.1.1"),
    chunked("CRLF in quoted extension", b'5;a="\r\nhello\r\n0\r\n\r\n"', "9112 7.1.1"),
    chunked("blank then no semicolon", b"5 a=b\r\nhello\r\n0\r\n\r\n", "9112 7.1.1"),
    chunked("extension over the limit", b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n", "9112 7.1.1"),
    chunked("data longer than its size", b"4\r\nhello\r\n0\r\n\r\n"),
    chunked("data shorter than its size", b"6\r\nhello\r\n0\r\n\r\n"),
    chunked("no line end after data", b"5\r\nhello0\r\n\r\n"),
    chunked("space after data", b"5\r\nhello \r\n0\r\n\r\n"),
    chunked("request where a size should be", b"5\r\nhello\r\n"),
    chunked("trailer with space before colon", b"0\r\nX : y\r\n\r\n", "9112 7.1.2"),
    chunked("trailer without colon", b"0\r\nX\r\n\r\n", "9112 7.1.2"),
    chunked("trailer with empty name", b"0\r\n: y\r\n\r\n", "9112 7.1.2"),
    chunked("folded trailer", b"0\r\nX: a\r\n b\r\n\r\n", "9112 7.1.2"),
    chunked("trailer with bare LF", b"0\r\nX: a\n\r\n", "9112 7.1.2"),
    chunked("trailer with NUL", b"0\r\nX: a\0\r\n\r\n", "9112 7.1.2"),
    chunked("bare LF after the last chunk", b"0\r\n\n", "9112 7.1.2"),
    chunked("bare CR after the last chunk", b"0\r\n\rX", "9112 7.1.2"),
]
# An over-long trailer section is the peer's to shorten, like an over-long head.
REQUESTS.append(
    chunked("trailers over the limit", b"0\r\nX: " + b"a" * 40000 + b"\r\n\r\n", "6585 5")._replace(status=431)
)


def response(name: str, head: bytes, rfc: str, body: bytes = b"") -> Case:
    """A bad response head, given without its empty line."""
    return Case(name, head + b"\r\n\r\n" + body, 502, rfc)


def answer(name: str, lines: bytes, rfc: str = "9112 5", body: bytes = b"") -> Case:
    """Bad field lines in a 200."""
    return response(name, b"HTTP/1.1 200 OK\r\n" + lines, rfc, body)


def answer_chunked(name: str, body: bytes, rfc: str = "9112 7.1") -> Case:
    """A bad chunked body behind a good response head."""
    return Case(name, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body, 502, rfc, "body")


RESPONSES: list[Case] = [
    # --- status line ---
    response("HTTP/0.9", b"<html>hello</html>", "9112 2.3"),
    response("ICY", b"ICY 200 OK", "9112 2.3"),
    response("empty line first", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0", "9112 4"),
    response("space first", b" HTTP/1.1 200 OK\r\nContent-Length: 0", "9112 4"),
    response("lower-case version", b"http/1.1 200 OK\r\nContent-Length: 0", "9112 2.3"),
    response("no minor version", b"HTTP/1 200 OK\r\nContent-Length: 0", "9112 2.3"),
    response("version 1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 0", "9112 2.3"),
    response("version 2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 0", "9112 2.3"),
    response("version 2", b"HTTP/2 200\r\nContent-Length: 0", "9112 2.3"),
    response("version 1.10", b"HTTP/1.10 200 OK\r\nContent-Length: 0", "9112 2.3"),
    response("no status", b"HTTP/1.1\r\nContent-Length: 0", "9112 4"),
    response("empty status", b"HTTP/1.1 \r\nContent-Length: 0", "9112 4"),
    response("two spaces before status", b"HTTP/1.1  200 OK\r\nContent-Length: 0", "9112 4"),
    response("tab before status", b"HTTP/1.1\t200 OK\r\nContent-Length: 0", "9112 4"),
    response("tab after status", b"HTTP/1.1 200\tOK\r\nContent-Length: 0", "9112 4"),
    response("two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0", "9110 15"),
    response("four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0", "9110 15"),
    response("status 000", b"HTTP/1.1 000 OK\r\nContent-Length: 0", "9110 15"),
    response("status 099", b"HTTP/1.1 099 OK\r\nContent-Length: 0", "9110 15"),
    response("status 600", b"HTTP/1.1 600 OK\r\nContent-Length: 0", "9110 15"),
    response("status 999", b"HTTP/1.1 999 OK\r\nContent-Length: 0", "9110 15"),
    response("negative status", b"HTTP/1.1 -20 OK\r\nContent-Length: 0", "9110 15"),
    response("status with letter", b"HTTP/1.1 2O0 OK\r\nContent-Length: 0", "9110 15"),
    response("status in hexadecimal", b"HTTP/1.1 0xC8 OK\r\nContent-Length: 0", "9110 15"),
    response("status with fraction", b"HTTP/1.1 403.14 No\r\nContent-Length: 0", "9110 15"),
    response("no space after status", b"HTTP/1.1 200\r\nContent-Length: 0", "9112 4"),
    response("no space before reason", b"HTTP/1.1 200OK\r\nContent-Length: 0", "9112 4"),
    response("NUL in reason", b"HTTP/1.1 200 O\0K\r\nContent-Length: 0", "9112 4"),
    response("control byte in reason", b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0", "9112 4"),
    response("DEL in reason", b"HTTP/1.1 200 O\x7fK\r\nContent-Length: 0", "9112 4"),
    response("bare CR in reason", b"HTTP/1.1 200 OK\rX: y\r\nContent-Length: 0", "9112 2.2"),
    response("bare LF after the status line", b"HTTP/1.1 200 OK\nContent-Length: 0", "9112 2.2"),
    Case("bare LF everywhere", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 502, "9112 2.2"),
    response("a request instead of a response", b"GET / HTTP/1.1\r\nHost: a", "9112 4"),
    Case("TLS alert", b"\x15\x03\x03\x00\x02\x02\x46", 502, "9112 4"),
    Case("SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n", 502, "9112 4"),
    Case("HTTP/2 settings", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\1\0\0\0\5\0\xff\xff\xff", 502, "9113 3.4"),
    # --- fields ---
    response("space before the first field", b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0", "9112 2.2"),
    answer("space before colon", b"Content-Length : 0", "9112 5.1"),
    answer("empty name", b": y\r\nContent-Length: 0", "9110 5.1"),
    answer("no colon", b"X\r\nContent-Length: 0", "9112 5"),
    answer("space in a name", b"X Y: z\r\nContent-Length: 0", "9110 5.1"),
    answer("NUL in a name", b"X\0: z\r\nContent-Length: 0", "9110 5.1"),
    answer("non-ASCII in a name", b"X\xff: z\r\nContent-Length: 0", "9110 5.1"),
    answer("second status line", b"HTTP/1.1 200 OK\r\nContent-Length: 0", "9110 5.1"),
    answer("NUL in a value", b"X: \0\r\nContent-Length: 0", "9110 5.5"),
    answer("DEL in a value", b"X: \x7f\r\nContent-Length: 0", "9110 5.5"),
    answer("bare CR splits the response", b"X: y\rSet-Cookie: a=b\r\nContent-Length: 0", "9112 2.2"),
    answer("bare LF after a field", b"X: y\nContent-Length: 0", "9112 2.2"),
    answer("folded value", b"X: y\r\n z\r\nContent-Length: 0", "9112 5.2"),
    answer("fold hides the length", b"X: y\r\n Content-Length: 9\r\nContent-Length: 0", "9112 5.2"),
    answer("head over the limit", b"X: " + b"a" * 40000, "9110 5.4"),
    answer("more fields than the limit", b"\r\n".join(b"X-%d: y" % i for i in range(120)), "9110 5.4"),
    # --- framing ---
    answer("CL and TE", b"Content-Length: 5\r\nTransfer-Encoding: chunked", "9112 6.1", b"0\r\n\r\n"),
    answer("TE and CL", b"Transfer-Encoding: chunked\r\nContent-Length: 5", "9112 6.1", b"0\r\n\r\n"),
    answer("two lengths that differ", b"Content-Length: 5\r\nContent-Length: 6", "9112 6.3", b"hello!"),
    answer("two lengths that agree", b"Content-Length: 5\r\nContent-Length: 5", "9112 6.3", b"hello"),
    answer("list of lengths", b"Content-Length: 5, 5", "9112 6.3", b"hello"),
    answer("length with plus", b"Content-Length: +5", "9110 8.6", b"hello"),
    answer("length with minus", b"Content-Length: -1", "9110 8.6"),
    answer("length in hexadecimal", b"Content-Length: 0x5", "9110 8.6", b"hello"),
    answer("empty length", b"Content-Length:", "9110 8.6"),
    answer("length of 2**64 + 5", b"Content-Length: 18446744073709551621", "9110 8.6", b"hello"),
    answer("gzip, chunked", b"Transfer-Encoding: gzip, chunked", "9112 6.1", b"0\r\n\r\n"),
    answer("gzip", b"Transfer-Encoding: gzip", "9112 6.1", b"x"),
    answer("identity", b"Transfer-Encoding: identity", "9112 6.1", b"x"),
    answer("chunked, gzip", b"Transfer-Encoding: chunked, gzip", "9112 6.1", b"0\r\n\r\n"),
    answer("chunked twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "9112 6.1", b"0\r\n\r\n"),
    answer("empty coding", b"Transfer-Encoding:", "9112 6.1", b"0\r\n\r\n"),
    answer("chunked with control byte", b"Transfer-Encoding: \x0bchunked", "9110 5.5", b"0\r\n\r\n"),
    response("chunked in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", "9112 6.1", b"0\r\n\r\n"),
    response("204 with length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5", "9110 8.6", b"hello"),
    response("204 with coding", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked", "9112 6.1", b"0\r\n\r\n"),
    response("103 with length", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5", "9110 8.6", b"hello"),
    response("100 with coding", b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked", "9112 6.1", b"0\r\n\r\n"),
    response("101 without Upgrade", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade", "9110 15.2.2"),
    response("101 without Connection", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket", "9110 7.8"),
    response(
        "101 in HTTP/1.0", b"HTTP/1.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket", "9110 7.8"
    ),
    # --- chunked bodies ---
    answer_chunked("size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    answer_chunked("size with plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    answer_chunked("size with trailing space", b"5 \r\nhello\r\n0\r\n\r\n"),
    answer_chunked("no size", b"\r\nhello\r\n0\r\n\r\n"),
    answer_chunked("size of 2**64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    answer_chunked("bare LF after size", b"5\nhello\r\n0\r\n\r\n", "9112 7.1, errata 7633"),
    answer_chunked("bare CR in extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n", "9112 7.1.1"),
    answer_chunked("extension over the limit", b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n", "9112 7.1.1"),
    answer_chunked("data longer than its size", b"4\r\nhello\r\n0\r\n\r\n"),
    answer_chunked("data shorter than its size", b"6\r\nhello\r\n0\r\n\r\n"),
    answer_chunked("no chunks but text", b"hello"),
    answer_chunked("folded trailer", b"0\r\nX: a\r\n b\r\n\r\n", "9112 7.1.2"),
    answer_chunked("trailer with bare LF", b"0\r\nX: a\n\n", "9112 7.1.2"),
]
