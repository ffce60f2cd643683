#include "fc/limiter.h"

#include "fc/pidlock.h"
#include "fc/region.h"
#include "pair.h"

#define MAGIC 0x3172696d696c6366ull /* "fclimir1": stored last, so zeros mean not prepared */
#define WAYS 8u
#define CLAIM (1ull << 63) /* in a state word: the rest is a serial number */
/* In the first bucket of a key this many entries are left free before the second is considered: most keys are then
 * found in the first, and few pairs of buckets fill up. */
#define SPARE 2u

struct fc_limiter_entry {
    fc_pair pair; /* print (0: empty) and state */
};

typedef struct head {
    uint64_t magic;
    uint32_t version;
    fc_pidlock lock;
    uint64_t keys;
    fc_hash_key key;
    char pad0[FC_CACHE_LINE - 40];
    uint64_t serial;
    char pad1[FC_CACHE_LINE - 8];
} head;

_Static_assert(sizeof(head) == 2 * FC_CACHE_LINE && sizeof(fc_limiter_entry) == 16, "documented layout");

/* The 2 x WAYS places of a key, in the order in which claims win. */
typedef struct window {
    fc_limiter_entry *bucket[2];
} window;

typedef enum outcome { DONE, AGAIN, FULL } outcome;

static uint64_t buckets_for(uint64_t keys)
{
    uint64_t buckets = 2;
    while (buckets * WAYS < 2 * keys)
        buckets *= 2;
    return buckets;
}

uint64_t fc_limiter_size(uint64_t keys)
{
    if (keys == 0 || keys > FC_LIMITER_KEYS_MAX)
        return 0;
    return sizeof(head) + buckets_for(keys) * WAYS * sizeof(fc_limiter_entry);
}

int fc_limiter_open(fc_limiter *l, void *base, uint64_t size, uint64_t keys, const fc_hash_key *key,
                    fc_limiter_full full)
{
    head *h = base;
    uint64_t needed = fc_limiter_size(keys);
    if (needed == 0 || needed > size)
        return FC_LIMITER_ESIZE;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
        if (fc_pidlock_acquire(&h->lock, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_LIMITER_EBUSY;
        if (__atomic_load_n(&h->magic, __ATOMIC_RELAXED) == 0) {
            h->version = FC_LIMITER_VERSION;
            h->keys = keys;
            h->key = *key;
            __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
        }
        fc_pidlock_release(&h->lock);
    }
    if (h->magic != MAGIC || h->version != FC_LIMITER_VERSION)
        return FC_LIMITER_EVERSION;
    if (buckets_for(h->keys) != buckets_for(keys))
        return FC_LIMITER_ESIZE;
    *l = (fc_limiter){.entries = (fc_limiter_entry *)(void *)(h + 1),
                      .serial = &h->serial,
                      .mask = buckets_for(keys) - 1,
                      .keys = keys,
                      .key = h->key,
                      .when_full = full};
    return 0;
}

static inline window window_of(const fc_limiter *l, uint64_t print)
{
    uint64_t first = print & l->mask, second = print >> 32 & l->mask;
    if (second == first)
        second ^= 1;
    return (window){{l->entries + first * WAYS, l->entries + second * WAYS}};
}

static inline fc_limiter_entry *place(const window *w, uint32_t i) { return &w->bucket[i / WAYS][i % WAYS]; }

static inline uint64_t print_of(const fc_limiter_entry *e) { return __atomic_load_n(&e->pair.first, __ATOMIC_SEQ_CST); }

static inline uint64_t state_of(const fc_limiter_entry *e)
{
    return __atomic_load_n(&e->pair.second, __ATOMIC_SEQ_CST);
}

static inline bool swap_state(fc_limiter_entry *e, uint64_t old, uint64_t new)
{
    return __atomic_compare_exchange_n(&e->pair.second, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline bool empty(fc_limiter_entry *e, uint64_t print, uint64_t state)
{
    return fc_pair_cas(&e->pair, (fc_pair){print, state}, (fc_pair){0, 0});
}

static inline fc_limiter_entry *find_in(fc_limiter_entry *bucket, uint64_t print, uint64_t *state, bool claims)
{
    for (uint32_t i = 0; i < WAYS; i++) {
        if (__atomic_load_n(&bucket[i].pair.first, __ATOMIC_RELAXED) != print)
            continue;
        /* The state first, then is it still this key's: invariant 3. */
        *state = __atomic_load_n(&bucket[i].pair.second, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&bucket[i].pair.first, __ATOMIC_ACQUIRE) == print && (claims || !(*state & CLAIM)))
            return &bucket[i];
    }
    return NULL;
}

/* The key's entry or, with `claims`, whichever of it and its claims comes first. */
static inline fc_limiter_entry *find(const window *w, uint64_t print, uint64_t *state, bool claims)
{
    fc_limiter_entry *e = find_in(w->bucket[0], print, state, claims);
    return FC_LIKELY(e != NULL) ? e : find_in(w->bucket[1], print, state, claims);
}

/* Turns the claim at `mine` into an entry of that state, or gives way to another place of the key. False: look
 * again. */
static bool settle(const window *w, uint64_t print, fc_limiter_entry *mine, uint64_t claim, uint64_t state)
{
    bool before = true; /* the places up to here come before mine */
    for (uint32_t i = 0; i < 2 * WAYS; i++) {
        fc_limiter_entry *e = place(w, i);
        if (e == mine) {
            before = false;
            continue;
        }
        if (print_of(e) != print)
            continue;
        uint64_t other = state_of(e);
        if (print_of(e) != print)
            continue;
        if (!(other & CLAIM) || before) {
            empty(mine, print, claim);
            return false;
        }
        if (!empty(e, print, other))
            return false;
    }
    return swap_state(mine, claim, state);
}

/* Whether the entry may be taken over. `state` and `print` are what it holds. */
static inline bool is_free(const fc_limiter *l, uint64_t print, uint64_t state, uint64_t now_ns)
{
    if (print == 0)
        return true;
    if (state & CLAIM)
        return __atomic_load_n(l->serial, __ATOMIC_RELAXED) - (state & ~CLAIM) > FC_LIMITER_CLAIM_AGE;
    return state < now_ns;
}

/* The first free entry of a bucket, as it was read, and how many there are. */
static uint32_t free_in(const fc_limiter *l, fc_limiter_entry *bucket, uint64_t now_ns, fc_limiter_entry **first,
                        fc_pair *held)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < WAYS; i++) {
        fc_pair pair = {.second = state_of(&bucket[i])};
        pair.first = print_of(&bucket[i]);
        if (is_free(l, pair.first, pair.second, now_ns) && n++ == 0) {
            *first = &bucket[i];
            *held = pair;
        }
    }
    return n;
}

