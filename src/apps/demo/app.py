"""What `fastcore up` puts behind the gateway: a small Falcon app that shows what arrives."""

import time
from collections.abc import Iterator
from typing import Any

import falcon

PAGE = b"""<!doctype html>
<meta charset="utf-8"><title>fastcore demo</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
</style>
<h1>It works</h1>
<p>This page came from a Falcon application through the fastcore gateway.</p>
<ul><li><a href="/echo">/echo</a> what the application received</li>
<li><a href="/bytes/10240">/bytes/10240</a> an answer of that many bytes</li>
<li><a href="/slow">/slow</a> ten lines, one every 200 ms</li></ul>
"""
MOST_BYTES = 1 << 30
PIECE = b"0123456789abcdef" * 4096


class Page:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "text/html; charset=utf-8"
        resp.data = PAGE


class Echo:
    """The request as the application saw it: shows rewrites and forwarded fields."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"method": req.method, "path": req.path, "query": req.query_string, "headers": dict(req.headers)}

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        size = 0
        while piece := req.bounded_stream.read(65536):
            size += len(piece)
        resp.media = {"method": req.method, "path": req.path, "body_bytes": size}

    on_put = on_post


class Bytes:
    def on_get(self, req: falcon.Request, resp: falcon.Response, size: int) -> None:
        if size > MOST_BYTES:
            raise falcon.HTTPBadRequest(description=f"at most {MOST_BYTES} bytes")
        resp.content_type = "application/octet-stream"
        resp.content_length = size
        resp.stream = pieces(size)


def pieces(size: int) -> Iterator[bytes]:
    """`size` bytes in pieces of 64 KB, so that a large answer costs no memory."""
    while size > 0:
        piece = PIECE[:size]
        size -= len(piece)
        yield piece


class Slow:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "text/plain"
        resp.stream = lines()


def lines() -> Iterator[bytes]:
    for number in range(10):
        yield b"line %d\n" % number
        time.sleep(0.2)


def create_app() -> "falcon.App[Any, Any]":
    app: falcon.App[Any, Any] = falcon.App()
    app.add_route("/", Page())
    app.add_route("/echo", Echo())
    app.add_route("/bytes/{size:int(min=0)}", Bytes())
    app.add_route("/slow", Slow())
    return app


app = create_app()
