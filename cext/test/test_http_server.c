/* The HTTP/1.1 server on socket pairs in one process: a small application behind it, scripted clients before it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fc/http_server.h"

#define BUDGET (5 * FC_NS_PER_MS)
#define BIG 10000

static fc_loop *loop;
static fc_http_server server;
static fc_http_req *parked; /* the request of /wait, until the test answers it */
static unsigned requests, refusals, failures, drained, drains;
static int last_status, last_failure;
static uint64_t body_sum, body_bytes, trailer_fields;
static char big[BIG];
static bool pause_bodies;

static void reset_counters(void)
{
    parked = NULL;
    requests = refusals = failures = drained = drains = 0;
    last_status = last_failure = 0;
    body_sum = body_bytes = trailer_fields = 0;
    pause_bodies = false;
}

static void answer(fc_http_req *req, int status, const char *body, size_t n, bool keep)
{
    char head[200];
    int len = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n", status, n,
                       keep ? "keep-alive" : "close");
    fc_http_send_copy(req, head, (size_t)len);
    fc_http_send_copy(req, body, n);
    fc_http_end(req, keep);
    if (parked == req)
        parked = NULL; /* its memory is gone */
}

static bool path_is(fc_http_req *req, const char *path)
{
    fc_slice p = fc_http_slice(req, req->head.path);
    return p.n == strlen(path) && memcmp(p.p, path, p.n) == 0;
}

static void on_request(fc_http_req *req)
{
    requests++;
    if (path_is(req, "/hello"))
        answer(req, 200, "hello", 5, fc_http_may_keep(req));
    else if (path_is(req, "/big"))
        answer(req, 200, big, BIG, fc_http_may_keep(req));
    else if (path_is(req, "/wait") || path_is(req, "/flood"))
        parked = req;
    else if (path_is(req, "/unread"))
        answer(req, 200, "not read", 8, fc_http_may_keep(req));
    else if (path_is(req, "/continue"))
        fc_http_send_continue(req);
    else if (path_is(req, "/tunnel")) {
        fc_http_send_copy(req, "HTTP/1.1 101 X\r\n\r\n", 18);
        fc_http_tunnel(req);
        fc_http_flush(req);
    }
}

static void on_refuse(fc_http_req *req, int status, const char *reason)
{
    refusals++;
    last_status = status;
    answer(req, status, reason, strlen(reason), false);
}

static void on_body(fc_http_req *req, fc_buf *buf, const char *p, size_t n)
{
    (void)buf;
    for (size_t i = 0; i < n; i++)
        body_sum = body_sum * 31 + (unsigned char)p[i];
    body_bytes += n;
    if (path_is(req, "/tunnel")) {
        fc_http_send_copy(req, p, n);
        fc_http_flush(req);
    } else if (pause_bodies) {
        fc_http_pause(req);
        parked = req;
    }
}

static void on_body_end(fc_http_req *req, const char *base, const fc_http1_head *trailers)
{
    (void)base;
    if (trailers)
        trailer_fields += trailers->fields_len;
    if (path_is(req, "/wait") || path_is(req, "/flood"))
        return;
    if (path_is(req, "/tunnel")) {
        fc_http_end(req, false);
        return;
    }
    char text[64];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)req->body_in);
    answer(req, 200, text, (size_t)n, fc_http_may_keep(req));
}

static void on_drain(fc_http_req *req)
{
    drains++;
    while (!fc_http_full(req)) {
        fc_http_send(req, NULL, big, BIG);
        fc_http_flush(req);
        if (drains > 20)
            break;
    }
}

static void on_failed(fc_http_req *req, fc_http_failure why)
{
    failures++;
    last_failure = (int)why;
    if (parked == req)
        parked = NULL;
    if (why == FC_HTTP_BODY_MALFORMED)
        answer(req, 400, "", 0, false);
    if (why == FC_HTTP_BODY_TOO_LARGE)
        answer(req, 413, "", 0, false);
    if (why == FC_HTTP_BODY_TIMEOUT)
        answer(req, 408, "", 0, false);
}

static void on_drained(fc_http_server *s)
{
    (void)s;
    drained++;
}

static const fc_http_ops ops = {on_request, on_refuse, on_body, on_body_end, on_drain, on_failed};

/* --- clients ----------------------------------------------------------------------------------------------------- */

typedef struct client {
    int fd;
    char *got;
    size_t n;
    bool eof, reset;
} client;

#define GOT_MAX (8u << 20)

