/* The shared cache with many at once, and with some of them stopped or dead. */
#include <pthread.h>

#include "cache_test.h"
#include "fc/clock.h"
#include "step.h"

/* The thread sanitizer follows threads, not children that are stepped through or killed. */
#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

/* Its checks make four instructions of one; in between nothing is stored. */
#ifdef __SANITIZE_ADDRESS__
#define STRIDE 4
#else
#define STRIDE 1
#endif

static char victim_value[1900];

static void fill(fc_cache *c)
{
    char name[16];
    for (uint32_t i = 0; i < 10; i++) {
        key_name(name, i);
        CHECK(put(c, (fc_slice){name, 11}, (fc_slice){victim_value, 300}, 100, 1) == 1);
    }
    CHECK(put(c, S("victim"), S("before"), 100, 1) == 1);
}

static void act_set(void *arg) { put(arg, S("victim"), (fc_slice){victim_value, 1500}, 100, 1); }
static void act_delete(void *arg) { fc_cache_delete(arg, S("victim"), 1); }
static void act_expire(void *arg) { fc_cache_expire(arg, 100); }

static void act_stream(void *arg)
{
    fc_cache_put p;
    fc_cache_new n = {.key = S("victim"), .fresh_until = 100};
    fc_cache_put_begin(arg, &p, &n, 1);
    fc_cache_put_write(arg, &p, victim_value, 200, 1);
    fc_cache_put_write(arg, &p, victim_value + 200, 900, 1);
    fc_cache_put_commit(arg, &p, 1);
    fc_cache_put_begin(arg, &p, &n, 1);
    fc_cache_put_abort(arg, &p);
}

static void act_clear(void *arg)
{
    fc_cache_clear(arg);
    put(arg, S("victim"), S("after"), 100, 1);
}

/* Finds the lock in a dead process's hands and is killed while it computes the shard anew. */
static void act_repair(void *arg)
{
    fc_cache *c = arg;
    cache_shard_of(c, 0)->lock = (uint64_t)7 << 32 | CACHE_DEAD;
    put(c, S("victim"), S("after"), 100, 1);
}

/* Somebody died anywhere in `act`: readers see a whole value, or none if it was taking that away, before and after the
 * next writer has put all in order. */
static void check_victim(const fc_cache *c, bool always)
{
    char out[2000];
    int64_t n = get(c, S("victim"), 1, out);
    CHECK((n == -1 && !always) || (n == 6 && memcmp(out, "before", 6) == 0) ||
          (n == 5 && memcmp(out, "after", 5) == 0) ||
          ((n == 1500 || n == 1100) && memcmp(out, victim_value, (size_t)n) == 0));
}

static void check_survivor(fc_cache *c, bool always)
{
    char out[2000];
    check_victim(c, always);
    CHECK(fc_cache_delete(c, S("absent"), 1) == 0); /* whoever takes the lock repairs */
    check_victim(c, always);
    CHECK(put(c, S("other"), (fc_slice){victim_value, 1800}, 100, 1) == 1);
    CHECK(holds(c, S("other"), (fc_slice){victim_value, 1800}, 1));
    CHECK(put(c, S("victim"), S("mine"), 100, 1) == 1 && holds(c, S("victim"), S("mine"), 1));
    CHECK(fc_cache_delete(c, S("victim"), 1) == 1 && get(c, S("victim"), 1, out) == -1);
    fc_cache_expire(c, 1); /* sweeps records */
    CHECK(cache_shard_of(c, 0)->pending == 0);
    audit(c);
}

