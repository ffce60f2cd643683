/* HTTP/2 towards endpoints: a session that all requests of this worker share, and another where the first is full. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "upstream_internal.h"

typedef struct fc_trunk {
    fc_conn conn;
    fc_h2 *h2;
    fc_endpoint *endpoint;
    struct fc_trunk *next, **link; /* of the endpoint */
    uint32_t idle_timeout_ms;
    bool begun; /* the connection stands, and TLS */
    bool retired;
} fc_trunk;

static fc_trunk *of(fc_conn *conn) { return FC_CONTAINER_OF(conn, fc_trunk, conn); }
static fc_trunk *owner(fc_h2 *h2) { return fc_h2_owner(h2); }

static void let_go(fc_trunk *t)
{
    if (!t->link)
        return;
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    t->link = NULL;
}

static void end(fc_trunk *t)
{
    if (t->conn.dead)
        return;
    let_go(t);
    fc_h2_free(t->h2);
    fc_conn_close(&t->conn);
}

/* --- the session's -------------------------------------------------------------------------------------------------- */

/* Without streams it stays for a while, unless there will be none any more. */
static void on_changed(fc_h2 *h2)
{
    fc_trunk *t = owner(h2);
    if (!fc_h2_is_connected(h2))
        return; /* the deadline is that of connecting */
    uint64_t now = fc_loop_now_ms(t->conn.loop);
    if (fc_h2_streams(h2))
        fc_conn_deadline(&t->conn, 0);
    else
        fc_conn_deadline(&t->conn, t->retired || fc_h2_leaving(h2) ? now : now + t->idle_timeout_ms);
}

static void on_flush(fc_h2 *h2)
{
    fc_trunk *t = owner(h2);
    if (fc_conn_flush(&t->conn) < 0) { /* not from inside a stream's call: reading finds it at the end of the batch */
        t->conn.readable = true;
        fc_conn_again(&t->conn);
    }
}

static void give_up(fc_trunk *t, int error, const char *why)
{
    if (!fc_h2_is_connected(t->h2))
        fc_h2_give_up(t->h2, error, why);
    end(t);
}

static void on_failed(fc_h2 *h2, const char *why)
{
    fc_trunk *t = owner(h2);
    fc_conn_flush(&t->conn);
    give_up(t, -EPROTO, why);
}

static const fc_h2_ops session_ops = {
    .changed = on_changed,
    .flush = on_flush,
    .failed = on_failed,
};

/* --- the connection's ----------------------------------------------------------------------------------------------- */

static void on_read(fc_conn *conn)
{
    fc_trunk *t = of(conn);
    if (!t->begun)
        return; /* reported together with a failed connect; EPOLLOUT decides */
    int rc = fc_h2_read(t->h2);
    if (rc < 0)
        give_up(t, rc, "the target closed the connection instead of speaking HTTP/2");
}

static void on_room(fc_conn *conn)
{
    fc_h2_write(of(conn)->h2);
}

static void on_connected(fc_conn *conn)
{
    fc_trunk *t = of(conn);
    fc_slice agreed = conn->transport ? conn->transport->ops->protocol(conn) : (fc_slice){"h2", 2};
    if (agreed.n != 2 || memcmp(agreed.p, "h2", 2) != 0) {
        give_up(t, -EPROTO, "the target did not agree to HTTP/2 (ALPN)");
        return;
    }
    t->begun = true;
    fc_h2_begin(t->h2);
}

static void on_timeout(fc_conn *conn)
{
    give_up(of(conn), -ETIMEDOUT, NULL);
}

static void on_broken(fc_conn *conn, int err)
{
    give_up(of(conn), err, fc_conn_trouble(conn));
}

static void on_closed(fc_conn *conn)
{
    fc_trunk *t = of(conn);
    fc_endpoint_unref(t->endpoint);
    free(t);
}

static const fc_conn_ops conn_ops = {
    .read = on_read,
    .drain = on_room,
    .sent = on_room,
    .connected = on_connected,
    .timeout = on_timeout,
    .broken = on_broken,
    .closed = on_closed,
};

/* --- a stream ------------------------------------------------------------------------------------------------------- */

static int connect_trunk(fc_endpoint *e, fc_trunk **made)
{
    const fc_upstream_settings *s = &e->upstream->settings;
    fc_trunk *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    int rc = fc_conn_connect(&t->conn, e->upstream->loop, (struct sockaddr *)&e->spec.addr, e->spec.addr_len, &conn_ops);
    if (rc < 0) {
        free(t);
        return rc;
    }
    t->conn.out_high = s->out_high;
    t->conn.out_low = s->out_low;
    t->idle_timeout_ms = s->idle_timeout_ms;
    t->endpoint = e;
    e->refs++;
    e->connects++;
    t->h2 = fc_h2_new(&t->conn, false, s->securer != NULL, &s->streams, &session_ops, t);
    if (!t->h2 || (s->securer && (rc = fc_endpoint_secure(e, &t->conn)) < 0)) {
        if (t->h2)
            fc_h2_free(t->h2);
        fc_conn_close(&t->conn);
        return t->h2 ? rc : -ENOMEM;
    }
    fc_conn_deadline(&t->conn, fc_loop_now_ms(t->conn.loop) + s->connect_timeout_ms);
    t->next = e->trunks;
    if (t->next)
        t->next->link = &t->next;
    t->link = &e->trunks;
    e->trunks = t;
    *made = t;
    return 0;
}

int fc_trunk_open(fc_endpoint *e, fc_upconn *c, const fc_conn_ops *ops)
{
    fc_trunk *t = e->trunks;
    while (t && !fc_h2_has_room(t->h2))
        t = t->next;
    int rc = t ? 0 : connect_trunk(e, &t);
    if (rc < 0)
        return rc;
    fc_h2_stream *stream = fc_h2_open(t->h2);
    if (!stream)
        return -ENOMEM;
    c->established = fc_h2_is_connected(t->h2);
    fc_conn_open_over(&c->conn, t->conn.loop, fc_h2_transport(stream, &c->conn), !c->established, ops);
    if (c->established)
        fc_conn_deadline(&t->conn, 0);
    return 0;
}

void fc_trunks_retire(fc_endpoint *e)
{
    while (e->trunks) {
        fc_trunk *t = e->trunks;
        let_go(t);
        t->retired = true;
        if (!fc_h2_streams(t->h2))
            end(t);
    }
}
