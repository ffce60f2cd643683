/* fc/grow.h - a byte string that grows by doubling, up to a bound.
 *
 * For what must be gathered before it can be used: a message that came in pieces, the output of a compressor. It grows
 * with what has arrived and never with what a peer announced, so an announcement costs nothing.
 *
 * Invariants
 *   1. len <= cap <= max.
 *   2. After a failure everything is as before.
 *
 * Thread safety: one owner.
 */
#ifndef FC_GROW_H
#define FC_GROW_H

#include <stdlib.h>
#include <string.h>

#include "fc/base.h"

typedef struct fc_grow {
    char *p;
    size_t len, cap, max;
} fc_grow;

#define FC_GROW_FIRST 256u /* bytes of the first allocation */

static inline void fc_grow_init(fc_grow *g, size_t max)
{
    *g = (fc_grow){.max = max};
}

/* Room for n more bytes behind p + len. False: over the bound, or no memory. */
static inline bool fc_grow_room(fc_grow *g, size_t n)
{
    if (FC_LIKELY(n <= g->cap - g->len))
        return true;
    if (n > g->max - g->len)
        return false;
    size_t cap = g->cap > FC_GROW_FIRST / 2 ? g->cap : FC_GROW_FIRST / 2;
    do
        cap = cap > g->max / 2 ? g->max : cap * 2;
    while (cap - g->len < n);
    char *p = realloc(g->p, cap);
    if (p == NULL)
        return false;
    g->p = p;
    g->cap = cap;
    return true;
}

static inline bool fc_grow_add(fc_grow *g, const char *p, size_t n)
{
    if (!fc_grow_room(g, n))
        return false;
    if (n)
        memcpy(g->p + g->len, p, n);
    g->len += n;
    return true;
}

/* Empty it; more than `keep` bytes of memory go back. */
static inline void fc_grow_reset(fc_grow *g, size_t keep)
{
    g->len = 0;
    if (g->cap > keep) {
        free(g->p);
        g->p = NULL;
        g->cap = 0;
    }
}

#endif
