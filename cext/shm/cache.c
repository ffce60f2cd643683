#include "cache_internal.h"

#define MAGIC 0x3165686361636600ull /* "\0fcache1" */
#define BLOCKS_MAX (1u << 30)
#define BUCKET_BLOCKS 5 /* blocks to a bucket of 8 words: at most 5/8 full even when every entry is one block */

static uint64_t align_to(uint64_t n, uint64_t to) { return (n + to - 1) & ~(to - 1); }

/* Fills in what follows from the options. Bytes of section, or 0 when an option is out of range. */
static uint64_t lay_out(fc_cache *c, const fc_cache_options *o)
{
    if (o->shards < 1 || o->shards > FC_CACHE_SHARDS_MAX || o->block < 256 || o->block > 65536 ||
        (o->block & (o->block - 1)) != 0 || o->tag_slots < 1 || o->tag_slots > 1u << 20 || o->capacity < 1 ||
        o->item_max < 1 || o->item_max > UINT32_MAX / 2)
        return 0;
    uint64_t share = (o->capacity + o->shards - 1) / o->shards, blocks = (share + o->block - 1) / o->block;
    if (blocks < 2 || blocks > BLOCKS_MAX)
        return 0;
    *c = (fc_cache){.options = *o, .blocks = (uint32_t)blocks, .wait_ns = FC_CACHE_WAIT_NS};
    c->block_log2 = (uint32_t)__builtin_ctz(o->block);
    c->buckets = c->blocks / BUCKET_BLOCKS + 1;
    /* Key and metadata are padded to 8, so two parts may take 14 bytes more than they have. */
    uint64_t longest = sizeof(cache_entry) + 8 * FC_CACHE_TAGS_MAX + 14 + o->item_max;
    if (cache_blocks_for(c, longest) > blocks / 2)
        return 0;
    c->item_blocks = (uint32_t)cache_blocks_for(c, longest);
    c->shards_at = align_to(sizeof(cache_head) + sizeof(cache_tag) * (uint64_t)o->tag_slots, FC_CACHE_ALIGN);
    c->index_at = sizeof(cache_shard);
    c->meta_at = c->index_at + sizeof(cache_word) * CACHE_WAYS * (uint64_t)c->buckets;
    c->data_at = align_to(c->meta_at + sizeof(cache_meta) * (blocks + 1), FC_CACHE_LINE);
    c->stride = align_to(c->data_at + (blocks << c->block_log2), FC_CACHE_ALIGN);
    return c->shards_at + c->stride * o->shards;
}

uint64_t fc_cache_size(const fc_cache_options *o)
{
    fc_cache c;
    return lay_out(&c, o);
}

