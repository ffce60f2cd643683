"""Faults around the gateway: each is one clear sentence, the service goes on, and health and figures tell."""

import contextlib
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import ASAN, ROOT, SECONDS, Gateway, RawUpstream, answer, answer_forever, eventually, free_ports, get

Start = Callable[..., Gateway]
Make = Callable[..., RawUpstream]


def settings(address: str, more: str = "") -> str:
    return f"upstreams: {{u: {{targets: ['{address}']}}}}\nroutes: [{{path: /, upstream: u}}]\n{more}"


def health(gateway: Gateway) -> str:
    return str(gateway.get("/upstreams")[1][0]["targets"][0]["health"])


def test_target_that_comes_back(start_gateway: Start) -> None:
    port = free_ports(1)[0]
    gateway = start_gateway(settings(f"127.0.0.1:{port}"))
    assert health(gateway) == "up", "nobody has tried yet"
    assert gateway.ask(get()).status == 502
    assert health(gateway) == "down"
    assert gateway.get("/readyz")[0] == 200, "the gateway itself is well"
    with socket.create_server(("127.0.0.1", port)) as listener, gateway.connect() as client:
        client.send(get())
        target, _ = listener.accept()
        with target:
            target.recv(4096)
            target.sendall(answer())
            assert client.read_response().body == b"ok", "the only target is tried though it was down"
            assert health(gateway) == "up"
            target.shutdown(socket.SHUT_WR)
            assert target.recv(1) == b""


def test_full_disk(start_gateway: Start, make_upstream: Make) -> None:
    upstream = make_upstream().serve(answer_forever)
    gateway = start_gateway(settings(upstream.address, "access_log: /dev/full"))
    for _ in range(20):
        assert gateway.ask(get()).body == b"ok"
    gateway.wait_log("access log /dev/full: No space left on device; lines are lost")
    figures = eventually(lambda: (found := gateway.figures())["log_lost_total"] == 20 and found)
    assert figures["log_failing"] == 1
    worker = gateway.get("/status")[1]["workers"][0]
    assert worker["access_log"]["last_errno"] == 28
    assert gateway.get("/readyz")[0] == 200
    assert gateway.ask(get()).body == b"ok"


@pytest.mark.skipif(ASAN, reason="the sanitizer's symbolizer needs descriptors of its own")
def test_out_of_descriptors(start_gateway: Start, make_upstream: Make) -> None:
    upstream = make_upstream().serve(answer_forever)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    gateway = start_gateway(settings(upstream.address), limit=limit)
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(gateway.connect()) for _ in range(100)]
        gateway.wait_log("cannot accept connections: Too many open files; clients wait in the kernel's queue")
        clients[0].send(get())
        got = clients[0].read_response()
        assert got.status == 503, "no descriptor for a connection to the target either"
        assert got.problem["type"] == "urn:fastcore:problem:overloaded"
        clients[0].send(get())  # the connection lives
        for client in clients[1:50]:
            client.close()
        while clients[0].read_response().status == 503:  # as many turns as the freed descriptors take
            clients[0].send(get())
        clients[99].send(get())
        assert clients[99].read_response().body == b"ok", "who waited in the queue is served"
        gateway.wait_log("accepting connections again")
    assert health(gateway) == "up", "the target is not to blame"
    eventually(lambda: gateway.figures()["connections"] == 0)


def command(file: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "apps.cli", "gateway", "-c", str(file)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize("log", ["/nowhere/access.log", "/"])
def test_log_that_cannot_be_opened_refuses_the_start(tmp_path: Path, log: str) -> None:
    file = tmp_path / "g.yaml"
    listen, control = free_ports(2)
    file.write_text(
        f"listen: '127.0.0.1:{listen}'\ncontrol: '127.0.0.1:{control}'\naccess_log: {log}\n" + settings("127.0.0.1:1")
    )
    ended = command(file)
    assert ended.returncode == 78
    assert f"access_log.path: {log}: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_taken_port(start_gateway: Start, tmp_path: Path) -> None:
    gateway = start_gateway(settings("127.0.0.1:1"))
    ended = command(gateway.file)
    assert ended.returncode == 69
    assert f"127.0.0.1:{gateway.port} is taken" in ended.stderr
    assert gateway.get("/readyz")[0] == 200


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ("nonsense: 1", "nonsense: unknown key"),
        ("access_log: /nowhere/access.log", "access_log.path: /nowhere/access.log: No such file or directory"),
        ("routes: [", "not YAML: expected the node content"),
    ],
)
def test_broken_settings_on_reload(start_gateway: Start, make_upstream: Make, broken: str, word: str) -> None:
    upstream = make_upstream().serve(answer_forever)
    good = settings(upstream.address)
    gateway = start_gateway(good)
    gateway.write(broken if broken.startswith("routes") else good + broken)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_log("reload refused, the running settings stay")
    gateway.wait_log(word)
    assert gateway.ask(get()).body == b"ok"
    assert gateway.get("/readyz")[0] == 200


def test_reload_finishes_what_is_under_way(start_gateway: Start, make_upstream: Make) -> None:
    old, new = make_upstream(), make_upstream().serve(answer_forever)
    gateway = start_gateway(settings(old.address))
    worker = gateway.worker
    with gateway.connect() as client, gateway.connect() as idle:
        client.send(get())
        with old.accept() as target:
            target.read_request()
            gateway.write(settings(new.address))
            gateway.process.send_signal(signal.SIGHUP)
            eventually(lambda: gateway.worker != worker)
            assert idle.ended(), "the old worker drains"
            target.send(answer(b"late"))
            got = client.read_response()
        assert (got.body, got["connection"]) == (b"late", "close")
        assert client.ended()
    assert gateway.ask(get()).body == b"ok"


def test_stop_waits_for_what_is_under_way(start_gateway: Start, make_upstream: Make) -> None:
    upstream = make_upstream()
    gateway = start_gateway(settings(upstream.address))
    with gateway.connect() as client, gateway.connect() as idle:
        client.send(get())
        with upstream.accept() as target:
            target.read_request()
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_log("Handling signal: term")
            assert idle.ended()
            target.send(answer(b"last"))
            got = client.read_response()
        assert (got.body, got["connection"]) == (b"last", "close")
        assert client.ended()
    assert gateway.process.wait(SECONDS) == 0
