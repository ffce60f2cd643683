"""The log from Python: appending, waiting in greenlets and threads, reading, and everything that goes wrong."""

import errno
import gc
import os
import signal
import threading
import time
from pathlib import Path

import gevent
import gevent.hub
import pytest
from tests.forks import child
from tests.threads import in_thread

from fastcore.disk import Disk, SimDisk
from fastcore.wal import (
    ClosedError,
    CorruptionError,
    DiskFullError,
    ForkedError,
    FormatError,
    LockedError,
    Log,
    LogError,
    Record,
    Records,
    RecordTooLargeError,
    TruncatedError,
)

SMALL = {"segment_bytes": 4096, "record_bytes_max": 1500, "buffer_bytes_max": 2048}


# --- appending and reading ---


@pytest.mark.parametrize("simulated", [False, True])
def test_records_come_back(tmp_path: Path, simulated: bool) -> None:
    disk = SimDisk(1) if simulated else Disk(tmp_path)
    expected = []
    with Log(disk, **SMALL) as log:
        for i, data in enumerate([b"", b"one", bytearray(b"two"), memoryview(b"three"), b"x" * 1500] * 5):
            expected.append(Record(log.append(data, 1 + i), 1 + i, bytes(data)))
        positions = [record.position for record in expected]
        assert positions == sorted(set(positions))
        assert log.sync() == log.end == log.durable == positions[-1]
        assert list(log.read_from()) == expected
        assert list(log.read_from(positions[3])) == expected[4:]
        assert list(log.read_from(log.end)) == []
    assert log.closed
    with Log(disk, **SMALL) as log:
        assert list(log.read_from(0)) == expected
        assert log.report().records == len(expected)
        assert log.durable == positions[-1]


def test_a_path_is_enough(tmp_path: Path) -> None:
    for where in (tmp_path / "a", str(tmp_path / "b"), os.fsencode(tmp_path / "c")):
        with Log(where, segment_bytes=65536) as log:
            log.append(b"x", sync=True)
        with Log(where, segment_bytes=65536) as log:
            assert [record.data for record in log.read_from()] == [b"x"]


def test_append_many(tmp_path: Path) -> None:
    with Log(tmp_path, **SMALL) as log:
        positions = log.append_many((b"%d" % i for i in range(1000)), 9, sync=True)
        assert log.durable == positions[-1]
        assert list(log.read_from()) == [Record(p, 9, b"%d" % i) for i, p in enumerate(positions)]
        assert log.append_many([]) == []
        with pytest.raises(TypeError):
            log.append_many([b"good", "bad"])
        with pytest.raises(RecordTooLargeError):
            log.append_many([b"good", b"x" * 1501])
        with pytest.raises(TypeError):
            log.append_many(b"bytes")
        assert log.end == positions[-1], "nothing was appended of what was refused"


def test_many_iterators_at_once(tmp_path: Path) -> None:
    with Log(tmp_path, segment_bytes=1 << 20) as log:
        log.append_many([b"x" * 500] * 3000, sync=True)
        one, two = log.read_from(), log.read_from()
        assert isinstance(one, Records)
        assert sum(a == b for a, b in zip(one, two, strict=True)) == 3000
        assert list(one) == []


def test_what_is_not_durable_is_not_read() -> None:
    log = Log(SimDisk())
    log.append(b"one")
    assert list(log.read_from()) == []
    assert log.step()
    assert [record.data for record in log.read_from()] == [b"one"]


def test_truncation() -> None:
    log = Log(SimDisk(), **SMALL)
    positions = [log.append(b"x" * 1000, sync=True) for _ in range(20)]
    early = log.read_from()
    next(early)
    log.truncate_before(positions[10])
    while log.step():
        pass
    left = [record.position for record in log.read_from()]
    assert left == positions[-len(left) :]
    assert positions[11] in left and positions[0] not in left
    with pytest.raises(TruncatedError) as caught:
        log.read_from(positions[0])
    assert isinstance(caught.value, LookupError)
    assert log.report().first > positions[0]
    with pytest.raises(ValueError, match="beyond"):
        log.truncate_before(log.end + 1)


