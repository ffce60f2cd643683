/* A copy of a request for another upstream, whose answer nobody waits for: how a new version behaves under real traffic.
 *
 * The copy shares the bytes of head and body by reference and has a connection and deadlines of its own. It never slows its
 * exchange: one that cannot be sent as fast as the client sends is dropped, and so is one whose exchange ends before its
 * request is whole. It outlives the exchange otherwise, and holds the route table for that. */
#include <errno.h>
#include <stdlib.h>

#include "exchange.h"

#define ANSWER_FIELDS_MAX 256
#define READS_PER_TURN 4

typedef struct exchange_mirror {
    fc_lease lease;
    fc_proxy *proxy;
    struct exchange_mirror *next, **link;
    fc_exchange *ex; /* NULL: it is over */
    fc_route_table *table; /* held */
    const fc_route *route; /* of the copy */
    fc_buf *head;          /* the exchange's */
    uint32_t head_len;
    bool needs_host;       /* the head ends with the Host of the target that is leased */
    bool chunked, ready, whole, begun;
    uint8_t method;
    fc_buf *framing;       /* heads of chunks */
    fc_outq pending;       /* body bytes before there is a connection */
    fc_buf *in;            /* of the answer: what is not understood yet */
    uint32_t last_len;
    uint8_t framing_in;
    bool reusable;
    uint64_t left;
    fc_chunked chunks;
    uint64_t leased_ns, first_byte_ns;
} mirror;

static mirror *of(fc_lease *lease) { return FC_CONTAINER_OF(lease, mirror, lease); }

static void watch(mirror *m, uint32_t in_ms)
{
    fc_conn *c = &m->lease.conn->conn;
    fc_conn_deadline(c, in_ms ? fc_loop_now_ms(c->loop) + in_ms : 0);
}

/* The connection has been given back. */
static void end(mirror *m)
{
    if (m->ex)
        m->ex->mirror = NULL;
    *m->link = m->next;
    if (m->next)
        m->next->link = m->link;
    m->proxy->mirrors_len--;
    fc_outq_clear(&m->pending);
    fc_buf_unref(m->head);
    if (m->framing)
        fc_buf_unref(m->framing);
    if (m->in)
        fc_buf_unref(m->in);
    fc_route_table_unref(m->table);
    free(m);
}

static void drop(mirror *m)
{
    count(m->proxy, FC_CELL_MIRRORS_DROPPED, 1);
    fc_lease_cancel(&m->lease);
    end(m);
}

static void fail(mirror *m)
{
    count(m->proxy, FC_CELL_MIRRORS_FAILED, 1);
    if (m->lease.conn) {
        fc_lease_told(&m->lease, FC_OUTCOME_FAILURE);
        fc_lease_release(&m->lease, false, 0, true);
    }
    end(m);
}

/* --- towards the target ---------------------------------------------------------------------------------------------- */

static fc_outq *queue(mirror *m) { return m->ready ? &m->lease.conn->conn.out : &m->pending; }

static int put_copy(mirror *m, const char *p, size_t n)
{
    if (!m->framing || fc_buf_room(m->framing) < n) {
        if (m->framing)
            fc_buf_unref(m->framing);
        if (!(m->framing = fc_buf_get(m->proxy->server.loop->bufs, FC_BUF_SMALL)))
            return -ENOMEM;
    }
    char *at = m->framing->data + m->framing->used;
    memcpy(at, p, n);
    m->framing->used += (uint32_t)n;
    return fc_outq_push(queue(m), m->framing, at, n);
}

/* Send what is queued. False: it is over. */
static bool flush(mirror *m)
{
    if (m->ready && fc_conn_flush(&m->lease.conn->conn) < 0) {
        fail(m);
        return false;
    }
    if (queue(m)->bytes >= m->route->upstream->settings.out_high && !m->whole) {
        drop(m);
        return false;
    }
    return true;
}

static int put_host(mirror *m)
{
    const char *host = m->lease.conn->endpoint->spec.host;
    int rc = put_copy(m, "Host: ", 6);
    if (rc == 0 && (rc = put_copy(m, host, strlen(host))) == 0)
        rc = put_copy(m, "\r\n\r\n", 4);
    return rc;
}

