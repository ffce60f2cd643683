/* fc/pidlock.h - a lock in shared memory that outlives its owner.
 *
 * The word is 0 when free, else the pid of the process inside. A waiter that finds the owner dead takes the lock over
 * (nginx's ngx_shmtx keeps the pid for the same reason, but there only the master may force it open). A robust pthread
 * mutex would do the same; it lost because its layout is the C library's own, it cannot be inspected from outside, and
 * `fc_pidlock_release_dead` lets gunicorn's child_exit hook settle the matter at once.
 *
 * For rare, short work only (making a section, defining a series). Nothing that a request does takes one.
 *
 * Invariants
 *  1. Data under the lock must make sense after every single store, because the owner may die there: prepare first,
 *     publish by one release store. The lock keeps writers apart; it never protects readers.
 *  2. One thread per process takes locks (in Python: under the GIL). Hence a word holding the caller's own pid was left by
 *     a dead process that had the same pid, and is taken over.
 *  3. Waiting is bounded. A live owner that does not let go (stopped by a signal, or a stranger that got a dead owner's
 *     pid) is reported, never waited for beyond the limit.
 *  4. All processes see the same pid namespace.
 */
#ifndef FC_PIDLOCK_H
#define FC_PIDLOCK_H

#include <stdbool.h>

#include "fc/base.h"

typedef struct fc_pidlock {
    uint32_t owner; /* only through the functions below; zeroed memory is a free lock */
} fc_pidlock;

/* How long the callers in this library wait: sections and series are made in microseconds. */
#define FC_PIDLOCK_WAIT_NS 2000000000ull

/* 0 when taken, else the pid of the process that still held it after wait_ns. */
uint32_t fc_pidlock_acquire(fc_pidlock *lock, uint64_t wait_ns);
void fc_pidlock_release(fc_pidlock *lock);
/* Frees the lock if `pid`, known to be dead, holds it. True when it did. */
bool fc_pidlock_release_dead(fc_pidlock *lock, uint32_t pid);

/* False when there is no such process or it is a zombie, which runs no more although kill(pid, 0) still finds it. */
bool fc_pid_alive(uint32_t pid);

#endif
