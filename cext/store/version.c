/* What a keyspace consists of: immutable versions, and who still holds them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store_internal.h"

#define MUCH_BYTES (16u << 20) /* of log for each keyspace, when it is replayed: large pages will be full */

/* --- tables ----------------------------------------------------------------------------------------------------- */

void store_table_name(char out[STORE_NAME], uint64_t number)
{
    snprintf(out, STORE_NAME, "%06llu.tbl", (unsigned long long)number);
}

bool store_parse_table_name(const char *name, uint64_t *number)
{
    char again[STORE_NAME];
    if (strlen(name) >= sizeof again)
        return false;
    *number = strtoull(name, NULL, 10);
    store_table_name(again, *number);
    return strcmp(again, name) == 0;
}

int store_table_open(fc_store *s, uint64_t number, fc_damage *damage, store_table **out)
{
    char name[STORE_NAME];
    store_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    store_table_name(name, number);
    snprintf(damage->name, sizeof damage->name, "%s", name);
    int error = fc_table_open(s->disk, name, s->cache, &s->codecs, damage, &t->table);
    if (error == 0) {
        t->meta = fc_table_meta_of(fc_table_get_properties(t->table));
        if (t->meta.number == number) {
            t->refs = 1;
            *out = t;
            return 0;
        }
        damage->offset = 0;
        damage->what = "a table of another number";
        fc_table_close(t->table);
        error = FC_STORE_ECORRUPT;
    } else if (error == -ENOENT) {
        damage->what = "a table that the manifest names is not there";
        error = FC_STORE_ECORRUPT;
    }
    free(t);
    return error == FC_TABLE_ECORRUPT || error == FC_TABLE_EFORMAT ? FC_STORE_ECORRUPT : error;
}

void store_remove_file(fc_store *s, const char *name)
{
    if (store_alive(s))
        fc_disk_remove(s->disk, name); /* if that fails it is removed when the store is opened again */
}

void store_table_drop(fc_store *s, store_table *t, bool remove)
{
    char name[STORE_NAME];
    store_table_name(name, t->meta.number);
    fc_table_close(t->table);
    free(t);
    if (remove)
        store_remove_file(s, name);
}

void store_table_unref(fc_store *s, store_table *t)
{
    if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    pthread_mutex_lock(&s->lock);
    bool obsolete = t->obsolete;
    pthread_mutex_unlock(&s->lock);
    store_table_drop(s, t, obsolete);
}

static void table_ref(store_table *t) { __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED); }

/* --- memtables -------------------------------------------------------------------------------------------------- */

store_mem *store_mem_new(fc_store *s, uint64_t bytes_max, fc_wal_pos log_from)
{
    store_mem *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->table = fc_memtable_new(bytes_max, &s->hash_key);
    if (m->table == NULL) {
        free(m);
        return NULL;
    }
    if (s->replaying && s->log && (fc_wal_end(s->log) - log_from) / s->keyspaces_n >= MUCH_BYTES)
        fc_memtable_expect_much(m->table);
    m->refs = 1;
    m->log_from = log_from;
    return m;
}

static void mem_ref(store_mem *m) { __atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED); }

