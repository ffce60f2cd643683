"""The disks from Python: the same calls on a directory and on the simulated one, and what a crash leaves."""

import errno
import threading
from pathlib import Path

import pytest

from fastcore.disk import Disk, File, SimDisk


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return Disk(tmp_path / "disk") if request.param == "real" else SimDisk(1)


def test_files(disk: Disk) -> None:
    with disk.open("a", "x") as file:
        file.write(b"0123456789")
        file.write(bytearray(b"AB"), 2)
        assert (file.name, file.size(), file.read(), file.read(3, 1)) == ("a", 10, b"01AB456789", b"1AB")
        assert file.read(100, 8) == b"89"
        assert file.read(1, 100) == b"" == file.read(0)
        file.truncate(4)
        file.allocate(6)
        file.sync()
        assert file.read() == b"01AB\0\0"
    assert file.closed
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()
    assert disk.read("a") == b"01AB\0\0"
    disk.write("a", b"new")
    disk.write("b", memoryview(b"other"))
    assert (disk.read("a"), disk.read("b")) == (b"new", b"other")


def test_names(disk: Disk) -> None:
    disk.make_dir("folder")
    disk.make_dir("folder")
    disk.write("a", b"a")
    disk.link("a", "folder/b")
    disk.rename("a", "c")
    assert (disk.list(), disk.list("folder")) == (["c", "folder"], ["b"])
    disk.remove("c")
    disk.sync_dir()
    disk.sync_dir("folder")
    assert disk.read("folder/b") == b"a"
    assert disk.free_bytes() > 0


def test_errors_are_the_kind_they_have(disk: Disk) -> None:
    disk.write("a", b"")
    for call, kind in [
        (lambda: disk.open("none"), FileNotFoundError),
        (lambda: disk.open("a", "x"), FileExistsError),
        (lambda: disk.rename("none", "b"), FileNotFoundError),
        (lambda: disk.list("none"), FileNotFoundError),
        (lambda: disk.remove("none"), FileNotFoundError),
        (lambda: disk.open("n" * 300, "x"), OSError),
        (lambda: disk.open("a", "rw"), ValueError),
        (lambda: disk.open("../a"), ValueError),
        (lambda: disk.open("/etc/passwd"), ValueError),
        (lambda: disk.open("a/b/c"), ValueError),
        (lambda: disk.open(""), ValueError),
        (lambda: disk.open("a\0b"), ValueError),
        (lambda: disk.open(b"a"), TypeError),
        (lambda: disk.write("a", "text"), TypeError),
        (lambda: disk.open("a").read(-1), ValueError),
        (lambda: disk.open("a").read(1, -1), ValueError),
        (lambda: disk.open("a", "w").truncate(1 << 63), ValueError),
        (lambda: disk.open("a").read("one"), TypeError),
        (lambda: File(), TypeError),
    ]:
        with pytest.raises(kind):
            call()
    with pytest.raises(FileNotFoundError) as caught:
        disk.open("none")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "none")


def test_locks(disk: Disk) -> None:
    with disk.lock("lock"), pytest.raises(BlockingIOError):
        disk.lock("lock")
    disk.lock("lock").close()


def test_closing_waits_for_the_files(disk: Disk) -> None:
    file = disk.open("a", "x")
    with disk:
        pass
    assert disk.closed
    for call in (disk.list, disk.free_bytes, lambda: disk.open("a")):
        with pytest.raises(ValueError, match="closed"):
            call()
    file.write(b"still")
    assert file.read() == b"still"
    file.close()
    disk.close()


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Disk(tmp_path / "none", create=False)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        Disk(tmp_path / "file")
    with pytest.raises(TypeError):
        Disk(5)
    with pytest.raises(ValueError, match="null"):
        Disk("a\0b")
    disk = Disk(str(tmp_path / "made"))
    assert disk.path == str(tmp_path / "made")
    with pytest.raises(RuntimeError):
        disk.__init__(tmp_path)


def test_a_file_closed_beside_a_reader(disk: Disk) -> None:
    disk.write("a", b"x" * 1000)
    for _ in range(50):
        file = disk.open("a")

        def read(file: File = file) -> None:
            try:
                while True:
                    assert file.read() == b"x" * 1000
            except ValueError:
                pass

        thread = threading.Thread(target=read)
        thread.start()
        file.close()
        thread.join()


# --- simulated ---


def crashed(seed: int) -> tuple[list[str], bytes]:
    disk = SimDisk(seed)
    with disk.open("synced", "x") as file:
        file.write(b"s" * 600)
        file.sync()
        disk.sync_dir()
        file.write(b"u" * 600, 600)
    disk.write("lost", b"")
    disk.crash()
    return disk.list(), disk.read("synced")


def test_a_crash_keeps_what_was_synced() -> None:
    outcomes = [crashed(seed) for seed in range(60)]
    assert all("synced" in names and data[:600] == b"s" * 600 for names, data in outcomes)
    assert {"lost" in names for names, _ in outcomes} == {True, False}
    assert len({data for _, data in outcomes}) > 2
    assert outcomes == [crashed(seed) for seed in range(60)]  # one seed, one history


def test_power() -> None:
    disk = SimDisk(1, crash_at=3)
    file = disk.open("a", "x")
    file.write(b"x")
    assert not disk.power_off
    with pytest.raises(OSError) as caught:
        file.sync()
    assert caught.value.errno == errno.EIO
    assert disk.power_off
    disk.crash()
    assert not disk.power_off
    with pytest.raises(OSError):
        file.read()
    disk.write("b", b"")


def test_faults() -> None:
    disk = SimDisk(1, sync_fail=1)
    with disk.open("a", "x") as file:
        file.write(b"x")
        with pytest.raises(OSError):
            file.sync()
        disk.faults(write_fail=1)
        with pytest.raises(OSError):
            file.write(b"y")
        disk.faults(capacity=10)
        with pytest.raises(OSError) as caught:
            file.write(b"y" * 11)
        assert caught.value.errno == errno.ENOSPC
        disk.faults()
        file.write(b"y" * 11)
    stats = disk.stats()
    assert (stats.writes, stats.syncs, stats.faults) == (4, 1, 3)


def test_flips() -> None:
    disk = SimDisk()
    disk.write("a", b"abc")
    disk.flip("a", 9)
    assert disk.read("a") == b"a`c"
    with pytest.raises(ValueError, match="no bit 24"):
        disk.flip("a", 24)
    with pytest.raises(FileNotFoundError):
        disk.flip("b", 0)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"capacity": 0},
        {"crash_at": 0},
        {"write_fail": 2},
        {"sync_fail": -0.1},
        {"sync_fail": float("nan")},
        {"sync_stall": float("inf")},
    ],
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(ValueError):
        SimDisk(**options)
    with pytest.raises(ValueError):
        SimDisk().faults(**options)
