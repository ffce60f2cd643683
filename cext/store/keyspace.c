/* Keyspaces by name and number: made, changed, dropped. */
#include <errno.h>
#include <stdlib.h>

#include "store_internal.h"

/* Where the keyspace is, or would go. */
static size_t place_of(const fc_store *s, uint32_t id)
{
    size_t from = 0, to = s->keyspaces_n;
    if (id < to && s->keyspaces[id]->id == id) /* none was dropped: the usual case */
        return id;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (s->keyspaces[middle]->id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

store_keyspace *store_find(fc_store *s, uint32_t id)
{
    size_t i = place_of(s, id);
    return i < s->keyspaces_n && s->keyspaces[i]->id == id ? s->keyspaces[i] : NULL;
}

int store_keyspace_add(fc_store *s, store_keyspace *ks)
{
    if (s->keyspaces_n == s->keyspaces_cap) {
        size_t cap = s->keyspaces_cap ? 2 * s->keyspaces_cap : 8;
        store_keyspace **grown = realloc(s->keyspaces, cap * sizeof(store_keyspace *));
        if (grown == NULL)
            return -ENOMEM;
        s->keyspaces = grown;
        s->keyspaces_cap = cap;
    }
    size_t i = place_of(s, ks->id);
    memmove(s->keyspaces + i + 1, s->keyspaces + i, (s->keyspaces_n - i) * sizeof(store_keyspace *));
    s->keyspaces[i] = ks;
    s->keyspaces_n++;
    return 0;
}

void store_keyspace_remove(fc_store *s, store_keyspace *ks)
{
    size_t i = place_of(s, ks->id);
    memmove(s->keyspaces + i, s->keyspaces + i + 1, (--s->keyspaces_n - i) * sizeof(store_keyspace *));
}

/* With the lock held. */
static store_keyspace *named(fc_store *s, fc_slice name)
{
    for (size_t i = 0; i < s->keyspaces_n; i++)
        if (fc_key_equal((fc_slice){s->keyspaces[i]->name.p, s->keyspaces[i]->name.n}, name))
            return s->keyspaces[i];
    return NULL;
}

static void lock_both(fc_store *s)
{
    pthread_mutex_lock(&s->writers);
    pthread_mutex_lock(&s->lock);
}

static void unlock_both(fc_store *s)
{
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->writers);
}

/* With the manifest lock held, as the next ones. */
static int make(fc_store *s, fc_slice name, const fc_keyspace_options *options, uint32_t *id)
{
    fc_edit e = {0};
    store_keyspace *ks = store_keyspace_new(s->next_keyspace, name, options ? options : &s->options.defaults);
    if (ks == NULL)
        return -ENOMEM;
    store_edit_keyspace(&e, ks);
    store_edit_number(&e, STORE_NUMBER_NEXT_KEYSPACE, s->next_keyspace + 1);
    int error = store_append_edit(s, &e);
    fc_edit_free(&e);
    if (error == 0) {
        *id = ks->id;
        s->next_keyspace++;
        lock_both(s);
        error = store_publish(s, ks, &(store_change){0});
        if (error == 0)
            error = store_keyspace_add(s, ks);
        if (error < 0)
            store_unpublish(s, ks);
        unlock_both(s);
        if (error < 0) /* the manifest has it, this store does not */
            store_fail(s, error);
    }
    if (error < 0)
        store_keyspace_unref(ks);
    return error;
}

static int change(fc_store *s, store_keyspace *ks, const fc_keyspace_options *options)
{
    fc_edit e = {0};
    store_keyspace *changed = store_keyspace_new(ks->id, (fc_slice){ks->name.p, ks->name.n}, options);
    if (changed == NULL)
        return -ENOMEM;
    store_edit_keyspace(&e, changed);
    int error = store_append_edit(s, &e);
    fc_edit_free(&e);
    store_keyspace_unref(changed);
    if (error < 0)
        return error;
    lock_both(s);
    ks->options = *options;
    ks->unsettled = true;
    store_ask_compaction(s);
    unlock_both(s);
    store_note_debt(s, ks);
    return 0;
}

int fc_store_keyspace(fc_store *s, fc_slice name, const fc_keyspace_options *options, bool create, uint32_t *id)
{
    if (name.n == 0 || name.n > FC_KEYSPACE_NAME_MAX)
        return FC_STORE_ESIZE;
    if (options && !store_keyspace_options_sensible(options))
        return -EINVAL;
    pthread_mutex_lock(&s->manifest_lock);
    pthread_mutex_lock(&s->lock);
    store_keyspace *ks = named(s, name);
    bool full = s->keyspaces_n >= FC_KEYSPACES_MAX;
    int error = store_state(s);
    pthread_mutex_unlock(&s->lock);
    if (ks) {
        *id = ks->id;
        if (error == 0 && options)
            error = change(s, ks, options);
        else if (error != FC_STORE_ECLOSED)
            error = 0; /* known without a write */
    } else if (error == 0) {
        error = !create ? FC_STORE_ENOKEYSPACE : full ? FC_STORE_ESIZE : make(s, name, options, id);
    }
    pthread_mutex_unlock(&s->manifest_lock);
    return error;
}

static int drop(fc_store *s, uint32_t id)
{
    fc_edit e = {0};
    pthread_mutex_lock(&s->lock);
    store_keyspace *ks = store_find(s, id);
    int error = store_state(s);
    pthread_mutex_unlock(&s->lock);
    if (error == 0 && ks == NULL)
        error = FC_STORE_ENOKEYSPACE;
    if (error < 0)
        return error;
    fc_edit_add(&e, &(fc_edit_item){.kind = FC_EDIT_DROP, .keyspace = id});
    error = store_append_edit(s, &e);
    fc_edit_free(&e);
    if (error < 0)
        return error;
    lock_both(s);
    store_keyspace_remove(s, ks);
    ks->dropped = true;
    ks->active = NULL;
    s->stalls -= ks->stalled;
    store_unpublish(s, ks);
    pthread_cond_broadcast(&s->progress);
    unlock_both(s);
    store_keyspace_unref(ks);
    return 0;
}

int fc_store_drop(fc_store *s, uint32_t id)
{
    if (id == 0)
        return -EINVAL;
    pthread_mutex_lock(&s->manifest_lock);
    int error = drop(s, id);
    pthread_mutex_unlock(&s->manifest_lock);
    return error;
}

void fc_store_keyspaces(fc_store *s, void (*fn)(void *ctx, uint32_t id, fc_slice name), void *ctx)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->keyspaces_n; i++)
        fn(ctx, s->keyspaces[i]->id, (fc_slice){s->keyspaces[i]->name.p, s->keyspaces[i]->name.n});
    pthread_mutex_unlock(&s->lock);
}
