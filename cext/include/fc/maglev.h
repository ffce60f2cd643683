/* fc/maglev.h - the lookup table of Maglev hashing (Eisenbud et al., NSDI 2016, 3.4), with weights.
 *
 * Nodes take turns claiming slots of a table, each in an order of its own; a key's slot names its node. One memory access
 * a lookup and shares within 1 % or so of what is due, for a table of 100 slots a node; a node that comes or goes moves its
 * own share and under 1 % of the other keys. Whoever wants no other key moved takes fc/ring.h or fc/rendezvous.h.
 *
 * Invariants
 *   1. The table follows from size, ids and weights alone; the order of the nodes matters only where two want one slot
 *      in the same turn, so callers that must agree sort them (by id, say).
 *   2. Every slot holds a node of non-zero weight, or FC_MAGLEV_NONE if there is none.
 *
 * Thread and process safety: pure functions.
 */
#ifndef FC_MAGLEV_H
#define FC_MAGLEV_H

#include "fc/base.h"
#include "fc/hash.h"

#define FC_MAGLEV_NONE UINT16_MAX
#define FC_MAGLEV_NODES_MAX 65534u
/* The paper's smaller size: 100 slots a node up to 655 nodes. 128 KB. A size that grew with the number of nodes would move
 * every key each time it grew, hence one constant for who has no better knowledge. */
#define FC_MAGLEV_SLOTS 65537u
/* 32 MB; 100 slots for each of the most nodes there can be are 6.6 million. */
#define FC_MAGLEV_SLOTS_MAX 16777213u

typedef struct fc_maglev_node {
    uint32_t weight; /* 0: takes nothing */
    uint64_t id;     /* fc_hash of its name, under a key that all who must agree share */
} fc_maglev_node;

/* A prime from 3 to FC_MAGLEV_SLOTS_MAX: otherwise a node's order would not pass every slot. */
bool fc_maglev_size_ok(uint32_t size);

/* Fill `size` slots (a size that is ok; n up to FC_MAGLEV_NODES_MAX). 0, or -1 without memory. Takes 3 ms for 65,537 slots
 * and 1,024 nodes, up to 100 times that when one node has 65,535 times the weight of the rest. */
int fc_maglev_fill(uint16_t *slots, uint32_t size, const fc_maglev_node *nodes, uint32_t n);

static inline uint32_t fc_maglev_slot(uint64_t key_hash, uint32_t size)
{
    return (uint32_t)(fc_hash_mix(key_hash) % size);
}

#endif
