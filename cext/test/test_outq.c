/* The output queue through a socket pair whose reader is slow: every byte once, in order, nothing kept afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fc/outq.h"

static char sent_model[4 << 20], received[4 << 20];
static size_t model_len, received_len;

static void expect(const char *p, size_t n)
{
    memcpy(sent_model + model_len, p, n);
    model_len += n;
}

static void take(int fd, size_t most)
{
    ssize_t n = recv(fd, received + received_len, most, MSG_DONTWAIT);
    if (n > 0)
        received_len += (size_t)n;
}

static int temp_file(size_t n, unsigned seed)
{
    char name[] = "/tmp/fc_outq_XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    for (size_t i = 0; i < n; i++) {
        char byte = (char)(seed + i * 31);
        if (pwrite(fd, &byte, 1, (off_t)i) != 1)
            abort();
    }
    return fd;
}

static void random_traffic(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    int small = 4096;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    fc_bufpool *pool = fc_bufpool_new(64 << 20);
    fc_outq q;
    fc_outq_init(&q);
    int files[4];
    for (unsigned i = 0; i < 4; i++)
        files[i] = temp_file(3000, i);
    srand(3);
    static const char fixed[] = "static text";
    for (int step = 0; step < 3000; step++) {
        size_t before = q.bytes;
        if (rand() % 8 == 0) {
            unsigned f = (unsigned)rand() % 4;
            size_t off = (size_t)rand() % 1000, n = (size_t)rand() % 2000;
            for (size_t i = 0; i < n; i++) {
                char byte = (char)(f + (off + i) * 31);
                expect(&byte, 1);
            }
            CHECK(fc_outq_push_file(&q, fcntl(files[f], F_DUPFD_CLOEXEC, 0), (off_t)off, n) == 0);
            CHECK(q.bytes == before + n);
        } else if (rand() % 8 == 0) {
            expect(fixed, sizeof fixed - 1);
            CHECK(fc_outq_push(&q, NULL, fixed, sizeof fixed - 1) == 0);
        } else {
            fc_buf *buf = fc_buf_get(pool, 4000);
            size_t n = (size_t)rand() % 600, m = (size_t)rand() % 100;
            for (size_t i = 0; i < n + m; i++)
                buf->data[i] = (char)rand();
            expect(buf->data, n + m);
            CHECK(fc_outq_push(&q, buf, buf->data, n) == 0);
            CHECK(fc_outq_push(&q, buf, buf->data + n, m) == 0); /* adjacent: the same segment grows */
            fc_buf_unref(buf);
            CHECK(q.bytes == before + n + m);
        }
        if (rand() % 3 == 0) {
            int rc = fc_outq_send(&q, pair[0]);
            CHECK(rc == 0 || rc == -EAGAIN);
            CHECK((rc == 0) == (q.len == 0));
        }
        if (rand() % 2)
            take(pair[1], (size_t)rand() % 4000 + 1);
    }
    while (q.len) {
        int rc = fc_outq_send(&q, pair[0]);
        CHECK(rc == 0 || rc == -EAGAIN);
        take(pair[1], 100000);
    }
    for (size_t last = 0; last != received_len;)
        last = received_len, take(pair[1], 100000);
    CHECK(q.bytes == 0 && q.segs == q.local);
    CHECK(received_len == model_len && memcmp(received, sent_model, model_len) == 0);
    CHECK(fc_bufpool_in_use(pool) == 0);
    for (int i = 0; i < 4; i++)
        close(files[i]);
    close(pair[0]);
    close(pair[1]);
    fc_bufpool_free(pool);
}

static void dropped_queue_holds_nothing(void)
{
    fc_bufpool *pool = fc_bufpool_new(64 << 20);
    fc_outq q;
    fc_outq_init(&q);
    for (int i = 0; i < 40; i++) {
        fc_buf *buf = fc_buf_get(pool, 10);
        CHECK(fc_outq_push(&q, buf, buf->data, 10) == 0);
        fc_buf_unref(buf);
    }
    int file = temp_file(10, 0);
    CHECK(fc_outq_push_file(&q, file, 0, 10) == 0);
    CHECK(q.bytes == 410);
    fc_outq_clear(&q);
    CHECK(q.bytes == 0 && q.len == 0 && q.segs == q.local);
    CHECK(fcntl(file, F_GETFD) == -1); /* closed with its segment */
    CHECK(fc_bufpool_in_use(pool) == 0);
    fc_bufpool_free(pool);
}

static void failures_are_told(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    fc_outq q;
    fc_outq_init(&q);
    CHECK(fc_outq_push_file(&q, temp_file(10, 0), 0, 20) == 0);
    CHECK(fc_outq_send(&q, pair[0]) == -EIO); /* the file is shorter than promised */
    fc_outq_clear(&q);
    int empty = temp_file(1, 0);
    CHECK(fc_outq_push_file(&q, empty, 0, 0) == 0 && q.len == 0 && fcntl(empty, F_GETFD) == -1);
    close(pair[1]);
    CHECK(fc_outq_push(&q, NULL, "x", 1) == 0);
    CHECK(fc_outq_send(&q, pair[0]) == -EPIPE); /* and no SIGPIPE */
    fc_outq_clear(&q);
    close(pair[0]);
}

int main(void)
{
    random_traffic();
    dropped_queue_holds_nothing();
    failures_are_told();
    return check_done("test_outq");
}
