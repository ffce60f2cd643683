"""The gateway's settings: layers, every error at once with its line, cross-checks."""

from pathlib import Path

import pytest

from apps.gateway.config import load_settings
from apps.gateway.config_model import Gateway, Route
from apps.settings import described
from apps.settings_file import FileError
from apps.units import Address

SMALLEST = """\
listen: ["127.0.0.1:8080"]
control: "127.0.0.1:8081"
access_log: "off"        # or a path, or "-" for standard output
upstreams:
  hello: {targets: ["127.0.0.1:9100"]}
routes:
  - {path: "/", upstream: hello}
"""


def load(text: str, environ: dict[str, str] | None = None, flags: object = None):
    return load_settings("g.yaml", text=text, environ=environ or {}, flags=flags)


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    return [str(problem) for problem in load(text, environ).problems]


def with_route(route: str) -> str:
    """A file whose third line is the route."""
    return f"upstreams: {{hello: {{targets: [a:1]}}}}\nroutes:\n  - {route}\n"


def test_the_smallest_file() -> None:
    loaded = load(SMALLEST)
    assert loaded.problems == []
    settings = loaded.settings
    assert settings.listen == (Address("127.0.0.1", 8080),)
    assert settings.access_log.path == "off"
    assert settings.upstreams["hello"].targets[0].address == Address("127.0.0.1", 9100)
    assert settings.routes[0].upstream == "hello"
    assert settings.timeouts.header == 10_000
    assert settings.limits.header_bytes == 32 * 1024
    assert str(loaded.position(("routes", 0, "upstream"))) == "g.yaml:7:17"


def test_an_empty_file_has_defaults_that_run() -> None:
    assert load("").settings == Gateway()


def test_settings_do_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        load(SMALLEST).settings.timeouts.header = 1


def test_every_error_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        """\
listen: ["127.0.0.1:8080", "x:99999"]
control: "0.0.0.0:8080"
worker: 3
workers: yes
timeouts: {conect: 5s, idle: soon, header: 0}
limits: {headers: 1.5, body_bytes: 10XB, headers: 3}
trusted_proxies: [10.0.0.0/99, 10.0.0.0/8]
upstreams:
  hello: {targets: ["127.0.0.1:9100", {address: "http://x:80", weight: -1}], balance: rond_robin}
  empty: {targets: []}
routes:
  - {path: "/", upstream: helo}
  - {path: x, exact: "/", upstream: hello}
  - {template: "/a/{b}c", upstream: hello, metods: [GET]}
  - nothing
"""
    )
    expected = [
        "1:28: listen[1]: 'x:99999': a port is",
        "2:1: control: 0.0.0.0:8080 is also an address of listen",
        "2:1: control: 0.0.0.0:8080 can be reached from other machines",
        "3:1: worker: unknown key; did you mean workers?",
        "4:1: workers: expected a whole number, not 'yes'",
        "5:12: timeouts.conect: unknown key; did you mean connect?",
        "5:24: timeouts.idle: 'soon' is no duration",
        "5:36: timeouts.header: must be more than 0",
        "6:10: limits.headers: expected a whole number, not 1.5",
        "6:24: limits.body_bytes: '10XB' is no size",
        "6:42: limits.headers: this key stands here twice",
        "7:19: trusted_proxies[0]: '10.0.0.0/99' is no network",
        "9:40: upstreams.hello.targets[1].address: 'http://x:80' is a URL",
        "9:64: upstreams.hello.targets[1].weight: -1 is less than 0",
        "9:78: upstreams.hello.balance: 'rond_robin' is not one of",
        "10:11: upstreams.empty.targets: expected at least 1",
        "12:17: routes[0].upstream: no upstream is called 'helo'; did you mean hello?",
        "13:6: routes[1].path: 'x': a path starts with /",
        "13:15: routes[1].exact: path already says which paths match",
        "14:6: routes[2].template: '{b}c': a parameter is a whole segment",
        "14:44: routes[2].metods: unknown key; did you mean methods?",
        "15:5: routes[3]: expected a mapping",
    ]
    assert len(found) == len(expected), "\n".join(found)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"g.yaml:{start}")


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("{upstream: hello}", "3:5: routes[0]: a route needs one of path, exact, template, regex"),
        ("{path: /}", "3:5: routes[0]: a route needs one of upstream, split, redirect, respond"),
        ("{path: /, upstream: 5}", '3:15: routes[0].upstream: expected a string; write "5" in quotes'),
        ("{path: /a b, upstream: hello}", "3:6: routes[0].path: '/a b': a path has no spaces"),
        (
            "{path: /, upstream: hello, methods: get}",
            "3:32: routes[0].methods[0]: methods are case-sensitive: did you mean GET?",
        ),
        (
            "{path: /, upstream: hello, host: 'x.com:80'}",
            "3:32: routes[0].host: 'x.com:80': a host stands without its port",
        ),
        ("{path: /, upstream: hello, host: a.com, hosts: [b.com]}", "3:45: routes[0].hosts: host and hosts exclude"),
        ("{template: '/{a}/{a}', upstream: hello}", "3:6: routes[0].template: parameter 'a' stands twice"),
        ("{template: '/{a*}/b', upstream: hello}", "3:6: routes[0].template: '{a*}' takes the rest"),
        ("{template: '/{1}', upstream: hello}", "3:6: routes[0].template: '1' is no parameter name"),
        ("{regex: '/(', upstream: hello}", "3:6: routes[0].regex: missing ), unterminated subpattern at position 1"),
        ("{regex: '/(?=a)', upstream: hello}", "3:6: routes[0].regex: lookaround is not supported at position 1"),
        ("{regex: '/(a)\\1', upstream: hello}", "3:6: routes[0].regex: backreferences are not supported at position 4"),
        ("{path: /, upstream: hello, rewrite: {path: '/{id}'}}", "3:42: routes[0].rewrite.path: {id} is no parameter"),
        (
            "{template: '/{id}', upstream: hello, rewrite: {path: '/{di}'}}",
            "3:52: routes[0].rewrite.path: {di} is no parameter of this route (known: id)",
        ),
        (
            "{path: /, upstream: hello, rewrite: {path: '/{'}}",
            "3:42: routes[0].rewrite.path: '/{': a brace has no partner",
        ),
        (
            "{path: /, upstream: hello, rewrite: {path: /x, add_prefix: /y}}",
            "3:42: routes[0].rewrite.path: path and strip_prefix",
        ),
        (
            "{path: /a, upstream: hello, rewrite: {strip_prefix: /b}}",
            "3:43: routes[0].rewrite.strip_prefix: paths of this",
        ),
        ("{path: /, upstream: hello, rewrite: {host: 'a b'}}", "3:42: routes[0].rewrite.host: 'a b': write preserve"),
        ("{path: /, upstream: hello, headers: {'a b': x}}", "3:42: routes[0].headers['a b']: 'a b' is no token"),
        ("{path: /, upstream: hello, headers: {a: {}}}", "3:42: routes[0].headers.a: a condition is a string, or has"),
        ("{path: /, upstream: hello, query: {a: {equals: x, prefix: y}}}", "3:40: routes[0].query.a: a condition"),
        (
            "{path: /, upstream: hello, access_log: maybe}",
            "3:32: routes[0].access_log: expected true or false, not 'maybe'",
        ),
    ],
)
def test_a_wrong_route(route: str, expected: str) -> None:
    found = problems(with_route(route))
    assert len(found) == 1, found
    assert found[0].startswith(f"g.yaml:{expected}")


