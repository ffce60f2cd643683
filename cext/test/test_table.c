/* Tables against the array of entries they were made from, under many options; every bit of one flipped; disks that
 * fail. */
#include "fc/table.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lsm/table_format.h"
#include "check.h"
#include "fc/disk_sim.h"

#define ENTRIES_MAX 3000

typedef struct item {
    char key[40];
    size_t key_n;
    uint64_t tag;
    char value[400];
    size_t value_n;
} item;

static item items[ENTRIES_MAX];
static size_t item_n;
static fc_range ranges[20];
static char range_keys[20][2][8];
static size_t range_n;

static fc_slice key_of(const item *i) { return (fc_slice){i->key, i->key_n}; }
static fc_slice value_of(const item *i) { return (fc_slice){i->value, i->value_n}; }

static int by_order(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return fc_ikey_compare(key_of(x), x->tag, key_of(y), y->tag);
}

/* A key of a small world: prefixes of each other, zeros, bytes above 127, and the empty one. */
static size_t draw_key(uint64_t *chance, char *out)
{
    static const char alphabet[] = {0, 'a', 'b', (char)0xFF};
    uint64_t draw = fc_hash_next(chance);
    if (draw % 3 == 0) { /* a long common beginning */
        memcpy(out, "customer/000000/", 16);
        out[16] = (char)('0' + (draw >> 8) % 10);
        out[17] = (char)('0' + (draw >> 16) % 10);
        return 18 + (size_t)snprintf(out + 18, 8, "%lu", (unsigned long)((draw >> 24) % 30));
    }
    size_t n = (draw >> 4) % 7;
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[draw >> (8 + 2 * i) & 3];
    return n;
}

static void draw_items(uint64_t seed, size_t n, bool with_ranges)
{
    uint64_t chance = seed;
    for (size_t i = 0; i < n; i++) {
        uint64_t draw = fc_hash_next(&chance);
        items[i] = (item){.key_n = draw_key(&chance, items[i].key)};
        fc_key_type type = draw % 8 == 0 ? FC_KEY_DELETE : draw % 8 == 1 ? FC_KEY_EXPIRING : FC_KEY_VALUE;
        if (i > 0 && draw % 5 == 2) { /* one more version of a key that is there */
            memcpy(items[i].key, items[draw % i].key, sizeof items[i].key);
            items[i].key_n = items[draw % i].key_n;
        }
        items[i].tag = fc_tag(i + 1, type);
        items[i].value_n = type == FC_KEY_DELETE ? 0 : (draw >> 8) % (draw % 64 == 7 ? 400 : 60);
        memset(items[i].value, (int)(draw >> 16), items[i].value_n);
        if (type == FC_KEY_EXPIRING) {
            items[i].value_n += items[i].value_n < 8 ? 8 : 0;
            fc_put64(items[i].value, (draw >> 40) % 100);
        }
    }
    qsort(items, n, sizeof *items, by_order);
    item_n = n;
    range_n = with_ranges ? fc_hash_next(&chance) % 8 : 0;
    for (size_t i = 0; i < range_n; i++) {
        size_t a = draw_key(&chance, range_keys[i][0]) % 7, b = draw_key(&chance, range_keys[i][1]) % 7;
        ranges[i] = (fc_range){{range_keys[i][0], a}, {range_keys[i][1], b}, 1 + fc_hash_next(&chance) % (n + 1)};
    }
}

static int build(fc_disk *disk, const char *name, const fc_table_options *options, fc_table_properties *properties)
{
    fc_table_writer *w;
    int error = fc_table_writer_open(disk, name, options, &w);
    if (error < 0)
        return error;
    for (size_t i = 0; i < range_n && error == 0; i++)
        error = fc_table_add_range(w, &ranges[i]);
    for (size_t i = 0; i < item_n && error == 0; i++)
        error = fc_table_add(w, key_of(&items[i]), items[i].tag, value_of(&items[i]));
    if (error == 0)
        error = fc_table_finish(w, properties);
    if (error == 0)
        error = fc_table_writer_sync(w);
    if (properties)
        properties->smallest = properties->largest = (fc_slice){0};
    fc_table_writer_close(w);
    return error == 0 ? fc_disk_sync_dir(disk, "") : error;
}

