/* Adaptive concurrency: as many requests at the upstream as its latency shows it can bear, the least important held back
 * first (fc/adaptive.h finds the number; every worker finds its own part of it). */
#include "exchange.h"

bool exchange_admit(fc_exchange *ex)
{
    fc_upstream *u = ex->route->upstream;
    uint64_t now = exchange_loop(ex)->now_ns;
    /* Places above its share are left to what is more important; one place is everybody's. */
    uint32_t share = fc_adaptive_limit(u->adaptive) * ex->route->share_percent / 100;
    if (u->adaptive->inflight < (share ? share : 1) && fc_adaptive_acquire(u->adaptive, now)) {
        ex->admitted_ns = now;
        return true;
    }
    u->shed++;
    problem_answer(ex, PROBLEM_SHED, "the upstream has as much to do as it can bear", "Retry-After: 1\r\n");
    return false;
}

void exchange_admit_end(fc_exchange *ex)
{
    fc_adaptive *a = ex->route->upstream->adaptive;
    uint64_t now = exchange_loop(ex)->now_ns, since = ex->admitted_ns;
    ex->admitted_ns = 0;
    if (ex->first_byte_ns > since)
        fc_adaptive_release(a, now, ex->first_byte_ns - since, ex->status == 503);
    else if (ex->upstream_failed)
        fc_adaptive_release(a, now, now - since, true);
    else
        fc_adaptive_forget(a);
}
