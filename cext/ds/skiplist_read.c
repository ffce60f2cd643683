#include "skiplist_layout.h"

/* Compares the probe's bytes from word `from` on with an entry's key. The lengths are believed only as far as they stay
 * inside the list: the entry may be somebody else's by now, which the caller finds out later. */
static int compare_entry(const fc_skiplist *l, const skip_probe *k, uint32_t ref, uint64_t from)
{
    if (!skip_inside(l, ref, 1))
        return 0;
    const uint64_t *e = skip_at(l, ref);
    uint32_t n = (uint32_t)LOAD(e);
    uint64_t words = SKIP_WORDS(n < k->n ? n : k->n);
    if (!skip_inside(l, ref, 1 + words))
        return 0;
    for (uint64_t i = from; i < words; i++) {
        uint64_t mine = skip_key_word(k->p, k->n, i), theirs = fc_be64(LOAD(&e[1 + i]));
        if (mine != theirs)
            return mine < theirs ? -1 : 1;
    }
    return k->n < n ? -1 : k->n > n;
}

/* The entry of the first key below a block, 0 when there is none just now. */
static uint32_t first_entry(const fc_skiplist *l, uint32_t ref)
{
    for (unsigned level = 0; level < SKIP_LEVELS; level++) {
        if (!skip_inside(l, ref, SKIP_LEAF_UNITS))
            return 0;
        const skip_block *b = skip_block_at(l, ref);
        uint64_t order = LOAD(&b->order);
        if (skip_count(order) == 0)
            return 0;
        ref = LOAD(&b->refs[skip_slot(order, 0)]);
        if (LOAD(&b->level) == 0)
            return ref;
    }
    return 0;
}

/* Probe against a slot whose first word is equal. */
static int compare_rest(const fc_skiplist *l, const skip_block *b, unsigned slot, const skip_probe *k)
{
    uint64_t second = LOAD(&b->second[slot]);
    if (k->second != second)
        return k->second < second ? -1 : 1;
    uint32_t length = LOAD(&b->length[slot]);
    if (length != SKIP_LONG || k->length != SKIP_LONG)
        return k->length < length ? -1 : k->length > length;
    uint32_t ref = LOAD(&b->refs[slot]);
    if (LOAD(&b->level) == 0)
        return compare_entry(l, k, ref, 2);
    ref = first_entry(l, ref);
    return ref ? compare_entry(l, k, ref, 0) : -1; /* not the key the slot was made from, if that was removed */
}

unsigned skip_search(const fc_skiplist *l, const skip_block *b, uint64_t order, const skip_probe *k, bool *exact)
{
    unsigned n = skip_count(order), below = 0;
    uint64_t slots = order;
    *exact = false;
    /* Counting beat a binary search's dependent loads, and counting all slots so as to have no varying end. */
    for (unsigned i = 0; i < n; i++, slots >>= 4)
        below += LOAD(&b->first[slots & 15]) < k->first;
    unsigned not_above = below;
    while (not_above < n && LOAD(&b->first[skip_slot(order, not_above)]) == k->first)
        not_above++;
    while (below < not_above) {
        unsigned middle = (below + not_above) / 2;
        int c = compare_rest(l, b, skip_slot(order, middle), k);
        if (c == 0)
            *exact = true;
        if (c > 0)
            below = middle + 1;
        else
            not_above = middle;
    }
    return below;
}

/* A leaf as a reader saw it, and where in it a key lies. */
typedef struct place {
    const skip_block *b;
    uint64_t order;
    uint32_t ref, version, generation;
    unsigned rank; /* keys below */
    bool exact;
} place;

enum { NONE = 0, FOUND = 1, AGAIN = -1 };

/* Nothing that was read from the block since its version was noted has been used for something else. */
static bool holds(const fc_skiplist *l, const place *p)
{
    return LOAD(&p->b->version) == p->version && LOAD(&skip_head_of(l)->generation) == p->generation;
}

