/* A small tree of tables made by flushes, moves and compactions, against the history of operations that went into it:
 * what every snapshot sees stays the same, and what nobody can see goes. */
#include "fc/compaction.h"

#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "lsm_model.h"

#define LEVELS 4u
#define TABLES_MAX 512
#define SNAPSHOTS_MAX 6

typedef struct tree {
    fc_disk *disk;
    fc_table *tables[LEVELS][TABLES_MAX];
    size_t n[LEVELS];
    fc_table_meta metas[LEVELS][TABLES_MAX];
    fc_pick_table picks[LEVELS][TABLES_MAX];
    fc_pick_level levels[LEVELS];
    uint64_t snapshots[SNAPSHOTS_MAX];
    size_t snapshots_n;
    uint64_t last, now, moves, merges;
    fc_pick_options pick;
} tree;

static uint64_t number;

static uint64_t new_number(void *ctx)
{
    (void)ctx;
    return ++number;
}

static void name_of(char out[FC_DISK_NAME_MAX + 1], uint64_t n)
{
    snprintf(out, FC_DISK_NAME_MAX + 1, "%lu", (unsigned long)n);
}

static fc_table *open_table(tree *t, uint64_t n)
{
    char name[FC_DISK_NAME_MAX + 1];
    fc_table *table = NULL;
    name_of(name, n);
    CHECK(fc_table_open(t->disk, name, NULL, NULL, NULL, &table) == 0);
    return table;
}

static fc_compaction_options options_of(const tree *t, unsigned output_level)
{
    fc_compaction_options o = {.disk = t->disk,
                               .table = FC_TABLE_OPTIONS,
                               .table_bytes = 450,
                               .snapshots = t->snapshots,
                               .snapshots_n = t->snapshots_n,
                               .now_ms = t->now,
                               .below = &t->levels[output_level + 1],
                               .below_n = LEVELS - 1 - output_level,
                               .below_bytes = 2000,
                               .new_number = new_number,
                               .name = name_of};
    o.table.block_bytes = 512;
    o.table.hash_key = HASH;
    return o;
}

/* Metadata anew after a change. */
static void look(tree *t)
{
    for (unsigned l = 0; l < LEVELS; l++) {
        for (size_t i = 0; i < t->n[l]; i++) {
            const fc_table_properties *p = fc_table_get_properties(t->tables[l][i]);
            t->metas[l][i] = fc_table_meta_of(p);
            t->picks[l][i] = (fc_pick_table){&t->metas[l][i], p->keys, p->last_expiry, false};
            CHECK(l == 0 || i == 0 || fc_key_compare(t->metas[l][i - 1].largest, t->metas[l][i].smallest) <= 0);
        }
        t->levels[l] = (fc_pick_level){t->picks[l], t->n[l]};
    }
    t->pick.now_ms = t->now;
    t->pick.oldest_snapshot = t->snapshots_n ? t->snapshots[0] : FC_SEQ_MAX;
}

static void insert(tree *t, unsigned level, fc_table *table)
{
    fc_slice smallest = fc_table_get_properties(table)->smallest;
    size_t at = 0;
    while (level && at < t->n[level] &&
           fc_key_compare(fc_table_get_properties(t->tables[level][at])->largest, smallest) <= 0)
        at++;
    memmove(&t->tables[level][at + 1], &t->tables[level][at], (t->n[level] - at) * sizeof(fc_table *));
    t->tables[level][at] = table;
    t->n[level]++;
    CHECK(t->n[level] < TABLES_MAX - 1);
}