void store_mem_unref(store_mem *m)
{
    if (__atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    fc_memtable_free(m->table);
    free(m);
}

/* --- keyspaces -------------------------------------------------------------------------------------------------- */

store_keyspace *store_keyspace_new(uint32_t id, fc_slice name, const fc_keyspace_options *options)
{
    store_keyspace *ks = calloc(1, sizeof *ks);
    if (ks == NULL)
        return NULL;
    ks->name.p = malloc(name.n + 1);
    if (ks->name.p == NULL) {
        free(ks);
        return NULL;
    }
    if (name.n)
        memcpy(ks->name.p, name.p, name.n);
    ks->name.n = name.n;
    ks->refs = 1;
    ks->id = id;
    ks->options = *options;
    return ks;
}

void store_keyspace_ref(store_keyspace *ks) { __atomic_add_fetch(&ks->refs, 1, __ATOMIC_RELAXED); }

void store_keyspace_unref(store_keyspace *ks)
{
    if (__atomic_sub_fetch(&ks->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < FC_STORE_LEVELS; i++)
        free(ks->cursors[i].p);
    free(ks->name.p);
    free(ks);
}

/* --- versions --------------------------------------------------------------------------------------------------- */

store_version *store_version_ref(store_version *v)
{
    __atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
    return v;
}

/* With the lock held. */
static void unref(fc_store *s, store_version *v)
{
    if (v == NULL || __atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    v->next = s->garbage;
    s->garbage = v;
    pthread_cond_signal(&s->flush_work);
}

void store_version_unref(fc_store *s, store_version *v)
{
    if (__atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    pthread_mutex_lock(&s->lock);
    v->next = s->garbage;
    s->garbage = v;
    pthread_cond_signal(&s->flush_work);
    pthread_mutex_unlock(&s->lock);
}

static void let_go(fc_store *s, store_version *v)
{
    for (size_t i = 0; i < v->at[FC_STORE_LEVELS]; i++)
        store_table_unref(s, v->tables[i]);
    for (size_t i = 0; i < v->mems_n; i++)
        store_mem_unref(v->mems[i]);
    store_keyspace_unref(v->keyspace);
    free(v);
}

int store_sweep(fc_store *s)
{
    pthread_mutex_lock(&s->lock);
    store_version *v = s->garbage;
    s->garbage = NULL;
    pthread_mutex_unlock(&s->lock);
    int any = v != NULL;
    for (store_version *next; v != NULL; v = next) {
        next = v->next;
        let_go(s, v);
    }
    return any;
}

/* One allocation: the structure, then its three arrays. */
static store_version *version_new(store_keyspace *ks, size_t mems, size_t tables)
{
    store_version *v = calloc(1, sizeof *v + (mems + 2 * tables) * sizeof(void *));
    if (v == NULL)
        return NULL;
    v->refs = 1;
    v->keyspace = ks;
    v->mems = (store_mem **)(v + 1);
    v->tables = (store_table **)(v->mems + mems);
    v->handles = (fc_table **)(v->tables + tables);
    store_keyspace_ref(ks);
    return v;
}

static bool is_in(const store_placed *list, size_t n, unsigned level, const store_table *t)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].level == level && list[i].table == t)
            return true;
    return false;
}

/* Before the tables that are there: in level 0 if it is newer, below if its keys are smaller. */
static bool goes_before(unsigned level, const store_table *a, const store_table *b)
{
    return level == 0 ? a->meta.last_seq > b->meta.last_seq
                      : fc_key_compare(a->meta.smallest, b->meta.smallest) < 0;
}

static void insert(store_version *v, size_t from, unsigned level, store_table *t)
{
    size_t i = v->at[FC_STORE_LEVELS]++;
    for (; i > from && goes_before(level, t, v->tables[i - 1]); i--)
        v->tables[i] = v->tables[i - 1];
    v->tables[i] = t;
    table_ref(t);
}

static void fill_level(store_version *v, const store_version *old, unsigned level, const store_change *c)
{
    size_t from = v->at[FC_STORE_LEVELS];
    v->at[level] = from;
    for (size_t i = old ? old->at[level] : 0; old && i < old->at[level + 1]; i++)
        if (!is_in(c->remove, c->remove_n, level, old->tables[i])) {
            v->tables[v->at[FC_STORE_LEVELS]++] = old->tables[i];
            table_ref(old->tables[i]);
        }
    for (size_t i = 0; i < c->add_n; i++)
        if (c->add[i].level == level)
            insert(v, from, level, c->add[i].table);
}

static void fill_levels(store_version *v, const store_version *old, const store_change *c)
{
    for (unsigned level = 0; level < FC_STORE_LEVELS; level++)
        fill_level(v, old, level, c);
    for (size_t i = 0; i < v->at[FC_STORE_LEVELS]; i++)
        v->handles[i] = v->tables[i]->table;
    for (unsigned level = 0; level < FC_STORE_LEVELS; level++)
        fc_level_init(&v->levels[level], v->handles + v->at[level], v->at[level + 1] - v->at[level]);
}

static void fill_mems(store_version *v, const store_version *old, const store_change *c)
{
    if (c->add_mem)
        v->mems[v->mems_n++] = c->add_mem;
    for (size_t i = 0; old && i < old->mems_n; i++)
        if (old->mems[i] != c->remove_mem)
            v->mems[v->mems_n++] = old->mems[i];
    for (size_t i = 0; i < v->mems_n; i++)
        mem_ref(v->mems[i]);
}

/* Tables that the next version does not have at any level. */
static void mark_obsolete(const store_change *c)
{
    for (size_t i = 0; i < c->remove_n; i++) {
        bool moved = false;
        for (size_t k = 0; k < c->add_n; k++)
            moved = moved || c->add[k].table == c->remove[i].table;
        if (!moved)
            c->remove[i].table->obsolete = true;
    }
}

int store_publish(fc_store *s, store_keyspace *ks, const store_change *c)
{
    store_version *old = ks->version;
    size_t mems = (old ? old->mems_n : 0) + (c->add_mem != NULL);
    size_t tables = (old ? old->at[FC_STORE_LEVELS] : 0) + c->add_n;
    store_version *v = version_new(ks, mems, tables);
    if (v == NULL)
        return -ENOMEM;
    fill_mems(v, old, c);
    fill_levels(v, old, c);
    mark_obsolete(c);
    ks->version = v;
    ks->unsettled = ks->unsettled || c->add_n || c->remove_n;
    STORE(&ks->mems, (uint32_t)v->mems_n);
    STORE(&ks->level0, (uint32_t)v->at[1]);
    unref(s, old);
    return 0;
}

void store_unpublish(fc_store *s, store_keyspace *ks)
{
    store_version *v = ks->version;
    for (size_t i = 0; v && i < v->at[FC_STORE_LEVELS]; i++)
        v->tables[i]->obsolete = true;
    ks->version = NULL;
    unref(s, v);
}

/* An older version is what somebody gets whose snapshot is not below it but below the newer one. */
bool store_needed(const uint64_t *snapshots, size_t n, uint64_t seq, uint64_t newer_seq)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (snapshots[middle] < seq)
            from = middle + 1;
        else
            to = middle;
    }
    return from < n && snapshots[from] < newer_seq;
}
