/* HTTP/2 between the two of us: a client's session and the HTTP server on a socket pair, whole exchanges in random pieces
 * over streams of it. What arrives must be what was written, however it was framed, and nothing may be left behind. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "check.h"
#include "fc/http_server.h"

#define BUDGET (5 * FC_NS_PER_MS)
#define CALLS 12
#define ROUNDS 60
#define BODY_MAX 300000u

static fc_loop *loop;
static fc_http_server server;
static uint32_t dice;

static uint32_t roll(uint32_t n)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % n;
}

static char letter(size_t at) { return (char)('a' + (at * 7 + at / 1000) % 26); }

/* --- the server's application: the body goes back as it came --------------------------------------------------------- */

static unsigned served, given_up;

static void on_request(fc_http_req *req)
{
    char head[256];
    const fc_http1_head *h = &req->head;
    int n = h->framing == FC_BODY_CHUNKED
                ? snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                : snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
                           (unsigned long long)(h->framing == FC_BODY_LENGTH ? h->content_length : 0));
    CHECK(fc_http_send_copy(req, head, (size_t)n) == 0);
}

static void on_refuse(fc_http_req *req, int status, const char *reason)
{
    (void)status, (void)reason;
    CHECK(!"refused");
    fc_http_end(req, false);
}

static void on_body(fc_http_req *req, fc_buf *buf, const char *p, size_t n)
{
    if (req->head.framing == FC_BODY_CHUNKED) {
        char head[FC_CHUNK_HEAD_MAX];
        fc_http_send_copy(req, head, fc_chunk_head(head, n));
        fc_http_send(req, buf, p, n);
        fc_http_send(req, NULL, "\r\n", 2);
    } else {
        fc_http_send(req, buf, p, n);
    }
    fc_http_flush(req);
    if (fc_http_full(req))
        fc_http_pause(req);
}

static void on_body_end(fc_http_req *req, const char *base, const fc_http1_head *trailers)
{
    if (req->head.framing == FC_BODY_CHUNKED) {
        fc_http_send_copy(req, "0\r\n", 3);
        for (uint32_t i = 0; trailers && i < trailers->fields_len; i++) {
            const fc_http1_field *f = &trailers->fields[i];
            fc_http_send_copy(req, base + f->name.off, f->value.off + f->value.len - f->name.off);
            fc_http_send_copy(req, "\r\n", 2);
        }
        fc_http_send_copy(req, "\r\n", 2);
    }
    fc_http_flush(req);
    served++;
    fc_http_end(req, false);
}

static void on_drain(fc_http_req *req) { fc_http_resume(req); }

static void on_failed(fc_http_req *req, fc_http_failure why)
{
    (void)req, (void)why;
    given_up++;
}

static const fc_http_ops http_ops = {on_request, on_refuse, on_body, on_body_end, on_drain, on_failed};

/* --- the client: a session, and calls over its streams ---------------------------------------------------------------- */

static fc_conn trunk;
static fc_h2 *session;
static bool trunk_closed, failed;

typedef struct call {
    fc_conn conn;
    bool open, closed, stood, done, chunked, trailers, broken, give_up;
    size_t size, sent, got;
    char in[70000];
    size_t in_len;
    fc_chunked chunks;
    bool in_body, in_trailers;
    size_t left;
} call;

static call calls[CALLS];

static call *call_of(fc_conn *c) { return FC_CONTAINER_OF(c, call, conn); }

