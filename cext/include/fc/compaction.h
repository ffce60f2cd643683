/* fc/compaction.h - which tables to merge next, and merging them: the two halves of compaction, each without a store.
 *
 * fc_compaction_pick is a pure function of the tables' metadata, so that what it decides can be tested and simulated.
 * fc_compaction_* walks the inputs in small steps and writes new tables; installing them is the store's.
 *
 * Leveled compaction. Level 0: tables as they were flushed, newest first, overlapping. Below: tables that do not
 * overlap. The largest level, as a rule the last, gives the sizes of those above it, each `level_factor` times smaller,
 * so that space taken is at most about 1.11 times what lives (RocksDB's "dynamic level bytes"). Levels that would be
 * much smaller than level_bytes are left out: level 0 is merged into the first one that is not.
 *
 * Invariants
 *   1. Of each user key, for each snapshot in `snapshots` and for the newest: what a reader gets from the outputs (with
 *      everything below the output level) is what it got from the inputs.
 *   2. A deletion is dropped only if no snapshot is older than it and nothing below the output level can hold the key;
 *      an expired value is treated as a deletion. A range deletion likewise, piece by piece.
 *   3. Outputs are cut between user keys only, range deletions with them (fc/merge.h, fc_level REQUIRES).
 *   4. An input of level 0 takes along all of level 0 that it overlaps, so nothing older stays above what is newer.
 *   5. What the reasons DELETIONS and EXPIRED pick either goes a level down or holds nothing of the kind afterwards, so
 *      picking comes to an end.
 *
 * Thread safety: a job has one user at a time; picking is pure functions.
 */
#ifndef FC_COMPACTION_H
#define FC_COMPACTION_H

#include "fc/manifest.h"
#include "fc/merge.h"

#define FC_LEVELS_MAX 16u

/* --- choosing --------------------------------------------------------------------------------------------------- */

typedef struct fc_pick_table {
    const fc_table_meta *meta;
    uint64_t keys;        /* fc_table_properties.keys; 0 if not known: then old versions do not count as waste */
    uint64_t last_expiry; /* likewise; 0: what expires is taken to expire at first_expiry */
    bool busy;            /* already an input of a compaction */
} fc_pick_table;

typedef struct fc_pick_level {
    fc_pick_table *tables; /* level 0: newest first; others: by smallest key */
    size_t n;
} fc_pick_level;

typedef struct fc_pick_options {
    unsigned levels;
    uint32_t level0_tables;
    uint64_t level_bytes;   /* about the size of the first level below level 0 */
    uint32_t level_factor;
    uint64_t table_bytes;
    uint64_t now_ms;
    uint64_t oldest_snapshot; /* FC_SEQ_MAX: none */
} fc_pick_options;

typedef enum fc_pick_reason {
    FC_PICK_NOTHING = 0,
    FC_PICK_SIZE,       /* the level is over its size, or level 0 over its number */
    FC_PICK_DELETIONS,  /* a table that is mostly deletions or, on the last level, what nobody can see any more */
    FC_PICK_EXPIRED,    /* a table that is mostly expired */
    FC_PICK_ASKED,      /* by fc_compaction_pick_range */
} fc_pick_reason;

typedef struct fc_pick {
    fc_pick_reason reason;
    unsigned level, output_level; /* the same on the last level, for a table that is written anew */
    size_t *upper, *lower;        /* ascending indexes into the two levels' tables; freed by fc_pick_free */
    size_t upper_n, lower_n;
    bool move;             /* nothing to merge: the tables may change their level as they are */
    uint64_t bytes;        /* of all inputs */
} fc_pick;

/* The first table of a level below level 0 that reaches to the key or beyond; n when there is none. */
size_t fc_pick_find(const fc_pick_level *l, fc_slice key);
/* Whether a table of such a level reaches into [from, to]. */
bool fc_pick_reaches(const fc_pick_level *l, fc_slice from, fc_slice to);

