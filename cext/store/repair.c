/* Repair as a whole: what the store consists of, the order of things, the report. */
#include "repair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

bool repair_grow(void *list, size_t n, size_t *cap, size_t item_bytes)
{
    void **p = list;
    if (n < *cap)
        return true;
    size_t more = *cap ? 2 * *cap : 16;
    void *grown = realloc(*p, more * item_bytes);
    if (grown == NULL)
        return false;
    *p = grown;
    *cap = more;
    return true;
}

repair_keyspace *repair_keyspace_of(fc_store_repair *r, uint32_t id)
{
    for (size_t i = 0; i < r->keyspaces_n; i++)
        if (r->keyspaces[i].id == id)
            return &r->keyspaces[i];
    if (!repair_grow(&r->keyspaces, r->keyspaces_n, &r->keyspaces_cap, sizeof *r->keyspaces))
        return NULL;
    repair_keyspace *k = &r->keyspaces[r->keyspaces_n++];
    *k = (repair_keyspace){.id = id, .rebuild = r->report.manifest_lost};
    return k;
}

static bool copy(store_key *k, fc_slice s)
{
    k->p = malloc(s.n + 1);
    if (k->p == NULL)
        return false;
    if (s.n)
        memcpy(k->p, s.p, s.n);
    k->n = s.n;
    return true;
}

inventory_keyspace *repair_need(fc_store_repair *r, uint32_t id)
{
    char name[32], options[STORE_OPTIONS_BYTES];
    inventory_keyspace *ks = inventory_need(&r->inventory, id);
    if (ks == NULL)
        return NULL;
    snprintf(name, sizeof name, id ? "recovered-%u" : "default", id);
    fc_slice made = {name, strlen(name)};
    bool right = (ks->name.p || copy(&ks->name, made)) &&
                 (ks->options.p || copy(&ks->options, store_options_put(options, &FC_KEYSPACE_OPTIONS)));
    if (id >= r->inventory.next_keyspace)
        r->inventory.next_keyspace = (uint64_t)id + 1;
    return right ? ks : NULL;
}

int repair_lose(fc_store_repair *r, const fc_store_loss *loss)
{
    store_key from, to;
    r->report.bytes_lost += loss->bytes;
    if (!repair_grow(&r->losses, r->losses_n, &r->losses_cap, sizeof *r->losses) || !copy(&from, loss->from))
        return -ENOMEM;
    if (!copy(&to, loss->to)) {
        free(from.p);
        return -ENOMEM;
    }
    fc_store_loss *kept = &r->losses[r->losses_n++];
    *kept = *loss;
    kept->from = (fc_slice){from.p, from.n};
    kept->to = (fc_slice){to.p, to.n};
    return 0;
}

int repair_move(fc_store_repair *r, const char *name)
{
    if (!repair_grow(&r->moved, r->moved_n, &r->moved_cap, sizeof *r->moved))
        return -ENOMEM;
    repair_name *m = &r->moved[r->moved_n++];
    *m = (repair_name){0};
    snprintf(m->from, sizeof m->from, "%s", name);
    return 0;
}

/* --- tables that are written ------------------------------------------------------------------------------------ */

static void number_seen(fc_store_repair *r, uint64_t number)
{
    if (number >= r->inventory.next_file)
        r->inventory.next_file = number + 1;
}

int repair_writer(fc_store_repair *r, uint32_t keyspace, fc_table_writer **out, uint64_t *number)
{
    char name[STORE_NAME];
    const inventory_keyspace *ks = inventory_find(&r->inventory, keyspace);
    fc_keyspace_options o = FC_KEYSPACE_OPTIONS;
    if (ks && ks->options.p && !store_options_get((fc_slice){ks->options.p, ks->options.n}, &o))
        o = FC_KEYSPACE_OPTIONS;
    if (!repair_grow(&r->created, r->created_n, &r->created_cap, sizeof *r->created))
        return -ENOMEM;
    *number = r->inventory.next_file++;
    fc_table_options t = {.block_bytes = o.block_bytes,
                          .restart_interval = o.restart_interval,
                          .filter_bits = o.filter_bits,
                          .codec = o.codec,
                          .codecs = &r->codecs,
                          .hash_key = {fc_get64(r->inventory.hash_key), fc_get64(r->inventory.hash_key + 8)},
                          .id = *number,
                          .owner = keyspace};
    store_table_name(name, *number);
    int error = fc_table_writer_open(r->disk, name, &t, out);
    if (error == 0)
        r->created[r->created_n++] = *number;
    return error;
}

