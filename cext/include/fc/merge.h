/* fc/merge.h - many sources read as one: the tables of a level one after the other, sources merged, and what a snapshot
 * sees of them.
 *
 *   fc_level  tables that do not overlap, as one iterator; a table's iterator is made when it is come to
 *   fc_merge  all entries of several iterators in internal order: what flushes and compactions read
 *   fc_view   the user's keys and values: of each key the newest version up to the snapshot, unless that is deleted,
 *             expired or under a range deletion; forwards and backwards
 *
 * Invariants
 *   1. An error of any source ends the walk with that error; nothing is left out in silence.
 *   2. A view shows a key at most once, in ascending (next) or descending (prev) order, and exactly those for which
 *      asking the sources from the newest to the oldest (fc/iter.h, FC_FOUND) finds a value.
 *   3. No two sources hold the same internal key (fc/ikey.h, invariant 1). If they do, it is shown once by a view.
 *   4. After FC_EWOULDREAD or FC_VIEW_ESKIPPED the view knows where it was: next or prev, in the direction it was
 *      going, goes on from there (with the fc_read_options of the sources changed so that they may read).
 *   5. What is walked over inside a range deletion is not read where a source has nothing newer: the source is moved to
 *      the range's other end after some steps.
 *
 * Thread safety: one user at a time, as for every iterator. The sources must outlive it.
 */
#ifndef FC_MERGE_H
#define FC_MERGE_H

#include "fc/memtable.h"
#include "fc/table.h"

/* --- a level ---------------------------------------------------------------------------------------------------- */

/* REQUIRES: all versions of a user key, and all range deletions that cover it, are in one table of the level: tables
 * are cut between user keys, and range deletions with them. The end of a range may be the smallest key of the next
 * table. */
typedef struct fc_level {
    fc_table *const *tables; /* ascending; the largest key of one is at most the smallest of the next */
    size_t n;
    bool has_ranges;
    uint64_t last_seq;
} fc_level;

/* The array stays the caller's. Looks at every table's properties: once for each version of the store, not for each
 * read. */
void fc_level_init(fc_level *l, fc_table *const *tables, size_t n);
/* The first table that reaches to the key or beyond; n when there is none. */
size_t fc_level_find(const fc_level *l, fc_slice user);
/* FC_FOUND, FC_DELETED, FC_NOT_HERE, or an error; asks two tables at most. */
int fc_level_get(const fc_level *l, const fc_lookup *lookup, fc_found *out);
/* NULL without memory. */
fc_iter *fc_level_iter(const fc_level *l, const fc_read_options *how);
void fc_level_cover(const fc_level *l, fc_slice key, uint64_t snapshot, fc_range_cover *out);

/* --- sources merged --------------------------------------------------------------------------------------------- */

typedef struct fc_source {
    fc_iter *points;
    uint64_t last_seq; /* no entry is newer */
    /* NULL: no range deletions */
    void (*cover)(const void *owner, fc_slice key, uint64_t snapshot, fc_range_cover *out);
    const void *owner;
} fc_source;

/* points is NULL in an answer without memory, which whoever takes sources understands. A memtable's range deletions
 * count from the moment of the call on: get the snapshot before. */
fc_source fc_source_memtable(const fc_memtable *m, const fc_read_options *how);
fc_source fc_source_table(fc_table *t, const fc_read_options *how);
fc_source fc_source_level(const fc_level *l, const fc_read_options *how);

#define FC_SOURCES_MAX 4096u

/* All entries. Takes the iterators, in failure too (NULL: no memory, or more than FC_SOURCES_MAX). */
fc_iter *fc_merge_iter(const fc_source *sources, size_t n);

/* --- a view ----------------------------------------------------------------------------------------------------- */

enum {
    FC_VIEW_ESKIPPED = -10601, /* skip_max entries were passed over without finding one to show */
};

typedef struct fc_view_options {
    uint64_t snapshot;
    uint64_t now_ms;
    uint32_t skip_max; /* entries that a call may pass over before FC_VIEW_ESKIPPED; 0: any number */
} fc_view_options;

typedef struct fc_view {
    fc_slice key, value; /* readable until the next call */
    uint64_t tag;        /* of the version */
    uint64_t expires_ms; /* 0: never */
    uint64_t skipped;    /* entries passed over so far: deleted, covered, too new or too old */
    int error;
    bool valid;
} fc_view;

/* Takes the iterators of the sources, in failure too. NULL without memory. */
fc_view *fc_view_open(const fc_source *sources, size_t n, const fc_view_options *options);
void fc_view_close(fc_view *v);

void fc_view_first(fc_view *v);
void fc_view_last(fc_view *v);
void fc_view_seek(fc_view *v, fc_slice key);      /* the first key at or after it */
void fc_view_seek_back(fc_view *v, fc_slice key); /* the last key at or before it */
/* REQUIRE: valid, or one of the errors of invariant 4. */
void fc_view_next(fc_view *v);
void fc_view_prev(fc_view *v);

#endif
