#include <errno.h>
#include <stdlib.h>

#include "fc/merge.h"

void fc_level_init(fc_level *l, fc_table *const *tables, size_t n)
{
    *l = (fc_level){tables, n, false, 0};
    for (size_t i = 0; i < n; i++) {
        const fc_table_properties *p = fc_table_get_properties(tables[i]);
        l->has_ranges = l->has_ranges || p->ranges > 0;
        l->last_seq = p->last_seq > l->last_seq ? p->last_seq : l->last_seq;
    }
}

static fc_slice smallest(const fc_level *l, size_t i) { return fc_table_get_properties(l->tables[i])->smallest; }
static fc_slice largest(const fc_level *l, size_t i) { return fc_table_get_properties(l->tables[i])->largest; }

size_t fc_level_find(const fc_level *l, fc_slice user)
{
    size_t from = 0, to = l->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (fc_key_compare(largest(l, middle), user) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

int fc_level_get(const fc_level *l, const fc_lookup *lookup, fc_found *out)
{
    int answer = FC_NOT_HERE;
    size_t i = fc_level_find(l, lookup->key);
    for (; answer == FC_NOT_HERE && i < l->n && fc_key_compare(smallest(l, i), lookup->key) <= 0; i++)
        answer = fc_table_get(l->tables[i], lookup, out);
    return answer;
}

/* Two tables may meet in one key, so there may be more than one to ask. The answer is kept for as far as one table and
 * the gap before the next one reach; in gaps and where tables meet it is for this key alone. */
void fc_level_cover(const fc_level *l, fc_slice key, uint64_t snapshot, fc_range_cover *out)
{
    *out = (fc_range_cover){.from_open = true, .until_open = true, .known = true};
    size_t i = fc_level_find(l, key);
    for (; i < l->n && fc_key_compare(smallest(l, i), key) <= 0; i++) {
        fc_range_cover one;
        fc_range_set_cover(fc_table_ranges(l->tables[i]), key, snapshot, &one);
        fc_range_cover limits = {.from = smallest(l, i), .until = largest(l, i), .known = true};
        fc_range_cover_meet(out, &one);
        fc_range_cover_meet(out, &limits);
    }
    out->known = !out->until_open && fc_key_compare(key, out->until) < 0;
}

/* --- its iterator ----------------------------------------------------------------------------------------------- */

typedef struct level_iter {
    fc_iter it;
    const fc_level *l;
    const fc_read_options *how;
    fc_iter *inner; /* of table i, or NULL */
    size_t i;
} level_iter;

static const fc_read_options UNBOUNDED = {0};

/* The iterator of table i, or NULL and the error is set. */
static fc_iter *enter(level_iter *li, size_t i)
{
    if (li->inner && li->i == i)
        return li->inner;
    fc_iter_close(li->inner);
    li->i = i;
    li->inner = fc_table_iter(li->l->tables[i], li->how);
    if (li->inner == NULL)
        li->it.error = -ENOMEM;
    return li->inner;
}

static void show(level_iter *li)
{
    const fc_iter *inner = li->inner;
    li->it.valid = inner->valid;
    li->it.error = inner->error;
    li->it.key = inner->key;
    li->it.tag = inner->tag;
    li->it.value = inner->value;
}

static void on_forwards(level_iter *li)
{
    while (!li->it.valid && li->it.error == 0 && li->i + 1 < li->l->n) {
        size_t next = li->i + 1;
        if (li->how->bounded_above && fc_key_compare(smallest(li->l, next), li->how->upper) >= 0)
            return;
        if (!enter(li, next))
            return;
        fc_iter_first(li->inner);
        show(li);
    }
}

static void on_backwards(level_iter *li)
{
    while (!li->it.valid && li->it.error == 0 && li->i > 0) {
        size_t next = li->i - 1;
        if (li->how->bounded_below && fc_key_compare(largest(li->l, next), li->how->lower) < 0)
            return;
        if (!enter(li, next))
            return;
        fc_iter_last(li->inner);
        show(li);
    }
}

static bool start(level_iter *li, size_t i)
{
    li->it.valid = false;
    li->it.error = 0;
    return i < li->l->n && enter(li, i);
}

static void level_seek(fc_iter *it, fc_slice user, uint64_t tag)
{
    level_iter *li = (level_iter *)it;
    bool below = li->how->bounded_below && fc_key_compare(user, li->how->lower) < 0;
    if (!start(li, fc_level_find(li->l, below ? li->how->lower : user)))
        return;
    fc_iter_seek(li->inner, user, tag);
    show(li);
    /* A table may reach to the key by the end of a range alone, or share it with the next. */
    while (!li->it.valid && li->it.error == 0 && li->i + 1 < li->l->n &&
           fc_key_compare(smallest(li->l, li->i + 1), user) <= 0 && enter(li, li->i + 1)) {
        fc_iter_seek(li->inner, user, tag);
        show(li);
    }
    on_forwards(li);
}

static void level_first(fc_iter *it)
{
    level_iter *li = (level_iter *)it;
    if (!start(li, li->how->bounded_below ? fc_level_find(li->l, li->how->lower) : 0))
        return;
    fc_iter_first(li->inner);
    show(li);
    on_forwards(li);
}

static void level_last(fc_iter *it)
{
    level_iter *li = (level_iter *)it;
    size_t i = li->how->bounded_above ? fc_level_find(li->l, li->how->upper) : li->l->n;
    if (!start(li, i < li->l->n ? i : li->l->n - 1)) /* n is 0: there is no table SIZE_MAX */
        return;
    fc_iter_last(li->inner);
    show(li);
    on_backwards(li);
}

static void level_next(fc_iter *it)
{
    level_iter *li = (level_iter *)it;
    fc_iter_next(li->inner);
    show(li);
    on_forwards(li);
}

static void level_prev(fc_iter *it)
{
    level_iter *li = (level_iter *)it;
    fc_iter_prev(li->inner);
    show(li);
    on_backwards(li);
}

static void level_close(fc_iter *it)
{
    level_iter *li = (level_iter *)it;
    fc_iter_close(li->inner);
    free(li);
}

static const fc_iter_ops OPS = {level_seek, level_first, level_last, level_next, level_prev, level_close};

fc_iter *fc_level_iter(const fc_level *l, const fc_read_options *how)
{
    level_iter *li = calloc(1, sizeof *li);
    if (li == NULL)
        return NULL;
    li->it.ops = &OPS;
    li->l = l;
    li->how = how ? how : &UNBOUNDED;
    return &li->it;
}
