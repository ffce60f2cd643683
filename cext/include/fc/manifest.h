/* fc/manifest.h - what a store consists of, as a log of changes: which tables on which level, keyspaces, numbers.
 *
 * A manifest is a file "MANIFEST-<number>" of edits. Each edit is one record: it counts wholly or not at all. The first
 * one is the whole state; what follows are changes. The file CURRENT names the manifest that counts, with a checksum;
 * it is replaced by writing a new file, syncing it, renaming it over CURRENT, and syncing the folder. A store that
 * opens reads the manifest, then begins a new one (fc_manifest_create), so that none is ever written to after a crash
 * and none grows without end.
 *
 * A record's checksum is seeded with the manifest's number and the record's place. What had been synced and what had
 * not is told apart as in the log (fc/wal.h): a record says how far back the batch began that it was written in, and a
 * batch begins after a sync. After each sync a seal is written, without a sync of its own: where it is found, the edit
 * before it had been durable. So a damaged record with any valid one of a later batch behind it is corruption; with
 * none, it is an edit that nobody was told is there, and the state before it counts.
 *
 * Invariants
 *   1. When fc_manifest_append has answered 0 the edit is there after every crash.
 *   2. A manifest is readable before CURRENT names it: its bytes and its name are synced first.
 *   3. After an error nothing more is written; every later append answers that error.
 *   4. A reader gives an item only after all of its record was checked, and gives nothing of a manifest that is damaged
 *      where it had been durable, but for the records before (which no caller may use then).
 *   5. Kinds that a reader does not know are refused (FC_MANIFEST_EFORMAT), those from FC_EDIT_OPTIONAL on passed over.
 *
 * Thread safety: a manifest has one user at a time.
 */
#ifndef FC_MANIFEST_H
#define FC_MANIFEST_H

#include "fc/disk.h"
#include "fc/ikey.h"
#include "fc/table.h"

typedef struct fc_manifest fc_manifest;

enum {
    FC_MANIFEST_ECORRUPT = -10701, /* damaged; the report says where */
    FC_MANIFEST_EFORMAT = -10702,  /* not a manifest, of a later version, or with an edit that is not known here */
    FC_MANIFEST_ESIZE = -10703,    /* an edit or manifest larger than allowed */
};

#define FC_MANIFEST_EDIT_MAX (256u << 20)  /* bytes of an edit */
#define FC_MANIFEST_BYTES_MAX (1ull << 30) /* of a file that a reader will look at; begin a new one long before */
#define FC_MANIFEST_NAME_MAX 32u

/* --- edits ------------------------------------------------------------------------------------------------------ */

/* The numbers are on disk. */
typedef enum fc_edit_kind {
    FC_EDIT_NUMBER = 1,       /* id, number: a counter or position of the store's */
    FC_EDIT_BYTES = 2,        /* id, bytes: anything else of the store's */
    FC_EDIT_KEYSPACE = 3,     /* keyspace, name, bytes: made, or its options (bytes) changed */
    FC_EDIT_DROP = 4,         /* keyspace: gone, with its tables */
    FC_EDIT_ADD_TABLE = 5,    /* keyspace, level, table */
    FC_EDIT_REMOVE_TABLE = 6, /* keyspace, level, table.number */
    FC_EDIT_CURSOR = 7,       /* keyspace, level, bytes: the key at which the compaction of the level goes on */
    FC_EDIT_OPTIONAL = 128,   /* kinds from here on may be passed over by who does not know them */
} fc_edit_kind;

/* What a store knows of a table without opening it. */
typedef struct fc_table_meta {
    uint64_t number; /* its name, and its id (fc_table_options.id) */
    uint64_t bytes;
    uint64_t entries, deletes, ranges, expiring;
    uint64_t first_seq, last_seq, first_expiry;
    fc_slice smallest, largest; /* user keys */
} fc_table_meta;

typedef struct fc_edit_item {
    fc_edit_kind kind;
    uint32_t id; /* of FC_EDIT_NUMBER and FC_EDIT_BYTES: the store's to give */
    uint32_t keyspace, level;
    uint64_t number;
    fc_slice name, bytes;
    fc_table_meta table;
} fc_edit_item;

/* A record in the making. Begin with zeros. */
typedef struct fc_edit {
    char *p;
    size_t n, cap;
    int error; /* -ENOMEM or FC_MANIFEST_ESIZE: remembered, so that only append need be looked at */
} fc_edit;

/* Fields that the kind does not have are not looked at. */
void fc_edit_add(fc_edit *e, const fc_edit_item *item);
void fc_edit_clear(fc_edit *e);
void fc_edit_free(fc_edit *e);
/* The item at *at (begin with 0) of an edit's bytes, and on to the next one. 1, 0 at the end, or an error. Slices point
 * into the bytes. */
int fc_edit_next(fc_slice edit, size_t *at, fc_edit_item *item);

fc_table_meta fc_table_meta_of(const fc_table_properties *p);

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* A new manifest with that number, whose first record is `state`; CURRENT names it when the answer is 0. With an error
 * CURRENT names the old one or, if it was the last step that failed, either: the store must not go on writing. */
int fc_manifest_create(fc_disk *disk, uint64_t number, const fc_edit *state, fc_manifest **out);
/* Writes, syncs, seals. */
int fc_manifest_append(fc_manifest *m, const fc_edit *edit);
uint64_t fc_manifest_bytes(const fc_manifest *m);
uint64_t fc_manifest_number(const fc_manifest *m);
void fc_manifest_close(fc_manifest *m);

void fc_manifest_name(char out[FC_MANIFEST_NAME_MAX], uint64_t number);
/* False when it is not the name of one. */
bool fc_manifest_parse_name(const char *name, uint64_t *number);

/* --- reading ---------------------------------------------------------------------------------------------------- */

typedef struct fc_manifest_report {
    uint64_t number;
    uint64_t records;
    uint64_t bytes;      /* up to the end of the last edit that counts */
    uint64_t torn_bytes; /* behind it, of an edit that had not been durable */
    fc_damage damage;    /* with FC_MANIFEST_ECORRUPT and FC_MANIFEST_EFORMAT */
} fc_manifest_report;

/* Called with each item in order; a nonzero answer stops, and is the answer. */
typedef int (*fc_manifest_item_fn)(void *ctx, const fc_edit_item *item);

/* The manifest that CURRENT names. -ENOENT: there is no CURRENT. */
int fc_manifest_read(fc_disk *disk, fc_manifest_item_fn fn, void *ctx, fc_manifest_report *report);
/* A given one, whatever CURRENT says: for repair. */
int fc_manifest_read_number(fc_disk *disk, uint64_t number, fc_manifest_item_fn fn, void *ctx,
                            fc_manifest_report *report);

/* What can be read of a damaged one: the items of every record that checks, those behind damage too. `anew` is called
 * before the first record's items, if that one is sound: it is the whole state. 0, or an error that is no damage. */
int fc_manifest_salvage(fc_disk *disk, uint64_t number, void (*anew)(void *ctx), fc_manifest_item_fn fn, void *ctx);

const char *fc_manifest_strerror(int error);

#endif
