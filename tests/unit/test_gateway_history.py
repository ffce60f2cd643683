"""The configurations that were in force: their order, their bound, and who may look at them; and what settings are made of
on their way to the workers."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from apps.gateway.compiled import Compiled, compile_text, no_turn
from apps.gateway.config_live import at_start_only
from apps.gateway.config_model import Gateway
from apps.gateway.history import History
from apps.settings import InvalidSettings
from forks import forked

TEXT = """\
control_token: secret
upstreams: {u: {targets: ["127.0.0.1:1"]}}
routes:
  - {name: a, path: /a, upstream: u, methods: [GET, POST], cors: {origins: ["https://a.test"]}}
  - {path: /b, upstream: u}
"""


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


def compiled(more: str = "") -> Compiled:
    return compile_text(TEXT + more, "g.yaml")


def settings(text: str) -> Gateway:
    return compile_text(text, "g.yaml").settings({}, no_turn)[0]


def test_the_last_is_in_force(history: History) -> None:
    assert history.current() is None
    first = history.add(compiled(), source="start", keep=2)
    assert (first.number, first.routes, history.current()) == (1, 2, first)
    second = history.add(compiled("  - {path: /c, upstream: u}\n"), source="put", by="192.0.2.1", keep=2)
    third = history.add(compiled(), source="rollback to 1", keep=2)
    assert history.entries() == [second, third]
    assert third.digest == first.digest != second.digest
    assert history.load(2).text.endswith("/c, upstream: u}\n")
    with pytest.raises(KeyError):
        history.load(1)
    assert History(history.folder).entries() == [second, third]


def test_who_runs_what(history: History) -> None:
    history.runs(3)
    assert history.running() == {os.getpid(): 3}
    assert forked(lambda: history.runs(2)) == 0
    assert len(list(history.folder.glob("running-*"))) == 2
    assert history.running() == {os.getpid(): 3}  # the other is dead, and swept away
    assert len(list(history.folder.glob("running-*"))) == 1
    history.stopped()
    history.stopped()
    assert history.running() == {}


def test_a_folder_others_can_read_is_refused(tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="closed to everybody else"):
        History(open_folder)


def test_one_change_at_a_time(history: History) -> None:
    """A second process waits until the first has let go."""
    lock = history.change()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock.close()  # inherited, and as good as the other
        history.change()
        os.write(write, b"mine")
        os._exit(0)
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 4)
    lock.close()
    os.set_blocking(read, True)
    assert os.read(read, 4) == b"mine"
    assert os.waitpid(pid, 0)[1] == 0


def test_equal_settings_are_equal_bytes_in_every_process() -> None:
    """Sets of strings have another order in each; what workers compare must not."""
    code = (
        "import sys; from apps.gateway.compiled import compile_text;"
        "c = compile_text(sys.stdin.read(), 'g.yaml'); print(c.digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=TEXT,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2, 3)
    }
    assert digests == {f"{compiled().digest}\n"}


def test_the_same_in_other_words() -> None:
    assert compile_text("# a comment\n" + TEXT, "g.yaml").digest == compiled().digest
    assert compile_text(TEXT.replace("secret", "other"), "g.yaml").digest != compiled().digest


def test_routes_that_did_not_change_are_the_same_objects() -> None:
    before, known = compiled().settings({}, no_turn)
    turns: list[int] = []
    after, _ = compiled("  - {path: /c, upstream: u}\n").settings(known, lambda: turns.append(1))
    assert [new is old for new, old in zip(after.routes, before.routes, strict=False)] == [True, True]
    assert len(after.routes) == len(turns) == 3
    assert pickle.loads(pickle.dumps(after)) == after  # noqa: S301


def test_what_is_wrong_is_told_with_its_place() -> None:
    with pytest.raises(InvalidSettings, match=r"g.yaml:6:16: routes\[2\].upstream: no upstream is called 'nobody'"):
        compiled("  - {path: /c, upstream: nobody}\n")
    many = "".join(f"  - {{path: /c{n}, upstream: nobody}}\n" for n in range(150))
    with pytest.raises(InvalidSettings, match=r"and 50 more$"):
        compiled(many)


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ("", []),
        ("rate_limits: {a: {rate: 1}}\n", []),
        ("timeouts: {connect: 1s, total: 9s}\n", []),
        ("timeouts: {connect: 1s, idle: 9s, drain: 5s}\n", ["timeouts.idle", "timeouts.drain"]),
        ("limits: {body_bytes: 1MB}\n", []),
        ("limits: {header_bytes: 16KB}\n", ["limits.header_bytes"]),
        ("access_log: /dev/null\n", []),
        ("access_log: {path: /dev/null, sample: 0.5}\n", ["access_log.sample"]),
        ("server_name: x\nworkers: 3\n", ["workers", "server_name"]),
        ("auth: {memory: 2MB}\n", ["auth.memory"]),
        ("cache: {memory: 32MB}\n", ["cache"]),
    ],
)
def test_settings_that_need_new_workers(more: str, names: list[str]) -> None:
    assert at_start_only(settings(TEXT), settings(more + TEXT.replace("/b", "/other"))) == names
