/* What a store reads when it is opened: manifests and logs made by hand, changes of tables installed by hand, more log
 * than there is memory for. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../store/store_internal.h"
#include "check.h"
#include "store_model.h"

static fc_disk *sim(void) { return fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1}); }

static int put(fc_store *s, uint32_t keyspace, unsigned key, size_t n)
{
    static char value[4000];
    char name[16];
    fc_batch b = {0};
    fc_write_result result;
    snprintf(name, sizeof name, "%06u", key);
    memset(value, (char)key, n);
    fc_batch_put(&b, keyspace, (fc_slice){name, 6}, (fc_slice){value, n}, 0);
    int error = write_all(s, &b, &result);
    fc_batch_free(&b);
    return error;
}

static unsigned number_of(fc_slice key)
{
    char text[8] = {0};
    memcpy(text, key.p, key.n < 7 ? key.n : 7);
    return (unsigned)strtoul(text, NULL, 10);
}

/* Exactly keys from to before `until`, by scan and by get. */
static bool has(fc_store *s, uint32_t keyspace, unsigned from, unsigned until)
{
    fc_scan *scan;
    fc_scan_options o = {.fill_cache = true};
    fc_read r;
    bool same = fc_scan_open(s, keyspace, &o, &scan) == 0 && fc_read_begin(s, keyspace, NULL, &r) == 0;
    if (!same)
        return false;
    fc_view *v = fc_scan_view(scan);
    fc_view_first(v);
    for (unsigned i = from; i < until && same; i++) {
        fc_value value;
        same = v->valid && v->key.n == 6 && number_of(v->key) == i && v->value.p[0] == (char)i &&
               fc_read_get(&r, v->key, false, &value) == 1 && value.value.p[0] == (char)i;
        if (same)
            fc_value_release(&value);
        if (v->valid)
            fc_view_next(v);
    }
    same = same && !v->valid && v->error == 0;
    fc_scan_close(scan);
    fc_read_end(&r);
    return same;
}

/* --- manifests -------------------------------------------------------------------------------------------------- */

static void add_state(fc_edit *e)
{
    char options[STORE_OPTIONS_BYTES];
    fc_slice hash_key = {"0123456789abcdef", 16};
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_BYTES, .id = STORE_BYTES_HASH_KEY, .bytes = hash_key});
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_KEYSPACE,
                                   .name = {"default", 7},
                                   .bytes = store_options_put(options, &FC_KEYSPACE_OPTIONS)});
}

static void test_manifests(void)
{
    const struct {
        fc_edit_item item;
        int error;
    } cases[] = {
        {{.kind = FC_EDIT_NUMBER, .id = STORE_NUMBER_LAST_SEQ, .number = 5}, 0},
        {{.kind = FC_EDIT_NUMBER, .id = 77, .number = 5}, FC_STORE_EFORMAT},
        {{.kind = FC_EDIT_NUMBER, .id = STORE_NUMBER_FLUSHED + 3, .number = 5}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_NUMBER, .id = STORE_NUMBER_LOG_BEGIN, .number = 500000}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_BYTES, .id = 2, .bytes = {"x", 1}}, FC_STORE_EFORMAT},
        {{.kind = FC_EDIT_BYTES, .id = STORE_BYTES_HASH_KEY, .bytes = {"x", 1}}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_KEYSPACE, .keyspace = 1, .name = {"x", 1}, .bytes = {"", 0}}, FC_STORE_EFORMAT},
        {{.kind = FC_EDIT_DROP, .keyspace = 1}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_DROP, .keyspace = 0}, FC_STORE_ECORRUPT}, /* "default" is missing then */
        {{.kind = FC_EDIT_ADD_TABLE, .keyspace = 1, .table = {.number = 5}}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_ADD_TABLE, .level = 7, .table = {.number = 5}}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_ADD_TABLE, .table = {.number = 5}}, FC_STORE_ECORRUPT}, /* there is no such file */
        {{.kind = FC_EDIT_REMOVE_TABLE, .table = {.number = 5}}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_CURSOR, .level = 7, .bytes = {"x", 1}}, FC_STORE_ECORRUPT},
        {{.kind = FC_EDIT_CURSOR, .level = 3, .bytes = {"x", 1}}, 0},
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++) {
        fc_disk *disk = sim();
        fc_store_options o = small(1);
        fc_store *s;
        fc_damage damage;
        fc_edit e = {0};
        fc_manifest *m;
        add_state(&e);
        fc_edit_add(&e, &cases[i].item);
        CHECK(fc_manifest_create(disk, 1, &e, &m) == 0);
        fc_manifest_close(m);
        fc_edit_free(&e);
        int error = fc_store_open(disk, &o, &damage, &s);
        CHECK(error == cases[i].error);
        CHECK((error == 0) == (damage.what == NULL));
        if (error == 0)
            CHECK(fc_store_close(s) == 0);
        fc_disk_close(disk);
    }
}

