/* A session: what nghttp2 reads and writes, what a peer may cost, and who comes and goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "internal.h"

/* Blocks read per turn before other connections get theirs. */
#define READS_PER_TURN 4
/* Beyond a head's own bytes, those of frames and of fields that are not part of its text. */
#define BLOCK_SLACK (16u * 1024u)

fc_h2_settings fc_h2_settings_default(void)
{
    return (fc_h2_settings){
        .streams_max = 128,
        .stream_window = 256 * 1024,
        .connection_window = 1024 * 1024,
        .head_bytes_max = 32 * 1024,
        .control_burst = 1000,
        .control_rate = 100,
        .linger_ms = 30 * 1000,
    };
}

void *fc_h2_owner(const fc_h2 *h2) { return h2->owner; }
fc_conn *fc_h2_conn(const fc_h2 *h2) { return h2->conn; }
uint64_t fc_h2_queued(const fc_h2 *h2) { return h2->queued; }
uint32_t fc_h2_streams(const fc_h2 *h2) { return h2->open; }
bool fc_h2_in_header(const fc_h2 *h2) { return h2->block.open; }
bool fc_h2_leaving(const fc_h2 *h2) { return h2->leaving; }

bool fc_h2_has_room(const fc_h2 *h2)
{
    uint32_t allowed = nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return !h2->leaving && h2->open < allowed && h2->open < h2->settings.streams_max &&
           nghttp2_session_check_request_allowed(h2->session);
}

void h2_schedule(fc_h2 *h2) { fc_loop_later(h2->conn->loop, &h2->task); }

/* --- what a peer may cost ---------------------------------------------------------------------------------------- */

/* A frame that asks for work and brings nothing. */
static void spend(fc_h2 *h2)
{
    uint64_t now = h2->conn->loop->now_ns, each = FC_NS_PER_S / h2->settings.control_rate;
    if (h2->budget_ns < now)
        h2->budget_ns = now;
    h2->budget_ns += each;
    if (h2->budget_ns - now <= each * h2->settings.control_burst || h2->trouble)
        return;
    h2->trouble = "the peer sends too many frames that carry nothing";
    nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

void h2_release(fc_h2 *h2, size_t n)
{
    h2->held -= n;
    if (h2->owed && h2->held <= h2->settings.connection_window / 2) {
        nghttp2_session_consume_connection(h2->session, h2->owed);
        h2->owed = 0;
        h2_schedule(h2);
    }
}

static void hold(fc_h2 *h2, size_t n)
{
    h2->held += n;
    if (h2->held <= h2->settings.connection_window)
        nghttp2_session_consume_connection(h2->session, n);
    else
        h2->owed += n;
}

/* --- frames that come ---------------------------------------------------------------------------------------------- */

static void tell_waiting(fc_h2 *h2, int connected)
{
    h2->connected = connected;
    for (fc_h2_stream *s = h2->streams; s; s = s->next)
        h2_stream_event(s, EPOLLOUT);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    fc_h2 *h2 = ctx;
    fc_h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        if (h2->trouble || !(s = h2_stream_new(h2, frame->hd.stream_id)))
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
    }
    h2_block_begin(h2, s, s && s->in_head);
    h2->ops->changed(h2);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                     uint8_t flags, void *ctx)
{
    (void)session, (void)frame, (void)flags;
    return h2_block_field(ctx, name, value) < 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

/* RFC 9113 8.1.1: malformed, and nghttp2 would only leave the field out. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                             uint8_t flags, void *ctx)
{
    (void)session, (void)frame, (void)name, (void)value, (void)flags, (void)ctx;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_headers(fc_h2 *h2, const nghttp2_frame *frame, fc_h2_stream *s)
{
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    int rc = h2_block_end(h2, end);
    h2->ops->changed(h2);
    if (!s)
        return 0;
    if (end)
        s->in_end = true;
    if (rc == 0 && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        rc = h2->ops->opened(h2, s);
    if (rc < 0)
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_REFUSED_STREAM);
    else
        h2_stream_event(s, EPOLLIN);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    fc_h2 *h2 = ctx;
    bool ack = frame->hd.flags & NGHTTP2_FLAG_ACK;
    fc_h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        return on_headers(h2, frame, s);
    case NGHTTP2_DATA:
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
            if (s) {
                s->in_end = true;
                h2_stream_event(s, EPOLLIN);
            }
        } else if (frame->hd.length == 0) {
            spend(h2);
        }
        return 0;
    case NGHTTP2_SETTINGS:
        if (!ack)
            spend(h2);
        if (!ack && h2->connected > 0)
            tell_waiting(h2, 0);
        h2->ops->changed(h2);
        return 0;
    case NGHTTP2_GOAWAY:
        h2->leaving = true;
        h2->ops->changed(h2);
        return 0;
    case NGHTTP2_PING:
        if (!ack)
            spend(h2);
        return 0;
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_PRIORITY:
        spend(h2);
        return 0;
    default:
        return 0;
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *ctx)
{
    (void)flags;
    fc_h2 *h2 = ctx;
    fc_h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s || !s->conn) { /* nobody wants it any more */
        nghttp2_session_consume(session, id, n);
        return 0;
    }
    hold(h2, n);
    if (h2_stream_data(s, h2->in, (const char *)data, n) < 0) {
        h2_release(h2, n);
        nghttp2_session_consume_stream(session, id, n);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    (void)ctx;
    fc_h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s)
        h2_stream_closed(s, code);
    return 0;
}