/* From a block to another that it refers to. The new one's version is noted before the old one is looked at again, so
 * it is the version of the block that was meant, not of a later tenant of its memory. */
static bool move_to(const fc_skiplist *l, place *p, uint32_t ref)
{
    if (!skip_inside(l, ref, SKIP_LEAF_UNITS))
        return false;
    const skip_block *b = skip_block_at(l, ref);
    uint32_t version = LOAD(&b->version);
    if (!holds(l, p))
        return false;
    p->b = b;
    p->ref = ref;
    p->version = version;
    p->order = LOAD(&b->order);
    return true;
}

/* A missing probe is greater than any key. */
static void find_rank(const fc_skiplist *l, place *p, const skip_probe *k)
{
    p->exact = false;
    p->rank = k ? skip_search(l, p->b, p->order, k, &p->exact) : skip_count(p->order);
}

static void find_child(const fc_skiplist *l, place *p, const skip_probe *k)
{
    p->rank = k ? skip_child(l, p->b, p->order, k) : skip_count(p->order) - 1;
}

/* Whether a block to the right begins at or below the probe. An empty one does: what is behind it may. */
static bool begins_below(const fc_skiplist *l, uint32_t ref, const skip_probe *k)
{
    bool exact;
    if (!k || !skip_inside(l, ref, SKIP_LEAF_UNITS))
        return true;
    const skip_block *b = skip_block_at(l, ref);
    uint64_t order = LOAD(&b->order);
    if (skip_count(order) == 0)
        return true;
    return skip_search(l, b, (order & 15) | 1ull << 56, k, &exact) == 1 || exact;
}

/* To the block on the left, past blocks that were split off since prev was written. */
static int move_left(const fc_skiplist *l, place *p)
{
    uint32_t here = p->ref, prev = LOAD(&p->b->prev);
    if (!prev)
        return holds(l, p) ? NONE : AGAIN;
    const skip_block *b = p->b;
    if (!move_to(l, p, prev) || LOAD(&b->prev) != prev)
        return AGAIN;
    for (uint32_t next; (next = LOAD(&p->b->next)) != here;)
        if (next == 0 || !move_to(l, p, next))
            return AGAIN;
    return holds(l, p) ? FOUND : AGAIN;
}

/* The leaf that holds the probe or would. */
static bool descend(const fc_skiplist *l, const skip_probe *k, place *p)
{
    const skip_head *h = skip_head_of(l);
    p->generation = LOAD(&h->generation);
    p->ref = LOAD(&h->root);
    if (!skip_inside(l, p->ref, SKIP_LEAF_UNITS))
        return false;
    p->b = skip_block_at(l, p->ref);
    p->version = LOAD(&p->b->version);
    p->order = LOAD(&p->b->order);
    if (LOAD(&h->root) != p->ref)
        return false;
    for (;;) {
        skip_fetch(p->b);
        bool leaf = LOAD(&p->b->level) == 0;
        if (leaf)
            find_rank(l, p, k);
        else if (skip_count(p->order) == 0)
            return false;
        else
            find_child(l, p, k);
        uint32_t next = p->rank + !leaf == skip_count(p->order) ? LOAD(&p->b->next) : 0;
        bool right = next && begins_below(l, next, k);
        if (leaf && !right)
            return true;
        if (!move_to(l, p, right ? next : LOAD(&p->b->refs[skip_slot(p->order, p->rank)])))
            return false;
    }
}

static bool locate_once(const fc_skiplist *l, const skip_probe *k, place *p)
{
    if (!descend(l, k, p))
        return false;
    /* Long keys are compared with what the blocks below begin with at that moment, which may lead too far right. */
    while (p->rank == 0 && !p->exact) {
        place left = *p;
        int moved = move_left(l, &left);
        if (moved == NONE)
            return true;
        if (moved == AGAIN)
            return false;
        find_rank(l, &left, k);
        if (left.rank == skip_count(left.order) && skip_count(left.order) != 0)
            return true;
        *p = left;
    }
    return true;
}