static client dial(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    fc_addr peer = {0};
    CHECK(fc_http_server_adopt(&server, pair[0], &peer, NULL) == 0);
    return (client){.fd = pair[1], .got = calloc(1, GOT_MAX)};
}

static void hang_up(client *c)
{
    close(c->fd);
    free(c->got);
}

static void collect(client *c)
{
    while (c->n < GOT_MAX - 1) {
        ssize_t n = recv(c->fd, c->got + c->n, GOT_MAX - 1 - c->n, 0);
        if (n > 0) {
            c->n += (size_t)n;
            continue;
        }
        c->eof |= n == 0;
        c->reset |= n < 0 && errno == ECONNRESET;
        return;
    }
}

static void run(void)
{
    while (fc_loop_run(loop, 0, BUDGET) > 0)
        ;
}

/* Until nothing moves any more. */
static void settle(client *c)
{
    size_t before;
    do {
        before = c->n;
        run();
        collect(c);
    } while (c->n != before);
    run();
}

static void send_all(client *c, const char *p, size_t n)
{
    while (n) {
        ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        } else if (errno != EAGAIN) {
            return;
        } else {
            settle(c);
        }
    }
}

static void send_text(client *c, const char *text) { send_all(c, text, strlen(text)); }

static void say(client *c, const char *text)
{
    send_text(c, text);
    settle(c);
}

static void wait_eof(client *c)
{
    for (int i = 0; i < 1000 && !c->eof && !c->reset; i++) {
        fc_loop_run(loop, 10, BUDGET);
        collect(c);
    }
    CHECK(c->eof || c->reset);
}

static unsigned count(const client *c, const char *needle)
{
    unsigned n = 0;
    size_t len = strlen(needle);
    for (const char *p = c->got; (p = memmem(p, (size_t)(c->got + c->n - p), needle, len)); p += len)
        n++;
    return n;
}

static fc_http_settings small_settings(void)
{
    fc_http_settings s = fc_http_settings_default();
    s.app_bytes = 64;
    s.body_bytes_max = 1000000;
    s.fields_max = 20;
    s.parse.head_bytes_max = 8000;
    return s;
}

static void start(const fc_http_settings *s)
{
    reset_counters();
    fc_http_server_init(&server, loop, &ops, NULL, s);
    server.drained = on_drained;
}

static void stop(void)
{
    fc_http_server_stop(&server);
    run();
    CHECK(server.stats.open == 0 && server.stats.idle == 0);
    CHECK(server.conns == NULL);
    CHECK(fc_bufpool_in_use(loop->bufs) == 0);
}

#define HELLO "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
#define ECHO_HEAD(n) "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " n "\r\n\r\n"
#define CHUNKED(path) "POST " path " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

/* --- stories ----------------------------------------------------------------------------------------------------- */

