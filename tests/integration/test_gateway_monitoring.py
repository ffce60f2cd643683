"""Alert rules and dashboard: every alert fires where it should, and every figure they ask for is one a gateway has."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from issuers import ISSUER, Issuer
from ruamel.yaml import YAML
from servers import ROOT, SECONDS, Gateway, RawUpstream, answer_forever, free_ports, get

FOLDER = ROOT / "src/apps/gateway/monitoring"
RULES = YAML(typ="safe").load(FOLDER / "alerts.yaml")["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
NAME = re.compile(r"fastcore_[a-z0-9_]+")


def promtool(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True, text=True)


def expressions() -> Iterator[str]:
    """Of all panels, with Grafana's variables as Prometheus could have them."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def test_the_rules_are_right() -> None:
    checked = promtool("check", "rules", FOLDER / "alerts.yaml")
    assert checked.returncode == 0, checked.stderr
    tested = promtool("test", "rules", FOLDER / "alerts_test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
@pytest.mark.parametrize("value", ["vector(1)", "vector(1) > 1"], ids=["always", "never"])
def test_an_alert_that_fires_always_or_never_would_be_noticed(alert: str, value: str, tmp_path: Path) -> None:
    changed = [{**rule, "expr": value, "for": "0s"} if rule["alert"] == alert else rule for rule in RULES]
    with (tmp_path / "alerts.yaml").open("w") as stream:
        YAML(typ="safe").dump({"groups": [{"name": "changed", "rules": changed}]}, stream)
    (tmp_path / "alerts_test.yaml").write_text((FOLDER / "alerts_test.yaml").read_text())
    assert promtool("test", "rules", tmp_path / "alerts_test.yaml").returncode == 1


def test_every_alert_says_what_to_do() -> None:
    for rule in RULES:
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]


def test_the_dashboard_asks_in_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions())]
    assert len(rules) > 40
    with (tmp_path / "panels.yaml").open("w") as stream:
        YAML(typ="safe").dump({"groups": [{"name": "panels", "rules": rules}]}, stream)
    checked = promtool("check", "rules", tmp_path / "panels.yaml")
    assert checked.returncode == 0, checked.stderr


def test_the_dashboard_is_laid_out() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert place["x"] + place["w"] <= 24


SETTINGS = """\
access_log: {log}
cache: {{memory: 16MB}}
hooks: {{folder: '{folder}'}}
tls: {{listen: ['127.0.0.1:{tls}'], certificates: [{{file: {pem}, key: {key}}}]}}
tracing: {{export: 'http://127.0.0.1:{none}/v1/traces', sample: 1}}
auth: {{providers: {{main: {{jwt: {{issuer: '{issuer}', audience: api, jwks_url: '{url}'}}}}}}}}
redis: {{url: 'redis://127.0.0.1:{none}/0'}}
rate_limits: {{few: {{rate: 1000, by: ip}}, everywhere: {{rate: 1000, shared: true}}}}
default_rate_limits: [few]
upstreams:
  u:
    targets: ['{address}']
    health_check: {{path: /, interval: 100ms, timeout: 100ms}}
    outlier: {{failures: 5}}
    breaker: {{failures: 5}}
    target_breaker: {{failures: 5}}
    retries: {{budget: {{percent: 20}}}}
routes:
  - {{name: kept, path: /kept, upstream: u, cache: true}}
  - {{name: asked, path: /asked, upstream: u, auth: main}}
  - {{name: hooked, path: /hooked, upstream: u, hooks: {{on_request: 'hook_functions:look'}}}}
  - {{name: all, path: /, upstream: u}}
"""


@pytest.fixture
def exposition(start_gateway: Callable[..., Gateway], issuer: Issuer, tmp_path: Path) -> Iterator[str]:
    """What a gateway with everything says, once it had something to count."""
    target = RawUpstream().serve(answer_forever)
    certificate = trustme.CA().issue_cert("a.test")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "a.pem")
    tls, none = free_ports(2)
    gateway = start_gateway(
        SETTINGS.format(
            log=tmp_path / "log",
            tls=tls,
            none=none,
            pem=tmp_path / "a.pem",
            key=tmp_path / "a.pem",
            issuer=ISSUER,
            url=issuer.url,
            address=target.address,
            folder=Path(__file__).parent,
        )
    )
    for path in ("/", "/kept", "/asked"):
        gateway.ask(get(path))
    yield gateway.get("/metrics")[1]
    target.close()


def test_every_figure_they_ask_for_is_there(exposition: str) -> None:
    names = {line.partition("{")[0].partition(" ")[0] for line in exposition.splitlines() if line[:1] != "#"}
    for rule in RULES:
        assert set(NAME.findall(rule["expr"])) <= names, rule["alert"]
    for expression in expressions():
        assert set(NAME.findall(expression)) <= names, expression


def test_promtool_finds_nothing_to_say(exposition: str) -> None:
    checked = promtool("check", "metrics", text=exposition)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_statsd_gets_the_figures(start_gateway: Callable[..., Gateway]) -> None:
    """Of both workers together, from one of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(SECONDS)
        port = statsd.getsockname()[1]
        gateway = start_gateway(
            f"statsd: {{address: '127.0.0.1:{port}', prefix: edge, every: 50ms}}\n"
            "routes: [{name: here, path: /, respond: here}]\n",
            workers=2,
        )
        statsd.recv(65536)  # what was counted before the first look is not sent
        for _ in range(20):
            assert gateway.ask(get("/")).status == 200
        counted = 0
        until = time.monotonic() + SECONDS
        while counted < 20:
            assert time.monotonic() < until, f"{counted} came"
            for line in statsd.recv(65536).decode().splitlines():
                name, _, value = line.partition(":")
                if name == "edge.fastcore_gateway_requests.2xx.here":
                    counted += int(value.removesuffix("|c"))
        assert counted == 20


def test_histograms_are_by_route_and_by_upstream(exposition: str) -> None:
    for route in ("all", "kept", "asked"):
        assert f'fastcore_gateway_request_duration_seconds_count{{route="{route}"}} 1\n' in exposition
    assert re.search(r'fastcore_gateway_upstream_duration_seconds_count\{upstream="u"\} 2\n', exposition)
