/* A store's edges: opening, keyspaces, conditions, limits, full and failing disks, damage. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "fc/store.h"
#include "store_model.h"

static fc_slice text(const char *s) { return (fc_slice){s, strlen(s)}; }

static fc_disk *sim(void) { return fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1}); }

static int put(fc_store *s, uint32_t keyspace, const char *key, const char *value)
{
    fc_batch b = {0};
    fc_write_result result;
    fc_batch_put(&b, keyspace, text(key), text(value), 0);
    int error = write_all(s, &b, &result);
    fc_batch_free(&b);
    return error;
}

/* What is there; "" for nothing, "!" for an error. */
static const char *got(fc_store *s, uint32_t keyspace, const char *key)
{
    static char out[32];
    fc_read r;
    fc_value v;
    if (fc_read_begin(s, keyspace, NULL, &r) < 0)
        return "!";
    int answer = fc_read_get(&r, text(key), false, &v);
    snprintf(out, sizeof out, "%s", answer < 0 ? "!" : "");
    if (answer == 1) {
        snprintf(out, sizeof out, "%.*s", (int)v.value.n, v.value.p);
        fc_value_release(&v);
    }
    fc_read_end(&r);
    return out;
}

static bool gets(fc_store *s, uint32_t keyspace, const char *key, const char *value)
{
    return strcmp(got(s, keyspace, key), value) == 0;
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int count(void *ctx, const char *name)
{
    (void)name;
    ++*(unsigned *)ctx;
    return 0;
}

static void test_open(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1), wrong;
    fc_store *s, *other;
    unsigned names = 0;
    CHECK(memcmp(&FC_STORE_OPTIONS.log, &FC_WAL_OPTIONS, sizeof FC_WAL_OPTIONS) == 0);
    CHECK(memcmp(&FC_STORE_OPTIONS.defaults, &FC_KEYSPACE_OPTIONS, sizeof FC_KEYSPACE_OPTIONS) == 0);
    wrong = o;
    wrong.defaults.memtable_bytes = 1;
    CHECK(fc_store_open(disk, &wrong, NULL, &s) == -EINVAL);
    wrong = o;
    wrong.create = false;
    CHECK(fc_store_open(disk, &wrong, NULL, &s) == FC_STORE_EMISSING);
    CHECK(fc_disk_list(disk, "", count, &names) == 0 && names == 0); /* and nothing was made */
    wrong.create = wrong.must_create = true;
    CHECK(fc_store_open(disk, &wrong, NULL, &s) == 0);
    CHECK(fc_store_open(disk, &o, NULL, &other) == FC_STORE_ELOCKED);
    CHECK(put(s, 0, "key", "value") == 0 && gets(s, 0, "key", "value"));
    CHECK(fc_store_stop(s) == 0 && fc_store_stop(s) == 0);
    CHECK(put(s, 0, "key", "late") == FC_STORE_ECLOSED && fc_store_flush(s, 0) == FC_STORE_ECLOSED);
    CHECK(fc_store_checkpoint(s, "copy") == FC_STORE_ECLOSED && fc_store_step(s) == FC_STORE_ECLOSED);
    CHECK(fc_store_wait_room(s, 0) == FC_STORE_ECLOSED && gets(s, 0, "key", "value"));
    CHECK(fc_store_open(disk, &wrong, NULL, &other) == FC_STORE_EEXISTS);
    CHECK(fc_store_open(disk, &o, NULL, &other) == 0 && gets(other, 0, "key", "value"));
    CHECK(fc_store_close(s) == 0);
    CHECK(fc_store_close(other) == 0);
    for (int error = 0; error > -10900; error--)
        CHECK(fc_store_strerror(error) != NULL);
    fc_disk_close(disk);
}

/* --- keyspaces -------------------------------------------------------------------------------------------------- */

static void see_name(void *ctx, uint32_t id, fc_slice name)
{
    char *seen = ctx;
    snprintf(seen + strlen(seen), 64, "%u=%.*s ", id, (int)name.n, name.p);
}

