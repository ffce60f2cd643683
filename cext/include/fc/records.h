/* fc/records.h - a queue of fixed-size records in shared memory: many processes put, one takes, nobody waits.
 *
 * For what may be lost and must never hold anybody up: spans, samples. When the reader is behind, new records are refused,
 * and whoever refuses counts them. The algorithm is Dmitry Vyukov's bounded queue: every slot has a sequence number that
 * says whose turn it is - the writer's of that number, or the reader's.
 *
 * Invariants
 *   1. A record is read whole or not at all: its slot's number is stored, with release, after its bytes.
 *   2. A writer killed between taking a slot and publishing it leaves a hole. The reader passes over a hole that has not
 *      changed for FC_RECORDS_HOLE_NS. (A writer that was only stopped meanwhile finds that its number has gone and
 *      publishes nothing; its bytes may spoil the one record that took the slot in between.)
 *   3. Reading is under a lock that holds its owner's pid: of two readers one gets nothing, and a dead one is no
 *      obstacle. Its last records may be read twice, never lost.
 *
 * Thread and process safety: fc_records_put by any number of threads and processes, fc_records_take by one thread of each.
 */
#ifndef FC_RECORDS_H
#define FC_RECORDS_H

#include <stdbool.h>

#include "fc/base.h"

#define FC_RECORDS_VERSION 1
#define FC_RECORDS_SLOTS_MAX (1u << 20)
#define FC_RECORDS_BYTES_MAX 4096u
#define FC_RECORDS_HOLE_NS 1000000000ull

enum {
    FC_RECORDS_EVERSION = -1, /* not such a queue, or of another layout version */
    FC_RECORDS_ESIZE = -2,    /* made for other slots or other records */
    FC_RECORDS_EBUSY = -3,    /* a live process kept the lock for FC_PIDLOCK_WAIT_NS */
};

typedef struct fc_records {
    void *base;
    uint32_t slots, bytes, stride;
    uint64_t hole, hole_since_ns; /* of this reader: the hole it waits at */
} fc_records;

/* slots: a power of two. 0 for what cannot be. */
uint64_t fc_records_size(uint32_t slots, uint32_t bytes);
/* `base` starts on a cache line and has fc_records_size() bytes, zeroed when new. 0 or an error. */
int fc_records_open(fc_records *q, void *base, uint32_t slots, uint32_t bytes);
/* Room for one record of `bytes`, to be filled and published with the *ticket; NULL: the queue is full. */
void *fc_records_put(const fc_records *q, uint64_t *ticket);
void fc_records_publish(const fc_records *q, uint64_t ticket);
/* Copies at most `max` records to `out`, oldest first; how many. */
uint32_t fc_records_take(fc_records *q, void *out, uint32_t max, uint64_t now_ns);

#endif