/* `always`: the key has a value at every moment, an old or a new one. */
static void step_through(void (*act)(void *), const char *name, bool always)
{
    fc_cache c = open_new(&small), copy = open_new(&small);
    size_t size = fc_cache_size(&small);
    char *before = malloc(size);
    fill(&c);
    memcpy(before, c.base, size);
    pid_t child = step_start(act, &c);
    if (child < 0) {
        puts("test_sharedcache_many: tracing is forbidden here; single steps left out");
    } else {
        long steps = 0, held = 0;
        while (step_once(child)) {
            steps++;
            bool inside = (uint32_t)cache_shard_of(&c, 0)->lock != 0;
            if (steps % (inside ? STRIDE : 7) != 0) /* nothing is changed outside */
                continue;
            held += inside;
            memcpy(copy.base, c.base, size);
            check_victim(&copy, always);
            fc_cache_release(&copy, (uint32_t)child);
            check_survivor(&copy, always);
        }
        CHECK(steps > 300 && held > 100);
        /* With real deaths every so often: nobody told anybody, the owner is found dead by his number. */
        for (long n = 1; n < steps; n += steps * (steps / 60000 + 1) / 25 + 1) {
            memcpy(c.base, before, size);
            child = step_start(act, &c);
            for (long i = 0; i < n; i++)
                step_once(child);
            step_kill(child);
            check_survivor(&c, always);
        }
        printf("test_sharedcache_many: %s: %ld steps, %ld with the lock\n", name, steps, held);
    }
    free(before);
    close_all(&c);
    close_all(&copy);
}

/* Somebody found a long value and reads it at any moment of another's clearing and computing anew: what he is told to
 * believe is that value. Its head is the lowest of its blocks and the others lie out of order, so that their links
 * change before a walk from either end meets the head. */
static void test_read_through_a_clear(void)
{
    fc_cache c = open_new(&small);
    fc_cache_item item;
    char name[16], value[1500], out[1500];
    make_value(value, 1, 2, sizeof value);
    fill(&c);
    for (uint32_t i = 1; i <= 10; i++) { /* the last given back is the first taken: 0, 9, 8... */
        key_name(name, i % 10);
        fc_cache_delete(&c, (fc_slice){name, 11}, 1);
    }
    CHECK(put(&c, S("long"), (fc_slice){value, sizeof value}, 100, 1) == 1);
    CHECK(fc_cache_find(&c, S("long"), 1, &item) == FC_CACHE_FRESH);
    pid_t child = step_start(act_clear, &c);
    unsigned long believed = 0, wrong = 0;
    while (child > 0 && step_once(child)) {
        fc_cache_item again = item;
        if (!fc_cache_read(&c, &again, 0, out, sizeof value))
            continue;
        believed++;
        wrong += memcmp(out, value, sizeof value) != 0;
    }
    CHECK(child < 0 || believed > 100);
    CHECK(wrong == 0);
    close_all(&c);
}

/* Nothing of ours scribbles over a shard; should anything else, repairing it ends in good order all the same. */
static void test_repair_of_nonsense(void)
{
    enum { ROUNDS = 300 };
    fc_cache c = open_new(&small);
    cache_shard *s = cache_shard_of(&c, 0);
    uint64_t state = 17;
    for (int round = 0; round < ROUNDS; round++) {
        fill(&c);
        for (int n = 0; n < 6; n++) {
            uint64_t dice = fc_hash_next(&state), word = dice >> 40;
            uint32_t b = 1 + (uint32_t)(dice % c.blocks);
            switch (dice >> 20 & 3) {
            case 0: cache_meta_of(&c, s)[b].next = word & 64 ? (uint32_t)word % c.blocks : (uint32_t)word; break;
            case 1: cache_meta_of(&c, s)[b].version++; break;
            case 2: cache_index_of(&c, s)[word % (c.buckets * CACHE_WAYS)] = (word & 64 ? word : b) << 32; break;
            default: ((cache_word *)(void *)cache_entry_of(&c, s, b))[word % 9] = fc_hash_next(&state); break;
            }
        }
        s->lock = (uint64_t)round << 32 | CACHE_DEAD;
        CHECK(put(&c, S("x"), S("v"), 100, 1) == 1);
        audit(&c);
    }
    close_all(&c);
}

static void test_killed_at_every_instruction(void)
{
    step_through(act_set, "set", true);
    step_through(act_delete, "delete", false);
    step_through(act_stream, "stream", true);
    step_through(act_expire, "expire", false);
    step_through(act_clear, "clear", false);
    step_through(act_repair, "repair", true);
}

