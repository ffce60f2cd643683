/* A compare-and-swap of two words at once, for entries that change key and state together.
 *
 * Instructions, not __atomic_compare_exchange on 16 bytes: gcc makes that a call into libatomic, which may use locks of
 * the process (useless between processes), and the thread sanitizer's own version is not atomic against 8-byte
 * accesses.
 */
#ifndef FC_SHM_PAIR_H
#define FC_SHM_PAIR_H

#include "fc/base.h"

typedef struct fc_pair {
    _Alignas(16) uint64_t first;
    uint64_t second;
} fc_pair;

/* Sequentially consistent when it succeeds. False: the pair is, or was a moment ago, another. */
static inline bool fc_pair_cas(fc_pair *p, fc_pair old, fc_pair new)
{
#if defined(__x86_64__)
    bool done;
    __asm__ __volatile__("lock cmpxchg16b %1"
                         : "=@ccz"(done), "+m"(*p), "+a"(old.first), "+d"(old.second)
                         : "b"(new.first), "c"(new.second)
                         : "memory");
    return done;
#elif defined(__aarch64__)
    uint64_t first, second;
    uint32_t done;
    /* What is compared may be torn, what is written is not: then the answer is false, "look again". */
    __asm__ __volatile__("1: ldaxp %[a], %[b], %[p]\n\t"
                         "cmp %[a], %[old_a]\n\t"
                         "ccmp %[b], %[old_b], #0, eq\n\t"
                         "b.ne 2f\n\t"
                         "stlxp %w[done], %[new_a], %[new_b], %[p]\n\t"
                         "cbnz %w[done], 1b\n"
                         "2: cset %w[done], eq"
                         : [p] "+Q"(*p), [a] "=&r"(first), [b] "=&r"(second), [done] "=&r"(done)
                         : [old_a] "r"(old.first), [old_b] "r"(old.second), [new_a] "r"(new.first),
                           [new_b] "r"(new.second)
                         : "memory", "cc");
    return done;
#else
#error "a compare-and-swap of 16 bytes is needed: x86-64 and aarch64 have one"
#endif
}

#endif
