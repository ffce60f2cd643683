/* Bodies that came in a content coding the other side does not take, decoded while they pass: answers for clients, and bodies
 * of requests for targets.
 *
 * A few bytes may unfold to gigabytes, so it is the reader's queue that says when the next block is decoded: what has come and
 * is not decoded waits (`held`), and its sender is not read meanwhile. That is one block of the sender's at the most. */
#include <errno.h>
#include <stdlib.h>

#include "exchange.h"
#include "fc/decoder.h"

/* Blocks made before others get their turn: a quarter of a megabyte. */
#define BLOCKS_PER_TURN 16

struct exchange_unpack {
    fc_decoder *decoder;
    fc_exchange *ex;
    fc_buf *held; /* p[0 .. n) of it; NULL: nothing waits */
    const char *p;
    size_t n;
    uint64_t made; /* bytes */
    bool whole;    /* no more will come */
    fc_timer turn;
};

static struct exchange_unpack *begin(fc_exchange *ex, fc_coding coding, fc_timer_fn on_turn)
{
    struct exchange_unpack *u = calloc(1, sizeof *u);
    if (!u || !(u->decoder = fc_decoder_new(coding))) {
        free(u);
        return NULL;
    }
    u->ex = ex;
    u->turn.fn = on_turn;
    proxy_of(ex->req)->coders++;
    return u;
}

static void end(struct exchange_unpack *u)
{
    fc_loop_timer_cancel(exchange_loop(u->ex), &u->turn);
    if (u->held)
        fc_buf_unref(u->held);
    fc_decoder_free(u->decoder);
    proxy_of(u->ex->req)->coders--;
    free(u);
}

static void hold(struct exchange_unpack *u, fc_buf *buf, const char *p, size_t n)
{
    if (!n)
        return;
    u->held = fc_buf_ref(buf);
    u->p = p;
    u->n = n;
}

/* What fits one block, behind FC_CHUNK_HEAD_MAX bytes and with 2 free behind it. NULL: *rc is -EBADMSG or -ENOMEM. */
static fc_buf *next_block(struct exchange_unpack *u, int *rc)
{
    fc_buf *buf = fc_buf_get(exchange_loop(u->ex)->bufs, FC_BUF_MEDIUM);
    if (!buf) {
        *rc = -ENOMEM;
        return NULL;
    }
    char *out = buf->data + FC_CHUNK_HEAD_MAX;
    size_t room = buf->cap - FC_CHUNK_HEAD_MAX - 2;
    *rc = fc_decoder_step(u->decoder, &u->p, &u->n, &out, &room);
    if (*rc < 0) {
        fc_buf_unref(buf);
        return NULL;
    }
    buf->used = (uint32_t)(out - buf->data);
    u->made += buf->used - FC_CHUNK_HEAD_MAX;
    if (*rc == 0) {
        fc_buf_unref(u->held);
        u->held = NULL;
    }
    return buf;
}

static void later(struct exchange_unpack *u)
{
    fc_loop *loop = exchange_loop(u->ex);
    fc_loop_timer(loop, &u->turn, fc_loop_now_ms(loop));
}

/* --- answers ------------------------------------------------------------------------------------------------------- */

static void on_reply_turn(fc_timer *timer, void *ctx)
{
    (void)ctx;
    exchange_drained(FC_CONTAINER_OF(timer, struct exchange_unpack, turn)->ex);
}

void exchange_unpack_begin(fc_exchange *ex, fc_coding coding) { ex->unpack = begin(ex, coding, on_reply_turn); }

void exchange_unpack_free(fc_exchange *ex)
{
    end(ex->unpack);
    ex->unpack = NULL;
}

void exchange_unpack(fc_exchange *ex, fc_buf *buf, const char *p, size_t n) { hold(ex->unpack, buf, p, n); }

bool exchange_unpack_waits(const fc_exchange *ex) { return ex->unpack->held; }

static enum unpack_state cut(fc_exchange *ex, int rc)
{
    if (rc == -EBADMSG)
        ex->error = "bad_coding"; /* the target's: what it sent is not what it said it was */
    exchange_cut(ex);
    return UNPACK_OVER;
}

