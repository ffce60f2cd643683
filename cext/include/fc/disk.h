/* fc/disk.h - everything the storage engine asks of a disk, behind one small table of functions.
 *
 * The real disk (fc_disk_open) is a directory; the simulated one (fc/disk_sim.h) is memory that loses, tears and reorders
 * what was not synced, so the code above is the same in production and in a seeded test.
 *
 * Names are relative to the disk's root: "000012.log", or in a folder, "checkpoint/000012.tbl". Offsets and lengths are
 * the caller's: there is no file position.
 *
 * What a caller may rely on after a crash, and nothing more:
 *   1. Bytes written before a successful fc_file_sync are there, and so is the file's length.
 *   2. A name made, renamed, linked or removed before a successful fc_disk_sync_dir of its folder stays so. A rename is
 *      atomic: one of the two names, never neither.
 *   3. Anything else may be there, partly there (in pieces of 512 bytes) or absent, in any order.
 *
 * A failed write or sync is never retried: Linux marks the pages clean, so that a second sync answers success and the
 * bytes are gone (Rebello et al., ATC 2020). The caller becomes read-only.
 *
 * Thread safety: a disk may be used from any thread; a file from one thread at a time, except fc_file_read and
 * fc_file_read_now, which any number may call beside a writer.
 *
 * Errors are negative errno values. FC_DISK_SHORT is a read that met the end of the file.
 */
#ifndef FC_DISK_H
#define FC_DISK_H

#include <stdbool.h>

#include "fc/base.h"

#define FC_DISK_NAME_MAX 255
#define FC_DISK_SHORT (-10001)
#define FC_DISK_PIECE (1u << 20)

typedef struct fc_disk fc_disk;
typedef struct fc_file fc_file;

enum {
    FC_FILE_READ = 0,
    FC_FILE_WRITE = 1,     /* an existing file, for reading and writing */
    FC_FILE_CREATE = 2,    /* a new one; -EEXIST when it is there */
};

/* Called with each name in a folder, in no particular order; a nonzero answer stops. */
typedef int (*fc_disk_name_fn)(void *ctx, const char *name);

typedef struct fc_disk_ops {
    int (*open)(fc_disk *d, const char *name, int mode, fc_file **out);
    int (*rename)(fc_disk *d, const char *from, const char *to);
    int (*link)(fc_disk *d, const char *from, const char *to);
    int (*remove)(fc_disk *d, const char *name);
    int (*make_dir)(fc_disk *d, const char *name);
    int (*remove_dir)(fc_disk *d, const char *name);
    int (*list)(fc_disk *d, const char *dir, fc_disk_name_fn fn, void *ctx);
    int (*sync_dir)(fc_disk *d, const char *dir);
    int (*lock)(fc_disk *d, const char *name, fc_file **out);
    int64_t (*free_bytes)(fc_disk *d);
    void (*close)(fc_disk *d);

    int (*read)(fc_file *f, void *buf, size_t n, uint64_t offset);
    int (*read_now)(fc_file *f, void *buf, size_t n, uint64_t offset);
    int (*write)(fc_file *f, const void *buf, size_t n, uint64_t offset);
    int (*allocate)(fc_file *f, uint64_t size);
    int (*truncate)(fc_file *f, uint64_t size);
    int (*write_out)(fc_file *f, uint64_t offset, uint64_t n); /* NULL: nothing is to be gained */
    int (*sync)(fc_file *f);
    int64_t (*size)(fc_file *f);
    void (*close_file)(fc_file *f);
} fc_disk_ops;

/* First member of every implementation's own structure. */
struct fc_disk {
    const fc_disk_ops *ops;
};
struct fc_file {
    fc_disk *disk;
};

/* --- disks --------------------------------------------------------------------------------------------------------- */

/* The directory `path`, made if `create` and absent (its parent's entry is synced). */
int fc_disk_open(const char *path, bool create, fc_disk **out);

/* A folder of another disk as a disk of its own; the folder is to be there, and `disk` to outlive it. */
int fc_disk_folder(fc_disk *disk, const char *folder, fc_disk **out);

static inline void fc_disk_close(fc_disk *d) { d->ops->close(d); }

