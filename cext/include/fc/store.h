/* fc/store.h - an ordered key-value store on one disk: keyspaces, atomic batches, snapshots, and what was acknowledged
 * as durable is there after any crash.
 *
 * A log-structured merge tree over the parts of cext/lsm: writes go to the log (fc/wal.h) and a memtable
 * (fc/memtable.h); full memtables are written as tables of level 0 (fc/table.h); compaction merges tables down the
 * levels (fc/compaction.h); the manifest (fc/manifest.h) says which tables count. docs/storage/store.md tells how they
 * work together and why a crash at any moment is survived.
 *
 * All keyspaces share one log and one sequence of operations, so a batch may touch several of them and is still atomic.
 * Each has memtables, levels and options of its own.
 *
 * What is read: a version of a keyspace (its memtables and tables, immutable, counted references) and a sequence number
 * taken together. What is written later is not seen, and whatever flushes and compactions do meanwhile changes nothing.
 *
 * Invariants
 *   1. A batch is there as a whole or not at all: for readers, and after a crash.
 *   2. After fc_wal_wait on the position of a write, it is there after every crash. A crash never brings a deleted key
 *      back, and what survives is a prefix of the writes in their order.
 *   3. A table is installed by the manifest only after (a) the table's bytes and its name are durable and (b) the log is
 *      durable up to the last operation in it: else half a batch could survive.
 *   4. Log, tables and manifests are given up only after the manifest edit that makes them superfluous is durable.
 *   5. After a failed write or sync the store is read-only (fc_store_error says why); nothing is tried again. But when
 *      a disk is full, or memory, that is refused which needs it, nothing has changed, and it goes on when there is room.
 *   6. Memory is bounded: by memtables in waiting (FC_STORE_EBUSY beyond, which changes nothing), cache_bytes, and what
 *      open tables keep (fc_table_memory).
 *   7. A writer is slowed by fc_write_result.delay_ns, which the caller spends as its loop likes; no call of the write
 *      path waits for the disk, but a condition (fc_batch_expect) whose key is not in memory.
 *
 * Thread safety: everything may be called from any thread, but fc_store_close, which is the last call, and the calls
 * on one fc_batch, fc_read or fc_scan, which have one user at a time. Locks are taken in this order: manifest, writers',
 * versions' (cext/store/store_internal.h). Without threads (options.threaded false, for simulated disks)
 * fc_store_step does the background's next piece of work.
 *
 * Fork: as for the log: a store belongs to the process that opened it, a child must call nothing.
 */
#ifndef FC_STORE_H
#define FC_STORE_H

#include "fc/manifest.h"
#include "fc/merge.h"
#include "fc/wal.h"

typedef struct fc_store fc_store;

enum {
    FC_STORE_ECORRUPT = -10801,  /* damaged; fc_damage says where */
    FC_STORE_EFORMAT = -10802,   /* not a store, or of a later version */
    FC_STORE_ELOCKED = -10803,   /* somebody has it open */
    FC_STORE_ECLOSED = -10804,
    FC_STORE_EBUSY = -10805,     /* memtables or the log's buffer are full: fc_store_wait_room, then again */
    FC_STORE_ECONFLICT = -10806, /* an expectation of the batch does not hold */
    FC_STORE_ESIZE = -10807,     /* a key, value or batch larger than allowed */
    FC_STORE_ENOKEYSPACE = -10808,
    FC_STORE_EMISSING = -10809,  /* there is no store here, and create was not asked for */
    FC_STORE_EEXISTS = -10810,   /* there is one, or the keyspace or folder is there */
};

#define FC_STORE_LEVELS 7u
#define FC_KEYSPACE_NAME_MAX 255u
#define FC_KEYSPACES_MAX 4096u
#define FC_STORE_LOCK "LOCK" /* locked (fc_disk_lock) by who has the store open */

/* --- options ---------------------------------------------------------------------------------------------------- */

typedef struct fc_keyspace_options {
    uint64_t memtable_bytes;     /* 64 MiB; a full one is written to the disk */
    uint32_t memtables_max;      /* 4: the one that is written to, and those in waiting */
    uint64_t table_bytes;        /* 32 MiB: tables of level 1 and below are ended about here */
    uint32_t level0_tables;      /* 4: with so many, level 0 is merged into level 1 */
    uint64_t level_bytes;        /* 256 MiB: about the first level below level 0; the last one gives the others theirs */
    uint32_t level_factor;       /* 10 */
    uint32_t block_bytes;        /* 8 KiB */
    uint32_t restart_interval;   /* 16 */
    uint32_t filter_bits;        /* 10 for each key; 0: none */
    fc_codec codec;              /* none */
} fc_keyspace_options;

extern const fc_keyspace_options FC_KEYSPACE_OPTIONS;