/* --- logs ------------------------------------------------------------------------------------------------------- */

static void test_logs(void)
{
    static const struct {
        uint8_t type;
        uint64_t seq;
        uint32_t n;
        const char *operations;
        size_t size;
        int error;
    } cases[] = {
        {1, 9, 1, "\1\0\1k", 4, 0},
        {2, 9, 1, "\1\0\1k", 4, FC_STORE_ECORRUPT}, /* what closes a log holds nothing */
        {3, 9, 1, "\1\0\1k", 4, FC_STORE_ECORRUPT},
        {1, 9, 2, "\1\0\1k", 4, FC_STORE_ECORRUPT},
        {1, 9, 0, "", 0, FC_STORE_ECORRUPT},
        {1, 9, 1, "\1\0\2k", 4, FC_STORE_ECORRUPT},
        {1, 9, 1, "\3\0\1k\2xx", 7, FC_STORE_ECORRUPT}, /* expiring, without its expiry */
        {1, 1, 1, "\1\0\1k", 4, FC_STORE_ECORRUPT},
        {1, FC_SEQ_MAX, 1, "\1\0\1k", 4, FC_STORE_ECORRUPT},
        {1, 9, 1, "\1\7\1k", 4, 0}, /* of a keyspace that was dropped */
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++) {
        fc_disk *disk = sim();
        fc_store_options o = small(1);
        fc_store *s;
        fc_damage damage;
        fc_wal_pos pos;
        char head[STORE_RECORD_HEAD];
        CHECK(fc_store_open(disk, &o, NULL, &s) == 0 && put(s, 0, 0, 10) == 0);
        fc_put64(head, cases[i].seq);
        fc_put32(head + 8, cases[i].n);
        fc_slice pieces[] = {{head, sizeof head}, {cases[i].operations, cases[i].size}};
        CHECK(fc_wal_append(fc_store_log(s), cases[i].type, pieces, 2, false, &pos) == 0);
        CHECK(fc_store_close(s) == 0);
        int error = fc_store_open(disk, &o, &damage, &s);
        CHECK(error == cases[i].error);
        if (error < 0)
            CHECK(strcmp(damage.name, "log") == 0 && damage.offset == pos);
        else
            CHECK(has(s, 0, 0, 1) && fc_store_close(s) == 0);
        fc_disk_close(disk);
    }
}

/* More in the log than today's memtables hold: they are flushed while it is read. */
static void test_much_log(bool threaded)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s;
    fc_keyspace_stats stats;
    o.threaded = threaded;
    o.log.buffer_bytes_max = 1 << 20;
    o.log.record_bytes_max = 16384;
    o.log_bytes_max = 4 << 20;
    o.defaults.memtable_bytes = 2 << 20;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    for (unsigned i = 0; i < 600; i++)
        CHECK(put(s, 0, i, 1000) == 0);
    CHECK(fc_store_get_keyspace_stats(s, 0, &stats) == 0 && stats.flushes == 0);
    CHECK(fc_store_close(s) == 0);
    o.defaults.memtable_bytes = FC_MEMTABLE_MIN_BYTES;
    o.defaults.memtables_max = 2;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    CHECK(fc_store_get_keyspace_stats(s, 0, &stats) == 0 && stats.flushes > 5 && stats.memtables <= 2);
    CHECK(has(s, 0, 0, 600) && put(s, 0, 600, 10) == 0 && fc_store_close(s) == 0);
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0 && has(s, 0, 0, 601) && fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* --- changes ---------------------------------------------------------------------------------------------------- */

