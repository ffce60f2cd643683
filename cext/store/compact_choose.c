/* Which compaction is next, of which keyspace; and how much there is to do. */
#include <errno.h>
#include <stdlib.h>

#include "store_internal.h"

#define LOOK_MS 10000u /* how often what expires is looked at */

/* --- what there is ---------------------------------------------------------------------------------------------- */

static fc_pick_table *pick_levels(const store_version *v, fc_pick_level *levels)
{
    fc_pick_table *tables = calloc(v->at[FC_STORE_LEVELS] + 1, sizeof *tables);
    for (size_t i = 0; tables && i < v->at[FC_STORE_LEVELS]; i++) {
        const fc_table_properties *p = fc_table_get_properties(v->handles[i]);
        tables[i] = (fc_pick_table){&v->tables[i]->meta, p->keys, p->last_expiry, false};
    }
    for (unsigned i = 0; tables && i < FC_STORE_LEVELS; i++)
        levels[i] = (fc_pick_level){tables + v->at[i], v->at[i + 1] - v->at[i]};
    return tables;
}

static fc_pick_options pick_options(const fc_keyspace_options *o, uint64_t now_ms, uint64_t oldest_snapshot)
{
    return (fc_pick_options){.levels = FC_STORE_LEVELS,
                             .level0_tables = o->level0_tables,
                             .level_bytes = o->level_bytes,
                             .level_factor = o->level_factor,
                             .table_bytes = o->table_bytes,
                             .now_ms = now_ms,
                             .oldest_snapshot = oldest_snapshot};
}

void store_note_debt(fc_store *s, store_keyspace *ks)
{
    fc_pick_level levels[FC_STORE_LEVELS];
    pthread_mutex_lock(&s->lock);
    store_version *v = ks->version ? store_version_ref(ks->version) : NULL;
    pthread_mutex_unlock(&s->lock);
    fc_pick_table *tables = v ? pick_levels(v, levels) : NULL;
    fc_pick_options options = pick_options(&ks->options, 0, 0);
    if (tables)
        STORE(&ks->debt, fc_compaction_debt(levels, &options));
    free(tables);
    if (v)
        store_version_unref(s, v);
}

/* With the lock held. */
static bool to_look_at(const fc_store *s, const store_keyspace *ks, uint64_t now_ms)
{
    return ks->unsettled || ks->releases != s->releases || now_ms >= ks->look_ms;
}

bool store_compact_wanted(const fc_store *s, uint64_t now_ms)
{
    bool wanted = s->job.stage != JOB_IDLE || s->asks != NULL;
    for (size_t i = 0; i < s->keyspaces_n && !wanted; i++)
        wanted = to_look_at(s, s->keyspaces[i], now_ms);
    return wanted;
}

/* --- what is next ----------------------------------------------------------------------------------------------- */

void store_job_clear(fc_store *s)
{
    store_job *j = &s->job;
    fc_compaction_close(j->merge);
    fc_pick_free(&j->pick);
    free(j->tables);
    free(j->snapshots);
    free(j->inputs);
    free(j->ranges);
    if (j->version)
        store_version_unref(s, j->version);
    *j = (store_job){0};
}

/* With the lock held: the job's view of a keyspace. */
static bool hold(fc_store *s, store_keyspace *ks)
{
    store_job *j = &s->job;
    j->version = store_version_ref(ks->version);
    j->options = ks->options;
    j->snapshots = store_snapshots(s, &j->snapshots_n);
    return j->snapshots != NULL;
}

static int levels_of_job(store_job *j, fc_pick_options *options)
{
    j->tables = pick_levels(j->version, j->levels);
    *options = pick_options(&j->options, j->now_ms, j->snapshots_n ? j->snapshots[0] : FC_SEQ_MAX);
    return j->tables ? 0 : -ENOMEM;
}

/* Would there be something to do if there were no snapshots? */
static bool kept_by_snapshots(const store_job *j, fc_pick_options options)
{
    fc_pick pick;
    options.oldest_snapshot = FC_SEQ_MAX;
    if (j->snapshots_n == 0 || fc_compaction_pick(j->levels, &options, &pick) < 0)
        return j->snapshots_n > 0;
    bool kept = pick.reason != FC_PICK_NOTHING;
    fc_pick_free(&pick);
    return kept;
}

/* Nothing to do: until the version changes, the oldest snapshot goes, or time has passed for what expires. */
static void settle(fc_store *s, const fc_pick_options *options)
{
    store_job *j = &s->job;
    store_keyspace *ks = j->version->keyspace;
    bool expiring = false, kept = kept_by_snapshots(j, *options);
    for (size_t i = 0; i < j->version->at[FC_STORE_LEVELS]; i++)
        expiring = expiring || j->tables[i].meta->expiring;
    pthread_mutex_lock(&s->lock);
    if (ks->version == j->version && options->oldest_snapshot == (s->oldest ? s->oldest->seq : FC_SEQ_MAX)) {
        ks->unsettled = false;
        ks->releases = s->releases;
        ks->look_ms = expiring ? j->now_ms + LOOK_MS : UINT64_MAX;
        s->kept = s->kept || kept;
    }
    pthread_mutex_unlock(&s->lock);
}

/* The keyspaces take turns. */
int store_job_choose(fc_store *s)
{
    store_job *j = &s->job;
    fc_pick_options options;
    uint64_t now_ms = store_now_ms(s);
    int answer = 0;
    for (size_t tries = 0, n = 1; answer == 0 && tries < n; tries++) {
        pthread_mutex_lock(&s->lock);
        n = s->keyspaces_n;
        s->job_keyspace = s->job_keyspace + 1 < n ? s->job_keyspace + 1 : 0;
        store_keyspace *ks = n ? s->keyspaces[s->job_keyspace] : NULL;
        bool look = ks && to_look_at(s, ks, now_ms);
        bool memory = !look || hold(s, ks);
        pthread_mutex_unlock(&s->lock);
        if (!look)
            continue;
        j->now_ms = now_ms;
        answer = memory ? levels_of_job(j, &options) : -ENOMEM;
        if (answer == 0)
            answer = fc_compaction_pick(j->levels, &options, &j->pick);
        if (answer == 0 && j->pick.reason)
            return 1;
        if (answer == 0)
            settle(s, &options);
        store_job_clear(s);
    }
    return answer;
}

int store_job_choose_asked(fc_store *s)
{
    store_job *j = &s->job;
    fc_pick_options options;
    pthread_mutex_lock(&s->lock);
    store_ask *ask = s->asks;
    bool left = ask && (ask->gone || ask->keyspace->dropped);
    bool memory = ask == NULL || left || hold(s, ask->keyspace);
    pthread_mutex_unlock(&s->lock);
    if (ask == NULL)
        return 0;
    if (left) {
        store_ask_finish(s, ask, FC_STORE_ENOKEYSPACE);
        return 1;
    }
    j->now_ms = store_now_ms(s);
    int answer = memory ? levels_of_job(j, &options) : -ENOMEM;
    if (answer == 0)
        answer = store_ask_pick(s, ask, j->levels, &options, &j->pick);
    if (answer == 1) {
        j->ask = ask;
        return 1;
    }
    store_job_clear(s);
    if (answer < 0)
        store_ask_finish(s, ask, answer);
    return 1;
}
