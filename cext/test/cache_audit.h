/* cache_audit.h - what must hold in a shared cache whenever nobody holds a lock: every block is in exactly one entry,
 * insertion in progress or the free chain, and counts and lists say the same as the index. */
#ifndef FC_TEST_CACHE_AUDIT_H
#define FC_TEST_CACHE_AUDIT_H

#include <stdlib.h>

#include "../shm/cache_internal.h"

static inline uint32_t cache_chain(const fc_cache *c, const cache_shard *s, uint32_t b, uint32_t n, char *seen)
{
    uint32_t count = 0;
    for (; count < n && b != 0 && b <= s->top && !seen[b]; count++, b = cache_meta_of(c, s)[b].next)
        seen[b] = 1;
    return count;
}

static inline unsigned cache_shard_faults(const fc_cache *c, const cache_shard *s)
{
    const cache_word *index = cache_index_of(c, s);
    const cache_meta *meta = cache_meta_of(c, s);
    char *seen = calloc(c->blocks + 1, 1);
    uint32_t used = 0, entries = 0, pending = 0, listed = 0, free_blocks = 0;
    unsigned faults = (uint32_t)s->lock != 0 || s->top > c->blocks;
    for (uint32_t i = 0; i < c->buckets * CACHE_WAYS; i++) {
        uint32_t b = (uint32_t)(index[i] >> 32);
        if (b == 0)
            continue;
        const cache_entry *e = cache_entry_of(c, s, b);
        faults += cache_chain(c, s, b, e->blocks, seen) != e->blocks || meta[b].role != CACHE_FIRST;
        used += e->blocks;
        entries++;
    }
    for (int i = 0; i < FC_CACHE_INSERTIONS; i++) {
        const cache_record *r = &s->records[i];
        if (r->owner != 0) {
            faults += cache_chain(c, s, r->first, r->blocks, seen) != r->blocks;
            pending += r->blocks;
        }
    }
    for (uint32_t b = s->free; b != 0 && free_blocks <= c->blocks; b = meta[b].next, free_blocks++) {
        faults += seen[b] || (meta[b].version & 1) || meta[b].role != CACHE_NONE;
        seen[b] = 1;
    }
    for (uint32_t b = s->oldest, before = 0; b != 0 && listed <= entries; listed++) {
        const cache_entry *e = cache_entry_of(c, s, b);
        faults += e->older != before || meta[b].role != CACHE_FIRST || (e->newer == 0 && s->newest != b);
        before = b;
        b = e->newer;
    }
    free(seen);
    return faults + (entries != s->entries) + (listed != entries) + (used != s->used) + (pending != s->pending) +
           (used + pending + free_blocks != s->top);
}

static inline unsigned cache_faults(const fc_cache *c)
{
    unsigned faults = 0;
    for (uint32_t no = 0; no < c->options.shards; no++)
        faults += cache_shard_faults(c, cache_shard_of(c, no));
    return faults;
}

#endif
