#include <stdlib.h>

#include "memtable_layout.h"

typedef struct mem_iter {
    fc_iter it;
    const fc_memtable *m;
    const fc_read_options *how;
    fc_skiplist_cursor at;
    uint32_t version;
} mem_iter;

static const fc_read_options UNBOUNDED = {0};

/* Stands on a version of the key at the cursor, if that is within the bounds. */
static void stand(mem_iter *mi, uint32_t version)
{
    const mem_version *v = mem_at(mi->m, version);
    const fc_read_options *how = mi->how;
    mi->version = version;
    mi->it.key = mi->at.item.key;
    mi->it.tag = v->tag;
    mi->it.value = (fc_slice){v->value, v->value_n};
    mi->it.valid = !(how->bounded_below && fc_key_compare(mi->it.key, how->lower) < 0) &&
                   !(how->bounded_above && fc_key_compare(mi->it.key, how->upper) >= 0);
}

static uint32_t newest(const mem_iter *mi) { return mem_newest(LOAD(mem_head(mi->at.item.value))); }

static void stand_newest(mem_iter *mi, bool there)
{
    mi->it.valid = there;
    if (there)
        stand(mi, newest(mi));
}

static void stand_oldest(mem_iter *mi, bool there)
{
    mi->it.valid = there;
    if (there)
        stand(mi, mem_version_of_depth(mi->m, newest(mi), 0));
}

static void mem_seek(fc_iter *it, fc_slice user, uint64_t tag)
{
    mem_iter *mi = (mem_iter *)it;
    if (mi->how->bounded_below && fc_key_compare(user, mi->how->lower) < 0) {
        user = mi->how->lower;
        tag = UINT64_MAX;
    }
    it->valid = fc_skiplist_seek(&mi->m->list, user, FC_SKIPLIST_GE, &mi->at);
    if (!it->valid)
        return;
    uint32_t version = newest(mi);
    if (fc_key_equal(mi->at.item.key, user))
        version = mem_version_at(mi->m, version, tag);
    if (version)
        stand(mi, version);
    else
        stand_newest(mi, fc_skiplist_next(&mi->m->list, &mi->at));
}

static void mem_first(fc_iter *it)
{
    mem_iter *mi = (mem_iter *)it;
    if (mi->how->bounded_below)
        mem_seek(it, mi->how->lower, UINT64_MAX);
    else
        stand_newest(mi, fc_skiplist_seek(&mi->m->list, (fc_slice){"", 0}, FC_SKIPLIST_FIRST, &mi->at));
}

static void mem_last(fc_iter *it)
{
    mem_iter *mi = (mem_iter *)it;
    bool bounded = mi->how->bounded_above;
    fc_slice upper = bounded ? mi->how->upper : (fc_slice){"", 0};
    stand_oldest(mi, fc_skiplist_seek(&mi->m->list, upper, bounded ? FC_SKIPLIST_LT : FC_SKIPLIST_LAST, &mi->at));
}

static void mem_next(fc_iter *it)
{
    mem_iter *mi = (mem_iter *)it;
    uint32_t older = mem_at(mi->m, mi->version)->older;
    if (older)
        stand(mi, older);
    else
        stand_newest(mi, fc_skiplist_next(&mi->m->list, &mi->at));
}

static void mem_prev(fc_iter *it)
{
    mem_iter *mi = (mem_iter *)it;
    uint32_t head = newest(mi), depth = mem_at(mi->m, mi->version)->depth;
    if (mi->version != head)
        stand(mi, mem_version_of_depth(mi->m, head, depth + 1));
    else
        stand_oldest(mi, fc_skiplist_prev(&mi->m->list, &mi->at));
}

static void mem_close(fc_iter *it) { free(it); }

static const fc_iter_ops OPS = {mem_seek, mem_first, mem_last, mem_next, mem_prev, mem_close};

fc_iter *fc_memtable_iter(const fc_memtable *m, const fc_read_options *how)
{
    mem_iter *mi = calloc(1, sizeof *mi);
    if (mi == NULL)
        return NULL;
    mi->it.ops = &OPS;
    mi->m = m;
    mi->how = how ? how : &UNBOUNDED;
    return &mi->it;
}
