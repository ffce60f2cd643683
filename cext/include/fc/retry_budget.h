/* fc/retry_budget.h - retries are a share of the requests, so that a failing upstream is not buried under them.
 *
 * A token bucket in one word: every request earns `percent` of a retry, every second `per_second` of them, and a retry
 * spends one. Both are added up over all workers by compare-and-swap, so the bound holds for what the upstream receives:
 * over any time, retries <= burst + percent/100 * requests + per_second * seconds. A new bucket holds one second's worth.
 *   bits  0..21  thousandths of a retry
 *        22..63  ms: when last added to; 0: never used
 */
#ifndef FC_RETRY_BUDGET_H
#define FC_RETRY_BUDGET_H

#include "fc/base.h"

#define FC_RETRY_BURST_MAX 4000u
#define FC_RETRY_PER_SECOND_MAX 4000u

typedef struct fc_retry_budget {
    uint32_t percent;
    uint32_t per_second;
    uint32_t burst; /* retries saved up at most; 0: there is no budget, any retry may go */
} fc_retry_budget;

/* The word after a request. */
uint64_t fc_retry_earn(const fc_retry_budget *b, uint64_t word, uint64_t now_ms);
/* False: no retry. *word is the bucket afterwards either way. */
bool fc_retry_spend(const fc_retry_budget *b, uint64_t *word, uint64_t now_ms);

#endif
