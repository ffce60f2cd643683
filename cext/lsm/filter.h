/* filter.h - a Bloom filter whose bits for one key all lie in one cache line (Putze et al., "Cache-, hash- and
 * space-efficient Bloom filters", 2007): one miss instead of six, for a false positive rate of 0.95 % instead of 0.8 %
 * at 10 bits a key (measured; cext/test/test_table.c holds it to 1.3 %). Private to cext/lsm.
 *
 * Bytes: lines of 64, then one byte, the number of probes. A hash chooses the line by its upper half; mixed, it gives
 * nine bits for each probe.
 */
#ifndef FC_LSM_FILTER_H
#define FC_LSM_FILTER_H

#include "fc/hash.h"

#define FILTER_LINE 64u
#define FILTER_PROBES_MAX 7u

static inline size_t filter_bytes(uint64_t keys, uint32_t bits)
{
    return (size_t)((keys * bits + FILTER_LINE * 8 - 1) / (FILTER_LINE * 8)) * FILTER_LINE + 1;
}

static inline unsigned filter_probes(uint32_t bits)
{
    unsigned probes = bits * 6 / 10; /* less than the optimum ln 2 of a plain filter: lines are filled unevenly */
    return probes < 1 ? 1 : probes > FILTER_PROBES_MAX ? FILTER_PROBES_MAX : probes;
}

/* Number of bytes before the line of a hash. */
static inline size_t filter_line(size_t n, uint64_t hash)
{
    return (size_t)((hash >> 32) * (uint64_t)((n - 1) / FILTER_LINE) >> 32) * FILTER_LINE;
}

/* REQUIRES: out[0..n) zeroed, n from filter_bytes, not 1. */
static inline void filter_build(char *out, size_t n, uint32_t bits, const uint64_t *hashes, uint64_t keys)
{
    unsigned probes = filter_probes(bits);
    out[n - 1] = (char)probes;
    for (uint64_t i = 0; i < keys; i++) {
        char *line = out + filter_line(n, hashes[i]);
        uint64_t draw = fc_hash_mix(hashes[i]);
        for (unsigned k = 0; k < probes; k++, draw >>= 9)
            line[(draw & 511) / 8] |= (char)(1 << (draw & 7));
    }
}

/* Whether p[0..n) is such a filter at all. */
static inline bool filter_is(const char *p, size_t n)
{
    return n > FILTER_LINE && n % FILTER_LINE == 1 && (uint8_t)p[n - 1] >= 1 && (uint8_t)p[n - 1] <= FILTER_PROBES_MAX;
}

static inline bool filter_may_have(const char *p, size_t n, uint64_t hash)
{
    const char *line = p + filter_line(n, hash);
    uint64_t draw = fc_hash_mix(hash);
    for (unsigned k = (uint8_t)p[n - 1]; k > 0; k--, draw >>= 9)
        if (!((uint8_t)line[(draw & 511) / 8] >> (draw & 7) & 1))
            return false;
    return true;
}

#endif
