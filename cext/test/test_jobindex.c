#include <stdlib.h>

#include "check.h"
#include "fc/jobindex.h"
#include "jobindex_model.h"

static uint64_t seed = 1;

static fc_jobindex *new_index(uint64_t max_jobs, uint32_t oldest_every)
{
    fc_jobindex_options o = FC_JOBINDEX_OPTIONS;
    o.max_jobs = max_jobs;
    o.oldest_every = oldest_every;
    o.key = (fc_hash_key){1, 2};
    return fc_jobindex_new(&o);
}

static uint32_t queue(fc_jobindex *ix, const char *name)
{
    return (uint32_t)fc_jobindex_queue(ix, (fc_slice){name, strlen(name)});
}

static int add(fc_jobindex *ix, uint64_t id, uint32_t q, uint32_t priority, uint64_t run_at)
{
    return fc_jobindex_add(ix, (fc_job_id){.number = id}, q, priority, run_at);
}

static uint64_t claim(fc_jobindex *ix, const uint32_t *queues, size_t n, fc_job_order order, uint64_t now)
{
    fc_job job;
    if (!fc_jobindex_next(ix, queues, n, order, now, &job))
        return 0;
    fc_jobindex_take(ix, &job);
    return job.id.number;
}

static void against_model(uint64_t max_jobs, uint32_t oldest_every)
{
    fc_jobindex *ix = new_index(max_jobs, oldest_every);
    model m = {.oldest_every = oldest_every, .max_jobs = max_jobs};
    const char *wrong = NULL;
    for (int step = 0; step < 20000 && wrong == NULL; step++) {
        uint64_t word = fc_hash_next(&seed);
        uint8_t s[6];
        memcpy(s, &word, sizeof s);
        wrong = model_step(&m, ix, s);
        if (wrong == NULL && step % 8 == 0)
            wrong = fc_jobindex_check(ix);
        if (wrong != NULL)
            fprintf(stderr, "step %d (%d): %s\n", step, s[0] % 12, wrong);
    }
    CHECK(wrong == NULL);
    fc_jobindex_free(ix);
}

static void a_delayed_job_blocks_nobody(void)
{
    fc_jobindex *ix = new_index(100, 0);
    uint32_t q = queue(ix, "q");
    CHECK(add(ix, 1, q, 255, 1000) == 0);
    CHECK(add(ix, 2, q, 0, 10) == 0);
    CHECK(fc_jobindex_next_run_at(ix, q) == 10);
    CHECK(claim(ix, &q, 1, FC_JOB_FAIR, 9) == 0);
    CHECK(claim(ix, &q, 1, FC_JOB_FAIR, 10) == 2);
    CHECK(fc_jobindex_next_run_at(ix, q) == 1000);
    CHECK(claim(ix, &q, 1, FC_JOB_FAIR, 999) == 0);
    CHECK(claim(ix, &q, 1, FC_JOB_FAIR, 1000) == 1);
    CHECK(fc_jobindex_next_run_at(ix, q) == FC_JOB_NEVER);
    fc_jobindex_free(ix);
}

/* High priorities keep coming; a low one with m older due jobs is taken within oldest_every * (m + 1) claims. */
static void nobody_starves(void)
{
    for (uint32_t every = 1; every <= 20; every++) {
        fc_jobindex *ix = new_index(1000, every);
        uint32_t q = queue(ix, "q");
        uint64_t next = 100;
        for (uint64_t i = 1; i <= 5; i++)
            CHECK(add(ix, i, q, 0, i) == 0);
        for (int i = 0; i < 50; i++)
            CHECK(add(ix, next++, q, 9, 50) == 0);
        uint64_t taken = 0, claims = 0;
        while (taken < 5 && claims++ < 1000) {
            uint64_t id = claim(ix, &q, 1, FC_JOB_FAIR, 100);
            if (id < 100)
                CHECK(id == ++taken && claims <= every * taken);
            CHECK(add(ix, next++, q, 9, 50) == 0);
        }
        CHECK(taken == 5);
        fc_jobindex_free(ix);
    }
    fc_jobindex *strict = new_index(1000, 0);
    uint32_t q = queue(strict, "q");
    CHECK(add(strict, 1, q, 0, 0) == 0);
    for (uint64_t id = 2; id < 200; id++) {
        CHECK(add(strict, id, q, 9, 50) == 0);
        CHECK(claim(strict, &q, 1, FC_JOB_FAIR, 100) == id);
    }
    fc_jobindex_free(strict);
}

