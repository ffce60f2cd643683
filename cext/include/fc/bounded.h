/* fc/bounded.h - a bound on what each node holds (Mirrokni, Thorup, Zadimoghaddam: "Consistent hashing with bounded loads",
 * SODA 2018), for the finders of fc/ring.h and fc/rendezvous.h.
 *
 * With factor c >= 1 a node takes one more only while it holds less than c times its share by weight of everything held,
 * the newcomer included, rounded up. So somebody always has room, hot keys spill over to the next node of their own
 * order, and everything stays where plain hashing would put it while nothing is hot.
 *
 * Invariants
 *   1. Right after fc_bounded_take(b, i) with fc_bounded_has_room(b, i) before it, node i holds no more than
 *      ceil(c x total x weight / weights). Giving back may leave others above their bound; then they take nothing more.
 *   2. Counts never go below 0.
 *
 * Thread and process safety: one owner.
 */
#ifndef FC_BOUNDED_H
#define FC_BOUNDED_H

#include <math.h>

#include "fc/base.h"

typedef struct fc_bounded {
    double factor;         /* at least 1 */
    double weights;        /* their sum */
    const double *weight;  /* of each node, above 0 */
    uint64_t *load;        /* what each node holds */
    uint64_t total;        /* the sum of that */
} fc_bounded;

/* What node i may hold once one more is held. */
static inline double fc_bounded_capacity(const fc_bounded *b, uint32_t i)
{
    return ceil(b->factor * ((double)b->total + 1) * b->weight[i] / b->weights);
}

static inline bool fc_bounded_has_room(const fc_bounded *b, uint32_t i)
{
    return (double)b->load[i] < fc_bounded_capacity(b, i);
}

static inline void fc_bounded_take(fc_bounded *b, uint32_t i)
{
    b->load[i]++;
    b->total++;
}

static inline void fc_bounded_give_back(fc_bounded *b, uint32_t i)
{
    if (b->load[i] > 0) {
        b->load[i]--;
        b->total--;
    }
}

#endif
