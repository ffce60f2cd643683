/* Repair of the log: its records, those behind damage too, become tables of level 0, and a new log begins behind it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "repair.h"

/* --- looking ---------------------------------------------------------------------------------------------------- */

static void lose(fc_store_repair *r, const char *name, uint64_t offset, const char *what)
{
    fc_store_loss loss = {.damage = {.offset = offset, .what = what}};
    snprintf(loss.damage.name, sizeof loss.damage.name, "%s", name);
    r->no_memory = repair_lose(r, &loss) < 0 || r->no_memory;
}

static void saw(void *ctx, const char *name, uint64_t offset, const char *what)
{
    fc_store_repair *r = ctx;
    r->log_damaged = true;
    lose(r, name, offset, what);
}

/* A log that does not reach from where the manifest needs it to where it must have got. */
static void judge(fc_store_repair *r)
{
    const fc_wal_scan_report *log = fc_wal_scan_get_report(r->log);
    uint64_t needed = r->inventory.log_begin;
    if (!r->report.manifest_lost && log->end < needed)
        saw(r, "*.wal", 0, "the log ends before the place from which the manifest needs it");
    else if (!r->report.manifest_lost && log->segments > 0 && log->first > needed)
        saw(r, "*.wal", 0, "the log begins behind the place from which the manifest needs it");
    r->replay = r->log_damaged || r->report.manifest_lost;
    for (size_t i = 0; i < r->keyspaces_n; i++)
        r->replay = r->replay || r->keyspaces[i].damaged;
    r->report.log_replaced = r->log_damaged;
    r->report.changed = r->report.changed || r->log_damaged;
}

int repair_step_log(fc_store_repair *r)
{
    uint64_t before = fc_wal_scan_get_report(r->log)->bytes_done;
    int answer = fc_wal_scan_step(r->log, saw, r);
    r->report.bytes_done += fc_wal_scan_get_report(r->log)->bytes_done - before;
    if (answer == 0)
        judge(r);
    return r->no_memory ? -ENOMEM : answer;
}

/* --- taking operations ------------------------------------------------------------------------------------------ */

static int flush(fc_store_repair *r, repair_keyspace *k)
{
    fc_memtable_stats stats;
    fc_iter *it;
    if (k->mem == NULL)
        return 0;
    fc_memtable_get_stats(k->mem, &stats);
    fc_range *ranges = malloc((stats.ranges + 1) * sizeof *ranges);
    int error = ranges ? repair_writer(r, k->id, &r->writer, &r->writing) : -ENOMEM;
    if (error == 0) {
        it = fc_memtable_iter(k->mem, NULL);
        error = it ? 0 : -ENOMEM;
        for (it ? fc_iter_first(it) : (void)0; error == 0 && it->valid; fc_iter_next(it))
            error = fc_table_add(r->writer, it->key, it->tag, it->value);
        fc_iter_close(it);
        size_t n = fc_memtable_ranges(k->mem, ranges, stats.ranges);
        for (size_t i = 0; i < n && error == 0; i++)
            error = fc_table_add_range(r->writer, &ranges[i]);
        if (error == 0)
            error = repair_writer_end(r, k->id, 0, r->writer);
        else
            fc_table_writer_close(r->writer);
        r->writer = NULL;
    }
    free(ranges);
    fc_memtable_free(k->mem);
    k->mem = NULL;
    return error;
}

static int note_largest(repair_keyspace *k, fc_slice key)
{
    if (k->largest.p && fc_key_compare(key, (fc_slice){k->largest.p, k->largest.n}) <= 0)
        return 0;
    char *p = realloc(k->largest.p, key.n + 1);
    if (p == NULL)
        return -ENOMEM;
    if (key.n)
        memcpy(p, key.p, key.n);
    p[key.n] = 0; /* the key with this behind it is the next one of all */
    k->largest = (store_key){p, key.n};
    return 0;
}

static int add(fc_store_repair *r, repair_keyspace *k, uint64_t seq, const fc_batch_item *item)
{
    size_t bytes = item->key.n + item->value.n;
    bool range = item->type == FC_KEY_RANGE_DELETE;
    fc_slice end = item->value;
    int error = note_largest(k, item->key);
    if (error == 0 && range && end.n == 0) /* to the end of all keys there are */
        end = (fc_slice){k->largest.p, k->largest.n < FC_KEY_MAX ? k->largest.n + 1 : k->largest.n};
    for (int turn = 0; error == 0 && turn < 2; turn++) {
        if (k->mem == NULL) {
            uint64_t most = REPAIR_MEMTABLE_BYTES + 2 * (uint64_t)bytes;
            k->mem = fc_memtable_new(most, &(fc_hash_key){fc_get64(r->inventory.hash_key),
                                                          fc_get64(r->inventory.hash_key + 8)});
        }
        if (k->mem == NULL)
            return -ENOMEM;
        if (fc_memtable_has_room(k->mem, 1, range, bytes + end.n)) {
            int answer = range ? fc_memtable_delete_range(k->mem, seq, item->key, end)
                               : fc_memtable_add(k->mem, seq, item->type, item->key, item->value);
            if (answer != FC_MEMTABLE_EORDER)
                return answer;
        }
        error = flush(r, k); /* full, or a sequence number that is not above the last: into the next one */
    }
    return error < 0 ? error : FC_MEMTABLE_EFULL;
}