static void on_ready(fc_lease *lease)
{
    mirror *m = of(lease);
    fc_conn *c = &lease->conn->conn;
    m->ready = true;
    m->leased_ns = c->loop->now_ns;
    int rc = fc_conn_write(c, m->head, m->head->data, m->head_len);
    if (rc == 0 && m->needs_host)
        rc = put_host(m);
    if (rc == 0)
        rc = fc_outq_move(&m->pending, &c->out, m->pending.bytes);
    if (rc < 0) {
        drop(m);
        return;
    }
    watch(m, m->whole ? m->route->first_byte_ms : 0);
    flush(m);
}

static void on_failed(fc_lease *lease, fc_lease_failure why)
{
    (void)why;
    fail(of(lease));
}

void exchange_mirror_body(fc_exchange *ex, fc_buf *buf, const char *p, size_t n)
{
    mirror *m = ex->mirror;
    char head[FC_CHUNK_HEAD_MAX];
    int rc = m->chunked ? put_copy(m, head, fc_chunk_head(head, n)) : 0;
    if (rc == 0)
        rc = fc_outq_push(queue(m), buf, p, n);
    if (rc == 0 && m->chunked)
        rc = fc_outq_push(queue(m), NULL, "\r\n", 2);
    if (rc < 0)
        drop(m);
    else
        flush(m);
}

void exchange_mirror_body_end(fc_exchange *ex)
{
    mirror *m = ex->mirror;
    if (m->whole)
        return;
    m->whole = true;
    if (m->chunked && fc_outq_push(queue(m), NULL, "0\r\n\r\n", 5) < 0) {
        drop(m);
        return;
    }
    if (flush(m) && m->ready)
        watch(m, m->route->first_byte_ms);
}

void exchange_mirror_leave(fc_exchange *ex)
{
    mirror *m = ex->mirror;
    ex->mirror = NULL;
    m->ex = NULL;
    if (!m->whole)
        drop(m);
}

/* --- the answer, which is read to its end so that its connection can be used again ---------------------------------------- */

static void complete(mirror *m, bool clean)
{
    count(m->proxy, FC_CELL_MIRRORS_ANSWERED, 1);
    fc_lease_release(&m->lease, clean && m->reusable && m->whole, m->first_byte_ns - m->leased_ns, false);
    end(m);
}

/* Bytes of the body. False: it is over. */
static bool skip(mirror *m, const char *p, size_t n)
{
    size_t used;
    fc_slice data;
    switch (m->framing_in) {
    case FC_BODY_LENGTH:
        if (n < m->left) {
            m->left -= n;
            return true;
        }
        complete(m, n == m->left);
        return false;
    case FC_BODY_CHUNKED:
        while (n) {
            fc_chunk got = fc_chunked_next(&m->chunks, p, n, &used, &data);
            p += used, n -= used;
            if (got == FC_CHUNK_ERROR) {
                fail(m);
                return false;
            }
            if (got == FC_CHUNK_LAST) {
                complete(m, n == 2 && p[0] == '\r' && p[1] == '\n'); /* with trailers it is not used again */
                return false;
            }
        }
        return true;
    case FC_BODY_CLOSE:
        return true;
    default:
        complete(m, n == 0);
        return false;
    }
}

static bool take_head(mirror *m)
{
    fc_http1_field fields[ANSWER_FIELDS_MAX];
    fc_http1_head head = {.fields = fields, .fields_max = ANSWER_FIELDS_MAX};
    int rc = fc_http1_parse_response(m->in->data, m->in->used, m->last_len, &m->proxy->settings.http.parse,
                                     (fc_http_method)m->method, &head);
    if (rc == FC_HTTP1_PARTIAL) {
        m->last_len = m->in->used;
        return true;
    }
    if (rc < 0 || head.status == 101) {
        fail(m);
        return false;
    }
    m->last_len = 0;
    size_t rest = m->in->used - (size_t)rc;
    if (head.status < 200) {
        memmove(m->in->data, m->in->data + rc, rest);
        m->in->used = (uint32_t)rest;
        return rest == 0 || take_head(m);
    }
    fc_lease_told_status(&m->lease, head.status);
    m->first_byte_ns = m->lease.conn->conn.loop->now_ns;
    m->begun = true;
    m->framing_in = head.framing;
    m->reusable = head.keep_alive && head.framing != FC_BODY_CLOSE;
    m->left = head.content_length;
    if (head.framing == FC_BODY_CHUNKED)
        fc_chunked_init(&m->chunks, m->proxy->settings.http.chunk_ext_max);
    m->in->used = 0;
    return rest || head.framing == FC_BODY_NONE ? skip(m, m->in->data + rc, rest) : true;
}

