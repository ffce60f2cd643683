"""Run by the test with the installed wheel and the built module; prints ok."""

import sys

import edge

from fastcore.balance import Balancer
from fastcore.hashing import Maglev, crc32c, siphash13
from fastcore.reactor import Reactor

HEAD = b"POST /files/7?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"

nodes = ["one", "two", "three"]
here = edge.Edge(nodes)
node, length, checksum = here.serve(HEAD + b"abc")
assert node == Maglev(nodes).lookup("/files/7")
assert (length, checksum) == (3, crc32c(HEAD))
assert here.serve(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[1] is None
assert sum(here.marked()) == here.counted() == 2
assert here.region.section("marks").tobytes()[: len(nodes)] == bytes(here.marked())

reactor, fired = Reactor(), []
reactor.call_later(0, fired.append, 1)
while not fired:
    edge.turns(reactor, 10)

assert edge.siphash(b"data", bytes(range(16))) == siphash13(b"data", bytes(range(16)))
assert edge.size_of(Balancer("round_robin", {"a": 1, "b": 2})) == 2
try:
    edge.siphash(b"data", b"short")
except ValueError:
    print("ok", sys.modules["fastcore"].__file__)
