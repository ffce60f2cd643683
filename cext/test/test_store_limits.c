/* What happens when something runs out or breaks: memtables, the log, the disk's room, the disk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "fc/store.h"
#include "store_model.h"

static int put_bytes(fc_store *s, uint32_t keyspace, unsigned key, size_t n, unsigned flags, fc_write_result *result)
{
    static char value[8000];
    char name[16];
    fc_batch b = {0};
    snprintf(name, sizeof name, "%06u", key);
    memset(value, (char)key, n);
    fc_batch_put(&b, keyspace, (fc_slice){name, 6}, (fc_slice){value, n}, 0);
    int error = fc_store_write(s, &b, flags, result);
    fc_batch_free(&b);
    return error;
}

static unsigned number_of(fc_slice key)
{
    char text[8] = {0};
    memcpy(text, key.p, key.n < 7 ? key.n : 7);
    return (unsigned)strtoul(text, NULL, 10);
}

/* Keys 0 to n - 1 and no others, of their values; found[i]: whether it has to be there. */
static bool has_all(fc_store *s, uint32_t keyspace, const bool *found, unsigned n)
{
    fc_scan *scan;
    fc_scan_options o = {.fill_cache = true};
    if (fc_scan_open(s, keyspace, &o, &scan) < 0)
        return false;
    fc_view *v = fc_scan_view(scan);
    bool same = true;
    fc_view_first(v);
    for (unsigned i = 0; i < n; i++) {
        if (!found[i])
            continue;
        same = same && v->valid && number_of(v->key) == i && v->value.p[0] == (char)i;
        if (v->valid)
            fc_view_next(v);
    }
    same = same && !v->valid && v->error == 0;
    fc_scan_close(scan);
    return same;
}

/* --- memory ----------------------------------------------------------------------------------------------------- */

static void test_busy(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_store_options o = small(1);
    fc_store *s = opened(disk, &o);
    fc_write_result result;
    bool found[400] = {false};
    unsigned busy = 0;
    for (unsigned i = 0; i < 400; i++) {
        int error = put_bytes(s, 0, i, 1000, 0, &result);
        found[i] = error == 0;
        if (error == 0)
            continue;
        CHECK(error == FC_STORE_EBUSY);
        fc_store_stats stats;
        fc_keyspace_stats ks;
        fc_store_get_stats(s, &stats);
        CHECK(stats.busy == ++busy && fc_store_get_keyspace_stats(s, 0, &ks) == 0);
        CHECK(ks.memtables <= o.defaults.memtables_max);
        CHECK(fc_store_wait_room(s, UINT64_MAX) == 0);
    }
    CHECK(busy > 2 && has_all(s, 0, found, 400));
    CHECK(fc_store_close(s) == 0);
    s = opened(disk, &o);
    CHECK(has_all(s, 0, found, 400));
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* A keyspace that was written to once does not keep the log for ever. */
static void test_log_bytes(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_store_options o = small(1);
    fc_store *s = opened(disk, &o);
    fc_write_result result;
    fc_keyspace_stats ks;
    uint64_t longest = 0;
    CHECK(put_bytes(s, 1, 1, 10, 0, &result) == 0);
    for (unsigned i = 0; i < 3000; i++) {
        fc_store_stats stats;
        while (put_bytes(s, 0, i % 100, 1000, 0, &result) == FC_STORE_EBUSY)
            CHECK(fc_store_wait_room(s, UINT64_MAX) == 0);
        while (i % 10 == 0 && fc_store_step(s) == 1)
            ;
        fc_store_get_stats(s, &stats);
        longest = stats.log.end - stats.log.first > longest ? stats.log.end - stats.log.first : longest;
    }
    CHECK(fc_store_get_keyspace_stats(s, 1, &ks) == 0 && ks.flushes == 1);
    CHECK(longest > o.log_bytes_max && longest < 2 * o.log_bytes_max);
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* --- the disk --------------------------------------------------------------------------------------------------- */

/* A full disk: writes and flushes are refused, nothing is lost, and when there is room again all goes on. */
static void test_full_disk(void)
{
    for (uint64_t capacity = 100000; capacity < 400000; capacity += 30000) {
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = capacity});
        fc_store_options o = small(capacity);
        o.log.buffer_bytes_max = 16384; /* half a segment: fc/wal.h, invariant 4 */
        fc_store *s = opened(disk, &o);
        fc_write_result result;
        bool found[700] = {false};
        unsigned full = 0;
        while (fc_store_step(s) == 1) /* the log's spare and ballast */
            ;
        fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = capacity, .capacity = capacity});
        for (unsigned i = 0; i < 700; i++) {
            if (i == 500)
                fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = capacity});
            int error = put_bytes(s, 0, i, 1000, 0, &result);
            if (error == FC_STORE_EBUSY) {
                int room = fc_store_wait_room(s, UINT64_MAX);
                CHECK(room == 0 || room == -ENOSPC);
                error = room == 0 ? put_bytes(s, 0, i, 1000, 0, &result) : room;
            }
            CHECK(error == 0 || error == -ENOSPC || error == FC_STORE_EBUSY);
            found[i] = error == 0;
            full += error != 0;
            if (i % 3 == 0)
                fc_store_step(s);
        }
        CHECK(full > 20 && fc_store_error(s) == 0);
        CHECK(found[690] && has_all(s, 0, found, 700));
        CHECK(fc_store_flush(s, 0) == 0 && fc_store_close(s) == 0);
        s = opened(disk, &o);
        CHECK(has_all(s, 0, found, 700));
        CHECK(fc_store_close(s) == 0);
        fc_disk_close(disk);
    }
}

