"""Limits by user, once authentication has said who asks: each has a count of his own, parked or known."""

from collections.abc import Callable

from issuers import Issuer, ask, bearer, made, settings
from servers import Gateway, RawUpstream


def test_each_user_has_a_count_of_his_own(
    start_gateway: Callable[..., Gateway], issuer: Issuer, upstream: RawUpstream
) -> None:
    text = settings(issuer, upstream, more="- {path: /counted, upstream: u, auth: main, rate_limits: [mine]}")
    gateway = start_gateway("rate_limits: {mine: {rate: 2, period: 1h, by: [user]}}\n" + text, workers=2)
    for name in ("alice", "bob"):  # the first request of each waits for a verdict, the others are known
        token = bearer(made(sub=name))
        assert [ask(gateway, "/counted", token).status for _ in range(4)] == [200, 200, 429, 429]
    other = bearer(made(sub="alice", jti="another token, the same user"))
    assert ask(gateway, "/counted", other).status == 429
    assert ask(gateway, "/counted").status == 401