/* A writer that is stopped with the lock in its hands. */
static void test_stopped_writer(void)
{
    fc_cache c = open_new(&small);
    char out[2000];
    int status;
    c.wait_ns = 20000000;
    CHECK(put(&c, S("a"), S("1"), 100, 1) == 1 && put(&c, S("b"), S("2"), 100, 1) == 1);
    CHECK(put(&c, S("c"), S("3"), 100, 1) == 1);
    pid_t child = fork();
    if (child == 0) {
        cache_lock(&c, 0);
        raise(SIGSTOP);
        cache_unlock(&c, 0);
        _exit(0);
    }
    waitpid(child, &status, WUNTRACED);
    uint64_t begin, quickest = UINT64_MAX;
    for (int i = 0; i < 20; i++) { /* one that no other process interrupts is enough */
        begin = fc_monotonic_ns();
        CHECK(get(&c, S("a"), 1, out) == 1 && out[0] == '1');
        uint64_t taken = fc_monotonic_ns() - begin;
        quickest = taken < quickest ? taken : quickest;
    }
    CHECK(quickest < c.wait_ns / 2);
    begin = fc_monotonic_ns();
    CHECK(put(&c, S("a"), S("new"), 100, 1) == FC_CACHE_EBUSY);
    CHECK(fc_monotonic_ns() - begin >= c.wait_ns && fc_monotonic_ns() - begin < 50 * c.wait_ns);
    CHECK(get(&c, S("a"), 1, out) == -1); /* the old value must not be taken for the new one */
    begin = fc_monotonic_ns();
    for (int i = 0; i < 100; i++)
        CHECK(put(&c, S("a"), S("new"), 100, 1) == FC_CACHE_EBUSY);
    CHECK(fc_monotonic_ns() - begin < 50 * c.wait_ns); /* waited for once, not a hundred times */
    CHECK(fc_cache_delete(&c, S("b"), 1) == FC_CACHE_EBUSY && get(&c, S("b"), 1, out) == -1);
    CHECK(fc_cache_touch(&c, S("c"), 200, 0, NULL, 1) == FC_CACHE_EBUSY && get(&c, S("c"), 1, out) == 1);
    CHECK(fc_cache_claim(&c, S("d"), 200, 1) == FC_CACHE_EBUSY && fc_cache_expire(&c, 1000) == 0);
    fc_cache_new n = {.key = S("c"), .value = S("x"), .fresh_until = 100};
    CHECK(fc_cache_set(&c, &n, true, 1) == FC_CACHE_EBUSY && get(&c, S("c"), 1, out) == 1);

    kill(child, SIGCONT);
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(put(&c, S("a"), S("newer"), 100, 1) == 1 && holds(&c, S("a"), S("newer"), 1));
    CHECK(fc_cache_expire(&c, 1) == 1); /* b, hidden all the while */
    audit(&c);

    /* Now one that dies in its sleep: found dead when it is a zombie already, and after. */
    for (int reaped = 0; reaped < 2; reaped++) {
        child = fork();
        if (child == 0) {
            cache_lock(&c, 0);
            raise(SIGSTOP);
        }
        waitpid(child, &status, WUNTRACED);
        CHECK(put(&c, S("a"), S("new"), 100, 1) == FC_CACHE_EBUSY);
        kill(child, SIGKILL);
        siginfo_t info;
        waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
        if (reaped)
            waitpid(child, NULL, 0);
        CHECK(put(&c, S("a"), S("new"), 100, 1) == 1 && holds(&c, S("a"), S("new"), 1));
        waitpid(child, NULL, 0);
    }
    CHECK(cache_shard_of(&c, 0)->repairs == 2);
    audit(&c);
    close_all(&c);
}

