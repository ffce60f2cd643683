/* fc/wal.h - a write-ahead log with group commit: many appenders, one C thread that writes and syncs.
 *
 * Appends go into one of two buffers. While the thread writes and syncs one, the other gathers; when it is done it takes
 * what gathered, at once and without a timer, so that a lone writer waits for one sync and a thousand writers wait for
 * two at most. A record's position (`fc_wal_pos`) is also its token: it is durable when fc_wal_durable() has passed it.
 *
 * Format (docs/storage/wal.md has the page): segments "<base, 16 hex digits>.wal" of a fixed size, zero-filled before
 * use so that a sync commits no metadata. A segment holds the bytes of the log from position `base` on: a header of 32
 * bytes, then records, each on 8 bytes and whole, the last one an end mark:
 *
 *     0  crc     CRC32C, masked, of bytes 4 to the end of the payload, seeded with the segment's salt and the record's position
 *     4  length  of the payload
 *     8  batch   bytes from the beginning of the batch this record was written in to this record
 *     12 type    1 to 254: the user's; 255: the segment ends here, go on in the next
 *     13 check   low 24 bits of the CRC of bytes 4 to 13: is this a header at all?
 *     16 payload
 *
 * Telling a torn tail from corruption: batch N+1 is written only after the sync of batch N. So when a record does not
 * check and a later one does, then if the later one belongs to a later batch the bad one had been synced: corruption,
 * reported with its place and never dropped. If all later ones belong to the bad one's batch (the disk wrote the end of it first),
 * nobody was told that they are there: a torn tail, cut off. Damage in the very last batch looks like a torn tail.
 *
 * The salt is random for each segment, so that no payload can hold what reads as a record where one is expected: neither
 * by chance nor by somebody who knows the format.
 *
 * Invariants
 *   1. Positions only grow; the position of a record is where it ends, so "durable >= position" needs no plus one.
 *   2. After an I/O error the log is failed for good: every append and wait answers that error. What was durable before stays so.
 *   3. Nothing that was reported durable is ever cut off or skipped by recovery after a crash.
 *   4. On a full disk nothing is damaged: room for a segment is taken whole, before it is used, and an append for which none
 *      is left answers -ENOSPC and changes nothing. One segment's worth is kept in a ballast file for urgent appends
 *      (deletions, shutdown); once it is in use all others are refused, until there is room for both again. A refused
 *      append makes the log look for room. (Without a ballast, as in a new log's first moments, an append may be granted a
 *      segment before anybody has found that there is no room for it; with buffer_bytes_max beyond half a segment, what
 *      gathers while the disk fills up may need more segments than are kept: the log then fails with -ENOSPC.)
 *   5. One log has its files at a time: a lock file excludes other processes, and other opens in this one.
 *
 * Thread safety: everything may be called from any thread, but fc_wal_close, which is the last call and no other may be
 * under way; fc_wal_stop may. Without a thread (options.threaded false, for simulated disks) fc_wal_step does its next piece of
 * work. The log's threads have all signals blocked.
 *
 * Fork: a log belongs to the process that opened it. A child has no log thread and perhaps a lock that nobody will give back:
 * it must call nothing, closing included. It also holds the lock file as long as it lives or until it executes a program.
 */
#ifndef FC_WAL_H
#define FC_WAL_H

#include "fc/disk.h"
#include "fc/hist.h"

typedef struct fc_wal fc_wal;
typedef uint64_t fc_wal_pos;

enum {
    FC_WAL_ECORRUPT = -10101, /* a damaged record that had been durable: fc_wal_report says where */
    FC_WAL_EFULL = -10102,    /* more bytes wait for the disk than `buffer_bytes_max`: let durable advance, then try again */
    FC_WAL_ELARGE = -10103,   /* a record longer than record_bytes_max */
    FC_WAL_ECLOSED = -10104,
    FC_WAL_EFORMAT = -10105,  /* not a log of ours, or of a later version */
    FC_WAL_EGONE = -10106,    /* asked for a position that has been truncated */
    FC_WAL_ELOCKED = -10107,  /* somebody has the log open */
};

typedef struct fc_wal_options {
    uint64_t segment_bytes;     /* 64 MiB; the unit in which space is taken and given back */
    uint32_t record_bytes_max;  /* 16 MiB, at most half a segment */
    uint32_t buffer_bytes_max;  /* 32 MiB: what may wait for the disk before appends answer FC_WAL_EFULL */
    bool ballast;               /* keep one segment's room for urgent appends; true */
    bool threaded;              /* true; false: fc_wal_step does the work */
    uint64_t salt_seed;         /* salts of new segments come from it; 0: from the system's random source */
    void (*on_durable)(void *ctx, fc_wal_pos durable, int error); /* from the log thread, may be NULL */
    void *ctx;
} fc_wal_options;

#define FC_WAL_DEFAULTS                                                                                              \
    {                                                                                                                \
        .segment_bytes = 64u << 20, .record_bytes_max = 16u << 20, .buffer_bytes_max = 32u << 20, .ballast = true,   \
        .threaded = true                                                                                             \
    }

extern const fc_wal_options FC_WAL_OPTIONS;

