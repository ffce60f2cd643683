"""Published vectors, golden ones (a key must find its node in every version and on every machine), and refusals."""

import itertools
import math
import subprocess
import sys
import threading
import zlib

import pytest

from endurance import NOT_SANITIZED, resident
from fastcore import hashing
from fastcore.balance import Balancer
from fastcore.hashing import (
    BoundedLoad,
    Jump,
    Maglev,
    Placement,
    Rendezvous,
    Ring,
    crc16,
    crc16_slot,
    crc32c,
    crc32c_mask,
    crc32c_unmask,
    hash64,
    jump_hash,
    random_key,
    siphash13,
)
from models import hashing as model

NODES = ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379", "10.0.0.4:6379", "10.0.0.5:6379"]
WEIGHTED = {"small": 1, "middle": 2, "large": 5}
KINDS = [Ring, Rendezvous, Maglev, Jump]
MADE = {
    "ring": lambda nodes: Ring(nodes),
    "ketama": lambda nodes: Ring(nodes, ketama=True),
    "rendezvous": lambda nodes: Rendezvous(nodes),
    "maglev": lambda nodes: Maglev(nodes, slots=1021),
    "jump": lambda nodes: Jump(nodes),
}


# --- hashes and checksums ---------------------------------------------------------------------------------------------


def test_siphash_is_cpythons_own():
    """CPython hashes bytes with SipHash-1-3 too, under a zero key when PYTHONHASHSEED=0: an outside witness."""
    texts = [bytes(range(7, 7 + n)) for n in range(1, 40)]
    script = f"import sys; print(sys.hash_info.algorithm, *(hash(t) % 2**64 for t in {texts!r}))"
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONHASHSEED": "0"}, capture_output=True, check=True)
    algorithm, *theirs = done.stdout.split()
    if algorithm != b"siphash13":
        pytest.skip("this Python hashes with something else")
    assert [siphash13(text) for text in texts] == list(map(int, theirs))


def test_siphash_depends_on_key_and_length():
    assert siphash13(b"a", b"k" * 16) != siphash13(b"a", b"l" * 16)
    assert len({siphash13(bytes(n)) for n in range(100)}) == 100
    assert siphash13(memoryview(b"xay")[1:2]) == siphash13(bytearray(b"a")) == hash64(b"a") == model.siphash13(b"a")
    with pytest.raises(ValueError, match="3 bytes, not 16"):
        siphash13(b"a", b"key")
    with pytest.raises(TypeError):
        siphash13("a")
    assert len(random_key()) == 16
    assert random_key() != random_key()


RFC_3720 = {
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
    bytes.fromhex("01c00000000000000000000000000000140000000000040000000014000000182800000000000000"
                  "0200000000000000"): 0xD9963A56,
    b"123456789": 0xE3069283,
    b"": 0,
}  # fmt: skip


@pytest.mark.parametrize(("data", "value"), RFC_3720.items())
def test_crc32c_published(data, value):
    assert crc32c(data) == value
    assert crc32c(data[7:], crc32c(data[:7])) == value
    assert crc32c_unmask(crc32c_mask(value)) == value != crc32c_mask(value)


def test_crc32c_of_much_lets_others_run_and_of_any_buffer():
    big = bytes(range(256)) * 8192
    assert len(big) > 1 << 20
    assert crc32c(big) == crc32c(memoryview(big)) == crc32c(big[1_000_000:], crc32c(bytearray(big[:1_000_000])))
    with pytest.raises(BufferError):
        crc32c(memoryview(big)[::2])
    for wrong in (-1, 1 << 32):
        with pytest.raises(OverflowError):
            crc32c(b"", wrong)
    with pytest.raises(TypeError):
        crc32c("text")


