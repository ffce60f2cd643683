/* store_internal.h - what a store is made of. Private to cext/store.
 *
 * Locks, in the order in which they may be taken:
 *   checkpointing  one checkpoint at a time
 *   manifest_lock  changes of what the store consists of, one after the other; held while the manifest is synced
 *   writers        the write path: log, active memtables, last_seq; never held while a disk is waited for, but by a
 *                  condition of a batch whose key is not in memory and does not stay there
 *   lock           versions, snapshots, flags and everything the background waits for; held for moments
 * Fields say whose they are. With two named, both are needed to change it and either to read it.
 */
#ifndef FC_STORE_INTERNAL_H
#define FC_STORE_INTERNAL_H

#include <pthread.h>

#include "fc/store.h"

#define LOAD(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define COUNT(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)

#define STORE_NAME 32u             /* bytes of a table's name */
#define STORE_RECORD_BATCH 1u      /* type of a log record */
#define STORE_RECORD_CLOSED 2u     /* nothing, written after the last batch was synced (open.c) */
#define STORE_RECORD_HEAD 12u      /* its first bytes: sequence number, number of operations */
#define STORE_STEP_BYTES (256u << 10)       /* of entries that a step of a flush or compaction takes */
#define STORE_MANIFEST_ROOM 65536          /* bytes that have to be free beyond a new one's first record */
#define STORE_MANIFEST_BYTES_MAX (4u << 20) /* beyond this and twice its first record a new one is begun */

/* Ids of FC_EDIT_NUMBER and FC_EDIT_BYTES: they are on disk. */
enum {
    STORE_NUMBER_NEXT_FILE = 1,     /* tables' and manifests' numbers, never used twice */
    STORE_NUMBER_LAST_SEQ = 2,      /* at least that of every operation in a table */
    STORE_NUMBER_LOG_BEGIN = 3,     /* position: nothing before it is missing in tables */
    STORE_NUMBER_NEXT_KEYSPACE = 4, /* ids are not used twice, the log may hold operations of one that was dropped */
    STORE_NUMBER_FLUSHED = 1 << 16, /* + keyspace: its operations up to this sequence number are in tables */
    STORE_BYTES_HASH_KEY = 1,
};

/* --- parts (version.c) ------------------------------------------------------------------------------------------ */

typedef struct store_table {
    uint32_t refs;
    bool obsolete;        /* [lock] no manifest names it: the last to let go removes the file */
    fc_table *table;
    fc_table_meta meta;   /* slices are the table's */
} store_table;

typedef struct store_mem {
    uint32_t refs;
    bool full;            /* [lock] nothing more is added */
    fc_memtable *table;
    fc_wal_pos log_from;  /* what is in it lies behind this position */
    fc_wal_pos log_to;    /* [writers, until full] and up to this one */
    uint64_t last_seq;    /* [writers, until full] 0: it is empty */
} store_mem;

/* What a keyspace consists of at one moment. Immutable. */
typedef struct store_version {
    uint32_t refs;
    struct store_version *next;              /* [lock] of those that nobody holds any more */
    struct store_keyspace *keyspace;
    store_mem **mems;                        /* newest first */
    size_t mems_n;
    store_table **tables;                    /* level by level; level 0 newest first, others by smallest key */
    size_t at[FC_STORE_LEVELS + 1];          /* level i: tables[at[i]] to tables[at[i + 1]] */
    fc_table **handles;                      /* the same tables, as fc_level wants them */
    fc_level levels[FC_STORE_LEVELS];
} store_version;

typedef struct store_key {
    char *p;
    size_t n;
} store_key;

typedef struct store_keyspace {
    uint32_t refs;
    uint32_t id;
    bool dropped;                  /* [manifest_lock, writers, lock] */
    bool stalled;                  /* [lock] a writer was sent away for want of memtables */
    store_key name;
    fc_keyspace_options options;   /* [manifest_lock, writers, lock] */
    store_mem *active;             /* [writers] NULL: made by the next write */
    store_version *version;        /* [lock] */
    uint32_t mems;                 /* [lock; atomic] of the version */
    uint64_t flushed_seq;          /* [lock] */
    uint64_t recovered_seq;        /* what it was when the store was opened */
    store_key cursors[FC_STORE_LEVELS]; /* [manifest_lock, lock] where the compaction of a level goes on */
    uint64_t debt;                 /* atomic: fc_compaction_debt of the version */
    bool unsettled;                /* [lock] nobody has looked at the version for something to compact */
    uint64_t releases;             /* [lock] the store's at the last look, */
    uint64_t look_ms;              /* [lock] and when to look again */
    uint32_t level0;               /* atomic: tables of level 0 */
    uint64_t flushes, flushed_bytes, compactions, read_bytes, written_bytes, moved; /* atomic */
} store_keyspace;

