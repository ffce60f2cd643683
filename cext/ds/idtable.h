/* idtable.h - from a 64-bit hash to a 32-bit ref, in a thousand small tables of which one grows at a time.
 *
 * Open addressing with linear probing and backward-shift deletion. A slot is a ref and 32 bits of the hash, so a search
 * looks at what the ref stands for once, when it has found it, and growing looks at none. One table of ten million slots
 * would be moved in one call of 100 ms; these are moved one by one, 10,000 slots each. The top 10 bits of the hash choose
 * the table, the low 32 are kept and choose the slot.
 *
 * One owner. Refs are never 0.
 */
#ifndef FC_IDTABLE_H
#define FC_IDTABLE_H

#include "fc/base.h"

#define IDTABLE_PARTS_BITS 10
#define IDTABLE_PARTS (1u << IDTABLE_PARTS_BITS)

typedef struct idtable_slot {
    uint32_t ref; /* 0: free */
    uint32_t hash;
} idtable_slot;

typedef struct idtable_part {
    idtable_slot *slots;
    uint32_t size; /* a power of two, or 0 */
    uint32_t count;
} idtable_part;

typedef struct idtable {
    uint64_t slots; /* of all parts */
    idtable_part parts[IDTABLE_PARTS];
} idtable;

/* Is what the ref stands for the wanted one? */
typedef bool (*idtable_same)(const void *owner, uint32_t ref, const void *wanted);

void idtable_clear(idtable *t); /* a zeroed table is empty */
/* The slot, or NULL. It may be given another ref; good until the table is changed. */
idtable_slot *idtable_find(const idtable *t, uint64_t hash, idtable_same same, const void *owner, const void *wanted);
/* The slot with this ref. REQUIRES: there is one. */
idtable_slot *idtable_find_ref(const idtable *t, uint64_t hash, uint32_t ref);
/* Where a search will begin, for who has something to do meanwhile. */
void idtable_prefetch(const idtable *t, uint64_t hash);
/* Makes room for one more under this hash. False: no memory. */
bool idtable_reserve(idtable *t, uint64_t hash);
/* What the reserve would add to `slots`. */
uint64_t idtable_growth(const idtable *t, uint64_t hash);
/* REQUIRES: reserved, and not in there. */
void idtable_add(idtable *t, uint64_t hash, uint32_t ref);
/* REQUIRES: found under this hash. */
void idtable_remove(idtable *t, uint64_t hash, idtable_slot *slot);

#endif
