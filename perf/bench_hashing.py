"""What placing a key costs, by kind, and checksums: `python -m perf.bench_hashing [--rounds N] [--quick]`.

Placements are asked for 10,000 different str keys. uhashring is the ring people use from Python: ketama on both
sides is the same answer by the same algorithm; its default (MD5 as one large number) against our own kinds is what
somebody gains who need not agree with memcached clients. There is no Python peer for CRC-32C; zlib.crc32, another
polynomial and as fast as zlib makes it, is there for scale.
"""

import zlib
from collections.abc import Callable, Iterable
from importlib.metadata import version

from fastcore.hashing import BoundedLoad, Jump, Maglev, Rendezvous, Ring, crc16_slot, crc32c, hash64
from perf import microbench

try:
    import uhashring
except ImportError:
    uhashring = None

KEYS = [f"user:{i * 7919}" for i in range(10_000)]


def each(function: Callable[[str], object]) -> Callable[[], None]:
    def work() -> None:
        for key in KEYS:
            function(key)

    return work


def over_bytes(function: Callable[[bytes], int], pieces: Iterable[bytes]) -> Callable[[], None]:
    listed = list(pieces)

    def work() -> None:
        for piece in listed:
            function(piece)

    return work


def held_and_released(bounded: BoundedLoad) -> Callable[[], None]:
    """Half of the keys are held at any time, as requests in flight are."""

    def work() -> None:
        held = [bounded.acquire(key) for key in KEYS[:5000]]
        for key, node in zip(KEYS[5000:], held, strict=True):
            bounded.acquire(key)
            bounded.release(node)
        for node, count in bounded.loads().items():
            for _ in range(count):
                bounded.release(node)

    return work


def main() -> None:
    versions = {"uhashring": version("uhashring")} if uhashring else {}
    bench = microbench.start("hashing", "placing keys and checksums", versions)
    for n in (10, 1000):
        nodes = [f"10.0.{i // 256}.{i % 256}:6379" for i in range(n)]
        peers = {"uhashring": each(uhashring.HashRing(nodes=nodes).get_node)} if uhashring else {}
        ketama = {"uhashring": each(uhashring.HashRing(nodes=nodes, hash_fn="ketama").get_node)} if uhashring else {}
        count = len(KEYS)
        bench.rate(f"ring, {n} nodes", count, {"ours": each(Ring(nodes).lookup), **peers})
        bench.rate(f"ring with ketama, {n} nodes", count, {"ours": each(Ring(nodes, ketama=True).lookup), **ketama})
        bench.rate(f"rendezvous, {n} nodes", count, {"ours": each(Rendezvous(nodes).lookup), **peers})
        bench.rate(f"maglev, {n} nodes", count, {"ours": each(Maglev(nodes).lookup), **peers})
        bench.rate(f"jump, {n} nodes", count, {"ours": each(Jump(nodes).lookup), **peers})
    ring = Ring(nodes)
    bench.rate("three replicas, ring of 1000", len(KEYS), {"ours": each(lambda key: ring.lookup_n(key, 3))})
    bench.rate(
        "bounded load over a ring of 1000, acquire and release",
        len(KEYS),
        {"ours": held_and_released(BoundedLoad(ring))},
    )
    bench.rate("Redis slot", len(KEYS), {"ours": each(crc16_slot)})
    encoded = [key.encode() for key in KEYS]
    bench.rate("hash64 of 12 bytes", len(KEYS), {"ours": over_bytes(hash64, encoded)})
    for size, what in ((100, "100-byte records"), (4096, "4 KiB blocks"), (1 << 20, "1 MiB")):
        times = max((32 << 20) // size // (20 if bench.quick else 1), 1)
        pieces = [bytes(size)] * times
        contenders = {"ours": over_bytes(crc32c, pieces), "zlib.crc32": over_bytes(zlib.crc32, pieces)}
        bench.rate(f"CRC-32C, bytes in {what}", size * times, contenders)
    microbench.finish(bench)


if __name__ == "__main__":
    main()
