/* Compactions as the store does them: one at a time, in small steps, so that a test can stop between any two. */
#include <errno.h>
#include <stdlib.h>

#include "store_internal.h"

/* A table may meet so many tables of the usual size below, for each that a level is larger than the one above it. */
#define BELOW_TABLES 2u

/* --- merging ---------------------------------------------------------------------------------------------------- */

static store_table *input(const store_job *j, bool lower, size_t i)
{
    unsigned level = lower ? j->pick.output_level : j->pick.level;
    return j->version->tables[j->version->at[level] + (lower ? j->pick.lower[i] : j->pick.upper[i])];
}

static uint64_t new_number(void *ctx) { return store_new_number(ctx); }

static void name(char out[FC_DISK_NAME_MAX + 1], uint64_t number) { store_table_name(out, number); }

static int open_inputs(store_job *j, size_t *ranges_n)
{
    size_t n = j->pick.upper_n + j->pick.lower_n;
    j->inputs = calloc(n + 1, sizeof(fc_table *));
    if (j->inputs == NULL)
        return -ENOMEM;
    *ranges_n = 0;
    for (size_t i = 0; i < n; i++) {
        bool lower = i >= j->pick.upper_n;
        j->inputs[i] = input(j, lower, lower ? i - j->pick.upper_n : i)->table;
        *ranges_n += fc_table_ranges(j->inputs[i])->n;
    }
    j->ranges = malloc((*ranges_n + 1) * sizeof *j->ranges);
    if (j->ranges == NULL)
        return -ENOMEM;
    for (size_t i = 0, at = 0; i < n; i++) {
        const fc_range_set *set = fc_table_ranges(j->inputs[i]);
        if (set->n)
            memcpy(j->ranges + at, set->ranges, set->n * sizeof *set->ranges);
        at += set->n;
    }
    fc_level_init(&j->upper, j->inputs, j->pick.upper_n);
    fc_level_init(&j->lower, j->inputs + j->pick.upper_n, j->pick.lower_n);
    return 0;
}

static int begin_merge(fc_store *s)
{
    store_job *j = &s->job;
    const fc_keyspace_options *o = &j->options;
    size_t ranges_n, n = 0;
    int error = open_inputs(j, &ranges_n);
    fc_source *sources = calloc(j->pick.upper_n + 2, sizeof *sources);
    if (error < 0 || sources == NULL) {
        free(sources);
        return -ENOMEM;
    }
    j->how = (fc_read_options){.keep_out = true};
    for (size_t i = 0; j->pick.level == 0 && i < j->pick.upper_n; i++)
        sources[n++] = fc_source_table(j->inputs[i], &j->how);
    if (j->pick.level)
        sources[n++] = fc_source_level(&j->upper, &j->how);
    if (j->pick.lower_n)
        sources[n++] = fc_source_level(&j->lower, &j->how);
    unsigned below = j->pick.output_level + 1;
    fc_compaction_options options = {.disk = s->disk,
                                     .table = store_table_options(s, j->version->keyspace->id, o, 0),
                                     .table_bytes = o->table_bytes,
                                     .snapshots = j->snapshots,
                                     .snapshots_n = j->snapshots_n,
                                     .now_ms = j->now_ms,
                                     .below = &j->levels[below < FC_STORE_LEVELS ? below : 0],
                                     .below_n = FC_STORE_LEVELS - below,
                                     .below_bytes = (uint64_t)BELOW_TABLES * o->level_factor * o->table_bytes,
                                     .new_number = new_number,
                                     .name = name,
                                     .ctx = s};
    j->merge = fc_compaction_open(sources, n, j->ranges, ranges_n, &options);
    free(sources);
    return j->merge ? 0 : -ENOMEM;
}

static int begin(fc_store *s)
{
    store_job *j = &s->job;
    pthread_mutex_lock(&s->lock);
    bool asked = s->asks && !s->job_asked;
    pthread_mutex_unlock(&s->lock);
    s->job_asked = asked;
    int answer = asked ? store_job_choose_asked(s) : store_job_choose(s);
    if (answer == 0 && !asked) {
        answer = store_job_choose_asked(s);
        s->job_asked = true;
    }
    if (answer <= 0 || j->pick.reason == FC_PICK_NOTHING)
        return answer;
    answer = j->pick.move ? 0 : begin_merge(s);
    j->stage = j->pick.move ? JOB_INSTALL : JOB_MERGE;
    return answer < 0 ? answer : 1;
}

/* --- installing ------------------------------------------------------------------------------------------------- */

static void remove_outputs(fc_store *s)
{
    const fc_compaction_output *outputs;
    size_t n = s->job.merge ? fc_compaction_outputs(s->job.merge, &outputs) : 0;
    for (size_t i = 0; i < n; i++) {
        char file[STORE_NAME];
        store_table_name(file, outputs[i].number);
        store_remove_file(s, file);
    }
}

