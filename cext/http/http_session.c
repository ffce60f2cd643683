/* A client's connection that speaks HTTP/2: when it begins and ends. Its streams are connections of their own. */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <string.h>

#include "conn_internal.h"

static fc_http_conn *of(fc_h2 *h2) { return fc_h2_owner(h2); }

static int on_opened(fc_h2 *h2, fc_h2_stream *stream)
{
    fc_http_conn *c = of(h2);
    c->requests++;
    return fc_http_conn_start_over(c->server, c, stream);
}

/* What the client owes us now, and until when. */
static void on_changed(fc_h2 *h2)
{
    fc_http_conn *c = of(h2);
    const fc_http_settings *s = &c->server->settings;
    bool idle = fc_h2_streams(h2) == 0, in_header = fc_h2_in_header(h2);
    uint32_t max = s->requests_max;
    if (max && c->requests >= max && !fc_h2_leaving(h2))
        fc_h2_leave(h2, true);
    if (in_header) {
        if (!c->owes_header)
            fc_http_conn_read_deadline(c, s->header_timeout_ms);
    } else if (idle) {
        if (!c->idle || c->owes_header)
            fc_http_conn_read_deadline(c, c->server->draining ? s->drain_idle_ms : s->idle_timeout_ms);
    } else if (!c->server->draining) {
        fc_http_conn_read_deadline(c, 0);
    }
    c->owes_header = in_header;
    fc_http_conn_idle(c, idle && !in_header);
}

static void on_flush(fc_h2 *h2)
{
    fc_http_conn *c = of(h2);
    c->queued = fc_h2_queued(h2);
    fc_http_conn_flush(c);
}

static void on_failed(fc_h2 *h2, const char *why)
{
    (void)why;
    fc_http_conn *c = of(h2);
    if (!fc_h2_leaving(h2))
        c->server->stats.h2_failed++;
    fc_conn_flush(&c->conn); /* what is said of it; who does not read it does not hear it */
    fc_http_conn_close(c);
}

static const fc_h2_ops session_ops = {
    .opened = on_opened,
    .changed = on_changed,
    .flush = on_flush,
    .failed = on_failed,
};

static int begin(fc_http_conn *c)
{
    c->h2 = fc_h2_new(&c->conn, true, c->secure, &c->server->settings.streams, &session_ops, c);
    if (!c->h2)
        return -ENOMEM;
    c->state = FC_HTTP_SESSION;
    c->processing = false;
    c->server->stats.h2_sessions++;
    fc_http_conn_read_deadline(c, c->server->settings.header_timeout_ms); /* its SETTINGS come with its preface */
    if (c->server->draining)
        fc_http_session_drain(c);
    fc_buf *in = c->in;
    uint32_t pos = c->pos;
    c->in = NULL;
    c->pos = 0;
    if (in) {
        fc_h2_feed(c->h2, in->data + pos, in->used - pos);
        fc_buf_unref(in);
    }
    if (!c->conn.dead)
        fc_http_conn_again(c);
    return 1;
}

int fc_http_session_look(fc_http_conn *c)
{
    size_t n = input_len(c) < FC_H2_PREFACE_LEN ? input_len(c) : FC_H2_PREFACE_LEN;
    bool agreed = false;
    if (c->secure) {
        fc_slice protocol = c->conn.transport->ops->protocol(&c->conn);
        agreed = protocol.n == 2 && memcmp(protocol.p, "h2", 2) == 0;
        if (!agreed)
            return 0; /* RFC 9113 3.2: over TLS it is agreed on, or not spoken */
    }
    if (n == 0)
        return -EAGAIN;
    bool fits = memcmp(c->in->data + c->pos, FC_H2_PREFACE, n) == 0;
    if (!agreed && !fits)
        return 0;
    if (!agreed && n < FC_H2_PREFACE_LEN)
        return -EAGAIN;
    if (begin(c) < 0)
        fc_http_conn_kill(c, FC_HTTP_NO_MEMORY);
    return 1; /* what does not fit is nghttp2's to refuse */
}

void fc_http_session_read(fc_http_conn *c)
{
    if (fc_h2_read(c->h2) < 0)
        fc_http_conn_close(c);
}

void fc_http_session_drain(fc_http_conn *c)
{
    /* First that none may follow, and once that can have arrived, which ones did (RFC 9113 6.8). */
    fc_h2_leave(c->h2, false);
    fc_http_conn_read_deadline(c, c->server->settings.drain_idle_ms);
}

void fc_http_session_timeout(fc_http_conn *c)
{
    if (c->owes_header) {
        c->server->stats.h2_failed++;
        fc_h2_quit(c->h2, NGHTTP2_ENHANCE_YOUR_CALM);
        fc_http_conn_close(c);
    } else if (fc_h2_streams(c->h2) == 0) {
        fc_h2_quit(c->h2, NGHTTP2_NO_ERROR);
        fc_http_conn_close(c);
    } else if (c->server->draining) {
        fc_h2_leave(c->h2, true);
    }
}
