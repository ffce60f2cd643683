#include "skiplist_layout.h"

/* From the root down to a leaf: the block of each level and the rank of the child taken (leaf: of the key). */
typedef struct path {
    uint32_t ref[SKIP_LEVELS];
    unsigned rank[SKIP_LEVELS];
    unsigned height; /* level of the root */
    bool exact;
} path;

/* A block this empty looks for a neighbour it fits into together with a few insertions to come. */
#define SPARSE 3u
#define MERGED_MAX 10u

static skip_block *block_of(const fc_skiplist *l, const path *at, unsigned level)
{
    return skip_block_at(l, at->ref[level]);
}

/* The writer's way down; the levels above are complete for it. Without a probe: to the first or last key. */
static void find_path(const fc_skiplist *l, const skip_probe *k, bool last, path *at)
{
    uint32_t ref = skip_head_of(l)->root;
    unsigned level = at->height = skip_block_at(l, ref)->level;
    for (;; level--) {
        const skip_block *b = skip_block_at(l, ref);
        unsigned n = skip_count(b->order), rank = last && n ? n - 1 : 0;
        skip_fetch(b);
        at->exact = k == NULL && n > 0;
        if (k)
            rank = level ? skip_child(l, b, b->order, k) : skip_search(l, b, b->order, k, &at->exact);
        at->ref[level] = ref;
        at->rank[level] = rank;
        if (level == 0)
            return;
        ref = b->refs[skip_slot(b->order, rank)];
    }
}

void fc_skiplist_fetch(const fc_skiplist *l, const fc_slice *keys, size_t n)
{
    skip_probe k[FC_SKIPLIST_FETCH];
    const skip_block *at[FC_SKIPLIST_FETCH], *root = skip_block_at(l, skip_head_of(l)->root);
    n = n < FC_SKIPLIST_FETCH ? n : FC_SKIPLIST_FETCH;
    for (size_t i = 0; i < n; i++) {
        k[i] = skip_probe_of(keys[i]);
        at[i] = root;
    }
    for (unsigned level = root->level; level > 0; level--)
        for (size_t i = 0; i < n; i++) {
            const skip_block *b = at[i];
            at[i] = skip_block_at(l, b->refs[skip_slot(b->order, skip_child(l, b, b->order, &k[i]))]);
            __builtin_prefetch(at[i], 1);
            skip_fetch(at[i]);
            if (level > 1)
                __builtin_prefetch(at[i]->counts, 1);
        }
}

static void add_to_counts(const fc_skiplist *l, const path *at, unsigned from, uint32_t by)
{
    for (unsigned level = from; level <= at->height; level++) {
        skip_block *b = block_of(l, at, level);
        b->counts[skip_slot(b->order, at->rank[level])] += by;
    }
}

/* Inserts into the block of this level, halving it with the help of `fresh` if it is full; what its parent must know of
 * the new block then comes back in v. If the key comes right behind the latest one here, the block is cut behind that instead
 * of in the middle: each run of ascending keys, wherever it lies, fills its blocks. */
static bool place(fc_skiplist *l, path *at, unsigned level, skip_slot_value *v, uint32_t fresh)
{
    skip_block *b = block_of(l, at, level);
    unsigned rank = at->rank[level] + (level > 0);
    if (skip_count(b->order) < SKIP_SLOTS) {
        skip_insert_slot(b, rank, v);
        return false;
    }
    unsigned keep = rank > 0 && skip_slot(b->order, rank - 1) == b->last ? rank : SKIP_SLOTS / 2;
    skip_block *half = skip_block_at(l, fresh);
    for (unsigned i = keep; i < SKIP_SLOTS; i++) {
        skip_slot_value moved = skip_read_slot(b, i);
        skip_insert_slot(half, i - keep, &moved);
    }
    if (keep == SKIP_SLOTS)
        skip_insert_slot(half, 0, v);
    STORE(&half->next, b->next);
    STORE(&half->prev, at->ref[level]);
    STORE(&b->next, fresh);
    if (half->next)
        STORE(&skip_block_at(l, half->next)->prev, fresh);
    if (keep < SKIP_SLOTS) { /* only when no key is in both is the new one shown, so that it comes by one store */
        skip_keep_first(b, keep);
        skip_insert_slot(rank > keep ? half : b, rank > keep ? rank - keep : rank, v);
    }
    *v = skip_read_slot(half, 0);
    v->ref = fresh;
    v->count = skip_keys_in(half);
    return true;
}

