"""The opening handshake: RFC 6455 section 4 and RFC 7692 section 7.1, both sides."""

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request
from wsproto.extensions import PerMessageDeflate

from fastcore.http import RequestParser, ResponseParser
from fastcore.websocket import (
    Deflate,
    Handshake,
    HandshakeError,
    accept_key,
    client_handshake,
    client_headers,
    client_key,
    server_handshake,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
EXTENSIONS = b"Sec-WebSocket-Extensions"


def request(*more, without=None, **options):
    fields = [(b"Host", b"x"), *client_headers(KEY, **options), *more]
    return [field for field in fields if field[0] != without]


def answered(done):
    return dict(done.headers)


def test_the_example_of_the_rfc():
    assert accept_key(KEY) == accept_key(KEY.decode()) == ACCEPT
    done = server_handshake("GET", request())
    assert done.headers == [
        (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Accept", ACCEPT),
    ]  # fmt: skip
    assert (done.protocol, done.deflate) == (None, None)
    agreed = client_handshake(KEY, 101, done.headers)
    assert (agreed.protocol, agreed.deflate, agreed.headers) == (None, None, [])


def test_keys():
    keys = {client_key() for _ in range(100)}
    assert len(keys) == 100 and all(len(key) == 24 and accept_key(key) for key in keys)
    for bad in (b"", b"x" * 24, KEY[:-1], KEY + b"="):
        with pytest.raises(ValueError):
            accept_key(bad)
        with pytest.raises(ValueError):
            client_headers(bad)
    with pytest.raises(TypeError):
        accept_key(None)


@pytest.mark.parametrize(
    ("method", "version", "fields", "name", "status"),
    [
        ("POST", "1.1", request(), "not_get", 405),
        ("get", "1.1", request(), "not_get", 405),
        ("GET", "1.0", request(), "old_http", 400),
        ("GET", "1.1", request(without=b"Upgrade"), "no_upgrade", 426),
        ("GET", "1.1", request(without=b"Connection"), "no_upgrade", 426),
        ("GET", "1.1", request((b"connection", b"close"), without=b"Connection"), "no_upgrade", 426),
        ("GET", "1.1", request(without=b"Sec-WebSocket-Version"), "bad_version", 426),
        ("GET", "1.1", request((b"Sec-WebSocket-Version", b"8"), without=b"Sec-WebSocket-Version"), "bad_version", 426),
        ("GET", "1.1", request(without=b"Sec-WebSocket-Key"), "bad_key", 400),
        ("GET", "1.1", request((b"Sec-WebSocket-Key", KEY)), "bad_key", 400),
        ("GET", "1.1", request((b"Sec-WebSocket-Protocol", b"a/b")), "bad_protocols", 400),
        ("GET", "1.1", request((EXTENSIONS, b"a; b=")), "bad_extensions", 400),
    ],
)
def test_requests_that_are_refused(method, version, fields, name, status):
    with pytest.raises(HandshakeError) as caught:
        server_handshake(method, fields, http_version=version)
    assert (caught.value.name, caught.value.status) == (name, status)
    headers = dict(caught.value.headers)
    assert (headers.get(b"Sec-WebSocket-Version") == b"13") == (status == 426)
    assert (headers.get(b"Allow") == b"GET") == (status == 405)


def test_fields_are_bytes_or_str_in_any_case():
    fields = [(name.decode().upper(), value.decode()) for name, value in request()]
    assert answered(server_handshake("GET", fields))[b"Sec-WebSocket-Accept"] == ACCEPT
    text = b"GET / HTTP/1.1\r\n" + b"".join(b"%s: %s\r\n" % field for field in request()) + b"\r\n"
    head = RequestParser().parse_head(text)
    done = server_handshake(head.method, head.headers, http_version=head.http_version)
    text = b"HTTP/1.1 101 Switching Protocols\r\n" + b"".join(b"%s: %s\r\n" % field for field in done.headers) + b"\r\n"
    response = ResponseParser().parse_head(text)
    assert isinstance(client_handshake(KEY, response.status, response.headers), Handshake)
    for fields in ([(1, b"x")], [(b"Host", None)], [b"x"], None):
        with pytest.raises((TypeError, IndexError)):
            server_handshake("GET", fields)


def test_protocols():
    fields = request(protocols=["mqtt", "v2.chat", "v1.chat"])
    done = server_handshake("GET", fields, protocols=["v1.chat", "v2.chat"])
    assert done.protocol == "v2.chat" and answered(done)[b"Sec-WebSocket-Protocol"] == b"v2.chat"
    assert client_handshake(KEY, 101, done.headers, protocols=["mqtt", "v2.chat"]).protocol == "v2.chat"
    with pytest.raises(HandshakeError, match="Protocol"):
        client_handshake(KEY, 101, done.headers, protocols=["V2.chat"])
    none = server_handshake("GET", fields, protocols=["other"])
    assert none.protocol is None and b"Sec-WebSocket-Protocol" not in answered(none)
    several = request((b"Sec-WebSocket-Protocol", b"a"), (b"Sec-WebSocket-Protocol", b"b, c"))
    assert server_handshake("GET", several, protocols=["c", "b"]).protocol == "b"
    with pytest.raises(TypeError):
        server_handshake("GET", fields, protocols="chat")
    for bad in (["a b"], [""], ["a,b"], ["é"]):
        with pytest.raises(ValueError):
            client_headers(KEY, protocols=bad)


@pytest.mark.parametrize(
    ("status", "change", "name"),
    [
        (200, {}, "bad_status"),
        (-1, {}, "bad_status"),
        (101, {b"Upgrade": b"h2c"}, "no_upgrade"),
        (101, {b"Connection": b"close"}, "no_upgrade"),
        (101, {b"Sec-WebSocket-Accept": b"x"}, "bad_accept"),
        (101, {EXTENSIONS: b"permessage-deflate"}, "bad_extensions"),
        (101, {b"Sec-WebSocket-Protocol": b"chat"}, "bad_protocols"),
    ],
)
def test_answers_that_fail_the_connection(status, change, name):
    headers = {**answered(server_handshake("GET", request())), **change}
    with pytest.raises(HandshakeError) as caught:
        client_handshake(KEY, status, headers.items())
    assert caught.value.name == name and caught.value.headers == []


GRID = [
    Deflate(
        server_no_context_takeover=s, client_no_context_takeover=c, server_max_window_bits=b, client_max_window_bits=d
    )
    for s in (False, True)
    for c in (False, True)
    for b in (8, 11, 15)
    for d in (9, 15)
]


@pytest.mark.parametrize("offered", GRID, ids=repr)
def test_both_sides_agree(offered):
    for policy in GRID:
        done = server_handshake("GET", request(deflate=offered), deflate=policy)
        agreed = client_handshake(KEY, 101, done.headers, deflate=offered).deflate
        assert agreed == done.deflate == Deflate(
            server_no_context_takeover=offered.server_no_context_takeover or policy.server_no_context_takeover,
            client_no_context_takeover=offered.client_no_context_takeover or policy.client_no_context_takeover,
            server_max_window_bits=min(offered.server_max_window_bits, policy.server_max_window_bits),
            client_max_window_bits=min(offered.client_max_window_bits, policy.client_max_window_bits),
        )  # fmt: skip


def test_no_compression():
    assert server_handshake("GET", request(deflate=Deflate())).deflate is None
    assert server_handshake("GET", request(), deflate=Deflate()).deflate is None
    assert client_handshake(KEY, 101, server_handshake("GET", request()).headers, deflate=Deflate()).deflate is None


def test_parameters_are_values():
    assert Deflate() == Deflate() and hash(Deflate()) == hash(Deflate()) and Deflate() != "x"
    assert Deflate(server_max_window_bits=9) != Deflate()
    assert eval(repr(GRID[5])) == GRID[5]  # noqa: S307
    for options in ({"server_max_window_bits": 7}, {"client_max_window_bits": 16}):
        with pytest.raises(ValueError):
            Deflate(**options)
    for options in ({"server_max_window_bits": "9"}, {"client_max_window_bits": None}):
        with pytest.raises(TypeError):
            Deflate(**options)
    with pytest.raises(AttributeError):
        Deflate().server_max_window_bits = 9
    with pytest.raises(TypeError):
        Handshake()


# --- an outsider ------------------------------------------------------------------------------------------------------
def test_wsproto_takes_our_answer():
    peer = WSConnection(ConnectionType.CLIENT)
    text = peer.send(Request(host="x", target="/", subprotocols=["a", "b"], extensions=[PerMessageDeflate()]))
    head = RequestParser().parse_head(text)
    done = server_handshake(head.method, head.headers, protocols=["b"], deflate=Deflate(server_max_window_bits=10))
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\n" + b"".join(b"%s: %s\r\n" % field for field in done.headers) + b"\r\n"
    )
    peer.receive_data(answer)
    (event,) = peer.events()
    assert isinstance(event, AcceptConnection) and event.subprotocol == "b"
    assert event.extensions[0].server_max_window_bits == 10


def test_we_take_the_answer_of_wsproto():
    key = client_key()
    fields = [(b"Host", b"x"), *client_headers(key, protocols=["a", "b"], deflate=Deflate())]
    peer = WSConnection(ConnectionType.SERVER)
    peer.receive_data(b"GET / HTTP/1.1\r\n" + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n")
    next(peer.events())
    text = peer.send(AcceptConnection(subprotocol="a", extensions=[PerMessageDeflate(client_max_window_bits=12)]))
    parser = ResponseParser()
    parser.expect("GET")
    response = parser.feed(text)[0]
    agreed = client_handshake(key, response.status, response.headers, protocols=["a", "b"], deflate=Deflate())
    assert agreed.protocol == "a" and agreed.deflate is not None
