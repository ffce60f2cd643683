/* Compaction in a store: tiny memtables, tables and levels, with snapshots and scans held meanwhile; nothing that a
 * reader sees changes, nothing that nobody sees stays, no file is left behind. */
#include <errno.h>
#include <pthread.h>

#include "check.h"
#include "fc/hash.h"
#include "fc/store.h"
#include "store_model.h"

#define HELD 3
#define WRITES 1500

static fc_store_options tiny(uint64_t seed, bool threaded)
{
    fc_store_options o = small(seed);
    o.threaded = threaded;
    o.defaults.table_bytes = 4096;
    o.defaults.level_bytes = 12000;
    o.defaults.level0_tables = 2;
    o.defaults.level_factor = 2;
    return o;
}

static void write_some(fc_store *s, model *m, uint64_t *chance)
{
    fc_batch b = {0};
    fc_write_result result;
    for (uint64_t n = 1 + fc_hash_next(chance) % 4; n > 0; n--)
        model_operation(m, chance, test_now, &b, true);
    CHECK(write_all(s, &b, &result) == 0);
    fc_batch_free(&b);
}

/* --- what is held ------------------------------------------------------------------------------------------------- */

typedef struct held {
    model m;
    uint64_t now;
    unsigned space;
    fc_snapshot *snapshot;
    fc_scan *scan;
} held;

/* A scan sees what was there when it was opened, at the time it was then. */
static void check_scan(const held *h)
{
    char text[24];
    fc_view *v = fc_scan_view(h->scan);
    fc_view_first(v);
    for (unsigned k = 0; k < MODEL_KEYS; k++) {
        const model_value *want = &h->m.values[h->space][k];
        if (!model_lives(want, h->now))
            continue;
        CHECK(v->valid && fc_key_equal(v->key, model_key(k, text)) && model_is_value(want, v->value));
        if (v->valid)
            fc_view_next(v);
    }
    CHECK(!v->valid && v->error == 0);
}

static void let_go(fc_store *s, held *h)
{
    if (h->snapshot)
        CHECK(model_same(s, &h->m, h->snapshot, test_now));
    if (h->scan)
        check_scan(h);
    fc_snapshot_release(h->snapshot);
    fc_scan_close(h->scan);
    h->snapshot = NULL;
    h->scan = NULL;
}