/* As much of the request as the queue takes, in pieces of any size. */
static void produce(call *c)
{
    char piece[9000], head[FC_CHUNK_HEAD_MAX];
    while (c->sent < c->size && !fc_conn_full(&c->conn)) {
        size_t n = 1 + roll(sizeof piece - 1);
        n = n < c->size - c->sent ? n : c->size - c->sent;
        for (size_t i = 0; i < n; i++)
            piece[i] = letter(c->sent + i);
        if (c->chunked)
            fc_conn_write_copy(&c->conn, head, fc_chunk_head(head, n));
        fc_conn_write_copy(&c->conn, piece, n);
        if (c->chunked)
            fc_conn_write_copy(&c->conn, "\r\n", 2);
        c->sent += n;
        if (c->sent == c->size && c->chunked)
            fc_conn_write_copy(&c->conn, c->trailers ? "0\r\nx-sum: 1\r\n\r\n" : "0\r\n\r\n", c->trailers ? 15 : 5);
        if ((roll(3) == 0 || fc_conn_full(&c->conn)) && fc_conn_flush(&c->conn) < 0)
            return;
    }
    fc_conn_flush(&c->conn);
}

static void on_connected(fc_conn *conn)
{
    call *c = call_of(conn);
    char head[200];
    int n = snprintf(head, sizeof head, "POST /%zu HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\n", c->size);
    n += c->chunked ? snprintf(head + n, sizeof head - (size_t)n, "Transfer-Encoding: chunked\r\n\r\n")
                    : snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n\r\n", c->size);
    c->stood = true;
    fc_conn_write_copy(conn, head, (size_t)n);
    if (c->chunked && !c->size)
        fc_conn_write_copy(conn, c->trailers ? "0\r\nx-sum: 1\r\n\r\n" : "0\r\n\r\n", c->trailers ? 15 : 5);
    produce(c);
}

static void finish(call *c)
{
    c->done = true;
    fc_conn_close(&c->conn);
}

static void take_data(call *c, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != letter(c->got + i)) {
            CHECK(!"another byte than was sent");
            break;
        }
    c->got += n;
}

/* Read what is in c->in; the number of bytes used. */
static size_t take(call *c)
{
    size_t used = 0;
    if (!c->in_body) {
        fc_http1_field fields[32];
        fc_http1_head head = {.fields = fields, .fields_max = 32};
        static const fc_http1_limits limits = {.head_bytes_max = 30000, .target_bytes_max = 100};
        int rc = fc_http1_parse_response(c->in, c->in_len, 0, &limits, FC_METHOD_POST, &head);
        if (rc == FC_HTTP1_PARTIAL)
            return 0;
        CHECK(rc > 0 && head.status == 200);
        if (!c->size && !c->trailers)
            c->chunked = false; /* it ended with its head, which needs no coding to say so */
        CHECK(c->chunked ? head.framing == FC_BODY_CHUNKED : head.has_length && head.content_length == c->size);
        fc_chunked_init(&c->chunks, 0);
        c->left = c->size;
        c->in_body = true;
        used = (size_t)rc;
        if (!c->chunked && !c->size)
            finish(c);
        return used;
    }
    if (!c->chunked) {
        size_t n = c->in_len < c->left ? c->in_len : c->left;
        take_data(c, c->in, n);
        c->left -= n;
        if (!c->left)
            finish(c);
        return n;
    }
    if (c->in_trailers) {
        fc_http1_field fields[4];
        fc_http1_head head = {.fields = fields, .fields_max = 4};
        static const fc_http1_limits limits = {.head_bytes_max = 1000};
        int rc = fc_http1_parse_trailers(c->in, c->in_len, 0, &limits, &head);
        if (rc == FC_HTTP1_PARTIAL)
            return 0;
        CHECK(rc > 0 && head.fields_len == c->trailers);
        CHECK((size_t)rc == c->in_len);
        finish(c);
        return (size_t)rc;
    }
    fc_slice data;
    fc_chunk got = fc_chunked_next(&c->chunks, c->in, c->in_len, &used, &data);
    CHECK(got != FC_CHUNK_ERROR);
    if (got == FC_CHUNK_DATA)
        take_data(c, data.p, data.n);
    if (got == FC_CHUNK_LAST)
        c->in_trailers = true;
    return used;
}

