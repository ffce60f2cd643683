/* What a store finds of itself: the manifest's tables, the log's operations, and files that no longer count. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store_internal.h"

#define GATHERED_OPERATIONS 32u
#define GATHERED_BYTES (64u << 10)

/* --- the manifest ----------------------------------------------------------------------------------------------- */

typedef struct listed {
    uint64_t number, bytes;
    uint32_t keyspace, level;
} listed;

typedef struct reading {
    fc_store *s;
    listed *tables;
    size_t n, cap;
    bool hash_key;
    const char *what; /* is wrong */
} reading;

static int wrong(reading *r, const char *what)
{
    r->what = what;
    return FC_STORE_ECORRUPT;
}

/* Of a later version. */
static int unknown(reading *r, const char *what)
{
    r->what = what;
    return FC_STORE_EFORMAT;
}

static int read_number(reading *r, const fc_edit_item *item)
{
    fc_store *s = r->s;
    store_keyspace *ks;
    switch (item->id) {
    case STORE_NUMBER_NEXT_FILE:
        s->next_file = item->number;
        return 0;
    case STORE_NUMBER_LAST_SEQ:
        s->last_seq = item->number;
        return 0;
    case STORE_NUMBER_LOG_BEGIN:
        s->log_begin = item->number;
        return 0;
    case STORE_NUMBER_NEXT_KEYSPACE:
        s->next_keyspace = (uint32_t)item->number;
        return 0;
    default:
        if (item->id < STORE_NUMBER_FLUSHED)
            return unknown(r, "a number of an unknown kind");
        ks = store_find(s, item->id - STORE_NUMBER_FLUSHED);
        if (ks == NULL)
            return wrong(r, "a number of a keyspace that is not there");
        ks->flushed_seq = ks->recovered_seq = item->number;
        return 0;
    }
}

static int read_keyspace(reading *r, const fc_edit_item *item)
{
    fc_keyspace_options options;
    store_keyspace *ks = store_find(r->s, item->keyspace);
    if (!store_options_get(item->bytes, &options))
        return unknown(r, "options of a keyspace that cannot be read");
    if (ks) {
        ks->options = options;
        return 0;
    }
    ks = store_keyspace_new(item->keyspace, item->name, &options);
    int error = ks ? store_keyspace_add(r->s, ks) : -ENOMEM;
    if (error < 0 && ks)
        store_keyspace_unref(ks);
    return error;
}

static void forget_tables(reading *r, uint32_t keyspace)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->tables[i].keyspace != keyspace)
            r->tables[kept++] = r->tables[i];
    r->n = kept;
}

static int read_drop(reading *r, const fc_edit_item *item)
{
    store_keyspace *ks = store_find(r->s, item->keyspace);
    if (ks == NULL)
        return wrong(r, "a keyspace is dropped that is not there");
    forget_tables(r, item->keyspace);
    store_keyspace_remove(r->s, ks);
    store_keyspace_unref(ks);
    return 0;
}

static int add_table(reading *r, const fc_edit_item *item)
{
    if (store_find(r->s, item->keyspace) == NULL || item->level >= FC_STORE_LEVELS)
        return wrong(r, "a table in a keyspace or level that is not there");
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        listed *grown = realloc(r->tables, cap * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        r->tables = grown;
        r->cap = cap;
    }
    r->tables[r->n++] = (listed){item->table.number, item->table.bytes, item->keyspace, item->level};
    return 0;
}

static int remove_table(reading *r, const fc_edit_item *item)
{
    for (size_t i = r->n; i-- > 0;) {
        const listed *t = &r->tables[i];
        if (t->number != item->table.number || t->keyspace != item->keyspace || t->level != item->level)
            continue;
        memmove(r->tables + i, r->tables + i + 1, (--r->n - i) * sizeof *r->tables);
        return 0;
    }
    return wrong(r, "a table is removed that is not there");
}

static int read_cursor(reading *r, const fc_edit_item *item)
{
    store_keyspace *ks = store_find(r->s, item->keyspace);
    if (ks == NULL || item->level >= FC_STORE_LEVELS)
        return wrong(r, "a cursor of a level that is not there");
    return store_set_cursor(ks, item->level, item->bytes);
}

static int read_item(void *ctx, const fc_edit_item *item)
{
    reading *r = ctx;
    switch (item->kind) {
    case FC_EDIT_NUMBER:
        return read_number(r, item);
    case FC_EDIT_BYTES:
        if (item->id != STORE_BYTES_HASH_KEY)
            return unknown(r, "bytes of an unknown kind");
        if (item->bytes.n != 16)
            return wrong(r, "a hash key of another length");
        r->s->hash_key = (fc_hash_key){fc_get64(item->bytes.p), fc_get64(item->bytes.p + 8)};
        r->hash_key = true;
        return 0;
    case FC_EDIT_KEYSPACE:
        return read_keyspace(r, item);
    case FC_EDIT_DROP:
        return read_drop(r, item);
    case FC_EDIT_ADD_TABLE:
        return add_table(r, item);
    case FC_EDIT_REMOVE_TABLE:
        return remove_table(r, item);
    default:
        return read_cursor(r, item);
    }
}