/* --- what the model says ---------------------------------------------------------------------------------------- */

static uint64_t model_cover(fc_slice key, uint64_t snapshot)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < range_n; i++)
        if (ranges[i].seq <= snapshot && ranges[i].seq > seq && fc_key_compare(ranges[i].begin, key) <= 0 &&
            fc_key_compare(key, ranges[i].end) < 0)
            seq = ranges[i].seq;
    return seq;
}

static size_t model_seek(fc_slice key, uint64_t tag)
{
    size_t i = 0;
    while (i < item_n && fc_ikey_compare(key_of(&items[i]), items[i].tag, key, tag) < 0)
        i++;
    return i;
}

static int model_get(fc_slice key, uint64_t snapshot, uint64_t now, const item **out)
{
    size_t i = model_seek(key, fc_tag_seek(snapshot));
    uint64_t covered = model_cover(key, snapshot);
    if (i == item_n || !fc_key_equal(key_of(&items[i]), key))
        return covered ? FC_DELETED : FC_NOT_HERE;
    *out = &items[i];
    if (fc_tag_seq(items[i].tag) < covered || fc_tag_type(items[i].tag) == FC_KEY_DELETE)
        return FC_DELETED;
    return fc_tag_type(items[i].tag) == FC_KEY_EXPIRING && fc_get64(items[i].value) <= now ? FC_DELETED : FC_FOUND;
}

static bool stands_on(const fc_iter *it, size_t i)
{
    return it->valid && it->error == 0 && it->tag == items[i].tag && fc_key_equal(it->key, key_of(&items[i])) &&
           fc_key_equal(it->value, value_of(&items[i]));
}

/* --- checks ----------------------------------------------------------------------------------------------------- */

static void check_get(fc_table *t, fc_slice key, uint64_t snapshot, const fc_hash_key *hash_key)
{
    fc_lookup l = fc_lookup_of(key, snapshot, 50, hash_key);
    fc_found found;
    const item *expected = NULL;
    int answer = fc_table_get(t, &l, &found), right = model_get(key, snapshot, 50, &expected);
    CHECK(answer == right);
    CHECK(right == FC_NOT_HERE || fc_table_may_have(t, &l));
    if (answer == FC_FOUND && right == FC_FOUND) {
        size_t skip = fc_tag_type(expected->tag) == FC_KEY_EXPIRING ? 8 : 0;
        CHECK(found.tag == expected->tag && found.value.n == expected->value_n - skip);
        CHECK(memcmp(found.value.p, expected->value + skip, found.value.n) == 0);
    }
    fc_block_release(found.block);
}

static void check_walks(fc_table *t, uint64_t *chance)
{
    char a[40], b[40], c[40];
    fc_read_options how = {.keep_out = fc_hash_next(chance) % 2};
    how.lower = (fc_slice){a, draw_key(chance, a)};
    how.upper = (fc_slice){b, draw_key(chance, b)};
    how.bounded_below = fc_hash_next(chance) % 3 != 0;
    how.bounded_above = fc_hash_next(chance) % 3 != 0;
    size_t from = how.bounded_below ? model_seek(how.lower, UINT64_MAX) : 0;
    size_t to = how.bounded_above ? model_seek(how.upper, UINT64_MAX) : item_n;
    to = to < from ? from : to;
    fc_iter *it = fc_table_iter(t, &how);
    size_t i = from;
    for (fc_iter_first(it); it->valid && i < to; fc_iter_next(it), i++)
        CHECK(stands_on(it, i));
    CHECK(i == to && !it->valid && it->error == 0);
    for (fc_iter_last(it); it->valid && i > from; fc_iter_prev(it))
        CHECK(stands_on(it, --i));
    CHECK(i == from && !it->valid && it->error == 0);
    for (int turn = 0; turn < 30; turn++) {
        uint64_t tag = fc_tag_seek(fc_hash_next(chance) % (item_n + 2));
        fc_slice key = {c, draw_key(chance, c)};
        fc_iter_seek(it, key, tag);
        i = model_seek(key, tag);
        i = i < from ? from : i;
        for (int step = 0; step < 6; step++) {
            bool there = i >= from && i < to;
            CHECK(there ? stands_on(it, i) : !it->valid && it->error == 0);
            if (!it->valid || !there)
                break;
            if (fc_hash_next(chance) % 2)
                fc_iter_prev(it), i--;
            else
                fc_iter_next(it), i++;
        }
    }
    fc_iter_close(it);
}

