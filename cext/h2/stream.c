/* A stream as the transport of an fc_conn: HTTP/1.1 text on its owner's side, nghttp2's stream on the other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "internal.h"

static const fc_transport_ops transport_ops;

static fc_h2_stream *of(const fc_conn *c) { return (fc_h2_stream *)c->transport; }

/* --- life ------------------------------------------------------------------------------------------------------------ */

static void drop_buf(fc_buf **buf)
{
    if (*buf)
        fc_buf_unref(*buf);
    *buf = NULL;
}

static void drop_input(fc_h2_stream *s)
{
    size_t held = s->body.bytes;
    fc_outq_clear(&s->body);
    drop_buf(&s->text);
    drop_buf(&s->trailers);
    drop_buf(&s->tail);
    if (s->h2 && held)
        h2_release(s->h2, held);
}

/* Free it once neither nghttp2 nor an owner knows it, and no task will look at it. */
static void let_go(fc_h2_stream *s, fc_loop *loop)
{
    if (!s->closed || s->conn || s->task.queued)
        return;
    drop_input(s);
    fc_outq_clear(&s->ready);
    drop_buf(&s->out_trailers);
    fc_loop_timer_cancel(loop, &s->linger);
    if (s->link) {
        *s->link = s->next;
        if (s->next)
            s->next->link = s->link;
    }
    free(s);
}

static void on_task(fc_loop *loop, fc_task *task)
{
    fc_h2_stream *s = FC_CONTAINER_OF(task, fc_h2_stream, task);
    uint32_t events = s->events;
    s->events = 0;
    if (s->conn)
        fc_conn_event(s->conn, events);
    else
        let_go(s, loop);
}

/* The owner has gone, and the peer does not take the rest. */
static void on_linger(fc_timer *timer, void *ctx)
{
    fc_loop *loop = ctx;
    fc_h2_stream *s = FC_CONTAINER_OF(timer, fc_h2_stream, linger);
    if (s->ready.bytes < s->linger_mark) {
        s->linger_mark = s->ready.bytes;
        fc_loop_timer(loop, timer, fc_loop_now_ms(loop) + s->h2->settings.linger_ms);
        return;
    }
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    h2_schedule(s->h2);
}

fc_h2_stream *h2_stream_new(fc_h2 *h2, int32_t id)
{
    fc_h2_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->base.ops = &transport_ops;
    s->h2 = h2;
    s->id = id;
    s->task.fn = on_task;
    s->linger.fn = on_linger;
    fc_outq_init(&s->body);
    fc_outq_init(&s->ready);
    s->next = h2->streams;
    if (s->next)
        s->next->link = &s->next;
    s->link = &h2->streams;
    h2->streams = s;
    h2->open++;
    return s;
}

fc_transport *fc_h2_transport(fc_h2_stream *s, fc_conn *conn)
{
    s->conn = conn;
    return &s->base;
}

bool fc_h2_refused(const fc_conn *c)
{
    return c->transport && c->transport->ops == &transport_ops && of(c)->error == -ECONNREFUSED;
}

void h2_stream_event(fc_h2_stream *s, uint32_t events)
{
    if (!s->conn)
        return;
    s->events |= events;
    fc_loop_later(s->conn->loop, &s->task);
}

static void closed(fc_h2_stream *s)
{
    fc_h2 *h2 = s->h2;
    s->closed = true;
    h2->open--;
    if (h2->block.stream == s)
        h2->block.stream = NULL, h2->block.open = false; /* what follows of its block nghttp2 skips without telling us */
    if (!h2->dead)
        h2->ops->changed(h2);
}

static const char *stream_trouble(const fc_h2_stream *s)
{
    return !s->h2 ? s->trouble : s->h2->trouble ? s->h2->trouble : fc_conn_trouble(s->h2->conn);
}

static int error_of(uint32_t code) { return code == NGHTTP2_REFUSED_STREAM ? -ECONNREFUSED : -ECONNRESET; }

void h2_stream_closed(fc_h2_stream *s, uint32_t code)
{
    closed(s);
    if (code != NGHTTP2_NO_ERROR || !s->in_end)
        s->error = error_of(code);
    if (s->error)
        h2_stream_event(s, EPOLLIN | EPOLLOUT | EPOLLERR);
    let_go(s, s->h2->conn->loop);
}

void h2_stream_gone(fc_h2_stream *s)
{
    fc_loop *loop = s->h2->conn->loop;
    if (!s->closed)
        closed(s);
    s->trouble = stream_trouble(s);
    s->error = -ECONNRESET;
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    s->link = NULL;
    s->h2 = NULL;
    h2_stream_event(s, EPOLLIN | EPOLLOUT | EPOLLERR);
    let_go(s, loop);
}

/* --- towards the owner ------------------------------------------------------------------------------------------------ */