static void on_read(fc_conn *conn)
{
    call *c = call_of(conn);
    while (!c->done && conn->readable) {
        size_t room = sizeof c->in - c->in_len, want = roll(4) ? room : 1 + roll(50);
        ssize_t n = fc_conn_recv(conn, c->in + c->in_len, want < room ? want : room);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            c->broken = true;
            finish(c);
            return;
        }
        c->in_len += (size_t)n;
        size_t used;
        while (!c->done && c->in_len && (used = take(c)) > 0) {
            memmove(c->in, c->in + used, c->in_len - used);
            c->in_len -= used;
        }
        if (c->give_up && c->got > c->size / 2) {
            c->broken = true;
            finish(c);
        }
    }
}

static void on_call_drain(fc_conn *conn) { produce(call_of(conn)); }
static void on_call_sent(fc_conn *conn) { produce(call_of(conn)); }

static void on_call_broken(fc_conn *conn, int err)
{
    (void)err;
    call_of(conn)->broken = true;
    finish(call_of(conn));
}

static void on_call_closed(fc_conn *conn) { call_of(conn)->closed = true; }
static void on_nothing(fc_conn *conn) { (void)conn; }

static const fc_conn_ops call_ops = {
    .read = on_read,
    .drain = on_call_drain,
    .sent = on_call_sent,
    .connected = on_connected,
    .timeout = on_nothing,
    .broken = on_call_broken,
    .closed = on_call_closed,
};

static void trunk_end(void)
{
    if (trunk.dead)
        return;
    fc_h2_free(session);
    fc_conn_close(&trunk);
}

static void trunk_read(fc_conn *conn)
{
    (void)conn;
    if (fc_h2_read(session) < 0)
        trunk_end();
}

static void trunk_room(fc_conn *conn)
{
    (void)conn;
    fc_h2_write(session);
}

static void trunk_broken(fc_conn *conn, int err)
{
    (void)conn, (void)err;
    trunk_end();
}

static void on_trunk_closed(fc_conn *conn)
{
    (void)conn;
    trunk_closed = true;
}

static const fc_conn_ops trunk_ops = {
    .read = trunk_read,
    .drain = trunk_room,
    .sent = trunk_room,
    .timeout = on_nothing,
    .broken = trunk_broken,
    .closed = on_trunk_closed,
};

static void h2_changed(fc_h2 *h2) { (void)h2; }
static void h2_flush(fc_h2 *h2)
{
    fc_conn *c = fc_h2_conn(h2);
    if (fc_conn_flush(c) < 0) {
        c->readable = true;
        fc_conn_again(c);
    }
}

static void h2_failed(fc_h2 *h2, const char *why)
{
    (void)h2, (void)why;
    failed = true;
    trunk_end();
}

static const fc_h2_ops h2_ops = {.changed = h2_changed, .flush = h2_flush, .failed = h2_failed};

/* --- the test -------------------------------------------------------------------------------------------------------- */

