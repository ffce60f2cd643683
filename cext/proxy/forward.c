/* Towards the upstream: a connection for the request, its head and body, and what happens when that fails. */
#include <errno.h>

#include "exchange.h"

static fc_exchange *of(fc_lease *lease) { return FC_CONTAINER_OF(lease, fc_exchange, lease); }

void exchange_watch(fc_exchange *ex, uint32_t in_ms)
{
    fc_conn_deadline(exchange_upstream(ex), in_ms ? fc_loop_now_ms(exchange_loop(ex)) + in_ms : 0);
}

/* --- flushing ---------------------------------------------------------------------------------------------------- */

static void flush_request(fc_exchange *ex)
{
    if (ex->deaf)
        return;
    int rc = fc_conn_flush(exchange_upstream(ex));
    if (rc < 0)
        exchange_lease_ops.broken(&ex->lease, rc);
}

void exchange_on_flush(fc_loop *loop, fc_task *task)
{
    (void)loop;
    fc_exchange *ex = FC_CONTAINER_OF(task, fc_exchange, flush);
    fc_buf *held = ex->req_mem;
    if (!ex->finished && ex->lease.conn && ex->state != EX_LEASE)
        flush_request(ex);
    fc_buf_unref(held);
}

/* Head and first body bytes, or several body pieces of one batch, leave in one call. The task lives in the request's
 * memory, which is held until it has run. */
static void flush_later(fc_exchange *ex)
{
    if (ex->flush.queued)
        return;
    ex->req_mem = fc_buf_ref(ex->req->mem);
    fc_loop_later(exchange_loop(ex), &ex->flush);
}

/* The queue has reached its bound. Only what the kernel would not take either stops the client: `drain` tells of the end
 * of that, and of nothing else. */
static void flush_or_pause(fc_exchange *ex)
{
    fc_http_req *req = ex->req;
    flush_request(ex);
    if (!ex->finished && ex->lease.conn && fc_conn_full(exchange_upstream(ex)))
        fc_http_pause(req);
}

/* --- the lease --------------------------------------------------------------------------------------------------- */

void exchange_acquire(fc_exchange *ex, bool fresh)
{
    ex->state = EX_LEASE;
    if (!ex->sends)
        fc_upstream_count_request(ex->route->upstream);
    if (!ex->req->body_done)
        fc_http_pause(ex->req); /* nowhere to put it yet */
    fc_upstream_acquire(ex->route->upstream, &ex->lease, &exchange_lease_ops, ex->hash, fresh);
}

void exchange_on_ready(fc_lease *lease)
{
    fc_exchange *ex = of(lease);
    fc_http_req *req = ex->req;
    fc_proxy *proxy = proxy_of(req);
    fc_upconn *c = lease->conn;
    count(proxy, fc_upconn_reused(c) ? FC_CELL_REUSES : FC_CELL_CONNECTS, 1);
    ex->leased_ns = proxy->server.loop->now_ns;
    ex->state = EX_AWAIT;
    ex->out_mark = 0;
    ex->deaf = false;
    ex->sends++;
    if (!exchange_seal_request(ex) || fc_conn_write(&c->conn, ex->head_out, ex->head_out->data, ex->head_out->used) < 0 ||
        (ex->has_body && exchange_hook_put_body(ex, &c->conn.out) < 0)) {
        exchange_fail(ex, PROBLEM_OVERLOADED, "the request head does not fit", NULL);
        return;
    }
    if (ex->request_done) {
        exchange_watch(ex, ex->route->first_byte_ms);
        flush_request(ex);
    } else {
        exchange_watch(ex, ex->route->between_bytes_ms);
        flush_later(ex);
        fc_http_resume(req);
    }
}

/* The breaker says when it is worth while to come again. */
static void answer_open(fc_exchange *ex)
{
    char line[40];
    fc_text out = fc_text_at(line, sizeof line - 1);
    uint64_t wait_ms = fc_upstream_wait_ms(ex->route->upstream);
    FC_TEXT_LIT(&out, "Retry-After: ");
    fc_text_u64(&out, wait_ms ? (wait_ms + 999) / 1000 : 1);
    FC_TEXT_LIT(&out, "\r\n");
    *out.p = 0;
    exchange_fail(ex, PROBLEM_BREAKER_OPEN, "the upstream failed too often and is left alone for a while", line);
}

static void answer_unreachable(fc_exchange *ex)
{
    char detail[160];
    fc_text out = fc_text_at(detail, sizeof detail - 1);
    FC_TEXT_LIT(&out, "no endpoint of the upstream could be connected to");
    if (ex->lease.trouble) {
        FC_TEXT_LIT(&out, ": TLS failed: ");
        fc_text_put(&out, ex->lease.trouble, strlen(ex->lease.trouble));
    }
    *out.p = 0;
    exchange_fail(ex, PROBLEM_CONNECT_FAILED, out.overflow ? "TLS with the upstream failed" : detail, NULL);
}

