# Hashing for other compiled modules. Placing keys without touching Python objects:
#     number = placement.find(placement.position(key, length), NULL)
#     node = placement.names[number]
# where the number is len(placement) if there is no node. Numbers are those of placement.names and hold until `version`
# changes. keyed() and crc() are the module's own copies of fc_hash and fc_crc32c: nothing of ours needs to be linked.
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n


cdef extern from "fc/hash.h" nogil:
    ctypedef struct fc_hash_key:
        uint64_t k0
        uint64_t k1
    uint64_t fc_hash(const fc_hash_key *key, const void *p, size_t n)


cdef extern from "fc/crc32c.h" nogil:
    uint32_t fc_crc32c(uint32_t crc, const void *p, size_t n)
    uint32_t fc_crc32c_mask(uint32_t crc)
    uint32_t fc_crc32c_unmask(uint32_t masked)


cdef extern from "fc/crc16.h" nogil:
    uint16_t fc_crc16(uint16_t crc, const void *p, size_t n)
    uint32_t fc_crc16_slot(const char *key, size_t n)


cdef extern from "fc/bounded.h" nogil:
    ctypedef struct fc_bounded:
        double factor
        double weights
        const double *weight
        uint64_t *load
        uint64_t total
    bint fc_bounded_has_room(const fc_bounded *b, uint32_t i)
    double fc_bounded_capacity(const fc_bounded *b, uint32_t i)
    void fc_bounded_take(fc_bounded *b, uint32_t i)
    void fc_bounded_give_back(fc_bounded *b, uint32_t i)


cdef extern from "fc/rendezvous.h" nogil:
    ctypedef struct fc_rendezvous_nodes:
        const uint64_t *id
        const double *weight
        uint32_t n
        bint equal
    ctypedef struct fc_rendezvous_pick:
        uint32_t node
    uint32_t fc_rendezvous_find(const fc_rendezvous_nodes *nodes, uint64_t key_hash, const fc_bounded *bounds)
    uint32_t fc_rendezvous_find_n(const fc_rendezvous_nodes *nodes, uint64_t key_hash, uint32_t without,
                                  fc_rendezvous_pick *out, uint32_t most)


cdef extern from "fc/maglev.h" nogil:
    enum:
        FC_MAGLEV_NONE
        FC_MAGLEV_SLOTS
        FC_MAGLEV_SLOTS_MAX
    ctypedef struct fc_maglev_node:
        uint32_t weight
        uint64_t id
    bint fc_maglev_size_ok(uint32_t size)
    int fc_maglev_fill(uint16_t *slots, uint32_t size, const fc_maglev_node *nodes, uint32_t n)
    uint32_t fc_maglev_slot(uint64_t key_hash, uint32_t size)


cdef extern from "fc/jump.h" nogil:
    uint32_t fc_jump(uint64_t key, uint32_t buckets)
    uint32_t fc_jump_n(uint64_t key, uint32_t buckets, uint32_t *out, uint32_t most)


cdef extern from "fc/ring.h" nogil:
    enum:
        FC_RING_NODES_MAX
        FC_RING_POINTS_MAX
        FC_RING_NAME_MAX
    ctypedef enum fc_ring_placement:
        FC_RING_SIPHASH
        FC_RING_KETAMA
    ctypedef struct fc_ring_options:
        fc_ring_placement placement
        uint32_t points
        fc_hash_key key
    ctypedef struct fc_ring_node:
        fc_slice name
        uint32_t weight
    ctypedef struct fc_ring:
        pass
    uint64_t fc_ring_points_for(const fc_ring_options *options, const fc_ring_node *nodes, uint32_t n)
    fc_ring *fc_ring_new(const fc_ring_options *options, const fc_ring_node *nodes, uint32_t n)
    void fc_ring_free(fc_ring *ring)
    uint64_t fc_ring_position(const fc_ring *ring, const char *key, size_t n)
    uint32_t fc_ring_find(const fc_ring *ring, uint64_t position, const fc_bounded *bounds)
    uint32_t fc_ring_find_n(const fc_ring *ring, uint64_t position, uint32_t *out, uint32_t most)
    uint32_t fc_ring_points(const fc_ring *ring)
    uint64_t fc_ring_point(const fc_ring *ring, uint32_t i, uint32_t *node)
    size_t fc_ring_bytes(const fc_ring *ring)
    void fc_ring_shares(const fc_ring *ring, double *shares)


# The 16 bytes of a Python key as the two words the C functions want; ValueError otherwise.
cdef fc_hash_key key_of(bytes key) except *
cdef uint64_t keyed(const fc_hash_key *key, const char *p, size_t n) noexcept nogil
cdef uint32_t crc(uint32_t value, const char *p, size_t n) noexcept nogil


cdef class Placement:
    cdef readonly uint64_t version  # goes up with every change of the nodes
    cdef list names                 # of the nodes, as they were given
    cdef dict known                 # name as bytes -> number
    cdef fc_hash_key key
    cdef uint64_t *ids              # keyed hash of each name
    cdef double *weights
    cdef double weight_sum
    cdef uint32_t count

    # Where a key lies, and which node has it: its number or, when there is none (or none with room), `count`.
    cdef uint64_t position(self, const char *key, size_t n) noexcept nogil
    cdef uint32_t find(self, uint64_t position, const fc_bounded *bounds) noexcept nogil
    # The numbers of up to `most` (at most `count`) different nodes into out; how many.
    cdef uint32_t find_n(self, uint64_t position, uint32_t *out, uint32_t most) except? 0
    cdef int measure(self, double *shares) except -1
    cdef size_t points(self) noexcept
    cdef size_t table_bytes(self) noexcept
    # Makes the lookup structure of these nodes and only then gives up the old one.
    cdef int build(self, list encoded, const double *weights, const uint64_t *ids, uint32_t n) except -1
    cdef int put(self, dict nodes) except -1
    cdef uint64_t locate(self, object key) except? 0


cdef class Ring(Placement):
    cdef fc_ring *ring
    cdef fc_ring_options options


cdef class Rendezvous(Placement):
    cdef fc_rendezvous_nodes nodes_


cdef class Maglev(Placement):
    cdef uint16_t *table
    cdef uint32_t size
    cdef fc_rendezvous_nodes others  # who has a key when the table's choice may not


cdef class Jump(Placement):
    pass


cdef class BoundedLoad:
    cdef readonly Placement placement
    cdef fc_bounded bounds
    cdef dict known      # the placement's, when the loads were last arranged by its numbers
    cdef dict gone       # name as bytes -> what nodes that left still hold
    cdef uint64_t version
    cdef int arrange(self) except -1
    cdef uint32_t choose(self, object key) except? 0xFFFFFFFF
