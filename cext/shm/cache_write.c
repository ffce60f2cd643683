/* What changes entries: set, delete, touch, claim, expire. Streams are in cache_put.c. */
#include "cache_internal.h"
#include "cache_put.h"

#define EXPIRE_BATCH 1024 /* blocks looked at under one holding of the lock */

int cache_check(const fc_cache *c, const fc_cache_new *n)
{
    uint64_t most = c->options.item_max;
    if (n->key.n > FC_CACHE_KEY_MAX || n->key.n > most || n->meta.n > most - n->key.n ||
        n->value.n > most - n->key.n - n->meta.n)
        return FC_CACHE_EBIG;
    return n->stamp != NULL && n->stamp->len > FC_CACHE_TAGS_MAX ? FC_CACHE_ETAGS : 0;
}

cache_cursor cache_write_head(const fc_cache *c, cache_shard *s, uint32_t first, const cache_entry *head,
                              const fc_cache_new *n)
{
    cache_cursor to = {first, 0};
    cache_copy_in(c, s, &to, head, sizeof *head);
    if (n->stamp != NULL)
        cache_copy_in(c, s, &to, n->stamp->tags, 8 * n->stamp->len);
    cache_copy_in(c, s, &to, n->key.p, (uint32_t)n->key.n);
    to.at = cache_pad8(to.at);
    cache_copy_in(c, s, &to, n->meta.p, (uint32_t)n->meta.n);
    to.at = cache_pad8(to.at);
    return to;
}

cache_entry cache_head_for(const fc_cache_new *n, uint64_t hash, uint64_t now)
{
    return (cache_entry){.hash = hash,
                         .fresh_until = n->fresh_until,
                         .keep_until = n->keep_until > n->fresh_until ? n->keep_until : n->fresh_until,
                         .stored = now,
                         .flags = n->flags,
                         .meta_len = (uint32_t)n->meta.n,
                         .key_len = (uint16_t)n->key.n,
                         .tags = n->stamp ? (uint8_t)n->stamp->len : 0};
}

bool cache_fresh(const fc_cache *c, const cache_shard *s, uint64_t hash, fc_slice key, uint64_t now)
{
    uint32_t b = cache_lookup(c, s, hash, key);
    return b != 0 && cache_state(c, s, b, cache_entry_of(c, s, b), now) == FC_CACHE_FRESH;
}

/* Under the lock: all at once. False when there is no room. */
static bool insert(fc_cache *c, cache_shard *s, cache_entry *head, const fc_cache_new *n, uint64_t now)
{
    uint64_t bytes = (uint64_t)cache_value_at(head->tags, head->key_len, head->meta_len) + n->value.n;
    head->value_len = (uint32_t)n->value.n;
    head->blocks = (uint32_t)cache_blocks_for(c, bytes);
    uint32_t first = cache_take(c, s, head->blocks, now, &head->last);
    if (first == 0)
        return false;
    cache_cursor to = cache_write_head(c, s, first, head, n);
    cache_copy_in(c, s, &to, n->value.p, (uint32_t)n->value.n);
    cache_publish(c, s, first);
    return true;
}

static int set_large(fc_cache *c, const fc_cache_new *n, bool absent_only, uint64_t now)
{
    fc_cache_put put;
    int error = cache_put_begin(c, &put, n, absent_only, now);
    if (error)
        return error < 0 ? error : 0;
    error = fc_cache_put_write(c, &put, n->value.p, n->value.n, now);
    if (error) {
        fc_cache_put_abort(c, &put);
        return error;
    }
    return cache_put_commit(c, &put, absent_only, now);
}

int fc_cache_set(fc_cache *c, const fc_cache_new *n, bool absent_only, uint64_t now)
{
    int result = cache_check(c, n);
    if (result)
        return result;
    if (n->value.n > FC_CACHE_COPY_MAX) {
        result = set_large(c, n, absent_only, now);
    } else {
        uint64_t hash = fc_hash(&c->options.key, n->key.p, n->key.n);
        uint32_t no = cache_shard_no(c, hash);
        cache_shard *s = cache_enter(c, no);
        if (s == NULL) {
            result = FC_CACHE_EBUSY;
        } else {
            bool late = n->stamp != NULL && n->stamp->epoch != s->epoch;
            cache_entry head = cache_head_for(n, hash, now);
            if (!late && !(absent_only && cache_fresh(c, s, hash, n->key, now)))
                result = insert(c, s, &head, n, now) ? 1 : FC_CACHE_EFULL;
            cache_unlock(c, no);
        }
    }
    if (result < 0 && !absent_only)
        cache_strike(c, n->key);
    return result;
}

