import enum
import gc
import random
import sys

import pytest

from endurance import LEAK_OPERATIONS, NOT_SANITIZED, resident
from fastcore.jobindex import PRIORITY_MAX, RUN_AT_MAX, Depth, Duplicate, Full, Job, JobIndex


def ids(jobs):
    return [job.id for job in jobs]


@pytest.fixture
def index():
    return JobIndex()


# --- jobs by id -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id", [0, 7, 2**40, 2**64 - 1, "jid", "", "x" * 255, "ünïcödé", b"jid", b"", b"\0\xff", bytes(255)]
)
def test_a_job_is_found_by_its_id_as_given(index, id):
    assert id not in index
    assert index.get(id) is None
    index.add(id, "mail", priority=3, run_at=1_764_000_000_123)
    assert id in index
    job = index.get(id)
    assert isinstance(job, Job)
    assert job == (id, "mail", 3, 1_764_000_000_123)
    assert type(job.id) is type(id)
    assert len(index) == 1
    index.remove(id)
    assert id not in index
    assert len(index) == 0


def test_text_and_bytes_and_numbers_are_different_ids(index):
    for id in ("1", b"1", 1):
        index.add(id, "q")
    assert len(index) == 3
    index.remove("1")
    assert ("1" in index, b"1" in index, 1 in index) == (False, True, True)


def test_subclasses_of_ids_are_what_they_extend(index):
    class Jid(str):
        __slots__ = ()

        def __hash__(self):
            raise RuntimeError("never called")

        def __eq__(self, other):
            raise RuntimeError("never called")

    class Number(enum.IntEnum):
        ONE = 1

    index.add(Jid("a"), "q")
    index.add(Number.ONE, "q")
    assert "a" in index
    assert 1 in index
    assert True in index
    assert type(index.get("a").id) is str
    assert type(index.get(1).id) is int


def test_an_id_is_there_once(index):
    index.add("a", "q", priority=1)
    with pytest.raises(Duplicate, match="'a'"):
        index.add("a", "other", priority=2)
    assert index.get("a") == ("a", "q", 1, 0)


def test_removing(index):
    index.add("a", "q")
    assert index.discard("a") is True
    assert index.discard("a") is False
    with pytest.raises(KeyError, match="a"):
        index.remove("a")
    assert index.get("a", "default") == "default"


@pytest.mark.parametrize("id", [None, 1.0, [], (), {}, object(), bytearray(b"a"), memoryview(b"a")])
def test_ids_of_the_wrong_type(index, id):
    for call in (
        lambda: index.add(id, "q"),
        lambda: index.remove(id),
        lambda: index.discard(id),
        lambda: index.get(id),
        lambda: id in index,
        lambda: index.move(id, priority=1),
    ):
        with pytest.raises(TypeError):
            call()
    assert len(index) == 0


class Unhashable(Exception):
    def __hash__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize("id", [-1, 2**64, "x" * 256, "ü" * 128, bytes(256), "\ud800"])
def test_ids_out_of_bounds(index, id):
    for call in (lambda: index.add(id, "q"), lambda: index.remove(id), lambda: index.discard(id)):
        with pytest.raises(ValueError):
            call()
    assert id not in index
    assert index.get(id, 5) == 5
    with pytest.raises(TypeError):
        index.add(Unhashable(), "q")
    assert len(index) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"priority": -1}, ValueError),
        ({"priority": 256}, ValueError),
        ({"priority": 1.0}, TypeError),
        ({"priority": "1"}, TypeError),
        ({"run_at": -1}, ValueError),
        ({"run_at": RUN_AT_MAX + 1}, ValueError),
        ({"run_at": 1.5}, TypeError),
        ({"run_at": float("nan")}, TypeError),
        ({"queue": "q" * 256}, ValueError),
        ({"queue": "\udcff"}, ValueError),
        ({"queue": b"q"}, TypeError),
        ({"queue": None}, TypeError),
    ],
)
def test_what_no_job_can_have(index, arguments, error):
    index.add("there", "q")
    with pytest.raises(error):
        index.add("a", **{"queue": "q", **arguments})
    with pytest.raises(error):
        index.add_many(["a"], **{"queue": "q", **arguments})
    if arguments.get("queue", "") is not None:
        with pytest.raises(error):
            index.move("there", **arguments)
    assert "a" not in index
    assert index.get("there") == ("there", "q", 0, 0)
    assert index.queues() == ["q"]
    index._check()


def test_numbers_like_numpys_are_taken(index):
    class Index:
        def __init__(self, value):
            self.value = value

        def __index__(self):
            return self.value

    index.add("a", "q", priority=Index(3), run_at=Index(9))
    assert index.claim("q", Index(9), n=Index(1)) == [("a", "q", 3, 9)]


