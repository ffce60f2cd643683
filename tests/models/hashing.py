"""What fastcore.hashing promises, in plain Python after the papers: slow, short, with nothing to go wrong but the idea."""

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterator

MASK = 2**64 - 1


def siphash13(data: bytes, key: bytes = bytes(16)) -> int:
    k0, k1 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rotated(x: int, by: int) -> int:
        return (x << by | x >> (64 - by)) & MASK

    def turn() -> None:
        nonlocal v0, v1, v2, v3
        v0, v2 = (v0 + v1) & MASK, (v2 + v3) & MASK
        v1, v3 = rotated(v1, 13) ^ v0, rotated(v3, 16) ^ v2
        v0 = rotated(v0, 32)
        v2, v0 = (v2 + v1) & MASK, (v0 + v3) & MASK
        v1, v3 = rotated(v1, 17) ^ v2, rotated(v3, 21) ^ v0
        v2 = rotated(v2, 32)

    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v3 ^= word
        turn()
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        turn()
    return v0 ^ v1 ^ v2 ^ v3


def mix(x: int) -> int:
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def stream(seed: int, n: int) -> list[int]:
    return [mix((seed + i * 0x9E3779B97F4A7C15) & MASK) for i in range(1, n + 1)]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def slot(key: bytes) -> int:
    _, brace, rest = key.partition(b"{")
    tag, close, _ = rest.partition(b"}")
    return crc16(tag if brace and close and tag else key) % 16384


def jump(key: int, buckets: int) -> int:
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) & MASK
        following = int((bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return bucket


class Walk:
    """A circle of (position, name); names alike in position are in their own order."""

    def __init__(self, points: list[tuple[int, bytes]]) -> None:
        self.points = sorted(points)

    def order(self, position: int) -> list[bytes]:
        at = bisect_left(self.points, (position, b""))
        return list(dict.fromkeys(name for _, name in self.points[at:] + self.points[:at]))


class Ring(Walk):
    def __init__(self, nodes: dict[bytes, int], points: int = 160) -> None:
        super().__init__([(p, name) for name, w in nodes.items() for p in stream(siphash13(name), points * w)])

    def nodes_for(self, key: bytes) -> list[bytes]:
        return self.order(siphash13(key))


class Ketama(Walk):
    def __init__(self, nodes: dict[bytes, int]) -> None:
        found = []
        for name, weight in nodes.items():
            for i in range(40 * len(nodes) * weight // sum(nodes.values())):
                digest = hashlib.md5(name + b"-%d" % i, usedforsecurity=False).digest()
                found += [(int.from_bytes(digest[at : at + 4], "little"), name) for at in (0, 4, 8, 12)]
        super().__init__(found)

    def nodes_for(self, key: bytes) -> list[bytes]:
        return self.order(int.from_bytes(hashlib.md5(key, usedforsecurity=False).digest()[:4], "little"))


class Rendezvous:
    def __init__(self, nodes: dict[bytes, float]) -> None:
        self.nodes = nodes

    def nodes_for(self, key: bytes) -> list[bytes]:
        def score(name: bytes) -> float:
            draw = mix(siphash13(key) ^ siphash13(name))
            return -self.nodes[name] / math.log(((draw >> 11) + 0.5) * 2.0**-53)

        return sorted(self.nodes, key=score, reverse=True)


class Maglev:
    def __init__(self, nodes: dict[bytes, int], size: int) -> None:
        self.size, self.table = size, [None] * size
        self.rest = Rendezvous(nodes)
        names = sorted(nodes, key=siphash13)
        wishes = {name: self.wishes(siphash13(name)) for name in names}
        credit, heaviest, left = dict.fromkeys(names, 0), max(nodes.values(), default=0), size if nodes else 0
        while left:
            for name in names:
                credit[name] += nodes[name]
                if credit[name] >= heaviest and left:
                    credit[name] -= heaviest
                    self.table[next(slot for slot in wishes[name] if self.table[slot] is None)] = name
                    left -= 1

    def wishes(self, number: int) -> Iterator[int]:
        offset, skip = mix(number) % self.size, mix(number ^ MASK) % (self.size - 1) + 1
        return ((offset + turn * skip) % self.size for turn in range(self.size))

    def nodes_for(self, key: bytes) -> list[bytes]:
        first = self.table[mix(siphash13(key)) % self.size]
        return [first, *(name for name in self.rest.nodes_for(key) if name != first)] if first is not None else []


class Jump:
    def __init__(self, nodes: dict[bytes, int]) -> None:
        self.names = list(nodes)

    def nodes_for(self, key: bytes) -> list[bytes]:
        found: dict[bytes, None] = {}
        position = siphash13(key)
        for draw in [position, *stream(position, 16 * len(self.names))]:
            if len(found) < len(self.names):
                found[self.names[jump(draw, len(self.names))]] = None
        return [*found, *(name for name in self.names if name not in found)]


class Bounded:
    def __init__(self, nodes_for, weights: dict[bytes, float], factor: float) -> None:
        self.nodes_for, self.weights, self.factor = nodes_for, weights, factor
        self.loads = dict.fromkeys(weights, 0)

    def capacity(self, name: bytes) -> int:
        held = sum(self.loads.values()) + 1
        return math.ceil(self.factor * held * self.weights[name] / sum(self.weights.values()))

    def acquire(self, key: bytes) -> bytes:
        node = next(name for name in self.nodes_for(key) if self.loads[name] < self.capacity(name))
        self.loads[node] += 1
        return node
