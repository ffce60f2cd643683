/* A folder of a disk as a disk: names get it in front, files are the other disk's own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fc/disk.h"

typedef struct folder_disk {
    fc_disk disk;
    fc_disk *parent;
    char name[FC_DISK_NAME_MAX + 1];
} folder_disk;

typedef struct path {
    char text[2 * FC_DISK_NAME_MAX + 2];
} path;

static fc_disk *parent_of(fc_disk *d)
{
    return ((folder_disk *)d)->parent;
}

static const char *put(path *p, fc_disk *d, const char *name)
{
    snprintf(p->text, sizeof p->text, *name ? "%s/%.255s" : "%s", ((folder_disk *)d)->name, name);
    return p->text;
}

static int folder_open(fc_disk *d, const char *name, int mode, fc_file **out)
{
    path p;
    return *name ? fc_disk_file(parent_of(d), put(&p, d, name), mode, out) : -ENOENT;
}

static int folder_rename(fc_disk *d, const char *from, const char *to)
{
    path a, b;
    return fc_disk_rename(parent_of(d), put(&a, d, from), put(&b, d, to));
}

static int folder_link(fc_disk *d, const char *from, const char *to)
{
    path a, b;
    return fc_disk_link(parent_of(d), put(&a, d, from), put(&b, d, to));
}

static int folder_remove(fc_disk *d, const char *name)
{
    path p;
    return fc_disk_remove(parent_of(d), put(&p, d, name));
}

static int folder_make_dir(fc_disk *d, const char *name)
{
    path p;
    return fc_disk_make_dir(parent_of(d), put(&p, d, name));
}

static int folder_remove_dir(fc_disk *d, const char *name)
{
    path p;
    return fc_disk_remove_dir(parent_of(d), put(&p, d, name));
}

static int folder_list(fc_disk *d, const char *dir, fc_disk_name_fn fn, void *ctx)
{
    path p;
    return fc_disk_list(parent_of(d), put(&p, d, dir), fn, ctx);
}

static int folder_sync_dir(fc_disk *d, const char *dir)
{
    path p;
    return fc_disk_sync_dir(parent_of(d), put(&p, d, dir));
}

static int folder_lock(fc_disk *d, const char *name, fc_file **out)
{
    path p;
    return fc_disk_lock(parent_of(d), put(&p, d, name), out);
}

static int64_t folder_free_bytes(fc_disk *d)
{
    return fc_disk_free_bytes(parent_of(d));
}

static void folder_close(fc_disk *d)
{
    free(d);
}

static const fc_disk_ops folder_ops = {
    .open = folder_open,
    .rename = folder_rename,
    .link = folder_link,
    .remove = folder_remove,
    .make_dir = folder_make_dir,
    .remove_dir = folder_remove_dir,
    .list = folder_list,
    .sync_dir = folder_sync_dir,
    .lock = folder_lock,
    .free_bytes = folder_free_bytes,
    .close = folder_close,
};

static int nothing(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    return 1;
}

int fc_disk_folder(fc_disk *disk, const char *folder, fc_disk **out)
{
    if (*folder == '\0' || strlen(folder) > FC_DISK_NAME_MAX)
        return *folder ? -ENAMETOOLONG : -ENOENT;
    int error = fc_disk_list(disk, folder, nothing, NULL);
    folder_disk *d = error < 0 ? NULL : calloc(1, sizeof *d);
    if (d == NULL)
        return error < 0 ? error : -ENOMEM;
    d->disk.ops = &folder_ops;
    d->parent = disk;
    strcpy(d->name, folder);
    *out = &d->disk;
    return 0;
}
