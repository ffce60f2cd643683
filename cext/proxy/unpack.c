/* Answers that came in a content coding their client does not take, decoded while they pass.
 *
 * A few bytes may unfold to gigabytes, so it is the client's queue that says when the next block is decoded: what has come and
 * is not decoded waits (`held`), and its sender is not read meanwhile. That is one block of the target's at the most. */
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
    bool whole; /* no more will come */
    fc_timer turn;
};

static void on_turn(fc_timer *timer, void *ctx)
{
    (void)ctx;
    exchange_drained(FC_CONTAINER_OF(timer, struct exchange_unpack, turn)->ex);
}

void exchange_unpack_begin(fc_exchange *ex, fc_coding coding)
{
    struct exchange_unpack *u = calloc(1, sizeof *u);
    if (u && (u->decoder = fc_decoder_new(coding))) {
        u->ex = ex;
        u->turn.fn = on_turn;
        ex->unpack = u;
        return;
    }
    free(u);
}

void exchange_unpack_free(fc_exchange *ex)
{
    struct exchange_unpack *u = ex->unpack;
    fc_loop_timer_cancel(exchange_loop(ex), &u->turn);
    if (u->held)
        fc_buf_unref(u->held);
    fc_decoder_free(u->decoder);
    free(u);
    ex->unpack = NULL;
    proxy_of(ex->req)->coders--;
}

/* Decode what fits one block, and send it. 0 or -errno. */
static int put_block(fc_exchange *ex)
{
    struct exchange_unpack *u = ex->unpack;
    fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, FC_BUF_MEDIUM);
    if (!buf)
        return -ENOMEM;
    char *out = buf->data + FC_CHUNK_HEAD_MAX;
    size_t room = buf->cap - FC_CHUNK_HEAD_MAX - 2;
    int rc = fc_decoder_step(u->decoder, &u->p, &u->n, &out, &room);
    buf->used = (uint32_t)(out - buf->data);
    int sent = exchange_send_block(ex, buf);
    fc_buf_unref(buf);
    if (rc == 0) {
        fc_buf_unref(u->held);
        u->held = NULL;
    }
    return rc < 0 ? rc : sent;
}

static void cut(fc_exchange *ex, int rc)
{
    if (rc == -EBADMSG)
        ex->error = "bad_coding"; /* the target's: what it sent is not what it said it was */
    exchange_cut(ex);
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
            fc_loop_timer(exchange_loop(ex), &u->turn, fc_loop_now_ms(exchange_loop(ex)));
            fc_http_flush(ex->req);
            return UNPACK_WAITS;
        }
        int rc = put_block(ex);
        if (rc < 0) {
            cut(ex, rc);
            return UNPACK_OVER;
        }
    }
    if (!u->whole)
        return UNPACK_DONE;
    if (!fc_decoder_ended(u->decoder)) {
        cut(ex, -EBADMSG);
    } else if (ex->reply_chunked && fc_http_send(ex->req, NULL, "0\r\n\r\n", 5) < 0) {
        exchange_cut(ex);
    } else {
        exchange_end(ex);
    }
    return UNPACK_OVER;
}

void exchange_unpack(fc_exchange *ex, fc_buf *buf, const char *p, size_t n)
{
    struct exchange_unpack *u = ex->unpack;
    if (!n)
        return;
    u->held = fc_buf_ref(buf);
    u->p = p;
    u->n = n;
}

bool exchange_unpack_waits(const fc_exchange *ex) { return ex->unpack->held; }

void exchange_unpack_end(fc_exchange *ex)
{
    ex->unpack->whole = true;
    exchange_unpack_go(ex);
}