/* --- frames that go ------------------------------------------------------------------------------------------------ */

int h2_put(fc_h2 *h2, const char *p, size_t n)
{
    while (n) {
        if (!h2->framing || !fc_buf_room(h2->framing)) {
            if (h2->framing)
                fc_buf_unref(h2->framing);
            if (!(h2->framing = fc_buf_get(h2->conn->loop->bufs, FC_BUF_SMALL)))
                return -ENOMEM;
        }
        size_t part = fc_buf_room(h2->framing) < n ? fc_buf_room(h2->framing) : n;
        char *at = h2->framing->data + h2->framing->used;
        memcpy(at, p, part);
        h2->framing->used += (uint32_t)part;
        int rc = fc_conn_write(h2->conn, h2->framing, at, part);
        if (rc < 0)
            return rc;
        h2->queued += part;
        p += part;
        n -= part;
    }
    return 0;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t n, int flags, void *ctx)
{
    (void)session, (void)flags;
    fc_h2 *h2 = ctx;
    if ((h2->blocked = fc_conn_full(h2->conn)))
        return NGHTTP2_ERR_WOULDBLOCK;
    return h2_put(h2, (const char *)data, n) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *ctx)
{
    (void)session, (void)frame;
    fc_h2 *h2 = ctx;
    if ((h2->blocked = fc_conn_full(h2->conn)))
        return NGHTTP2_ERR_WOULDBLOCK;
    return h2_stream_send_data(source->ptr, head, n) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    fc_h2 *h2 = ctx;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        /* What the peer's own mistakes make us reset costs it as much as its own resets. */
        uint32_t code = frame->rst_stream.error_code;
        if (code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR || code == NGHTTP2_STREAM_CLOSED ||
            code == NGHTTP2_FRAME_SIZE_ERROR)
            spend(h2);
        return 0;
    }
    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        fc_h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (s)
            h2_stream_out_sent(s);
    }
    return 0;
}

/* GOAWAY in bytes of our own: nghttp2 sends nothing more after some of its errors. */
static void put_goaway(fc_h2 *h2, uint32_t code)
{
    uint32_t last = h2->server ? (uint32_t)nghttp2_session_get_last_proc_stream_id(h2->session) : 0;
    char frame[17] = {0, 0, 8, NGHTTP2_GOAWAY};
    for (int i = 0; i < 4; i++) {
        frame[9 + i] = (char)(last >> (24 - 8 * i));
        frame[13 + i] = (char)(code >> (24 - 8 * i));
    }
    h2_put(h2, frame, sizeof frame);
}

