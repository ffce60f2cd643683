/* The real disk: a directory, its files through descriptors relative to it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fc/disk.h"

#define BYTES_UNDER_WAY (4u << 20) /* before a writer is made to wait: 2 ms of a disk that writes 2 GB/s */

typedef struct posix_disk {
    fc_disk disk;
    int dir;
} posix_disk;

typedef struct posix_file {
    fc_file file;
    int fd;
} posix_file;

static int dir_of(fc_disk *d)
{
    return ((posix_disk *)d)->dir;
}

static int fd_of(fc_file *f)
{
    return ((posix_file *)f)->fd;
}

static int result(int answer)
{
    return answer < 0 ? -errno : 0;
}

static int wrap(fc_disk *d, int fd, fc_file **out)
{
    posix_file *f = malloc(sizeof *f);
    if (f == NULL) {
        close(fd);
        return -ENOMEM;
    }
    *f = (posix_file){{d}, fd};
    *out = &f->file;
    return 0;
}

static int posix_open(fc_disk *d, const char *name, int mode, fc_file **out)
{
    int flags = mode == FC_FILE_READ ? O_RDONLY : O_RDWR | (mode == FC_FILE_CREATE ? O_CREAT | O_EXCL : 0);
    int fd = openat(dir_of(d), name, flags | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : wrap(d, fd, out);
}

static int posix_rename(fc_disk *d, const char *from, const char *to)
{
    return result(renameat(dir_of(d), from, dir_of(d), to));
}

static int posix_link(fc_disk *d, const char *from, const char *to)
{
    return result(linkat(dir_of(d), from, dir_of(d), to, 0));
}

static int posix_remove(fc_disk *d, const char *name)
{
    return result(unlinkat(dir_of(d), name, 0));
}

static int posix_make_dir(fc_disk *d, const char *name)
{
    return mkdirat(dir_of(d), name, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int posix_remove_dir(fc_disk *d, const char *name)
{
    return result(unlinkat(dir_of(d), name, AT_REMOVEDIR));
}

/* "" is the disk's own directory, opened anew so that its position is nobody else's. */
static int open_dir(fc_disk *d, const char *name)
{
    return openat(dir_of(d), *name ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int posix_list(fc_disk *d, const char *name, fc_disk_name_fn fn, void *ctx)
{
    int fd = open_dir(d, name), stop = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int error = -errno;
        if (fd >= 0)
            close(fd);
        return error;
    }
    errno = 0;
    for (struct dirent *entry; stop == 0 && (entry = readdir(dir)) != NULL; errno = 0)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            stop = fn(ctx, entry->d_name);
    int error = -errno;
    closedir(dir);
    return stop ? stop : error;
}

static int posix_sync_dir(fc_disk *d, const char *name)
{
    int fd = open_dir(d, name);
    if (fd < 0)
        return -errno;
    int error = result(fsync(fd));
    close(fd);
    return error;
}

/* Locks of the open file description: unlike the older kind they exclude a second open in the same process, and closing
 * another descriptor of the file does not give them up. */
static int posix_lock(fc_disk *d, const char *name, fc_file **out)
{
    int fd = openat(dir_of(d), name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) < 0) {
        int error = errno == EACCES ? -EAGAIN : -errno;
        close(fd);
        return error;
    }
    return wrap(d, fd, out);
}

static int64_t posix_free_bytes(fc_disk *d)
{
    struct statvfs stat;
    return fstatvfs(dir_of(d), &stat) < 0 ? -errno : (int64_t)(stat.f_bavail * stat.f_frsize);
}

static void posix_close(fc_disk *d)
{
    close(dir_of(d));
    free(d);
}

static int posix_read(fc_file *f, void *buf, size_t n, uint64_t offset)
{
    for (char *p = buf; n > 0;) {
        ssize_t got = pread(fd_of(f), p, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : FC_DISK_SHORT;
        p += got;
        n -= (size_t)got;
        offset += (size_t)got;
    }
    return 0;
}

/* A read that ends early met a page that is not there, or the end of the file: the next one says which. */
static int posix_read_now(fc_file *f, void *buf, size_t n, uint64_t offset)
{
    for (char *p = buf; n > 0;) {
        struct iovec rest = {p, n};
        ssize_t got = preadv2(fd_of(f), &rest, 1, (off_t)offset, RWF_NOWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EOPNOTSUPP || errno == ENOSYS ? -EAGAIN : -errno;
        if (got == 0)
            return FC_DISK_SHORT;
        p += got;
        n -= (size_t)got;
        offset += (size_t)got;
    }
    return 0;
}

/* A short write is continued, which is no retry: the kernel took what it says it took. EINTR before the first byte, too. */
static int posix_write(fc_file *f, const void *buf, size_t n, uint64_t offset)
{
    for (const char *p = buf; n > 0;) {
        ssize_t put = pwrite(fd_of(f), p, n, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        p += put;
        n -= (size_t)put;
        offset += (size_t)put;
    }
    return 0;
}

/* The last pieces are not waited for: a writer that waits for each has to be woken for each, which on busy cores takes a
 * tick, 4 ms. Then a segment took a second. */
static int posix_write_out(fc_file *f, uint64_t offset, uint64_t n)
{
    uint64_t before = offset < BYTES_UNDER_WAY ? 0 : offset - BYTES_UNDER_WAY;
    if (before > 0 && sync_file_range(fd_of(f), 0, (off_t)before, SYNC_FILE_RANGE_WAIT_BEFORE) < 0)
        return errno == ENOSYS ? 0 : -errno;
    return sync_file_range(fd_of(f), (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE) < 0 && errno != ENOSYS ? -errno : 0;
}

/* fallocate first: it says ENOSPC before a byte is written. It leaves extents marked unwritten, and turning each into a
 * written one is a journal commit at the sync of the first write there; hence the zeros. */
static int posix_allocate(fc_file *f, uint64_t size)
{
    struct stat before;
    if (fstat(fd_of(f), &before) < 0)
        return -errno;
    uint64_t old = (uint64_t)before.st_size;
    while (size > old && fallocate(fd_of(f), 0, (off_t)old, (off_t)(size - old)) < 0) {
        if (errno == EOPNOTSUPP)
            break;
        if (errno != EINTR)
            return -errno;
    }
    char *zeros = calloc(1, FC_DISK_PIECE);
    int error = zeros == NULL ? -ENOMEM : 0;
    for (uint64_t at = old; error == 0 && at < size; at += FC_DISK_PIECE) {
        size_t n = size - at < FC_DISK_PIECE ? size - at : FC_DISK_PIECE;
        error = posix_write(f, zeros, n, at);
        if (error == 0)
            error = posix_write_out(f, at, n);
    }
    free(zeros);
    return error ? error : result(fsync(fd_of(f)));
}

static int posix_truncate(fc_file *f, uint64_t size)
{
    return result(ftruncate(fd_of(f), (off_t)size));
}

static int posix_sync(fc_file *f)
{
    return result(fdatasync(fd_of(f)));
}

static int64_t posix_size(fc_file *f)
{
    struct stat stat;
    return fstat(fd_of(f), &stat) < 0 ? -errno : (int64_t)stat.st_size;
}

static void posix_close_file(fc_file *f)
{
    close(fd_of(f));
    free(f);
}

static const fc_disk_ops posix_ops = {
    .open = posix_open,
    .rename = posix_rename,
    .link = posix_link,
    .remove = posix_remove,
    .make_dir = posix_make_dir,
    .remove_dir = posix_remove_dir,
    .list = posix_list,
    .sync_dir = posix_sync_dir,
    .lock = posix_lock,
    .free_bytes = posix_free_bytes,
    .close = posix_close,
    .read = posix_read,
    .read_now = posix_read_now,
    .write = posix_write,
    .allocate = posix_allocate,
    .truncate = posix_truncate,
    .write_out = posix_write_out,
    .sync = posix_sync,
    .size = posix_size,
    .close_file = posix_close_file,
};

/* The entry of a new directory lives in its parent, which must be synced for it to stay. */
static int sync_parent(int dir)
{
    int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return -errno;
    int error = result(fsync(parent));
    close(parent);
    return error;
}

int fc_disk_open(const char *path, bool create, fc_disk **out)
{
    bool made = create && mkdir(path, 0755) == 0;
    if (create && !made && errno != EEXIST)
        return -errno;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    int error = made ? sync_parent(dir) : 0;
    posix_disk *d = error ? NULL : malloc(sizeof *d);
    if (d == NULL) {
        close(dir);
        return error ? error : -ENOMEM;
    }
    *d = (posix_disk){{&posix_ops}, dir};
    *out = &d->disk;
    return 0;
}
