"""The control plane: what each endpoint says, and who may ask."""

import json
from typing import Any

import falcon.testing
import pytest
from prometheus_client import parser as classic
from prometheus_client.openmetrics import parser as openmetrics

from apps.gateway.config import load_settings
from apps.gateway.config_model import Gateway
from apps.gateway.control import create_app
from apps.gateway.service import ControlOnly, FixedConfiguration, GatewayApp
from apps.settings import Loaded

TEXT = """\
upstreams:
  hello: {targets: ["127.0.0.1:9100", {address: "127.0.0.1:9101", weight: 2}]}
routes:
  - {name: root, path: "/", upstream: hello, methods: [GET]}
  - {exact: "/x", upstream: hello}
"""


def load(text: str = TEXT) -> Loaded[Gateway]:
    return load_settings("g.yaml", text=text, environ={})


def settings(text: str = TEXT) -> Gateway:
    found = load(text).settings
    assert found is not None
    return found


class Ready(ControlOnly):
    """A service whose data plane runs, as far as the control plane can tell."""

    reasons: tuple[str, ...] = ()

    def not_ready(self) -> list[str]:
        return list(self.reasons)


def service(text: str = TEXT) -> Ready:
    return Ready(settings(text))


def client(text: str = TEXT, of: Ready | None = None) -> falcon.testing.TestClient:
    app = create_app(of or service(text), FixedConfiguration(load(text)))
    return falcon.testing.TestClient(app, headers={"Host": "localhost:8081"})


def test_livez() -> None:
    assert client().simulate_get("/livez").json == {"status": "alive"}


def test_readyz_says_why_not() -> None:
    running = service()
    asking = client(of=running)
    assert asking.simulate_get("/readyz").status_code == 200
    running.reasons = ("draining", "upstream hello: no address")
    answer = asking.simulate_get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {"status": "not ready", "reasons": ["draining", "upstream hello: no address"]}


def test_without_a_data_plane_nothing_is_ready() -> None:
    gateway = GatewayApp(settings(), FixedConfiguration(load()))
    answer = falcon.testing.TestClient(gateway, headers={"Host": "localhost"}).simulate_get("/readyz")
    assert answer.status_code == 503
    assert "worker class" in answer.json["reasons"][0]


def test_metrics_in_both_formats() -> None:
    asking = client()
    plain = asking.simulate_get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert {family.name for family in classic.text_string_to_metric_families(plain.text)} >= {
        "fastcore_start_time_seconds"
    }
    accept = {"Host": "localhost", "Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    open_text = asking.simulate_get("/metrics", headers=accept)
    assert open_text.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in openmetrics.text_string_to_metric_families(open_text.text)} >= {"fastcore_build"}


def test_config_masks_secrets_and_names_origins() -> None:
    asking = client(TEXT + "control_token: tops3cret\n")
    answer = asking.simulate_get("/config", headers={"Host": "localhost", "Authorization": "Bearer tops3cret"})
    assert "tops3cret" not in answer.text
    assert answer.json["control_token"] == {"value": "**********", "origin": "g.yaml:6:1"}
    assert answer.json["routes[0].path"] == {"value": "/", "origin": "g.yaml:4:18"}
    assert answer.json["timeouts.header"] == {"value": "10s", "origin": "default"}


def test_routes_and_upstreams() -> None:
    asking = client()
    assert asking.simulate_get("/routes").json == [
        {"name": "root", "path": "/", "methods": ["GET"], "upstream": "hello"},
        {"name": "#1", "exact": "/x", "upstream": "hello"},
    ]
    (upstream,) = asking.simulate_get("/upstreams").json
    assert [target["weight"] for target in upstream["targets"]] == [1, 2]


def test_status() -> None:
    status = client().simulate_get("/status").json
    assert status["ready"] is True
    assert len(status["workers"]) == 1
    assert status["uptime_seconds"] >= 0


def test_the_document_lists_every_endpoint_and_each_answers() -> None:
    asking = client()
    document = asking.simulate_get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert {"/livez", "/readyz", "/metrics", "/config", "/routes", "/upstreams", "/openapi.json", "/"} <= set(
        document["paths"]
    )
    for path, operations in document["paths"].items():
        if "post" in operations:
            continue
        assert asking.simulate_get(path).status_code == 200, path
        head = asking.simulate_head(path)
        assert (head.status_code, head.content) == (200, b""), path


def test_the_page_runs_only_its_own_script() -> None:
    answer = client().simulate_get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "innerHTML" not in answer.text


@pytest.mark.parametrize(("path", "method", "status"), [("/nope", "GET", 404), ("/config", "POST", 405)])
def test_errors_are_problem_documents(path: str, method: str, status: int) -> None:
    answer = client().simulate_request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["type"] == "about:blank"
    assert answer.json["title"]


def test_an_unexpected_error_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Ready):
        def routes(self) -> list[dict[str, Any]]:
            raise RuntimeError("private")

    answer = client(of=Broken(settings())).simulate_get("/routes")
    assert answer.status_code == 500
    assert json.loads(answer.text)["title"] == "Internal Server Error"
    assert "private" not in answer.text
    assert "private" in caplog.text