static void fail(fc_h2 *h2, uint32_t code, const char *why)
{
    if (!h2->trouble)
        h2->trouble = why;
    put_goaway(h2, code);
    h2->ops->failed(h2, h2->trouble);
}

void fc_h2_write(fc_h2 *h2)
{
    if (h2->dead || !h2->begun)
        return;
    do {
        h2->blocked = false;
        int rc = nghttp2_session_send(h2->session);
        if (rc < 0) {
            fail(h2, NGHTTP2_INTERNAL_ERROR, nghttp2_strerror(rc));
            return;
        }
        if (h2->conn->out.len)
            h2->ops->flush(h2);
        /* Of a queue that was full and that the kernel took at once nobody would tell us. */
    } while (!h2->dead && h2->blocked && !fc_conn_full(h2->conn));
    if (!h2->dead && h2->framing && !h2->streams) {
        fc_buf_unref(h2->framing);
        h2->framing = NULL;
    }
    if (!h2->dead && !nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session))
        h2->ops->failed(h2, h2->trouble ? h2->trouble : "one of the two has ended the session");
}

static void on_task(fc_loop *loop, fc_task *task)
{
    (void)loop;
    fc_h2 *h2 = FC_CONTAINER_OF(task, fc_h2, task);
    if (h2->dead)
        free(h2);
    else
        fc_h2_write(h2);
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

/* Give nghttp2 what was received into h2->in. False: the session has failed. */
static bool take(fc_h2 *h2, size_t n)
{
    h2->received += n;
    ssize_t used = nghttp2_session_mem_recv(h2->session, (const uint8_t *)h2->in->data, n);
    if (used < 0) {
        fail(h2,
             used == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR,
             nghttp2_strerror((int)used));
        return false;
    }
    if (h2->block.open && h2->received - h2->block.received > 2ull * h2->settings.head_bytes_max + BLOCK_SLACK) {
        fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, "a header block comes without end");
        return false;
    }
    return true;
}

void fc_h2_feed(fc_h2 *h2, const char *p, size_t n)
{
    while (n && !h2->dead) {
        h2->in = fc_buf_get(h2->conn->loop->bufs, n < FC_BUF_LARGE ? n : FC_BUF_LARGE);
        if (!h2->in) {
            fail(h2, NGHTTP2_INTERNAL_ERROR, "out of buffers");
            return;
        }
        size_t part = n < h2->in->cap ? n : h2->in->cap;
        memcpy(h2->in->data, p, part);
        bool ok = take(h2, part);
        fc_buf_unref(h2->in);
        h2->in = NULL;
        if (!ok)
            return;
        p += part;
        n -= part;
    }
    h2_schedule(h2);
}

/* Also while much waits to be sent: two that both stopped reading then would wait for each other. What a peer can make us
 * queue without reading any of it is bounded otherwise: DATA by its windows, answers to its SETTINGS and PING by nghttp2,
 * resets by the budget. */
int fc_h2_read(fc_h2 *h2)
{
    fc_conn *c = h2->conn;
    int rc = 0;
    for (int i = 0; !h2->dead && c->readable; i++) {
        if (i == READS_PER_TURN) {
            fc_conn_again(c);
            break;
        }
        if (!h2->in || h2->in->refs > 1) {
            if (h2->in)
                fc_buf_unref(h2->in);
            if (!(h2->in = fc_buf_get(c->loop->bufs, FC_BUF_LARGE))) {
                fail(h2, NGHTTP2_INTERNAL_ERROR, "out of buffers");
                return 0;
            }
        }
        ssize_t n = fc_conn_recv(c, h2->in->data, h2->in->cap);
        if (n <= 0) {
            rc = n == -EAGAIN ? 0 : n == 0 ? -ECONNRESET : (int)n;
            break;
        }
        if (!take(h2, (size_t)n))
            break;
        h2_schedule(h2);
    }
    if (h2->in)
        fc_buf_unref(h2->in);
    h2->in = NULL;
    return rc;
}