void exchange_on_lease_failed(fc_lease *lease, fc_lease_failure why)
{
    fc_exchange *ex = of(lease);
    switch (why) {
    case FC_LEASE_NO_ENDPOINT:
        exchange_fail(ex, PROBLEM_NO_TARGET, "the upstream has no address that takes traffic", "Retry-After: 1\r\n");
        return;
    case FC_LEASE_SICK:
        exchange_fail(ex, PROBLEM_NO_HEALTHY_TARGET, "no target of the upstream is healthy", "Retry-After: 1\r\n");
        return;
    case FC_LEASE_OPEN:
        answer_open(ex);
        return;
    case FC_LEASE_UNREACHABLE:
        answer_unreachable(ex);
        return;
    case FC_LEASE_BUSY:
        exchange_fail(ex, PROBLEM_OVERLOADED, "no connection to the upstream is free, and no more requests may wait",
                      "Retry-After: 1\r\n");
        return;
    case FC_LEASE_TIMEOUT:
        exchange_fail(ex, PROBLEM_CONNECT_TIMEOUT, "no connection to the upstream could be had in time", NULL);
        return;
    }
}

/* --- the body ---------------------------------------------------------------------------------------------------- */

/* Small pieces of framing, gathered in a block of their own instead of a block each. */
static int put_framing(fc_exchange *ex, fc_conn *to, const char *p, size_t n)
{
    if (!ex->framing || fc_buf_room(ex->framing) < n) {
        if (ex->framing)
            fc_buf_unref(ex->framing);
        if (!(ex->framing = fc_buf_get(to->loop->bufs, FC_BUF_SMALL)))
            return -ENOMEM;
    }
    char *at = ex->framing->data + ex->framing->used;
    memcpy(at, p, n);
    ex->framing->used += (uint32_t)n;
    return fc_conn_write(to, ex->framing, at, n);
}

static int frame_body(fc_exchange *ex, fc_conn *to, fc_buf *buf, const char *p, size_t n)
{
    if (!ex->request_chunked)
        return fc_conn_write(to, buf, p, n);
    char head[FC_CHUNK_HEAD_MAX];
    int rc = put_framing(ex, to, head, fc_chunk_head(head, n));
    if (rc == 0)
        rc = fc_conn_write(to, buf, p, n);
    return rc < 0 ? rc : fc_conn_write(to, NULL, "\r\n", 2);
}

int exchange_put_body(fc_exchange *ex, fc_buf *buf, const char *p, size_t n)
{
    if (n && ex->mirror)
        exchange_mirror_body(ex, buf, p, n);
    fc_conn *to = exchange_upstream(ex);
    if (n && frame_body(ex, to, buf, p, n) < 0)
        return -ENOMEM;
    if (ex->state == EX_AWAIT)
        exchange_watch(ex, ex->route->between_bytes_ms);
    if (fc_conn_full(to))
        flush_or_pause(ex);
    else
        flush_later(ex);
    return 0;
}

static void pass_tunnel(fc_exchange *ex, fc_buf *buf, const char *p, size_t n)
{
    fc_conn *to = exchange_upstream(ex);
    if (fc_conn_write(to, buf, p, n) < 0) {
        exchange_cut(ex);
        return;
    }
    exchange_watch(ex, ex->route->tunnel_idle_ms);
    if (fc_conn_full(to))
        flush_or_pause(ex);
    else
        flush_later(ex);
}

