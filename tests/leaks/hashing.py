from contextlib import suppress

from tests.leaks.table import operation

from fastcore.hashing import (
    BoundedLoad,
    Jump,
    Maglev,
    Rendezvous,
    Ring,
    crc16_slot,
    crc32c,
    hash64,
    jump_hash,
    random_key,
)

NODES = {f"10.0.0.{i}:80": 1 for i in range(20)}
PLACEMENTS = [Ring(NODES), Ring(NODES, ketama=True), Rendezvous(NODES), Maglev(NODES, slots=1021), Jump(NODES)]
BOUNDED = [BoundedLoad(placement) for placement in PLACEMENTS[:4]]


@operation("hashes and checksums")
def hashes() -> None:
    hash64(b"some bytes")
    crc32c(bytearray(b"more"), 5)
    crc16_slot("{tag}key")
    jump_hash(12345, 100)
    random_key()
    for wrong in ("text", 5):
        with suppress(TypeError):
            crc32c(wrong)
    with suppress(ValueError):
        hash64(b"", b"short")


@operation("lookup and lookup_n of every kind")
def lookup() -> None:
    for placement in PLACEMENTS:
        placement.lookup("key")
        placement.lookup_n(b"key", 3)
        placement.lookup_n(bytearray(b"key"), 20)
        with suppress(TypeError):
            placement.lookup(None)


@operation("nodes come and go", weight=200)
def changes() -> None:
    for placement in PLACEMENTS:
        placement.add("new")
        with suppress(ValueError):
            placement.add("new")
        with suppress(ValueError):
            placement.add("worse", -1)
        placement.shares()
        placement.stats()
        placement.distribution(["a", "b"])
        placement.remove("new")
        with suppress(KeyError):
            placement.remove("new")


@operation("bounded loads")
def bounded() -> None:
    for load in BOUNDED:
        load.release(load.acquire("key"))
        load.capacity("10.0.0.1:80")
        load.loads()
        with suppress(KeyError):
            load.release("nobody")


@operation("placements", weight=200)
def made() -> None:
    Ring(NODES)
    Rendezvous(NODES)
    Maglev(NODES, slots=1021)
    BoundedLoad(Ring(NODES)).acquire("x")
    with suppress(ValueError):
        Ring({"a": 1.5})