def test_adding_many_is_all_or_nothing(index):
    index.add_many((f"j{i}" for i in range(1000)), "q", priority=2, run_at=5)
    assert index.depth("q", 5) == Depth(1000, 0)
    assert ids(index.claim("q", 5, n=3)) == ["j0", "j1", "j2"]
    for bad, error in (("j5", Duplicate), (None, TypeError), ("new1", Duplicate), (-1, ValueError)):
        with pytest.raises(error):
            index.add_many(["new1", "new2", bad, "new3"], "q")
        assert len(index) == 997
        assert "new1" not in index

    def fails():
        yield "new1"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        index.add_many(fails(), "q")
    assert "new1" not in index
    index._check()


# --- order ----------------------------------------------------------------------------------------------------------


def test_priority_then_time_then_id(index):
    index.add(5, "q", priority=1, run_at=10)
    index.add(3, "q", priority=1, run_at=10)
    index.add("z", "q", priority=1, run_at=10)
    index.add("a", "q", priority=1, run_at=10)
    index.add(9, "q", priority=1, run_at=9)
    index.add(1, "q", priority=0, run_at=0)
    index.add(2, "q", priority=PRIORITY_MAX, run_at=10)
    expected = [2, 9, 3, 5, "z", "a", 1]
    assert ids(index.page("q")[0]) == expected
    assert ids(index.claim("q", now=10, n=100)) == expected


def test_a_delayed_job_blocks_nobody(index):
    index.add("urgent later", "q", priority=255, run_at=1000)
    index.add("now", "q", priority=0, run_at=0)
    assert index.peek("q", now=5).id == "now"
    assert ids(index.claim("q", now=999, n=5)) == ["now"]
    assert index.claim("q", now=999) == []
    assert ids(index.claim("q", now=1000)) == ["urgent later"]


def test_the_next_run_at_is_exact_at_any_distance(index):
    assert index.next_run_at("q") is None
    far = 1_764_000_000_001
    for distance in (0, 1, 10, 60_000, 10**12):
        index.add(distance, "q", run_at=far + distance)
    for distance in (0, 1, 10, 60_000, 10**12):
        assert index.next_run_at("q") == index.next_run_at(["none", "q"]) == far + distance
        assert index.claim("q", far + distance - 1) == []
        assert ids(index.claim("q", far + distance)) == [distance]
    assert index.next_run_at("q") is None


def test_moving_keeps_the_place_among_equals(index):
    for id in "abc":
        index.add(id, "q", run_at=5)
    index.move("a", run_at=9)
    index.move("a", run_at=5)
    index.move("b", priority=7)
    index.move("c", queue="other", run_at=6)
    assert index.get("b") == ("b", "q", 7, 5)
    assert index.get("c") == ("c", "other", 0, 6)
    index.move("c", queue="q", run_at=5)
    index.move("b", priority=0)
    assert ids(index.page("q")[0]) == ["a", "b", "c"]
    index.move("a")
    with pytest.raises(KeyError):
        index.move("nobody", priority=1)
    with pytest.raises(TypeError):
        index.move("a", queue=5)
    index._check()


# --- who is claimed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 5, 16])
def test_low_priorities_do_not_starve(every):
    """A job with m older due ones in its queue is claimed within every * (m + 1) claims."""
    index = JobIndex(oldest_every=every)
    for i in range(4):
        index.add(f"low {i}", "q", priority=0, run_at=i)
    high = iter(range(10**9))
    waited = {}
    for claims in range(1, every * 4 + 1):
        while index.depth("q", 100).ready < 20:
            index.add(next(high), "q", priority=9, run_at=50)
        (job,) = index.claim("q", now=100)
        if isinstance(job.id, str):
            waited[job.id] = claims
    assert waited == {f"low {i}": every * (i + 1) for i in range(4)}


def test_strict_priorities_when_asked_for():
    index = JobIndex(oldest_every=0)
    index.add("low", "q", run_at=0)
    for i in range(200):
        index.add(i, "q", priority=1, run_at=9)
        assert ids(index.claim("q", now=9)) == [i]


def test_fair_claims_follow_the_weights(index):
    index.set_weight("b", 3)
    for name in "abc":
        index.add_many([f"{name}{i}" for i in range(100)], name)
    taken = [job.queue for job in index.claim(["a", "b", "c"], now=0, n=50)]
    assert {name: taken.count(name) for name in "abc"} == {"a": 10, "b": 30, "c": 10}
    for start in range(0, 50, 5):  # in every round, not only on the whole
        assert taken[start : start + 5].count("b") == 3
    assert (index.weight("a"), index.weight("b"), index.weight("none")) == (1, 3, 1)


