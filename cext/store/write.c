/* The write path: conditions, room, log, memtables, visible. */
#include <errno.h>

#include "fc/skiplist.h"
#include "store_internal.h"

/* Reads of a condition's key from the disk, without the lock, before it is read with the lock held: a block that the
 * cache does not keep would be read for ever. */
#define EXPECT_TRIES 3u
#define FETCH_FROM (4u << 20) /* bytes of a memtable: a smaller one is in the cache */

/* --- room ------------------------------------------------------------------------------------------------------- */

void store_switch(fc_store *s, store_keyspace *ks)
{
    if (ks->active == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    ks->active->full = true;
    pthread_cond_signal(&s->flush_work);
    pthread_mutex_unlock(&s->lock);
    ks->active = NULL;
}

static bool has_room(const store_mem *m, const store_share *share)
{
    return fc_memtable_has_room(m->table, share->operations, share->ranges, share->bytes);
}

/* A memtable that has room. The log may hold a batch for which today's options have none. */
static store_mem *roomy(fc_store *s, const store_share *share, int *error)
{
    uint64_t bytes = share->keyspace->options.memtable_bytes;
    for (;; bytes *= 2) {
        store_mem *m = store_mem_new(s, bytes, s->log_end);
        *error = m ? 0 : -ENOMEM;
        if (m == NULL || has_room(m, share))
            return m;
        store_mem_unref(m);
        *error = FC_STORE_ESIZE;
        if (!s->replaying || bytes > FC_MEMTABLE_MAX_BYTES / 2)
            return NULL;
    }
}

static int stall(fc_store *s, store_keyspace *ks)
{
    pthread_mutex_lock(&s->lock);
    if (!ks->stalled && ks->version->mems_n >= ks->options.memtables_max) {
        ks->stalled = true;
        s->stalls++;
    }
    pthread_mutex_unlock(&s->lock);
    return FC_STORE_EBUSY;
}

static int make_room(fc_store *s, const store_share *share)
{
    store_keyspace *ks = share->keyspace;
    int error;
    if (FC_LIKELY(ks->active && has_room(ks->active, share)))
        return 0;
    if (ks->active && ks->active->last_seq)
        store_switch(s, ks);
    if (LOAD(&ks->mems) >= ks->options.memtables_max)
        return stall(s, ks);
    store_mem *m = roomy(s, share, &error);
    if (m == NULL)
        return error;
    store_switch(s, ks);
    pthread_mutex_lock(&s->lock);
    error = store_publish(s, ks, &(store_change){.add_mem = m});
    pthread_mutex_unlock(&s->lock);
    if (error == 0)
        ks->active = m;
    store_mem_unref(m);
    return error;
}

static int make_all_room(fc_store *s)
{
    int error = 0;
    for (size_t i = 0; i < s->shares_n && error == 0; i++)
        error = make_room(s, &s->shares[i]);
    return error;
}

/* A keyspace that is seldom written to keeps the log from being given back: it is flushed when that gets too long. */
static void look_at_log(fc_store *s)
{
    store_keyspace *oldest = NULL;
    fc_wal_pos from = s->log_end;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->keyspaces_n; i++) {
        const store_version *v = s->keyspaces[i]->version;
        if (v->mems_n && v->mems[v->mems_n - 1]->log_from < from) {
            oldest = s->keyspaces[i];
            from = v->mems[v->mems_n - 1]->log_from;
        }
    }
    bool active = oldest && oldest->version->mems[oldest->version->mems_n - 1] == oldest->active;
    pthread_mutex_unlock(&s->lock);
    s->log_look = s->log_end + s->options.log_bytes_max / 16;
    if (active && s->log_end - from > s->options.log_bytes_max)
        store_switch(s, oldest);
}

/* --- memtables -------------------------------------------------------------------------------------------------- */

static int apply_range(fc_store *s, store_mem *m, store_keyspace *ks, uint64_t seq, const fc_batch_item *item)
{
    fc_slice end = item->value;
    if (end.n == 0) {
        const store_share *share = store_share_of(s, ks);
        end = (fc_slice){share->end.p, share->end.n};
    }
    if (fc_key_compare(item->key, end) >= 0)
        return 0;
    m->last_seq = seq;
    return fc_memtable_delete_range(m->table, seq, item->key, end);
}

