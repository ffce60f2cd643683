/* Changes of what the store consists of: durable in the manifest, then visible. */
#include <errno.h>
#include <stdlib.h>

#include "fc/unsafe.h"
#include "store_internal.h"

uint64_t store_new_number(fc_store *s) { return COUNT(&s->next_file, 1); }

void store_edit_number(fc_edit *e, uint32_t id, uint64_t number)
{
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_NUMBER, .id = id, .number = number});
}

void store_edit_keyspace(fc_edit *e, const store_keyspace *ks)
{
    char options[STORE_OPTIONS_BYTES];
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_KEYSPACE,
                                   .keyspace = ks->id,
                                   .name = {ks->name.p, ks->name.n},
                                   .bytes = store_options_put(options, &ks->options)});
}

static void edit_table(fc_edit *e, fc_edit_kind kind, uint32_t keyspace, unsigned level, const store_table *t)
{
    fc_edit_add(e, &(fc_edit_item){.kind = kind, .keyspace = keyspace, .level = level, .table = t->meta});
}

static void edit_cursor(fc_edit *e, uint32_t keyspace, unsigned level, fc_slice key)
{
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_CURSOR, .keyspace = keyspace, .level = level, .bytes = key});
}

fc_wal_pos store_log_needed(fc_store *s, const store_mem *without)
{
    /* Who has a memtable published it before it wrote to the log (write.c). So if there is none, everything up to the
     * log's end is in tables; but only what is durable of it is not written anew after a crash. */
    fc_wal_pos durable = fc_wal_durable(s->log), needed = LOAD(&s->log_end);
    needed = durable < needed ? durable : needed;
    for (size_t i = 0; i < s->keyspaces_n; i++) {
        const store_version *v = s->keyspaces[i]->version;
        for (size_t k = 0; k < v->mems_n; k++)
            if (v->mems[k] != without && v->mems[k]->log_from < needed)
                needed = v->mems[k]->log_from;
    }
    return needed;
}

static void edit_numbers(fc_store *s, fc_edit *e, uint64_t last_seq, fc_wal_pos log_begin)
{
    store_edit_number(e, STORE_NUMBER_NEXT_FILE, LOAD(&s->next_file));
    store_edit_number(e, STORE_NUMBER_LAST_SEQ, last_seq);
    store_edit_number(e, STORE_NUMBER_LOG_BEGIN, log_begin);
}

static void edit_flushed(fc_edit *e, uint32_t keyspace, uint64_t seq)
{
    if (seq)
        store_edit_number(e, STORE_NUMBER_FLUSHED + keyspace, seq);
}

static void edit_version(fc_edit *e, const store_version *v)
{
    for (unsigned level = 0; level < FC_STORE_LEVELS; level++)
        for (size_t i = v->at[level]; i < v->at[level + 1]; i++)
            edit_table(e, FC_EDIT_ADD_TABLE, v->keyspace->id, level, v->tables[i]);
}

void store_edit_store(fc_store *s, fc_edit *e, uint64_t last_seq, fc_wal_pos log_begin)
{
    char hash_key[16];
    fc_put64(hash_key, s->hash_key.k0);
    fc_put64(hash_key + 8, s->hash_key.k1);
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_BYTES, .id = STORE_BYTES_HASH_KEY, .bytes = {hash_key, 16}});
    store_edit_number(e, STORE_NUMBER_NEXT_KEYSPACE, s->next_keyspace);
    edit_numbers(s, e, last_seq, log_begin);
    for (size_t i = 0; i < s->keyspaces_n; i++) {
        const store_keyspace *ks = s->keyspaces[i];
        store_edit_keyspace(e, ks);
        edit_flushed(e, ks->id, ks->flushed_seq);
        edit_version(e, ks->version);
        for (unsigned level = 0; level < FC_STORE_LEVELS; level++)
            if (ks->cursors[level].p)
                edit_cursor(e, ks->id, level, (fc_slice){ks->cursors[level].p, ks->cursors[level].n});
    }
}

void store_state_edit(fc_store *s, fc_edit *e)
{
    pthread_mutex_lock(&s->lock);
    store_edit_store(s, e, LOAD(&s->visible), s->log_begin);
    pthread_mutex_unlock(&s->lock);
}

/* --- the manifest ----------------------------------------------------------------------------------------------- */

/* A manifest that has grown too long is followed by a new one, as is one that found no room for an edit. That one's
 * state and the new one's are the same, so it is no harm if the change from one to the other fails halfway and is tried
 * again; but each try would leave a file, so there is none without room. */
static int begin_anew(fc_store *s)
{
    char name[FC_MANIFEST_NAME_MAX];
    fc_manifest *fresh, *old = s->manifest;
    fc_edit e = {0};
    store_state_edit(s, &e);
    int error = e.error;
    if (error == 0 && fc_disk_free_bytes(s->disk) < (int64_t)e.n + STORE_MANIFEST_ROOM)
        error = -ENOSPC;
    if (error == 0)
        error = fc_manifest_create(s->disk, store_new_number(s), &e, &fresh);
    fc_edit_free(&e);
    if (error < 0)
        return error;
    fc_manifest_name(name, fc_manifest_number(old));
    fc_manifest_close(old);
    store_remove_file(s, name);
    s->manifest = fresh;
    s->manifest_first = fc_manifest_bytes(fresh);
    s->manifest_full = false;
    return 0;
}

