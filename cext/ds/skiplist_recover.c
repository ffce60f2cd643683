#include <stdlib.h>

#include "skiplist_layout.h"

/* One bit per unit of memory that something refers to. */
typedef struct marks {
    unsigned char *bits;
    uint64_t units; /* marked */
} marks;

static bool marked(const marks *m, uint64_t unit) { return m->bits[unit / 8] >> unit % 8 & 1; }

/* False when part of it is marked already. */
static bool mark(marks *m, uint32_t ref, uint64_t units)
{
    for (uint64_t u = ref; u < ref + units; u++) {
        if (marked(m, u))
            return false;
        m->bits[u / 8] |= (unsigned char)(1 << u % 8);
    }
    m->units += units;
    return true;
}

static uint64_t entry_units(const fc_skiplist *l, uint32_t ref)
{
    uint64_t lengths = *skip_at(l, ref);
    return SKIP_ENTRY_UNITS((uint32_t)lengths, lengths >> 32);
}

static skip_probe probe_of_entry(const fc_skiplist *l, uint32_t ref)
{
    const uint64_t *e = skip_at(l, ref);
    return skip_probe_of((fc_slice){(const char *)(e + 1), (uint32_t)*e});
}

/* The leftmost block of a level. */
static uint32_t leftmost(const fc_skiplist *l, uint32_t level)
{
    uint32_t ref = skip_head_of(l)->root;
    for (const skip_block *b; (b = skip_block_at(l, ref))->level > level;)
        ref = skip_read_slot(b, 0).ref;
    return ref;
}

static uint32_t next_filled(const fc_skiplist *l, const skip_block *b)
{
    uint32_t ref = b->next;
    while (ref && skip_count(skip_block_at(l, ref)->order) == 0)
        ref = skip_block_at(l, ref)->next;
    return ref;
}

/* Half of a split or a merge: what a leaf holds from the first key of the next one on is there as well. The versions
 * that the dead writer had not come to raise are raised. */
static void mend_leaves(fc_skiplist *l)
{
    uint32_t before = 0;
    for (uint32_t ref = leftmost(l, 0); ref; before = ref, ref = skip_block_at(l, ref)->next) {
        skip_block *b = skip_block_at(l, ref);
        uint32_t next = next_filled(l, b);
        if (next) {
            bool exact;
            skip_probe first = probe_of_entry(l, skip_read_slot(skip_block_at(l, next), 0).ref);
            unsigned keep = skip_search(l, b, b->order, &first, &exact);
            if (keep < skip_count(b->order))
                skip_keep_first(b, keep);
        }
        STORE(&b->prev, before);
        skip_raise_version(b);
    }
}

static bool mark_leaves(const fc_skiplist *l, marks *m, uint64_t *keys)
{
    for (uint32_t ref = leftmost(l, 0); ref; ref = skip_block_at(l, ref)->next) {
        const skip_block *b = skip_block_at(l, ref);
        if (!mark(m, ref, SKIP_LEAF_UNITS))
            return false;
        for (unsigned i = 0; i < skip_count(b->order); i++, ++*keys) {
            uint32_t entry = skip_read_slot(b, i).ref;
            if (!mark(m, entry, entry_units(l, entry)))
                return false;
        }
    }
    return true;
}

static bool mark_inners(const fc_skiplist *l, marks *m)
{
    for (uint32_t level = skip_block_at(l, skip_head_of(l)->root)->level; level > 0; level--)
        for (uint32_t ref = leftmost(l, level); ref; ref = skip_block_at(l, ref)->next)
            if (!mark(m, ref, SKIP_INNER_UNITS))
                return false;
    return true;
}

/* All that is not marked becomes free, in pieces as large as can be. No reader may be using any of it. */
static void sweep(fc_skiplist *l, const marks *m)
{
    skip_head *h = skip_head_of(l);
    uint64_t unit = (sizeof *h + 63) / 64 * 8, end = h->top;
    skip_forget_free(l);
    h->used = (unit + m->units) * 8;
    while (unit < end) {
        uint64_t begin = unit;
        while (unit < end && !marked(m, unit))
            unit++;
        if (unit == end)
            STORE(&h->top, (uint32_t)begin);
        else if (unit > begin)
            skip_release(l, (uint32_t)begin, unit - begin);
        while (unit < end && marked(m, unit))
            unit++;
    }
}

