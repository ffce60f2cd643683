#include "fc/outq.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define IOV_BATCH 16
/* sendfile moves at most this much per call, so that one fast download does not hold the loop. */
#define FILE_STEP (512u * 1024u)

void fc_outq_init(fc_outq *q)
{
    q->segs = q->local;
    q->cap = FC_OUTQ_INLINE;
    q->head = q->len = 0;
    q->bytes = 0;
}

static fc_seg *seg_at(fc_outq *q, uint32_t i) { return &q->segs[(q->head + i) & (q->cap - 1)]; }

static void seg_release(fc_seg *s)
{
    if (s->buf)
        fc_buf_unref(s->buf);
    if (s->fd >= 0)
        close(s->fd);
}

static void pop(fc_outq *q)
{
    seg_release(seg_at(q, 0));
    q->head = (q->head + 1) & (q->cap - 1);
    if (--q->len == 0 && q->segs != q->local) {
        free(q->segs);
        size_t bytes = q->bytes;
        fc_outq_init(q);
        q->bytes = bytes;
    }
}

void fc_outq_clear(fc_outq *q)
{
    while (q->len)
        pop(q);
    q->bytes = 0;
}

static fc_seg *append(fc_outq *q)
{
    if (q->len == q->cap) {
        fc_seg *wider = malloc(2 * q->cap * sizeof *wider);
        if (!wider)
            return NULL;
        for (uint32_t i = 0; i < q->len; i++)
            wider[i] = *seg_at(q, i);
        if (q->segs != q->local)
            free(q->segs);
        q->segs = wider;
        q->head = 0;
        q->cap *= 2;
    }
    return seg_at(q, q->len++);
}

int fc_outq_push(fc_outq *q, fc_buf *buf, const char *p, size_t n)
{
    if (n == 0)
        return 0;
    if (q->len) {
        fc_seg *last = seg_at(q, q->len - 1);
        if (last->fd < 0 && last->buf == buf && last->p + last->n == p) {
            last->n += n;
            q->bytes += n;
            return 0;
        }
    }
    fc_seg *s = append(q);
    if (!s)
        return -ENOMEM;
    *s = (fc_seg){.buf = buf ? fc_buf_ref(buf) : NULL, .p = p, .n = n, .fd = -1};
    q->bytes += n;
    return 0;
}

int fc_outq_push_file(fc_outq *q, int fd, off_t off, size_t n)
{
    if (n == 0) { /* a segment without bytes would leave the head before it corked by MSG_MORE */
        close(fd);
        return 0;
    }
    fc_seg *s = append(q);
    if (!s)
        return -ENOMEM;
    *s = (fc_seg){.off = off, .n = n, .fd = fd};
    q->bytes += n;
    return 0;
}

void fc_outq_consume(fc_outq *q, size_t n)
{
    q->bytes -= n;
    while (q->len) {
        fc_seg *s = seg_at(q, 0);
        if (n < s->n) {
            if (s->fd >= 0)
                s->off += (off_t)n;
            else
                s->p += n;
            s->n -= n;
            return;
        }
        n -= s->n;
        pop(q);
        if (n == 0)
            return;
    }
}

int fc_outq_move(fc_outq *from, fc_outq *to, size_t n)
{
    while (n) {
        fc_seg *s = seg_at(from, 0);
        size_t part = s->n < n ? s->n : n;
        int rc;
        if (s->fd < 0) {
            rc = fc_outq_push(to, s->buf, s->p, part);
        } else {
            int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0); /* its end closes it, and the rest may stay here */
            rc = fd < 0 ? -errno : fc_outq_push_file(to, fd, s->off, part);
            if (fd >= 0 && rc < 0)
                close(fd);
        }
        if (rc < 0)
            return rc;
        fc_outq_consume(from, part);
        n -= part;
    }
    return 0;
}

static int send_file(fc_outq *q, int fd)
{
    fc_seg *s = seg_at(q, 0);
    while (s->n) {
        ssize_t sent = sendfile(fd, s->fd, &s->off, s->n < FILE_STEP ? s->n : FILE_STEP);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        if (sent == 0)
            return -EIO; /* the file is shorter than was promised */
        s->n -= (size_t)sent;
        q->bytes -= (size_t)sent;
    }
    pop(q);
    return 0;
}

int fc_outq_send(fc_outq *q, int fd)
{
    while (q->len) {
        if (seg_at(q, 0)->fd >= 0) {
            int rc = send_file(q, fd);
            if (rc < 0)
                return rc;
            continue;
        }
        struct iovec iov[IOV_BATCH];
        size_t total = 0;
        int n = 0;
        for (uint32_t i = 0; i < q->len && n < IOV_BATCH; i++) {
            fc_seg *s = seg_at(q, i);
            if (s->fd >= 0)
                break;
            iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)s->p, .iov_len = s->n};
            total += s->n;
        }
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        /* send is about 50 ns cheaper than sendmsg, and one segment is the common case. MSG_MORE joins a head to the file
         * that follows it. */
        int flags = MSG_NOSIGNAL | ((uint32_t)n < q->len ? MSG_MORE : 0);
        ssize_t sent = n == 1 ? send(fd, iov[0].iov_base, iov[0].iov_len, flags) : sendmsg(fd, &msg, flags);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        fc_outq_consume(q, (size_t)sent);
        if ((size_t)sent < total)
            return -EAGAIN;
    }
    return 0;
}

ssize_t fc_outq_peek(fc_outq *q, char *room, size_t n, const char **p)
{
    size_t have = 0;
    if (q->len && seg_at(q, 0)->fd < 0 && (q->len == 1 || seg_at(q, 0)->n >= n)) {
        *p = seg_at(q, 0)->p;
        return (ssize_t)(seg_at(q, 0)->n < n ? seg_at(q, 0)->n : n);
    }
    *p = room;
    for (uint32_t i = 0; i < q->len && have < n; i++) {
        const fc_seg *s = seg_at(q, i);
        size_t part = s->n < n - have ? s->n : n - have;
        if (s->fd < 0) {
            memcpy(room + have, s->p, part);
            have += part;
            continue;
        }
        ssize_t got;
        while ((got = pread(s->fd, room + have, part, s->off)) < 0 && errno == EINTR)
            ;
        if (got <= 0)
            return have ? (ssize_t)have : got < 0 ? -errno : -EIO;
        have += (size_t)got;
        if ((size_t)got < part)
            break;
    }
    return (ssize_t)have;
}
