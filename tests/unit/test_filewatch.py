"""What the kernel tells of a folder: complete files, moves, deletions, and when everything may have changed."""

import os
import select
from pathlib import Path

import pytest

from fastcore.filewatch import FolderWatch


def told(watch: FolderWatch) -> set[str] | None:
    assert select.select([watch], [], [], 10)[0]
    return watch.read()


def test_names_of_complete_files(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    assert watch.read() == set()
    with (tmp_path / "a").open("w") as stream:
        assert told(watch) == {"a"}  # it is there
        stream.write("x")
        stream.flush()
        assert watch.read() == set()  # being written
    assert told(watch) == {"a"}
    (tmp_path / "b.new").write_text("y")
    (tmp_path / "b.new").replace(tmp_path / "b")
    assert told(watch) == {"b.new", "b"}
    (tmp_path / "a").unlink()
    assert told(watch) == {"a"}


def test_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    """As Kubernetes puts a new version of a ConfigMap in place: ..data is renamed over, the file is never touched."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
    (tmp_path / "..data").symlink_to("1")
    watch = FolderWatch(tmp_path)
    (tmp_path / "..new").symlink_to("2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    changed = told(watch)
    assert changed is not None
    assert "..data" in changed


def test_everything_may_have_changed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    watch = FolderWatch(folder)
    folder.rmdir()
    assert told(watch) is None


def test_more_names_than_one_read_takes(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    names = {f"{n:03}-{'long' * 30}" for n in range(200)}
    for name in names:
        (tmp_path / name).touch()
    assert told(watch) == names


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderWatch(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        FolderWatch(tmp_path / "file")


def test_closing(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    number = watch.fileno()
    watch.close()
    watch.close()
    assert watch.fileno() == -1
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)
    with pytest.raises(OSError, match="Bad file"):
        watch.read()
