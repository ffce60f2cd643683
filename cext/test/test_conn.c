/* Connections over socket pairs and loopback: reading, pausing, watermarks, deadlines, resets, closing once. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fc/conn.h"

#define BUDGET (10 * FC_NS_PER_MS)

typedef struct peer {
    fc_conn conn;
    int other;
    size_t got;
    unsigned reads, drains, sents, connects, timeouts, brokens, closes;
    int err;
    bool eof, pause_on_read;
} peer;

static peer *of(fc_conn *c) { return FC_CONTAINER_OF(c, peer, conn); }

static void on_read(fc_conn *c)
{
    peer *p = of(c);
    p->reads++;
    if (p->pause_on_read) {
        fc_conn_pause(c);
        return;
    }
    char scrap[1000];
    while (c->readable) {
        ssize_t n = fc_conn_recv(c, scrap, sizeof scrap);
        if (n > 0)
            p->got += (size_t)n;
        if (n == 0) {
            p->eof = true;
            break;
        }
        if (n < 0)
            break;
    }
}
static void on_drain(fc_conn *c) { of(c)->drains++; }
static void on_sent(fc_conn *c) { of(c)->sents++; }
static void on_connected(fc_conn *c) { of(c)->connects++; }
static void on_timeout(fc_conn *c) { of(c)->timeouts++; }
static void on_broken(fc_conn *c, int err)
{
    of(c)->brokens++;
    of(c)->err = err;
    fc_conn_close(c);
}
static void on_closed(fc_conn *c) { of(c)->closes++; }

static const fc_conn_ops ops = {on_read, on_drain, on_sent, on_connected, on_timeout, on_broken, on_closed};

static void open_pair(fc_loop *loop, peer *p)
{
    int pair[2];
    memset(p, 0, sizeof *p);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    CHECK(fc_conn_open(&p->conn, loop, pair[0], &ops) == 0);
    p->conn.out_high = 64 * 1024;
    p->conn.out_low = 16 * 1024;
    p->other = pair[1];
}

static void run(fc_loop *loop)
{
    while (fc_loop_run(loop, 0, BUDGET) > 0)
        ;
}

static void finish(fc_loop *loop, peer *p)
{
    unsigned before = p->closes;
    fc_conn_close(&p->conn);
    fc_conn_close(&p->conn);
    run(loop);
    CHECK(p->closes == 1 && (before == 1 || before == 0));
    close(p->other);
}

static void reads_until_empty_and_sees_the_end(fc_loop *loop)
{
    peer p;
    open_pair(loop, &p);
    CHECK(write(p.other, "0123456789", 10) == 10);
    run(loop);
    CHECK(p.got == 10 && p.reads == 1 && !p.eof);
    run(loop);
    CHECK(p.reads == 1);
    CHECK(write(p.other, "abc", 3) == 3 && shutdown(p.other, SHUT_WR) == 0); /* bytes and FIN in one event */
    run(loop);
    CHECK(p.got == 13 && p.eof && p.conn.peer_closed);
    finish(loop, &p);
}

static void paused_bytes_wait(fc_loop *loop)
{
    peer p;
    open_pair(loop, &p);
    p.pause_on_read = true;
    CHECK(write(p.other, "0123456789", 10) == 10);
    run(loop);
    CHECK(p.reads == 1 && p.got == 0);
    CHECK(write(p.other, "0123456789", 10) == 10);
    run(loop);
    CHECK(p.reads == 1 && p.got == 0);
    p.pause_on_read = false;
    fc_conn_resume(&p.conn);
    run(loop);
    CHECK(p.got == 20);
    finish(loop, &p);
}

static void watermarks(fc_loop *loop)
{
    peer p;
    open_pair(loop, &p);
    static char block[32 * 1024], sink[64 * 1024];
    size_t pushed = 0, taken = 0;
    while (!fc_conn_full(&p.conn)) {
        CHECK(fc_conn_write_copy(&p.conn, block, sizeof block) == 0);
        CHECK(fc_conn_flush(&p.conn) == 0);
        pushed += sizeof block;
    }
    CHECK(p.conn.over_high && p.drains == 0 && p.sents == 0);
    for (int i = 0; i < 1000 && taken < pushed; i++) {
        ssize_t n = recv(p.other, sink, sizeof sink, 0);
        if (n > 0)
            taken += (size_t)n;
        unsigned drains = p.drains;
        run(loop);
        if (p.drains > drains)
            CHECK(p.conn.out.bytes <= p.conn.out_low);
    }
    CHECK(taken == pushed && p.drains == 1 && p.sents == 1 && p.conn.out.bytes == 0);
    finish(loop, &p);
}

