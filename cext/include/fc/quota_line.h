/* fc/quota_line.h - requests that wait until it is known whether a limit of several machines admits them.
 *
 * Such a limit is decided elsewhere (Redis), and units it hands out lie in fc/allowance.h. A request that finds none left
 * stands in line with the keys it asks for; whoever asks for them takes the whole line (fc_quota_take), puts what comes
 * into the allowances, and lets the waiting go on (fc_quota_settle): they look there again. While the other side cannot be
 * asked nobody stands in line, and each limit's own policy decides.
 *
 * Whether it can be asked is one word of shared memory for all processes of a machine, an epoch that is odd while it is
 * gone. A machine that counts alone must not get units at the same time, or both would be used: what was asked in another
 * epoch is dropped when it comes. [A request that looks at the word and counts while it changes may be one too many.]
 *
 * Invariants
 *   1. At most waiting_max requests are in line or taken.
 *   2. A request hears that it may go on in the loop's next round, once, or leaves before (fc_quota_leave).
 *   3. What is taken points at nothing of a request or of its limits: both may go meanwhile.
 * Belongs to its loop.
 */
#ifndef FC_QUOTA_LINE_H
#define FC_QUOTA_LINE_H

#include "fc/gcra.h"
#include "fc/grow.h"
#include "fc/loop.h"

#define FC_QUOTA_ASKS_MAX 16u /* FC_LIMITS_MAX */

typedef struct fc_quota_line fc_quota_line;
typedef struct fc_quota_wait fc_quota_wait;

/* A key that is asked for. */
typedef struct fc_quota_ask {
    uint64_t print, cost, lease_ns;
    fc_gcra quota;
    bool full_refuses;
    uint32_t name_at, name_len; /* these in fc_quota_wait.text: what the limit is called everywhere, */
    uint32_t text_at, text_len; /* and the key's values, each after its length in 4 bytes */
} fc_quota_ask;

struct fc_quota_wait {
    fc_quota_wait *next;
    fc_quota_line *line;
    void *owner; /* NULL: nobody waits any more */
    void (*settled)(fc_quota_wait *wait);
    uint32_t n;
    fc_quota_ask asks[FC_QUOTA_ASKS_MAX];
    fc_grow text;
};

struct fc_quota_line {
    fc_loop *loop;
    fc_quota_wait *first, **end;
    fc_quota_wait *settled, **settled_end;
    uint32_t waiting, waiting_max;
    bool posted;
    uint64_t *epoch;   /* shared */
    uint64_t retry_ns; /* while gone: when to try again, for who is refused */
    fc_job job;
    void (*wake)(fc_quota_line *line); /* it was empty and is not any more */
};

void fc_quota_line_init(fc_quota_line *line, fc_loop *loop, uint32_t waiting_max, uint64_t *epoch);

static inline uint64_t fc_quota_epoch(const fc_quota_line *line) { return __atomic_load_n(line->epoch, __ATOMIC_ACQUIRE); }
static inline bool fc_quota_gone(const fc_quota_line *line) { return fc_quota_epoch(line) & 1; }
/* The next epoch, if this one is still it. False: another process was quicker. */
bool fc_quota_turn(fc_quota_line *line, uint64_t epoch);

/* Somebody who will wait, not in line yet. NULL: too many, or no memory. */
fc_quota_wait *fc_quota_wait_new(fc_quota_line *line, void *owner, void (*settled)(fc_quota_wait *wait));
/* False: no memory. */
bool fc_quota_put(fc_quota_wait *wait, const void *p, size_t n);
void fc_quota_submit(fc_quota_wait *wait);
/* Who does not wait any longer, in line or not. */
void fc_quota_leave(fc_quota_wait *wait, bool submitted);

/* All who stand in line, linked by `next`; NULL: nobody. */
fc_quota_wait *fc_quota_take(fc_quota_line *line);
/* Who was taken may look again. */
void fc_quota_settle(fc_quota_wait *wait);

#endif
