/* fc/jobindex.h - the jobs of a broker that wait: by id, and in the order in which they are to be run.
 *
 * One ordered map (fc/skiplist.h) holds every job under the key (queue, priority descending, run_at, order), and one hash
 * table leads from an id to the job's place in it. A job lies in the same place whether it is due or not: of each queue
 * and priority (a "band") the first job is known, and if that one is not due, none of its band is. So a delayed job never
 * stands before one that is ready, and nothing has to be moved when its time comes. The alternative, a heap or list of
 * delayed jobs beside one of ready ones, touches every job twice and makes the answers depend on when it was last swept.
 *
 * Order
 *   Within a queue: priority, 255 first; then run_at; then jobs whose id is a number, by number; then the others in the
 *   order they were added. Job systems have random ids, whose own order would shuffle what became due in one millisecond.
 *
 * What is claimed
 *   From one queue the first due job in that order, so the highest priority with anything due. But every `oldest_every`-th
 *   job taken from a queue is the one that has been due for longest, whatever its priority: a job with m due jobs of the
 *   queue before it in age is taken within oldest_every * (m + 1) claims, however many of higher priority keep coming.
 *   Among several queues STRICT takes from the first one listed that has a due job. FAIR gives them shares by weight
 *   (stride scheduling, Waldspurger 1995): each queue has a pass that grows by 1 / weight when it is served, and the
 *   lowest is next. A queue that had nothing due, or that nobody listed, may lag by one round but hoards no more.
 *   Choosing (fc_jobindex_next) and taking are two calls: whoever has more to ask, say a rate limit, asks in between.
 *
 * Invariants
 *   1. A call that fails has changed nothing.
 *   2. No clock and no randomness but the hash key: the same calls give the same answers.
 *   3. Every job is in the map and in the table, or in neither; a queue's count is the sum of its bands'.
 *   4. No call does more than a bounded amount of work for what it was asked: dropping a queue marks it, and its jobs go
 *      PURGE_STEP at a time with later calls (they count no longer, and their ids are free); the hash table is 1,024
 *      tables, of which one grows at a time.
 *
 * Costs: a job takes 60 (number) to 100 (24-character id) bytes. Adding, removing and claiming are O(log n); finding by id
 * is O(1); claiming looks at each queue listed, at 5 ns or so, and at each priority in use of the one chosen.
 *
 * Thread and process safety: one owner.
 */
#ifndef FC_JOBINDEX_H
#define FC_JOBINDEX_H

#include "fc/base.h"
#include "fc/hash.h"

#define FC_JOB_NAME_MAX 255u             /* bytes of an id or of a queue's name */
#define FC_JOB_RUN_AT_MAX ((1ull << 48) - 1) /* milliseconds: 8,900 years */
#define FC_JOB_PRIORITY_MAX 255u
#define FC_JOB_QUEUES_MAX ((1u << 24) - 1)
#define FC_JOB_WEIGHT_MAX 1000u
#define FC_JOB_NEVER UINT64_MAX
#define FC_JOB_KEY_MAX 19u
#define FC_JOBINDEX_BYTES_MIN (1u << 20) /* an empty index takes 60 KB */

enum {
    FC_JOBINDEX_EEXIST = -1,  /* the id is in the index already */
    FC_JOBINDEX_EABSENT = -2, /* no such job or queue */
    FC_JOBINDEX_ERANGE = -3,  /* an id, name, priority, time or weight out of its bounds */
    FC_JOBINDEX_EJOBS = -4,   /* as many jobs as there may be */
    FC_JOBINDEX_EQUEUES = -5, /* as many queues */
    FC_JOBINDEX_EBYTES = -6,  /* as many bytes */
    FC_JOBINDEX_ENOMEM = -7,  /* the system gave no memory */
};

/* A number (p is NULL), or bytes and a tag, which is part of the id and the caller's to choose. */
typedef struct fc_job_id {
    const char *p;
    uint32_t n;
    uint8_t tag;
    uint64_t number;
} fc_job_id;

typedef struct fc_job {
    fc_job_id id; /* bytes lie in the index: readable until it is changed */
    uint32_t queue;
    uint8_t priority;
    uint64_t run_at;
    uint32_t entry; /* these two are the index's own */
    uint64_t pass;
} fc_job;

typedef struct fc_jobindex_options {
    uint64_t max_jobs;     /* at most UINT32_MAX */
    uint64_t max_bytes;    /* of memory in use, everything counted; FC_JOBINDEX_BYTES_MIN to 32 GiB */
    uint32_t max_queues;   /* at most FC_JOB_QUEUES_MAX */
    uint32_t oldest_every; /* 0: never, priorities are strict; 1: always, priorities count for nothing */
    fc_hash_key key;       /* ids and names come from strangers: random */
} fc_jobindex_options;

/* One claim in 16 against starvation costs high priorities 6 % of the capacity at worst. */
#define FC_JOBINDEX_OPTIONS \
    ((fc_jobindex_options){.max_jobs = UINT32_MAX, .max_bytes = 32ull << 30, .max_queues = 65536, .oldest_every = 16})