static void one_deadline_moved_lazily(fc_loop *loop)
{
    peer p;
    open_pair(loop, &p);
    fc_loop_touch(loop);
    uint64_t now = fc_loop_now_ms(loop);
    fc_conn_deadline(&p.conn, now + 20);
    fc_conn_deadline(&p.conn, now + 60); /* later: the wheel entry stays where it was */
    CHECK(p.conn.timer.at == now + 20);
    while (p.timeouts == 0)
        fc_loop_run(loop, 1000, BUDGET);
    CHECK(fc_loop_now_ms(loop) >= now + 60);
    now = fc_loop_now_ms(loop);
    fc_conn_deadline(&p.conn, now + 500);
    fc_conn_deadline(&p.conn, now + 10); /* sooner */
    while (p.timeouts == 1)
        fc_loop_run(loop, 1000, BUDGET);
    CHECK(fc_loop_now_ms(loop) < now + 400);
    fc_conn_deadline(&p.conn, fc_loop_now_ms(loop) + 10);
    fc_conn_deadline(&p.conn, 0);
    fc_loop_run(loop, 30, BUDGET);
    fc_loop_run(loop, 30, BUDGET);
    CHECK(p.timeouts == 2);
    finish(loop, &p);
}

static int tcp_listener(struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof *at;
    CHECK(bind(fd, (struct sockaddr *)(void *)at, len) == 0 && listen(fd, 8) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)(void *)at, &len) == 0);
    return fd;
}

static void connecting(fc_loop *loop)
{
    struct sockaddr_in at;
    int listener = tcp_listener(&at);
    peer p = {0};
    CHECK(fc_conn_connect(&p.conn, loop, (struct sockaddr *)(void *)&at, sizeof at, &ops) == 0);
    p.conn.out_high = p.conn.out_low = 1000;
    CHECK(fc_conn_write(&p.conn, NULL, "early", 5) == 0 && fc_conn_flush(&p.conn) == 0); /* waits for the connection */
    while (!p.connects && !p.brokens)
        fc_loop_run(loop, 1000, BUDGET);
    CHECK(p.connects == 1);
    run(loop);
    p.other = accept(listener, NULL, NULL);
    char got[8];
    CHECK(recv(p.other, got, sizeof got, 0) == 5);
    finish(loop, &p);
    close(listener);
    peer refused = {0};
    int rc = fc_conn_connect(&refused.conn, loop, (struct sockaddr *)(void *)&at, sizeof at, &ops);
    if (rc == 0) {
        while (!refused.brokens)
            fc_loop_run(loop, 1000, BUDGET);
        run(loop);
        CHECK(refused.err == -ECONNREFUSED && refused.closes == 1 && refused.connects == 0);
    } else {
        CHECK(rc == -ECONNREFUSED);
    }
}

static void resets(fc_loop *loop)
{
    struct sockaddr_in at;
    int listener = tcp_listener(&at);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (struct sockaddr *)(void *)&at, sizeof at) == 0);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    peer p = {0};
    CHECK(fc_conn_open(&p.conn, loop, fd, &ops) == 0);
    p.conn.out_high = p.conn.out_low = 1000;
    run(loop);
    fc_conn_pause(&p.conn); /* a paused owner hears of it too */
    struct linger now = {.l_onoff = 1};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(client);
    run(loop);
    CHECK(p.brokens == 1 && p.closes == 1);

    client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (struct sockaddr *)(void *)&at, sizeof at) == 0);
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    memset(&p, 0, sizeof p);
    CHECK(fc_conn_open(&p.conn, loop, fd, &ops) == 0);
    fc_conn_abort(&p.conn);
    run(loop);
    char byte;
    CHECK(p.closes == 1 && recv(client, &byte, 1, 0) == -1 && errno == ECONNRESET);
    close(client);
    close(listener);
}

int main(void)
{
    fc_loop *loop = fc_loop_new(64 << 20);
    reads_until_empty_and_sees_the_end(loop);
    paused_bytes_wait(loop);
    watermarks(loop);
    one_deadline_moved_lazily(loop);
    connecting(loop);
    resets(loop);
    CHECK(fc_bufpool_in_use(loop->bufs) == 0);
    fc_loop_free(loop);
    return check_done("test_conn");
}