int fc_cache_open(fc_cache *c, void *base, uint64_t size, const fc_cache_options *o)
{
    cache_head *h = base;
    if (size < sizeof(cache_head))
        return FC_CACHE_ESIZE;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
        uint64_t needed = o ? fc_cache_size(o) : 0;
        if (needed == 0 || needed > size)
            return FC_CACHE_ESIZE;
        if (fc_pidlock_acquire(&h->lock, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_CACHE_EBUSY;
        if (__atomic_load_n(&h->magic, __ATOMIC_RELAXED) == 0) {
            h->version = FC_CACHE_VERSION;
            h->options = *o;
            __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
        }
        fc_pidlock_release(&h->lock);
    }
    if (h->magic != MAGIC || h->version != FC_CACHE_VERSION)
        return FC_CACHE_EVERSION;
    uint64_t needed = fc_cache_size(&h->options);
    if (needed == 0 || needed > size)
        return FC_CACHE_ESIZE;
    lay_out(c, &h->options);
    c->base = base;
    return 0;
}

void fc_cache_stamp_now(const fc_cache *c, fc_cache_stamp *stamp)
{
    stamp->epoch = __atomic_load_n(&cache_head_of(c)->epoch, __ATOMIC_ACQUIRE);
    stamp->len = 0;
}

static uint32_t slot_of(const fc_cache *c, fc_slice tag)
{
    /* Another domain than keys: a tag's slot says nothing about a key's place. */
    return cache_scale((uint32_t)(fc_hash_mix(fc_hash(&c->options.key, tag.p, tag.n)) >> 32), c->options.tag_slots);
}

int fc_cache_stamp_tag(const fc_cache *c, fc_cache_stamp *stamp, fc_slice tag)
{
    if (stamp->len == FC_CACHE_TAGS_MAX)
        return FC_CACHE_ETAGS;
    uint32_t slot = slot_of(c, tag);
    uint64_t now = __atomic_load_n(&cache_tags_of(c)[slot].now, __ATOMIC_ACQUIRE);
    stamp->tags[stamp->len++] = (uint64_t)slot << CACHE_TAG_BITS | (now & CACHE_TAG_MASK);
    return 0;
}

void fc_cache_invalidate(fc_cache *c, fc_slice tag, bool soft)
{
    cache_tag *t = &cache_tags_of(c)[slot_of(c, tag)];
    uint64_t now = __atomic_add_fetch(&t->now, 1, __ATOMIC_ACQ_REL);
    uint64_t hard = __atomic_load_n(&t->hard, __ATOMIC_RELAXED);
    while (!soft && hard < now &&
           !__atomic_compare_exchange_n(&t->hard, &hard, now, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
    }
}

void fc_cache_clear(fc_cache *c) { __atomic_fetch_add(&cache_head_of(c)->epoch, 1, __ATOMIC_ACQ_REL); }

#define ROOM_LOOKS 64 /* at a lock that is free for a moment between two writers */

/* Blocks in entries and in insertions, as of one moment: between two looks at a free lock nothing moved. Who never finds it
 * free (its owner is dead or stopped, perhaps amid a move) counts what is in both once. */
static void count_blocks(const fc_cache *c, const cache_shard *s, uint32_t *used, uint32_t *pending)
{
    for (int looks = 0; looks < ROOM_LOOKS; looks++) {
        uint64_t word = __atomic_load_n(&s->lock, __ATOMIC_ACQUIRE);
        *used = __atomic_load_n(&s->used, __ATOMIC_ACQUIRE);
        *pending = __atomic_load_n(&s->pending, __ATOMIC_ACQUIRE);
        if ((uint32_t)word == 0 && __atomic_load_n(&s->lock, __ATOMIC_RELAXED) == word)
            return;
    }
    if (*pending > c->blocks - *used)
        *pending = c->blocks - *used;
}

void fc_cache_stats_get(const fc_cache *c, fc_cache_stats *stats)
{
    const cache_head *h = cache_head_of(c);
    *stats = (fc_cache_stats){.capacity = ((uint64_t)c->blocks << c->block_log2) * c->options.shards};
    for (int i = 0; i < CACHE_STRIPES; i++) {
        stats->hits += __atomic_load_n(&h->counts[i].hits, __ATOMIC_RELAXED);
        stats->misses += __atomic_load_n(&h->counts[i].misses, __ATOMIC_RELAXED);
    }
    uint64_t epoch = __atomic_load_n(&h->epoch, __ATOMIC_ACQUIRE), used = 0, pending = 0;
    for (uint32_t i = 0; i < c->options.shards; i++) {
        const cache_shard *s = cache_shard_of(c, i);
        stats->stored += __atomic_load_n(&s->stored, __ATOMIC_RELAXED);
        stats->evicted += __atomic_load_n(&s->evicted, __ATOMIC_RELAXED);
        stats->removed += __atomic_load_n(&s->removed, __ATOMIC_RELAXED);
        stats->repairs += __atomic_load_n(&s->repairs, __ATOMIC_RELAXED);
        uint32_t in_entries, in_insertions;
        count_blocks(c, s, &in_entries, &in_insertions);
        pending += in_insertions;
        if (__atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE) == epoch) {
            stats->entries += __atomic_load_n(&s->entries, __ATOMIC_RELAXED);
            used += in_entries;
        }
    }
    stats->bytes = used << c->block_log2;
    stats->pending = pending << c->block_log2;
}

const char *fc_cache_strerror(int64_t error)
{
    switch (error) {
    case FC_CACHE_ESIZE:
        return "options out of range (1 to 64 shards, blocks of 256 to 65536 bytes, 1 to 2^20 tag slots, item_max at "
               "most half a shard), or the section is smaller than they need";
    case FC_CACHE_EVERSION: return "the section was prepared by another version of the cache, or by something else";
    case FC_CACHE_EBUSY: return "another live process holds the lock";
    case FC_CACHE_EBIG: return "key, metadata and value together are over item_max, or the key is over 65535 bytes";
    case FC_CACHE_EFULL: return "insertions in progress hold the room or all their records";
    case FC_CACHE_ETAGS: return "an entry has at most 16 tags";
    case FC_CACHE_ELOST: return "the entry or the insertion is no more";
    default: return "unknown error";
    }
}
