"""Four processes read, write, invalidate and are killed or stopped at random moments: nothing read is ever half of something,
memory stays within its bound, and whoever lives goes on. FASTCORE_SOAK_SECONDS (3) says how long."""

import os
import random
import signal
import struct
import sys
import time
import traceback
import zlib

from endurance import SOAK_SECONDS, SOAK_TIMEOUT
from fastcore.sharedcache import SharedCache, section_size
from fastcore.shm import Region

pytestmark = SOAK_TIMEOUT

WORKERS = 4
KEYS = 1000
CAPACITY = 1 << 20
TAGS = [f"tag{i}" for i in range(10)]
#: One operation may take this long on a machine that does much else; the bound of a lock is SharedCache's wait of 10 ms.
PATIENCE_S = 5.0
#: What a worker says of itself: operations done, values read, values refused, longest operation in ns, wrong values.
REPORT = struct.Struct("=5Q")


def make_value(key: bytes, rng: random.Random) -> bytes:
    size = rng.randrange(150_000) if rng.random() < 0.02 else rng.randrange(1500)
    body = key + b":" + rng.randbytes(size)
    return struct.pack("=I", zlib.crc32(body)) + body


def is_whole(key: bytes, value: bytes) -> bool:
    return struct.unpack_from("=I", value)[0] == zlib.crc32(value[4:]) and value[4 : 5 + len(key)] == key + b":"


def work(cache: SharedCache, report: memoryview, seed: int) -> None:
    rng = random.Random(seed)
    done, read, refused, longest, wrong = REPORT.unpack(report)
    while True:
        key, dice = b"key%d" % rng.randrange(KEYS), rng.random()
        begin = time.monotonic_ns()
        if dice < 0.6:
            value = cache.get(key)
            read += value is not None
            wrong += value is not None and not is_whole(key, value)
        elif dice < 0.65:
            found = cache.find(key)
            wrong += found is not None and not (is_whole(key, found.value) and found.meta == key)
        elif dice < 0.85:
            tags = rng.sample(TAGS, 2)
            refused += not cache.set(key, make_value(key, rng), 5 * rng.random(), tags, stale=1, meta=key)
        elif dice < 0.9:
            with cache.writer(key, 1, meta=key) as writer:
                value = make_value(key, rng)
                for at in range(0, len(value), 5000):
                    writer.write(value[at : at + 5000])
        elif dice < 0.93:
            cache.invalidate_tag(rng.choice(TAGS), soft=rng.random() < 0.5)
        elif dice < 0.95:
            cache.touch(key, 1, stale=1)
        elif dice < 0.97:
            cache.claim(key, 0.1)
        elif dice < 0.9995:
            try:
                cache.delete(key)
            except TimeoutError:
                refused += 1
        elif dice < 0.9999:
            cache.expire()
        else:
            cache.clear()
        done += 1
        longest = max(longest, time.monotonic_ns() - begin)
        REPORT.pack_into(report, 0, done, read, refused, longest, wrong)


def start(cache: SharedCache, report: memoryview, seed: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work(cache, report, seed)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(1)
    return pid


def test_kills_and_stops() -> None:
    rng = random.Random(8)
    region = Region(section_size(capacity=CAPACITY, shards=2, item_max=200_000) + 65536)
    cache = SharedCache(region, capacity=CAPACITY, shards=2, item_max=200_000)
    board = region.section("board", WORKERS * REPORT.size)
    reports = [board[i * REPORT.size : (i + 1) * REPORT.size] for i in range(WORKERS)]
    pids = [start(cache, report, i) for i, report in enumerate(reports)]
    kills = stops = 0
    end = time.monotonic() + SOAK_SECONDS
    try:
        while time.monotonic() < end:
            time.sleep(rng.random() * 0.03)  # the moment is the point: it must not depend on any event
            victim = rng.randrange(WORKERS)
            assert os.waitpid(pids[victim], os.WNOHANG) == (0, 0), "a worker ended by itself"
            if kills % 10 == 9 and stops < kills / 10:
                os.kill(pids[victim], signal.SIGSTOP)
                before = [REPORT.unpack(report)[0] for report in reports]
                deadline = time.monotonic() + PATIENCE_S
                others = [i for i in range(WORKERS) if i != victim]
                while any(REPORT.unpack(reports[i])[0] < before[i] + 20 for i in others):
                    assert time.monotonic() < deadline, "a stopped process stops others"
                    time.sleep(0.001)
                os.kill(pids[victim], signal.SIGCONT)
                stops += 1
            os.kill(pids[victim], signal.SIGKILL)
            os.waitpid(pids[victim], 0)
            if rng.random() < 0.5:  # the others find out by themselves
                cache.release(pids[victim])
            kills += 1
            pids[victim] = start(cache, reports[victim], 1000 + kills)
            stats = cache.stats()
            assert stats.bytes + stats.pending <= stats.capacity
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    columns = list(zip(*(REPORT.unpack(report) for report in reports), strict=True))
    done, read, refused, _, wrong = map(sum, columns)
    longest = max(columns[3])
    stats = cache.stats()
    print(
        f"{kills} kills, {stops} stops, {done} operations, {read} read, {refused} refused, "
        f"longest {longest / 1e6:.1f} ms, {stats}"
    )
    assert wrong == 0
    assert read > 100
    assert kills > 10
    assert longest < PATIENCE_S * 1e9
    assert os.fstat(region.fd).st_blocks * 512 <= region.size

    # Nothing of the dead is left behind: everything can be emptied and filled again.
    for pid in pids:
        cache.release(pid)
    cache.clear()
    for i in range(4 * CAPACITY // 1000):
        assert cache.set(b"after%d" % i, bytes(700))
    stats = cache.stats()
    assert stats.pending == 0
    assert CAPACITY * 0.9 < stats.bytes <= CAPACITY
