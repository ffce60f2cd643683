/* Finding and reading without a lock: everything read is believed only when the version is the same afterwards. */
#include <sched.h>

#include "cache_internal.h"

/* Each round is lost to a writer that finished something on this very key meanwhile; who loses that often may call it
 * a miss. */
#define ROUNDS 64

typedef enum look { NO, YES, AGAIN } look;

static fc_cache_state tags_state(const fc_cache *c, const cache_word *words, uint32_t n)
{
    const cache_tag *tags = cache_tags_of(c);
    fc_cache_state state = FC_CACHE_FRESH;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t word = cache_word_get(&words[i]), seen = word & CACHE_TAG_MASK;
        uint32_t slot = (uint32_t)(word >> CACHE_TAG_BITS);
        if (slot >= c->options.tag_slots || seen < __atomic_load_n(&tags[slot].hard, __ATOMIC_ACQUIRE))
            return FC_CACHE_MISS;
        if (seen != __atomic_load_n(&tags[slot].now, __ATOMIC_ACQUIRE))
            state = FC_CACHE_STALE;
    }
    return state;
}

/* What a reader answers for an entry whose head he copied; `words` is where it lies. */
static fc_cache_state state_of(const fc_cache *c, const cache_entry *e, const cache_word *words, uint64_t now)
{
    if (now >= e->keep_until)
        return FC_CACHE_MISS;
    if (e->pending)
        return FC_CACHE_PENDING;
    if (e->tags > FC_CACHE_TAGS_MAX)
        return FC_CACHE_MISS; /* of an entry that is being changed */
    fc_cache_state state = tags_state(c, words + sizeof(cache_entry) / 8, e->tags);
    return state == FC_CACHE_FRESH && now >= e->fresh_until ? FC_CACHE_STALE : state;
}

fc_cache_state cache_state(const fc_cache *c, const cache_shard *s, uint32_t block, const cache_entry *e, uint64_t now)
{
    if (!(__atomic_load_n(&cache_meta_of(c, s)[block].version, __ATOMIC_ACQUIRE) & 1))
        return FC_CACHE_MISS;
    return state_of(c, e, (const cache_word *)(const void *)e, now);
}

/* Whether an index word that led to nothing still names what was looked at. Between loading the word and the version
 * the block may have come to be in another entry, while the word went on to name a new value: no reason to call it a
 * miss. */
static bool unchanged(const cache_word *from, uint64_t word, const cache_meta *meta, uint64_t version)
{
    return cache_word_get(from) == word && __atomic_load_n(&meta->version, __ATOMIC_ACQUIRE) == version;
}

static look examine(const fc_cache *c, const cache_shard *s, const cache_word *from, uint64_t word, uint64_t hash,
                    fc_slice key, uint64_t now, fc_cache_item *item)
{
    uint32_t b = (uint32_t)(word >> 32);
    if (b > c->blocks)
        return NO;
    cache_meta *meta = &cache_meta_of(c, s)[b];
    uint64_t version = __atomic_load_n(&meta->version, __ATOMIC_ACQUIRE);
    if (!(version & 1)) /* on its way out, or hidden */
        return unchanged(from, word, meta, version) ? NO : AGAIN;
    const cache_word *words = (const cache_word *)(void *)cache_block(c, s, b);
    union {
        cache_entry e;
        uint64_t words[sizeof(cache_entry) / 8];
    } copy;
    for (int i = 0; i < CACHE_ENTRY_READ / 8; i++)
        copy.words[i] = cache_word_get(&words[i]);
    const cache_entry *e = &copy.e;
    bool mine = e->hash == hash && e->key_len == key.n && e->tags <= FC_CACHE_TAGS_MAX &&
                cache_equal(c, s, (cache_cursor){b, cache_key_at(e->tags)}, key.p, (uint32_t)key.n);
    fc_cache_state state = mine ? state_of(c, e, words, now) : FC_CACHE_MISS;
    if (!mine)
        return unchanged(from, word, meta, version) ? NO : AGAIN;
    if (__atomic_load_n(&meta->version, __ATOMIC_ACQUIRE) != version)
        return AGAIN;
    *item = (fc_cache_item){.state = state,
                            .flags = e->flags,
                            .meta_len = e->meta_len,
                            .value_len = e->value_len,
                            .fresh_until = e->fresh_until,
                            .keep_until = e->keep_until,
                            .stored = e->stored,
                            .block = b,
                            .meta_at = cache_meta_at(e->tags, e->key_len),
                            .value_at = cache_value_at(e->tags, e->key_len, e->meta_len),
                            .cursor_block = b,
                            .version = version};
    if (!__atomic_load_n(&meta->visited, __ATOMIC_RELAXED)) /* only a first hit dirties the cache line */
        __atomic_store_n(&meta->visited, 1, __ATOMIC_RELAXED);
    return YES;
}

