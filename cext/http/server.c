/* Accepting, draining and stopping. What happens on one connection is in http_conn.c. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn_internal.h"

/* Connections accepted per event: enough to empty a burst quickly, few enough to spread it over the workers that were
 * woken with us. */
#define ACCEPT_BATCH 16
/* Out of descriptors or memory: wait this long before accepting again. The kernel's queue holds the clients meanwhile. */
#define ACCEPT_BACKOFF_MS 100

typedef struct fc_http_listener {
    fc_io io;
    fc_http_server *server;
    fc_securer *securer;
    struct fc_http_listener *next;
    fc_timer retry;
    fc_task gone;
    bool watching;
} fc_http_listener;

fc_http_settings fc_http_settings_default(void)
{
    return (fc_http_settings){
        .parse = {.flags = 0, .head_bytes_max = 32 * 1024, .target_bytes_max = 8 * 1024},
        .fields_max = 100,
        .chunk_ext_max = FC_CHUNK_EXT_MAX,
        .trailer_bytes_max = 8 * 1024,
        .connections_max = 65536,
        .header_timeout_ms = 10 * 1000,
        .idle_timeout_ms = 75 * 1000,
        .body_timeout_ms = 30 * 1000,
        .write_timeout_ms = 30 * 1000,
        .drain_idle_ms = 1000,
        .out_high = 256 * 1024,
        .out_low = 64 * 1024,
        .streams = fc_h2_settings_default(),
    };
}

void fc_http_server_init(fc_http_server *server, fc_loop *loop, const fc_http_ops *ops, void *app,
                         const fc_http_settings *settings)
{
    memset(server, 0, sizeof *server);
    server->loop = loop;
    server->ops = ops;
    server->app = app;
    server->settings = *settings;
    /* A head has to fit one block, and its limit has to be reached before the block is full. */
    if (server->settings.parse.head_bytes_max > FC_BUF_LARGE - 1)
        server->settings.parse.head_bytes_max = FC_BUF_LARGE - 1;
    server->settings.streams.head_bytes_max = server->settings.parse.head_bytes_max;
    server->settings.streams.linger_ms = server->settings.write_timeout_ms;
    if (server->settings.trailer_bytes_max > FC_BUF_LARGE - 1)
        server->settings.trailer_bytes_max = FC_BUF_LARGE - 1;
}

static void listener_watch(fc_http_listener *l, bool on)
{
    if (l->watching == on)
        return;
    l->watching = on;
    fc_loop_rewatch(l->server->loop, &l->io, on ? EPOLLIN : 0);
}

static void on_retry(fc_timer *timer, void *ctx)
{
    (void)ctx;
    listener_watch(FC_CONTAINER_OF(timer, fc_http_listener, retry), true);
}

static void on_accept(fc_loop *loop, fc_io *io, uint32_t events)
{
    (void)events;
    fc_http_listener *l = FC_CONTAINER_OF(io, fc_http_listener, io);
    fc_http_server *server = l->server;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (server->stats.open >= server->settings.connections_max) {
            listener_watch(l, false); /* fc_http_server_left turns it on again */
            return;
        }
        struct sockaddr_storage sa;
        socklen_t len = sizeof sa;
        int fd = accept4(io->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno == EAGAIN)
                return;
            server->accept_errno = errno;
            server->stats.accept_errors++;
            listener_watch(l, false);
            fc_loop_timer(loop, &l->retry, fc_loop_now_ms(loop) + ACCEPT_BACKOFF_MS);
            return;
        }
        server->accept_errno = 0;
        server->stats.accepted++;
        int one = 1;
        if (sa.ss_family != AF_UNIX)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fc_addr peer = fc_addr_from((struct sockaddr *)&sa);
        if (fc_http_conn_start(server, fd, &peer, l->securer) < 0)
            close(fd);
    }
}

int fc_http_server_adopt(fc_http_server *server, int fd, const fc_addr *peer, fc_securer *securer)
{
    server->stats.accepted++;
    return fc_http_conn_start(server, fd, peer, securer);
}

int fc_http_server_listen(fc_http_server *server, int fd, fc_securer *securer)
{
    fc_http_listener *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->io = (fc_io){.fn = on_accept, .fd = fd};
    l->server = server;
    l->securer = securer;
    l->retry.fn = on_retry;
    l->watching = true;
    int rc = fc_loop_watch(server->loop, &l->io, EPOLLIN);
    if (rc < 0) {
        free(l);
        return rc;
    }
    l->next = server->listeners;
    server->listeners = l;
    return 0;
}

static void free_listener(fc_loop *loop, fc_task *task)
{
    (void)loop;
    free(FC_CONTAINER_OF(task, fc_http_listener, gone));
}

static void stop_listening(fc_http_server *server)
{
    while (server->listeners) {
        fc_http_listener *l = server->listeners;
        server->listeners = l->next;
        fc_loop_timer_cancel(server->loop, &l->retry);
        fc_loop_unwatch(server->loop, &l->io);
        l->gone.fn = free_listener;
        fc_loop_later(server->loop, &l->gone);
    }
}

static bool is_empty(const fc_http_server *server) { return server->stats.open == 0 && server->stats.streams == 0; }

void fc_http_server_left(fc_http_server *server, bool stream)
{
    if (!stream && server->stats.open + 1 == server->settings.connections_max)
        for (fc_http_listener *l = server->listeners; l; l = l->next)
            if (!fc_timer_armed(&l->retry))
                listener_watch(l, true);
    if (server->draining && is_empty(server) && server->drained)
        server->drained(server);
}

void fc_http_server_drain(fc_http_server *server)
{
    if (server->draining)
        return;
    server->draining = true;
    stop_listening(server);
    for (fc_http_conn *c = server->conns, *next; c; c = next) {
        next = c->next;
        fc_http_conn_drain(c);
    }
    if (is_empty(server) && server->drained)
        server->drained(server);
}

void fc_http_server_stop(fc_http_server *server)
{
    server->draining = true;
    stop_listening(server);
    for (fc_http_conn *c = server->conns, *next; c; c = next) {
        next = c->next;
        fc_http_conn_kill(c, FC_HTTP_SHUTDOWN);
    }
}
