#include <errno.h>

#include "block.h"
#include "filter.h"
#include "table_format.h"

/* An entry against what stands elsewhere in the file: separators, filter, properties. */
static const char *wrong_entry(const fc_table *t, uint32_t i, const block_cursor *c)
{
    const table_index *x = &t->index;
    fc_slice key = bytes_slice(&c->key);
    if (i > 0 && fc_ikey_compare(table_separator(x, i - 1), x->tags[i - 1], key, c->tag) >= 0)
        return "an entry that belongs before its block";
    if (fc_ikey_compare(key, c->tag, table_separator(x, i), x->tags[i]) > 0)
        return "an entry that belongs behind its block";
    if (fc_key_compare(key, t->properties.smallest) < 0 || fc_key_compare(key, t->properties.largest) > 0)
        return "an entry outside the table's bounds";
    if (fc_tag_seq(c->tag) < t->properties.first_seq || fc_tag_seq(c->tag) > t->properties.last_seq)
        return "a sequence number outside the table's bounds";
    if (t->filter.n && !filter_may_have(t->filter.p, t->filter.n, fc_hash(&t->hash_key, key.p, key.n)))
        return "a key that is not in the filter";
    if (fc_tag_type(c->tag) == FC_KEY_EXPIRING && c->value.n < FC_EXPIRY_BYTES)
        return "an expiring value without its expiry";
    return NULL;
}

/* Entry by entry: ascending, and each where a get would find it. */
static int verify_entries(fc_table *t, uint32_t i, block_cursor *c, bytes *last, fc_table_check *check)
{
    uint64_t at = t->index.offsets[i], last_tag = 0;
    block_cursor probe = {0};
    uint64_t before = check->entries;
    block_answer answer = block_first(c);
    if (block_open(&probe, c->p, c->end + 4 * (size_t)c->restart_n + 4) != BLOCK_HERE || !block_restarts_sound(c))
        return table_damaged(t, at, "a data block that cannot be read");
    for (; answer == BLOCK_HERE; answer = block_next(c)) {
        fc_slice key = bytes_slice(&c->key);
        const char *wrong = wrong_entry(t, i, c);
        if (wrong == NULL && check->entries > before && fc_ikey_compare(bytes_slice(last), last_tag, key, c->tag) >= 0)
            wrong = "entries out of order";
        if (wrong == NULL && (block_get(&probe, key, c->tag) != BLOCK_HERE || probe.value.p != c->value.p))
            wrong = "an entry that a search of its block does not find";
        if (wrong)
            return table_damaged(t, at, wrong);
        if (!bytes_set(last, key.p, key.n))
            return -ENOMEM;
        last_tag = c->tag;
        check->entries++;
        check->deletes += fc_tag_type(c->tag) == FC_KEY_DELETE;
        check->expiring += fc_tag_type(c->tag) == FC_KEY_EXPIRING;
    }
    if (answer == BLOCK_NO_MEMORY)
        return -ENOMEM;
    return answer == BLOCK_END ? 0 : table_damaged(t, at, "a data block that cannot be read");
}

static int verify_block(fc_table *t, uint32_t i, fc_table_check *check)
{
    fc_block *b;
    int error = table_load(t, i, false, true, true, &b);
    if (error < 0)
        return error;
    block_cursor c = {0};
    bytes last = {0};
    if (block_open(&c, b->data, b->n) == BLOCK_HERE)
        error = verify_entries(t, i, &c, &last, check);
    else
        error = table_damaged(t, t->index.offsets[i], "a data block that cannot be read");
    bytes_free(&c.key);
    bytes_free(&last);
    fc_block_release(b);
    return error;
}

/* The parts in memory were checked when the table was opened; the disk may have rotted since. */
static int verify_meta(fc_table *t)
{
    uint64_t at = t->properties.data_bytes, n = t->properties.file_bytes - TABLE_FOOTER - at;
    table_footer f;
    char footer[TABLE_FOOTER], *meta = malloc(n + 1);
    const char *what;
    int error = meta ? fc_file_read(t->file, meta, n, at) : -ENOMEM;
    if (error == 0)
        error = fc_file_read(t->file, footer, TABLE_FOOTER, at + n);
    if (error == FC_DISK_SHORT)
        error = table_damaged(t, at, "the file has become shorter");
    if (error == 0 && (table_get_footer(footer, t->properties.file_bytes, &f, &what) < 0 || f.data_bytes != at))
        error = table_damaged(t, at + n, "the footer has changed");
    const char *p = meta;
    for (size_t i = 0; i < META_COUNT && error == 0; i++) {
        if (f.meta[i] && !table_check(p, f.meta[i], t->properties.id, at))
            error = table_damaged(t, at, "the checksum of a block behind the data is wrong");
        p += meta_bytes(f.meta[i]);
        at += meta_bytes(f.meta[i]);
    }
    free(meta);
    return error;
}

int fc_table_verify(fc_table *t, fc_table_check *check)
{
    const fc_table_properties *p = &t->properties;
    if (check->block < t->index.n) {
        int error = verify_block(t, (uint32_t)check->block, check);
        if (error < 0 && error != FC_TABLE_ECORRUPT)
            return error;
        check->damaged += error < 0;
        check->block++;
        return error < 0 ? error : 1;
    }
    check->over = true;
    if (check->damaged) /* not all entries were counted */
        return verify_meta(t);
    if (check->entries != p->entries || check->deletes != p->deletes || check->expiring != p->expiring)
        return table_damaged(t, p->data_bytes, "not as many entries as the properties say");
    for (size_t i = 0; i < t->ranges.n; i++) {
        const fc_range *r = &t->ranges.ranges[i];
        if (fc_key_compare(r->begin, p->smallest) < 0 || fc_key_compare(r->end, p->largest) > 0 || r->seq > p->last_seq)
            return table_damaged(t, p->data_bytes, "a range deletion outside the table's bounds");
    }
    return verify_meta(t);
}
