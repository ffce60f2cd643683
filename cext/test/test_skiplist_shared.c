/* Readers beside a writer, in threads and processes; writers killed at every instruction. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "fc/skiplist.h"
#include "step.h"

enum { SIZE = 4 << 20, KEYS = 600 };

/* Single steps through the thread sanitizer's bookkeeping take a minute, and have one thread only. */
#ifdef __SANITIZE_THREAD__
#define THREADS_WATCHED true
#else
#define THREADS_WATCHED false
#endif

/* Even numbers are always there; odd ones come and go. A value repeats its key, and says how often it was replaced. */
typedef struct value {
    uint64_t number, round, again[6];
} value;

static size_t make_key(char *buf, uint64_t number, bool in_long)
{
    return (size_t)sprintf(buf, in_long ? "a common beginning:%06lu" : "%06lu", number);
}

static int put(fc_skiplist *l, uint64_t number, uint64_t round, bool in_long)
{
    char buf[48];
    value v = {number, round, {number, round, number, round, number, round}};
    fc_slice key = {buf, make_key(buf, number, in_long)};
    return fc_skiplist_put(l, key, (fc_slice){(char *)&v, 16 + round % 4 * 16});
}

static int drop(fc_skiplist *l, uint64_t number, bool in_long)
{
    char buf[48];
    return fc_skiplist_remove(l, (fc_slice){buf, make_key(buf, number, in_long)}, NULL);
}

/* The number if key and value belong together. */
static uint64_t number_of(const fc_skiplist_item *item, bool in_long)
{
    char buf[48];
    value v = {0};
    if (item->value.n < 16 || item->value.n > sizeof v)
        return UINT64_MAX;
    memcpy(&v, item->value.p, item->value.n);
    for (size_t i = 0; i < (item->value.n - 16) / 16; i++)
        if (v.again[2 * i] != v.number || v.again[2 * i + 1] != v.round)
            return UINT64_MAX;
    size_t n = make_key(buf, v.number % 1000000, in_long);
    return n == item->key.n && memcmp(buf, item->key.p, n) == 0 ? v.number : UINT64_MAX;
}

typedef struct shared {
    fc_skiplist l;
    bool in_long, stop;
    unsigned long reads, wrong;
} shared;

static bool stopped(shared *s) { return __atomic_load_n(&s->stop, __ATOMIC_ACQUIRE); }

/* A scan sees every even number once, in order, and odd ones at most once. */
static unsigned long scan(const fc_skiplist *l, bool in_long, bool backwards)
{
    char buf[512];
    fc_skiplist_cursor c;
    unsigned long wrong = 0;
    uint64_t expected = backwards ? KEYS - 2 : 0;
    fc_skiplist_op op = backwards ? FC_SKIPLIST_LAST : FC_SKIPLIST_FIRST;
    int found = fc_skiplist_read(l, (fc_slice){0}, op, &c, buf, sizeof buf);
    for (; found == 1; found = fc_skiplist_read_next(l, &c, backwards, buf, sizeof buf)) {
        uint64_t number = number_of(&c.item, in_long);
        wrong += number >= KEYS;
        wrong += number % 2 == 0 ? number != expected : number + 1 - expected != (backwards ? 2 : 0);
        if (number % 2 == 0)
            expected = backwards ? number - 2 : number + 2;
    }
    return wrong + (found != 0) + (expected != (backwards ? -2ull : KEYS));
}

static unsigned long look_up(const fc_skiplist *l, bool in_long, uint64_t number)
{
    char key[48], buf[256];
    fc_skiplist_cursor c;
    fc_slice k = {key, make_key(key, number, in_long)};
    int found = fc_skiplist_read(l, k, FC_SKIPLIST_EQ, &c, buf, sizeof buf);
    unsigned long wrong = number % 2 == 0 ? found != 1 : found < 0;
    wrong += found == 1 && number_of(&c.item, in_long) != number;
    found = fc_skiplist_read(l, k, FC_SKIPLIST_LE, &c, buf, sizeof buf);
    wrong += found != 1 || number - number_of(&c.item, in_long) > number % 2;
    found = fc_skiplist_read(l, k, FC_SKIPLIST_GE, &c, buf, sizeof buf);
    wrong += number < KEYS - 1 && (found != 1 || number_of(&c.item, in_long) - number > number % 2);
    return wrong;
}

