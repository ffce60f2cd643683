/* fc/concurrency.h - at most so many at once, counted over all processes.
 *
 * One word for each place: 0 when free, else the pid of the process that holds it. Taking and giving back are one
 * compare-and-swap, so a process killed anywhere leaves places that say whose they were; fc_concurrency_reclaim frees
 * those of the dead. A counter would be quicker to read and could not tell what a dead process had taken.
 *
 * A search begins at the place the caller used last, which is free more often than not; when all are taken it reads all
 * the words (16 in a cache line, so 1,000 places are about 100 ns).
 *
 * Invariants
 *   1. Of the first `limit` places each has at most one holder. A lower limit is reached as holders beyond it let go.
 *   2. Every single store leaves the table right. Nothing waits; no lock after fc_concurrency_open.
 *   3. All processes see the same pid namespace. A place whose dead holder's pid was given to another process is freed
 *      when that one is dead too.
 *
 * Thread and process safety: every function may be called by any number of threads and processes.
 */
#ifndef FC_CONCURRENCY_H
#define FC_CONCURRENCY_H

#include "fc/base.h"

#define FC_CONCURRENCY_VERSION 1
#define FC_CONCURRENCY_MAX (1u << 20)

enum {
    FC_CONCURRENCY_ESIZE = -1,    /* places is 0 or above the maximum, or the memory is too small */
    FC_CONCURRENCY_EVERSION = -2, /* not such a table, or of another layout version */
    FC_CONCURRENCY_EBUSY = -3,    /* a live process kept the lock for FC_PIDLOCK_WAIT_NS */
};

/* A process's own view. */
typedef struct fc_concurrency {
    uint32_t *holders;
    uint32_t places;
} fc_concurrency;

/* Bytes for so many places; 0 when out of range. The memory starts on a cache line, zeroed. */
uint64_t fc_concurrency_size(uint32_t places);
/* Prepares the table if it is new. 0 or an error. */
int fc_concurrency_open(fc_concurrency *c, void *base, uint64_t size, uint32_t places);

/* A place below `limit` (at most c->places) for process `pid`, or -1. The search begins at `hint`. */
int64_t fc_concurrency_acquire(const fc_concurrency *c, uint32_t limit, uint32_t pid, uint32_t hint);
/* False: the place is not that process's. */
bool fc_concurrency_release(const fc_concurrency *c, uint32_t place, uint32_t pid);
/* Places taken. */
uint32_t fc_concurrency_held(const fc_concurrency *c);
/* Frees the places of the dead process `pid`, or, if pid is 0, of every holder that is dead. Returns how many. */
uint32_t fc_concurrency_reclaim(const fc_concurrency *c, uint32_t pid);

#endif
