"""Workers of clients we did not write, as programs: python -m integration... URL FILE; each job writes a line to FILE."""

import logging
import sys
from pathlib import Path
from typing import Any


def write(file: str, *words: Any) -> None:
    with Path(file).open("a") as out:  # a line is one write
        out.write(" ".join(map(str, words)) + "\n")


def add(file: str, a: int, b: int) -> None:
    write(file, "add", a + b)


def fail_once(file: str, mark: str) -> None:
    """Its first try fails."""
    seen = Path(mark).exists()
    Path(mark).touch()
    write(file, "fail_once", seen)
    if not seen:
        raise ValueError("the first try fails")


def with_faktory(url: str) -> None:
    from faktory import Worker

    worker = Worker(faktory=url, queues=["default", "slow"], concurrency=2, use_threads=True)
    worker.register("add", add)
    worker.register("fail_once", fail_once)
    worker.run()


def with_pyfaktory(url: str) -> None:
    from pyfaktory import Client, Consumer

    with Client(faktory_url=url, role="consumer") as client:
        consumer = Consumer(client=client, queues=["default", "slow"], concurrency=2, grace_period=1)
        consumer.register("add", add)
        consumer.register("fail_once", fail_once)
        consumer.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    {"faktory": with_faktory, "pyfaktory": with_pyfaktory}[sys.argv[1]](sys.argv[2])
