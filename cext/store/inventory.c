#include "inventory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool grow(void *list, size_t n, size_t *cap, size_t item_bytes)
{
    void **p = list, *grown;
    if (n < *cap)
        return true;
    size_t more = *cap ? 2 * *cap : 16;
    grown = realloc(*p, more * item_bytes);
    if (grown == NULL)
        return false;
    *p = grown;
    *cap = more;
    return true;
}

static int set_key(store_key *k, fc_slice s)
{
    char *p = realloc(k->p, s.n + 1);
    if (p == NULL)
        return -ENOMEM;
    if (s.n)
        memcpy(p, s.p, s.n);
    *k = (store_key){p, s.n};
    return 0;
}

inventory_keyspace *inventory_find(const inventory *v, uint32_t id)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->keyspaces[i].id == id)
            return &v->keyspaces[i];
    return NULL;
}

inventory_keyspace *inventory_need(inventory *v, uint32_t id)
{
    inventory_keyspace *ks = inventory_find(v, id);
    if (ks)
        return ks;
    if (!grow(&v->keyspaces, v->n, &v->cap, sizeof *v->keyspaces))
        return NULL;
    ks = &v->keyspaces[v->n++];
    *ks = (inventory_keyspace){.id = id};
    return ks;
}

/* --- tables ----------------------------------------------------------------------------------------------------- */

int inventory_add_table(inventory_keyspace *ks, uint32_t level, const fc_table_meta *meta)
{
    if (!grow(&ks->tables, ks->n, &ks->cap, sizeof *ks->tables))
        return -ENOMEM;
    fc_slice a = meta->smallest, b = meta->largest;
    char *bounds = malloc(a.n + b.n + 1);
    if (bounds == NULL)
        return -ENOMEM;
    if (a.n)
        memcpy(bounds, a.p, a.n);
    if (b.n)
        memcpy(bounds + a.n, b.p, b.n);
    inventory_table *t = &ks->tables[ks->n++];
    *t = (inventory_table){.level = level, .meta = *meta, .bounds = bounds};
    t->meta.smallest = (fc_slice){bounds, a.n};
    t->meta.largest = (fc_slice){bounds + a.n, b.n};
    return 0;
}

void inventory_remove_table(inventory_keyspace *ks, size_t i)
{
    free(ks->tables[i].bounds);
    memmove(&ks->tables[i], &ks->tables[i + 1], (ks->n - i - 1) * sizeof *ks->tables);
    ks->n--;
}

static size_t find_table(const inventory_keyspace *ks, uint32_t level, uint64_t number)
{
    size_t i = 0;
    while (i < ks->n && (ks->tables[i].level != level || ks->tables[i].meta.number != number))
        i++;
    return i;
}

static int mention(inventory *v, uint64_t number)
{
    if (!grow(&v->mentioned, v->mentioned_n, &v->mentioned_cap, sizeof *v->mentioned))
        return -ENOMEM;
    v->mentioned[v->mentioned_n++] = number;
    return 0;
}

bool inventory_mentions(const inventory *v, uint64_t number)
{
    for (size_t i = 0; i < v->mentioned_n; i++)
        if (v->mentioned[i] == number)
            return true;
    return false;
}

static void clear_tables(inventory_keyspace *ks)
{
    while (ks->n)
        inventory_remove_table(ks, ks->n - 1);
}

/* --- items ------------------------------------------------------------------------------------------------------ */

static int take_number(inventory *v, const fc_edit_item *item)
{
    uint64_t *known = item->id == STORE_NUMBER_NEXT_FILE       ? &v->next_file
                      : item->id == STORE_NUMBER_LAST_SEQ      ? &v->last_seq
                      : item->id == STORE_NUMBER_LOG_BEGIN     ? &v->log_begin
                      : item->id == STORE_NUMBER_NEXT_KEYSPACE ? &v->next_keyspace
                                                               : NULL;
    if (known) {
        *known = item->number;
        return 0;
    }
    if (item->id < STORE_NUMBER_FLUSHED) {
        fc_edit_add(&v->others, item);
        return v->others.error;
    }
    inventory_keyspace *ks = inventory_need(v, item->id - STORE_NUMBER_FLUSHED);
    if (ks == NULL)
        return -ENOMEM;
    ks->flushed_seq = item->number;
    return 0;
}

