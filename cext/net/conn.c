#include "fc/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_task(fc_loop *loop, fc_task *task);
static void on_timer(fc_timer *timer, void *ctx);

/* The transport's greeting, or its next step. */
static void greet(fc_conn *c)
{
    int rc = c->transport ? c->transport->ops->connect(c) : 0;
    c->greeting = rc == -EAGAIN;
    if (c->greeting)
        return;
    c->connecting = false;
    if (rc < 0)
        c->ops->broken(c, rc);
    else if (c->ops->connected)
        c->ops->connected(c);
}

static void finish_connect(fc_conn *c)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err) {
        c->connecting = false;
        c->ops->broken(c, -err);
        return;
    }
    greet(c);
}

static void on_writable(fc_conn *c)
{
    c->writable = true;
    if (c->connecting) {
        finish_connect(c);
        if (c->dead)
            return;
    }
    /* A transport without a socket takes bytes at other times, too: what follows holds for an empty queue as well. */
    int rc = c->out.len ? fc_conn_flush(c) : 0;
    if (rc < 0) {
        c->ops->broken(c, rc);
        return;
    }
    if (c->over_high && c->out.bytes <= c->out_low) {
        c->over_high = false;
        if (c->ops->drain)
            c->ops->drain(c);
    }
    if (!c->dead && !c->out.len && c->cut_short) {
        c->cut_short = false;
        if (c->ops->sent)
            c->ops->sent(c);
    }
}

#define WRITABLE (EPOLLOUT | EPOLLHUP | EPOLLERR)

/* With a transport every event may move both directions: what it reads can be what lets it write. False: no more to do. */
static bool on_transport(fc_conn *c, uint32_t events)
{
    if (events & WRITABLE)
        c->writable = true;
    if (c->greeting)
        greet(c);
    else if (c->connecting && (events & WRITABLE))
        finish_connect(c);
    if (c->dead || c->connecting)
        return false;
    c->readable = c->transport->ops->pull(c);
    if (c->out.len || c->over_high || c->cut_short)
        on_writable(c);
    if (!c->dead && c->finishing && c->writable)
        fc_conn_shutdown_write(c);
    return !c->dead;
}

void fc_conn_event(fc_conn *c, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->readable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP))
        c->peer_closed = true;
    if (FC_UNLIKELY(c->transport != NULL)) {
        if (!on_transport(c, events))
            return;
    } else if ((events & WRITABLE) && (!c->writable || c->out.len || c->connecting)) {
        on_writable(c);
    }
    if (c->dead)
        return;
    /* A reset arrives as ERR|HUP. Whoever is paused must hear of it too, or the exchange would live on for nobody. */
    if (events & EPOLLERR)
        c->reset = true;
    if (c->reset && c->paused) {
        c->ops->broken(c, -ECONNRESET);
        return;
    }
    if (c->readable && !c->paused)
        c->ops->read(c);
}

static void on_events(fc_loop *loop, fc_io *io, uint32_t events)
{
    (void)loop;
    fc_conn_event(FC_CONTAINER_OF(io, fc_conn, io), events);
}

static void begin(fc_conn *c, fc_loop *loop, int fd, const fc_conn_ops *ops)
{
    c->io = (fc_io){.fn = on_events, .fd = fd};
    c->loop = loop;
    c->ops = ops;
    c->deadline_ms = 0;
    c->timer = (fc_timer){.fn = on_timer};
    c->task = (fc_task){.fn = on_task};
    c->readable = c->peer_closed = c->reset = c->paused = c->over_high = c->cut_short = c->aborting = c->dead = false;
    c->greeting = c->finishing = false;
    c->transport = NULL;
    fc_outq_init(&c->out);
}