/* Opens the outputs, or takes what is moved. */
static int fill_change(fc_store *s, store_placed *add, store_placed *removed, store_change *change)
{
    store_job *j = &s->job;
    const fc_compaction_output *outputs;
    size_t n = j->merge ? fc_compaction_outputs(j->merge, &outputs) : 0;
    int error = 0;
    *change = (store_change){.add = add, .remove = removed};
    for (size_t i = 0; i < j->pick.upper_n; i++) {
        removed[change->remove_n++] = (store_placed){j->pick.level, input(j, false, i)};
        if (j->pick.move)
            add[change->add_n++] = (store_placed){j->pick.output_level, input(j, false, i)};
    }
    for (size_t i = 0; i < j->pick.lower_n; i++)
        removed[change->remove_n++] = (store_placed){j->pick.output_level, input(j, true, i)};
    for (size_t i = 0; i < n && error == 0; i++) {
        fc_damage damage = {0};
        store_table *t;
        error = store_table_open(s, outputs[i].number, &damage, &t);
        if (error == FC_STORE_ECORRUPT)
            store_note_damage(s, &damage);
        if (error == 0)
            add[change->add_n++] = (store_placed){j->pick.output_level, t};
    }
    return error;
}

static void count(const store_job *j)
{
    store_keyspace *ks = j->version->keyspace;
    fc_compaction_counts counts = {0};
    if (j->pick.move) {
        COUNT(&ks->moved, j->pick.upper_n);
        return;
    }
    fc_compaction_get_counts(j->merge, &counts);
    COUNT(&ks->compactions, 1);
    COUNT(&ks->read_bytes, j->pick.bytes);
    COUNT(&ks->written_bytes, counts.bytes_written);
}

/* *tried: the manifest was written to. */
static int install(fc_store *s, bool *tried)
{
    store_job *j = &s->job;
    const fc_compaction_output *outputs;
    size_t n = j->merge ? fc_compaction_outputs(j->merge, &outputs) : 0;
    store_placed *add = calloc(n + j->pick.upper_n + 1, sizeof *add);
    store_placed *removed = calloc(j->pick.upper_n + j->pick.lower_n, sizeof *removed);
    store_change change = {0};
    int error = add && removed ? fill_change(s, add, removed, &change) : -ENOMEM;
    *tried = error == 0;
    if (error == 0)
        error = store_install(s, j->version->keyspace, &change);
    if (error == FC_STORE_ENOKEYSPACE)
        *tried = false;
    if (error == 0)
        count(j);
    for (size_t i = 0; i < change.add_n && !j->pick.move; i++) {
        if (error == 0)
            store_table_unref(s, add[i].table);
        else
            store_table_drop(s, add[i].table, false);
    }
    free(add);
    free(removed);
    return error;
}

static void finish(fc_store *s)
{
    store_job *j = &s->job;
    store_ask *ask = j->ask;
    int error = ask ? store_ask_advance(ask, &j->pick, j->levels) : 0;
    store_job_clear(s);
    if (error < 0)
        store_ask_finish(s, ask, error);
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

/* The order is the store's third invariant: the outputs' bytes, their names, and only then the manifest. */
static int step(fc_store *s, bool *tried)
{
    store_job *j = &s->job;
    int answer = 0;
    switch (j->stage) {
    case JOB_IDLE:
        return begin(s);
    case JOB_MERGE:
        answer = fc_compaction_step(j->merge, STORE_STEP_BYTES);
        j->stage = answer == 0 ? JOB_NAME : JOB_MERGE;
        break;
    case JOB_NAME:
        answer = fc_disk_sync_dir(s->disk, "");
        j->stage = JOB_INSTALL;
        break;
    case JOB_INSTALL:
        answer = install(s, tried);
        if (answer == 0)
            finish(s);
        break;
    }
    return answer < 0 ? answer : 1;
}

int store_compact_step(fc_store *s)
{
    bool tried = false;
    int answer = store_alive(s) ? step(s, &tried) : -EIO;
    if (answer >= 0)
        return answer;
    store_ask *ask = s->job.ask;
    bool again = store_passes(answer) && LOAD(&s->error) == 0;
    if (again || !tried) /* else a manifest may name the files */
        remove_outputs(s);
    store_job_clear(s);
    if (ask)
        store_ask_finish(s, ask, store_error_of(answer));
    if (answer == FC_STORE_ENOKEYSPACE)
        return 1;
    if (!again)
        return store_fail(s, store_error_of(answer));
    pthread_mutex_lock(&s->lock);
    s->compact_waits = true;
    pthread_mutex_unlock(&s->lock);
    return 0; /* nothing has changed, and there is nothing to do before there is room */
}

void store_compact_abandon(fc_store *s)
{
    if (s->job.stage != JOB_IDLE)
        remove_outputs(s);
    store_job_clear(s);
    pthread_mutex_lock(&s->lock);
    int error = s->error ? s->error : FC_STORE_ECLOSED;
    store_ask *ask = s->asks;
    pthread_mutex_unlock(&s->lock);
    for (store_ask *next; ask; ask = next) {
        next = ask->next;
        store_ask_finish(s, ask, error);
    }
}