/* The only error that is not for good: there was no room to write the edit. What was written of it is no record. */
static int append(fc_store *s, const fc_edit *edit)
{
    uint64_t before = fc_manifest_bytes(s->manifest);
    int error = fc_manifest_append(s->manifest, edit);
    STORE(&s->manifest_bytes, fc_manifest_bytes(s->manifest));
    s->manifest_full = error == -ENOSPC && fc_manifest_bytes(s->manifest) == before;
    return error < 0 && !s->manifest_full ? store_fail(s, error) : error;
}

int store_append_edit(fc_store *s, const fc_edit *edit)
{
    if (edit->error < 0)
        return edit->error;
    if (!store_alive(s))
        return store_fail(s, -EIO);
    if (s->manifest_full || fc_manifest_bytes(s->manifest) > STORE_MANIFEST_BYTES_MAX + 2 * s->manifest_first) {
        int error = begin_anew(s);
        if (error == -ENOSPC && !s->manifest_full)
            error = 0; /* the old one will do */
        if (error < 0)
            return error == -ENOSPC ? error : store_fail(s, error);
    }
    return append(s, edit);
}

/* --- changes of a keyspace -------------------------------------------------------------------------------------- */

int store_set_cursor(store_keyspace *ks, unsigned level, fc_slice key)
{
    char *p = realloc(ks->cursors[level].p, key.n + 1);
    if (p == NULL)
        return -ENOMEM;
    if (key.n)
        memcpy(p, key.p, key.n);
    ks->cursors[level] = (store_key){p, key.n};
    return 0;
}

static void edit_of(fc_store *s, store_keyspace *ks, const store_change *c, fc_wal_pos log_begin, fc_edit *e)
{
    for (size_t i = 0; i < c->remove_n; i++)
        edit_table(e, FC_EDIT_REMOVE_TABLE, ks->id, c->remove[i].level, c->remove[i].table);
    for (size_t i = 0; i < c->add_n; i++)
        edit_table(e, FC_EDIT_ADD_TABLE, ks->id, c->add[i].level, c->add[i].table);
    if (c->has_cursor)
        edit_cursor(e, ks->id, c->cursor_level, c->cursor);
    if (c->remove_mem)
        edit_flushed(e, ks->id, c->remove_mem->last_seq);
    edit_numbers(s, e, LOAD(&s->visible), log_begin);
}

static int make_visible(fc_store *s, store_keyspace *ks, const store_change *c, fc_wal_pos log_begin)
{
    pthread_mutex_lock(&s->lock);
    int error = c->has_cursor ? store_set_cursor(ks, c->cursor_level, c->cursor) : 0;
    if (error == 0)
        error = store_publish(s, ks, c);
    if (error == 0 && c->remove_mem) {
        if (c->remove_mem->last_seq)
            ks->flushed_seq = c->remove_mem->last_seq;
        s->log_begin = log_begin;
        s->stalls -= ks->stalled;
        ks->stalled = false;
    }
    pthread_cond_broadcast(&s->progress);
    store_ask_compaction(s);
    pthread_mutex_unlock(&s->lock);
    return error < 0 ? store_fail(s, error) : 0; /* the manifest has it */
}

/* Does nothing but in a test (fc/unsafe.h): what the edit makes superfluous goes before it is durable. */
static void give_up_early(fc_store *s, const store_change *c, fc_wal_pos log_begin)
{
    bool moves = c->add_n && c->remove_n && c->add[0].table == c->remove[0].table;
    if (FC_UNSAFE(FC_UNSAFE_LOG_GIVEN_UP_EARLY) && c->remove_mem) {
        fc_wal_truncate_before(s->log, log_begin);
        fc_wal_step(s->log);
    }
    for (size_t i = 0; FC_UNSAFE(FC_UNSAFE_TABLES_REMOVED_EARLY) && i < c->remove_n && !moves; i++) {
        char name[STORE_NAME];
        store_table_name(name, c->remove[i].table->meta.number);
        store_remove_file(s, name);
    }
}

int store_install(fc_store *s, store_keyspace *ks, const store_change *c)
{
    fc_edit e = {0};
    pthread_mutex_lock(&s->manifest_lock);
    pthread_mutex_lock(&s->lock);
    int error = ks->dropped ? FC_STORE_ENOKEYSPACE : s->error;
    fc_wal_pos log_begin = c->remove_mem ? store_log_needed(s, c->remove_mem) : s->log_begin;
    pthread_mutex_unlock(&s->lock);
    if (error == 0) {
        give_up_early(s, c, log_begin);
        edit_of(s, ks, c, log_begin, &e);
        error = store_append_edit(s, &e);
        if (error == 0)
            error = make_visible(s, ks, c, log_begin);
        if (error == 0)
            store_note_debt(s, ks);
    }
    pthread_mutex_unlock(&s->manifest_lock);
    fc_edit_free(&e);
    if (error == 0 && c->remove_mem)
        fc_wal_truncate_before(s->log, log_begin);
    return error;
}
