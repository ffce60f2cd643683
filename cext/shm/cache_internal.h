/* cache_internal.h - layout of the shared cache and the few steps its files share (fc/cache.h is the manual). */
#ifndef FC_CACHE_INTERNAL_H
#define FC_CACHE_INTERNAL_H

#include <string.h>

#include "fc/cache.h"
#include "fc/pidlock.h"
#include "fc/region.h"

#define CACHE_WAYS 8    /* index words on a cache line */
#define CACHE_STRIPES 64 /* of hit and miss counts, by CPU */
#define CACHE_DEAD UINT32_MAX /* owner of a lock or record that waits for somebody to clean up */

typedef struct cache_head {
    uint64_t magic; /* stored last: zero means not prepared */
    uint32_t version;
    fc_pidlock lock; /* for preparing */
    fc_cache_options options;
    char pad0[2 * FC_CACHE_LINE - 16 - sizeof(fc_cache_options)];
    uint64_t epoch;
    char pad1[FC_CACHE_LINE - 8];
    struct {
        uint64_t hits, misses;
        char pad[FC_CACHE_LINE - 16];
    } counts[CACHE_STRIPES];
} cache_head;

/* A tag slot: `now` goes up with every invalidation, `hard` follows it with every one that is not soft. */
typedef struct cache_tag {
    uint64_t now, hard;
} cache_tag;

/* An entry's word for a tag: slot and `now` of that slot. 2^44 invalidations are five months at a million a second. */
#define CACHE_TAG_BITS 44
#define CACHE_TAG_MASK ((1ull << CACHE_TAG_BITS) - 1)

typedef struct cache_record { /* an insertion in progress */
    uint32_t owner;           /* pid, 0 when free */
    uint32_t first, last, blocks;
    uint64_t ticket;
} cache_record;

typedef struct cache_shard {
    uint64_t lock; /* turns << 32 | thread id of the owner, 0 when free */
    char pad0[FC_CACHE_LINE - 8];
    uint64_t epoch; /* the cache's, when the shard was last cleared; another one: nothing in it counts */
    char pad1[FC_CACHE_LINE - 8];
    /* under the lock; read racily by stats */
    uint32_t free;  /* chain of blocks given back */
    uint32_t top;   /* blocks above were never used */
    uint32_t used, pending; /* blocks in entries, in records */
    uint32_t entries;
    uint32_t oldest, newest, hand; /* 0: none; hand 0: begin with the oldest */
    uint64_t stored, evicted, removed, repairs;
    cache_record records[FC_CACHE_INSERTIONS];
    char pad2[FC_CACHE_LINE];
} cache_shard;

typedef enum cache_role { CACHE_NONE, CACHE_FIRST, CACHE_BODY } cache_role;

typedef struct cache_meta {
    uint64_t version; /* odd: first block of an entry that may be read */
    uint32_t next;
    uint8_t visited;
    uint8_t role; /* CACHE_FIRST of every entry in the eviction list; BODY only while a shard is computed anew */
    uint16_t pad;
} cache_meta;

/* The head of an entry. Readers copy the first 64 bytes. Then come the tags' words, key and metadata (each padded to
 * 8), value. All block memory is written by release stores, as readers of an entry that was there before may still
 * look. */
typedef struct cache_entry {
    uint64_t hash;
    uint64_t fresh_until, keep_until;
    uint64_t stored;
    uint64_t claimed; /* somebody has until then to bring a new value */
    uint32_t value_len, flags;
    uint32_t meta_len;
    uint16_t key_len;
    uint8_t tags;
    uint8_t pending; /* no value, only a claim */
    uint32_t last, blocks;
    uint32_t older, newer; /* eviction list */
} cache_entry;

#define CACHE_ENTRY_READ 64

_Static_assert(sizeof(cache_entry) == 72 && offsetof(cache_entry, older) == CACHE_ENTRY_READ, "documented layout");
_Static_assert(sizeof(cache_entry) + 8 * FC_CACHE_TAGS_MAX <= 256, "header and tags lie in the first block");
_Static_assert(sizeof(cache_meta) == 16 && sizeof(cache_shard) % FC_CACHE_LINE == 0, "documented layout");
_Static_assert(offsetof(cache_head, epoch) == 2 * FC_CACHE_LINE, "the epoch has a cache line of its own");

/* Block memory as words, whatever struct it is written as. */
typedef uint64_t __attribute__((may_alias)) cache_word;

