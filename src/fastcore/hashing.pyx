"""Hashing: which node has a key, which slot, is this what was written (cext/include/fc/ring.h, maglev.h, crc32c.h).

Keys and names of nodes are str or bytes; a str counts as its UTF-8 bytes, so "a" and b"a" are the same. Answers depend
on bytes alone: the same on every machine, in every process, and in every version of this package.
"""

import os
from collections import namedtuple
from collections.abc import Mapping
from libc.math cimport isfinite
from libc.stdlib cimport calloc, free, malloc

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize

__all__ = [
    "NODES_MAX",
    "POINTS_MAX",
    "SLOTS",
    "BoundedLoad",
    "Jump",
    "Maglev",
    "Placement",
    "PlacementStats",
    "Rendezvous",
    "Ring",
    "crc16",
    "crc16_slot",
    "crc32c",
    "crc32c_mask",
    "crc32c_unmask",
    "hash64",
    "jump_hash",
    "random_key",
    "siphash13",
]

NODES_MAX = FC_RING_NODES_MAX
POINTS_MAX = FC_RING_POINTS_MAX
SLOTS = FC_MAGLEV_SLOTS
# Above some 100 us of work other threads may run; below, asking for the lock again costs more than it gives.
cdef Py_ssize_t WITHOUT_LOCK = 1 << 20

PlacementStats = namedtuple("PlacementStats", ["nodes", "points", "bytes", "lowest", "highest"])
PlacementStats.__doc__ = """What a placement is made of and how even it is.

nodes: how many. points: of a ring, or slots of a Maglev table; 0 for those without a table. bytes: of that table.
lowest, highest: of all nodes, the smallest and largest share of the keys by what is due to its weight; 1.0 is exact.
"""


# --- hashes and checksums of bytes -----------------------------------------------------------------------------------

cdef fc_hash_key key_of(bytes key) except *:
    cdef fc_hash_key words = fc_hash_key(0, 0)
    cdef unsigned i
    if key is None or len(key) != 16:
        raise ValueError(f"the key has {0 if key is None else len(key)} bytes, not 16")
    for i in range(8):
        words.k0 |= <uint64_t><unsigned char>key[i] << (8 * i)
        words.k1 |= <uint64_t><unsigned char>key[i + 8] << (8 * i)
    return words


cdef uint64_t keyed(const fc_hash_key *key, const char *p, size_t n) noexcept nogil:
    return fc_hash(key, p, n)


cdef uint32_t crc(uint32_t value, const char *p, size_t n) noexcept nogil:
    return fc_crc32c(value, p, n)


def random_key():
    """16 bytes nobody can guess: the key of a table whose keys strangers choose."""
    return os.urandom(16)


def siphash13(data, bytes key not None=bytes(16)):
    """SipHash-1-3 of a bytes-like object under a key of 16 bytes, as an int below 2**64.

    With a key from random_key() nobody who does not know it can find data that collide: safe against flooding a table.
    CPython hashes bytes with the same function. ValueError for a key of another length.
    """
    cdef fc_hash_key words = key_of(key)
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    cdef uint64_t found = fc_hash(&words, view.buf, view.len)
    PyBuffer_Release(&view)
    return found


# The name for who does not mind which function it is: the keyed 64-bit hash of this package.
hash64 = siphash13


def crc32c(data, uint32_t value=0):
    """CRC-32C (Castagnoli, RFC 3720) of a bytes-like object; value: the checksum of what came before it."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if view.len < WITHOUT_LOCK:
        value = fc_crc32c(value, view.buf, view.len)
    else:
        with nogil:
            value = fc_crc32c(value, view.buf, view.len)
    PyBuffer_Release(&view)
    return value


def crc32c_mask(uint32_t value):
    """What to store beside the bytes instead of their checksum, as LevelDB does: see cext/include/fc/crc32c.h."""
    return fc_crc32c_mask(value)


def crc32c_unmask(uint32_t value):
    """The checksum from what crc32c_mask made of it."""
    return fc_crc32c_unmask(value)


def crc16(data, uint16_t value=0):
    """CRC-16/XMODEM of a bytes-like object; value: the checksum of what came before it."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    value = fc_crc16(value, view.buf, view.len)
    PyBuffer_Release(&view)
    return value


