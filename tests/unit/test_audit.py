"""Lines of the audit log where the disk does not take all of one."""

import multiprocessing
import resource
from pathlib import Path

from apps.audit import append


def _append_where_files_end(size: int, path: str) -> None:
    """As on a disk that is full: the kernel takes what still goes in, and then no more. In a process of its own, for the
    limit is one of every file it writes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        append(path, '{"a": 1}\n')
    except OSError:
        raise SystemExit(7) from None


def test_lines_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    append(str(path), '{"a": 1}\n')
    append(str(path), '{"b": 2}\n')
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n'
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_short_is_an_error_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    child = multiprocessing.get_context("fork").Process(target=_append_where_files_end, args=(6, str(path)))
    child.start()
    child.join()
    assert child.exitcode == 7
    append(str(path), '{"b": 2}\n')
    assert path.read_text() == '{"a": \n{"b": 2}\n'
