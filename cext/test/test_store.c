/* The store against a model: random operations, snapshots, closing and opening, power lost. */
#include "fc/store.h"

#include <errno.h>

#include "check.h"
#include "fc/hash.h"
#include "store_model.h"

static int write_some(fc_store *s, model *m, uint64_t *chance, fc_write_result *result)
{
    fc_batch b = {0};
    model next = *m;
    for (uint64_t n = 1 + fc_hash_next(chance) % 4; n > 0; n--)
        model_operation(&next, chance, test_now, &b, true);
    int error = write_all(s, &b, result);
    if (error == 0) {
        CHECK(result->version == m->seq + 1);
        *m = next;
    }
    fc_batch_free(&b);
    return error;
}

#define SNAPSHOTS 4

static uint64_t compactions;

static fc_store_options tiny(uint64_t seed)
{
    fc_store_options o = small(seed);
    o.defaults.table_bytes = 8192;
    o.defaults.level_bytes = 16384;
    o.defaults.level0_tables = 2;
    o.defaults.level_factor = 3;
    return o;
}

static void note_compactions(fc_store *s)
{
    fc_keyspace_stats stats;
    CHECK(s && fc_store_get_keyspace_stats(s, 0, &stats) == 0);
    compactions += s ? stats.compactions : 0;
}

