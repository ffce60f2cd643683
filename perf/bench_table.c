/* Cost of the storage engine below the store: memtable, tables, views. 16-byte keys, 100-byte values, one thread.
 * usage: bench_table [thousands of keys] [folder]; prints one line for each: what, ns.
 * Each figure is the best of three runs over all keys in random order: the minimum is what the code costs. Processor
 * time, not time passed: the files are in the page cache, and nothing waits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fc/merge.h"

#define RUNS 3
#define VALUE 100

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const fc_hash_key HASH = {11, 22};
static uint64_t keys;
static uint32_t *order; /* a permutation: keys are asked and put in random order */
static char values[4096]; /* a value is a piece of it, another for each key */

static void must(bool what)
{
    if (!what) {
        fprintf(stderr, "bench_table: a call failed\n");
        exit(1);
    }
}

/* Even numbers are there, odd ones are not. */
static fc_slice key_of(uint64_t i, char out[24])
{
    for (int k = 15; k >= 0; k--, i /= 10)
        out[k] = (char)('0' + i % 10);
    return (fc_slice){out, 16};
}

static void shuffle(void)
{
    uint64_t chance = 1;
    for (uint64_t i = 0; i < keys; i++)
        order[i] = (uint32_t)i;
    for (uint64_t i = keys - 1; i > 0; i--) {
        uint64_t k = fc_hash_next(&chance) % (i + 1);
        uint32_t t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
}

static void report(const char *what, uint64_t ns) { printf("%-28s %8.1f\n", what, (double)ns / (double)keys); }

static fc_memtable *fill(uint64_t *ns)
{
    fc_memtable *m = fc_memtable_new(keys * 400 + (1 << 20), &HASH);
    char buf[24];
    must(m != NULL);
    uint64_t begin = cpu_ns();
    for (uint64_t i = 0; i < keys; i++)
        must(fc_memtable_add(m, i + 1, FC_KEY_VALUE, key_of(2ull * order[i], buf),
                             (fc_slice){values + order[i] % 3000, VALUE}) == 0);
    *ns = cpu_ns() - begin;
    return m;
}

static uint64_t get_all(const fc_memtable *m, fc_table *t, uint64_t odd)
{
    char buf[24];
    uint64_t begin = cpu_ns();
    for (uint64_t i = 0; i < keys; i++) {
        fc_lookup l = fc_lookup_of(key_of(2ull * order[i] + odd, buf), FC_SEQ_MAX, 0, &HASH);
        fc_found found;
        int answer = m ? fc_memtable_get(m, &l, &found) : fc_table_get(t, &l, &found);
        must(answer == (odd ? FC_NOT_HERE : FC_FOUND));
        fc_block_release(found.block);
    }
    return cpu_ns() - begin;
}

static uint64_t walk(fc_source source, bool backwards)
{
    fc_view *v = fc_view_open(&source, 1, &(fc_view_options){.snapshot = FC_SEQ_MAX});
    uint64_t n = 0, begin = cpu_ns();
    must(v != NULL);
    for (backwards ? fc_view_last(v) : fc_view_first(v); v->valid; backwards ? fc_view_prev(v) : fc_view_next(v))
        n++;
    uint64_t ns = cpu_ns() - begin;
    must(n == keys && v->error == 0);
    fc_view_close(v);
    return ns;
}

static uint64_t build(fc_disk *disk, const fc_memtable *m, const fc_table_options *o, uint64_t *bytes)
{
    fc_table_writer *w;
    fc_table_properties p;
    fc_disk_remove(disk, "bench.tbl"); /* of the run before, if there was one */
    uint64_t begin = cpu_ns();
    must(fc_table_writer_open(disk, "bench.tbl", o, &w) == 0);
    fc_iter *it = fc_memtable_iter(m, NULL);
    for (fc_iter_first(it); it->valid; fc_iter_next(it))
        must(fc_table_add(w, it->key, it->tag, it->value) == 0);
    fc_iter_close(it);
    must(fc_table_finish(w, &p) == 0);
    *bytes = p.file_bytes;
    fc_table_writer_close(w);
    return cpu_ns() - begin;
}

#define BEST(what, expression)                         \
    do {                                               \
        uint64_t best = UINT64_MAX;                    \
        for (int run = 0; run < RUNS; run++) {         \
            uint64_t ns = (expression);                \
            best = ns < best ? ns : best;              \
        }                                              \
        report(what, best);                            \
    } while (0)

static void bench_table(fc_disk *disk, const fc_memtable *m, const fc_table_options *o, const char *name)
{
    char what[64];
    uint64_t bytes = 0;
    fc_block_cache *cache = fc_block_cache_new(keys * 300 + (8 << 20), 0);
    fc_table *t;
    snprintf(what, sizeof what, "%s build", name);
    BEST(what, build(disk, m, o, &bytes));
    printf("%-28s %8.1f\n", "  bytes a key", (double)bytes / (double)keys);
    must(fc_table_open(disk, "bench.tbl", cache, o->codecs, NULL, &t) == 0);
    walk(fc_source_table(t, NULL), false); /* into the cache */
    snprintf(what, sizeof what, "%s get present", name);
    BEST(what, get_all(NULL, t, 0));
    snprintf(what, sizeof what, "%s get absent", name);
    BEST(what, get_all(NULL, t, 1));
    snprintf(what, sizeof what, "%s scan", name);
    BEST(what, walk(fc_source_table(t, NULL), false));
    snprintf(what, sizeof what, "%s scan back", name);
    BEST(what, walk(fc_source_table(t, NULL), true));
    fc_table_close(t);
    fc_block_cache_free(cache);
}

int main(int argc, char **argv)
{
    keys = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1000) * 1000;
    const char *folder = argc > 2 ? argv[2] : "/tmp/fc_bench_table";
    order = malloc(keys * sizeof *order);
    fc_disk *disk;
    fc_codecs codecs;
    must(keys > 0 && order && fc_disk_open(folder, true, &disk) == 0);
    fc_codecs_open(&codecs);
    shuffle();
    for (size_t i = 0; i < sizeof values; i++) /* half of it compresses */
        values[i] = (char)(i % 16 < 8 ? 'v' : fc_hash_mix(i));
    uint64_t best = UINT64_MAX, ns;
    fc_memtable *m = NULL;
    for (int run = 0; run < RUNS; run++) {
        fc_memtable_free(m);
        m = fill(&ns);
        best = ns < best ? ns : best;
    }
    report("memtable put", best);
    printf("%-28s %8.1f\n", "  bytes a key", (double)fc_memtable_bytes(m) / (double)keys);
    BEST("memtable get present", get_all(m, NULL, 0));
    BEST("memtable get absent", get_all(m, NULL, 1));
    BEST("memtable scan", walk(fc_source_memtable(m, NULL), false));
    fc_table_options o = FC_TABLE_OPTIONS;
    o.hash_key = HASH;
    o.codecs = &codecs;
    bench_table(disk, m, &o, "table");
    o.codec = FC_CODEC_LZ4;
    if (fc_codecs_have(&codecs, FC_CODEC_LZ4))
        bench_table(disk, m, &o, "lz4 table");
    fc_memtable_free(m);
    fc_codecs_close(&codecs);
    fc_disk_remove(disk, "bench.tbl");
    fc_disk_close(disk);
    rmdir(folder);
    free(order);
    return 0;
}