def crc16_slot(key):
    """Redis Cluster's slot of a key, 0 to 16383: CRC-16 of the key, or of its hash tag, the bytes between its first '{'
    and the next '}' if there are any."""
    cdef Py_ssize_t n
    cdef const char *p
    if isinstance(key, bytes):
        return fc_crc16_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    if isinstance(key, str):
        p = PyUnicode_AsUTF8AndSize(key, &n)
        return fc_crc16_slot(p, n)
    return crc16_slot(bytes(memoryview(key)))


def jump_hash(key, buckets):
    """The bucket, 0 to buckets - 1, of an int: jump consistent hashing (Lamping and Veach 2014). Of the key the lowest
    64 bits count; buckets: 1 to 2**31. For str and bytes: jump_hash(hash64(data), buckets), or Jump."""
    if not 1 <= buckets <= 1 << 31:
        raise ValueError(f"there are {buckets} buckets; it is 1 to {1 << 31}")
    return fc_jump(key & 0xFFFFFFFFFFFFFFFF, buckets)


# --- placements ------------------------------------------------------------------------------------------------------

cdef bytes encoded_name(node):
    if isinstance(node, str):
        return (<str>node).encode()
    if isinstance(node, bytes):
        return bytes(node)
    raise TypeError(f"a node is named by str or bytes, not {type(node).__name__}")


cdef uint32_t whole(double weight, str name, uint32_t most) except 0:
    if not 1 <= weight <= most or weight != <uint32_t>weight:
        raise ValueError(f"the weight of {name} is {weight}; it is a whole number, 1 to {most}")
    return <uint32_t>weight


cdef bint all_equal(const double *weights, uint32_t n) noexcept:
    cdef uint32_t i
    for i in range(1, n):
        if weights[i] != weights[0]:
            return False
    return True


