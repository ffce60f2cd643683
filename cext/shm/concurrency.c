#include "fc/concurrency.h"

#include "fc/pidlock.h"
#include "fc/region.h"

#define MAGIC 0x31636e6f636366ull /* stored last: zero means not prepared */

typedef struct head {
    uint64_t magic;
    uint32_t version;
    fc_pidlock lock;
    uint32_t places;
    char pad[FC_CACHE_LINE - 20];
} head;

_Static_assert(sizeof(head) == FC_CACHE_LINE, "one line");

uint64_t fc_concurrency_size(uint32_t places)
{
    if (places == 0 || places > FC_CONCURRENCY_MAX)
        return 0;
    return sizeof(head) + sizeof(uint32_t) * (uint64_t)places;
}

int fc_concurrency_open(fc_concurrency *c, void *base, uint64_t size, uint32_t places)
{
    head *h = base;
    uint64_t needed = fc_concurrency_size(places);
    if (needed == 0 || needed > size)
        return FC_CONCURRENCY_ESIZE;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
        if (fc_pidlock_acquire(&h->lock, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_CONCURRENCY_EBUSY;
        if (__atomic_load_n(&h->magic, __ATOMIC_RELAXED) == 0) {
            h->version = FC_CONCURRENCY_VERSION;
            h->places = places;
            __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
        }
        fc_pidlock_release(&h->lock);
    }
    if (h->magic != MAGIC || h->version != FC_CONCURRENCY_VERSION)
        return FC_CONCURRENCY_EVERSION;
    if (h->places != places)
        return FC_CONCURRENCY_ESIZE;
    *c = (fc_concurrency){.holders = (uint32_t *)(void *)(h + 1), .places = places};
    return 0;
}

static bool take(uint32_t *word, uint32_t pid)
{
    uint32_t nobody = 0;
    return __atomic_load_n(word, __ATOMIC_RELAXED) == 0 &&
           __atomic_compare_exchange_n(word, &nobody, pid, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

int64_t fc_concurrency_acquire(const fc_concurrency *c, uint32_t limit, uint32_t pid, uint32_t hint)
{
    if (hint >= limit)
        hint = 0;
    for (uint32_t i = hint; i < limit; i++)
        if (take(&c->holders[i], pid))
            return i;
    for (uint32_t i = 0; i < hint; i++)
        if (take(&c->holders[i], pid))
            return i;
    return -1;
}

bool fc_concurrency_release(const fc_concurrency *c, uint32_t place, uint32_t pid)
{
    return place < c->places &&
           __atomic_compare_exchange_n(&c->holders[place], &pid, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

uint32_t fc_concurrency_held(const fc_concurrency *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->places; i++)
        n += __atomic_load_n(&c->holders[i], __ATOMIC_RELAXED) != 0;
    return n;
}

uint32_t fc_concurrency_reclaim(const fc_concurrency *c, uint32_t pid)
{
    uint32_t n = 0, dead = pid, living = 0;
    for (uint32_t i = 0; i < c->places; i++) {
        uint32_t holder = __atomic_load_n(&c->holders[i], __ATOMIC_RELAXED);
        if (holder == 0 || holder == living)
            continue;
        /* Neighbours mostly belong to the same few processes: remembering the last of each kind saves looks
         * at /proc. */
        if (pid == 0 && holder != dead) {
            if (fc_pid_alive(holder)) {
                living = holder;
                continue;
            }
            dead = holder;
        }
        n += holder == dead && fc_concurrency_release(c, i, holder);
    }
    return n;
}