/* How long syncs took, in microseconds: 12 % too much at most. */
#define FC_WAL_SYNC_US ((fc_hist_layout){.sub = 3, .min_log2 = 3, .max_log2 = 26})
#define FC_WAL_SYNC_CELLS 195u /* fc_hist_cells(FC_WAL_SYNC_US) */

/* What recovery found, and what the log has done since. */
typedef struct fc_wal_report {
    fc_wal_pos first, end;      /* positions that can be read: [first, end) */
    uint64_t records;           /* found by recovery */
    uint64_t torn_bytes;        /* cut off the tail */
    uint64_t corrupt_offset;    /* with FC_WAL_ECORRUPT: where in which segment */
    char corrupt_name[24];
    uint64_t appends, bytes, batches, syncs;
    uint64_t sync_ns_total, sync_ns_max;
    uint64_t sync_us[FC_WAL_SYNC_CELLS];
    int error;                  /* the sticky one */
} fc_wal_report;

/* Opens, recovers, starts the thread; a new log takes room for its first segment. On FC_WAL_ECORRUPT *out is a log that can
 * only be read, up to the damage, where its readers answer the same. On any other error there is no log. */
int fc_wal_open(fc_disk *disk, const fc_wal_options *options, fc_wal **out);
/* Writes and syncs what waits, ends the threads, gives the lock file back. Waits that are under way end. The log then answers
 * FC_WAL_ECLOSED; readers and reports still work. The sticky error, if there is one. A second call does nothing. */
int fc_wal_stop(fc_wal *w);
/* Stops, if that has not been done, and frees. */
int fc_wal_close(fc_wal *w);

/* A record of the pieces one after the other. 0 and its position; it is durable later (fc_wal_wait, fc_wal_watch). */
int fc_wal_append(fc_wal *w, uint8_t type, const fc_slice *pieces, size_t n, bool urgent, fc_wal_pos *pos);

/* The position up to which everything is on the disk. Never blocks. */
fc_wal_pos fc_wal_durable(const fc_wal *w);
/* The position of the last append. */
fc_wal_pos fc_wal_end(fc_wal *w);
/* 0, or the sticky error. */
int fc_wal_error(fc_wal *w);
/* Blocks the calling thread until pos is durable (0), the log has failed (its error) or is stopped (FC_WAL_ECLOSED). -EINVAL:
 * pos is beyond fc_wal_end(). Without a thread the caller does the work. */
int fc_wal_wait(fc_wal *w, fc_wal_pos pos);
/* The same for at most so many nanoseconds, then -ETIMEDOUT. */
int fc_wal_wait_for(fc_wal *w, fc_wal_pos pos, uint64_t timeout_ns);

/* How an event loop waits: each has one eventfd (non-blocking), to which 1 is added once when the position it wants has become
 * durable, the log has failed or is stopped; then it must ask again. Nobody is woken for nothing. */
typedef struct fc_wal_watch {
    struct fc_wal_watch *next;
    int event_fd;
    fc_wal_pos wanted; /* FC_WAL_NOTHING: nothing */
} fc_wal_watch;

#define FC_WAL_NOTHING UINT64_MAX

void fc_wal_watch_add(fc_wal *w, fc_wal_watch *watch);
void fc_wal_watch_remove(fc_wal *w, fc_wal_watch *watch);
/* Tell when pos, or what was wanted before if that is less, is durable. False, and nothing changes, if there is nothing to wait
 * for: fc_wal_state(w, pos) answers. */
bool fc_wal_watch_for(fc_wal *w, fc_wal_watch *watch, fc_wal_pos pos);
/* Of waiting for pos: 0 it is durable, -EAGAIN not yet, or what fc_wal_wait answers. Never blocks. */
int fc_wal_state(fc_wal *w, fc_wal_pos pos);

/* Segments that lie before pos as a whole are given back, soon: recycled or removed, oldest first. The one that is being
 * written stays, and one more while there is a spare: it will be the next one's file. */
void fc_wal_truncate_before(fc_wal *w, fc_wal_pos pos);

/* --- reading ------------------------------------------------------------------------------------------------------- */

typedef struct fc_wal_reader fc_wal_reader;

typedef struct fc_wal_record {
    fc_wal_pos pos;  /* where it ends: the token append gave */
    uint8_t type;
    fc_slice payload; /* good until the next call */
} fc_wal_record;

/* From the first record whose position is > pos (0: from the beginning) to what is durable at the time of each call. A reader
 * that truncation overtakes answers FC_WAL_EGONE. One thread at a time; closed before the log is. */
int fc_wal_reader_open(fc_wal *w, fc_wal_pos pos, fc_wal_reader **out);
/* 1 and a record, 0 at the end for now, or an error (FC_WAL_ECORRUPT, FC_WAL_EGONE). */
int fc_wal_reader_next(fc_wal_reader *r, fc_wal_record *out);
void fc_wal_reader_close(fc_wal_reader *r);

/* The thread's next piece of work: 1 when it did something, 0 when there was nothing to do, or the error it met. */
int fc_wal_step(fc_wal *w);

void fc_wal_get_report(fc_wal *w, fc_wal_report *out);
const char *fc_wal_strerror(int error);

#endif