static void one_after_the_other_and_pipelined(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    say(&c, HELLO);
    CHECK(count(&c, "200 X") == 1 && server.stats.idle == 1);
    say(&c, HELLO HELLO HELLO "GET /big HTTP/1.1\r\nHost: x\r\n\r\n" HELLO);
    CHECK(requests == 6 && count(&c, "200 X") == 6 && count(&c, "keep-alive") == 6);
    CHECK(!c.eof);
    say(&c, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" HELLO);
    CHECK(requests == 7 && count(&c, "Connection: close") == 1);
    wait_eof(&c);
    CHECK(!c.reset);
    hang_up(&c);
    stop();
}

static void split_at_every_byte(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    static const char story[] = HELLO ECHO_HEAD("5") "12345" CHUNKED("/echo") "3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nA: b\r\nC: d\r\n\r\n" HELLO;
    size_t len = sizeof story - 1;
    client whole = dial();
    say(&whole, story);
    CHECK(count(&whole, "200 X") == 4);
    for (size_t cut = 1; cut < len; cut++) {
        client c = dial();
        send_all(&c, story, cut);
        settle(&c);
        send_all(&c, story + cut, len - cut);
        settle(&c);
        CHECK(c.n == whole.n && memcmp(c.got, whole.got, c.n) == 0);
        hang_up(&c);
        run();
    }
    client drip = dial();
    for (size_t i = 0; i < len; i++) {
        send_all(&drip, story + i, 1);
        settle(&drip);
    }
    CHECK(drip.n == whole.n && memcmp(drip.got, whole.got, drip.n) == 0);
    CHECK(trailer_fields == 2 * (len + 1));
    hang_up(&drip);
    hang_up(&whole);
    stop();
}

static void big_heads_move_to_larger_blocks(void)
{
    fc_http_settings s = small_settings();
    s.parse.head_bytes_max = 10 << 20; /* cut to what fits */
    s.parse.target_bytes_max = 60000;
    start(&s);
    CHECK(server.settings.parse.head_bytes_max < FC_BUF_LARGE);
    static char head[70000];
    for (size_t n = 3000; n < 60000; n = n * 3 / 2) {
        client c = dial();
        int len = snprintf(head, sizeof head, "GET /hello?");
        memset(head + len, 'q', n);
        snprintf(head + len + n, sizeof head - (size_t)len - n, " HTTP/1.1\r\nHost: x\r\n\r\n" HELLO);
        for (size_t at = 0, total = strlen(head); at < total; at += 1000) {
            send_all(&c, head + at, total - at < 1000 ? total - at : 1000);
            settle(&c);
        }
        CHECK(count(&c, "200 X") == 2);
        hang_up(&c);
        run();
    }
    client c = dial();
    memset(head, 'q', sizeof head);
    memcpy(head, "GET /hello HTTP/1.1\r\nHost: x\r\nA: ", 33);
    send_all(&c, head, sizeof head);
    settle(&c);
    CHECK(last_status == 431 && refusals == 1);
    wait_eof(&c);
    CHECK(count(&c, "431 X") == 1 && !c.reset);
    hang_up(&c);
    stop();
}

static void bodies(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    static char block[300000];
    memset(block, 'b', sizeof block);
    say(&c, ECHO_HEAD("300000"));
    send_all(&c, block, sizeof block);
    settle(&c);
    CHECK(count(&c, "300000") == 1 && body_bytes == 300000);
    say(&c, CHUNKED("/echo"));
    for (int i = 0; i < 100; i++) {
        say(&c, "3e8\r\n");
        send_all(&c, block, 1000);
        say(&c, "\r\n");
    }
    say(&c, "0\r\n\r\n");
    CHECK(count(&c, "100000") == 1);
    /* More than the limit: refused at the head, or on the way. */
    say(&c, ECHO_HEAD("1000001"));
    CHECK(last_status == 413);
    wait_eof(&c);
    hang_up(&c);
    c = dial();
    say(&c, CHUNKED("/echo") "f423f\r\n"); /* 999,999 */
    for (int i = 0; i < 3; i++)
        send_all(&c, block, sizeof block);
    send_all(&c, block, 99999);
    say(&c, "\r\n2\r\nab\r\n0\r\n\r\n");
    CHECK(failures == 1 && last_failure == FC_HTTP_BODY_TOO_LARGE && count(&c, "413 X") == 1);
    wait_eof(&c);
    hang_up(&c);
    c = dial();
    say(&c, CHUNKED("/echo") "3\r\nabcX");
    CHECK(failures == 2 && last_failure == FC_HTTP_BODY_MALFORMED && count(&c, "400 X") == 1);
    wait_eof(&c);
    hang_up(&c);
    c = dial();
    say(&c, CHUNKED("/echo") "3\r\nabc\r\n0\r\nBad Name: x\r\n\r\n");
    CHECK(failures == 3 && last_failure == FC_HTTP_BODY_MALFORMED);
    wait_eof(&c);
    hang_up(&c);
    stop();
}

static void unread_bodies(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    static char block[200000];
    /* Short ones are skipped, in either framing; the connection lives on. */
    say(&c, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789" HELLO);
    CHECK(count(&c, "200 X") == 2);
    say(&c, CHUNKED("/unread") "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n" HELLO);
    CHECK(count(&c, "200 X") == 4 && !c.eof && body_bytes == 0);
    /* A long chunked one only shows on its way. */
    say(&c, CHUNKED("/unread") "30d40\r\n");
    CHECK(count(&c, "200 X") == 5);
    send_all(&c, block, sizeof block);
    settle(&c);
    wait_eof(&c);
    CHECK(!c.reset);
    hang_up(&c);
    /* A long one of known length is announced as the last. */
    c = dial();
    say(&c, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    CHECK(count(&c, "Connection: close") == 1);
    send_all(&c, block, 100000);
    settle(&c);
    wait_eof(&c);
    CHECK(!c.reset && count(&c, "not read") == 1);
    hang_up(&c);
    stop();
}

static void expect_continue(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    say(&c, "POST /continue HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    CHECK(count(&c, "HTTP/1.1 100 Continue\r\n\r\n") == 1 && count(&c, "200 X") == 0);
    say(&c, "abc");
    CHECK(count(&c, "200 X") == 1 && count(&c, "100 Continue") == 1);
    /* Not invited, the body may never come: no next request can be found behind it. */
    say(&c, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    CHECK(count(&c, "not read") == 1 && count(&c, "Connection: close") == 1 && count(&c, "100 Continue") == 1);
    wait_eof(&c);
    hang_up(&c);
    stop();
}

static void pausing_stops_the_client(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    pause_bodies = true;
    static char block[900000];
    say(&c, ECHO_HEAD("900000"));
    size_t at = 0;
    for (int i = 0; i < 50; i++) {
        ssize_t n = send(c.fd, block + at, sizeof block - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        run();
    }
    CHECK(at < sizeof block); /* only what the sockets hold */
    CHECK(body_bytes <= FC_BUF_LARGE && fc_bufpool_in_use(loop->bufs) <= 3 * 65536);
    unsigned rounds = 0;
    while (at < sizeof block || parked) {
        ssize_t n = at < sizeof block ? send(c.fd, block + at, sizeof block - at, MSG_NOSIGNAL) : 0;
        if (n > 0)
            at += (size_t)n;
        fc_http_req *req = parked;
        parked = NULL;
        if (req)
            fc_http_resume(req);
        run();
        if (++rounds > 10000)
            break;
    }
    settle(&c);
    CHECK(count(&c, "900000") == 1);
    hang_up(&c);
    stop();
}

static void half_closed_clients_get_their_answers(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    send_text(&c, HELLO HELLO);
    shutdown(c.fd, SHUT_WR);
    settle(&c);
    CHECK(count(&c, "200 X") == 2 && c.eof);
    hang_up(&c);
    c = dial(); /* an answer that comes later */
    send_text(&c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(c.fd, SHUT_WR);
    settle(&c);
    CHECK(parked && !c.eof);
    answer(parked, 200, big, BIG, true);
    settle(&c);
    CHECK(count(&c, "200 X") == 1 && c.eof && c.n > BIG);
    hang_up(&c);
    c = dial(); /* in the middle of a head, and of a body */
    say(&c, "GET /he");
    shutdown(c.fd, SHUT_WR);
    settle(&c);
    CHECK(c.eof && c.n == 0);
    hang_up(&c);
    c = dial();
    say(&c, ECHO_HEAD("10") "123");
    shutdown(c.fd, SHUT_WR);
    settle(&c);
    CHECK(c.eof && failures == 1 && last_failure == FC_HTTP_CLIENT_GONE);
    hang_up(&c);
    stop();
}

static void many_big_answers_to_one_pipelining_client(void)
{
    fc_http_settings s = small_settings();
    s.out_high = 64 * 1024;
    s.out_low = 16 * 1024;
    start(&s);
    client c = dial();
    int small = 4096;
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    enum { N = 100 };
    for (int i = 0; i < N; i++)
        send_text(&c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    run(); /* not reading: what is produced stays bounded */
    CHECK(requests < N && server.conns->conn.out.bytes < s.out_high + 2 * BIG);
    settle(&c);
    CHECK(requests == N && count(&c, "200 X") == N);
    hang_up(&c);
    stop();
}

static void a_burst_that_fits_the_socket_does_not_stall(void)
{
    fc_http_settings s = small_settings();
    s.out_high = 15000; /* reached by two answers; the socket takes them all at once */
    s.out_low = 1000;
    start(&s);
    client c = dial();
    int large = 4 << 20;
    setsockopt(server.conns->conn.io.fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
#define ASK_BIG "GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
    send_text(&c, ASK_BIG ASK_BIG ASK_BIG ASK_BIG ASK_BIG ASK_BIG ASK_BIG ASK_BIG);
    run();
    CHECK(requests == 8);
    settle(&c);
    CHECK(count(&c, "200 X") == 8);
    hang_up(&c);
    stop();
}

static void never_reading_client_is_bounded_and_cut(void)
{
    fc_http_settings s = small_settings();
    s.write_timeout_ms = 60;
    s.out_high = 128 * 1024;
    s.out_low = 32 * 1024;
    start(&s);
    client c = dial();
    send_text(&c, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    run();
    CHECK(parked);
    while (!fc_http_full(parked)) {
        fc_http_send(parked, NULL, big, BIG);
        fc_http_flush(parked);
    }
    CHECK(server.conns->conn.out.bytes < s.out_high + BIG);
    for (int i = 0; i < 200 && !failures; i++)
        fc_loop_run(loop, 20, BUDGET);
    CHECK(failures == 1 && last_failure == FC_HTTP_WRITE_TIMEOUT);
    run();
    CHECK(server.stats.open == 0);
    hang_up(&c);
    stop();
}

static void a_slow_reader_is_not_cut(void)
{
    fc_http_settings s = small_settings();
    s.write_timeout_ms = 150;
    s.idle_timeout_ms = 30; /* shorter than the download takes: idling begins after it */
    s.out_high = 128 * 1024;
    s.out_low = 32 * 1024;
    start(&s);
    client c = dial();
    send_text(&c, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    run();
    size_t sent = 0;
    while (!fc_http_full(parked)) {
        fc_http_send(parked, NULL, big, BIG);
        fc_http_flush(parked);
        sent += BIG;
    }
    fc_http_end(parked, true);
    size_t taken = 0;
    static char scrap[40000];
    while (taken < sent) {
        ssize_t n = recv(c.fd, scrap, sizeof scrap, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        taken += n > 0 ? (size_t)n : 0;
        fc_loop_run(loop, 20, BUDGET);
        fc_loop_run(loop, 20, BUDGET);
    }
    CHECK(taken == sent && failures == 0);
    wait_eof(&c); /* and now the idle deadline */
    hang_up(&c);
    stop();
}

static void drain_goes_on_where_it_stopped(void)
{
    fc_http_settings s = small_settings();
    s.out_high = 64 * 1024;
    s.out_low = 16 * 1024;
    start(&s);
    client c = dial();
    say(&c, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!fc_http_full(parked)) {
        fc_http_send(parked, NULL, big, BIG);
        fc_http_flush(parked);
    }
    for (int i = 0; i < 1000 && drains <= 20; i++)
        settle(&c);
    CHECK(drains > 20);
    fc_http_end(parked, false);
    wait_eof(&c);
    hang_up(&c);
    stop();
}

static void deadlines(void)
{
    fc_http_settings s = small_settings();
    s.header_timeout_ms = 40;
    s.idle_timeout_ms = 80;
    s.body_timeout_ms = 40;
    start(&s);
    client silent = dial(), half_head = dial(), idle = dial(), half_body = dial(), waiting = dial();
    say(&half_head, "GET /hello HTTP/1.1\r\n");
    say(&idle, HELLO);
    say(&half_body, ECHO_HEAD("10") "123");
    say(&waiting, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"); /* no deadline: the application takes its time */
    wait_eof(&silent);
    CHECK(silent.n == 0);
    wait_eof(&half_head);
    CHECK(count(&half_head, "408 X") == 1 && last_status == 408);
    wait_eof(&half_body);
    CHECK(count(&half_body, "408 X") == 1 && last_failure == FC_HTTP_BODY_TIMEOUT);
    wait_eof(&idle);
    CHECK(count(&idle, "200 X") == 1 && idle.n > 0);
    collect(&waiting);
    CHECK(!waiting.eof && parked);
    answer(parked, 200, "", 0, true);
    hang_up(&silent);
    hang_up(&half_head);
    hang_up(&idle);
    hang_up(&half_body);
    hang_up(&waiting);
    stop();
}

static void a_trickling_body_is_too_slow(void)
{
    fc_http_settings s = small_settings();
    s.body_timeout_ms = 50;
    s.body_rate_min = 100000;
    start(&s);
    client c = dial();
    say(&c, ECHO_HEAD("100000"));
    for (int i = 0; i < 100 && !failures; i++) { /* never silent for long, but far below the rate */
        send_all(&c, "x", 1);
        run();
        fc_loop_run(loop, 10, BUDGET);
    }
    CHECK(failures == 1 && last_failure == FC_HTTP_BODY_TIMEOUT && body_bytes < 100);
    hang_up(&c);
    stop();
}

static void refused_heads(void)
{
    static const struct {
        const char *text;
        int status;
    } bad[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
        {"GET / HTTP/1.1\nHost: x\n\n", 400},
        {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400}, /* TLS on a clear port */
    };
    fc_http_settings s = small_settings();
    start(&s);
    for (size_t i = 0; i < FC_ARRAY_LEN(bad); i++) {
        client c = dial();
        say(&c, bad[i].text);
        CHECK(last_status == bad[i].status);
        say(&c, HELLO); /* swallowed, not answered */
        wait_eof(&c);
        CHECK(!c.reset && count(&c, "Connection: close") == 1);
        hang_up(&c);
    }
    CHECK(requests == 0 && refusals == FC_ARRAY_LEN(bad));
    stop();
}

static void clients_that_vanish(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    say(&c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    hang_up(&c);
    run();
    CHECK(parked || failures); /* a FIN alone may be a half-closed client; writing finds out */
    if (parked) {
        fc_http_req *req = parked;
        fc_http_send(req, NULL, big, BIG);
        fc_http_flush(req);
        run();
    }
    CHECK(failures == 1 && last_failure == FC_HTTP_CLIENT_GONE && !parked);
    stop();
}

static void draining(void)
{
    fc_http_settings s = small_settings();
    s.drain_idle_ms = 30;
    start(&s);
    client idle = dial(), busy = dial(), fresh = dial();
    say(&idle, HELLO);
    say(&busy, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    fc_http_server_drain(&server);
    CHECK(drained == 0);
    say(&fresh, HELLO); /* came before, asks during: answered, and told to go */
    CHECK(count(&fresh, "Connection: close") == 1);
    wait_eof(&fresh);
    wait_eof(&idle);
    CHECK(drained == 0);
    answer(parked, 200, "", 0, fc_http_may_keep(parked));
    settle(&busy);
    CHECK(count(&busy, "Connection: close") == 1 && busy.eof && drained == 1);
    hang_up(&idle);
    hang_up(&busy);
    hang_up(&fresh);
    stop();
    start(&s);
    client waiting = dial();
    say(&waiting, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    fc_http_server_stop(&server);
    CHECK(failures == 1 && last_failure == FC_HTTP_SHUTDOWN);
    settle(&waiting);
    CHECK(waiting.eof);
    hang_up(&waiting);
    stop();
}

static void tunnel(void)
{
    fc_http_settings s = small_settings();
    start(&s);
    client c = dial();
    say(&c, "GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\nraw bytes");
    say(&c, " and more");
    CHECK(count(&c, "101 X\r\n\r\nraw bytes and more") == 1);
    shutdown(c.fd, SHUT_WR);
    wait_eof(&c);
    hang_up(&c);
    stop();
}

static void listening(void)
{
    fc_http_settings s = small_settings();
    s.connections_max = 3;
    start(&s);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    CHECK(bind(listener, (struct sockaddr *)(void *)&at, len) == 0 && listen(listener, 16) == 0);
    getsockname(listener, (struct sockaddr *)(void *)&at, &len);
    CHECK(fc_http_server_listen(&server, listener, NULL) == 0);
    client clients[5];
    for (int i = 0; i < 5; i++) {
        clients[i] = (client){.fd = socket(AF_INET, SOCK_STREAM, 0), .got = calloc(1, GOT_MAX)};
        CHECK(connect(clients[i].fd, (struct sockaddr *)(void *)&at, sizeof at) == 0);
        CHECK(send(clients[i].fd, HELLO, strlen(HELLO), 0) > 0);
    }
    run();
    CHECK(server.stats.open == 3 && requests == 3); /* the others wait in the kernel */
    CHECK(fc_loop_run(loop, 0, BUDGET) == 0);       /* and do not keep us awake */
    hang_up(&clients[0]);
    for (int i = 0; i < 100 && requests < 4; i++)
        fc_loop_run(loop, 20, BUDGET);
    CHECK(server.stats.open == 3 && requests == 4);
    for (int i = 1; i < 5; i++)
        hang_up(&clients[i]);
    for (int i = 0; i < 100 && (requests < 5 || server.stats.open); i++)
        fc_loop_run(loop, 20, BUDGET);
    CHECK(requests == 5 && server.stats.open == 0);
    stop();
    close(listener);
}

int main(void)
{
    loop = fc_loop_new(64 << 20);
    memset(big, 'B', sizeof big);
    one_after_the_other_and_pipelined();
    split_at_every_byte();
    big_heads_move_to_larger_blocks();
    bodies();
    unread_bodies();
    expect_continue();
    pausing_stops_the_client();
    half_closed_clients_get_their_answers();
    many_big_answers_to_one_pipelining_client();
    a_burst_that_fits_the_socket_does_not_stall();
    never_reading_client_is_bounded_and_cut();
    a_slow_reader_is_not_cut();
    drain_goes_on_where_it_stopped();
    deadlines();
    a_trickling_body_is_too_slow();
    refused_heads();
    clients_that_vanish();
    draining();
    tunnel();
    listening();
    fc_loop_free(loop);
    return check_done("test_http_server");
}