/* --- its tables ------------------------------------------------------------------------------------------------- */

static int open_table(fc_store *s, const listed *l, fc_damage *damage, store_placed *out)
{
    out->level = l->level;
    int error = store_table_open(s, l->number, damage, &out->table);
    if (error == 0 && out->table->meta.bytes != l->bytes) {
        damage->offset = 0;
        damage->what = "a table of another length than the manifest says";
        store_table_drop(s, out->table, false);
        return FC_STORE_ECORRUPT;
    }
    if (error == 0 && out->table->meta.last_seq > s->last_seq)
        s->last_seq = out->table->meta.last_seq;
    return error;
}

static int open_keyspace(reading *r, store_keyspace *ks, fc_damage *damage)
{
    store_placed *add = calloc(r->n + 1, sizeof *add);
    size_t n = 0;
    int error = add ? 0 : -ENOMEM;
    for (size_t i = 0; i < r->n && error == 0; i++)
        if (r->tables[i].keyspace == ks->id && (error = open_table(r->s, &r->tables[i], damage, &add[n])) == 0)
            n++;
    if (error == 0) {
        pthread_mutex_lock(&r->s->lock);
        error = store_publish(r->s, ks, &(store_change){.add = add, .add_n = n});
        pthread_mutex_unlock(&r->s->lock);
    }
    while (n > 0)
        store_table_unref(r->s, add[--n].table);
    free(add);
    return error;
}

int store_read_manifest(fc_store *s, fc_damage *damage)
{
    reading r = {.s = s};
    fc_manifest_report report;
    int error = fc_manifest_read(s->disk, read_item, &r, &report);
    *damage = report.damage;
    if (error == 0 && (!r.hash_key || store_find(s, 0) == NULL))
        error = wrong(&r, "the state is not whole");
    if (r.what) {
        damage->offset = 0;
        damage->what = r.what;
    }
    for (size_t i = 0; i < s->keyspaces_n && error == 0; i++)
        error = open_keyspace(&r, s->keyspaces[i], damage);
    free(r.tables);
    return error == FC_MANIFEST_ECORRUPT ? FC_STORE_ECORRUPT
           : error == FC_MANIFEST_EFORMAT ? FC_STORE_EFORMAT
                                          : error;
}

/* --- the log ---------------------------------------------------------------------------------------------------- */

static int bad_record(fc_damage *damage, fc_wal_pos pos, const char *what)
{
    *damage = (fc_damage){.name = "log", .offset = pos, .what = what};
    return FC_STORE_ECORRUPT;
}

/* Operations of records that follow each other, done together: the cache misses of so many are had side by side (write.c). */
typedef struct gathered {
    char *p;
    size_t n, cap;
    uint32_t operations;
    uint64_t seq, last; /* of the first and of the last */
    fc_wal_pos pos;
} gathered;

static int replay_gathered(fc_store *s, gathered *g)
{
    int error = 0;
    if (g->operations == 0)
        return 0;
    while ((error = store_replay(s, (fc_slice){g->p, g->n}, g->operations, g->seq, g->pos)) == FC_STORE_EBUSY) {
        error = fc_store_wait_room(s, UINT64_MAX);
        if (error < 0)
            return error;
    }
    g->n = g->operations = 0;
    return error;
}

static int gather(fc_store *s, gathered *g, fc_slice operations, uint32_t n, uint64_t seq, fc_wal_pos pos)
{
    bool goes_on = seq == g->last + 1 && g->operations + n <= GATHERED_OPERATIONS && g->n + operations.n <= GATHERED_BYTES;
    int error = goes_on ? 0 : replay_gathered(s, g);
    if (error < 0)
        return error;
    if (g->n + operations.n > g->cap) {
        size_t cap = g->n + operations.n > GATHERED_BYTES ? g->n + operations.n : GATHERED_BYTES;
        char *grown = realloc(g->p, cap);
        if (grown == NULL)
            return -ENOMEM;
        g->p = grown;
        g->cap = cap;
    }
    memcpy(g->p + g->n, operations.p, operations.n);
    g->n += operations.n;
    g->seq = g->operations ? g->seq : seq;
    g->operations += n;
    g->last = seq + n - 1;
    g->pos = pos;
    return 0;
}

