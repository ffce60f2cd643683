/* The store on a disk that loses power at every step, fails and fills up: what was acknowledged is there, as a prefix of
 * what was written, compared with the model.
 *
 *   FASTCORE_CRASH_RUNS=5000                             so many runs
 *   FASTCORE_CRASH_SEED=7 FASTCORE_CRASH_STEP=123        that one alone, as the message of a failure says
 *   FASTCORE_CRASH_SEED=7 FASTCORE_CRASH_DISK=full       on a disk that is full, or failing
 */
#include "check.h"
#include "crash_workload.h"

#define RUNS 1000
#define LIVES 3
#define TURNS 160

static unsigned long number_of(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : otherwise;
}

/* Some lives, the first of which ends at step `at` (0: without a crash). Returns the steps of the first life. */
static uint64_t run(uint64_t seed, uint64_t at)
{
    workload *w = work_new(seed, &(fc_disk_sim_options){.seed = seed, .crash_at = at});
    uint64_t steps = 0;
    for (unsigned life = 0; life < LIVES && w->m.wrong[0] == '\0'; life++) {
        work_open(w);
        work_turns(w, TURNS);
        work_last(w);
        if (life == 0) {
            fc_disk_sim_stats stats;
            fc_disk_sim_get_stats(w->disk, &stats);
            steps = stats.steps;
        }
        /* The next one dies while it recovers, or later. */
        uint64_t d = work_draw(w), next = life + 2 == LIVES ? 0 : 1 + (d >> 1) % (d & 1 ? 40 : 400);
        if (next && d >> 40 & 1) /* the same crash, however many tries recovery has had */
            work_crash(w, &(fc_disk_sim_options){.seed = seed + life, .crash_at = 1 + (d >> 41) % 20}), work_open(w);
        work_crash(w, &(fc_disk_sim_options){.seed = seed * 3 + life, .crash_at = next});
    }
    if (w->m.wrong[0] == '\0') { /* closed as it should be: nothing at all is missing */
        work_open(w);
        work_turns(w, TURNS / 4);
        work_close(w);
        work_open(w);
        if (w->store)
            work_compare(w);
    }
    CHECK(w->m.wrong[0] == '\0');
    if (w->m.wrong[0])
        fprintf(stderr, "%s\n  again: FASTCORE_CRASH_SEED=%lu FASTCORE_CRASH_STEP=%lu test_store_crash\n", w->m.wrong,
                (unsigned long)seed, (unsigned long)at);
    work_free(w);
    return steps;
}

/* Half of the runs go over every step of one seed after the other; the others have a seed each. */
static void test_crashes(unsigned long runs)
{
    uint64_t seed = 0, steps = 0, at = 0, chance = 1;
    for (unsigned long i = 0; i < runs && check_failed < 5; i++) {
        if (i % 2) {
            run(100000 + i, 1 + fc_hash_next(&chance) % 600);
            continue;
        }
        if (at == steps) {
            steps = run(++seed, 0);
            at = 0;
        }
        at++;
        run(seed, 1 + at * 7919 % steps); /* a prime: every step once, and some of all sorts when the runs are few */
    }
}

/* That the power went out at each kind of step at all. */
static void test_kinds(void)
{
    watch_print();
    CHECK(watch_count("wait", WATCH_LOG, WATCH_WRITE) + watch_count("step", WATCH_LOG, WATCH_WRITE) > 0);
    CHECK(watch_count(NULL, WATCH_LOG, WATCH_SYNC) > 0);
    CHECK(watch_count(NULL, WATCH_LOG, WATCH_RENAME) > 0);
    CHECK(watch_count("flush", WATCH_TABLE, WATCH_WRITE) > 0);
    CHECK(watch_count("flush", WATCH_TABLE, WATCH_SYNC) > 0);
    CHECK(watch_count("compact", WATCH_TABLE, WATCH_WRITE) > 0);
    CHECK(watch_count("compact", WATCH_TABLE, WATCH_SYNC) > 0);
    CHECK(watch_count(NULL, WATCH_TABLE, WATCH_REMOVE) > 0);
    CHECK(watch_count(NULL, WATCH_MANIFEST, WATCH_WRITE) > 0);
    CHECK(watch_count(NULL, WATCH_MANIFEST, WATCH_SYNC) > 0);
    CHECK(watch_count(NULL, WATCH_CURRENT, WATCH_RENAME) > 0);
    CHECK(watch_count(NULL, WATCH_FOLDER, WATCH_SYNC_DIR) > 0);
    CHECK(watch_count("checkpoint", WATCH_CHECKPOINT, WATCH_LINK) > 0);
    CHECK(watch_count("checkpoint", WATCH_CHECKPOINT, WATCH_SYNC_DIR) > 0);
    CHECK(watch_count("checkpoint", WATCH_CHECKPOINT, WATCH_RENAME) > 0);
    CHECK(watch_count("open", WATCH_WHATS, WATCH_WRITE) > 0);
}

