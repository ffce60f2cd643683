/* A session of the HTTP server fed through a socket pair in pieces, by a client that has just sent its preface. The first
 * byte seeds the sizes of the pieces and what the application does with each request. Nothing may crash, leak a buffer,
 * end a request twice, or leave a connection behind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fc/http_server.h"

#define BUDGET (5 * FC_NS_PER_MS)
#define PARKED_MAX 64

static fc_loop *loop;
static fc_http_server server;
static fc_http_req *parked[PARKED_MAX]; /* answered later, from outside */
static uint32_t dice;

static uint32_t roll(uint32_t n)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 16) % n;
}

static void park(fc_http_req *req)
{
    for (unsigned i = 0; i < PARKED_MAX; i++)
        if (!parked[i] || parked[i] == req) {
            parked[i] = req;
            return;
        }
}

static bool unpark(const fc_http_req *req)
{
    for (unsigned i = 0; i < PARKED_MAX; i++)
        if (parked[i] == req) {
            parked[i] = NULL;
            return true;
        }
    return false;
}

static void answer(fc_http_req *req)
{
    static const char *answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    };
    unpark(req);
    if (roll(16) == 0) {
        fc_http_abort(req);
        return;
    }
    const char *text = answers[roll(FC_ARRAY_LEN(answers))];
    size_t n = strlen(text), first = roll(3) ? n : roll((uint32_t)n);
    fc_http_send_copy(req, text, first);
    if (roll(4) == 0)
        fc_http_flush(req);
    fc_http_send_copy(req, text + first, n - first);
    fc_http_end(req, false);
}

static void on_request(fc_http_req *req)
{
    switch (roll(5)) {
    case 0:
        park(req);
        break;
    case 1:
        fc_http_send_continue(req);
        break;
    case 2:
        fc_http_pause(req);
        park(req);
        break;
    case 3:
        answer(req); /* the body has not come */
        break;
    default:
        break; /* answered when its body has ended */
    }
}

static void on_refuse(fc_http_req *req, int status, const char *reason)
{
    if (status < 400 || status > 599 || !reason)
        abort();
    fc_http_end(req, false);
}

static void on_body(fc_http_req *req, fc_buf *buf, const char *p, size_t n)
{
    if (n == 0 || p < buf->data || p + n > buf->data + buf->used)
        abort();
    if (roll(8) == 0) {
        fc_http_pause(req);
        park(req);
    } else if (roll(8) == 0) {
        answer(req);
    }
}

static void on_body_end(fc_http_req *req, const char *base, const fc_http1_head *trailers)
{
    if (trailers && !base)
        abort();
    for (unsigned i = 0; i < PARKED_MAX; i++)
        if (parked[i] == req)
            return;
    answer(req);
}

static void on_drain(fc_http_req *req) { (void)req; }

static void on_failed(fc_http_req *req, fc_http_failure why)
{
    (void)why;
    unpark(req);
    if (roll(2) && !req->ended)
        fc_http_end(req, false);
}

static const fc_http_ops ops = {on_request, on_refuse, on_body, on_body_end, on_drain, on_failed};

static void turn(int fd)
{
    char scrap[65536];
    for (int i = 0; i < 20 && fc_loop_run(loop, 0, BUDGET) > 0; i++)
        while (recv(fd, scrap, sizeof scrap, 0) > 0)
            ;
    fc_http_req *req = parked[roll(PARKED_MAX)];
    if (!req)
        return;
    if (roll(2) && !req->body_done) {
        unpark(req);
        fc_http_resume(req);
    } else {
        answer(req);
    }
}

static int send_all(int fd, const void *p, size_t n) { return send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    loop = fc_loop_new(8u << 20);
    fc_http_settings settings = fc_http_settings_default();
    settings.h2 = true;
    settings.body_bytes_max = 100000;
    settings.fields_max = 16;
    settings.parse.head_bytes_max = 4000;
    settings.out_high = 1000;
    settings.out_low = 100;
    settings.streams.streams_max = PARKED_MAX;
    settings.streams.stream_window = 65535;
    settings.streams.connection_window = 65535;
    fc_http_server_init(&server, loop, &ops, NULL, &settings);
    dice = data[0] | (uint32_t)size << 8;
    memset(parked, 0, sizeof parked);
    int pair[2];
    if (!loop || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
        abort();
    fc_addr peer = {0};
    if (fc_http_server_adopt(&server, pair[0], &peer, NULL) < 0)
        abort();
    if (send_all(pair[1], FC_H2_PREFACE "\0\0\0\4\0\0\0\0\0", FC_H2_PREFACE_LEN + 9) < 0)
        abort();
    size_t at = 1;
    for (unsigned rounds = 0; at < size && rounds < 10000; rounds++) {
        size_t piece = roll(4) ? 1 + roll(64) : size - at;
        ssize_t n = send(pair[1], data + at, piece < size - at ? piece : size - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        else if (errno != EAGAIN)
            break;
        turn(pair[1]);
    }
    if (roll(2))
        shutdown(pair[1], SHUT_WR);
    for (int i = 0; i < 4; i++)
        turn(pair[1]);
    fc_http_server_stop(&server);
    while (fc_loop_run(loop, 0, BUDGET) > 0)
        ;
    if (server.stats.open || server.stats.streams || fc_bufpool_in_use(loop->bufs))
        abort();
    close(pair[1]);
    fc_loop_free(loop);
    return 0;
}