def test_an_iterator_that_truncation_overtakes() -> None:
    log = Log(SimDisk(), segment_bytes=1 << 20)
    log.append_many([b"x" * 1000] * 4000, sync=True)
    records = log.read_from()
    next(records)
    log.truncate_before(log.end)
    while log.step():
        pass
    with pytest.raises(TruncatedError):
        list(records)
    assert list(records) == []


# --- waiting ---


def test_a_thread_waits_and_others_run() -> None:
    log = Log(SimDisk(sync_stall=0.2), threaded=True)

    def work() -> int:
        position = log.append(b"x")
        log.wait(position)
        return position

    turns = 0
    done = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    while thread.is_alive():
        turns += 1
    assert done == [log.durable]
    assert turns > 100, "the GIL was not released"
    log.close()


def test_only_the_calling_greenlet_waits() -> None:
    log = Log(SimDisk(sync_stall=0.3), threaded=True)
    ticks = []

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.001)

    ticker = gevent.spawn(tick)
    gevent.sleep(0)
    begin = time.monotonic()
    log.append(b"x", sync=True)
    assert time.monotonic() - begin >= 0.25
    ticker.kill()
    assert len(ticks) > 30


def test_how_long_syncs_took() -> None:
    disk = SimDisk()
    with Log(disk, threaded=True) as log:
        log.append(b"x", sync=True)
        disk.faults(sync_stall=0.1)
        log.append(b"y", sync=True)
        report = log.report()
        assert sum(times for _, times in report.sync_times) == report.syncs == 2
        (quick, one), (slow, other) = report.sync_times
        assert one == other == 1 and quick < 0.1 <= report.sync_seconds_max <= slow < report.sync_seconds_max * 1.13
        disk.faults()


def test_thousands_wait_at_once() -> None:
    log = Log(SimDisk(sync_stall=0.1), threaded=True)
    waiting = [gevent.spawn(log.append, b"%d" % i, sync=True) for i in range(5000)]
    gevent.joinall(waiting, raise_error=True)
    positions = [greenlet.value for greenlet in waiting]
    assert positions == sorted(positions) and positions[-1] == log.durable
    assert log.report().batches <= 4


def test_waits_in_any_order() -> None:
    log = Log(SimDisk(sync_stall=0.05), threaded=True)
    woken = []

    def wait(position: int) -> None:
        log.wait(position)
        woken.append(position)

    first = log.append(b"first")
    gevent.sleep(0.01)  # its batch is under way
    second, third = log.append(b"second"), log.append(b"third")
    gevent.joinall([gevent.spawn(wait, position) for position in (third, first, second, first)], raise_error=True)
    assert woken == [first, first, second, third]


def test_one_that_is_killed_leaves_the_others() -> None:
    log = Log(SimDisk(sync_stall=0.1), threaded=True)
    waiting = [gevent.spawn(log.append, b"x", sync=True) for _ in range(5)]
    gevent.sleep(0.02)
    waiting[0].kill()
    waiting[4].kill()
    with gevent.Timeout(5):
        gevent.joinall(waiting[1:4], raise_error=True)
    assert all(greenlet.value for greenlet in waiting[1:4])


def test_timeouts() -> None:
    log = Log(SimDisk(sync_stall=0.2), threaded=True)
    position = log.append(b"x")
    for where in (lambda call: gevent.spawn(call).get(), in_thread):
        with pytest.raises(TimeoutError):
            where(lambda: log.wait(position, 0.01))
        with pytest.raises(TimeoutError):
            where(lambda: log.sync(timeout=0))
    log.wait(position, timeout=10)
    log.wait(position, timeout=0)
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            log.wait(log.append(b"x"), bad)


