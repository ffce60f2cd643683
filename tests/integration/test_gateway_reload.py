"""New settings under traffic: put by the control plane, saved in the file, refused, compared, rolled back; and what they
leave alone."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from issuers import ISSUER, Issuer, made
from servers import SECONDS, Gateway, RawUpstream, Wire, answer, children, eventually, get

from apps.gateway.history import MEMORY, PREFIX

ROUTES = """\
upstreams: {{a: {{targets: ["{a}"]}}, b: {{targets: ["{b}"]}}}}
routes:
  - {{name: first, path: /first, upstream: a}}
  - {{name: other, path: /other, upstream: b}}
"""


def named(name: bytes) -> Callable[[Wire], None]:
    def serve(wire: Wire) -> None:
        while True:
            request = wire.read_request()
            if request["upgrade"]:
                wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                while data := wire.sock.recv(4096):
                    wire.send(data)
                return
            wire.send(answer(name))

    return serve


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, str]]:
    made = {name: RawUpstream().serve(named(name.encode())) for name in ("a", "b", "c")}
    yield {name: upstream.address for name, upstream in made.items()}
    for upstream in made.values():
        upstream.close()


@pytest.fixture
def gateway(start_gateway: Callable[..., Gateway], targets: dict[str, str]) -> Gateway:
    made = start_gateway(ROUTES.format(**targets), workers=2)
    eventually(lambda: len(control(made, "GET", "/config/history")[1]["workers"]) == 2, "both workers serve")
    return made


def control(gateway: Gateway, method: str, path: str, body: str = "", **fields: str) -> tuple[int, Any, str]:
    """Status, document and ETag."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.control, timeout=SECONDS)
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    headers.setdefault("Content-Type", "application/yaml")
    with contextlib.closing(connection):
        connection.request(method, path, body=body.encode() or None, headers=headers)
        got = connection.getresponse()
        return got.status, json.loads(got.read()), got.getheader("etag") or ""


def put(gateway: Gateway, settings: str, query: str = "", **fields: str) -> tuple[int, Any]:
    return control(gateway, "PUT", f"/config{query}", gateway.text(settings), **fields)[:2]


def post(gateway: Gateway, path: str, **document: Any) -> tuple[int, Any]:
    return control(gateway, "POST", path, json.dumps(document), Content_Type="application/json")[:2]


def in_force(gateway: Gateway) -> int:
    number: int = control(gateway, "GET", "/config/history")[1]["in_force"]
    return number


def body(gateway: Gateway, path: str) -> bytes:
    return gateway.ask(get(path)).body


def test_settings_that_are_put_are_in_force_in_every_worker(gateway: Gateway, targets: dict[str, str]) -> None:
    settings = ROUTES.format(**{**targets, "b": targets["c"]}) + "  - {name: new, path: /new, upstream: a}\n"
    status, told = put(gateway, settings)
    assert status == 200, told
    assert told["in_force"] and told["saved"] and told["number"] == 2
    assert sorted(told["workers"].values()) == [2, 2]
    for _ in range(8):  # connections go to either worker
        assert [body(gateway, path) for path in ("/first", "/other", "/new")] == [b"a", b"c", b"a"]
    assert gateway.file.read_text() == gateway.text(settings)
    assert (gateway.file.stat().st_mode & 0o777) == 0o644
    gateway.wait_log("number 2 in force (put)", times=2)


