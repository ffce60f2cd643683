"""Published keys: when they are fetched, and what stays in force when that fails. The clock and the server are the test's."""

import json
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest
from tokens import jwk, private, rsa_key

from apps.gateway.issuer_http import BYTES_MAX, fetcher
from apps.gateway.jwk import Key, parse_set
from apps.gateway.jwks import RemoteKeys


class Issuer:
    """What the next fetch brings, or the error it ends with; `hold` keeps it until `release`."""

    def __init__(self) -> None:
        self.answer: list[dict[str, Any]] | Exception = [jwk(rsa_key(0), kid="a")]
        self.fetches = 0
        self.released = gevent.event.Event()
        self.released.set()
        self.now = 0.0
        self.withdrawn: list[Key] = []

    def fetch(self) -> bytes:
        self.fetches += 1
        self.released.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return json.dumps({"keys": self.answer}).encode()

    def keys(self) -> RemoteKeys:
        return RemoteKeys(
            "test",
            self.fetch,
            parse_set,
            refresh=600,
            interval=10,
            withdrawn=self.withdrawn.append,
            clock=lambda: self.now,
        )


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def kids(keys: RemoteKeys) -> list[str | None]:
    return [key.kid for key in keys.current.keys] if keys.current else []


def test_there_are_none_before_the_first_fetch(issuer: Issuer) -> None:
    keys = issuer.keys()
    assert keys.current is None and keys.would_fetch()
    assert keys.fetch()
    assert kids(keys) == ["a"] and keys.error == "" and keys.fetched == 0.0


def test_between_two_fetches_the_interval_passes(issuer: Issuer) -> None:
    keys = issuer.keys()
    keys.fetch()
    issuer.now = 9.9
    assert not keys.would_fetch() and not keys.fetch()
    assert issuer.fetches == 1
    issuer.now = 10.0
    assert keys.fetch() and issuer.fetches == 2


def test_rotation_tells_what_was_withdrawn(issuer: Issuer) -> None:
    keys = issuer.keys()
    keys.fetch()
    issuer.now, issuer.answer = 10.0, [jwk(rsa_key(0), kid="renamed"), jwk(rsa_key(1), kid="b")]
    keys.fetch()
    assert kids(keys) == ["renamed", "b"] and issuer.withdrawn == []  # the same key under another name is the same
    issuer.now, issuer.answer = 20.0, [jwk(rsa_key(1), kid="b")]
    keys.fetch()
    assert [key.kid for key in issuer.withdrawn] == ["renamed"]


@pytest.mark.parametrize(
    "failure", [OSError("refused"), ValueError("odd"), [], [{"kty": "oct", "k": "AAAA", "alg": "HS256"}]]
)
def test_old_keys_stay_while_fetching_fails(issuer: Issuer, failure: Any) -> None:
    keys = issuer.keys()
    keys.fetch()
    for number in range(1, 4):
        issuer.now, issuer.answer = number * 10.0, failure
        assert keys.fetch()
        assert kids(keys) == ["a"] and keys.error and keys.failures == number and issuer.withdrawn == []
    issuer.now, issuer.answer = 40.0, [jwk(private("ES256"), kid="b")]
    keys.fetch()
    assert kids(keys) == ["b"] and keys.error == ""


def test_a_failed_fetch_counts_for_the_interval(issuer: Issuer) -> None:
    issuer.answer = OSError("refused")
    keys = issuer.keys()
    keys.fetch()
    assert not keys.fetch() and keys.current is None and issuer.fetches == 1


def test_all_who_need_keys_wait_for_one_fetch(issuer: Issuer) -> None:
    keys = issuer.keys()
    issuer.released.clear()
    waiting = [gevent.spawn(keys.fetch) for _ in range(10)]
    gevent.sleep(0)
    assert keys.would_fetch() and not any(greenlet.ready() for greenlet in waiting)
    issuer.released.set()
    assert all(greenlet.get(timeout=5) for greenlet in waiting)
    assert issuer.fetches == 1


def test_keys_are_fetched_again_and_sooner_after_a_failure(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    done = gevent.event.Event()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        issuer.now += seconds
        issuer.answer = OSError("refused") if len(pauses) == 1 else [jwk(rsa_key(0))]
        if len(pauses) == 3:
            done.set()
            done.clear()
            gevent.event.Event().wait()

    monkeypatch.setattr("apps.gateway.jwks.gevent.sleep", sleep)
    keys = issuer.keys()
    keys.start()
    assert done.wait(5)
    keys.stop()
    assert pauses == [600, 10, 600]


Answer = Callable[[dict[str, Any], Callable[..., Any]], list[bytes]]


@pytest.fixture
def serve() -> Any:
    from gevent.pywsgi import WSGIServer

    servers = []

    def start(app: Answer) -> str:
        servers.append(WSGIServer(("127.0.0.1", 0), app, log=None))
        servers[-1].start()
        return f"http://127.0.0.1:{servers[-1].server_port}/jwks"

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def cooperative_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker, which gunicorn patches: server and client share this thread."""
    import http.client

    import gevent.socket

    monkeypatch.setattr(http.client.socket, "create_connection", gevent.socket.create_connection)


@pytest.mark.usefixtures("cooperative_sockets")
def test_fetching(serve: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert "json" in environ["HTTP_ACCEPT"]
        start_response("200 OK", [])
        return [b"{}"]

    assert fetcher(serve(app), 5)() == b"{}"


@pytest.mark.usefixtures("cooperative_sockets")
def test_what_is_not_fetched(serve: Any) -> None:
    def drips(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        while True:
            write(b" ")
            gevent.sleep(0.01)

    def app(environ: Any, start_response: Any) -> Any:
        wanted = environ["PATH_INFO"]
        if wanted == "/jwks":  # where /moved leads
            start_response("200 OK", [])
            return [b"{}"]
        if wanted == "/large":
            start_response("200 OK", [])
            return [b" " * (BYTES_MAX + 1)]
        start_response({"/moved": "302 Found", "/error": "500 Oops"}[wanted], [("Location", "/jwks")])
        return [b""]

    url = serve(app).removesuffix("/jwks")
    for path, error in (("/large", ValueError), ("/moved", OSError), ("/error", OSError)):
        with pytest.raises(error):
            fetcher(url + path, 5)()
    with pytest.raises(TimeoutError, match="not complete"):
        fetcher(serve(drips), 0.2)()
