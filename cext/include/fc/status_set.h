/* fc/status_set.h - a set of status codes, 100 to 599, as a bit for each. Zeroed memory is the empty set. */
#ifndef FC_STATUS_SET_H
#define FC_STATUS_SET_H

#include <stdbool.h>
#include <stdint.h>

#define FC_STATUS_FIRST 100u
#define FC_STATUS_LAST 599u

typedef struct fc_status_set {
    uint64_t bits[(FC_STATUS_LAST - FC_STATUS_FIRST) / 64 + 1];
} fc_status_set;

/* What is no status code is left out. */
static inline void fc_status_add(fc_status_set *set, uint32_t status)
{
    if (status >= FC_STATUS_FIRST && status <= FC_STATUS_LAST)
        set->bits[(status - FC_STATUS_FIRST) / 64] |= 1ull << ((status - FC_STATUS_FIRST) % 64);
}

static inline bool fc_status_has(const fc_status_set *set, uint32_t status)
{
    return status >= FC_STATUS_FIRST && status <= FC_STATUS_LAST &&
           (set->bits[(status - FC_STATUS_FIRST) / 64] >> ((status - FC_STATUS_FIRST) % 64) & 1);
}

#endif
