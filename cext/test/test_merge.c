/* Views over memtables, tables and a level against the history of operations that is spread over them. */
#include "fc/merge.h"

#include <stdlib.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "lsm_model.h"

#define NOW 50
#define LEVEL_MAX 16
#define SOURCES 4

/* The history in pieces, from the newest to the oldest: a memtable, two tables, a level. */
typedef struct world {
    fc_disk *disk;
    fc_block_cache *cache;
    fc_memtable *memtable;
    fc_table *tables[2], *parts[LEVEL_MAX];
    size_t part_n;
    fc_level level;
} world;

static fc_memtable *memtable_of(uint64_t from, uint64_t to)
{
    fc_memtable *m = fc_memtable_new(1 << 20, &HASH);
    for (uint64_t seq = from; seq <= to; seq++)
        CHECK(apply(m, seq) == 0);
    return m;
}

/* Keys from number `from` on and below `to` of the memtable as a table; range deletions are cut to these. */
static fc_table *table_of(world *w, const fc_memtable *m, unsigned from, unsigned to)
{
    static unsigned number;
    char name[16], a[48], b[48];
    fc_slice lower = key_of(from, a), upper = key_of(to < KEYS ? to : KEYS - 1, b);
    fc_table_options o = FC_TABLE_OPTIONS;
    fc_read_options how = {.bounded_below = true, .lower = lower, .bounded_above = to < KEYS, .upper = upper};
    o.block_bytes = 512;
    o.hash_key = HASH;
    snprintf(name, sizeof name, "%u", ++number);
    fc_table_writer *writer;
    CHECK(fc_table_writer_open(w->disk, name, &o, &writer) == 0);
    fc_range ranges[OPERATIONS];
    size_t n = fc_memtable_ranges(m, ranges, OPERATIONS);
    for (size_t i = 0; i < n; i++) {
        if (fc_key_compare(ranges[i].begin, lower) < 0)
            ranges[i].begin = lower;
        if (to < KEYS && fc_key_compare(ranges[i].end, upper) > 0)
            ranges[i].end = upper;
        CHECK(fc_table_add_range(writer, &ranges[i]) == 0);
    }
    fc_iter *it = fc_memtable_iter(m, &how);
    for (fc_iter_first(it); it->valid; fc_iter_next(it))
        CHECK(fc_table_add(writer, it->key, it->tag, it->value) == 0);
    fc_iter_close(it);
    CHECK(fc_table_finish(writer, NULL) == 0);
    fc_table_writer_close(writer);
    fc_table *t = NULL;
    CHECK(fc_table_open(w->disk, name, w->cache, NULL, NULL, &t) == 0);
    return t;
}

static void build(world *w, uint64_t seed, uint64_t last)
{
    uint64_t chance = seed, a = last / 4 + seed % (last / 5), b = a + last / 4, c = b + last / 4;
    *w = (world){.disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed}),
                 .cache = fc_block_cache_new(1 << 17, 1)};
    for (uint64_t seq = 1; seq <= last; seq++)
        draw(&chance, seq, seed % 3 != 0);
    fc_memtable *oldest = memtable_of(1, a), *older = memtable_of(a + 1, b), *newer = memtable_of(b + 1, c);
    for (unsigned from = 0; from < KEYS;) {
        unsigned to = w->part_n == LEVEL_MAX - 1 ? KEYS : from + 1 + (unsigned)(fc_hash_next(&chance) % 12);
        fc_table *t = table_of(w, oldest, from, to);
        const fc_table_properties *p = fc_table_get_properties(t);
        if (p->entries + p->ranges == 0)
            fc_table_close(t);
        else
            w->parts[w->part_n++] = t;
        from = to;
    }
    fc_level_init(&w->level, w->parts, w->part_n);
    w->tables[0] = table_of(w, newer, 0, KEYS);
    w->tables[1] = table_of(w, older, 0, KEYS);
    w->memtable = memtable_of(c + 1, last);
    fc_memtable_free(oldest);
    fc_memtable_free(older);
    fc_memtable_free(newer);
}

static void unbuild(world *w)
{
    for (size_t i = 0; i < w->part_n; i++)
        fc_table_close(w->parts[i]);
    fc_table_close(w->tables[0]);
    fc_table_close(w->tables[1]);
    fc_memtable_free(w->memtable);
    fc_block_cache_free(w->cache);
    fc_disk_close(w->disk);
}

