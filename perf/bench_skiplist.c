/* The skip list in C: ns of processor time per operation, `what ns` lines. Keys are 8 random bytes unless said
 * otherwise, values 8 bytes; look-ups ask in another random order than keys were inserted. usage: bench_skiplist
 * [keys] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fc/skiplist.h"

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

typedef size_t make_key(char *buf, uint64_t i);

static size_t word_key(char *buf, uint64_t i)
{
    uint64_t word = mix(i);
    memcpy(buf, &word, 8);
    return 8;
}

/* A queue and a priority, a time, an id: the index of jobs. */
static size_t job_key(char *buf, uint64_t i)
{
    uint64_t words[3] = {__builtin_bswap64(i % 4), __builtin_bswap64(mix(i) >> 24), __builtin_bswap64(i)};
    memcpy(buf, words, 24);
    return 24;
}

static size_t text_key(char *buf, uint64_t i) { return (size_t)sprintf(buf, "account:%016lx", mix(i)); }

static size_t rising_key(char *buf, uint64_t i)
{
    uint64_t word = __builtin_bswap64(i);
    memcpy(buf, &word, 8);
    return 8;
}

static void report(const char *kind, const char *what, uint64_t begin, uint64_t n)
{
    printf("%s-%s %.1f\n", kind, what, (double)(now_ns() - begin) / (double)n);
    fflush(stdout);
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_skiplist: %s\n", what);
    exit(1);
}

static void run(const char *kind, make_key *make, uint64_t n)
{
    fc_skiplist l;
    fc_skiplist_cursor c;
    char buf[64];
    if (fc_skiplist_open(&l, 0, FC_SKIPLIST_MAX_BYTES) != 0)
        fail("no memory");
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (fc_skiplist_put(&l, (fc_slice){buf, make(buf, i)}, (fc_slice){(char *)&i, 8}) != 1)
            fail("put");
    report(kind, "insert", begin, n);
    begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (!fc_skiplist_seek(&l, (fc_slice){buf, make(buf, mix(i) % n)}, FC_SKIPLIST_EQ, &c) || c.item.value.n != 8)
            fail("seek");
    report(kind, "lookup", begin, n);
    begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (fc_skiplist_seek(&l, (fc_slice){buf, make(buf, n + mix(i) % n)}, FC_SKIPLIST_EQ, &c))
            fail("miss");
    report(kind, "miss", begin, n);
    begin = now_ns();
    uint64_t sum = 0, seen = 0;
    bool on = fc_skiplist_seek(&l, (fc_slice){0}, FC_SKIPLIST_FIRST, &c);
    for (; on; on = fc_skiplist_next(&l, &c), seen++)
        sum += c.item.value.n;
    report(kind, "iterate", begin, n);
    begin = now_ns();
    for (uint64_t i = 0; i < n / 4; i++)
        sum += fc_skiplist_rank(&l, (fc_slice){buf, make(buf, mix(i) % n)});
    report(kind, "rank", begin, n / 4);
    printf("%s-bytes %.1f\n", kind, (double)fc_skiplist_bytes(&l) / (double)n);
    begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (fc_skiplist_pop(&l, false, NULL) != 1 ||
            fc_skiplist_put(&l, (fc_slice){buf, make(buf, n + i)}, (fc_slice){(char *)&i, 8}) != 1)
            fail("pop and put");
    report(kind, "pop+insert", begin, n);
    begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (fc_skiplist_pop(&l, false, NULL) != 1)
            fail("pop");
    report(kind, "pop", begin, n);
    if (sum == 0 || seen != n)
        fail("sum");
    fc_skiplist_close(&l);
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    if (n < 4)
        fail("at least 4 keys");
    run("word", word_key, n);
    run("job", job_key, n);
    run("text", text_key, n);
    run("rising", rising_key, n);
    return 0;
}
