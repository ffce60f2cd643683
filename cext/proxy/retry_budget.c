#include "fc/retry_budget.h"

#define WHOLE 1000u /* thousandths in one retry */
#define TOKENS_MASK ((1ull << 22) - 1)
#define FILLED_MS 4000000u /* any bucket is full by then */

static uint64_t add(const fc_retry_budget *b, uint64_t word, uint64_t now, uint64_t more)
{
    uint64_t tokens = word & TOKENS_MASK, at = word >> 22, most = (uint64_t)b->burst * WHOLE;
    if (at == 0) {
        tokens = (uint64_t)b->per_second * WHOLE;
        at = now;
    }
    if (now < at) /* a process whose batch began earlier */
        now = at;
    uint64_t passed = now - at < FILLED_MS ? now - at : FILLED_MS;
    tokens += passed * b->per_second + more; /* so many a second are as many thousandths a millisecond */
    return (tokens < most ? tokens : most) | now << 22;
}

uint64_t fc_retry_earn(const fc_retry_budget *b, uint64_t word, uint64_t now)
{
    return add(b, word, now, (uint64_t)b->percent * WHOLE / 100);
}

bool fc_retry_spend(const fc_retry_budget *b, uint64_t *word, uint64_t now)
{
    *word = add(b, *word, now, 0);
    if ((*word & TOKENS_MASK) < WHOLE)
        return false;
    *word -= WHOLE;
    return true;
}
