#include <errno.h>

#include "block.h"
#include "fc/unsafe.h"
#include "filter.h"
#include "table_format.h"

const fc_table_options FC_TABLE_OPTIONS = {.block_bytes = 8192, .restart_interval = 16, .filter_bits = 10};

#define SAVED_PART 8u /* a block is written compressed when that saves an eighth: less is not worth expanding it for */

struct fc_table_writer {
    fc_file *file;
    fc_table_options options;
    fc_table_properties properties;
    int error;
    bool finished;
    block_builder block;
    bytes last;       /* user key added last */
    uint64_t last_tag;
    bytes buffer;     /* of the file, from `offset` on */
    uint64_t offset, written_out;
    bytes scratch;    /* a block compressed */
    bytes index, separator, ranges, smallest, largest;
    uint32_t ended;   /* bytes of a block that is written and not in the index yet; 0: none */
    uint64_t *hashes; /* of the user keys */
    uint64_t hash_cap;
};

static int fail(fc_table_writer *w, int error)
{
    return w->error = error;
}

int fc_table_writer_open(fc_disk *disk, const char *name, const fc_table_options *options, fc_table_writer **out)
{
    const fc_table_options *o = options;
    if (o->block_bytes < FC_TABLE_BLOCK_MIN || o->block_bytes > FC_TABLE_BLOCK_MAX || o->restart_interval < 1 ||
        o->restart_interval > 128 || o->filter_bits > 32 || o->codec > FC_CODEC_ZSTD)
        return -EINVAL;
    fc_table_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->options = *o;
    w->properties.id = o->id;
    w->properties.owner = o->owner;
    w->block.interval = o->restart_interval;
    int error = fc_disk_file(disk, name, FC_FILE_CREATE, &w->file);
    if (error < 0) {
        free(w);
        return error;
    }
    *out = w;
    return 0;
}

void fc_table_writer_close(fc_table_writer *w)
{
    if (w == NULL)
        return;
    fc_file_close(w->file);
    block_builder_free(&w->block);
    bytes *all[] = {&w->last, &w->buffer, &w->scratch, &w->index, &w->separator, &w->ranges, &w->smallest, &w->largest};
    for (size_t i = 0; i < FC_ARRAY_LEN(all); i++)
        bytes_free(all[i]);
    free(w->hashes);
    free(w);
}

int fc_table_writer_sync(fc_table_writer *w)
{
    if (w->error == 0 && !w->finished)
        return -EINVAL;
    if (w->error == 0 && !FC_UNSAFE(FC_UNSAFE_TABLE_NOT_SYNCED))
        w->error = fc_file_sync(w->file);
    return w->error;
}

static int flush(fc_table_writer *w)
{
    int error = w->buffer.n ? fc_file_write(w->file, w->buffer.p, w->buffer.n, w->offset) : 0;
    if (error < 0)
        return fail(w, error);
    w->offset += w->buffer.n;
    w->buffer.n = 0;
    if (w->offset - w->written_out < FC_DISK_PIECE)
        return 0;
    error = fc_file_write_out(w->file, w->written_out, w->offset - w->written_out);
    w->written_out = w->offset;
    return error < 0 ? fail(w, error) : 0;
}

/* A block with its trailer. */
static int emit(fc_table_writer *w, const char *p, size_t n, fc_codec codec)
{
    if (!bytes_reserve(&w->buffer, n + TABLE_TRAILER))
        return fail(w, -ENOMEM);
    char *to = w->buffer.p + w->buffer.n;
    memcpy(to, p, n);
    table_seal(to, n, codec, w->options.id, w->offset + w->buffer.n);
    w->buffer.n += n + TABLE_TRAILER;
    return w->buffer.n >= FC_TABLE_WRITE_BYTES ? flush(w) : 0;
}

/* Shortens *user, which is below next, to something from it on and below next, when that is shorter. */
static void shorten(bytes *user, fc_slice next)
{
    size_t i = 0;
    while (i < user->n && i < next.n && user->p[i] == next.p[i])
        i++;
    if (i + 1 >= user->n || i >= next.n || (uint8_t)user->p[i] + 1 >= (uint8_t)next.p[i])
        return;
    user->p[i]++;
    user->n = i + 1;
}