static inline uint64_t cache_word_get(const cache_word *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

static inline void cache_word_put(cache_word *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

static inline cache_head *cache_head_of(const fc_cache *c) { return (cache_head *)(void *)c->base; }

static inline cache_tag *cache_tags_of(const fc_cache *c)
{
    return (cache_tag *)(void *)(c->base + sizeof(cache_head));
}

static inline cache_shard *cache_shard_of(const fc_cache *c, uint32_t s)
{
    return (cache_shard *)(void *)(c->base + c->shards_at + c->stride * s);
}

static inline cache_word *cache_index_of(const fc_cache *c, const cache_shard *s)
{
    return (cache_word *)((char *)(uintptr_t)s + c->index_at);
}

/* Element 0 stands for "no block" and is not used. */
static inline cache_meta *cache_meta_of(const fc_cache *c, const cache_shard *s)
{
    return (cache_meta *)(void *)((char *)(uintptr_t)s + c->meta_at);
}

static inline char *cache_block(const fc_cache *c, const cache_shard *s, uint32_t b)
{
    return (char *)(uintptr_t)s + c->data_at + ((uint64_t)(b - 1) << c->block_log2);
}

static inline cache_entry *cache_entry_of(const fc_cache *c, const cache_shard *s, uint32_t b)
{
    return (cache_entry *)(void *)cache_block(c, s, b);
}

static inline uint32_t cache_pad8(uint32_t n) { return (n + 7) & ~7u; }

/* Where things are in an entry, in bytes from its first. */
static inline uint32_t cache_key_at(uint32_t tags) { return (uint32_t)sizeof(cache_entry) + 8 * tags; }

static inline uint32_t cache_meta_at(uint32_t tags, uint32_t key_len)
{
    return cache_key_at(tags) + cache_pad8(key_len);
}

static inline uint32_t cache_value_at(uint32_t tags, uint32_t key_len, uint32_t meta_len)
{
    return cache_meta_at(tags, key_len) + cache_pad8(meta_len);
}

static inline uint64_t cache_blocks_for(const fc_cache *c, uint64_t bytes)
{
    return (bytes + c->options.block - 1) >> c->block_log2;
}

/* Shard, two buckets and tag come from different bits of the hash. */
static inline uint32_t cache_scale(uint32_t bits, uint32_t n) { return (uint32_t)((uint64_t)bits * n >> 32); }

static inline uint32_t cache_shard_no(const fc_cache *c, uint64_t hash)
{
    return cache_scale((uint32_t)(hash >> 32), c->options.shards);
}

static inline uint32_t cache_bucket(const fc_cache *c, uint64_t hash, int which)
{
    return cache_scale((uint32_t)(which == 0 ? hash : fc_hash_mix(hash)), c->buckets);
}

static inline uint64_t cache_index_word(uint32_t block, uint64_t hash)
{
    return (uint64_t)block << 32 | ((uint32_t)(hash >> 29) ^ (uint32_t)hash);
}

/* A position in a chain of blocks. */
typedef struct cache_cursor {
    uint32_t block, at;
} cache_cursor;

/* The chain's position `at` bytes from `block`. False when it leads nowhere, as in a chain that is being changed. */
static inline bool cache_seek(const fc_cache *c, const cache_shard *s, cache_cursor *at)
{
    const cache_meta *meta = cache_meta_of(c, s);
    while (at->at >= c->options.block) {
        at->block = __atomic_load_n(&meta[at->block].next, __ATOMIC_ACQUIRE);
        at->at -= c->options.block;
        if (at->block == 0 || at->block > c->blocks)
            return false;
    }
    return true;
}

/* Counts that stats reads while the lock's owner changes them. */
static inline void cache_add32(uint32_t *p, uint32_t n) { __atomic_store_n(p, *p + n, __ATOMIC_RELAXED); }

static inline void cache_add64(uint64_t *p, uint64_t n) { __atomic_store_n(p, *p + n, __ATOMIC_RELAXED); }

/* cache_copy.c: bytes along a chain. False when the chain ends first. */
bool cache_copy_out(const fc_cache *c, const cache_shard *s, cache_cursor *from, void *out, uint32_t n);
bool cache_copy_in(const fc_cache *c, cache_shard *s, cache_cursor *to, const void *p, uint32_t n);
/* `from` is a multiple of 8. */
bool cache_equal(const fc_cache *c, const cache_shard *s, cache_cursor from, const char *p, uint32_t n);
/* The same bytes at two places of the shard. */
bool cache_equal_chains(const fc_cache *c, const cache_shard *s, cache_cursor a, cache_cursor b, uint32_t n);

/* cache_read.c: takes the key's entry, if any, out of readers' sight without the lock. */
void cache_strike(fc_cache *c, fc_slice key);
/* An entry's state by its times and tags; hash, lengths and links of `e` are not looked at. */
fc_cache_state cache_state(const fc_cache *c, const cache_shard *s, uint32_t block, const cache_entry *e, uint64_t now);

/* cache_lock.c: 0 when taken, 1 when taken from a dead owner, or FC_CACHE_EBUSY. */
int cache_lock(fc_cache *c, uint32_t s);
void cache_unlock(const fc_cache *c, uint32_t s);
/* Whether the shard's lock is held for (or was left by) thread `tid`; then hands it on to whoever comes next. */
bool cache_lock_release_dead(fc_cache *c, uint32_t s, uint32_t tid);

/* cache_shard.c: steps under the shard's lock. */
/* Takes the lock and makes the shard fit for work: computed anew after a death or a clear. NULL: busy. */
cache_shard *cache_enter(fc_cache *c, uint32_t s);
/* Chain of n blocks, evicting as needed; its first, *last set, or 0 when insertions in progress leave no room. */
uint32_t cache_take(fc_cache *c, cache_shard *s, uint32_t n, uint64_t now, uint32_t *last);
void cache_give(fc_cache *c, cache_shard *s, uint32_t first, uint32_t last);
/* Makes the entry in chain `first`, written whole, visible in place of any of the same key. */
void cache_publish(fc_cache *c, cache_shard *s, uint32_t first);
/* First block of the key's entry, or 0. */
uint32_t cache_lookup(const fc_cache *c, const cache_shard *s, uint64_t hash, fc_slice key);
void cache_remove(fc_cache *c, cache_shard *s, uint32_t first);
/* Frees the records of dead processes. True when there was one. */
bool cache_sweep_records(fc_cache *c, cache_shard *s);
/* Turns an odd version even, once, whoever else tries the same. */
void cache_hide(cache_meta *meta, uint64_t version);

#endif
