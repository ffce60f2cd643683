/* What is left of a table with every byte of it damaged in turn, with its index damaged as well, cut short, and
 * without a footer: all that is given was there, and all that is missing lies in a loss. */
#include "fc/table_salvage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/hash.h"

#define ENTRIES 200u
#define ID 7u
#define OWNER 3u
#define NAME "000007.tbl"

static fc_slice key_of(unsigned i, char out[16])
{
    return (fc_slice){out, (size_t)snprintf(out, 16, "key-%05u", i)};
}

static uint64_t make(fc_disk *disk, const fc_codecs *codecs, fc_codec codec)
{
    fc_table_options options = FC_TABLE_OPTIONS;
    fc_table_writer *w;
    fc_table_properties p;
    options.block_bytes = FC_TABLE_BLOCK_MIN;
    options.id = ID;
    options.owner = OWNER;
    options.codec = codec;
    options.codecs = codecs;
    CHECK(fc_table_writer_open(disk, NAME, &options, &w) == 0);
    for (unsigned i = 0; i < ENTRIES; i++) {
        char key[16], value[64];
        memset(value, (int)i, sizeof value);
        CHECK(fc_table_add(w, key_of(i, key), fc_tag(1000 + i, FC_KEY_VALUE), (fc_slice){value, i % sizeof value}) == 0);
    }
    fc_range r = {{"key-", 4}, {"key-00050", 9}, 900};
    CHECK(fc_table_add_range(w, &r) == 0);
    CHECK(fc_table_finish(w, &p) == 0);
    uint64_t bytes = p.file_bytes;
    fc_table_writer_close(w);
    return bytes;
}

typedef struct found {
    bool have[ENTRIES], ranges;
    unsigned n, losses;
    uint64_t lost_bytes;
    unsigned lost_from, lost_to; /* keys that a loss may hold */
} found;

static int entry(void *ctx, fc_slice user, uint64_t tag, fc_slice value)
{
    found *f = ctx;
    char key[16];
    unsigned i = (unsigned)(fc_tag_seq(tag) - 1000);
    CHECK(i < ENTRIES && fc_key_equal(user, key_of(i, key)) && value.n == i % 64);
    char right[64];
    memset(right, (int)i, sizeof right);
    CHECK(memcmp(value.p, right, value.n) == 0);
    CHECK(!f->have[i]);
    f->have[i] = true;
    f->n++;
    return 0;
}

static int range(void *ctx, const fc_range *r)
{
    found *f = ctx;
    CHECK(r->seq == 900 && r->begin.n == 4 && r->end.n == 9);
    f->ranges = true;
    return 0;
}

static void loss(void *ctx, const fc_salvage_loss *l)
{
    found *f = ctx;
    char key[16];
    f->losses++;
    f->lost_bytes += l->bytes;
    for (unsigned i = 0; i < ENTRIES; i++) /* what a loss may hold is between its bounds */
        if (f->lost_from == ENTRIES && (!l->from_known || fc_key_compare(key_of(i, key), l->from) >= 0))
            f->lost_from = i;
    for (unsigned i = 0; i < ENTRIES; i++)
        if (!l->to_known || fc_key_compare(key_of(i, key), l->to) <= 0)
            f->lost_to = i + 1;
}

static found salvage(fc_disk *disk, const fc_codecs *codecs)
{
    found f = {.lost_from = ENTRIES};
    fc_table_salvage *s;
    int answer;
    CHECK(fc_table_salvage_open(disk, NAME, ID, codecs, &s) == 0);
    while ((answer = fc_table_salvage_step(s, &(fc_salvage_sink){entry, range, loss, &f})) == 1)
        ;
    CHECK(answer == 0);
    fc_table_salvage_close(s);
    unsigned unexplained = 0;
    for (unsigned i = 0; i < ENTRIES; i++)
        unexplained += !f.have[i] && !(f.losses && i >= f.lost_from && i < f.lost_to);
    CHECK(unexplained == 0);
    return f;
}

/* One damaged byte costs one block, the range deletions, or nothing. */
static void test_each_byte(const fc_codecs *codecs, fc_codec codec)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    uint64_t bytes = make(disk, codecs, codec), chance = 5;
    unsigned untouched = 0, fewest = ENTRIES;
    for (uint64_t at = 0; at < bytes; at++) {
        uint64_t bit = 8 * at + fc_hash_next(&chance) % 8;
        CHECK(fc_disk_sim_flip(disk, NAME, bit) == 0);
        found f = salvage(disk, codecs);
        CHECK(f.losses <= 1 && (f.n == ENTRIES || f.ranges));
        untouched += f.losses == 0;
        fewest = f.n < fewest ? f.n : fewest;
        CHECK(fc_disk_sim_flip(disk, NAME, bit) == 0);
    }
    CHECK(untouched > 100);
    CHECK(fewest < ENTRIES && fewest > ENTRIES - (codec ? 60 : 30));
    fc_disk_close(disk);
}