/* One level above the blocks that begin at `ref`; false when there is no memory. What was made begins at *first. */
static bool build_level(fc_skiplist *l, uint32_t ref, uint32_t level, uint32_t *first)
{
    uint32_t last = 0;
    for (; ref; ref = skip_block_at(l, ref)->next) {
        const skip_block *b = skip_block_at(l, ref);
        if (skip_count(b->order) == 0)
            continue;
        if (!last || skip_count(skip_block_at(l, last)->order) == SKIP_SLOTS) {
            uint32_t fresh = skip_take_block(l, level);
            if (!fresh)
                return false;
            STORE(&skip_block_at(l, fresh)->prev, last);
            if (last)
                STORE(&skip_block_at(l, last)->next, fresh);
            else
                *first = fresh;
            last = fresh;
        }
        skip_slot_value v = skip_read_slot(b, 0);
        v.ref = ref;
        v.count = skip_keys_in(b);
        skip_insert_slot(skip_block_at(l, last), skip_count(skip_block_at(l, last)->order), &v);
    }
    return true;
}

static void give_levels(fc_skiplist *l, const uint32_t *heads, uint32_t height)
{
    for (uint32_t level = 1; level <= height; level++)
        for (uint32_t next, ref = heads[level]; ref; ref = next) {
            next = skip_block_at(l, ref)->next;
            skip_give_block(l, ref);
        }
}

/* The top of levels built anew over the leaves, not yet in use; 0, and nothing made, when there is no memory. */
static uint32_t build(fc_skiplist *l, uint32_t leaves)
{
    uint32_t heads[SKIP_LEVELS] = {leaves}, level = 0;
    while (skip_count(skip_block_at(l, heads[0])->order) == 0 && skip_block_at(l, heads[0])->next)
        heads[0] = skip_block_at(l, heads[0])->next;
    for (; next_filled(l, skip_block_at(l, heads[level])); level++)
        if (level + 1 == SKIP_LEVELS || !build_level(l, heads[level], level + 1, &heads[level + 1])) {
            give_levels(l, heads, level + 1 < SKIP_LEVELS ? level + 1 : level);
            return 0;
        }
    return heads[level];
}

int skip_recover(fc_skiplist *l)
{
    skip_head *h = skip_head_of(l);
    marks m = {.bits = calloc(1, h->top / 8 + 1)};
    uint32_t heads[SKIP_LEVELS], height = skip_block_at(l, h->root)->level;
    uint64_t keys = 0;
    if (!m.bits)
        return FC_SKIPLIST_ENOMEM;
    for (uint32_t level = 0; level <= height; level++)
        heads[level] = leftmost(l, level);
    mend_leaves(l);
    bool sound = mark_leaves(l, &m, &keys) && mark_inners(l, &m);
    if (sound) {
        STORE(&h->generation, h->generation + 1);
        STORE(&h->count, keys);
        sweep(l, &m);
    }
    free(m.bits);
    if (!sound)
        return FC_SKIPLIST_EFORMAT;
    uint32_t root = build(l, heads[0]);
    if (!root) { /* no room beside the old levels: readers walk along the leaves meanwhile */
        STORE(&h->root, heads[0]);
        give_levels(l, heads, height);
        height = 0;
        root = build(l, heads[0]);
        if (!root)
            return FC_SKIPLIST_EFULL;
    }
    STORE(&h->root, root);
    give_levels(l, heads, height);
    for (uint32_t next, ref = heads[0]; ref; ref = next) {
        next = skip_block_at(l, ref)->next;
        if (skip_count(skip_block_at(l, ref)->order) == 0 && ref != root)
            skip_unlink(l, ref);
    }
    return 0;
}

