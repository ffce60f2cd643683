#include <stdlib.h>

#include "merge_internal.h"

typedef struct child {
    fc_iter *it;
    uint64_t last_seq;
} child;

/* A heap of the children that stand on an entry; heap[0] stands on the one to show. */
typedef struct merge {
    fc_iter it;
    child *children;
    size_t n;
    child **heap;
    size_t heap_n;
    bool backwards;
} merge;

static bool before(const merge *m, const child *a, const child *b)
{
    int c = fc_ikey_compare(a->it->key, a->it->tag, b->it->key, b->it->tag);
    if (c == 0)
        return a < b;
    return m->backwards ? c > 0 : c < 0;
}

static void sift_down(merge *m, size_t i)
{
    child *moving = m->heap[i];
    for (size_t next; (next = 2 * i + 1) < m->heap_n; i = next) {
        if (next + 1 < m->heap_n && before(m, m->heap[next + 1], m->heap[next]))
            next++;
        if (!before(m, m->heap[next], moving))
            break;
        m->heap[i] = m->heap[next];
    }
    m->heap[i] = moving;
}

static void show_top(merge *m)
{
    m->it.valid = m->heap_n > 0;
    if (m->it.valid) {
        const fc_iter *top = m->heap[0]->it;
        m->it.key = top->key;
        m->it.tag = top->tag;
        m->it.value = top->value;
    }
}

/* All children have moved. */
static void build_heap(merge *m)
{
    m->heap_n = 0;
    m->it.error = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->children[i].it->error < 0)
            m->it.error = m->children[i].it->error;
        if (m->children[i].it->valid)
            m->heap[m->heap_n++] = &m->children[i];
    }
    if (m->it.error < 0)
        m->heap_n = 0;
    for (size_t i = m->heap_n / 2; i-- > 0;)
        sift_down(m, i);
    show_top(m);
}

static void merge_first(fc_iter *it)
{
    merge *m = (merge *)it;
    m->backwards = false;
    for (size_t i = 0; i < m->n; i++)
        fc_iter_first(m->children[i].it);
    build_heap(m);
}

static void merge_last(fc_iter *it)
{
    merge *m = (merge *)it;
    m->backwards = true;
    for (size_t i = 0; i < m->n; i++)
        fc_iter_last(m->children[i].it);
    build_heap(m);
}

static void merge_seek(fc_iter *it, fc_slice user, uint64_t tag)
{
    merge *m = (merge *)it;
    m->backwards = false;
    for (size_t i = 0; i < m->n; i++)
        fc_iter_seek(m->children[i].it, user, tag);
    build_heap(m);
}

/* To the last entry below the internal key. */
static void seek_below(fc_iter *it, fc_slice user, uint64_t tag)
{
    fc_iter_seek(it, user, tag);
    if (it->valid)
        fc_iter_prev(it);
    else if (it->error == 0)
        fc_iter_last(it);
}

/* The others stand on the wrong side of the entry shown, which is the top child's and stays put meanwhile. */
static void turn(merge *m, bool backwards)
{
    child *top = m->heap[0];
    for (size_t i = 0; i < m->n; i++) {
        fc_iter *other = m->children[i].it;
        if (&m->children[i] == top)
            continue;
        if (backwards)
            seek_below(other, top->it->key, top->it->tag);
        else
            fc_iter_seek(other, top->it->key, top->it->tag);
    }
    m->backwards = backwards;
}

static void step(merge *m, bool backwards)
{
    child *top = m->heap[0];
    bool turned = m->backwards != backwards;
    if (turned)
        turn(m, backwards);
    if (backwards)
        fc_iter_prev(top->it);
    else
        fc_iter_next(top->it);
    if (turned || top->it->error < 0) {
        build_heap(m);
        return;
    }
    if (!top->it->valid && --m->heap_n > 0)
        m->heap[0] = m->heap[m->heap_n];
    if (m->heap_n > 1)
        sift_down(m, 0);
    show_top(m);
}

static void merge_next(fc_iter *it) { step((merge *)it, false); }
static void merge_prev(fc_iter *it) { step((merge *)it, true); }

void merge_skip(fc_iter *it, const fc_range_cover *cover)
{
    merge *m = (merge *)it;
    for (size_t i = 0; i < m->n; i++) {
        fc_iter *one = m->children[i].it;
        if (!one->valid || m->children[i].last_seq >= cover->seq)
            continue;
        if (!m->backwards && !cover->until_open && fc_key_compare(one->key, cover->until) < 0)
            fc_iter_seek(one, cover->until, UINT64_MAX);
        else if (m->backwards && !cover->from_open && fc_key_compare(one->key, cover->from) >= 0)
            seek_below(one, cover->from, UINT64_MAX);
    }
    build_heap(m);
}

static void merge_close(fc_iter *it)
{
    merge *m = (merge *)it;
    for (size_t i = 0; i < m->n; i++)
        fc_iter_close(m->children[i].it);
    free(m->children);
    free(m->heap);
    free(m);
}

static const fc_iter_ops OPS = {merge_seek, merge_first, merge_last, merge_next, merge_prev, merge_close};

fc_iter *fc_merge_iter(const fc_source *sources, size_t n)
{
    merge *m = calloc(1, sizeof *m);
    bool whole = m != NULL && n <= FC_SOURCES_MAX;
    if (whole) {
        m->children = calloc(n + 1, sizeof *m->children);
        m->heap = calloc(n + 1, sizeof(child *));
        whole = m->children && m->heap;
    }
    for (size_t i = 0; i < n; i++)
        whole = whole && sources[i].points;
    if (!whole) {
        for (size_t i = 0; i < n; i++)
            fc_iter_close(sources[i].points);
        if (m) {
            free(m->children);
            free(m->heap);
        }
        free(m);
        return NULL;
    }
    m->it.ops = &OPS;
    m->n = n;
    for (size_t i = 0; i < n; i++)
        m->children[i] = (child){sources[i].points, sources[i].last_seq};
    return &m->it;
}

/* --- sources ---------------------------------------------------------------------------------------------------- */

static void cover_memtable(const void *owner, fc_slice key, uint64_t snapshot, fc_range_cover *out)
{
    fc_memtable_cover(owner, key, snapshot, out);
}

static void cover_table(const void *owner, fc_slice key, uint64_t snapshot, fc_range_cover *out)
{
    fc_range_set_cover(fc_table_ranges(owner), key, snapshot, out);
}

static void cover_level(const void *owner, fc_slice key, uint64_t snapshot, fc_range_cover *out)
{
    fc_level_cover(owner, key, snapshot, out);
}

fc_source fc_source_memtable(const fc_memtable *m, const fc_read_options *how)
{
    return (fc_source){fc_memtable_iter(m, how), UINT64_MAX, fc_memtable_has_ranges(m) ? cover_memtable : NULL, m};
}

fc_source fc_source_table(fc_table *t, const fc_read_options *how)
{
    const fc_table_properties *p = fc_table_get_properties(t);
    return (fc_source){fc_table_iter(t, how), p->last_seq, p->ranges ? cover_table : NULL, t};
}

fc_source fc_source_level(const fc_level *l, const fc_read_options *how)
{
    return (fc_source){fc_level_iter(l, how), l->last_seq, l->has_ranges ? cover_level : NULL, l};
}
