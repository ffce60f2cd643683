/* fc/inflight.h - at most so many at once for each key, counted over all processes, in shared memory.
 *
 * fc/concurrency.h counts one thing and keeps a word for each of its places. Here keys come from strangers and there is
 * no table for each: a place is a word that says whose it is (40 bits of the key's print) and which process holds it (24
 * bits of pid; Linux has at most 2^22). A key's places lie in one bucket, which it shares with other keys.
 *
 * Taking a place is: count the key's words, swap a free word, count again, and give the word back if there are too many.
 *
 * Invariants
 *   1. A key has never more than `limit` holders. [Of limit + 1 holders the one that swapped last counted afterwards, when
 *      all the others' words were there.] Two that meet at the last place may both be refused.
 *   2. Every single store leaves the table right: a process killed anywhere leaves words that say whose they were, and
 *      fc_inflight_reclaim frees those of the dead.
 *   3. Nothing waits; no lock after fc_inflight_open. All processes see the same pid namespace.
 *   4. Two live keys of one bucket are taken for one with a chance of 2^-40.
 *
 * Cost: two looks at FC_INFLIGHT_WAYS words (8 KB that stay in the cache while the limit is used), about half a
 * microsecond. That is also the highest limit.
 *
 * Thread and process safety: every function may be called by any number of processes; a handle belongs to one.
 */
#ifndef FC_INFLIGHT_H
#define FC_INFLIGHT_H

#include "fc/base.h"

#define FC_INFLIGHT_VERSION 1
#define FC_INFLIGHT_WAYS 1024u
#define FC_INFLIGHT_BUCKETS 64u

enum {
    FC_INFLIGHT_EVERSION = -1, /* not such a table, or of another layout version */
    FC_INFLIGHT_EBUSY = -2,    /* a live process kept the lock for FC_PIDLOCK_WAIT_NS */
};

/* Instead of a place. */
enum {
    FC_INFLIGHT_REFUSED = -1, /* the key has `limit` holders */
    FC_INFLIGHT_FULL = -2,    /* other keys have all of the bucket */
};

typedef struct fc_inflight {
    uint64_t *words;
    uint64_t full; /* requests of this process that found their bucket full */
    uint32_t pid;
} fc_inflight;

uint64_t fc_inflight_size(void);
/* For process `pid`. `base` starts on a cache line and has fc_inflight_size() bytes, zeroed when new. 0 or an error. */
int fc_inflight_open(fc_inflight *f, void *base, uint32_t pid);

/* A place, or why there is none. *held: the key's holders, this one included. REQUIRES: limit <= FC_INFLIGHT_WAYS. */
int64_t fc_inflight_acquire(fc_inflight *f, uint64_t print, uint32_t limit, uint32_t *held);
void fc_inflight_release(const fc_inflight *f, int64_t place, uint64_t print);
/* Places taken by all keys. */
uint32_t fc_inflight_held(const fc_inflight *f);
/* Frees the places of dead processes. Returns how many. */
uint32_t fc_inflight_reclaim(const fc_inflight *f);

#endif
