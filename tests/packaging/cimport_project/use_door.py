"""Run by the test with the installed wheel and the built module; prints ok."""

import sys
import time

import door

from fastcore.cache import SharedCache
from fastcore.jobindex import JobIndex
from fastcore.websocket import Text, build_frame

here = door.Door()
SECOND = 1_000_000_000
assert here.admit("ada", 5 * SECOND) == here.admit("ada", 6 * SECOND) == "Ada"
assert here.admit("ada", 7 * SECOND) is None
assert here.first() == (5 * SECOND, "ada")
assert here.leave(15) == ["ada"]

jobs = JobIndex()
jobs.add("mail 1", "mail", run_at=100)
assert not door.due(jobs, "mail", 99)
assert door.due(jobs, "mail", 100)

cache = SharedCache(capacity=1 << 20, item_max=1 << 16, shards=1)
cache.set(b"key", b"value")
assert door.fetch(cache, b"key", time.monotonic_ns()) == b"value"

reader = door.CountingReader()
assert reader.feed(b"PING\r\n") == [[b"PING"]]
parser = door.CountingParser("server")
assert parser.feed(build_frame(1, "hello", mask=True)) == [Text("hello")]
assert reader.fed == parser.fed == 1
print("ok", sys.modules["fastcore"].__file__)
