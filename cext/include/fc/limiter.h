/* fc/limiter.h - a bounded table of rate limiter states, in private or in shared memory, lock-free for all.
 *
 * A key is known by its print, 64 bits of a keyed hash (fc/hash.h) that the caller computes under the table's random
 * key: strangers cannot make two keys meet on purpose, and by chance two of a million live keys do with probability
 * 3e-8. An entry is two words of 8 bytes: print and state (fc/gcra.h). 128-bit prints lost: three words are no longer
 * swapped by one instruction, see below.
 *
 *     offset 0    head: magic (stored last), version, lock, keys, hash key
 *            64   serial number of claims
 *            128  buckets of 8 entries (128 bytes); a key lives in one of two buckets that its print names
 *
 * A request changes the state of an entry by one compare-and-swap of that word. A state in the past says "nothing
 * used", so such an entry is free: whoever needs room takes it over in place, by one compare-and-swap of both words
 * (cmpxchg16b; ldaxp/stlxp on aarch64), which fails if its old key came back meanwhile. Nothing sweeps, nothing
 * expires.
 *
 * Two processes that meet a new key at once may claim two entries for it. So the state word of a claim has the top bit
 * and a serial number, and a claim becomes an entry only after its maker (or anyone who meets it) has looked through
 * both buckets: an entry of the key wins over claims, of two claims the one at the earlier place wins, and the loser is
 * emptied. (The idea is Purcell and Harris's, "Non-blocking hashtables with open addressing", 2005.)
 *
 * Invariants
 *   1. At most one entry of a print that is no claim exists at any moment. [Of two claims the maker of the later one
 *      looks after both were made, and so sees the other.]
 *   2. Every single store leaves a table that is right: a process may be killed anywhere. What it may leave behind is
 *      one claim, which the next request for that key completes, and which others may take after FC_LIMITER_CLAIM_AGE
 *      claims.
 *   3. An entry changes its key only while its state is in the past (or by fc_limiter_reset), to a later state. So a
 *      compare-and-swap of a state that was read before its print was checked does not hit another key's entry. [After
 *      a reset or a refund it could, if within that moment the next key came to the very same nanosecond.]
 *   4. No waiting and no lock after fc_limiter_open. Some process always gets on.
 *   5. No entry of a live state is ever dropped: a full pair of buckets is an answer of fc_limiter_hit, counted.
 *
 * Time is the caller's reading: a request counts as made when its caller read the clock, even if it was stopped before
 * it got here. Words are ns of one clock (CLOCK_MONOTONIC in what fastcore calls); do not mix clocks in a table.
 *
 * Room: half the entries at most are meant to be live. With keys <= the number asked for, less than one in a million
 * finds its two buckets full (held by test_limiter).
 *
 * Thread and process safety: every function may be called by any number of threads and processes at once, except that
 * a handle (fc_limiter) is opened before it is shared.
 */
#ifndef FC_LIMITER_H
#define FC_LIMITER_H

#include "fc/gcra.h"
#include "fc/hash.h"

#define FC_LIMITER_VERSION 1
#define FC_LIMITER_KEYS_MAX (1ull << 30)
#define FC_LIMITER_CLAIM_AGE 4096u

enum {
    FC_LIMITER_ESIZE = -1,    /* keys out of range, memory too small, or a table of another size */
    FC_LIMITER_EVERSION = -2, /* not a limiter table, or of another layout version */
    FC_LIMITER_EBUSY = -3,    /* a live process kept the lock for FC_PIDLOCK_WAIT_NS */
};

/* What becomes of a request whose key has no entry and finds no free one. */
typedef enum fc_limiter_full {
    FC_LIMITER_FULL_OPEN = 0, /* admitted, as a key's first request */
    FC_LIMITER_FULL_CLOSED    /* refused until the first of the entries in the way is free */
} fc_limiter_full;

typedef struct fc_limiter_entry fc_limiter_entry;

/* A process's own view; nothing of it is shared. */
typedef struct fc_limiter {
    fc_limiter_entry *entries;
    uint64_t *serial;
    uint64_t mask; /* buckets - 1 */
    uint64_t keys;
    fc_hash_key key;
    fc_limiter_full when_full;
    uint64_t full;      /* requests of this process that found no room */
    uint64_t reclaimed; /* entries of other keys it took over */
} fc_limiter;

typedef struct fc_limiter_counts {
    uint64_t entries, live, claims;
} fc_limiter_counts;

/* One of several limits on a request. `answer` is written by fc_limiter_hit_all. */
typedef struct fc_limiter_limit {
    fc_limiter *limiter;
    const fc_gcra *quota;
    uint64_t print, cost;
    fc_gcra_answer answer;
    bool full;
} fc_limiter_limit;

/* Bytes of a table for so many live keys; 0 when keys is out of range. The memory starts on a cache line, zeroed. */
uint64_t fc_limiter_size(uint64_t keys);
/* Prepares the table if it is new, with `key` as its hash key; l->key is the table's, whoever made it. 0 or an
 * error. */
int fc_limiter_open(fc_limiter *l, void *base, uint64_t size, uint64_t keys, const fc_hash_key *key,
                    fc_limiter_full full);

/* Charges `cost` if it is admitted. True: the state decided. False: there was no room, and l->when_full did. */
bool fc_limiter_hit(fc_limiter *l, const fc_gcra *quota, uint64_t print, uint64_t now_ns, uint64_t cost,
                    fc_gcra_answer *a);
/* The same answer, but nothing is charged: remaining and reset are as they are. */
void fc_limiter_peek(const fc_limiter *l, const fc_gcra *quota, uint64_t print, uint64_t now_ns, uint64_t cost,
                     fc_gcra_answer *a);
/* All limits or none: looks at all, then charges one after the other, and gives back if one of them is refused after
 * all because others were quicker. No limit is ever exceeded. In between, others may see charges that are given back,
 * and be refused for them; a process killed there leaves them charged. The answers of a refusal are those of the last
 * look. */
bool fc_limiter_hit_all(fc_limiter_limit *limits, uint32_t n, uint64_t now_ns);
/* Gives back what an admitted request was charged. */
void fc_limiter_refund(const fc_limiter *l, const fc_gcra *quota, uint64_t print, uint64_t cost);
/* Forgets the key's state and frees its entry. True if the state was not in the past. */
bool fc_limiter_reset(const fc_limiter *l, uint64_t print, uint64_t now_ns);
/* For words that mean something else (fc/allowance.h), in a table of their own: the key's becomes what `next` makes of it
 * (0: there is none), and `next` may be called again when another was quicker. False: no room for it. */
bool fc_limiter_update(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t (*next)(uint64_t word, void *ctx),
                       void *ctx);
/* Looks at the whole table. */
void fc_limiter_count(const fc_limiter *l, uint64_t now_ns, fc_limiter_counts *counts);

#endif
