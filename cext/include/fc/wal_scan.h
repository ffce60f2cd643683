/* fc/wal_scan.h - a log looked at without being opened: where is it damaged, and which records are there all the same?
 *
 * For checks and repair. Nothing is written, no lock is taken: the caller sees to it that nobody has the log open. What
 * tells a torn tail from corruption is in fc/wal.h; here the walk goes on behind corruption.
 *
 * Invariants
 *   1. The end is where fc_wal_open would end the log if nothing were damaged: what had not been durable is behind it.
 *   2. fc_wal_scan_records gives every record before the end whose checksum is right, in order.
 *   3. Memory for one segment at a time.
 *
 * Thread safety: one user at a time.
 */
#ifndef FC_WAL_SCAN_H
#define FC_WAL_SCAN_H

#include "fc/wal.h"

typedef struct fc_wal_scan fc_wal_scan;

/* Called with each damage: where in which file, and a sentence. */
typedef void (*fc_wal_damage_fn)(void *ctx, const char *name, uint64_t offset, const char *what);
/* A nonzero answer stops, and is the answer. */
typedef int (*fc_wal_record_fn)(void *ctx, const fc_wal_record *record);

typedef struct fc_wal_scan_report {
    fc_wal_pos first, end; /* end counts when the walk is over */
    fc_wal_pos beyond;     /* no segment reaches further */
    uint64_t records, torn_bytes, damages;
    uint64_t segments, bytes, bytes_done; /* of the files, and of those looked at */
} fc_wal_scan_report;

/* Finds the segments. A log without any ends where a new one begins. */
int fc_wal_scan_open(fc_disk *disk, fc_wal_scan **out);
/* Looks at the next segment: 1, more to do; 0, that was all; or an error (not damage). */
int fc_wal_scan_step(fc_wal_scan *s, fc_wal_damage_fn fn, void *ctx);
/* REQUIRES: the walk is over. The records of segment i (of report.segments) whose position is above `after`. */
int fc_wal_scan_records(fc_wal_scan *s, size_t i, fc_wal_pos after, fc_wal_record_fn fn, void *ctx);
const fc_wal_scan_report *fc_wal_scan_get_report(const fc_wal_scan *s);
/* Name of segment i. */
void fc_wal_scan_name(const fc_wal_scan *s, size_t i, char out[24]);
void fc_wal_scan_close(fc_wal_scan *s);

/* Makes an empty segment at `position`, a multiple of 8: with it, and no other, a log begins there. Synced, its name
 * too. */
int fc_wal_begin_at(fc_disk *disk, fc_wal_pos position, uint32_t salt);

#endif
