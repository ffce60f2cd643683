/* The simulated disk's operations and faults, over what sim_state.c holds. */
#include "fc/disk_sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fc/hash.h"
#include "sim_state.h"

typedef struct sim_file {
    fc_file file;
    sim_inode *node;
    uint64_t epoch;
    sim_name *locked;
} sim_file;

/* --- chance and power ----------------------------------------------------------------------------------------------- */

static bool happens(sim_disk *d, uint32_t ppm)
{
    if (ppm == 0 || fc_hash_next(&d->chance) % 1000000 >= ppm)
        return false;
    d->stats.faults++;
    return true;
}

/* One step; false when the power is off. */
static bool step(sim_disk *d)
{
    d->stats.steps++;
    if (d->options.crash_at && d->stats.steps >= d->options.crash_at)
        d->off = true;
    return !d->off;
}

/* Beyond the capacity? */
static bool too_much(sim_disk *d, const sim_inode *node, uint64_t size)
{
    uint64_t growth = size > node->cache.n ? size - node->cache.n : 0;
    if (d->options.capacity == 0 || growth == 0 || d->used + growth <= d->options.capacity)
        return false;
    d->stats.faults++;
    return true;
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

static sim_disk *enter(fc_disk *disk)
{
    sim_disk *d = (sim_disk *)disk;
    pthread_mutex_lock(&d->lock);
    return d;
}

static int leave(sim_disk *d, int answer)
{
    pthread_mutex_unlock(&d->lock);
    return answer;
}

static int open_node(sim_disk *d, sim_inode *node, sim_name *locked, fc_file **out)
{
    sim_file *f = malloc(sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    sim_hold(node);
    *f = (sim_file){{&d->disk}, node, d->epoch, locked};
    *out = &f->file;
    return 0;
}

static int make_node(sim_disk *d, const char *text, bool folder)
{
    int error = sim_check_name(d, text);
    if (error < 0)
        return error;
    sim_inode *node = sim_new_inode(d, folder);
    if (node == NULL)
        return -ENOMEM;
    error = sim_change_names(d, text, node, NULL);
    sim_drop(d, node);
    return error;
}

static int sim_open(fc_disk *disk, const char *text, int mode, fc_file **out)
{
    sim_disk *d = enter(disk);
    if (!step(d))
        return leave(d, -EIO);
    sim_name *n = sim_find(d, text);
    if (mode == FC_FILE_CREATE) {
        if (n != NULL)
            return leave(d, -EEXIST);
        int error = make_node(d, text, false);
        if (error < 0)
            return leave(d, error);
        n = sim_find(d, text);
    }
    if (n == NULL)
        return leave(d, -ENOENT);
    return leave(d, n->file->folder ? -EISDIR : open_node(d, n->file, NULL, out));
}

/* 0 when `from` is there and `to` may be its name. */
static int check_pair(sim_disk *d, const sim_name *from, const char *to)
{
    if (!step(d))
        return -EIO;
    return from == NULL ? -ENOENT : sim_check_name(d, to);
}

/* May what is there be replaced? */
static int check_target(sim_disk *d, const sim_name *from, const sim_name *target)
{
    if (target == NULL || target->file->folder == from->file->folder)
        return target == NULL || !target->file->folder || sim_is_empty(d, target->file) ? 0 : -ENOTEMPTY;
    return target->file->folder ? -EISDIR : -ENOTDIR;
}

/* A folder cannot become part of itself. */
static bool is_inside(const char *to, const char *from)
{
    size_t n = strlen(from);
    return strncmp(to, from, n) == 0 && to[n] == '/';
}

static int sim_rename(fc_disk *disk, const char *from, const char *to)
{
    sim_disk *d = enter(disk);
    sim_name *source = sim_find(d, from), *target = sim_find(d, to);
    int error = check_pair(d, source, to);
    if (error == 0)
        error = source->file->folder && is_inside(to, from) ? -EINVAL : check_target(d, source, target);
    if (error == 0 && (target == NULL || target->file != source->file)) /* two names of one file both stay: POSIX */
        error = sim_change_names(d, to, source->file, source);
    return leave(d, error);
}

static int sim_link(fc_disk *disk, const char *from, const char *to)
{
    sim_disk *d = enter(disk);
    sim_name *source = sim_find(d, from);
    int error = check_pair(d, source, to);
    if (error == 0)
        error = source->file->folder ? -EPERM : sim_find(d, to) != NULL ? -EEXIST : 0;
    if (error == 0)
        error = sim_change_names(d, to, source->file, NULL);
    return leave(d, error);
}

static int sim_remove(fc_disk *disk, const char *text)
{
    sim_disk *d = enter(disk);
    sim_name *n = sim_find(d, text);
    if (!step(d))
        return leave(d, -EIO);
    if (n == NULL)
        return leave(d, -ENOENT);
    return leave(d, n->file->folder ? -EISDIR : sim_change_names(d, NULL, NULL, n));
}

static int sim_remove_dir(fc_disk *disk, const char *text)
{
    sim_disk *d = enter(disk);
    sim_name *n = sim_find(d, text);
    if (!step(d))
        return leave(d, -EIO);
    if (n == NULL || !n->file->folder)
        return leave(d, n ? -ENOTDIR : -ENOENT);
    return leave(d, sim_is_empty(d, n->file) ? sim_change_names(d, NULL, NULL, n) : -ENOTEMPTY);
}

static int sim_make_dir(fc_disk *disk, const char *text)
{
    sim_disk *d = enter(disk);
    sim_inode *dir;
    int error = step(d) ? sim_check_name(d, text) : -EIO;
    if (error == 0 && !sim_is_folder(d, text, &dir))
        error = sim_find(d, text) != NULL ? -EEXIST : make_node(d, text, true);
    return leave(d, error);
}

/* Names are collected first: the caller's function may come back to the disk. */
static int sim_list(fc_disk *disk, const char *folder, fc_disk_name_fn fn, void *ctx)
{
    sim_disk *d = enter(disk);
    size_t count = 0, i = 0;
    sim_inode *dir;
    if (!step(d) || !sim_is_folder(d, folder, &dir))
        return leave(d, d->off ? -EIO : -ENOENT);
    for (sim_name *at = d->names; at != NULL; at = at->next)
        count += at->cached && at->dir == dir;
    char(*found)[FC_DISK_NAME_MAX + 1] = calloc(count + 1, sizeof *found);
    if (found == NULL)
        return leave(d, -ENOMEM);
    for (sim_name *at = d->names; at != NULL; at = at->next)
        if (at->cached && at->dir == dir)
            strcpy(found[i++], at->text);
    leave(d, 0);
    int stop = 0;
    for (i = 0; i < count && stop == 0; i++)
        stop = fn(ctx, found[i]);
    free(found);
    return stop;
}

static int sim_sync_dir(fc_disk *disk, const char *folder)
{
    sim_disk *d = enter(disk);
    sim_inode *dir;
    if (!step(d) || !sim_is_folder(d, folder, &dir))
        return leave(d, d->off ? -EIO : -ENOENT);
    d->stats.dir_syncs++;
    bool lost = happens(d, d->options.sync_fail_ppm);
    sim_settle_names(d, dir, lost);
    return leave(d, lost ? -EIO : 0);
}

static int sim_lock(fc_disk *disk, const char *text, fc_file **out)
{
    sim_disk *d = enter(disk);
    int error = step(d) ? 0 : -EIO;
    if (error == 0 && sim_find(d, text) == NULL)
        error = make_node(d, text, false);
    sim_name *n = sim_find(d, text);
    if (error == 0)
        error = n->file->folder ? -EISDIR : n->locked ? -EAGAIN : open_node(d, n->file, n, out);
    if (error == 0)
        n->locked = true;
    return leave(d, error);
}

static int64_t sim_free_bytes(fc_disk *disk)
{
    sim_disk *d = enter(disk);
    int64_t left = d->options.capacity == 0 ? INT64_MAX
                   : d->used > d->options.capacity ? 0
                                                   : (int64_t)(d->options.capacity - d->used);
    leave(d, 0);
    return left;
}

static void sim_close(fc_disk *disk)
{
    sim_disk *d = (sim_disk *)disk;
    sim_free_state(d);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* --- files ----------------------------------------------------------------------------------------------------------- */

/* The disk, locked, when the file may be used; else unlocked, and NULL. */
static sim_disk *enter_file(fc_file *f, bool counts)
{
    sim_file *file = (sim_file *)f;
    sim_disk *d = enter(f->disk);
    if ((!counts || step(d)) && !d->off && file->epoch == d->epoch)
        return d;
    leave(d, 0);
    return NULL;
}

static int sim_read(fc_file *f, void *buf, size_t n, uint64_t offset)
{
    sim_disk *d = enter_file(f, false);
    if (d == NULL)
        return -EIO;
    const sim_bytes *b = &((sim_file *)f)->node->cache;
    size_t there = offset >= b->n ? 0 : b->n - offset < n ? (size_t)(b->n - offset) : n;
    if (there)
        memcpy(buf, b->p + offset, there);
    return leave(d, there == n ? 0 : FC_DISK_SHORT);
}

/* Being cold is no fault: it is not counted among them. */
static int sim_read_now(fc_file *f, void *buf, size_t n, uint64_t offset)
{
    sim_disk *d = enter_file(f, false);
    if (d == NULL)
        return -EIO;
    uint32_t ppm = d->options.cached_ppm;
    bool cached = ppm && fc_hash_next(&d->chance) % 1000000 < ppm;
    leave(d, 0);
    return cached ? sim_read(f, buf, n, offset) : -EAGAIN;
}

static int sim_write(fc_file *f, const void *buf, size_t n, uint64_t offset)
{
    sim_disk *d = enter_file(f, true);
    if (d == NULL)
        return -EIO;
    sim_inode *node = ((sim_file *)f)->node;
    if (offset > INT64_MAX || n > INT64_MAX - offset)
        return leave(d, -EINVAL);
    d->stats.writes++;
    d->stats.written_bytes += n;
    if (n > 0 && too_much(d, node, offset + n))
        return leave(d, -ENOSPC);
    if (happens(d, d->options.write_fail_ppm)) {
        sim_write_cached(d, node, buf, fc_hash_next(&d->chance) % (n + 1), offset);
        return leave(d, -EIO);
    }
    return leave(d, sim_write_cached(d, node, buf, n, offset));
}

static int resize(sim_disk *d, sim_inode *node, uint64_t size)
{
    if (size > INT64_MAX)
        return -EINVAL;
    return too_much(d, node, size) ? -ENOSPC : sim_resize_cached(d, node, size);
}

static int sim_truncate(fc_file *f, uint64_t size)
{
    sim_disk *d = enter_file(f, true);
    return d == NULL ? -EIO : leave(d, resize(d, ((sim_file *)f)->node, size));
}

static int carry_or_fail(sim_disk *d, sim_inode *node)
{
    if (!happens(d, d->options.sync_fail_ppm))
        return sim_carry_bytes(node);
    sim_forget_bytes(node);
    return -EIO;
}

static int sim_allocate(fc_file *f, uint64_t size)
{
    sim_disk *d = enter_file(f, true);
    if (d == NULL)
        return -EIO;
    sim_inode *node = ((sim_file *)f)->node;
    int error = node->cache.n < size ? resize(d, node, size) : 0;
    return leave(d, error ? error : carry_or_fail(d, node));
}

static int sim_sync(fc_file *f)
{
    sim_disk *d = enter_file(f, true);
    if (d == NULL)
        return -EIO;
    d->stats.syncs++;
    uint32_t stall_ms = d->options.sync_stall_ms;
    if (stall_ms) {
        leave(d, 0);
        nanosleep(&(struct timespec){stall_ms / 1000, stall_ms % 1000 * 1000000l}, NULL);
        d = enter_file(f, false);
        if (d == NULL)
            return -EIO;
    }
    return leave(d, carry_or_fail(d, ((sim_file *)f)->node));
}

static int64_t sim_size(fc_file *f)
{
    sim_disk *d = enter_file(f, false);
    if (d == NULL)
        return -EIO;
    int64_t size = (int64_t)((sim_file *)f)->node->cache.n;
    leave(d, 0);
    return size;
}

static void sim_close_file(fc_file *f)
{
    sim_file *file = (sim_file *)f;
    sim_disk *d = enter(f->disk);
    if (file->locked != NULL && file->epoch == d->epoch)
        file->locked->locked = false;
    sim_drop(d, file->node);
    leave(d, 0);
    free(file);
}

static const fc_disk_ops sim_ops = {
    .open = sim_open,
    .rename = sim_rename,
    .link = sim_link,
    .remove = sim_remove,
    .make_dir = sim_make_dir,
    .remove_dir = sim_remove_dir,
    .list = sim_list,
    .sync_dir = sim_sync_dir,
    .lock = sim_lock,
    .free_bytes = sim_free_bytes,
    .close = sim_close,
    .read = sim_read,
    .read_now = sim_read_now,
    .write = sim_write,
    .allocate = sim_allocate,
    .truncate = sim_truncate,
    .sync = sim_sync,
    .size = sim_size,
    .close_file = sim_close_file,
};

/* --- the test's side --------------------------------------------------------------------------------------------------- */

fc_disk *fc_disk_sim_new(const fc_disk_sim_options *options)
{
    sim_disk *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->disk.ops = &sim_ops;
    d->pending_last = &d->pending;
    pthread_mutex_init(&d->lock, NULL);
    fc_disk_sim_set(&d->disk, options);
    return &d->disk;
}

void fc_disk_sim_set(fc_disk *disk, const fc_disk_sim_options *options)
{
    sim_disk *d = enter(disk);
    d->options = *options;
    d->chance = options->seed;
    d->stats.steps = 0;
    leave(d, 0);
}

int fc_disk_sim_crash(fc_disk *disk)
{
    sim_disk *d = enter(disk);
    int error = sim_crash_state(d);
    d->epoch++;
    d->off = false;
    d->options.crash_at = 0;
    return leave(d, error);
}

bool fc_disk_sim_off(const fc_disk *disk)
{
    sim_disk *d = enter((fc_disk *)(uintptr_t)disk);
    bool off = d->off;
    leave(d, 0);
    return off;
}

int fc_disk_sim_flip(fc_disk *disk, const char *text, uint64_t bit)
{
    sim_disk *d = enter(disk);
    sim_name *n = sim_find(d, text);
    if (n == NULL || n->file->folder)
        return leave(d, -ENOENT);
    sim_inode *node = n->file;
    if (bit / 8 >= node->cache.n)
        return leave(d, -EINVAL);
    node->cache.p[bit / 8] ^= (char)(1 << bit % 8);
    if (bit / 8 < node->platter.n)
        node->platter.p[bit / 8] ^= (char)(1 << bit % 8);
    return leave(d, 0);
}

void fc_disk_sim_get_stats(fc_disk *disk, fc_disk_sim_stats *out)
{
    sim_disk *d = enter(disk);
    *out = d->stats;
    leave(d, 0);
}