static void change_held(fc_store *s, held *h, const model *m, uint64_t d)
{
    if (h->snapshot || h->scan) {
        let_go(s, h);
        return;
    }
    *h = (held){.m = *m, .now = test_now, .space = d & 1};
    if (d & 2)
        h->snapshot = fc_store_snapshot(s);
    else
        CHECK(fc_scan_open(s, h->space, &(fc_scan_options){.fill_cache = true}, &h->scan) == 0);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static int count_table(void *ctx, const char *name)
{
    size_t n = strlen(name);
    *(uint64_t *)ctx += n > 4 && strcmp(name + n - 4, ".tbl") == 0;
    return 0;
}

static uint64_t files_of(fc_disk *disk)
{
    uint64_t n = 0;
    CHECK(fc_disk_list(disk, "", count_table, &n) == 0);
    return n;
}

static uint64_t tables_of(fc_store *s, uint32_t keyspace, fc_level_stats *total)
{
    fc_keyspace_stats stats;
    *total = (fc_level_stats){0};
    CHECK(fc_store_get_keyspace_stats(s, keyspace, &stats) == 0);
    for (unsigned l = 0; l < FC_STORE_LEVELS; l++) {
        total->tables += stats.levels[l].tables;
        total->entries += stats.levels[l].entries;
        total->deletes += stats.levels[l].deletes;
    }
    return total->tables;
}

/* With nothing held and everything compacted only what lives is there, in files that count. */
static void check_all_compacted(fc_store *s, fc_disk *disk, const model *m)
{
    fc_slice all = {"", 0};
    fc_level_stats total;
    uint64_t tables = 0;
    for (unsigned space = 0; space < MODEL_SPACES; space++) {
        uint64_t live = 0;
        CHECK(fc_store_compact(s, space, all, all) == 0);
        for (unsigned k = 0; k < MODEL_KEYS; k++)
            live += model_lives(&m->values[space][k], test_now);
        tables += tables_of(s, space, &total);
        CHECK(total.entries == live && total.deletes == 0);
    }
    while (fc_store_step(s) == 1)
        ;
    CHECK(files_of(disk) == tables || fc_store_step(s) == 0); /* threads may still be about to remove one */
}

/* --- the test ----------------------------------------------------------------------------------------------------- */

static void test_random(uint64_t seed, bool threaded)
{
    static held helds[HELD];
    static model m;
    uint64_t chance = seed, compactions = 0, moves = 0;
    fc_store_options o = tiny(seed, threaded);
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
    fc_store *s = opened(disk, &o);
    fc_keyspace_stats stats;
    m = (model){0};
    memset(helds, 0, sizeof helds);
    for (int i = 0; i < WRITES && s; i++) {
        uint64_t d = fc_hash_next(&chance);
        write_some(s, &m, &chance);
        __atomic_store_n(&test_now, test_now + (d >> 8) % 3, __ATOMIC_RELAXED);
        for (uint64_t k = (d >> 16) % 4; k > 0; k--)
            CHECK(fc_store_step(s) >= 0);
        if ((d >> 20) % 24 == 0)
            change_held(s, &helds[(d >> 32) % HELD], &m, d >> 36);
        if ((d >> 24) % 12 == 0)
            CHECK(fc_store_flush(s, d >> 40 & 1) == 0);
        if ((d >> 28) % 16 == 0)
            CHECK(model_same(s, &m, NULL, test_now));
        if ((d >> 28) % 128 == 1) {
            char low[24], high[24];
            fc_slice end = d >> 48 & 1 ? model_key((d >> 49) % MODEL_KEYS, high) : (fc_slice){"", 0};
            CHECK(fc_store_compact(s, d >> 40 & 1, model_key((d >> 41) % MODEL_KEYS, low), end) == 0);
            CHECK(model_same(s, &m, NULL, test_now));
        }
        if (i % 500 == 499) {
            for (int k = 0; k < HELD; k++)
                let_go(s, &helds[k]);
            if (i % 1000 == 499)
                check_all_compacted(s, disk, &m);
            CHECK(fc_store_get_keyspace_stats(s, 0, &stats) == 0);
            compactions += stats.compactions;
            moves += stats.moved_tables;
            fc_level_stats total;
            uint64_t tables = tables_of(s, 0, &total) + tables_of(s, 1, &total);
            CHECK(fc_store_close(s) == 0);
            CHECK(files_of(disk) == tables || threaded);
            s = opened(disk, &o);
            CHECK(s && model_same(s, &m, NULL, test_now));
            CHECK(files_of(disk) == tables_of(s, 0, &total) + tables_of(s, 1, &total) || threaded);
        }
    }
    printf("store compaction: seed %lu%s: %lu compactions, %lu tables moved\n", (unsigned long)seed,
           threaded ? " with threads" : "", (unsigned long)compactions, (unsigned long)moves);
    CHECK(compactions > 50);
    if (s)
        CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* A keyspace that goes while it is compacted leaves nothing behind. */
static void test_drop(void)
{
    uint64_t given_up = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        fc_store_options o = tiny(seed, false);
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        fc_batch b = {0};
        fc_write_result result;
        char key[16];
        uint32_t id;
        o.defaults.level0_tables = 3;
        fc_store *s = opened(disk, &o);
        CHECK(fc_store_keyspace(s, (fc_slice){"passing", 7}, NULL, true, &id) == 0);
        for (int flush = 0; flush < 3; flush++) {
            fc_batch_clear(&b);
            for (int i = 0; i < 60; i++)
                fc_batch_put(&b, id, (fc_slice){key, (size_t)snprintf(key, 16, "%d", i)}, (fc_slice){"value", 5}, 0);
            CHECK(fc_store_write(s, &b, 0, &result) == 0 && fc_store_flush(s, id) == 0);
        }
        for (uint64_t i = 0; i < seed % 16; i++)
            CHECK(fc_store_step(s) >= 0);
        fc_level_stats total;
        given_up += files_of(disk) > tables_of(s, id, &total);
        CHECK(fc_store_drop(s, id) == 0);
        while (fc_store_step(s) == 1)
            ;
        CHECK(files_of(disk) == 0 && fc_store_error(s) == 0);
        CHECK(fc_store_compact(s, id, (fc_slice){"", 0}, (fc_slice){"", 0}) == FC_STORE_ENOKEYSPACE);
        fc_batch_free(&b);
        CHECK(fc_store_close(s) == 0);
        fc_disk_close(disk);
    }
    CHECK(given_up > 5);
}

static void fill(fc_store *s, unsigned flushes)
{
    static char value[1000];
    fc_batch b = {0};
    fc_write_result result;
    char key[16];
    for (unsigned f = 0; f < flushes; f++) {
        fc_batch_clear(&b);
        for (unsigned i = 0; i < 10; i++)
            fc_batch_put(&b, 0, (fc_slice){key, (size_t)snprintf(key, 16, "%u", i * 2 + f)},
                         (fc_slice){value, sizeof value}, 0);
        CHECK(fc_store_write(s, &b, 0, &result) == 0 && fc_store_flush(s, 0) == 0);
    }
    fc_batch_free(&b);
}

static uint64_t entries_after_work(fc_store *s)
{
    fc_level_stats total;
    int more;
    while ((more = fc_store_step(s)) == 1)
        ;
    CHECK(more == 0);
    tables_of(s, 0, &total);
    return total.entries;
}

/* What was kept for a snapshot goes when the snapshot goes, at once if it is much, else when it is asked for; what
 * expires goes with time. */
static void test_waste(void)
{
    fc_store_options o = tiny(0, false);
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_slice all = {"", 0};
    fc_batch b = {0};
    fc_write_result result;
    o.defaults.table_bytes = 1 << 20; /* one table */
    fc_store *s = opened(disk, &o);
    fill(s, 1);
    fc_snapshot *snapshot = fc_store_snapshot(s);
    fill(s, 1);
    CHECK(fc_store_compact(s, 0, all, all) == 0 && entries_after_work(s) == 20);
    fc_snapshot_release(snapshot);
    CHECK(entries_after_work(s) == 10);
    snapshot = fc_store_snapshot(s);
    fc_batch_delete(&b, 0, (fc_slice){"18", 2});
    CHECK(fc_store_write(s, &b, 0, &result) == 0);
    CHECK(fc_store_compact(s, 0, all, all) == 0 && entries_after_work(s) == 11);
    fc_snapshot_release(snapshot);
    CHECK(entries_after_work(s) == 11);
    CHECK(fc_store_compact(s, 0, all, all) == 0 && entries_after_work(s) == 9);
    fc_batch_clear(&b);
    for (char key = 'a'; key < 'y'; key++)
        fc_batch_put(&b, 0, (fc_slice){&key, 1}, (fc_slice){"v", 1}, test_now + 100);
    CHECK(fc_store_write(s, &b, 0, &result) == 0);
    CHECK(fc_store_compact(s, 0, all, all) == 0 && entries_after_work(s) == 33);
    test_now += 30000;
    CHECK(entries_after_work(s) == 9);
    fc_batch_free(&b);
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* Without room for its outputs a compaction is given up, nothing else; with room it is made up for. */
static void test_no_space(void)
{
    fc_store_options o = tiny(0, false); /* no seed: the log, flushes and compaction in this order */
    o.defaults.level0_tables = 4;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_store *s = opened(disk, &o);
    fc_slice all = {"", 0};
    fill(s, 3);
    CHECK(fc_store_flush(s, 0) == 0 && files_of(disk) == 3);
    unsigned refused = 0;
    int error = -ENOSPC;
    fc_level_stats total;
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .capacity = 1 << 30});
    uint64_t used = (1 << 30) - (uint64_t)fc_disk_free_bytes(disk);
    for (uint64_t room = 0; error == -ENOSPC && room < 100000; room += 50) { /* for an edit of the manifest, too */
        fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .capacity = used + room});
        error = fc_store_compact(s, 0, all, all);
        CHECK(error == 0 || (files_of(disk) == 3 && fc_store_error(s) == 0));
        CHECK(fc_disk_sync_dir(disk, "") == 0); /* before, what was removed still takes its room */
        refused += error == -ENOSPC;
    }
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    CHECK(refused > 100 && fc_store_compact(s, 0, all, all) == 0);
    CHECK(tables_of(s, 0, &total) < 8 && total.entries == 21);
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* A sync that fails makes the store read-only; what it held is there when it is opened again. */
static void test_failed_sync(void)
{
    unsigned failed = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        fc_store_options o = tiny(0, false);
        o.defaults.level0_tables = 4;
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        fc_store *s = opened(disk, &o);
        fc_slice all = {"", 0};
        fill(s, 3);
        fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed, .sync_fail_ppm = 100000, .write_fail_ppm = 50000});
        int error = fc_store_compact(s, 0, all, all);
        CHECK(error == 0 || (error == -EIO && fc_store_error(s) == -EIO));
        failed += error < 0;
        fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed});
        fc_store_close(s);
        CHECK(fc_disk_sim_crash(disk) == 0);
        s = opened(disk, &o);
        fc_level_stats total = {0};
        uint64_t tables = s ? tables_of(s, 0, &total) : 0;
        CHECK(tables == files_of(disk) && total.entries == (tables == 3 ? 30 : 21));
        fc_read r;
        fc_value v;
        CHECK(s && fc_read_begin(s, 0, NULL, &r) == 0 && fc_read_get(&r, (fc_slice){"20", 2}, false, &v) == 1);
        fc_value_release(&v);
        fc_read_end(&r);
        CHECK(s && fc_store_close(s) == 0);
        fc_disk_close(disk);
    }
    CHECK(failed > 20 && failed < 60);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        test_random(seed, false);
    for (uint64_t seed = 1; seed <= 3; seed++)
        test_random(seed, true);
    test_drop();
    test_waste();
    test_no_space();
    test_failed_sync();
    return check_done("store compaction");
}
