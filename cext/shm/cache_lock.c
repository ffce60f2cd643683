/* The lock of a shard: turns << 32 | thread id. The turns tell one holding from the next by the same thread, so that a
 * waiter who gave up knows whether anything has moved since; fc_pidlock has no room for them. Thread ids, not process
 * ids: then threads exclude each other as processes do, and kill(tid, 0) finds them just as well. */
#include <sched.h>
#include <unistd.h>

#include "cache_internal.h"
#include "fc/clock.h"

#define SPINS 128 /* looks before the scheduler is asked: holders are done in about a microsecond */
#define LOOKS 16  /* turns of the scheduler between two questions whether the owner lives, which cost 10 us */

static uint64_t held_by(uint64_t word, uint32_t tid) { return ((word >> 32) + 1) << 32 | tid; }

static bool take(cache_shard *s, uint64_t *word, uint32_t tid)
{
    return __atomic_compare_exchange_n(&s->lock, word, held_by(*word, tid), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

int cache_lock(fc_cache *c, uint32_t no)
{
    cache_shard *s = cache_shard_of(c, no);
    uint32_t me = (uint32_t)gettid();
    uint64_t given_up = __atomic_load_n(&c->stuck[no], __ATOMIC_RELAXED), deadline = 0;
    for (uint32_t spins = 1;; spins++) {
        uint64_t word = __atomic_load_n(&s->lock, __ATOMIC_RELAXED);
        uint32_t owner = (uint32_t)word;
        if (owner == 0) {
            if (take(s, &word, me))
                return 0;
            continue;
        }
        /* A word with the caller's own number was left by a dead thread that had it. */
        bool look = word == given_up || (spins >= SPINS && spins % LOOKS == 0);
        if (owner == me || (look && !fc_pid_alive(owner))) {
            if (take(s, &word, me))
                return 1;
            continue;
        }
        if (spins < SPINS && word != given_up) {
            pause_cpu();
            continue;
        }
        uint64_t now = fc_monotonic_ns();
        if (deadline == 0)
            deadline = now + c->wait_ns;
        if (word == given_up || now >= deadline) {
            __atomic_store_n(&c->stuck[no], word, __ATOMIC_RELAXED);
            return FC_CACHE_EBUSY;
        }
        sched_yield();
    }
}

void cache_unlock(const fc_cache *c, uint32_t no)
{
    cache_shard *s = cache_shard_of(c, no);
    uint64_t word = __atomic_load_n(&s->lock, __ATOMIC_RELAXED);
    __atomic_store_n(&s->lock, word & ~(uint64_t)UINT32_MAX, __ATOMIC_RELEASE);
}

bool cache_lock_release_dead(fc_cache *c, uint32_t no, uint32_t tid)
{
    cache_shard *s = cache_shard_of(c, no);
    uint64_t word = __atomic_load_n(&s->lock, __ATOMIC_RELAXED);
    return tid != 0 && (uint32_t)word == tid &&
           __atomic_compare_exchange_n(&s->lock, &word, held_by(word, CACHE_DEAD), false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}