static void add_root(fc_skiplist *l, path *at, uint32_t ref, const skip_slot_value *right)
{
    skip_block *root = skip_block_at(l, ref), *below = block_of(l, at, at->height);
    skip_slot_value left = skip_read_slot(below, 0);
    left.ref = at->ref[at->height];
    left.count = skip_keys_in(below);
    skip_insert_slot(root, 0, &left);
    skip_insert_slot(root, 1, right);
    STORE(&skip_head_of(l)->root, ref);
}

/* Every block that inserting at this path will need, taken before anything changes. */
static bool take_blocks(fc_skiplist *l, const path *at, uint32_t *fresh, unsigned *n)
{
    *n = 0;
    for (unsigned level = 0; level <= at->height && skip_count(block_of(l, at, level)->order) == SKIP_SLOTS; level++) {
        if (level == at->height && level + 1 == SKIP_LEVELS)
            return false;
        if (!(fresh[(*n)++] = skip_take_block(l, level)))
            return false;
        if (level == at->height && !(fresh[(*n)++] = skip_take_block(l, level + 1)))
            return false;
    }
    return true;
}

static uint32_t make_entry(fc_skiplist *l, fc_slice key, fc_slice value)
{
    uint32_t ref = skip_take(l, SKIP_ENTRY_UNITS(key.n, value.n));
    if (!ref)
        return 0;
    uint64_t *e = skip_at(l, ref);
    STORE(e++, (uint64_t)value.n << 32 | key.n);
    for (size_t i = 0; i < SKIP_WORDS(key.n); i++)
        STORE(e++, fc_be64(skip_key_word(key.p, key.n, i)));
    for (size_t i = 0; i < SKIP_WORDS(value.n); i++)
        STORE(e++, fc_be64(skip_key_word(value.p, value.n, i)));
    return ref;
}

static void give_entry(fc_skiplist *l, uint32_t ref)
{
    uint64_t lengths = *skip_at(l, ref);
    skip_give(l, ref, SKIP_ENTRY_UNITS((uint32_t)lengths, lengths >> 32));
}

static void show_entry(const fc_skiplist *l, uint32_t ref, fc_skiplist_item *item)
{
    const uint64_t *e = skip_at(l, ref);
    uint32_t n = (uint32_t)*e;
    item->key = (fc_slice){(const char *)(e + 1), n};
    item->value = (fc_slice){(const char *)(e + 1 + SKIP_WORDS(n)), *e >> 32};
}

static int insert_at(fc_skiplist *l, path *at, const skip_probe *k, fc_slice key, fc_slice value, fc_skiplist_item *made)
{
    uint32_t fresh[SKIP_LEVELS + 1], entry = make_entry(l, key, value);
    unsigned blocks = 0, used = 0;
    if (!entry || !take_blocks(l, at, fresh, &blocks)) {
        while (blocks > 0)
            if (fresh[--blocks])
                skip_give_block(l, fresh[blocks]);
        if (entry)
            give_entry(l, entry);
        return FC_SKIPLIST_EFULL;
    }
    skip_slot_value v = {k->first, k->second, entry, 0, (uint8_t)k->length};
    unsigned level = 0;
    while (place(l, at, level, &v, used < blocks ? fresh[used] : 0)) {
        used++;
        if (level == at->height) {
            add_root(l, at, fresh[used], &v);
            break;
        }
        level++;
        skip_block *parent = block_of(l, at, level);
        parent->counts[skip_slot(parent->order, at->rank[level])] = skip_keys_in(block_of(l, at, level - 1));
    }
    add_to_counts(l, at, level + 1, 1);
    STORE(&skip_head_of(l)->count, skip_head_of(l)->count + 1);
    if (made)
        show_entry(l, entry, made);
    return 1;
}

