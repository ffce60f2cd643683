/* A queue of records between processes; the algorithm and what a kill can do to it are in fc/records.h. */
#include "fc/records.h"

#include <string.h>

#include "fc/pidlock.h"

#define MAGIC 0x52434446u /* "FDCR" */

typedef struct head {
    uint32_t magic, version;
    uint32_t slots, bytes;
    fc_pidlock reader;
    char pad1[44];
    uint64_t tail; /* next number to read */
    char pad2[56];
    uint64_t next; /* next number to write; on a line of its own, because writers fight for it */
    char pad3[56];
} head;

/* A slot: whose turn it is, then the record. Number n may write slot n % slots when its turn is n, and read it when the
 * turn is n + 1; the reader leaves n + slots behind. */
static uint64_t *turn_of(const fc_records *q, uint64_t number)
{
    return (uint64_t *)((char *)q->base + sizeof(head) + (number & (q->slots - 1)) * q->stride);
}

static uint32_t stride_of(uint32_t bytes) { return (bytes + 8 + 63) & ~63u; }

uint64_t fc_records_size(uint32_t slots, uint32_t bytes)
{
    if (!slots || (slots & (slots - 1)) || slots > FC_RECORDS_SLOTS_MAX || !bytes || bytes > FC_RECORDS_BYTES_MAX)
        return 0;
    return sizeof(head) + (uint64_t)slots * stride_of(bytes);
}

int fc_records_open(fc_records *q, void *base, uint32_t slots, uint32_t bytes)
{
    head *h = base;
    *q = (fc_records){.base = base, .slots = slots, .bytes = bytes, .stride = stride_of(bytes)};
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
        if (fc_pidlock_acquire(&h->reader, FC_PIDLOCK_WAIT_NS))
            return FC_RECORDS_EBUSY;
        if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
            h->version = FC_RECORDS_VERSION;
            h->slots = slots;
            h->bytes = bytes;
            for (uint64_t i = 0; i < slots; i++)
                *turn_of(q, i) = i;
            __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE); /* last: whoever sees it sees the rest */
        }
        fc_pidlock_release(&h->reader);
    }
    if (h->magic != MAGIC || h->version != FC_RECORDS_VERSION)
        return FC_RECORDS_EVERSION;
    return h->slots == slots && h->bytes == bytes ? 0 : FC_RECORDS_ESIZE;
}

void *fc_records_put(const fc_records *q, uint64_t *ticket)
{
    head *h = q->base;
    uint64_t number = __atomic_load_n(&h->next, __ATOMIC_RELAXED);
    for (;;) {
        uint64_t *turn = turn_of(q, number);
        int64_t ahead = (int64_t)(__atomic_load_n(turn, __ATOMIC_ACQUIRE) - number);
        if (ahead < 0)
            return NULL; /* a lap behind: the reader has not been here yet */
        if (ahead > 0) {
            number = __atomic_load_n(&h->next, __ATOMIC_RELAXED); /* another writer was faster */
            continue;
        }
        if (__atomic_compare_exchange_n(&h->next, &number, number + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            *ticket = number;
            return turn + 1;
        }
    }
}

void fc_records_publish(const fc_records *q, uint64_t ticket)
{
    uint64_t mine = ticket;
    /* By exchange: the reader may have passed over us while we were stopped. */
    __atomic_compare_exchange_n(turn_of(q, ticket), &mine, ticket + 1, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

/* Is the slot of number `tail` a hole that has been one for long enough? */
static bool passes(fc_records *q, uint64_t tail, uint64_t now_ns)
{
    head *h = q->base;
    if (__atomic_load_n(&h->next, __ATOMIC_ACQUIRE) == tail)
        return false; /* nobody has taken it */
    if (q->hole != tail || !q->hole_since_ns) {
        q->hole = tail;
        q->hole_since_ns = now_ns;
        return false;
    }
    uint64_t turn = tail;
    return now_ns - q->hole_since_ns >= FC_RECORDS_HOLE_NS &&
           __atomic_compare_exchange_n(turn_of(q, tail), &turn, tail + q->slots, false, __ATOMIC_RELEASE,
                                       __ATOMIC_RELAXED);
}

uint32_t fc_records_take(fc_records *q, void *out, uint32_t max, uint64_t now_ns)
{
    head *h = q->base;
    uint32_t taken = 0;
    if (fc_pidlock_acquire(&h->reader, 0))
        return 0;
    while (taken < max) {
        uint64_t tail = h->tail, *turn = turn_of(q, tail);
        int64_t ahead = (int64_t)(__atomic_load_n(turn, __ATOMIC_ACQUIRE) - tail);
        if (ahead == 1) {
            memcpy((char *)out + (size_t)taken * q->bytes, turn + 1, q->bytes);
            taken++;
            __atomic_store_n(turn, tail + q->slots, __ATOMIC_RELEASE);
        } else if (ahead == 0 && !passes(q, tail, now_ns)) {
            break;
        } /* further ahead: a reader that died here had read it already */
        __atomic_store_n(&h->tail, tail + 1, __ATOMIC_RELEASE);
        q->hole_since_ns = 0;
    }
    fc_pidlock_release(&h->reader);
    return taken;
}
