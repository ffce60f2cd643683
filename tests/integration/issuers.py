"""An issuer of tokens that rotates its keys, fails and hangs, and gateways that believe it."""

import contextlib
import hashlib
import http.client
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from servers import SECONDS, Gateway, Message, RawUpstream, get
from tokens import ISSUER, jwk, rsa_key, token

KEY = "fc_a-key.of~alice"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


class Issuer:
    """Publishes JWK Sets, and answers questions about tokens with what it `says`. mode: ok, fail, or hang until `release`."""

    def __init__(self) -> None:
        self.keys = [jwk(rsa_key(0), kid="a")]
        self.mode = "ok"
        self.fetches = 0
        self.questions: list[tuple[str, bytes]] = []
        self.says: dict[str, Any] = {"active": True, "sub": "alice", "scope": "read"}
        self.released = threading.Event()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                if issuer.mode == "hang":
                    issuer.released.wait(SECONDS)
                body = json.dumps({"keys": issuer.keys}).encode()
                with contextlib.suppress(OSError):
                    self.send_response(500 if issuer.mode == "fail" else 200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def do_POST(self) -> None:
                issuer.questions.append(
                    (self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"])))
                )
                body = json.dumps(issuer.says).encode()
                self.send_response(500 if issuer.mode == "fail" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def release(self) -> None:
        self.mode = "ok"
        self.released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(SECONDS)


def settings(
    issuer: Issuer,
    upstream: RawUpstream,
    *,
    jwt: str = "",
    auth: str = "",
    route: str = "",
    more: str = "",
    log: str = "{path: '-', subject: true}",
) -> str:
    """log: "off" where there are many lines: those of two workers in one pipe are whole only while they are few."""
    return f"""
access_log: {log}
auth:
  {auth}
  providers:
    main:
      jwt: {{issuer: '{ISSUER}', audience: api, jwks_url: '{issuer.url}', leeway: 0s, jwks_interval: 100ms, {jwt}}}
      headers: {{X-User: sub, X-Roles: roles}}
    keys:
      api_keys: {{header: X-API-Key, keys: [{{sha256: '{DIGEST}', subject: alice, scopes: read}}]}}
      headers: {{X-User: sub}}
    links:
      api_keys: {{query: key, keys: [{{sha256: '{DIGEST}', subject: alice}}]}}
upstreams: {{u: {{targets: ['{upstream.address}']}}}}
routes:
- {{name: token, path: /token, upstream: u, auth: main, {route}}}
- {{name: either, path: /either, upstream: u, auth: [main, keys]}}
- {{name: scoped, path: /scoped, upstream: u, auth: {{providers: [main, keys], scopes: [read]}}}}
- {{name: two, path: /two, upstream: u, auth: {{providers: main, scopes: [read, write]}}}}
- {{name: maybe, path: /maybe, upstream: u, auth: {{providers: [main, keys], required: false}}}}
- {{name: link, path: /link, upstream: u, auth: links}}
- {{name: open, path: /open, upstream: u}}
{more}
"""


def made(key: int = 0, kid: str | None = "a", **claims: Any) -> str:
    header = {"kid": kid} if kid else {}
    return token("RS256", rsa_key(key), header, **{"exp": time.time() + 600, **claims}).decode()


def bearer(credential: str) -> str:
    return f"Authorization: Bearer {credential}"


numbers = itertools.count(1)
last = 0


def ask(gateway: Gateway, path: str, *lines: str) -> Message:
    """Its number goes along, so that it can be found among what an upstream gets from two workers."""
    global last
    last = next(numbers)
    return gateway.ask(get(path, *lines, f"X-Number: {last}"))


def last_request(upstream: RawUpstream) -> str:
    """The head of what was asked last, as the upstream got it."""
    mark = f"\r\nX-Number: {last}\r\n"
    heads = [head for wire in upstream.wires for head in bytes(wire.received).decode("latin-1").split("\r\n\r\n")]
    return next(head for head in heads if mark in f"{head}\r\n")


def revoke(gateway: Gateway, **what: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.control, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", "/tokens/revoke", json.dumps(what), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def settled(gateway: Gateway) -> dict[str, float]:
    """Figures once no exchange is under way."""
    gateway.quiet()
    return {name: value for name, value in gateway.figures().items() if name.startswith("auth_")}
