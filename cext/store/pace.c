/* How writers are slowed: a little and early, instead of stopped. */
#include "store_internal.h"

#define PACE_RATE 200e6    /* bytes in a second where slowing begins */
#define PACE_RATE_MIN 1e6  /* and where all limits are reached */
#define PACE_MEMORY_SOFT 0.5
#define PACE_LOG_SOFT 0.5

static double beyond(double value, double soft, double hard)
{
    double f = hard > soft ? (value - soft) / (hard - soft) : 0;
    return f < 0 ? 0 : f > 1 ? 1 : f;
}

uint64_t store_pace_round(const fc_keyspace_options *o)
{
    return (uint64_t)o->level0_tables * o->memtable_bytes * (o->level_factor + 2);
}

uint64_t store_pace(uint64_t bytes, const store_pressure *p)
{
    double f = beyond(p->memory, PACE_MEMORY_SOFT, 1);
    double log = beyond(p->log, PACE_LOG_SOFT, 1);
    double level0 = beyond(p->level0, p->level0_soft, p->level0_hard);
    double debt = beyond((double)p->debt, (double)p->debt_soft, (double)p->debt_hard);
    f = log > f ? log : f;
    f = level0 > f ? level0 : f;
    f = debt > f ? debt : f;
    if (f <= 0)
        return 0;
    double rate = PACE_RATE * (1 - f) * (1 - f);
    return (uint64_t)((double)bytes * 1e9 / (rate > PACE_RATE_MIN ? rate : PACE_RATE_MIN));
}
