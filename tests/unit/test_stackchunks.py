"""Kept stack chunks: bounded, reused, and invisible to the greenlets that run on them."""

import subprocess
import sys

# A process of its own: the allocator stays replaced for the life of the interpreter.
SCRIPT = """
import greenlet
from fastcore import stackchunks

def deep(n):
    return n if n == 0 else 1 + deep(n - 1)

def run(count, depth):
    live = [greenlet.greenlet(lambda: (greenlet.getcurrent().parent.switch(), deep(depth))[1]) for _ in range(count)]
    for g in live:
        g.switch()          # each holds its chunk now
    assert [g.switch() for g in live] == [depth] * count

run(50, 10)
assert stackchunks.kept_chunks() == 0
stackchunks.install(8)
run(50, 10)
assert 0 < stackchunks.kept_chunks() <= 8, stackchunks.kept_chunks()
run(5, 300)                 # deeper than one chunk
run(100, 1)
stackchunks.install(20)
run(50, 10)
assert 8 < stackchunks.kept_chunks() <= 20, stackchunks.kept_chunks()
objects = [bytes(1000) for _ in range(10000)]   # ordinary arenas still come and go
del objects
stackchunks.install(0)
run(50, 10)
assert stackchunks.kept_chunks() <= 20
print("fine")
"""


def test_chunks_are_kept_up_to_the_bound_and_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr
