#include "fc/table_salvage.h"

#include <errno.h>

#include "block.h"
#include "fc/crc32c.h"
#include "table_format.h"

#define READ_PIECE (64u << 10) /* what one unreadable sector costs at most */
/* How long a block may be that is looked for behind a damaged one: each place where it could begin is tried with each
 * length up to this, or four times the largest block seen. */
#define SEARCH_BYTES (64u << 10)
#define BLOCK_MIN (3 + FC_TAG_BYTES + 8) /* an entry without key and value, a restart, their number */

struct fc_table_salvage {
    char *p; /* the file; zeros where it cannot be read */
    uint64_t size, id, data_bytes;
    const fc_codecs *codecs;
    table_footer footer;
    bool footer_known, index_known, ranges_given;
    table_index index;
    fc_slice ranges;
    uint32_t next;    /* with an index: block */
    uint64_t at;      /* without: offset */
    uint64_t largest; /* block so far */
    bytes last;       /* key given last */
    uint64_t last_tag;
    bool any;
    char *expanded;
    block_cursor cursor;
};

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int slurp(fc_table_salvage *s, fc_disk *disk, const char *name)
{
    fc_file *f;
    int error = fc_disk_file(disk, name, FC_FILE_READ, &f);
    if (error < 0)
        return error;
    int64_t size = fc_file_size(f);
    s->size = size > 0 ? (uint64_t)size : 0;
    s->p = calloc(1, s->size + 1);
    for (uint64_t at = 0; s->p && at < s->size; at += READ_PIECE) {
        uint64_t n = s->size - at < READ_PIECE ? s->size - at : READ_PIECE;
        if (fc_file_read(f, s->p + at, n, at) < 0)
            memset(s->p + at, 0, n);
    }
    fc_file_close(f);
    return size < 0 ? (int)size : s->p ? 0 : -ENOMEM;
}

/* An index says how many entries it has only in the properties, which may be damaged: they are counted. */
static bool count_blocks(fc_slice in, uint64_t *blocks)
{
    const char *p = in.p, *end = in.p + in.n;
    for (*blocks = 0; p < end; ++*blocks) {
        uint32_t shared, brought, size;
        uint64_t tag;
        if (!(p = fc_get_varint32(p, end, &shared)) || !(p = fc_get_varint32(p, end, &brought)) ||
            !(p = fc_get_varint(p, end, &tag)) || !(p = fc_get_varint32(p, end, &size)) ||
            brought > (uint64_t)(end - p))
            return false;
        p += brought;
    }
    return true;
}

static int open_parts(fc_table_salvage *s)
{
    const char *what;
    if (s->size < TABLE_FOOTER ||
        table_get_footer(s->p + s->size - TABLE_FOOTER, s->size, &s->footer, &what) < 0 || s->footer.id != s->id) {
        s->data_bytes = s->size;
        return 0;
    }
    s->footer_known = true;
    s->data_bytes = s->footer.data_bytes;
    uint64_t at = s->data_bytes, blocks;
    for (size_t i = 0; i < META_COUNT; at += meta_bytes(s->footer.meta[i]), i++) {
        fc_slice part = {s->p + at, s->footer.meta[i]};
        if (part.n == 0 || !table_check(part.p, part.n, s->id, at))
            continue;
        bool memory = true;
        if (i == META_RANGES)
            s->ranges = part;
        else if (i == META_INDEX && count_blocks(part, &blocks))
            s->index_known = table_index_open(&s->index, part, blocks, s->data_bytes, &memory);
        if (!memory)
            return -ENOMEM;
    }
    return 0;
}

int fc_table_salvage_open(fc_disk *disk, const char *name, uint64_t id, const fc_codecs *codecs, fc_table_salvage **out)
{
    fc_table_salvage *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->id = id;
    s->codecs = codecs;
    s->ranges = (fc_slice){"", 0};
    int error = slurp(s, disk, name);
    if (error == 0)
        error = open_parts(s);
    if (error < 0)
        fc_table_salvage_close(s);
    else
        *out = s;
    return error;
}

void fc_table_salvage_close(fc_table_salvage *s)
{
    if (s == NULL)
        return;
    table_index_close(&s->index);
    bytes_free(&s->last);
    bytes_free(&s->cursor.key);
    free(s->expanded);
    free(s->p);
    free(s);
}

bool fc_table_salvage_owner(const fc_table_salvage *s, uint32_t *owner)
{
    *owner = s->footer.owner;
    return s->footer_known;
}

/* --- one block -------------------------------------------------------------------------------------------------- */

