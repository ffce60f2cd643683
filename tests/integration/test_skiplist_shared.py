"""A shared skip list among real processes: readers beside a writer, writers killed and replaced, readers killed."""

import os
import select
import signal
import sys
import time
from collections.abc import Callable

import pytest

from endurance import SOAK_SECONDS, SOAK_TIMEOUT
from fastcore.shm import Region
from fastcore.skiplist import SharedSkipList

pytestmark = SOAK_TIMEOUT

SIZE = 8 << 20
KEYS = 2000


def start(act: Callable[[], object]) -> int:
    """A child that runs act; its status is 0 when that returned."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException as error:
            sys.stderr.write(f"child: {error!r}\n")
            os._exit(1)
        os._exit(0)
    return pid


def reap(pid: int, *, kill: bool = False) -> int:
    if kill:
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


class Event:
    """Set by one process, awaited by others."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()

    def set(self) -> None:
        os.write(self.into, b"x")

    def is_set(self, timeout: float = 0.0) -> bool:
        return bool(select.select([self.out], [], [], timeout)[0])

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


def value_of(n: int, round: int) -> bytes:
    return (b"%d:%d;" % (n, round)) * (1 + round % 5)


def whole(n: int, value: bytes) -> bool:
    first, _, _ = value.partition(b";")
    number, _, round = first.partition(b":")
    return int(number) == n and value == value_of(n, int(round))


def write_on(region: Region, ready: Event) -> None:
    """Be the writer for ever: even keys are replaced, odd ones come and go."""
    shared = SharedSkipList(region, "list", SIZE, key=(str, int), writer=True, timeout=10)
    ready.set()
    round = os.getpid()
    while True:
        round += 1
        for n in range(KEYS):
            key = f"a long name for key {n:06}", n
            if n % 2 == 0 or (n // 300 + round) % 2:
                shared[key] = value_of(n, round)
            else:
                shared.pop(key, None)


def read_until(region: Region, stop: Event) -> None:
    """Every even key is always there, in order and whole, by scan and by look-up."""
    shared = SharedSkipList(region, "list", SIZE, key=(str, int))
    turn = 0
    while turn == 0 or not stop.is_set():
        turn += 1
        seen = []
        for (_, n), value in shared.range(reverse=bool(turn % 2)):
            assert whole(n, value), (n, value)
            seen.append(n)
        assert [n for n in seen if n % 2 == 0] == sorted(range(0, KEYS, 2), reverse=bool(turn % 2))
        assert seen == sorted(set(seen), reverse=bool(turn % 2))
        for n in range(0, KEYS, 14):
            key = f"a long name for key {n:06}", n
            assert whole(n, shared[key]) and shared.floor(key) is not None and shared.ceiling(key)[0] == key


@pytest.fixture
def region():
    with Region(SIZE + (1 << 20)) as made:
        with SharedSkipList(made, "list", SIZE, key=(str, int), writer=True) as shared:
            for n in range(0, KEYS, 2):
                shared[f"a long name for key {n:06}", n] = value_of(n, 0)
        yield made


def test_writers_are_killed_and_replaced(region: Region) -> None:
    stop = Event()
    readers = [start(lambda: read_until(region, stop)) for _ in range(2)]
    deadline = time.monotonic() + SOAK_SECONDS
    kills = 0
    while kills < 5 or time.monotonic() < deadline:
        ready = Event()
        writer = start(lambda ready=ready: write_on(region, ready))
        assert ready.is_set(10)
        with SharedSkipList(region, "list", SIZE, key=(str, int)) as shared:
            assert shared.writer_pid == writer
            if kills == 0:
                with pytest.raises(TimeoutError, match="another live process"):
                    shared.become_writer(timeout=0.01)
        time.sleep(kills % 17 / 500)  # the moment of death must not depend on any event
        reap(writer, kill=True)
        ready.close()
        kills += 1
    stop.set()
    assert [reap(reader) for reader in readers] == [0, 0]
    stop.close()
    with SharedSkipList(region, "list", SIZE, key=(str, int), writer=True) as shared:
        over = Event()
        over.set()
        read_until(region, over)
        over.close()
        for n in range(KEYS):
            shared.pop((f"a long name for key {n:06}", n), None)
        assert len(shared) == 0 and shared.nbytes < 2000, "what dead writers held came back"


def test_killed_readers_hold_nothing_up(region: Region) -> None:
    """Memory is used again at once, however many readers died in the middle of a scan."""
    with SharedSkipList(region, "list", SIZE, key=(str, int), writer=True) as shared:
        used = shared.nbytes
        for turn in range(20):
            ready = Event()

            def scan(ready: Event = ready) -> None:
                mine = SharedSkipList(region, "list", SIZE, key=(str, int))
                walk = iter(mine)
                next(walk)
                ready.set()
                while True:
                    list(mine)

            reader = start(scan)
            assert ready.is_set(10)
            for n in range(0, KEYS, 2):
                shared[f"a long name for key {n:06}", n] = value_of(n, turn * 5)
            reap(reader, kill=True)
            ready.close()
        assert shared.nbytes == used


def test_a_forked_child_is_no_writer(region: Region) -> None:
    with SharedSkipList(region, "list", SIZE, key=(str, int), writer=True) as shared:

        def act() -> None:
            assert not shared.is_writer and len(shared) == KEYS // 2
            with pytest.raises(RuntimeError, match="not the writer"):
                shared.clear()
            with pytest.raises(TimeoutError):
                shared.become_writer()
            shared.close()

        assert reap(start(act)) == 0
        assert shared.is_writer and shared.writer_pid == os.getpid()
        shared.release_writer()

        def succeed() -> None:
            shared.become_writer()
            shared["new", 1] = b"by the child"
            os._exit(0)  # without letting go

        assert reap(start(succeed)) == 0
        assert shared["new", 1] == b"by the child"
        shared.become_writer()
        assert shared.pop(("new", 1)) == b"by the child"
