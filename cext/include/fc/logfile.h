/* fc/logfile.h - lines appended to a file by a thread, so that a slow or full disk never stops the event loop.
 *
 * The loop copies finished lines into one of two buffers; the thread writes the other. A line that finds both occupied
 * is dropped and counted. A failed write (ENOSPC, EIO) drops that buffer's lines, is counted and remembered, and writing
 * is tried again with the next buffer: the service goes on, and its health says that the log does not.
 *
 * Invariants
 *  1. A line is written whole or not at all, unless the disk fills in the middle of a write; the next successful write
 *     then begins with a newline, so at most one line is damaged.
 *  2. Lines of one process keep their order. Several processes may append to the same file (O_APPEND).
 * Thread safety: put and the counters may be called from one loop thread; make it after fork.
 */
#ifndef FC_LOGFILE_H
#define FC_LOGFILE_H

#include "fc/base.h"

typedef struct fc_logfile fc_logfile;

typedef struct fc_logfile_stats {
    uint64_t lines;         /* accepted */
    uint64_t dropped_full;  /* both buffers were occupied: the disk is slower than the traffic */
    uint64_t dropped_error; /* lost with a failed write */
    int last_errno;         /* of the last write; 0 when it worked */
} fc_logfile_stats;

/* path "-" is standard output. buffer_bytes is the size of each of the two buffers. NULL with errno set. */
fc_logfile *fc_logfile_open(const char *path, size_t buffer_bytes);
/* Writes what is left, then closes. */
void fc_logfile_close(fc_logfile *log);
/* Open the path again (after rotation). 0 or -errno; on failure the old file stays in use. */
int fc_logfile_reopen(fc_logfile *log);
/* Append one line (with its newline). False when it was dropped. */
bool fc_logfile_put(fc_logfile *log, const char *line, size_t n);
fc_logfile_stats fc_logfile_get_stats(fc_logfile *log);

#endif
