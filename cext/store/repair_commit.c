/* The end of a repair. In this order, so that a crash between any two steps leaves what can be repaired again:
 *   1. what is to go is linked into lost/, which is synced;
 *   2. a new log begins behind the damaged one: until that is gone there is a hole between them, so that no store opens
 *      with the old log's positions under a manifest that is beyond them;
 *   3. the new manifest comes into force;
 *   4. names that are in lost/ as well, and tables that were made on the way, are removed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "repair.h"

#define LOG_ALIGN 4096u
/* A lost log may have held operations that somebody was told the versions of: they are not given again. */
#define SEQ_GAP (1ull << 32)

static int move_log(fc_store_repair *r)
{
    char name[24];
    int error = 0;
    for (size_t i = 0; i < fc_wal_scan_get_report(r->log)->segments && error == 0; i++) {
        fc_wal_scan_name(r->log, i, name);
        error = repair_move(r, name);
    }
    return error;
}

static bool exists(fc_disk *disk, const char *name)
{
    fc_file *file;
    if (fc_disk_file(disk, name, FC_FILE_READ, &file) < 0)
        return false;
    fc_file_close(file);
    return true;
}

/* A name in lost/ that is free: an earlier repair may have put one of the same name there. */
static void choose_name(fc_store_repair *r, repair_name *m)
{
    snprintf(m->to, sizeof m->to, REPAIR_LOST "/%s", m->from);
    for (unsigned i = 1; exists(r->disk, m->to); i++)
        snprintf(m->to, sizeof m->to, REPAIR_LOST "/%s.%u", m->from, i);
}

/* Where the disk has no links the names are changed later. */
static int link_moved(fc_store_repair *r)
{
    if (r->moved_n == 0)
        return 0;
    int error = fc_disk_make_dir(r->disk, REPAIR_LOST);
    for (size_t i = 0; i < r->moved_n && error == 0; i++) {
        repair_name *m = &r->moved[i];
        choose_name(r, m);
        error = fc_disk_link(r->disk, m->from, m->to);
        m->linked = error == 0;
        if (error == -EPERM || error == -EOPNOTSUPP || error == -ENOENT)
            error = 0;
    }
    if (error == 0)
        error = fc_disk_sync_dir(r->disk, REPAIR_LOST);
    return error == 0 ? fc_disk_sync_dir(r->disk, "") : error;
}

static int begin_log(fc_store_repair *r)
{
    uint32_t salt;
    uint64_t from = fc_wal_scan_get_report(r->log)->beyond;
    from = from > r->inventory.log_begin ? from : r->inventory.log_begin;
    from = (from + LOG_ALIGN) & ~(uint64_t)(LOG_ALIGN - 1);
    if (getrandom(&salt, sizeof salt, 0) < 0)
        return -errno;
    r->inventory.log_begin = from;
    return fc_wal_begin_at(r->disk, from, salt);
}

/* Above all that is anywhere. */
static void count_on(fc_store_repair *r)
{
    inventory *v = &r->inventory;
    v->last_seq = r->last_seq > v->last_seq ? r->last_seq : v->last_seq;
    if (r->report.manifest_lost && !r->log_damaged)
        v->log_begin = fc_wal_scan_get_report(r->log)->end; /* all before is in tables */
    for (size_t i = 0; i < v->n; i++) {
        const inventory_keyspace *ks = &v->keyspaces[i];
        v->last_seq = ks->flushed_seq > v->last_seq ? ks->flushed_seq : v->last_seq;
        for (size_t k = 0; k < ks->n; k++)
            v->last_seq = ks->tables[k].meta.last_seq > v->last_seq ? ks->tables[k].meta.last_seq : v->last_seq;
    }
    v->last_seq += r->log_damaged ? SEQ_GAP : 0;
}

static int put_manifest(fc_store_repair *r)
{
    fc_edit e = {0};
    fc_manifest *m;
    uint64_t number = r->inventory.next_file++;
    count_on(r);
    inventory_edit(&r->inventory, &e);
    int error = e.error ? e.error : fc_manifest_create(r->disk, number, &e, &m); /* syncs the tables' names, too */
    if (error == 0)
        fc_manifest_close(m);
    fc_edit_free(&e);
    return error;
}

static bool is_in_use(const fc_store_repair *r, uint64_t number)
{
    for (size_t i = 0; i < r->inventory.n; i++)
        for (size_t k = 0; k < r->inventory.keyspaces[i].n; k++)
            if (r->inventory.keyspaces[i].tables[k].meta.number == number)
                return true;
    return false;
}

/* CURRENT has a new meaning by now. */
static int remove_old(fc_store_repair *r)
{
    char name[STORE_NAME];
    int error = 0;
    for (size_t i = 0; i < r->moved_n && error == 0; i++) {
        const repair_name *m = &r->moved[i];
        if (strcmp(m->from, "CURRENT") == 0)
            continue;
        error = m->linked ? fc_disk_remove(r->disk, m->from) : fc_disk_rename(r->disk, m->from, m->to);
        error = error == -ENOENT ? 0 : error;
    }
    for (size_t i = 0; i < r->created_n && error == 0; i++)
        if (!is_in_use(r, r->created[i])) {
            store_table_name(name, r->created[i]);
            error = fc_disk_remove(r->disk, name);
            error = error == -ENOENT ? 0 : error;
        }
    if (error == 0 && r->moved_n)
        error = fc_disk_sync_dir(r->disk, REPAIR_LOST);
    return error == 0 ? fc_disk_sync_dir(r->disk, "") : error;
}

static int list_moved(fc_store_repair *r)
{
    r->moved_names = malloc((r->moved_n + 1) * sizeof *r->moved_names);
    for (size_t i = 0; r->moved_names && i < r->moved_n; i++)
        r->moved_names[i] = r->moved[i].to;
    return r->moved_names ? 0 : -ENOMEM;
}

int repair_commit(fc_store_repair *r)
{
    if (!r->report.changed)
        return 0;
    int error = r->log_damaged ? move_log(r) : 0;
    if (error == 0)
        error = list_moved(r);
    if (error == 0)
        error = link_moved(r);
    if (error == 0 && r->log_damaged)
        error = begin_log(r);
    if (error == 0) {
        r->committed = true; /* from here on nobody knows whether the manifest names the new tables */
        error = put_manifest(r);
    }
    return error == 0 ? remove_old(r) : error;
}
