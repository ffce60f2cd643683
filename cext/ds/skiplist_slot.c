#include "skiplist_layout.h"

skip_slot_value skip_read_slot(const skip_block *b, unsigned rank)
{
    unsigned slot = skip_slot(b->order, rank);
    uint32_t count = b->level ? b->counts[slot] : 0;
    return (skip_slot_value){b->first[slot], b->second[slot], b->refs[slot], count, b->length[slot]};
}

static void write_slot(skip_block *b, unsigned slot, const skip_slot_value *v)
{
    STORE(&b->first[slot], v->first);
    STORE(&b->second[slot], v->second);
    STORE(&b->refs[slot], v->ref);
    STORE(&b->length[slot], v->length);
    if (b->level)
        b->counts[slot] = v->count;
}

void skip_insert_slot(skip_block *b, unsigned rank, const skip_slot_value *v)
{
    unsigned n = skip_count(b->order);
    uint64_t order = b->order, slot = skip_slot(order, n), below = (1ull << (4 * rank)) - 1;
    uint64_t moved = order & ((1ull << (4 * n)) - 1) & ~below;
    uint64_t behind = order & ~((1ull << (4 * (n + 1))) - 1) & ((1ull << 56) - 1);
    write_slot(b, (unsigned)slot, v);
    b->last = (uint8_t)slot;
    STORE(&b->order, (order & below) | slot << (4 * rank) | moved << 4 | behind | (uint64_t)(n + 1) << 56);
}

void skip_raise_version(skip_block *b) { STORE(&b->version, b->version + 1); }

void skip_remove_slot(skip_block *b, unsigned rank)
{
    unsigned n = skip_count(b->order);
    uint64_t order = b->order, slot = skip_slot(order, rank), below = (1ull << (4 * rank)) - 1;
    uint64_t upto = (1ull << (4 * n)) - 1;
    uint64_t moved = (order & upto & ~(below << 4 | 15)) >> 4;
    uint64_t behind = order & ~upto & ((1ull << 56) - 1);
    STORE(&b->order, (order & below) | moved | slot << (4 * (n - 1)) | behind | (uint64_t)(n - 1) << 56);
    skip_raise_version(b);
}

void skip_keep_first(skip_block *b, unsigned n)
{
    STORE(&b->order, (b->order & ((1ull << 56) - 1)) | (uint64_t)n << 56);
    skip_raise_version(b);
}

uint32_t skip_keys_in(const skip_block *b)
{
    unsigned n = skip_count(b->order);
    uint32_t keys = b->level ? 0 : n;
    if (b->level)
        for (unsigned i = 0; i < n; i++)
            keys += b->counts[skip_slot(b->order, i)];
    return keys;
}

void skip_unlink(fc_skiplist *l, uint32_t ref)
{
    skip_block *b = skip_block_at(l, ref);
    if (b->prev) {
        skip_block *left = skip_block_at(l, b->prev);
        STORE(&left->next, b->next);
        skip_raise_version(left);
    }
    if (b->next)
        STORE(&skip_block_at(l, b->next)->prev, b->prev);
    skip_give_block(l, ref);
}
