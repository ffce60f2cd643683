/* memtable_layout.h - what a memtable is made of (see fc/memtable.h). Private to cext/lsm. */
#ifndef FC_MEMTABLE_LAYOUT_H
#define FC_MEMTABLE_LAYOUT_H

#include "fc/memtable.h"
#include "fc/skiplist.h"

#define LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, x) __atomic_store_n(p, x, __ATOMIC_RELEASE)

/* Immutable once it can be reached. Refs are offsets in the arena in units of 8 bytes; 0 is none. */
typedef struct mem_version {
    uint64_t tag;
    uint32_t older, jump; /* jump: an older one, the further the luckier; of the oldest, itself */
    uint32_t depth;       /* number of older ones */
    uint32_t value_n;
    char value[];
} mem_version;

/* Immutable: the sets of range deletions, the largest first. */
typedef struct mem_ranges {
    size_t n, ranges;
    fc_range_set set[];
} mem_ranges;

struct fc_memtable {
    fc_skiplist list;
    char *arena;
    uint64_t bytes_max, arena_size;
    uint64_t *slots; /* hash index: upper half of a hash, lower half offset in the list of a head word; 0 is empty */
    uint64_t slot_mask;
    uint32_t index_full; /* keys may be in the list that are not in the index */
    fc_hash_key hash_key;
    const mem_ranges *ranges;
    /* the writer's, read by others for figures */
    uint64_t arena_used, indexed;
    fc_memtable_stats stats;
};

/* The word in the list: newest version below, length of the key above. */
static inline uint32_t mem_newest(uint64_t head) { return (uint32_t)head; }
static inline uint32_t mem_key_n(uint64_t head) { return (uint32_t)(head >> 32); }

static inline uint64_t *mem_head(fc_slice list_value) { return (uint64_t *)(void *)(uintptr_t)list_value.p; }

static inline const mem_version *mem_at(const fc_memtable *m, uint32_t ref)
{
    return (const mem_version *)(const void *)(m->arena + (uint64_t)ref * 8);
}

/* The newest version at or below the tag, from the ref of the newest on; 0 when there is none. */
static inline uint32_t mem_version_at(const fc_memtable *m, uint32_t ref, uint64_t tag)
{
    while (ref) {
        const mem_version *v = mem_at(m, ref);
        if (v->tag <= tag)
            break;
        ref = v->depth && mem_at(m, v->jump)->tag > tag ? v->jump : v->older;
    }
    return ref;
}

/* The version with so many older ones. */
static inline uint32_t mem_version_of_depth(const fc_memtable *m, uint32_t ref, uint32_t depth)
{
    for (const mem_version *v; (v = mem_at(m, ref))->depth > depth;)
        ref = mem_at(m, v->jump)->depth >= depth ? v->jump : v->older;
    return ref;
}

#endif
