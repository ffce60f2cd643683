"""The control plane that changes things: every change stands in the audit log, and traffic can be kept away."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Gateway, eventually, get
from test_gateway_reload import control, post, put

SETTINGS = """\
audit_log: {audit}
control_token: {token}
rate_limits: {{few: {{rate: 10, by: ip}}}}
routes:
  - {{path: /, respond: here, rate_limits: [few]}}
"""
TOKEN = {"Authorization": "Bearer one"}


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def gateway(start_gateway: Callable[..., Gateway], audit: Path) -> Gateway:
    made = start_gateway(SETTINGS.format(audit=audit, token="one"), workers=2)
    eventually(lambda: len(control(made, "GET", "/config/history", **TOKEN)[1]["workers"]) == 2)
    return made


def lines(audit: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.read_text().splitlines()] if audit.exists() else []


def asked(gateway: Gateway, path: str, document: object, **fields: str) -> int:
    body = json.dumps(document)
    return control(gateway, "POST", path, body, Content_Type="application/json", **{**TOKEN, **fields})[0]


def test_every_change_stands_in_the_audit_log(gateway: Gateway, audit: Path) -> None:
    assert asked(gateway, "/limits/reset", {"name": "few", "key": {"ip": "192.0.2.7"}}) == 200
    assert asked(gateway, "/limits/reset", {"name": "none"}) == 404
    assert asked(gateway, "/tokens/revoke", {"token": "a-secret"}) == 409
    assert asked(gateway, "/cache/purge", {"tag": "x"}) == 409
    assert asked(gateway, "/drain", {"on": False}) == 200
    assert asked(gateway, "/drain", {"on": True}, Authorization="Bearer wrong") == 401
    assert put(gateway, SETTINGS.format(audit=audit, token="one") + "  - {path: /x, respond: x}\n", **TOKEN)[0] == 200
    assert put(gateway, "nonsense: 1", **TOKEN)[0] == 422
    assert asked(gateway, "/config/rollback", {"number": 1}) == 200
    control(gateway, "GET", "/config", **TOKEN)  # reading changes nothing
    found = lines(audit)
    assert [(line["method"], line["path"], line["status"]) for line in found] == [
        ("POST", "/limits/reset", 200),
        ("POST", "/limits/reset", 404),
        ("POST", "/tokens/revoke", 409),
        ("POST", "/cache/purge", 409),
        ("POST", "/drain", 200),
        ("POST", "/drain", 401),
        ("PUT", "/config", 200),
        ("PUT", "/config", 422),
        ("POST", "/config/rollback", 200),
    ]
    assert {line["by"] for line in found} == {"127.0.0.1"}
    assert (found[0]["limit"], found[0]["key"]) == ("few", {"ip": "192.0.2.7"})
    assert (found[6]["before"], found[6]["number"]) == (1, 2)
    assert (found[8]["to"], found[8]["number"]) == (1, 3)
    assert "a-secret" not in audit.read_text()
    assert audit.stat().st_mode & 0o777 == 0o600


def test_a_log_that_is_rotated_or_cannot_be_written(gateway: Gateway, audit: Path) -> None:
    assert asked(gateway, "/drain", {"on": False}) == 200
    audit.rename(audit.with_suffix(".1"))
    assert asked(gateway, "/drain", {"on": False}) == 200
    assert len(lines(audit)) == len(lines(audit.with_suffix(".1"))) == 1
    audit.unlink()
    audit.mkdir()
    assert asked(gateway, "/drain", {"on": False}) == 200
    gateway.wait_log("this change is told here only")


def test_without_a_file_it_is_told_in_the_log(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway("routes: [{path: /, respond: here}]\n")
    assert post(gateway, "/drain", on=False)[0] == 200
    gateway.wait_log('"method": "POST", "path": "/drain", "status": 200, "on": false')


def test_another_place_by_a_reload(gateway: Gateway, audit: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    assert put(gateway, SETTINGS.format(audit=other, token="one"), **TOKEN)[0] == 200
    eventually(lambda: asked(gateway, "/drain", {"on": False}) == 200 and other.exists())
    assert [line["path"] for line in lines(audit)] == ["/config"] or len(
        lines(audit)
    ) > 1  # a worker may be a moment late


def test_draining(gateway: Gateway) -> None:
    """/readyz says no in every worker, requests are answered all the same, and it can be taken back."""
    assert asked(gateway, "/drain", {}) == 200
    for _ in range(8):
        status, told, _ = control(gateway, "GET", "/readyz", **TOKEN)
        assert (status, told["reasons"]) == (503, ["draining: POST /drain has asked for it"])
        assert gateway.ask(get("/")).body == b"here"
    assert asked(gateway, "/drain", {"on": False}) == 200
    assert {control(gateway, "GET", "/readyz")[0] for _ in range(8)} == {200}
    for wrong in ({"on": 1}, {"off": True}, []):
        assert asked(gateway, "/drain", wrong) == 400