/* From a key's place to the first key at or (beyond: only) above it. */
static int forward(const fc_skiplist *l, const skip_probe *k, bool beyond, place *p)
{
    while ((p->rank += beyond && p->exact) >= skip_count(p->order)) {
        uint32_t next = LOAD(&p->b->next);
        if (next == 0)
            return holds(l, p) ? NONE : AGAIN;
        if (!move_to(l, p, next))
            return AGAIN;
        find_rank(l, p, k);
    }
    return FOUND;
}

/* From a key's place to the last key below or (or_at) at it. */
static int backward(const fc_skiplist *l, const skip_probe *k, bool or_at, place *p)
{
    while ((p->rank += or_at && p->exact) == 0) {
        int moved = move_left(l, p);
        if (moved != FOUND)
            return moved;
        find_rank(l, p, k);
    }
    p->rank--;
    return FOUND;
}

static int finish(const fc_skiplist *l, const place *p, fc_skiplist_cursor *c)
{
    unsigned slot = skip_slot(p->order, p->rank);
    uint32_t entry = LOAD(&p->b->refs[slot]);
    if (!skip_inside(l, entry, 1) || !holds(l, p))
        return AGAIN;
    const uint64_t *e = skip_at(l, entry);
    uint64_t lengths = LOAD(e);
    const char *key = (const char *)(e + 1);
    size_t key_length = (uint32_t)lengths;
    c->item.key = (fc_slice){key, key_length};
    c->item.value = (fc_slice){key + 8 * SKIP_WORDS(key_length), lengths >> 32};
    c->block = p->ref;
    c->version = p->version;
    c->generation = p->generation;
    c->entry = entry;
    c->slot = (uint8_t)slot;
    return FOUND;
}

static int seek_once(const fc_skiplist *l, const skip_probe *k, fc_skiplist_op op, fc_skiplist_cursor *c)
{
    place p;
    if (!locate_once(l, op == FC_SKIPLIST_LAST ? NULL : k, &p))
        return AGAIN;
    int found = FOUND;
    switch (op) {
    case FC_SKIPLIST_EQ: found = p.exact ? FOUND : holds(l, &p) ? NONE : AGAIN; break;
    case FC_SKIPLIST_GE:
    case FC_SKIPLIST_FIRST: found = forward(l, k, false, &p); break;
    case FC_SKIPLIST_GT: found = forward(l, k, true, &p); break;
    case FC_SKIPLIST_LE: found = backward(l, k, true, &p); break;
    case FC_SKIPLIST_LT: found = backward(l, k, false, &p); break;
    case FC_SKIPLIST_LAST: found = backward(l, NULL, false, &p); break;
    }
    return found == FOUND ? finish(l, &p, c) : found;
}

static skip_probe probe_for(fc_slice key, fc_skiplist_op op)
{
    return skip_probe_of(op == FC_SKIPLIST_FIRST || op == FC_SKIPLIST_LAST ? (fc_slice){NULL, 0} : key);
}

bool fc_skiplist_seek(const fc_skiplist *l, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c)
{
    skip_probe k = probe_for(key, op);
    int found;
    while ((found = seek_once(l, &k, op, c)) == AGAIN)
        ;
    return found;
}

/* A scan will want all entries of a leaf, and then its neighbour: asked for together they cost one miss, not
 * fourteen. */
static void fetch_entries(const fc_skiplist *l, const place *p)
{
    for (unsigned i = 0; i < SKIP_SLOTS; i++)
        __builtin_prefetch(skip_at(l, LOAD(&p->b->refs[i])));
    const skip_block *next = skip_block_at(l, LOAD(&p->b->next));
    __builtin_prefetch(next);
    skip_fetch(next);
}