static fc_table *take_out(tree *t, unsigned level, size_t i)
{
    fc_table *table = t->tables[level][i];
    t->n[level]--;
    memmove(&t->tables[level][i], &t->tables[level][i + 1], (t->n[level] - i) * sizeof(fc_table *));
    return table;
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

/* Runs a job in steps of any size; the outputs' numbers. */
static size_t run(fc_compaction *c, uint64_t *chance, uint64_t *numbers)
{
    const fc_compaction_output *outputs;
    fc_compaction_counts counts;
    int more;
    CHECK(c != NULL);
    while ((more = fc_compaction_step(c, fc_hash_next(chance) % 2000)) == 1)
        ;
    CHECK(more == 0 && fc_compaction_step(c, 1) == 0);
    size_t n = fc_compaction_outputs(c, &outputs);
    uint64_t entries = 0, ranges = 0;
    for (size_t i = 0; i < n; i++) {
        const fc_table_properties *p = &outputs[i].properties;
        numbers[i] = outputs[i].number;
        entries += p->entries;
        ranges += p->ranges;
        CHECK(p->id == outputs[i].number && p->entries + p->ranges > 0);
    }
    fc_compaction_get_counts(c, &counts);
    CHECK(counts.entries_out == entries && counts.ranges_out == ranges);
    CHECK(counts.entries_in ==
          counts.entries_out + counts.dropped_old + counts.dropped_deleted + counts.dropped_expired);
    fc_compaction_close(c);
    return n;
}

/* A memtable as a table of level 0: by a job that has nothing to merge it with. */
static void flush(tree *t, uint64_t from, uint64_t to, uint64_t *chance)
{
    fc_memtable *m = fc_memtable_new(1 << 20, &HASH);
    uint64_t numbers[TABLES_MAX];
    fc_range ranges[OPERATIONS];
    for (uint64_t seq = from; seq <= to; seq++)
        CHECK(apply(m, seq) == 0);
    fc_source source = fc_source_memtable(m, NULL);
    fc_compaction_options o = options_of(t, 0);
    /* Older tables of level 0 lie below, too, so nothing may be dropped for good. */
    fc_table_meta anything = {.smallest = {"", 0}, .largest = {"\xff", 1}};
    fc_pick_table pick = {.meta = &anything};
    fc_pick_level below = {&pick, 1};
    o.below = &below;
    o.below_n = 1;
    o.table_bytes = UINT64_MAX;
    o.below_bytes = 0;
    size_t n = fc_memtable_ranges(m, ranges, OPERATIONS);
    n = run(fc_compaction_open(&source, 1, ranges, n, &o), chance, numbers);
    fc_memtable_free(m);
    CHECK(n <= 1);
    t->last = to;
    if (n)
        insert(t, 0, open_table(t, numbers[0]));
    look(t);
}

static size_t ranges_of(fc_table *const *tables, size_t n, fc_range *out)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const fc_range_set *s = fc_table_ranges(tables[i]);
        memcpy(out + found, s->ranges, s->n * sizeof *out);
        found += s->n;
    }
    return found;
}

/* What was picked, done. */
static void compact(tree *t, const fc_pick *p, uint64_t *chance)
{
    fc_table *upper[TABLES_MAX], *lower[TABLES_MAX];
    fc_source sources[TABLES_MAX];
    static fc_range ranges[64 * OPERATIONS];
    uint64_t numbers[TABLES_MAX];
    fc_level levels[2];
    size_t n = 0, outputs = 0;
    fc_compaction_options o = options_of(t, p->output_level);
    for (size_t i = 0; i < p->upper_n; i++)
        upper[i] = t->tables[p->level][p->upper[i]];
    for (size_t i = 0; i < p->lower_n; i++)
        lower[i] = t->tables[p->output_level][p->lower[i]];
    fc_level_init(&levels[0], upper, p->upper_n);
    fc_level_init(&levels[1], lower, p->lower_n);
    if (!p->move) {
        for (size_t i = 0; i < p->upper_n && p->level == 0; i++)
            sources[n++] = fc_source_table(upper[i], NULL);
        if (p->level)
            sources[n++] = fc_source_level(&levels[0], NULL);
        sources[n++] = fc_source_level(&levels[1], NULL);
        size_t ranges_n = ranges_of(upper, p->upper_n, ranges);
        ranges_n += ranges_of(lower, p->lower_n, ranges + ranges_n);
        outputs = run(fc_compaction_open(sources, n, ranges, ranges_n, &o), chance, numbers);
    }
    for (size_t i = p->upper_n; i-- > 0;)
        CHECK(take_out(t, p->level, p->upper[i]) == upper[i]);
    for (size_t i = p->lower_n; i-- > 0;)
        CHECK(take_out(t, p->output_level, p->lower[i]) == lower[i]);
    for (size_t i = 0; i < p->upper_n; i++) {
        if (p->move)
            insert(t, p->output_level, upper[i]);
        else
            fc_table_close(upper[i]);
    }
    for (size_t i = 0; i < p->lower_n; i++)
        fc_table_close(lower[i]);
    for (size_t i = 0; i < outputs; i++)
        insert(t, p->output_level, open_table(t, numbers[i]));
    t->moves += p->move;
    t->merges += !p->move;
    look(t);
}