struct fc_snapshot {
    fc_store *store;
    uint64_t seq;
    struct fc_snapshot *older, *newer;
};

/* --- the flush under way (flush.c) ------------------------------------------------------------------------------ */

typedef enum flush_stage { FLUSH_IDLE, FLUSH_ENTRIES, FLUSH_SYNC, FLUSH_NAME, FLUSH_LOG, FLUSH_INSTALL } flush_stage;

typedef struct store_flush {
    flush_stage stage;
    store_version *version; /* held; its oldest memtable is written */
    store_mem *mem;
    uint64_t number;
    fc_table_writer *writer;
    fc_iter *it;
    fc_slice last;          /* key of the entry before, the memtable's */
    uint64_t last_seq;      /* and its sequence number */
    bool any;               /* there was one */
    uint64_t *snapshots;
    size_t snapshots_n;
    bool nothing;           /* nothing to put into a table */
} store_flush;

#include "store_compact.h"

/* Of a batch, for one keyspace: what has to be asked of its memtable (share.c). */
typedef struct store_share {
    store_keyspace *keyspace;
    uint64_t operations, ranges, bytes;
    bool unbounded;     /* with ranges to the end of all keys: */
    bool bounded;       /* there is a key, and so an end */
    store_key end;      /* an end behind all of them */
    size_t end_cap;
} store_share;

struct fc_store {
    fc_disk *disk;
    fc_store_options options;
    fc_file *lock_file;
    fc_codecs codecs;
    fc_block_cache *cache;
    fc_wal *log;
    fc_hash_key hash_key;
    bool replaying;                 /* before any other thread's writes */

    pthread_mutex_t checkpointing, manifest_lock, writers, lock;

    fc_manifest *manifest;          /* [manifest_lock] */
    bool manifest_full;             /* [manifest_lock] it found no room for an edit: a new one is to be begun */
    uint64_t manifest_first;        /* [manifest_lock] its bytes when it was new */
    uint64_t manifest_bytes;        /* atomic */
    uint32_t next_keyspace;         /* [manifest_lock] */
    uint64_t next_file;             /* atomic */

    store_keyspace **keyspaces;     /* [writers, lock] by id */
    size_t keyspaces_n, keyspaces_cap;

    uint64_t last_seq;              /* [writers] */
    uint64_t visible;               /* atomic; stored with release: readers see up to it */
    fc_wal_pos log_end;             /* [writers; atomic] of the last append */
    bool sealed;                    /* [writers] the log's last record is STORE_RECORD_CLOSED */
    fc_wal_pos log_look;            /* [writers] where to look again if the log is too long */
    store_share *shares;            /* [writers] of the batch being written */
    size_t shares_n, shares_cap;

    fc_snapshot *oldest, *newest;   /* [lock] */
    size_t snapshots_n;             /* [lock] */
    bool kept;                      /* [lock] compaction leaves alone what the oldest snapshot may need */
    uint64_t releases;              /* [lock] how often the oldest snapshot went that kept something */
    store_version *garbage;         /* [lock] */
    fc_wal_pos log_begin;           /* [lock] as the manifest has it */
    fc_wal_pos hold;                /* [lock] memtables from here on are not flushed: a checkpoint is made. 0: none */
    size_t stalls;                  /* [lock] keyspaces that are stalled */
    fc_wal_pos log_full;            /* atomic: the log's buffer was full when it ended here */
    int error;                      /* [lock; atomic] sticky */
    bool closed;                    /* [writers, lock] */
    bool stopped;                   /* [lock] the threads have ended, the lock file is given back */
    bool flush_waits;               /* [lock] the last flush failed and is to be tried again */
    int flush_error;                /* [lock] why */
    uint64_t failed_flushes;        /* [lock] such ones */
    fc_damage damage;               /* [lock] */
    bool damaged;                   /* [lock] */

    pthread_cond_t flush_work, compact_work; /* with lock */
    pthread_cond_t progress;                 /* with lock: something flushed, compacted, failed or stopped */
    pthread_t flush_thread, compact_thread;
    bool threads;
    store_flush flush;              /* whoever does the steps */
    store_job job;                  /* the same */
    size_t job_keyspace;            /* the same: whose turn it is */
    bool job_asked;                 /* the same: the last job was asked for */
    store_ask *asks;                /* [lock] first in, first out */
    bool compact_waits;             /* [lock] the last job found no room */
    uint64_t turns;                 /* stream of random numbers: what fc_store_step does next */

    uint64_t writes, operations, written_bytes, gets, delayed_ns, busy; /* atomic */
};

/* --- options.c -------------------------------------------------------------------------------------------------- */