static unsigned tables_on_disk(fc_disk *disk)
{
    store_names l;
    uint64_t number;
    unsigned n = 0;
    CHECK(store_list(disk, "", &l) == 0);
    for (size_t i = 0; i < l.n; i++)
        n += store_parse_table_name(l.names[i], &number);
    free(l.names);
    return n;
}

static store_table *table_at(fc_store *s, unsigned level, size_t i)
{
    const store_version *v = s->keyspaces[0]->version;
    return v->at[level] + i < v->at[level + 1] ? v->tables[v->at[level] + i] : NULL;
}

static fc_store *again(fc_store *s, fc_disk *disk, const fc_store_options *o)
{
    CHECK(fc_store_close(s) == 0 && fc_store_open(disk, o, NULL, &s) == 0);
    return s;
}

/* Moves the oldest table of level 0, as a compaction would. */
static void move_oldest(fc_store *s, unsigned level, const char *cursor)
{
    store_keyspace *ks = s->keyspaces[0];
    store_table *t = table_at(s, 0, ks->version->at[1] - 1);
    store_placed from = {0, t}, to = {level, t};
    store_change change = {.add = &to, .remove = &from, .add_n = 1, .remove_n = 1, .cursor_level = level};
    change.has_cursor = true;
    change.cursor = (fc_slice){cursor, strlen(cursor)};
    CHECK(store_install(s, ks, &change) == 0);
}

