#include "fc/limiter.h"
#include "fc/allowance.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "fc/region.h"
#include "step.h"

#define S 1000000000ull
#define NOW (1000 * S)

static const fc_hash_key KEY = {1, 2};

static fc_gcra quota(uint64_t rate, uint64_t period_ns, uint64_t burst)
{
    fc_gcra q;
    CHECK(fc_gcra_init(&q, rate, period_ns, burst));
    return q;
}

static void *shared(uint64_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static fc_limiter table(uint64_t keys, fc_limiter_full full)
{
    fc_limiter l;
    uint64_t size = fc_limiter_size(keys);
    CHECK(fc_limiter_open(&l, shared(size), size, keys, &KEY, full) == 0);
    return l;
}

static void drop(fc_limiter *l) { munmap((char *)l->entries - 2 * FC_CACHE_LINE, fc_limiter_size(l->keys)); }

/* ---- the decision */

static void test_init(void)
{
    fc_gcra q;
    CHECK(!fc_gcra_init(&q, 0, S, 1) && !fc_gcra_init(&q, 1, 0, 1) && !fc_gcra_init(&q, 1, S, 0));
    CHECK(!fc_gcra_init(&q, 1, FC_GCRA_TIME_MAX + 1, 1) && !fc_gcra_init(&q, 1, S, UINT64_MAX));
    CHECK(!fc_gcra_init(&q, 1, FC_GCRA_TIME_MAX, 2) && fc_gcra_init(&q, 1, FC_GCRA_TIME_MAX, 1));
    q = quota(3, S, 10);
    CHECK(q.shift == 0 && q.interval == 333333334 && q.span == 3333333340);
    q = quota(1000000, S, 5);
    CHECK(q.shift == 0 && q.interval == 1000);
    q = quota(10 * S, S, 10 * S); /* 10 GB/s: a tenth of a nanosecond each */
    CHECK(q.shift == 32 && q.span == S + 1 && fc_gcra_charge(&q, 1) == 1 && fc_gcra_charge(&q, 65536) == 6554);
    CHECK(fc_gcra_units(&q, q.span) == q.burst);
    q = quota(UINT64_MAX, 1, UINT64_MAX);
    CHECK(fc_gcra_charge(&q, UINT64_MAX) == q.span && q.span < FC_GCRA_TIME_MAX);
}

static void test_decide(void)
{
    fc_gcra q = quota(10, S, 5);
    fc_gcra_answer a;
    uint64_t tat = 0;
    for (uint64_t i = 0; i < 5; i++) {
        uint64_t new = fc_gcra_decide(&q, tat, NOW, 1, &a);
        CHECK(a.allowed && a.limit == 5 && a.remaining == 4 - i && a.retry_ns == 0 && a.reset_ns == (i + 1) * S / 10);
        CHECK(new == NOW + a.reset_ns && new > tat);
        tat = new;
    }
    CHECK(fc_gcra_decide(&q, tat, NOW, 1, &a) == tat);
    CHECK(!a.allowed && a.remaining == 0 && a.retry_ns == S / 10 && a.reset_ns == S / 2);
    CHECK(fc_gcra_decide(&q, tat, NOW + S / 10 - 1, 1, &a) == tat && !a.allowed && a.retry_ns == 1);
    CHECK(fc_gcra_decide(&q, tat, NOW + S / 10, 1, &a) == tat + S / 10 && a.allowed);
    CHECK(fc_gcra_decide(&q, tat, NOW, 0, &a) == tat && a.allowed && a.remaining == 0);
    CHECK(fc_gcra_decide(&q, tat, NOW, 6, &a) == tat && !a.allowed && a.retry_ns == FC_GCRA_NEVER);
    CHECK(fc_gcra_decide(&q, tat, NOW, UINT64_MAX, &a) == tat && !a.allowed && a.retry_ns == FC_GCRA_NEVER);
    CHECK(fc_gcra_decide(&q, tat, NOW + S, 5, &a) == NOW + S + S / 2 && a.allowed && a.remaining == 0);
    CHECK(fc_gcra_decide(&q, 0, 0, 1, &a) == S / 10 && a.allowed);

    q = quota(1, FC_GCRA_TIME_MAX, 1); /* the largest of everything */
    tat = fc_gcra_decide(&q, 0, FC_GCRA_TIME_MAX - 1, 1, &a);
    CHECK(a.allowed && tat == 2 * FC_GCRA_TIME_MAX - 1 && tat < 1ull << 63);
    CHECK(fc_gcra_decide(&q, tat, FC_GCRA_TIME_MAX - 1, 1, &a) == tat && a.retry_ns == FC_GCRA_TIME_MAX);
}

static void test_clock_steps_back(void)
{
    fc_gcra q = quota(10, S, 5);
    fc_gcra_answer a;
    uint64_t full = NOW + q.span;
    CHECK(fc_gcra_decide(&q, full, NOW - 60 * S, 1, &a) == full && !a.allowed && !a.stepped); /* a slow process */
    uint64_t cut = fc_gcra_decide(&q, full, NOW - 61 * S, 1, &a);
    CHECK(cut == NOW - 61 * S + q.span && !a.allowed && a.stepped && a.retry_ns == S / 10);
    CHECK(fc_gcra_decide(&q, cut, NOW - 60 * S, 5, &a) && a.allowed);
    q.back_ns = UINT64_MAX;
    CHECK(fc_gcra_decide(&q, 1ull << 62, 5, 1, &a) == 1ull << 62 && !a.allowed && !a.stepped);
}

/* ---- the table */

static void test_open(void)
{
    CHECK(fc_limiter_size(0) == 0 && fc_limiter_size(FC_LIMITER_KEYS_MAX + 1) == 0);
    uint64_t size = fc_limiter_size(100);
    CHECK(size == 128 + 256 * 16);
    char *base = shared(size);
    fc_limiter l, other;
    const fc_hash_key mine = {3, 4};
    CHECK(fc_limiter_open(&l, base, size - 1, 100, &KEY, FC_LIMITER_FULL_OPEN) == FC_LIMITER_ESIZE);
    CHECK(fc_limiter_open(&l, base, size, 100, &KEY, FC_LIMITER_FULL_OPEN) == 0);
    CHECK(fc_limiter_open(&other, base, size, 100, &mine, FC_LIMITER_FULL_OPEN) == 0 && other.key.k0 == KEY.k0);
    CHECK(fc_limiter_open(&other, base, size, 60, &KEY, FC_LIMITER_FULL_OPEN) == FC_LIMITER_ESIZE);
    ((uint32_t *)(void *)base)[2]++;
    CHECK(fc_limiter_open(&other, base, size, 100, &KEY, FC_LIMITER_FULL_OPEN) == FC_LIMITER_EVERSION);
    munmap(base, size);
}

static void test_keys_are_apart(void)
{
    fc_limiter l = table(64, FC_LIMITER_FULL_OPEN);
    fc_gcra q = quota(1, S, 2);
    fc_gcra_answer a;
    for (uint64_t key = 1; key <= 64; key++) {
        uint64_t print = fc_hash_mix(key);
        fc_limiter_peek(&l, &q, print, NOW, 2, &a);
        CHECK(a.allowed && a.remaining == 2);
        CHECK(fc_limiter_hit(&l, &q, print, NOW, 1, &a) && a.allowed && a.remaining == 1);
        CHECK(fc_limiter_hit(&l, &q, print, NOW, 1, &a) && a.allowed && a.remaining == 0);
        CHECK(fc_limiter_hit(&l, &q, print, NOW, 1, &a) && !a.allowed && a.retry_ns == S);
        fc_limiter_peek(&l, &q, print, NOW, 1, &a);
        CHECK(!a.allowed && a.remaining == 0 && a.retry_ns == S && a.reset_ns == 2 * S);
    }
    fc_limiter_counts counts;
    fc_limiter_count(&l, NOW, &counts);
    CHECK(counts.live == 64 && counts.entries == 128 && counts.claims == 0 && l.full == 0);
    CHECK(fc_limiter_reset(&l, fc_hash_mix(7), NOW) && !fc_limiter_reset(&l, fc_hash_mix(7), NOW));
    CHECK(!fc_limiter_reset(&l, fc_hash_mix(100), NOW));
    CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(7), NOW, 2, &a) && a.allowed);
    fc_limiter_refund(&l, &q, fc_hash_mix(7), 1);
    CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(7), NOW, 1, &a) && a.allowed && a.remaining == 0);
    fc_limiter_refund(&l, &q, fc_hash_mix(200), 1);
    /* what cannot be charged takes no room */
    CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(300), NOW, 3, &a) && !a.allowed);
    CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(300), NOW, 0, &a) && a.allowed);
    fc_limiter_count(&l, NOW, &counts);
    CHECK(counts.live == 64);
    drop(&l);
}

