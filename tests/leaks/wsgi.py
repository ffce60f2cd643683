"""Requests through the WSGI code, in gevent's hub."""

import logging
import socket

import gevent
from tests.leaks.table import operation

from fastcore.reactor import Reactor
from fastcore.wsgi import WSGIServer

REACTOR = Reactor()
REACTOR.start()


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body) + 2))])
    return [b"ok", body]


LISTENER = socket.create_server(("127.0.0.1", 0))
LISTENER.setblocking(False)
SILENT = logging.getLogger("tests.leaks.silent")
SILENT.disabled = True
SERVER = WSGIServer(REACTOR, application, environ={"wsgi.url_scheme": "http"}, error_log=SILENT)
SERVER.listen(LISTENER)
CLIENT = socket.create_connection(LISTENER.getsockname())
CLIENT.setblocking(False)


def asked(client: socket.socket, request: bytes) -> bytes:
    client.send(request)
    for _ in range(10_000):
        gevent.sleep(0)
        try:
            return client.recv(10_000)
        except BlockingIOError:
            continue
    raise AssertionError("no answer")


@operation("requests on one connection", weight=10, foreign=True)
def kept() -> None:
    assert asked(CLIENT, b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert b"okabc" in asked(CLIENT, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")


@operation("a connection whose request is refused", weight=50, foreign=True)
def refused() -> None:
    with socket.create_connection(LISTENER.getsockname()) as client:
        client.setblocking(False)
        assert asked(client, b"GET /\x00 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")
    for _ in range(10):
        gevent.sleep(0)