static int verify(fc_table *t)
{
    fc_table_check check = {0};
    int answer;
    while ((answer = fc_table_verify(t, &check)) == 1)
        ;
    return answer;
}

static void check_table(fc_disk *disk, const char *name, fc_block_cache *cache, const fc_codecs *codecs,
                        const fc_table_properties *written, uint64_t seed)
{
    uint64_t chance = seed;
    fc_damage damage;
    fc_table *t;
    int error = fc_table_open(disk, name, cache, codecs, &damage, &t);
    CHECK(error == 0);
    if (error < 0) {
        fprintf(stderr, "%s at %lu: %s\n", name, (unsigned long)damage.offset, damage.what);
        return;
    }
    fc_table_properties p = *fc_table_get_properties(t);
    for (size_t i = 0; i < item_n; i++)
        CHECK(fc_key_compare(p.smallest, key_of(&items[i])) <= 0 && fc_key_compare(key_of(&items[i]), p.largest) <= 0);
    p.smallest = p.largest = (fc_slice){0};
    CHECK(memcmp(&p, written, sizeof p) == 0 && p.entries == item_n);
    CHECK(fc_table_ranges(t)->n == p.ranges && fc_table_memory(t) > 0);
    fc_hash_key other = {7, 7}, same = {1, 2};
    for (size_t i = 0; i < item_n; i += 1 + item_n / 300)
        check_get(t, key_of(&items[i]), fc_hash_next(&chance) % (item_n + 2), i % 2 ? &same : &other);
    for (int i = 0; i < 200; i++) {
        char key[40];
        size_t n = draw_key(&chance, key);
        check_get(t, (fc_slice){key, n}, fc_hash_next(&chance) % (item_n + 2), &same);
    }
    for (int i = 0; i < 4; i++)
        check_walks(t, &chance);
    CHECK(verify(t) == 0);
    CHECK(!fc_table_damage(t, &damage));
    fc_slice end = {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8};
    CHECK(fc_table_bytes_between(t, (fc_slice){"", 0}, end) <= p.data_bytes);
    fc_table_close(t);
}

static void test_model(const fc_codecs *codecs)
{
    static const size_t sizes[] = {0, 1, 2, 17, 300, ENTRIES_MAX};
    static const uint32_t intervals[] = {1, 2, 16, 128}, bits[] = {0, 1, 10, 20};
    for (uint64_t seed = 1; seed <= 48; seed++) {
        draw_items(seed, sizes[seed % 6], seed % 4 != 0);
        fc_table_options o = FC_TABLE_OPTIONS;
        o.block_bytes = 512u << seed % 5;
        o.restart_interval = intervals[seed % 4];
        o.filter_bits = bits[seed / 2 % 4];
        o.codec = (fc_codec)(seed % 3);
        o.codecs = codecs;
        o.hash_key = (fc_hash_key){1, 2};
        o.id = seed;
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        fc_block_cache *cache = seed % 3 ? fc_block_cache_new(1 << 17, 1) : NULL;
        fc_table_properties written;
        CHECK(build(disk, "t", &o, &written) == 0);
        check_table(disk, "t", cache, codecs, &written, seed);
        CHECK(build(disk, "t", &o, &written) == -EEXIST);
        CHECK(fc_disk_sim_crash(disk) == 0); /* after the syncs nothing is lost */
        check_table(disk, "t", cache, codecs, &written, seed + 1);
        fc_block_cache_free(cache);
        fc_disk_close(disk);
    }
}