/* A new entry under the old key, then the old one's memory back. */
static int replace_at(fc_skiplist *l, const path *at, fc_slice key, fc_slice value)
{
    uint32_t entry = make_entry(l, key, value);
    if (!entry)
        return FC_SKIPLIST_EFULL;
    skip_block *b = block_of(l, at, 0);
    uint32_t *ref = &b->refs[skip_slot(b->order, at->rank[0])], old = *ref;
    STORE(ref, entry);
    skip_raise_version(b);
    give_entry(l, old);
    return 0;
}

static bool sizes_right(fc_slice key, fc_slice value)
{
    return key.n <= FC_SKIPLIST_KEY_MAX && value.n <= FC_SKIPLIST_VALUE_MAX;
}

int fc_skiplist_put(fc_skiplist *l, fc_slice key, fc_slice value)
{
    path at;
    if (!sizes_right(key, value))
        return FC_SKIPLIST_ESIZE;
    skip_probe k = skip_probe_of(key);
    find_path(l, &k, false, &at);
    return at.exact ? replace_at(l, &at, key, value) : insert_at(l, &at, &k, key, value, NULL);
}

int fc_skiplist_insert(fc_skiplist *l, fc_slice key, fc_slice value, fc_skiplist_item *found)
{
    path at;
    if (!sizes_right(key, value))
        return FC_SKIPLIST_ESIZE;
    skip_probe k = skip_probe_of(key);
    find_path(l, &k, false, &at);
    if (!at.exact)
        return insert_at(l, &at, &k, key, value, found);
    if (found)
        show_entry(l, skip_read_slot(block_of(l, &at, 0), at.rank[0]).ref, found);
    return 0;
}

/* The child of that rank takes in its right neighbour. What was the neighbour's first child is no longer bounded by
 * being first, but by what the parent said of the neighbour. */
static void absorb(fc_skiplist *l, skip_block *parent, unsigned rank)
{
    skip_slot_value left = skip_read_slot(parent, rank), right = skip_read_slot(parent, rank + 1);
    skip_block *b = skip_block_at(l, left.ref), *from = skip_block_at(l, right.ref);
    for (unsigned i = 0; i < skip_count(from->order); i++) {
        skip_slot_value v = skip_read_slot(from, i);
        if (i == 0 && b->level) {
            v.first = right.first;
            v.second = right.second;
            v.length = right.length;
        }
        skip_insert_slot(b, skip_count(b->order), &v);
    }
    parent->counts[skip_slot(parent->order, rank)] += right.count;
    skip_remove_slot(parent, rank + 1);
    skip_unlink(l, right.ref);
}

static bool fit(const fc_skiplist *l, const skip_block *parent, unsigned rank)
{
    return skip_count(skip_block_at(l, skip_read_slot(parent, rank).ref)->order) +
               skip_count(skip_block_at(l, skip_read_slot(parent, rank + 1).ref)->order) <=
           MERGED_MAX;
}

/* An empty leaf goes, and with it the blocks above that hold nothing else: first from the lowest that holds more, then
 * each from its level, from the top, so that no reader meets an inner block that is empty. Returns the
 * level that lost a child. */
static unsigned drop_branch(fc_skiplist *l, const path *at)
{
    unsigned top = 1;
    while (skip_count(block_of(l, at, top)->order) == 1)
        top++;
    skip_remove_slot(block_of(l, at, top), at->rank[top]);
    for (unsigned level = top; level-- > 0;)
        skip_unlink(l, at->ref[level]);
    return top;
}

