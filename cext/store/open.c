/* A store's life from open to close. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "store_internal.h"

static fc_store *make(fc_disk *disk, const fc_store_options *options)
{
    fc_store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->disk = disk;
    s->options = *options;
    s->replaying = true;
    s->next_file = 1;
    s->turns = options->seed;
    pthread_mutex_t *locks[] = {&s->checkpointing, &s->manifest_lock, &s->writers, &s->lock};
    for (size_t i = 0; i < FC_ARRAY_LEN(locks); i++)
        pthread_mutex_init(locks[i], NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_t *conditions[] = {&s->flush_work, &s->compact_work, &s->progress};
    for (size_t i = 0; i < FC_ARRAY_LEN(conditions); i++)
        pthread_cond_init(conditions[i], &monotonic);
    pthread_condattr_destroy(&monotonic);
    fc_codecs_open(&s->codecs);
    return s;
}

static void release(fc_store *s)
{
    for (size_t i = 0; i < s->keyspaces_n; i++) {
        store_keyspace *ks = s->keyspaces[i];
        if (ks->version)
            store_version_unref(s, ks->version);
        store_keyspace_unref(ks);
    }
    store_sweep(s);
    free(s->keyspaces);
    for (size_t i = 0; i < s->shares_cap; i++)
        free(s->shares[i].end.p);
    free(s->shares);
    fc_manifest_close(s->manifest);
    if (s->log)
        fc_wal_close(s->log);
    if (s->lock_file)
        fc_file_close(s->lock_file);
    if (s->cache)
        fc_block_cache_free(s->cache);
    fc_codecs_close(&s->codecs);
    pthread_mutex_t *locks[] = {&s->checkpointing, &s->manifest_lock, &s->writers, &s->lock};
    for (size_t i = 0; i < FC_ARRAY_LEN(locks); i++)
        pthread_mutex_destroy(locks[i]);
    pthread_cond_t *conditions[] = {&s->flush_work, &s->compact_work, &s->progress};
    for (size_t i = 0; i < FC_ARRAY_LEN(conditions); i++)
        pthread_cond_destroy(conditions[i]);
    free(s);
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int random_key(fc_store *s)
{
    uint64_t seed = s->options.seed;
    if (seed)
        s->hash_key = (fc_hash_key){fc_hash_next(&seed), fc_hash_next(&seed)};
    else if (getrandom(&s->hash_key, sizeof s->hash_key, 0) != sizeof s->hash_key)
        return -errno;
    return 0;
}

/* Without CURRENT there is no store; but one that has lost it is not to be taken for none. */
static int create(fc_store *s, fc_damage *damage)
{
    bool any;
    int error = store_leftovers(s, &any);
    if (error == 0 && any) {
        *damage = (fc_damage){.name = "CURRENT", .what = "it is missing, and there are tables or a log"};
        return FC_STORE_ECORRUPT;
    }
    if (error == 0)
        error = random_key(s);
    if (error < 0)
        return error;
    s->next_keyspace = 1;
    store_keyspace *ks = store_keyspace_new(0, (fc_slice){"default", 7}, &s->options.defaults);
    if (ks == NULL || store_keyspace_add(s, ks) < 0) {
        if (ks)
            store_keyspace_unref(ks);
        return -ENOMEM;
    }
    pthread_mutex_lock(&s->lock);
    error = store_publish(s, ks, &(store_change){0});
    pthread_mutex_unlock(&s->lock);
    return error;
}

static int open_log(fc_store *s, fc_damage *damage)
{
    fc_wal_options options = s->options.log;
    fc_wal_report report;
    options.threaded = s->options.threaded;
    options.on_durable = NULL;
    options.ctx = NULL;
    if (options.salt_seed == 0)
        options.salt_seed = s->options.seed;
    int error = fc_wal_open(s->disk, &options, &s->log);
    if (error == FC_WAL_ECORRUPT) {
        fc_wal_get_report(s->log, &report);
        *damage = (fc_damage){.offset = report.corrupt_offset, .what = fc_wal_strerror(error)};
        snprintf(damage->name, sizeof damage->name, "%s", report.corrupt_name);
        return FC_STORE_ECORRUPT;
    }
    return error == FC_WAL_ELOCKED ? FC_STORE_ELOCKED : error == FC_WAL_EFORMAT ? FC_STORE_EFORMAT : error;
}

