"""One computes, the others wait: threads, greenlets of an unpatched process, and both at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gevent
import pytest
from gevent.event import Event
from gevent.pool import Pool

from endurance import SOAK_SECONDS
from fastcore.cache import LRUCache, TTLCache
from fastcore.flight import Flights

N = 16
# Frames of ours that a greenlet leaves on its stack have red zones around their variables, and greenlet copies them.
greenlets = pytest.mark.skipif(
    "ASAN_OPTIONS" in os.environ, reason="greenlets copy stacks, which AddressSanitizer forbids"
)


def waiting(flights, count):
    """Until so many wait, as seen from outside: all but one of the callers have asked."""
    until = time.monotonic() + 10
    while flights.waiting() < count:
        assert time.monotonic() < until
        time.sleep(0.001)


class Work:
    """A function that takes until it is told to end, and counts its calls."""

    def __init__(self, event=threading.Event, error=None):
        self.calls = 0
        self.begun, self.go = event(), event()
        self.error = error

    def __call__(self):
        self.calls += 1
        self.begun.set()
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        return f"value {self.calls}"


def test_alone_it_is_a_call():
    flights = Flights()
    assert [flights.run("a", lambda n=n: n) for n in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        flights.run("a", lambda: 1 / 0)
    assert len(flights) == 0
    with pytest.raises(TypeError, match="unhashable"):
        flights.run([], int)


def test_threads_share_one_call():
    flights, work = Flights(), Work()
    with ThreadPoolExecutor(N) as pool:
        results = [pool.submit(flights.run, "a", work) for _ in range(N)]
        waiting(flights, N - 1)
        assert flights.run("b", int) == 0, "another key does not wait"
        work.go.set()
        assert {result.result() for result in results} == {"value 1"}
    assert (work.calls, len(flights), flights.waiting()) == (1, 0, 0)


@greenlets
def test_greenlets_share_one_call_and_the_hub_goes_on():
    flights, work = Flights(), Work(Event)
    greenlets = [gevent.spawn(flights.run, "a", work) for _ in range(N)]
    work.begun.wait(10)
    gevent.sleep(0)
    assert flights.waiting() == N - 1
    ticks = []
    gevent.spawn(lambda: ticks.append(1)).join(timeout=10)
    assert ticks, "the hub serves others meanwhile"
    work.go.set()
    gevent.joinall(greenlets, timeout=10, raise_error=True)
    assert {greenlet.value for greenlet in greenlets} == {"value 1"}
    assert work.calls == 1


@greenlets
def test_greenlets_of_a_thread_wait_for_another_thread():
    flights, work = Flights(), Work()
    with ThreadPoolExecutor(N) as pool:
        first = pool.submit(flights.run, "a", work)
        assert work.begun.wait(10)
        others = [pool.submit(flights.run, "a", work) for _ in range(3)]
        greenlets = [gevent.spawn(flights.run, "a", work) for _ in range(N)]
        gevent.sleep(0)
        waiting(flights, N + 3)
        work.go.set()
        gevent.joinall(greenlets, timeout=10, raise_error=True)
        assert {g.value for g in greenlets} | {first.result()} | {o.result() for o in others} == {"value 1"}
    assert work.calls == 1


@greenlets
def test_threads_wait_for_a_greenlet():
    flights, work = Flights(), Work(Event)
    greenlet = gevent.spawn(flights.run, "a", work)
    work.begun.wait(10)
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(flights.run, "a", work) for _ in range(3)]
        waiting(flights, 3)
        work.go.set()
        assert greenlet.get(timeout=10) == "value 1"
        assert [other.result() for other in others] == ["value 1"] * 3


def test_an_exception_is_that_of_all_who_waited():
    flights, work = Flights(), Work(error=LookupError("mine"))
    with ThreadPoolExecutor(N) as pool:
        results = [pool.submit(flights.run, "a", work) for _ in range(N)]
        waiting(flights, N - 1)
        work.go.set()
        assert {str(result.exception()) for result in results} == {"mine"}
    assert work.calls == 1
    assert flights.run("a", lambda: "again") == "again", "nothing is kept"


@greenlets
def test_a_killed_greenlet_hands_over():
    flights, work = Flights(), Work(Event)
    first = gevent.spawn(flights.run, "a", work)
    work.begun.wait(10)
    others = [gevent.spawn(flights.run, "a", work) for _ in range(3)]
    gevent.sleep(0)
    first.kill()
    gevent.sleep(0)
    work.go.set()
    gevent.joinall(others, timeout=10, raise_error=True)
    assert {other.value for other in others} == {"value 2"}
    assert isinstance(first.value, gevent.GreenletExit)


@greenlets
def test_a_timeout_of_one_who_waits_is_its_own():
    flights, work = Flights(), Work(Event)
    first = gevent.spawn(flights.run, "a", work)
    work.begun.wait(10)

    def hasty():
        with gevent.Timeout(0.01, "too long"):
            return flights.run("a", work)

    with pytest.raises(gevent.Timeout, match="too long"):
        gevent.spawn(hasty).get(timeout=10)
    assert flights.waiting() == 0
    work.go.set()
    assert first.get(timeout=10) == "value 1"


def test_the_main_thread_waits_interruptibly():
    """Ctrl-C reaches a thread that sleeps on the native lock."""
    script = """
