/* A copy of the store at one moment, made of links.
 *
 * The moment is between two writes: every keyspace's memtable is switched with the writers' lock held, and until these
 * are tables no later one is flushed (fc_store.hold), so what all tables together hold is the store at that moment.
 * Then the versions are held, which keeps their files, and everything goes on while the links are made.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fc/unsafe.h"
#include "store_internal.h"

#define FOLDER_MAX 200u

typedef struct checkpoint {
    fc_store *s;
    char folder[FOLDER_MAX + 1], unfinished[FOLDER_MAX + 8];
    uint64_t seq;
    store_version **versions; /* held */
    size_t n;
    fc_edit state;
} checkpoint;

/* --- the moment ------------------------------------------------------------------------------------------------- */

static int begin(checkpoint *c)
{
    fc_store *s = c->s;
    pthread_mutex_lock(&s->writers);
    pthread_mutex_lock(&s->lock);
    int error = store_state(s);
    if (error == 0)
        s->hold = s->log_end;
    pthread_mutex_unlock(&s->lock);
    c->seq = s->last_seq;
    for (size_t i = 0; i < s->keyspaces_n && error == 0; i++)
        store_switch(s, s->keyspaces[i]);
    pthread_mutex_unlock(&s->writers);
    return error;
}

/* With the lock held: is anything of before the moment still in a memtable? */
static bool is_waiting(const fc_store *s)
{
    for (size_t i = 0; i < s->keyspaces_n; i++) {
        const store_version *v = s->keyspaces[i]->version;
        if (v->mems_n && v->mems[v->mems_n - 1]->log_from < s->hold)
            return true;
    }
    return false;
}

static int await_tables(fc_store *s)
{
    uint64_t failed = s->failed_flushes;
    int error = 0;
    while (error == 0 && is_waiting(s)) {
        error = store_state(s);
        if (error == 0 && s->failed_flushes != failed)
            error = s->flush_error;
        if (error == 0)
            error = store_progress(s, NULL);
    }
    return error > 0 ? FC_STORE_EBUSY : error;
}

/* With the lock held. */
static int take(checkpoint *c)
{
    fc_store *s = c->s;
    c->versions = calloc(s->keyspaces_n + 1, sizeof(store_version *));
    if (c->versions == NULL)
        return -ENOMEM;
    store_edit_store(s, &c->state, c->seq, 0);
    for (; c->n < s->keyspaces_n; c->n++)
        c->versions[c->n] = store_version_ref(s->keyspaces[c->n]->version);
    return c->state.error;
}

static int hold_moment(checkpoint *c)
{
    fc_store *s = c->s;
    int error = begin(c);
    if (error == 0) {
        pthread_mutex_lock(&s->lock);
        error = await_tables(s);
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_lock(&s->manifest_lock);
    pthread_mutex_lock(&s->lock);
    if (error == 0)
        error = take(c);
    s->hold = 0;
    pthread_cond_signal(&s->flush_work);
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->manifest_lock);
    return error;
}

/* --- its folder ------------------------------------------------------------------------------------------------- */

static int link_tables(const checkpoint *c, const store_version *v)
{
    int error = 0;
    for (size_t i = 0; i < v->at[FC_STORE_LEVELS] && error == 0; i++) {
        char name[STORE_NAME], to[sizeof c->unfinished + STORE_NAME + 1];
        store_table_name(name, v->tables[i]->meta.number);
        snprintf(to, sizeof to, "%s/%s", c->unfinished, name);
        error = fc_disk_link(c->s->disk, name, to);
    }
    return error;
}

static int write_manifest(checkpoint *c)
{
    fc_disk *inner;
    fc_manifest *m;
    int error = fc_disk_folder(c->s->disk, c->unfinished, &inner);
    if (error < 0)
        return error;
    error = fc_manifest_create(inner, store_new_number(c->s), &c->state, &m); /* syncs the folder, and so the links */
    if (error == 0)
        fc_manifest_close(m);
    fc_disk_close(inner);
    return error;
}

static int build(checkpoint *c)
{
    fc_disk *disk = c->s->disk;
    if (store_is_unfinished(disk, c->unfinished)) { /* an attempt that failed */
        int error = store_remove_folder(disk, c->unfinished);
        if (error < 0)
            return error;
    }
    int error = store_is_there(disk, c->unfinished);
    error = error == 1 ? FC_STORE_EEXISTS : error;
    if (error < 0)
        return error;
    error = fc_disk_make_dir(disk, c->unfinished);
    for (size_t i = 0; i < c->n && error == 0; i++)
        error = link_tables(c, c->versions[i]);
    if (error == 0)
        error = write_manifest(c);
    if (error == 0)
        error = fc_disk_rename(disk, c->unfinished, c->folder);
    if (error < 0) {
        if (store_alive(c->s))
            store_remove_folder(disk, c->unfinished);
        return error;
    }
    error = FC_UNSAFE(FC_UNSAFE_CHECKPOINT_NOT_SYNCED) ? 0 : fc_disk_sync_dir(disk, "");
    return error < 0 ? store_fail(c->s, error) : 0; /* other names may be lost with this one */
}

static int make(checkpoint *c)
{
    pthread_mutex_lock(&c->s->lock);
    int error = store_state(c->s);
    pthread_mutex_unlock(&c->s->lock);
    int there = error < 0 ? error : store_is_there(c->s->disk, c->folder);
    if (there != 0)
        return there < 0 ? there : FC_STORE_EEXISTS;
    error = hold_moment(c);
    return error == 0 ? build(c) : error;
}

int fc_store_checkpoint(fc_store *s, const char *folder)
{
    checkpoint c = {.s = s};
    if (*folder == '\0' || strlen(folder) > FOLDER_MAX || strchr(folder, '/') != NULL)
        return -EINVAL;
    snprintf(c.folder, sizeof c.folder, "%s", folder);
    snprintf(c.unfinished, sizeof c.unfinished, "%s" STORE_UNFINISHED, folder);
    pthread_mutex_lock(&s->checkpointing);
    int error = make(&c);
    pthread_mutex_unlock(&s->checkpointing);
    for (size_t i = 0; i < c.n; i++)
        store_version_unref(s, c.versions[i]);
    free(c.versions);
    fc_edit_free(&c.state);
    return error;
}
