/* The same operations under many options: the answers are the same, and the model's. When memtables are flushed, tables
 * merged and the store opened anew is drawn for each set of options apart. */
#include <stdlib.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "crash_model.h"

#define OPERATIONS 1200
#define SEEDS 3
#define SNAPSHOTS 3

typedef struct option_set {
    const char *name;
    fc_keyspace_options keyspace;
    uint64_t cache_bytes, log_segment_bytes, log_bytes_max;
    bool threaded, reopens;
} option_set;

typedef struct trial {
    model m;
    const option_set *set;
    fc_disk *disk;
    fc_store *store;
    uint64_t chance, own; /* of the operations; of what these options do beside them */
    uint64_t trace;       /* of all answers */
    fc_snapshot *snapshots[SNAPSHOTS];
    state at[SNAPSHOTS];
    model_space spaces[SNAPSHOTS][SPACES];
} trial;

static void answer(trial *t, uint64_t word)
{
    t->trace = fc_hash_mix(t->trace * 31 + word);
}

static void right(trial *t, int error, const char *what)
{
    if (error < 0)
        wrong(&t->m, "%s answers %d (%s)", what, error, fc_store_strerror(error));
}

static void open_store(trial *t)
{
    fc_store_options o = FC_STORE_OPTIONS;
    o.threaded = t->set->threaded;
    o.cache_bytes = t->set->cache_bytes;
    o.log_bytes_max = t->set->log_bytes_max;
    o.log.segment_bytes = t->set->log_segment_bytes;
    o.log.record_bytes_max = 16384;
    o.log.buffer_bytes_max = 65536;
    o.defaults = t->set->keyspace;
    o.seed = t->own | 1;
    o.now_ms = model_clock;
    o.now_ctx = &t->m;
    t->store = NULL;
    right(t, fc_store_open(t->disk, &o, NULL, &t->store), "opening");
}

static void spaces(trial *t, uint32_t space)
{
    model_space *is = &t->m.spaces[space];
    if (is->there == SPACE_THERE) {
        right(t, fc_store_drop(t->store, is->id), "dropping a keyspace");
        model_dropped(&t->m, space);
        return;
    }
    fc_slice name = {SPACE_NAMES[space], strlen(SPACE_NAMES[space])};
    right(t, fc_store_keyspace(t->store, name, NULL, true, &is->id), "a new keyspace");
    is->there = SPACE_THERE;
}

static void write_batch(trial *t, bool expecting)
{
    model_batch b;
    fc_batch batch = {0};
    fc_write_result result = {0};
    bool holds = true;
    model_draw(&t->m, &t->chance, &b);
    model_batch_to(&t->m, &b, &batch);
    if (expecting) {
        char bytes[16];
        uint64_t d = fc_hash_next(&t->chance);
        uint32_t key = d % KEYS;
        const cell *c = &t->m.now.cells[0][key];
        uint64_t version = cell_lives(c, t->m.clock_ms) ? c->version : 0;
        holds = d >> 16 & 1;
        fc_batch_expect(&batch, 0, model_key(key, bytes), holds ? version : version + 1);
    }
    int error;
    while ((error = fc_store_write(t->store, &batch, 0, &result)) == FC_STORE_EBUSY)
        if ((error = fc_store_wait_room(t->store, 10000000000ull)) < 0)
            break;
    answer(t, (uint64_t)error);
    if (!holds) {
        if (error != FC_STORE_ECONFLICT)
            wrong(&t->m, "a condition that does not hold is answered by %d", error);
    } else {
        right(t, error, "a write");
        answer(t, result.version);
        b.version = result.version;
        model_written(&t->m, &b);
    }
    fc_batch_free(&batch);
}

