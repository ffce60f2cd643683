/* Repair of levels: all tables of a keyspace become one run of tables that do not overlap, on the last level. Needed
 * where levels, and so what is newer, are not known. Every version is kept, deletions too; what is in two tables is
 * kept once.
 *
 * Tables are chained where they do not overlap, so that there are about as many sources as there were levels. */
#include <errno.h>
#include <stdlib.h>

#include "repair.h"

#define STEP_BYTES (1u << 20) /* of entries */

struct repair_merge {
    uint32_t keyspace;
    inventory_table *inputs; /* by smallest key */
    size_t n;
    fc_table **tables;   /* of inputs */
    fc_table **chained;  /* the same, chain by chain */
    fc_level *chains;
    size_t chains_n;
    fc_range *ranges;
    size_t ranges_n;
    fc_iter *it;
    store_key last, from; /* key before; first key that the table being written answers for */
    uint64_t last_tag;
    bool any, from_known;
    fc_table_writer *writer;
    uint64_t table_bytes;
};

static const fc_read_options HOW = {.keep_out = true};

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int by_smallest(const void *a, const void *b)
{
    const inventory_table *x = a, *y = b;
    return fc_key_compare(x->meta.smallest, y->meta.smallest);
}

static int open_tables(fc_store_repair *r, repair_merge *m)
{
    for (size_t i = 0; i < m->n; i++) {
        char name[STORE_NAME];
        fc_damage damage;
        store_table_name(name, m->inputs[i].meta.number);
        int error = fc_table_open(r->disk, name, NULL, &r->codecs, &damage, &m->tables[i]);
        if (error < 0)
            return error;
        m->ranges_n += fc_table_ranges(m->tables[i])->n;
    }
    return 0;
}

/* Each table goes to the first chain that ends before it begins. */
static int chain(repair_merge *m)
{
    size_t *chain_of = malloc((m->n + 1) * sizeof *chain_of), *last = malloc((m->n + 1) * sizeof *last), at = 0;
    int error = chain_of && last ? 0 : -ENOMEM;
    for (size_t i = 0; i < m->n && error == 0; i++) {
        size_t c = 0;
        while (c < m->chains_n &&
               fc_key_compare(m->inputs[last[c]].meta.largest, m->inputs[i].meta.smallest) >= 0)
            c++;
        m->chains_n += c == m->chains_n;
        chain_of[i] = c;
        last[c] = i;
    }
    m->chains = calloc(m->chains_n + 1, sizeof *m->chains);
    if (m->chains == NULL)
        error = -ENOMEM;
    for (size_t c = 0; c < m->chains_n && error == 0; c++) {
        size_t from = at;
        for (size_t i = 0; i < m->n; i++)
            if (chain_of[i] == c)
                m->chained[at++] = m->tables[i];
        fc_level_init(&m->chains[c], m->chained + from, at - from);
    }
    free(chain_of);
    free(last);
    return error;
}

static int open_sources(repair_merge *m)
{
    fc_source *sources = malloc((m->chains_n + 1) * sizeof *sources);
    m->ranges = malloc((m->ranges_n + 1) * sizeof *m->ranges);
    int error = m->chains_n > FC_SOURCES_MAX ? FC_STORE_ESIZE : sources && m->ranges ? 0 : -ENOMEM;
    if (error == 0) {
        for (size_t c = 0; c < m->chains_n; c++)
            sources[c] = fc_source_level(&m->chains[c], &HOW);
        m->it = fc_merge_iter(sources, m->chains_n);
        error = m->it ? 0 : -ENOMEM;
    }
    for (size_t i = 0, at = 0; i < m->n && error == 0; i++) {
        const fc_range_set *set = fc_table_ranges(m->tables[i]);
        for (size_t k = 0; k < set->n; k++)
            m->ranges[at++] = set->ranges[k];
    }
    free(sources);
    return error;
}

static int begin(fc_store_repair *r, uint32_t id)
{
    repair_merge *m = calloc(1, sizeof *m);
    inventory_keyspace *ks = inventory_find(&r->inventory, id);
    fc_keyspace_options o;
    if (m == NULL)
        return -ENOMEM;
    r->merge = m;
    m->keyspace = id;
    m->table_bytes = store_options_get((fc_slice){ks->options.p, ks->options.n}, &o) ? o.table_bytes
                                                                                    : FC_KEYSPACE_OPTIONS.table_bytes;
    m->inputs = ks->tables;
    m->n = ks->n;
    ks->tables = NULL;
    ks->n = ks->cap = 0;
    if (m->n)
        qsort(m->inputs, m->n, sizeof *m->inputs, by_smallest);
    for (size_t i = 0; i < m->n; i++)
        r->report.bytes += m->inputs[i].meta.bytes;
    m->tables = calloc(m->n + 1, sizeof *m->tables);
    m->chained = calloc(m->n + 1, sizeof *m->chained);
    int error = m->tables && m->chained ? open_tables(r, m) : -ENOMEM;
    if (error == 0)
        error = chain(m);
    if (error == 0)
        error = open_sources(m);
    if (error == 0)
        fc_iter_first(m->it);
    return error < 0 ? error : 1;
}

