/* disk_watch.h - looks over a simulated disk's shoulder: which kind of step did the power go out at?
 *
 * Counted by what was done, to what, and for what (a word of the test's). One disk at a time, one thread.
 */
#ifndef FC_TEST_DISK_WATCH_H
#define FC_TEST_DISK_WATCH_H

#include <stdio.h>
#include <string.h>

#include "fc/disk_sim.h"

typedef enum watch_op {
    WATCH_OPEN, WATCH_WRITE, WATCH_ALLOCATE, WATCH_TRUNCATE, WATCH_SYNC, WATCH_RENAME, WATCH_LINK, WATCH_REMOVE, WATCH_MAKE_DIR,
    WATCH_REMOVE_DIR, WATCH_LIST, WATCH_SYNC_DIR, WATCH_LOCK, WATCH_OPS,
} watch_op;

typedef enum watch_what {
    WATCH_LOG, WATCH_TABLE, WATCH_MANIFEST, WATCH_CURRENT, WATCH_FOLDER, WATCH_CHECKPOINT, WATCH_OTHER, WATCH_WHATS,
} watch_what;

#define WATCH_DOING_MAX 16
#define WATCH_FILES_MAX 512

static const char *const WATCH_OP_NAMES[] = {"open", "write", "allocate", "truncate", "sync", "rename", "link", "remove",
                                             "make folder", "remove folder", "list", "sync folder", "lock"};
static const char *const WATCH_WHAT_NAMES[] = {"log", "table", "manifest", "CURRENT", "folder", "checkpoint", "other"};

static struct {
    const fc_disk_ops *ops; /* the disk's own */
    const char *doing;
    struct {
        fc_file *file;
        watch_what what;
    } files[WATCH_FILES_MAX];
    size_t files_n;
    const char *doings[WATCH_DOING_MAX];
    size_t doings_n;
    unsigned long hits[WATCH_DOING_MAX][WATCH_WHATS][WATCH_OPS];
} watched;

static inline watch_what watch_name(const char *name)
{
    size_t n = strlen(name);
    if (strchr(name, '/') || strncmp(name, "cp", 2) == 0)
        return WATCH_CHECKPOINT;
    if (n == 0)
        return WATCH_FOLDER;
    if (strncmp(name, "MANIFEST", 8) == 0)
        return WATCH_MANIFEST;
    if (strncmp(name, "CURRENT", 7) == 0)
        return WATCH_CURRENT;
    const char *end = n > 4 ? name + n - 4 : name;
    return strcmp(end, ".wal") == 0 || strcmp(end, ".tmp") == 0 ? WATCH_LOG : strcmp(end, ".tbl") == 0 ? WATCH_TABLE : WATCH_OTHER;
}

static inline watch_what watch_file(fc_file *f)
{
    for (size_t i = watched.files_n; i > 0; i--)
        if (watched.files[i - 1].file == f)
            return watched.files[i - 1].what;
    return WATCH_OTHER;
}

/* After each operation: was it this one? */
static inline int watch_step(fc_disk *d, bool was_off, watch_op op, watch_what what, int answer)
{
    if (was_off || !fc_disk_sim_off(d))
        return answer;
    size_t i = 0;
    while (i < watched.doings_n && strcmp(watched.doings[i], watched.doing) != 0)
        i++;
    if (i == watched.doings_n && i < WATCH_DOING_MAX)
        watched.doings[watched.doings_n++] = watched.doing;
    if (i < WATCH_DOING_MAX)
        watched.hits[i][what][op]++;
    return answer;
}

static inline int watch_opened(fc_disk *d, bool off, watch_op op, const char *name, int answer, fc_file **out)
{
    if (answer == 0 && watched.files_n < WATCH_FILES_MAX) {
        watched.files[watched.files_n].file = *out;
        watched.files[watched.files_n++].what = watch_name(name);
    }
    return watch_step(d, off, op, watch_name(name), answer);
}

static inline int watch_open(fc_disk *d, const char *name, int mode, fc_file **out)
{
    bool off = fc_disk_sim_off(d);
    return watch_opened(d, off, WATCH_OPEN, name, watched.ops->open(d, name, mode, out), out);
}

static inline int watch_lock(fc_disk *d, const char *name, fc_file **out)
{
    bool off = fc_disk_sim_off(d);
    return watch_opened(d, off, WATCH_LOCK, name, watched.ops->lock(d, name, out), out);
}

static inline void watch_close_file(fc_file *f)
{
    for (size_t i = 0; i < watched.files_n; i++)
        if (watched.files[i].file == f) {
            watched.files[i] = watched.files[--watched.files_n];
            break;
        }
    watched.ops->close_file(f);
}

