#include <errno.h>

#include "../lsm/merge_internal.h"
#include "compact_internal.h"
#include "fc/unsafe.h"

/* Entries under one range deletion that are stepped over before a search for its end is cheaper. */
#define STEPS_MAX 16u
/* What an entry counts beyond its key and value, so that steps end whatever there is. */
#define ENTRY_BYTES 16u

static size_t stripe_of(const fc_compaction *c, uint64_t seq)
{
    size_t from = 0, to = c->options.snapshots_n;
    while (from < to) { /* the first snapshot that sees it */
        size_t middle = from + (to - from) / 2;
        if (c->snapshots[middle] < seq)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static stripe *stripe_find(fc_compaction *c, size_t number)
{
    size_t from = 0, to = c->stripes_n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (c->stripes[middle].number < number)
            from = middle + 1;
        else
            to = middle;
    }
    return from < c->stripes_n && c->stripes[from].number == number ? &c->stripes[from] : NULL;
}

/* --- opening and closing ---------------------------------------------------------------------------------------- */

static int by_seq(const void *a, const void *b)
{
    const fc_range *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int open_stripes(fc_compaction *c, const fc_range *ranges, size_t n)
{
    if (n == 0)
        return 0;
    size_t most = n < c->options.snapshots_n + 1 ? n : c->options.snapshots_n + 1;
    fc_range *sorted = malloc(n * sizeof *sorted);
    c->stripes = calloc(most, sizeof *c->stripes);
    int error = sorted && c->stripes ? 0 : -ENOMEM;
    if (error == 0) {
        memcpy(sorted, ranges, n * sizeof *ranges);
        qsort(sorted, n, sizeof *sorted, by_seq);
    }
    for (size_t i = 0, to; i < n && error == 0; i = to) {
        stripe *s = &c->stripes[c->stripes_n++];
        s->number = stripe_of(c, sorted[i].seq);
        for (to = i + 1; to < n && stripe_of(c, sorted[to].seq) == s->number;)
            to++;
        error = compact_pieces(sorted + i, to - i, &s->pieces, &s->n);
    }
    free(sorted);
    return error;
}

fc_compaction *fc_compaction_open(const fc_source *sources, size_t n, const fc_range *ranges, size_t ranges_n,
                                  const fc_compaction_options *options)
{
    fc_compaction *c = calloc(1, sizeof *c);
    fc_iter *merge = fc_merge_iter(sources, n);
    if (c == NULL || merge == NULL) {
        fc_iter_close(merge);
        free(c);
        return NULL;
    }
    c->merge = merge;
    c->options = *options;
    c->counts.ranges_in = ranges_n;
    c->snapshots = malloc((options->snapshots_n + 1) * sizeof *c->snapshots);
    if (c->snapshots && options->snapshots_n)
        memcpy(c->snapshots, options->snapshots, options->snapshots_n * sizeof *c->snapshots);
    if (c->snapshots == NULL || open_stripes(c, ranges, ranges_n) < 0) {
        fc_compaction_close(c);
        return NULL;
    }
    return c;
}

void fc_compaction_close(fc_compaction *c)
{
    if (c == NULL)
        return;
    fc_iter_close(c->merge);
    fc_table_writer_close(c->writer);
    for (size_t i = 0; i < c->stripes_n; i++)
        free(c->stripes[i].pieces);
    for (size_t i = 0; i < c->outputs_n; i++)
        free((char *)c->outputs[i].properties.smallest.p);
    free(c->stripes);
    free(c->outputs);
    free(c->snapshots);
    bytes_free(&c->key);
    bytes_free(&c->from);
    free(c);
}

size_t fc_compaction_outputs(const fc_compaction *c, const fc_compaction_output **out)
{
    *out = c->outputs;
    return c->outputs_n;
}

void fc_compaction_get_counts(const fc_compaction *c, fc_compaction_counts *out) { *out = c->counts; }

bool compact_below(const fc_compaction *c, fc_slice from, fc_slice to)
{
    for (unsigned i = 0; i < c->options.below_n; i++)
        if (fc_pick_reaches(&c->options.below[i], from, to))
            return true;
    return false;
}

/* --- what stays ------------------------------------------------------------------------------------------------- */

/* The newest range deletion of the stripe over the key; keys ascend. */
static const fc_range *piece_over(stripe *s, fc_slice key)
{
    while (s->look < s->n && fc_key_compare(s->pieces[s->look].end, key) <= 0)
        s->look++;
    return s->look < s->n && fc_key_compare(s->pieces[s->look].begin, key) <= 0 ? &s->pieces[s->look] : NULL;
}

/* After a row of entries under a range deletion of the oldest stripe: everything older under it goes, whatever its
 * stripe, so sources that hold nothing newer need not be read there. */
static bool leap(fc_compaction *c, const fc_range *piece)
{
    if (++c->covered <= STEPS_MAX)
        return false;
    c->covered = 0;
    fc_range_cover cover = {.seq = piece->seq, .from = piece->begin, .until = piece->end, .known = true};
    merge_skip(c->merge, &cover);
    return true;
}

/* Looks at the entry that the merge stands on and goes on to the next one. */
static int take(fc_compaction *c)
{
    fc_iter *m = c->merge;
    uint64_t seq = fc_tag_seq(m->tag);
    size_t number = stripe_of(c, seq);
    bool same = c->key_known && fc_key_equal(m->key, bytes_slice(&c->key));
    bool hidden = same && number == c->key_stripe;
    stripe *s = hidden ? NULL : stripe_find(c, number);
    const fc_range *piece = s ? piece_over(s, m->key) : NULL;
    bool covered = piece && piece->seq > seq;
    fc_slice value = m->value, live;
    uint64_t tag = m->tag, expires_ms;

    c->counts.entries_in++;
    c->counts.bytes_read += m->key.n + FC_TAG_BYTES + value.n;
    if (!same) {
        c->key_written = false;
        if (!bytes_set(&c->key, m->key.p, m->key.n))
            return -ENOMEM;
    }
    c->key_known = true;
    c->key_stripe = number;
    if (hidden) {
        c->counts.dropped_old++;
    } else if (covered) {
        c->counts.dropped_deleted++;
        if (number == 0 && leap(c, piece))
            return 0;
        fc_iter_next(m);
        return 0;
    } else {
        if (!fc_value_split(tag, value, &live, &expires_ms))
            return FC_TABLE_ECORRUPT;
        bool expired = fc_tag_type(tag) == FC_KEY_EXPIRING && !fc_value_lives(tag, expires_ms, c->options.now_ms);
        if (expired) {
            tag = fc_tag(seq, FC_KEY_DELETE);
            value = (fc_slice){0};
        }
        if (fc_tag_type(tag) == FC_KEY_DELETE && number == 0 &&
            (!compact_below(c, m->key, m->key) || FC_UNSAFE(FC_UNSAFE_DELETIONS_DROPPED))) {
            c->counts.dropped_expired += expired;
            c->counts.dropped_deleted += !expired;
        } else {
            int error = compact_write(c, !c->key_written, m->key, tag, value);
            if (error < 0)
                return error;
            c->key_written = true;
            c->counts.entries_out++;
        }
    }
    c->covered = 0;
    fc_iter_next(m);
    return 0;
}

int fc_compaction_step(fc_compaction *c, uint64_t bytes)
{
    if (c->error < 0 || c->done)
        return c->error;
    if (!c->begun)
        fc_iter_first(c->merge);
    c->begun = true;
    uint64_t before = c->counts.bytes_read + ENTRY_BYTES * c->counts.entries_in;
    while (c->merge->valid && c->counts.bytes_read + ENTRY_BYTES * c->counts.entries_in - before < bytes)
        if ((c->error = take(c)) < 0)
            return c->error;
    if (c->merge->valid)
        return 1;
    c->error = c->merge->error < 0 ? c->merge->error : compact_write_end(c);
    c->done = c->error == 0;
    return c->error;
}