def test_redis_slots():
    """The check value and the examples of the Redis Cluster specification; slots as CLUSTER KEYSLOT answers."""
    assert crc16(b"123456789") == crc16(b"56789", crc16(b"1234")) == 0x31C3
    assert [crc16_slot(key) for key in ("", "foo", "somekey", "foo{hash_tag}")] == [0, 12182, 11058, 2515]
    assert crc16_slot("{user1000}.following") == crc16_slot(b"{user1000}.followers") == crc16_slot("user1000")
    assert crc16_slot("foo{}{bar}") == crc16(b"foo{}{bar}") % 16384
    assert crc16_slot("foo{{bar}}zap") == crc16_slot("{bar")
    assert crc16_slot(bytearray(b"foo{bar}{zap}")) == crc16_slot("bar")
    with pytest.raises(TypeError):
        crc16_slot(5)


def test_jump_published():
    cases = [(1, 1, 0), (42, 57, 43), (0xDEAD10CC, 1, 0), (0xDEAD10CC, 666, 361), (256, 1024, 520), (2, 60, 46)]
    assert [jump_hash(key, buckets) for key, buckets, _ in cases] == [bucket for _, _, bucket in cases]
    assert jump_hash(-1, 100) == jump_hash(2**64 - 1, 100)
    for buckets in (0, -1, 2**31 + 1):
        with pytest.raises(ValueError, match="buckets"):
            jump_hash(1, buckets)
    with pytest.raises(TypeError):
        jump_hash("1", 5)


# --- placements: what they answer -------------------------------------------------------------------------------------


def test_ketama_published():
    """libketama's own test: two servers of 600 and 400 MB, their points, and where "test" goes."""
    ring = Ring({"127.0.0.1:11211": 600, "127.0.0.1:11212": 400}, ketama=True)
    assert len(ring.ring_points()) == 320
    assert ring.lookup("test") == "127.0.0.1:11211"
    assert next(point for point in ring.ring_points() if point[0] >= 3446378249) == (3454255383, "127.0.0.1:11211")


@pytest.mark.parametrize("nodes", [dict.fromkeys(NODES, 1), WEIGHTED, {"a": 600, "b": 400}, {"one": 3}])
def test_ketama_agrees_with_uhashring(nodes):
    uhashring = pytest.importorskip("uhashring")
    theirs, ours = uhashring.HashRing(nodes=nodes, hash_fn="ketama"), Ring(nodes, ketama=True)
    assert ours.ring_points() == theirs.get_points()
    for i in range(2000):
        assert ours.lookup(f"key:{i}") == theirs.get_node(f"key:{i}")


LONG = "a longer key that fills several words of the hash"
#: key -> the first two nodes by each kind, over NODES. Never to change: data would be looked for where it is not.
GOLDEN = {
    "ring": {"": [1, 2], "a": [2, 1], "user:42": [0, 2], "{tag}x": [3, 4], "grün": [1, 0], LONG: [0, 3]},
    "ketama": {"": [0, 4], "a": [2, 0], "user:42": [1, 2], "{tag}x": [4, 0], "grün": [2, 3], LONG: [4, 1]},
    "rendezvous": {"": [2, 3], "a": [3, 0], "user:42": [3, 2], "{tag}x": [3, 2], "grün": [1, 0], LONG: [3, 1]},
    "maglev": {"": [0, 2], "a": [3, 0], "user:42": [0, 3], "{tag}x": [0, 3], "grün": [2, 1], LONG: [3, 1]},
    "jump": {"": [3, 1], "a": [0, 4], "user:42": [1, 4], "{tag}x": [2, 3], "grün": [0, 3], LONG: [2, 1]},
}


@pytest.mark.parametrize("kind", MADE)
def test_golden(kind):
    placement = MADE[kind](NODES)
    assert {key: [NODES.index(n) for n in placement.lookup_n(key, 2)] for key in GOLDEN[kind]} == GOLDEN[kind]


def test_golden_hashes():
    assert siphash13(b"fastcore") == 0x653F1924AF881D8C
    assert siphash13(b"fastcore", bytes(range(16))) == 0x3D22BC76726243D6