/* Reads all there is, by every way; what comes must be right. False: damage was met. */
static bool reads_right(fc_disk *disk, const fc_codecs *codecs)
{
    fc_damage damage = {.offset = UINT64_MAX}, later;
    fc_table *t;
    int error = fc_table_open(disk, "t", NULL, codecs, &damage, &t);
    if (error < 0) {
        CHECK(error == FC_TABLE_ECORRUPT || error == FC_TABLE_EFORMAT);
        CHECK(damage.offset != UINT64_MAX && damage.what && strcmp(damage.name, "t") == 0);
        return false;
    }
    bool right = true;
    fc_iter *it = fc_table_iter(t, NULL);
    size_t i = 0;
    for (fc_iter_first(it); it->valid; fc_iter_next(it))
        CHECK(i < item_n && stands_on(it, i++));
    CHECK(it->error == FC_TABLE_ECORRUPT || i == item_n);
    right = right && it->error == 0;
    for (i = item_n, fc_iter_last(it); it->valid; fc_iter_prev(it))
        CHECK(i > 0 && stands_on(it, --i));
    CHECK(it->error == FC_TABLE_ECORRUPT || i == 0);
    fc_iter_close(it);
    for (i = 0; i < item_n; i++) {
        fc_lookup l = fc_lookup_of(key_of(&items[i]), FC_SEQ_MAX, 50, &(fc_hash_key){1, 2});
        const item *expected;
        fc_found found;
        int answer = fc_table_get(t, &l, &found);
        CHECK(answer == FC_TABLE_ECORRUPT || answer == model_get(key_of(&items[i]), FC_SEQ_MAX, 50, &expected));
        if (answer == FC_FOUND)
            CHECK(found.tag == expected->tag);
        fc_block_release(found.block);
    }
    int verified = verify(t);
    CHECK(verified == 0 || verified == FC_TABLE_ECORRUPT);
    CHECK(fc_table_damage(t, &later) == (verified < 0));
    fc_table_close(t);
    return right && verified == 0;
}

/* Each bit of a small table: there is no bit that may be wrong unnoticed. */
static void test_flipped_bits(const fc_codecs *codecs)
{
    for (uint64_t seed = 2; seed <= 4; seed++) {
        draw_items(seed, 40, true);
        fc_table_options o = FC_TABLE_OPTIONS;
        o.block_bytes = 512;
        o.codec = seed == 3 ? FC_CODEC_LZ4 : seed == 4 ? FC_CODEC_ZSTD : FC_CODEC_NONE;
        o.codecs = codecs;
        o.hash_key = (fc_hash_key){1, 2};
        fc_table_properties p;
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        CHECK(build(disk, "t", &o, &p) == 0);
        CHECK(reads_right(disk, codecs));
        unsigned long unnoticed = 0;
        for (uint64_t bit = 0; bit < p.file_bytes * 8; bit++) {
            CHECK(fc_disk_sim_flip(disk, "t", bit) == 0);
            unnoticed += reads_right(disk, codecs);
            CHECK(fc_disk_sim_flip(disk, "t", bit) == 0);
        }
        CHECK(unnoticed == 0);
        fc_file *f;
        CHECK(fc_disk_file(disk, "t", FC_FILE_WRITE, &f) == 0);
        for (uint64_t n = p.file_bytes; n-- > 0;) {
            CHECK(fc_file_truncate(f, n) == 0 && !reads_right(disk, codecs));
            n -= n > 70 ? n % 13 : 0;
        }
        fc_file_close(f);
        fc_disk_close(disk);
    }
}

