/* fc/outq.h - bytes waiting to leave a socket: a queue of segments that reference buffers, files or static text.
 *
 * Appending takes a reference and copies nothing. The owner bounds the queue by its byte count (watermarks are the
 * connection's business, fc/conn.h). The first four segments live inside the struct; a longer queue borrows an array and
 * gives it back when it runs empty, so an idle connection holds nothing.
 * Not thread safe: belongs to its loop.
 */
#ifndef FC_OUTQ_H
#define FC_OUTQ_H

#include <sys/types.h>

#include "fc/base.h"
#include "fc/buf.h"

typedef struct fc_seg {
    fc_buf *buf; /* referenced; NULL for static bytes and files */
    union {
        const char *p;
        off_t off; /* files */
    };
    size_t n;
    int fd; /* -1, or a file sent with sendfile(2) and closed when done */
} fc_seg;

#define FC_OUTQ_INLINE 4

typedef struct fc_outq {
    fc_seg *segs; /* ring of cap entries: `local`, or borrowed */
    uint32_t head, len, cap;
    size_t bytes;
    fc_seg local[FC_OUTQ_INLINE];
} fc_outq;

void fc_outq_init(fc_outq *q);
/* Drop everything: references released, files closed. */
void fc_outq_clear(fc_outq *q);

/* Each returns 0, or -ENOMEM (then nothing was taken). n = 0 is allowed and sends nothing. */
int fc_outq_push(fc_outq *q, fc_buf *buf, const char *p, size_t n); /* takes a new reference on buf (NULL: static) */
int fc_outq_push_file(fc_outq *q, int fd, off_t off, size_t n);     /* takes the descriptor on success */

/* Send what the socket takes. Returns 0 when empty, -EAGAIN when the socket is full, another -errno on failure
 * (-EPIPE, -ECONNRESET, or a file's read error). */
int fc_outq_send(fc_outq *q, int fd);

/* For who sends by other means: the next bytes, at most n, as one piece - where they lie, or put together in `room` of n
 * bytes. The same bytes again, and perhaps more, until fc_outq_consume. 0 when empty; -EIO: a file ended early, or another
 * -errno of reading it. */
ssize_t fc_outq_peek(fc_outq *q, char *room, size_t n, const char **p);
void fc_outq_consume(fc_outq *q, size_t n);
/* The bytes of the first segment, where they lie. Empty: the queue is, or begins with a file. */
static inline fc_slice fc_outq_front(const fc_outq *q)
{
    const fc_seg *s = &q->segs[q->head];
    return q->len && s->fd < 0 ? (fc_slice){s->p, s->n} : (fc_slice){NULL, 0};
}
/* Put the first n bytes of one queue at the end of another, by reference. REQUIRES n <= from->bytes. 0, or -errno (ENOMEM,
 * or no descriptor left for a file) and what was moved is moved. */
int fc_outq_move(fc_outq *from, fc_outq *to, size_t n);

#endif