/* Tables move, get out of order, go while they are read; the levels are what the manifest says after opening, too. */
static void test_changes(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s;
    const unsigned order[] = {2, 0, 3, 1};
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 10; k++)
            CHECK(put(s, 0, order[i] * 10 + k, 100) == 0);
        CHECK(fc_store_flush(s, 0) == 0);
    }
    for (unsigned i = 0; i < 3; i++)
        move_oldest(s, 4, i == 2 ? "cursor" : "");
    for (int life = 0; life < 2; life++) {
        CHECK(has(s, 0, 0, 40) && table_at(s, 0, 0) && !table_at(s, 0, 1) && !table_at(s, 4, 3));
        for (unsigned i = 0; i < 3; i++)
            CHECK(number_of(table_at(s, 4, i)->meta.smallest) == (i == 0 ? 0 : i * 10 + 10));
        CHECK(s->keyspaces[0]->cursors[4].n == 6 && memcmp(s->keyspaces[0]->cursors[4].p, "cursor", 6) == 0);
        if (life == 0)
            s = again(s, disk, &o);
    }
    uint64_t all = fc_store_bytes_between(s, 0, (fc_slice){"", 0}, (fc_slice){"", 0});
    uint64_t some = fc_store_bytes_between(s, 0, (fc_slice){"000020", 6}, (fc_slice){"000030", 6});
    CHECK(all > 4000 && some > 500 && some < all / 2);
    CHECK(fc_store_bytes_between(s, 9, (fc_slice){"", 0}, (fc_slice){"", 0}) == 0);

    fc_scan *scan;
    fc_scan_options scan_all = {.fill_cache = true};
    CHECK(fc_scan_open(s, 0, &scan_all, &scan) == 0);
    store_placed gone[] = {{4, table_at(s, 4, 0)}, {4, table_at(s, 4, 1)}, {4, table_at(s, 4, 2)}};
    CHECK(store_install(s, s->keyspaces[0], &(store_change){.remove = gone, .remove_n = 3}) == 0);
    while (fc_store_step(s) == 1)
        ;
    CHECK(has(s, 0, 10, 20) && tables_on_disk(disk) == 4); /* somebody reads them */
    unsigned n = 0;
    for (fc_view_first(fc_scan_view(scan)); fc_scan_view(scan)->valid; fc_view_next(fc_scan_view(scan)))
        n++;
    fc_scan_close(scan);
    CHECK(n == 40 && fc_store_step(s) == 1 && tables_on_disk(disk) == 1);
    s = again(s, disk, &o);
    CHECK(has(s, 0, 10, 20) && fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* Versions that no reader can get are left out of a table; those that a snapshot sees are not. */
static void test_shadowed(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    for (unsigned i = 0; i < 20; i++)
        CHECK(put(s, 0, 0, 10) == 0);
    fc_snapshot *one = fc_store_snapshot(s), *same = fc_store_snapshot(s);
    for (unsigned i = 0; i < 20; i++)
        CHECK(put(s, 0, 0, 10) == 0);
    CHECK(fc_store_flush(s, 0) == 0 && table_at(s, 0, 0)->meta.entries == 2);
    fc_snapshot_release(one);
    fc_snapshot_release(same);
    const uint64_t snapshots[] = {5, 9};
    CHECK(store_needed(snapshots, 2, 5, 6) && store_needed(snapshots, 2, 3, 6) && store_needed(snapshots, 2, 9, 20));
    CHECK(!store_needed(snapshots, 2, 6, 9) && !store_needed(snapshots, 2, 3, 5));
    CHECK(!store_needed(snapshots, 2, 10, 20));
    CHECK(!store_needed(NULL, 0, 1, 9) && fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* A manifest without room for an edit: refused, and begun anew when there is. */
static void test_full_manifest(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s;
    uint32_t id = 0;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0 && put(s, 0, 0, 10) == 0);
    while (fc_store_step(s) == 1)
        ;
    uint64_t number = fc_manifest_number(s->manifest);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .capacity = 1});
    for (int i = 0; i < 3; i++)
        CHECK(fc_store_keyspace(s, (fc_slice){"second", 6}, NULL, true, &id) == -ENOSPC && fc_store_error(s) == 0);
    CHECK(fc_store_keyspace(s, (fc_slice){"second", 6}, NULL, false, &id) == FC_STORE_ENOKEYSPACE);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    CHECK(fc_store_keyspace(s, (fc_slice){"second", 6}, NULL, true, &id) == 0 && id == 1);
    CHECK(fc_manifest_number(s->manifest) > number && put(s, 1, 0, 10) == 0);
    CHECK(fc_store_close(s) == 0 && fc_disk_sim_crash(disk) == 0 && fc_store_open(disk, &o, NULL, &s) == 0);
    CHECK(has(s, 0, 0, 1) && has(s, 1, 0, 1) && fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* --- pace ------------------------------------------------------------------------------------------------------- */

static void test_pace(void)
{
    store_pressure p = {.memory = 0.4, .level0 = 7, .level0_soft = 8, .level0_hard = 20};
    p.debt_soft = 100;
    p.debt_hard = 1000;
    CHECK(store_pace(1000, &p) == 0);
    uint64_t before = 0;
    for (p.memory = 0.55; p.memory < 1.3; p.memory += 0.05) { /* the fuller, the slower, but never without end */
        uint64_t ns = store_pace(1000, &p);
        CHECK(ns >= before && ns > 0 && ns <= 1000000);
        before = ns;
    }
    CHECK(before == 1000000); /* 1 MB in a second */
    p.memory = 0;
    p.level0 = 14;
    uint64_t level0 = store_pace(1000, &p);
    p.debt = 900;
    CHECK(level0 > 5000 && store_pace(1000, &p) > level0);
}

int main(void)
{
    test_manifests();
    test_logs();
    test_much_log(false);
    test_much_log(true);
    test_changes();
    test_shadowed();
    test_full_manifest();
    test_pace();
    return check_done("store recover");
}