/* Payload of n bytes at an offset, whose checksum is right, as entries: 1; 0, they are none; or an error. */
static int expand(fc_table_salvage *s, uint64_t at, uint64_t n, fc_slice *raw)
{
    const char *p = s->p + at;
    fc_codec codec = (fc_codec)(uint8_t)p[n];
    *raw = (fc_slice){p, n};
    if (codec == FC_CODEC_NONE)
        return 1;
    if (codec > FC_CODEC_ZSTD || n < 4 || fc_get32(p) > TABLE_RAW_MAX)
        return 0;
    if (s->codecs == NULL || !fc_codecs_have(s->codecs, codec))
        return FC_TABLE_ECODEC;
    free(s->expanded);
    *raw = (fc_slice){s->expanded = malloc((size_t)fc_get32(p) + 1), fc_get32(p)};
    if (s->expanded == NULL)
        return -ENOMEM;
    return fc_codec_expand(s->codecs, codec, p + 4, n - 4, s->expanded, raw->n) == 0;
}

/* All of it ascends, beginning above what was given last. 1, 0, -ENOMEM. */
static int reads_well(fc_table_salvage *s, fc_slice raw)
{
    bytes last = {0};
    uint64_t last_tag = s->last_tag;
    bool any = s->any;
    int answer = bytes_set(&last, s->last.p, s->last.n) ? 1 : -ENOMEM;
    block_answer found = BLOCK_DAMAGED;
    if (answer == 1 && block_open(&s->cursor, raw.p, raw.n) == BLOCK_HERE)
        found = block_first(&s->cursor);
    if (found == BLOCK_HERE && s->cursor.at != 0)
        found = BLOCK_DAMAGED;
    for (; found == BLOCK_HERE && answer == 1; found = block_next(&s->cursor)) {
        fc_slice key = bytes_slice(&s->cursor.key);
        bool expiring = fc_tag_type(s->cursor.tag) == FC_KEY_EXPIRING;
        if ((any && fc_ikey_compare(bytes_slice(&last), last_tag, key, s->cursor.tag) >= 0) ||
            (expiring && s->cursor.value.n < FC_EXPIRY_BYTES))
            answer = 0;
        else if (!bytes_set(&last, key.p, key.n))
            answer = -ENOMEM;
        last_tag = s->cursor.tag;
        any = true;
    }
    bytes_free(&last);
    if (found == BLOCK_NO_MEMORY)
        return -ENOMEM;
    return answer == 1 && found != BLOCK_END ? 0 : answer;
}

/* Is the block of n bytes at this offset sound? *raw is what is in it. */
static int sound(fc_table_salvage *s, uint64_t at, uint64_t n, fc_slice *raw)
{
    int answer = table_check(s->p + at, n, s->id, at) ? expand(s, at, n, raw) : 0;
    return answer == 1 ? reads_well(s, *raw) : answer;
}

static int give(fc_table_salvage *s, fc_slice raw, const fc_salvage_sink *sink)
{
    block_open(&s->cursor, raw.p, raw.n);
    for (block_answer a = block_first(&s->cursor); a == BLOCK_HERE; a = block_next(&s->cursor)) {
        fc_slice key = bytes_slice(&s->cursor.key);
        int error = sink->entry(sink->ctx, key, s->cursor.tag, s->cursor.value);
        if (error)
            return error;
        if (!bytes_set(&s->last, key.p, key.n))
            return -ENOMEM;
        s->last_tag = s->cursor.tag;
        s->any = true;
    }
    return 1;
}

static fc_salvage_loss loss_of(const fc_table_salvage *s, uint64_t from, uint64_t to, const char *what)
{
    return (fc_salvage_loss){.offset = from, .bytes = to - from, .what = what, .from_known = s->any,
                             .from = bytes_slice(&s->last)};
}

static int step_indexed(fc_table_salvage *s, const fc_salvage_sink *sink)
{
    uint32_t i = s->next++;
    uint64_t at = s->index.offsets[i], end = s->index.offsets[i + 1];
    fc_slice raw;
    int answer = sound(s, at, end - at - TABLE_TRAILER, &raw);
    if (answer != 0)
        return answer < 0 ? answer : give(s, raw, sink);
    fc_salvage_loss lost = loss_of(s, at, end, "a damaged data block");
    if (i > 0) {
        lost.from = table_separator(&s->index, i - 1);
        lost.from_known = true;
    }
    lost.to = table_separator(&s->index, i);
    lost.to_known = true;
    sink->loss(sink->ctx, &lost);
    return 1;
}

/* --- without an index ------------------------------------------------------------------------------------------- */