/* Blocks in each other's place have right checksums, but not there. */
static void test_swapped_blocks(void)
{
    draw_items(9, 0, false);
    for (item_n = 0; item_n < 100; item_n++) {
        items[item_n] = (item){.key_n = 8, .tag = fc_tag(item_n + 1, FC_KEY_VALUE), .value_n = 100};
        snprintf(items[item_n].key, 9, "%08zu", item_n);
    }
    fc_table_options o = FC_TABLE_OPTIONS;
    o.block_bytes = 600;
    o.restart_interval = 1;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table_properties p;
    fc_table *t;
    CHECK(build(disk, "a", &o, &p) == 0);
    o.id = 1;
    CHECK(build(disk, "b", &o, &p) == 0);
    static char a[64 << 10], b[64 << 10];
    fc_file *fa = NULL, *fb = NULL;
    CHECK(fc_disk_file(disk, "a", FC_FILE_WRITE, &fa) == 0 && fc_disk_file(disk, "b", FC_FILE_WRITE, &fb) == 0);
    CHECK(fc_file_read(fa, a, p.file_bytes, 0) == 0 && fc_file_read(fb, b, p.file_bytes, 0) == 0);
    uint64_t block = p.data_bytes / p.blocks;
    CHECK(fc_file_write(fa, b, block, 0) == 0);         /* the same bytes, of another table */
    CHECK(fc_file_write(fb, b, block, block) == 0);     /* of this table, from another place */
    fc_lookup first = fc_lookup_of((fc_slice){"00000000", 8}, FC_SEQ_MAX, 0, &o.hash_key);
    fc_lookup second = fc_lookup_of(key_of(&items[p.entries / p.blocks + 1]), FC_SEQ_MAX, 0, &o.hash_key);
    fc_found found;
    CHECK(fc_table_open(disk, "a", NULL, NULL, NULL, &t) == 0);
    CHECK(fc_table_get(t, &first, &found) == FC_TABLE_ECORRUPT);
    fc_table_close(t);
    CHECK(fc_table_open(disk, "b", NULL, NULL, NULL, &t) == 0);
    CHECK(fc_table_get(t, &second, &found) == FC_TABLE_ECORRUPT);
    fc_table_close(t);
    fc_file_close(fa);
    fc_file_close(fb);
    fc_disk_close(disk);
}

/* A restart that is no entry's beginning, under a checksum that is right: every entry may still be found, by the way this
 * search happens to go, and the next search goes another. */
static void test_restarts(void)
{
    for (item_n = 0; item_n < 32; item_n++) {
        items[item_n] = (item){.key_n = 8, .tag = fc_tag(item_n + 1, FC_KEY_VALUE), .value_n = 10};
        snprintf(items[item_n].key, 9, "%08zu", item_n);
    }
    range_n = 0;
    fc_table_options o = FC_TABLE_OPTIONS;
    o.restart_interval = 4;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table_properties p;
    CHECK(build(disk, "t", &o, &p) == 0 && p.blocks == 1);
    static char block[8192];
    fc_file *f = NULL;
    CHECK(fc_disk_file(disk, "t", FC_FILE_WRITE, &f) == 0 && fc_file_read(f, block, p.data_bytes, 0) == 0);
    size_t n = p.data_bytes - TABLE_TRAILER;
    uint32_t restarts = fc_get32(block + n - 4);
    CHECK(restarts == 8);
    for (uint32_t i = 0; i < restarts; i++) {
        char *at = block + n - 4 - 4 * (size_t)(restarts - i);
        uint32_t right = fc_get32(at), wrong[] = {right, right + 1, fc_get32(i ? at - 4 : at + 4)};
        for (size_t k = 0; k < 3; k++) {
            fc_put32(at, wrong[k]);
            table_seal(block, n, FC_CODEC_NONE, o.id, 0);
            CHECK(fc_file_write(f, block, p.data_bytes, 0) == 0);
            fc_table *t;
            fc_table_check check = {0};
            CHECK(fc_table_open(disk, "t", NULL, NULL, NULL, &t) == 0);
            CHECK(fc_table_verify(t, &check) == (k == 0 ? 1 : FC_TABLE_ECORRUPT));
            fc_table_close(t);
        }
        fc_put32(at, right);
    }
    fc_file_close(f);
    fc_disk_close(disk);
}

/* Separators that are shortened still part the blocks: long keys that differ early, a few to a block. */
static void test_separators(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table_options o = FC_TABLE_OPTIONS;
    fc_table_properties p;
    fc_table *t;
    uint64_t chance = 1;
    range_n = 0;
    for (item_n = 0; item_n < 2000; item_n++) {
        items[item_n] = (item){.key_n = 24, .tag = fc_tag(item_n + 1, FC_KEY_VALUE), .value_n = 60};
        for (size_t i = 0; i < 24; i += 8)
            fc_put64(items[item_n].key + i, fc_hash_next(&chance));
    }
    qsort(items, item_n, sizeof *items, by_order);
    o.block_bytes = 512;
    CHECK(build(disk, "t", &o, &p) == 0 && p.blocks > 300);
    CHECK(p.file_bytes - p.data_bytes < 3000 + 8 * p.blocks + p.keys * 10 / 8); /* 3 bytes of 24 are kept */
    CHECK(fc_table_open(disk, "t", NULL, NULL, NULL, &t) == 0);
    CHECK(verify(t) == 0);
    for (size_t i = 0; i < item_n; i++)
        check_get(t, key_of(&items[i]), FC_SEQ_MAX, &o.hash_key);
    fc_table_close(t);
    fc_disk_close(disk);
}

