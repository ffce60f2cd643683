#include "fc/jump.h"

#include <string.h>

/* Whether it was not in the set, where it is now. */
static bool put(uint64_t *set, uint32_t bucket)
{
    uint64_t bit = 1ull << bucket % 64, *word = &set[bucket / 64];
    bool is_new = !(*word & bit);
    *word |= bit;
    return is_new;
}

uint32_t fc_jump_n(uint64_t key, uint32_t buckets, uint32_t *out, uint32_t most)
{
    uint64_t seen[(FC_JUMP_N_MAX + 63) / 64], stream = key;
    uint32_t count = 0, draws = 16 * buckets;
    memset(seen, 0, (buckets + 63) / 64 * sizeof *seen);
    if (most > buckets)
        most = buckets;
    for (; count < most && draws > 0; draws--, key = fc_hash_next(&stream)) {
        uint32_t bucket = fc_jump(key, buckets);
        if (put(seen, bucket))
            out[count++] = bucket;
    }
    for (uint32_t bucket = 0; count < most; bucket++)
        if (put(seen, bucket))
            out[count++] = bucket;
    return count;
}
