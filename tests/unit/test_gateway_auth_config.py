"""Settings of authentication: every mistake with its line, and key material read once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokens import SECRET, b64, jwk, pem, private, rsa_key

from apps.cli import main
from apps.gateway.auth import credential, scope_numbers
from apps.gateway.config import load_settings
from apps.gateway.provider_keys import static_keys

ROUTES = "upstreams: {u: {targets: ['127.0.0.1:1']}}\nroutes:\n"
DIGEST = "0" * 64
KEYS = f"{{header: X-API-Key, keys: [{{sha256: '{DIGEST}', subject: a}}]}}"


def problems(text: str, **environ: str) -> list[str]:
    return [str(problem) for problem in load_settings("gateway.yaml", text=text, environ=environ).problems]


def provider(text: str, **environ: str) -> list[str]:
    return problems(f"auth:\n  providers:\n    p:\n      {text}\n", **environ)


def jwt(more: str, **environ: str) -> list[str]:
    return provider(f"jwt: {{issuer: i, audience: a, {more}}}", **environ)


ENV = "keys: [{alg: HS256, env: KEY}]"


def test_what_is_right_has_no_problems() -> None:
    assert provider(f"api_keys: {KEYS}") == []
    assert jwt(ENV, KEY=SECRET.decode()) == []
    assert jwt("jwks_url: https://issuer.example/jwks") == []
    assert jwt("jwks_url: http://127.0.0.1:1/jwks") == []
    assert jwt("jwks_url: 'http://[::1]:1/jwks'") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forward: true", "gateway.yaml:3:5: auth.providers.p: a provider has one of jwt, introspection, api_keys"),
        (f"{{api_keys: {KEYS}, jwt: {{issuer: i, audience: a, jwks_url: 'https://a/b'}}}}", "a provider has one of"),
        ("introspection: {url: 'http://as.example/i', client_id: a, client_secret_env: KEY}", "use https"),
        ("introspection: {url: 'https://as.example/i', client_id: a}", "the secret stands in one of"),
        (
            "introspection: {url: 'https://as.example/i', client_id: a, client_secret_env: NO}",
            "the environment has no NO",
        ),
        (
            "introspection: {url: 'https://as.example/i', client_id: a, client_secret_file: /nowhere}",
            "/nowhere: No such file",
        ),
        ("introspection: {url: 'https://as.example/i', client_id: a, ca_file: /nowhere}", "/nowhere: no such file"),
        ("jwt: {audience: a, jwks_url: 'https://a/b'}", "issuer"),
        ("jwt: {issuer: i, jwks_url: 'https://a/b'}", "audience"),
        ("jwt: {issuer: [], audience: a, jwks_url: 'https://a/b'}", "issuer"),
        ("api_keys: {header: X-Key, keys: []}", "keys"),
        ("api_keys: {header: X-Key, keys: [{sha256: abc, subject: a}]}", "SHA-256 in 64 hex digits"),
        (f"api_keys: {{header: X-Key, keys: [{{sha256: '{DIGEST}', subject: ''}}]}}", "subject"),
        (f"api_keys: {{keys: [{{sha256: '{DIGEST}', subject: a}}]}}", "one of header, query"),
        (f"api_keys: {{header: X-K, query: k, keys: [{{sha256: '{DIGEST}', subject: a}}]}}", "one of header, query"),
        (f"api_keys: {{query: 'a=b', keys: [{{sha256: '{DIGEST}', subject: a}}]}}", "a parameter is"),
        (f"api_keys: {{header: Cookie, keys: [{{sha256: '{DIGEST}', subject: a}}]}}", "a meaning of its own"),
        (
            f"api_keys: {{header: X-K, keys: [{{sha256: '{DIGEST}', subject: a}}, {{sha256: '{DIGEST}', subject: b}}]}}",
            "this key stands here twice",
        ),
        (f"{{api_keys: {KEYS}, headers: {{Authorization: sub}}}}", "a meaning of its own"),
        (f"{{api_keys: {KEYS}, headers: {{X_Forwarded_For: sub}}}}", "a meaning of its own"),
        (f"{{api_keys: {KEYS}, headers: {{'X User': sub}}}}", "no token"),
        (f"{{api_keys: {KEYS}, headers: {{x_api-key: sub}}}}", "x_api-key carries API keys"),
    ],
)
def test_mistakes_in_a_provider(text: str, message: str) -> None:
    found = provider(text)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("leeway: 1s", "no key to verify by"),
        ("jwks_url: 'https://a/b', leeway: 6m", "more than 5m"),
        ("jwks_url: 'http://issuer.example/jwks'", "use https"),
        ("jwks_url: 'http://127.0.0.1.issuer.example/jwks'", "use https"),
        ("jwks_url: 'file:///etc/passwd'", "no URL of an issuer"),
        ("jwks_url: 'https://user@issuer.example/jwks'", "no URL of an issuer"),
        ("jwks_url: 'https://a/b', algorithms: [none]", "algorithms"),
        ("jwks_url: 'https://a/b', algorithms: [HS256]", "HS is for secrets"),
        ("jwks_url: 'https://a/b', jwks_ca_file: /nowhere", "/nowhere: no such file"),
        ("keys: [{alg: HS256}]", "one of a file, an environment variable"),
        ("keys: [{alg: HS256, env: A, file: b}]", "one of a file, an environment variable"),
        (
            "keys: [{alg: HS256, env: NOBODY}]",
            "gateway.yaml:4:44: auth.providers.p.jwt.keys[0]: the environment has no NOBODY",
        ),
        ("keys: [{alg: HS256, file: /nowhere}]", "/nowhere: No such file"),
        ("keys: [{alg: none, env: KEY}]", "alg"),
        ("keys: [{env: KEY}]", "alg"),
        ("keys: [{alg: HS512, env: KEY}]", "at least 64 bytes"),
        ("keys: [{alg: HS256, env: KEY, encoding: base64url}]", "not base64url"),
        ("keys: [{alg: RS256, env: KEY}]", "no public key in PEM"),
        ("jwks: {keys: [{kty: oct, alg: HS256, k: AAAA}]}", "keys[0]: 'HS256' is not accepted here"),
        ("jwks: {}", "`keys` is missing"),
        ("jwks_file: /nowhere", "/nowhere: No such file"),
    ],
)
def test_mistakes_in_jwt(more: str, message: str) -> None:
    found = jwt(more, KEY="not long enough, but 32 bytes  !")
    assert any(message in problem for problem in found), found


def test_mistakes_in_routes() -> None:
    base = f"auth: {{providers: {{p: {{api_keys: {KEYS}}}}}}}\n{ROUTES}"
    for asked, message in (
        ("q", "routes[0].auth.providers: no auth provider is called 'q'"),
        ("[p, p]", "a provider stands here twice"),
        ("{providers: []}", "providers"),
        ("{required: false}", "providers"),
        ("{providers: p, scopes: ['a b']}", "no scope"),
    ):
        found = problems(f"{base}- {{path: /, upstream: u, auth: {asked}}}\n")
        assert any(message in problem for problem in found), (asked, found)
    assert (
        problems(f"{base}- {{path: /, upstream: u, auth: p}}\n- {{path: /b, upstream: u, auth: {{providers: [p]}}}}\n")
        == []
    )
    many = "".join(f"- {{path: /{n}, upstream: u, auth: {{providers: p, scopes: s{n}}}}}\n" for n in range(65))
    assert any("at most 64" in problem for problem in problems(base + many))


def test_a_broken_route_does_not_hide_a_broken_provider() -> None:
    found = problems(
        f"auth: {{providers: {{p: {{forward: true}}}}}}\n{ROUTES}- {{path: /, upstream: u, auth: q}}\n- {{}}\n"
    )
    assert len(found) == 4, found


def settings(text: str, **environ: str) -> Any:
    loaded = load_settings("gateway.yaml", text=text, environ=environ)
    assert loaded.settings is not None, loaded.problems
    return loaded.settings


def test_keys_are_read_while_loading(tmp_path: Path) -> None:
    file, listed = tmp_path / "key.pem", tmp_path / "set.json"
    file.write_bytes(pem(private("RS256")))
    listed.write_text('{"keys": [' + str(jwk(private("ES256"), kid="e")).replace("'", '"') + "]}")
    keys = f"[{{alg: PS256, file: {file}}}, {{alg: HS256, env: S, encoding: base64url, kid: h}}]"
    made = settings(
        f"auth: {{providers: {{p: {{jwt: {{issuer: i, audience: a, keys: {keys}, jwks_file: {listed}}}}}}}}}",
        S=b64(SECRET).decode() + "\n",
    )
    file.unlink()
    listed.unlink()
    assert [(key.alg, key.kid) for key in static_keys(made.auth.providers["p"].jwt)] == [
        ("PS256", None), ("HS256", "h"), ("ES256", "e"),
    ]  # fmt: skip


def test_what_a_verdict_depends_on_is_in_the_fingerprint() -> None:
    def fingerprint(
        more: str = "", audience: str = "a", key: bytes = SECRET, scopes: str = "", name: str = "p"
    ) -> bytes:
        made = settings(
            f"auth: {{providers: {{p: {{jwt: {{issuer: i, audience: {audience}, {ENV}}}{more}}}}}}}\n"
            f"{ROUTES}- {{path: /, upstream: u, auth: {{providers: p, scopes: [{scopes}]}}}}",
            KEY=key.decode(),
        )
        return credential(0, name, made.auth.providers["p"], scope_numbers(made)).fingerprint

    plain = fingerprint()
    assert plain == fingerprint() == fingerprint(", forward: true") == fingerprint(", remember: 1m")
    others = [
        fingerprint(audience="b"),
        fingerprint(key=SECRET[::-1]),
        fingerprint(", headers: {X-User: sub}"),
        fingerprint(scopes="read"),
        fingerprint(scopes="write"),
        fingerprint(name="q"),
    ]
    assert len({plain, *others}) == 7


def test_a_key_is_made_on_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import io

    assert main(["api-key", "alice", "--scope", "read", "--scope", "write"]) == 0
    out, err = capsys.readouterr()
    key = err.removeprefix("key: ").strip()
    assert len(key) > 40
    assert out == f"- {{sha256: {hashlib.sha256(key.encode()).hexdigest()}, subject: alice, scopes: [read, write]}}\n"
    assert provider(f"api_keys: {{header: X-K, keys: [{out[2:].strip()}]}}") == []
    monkeypatch.setattr("sys.stdin", io.StringIO(key + "\n"))
    assert main(["api-key", "alice", "--from-stdin"]) == 0
    assert hashlib.sha256(key.encode()).hexdigest() in capsys.readouterr().out


def test_weak_keys_are_found() -> None:
    assert any(
        "2048" in problem for problem in jwt("keys: [{alg: RS256, env: KEY}]", KEY=pem(rsa_key(0, 1024)).decode())
    )


def test_loading_leaves_ssl_to_be_patched(tmp_path: Path) -> None:
    """Settings are loaded in the master; gevent patches ssl in the worker, and must find it not imported."""
    file, listed = tmp_path / "key.pem", tmp_path / "set.json"
    file.write_bytes(pem(private("RS256")))
    listed.write_text(json.dumps({"keys": [jwk(private("ES256"))]}))
    text = f"auth: {{providers: {{p: {{jwt: {{issuer: i, audience: a, keys: [{{alg: RS256, file: {file}}}], jwks_file: {listed}}}}}}}}}"
    program = (
        "import sys; from apps.gateway.config import load_settings; "
        f"assert load_settings(text={text!r}, environ={{}}).problems == []; sys.exit('ssl' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