def test_hubs_and_threads_wait_for_one_log(tmp_path: Path) -> None:
    log = Log(tmp_path, segment_bytes=1 << 20)

    def appends() -> None:
        for _ in range(30):
            assert log.append(b"x", sync=True) <= log.durable

    def hub() -> None:
        gevent.joinall([gevent.spawn(appends) for _ in range(5)], raise_error=True)
        gevent.get_hub().destroy(destroy_loop=True)

    threads = [threading.Thread(target=target) for target in (hub, hub, appends, appends)]
    for thread in threads:
        thread.start()
    gevent.joinall([gevent.spawn(appends) for _ in range(5)], raise_error=True)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert log.report().appends == 30 * 17 == len(list(log.read_from()))
    log.close()


def test_a_callback_of_the_hub_cannot_wait() -> None:
    log = Log(SimDisk(sync_stall=0.05), threaded=True)
    got: list[BaseException] = []

    def callback() -> None:
        try:
            log.append(b"x", sync=True)
        except RuntimeError as error:
            got.append(error)

    gevent.get_hub().loop.run_callback(callback)
    gevent.sleep(0.01)
    assert "hub" in str(got[0])
    log.sync()


def test_back_pressure(tmp_path: Path) -> None:
    """Appending waits when buffer_bytes_max bytes wait for the disk."""
    log = Log(SimDisk(sync_stall=0.01), threaded=True, **SMALL)
    gevent.spawn(lambda: [log.append(b"x" * 1000) for _ in range(30)]).get()
    in_thread(lambda: [log.append(b"x" * 1000) for _ in range(30)])
    assert log.report().batches >= 20
    log.close()
    log = Log(SimDisk(), **SMALL)
    for _ in range(30):
        log.append(b"x" * 1000)
    log.close()


