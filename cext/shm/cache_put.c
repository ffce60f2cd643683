/* Insertion in pieces: blocks are reserved under the lock, belong to a record, and are filled without it. */
#include <unistd.h>

#include "cache_put.h"

/* The record of the insertion; NULL when it was given to somebody else, or a forked child means its parent's. */
static cache_record *record_of(const fc_cache_put *put, cache_shard *s)
{
    cache_record *r = &s->records[put->record];
    bool mine = __atomic_load_n(&r->owner, __ATOMIC_ACQUIRE) == put->owner && r->ticket == put->ticket &&
                put->owner == (uint32_t)getpid();
    return mine ? r : NULL;
}

/* Room for n more blocks in insertions: all of them together get half of the shard, so that they cannot turn it out. */
static bool may_reserve(fc_cache *c, cache_shard *s, uint32_t n)
{
    if (s->pending + n <= c->blocks / 2)
        return true;
    return cache_sweep_records(c, s) && s->pending + n <= c->blocks / 2;
}

static cache_record *free_record(fc_cache *c, cache_shard *s)
{
    do {
        for (int i = 0; i < FC_CACHE_INSERTIONS; i++)
            if (__atomic_load_n(&s->records[i].owner, __ATOMIC_ACQUIRE) == 0)
                return &s->records[i];
    } while (cache_sweep_records(c, s));
    return NULL;
}

static int reserve(fc_cache *c, cache_shard *s, fc_cache_put *put, uint32_t need, uint64_t now)
{
    cache_record *r = free_record(c, s);
    if (r == NULL || !may_reserve(c, s, need))
        return FC_CACHE_EFULL;
    put->first = cache_take(c, s, need, now, &put->last);
    if (put->first == 0)
        return FC_CACHE_EFULL;
    put->blocks = need;
    put->owner = (uint32_t)getpid();
    put->record = (uint32_t)(r - s->records);
    put->ticket = ++r->ticket;
    r->first = put->first;
    r->last = put->last;
    r->blocks = need;
    cache_add32(&s->pending, need);
    __atomic_store_n(&r->owner, put->owner, __ATOMIC_RELEASE);
    return 0;
}

int cache_put_begin(fc_cache *c, fc_cache_put *put, const fc_cache_new *n, bool absent_only, uint64_t now)
{
    uint64_t hash = fc_hash(&c->options.key, n->key.p, n->key.n);
    int error = 0;
    cache_entry head = cache_head_for(n, hash, now);
    *put = (fc_cache_put){.shard = cache_shard_no(c, hash), .key = n->key};
    put->value_at = cache_value_at(head.tags, head.key_len, head.meta_len);
    cache_shard *s = cache_enter(c, put->shard);
    if (s == NULL)
        return FC_CACHE_EBUSY;
    put->epoch = n->stamp != NULL ? n->stamp->epoch : s->epoch;
    if (put->epoch != s->epoch || (absent_only && cache_fresh(c, s, hash, n->key, now)))
        error = 1;
    else
        error = reserve(c, s, put, (uint32_t)cache_blocks_for(c, put->value_at + n->value.n), now);
    cache_unlock(c, put->shard);
    if (error == 0) {
        cache_cursor to = cache_write_head(c, s, put->first, &head, n);
        put->cursor_block = to.block;
        put->cursor = to.at;
    }
    return error;
}

int fc_cache_put_begin(fc_cache *c, fc_cache_put *put, const fc_cache_new *n, uint64_t now)
{
    int error = cache_check(c, n);
    if (error)
        return error;
    error = cache_put_begin(c, put, n, false, now);
    if (error < 0)
        cache_strike(c, n->key);
    return error > 0 ? FC_CACHE_ELOST : error;
}

/* At least `least` more blocks; half as many again as there are when the bounds allow it, so that a long stream takes
 * the lock a few times only. */
