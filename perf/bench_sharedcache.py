"""The cache in shared memory against redis-py on a redis-server of this machine, and against a dict for scale.

usage: python -m perf.bench_sharedcache [--rounds N] [--quick]

No cache in shared memory for Python is on the index that we know, so the peer is what teams use for one cache over many
processes: redis-server without persistence over a unix socket, redis-py with hiredis. What is compared is CPU time of
the calling thread; the server's own comes on top and is not counted. 64-byte keys, 100-byte values unless said
otherwise, 10,000 keys, all hits. The goal for a hit is 1.5 M/s.

C figures are the best of five runs of perf/bench_sharedcache.c, compiled here with the flags of setup.py; no peer.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import redis

from fastcore.sharedcache import SharedCache
from perf import cprogram, microbench
from perf.loadlib import workplace

KEYS = [os.urandom(64) for _ in range(10_000)]
VALUE = os.urandom(100)
LARGE = os.urandom(64 << 10)
START_S = 20


@contextmanager
def redis_server() -> Iterator[redis.Redis]:
    """A server of our own on a unix socket, at its fastest: nothing is written to disk."""
    with workplace() as folder:
        path = folder / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as server:
            try:
                until = time.monotonic() + START_S
                while not path.exists():
                    if server.poll() is not None or time.monotonic() > until:
                        raise RuntimeError("redis-server does not start")
                    time.sleep(0.01)
                with redis.Redis(unix_socket_path=str(path)) as client:
                    yield client
            finally:
                server.terminate()


@contextmanager
def writing(cache: SharedCache) -> Iterator[None]:
    """Another process that replaces the same keys all the time."""
    pid = os.fork()
    if pid == 0:
        while True:
            for key in KEYS:
                cache.set(key, VALUE)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def c_figures(loops: int) -> dict[str, float]:
    """Operation -> ns, from the C program."""
    with cprogram.compiled("bench_sharedcache", "shm/*.c", "base/h*.c") as program:
        return {name: float(ns) for name, ns in program(loops)}


def compare(bench: microbench.Bench, client: redis.Redis) -> None:
    keys = KEYS[:200] if bench.quick else KEYS
    cache, plain = SharedCache(), dict.fromkeys(keys, VALUE)
    for key in keys:
        cache.set(key, VALUE)
        client.set(key, VALUE)
    large = b"large"
    cache.set(large, LARGE)
    client.set(large, LARGE)
    batches = [keys[at : at + 100] for at in range(0, len(keys), 100)]

    def each(act):  # type: ignore[no-untyped-def]
        return lambda: [act(key) for key in keys] and None

    def our_set() -> None:
        for key in keys:
            cache.set(key, VALUE, 60)

    def their_set() -> None:
        for key in keys:
            client.set(key, VALUE, ex=60)

    def plain_set() -> None:
        for key in keys:
            plain[key] = VALUE

    hits = {"ours": each(cache.get), "redis-py": each(client.get), "dict": each(plain.get)}
    bench.rate("get, 100 bytes", len(keys), hits)
    bench.rate("set with ttl, 100 bytes", len(keys), {"ours": our_set, "redis-py": their_set, "dict": plain_set})
    bench.rate(
        "get_many, 100 keys a call",
        len(keys),
        {
            "ours": lambda: [cache.get_many(batch) for batch in batches],
            "redis-py MGET": lambda: [client.mget(batch) for batch in batches],
        },
    )
    repeat = range(len(keys) // 20)
    bench.rate(
        "get, 64 KiB",
        len(repeat),
        {
            "ours": lambda: [cache.get(large) for _ in repeat] and None,
            "redis-py": lambda: [client.get(large) for _ in repeat] and None,
        },
    )
    with writing(cache):
        bench.rate("get while another process sets the same keys", len(keys), {"ours": each(cache.get)})


def main() -> None:
    versions = {"redis-py": metadata.version("redis"), "hiredis": metadata.version("hiredis")}
    bench = microbench.start("sharedcache", "cache in shared memory", versions)
    for name, ns in c_figures(1000 if bench.quick else 1_000_000).items():
        bench.alone(f"C, {name}", "ns", ns)
    with redis_server() as client:
        bench.versions = {**versions, "redis-server": str(client.info("server")["redis_version"])}
        compare(bench, client)
    microbench.finish(bench)


if __name__ == "__main__":
    main()