static void shares_follow_weights(void)
{
    fc_jobindex *ix = new_index(100000, 16);
    uint32_t queues[4], weights[4] = {1, 2, 5, 1000}, taken[4] = {0};
    uint64_t id = 1;
    for (int i = 0; i < 4; i++) {
        char name[2] = {(char)('a' + i), 0};
        queues[i] = queue(ix, name);
        CHECK(fc_jobindex_set_weight(ix, queues[i], weights[i]) == 0);
        for (int k = 0; k < 10000; k++)
            CHECK(add(ix, id++, queues[i], 0, 0) == 0);
    }
    for (int k = 0; k < 3 * 1008; k++)
        taken[(claim(ix, queues, 4, FC_JOB_FAIR, 0) - 1) / 10000]++;
    for (uint32_t i = 0; i < 4; i++)
        CHECK(taken[i] >= 3 * weights[i] - 3 && taken[i] <= 3 * weights[i] + 3);
    CHECK(fc_jobindex_set_weight(ix, queues[0], 0) == FC_JOBINDEX_ERANGE);
    CHECK(fc_jobindex_set_weight(ix, queues[0], 1001) == FC_JOBINDEX_ERANGE);
    CHECK(fc_jobindex_weight(ix, queues[3]) == 1000);
    fc_jobindex_free(ix);
}

/* b had nothing to do while a was served 1,000 times: it gets its share from now on, not what it missed. */
static void an_idle_queue_hoards_nothing(void)
{
    fc_jobindex *ix = new_index(100000, 0);
    uint32_t queues[2] = {queue(ix, "a"), queue(ix, "b")};
    for (uint64_t id = 1; id <= 3000; id++)
        CHECK(add(ix, id, queues[0], 0, 0) == 0);
    for (int i = 0; i < 1000; i++)
        CHECK(claim(ix, queues, 2, FC_JOB_FAIR, 0) == (uint64_t)i + 1);
    for (uint64_t id = 10001; id <= 11000; id++)
        CHECK(add(ix, id, queues[1], 0, 0) == 0);
    int from_b = 0;
    for (int i = 0; i < 100; i++)
        from_b += claim(ix, queues, 2, FC_JOB_FAIR, 0) > 10000;
    CHECK(from_b >= 50 && from_b <= 51);
    fc_jobindex_free(ix);
}

static void strict_order_takes_the_first_listed(void)
{
    fc_jobindex *ix = new_index(100, 16);
    uint32_t queues[3] = {queue(ix, "a"), queue(ix, "b"), 77};
    CHECK(add(ix, 1, queues[1], 9, 0) == 0);
    CHECK(add(ix, 2, queues[0], 0, 0) == 0);
    CHECK(add(ix, 3, queues[0], 0, 50) == 0);
    CHECK(claim(ix, queues, 3, FC_JOB_STRICT, 10) == 2);
    CHECK(claim(ix, queues, 3, FC_JOB_STRICT, 10) == 1);
    CHECK(claim(ix, queues, 3, FC_JOB_STRICT, 10) == 0);
    CHECK(claim(ix, queues, 0, FC_JOB_STRICT, 99) == 0);
    CHECK(claim(ix, queues, 3, FC_JOB_FAIR, 99) == 3);
    fc_jobindex_free(ix);
}