/* Puts the block that has ended into the index, now that it is known what comes after it; next NULL: nothing. */
static int index_ended(fc_table_writer *w, const fc_slice *next)
{
    bytes *before = &w->separator, separator = {0};
    bool same = next && fc_key_equal(*next, bytes_slice(&w->last));
    uint64_t tag = same ? w->last_tag : 0;
    if (!bytes_set(&separator, w->last.p, w->last.n) || !bytes_reserve(&w->index, 4 * FC_VARINT64_MAX + w->last.n)) {
        bytes_free(&separator);
        return fail(w, -ENOMEM);
    }
    if (next && !same)
        shorten(&separator, *next);
    size_t shared = 0;
    while (shared < before->n && shared < separator.n && before->p[shared] == separator.p[shared])
        shared++;
    bytes_put_varint(&w->index, shared);
    bytes_put_varint(&w->index, separator.n - shared);
    bytes_put_varint(&w->index, tag);
    bytes_put_varint(&w->index, w->ended);
    bytes_put(&w->index, separator.p + shared, separator.n - shared);
    bytes_free(before);
    *before = separator;
    w->ended = 0;
    return 0;
}

static int end_block(fc_table_writer *w)
{
    if (!block_finish(&w->block))
        return fail(w, -ENOMEM);
    const char *p = w->block.out.p;
    size_t n = w->block.out.n, most = n - n / SAVED_PART;
    fc_codec codec = FC_CODEC_NONE;
    if (w->options.codec != FC_CODEC_NONE && w->options.codecs && most > 4) {
        w->scratch.n = 0;
        if (!bytes_reserve(&w->scratch, most))
            return fail(w, -ENOMEM);
        size_t made = fc_codec_compress(w->options.codecs, w->options.codec, p, n, w->scratch.p + 4, most - 4);
        if (made) {
            fc_put32(w->scratch.p, (uint32_t)n);
            p = w->scratch.p;
            n = made + 4;
            codec = w->options.codec;
        }
    }
    w->ended = (uint32_t)n;
    w->properties.data_bytes += n + TABLE_TRAILER;
    if (++w->properties.blocks >= UINT32_MAX)
        return fail(w, FC_TABLE_ESIZE);
    int error = emit(w, p, n, codec);
    block_reset(&w->block);
    return error;
}