/* --- beginning and end -------------------------------------------------------------------------------------------- */

static int new_session(fc_h2 *h2)
{
    nghttp2_session_callbacks *calls;
    nghttp2_option *option;
    if (nghttp2_session_callbacks_new(&calls))
        return -ENOMEM;
    if (nghttp2_option_new(&option)) {
        nghttp2_session_callbacks_del(calls);
        return -ENOMEM;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(calls, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(calls, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(calls, on_send);
    nghttp2_session_callbacks_set_send_data_callback(calls, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(calls, on_frame_sent);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    int rc = h2->server ? nghttp2_session_server_new2(&h2->session, calls, h2, option)
                        : nghttp2_session_client_new2(&h2->session, calls, h2, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(calls);
    return rc ? -ENOMEM : 0;
}

static int greet(fc_h2 *h2)
{
    const fc_h2_settings *s = &h2->settings;
    nghttp2_settings_entry said[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, s->stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->head_bytes_max},
        {h2->server ? NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS : NGHTTP2_SETTINGS_ENABLE_PUSH,
         h2->server ? s->streams_max : 0},
    };
    return nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, said, FC_ARRAY_LEN(said)) ||
                   nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, (int32_t)s->connection_window)
               ? -ENOMEM
               : 0;
}

fc_h2 *fc_h2_new(fc_conn *conn, bool server, bool secure, const fc_h2_settings *settings, const fc_h2_ops *ops, void *owner)
{
    fc_h2 *h2 = calloc(1, sizeof *h2);
    if (!h2)
        return NULL;
    h2->conn = conn;
    h2->server = server;
    h2->secure = secure;
    h2->settings = *settings;
    h2->ops = ops;
    h2->owner = owner;
    h2->task.fn = on_task;
    h2->connected = server ? 0 : 1;
    h2->begun = server;
    if (new_session(h2) < 0 || greet(h2) < 0) {
        nghttp2_session_del(h2->session);
        free(h2);
        return NULL;
    }
    if (server) {
        nghttp2_session_send(h2->session); /* queued: the greeting is the first to go, whatever follows (RFC 9113 3.4) */
        h2_schedule(h2);
    }
    return h2;
}

void fc_h2_free(fc_h2 *h2)
{
    if (h2->dead)
        return;
    h2->dead = true;
    h2_block_drop(h2);
    while (h2->streams)
        h2_stream_gone(h2->streams);
    nghttp2_session_del(h2->session);
    h2->session = NULL;
    if (h2->framing)
        fc_buf_unref(h2->framing);
    h2->framing = NULL;
    fc_loop_later(h2->conn->loop, &h2->task);
}

void fc_h2_leave(fc_h2 *h2, bool last)
{
    if (last)
        nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
    else
        nghttp2_submit_shutdown_notice(h2->session);
    h2->leaving = true;
    h2_schedule(h2);
}

void fc_h2_quit(fc_h2 *h2, uint32_t code)
{
    put_goaway(h2, code);
    fc_conn_flush(h2->conn);
}

fc_h2_stream *fc_h2_open(fc_h2 *h2) { return h2_stream_new(h2, 0); }

bool fc_h2_is_connected(const fc_h2 *h2) { return h2->connected == 0; }

void fc_h2_begin(fc_h2 *h2)
{
    h2->begun = true;
    h2_schedule(h2);
}

void fc_h2_give_up(fc_h2 *h2, int error, const char *why)
{
    if (!h2->trouble)
        h2->trouble = why;
    tell_waiting(h2, error);
}
