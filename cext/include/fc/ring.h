/* fc/ring.h - the ring of consistent hashing (Karger et al. 1997): nodes put points on a circle, a key belongs to the node
 * of the next point clockwise.
 *
 * Two ways to place the points:
 *   FC_RING_SIPHASH  64-bit positions, keyed hash of keys and names, `points` x weight points for a node. A node that
 *                    comes or goes moves nothing but its own keys.
 *   FC_RING_KETAMA   libketama's (and uhashring's): MD5, 32-bit positions, names "<node>-<i>", four points of each digest,
 *                    40 x n x weight / sum of weights digests for one of n nodes. For agreeing with memcached clients.
 *                    With unequal weights a node that comes or goes changes the number of everybody's points a little.
 *
 * A ring is made once and only read; another set of nodes is another ring. An index by the top bits of the position
 * leaves one or two points to look at, so finding takes the same time with 10 nodes and 10,000 (a binary search over
 * 160,000 points lost: 17 steps, most of them mispredicted). 20 bytes a point.
 *
 * How even: with k points a node of average weight, a node's share is off by some 1 / sqrt(k) of itself (standard
 * deviation): 8 % at 160 points, 3 % at 1,000.
 *
 * Invariants
 *   1. The ring follows from the set of (name, weight), the placement, `points` and the key: not from the order of nodes.
 *      Two nodes with a point at the same position: the name that sorts first (as bytes) has it.
 *   2. fc_ring_find answers a node of the ring; fc_ring_find_n as many different ones as asked for and present.
 *
 * Thread and process safety: a ring is immutable; read it from anywhere.
 */
#ifndef FC_RING_H
#define FC_RING_H

#include "fc/base.h"
#include "fc/bounded.h"
#include "fc/hash.h"

#define FC_RING_NODES_MAX 65534u
/* 80 MB; 10,000 nodes with 400 points each */
#define FC_RING_POINTS_MAX (1u << 22)
#define FC_RING_NAME_MAX 1024u
#define FC_RING_NONE UINT32_MAX

typedef enum fc_ring_placement {
    FC_RING_SIPHASH = 0,
    FC_RING_KETAMA,
    FC_RING_PLACEMENT_COUNT
} fc_ring_placement;

typedef struct fc_ring_options {
    fc_ring_placement placement;
    uint32_t points; /* SIPHASH: of a node of weight 1 */
    fc_hash_key key; /* SIPHASH: shared by all who must agree; fixed, or random if keys come from strangers */
} fc_ring_options;

typedef struct fc_ring_node {
    fc_slice name; /* up to FC_RING_NAME_MAX bytes; no two alike */
    uint32_t weight;
} fc_ring_node;

typedef struct fc_ring fc_ring;

/* How many points these nodes would have. */
uint64_t fc_ring_points_for(const fc_ring_options *options, const fc_ring_node *nodes, uint32_t n);

/* NULL: no memory, or something out of its bounds (n, points, a name too long, two names alike). Names are not kept. */
fc_ring *fc_ring_new(const fc_ring_options *options, const fc_ring_node *nodes, uint32_t n);
void fc_ring_free(fc_ring *ring);

/* Where on the circle a key lies. */
uint64_t fc_ring_position(const fc_ring *ring, const char *key, size_t n);

/* The number of the node, FC_RING_NONE when nobody has points (or, with bounds, room: bounds NULL means no bounds). */
uint32_t fc_ring_find(const fc_ring *ring, uint64_t position, const fc_bounded *bounds);

/* Up to `most` different nodes in the order of the circle; returns how many. */
uint32_t fc_ring_find_n(const fc_ring *ring, uint64_t position, uint32_t *out, uint32_t most);

uint32_t fc_ring_points(const fc_ring *ring);
/* Position (KETAMA: in the upper 32 bits) and node of point i, in ascending order. */
uint64_t fc_ring_point(const fc_ring *ring, uint32_t i, uint32_t *node);
size_t fc_ring_bytes(const fc_ring *ring);
/* What part of the circle each of the n nodes has; they sum up to 1 unless there are no points. */
void fc_ring_shares(const fc_ring *ring, double *shares);

#endif