def test_every_answer_has_the_security_headers() -> None:
    for path in ("/livez", "/nope", "/"):
        headers = client().simulate_get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", "Bearer tops3cre", "Basic tops3cret", "Bearer tøps"]
)
def test_the_token_is_needed(given: str | None) -> None:
    asking = client(TEXT + "control_token: tops3cret\n")
    headers = {"Host": "localhost"} | ({"Authorization": given} if given is not None else {})
    for path in ("/config", "/metrics", "/routes", "/upstreams", "/status", "/openapi.json"):
        answer = asking.simulate_get(path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/livez", "/readyz", "/"):
        assert asking.simulate_get(path, headers=headers).status_code == 200, path


def test_the_token_opens() -> None:
    asking = client(TEXT + "control_token: tops3cret\n")
    for scheme in ("Bearer", "bearer"):
        headers = {"Host": "localhost", "Authorization": f"{scheme} tops3cret"}
        assert asking.simulate_get("/config", headers=headers).status_code == 200


def test_reasons_need_the_token() -> None:
    running = service(TEXT + "control_token: tops3cret\n")
    running.reasons = ("upstream hello: no address",)
    asking = client(of=running)
    assert asking.simulate_get("/readyz").json == {"status": "not ready"}
    authorized = asking.simulate_get("/readyz", headers={"Host": "localhost", "Authorization": "Bearer tops3cret"})
    assert "reasons" in authorized.json


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:8081", 200), ("127.0.0.1:9", 200), ("[::1]:80", 200), ("ops.internal:1", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example:8081", 421), ("", 421), ("[::2]", 421),
    ],
)  # fmt: skip
def test_a_rebound_name_is_refused(host: str, status: int) -> None:
    asking = client(TEXT + "control_hosts: [ops.internal]\n")
    assert asking.simulate_get("/livez", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("127.0.0.1", 200),
        ("127.1.2.3", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("192.0.2.1", 403),
        ("2001:db8::1", 403),
        ("bad", 403),
    ],
)
def test_without_a_token_only_this_machine_is_answered(peer: str, status: int) -> None:
    assert client().simulate_get("/livez", remote_addr=peer).status_code == status


class Revoking(Ready):
    def __init__(self) -> None:
        super().__init__(settings())
        self.asked: list[tuple[dict[str, str], float | None]] = []
        self.error: Exception | None = None

    def revoke(self, what: dict[str, str], seconds: float | None) -> float | None:
        self.asked.append((what, seconds))
        if self.error:
            raise self.error
        return 1_800_000_000.0


def revoked(of: Ready, document: Any, **headers: str) -> falcon.testing.Result:
    body = document if isinstance(document, str) else json.dumps(document)
    return client(of=of).simulate_post(
        "/tokens/revoke", body=body, headers={"Content-Type": "application/json", **headers}
    )


def test_revoking_says_until_when() -> None:
    running = Revoking()
    answer = revoked(running, {"jti": "1", "provider": "p", "for": "1h"})
    assert answer.status_code == 200
    assert answer.json == {"revoked": "jti", "until": "2027-01-15T08:00:00+00:00"}
    assert revoked(running, {"token": "abc"}).status_code == 200
    assert running.asked == [({"jti": "1", "provider": "p"}, 3600.0), ({"token": "abc"}, None)]


@pytest.mark.parametrize(
    "document",
    [{}, [], "no JSON", {"jti": ""}, {"jti": 1}, {"jti": "1", "sub": "2"}, {"jti": "1", "x": "y"}, {"provider": "p"},
     {"jti": "1", "for": "soon"}, {"token": "a" * 20_000}],
)  # fmt: skip
def test_what_cannot_be_revoked_is_said(document: Any) -> None:
    running = Revoking()
    answer = revoked(running, document)
    assert answer.status_code == 400 and running.asked == []
    assert answer.headers["content-type"] == "application/problem+json"


def test_revoking_has_its_failures() -> None:
    from apps.gateway.revocations import Full

    running = Revoking()
    for error, status in ((Full(), 507), (KeyError("p"), 400)):
        running.error = error
        assert revoked(running, {"jti": "1"}).status_code == status
    assert revoked(service(), {"jti": "1"}).status_code == 409


def test_a_page_of_a_foreign_site_cannot_revoke() -> None:
    running = Revoking()
    assert revoked(running, {"jti": "1"}, **{"Content-Type": "text/plain"}).status_code == 415
    assert revoked(running, {"jti": "1"}, Host="evil.test").status_code == 421
    assert running.asked == []


def test_providers_are_listed() -> None:
    text = (
        TEXT + "auth: {providers: {p: {api_keys: {header: X-K, keys: [{sha256: '" + "0" * 64 + "', subject: a}]}}}}\n"
    )
    assert client(text).simulate_get("/auth").json == [{"name": "p"}]
