#include "fc/compaction.h"

#include <errno.h>
#include <stdlib.h>

/* A table is written anew, or sent down, when half of its entries are of no use: less is not worth the writing. */
#define WASTE_PART 2u
/* A level is put in between when it would have a third of level_bytes: so the first level has from 0.3 to 3.3 times
 * level_bytes. In the simulation (cext/test/test_pick.c, a store 25 to 250 times level_bytes) that wrote as little as
 * any other part, 11 to 14 times what came in; at a tenth it was 14.2, at one 13.8 in jobs of 10 times level_bytes. */
#define FIRST_PART 3u
/* Inputs of one job that was asked for, in tables of the usual size for each table it may meet below: it holds up the
 * compactions that level 0 waits for. */
#define ASKED_TABLES 2u

/* --- levels ------------------------------------------------------------------------------------------------------- */

static uint64_t bytes_of(const fc_pick_level *l, bool busy_too)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < l->n; i++)
        bytes += busy_too || !l->tables[i].busy ? l->tables[i].meta->bytes : 0;
    return bytes;
}

static bool any_busy(const fc_pick_level *l, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (l->tables[i].busy)
            return true;
    return false;
}

size_t fc_pick_find(const fc_pick_level *l, fc_slice key)
{
    size_t from = 0, to = l->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (fc_key_compare(l->tables[middle].meta->largest, key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

bool fc_pick_reaches(const fc_pick_level *l, fc_slice from, fc_slice to)
{
    size_t i = fc_pick_find(l, from);
    return i < l->n && fc_key_compare(l->tables[i].meta->smallest, to) <= 0;
}

/* Tables [*first, *end) of a level that reach into [from, to]. Where two tables touch at the end of a range both are
 * taken, which does no harm. */
static void meet(const fc_pick_level *l, fc_slice from, fc_slice to, size_t *first, size_t *end)
{
    *first = *end = fc_pick_find(l, from);
    while (*end < l->n && fc_key_compare(l->tables[*end].meta->smallest, to) <= 0)
        ++*end;
}

static bool nothing_below(const fc_pick_level *levels, const fc_pick_options *o, unsigned level, const fc_table_meta *t)
{
    for (unsigned i = level + 1; i < o->levels; i++)
        if (fc_pick_reaches(&levels[i], t->smallest, t->largest))
            return false;
    return true;
}

/* --- sizes -------------------------------------------------------------------------------------------------------- */

void fc_compaction_targets(const fc_pick_level *levels, const fc_pick_options *o, uint64_t *targets,
                           unsigned *base_level)
{
    unsigned last = o->levels - 1, base = last, used = last;
    uint64_t size = 0;
    for (unsigned i = o->levels; i-- > 1;) {
        uint64_t bytes = bytes_of(&levels[i], true);
        size = bytes > size ? bytes : size;
        used = levels[i].n ? i : used;
        targets[i] = 0;
    }
    targets[0] = 0;
    targets[last] = size > o->level_bytes ? size : o->level_bytes;
    /* One that is there goes when it is only half that size, so that none comes and goes with every compaction. */
    while (base > 1) {
        uint64_t least = o->level_bytes / (levels[base - 1].n ? 2 * FIRST_PART : FIRST_PART);
        size /= o->level_factor;
        if (size < least)
            break;
        targets[--base] = size;
    }
    *base_level = used < base ? used : base;
}

/* What every level sends down when it is over its size is merged with as much of the next one as lies in its way. */
uint64_t fc_compaction_debt(const fc_pick_level *levels, const fc_pick_options *o)
{
    uint64_t targets[FC_LEVELS_MAX];
    unsigned base;
    fc_compaction_targets(levels, o, targets, &base);
    double debt = 0, carried = 0, below = (double)bytes_of(&levels[base], true);
    if (levels[0].n >= o->level0_tables) {
        carried = (double)bytes_of(&levels[0], true);
        debt = carried + below;
    }
    for (unsigned i = base; i + 1 < o->levels; i++) {
        double size = below + carried, over = size - (double)targets[i];
        below = (double)bytes_of(&levels[i + 1], true);
        carried = over > 0 ? over : 0;
        if (carried > 0)
            debt += carried * (1 + below / size);
    }
    return (uint64_t)debt;
}

/* --- waste -------------------------------------------------------------------------------------------------------- */

/* Entries that writing the table anew would drop: deletions are only then dropped when nothing lies below. */
static uint64_t waste(const fc_pick_table *t, const fc_pick_options *o, bool bottom)
{
    const fc_table_meta *m = t->meta;
    if (m->last_seq > o->oldest_snapshot)
        return 0;
    return m->deletes + (bottom && t->keys ? m->entries - t->keys : 0);
}

/* Those that have expired, taking the times to be spread evenly. */
static uint64_t expired(const fc_pick_table *t, const fc_pick_options *o)
{
    const fc_table_meta *m = t->meta;
    if (m->expiring == 0 || m->first_expiry > o->now_ms)
        return 0;
    if (t->last_expiry <= o->now_ms)
        return m->expiring;
    double part = (double)(o->now_ms - m->first_expiry) / (double)(t->last_expiry - m->first_expiry);
    return (uint64_t)(part * (double)m->expiring);
}

static fc_pick_reason wasteful(const fc_pick_table *t, const fc_pick_options *o, bool bottom)
{
    const fc_table_meta *m = t->meta;
    uint64_t dropped = waste(t, o, bottom), gone = expired(t, o);
    /* A range deletion at the bottom was kept for a snapshot, and what it deletes with it, be that little or much. */
    bool ranges = bottom && m->ranges && m->last_seq <= o->oldest_snapshot;
    if (ranges || (dropped && dropped * WASTE_PART >= m->entries))
        return FC_PICK_DELETIONS;
    return gone && gone * WASTE_PART >= m->entries ? FC_PICK_EXPIRED : FC_PICK_NOTHING;
}

/* --- a choice ----------------------------------------------------------------------------------------------------- */

void fc_pick_free(fc_pick *p)
{
    free(p->upper);
    free(p->lower);
    *p = (fc_pick){0};
}

static bool number(size_t **out, size_t *n, size_t from, size_t to)
{
    *n = to - from;
    if (*n == 0)
        return true;
    *out = malloc(*n * sizeof **out);
    for (size_t i = 0; *out && i < *n; i++)
        (*out)[i] = from + i;
    return *out != NULL;
}

/* A move spares the merge, but a table that holds much that could be dropped where it comes to lie is written anew. */
static bool may_move(const fc_pick_level *levels, const fc_pick_options *o, const fc_pick *p)
{
    if (p->lower_n || p->level == p->output_level || p->reason == FC_PICK_DELETIONS || p->reason == FC_PICK_EXPIRED)
        return false;
    const fc_pick_table *tables = levels[p->level].tables;
    for (size_t i = 0; i < p->upper_n; i++) {
        const fc_pick_table *t = &tables[p->upper[i]];
        if (wasteful(t, o, nothing_below(levels, o, p->output_level, t->meta)) != FC_PICK_NOTHING)
            return false;
    }
    return p->level > 0 || p->upper_n == 1;
}

static int finish(const fc_pick_level *levels, const fc_pick_options *o, fc_pick *p)
{
    for (size_t i = 0; i < p->upper_n; i++)
        p->bytes += levels[p->level].tables[p->upper[i]].meta->bytes;
    for (size_t i = 0; i < p->lower_n; i++)
        p->bytes += levels[p->output_level].tables[p->lower[i]].meta->bytes;
    p->move = may_move(levels, o, p);
    return 0;
}

/* --- below level 0 ------------------------------------------------------------------------------------------------ */

/* Tables [from, to) of a level and what they meet in the next one, [lower, lower_to). */
typedef struct span {
    size_t from, to, lower, lower_to;
    uint64_t upper_bytes, lower_bytes;
    bool busy;
} span;

static span span_of(const fc_pick_level *levels, const fc_pick_options *o, unsigned level, size_t from, size_t to)
{
    const fc_pick_level *l = &levels[level];
    span s = {.from = from, .to = to, .busy = any_busy(l, from, to)};
    for (size_t i = from; i < to; i++)
        s.upper_bytes += l->tables[i].meta->bytes;
    if (level + 1 == o->levels)
        return s;
    const fc_pick_level *next = &levels[level + 1];
    meet(next, l->tables[from].meta->smallest, l->tables[to - 1].meta->largest, &s.lower, &s.lower_to);
    s.busy = s.busy || any_busy(next, s.lower, s.lower_to);
    for (size_t i = s.lower; i < s.lower_to; i++)
        s.lower_bytes += next->tables[i].meta->bytes;
    return s;
}

static int take_span(const fc_pick_level *levels, const fc_pick_options *o, unsigned level, const span *s,
                     fc_pick_reason reason, fc_pick *out)
{
    *out = (fc_pick){.reason = reason, .level = level, .output_level = level + 1 < o->levels ? level + 1 : level};
    if (!number(&out->upper, &out->upper_n, s->from, s->to) ||
        !number(&out->lower, &out->lower_n, s->lower, s->lower_to)) {
        fc_pick_free(out);
        return -ENOMEM;
    }
    return finish(levels, o, out);
}

/* Neighbours that meet nothing more below come along: what lies there is written once for all of them. */
static span widen(const fc_pick_level *levels, const fc_pick_options *o, unsigned level, span s)
{
    bool grown = s.lower < s.lower_to;
    while (grown) {
        grown = false;
        for (int side = 0; side < 2; side++) {
            if (side ? s.to == levels[level].n : s.from == 0)
                continue;
            span wider = span_of(levels, o, level, s.from - !side, s.to + (size_t)side);
            if (wider.busy || wider.lower < s.lower || wider.lower_to > s.lower_to)
                continue;
            s = wider;
            grown = true;
        }
    }
    return s;
}

/* The table whose merge costs least for what it takes off the level. A deletion will go, and what it deletes with it,
 * so it counts twice. */
static int pick_cheapest(const fc_pick_level *levels, const fc_pick_options *o, unsigned level, fc_pick *out)
{
    const fc_pick_level *l = &levels[level];
    span best = {0};
    double least = 0;
    for (size_t i = 0; i < l->n; i++) {
        span s = span_of(levels, o, level, i, i + 1);
        const fc_table_meta *m = l->tables[i].meta;
        double gain = 1 + 2 * (double)waste(&l->tables[i], o, false) / (double)(m->entries + 1);
        double cost = (double)s.lower_bytes / ((double)s.upper_bytes * gain + 1);
        if (s.busy || (best.to && cost >= least))
            continue;
        best = s;
        least = cost;
    }
    if (best.to == 0)
        return 0;
    best = widen(levels, o, level, best);
    return take_span(levels, o, level, &best, FC_PICK_SIZE, out);
}

static int pick_wasteful(const fc_pick_level *levels, const fc_pick_options *o, fc_pick *out)
{
    for (unsigned level = 1; level < o->levels; level++)
        for (size_t i = 0; i < levels[level].n; i++) {
            const fc_pick_table *t = &levels[level].tables[i];
            fc_pick_reason reason = t->busy ? FC_PICK_NOTHING : wasteful(t, o, level + 1 == o->levels);
            if (reason == FC_PICK_NOTHING)
                continue;
            span s = span_of(levels, o, level, i, i + 1);
            if (!s.busy)
                return take_span(levels, o, level, &s, reason, out);
        }
    return 0;
}

/* --- level 0 ------------------------------------------------------------------------------------------------------ */

static bool chosen(const fc_pick *p, size_t i)
{
    for (size_t k = 0; k < p->upper_n; k++)
        if (p->upper[k] == i)
            return true;
    return false;
}

static int ascending(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The tables of level 0 that reach into [from, to], and those that these overlap, and so on; with what they meet in the
 * base level. One such job at a time: the outputs of two might overlap. */
static int pick_level0(const fc_pick_level *levels, const fc_pick_options *o, unsigned base, fc_slice from, fc_slice to,
                       fc_pick_reason reason, fc_pick *out)
{
    const fc_pick_level *l = &levels[0];
    if (l->n == 0 || any_busy(l, 0, l->n))
        return 0;
    *out = (fc_pick){.output_level = base};
    out->upper = malloc(l->n * sizeof *out->upper);
    if (out->upper == NULL)
        return -ENOMEM;
    for (size_t i = l->n; i-- > 0;) {
        const fc_table_meta *m = l->tables[i].meta;
        if (chosen(out, i) || fc_key_compare(m->largest, from) < 0 || fc_key_compare(m->smallest, to) > 0)
            continue;
        out->upper[out->upper_n++] = i;
        from = fc_key_compare(m->smallest, from) < 0 ? m->smallest : from;
        to = fc_key_compare(m->largest, to) > 0 ? m->largest : to;
        i = l->n; /* the span may have grown: once more from the oldest on */
    }
    size_t first, end;
    meet(&levels[base], from, to, &first, &end);
    if (out->upper_n == 0 || any_busy(&levels[base], first, end)) {
        fc_pick_free(out);
        return 0;
    }
    qsort(out->upper, out->upper_n, sizeof *out->upper, ascending);
    if (!number(&out->lower, &out->lower_n, first, end)) {
        fc_pick_free(out);
        return -ENOMEM;
    }
    out->reason = reason;
    return finish(levels, o, out);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

int fc_compaction_pick(const fc_pick_level *levels, const fc_pick_options *o, fc_pick *out)
{
    uint64_t targets[FC_LEVELS_MAX];
    double scores[FC_LEVELS_MAX] = {0};
    unsigned base;
    *out = (fc_pick){0};
    fc_compaction_targets(levels, o, targets, &base);
    scores[0] = (double)levels[0].n / (double)o->level0_tables;
    for (unsigned i = base; i + 1 < o->levels; i++)
        scores[i] = (double)bytes_of(&levels[i], false) / (targets[i] ? (double)targets[i] : 1);
    for (;;) {
        unsigned level = 0;
        for (unsigned i = 1; i + 1 < o->levels; i++)
            level = scores[i] > scores[level] ? i : level;
        /* Level 0 counts full at its number, others only above their size. */
        if (scores[level] < 1 || (level && scores[level] <= 1))
            break;
        scores[level] = 0;
        int error;
        if (level == 0) {
            const fc_table_meta *oldest = levels[0].tables[levels[0].n - 1].meta;
            error = pick_level0(levels, o, base, oldest->smallest, oldest->largest, FC_PICK_SIZE, out);
        } else {
            error = pick_cheapest(levels, o, level, out);
        }
        if (error < 0 || out->reason)
            return error;
    }
    return pick_wasteful(levels, o, out);
}

/* Any waste at all is enough for who asked. */
static bool worth_asking(const fc_pick_table *t, const fc_pick_options *o)
{
    bool gone = t->meta->expiring && t->meta->first_expiry <= o->now_ms;
    return gone || waste(t, o, true) || wasteful(t, o, true) != FC_PICK_NOTHING;
}

int fc_compaction_pick_range(const fc_pick_level *levels, const fc_pick_options *o, unsigned level, fc_slice begin,
                             fc_slice end, fc_pick *out)
{
    const fc_pick_level *l = &levels[level];
    bool last = level + 1 == o->levels;
    uint64_t targets[FC_LEVELS_MAX], most = (uint64_t)ASKED_TABLES * o->level_factor * o->table_bytes;
    unsigned base;
    *out = (fc_pick){0};
    if (level == 0) {
        fc_compaction_targets(levels, o, targets, &base);
        fc_slice to = end;
        for (size_t i = 0; end.n == 0 && i < l->n; i++)
            to = fc_key_compare(l->tables[i].meta->largest, to) > 0 ? l->tables[i].meta->largest : to;
        return pick_level0(levels, o, base, begin, to, FC_PICK_ASKED, out);
    }
    span s = {0};
    for (size_t i = fc_pick_find(l, begin); i < l->n; i++) {
        if (end.n && fc_key_compare(l->tables[i].meta->smallest, end) >= 0)
            break;
        bool wanted = !l->tables[i].busy && (!last || worth_asking(&l->tables[i], o));
        if (!wanted && s.to)
            break;
        if (!wanted)
            continue;
        span wider = span_of(levels, o, level, s.to ? s.from : i, i + 1);
        if (wider.busy || (s.to && wider.upper_bytes + wider.lower_bytes > most)) {
            if (s.to)
                break;
            continue;
        }
        s = wider;
    }
    return s.to ? take_span(levels, o, level, &s, FC_PICK_ASKED, out) : 0;
}