cdef class Placement:
    """Which of the nodes has a key. Abstract: Ring, Rendezvous, Maglev and Jump are the kinds.

    nodes: an iterable of names, or a mapping of names to weights above 0. A node with twice the weight gets twice the
    keys. key: 16 bytes for the keyed hash, fixed by default so that all machines agree; a random_key() shared among
    them where strangers choose keys. A change of the nodes makes the table anew and then replaces the old one: when it
    raises, nothing has changed. Any number of threads may ask at the same time.
    """

    def __cinit__(self, *args, **kwargs):
        if type(self) is Placement:
            raise TypeError("Placement is abstract; there are Ring, Rendezvous, Maglev and Jump")
        self.names = []
        self.known = {}

    def __dealloc__(self):
        free(self.ids)
        free(self.weights)

    cdef uint64_t position(self, const char *key, size_t n) noexcept nogil:
        return fc_hash(&self.key, key, n)

    cdef uint32_t find(self, uint64_t position, const fc_bounded *bounds) noexcept nogil:
        return self.count

    cdef uint32_t find_n(self, uint64_t position, uint32_t *out, uint32_t most) except? 0:
        return 0

    cdef int measure(self, double *shares) except -1:
        cdef uint32_t i
        for i in range(self.count):
            shares[i] = self.weights[i] / self.weight_sum
        return 0

    cdef size_t points(self) noexcept:
        return 0

    cdef size_t table_bytes(self) noexcept:
        return self.count * (sizeof(uint64_t) + sizeof(double))

    cdef int build(self, list encoded, const double *weights, const uint64_t *ids, uint32_t n) except -1:
        return 0

    cdef int put(self, dict nodes) except -1:
        """nodes: name as bytes -> (name as given, weight)."""
        cdef uint32_t i = 0, n = <uint32_t>len(nodes)
        cdef double weight, total = 0
        cdef bytes name
        if len(nodes) > NODES_MAX:
            raise ValueError(f"{len(nodes)} nodes; there can be {NODES_MAX}")
        cdef double *weights = <double *>malloc((n + 1) * sizeof(double))
        cdef uint64_t *ids = <uint64_t *>malloc((n + 1) * sizeof(uint64_t))
        try:
            if weights == NULL or ids == NULL:
                raise MemoryError
            for name, (given, number) in nodes.items():
                weight = number
                if not (isfinite(weight) and weight > 0):
                    raise ValueError(f"the weight of {given!r} is {number}; it is above 0")
                weights[i] = weight
                ids[i] = fc_hash(&self.key, PyBytes_AS_STRING(name), len(name))
                total += weight
                i += 1
            if not isfinite(total):
                raise ValueError("the sum of the weights is too large for a float")
            names = [given for given, number in nodes.values()]
            known = dict(zip(nodes, range(n)))
            self.build(list(nodes), weights, ids, n)
            weights, self.weights = self.weights, weights
            ids, self.ids = self.ids, ids
            self.count = n
            self.weight_sum = total
            self.names = names
            self.known = known
            self.version += 1
        finally:
            free(weights)
            free(ids)
        return 0

    cdef uint64_t locate(self, object key) except? 0:
        cdef Py_ssize_t n
        cdef const char *p
        if isinstance(key, str):
            p = PyUnicode_AsUTF8AndSize(key, &n)
            return self.position(p, n)
        if isinstance(key, bytes):
            return self.position(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        return self.locate(bytes(memoryview(key)))

    def _collect(self, nodes):
        """Names and weights as put() wants them."""
        found = {}
        for node, weight in nodes.items() if isinstance(nodes, Mapping) else [(node, 1) for node in nodes]:
            name = encoded_name(node)
            if name in found:
                raise ValueError(f"{node!r} is there twice")
            found[name] = (node, weight)
        return found

    def _current(self):
        return {name: (self.names[i], self.weights[i]) for name, i in self.known.items()}

    def lookup(self, key):
        """The node that has the key. LookupError when there are no nodes."""
        cdef uint32_t number = self.find(self.locate(key), NULL)
        if number >= self.count:
            raise LookupError("there are no nodes")
        return self.names[number]

    def lookup_n(self, key, n):
        """The first n different nodes for the key, as a list: where its replicas go. lookup(key) is the first. Fewer
        when there are fewer nodes."""
        cdef uint64_t position = self.locate(key)
        if n < 0:
            raise ValueError(f"{n} nodes cannot be asked for")
        cdef uint32_t i, found, most = <uint32_t>min(n, self.count)
        cdef uint32_t[16] few
        cdef uint32_t *numbers = few
        if most > 16:
            numbers = <uint32_t *>malloc(most * sizeof(uint32_t))
            if numbers == NULL:
                raise MemoryError
        try:
            found = self.find_n(position, numbers, most)
            return [self.names[numbers[i]] for i in range(found)]
        finally:
            if numbers != few:
                free(numbers)

    def add(self, node, weight=1):
        """One more node. ValueError if it is there already."""
        nodes = self._current()
        name = encoded_name(node)
        if name in nodes:
            raise ValueError(f"{node!r} is there already")
        nodes[name] = (node, weight)
        self.put(nodes)

    def remove(self, node):
        """One node less. KeyError if it is not there."""
        nodes = self._current()
        if nodes.pop(encoded_name(node), None) is None:
            raise KeyError(node)
        self.put(nodes)

    def replace(self, nodes):
        """Other nodes or weights, at the cost of one change."""
        self.put(self._collect(nodes))

    @property
    def nodes(self):
        """The nodes and their weights, as a new dict, in the order they came."""
        return {name: self.weights[i] for i, name in enumerate(self.names)}

    def __len__(self):
        return self.count

    def __contains__(self, node):
        return isinstance(node, (str, bytes)) and encoded_name(node) in self.known

    def __iter__(self):
        return iter(list(self.names))

    def shares(self):
        """What part of all possible keys each node has; they sum up to 1."""
        cdef uint32_t i
        cdef double *shares = <double *>calloc(self.count + 1, sizeof(double))
        if shares == NULL:
            raise MemoryError
        try:
            self.measure(shares)
            return {self.names[i]: shares[i] for i in range(self.count)}
        finally:
            free(shares)

    def stats(self):
        """Size and evenness, as PlacementStats."""
        ratios = [share * self.weight_sum / self.weights[i] for i, share in enumerate(self.shares().values())]
        return PlacementStats(
            self.count, self.points(), self.table_bytes(), min(ratios, default=1.0), max(ratios, default=1.0)
        )

    def distribution(self, keys):
        """How many of these keys each node has, as a dict. RuntimeError if the nodes change meanwhile."""
        cdef uint32_t number
        cdef uint64_t version = self.version
        cdef list counts = [0] * self.count
        for key in keys:
            number = self.find(self.locate(key), NULL)
            if self.version != version:
                raise RuntimeError("the nodes changed while keys were counted")
            if number >= self.count:
                raise LookupError("there are no nodes")
            counts[number] += 1
        return dict(zip(self.names, counts))

    def __repr__(self):
        return f"<fastcore.hashing.{type(self).__name__} of {self.count} nodes>"


@cython.final
cdef class Ring(Placement):
    """Consistent hashing on a ring with virtual nodes. A node that comes or goes moves nothing but its own keys.

    points: how many points a node of weight 1 puts on the ring; shares are off by about 1 / sqrt(points) of themselves.
    Weights are whole numbers; all points together, the sum of weights times `points`, are at most POINTS_MAX.

    ketama=True places keys where libketama and the memcached clients that follow it do (uhashring, pylibmc, twemproxy):
    MD5, names of nodes as they are written there ("10.0.0.1:11211"); `points` and `key` then have no meaning.
    """

    def __cinit__(self, nodes=(), *, points=160, ketama=False, bytes key not None=bytes(16)):
        if not 1 <= points <= POINTS_MAX:
            raise ValueError(f"{points} points; it is 1 to {POINTS_MAX}")
        collected = self._collect(nodes)
        self.key = key_of(key)
        self.options.placement = FC_RING_KETAMA if ketama else FC_RING_SIPHASH
        self.options.points = points
        self.options.key = self.key
        self.put(collected)

    def __dealloc__(self):
        fc_ring_free(self.ring)

    cdef int build(self, list encoded, const double *weights, const uint64_t *ids, uint32_t n) except -1:
        cdef uint32_t i
        cdef bytes name
        cdef fc_ring *ring
        cdef fc_ring_node *nodes = <fc_ring_node *>calloc(n + 1, sizeof(fc_ring_node))
        if nodes == NULL:
            raise MemoryError
        try:
            for i in range(n):
                name = encoded[i]
                if len(name) > FC_RING_NAME_MAX:
                    raise ValueError(f"a node's name has {len(name)} bytes; there can be {FC_RING_NAME_MAX}")
                nodes[i].name = fc_slice(PyBytes_AS_STRING(name), len(name))
                nodes[i].weight = whole(weights[i], repr(name), 0x7FFFFFFF)
            points = fc_ring_points_for(&self.options, nodes, n)
            if points > POINTS_MAX:
                raise ValueError(f"the ring would have {points} points; there can be {POINTS_MAX}")
            ring = fc_ring_new(&self.options, nodes, n)
        finally:
            free(nodes)
        if ring == NULL:
            raise MemoryError
        fc_ring_free(self.ring)
        self.ring = ring
        return 0

    cdef uint64_t position(self, const char *key, size_t n) noexcept nogil:
        return fc_ring_position(self.ring, key, n)

    cdef uint32_t find(self, uint64_t position, const fc_bounded *bounds) noexcept nogil:
        cdef uint32_t number = fc_ring_find(self.ring, position, bounds)
        return number if number < self.count else self.count

    cdef uint32_t find_n(self, uint64_t position, uint32_t *out, uint32_t most) except? 0:
        return fc_ring_find_n(self.ring, position, out, most)

    cdef int measure(self, double *shares) except -1:
        fc_ring_shares(self.ring, shares)
        return 0

    cdef size_t points(self) noexcept:
        return fc_ring_points(self.ring)

    cdef size_t table_bytes(self) noexcept:
        return fc_ring_bytes(self.ring)

    def ring_points(self):
        """Every point as (position, node), in the order of the circle: 64-bit positions, 32-bit ones with ketama."""
        cdef uint32_t i, number = 0
        cdef uint64_t position
        cdef int shift = 32 if self.options.placement == FC_RING_KETAMA else 0
        found = []
        for i in range(fc_ring_points(self.ring)):
            position = fc_ring_point(self.ring, i, &number)
            found.append((position >> shift, self.names[number]))
        return found


cdef uint32_t ordered(const fc_rendezvous_nodes *nodes, uint64_t position, uint32_t without, uint32_t *out,
                      uint32_t most) except? 0xFFFFFFFF:
    cdef uint32_t i, found
    cdef fc_rendezvous_pick[16] few
    cdef fc_rendezvous_pick *picks = few
    if most > 16:
        picks = <fc_rendezvous_pick *>malloc(most * sizeof(fc_rendezvous_pick))
        if picks == NULL:
            raise MemoryError
    found = fc_rendezvous_find_n(nodes, position, without, picks, most)
    for i in range(found):
        out[i] = picks[i].node
    if picks != few:
        free(picks)
    return found


@cython.final
cdef class Rendezvous(Placement):
    """Highest random weight. Exact shares for any weights above 0, nothing but a node's own keys moves, and the
    runners-up (lookup_n) are spread as evenly; each lookup looks at every node, so for up to some hundred of them."""

    def __cinit__(self, nodes=(), *, bytes key not None=bytes(16)):
        collected = self._collect(nodes)
        self.key = key_of(key)
        self.put(collected)

    cdef int build(self, list encoded, const double *weights, const uint64_t *ids, uint32_t n) except -1:
        self.nodes_ = fc_rendezvous_nodes(ids, weights, n, all_equal(weights, n))
        return 0

    cdef uint32_t find(self, uint64_t position, const fc_bounded *bounds) noexcept nogil:
        return fc_rendezvous_find(&self.nodes_, position, bounds)

    cdef uint32_t find_n(self, uint64_t position, uint32_t *out, uint32_t most) except? 0:
        return ordered(&self.nodes_, position, self.count, out, most)


@cython.final
cdef class Maglev(Placement):
    """Maglev hashing: one look into a table, shares within 1 % or so; a node that comes or goes moves its own keys and
    up to some 1 % of the others. The further nodes of lookup_n come by rendezvous.

    slots: size of the table, a prime; 100 or more for each node. Fixed for good, as another size moves every key.
    Weights are whole numbers up to 65,535. A change takes milliseconds.
    """

    def __cinit__(self, nodes=(), *, slots=SLOTS, bytes key not None=bytes(16)):
        if not (0 < slots <= FC_MAGLEV_SLOTS_MAX and fc_maglev_size_ok(slots)):
            raise ValueError(f"{slots} slots; it is a prime from 3 to {FC_MAGLEV_SLOTS_MAX}")
        collected = self._collect(nodes)
        self.key = key_of(key)
        self.size = slots
        self.put(collected)

    def __dealloc__(self):
        free(self.table)

    cdef int build(self, list encoded, const double *weights, const uint64_t *ids, uint32_t n) except -1:
        cdef uint32_t i
        cdef uint16_t *table = <uint16_t *>malloc(self.size * sizeof(uint16_t))
        cdef fc_maglev_node *nodes = <fc_maglev_node *>calloc(n + 1, sizeof(fc_maglev_node))
        # Who wants a slot first depends on the order: that of the ids makes it the same for the same set of nodes.
        cdef list order = sorted(range(n), key=[ids[i] for i in range(n)].__getitem__)
        try:
            if table == NULL or nodes == NULL:
                raise MemoryError
            for i in range(n):
                nodes[i].id = ids[<uint32_t>order[i]]
                nodes[i].weight = whole(weights[<uint32_t>order[i]], repr(encoded[order[i]]), 65535)
            if fc_maglev_fill(table, self.size, nodes, n) != 0:
                raise MemoryError
            for i in range(self.size if n > 0 else 0):
                table[i] = <uint16_t><uint32_t>order[table[i]]
            table, self.table = self.table, table
        finally:
            free(nodes)
            free(table)
        self.others = fc_rendezvous_nodes(ids, weights, n, all_equal(weights, n))
        return 0

    cdef uint32_t find(self, uint64_t position, const fc_bounded *bounds) noexcept nogil:
        cdef uint32_t number = self.table[fc_maglev_slot(position, self.size)]
        if number == FC_MAGLEV_NONE:
            return self.count
        if bounds == NULL or fc_bounded_has_room(bounds, number):
            return number
        return fc_rendezvous_find(&self.others, position, bounds)

    cdef uint32_t find_n(self, uint64_t position, uint32_t *out, uint32_t most) except? 0:
        if most == 0:
            return 0
        out[0] = self.find(position, NULL)
        return 1 + ordered(&self.others, position, out[0], out + 1, most - 1)

    cdef int measure(self, double *shares) except -1:
        cdef uint32_t i
        for i in range(self.size if self.count > 0 else 0):
            shares[self.table[i]] += 1
        for i in range(self.count):
            shares[i] /= self.size
        return 0

    cdef size_t points(self) noexcept:
        return self.size

    cdef size_t table_bytes(self) noexcept:
        return self.size * sizeof(uint16_t)


@cython.final
cdef class Jump(Placement):
    """Jump consistent hashing over an ordered list of nodes: no table, exact shares, no weights. add() appends and
    moves keys to the new node alone; only the last node can be removed, anything else would move keys of the others."""

    def __cinit__(self, nodes=(), *, bytes key not None=bytes(16)):
        collected = self._collect(nodes)
        self.key = key_of(key)
        self.put(collected)

    cdef int build(self, list encoded, const double *weights, const uint64_t *ids, uint32_t n) except -1:
        cdef uint32_t i
        for i in range(n):
            if weights[i] != 1:
                raise ValueError(f"jump hashing has no weights; that of {encoded[i]!r} is {weights[i]}")
        return 0

    cdef uint32_t find(self, uint64_t position, const fc_bounded *bounds) noexcept nogil:
        return fc_jump(position, self.count) if self.count > 0 else 0

    cdef uint32_t find_n(self, uint64_t position, uint32_t *out, uint32_t most) except? 0:
        return fc_jump_n(position, self.count, out, most)

    cdef size_t table_bytes(self) noexcept:
        return 0

    def remove(self, node):
        """The last node less. KeyError if it is not there, ValueError if it is not the last."""
        name = encoded_name(node)
        if name not in self.known:
            raise KeyError(node)
        if self.known[name] != self.count - 1:
            raise ValueError(f"{node!r} is not the last node; jump hashing can let go of no other")
        Placement.remove(self, node)


# --- bounded loads ---------------------------------------------------------------------------------------------------

@cython.final
cdef class BoundedLoad:
    """Consistent hashing with bounded loads (Mirrokni et al. 2018) over a Ring, a Maglev table or Rendezvous.

    Counts what each node holds: acquire(key) answers the key's node unless that holds `factor` times its share of
    everything already, in which case it is the next one in the key's own order; release(node) gives back. factor: at
    least 1; 1.25 keeps most keys at home, 1 balances exactly. The placement may change at any time; what nodes that
    left still hold is remembered for their release and counts in no bound.
    """

    def __cinit__(self, Placement placement not None, factor=1.25):
        cdef double c = factor
        if isinstance(placement, Jump):
            raise TypeError("jump hashing has no second choice to spill over to; take Ring, Maglev or Rendezvous")
        if not (isfinite(c) and c >= 1):
            raise ValueError(f"the factor is {factor}; it is at least 1")
        self.bounds.factor = c
        self.known = {}
        self.gone = {}
        self.placement = placement
        self.version = placement.version - 1

    def __dealloc__(self):
        free(self.bounds.load)

    cdef int arrange(self) except -1:
        """Loads by the numbers that nodes have now."""
        cdef Placement placement = self.placement
        cdef uint64_t *loads
        cdef uint64_t total = 0
        if self.version == placement.version:
            return 0
        loads = <uint64_t *>calloc(placement.count + 1, sizeof(uint64_t))
        if loads == NULL:
            raise MemoryError
        held = dict(self.gone)
        for name, i in self.known.items():
            if self.bounds.load[<uint32_t>i] > 0:
                held[name] = self.bounds.load[<uint32_t>i]
        for name, i in placement.known.items():
            loads[<uint32_t>i] = held.pop(name, 0)
            total += loads[<uint32_t>i]
        free(self.bounds.load)
        self.bounds.load = loads
        self.bounds.total = total
        self.bounds.weight = placement.weights
        self.bounds.weights = placement.weight_sum
        self.known = placement.known
        self.gone = held
        self.version = placement.version
        return 0

    cdef uint32_t choose(self, object key) except? 0xFFFFFFFF:
        cdef uint64_t position = self.placement.locate(key)
        self.arrange()
        cdef uint32_t number = self.placement.find(position, &self.bounds)
        if number >= self.placement.count:
            raise LookupError("there are no nodes")
        return number

    def lookup(self, key):
        """The node that acquire(key) would answer now; nothing is counted."""
        return self.placement.names[self.choose(key)]

    def acquire(self, key):
        """The node for the key, which from now holds one more. LookupError when there are no nodes."""
        cdef uint32_t number = self.choose(key)
        fc_bounded_take(&self.bounds, number)
        return self.placement.names[number]

    def release(self, node):
        """The node holds one less. KeyError for a node that is not there and holds nothing, ValueError for one that
        holds nothing."""
        cdef uint32_t number
        self.arrange()
        name = encoded_name(node)
        if name in self.gone:
            self.gone[name] -= 1
            if self.gone[name] == 0:
                del self.gone[name]
            return
        if name not in self.known:
            raise KeyError(node)
        number = self.known[name]
        if self.bounds.load[number] == 0:
            raise ValueError(f"{node!r} holds nothing")
        fc_bounded_give_back(&self.bounds, number)

    def capacity(self, node):
        """What the node may hold once one more is held: ceil(factor * (total + 1) * its share by weight)."""
        self.arrange()
        name = encoded_name(node)
        if name not in self.known:
            raise KeyError(node)
        return int(fc_bounded_capacity(&self.bounds, self.known[name]))

    def load(self, node):
        """What the node holds. KeyError if it is not there and holds nothing."""
        self.arrange()
        name = encoded_name(node)
        if name in self.gone:
            return self.gone[name]
        if name not in self.known:
            raise KeyError(node)
        return self.bounds.load[<uint32_t>self.known[name]]

    def loads(self):
        """What each node of the placement holds, as a dict."""
        self.arrange()
        return {name: self.bounds.load[i] for i, name in enumerate(self.placement.names)}

    @property
    def factor(self):
        return self.bounds.factor

    @property
    def total(self):
        """What the nodes of the placement hold together."""
        self.arrange()
        return self.bounds.total

    def __repr__(self):
        return f"<fastcore.hashing.BoundedLoad of {self.total} over {self.placement!r}, factor {self.factor}>"
