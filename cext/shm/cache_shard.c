/* What happens under a shard's lock: blocks, eviction, the index, and computing it all anew after a death. */
#include "cache_internal.h"

static void set32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

void cache_hide(cache_meta *meta, uint64_t version)
{
    if (version & 1)
        __atomic_compare_exchange_n(&meta->version, &version, version + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

void cache_give(fc_cache *c, cache_shard *s, uint32_t first, uint32_t last)
{
    set32(&cache_meta_of(c, s)[last].next, s->free);
    s->free = first;
}

bool cache_sweep_records(fc_cache *c, cache_shard *s)
{
    bool found = false;
    for (int i = 0; i < FC_CACHE_INSERTIONS; i++) {
        cache_record *r = &s->records[i];
        uint32_t owner = __atomic_load_n(&r->owner, __ATOMIC_ACQUIRE);
        if (owner == 0 || fc_pid_alive(owner))
            continue;
        cache_give(c, s, r->first, r->last);
        cache_add32(&s->pending, -r->blocks);
        __atomic_store_n(&r->owner, 0, __ATOMIC_RELEASE);
        found = true;
    }
    return found;
}

static void link_newest(const fc_cache *c, cache_shard *s, uint32_t b)
{
    cache_entry *e = cache_entry_of(c, s, b);
    set32(&e->older, s->newest);
    set32(&e->newer, 0);
    if (s->newest != 0)
        set32(&cache_entry_of(c, s, s->newest)->newer, b);
    else
        s->oldest = b;
    s->newest = b;
    cache_add32(&s->entries, 1);
}

static void unlink_entry(const fc_cache *c, cache_shard *s, uint32_t b)
{
    const cache_entry *e = cache_entry_of(c, s, b);
    if (s->hand == b)
        s->hand = e->newer;
    if (e->older != 0)
        set32(&cache_entry_of(c, s, e->older)->newer, e->newer);
    else
        s->oldest = e->newer;
    if (e->newer != 0)
        set32(&cache_entry_of(c, s, e->newer)->older, e->older);
    else
        s->newest = e->older;
    cache_add32(&s->entries, -1u);
}

/* The entry that no index word names any more: out of readers' sight before its blocks can be used again. */
static void retire(fc_cache *c, cache_shard *s, uint32_t b)
{
    cache_meta *meta = &cache_meta_of(c, s)[b];
    const cache_entry *e = cache_entry_of(c, s, b);
    cache_hide(meta, __atomic_load_n(&meta->version, __ATOMIC_RELAXED));
    unlink_entry(c, s, b);
    meta->role = CACHE_NONE;
    cache_add32(&s->used, -e->blocks);
    cache_give(c, s, b, e->last);
}

void cache_remove(fc_cache *c, cache_shard *s, uint32_t b)
{
    uint64_t hash = cache_entry_of(c, s, b)->hash, mine = cache_index_word(b, hash);
    for (int which = 0; which < 2; which++) {
        cache_word *bucket = cache_index_of(c, s) + (uint64_t)CACHE_WAYS * cache_bucket(c, hash, which);
        for (int i = 0; i < CACHE_WAYS; i++)
            if (bucket[i] == mine)
                cache_word_put(&bucket[i], 0);
    }
    retire(c, s, b);
}

/* SIEVE's step: the first entry from the hand on that was not hit since the hand last came by, or whose time is over.
 * The bound on the way keeps the lock short when everything has been hit; each entry passed over was paid for by a
 * hit. */
static bool evict(fc_cache *c, cache_shard *s, uint64_t now)
{
    cache_meta *meta = cache_meta_of(c, s);
    uint32_t b = s->hand;
    for (int passed = 0;; passed++) {
        if (b == 0)
            b = s->oldest;
        if (b == 0)
            return false;
        const cache_entry *e = cache_entry_of(c, s, b);
        bool over = cache_state(c, s, b, e, now) == FC_CACHE_MISS;
        if (over || passed == FC_CACHE_SWEEP || !__atomic_load_n(&meta[b].visited, __ATOMIC_RELAXED)) {
            s->hand = e->newer;
            cache_add64(over ? &s->removed : &s->evicted, 1);
            cache_remove(c, s, b);
            return true;
        }
        __atomic_store_n(&meta[b].visited, 0, __ATOMIC_RELAXED);
        b = e->newer;
    }
}

uint32_t cache_take(fc_cache *c, cache_shard *s, uint32_t n, uint64_t now, uint32_t *last)
{
    cache_meta *meta = cache_meta_of(c, s);
    while (c->blocks - s->used - s->pending < n)
        if (!evict(c, s, now) && !cache_sweep_records(c, s))
            return 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t b = s->free;
        if (b != 0)
            s->free = meta[b].next;
        else
            b = ++s->top;
        set32(&meta[b].next, 0);
        if (first == 0)
            first = b;
        else
            set32(&meta[*last].next, b);
        *last = b;
    }
    return first;
}

/* --- index -------------------------------------------------------------------------------------------------------- */

uint32_t cache_lookup(const fc_cache *c, const cache_shard *s, uint64_t hash, fc_slice key)
{
    const cache_meta *meta = cache_meta_of(c, s);
    for (int which = 0; which < 2; which++) {
        const cache_word *bucket = cache_index_of(c, s) + (uint64_t)CACHE_WAYS * cache_bucket(c, hash, which);
        for (int i = 0; i < CACHE_WAYS; i++) {
            uint32_t b = (uint32_t)(bucket[i] >> 32);
            if (b == 0 || bucket[i] != cache_index_word(b, hash))
                continue;
            const cache_entry *e = cache_entry_of(c, s, b);
            if (e->hash == hash && e->key_len == key.n && (__atomic_load_n(&meta[b].version, __ATOMIC_RELAXED) & 1) &&
                cache_equal(c, s, (cache_cursor){b, cache_key_at(e->tags)}, key.p, (uint32_t)key.n))
                return b;
        }
    }
    return 0;
}

/* The word that names an entry of the same key, hidden ones too; else NULL. */
static cache_word *same_key(const fc_cache *c, const cache_shard *s, uint32_t first)
{
    const cache_entry *e = cache_entry_of(c, s, first);
    for (int which = 0; which < 2; which++) {
        cache_word *bucket = cache_index_of(c, s) + (uint64_t)CACHE_WAYS * cache_bucket(c, e->hash, which);
        for (int i = 0; i < CACHE_WAYS; i++) {
            uint32_t b = (uint32_t)(bucket[i] >> 32);
            if (b == 0 || bucket[i] != cache_index_word(b, e->hash))
                continue;
            const cache_entry *other = cache_entry_of(c, s, b);
            if (other->hash == e->hash && other->key_len == e->key_len &&
                cache_equal_chains(c, s, (cache_cursor){first, cache_key_at(e->tags)},
                                   (cache_cursor){b, cache_key_at(other->tags)}, e->key_len))
                return &bucket[i];
        }
    }
    return NULL;
}

/* A free word in the emptier bucket of the two. With at most 5 of 8 words in use on average both are practically never
 * full; should they be, an entry of theirs goes, if possible one that was not hit. */
static cache_word *free_word(fc_cache *c, cache_shard *s, uint64_t hash)
{
    cache_word *best = NULL;
    int most = 0;
    uint32_t victim = 0;
    for (int which = 0; which < 2; which++) {
        cache_word *bucket = cache_index_of(c, s) + (uint64_t)CACHE_WAYS * cache_bucket(c, hash, which), *empty = NULL;
        int room = 0;
        for (int i = 0; i < CACHE_WAYS; i++) {
            uint32_t b = (uint32_t)(bucket[i] >> 32);
            if (b == 0) {
                room++;
                empty = &bucket[i];
            } else if (victim == 0 || !__atomic_load_n(&cache_meta_of(c, s)[b].visited, __ATOMIC_RELAXED)) {
                victim = b;
            }
        }
        if (room > most) {
            most = room;
            best = empty;
        }
    }
    if (best == NULL) {
        cache_add64(&s->evicted, 1);
        cache_remove(c, s, victim);
        return free_word(c, s, hash);
    }
    return best;
}

void cache_publish(fc_cache *c, cache_shard *s, uint32_t first)
{
    cache_meta *meta = cache_meta_of(c, s);
    const cache_entry *e = cache_entry_of(c, s, first);
    cache_word *word = same_key(c, s, first);
    uint32_t old = word ? (uint32_t)(*word >> 32) : 0;
    /* What is hot stays hot under its new value. */
    uint8_t visited = old != 0 ? __atomic_load_n(&meta[old].visited, __ATOMIC_RELAXED) : 0;
    if (word == NULL)
        word = free_word(c, s, e->hash);
    cache_add32(&s->used, e->blocks);
    link_newest(c, s, first);
    meta[first].role = CACHE_FIRST;
    __atomic_store_n(&meta[first].visited, visited, __ATOMIC_RELAXED);
    __atomic_fetch_add(&meta[first].version, 1, __ATOMIC_ACQ_REL);
    cache_word_put(word, cache_index_word(first, e->hash));
    if (old != 0)
        retire(c, s, old);
    cache_add64(&s->stored, 1);
}

/* --- after a death or a clear ------------------------------------------------------------------------------------- */

/* Marks the blocks of a chain that nobody has yet. Its last, or 0 (then nothing stays marked). */
static uint32_t claim_chain(const fc_cache *c, cache_shard *s, uint32_t first, uint32_t n, cache_role role)
{
    cache_meta *meta = cache_meta_of(c, s);
    uint32_t b = first, last = 0, done = 0;
    for (; done < n && b != 0 && b <= s->top && meta[b].role == CACHE_NONE; done++) {
        meta[b].role = CACHE_BODY;
        last = b;
        b = meta[b].next;
    }
    if (done < n) {
        for (b = first; done > 0; done--, b = meta[b].next)
            meta[b].role = CACHE_NONE;
        return 0;
    }
    meta[first].role = (uint8_t)role;
    return last;
}

static bool claim_entry(const fc_cache *c, cache_shard *s, uint64_t word, uint32_t bucket)
{
    uint32_t b = (uint32_t)(word >> 32);
    if (b == 0 || b > s->top || !(__atomic_load_n(&cache_meta_of(c, s)[b].version, __ATOMIC_RELAXED) & 1))
        return false;
    cache_entry *e = cache_entry_of(c, s, b);
    uint64_t bytes = cache_value_at(e->tags, e->key_len, e->meta_len) + (uint64_t)e->value_len;
    if (word != cache_index_word(b, e->hash) || e->tags > FC_CACHE_TAGS_MAX ||
        e->blocks != cache_blocks_for(c, bytes) || e->blocks > c->item_blocks ||
        (bucket != cache_bucket(c, e->hash, 0) && bucket != cache_bucket(c, e->hash, 1)))
        return false;
    uint32_t last = claim_chain(c, s, b, e->blocks, CACHE_FIRST);
    if (last == 0)
        return false;
    set32(&e->last, last);
    cache_add32(&s->used, e->blocks);
    return true;
}

/* Index and records say what is in use; all else follows. May itself be cut short by a death and begun again. */
static void rebuild(fc_cache *c, cache_shard *s, bool keep)
{
    cache_meta *meta = cache_meta_of(c, s);
    cache_word *index = cache_index_of(c, s);
    if (s->top > c->blocks)
        s->top = c->blocks;
    for (uint32_t b = 1; b <= s->top; b++)
        meta[b].role = CACHE_NONE;
    cache_add32(&s->used, -s->used);
    cache_add32(&s->pending, -s->pending);
    cache_add32(&s->entries, -s->entries);
    s->oldest = s->newest = s->hand = s->free = 0;
    for (uint32_t bucket = 0; bucket < c->buckets; bucket++)
        for (int i = 0; i < CACHE_WAYS; i++, index++)
            if (*index != 0 && !(keep && claim_entry(c, s, *index, bucket)))
                cache_word_put(index, 0);
    for (int i = 0; i < FC_CACHE_INSERTIONS; i++) {
        cache_record *r = &s->records[i];
        uint32_t owner = __atomic_load_n(&r->owner, __ATOMIC_ACQUIRE);
        if (owner == 0)
            continue;
        uint32_t last = fc_pid_alive(owner) ? claim_chain(c, s, r->first, r->blocks, CACHE_BODY) : 0;
        if (last != 0) {
            r->last = last;
            cache_add32(&s->pending, r->blocks);
        } else {
            __atomic_store_n(&r->owner, 0, __ATOMIC_RELEASE);
        }
    }
    /* All that goes is out of sight before any of it is free: a reader amid a chain whose links change must see that the
     * version did, and the first block of a chain may come last here. */
    for (uint32_t b = 1; b <= s->top; b++)
        if (meta[b].role == CACHE_NONE)
            cache_hide(&meta[b], __atomic_load_n(&meta[b].version, __ATOMIC_RELAXED));
    for (uint32_t b = s->top; b > 0; b--) {
        if (meta[b].role == CACHE_FIRST) {
            link_newest(c, s, b);
        } else if (meta[b].role == CACHE_BODY) {
            meta[b].role = CACHE_NONE;
        } else {
            cache_give(c, s, b, b);
        }
    }
}

cache_shard *cache_enter(fc_cache *c, uint32_t no)
{
    int taken = cache_lock(c, no);
    if (taken < 0)
        return NULL;
    cache_shard *s = cache_shard_of(c, no);
    uint64_t epoch = __atomic_load_n(&cache_head_of(c)->epoch, __ATOMIC_ACQUIRE);
    bool keep = s->epoch == epoch;
    if (taken == 1 || !keep) {
        rebuild(c, s, keep);
        cache_add64(&s->repairs, taken == 1);
        __atomic_store_n(&s->epoch, epoch, __ATOMIC_RELEASE);
    }
    return s;
}
