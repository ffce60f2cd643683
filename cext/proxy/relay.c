/* From the upstream: heads are checked and written anew, bodies go on by reference under the client's watermark. */
#include <errno.h>

#include "exchange.h"

/* Fields of a reply we are willing to look at; more is the upstream's error. */
#define REPLY_FIELDS_MAX 256
/* Blocks read from one upstream per turn before others get theirs. */
#define READS_PER_TURN 4
/* Space kept free before and behind what is received, where a chunk's own framing goes. */
#define CHUNK_ROOM FC_CHUNK_HEAD_MAX
/* Received blocks smaller than this are worth joining to the head in one block: one iovec instead of two. */
#define INLINE_BODY_MAX 2048
/* 100, a few 102 or 103: nobody needs more before the answer. */
#define INTERIM_MAX 32

static fc_exchange *of(fc_lease *lease) { return FC_CONTAINER_OF(lease, fc_exchange, lease); }

/* --- towards the client ------------------------------------------------------------------------------------------ */

/* The target has said all; what it said may still be stored. */
static void end_upstream(fc_exchange *ex)
{
    bool clean = ex->upstream_reusable && ex->request_done && !ex->deaf && ex->pos == (ex->in ? ex->in->used : 0);
    fc_lease_release(&ex->lease, clean, ex->first_byte_ns - ex->leased_ns, false);
    if (ex->cache && exchange_cache_storing(ex))
        exchange_cache_commit(ex);
}

void exchange_complete(fc_exchange *ex)
{
    end_upstream(ex);
    if (ex->unpack) {
        ex->state = EX_UNPACK;
        exchange_unpack_end(ex);
    } else {
        exchange_end(ex);
    }
}

static int send_reply(fc_exchange *ex, fc_buf *buf, const char *p, size_t n)
{
    if (ex->collecting)
        return exchange_hook_body(ex, p, n) ? 0 : -E2BIG;
    if (ex->cache && exchange_cache_storing(ex))
        exchange_cache_store(ex, p, n);
    if (ex->encoder)
        return exchange_encode(ex, p, n, FC_ENCODE_MORE);
    if (ex->unpack) {
        exchange_unpack(ex, buf, p, n);
        return 0;
    }
    ex->reply_bytes += n;
    return fc_http_send(ex->req, buf, p, n);
}

int exchange_end_encoded(fc_exchange *ex)
{
    int rc = exchange_encode_end(ex);
    return rc < 0 ? rc : fc_http_send(ex->req, NULL, "0\r\n\r\n", 5);
}

/* Relay bytes that stand at in->data[pos ..): as they are, or as one chunk whose framing is written around them. The
 * space before was the head or CHUNK_ROOM, the space behind is kept free by the reader. */
static int send_chunk(fc_exchange *ex, char *p, size_t n)
{
    if (ex->encoder || ex->unpack || ex->collecting)
        return send_reply(ex, ex->in, p, n);
    char head[FC_CHUNK_HEAD_MAX];
    size_t head_len = fc_chunk_head(head, n);
    if (ex->cache && exchange_cache_storing(ex))
        exchange_cache_store(ex, p, n);
    memcpy(p - head_len, head, head_len);
    memcpy(p + n, "\r\n", 2);
    ex->reply_bytes += n;
    return fc_http_send(ex->req, ex->in, p - head_len, head_len + n + 2);
}

enum relayed { RELAY_MORE, RELAY_DONE, RELAY_BAD, RELAY_NO_MEMORY };

static enum relayed relay_length(fc_exchange *ex)
{
    size_t n = ex->in->used - ex->pos;
    if (n > ex->reply_left)
        n = ex->reply_left;
    if (send_reply(ex, ex->in, ex->in->data + ex->pos, n) < 0)
        return RELAY_NO_MEMORY;
    ex->pos += (uint32_t)n;
    ex->reply_left -= n;
    if (ex->reply_left)
        return RELAY_MORE;
    return ex->encoder && exchange_end_encoded(ex) < 0 ? RELAY_NO_MEMORY : RELAY_DONE;
}

static enum relayed relay_close(fc_exchange *ex)
{
    size_t n = ex->in->used - ex->pos;
    char *p = ex->in->data + ex->pos;
    ex->pos = ex->in->used;
    if (n == 0)
        return RELAY_MORE;
    int rc = ex->reply_chunked ? send_chunk(ex, p, n) : send_reply(ex, ex->in, p, n);
    return rc < 0 ? RELAY_NO_MEMORY : RELAY_MORE;
}