static void *read_it(void *arg)
{
    shared *s = arg;
    unsigned long wrong = 0, reads = 0;
    uint64_t number = 7;
    while (!stopped(s) || reads < 500) {
        number = (number * 31 + 17) % KEYS;
        wrong += look_up(&s->l, s->in_long, number);
        if (reads % 100 == 0)
            wrong += scan(&s->l, s->in_long, reads / 100 % 2);
        reads++;
    }
    __atomic_fetch_add(&s->wrong, wrong, __ATOMIC_RELAXED);
    __atomic_fetch_add(&s->reads, reads, __ATOMIC_RELAXED);
    return NULL;
}

/* Odd numbers in and out, all of one end, then the other, so that blocks empty, merge and split; in every second round
 * even ones are replaced. */
static void churn(fc_skiplist *l, bool in_long, uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++)
        for (uint64_t i = 0; i < KEYS; i++) {
            uint64_t number = (i * 7 + round) % KEYS;
            if (number % 2 == 0) {
                if (round % 2 == 0)
                    put(l, number, round + i, in_long);
            } else if (i / 200 % 2 == round / 2 % 2)
                put(l, number, round, in_long);
            else
                drop(l, number, in_long);
        }
}

static void *make_memory(void)
{
    void *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void fill(fc_skiplist *l, bool in_long)
{
    for (uint64_t number = 0; number < KEYS; number += 2)
        CHECK(put(l, number, 0, in_long) == 1);
}

static void test_threads(bool in_long)
{
    shared s = {.in_long = in_long};
    void *memory = make_memory();
    CHECK(fc_skiplist_share(&s.l, memory, SIZE, 1) == 0);
    fill(&s.l, in_long);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, read_it, &s) == 0);
    churn(&s.l, in_long, 60);
    for (uint64_t number = 1; number < KEYS; number += 2) /* and now few and far between, and full again */
        drop(&s.l, number, in_long);
    churn(&s.l, in_long, 10);
    __atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK(s.wrong == 0 && s.reads >= 1000);
    CHECK(fc_skiplist_check(&s.l) == NULL);
    munmap(memory, SIZE);
}

/* A memtable: keys are only added, readers use pointers into the list. */
static void *read_in_place(void *arg)
{
    shared *s = arg;
    unsigned long wrong = 0, reads = 0;
    while (!stopped(s) || reads < 20) {
        fc_skiplist_cursor c;
        uint64_t last = 0, seen = 0, at_least = fc_skiplist_count(&s->l);
        bool on = fc_skiplist_seek(&s->l, (fc_slice){0}, FC_SKIPLIST_FIRST, &c);
        for (; on; on = fc_skiplist_next(&s->l, &c)) {
            uint64_t word;
            memcpy(&word, c.item.key.p, 8);
            word = __builtin_bswap64(word);
            wrong += (seen++ && word <= last) || memcmp(c.item.key.p, c.item.value.p, 8) != 0;
            last = word;
        }
        wrong += seen < at_least;
        reads++;
    }
    __atomic_fetch_add(&s->wrong, wrong, __ATOMIC_RELAXED);
    return NULL;
}

static void test_memtable(void)
{
    shared s = {0};
    CHECK(fc_skiplist_open(&s.l, SIZE, SIZE) == 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, read_in_place, &s) == 0);
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t word = i * 0x9e3779b97f4a7c15ull;
        CHECK(fc_skiplist_put(&s.l, (fc_slice){(char *)&word, 8}, (fc_slice){(char *)&word, 8}) == 1);
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK(s.wrong == 0);
    fc_skiplist_close(&s.l);
}