typedef struct fc_jobindex fc_jobindex;

fc_jobindex *fc_jobindex_new(const fc_jobindex_options *options); /* NULL: out of bounds, or no memory */
void fc_jobindex_free(fc_jobindex *ix);
/* Removes all jobs and queues and gives their memory back. */
int fc_jobindex_clear(fc_jobindex *ix);

/* --- queues: named by number from here on; a number is used again after its queue has been dropped and purged -------- */

/* Its number, made if need be with weight 1; or EQUEUES, EBYTES, ERANGE (name), ENOMEM. */
int64_t fc_jobindex_queue(fc_jobindex *ix, fc_slice name);
int64_t fc_jobindex_find_queue(const fc_jobindex *ix, fc_slice name); /* its number or EABSENT */
/* The first queue whose number is at least `queue`, or EABSENT. */
int64_t fc_jobindex_next_queue(const fc_jobindex *ix, uint32_t queue);
/* Forget a queue and its jobs, in O(1); returns how many there were. Their memory comes back with later calls. */
uint64_t fc_jobindex_drop_queue(fc_jobindex *ix, uint32_t queue);
/* Free up to n jobs of dropped queues; returns how many are left: for idle moments. */
uint64_t fc_jobindex_purge(fc_jobindex *ix, uint64_t n);

fc_slice fc_jobindex_name(const fc_jobindex *ix, uint32_t queue);
void fc_jobindex_pause(fc_jobindex *ix, uint32_t queue, bool paused); /* a paused queue is claimed from as if empty */
bool fc_jobindex_paused(const fc_jobindex *ix, uint32_t queue);
int fc_jobindex_set_weight(fc_jobindex *ix, uint32_t queue, uint32_t weight); /* 1..FC_JOB_WEIGHT_MAX, else ERANGE */
uint32_t fc_jobindex_weight(const fc_jobindex *ix, uint32_t queue);
uint64_t fc_jobindex_depth(const fc_jobindex *ix, uint32_t queue);                /* jobs of the queue; O(1) */
uint64_t fc_jobindex_ready(const fc_jobindex *ix, uint32_t queue, uint64_t now); /* those with run_at <= now; O(log n) */
/* run_at of the job that is due first, FC_JOB_NEVER if there is none or the queue is paused; O(1). */
uint64_t fc_jobindex_next_run_at(const fc_jobindex *ix, uint32_t queue);

/* --- jobs ------------------------------------------------------------------------------------------------------- */

int fc_jobindex_add(fc_jobindex *ix, fc_job_id id, uint32_t queue, uint32_t priority, uint64_t run_at); /* 0 or an error */
bool fc_jobindex_get(const fc_jobindex *ix, fc_job_id id, fc_job *job);
/* A job found by get, next, first or after, before any other change. */
void fc_jobindex_remove(fc_jobindex *ix, const fc_job *job);
/* Puts the job elsewhere; among equals it keeps its place. 0, ERANGE, EBYTES, ENOMEM. */
int fc_jobindex_move(fc_jobindex *ix, const fc_job *job, uint32_t queue, uint32_t priority, uint64_t run_at);

/* In order: a queue's first job; the job after the place `key` of `n` bytes, which fc_jobindex_place wrote for a job that
 * may have left meanwhile. False: no more, or not a place in this queue. */
bool fc_jobindex_first(const fc_jobindex *ix, uint32_t queue, fc_job *job);
bool fc_jobindex_after(const fc_jobindex *ix, uint32_t queue, fc_slice key, fc_job *job);
uint32_t fc_jobindex_place(const fc_jobindex *ix, const fc_job *job, char key[FC_JOB_KEY_MAX]);

/* --- claiming --------------------------------------------------------------------------------------------------- */

typedef enum fc_job_order { FC_JOB_FAIR = 0, FC_JOB_STRICT } fc_job_order;

/* The job to be claimed next from these queues (numbers that no queue has are skipped); nothing changes. */
bool fc_jobindex_next(const fc_jobindex *ix, const uint32_t *queues, size_t n, fc_job_order order, uint64_t now, fc_job *job);
/* Removes the job that next gave, before any other change, and counts the turn. */
void fc_jobindex_take(fc_jobindex *ix, const fc_job *job);

/* --- figures ---------------------------------------------------------------------------------------------------- */

uint64_t fc_jobindex_count(const fc_jobindex *ix);
uint32_t fc_jobindex_queues(const fc_jobindex *ix);
uint64_t fc_jobindex_dropped(const fc_jobindex *ix); /* jobs of dropped queues that are still to be purged */
uint64_t fc_jobindex_bytes(const fc_jobindex *ix);   /* in use, what max_bytes bounds */
const char *fc_jobindex_strerror(int64_t error);
/* For tests: NULL, or which invariant does not hold. O(n). */
const char *fc_jobindex_check(const fc_jobindex *ix);

#endif
