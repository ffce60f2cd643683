"""Where keys come from: an issuer that rotates them, fails and hangs, and an authorization server that is asked."""

import base64
import threading
import time
from collections.abc import Callable
from pathlib import Path

from issuers import KEY, Issuer, ask, bearer, last_request, made, revoke, settings, settled
from servers import Gateway, RawUpstream, eventually, get
from tokens import jwk, rsa_key


def test_keys_rotate(start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream) -> None:
    gateway = start_gateway(settings(issuer, upstream, jwt="jwks_refresh: 200ms"), workers=2)
    old, new = bearer(made()), bearer(made(1, "b"))
    assert ask(gateway, "/token", old).status == 200
    assert ask(gateway, "/token", new).status == 401
    issuer.keys = [jwk(rsa_key(0), kid="a"), jwk(rsa_key(1), kid="b")]
    eventually(lambda: ask(gateway, "/token", bearer(made(1, "b", jti=str(time.time())))).status == 200)
    assert ask(gateway, "/token", old).status == 200
    issuer.keys = [jwk(rsa_key(1), kid="b")]
    # Remembered or not: the key is withdrawn, and with it the token, once both workers have noticed.
    eventually(lambda: [ask(gateway, "/token", old).status for _ in range(8)] == [401] * 8)
    assert ask(gateway, "/token", bearer(made(1, "b"))).status == 200


def test_a_key_that_is_new_is_fetched_when_a_token_names_it(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    gateway = start_gateway(settings(issuer, upstream))
    assert ask(gateway, "/token", bearer(made())).status == 200
    issuer.keys.append(jwk(rsa_key(1), kid="b"))
    before = issuer.fetches
    threading.Event().wait(0.11)  # the least time between two fetches
    assert ask(gateway, "/token", bearer(made(1, "b"))).status == 200
    assert issuer.fetches == before + 1


def test_made_up_kids_do_not_hammer_the_issuer(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    text = settings(issuer, upstream).replace("jwks_interval: 100ms", "jwks_interval: 1h")
    gateway = start_gateway(text, workers=2)
    eventually(lambda: issuer.fetches == 2)
    for number in range(30):
        assert ask(gateway, "/token", bearer(made(0, f"made-up-{number}"))).status == 401
    assert issuer.fetches == 2
    assert settled(gateway)['auth_refused_total{reason="unknown_key"}'] == 30


def test_old_keys_serve_while_the_issuer_fails(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    gateway = start_gateway(settings(issuer, upstream, jwt="jwks_refresh: 100ms"))
    assert ask(gateway, "/token", bearer(made())).status == 200
    issuer.mode = "fail"
    gateway.wait_log("the last ones stay in force")
    assert ask(gateway, "/token", bearer(made(jti="never seen"))).status == 200
    answer = ask(gateway, "/token", bearer(made(1, "b")))  # may be a good key of tomorrow: nobody can tell now
    assert answer.status == 503 and answer["retry-after"] == "1" and answer.problem["type"].endswith("auth-unavailable")
    provider = gateway.get("/auth")[1][0]
    assert "500" in provider["error"] and provider["keys"] == [{"kid": "a", "alg": "RS256"}]
    issuer.mode = "ok"
    gateway.wait_log("keys can be fetched again")


def test_an_issuer_that_hangs_holds_up_nobody_else(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    issuer.mode = "hang"
    gateway = start_gateway(settings(issuer, upstream))
    with gateway.connect() as parked:
        parked.send(get("/token", bearer(made())))
        eventually(lambda: gateway.figures()["auth_parked_total"] == 1)
        for _ in range(20):
            assert ask(gateway, "/open").status == 200
            assert ask(gateway, "/either", f"X-API-Key: {KEY}").status == 200
        assert parked.pending() == b""
        issuer.release()
        assert parked.read_response().status == 200


def test_without_keys_nothing_is_decided(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    issuer.mode = "hang"
    gateway = start_gateway(settings(issuer, upstream, jwt="jwks_timeout: 300ms"))
    answer = ask(gateway, "/token", bearer(made()))
    assert answer.status == 503 and answer["www-authenticate"] is None
    issuer.release()
    eventually(lambda: ask(gateway, "/token", bearer(made())).status == 200)


def test_the_authorization_server_is_asked_once(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s:cret\n")
    text = settings(issuer, upstream, more="- {path: /opaque, upstream: u, auth: {providers: opaque, scopes: read}}")
    provider = f"{{url: '{issuer.url}', client_id: gw, client_secret_file: {tmp_path / 'secret'}}}"
    text = text.replace(
        "  providers:\n", f"  providers:\n    opaque: {{introspection: {provider}, headers: {{X-User: sub}}}}\n", 1
    )
    gateway = start_gateway(text, workers=2)
    for _ in range(20):
        assert ask(gateway, "/opaque", bearer("opaque+token/1==")).status == 200
    assert issuer.questions == [
        (
            "Basic " + base64.b64encode(b"gw:s%3Acret").decode(),
            b"token=opaque%2Btoken%2F1%3D%3D&token_type_hint=access_token",
        )
    ]
    assert "\r\nX-User: alice\r\n" in last_request(upstream)
    issuer.says = {"active": False}
    for _ in range(5):
        answer = ask(gateway, "/opaque", bearer("other"))
        assert answer.status == 401 and "not active" in answer.problem["detail"]
    assert len(issuer.questions) == 2
    issuer.mode = "fail"
    assert ask(gateway, "/opaque", bearer("third")).status == 503
    issuer.mode, issuer.says = "ok", {"active": True, "sub": "bob"}
    assert ask(gateway, "/opaque", bearer("third")).status == 403  # and is not remembered as failed
    assert revoke(gateway, token="opaque+token/1==")[0] == 200
    assert ask(gateway, "/opaque", bearer("opaque+token/1==")).status == 401