int fc_cache_delete(fc_cache *c, fc_slice key, uint64_t now)
{
    uint64_t hash = fc_hash(&c->options.key, key.p, key.n);
    uint32_t no = cache_shard_no(c, hash);
    cache_shard *s = cache_enter(c, no);
    if (s == NULL) {
        cache_strike(c, key);
        return FC_CACHE_EBUSY;
    }
    uint32_t b = cache_lookup(c, s, hash, key);
    int found = 0;
    if (b != 0) {
        fc_cache_state state = cache_state(c, s, b, cache_entry_of(c, s, b), now);
        found = state == FC_CACHE_FRESH || state == FC_CACHE_STALE;
        cache_remove(c, s, b);
    }
    cache_unlock(c, no);
    return found;
}

static void set64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

int fc_cache_touch(fc_cache *c, fc_slice key, uint64_t fresh_until, uint64_t keep_until, const fc_cache_stamp *stamp,
                   uint64_t now)
{
    uint64_t hash = fc_hash(&c->options.key, key.p, key.n);
    uint32_t no = cache_shard_no(c, hash);
    cache_shard *s = cache_enter(c, no);
    if (s == NULL)
        return FC_CACHE_EBUSY;
    uint32_t b = cache_lookup(c, s, hash, key);
    cache_entry *e = b != 0 ? cache_entry_of(c, s, b) : NULL;
    fc_cache_state state = e ? cache_state(c, s, b, e, now) : FC_CACHE_MISS;
    int found = state == FC_CACHE_FRESH || state == FC_CACHE_STALE;
    if (found) {
        /* Each word by itself makes sense, so readers may see some of them. */
        if (stamp != NULL && stamp->len == e->tags) {
            cache_cursor to = {b, sizeof(cache_entry)};
            cache_copy_in(c, s, &to, stamp->tags, 8 * stamp->len);
        }
        set64(&e->keep_until, keep_until > fresh_until ? keep_until : fresh_until);
        set64(&e->fresh_until, fresh_until);
        set64(&e->claimed, 0);
    }
    cache_unlock(c, no);
    return found;
}

int fc_cache_claim(fc_cache *c, fc_slice key, uint64_t until, uint64_t now)
{
    fc_cache_new n = {.key = key, .keep_until = until};
    int result = cache_check(c, &n);
    if (result)
        return result;
    uint64_t hash = fc_hash(&c->options.key, key.p, key.n);
    uint32_t no = cache_shard_no(c, hash);
    cache_shard *s = cache_enter(c, no);
    if (s == NULL)
        return FC_CACHE_EBUSY;
    uint32_t b = cache_lookup(c, s, hash, key);
    cache_entry *e = b != 0 ? cache_entry_of(c, s, b) : NULL;
    switch (e ? cache_state(c, s, b, e, now) : FC_CACHE_MISS) {
    case FC_CACHE_MISS: {
        cache_entry head = cache_head_for(&n, hash, now);
        head.pending = 1;
        result = insert(c, s, &head, &n, now) ? 1 : FC_CACHE_EFULL;
        break;
    }
    case FC_CACHE_STALE:
        result = now >= e->claimed;
        if (result)
            set64(&e->claimed, until);
        break;
    default: break;
    }
    cache_unlock(c, no);
    return result;
}

uint64_t fc_cache_expire(fc_cache *c, uint64_t now)
{
    uint64_t freed = 0;
    for (uint32_t no = 0; no < c->options.shards; no++) {
        for (uint32_t b = 1, end = 0; b == 1 || b <= end;) {
            cache_shard *s = cache_enter(c, no);
            if (s == NULL)
                break;
            if (b == 1)
                cache_sweep_records(c, s);
            end = s->top;
            for (uint32_t n = 0; n < EXPIRE_BATCH && b <= end; n++, b++) {
                if (cache_meta_of(c, s)[b].role != CACHE_FIRST ||
                    cache_state(c, s, b, cache_entry_of(c, s, b), now) != FC_CACHE_MISS)
                    continue;
                cache_remove(c, s, b);
                cache_add64(&s->removed, 1);
                freed++;
            }
            cache_unlock(c, no);
            if (end == 0)
                break;
        }
    }
    return freed;
}

void fc_cache_release(fc_cache *c, uint32_t pid)
{
    for (uint32_t no = 0; pid != 0 && no < c->options.shards; no++) {
        cache_shard *s = cache_shard_of(c, no);
        bool left = cache_lock_release_dead(c, no, pid);
        for (int i = 0; i < FC_CACHE_INSERTIONS; i++) {
            uint32_t owner = pid;
            left |= __atomic_compare_exchange_n(&s->records[i].owner, &owner, CACHE_DEAD, false, __ATOMIC_RELAXED,
                                                __ATOMIC_RELAXED);
        }
        if (left && (s = cache_enter(c, no)) != NULL) {
            cache_sweep_records(c, s);
            cache_unlock(c, no);
        }
    }
}