/* 0 and a file to be closed with fc_file_close, or an error. */
static inline int fc_disk_file(fc_disk *d, const char *name, int mode, fc_file **out)
{
    return d->ops->open(d, name, mode, out);
}

/* A folder may be renamed, with what is in it. Replaces `to` if it is there: a file a file, a folder an empty one. Durable after fc_disk_sync_dir. */
static inline int fc_disk_rename(fc_disk *d, const char *from, const char *to) { return d->ops->rename(d, from, to); }
/* A second name for the same bytes. */
static inline int fc_disk_link(fc_disk *d, const char *from, const char *to) { return d->ops->link(d, from, to); }
static inline int fc_disk_remove(fc_disk *d, const char *name) { return d->ops->remove(d, name); }
/* 0 also when it is there already. */
static inline int fc_disk_make_dir(fc_disk *d, const char *name) { return d->ops->make_dir(d, name); }
/* An empty one; -ENOTEMPTY. */
static inline int fc_disk_remove_dir(fc_disk *d, const char *name) { return d->ops->remove_dir(d, name); }
/* "" is the root. */
static inline int fc_disk_list(fc_disk *d, const char *dir, fc_disk_name_fn fn, void *ctx)
{
    return d->ops->list(d, dir, fn, ctx);
}
static inline int fc_disk_sync_dir(fc_disk *d, const char *dir) { return d->ops->sync_dir(d, dir); }
/* Takes the file `name` for this process alone, made if absent; given back by fc_file_close and by death. -EAGAIN: somebody
 * has it. Two opens in one process exclude each other, too. */
static inline int fc_disk_lock(fc_disk *d, const char *name, fc_file **out) { return d->ops->lock(d, name, out); }
/* What an unprivileged writer may still use, or an error. */
static inline int64_t fc_disk_free_bytes(fc_disk *d) { return d->ops->free_bytes(d); }

/* --- files --------------------------------------------------------------------------------------------------------- */

/* All n bytes at offset; FC_DISK_SHORT when the file ends before, the bytes before its end then are read. */
static inline int fc_file_read(fc_file *f, void *buf, size_t n, uint64_t offset)
{
    return f->disk->ops->read(f, buf, n, offset);
}
/* The same without waiting for the disk: -EAGAIN when some of the bytes are not in the kernel's memory, or when the file
 * system cannot tell. Who gets that reads again where it may wait; the kernel may have begun to fetch them. */
static inline int fc_file_read_now(fc_file *f, void *buf, size_t n, uint64_t offset)
{
    return f->disk->ops->read_now(f, buf, n, offset);
}
/* All n bytes, or an error after which the range holds anything. */
static inline int fc_file_write(fc_file *f, const void *buf, size_t n, uint64_t offset)
{
    return f->disk->ops->write(f, buf, n, offset);
}
/* Makes the file at least `size` bytes long, with zeros from its old end on that are written out and synced: a later write
 * inside changes no metadata, so its sync need not commit a journal. -ENOSPC before any harm is done. */
static inline int fc_file_allocate(fc_file *f, uint64_t size) { return f->disk->ops->allocate(f, size); }
static inline int fc_file_truncate(fc_file *f, uint64_t size) { return f->disk->ops->truncate(f, size); }
/* Begins to write n bytes at offset to the disk, and waits for those long before them: whoever writes a file from begin to
 * end calls it every FC_DISK_PIECE, so that what a sync beside it (the log's) queues behind is a few pieces and not a whole
 * file. Nothing is durable by it. An error is one of a write: the kernel tells each once, so the sync would not. */
static inline int fc_file_write_out(fc_file *f, uint64_t offset, uint64_t n)
{
    return f->disk->ops->write_out ? f->disk->ops->write_out(f, offset, n) : 0;
}
/* Data and what is needed to find it (fdatasync). */
static inline int fc_file_sync(fc_file *f) { return f->disk->ops->sync(f); }
static inline int64_t fc_file_size(fc_file *f) { return f->disk->ops->size(f); }
static inline void fc_file_close(fc_file *f) { f->disk->ops->close_file(f); }

#endif