fc_cache_state fc_cache_find(const fc_cache *c, fc_slice key, uint64_t now, fc_cache_item *item)
{
    item->state = FC_CACHE_MISS;
    if (key.n > FC_CACHE_KEY_MAX)
        return FC_CACHE_MISS;
    uint64_t hash = fc_hash(&c->options.key, key.p, key.n);
    uint32_t no = cache_shard_no(c, hash);
    const cache_shard *s = cache_shard_of(c, no);
    for (int round = 0; round < ROUNDS; round++) {
        bool again = false;
        if (__atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE) != __atomic_load_n(&cache_head_of(c)->epoch, __ATOMIC_ACQUIRE))
            return FC_CACHE_MISS;
        for (int which = 0; which < 2; which++) {
            const cache_word *bucket = cache_index_of(c, s) + (uint64_t)CACHE_WAYS * cache_bucket(c, hash, which);
            for (int i = 0; i < CACHE_WAYS; i++) {
                uint64_t word = cache_word_get(&bucket[i]);
                if (word == 0 || word != cache_index_word((uint32_t)(word >> 32), hash))
                    continue;
                look found = examine(c, s, &bucket[i], word, hash, key, now, item);
                if (found == YES) {
                    item->shard = no;
                    return item->state;
                }
                again |= found == AGAIN;
            }
        }
        if (!again)
            break;
    }
    return FC_CACHE_MISS;
}

void cache_strike(fc_cache *c, fc_slice key)
{
    fc_cache_item item;
    if (fc_cache_find(c, key, 0, &item) != FC_CACHE_MISS)
        cache_hide(&cache_meta_of(c, cache_shard_of(c, item.shard))[item.block], item.version);
}

bool fc_cache_same(const fc_cache *c, const fc_cache_item *item)
{
    const cache_meta *meta = cache_meta_of(c, cache_shard_of(c, item->shard));
    return __atomic_load_n(&meta[item->block].version, __ATOMIC_ACQUIRE) == item->version;
}

static bool read_at(const fc_cache *c, fc_cache_item *item, uint32_t at, void *out, uint32_t n)
{
    const cache_shard *s = cache_shard_of(c, item->shard);
    if (at < item->cursor) { /* a chain leads forward only */
        item->cursor = 0;
        item->cursor_block = item->block;
    }
    cache_cursor from = {item->cursor_block, at - item->cursor};
    if (!cache_copy_out(c, s, &from, out, n) || !fc_cache_same(c, item))
        return false;
    item->cursor = at + n - from.at;
    item->cursor_block = from.block;
    return true;
}

bool fc_cache_read(const fc_cache *c, fc_cache_item *item, uint32_t at, void *out, uint32_t n)
{
    return read_at(c, item, item->value_at + at, out, n);
}

bool fc_cache_read_meta(const fc_cache *c, fc_cache_item *item, void *out)
{
    return read_at(c, item, item->meta_at, out, item->meta_len);
}

void fc_cache_count(const fc_cache *c, bool hit)
{
    cache_head *h = cache_head_of(c);
    unsigned stripe = (unsigned)sched_getcpu() % CACHE_STRIPES;
    __atomic_fetch_add(hit ? &h->counts[stripe].hits : &h->counts[stripe].misses, 1, __ATOMIC_RELAXED);
}
