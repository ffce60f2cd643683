/* Manifests against the list of edits that were acknowledged: power lost at every step, every bit flipped, edits of all
 * kinds. */
#include "fc/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/hash.h"

/* What a reader saw: FC_EDIT_NUMBER items, whose numbers count 1, 2, 3. `state`: how far the first record goes. */
typedef struct seen {
    uint64_t last, items;
    bool gap;
} seen;

static int see(void *ctx, const fc_edit_item *item)
{
    seen *s = ctx;
    s->gap = s->gap || item->kind != FC_EDIT_NUMBER || (s->items > 0 && item->number != s->last + 1);
    s->last = item->number;
    s->items++;
    return 0;
}

static void add_number(fc_edit *e, uint64_t number)
{
    fc_edit_add(e, &(fc_edit_item){.kind = FC_EDIT_NUMBER, .id = 1, .number = number});
}

/* Reads, begins a manifest with what was read, appends some edits; `acked` is the last number that was acknowledged,
 * `tried` the last one that was given at all. */
static int live(fc_disk *disk, uint64_t number, uint64_t *acked, uint64_t *tried, uint64_t chance)
{
    seen s = {0};
    fc_manifest_report report;
    fc_edit e = {0};
    fc_manifest *m;
    int error = fc_manifest_read(disk, see, &s, &report);
    if (error < 0 && error != -ENOENT)
        return error;
    CHECK(!s.gap && s.last >= *acked && s.last <= *tried);
    *tried = s.last;
    add_number(&e, s.last);
    error = fc_manifest_create(disk, number, &e, &m);
    if (error == 0) {
        *acked = s.last;
        for (int i = 0; i < 6 && error == 0; i++) {
            fc_edit_clear(&e);
            for (uint64_t k = 1 + fc_hash_next(&chance) % 40; k > 0; k--)
                add_number(&e, ++*tried);
            error = fc_manifest_append(m, &e);
            if (error == 0)
                *acked = *tried;
        }
        if (error < 0)
            CHECK(fc_manifest_append(m, &e) == error);
        fc_manifest_close(m);
    }
    fc_edit_free(&e);
    return error;
}

static void test_crash_at_every_step(void)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        for (uint64_t at = 1; at < 60; at++) {
            fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed, .crash_at = at});
            uint64_t acked = 0, tried = 0;
            for (uint64_t life = 1; life <= 4; life++) {
                int error = live(disk, life, &acked, &tried, seed * 100 + at);
                CHECK(error == 0 || error == -EIO);
                bool off = fc_disk_sim_off(disk);
                CHECK(fc_disk_sim_crash(disk) == 0);
                fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed + life, .crash_at = off ? at / 2 + life : 0});
            }
            fc_disk_close(disk);
        }
}

/* A sync that fails is for good; what it was for may be there or not. */
static void test_failing_disk(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_edit e = {0};
    fc_manifest *m;
    seen s = {0};
    fc_manifest_report report;
    CHECK(fc_manifest_read(disk, see, &s, &report) == -ENOENT);
    add_number(&e, 1);
    CHECK(fc_manifest_create(disk, 7, &e, &m) == 0 && fc_manifest_number(m) == 7);
    CHECK(fc_manifest_create(disk, 7, &e, &(fc_manifest *){NULL}) == -EEXIST);
    fc_edit_clear(&e);
    add_number(&e, 2);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .sync_fail_ppm = 1000000});
    CHECK(fc_manifest_append(m, &e) == -EIO);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    CHECK(fc_manifest_append(m, &e) == -EIO);
    fc_manifest_close(m);
    CHECK(fc_disk_sim_crash(disk) == 0);
    CHECK(fc_manifest_read(disk, see, &s, &report) == 0 && s.last >= 1 && s.last <= 2 && !s.gap);
    fc_edit_free(&e);
    fc_disk_close(disk);
}

/* A full disk: the old manifest still counts. */
static void test_full_disk(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    uint64_t acked = 0, tried = 0;
    CHECK(live(disk, 1, &acked, &tried, 1) == 0);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .capacity = 1});
    CHECK(live(disk, 2, &acked, &tried, 1) == -ENOSPC);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    CHECK(live(disk, 3, &acked, &tried, 1) == 0);
    fc_disk_close(disk);
}

/* Every bit of a manifest and of CURRENT: noticed, or nothing is missing. The last record is an edit's seal, so the
 * last edit is not taken for one that was torn. */
static void test_flipped_bits(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    uint64_t acked = 0, tried = 0;
    CHECK(live(disk, 1, &acked, &tried, 3) == 0);
    const char *names[] = {"MANIFEST-000001", "CURRENT"};
    unsigned noticed = 0, harmless = 0;
    for (size_t i = 0; i < 2; i++)
        for (uint64_t bit = 0; fc_disk_sim_flip(disk, names[i], bit) == 0; bit++) {
            seen s = {0};
            fc_manifest_report report;
            int error = fc_manifest_read(disk, see, &s, &report);
            if (error == FC_MANIFEST_ECORRUPT) {
                CHECK(strcmp(report.damage.name, names[i]) == 0 && report.damage.what);
                CHECK(report.damage.offset <= bit / 8);
                noticed++;
            } else {
                CHECK(error == 0 && s.last == acked && !s.gap);
                harmless++;
            }
            CHECK(fc_disk_sim_flip(disk, names[i], bit) == 0);
        }
    CHECK(noticed > 2000 && harmless == 16 * 8); /* the last seal alone */
    fc_disk_close(disk);
}