/* Of the next operations' keys, those of the first one's keyspace. */
static void fetch(fc_store *s, fc_slice operations, size_t at)
{
    fc_slice keys[FC_SKIPLIST_FETCH];
    fc_batch_item item;
    uint32_t id = 0;
    size_t n = 0;
    for (unsigned i = 0; i < FC_SKIPLIST_FETCH && store_batch_next(operations, &at, &item) == 1; i++) {
        id = i == 0 ? item.keyspace : id;
        if (item.keyspace == id)
            keys[n++] = item.key;
    }
    const store_keyspace *ks = store_find(s, id);
    if (ks && ks->active && fc_memtable_bytes(ks->active->table) > FETCH_FROM)
        fc_memtable_fetch(ks->active->table, keys, n);
}

/* Every keyspace has room. */
static int apply(fc_store *s, fc_slice operations, uint32_t n, uint64_t seq, fc_wal_pos pos)
{
    fc_batch_item item;
    size_t at = 0;
    int more, error = 0;
    store_keyspace *ks = NULL;
    for (uint32_t i = 0; error == 0; seq++, i++) {
        if (n > 1 && i % FC_SKIPLIST_FETCH == 0)
            fetch(s, operations, at);
        if ((more = store_batch_next(operations, &at, &item)) != 1)
            break;
        if (ks == NULL || ks->id != item.keyspace)
            ks = store_find(s, item.keyspace);
        if (s->replaying && store_is_known(ks, seq))
            continue;
        store_mem *m = ks->active;
        m->log_to = pos;
        if (item.type == FC_KEY_RANGE_DELETE) {
            error = apply_range(s, m, ks, seq, &item);
        } else {
            m->last_seq = seq;
            error = fc_memtable_add(m->table, seq, item.type, item.key, item.value);
        }
    }
    return error ? error : more;
}

/* --- conditions ------------------------------------------------------------------------------------------------- */

/* 1 it holds, 0 not, or an error. */
static int expectation_holds(fc_store *s, const fc_batch_item *e, bool memory_only)
{
    fc_read r;
    fc_value v;
    int answer = fc_read_begin(s, e->keyspace, NULL, &r);
    if (answer < 0)
        return answer;
    answer = fc_read_get(&r, e->key, memory_only, &v);
    bool same = answer == 1 ? v.version == e->expires_ms : e->expires_ms == 0;
    if (answer == 1)
        fc_value_release(&v);
    fc_read_end(&r);
    return answer < 0 ? answer : same;
}