@pytest.mark.parametrize(
    "route",
    [
        "{template: '/users/{id}/{rest*}', upstream: hello, rewrite: {path: '/{rest}/{id}'}}",
        "{regex: '/(?P<item>[0-9]+)', upstream: hello, rewrite: {path: '/{item}', host: upstream}}",
        "{path: /a/b, upstream: hello, rewrite: {strip_prefix: /a, add_prefix: /c, host: 'x.com:81'}}",
        "{exact: /, hosts: [a.com, '*.b.com'], methods: [GET, PURGE], headers: {x: y}, upstream: hello}",
    ],
)
def test_a_right_route(route: str) -> None:
    assert problems(with_route(route)) == []


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("{targets: [a:1], balance: consistent_hash}", "balance: consistent_hash needs hash_on"),
        ("{targets: [a:1], hash_on: path}", "hash_on: hash_on has no effect with balance round_robin"),
        ("{targets: [a:1], balance: consistent_hash, hash_on: header}", "hash_on: 'header': name the header"),
        ("{targets: [{address: a:1, weight: 0}]}", "targets: every target has weight 0"),
        ("{targets: [a:1, a:1]}", "targets[1]: a:1 stands here twice"),
        ("{targets: [{adress: a:1}]}", "targets[0].adress: unknown key; did you mean address?"),
    ],
)
def test_a_wrong_upstream(upstream: str, expected: str) -> None:
    assert any(f": upstreams.u.{expected}" in line for line in problems(f"upstreams: {{u: {upstream}}}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("control: ':9000'", "control: 0.0.0.0:9000 can be reached from other machines"),
        ("listen: [':8081']", "control: 127.0.0.1:8081 is also an address of listen"),
        ("listen: ['127.0.0.1:1', '127.0.0.1:1']", "listen[1]: 127.0.0.1:1 collides with another address of listen"),
        ("listen: ['127.0.0.1:1', ':1']", "listen[1]: 0.0.0.0:1 collides with another address of listen"),
        ("control_token: ''", "control_token: an empty token protects nothing"),
        ("control_token: x\ncontrol_token_file: y", "control_token_file: control_token and control_token_file exclude"),
        ("control_token_file: /nonexistent/token", "control_token_file: /nonexistent/token: No such file"),
        ("[1, 2]", "the file must be a mapping of settings"),
        ("upstreams:", "upstreams: expected a mapping, and nothing stands here"),
        ("listen: []", "listen: nobody listens"),
    ],
)
def test_wrong_together(text: str, expected: str) -> None:
    assert any(expected in line for line in problems(text)), problems(text)