/* --- disks that fail -------------------------------------------------------------------------------------------- */

static void failed(const workload *w, const char *how, uint64_t seed)
{
    CHECK(w->m.wrong[0] == '\0');
    if (w->m.wrong[0])
        fprintf(stderr, "%s\n  again: FASTCORE_CRASH_SEED=%lu FASTCORE_CRASH_DISK=%s test_store_crash\n", w->m.wrong,
                (unsigned long)seed, how);
}

/* Writes and syncs fail: from the first one that mattered on nothing more is taken, what was taken can be read, and the
 * next opening finds all that was acknowledged. */
static void test_failing_disk(uint64_t first, unsigned long runs)
{
    unsigned long sticky = 0;
    for (uint64_t seed = first; seed < first + runs && check_failed < 5; seed++) {
        workload *w = work_new(seed, &(fc_disk_sim_options){.seed = seed});
        work_open(w);
        fc_disk_sim_options faults = {.seed = seed, .cached_ppm = seed % 4 * 250000};
        *(seed % 2 ? &faults.sync_fail_ppm : &faults.write_fail_ppm) = seed % 3 ? 20000 : 3000;
        fc_disk_sim_set(w->disk, &faults);
        w->faulty = true;
        work_turns(w, 2 * TURNS);
        if (w->store && fc_store_error(w->store) < 0 && w->m.wrong[0] == '\0') {
            fc_batch b = {0};
            fc_write_result result;
            sticky++;
            fc_batch_delete(&b, 0, (fc_slice){"a", 1});
            CHECK(fc_store_write(w->store, &b, FC_WRITE_URGENT, &result) < 0);
            fc_batch_free(&b);
            fc_disk_sim_set(w->disk, &(fc_disk_sim_options){.seed = seed});
            w->dead = false;
            if (w->m.spaces[SPACES - 1].there == SPACE_UNSURE) /* half dropped */
                w->m.spaces[SPACES - 1].there = SPACE_GONE;
            work_compare(w);
            w->m.spaces[SPACES - 1].there = SPACE_UNSURE;
        }
        w->dead = true;
        /* After a failed sync only a crash shows what is there: what the cache still shows is on no disk. */
        work_crash(w, &(fc_disk_sim_options){.seed = seed});
        w->faulty = false;
        work_open(w);
        work_turns(w, TURNS);
        failed(w, "failing", seed);
        work_free(w);
    }
    CHECK(sticky > runs / 4 || runs == 1);
}

/* A disk that is full refuses; nothing is lost, and with room again all goes on. */
static void test_full_disk(uint64_t first, unsigned long runs)
{
    unsigned long refused = 0;
    for (uint64_t seed = first; seed < first + runs && check_failed < 5; seed++) {
        workload *w = work_new(seed, &(fc_disk_sim_options){.seed = seed});
        work_open(w);
        work_turns(w, 20);
        fc_disk_sim_set(w->disk, &(fc_disk_sim_options){.seed = seed, .capacity = 300000 + seed % 32 * 10000});
        w->faulty = true;
        work_turns(w, 3 * TURNS);
        refused += w->refused;
        fc_disk_sim_set(w->disk, &(fc_disk_sim_options){.seed = seed});
        if (w->store && w->m.wrong[0] == '\0') {
            w->dead = false;
            if (w->m.spaces[SPACES - 1].there == SPACE_UNSURE)
                w->m.spaces[SPACES - 1].there = SPACE_GONE;
            work_compare(w);
            w->m.spaces[SPACES - 1].there = SPACE_UNSURE;
        }
        if (seed % 2)
            work_crash(w, &(fc_disk_sim_options){.seed = seed});
        else
            work_close(w);
        w->faulty = false;
        work_open(w);
        work_turns(w, TURNS);
        failed(w, "full", seed);
        work_free(w);
    }
    CHECK(refused > runs || runs == 1);
}

int main(void)
{
    const char *seed = getenv("FASTCORE_CRASH_SEED");
    unsigned long runs = number_of("FASTCORE_CRASH_RUNS", RUNS);
    const char *how = getenv("FASTCORE_CRASH_DISK");
    if (seed) {
        uint64_t one = strtoull(seed, NULL, 10);
        if (how)
            (strcmp(how, "full") == 0 ? test_full_disk : test_failing_disk)(one, 1);
        else
            run(one, number_of("FASTCORE_CRASH_STEP", 0));
        return check_done("store_crash");
    }
    test_crashes(runs);
    test_kinds();
    test_failing_disk(1, runs / 5 + 1);
    test_full_disk(1, runs / 5 + 1);
    printf("store_crash: %lu runs\n", runs);
    return check_done("store_crash");
}
