/* A store looked at without being opened, or its tables while it is: fc/store_check.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fc/wal_scan.h"
#include "inventory.h"
#include "look.h"

/* A table to look at; without a sound manifest all that are on the disk are, for themselves. */
typedef struct item {
    uint64_t number, bytes;
    const fc_table_meta *meta; /* NULL: nobody says what it should be */
} item;

typedef enum stage { STAGE_TABLES, STAGE_LOG, STAGE_OVER } stage;

struct fc_store_check {
    fc_disk *disk;
    fc_file *lock;
    fc_codecs codecs;
    store_files files;
    inventory inventory;
    uint64_t manifest; /* the number of the one that counts */
    item *items;
    size_t items_n, next;
    store_look look;
    fc_wal_scan *log;
    stage stage;
    fc_problem *problems;
    size_t problems_n, problems_cap;
    fc_store_check_report report;
    bool no_memory;
    fc_store *live; /* whose versions are held */
    store_version **versions;
    size_t versions_n;
};

/* --- problems --------------------------------------------------------------------------------------------------- */

static void tell(void *ctx, fc_problem_kind kind, const char *name, uint64_t offset, const char *what)
{
    fc_store_check *c = ctx;
    uint64_t *counts[] = {&c->report.damages, &c->report.missing, &c->report.unreadable, &c->report.leftovers};
    ++*counts[kind - FC_PROBLEM_DAMAGE];
    if (c->problems_n == FC_PROBLEMS_MAX)
        return;
    if (c->problems_n == c->problems_cap) {
        size_t more = c->problems_cap ? 2 * c->problems_cap : 16;
        fc_problem *grown = realloc(c->problems, more * sizeof *grown);
        if (grown == NULL) {
            c->no_memory = true;
            return;
        }
        c->problems = grown;
        c->problems_cap = more;
    }
    fc_problem *p = &c->problems[c->problems_n++];
    *p = (fc_problem){.kind = kind, .damage = {.offset = offset, .what = what}};
    snprintf(p->damage.name, sizeof p->damage.name, "%s", name);
}

static void tell_log(void *ctx, const char *name, uint64_t offset, const char *what)
{
    tell(ctx, FC_PROBLEM_DAMAGE, name, offset, what);
}

/* --- the manifest ----------------------------------------------------------------------------------------------- */

static int read_manifest(fc_store_check *c)
{
    fc_manifest_report r;
    int error = fc_manifest_read(c->disk, inventory_item, &c->inventory, &r);
    if (error == 0) {
        c->report.manifest = true;
        c->manifest = r.number;
        if (c->inventory.contradictions)
            tell(c, FC_PROBLEM_DAMAGE, r.damage.name, 0, "the manifest contradicts itself");
    } else if (error == -ENOENT) {
        tell(c, FC_PROBLEM_MISSING, "CURRENT", 0, "nothing says which manifest counts");
    } else if (error == FC_MANIFEST_ECORRUPT || error == FC_MANIFEST_EFORMAT || error == -EIO) {
        tell(c, FC_PROBLEM_DAMAGE, r.damage.name, r.damage.offset,
             r.damage.what ? r.damage.what : "the disk cannot read it");
    } else {
        return error;
    }
    if (error < 0)
        inventory_clear(&c->inventory);
    return 0;
}

static int by_smallest(const void *a, const void *b)
{
    const inventory_table *x = a, *y = b;
    if (x->level != y->level)
        return x->level < y->level ? -1 : 1;
    return fc_key_compare(x->meta.smallest, y->meta.smallest);
}

/* Below level 0 tables follow each other; the end of a range deletion may be the next one's first key. */
static void look_at_levels(fc_store_check *c, inventory_keyspace *ks)
{
    char name[STORE_NAME];
    if (ks->n)
        qsort(ks->tables, ks->n, sizeof *ks->tables, by_smallest);
    for (size_t i = 1; i < ks->n; i++) {
        const inventory_table *a = &ks->tables[i - 1], *b = &ks->tables[i];
        int order = a->level == b->level && b->level > 0 ? fc_key_compare(a->meta.largest, b->meta.smallest) : -1;
        if (order > 0 || (order == 0 && a->meta.ranges == 0)) {
            store_table_name(name, b->meta.number);
            tell(c, FC_PROBLEM_DAMAGE, name, 0, "the table overlaps another one of its level");
        }
    }
}