static void on_read(fc_lease *lease)
{
    mirror *m = of(lease);
    fc_conn *c = &lease->conn->conn;
    for (int i = 0; c->readable; i++) {
        if (i == READS_PER_TURN) {
            fc_conn_again(c);
            return;
        }
        if (!m->in && !(m->in = fc_buf_get(c->loop->bufs, FC_BUF_LARGE))) {
            drop(m);
            return;
        }
        ssize_t n = fc_conn_recv(c, m->in->data + m->in->used, fc_buf_room(m->in));
        if (n == -EAGAIN)
            break;
        if (n == 0 && m->begun && m->framing_in == FC_BODY_CLOSE) {
            complete(m, false);
            return;
        }
        if (n <= 0) {
            fail(m);
            return;
        }
        watch(m, m->route->between_bytes_ms);
        if (m->begun) {
            if (!skip(m, m->in->data, (size_t)n))
                return;
            continue;
        }
        m->in->used += (uint32_t)n;
        if (!take_head(m))
            return;
        if (!fc_buf_room(m->in)) {
            fail(m);
            return;
        }
    }
    if (m->in && !m->in->used) { /* an answer that pauses holds no block */
        fc_buf_unref(m->in);
        m->in = NULL;
    }
}

static void on_nothing(fc_lease *lease) { (void)lease; }
static void on_timeout(fc_lease *lease) { fail(of(lease)); }

static void on_broken(fc_lease *lease, int err)
{
    (void)err;
    fail(of(lease));
}

static const fc_lease_ops lease_ops = {
    .ready = on_ready,
    .failed = on_failed,
    .read = on_read,
    .drain = on_nothing,
    .sent = on_nothing,
    .timeout = on_timeout,
    .broken = on_broken,
};

/* --- beginning and end --------------------------------------------------------------------------------------------- */

void exchange_mirror(fc_exchange *ex, const fc_mirror *spec)
{
    fc_proxy *proxy = proxy_of(ex->req);
    if (ex->upgrade || fc_hash_next(&proxy->random) >> 32 >= spec->share)
        return;
    mirror *m = proxy->mirrors_len < spec->at_once ? calloc(1, sizeof *m) : NULL;
    if (!m) {
        count(proxy, FC_CELL_MIRRORS_DROPPED, 1);
        return;
    }
    fc_outq_init(&m->pending);
    m->proxy = proxy;
    m->ex = ex;
    m->table = ex->table;
    m->table->refs++;
    m->route = spec->route;
    m->head = fc_buf_ref(ex->head_out);
    m->head_len = ex->head_out_len;
    m->needs_host = ex->route->host_mode == FC_HOST_UPSTREAM;
    m->chunked = ex->request_chunked;
    m->whole = ex->request_done;
    bool stored = !ex->has_body || exchange_hook_put_body(ex, &m->pending) == 0;
    m->method = ex->req->head.method_id;
    m->next = proxy->mirrors;
    if (m->next)
        m->next->link = &m->next;
    m->link = &proxy->mirrors;
    proxy->mirrors = m;
    proxy->mirrors_len++;
    ex->mirror = m;
    count(proxy, FC_CELL_MIRRORS, 1);
    if (!stored) {
        drop(m);
        return;
    }
    fc_upstream_acquire(m->route->upstream, &m->lease, &lease_ops, ex->hash, false);
}

void exchange_mirrors_end(fc_proxy *proxy)
{
    while (proxy->mirrors)
        drop(proxy->mirrors);
}
