/* fc/jump.h - jump consistent hashing (Lamping and Veach, "A fast, minimal memory, consistent hash algorithm", 2014).
 *
 * Maps a number to one of n buckets with no table at all: exact shares, and going from n to n + 1 moves 1 / (n + 1) of the
 * keys, all of them to the new bucket. The price: buckets are numbered, and only the last can go away.
 *
 * Thread and process safety: pure functions, the same answer on every machine (IEEE 754 division and multiplication).
 */
#ifndef FC_JUMP_H
#define FC_JUMP_H

#include "fc/base.h"
#include "fc/hash.h"

/* 0 to buckets - 1; buckets from 1 to 2^31. Some ln(buckets) steps. */
static inline uint32_t fc_jump(uint64_t key, uint32_t buckets)
{
    int64_t bucket = -1, next = 0;
    while (next < (int64_t)buckets) {
        bucket = next;
        key = key * 2862933555777941757ull + 1;
        next = (int64_t)((double)(bucket + 1) * (2147483648.0 / (double)((key >> 33) + 1)));
    }
    return (uint32_t)bucket;
}

#define FC_JUMP_N_MAX 65534u

/* For up to FC_JUMP_N_MAX buckets: `most` different ones, the first being fc_jump's, further ones by the key mixed anew:
 * so each of them also stays where it is when the number of buckets grows, but for what the new bucket takes. Returns how
 * many. All of n buckets take some n ln(n) draws; a bound of 16 n is kept by taking what is left in order. */
uint32_t fc_jump_n(uint64_t key, uint32_t buckets, uint32_t *out, uint32_t most);

#endif
