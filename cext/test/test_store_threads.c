/* Writers, readers, flushes, compactions, keyspaces coming and going at once: batches stay whole, numbers only grow. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/store.h"

#define WRITERS 3
#define READERS 2
#define ROUNDS 1500
#define PADDING 400
#define COPIES 4

static const char *const copy_names[COPIES] = {"copy0", "copy1", "copy2", "copy3"};

typedef struct world {
    fc_store *store;
    uint32_t second;
    uint32_t running; /* writers */
} world;

typedef struct actor {
    world *w;
    unsigned number;
    uint64_t wrong, done;
    uint64_t acked; /* a value that is durable */
    unsigned copies;
} actor;

static fc_store_options options(void)
{
    fc_store_options o = FC_STORE_OPTIONS;
    o.cache_bytes = 1 << 20;
    o.log.segment_bytes = 1 << 20;
    o.log.record_bytes_max = 65536;
    o.log.buffer_bytes_max = 131072;
    o.log_bytes_max = 4 << 20;
    o.defaults.memtable_bytes = 131072;
    o.defaults.table_bytes = 32768;
    o.defaults.level_bytes = 131072;
    o.defaults.level0_tables = 2;
    o.defaults.level_factor = 3;
    return o;
}

static fc_slice key_of(unsigned writer, uint64_t round, char out[16])
{
    memset(out, 0, 16);
    out[0] = (char)('a' + writer);
    fc_put64(out + 1, round);
    return (fc_slice){out, 9};
}

static int write_whole(fc_store *s, const fc_batch *b, fc_write_result *result)
{
    int error;
    while ((error = fc_store_write(s, b, 0, result)) == FC_STORE_EBUSY)
        if ((error = fc_store_wait_room(s, 10000000000ull)) < 0)
            return error;
    return error;
}