static void sources_of(const world *w, const fc_read_options *how, fc_source out[SOURCES])
{
    out[0] = fc_source_memtable(w->memtable, how);
    out[1] = fc_source_table(w->tables[0], how);
    out[2] = fc_source_table(w->tables[1], how);
    out[3] = fc_source_level(&w->level, how);
}

/* The entry a view at the snapshot must show for the key: its sequence number, or 0. */
static uint64_t expected(unsigned key, uint64_t snapshot)
{
    bool known;
    return model_get(key, snapshot, NOW, &known);
}

static void check_gets(const world *w, uint64_t snapshot)
{
    char buf[48];
    for (unsigned key = 0; key < KEYS; key++) {
        fc_lookup l = fc_lookup_of(key_of(key, buf), snapshot, NOW, &HASH);
        fc_found found;
        int answer = fc_memtable_get(w->memtable, &l, &found);
        for (int i = 0; i < 2 && answer == FC_NOT_HERE; i++)
            answer = fc_table_get(w->tables[i], &l, &found);
        if (answer == FC_NOT_HERE)
            answer = fc_level_get(&w->level, &l, &found);
        uint64_t seq = expected(key, snapshot);
        CHECK((answer == FC_FOUND) == (seq != 0) && answer >= 0);
        CHECK(answer != FC_FOUND || fc_tag_seq(found.tag) == seq);
        if (answer == FC_FOUND)
            fc_block_release(found.block);
    }
}

/* What a level says of a key, it says of every key that it says it holds for. */
static void check_cover(const world *w, uint64_t snapshot)
{
    char a[48], b[48];
    fc_range_cover covers[KEYS];
    for (unsigned key = 0; key < KEYS; key++) {
        fc_slice k = key_of(key, a);
        fc_level_cover(&w->level, k, snapshot, &covers[key]);
        uint64_t seq = 0;
        for (size_t i = 0; i < w->part_n; i++) {
            uint64_t one = fc_range_set_seq(fc_table_ranges(w->parts[i]), k, snapshot);
            seq = one > seq ? one : seq;
        }
        CHECK(covers[key].seq == seq);
    }
    for (unsigned key = 0; key < KEYS; key++)
        for (unsigned other = 0; other < KEYS; other++)
            CHECK(!fc_range_cover_holds(&covers[key], key_of(other, b)) || covers[other].seq == covers[key].seq);
}

static bool shows(const fc_view *v, unsigned key, uint64_t seq)
{
    char buf[48];
    operation *o = &history[seq];
    size_t skip = o->type == FC_KEY_EXPIRING ? 8 : 0;
    return v->valid && v->error == 0 && fc_key_equal(v->key, key_of(key, buf)) && fc_tag_seq(v->tag) == seq &&
           v->value.n == o->value_n - skip && memcmp(v->value.p, o->value + skip, v->value.n) == 0;
}

/* One call, again and again while it only gives up for a while. */
static void move(fc_view *v, fc_read_options *how, bool backwards)
{
    int tries = 0;
    do {
        how->memory_only = v->error == 0 && tries % 2 == 0;
        if (backwards)
            fc_view_prev(v);
        else
            fc_view_next(v);
    } while ((v->error == FC_VIEW_ESKIPPED || v->error == FC_EWOULDREAD) && ++tries < 100000);
}

/* The model's cursor: the next key to show from `key` on, KEYS or -1 at the ends. */
static int model_move(int key, int step, uint64_t snapshot, int lower, int upper)
{
    for (key += step; key >= lower && key < upper; key += step)
        if (expected((unsigned)key, snapshot))
            return key;
    return step > 0 ? KEYS : -1;
}

static void check_at(const fc_view *v, int key, uint64_t snapshot)
{
    if (key < 0 || key >= KEYS)
        CHECK(!v->valid && v->error == 0);
    else
        CHECK(shows(v, (unsigned)key, expected((unsigned)key, snapshot)));
}

