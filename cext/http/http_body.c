/* What follows a head: the body in either framing, its trailers, a tunnel's bytes, and what nobody wants any more. */
#include <errno.h>

#include "conn_internal.h"

/* Blocks read from one connection per turn before others get theirs. */
#define READS_PER_TURN 4

static void body_complete(fc_http_conn *c, const char *base, const fc_http1_head *trailers)
{
    fc_http_req *req = c->req;
    req->body_done = true;
    c->state = FC_HTTP_ANSWER;
    fc_http_conn_read_deadline(c, 0);
    if (req->ended) /* the answer was complete before the body: skipped to here */
        fc_http_conn_req_free(c), fc_http_conn_settle(c);
    else
        c->server->ops->body_end(req, base, trailers);
}

static bool take_trailers(fc_http_conn *c)
{
    fc_http1_field fields[32];
    fc_http1_head head = {.fields = fields, .fields_max = FC_ARRAY_LEN(fields)};
    fc_http1_limits limits = c->server->settings.parse;
    limits.head_bytes_max = c->server->settings.trailer_bytes_max;
    const char *base = c->in->data + c->pos;
    size_t len = input_len(c);
    int rc = fc_http1_parse_trailers(base, len, c->last_len, &limits, &head);
    if (rc == FC_HTTP1_PARTIAL) {
        c->last_len = (uint32_t)len;
        return false;
    }
    c->last_len = 0;
    if (rc < 0) {
        fc_http_conn_fail(c, FC_HTTP_BODY_MALFORMED);
        return false;
    }
    c->pos += (uint32_t)rc;
    body_complete(c, base, head.fields_len ? &head : NULL);
    return true;
}

static void give_body(fc_http_conn *c, const char *p, size_t n)
{
    fc_http_req *req = c->req;
    req->body_in += n;
    if (!req->ended) {
        c->server->ops->body(req, c->in, p, n);
    } else if (req->head.framing == FC_BODY_CHUNKED) {
        if (n > req->body_left) { /* longer than is worth skipping */
            fc_http_conn_req_free(c);
            c->close_after = true;
            c->linger_left = FC_HTTP_LINGER_BYTES;
            c->state = FC_HTTP_ANSWER;
            fc_http_conn_settle(c);
        } else {
            req->body_left -= n;
        }
    }
}

/* Decode what is here until it is used up, reading was paused, or the body is complete. */
static void take_body(fc_http_conn *c)
{
    fc_http_req *req = c->req;
    uint64_t max = c->server->settings.body_bytes_max;
    while (c->req == req && c->state == FC_HTTP_BODY && !c->conn.paused && input_len(c)) {
        char *p = c->in->data + c->pos;
        size_t n = input_len(c);
        if (req->head.framing == FC_BODY_LENGTH) {
            if (n > req->body_left)
                n = req->body_left;
            req->body_left -= n;
            c->pos += (uint32_t)n;
            give_body(c, p, n);
            if (c->req == req && req->body_left == 0 && c->state == FC_HTTP_BODY)
                body_complete(c, NULL, NULL);
            continue;
        }
        size_t used;
        fc_slice data;
        fc_chunk got = fc_chunked_next(&req->chunked, p, n, &used, &data);
        c->pos += (uint32_t)used;
        if (got == FC_CHUNK_ERROR) {
            fc_http_conn_fail(c, FC_HTTP_BODY_MALFORMED);
        } else if (got == FC_CHUNK_DATA) {
            if (max && req->body_in + data.n > max)
                fc_http_conn_fail(c, FC_HTTP_BODY_TOO_LARGE);
            else
                give_body(c, data.p, data.n);
        } else if (got == FC_CHUNK_LAST) {
            c->state = FC_HTTP_TRAILERS;
            c->last_len = 0;
        }
    }
    if (c->req == req && c->state == FC_HTTP_TRAILERS && input_len(c))
        take_trailers(c);
}

void fc_http_conn_read_body(fc_http_conn *c)
{
    fc_http_req *req = c->req;
    take_body(c);
    for (int i = 0; c->req == req && !c->conn.dead && (c->state == FC_HTTP_BODY || c->state == FC_HTTP_TRAILERS) &&
                    !c->conn.paused && c->conn.readable;
         i++) {
        if (i == READS_PER_TURN) {
            fc_conn_again(&c->conn);
            return;
        }
        bool large = req->head.framing != FC_BODY_LENGTH || req->body_left > FC_BUF_MEDIUM;
        size_t want = c->state == FC_HTTP_TRAILERS ? 1024 : large ? FC_BUF_LARGE : FC_BUF_MEDIUM;
        if (!fc_http_conn_input_room(c, want)) {
            fc_http_conn_fail(c, FC_HTTP_NO_MEMORY);
            return;
        }
        ssize_t n = fc_http_conn_input_read(c);
        if (n == -EAGAIN)
            break;
        if (n == 0 && req->ended) { /* skipping a body whose answer is on its way */
            fc_http_conn_finish(c);
            return;
        }
        if (n <= 0) {
            fc_http_conn_fail(c, FC_HTTP_CLIENT_GONE);
            return;
        }
        fc_http_conn_body_deadline(c);
        take_body(c);
    }
    if (!c->conn.dead && c->in && input_len(c) == 0)
        drop_input(c);
}

void fc_http_conn_read_tunnel(fc_http_conn *c)
{
    fc_http_req *req = c->req;
    for (int i = 0; c->req == req && !c->conn.dead && !c->conn.paused && !req->body_done; i++) {
        if (input_len(c)) {
            char *p = c->in->data + c->pos;
            size_t n = input_len(c);
            c->pos = c->in->used;
            req->body_in += n;
            c->server->ops->body(req, c->in, p, n);
            continue;
        }
        if (!c->conn.readable)
            break;
        if (i >= READS_PER_TURN) {
            fc_conn_again(&c->conn);
            return;
        }
        if (!fc_http_conn_input_room(c, FC_BUF_MEDIUM)) {
            fc_http_conn_fail(c, FC_HTTP_NO_MEMORY);
            return;
        }
        ssize_t n = fc_http_conn_input_read(c);
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            fc_http_conn_fail(c, FC_HTTP_CLIENT_GONE);
            return;
        }
        if (n == 0) {
            req->body_done = true;
            c->conn.readable = false;
            c->server->ops->body_end(req, NULL, NULL);
        }
    }
    if (!c->conn.dead && c->in && input_len(c) == 0)
        drop_input(c);
}

void fc_http_conn_read_linger(fc_http_conn *c)
{
    char scrap[16384];
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t n = fc_conn_recv(&c->conn, scrap, sizeof scrap);
        if (n == -EAGAIN)
            return;
        if (n <= 0 || (size_t)n >= c->linger_left) {
            fc_http_conn_close(c);
            return;
        }
        c->linger_left -= (uint32_t)n;
    }
    fc_conn_again(&c->conn);
}