static enum relayed relay_trailers(fc_exchange *ex)
{
    fc_http1_field fields[32];
    fc_http1_head head = {.fields = fields, .fields_max = FC_ARRAY_LEN(fields)};
    const fc_http_settings *s = &proxy_of(ex->req)->settings.http;
    fc_http1_limits limits = s->parse;
    limits.head_bytes_max = s->trailer_bytes_max;
    const char *base = ex->in->data + ex->pos;
    size_t len = ex->in->used - ex->pos;
    int rc = fc_http1_parse_trailers(base, len, ex->last_len, &limits, &head);
    if (rc == FC_HTTP1_PARTIAL) {
        ex->last_len = (uint32_t)len;
        return RELAY_MORE;
    }
    if (rc < 0)
        return RELAY_BAD;
    ex->pos += (uint32_t)rc;
    if (ex->grpc)
        exchange_grpc_look(ex, base, &head);
    if (!ex->reply_chunked || ex->unpack || ex->collecting) /* trailers about what is unpacked do not hold */
        return RELAY_DONE;
    if (ex->encoder && exchange_encode_end(ex) < 0)
        return RELAY_NO_MEMORY;
    fc_conn *to = &ex->req->conn->conn;
    size_t before = to->out.bytes;
    bool wanted = ex->req->head.te_trailers && head.fields_len;
    if ((wanted ? exchange_put_last_chunk(ex, to, base, &head) : fc_conn_write(to, NULL, "0\r\n\r\n", 5)) < 0)
        return RELAY_NO_MEMORY;
    ex->req->bytes_out += to->out.bytes - before;
    ex->req->conn->queued += to->out.bytes - before;
    return RELAY_DONE;
}

/* Decode in place: the data of all chunks at hand is moved together and goes on as one chunk of our own. */
static enum relayed relay_chunked(fc_exchange *ex)
{
    if (ex->reply_trailers)
        return relay_trailers(ex);
    char *start = ex->in->data + ex->pos, *to = start;
    fc_chunk got = FC_CHUNK_MORE;
    do {
        size_t used;
        fc_slice data;
        got = fc_chunked_next(&ex->reply_chunks, ex->in->data + ex->pos, ex->in->used - ex->pos, &used, &data);
        ex->pos += (uint32_t)used;
        if (got == FC_CHUNK_DATA) {
            memmove(to, data.p, data.n);
            to += data.n;
        }
    } while (got == FC_CHUNK_DATA);
    size_t n = (size_t)(to - start);
    if (n && (ex->reply_chunked ? send_chunk(ex, start, n) : send_reply(ex, ex->in, start, n)) < 0)
        return RELAY_NO_MEMORY;
    if (got == FC_CHUNK_ERROR)
        return RELAY_BAD;
    if (got != FC_CHUNK_LAST)
        return RELAY_MORE;
    ex->reply_trailers = true;
    ex->last_len = 0;
    return relay_trailers(ex);
}

static void invalid_reply(fc_exchange *ex, const char *detail)
{
    exchange_fail(ex, PROBLEM_BAD_ANSWER, detail, NULL);
}

/* Pass on what is here. False when the exchange is over, one way or the other. */
static bool relay(fc_exchange *ex)
{
    enum relayed result = RELAY_DONE;
    if (ex->state == EX_TUNNEL)
        result = relay_close(ex);
    else if (ex->reply_framing == FC_BODY_LENGTH)
        result = relay_length(ex);
    else if (ex->reply_framing == FC_BODY_CHUNKED)
        result = relay_chunked(ex);
    else if (ex->reply_framing == FC_BODY_CLOSE)
        result = relay_close(ex);
    switch (result) {
    case RELAY_MORE:
        /* Of an answer that may pause for long, what is here goes out: events are for now. */
        if (ex->encoder && ex->reply_framing != FC_BODY_LENGTH && !exchange_upstream(ex)->readable &&
            exchange_encode(ex, NULL, 0, FC_ENCODE_FLUSH) < 0)
            break;
        if (ex->unpack && exchange_unpack_go(ex) == UNPACK_OVER)
            return false;
        fc_http_flush(ex->req);
        return true;
    case RELAY_DONE:
        if (ex->collecting)
            exchange_hook_body_end(ex);
        else
            exchange_complete(ex);
        return false;
    case RELAY_BAD:
    case RELAY_NO_MEMORY:
        break;
    }
    if (ex->answered)
        exchange_cut(ex);
    else if (result == RELAY_BAD)
        invalid_reply(ex, "the body of the upstream's answer is malformed");
    else /* gathered for a function */
        problem_answer(ex, PROBLEM_HOOK, "the answer is larger than a function of its route takes", NULL);
    return false;
}