static void test_roles(void)
{
    void *memory = make_memory();
    fc_skiplist a, b;
    CHECK(fc_skiplist_share(&a, memory, 100, 1) == FC_SKIPLIST_ESIZE);
    CHECK(fc_skiplist_share(&a, (char *)memory + 4, SIZE - 8, 1) == FC_SKIPLIST_ESIZE);
    CHECK(fc_skiplist_share(&a, memory, SIZE, 1) == 0);
    CHECK(fc_skiplist_share(&b, memory, SIZE, 2) == FC_SKIPLIST_EFORMAT);
    CHECK(fc_skiplist_share(&b, memory, SIZE - 64, 1) == FC_SKIPLIST_EFORMAT);
    CHECK(fc_skiplist_share(&b, memory, SIZE, 1) == 0);
    CHECK(fc_skiplist_writer(&b) == 0 && fc_skiplist_lock(&a, 0) == 0 && fc_skiplist_writer(&b) == (uint32_t)getpid());
    CHECK(put(&a, 4, 0, false) == 1 && put(&a, 2, 3, false) == 1);
    pid_t child = fork();
    if (child == 0)
        _exit(fc_skiplist_lock(&b, 1000000) == FC_SKIPLIST_EBUSY ? 0 : 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    fc_skiplist_unlock(&a);
    CHECK(fc_skiplist_writer(&b) == 0);

    char buf[256];
    fc_skiplist_cursor c;
    fc_slice any = {0};
    CHECK(fc_skiplist_read(&b, any, FC_SKIPLIST_FIRST, &c, buf, 10) == FC_SKIPLIST_ESPACE && c.need == 6 + 64);
    CHECK(fc_skiplist_read(&b, any, FC_SKIPLIST_FIRST, &c, buf, c.need) == 1 && number_of(&c.item, false) == 2);
    CHECK(fc_skiplist_read_next(&b, &c, false, buf, 20) == FC_SKIPLIST_ESPACE && c.need == 6 + 6 + 16);
    CHECK(fc_skiplist_read_next(&b, &c, false, buf, c.need) == 1 && number_of(&c.item, false) == 4);
    CHECK(fc_skiplist_read_next(&b, &c, false, buf, sizeof buf) == 0);
    CHECK(fc_skiplist_read_next(&b, &c, true, buf, sizeof buf) == 1 && number_of(&c.item, false) == 2);
    memset(memory, 7, 64);
    CHECK(fc_skiplist_share(&b, memory, SIZE, 1) == FC_SKIPLIST_EFORMAT);
    munmap(memory, SIZE);
}

/* What the victims do, each with blocks that are full, sparse or about to go. */
typedef struct victim {
    fc_skiplist *l;
    int what;
} victim;

enum { PUT_SPLIT, PUT_REPLACE, REMOVE_MERGE, REMOVE_LAST_OF_BLOCK, CLEAR, WHATS };

static void act(void *arg)
{
    const victim *v = arg;
    switch (v->what) {
    case PUT_SPLIT: put(v->l, 101, 9, true); break;
    case PUT_REPLACE: put(v->l, 100, 9, true); break;
    case REMOVE_MERGE:
    case REMOVE_LAST_OF_BLOCK: drop(v->l, 1, true); break;
    default: fc_skiplist_clear(v->l);
    }
}

static bool touches(int what, uint64_t number)
{
    return what == PUT_SPLIT ? number == 101 : what == PUT_REPLACE ? number == 100 : what == CLEAR || number == 1;
}

/* A list in which the victim's act meets what it is named after: 14 levels of keys would be too slow to step
 * through. */
static void prepare(fc_skiplist *l, int what)
{
    fc_skiplist_clear(l);
    if (what == REMOVE_MERGE || what == REMOVE_LAST_OF_BLOCK) {
        for (uint64_t n = 0; n < 14 * 16; n++)
            CHECK(put(l, n + 1, 0, true) == 1);
        for (uint64_t n = 2; n <= 28; n++) /* one key is left of the first two blocks */
            if (what == REMOVE_LAST_OF_BLOCK ? n <= 14 : n > 4 && n != 15 && n != 20)
                CHECK(drop(l, n, true) == 1);
    } else {
        for (uint64_t n = 0; n < 14 * 15; n++)
            CHECK(put(l, n * 2, 0, true) == 1);
    }
}

/* Every number that the victim did not mean is there, readable and writable; the structure is whole after recovery. */
static void check_readers(const fc_skiplist *l, const bool *present, int what)
{
    char key[48], buf[256];
    fc_skiplist_cursor c;
    for (uint64_t n = 0; n < 500; n += n < 30 || (n > 95 && n < 110) ? 1 : 13) {
        fc_slice k = {key, make_key(key, n, true)};
        int found = fc_skiplist_read(l, k, FC_SKIPLIST_EQ, &c, buf, sizeof buf);
        CHECK(found == present[n] || (touches(what, n) && found >= 0));
        CHECK(found != 1 || number_of(&c.item, true) == n);
    }
}

static unsigned long scan_count(const fc_skiplist *l, bool backwards)
{
    char buf[512];
    fc_skiplist_cursor c;
    unsigned long n = 0;
    fc_skiplist_op op = backwards ? FC_SKIPLIST_LAST : FC_SKIPLIST_FIRST;
    int found = fc_skiplist_read(l, (fc_slice){0}, op, &c, buf, sizeof buf);
    for (; found == 1; found = fc_skiplist_read_next(l, &c, backwards, buf, sizeof buf))
        n++;
    return n;
}

static void test_killed_at_every_instruction(void)
{
    void *memory = make_memory(), *copy = make_memory();
    char *before = malloc(SIZE);
    fc_skiplist l, seen;
    CHECK(fc_skiplist_share(&l, memory, SIZE, 1) == 0);
    for (int what = 0; what < WHATS; what++) {
        bool present[512] = {false};
        prepare(&l, what);
        CHECK(fc_skiplist_check(&l) == NULL);
        for (uint64_t n = 0; n < 500; n++) {
            char key[48];
            fc_skiplist_cursor c;
            present[n] = fc_skiplist_seek(&l, (fc_slice){key, make_key(key, n, true)}, FC_SKIPLIST_EQ, &c);
        }
        unsigned long count = fc_skiplist_count(&l), steps = 0, different = 0;
        uint64_t bytes = fc_skiplist_bytes(&l);
        CHECK(fc_skiplist_lock(&l, 0) == 0);
        victim v = {&l, what};
        pid_t child = step_start(act, &v);
        if (child < 0) {
            puts("test_skiplist_shared: tracing is forbidden here; single steps left out");
            break;
        }
        memcpy(before, memory, bytes + 4096);
        for (; step_once(child); steps++) {
            if (memcmp(before, memory, bytes + 4096) == 0)
                continue;
            different++;
            memcpy(before, memory, bytes + 4096);
            memcpy(copy, memory, bytes + 4096);
            CHECK(fc_skiplist_share(&seen, copy, SIZE, 1) == 0);
            check_readers(&seen, present, what);
            unsigned long forward = scan_count(&seen, false);
            CHECK(what == CLEAR || (forward + 1 >= count && forward <= count + 1));
            CHECK(forward == scan_count(&seen, true));
            CHECK(fc_skiplist_lock(&seen, 0) == 0);
            const char *wrong = fc_skiplist_check(&seen);
            if (wrong)
                fprintf(stderr, "victim %d, step %lu: %s\n", what, steps, wrong);
            CHECK(wrong == NULL);
            check_readers(&seen, present, what);
            CHECK(fc_skiplist_count(&seen) == scan_count(&seen, false));
            CHECK(put(&seen, 701, 1, true) == 1 && put(&seen, 2, 1, true) >= 0 && drop(&seen, 701, true) == 1);
        }
        CHECK(different > 3);
        fc_skiplist_unlock(&l);
    }
    free(before);
    munmap(memory, SIZE);
    munmap(copy, SIZE);
}

/* A writer is killed and replaced, again and again, while another process reads. */
static void test_writers_killed(void)
{
    shared *s = make_memory();
    void *memory = make_memory();
    *s = (shared){.in_long = true};
    CHECK(fc_skiplist_share(&s->l, memory, SIZE, 1) == 0);
    fill(&s->l, true);
    pid_t reader = fork();
    if (reader == 0) {
        read_it(s);
        _exit(s->wrong != 0);
    }
    for (int n = 0; n < 30; n++) {
        int ready[2];
        char c;
        CHECK(pipe(ready) == 0);
        pid_t writer = fork();
        if (writer == 0) {
            if (fc_skiplist_lock(&s->l, 1000000000) != 0 || write(ready[1], "x", 1) != 1)
                _exit(1);
            churn(&s->l, true, 1000000);
            _exit(1);
        }
        CHECK(read(ready[0], &c, 1) == 1);
        usleep((useconds_t)(n * 137)); /* the moment of death must not depend on any event */
        kill(writer, SIGKILL);
        waitpid(writer, NULL, 0);
        close(ready[0]);
        close(ready[1]);
    }
    CHECK(fc_skiplist_lock(&s->l, 0) == 0);
    CHECK(fc_skiplist_check(&s->l) == NULL);
    CHECK(fc_skiplist_bytes_used(&s->l) < 300000);
    fc_skiplist_unlock(&s->l);
    __atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
    int status;
    CHECK(waitpid(reader, &status, 0) == reader && status == 0);
    munmap(memory, SIZE);
    munmap(s, SIZE);
}

int main(void)
{
    test_roles();
    test_threads(false);
    test_threads(true);
    test_memtable();
    if (!THREADS_WATCHED)
        test_killed_at_every_instruction();
    test_writers_killed();
    return check_done("test_skiplist_shared");
}