def test_settings_that_are_not_saved_last_until_the_next_start(gateway: Gateway, targets: dict[str, str]) -> None:
    before = gateway.file.read_text()
    status, told = put(gateway, ROUTES.format(**{**targets, "a": targets["c"]}), "?save=false")
    assert (status, told["saved"]) == (200, False)
    assert body(gateway, "/first") == b"c"
    assert told["spread_ms"] < 1000
    assert gateway.file.read_text() == before
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: body(gateway, "/first") == b"a")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("routes: [{path: /x, upstream: nobody}]\n", "gateway-{port}.yaml:4:21: routes[0].upstream: "),
        ("routes: [\n", "gateway-{port}.yaml:5:1: "),
        ("routs: []\n", "gateway-{port}.yaml:4:1: routs: unknown key; did you mean routes?"),
        ("access_log: /nowhere/log\n", "access_log.path: /nowhere/log: No such file or directory"),
    ],
)
def test_settings_that_are_refused_change_nothing(gateway: Gateway, settings: str, problem: str) -> None:
    before = gateway.file.read_text()
    status, told = put(gateway, settings)
    assert (status, told["title"]) == (422, "Unprocessable Entity")
    assert problem.format(port=gateway.port) in told["detail"]
    assert gateway.file.read_text() == before
    assert in_force(gateway) == 1
    assert [body(gateway, path) for path in ("/first", "/other")] == [b"a", b"b"]
    assert gateway.figures()["config_rejected_total"] == 1


def test_the_settings_file_is_followed(gateway: Gateway, targets: dict[str, str]) -> None:
    gateway.write(ROUTES.format(**{**targets, "a": targets["c"]}))
    gateway.wait_log("number 2 in force (file)", times=2)
    assert body(gateway, "/first") == b"c"
    gateway.write("routes: [{path: /x, upstream: nobody}]\n")
    gateway.wait_log("settings refused, the running ones stay:")
    gateway.wait_log(f"{gateway.file}:4:21: routes[0].upstream: ")
    assert body(gateway, "/first") == b"c"
    other = gateway.file.with_suffix(".new")  # as editors and configuration management save
    other.write_text(gateway.text(ROUTES.format(**targets)))
    other.replace(gateway.file)
    gateway.wait_log("number 3 in force (file)", times=2)
    assert body(gateway, "/first") == b"a"
    before = gateway.file.read_text()
    gateway.file.write_text("")  # as it is for a moment whenever somebody writes in place
    gateway.wait_log("is empty; the running ones stay")
    gateway.file.write_text("# the same in other words\n" + before)
    gateway.file.write_text(gateway.text(ROUTES.format(**targets) + "  - {name: new, path: /new, upstream: b}\n"))
    gateway.wait_log("number 4 in force (file)", times=2)  # and the one before was none
    assert body(gateway, "/new") == b"b"


def test_a_file_that_is_not_followed(start_gateway: Callable[..., Gateway], targets: dict[str, str]) -> None:
    gateway = start_gateway("reload: {watch: false}\n" + ROUTES.format(**targets))
    gateway.write("reload: {watch: false}\n" + ROUTES.format(**{**targets, "a": targets["c"]}))
    assert put(gateway, ROUTES.format(**targets) + "# touched\n", "?save=false")[0] == 409  # watch is for new workers
    assert body(gateway, "/first") == b"a"
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: body(gateway, "/first") == b"c")


def test_settings_that_need_new_workers(gateway: Gateway, targets: dict[str, str]) -> None:
    settings = "server_name: other\n" + ROUTES.format(**targets)
    status, told = put(gateway, settings, "?save=false")
    assert status == 409
    assert "new workers are needed for server_name" in told["detail"]
    before = children(gateway.process.pid)
    status, told = put(gateway, settings)
    assert (status, told) == (200, {"in_force": False, "new_workers_for": ["server_name"], "saved": True})
    # One that is being replaced may still answer on the control plane, with the settings it began with.
    eventually(lambda: before.isdisjoint(children(gateway.process.pid)), "the old workers gone")
    eventually(lambda: in_force(gateway) == 2)
    got = eventually(lambda: control(gateway, "GET", "/config")[1].get("server_name"))
    assert (got["value"], got["origin"]) == ("other", f"{gateway.file}:4:1")


