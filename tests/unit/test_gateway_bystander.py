"""A thread that gives way: what it does waits for nobody, and nobody waits for it."""

import gevent
import gevent.event
from gevent.monkey import get_original

from apps.gateway.bystander import Bystander

SECONDS = 20


def test_answers_come_on_the_hub_in_their_order() -> None:
    heard: list[tuple[int, int]] = []
    whole = gevent.event.Event()
    threads: set[int] = set()

    def answer(question: int) -> int:
        threads.add(get_original("_thread", "get_ident")())
        return question * question

    def hear(question: int, answered: int) -> None:
        threads.discard(get_original("_thread", "get_ident")())
        heard.append((question, answered))
        if len(heard) == 1000:
            whole.set()

    beside = Bystander(answer, hear)
    for number in range(1000):
        beside.ask(number)
    assert whole.wait(SECONDS)
    assert heard == [(number, number * number) for number in range(1000)]
    assert len(threads) == 1  # and not ours
    beside.stop()


def test_others_go_on_meanwhile_and_after_the_end_nothing_comes() -> None:
    begun = gevent.event.Event()
    wakes = gevent.get_hub().loop.async_()
    wakes.start(begun.set)
    go = get_original("threading", "Event")()
    heard: list[str] = []

    def answer(question: str) -> str:
        wakes.send()
        assert go.wait(SECONDS)
        return question

    beside = Bystander(answer, lambda question, _: heard.append(question))
    beside.ask("first")
    assert begun.wait(SECONDS)  # the hub runs while the thread waits
    beside.ask("second")
    beside.stop()
    begun.clear()
    go.set()
    assert begun.wait(SECONDS)  # of the second: the first has been answered, and the hub has looked at what rang
    assert heard == []
    wakes.stop()
