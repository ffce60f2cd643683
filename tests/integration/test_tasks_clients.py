"""Clients of Faktory's protocol that we did not write, unmodified: push, work, fail, retry, schedule."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import faktory
import pytest
from broker_process import BrokerProcess
from pyfaktory import Client, Job, JobFilter, MutateOperation, Producer
from servers import SECONDS, eventually

PASSWORD = "open-sesame"
PROGRAM = Path(__file__).with_name("faktory_workers.py")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    made = BrokerProcess(tmp_path_factory.mktemp("tasks") / "jobs", f"password: {PASSWORD}\n")
    yield made
    made.stop()


@pytest.fixture
def url(broker: BrokerProcess) -> str:
    return f"tcp://:{PASSWORD}@127.0.0.1:{broker.port}"


@pytest.fixture(params=["faktory", "pyfaktory"])
def worker(request: pytest.FixtureRequest, broker: BrokerProcess, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    made = subprocess.Popen(
        [sys.executable, str(PROGRAM), request.param, url],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )
    yield made
    if made.poll() is None:
        os.killpg(made.pid, signal.SIGKILL)
    made.wait(SECONDS)
    eventually(lambda: not broker.get("/workers"))


def push_with_faktory(url: str, name: str, *args: Any, **more: Any) -> None:
    with faktory.connection(faktory=url) as connection:
        assert connection.queue(name, args=args, **more)


def push_with_pyfaktory(url: str, name: str, *args: Any, **more: Any) -> None:
    with Client(faktory_url=url, role="producer") as client:
        assert Producer(client=client).push(Job(jobtype=name, args=args, **more))


@pytest.mark.parametrize("push", [push_with_faktory, push_with_pyfaktory])
def test_work(
    broker: BrokerProcess, url: str, worker: "subprocess.Popen[bytes]", tmp_path: Path, push: Callable[..., None]
) -> None:
    out = tmp_path / "out"
    out.touch()
    push(url, "add", str(out), 5, 4)
    eventually(lambda: out.read_text().splitlines() == ["add 9"])
    eventually(lambda: not broker.counts())
    [told] = broker.get("/workers")
    assert told["pid"] and told["state"] == "running"


def test_fail_and_retry(broker: BrokerProcess, url: str, worker: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.touch()
    push_with_pyfaktory(
        url, "fail_once", str(out), str(tmp_path / "mark"), custom={"backoff": {"kind": "fixed", "delay": 0.2}}
    )
    eventually(lambda: out.read_text().splitlines() == ["fail_once False", "fail_once True"])
    eventually(lambda: not broker.counts())


def test_schedule(broker: BrokerProcess, url: str, worker: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.touch()
    push_with_faktory(
        url, "add", str(out), 1, 1, queue="slow", at=(datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    )
    assert broker.counts() == {"scheduled": 1}
    eventually(lambda: out.read_text() == "add 2\n")
    eventually(lambda: not broker.counts())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its clients leave sockets open
def test_a_wrong_password_is_refused(broker: BrokerProcess) -> None:
    with (
        pytest.raises(Exception, match="wrong password"),
        Client(f"tcp://:no@127.0.0.1:{broker.port}", role="producer"),
    ):
        pass


def test_bulk_and_mutate(broker: BrokerProcess, url: str) -> None:
    with Client(faktory_url=url, role="producer") as client:
        jobs = [
            Job(jobtype="later", args=(n,), at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()) for n in range(50)
        ]
        assert Producer(client=client).push_bulk(jobs) == {}
        assert broker.counts() == {"scheduled": 50}
        assert client.info()["faktory"]["tasks"]["Scheduled"]["size"] == 50
        discard = MutateOperation(
            cmd="discard", target="scheduled", filter=JobFilter(jids=None, regexp=None, jobtype="later")
        )
        assert client.mutate(discard)
    assert broker.counts() == {}