/* A sound block that begins here, of at most so many bytes: its checksum is carried on byte by byte. */
static int measure(fc_table_salvage *s, uint64_t at, uint64_t most, uint64_t *n, fc_slice *raw)
{
    uint64_t left = s->data_bytes - at;
    if (left < BLOCK_MIN + TABLE_TRAILER)
        return 0;
    most = most < left - TABLE_TRAILER ? most : left - TABLE_TRAILER;
    const char *p = s->p + at;
    uint32_t crc = fc_crc32c(table_seed(s->id, at), p, BLOCK_MIN);
    for (*n = BLOCK_MIN; *n <= most; ++*n) {
        crc = fc_crc32c(crc, p + *n, 1); /* what follows the payload is its codec */
        if ((uint8_t)p[*n] > FC_CODEC_ZSTD || fc_get32(p + *n + 1) != fc_crc32c_mask(crc))
            continue;
        int answer = sound(s, at, *n, raw);
        if (answer != 0)
            return answer;
    }
    return 0;
}

/* Could a block that is not compressed begin here? Its first entry shares nothing and has a type; so late a sequence
 * number that its upper byte is not zero takes centuries. */
static bool plausible(const fc_table_salvage *s, uint64_t at)
{
    const char *p = s->p + at, *end = s->p + s->data_bytes;
    uint32_t key_n, value_n;
    if (*p++ != 0 || !(p = fc_get_varint32(p, end, &key_n)) || !(p = fc_get_varint32(p, end, &value_n)) ||
        FC_TAG_BYTES + (uint64_t)key_n + value_n > (uint64_t)(end - p) || key_n > FC_KEY_MAX)
        return false;
    uint64_t tag = fc_get64(p);
    fc_slice key = {p + FC_TAG_BYTES, key_n};
    return fc_type_is_point(tag & 0xFF) && tag >> 56 == 0 &&
           !(s->any && fc_ikey_compare(bytes_slice(&s->last), s->last_tag, key, tag) >= 0);
}

static int step_searching(fc_table_salvage *s, const fc_salvage_sink *sink)
{
    uint64_t begin = s->at, n = 0, most = 4 * s->largest > SEARCH_BYTES ? 4 * s->largest : SEARCH_BYTES;
    fc_slice raw;
    int answer = measure(s, begin, UINT64_MAX, &n, &raw);
    while (answer == 0 && ++s->at < s->data_bytes)
        if (plausible(s, s->at))
            answer = measure(s, s->at, most, &n, &raw);
    if (answer < 0)
        return answer;
    if (s->at > begin) {
        fc_salvage_loss lost = loss_of(s, begin, s->at, "no sound data block begins here");
        if (answer == 1 && block_open(&s->cursor, raw.p, raw.n) == BLOCK_HERE &&
            block_first(&s->cursor) == BLOCK_HERE) {
            lost.to = bytes_slice(&s->cursor.key);
            lost.to_known = true;
        } else if (answer == 0 && !s->footer_known) { /* range deletions may lie here, of any keys */
            lost.what = "nothing sound from here on: entries, and range deletions if there were any";
            lost.from_known = false;
        }
        sink->loss(sink->ctx, &lost);
    }
    if (answer == 0)
        return 1;
    s->largest = n > s->largest ? n : s->largest;
    s->at += n + TABLE_TRAILER;
    return give(s, raw, sink);
}

/* --- range deletions -------------------------------------------------------------------------------------------- */

static int give_ranges(fc_table_salvage *s, const fc_salvage_sink *sink)
{
    const char *p = s->ranges.p, *end = s->ranges.p + s->ranges.n;
    fc_range r;
    while (p < end) {
        if (!(p = get_slice(p, end, &r.begin)) || !(p = get_slice(p, end, &r.end)) ||
            !(p = fc_get_varint(p, end, &r.seq)))
            break; /* cannot be, under a right checksum */
        int error = sink->range(sink->ctx, &r);
        if (error)
            return error;
    }
    if (s->footer_known && s->footer.meta[META_RANGES] && s->ranges.n == 0) {
        uint64_t at = s->data_bytes + meta_bytes(s->footer.meta[META_FILTER]);
        fc_salvage_loss lost = {.offset = at, .bytes = meta_bytes(s->footer.meta[META_RANGES]),
                                .what = "damaged range deletions: what they deleted may be back"};
        sink->loss(sink->ctx, &lost);
    }
    return 1;
}

int fc_table_salvage_step(fc_table_salvage *s, const fc_salvage_sink *sink)
{
    if (!s->ranges_given) {
        s->ranges_given = true;
        return give_ranges(s, sink);
    }
    if (s->index_known)
        return s->next < s->index.n ? step_indexed(s, sink) : 0;
    return s->at < s->data_bytes ? step_searching(s, sink) : 0;
}
