/* store_compact.h - compaction as a store does it. A part of store_internal.h, which includes it behind its types.
 *
 * compact_choose.c says what is next, compact_job.c merges and installs, compact_ask.c is what fc_store_compact asks
 * for.
 */
#ifndef FC_STORE_COMPACT_H
#define FC_STORE_COMPACT_H

#include "fc/compaction.h"

/* What fc_store_compact asks for. The level and `at` are the worker's, who alone takes it off the queue. */
typedef struct store_ask {
    struct store_ask *next;  /* [lock] */
    uint32_t refs;           /* [lock] the queue's and the asker's */
    store_keyspace *keyspace;
    store_key begin, end;    /* end.n 0: the end of all keys */
    unsigned level;          /* that is next */
    store_key at;            /* and where it goes on there */
    bool gone, done;         /* [lock] the asker has left; it is finished, or failed: */
    int error;               /* [lock] */
} store_ask;

typedef enum job_stage { JOB_IDLE, JOB_MERGE, JOB_NAME, JOB_INSTALL } job_stage;

typedef struct store_job {
    job_stage stage;
    store_version *version;  /* held: its tables are the inputs, and what lies below them */
    store_ask *ask;          /* NULL: nobody's */
    fc_pick pick;
    fc_pick_table *tables;   /* of the version, as picking wants them: */
    fc_pick_level levels[FC_STORE_LEVELS];
    fc_keyspace_options options;
    uint64_t now_ms;
    uint64_t *snapshots;
    size_t snapshots_n;
    fc_table **inputs;       /* upper, lower */
    fc_level upper, lower;
    fc_range *ranges;
    fc_read_options how;
    fc_compaction *merge;    /* NULL: the tables are moved */
} store_job;

/* With the lock held: may there be something to compact? */
bool store_compact_wanted(const fc_store *s, uint64_t now_ms);
/* The next piece of it: 1, 0 when there was nothing to do, or an error. By the compaction thread, or fc_store_step. */
int store_compact_step(fc_store *s);
/* Gives up what is under way and what was asked for. */
void store_compact_abandon(fc_store *s);
/* The keyspace has another version: how much has compaction to write? With the manifest lock held. */
void store_note_debt(fc_store *s, store_keyspace *ks);
/* The job becomes what is next. 1: there is something, or what was asked for is finished; 0: there is nothing; or an
 * error. */
int store_job_choose(fc_store *s);
int store_job_choose_asked(fc_store *s);
void store_job_clear(fc_store *s);
/* What the first ask in the queue wants next. 1: *pick; 0: it wants nothing more and is finished; or an error. The
 * levels are those of the keyspace's version. */
int store_ask_pick(fc_store *s, store_ask *ask, const fc_pick_level *levels, const fc_pick_options *options,
                   fc_pick *pick);
/* A job for it is done. */
int store_ask_advance(store_ask *ask, const fc_pick *pick, const fc_pick_level *levels);
/* Off the queue, with the result. */
void store_ask_finish(fc_store *s, store_ask *ask, int error);

#endif