bool store_options_sensible(const fc_store_options *o);
bool store_keyspace_options_sensible(const fc_keyspace_options *o);

#define STORE_OPTIONS_BYTES 128u

fc_slice store_options_put(char out[STORE_OPTIONS_BYTES], const fc_keyspace_options *o);
bool store_options_get(fc_slice in, fc_keyspace_options *o);

/* --- batch.c ---------------------------------------------------------------------------------------------------- */

/* Like fc_batch_next, with the value as memtables and tables keep it (an expiring one behind its expiry). */
int store_batch_next(fc_slice batch, size_t *at, fc_batch_item *item);
/* The same for expectations: keyspace, key, and the version in expires_ms. */
int store_expected_next(fc_slice expected, size_t *at, fc_batch_item *item);

/* --- files.c ---------------------------------------------------------------------------------------------------- */

typedef struct store_names {
    char (*names)[FC_DISK_NAME_MAX + 1];
    size_t n, cap;
} store_names;

/* The names in a folder; the array is the caller's to free, after an error too. */
int store_list(fc_disk *disk, const char *folder, store_names *out);
/* 1 there is something of that name, 0 not, or an error. */
int store_is_there(fc_disk *disk, const char *name);
/* Is it a folder in which a checkpoint was being made, and nothing else in it? */
bool store_is_unfinished(fc_disk *disk, const char *name);
int store_remove_folder(fc_disk *disk, const char *name);

#define STORE_UNFINISHED ".new" /* behind the name that the folder is to get */

/* --- version.c -------------------------------------------------------------------------------------------------- */

void store_table_name(char out[STORE_NAME], uint64_t number);
bool store_parse_table_name(const char *name, uint64_t *number);
/* Opens it, with one reference. FC_STORE_ECORRUPT with *damage filled in, or an error. */
int store_table_open(fc_store *s, uint64_t number, fc_damage *damage, store_table **out);
/* Of one that no version has taken; `remove`: its file, too. */
void store_table_drop(fc_store *s, store_table *t, bool remove);
/* Gives one reference back. Not with a lock held. */
void store_table_unref(fc_store *s, store_table *t);
void store_remove_file(fc_store *s, const char *name);

store_mem *store_mem_new(fc_store *s, uint64_t bytes_max, fc_wal_pos log_from);
void store_mem_unref(store_mem *m);

store_keyspace *store_keyspace_new(uint32_t id, fc_slice name, const fc_keyspace_options *options);
void store_keyspace_ref(store_keyspace *ks);
void store_keyspace_unref(store_keyspace *ks);

typedef struct store_placed {
    unsigned level;
    store_table *table;
} store_placed;

/* A table that is removed and added is moved. */
typedef struct store_change {
    store_mem *add_mem, *remove_mem;
    const store_placed *add, *remove;
    size_t add_n, remove_n;
    bool has_cursor; /* of the level, from now on: */
    unsigned cursor_level;
    fc_slice cursor;
} store_change;

/* With the lock held: the version after a change becomes the keyspace's. -ENOMEM: nothing has changed. */
int store_publish(fc_store *s, store_keyspace *ks, const store_change *c);
/* With the lock held: nothing is left, all tables are obsolete. */
void store_unpublish(fc_store *s, store_keyspace *ks);
/* With the lock held. */
store_version *store_version_ref(store_version *v);
/* Without it. The last one leaves it to the background: files are closed and removed there. */
void store_version_unref(fc_store *s, store_version *v);
/* Frees what nobody holds: 1 when there was any. Not with a lock held. */
int store_sweep(fc_store *s);

/* Is an entry needed whose key has a newer one? Snapshots ascending. */
bool store_needed(const uint64_t *snapshots, size_t n, uint64_t seq, uint64_t newer_seq);

/* --- keyspace.c ------------------------------------------------------------------------------------------------- */

/* With writers or lock held. NULL: there is none. */
store_keyspace *store_find(fc_store *s, uint32_t id);
/* While the store is opened, or with writers and lock held. */
int store_keyspace_add(fc_store *s, store_keyspace *ks);
/* The same; the reference is the caller's then. */
void store_keyspace_remove(fc_store *s, store_keyspace *ks);

/* --- install.c -------------------------------------------------------------------------------------------------- */

uint64_t store_new_number(fc_store *s);
/* Makes a change of a keyspace durable, then visible. FC_STORE_ENOKEYSPACE: it was dropped meanwhile; -ENOSPC: there is
 * no room for the edit now; with these two nothing names the added tables. With another error a manifest may. */
