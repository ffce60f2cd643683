#include "fc/breaker.h"

#define COUNT_BITS 10u
#define COUNT_MAX ((1u << COUNT_BITS) - 1)
#define TIME_SHIFT (2 + 2 * COUNT_BITS)

static fc_breaker_state state_of(uint64_t word) { return (fc_breaker_state)(word & 3); }
static uint32_t first_of(uint64_t word) { return (uint32_t)(word >> 2) & COUNT_MAX; }
static uint32_t second_of(uint64_t word) { return (uint32_t)(word >> (2 + COUNT_BITS)) & COUNT_MAX; }
static uint64_t time_of(uint64_t word) { return word >> TIME_SHIFT; }

static uint64_t make(fc_breaker_state state, uint32_t first, uint32_t second, uint64_t ms)
{
    return (uint64_t)state | (uint64_t)first << 2 | (uint64_t)second << (2 + COUNT_BITS) | ms << TIME_SHIFT;
}

static uint64_t open_again(const fc_breaker_settings *s, uint64_t now)
{
    return make(FC_BREAKER_OPEN, 0, 0, now + s->open_ms);
}

fc_breaker_state fc_breaker_state_at(uint64_t word, uint64_t now)
{
    return state_of(word) == FC_BREAKER_OPEN && now >= time_of(word) ? FC_BREAKER_HALF_OPEN : state_of(word);
}

fc_breaker_pass fc_breaker_ask(const fc_breaker_settings *s, uint64_t *word, uint64_t now)
{
    uint32_t under_way = 0, succeeded = 0;
    switch (state_of(*word)) {
    case FC_BREAKER_CLOSED:
        return FC_BREAKER_GO;
    case FC_BREAKER_OPEN:
        if (now < time_of(*word))
            return FC_BREAKER_STOP;
        break;
    case FC_BREAKER_HALF_OPEN:
        under_way = first_of(*word);
        succeeded = second_of(*word);
        if (under_way + succeeded >= s->trials) {
            if (now < time_of(*word) + s->trial_ms)
                return FC_BREAKER_STOP;
            under_way = 0;
            if (succeeded >= s->trials) /* the settings ask for fewer than they did: one more will close it */
                succeeded = s->trials - 1;
        }
        break;
    }
    *word = make(FC_BREAKER_HALF_OPEN, under_way + 1, succeeded, now);
    return FC_BREAKER_TRIAL;
}

static uint64_t told_closed(const fc_breaker_settings *s, uint64_t word, uint64_t now, fc_outcome outcome)
{
    if (outcome == FC_OUTCOME_NONE)
        return word;
    uint32_t row = outcome == FC_OUTCOME_FAILURE ? first_of(word) + 1 : 0;
    if (s->failures && row >= s->failures)
        return open_again(s, now);
    return make(FC_BREAKER_CLOSED, row > COUNT_MAX ? COUNT_MAX : row, 0, time_of(word));
}

static uint64_t told_half_open(const fc_breaker_settings *s, uint64_t word, uint64_t now, fc_outcome outcome)
{
    uint32_t under_way = first_of(word), succeeded = second_of(word);
    if (outcome == FC_OUTCOME_FAILURE)
        return open_again(s, now);
    under_way -= under_way > 0; /* 0: it was forgotten meanwhile */
    succeeded += outcome == FC_OUTCOME_SUCCESS;
    if (succeeded >= s->trials)
        return make(FC_BREAKER_CLOSED, 0, 0, now);
    return make(FC_BREAKER_HALF_OPEN, under_way, succeeded, time_of(word));
}

uint64_t fc_breaker_told(const fc_breaker_settings *s, uint64_t word, uint64_t now, bool trial, fc_outcome outcome)
{
    if (state_of(word) == FC_BREAKER_CLOSED)
        return told_closed(s, word, now, outcome);
    if (state_of(word) == FC_BREAKER_HALF_OPEN && trial)
        return told_half_open(s, word, now, outcome);
    return word;
}

uint64_t fc_breaker_trip(const fc_breaker_settings *s, uint64_t word, uint64_t now)
{
    return state_of(word) == FC_BREAKER_CLOSED ? open_again(s, now) : word;
}

uint64_t fc_breaker_wait_ms(const fc_breaker_settings *s, uint64_t word, uint64_t now)
{
    uint64_t at = 0;
    if (state_of(word) == FC_BREAKER_OPEN)
        at = time_of(word);
    else if (state_of(word) == FC_BREAKER_HALF_OPEN && first_of(word) + second_of(word) >= s->trials)
        at = time_of(word) + s->trial_ms;
    return at > now ? at - now : 0;
}

uint64_t fc_breaker_closed_since_ms(uint64_t word)
{
    return state_of(word) == FC_BREAKER_CLOSED ? time_of(word) : 0;
}

/* --- the rolling window ------------------------------------------------------------------------------------------- */

/* A bucket: its turn without the bits that say which bucket it is, then two counts. Turns come round after 2^27 of them:
 * 19 days for the shortest window there is. */
#define TURN_BITS 24u
#define SUM_BITS 20u
#define SUM_MAX ((1u << SUM_BITS) - 1)

static uint64_t turn_of(uint32_t window_ms, uint64_t now)
{
    uint32_t width = window_ms / FC_WINDOW_BUCKETS;
    return now / (width ? width : 1);
}

static uint64_t mark_of(uint64_t turn) { return turn / FC_WINDOW_BUCKETS & ((1u << TURN_BITS) - 1); }

uint32_t fc_window_bucket(uint32_t window_ms, uint64_t now)
{
    return (uint32_t)(turn_of(window_ms, now) % FC_WINDOW_BUCKETS);
}

uint64_t fc_window_add(uint64_t bucket, uint32_t window_ms, uint64_t now, bool failed)
{
    uint64_t mark = mark_of(turn_of(window_ms, now));
    uint32_t total = 0, bad = 0;
    if (bucket >> (2 * SUM_BITS) == mark) {
        total = (uint32_t)(bucket >> SUM_BITS) & SUM_MAX;
        bad = (uint32_t)bucket & SUM_MAX;
    }
    if (total == SUM_MAX) { /* the share is what matters */
        total /= 2;
        bad /= 2;
    }
    return mark << (2 * SUM_BITS) | (uint64_t)(total + 1) << SUM_BITS | (bad + failed);
}

fc_window_sum fc_window_total(const uint64_t buckets[FC_WINDOW_BUCKETS], uint32_t window_ms, uint64_t now, uint64_t since_ms)
{
    fc_window_sum sum = {0, 0};
    uint64_t turn = turn_of(window_ms, now), since = since_ms ? turn_of(window_ms, since_ms) + 1 : 0;
    for (uint32_t i = 0; i < FC_WINDOW_BUCKETS && turn >= i && turn - i >= since; i++) {
        uint64_t bucket = __atomic_load_n(&buckets[(turn - i) % FC_WINDOW_BUCKETS], __ATOMIC_RELAXED);
        if (bucket >> (2 * SUM_BITS) != mark_of(turn - i))
            continue;
        sum.total += (uint32_t)(bucket >> SUM_BITS) & SUM_MAX;
        sum.failed += (uint32_t)bucket & SUM_MAX;
    }
    return sum;
}

bool fc_window_trips(const fc_breaker_settings *s, fc_window_sum sum)
{
    return s->percent && sum.total && sum.total >= s->volume && (uint64_t)sum.failed * 100 >= (uint64_t)sum.total * s->percent;
}