def test_history_comparison_and_rollback(gateway: Gateway, targets: dict[str, str]) -> None:
    settings = "control_token: first-secret\n" + ROUTES.format(**{**targets, "a": targets["c"]})
    assert put(gateway, settings)[0] == 200
    token = {"Authorization": "Bearer first-secret"}
    eventually(lambda: control(gateway, "GET", "/config/history")[0] == 401)
    found = control(gateway, "GET", "/config/history", **token)[1]
    assert found["in_force"] == 2
    assert [(each["number"], each["source"], each["by"], each["routes"]) for each in found["configurations"]] == [
        (1, "start", "", 2),
        (2, "put", "127.0.0.1", 2),
    ]
    status, told, _ = control(gateway, "GET", "/config/compare?from=1&to=2", **token)
    assert status == 200
    assert told["settings"]["upstreams.a.targets[0].address"] == {"from": targets["a"], "to": targets["c"]}
    assert "first-secret" not in json.dumps(told)
    assert control(gateway, "GET", "/config/compare?from=1&to=7", **token)[0] == 404
    status, told, tag = control(gateway, "GET", "/config", **token)
    assert (status, tag) == (200, '"2"')
    assert told["control_token"]["value"] == "**********"
    assert told["upstreams.a.targets[0].address"]["origin"].startswith(f"{gateway.file}:")
    status, told, tag = control(gateway, "GET", "/config?number=1", **token)
    assert (told["upstreams.a.targets[0].address"]["value"], tag) == (targets["a"], '"1"')
    status, told, _ = control(
        gateway, "POST", "/config/rollback", '{"number": 1}', Content_Type="application/json", **token
    )
    assert (status, told["number"]) == (200, 3)
    assert body(gateway, "/first") == b"a"
    eventually(lambda: control(gateway, "GET", "/config/history")[0] == 200)  # no token any more
    assert post(gateway, "/config/rollback", number=9)[0] == 404
    for wrong in ({}, {"number": "1"}, {"number": 1, "safe": True}, {"number": True}):
        assert post(gateway, "/config/rollback", **wrong)[0] == 400, wrong
    assert control(gateway, "GET", "/config/history")[1]["configurations"][-1]["source"] == "rollback to 1"


def test_only_the_last_are_remembered(start_gateway: Callable[..., Gateway], targets: dict[str, str]) -> None:
    gateway = start_gateway("reload: {keep: 3}\n" + ROUTES.format(**targets))
    for number in range(5):
        assert (
            put(gateway, f"reload: {{keep: 3}}\n{ROUTES.format(**targets)}  - {{path: /{number}, upstream: a}}\n")[0]
            == 200
        )
    numbers = [each["number"] for each in control(gateway, "GET", "/config/history")[1]["configurations"]]
    assert numbers == [4, 5, 6]
    assert control(gateway, "GET", "/config?number=3")[0] == 404


def test_two_who_change_at_once(gateway: Gateway, targets: dict[str, str]) -> None:
    tag = control(gateway, "GET", "/config")[2]
    assert put(gateway, ROUTES.format(**targets) + "  - {path: /mine, upstream: a}\n", If_Match=tag)[0] == 200
    status, told = put(gateway, ROUTES.format(**targets) + "  - {path: /yours, upstream: a}\n", If_Match=tag)
    assert status == 412
    assert "number 2 is in force, not 1" in told["detail"]
    assert gateway.ask(get("/yours")).status == 404
    assert put(gateway, ROUTES.format(**targets), If_Match='"x"')[0] == 412


def test_what_a_put_may_be(gateway: Gateway) -> None:
    assert control(gateway, "PUT", "/config", "a", Content_Type="text/plain")[0] == 415
    assert control(gateway, "PUT", "/config", "{}", Content_Type="application/x-www-form-urlencoded")[0] == 415
    status, told, _ = control(gateway, "PUT", "/config", "[]")
    assert (status, "the file must be a mapping" in told["detail"]) == (422, True)
    settings = {
        "listen": [f"127.0.0.1:{gateway.port}"],
        "control": f"127.0.0.1:{gateway.control}",
        "workers": 2,
        "routes": [{"path": "/", "respond": "json"}],
    }
    assert control(gateway, "PUT", "/config", json.dumps(settings), Content_Type="application/json")[0] == 200
    assert body(gateway, "/") == b"json"