/* The newest round under "a", "b"... in both keyspaces, and every round under a key of its own in one. */
static void *write_rounds(void *ctx)
{
    actor *a = ctx;
    world *w = a->w;
    fc_batch b = {0};
    fc_write_result result;
    char value[PADDING + 8] = {0}, name = (char)('a' + a->number), text[16];
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        fc_put64(value, i);
        fc_batch_clear(&b);
        fc_batch_put(&b, 0, (fc_slice){&name, 1}, (fc_slice){value, sizeof value}, 0);
        fc_batch_put(&b, w->second, (fc_slice){&name, 1}, (fc_slice){value, sizeof value}, 0);
        fc_batch_put(&b, w->second, key_of(a->number, i, text), (fc_slice){value, 8}, 0);
        int error = write_whole(w->store, &b, &result);
        a->wrong += error != 0;
        if (error == 0 && i % 64 == 0 && fc_wal_wait(fc_store_log(w->store), result.pos) == 0)
            a->acked = i;
        if (error < 0)
            break;
    }
    fc_batch_free(&b);
    __atomic_sub_fetch(&w->running, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

static uint64_t read_round(fc_store *s, uint32_t keyspace, const fc_snapshot *snapshot, char name)
{
    fc_read r;
    fc_value v;
    uint64_t round = 0;
    if (fc_read_begin(s, keyspace, snapshot, &r) < 0)
        return UINT64_MAX;
    int answer = fc_read_get(&r, (fc_slice){&name, 1}, false, &v);
    if (answer == 1) {
        round = fc_get64(v.value.p);
        fc_value_release(&v);
    }
    fc_read_end(&r);
    return answer < 0 ? UINT64_MAX : round;
}

/* How many of a writer's rounds there are; UINT64_MAX when one is missing between two. */
static uint64_t count_rounds(const world *w, const fc_snapshot *snapshot, unsigned writer)
{
    char low[16], high[16];
    fc_scan_options o = {snapshot, true, true, key_of(writer, 0, low), {high, 1}, true, 0};
    fc_scan *scan;
    uint64_t n = 0;
    high[0] = (char)('a' + writer + 1);
    if (fc_scan_open(w->store, w->second, &o, &scan) < 0)
        return UINT64_MAX;
    fc_view *v = fc_scan_view(scan);
    for (fc_view_first(v); v->valid; fc_view_next(v))
        n++;
    n = v->error < 0 ? UINT64_MAX : n;
    fc_scan_close(scan);
    return n;
}

static void *read_rounds(void *ctx)
{
    actor *a = ctx;
    const world *w = a->w;
    uint64_t before[WRITERS] = {0};
    while (__atomic_load_n(&w->running, __ATOMIC_ACQUIRE) > 0) {
        fc_snapshot *snapshot = fc_store_snapshot(w->store);
        for (unsigned i = 0; i < WRITERS; i++) {
            uint64_t one = read_round(w->store, 0, snapshot, (char)('a' + i));
            uint64_t two = read_round(w->store, w->second, snapshot, (char)('a' + i));
            a->wrong += one != two || one < before[i];
            before[i] = one;
            if (a->done % 16 == 0)
                a->wrong += count_rounds(w, snapshot, i) != one;
        }
        fc_snapshot_release(snapshot);
        a->done++;
    }
    return NULL;
}

/* Keyspaces come, are written to and go, everything is flushed and copied now and then. */
static void *disturb(void *ctx)
{
    actor *a = ctx;
    fc_store *s = a->w->store;
    fc_batch b = {0};
    fc_write_result result;
    do {
        uint32_t id = 0;
        a->wrong += fc_store_keyspace(s, (fc_slice){"passing", 7}, NULL, true, &id) != 0;
        fc_batch_clear(&b);
        for (unsigned i = 0; i < 100; i++) {
            char text[16];
            fc_batch_put(&b, id, key_of(i, i, text), (fc_slice){text, 9}, 0);
        }
        a->wrong += write_whole(s, &b, &result) != 0;
        a->wrong += fc_store_flush(s, a->done % 3 ? id : 0) != 0;
        if (a->done % 4 == 0)
            a->wrong += fc_store_compact(s, a->done % 8 ? id : 0, (fc_slice){"b", 1}, (fc_slice){"", 0}) != 0;
        a->wrong += fc_store_drop(s, id) != 0 || read_round(s, id, NULL, 'a') != UINT64_MAX;
        if (a->done++ % 2 == 0 && a->copies < COPIES)
            a->wrong += fc_store_checkpoint(s, copy_names[a->copies++]) != 0;
    } while (__atomic_load_n(&a->w->running, __ATOMIC_ACQUIRE) > 0);
    fc_batch_free(&b);
    return NULL;
}

static void check_after(fc_disk *disk, const actor *writers, bool crashed)
{
    fc_store_options o = options();
    fc_store *s = NULL;
    uint32_t second = 0;
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    if (s == NULL)
        return;
    CHECK(fc_store_keyspace(s, (fc_slice){"second", 6}, NULL, false, &second) == 0);
    world w = {s, second, 0};
    for (unsigned i = 0; i < WRITERS; i++) {
        uint64_t one = read_round(s, 0, NULL, (char)('a' + i));
        CHECK(one == read_round(s, second, NULL, (char)('a' + i)) && count_rounds(&w, NULL, i) == one);
        CHECK(crashed ? one >= writers[i].acked && one <= ROUNDS : one == ROUNDS);
    }
    CHECK(fc_store_close(s) == 0);
}

/* Each is the store between two writes: no half batches, no round without the ones before. */
static void check_copies(fc_disk *disk, unsigned n)
{
    fc_store_options o = options();
    for (unsigned i = 0; i < n; i++) {
        fc_disk *inner;
        world w = {0};
        CHECK(fc_disk_folder(disk, copy_names[i], &inner) == 0 && fc_store_open(inner, &o, NULL, &w.store) == 0);
        CHECK(fc_store_keyspace(w.store, (fc_slice){"second", 6}, NULL, false, &w.second) == 0);
        for (unsigned k = 0; k < WRITERS; k++) {
            uint64_t one = read_round(w.store, 0, NULL, (char)('a' + k));
            CHECK(one == read_round(w.store, w.second, NULL, (char)('a' + k)) && count_rounds(&w, NULL, k) == one);
        }
        CHECK(fc_store_close(w.store) == 0);
        fc_disk_close(inner);
    }
}

static void test_all_at_once(uint64_t crash_at)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .crash_at = crash_at});
    fc_store_options o = options();
    world w = {.running = WRITERS};
    actor actors[WRITERS + READERS + 1];
    pthread_t threads[WRITERS + READERS + 1];
    CHECK(fc_store_open(disk, &o, NULL, &w.store) == 0);
    CHECK(fc_store_keyspace(w.store, (fc_slice){"second", 6}, NULL, true, &w.second) == 0);
    for (unsigned i = 0; i < FC_ARRAY_LEN(actors); i++) {
        actors[i] = (actor){.w = &w, .number = i};
        pthread_create(&threads[i], NULL, i < WRITERS ? write_rounds : i < WRITERS + READERS ? read_rounds : disturb,
                       &actors[i]);
    }
    for (unsigned i = 0; i < FC_ARRAY_LEN(actors); i++) {
        pthread_join(threads[i], NULL);
        bool reader = i >= WRITERS && i < WRITERS + READERS;
        CHECK(crash_at ? !reader || actors[i].wrong == 0 || fc_disk_sim_off(disk) : actors[i].wrong == 0);
    }
    fc_keyspace_stats stats;
    CHECK(fc_store_get_keyspace_stats(w.store, 0, &stats) == 0 && (crash_at || stats.flushes > 5));
    CHECK((fc_store_close(w.store) < 0) == (crash_at != 0));
    if (crash_at)
        CHECK(fc_disk_sim_crash(disk) == 0);
    check_after(disk, actors, crash_at != 0);
    if (!crash_at)
        check_copies(disk, actors[WRITERS + READERS].copies);
    fc_disk_close(disk);
}

int main(void)
{
    test_all_at_once(0);
    for (uint64_t at = 60; at < 600; at += 130)
        test_all_at_once(at);
    return check_done("store threads");
}