/* As many live keys as asked for find room; stale ones are taken over for ever. */
static void test_room(void)
{
    enum { KEYS = 1 << 18 };
    fc_limiter l = table(KEYS, FC_LIMITER_FULL_CLOSED);
    fc_gcra q = quota(1, S, 1);
    fc_gcra_answer a;
    uint64_t random = 7;
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < KEYS; i++)
            CHECK(fc_limiter_hit(&l, &q, fc_hash_next(&random), NOW + (uint64_t)round * 2 * S, 1, &a) && a.allowed);
    CHECK(l.full == 0 && l.reclaimed > KEYS);
    drop(&l);
}

static void test_full(fc_limiter_full when_full)
{
    fc_limiter l = table(8, when_full); /* two buckets, so all keys meet */
    fc_gcra q = quota(1, S, 2);
    fc_gcra_answer a;
    for (uint64_t i = 0; i < 16; i++)
        CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(i + 1), NOW + i, 1, &a) && a.allowed);
    CHECK(!fc_limiter_hit(&l, &q, fc_hash_mix(99), NOW + 16, 1, &a) && l.full == 1);
    if (when_full == FC_LIMITER_FULL_OPEN)
        CHECK(a.allowed && a.remaining == 1 && a.retry_ns == 0);
    else
        CHECK(!a.allowed && a.remaining == 0 && a.retry_ns == S - 16 + 1);
    for (uint64_t i = 0; i < 16; i++) /* nobody lost anything */
        CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(i + 1), NOW + 16, 2, &a) && !a.allowed);
    CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(99), NOW + S + 1, 1, &a) && a.allowed && l.reclaimed == 1);
    drop(&l);
}