def test_what_did_not_change_keeps_its_connections(gateway: Gateway, targets: dict[str, str]) -> None:
    """An open tunnel, a pooled connection, a request half sent: all end as they began."""
    with contextlib.ExitStack() as stack:
        tunnels = [stack.enter_context(gateway.connect()) for _ in range(6)]
        for tunnel in tunnels:
            tunnel.send(get("/first", "Connection: Upgrade", "Upgrade: websocket"))
            assert tunnel.read_response().status == 101
        halves = [stack.enter_context(gateway.connect()) for _ in range(6)]
        for half in halves:
            half.send(b"POST /other HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nha")
        eventually(lambda: gateway.figures()["active_requests"] == 12)
        connects = gateway.figures()['endpoint_connects_total{endpoint="' + targets["a"] + '",upstream="a"}']
        # The upstream of the halves changes, the tunnels' does not; then both vanish.
        changed = ROUTES.replace("b: {{targets", "b: {{keepalive: 3, targets").format(**{**targets, "b": targets["c"]})
        assert put(gateway, changed)[0] == 200
        assert body(gateway, "/other") == b"c"
        assert put(gateway, "routes: [{path: /other, respond: gone}]\n")[0] == 200
        assert body(gateway, "/other") == b"gone"
        for half in halves:
            half.send(b"lf")
            assert half.read_response().body == b"b"
        for tunnel in tunnels:
            tunnel.send(b"still here")
            assert tunnel.read(10) == b"still here"
        assert put(gateway, ROUTES.format(**targets))[0] == 200
        assert gateway.figures()['endpoint_connects_total{endpoint="' + targets["a"] + '",upstream="a"}'] == connects
    gateway.quiet()


def test_an_upstream_keeps_its_pool_when_only_its_targets_change(gateway: Gateway, targets: dict[str, str]) -> None:
    with gateway.connect() as client:
        client.send(get("/first"))
        assert client.read_response().body == b"a"
        more = ROUTES.replace('["{a}"]', '["{a}", {{address: "{c}", weight: 0}}]').format(**targets)
        assert put(gateway, more)[0] == 200
        client.send(get("/first"))
        assert client.read_response().body == b"a"
    eventually(lambda: gateway.figures()["endpoint_reuses_total"] == 1)
    assert gateway.figures()['endpoint_connects_total{endpoint="' + targets["a"] + '",upstream="a"}'] == 1


def test_names_of_a_new_upstream_are_looked_up_first(gateway: Gateway, targets: dict[str, str]) -> None:
    for number in range(5):
        name = targets["c"].replace("127.0.0.1", "localhost")
        text = f"upstreams: {{n{number}: {{targets: ['{name}']}}}}\nroutes: [{{path: /, upstream: n{number}}}]\n"
        assert put(gateway, text)[0] == 200
        assert body(gateway, "/") == b"c"


def test_a_worker_that_replaces_a_dead_one_runs_what_is_in_force(gateway: Gateway, targets: dict[str, str]) -> None:
    settings = ROUTES.format(**{**targets, "a": targets["c"]})
    status, told = put(gateway, settings, "?save=false")
    assert status == 200
    for pid in told["workers"]:
        os.kill(int(pid), signal.SIGKILL)
    gateway.wait_log("Booting worker", times=4)
    eventually(lambda: gateway.get("/readyz")[0] == 200)
    assert {body(gateway, "/first") for _ in range(20)} == {b"c"}
    assert in_force(gateway) == 2


def test_authentication_follows(start_gateway: Callable[..., Gateway], targets: dict[str, str], issuer: Issuer) -> None:
    """A route that asks for tokens appears in a gateway that had no provider; its scopes change; it goes again."""
    gateway = start_gateway(ROUTES.format(**targets), workers=2)
    jwt = f"issuer: '{ISSUER}', audience: api, jwks_url: '{issuer.url}', jwks_interval: 100ms"
    provider = f"auth: {{providers: {{main: {{jwt: {{{jwt}}}}}}}}}\n"

    def asked(scopes: str, *lines: str) -> int:
        text = provider + ROUTES.format(**targets).replace(
            "path: /first,", f"path: /first, auth: {{providers: [main], scopes: [{scopes}]}},"
        )
        assert put(gateway, text)[0] == 200
        return gateway.ask(get("/first", *lines)).status

    bearer = f"Authorization: Bearer {made(scope='read')}"
    assert asked("read", bearer) == 200
    assert asked("read") == 401
    assert asked("write", bearer) == 403
    assert asked("read, write", bearer) == 403
    assert asked("read", bearer) == 200
    assert put(gateway, ROUTES.format(**targets))[0] == 200
    assert gateway.ask(get("/first")).status == 200