static outcome insert(fc_limiter *l, const window *w, uint64_t print, uint64_t now_ns, uint64_t state)
{
    fc_limiter_entry *e[2];
    fc_pair held[2];
    uint32_t chosen = 0, first = free_in(l, w->bucket[0], now_ns, &e[0], &held[0]);
    if (first <= SPARE) {
        uint32_t second = free_in(l, w->bucket[1], now_ns, &e[1], &held[1]);
        if (first == 0 && second == 0)
            return FULL;
        chosen = second > first;
    }
    uint64_t claim = CLAIM | (__atomic_fetch_add(l->serial, 1, __ATOMIC_RELAXED) & ~CLAIM);
    if (!fc_pair_cas(&e[chosen]->pair, held[chosen], (fc_pair){print, claim}))
        return AGAIN;
    if (held[chosen].first != 0)
        __atomic_fetch_add(&l->reclaimed, 1, __ATOMIC_RELAXED);
    return settle(w, print, e[chosen], claim, state) ? DONE : AGAIN;
}

/* The claim of a process that was killed or is slow. Its serial number as state is in the past and, unlike a constant,
 * was no other key's state in this place (invariant 3). */
static void complete(const window *w, uint64_t print, fc_limiter_entry *e, uint64_t claim)
{
    settle(w, print, e, claim, claim & ~CLAIM);
}

/* Until the first entry in the way is free. */
static uint64_t until_room(const window *w, uint64_t now_ns)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < 2 * WAYS; i++) {
        uint64_t state = state_of(place(w, i));
        if (!(state & CLAIM) && state < first)
            first = state;
    }
    return first != UINT64_MAX && first >= now_ns ? first - now_ns + 1 : 1;
}

static void answer_full(fc_limiter *l, const window *w, uint64_t now_ns, fc_gcra_answer *a)
{
    __atomic_fetch_add(&l->full, 1, __ATOMIC_RELAXED);
    if (l->when_full == FC_LIMITER_FULL_CLOSED) {
        a->allowed = false;
        a->remaining = 0;
        a->retry_ns = a->reset_ns = until_room(w, now_ns);
    }
}

