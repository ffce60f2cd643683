/* One client connection: from bytes to requests, one at a time. The picture of the states is in fc/http_server.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn_internal.h"

/* How long the rest of a refused client's input is swallowed, at most FC_HTTP_LINGER_BYTES of it. After an answer that
 * leaves unread input behind, closing at once would reset the connection and could destroy the answer on its way
 * (RFC 9112 9.6): so say FIN first. */
#define LINGER_MS 2000

static const fc_conn_ops conn_ops;

static fc_http_conn *of(fc_conn *conn) { return FC_CONTAINER_OF(conn, fc_http_conn, conn); }

/* --- deadlines --------------------------------------------------------------------------------------------------- */

static void arm(fc_http_conn *c)
{
    uint64_t at = c->read_deadline_ms;
    if (c->write_deadline_ms && (!at || c->write_deadline_ms < at))
        at = c->write_deadline_ms;
    if (at != c->conn.deadline_ms)
        fc_conn_deadline(&c->conn, at);
}

void fc_http_conn_read_deadline(fc_http_conn *c, uint32_t in_ms)
{
    c->read_deadline_ms = in_ms ? now_ms(c) + in_ms : 0;
    arm(c);
}

/* A body that trickles is as good as none: the deadline is the silence limit, or the time the bytes so far have earned at
 * the minimal rate, whichever is sooner. */
void fc_http_conn_body_deadline(fc_http_conn *c)
{
    const fc_http_settings *s = &c->server->settings;
    if (c->req->patient) {
        fc_http_conn_read_deadline(c, 0);
        return;
    }
    uint64_t at = now_ms(c) + s->body_timeout_ms;
    if (s->body_rate_min) {
        uint64_t earned = c->body_clock_ms + s->body_timeout_ms + c->req->body_in * 1000 / s->body_rate_min;
        if (earned < at)
            at = earned;
    }
    c->read_deadline_ms = at;
    arm(c);
}

static void write_deadline(fc_http_conn *c)
{
    uint64_t taken = c->queued - c->conn.out.bytes;
    if (!c->conn.out.len) {
        c->write_deadline_ms = 0;
    } else if (!c->write_deadline_ms || taken != c->write_mark) {
        c->write_mark = taken;
        c->write_deadline_ms = now_ms(c) + c->server->settings.write_timeout_ms;
    }
    arm(c);
}

/* --- input ------------------------------------------------------------------------------------------------------- */

/* Room for more bytes behind those not yet used, moving them to a fresh block when this one is shared or full. */
bool fc_http_conn_input_room(fc_http_conn *c, size_t want)
{
    size_t have = input_len(c);
    if (c->in && c->in->refs == 1) {
        if (have == 0)
            c->in->used = c->pos = 0;
        if (fc_buf_room(c->in) >= want)
            return true;
    }
    fc_buf *fresh = fc_buf_get(c->conn.loop->bufs, have + want);
    if (!fresh)
        return false;
    if (have)
        memcpy(fresh->data, c->in->data + c->pos, have);
    drop_input(c);
    fresh->used = (uint32_t)have;
    c->in = fresh;
    return true;
}

/* > 0 bytes added; 0 end of stream; -EAGAIN; another error. */
ssize_t fc_http_conn_input_read(fc_http_conn *c)
{
    ssize_t n = fc_conn_recv(&c->conn, c->in->data + c->in->used, fc_buf_room(c->in));
    if (n > 0)
        c->in->used += (uint32_t)n;
    if (n == 0)
        c->eof = true;
    return n;
}

/* Come back to ops->read at the end of the batch, also for bytes that are already in our own buffer: a read that finds
 * the socket empty costs one EAGAIN. */
void fc_http_conn_again(fc_http_conn *c)
{
    c->conn.readable = true;
    fc_conn_again(&c->conn);
}

/* --- the request's memory ---------------------------------------------------------------------------------------- */

