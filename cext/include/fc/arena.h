/* fc/arena.h - a bump arena: many small allocations that die together.
 *
 * For things built once and then only read (a route table). There is no free of one allocation and no move: a pointer
 * stays good until fc_arena_free. Thread safety: one owner.
 *
 * Invariants
 *   1. Every allocation is aligned to 16 bytes and zeroed.
 *   2. The bytes asked of malloc never exceed `max`; past it, and when malloc fails, the answer is NULL and the arena is
 *      as before.
 */
#ifndef FC_ARENA_H
#define FC_ARENA_H

#include "fc/base.h"

typedef struct fc_arena {
    struct fc_arena_chunk *chunks;
    size_t used;  /* bytes used of the newest chunk */
    size_t bytes; /* taken from malloc so far */
    size_t max;
} fc_arena;

void fc_arena_init(fc_arena *a, size_t max);
void *fc_arena_alloc(fc_arena *a, size_t n);
/* n items of `size` bytes; NULL too when the product does not fit. */
void *fc_arena_array(fc_arena *a, size_t n, size_t size);
/* A copy of p[0..n) followed by a NUL that is not counted. */
char *fc_arena_copy(fc_arena *a, const char *p, size_t n);
void fc_arena_free(fc_arena *a);

#endif