/* --- what is seen ------------------------------------------------------------------------------------------------- */

static void check_snapshot(const tree *t, uint64_t snapshot)
{
    char buf[48];
    fc_level levels[LEVELS];
    fc_source sources[TABLES_MAX];
    size_t n = 0;
    for (unsigned l = 1; l < LEVELS; l++)
        fc_level_init(&levels[l], t->tables[l], t->n[l]);
    for (size_t i = 0; i < t->n[0]; i++)
        sources[n++] = fc_source_table(t->tables[0][i], NULL);
    for (unsigned l = 1; l < LEVELS; l++)
        sources[n++] = fc_source_level(&levels[l], NULL);
    fc_view *v = fc_view_open(sources, n, &(fc_view_options){snapshot, t->now, 0});
    fc_view_first(v);
    for (unsigned key = 0; key < KEYS; key++) {
        fc_lookup l = fc_lookup_of(key_of(key, buf), snapshot, t->now, &HASH);
        fc_found found;
        bool known;
        int answer = FC_NOT_HERE;
        for (size_t i = 0; i < t->n[0] && answer == FC_NOT_HERE; i++)
            answer = fc_table_get(t->tables[0][i], &l, &found);
        for (unsigned i = 1; i < LEVELS && answer == FC_NOT_HERE; i++)
            answer = fc_level_get(&levels[i], &l, &found);
        uint64_t seq = model_get(key, snapshot, t->now, &known);
        CHECK(answer >= 0 && (answer == FC_FOUND) == (seq != 0));
        if (answer != FC_FOUND)
            continue;
        const operation *o = &history[seq];
        size_t skip = o->type == FC_KEY_EXPIRING ? FC_EXPIRY_BYTES : 0;
        CHECK(fc_tag_seq(found.tag) == seq && found.value.n == o->value_n - skip &&
              memcmp(found.value.p, o->value + skip, found.value.n) == 0);
        fc_block_release(found.block);
        CHECK(v->valid && fc_key_equal(v->key, l.key) && fc_tag_seq(v->tag) == seq);
        if (v->valid)
            fc_view_next(v);
    }
    CHECK(!v->valid && v->error == 0);
    fc_view_close(v);
}

static void check_all(const tree *t)
{
    check_snapshot(t, t->last);
    for (size_t i = 0; i < t->snapshots_n; i++)
        check_snapshot(t, t->snapshots[i]);
}

/* --- the property ------------------------------------------------------------------------------------------------- */

static void change_snapshots(tree *t, uint64_t *chance)
{
    uint64_t d = fc_hash_next(chance);
    if (d % 3 == 0 && t->snapshots_n < SNAPSHOTS_MAX) {
        t->snapshots[t->snapshots_n++] = t->last;
    } else if (d % 3 == 1 && t->snapshots_n) {
        size_t i = (d >> 8) % t->snapshots_n;
        t->snapshots_n--;
        memmove(&t->snapshots[i], &t->snapshots[i + 1], (t->snapshots_n - i) * sizeof *t->snapshots);
    }
    look(t);
}

