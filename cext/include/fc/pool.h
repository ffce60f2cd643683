/* fc/pool.h - a few threads that do what would block an event loop, and tell the loop by one eventfd.
 *
 * Jobs are the caller's memory, in queues without allocation. A station belongs to one loop: its jobs, when done, come
 * back through it, many for one wake-up. A job without a station is waited for by fc_pool_wait or not at all.
 *
 * Invariants
 *   1. Every job that was submitted is run once and then is in its station's done list or waited for; none is lost when
 *      the pool is closed: fc_pool_close runs what is queued.
 *   2. A station is written to (1 added to its eventfd) only when its done list was empty.
 *   3. A job's memory is the pool's from fc_pool_submit until it has been taken, or waited for, or the pool is closed.
 *
 * Thread safety: any thread may submit; fc_pool_take is its loop's. Threads have all signals blocked.
 * Fork: a child has no threads and must call nothing.
 */
#ifndef FC_POOL_H
#define FC_POOL_H

#include "fc/base.h"

typedef struct fc_pool fc_pool;
typedef struct fc_pool_job fc_pool_job;
typedef struct fc_pool_station fc_pool_station;

struct fc_pool_job {
    fc_pool_job *next;
    void (*run)(fc_pool_job *job);
    fc_pool_station *station; /* NULL: fc_pool_wait */
    uint32_t done;
};

struct fc_pool_station {
    fc_pool_job *done; /* newest first */
    int event_fd;      /* non-blocking, the caller's */
};

/* Threads are started as jobs find none idle, up to threads_max. NULL without memory. */
fc_pool *fc_pool_new(unsigned threads_max);
void fc_pool_close(fc_pool *p);
/* 0, or -EAGAIN when not a single thread could be started: then nothing was queued. */
int fc_pool_submit(fc_pool *p, fc_pool_job *job);
/* All that is done, oldest first; NULL: none. */
fc_pool_job *fc_pool_take(fc_pool_station *s);
/* Blocks until the job, which has no station, is done. */
void fc_pool_wait(fc_pool *p, fc_pool_job *job);
/* When this returns, nobody touches a station any more whose jobs have all been taken: the thread that handed back the
 * last one may have had its eventfd still to write to. */
void fc_pool_leave(fc_pool *p);

#endif