static void test_all_or_nothing(void)
{
    fc_limiter l = table(64, FC_LIMITER_FULL_CLOSED), tiny = table(8, FC_LIMITER_FULL_CLOSED);
    fc_gcra second = quota(10, S, 3), minute = quota(20, 60 * S, 5);
    fc_limiter_limit limits[2] = {{.limiter = &l, .quota = &second, .print = 11, .cost = 1},
                                  {.limiter = &l, .quota = &minute, .print = 12, .cost = 1}};
    for (int i = 0; i < 3; i++)
        CHECK(fc_limiter_hit_all(limits, 2, NOW));
    CHECK(!fc_limiter_hit_all(limits, 2, NOW));
    CHECK(!limits[0].answer.allowed && limits[1].answer.allowed && limits[1].answer.remaining == 2);
    CHECK(fc_limiter_hit_all(limits, 2, NOW + S) && fc_limiter_hit_all(limits, 2, NOW + S));
    CHECK(limits[0].answer.remaining == 1 && limits[1].answer.remaining == 0);
    CHECK(!fc_limiter_hit_all(limits, 2, NOW + S) && limits[0].answer.remaining == 1 && !limits[1].answer.allowed);

    /* the second refuses only when it is charged: the first is given back */
    fc_gcra_answer a;
    for (uint64_t i = 0; i < 16; i++)
        fc_limiter_hit(&tiny, &second, fc_hash_mix(i + 1), NOW, 1, &a);
    fc_limiter_limit mixed[2] = {{.limiter = &l, .quota = &second, .print = 21, .cost = 2},
                                 {.limiter = &tiny, .quota = &second, .print = 22, .cost = 1}};
    CHECK(!fc_limiter_hit_all(mixed, 2, NOW) && mixed[1].full && mixed[0].answer.remaining == 3);
    drop(&l);
    drop(&tiny);
}

/* ---- many at once */

enum { THREADS = 4, ROUNDS = 3000, BURST = 3, STRIDE = 4 };

typedef struct crowd {
    fc_limiter *l;
    const fc_gcra *q, *wide;
    uint64_t at; /* admitted by all limits */
    uint64_t admitted[ROUNDS][STRIDE];
    pthread_barrier_t barrier;
} crowd;

typedef struct member {
    crowd *c;
    uint64_t no;
} member;

/* All meet the same new keys in the same moment of a stopped clock, in a table in which everything is always being
 * taken over: exactly BURST of a key's requests are admitted, whoever wins the claim. */
