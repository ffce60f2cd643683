"""Jobs as producers send them: what is taken, what is refused and with which words, what a worker gets back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.tasks.core import backoff
from apps.tasks.core.backoff import BadPolicy
from apps.tasks.core.job import BadJob, Body, Failure, Job, handed_out, likeness, read_job, text_of

NOW = 1_800_000_000_000


def job(**members: Any) -> dict[str, Any]:
    return {"jid": "j1", "jobtype": "mail", "args": [], **members}


def test_what_is_not_said() -> None:
    read, _ = read_job(job(), NOW)
    assert (read.queue, read.priority, read.retry, read.reserve) == ("default", 128, 25, 1800)
    assert (read.run_at, read.created, read.enqueued, read.expires, read.unique) == (NOW, NOW, NOW, None, b"")


def test_what_is_said() -> None:
    custom = {
        "priority": 0,
        "expires_at": "2027-02-01T00:00:00+01:00",
        "unique_for": 60,
        "unique_until": "start",
        "mine": 1,
    }
    sent = job(
        queue="q",
        at="2027-01-15T08:00:05.1239Z",
        reserve_for=90.0,
        retry=-1,
        created_at="2027-01-01T00:00:00",
        custom=custom,
    )
    read, body = read_job(sent, NOW)
    assert (read.queue, read.priority, read.reserve, read.retry) == ("q", 0, 90, -1)
    assert text_of(read.run_at) == "2027-01-15T08:00:05.124Z"
    assert text_of(read.created) == "2027-01-01T00:00:00.000Z"
    assert text_of(read.expires or 0) == "2027-01-31T23:00:00.000Z"
    assert len(read.unique) == 16 and read.unique_until_start
    read.token, read.failure, read.failures = 7, Failure(NOW, "E", "it broke", ["line"]), 1
    got = json.loads(handed_out(read, body))
    assert got["custom"] == {**custom, "fencing_token": 7}
    assert got["failure"] == {
        "retry_count": 0,
        "failed_at": text_of(NOW),
        "next_at": text_of(read.run_at),
        "message": "it broke",
        "errtype": "E",
        "backtrace": ["line"],
    }
    assert {name: got[name] for name in ("jid", "jobtype", "args", "queue", "at", "retry")} == {
        name: sent[name] for name in ("jid", "jobtype", "args", "queue", "at", "retry")
    }


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"jid": ""}, "jid"),
        ({"jid": 5}, "jid"),
        ({"jid": "x" * 256}, "jid"),
        ({"jid": "a\nb"}, "control characters"),
        ({"jid": "\ud800"}, "surrogates"),
        ({"jobtype": None}, "jobtype"),
        ({"args": {}}, "args must be an array"),
        ({"args": None}, "args must be an array"),
        ({"queue": []}, "queue"),
        ({"at": "tomorrow"}, "at must be a time"),
        ({"at": 5}, "at must be a time"),
        ({"at": "1969-12-31T23:59:59Z"}, "from 1970 on"),
        ({"retry": "5"}, "retry must be a whole number"),
        ({"retry": -2}, "retry"),
        ({"retry": True}, "retry"),
        ({"retry": 1.5}, "retry"),
        ({"reserve_for": -1}, "reserve_for"),
        ({"custom": []}, "custom must be an object"),
        ({"custom": {"priority": 256}}, "custom.priority"),
        ({"custom": {"unique_for": 0}}, "custom.unique_for"),
        ({"custom": {"unique_until": "end"}}, "custom.unique_until"),
        ({"custom": {"backoff": {"kind": "slow"}}}, "custom.backoff.kind"),
        ({"args": [float("inf")]}, "greater than a double"),
    ],
)
def test_what_is_refused(members: dict[str, Any], said: str) -> None:
    with pytest.raises(BadJob, match=said):
        read_job(job(**members), NOW)
    for value in (None, [], "job"):
        with pytest.raises(BadJob):
            read_job(value, NOW)


@pytest.mark.parametrize(("asked", "seconds"), [(0, 1800), (1, 60), (60, 60), (86_400, 86_400), (10**9, 86_400)])
def test_time_to_work_is_bounded(asked: int, seconds: int) -> None:
    assert read_job(job(reserve_for=asked), NOW)[0].reserve == seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    args=st.lists(JSON, max_size=4),
    more=st.dictionaries(st.sampled_from(["a", "é", "backtrace", ""]), JSON),
    token=st.integers(1, 9),
)
def test_what_is_not_ours_comes_back_as_it_was(args: list[Any], more: dict[str, Any], token: int) -> None:
    custom = {"track": 1, **more}
    read, body = read_job({**more, **job(args=args, custom=custom)}, NOW)
    read.token = token
    again = Job.unpack(read.jid, read.pack())
    got = json.loads(handed_out(again, Body.unpack(body.pack())))
    assert got["args"] == args
    assert got["custom"] == {**custom, "fencing_token": token}
    assert all(got[name] == value for name, value in more.items())


def test_a_job_is_stored_whole() -> None:
    read, _ = read_job(job(custom={"backoff": {"kind": "list", "delays": [1, 2.5], "max_age": 60}}), NOW)
    read.failure = Failure(NOW, "E", "m", ["a", "b"])
    read.token, read.worker, read.reserved_until, read.crashes, read.died = 5, "w", NOW + 1, 2, 3
    assert Job.unpack("j1", read.pack()) == read
    with pytest.raises(ValueError, match="format 99"):
        Job.unpack("j1", b"\x91\x63")


def test_likeness() -> None:
    assert likeness("t", "q", [{"a": 1, "b": 2}]) == likeness("t", "q", [{"b": 2, "a": 1}])
    assert (
        len({likeness("t", "q", [1]), likeness("t", "q", ["1"]), likeness("t", "r", [1]), likeness("u", "q", [1])}) == 4
    )


# --- how long failures wait ---


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (None, [15, 16, 31, 96]),
        ({"kind": "exponential", "jitter": False}, [1, 2, 4, 8]),
        ({"kind": "exponential", "first": 3, "base": 10, "cap": 100, "jitter": False}, [3, 30, 100, 100]),
        ({"kind": "exponential"}, [0, 0, 0, 0]),
        ({"kind": "linear", "step": 5, "cap": 12}, [5, 10, 12, 12]),
        ({"kind": "fixed", "delay": 7}, [7, 7, 7, 7]),
        ({"kind": "list", "delays": [1, 10, 60]}, [1, 10, 60, 60]),
    ],
)
def test_delays(policy: Any, delays: list[float]) -> None:
    read = backoff.read(policy)
    assert [read.delay(n, lambda: 0.0) for n in range(4)] == pytest.approx(delays)


def test_jitter_is_full_and_nothing_is_endless() -> None:
    policy = backoff.read({"kind": "exponential"})
    assert policy.delay(3, lambda: 0.5) == pytest.approx(4)
    assert policy.delay(3, lambda: 0.999) == pytest.approx(8, rel=0.01)
    assert backoff.DEFAULT.delay(2, lambda: 0.999) == 2**4 + 15 + 29 * 3
    for each in (backoff.DEFAULT, policy, backoff.read({"kind": "linear", "step": 1e7})):
        assert each.delay(1_000_000, lambda: 0.9) <= backoff.SECONDS_MAX


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ([], "object"),
        ({}, "kind"),
        ({"kind": "fixed", "delays": [1]}, "no 'delays'"),
        ({"kind": "fixed", "delay": "1"}, "number"),
        ({"kind": "fixed", "delay": True}, "number"),
        ({"kind": "list"}, "delays"),
        ({"kind": "list", "delays": []}, "delays"),
        ({"kind": "list", "delays": [-1]}, "delays"),
        ({"kind": "exponential", "base": 0.5}, "base"),
        ({"kind": "exponential", "jitter": 1}, "jitter"),
        ({"kind": "linear", "max_age": -1}, "max_age"),
    ],
)
def test_bad_policies(policy: Any, said: str) -> None:
    with pytest.raises(BadPolicy, match=said):
        backoff.read(policy)