int repair_writer_end(fc_store_repair *r, uint32_t keyspace, uint32_t level, fc_table_writer *w)
{
    fc_table_properties p;
    int error = fc_table_finish(w, &p);
    if (error == 0 && p.entries + p.ranges > 0) {
        error = fc_table_writer_sync(w);
        fc_table_meta meta = fc_table_meta_of(&p);
        inventory_keyspace *ks = error == 0 ? repair_need(r, keyspace) : NULL;
        if (error == 0)
            error = ks ? inventory_add_table(ks, level, &meta) : -ENOMEM;
        r->report.tables_written += error == 0;
    }
    fc_table_writer_close(w);
    return error;
}

/* --- what the store consists of --------------------------------------------------------------------------------- */

/* A manifest's first record is the whole state. */
static void begin_anew(void *ctx) { inventory_clear(ctx); }

/* Whatever can be read of any manifest, older ones first: names and options, and which tables are there no more. */
static int gather(fc_store_repair *r)
{
    for (size_t i = 0; i < r->files.manifests_n; i++) {
        int error = fc_manifest_salvage(r->disk, r->files.manifests[i], begin_anew, inventory_item, &r->inventory);
        if (error == -ENOMEM)
            return error;
    }
    return 0;
}

static bool on_disk(const fc_store_repair *r, uint64_t number)
{
    for (size_t i = 0; i < r->files.tables_n; i++)
        if (r->files.tables[i] == number)
            return true;
    return false;
}

/* Tables it names are missing, and there are others that it never named: its last edits may be damaged so that they
 * look as if they had not been durable. */
static bool is_behind(const fc_store_repair *r)
{
    bool missing = false, unknown = false;
    for (size_t i = 0; i < r->inventory.n; i++)
        for (size_t k = 0; k < r->inventory.keyspaces[i].n; k++)
            missing = missing || !on_disk(r, r->inventory.keyspaces[i].tables[k].meta.number);
    for (size_t i = 0; i < r->files.tables_n; i++)
        unknown = unknown || !inventory_mentions(&r->inventory, r->files.tables[i]);
    return missing && unknown;
}

static int read_manifest(fc_store_repair *r)
{
    fc_manifest_report m;
    int error = fc_manifest_read(r->disk, inventory_item, &r->inventory, &m);
    uint64_t newest = r->files.manifests_n ? r->files.manifests[r->files.manifests_n - 1] : 0;
    bool current_lost = error == -ENOENT || (error < 0 && strcmp(m.damage.name, "CURRENT") == 0);
    if (current_lost && r->files.manifests_n) { /* one that was begun without coming into force says the same */
        inventory_clear(&r->inventory);
        error = fc_manifest_read_number(r->disk, newest, inventory_item, &r->inventory, &m);
        r->report.changed = true;
    }
    if (error == 0 && r->inventory.contradictions == 0 && !is_behind(r))
        return 0;
    if (error == -ENOMEM || error == FC_MANIFEST_EFORMAT)
        return error == -ENOMEM ? error : FC_STORE_EFORMAT; /* sound, and of a version that knows more */
    r->report.manifest_lost = r->report.changed = true;
    inventory_clear(&r->inventory);
    error = gather(r);
    for (size_t i = 0; i < r->files.manifests_n && error == 0; i++) {
        char name[FC_MANIFEST_NAME_MAX];
        fc_manifest_name(name, r->files.manifests[i]);
        error = repair_move(r, name);
    }
    return error == 0 && r->files.current ? repair_move(r, "CURRENT") : error;
}

static int add_item(fc_store_repair *r, uint32_t keyspace, uint32_t level, uint64_t number, const inventory_table *said)
{
    char name[STORE_NAME];
    if (!repair_grow(&r->items, r->items_n, &r->items_cap, sizeof *r->items))
        return -ENOMEM;
    store_table_name(name, number);
    repair_item *i = &r->items[r->items_n++];
    *i = (repair_item){.keyspace = keyspace, .level = level, .number = number,
                       .bytes = store_file_bytes(r->disk, name)};
    if (said)
        i->said = *said;
    r->report.bytes += i->bytes;
    return 0;
}

/* The inventory's tables become items, and come back when they have been looked at. */
static int take_named(fc_store_repair *r)
{
    for (size_t i = 0; i < r->inventory.n; i++) {
        inventory_keyspace *ks = &r->inventory.keyspaces[i];
        for (size_t k = 0; k < ks->n; k++) {
            int error = add_item(r, ks->id, ks->tables[k].level, ks->tables[k].meta.number, &ks->tables[k]);
            if (error < 0)
                return error; /* the process is as good as dead: who owns the bounds is of no account */
            ks->tables[k].bounds = NULL;
        }
        ks->n = 0;
    }
    return 0;
}

static bool is_item(const fc_store_repair *r, uint64_t number)
{
    for (size_t i = 0; i < r->items_n; i++)
        if (r->items[i].number == number)
            return true;
    return false;
}