def test_limits_follow_and_remember(gateway: Gateway, targets: dict[str, str]) -> None:
    limits = "rate_limits: {{few: {{rate: 2, period: 1h, by: ip}}{more}}}\n"
    routes = ROUTES.format(**targets).replace("path: /first,", "path: /first, rate_limits: [few],")
    assert put(gateway, limits.format(more="") + routes)[0] == 200
    assert [gateway.ask(get("/first")).status for _ in range(3)] == [200, 200, 429]
    assert put(gateway, limits.format(more=", many: {rate: 9, period: 1h, by: ip}") + routes)[0] == 200
    assert gateway.ask(get("/first")).status == 429  # a limit that did not change has not forgotten


def test_nothing_fails_while_settings_change(gateway: Gateway, targets: dict[str, str]) -> None:
    """Clients ask without a pause while routes and upstreams come and go around them."""
    over = threading.Event()
    wrong: list[object] = []
    counts = [0, 0]

    def client(place: int) -> None:
        with gateway.connect() as wire:
            while not over.is_set():
                wire.send(get("/first"))
                got = wire.read_response()
                if (got.status, got.body) != (200, b"a"):
                    wrong.append((got.status, got.body))
                counts[place] += 1

    threads = [threading.Thread(target=client, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            keepalive = f"b: {{{{keepalive: {number}, targets"
            text = ROUTES.replace("b: {{targets", keepalive).format(**targets)
            status, told = put(gateway, text + f"  - {{name: n{number % 3}, path: /{number}, upstream: b}}\n")
            assert status == 200, told
            assert body(gateway, f"/{number}") == b"b"
    finally:
        over.set()
        for thread in threads:
            thread.join(SECONDS)
    assert not wrong
    assert min(counts) > 0


def test_the_folder_of_the_history(
    start_gateway: Callable[..., Gateway], targets: dict[str, str], tmp_path: Any
) -> None:
    """It outlives the gateway, and holds secrets."""
    folder = tmp_path / "history"
    settings = f"reload: {{directory: {folder}}}\n{ROUTES.format(**targets)}"
    gateway = start_gateway(settings)
    assert put(gateway, settings + "  - {path: /x, upstream: a}\n")[0] == 200
    gateway.stop()
    assert folder.stat().st_mode & 0o777 == 0o700
    again = start_gateway(settings)
    found = control(again, "GET", "/config/history")[1]
    assert [each["source"] for each in found["configurations"]] == ["start", "put", "start"]
    again.stop()
    folder.chmod(0o755)
    refused = subprocess.run(
        [sys.executable, "-m", "apps.cli", "gateway", "-c", str(again.file)], capture_output=True, text=True
    )
    assert refused.returncode == 78
    assert f"reload.directory: {folder}: must be ours, and closed to everybody else (mode 0700)" in refused.stderr


def test_what_a_killed_gateway_left_in_memory_is_taken_away(
    start_gateway: Callable[..., Gateway], targets: dict[str, str], tmp_path: Path
) -> None:
    gateway = start_gateway(ROUTES.format(**targets))
    (left,) = MEMORY.glob(f"{PREFIX}{gateway.process.pid}-*")
    killed = Gateway(tmp_path, ROUTES.format(**targets))
    assert left.is_dir()
    assert gateway.stop() == 0
    assert not left.exists()
    (left,) = MEMORY.glob(f"{PREFIX}{killed.process.pid}-*")
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.process.wait(SECONDS)
    with pytest.raises(AssertionError, match="ended with -9"):
        killed.stop()
    assert left.is_dir()
    start_gateway(ROUTES.format(**targets))
    assert not left.exists()
