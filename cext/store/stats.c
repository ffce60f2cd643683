/* What a store has done, and what it holds. */
#include "store_internal.h"

void fc_store_get_stats(fc_store *s, fc_store_stats *out)
{
    *out = (fc_store_stats){.last_seq = LOAD(&s->visible),
                            .writes = LOAD(&s->writes),
                            .operations = LOAD(&s->operations),
                            .written_bytes = LOAD(&s->written_bytes),
                            .gets = LOAD(&s->gets),
                            .delayed_ns = LOAD(&s->delayed_ns),
                            .busy = LOAD(&s->busy),
                            .manifest_bytes = LOAD(&s->manifest_bytes)};
    pthread_mutex_lock(&s->lock);
    out->snapshots = s->snapshots_n;
    out->oldest_snapshot = s->oldest ? s->oldest->seq : 0;
    pthread_mutex_unlock(&s->lock);
    fc_wal_get_report(s->log, &out->log);
    fc_block_cache_get_stats(s->cache, &out->cache);
}

static store_version *hold(fc_store *s, uint32_t keyspace)
{
    pthread_mutex_lock(&s->lock);
    store_keyspace *ks = store_find(s, keyspace);
    store_version *v = ks ? store_version_ref(ks->version) : NULL;
    pthread_mutex_unlock(&s->lock);
    return v;
}

static void count_levels(const store_version *v, fc_keyspace_stats *out)
{
    for (unsigned level = 0; level < FC_STORE_LEVELS; level++)
        for (size_t i = v->at[level]; i < v->at[level + 1]; i++) {
            const fc_table_meta *m = &v->tables[i]->meta;
            fc_level_stats *l = &out->levels[level];
            l->tables++;
            l->bytes += m->bytes;
            l->entries += m->entries;
            l->deletes += m->deletes + m->ranges;
            out->table_memory += fc_table_memory(v->handles[i]);
        }
}

int fc_store_get_keyspace_stats(fc_store *s, uint32_t keyspace, fc_keyspace_stats *out)
{
    store_version *v = hold(s, keyspace);
    if (v == NULL)
        return FC_STORE_ENOKEYSPACE;
    const store_keyspace *ks = v->keyspace;
    *out = (fc_keyspace_stats){.memtables = v->mems_n,
                               .debt_bytes = LOAD(&ks->debt),
                               .flushes = LOAD(&ks->flushes),
                               .flushed_bytes = LOAD(&ks->flushed_bytes),
                               .compactions = LOAD(&ks->compactions),
                               .compacted_read_bytes = LOAD(&ks->read_bytes),
                               .compacted_written_bytes = LOAD(&ks->written_bytes),
                               .moved_tables = LOAD(&ks->moved)};
    for (size_t i = 0; i < v->mems_n; i++) {
        fc_memtable_stats m;
        fc_memtable_get_stats(v->mems[i]->table, &m);
        out->memtable_bytes += m.bytes;
        out->memtable_entries += m.entries;
    }
    count_levels(v, out);
    store_version_unref(s, v);
    return 0;
}

/* An empty end is the end of all keys: of a table, then, its largest. */
uint64_t fc_store_bytes_between(fc_store *s, uint32_t keyspace, fc_slice begin, fc_slice end)
{
    store_version *v = hold(s, keyspace);
    uint64_t bytes = 0;
    for (size_t i = 0; v && i < v->at[FC_STORE_LEVELS]; i++) {
        const fc_table_meta *m = &v->tables[i]->meta;
        bool whole = fc_key_compare(begin, m->smallest) <= 0 && (end.n == 0 || fc_key_compare(m->largest, end) < 0);
        bytes += whole ? m->bytes : fc_table_bytes_between(v->handles[i], begin, end.n ? end : m->largest);
    }
    if (v)
        store_version_unref(s, v);
    return bytes;
}
