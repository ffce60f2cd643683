#include "fc/inflight.h"

#include "fc/pidlock.h"
#include "fc/region.h"

#define MAGIC 0x317468676c666366ull /* stored last: zero means not prepared */
#define PID_BITS 24u
#define PID_MASK ((1ull << PID_BITS) - 1)

typedef struct head {
    uint64_t magic;
    uint32_t version;
    fc_pidlock lock;
    char pad[FC_CACHE_LINE - 16];
} head;

_Static_assert(sizeof(head) == FC_CACHE_LINE, "one line");

uint64_t fc_inflight_size(void)
{
    return sizeof(head) + sizeof(uint64_t) * FC_INFLIGHT_WAYS * FC_INFLIGHT_BUCKETS;
}

int fc_inflight_open(fc_inflight *f, void *base, uint32_t pid)
{
    head *h = base;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
        if (fc_pidlock_acquire(&h->lock, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_INFLIGHT_EBUSY;
        if (__atomic_load_n(&h->magic, __ATOMIC_RELAXED) == 0) {
            h->version = FC_INFLIGHT_VERSION;
            __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
        }
        fc_pidlock_release(&h->lock);
    }
    if (h->magic != MAGIC || h->version != FC_INFLIGHT_VERSION)
        return FC_INFLIGHT_EVERSION;
    *f = (fc_inflight){.words = (uint64_t *)(void *)(h + 1), .pid = pid};
    return 0;
}

static uint32_t count(const uint64_t *bucket, uint64_t tag)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < FC_INFLIGHT_WAYS; i++) {
        uint64_t word = __atomic_load_n(&bucket[i], __ATOMIC_SEQ_CST);
        n += word != 0 && (word & ~PID_MASK) == tag;
    }
    return n;
}

int64_t fc_inflight_acquire(fc_inflight *f, uint64_t print, uint32_t limit, uint32_t *held)
{
    uint64_t first = print % FC_INFLIGHT_BUCKETS * FC_INFLIGHT_WAYS, tag = print & ~PID_MASK;
    uint64_t *bucket = f->words + first;
    *held = count(bucket, tag);
    if (*held >= limit)
        return FC_INFLIGHT_REFUSED;
    for (uint32_t i = 0; i < FC_INFLIGHT_WAYS; i++) {
        uint64_t nobody = 0;
        if (__atomic_load_n(&bucket[i], __ATOMIC_RELAXED) != 0 ||
            !__atomic_compare_exchange_n(&bucket[i], &nobody, tag | f->pid, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            continue;
        *held = count(bucket, tag);
        if (*held <= limit)
            return (int64_t)(first + i);
        *held = limit;
        __atomic_store_n(&bucket[i], 0, __ATOMIC_RELEASE); /* ours alone: nobody else changes a live holder's word */
        return FC_INFLIGHT_REFUSED;
    }
    f->full++;
    return FC_INFLIGHT_FULL;
}

void fc_inflight_release(const fc_inflight *f, int64_t place, uint64_t print)
{
    uint64_t mine = (print & ~PID_MASK) | f->pid;
    __atomic_compare_exchange_n(&f->words[place], &mine, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

uint32_t fc_inflight_held(const fc_inflight *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < FC_INFLIGHT_WAYS * FC_INFLIGHT_BUCKETS; i++)
        n += __atomic_load_n(&f->words[i], __ATOMIC_RELAXED) != 0;
    return n;
}

uint32_t fc_inflight_reclaim(const fc_inflight *f)
{
    uint32_t n = 0, dead = 0, living = f->pid;
    for (uint32_t i = 0; i < FC_INFLIGHT_WAYS * FC_INFLIGHT_BUCKETS; i++) {
        uint64_t word = __atomic_load_n(&f->words[i], __ATOMIC_RELAXED);
        uint32_t pid = (uint32_t)(word & PID_MASK);
        if (word == 0 || pid == living)
            continue;
        /* Neighbours mostly belong to the same few processes: the last of each kind saves looks at /proc. */
        if (pid != dead) {
            if (fc_pid_alive(pid)) {
                living = pid;
                continue;
            }
            dead = pid;
        }
        n += __atomic_compare_exchange_n(&f->words[i], &word, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
    return n;
}