static fc_http_req *req_new(fc_http_conn *c)
{
    fc_http_server *server = c->server;
    uint32_t fields = server->settings.fields_max;
    fc_buf *mem = fc_buf_get(c->conn.loop->bufs,
                             sizeof(fc_http_req) + fields * sizeof(fc_http1_field) + 15 + server->settings.app_bytes);
    if (!mem)
        return NULL;
    fc_http_req *req = (fc_http_req *)(void *)mem->data;
    memset(req, 0, sizeof *req);
    req->conn = c;
    req->server = server;
    req->mem = mem;
    req->head.fields = (fc_http1_field *)(void *)(req + 1);
    req->head.fields_max = fields;
    return req;
}

void fc_http_conn_req_free(fc_http_conn *c)
{
    fc_http_req *req = c->req;
    c->req = NULL;
    if (req->head_buf)
        fc_buf_unref(req->head_buf);
    fc_buf_unref(req->mem);
}

/* --- ending ------------------------------------------------------------------------------------------------------ */

void fc_http_conn_idle(fc_http_conn *c, bool idle)
{
    if (c->idle != idle)
        c->server->stats.idle += idle ? 1 : (uint32_t)-1;
    c->idle = idle;
}

void fc_http_conn_close(fc_http_conn *c)
{
    fc_http_conn_idle(c, false);
    drop_input(c);
    if (c->h2)
        fc_h2_free(c->h2);
    c->h2 = NULL;
    fc_conn_close(&c->conn);
}

static void on_closed(fc_conn *conn)
{
    fc_http_conn *c = of(conn);
    fc_http_server *server = c->server;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    if (c->stream)
        server->stats.streams--;
    else
        server->stats.open--;
    bool stream = c->stream;
    free(c);
    fc_http_server_left(server, stream);
}

void fc_http_conn_kill(fc_http_conn *c, fc_http_failure why)
{
    if (c->conn.dead)
        return;
    if (c->req && !c->req->ended) {
        c->req->ended = true; /* whatever the application tries to send now is dropped */
        c->server->ops->failed(c->req, why);
    }
    if (c->req)
        fc_http_conn_req_free(c);
    fc_http_conn_close(c);
}

/* The request failed while its answer may not have begun: the application gets the chance to say so to the client. */
void fc_http_conn_fail(fc_http_conn *c, fc_http_failure why)
{
    fc_http_req *req = c->req;
    if (!req || req->ended || why == FC_HTTP_CLIENT_GONE || why == FC_HTTP_WRITE_TIMEOUT) {
        fc_http_conn_kill(c, why);
        return;
    }
    c->close_after = true;
    c->state = FC_HTTP_ANSWER;
    c->server->ops->failed(req, why);
    if (c->req == req && !req->ended) {
        req->ended = true;
        fc_http_conn_req_free(c);
        fc_http_conn_close(c);
    }
}

static void linger_or_close(fc_http_conn *c)
{
    if (c->stream) { /* what is left of it is told to the peer by closing it */
        fc_http_conn_close(c);
        return;
    }
    bool unread = !c->eof && (input_len(c) > 0 || c->conn.readable || c->linger_left > 0);
    if (unread || c->conn.transport)
        fc_conn_shutdown_write(&c->conn);
    if (!unread && !c->conn.finishing) {
        fc_http_conn_close(c);
        return;
    }
    drop_input(c);
    c->state = FC_HTTP_LINGER;
    c->linger_left = FC_HTTP_LINGER_BYTES;
    c->write_deadline_ms = 0;
    fc_http_conn_read_deadline(c, LINGER_MS);
    fc_conn_resume(&c->conn);
    fc_http_conn_again(c);
}

/* No further request will be read here; what was answered already still goes out (a client may half-close its side as
 * soon as it has asked, and goes on reading). */
void fc_http_conn_finish(fc_http_conn *c)
{
    if (c->req)
        fc_http_conn_req_free(c);
    if (!c->conn.out.len) {
        fc_http_conn_close(c);
        return;
    }
    fc_http_conn_idle(c, false);
    c->close_after = true;
    c->state = FC_HTTP_ANSWER; /* on_read or on_sent settles */
    fc_http_conn_read_deadline(c, 0);
}