/* The manifest of a new store is there before its log is: a log without a manifest is a store that was damaged. */
static int recover(fc_store *s, bool there, fc_damage *damage)
{
    int error = there ? store_read_manifest(s, damage) : create(s, damage);
    if (error == 0) {
        STORE(&s->visible, s->last_seq);
        store_find(s, 0)->options = s->options.defaults;
        error = there ? open_log(s, damage) : 0;
    }
    if (error == 0)
        error = store_begin_manifest(s);
    if (error == 0 && !there)
        error = open_log(s, damage);
    for (size_t i = 0; i < s->keyspaces_n && error == 0; i++)
        store_note_debt(s, s->keyspaces[i]);
    if (error == 0)
        error = store_start(s);
    if (error == 0)
        error = store_replay_log(s, damage);
    return error;
}

static int open_locked(fc_store *s, fc_damage *damage)
{
    int error = fc_disk_lock(s->disk, FC_STORE_LOCK, &s->lock_file);
    if (error < 0)
        return error == -EAGAIN ? FC_STORE_ELOCKED : error;
    int there = store_is_there(s->disk, "CURRENT");
    if (there < 0)
        return there;
    if (there && s->options.must_create)
        return FC_STORE_EEXISTS;
    if (!there && !s->options.create)
        return FC_STORE_EMISSING;
    s->cache = fc_block_cache_new(s->options.cache_bytes, 0);
    return s->cache ? recover(s, there, damage) : -ENOMEM;
}

int fc_store_open(fc_disk *disk, const fc_store_options *options, fc_damage *damage, fc_store **out)
{
    fc_damage unasked, *where = damage ? damage : &unasked;
    *where = (fc_damage){0};
    if (!store_options_sensible(options))
        return -EINVAL;
    if (!options->create && !options->must_create) { /* leave no lock file where there is nothing */
        int there = store_is_there(disk, "CURRENT");
        if (there <= 0)
            return there < 0 ? there : FC_STORE_EMISSING;
    }
    fc_store *s = make(disk, options);
    if (s == NULL)
        return -ENOMEM;
    int error = open_locked(s, where);
    if (error < 0) {
        s->closed = true;
        if (s->log)
            store_end(s);
        release(s);
        return error;
    }
    pthread_mutex_lock(&s->writers);
    s->replaying = false;
    pthread_mutex_unlock(&s->writers);
    pthread_mutex_lock(&s->lock);
    fc_wal_pos needed = s->log_begin;
    store_ask_compaction(s);
    pthread_mutex_unlock(&s->lock);
    fc_wal_truncate_before(s->log, needed);
    *out = s;
    return 0;
}

/* --- closing ---------------------------------------------------------------------------------------------------- */

/* False: another caller was first. */
static bool begin_stop(fc_store *s)
{
    pthread_mutex_lock(&s->writers);
    pthread_mutex_lock(&s->lock);
    bool first = !s->closed;
    s->closed = true;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->writers);
    return first;
}

/* To the log damage in its last batch looks as if the batch had never been whole. So a store that is closed puts a record
 * behind it, of a batch that begins after it was synced: then only damage to that record goes unnoticed. */
static int seal_log(fc_store *s)
{
    fc_wal_pos pos;
    int error = fc_wal_wait(s->log, fc_wal_end(s->log));
    if (error < 0 || s->sealed)
        return error;
    error = fc_wal_append(s->log, STORE_RECORD_CLOSED, NULL, 0, true, &pos);
    return error == -ENOSPC ? 0 : error;
}

int fc_store_stop(fc_store *s)
{
    bool first = begin_stop(s);
    if (first) {
        store_end(s);
        pthread_mutex_lock(&s->checkpointing); /* who is at it ends first */
        pthread_mutex_lock(&s->manifest_lock);
        int sealed = seal_log(s), error = fc_wal_stop(s->log);
        error = error < 0 ? error : sealed;
        if (error < 0)
            store_fail(s, error);
        fc_manifest_close(s->manifest);
        s->manifest = NULL;
        fc_file_close(s->lock_file);
        s->lock_file = NULL;
        pthread_mutex_unlock(&s->manifest_lock);
        pthread_mutex_unlock(&s->checkpointing);
    }
    pthread_mutex_lock(&s->lock);
    s->stopped = s->stopped || first;
    pthread_cond_broadcast(&s->progress);
    while (!s->stopped)
        pthread_cond_wait(&s->progress, &s->lock);
    int error = s->error;
    pthread_mutex_unlock(&s->lock);
    return error;
}

int fc_store_close(fc_store *s)
{
    int error = fc_store_stop(s);
    release(s);
    return error;
}