static void test_filter_rate(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table_options o = FC_TABLE_OPTIONS;
    fc_table_writer *w;
    fc_table *t;
    CHECK(fc_table_writer_open(disk, "t", &o, &w) == 0);
    char key[16];
    for (uint64_t i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "%08lu", (unsigned long)i * 2);
        CHECK(fc_table_add(w, (fc_slice){key, 8}, fc_tag(1, FC_KEY_VALUE), (fc_slice){"", 0}) == 0);
    }
    CHECK(fc_table_finish(w, NULL) == 0);
    fc_table_writer_close(w);
    CHECK(fc_table_open(disk, "t", NULL, NULL, NULL, &t) == 0);
    unsigned passed = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "%08lu", (unsigned long)i * 2);
        fc_lookup there = fc_lookup_of((fc_slice){key, 8}, 1, 0, &o.hash_key);
        CHECK(fc_table_may_have(t, &there));
        snprintf(key, sizeof key, "%08lu", (unsigned long)i * 2 + 1);
        fc_lookup absent = fc_lookup_of((fc_slice){key, 8}, 1, 0, &o.hash_key);
        passed += fc_table_may_have(t, &absent);
    }
    printf("table: filter of 10 bits a key: %.2f %% false positives\n", passed / 1000.0);
    CHECK(passed < 1300);
    fc_table_close(t);
    fc_disk_close(disk);
}