static void go_idle(fc_http_conn *c)
{
    const fc_http_settings *s = &c->server->settings;
    c->state = FC_HTTP_HEAD;
    c->last_len = 0;
    fc_http_conn_idle(c, input_len(c) == 0);
    fc_http_conn_read_deadline(c, c->server->draining ? s->drain_idle_ms : c->requests ? s->idle_timeout_ms : s->header_timeout_ms);
}

/* After an answer: on to the next request, or away. */
void fc_http_conn_settle(fc_http_conn *c)
{
    if (c->close_after) {
        if (c->conn.out.len == 0)
            linger_or_close(c);
        else
            c->state = FC_HTTP_ANSWER; /* on_sent brings us here again */
        return;
    }
    fc_conn_resume(&c->conn);
    if (input_len(c) == 0)
        drop_input(c);
    go_idle(c);
    if ((c->in || c->conn.readable) && !c->processing)
        fc_http_conn_again(c);
}

/* --- head -------------------------------------------------------------------------------------------------------- */

static void begin_request(fc_http_conn *c, int head_len)
{
    fc_http_req *req = c->req;
    fc_http_server *server = c->server;
    c->pos += (uint32_t)head_len;
    c->last_len = 0;
    c->requests++;
    server->stats.requests++;
    req->started_ns = c->conn.loop->now_ns;
    uint64_t max = server->settings.body_bytes_max;
    switch (req->head.framing) {
    case FC_BODY_LENGTH:
        req->body_left = req->head.content_length;
        break;
    case FC_BODY_CHUNKED:
        fc_chunked_init(&req->chunked, server->settings.chunk_ext_max);
        break;
    default:
        req->body_done = true;
    }
    if (req->body_done) {
        c->state = FC_HTTP_ANSWER;
        fc_http_conn_read_deadline(c, 0);
    } else {
        c->state = FC_HTTP_BODY;
        c->body_clock_ms = now_ms(c);
        fc_http_conn_body_deadline(c);
    }
    if (max && req->head.framing == FC_BODY_LENGTH && req->head.content_length > max) {
        c->close_after = true;
        server->stats.refused++;
        server->ops->refuse(req, 413, "the request body is larger than this server accepts");
        return;
    }
    server->ops->request(req);
    if (c->req == req && req->body_done && !req->ended)
        server->ops->body_end(req, NULL, NULL);
}

static void refuse(fc_http_conn *c, fc_http1_error error)
{
    c->req->head.error = (uint8_t)error;
    c->req->body_done = true;
    c->req->started_ns = c->conn.loop->now_ns;
    c->requests++;
    c->state = FC_HTTP_ANSWER;
    c->close_after = true;
    c->linger_left = FC_HTTP_LINGER_BYTES;
    c->server->stats.refused++;
    fc_http_conn_read_deadline(c, 0);
    c->server->ops->refuse(c->req, fc_http1_error_status(error), fc_http1_error_text(error));
}

/* Parse what is here. False when more bytes are needed. */
static bool take_head(fc_http_conn *c)
{
    if (!c->req) {
        fc_http_conn_idle(c, false);
        fc_http_conn_read_deadline(c, c->server->settings.header_timeout_ms);
        if (!(c->req = req_new(c))) {
            fc_http_conn_kill(c, FC_HTTP_NO_MEMORY);
            return false;
        }
    }
    fc_http_req *req = c->req;
    size_t len = input_len(c);
    const char *base = c->in->data + c->pos;
    int rc = fc_http1_parse_request(base, len, c->last_len, &c->server->settings.parse, &req->head);
    if (rc == FC_HTTP1_PARTIAL) {
        c->last_len = (uint32_t)len;
        return false;
    }
    req->base = base;
    req->head_buf = fc_buf_ref(c->in);
    if (rc > 0)
        begin_request(c, rc);
    else
        refuse(c, (fc_http1_error)req->head.error);
    return true;
}