static bool note_key(fc_table_writer *w, fc_slice user)
{
    if (w->options.filter_bits && w->properties.keys == w->hash_cap) {
        uint64_t cap = w->hash_cap ? w->hash_cap * 2 : 1024;
        uint64_t *grown = realloc(w->hashes, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        w->hashes = grown;
        w->hash_cap = cap;
    }
    if (w->options.filter_bits)
        w->hashes[w->properties.keys] = fc_hash(&w->options.hash_key, user.p, user.n);
    w->properties.keys++;
    return true;
}

static void note_seq(fc_table_properties *p, uint64_t seq)
{
    bool first = p->entries + p->ranges == 0;
    p->first_seq = first || seq < p->first_seq ? seq : p->first_seq;
    p->last_seq = seq > p->last_seq ? seq : p->last_seq;
}

static void note_entry(fc_table_properties *p, fc_slice user, uint64_t tag, fc_slice value)
{
    note_seq(p, fc_tag_seq(tag));
    p->entries++;
    p->deletes += fc_tag_type(tag) == FC_KEY_DELETE;
    p->key_bytes += user.n + FC_TAG_BYTES;
    p->value_bytes += value.n;
    if (fc_tag_type(tag) == FC_KEY_EXPIRING) {
        uint64_t at = fc_get64(value.p);
        p->first_expiry = p->expiring == 0 || at < p->first_expiry ? at : p->first_expiry;
        p->last_expiry = at > p->last_expiry ? at : p->last_expiry;
        p->expiring++;
    }
}

static bool widen(fc_table_writer *w, fc_slice from, fc_slice to)
{
    bool first = w->properties.entries + w->properties.ranges == 0;
    bool below = first || fc_key_compare(from, bytes_slice(&w->smallest)) < 0;
    bool above = first || fc_key_compare(to, bytes_slice(&w->largest)) > 0;
    return (!below || bytes_set(&w->smallest, from.p, from.n)) && (!above || bytes_set(&w->largest, to.p, to.n));
}

int fc_table_add(fc_table_writer *w, fc_slice user, uint64_t tag, fc_slice value)
{
    fc_table_properties *p = &w->properties;
    if (w->error < 0 || w->finished)
        return w->error < 0 ? w->error : -EINVAL;
    if (user.n > FC_KEY_MAX || value.n > FC_VALUE_MAX || !fc_type_is_point(tag & 0xFF) ||
        (fc_tag_type(tag) == FC_KEY_EXPIRING && value.n < FC_EXPIRY_BYTES))
        return fail(w, FC_TABLE_ESIZE);
    int order = p->entries ? fc_key_compare(bytes_slice(&w->last), user) : -1;
    if (order > 0 || (order == 0 && w->last_tag <= tag))
        return fail(w, FC_TABLE_EORDER);
    if (w->ended && index_ended(w, &user) < 0)
        return w->error;
    if ((order < 0 && !note_key(w, user)) || (p->entries == 0 && !widen(w, user, user)) ||
        !block_add(&w->block, user, tag, value) || !bytes_set(&w->last, user.p, user.n))
        return fail(w, -ENOMEM);
    w->last_tag = tag;
    note_entry(p, user, tag, value);
    return block_bytes(&w->block) >= w->options.block_bytes ? end_block(w) : 0;
}

int fc_table_add_range(fc_table_writer *w, const fc_range *r)
{
    if (w->error < 0 || w->finished)
        return w->error < 0 ? w->error : -EINVAL;
    if (r->begin.n > FC_KEY_MAX || r->end.n > FC_KEY_MAX || r->seq > FC_SEQ_MAX)
        return fail(w, FC_TABLE_ESIZE);
    if (fc_key_compare(r->begin, r->end) >= 0)
        return 0;
    if (!bytes_reserve(&w->ranges, 3 * FC_VARINT64_MAX + r->begin.n + r->end.n) || !widen(w, r->begin, r->end))
        return fail(w, -ENOMEM);
    bytes_put_slice(&w->ranges, r->begin);
    bytes_put_slice(&w->ranges, r->end);
    bytes_put_varint(&w->ranges, r->seq);
    note_seq(&w->properties, r->seq);
    w->properties.ranges++;
    return 0;
}

uint64_t fc_table_writer_bytes(const fc_table_writer *w)
{
    uint64_t bits = (uint64_t)w->options.filter_bits * w->properties.keys;
    return w->properties.data_bytes + block_bytes(&w->block) + w->index.n + w->ranges.n + bits / 8 + TABLE_FOOTER;
}

static int emit_meta(fc_table_writer *w, const bytes *b, uint32_t *size)
{
    if (b->n > UINT32_MAX)
        return fail(w, FC_TABLE_ESIZE);
    *size = (uint32_t)b->n;
    return b->n ? emit(w, b->p, b->n, FC_CODEC_NONE) : 0;
}

static int emit_filter(fc_table_writer *w, uint32_t *size)
{
    if (w->options.filter_bits == 0 || w->properties.keys == 0)
        return 0;
    bytes filter = {.n = filter_bytes(w->properties.keys, w->options.filter_bits)};
    filter.p = calloc(1, filter.n);
    if (filter.p == NULL)
        return fail(w, -ENOMEM);
    filter_build(filter.p, filter.n, w->options.filter_bits, w->hashes, w->properties.keys);
    int error = emit_meta(w, &filter, size);
    free(filter.p);
    return error;
}

int fc_table_finish(fc_table_writer *w, fc_table_properties *properties)
{
    table_footer f = {.id = w->options.id, .owner = w->options.owner};
    char footer[TABLE_FOOTER];
    if (w->error < 0 || w->finished)
        return w->error < 0 ? w->error : -EINVAL;
    if (w->block.out.n && end_block(w) < 0)
        return w->error;
    if (w->ended && index_ended(w, NULL) < 0)
        return w->error;
    if (w->properties.entries && !widen(w, bytes_slice(&w->last), bytes_slice(&w->last)))
        return fail(w, -ENOMEM);
    w->properties.smallest = bytes_slice(&w->smallest);
    w->properties.largest = bytes_slice(&w->largest);
    f.data_bytes = w->properties.data_bytes;
    if (emit_filter(w, &f.meta[META_FILTER]) < 0 || emit_meta(w, &w->ranges, &f.meta[META_RANGES]) < 0)
        return w->error;
    if (!table_put_properties(&w->scratch, &w->properties, &w->options.hash_key))
        return fail(w, -ENOMEM);
    if (emit_meta(w, &w->scratch, &f.meta[META_PROPERTIES]) < 0 || emit_meta(w, &w->index, &f.meta[META_INDEX]) < 0)
        return w->error;
    table_put_footer(footer, &f);
    if (!bytes_reserve(&w->buffer, TABLE_FOOTER))
        return fail(w, -ENOMEM);
    bytes_put(&w->buffer, footer, TABLE_FOOTER);
    if (flush(w) < 0)
        return w->error;
    w->finished = true;
    w->properties.file_bytes = w->offset;
    if (properties)
        *properties = w->properties;
    return 0;
}
