/* crash_workload.h - seeded work on a store on a simulated disk: lives from opening to a crash or a close.
 *
 * One seed, one history: the same seed, options and faults give the same calls (crash_calls.h) and answers.
 */
#ifndef FC_TEST_CRASH_WORKLOAD_H
#define FC_TEST_CRASH_WORKLOAD_H

#include "crash_calls.h"

/* --- a life ----------------------------------------------------------------------------------------------------- */

static inline void work_open(workload *w)
{
    doing("open");
    w->dead = false;
    w->store = NULL;
    fc_damage damage;
    int error = fc_store_open(w->disk, &w->options, &damage, &w->store);
    if (error == FC_STORE_ECORRUPT || error == FC_STORE_EFORMAT)
        wrong(&w->m, "opening: %s at %lu: %s", damage.name, (unsigned long)damage.offset, damage.what);
    if (!ok(w, error, "opening")) {
        w->store = NULL;
        return;
    }
    if (!ok(w, model_recover(&w->m, w->store), "reading what was recovered"))
        return;
    if (w->m.spaces[1].there != SPACE_THERE) {
        doing("keyspace");
        w->m.spaces[1].there = SPACE_UNSURE;
        fc_slice name = {SPACE_NAMES[1], strlen(SPACE_NAMES[1])};
        if (ok(w, fc_store_keyspace(w->store, name, NULL, true, &w->m.spaces[1].id), "a new keyspace"))
            w->m.spaces[1].there = SPACE_THERE;
        else if (!w->dead)
            w->m.spaces[1].there = SPACE_GONE;
    }
    work_look_at_all(w);
}

static inline void work_close(workload *w)
{
    for (int i = 0; i < SCANS_HELD; i++)
        work_scan_close(&w->scans[i]);
    for (int i = 0; i < SNAPSHOTS_HELD; i++) {
        fc_snapshot_release(w->snapshots[i].snapshot);
        w->snapshots[i].snapshot = NULL;
    }
    if (w->store == NULL)
        return;
    doing("close");
    int sticky = fc_store_error(w->store), error = fc_store_close(w->store);
    w->store = NULL;
    if (error == 0 && sticky == 0)
        w->m.durable = w->m.n;
    else if (!w->dead)
        ok(w, error, "closing");
}

static inline void work_compare(workload *w)
{
    doing("read");
    ok(w, model_compare(&w->m, w->store, NULL, &w->m.now, NULL, "the store", &w->chance), "reading");
}

static inline void work_turn(workload *w)
{
    uint64_t d = work_draw(w) % 100;
    if (d < 42 || (w->unasked && d >= 65 && d < 72))
        work_write(w, false);
    else if (d < 47)
        work_write(w, true);
    else if (d < 55)
        work_wait(w);
    else if (d < 65)
        work_step(w);
    else if (d < 69)
        doing("flush"), ok(w, fc_store_flush(w->store, work_some_space(w)), "a flush");
    else if (d < 72)
        work_compact(w);
    else if (d < 73)
        work_checkpoint(w);
    else if (d < 79)
        work_snapshot(w);
    else if (d < 87)
        work_scan(w);
    else if (d < 91)
        work_compare(w);
    else if (d < 95)
        w->m.clock_ms += work_draw(w) % 20;
    else if (d < 97)
        work_spaces(w);
    else if (d < 98) {
        work_close(w);
        if (!w->dead)
            work_open(w);
    }
}

/* Until so many turns are done, the disk gives up or something is wrong. */
static inline void work_turns(workload *w, unsigned turns)
{
    while (turns-- > 0 && !w->dead && w->store && w->m.wrong[0] == '\0' && !fc_disk_sim_off(w->disk))
        work_turn(w);
}

/* Ends with something after which the order of what is durable matters most: batches that nobody waited for, in tables. */
static inline void work_last(workload *w)
{
    if (w->dead || w->store == NULL || w->m.wrong[0])
        return;
    for (uint64_t n = work_draw(w) % 4; n > 0 && !w->dead; n--)
        work_write(w, false);
    doing("flush");
    if (!w->dead && work_draw(w) % 2)
        ok(w, fc_store_flush(w->store, work_some_space(w)), "a flush");
    else if (!w->dead && work_draw(w) % 2)
        work_checkpoint(w);
}

/* The power goes out, if it has not, and comes back with new chances. */
static inline void work_crash(workload *w, const fc_disk_sim_options *next)
{
    if (!fc_disk_sim_off(w->disk)) {
        fc_disk_sim_set(w->disk, &(fc_disk_sim_options){.seed = next->seed + 1, .crash_at = 1});
        doing("nothing");
        fc_disk_sync_dir(w->disk, "");
    }
    work_close(w);
    if (fc_disk_sim_crash(w->disk) < 0)
        abort();
    fc_disk_sim_set(w->disk, next);
}

static inline workload *work_new(uint64_t seed, const fc_disk_sim_options *faults)
{
    workload *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    model_init(&w->m);
    w->chance = seed;
    w->disk = fc_disk_sim_new(faults);
    watch_disk(w->disk);
    w->options = work_options(w, seed);
    w->unasked = seed % 3 == 0;
    return w;
}

static inline void work_free(workload *w)
{
    work_close(w);
    fc_disk_close(w->disk);
    model_free(&w->m);
    free(w);
}

#endif
