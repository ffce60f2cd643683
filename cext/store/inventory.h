/* inventory.h - what a manifest says a store consists of, without a store: for checks and repair. Private to
 * cext/store.
 *
 * Items are taken in as they come, contradictions are counted and passed over: a table removed that is not there, one
 * that is added twice, a keyspace that nobody made.
 */
#ifndef FC_STORE_INVENTORY_H
#define FC_STORE_INVENTORY_H

#include "store_internal.h"

typedef struct inventory_table {
    uint32_t level;
    fc_table_meta meta; /* slices are its own */
    char *bounds;       /* what they lie in */
} inventory_table;

typedef struct inventory_keyspace {
    uint32_t id;
    bool dropped;
    store_key name, options;
    inventory_table *tables;
    size_t n, cap;
    uint64_t flushed_seq;
} inventory_keyspace;

typedef struct inventory {
    inventory_keyspace *keyspaces;
    size_t n, cap;
    uint64_t *mentioned; /* numbers of tables, of those that are gone too */
    size_t mentioned_n, mentioned_cap;
    uint64_t next_file, last_seq, log_begin, next_keyspace;
    char hash_key[16];
    bool hash_key_known;
    fc_edit others; /* numbers and bytes that are not known here */
    uint64_t contradictions;
} inventory;

/* An fc_manifest_item_fn, for an inventory. 0 or -ENOMEM. */
int inventory_item(void *inventory, const fc_edit_item *item);
/* Forgets all but which tables were mentioned. */
void inventory_clear(inventory *v);
void inventory_free(inventory *v);

/* NULL: there is none. */
inventory_keyspace *inventory_find(const inventory *v, uint32_t id);
/* Found or made; NULL without memory. */
inventory_keyspace *inventory_need(inventory *v, uint32_t id);
/* Takes a copy of the bounds. 0 or -ENOMEM. */
int inventory_add_table(inventory_keyspace *ks, uint32_t level, const fc_table_meta *meta);
void inventory_remove_table(inventory_keyspace *ks, size_t i);
bool inventory_mentions(const inventory *v, uint64_t number);
/* All of it, as the first edit of a manifest. */
void inventory_edit(const inventory *v, fc_edit *e);

#endif
