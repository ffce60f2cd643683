"""The status page in a real browser: what it says is what the gateway says."""

import html
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import SECONDS, Gateway, RawUpstream, answer_forever, free_ports, get

SETTINGS = """\
upstreams:
  good: {{targets: ["{address}"], adaptive: true}}
  dead: {{targets: ["127.0.0.1:{none}"], breaker: {{failures: 1}}}}
redis: {{url: "redis://127.0.0.1:{none}/0"}}
rate_limits:
  few: {{rate: 1, period: 60s, by: [ip]}}
  far: {{rate: 5, period: 60s, shared: true}}
  slots: {{concurrent: 5}}
routes:
  - {{name: all, path: /, upstream: good, rate_limits: [few, far, slots], compress: true}}
  - {{name: broken, path: /broken, upstream: dead}}
  - {{name: shared, path: /shared, split: [{{upstream: good, weight: 95}}, {{upstream: dead, weight: 5}}]}}
  - {{name: old, exact: /old, methods: [GET], redirect: "/"}}
"""


class Page:
    """What a browser shows after `seconds` of the page's own time."""

    def __init__(self, url: str, folder: Path, seconds: int = 6):
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        assert chromium, "chromium is not installed; tools/system-packages test says how to get it"
        quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
        made = subprocess.run(
            [
                *(chromium, "--headless", "--no-sandbox", "--disable-gpu", *(f"--{word}" for word in quiet)),
                *(f"--user-data-dir={folder}", f"--virtual-time-budget={seconds * 1000}", "--dump-dom", url),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS * 3,
            check=True,
        )
        self.source = made.stdout

    def text(self, at: str) -> str:
        found = re.search(rf'<(\w+)[^>]*\bid="{at}"[^>]*>(.*?)</\1>', self.source, re.DOTALL)
        assert found, at
        return html.unescape(re.sub(r"<[^>]+>", "", found[2]))

    def rows(self, at: str) -> list[list[str]]:
        found = re.search(rf'<tbody id="{at}">(.*?)</tbody>', self.source, re.DOTALL)
        assert found, at
        cells = (re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", found[1]))
        return [[html.unescape(re.sub(r"</?code>", "", cell)) for cell in row] for row in cells]


@pytest.fixture
def gateway(start_gateway: Callable[..., Gateway], make_upstream: Callable[..., RawUpstream]) -> Gateway:
    upstream = make_upstream().serve(answer_forever)
    (none,) = free_ports(1)
    made = start_gateway(SETTINGS.format(address=upstream.address, none=none))
    assert [made.ask(get(path)).status for path in ("/", "/", "/broken")] == [200, 429, 502]
    return made


def test_what_it_shows(gateway: Gateway, tmp_path: Path) -> None:
    page = Page(f"http://127.0.0.1:{gateway.control}/", tmp_path)
    assert page.text("ready") == "ready"
    assert page.text("total") == "3"
    assert page.text("redis") == "Redis is gone"
    upstreams = {row[0]: row for row in page.rows("upstreams")}
    assert upstreams["good"][2].startswith("bears ")
    assert upstreams["dead"][2].startswith("breaker ")
    routes = {row[0]: row for row in page.rows("routes")}
    assert routes["all"][2:4] == ["good", "limits, compression"]
    assert routes["shared"][2] == "good 95, dead 5"
    assert routes["old"][1:3] == ["GET = /old", "redirect"]
    limits = {row[0]: row[1:4] for row in page.rows("limits")}
    assert page.text("refused") == "0", "it has looked twice"
    assert limits == {
        "few": ["1 in 1m", "ip", "here"],
        "far": ["5 in 1m", "all together", "in Redis"],
        "slots": ["5 at once", "all together", "here"],
    }
