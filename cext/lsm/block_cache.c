#include "fc/block_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "fc/hash.h"

#define SHARDS_MAX 256u
#define SMALL_PART 10u /* a tenth of a shard, as the paper has it */
#define USES_MAX 3u
#define LINE 64u
#define FETCH_MAX 4352u /* a block of 4 KiB and the entry that it is ended by */
#define BLOCK_GUESS 4096u /* there are fingerprints for as many blocks of this size as there is room for */

enum { SMALL, MAIN, NOWHERE };

typedef struct queue {
    fc_block *newest, *oldest;
    uint64_t bytes;
} queue;

/* What left the small queue lately: a fingerprint and when, counted in evictions. */
typedef struct ghost {
    uint32_t print, when;
} ghost;

typedef struct shard {
    pthread_mutex_t lock;
    ghost *ghosts;
    queue queues[2];
    uint64_t bytes_max, blocks, hits, misses, inserted, evicted, returned;
    uint32_t clock;
} __attribute__((aligned(64))) shard;

struct fc_block_cache {
    shard *shards;
    unsigned shard_mask;
    uint32_t ghost_mask;
    uint64_t files;
};

struct fc_cached_file {
    uint64_t seed; /* of its blocks' hashes */
    uint32_t n;
    fc_block *slots[]; /* [lock of the block's shard; atomic] */
};

/* --- blocks ----------------------------------------------------------------------------------------------------- */

fc_block *fc_block_new(uint32_t n)
{
    fc_block *b = malloc(sizeof *b + n);
    if (b)
        *b = (fc_block){.refs = 1, .n = n, .queue = NOWHERE};
    return b;
}

void fc_block_hold(fc_block *b) { __atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED); }

void fc_block_release(fc_block *b)
{
    if (b && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(b);
}

static uint64_t size_of(const fc_block *b) { return sizeof *b + b->n; }

/* --- the cache -------------------------------------------------------------------------------------------------- */

fc_block_cache *fc_block_cache_new(uint64_t bytes_max, unsigned shards)
{
    if (shards == 0)
        for (shards = 1; shards < 16 && bytes_max / (shards * 2) >= 512u << 10;)
            shards *= 2;
    if (bytes_max < FC_BLOCK_CACHE_MIN_BYTES || shards > SHARDS_MAX || (shards & (shards - 1)) != 0)
        return NULL;
    uint64_t slots = 16, part = bytes_max / shards;
    while (slots * 2 * BLOCK_GUESS <= part && slots < 1u << 24)
        slots *= 2;
    uint64_t own = sizeof(shard) + slots * sizeof(ghost);
    fc_block_cache *c = calloc(1, sizeof *c);
    if (c == NULL || own >= part || !(c->shards = aligned_alloc(64, shards * sizeof(shard)))) {
        free(c);
        return NULL;
    }
    c->shard_mask = shards - 1;
    c->ghost_mask = (uint32_t)(slots - 1);
    bool whole = true;
    for (unsigned i = 0; i < shards; i++) {
        c->shards[i] = (shard){.bytes_max = part - own, .ghosts = calloc(slots, sizeof(ghost))};
        pthread_mutex_init(&c->shards[i].lock, NULL);
        whole = whole && c->shards[i].ghosts;
    }
    if (!whole) {
        fc_block_cache_free(c);
        return NULL;
    }
    return c;
}

void fc_block_cache_free(fc_block_cache *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i <= c->shard_mask; i++) {
        shard *s = &c->shards[i];
        for (int q = SMALL; q <= MAIN; q++)
            for (fc_block *b = s->queues[q].oldest, *next; b; b = next) {
                next = b->newer;
                fc_block_release(b);
            }
        free(s->ghosts);
        pthread_mutex_destroy(&s->lock);
    }
    free(c->shards);
    free(c);
}

/* --- files ------------------------------------------------------------------------------------------------------ */

fc_cached_file *fc_block_cache_open(fc_block_cache *c, uint32_t blocks)
{
    fc_cached_file *f = calloc(1, sizeof *f + blocks * sizeof(fc_block *));
    if (f == NULL)
        return NULL;
    f->seed = fc_hash_mix(__atomic_add_fetch(&c->files, 1, __ATOMIC_RELAXED));
    f->n = blocks;
    return f;
}

/* Numbers are ours, not a stranger's: no key is needed. */
static uint64_t hash_of(const fc_cached_file *f, uint32_t i) { return fc_hash_mix(f->seed + i); }

static shard *shard_of(const fc_block_cache *c, uint64_t hash) { return &c->shards[hash >> 48 & c->shard_mask]; }

/* Stored atomically for the sake of who looks without the lock, only to prefetch. */
static void set(fc_block **slot, fc_block *b) { __atomic_store_n(slot, b, __ATOMIC_RELAXED); }

static void push(shard *s, uint8_t which, fc_block *b)
{
    queue *q = &s->queues[which];
    b->queue = which;
    b->newer = NULL;
    b->older = q->newest;
    *(q->newest ? &q->newest->newer : &q->oldest) = b;
    q->newest = b;
    q->bytes += size_of(b);
}