/* Part of a keyspace in one direction; what is shown is part of the answer. */
static void scan(trial *t)
{
    char low[16], high[16];
    uint64_t d = fc_hash_next(&t->chance);
    uint32_t space = d % 2, from = (uint32_t)(d >> 8) % KEYS, to = (uint32_t)(d >> 16) % KEYS;
    fc_scan_options how = {.bounded_below = true, .bounded_above = true, .fill_cache = d >> 24 & 1};
    how.lower = model_key(from, low);
    how.upper = model_key(to, high);
    bool back = d >> 25 & 1;
    fc_scan *s;
    int error = fc_scan_open(t->store, t->m.spaces[space].id, &how, &s);
    right(t, error, "opening a scan");
    if (error < 0)
        return;
    fc_view *v = fc_scan_view(s);
    uint32_t at = back ? to - 1 : from;
    for ((back ? fc_view_last : fc_view_first)(v); v->valid; (back ? fc_view_prev : fc_view_next)(v)) {
        uint32_t i = model_key_number(v->key);
        cell c = model_cell_of(v);
        answer(t, i);
        answer(t, c.version ^ c.hash ^ c.expires_ms);
        const cell *want = t->m.now.cells[space];
        while (at != i && at < KEYS && !cell_lives(&want[at], t->m.clock_ms))
            at += back ? -1u : 1u;
        if (at != i || i < from || i >= to || !cell_same(&want[i], &c, t->m.clock_ms))
            wrong(&t->m, "a scan from %u to %u shows key %u where %u ought to be", from, to, i, at);
        at += back ? -1u : 1u;
    }
    right(t, v->error, "a scan");
    fc_scan_close(s);
}

static void snapshot(trial *t)
{
    uint64_t d = fc_hash_next(&t->chance);
    unsigned i = d % SNAPSHOTS;
    if (t->snapshots[i] == NULL) {
        t->snapshots[i] = fc_store_snapshot(t->store);
        t->at[i] = t->m.now;
        memcpy(t->spaces[i], t->m.spaces, sizeof t->m.spaces);
        answer(t, fc_snapshot_seq(t->snapshots[i]));
        return;
    }
    right(t, model_compare(&t->m, t->store, t->snapshots[i], &t->at[i], t->spaces[i], "a snapshot", &t->chance),
          "reading a snapshot");
    fc_snapshot_release(t->snapshots[i]);
    t->snapshots[i] = NULL;
}

/* What nobody who reads may notice. */
static void upkeep(trial *t)
{
    uint64_t d = fc_hash_next(&t->own);
    uint32_t space = d >> 32 & 1;
    bool held = false;
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        held = held || t->snapshots[i];
    if (d % 8 == 0) {
        right(t, fc_store_flush(t->store, t->m.spaces[space].id), "a flush");
    } else if (d % 8 == 1) {
        right(t, fc_store_compact(t->store, t->m.spaces[space].id, (fc_slice){"", 0}, (fc_slice){"", 0}), "compaction");
    } else if (d % 16 == 2 && t->set->reopens && !held) {
        right(t, fc_store_close(t->store), "closing");
        open_store(t);
    } else {
        for (int n = 0; n < 10; n++)
            right(t, fc_store_step(t->store), "a step");
    }
}

static void turn(trial *t)
{
    uint64_t d = fc_hash_next(&t->chance) % 100;
    if (d < 60)
        write_batch(t, d % 6 == 0);
    else if (d < 75)
        scan(t);
    else if (d < 87)
        snapshot(t);
    else if (d < 92)
        __atomic_fetch_add(&t->m.clock_ms, d % 7, __ATOMIC_RELAXED);
    else if (d < 94)
        spaces(t, SPACES - 1);
    else
        right(t, model_compare(&t->m, t->store, NULL, &t->m.now, NULL, "the store", &t->chance), "reading");
    if (t->store && fc_hash_next(&t->own) % 8 == 0)
        upkeep(t);
}