void fc_skiplist_clear(fc_skiplist *l)
{
    skip_head *h = skip_head_of(l);
    uint32_t ref = leftmost(l, 0), begin = (uint32_t)((sizeof *h + 63) / 64 * 8);
    skip_block *b = skip_block_at(l, ref);
    STORE(&h->root, ref);
    STORE(&b->next, 0);
    skip_keep_first(b, 0);
    STORE(&h->count, 0);
    STORE(&h->generation, h->generation + 1);
    skip_forget_free(l);
    if (ref > begin)
        skip_release(l, begin, ref - begin);
    STORE(&h->top, ref + SKIP_LEAF_UNITS);
    h->used = ((uint64_t)begin + SKIP_LEAF_UNITS) * 8;
}

static const char *check_order(const fc_skiplist *l, const skip_block *b, uint32_t level)
{
    unsigned n = skip_count(b->order), slots = 0;
    if (b->level != level)
        return "a block is on another level than its own";
    if (n > SKIP_SLOTS || (n == 0 && (level > 0 || skip_head_of(l)->count > 0)))
        return "a block has too many keys or none";
    for (unsigned i = 0; i < SKIP_SLOTS; i++)
        slots |= 1u << skip_slot(b->order, i);
    if (slots != (1u << SKIP_SLOTS) - 1)
        return "a block's order is no permutation";
    return NULL;
}

static const char *check_leaves(const fc_skiplist *l)
{
    uint32_t before = 0, last = 0;
    for (uint32_t ref = leftmost(l, 0); ref; before = ref, ref = skip_block_at(l, ref)->next) {
        const skip_block *b = skip_block_at(l, ref);
        const char *wrong = check_order(l, b, 0);
        if (wrong)
            return wrong;
        if (b->prev != before)
            return "a leaf's left neighbour is another";
        for (unsigned i = 0; i < skip_count(b->order); i++) {
            skip_slot_value v = skip_read_slot(b, i);
            skip_probe k = probe_of_entry(l, v.ref);
            if (k.first != v.first || k.second != v.second || k.length != v.length)
                return "a slot's words are not its entry's";
            if (last) {
                const uint64_t *e = skip_at(l, last);
                size_t n = (uint32_t)*e < k.n ? (uint32_t)*e : k.n;
                int c = memcmp(e + 1, k.p, n);
                if (c > 0 || (c == 0 && (uint32_t)*e >= k.n))
                    return "keys are out of order";
            }
            last = v.ref;
        }
    }
    return NULL;
}

/* Children are the level below, in its order, each counted right, and begin at or above what their parent says of
 * them. */
static const char *check_level(const fc_skiplist *l, uint32_t level)
{
    uint32_t before = 0, child = leftmost(l, level - 1);
    for (uint32_t ref = leftmost(l, level); ref; before = ref, ref = skip_block_at(l, ref)->next) {
        const skip_block *b = skip_block_at(l, ref);
        const char *wrong = check_order(l, b, level);
        if (wrong)
            return wrong;
        if (b->prev != before)
            return "a block's left neighbour is another";
        for (unsigned i = 0; i < skip_count(b->order); i++) {
            skip_slot_value v = skip_read_slot(b, i);
            if (v.ref != child)
                return "a child is not the next block of its level";
            const skip_block *below = skip_block_at(l, child);
            skip_slot_value first = skip_read_slot(below, 0);
            if (v.count != skip_keys_in(below))
                return "keys are miscounted";
            if (i > 0 && (v.first > first.first || (v.first == first.first && v.second > first.second)))
                return "a child begins below its bound";
            child = below->next;
        }
    }
    return child ? "a block has no parent" : NULL;
}

const char *fc_skiplist_check(const fc_skiplist *l)
{
    const skip_head *h = skip_head_of(l);
    const char *wrong = check_leaves(l);
    for (uint32_t level = 1; !wrong && level <= skip_block_at(l, h->root)->level; level++)
        wrong = check_level(l, level);
    if (wrong)
        return wrong;
    marks m = {.bits = calloc(1, h->top / 8 + 1)};
    uint64_t keys = 0, begin = (sizeof *h + 63) / 64 * 8;
    if (!m.bits)
        return "no memory to check with";
    if (!mark_leaves(l, &m, &keys) || !mark_inners(l, &m))
        wrong = "something is referred to twice";
    else if (keys != h->count)
        wrong = "the count is wrong";
    else if ((begin + m.units) * 8 != h->used)
        wrong = "the bytes in use are wrong";
    free(m.bits);
    return wrong;
}