/* Insertions of dead processes do not keep their room; a child has none of its parent's. */
static void test_dead_insertions(void)
{
    fc_cache c = open_new(&small);
    fc_cache_put p;
    fc_cache_new n = {.key = S("k"), .value = {NULL, 500}, .fresh_until = 100};
    for (int i = 0; i < 3 * FC_CACHE_INSERTIONS; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(fc_cache_put_begin(&c, &p, &n, 1) != 0);
        int status;
        waitpid(child, &status, 0);
        CHECK(status == 0);
    }
    CHECK(cache_shard_of(&c, 0)->pending > 0 && cache_shard_of(&c, 0)->pending <= c.blocks / 2);
    CHECK(put(&c, S("x"), (fc_slice){victim_value, 1800}, 100, 1) == 1);
    fc_cache_expire(&c, 1);
    CHECK(cache_shard_of(&c, 0)->pending == 0);
    CHECK(fc_cache_put_begin(&c, &p, &n, 1) == 0);
    pid_t child = fork();
    if (child == 0) {
        int wrong = fc_cache_put_write(&c, &p, "x", 1, 1) != FC_CACHE_ELOST;
        fc_cache_put_abort(&c, &p);
        _exit(wrong || fc_cache_put_commit(&c, &p, 1) != FC_CACHE_ELOST);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    CHECK(fc_cache_put_write(&c, &p, "x", 1, 1) == 0 && fc_cache_put_commit(&c, &p, 1) == 1);
    CHECK(holds(&c, n.key, S("x"), 1));
    child = fork();
    if (child == 0)
        _exit(fc_cache_put_begin(&c, &p, &n, 1) != 0);
    waitpid(child, &status, 0);
    fc_cache_release(&c, (uint32_t)child);
    CHECK(status == 0 && cache_shard_of(&c, 0)->pending == 0);
    audit(&c);
    close_all(&c);
}

/* --- many at once ------------------------------------------------------------------------------------------------- */

enum { KEYS = 150 };

typedef struct worker {
    fc_cache *c;
    uint64_t seed;
    uint64_t steps; /* to make; 0: for ever */
    uint64_t *wrong;
    char *value, *out;
} worker;

/* One step of mixed work; whatever is read must be whole and under its own key. */
static void work(worker *w, uint64_t now)
{
    uint64_t dice = fc_hash_next(&w->seed);
    uint32_t k = (uint32_t)(dice % KEYS), kind = dice >> 20 & 63;
    char name[16];
    key_name(name, k);
    fc_slice key = {name, 11};
    if (kind < 40) {
        int64_t n = get(w->c, key, now, w->out);
        if (n == -2 || (n >= 0 && !whole(w->out, n, k)))
            __atomic_fetch_add(w->wrong, 1, __ATOMIC_RELAXED);
    } else if (kind < 56) {
        uint32_t n = 8 + (uint32_t)(dice >> 32) % (kind == 40 ? 60000 : 1200);
        put(w->c, key, make_value(w->value, k, (uint32_t)(dice >> 13), n), now + 1000000000, now);
    } else if (kind < 58) {
        fc_cache_delete(w->c, key, now);
    } else if (kind == 58) {
        fc_cache_put p;
        fc_cache_new n = {.key = key, .fresh_until = now + 1000000000};
        fc_slice v = make_value(w->value, k, (uint32_t)(dice >> 13), 3000);
        if (fc_cache_put_begin(w->c, &p, &n, now) != 0)
            return;
        if (fc_cache_put_write(w->c, &p, v.p, 1000, now) != 0 ||
            fc_cache_put_write(w->c, &p, v.p + 1000, 2000, now) != 0 || (dice >> 40) % 4 == 0)
            fc_cache_put_abort(w->c, &p);
        else
            fc_cache_put_commit(w->c, &p, now);
    } else if (kind == 59) {
        fc_cache_touch(w->c, key, now + 500000000, 0, NULL, now);
    } else if (kind == 60) {
        put_tagged(w->c, S("tagged"), S("red"), S("blue"));
        fc_cache_invalidate(w->c, S("red"), dice >> 32 & 1);
    } else if (kind == 61 && (dice >> 32) % 512 == 0) {
        fc_cache_clear(w->c);
    } else if (kind == 62 && (dice >> 32) % 64 == 0) {
        fc_cache_expire(w->c, now);
    }
}

static void *work_thread(void *arg)
{
    worker *w = arg;
    w->value = malloc(VALUE_MAX);
    w->out = malloc(VALUE_MAX);
    for (uint64_t i = 0; i < w->steps; i++)
        work(w, fc_monotonic_ns());
    free(w->value);
    free(w->out);
    return NULL;
}

static const fc_cache_options busy = {
    .capacity = 512 << 10, .item_max = 65536, .shards = 2, .block = 256, .tag_slots = 64, .key = {5, 6}};

static void test_threads(void)
{
    enum { THREADS = 4 };
    fc_cache c = open_new(&busy);
    pthread_t threads[THREADS];
    worker workers[THREADS];
    uint64_t wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.c = &c, .seed = (uint64_t)i * 977 + 5, .steps = 20000, .wrong = &wrong};
        pthread_create(&threads[i], NULL, work_thread, &workers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(wrong == 0);
    fc_cache_stats stats;
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.stored > 1000 && stats.evicted > 0 && stats.repairs == 0 && stats.pending == 0);
    audit(&c);
    close_all(&c);
}

