"""Revocations on disk: what comes back, what is over, and what a crash leaves."""

import logging
from pathlib import Path

import pytest

from apps.gateway import revocation_file
from apps.gateway.revocation_file import Line, RevocationFile
from forks import forked


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revoked"


def test_what_is_not_over_comes_back(path: Path) -> None:
    file = RevocationFile(str(path))
    assert file.load(0) == []
    file.append(b"\x01", 10, 20)
    file.append(b"\x02", 11, 30)
    assert RevocationFile(str(path)).load(20) == [Line("02", 11, 30)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_spoils_no_other(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = RevocationFile(str(path))
    file.append(b"\x01", 10, 20)
    with path.open("a") as stream:
        stream.write('{"mark": "02", "at": 1')
    file.append(b"\x03", 10, 20)
    with caplog.at_level(logging.ERROR):
        assert [line.mark for line in file.load(0)] == ["01", "03"]
    assert f"{path}:2: no revocation" in caplog.text


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"mark": "zz", "at": 1, "until": 2}', '{"mark": "01", "at": "x", "until": 2}']
)
def test_what_is_no_revocation(path: Path, text: str) -> None:
    path.write_text(text + "\n")
    assert RevocationFile(str(path)).load(0) == []
    assert path.read_text() == text + "\n"


def test_what_is_over_goes_once_it_is_much(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation_file, "OVER_MAX", 10)
    file = RevocationFile(str(path))
    for number in range(12):
        file.append(bytes([number]), 0, 1 if number < 11 else 9)
    assert file.load(0.5) != []
    assert len(path.read_text().splitlines()) == 12
    assert file.load(5) == [Line("0b", 0, 9)]
    assert len(path.read_text().splitlines()) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_many_processes(path: Path) -> None:
    def add() -> None:
        for number in range(50):
            RevocationFile(str(path)).append(bytes([number]), 0, 9)

    for _ in range(3):
        assert forked(add) == 0
    assert len(RevocationFile(str(path)).load(0)) == 150