/* Everything down to the last level, and that written anew: only what lives is left. */
static void check_settled(tree *t, uint64_t *chance)
{
    fc_pick p;
    fc_slice all = {"", 0};
    bool known;
    t->snapshots_n = 0;
    look(t);
    for (unsigned l = 0; l < LEVELS; l++)
        for (int i = 0; fc_compaction_pick_range(t->levels, &t->pick, l, all, all, &p) == 0 && p.reason; i++) {
            CHECK(i < 1000 && p.reason == FC_PICK_ASKED && p.level == l);
            compact(t, &p, chance);
            fc_pick_free(&p);
        }
    check_all(t);
    uint64_t entries = 0, live = 0;
    for (size_t i = 0; i < t->n[LEVELS - 1]; i++) {
        const fc_table_properties *q = fc_table_get_properties(t->tables[LEVELS - 1][i]);
        CHECK(q->deletes == 0 && q->ranges == 0 && q->entries == q->keys);
        entries += q->entries;
    }
    for (unsigned key = 0; key < KEYS; key++)
        live += model_get(key, t->last, t->now, &known) != 0;
    CHECK(entries == live && t->n[0] + t->n[1] + t->n[2] == 0);
}

/* Some histories walk through the keys, so that tables can be moved; in others most values expire. */
static void draw_history(uint64_t seed, uint64_t *chance)
{
    for (uint64_t seq = 1; seq <= OPERATIONS; seq++) {
        operation *o = &history[seq];
        draw(chance, seq, seed % 4 != 0);
        unsigned reach = o->end > o->key ? o->end - o->key : 0;
        if (seed % 5 == 1) {
            o->key = (unsigned)(seq * KEYS / (OPERATIONS + 1));
            o->end = o->key + (reach > 0 && o->key + 1 < KEYS);
        }
        if (seed % 5 == 2 && o->type == FC_KEY_VALUE) {
            o->type = FC_KEY_EXPIRING;
            fc_put64(o->value, fc_hash_next(chance) % 60);
            o->value_n = 8 + seq % 8;
        }
    }
}

static void test_model(void)
{
    uint64_t moves = 0, merges = 0, reasons[5] = {0};
    for (uint64_t seed = 1; seed <= 150; seed++) {
        static tree t;
        uint64_t chance = seed * 977;
        char a[48], b[48];
        t = (tree){.disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed}),
                   .pick = {LEVELS, 3, 1500, 3, 450, 0, 0}};
        draw_history(seed, &chance);
        look(&t);
        while (t.last < OPERATIONS) {
            uint64_t to = t.last + 1 + fc_hash_next(&chance) % 40, d = fc_hash_next(&chance);
            to = to < OPERATIONS ? to : OPERATIONS;
            while (seed % 5 == 1 && to < OPERATIONS && history[to + 1].key == history[to].key)
                to++;
            flush(&t, t.last + 1, to, &chance);
            change_snapshots(&t, &chance);
            t.now += (d >> 40) % 4;
            look(&t);
            fc_pick p = {0};
            if (d % 4 == 0) {
                unsigned from = (unsigned)(d >> 8) % KEYS, end = (unsigned)(d >> 16) % KEYS;
                fc_slice begin = key_of(from, a), until = key_of(end > from ? end : 0, b);
                CHECK(fc_compaction_pick_range(t.levels, &t.pick, (unsigned)(d >> 4) % LEVELS, begin, until, &p) == 0);
            } else if (d % 4 < 3) {
                CHECK(fc_compaction_pick(t.levels, &t.pick, &p) == 0);
            }
            for (int i = 0; p.reason; i++) { /* some of them until there is nothing to pick any more */
                reasons[p.reason]++;
                compact(&t, &p, &chance);
                check_all(&t);
                fc_pick_free(&p);
                CHECK(i < 200);
                if (d % 4 == 2)
                    CHECK(fc_compaction_pick(t.levels, &t.pick, &p) == 0);
            }
            check_all(&t);
        }
        t.now += 25;
        look(&t);
        fc_pick p;
        for (int i = 0; fc_compaction_pick(t.levels, &t.pick, &p) == 0 && p.reason; i++) {
            reasons[p.reason]++;
            compact(&t, &p, &chance);
            check_all(&t);
            fc_pick_free(&p);
            CHECK(i < 200);
        }
        CHECK(fc_compaction_debt(t.levels, &t.pick) == 0);
        check_settled(&t, &chance);
        moves += t.moves;
        merges += t.merges;
        for (unsigned l = 0; l < LEVELS; l++)
            while (t.n[l])
                fc_table_close(take_out(&t, l, 0));
        fc_disk_close(t.disk);
    }
    printf("compaction: %lu merges, %lu moves; picked for size %lu, deletions %lu, expiry %lu, asked %lu\n",
           (unsigned long)merges, (unsigned long)moves, (unsigned long)reasons[FC_PICK_SIZE],
           (unsigned long)reasons[FC_PICK_DELETIONS], (unsigned long)reasons[FC_PICK_EXPIRED],
           (unsigned long)reasons[FC_PICK_ASKED]);
    CHECK(moves > 50 && reasons[FC_PICK_DELETIONS] > 50 && reasons[FC_PICK_EXPIRED] > 20);
}

