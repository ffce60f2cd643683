/* Safety steps left out one at a time (fc/unsafe.h): each must be caught by the crashes that find nothing otherwise. */
#include "fc/unsafe.h"

#include "check.h"
#include "crash_workload.h"

#define SEEDS 2000 /* tried until it is caught */
#define TURNS 160

fc_unsafe_step fc_unsafe_now;

static const char *const STEP_NAMES[FC_UNSAFE_STEPS] = {
    [FC_UNSAFE_NOTHING] = "nothing",
    [FC_UNSAFE_LOG_NOT_SYNCED] = "the log's sync",
    [FC_UNSAFE_LOG_FOLDER_NOT_SYNCED] = "the folder's sync after a new segment",
    [FC_UNSAFE_LOG_TORN_RECORD] = "the checksum of a log record",
    [FC_UNSAFE_LOG_GIVEN_UP_EARLY] = "the manifest before the log is given up",
    [FC_UNSAFE_LOG_NOT_WAITED_FOR] = "the log before a table is installed",
    [FC_UNSAFE_TABLE_NOT_SYNCED] = "a table's sync",
    [FC_UNSAFE_TABLE_FOLDER_NOT_SYNCED] = "the folder's sync after a new table",
    [FC_UNSAFE_TABLE_AFTER_MANIFEST] = "a table's sync before the manifest's",
    [FC_UNSAFE_TABLES_REMOVED_EARLY] = "the manifest before tables are removed",
    [FC_UNSAFE_MANIFEST_NOT_SYNCED] = "the manifest's sync",
    [FC_UNSAFE_CURRENT_BEFORE_MANIFEST] = "the new manifest's sync before CURRENT names it",
    [FC_UNSAFE_CURRENT_FOLDER_NOT_SYNCED] = "the folder's sync after CURRENT",
    [FC_UNSAFE_DELETIONS_DROPPED] = "a deletion that covers something below",
    [FC_UNSAFE_SNAPSHOTS_FORGOTTEN] = "a version that a snapshot needs",
    [FC_UNSAFE_CHECKPOINT_NOT_SYNCED] = "a checkpoint's sync",
};

/* Three lives, as in test_store_crash.c. True when something was wrong. */
static bool caught(uint64_t seed, char what[256])
{
    uint64_t chance = seed;
    workload *w = work_new(seed, &(fc_disk_sim_options){.seed = seed, .crash_at = 1 + fc_hash_next(&chance) % 600});
    for (unsigned life = 0; life < 4 && w->m.wrong[0] == '\0'; life++) {
        work_open(w);
        work_turns(w, TURNS);
        work_last(w);
        work_crash(w, &(fc_disk_sim_options){.seed = seed + life, .crash_at = life < 2 ? 1 + fc_hash_next(&chance) % 400 : 0});
    }
    bool was = w->m.wrong[0] != '\0';
    memcpy(what, w->m.wrong, sizeof w->m.wrong);
    work_free(w);
    return was;
}

int main(void)
{
    const char *only = getenv("FASTCORE_UNSAFE_STEP");
    for (int step = only ? atoi(only) : 0; step < (only ? atoi(only) + 1 : (int)FC_UNSAFE_STEPS); step++) {
        char what[256] = "";
        uint64_t seed = 1, seeds = step == FC_UNSAFE_NOTHING ? SEEDS / 10 : SEEDS;
        fc_unsafe_now = (fc_unsafe_step)step;
        while (seed <= seeds && !caught(seed, what))
            seed++;
        if (seed <= seeds)
            printf("  without %s: seed %lu, %s\n", STEP_NAMES[step], (unsigned long)seed, what);
        else
            printf("  without %s: not caught\n", STEP_NAMES[step]);
        CHECK((seed <= seeds) == (step != FC_UNSAFE_NOTHING));
    }
    return check_done("unsafe_store");
}
