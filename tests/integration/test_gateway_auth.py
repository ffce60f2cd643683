"""Who may use a route, in a real gateway with two workers: what clients, targets and the log are told."""

import json
import time
from collections.abc import Callable, Iterator

import pytest
from issuers import KEY, Issuer, ask, bearer, last_request, made, settings, settled
from servers import Gateway, RawUpstream, get


@pytest.fixture(scope="module")
def shared(one_gateway: Callable[..., Gateway]) -> Iterator[tuple[Gateway, RawUpstream]]:
    """For tests that neither count nor change anything."""
    issuer, upstream = Issuer(), RawUpstream().serve()
    yield one_gateway(settings(issuer, upstream), workers=2), upstream
    issuer.close()
    upstream.close()


@pytest.fixture
def gateway(start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream) -> Gateway:
    return start_gateway(settings(issuer, upstream), workers=2)


def test_a_known_token_costs_no_cryptography_in_any_worker(gateway: Gateway) -> None:
    credential = bearer(made())
    assert ask(gateway, "/token", credential).status == 200
    for _ in range(60):  # each on a connection of its own: both workers get some
        assert ask(gateway, "/token", credential).status == 200
    with gateway.connect() as client:
        for _ in range(40):
            client.send(get("/token", credential))
            assert client.read_response().status == 200
    figures = settled(gateway)
    assert figures["auth_verified_total"] == 1  # counted by Python, whenever it judges a token to be good
    assert figures["auth_parked_total"] == 1
    assert figures["auth_known_total"] == 100
    assert figures["auth_refused_total"] == 0
    assert not any("MonkeyPatchWarning" in line for line in gateway.log)


def test_a_bad_token_is_looked_at_once(gateway: Gateway) -> None:
    damaged = made()[:-8] + "AAAAAAAA"
    for _ in range(20):
        answer = ask(gateway, "/token", bearer(damaged))
        assert answer.status == 401
        assert answer["www-authenticate"] == (
            'Bearer realm="fastcore", error="invalid_token", error_description="the token\'s signature is wrong"'
        )
    figures = settled(gateway)
    assert figures["auth_parked_total"] == 1 and figures["auth_verified_total"] == 0
    assert figures['auth_refused_total{reason="signature"}'] == 20


def test_what_clients_are_told(shared: tuple[Gateway, RawUpstream]) -> None:
    gateway, _ = shared

    def told(path: str, *lines: str) -> tuple[int, str, str | None]:
        answer = ask(gateway, path, *lines)
        return answer.status, answer.problem["type"].removeprefix("urn:fastcore:problem:"), answer["www-authenticate"]

    assert told("/token") == (401, "unauthenticated", 'Bearer realm="fastcore"')  # RFC 6750, 3.1: no error code
    assert told("/token", "Authorization: Basic YTpi") == (401, "unauthenticated", 'Bearer realm="fastcore"')
    assert told("/scoped") == (401, "unauthenticated", 'Bearer realm="fastcore", scope="read"')
    assert told("/link") == (401, "unauthenticated", 'ApiKey realm="fastcore"')
    status, kind, challenge = told("/two", bearer(made(scope="write")))
    assert (status, kind) == (403, "insufficient-scope")
    assert challenge == (
        'Bearer realm="fastcore", error="insufficient_scope", error_description="the credential does not cover this route", '
        'scope="read write"'
    )
    for lines in ((bearer("a b"),), (bearer(made()), bearer(made())), (bearer(made()), "Authorization: Basic x")):
        assert told("/token", *lines) == (400, "bad-request", 'Bearer error="invalid_request"')
    expired = told("/token", bearer(made(exp=time.time() - 10)))
    assert (
        expired[0] == 401
        and expired[2]
        and 'error="invalid_token", error_description="the token has expired"' in expired[2]
    )
    assert told("/token", bearer("a.b.c"))[0] == 401
    assert gateway.access_of("/two")["error"] == "scope"


def test_scopes_are_asked_for(shared: tuple[Gateway, RawUpstream]) -> None:
    gateway, _ = shared
    assert ask(gateway, "/scoped", bearer(made(scope="read other"))).status == 200
    assert ask(gateway, "/two", bearer(made(scope="read write"))).status == 200
    assert ask(gateway, "/scoped", bearer(made(scope="reader"))).status == 403
    assert ask(gateway, "/scoped", bearer(made(scope="reader")), f"X-API-Key: {KEY}").status == 200


def test_providers_are_asked_in_order(shared: tuple[Gateway, RawUpstream]) -> None:
    gateway, upstream = shared
    assert ask(gateway, "/either", f"X-API-Key: {KEY}").status == 200
    assert ask(gateway, "/either", bearer(made(sub="tom")), f"X-API-Key: {KEY}").status == 200
    assert "\r\nX-User: tom\r\n" in last_request(upstream)
    assert ask(gateway, "/either", bearer("a.b.c"), f"X-API-Key: {KEY}").status == 200
    assert "\r\nX-User: alice\r\n" in last_request(upstream)
    assert ask(gateway, "/either", bearer("a.b.c"), "X-API-Key: wrong").status == 401


