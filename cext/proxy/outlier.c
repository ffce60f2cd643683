#include "fc/outlier.h"

#define TIMES_MAX 255u

static uint32_t times_of(uint64_t word) { return (uint32_t)word & TIMES_MAX; }
static uint32_t row_of(uint64_t word) { return (uint32_t)(word >> 8) & FC_OUTLIER_FAILURES_MAX; }

static uint64_t make(uint32_t times, uint32_t row, uint64_t until)
{
    return (uint64_t)times | (uint64_t)row << 8 | until << 22;
}

uint64_t fc_outlier_told(uint64_t word, uint64_t now, bool failed)
{
    if (fc_outlier_ejected(word, now))
        return word;
    uint32_t row = failed ? row_of(word) + 1 : 0;
    return make(times_of(word), row > FC_OUTLIER_FAILURES_MAX ? FC_OUTLIER_FAILURES_MAX : row, fc_outlier_until_ms(word));
}

bool fc_outlier_deserves(const fc_outlier_settings *s, uint64_t word, uint64_t now)
{
    return s->failures && row_of(word) >= s->failures && !fc_outlier_ejected(word, now);
}

uint64_t fc_outlier_eject(const fc_outlier_settings *s, uint64_t word, uint64_t now)
{
    uint64_t until = fc_outlier_until_ms(word);
    if (now < until)
        return word;
    uint64_t forgotten = s->eject_ms ? (now - until) / s->eject_ms : TIMES_MAX;
    uint32_t times = times_of(word) > forgotten ? times_of(word) - (uint32_t)forgotten : 0;
    uint64_t lasts = s->eject_ms;
    for (uint32_t i = 0; i < times && lasts < s->eject_max_ms; i++)
        lasts *= 2;
    if (lasts > s->eject_max_ms)
        lasts = s->eject_max_ms;
    return make(times < TIMES_MAX ? times + 1 : times, 0, now + lasts);
}

uint32_t fc_outlier_places(const fc_outlier_settings *s, uint32_t targets)
{
    return (uint32_t)((uint64_t)targets * s->max_percent / 100);
}

bool fc_outlier_rate_deserves(const fc_outlier_settings *s, uint64_t counts)
{
    uint64_t total = counts >> 32, failed = counts & UINT32_MAX;
    return s->percent && total && total >= s->volume && failed * 100 >= total * s->percent;
}