bool fc_limiter_hit(fc_limiter *l, const fc_gcra *quota, uint64_t print, uint64_t now_ns, uint64_t cost,
                    fc_gcra_answer *a)
{
    window w = window_of(l, print);
    for (;;) {
        uint64_t state;
        fc_limiter_entry *e = find(&w, print, &state, true);
        if (FC_UNLIKELY(e && state & CLAIM)) {
            complete(&w, print, e, state);
            continue;
        }
        if (!e)
            state = 0;
        uint64_t new = fc_gcra_decide(quota, state, now_ns, cost, a);
        if (new == state)
            return true;
        if (FC_LIKELY(e != NULL)) {
            if (FC_LIKELY(swap_state(e, state, new)))
                return true;
            continue;
        }
        outcome what = insert(l, &w, print, now_ns, new);
        if (what == DONE)
            return true;
        if (what == FULL) {
            answer_full(l, &w, now_ns, a);
            return false;
        }
    }
}

void fc_limiter_peek(const fc_limiter *l, const fc_gcra *quota, uint64_t print, uint64_t now_ns, uint64_t cost,
                     fc_gcra_answer *a)
{
    window w = window_of(l, print);
    uint64_t state;
    const fc_limiter_entry *e = find(&w, print, &state, false);
    fc_gcra_peek(quota, e ? state : 0, now_ns, cost, a);
}

void fc_limiter_refund(const fc_limiter *l, const fc_gcra *quota, uint64_t print, uint64_t cost)
{
    window w = window_of(l, print);
    uint64_t state, charge = fc_gcra_charge(quota, cost);
    fc_limiter_entry *e;
    do {
        e = find(&w, print, &state, false);
    } while (e && state > charge && !swap_state(e, state, state - charge));
}

bool fc_limiter_hit_all(fc_limiter_limit *limits, uint32_t n, uint64_t now_ns)
{
    bool allowed = true;
    for (uint32_t i = 0; i < n; i++) {
        fc_limiter_limit *one = &limits[i];
        fc_limiter_peek(one->limiter, one->quota, one->print, now_ns, one->cost, &one->answer);
        one->full = false;
        allowed = allowed && one->answer.allowed;
    }
    for (uint32_t i = 0; allowed && i < n; i++) {
        fc_limiter_limit *one = &limits[i];
        one->full = !fc_limiter_hit(one->limiter, one->quota, one->print, now_ns, one->cost, &one->answer);
        if (one->answer.allowed)
            continue;
        allowed = false;
        for (uint32_t k = 0; k < i; k++) {
            fc_limiter_limit *back = &limits[k];
            if (!back->full)
                fc_limiter_refund(back->limiter, back->quota, back->print, back->cost);
            fc_limiter_peek(back->limiter, back->quota, back->print, now_ns, back->cost, &back->answer);
        }
    }
    return allowed;
}

bool fc_limiter_reset(const fc_limiter *l, uint64_t print, uint64_t now_ns)
{
    window w = window_of(l, print);
    for (;;) {
        uint64_t state;
        fc_limiter_entry *e = find(&w, print, &state, false);
        if (!e)
            return false;
        if (empty(e, print, state))
            return state > now_ns;
    }
}

bool fc_limiter_update(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t (*next)(uint64_t word, void *ctx),
                       void *ctx)
{
    window w = window_of(l, print);
    for (;;) {
        uint64_t word;
        fc_limiter_entry *e = find(&w, print, &word, true);
        if (e && word & CLAIM) {
            complete(&w, print, e, word);
            continue;
        }
        uint64_t new = next(e ? word : 0, ctx);
        if (new == (e ? word : 0) || (e && swap_state(e, word, new)))
            return true;
        if (e)
            continue;
        outcome what = insert(l, &w, print, now_ns, new);
        if (what == DONE)
            return true;
        if (what == FULL) {
            __atomic_fetch_add(&l->full, 1, __ATOMIC_RELAXED);
            return false;
        }
    }
}

void fc_limiter_count(const fc_limiter *l, uint64_t now_ns, fc_limiter_counts *counts)
{
    *counts = (fc_limiter_counts){.entries = (l->mask + 1) * WAYS};
    for (uint64_t i = 0; i < counts->entries; i++) {
        uint64_t state = state_of(&l->entries[i]), print = print_of(&l->entries[i]);
        if (print != 0 && state & CLAIM)
            counts->claims++;
        else if (print != 0 && state > now_ns)
            counts->live++;
    }
}