void repair_merge_close(repair_merge *m)
{
    if (m == NULL)
        return;
    fc_table_writer_close(m->writer);
    fc_iter_close(m->it);
    for (size_t i = 0; m->tables && i < m->n; i++)
        fc_table_close(m->tables[i]);
    for (size_t i = 0; i < m->n; i++)
        free(m->inputs[i].bounds);
    free(m->inputs);
    free(m->tables);
    free(m->chained);
    free(m->chains);
    free(m->ranges);
    free(m->last.p);
    free(m->from.p);
    free(m);
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static int set_key(store_key *k, fc_slice s)
{
    char *p = realloc(k->p, s.n + 1);
    if (p == NULL)
        return -ENOMEM;
    if (s.n)
        memcpy(p, s.p, s.n);
    *k = (store_key){p, s.n};
    return 0;
}

/* The table answers for the keys from its `from` to before `until`, and so for the range deletions' parts there:
 * where one table ends the next begins, whatever keys they have. NULL: to the end of all. */
static int end_table(fc_store_repair *r, repair_merge *m, const fc_slice *until)
{
    int error = 0;
    fc_slice from = {m->from.p, m->from.n};
    for (size_t i = 0; i < m->ranges_n && error == 0; i++) {
        fc_range part = m->ranges[i];
        if (m->from_known && fc_key_compare(part.begin, from) < 0)
            part.begin = from;
        if (until && fc_key_compare(part.end, *until) > 0)
            part.end = *until;
        if (fc_key_compare(part.begin, part.end) < 0)
            error = fc_table_add_range(m->writer, &part);
    }
    if (error == 0)
        error = repair_writer_end(r, m->keyspace, FC_STORE_LEVELS - 1, m->writer);
    else
        fc_table_writer_close(m->writer);
    m->writer = NULL;
    if (error == 0 && until) {
        error = set_key(&m->from, *until);
        m->from_known = true;
    }
    return error;
}

static int take(fc_store_repair *r, repair_merge *m)
{
    fc_iter *it = m->it;
    uint64_t number;
    fc_slice last = {m->last.p, m->last.n};
    bool same_key = m->any && fc_key_equal(it->key, last);
    int error = 0;
    if (same_key && it->tag == m->last_tag)
        return 0;
    if (m->writer && !same_key && fc_table_writer_bytes(m->writer) >= m->table_bytes)
        error = end_table(r, m, &it->key);
    if (error == 0 && m->writer == NULL)
        error = repair_writer(r, m->keyspace, &m->writer, &number);
    if (error == 0)
        error = fc_table_add(m->writer, it->key, it->tag, it->value);
    if (error == 0 && !same_key)
        error = set_key(&m->last, it->key);
    m->last_tag = it->tag;
    m->any = true;
    return error;
}

/* What was merged is in the new tables: originals go to lost/ all the same, for the levels they stood in are not
 * known. */
static int end(fc_store_repair *r, repair_merge *m)
{
    uint64_t number;
    int error = m->it->error;
    if (error == 0 && m->writer == NULL && m->ranges_n)
        error = repair_writer(r, m->keyspace, &m->writer, &number);
    if (error == 0 && m->writer)
        error = end_table(r, m, NULL);
    for (size_t i = 0; i < m->n && error == 0; i++) {
        char name[STORE_NAME];
        bool ours = false;
        for (size_t k = 0; k < r->created_n; k++)
            ours = ours || r->created[k] == m->inputs[i].meta.number;
        store_table_name(name, m->inputs[i].meta.number);
        error = ours ? 0 : repair_move(r, name);
        r->report.bytes_done += m->inputs[i].meta.bytes;
    }
    r->report.keyspaces_rebuilt++;
    r->report.changed = true;
    repair_merge_close(m);
    r->merge = NULL;
    return error < 0 ? error : 1;
}

static int step(fc_store_repair *r, repair_merge *m)
{
    for (uint64_t bytes = 0; m->it->valid && bytes < STEP_BYTES; fc_iter_next(m->it)) {
        int error = take(r, m);
        if (error < 0)
            return error;
        bytes += m->it->key.n + m->it->value.n;
    }
    return m->it->valid ? 1 : end(r, m);
}

/* --- which keyspaces -------------------------------------------------------------------------------------------- */

static int by_level(const void *a, const void *b)
{
    const inventory_table *x = a, *y = b;
    return x->level != y->level ? (x->level < y->level ? -1 : 1) : by_smallest(a, b);
}

static bool overlaps(inventory_keyspace *ks)
{
    if (ks->n)
        qsort(ks->tables, ks->n, sizeof *ks->tables, by_level);
    for (size_t i = 1; i < ks->n; i++) {
        const inventory_table *a = &ks->tables[i - 1], *b = &ks->tables[i];
        int order = a->level == b->level && b->level > 0 ? fc_key_compare(a->meta.largest, b->meta.smallest) : -1;
        if (order > 0 || (order == 0 && a->meta.ranges == 0))
            return true;
    }
    return false;
}

int repair_step_merge(fc_store_repair *r)
{
    if (r->merge)
        return step(r, r->merge);
    for (size_t i = 0; i < r->inventory.n; i++) {
        uint32_t id = r->inventory.keyspaces[i].id;
        repair_keyspace *k = repair_keyspace_of(r, id);
        if (k == NULL)
            return -ENOMEM;
        if (k->merged || (!k->rebuild && !overlaps(&r->inventory.keyspaces[i])))
            continue;
        k->merged = true;
        return begin(r, id);
    }
    return 0;
}