void exchange_on_body(fc_http_req *req, fc_buf *buf, const char *p, size_t n)
{
    fc_exchange *ex = exchange_of(req);
    if (ex->collecting && !ex->hook->response) {
        if (!exchange_hook_body(ex, p, n))
            problem_answer(ex, PROBLEM_BODY_TOO_LARGE, "the request body is larger than a function of its route takes", NULL);
        return;
    }
    if (!ex->lease.conn || ex->deaf) { /* nobody wants what is left of the body, but a copy may */
        if (ex->mirror && ex->unpack_request)
            exchange_mirror_leave(ex);
        else if (ex->mirror)
            exchange_mirror_body(ex, buf, p, n);
        return;
    }
    if (ex->state == EX_TUNNEL) {
        pass_tunnel(ex, buf, p, n);
        return;
    }
    uint64_t max = ex->route->body_bytes_max;
    if (max && req->body_in > max) {
        if (ex->answered)
            exchange_cut(ex);
        else
            problem_answer(ex, PROBLEM_BODY_TOO_LARGE, "the request body is larger than this route accepts", NULL);
        return;
    }
    ex->body_sent = true;
    if (ex->unpack_request)
        exchange_unpack_request(ex, buf, p, n);
    else if (exchange_put_body(ex, buf, p, n) < 0)
        exchange_fail(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
}

/* Trailers that frame, route or authenticate must not be smuggled in behind the body (RFC 9110 6.5.1). */
static bool trailer_allowed(uint32_t id)
{
    switch (id) {
    case FC_FIELD_HOST:
    case FC_FIELD_CONTENT_LENGTH:
    case FC_FIELD_TRANSFER_ENCODING:
    case FC_FIELD_CONNECTION:
    case FC_FIELD_KEEP_ALIVE:
    case FC_FIELD_PROXY_CONNECTION:
    case FC_FIELD_TE:
    case FC_FIELD_TRAILER:
    case FC_FIELD_UPGRADE:
    case FC_FIELD_EXPECT:
    case FC_FIELD_MAX_FORWARDS:
    case FC_FIELD_AUTHORIZATION:
    case FC_FIELD_PROXY_AUTHORIZATION:
    case FC_FIELD_PROXY_AUTHENTICATE:
    case FC_FIELD_COOKIE:
    case FC_FIELD_FORWARDED:
    case FC_FIELD_X_FORWARDED_FOR:
    case FC_FIELD_X_FORWARDED_HOST:
    case FC_FIELD_X_FORWARDED_PROTO:
    case FC_FIELD_X_FORWARDED_PORT:
    case FC_FIELD_X_REAL_IP:
    case FC_FIELD_CONTENT_TYPE:
        return false;
    default:
        return true;
    }
}

int exchange_put_last_chunk(fc_exchange *ex, fc_conn *to, const char *base, const fc_http1_head *trailers)
{
    int rc = put_framing(ex, to, "0\r\n", 3);
    for (uint32_t i = 0; rc == 0 && trailers && i < trailers->fields_len; i++) {
        const fc_http1_field *f = &trailers->fields[i];
        fc_slice name = {base + f->name.off, f->name.len};
        if (!trailer_allowed(f->id) || exchange_shadows_forwarding(name) || exchange_claims_field(ex->table, name))
            continue;
        if ((rc = fc_conn_write_copy(to, name.p, name.n)) == 0 && (rc = put_framing(ex, to, ": ", 2)) == 0 &&
            (rc = fc_conn_write_copy(to, base + f->value.off, f->value.len)) == 0)
            rc = put_framing(ex, to, "\r\n", 2);
    }
    return rc < 0 ? rc : put_framing(ex, to, "\r\n", 2);
}

/* The client's FIN goes on once everything before it has. */
void exchange_pass_fin(fc_exchange *ex)
{
    fc_conn *to = exchange_upstream(ex);
    if (ex->state == EX_TUNNEL && ex->client_fin && !ex->deaf && !to->out.len)
        fc_conn_shutdown_write(to);
}

void exchange_on_body_end(fc_http_req *req, const char *base, const fc_http1_head *trailers)
{
    fc_exchange *ex = exchange_of(req);
    if (ex->state == EX_TUNNEL) {
        ex->client_fin = true;
        flush_request(ex);
        if (!ex->finished)
            exchange_pass_fin(ex);
        return;
    }
    if (ex->request_done)
        return;
    if (ex->unpack_request)
        exchange_unpack_request_end(ex);
    else
        exchange_put_body_end(ex, base, trailers);
}

void exchange_put_body_end(fc_exchange *ex, const char *base, const fc_http1_head *trailers)
{
    ex->request_done = true;
    if (ex->collecting && !ex->hook->response) { /* trailers do not go on with a body that is made anew */
        exchange_hook_body_end(ex);
        return;
    }
    if (ex->mirror)
        exchange_mirror_body_end(ex);
    if (!ex->lease.conn || ex->deaf)
        return;
    if (ex->request_chunked) {
        ex->body_sent = true; /* the last chunk is written here only, so a retry would miss it */
        if (exchange_put_last_chunk(ex, exchange_upstream(ex), base, trailers) < 0) {
            exchange_fail(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
            return;
        }
    }
    if (ex->state == EX_AWAIT)
        exchange_watch(ex, ex->route->first_byte_ms);
    flush_request(ex);
}

/* --- when the connection is lost --------------------------------------------------------------------------------- */

void exchange_lost(fc_exchange *ex, bool clean_end)
{
    if (clean_end && ex->collecting && ex->state == EX_RELAY && ex->reply_framing == FC_BODY_CLOSE) {
        exchange_hook_body_end(ex);
        return;
    }
    if (ex->state == EX_TUNNEL || (clean_end && ex->state == EX_RELAY && ex->reply_framing == FC_BODY_CLOSE)) {
        if (ex->encoder ? exchange_end_encoded(ex) < 0
                        : ex->reply_chunked && !ex->unpack && fc_http_send(ex->req, NULL, "0\r\n\r\n", 5) < 0) {
            exchange_cut(ex);
            return;
        }
        exchange_complete(ex);
        return;
    }
    if (exchange_retry_lost(ex))
        return;
    exchange_fail(ex, PROBLEM_UPSTREAM_CLOSED, "the upstream closed the connection before its answer was complete", NULL);
}
