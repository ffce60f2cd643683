#include "idtable.h"

#include <stdlib.h>
#include <string.h>

/* Up to 3/4: linear probing then looks at 2.5 slots for what is there and 8.5 for what is not, a line or two. */
#define FULL_AT(size) ((size) - (size) / 4)
#define SMALLEST 8u

static inline idtable_part *part_of(const idtable *t, uint64_t hash)
{
    return (idtable_part *)&t->parts[hash >> (64 - IDTABLE_PARTS_BITS)];
}

void idtable_clear(idtable *t)
{
    for (uint32_t i = 0; i < IDTABLE_PARTS; i++)
        free(t->parts[i].slots);
    memset(t, 0, sizeof *t);
}

idtable_slot *idtable_find(const idtable *t, uint64_t hash, idtable_same same, const void *owner, const void *wanted)
{
    const idtable_part *part = part_of(t, hash);
    if (part->count == 0)
        return NULL;
    for (uint32_t i = (uint32_t)hash & (part->size - 1); part->slots[i].ref != 0; i = (i + 1) & (part->size - 1))
        if (part->slots[i].hash == (uint32_t)hash && same(owner, part->slots[i].ref, wanted))
            return &part->slots[i];
    return NULL;
}

idtable_slot *idtable_find_ref(const idtable *t, uint64_t hash, uint32_t ref)
{
    const idtable_part *part = part_of(t, hash);
    uint32_t i = (uint32_t)hash & (part->size - 1);
    while (part->slots[i].ref != ref)
        i = (i + 1) & (part->size - 1);
    return &part->slots[i];
}

void idtable_prefetch(const idtable *t, uint64_t hash)
{
    const idtable_part *part = part_of(t, hash);
    if (part->size != 0)
        __builtin_prefetch(&part->slots[(uint32_t)hash & (part->size - 1)]);
}

static void put(idtable_part *part, idtable_slot slot)
{
    uint32_t i = slot.hash & (part->size - 1);
    while (part->slots[i].ref != 0)
        i = (i + 1) & (part->size - 1);
    part->slots[i] = slot;
}

uint64_t idtable_growth(const idtable *t, uint64_t hash)
{
    const idtable_part *part = part_of(t, hash);
    if (part->count < FULL_AT(part->size))
        return 0;
    return part->size != 0 ? part->size : SMALLEST;
}

bool idtable_reserve(idtable *t, uint64_t hash)
{
    idtable_part *part = part_of(t, hash), larger = *part;
    uint64_t by = idtable_growth(t, hash);
    if (by == 0)
        return true;
    larger.size = part->size + (uint32_t)by;
    larger.slots = calloc(larger.size, sizeof *larger.slots);
    if (larger.slots == NULL)
        return false;
    for (uint32_t i = 0; i < part->size; i++)
        if (part->slots[i].ref != 0)
            put(&larger, part->slots[i]);
    free(part->slots);
    *part = larger;
    t->slots += by;
    return true;
}

void idtable_add(idtable *t, uint64_t hash, uint32_t ref)
{
    idtable_part *part = part_of(t, hash);
    put(part, (idtable_slot){ref, (uint32_t)hash});
    part->count++;
}

void idtable_remove(idtable *t, uint64_t hash, idtable_slot *slot)
{
    idtable_part *part = part_of(t, hash);
    uint32_t mask = part->size - 1, hole = (uint32_t)(slot - part->slots);
    /* Whoever was pushed past the hole moves into it, or a search for it would stop there. */
    for (uint32_t i = (hole + 1) & mask; part->slots[i].ref != 0; i = (i + 1) & mask) {
        uint32_t home = part->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            part->slots[hole] = part->slots[i];
            hole = i;
        }
    }
    part->slots[hole].ref = 0;
    part->count--;
}