/* Sizes that the levels ought to have (bytes; [0] is 0). Levels that are to be empty get 0, the last one is never too
 * large. Level 0 is merged into *base_level: the first that has a size or a table. */
void fc_compaction_targets(const fc_pick_level *levels, const fc_pick_options *options, uint64_t *targets,
                           unsigned *base_level);
/* Bytes that compaction has to write until every level has its size, estimated: what writers are slowed by. */
uint64_t fc_compaction_debt(const fc_pick_level *levels, const fc_pick_options *options);
/* 0 (out->reason says what), or -ENOMEM. Of the level that is largest for its size the table with the least to merge
 * below it for its own size is taken, deletions counted as a gain. REQUIRES: a busy table's compaction was picked with
 * these levels, too. */
int fc_compaction_pick(const fc_pick_level *levels, const fc_pick_options *options, fc_pick *out);
/* What of a level reaches into [begin, end), or to its end, and what it meets below; of the last level the tables that
 * are worth writing anew. Empty end: to the end. Level 0 is taken at once, of others a part that is not too large: ask
 * again, from the largest key of what was picked on. FC_PICK_NOTHING: there is none, or it is busy. */
int fc_compaction_pick_range(const fc_pick_level *levels, const fc_pick_options *options, unsigned level,
                             fc_slice begin, fc_slice end, fc_pick *out);
void fc_pick_free(fc_pick *p);

/* --- merging ---------------------------------------------------------------------------------------------------- */

typedef struct fc_compaction fc_compaction;

typedef struct fc_compaction_output {
    fc_table_properties properties; /* smallest and largest readable until fc_compaction_close */
    uint64_t number;
} fc_compaction_output;

typedef struct fc_compaction_options {
    fc_disk *disk;
    fc_table_options table;    /* id is set for each */
    uint64_t table_bytes;      /* an output is ended about here */
    const uint64_t *snapshots; /* ascending; copied */
    size_t snapshots_n;
    uint64_t now_ms;
    /* What lies below the output level, nearest first; it stays until close. Tables that come to be there later hold
     * nothing of the inputs' keys that was not there before. */
    const fc_pick_level *below;
    unsigned below_n;
    uint64_t below_bytes; /* an output is ended before it meets more bytes of below[0] than this; 0: no bound */
    uint64_t (*new_number)(void *ctx);
    void (*name)(char out[FC_DISK_NAME_MAX + 1], uint64_t number);
    void *ctx;
} fc_compaction_options;

/* What a walk leapt over is in none of the counts. */
typedef struct fc_compaction_counts {
    uint64_t entries_in, entries_out, dropped_old, dropped_deleted, dropped_expired;
    uint64_t ranges_in, ranges_out; /* those written to two outputs, or cut in pieces, count so often */
    uint64_t bytes_read, bytes_written; /* read: keys and values; written: of finished tables */
} fc_compaction_counts;

/* Takes the iterators of the sources, in failure too (NULL: no memory). ranges: all range deletions of the inputs;
 * their bytes stay until close. REQUIRES: every snapshot that is taken later is at least as new as all of the inputs. */
fc_compaction *fc_compaction_open(const fc_source *sources, size_t n, const fc_range *ranges, size_t ranges_n,
                                  const fc_compaction_options *options);
/* At most about so many bytes of entries: 1, more to do; 0, all outputs are finished and synced (their names are not:
 * sync the folder); or an error, which stays. */
int fc_compaction_step(fc_compaction *c, uint64_t bytes);
size_t fc_compaction_outputs(const fc_compaction *c, const fc_compaction_output **out);
void fc_compaction_get_counts(const fc_compaction *c, fc_compaction_counts *out);
/* Files of a job that failed or was given up are the caller's to remove (fc_compaction_outputs names them, unfinished
 * ones included: their properties are zeros). */
void fc_compaction_close(fc_compaction *c);

#endif