def test_one_flooding_queue_delays_the_others_by_one_turn(index):
    names = [f"tenant {i}" for i in range(100)]
    index.add_many(range(10_000), names[0])
    index.claim(names, now=0, n=5000)
    for i, name in enumerate(names[1:]):
        index.add(f"job {i}", name)
    claimed = index.claim(names, now=0, n=101)
    assert sum(job.queue != names[0] for job in claimed) == 99


def test_strict_order_takes_from_the_first_listed(index):
    for name in ("low", "high"):
        index.add_many([f"{name} {i}" for i in range(3)], name)
    index.add("later", "high", run_at=9)
    claimed = index.claim(["high", "unknown", "low"], now=0, n=10, order="strict")
    assert ids(claimed) == ["high 0", "high 1", "high 2", "low 0", "low 1", "low 2"]


def test_queues_may_be_named_in_any_way(index):
    index.add("a", "q")
    for queues in ("q", ["q"], ("q",), {"q"}, {"q": 1}, iter(["q"]), ["other"] * 200 + ["q"] * 200):
        assert index.peek(queues, 0).id == "a"
    for queues in ([], "", ["other"]):
        assert index.peek(queues, 0) is None
        assert index.claim(queues, 0) == []
        assert index.next_run_at(queues) is None
    for queues in (None, 5, [5], [None], [b"q"]):
        for call in (index.claim, index.peek):
            with pytest.raises(TypeError):
                call(queues, 0)
        with pytest.raises(TypeError):
            index.next_run_at(queues)
    assert len(index) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"now": -1}, ValueError),
        ({"now": 1.0}, TypeError),
        ({"now": None}, TypeError),
        ({"n": -1}, ValueError),
        ({"n": "1"}, TypeError),
        ({"order": "random"}, ValueError),
        ({"order": 1}, TypeError),
    ],
)
def test_claims_of_the_wrong_kind_claim_nothing(index, arguments, error):
    index.add("a", "q")
    with pytest.raises(error):
        index.claim("q", **{"now": 0, **arguments})
    assert len(index) == 1


def test_claiming_none(index):
    index.add("a", "q")
    assert index.claim("q", 0, n=0) == []
    assert index.claim("q", 2**63) == [("a", "q", 0, 0)]


def test_a_destructor_that_runs_in_a_claim_finds_everything_in_order():
    """Making a Job can start the cycle collector, and that any code."""
    index = JobIndex()
    index.add_many(range(1000), "q")
    meddled = []

    class Meddles:
        def __init__(self):
            self.myself = self

        def __del__(self):
            job = index.get(999 - len(meddled))
            if job is not None:
                index.remove(job.id)
                meddled.append(job.id)
                index.add(f"new {job.id}", "other", priority=5)

    threshold = gc.get_threshold()
    gc.set_threshold(7, 1, 1)
    try:
        claimed = []
        while len(index.page("q", limit=1)[0]):
            Meddles()
            claimed += index.claim(["q", "none"], 0, n=20)
    finally:
        gc.set_threshold(*threshold)
    index._check()
    assert meddled
    assert sorted([*ids(claimed), *meddled]) == list(range(1000))


# --- queues ---------------------------------------------------------------------------------------------------------


def test_depth(index):
    assert index.depth("q", 0) == Depth(ready=0, delayed=0)
    for run_at in range(10):
        index.add(run_at, "q", priority=run_at % 3, run_at=run_at)
    for now in range(12):
        assert index.depth("q", now) == (min(now + 1, 10), max(9 - now, 0))
    index.claim("q", now=4, n=2)
    assert index.depth("q", 4) == (3, 5)


def test_a_paused_queue_gives_nothing(index):
    index.pause("q")
    index.add("a", "q")
    index.add("b", "other", run_at=7)
    assert index.paused("q") is True
    assert index.claim(["q", "other"], 0) == []
    assert index.next_run_at(["q", "other"]) == 7
    assert index.next_run_at("q") is None
    assert index.depth("q", 0) == (1, 0)
    index.resume("q")
    assert index.paused("q") is False
    assert ids(index.claim("q", 0)) == ["a"]
    index.resume("never heard of")
    assert index.paused("never heard of") is False
    assert sorted(index.queues()) == ["other", "q"]


def test_pages_survive_what_leaves_and_comes(index):
    for i in range(25):
        index.add(f"j{i:02}", "q", run_at=i)
    shown, mark = index.page("q", limit=10)
    assert ids(shown) == [f"j{i:02}" for i in range(10)]
    index.claim("q", now=12, n=13)
    index.add("early", "q", run_at=1)
    shown, mark = index.page("q", after=mark, limit=10)
    assert ids(shown) == [f"j{i}" for i in range(13, 23)]
    shown, mark = index.page("q", after=mark)
    assert (ids(shown), mark) == (["j23", "j24"], None)
    assert index.page("none") == ([], None)
    assert index.page("q", limit=0) == ([], None)