static void *replace_for_ever(void *arg)
{
    worker *w = arg;
    for (uint64_t i = 0; !__atomic_load_n(&w->steps, __ATOMIC_RELAXED); i++) {
        put(w->c, S("replaced"), (fc_slice){victim_value, 1 + i % 500}, FC_CACHE_NEVER, 1);
        put(w->c, S("takes what is given back"), (fc_slice){victim_value, 1 + i % 300}, FC_CACHE_NEVER, 1);
    }
    return NULL;
}

/* A key whose value is replaced all the time always has one. */
static void test_no_gap(void)
{
    fc_cache c = open_new(&small);
    fc_cache_item item;
    worker w = {.c = &c};
    pthread_t thread;
    uint64_t misses = 0;
    CHECK(put(&c, S("replaced"), S("v"), FC_CACHE_NEVER, 1) == 1);
    pthread_create(&thread, NULL, replace_for_ever, &w);
    uint64_t until = fc_monotonic_ns() + 400000000;
    for (uint64_t i = 0; i % 64 != 0 || fc_monotonic_ns() < until; i++)
        misses += fc_cache_find(&c, S("replaced"), 1, &item) != FC_CACHE_FRESH;
    __atomic_store_n(&w.steps, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(misses == 0);
    audit(&c);
    close_all(&c);
}

/* Processes that work and are killed at random, while one goes on; FASTCORE_SOAK_SECONDS makes it longer. */
static void test_killed_at_random(void)
{
    enum { WORKERS = 3 };
    const char *soak = getenv("FASTCORE_SOAK_SECONDS");
    uint64_t until = fc_monotonic_ns() + (uint64_t)((soak ? atof(soak) : 1.5) * 1e9), kills = 0, slowest = 0;
    fc_cache c = open_new(&busy);
    uint64_t *wrong = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t workers[WORKERS] = {0};
    worker me = {.c = &c, .seed = 99, .wrong = wrong, .value = malloc(VALUE_MAX), .out = malloc(VALUE_MAX)};
    for (uint64_t k = 0; fc_monotonic_ns() < until; k++) {
        int i = (int)(k % WORKERS);
        if (workers[i] != 0) {
            step_kill(workers[i]);
            kills++;
        }
        workers[i] = fork();
        if (workers[i] == 0) {
            worker w = me;
            w.seed = k * 31 + 7;
            for (;;)
                work(&w, fc_monotonic_ns());
        }
        for (int n = 0; n < 50; n++) {
            uint64_t begin = fc_monotonic_ns();
            work(&me, begin);
            uint64_t taken = fc_monotonic_ns() - begin;
            slowest = taken > slowest ? taken : slowest;
        }
    }
    for (int i = 0; i < WORKERS; i++)
        if (workers[i] != 0)
            step_kill(workers[i]);
    CHECK(*wrong == 0);
    for (uint32_t no = 0; no < busy.shards; no++) { /* the last dead are found */
        CHECK(cache_enter(&c, no) != NULL);
        cache_unlock(&c, no);
    }
    fc_cache_expire(&c, fc_monotonic_ns());
    fc_cache_stats stats;
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.pending == 0 && stats.bytes <= stats.capacity && kills > 10);
    audit(&c);
    printf("test_sharedcache_many: %lu kills, %lu repairs, %lu stored, slowest operation %lu us\n",
           (unsigned long)kills, (unsigned long)stats.repairs, (unsigned long)stats.stored,
           (unsigned long)(slowest / 1000));
    free(me.value);
    free(me.out);
    munmap(wrong, 4096);
    close_all(&c);
}

int main(void)
{
    make_value(victim_value, 1, 1, sizeof victim_value);
    test_threads();
    test_no_gap();
    if (!UNDER_TSAN) {
        test_read_through_a_clear();
        test_repair_of_nonsense();
        test_killed_at_every_instruction();
        test_stopped_writer();
        test_dead_insertions();
        test_killed_at_random();
    }
    return check_done("test_sharedcache_many");
}