static void test_bounds(const fc_codecs *codecs)
{
    static char big[FC_KEY_MAX + 1];
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table_options o = FC_TABLE_OPTIONS;
    fc_table_writer *w;
    fc_slice none = {"", 0}, k = {"k", 1};
    struct {
        fc_slice key, value;
        uint64_t tag;
        int error;
    } wrong[] = {
        {k, none, fc_tag(5, FC_KEY_VALUE), FC_TABLE_EORDER},
        {k, none, fc_tag(6, FC_KEY_VALUE), FC_TABLE_EORDER},
        {{"j", 1}, none, fc_tag(1, FC_KEY_VALUE), FC_TABLE_EORDER},
        {{"l", 1}, none, fc_tag(1, FC_KEY_RANGE_DELETE), FC_TABLE_ESIZE},
        {{"l", 1}, none, 1 << 8, FC_TABLE_ESIZE},
        {{"l", 1}, {"1234567", 7}, fc_tag(1, FC_KEY_EXPIRING), FC_TABLE_ESIZE},
        {{big, sizeof big}, none, fc_tag(1, FC_KEY_VALUE), FC_TABLE_ESIZE},
    };
    memset(big, 'z', sizeof big);
    for (size_t i = 0; i < FC_ARRAY_LEN(wrong); i++) {
        CHECK(fc_table_writer_open(disk, "w", &o, &w) == 0);
        CHECK(fc_table_add(w, k, fc_tag(5, FC_KEY_VALUE), k) == 0);
        CHECK(fc_table_add(w, wrong[i].key, wrong[i].tag, wrong[i].value) == wrong[i].error);
        CHECK(fc_table_add(w, (fc_slice){"z", 1}, fc_tag(9, FC_KEY_VALUE), k) == wrong[i].error);
        CHECK(fc_table_finish(w, NULL) == wrong[i].error && fc_table_writer_sync(w) == wrong[i].error);
        fc_table_writer_close(w);
        CHECK(fc_disk_remove(disk, "w") == 0);
    }
    fc_table_options bad[] = {o, o, o, o, o};
    bad[0].block_bytes = FC_TABLE_BLOCK_MIN - 1;
    bad[1].block_bytes = FC_TABLE_BLOCK_MAX + 1;
    bad[2].restart_interval = 0;
    bad[3].filter_bits = 33;
    bad[4].codec = (fc_codec)3;
    for (size_t i = 0; i < FC_ARRAY_LEN(bad); i++)
        CHECK(fc_table_writer_open(disk, "w", &bad[i], &w) == -EINVAL);
    /* The longest key, a value of several blocks, and a table compressed by what the reader does not have. */
    fc_table *t;
    static char value[300000];
    o.codec = FC_CODEC_LZ4;
    o.codecs = codecs;
    CHECK(fc_table_writer_open(disk, "w", &o, &w) == 0);
    CHECK(fc_table_writer_sync(w) == -EINVAL);
    CHECK(fc_table_add(w, k, fc_tag(5, FC_KEY_VALUE), (fc_slice){value, sizeof value}) == 0);
    CHECK(fc_table_add(w, (fc_slice){big, FC_KEY_MAX}, fc_tag(5, FC_KEY_VALUE), k) == 0);
    uint64_t guess = fc_table_writer_bytes(w);
    fc_table_properties p;
    CHECK(fc_table_finish(w, &p) == 0 && guess <= p.file_bytes + 100);
    CHECK(fc_key_equal(p.smallest, k) && p.largest.n == FC_KEY_MAX);
    CHECK(fc_table_finish(w, NULL) == -EINVAL && fc_table_add(w, k, 2, k) == -EINVAL);
    fc_table_writer_close(w);
    fc_found found;
    fc_lookup l = fc_lookup_of((fc_slice){big, FC_KEY_MAX}, FC_SEQ_MAX, 0, &o.hash_key);
    CHECK(fc_table_open(disk, "w", NULL, codecs, NULL, &t) == 0);
    CHECK(fc_table_get(t, &l, &found) == FC_FOUND && fc_key_equal(found.value, k));
    fc_block_release(found.block);
    fc_table_close(t);
    if (fc_codecs_have(codecs, FC_CODEC_LZ4)) {
        CHECK(p.data_bytes < sizeof value);
        l = fc_lookup_of(k, FC_SEQ_MAX, 0, &o.hash_key);
        CHECK(fc_table_open(disk, "w", NULL, NULL, NULL, &t) == 0);
        CHECK(fc_table_get(t, &l, &found) == FC_TABLE_ECODEC);
        fc_table_close(t);
    }
    CHECK(fc_table_open(disk, "absent", NULL, NULL, NULL, &t) == -ENOENT);
    fc_disk_close(disk);
}

/* Who must not wait gets an answer from memory or none; nothing is taken for the end. */
static void test_memory_only(void)
{
    draw_items(5, 2000, false);
    fc_table_options o = FC_TABLE_OPTIONS;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_block_cache *cache = fc_block_cache_new(1 << 20, 1);
    fc_table_properties p;
    fc_table *t;
    CHECK(build(disk, "t", &o, &p) == 0 && p.blocks > 3);
    CHECK(fc_table_open(disk, "t", cache, NULL, NULL, &t) == 0);
    fc_lookup l = fc_lookup_of(key_of(&items[1000]), FC_SEQ_MAX, 0, &o.hash_key);
    fc_found found;
    l.memory_only = true;
    CHECK(fc_table_get(t, &l, &found) == FC_EWOULDREAD);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .cached_ppm = 1000000}); /* the kernel has it */
    fc_lookup other = fc_lookup_of(key_of(&items[item_n - 1]), FC_SEQ_MAX, 0, &o.hash_key);
    other.memory_only = true;
    CHECK(fc_table_get(t, &other, &found) >= 0);
    fc_block_release(found.block);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    CHECK(fc_table_get(t, &other, &found) >= 0); /* now we have it */
    fc_block_release(found.block);
    CHECK(fc_table_get(t, &l, &found) == FC_EWOULDREAD);
    l.memory_only = false;
    CHECK(fc_table_get(t, &l, &found) >= 0);
    fc_block_release(found.block);
    l.memory_only = true;
    CHECK(fc_table_get(t, &l, &found) >= 0);
    fc_block_release(found.block);
    fc_read_options how = {.memory_only = true};
    fc_iter *it = fc_table_iter(t, &how);
    fc_iter_first(it);
    CHECK(!it->valid && it->error == FC_EWOULDREAD);
    fc_iter_seek(it, key_of(&items[1000]), UINT64_MAX);
    CHECK(it->valid && it->error == 0);
    while (it->valid)
        fc_iter_next(it);
    CHECK(it->error == FC_EWOULDREAD);
    how.memory_only = false;
    size_t i = 0;
    for (fc_iter_first(it); it->valid; fc_iter_next(it))
        i++;
    CHECK(it->error == 0 && i == item_n);
    how.memory_only = true;
    for (fc_iter_last(it); it->valid; fc_iter_prev(it))
        i--;
    CHECK(it->error == 0 && i == 0);
    fc_iter_close(it);
    fc_block_cache_stats stats;
    fc_table_close(t);
    fc_block_cache_get_stats(cache, &stats);
    CHECK(stats.blocks == 0);
    fc_block_cache_free(cache);
    fc_disk_close(disk);
}

