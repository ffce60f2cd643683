#include "look.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- files ------------------------------------------------------------------------------------------------------ */

static int add(uint64_t **list, size_t *n, size_t *cap, uint64_t number)
{
    if (*n == *cap) {
        size_t more = *cap ? 2 * *cap : 64;
        uint64_t *grown = realloc(*list, more * sizeof **list);
        if (grown == NULL)
            return -ENOMEM;
        *list = grown;
        *cap = more;
    }
    (*list)[(*n)++] = number;
    return 0;
}

static bool is_segment(const char *name)
{
    size_t n = strlen(name);
    return n == 20 && strcmp(name + 16, ".wal") == 0;
}

static int take(void *ctx, const char *name)
{
    store_files *f = ctx;
    uint64_t number;
    bool table = store_parse_table_name(name, &number);
    f->current = f->current || strcmp(name, "CURRENT") == 0;
    f->segments = f->segments || is_segment(name);
    if (!table && !fc_manifest_parse_name(name, &number))
        return 0;
    f->largest = number > f->largest ? number : f->largest;
    return table ? add(&f->tables, &f->tables_n, &f->tables_cap, number)
                 : add(&f->manifests, &f->manifests_n, &f->manifests_cap, number);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int store_files_list(fc_disk *disk, store_files *f)
{
    *f = (store_files){0};
    int error = fc_disk_list(disk, "", take, f);
    if (f->tables_n)
        qsort(f->tables, f->tables_n, sizeof *f->tables, ascending);
    if (f->manifests_n)
        qsort(f->manifests, f->manifests_n, sizeof *f->manifests, ascending);
    return error;
}

void store_files_free(store_files *f)
{
    free(f->tables);
    free(f->manifests);
    *f = (store_files){0};
}

bool store_files_any(const store_files *f) { return f->current || f->segments || f->tables_n || f->manifests_n; }

uint64_t store_file_bytes(fc_disk *disk, const char *name)
{
    fc_file *file;
    if (fc_disk_file(disk, name, FC_FILE_READ, &file) < 0)
        return 0;
    int64_t size = fc_file_size(file);
    fc_file_close(file);
    return size > 0 ? (uint64_t)size : 0;
}

int store_lock(fc_disk *disk, fc_file **out)
{
    int error = fc_disk_lock(disk, FC_STORE_LOCK, out);
    if (error == -EROFS) {
        *out = NULL;
        return 0;
    }
    return error == -EAGAIN ? FC_STORE_ELOCKED : error;
}

/* --- one table -------------------------------------------------------------------------------------------------- */

static void tell(store_look *l, fc_problem_kind kind, uint64_t offset, const char *what)
{
    l->problems++;
    l->missing = l->missing || kind == FC_PROBLEM_MISSING;
    l->unreadable = l->unreadable || kind == FC_PROBLEM_UNREADABLE;
    if (l->fn)
        l->fn(l->ctx, kind, l->name, offset, what);
}

/* 0 when the error is the table's own and has been told, else the error. */
static int tell_error(store_look *l, int error, const fc_damage *damage)
{
    if (error == FC_TABLE_ECORRUPT || error == FC_TABLE_EFORMAT)
        tell(l, FC_PROBLEM_DAMAGE, damage->offset, damage->what ? damage->what : fc_table_strerror(error));
    else if (error == FC_DISK_SHORT || error == -EIO)
        tell(l, FC_PROBLEM_DAMAGE, damage->offset, "the disk cannot read it");
    else if (error == FC_TABLE_ECODEC)
        tell(l, FC_PROBLEM_UNREADABLE, damage->offset, fc_table_strerror(error));
    else if (error == -ENOENT)
        tell(l, FC_PROBLEM_MISSING, 0, "a table that the manifest names is not there");
    else
        return error;
    return 0;
}

static bool same(const fc_table_meta *a, const fc_table_meta *b)
{
    return a->bytes == b->bytes && a->entries == b->entries && a->deletes == b->deletes && a->ranges == b->ranges &&
           a->expiring == b->expiring && a->first_seq == b->first_seq && a->last_seq == b->last_seq &&
           a->first_expiry == b->first_expiry && fc_key_equal(a->smallest, b->smallest) &&
           fc_key_equal(a->largest, b->largest);
}

int store_look_open(store_look *l, fc_disk *disk, const fc_codecs *codecs, uint64_t number, const fc_table_meta *meta)
{
    fc_damage damage = {0};
    store_table_name(l->name, number);
    l->table = NULL;
    l->check = (fc_table_check){0};
    l->problems = 0;
    l->missing = l->unreadable = false;
    int error = fc_table_open(disk, l->name, NULL, codecs, &damage, &l->table);
    if (error < 0) {
        l->table = NULL;
        return tell_error(l, error, &damage);
    }
    const fc_table_properties *p = fc_table_get_properties(l->table);
    fc_table_meta here = fc_table_meta_of(p);
    if (p->id != number) {
        tell(l, FC_PROBLEM_DAMAGE, 0, "a table of another number");
        store_look_close(l);
        return 0;
    }
    if (meta && !same(meta, &here))
        tell(l, FC_PROBLEM_DAMAGE, 0, "the table is not what the manifest says of it");
    return 1;
}

int store_look_step(store_look *l)
{
    fc_damage damage = {0};
    uint64_t block = l->check.block;
    int answer = fc_table_verify(l->table, &l->check);
    if (answer >= 0)
        return answer;
    fc_table_damage(l->table, &damage);
    fc_table_forget_damage(l->table);
    bool corrupt = answer == FC_TABLE_ECORRUPT;
    int error = tell_error(l, answer, &damage);
    if (error < 0)
        return error;
    if (!corrupt && !l->check.over && l->check.block == block) { /* on behind what the disk cannot read */
        l->check.block++;
        l->check.damaged++;
    }
    return answer == FC_TABLE_ECODEC ? 0 : !l->check.over;
}

void store_look_close(store_look *l)
{
    fc_table_close(l->table);
    l->table = NULL;
}
