/* fc/outlier.h - a target that fails more than it should is left out for a while (outlier ejection, passive health).
 *
 * By failures in a row, as they happen; and by the share of failures in an interval, which finds the target that fails
 * every second request. That share is compared with a fixed bound, not with the other targets' mean and deviation as in
 * Envoy: with fewer than five targets a deviation of 1.9 sigma ejects nobody, whatever the failures.
 *
 * One word a target, zero for one that never failed; pure functions, shared by compare-and-swap:
 *   bits  0..7   ejections not yet forgotten
 *         8..21  failures in a row
 *        22..63  ms: ejected until
 * An ejection lasts eject_ms, twice that the next time, up to eject_max_ms. One ejection is forgotten for each eject_ms
 * that the target was in use since the last one ended.
 *
 * Invariants
 *   1. It ends by time alone: no process has to live to take the target back.
 *   2. What comes in from an ejected target (requests that were under way) changes nothing.
 *   3. Whether one more may be ejected at all is the caller's to decide (fc_outlier_places).
 */
#ifndef FC_OUTLIER_H
#define FC_OUTLIER_H

#include "fc/breaker.h"

#define FC_OUTLIER_FAILURES_MAX 16383u

typedef struct fc_outlier_settings {
    uint32_t failures;    /* in a row; 0: these do not eject */
    uint32_t percent;     /* of failures in an interval; 0: this does not eject */
    uint32_t volume;      /* requests to a target in the interval for that */
    uint32_t interval_ms;
    uint32_t eject_ms, eject_max_ms;
    uint32_t max_percent; /* of the targets that may be ejected at one time */
} fc_outlier_settings;

static inline bool fc_outlier_used(const fc_outlier_settings *s) { return s->failures || s->percent; }

static inline uint64_t fc_outlier_until_ms(uint64_t word) { return word >> 22; }
static inline bool fc_outlier_ejected(uint64_t word, uint64_t now_ms) { return now_ms < fc_outlier_until_ms(word); }

/* The word after a request; whether it now deserves to be ejected is fc_outlier_deserves. */
uint64_t fc_outlier_told(uint64_t word, uint64_t now_ms, bool failed);
bool fc_outlier_deserves(const fc_outlier_settings *s, uint64_t word, uint64_t now_ms);
/* The word of the target ejected now; as it was if it is ejected already. */
uint64_t fc_outlier_eject(const fc_outlier_settings *s, uint64_t word, uint64_t now_ms);
/* How many of so many targets may be ejected: rounded down, so one of a pair at 50 %, and a lone target only at 100 %. */
uint32_t fc_outlier_places(const fc_outlier_settings *s, uint32_t targets);

/* Counts of an interval in one word: requests in the upper half, failures in the lower. */
static inline uint64_t fc_outlier_count(bool failed) { return 1ull << 32 | failed; }
bool fc_outlier_rate_deserves(const fc_outlier_settings *s, uint64_t counts);

#endif