static void start(bool small_windows)
{
    loop = fc_loop_new(64u << 20);
    fc_http_settings settings = fc_http_settings_default();
    settings.h2 = true;
    settings.out_high = 40000;
    settings.out_low = 10000;
    fc_h2_settings client = fc_h2_settings_default();
    if (small_windows) {
        settings.streams.stream_window = client.stream_window = 1000;
        settings.streams.connection_window = client.connection_window = 70000;
    }
    fc_http_server_init(&server, loop, &http_ops, NULL, &settings);
    int pair[2];
    CHECK(loop && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    fc_addr peer = {0};
    CHECK(fc_http_server_adopt(&server, pair[0], &peer, NULL) == 0);
    CHECK(fc_conn_open(&trunk, loop, pair[1], &trunk_ops) == 0);
    trunk.out_high = 40000;
    trunk.out_low = 10000;
    session = fc_h2_new(&trunk, false, false, &client, &h2_ops, NULL);
    CHECK(session != NULL);
    fc_h2_begin(session);
    trunk_closed = failed = false;
    served = given_up = 0;
}

static void stop(void)
{
    trunk_end();
    fc_http_server_stop(&server);
    for (int i = 0; i < 10; i++)
        fc_loop_run(loop, 0, BUDGET);
    CHECK(trunk_closed);
    CHECK(server.stats.open == 0 && server.stats.streams == 0);
    CHECK(fc_bufpool_in_use(loop->bufs) == 0);
    fc_loop_free(loop);
}

static void make_call(call *c)
{
    static const size_t sizes[] = {0, 1, 10, 1023, 1024, 1025, 16384, 16385, 65536, BODY_MAX};
    memset(c, 0, sizeof *c);
    c->size = roll(2) ? sizes[roll(FC_ARRAY_LEN(sizes))] : roll(BODY_MAX);
    c->chunked = roll(2);
    c->trailers = c->chunked && roll(2);
    c->give_up = roll(10) == 0;
    fc_h2_stream *stream = fc_h2_open(session);
    CHECK(stream != NULL);
    bool stands = fc_h2_is_connected(session);
    fc_conn_open_over(&c->conn, loop, fc_h2_transport(stream, &c->conn), !stands, &call_ops);
    c->conn.out_high = 20000;
    c->conn.out_low = 5000;
    c->open = true;
    if (stands)
        on_connected(&c->conn);
}

static unsigned run_until_idle(void)
{
    unsigned turns = 0;
    for (bool busy = true; busy && turns < 100000; turns++) {
        fc_loop_run(loop, 0, BUDGET);
        busy = false;
        for (unsigned i = 0; i < CALLS; i++)
            busy |= calls[i].open && !calls[i].closed;
    }
    return turns;
}

static void test_exchanges(bool small_windows)
{
    start(small_windows);
    unsigned whole = 0;
    for (unsigned round = 0; round < ROUNDS && !failed; round++) {
        unsigned n = 1 + roll(CALLS);
        memset(calls, 0, sizeof calls);
        for (unsigned i = 0; i < n; i++)
            make_call(&calls[i]);
        CHECK(run_until_idle() < 100000);
        for (unsigned i = 0; i < n; i++) {
            CHECK(calls[i].closed && calls[i].stood);
            CHECK(calls[i].broken == calls[i].give_up || calls[i].got == calls[i].size);
            whole += !calls[i].broken;
        }
    }
    CHECK(!failed && whole > ROUNDS && served >= whole);
    CHECK(server.stats.h2_sessions == 1 && server.stats.h2_failed == 0);
    stop();
}

/* The session's connection goes in the middle: every call hears of it, and nothing is left. */
static void test_breaking(void)
{
    for (unsigned round = 0; round < 40; round++) {
        start(false);
        memset(calls, 0, sizeof calls);
        for (unsigned i = 0; i < CALLS; i++)
            make_call(&calls[i]);
        for (unsigned turns = roll(30); turns > 0; turns--)
            fc_loop_run(loop, 0, BUDGET / 50);
        if (roll(2))
            trunk_end();
        else
            fc_http_server_stop(&server);
        CHECK(run_until_idle() < 100000);
        for (unsigned i = 0; i < CALLS; i++)
            CHECK(calls[i].closed && (calls[i].broken || calls[i].got == calls[i].size));
        stop();
    }
}

/* Nobody may open streams any more, and what was open goes on. */
static void test_leaving(void)
{
    start(false);
    memset(calls, 0, sizeof calls);
    make_call(&calls[0]);
    calls[0].give_up = false;
    for (unsigned i = 0; i < 3; i++)
        fc_loop_run(loop, 0, BUDGET / 50);
    fc_http_server_drain(&server);
    CHECK(run_until_idle() < 100000);
    CHECK(calls[0].got == calls[0].size && !calls[0].broken);
    CHECK(trunk.dead || fc_h2_leaving(session));
    stop();
}

int main(int argc, char **argv)
{
    dice = argc > 1 ? (uint32_t)atoi(argv[1]) : 1;
    test_exchanges(false);
    test_exchanges(true);
    test_breaking();
    test_leaving();
    return check_done("h2");
}