/* Requests, one after the other, as long as they are answered at once. */
static void read_heads(fc_http_conn *c)
{
    c->processing = true;
    while (c->state == FC_HTTP_HEAD && !c->conn.dead) {
        if (fc_conn_full(&c->conn))
            break; /* a client that pipelines but does not read: on_drain comes back here */
        bool unknown = c->server->settings.h2 && !c->requests && !c->req && !c->stream;
        int look = unknown ? fc_http_session_look(c) : 0;
        if (look > 0)
            return;
        if (look == 0 && input_len(c) > c->last_len && take_head(c))
            continue;
        if (c->conn.dead || !c->conn.readable)
            break;
        /* A small block first; a head that outgrows it moves to a larger one. Behind a partial head, whatever room is
         * left in its block is filled before it is moved. */
        size_t have = input_len(c);
        size_t room = have == 0 ? FC_BUF_SMALL : have < FC_BUF_MEDIUM / 2 ? FC_BUF_MEDIUM - have : FC_BUF_LARGE - have;
        bool fits = have && c->in->refs == 1 && fc_buf_room(c->in) > 0;
        if (!fits && !fc_http_conn_input_room(c, room)) {
            fc_http_conn_kill(c, FC_HTTP_NO_MEMORY);
            break;
        }
        ssize_t n = fc_http_conn_input_read(c);
        if (n > 0)
            continue;
        if (n == 0) {
            fc_http_conn_finish(c); /* in the middle of a head, too: nobody is waiting for its answer */
            break;
        }
        if (n != -EAGAIN)
            fc_http_conn_kill(c, FC_HTTP_CLIENT_GONE);
        break;
    }
    if (!c->conn.dead && input_len(c) == 0)
        drop_input(c);
    c->processing = false;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

void fc_http_conn_flush(fc_http_conn *c)
{
    int rc = fc_conn_flush(&c->conn);
    if (rc < 0) {
        /* Not from inside the application's own call: tell it at the end of the batch. */
        c->conn.reset = c->conn.readable = true;
        fc_conn_resume(&c->conn);
        fc_conn_again(&c->conn);
        return;
    }
    write_deadline(c);
}

static void on_read(fc_conn *conn)
{
    fc_http_conn *c = of(conn);
    if (c->conn.reset && (c->state >= FC_HTTP_ANSWER || c->conn.out.len)) {
        fc_http_conn_kill(c, FC_HTTP_CLIENT_GONE);
        return;
    }
    switch ((enum fc_http_state)c->state) {
    case FC_HTTP_HEAD:
        read_heads(c);
        if (!c->conn.dead && !c->conn.paused && c->state == FC_HTTP_BODY)
            fc_http_conn_read_body(c); /* its first bytes came with the head */
        break;
    case FC_HTTP_BODY:
    case FC_HTTP_TRAILERS:
        fc_http_conn_read_body(c);
        break;
    case FC_HTTP_TUNNEL:
        fc_http_conn_read_tunnel(c);
        break;
    case FC_HTTP_LINGER:
        fc_http_conn_read_linger(c);
        return;
    case FC_HTTP_SESSION:
        fc_http_session_read(c);
        return;
    case FC_HTTP_ANSWER: /* the next request waits in the kernel */
        return;
    }
    if (!c->conn.dead && c->conn.out.len)
        fc_http_conn_flush(c);
    if (c->conn.dead || c->req)
        return;
    /* Several pipelined requests may have been answered: the last word on closing comes after their bytes have left. */
    if (c->close_after && c->state == FC_HTTP_ANSWER)
        fc_http_conn_settle(c);
    /* Reading heads stops when their answers fill the queue. Where the flush has emptied it no `drain` will follow. */
    else if (c->state == FC_HTTP_HEAD && input_len(c) > c->last_len && !fc_conn_full(&c->conn))
        fc_http_conn_again(c);
}

static void on_sent(fc_conn *conn)
{
    fc_http_conn *c = of(conn);
    write_deadline(c);
    if (c->h2)
        fc_h2_write(c->h2);
    else if (!c->req && c->close_after)
        fc_http_conn_settle(c);
}

static void on_drain(fc_conn *conn)
{
    fc_http_conn *c = of(conn);
    write_deadline(c);
    if (c->h2)
        fc_h2_write(c->h2);
    else if (c->req && !c->req->ended)
        c->server->ops->drain(c->req);
    else if (c->state == FC_HTTP_HEAD)
        fc_http_conn_again(c);
}

static void head_timeout(fc_http_conn *c)
{
    fc_http_req *req = c->req;
    fc_http1_head *head = &req->head;
    /* What a partial parse has left behind is nobody's business. */
    *head = (fc_http1_head){.fields = head->fields, .fields_max = head->fields_max};
    req->head_buf = fc_buf_ref(c->in);
    req->base = c->in->data + c->pos;
    req->body_done = true;
    req->started_ns = c->conn.loop->now_ns;
    c->state = FC_HTTP_ANSWER;
    c->close_after = true;
    c->server->stats.refused++;
    c->server->ops->refuse(req, 408, "the request head was not complete in time");
}

static void on_timeout(fc_conn *conn)
{
    fc_http_conn *c = of(conn);
    uint64_t now = now_ms(c);
    if (c->write_deadline_ms && c->write_deadline_ms <= now) {
        write_deadline(c); /* moves on when the client has taken something since */
        if (c->write_deadline_ms <= now) {
            fc_http_conn_kill(c, FC_HTTP_WRITE_TIMEOUT);
            return;
        }
    }
    if (!c->read_deadline_ms || c->read_deadline_ms > now) {
        arm(c);
        return;
    }
    c->read_deadline_ms = 0;
    switch ((enum fc_http_state)c->state) {
    case FC_HTTP_HEAD:
        if (c->req)
            head_timeout(c);
        else if (c->conn.out.len) /* still taking the last answer: that has its own deadline */
            go_idle(c);
        else
            fc_http_conn_close(c);
        return;
    case FC_HTTP_BODY:
    case FC_HTTP_TRAILERS:
        if (c->req->ended)
            fc_http_conn_finish(c);
        else
            fc_http_conn_fail(c, FC_HTTP_BODY_TIMEOUT);
        return;
    case FC_HTTP_LINGER:
        fc_http_conn_close(c);
        return;
    case FC_HTTP_SESSION:
        fc_http_session_timeout(c);
        return;
    case FC_HTTP_ANSWER:
    case FC_HTTP_TUNNEL:
        return;
    }
}

static void on_broken(fc_conn *conn, int err)
{
    (void)err;
    fc_http_conn *c = of(conn);
    fc_http_conn_kill(c, FC_HTTP_CLIENT_GONE);
}

static const fc_conn_ops conn_ops = {
    .read = on_read,
    .drain = on_drain,
    .sent = on_sent,
    .timeout = on_timeout,
    .broken = on_broken,
    .closed = on_closed,
};

static void begin(fc_http_conn *c, fc_http_server *server, const fc_addr *peer)
{
    c->conn.out_high = server->settings.out_high;
    c->conn.out_low = server->settings.out_low;
    c->server = server;
    c->peer = *peer;
    c->next = server->conns;
    if (c->next)
        c->next->link = &c->next;
    c->link = &server->conns;
    server->conns = c;
}

int fc_http_conn_start(fc_http_server *server, int fd, const fc_addr *peer, fc_securer *securer)
{
    fc_http_conn *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    int rc = fc_conn_open(&c->conn, server->loop, fd, &conn_ops);
    if (rc < 0) {
        free(c);
        return rc;
    }
    begin(c, server, peer);
    server->stats.open++;
    go_idle(c);
    if (securer && securer->secure(securer, &c->conn, NULL, 0) < 0)
        fc_http_conn_close(c);
    c->secure = securer != NULL;
    return 0;
}

int fc_http_conn_start_over(fc_http_server *server, fc_http_conn *session, fc_h2_stream *stream)
{
    fc_http_conn *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    fc_conn_open_over(&c->conn, server->loop, fc_h2_transport(stream, &c->conn), false, &conn_ops);
    begin(c, server, &session->peer);
    c->secure = session->secure;
    c->stream = true;
    server->stats.streams++;
    c->state = FC_HTTP_HEAD;
    return 0;
}

void fc_http_conn_drain(fc_http_conn *c)
{
    if (c->h2)
        fc_http_session_drain(c);
    else if (c->idle)
        fc_http_conn_read_deadline(c, c->server->settings.drain_idle_ms);
}