/* Whether an operation of the log belongs into a table now. Where a damaged table may have had some of them all are
 * taken: a deletion that compaction had dropped together with what it deleted is as much needed as that is. */
static bool wanted(const fc_store_repair *r, const repair_keyspace *k, uint64_t flushed, uint64_t seq)
{
    return r->report.manifest_lost || (k->damaged && r->first_seq <= k->damaged_seq) ||
           (r->log_damaged && seq > flushed);
}

static int take_operation(fc_store_repair *r, uint64_t seq, const fc_batch_item *item)
{
    inventory_keyspace *ks = inventory_find(&r->inventory, item->keyspace);
    if (ks == NULL && r->report.manifest_lost)
        ks = repair_need(r, item->keyspace);
    if (ks == NULL || ks->dropped)
        return ks || !r->report.manifest_lost ? 0 : -ENOMEM;
    uint64_t flushed = ks->flushed_seq;
    repair_keyspace *k = repair_keyspace_of(r, item->keyspace);
    if (k == NULL)
        return -ENOMEM;
    if (!wanted(r, k, flushed, seq))
        return 0;
    for (size_t i = 0; !k->replayed && i < ks->n; i++)
        if (note_largest(k, ks->tables[i].meta.largest) < 0)
            return -ENOMEM;
    k->rebuild = k->rebuild || seq <= flushed; /* tables have it as well: only merging can tell which is newer */
    k->replayed = true;
    return add(r, k, seq, item);
}

static int take_record(void *ctx, const fc_wal_record *record)
{
    fc_store_repair *r = ctx;
    fc_slice in = record->payload;
    fc_batch_item item;
    size_t at = 0;
    int answer = 1;
    if (record->type != STORE_RECORD_BATCH || in.n < STORE_RECORD_HEAD)
        return 0;
    uint64_t seq = fc_get64(in.p);
    fc_slice operations = {in.p + STORE_RECORD_HEAD, in.n - STORE_RECORD_HEAD};
    while ((answer = store_batch_next(operations, &at, &item)) == 1) {
        r->first_seq = r->first_seq == 0 ? seq : r->first_seq; /* they ascend */
        int error = take_operation(r, seq, &item);
        if (error < 0)
            return error;
        r->last_seq = seq > r->last_seq ? seq : r->last_seq;
        seq++;
    }
    r->report.log_records++;
    return answer < 0 ? FC_STORE_EFORMAT : 0;
}

/* A sound log that begins before the first operation of a damaged table has all that the table had. */
static void forgive_losses(fc_store_repair *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->losses_n; i++) {
        fc_store_loss *l = &r->losses[i];
        const repair_keyspace *k = l->keyspace_known ? repair_keyspace_of(r, l->keyspace) : NULL;
        if (k && k->replayed && !r->log_damaged && r->first_seq && r->first_seq <= l->first_seq) {
            r->report.bytes_lost -= l->bytes;
            free((char *)l->from.p);
            free((char *)l->to.p);
        } else {
            r->losses[kept++] = *l;
        }
    }
    r->losses_n = kept;
}

static int end_replay(fc_store_repair *r)
{
    for (size_t i = 0; i < r->keyspaces_n; i++) {
        int error = flush(r, &r->keyspaces[i]);
        if (error < 0)
            return error;
    }
    for (size_t i = 0; i < r->inventory.n; i++) {
        inventory_keyspace *ks = &r->inventory.keyspaces[i];
        const repair_keyspace *k = repair_keyspace_of(r, ks->id);
        if (k == NULL)
            return -ENOMEM;
        if ((k->replayed || r->log_damaged || r->report.manifest_lost) && r->last_seq > ks->flushed_seq)
            ks->flushed_seq = r->last_seq;
    }
    forgive_losses(r);
    return 0;
}

int repair_step_replay(fc_store_repair *r)
{
    if (!r->replay)
        return 0;
    if (r->segment == fc_wal_scan_get_report(r->log)->segments)
        return end_replay(r);
    int error = fc_wal_scan_records(r->log, r->segment++, 0, take_record, r);
    return error < 0 ? error : 1;
}
