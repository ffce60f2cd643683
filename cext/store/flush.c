/* Full memtables become tables of level 0, in small steps, so that a test can stop between any two of them. */
#include <errno.h>
#include <stdlib.h>

#include "fc/clock.h"
#include "fc/unsafe.h"
#include "store_internal.h"

/* --- which ------------------------------------------------------------------------------------------------------ */

/* With the lock held: the keyspace whose oldest memtable is full and keeps the oldest log. */
static store_keyspace *next_keyspace(const fc_store *s)
{
    store_keyspace *best = NULL;
    fc_wal_pos from = UINT64_MAX;
    for (size_t i = 0; i < s->keyspaces_n; i++) {
        const store_version *v = s->keyspaces[i]->version;
        const store_mem *m = v->mems_n ? v->mems[v->mems_n - 1] : NULL;
        if (m && m->full && m->log_from < from && (s->hold == 0 || m->log_from < s->hold)) {
            best = s->keyspaces[i];
            from = m->log_from;
        }
    }
    return best;
}

bool store_flush_wanted(const fc_store *s)
{
    return s->flush.stage != FLUSH_IDLE || next_keyspace(s) != NULL;
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

fc_table_options store_table_options(fc_store *s, uint32_t keyspace, const fc_keyspace_options *o, uint64_t number)
{
    return (fc_table_options){.block_bytes = o->block_bytes,
                              .restart_interval = o->restart_interval,
                              .filter_bits = o->filter_bits,
                              .codec = o->codec,
                              .codecs = &s->codecs,
                              .hash_key = s->hash_key,
                              .id = number,
                              .owner = keyspace};
}

static int begin(fc_store *s)
{
    store_flush *f = &s->flush;
    char name[STORE_NAME];
    pthread_mutex_lock(&s->lock);
    store_keyspace *ks = next_keyspace(s);
    if (ks == NULL) {
        pthread_mutex_unlock(&s->lock);
        return 0;
    }
    *f = (store_flush){.stage = FLUSH_ENTRIES, .version = store_version_ref(ks->version)};
    f->mem = f->version->mems[f->version->mems_n - 1];
    f->snapshots = store_snapshots(s, &f->snapshots_n);
    s->flush_waits = false;
    fc_keyspace_options options = ks->options;
    pthread_mutex_unlock(&s->lock);
    f->number = store_new_number(s);
    store_table_name(name, f->number);
    fc_table_options table = store_table_options(s, ks->id, &options, f->number);
    f->it = fc_memtable_iter(f->mem->table, NULL);
    if (f->it == NULL || f->snapshots == NULL)
        return -ENOMEM;
    fc_iter_first(f->it);
    int error = fc_table_writer_open(s->disk, name, &table, &f->writer);
    return error < 0 ? error : 1;
}

static int add_ranges(store_flush *f)
{
    size_t n = fc_memtable_ranges(f->mem->table, NULL, 0);
    fc_range *ranges = calloc(n + 1, sizeof *ranges);
    int error = ranges ? 0 : -ENOMEM;
    if (ranges)
        fc_memtable_ranges(f->mem->table, ranges, n);
    for (size_t i = 0; i < n && error == 0; i++)
        error = fc_table_add_range(f->writer, &ranges[i]);
    free(ranges);
    return error;
}

/* Versions that no snapshot and no later reader can get stay behind. */
static int add_entry(store_flush *f)
{
    const fc_iter *it = f->it;
    uint64_t seq = fc_tag_seq(it->tag);
    bool older = f->any && fc_key_equal(it->key, f->last);
    if (older && (!store_needed(f->snapshots, f->snapshots_n, seq, f->last_seq) || FC_UNSAFE(FC_UNSAFE_SNAPSHOTS_FORGOTTEN)))
        return 0;
    f->any = true;
    f->last = it->key; /* the memtable's bytes, which stay */
    f->last_seq = seq;
    return fc_table_add(f->writer, it->key, it->tag, it->value);
}

static int add_entries(store_flush *f)
{
    int error = 0;
    for (uint64_t bytes = 0; f->it->valid && bytes < STORE_STEP_BYTES && error == 0; fc_iter_next(f->it)) {
        bytes += f->it->key.n + f->it->value.n + FC_TAG_BYTES;
        error = add_entry(f);
    }
    if (error < 0 || f->it->valid)
        return error;
    fc_table_properties p;
    error = add_ranges(f);
    if (error == 0)
        error = fc_table_finish(f->writer, &p);
    f->nothing = error == 0 && p.entries + p.ranges == 0;
    f->stage = FLUSH_SYNC;
    return error;
}

static int install(fc_store *s)
{
    store_flush *f = &s->flush;
    store_keyspace *ks = f->version->keyspace;
    fc_damage damage;
    store_table *t = NULL;
    store_placed add = {0, NULL};
    if (!f->nothing) {
        int error = store_table_open(s, f->number, &damage, &t);
        if (error < 0) {
            if (error == FC_STORE_ECORRUPT)
                store_note_damage(s, &damage);
            return error;
        }
        add.table = t;
    }
    store_change change = {.remove_mem = f->mem, .add = &add, .add_n = t != NULL};
    int error = store_install(s, ks, &change);
    if (t && error == FC_STORE_ENOKEYSPACE) {
        store_table_drop(s, t, true);
    } else if (t && error < 0) {
        store_table_drop(s, t, false); /* a manifest may name it */
    } else if (t) {
        COUNT(&ks->flushes, 1);
        COUNT(&ks->flushed_bytes, t->meta.bytes);
        store_table_unref(s, t);
    }
    return error;
}

static void finish(fc_store *s, bool remove)
{
    store_flush *f = &s->flush;
    char name[STORE_NAME];
    store_table_name(name, f->number);
    fc_iter_close(f->it);
    fc_table_writer_close(f->writer);
    free(f->snapshots);
    if (remove && f->writer)
        store_remove_file(s, name);
    store_version_unref(s, f->version);
    *f = (store_flush){0};
}

void store_flush_abandon(fc_store *s)
{
    if (s->flush.stage != FLUSH_IDLE)
        finish(s, true);
}

/* The order is the store's third invariant: bytes, name, log, and only then the manifest. */
static int step(fc_store *s)
{
    store_flush *f = &s->flush;
    int error = 0;
    switch (f->stage) {
    case FLUSH_IDLE:
        return begin(s);
    case FLUSH_ENTRIES:
        error = add_entries(f);
        break;
    case FLUSH_SYNC:
        error = f->nothing || FC_UNSAFE(FC_UNSAFE_TABLE_AFTER_MANIFEST) ? 0 : fc_table_writer_sync(f->writer);
        f->stage = FLUSH_NAME;
        break;
    case FLUSH_NAME:
        error = f->nothing || FC_UNSAFE(FC_UNSAFE_TABLE_FOLDER_NOT_SYNCED) ? 0 : fc_disk_sync_dir(s->disk, "");
        f->stage = FLUSH_LOG;
        break;
    case FLUSH_LOG:
        error = FC_UNSAFE(FC_UNSAFE_LOG_NOT_WAITED_FOR) ? 0 : fc_wal_wait(s->log, f->mem->log_to);
        f->stage = FLUSH_INSTALL;
        break;
    case FLUSH_INSTALL:
        error = install(s);
        if (FC_UNSAFE(FC_UNSAFE_TABLE_AFTER_MANIFEST) && error == 0 && !f->nothing)
            error = fc_table_writer_sync(f->writer);
        if (error == 0 || error == FC_STORE_ENOKEYSPACE) {
            finish(s, f->nothing);
            error = 0;
        }
        break;
    }
    return error < 0 ? error : 1;
}

/* What may be better later. Nothing that was written is needed: the memtable and the log have it still, so a table that
 * is written anew is not the second try of a write that failed. */
bool store_passes(int error)
{
    return error == -ENOSPC || error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

int store_flush_step(fc_store *s)
{
    int answer = store_alive(s) ? step(s) : -EIO;
    if (answer >= 0)
        return answer;
    bool again = store_passes(answer) && LOAD(&s->error) == 0;
    if (s->flush.stage != FLUSH_IDLE)
        finish(s, again || s->flush.stage != FLUSH_INSTALL); /* else a manifest may name the file */
    if (!again)
        return store_fail(s, answer);
    pthread_mutex_lock(&s->lock);
    s->flush_waits = true;
    s->flush_error = answer;
    s->failed_flushes++;
    pthread_cond_broadcast(&s->progress);
    pthread_mutex_unlock(&s->lock);
    return answer;
}

/* --- asked for -------------------------------------------------------------------------------------------------- */

int store_await_flushed(fc_store *s, store_keyspace *ks, uint64_t seq)
{
    pthread_mutex_lock(&s->lock);
    uint64_t failed = s->failed_flushes;
    int error = 0;
    while (error == 0 && ks->flushed_seq < seq) {
        error = ks->dropped ? FC_STORE_ENOKEYSPACE : store_state(s);
        if (error == 0 && s->failed_flushes != failed)
            error = s->flush_error;
        if (error == 0)
            error = store_progress(s, NULL);
    }
    pthread_mutex_unlock(&s->lock);
    return error > 0 ? FC_STORE_EBUSY : error; /* there was nothing to do, and it is not done */
}

int fc_store_flush(fc_store *s, uint32_t keyspace)
{
    pthread_mutex_lock(&s->writers);
    store_keyspace *ks = store_find(s, keyspace);
    int error = s->closed ? FC_STORE_ECLOSED : LOAD(&s->error) ? LOAD(&s->error) : ks ? 0 : FC_STORE_ENOKEYSPACE;
    uint64_t seq = s->last_seq;
    if (error == 0) {
        store_keyspace_ref(ks);
        if (ks->active && ks->active->last_seq)
            store_switch(s, ks);
        pthread_mutex_lock(&s->lock);
        const store_version *v = ks->version;
        seq = 0; /* of the newest that is full */
        for (size_t i = v->mems_n; i-- > 0;)
            if (v->mems[i]->full && v->mems[i]->last_seq > seq)
                seq = v->mems[i]->last_seq;
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&s->writers);
    if (error < 0)
        return error;
    error = store_await_flushed(s, ks, seq);
    store_keyspace_unref(ks);
    return error;
}