@pytest.mark.parametrize("kind", MADE)
def test_order_of_nodes_does_not_matter_but_to_jump(kind):
    keys = [f"k{i}" for i in range(500)]
    one, other = MADE[kind](NODES), MADE[kind](NODES[::-1])
    same = [one.lookup_n(key, 3) == other.lookup_n(key, 3) for key in keys]
    assert all(same) == (kind != "jump")


@pytest.mark.parametrize("kind", MADE)
def test_keys_and_names_of_any_bytes(kind):
    placement = MADE[kind]([b"\xff\x00", "grün", ""])
    assert set(placement) == {b"\xff\x00", "grün", ""}
    assert placement.lookup("grün") == placement.lookup("grün".encode()) == placement.lookup(bytearray("grün".encode()))
    assert "grün".encode() in placement
    assert b"\xff" not in placement
    assert 5 not in placement
    with pytest.raises(UnicodeEncodeError):
        placement.lookup("\ud800")
    for wrong in (None, 5, ["a"]):
        with pytest.raises(TypeError):
            placement.lookup(wrong)
    assert placement.lookup_n("", 99) == placement.lookup_n(b"", 3)


@pytest.mark.parametrize("kind", MADE)
def test_nobody_there(kind):
    placement = MADE[kind]([])
    with pytest.raises(LookupError, match="no nodes"):
        placement.lookup("a")
    assert placement.lookup_n("a", 3) == []
    assert placement.shares() == placement.nodes == {}
    assert placement.stats().nodes == len(placement) == 0
    with pytest.raises(LookupError):
        placement.distribution(["a"])
    placement.add("a")
    assert placement.lookup("x") == "a"
    assert placement.lookup_n("x", 0) == []
    placement.remove("a")
    assert placement.lookup_n("a", 3) == []


@pytest.mark.parametrize("kind", MADE)
def test_many_nodes_in_order(kind):
    names = [f"n{i}" for i in range(100)]
    placement = MADE[kind](names)
    found = placement.lookup_n("key", 100)
    assert sorted(found) == sorted(names)
    for n in (1, 15, 16, 17, 99):
        assert placement.lookup_n("key", n) == found[:n]
    assert found[0] == placement.lookup("key")


@pytest.mark.parametrize("kind", MADE)
def test_changes_of_the_set(kind):
    placement = MADE[kind](["a", "b"])
    version = placement.version
    placement.add("c")
    assert placement.nodes == {"a": 1, "b": 1, "c": 1}
    assert placement.version > version
    for call, error in [
        (lambda: placement.add("a"), ValueError),
        (lambda: placement.add(b"a"), ValueError),
        (lambda: placement.remove("x"), KeyError),
        (lambda: placement.add(5), TypeError),
        (lambda: placement.add("d", 0), ValueError),
        (lambda: placement.add("d", -1), ValueError),
        (lambda: placement.add("d", math.nan), ValueError),
        (lambda: placement.add("d", math.inf), ValueError),
        (lambda: placement.add("d", "heavy"), TypeError),
        (lambda: placement.replace(["x", b"x"]), ValueError),
        (lambda: placement.replace(5), TypeError),
        (lambda: placement.lookup_n("k", -1), ValueError),
    ]:
        before = [placement.lookup_n(f"k{i}", 3) for i in range(50)]
        with pytest.raises(error):
            call()
        assert [placement.lookup_n(f"k{i}", 3) for i in range(50)] == before
        assert set(placement.nodes) == {"a", "b", "c"}
    placement.replace(["c", "d"])
    assert {placement.lookup(f"k{i}") for i in range(100)} == {"c", "d"}
    assert repr(placement) == f"<fastcore.hashing.{type(placement).__name__} of 2 nodes>"


