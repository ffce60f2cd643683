/* jobindex_internal.h - what the files of the job index share: keys, queues, bands.
 *
 * A key is 11 to 19 bytes: queue (3), 255 - priority (1), run_at (6), all big-endian; then one byte that says whether a
 * number or an arrival follows and how many bytes it has, and those, without leading zeros. So keys are in order of memcmp,
 * and up to 2^40 they fit the 16 bytes that the skip list compares without looking at the entry.
 * The value is empty for a number, else the tag and the bytes of the id.
 */
#ifndef FC_JOBINDEX_INTERNAL_H
#define FC_JOBINDEX_INTERNAL_H

#include <string.h>

#include "fc/bytes.h"
#include "fc/jobindex.h"
#include "fc/skiplist.h"
#include "idtable.h"

#define JOB_PREFIX 10u
#define JOB_NAMED 0x10u  /* kind byte of an arrival: behind all numbers */
#define JOB_STRIDE 720720u /* divisible by 1 to 16: such weights share exactly, others to a thousandth */
#define PURGE_STEP 4u

/* The jobs of a queue that have one priority. */
typedef struct job_band {
    uint64_t run_at; /* of the first job */
    uint32_t first;  /* its entry */
    uint32_t count;
    uint8_t priority;
} job_band;

typedef struct job_queue {
    uint64_t count;
    uint64_t first_run_at; /* least of the bands', FC_JOB_NEVER without */
    uint64_t pass;
    uint32_t weight, turns; /* turns: claims since the last one of the oldest */
    uint32_t number, next_dropped;
    uint16_t bands, room;
    bool paused, dropped;
    uint8_t name_len;
    job_band *band; /* highest priority first */
    char name[];
} job_queue;

struct fc_jobindex {
    fc_jobindex_options options;
    fc_skiplist list;
    uint64_t count, dropped, arrivals;
    uint64_t queue_bytes;
    job_queue **queues; /* by number; NULL: free */
    uint32_t *free_numbers;
    uint32_t numbers, numbers_room, free_count, queue_count;
    uint32_t first_dropped; /* number + 1 of a queue with jobs to be purged; 0: none */
    idtable names, ids;
};

typedef struct job_key {
    uint32_t n;
    char bytes[FC_JOB_KEY_MAX];
} job_key;

static inline void job_write_prefix(char *p, uint32_t queue, uint8_t priority, uint64_t run_at)
{
    fc_store_be64(p, (uint64_t)queue << 40 | (uint64_t)(255 - priority) << 32 | run_at >> 16);
    p[8] = (char)(run_at >> 8);
    p[9] = (char)run_at;
}

static inline job_key job_write_key(uint32_t queue, uint8_t priority, uint64_t run_at, unsigned kind, uint64_t order)
{
    job_key k;
    unsigned bytes = order != 0 ? (71u - (unsigned)__builtin_clzll(order)) / 8 : 0;
    job_write_prefix(k.bytes, queue, priority, run_at);
    k.bytes[JOB_PREFIX] = (char)(kind | bytes);
    for (unsigned i = 0; i < bytes; i++)
        k.bytes[JOB_PREFIX + 1 + i] = (char)(order >> (8 * (bytes - 1 - i)));
    k.n = JOB_PREFIX + 1 + bytes;
    return k;
}

static inline fc_slice job_slice(const job_key *k) { return (fc_slice){k->bytes, k->n}; }

/* The live queue of this number, or NULL. */
static inline job_queue *job_queue_at(const fc_jobindex *ix, uint32_t number)
{
    job_queue *q = number < ix->numbers ? ix->queues[number] : NULL;
    return q != NULL && !q->dropped ? q : NULL;
}

void job_read_entry(const fc_jobindex *ix, uint32_t entry, fc_job *job);
uint64_t job_hash(const fc_jobindex *ix, fc_job_id id);
/* Takes the job out of map and table; the caller sees to its queue. */
void job_forget(fc_jobindex *ix, const fc_job *job);

/* jobindex_queue.c */

/* A job of a dropped queue: out of map and table. */
void job_forget_dropped(fc_jobindex *ix, const fc_job *job);

/* Room for a band of this priority, if it needs any. False: no memory. */
bool job_reserve_band(fc_jobindex *ix, job_queue *q, uint8_t priority);
/* The entry is in the map: count it in. REQUIRES: reserved. */
void job_enter(fc_jobindex *ix, job_queue *q, const fc_job *job);
/* The entry with this key has left the map. */
void job_leave(fc_jobindex *ix, job_queue *q, uint8_t priority, uint32_t entry, fc_slice key);
void job_free_queues(fc_jobindex *ix);

#endif
