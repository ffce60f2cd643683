/* What the job index costs in C, without Python: `name value` lines for perf/bench_jobindex.py.
 *
 * usage: bench_jobindex JOBS
 *
 * Jobs have 24-character ids, as Faktory's; 4 queues, 3 priorities, run_at spread over an hour: random ones (`scattered`)
 * and growing ones (`in_turn`, as a broker adds them). CPU time of the thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fc/jobindex.h"
#include "fc/wheel.h"

#define QUEUES 4

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void report(const char *order, const char *what, uint64_t begin, uint64_t n)
{
    printf("%s_%s %.4f\n", what, order, (double)n * 1e3 / (double)(now_ns() - begin));
}

static fc_job_id name_id(uint64_t i, char buf[25])
{
    static const char DIGITS[] = "0123456789abcdef";
    uint64_t word = fc_hash_mix(i);
    for (int k = 0; k < 24; k++)
        buf[k] = DIGITS[(k < 16 ? word >> (4 * k) : i >> (4 * (k - 16))) & 15];
    return (fc_job_id){.p = buf, .n = 24};
}

static void jobs(const char *order, bool scattered, uint64_t n)
{
    fc_jobindex_options o = FC_JOBINDEX_OPTIONS;
    o.key = (fc_hash_key){1, 2};
    fc_jobindex *ix = fc_jobindex_new(&o);
    uint32_t queues[QUEUES];
    char buf[25];
    fc_job job;
    for (int i = 0; i < QUEUES; i++)
        queues[i] = (uint32_t)fc_jobindex_queue(ix, (fc_slice){"q0\0q1\0q2\0q3" + 3 * i, 2});
    uint64_t empty = fc_jobindex_bytes(ix), begin = now_ns();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t word = fc_hash_mix(i + 1), run_at = scattered ? word % 3600000 : i * 3600000 / n;
        if (fc_jobindex_add(ix, name_id(i, buf), queues[word >> 62], (uint32_t)(word >> 32) % 3, run_at) != 0)
            abort();
    }
    report(order, "add", begin, n);
    printf("bytes_%s %.1f\n", order, (double)(fc_jobindex_bytes(ix) - empty) / (double)n);
    begin = now_ns();
    uint64_t found = 0;
    for (uint64_t i = 0; i < n; i += 2)
        found += fc_jobindex_get(ix, name_id(fc_hash_mix(i) % n, buf), &job);
    report(order, "get", begin, found);
    begin = now_ns();
    for (uint64_t i = 0; i < n; i += 4)
        if (fc_jobindex_get(ix, name_id(i, buf), &job))
            fc_jobindex_remove(ix, &job);
    report(order, "remove", begin, n / 4);
    begin = now_ns();
    uint64_t claimed = 0;
    while (fc_jobindex_next(ix, queues, QUEUES, FC_JOB_FAIR, 3600000, &job)) {
        fc_jobindex_take(ix, &job);
        claimed++;
    }
    report(order, "claim", begin, claimed);
    fc_jobindex_free(ix);
}

static void timers(uint64_t n)
{
    fc_timer *t = calloc(n, sizeof *t);
    fc_wheel w;
    fc_wheel_init(&w, 0);
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        fc_wheel_add(&w, &t[i], 1 + fc_hash_mix(i) % 3600000);
    report("timer", "set", begin, n);
    begin = now_ns();
    for (uint64_t i = 0; i < n; i += 2)
        fc_wheel_cancel(&w, &t[i]);
    report("timer", "cancel", begin, n / 2);
    begin = now_ns();
    uint64_t fired = 0;
    for (uint64_t now = 0; now <= 3600000; now += 5)
        while (fc_wheel_pop(&w, now) != NULL)
            fired++;
    report("timer", "fire", begin, fired);
    free(t);
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    jobs("in_turn", false, n);
    jobs("scattered", true, n);
    timers(n);
    return 0;
}