/* --- the reply's head -------------------------------------------------------------------------------------------- */

static bool pass_interim(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len)
{
    fc_http_req *req = ex->req;
    if (head->status == 100 && !req->head.expect_continue)
        return true; /* nobody waits for it */
    if (req->head.minor == 0)
        return true; /* RFC 9110 15.2: never to an HTTP/1.0 client */
    fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, head_len + 512);
    if (!buf) {
        exchange_fail(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
        return false;
    }
    fc_text out = fc_text_at(buf->data, buf->cap);
    exchange_build_interim(ex, base, head, &out);
    bool fits = !out.overflow;
    if (fits)
        fc_http_send(req, buf, buf->data, fc_text_len(&out));
    fc_buf_unref(buf);
    if (!fits) {
        invalid_reply(ex, "an interim response of the upstream is too large");
        return false;
    }
    if (head->status == 100)
        req->continue_sent = true;
    fc_http_flush(req);
    return true;
}

static bool begin_tunnel(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len)
{
    if (!ex->upgrade) {
        invalid_reply(ex, "the upstream switched protocols without having been asked");
        return false;
    }
    ex->status = 101;
    ex->first_byte_ns = exchange_loop(ex)->now_ns;
    if (!pass_interim(ex, base, head, head_len))
        return false;
    ex->answered = true;
    ex->state = EX_TUNNEL;
    if (ex->admitted_ns) /* what stays open for hours says nothing about how much the upstream can bear */
        exchange_admit_end(ex);
    fc_loop_timer_cancel(exchange_loop(ex), &ex->total); /* a tunnel has no last byte to wait for: its idle time bounds it */
    ex->reply_chunked = ex->request_chunked = false;
    fc_http_tunnel(ex->req);
    exchange_watch(ex, ex->route->tunnel_idle_ms);
    return relay(ex);
}