static void test_keyspaces(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_keyspace_options other = o.defaults;
    fc_store *s;
    uint32_t a = 99, b = 99, again = 99;
    char long_name[300] = {0}, seen[256] = "";
    other.memtable_bytes = 100000;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    CHECK(fc_store_keyspace(s, text("default"), NULL, false, &a) == 0 && a == 0);
    CHECK(fc_store_keyspace(s, text("a"), NULL, false, &a) == FC_STORE_ENOKEYSPACE);
    CHECK(fc_store_keyspace(s, (fc_slice){long_name, 256}, NULL, true, &a) == FC_STORE_ESIZE);
    CHECK(fc_store_keyspace(s, text(""), NULL, true, &a) == FC_STORE_ESIZE);
    CHECK(fc_store_keyspace(s, text("a"), &other, true, &a) == 0 && a == 1);
    CHECK(fc_store_keyspace(s, text("b"), NULL, true, &b) == 0 && b == 2);
    CHECK(put(s, a, "k", "a") == 0 && put(s, b, "k", "b") == 0 && gets(s, a, "k", "a") && gets(s, b, "k", "b"));
    CHECK(gets(s, 0, "k", "") && gets(s, 7, "k", "!") && put(s, 7, "k", "v") == FC_STORE_ENOKEYSPACE);
    CHECK(fc_store_flush(s, a) == 0 && fc_store_flush(s, 7) == FC_STORE_ENOKEYSPACE);
    CHECK(put(s, a, "l", "memory") == 0);

    fc_read held;
    fc_value v;
    CHECK(fc_read_begin(s, a, NULL, &held) == 0);
    CHECK(fc_store_drop(s, 0) == -EINVAL && fc_store_drop(s, a) == 0 && fc_store_drop(s, a) == FC_STORE_ENOKEYSPACE);
    CHECK(gets(s, a, "k", "!") && put(s, a, "k", "v") == FC_STORE_ENOKEYSPACE);
    CHECK(fc_read_get(&held, text("k"), false, &v) == 1 && v.value.p[0] == 'a'); /* who has it keeps it */
    fc_value_release(&v);
    fc_read_end(&held);
    while (fc_store_step(s) == 1)
        ;
    CHECK(fc_store_keyspace(s, text("a"), NULL, true, &again) == 0 && again == 3 && gets(s, again, "k", ""));
    CHECK(put(s, again, "k", "new") == 0);
    fc_store_keyspaces(s, see_name, seen);
    CHECK(strcmp(seen, "0=default 2=b 3=a ") == 0);
    CHECK(fc_store_close(s) == 0 && fc_store_open(disk, &o, NULL, &s) == 0); /* the log has some of the one dropped */
    seen[0] = '\0';
    fc_store_keyspaces(s, see_name, seen);
    CHECK(strcmp(seen, "0=default 2=b 3=a ") == 0);
    CHECK(gets(s, again, "k", "new") && gets(s, b, "k", "b") && gets(s, a, "k", "!"));
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* Options that are changed hold for what comes, after opening, too; a batch in the log for which they have no room is
 * there all the same. */
static void test_smaller_options(void)
{
    static char value[14000];
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s;
    fc_batch b = {0};
    fc_write_result result;
    o.log.record_bytes_max = 256 << 10;
    o.log.segment_bytes = 1 << 20;
    o.log.buffer_bytes_max = 1 << 20;
    o.defaults.memtable_bytes = 1 << 20;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    for (char k = 'a'; k < 'k'; k++)
        fc_batch_put(&b, 0, (fc_slice){&k, 1}, (fc_slice){value, sizeof value}, 0);
    CHECK(fc_store_write(s, &b, 0, &result) == 0);
    CHECK(fc_store_close(s) == 0);
    o.defaults.memtable_bytes = FC_MEMTABLE_MIN_BYTES;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    fc_keyspace_stats stats;
    CHECK(fc_store_get_keyspace_stats(s, 0, &stats) == 0 && stats.memtable_entries == 10);
    CHECK(fc_store_write(s, &b, 0, &result) == FC_STORE_ESIZE); /* but not a new one */
    CHECK(fc_store_write(s, &b, 0, &result) == FC_STORE_ESIZE && put(s, 0, "k", "v") == 0);
    fc_batch_free(&b);
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* --- batches ---------------------------------------------------------------------------------------------------- */

static void test_batches(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s = opened(disk, &o);
    fc_batch b = {0}, more = {0};
    fc_batch_item item;
    fc_write_result result;
    size_t at = 0;
    char *large = calloc(1, FC_KEY_MAX + 1);
    CHECK(fc_store_write(s, &b, 0, &result) == 0); /* nothing */
    fc_batch_put(&b, 0, text("a"), text("1"), 77);
    fc_batch_delete(&more, 1, text("b"));
    fc_batch_delete_range(&more, 1, text("c"), text(""));
    fc_batch_append(&b, &more);
    CHECK(b.operations == 3 && b.ranges == 1 && b.unbounded == 1 && b.several && b.error == 0);
    CHECK(fc_batch_next((fc_slice){b.p, b.n}, &at, &item) == 1 && item.type == FC_KEY_EXPIRING);
    CHECK(item.expires_ms == 77 && item.keyspace == 0);
    CHECK(fc_key_equal(item.key, text("a")) && fc_key_equal(item.value, text("1")));
    CHECK(fc_batch_next((fc_slice){b.p, b.n}, &at, &item) == 1 && item.type == FC_KEY_DELETE && item.keyspace == 1);
    CHECK(fc_batch_next((fc_slice){b.p, b.n}, &at, &item) == 1 && item.type == FC_KEY_RANGE_DELETE);
    CHECK(item.value.n == 0);
    CHECK(fc_batch_next((fc_slice){b.p, b.n}, &at, &item) == 0);
    for (size_t n = 0; n < b.n; n++) { /* cut off anywhere it is read up to there, or refused */
        int answer = 1;
        for (at = 0; answer == 1;)
            answer = fc_batch_next((fc_slice){b.p, n}, &at, &item);
        CHECK(answer == 0 || answer == FC_STORE_EFORMAT);
    }
    fc_batch_clear(&b);
    fc_batch_put(&b, 0, (fc_slice){large, FC_KEY_MAX + 1}, text(""), 0);
    CHECK(b.error == FC_STORE_ESIZE && fc_store_write(s, &b, 0, &result) == FC_STORE_ESIZE);
    fc_batch_clear(&b);
    memset(large, 0xFF, FC_KEY_MAX);
    fc_batch_put(&b, 0, (fc_slice){large, FC_KEY_MAX}, text(""), 0);
    CHECK(b.error == FC_STORE_ESIZE);
    fc_batch_clear(&b);
    fc_batch_put(&b, 0, text("k"), (fc_slice){large, 20000}, 0); /* beyond a record of the log */
    CHECK(fc_store_write(s, &b, 0, &result) == FC_STORE_ESIZE && gets(s, 0, "k", ""));
    fc_batch_clear(&b);
    fc_batch_put(&b, 0, text("k"), text("v"), 0);
    fc_batch_put(&b, 9, text("k"), text("v"), 0);
    CHECK(fc_store_write(s, &b, 0, &result) == FC_STORE_ENOKEYSPACE && gets(s, 0, "k", ""));
    fc_batch_free(&b);
    fc_batch_free(&more);
    free(large);
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* Everything goes, in memtables and tables, with the largest keys that can be; what comes later does not. */
static void test_delete_to_the_end(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s;
    fc_batch b = {0};
    fc_write_result result;
    char *large = malloc(FC_KEY_MAX);
    memset(large, 0xFF, FC_KEY_MAX);
    large[FC_KEY_MAX - 3] = 'x';
    o.log.segment_bytes = o.log.buffer_bytes_max = 8 << 20;
    o.log.record_bytes_max = 4 << 20;
    o.defaults.memtable_bytes = 32 << 20;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    for (int flushed = 0; flushed < 3; flushed++) {
        fc_read r;
        fc_value v;
        CHECK(put(s, 0, "a", "a") == 0 && put(s, 0, "z", "z") == 0);
        fc_batch_put(&b, 0, (fc_slice){large, FC_KEY_MAX}, text("large"), 0);
        CHECK(fc_store_write(s, &b, 0, &result) == 0);
        if (flushed == 1)
            CHECK(fc_store_flush(s, 0) == 0);
        fc_batch_clear(&b);
        fc_batch_put(&b, 0, text("zz"), text("same batch"), 0);
        fc_batch_delete_range(&b, 0, text("b"), text(""));
        fc_batch_put(&b, 0, text("y"), text("later"), 0);
        CHECK(fc_store_write(s, &b, 0, &result) == 0);
        fc_batch_clear(&b);
        if (flushed == 2)
            CHECK(fc_store_close(s) == 0 && fc_store_open(disk, &o, NULL, &s) == 0);
        CHECK(gets(s, 0, "a", "a") && gets(s, 0, "z", "") && gets(s, 0, "zz", "") && gets(s, 0, "y", "later"));
        CHECK(fc_read_begin(s, 0, NULL, &r) == 0 && fc_read_get(&r, (fc_slice){large, FC_KEY_MAX}, false, &v) == 0);
        fc_read_end(&r);
    }
    fc_batch_free(&b);
    free(large);
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* --- conditions ------------------------------------------------------------------------------------------------- */

static int expecting(fc_store *s, const char *key, uint64_t version, unsigned flags, fc_write_result *result)
{
    fc_batch b = {0};
    fc_batch_expect(&b, 0, text("never"), 0);
    fc_batch_expect(&b, 0, text(key), version);
    fc_batch_put(&b, 0, text(key), text("changed"), 0);
    int error = fc_store_write(s, &b, flags, result);
    fc_batch_free(&b);
    return error;
}

static void test_conditions(void)
{
    fc_disk *disk = sim();
    fc_store_options o = small(1);
    fc_store *s = opened(disk, &o);
    fc_write_result result;
    fc_batch b = {0};
    test_now = 1000;
    CHECK(expecting(s, "k", 1, 0, &result) == FC_STORE_ECONFLICT && result.conflict == 1 && gets(s, 0, "k", ""));
    CHECK(expecting(s, "k", 0, 0, &result) == 0 && result.version == 1 && gets(s, 0, "k", "changed"));
    CHECK(expecting(s, "k", 0, 0, &result) == FC_STORE_ECONFLICT);
    CHECK(expecting(s, "k", 1, 0, &result) == 0 && result.version == 2);
    fc_batch_expect(&b, 0, text("k"), 2); /* nothing but a look */
    CHECK(fc_store_write(s, &b, 0, &result) == 0);
    fc_batch_clear(&b);
    fc_batch_put(&b, 0, text("e"), text("v"), 1010);
    CHECK(fc_store_write(s, &b, 0, &result) == 0 && result.version == 3);
    CHECK(expecting(s, "e", 0, 0, &result) == FC_STORE_ECONFLICT);
    test_now = 1010;
    CHECK(expecting(s, "e", 0, 0, &result) == 0); /* what has expired is not there */
    CHECK(fc_store_flush(s, 0) == 0 && fc_store_close(s) == 0);
    s = opened(disk, &o); /* nothing is cached now */
    CHECK(expecting(s, "k", 2, FC_WRITE_MEMORY_ONLY, &result) == FC_EWOULDREAD);
    CHECK(expecting(s, "k", 2, 0, &result) == 0 && gets(s, 0, "k", "changed"));
    CHECK(expecting(s, "k", result.version, FC_WRITE_MEMORY_ONLY, &result) == 0);
    fc_batch_free(&b);
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

int main(void)
{
    test_open();
    test_keyspaces();
    test_smaller_options();
    test_batches();
    test_delete_to_the_end();
    test_conditions();
    return check_done("store life");
}
