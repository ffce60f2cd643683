#include "jobindex_internal.h"

/* --- which job of a queue --------------------------------------------------------------------------------------- */

static bool takes_the_oldest(const fc_jobindex *ix, const job_queue *q)
{
    return q->turns + 1 == ix->options.oldest_every;
}

/* The first due job of the highest priority that has one, or of all of them the one due for longest. */
static const job_band *band_due(const fc_jobindex *ix, const job_queue *q, uint64_t now)
{
    bool oldest = takes_the_oldest(ix, q);
    const job_band *best = NULL;
    for (uint16_t i = 0; i < q->bands; i++) {
        const job_band *b = &q->band[i];
        if (b->run_at > now)
            continue;
        if (!oldest)
            return b;
        if (best == NULL || b->run_at < best->run_at)
            best = b;
    }
    return best;
}

/* --- which queue ------------------------------------------------------------------------------------------------ */

static job_queue *queue_due(const fc_jobindex *ix, uint32_t number, uint64_t now)
{
    job_queue *q = job_queue_at(ix, number);
    return q != NULL && !q->paused && q->first_run_at <= now ? q : NULL;
}

static const job_queue *first_listed(const fc_jobindex *ix, const uint32_t *queues, size_t n, uint64_t now)
{
    for (size_t i = 0; i < n; i++) {
        const job_queue *q = queue_due(ix, queues[i], now);
        if (q != NULL)
            return q;
    }
    return NULL;
}

/* Passes wrap around; those of one set are never half the range apart, because laggards are pulled along. */
static bool ahead(uint64_t pass, uint64_t other) { return (int64_t)(pass - other) > 0; }

/* Whose pass is lowest. Queues that always have work stay within one stride of weight 1 of each other, so who lags by more
 * was away: its pass counts as that much behind the foremost. */
static const job_queue *lowest_pass(const fc_jobindex *ix, const uint32_t *queues, size_t n, uint64_t now, uint64_t *pass)
{
    const job_queue *best = NULL;
    uint64_t foremost = 0, lowest = 0;
    for (size_t i = 0; i < n; i++) {
        const job_queue *q = queue_due(ix, queues[i], now);
        if (q != NULL && (best == NULL || ahead(q->pass, foremost))) {
            foremost = q->pass;
            best = q;
        }
    }
    if (best == NULL)
        return NULL;
    best = NULL;
    for (size_t i = 0; i < n; i++) {
        const job_queue *q = queue_due(ix, queues[i], now);
        if (q == NULL)
            continue;
        uint64_t counts = ahead(foremost - JOB_STRIDE, q->pass) ? foremost - JOB_STRIDE : q->pass;
        if (best == NULL || ahead(lowest, counts)) {
            lowest = counts;
            best = q;
        }
    }
    *pass = lowest + JOB_STRIDE / best->weight;
    return best;
}

/* --- both ------------------------------------------------------------------------------------------------------- */

bool fc_jobindex_next(const fc_jobindex *ix, const uint32_t *queues, size_t n, fc_job_order order, uint64_t now, fc_job *job)
{
    uint64_t pass = 0;
    bool strict = order == FC_JOB_STRICT;
    const job_queue *q = strict ? first_listed(ix, queues, n, now) : lowest_pass(ix, queues, n, now, &pass);
    if (q == NULL)
        return false;
    job_read_entry(ix, band_due(ix, q, now)->first, job);
    job->pass = strict ? q->pass : pass;
    return true;
}

void fc_jobindex_take(fc_jobindex *ix, const fc_job *job)
{
    job_queue *q = ix->queues[job->queue];
    q->turns = takes_the_oldest(ix, q) || ix->options.oldest_every == 0 ? 0 : q->turns + 1;
    q->pass = job->pass;
    fc_jobindex_remove(ix, job);
}