static bool begin_reply(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len)
{
    fc_http_req *req = ex->req;
    fc_proxy *proxy = proxy_of(req);
    ex->status = head->status;
    ex->first_byte_ns = proxy->server.loop->now_ns;
    ex->reply_framing = head->framing;
    ex->reply_left = head->framing == FC_BODY_LENGTH ? head->content_length : 0;
    if (head->framing == FC_BODY_CHUNKED)
        fc_chunked_init(&ex->reply_chunks, proxy->settings.http.chunk_ext_max);
    if (ex->grpc)
        exchange_grpc_look(ex, base, head);
    ex->upstream_reusable = head->keep_alive && head->framing != FC_BODY_CLOSE;
    const fc_route_hooks *hooks = ex->route->hooks;
    bool hooked = hooks && hooks->response >= 0;
    if (ex->route->coding && !(hooked && hooks->response_body_max)) /* a function that looks at bodies sees them plain */
        exchange_code_choose(ex, base, head);
    bool coded = ex->encoder || ex->unpack;
    bool unbounded = head->framing == FC_BODY_CHUNKED || head->framing == FC_BODY_CLOSE || coded;
    ex->reply_chunked = unbounded && req->head.minor > 0;
    /* A client whose body is still on its way may not be able to stop sending it: no second request there. */
    ex->keep_client = fc_http_may_keep(req) && req->body_done && (!unbounded || ex->reply_chunked);
    size_t have = ex->in->used - ex->pos;
    bool whole = head->framing == FC_BODY_NONE || (head->framing == FC_BODY_LENGTH && have >= ex->reply_left);
    size_t joined = whole && ex->reply_left <= INLINE_BODY_MAX && !coded && !hooked ? ex->reply_left : 0;
    size_t room = head_len + 2 * head->fields_len + 512 + joined + (ex->limited ? exchange_limit_room(ex) : 0) +
                  exchange_answer_room(ex) + (ex->cache ? exchange_cache_room(ex) : 0);
    fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, room);
    if (!buf) {
        exchange_fail(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
        return false;
    }
    fc_text out = fc_text_at(buf->data, buf->cap);
    exchange_build_reply(ex, base, head, &out);
    size_t built = fc_text_len(&out);
    fc_text_put(&out, ex->in->data + ex->pos, joined);
    if (out.overflow) {
        fc_buf_unref(buf);
        invalid_reply(ex, "the head of the upstream's response is too large");
        return false;
    }
    if (hooked) {
        bool gathers = exchange_hook_reply(ex, buf->data, built);
        fc_buf_unref(buf);
        if (!gathers)
            return false;
        ex->state = EX_RELAY;
        exchange_watch(ex, ex->route->between_bytes_ms);
        if (!whole || ex->reply_left)
            return relay(ex);
        exchange_hook_body_end(ex);
        return false;
    }
    int rc = fc_http_send(req, buf, buf->data, built + joined);
    fc_buf_unref(buf);
    if (rc < 0) {
        exchange_fail(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
        return false;
    }
    ex->answered = true;
    ex->state = EX_RELAY;
    if (joined && ex->cache && exchange_cache_storing(ex))
        exchange_cache_store(ex, ex->in->data + ex->pos, joined);
    ex->pos += (uint32_t)joined;
    ex->reply_bytes += joined;
    if (whole && joined == ex->reply_left) {
        exchange_complete(ex);
        return false;
    }
    exchange_watch(ex, ex->route->between_bytes_ms);
    return relay(ex);
}

void exchange_hooked_reply(fc_exchange *ex, bool whole)
{
    if (whole) {
        exchange_end(ex);
        return;
    }
    ex->state = EX_RELAY;
    if (ex->reply_framing == FC_BODY_NONE || (ex->reply_framing == FC_BODY_LENGTH && !ex->reply_left)) {
        exchange_complete(ex);
        return;
    }
    fc_conn *from = exchange_upstream(ex);
    exchange_watch(ex, ex->route->between_bytes_ms);
    if ((ex->in && ex->in->used > ex->pos && !relay(ex)) || ex->finished || (ex->unpack && exchange_unpack_waits(ex)))
        return;
    fc_conn_resume(from);
    fc_http_flush(ex->req);
}

/* Is the answer wholly here, so that its connection can be used again though nobody reads it? */
static bool is_spent(const fc_exchange *ex, const fc_http1_head *head)
{
    size_t have = ex->in->used - ex->pos;
    return head->keep_alive && ex->request_done && !ex->deaf &&
           ((head->framing == FC_BODY_NONE && have == 0) ||
            (head->framing == FC_BODY_LENGTH && have == head->content_length));
}

/* Parse heads as long as there are interim ones. False when the exchange is over. */
static bool take_head(fc_exchange *ex)
{
    fc_http1_field fields[REPLY_FIELDS_MAX];
    fc_proxy *proxy = proxy_of(ex->req);
    while (ex->state == EX_AWAIT) {
        fc_http1_head head = {.fields = fields, .fields_max = REPLY_FIELDS_MAX};
        const char *base = ex->in->data + ex->pos;
        size_t len = ex->in->used - ex->pos;
        if (len == ex->last_len)
            return true;
        int rc = fc_http1_parse_response(base, len, ex->last_len, &proxy->settings.http.parse,
                                         (fc_http_method)ex->req->head.method_id, &head);
        if (rc == FC_HTTP1_PARTIAL) {
            ex->last_len = (uint32_t)len;
            return true;
        }
        if (rc < 0) {
            invalid_reply(ex, fc_http1_error_text((fc_http1_error)head.error));
            return false;
        }
        ex->pos += (uint32_t)rc;
        ex->last_len = 0;
        if (head.status == 101 || head.status >= 200) {
            if (exchange_retry_status(ex, head.status, is_spent(ex, &head)))
                return false;
        }
        if (head.status == 101)
            return begin_tunnel(ex, base, &head, (size_t)rc);
        if (head.status >= 200 && ex->cache && exchange_cache_on_reply(ex, base, &head, (size_t)rc, is_spent(ex, &head)))
            return false;
        if (head.status >= 200)
            return begin_reply(ex, base, &head, (size_t)rc);
        if (++ex->interims > INTERIM_MAX) {
            invalid_reply(ex, "the upstream sends interim responses without end");
            return false;
        }
        if (!pass_interim(ex, base, &head, (size_t)rc))
            return false;
    }
    return true;
}

/* --- from the upstream ------------------------------------------------------------------------------------------- */

void exchange_drop_input(fc_exchange *ex)
{
    if (ex->in)
        fc_buf_unref(ex->in);
    ex->in = NULL;
    ex->pos = 0;
}

/* Room to receive into: behind what is left unparsed, with CHUNK_ROOM kept free on both sides. A block the client's queue
 * still refers to is left to it. */
static bool input_room(fc_exchange *ex)
{
    size_t left = ex->in ? ex->in->used - ex->pos : 0;
    bool large = ex->state != EX_AWAIT && (ex->reply_framing != FC_BODY_LENGTH || ex->reply_left > FC_BUF_MEDIUM);
    if (ex->in && ex->in->refs == 1) {
        if (left == 0)
            ex->in->used = ex->pos = CHUNK_ROOM;
        if (fc_buf_room(ex->in) > CHUNK_ROOM && (!large || ex->in->cap > FC_BUF_MEDIUM))
            return true;
    }
    size_t want = large || left > FC_BUF_MEDIUM / 2 ? FC_BUF_LARGE : FC_BUF_MEDIUM;
    fc_buf *fresh = left + 3 * CHUNK_ROOM < want ? fc_buf_get(exchange_loop(ex)->bufs, want) : NULL;
    if (!fresh)
        return false;
    if (left)
        memcpy(fresh->data + CHUNK_ROOM, ex->in->data + ex->pos, left);
    exchange_drop_input(ex);
    fresh->used = (uint32_t)(CHUNK_ROOM + left);
    ex->pos = CHUNK_ROOM;
    ex->in = fresh;
    return true;
}

static void on_read(fc_lease *lease)
{
    fc_exchange *ex = of(lease);
    for (int i = 0;; i++) {
        fc_conn *from = exchange_upstream(ex);
        if (!from->readable || from->paused)
            break;
        if (i == READS_PER_TURN) {
            fc_conn_again(from);
            break;
        }
        if (!input_room(ex)) {
            if (ex->in && ex->in->used - ex->pos + 3 * CHUNK_ROOM >= FC_BUF_LARGE)
                invalid_reply(ex, "the head of the upstream's response is too large");
            else
                exchange_fail(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
            return;
        }
        ssize_t n = fc_conn_recv(from, ex->in->data + ex->in->used, fc_buf_room(ex->in) - CHUNK_ROOM);
        if (n == -EAGAIN && !ex->deaf)
            break;
        if (n <= 0) {
            exchange_lost(ex, n == 0 && !ex->deaf);
            return;
        }
        ex->in->used += (uint32_t)n;
        if (ex->state == EX_AWAIT) {
            if (!take_head(ex))
                return;
        } else {
            exchange_watch(ex, ex->state == EX_TUNNEL ? ex->route->tunnel_idle_ms : ex->route->between_bytes_ms);
            if (!relay(ex))
                return;
        }
        if (fc_http_full(ex->req) || (ex->unpack && exchange_unpack_waits(ex))) {
            /* The client is slow: stop here, and let it have the time it needs. */
            fc_conn_pause(from);
            exchange_watch(ex, 0);
        }
    }
    if (ex->in && ex->in->used == ex->pos)
        exchange_drop_input(ex);
}

static void on_drain(fc_lease *lease)
{
    fc_exchange *ex = of(lease);
    if (ex->state == EX_AWAIT)
        exchange_watch(ex, ex->route->between_bytes_ms);
    if (ex->unpack_request)
        exchange_unpack_request_drained(ex);
    else
        fc_http_resume(ex->req);
}

static void on_sent(fc_lease *lease) { exchange_pass_fin(of(lease)); }

static void on_timeout(fc_lease *lease)
{
    fc_exchange *ex = of(lease);
    fc_conn *c = exchange_upstream(ex);
    /* A slow upstream that takes a little of the request now and then is not a dead one. */
    if (c->out.len && c->out.bytes != ex->out_mark) {
        ex->out_mark = c->out.bytes;
        exchange_watch(ex, ex->route->between_bytes_ms);
        return;
    }
    if (ex->state == EX_TUNNEL) {
        ex->error = "tunnel_idle";
        exchange_complete(ex);
        return;
    }
    if (ex->state == EX_AWAIT && !ex->request_done && !c->out.len)
        return; /* it is the client who is silent, and its own deadline runs; its next bytes set this one again */
    if (ex->state == EX_AWAIT) {
        if (exchange_retry_timeout(ex))
            return;
        fc_lease_avoid(lease, false);
    }
    if (c->out.len)
        exchange_fail(ex, PROBLEM_SEND_TIMEOUT, "the upstream did not read the request in time", NULL);
    else
        exchange_fail(ex, PROBLEM_FIRST_BYTE_TIMEOUT, "the upstream did not answer in time", NULL);
}

/* Nothing more can be sent, but what the upstream said before may still wait to be read: servers that refuse a body answer
 * and close. After a failed write the kernel reports the end of the stream as a clean one, which `deaf` remembers it is
 * not. */
static void on_broken(fc_lease *lease, int err)
{
    (void)err;
    fc_exchange *ex = of(lease);
    fc_conn *c = exchange_upstream(ex);
    ex->deaf = true;
    fc_outq_clear(&c->out);
    c->readable = true;
    fc_conn_again(c);
}

const fc_lease_ops exchange_lease_ops = {
    .ready = exchange_on_ready,
    .failed = exchange_on_lease_failed,
    .read = on_read,
    .drain = on_drain,
    .sent = on_sent,
    .timeout = on_timeout,
    .broken = on_broken,
};