static void test_random(uint64_t seed)
{
    uint64_t chance = seed;
    fc_store_options o = tiny(seed);
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
    fc_store *s = opened(disk, &o);
    model now = {0}, old[SNAPSHOTS];
    fc_snapshot *snapshots[SNAPSHOTS] = {NULL};
    fc_write_result result;
    test_now = 1000;
    for (int i = 0; i < 600 && s; i++) {
        uint64_t d = fc_hash_next(&chance);
        unsigned which = d % SNAPSHOTS;
        CHECK(write_some(s, &now, &chance, &result) == 0);
        test_now += (d >> 8) % 4;
        if ((d >> 16) % 4 == 0)
            CHECK(fc_store_step(s) >= 0);
        if ((d >> 20) % 16 == 0 && snapshots[which] == NULL) {
            snapshots[which] = fc_store_snapshot(s);
            CHECK(fc_snapshot_seq(snapshots[which]) == now.seq);
            old[which] = now;
        } else if ((d >> 20) % 16 == 1 && snapshots[which]) {
            CHECK(model_same(s, &old[which], snapshots[which], test_now));
            fc_snapshot_release(snapshots[which]);
            snapshots[which] = NULL;
        }
        if ((d >> 24) % 64 == 0)
            CHECK(fc_store_flush(s, d >> 40 & 1) == 0);
        if ((d >> 24) % 64 == 1) {
            char low[24], high[24];
            fc_slice end = d >> 48 & 1 ? model_key((d >> 49) % MODEL_KEYS, high) : (fc_slice){"", 0};
            CHECK(fc_store_compact(s, d >> 40 & 1, model_key((d >> 41) % MODEL_KEYS, low), end) == 0);
        }
        if ((d >> 32) % 16 == 0)
            CHECK(model_same(s, &now, NULL, test_now));
        if ((d >> 36) % 16 == 0) {
            unsigned low = (d >> 40) % MODEL_KEYS, high = low + (d >> 48) % (MODEL_KEYS - low);
            CHECK(model_same_scan(s, &now, NULL, d >> 60 & 1, test_now, low, high));
        }
        if ((d >> 28) % 100 == 0) {
            for (int k = 0; k < SNAPSHOTS; k++) {
                fc_snapshot_release(snapshots[k]);
                snapshots[k] = NULL;
            }
            note_compactions(s);
            CHECK(fc_store_close(s) == 0);
            s = opened(disk, &o);
            CHECK(s && model_same(s, &now, NULL, test_now));
        }
    }
    for (int k = 0; k < SNAPSHOTS; k++)
        fc_snapshot_release(snapshots[k]);
    note_compactions(s);
    if (s)
        CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* --- power ------------------------------------------------------------------------------------------------------ */

#define WRITES 120

/* One life up to the loss of power: states[i] is what i writes made. */
static size_t live(fc_disk *disk, const fc_store_options *o, model *states, uint64_t *chance, size_t *durable)
{
    fc_store *s = NULL;
    fc_write_result result;
    uint32_t id;
    size_t n = 0;
    *durable = 0;
    int error = fc_store_open(disk, o, NULL, &s);
    if (error == 0)
        error = fc_store_keyspace(s, (fc_slice){"second", 6}, NULL, true, &id);
    while (error == 0 && n < WRITES) {
        uint64_t d = fc_hash_next(chance);
        states[n + 1] = states[n];
        error = write_some(s, &states[n + 1], chance, &result);
        if (error < 0 && !fc_disk_sim_off(disk))
            CHECK(!"a write fails without a reason");
        n += error == 0 || fc_disk_sim_off(disk); /* what was refused may be in the log */
        if (error == 0 && d % 8 == 0) {
            error = fc_wal_wait(fc_store_log(s), result.pos);
            *durable = error == 0 ? n : *durable;
        }
        for (uint64_t k = (d >> 8) % 6; k > 0 && error == 0; k--)
            error = fc_store_step(s) < 0 ? -EIO : 0;
        if (error == 0 && (d >> 16) % 40 == 0)
            error = fc_store_flush(s, d >> 24 & 1);
    }
    if (s)
        fc_store_close(s);
    return n;
}

/* After the crash there is what one of the states was, not older than what was durable. */
static bool is_one_of(fc_disk *disk, const fc_store_options *o, model *states, size_t n, size_t durable, model *found)
{
    fc_store *s = NULL;
    uint32_t id;
    fc_damage damage;
    int error = fc_store_open(disk, o, &damage, &s);
    if (error < 0) {
        fprintf(stderr, "open: %d %s at %lu: %s\n", error, damage.name, (unsigned long)damage.offset,
                damage.what ? damage.what : "");
        return false;
    }
    if (fc_store_keyspace(s, (fc_slice){"second", 6}, NULL, true, &id) < 0)
        return false;
    bool same = false;
    for (size_t i = n + 1; i-- > durable && !same;) {
        same = model_same(s, &states[i], NULL, test_now);
        *found = states[i];
    }
    fc_store_stats stats;
    fc_store_get_stats(s, &stats);
    found->seq = stats.last_seq;
    return fc_store_close(s) == 0 && same;
}

static void test_power(void)
{
    model *states = calloc(WRITES + 2, sizeof *states);
    unsigned steps = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        uint64_t chance = seed;
        fc_store_options o = tiny(seed);
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        states[0] = (model){0};
        test_now = 1000;
        for (int life = 0; life < 4; life++) {
            size_t durable;
            uint64_t at = 1 + fc_hash_next(&chance) % 400;
            fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed + (uint64_t)life * 1000, .crash_at = at});
            size_t n = live(disk, &o, states, &chance, &durable);
            steps += fc_disk_sim_off(disk);
            CHECK(fc_disk_sim_crash(disk) == 0);
            model found;
            bool same = is_one_of(disk, &o, states, n, durable, &found);
            CHECK(same);
            if (!same) {
                fprintf(stderr, "seed %lu, life %d\n", (unsigned long)seed, life);
                break;
            }
            states[0] = found;
        }
        fc_disk_close(disk);
    }
    CHECK(steps > 300);
    free(states);
}

/* One keyspace is flushed, the other is not: the log must be durable before the table counts. */
static void test_half_a_batch(void)
{
    model states[2] = {0};
    model *m = &states[1];
    for (uint64_t seed = 1; seed <= 400; seed++) {
        fc_store_options o = tiny(seed);
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        fc_store *s = opened(disk, &o);
        fc_batch b = {0};
        fc_write_result result;
        char text[24];
        for (unsigned space = 0; space < 2; space++) {
            m->values[space][1] = (model_value){space + 1, 0, 1, 'x'};
            fc_batch_put(&b, space, model_key(1, text), (fc_slice){"x", 1}, 0);
        }
        CHECK(s && fc_store_write(s, &b, 0, &result) == 0 && fc_store_flush(s, seed & 1) == 0);
        CHECK(fc_disk_sim_crash(disk) == 0);
        fc_batch_free(&b);
        fc_store_close(s);
        model found;
        CHECK(is_one_of(disk, &o, states, 1, 1, &found));
        fc_disk_close(disk);
    }
}

int main(void)
{
    test_half_a_batch();
    for (uint64_t seed = 1; seed <= 12; seed++)
        test_random(seed);
    CHECK(compactions > 50);
    test_power();
    return check_done("store");
}
