/* fc/gcra.h - the generic cell rate algorithm: is one more request within the limit, decided from one 64-bit word.
 *
 * The word is the theoretical arrival time (TAT) in ns: when the bucket will be full again. A request of cost n needs n
 * intervals; it conforms if TAT, moved on by them, is at most `span` (the time of `burst` units) ahead of now. It is
 * the virtual scheduling form of ITU-T I.371 annex A, which is a token bucket without a refill step: a word in the past
 * says that nothing was used, so it need not be kept.
 *
 * Exactness. All is integer. One unit takes `interval`, rounded up to whole ns, so the rate is never above the one
 * asked for, and below it by at most 1 ns in an interval of 1 us or more (0.1 %, or nothing where period / rate is
 * whole). Shorter intervals (over a million units a second) that are not whole are kept in 2^-32 ns, and the charge of
 * a request, not of a unit, is rounded up: what is counted in bytes stays exact. In any stretch of t ns the units
 * admitted are at most burst + t / interval.
 *
 * Invariants
 *   1. Pure: no clock, no memory but the arguments. Equal arguments give equal answers in every process.
 *   2. Only an admitted request of cost 1 or more moves the word, and always forward, to more than now; but see 4.
 *   3. Nothing overflows: now is below FC_GCRA_TIME_MAX, span at most that, so a word is below 2^63.
 *   4. A word further ahead of now than span + back_ns was made by a later clock: it is answered as a bucket used up
 *      just now, and the new word says so. Without this a step backwards of the clock would refuse the key for as long
 *      as the step. Up to back_ns the word is believed: processes read the clock and act a little later, in any order.
 *
 * Thread and process safety: pure functions.
 */
#ifndef FC_GCRA_H
#define FC_GCRA_H

#include "fc/base.h"

#define FC_GCRA_TIME_MAX (1ull << 62) /* ns: 146 years; wall clocks reach it in 2116 */
#define FC_GCRA_NEVER UINT64_MAX
#define FC_GCRA_FINE_NS 1000u /* intervals shorter than this may have a fraction */
#define FC_GCRA_FINE_BITS 32u
#define FC_GCRA_BACK_NS 60000000000ull /* nginx's limit_req believes the same minute */

typedef struct fc_gcra {
    uint64_t interval; /* of one unit: ns, times 2^shift */
    uint64_t span;     /* of `burst` units, ns */
    uint64_t burst;    /* most units at once */
    uint64_t back_ns;  /* invariant 4; UINT64_MAX: the clock never steps */
    uint32_t shift;    /* 0 or FC_GCRA_FINE_BITS */
} fc_gcra;

typedef struct fc_gcra_answer {
    uint64_t limit;     /* burst */
    uint64_t remaining; /* units that would be admitted now, after this request */
    uint64_t retry_ns;  /* 0 when admitted; FC_GCRA_NEVER when the cost is above the limit */
    uint64_t reset_ns;  /* until all of the limit is there again */
    bool allowed;
    bool stepped; /* invariant 4 applied */
} fc_gcra_answer;

/* `rate` units each `period_ns`, at most `burst` at once. False: one of them is 0, or the time of `burst` units or the
 * period is above FC_GCRA_TIME_MAX. */
static inline bool fc_gcra_init(fc_gcra *q, uint64_t rate, uint64_t period_ns, uint64_t burst)
{
    if (rate == 0 || burst == 0 || period_ns == 0 || period_ns > FC_GCRA_TIME_MAX)
        return false;
    uint32_t shift = period_ns % rate != 0 && period_ns / rate < FC_GCRA_FINE_NS ? FC_GCRA_FINE_BITS : 0;
    uint64_t interval = (uint64_t)((((unsigned __int128)period_ns << shift) + rate - 1) / rate);
    unsigned __int128 span = ((unsigned __int128)burst * interval + (1ull << shift) - 1) >> shift;
    if (span > FC_GCRA_TIME_MAX)
        return false;
    *q = (fc_gcra){
        .interval = interval, .span = (uint64_t)span, .burst = burst, .back_ns = FC_GCRA_BACK_NS, .shift = shift};
    return true;
}

/* What `cost` <= burst units take, in ns. */
static inline uint64_t fc_gcra_charge(const fc_gcra *q, uint64_t cost)
{
    if (FC_LIKELY(q->shift == 0))
        return cost * q->interval;
    return (uint64_t)(((unsigned __int128)cost * q->interval + (1ull << FC_GCRA_FINE_BITS) - 1) >> FC_GCRA_FINE_BITS);
}

/* The units that fit into `ns` <= span. */
static inline uint64_t fc_gcra_units(const fc_gcra *q, uint64_t ns)
{
    if (FC_LIKELY(q->shift == 0))
        return ns / q->interval;
    unsigned __int128 units = ((unsigned __int128)ns << FC_GCRA_FINE_BITS) / q->interval;
    return units < q->burst ? (uint64_t)units : q->burst;
}

/* Decides about a request of `cost` at `now_ns` < FC_GCRA_TIME_MAX in the state `tat` (0: none yet). Returns the new
 * state, which is `tat` when there is nothing to store. Cost 0 is always allowed and charges nothing. */
static inline uint64_t fc_gcra_decide(const fc_gcra *q, uint64_t tat, uint64_t now_ns, uint64_t cost, fc_gcra_answer *a)
{
    uint64_t debt = tat > now_ns ? tat - now_ns : 0;
    a->stepped = debt > q->span && debt - q->span > q->back_ns;
    if (FC_UNLIKELY(a->stepped)) {
        debt = q->span;
        tat = now_ns + debt;
    }
    if (FC_UNLIKELY(cost > q->burst)) {
        a->allowed = false;
        a->retry_ns = FC_GCRA_NEVER;
    } else {
        uint64_t after = debt + fc_gcra_charge(q, cost);
        a->allowed = after <= q->span || cost == 0;
        a->retry_ns = a->allowed ? 0 : after - q->span;
        if (a->allowed && cost > 0) {
            debt = after;
            tat = now_ns + debt;
        }
    }
    a->limit = q->burst;
    a->remaining = debt < q->span ? fc_gcra_units(q, q->span - debt) : 0;
    a->reset_ns = debt;
    return tat;
}

/* allowed and retry_ns as fc_gcra_decide has them, the rest as it is without charging. */
static inline void fc_gcra_peek(const fc_gcra *q, uint64_t tat, uint64_t now_ns, uint64_t cost, fc_gcra_answer *a)
{
    fc_gcra_answer charged;
    fc_gcra_decide(q, tat, now_ns, cost, &charged);
    fc_gcra_decide(q, tat, now_ns, 0, a);
    a->allowed = charged.allowed;
    a->retry_ns = charged.retry_ns;
}

#endif
