/* The same request once more, at another endpoint: when that can do no harm, when the route wants it, and when the
 * upstream's retry budget has room for it. */
#include "exchange.h"

static bool idempotent(const fc_exchange *ex)
{
    switch (ex->req->head.method_id) {
    case FC_METHOD_GET:
    case FC_METHOD_HEAD:
    case FC_METHOD_PUT:
    case FC_METHOD_DELETE:
    case FC_METHOD_OPTIONS:
    case FC_METHOD_QUERY:
        return true;
    default:
        return false;
    }
}

/* Nothing of the body has been given away, and nothing of an answer passed on. */
static bool repeatable(const fc_exchange *ex)
{
    return ex->state == EX_AWAIT && ex->interims == 0 && !ex->body_sent && ex->sends < ex->route->attempts &&
           (ex->route->retry.any_method || idempotent(ex) || fc_h2_refused(&ex->lease.conn->conn));
}

static void send_again(fc_exchange *ex, bool reusable, bool fresh, bool failed)
{
    count(proxy_of(ex->req), fresh ? FC_CELL_STALE_RETRIES : FC_CELL_ENDPOINT_RETRIES, 1);
    fc_lease_release(&ex->lease, reusable, 0, failed);
    exchange_drop_input(ex);
    ex->last_len = 0;
    exchange_acquire(ex, fresh);
}

/* The endpoint was at fault. */
static bool elsewhere(fc_exchange *ex, bool reusable)
{
    if (!fc_lease_has_other(&ex->lease) || !fc_upstream_may_retry(ex->route->upstream))
        return false;
    fc_lease_avoid(&ex->lease, false);
    send_again(ex, reusable, false, true);
    return true;
}

/* The connection died before it said anything. A pooled one may have been closed by the peer just as we wrote to it: that
 * is nobody's fault, and a fresh connection is as good a try as another endpoint (RFC 9112 9.3.1). */
bool exchange_retry_lost(fc_exchange *ex)
{
    bool silent = !ex->in || ex->in->used == ex->pos;
    bool stale = silent && ex->state == EX_AWAIT &&
                 (fc_upconn_reused(ex->lease.conn) || fc_h2_refused(&ex->lease.conn->conn));
    if (silent && repeatable(ex)) {
        if (stale && fc_upstream_may_retry(ex->route->upstream)) {
            send_again(ex, false, true, false);
            return true;
        }
        if (!stale && ex->route->retry.on & FC_RETRY_RESET) {
            fc_lease_told(&ex->lease, FC_OUTCOME_FAILURE);
            return elsewhere(ex, false);
        }
    }
    return false;
}

bool exchange_retry_timeout(fc_exchange *ex)
{
    fc_lease_told(&ex->lease, FC_OUTCOME_FAILURE);
    return repeatable(ex) && ex->route->retry.on & FC_RETRY_TIMEOUT && (!ex->in || ex->in->used == ex->pos) &&
           elsewhere(ex, false);
}

bool exchange_retry_status(fc_exchange *ex, uint32_t status, bool reusable)
{
    fc_lease_told_status(&ex->lease, status);
    return fc_status_has(&ex->route->retry.statuses, status) && repeatable(ex) && elsewhere(ex, reusable);
}
