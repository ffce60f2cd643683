/* Three ways to look at a table that is not one: any bytes as a file; any bytes as its blocks under checksums that are
 * right; and the round trip of any entries. Readers must answer or refuse, in bounds, and agree with each other: what a
 * get finds is what an iterator stands on.
 *
 * Byte 0 chooses the way. The disk is the simulated one, so every read is into memory of its exact size. */
#include <stdlib.h>
#include <string.h>

#include "../lsm/table_format.h"
#include "fc/table_salvage.h"
#include "fc/disk_sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MAX 120u

static void must(bool what)
{
    if (!what)
        abort();
}

static fc_disk *disk_with(const char *p, size_t n)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_file *f = NULL;
    must(disk && fc_disk_file(disk, "t", FC_FILE_CREATE, &f) == 0 && fc_file_write(f, p, n, 0) == 0);
    fc_file_close(f);
    return disk;
}

typedef struct salvaged {
    char last[FC_KEY_MAX];
    size_t last_n;
    uint64_t last_tag, bytes;
    bool any;
} salvaged;

static int salvaged_entry(void *ctx, fc_slice user, uint64_t tag, fc_slice value)
{
    salvaged *s = ctx;
    must(!s->any || fc_ikey_compare((fc_slice){s->last, s->last_n}, s->last_tag, user, tag) < 0);
    must(fc_type_is_point(tag & 0xFF) && (value.n == 0 || value.p != NULL));
    memcpy(s->last, user.p, user.n);
    s->last_n = user.n;
    s->last_tag = tag;
    s->any = true;
    return 0;
}

static int salvaged_range(void *ctx, const fc_range *range)
{
    (void)ctx;
    must(range->begin.p && range->end.p);
    return 0;
}

static void salvaged_loss(void *ctx, const fc_salvage_loss *loss)
{
    salvaged *s = ctx;
    must(loss->what && loss->bytes > 0);
    s->bytes += loss->bytes;
}

/* Whatever it is, what is salvaged ascends, and no more is lost than there was. */
static void salvage(fc_disk *disk, size_t size)
{
    static salvaged s;
    fc_table_salvage *t;
    int answer;
    s.any = false;
    s.bytes = 0;
    must(fc_table_salvage_open(disk, "t", 5, NULL, &t) == 0);
    while ((answer = fc_table_salvage_step(t, &(fc_salvage_sink){salvaged_entry, salvaged_range, salvaged_loss, &s})) == 1)
        ;
    must(answer == 0 || answer == FC_TABLE_ECODEC);
    must(s.bytes <= size);
    fc_table_salvage_close(t);
}

/* Everything a reader offers, on a table that may hold anything. */
static void read_all(fc_disk *disk)
{
    fc_damage damage = {0};
    fc_table *t;
    int error = fc_table_open(disk, "t", NULL, NULL, &damage, &t);
    if (error < 0) {
        must(error == FC_TABLE_EFORMAT || error == FC_TABLE_ECORRUPT);
        must(damage.what != NULL);
        return;
    }
    fc_table_check check = {0};
    int verified;
    while ((verified = fc_table_verify(t, &check)) == 1)
        ;
    fc_iter *it = fc_table_iter(t, NULL);
    uint64_t forwards = 0, backwards = 0;
    char last[64];
    for (fc_iter_first(it); it->valid; fc_iter_next(it)) {
        must(it->error == 0 && it->key.n <= FC_KEY_MAX && fc_type_is_point(it->tag & 0xFF));
        if (verified == 0) {
            fc_lookup l = fc_lookup_of(it->key, fc_tag_seq(it->tag), 0, &(fc_hash_key){0, 0});
            fc_found found;
            int answer = fc_table_get(t, &l, &found);
            must(answer == FC_FOUND || answer == FC_DELETED);
            must(found.tag == it->tag || fc_table_ranges(t)->n > 0);
            fc_block_release(found.block);
        }
        size_t n = it->key.n < sizeof last ? it->key.n : sizeof last;
        if (n)
            memcpy(last, it->key.p, n);
        if (forwards++ % 64 == 0) {
            fc_lookup l = fc_lookup_of((fc_slice){last, n}, FC_SEQ_MAX, 0, &(fc_hash_key){0, 0});
            fc_found found;
            int answer = fc_table_get(t, &l, &found);
            must(answer >= 0 || answer == FC_TABLE_ECORRUPT || answer == FC_TABLE_ECODEC);
            if (answer >= 0)
                fc_block_release(found.block);
        }
    }
    must(verified != 0 || (it->error == 0 && forwards == check.entries));
    for (fc_iter_last(it); it->valid; fc_iter_prev(it))
        backwards++;
    must(verified != 0 || (it->error == 0 && forwards == backwards));
    fc_iter_seek(it, (fc_slice){"m", 1}, UINT64_MAX);
    if (it->valid)
        fc_iter_prev(it);
    fc_iter_close(it);
    must(fc_table_damage(t, &damage) || verified == 0 || verified == FC_TABLE_ECODEC);
    fc_table_close(t);
}

static void any_file(const char *p, size_t n)
{
    fc_disk *disk = disk_with(p, n);
    read_all(disk);
    salvage(disk, n);
    fc_disk_close(disk);
}

/* The bytes are cut into one data block and the four parts behind it by five lengths, and sealed. The index and
 * properties can be the input's too, or (odd first length) ones that fit the data block, so that what is in it is
 * looked at. */
