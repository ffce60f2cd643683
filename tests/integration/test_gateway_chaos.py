"""Mixed load while workers are killed at random: every request ends, answers are right, nothing is left over, and what the
gateway counted is what the clients saw. FASTCORE_SOAK_SECONDS (3) says how long; the promise's own measure is 600.
"""

import collections
import contextlib
import gzip
import hashlib
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from http2_frames import Client as Http2Client
from servers import EndOfStream, Gateway, RawUpstream, Wire, children, eventually, get

from endurance import SOAK_SECONDS, SOAK_TIMEOUT

pytestmark = SOAK_TIMEOUT

WORKERS = 4
CLIENTS = 8
KEY = "a-key-of-the-load"
LARGE = bytes(range(256)) * 800
GROWTH_MAX = 16 << 20
SETTINGS = """
cache: {{memory: 8MB}}
hooks: {{folder: {folder}}}
timeouts: {{drain: 5s}}
upstreams: {{u: {{targets: ["{address}"], keepalive: 16}}}}
rate_limits:
  shared: {{rate: 400, burst: 20, by: "header:k"}}
  few: {{concurrent: 3}}
auth:
  providers:
    machines: {{api_keys: {{header: X-API-Key, keys: [{{sha256: {digest}, subject: load}}]}}}}
routes:
  - {{name: plain, path: /plain, upstream: u}}
  - {{name: echo, path: /echo, upstream: u}}
  - {{name: large, path: /large, upstream: u}}
  - {{name: cached, path: /cached, upstream: u, cache: true}}
  - {{name: limited, path: /limited, upstream: u, rate_limits: shared}}
  - {{name: few, path: /few, upstream: u, rate_limits: few}}
  - {{name: known, path: /known, upstream: u, auth: {{providers: machines}}}}
  - {{name: packed, path: /packed, upstream: u, compress: {{br: -1, gzip: 1}}}}
  - {{name: mirrored, path: /mirrored, upstream: u, mirror: u}}
  - {{name: hooked, path: /hooked, upstream: u, hooks: {{on_request: "hook_functions:look", request_body: 1MB, on_response: "hook_functions:sign"}}}}
  - {{name: many, path: /many, upstream: u}}
  - {{name: tunnel, path: /tunnel, upstream: u}}
  - {{name: left, path: /left, upstream: u}}
"""


