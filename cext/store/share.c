/* What a batch asks of each keyspace: room for so much, and an end for ranges that have none. */
#include <errno.h>
#include <stdlib.h>

#include "store_internal.h"

store_share *store_share_of(fc_store *s, store_keyspace *ks)
{
    for (size_t i = s->shares_n; i-- > 0;)
        if (s->shares[i].keyspace == ks)
            return &s->shares[i];
    if (s->shares_n == s->shares_cap) {
        size_t cap = s->shares_cap ? 2 * s->shares_cap : 4;
        store_share *grown = realloc(s->shares, cap * sizeof *grown);
        if (grown == NULL)
            return NULL;
        memset(grown + s->shares_cap, 0, (cap - s->shares_cap) * sizeof *grown);
        s->shares = grown;
        s->shares_cap = cap;
    }
    store_share *share = &s->shares[s->shares_n++];
    *share = (store_share){.keyspace = ks, .end = share->end, .end_cap = share->end_cap};
    share->end.n = 0;
    return share;
}

/* Makes the end one behind the key, if it is not. */
static int stretch(store_share *share, fc_slice key)
{
    if (share->bounded && fc_key_compare(key, (fc_slice){share->end.p, share->end.n}) < 0)
        return 0;
    if (key.n + 1 > share->end_cap) {
        char *p = realloc(share->end.p, key.n + 1);
        if (p == NULL)
            return -ENOMEM;
        share->end.p = p;
        share->end_cap = key.n + 1;
    }
    if (key.n)
        memcpy(share->end.p, key.p, key.n);
    share->end.p[key.n] = '\0';
    share->end.n = key.n + 1;
    if (key.n == FC_KEY_MAX) { /* no longer one: the next of those as long; it is not all 0xFF (batch.c) */
        share->end.n = key.n;
        while ((uint8_t)share->end.p[share->end.n - 1] == 0xFF)
            share->end.n--;
        share->end.p[share->end.n - 1]++;
    }
    share->bounded = true;
    return 0;
}

static int stretch_memtable(store_share *share, const fc_memtable *m)
{
    fc_iter *it = fc_memtable_iter(m, NULL);
    if (it == NULL)
        return -ENOMEM;
    fc_iter_last(it);
    int error = it->valid ? stretch(share, it->key) : it->error;
    fc_iter_close(it);
    return error;
}

/* The end of all keys, for a range deletion that has none: behind every key that is there, which is all that older
 * versions can be under. Known without the disk. */
static int find_end(fc_store *s, store_share *share)
{
    int error = 0;
    pthread_mutex_lock(&s->lock);
    store_version *v = store_version_ref(share->keyspace->version);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < v->mems_n && error == 0; i++)
        error = stretch_memtable(share, v->mems[i]->table);
    for (size_t i = 0; i < v->at[FC_STORE_LEVELS] && error == 0; i++)
        error = stretch(share, v->tables[i]->meta.largest);
    store_version_unref(s, v);
    return error;
}

static int add_to_share(store_share *share, const fc_batch_item *item)
{
    bool range = item->type == FC_KEY_RANGE_DELETE;
    share->operations++;
    share->ranges += range;
    share->bytes += item->key.n + item->value.n;
    share->unbounded = share->unbounded || (range && item->value.n == 0);
    return range ? 0 : stretch(share, item->key);
}

bool store_is_known(const store_keyspace *ks, uint64_t seq) { return ks == NULL || seq <= ks->recovered_seq; }

/* In a batch of one keyspace and without ranges to the end, it is all known already. */
int store_divide(fc_store *s, const fc_batch *b, uint64_t seq)
{
    fc_batch_item item;
    size_t at = 0;
    int more, error = 0;
    s->shares_n = 0;
    if (!b->several && b->unbounded == 0) {
        store_keyspace *ks = store_find(s, b->keyspace);
        store_share *share = ks ? store_share_of(s, ks) : NULL;
        if (share == NULL)
            return ks ? -ENOMEM : FC_STORE_ENOKEYSPACE;
        share->operations = b->operations;
        share->ranges = b->ranges;
        share->bytes = b->data_bytes;
        return 0;
    }
    for (; error == 0 && (more = store_batch_next((fc_slice){b->p, b->n}, &at, &item)) == 1; seq++) {
        store_keyspace *ks = store_find(s, item.keyspace);
        if (s->replaying && store_is_known(ks, seq))
            continue;
        store_share *share = ks ? store_share_of(s, ks) : NULL;
        error = share ? add_to_share(share, &item) : ks ? -ENOMEM : FC_STORE_ENOKEYSPACE;
    }
    if (error == 0 && more < 0)
        error = more;
    for (size_t i = 0; i < s->shares_n && error == 0; i++)
        if (s->shares[i].unbounded) {
            error = find_end(s, &s->shares[i]);
            s->shares[i].bytes += s->shares[i].ranges * s->shares[i].end.n;
        }
    return error;
}
