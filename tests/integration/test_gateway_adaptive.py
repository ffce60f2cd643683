"""Adaptive concurrency: who is held back, who is not, and when a place is free again. How much an upstream can bear under
load is measured by perf/load_overload.py."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest
from servers import SECONDS, Gateway, RawUpstream, Wire, answer, eventually, get

from apps.gateway.config import load_settings

SETTINGS = """\
access_log: "-"
timeouts: {{first_byte: 30s}}
upstreams:
  four: {{targets: ['{address}'], retries: {{attempts: 0}}, adaptive: {{initial: 4, minimum: 4, maximum: 4}}}}
  free: {{targets: ['{address}'], adaptive: {{initial: 8, minimum: 1, maximum: 10, window: 20ms}}}}
routes:
  - {{path: /low, upstream: four, importance: low}}
  - {{path: /normal, upstream: four}}
  - {{path: /high, upstream: four, importance: high}}
  - {{path: /short, upstream: four, importance: high, timeouts: {{total: 200ms}}}}
  - {{path: /free, upstream: free, importance: high}}
"""


class Held:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside = 0
        self.quick = False
        self.longest = SECONDS
        self.upstream = RawUpstream().serve(self._serve)

    def _serve(self, wire: Wire) -> None:
        while True:
            request = wire.read_request()
            if request["upgrade"]:
                wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                wire.sock.recv(1)
                return
            if not self.quick:
                self.inside += 1
                self.go.wait(self.longest)
                self.inside -= 1
            with contextlib.suppress(OSError):
                wire.send(answer())


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.go.set()
    made.upstream.close()


@pytest.fixture
def gateway(start_gateway: Callable[..., Gateway], held: Held) -> Gateway:
    return start_gateway(SETTINGS.format(address=held.upstream.address))


def adaptive(gateway: Gateway, name: str = "four") -> dict[str, int]:
    found: dict[str, int] = next(u for u in gateway.get("/upstreams")[1] if u["name"] == name)["adaptive"]
    return found


def test_the_least_important_are_held_back_first(gateway: Gateway, held: Held) -> None:
    with contextlib.ExitStack() as stack:

        def send(path: str) -> Wire:
            wire = stack.enter_context(gateway.connect())
            wire.send(get(path))
            return wire

        waiting = [send("/low"), send("/low")]  # 60 % of four
        eventually(lambda: held.inside == 2)
        refused = send("/low").read_response()
        assert (refused.status, refused["retry-after"]) == (503, "1")
        assert refused.problem["type"] == "urn:fastcore:problem:overloaded"
        assert gateway.access_of("/low")["error"] == "shed"
        waiting.append(send("/normal"))  # 85 %
        eventually(lambda: held.inside == 3)
        assert send("/normal").read_response().status == 503
        waiting.append(send("/high"))
        eventually(lambda: held.inside == 4)
        assert send("/high").read_response().status == 503
        assert adaptive(gateway) == {"limit": 4, "in_flight": 4, "shed": 3}
        held.go.set()
        assert [wire.read_response().status for wire in waiting] == [200] * 4
    eventually(lambda: adaptive(gateway)["in_flight"] == 0)
    assert gateway.ask(get("/low")).status == 200
    figures = gateway.figures()
    assert (figures['upstream_shed_total{upstream="four"}'], figures['upstream_limit{upstream="four"}']) == (3, 4)


@pytest.mark.parametrize("end", ["client", "timeout", "upstream", "tunnel"])
def test_every_end_frees_a_place(gateway: Gateway, held: Held, end: str) -> None:
    with gateway.connect() as wire:
        if end == "tunnel":
            wire.send(get("/high", "Connection: Upgrade", "Upgrade: websocket"))
            assert wire.read_response().status == 101
        else:
            wire.send(get("/short" if end == "timeout" else "/high"))
            eventually(lambda: held.inside == 1)
        if end == "client":
            wire.reset()  # a FIN alone would be a client that has asked and goes on reading
        elif end == "timeout":
            assert wire.read_response().status == 504
        elif end == "upstream":
            for target in held.upstream.wires:
                target.close()
            assert wire.read_response().status == 502
        eventually(lambda: adaptive(gateway)["in_flight"] == 0)


def test_the_number_follows_the_latency(gateway: Gateway, held: Held) -> None:
    """Once quick answers have shown what the upstream is at its best, slow ones bring it down."""
    held.quick = True
    stop = threading.Event()
    answers = [0] * 8

    def ask(place: int) -> None:
        with gateway.connect() as wire:
            while not stop.is_set():
                wire.send(get("/free"))
                wire.read_response()
                answers[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: adaptive(gateway, "free")["limit"] == 10)
        eventually(lambda: sum(answers) > 2000)
        # Far beyond what eight threads of one interpreter cost each other, and far below what a baseline forgets in.
        held.longest = 0.2
        held.quick = False
        eventually(lambda: adaptive(gateway, "free")["limit"] < 8)
    finally:
        stop.set()
        held.quick = True
        held.go.set()
        for thread in threads:
            thread.join(SECONDS)


def test_settings() -> None:
    text = "upstreams: {u: {targets: ['127.0.0.1:1'], adaptive: {minimum: 9, maximum: 3}}}\n"
    (problem,) = load_settings("g.yaml", text=text).problems
    assert "minimum <= initial <= maximum" in str(problem)
    assert load_settings("g.yaml", text=text.replace("{minimum: 9, maximum: 3}", "true")).problems == []
