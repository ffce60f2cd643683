/* repair.h - a repair under way (fc/store_check.h). Private to cext/store.
 *
 * Stages: every table is looked at and, where damaged, salvaged; the log is looked at and, where needed, read into
 * tables; keyspaces whose levels cannot be trusted are merged anew; then, if anything changed, a new manifest says
 * what there is now. Until then only files were added that nothing refers to.
 */
#ifndef FC_STORE_REPAIR_H
#define FC_STORE_REPAIR_H

#include "fc/table_salvage.h"
#include "fc/wal_scan.h"
#include "inventory.h"
#include "look.h"

#define REPAIR_LOST "lost"
#define REPAIR_MEMTABLE_BYTES (16u << 20) /* of the log's operations, for each keyspace, before they become a table */
#define REPAIR_NOBODY UINT32_MAX          /* a table whose keyspace is not known yet */

/* A table that is there, or ought to be. */
typedef struct repair_item {
    uint32_t keyspace, level;
    uint64_t number, bytes;
    inventory_table said; /* what the manifest says; bounds NULL: nothing */
} repair_item;

/* What one keyspace needs besides its place in the inventory. */
typedef struct repair_keyspace {
    uint32_t id;
    bool damaged;  /* a table of it has lost something */
    uint64_t damaged_seq; /* and no operation in those tables is newer */
    bool rebuild, merged;
    bool replayed; /* all its operations of the log that matter are in tables */
    fc_memtable *mem;
    store_key largest; /* key seen: a range deletion to the end of all keys ends behind it */
} repair_keyspace;

typedef struct repair_name {
    char from[FC_MANIFEST_NAME_MAX], to[FC_DISK_NAME_MAX + 1];
    bool linked;
} repair_name;

typedef enum repair_stage {
    REPAIR_TABLES,
    REPAIR_LOG,
    REPAIR_REPLAY,
    REPAIR_MERGE,
    REPAIR_COMMIT,
    REPAIR_OVER,
} repair_stage;

typedef struct repair_merge repair_merge;

struct fc_store_repair {
    fc_disk *disk;
    fc_file *lock;
    fc_codecs codecs;
    store_files files;
    inventory inventory;
    repair_stage stage;

    repair_item *items;
    size_t items_n, items_cap, next;
    store_look look;
    fc_table_salvage *salvage;
    fc_table_writer *writer; /* of the table that is being salvaged or replayed into */
    uint64_t writing;        /* its number */

    fc_wal_scan *log;
    size_t segment;
    bool log_damaged, replay;
    uint64_t first_seq, last_seq; /* met in the log; 0: none */

    repair_keyspace *keyspaces;
    size_t keyspaces_n, keyspaces_cap;
    repair_merge *merge;

    uint64_t *created; /* tables written here; removed unless a manifest names them in the end */
    size_t created_n, created_cap;
    repair_name *moved;
    const char **moved_names;
    size_t moved_n, moved_cap;
    fc_store_loss *losses;
    size_t losses_n, losses_cap;
    bool committed, no_memory;
    fc_store_repair_report report;
};

/* Room for one more in a list. */
bool repair_grow(void *list, size_t n, size_t *cap, size_t item_bytes);

/* repair.c */

repair_keyspace *repair_keyspace_of(fc_store_repair *r, uint32_t id); /* found or made; NULL without memory */
/* In the inventory, with a name and options even if nobody said any. NULL without memory. */
inventory_keyspace *repair_need(fc_store_repair *r, uint32_t id);
int repair_lose(fc_store_repair *r, const fc_store_loss *loss);
int repair_move(fc_store_repair *r, const char *name); /* into lost/, at the end */
/* A new table of a keyspace; its number is noted as created. */
int repair_writer(fc_store_repair *r, uint32_t keyspace, fc_table_writer **out, uint64_t *number);
/* Finishes and syncs, and puts the table into the inventory if there is anything in it. */
int repair_writer_end(fc_store_repair *r, uint32_t keyspace, uint32_t level, fc_table_writer *w);

/* Each does a piece: 1, more to do; 0, the stage is over; or an error. */
int repair_step_tables(fc_store_repair *r); /* repair_table.c */
int repair_step_log(fc_store_repair *r);    /* repair_log.c */
int repair_step_replay(fc_store_repair *r);
int repair_step_merge(fc_store_repair *r);  /* repair_merge.c */
void repair_merge_close(repair_merge *m);
int repair_commit(fc_store_repair *r);      /* repair_commit.c */

#endif