static int take_bytes(inventory *v, const fc_edit_item *item)
{
    if (item->id == STORE_BYTES_HASH_KEY && item->bytes.n == sizeof v->hash_key) {
        memcpy(v->hash_key, item->bytes.p, sizeof v->hash_key);
        v->hash_key_known = true;
        return 0;
    }
    fc_edit_add(&v->others, item);
    return v->others.error;
}

/* Moves of a table are a removal and an addition in one edit, in either order: levels tell them apart. */
static int take_table(inventory *v, inventory_keyspace *ks, const fc_edit_item *item)
{
    size_t i = find_table(ks, item->level, item->table.number);
    int error = mention(v, item->table.number);
    bool add = item->kind == FC_EDIT_ADD_TABLE;
    if (item->level >= FC_STORE_LEVELS || (i < ks->n) == add)
        v->contradictions++;
    if (i < ks->n)
        inventory_remove_table(ks, i);
    return error == 0 && add && item->level < FC_STORE_LEVELS ? inventory_add_table(ks, item->level, &item->table)
                                                              : error;
}

int inventory_item(void *ctx, const fc_edit_item *item)
{
    inventory *v = ctx;
    if (item->kind == FC_EDIT_NUMBER)
        return take_number(v, item);
    if (item->kind == FC_EDIT_BYTES)
        return take_bytes(v, item);
    v->contradictions += item->kind != FC_EDIT_KEYSPACE && inventory_find(v, item->keyspace) == NULL;
    inventory_keyspace *ks = inventory_need(v, item->keyspace);
    if (ks == NULL)
        return -ENOMEM;
    if (item->kind == FC_EDIT_DROP) {
        ks->dropped = true;
        clear_tables(ks);
    } else if (item->kind == FC_EDIT_KEYSPACE) {
        ks->dropped = false;
        return set_key(&ks->name, item->name) < 0 || set_key(&ks->options, item->bytes) < 0 ? -ENOMEM : 0;
    } else if (item->kind == FC_EDIT_ADD_TABLE || item->kind == FC_EDIT_REMOVE_TABLE) {
        return take_table(v, ks, item);
    }
    return 0; /* where a compaction goes on is of no account here */
}

void inventory_clear(inventory *v)
{
    for (size_t i = 0; i < v->n; i++) {
        clear_tables(&v->keyspaces[i]);
        free(v->keyspaces[i].tables);
        free(v->keyspaces[i].name.p);
        free(v->keyspaces[i].options.p);
    }
    v->n = 0;
    v->contradictions = 0;
    fc_edit_clear(&v->others);
}

void inventory_free(inventory *v)
{
    inventory_clear(v);
    free(v->keyspaces);
    free(v->mentioned);
    fc_edit_free(&v->others);
    *v = (inventory){0};
}

/* --- as an edit ------------------------------------------------------------------------------------------------- */

static void put_number(fc_edit *e, uint32_t id, uint64_t number)
{
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_NUMBER, .id = id, .number = number});
}

static void put_keyspace(fc_edit *e, const inventory_keyspace *ks)
{
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_KEYSPACE,
                                   .keyspace = ks->id,
                                   .name = {ks->name.p, ks->name.n},
                                   .bytes = {ks->options.p, ks->options.n}});
    if (ks->flushed_seq)
        put_number(e, STORE_NUMBER_FLUSHED + ks->id, ks->flushed_seq);
    for (size_t i = 0; i < ks->n; i++)
        fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_ADD_TABLE,
                                       .keyspace = ks->id,
                                       .level = ks->tables[i].level,
                                       .table = ks->tables[i].meta});
}

void inventory_edit(const inventory *v, fc_edit *e)
{
    fc_edit_item item;
    if (v->hash_key_known)
        fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_BYTES,
                                       .id = STORE_BYTES_HASH_KEY,
                                       .bytes = {v->hash_key, sizeof v->hash_key}});
    put_number(e, STORE_NUMBER_NEXT_FILE, v->next_file);
    put_number(e, STORE_NUMBER_LAST_SEQ, v->last_seq);
    put_number(e, STORE_NUMBER_LOG_BEGIN, v->log_begin);
    put_number(e, STORE_NUMBER_NEXT_KEYSPACE, v->next_keyspace);
    for (size_t at = 0; fc_edit_next((fc_slice){v->others.p, v->others.n}, &at, &item) == 1;)
        fc_edit_add(e, &item);
    for (size_t i = 0; i < v->n; i++)
        if (!v->keyspaces[i].dropped)
            put_keyspace(e, &v->keyspaces[i]);
}