/* A sync that fails: read-only from then on, for good; opened again it has what was durable. */
static void test_failing_disk(void)
{
    unsigned failed = 0;
    for (uint64_t seed = 1; seed < 60; seed++) {
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        fc_store_options o = small(seed);
        fc_store *s = opened(disk, &o);
        fc_write_result result;
        bool found[200] = {false};
        unsigned n = 0;
        int error = 0;
        fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed, .sync_fail_ppm = 20000, .write_fail_ppm = 5000});
        while (n < 200 && error == 0) {
            error = put_bytes(s, 0, n, 1000, 0, &result);
            if (error == FC_STORE_EBUSY)
                error = fc_store_wait_room(s, UINT64_MAX);
            else if (error == 0)
                found[n++] = true;
            if (error == 0)
                error = fc_store_step(s) < 0 ? -EIO : 0;
        }
        fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed});
        if (error < 0) {
            failed++;
            CHECK(error == -EIO && fc_store_error(s) == -EIO);
            CHECK(put_bytes(s, 0, 0, 10, 0, &result) == -EIO && fc_store_flush(s, 0) == -EIO);
            CHECK(fc_store_wait_room(s, 0) == -EIO && fc_store_step(s) == -EIO && fc_store_checkpoint(s, "x") == -EIO);
            CHECK(has_all(s, 0, found, 200)); /* reads go on */
        }
        fc_wal_pos durable = fc_wal_durable(fc_store_log(s));
        CHECK((fc_store_close(s) < 0) == (error < 0));
        CHECK(fc_disk_sim_crash(disk) == 0);
        s = opened(disk, &o);
        CHECK(s && (n < 2 || durable < 3000 || !has_all(s, 0, (bool[200]){false}, 200)));
        CHECK(fc_store_close(s) == 0);
        fc_disk_close(disk);
    }
    CHECK(failed > 20);
}

/* --- damage ----------------------------------------------------------------------------------------------------- */

typedef struct files {
    char table[64], manifest[64], log[64];
} files;

static int note(void *ctx, const char *name)
{
    files *f = ctx;
    if (strstr(name, ".tbl"))
        snprintf(f->table, sizeof f->table, "%.60s", name);
    if (strstr(name, "MANIFEST"))
        snprintf(f->manifest, sizeof f->manifest, "%.60s", name);
    if (strstr(name, ".wal"))
        snprintf(f->log, sizeof f->log, "%.60s", name);
    return 0;
}

static void refused(fc_disk *disk, const fc_store_options *o, const char *name)
{
    fc_damage damage;
    fc_store *s;
    CHECK(fc_store_open(disk, o, &damage, &s) == FC_STORE_ECORRUPT);
    CHECK(strcmp(damage.name, name) == 0 && damage.what != NULL);
}