static inline int watch_rename(fc_disk *d, const char *from, const char *to)
{
    bool off = fc_disk_sim_off(d);
    return watch_step(d, off, WATCH_RENAME, watch_name(to), watched.ops->rename(d, from, to));
}

static inline int watch_link(fc_disk *d, const char *from, const char *to)
{
    bool off = fc_disk_sim_off(d);
    return watch_step(d, off, WATCH_LINK, watch_name(to), watched.ops->link(d, from, to));
}

static inline int watch_remove(fc_disk *d, const char *name)
{
    bool off = fc_disk_sim_off(d);
    return watch_step(d, off, WATCH_REMOVE, watch_name(name), watched.ops->remove(d, name));
}

static inline int watch_make_dir(fc_disk *d, const char *name)
{
    bool off = fc_disk_sim_off(d);
    return watch_step(d, off, WATCH_MAKE_DIR, WATCH_CHECKPOINT, watched.ops->make_dir(d, name));
}

static inline int watch_remove_dir(fc_disk *d, const char *name)
{
    bool off = fc_disk_sim_off(d);
    return watch_step(d, off, WATCH_REMOVE_DIR, WATCH_CHECKPOINT, watched.ops->remove_dir(d, name));
}

static inline int watch_list(fc_disk *d, const char *name, fc_disk_name_fn fn, void *ctx)
{
    bool off = fc_disk_sim_off(d);
    return watch_step(d, off, WATCH_LIST, *name ? WATCH_CHECKPOINT : WATCH_FOLDER, watched.ops->list(d, name, fn, ctx));
}

static inline int watch_sync_dir(fc_disk *d, const char *name)
{
    bool off = fc_disk_sim_off(d);
    return watch_step(d, off, WATCH_SYNC_DIR, *name ? WATCH_CHECKPOINT : WATCH_FOLDER, watched.ops->sync_dir(d, name));
}

static inline int watch_write(fc_file *f, const void *p, size_t n, uint64_t offset)
{
    bool off = fc_disk_sim_off(f->disk);
    return watch_step(f->disk, off, WATCH_WRITE, watch_file(f), watched.ops->write(f, p, n, offset));
}

static inline int watch_allocate(fc_file *f, uint64_t size)
{
    bool off = fc_disk_sim_off(f->disk);
    return watch_step(f->disk, off, WATCH_ALLOCATE, watch_file(f), watched.ops->allocate(f, size));
}

static inline int watch_truncate(fc_file *f, uint64_t size)
{
    bool off = fc_disk_sim_off(f->disk);
    return watch_step(f->disk, off, WATCH_TRUNCATE, watch_file(f), watched.ops->truncate(f, size));
}

static inline int watch_sync(fc_file *f)
{
    bool off = fc_disk_sim_off(f->disk);
    return watch_step(f->disk, off, WATCH_SYNC, watch_file(f), watched.ops->sync(f));
}

/* From now on, until the disk is closed. */
static inline void watch_disk(fc_disk *d)
{
    static fc_disk_ops ops;
    ops = *(watched.ops = d->ops);
    watched.files_n = 0;
    ops.open = watch_open;
    ops.lock = watch_lock;
    ops.close_file = watch_close_file;
    ops.rename = watch_rename;
    ops.link = watch_link;
    ops.remove = watch_remove;
    ops.make_dir = watch_make_dir;
    ops.remove_dir = watch_remove_dir;
    ops.list = watch_list;
    ops.sync_dir = watch_sync_dir;
    ops.write = watch_write;
    ops.allocate = watch_allocate;
    ops.truncate = watch_truncate;
    ops.sync = watch_sync;
    d->ops = &ops;
}

/* How often the power went out doing `doing` (NULL: anything), with `what` (WATCH_WHATS: anything), at such an operation. */
static inline unsigned long watch_count(const char *doing, watch_what what, watch_op op)
{
    unsigned long sum = 0;
    for (size_t i = 0; i < watched.doings_n; i++)
        for (int w = 0; w < WATCH_WHATS; w++)
            if ((doing == NULL || strcmp(doing, watched.doings[i]) == 0) && (what == WATCH_WHATS || what == (watch_what)w))
                sum += watched.hits[i][w][op];
    return sum;
}

static inline void watch_print(void)
{
    for (size_t i = 0; i < watched.doings_n; i++) {
        printf("  %-12s", watched.doings[i]);
        for (int w = 0; w < WATCH_WHATS; w++)
            for (int op = 0; op < WATCH_OPS; op++)
                if (watched.hits[i][w][op])
                    printf(" %s/%s %lu", WATCH_WHAT_NAMES[w], WATCH_OP_NAMES[op], watched.hits[i][w][op]);
        printf("\n");
    }
}

#endif
