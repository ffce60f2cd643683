#include "fc/balance.h"

#include <math.h>
#include <stdlib.h>

#include "fc/hash.h"
#include "fc/rendezvous.h"

typedef struct target {
    uint32_t weight;
    uint32_t active;
    int64_t current; /* smooth round robin's account */
    double latency;  /* peak EWMA at `at` */
    uint64_t at;
    uint64_t id;
} target;

struct fc_balancer {
    fc_balance_options options;
    uint32_t n;
    uint32_t words;
    uint64_t random;
    uint64_t active; /* sum over targets */
    uint64_t usable[FC_BALANCE_WORDS_MAX]; /* bit set of targets with a weight */
    uint16_t *slots; /* HASH */
    target targets[];
};

fc_balancer *fc_balancer_new(const fc_balance_options *options, const fc_balance_target *targets, uint32_t n)
{
    if (n == 0 || n > FC_BALANCE_TARGETS_MAX || options->policy >= FC_BALANCE_POLICY_COUNT || options->tau_ns == 0)
        return NULL;
    if (!(options->load_factor == 0 || options->load_factor >= 1))
        return NULL; /* below 1 there could be nobody left to pick */
    fc_balancer *b = calloc(1, sizeof *b + n * sizeof b->targets[0]);
    if (b == NULL)
        return NULL;
    b->options = *options;
    b->n = n;
    b->words = FC_BALANCE_WORDS(n);
    b->random = options->seed;
    bool ok = true;
    for (uint32_t i = 0; i < n; i++) {
        ok = ok && targets[i].weight <= FC_BALANCE_WEIGHT_MAX;
        b->targets[i].weight = targets[i].weight;
        b->targets[i].id = targets[i].id;
        if (targets[i].weight > 0)
            b->usable[i / 64] |= 1ull << (i % 64);
        for (uint32_t j = 0; options->policy == FC_BALANCE_HASH && j < i; j++)
            ok = ok && targets[i].id != targets[j].id;
    }
    if (ok && options->policy == FC_BALANCE_HASH) {
        b->slots = calloc(FC_MAGLEV_SLOTS, sizeof *b->slots);
        ok = b->slots != NULL && fc_maglev_fill(b->slots, FC_MAGLEV_SLOTS, targets, n) == 0;
    }
    if (ok)
        return b;
    fc_balancer_free(b);
    return NULL;
}

void fc_balancer_free(fc_balancer *b)
{
    if (b == NULL)
        return;
    free(b->slots);
    free(b);
}

/* --- sets of targets -------------------------------------------------------------------------------------------- */

static bool has(const uint64_t *set, uint32_t i)
{
    return set[i / 64] >> (i % 64) & 1;
}

/* The first member at or after i, or n. */
static uint32_t next_in(const uint64_t *set, uint32_t i, uint32_t n)
{
    while (i < n) {
        uint64_t rest = set[i / 64] >> (i % 64);
        if (rest != 0)
            return i + (uint32_t)__builtin_ctzll(rest);
        i = (i / 64 + 1) * 64;
    }
    return n;
}

#define FOR_EACH_IN(set, i, b) \
    for (uint32_t i = next_in(set, 0, (b)->n); i < (b)->n; i = next_in(set, i + 1, (b)->n))

static uint32_t nth_in(const uint64_t *set, uint32_t nth)
{
    for (uint32_t word = 0;; word++) {
        uint64_t bits = set[word];
        uint32_t count = (uint32_t)__builtin_popcountll(bits);
        if (nth >= count) {
            nth -= count;
            continue;
        }
        while (nth-- > 0)
            bits &= bits - 1;
        return word * 64 + (uint32_t)__builtin_ctzll(bits);
    }
}

/* --- policies: `from` is never empty ---------------------------------------------------------------------------- */

static uint32_t smooth(fc_balancer *b, const uint64_t *from)
{
    int64_t total = 0;
    uint32_t best = b->n;
    FOR_EACH_IN (from, i, b) {
        target *t = &b->targets[i];
        t->current += t->weight;
        total += t->weight;
        if (best == b->n || t->current > b->targets[best].current)
            best = i;
    }
    b->targets[best].current -= total;
    return best;
}

static uint32_t least_conn(fc_balancer *b, const uint64_t *from)
{
    uint64_t equals[FC_BALANCE_WORDS_MAX] = {0};
    const target *least = NULL;
    FOR_EACH_IN (from, i, b) {
        const target *t = &b->targets[i];
        uint64_t mine = least != NULL ? (uint64_t)t->active * least->weight : 0;
        uint64_t best = least != NULL ? (uint64_t)least->active * t->weight : 1;
        if (mine > best)
            continue;
        if (mine < best) {
            for (uint32_t word = 0; word <= i / 64; word++)
                equals[word] = 0;
            least = t;
        }
        equals[i / 64] |= 1ull << (i % 64);
    }
    return smooth(b, equals);
}

