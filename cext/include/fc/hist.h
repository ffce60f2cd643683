/* fc/hist.h - a log-linear histogram over uint64 cells that somebody else owns.
 *
 * The range is cut into octaves and each octave into 2^sub equal buckets, so that a quantile read back is at most
 * 2^-sub too high (the idea of HdrHistogram, Gil Tene). Cells are plain 64-bit words laid out
 *     [0] count, [1] sum, [2 .. 2 + buckets) bucket counts
 * so one histogram can live in a shared-memory row written by one process and read by others.
 *
 * Buckets, with base = max(min_log2, sub):
 *     [0, 2^sub)   values below 2^base, in steps of 2^(base - sub): the "linear" start, absolute instead of relative error
 *     then         2^sub buckets for each octave [2^e, 2^(e+1)), base <= e < max_log2
 *     last         2^max_log2 and more; a bucket of its own, so that no finite edge claims values it did not see
 *
 * Invariants
 *  1. One writer per row of cells. Writes and reads are relaxed atomics: no torn word, no lock prefix, and the same
 *     instructions as plain C on 64-bit machines.
 *  2. A reader may meet a record half done (bucket counted, sum not yet). Whoever needs count and buckets to agree adds
 *     the buckets up; each word on its own never goes backwards.
 *  3. Index and record are inline: with a constant layout the compiler folds everything but a clz, two shifts, an add
 *     and a min, then three adds to memory.
 */
#ifndef FC_HIST_H
#define FC_HIST_H

#include "fc/base.h"

typedef struct fc_hist_layout {
    uint8_t sub;      /* log2 of buckets per octave: 0..6 */
    uint8_t min_log2; /* values below 2^min_log2 share the linear buckets at the start */
    uint8_t max_log2; /* values of 2^max_log2 and more are counted in the last bucket; above both others, at most 63 */
} fc_hist_layout;

/* Latency in microseconds: 1 us .. 67 s, 4 buckets an octave (error <= 25 %, exported per octave). */
#define FC_HIST_LATENCY_US ((fc_hist_layout){.sub = 2, .min_log2 = 0, .max_log2 = 26})
/* Sizes in bytes: 64 B .. 4 GB, 2 buckets an octave. */
#define FC_HIST_SIZE_BYTES ((fc_hist_layout){.sub = 1, .min_log2 = 6, .max_log2 = 32})

#define FC_HIST_COUNT 0
#define FC_HIST_SUM 1
#define FC_HIST_FIRST 2

static inline int fc_hist_valid(fc_hist_layout l)
{
    return l.sub <= 6 && l.max_log2 <= 63 && l.min_log2 < l.max_log2 && l.sub < l.max_log2;
}

static inline uint32_t fc_hist_base(fc_hist_layout l) { return l.min_log2 > l.sub ? l.min_log2 : l.sub; }

static inline uint32_t fc_hist_buckets(fc_hist_layout l) { return ((l.max_log2 - fc_hist_base(l) + 1u) << l.sub) + 1; }

static inline uint32_t fc_hist_cells(fc_hist_layout l) { return fc_hist_buckets(l) + FC_HIST_FIRST; }

/* Or-ing in 2^base gives small values the octave `base`; shifted by it they land in [0, 2^sub) without a branch. */
static inline uint32_t fc_hist_index(fc_hist_layout l, uint64_t value)
{
    uint32_t base = fc_hist_base(l), last = fc_hist_buckets(l) - 1;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(value | 1ull << base);
    uint32_t i = ((octave - base) << l.sub) + (uint32_t)(value >> (octave - l.sub));
    return i < last ? i : last;
}

static inline void fc_hist_bump(uint64_t *cell, uint64_t n)
{
    __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void fc_hist_record(fc_hist_layout l, uint64_t *cells, uint64_t value)
{
    fc_hist_bump(&cells[FC_HIST_COUNT], 1);
    fc_hist_bump(&cells[FC_HIST_SUM], value);
    fc_hist_bump(&cells[FC_HIST_FIRST + fc_hist_index(l, value)], 1);
}

/* Smallest value that falls into bucket i; fc_hist_floor(l, i + 1) - 1 is the largest. For i = buckets (one past the
 * last) the answer is 0, which is 2^64 in 64 bits, so that the rule holds for the last bucket too. */
uint64_t fc_hist_floor(fc_hist_layout l, uint32_t i);

/* Value at quantile q (clamped to 0..1): upper edge (inclusive) of the bucket holding the value of rank ceil(q * count),
 * 0 when empty. In the last bucket, which has no upper edge, the answer is 2^max_log2, to be read as "or more".
 * The count is taken from the buckets, so a half-recorded value cannot push the rank past the end. */
uint64_t fc_hist_quantile(fc_hist_layout l, const uint64_t *cells, double q);

#endif
