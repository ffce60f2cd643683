/* fc/disk_sim.h - a disk in memory that keeps its promises and nothing more.
 *
 * What is written lies in the page cache, where reads see it; a sync carries it to the platter. fc_disk_sim_crash switches
 * the power off: of everything that was not synced, each piece of 512 or 4096 bytes may be there in any of the versions it
 * had since, and each change of a name may be there or not, chosen by the seed. Linux's ext4 loses less than that; what
 * survives here survives there.
 *
 * Faults
 *   power     every operation counts one step; at step `crash_at` and after it all answer -EIO until the crash is taken.
 *             Running a workload once for each step crashes it at every kind of step.
 *   sync      fails with -EIO, and the pages are clean all the same: they stay readable, no later sync writes them, and a crash
 *             loses them (what Linux does; Rebello et al., ATC 2020). A failed sync of a folder forgets its changes of names alike.
 *   folder    one whose own name was lost in a crash takes what was in it along.
 *   write     fails with -EIO; any part of it may have been made.
 *   cold      fc_file_read_now answers -EAGAIN, as with a page cache that holds nothing: always, unless `cached_ppm` says
 *             how often it shall find what it wants.
 *   space     beyond `capacity` bytes of file sizes, -ENOSPC.
 *   stall     a sync sleeps: for tests with real threads, of who is kept waiting.
 *   bit flip  fc_disk_sim_flip changes a bit of a file, cached and on the platter.
 *
 * One seed, one history: chances are drawn from a stream of the disk's own, in the order of operations.
 * Thread safety: as fc/disk.h asks; one lock for everything, not held while a sync stalls.
 */
#ifndef FC_DISK_SIM_H
#define FC_DISK_SIM_H

#include "fc/disk.h"

typedef struct fc_disk_sim_options {
    uint64_t seed;
    uint64_t capacity;       /* bytes; 0 is no bound */
    uint64_t crash_at;       /* step at which the power goes; 0 never */
    uint32_t write_fail_ppm; /* chances in a million for each operation */
    uint32_t sync_fail_ppm;
    uint32_t sync_stall_ms;
    uint32_t cached_ppm;     /* chance that fc_file_read_now need not wait */
} fc_disk_sim_options;

typedef struct fc_disk_sim_stats {
    uint64_t steps, writes, written_bytes, syncs, dir_syncs; /* a sync counts when it begins */
    uint64_t faults; /* errors given on purpose, without those of a lost power */
} fc_disk_sim_stats;

/* NULL without memory. Closed by fc_disk_close, with everything in it. */
fc_disk *fc_disk_sim_new(const fc_disk_sim_options *options);
/* New chances and faults from here on; the step count starts at 0. */
void fc_disk_sim_set(fc_disk *d, const fc_disk_sim_options *options);
/* Takes the crash and switches the power on again. Files that are open are dead: every use of them answers -EIO, but
 * closing. So is a log that was open. -ENOMEM, or 0. */
int fc_disk_sim_crash(fc_disk *d);
/* Has the power gone? */
bool fc_disk_sim_off(const fc_disk *d);
/* Inverts one bit. -ENOENT, or -EINVAL past the end. */
int fc_disk_sim_flip(fc_disk *d, const char *name, uint64_t bit);
void fc_disk_sim_get_stats(fc_disk *d, fc_disk_sim_stats *out);

#endif
