"""Lines of the audit log where the disk does not take all of one."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.audit import append


@pytest.fixture
def room_for_six_bytes() -> Iterator[None]:
    """Files end at six bytes, as a disk that is full: the kernel takes what still goes in, and then no more."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_lines_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    append(str(path), '{"a": 1}\n')
    append(str(path), '{"b": 2}\n')
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n'
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_short_is_an_error(tmp_path: Path, room_for_six_bytes: None) -> None:
    with pytest.raises(OSError, match="too large"):
        append(str(tmp_path / "audit"), '{"a": 1}\n')


def test_the_next_line_is_whole_nevertheless(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    path.write_text('{"a":')
    append(str(path), '{"b": 2}\n')
    assert path.read_text() == '{"a":\n{"b": 2}\n'
