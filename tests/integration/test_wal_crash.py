"""Processes that append and are killed: every record that was acknowledged is there when the log is opened again.

Runs: FASTCORE_SOAK_RUNS (default 8), all over one directory, so that each one begins with what the last left.
"""

import os
import random
import signal
import struct
import subprocess
import sys
from pathlib import Path

from fastcore.wal import Log

RUNS = int(os.environ.get("FASTCORE_SOAK_RUNS", "8"))
OPTIONS = {"segment_bytes": 65536, "record_bytes_max": 8192, "buffer_bytes_max": 32768}
ACK = struct.Struct("<QQ")  # position, and the number that the record begins with

#: Arguments: directory, greenlets or threads, seed. Writes an ACK to standard output after each durable record.
APPENDER = f"""
import os, random, struct, sys, threading
import gevent
from fastcore.wal import Log

path, kind, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = Log(path, **{OPTIONS!r})
ack = struct.Struct("<QQ")

def work(number):
    chance = random.Random(seed * 1000 + number)
    while True:
        value = chance.getrandbits(63)
        data = value.to_bytes(8, "little") * chance.choice([1, 2, 10, 100, 800])
        if chance.random() < 0.3:
            position = log.append_many([data[:8], data])[1]
            log.wait(position)
        else:
            position = log.append(data, 1 + value % 254, sync=True)
        os.write(1, ack.pack(position, value))

if kind == "greenlets":
    gevent.joinall([gevent.spawn(work, i) for i in range(16)], raise_error=True)
else:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
"""


def acknowledged(path: Path, kind: str, seed: int, chance: random.Random) -> dict[int, int]:
    """Position -> number of what one process says is durable before it is killed."""
    acks: dict[int, int] = {}
    with subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(path), kind, str(seed)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        enough = chance.randrange(1, 120)
        while len(acks) < enough:
            answer = process.stdout.read(ACK.size)
            assert len(answer) == ACK.size, "the process ended by itself"
            position, value = ACK.unpack(answer)
            acks[position] = value
        process.send_signal(signal.SIGKILL)
        for at in range(0, len(rest := process.stdout.read()) - ACK.size + 1, ACK.size):
            position, value = ACK.unpack_from(rest, at)
            acks[position] = value
    assert process.returncode == -signal.SIGKILL
    return acks


def test_what_was_acknowledged_survives(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    chance = random.Random(seed)
    acks: dict[int, int] = {}
    truncated = 0
    for run in range(RUNS):
        acks |= acknowledged(tmp_path, ("greenlets", "threads")[run % 2], chance.getrandbits(32), chance)
        with Log(tmp_path, **OPTIONS) as log:
            found = {record.position: record.data for record in log.read_from()}
            assert list(found) == sorted(found)
            for data in found.values():
                assert data == data[:8] * (len(data) // 8), "a record that nobody appended"
            for position, value in acks.items():
                if position > truncated:
                    assert found[position][:8] == value.to_bytes(8, "little")
            if run % 3 == 2:
                truncated = sorted(acks)[len(acks) // 2]
                log.truncate_before(truncated)
    assert len(acks) >= RUNS


def test_the_dead_hold_no_lock(tmp_path: Path) -> None:
    acknowledged(tmp_path, "threads", 1, random.Random(1))
    Log(tmp_path, **OPTIONS).close()