/* After a removal on level 0: an empty block goes, sparse ones merge with a neighbour under the same parent, and so on
 * up. An inner root has two children at least. */
static void tidy(fc_skiplist *l, const path *at)
{
    unsigned level = 0;
    if (at->height > 0 && skip_count(block_of(l, at, 0)->order) == 0)
        level = drop_branch(l, at);
    for (; level < at->height && skip_count(block_of(l, at, level)->order) <= SPARSE; level++) {
        skip_block *parent = block_of(l, at, level + 1);
        unsigned rank = at->rank[level + 1];
        if (rank + 1 < skip_count(parent->order) && fit(l, parent, rank))
            absorb(l, parent, rank);
        else if (rank > 0 && fit(l, parent, rank - 1))
            absorb(l, parent, rank - 1);
        else
            break;
    }
    skip_head *h = skip_head_of(l);
    for (skip_block *root; (root = skip_block_at(l, h->root))->level > 0 && skip_count(root->order) == 1;) {
        uint32_t old = h->root;
        STORE(&h->root, skip_read_slot(root, 0).ref);
        skip_give_block(l, old);
    }
}

static void remove_at(fc_skiplist *l, path *at, fc_skiplist_item *removed)
{
    skip_block *b = block_of(l, at, 0);
    uint32_t entry = skip_read_slot(b, at->rank[0]).ref;
    if (removed)
        show_entry(l, entry, removed);
    STORE(&skip_head_of(l)->count, skip_head_of(l)->count - 1);
    skip_remove_slot(b, at->rank[0]);
    add_to_counts(l, at, 1, UINT32_MAX);
    give_entry(l, entry);
    if (skip_count(b->order) <= SPARSE)
        tidy(l, at);
}

uint32_t fc_skiplist_ref(const fc_skiplist *l, const fc_skiplist_item *item)
{
    return (uint32_t)((uint64_t)(item->key.p - l->base) / 8 - 1);
}

void fc_skiplist_entry(const fc_skiplist *l, uint32_t ref, fc_skiplist_item *item) { show_entry(l, ref, item); }

int fc_skiplist_remove(fc_skiplist *l, fc_slice key, fc_skiplist_item *removed)
{
    path at;
    skip_probe k = skip_probe_of(key);
    find_path(l, &k, false, &at);
    if (at.exact)
        remove_at(l, &at, removed);
    return at.exact;
}

int fc_skiplist_pop(fc_skiplist *l, bool last, fc_skiplist_item *removed)
{
    path at;
    find_path(l, NULL, last, &at);
    if (at.exact)
        remove_at(l, &at, removed);
    return at.exact;
}

uint64_t fc_skiplist_rank(const fc_skiplist *l, fc_slice key)
{
    path at;
    skip_probe k = skip_probe_of(key);
    find_path(l, &k, false, &at);
    uint64_t rank = at.rank[0];
    for (unsigned level = 1; level <= at.height; level++)
        for (unsigned i = 0; i < at.rank[level]; i++)
            rank += skip_read_slot(block_of(l, &at, level), i).count;
    return rank;
}

bool fc_skiplist_at(const fc_skiplist *l, uint64_t index, fc_skiplist_cursor *c)
{
    const skip_head *h = skip_head_of(l);
    if (index >= h->count)
        return false;
    uint32_t ref = h->root;
    const skip_block *b;
    while ((b = skip_block_at(l, ref))->level) {
        unsigned rank = 0;
        for (uint32_t keys; index >= (keys = skip_read_slot(b, rank).count); rank++)
            index -= keys;
        ref = skip_read_slot(b, rank).ref;
    }
    c->block = ref;
    c->version = b->version;
    c->generation = h->generation;
    c->slot = (uint8_t)skip_slot(b->order, (unsigned)index);
    c->entry = b->refs[c->slot];
    show_entry(l, c->entry, &c->item);
    return true;
}