static int replay(fc_store *s, const fc_wal_record *record, gathered *g, fc_damage *damage)
{
    fc_batch_item item;
    size_t at = 0;
    uint32_t n = 0;
    int more;
    s->sealed = record->type == STORE_RECORD_CLOSED && record->payload.n == 0;
    if (s->sealed)
        return 0;
    if (record->type != STORE_RECORD_BATCH || record->payload.n < STORE_RECORD_HEAD)
        return bad_record(damage, record->pos, "a record of an unknown type");
    uint64_t seq = fc_get64(record->payload.p);
    fc_slice operations = {record->payload.p + STORE_RECORD_HEAD, record->payload.n - STORE_RECORD_HEAD};
    while ((more = store_batch_next(operations, &at, &item)) == 1)
        n++;
    if (more < 0 || n == 0 || n != fc_get32(record->payload.p + 8))
        return bad_record(damage, record->pos, "a record of operations that cannot be read");
    if (seq <= g->last || seq > FC_SEQ_MAX - n)
        return bad_record(damage, record->pos, "sequence numbers that do not grow");
    return gather(s, g, operations, n, seq, record->pos);
}

int store_replay_log(fc_store *s, fc_damage *damage)
{
    fc_wal_reader *r;
    fc_wal_record record;
    gathered g = {0};
    int more;
    if (s->log_begin > fc_wal_end(s->log))
        return bad_record(damage, s->log_begin, "the log ends before the manifest says");
    int error = fc_wal_reader_open(s->log, s->log_begin, &r);
    if (error < 0)
        return error == FC_WAL_EGONE ? bad_record(damage, s->log_begin, "the log begins too late") : error;
    s->log_end = s->log_begin;
    while ((more = fc_wal_reader_next(r, &record)) == 1 && error == 0)
        error = replay(s, &record, &g, damage);
    fc_wal_reader_close(r);
    if (error == 0)
        error = replay_gathered(s, &g);
    free(g.p);
    if (error == 0 && more < 0)
        error = more == FC_WAL_ECORRUPT ? bad_record(damage, LOAD(&s->log_end), "the log is damaged") : more;
    STORE(&s->log_end, fc_wal_end(s->log));
    return error;
}

/* --- files that no longer count --------------------------------------------------------------------------------- */

static bool is_log_segment(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".wal") == 0;
}

int store_leftovers(fc_store *s, bool *any)
{
    store_names l = {0};
    uint64_t number;
    int error = store_list(s->disk, "", &l);
    *any = false;
    for (size_t i = 0; i < l.n; i++)
        *any = *any || store_parse_table_name(l.names[i], &number) || is_log_segment(l.names[i]);
    free(l.names);
    return error;
}

static bool has_table(const fc_store *s, uint64_t number)
{
    for (size_t i = 0; i < s->keyspaces_n; i++) {
        const store_version *v = s->keyspaces[i]->version;
        for (size_t k = 0; k < v->at[FC_STORE_LEVELS]; k++)
            if (v->tables[k]->meta.number == number)
                return true;
    }
    return false;
}

static int remove_leftovers(fc_store *s, const store_names *l)
{
    int error = 0;
    for (size_t i = 0; i < l->n && error == 0; i++) {
        const char *name = l->names[i];
        uint64_t number;
        bool table = store_parse_table_name(name, &number) && !has_table(s, number);
        bool manifest = fc_manifest_parse_name(name, &number) && number != fc_manifest_number(s->manifest);
        if (table || manifest || strcmp(name, "CURRENT.new") == 0)
            error = fc_disk_remove(s->disk, name);
        else if (store_is_unfinished(s->disk, name))
            error = store_remove_folder(s->disk, name);
        if (error == -ENOENT) /* CURRENT.new, by the new manifest */
            error = 0;
    }
    return error;
}

/* Numbers go on above all that are there, so that no name of another life is met again. */
int store_begin_manifest(fc_store *s)
{
    store_names l = {0};
    fc_edit e = {0};
    uint64_t number;
    int error = store_list(s->disk, "", &l);
    for (size_t i = 0; i < l.n; i++)
        if ((store_parse_table_name(l.names[i], &number) || fc_manifest_parse_name(l.names[i], &number)) &&
            number >= s->next_file)
            s->next_file = number + 1;
    if (error == 0) {
        number = store_new_number(s);
        store_state_edit(s, &e);
        error = e.error ? e.error : fc_manifest_create(s->disk, number, &e, &s->manifest);
        fc_edit_free(&e);
    }
    if (error == 0) {
        s->manifest_bytes = s->manifest_first = fc_manifest_bytes(s->manifest);
        error = remove_leftovers(s, &l);
    }
    free(l.names);
    return error;
}