static int start(fc_conn *c, fc_loop *loop, int fd, const fc_conn_ops *ops)
{
    begin(c, loop, fd, ops);
    return fc_loop_watch(loop, &c->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int fc_conn_open(fc_conn *c, fc_loop *loop, int fd, const fc_conn_ops *ops)
{
    c->writable = true; /* a fresh socket takes bytes; the first flush finds out otherwise */
    c->connecting = false;
    return start(c, loop, fd, ops);
}

int fc_conn_connect(fc_conn *c, fc_loop *loop, const struct sockaddr *addr, uint32_t addr_len, const fc_conn_ops *ops)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int one = 1;
    if (addr->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int rc = connect(fd, addr, addr_len) < 0 ? -errno : 0;
    if (rc < 0 && rc != -EINPROGRESS) {
        close(fd);
        return rc;
    }
    /* Even a connect that succeeded at once is reported from the loop, so that callers see one order of events. */
    c->writable = false;
    c->connecting = true;
    rc = start(c, loop, fd, ops);
    if (rc < 0)
        close(fd);
    return rc;
}

void fc_conn_open_over(fc_conn *c, fc_loop *loop, fc_transport *transport, bool connecting, const fc_conn_ops *ops)
{
    c->writable = !connecting;
    c->connecting = connecting;
    begin(c, loop, -1, ops);
    c->greeting = connecting;
    c->transport = transport;
}

void fc_conn_close(fc_conn *c)
{
    if (c->dead)
        return;
    c->dead = true;
    if (c->transport) {
        if (!c->out.len && !c->aborting)
            c->transport->ops->finish(c);
        c->transport->ops->free(c);
        c->transport = NULL;
    }
    /* Not left to close(2): a child forked at this moment would keep the registration alive, and with it a pointer to us. */
    if (c->io.fd >= 0) {
        fc_loop_unwatch(c->loop, &c->io);
        close(c->io.fd);
        c->io.fd = -1;
    }
    fc_loop_timer_cancel(c->loop, &c->timer);
    fc_outq_clear(&c->out);
    fc_loop_later(c->loop, &c->task);
}

void fc_conn_abort(fc_conn *c)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (!c->dead && c->io.fd >= 0)
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    c->aborting = true; /* a transport must not vouch for this end */
    fc_conn_close(c);
}

static void on_task(fc_loop *loop, fc_task *task)
{
    (void)loop;
    fc_conn *c = FC_CONTAINER_OF(task, fc_conn, task);
    if (c->dead)
        c->ops->closed(c);
    else if (c->readable && !c->paused)
        c->ops->read(c);
}

ssize_t fc_conn_recv(fc_conn *c, void *p, size_t n)
{
    if (FC_UNLIKELY(c->transport != NULL))
        return c->transport->ops->recv(c, p, n);
    for (;;) {
        ssize_t got = recv(c->io.fd, p, n, 0);
        if (got >= 0) {
            /* Drained, unless the end of the stream is still to be read behind these bytes. */
            if ((size_t)got < n && !c->peer_closed)
                c->readable = false;
            return got;
        }
        if (errno == EINTR)
            continue;
        c->readable = false;
        return -errno;
    }
}

void fc_conn_pause(fc_conn *c) { c->paused = true; }

void fc_conn_resume(fc_conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    if (c->readable && !c->dead)
        fc_loop_later(c->loop, &c->task);
}

void fc_conn_again(fc_conn *c) { fc_loop_later(c->loop, &c->task); }

int fc_conn_write_copy(fc_conn *c, const char *p, size_t n)
{
    while (n) {
        fc_buf *buf = fc_buf_get(c->loop->bufs, n < FC_BUF_LARGE ? n : FC_BUF_LARGE);
        if (!buf)
            return -ENOMEM;
        size_t part = n < buf->cap ? n : buf->cap;
        memcpy(buf->data, p, part);
        int rc = fc_outq_push(&c->out, buf, buf->data, part);
        fc_buf_unref(buf);
        if (rc < 0)
            return rc;
        p += part;
        n -= part;
    }
    return 0;
}

int fc_conn_flush(fc_conn *c)
{
    if (!c->writable) {
        c->cut_short = c->out.len > 0;
        c->over_high |= fc_conn_full(c);
        return 0;
    }
    int rc = FC_UNLIKELY(c->transport != NULL) ? c->transport->ops->send(c) : fc_outq_send(&c->out, c->io.fd);
    if (rc == -EAGAIN) {
        c->writable = false;
        c->cut_short = true;
        c->over_high |= fc_conn_full(c);
        return 0;
    }
    return rc;
}

void fc_conn_shutdown_write(fc_conn *c)
{
    c->finishing = c->transport && c->transport->ops->finish(c) == -EAGAIN;
    if (!c->finishing && c->io.fd >= 0)
        shutdown(c->io.fd, SHUT_WR);
}

static void on_timer(fc_timer *timer, void *ctx)
{
    fc_conn *c = FC_CONTAINER_OF(timer, fc_conn, timer);
    fc_loop *loop = ctx;
    if (!c->deadline_ms)
        return;
    if (c->deadline_ms > fc_loop_now_ms(loop)) {
        fc_loop_timer(loop, timer, c->deadline_ms);
        return;
    }
    c->deadline_ms = 0;
    c->ops->timeout(c);
}

void fc_conn_deadline(fc_conn *c, uint64_t at_ms)
{
    c->deadline_ms = at_ms;
    if (at_ms && (!fc_timer_armed(&c->timer) || c->timer.at > at_ms))
        fc_loop_timer(c->loop, &c->timer, at_ms);
}