static void pull(shard *s, fc_block *b)
{
    queue *q = &s->queues[b->queue];
    *(b->newer ? &b->newer->older : &q->newest) = b->older;
    *(b->older ? &b->older->newer : &q->oldest) = b->newer;
    q->bytes -= size_of(b);
}

/* Out of the shard; its reference goes. */
static void evict(const fc_block_cache *c, shard *s, fc_block *b)
{
    set(b->slot, NULL);
    pull(s, b);
    if (b->queue == SMALL)
        s->ghosts[b->hash & c->ghost_mask] = (ghost){(uint32_t)(b->hash >> 32), ++s->clock};
    s->blocks--;
    fc_block_release(b);
}

/* A fingerprint counts for as many evictions as there are blocks now: about one filling of the cache. */
static bool was_here(const fc_block_cache *c, shard *s, uint64_t hash)
{
    ghost *g = &s->ghosts[hash & c->ghost_mask];
    bool here = g->when && g->print == (uint32_t)(hash >> 32) && s->clock - g->when <= s->blocks;
    if (here)
        *g = (ghost){0};
    return here;
}

static void make_room(const fc_block_cache *c, shard *s, uint64_t bytes)
{
    queue *small = &s->queues[SMALL], *main = &s->queues[MAIN];
    while (small->bytes + main->bytes + bytes > s->bytes_max) {
        bool from_small = small->oldest && (small->bytes > s->bytes_max / SMALL_PART || !main->oldest);
        fc_block *b = from_small ? small->oldest : main->oldest;
        uint8_t uses = b->uses;
        if (uses == 0) {
            s->evicted++;
            evict(c, s, b);
            continue;
        }
        b->uses = from_small ? 0 : uses - 1;
        pull(s, b);
        push(s, MAIN, b);
    }
}

/* A block that was not read for a while is in none of the processor's caches. All of it is asked for at once, before the
 * lock is taken, the end first, for that is looked at first: what a search touches is known only step by step, and each
 * step would wait for memory (measured: 100 to 200 ns of the 1200 of a get). The block may be gone: only its address is used. */
static void fetch(const fc_block *b, uint32_t bytes)
{
    __builtin_prefetch(b, 1);
    for (uint32_t behind = 0; behind <= bytes && behind < FETCH_MAX; behind += LINE)
        __builtin_prefetch((const char *)b + sizeof *b + bytes - behind);
}

fc_block *fc_block_cache_get(fc_block_cache *c, fc_cached_file *f, uint32_t i, uint32_t bytes)
{
    uint64_t hash = hash_of(f, i);
    shard *s = shard_of(c, hash);
    fc_block *b = __atomic_load_n(&f->slots[i], __ATOMIC_RELAXED);
    if (b)
        fetch(b, bytes);
    pthread_mutex_lock(&s->lock);
    b = f->slots[i];
    if (b) {
        s->hits++;
        b->uses += b->uses < USES_MAX;
        fc_block_hold(b);
    } else {
        s->misses++;
        __builtin_prefetch(s->queues[SMALL].oldest, 1); /* while the caller reads the disk: who will be thrown out */
        __builtin_prefetch(s->queues[MAIN].oldest, 1);
    }
    pthread_mutex_unlock(&s->lock);
    return b;
}

fc_block *fc_block_cache_put(fc_block_cache *c, fc_cached_file *f, uint32_t i, fc_block *b)
{
    uint64_t hash = hash_of(f, i);
    shard *s = shard_of(c, hash);
    if (size_of(b) > s->bytes_max)
        return b;
    pthread_mutex_lock(&s->lock);
    fc_block *there = f->slots[i];
    if (there) {
        fc_block_hold(there);
    } else {
        b->slot = &f->slots[i];
        b->hash = hash;
        bool back = was_here(c, s, hash);
        make_room(c, s, size_of(b));
        fc_block_hold(b);
        set(b->slot, b);
        push(s, back ? MAIN : SMALL, b);
        s->blocks++;
        s->inserted++;
        s->returned += back;
    }
    pthread_mutex_unlock(&s->lock);
    if (there == NULL)
        return b;
    fc_block_release(b);
    return there;
}

void fc_block_cache_close(fc_block_cache *c, fc_cached_file *f)
{
    for (uint32_t i = 0; f && i < f->n; i++) {
        shard *s = shard_of(c, hash_of(f, i));
        pthread_mutex_lock(&s->lock);
        if (f->slots[i])
            evict(c, s, f->slots[i]);
        pthread_mutex_unlock(&s->lock);
    }
    free(f);
}

void fc_block_cache_get_stats(fc_block_cache *c, fc_block_cache_stats *out)
{
    *out = (fc_block_cache_stats){0};
    for (unsigned i = 0; i <= c->shard_mask; i++) {
        shard *s = &c->shards[i];
        pthread_mutex_lock(&s->lock);
        out->bytes += s->queues[SMALL].bytes + s->queues[MAIN].bytes;
        out->blocks += s->blocks;
        out->hits += s->hits;
        out->misses += s->misses;
        out->inserted += s->inserted;
        out->evicted += s->evicted;
        out->returned += s->returned;
        pthread_mutex_unlock(&s->lock);
    }
}
