/* Names on the disk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store_internal.h"

static int collect(void *ctx, const char *name)
{
    store_names *l = ctx;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        char(*grown)[FC_DISK_NAME_MAX + 1] = realloc(l->names, cap * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        l->names = grown;
        l->cap = cap;
    }
    snprintf(l->names[l->n++], sizeof *l->names, "%s", name);
    return 0;
}

int store_list(fc_disk *disk, const char *folder, store_names *out)
{
    *out = (store_names){0};
    return fc_disk_list(disk, folder, collect, out);
}

int store_is_there(fc_disk *disk, const char *name)
{
    fc_file *f;
    int error = fc_disk_file(disk, name, FC_FILE_READ, &f);
    if (error == 0)
        fc_file_close(f);
    return error == 0 || error == -EISDIR ? 1 : error == -ENOENT ? 0 : error;
}

bool store_is_unfinished(fc_disk *disk, const char *name)
{
    store_names l;
    uint64_t number;
    size_t n = strlen(name), suffix = strlen(STORE_UNFINISHED);
    if (n <= suffix || strcmp(name + n - suffix, STORE_UNFINISHED) != 0)
        return false;
    bool ours = store_list(disk, name, &l) == 0; /* else it is no folder */
    for (size_t i = 0; i < l.n; i++)
        ours = ours && (store_parse_table_name(l.names[i], &number) || fc_manifest_parse_name(l.names[i], &number) ||
                        strcmp(l.names[i], "CURRENT") == 0 || strcmp(l.names[i], "CURRENT.new") == 0);
    free(l.names);
    return ours;
}

int store_remove_folder(fc_disk *disk, const char *name)
{
    store_names l;
    char inner[2 * FC_DISK_NAME_MAX + 2];
    int error = store_list(disk, name, &l);
    for (size_t i = 0; i < l.n && error == 0; i++) {
        snprintf(inner, sizeof inner, "%s/%s", name, l.names[i]);
        error = fc_disk_remove(disk, inner);
    }
    free(l.names);
    return error == 0 ? fc_disk_remove_dir(disk, name) : error;
}