static uint64_t run(const option_set *set, uint64_t seed, uint64_t own)
{
    trial *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->set = set;
    t->chance = seed;
    t->own = own;
    model_init(&t->m);
    t->disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
    open_store(t);
    if (t->store)
        spaces(t, 1);
    for (int i = 0; i < OPERATIONS && t->store && t->m.wrong[0] == '\0'; i++)
        turn(t);
    CHECK(t->m.wrong[0] == '\0');
    if (t->m.wrong[0])
        fprintf(stderr, "options \"%s\", seed %lu: %s\n", set->name, (unsigned long)seed, t->m.wrong);
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        fc_snapshot_release(t->snapshots[i]);
    if (t->store)
        CHECK(fc_store_close(t->store) == 0);
    uint64_t trace = t->trace;
    model_free(&t->m);
    fc_disk_close(t->disk);
    free(t);
    return trace;
}

int main(void)
{
    fc_keyspace_options k = FC_KEYSPACE_OPTIONS;
    k.memtable_bytes = FC_MEMTABLE_MIN_BYTES;
    k.table_bytes = 16384;
    k.level0_tables = 2;
    k.level_bytes = 16384;
    k.level_factor = 3;
    k.block_bytes = 1024;
    const option_set base = {"small", k, 262144, 65536, 262144, false, true};
    option_set sets[32];
    size_t n = 0;
#define SET(text, ...)                   \
    do {                                 \
        option_set *s = &sets[n++];      \
        *s = base;                       \
        s->name = text;                  \
        __VA_ARGS__;                     \
    } while (0)
    SET("small", (void)0);
    SET("as it comes", s->keyspace = FC_KEYSPACE_OPTIONS);
    SET("never opened again", s->reopens = false);
    SET("large memtables", s->keyspace.memtable_bytes = 1 << 20);
    SET("two memtables", s->keyspace.memtables_max = 2);
    SET("eight memtables", s->keyspace.memtables_max = 8);
    SET("smallest blocks", s->keyspace.block_bytes = FC_TABLE_BLOCK_MIN);
    SET("large blocks", s->keyspace.block_bytes = 65536);
    SET("every key written out", s->keyspace.restart_interval = 1);
    SET("restarts far apart", s->keyspace.restart_interval = 128);
    SET("no filter", s->keyspace.filter_bits = 0);
    SET("a filter of 2 bits", s->keyspace.filter_bits = 2);
    SET("lz4", s->keyspace.codec = FC_CODEC_LZ4);
    SET("zstd", s->keyspace.codec = FC_CODEC_ZSTD);
    SET("tiny tables", s->keyspace.table_bytes = 4096);
    SET("large tables", s->keyspace.table_bytes = 1 << 20);
    SET("tall tree", s->keyspace.level_factor = 2, s->keyspace.level_bytes = 4096, s->keyspace.table_bytes = 4096);
    SET("flat tree", s->keyspace.level_factor = 100);
    SET("level 0 of one", s->keyspace.level0_tables = 1);
    SET("level 0 of twelve", s->keyspace.level0_tables = 12);
    SET("hardly a cache", s->cache_bytes = 65536);
    SET("large cache", s->cache_bytes = 16 << 20);
    SET("small segments of the log", s->log_segment_bytes = 32768, s->log_bytes_max = 65536);
    SET("large segments of the log", s->log_segment_bytes = 1 << 20, s->log_bytes_max = 8 << 20);
    SET("threads", s->threaded = true);
    SET("threads, never opened again", s->threaded = true, s->reopens = false);
    SET("threads, lz4, no filter", s->threaded = true, s->keyspace.codec = FC_CODEC_LZ4, s->keyspace.filter_bits = 0);
    SET("threads, two memtables, tiny tables", s->threaded = true, s->keyspace.memtables_max = 2,
        s->keyspace.table_bytes = 4096);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t first = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t trace = run(&sets[i], seed, seed * 100 + i);
            if (i == 0)
                first = trace;
            CHECK(trace == first);
        }
    }
    printf("store_options: %zu sets of options\n", n);
    return check_done("store_options");
}