static void any_blocks(const char *p, size_t n)
{
    size_t lengths[META_COUNT + 1], at = 2 * (META_COUNT + 1);
    if (n < at)
        return;
    bytes file = {0};
    must(bytes_reserve(&file, n + 1024));
    table_footer f = {.id = 5};
    for (size_t i = 0; i <= META_COUNT; i++) {
        lengths[i] = (uint8_t)p[2 * i] | (size_t)(uint8_t)p[2 * i + 1] << 8;
        lengths[i] = lengths[i] < n - at ? lengths[i] : n - at;
        fc_slice part = {p + at, lengths[i]};
        at += lengths[i];
        bytes made = {0};
        if (p[0] & 1 && i == 1 + META_PROPERTIES) {
            fc_table_properties q = {.entries = 1, .blocks = lengths[0] > 0, .last_seq = FC_SEQ_MAX};
            q.smallest = (fc_slice){"", 0};
            q.largest = (fc_slice){"\xFF\xFF\xFF", 3};
            must(table_put_properties(&made, &q, &(fc_hash_key){0, 0}));
            part = bytes_slice(&made);
        } else if (p[0] & 1 && i == 1 + META_INDEX && lengths[0] > 0) {
            must(bytes_reserve(&made, 32));
            bytes_put_varint(&made, 0);
            bytes_put_varint(&made, 3);
            bytes_put_varint(&made, 0);
            bytes_put_varint(&made, lengths[0]);
            bytes_put(&made, "\xFF\xFF\xFF", 3);
            part = bytes_slice(&made);
        }
        if (part.n > 0) {
            must(bytes_reserve(&file, part.n + TABLE_TRAILER));
            memcpy(file.p + file.n, part.p, part.n);
            table_seal(file.p + file.n, part.n, i == 0 && p[1] & 0x80 ? FC_CODEC_LZ4 : FC_CODEC_NONE, f.id, file.n);
            file.n += part.n + TABLE_TRAILER;
        }
        if (i == 0)
            f.data_bytes = file.n;
        else
            f.meta[i - 1] = (uint32_t)part.n;
        bytes_free(&made);
    }
    must(bytes_reserve(&file, TABLE_FOOTER));
    table_put_footer(file.p + file.n, &f);
    file.n += TABLE_FOOTER;
    any_file(file.p, file.n);
    bytes_free(&file);
}

/* --- round trip ------------------------------------------------------------------------------------------------- */

typedef struct pair {
    fc_slice key, value;
    uint64_t tag;
} pair;

static int by_order(const void *a, const void *b)
{
    const pair *x = a, *y = b;
    return fc_ikey_compare(x->key, x->tag, y->key, y->tag);
}

/* Options, then for each entry a byte of lengths and type, key, value; sequence numbers count. */
static void any_entries(const char *p, size_t n)
{
    static pair pairs[ENTRIES_MAX];
    size_t count = 0, at = 2;
    if (n < 2)
        return;
    fc_table_options o = FC_TABLE_OPTIONS;
    o.block_bytes = 512u << (p[0] & 3);
    o.restart_interval = 1 + ((uint8_t)p[0] >> 2);
    o.filter_bits = (uint8_t)p[1] % 33;
    while (at < n && count < ENTRIES_MAX) {
        size_t head = (uint8_t)p[at++], key_n = head & 15, value_n = (head >> 4) * 3;
        key_n = key_n < n - at ? key_n : n - at;
        pairs[count].key = (fc_slice){p + at, key_n};
        at += key_n;
        value_n = value_n < n - at ? value_n : n - at;
        pairs[count].value = (fc_slice){p + at, value_n};
        at += value_n;
        pairs[count].tag = fc_tag(count + 1, head & 16 ? FC_KEY_DELETE : FC_KEY_VALUE);
        count++;
    }
    qsort(pairs, count, sizeof *pairs, by_order);
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table_writer *w;
    must(fc_table_writer_open(disk, "t", &o, &w) == 0);
    for (size_t i = 0; i < count; i++)
        must(fc_table_add(w, pairs[i].key, pairs[i].tag, pairs[i].value) == 0);
    must(fc_table_finish(w, NULL) == 0);
    fc_table_writer_close(w);
    read_all(disk);
    fc_table *t;
    must(fc_table_open(disk, "t", NULL, NULL, NULL, &t) == 0);
    fc_table_check check = {0};
    int verified;
    while ((verified = fc_table_verify(t, &check)) == 1)
        ;
    must(verified == 0);
    fc_iter *it = fc_table_iter(t, NULL);
    size_t i = 0;
    for (fc_iter_first(it); it->valid; fc_iter_next(it), i++)
        must(i < count && it->tag == pairs[i].tag && fc_key_equal(it->key, pairs[i].key) &&
             fc_key_equal(it->value, pairs[i].value));
    must(i == count);
    for (i = 0; i < count; i++) {
        fc_iter_seek(it, pairs[i].key, pairs[i].tag);
        must(it->valid && it->tag == pairs[i].tag);
        if (it->valid)
            fc_iter_prev(it);
        must(it->valid == (i > 0) && (i == 0 || it->tag == pairs[i - 1].tag));
    }
    fc_iter_close(it);
    fc_table_close(t);
    fc_disk_close(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 16384)
        return 0;
    char *copy = malloc(size); /* exactly so long, for the address sanitizer */
    memcpy(copy, data + 1, size - 1);
    if (data[0] % 3 == 0)
        any_file(copy, size - 1);
    else if (data[0] % 3 == 1)
        any_blocks(copy, size - 1);
    else
        any_entries(copy, size - 1);
    free(copy);
    return 0;
}