/* With writers held, which is given up for a read from the disk: then -EAGAIN. */
static int check_expectations(fc_store *s, const fc_batch *b, unsigned flags, unsigned tries, fc_write_result *result)
{
    fc_batch_item e;
    size_t at = 0;
    for (uint32_t i = 0; store_expected_next((fc_slice){b->expected, b->expected_n}, &at, &e) == 1; i++) {
        int answer = expectation_holds(s, &e, tries > 0);
        if (answer == FC_EWOULDREAD && !(flags & FC_WRITE_MEMORY_ONLY)) {
            pthread_mutex_unlock(&s->writers);
            answer = expectation_holds(s, &e, false);
            pthread_mutex_lock(&s->writers);
            return answer < 0 ? answer : -EAGAIN;
        }
        if (answer == 0) {
            result->conflict = i;
            return FC_STORE_ECONFLICT;
        }
        if (answer < 0)
            return answer;
    }
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static int append(fc_store *s, const fc_batch *b, bool urgent, fc_wal_pos *pos)
{
    char head[STORE_RECORD_HEAD];
    fc_put64(head, s->last_seq + 1);
    fc_put32(head + 8, b->operations);
    fc_slice pieces[] = {{head, sizeof head}, {b->p, b->n}};
    int error = fc_wal_append(s->log, STORE_RECORD_BATCH, pieces, 2, urgent, pos);
    if (error == FC_WAL_EFULL) {
        STORE(&s->log_full, s->log_end);
        return FC_STORE_EBUSY;
    }
    if (error == FC_WAL_ELARGE)
        return FC_STORE_ESIZE;
    if (error == FC_WAL_ECLOSED)
        return FC_STORE_ECLOSED;
    if (error < 0 && error != -ENOSPC && error != -ENOMEM)
        return store_fail(s, error);
    s->sealed = s->sealed && error < 0;
    return error;
}

static int write_locked(fc_store *s, const fc_batch *b, unsigned flags, fc_write_result *result)
{
    int error = -EAGAIN;
    for (unsigned tries = EXPECT_TRIES; error == -EAGAIN; tries--) {
        error = s->closed ? FC_STORE_ECLOSED : LOAD(&s->error);
        if (error == 0 && b->expectations)
            error = check_expectations(s, b, flags, tries, result);
    }
    result->pos = s->log_end;
    result->version = s->last_seq + 1;
    if (error < 0 || b->operations == 0)
        return error;
    if (b->operations > FC_SEQ_MAX - 1 - s->last_seq)
        return FC_STORE_ESIZE;
    error = store_divide(s, b, result->version);
    if (error == 0)
        error = make_all_room(s);
    if (error == 0)
        error = append(s, b, flags & FC_WRITE_URGENT, &result->pos);
    if (error < 0)
        return error;
    STORE(&s->log_end, result->pos);
    error = apply(s, (fc_slice){b->p, b->n}, b->operations, result->version, result->pos);
    if (error < 0) /* in the log, and not here */
        return store_fail(s, error);
    s->last_seq += b->operations;
    __atomic_store_n(&s->visible, s->last_seq, __ATOMIC_RELEASE);
    if (s->log_end > s->log_look)
        look_at_log(s);
    return 0;
}

/* With writers held. */
static uint64_t delay(const fc_store *s, uint64_t bytes)
{
    uint64_t longest = 0, waiting = s->log_end - fc_wal_durable(s->log);
    double log = (double)waiting / (double)s->options.log.buffer_bytes_max;
    for (size_t i = 0; i < s->shares_n; i++) {
        const store_keyspace *ks = s->shares[i].keyspace;
        const fc_keyspace_options *o = &ks->options;
        uint64_t round = store_pace_round(o);
        double used = ks->active ? (double)fc_memtable_bytes(ks->active->table) / (double)o->memtable_bytes - 1 : 0;
        store_pressure p = {.memory = ((double)LOAD(&ks->mems) + used) / o->memtables_max,
                            .log = log,
                            .level0 = LOAD(&ks->level0),
                            .level0_soft = 2 * o->level0_tables,
                            .level0_hard = 5 * o->level0_tables,
                            .debt = LOAD(&ks->debt),
                            .debt_soft = 2 * round,
                            .debt_hard = 10 * round};
        uint64_t one = store_pace(bytes, &p);
        longest = one > longest ? one : longest;
    }
    return longest;
}

int fc_store_write(fc_store *s, const fc_batch *b, unsigned flags, fc_write_result *result)
{
    *result = (fc_write_result){0};
    if (b->error < 0)
        return b->error;
    pthread_mutex_lock(&s->writers);
    int error = write_locked(s, b, flags, result);
    if (error == 0 && b->operations) {
        result->delay_ns = delay(s, b->data_bytes);
        STORE(&s->writes, s->writes + 1);
        STORE(&s->operations, s->operations + b->operations);
        STORE(&s->written_bytes, s->written_bytes + b->data_bytes);
        STORE(&s->delayed_ns, s->delayed_ns + result->delay_ns);
    } else if (error == FC_STORE_EBUSY) {
        STORE(&s->busy, s->busy + 1);
    }
    pthread_mutex_unlock(&s->writers);
    return error;
}

int store_replay(fc_store *s, fc_slice operations, uint32_t n, uint64_t first_seq, fc_wal_pos pos)
{
    fc_batch b = {.p = (char *)(uintptr_t)operations.p, .n = operations.n, .operations = n, .several = true};
    pthread_mutex_lock(&s->writers);
    int error = LOAD(&s->error);
    if (error == 0)
        error = store_divide(s, &b, first_seq);
    if (error == 0)
        error = make_all_room(s);
    if (error == 0) {
        STORE(&s->log_end, pos);
        error = apply(s, operations, n, first_seq, pos);
        s->last_seq = first_seq + n - 1 > s->last_seq ? first_seq + n - 1 : s->last_seq;
        __atomic_store_n(&s->visible, s->last_seq, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&s->writers);
    return error;
}

fc_wal *fc_store_log(fc_store *s) { return s->log; }
