#include "fc/range_set.h"

#include <stdlib.h>

size_t fc_range_set_bytes(size_t n)
{
    return n * (sizeof(fc_range) + 3 * sizeof(fc_slice));
}

static int by_begin(const void *a, const void *b)
{
    const fc_range *x = a, *y = b;
    int c = fc_key_compare(x->begin, y->begin);
    return c ? c : (x->seq > y->seq) - (x->seq < y->seq);
}

static int by_key(const void *a, const void *b)
{
    const fc_slice *x = a, *y = b;
    return fc_key_compare(*x, *y);
}

static fc_slice fill_reach(const fc_range *ranges, fc_slice *reach, size_t from, size_t to)
{
    size_t middle = from + (to - from) / 2;
    fc_slice most = ranges[middle].end;
    if (from < middle) {
        fc_slice left = fill_reach(ranges, reach, from, middle);
        most = fc_key_compare(left, most) > 0 ? left : most;
    }
    if (middle + 1 < to) {
        fc_slice right = fill_reach(ranges, reach, middle + 1, to);
        most = fc_key_compare(right, most) > 0 ? right : most;
    }
    return reach[middle] = most;
}

void fc_range_set_init(fc_range_set *s, void *memory, const fc_range *ranges, size_t n)
{
    fc_range *sorted = memory;
    fc_slice *reach = (fc_slice *)(void *)(sorted + n), *borders = reach + n;
    *s = (fc_range_set){sorted, reach, borders, n};
    if (n == 0)
        return;
    memcpy(sorted, ranges, n * sizeof *ranges);
    qsort(sorted, n, sizeof *sorted, by_begin);
    for (size_t i = 0; i < n; i++) {
        borders[2 * i] = sorted[i].begin;
        borders[2 * i + 1] = sorted[i].end;
    }
    qsort(borders, 2 * n, sizeof *borders, by_key);
    fill_reach(sorted, reach, 0, n);
}

/* As deep as log2 of the number of ranges, plus one step for each range that covers the key. */
static uint64_t highest(const fc_range_set *s, size_t from, size_t to, fc_slice key, uint64_t snapshot, uint64_t best)
{
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const fc_range *r = &s->ranges[middle];
        if (fc_key_compare(s->reach[middle], key) <= 0)
            return best;
        best = highest(s, from, middle, key, snapshot, best);
        if (fc_key_compare(r->begin, key) > 0)
            return best;
        if (r->seq > best && r->seq <= snapshot && fc_key_compare(key, r->end) < 0)
            best = r->seq;
        from = middle + 1;
    }
    return best;
}

uint64_t fc_range_set_seq(const fc_range_set *s, fc_slice key, uint64_t snapshot)
{
    return highest(s, 0, s->n, key, snapshot, 0);
}

void fc_range_set_cover(const fc_range_set *s, fc_slice key, uint64_t snapshot, fc_range_cover *out)
{
    size_t above = 0, to = 2 * s->n;
    while (above < to) { /* the first border after the key */
        size_t middle = above + (to - above) / 2;
        if (fc_key_compare(s->borders[middle], key) <= 0)
            above = middle + 1;
        else
            to = middle;
    }
    *out = (fc_range_cover){.seq = fc_range_set_seq(s, key, snapshot),
                            .from_open = above == 0,
                            .until_open = above == 2 * s->n,
                            .known = true};
    if (!out->from_open)
        out->from = s->borders[above - 1];
    if (!out->until_open)
        out->until = s->borders[above];
}

void fc_range_cover_meet(fc_range_cover *c, const fc_range_cover *other)
{
    c->known = c->known && other->known;
    if (other->seq > c->seq)
        c->seq = other->seq;
    if (!other->from_open && (c->from_open || fc_key_compare(other->from, c->from) > 0)) {
        c->from = other->from;
        c->from_open = false;
    }
    if (!other->until_open && (c->until_open || fc_key_compare(other->until, c->until) < 0)) {
        c->until = other->until;
        c->until_open = false;
    }
}