static void what_is_out_of_bounds_changes_nothing(void)
{
    fc_jobindex_options o = FC_JOBINDEX_OPTIONS;
    o.max_jobs = 2;
    o.max_queues = 2;
    fc_jobindex *ix = fc_jobindex_new(&o);
    char name[256] = {0};
    uint32_t q = queue(ix, "q"), r = queue(ix, "r");
    CHECK(queue(ix, "q") == q);
    CHECK(fc_jobindex_queue(ix, (fc_slice){"s", 1}) == FC_JOBINDEX_EQUEUES);
    CHECK(fc_jobindex_queue(ix, (fc_slice){name, 256}) == FC_JOBINDEX_ERANGE);
    CHECK(add(ix, 1, q, 256, 0) == FC_JOBINDEX_ERANGE);
    CHECK(add(ix, 1, q, 0, FC_JOB_RUN_AT_MAX + 1) == FC_JOBINDEX_ERANGE);
    CHECK(fc_jobindex_add(ix, (fc_job_id){.p = name, .n = 256}, q, 0, 0) == FC_JOBINDEX_ERANGE);
    CHECK(add(ix, 1, 9, 0, 0) == FC_JOBINDEX_EABSENT);
    CHECK(fc_jobindex_count(ix) == 0);
    CHECK(fc_jobindex_add(ix, (fc_job_id){.p = name, .n = 255}, q, 255, FC_JOB_RUN_AT_MAX) == 0);
    CHECK(fc_jobindex_ready(ix, q, FC_JOB_RUN_AT_MAX - 1) == 0 && fc_jobindex_ready(ix, q, FC_JOB_RUN_AT_MAX) == 1);
    CHECK(add(ix, UINT64_MAX, r, 0, 0) == 0);
    CHECK(add(ix, UINT64_MAX, q, 0, 0) == FC_JOBINDEX_EEXIST);
    CHECK(add(ix, 2, q, 0, 0) == FC_JOBINDEX_EJOBS);
    fc_job job;
    CHECK(fc_jobindex_get(ix, (fc_job_id){.number = UINT64_MAX}, &job) && job.queue == r);
    CHECK(fc_jobindex_move(ix, &job, q, 256, 0) == FC_JOBINDEX_ERANGE);
    CHECK(fc_jobindex_move(ix, &job, 9, 0, 0) == FC_JOBINDEX_EABSENT);
    CHECK(fc_jobindex_move(ix, &job, q, 3, FC_JOB_RUN_AT_MAX) == 0);
    CHECK(fc_jobindex_depth(ix, q) == 2 && fc_jobindex_depth(ix, r) == 0);
    CHECK(fc_jobindex_check(ix) == NULL);
    fc_jobindex_free(ix);
    o.max_jobs = 1ull << 32;
    CHECK(fc_jobindex_new(&o) == NULL);
    o.max_jobs = 1;
    o.max_bytes = 1000;
    CHECK(fc_jobindex_new(&o) == NULL);
}

static void bytes_are_bounded_and_come_back(void)
{
    fc_jobindex_options o = FC_JOBINDEX_OPTIONS;
    o.max_bytes = FC_JOBINDEX_BYTES_MIN;
    fc_jobindex *ix = fc_jobindex_new(&o);
    uint64_t empty = fc_jobindex_bytes(ix);
    uint64_t filled[3];
    for (int round = 0; round < 3; round++) {
        uint32_t q = queue(ix, "q");
        uint64_t id = 1;
        int answer;
        for (; (answer = add(ix, id, q, id % 3, 1000000 - id)) == 0; id++)
            CHECK(fc_jobindex_bytes(ix) <= o.max_bytes);
        CHECK(answer == FC_JOBINDEX_EBYTES);
        filled[round] = id;
        CHECK(fc_jobindex_check(ix) == NULL);
        CHECK(fc_jobindex_drop_queue(ix, q) == id - 1);
        CHECK(fc_jobindex_count(ix) == 0 && fc_jobindex_dropped(ix) == id - 1);
        if (round == 1)
            CHECK(fc_jobindex_purge(ix, UINT64_MAX) == 0);
    }
    CHECK(filled[0] > 5000 && filled[1] > filled[0] * 9 / 10 && filled[2] > filled[0] * 9 / 10);
    CHECK(fc_jobindex_clear(ix) == 0);
    CHECK(fc_jobindex_bytes(ix) <= empty && fc_jobindex_queues(ix) == 0 && fc_jobindex_dropped(ix) == 0);
    CHECK(add(ix, 1, queue(ix, "q"), 0, 0) == 0);
    fc_jobindex_free(ix);
    fc_jobindex_free(NULL);
}