static int grow(fc_cache *c, fc_cache_put *put, uint32_t least, uint64_t now)
{
    cache_shard *s = cache_enter(c, put->shard);
    if (s == NULL)
        return FC_CACHE_EBUSY;
    cache_record *r = record_of(put, s);
    int error = r == NULL ? FC_CACHE_ELOST : 0;
    uint32_t more = put->blocks / 2 > least ? put->blocks / 2 : least, last;
    if (more > c->item_blocks - put->blocks || !may_reserve(c, s, more))
        more = least;
    if (error == 0) {
        uint32_t first = may_reserve(c, s, more) ? cache_take(c, s, more, now, &last) : 0;
        if (first == 0) {
            error = FC_CACHE_EFULL;
        } else {
            __atomic_store_n(&cache_meta_of(c, s)[put->last].next, first, __ATOMIC_RELEASE);
            put->last = r->last = last;
            put->blocks = r->blocks = put->blocks + more;
            cache_add32(&s->pending, more);
        }
    }
    cache_unlock(c, put->shard);
    return error;
}

int fc_cache_put_write(fc_cache *c, fc_cache_put *put, const void *p, size_t n, uint64_t now)
{
    cache_shard *s = cache_shard_of(c, put->shard);
    if (record_of(put, s) == NULL)
        return FC_CACHE_ELOST;
    if (n > c->options.item_max - put->length)
        return FC_CACHE_EBIG;
    uint64_t need = cache_blocks_for(c, put->value_at + put->length + n);
    if (need > c->item_blocks)
        return FC_CACHE_EBIG;
    int error = need > put->blocks ? grow(c, put, (uint32_t)need - put->blocks, now) : 0;
    if (error)
        return error;
    cache_cursor to = {put->cursor_block, put->cursor};
    cache_copy_in(c, s, &to, p, (uint32_t)n);
    put->cursor_block = to.block;
    put->cursor = to.at;
    put->length += n;
    return 0;
}

/* Gives back what was reserved beyond the `need` first blocks. */
static void trim(fc_cache *c, cache_shard *s, fc_cache_put *put, uint32_t need)
{
    cache_meta *meta = cache_meta_of(c, s);
    uint32_t last = put->first;
    if (need == put->blocks)
        return;
    for (uint32_t i = 1; i < need; i++)
        last = meta[last].next;
    uint32_t rest = meta[last].next;
    __atomic_store_n(&meta[last].next, 0, __ATOMIC_RELEASE);
    cache_give(c, s, rest, put->last);
    cache_add32(&s->pending, need - put->blocks);
    put->last = last;
    put->blocks = need;
}

int cache_put_commit(fc_cache *c, fc_cache_put *put, bool absent_only, uint64_t now)
{
    cache_shard *s = cache_enter(c, put->shard);
    if (s == NULL) {
        fc_cache_put_abort(c, put);
        return FC_CACHE_EBUSY;
    }
    cache_record *r = record_of(put, s);
    int result = r != NULL ? 0 : FC_CACHE_ELOST;
    if (r != NULL) {
        cache_entry *e = cache_entry_of(c, s, put->first);
        if (put->epoch == s->epoch && !(absent_only && cache_fresh(c, s, e->hash, put->key, now))) {
            trim(c, s, put, (uint32_t)cache_blocks_for(c, put->value_at + put->length));
            __atomic_store_n(&e->value_len, (uint32_t)put->length, __ATOMIC_RELEASE);
            __atomic_store_n(&e->blocks, put->blocks, __ATOMIC_RELEASE);
            __atomic_store_n(&e->last, put->last, __ATOMIC_RELEASE);
            __atomic_store_n(&e->stored, now, __ATOMIC_RELEASE);
            cache_publish(c, s, put->first);
            result = 1;
        } else {
            cache_give(c, s, put->first, put->last);
        }
        cache_add32(&s->pending, -put->blocks);
        __atomic_store_n(&r->owner, 0, __ATOMIC_RELEASE);
    }
    cache_unlock(c, put->shard);
    return result;
}

int fc_cache_put_commit(fc_cache *c, fc_cache_put *put, uint64_t now)
{
    int result = cache_put_commit(c, put, false, now);
    if (result < 0)
        cache_strike(c, put->key);
    return result;
}

void fc_cache_put_abort(fc_cache *c, fc_cache_put *put)
{
    cache_record *r = record_of(put, cache_shard_of(c, put->shard));
    if (r == NULL)
        return;
    /* Without the lock: as if its process had died, so whoever needs the room frees it. */
    __atomic_store_n(&r->owner, CACHE_DEAD, __ATOMIC_RELEASE);
    cache_shard *s = cache_enter(c, put->shard);
    if (s != NULL) {
        cache_sweep_records(c, s);
        cache_unlock(c, put->shard);
    }
}