/* --- one thing at a time ------------------------------------------------------------------------------------------ */

static fc_slice nth(unsigned i, char out[16])
{
    return (fc_slice){out, (size_t)snprintf(out, 16, "k%06u", i)};
}

/* A table of keys from..to-1, all at seq. */
static fc_table *sorted_table(tree *t, unsigned from, unsigned to, uint64_t seq)
{
    char key[16], name[FC_DISK_NAME_MAX + 1];
    fc_table_writer *w;
    fc_table_options o = FC_TABLE_OPTIONS;
    name_of(name, ++number);
    CHECK(fc_table_writer_open(t->disk, name, &o, &w) == 0);
    for (unsigned i = from; i < to; i++)
        CHECK(fc_table_add(w, nth(i, key), fc_tag(seq, FC_KEY_VALUE), (fc_slice){"value", 5}) == 0);
    CHECK(fc_table_finish(w, NULL) == 0);
    fc_table_writer_close(w);
    return open_table(t, number);
}

/* What lies under a range deletion is not read; what a snapshot sees below it is kept, and the range with it. */
static void test_leaps(void)
{
    enum { N = 20000 };
    tree t = {.disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1})};
    char a[16], b[16];
    uint64_t numbers[8], chance = 1;
    fc_table *all = sorted_table(&t, 0, N, 5);
    for (int with = 0; with < 3; with++) {
        fc_compaction_options o = options_of(&t, LEVELS - 1);
        uint64_t snapshot = with == 1 ? 7 : 12;
        fc_range range = {nth(1000, a), nth(19000, b), 10};
        fc_source source = fc_source_table(all, NULL);
        fc_compaction_counts counts;
        o.table_bytes = 1 << 20;
        o.snapshots = &snapshot;
        o.snapshots_n = with > 0;
        fc_compaction *c = fc_compaction_open(&source, 1, &range, 1, &o);
        while (fc_compaction_step(c, 10000) == 1)
            ;
        fc_compaction_get_counts(c, &counts);
        const fc_compaction_output *out;
        CHECK(fc_compaction_outputs(c, &out) == 1 && out->properties.ranges == (with == 1));
        CHECK(counts.entries_out == (with == 1 ? N : 2000));
        CHECK(with == 1 || counts.entries_in < 2100);
        fc_compaction_close(c);
    }
    fc_range none = {nth(3, a), nth(3, b), 10};
    fc_source source = fc_source_table(all, NULL);
    fc_compaction_options o = options_of(&t, LEVELS - 1);
    o.table_bytes = 100000;
    CHECK(run(fc_compaction_open(&source, 1, &none, 1, &o), &chance, numbers) > 1);
    fc_table_close(all);
    fc_disk_close(t.disk);
}

/* A row of entries under a range deletion, then one that a snapshot sees below it: no leap over that. */
static void test_no_leap(void)
{
    tree t = {.disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1})};
    char a[16], b[16];
    uint64_t snapshot = 7, chance = 1, numbers[8];
    fc_table *newer = sorted_table(&t, 0, 100, 9), *older = sorted_table(&t, 50, 200, 5);
    fc_source sources[] = {fc_source_table(newer, NULL), fc_source_table(older, NULL)};
    fc_range range = {nth(0, a), nth(1000, b), 10};
    fc_compaction_options o = options_of(&t, LEVELS - 1);
    o.table_bytes = 1 << 20;
    o.snapshots = &snapshot;
    o.snapshots_n = 1;
    CHECK(run(fc_compaction_open(sources, 2, &range, 1, &o), &chance, numbers) == 1);
    fc_table *out = open_table(&t, numbers[0]);
    CHECK(fc_table_get_properties(out)->entries == 150 && fc_table_get_properties(out)->last_seq == 10);
    fc_table_close(out);
    fc_table_close(newer);
    fc_table_close(older);
    fc_disk_close(t.disk);
}