static void a_dropped_queue_goes_a_few_jobs_at_a_time(void)
{
    fc_jobindex *ix = new_index(100000, 16);
    uint32_t q = queue(ix, "old");
    for (uint64_t id = 1; id <= 1000; id++)
        CHECK(add(ix, id, q, 0, id) == 0);
    CHECK(fc_jobindex_drop_queue(ix, q) == 1000);
    CHECK(fc_jobindex_drop_queue(ix, q) == 0);
    fc_job job;
    CHECK(!fc_jobindex_get(ix, (fc_job_id){.number = 7}, &job));
    CHECK(claim(ix, &q, 1, FC_JOB_FAIR, 2000) == 0);
    CHECK(!fc_jobindex_first(ix, q, &job) && fc_jobindex_next_queue(ix, 0) == FC_JOBINDEX_EABSENT);
    uint32_t fresh = queue(ix, "old");
    CHECK(fresh != q); /* the number is still taken */
    CHECK(add(ix, 500, fresh, 3, 0) == 0); /* its id is free at once */
    uint64_t left = fc_jobindex_dropped(ix);
    CHECK(left < 1000 && left > 900);
    CHECK(add(ix, 2000, fresh, 3, 0) == 0);
    CHECK(fc_jobindex_dropped(ix) < left);
    CHECK(fc_jobindex_purge(ix, 10) < left - 10);
    CHECK(fc_jobindex_check(ix) == NULL);
    CHECK(fc_jobindex_purge(ix, UINT64_MAX) == 0);
    CHECK(fc_jobindex_depth(ix, fresh) == 2 && fc_jobindex_check(ix) == NULL);
    CHECK(queue(ix, "another") == q);
    uint64_t bytes = 0;
    for (int round = 0; round < 20; round++) { /* nothing of a queue stays */
        uint32_t again = queue(ix, "again");
        for (uint64_t id = 3000; id < 3010; id++)
            CHECK(add(ix, id, again, id % 5, 0) == 0);
        fc_jobindex_drop_queue(ix, again);
        CHECK(fc_jobindex_purge(ix, UINT64_MAX) == 0);
        CHECK(round == 0 || fc_jobindex_bytes(ix) == bytes);
        bytes = fc_jobindex_bytes(ix);
    }
    fc_jobindex_free(ix);
}

static void half_a_million(void)
{
    enum { N = 500000 };
    fc_jobindex *ix = new_index(N, 16);
    uint32_t queues[3] = {queue(ix, "a"), queue(ix, "b"), queue(ix, "c")};
    for (uint64_t id = 1; id <= N; id++)
        if (add(ix, fc_hash_mix(id), queues[id % 3], id % 4, fc_hash_mix(id) % N) != 0)
            CHECK(!"added");
    CHECK(fc_jobindex_count(ix) == N && fc_jobindex_check(ix) == NULL);
    CHECK((fc_jobindex_bytes(ix) - (64 << 10)) / N < 120);
    uint64_t claimed = 0;
    for (uint64_t now = 0; now < N; now += N / 100)
        while (claim(ix, queues, 3, FC_JOB_FAIR, now) != 0)
            claimed++;
    claimed += claim(ix, queues, 3, FC_JOB_FAIR, N) != 0;
    CHECK(claimed > N * 98ull / 100);
    CHECK(fc_jobindex_count(ix) == N - claimed && fc_jobindex_check(ix) == NULL);
    fc_jobindex_free(ix);
}

int main(void)
{
    against_model(40, 16);
    against_model(UINT32_MAX, 2);
    against_model(UINT32_MAX, 0);
    a_delayed_job_blocks_nobody();
    nobody_starves();
    shares_follow_weights();
    an_idle_queue_hoards_nothing();
    strict_order_takes_the_first_listed();
    what_is_out_of_bounds_changes_nothing();
    bytes_are_bounded_and_come_back();
    a_dropped_queue_goes_a_few_jobs_at_a_time();
    half_a_million();
    return check_done("test_jobindex");
}