static void check_view(const world *w, uint64_t snapshot, uint64_t *chance)
{
    char a[48], b[48], c[48];
    int from = (int)(fc_hash_next(chance) % KEYS), to = from + 1 + (int)(fc_hash_next(chance) % KEYS);
    fc_read_options how = {.bounded_below = from > 4, .bounded_above = to < KEYS};
    int lower = how.bounded_below ? from : 0, upper = how.bounded_above ? to : KEYS;
    how.lower = key_of((unsigned)from, a);
    how.upper = key_of((unsigned)(to < KEYS ? to : 0), b);
    fc_source sources[SOURCES];
    sources_of(w, &how, sources);
    uint32_t skip_max = fc_hash_next(chance) % 2 ? 1 + fc_hash_next(chance) % 5 : 0;
    fc_view *v = fc_view_open(sources, SOURCES, &(fc_view_options){snapshot, NOW, skip_max});
    CHECK(v != NULL);
    int key = lower - 1;
    fc_view_first(v);
    if (v->error < 0)
        move(v, &how, false);
    for (key = model_move(key, 1, snapshot, lower, upper);; key = model_move(key, 1, snapshot, lower, upper)) {
        check_at(v, key, snapshot);
        if (key == KEYS || !v->valid)
            break;
        move(v, &how, false);
    }
    fc_view_last(v);
    if (v->error < 0)
        move(v, &how, true);
    for (key = model_move(upper, -1, snapshot, lower, upper);; key = model_move(key, -1, snapshot, lower, upper)) {
        check_at(v, key, snapshot);
        if (key < 0 || !v->valid)
            break;
        move(v, &how, true);
    }
    for (int turn = 0; turn < 12; turn++) {
        int start = (int)(fc_hash_next(chance) % KEYS);
        bool back = fc_hash_next(chance) % 2;
        how.memory_only = false;
        if (back) {
            fc_view_seek_back(v, key_of((unsigned)start, c));
            key = model_move(start + 1 < upper ? start + 1 : upper, -1, snapshot, lower, upper);
        } else {
            fc_view_seek(v, key_of((unsigned)start, c));
            key = model_move(start - 1 > lower - 1 ? start - 1 : lower - 1, 1, snapshot, lower, upper);
        }
        if (v->error < 0)
            move(v, &how, back);
        for (int step = 0; step < 8; step++) {
            check_at(v, key, snapshot);
            if (!v->valid || key < 0 || key >= KEYS)
                break;
            back = fc_hash_next(chance) % 2;
            key = model_move(key, back ? -1 : 1, snapshot, lower, upper);
            move(v, &how, back);
        }
    }
    fc_view_close(v);
}

/* Everything, as a compaction reads it. */
static void check_merge(const world *w, uint64_t last)
{
    fc_source sources[SOURCES];
    sources_of(w, NULL, sources);
    fc_iter *it = fc_merge_iter(sources, SOURCES);
    size_t n = 0;
    fc_iter_first(it);
    for (unsigned key = 0; key < KEYS; key++)
        for (uint64_t seq = last; seq > 0; seq--) {
            if (history[seq].type == FC_KEY_RANGE_DELETE || history[seq].key != key)
                continue;
            CHECK(it->valid && fc_tag_seq(it->tag) == seq);
            n++;
            if (seq % 7 == 0 && it->valid) { /* back, and on again */
                fc_iter_prev(it);
                CHECK(it->valid == (n > 1));
                if (it->valid)
                    fc_iter_next(it);
                else
                    fc_iter_first(it);
                CHECK(it->valid && fc_tag_seq(it->tag) == seq);
            }
            if (it->valid)
                fc_iter_next(it);
        }
    CHECK(!it->valid && it->error == 0);
    for (fc_iter_last(it); it->valid && n > 0; fc_iter_prev(it))
        n--;
    CHECK(n == 0 && !it->valid);
    fc_iter_close(it);
}

static void test_model(void)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        world w;
        uint64_t chance = seed * 77, last = seed % 5 ? 60 + seed % 60 : OPERATIONS;
        build(&w, seed, last);
        check_merge(&w, last);
        for (int i = 0; i < 4; i++) {
            uint64_t snapshot = i == 0 ? last : fc_hash_next(&chance) % (last + 1);
            check_gets(&w, snapshot);
            check_cover(&w, snapshot);
            for (int k = 0; k < 3; k++)
                check_view(&w, snapshot, &chance);
        }
        unbuild(&w);
    }
}

/* Many versions of few keys, most of them newer than the snapshot, and a whole table under a range deletion: nothing is
 * walked that can be leapt over. */
