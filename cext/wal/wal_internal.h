/* wal_internal.h - the log's own structures. Private to cext/wal.
 *
 * Positions: a record that begins at byte `offset` of the segment with `base` begins at position base + offset. The appender
 * lays records out over segments that the thread has not made yet; it needs only their size.
 */
#ifndef FC_WAL_INTERNAL_H
#define FC_WAL_INTERNAL_H

#include <pthread.h>

#include "wal_format.h"

typedef struct wal_segment {
    wal_extent e;
    fc_file *file; /* open for writing, or NULL */
} wal_segment;

/* A run of bytes of a buffer that belongs into one segment. */
typedef struct wal_piece {
    uint64_t begin; /* position */
    wal_extent e;   /* of the segment */
    size_t at, n;   /* in the buffer */
} wal_piece;

/* One batch: what is written and synced together. */
typedef struct wal_buffer {
    char *data;
    size_t n, room;
    wal_piece *pieces;
    size_t pieces_len, pieces_room;
    uint64_t begin, end; /* positions: of the first record, and after the last */
    uint64_t appends;
} wal_buffer;

typedef enum wal_making { WAL_MAKING_NOTHING, WAL_MAKING_SPARE, WAL_MAKING_BALLAST } wal_making;

struct fc_wal {
    fc_disk *disk;
    fc_wal_options options;
    fc_file *lock_file;

    pthread_mutex_t lock;      /* everything below that is not said to be somebody's own */
    pthread_cond_t work;       /* for the log thread: something gathered, or closing */
    pthread_cond_t chores;     /* for the other thread: a spare is wanted, segments may go, or closing */
    pthread_cond_t progress;   /* for waiters: durable, error or stopped changed */
    pthread_t log_thread, chore_thread;
    bool running;              /* the threads are there */
    bool closing, stopped;
    int error;                 /* sticky */
    bool read_only;            /* recovery found corruption */
    fc_wal_watch *watches;

    wal_buffer buffers[2];
    wal_buffer *gathering;     /* the other one is the log thread's own while it is being written */
    bool writing;
    uint64_t next;             /* position at which the next record begins */
    wal_extent e;              /* of the segment it lies in */
    uint64_t durable;          /* atomic: read without the lock */
    uint64_t salts;            /* stream of random numbers */

    wal_segment *segments;     /* oldest first; the files are open in the last ones only */
    size_t segments_len, segments_room;
    uint64_t truncate_before;
    uint32_t claims;           /* segments that have been laid out and not made yet */
    bool spare;                /* WAL_SPARE is there, zero-filled or recycled, of options.segment_bytes */
    wal_making making;         /* what the other thread is at */
    bool ballast;              /* WAL_BALLAST is there */
    bool full;                 /* the last one who asked for a segment's room got -ENOSPC */
    bool tight;                /* the ballast was needed: urgent appends only */

    fc_wal_report report;
};

#define WAL_SPARE "spare.tmp"
#define WAL_NEXT "next.tmp"
#define WAL_BALLAST "ballast.tmp"
#define WAL_LOCK "wal.lock"

/* --- wal.c ------------------------------------------------------------------------------------------------------------ */

void *wal_log_thread(void *wal);
void *wal_chore_thread(void *wal);
/* With the lock held, which is given up meanwhile: writes and syncs what has gathered. */
int wal_commit(fc_wal *w);
/* With the lock held: the log is failed, unless it was. */
void wal_fail(fc_wal *w, int error);
/* With the lock held: wakes who waits for what has changed. */
void wal_progress(fc_wal *w);

/* --- wal_segment.c: called by the thread that does the work, without the lock ---------------------------------------- */

/* The segment, made if it is the next one. The file stays open. */
int wal_segment_get(fc_wal *w, wal_extent e, fc_file **out);
/* Adds one that exists. */
int wal_segment_add(fc_wal *w, wal_extent e);
/* With the lock held: may an append lay out one more segment? 0, or -ENOSPC. */
int wal_segment_claim(fc_wal *w, bool urgent);
/* With the lock held: closes files of segments that nothing more will be written to. */
void wal_segments_passed(fc_wal *w);
/* Makes a spare, renews the ballast, gives truncated segments back: one piece of work. 1 when it did something, 0 when
 * there was nothing to do, or an error. The log fails if that was one of a sync, else it is no harm (there is no spare). */
int wal_chore(fc_wal *w);
/* With the lock held. */
bool wal_has_chore(const fc_wal *w);

/* --- wal_recover.c ---------------------------------------------------------------------------------------------------- */

/* Finds segments and the end of the log, cuts a torn tail off, makes the first segment of a new log. Fills segments, next, e,
 * durable, report. */
int wal_recover(fc_wal *w);

#endif