def test_anonymous_where_it_is_allowed(gateway: Gateway, upstream: RawUpstream) -> None:
    assert ask(gateway, "/maybe", "X-User: root").status == 200
    assert "x-user" not in last_request(upstream).lower()
    assert ask(gateway, "/maybe", bearer(made())).status == 200
    assert "\r\nX-User: alice\r\n" in last_request(upstream)
    assert ask(gateway, "/maybe", bearer(made()[:-8] + "AAAAAAAA")).status == 401  # a bad one is not none
    assert settled(gateway)["auth_anonymous_total"] == 1


FORGED = (
    "X-User: root",
    "x-user: root",
    "X_USER: root",
    "X-Roles: root",
    "x_roles: root",
    "Connection: X-User, X-Roles",
)


@pytest.mark.parametrize("path", ["/token", "/maybe", "/open", "/either"])
def test_nobody_forges_what_targets_are_told(shared: tuple[Gateway, RawUpstream], path: str) -> None:
    gateway, upstream = shared
    credential = [] if path in ("/open", "/maybe") else [bearer(made(roles=["a", "b\r\nX-User: root"]))]
    assert ask(gateway, path, *FORGED, *credential).status == 200
    head = last_request(upstream)
    assert "root" not in head.replace("%0D%0AX-User: root", "")
    if credential:
        assert head.count("\r\nX-User: alice\r\n") == 1
        assert "\r\nX-Roles: a,b%0D%0AX-User: root\r\n" in head


def test_a_trailer_does_not_forge_either(shared: tuple[Gateway, RawUpstream]) -> None:
    gateway, upstream = shared
    request = get("/open", "Transfer-Encoding: chunked", "Trailer: X-User", method="POST")
    assert gateway.ask(request + b"1\r\na\r\n0\r\nX-User: mallory\r\nX_User: mallory\r\nX-Sum: 1\r\n\r\n").status == 200
    assert b"X-Sum: 1" in upstream.received and b"mallory" not in upstream.received


def test_credentials_stay_here_and_out_of_the_log(gateway: Gateway, upstream: RawUpstream) -> None:
    credential = made()
    assert ask(gateway, "/token?a=1&key=x", bearer(credential)).status == 200
    assert ask(gateway, "/either", f"X-API-Key: {KEY}", "x_api_key: other").status == 400
    assert ask(gateway, "/either", f"X-API-Key: {KEY}").status == 200
    assert ask(gateway, f"/link?a=1&key={KEY}&b=2").status == 200
    assert "GET /link?a=1&b=2 HTTP" in last_request(upstream)
    assert ask(gateway, f"/link?key={KEY}").status == 200
    assert "GET /link HTTP" in last_request(upstream)
    assert ask(gateway, f"/nowhere?key={KEY}&x").status == 404
    lines = [gateway.next_access() for _ in range(6)]  # of two workers, in any order
    assert {line["query"] for line in lines if "key" in line.get("query", "")} == {
        "a=1&key=***", "a=1&key=***&b=2", "key=***", "key=***&x",
    }  # fmt: skip
    assert {line.get("subject") for line in lines if line["status"] == 200} == {"alice"}
    everything = json.dumps(lines) + "".join(gateway.log)
    for secret in (credential, KEY):
        assert secret.encode() not in upstream.received
        assert secret not in everything


@pytest.mark.parametrize(
    "query",
    [
        "?",
        "?&",
        "?a",
        "?a&",
        "?&a=1&&b=2&",
        "?a=%26key%3D&b",
        "?Key=1",
        "?keys=1",
        "?a=key=1",
        "?akey=1",
        "?%6Bey=1",
        "?=key",
        "?a?b",
    ],
)
def test_the_rest_of_a_query_goes_on_as_it_came(shared: tuple[Gateway, RawUpstream], query: str) -> None:
    gateway, upstream = shared
    rest = query[1:]
    for asked in (f"?key={KEY}&{rest}", f"?{rest}&key={KEY}"):
        assert ask(gateway, f"/link{asked}").status == 200
        assert last_request(upstream).startswith(f"GET /link?{rest} HTTP")
    assert ask(gateway, f"/either{query}", f"X-API-Key: {KEY}").status == 200
    assert last_request(upstream).startswith(f"GET /either{query} HTTP")


def test_the_credential_goes_on_where_that_is_set(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    text = settings(issuer, upstream).replace(
        "headers: {X-User: sub, X-Roles", "forward: true\n      headers: {X-User: sub, X-Roles"
    )
    gateway = start_gateway(text)
    credential = made()
    assert ask(gateway, "/token", bearer(credential)).status == 200
    assert bearer(credential) in last_request(upstream)