static int collect(void *ctx, const fc_edit_item *item)
{
    fc_edit *again = ctx;
    fc_edit_add(again, item);
    return 0;
}

static void test_items(void)
{
    fc_slice name = {"users", 5}, blob = {"a\0b", 3}, none = {"", 0};
    fc_table_properties p = {.id = 9, .entries = 1ull << 40, .deletes = 3, .ranges = 4, .expiring = 5, .file_bytes = 6};
    p.first_seq = 7;
    p.last_seq = FC_SEQ_MAX;
    p.first_expiry = UINT64_MAX;
    p.smallest = none;
    p.largest = blob;
    fc_edit_item items[] = {
        {.kind = FC_EDIT_NUMBER, .id = 3, .number = UINT64_MAX},
        {.kind = FC_EDIT_BYTES, .id = UINT32_MAX, .bytes = blob},
        {.kind = FC_EDIT_KEYSPACE, .keyspace = 2, .name = name, .bytes = blob},
        {.kind = FC_EDIT_DROP, .keyspace = 2},
        {.kind = FC_EDIT_ADD_TABLE, .keyspace = 1, .level = 6, .table = fc_table_meta_of(&p)},
        {.kind = FC_EDIT_REMOVE_TABLE, .keyspace = 1, .level = 6, .table = {.number = 9}},
        {.kind = FC_EDIT_CURSOR, .keyspace = 1, .level = 3, .bytes = none},
    };
    fc_edit e = {0}, again = {0};
    for (size_t i = 0; i < FC_ARRAY_LEN(items); i++)
        fc_edit_add(&e, &items[i]);
    size_t at = 0;
    for (size_t i = 0; i < FC_ARRAY_LEN(items); i++) {
        fc_edit_item got;
        CHECK(fc_edit_next((fc_slice){e.p, e.n}, &at, &got) == 1);
        CHECK(got.kind == items[i].kind && got.id == items[i].id && got.number == items[i].number);
        CHECK(got.keyspace == items[i].keyspace && got.level == items[i].level);
        CHECK(fc_key_equal(got.name, items[i].name) && fc_key_equal(got.bytes, items[i].bytes));
        CHECK(got.table.number == items[i].table.number && got.table.entries == items[i].table.entries);
        CHECK(got.table.bytes == items[i].table.bytes && got.table.last_seq == items[i].table.last_seq);
        CHECK(got.table.first_expiry == items[i].table.first_expiry && got.table.ranges == items[i].table.ranges);
        CHECK(fc_key_equal(got.table.smallest, items[i].table.smallest));
        CHECK(fc_key_equal(got.table.largest, items[i].table.largest));
    }
    fc_edit_item item;
    CHECK(fc_edit_next((fc_slice){e.p, e.n}, &at, &item) == 0);
    for (size_t n = 1; n < e.n; n++) { /* cut anywhere: the whole items before, or an error */
        int answer;
        at = 0;
        while ((answer = fc_edit_next((fc_slice){e.p, n}, &at, &item)) == 1)
            ;
        CHECK(answer == 0 || answer == FC_MANIFEST_EFORMAT);
    }
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_manifest *m;
    fc_manifest_report report;
    CHECK(fc_manifest_create(disk, 1, &e, &m) == 0);
    uint64_t bytes = fc_manifest_bytes(m);
    CHECK(fc_manifest_append(m, &again) == 0 && fc_manifest_bytes(m) > bytes); /* an empty edit is one */
    fc_manifest_close(m);
    CHECK(fc_manifest_read(disk, collect, &again, &report) == 0 && report.records == 2 && report.torn_bytes == 0);
    CHECK(again.n == e.n && memcmp(again.p, e.p, e.n) == 0);
    fc_edit_clear(&again);
    fc_edit_add(&again, &(fc_edit_item){.kind = (fc_edit_kind)50});
    CHECK(again.error == FC_MANIFEST_ESIZE);
    CHECK(fc_manifest_create(disk, 2, &again, &m) == FC_MANIFEST_ESIZE);
    CHECK(fc_manifest_read(disk, collect, &again, &report) == 0 && report.number == 1);
    char unknown[] = {(char)130, 1, 1, 'x', FC_EDIT_DROP, 1, 5}, refused[] = {50, 0};
    at = 0;
    CHECK(fc_edit_next((fc_slice){unknown, sizeof unknown}, &at, &item) == 1 && item.keyspace == 5);
    at = 0;
    CHECK(fc_edit_next((fc_slice){refused, sizeof refused}, &at, &item) == FC_MANIFEST_EFORMAT);
    CHECK(fc_disk_remove(disk, "MANIFEST-000001") == 0);
    CHECK(fc_manifest_read(disk, collect, &again, &report) == FC_MANIFEST_ECORRUPT);
    fc_edit_free(&e);
    fc_edit_free(&again);
    fc_disk_close(disk);
    uint64_t number;
    CHECK(fc_manifest_parse_name("MANIFEST-000012", &number) && number == 12);
    CHECK(!fc_manifest_parse_name("MANIFEST-12", &number) && !fc_manifest_parse_name("MANIFEST-00001x", &number));
    CHECK(!fc_manifest_parse_name("CURRENT", &number) && !fc_manifest_parse_name("MANIFEST-", &number));
}

int main(void)
{
    test_crash_at_every_step();
    test_failing_disk();
    test_full_disk();
    test_flipped_bits();
    test_items();
    return check_done("manifest");
}