def origin(wire: Wire) -> None:
    """Says back what it was asked: the path, or the body."""
    while True:
        request = wire.read_request()
        path = request.start.split()[1]
        wire.forget()
        if path == "/tunnel":
            wire.send(b"HTTP/1.1 101 Go on\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            wire.send(wire.read(4))
            return
        body = LARGE if path in ("/large", "/packed") else request.body or path.encode()
        fields = "Cache-Control: max-age=1\r\n" if path.startswith("/cached") else "Content-Type: text/plain\r\n"
        if path == "/large":
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            wire.send(f"HTTP/1.1 200 OK\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = [body[at : at + 3000] for at in range(0, len(body), 3000)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


KINDS = (
    *("plain", "echo", "large", "cached", "limited", "few", "known", "tunnel", "left"),
    *("packed", "mirrored", "hooked", "many"),
)


class Client(threading.Thread):
    """One request after the other, of every kind, on a connection kept as long as it lives."""

    def __init__(self, gateway: Gateway, seed: int, over: threading.Event):
        super().__init__(daemon=True)
        self.gateway, self.over, self.rng = gateway, over, random.Random(seed)
        self.seen: collections.Counter[tuple[str, str]] = collections.Counter()
        """Answers by route and class of status."""
        self.lost: collections.Counter[str] = collections.Counter()
        """Requests by route whose answer never came, or not whole."""
        self.error: BaseException | None = None

    def run(self) -> None:
        wire, kind = None, ""
        try:
            while not self.over.is_set():
                kind = self.rng.choice(KINDS)
                try:
                    wire = wire or self.gateway.connect()
                except ConnectionError:
                    continue  # nobody has the request, so nobody has counted it
                try:
                    status = getattr(self, kind)(wire)
                    self.seen[kind, f"{status // 100}xx"] += bool(status)
                except (ConnectionError, EndOfStream):
                    self.lost[kind] += 1
                    kind = "left"
                wire.forget()
                if kind in ("tunnel", "left"):
                    wire.close()
                    wire = None
        except BaseException as error:
            error.add_note(f"in {kind}")
            self.error = error
        finally:
            if wire:
                wire.close()

    def _ask(self, wire: Wire, path: str, *fields: str, other: tuple[int, ...] = ()) -> int:
        wire.send(get(path, *fields))
        answer = wire.read_response()
        assert answer.status == 200 or answer.status in other, answer.start
        assert answer.status != 200 or answer.body == path.encode()
        return answer.status

    def plain(self, wire: Wire) -> int:
        return self._ask(wire, f"/plain/{self.rng.randrange(1000)}")

    def cached(self, wire: Wire) -> int:
        return self._ask(wire, f"/cached/{self.rng.randrange(20)}")

    def limited(self, wire: Wire) -> int:
        return self._ask(wire, "/limited", f"k: {self.rng.randrange(3)}", other=(429,))

    def few(self, wire: Wire) -> int:
        return self._ask(wire, "/few", other=(429,))

    def known(self, wire: Wire) -> int:
        return self._ask(wire, "/known", f"X-API-Key: {KEY}")

    def echo(self, wire: Wire) -> int:
        body = self.rng.randbytes(self.rng.randrange(1, 20000))
        wire.send(chunked("/echo", body))
        answer = wire.read_response()
        assert (answer.status, answer.body) == (200, body), answer.start
        return answer.status

    def large(self, wire: Wire) -> int:
        wire.send(get("/large"))
        answer = wire.read_response()
        assert (answer.status, answer.body) == (200, LARGE), answer.start
        return answer.status

    def packed(self, wire: Wire) -> int:
        wire.send(get("/packed", "Accept-Encoding: gzip"))
        answer = wire.read_response()
        assert (answer.status, answer["content-encoding"]) == (200, "gzip"), answer.start
        assert gzip.decompress(answer.body) == LARGE
        return answer.status

    def mirrored(self, wire: Wire) -> int:
        return self._ask(wire, f"/mirrored/{self.rng.randrange(1000)}")

    def hooked(self, wire: Wire) -> int:
        body = self.rng.randbytes(self.rng.randrange(1, 20000))
        wire.send(chunked("/hooked", body))
        answer = wire.read_response()
        assert (answer.status, answer.body, answer["x-signed"]) == (200, body, "200 127.0.0.1"), answer.start
        return answer.status

    def many(self, _wire: Wire) -> int:
        """Over HTTP/2, on a connection of its own."""
        with Http2Client(self.gateway.connect()) as client:
            path = f"/many/{self.rng.randrange(1000)}"
            answer = client.get(path)
            if answer.reset is not None:
                raise ConnectionResetError
            assert (answer.status, answer.body) == (200, path.encode())
            return answer.status

    def tunnel(self, wire: Wire) -> int:
        wire.send(get("/tunnel", "Connection: upgrade", "Upgrade: echo"))
        assert wire.read_head().status == 101
        wire.send(b"ping")
        assert wire.read(4) == b"ping"
        return 101

    def left(self, wire: Wire) -> int:
        """Goes away in the middle of its body; nothing is answered, or nothing that is read."""
        wire.send(b"POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        wire.reset()
        return 0


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def segments_of(master: int) -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir() if f"-{master}-" in entry.name}


def all_there(gateway: Gateway) -> bool:
    return len(children(gateway.process.pid)) == WORKERS and gateway.get("/readyz")[0] == 200


def kill_until(gateway: Gateway, seconds: float) -> int:
    """One worker every half a second or so, sometimes two at once; how many."""
    rng, kills, over = random.Random(7), 0, threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.start()
    while not over.wait(rng.uniform(0.2, 0.8)):
        for victim in rng.sample(
            found := sorted(children(gateway.process.pid)), min(len(found) - 1, rng.choice([1, 1, 2]))
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
    timer.join()
    return kills


def test_killed_workers_under_mixed_load(
    start_gateway: Callable[..., Gateway], make_upstream: Callable[..., RawUpstream]
) -> None:
    upstream = make_upstream().serve(origin)
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    text = SETTINGS.format(address=upstream.address, digest=digest, folder=Path(__file__).parent)
    gateway = start_gateway(text, workers=WORKERS)
    master = gateway.process.pid
    eventually(lambda: all_there(gateway), "all workers there")
    over = threading.Event()
    clients = [Client(gateway, seed, over) for seed in range(CLIENTS)]
    held = descriptors(master), gateway.resident(master)
    segments = segments_of(master)
    for client in clients:
        client.start()
    kills = kill_until(gateway, SOAK_SECONDS)
    eventually(lambda: all_there(gateway), "all workers there again")
    over.set()
    for client in clients:
        client.join()
        if client.error:
            raise client.error

    seen: collections.Counter[tuple[str, str]] = sum((client.seen for client in clients), collections.Counter())
    lost: collections.Counter[str] = sum((client.lost for client in clients), collections.Counter())
    print(f"{kills} kills, {seen.total()} answers, {lost.total()} lost: {dict(seen)}")
    assert lost.total() <= CLIENTS * kills, "a kill costs what was under way, and nothing else fails"
    gateway.quiet()
    figures = gateway.figures()
    for (route, code), times in seen.items():
        counted = figures[f'requests_total{{code="{code}",route="{route}"}}']
        # A worker killed between the last byte and the count takes the count with it; an answer that was cut off by the
        # kill, or that the client never read, may have been counted.
        assert times - CLIENTS * kills <= counted <= times + lost[route], (route, code, lost[route])
    everything = sum(seen.values())
    counted = sum(figures[f'requests_total{{code="{code}",route="{route}"}}'] for route, code in seen)
    assert abs(counted - everything) <= lost.total()

    # A worker frees them when it starts and with each round of its figures.
    eventually(lambda: gateway.get("/limits")[1]["table"]["in_flight"] == 0, "places of the dead are freed")
    eventually(lambda: gateway.figures()["connections"] == 0, "no connection is left")
    eventually(lambda: descriptors(master) <= held[0], "no descriptor is left in the master")
    assert gateway.resident(master) - held[1] < GROWTH_MAX
    assert segments_of(master) == segments, "no memory of the dead"
    final = Client(gateway, 99, over)
    for kind in set(KINDS) - {"left"}:
        with gateway.connect() as wire:
            assert getattr(final, kind)(wire) in (101, 200), kind