def test_ctrl_c_ends_a_wait() -> None:
    """Of the main thread, which here has no hub: so in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            gevent.hub.set_hub(None)
            log = Log(SimDisk(sync_stall=5), threaded=True)
            position = log.append(b"x")
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            begin = time.monotonic()
            try:
                log.wait(position)
            except KeyboardInterrupt:
                os._exit(0 if time.monotonic() - begin < 2 else 3)
            os._exit(1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- closing ---


def test_closing_makes_durable(tmp_path: Path) -> None:
    log = Log(tmp_path, **SMALL)
    log.append_many([b"x"] * 100)
    log.close()
    log.close()
    with Log(tmp_path, **SMALL) as log:
        assert log.report().records == 100
    for call in (
        lambda: log.append(b"x"),
        lambda: log.append_many([b"x"]),
        log.sync,
        lambda: log.wait(1),
        log.read_from,
        log.report,
        lambda: log.error,
        lambda: log.durable,
        lambda: log.truncate_before(0),
        log.__enter__,
    ):
        with pytest.raises(ClosedError) as caught:
            call()
        assert isinstance(caught.value, ValueError) and isinstance(caught.value, LogError)


def test_closing_while_greenlets_and_threads_wait() -> None:
    log = Log(SimDisk(sync_stall=0.1), threaded=True)
    waiting = [gevent.spawn(log.append, b"x", sync=True) for _ in range(20)]
    thread = threading.Thread(target=lambda: log.append(b"x", sync=True))
    thread.start()
    gevent.sleep(0.02)
    log.close()
    gevent.joinall(waiting, timeout=5, raise_error=True)
    thread.join(5)
    assert all(greenlet.value for greenlet in waiting) and not thread.is_alive()


def test_forgotten_logs_are_closed(tmp_path: Path) -> None:
    log = Log(tmp_path, **SMALL)
    records = log.read_from()
    log.append(b"x")
    del log
    gc.collect()
    with pytest.raises(LockedError):
        Log(tmp_path, **SMALL)
    del records
    gc.collect()
    with Log(tmp_path, **SMALL) as log:
        assert log.report().records == 1


def test_an_iterator_of_a_closed_log() -> None:
    log = Log(SimDisk(), segment_bytes=1 << 20)
    log.append_many([b"x" * 1000] * 1000, sync=True)
    records = log.read_from()
    next(records)
    log.close()
    with pytest.raises(ClosedError):
        list(records)


# --- what goes wrong ---


def test_one_opener(tmp_path: Path) -> None:
    with Log(tmp_path, **SMALL), pytest.raises(LockedError) as caught:
        Log(tmp_path, **SMALL)
    assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, str(tmp_path))
    Log(tmp_path, **SMALL).close()


def test_failures_stick() -> None:
    disk = SimDisk(1)
    log = Log(disk, **SMALL)
    log.append(b"one", sync=True)
    assert log.error is None
    disk.faults(sync_fail=1)
    position = log.append(b"two")
    with pytest.raises(LogError) as caught:
        log.wait(position)
    assert caught.value.errno == errno.EIO
    disk.faults()
    for call in (log.sync, lambda: log.append(b"x"), log.step, lambda: log.wait(position)):
        with pytest.raises(LogError):
            call()
    assert isinstance(log.error, LogError) and log.error is log.error
    assert [record.data for record in log.read_from()] == [b"one"]
    with pytest.raises(LogError):
        log.close()
    assert log.closed


def test_a_failure_reaches_all_who_wait() -> None:
    disk = SimDisk(1, sync_stall=0.1, sync_fail=1)
    disk.faults(sync_stall=0.1)
    log = Log(disk, threaded=True)
    disk.faults(sync_stall=0.1, sync_fail=1)
    waiting = [gevent.spawn(log.append, b"x", sync=True) for _ in range(10)]
    gevent.joinall(waiting, timeout=5)
    assert all(isinstance(greenlet.exception, LogError) for greenlet in waiting)
    with pytest.raises(LogError):
        in_thread(lambda: log.append(b"x", sync=True))


def test_a_full_disk() -> None:
    log = Log(SimDisk(1, capacity=6 * 4096), **SMALL)
    with pytest.raises(DiskFullError) as caught:
        while True:
            log.append(b"x" * 1000, sync=True)
            while log.step():
                pass
    assert caught.value.errno == errno.ENOSPC
    assert log.error is None
    log.append(b"a deletion", urgent=True, sync=True)
    log.truncate_before(log.end)
    while log.step():
        pass
    log.append(b"x" * 1000, sync=True)
    log.close()
    with pytest.raises(DiskFullError):
        Log(SimDisk(capacity=1000), **SMALL)


def test_corruption() -> None:
    disk = SimDisk(1)
    with Log(disk, **SMALL) as log:
        positions = [log.append(b"x" * 100, sync=True) for _ in range(10)]
    disk.flip("0000000000000000.wal", (positions[4] + 50) * 8)
    with pytest.raises(CorruptionError) as caught:
        Log(disk, **SMALL)
    error = caught.value
    assert (error.file, error.offset, error.errno) == ("0000000000000000.wal", positions[4], errno.EBADMSG)
    assert "0000000000000000.wal" in str(error)
    with Log(disk, salvage=True, **SMALL) as log:
        assert isinstance(log.error, CorruptionError)
        records = log.read_from()
        assert [next(records).position for _ in range(5)] == positions[:5]
        with pytest.raises(CorruptionError):
            next(records)
        with pytest.raises(CorruptionError):
            log.append(b"x")


def test_corruption_that_comes_later() -> None:
    disk = SimDisk(1)
    log = Log(disk, **SMALL)
    positions = [log.append(b"x" * 100, sync=True) for _ in range(10)]
    disk.flip("0000000000000000.wal", (positions[4] + 50) * 8)
    records = log.read_from()
    assert [next(records).position for _ in range(5)] == positions[:5]
    with pytest.raises(CorruptionError) as caught:
        next(records)
    assert caught.value.offset == positions[4]
    log.append(b"x", sync=True)


def test_other_peoples_files(tmp_path: Path) -> None:
    (tmp_path / "0000000000000000.wal").write_bytes(b"fcwal999" + bytes(8192))
    (tmp_path / "notes.txt").write_bytes(b"mine")
    with pytest.raises(FormatError):
        Log(tmp_path, **SMALL)
    (tmp_path / "0000000000000000.wal").unlink()
    Log(tmp_path, **SMALL).close()
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


def test_bad_arguments() -> None:
    log = Log(SimDisk(), **SMALL)
    for bad, kind in [
        (lambda: log.append("text"), TypeError),
        (lambda: log.append(None), TypeError),
        (lambda: log.append(memoryview(b"abcd")[::2]), BufferError),
        (lambda: log.append(b"x", 0), ValueError),
        (lambda: log.append(b"x", 255), ValueError),
        (lambda: log.append(b"x", -1), ValueError),
        (lambda: log.append(b"x", 1 << 80), ValueError),
        (lambda: log.append(b"x", "one"), TypeError),
        (lambda: log.append_many([b"x"], 255), ValueError),
        (lambda: log.append_many(5), TypeError),
        (lambda: log.append(b"x" * 1501), RecordTooLargeError),
        (lambda: log.wait(-1), ValueError),
        (lambda: log.wait(1 << 64), ValueError),
        (lambda: log.wait("end"), TypeError),
        (lambda: log.wait(log.end + 1), ValueError),
        (lambda: log.read_from(-1), ValueError),
        (lambda: log.truncate_before(1 << 64), ValueError),
        (lambda: Log(5), TypeError),
        (lambda: Log(SimDisk(), segment_bytes=100), ValueError),
        (lambda: Log(SimDisk(), segment_bytes=-1), ValueError),
        (lambda: Log(SimDisk(), record_bytes_max=1 << 29), ValueError),
        (lambda: Log(SimDisk(), buffer_bytes_max=1 << 40), ValueError),
        (lambda: Log(SimDisk(), segment_bytes="big"), TypeError),
        (lambda: log.__init__(SimDisk()), RuntimeError),
    ]:
        with pytest.raises(kind):
            bad()
    assert log.end == 32
    closed = SimDisk()
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        Log(closed)
    threaded = Log(SimDisk(), threaded=True)
    with pytest.raises(RuntimeError):
        threaded.step()
    threaded.close()


def test_a_log_that_was_never_opened() -> None:
    log = Log.__new__(Log)
    for call in (lambda: log.append(b"x"), log.sync, log.read_from, log.__enter__, lambda: log.error):
        with pytest.raises(ValueError):
            call()
    assert log.closed
    log.close()
    assert list(Records.__new__(Records)) == []


# --- fork ---


def test_a_forked_child_must_not_use_it(tmp_path: Path) -> None:
    log = Log(tmp_path, **SMALL)
    log.append(b"x", sync=True)
    for call in (
        lambda: log.append(b"x"),
        log.sync,
        log.read_from,
        log.report,
        lambda: log.error,
        lambda: log.wait(1),
    ):
        assert child(call, ForkedError) == 0

    def close_and_go() -> None:
        log.close()
        assert log.closed
        raise ForkedError

    assert child(close_and_go, ForkedError) == 0
    log.append(b"y", sync=True)
    assert len(list(log.read_from())) == 2
    log.close()


def test_those_who_waited_when_it_forked() -> None:
    """In the child they are told so, and they take no wake-up from the parent's."""
    log = Log(SimDisk(sync_stall=0.3), threaded=True)
    waiting = gevent.spawn(log.append, b"x", sync=True)
    gevent.sleep(0.02)

    def wait_on() -> None:
        gevent.reinit()
        waiting.get(timeout=10)

    assert child(wait_on, ForkedError) == 0
    assert waiting.get(timeout=10) == log.durable
    log.close()