/* A disk that fails or is full at any step: an error, and the writer stays failed; a table that was synced is whole. */
static void test_failing_disk(void)
{
    draw_items(6, 2000, true);
    fc_table_options o = FC_TABLE_OPTIONS;
    o.hash_key = (fc_hash_key){1, 2};
    fc_table_properties p;
    unsigned done = 0;
    for (uint64_t at = 1; at < 12; at++) {
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = at, .crash_at = at});
        int error = build(disk, "t", &o, &p);
        CHECK(error == 0 || error == -EIO);
        CHECK(fc_disk_sim_crash(disk) == 0);
        if (error == 0) {
            done++;
            check_table(disk, "t", NULL, NULL, &p, at);
        }
        fc_disk_close(disk);
    }
    CHECK(done > 0);
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .capacity = p.file_bytes - 1});
    CHECK(build(disk, "t", &o, &p) == -ENOSPC);
    fc_disk_close(disk);
}

typedef struct reader {
    fc_table *t;
    uint64_t chance;
    unsigned long wrong;
} reader;

static void *read_along(void *arg)
{
    reader *r = arg;
    for (int i = 0; i < 3000; i++) {
        size_t n = fc_hash_next(&r->chance) % item_n;
        const item *expected;
        fc_lookup l = fc_lookup_of(key_of(&items[n]), FC_SEQ_MAX, 50, &(fc_hash_key){0, 0});
        fc_found found;
        int answer = fc_table_get(r->t, &l, &found);
        r->wrong += answer != model_get(key_of(&items[n]), FC_SEQ_MAX, 50, &expected);
        r->wrong += answer == FC_FOUND && found.tag != expected->tag;
        fc_block_release(found.block);
    }
    fc_iter *it = fc_table_iter(r->t, NULL);
    size_t i = 0;
    for (fc_iter_first(it); it->valid; fc_iter_next(it))
        r->wrong += !stands_on(it, i++);
    r->wrong += i != item_n;
    fc_iter_close(it);
    return NULL;
}

static void test_threads(void)
{
    draw_items(7, 1500, false);
    fc_table_options o = FC_TABLE_OPTIONS;
    o.block_bytes = 1024;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_block_cache *cache = fc_block_cache_new(1 << 16, 1); /* smaller than the table */
    fc_table_properties p;
    fc_table *t;
    CHECK(build(disk, "t", &o, &p) == 0);
    CHECK(fc_table_open(disk, "t", cache, NULL, NULL, &t) == 0);
    reader readers[4];
    pthread_t threads[4];
    for (uint64_t i = 0; i < 4; i++) {
        readers[i] = (reader){t, i, 0};
        CHECK(pthread_create(&threads[i], NULL, read_along, &readers[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(readers[i].wrong == 0);
    }
    fc_table_close(t);
    fc_block_cache_free(cache);
    fc_disk_close(disk);
}

int main(void)
{
    fc_codecs codecs;
    fc_codecs_open(&codecs);
    test_model(&codecs);
    test_flipped_bits(&codecs);
    test_swapped_blocks();
    test_restarts();
    test_separators();
    test_filter_rate();
    test_bounds(&codecs);
    test_memory_only();
    test_failing_disk();
    test_threads();
    fc_codecs_close(&codecs);
    return check_done("table");
}