int store_install(fc_store *s, store_keyspace *ks, const store_change *c);
/* Where the compaction of a level goes on; with the lock held. */
int store_set_cursor(store_keyspace *ks, unsigned level, fc_slice key);
/* An edit of another kind, with the manifest lock held. */
int store_append_edit(fc_store *s, const fc_edit *edit);
/* With the manifest lock held: all that the store consists of, as the first edit of a manifest. */
void store_state_edit(fc_store *s, fc_edit *e);
/* With the lock held, too; as it is when everything up to last_seq is in tables. */
void store_edit_store(fc_store *s, fc_edit *e, uint64_t last_seq, fc_wal_pos log_begin);
void store_edit_number(fc_edit *e, uint32_t id, uint64_t number);
void store_edit_keyspace(fc_edit *e, const store_keyspace *ks);
/* With the lock held: from where on the log is needed, when `without` (may be NULL) is in a table. */
fc_wal_pos store_log_needed(fc_store *s, const store_mem *without);

/* --- share.c: with writers held --------------------------------------------------------------------------------- */

/* Fills s->shares for a batch that begins with the sequence number. */
int store_divide(fc_store *s, const fc_batch *b, uint64_t seq);
/* The keyspace's share, made if there is none. NULL without memory. */
store_share *store_share_of(fc_store *s, store_keyspace *ks);
/* Of what the log holds: is it in a table, or of a keyspace that was dropped (NULL)? */
bool store_is_known(const store_keyspace *ks, uint64_t seq);

/* --- write.c ---------------------------------------------------------------------------------------------------- */

/* Operations that the log had already. */
int store_replay(fc_store *s, fc_slice operations, uint32_t n, uint64_t first_seq, fc_wal_pos pos);
/* With writers held: what was written so far gets a memtable of its own. */
void store_switch(fc_store *s, store_keyspace *ks);

/* --- pace.c ----------------------------------------------------------------------------------------------------- */

typedef struct store_pressure {
    double memory;                             /* share of the memtables' room in use */
    uint32_t level0, level0_soft, level0_hard; /* tables */
    uint64_t debt, debt_soft, debt_hard;       /* bytes */
    double log;                                /* share of the log's buffer that waits for the disk */
} store_pressure;

/* About what compaction writes for one level 0 that is full, on its way down: debt of that size comes and goes. */
uint64_t store_pace_round(const fc_keyspace_options *o);
/* How long a writer of so many bytes is to wait before it writes again. */
uint64_t store_pace(uint64_t bytes, const store_pressure *p);

/* --- recover.c -------------------------------------------------------------------------------------------------- */

/* What the manifest says becomes keyspaces and open tables. */
int store_read_manifest(fc_store *s, fc_damage *damage);
/* A new manifest of the state, then files that no longer count are removed. */
int store_begin_manifest(fc_store *s);
int store_replay_log(fc_store *s, fc_damage *damage);
/* Is there anything of a store where CURRENT is not? */
int store_leftovers(fc_store *s, bool *any);

/* --- flush.c ---------------------------------------------------------------------------------------------------- */

/* With the lock held: is there something to flush, or a flush under way? */
bool store_flush_wanted(const fc_store *s);
/* 1, 0 when there was nothing to do, or an error. While fc_store.error is 0 then the memtable waits on, and nothing has
 * changed. */
int store_flush_step(fc_store *s);
/* Gives up what is under way. */
void store_flush_abandon(fc_store *s);
/* Waits until the keyspace's operations up to seq are in tables. */
int store_await_flushed(fc_store *s, store_keyspace *ks, uint64_t seq);

/* --- background.c ----------------------------------------------------------------------------------------------- */

int store_start(fc_store *s);
void store_end(fc_store *s);
/* The store is read-only from here on. Returns the error. */
int store_fail(fc_store *s, int error);
/* With the lock held: is it closed, or failed? */
int store_state(const fc_store *s);
/* Errors that may be gone later, with nothing lost. */
bool store_passes(int error);
/* Errors of its parts as the store's own. */
int store_error_of(int error);
void store_note_damage(fc_store *s, const fc_damage *damage);
/* False after a simulated crash: the store is dead, and must not touch what another life owns by now. */
bool store_alive(fc_store *s);
/* With the lock held: waits for progress, or without threads (and so without the lock meanwhile) makes it. 0, or an
 * error; without threads 1 when there is nothing to do. */
int store_progress(fc_store *s, const struct timespec *until);

/* --- compaction (store_compact.h) -------------------------------------------------------------------------------- */

uint64_t store_now_ms(fc_store *s);
/* With the lock held: there may be something to do. */
void store_ask_compaction(fc_store *s);
/* With the lock held: ascending; the caller's to free. NULL: no memory. */
uint64_t *store_snapshots(fc_store *s, size_t *n);
fc_table_options store_table_options(fc_store *s, uint32_t keyspace, const fc_keyspace_options *o, uint64_t number);

#endif