static void *meet(void *arg)
{
    member *m = arg;
    crowd *c = m->c;
    fc_gcra_answer a;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t now = NOW + round * 10 * S;
        pthread_barrier_wait(&c->barrier);
        for (uint64_t k = 0; k < 2 * STRIDE; k++) {
            uint64_t key = (k + m->no) % STRIDE;
            fc_limiter_hit(c->l, c->q, fc_hash_mix(1 + key + round % 5 * STRIDE), now, 1, &a);
            if (a.allowed)
                __atomic_fetch_add(&c->admitted[round][key], 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

static void test_threads_meet(void)
{
    static crowd c;
    fc_limiter l = table(8, FC_LIMITER_FULL_CLOSED);
    fc_gcra q = quota(1, S, BURST);
    member members[THREADS];
    pthread_t threads[THREADS];
    c.l = &l;
    c.q = &q;
    pthread_barrier_init(&c.barrier, NULL, THREADS);
    for (uint64_t i = 0; i < THREADS; i++) {
        members[i] = (member){&c, i};
        pthread_create(&threads[i], NULL, meet, &members[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    unsigned wrong = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < STRIDE; k++)
            wrong += c.admitted[round][k] != BURST;
    CHECK(wrong == 0 && l.full == 0);
    pthread_barrier_destroy(&c.barrier);
    drop(&l);
}

/* One key under fire with limits of all or nothing: none is ever exceeded. */
static void *fire(void *arg)
{
    crowd *c = arg;
    for (int i = 0; i < 4000; i++) {
        fc_limiter_limit limits[2] = {{.limiter = c->l, .quota = c->wide, .print = 5, .cost = 1},
                                      {.limiter = c->l, .quota = c->q, .print = 6, .cost = 1}};
        if (fc_limiter_hit_all(limits, 2, NOW))
            __atomic_fetch_add(&c->at, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_threads_all(void)
{
    fc_limiter l = table(64, FC_LIMITER_FULL_CLOSED);
    fc_gcra q = quota(1, S, 3000), wide = quota(1, S, 5000);
    crowd *c = calloc(1, sizeof *c);
    pthread_t threads[THREADS];
    c->l = &l;
    c->q = &q;
    c->wide = &wide;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, fire, c);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    fc_gcra_answer a;
    CHECK(c->at == 3000); /* the wide limit is never short, so nobody was refused for a charge given back */
    fc_limiter_peek(&l, &wide, 5, NOW, 1, &a);
    CHECK(a.remaining == 2000); /* what lost the race was given back */
    free(c);
    drop(&l);
}

/* ---- death at any instruction */

typedef struct victim {
    fc_limiter *l;
    const fc_gcra *q;
} victim;

static void hit_once(void *arg)
{
    const victim *v = arg;
    fc_gcra_answer a;
    fc_limiter_hit(v->l, v->q, 77, NOW + 100 * S, 1, &a);
}

/* After the death the survivor has all of the key's burst, or all but the dead one's charge; once. */
static void check_survivor(fc_limiter *l, const fc_gcra *q, const char *base, uint64_t size, char *scratch)
{
    fc_limiter copy;
    fc_gcra_answer a;
    fc_limiter_counts counts;
    uint64_t now = NOW + 100 * S, admitted = 0;
    memcpy(scratch, base, size);
    CHECK(fc_limiter_open(&copy, scratch, size, l->keys, &KEY, FC_LIMITER_FULL_CLOSED) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(fc_limiter_hit(&copy, q, 77, now, 1, &a));
        admitted += a.allowed;
    }
    CHECK(admitted == 3 || admitted == 2);
    for (uint64_t i = 0; i < 15; i++)
        CHECK(fc_limiter_hit(&copy, q, fc_hash_mix(i + 500), now, 1, &a) && a.allowed);
    fc_limiter_count(&copy, now, &counts);
    CHECK(counts.live == 16 && counts.claims == 0);
}

static void test_killed_at_every_instruction(void)
{
    fc_limiter l = table(8, FC_LIMITER_FULL_CLOSED);
    uint64_t size = fc_limiter_size(8);
    char *base = (char *)l.entries - 2 * FC_CACHE_LINE, *scratch = shared(size);
    fc_gcra q = quota(1, S, 3);
    fc_gcra_answer a;
    victim v = {&l, &q};
    for (uint64_t i = 0; i < 16; i++) /* every entry is some other key's, and in the past at NOW + 100 s */
        fc_limiter_hit(&l, &q, fc_hash_mix(i + 1), NOW, 1, &a);
    pid_t child = step_start(hit_once, &v);
    if (child < 0) {
        puts("test_limiter: tracing is forbidden here; single steps left out");
    } else {
        long steps = 0, claims = 0;
        while (step_once(child)) {
            fc_limiter_counts counts;
            steps++;
            fc_limiter_count(&l, NOW + 100 * S, &counts);
            claims += counts.claims == 1;
            check_survivor(&l, &q, base, size, scratch);
        }
        CHECK(steps > 100 && claims > 10);
    }
    munmap(scratch, size);
    drop(&l);
}

/* Claims of the dead whose keys nobody asks for: their places come back. */
static void test_abandoned_claims(void)
{
    fc_limiter l = table(8, FC_LIMITER_FULL_CLOSED);
    fc_gcra q = quota(1, S, 3);
    fc_gcra_answer a;
    uint64_t *words = (uint64_t *)(void *)l.entries;
    for (uint64_t i = 0; i < 16; i++) {
        words[2 * i] = 1000 + i;
        words[2 * i + 1] = 1ull << 63 | i;
    }
    *l.serial = 16;
    CHECK(!fc_limiter_hit(&l, &q, 77, NOW, 1, &a) && l.full == 1);
    CHECK(fc_limiter_hit(&l, &q, 1003, NOW, 1, &a) && a.allowed && a.remaining == 2); /* completed and used */
    *l.serial = FC_LIMITER_CLAIM_AGE + 16;
    for (uint64_t i = 0; i < 15; i++)
        CHECK(fc_limiter_hit(&l, &q, fc_hash_mix(i + 1), NOW, 1, &a) && a.allowed);
    drop(&l);
}

/* Two claims and an entry of one key, as if three had met: one remains, with the entry's state. */
static void test_rivals(void)
{
    fc_gcra q = quota(1, S, 3);
    fc_gcra_answer a;
    fc_limiter_counts counts;
    for (int settled = 0; settled < 2; settled++)
        for (int at = 0; at < 16; at++) {
            fc_limiter l = table(8, FC_LIMITER_FULL_CLOSED);
            uint64_t *words = (uint64_t *)(void *)l.entries;
            for (int i = 0; i < 3; i++) {
                int place = (at + 5 * i) % 16;
                words[2 * place] = 88;
                words[2 * place + 1] = 1ull << 63 | (uint64_t)(i + 1);
            }
            if (settled) {
                words[2 * at + 1] = NOW + 2 * S;
                fc_limiter_peek(&l, &q, 88, NOW, 1, &a);
                CHECK(a.allowed && a.remaining == 1);
                fc_limiter_refund(&l, &q, 88, 2);
                fc_limiter_peek(&l, &q, 88, NOW, 1, &a);
                CHECK(a.remaining == 3 && !fc_limiter_reset(&l, 88, NOW) && words[2 * at] == 0);
                words[2 * at] = 88;
                words[2 * at + 1] = NOW + 2 * S;
            }
            fc_limiter_hit(&l, &q, 88, NOW, 1, &a);
            CHECK(a.allowed && a.remaining == (settled ? 0 : 2));
            fc_limiter_hit(&l, &q, 88, NOW, 1, &a);
            fc_limiter_count(&l, NOW, &counts);
            CHECK(counts.live == 1 && a.allowed == !settled);
            drop(&l);
        }
}

/* ---- units that another counts */

static void test_allowances(void)
{
    fc_limiter l = table(64, FC_LIMITER_FULL_OPEN);
    uint64_t left, until, end = NOW + S, now = NOW;
    CHECK(fc_allowance_take(&l, 7, now, 1, &left, &until) == FC_ALLOWANCE_NONE);
    CHECK(fc_allowance_grant(&l, 7, now, 5, end));
    CHECK(fc_allowance_take(&l, 7, now, 2, &left, &until) == FC_ALLOWANCE_TAKEN && left == 3);
    CHECK(until <= end && until > end - (1u << FC_ALLOWANCE_BITS));
    CHECK(fc_allowance_take(&l, 7, now, 4, &left, &until) == FC_ALLOWANCE_NONE);
    CHECK(fc_allowance_take(&l, 8, now, 1, &left, &until) == FC_ALLOWANCE_NONE);
    fc_allowance_give_back(&l, 7, now, 2);
    CHECK(fc_allowance_take(&l, 7, now, 5, &left, &until) == FC_ALLOWANCE_TAKEN && left == 0);

    /* more units keep the earlier end */
    CHECK(fc_allowance_grant(&l, 7, now, 1, end) && fc_allowance_grant(&l, 7, now, 2, end + S));
    CHECK(fc_allowance_take(&l, 7, end, 1, &left, &until) == FC_ALLOWANCE_NONE);
    CHECK(fc_allowance_take(&l, 7, now, 3, &left, &until) == FC_ALLOWANCE_TAKEN);
    CHECK(fc_allowance_grant(&l, 7, now, 2, end + S));
    CHECK(fc_allowance_take(&l, 7, end, 1, &left, &until) == FC_ALLOWANCE_TAKEN && left == 1);

    /* what is over is lost, also what comes back late; it is room for others */
    fc_allowance_give_back(&l, 7, end + S, 1);
    CHECK(fc_allowance_take(&l, 7, end + S, 1, &left, &until) == FC_ALLOWANCE_NONE);

    /* a refusal does not take units away, and units end it */
    now = end + S;
    CHECK(fc_allowance_grant(&l, 7, now, 1, now + S));
    fc_allowance_refuse(&l, 7, now, now + S);
    CHECK(fc_allowance_take(&l, 7, now, 1, &left, &until) == FC_ALLOWANCE_TAKEN);
    fc_allowance_refuse(&l, 7, now, now + S);
    CHECK(fc_allowance_take(&l, 7, now, 1, &left, &until) == FC_ALLOWANCE_REFUSED && until > now);
    fc_allowance_give_back(&l, 7, now, 1);
    CHECK(fc_allowance_take(&l, 7, now, 1, &left, &until) == FC_ALLOWANCE_REFUSED);
    CHECK(fc_allowance_take(&l, 7, now + S, 1, &left, &until) == FC_ALLOWANCE_NONE);
    CHECK(fc_allowance_grant(&l, 7, now, 1, now + S));
    CHECK(fc_allowance_take(&l, 7, now, 1, &left, &until) == FC_ALLOWANCE_TAKEN);

    CHECK(fc_allowance_grant(&l, 9, now, UINT64_MAX / 2, now + S));
    CHECK(fc_allowance_take(&l, 9, now, 1, &left, &until) == FC_ALLOWANCE_TAKEN && left == FC_ALLOWANCE_UNITS_MAX - 1);
    drop(&l);
}

#define USERS 4
#define GRANTS 20000u

static void *use_up(void *ctx)
{
    fc_limiter *l = ctx;
    uint64_t left, until, taken = 0;
    for (uint32_t i = 0; i < GRANTS; i++) {
        fc_allowance_grant(l, 7, NOW, 3, NOW + S);
        for (uint32_t k = 0; k < 3; k++)
            taken += fc_allowance_take(l, 7, NOW, 1, &left, &until) == FC_ALLOWANCE_TAKEN;
        if (i % 5 == 0 && taken) {
            fc_allowance_give_back(l, 7, NOW, 1);
            taken--;
        }
    }
    return (void *)(uintptr_t)taken;
}

/* Threads grant and use: nothing is used twice, nothing is lost. */
static void test_allowances_are_used_once(void)
{
    fc_limiter l = table(64, FC_LIMITER_FULL_OPEN);
    pthread_t threads[USERS];
    uint64_t total = 0, left, until;
    for (int i = 0; i < USERS; i++)
        pthread_create(&threads[i], NULL, use_up, &l);
    for (int i = 0; i < USERS; i++) {
        void *taken;
        pthread_join(threads[i], &taken);
        total += (uintptr_t)taken;
    }
    while (fc_allowance_take(&l, 7, NOW, 1, &left, &until) == FC_ALLOWANCE_TAKEN)
        total++;
    CHECK(total == (uint64_t)USERS * GRANTS * 3);
    drop(&l);
}

int main(void)
{
    test_init();
    test_decide();
    test_clock_steps_back();
    test_open();
    test_keys_are_apart();
    test_room();
    test_full(FC_LIMITER_FULL_OPEN);
    test_full(FC_LIMITER_FULL_CLOSED);
    test_all_or_nothing();
    test_threads_meet();
    test_threads_all();
    test_killed_at_every_instruction();
    test_abandoned_claims();
    test_rivals();
    test_allowances();
    test_allowances_are_used_once();
    return check_done("test_limiter");
}
