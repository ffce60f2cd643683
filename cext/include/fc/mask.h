/* fc/mask.h - the exclusive-or of WebSocket payloads (RFC 6455 5.3), at the speed of memory.
 *
 * The vector code works on any alignment with unaligned loads: on processors of the last ten years they cost the same
 * as aligned ones except where they cross a cache line, so a loop that first walks to an aligned address (the usual
 * older way) only adds branches to short frames.
 *
 * Resumption: a key is four bytes that lie in memory as in the frame. After n bytes the next piece needs the key turned
 * by n, so who masks in pieces keeps the turned key and no offset.
 *
 * Invariants
 *   1. No byte outside dst[0..n) is written and none outside src[0..n) is read.
 *   2. All levels give equal bytes; the tests and fuzzers compare them.
 *   3. dst is src, or the two do not overlap.
 *
 * Thread safety: pure functions.
 */
#ifndef FC_MASK_H
#define FC_MASK_H

#include "fc/base.h"

typedef enum fc_mask_level { FC_MASK_PLAIN, FC_MASK_SSE2, FC_MASK_AVX2, FC_MASK_AVX512 } fc_mask_level;

/* The best level this processor has. */
fc_mask_level fc_mask_best(void);

/* dst[i] = src[i] ^ byte (i mod 4) of key. */
void fc_mask(char *dst, const char *src, size_t n, uint32_t key, fc_mask_level level);

/* The key for what follows n bytes. */
static inline uint32_t fc_mask_turn(uint32_t key, uint64_t n)
{
    unsigned bits = (unsigned)(n & 3) * 8;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return key >> bits | key << (-bits & 31);
#else
    return key << bits | key >> (-bits & 31);
#endif
}

#endif