enum unpack_state exchange_unpack_go(fc_exchange *ex)
{
    struct exchange_unpack *u = ex->unpack;
    for (int blocks = 0; u->held; blocks++) {
        if (fc_http_full(ex->req)) {
            fc_http_flush(ex->req);
            if (fc_http_full(ex->req))
                return UNPACK_WAITS; /* the server tells when it has fallen */
        }
        if (blocks == BLOCKS_PER_TURN) {
            later(u);
            fc_http_flush(ex->req);
            return UNPACK_WAITS;
        }
        int rc;
        fc_buf *buf = next_block(u, &rc);
        if (!buf)
            return cut(ex, rc);
        rc = exchange_send_block(ex, buf);
        fc_buf_unref(buf);
        if (rc < 0)
            return cut(ex, rc);
    }
    if (!u->whole)
        return UNPACK_DONE;
    if (!fc_decoder_ended(u->decoder))
        return cut(ex, -EBADMSG);
    if (ex->reply_chunked && fc_http_send(ex->req, NULL, "0\r\n\r\n", 5) < 0)
        return cut(ex, -ENOMEM);
    exchange_end(ex);
    return UNPACK_OVER;
}

void exchange_unpack_end(fc_exchange *ex)
{
    ex->unpack->whole = true;
    exchange_unpack_go(ex);
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

static void on_request_turn(fc_timer *timer, void *ctx)
{
    (void)ctx;
    exchange_unpack_request_drained(FC_CONTAINER_OF(timer, struct exchange_unpack, turn)->ex);
}

void exchange_unpack_request_begin(fc_exchange *ex, fc_coding coding)
{
    if ((ex->unpack_request = begin(ex, coding, on_request_turn)))
        ex->request_chunked = true;
}

void exchange_unpack_request_free(fc_exchange *ex)
{
    end(ex->unpack_request);
    ex->unpack_request = NULL;
}

static enum unpack_state refuse(fc_exchange *ex, int rc)
{
    if (rc == -ENOMEM)
        exchange_fail(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
    else if (ex->answered)
        exchange_cut(ex);
    else
        problem_answer(ex, rc == -E2BIG ? PROBLEM_BODY_TOO_LARGE : PROBLEM_BAD_REQUEST,
                       rc == -E2BIG ? "the request body unpacks to more than this route accepts"
                                    : "the request body is not what its Content-Encoding says, or lacks its end",
                       NULL);
    return UNPACK_OVER;
}

static enum unpack_state request_go(fc_exchange *ex)
{
    struct exchange_unpack *u = ex->unpack_request;
    uint64_t max = ex->route->body_bytes_max;
    for (int blocks = 0; u->held; blocks++) {
        if (!ex->lease.conn || ex->deaf) { /* nobody wants what is left of it */
            fc_buf_unref(u->held);
            u->held = NULL;
            break;
        }
        if (fc_conn_full(exchange_upstream(ex)) || blocks == BLOCKS_PER_TURN) {
            fc_http_pause(ex->req);
            if (!fc_conn_full(exchange_upstream(ex)))
                later(u);
            return UNPACK_WAITS;
        }
        int rc;
        fc_buf *buf = next_block(u, &rc);
        if (!buf)
            return refuse(ex, rc);
        if (max && u->made > max)
            rc = -E2BIG;
        else
            rc = exchange_put_body(ex, buf, buf->data + FC_CHUNK_HEAD_MAX, buf->used - FC_CHUNK_HEAD_MAX);
        fc_buf_unref(buf);
        if (rc < 0)
            return refuse(ex, rc);
        if (ex->finished)
            return UNPACK_OVER;
    }
    if (!u->whole)
        return UNPACK_DONE;
    if (!fc_decoder_ended(u->decoder) && ex->lease.conn)
        return refuse(ex, -EBADMSG);
    exchange_put_body_end(ex, NULL, NULL);
    return UNPACK_OVER;
}

void exchange_unpack_request(fc_exchange *ex, fc_buf *buf, const char *p, size_t n)
{
    hold(ex->unpack_request, buf, p, n);
    request_go(ex);
}

void exchange_unpack_request_end(fc_exchange *ex)
{
    ex->unpack_request->whole = true;
    if (!ex->unpack_request->held)
        request_go(ex);
}

void exchange_unpack_request_drained(fc_exchange *ex)
{
    if (request_go(ex) == UNPACK_DONE)
        fc_http_resume(ex->req);
}
