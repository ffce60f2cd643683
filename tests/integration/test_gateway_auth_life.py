"""Requests that wait for a verdict, and the end of what is remembered."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from issuers import DIGEST, KEY, Issuer, ask, bearer, made, revoke, settings, settled
from servers import SECONDS, Gateway, RawUpstream, eventually, get


@pytest.fixture
def gateway(start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream) -> Gateway:
    return start_gateway(settings(issuer, upstream, log="off"), workers=2)


@pytest.fixture
def hanging(start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream) -> Gateway:
    issuer.mode = "hang"
    return start_gateway(settings(issuer, upstream, auth="pending: 1", route="timeouts: {total: 10s}"))


def parked(gateway: Gateway, times: int) -> None:
    eventually(lambda: gateway.figures()["auth_parked_total"] == times, f"{times} parked")


def test_equal_tokens_wait_for_one_verdict(hanging: Gateway, issuer: Issuer) -> None:
    credential = bearer(made())
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(hanging.connect()) for _ in range(20)]
        for client in clients:
            client.send(get("/token", credential) * 2)  # pipelined: the second is known by then
        parked(hanging, 20)
        issuer.release()
        for client in clients:
            assert [client.read_response().status for _ in range(2)] == [200, 200]
    figures = settled(hanging)
    assert figures["auth_verified_total"] == 1 and figures["auth_known_total"] == 20


def test_many_tokens_nobody_has_seen(gateway: Gateway) -> None:
    """More than are judged in one turn, while other requests go on."""
    credentials = [bearer(made(jti=str(number))) for number in range(400)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(8)]
        for place, client in enumerate(clients):
            client.send(b"".join(get("/token", credential) for credential in credentials[place::8]))
        for _ in range(10):
            assert ask(gateway, "/open").status == 200
        for client in clients:
            assert [client.read_response().status for _ in range(50)] == [200] * 50
    figures = settled(gateway)
    assert figures["auth_verified_total"] == figures["auth_parked_total"] == 400


def test_many_clients_with_tokens_nobody_has_seen(gateway: Gateway) -> None:
    credentials = [bearer(made(jti=str(number))) for number in range(200)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in credentials]
        for client, credential in zip(clients, credentials, strict=True):
            client.send(get("/token", credential))
        assert [client.read_response().status for client in clients] == [200] * 200
    assert settled(gateway)["auth_verified_total"] == 200


def test_when_too_many_wait_others_are_turned_away(hanging: Gateway, issuer: Issuer) -> None:
    with hanging.connect() as client:
        client.send(get("/token", bearer(made())))
        parked(hanging, 1)
        answer = ask(hanging, "/token", bearer(made(jti="another")))
        assert answer.status == 503 and answer["retry-after"] == "1"
        assert hanging.access_of("/token")["error"] == "auth_busy"
        issuer.release()
        assert client.read_response().status == 200


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_parked_client_goes_away(hanging: Gateway, issuer: Issuer, upstream: RawUpstream, how: str) -> None:
    client = hanging.connect()
    # With a body still to come, so that a mere end of its sending is an end of the request.
    client.send(get("/token", bearer(made()), "Content-Length: 5", method="POST"))
    parked(hanging, 1)
    client.reset() if how == "reset" else client.close()
    if how == "reset":
        assert hanging.access_of("/token")["error"] == "client_closed"
        hanging.quiet()
    issuer.release()
    eventually(lambda: ask(hanging, "/token", bearer(made(jti="next"))).status == 200)
    hanging.quiet()
    assert b"POST" not in upstream.received or how == "close"


def test_the_total_timeout_counts_while_parked(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    issuer.mode = "hang"
    gateway = start_gateway(settings(issuer, upstream, route="timeouts: {total: 300ms}"))
    answer = ask(gateway, "/token", bearer(made()))
    assert answer.status == 503 and "took too long" in answer.problem["detail"]
    issuer.release()
    eventually(lambda: ask(gateway, "/token", bearer(made())).status == 200)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_waits_with_its_request(hanging: Gateway, issuer: Issuer, upstream: RawUpstream, chunked: bool) -> None:
    body = bytes(range(256)) * 8192
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    with hanging.connect() as client:
        sender = threading.Thread(
            target=client.send, args=(get("/token", bearer(made()), framing, method="POST") + sent,)
        )
        sender.start()
        parked(hanging, 1)
        assert upstream.received == b""
        issuer.release()
        assert client.read_response().status == 200
        sender.join(SECONDS)
    assert len(upstream.received) > len(body)


def test_stopping_ends_parked_requests(hanging: Gateway) -> None:
    with hanging.connect() as client:
        client.send(get("/token", bearer(made())))
        parked(hanging, 1)
        assert hanging.stop(signal.SIGQUIT) == 0
        assert client.was_reset() or client.received == b""


# --- the end of what is remembered ------------------------------------------------------------------------------------


def test_a_token_expires_while_it_is_remembered(gateway: Gateway) -> None:
    expires = int(time.time()) + 2
    credential = bearer(made(exp=expires))
    seen = []
    while (answer := ask(gateway, "/token", credential)).status == 200:
        seen.append(time.time())
    assert answer.status == 401 and "expired" in answer.problem["detail"]
    assert len(seen) > 2 and seen[-1] < expires + 0.1 and time.time() >= expires
    assert settled(gateway)["auth_known_total"] >= len(seen) - 1


@pytest.mark.parametrize("kind", ["token", "jti", "sub"])
def test_a_revoked_token_is_refused_by_all_workers_at_once(gateway: Gateway, kind: str) -> None:
    credential, other = made(jti="1", iat=time.time() - 5), made(jti="2", sub="bob")
    for known in (credential, other):
        assert ask(gateway, "/token", bearer(known)).status == 200
    status, answer = revoke(gateway, **{kind: {"token": credential, "jti": "1", "sub": "alice"}[kind]})
    assert status == 200 and answer["revoked"] == kind
    for _ in range(20):
        answer = ask(gateway, "/token", bearer(credential))
        assert answer.status == 401 and "revoked" in answer.problem["detail"]
        assert ask(gateway, "/token", bearer(other)).status == 200
    if kind == "sub":  # who logs in again is welcome
        assert ask(gateway, "/token", bearer(made(iat=time.time() + 1, nbf=None, jti="3"))).status in (200, 401)


def test_an_api_key_is_revoked(gateway: Gateway) -> None:
    assert ask(gateway, "/either", f"X-API-Key: {KEY}").status == 200
    assert revoke(gateway, token=KEY)[0] == 200
    assert ask(gateway, "/either", f"X-API-Key: {KEY}").status == 401
    assert ask(gateway, f"/link?key={KEY}").status == 401


def test_what_cannot_be_revoked(gateway: Gateway) -> None:
    assert revoke(gateway)[0] == 400
    assert revoke(gateway, jti="1", sub="2")[0] == 400
    assert revoke(gateway, jti="1", provider="nobody")[0] == 400
    assert revoke(gateway, jti="1", what="x")[0] == 400
    assert revoke(gateway, jti="1", **{"for": "soon"})[0] == 400
    assert revoke(gateway, jti="1", provider="main", **{"for": "1h"})[0] == 200


def test_a_reload_forgets_what_other_settings_decided(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    text = settings(issuer, upstream)
    gateway = start_gateway(text, workers=2)
    assert ask(gateway, "/either", f"X-API-Key: {KEY}").status == 200
    assert ask(gateway, "/token", bearer(made())).status == 200
    gateway.write(text.replace(DIGEST, "0" * 64))
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: [ask(gateway, "/either", f"X-API-Key: {KEY}").status for _ in range(8)] == [401] * 8)
    before = settled(gateway)["auth_verified_total"]
    assert ask(gateway, "/token", bearer(made(exp=time.time() + 599))).status == 200
    assert settled(gateway)["auth_verified_total"] == before + 1


def test_revocations_outlive_the_gateway(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream, tmp_path: Path
) -> None:
    text = settings(issuer, upstream, auth=f"revocations: {tmp_path / 'revoked'}")
    gone, kept = made(sub="gone", iat=time.time() - 10), made(sub="kept", jti="7")
    gateway = start_gateway(text, workers=2)
    assert {ask(gateway, "/token", bearer(each)).status for each in (gone, kept)} == {200}
    assert revoke(gateway, sub="gone")[0] == 200
    assert revoke(gateway, jti="8")[0] == 200
    gateway.stop()
    again = start_gateway(text, workers=2)
    assert [ask(again, "/token", bearer(each)).status for each in (gone, kept)] == [401, 200]
    assert ask(again, "/token", bearer(made(sub="other", jti="8"))).status == 401
    assert ask(again, "/token", bearer(made(sub="gone", iat=time.time()))).status == 200  # logged in again
    (tmp_path / "revoked").unlink()
    (tmp_path / "revoked").mkdir()
    status, told = revoke(again, jti="7")
    assert (status, "not saved" in told["detail"]) == (500, True)
    assert ask(again, "/token", bearer(kept)).status == 401