/* The index is damaged, and a byte of the data besides. */
static void test_without_index(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    uint64_t bytes = make(disk, NULL, FC_CODEC_NONE), chance = 6;
    fc_table *t;
    CHECK(fc_table_open(disk, NAME, NULL, NULL, NULL, &t) == 0);
    uint64_t data = fc_table_get_properties(t)->data_bytes;
    CHECK(fc_table_get_properties(t)->owner == OWNER);
    fc_table_close(t);
    CHECK(fc_disk_sim_flip(disk, NAME, 8 * (bytes - 64 - 10)) == 0);
    CHECK(fc_table_open(disk, NAME, NULL, NULL, NULL, &t) == FC_TABLE_ECORRUPT);
    found all = salvage(disk, NULL);
    CHECK(all.n == ENTRIES && all.ranges && all.losses == 0);
    for (uint64_t at = 0; at < data; at += 7) {
        uint64_t bit = 8 * at + fc_hash_next(&chance) % 8;
        CHECK(fc_disk_sim_flip(disk, NAME, bit) == 0);
        found f = salvage(disk, NULL);
        CHECK(f.losses == 1 && f.n < ENTRIES && f.n > ENTRIES - 30);
        CHECK(fc_disk_sim_flip(disk, NAME, bit) == 0);
    }
    fc_disk_close(disk);
}

/* Ends of the file that are missing: without a footer the name's number is the id. Another number's blocks do not
 * count. */
static void test_cut(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    uint64_t bytes = make(disk, NULL, FC_CODEC_NONE);
    fc_file *file;
    fc_table_salvage *s;
    uint32_t owner;
    unsigned before = ENTRIES;
    CHECK(fc_table_salvage_open(disk, NAME, ID, NULL, &s) == 0);
    CHECK(fc_table_salvage_owner(s, &owner) && owner == OWNER);
    fc_table_salvage_close(s);
    CHECK(fc_table_salvage_open(disk, NAME, ID + 1, NULL, &s) == 0);
    found none = {.lost_from = ENTRIES};
    CHECK(!fc_table_salvage_owner(s, &owner));
    while (fc_table_salvage_step(s, &(fc_salvage_sink){entry, range, loss, &none}) == 1)
        ;
    CHECK(none.n == 0 && none.lost_bytes == bytes);
    fc_table_salvage_close(s);
    for (uint64_t n = bytes - 1; n > 0; n -= n > 97 ? 97 : n) {
        CHECK(fc_disk_file(disk, NAME, FC_FILE_WRITE, &file) == 0);
        CHECK(fc_file_truncate(file, n) == 0);
        fc_file_close(file);
        found f = salvage(disk, NULL);
        CHECK(f.n <= before && !f.ranges);
        before = f.n;
    }
    CHECK(before == 0);
    CHECK(fc_table_salvage_open(disk, "000008.tbl", 8, NULL, &s) == -ENOENT);
    fc_disk_close(disk);
}

/* Verifying goes on behind damage and says each. */
static void test_verify_goes_on(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table *t;
    fc_table_check check = {0};
    fc_damage damage;
    unsigned problems = 0;
    int answer;
    make(disk, NULL, FC_CODEC_NONE);
    CHECK(fc_table_open(disk, NAME, NULL, NULL, NULL, &t) == 0);
    uint64_t data = fc_table_get_properties(t)->data_bytes, last = 0;
    CHECK(fc_disk_sim_flip(disk, NAME, 8 * 100) == 0 && fc_disk_sim_flip(disk, NAME, 8 * 3000) == 0);
    CHECK(fc_disk_sim_flip(disk, NAME, 8 * data) == 0);
    do {
        answer = fc_table_verify(t, &check);
        if (answer == FC_TABLE_ECORRUPT) {
            CHECK(fc_table_damage(t, &damage) && (problems == 0 || damage.offset > last));
            last = damage.offset;
            fc_table_forget_damage(t);
            problems++;
        }
    } while (answer == 1 || (answer == FC_TABLE_ECORRUPT && !check.over));
    CHECK(problems == 3 && check.damaged == 2);
    fc_table_close(t);
    fc_disk_close(disk);
}

int main(void)
{
    fc_codecs codecs;
    fc_codecs_open(&codecs);
    test_each_byte(NULL, FC_CODEC_NONE);
    if (fc_codecs_have(&codecs, FC_CODEC_ZSTD))
        test_each_byte(&codecs, FC_CODEC_ZSTD);
    test_without_index();
    test_cut();
    test_verify_goes_on();
    fc_codecs_close(&codecs);
    return check_done("table_salvage");
}
