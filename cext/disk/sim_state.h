/* sim_state.h - what a simulated disk holds: bytes and names, each twice, in the cache and on the platter. Private to
 * cext/disk.
 *
 * sim_state.c knows what is durable and what a crash makes of the rest; sim.c is the fc_disk over it, with its faults.
 * Everything here is called with the disk's lock held.
 */
#ifndef FC_SIM_STATE_H
#define FC_SIM_STATE_H

#include <pthread.h>

#include "fc/disk_sim.h"

/* Bytes that grow; what is beyond the old end reads as zeros. */
typedef struct sim_bytes {
    char *p;
    uint64_t n, room;
} sim_bytes;

/* A change since the last sync, with what is needed to make it again on the platter. */
typedef struct sim_change {
    struct sim_change *next;
    uint64_t offset, n; /* n bytes of data at offset; or */
    bool resize;        /* the file is `offset` bytes long now */
    char data[];
} sim_change;

typedef struct sim_inode {
    struct sim_inode *next;
    uint32_t names; /* in the cache, on the platter and in pending changes of names, plus open files, names in a folder */
    bool folder;    /* it has no bytes: names refer to it (sim_name.dir), so that it can be renamed with what is in it */
    sim_bytes cache, platter;
    sim_change *first, **last; /* unsynced, oldest first */
} sim_inode;

typedef struct sim_name {
    struct sim_name *next;
    sim_inode *dir;    /* that it is in, held; NULL: the root */
    sim_inode *file;   /* or folder */
    bool cached, kept; /* exists in the cache; on the platter */
    bool locked;
    sim_inode *kept_file;
    char text[FC_DISK_NAME_MAX + 1];
} sim_name;

/* A change of names that no sync_dir has carried to the platter. `set` gets `file`; `unset` goes; both or neither happen. */
typedef struct sim_name_change {
    struct sim_name_change *next;
    sim_name *set, *unset;
    sim_inode *file;
} sim_name_change;

typedef struct sim_disk {
    fc_disk disk;
    fc_disk_sim_options options;
    fc_disk_sim_stats stats;
    pthread_mutex_t lock;
    uint64_t chance;
    uint64_t epoch; /* raised by each crash: files opened before are dead */
    bool off;
    sim_inode *inodes;
    sim_name *names;
    sim_name_change *pending, **pending_last;
    uint64_t used;
} sim_disk;

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

/* A file or folder without a name yet; held once, for the caller. NULL without memory. */
sim_inode *sim_new_inode(sim_disk *d, bool folder);
void sim_hold(sim_inode *node);
/* The last one to let go frees it. */
void sim_drop(sim_disk *d, sim_inode *node);
/* Both change the cache; -ENOSPC beyond the capacity is for the callers to see to. */
int sim_write_cached(sim_disk *d, sim_inode *node, const void *p, uint64_t n, uint64_t offset);
int sim_resize_cached(sim_disk *d, sim_inode *node, uint64_t size);
/* What has changed goes to the platter. Pages that a failed sync made clean are not among it. */
int sim_carry_bytes(sim_inode *node);
/* What has changed never goes to the platter. */
void sim_forget_bytes(sim_inode *node);

/* --- names ---------------------------------------------------------------------------------------------------------- */

/* NULL when there is none of that name. */
sim_name *sim_find(sim_disk *d, const char *text);
/* Is it a folder, "" among them? *dir is it, NULL for the root. */
bool sim_is_folder(sim_disk *d, const char *text, sim_inode **dir);
bool sim_is_empty(sim_disk *d, const sim_inode *dir);
/* Of a name to be made: its length, and that its folder exists. */
int sim_check_name(sim_disk *d, const char *text);
/* `set` (may be NULL) names `file` from now on; `unset` (may be NULL) goes. */
int sim_change_names(sim_disk *d, const char *set, sim_inode *file, sim_name *unset);
/* The changes in a folder go to the platter, or if `lost` are forgotten. */
void sim_settle_names(sim_disk *d, const sim_inode *dir, bool lost);

/* --- all of it ------------------------------------------------------------------------------------------------------ */

/* The cache goes; of what was not carried, the disk's chance decides. */
int sim_crash_state(sim_disk *d);
void sim_free_state(sim_disk *d);

#endif
