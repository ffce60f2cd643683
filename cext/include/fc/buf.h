/* fc/buf.h - reference-counted byte buffers in three sizes, from slabs that go back to the kernel.
 *
 * Bytes in flight live in an fc_buf; queues and requests hold references, so a received block travels from one socket to
 * another without a copy. The pool hands out 4 KB, 16 KB and 64 KB blocks (header included) carved from 256 KB slabs
 * that are mapped and unmapped whole: malloc would keep a fragmented heap resident after a burst of connections.
 *
 * Invariants
 *  1. A pool belongs to one thread (its event loop); reference counts are plain integers.
 *  2. A buffer with refs > 1 is read-only beyond the bytes its holders were shown; only a sole owner may append.
 *  3. Never more than `bytes_max` is mapped: fc_buf_get returns NULL beyond it, and the caller answers with its own limit
 *     error.
 *  4. Slabs that stayed unused from one fc_bufpool_trim to the next go back to the kernel; those that were needed in
 *     between stay. (Unmapping as soon as a slab was empty cost 64 concurrent requests an mmap for every eighth.)
 */
#ifndef FC_BUF_H
#define FC_BUF_H

#include "fc/base.h"

typedef struct fc_bufpool fc_bufpool;

typedef struct fc_buf {
    struct fc_buf *next; /* free list link; unused while referenced */
    fc_bufpool *pool;
    uint32_t refs;
    uint32_t cap;        /* bytes available in data */
    uint32_t used;       /* bytes filled by the owner, by convention; the pool sets it to 0 */
    uint32_t size_class;
    char data[];
} fc_buf;

#define FC_BUF_SMALL (4096u - sizeof(fc_buf))
#define FC_BUF_MEDIUM (16384u - sizeof(fc_buf))
#define FC_BUF_LARGE (65536u - sizeof(fc_buf))

fc_bufpool *fc_bufpool_new(size_t bytes_max);
/* REQUIRES: every buffer has been given back. */
void fc_bufpool_free(fc_bufpool *pool);
size_t fc_bufpool_mapped(const fc_bufpool *pool); /* bytes mapped from the kernel now */
size_t fc_bufpool_in_use(const fc_bufpool *pool); /* bytes in referenced buffers now */

/* To be called about once a second while it answers true: there are unused slabs left. */
bool fc_bufpool_trim(fc_bufpool *pool);
bool fc_bufpool_has_spare(const fc_bufpool *pool);

/* A buffer with cap >= n and one reference, or NULL: n > FC_BUF_LARGE, or the pool is at its bound. */
fc_buf *fc_buf_get(fc_bufpool *pool, size_t n);
void fc_buf_recycle(fc_buf *buf); /* called by fc_buf_unref */

static inline fc_buf *fc_buf_ref(fc_buf *buf)
{
    buf->refs++;
    return buf;
}

static inline void fc_buf_unref(fc_buf *buf)
{
    if (--buf->refs == 0)
        fc_buf_recycle(buf);
}

static inline size_t fc_buf_room(const fc_buf *buf) { return buf->cap - buf->used; }

#endif