def test_limits_are_named():
    for match, call in [
        ("0 points", lambda: Ring(points=0)),
        ("the ring would have 163840000 points", lambda: Ring({"a": 1024 * 1000})),
        ("name has 1025 bytes", lambda: Ring(["x" * 1025])),
        ("weight of b'a' is 1.5; it is a whole", lambda: Ring({"a": 1.5})),
        ("weight of b'a' is 65536", lambda: Maglev({"a": 65536})),
        ("65536 slots; it is a prime", lambda: Maglev(slots=65536)),
        ("-3 slots", lambda: Maglev(slots=-3)),
        ("jump hashing has no weights", lambda: Jump({"a": 2})),
        ("65535 nodes; there can be 65534", lambda: Rendezvous(map(str, range(65535)))),
        ("too large for a float", lambda: Rendezvous({"a": 1e308, "b": 1e308})),
        ("5 bytes, not 16", lambda: Ring(key=b"short")),
        ("is there twice", lambda: Rendezvous(["a", "a"])),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match="abstract"):
        Placement()
    assert Rendezvous({"a": 0.25, "b": 1e300}).lookup("k") == "b"
    assert len(Rendezvous(map(str, range(65534)))) == hashing.NODES_MAX


def test_jump_lets_go_of_the_last_only():
    placement = Jump(["a", "b", "c"])
    with pytest.raises(ValueError, match="'a' is not the last node"):
        placement.remove("a")
    placement.remove(b"c")
    assert list(placement) == ["a", "b"]


def test_a_key_changes_everything():
    keys = [f"k{i}" for i in range(200)]
    for kind in KINDS:
        one, other = kind(NODES), kind(NODES, key=bytes(range(16)))
        assert [one.lookup(key) for key in keys] != [other.lookup(key) for key in keys]


def test_maglev_is_the_balancers_consistent_hash():
    names = sorted(NODES, key=lambda name: hash64(name.encode()))
    balancer, table = Balancer("consistent_hash", dict.fromkeys(names, 1)), Maglev(NODES)
    for i in range(2000):
        assert names[balancer.pick(key_hash=hash64(b"k%d" % i))] == table.lookup(b"k%d" % i)
        first, second = table.lookup_n(b"k%d" % i, 2)
        without = 31 & ~(1 << names.index(first))
        assert names[balancer.pick(key_hash=hash64(b"k%d" % i), available=without)] == second


def test_a_callback_that_changes_the_set_is_seen():
    ring = Ring(["a", "b"])

    def keys():
        yield "x"
        ring.remove("b")
        yield "y"

    with pytest.raises(RuntimeError, match="changed while"):
        ring.distribution(keys())
    assert ring.lookup("y") == "a"

    class Weight:
        def __float__(self):
            ring.replace(["z"])
            return 3.0

    ring.replace({"a": Weight(), "b": 1})
    assert ring.nodes == {"a": 3, "b": 1}
    assert set(ring.distribution(f"k{i}" for i in range(100))) == {"a", "b"}


def test_threads_may_ask_while_the_set_changes():
    ring, stop, wrong = Ring(NODES), threading.Event(), []

    def ask():
        while not stop.is_set():
            wrong.extend(node for node in ring.lookup_n("key", 2) if node not in NODES)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        ring.remove(NODES[0])
        ring.add(NODES[0])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- how even they are ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ring", "ketama", "rendezvous", "maglev"])
def test_shares_say_what_keys_do(kind):
    placement = MADE[kind](WEIGHTED)
    shares, stats = placement.shares(), placement.stats()
    assert sum(shares.values()) == pytest.approx(1)
    counts = placement.distribution(f"key {i}" for i in range(20_000))
    for name, share in shares.items():
        assert abs(counts[name] - 20_000 * share) < 5 * (20_000 * share) ** 0.5
        assert stats.lowest - 1e-9 <= share * 8 / WEIGHTED[name] <= stats.highest + 1e-9
    assert stats.nodes == 3
    assert stats.points == {"ring": 8 * 160, "ketama": 4 * (15 + 30 + 75), "rendezvous": 0, "maglev": 1021}[kind]
    assert stats.bytes > 0


