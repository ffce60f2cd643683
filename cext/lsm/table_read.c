#include <errno.h>
#include <stdio.h>

#include "block.h"
#include "filter.h"
#include "table_format.h"

int table_damaged(fc_table *t, uint64_t offset, const char *what)
{
    int none = 0;
    if (__atomic_compare_exchange_n(&t->damaged, &none, 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        t->damage.offset = offset;
        t->damage.what = what;
        __atomic_store_n(&t->damaged, 2, __ATOMIC_RELEASE);
    }
    return FC_TABLE_ECORRUPT;
}

bool fc_table_damage(const fc_table *t, fc_damage *out)
{
    if (__atomic_load_n(&t->damaged, __ATOMIC_ACQUIRE) != 2)
        return false;
    *out = t->damage;
    return true;
}

void fc_table_forget_damage(fc_table *t) { __atomic_store_n(&t->damaged, 0, __ATOMIC_RELEASE); }

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int open_ranges(fc_table *t, fc_slice in, uint64_t at)
{
    uint64_t n = t->properties.ranges;
    const char *p = in.p, *end = in.p + in.n;
    if (n > in.n / 3) /* a range is three bytes at least */
        return table_damaged(t, at, "more range deletions than there is room for");
    fc_range *ranges = malloc((n + 1) * sizeof *ranges);
    t->range_memory = malloc(fc_range_set_bytes(n) + 1);
    int error = ranges && t->range_memory ? 0 : -ENOMEM;
    for (uint64_t i = 0; i < n && error == 0; i++)
        if (!(p = get_slice(p, end, &ranges[i].begin)) || !(p = get_slice(p, end, &ranges[i].end)) ||
            !(p = fc_get_varint(p, end, &ranges[i].seq)))
            error = table_damaged(t, at, "a range deletion is cut off");
    if (error == 0 && p != end)
        error = table_damaged(t, at, "more bytes than range deletions");
    if (error == 0)
        fc_range_set_init(&t->ranges, t->range_memory, ranges, n);
    free(ranges);
    return error;
}

/* Everything between the data blocks and the footer. */
static int open_meta(fc_table *t, const table_footer *f)
{
    uint64_t total = t->properties.file_bytes - TABLE_FOOTER - f->data_bytes, at = f->data_bytes;
    fc_slice part[META_COUNT];
    t->meta = malloc(total + 1);
    if (t->meta == NULL)
        return -ENOMEM;
    int error = fc_file_read(t->file, t->meta, total, f->data_bytes);
    if (error < 0)
        return error == FC_DISK_SHORT ? table_damaged(t, at, "the file has become shorter") : error;
    const char *p = t->meta;
    uint64_t offsets[META_COUNT];
    for (size_t i = 0; i < META_COUNT; p += meta_bytes(f->meta[i]), at += meta_bytes(f->meta[i]), i++) {
        part[i] = (fc_slice){p, f->meta[i]};
        offsets[i] = at;
        if (f->meta[i] && (!table_check(p, f->meta[i], f->id, at) || p[f->meta[i]] != FC_CODEC_NONE))
            return table_damaged(t, at, "the checksum of a block behind the data is wrong");
    }
    if (!table_get_properties(part[META_PROPERTIES], &t->properties, &t->hash_key))
        return table_damaged(t, offsets[META_PROPERTIES], "the properties cannot be read");
    t->filter = part[META_FILTER];
    if (t->filter.n && !filter_is(t->filter.p, t->filter.n))
        return table_damaged(t, offsets[META_FILTER], "the filter cannot be read");
    bool memory;
    if (!table_index_open(&t->index, part[META_INDEX], t->properties.blocks, f->data_bytes, &memory))
        return memory ? table_damaged(t, offsets[META_INDEX], "the index cannot be read") : -ENOMEM;
    return open_ranges(t, part[META_RANGES], offsets[META_RANGES]);
}

static int open_footer(fc_table *t, table_footer *f)
{
    char bytes[TABLE_FOOTER];
    int64_t size = fc_file_size(t->file);
    if (size < 0)
        return (int)size;
    if (size < (int64_t)TABLE_FOOTER) {
        table_damaged(t, 0, "too short for a table");
        return FC_TABLE_EFORMAT;
    }
    uint64_t at = (uint64_t)size - TABLE_FOOTER;
    int error = fc_file_read(t->file, bytes, sizeof bytes, at);
    if (error < 0)
        return error == FC_DISK_SHORT ? table_damaged(t, at, "the file has become shorter") : error;
    const char *what;
    error = table_get_footer(bytes, (uint64_t)size, f, &what);
    if (error < 0)
        table_damaged(t, at, what);
    t->properties.id = f->id;
    t->properties.owner = f->owner;
    t->properties.data_bytes = f->data_bytes;
    t->properties.file_bytes = (uint64_t)size;
    return error;
}

int fc_table_open(fc_disk *disk, const char *name, fc_block_cache *cache, const fc_codecs *codecs, fc_damage *damage,
                  fc_table **out)
{
    fc_table *t = calloc(1, sizeof *t);
    table_footer f = {0};
    if (t == NULL)
        return -ENOMEM;
    snprintf(t->damage.name, sizeof t->damage.name, "%s", name);
    t->cache = cache;
    t->codecs = codecs;
    int error = fc_disk_file(disk, name, FC_FILE_READ, &t->file);
    if (error < 0) {
        free(t);
        return error;
    }
    error = open_footer(t, &f);
    if (error == 0)
        error = open_meta(t, &f);
    if (error == 0 && cache && !(t->cached = fc_block_cache_open(cache, t->index.n)))
        error = -ENOMEM;
    if (error == 0) {
        *out = t;
        return 0;
    }
    if (damage)
        fc_table_damage(t, damage);
    fc_table_close(t);
    return error;
}

void fc_table_close(fc_table *t)
{
    if (t == NULL)
        return;
    fc_block_cache_close(t->cache, t->cached);
    fc_file_close(t->file);
    table_index_close(&t->index);
    free(t->range_memory);
    free(t->meta);
    free(t);
}

const fc_table_properties *fc_table_get_properties(const fc_table *t) { return &t->properties; }

const fc_range_set *fc_table_ranges(const fc_table *t) { return &t->ranges; }

uint64_t fc_table_memory(const fc_table *t)
{
    uint64_t meta = t->properties.file_bytes - TABLE_FOOTER - t->properties.data_bytes;
    return sizeof *t + meta + fc_range_set_bytes(t->ranges.n) + t->index.keys.cap + 36 * ((uint64_t)t->index.n + 1);
}

/* --- blocks ----------------------------------------------------------------------------------------------------- */

/* The block that was written as `stored` (trailer at n), expanded. */
static int expand(fc_table *t, uint64_t at, const fc_block *stored, uint32_t n, fc_block **out)
{
    uint32_t raw = n >= 4 ? fc_get32(stored->data) : 0;
    if (n < 4 || raw > TABLE_RAW_MAX)
        return table_damaged(t, at, "a compressed block without its length");
    fc_codec codec = (fc_codec)(uint8_t)stored->data[n];
    if (codec > FC_CODEC_ZSTD)
        return table_damaged(t, at, "a block of an unknown codec");
    if (t->codecs == NULL || !fc_codecs_have(t->codecs, codec))
        return FC_TABLE_ECODEC;
    fc_block *b = fc_block_new(raw);
    if (b == NULL)
        return -ENOMEM;
    int error = fc_codec_expand(t->codecs, codec, stored->data + 4, n - 4, b->data, raw);
    if (error == 0) {
        *out = b;
        return 0;
    }
    fc_block_release(b);
    return table_damaged(t, at, "a block that cannot be expanded");
}

int table_load(fc_table *t, uint32_t i, bool memory_only, bool keep_out, bool past, fc_block **out)
{
    uint64_t at = t->index.offsets[i];
    uint32_t n = (uint32_t)(t->index.offsets[i + 1] - at - TABLE_TRAILER);
    if (t->cached && !past && (*out = fc_block_cache_get(t->cache, t->cached, i, n)))
        return 0;
    if (memory_only && n > TABLE_NOW_BYTES)
        return FC_EWOULDREAD;
    fc_block *b = fc_block_new(n + TABLE_TRAILER);
    if (b == NULL)
        return -ENOMEM;
    int error = memory_only ? fc_file_read_now(t->file, b->data, n + TABLE_TRAILER, at)
                            : fc_file_read(t->file, b->data, n + TABLE_TRAILER, at);
    if (memory_only && error == -EAGAIN)
        error = FC_EWOULDREAD;
    else if (error == FC_DISK_SHORT)
        error = table_damaged(t, at, "the file has become shorter");
    else if (error == 0 && !table_check(b->data, n, t->properties.id, at))
        error = table_damaged(t, at, "the checksum of a data block is wrong");
    if (error == 0 && b->data[n] != FC_CODEC_NONE) {
        fc_block *expanded = NULL;
        error = expand(t, at, b, n, &expanded);
        fc_block_release(b);
        b = expanded;
    } else {
        b->n = n;
    }
    if (error < 0) {
        fc_block_release(b);
        return error;
    }
    *out = t->cached && !keep_out && !past ? fc_block_cache_put(t->cache, t->cached, i, b) : b;
    return 0;
}

/* --- one key ---------------------------------------------------------------------------------------------------- */

static bool in_filter(const fc_table *t, const fc_lookup *l)
{
    if (t->filter.n == 0)
        return true;
    bool same = l->hash_key.k0 == t->hash_key.k0 && l->hash_key.k1 == t->hash_key.k1;
    return filter_may_have(t->filter.p, t->filter.n, same ? l->hash : fc_hash(&t->hash_key, l->key.p, l->key.n));
}

static bool in_reach(const fc_table *t, const fc_lookup *l)
{
    return fc_key_compare(l->key, t->properties.smallest) >= 0 && fc_key_compare(l->key, t->properties.largest) <= 0;
}

bool fc_table_may_have(const fc_table *t, const fc_lookup *l)
{
    return in_reach(t, l) &&
           ((t->index.n && in_filter(t, l)) || (t->ranges.n && fc_range_set_seq(&t->ranges, l->key, l->snapshot)));
}

static int answer_with(fc_table *t, const fc_lookup *l, uint64_t at, const block_cursor *c, fc_found *out)
{
    out->tag = c->tag;
    if (!fc_value_split(c->tag, c->value, &out->value, &out->expires_ms))
        return table_damaged(t, at, "an expiring value without its expiry");
    return fc_value_lives(c->tag, out->expires_ms, l->now_ms) ? FC_FOUND : FC_DELETED;
}

int fc_table_get(fc_table *t, const fc_lookup *l, fc_found *out)
{
    *out = (fc_found){0};
    if (!in_reach(t, l))
        return FC_NOT_HERE;
    uint64_t covered = t->ranges.n ? fc_range_set_seq(&t->ranges, l->key, l->snapshot) : 0;
    int nothing = covered ? FC_DELETED : FC_NOT_HERE;
    if (t->index.n == 0 || !in_filter(t, l))
        return nothing;
    uint64_t tag = fc_tag_seek(l->snapshot);
    uint32_t i = table_index_find(&t->index, l->key, tag);
    if (i == t->index.n)
        return nothing;
    fc_block *b;
    int answer = table_load(t, i, l->memory_only, false, false, &b);
    if (answer < 0)
        return answer;
    uint64_t at = t->index.offsets[i];
    block_cursor c = {0};
    block_answer found = block_open(&c, b->data, b->n);
    if (found == BLOCK_HERE)
        found = block_get(&c, l->key, tag);
    if (found == BLOCK_HERE)
        answer = fc_tag_seq(c.tag) < covered ? FC_DELETED : answer_with(t, l, at, &c, out);
    else
        answer = found == BLOCK_END ? nothing : table_damaged(t, at, "a data block that cannot be read");
    if (answer == FC_FOUND)
        out->block = b;
    else
        fc_block_release(b);
    if (answer != FC_FOUND)
        out->value = (fc_slice){0};
    return answer;
}

uint64_t fc_table_bytes_between(const fc_table *t, fc_slice from, fc_slice to)
{
    uint32_t first = table_index_find(&t->index, from, UINT64_MAX), last = table_index_find(&t->index, to, UINT64_MAX);
    if (t->index.n == 0 || first >= last)
        return 0;
    return t->index.offsets[last] - t->index.offsets[first];
}

const char *fc_table_strerror(int error)
{
    switch (error) {
    case FC_TABLE_ECORRUPT:
        return "a table is damaged";
    case FC_TABLE_EFORMAT:
        return "not a table, or of a later version";
    case FC_TABLE_EORDER:
        return "an entry that is not above the one before";
    case FC_TABLE_ESIZE:
        return "a key, value or table that is too large, or of an unknown type";
    case FC_TABLE_ECODEC:
        return "a block is compressed by a library that is not on this machine";
    case FC_EWOULDREAD:
        return "the answer is on the disk";
    case FC_DISK_SHORT:
        return "the file ends too early";
    default:
        return error < 0 && error > -10000 ? strerror(-error) : "no error";
    }
}
