/* fc/rendezvous.h - highest random weight hashing (Thaler and Ravishankar 1996), with weights (Schindelhauer and Schomaker
 * 2005).
 *
 * Every node draws a number for the key; the highest score has it. Shares are exactly the weights', a node that comes or
 * goes moves nothing but its own keys, and the runners-up are as fairly spread as the first: the order for replicas. It
 * costs a look at every node, 1 to 2 ns each; the logarithm of a weighted score is taken only of draws that could win.
 *
 * Invariants
 *   1. The answer follows from key and the set of (id, weight): not from the order of nodes, as long as ids differ.
 *   2. With equal weights whole numbers are compared, so every machine agrees. With different ones log() of the C library
 *      is compared: libraries may differ in its last bit, which decides one key in some 10^15.
 *
 * Thread and process safety: pure functions.
 */
#ifndef FC_RENDEZVOUS_H
#define FC_RENDEZVOUS_H

#include <math.h>

#include "fc/bounded.h"
#include "fc/hash.h"

typedef struct fc_rendezvous_nodes {
    const uint64_t *id;   /* fc_hash of each name, under a key that all who must agree share */
    const double *weight; /* above 0 */
    uint32_t n;
    bool equal; /* all weights are the same */
} fc_rendezvous_nodes;

typedef struct fc_rendezvous_pick {
    double score;
    uint64_t draw;
    uint32_t node;
} fc_rendezvous_pick;

static inline uint64_t fc_rendezvous_draw(uint64_t key_hash, uint64_t id)
{
    return fc_hash_mix(key_hash ^ id);
}

/* The draw as a number u in (0, 1), never 0 or 1. */
static inline double fc_rendezvous_uniform(uint64_t draw)
{
    return ((double)(draw >> 11) + 0.5) * 0x1p-53;
}

/* -weight / ln(u): the chance to be the highest is the share of the weights. */
static inline double fc_rendezvous_score(uint64_t draw, double weight)
{
    return -weight / log(fc_rendezvous_uniform(draw));
}

/* The winner's number among those with room (bounds NULL: all). Nobody has room, or n is 0: n. */
uint32_t fc_rendezvous_find(const fc_rendezvous_nodes *nodes, uint64_t key_hash, const fc_bounded *bounds);

/* The first `most` of the order, best first, into out; `without`: a node to leave out, or n. Returns how many there are. */
uint32_t fc_rendezvous_find_n(const fc_rendezvous_nodes *nodes, uint64_t key_hash, uint32_t without,
                              fc_rendezvous_pick *out, uint32_t most);

#endif
