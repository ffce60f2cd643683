"""A small edge server's inner loop, written against the toolkit's cdef classes and not its Python methods."""

from libc.stdint cimport uint32_t

from fastcore.balance cimport Balancer
from fastcore.hashing cimport Maglev, Placement, crc, fc_hash_key, key_of, keyed
from fastcore.http cimport FC_BODY_LENGTH, Request
from fastcore.metrics cimport Counter, Metrics
from fastcore.reactor cimport Reactor
from fastcore.shm cimport Region

from fastcore.http import RequestParser


cdef class Edge:
    """Counts requests in shared memory and says which node serves them."""

    cdef readonly Region region
    cdef Metrics metrics
    cdef Counter requests
    cdef Placement nodes
    cdef char *marks
    cdef object parser

    def __cinit__(self, nodes):
        self.region = Region()
        self.metrics = Metrics(self.region)
        self.requests = self.metrics.counter("requests", "seen by the edge")
        self.nodes = Maglev(nodes)
        self.parser = RequestParser()
        # A section of the shared region, straight as memory: a byte for each node. It pins the region for good.
        self.marks = self.region.address("marks", 64, 64)

    def serve(self, bytes data):
        """(node, content length, checksum) of the request in data."""
        cdef Request request = self.parser.parse_head(data)
        cdef uint32_t number
        cdef bytes path = request.part(request.head.path)
        number = self.nodes.find(self.nodes.position(path, len(path)), NULL)
        self.marks[number] += 1
        # Any class of ours whose struct is declared in a .pxd can be looked into: a counter's row and cell.
        self.metrics.row()[self.requests.cell] += 1
        length = request.head.content_length if request.head.framing == FC_BODY_LENGTH else None
        return self.nodes.names[number], length, crc(0, data, request.head_bytes)

    def marked(self):
        return [self.marks[i] for i in range(len(self.nodes))]

    def counted(self):
        return self.requests.value


def turns(Reactor reactor, int n):
    """Events handled in n turns of the reactor's loop, entered without an attribute lookup."""
    cdef int handled = 0, i
    for i in range(n):
        handled += reactor.run_once(0)
    return handled


def siphash(bytes data, bytes key):
    cdef fc_hash_key words = key_of(key)
    return keyed(&words, data, len(data))


def size_of(Balancer balancer):
    balancer.check(0)
    return balancer.length
