#include <errno.h>

#include "compact_internal.h"

/* Where a table of below[0] begins is a good place to end an output that is nearly full: what is merged with it later
 * then need not be merged with a second one for a few keys. Of it: */
#define NEARLY_FULL(bytes) ((bytes) / 4 * 3)

static int open_output(fc_compaction *c)
{
    if (c->writer)
        return 0;
    if (c->outputs_n == c->outputs_cap) {
        size_t cap = c->outputs_cap ? 2 * c->outputs_cap : 8;
        fc_compaction_output *grown = realloc(c->outputs, cap * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        c->outputs = grown;
        c->outputs_cap = cap;
    }
    fc_compaction_output *out = &c->outputs[c->outputs_n];
    char name[FC_DISK_NAME_MAX + 1];
    *out = (fc_compaction_output){.number = c->options.new_number(c->options.ctx)};
    c->options.name(name, out->number);
    fc_table_options table = c->options.table;
    table.id = out->number;
    int error = fc_table_writer_open(c->options.disk, name, &table, &c->writer);
    c->outputs_n += error == 0 || error != -EEXIST; /* somebody else's file is not ours to remove */
    return error;
}

/* Smallest and largest are the writer's and go with it. */
static int keep_properties(fc_compaction_output *out, const fc_table_properties *p)
{
    char *keys = malloc(p->smallest.n + p->largest.n + 1);
    if (keys == NULL)
        return -ENOMEM;
    out->properties = *p;
    out->properties.smallest = (fc_slice){memcpy(keys, p->smallest.p, p->smallest.n), p->smallest.n};
    out->properties.largest = (fc_slice){memcpy(keys + p->smallest.n, p->largest.p, p->largest.n), p->largest.n};
    return 0;
}

/* Range deletions of the stripe from where the output begins up to `to` (NULL: all). A piece goes on in the next output
 * when it reaches further. */
static int write_ranges(fc_compaction *c, stripe *s, const fc_slice *to)
{
    for (; s->write < s->n; s->write++) {
        fc_range r = s->pieces[s->write];
        bool further = to && fc_key_compare(r.end, *to) > 0;
        if (to && fc_key_compare(r.begin, *to) >= 0)
            return 0;
        if (fc_key_compare(r.begin, bytes_slice(&c->from)) < 0)
            r.begin = bytes_slice(&c->from);
        r.end = further ? *to : r.end;
        if (s->number > 0 || compact_below(c, r.begin, r.end)) {
            int error = open_output(c);
            if (error == 0)
                error = fc_table_add_range(c->writer, &r);
            if (error < 0)
                return error;
            c->counts.ranges_out++;
        }
        if (further)
            return 0;
    }
    return 0;
}

/* Ends the output before the key `to` (NULL: at the end of all keys). */
static int end_output(fc_compaction *c, const fc_slice *to)
{
    int error = 0;
    fc_table_properties p;
    for (size_t i = 0; i < c->stripes_n && error == 0; i++)
        error = write_ranges(c, &c->stripes[i], to);
    if (error < 0)
        return error;
    if (c->writer) {
        error = fc_table_finish(c->writer, &p);
        if (error == 0)
            error = fc_table_writer_sync(c->writer);
        if (error == 0)
            error = keep_properties(&c->outputs[c->outputs_n - 1], &p);
        fc_table_writer_close(c->writer);
        c->writer = NULL;
        c->counts.bytes_written += error == 0 ? p.file_bytes : 0;
    }
    c->border_bytes = 0;
    if (error == 0 && to && !bytes_set(&c->from, to->p, to->n))
        error = -ENOMEM;
    return error;
}

static bool anything_before(const fc_compaction *c, fc_slice key)
{
    for (size_t i = 0; i < c->stripes_n; i++) {
        const stripe *s = &c->stripes[i];
        if (s->write < s->n && fc_key_compare(s->pieces[s->write].begin, key) < 0)
            return true;
    }
    return c->writer != NULL;
}

/* Past the tables of below[0] that begin up to the key (NULL: all), ending outputs at their begins. */
static int pass_borders(fc_compaction *c, const fc_slice *key)
{
    const fc_pick_level *next = c->options.below;
    for (; c->options.below_n && c->border < next->n; c->border++) {
        const fc_table_meta *m = next->tables[c->border].meta;
        if (key && fc_key_compare(m->smallest, *key) > 0)
            return 0;
        if (!anything_before(c, m->smallest)) {
            c->border_bytes = m->bytes;
            continue;
        }
        bool full = c->writer && fc_table_writer_bytes(c->writer) >= NEARLY_FULL(c->options.table_bytes);
        bool far = c->options.below_bytes && c->border_bytes + m->bytes > c->options.below_bytes;
        int error = full || far ? end_output(c, &m->smallest) : 0;
        if (error < 0)
            return error;
        c->border_bytes += m->bytes;
    }
    return 0;
}

int compact_write(fc_compaction *c, bool first, fc_slice key, uint64_t tag, fc_slice value)
{
    int error = first ? pass_borders(c, &key) : 0;
    if (error == 0 && first && c->writer && fc_table_writer_bytes(c->writer) >= c->options.table_bytes)
        error = end_output(c, &key);
    if (error == 0)
        error = open_output(c);
    return error < 0 ? error : fc_table_add(c->writer, key, tag, value);
}

int compact_write_end(fc_compaction *c)
{
    int error = c->stripes_n ? pass_borders(c, NULL) : 0;
    return error < 0 ? error : end_output(c, NULL);
}