static void test_damage(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_store_options o = small(1);
    fc_store *s = opened(disk, &o);
    fc_write_result result;
    fc_damage damage;
    files f = {"", "", ""};
    bool found[20] = {false};
    for (unsigned i = 0; i < 10; i++)
        CHECK(put_bytes(s, 0, i, 1000, 0, &result) == 0);
    CHECK(fc_store_flush(s, 0) == 0 && !fc_store_damage(s, &damage));
    for (unsigned i = 10; i < 20; i++) {
        CHECK(put_bytes(s, 0, i, 100, 0, &result) == 0);
        CHECK(fc_wal_wait(fc_store_log(s), result.pos) == 0);
    }
    CHECK(fc_store_close(s) == 0 && fc_disk_list(disk, "", note, &f) == 0);
    fc_file *file;
    CHECK(fc_disk_file(disk, f.table, FC_FILE_READ, &file) == 0);
    uint64_t table_bits = (uint64_t)fc_file_size(file) * 8;
    fc_file_close(file);

    const struct {
        const char *name;
        uint64_t bit;
    } places[] = {{f.manifest, 300}, {"CURRENT", 80}, {f.table, table_bits - 100}, {f.log, 8 * 11000}};
    for (size_t i = 0; i < FC_ARRAY_LEN(places); i++) {
        CHECK(fc_disk_sim_flip(disk, places[i].name, places[i].bit) == 0);
        refused(disk, &o, places[i].name);
        CHECK(fc_disk_sim_flip(disk, places[i].name, places[i].bit) == 0);
    }
    CHECK(fc_disk_rename(disk, f.table, "hidden") == 0);
    refused(disk, &o, f.table);
    CHECK(fc_disk_rename(disk, "hidden", f.table) == 0 && fc_disk_rename(disk, "CURRENT", "hidden") == 0);
    refused(disk, &o, "CURRENT"); /* not taken for a new store */
    CHECK(fc_disk_rename(disk, "hidden", "CURRENT") == 0);

    CHECK(fc_disk_sim_flip(disk, f.table, 800) == 0); /* in a data block: found when it is read */
    s = opened(disk, &o);
    CHECK(!fc_store_damage(s, &damage) && !has_all(s, 0, found, 0));
    CHECK(fc_store_damage(s, &damage) && strcmp(damage.name, f.table) == 0 && damage.offset == 0);
    fc_read r;
    fc_value v;
    CHECK(fc_read_begin(s, 0, NULL, &r) == 0);
    CHECK(fc_read_get(&r, (fc_slice){"000000", 6}, false, &v) == FC_STORE_ECORRUPT);
    CHECK(fc_read_get(&r, (fc_slice){"000015", 6}, false, &v) == 1);
    fc_value_release(&v);
    fc_read_end(&r);
    CHECK(fc_store_close(s) == 0);
    CHECK(fc_disk_sim_flip(disk, f.table, 800) == 0);
    memset(found, true, sizeof found);
    s = opened(disk, &o);
    CHECK(has_all(s, 0, found, 20) && fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* --- the manifest ----------------------------------------------------------------------------------------------- */

/* It is begun anew before it gets too long, and only the last one stays. */
static void test_long_manifest(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_store_options o = small(1);
    fc_store *s = opened(disk, &o);
    fc_write_result result;
    fc_store_stats stats;
    char name[FC_KEYSPACE_NAME_MAX];
    uint32_t id = 0;
    uint64_t longest = 0;
    files before = {"", "", ""}, after = {"", "", ""};
    memset(name, 'n', sizeof name);
    CHECK(put_bytes(s, 0, 0, 100, 0, &result) == 0 && fc_store_flush(s, 0) == 0);
    CHECK(fc_disk_list(disk, "", note, &before) == 0);
    for (unsigned i = 0; i < 15000; i++) {
        fc_keyspace_options options = o.defaults;
        options.level0_tables = 1 + i;
        if (fc_store_keyspace(s, (fc_slice){name, sizeof name}, &options, true, &id) < 0)
            CHECK(!"options cannot be changed");
        fc_store_get_stats(s, &stats);
        longest = stats.manifest_bytes > longest ? stats.manifest_bytes : longest;
    }
    CHECK(longest > 4 << 20 && longest < 5 << 20 && stats.manifest_bytes < longest);
    CHECK(put_bytes(s, id, 0, 100, 0, &result) == 0 && fc_store_close(s) == 0);
    CHECK(fc_disk_list(disk, "", note, &after) == 0 && strcmp(before.manifest, after.manifest) != 0);
    s = opened(disk, &o);
    bool found[1] = {true};
    CHECK(has_all(s, 0, found, 1) && has_all(s, id, found, 1));
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

int main(void)
{
    test_busy();
    test_log_bytes();
    test_full_disk();
    test_failing_disk();
    test_damage();
    test_long_manifest();
    return check_done("store limits");
}