import signal, threading
from fastcore.flight import Flights
flights, begun, go = Flights(), threading.Event(), threading.Event()
thread = threading.Thread(target=flights.run, args=("a", lambda: (begun.set(), go.wait(10))))
thread.start()
begun.wait()
print("ready", flush=True)
try:
    flights.run("a", int)
except KeyboardInterrupt:
    print("interrupted", flights.waiting())
go.set()
thread.join()
"""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)  # so that it sleeps when the signal comes; earlier is right as well
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted 0\n"


def test_waiting_for_oneself_is_an_error():
    flights = Flights()
    with pytest.raises(RuntimeError, match="waits for itself"):
        flights.run("a", lambda: flights.run("a", int))
    with pytest.raises(RuntimeError, match="waits for itself"):
        flights.run("a", lambda: flights.run("b", lambda: flights.run("a", int)))
    assert flights.run("a", lambda: flights.run("b", int)) == 0


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.mark.parametrize("kind", ["threads", pytest.param("greenlets", marks=greenlets)])
def test_a_circle_of_two_is_an_error_of_the_one_who_closes_it(kind, pool):
    event, spawn = (threading.Event, pool.submit) if kind == "threads" else (Event, gevent.spawn)
    one, two = Flights(), Flights()
    first, second = event(), event()

    def outer(mine, other, here, there):
        def inner():
            here.set()
            assert there.wait(10)
            return other.run("key", int)

        return mine.run("key", inner)

    tasks = [spawn(outer, one, two, first, second), spawn(outer, two, one, second, first)]
    for task in tasks:
        with pytest.raises(RuntimeError, match="waits for itself"):
            task.result(10) if kind == "threads" else task.get(timeout=10)


def test_a_child_process_does_not_wait_for_threads_it_has_not():
    flights, work = Flights(), Work()
    thread = threading.Thread(target=flights.run, args=("a", work))
    thread.start()
    assert work.begun.wait(10)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if flights.run("a", lambda: 7) == 7 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    work.go.set()
    thread.join()


def test_keys_that_cannot_be_compared_leave_nothing_stuck():
    class Key:
        broken = False

        def __hash__(self):
            return 1

        def __eq__(self, other):
            if self.broken:
                raise LookupError
            return True

    flights = Flights()

    def breaks():
        Key.broken = True
        return 1

    with pytest.raises(LookupError):
        flights.run(Key(), lambda: flights.run(Key() if breaks() else None, int))
    Key.broken = False
    assert flights.run(Key(), lambda: 5) == 5


# -- through the caches

MAKERS = pytest.mark.parametrize(
    "make", [LRUCache, lambda maxsize, *more: TTLCache(maxsize, 1000, time.monotonic, *more)], ids=["lru", "ttl"]
)


@MAKERS
def test_get_or_compute_by_threads(make):
    cache, work = make(4), Work()
    with ThreadPoolExecutor(N) as pool:
        results = [pool.submit(cache.get_or_compute, "a", work) for _ in range(N)]
        assert work.begun.wait(10)
        work.go.set()
        assert {result.result() for result in results} == {"value 1"}
    assert (work.calls, cache["a"]) == (1, "value 1")
    assert cache.get_or_compute("a", work) == "value 1"


@greenlets
@MAKERS
def test_get_or_compute_by_greenlets(make):
    cache, work = make(4), Work(Event)
    pool = Pool(N)
    results = [pool.spawn(cache.get_or_compute, "a", work) for _ in range(N)]
    work.begun.wait(10)
    gevent.sleep(0)
    work.go.set()
    assert {result.get(timeout=10) for result in results} == {"value 1"}
    assert work.calls == 1


@MAKERS
def test_a_computed_value_too_large_is_returned(make):
    cache = make(3, len)
    assert cache.get_or_compute("a", lambda: "long") == "long"
    assert len(cache) == 0
    assert cache.get_or_compute("a", lambda: "abc") == "abc"
    assert dict(cache) == {"a": "abc"}


@MAKERS
def test_what_raises_is_not_stored(make):
    cache = make(3)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("a", lambda: 1 / 0)
    assert "a" not in cache
    assert cache.get_or_compute("a", lambda: None) is None
    assert cache.get_or_compute("a", lambda: 1) is None, "None is a value"
    with pytest.raises(TypeError):
        cache.get_or_compute("b", None)


def test_a_computed_item_may_have_its_own_lifetime():
    cache = TTLCache(3, 10, lambda: now)
    now = 0
    assert cache.get_or_compute("a", lambda: 1, ttl=2) == 1
    assert cache.get_or_compute("b", lambda: 2) == 2
    assert cache.get_or_compute("c", lambda: 3, ttl=0) == 3
    now = 2
    assert list(cache) == ["b"]
    assert cache.get_or_compute("a", lambda: 4) == 4


def test_a_value_that_cannot_be_stored_still_goes_to_all():
    def size(value):
        raise LookupError("size")

    cache = LRUCache(3, size)
    work = Work()
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(cache.get_or_compute, "a", work) for _ in range(4)]
        assert work.begun.wait(10)
        time.sleep(0.05)  # let the others come; whoever comes later computes for itself
        work.go.set()
        errors = [result.exception() for result in results]
    assert sum(isinstance(error, LookupError) for error in errors) == work.calls


def test_computing_goes_through_an_overridden_setitem():
    class Doubling(LRUCache):
        def __setitem__(self, key, value):
            super().__setitem__(key, 2 * value)

    cache = Doubling(3)
    assert cache.get_or_compute("a", lambda: 1) == 1
    assert cache["a"] == 2


def test_threads_hammer_one_cache():
    """Whatever threads do to one cache at once, it stays whole: keys compare in Python, so any search can be interrupted."""

    class Key:
        def __init__(self, number):
            self.number = number

        def __hash__(self):
            return self.number % 5

        def __eq__(self, other):
            return self.number == other.number

    cache = TTLCache(20, 0.01, getsizeof=lambda value: value % 3, on_evict=lambda *args: cache.get(args[0]))
    stop = time.monotonic() + SOAK_SECONDS
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def hammer(seed):
        number = seed
        while time.monotonic() < stop:
            number = (number * 1103515245 + 12345) & 0x7FFFFFFF
            key, kind = Key(number >> 8 & 63), number >> 16 & 7
            if kind < 2:
                cache[key] = number
            elif kind == 2:
                cache.pop(key, None)
            elif kind == 3:
                cache.setdefault(key, number)
            elif kind == 4:
                cache.get_or_compute(key, lambda n=number: n)
            elif kind == 5:
                cache.set(key, number, ttl=number % 20 / 1000)
            elif kind == 6:
                list(cache)
            else:
                cache.get(key)
        return True

    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(hammer, range(4)))
    finally:
        sys.setswitchinterval(interval)
    with cache.timer:
        items = dict(cache.items())
        assert len(items) == len(list(cache)) == len(cache)
        assert cache.currsize == sum(value % 3 for value in items.values()) <= 20