typedef struct fc_store_options {
    bool create;                 /* true: make the store if there is none */
    bool must_create;            /* false: refuse if there is one */
    bool threaded;               /* true */
    uint64_t cache_bytes;        /* 64 MiB, of blocks, shared by all keyspaces */
    uint64_t log_bytes_max;      /* 1 GiB: beyond, the keyspace that keeps the oldest log is flushed */
    fc_wal_options log;          /* its threaded, on_durable and ctx are the store's to set */
    fc_keyspace_options defaults; /* of the keyspace "default", and of those made without options */
    uint64_t seed;               /* of hash keys, salts and the order of fc_store_step; 0: the system's random source */
    uint64_t (*now_ms)(void *ctx); /* since 1970; NULL: the system's clock */
    void *now_ctx;
} fc_store_options;

extern const fc_store_options FC_STORE_OPTIONS;

/* --- life ------------------------------------------------------------------------------------------------------- */

/* Opens, recovers what the log holds, starts the threads. The disk must outlive the store. damage may be NULL. */
int fc_store_open(fc_disk *disk, const fc_store_options *options, fc_damage *damage, fc_store **out);
/* Makes durable what was written, ends the threads, gives the lock back; memtables are not flushed, the log has them.
 * Calls under way end. Reads still work, of tables too: their files stay open; all else answers FC_STORE_ECLOSED. */
int fc_store_stop(fc_store *s);
/* Stops and frees. REQUIRES: no read, scan or snapshot is left. */
int fc_store_close(fc_store *s);
/* 0, or the sticky error that has made it read-only. */
int fc_store_error(fc_store *s);
/* The first damage met since it was opened; false: none. */
bool fc_store_damage(fc_store *s, fc_damage *out);
/* The background's next piece of work: 1, 0 when there is none, or an error. Does nothing under threads. */
int fc_store_step(fc_store *s);

/* --- keyspaces -------------------------------------------------------------------------------------------------- */

/* The number of a keyspace, 0 is "default" and always there. options NULL: as it is, or the store's defaults for a new
 * one. FC_STORE_ENOKEYSPACE unless create. Options of one that exists are changed to those given, for new tables. */
int fc_store_keyspace(fc_store *s, fc_slice name, const fc_keyspace_options *options, bool create, uint32_t *id);
/* It and everything in it is gone when this returns; durable, too. Not "default". */
int fc_store_drop(fc_store *s, uint32_t id);
/* Called with each, under a lock: it may call nothing of the store. */
void fc_store_keyspaces(fc_store *s, void (*fn)(void *ctx, uint32_t id, fc_slice name), void *ctx);

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* Operations to be done at once. Begin with zeros. It is the log's record in the making (docs/storage/store.md). */
typedef struct fc_batch {
    char *p;
    size_t n, cap;
    uint32_t operations, ranges;
    uint32_t unbounded;       /* of these ranges, those to the end of all keys */
    uint32_t keyspace;        /* of the first operation */
    bool several;             /* there are operations on others */
    uint64_t data_bytes;      /* of keys and values */
    char *expected;           /* conditions; not logged */
    size_t expected_n, expected_cap;
    uint32_t expectations;
    int error;                /* -ENOMEM or FC_STORE_ESIZE: remembered, so that only the write need be looked at */
} fc_batch;

/* expires_ms 0: never. */
void fc_batch_put(fc_batch *b, uint32_t keyspace, fc_slice key, fc_slice value, uint64_t expires_ms);
void fc_batch_delete(fc_batch *b, uint32_t keyspace, fc_slice key);
/* From begin to before end; an empty end is the end of all keys. (That end is found when it is written: behind every
 * key that is there then. So the largest of all possible keys, FC_KEY_MAX bytes of 0xFF, is refused.) */
void fc_batch_delete_range(fc_batch *b, uint32_t keyspace, fc_slice begin, fc_slice end);
/* The batch is done only if the key's version is this one (fc_value.version); 0: only if there is no value. All
 * expectations are looked at before the batch's own operations. */
void fc_batch_expect(fc_batch *b, uint32_t keyspace, fc_slice key, uint64_t version);
void fc_batch_append(fc_batch *b, const fc_batch *other);
void fc_batch_clear(fc_batch *b);
void fc_batch_free(fc_batch *b);
/* Walks the operations: 1, 0 at the end, or an error. *at begins with 0. */
typedef struct fc_batch_item {
    fc_key_type type;
    uint32_t keyspace;
    fc_slice key, value; /* value: end of a range; without the expiry */
    uint64_t expires_ms;
} fc_batch_item;
int fc_batch_next(fc_slice batch, size_t *at, fc_batch_item *item);

typedef struct fc_write_result {
    fc_wal_pos pos;       /* durable when the log is (fc_store_log, fc_wal_wait) */
    uint64_t version;     /* of the first operation; the next ones count on */
    uint64_t delay_ns;    /* to spend before the next write: how compaction's debt is paid */
    uint32_t conflict;    /* with FC_STORE_ECONFLICT: which expectation */
} fc_write_result;

enum {
    FC_WRITE_URGENT = 1,      /* may use the log's ballast on a full disk: deletions, shutdown */
    FC_WRITE_MEMORY_ONLY = 2, /* FC_EWOULDREAD, and nothing is done, if an expectation needs the disk */
};