@pytest.mark.parametrize(("kind", "bound"), [(Ring, 0.35), (Rendezvous, 0), (Maglev, 0.01), (Jump, 0)])
def test_shares_within_what_is_promised(kind, bound):
    stats = kind(f"10.1.0.{i}:80" for i in range(50)).stats()
    assert 1 - bound - 1e-9 <= stats.lowest <= 1 <= stats.highest <= 1 + bound + 1e-9


# --- bounded loads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Ring, Maglev, Rendezvous])
def test_bounded_load_spills_over_and_comes_home(kind):
    placement = kind(WEIGHTED)
    bounded = BoundedLoad(placement, 1.25)
    home = placement.lookup("hot")
    order = [bounded.acquire("hot") for _ in range(800)]
    assert order[0] == home
    for name, weight in WEIGHTED.items():
        assert bounded.load(name) == order.count(name) <= math.ceil(1.25 * 800 * weight / 8)
    assert bounded.total == 800 == sum(bounded.loads().values())
    assert bounded.lookup("hot") == bounded.acquire("hot")
    for name in order[1:]:
        bounded.release(name)
    assert bounded.total == 2


def test_bounded_load_follows_its_placement():
    ring = Ring(["a", "b"])
    bounded = BoundedLoad(ring, factor=1)
    held = [bounded.acquire(f"k{i}") for i in range(10)]
    assert sorted(held) == ["a"] * 5 + ["b"] * 5
    ring.remove("a")
    ring.add("c")
    assert bounded.total == 5
    assert bounded.load("a") == 5
    assert bounded.loads() == {"b": 5, "c": 0}
    assert {bounded.acquire(f"k{i}") for i in range(5)} == {"c"}
    bounded.release("a")
    ring.add("a")
    assert bounded.loads() == {"b": 5, "c": 5, "a": 4}
    ring.remove("a")
    for _ in range(4):
        bounded.release(b"a")
    for call in (bounded.load, bounded.release, bounded.capacity):
        with pytest.raises(KeyError):
            call("a")
    assert bounded.capacity("b") == 6


def test_bounded_load_refuses():
    for factor in (0.99, math.nan, math.inf, -1):
        with pytest.raises(ValueError, match="factor is"):
            BoundedLoad(Ring(), factor)
    with pytest.raises(TypeError, match="no second choice"):
        BoundedLoad(Jump(["a"]))
    with pytest.raises(TypeError):
        BoundedLoad(None)
    bounded = BoundedLoad(Ring(["a"]))
    with pytest.raises(ValueError, match="'a' holds nothing"):
        bounded.release("a")
    with pytest.raises(TypeError):
        bounded.acquire(5)
    assert bounded.total == 0
    with pytest.raises(LookupError):
        BoundedLoad(Ring()).acquire("k")
    assert repr(bounded).startswith("<fastcore.hashing.BoundedLoad of 0 over <fastcore.hashing.Ring")
    assert (bounded.factor, len(bounded.placement)) == (1.25, 1)


@NOT_SANITIZED
def test_memory_stays():
    def work():
        for kind in (Ring, Rendezvous, Maglev, Jump):
            placement = kind(NODES, **({"slots": 1021} if kind is Maglev else {}))
            placement.add("x")
            placement.lookup_n("k", 20)
            with pytest.raises(ValueError, match="there already"):
                placement.add("x")
            placement.remove("x")
        bounded = BoundedLoad(Ring(NODES))
        bounded.release(bounded.acquire("k"))
        zlib.crc32(b"")

    for _ in range(50):
        work()
    before = resident()
    for _ in itertools.repeat(None, 300):
        work()
    assert resident() - before < 2 << 20