static bool add_item(fc_store_check *c, uint64_t number, const fc_table_meta *meta)
{
    char name[STORE_NAME];
    store_table_name(name, number);
    item *grown = realloc(c->items, (c->items_n + 1) * sizeof *grown);
    if (grown == NULL)
        return false;
    c->items = grown;
    uint64_t bytes = meta ? meta->bytes : store_file_bytes(c->disk, name);
    c->items[c->items_n++] = (item){number, bytes, meta};
    c->report.bytes += bytes;
    c->report.tables++;
    return true;
}

static bool named(const inventory *v, uint64_t number)
{
    for (size_t i = 0; i < v->n; i++)
        for (size_t k = 0; k < v->keyspaces[i].n; k++)
            if (v->keyspaces[i].tables[k].meta.number == number)
                return true;
    return false;
}

static void tell_leftovers(fc_store_check *c)
{
    char name[FC_MANIFEST_NAME_MAX > STORE_NAME ? FC_MANIFEST_NAME_MAX : STORE_NAME];
    for (size_t i = 0; i < c->files.tables_n; i++)
        if (!named(&c->inventory, c->files.tables[i])) {
            store_table_name(name, c->files.tables[i]);
            tell(c, FC_PROBLEM_LEFTOVER, name, 0, "no manifest names this table");
        }
    for (size_t i = 0; i < c->files.manifests_n; i++)
        if (c->files.manifests[i] != c->manifest) {
            fc_manifest_name(name, c->files.manifests[i]);
            tell(c, FC_PROBLEM_LEFTOVER, name, 0, "CURRENT names another manifest");
        }
}

