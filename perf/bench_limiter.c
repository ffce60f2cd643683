/* What a check costs in C, best of several runs: lines of "name ns". Compiled and run by perf/bench_limiter.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fc/clock.h"
#include "fc/limiter.h"

enum { KEYS = 1000, LOOPS = 1000, RUNS = 9 };

static char names[KEYS][16];
static size_t lengths[KEYS];
static fc_limiter table;
static fc_gcra quota;
static uint64_t admitted; /* so that nothing is optimised away */

static void decision(void)
{
    fc_gcra_answer a;
    uint64_t tat = 0, now = 1;
    for (int i = 0; i < KEYS * LOOPS; i++) {
        tat = fc_gcra_decide(&quota, tat, now += 40, 1, &a);
        admitted += a.allowed;
    }
}

static void check_given(void)
{
    fc_gcra_answer a;
    uint64_t now = fc_monotonic_ns();
    for (int n = 0; n < LOOPS; n++)
        for (int i = 0; i < KEYS; i++) {
            fc_limiter_hit(&table, &quota, fc_hash(&table.key, names[i], lengths[i]), now += 40, 1, &a);
            admitted += a.allowed;
        }
}

static void check_clock(void)
{
    fc_gcra_answer a;
    for (int n = 0; n < LOOPS; n++)
        for (int i = 0; i < KEYS; i++) {
            fc_limiter_hit(&table, &quota, fc_hash(&table.key, names[i], lengths[i]), fc_monotonic_ns(), 1, &a);
            admitted += a.allowed;
        }
}

static void clock_alone(void)
{
    for (int i = 0; i < KEYS * LOOPS; i++)
        admitted += fc_monotonic_ns() & 1;
}

static void best(const char *name, void (*run)(void))
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < RUNS; i++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        run();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        uint64_t ns = (uint64_t)((end.tv_sec - begin.tv_sec) * (int64_t)FC_NS_PER_S + end.tv_nsec - begin.tv_nsec);
        least = ns < least ? ns : least;
    }
    printf("%s %.2f\n", name, (double)least / KEYS / LOOPS);
}

int main(void)
{
    const fc_hash_key key = {1, 2};
    uint64_t size = fc_limiter_size(65536);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || fc_limiter_open(&table, base, size, 65536, &key, FC_LIMITER_FULL_OPEN) != 0)
        return 1;
    for (int i = 0; i < KEYS; i++)
        lengths[i] = (size_t)snprintf(names[i], sizeof names[i], "user:%d", i);
    fc_gcra_init(&quota, 1000000, FC_NS_PER_S, 1000);
    best("decision", decision);
    best("check", check_given);
    best("check-clock", check_clock);
    best("clock", clock_alone);
    fc_gcra_init(&quota, 1, 3600 * FC_NS_PER_S, 1);
    best("refused", check_given);
    return admitted == 0;
}
