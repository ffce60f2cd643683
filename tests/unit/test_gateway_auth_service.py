"""One worker's authentication over a real table: what is remembered, and that a revocation is never overtaken.

The engine's line is the test's: credentials go in by hand, and verdicts are read from the tables.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from apps.gateway.auth import AuthService
from apps.gateway.config import load_settings
from apps.gateway.judges import KeysNeeded, subject_bytes
from apps.gateway.jws import Refused
from apps.gateway.revocations import tag
from fastcore.metrics import Metrics
from fastcore.proxy import REASONS
from fastcore.shm import Region

DIGEST = hashlib.sha256(b"key").hexdigest()
TEXT = f"""
auth:
  memory: 1MB
  providers:
    p: {{api_keys: {{header: X-K, keys: [{{sha256: '{DIGEST}', subject: alice, scopes: [read]}}]}}}}
upstreams: {{u: {{targets: ['127.0.0.1:1']}}}}
routes: [{{path: /, upstream: u, auth: {{providers: p, scopes: [read]}}}}]
"""
KEY = b"k" * 32


class Line:
    """In the place of the engine's Authenticator."""

    def __init__(self) -> None:
        self.settled: list[tuple[bytes, bytes]] = []

    def settle(self, key: bytes, verdict: bytes) -> bool:
        self.settled.append((key, verdict))
        return True


def service(region: Region | None = None, text: str = TEXT) -> tuple[AuthService, Line]:
    loaded = load_settings("g.yaml", text=text, environ={})
    assert loaded.settings is not None, loaded.problems
    region = region or Region()
    made = AuthService(loaded.settings, region, Metrics(region), "test")
    made.authenticator = line = Line()  # type: ignore[assignment]
    return made, line


def reason(verdict: bytes) -> str:
    return REASONS[verdict[20]]


def test_a_good_credential_is_remembered_and_a_bad_one_elsewhere() -> None:
    made, line = service()
    made._judge(0, KEY, b"key")
    assert reason(line.settled[0][1]) == "ok" and made.verified.get(KEY) == line.settled[0][1]
    made._judge(0, b"o" * 32, b"other")
    assert reason(line.settled[1][1]) == "unknown" and made.refused.get(b"o" * 32) == line.settled[1][1]
    assert len(made.verified) == 1 and len(made.refused) == 1


def test_many_bad_credentials_do_not_push_out_good_ones() -> None:
    made, _ = service()
    made._judge(0, KEY, b"key")
    for number in range(5000):
        made._judge(0, number.to_bytes(32, "big"), b"%d" % number)
    assert made.refused.stats().evictions > 0
    assert made.verified.get(KEY) is not None and made.verified.stats().evictions == 0


def test_tables_are_shared_by_workers() -> None:
    region = Region()
    one, _ = service(region)
    two, _ = service(region)
    one._judge(0, KEY, b"key")
    assert two.verified.get(KEY) is not None
    two.revoke(token="key")
    assert one.verified.get(KEY) is None


class Interrupted:
    """The table of one worker, in which another revokes just after one of its calls."""

    def __init__(self, table: Any, step: str, revoke: Callable[[], object]):
        self.stamp, self.set = table.stamp, table.set
        setattr(self, step, followed(getattr(table, step), revoke))


def followed(call: Callable[..., Any], then: Callable[[], object]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        found = call(*arguments, **options)
        then()
        return found

    return wrapped


@pytest.mark.parametrize("step", ["judge", "stamp", "covers", "set"])
@pytest.mark.parametrize("what", [{"token": "key"}, {"sub": "alice"}, {"sub": "alice", "provider": "p"}])
def test_a_revocation_is_never_overtaken(what: dict[str, str], step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes between two steps of a verdict in another worker, and nothing of that is remembered."""
    region = Region()
    judging, line = service(region)
    other, _ = service(region)

    def revoke() -> None:
        other.revoke(**what)

    if step == "judge":
        monkeypatch.setattr(judging._by_number[0].judge, "judge", followed(judging._by_number[0].judge.judge, revoke))
    elif step == "covers":
        monkeypatch.setattr(judging.revocations, "covers", followed(judging.revocations.covers, revoke))
    else:
        judging.verdicts.verified = Interrupted(judging.verified, step, revoke)  # type: ignore[assignment]
    judging._judge(0, KEY, b"key")
    assert len(line.settled) == 1  # it may have been good for the request that was under way
    assert other.verified.get(KEY) is None
    later, line = service(region)
    later._judge(0, KEY, b"key")
    assert reason(line.settled[0][1]) == "revoked"


def test_a_judge_that_fails_settles_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, line = service()

    def fails(*_: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(made._by_number[0].judge, "judge", fails)
    made._judge(0, KEY, b"key")
    assert reason(line.settled[0][1]) == "unavailable" and made.refused.get(KEY) is None
    assert "judging failed" in caplog.text and "b'key'" not in caplog.text


@pytest.mark.parametrize(("came", "said"), [(True, "ok"), (False, "unknown_key")])
def test_keys_that_come_while_a_token_is_judged(came: bool, said: str) -> None:
    """The thread found none; when the hub hears of it the fetch is over, and the next is not due."""
    made, line = service()
    known = made._by_number[0]
    judge = known.judge

    class Fetched:
        error = ""

        def would_fetch(self) -> bool:
            return False

    class Keyless:
        def judge(self, *_: object) -> None:
            raise KeysNeeded

    known.remote = Fetched()  # type: ignore[assignment]
    known.judge = Keyless()  # type: ignore[assignment]
    question = (known, KEY, b"key")
    verdict = made._verdict(question)
    assert verdict is None
    if came:
        known.judge = judge
    made._heard(question, verdict)
    assert [reason(verdict) for _, verdict in line.settled] == [said]


def test_a_full_table_costs_memory_and_not_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    made, line = service()

    class Busy:
        stamp = made.verified.stamp

        def set(self, *_: object, **__: object) -> None:
            raise TimeoutError("busy")

    made.verdicts.verified = Busy()  # type: ignore[assignment]
    made._judge(0, KEY, b"key")
    assert reason(line.settled[0][1]) == "ok"


def test_other_memory_after_a_reload_keeps_the_table(caplog: pytest.LogCaptureFixture) -> None:
    region = Region()
    service(region)[0]._judge(0, KEY, b"key")
    made, _ = service(region, TEXT.replace("memory: 1MB", "memory: 2MB"))
    assert made.verified.get(KEY) is not None
    assert "keep their size" in caplog.text


def test_tags_of_a_verdict_fit() -> None:
    assert len(tag("token", "p", b"x" * 10_000)) < 64
    with pytest.raises(Refused):
        subject_bytes("x" * 1000)