static int list_items(fc_store_check *c)
{
    for (size_t i = 0; i < c->inventory.n; i++) {
        inventory_keyspace *ks = &c->inventory.keyspaces[i];
        c->report.keyspaces += !ks->dropped;
        look_at_levels(c, ks);
        for (size_t k = 0; k < ks->n; k++)
            if (!add_item(c, ks->tables[k].meta.number, &ks->tables[k].meta))
                return -ENOMEM;
    }
    for (size_t i = 0; !c->report.manifest && i < c->files.tables_n; i++)
        if (!add_item(c, c->files.tables[i], NULL))
            return -ENOMEM;
    return 0;
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static fc_store_check *check_new(fc_disk *disk)
{
    fc_store_check *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->disk = disk;
    c->look.fn = tell;
    c->look.ctx = c;
    fc_codecs_open(&c->codecs);
    return c;
}

static int begin(fc_store_check *c)
{
    int error = store_files_list(c->disk, &c->files);
    if (error == 0 && !store_files_any(&c->files))
        error = FC_STORE_EMISSING; /* before a lock file is made in a folder that is none of ours */
    if (error == 0)
        error = store_lock(c->disk, &c->lock);
    store_files_free(&c->files);
    if (error == 0)
        error = store_files_list(c->disk, &c->files); /* nobody changes them now */
    if (error == 0)
        error = read_manifest(c);
    if (error == 0)
        error = list_items(c);
    if (error == 0)
        error = fc_wal_scan_open(c->disk, &c->log);
    if (error == 0)
        c->report.bytes += fc_wal_scan_get_report(c->log)->bytes;
    return error;
}

int fc_store_check_open(fc_disk *disk, fc_store_check **out)
{
    fc_store_check *c = check_new(disk);
    if (c == NULL)
        return -ENOMEM;
    int error = begin(c);
    if (error < 0)
        fc_store_check_close(c);
    else
        *out = c;
    return error;
}

/* Versions keep the files of their tables. */
static int pin(fc_store_check *c, fc_store *s)
{
    c->live = s;
    c->versions = malloc((FC_KEYSPACES_MAX + 1) * sizeof *c->versions);
    if (c->versions == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->keyspaces_n && c->versions_n < FC_KEYSPACES_MAX; i++)
        c->versions[c->versions_n++] = store_version_ref(s->keyspaces[i]->version);
    pthread_mutex_unlock(&s->lock);
    c->report.keyspaces = c->versions_n;
    for (size_t i = 0; i < c->versions_n; i++)
        for (size_t k = 0; k < c->versions[i]->at[FC_STORE_LEVELS]; k++) {
            const fc_table_meta *meta = &c->versions[i]->tables[k]->meta;
            if (!add_item(c, meta->number, meta))
                return -ENOMEM;
        }
    return 0;
}

int fc_store_check_live(fc_store *s, fc_store_check **out)
{
    fc_store_check *c = check_new(s->disk);
    if (c == NULL)
        return -ENOMEM;
    c->report.manifest = true;
    int error = pin(c, s);
    if (error < 0)
        fc_store_check_close(c);
    else
        *out = c;
    return error;
}

void fc_store_check_close(fc_store_check *c)
{
    if (c == NULL)
        return;
    store_look_close(&c->look);
    fc_wal_scan_close(c->log);
    for (size_t i = 0; i < c->versions_n; i++)
        store_version_unref(c->live, c->versions[i]);
    free(c->versions);
    inventory_free(&c->inventory);
    store_files_free(&c->files);
    free(c->items);
    free(c->problems);
    fc_codecs_close(&c->codecs);
    if (c->lock)
        fc_file_close(c->lock);
    free(c);
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

static int end_table(fc_store_check *c)
{
    c->report.entries += c->look.check.entries;
    store_look_close(&c->look);
    c->report.bytes_done += c->items[c->next].bytes;
    c->next++;
    return 1;
}

static int step_table(fc_store_check *c)
{
    const item *i = &c->items[c->next];
    int answer;
    if (c->look.table == NULL) {
        answer = store_look_open(&c->look, c->disk, &c->codecs, i->number, i->meta);
        if (answer == 1)
            c->report.blocks += fc_table_get_properties(c->look.table)->blocks;
    } else {
        answer = store_look_step(&c->look);
    }
    return answer == 0 ? end_table(c) : answer;
}

/* The log must reach back to where the manifest needs it, and not end before. */
static void end_log(fc_store_check *c)
{
    const fc_wal_scan_report *r = fc_wal_scan_get_report(c->log);
    uint64_t needed = c->inventory.log_begin;
    c->report.log_records = r->records;
    c->report.log_torn_bytes = r->torn_bytes;
    if (!c->report.manifest)
        return;
    if (r->end < needed)
        tell(c, FC_PROBLEM_MISSING, "*.wal", 0, "the log ends before the place from which the manifest needs it");
    else if (r->segments && r->first > needed)
        tell(c, FC_PROBLEM_MISSING, "*.wal", 0, "the log begins behind the place from which the manifest needs it");
}

static int step_log(fc_store_check *c)
{
    uint64_t before = fc_wal_scan_get_report(c->log)->bytes_done;
    int answer = fc_wal_scan_step(c->log, tell_log, c);
    c->report.bytes_done += fc_wal_scan_get_report(c->log)->bytes_done - before;
    if (answer != 0)
        return answer;
    end_log(c);
    if (c->report.manifest)
        tell_leftovers(c);
    c->stage = STAGE_OVER;
    return 1;
}

int fc_store_check_step(fc_store_check *c)
{
    int answer = 0;
    if (c->stage == STAGE_TABLES && c->next == c->items_n)
        c->stage = c->log ? STAGE_LOG : STAGE_OVER;
    if (c->stage == STAGE_TABLES)
        answer = step_table(c);
    else if (c->stage == STAGE_LOG)
        answer = step_log(c);
    return c->no_memory ? -ENOMEM : answer;
}

void fc_store_check_get_report(const fc_store_check *c, fc_store_check_report *out) { *out = c->report; }

size_t fc_store_check_problems(const fc_store_check *c, const fc_problem **out)
{
    *out = c->problems;
    return c->problems_n;
}