/* One step from where the cursor stands, or AGAIN when the block is not as it was. */
static int step_once(const fc_skiplist *l, fc_skiplist_cursor *c, bool backwards)
{
    place p = {.b = skip_block_at(l, c->block), .ref = c->block, .version = c->version, .generation = c->generation};
    p.order = LOAD(&p.b->order);
    unsigned n = skip_count(p.order);
    while (p.rank < n && skip_slot(p.order, p.rank) != c->slot)
        p.rank++;
    if (p.rank == n || !holds(l, &p))
        return AGAIN;
    int found = FOUND;
    if (backwards ? p.rank > 0 : p.rank + 1 < n) {
        p.rank += backwards ? -1u : 1u;
    } else {
        skip_probe k = skip_probe_of(c->item.key);
        p.exact = true;
        found = backwards ? backward(l, &k, false, &p) : forward(l, &k, true, &p);
        if (found == FOUND)
            fetch_entries(l, &p);
    }
    return found == FOUND ? finish(l, &p, c) : found;
}

bool fc_skiplist_next(const fc_skiplist *l, fc_skiplist_cursor *c)
{
    int found = step_once(l, c, false);
    return found == AGAIN ? fc_skiplist_seek(l, c->item.key, FC_SKIPLIST_GT, c) : found;
}

bool fc_skiplist_prev(const fc_skiplist *l, fc_skiplist_cursor *c)
{
    int found = step_once(l, c, true);
    return found == AGAIN ? fc_skiplist_seek(l, c->item.key, FC_SKIPLIST_LT, c) : found;
}

static void copy_words(char *to, const uint64_t *from, size_t n)
{
    for (size_t i = 0; 8 * i < n; i++) {
        uint64_t word = LOAD(&from[i]);
        memcpy(to + 8 * i, &word, n - 8 * i < 8 ? n - 8 * i : 8);
    }
}

/* The found item to buf + keep; AGAIN when it may be gone. */
static int copy_item(const fc_skiplist *l, fc_skiplist_cursor *c, char *buf, size_t keep, size_t cap)
{
    place p = {.b = skip_block_at(l, c->block), .version = c->version, .generation = c->generation};
    const uint64_t *e = skip_at(l, c->entry);
    uint64_t lengths = LOAD(e);
    size_t key = (uint32_t)lengths, value = lengths >> 32, need = keep + key + value;
    if (!skip_inside(l, c->entry, SKIP_ENTRY_UNITS(key, value)))
        return AGAIN;
    if (need > cap) {
        c->need = need;
        return holds(l, &p) ? FC_SKIPLIST_ESPACE : AGAIN;
    }
    copy_words(buf + keep, e + 1, key);
    copy_words(buf + keep + key, e + 1 + SKIP_WORDS(key), value);
    if (!holds(l, &p))
        return AGAIN;
    c->item = (fc_skiplist_item){{buf, key}, {buf + key, value}};
    return FOUND;
}

int fc_skiplist_read(const fc_skiplist *l, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c, char *buf,
                     size_t cap)
{
    skip_probe k = probe_for(key, op);
    int found;
    do {
        found = seek_once(l, &k, op, c);
        if (found == FOUND)
            found = copy_item(l, c, buf, 0, cap);
    } while (found == AGAIN);
    return found;
}

int fc_skiplist_read_next(const fc_skiplist *l, fc_skiplist_cursor *c, bool backwards, char *buf, size_t cap)
{
    size_t keep = c->item.key.n;
    fc_skiplist_cursor to = *c;
    to.item.key.p = buf;
    skip_probe k = skip_probe_of(to.item.key);
    int found = step_once(l, &to, backwards);
    if (found == FOUND)
        found = copy_item(l, &to, buf, keep, cap);
    while (found == AGAIN) {
        found = seek_once(l, &k, backwards ? FC_SKIPLIST_LT : FC_SKIPLIST_GT, &to);
        if (found == FOUND)
            found = copy_item(l, &to, buf, keep, cap);
    }
    if (found == FC_SKIPLIST_ESPACE) {
        c->need = to.need;
    } else if (found == FOUND) {
        memmove(buf, buf + keep, to.item.key.n + to.item.value.n);
        *c = to;
    }
    return found;
}
