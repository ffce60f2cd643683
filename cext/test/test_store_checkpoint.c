/* Checkpoints: the store at one moment, whole or not there, while the store goes on. */
#include <errno.h>
#include <stdio.h>

#include "check.h"
#include "fc/store.h"
#include "store_model.h"

static void write_random(fc_store *s, model *m, uint64_t *chance, unsigned times)
{
    fc_write_result result;
    for (unsigned i = 0; i < times; i++) {
        fc_batch b = {0};
        model next = *m;
        for (unsigned n = 0; n < 3; n++)
            model_operation(&next, chance, test_now, &b, true);
        int error = write_all(s, &b, &result);
        fc_batch_free(&b);
        if (error < 0)
            return;
        *m = next;
        fc_store_step(s);
    }
}

static bool holds_model(fc_disk *disk, const char *folder, const model *m, uint64_t seed)
{
    fc_disk *inner;
    fc_store *s = NULL;
    fc_damage damage;
    fc_store_options o = small(seed);
    o.create = false;
    if (fc_disk_folder(disk, folder, &inner) < 0)
        return false;
    bool same = fc_store_open(inner, &o, &damage, &s) == 0 && model_same(s, m, NULL, test_now);
    fc_store_stats stats = {0};
    if (s) {
        fc_store_get_stats(s, &stats);
        same = stats.last_seq == m->seq && fc_store_close(s) == 0 && same;
    }
    fc_disk_close(inner);
    return same;
}

static void test_checkpoint(uint64_t seed)
{
    uint64_t chance = seed;
    model m = {0}, old;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
    fc_store_options o = small(seed);
    fc_store *s = opened(disk, &o);
    test_now = 1000;
    write_random(s, &m, &chance, 150);
    CHECK(fc_store_checkpoint(s, "") == -EINVAL && fc_store_checkpoint(s, "a/b") == -EINVAL);
    CHECK(fc_store_checkpoint(s, "LOCK") == FC_STORE_EEXISTS);
    CHECK(fc_store_checkpoint(s, "one") == 0 && fc_store_checkpoint(s, "one") == FC_STORE_EEXISTS);
    old = m;
    write_random(s, &m, &chance, 150);
    CHECK(fc_store_checkpoint(s, "two") == 0);
    CHECK(holds_model(disk, "one", &old, seed) && holds_model(disk, "two", &m, seed + 1));
    CHECK(model_same(s, &m, NULL, test_now));
    old = m;
    write_random(s, &m, &chance, 50);
    CHECK(fc_store_close(s) == 0 && fc_disk_sim_crash(disk) == 0);
    CHECK(holds_model(disk, "two", &old, seed)); /* it was durable */
    fc_disk_close(disk);
}

static bool is_name(fc_disk *disk, const char *name)
{
    fc_file *f;
    int error = fc_disk_file(disk, name, FC_FILE_READ, &f);
    if (error == 0)
        fc_file_close(f);
    return error != -ENOENT;
}

/* Power lost at every step of one. */
static void test_power(void)
{
    unsigned whole = 0, gone = 0;
    for (uint64_t seed = 1; seed <= 4; seed++)
        for (uint64_t at = seed; at < 160; at += 2) {
            uint64_t chance = seed;
            model m = {0};
            fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed + at});
            fc_store_options o = small(seed);
            fc_store *s = opened(disk, &o);
            test_now = 1000;
            write_random(s, &m, &chance, 60);
            CHECK(fc_wal_wait(fc_store_log(s), fc_wal_end(fc_store_log(s))) == 0);
            fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed * at, .crash_at = at});
            int error = fc_store_checkpoint(s, "copy");
            CHECK(error == 0 || (fc_disk_sim_off(disk) && error < 0));
            fc_store_close(s);
            CHECK(fc_disk_sim_crash(disk) == 0);
            s = opened(disk, &o);
            CHECK(s && model_same(s, &m, NULL, test_now));
            CHECK(!is_name(disk, "copy.new")); /* opening has tidied up */
            bool there = is_name(disk, "copy");
            CHECK(error < 0 || there);
            CHECK(!there || holds_model(disk, "copy", &m, seed));
            CHECK(fc_store_checkpoint(s, "again") == 0 && holds_model(disk, "again", &m, seed));
            CHECK(s && fc_store_close(s) == 0);
            whole += there;
            gone += !there;
            fc_disk_close(disk);
        }
    CHECK(whole > 20 && gone > 20);
}

/* What failed leaves nothing behind, and the store goes on. */
static void test_full_disk(void)
{
    uint64_t chance = 1;
    model m = {0};
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_store_options o = small(1);
    fc_store *s = opened(disk, &o);
    test_now = 1000;
    write_random(s, &m, &chance, 60);
    CHECK(fc_store_flush(s, 0) == 0 && fc_store_flush(s, 1) == 0);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .capacity = 1});
    CHECK(fc_store_checkpoint(s, "copy") == -ENOSPC && !is_name(disk, "copy") && !is_name(disk, "copy.new"));
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    CHECK(fc_store_checkpoint(s, "copy") == 0 && holds_model(disk, "copy", &m, 1));
    CHECK(fc_store_error(s) == 0 && fc_store_close(s) == 0);
    fc_disk_close(disk);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        test_checkpoint(seed);
    test_power();
    test_full_disk();
    return check_done("store checkpoint");
}