/* Visible to every read that begins later when it returns; durable later, see result->pos. On an error nothing has
 * changed. */
int fc_store_write(fc_store *s, const fc_batch *b, unsigned flags, fc_write_result *result);
/* Blocks until a write may go on (0), -ETIMEDOUT, why a flush cannot be done now (-ENOSPC; it is tried again every
 * second), or the sticky error. Without threads it does the work. */
int fc_store_wait_room(fc_store *s, uint64_t timeout_ns);
/* Where positions are waited for. */
fc_wal *fc_store_log(fc_store *s);

/* --- reading ---------------------------------------------------------------------------------------------------- */

typedef struct fc_snapshot fc_snapshot;

/* All keyspaces as they are now, for as long as it is held. NULL without memory. */
fc_snapshot *fc_store_snapshot(fc_store *s);
void fc_snapshot_release(fc_snapshot *snapshot);
uint64_t fc_snapshot_seq(const fc_snapshot *snapshot);

struct store_version;

/* A keyspace held still: any number of gets see one moment. */
typedef struct fc_read {
    fc_store *store;
    struct store_version *version;
    uint64_t seq, now_ms;
} fc_read;

typedef struct fc_value {
    fc_slice value;         /* readable until fc_value_release, which comes before fc_read_end */
    uint64_t version;       /* of this value: never 0, grows with every write */
    uint64_t expires_ms;    /* 0: never */
    struct fc_block *block;
} fc_value;

/* snapshot NULL: as it is now. */
int fc_read_begin(fc_store *s, uint32_t keyspace, const fc_snapshot *snapshot, fc_read *out);
/* 1 found, 0 not, or an error; with memory_only FC_EWOULDREAD where the disk would have to be waited for. */
int fc_read_get(fc_read *r, fc_slice key, bool memory_only, fc_value *out);
void fc_value_release(fc_value *v);
void fc_read_end(fc_read *r);

typedef struct fc_scan fc_scan;

typedef struct fc_scan_options {
    const fc_snapshot *snapshot;   /* NULL: as it is now */
    bool bounded_below, bounded_above;
    fc_slice lower, upper;         /* [lower, upper); copied */
    bool fill_cache;               /* true */
    uint32_t skip_max;             /* entries to pass over in a call before FC_VIEW_ESKIPPED; 0: any number */
} fc_scan_options;

int fc_scan_open(fc_store *s, uint32_t keyspace, const fc_scan_options *options, fc_scan **out);
void fc_scan_close(fc_scan *scan);
/* Whether its calls may read the disk, or shall answer FC_EWOULDREAD and be repeated (invariant 4 of fc/merge.h). */
void fc_scan_memory_only(fc_scan *scan, bool memory_only);
/* Where it stands; its walk is fc_view_first, _last, _seek, _seek_back, _next, _prev (fc/merge.h). */
fc_view *fc_scan_view(fc_scan *scan);

/* --- upkeep ----------------------------------------------------------------------------------------------------- */

/* These block; without threads they do the work themselves. */

/* Everything written so far is in tables. */
int fc_store_flush(fc_store *s, uint32_t keyspace);
/* All tables that reach into [begin, end) are merged down to the last level; what is deleted or expired is given back.
 * Empty end: to the end of all keys. */
int fc_store_compact(fc_store *s, uint32_t keyspace, fc_slice begin, fc_slice end);
/* A store of its own in a new folder of this one's disk: links to the tables, a manifest, no log. Whole and durable,
 * or (on an error, after a crash) removed. */
int fc_store_checkpoint(fc_store *s, const char *folder);

typedef struct fc_level_stats {
    uint64_t tables, bytes, entries, deletes;
} fc_level_stats;

typedef struct fc_keyspace_stats {
    fc_level_stats levels[FC_STORE_LEVELS];
    uint64_t memtables, memtable_bytes, memtable_entries;
    uint64_t table_memory;         /* indexes and filters of open tables */
    uint64_t debt_bytes;           /* what compaction has still to write */
    uint64_t flushes, flushed_bytes, compactions, compacted_read_bytes, compacted_written_bytes, moved_tables;
} fc_keyspace_stats;

typedef struct fc_store_stats {
    uint64_t last_seq, snapshots, oldest_snapshot;
    uint64_t writes, operations, written_bytes; /* bytes of keys and values */
    uint64_t gets, delayed_ns, busy;            /* busy: FC_STORE_EBUSY answered */
    uint64_t manifest_bytes;
    fc_wal_report log;
    fc_block_cache_stats cache;
} fc_store_stats;

void fc_store_get_stats(fc_store *s, fc_store_stats *out);
int fc_store_get_keyspace_stats(fc_store *s, uint32_t keyspace, fc_keyspace_stats *out);
/* About how many bytes of tables lie in [begin, end). Reads nothing. */
uint64_t fc_store_bytes_between(fc_store *s, uint32_t keyspace, fc_slice begin, fc_slice end);

const char *fc_store_strerror(int error);

#endif