@pytest.mark.parametrize("mark", [b"", b"x", b"x" * 10, b"x" * 20, b"\xff" * 19])
def test_marks_that_are_none(index, mark):
    index.add("a", "q")
    try:
        assert index.page("q", after=mark) == ([], None)
    except ValueError as error:
        assert "mark" in str(error)
    with pytest.raises(TypeError):
        index.page("q", after="text")


def test_dropping_a_queue(index):
    index.set_weight("q", 9)
    index.pause("q")
    index.add_many(range(10_000), "q")
    index.add("other", "other")
    full = index.nbytes
    assert index.drop("q") == 10_000
    assert index.drop("q") == index.drop("unknown") == 0
    assert (len(index), index.queues(), 5 in index) == (1, ["other"], False)
    index.add(5, "q", run_at=3)
    assert (index.weight("q"), index.paused("q")) == (1, False)
    assert index.claim("q", 3, n=9) == [(5, "q", 0, 3)]
    while index.purge(100):
        index._check()
    assert index.nbytes < full / 2
    index._check()


def test_clearing(index):
    empty = index.nbytes
    index.add_many(range(5000), "q")
    index.drop("q")
    index.add_many(range(5000), "r")
    index.clear()
    assert (len(index), index.queues(), index.claim("r", 0)) == (0, [], [])
    assert index.nbytes == empty
    index.add("a", "new")
    assert index.claim("new", 0) == [("a", "new", 0, 0)]
    assert repr(index) == "<JobIndex: 0 jobs in 1 queues>"


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_bounds_are_named_when_met():
    index = JobIndex(max_jobs=2, max_queues=2)
    index.add("a", "q")
    index.add("b", "r")
    with pytest.raises(Full, match="max_jobs"):
        index.add("c", "q")
    for call in (lambda: index.add("c", "s"), lambda: index.pause("s"), lambda: index.set_weight("s", 2)):
        with pytest.raises(Full, match="max_queues"):
            call()
    with pytest.raises(Full, match="max_queues"):
        index.move("a", queue="s")
    with pytest.raises(Duplicate):
        index.add("a", "q")
    assert index.queues() == ["q", "r"]
    index.remove("a")
    index.add("c", "q")
    index.drop("q")
    index.add("c", "s")


def test_bytes_are_bounded():
    index = JobIndex(max_bytes=1 << 20)
    with pytest.raises(Full, match="max_bytes"):
        for i in range(100_000):
            index.add(f"{i:024}", f"q{i % 10}", run_at=i)
    assert 6000 < len(index) == i
    assert index.nbytes <= 1 << 20
    assert f"{i:024}" not in index
    with pytest.raises(Full):
        index.add_many([f"{i:030}" for i in range(1000)], "q0")
    assert len(index) == i
    for k in range(0, i, 2):
        index.remove(f"{k:024}")
    for k in range(0, i - 100, 2):
        index.add(f"{k:024}", "q1")
    index._check()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_jobs": -1}, ValueError),
        ({"max_jobs": 2**32}, ValueError),
        ({"max_bytes": 1000}, ValueError),
        ({"max_bytes": 2**36}, ValueError),
        ({"max_queues": 2**24}, ValueError),
        ({"oldest_every": -1}, ValueError),
        ({"max_jobs": 1.5}, TypeError),
        ({"oldest_every": None}, TypeError),
    ],
)
def test_settings_out_of_bounds(arguments, error):
    with pytest.raises(error):
        JobIndex(**arguments)


@pytest.mark.parametrize("weight", [0, -1, 1001])
def test_weights_out_of_bounds(index, weight):
    with pytest.raises(ValueError, match="weight"):
        index.set_weight("q", weight)
    assert index.queues() == []


@NOT_SANITIZED
def test_operations_leak_nothing():
    """Short here; FASTCORE_LEAK_OPERATIONS makes it long."""
    rng = random.Random(7)
    index = JobIndex(max_jobs=5000, max_queues=50)

    def work(operations):
        for i in range(operations):
            what = rng.random()
            queue = f"q{rng.randrange(60)}"
            id = rng.choice([i, f"job-{i}", b"%d" % i])
            try:
                if what < 0.5:
                    index.add(id, queue, rng.randrange(4), rng.randrange(10**6))
                elif what < 0.8:
                    index.claim([queue, "q1", "q2"], rng.randrange(10**6), n=3)
                elif what < 0.9:
                    index.move(index.page(queue, limit=1)[0][0].id, run_at=rng.randrange(10**6))
                elif what < 0.91:
                    index.drop(queue)
                else:
                    index.add(id, queue, priority=999)
            except (Full, ValueError, IndexError):
                pass
        index.clear()

    work(50_000)
    before, blocks = resident(), sys.getallocatedblocks()
    work(LEAK_OPERATIONS)
    grown = resident() - before
    assert sys.getallocatedblocks() - blocks < 1000
    assert grown < 4 << 20