static double decayed(const fc_balancer *b, const target *t, uint64_t now)
{
    uint64_t elapsed = now > t->at ? now - t->at : 0;
    return t->latency * exp(-(double)elapsed / (double)b->options.tau_ns);
}

static double cost(const fc_balancer *b, uint32_t i, uint64_t now)
{
    const target *t = &b->targets[i];
    double latency = decayed(b, t, now);
    if (t->at == 0 && t->active > 0) /* never measured, and somebody is finding out */
        latency = (double)b->options.failed_ns;
    return latency * (t->active + 1.0) / t->weight;
}

static uint32_t two_choices(fc_balancer *b, const uint64_t *from, uint64_t now)
{
    uint32_t count = 0;
    for (uint32_t word = 0; word < b->words; word++)
        count += (uint32_t)__builtin_popcountll(from[word]);
    if (count == 1)
        return nth_in(from, 0);
    uint64_t random = fc_hash_next(&b->random);
    uint32_t one = (uint32_t)random % count, other = (uint32_t)(random >> 32) % (count - 1);
    uint32_t first = nth_in(from, one), second = nth_in(from, other + (other >= one));
    return cost(b, second, now) < cost(b, first, now) ? second : first;
}

static uint32_t rendezvous(const fc_balancer *b, const uint64_t *from, uint64_t key)
{
    uint32_t best = b->n;
    double most = -1;
    FOR_EACH_IN (from, i, b) {
        const target *t = &b->targets[i];
        double score = fc_rendezvous_score(fc_rendezvous_draw(key, t->id), t->weight);
        if (score > most) {
            most = score;
            best = i;
        }
    }
    return best;
}

static uint32_t by_hash(const fc_balancer *b, uint64_t *from, uint64_t key)
{
    if (b->options.load_factor > 0) {
        uint64_t weights = 0;
        FOR_EACH_IN (from, i, b)
            weights += b->targets[i].weight;
        /* what each may hold once this request is added, rounded up: so somebody is always below */
        double per_weight = b->options.load_factor * (double)(b->active + 1) / (double)weights;
        uint64_t below[FC_BALANCE_WORDS_MAX] = {0};
        FOR_EACH_IN (from, i, b)
            if (b->targets[i].active < ceil(per_weight * b->targets[i].weight))
                below[i / 64] |= 1ull << (i % 64);
        for (uint32_t word = 0; word < b->words; word++)
            from[word] = below[word];
    }
    uint32_t first = b->slots[fc_maglev_slot(key, FC_MAGLEV_SLOTS)];
    return has(from, first) ? first : rendezvous(b, from, key);
}

int fc_balancer_pick(fc_balancer *b, uint64_t now_ns, uint64_t key_hash, const uint64_t *available)
{
    uint64_t from[FC_BALANCE_WORDS_MAX], any = 0;
    for (uint32_t word = 0; word < b->words; word++) {
        from[word] = b->usable[word] & (available != NULL ? available[word] : UINT64_MAX);
        any |= from[word];
    }
    if (any == 0)
        return -1;
    switch (b->options.policy) {
    case FC_BALANCE_LEAST_CONN:
        return (int)least_conn(b, from);
    case FC_BALANCE_P2C_EWMA:
        return (int)two_choices(b, from, now_ns);
    case FC_BALANCE_HASH:
        return (int)by_hash(b, from, key_hash);
    default:
        return (int)smooth(b, from);
    }
}

/* --- what became of it ------------------------------------------------------------------------------------------ */

void fc_balancer_started(fc_balancer *b, uint32_t target)
{
    b->targets[target].active++;
    b->active++;
}

void fc_balancer_finished(fc_balancer *b, uint32_t target_index, uint64_t now_ns, uint64_t latency_ns, bool failed)
{
    target *t = &b->targets[target_index];
    if (t->active > 0) {
        t->active--;
        b->active--;
    }
    if (failed && latency_ns < b->options.failed_ns)
        latency_ns = b->options.failed_ns;
    double sample = (double)latency_ns, before = decayed(b, t, now_ns);
    if (t->at == 0 || sample > before) {
        t->latency = sample;
    } else {
        uint64_t elapsed = now_ns > t->at ? now_ns - t->at : 0;
        double keep = exp(-(double)elapsed / (double)b->options.tau_ns);
        t->latency = t->latency * keep + sample * (1 - keep);
    }
    t->at = now_ns > t->at ? now_ns : t->at;
    if (t->at == 0)
        t->at = 1;
}

uint32_t fc_balancer_active(const fc_balancer *b, uint32_t target)
{
    return b->targets[target].active;
}

double fc_balancer_latency_ns(const fc_balancer *b, uint32_t target, uint64_t now_ns)
{
    return decayed(b, &b->targets[target], now_ns);
}