def test_names_are_unique() -> None:
    text = SMALLEST + "  - {name: a, path: /a, upstream: hello}\n  - {name: a, path: /b, upstream: hello}\n"
    assert problems(text) == ["g.yaml:9:6: routes[2].name: routes[1] is called 'a' already"]


def test_a_token_off_loopback_is_enough(tmp_path: Path) -> None:
    assert problems("control: ':9000'\ncontrol_token: secret") == []
    file = tmp_path / "token"
    file.write_text("from a file\n")
    loaded = load(f"control: ':9000'\ncontrol_token_file: {file}")
    assert loaded.settings.control_token.get_secret_value() == "from a file"


def test_flag_over_environment_over_file_over_default() -> None:
    environ = {
        "FASTCORE_GATEWAY_WORKERS": "3",
        "FASTCORE_GATEWAY_TIMEOUTS_CONNECT": "1s",
        "FASTCORE_GATEWAY_LISTEN": "127.0.0.1:1,127.0.0.1:2",
        "FASTCORE_GATEWAY_CONTROL_TOKEN": "0123",
        "FASTCORE_GATEWAY_UPSTREAMS": "{hello: {targets: [b:2]}}",
        "OTHER": "x",
    }
    loaded = load(SMALLEST + "timeouts: {connect: 9s, idle: 8s}\n", environ, {("workers",): ("--workers", "5")})
    settings = loaded.settings
    assert (settings.workers, settings.timeouts.connect, settings.timeouts.idle) == (5, 1000, 8000)
    assert [address.port for address in settings.listen] == [1, 2]
    assert settings.control_token.get_secret_value() == "0123"
    assert settings.upstreams["hello"].targets[0].address == Address("b", 2)
    shown = described(loaded)
    assert shown["workers"] == {"value": 5, "origin": "flag --workers"}
    assert shown["timeouts.connect"] == {"value": "1s", "origin": "environment FASTCORE_GATEWAY_TIMEOUTS_CONNECT"}
    assert shown["timeouts.idle"] == {"value": "8s", "origin": "g.yaml:8:25"}
    assert shown["timeouts.body"] == {"value": "30s", "origin": "default"}
    assert "0123" not in str(shown)


def test_errors_name_the_variable_or_flag() -> None:
    assert problems(SMALLEST, {"FASTCORE_GATEWAY_TIMEOUTS_CONNECT": "soon"})[0].startswith(
        "environment FASTCORE_GATEWAY_TIMEOUTS_CONNECT: timeouts.connect: 'soon' is no duration"
    )
    assert problems(SMALLEST, {"FASTCORE_GATEWAY_ROUTES": "[{"})[0].startswith(
        "environment FASTCORE_GATEWAY_ROUTES: routes"
    )
    loaded = load(SMALLEST, flags={("control",): ("--control", "nowhere")})
    assert str(loaded.problems[0]).startswith("flag --control: control: 'nowhere' has no port")


def test_an_unknown_variable_is_a_warning() -> None:
    loaded = load(
        SMALLEST,
        {
            "FASTCORE_GATEWAY_WORKRES": "1",
            "FASTCORE_GATEWAY_PORT": "tcp://10.0.0.1:80",
            "FASTCORE_GATEWAY_CONFIG": "g.yaml",
        },
    )
    assert loaded.problems == []
    assert loaded.warnings == [
        "environment FASTCORE_GATEWAY_PORT is no setting",
        "environment FASTCORE_GATEWAY_WORKRES is no setting; did you mean FASTCORE_GATEWAY_WORKERS?",
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        load_settings(str(tmp_path / "none.yaml"), environ={})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(FileError, match="not UTF-8 at byte 3"):
        load_settings(str(tmp_path / "latin.yaml"), environ={})


def test_ten_thousand_routes_load() -> None:
    text = SMALLEST + "".join(f"  - {{path: /p/{number}, upstream: hello}}\n" for number in range(10_000))
    loaded = load(text)
    assert len(loaded.settings.routes) == 10_001
    assert isinstance(loaded.settings.routes[-1], Route)