/* Without a manifest to be trusted: all tables on the disk, but those that some manifest had given up. */
static int take_all(fc_store_repair *r)
{
    for (size_t i = 0; i < r->files.tables_n; i++) {
        char name[STORE_NAME];
        uint64_t number = r->files.tables[i];
        store_table_name(name, number);
        int error = 0;
        if (is_item(r, number))
            continue;
        if (inventory_mentions(&r->inventory, number))
            error = repair_move(r, name);
        else
            error = add_item(r, REPAIR_NOBODY, FC_STORE_LEVELS - 1, number, NULL);
        if (error < 0)
            return error;
    }
    return 0;
}

static int begin(fc_store_repair *r)
{
    int error = store_files_list(r->disk, &r->files);
    if (error == 0 && !store_files_any(&r->files))
        error = FC_STORE_EMISSING;
    if (error == 0)
        error = store_lock(r->disk, &r->lock);
    store_files_free(&r->files);
    if (error == 0)
        error = store_files_list(r->disk, &r->files);
    if (error == 0)
        error = read_manifest(r);
    number_seen(r, r->files.largest);
    if (error == 0)
        error = take_named(r);
    if (error == 0 && r->report.manifest_lost)
        error = take_all(r);
    if (error == 0 && !r->inventory.hash_key_known) { /* the tables that are there have theirs within them */
        if (getrandom(r->inventory.hash_key, sizeof r->inventory.hash_key, 0) < 0)
            error = -errno;
        r->inventory.hash_key_known = true;
    }
    if (error == 0)
        error = fc_wal_scan_open(r->disk, &r->log);
    if (error == 0)
        r->report.bytes += fc_wal_scan_get_report(r->log)->bytes;
    return error == 0 && repair_need(r, 0) == NULL ? -ENOMEM : error;
}

int fc_store_repair_open(fc_disk *disk, fc_store_repair **out)
{
    fc_store_repair *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->disk = disk;
    fc_codecs_open(&r->codecs);
    int error = begin(r);
    if (error < 0)
        fc_store_repair_close(r);
    else
        *out = r;
    return error;
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

int fc_store_repair_step(fc_store_repair *r)
{
    static int (*const steps[])(fc_store_repair *) = {[REPAIR_TABLES] = repair_step_tables,
                                                      [REPAIR_LOG] = repair_step_log,
                                                      [REPAIR_REPLAY] = repair_step_replay,
                                                      [REPAIR_MERGE] = repair_step_merge,
                                                      [REPAIR_COMMIT] = repair_commit};
    if (r->stage == REPAIR_OVER)
        return 0;
    int answer = steps[r->stage](r);
    if (answer == 0)
        r->stage++;
    return answer < 0 ? answer : r->stage != REPAIR_OVER;
}

void fc_store_repair_get_report(const fc_store_repair *r, fc_store_repair_report *out) { *out = r->report; }

size_t fc_store_repair_losses(const fc_store_repair *r, const fc_store_loss **out)
{
    *out = r->losses;
    return r->losses_n;
}

bool fc_store_repair_keyspace(const fc_store_repair *r, uint32_t id, fc_slice *name)
{
    const inventory_keyspace *ks = inventory_find(&r->inventory, id);
    if (ks == NULL || ks->name.p == NULL)
        return false;
    *name = (fc_slice){ks->name.p, ks->name.n};
    return true;
}

size_t fc_store_repair_moved(const fc_store_repair *r, const char *const **out)
{
    *out = r->moved_names;
    return r->committed ? r->moved_n : 0;
}

/* Tables of a repair that did not come to its end are of no use: the next one makes its own. */
static void remove_created(fc_store_repair *r)
{
    char name[STORE_NAME];
    for (size_t i = 0; i < r->created_n; i++) {
        store_table_name(name, r->created[i]);
        fc_disk_remove(r->disk, name);
    }
}

void fc_store_repair_close(fc_store_repair *r)
{
    if (r == NULL)
        return;
    store_look_close(&r->look);
    fc_table_salvage_close(r->salvage);
    fc_table_writer_close(r->writer);
    repair_merge_close(r->merge);
    fc_wal_scan_close(r->log);
    if (!r->committed)
        remove_created(r);
    for (size_t i = 0; i < r->items_n; i++)
        free(r->items[i].said.bounds);
    for (size_t i = 0; i < r->keyspaces_n; i++) {
        fc_memtable_free(r->keyspaces[i].mem);
        free(r->keyspaces[i].largest.p);
    }
    for (size_t i = 0; i < r->losses_n; i++) {
        free((char *)r->losses[i].from.p);
        free((char *)r->losses[i].to.p);
    }
    void *lists[] = {r->items, r->keyspaces, r->created, r->moved, r->moved_names, r->losses};
    for (size_t i = 0; i < FC_ARRAY_LEN(lists); i++)
        free(lists[i]);
    inventory_free(&r->inventory);
    store_files_free(&r->files);
    fc_codecs_close(&r->codecs);
    if (r->lock)
        fc_file_close(r->lock);
    free(r);
}