int h2_stream_data(fc_h2_stream *s, fc_buf *buf, const char *p, size_t n)
{
    int rc = 0;
    s->in_left -= s->in_chunked ? 0 : n; /* nghttp2 sees to it that no more comes than was declared */
    if (n >= FC_BUF_SMALL) { /* a held block of 64 KB is worth at least a sixteenth of itself */
        rc = fc_outq_push(&s->body, buf, p, n);
    } else {
        if (!s->tail || fc_buf_room(s->tail) < n) {
            drop_buf(&s->tail);
            if (!(s->tail = fc_buf_get(s->conn->loop->bufs, FC_BUF_SMALL)))
                return -ENOMEM;
        }
        char *at = s->tail->data + s->tail->used;
        memcpy(at, p, n);
        s->tail->used += (uint32_t)n;
        rc = fc_outq_push(&s->body, s->tail, at, n);
    }
    if (rc == 0)
        h2_stream_event(s, EPOLLIN);
    return rc;
}

static size_t take_text(fc_h2_stream *s, char *p, size_t n)
{
    size_t left = s->text->used - s->text_pos, part = left < n ? left : n;
    memcpy(p, s->text->data + s->text_pos, part);
    s->text_pos += (uint32_t)part;
    if (part == left) {
        drop_buf(&s->text);
        s->text_pos = 0;
    }
    return part;
}

static size_t take_data(fc_h2_stream *s, char *p, size_t n)
{
    const char *at;
    size_t max = s->in_chunked && s->chunk_left < n ? s->chunk_left : n;
    ssize_t got = fc_outq_peek(&s->body, p, max, &at);
    if (got <= 0)
        return 0;
    if (at != p)
        memcpy(p, at, (size_t)got);
    fc_outq_consume(&s->body, (size_t)got);
    if (!s->body.bytes)
        drop_buf(&s->tail);
    if (s->h2) {
        if (!s->closed)
            nghttp2_session_consume_stream(s->h2->session, s->id, (size_t)got);
        h2_release(s->h2, (size_t)got);
        h2_schedule(s->h2);
    }
    return (size_t)got;
}

static void say(fc_h2_stream *s, const char *p, size_t n)
{
    memcpy(s->frame, p, n);
    s->frame_pos = 0;
    s->frame_len = (uint8_t)n;
}

/* The next piece of text, of whichever kind it is; 0: there is none yet. */
static size_t take(fc_h2_stream *s, char *p, size_t n)
{
    if (s->frame_pos < s->frame_len) {
        size_t left = (size_t)(s->frame_len - s->frame_pos), part = left < n ? left : n;
        memcpy(p, s->frame + s->frame_pos, part);
        s->frame_pos += (uint8_t)part;
        return part;
    }
    if (s->text)
        return take_text(s, p, n);
    if (!s->in_head)
        return 0;
    if (s->body.bytes && s->in_chunked && !s->chunk_left) {
        char head[FC_CHUNK_HEAD_MAX];
        s->chunk_left = s->body.bytes;
        say(s, head, fc_chunk_head(head, s->chunk_left));
        return take(s, p, n);
    }
    if (s->body.bytes) {
        size_t got = take_data(s, p, n);
        if (s->in_chunked && !(s->chunk_left -= got))
            say(s, "\r\n", 2);
        return got;
    }
    if (!s->in_end || !s->in_chunked || s->in_told)
        return 0;
    s->in_told = true;
    s->text = s->trailers;
    s->trailers = NULL;
    say(s, "0\r\n\r\n", s->text ? 3 : 5);
    return take(s, p, n);
}

static bool stream_pull(fc_conn *c)
{
    const fc_h2_stream *s = of(c);
    return s->text || s->frame_pos < s->frame_len || s->body.bytes || s->error ||
           (s->in_head && s->in_end && s->in_chunked && !s->in_told);
}

static ssize_t stream_recv(fc_conn *c, void *p, size_t n)
{
    fc_h2_stream *s = of(c);
    size_t got = 0, part;
    while (got < n && (part = take(s, (char *)p + got, n - got)) > 0)
        got += part;
    c->readable = stream_pull(c);
    if (got)
        return (ssize_t)got;
    return s->error ? s->error : s->in_end ? 0 : -EAGAIN;
}

/* --- towards the peer -------------------------------------------------------------------------------------------------- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *room, size_t n, uint32_t *flags,
                         nghttp2_data_source *source, void *ctx)
{
    (void)session, (void)id, (void)room, (void)ctx;
    fc_h2_stream *s = source->ptr;
    if (s->ready.bytes < n)
        n = s->ready.bytes;
    if (n == 0 && !s->out_eof) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (s->out_eof && n == s->ready.bytes) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->out_trailers) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (h2_write_trailers(s) < 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

nghttp2_data_provider h2_stream_body(fc_h2_stream *s)
{
    return (nghttp2_data_provider){.source.ptr = s, .read_callback = read_body};
}

/* The owner's queue has room again: where it waits for that, tell it. */
static void tell_room(fc_h2_stream *s)
{
    if (s->conn && (s->conn->out.len || s->conn->over_high || s->conn->cut_short) && s->ready.bytes <= H2_READY_BYTES / 2)
        h2_stream_event(s, EPOLLOUT);
}