static void test_leaps(void)
{
    enum { N = 20000 };
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_table_options o = FC_TABLE_OPTIONS;
    fc_table_writer *writer;
    fc_table *t = NULL;
    char key[16];
    CHECK(fc_table_writer_open(disk, "t", &o, &writer) == 0);
    fc_range early = {{"k001000", 7}, {"k019000", 7}, N + 1};
    CHECK(fc_table_add_range(writer, &early) == 0);
    for (uint64_t i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k%06lu", (unsigned long)i);
        if (i == N / 2) /* newer than the table's own range deletion, which may not be leapt over for it */
            CHECK(fc_table_add(writer, (fc_slice){key, 7}, fc_tag(N + 2, FC_KEY_VALUE), (fc_slice){"w", 1}) == 0);
        CHECK(fc_table_add(writer, (fc_slice){key, 7}, fc_tag(i + 1, FC_KEY_VALUE), (fc_slice){"v", 1}) == 0);
    }
    CHECK(fc_table_finish(writer, NULL) == 0);
    fc_table_writer_close(writer);
    CHECK(fc_table_open(disk, "t", NULL, NULL, NULL, &t) == 0);
    fc_memtable *m = fc_memtable_new(8 << 20, &HASH);
    uint64_t seq = N + 2;
    CHECK(fc_memtable_delete_range(m, ++seq, (fc_slice){"k000010", 7}, (fc_slice){"k019990", 7}) == 0);
    for (uint64_t i = 0; i < N; i++)
        CHECK(fc_memtable_add(m, ++seq, FC_KEY_VALUE, (fc_slice){"often", 5}, (fc_slice){(char *)&seq, 8}) == 0);
    uint64_t snapshots[] = {N + 2, N + 3, N + 4, N + N / 2, 2 * N + 3};
    uint64_t shown[] = {2001, 20, 21, 21, 21};
    for (size_t i = 0; i < 5; i++) {
        fc_source sources[] = {fc_source_memtable(m, NULL), fc_source_table(t, NULL)};
        fc_view *v = fc_view_open(sources, 2, &(fc_view_options){snapshots[i], 0, 0});
        uint64_t n = 0;
        for (fc_view_first(v); v->valid; fc_view_next(v))
            n++;
        CHECK(n == shown[i] && v->error == 0);
        CHECK(v->skipped < 300 || i == 0);
        for (fc_view_last(v); v->valid; fc_view_prev(v))
            n--;
        CHECK(n == 0 && v->error == 0 && (v->skipped < 600 || i == 0));
        fc_view_close(v);
    }
    fc_memtable_free(m);
    fc_table_close(t);
    fc_disk_close(disk);
}

/* A damaged block ends a walk with its error, in either direction and in any source. */
static void test_damage(void)
{
    world w;
    build(&w, 4, OPERATIONS);
    fc_table *t = w.tables[1];
    CHECK(fc_disk_sim_flip(w.disk, "9999", 0) < 0);
    char name[16];
    fc_damage damage;
    uint64_t middle = fc_table_get_properties(t)->data_bytes / 2;
    for (unsigned number = 1; number < 10000; number++) { /* the name of the table is not told: the one of its size */
        fc_file *f;
        snprintf(name, sizeof name, "%u", number);
        if (fc_disk_file(w.disk, name, FC_FILE_READ, &f) < 0)
            continue;
        if ((uint64_t)fc_file_size(f) == fc_table_get_properties(t)->file_bytes)
            CHECK(fc_disk_sim_flip(w.disk, name, middle * 8) == 0);
        fc_file_close(f);
    }
    fc_source sources[SOURCES];
    sources_of(&w, NULL, sources);
    fc_view *v = fc_view_open(sources, SOURCES, &(fc_view_options){OPERATIONS, NOW, 0});
    for (fc_view_first(v); v->valid; fc_view_next(v))
        ;
    CHECK(v->error == FC_TABLE_ECORRUPT);
    for (fc_view_last(v); v->valid; fc_view_prev(v))
        ;
    CHECK(v->error == FC_TABLE_ECORRUPT);
    fc_view_close(v);
    CHECK(fc_table_damage(t, &damage) && damage.offset <= middle);
    unbuild(&w);
}

static void test_bounds(void)
{
    fc_view *v = fc_view_open(NULL, 0, &(fc_view_options){FC_SEQ_MAX, 0, 0});
    fc_view_first(v);
    CHECK(!v->valid && v->error == 0);
    fc_view_last(v);
    CHECK(!v->valid && v->error == 0);
    fc_view_close(v);
    fc_level empty;
    fc_level_init(&empty, NULL, 0);
    fc_iter *it = fc_level_iter(&empty, NULL);
    fc_iter_first(it);
    CHECK(!it->valid);
    fc_iter_last(it);
    CHECK(!it->valid);
    fc_iter_close(it);
    fc_source missing[2] = {fc_source_level(&empty, NULL), {0}};
    CHECK(fc_merge_iter(missing, 2) == NULL);
    fc_source once_more[2] = {fc_source_level(&empty, NULL), {0}};
    CHECK(fc_view_open(once_more, 2, &(fc_view_options){0}) == NULL);
    fc_view_close(NULL);
}

int main(void)
{
    test_model();
    test_leaps();
    test_damage();
    test_bounds();
    return check_done("merge");
}
