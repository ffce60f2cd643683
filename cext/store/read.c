/* One key at a time, and snapshots. */
#include <errno.h>
#include <stdlib.h>

#include "fc/clock.h"
#include "store_internal.h"

uint64_t store_now_ms(fc_store *s)
{
    return s->options.now_ms ? s->options.now_ms(s->options.now_ctx) : fc_wall_ns() / FC_NS_PER_MS;
}

/* Version and sequence number in one moment: a later version may lack what this number needs. */
int fc_read_begin(fc_store *s, uint32_t keyspace, const fc_snapshot *snapshot, fc_read *out)
{
    pthread_mutex_lock(&s->lock);
    store_keyspace *ks = store_find(s, keyspace);
    if (ks == NULL) {
        pthread_mutex_unlock(&s->lock);
        return FC_STORE_ENOKEYSPACE;
    }
    *out = (fc_read){s, store_version_ref(ks->version), 0, 0};
    out->seq = snapshot ? snapshot->seq : __atomic_load_n(&s->visible, __ATOMIC_ACQUIRE);
    pthread_mutex_unlock(&s->lock);
    out->now_ms = store_now_ms(s);
    return 0;
}

void fc_read_end(fc_read *r) { store_version_unref(r->store, r->version); }

/* From the newest source to the oldest. */
static int look_up(const store_version *v, const fc_lookup *l, fc_found *found)
{
    int answer = FC_NOT_HERE;
    for (size_t i = 0; i < v->mems_n && answer == FC_NOT_HERE; i++)
        answer = fc_memtable_get(v->mems[i]->table, l, found);
    for (size_t i = 0; i < v->at[1] && answer == FC_NOT_HERE; i++)
        answer = fc_table_get(v->handles[i], l, found);
    for (unsigned level = 1; level < FC_STORE_LEVELS && answer == FC_NOT_HERE; level++)
        if (v->levels[level].n)
            answer = fc_level_get(&v->levels[level], l, found);
    return answer;
}

int fc_read_get(fc_read *r, fc_slice key, bool memory_only, fc_value *out)
{
    fc_found found = {0};
    fc_lookup l = fc_lookup_of(key, r->seq, r->now_ms, &r->store->hash_key);
    l.memory_only = memory_only;
    COUNT(&r->store->gets, 1);
    int answer = look_up(r->version, &l, &found);
    if (answer == FC_FOUND) {
        *out = (fc_value){found.value, fc_tag_seq(found.tag), found.expires_ms, found.block};
        return 1;
    }
    *out = (fc_value){0};
    return answer < 0 ? store_error_of(answer) : 0;
}

void fc_value_release(fc_value *v)
{
    fc_block_release(v->block);
    *v = (fc_value){0};
}

/* --- snapshots -------------------------------------------------------------------------------------------------- */

fc_snapshot *fc_store_snapshot(fc_store *s)
{
    fc_snapshot *n = malloc(sizeof *n);
    if (n == NULL)
        return NULL;
    pthread_mutex_lock(&s->lock);
    *n = (fc_snapshot){s, __atomic_load_n(&s->visible, __ATOMIC_ACQUIRE), s->newest, NULL};
    *(s->newest ? &s->newest->newer : &s->oldest) = n;
    s->newest = n;
    s->snapshots_n++;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void fc_snapshot_release(fc_snapshot *n)
{
    if (n == NULL)
        return;
    fc_store *s = n->store;
    pthread_mutex_lock(&s->lock);
    *(n->older ? &n->older->newer : &s->oldest) = n->newer;
    *(n->newer ? &n->newer->older : &s->newest) = n->older;
    s->snapshots_n--;
    if (n->older == NULL && s->kept) { /* what it kept may be waste now */
        s->kept = false;
        s->releases++;
        store_ask_compaction(s);
    }
    pthread_mutex_unlock(&s->lock);
    free(n);
}

uint64_t fc_snapshot_seq(const fc_snapshot *n) { return n->seq; }

uint64_t *store_snapshots(fc_store *s, size_t *n)
{
    uint64_t *seqs = malloc((s->snapshots_n + 1) * sizeof *seqs);
    *n = 0;
    for (const fc_snapshot *at = s->oldest; seqs && at; at = at->newer)
        if (*n == 0 || seqs[*n - 1] != at->seq)
            seqs[(*n)++] = at->seq;
    return seqs;
}