int h2_stream_send_data(fc_h2_stream *s, const uint8_t *frame_head, size_t n)
{
    fc_h2 *h2 = s->h2;
    int rc = h2_put(h2, (const char *)frame_head, 9);
    if (rc == 0 && n && n <= H2_COPY_BYTES) {
        char room[H2_COPY_BYTES];
        const char *at;
        ssize_t got = fc_outq_peek(&s->ready, room, n, &at);
        rc = got < (ssize_t)n ? -EIO : h2_put(h2, at, n);
        fc_outq_consume(&s->ready, n);
    } else if (rc == 0 && n) {
        rc = fc_outq_move(&s->ready, &h2->conn->out, n);
        h2->queued += n;
    }
    tell_room(s);
    return rc;
}

void h2_stream_out_sent(fc_h2_stream *s)
{
    s->out_sent = true;
    /* RFC 9113 8.1: the answer is complete, and what is left of the request is not wanted. */
    if (!s->conn && !s->in_end)
        nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
}

static int stream_send(fc_conn *c)
{
    fc_h2_stream *s = of(c);
    if (s->error || !s->h2)
        return s->error ? s->error : -EPIPE;
    while (s->out == H2_OUT_HEAD && c->out.len) {
        int rc = h2_write_head(s);
        if (rc <= 0)
            return rc;
    }
    int rc = h2_write_body(s);
    if (rc < 0)
        return rc;
    if (s->deferred && (s->ready.bytes || s->out_eof)) {
        s->deferred = false;
        nghttp2_session_resume_data(s->h2->session, s->id);
    }
    h2_schedule(s->h2);
    /* With nothing ready, what is left is the beginning of something: it is not room that it waits for. */
    return c->out.len && s->ready.bytes ? -EAGAIN : 0;
}

static int stream_connect(fc_conn *c)
{
    const fc_h2_stream *s = of(c);
    return s->error ? s->error : !s->h2 ? -ECONNRESET : s->h2->connected > 0 ? -EAGAIN : s->h2->connected;
}

/* What ends our side is the end of the message, not of the connection over the stream. */
static int stream_finish(fc_conn *c)
{
    (void)c;
    return 0;
}

/* The owner lets go: of a message that is whole the rest is still framed, anything else is reset. */
static void stream_free(fc_conn *c)
{
    fc_h2_stream *s = of(c);
    fc_loop *loop = c->loop;
    bool begun = s->out != H2_OUT_HEAD && !s->out_sent;
    if (begun && s->h2 && !s->closed && (s->out != H2_OUT_DONE || c->aborting))
        fc_h2_write(s->h2); /* nghttp2 drops what it has not sent when a reset is submitted */
    fc_h2 *h2 = s->h2;
    drop_input(s);
    s->conn = NULL;
    if (h2 && !s->closed) {
        bool whole = s->out == H2_OUT_DONE && !c->aborting;
        bool answered = s->out_sent && s->in_head && !s->in_chunked && !s->in_left;
        if (s->id == 0) {
            closed(s); /* nothing has been said of it */
        } else if (h2->server ? whole && !s->out_sent : answered && !s->in_end) { /* only the peer's END_STREAM is missing */
            s->linger_mark = s->ready.bytes;
            fc_loop_timer(loop, &s->linger, fc_loop_now_ms(loop) + h2->settings.linger_ms);
        } else if (!s->in_end || !s->out_sent) {
            uint32_t code = h2->server ? whole ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL;
            nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, s->id, code);
        }
        h2_schedule(h2);
    }
    let_go(s, loop);
}

static const char *transport_trouble(const fc_conn *c) { return stream_trouble(of(c)); }

static fc_slice stream_certificate(fc_conn *c)
{
    fc_conn *ground = of(c)->h2 ? of(c)->h2->conn : NULL;
    return ground && ground->transport ? ground->transport->ops->certificate(ground) : (fc_slice){NULL, 0};
}

static fc_slice stream_protocol(fc_conn *c)
{
    (void)c;
    return (fc_slice){"h2", 2};
}

static const fc_transport_ops transport_ops = {
    .connect = stream_connect,
    .pull = stream_pull,
    .recv = stream_recv,
    .send = stream_send,
    .finish = stream_finish,
    .free = stream_free,
    .trouble = transport_trouble,
    .certificate = stream_certificate,
    .protocol = stream_protocol,
};