/* Outputs meet no more of the level below than they may, a range deletion without any entries, too. */
static void test_borders(void)
{
    enum { PARTS = 20, PART = 100 };
    static tree t;
    char a[16], b[16];
    t = (tree){.disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1})};
    for (unsigned i = 0; i < PARTS; i++)
        insert(&t, 2, sorted_table(&t, i * PART, (i + 1) * PART, 1));
    look(&t);
    uint64_t part = t.metas[2][0].bytes;
    for (int points = 0; points < 2; points++) {
        fc_table *table = points ? sorted_table(&t, 0, PARTS * PART, 9) : NULL;
        fc_source source = points ? fc_source_table(table, NULL) : fc_source_level(&(fc_level){0}, NULL);
        fc_range range = {nth(10, a), nth(PARTS * PART - 10, b), 10};
        fc_compaction_options o = options_of(&t, 1);
        o.table_bytes = 1 << 20;
        o.below_bytes = 5 * part + part / 2;
        fc_compaction *c = fc_compaction_open(&source, 1, &range, 1, &o);
        while (fc_compaction_step(c, 1000) == 1)
            ;
        const fc_compaction_output *out;
        size_t n = fc_compaction_outputs(c, &out);
        CHECK(n == 4);
        for (size_t i = 0; i < n; i++) {
            const fc_table_properties *p = &out[i].properties;
            CHECK(p->ranges == 1 && fc_key_equal(p->smallest, nth((unsigned)i * 5 * PART + (i || points ? 0 : 10), a)));
            CHECK(i == n - 1 || fc_key_equal(p->largest, nth((unsigned)(i + 1) * 5 * PART, a)));
        }
        fc_compaction_close(c);
        fc_table_close(table);
    }
    while (t.n[2])
        fc_table_close(take_out(&t, 2, 0));
    fc_disk_close(t.disk);
}

/* An error stays, and the files are named. */
static void test_errors(void)
{
    tree t = {.disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1})};
    fc_table *all = sorted_table(&t, 0, 1000, 5);
    for (uint64_t step = 1; step < 12; step++) {
        fc_compaction_options o = options_of(&t, LEVELS - 1);
        fc_source source = fc_source_table(all, NULL);
        const fc_compaction_output *out;
        int error;
        o.table_bytes = 20000;
        fc_compaction *c = fc_compaction_open(&source, 1, NULL, 0, &o);
        fc_disk_sim_options faults = {.seed = step, .write_fail_ppm = 200000, .sync_fail_ppm = 200000};
        fc_disk_sim_set(t.disk, &faults);
        while ((error = fc_compaction_step(c, 1000)) == 1)
            ;
        CHECK(error == 0 || (error == -EIO && fc_compaction_step(c, 1000) == -EIO));
        fc_disk_sim_set(t.disk, &(fc_disk_sim_options){.seed = step});
        size_t n = fc_compaction_outputs(c, &out);
        for (size_t i = 0; i < n; i++) {
            char name[FC_DISK_NAME_MAX + 1];
            name_of(name, out[i].number);
            CHECK(fc_disk_remove(t.disk, name) == 0);
        }
        CHECK(n > 0);
        fc_compaction_close(c);
    }
    fc_source missing = {0};
    fc_compaction_options o = options_of(&t, LEVELS - 1);
    CHECK(fc_compaction_open(&missing, 1, NULL, 0, &o) == NULL);
    fc_compaction_close(NULL);
    fc_table_close(all);
    fc_disk_close(t.disk);
}

int main(void)
{
    test_model();
    test_leaps();
    test_no_leap();
    test_borders();
    test_errors();
    return check_done("compaction");
}
