"""fastcore.shm: sections, descriptors, fork and exec, and processes killed while they make sections."""

import copy
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

from fastcore.shm import DEFAULT_SIZE, Region, RegionError, SectionInfo


@pytest.fixture
def region() -> Iterator[Region]:
    with Region(1 << 20) as made:
        yield made


def in_child(act) -> None:
    """Runs act in a forked child, which must return without an exception."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException as error:
            sys.stderr.write(f"child: {error!r}\n")
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_sections_are_found_again(region: Region) -> None:
    first = region.section("first", 100)
    assert len(first) == 100 and bytes(first) == bytes(100) and not first.readonly
    first[:5] = b"hello"
    assert region.section("first", 100)[:5] == b"hello"
    assert region.section("first")[:5] == b"hello"
    aligned = region.section("second", 8, align=4096)
    found = region.sections()
    assert list(found) == ["first", "second"]
    assert found["first"] == SectionInfo(4160, 100)
    assert found["second"].offset % 4096 == 0 and found["second"].size == len(aligned) == 8
    assert region.used == found["second"].offset + 8
    assert repr(region) == f"<fastcore.shm.Region fd={region.fd} size={1 << 20} used={region.used}>"
    first.release()
    aligned.release()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("taken", 101), RegionError, "'taken' of 101 bytes: the section exists with another size"),
        (("big", 1 << 20), RegionError, "not enough room"),
        (("absent",), KeyError, "no such section"),
        (("Upper", 1), ValueError, "a section's name is"),
        (("", 1), ValueError, "a section's name is"),
        (("nul\0", 1), ValueError, "a section's name is"),
        (("x" * 48, 1), ValueError, "a section's name is"),
        (("zero", 0), ValueError, "out of range"),
        (("less", -1), ValueError, "out of range"),
        (("huge", 1 << 64), ValueError, "out of range"),
    ],
)
def test_bad_sections(region: Region, arguments: tuple, error: type[Exception], message: str) -> None:
    region.section("taken", 100).release()
    with pytest.raises(error, match=message):
        region.section(*arguments)
    assert list(region.sections()) == ["taken"]


def test_bad_alignment_and_full_directory(region: Region) -> None:
    with pytest.raises(ValueError, match="power of two"):
        region.section("a", 1, align=65)
    with pytest.raises(ValueError, match="out of range"):
        region.section("a", 1, align=0)
    for i in range(64):
        region.section(f"s{i}", 1).release()
    with pytest.raises(RegionError, match="directory of sections is full"):
        region.section("a", 1)


def test_sizes() -> None:
    with Region() as region:
        assert region.size == DEFAULT_SIZE
        assert os.fstat(region.fd).st_size == DEFAULT_SIZE
        assert os.fstat(region.fd).st_blocks * 512 <= 64 << 10, "an untouched region takes no memory"
    with Region(10_000) as region:
        assert region.size % 4096 == 0 and region.size >= 10_000
    for size in (-1, 0, 100, (1 << 40) + 1, 1 << 64):
        with pytest.raises(ValueError, match="size out of range"):
            Region(size)
    with pytest.raises(ValueError, match="not both"):
        Region(1 << 20, fd=0)


def test_close_waits_for_its_users() -> None:
    region = Region(1 << 20)
    view = region.section("a", 10)
    part = view[2:4]
    view.release()
    with pytest.raises(BufferError, match="1 views"):
        region.close()
    part.release()
    region.close()
    region.close()
    assert region.closed and region.fd == -1 and region.size == 0
    assert repr(region) == "<fastcore.shm.Region closed>"
    for use in (
        lambda: region.used,
        lambda: region.section("a", 10),
        region.sections,
        lambda: region.set_inheritable(True),
        lambda: region.release(1),
        region.__enter__,
    ):
        with pytest.raises(ValueError, match="the region is closed"):
            use()


def test_a_section_outlives_the_name_of_its_region() -> None:
    view = Region(1 << 20).section("a", 10)
    view[0] = 7
    assert view[0] == 7


def test_attach_takes_the_descriptor(region: Region) -> None:
    view = region.section("a", 10)
    fd = os.dup(region.fd)
    with Region.attach(fd) as other:
        mine = other.section("a", 10)
        mine[:2] = b"ok"
        assert view[:2] == b"ok" and other.fd == fd
        mine.release()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    view.release()


def test_attach_refuses_what_is_no_region(region: Region) -> None:
    with tempfile.TemporaryFile() as file:
        for content in (b"", b"x" * 100, b"x" * 100_000):
            file.write(content)
            file.flush()
            with pytest.raises(RegionError, match=f"descriptor {file.fileno()}: not a fastcore region"):
                Region.attach(file.fileno())
    with pytest.raises(OSError, match=r"descriptor 9999: Bad file descriptor"):
        Region.attach(9999)
    for offset, message in ((8, "another layout version"), (16, "size out of range, or not the size")):
        fd = os.dup(region.fd)
        before = os.pread(fd, 1, offset + 1)
        os.pwrite(fd, b"\x77", offset + 1)
        with pytest.raises(RegionError if offset == 8 else ValueError, match=message):
            Region.attach(fd)
        os.pwrite(fd, before, offset + 1)
        os.close(fd)


def test_the_size_is_sealed(region: Region) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(region.fd, 4096)


def test_no_copies(region: Region) -> None:
    with pytest.raises(TypeError):
        copy.copy(region)


def test_forked_children_share(region: Region) -> None:
    def act() -> None:
        with region.section("by-child", 8) as view:
            view[:] = b"from kid"

    in_child(act)
    with region.section("by-child") as view:
        assert view == b"from kid"


def test_through_exec(region: Region) -> None:
    code = "import sys; from fastcore.shm import Region; Region.attach(int(sys.argv[1])).section('a', 4)[:] = b'exec'"
    command = [sys.executable, "-c", code, str(region.fd)]
    assert not os.get_inheritable(region.fd)
    assert subprocess.run(command, close_fds=False, stderr=subprocess.PIPE).returncode != 0
    region.set_inheritable(True)
    assert subprocess.run(command, close_fds=False).returncode == 0
    with region.section("a", 4) as view:
        assert view == b"exec"


def test_makers_killed_at_random() -> None:
    """Four processes make sections in one region after another and are killed; whatever they leave is whole."""
    rng = random.Random(5)
    regions = [Region(1 << 20) for _ in range(12)]
    for number, region in enumerate(regions):

        def make(region: Region = region, number: int = number) -> None:
            order = random.Random(os.getpid() + number).sample(range(64), 64)
            for i in order:
                with region.section(f"s{i}", 64 + i) as view:
                    view[0] = 1

        children = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                make()
                os._exit(0)
            children.append(pid)
        time.sleep(rng.random() / 500)  # the moment of death is the point: it must not depend on any event
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
        make()
        found = region.sections()
        assert sorted(found) == sorted(f"s{i}" for i in range(64))
        end = 4160
        for name, info in found.items():
            assert info.size == 64 + int(name[1:]) and info.offset % 64 == 0 and info.offset >= end
            end = info.offset + info.size
        region.close()
