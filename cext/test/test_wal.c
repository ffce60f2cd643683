/* The log against a list of what was appended: on a disk that loses power at every step, fails, fills up and rots. */
#include "fc/wal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <stdio.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/hash.h"

#define RECORDS_MAX 400

typedef struct model {
    uint64_t pos[RECORDS_MAX];
    uint32_t length[RECORDS_MAX];
    size_t n;        /* appended */
    size_t first;    /* asked to be truncated before */
    uint64_t durable;
} model;

static fc_wal_options small(void)
{
    fc_wal_options o = FC_WAL_OPTIONS;
    o.segment_bytes = 4096;
    o.record_bytes_max = 1500;
    o.buffer_bytes_max = 16384;
    o.threaded = false;
    return o;
}

static void payload(char *out, size_t i, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        out[k] = (char)(i * 31 + k * 7);
}

static int append(fc_wal *w, model *m, uint32_t n)
{
    char bytes[1500];
    payload(bytes, m->n, n);
    fc_slice pieces[2] = {{bytes, n / 3}, {bytes + n / 3, n - n / 3}};
    int error = fc_wal_append(w, (uint8_t)(1 + m->n % 200), pieces, 2, false, &m->pos[m->n]);
    if (error == 0)
        m->length[m->n++] = n;
    return error;
}

/* Some appends, steps and truncations, until the disk gives up or `turns` are done. */
static void work(fc_wal *w, model *m, uint64_t *chance, int turns)
{
    for (int i = 0; i < turns && m->n < RECORDS_MAX; i++) {
        uint64_t draw = fc_hash_next(chance);
        if (draw % 4 != 0) {
            append(w, m, (uint32_t)(draw >> 8) % 900);
        } else if (fc_wal_step(w) < 0) {
            break;
        }
        m->durable = fc_wal_durable(w);
        if (draw % 64 == 3 && m->n > 8) {
            size_t first = m->n - 8;
            if (m->pos[first] <= m->durable && first > m->first) {
                fc_wal_truncate_before(w, m->pos[first]);
                m->first = first;
            }
        }
    }
    m->durable = fc_wal_durable(w);
}

/* Every durable record from m->first on is there, in order and whole, and nothing that was not appended; those that were not
 * durable may be there, from the first on without a gap. Records appended later take up where the log ends. */
static void compare(fc_wal *w, model *m)
{
    fc_wal_reader *r;
    fc_wal_record record;
    size_t i = 0;
    char bytes[1500];
    int answer;
    CHECK(fc_wal_reader_open(w, 0, &r) == 0);
    bool begun = false;
    while ((answer = fc_wal_reader_next(r, &record)) == 1) {
        if (!begun) {
            while (i < m->n && m->pos[i] != record.pos)
                i++;
            CHECK(i <= m->first + 1);
            begun = true;
        }
        CHECK(i < m->n && m->pos[i] == record.pos && m->length[i] == record.payload.n);
        if (i >= m->n)
            break;
        payload(bytes, i, m->length[i]);
        CHECK(record.type == 1 + i % 200 && memcmp(bytes, record.payload.p, record.payload.n) == 0);
        i++;
    }
    CHECK(answer == 0);
    fc_wal_reader_close(r);
    CHECK(begun || m->n == 0 || m->pos[0] > m->durable);
    CHECK(i == m->n || m->pos[i] > m->durable);
    m->n = i;
}

static void test_crash_at_every_step(void)
{
    fc_wal_options options = small();
    for (uint64_t seed = 1; seed <= 40; seed++) {
        for (uint64_t at = 1;; at++) {
            fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed, .crash_at = at});
            model m = {0};
            uint64_t chance = seed * 1000 + at;
            fc_wal *w;
            if (fc_wal_open(disk, &options, &w) == 0) {
                work(w, &m, &chance, 60);
                fc_wal_close(w);
            }
            bool crashed = fc_disk_sim_off(disk);
            for (int life = 0; life < 3; life++) { /* a second and third crash soon after the first */
                CHECK(fc_disk_sim_crash(disk) == 0);
                int error = fc_wal_open(disk, &options, &w);
                CHECK(error == 0);
                if (error < 0) {
                    fprintf(stderr, "seed %lu step %lu life %d: %s\n", (unsigned long)seed, (unsigned long)at, life,
                            fc_wal_strerror(error));
                    break;
                }
                compare(w, &m);
                work(w, &m, &chance, 20);
                fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = chance, .crash_at = 1 + chance % 8});
                work(w, &m, &chance, 20);
                fc_wal_close(w);
            }
            fc_disk_close(disk);
            if (!crashed)
                break;
            if (at > 30)
                at += seed % 5; /* every step early on, a sample of the rest: another one for each seed */
        }
    }
}

/* A bit anywhere in what had been durable: never another record, never one left out in silence. */
static void test_flipped_bits(void)
{
    fc_wal_options options = small();
    unsigned reported = 0, tail = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
        model m = {0};
        uint64_t chance = seed;
        fc_wal *w;
        CHECK(fc_wal_open(disk, &options, &w) == 0);
        for (int i = 0; i < 12; i++) {
            append(w, &m, (uint32_t)(fc_hash_next(&chance) % 900));
            fc_wal_step(w);
        }
        uint64_t last = m.pos[m.n - 2]; /* the last batch cannot be told from one that was torn */
        m.durable = fc_wal_durable(w);
        fc_wal_close(w);
        uint64_t where = fc_hash_next(&chance) % last;
        char name[24];
        snprintf(name, sizeof name, "%016llx.wal", (unsigned long long)(where / 4096 * 4096));
        CHECK(fc_disk_sim_flip(disk, name, where % 4096 * 8 + seed % 8) == 0);
        int error = fc_wal_open(disk, &options, &w);
        if (error == FC_WAL_ECORRUPT) {
            fc_wal_report report;
            fc_wal_get_report(w, &report);
            CHECK(strcmp(report.corrupt_name, name) == 0 && report.corrupt_offset <= where % 4096);
            reported++;
        } else {
            CHECK(error == 0);
            compare(w, &m); /* padding between records: nothing was lost */
            tail++;
        }
        fc_wal_close(w);
        fc_disk_close(disk);
    }
    CHECK(reported > 300);
    CHECK(tail < 100);
}

static void test_sticky_failure(void)
{
    fc_wal_options options = small();
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 3});
    model m = {0};
    fc_wal *w;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    CHECK(append(w, &m, 100) == 0);
    while (fc_wal_durable(w) < m.pos[0])
        CHECK(fc_wal_step(w) > 0);
    uint64_t durable = fc_wal_durable(w);
    CHECK(append(w, &m, 100) == 0);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 3, .sync_fail_ppm = 1000000});
    CHECK(fc_wal_step(w) == -EIO);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 3});
    CHECK(append(w, &m, 100) == -EIO);
    CHECK(fc_wal_step(w) == -EIO && fc_wal_error(w) == -EIO);
    CHECK(fc_wal_wait(w, m.pos[1]) == -EIO && fc_wal_wait(w, m.pos[0]) == 0);
    CHECK(fc_wal_durable(w) == durable);
    CHECK(fc_wal_close(w) == -EIO);
    fc_disk_close(disk);
}

/* A full disk takes deletions, gives room back, and goes on. */
static void test_full_disk(void)
{
    fc_wal_options options = small();
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 3, .capacity = 6 * 4096});
    model m = {0};
    fc_wal *w;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    int error = 0;
    for (int i = 0; i < 100 && error == 0; i++) {
        error = append(w, &m, 800);
        for (int k = 0; k < 4; k++)
            fc_wal_step(w);
    }
    CHECK(error == -ENOSPC);
    CHECK(fc_wal_error(w) == 0);
    fc_wal_pos pos;
    CHECK(fc_wal_append(w, 7, &(fc_slice){"gone", 4}, 1, true, &pos) == 0);
    while (fc_wal_durable(w) < pos)
        CHECK(fc_wal_step(w) > 0);
    fc_wal_truncate_before(w, pos);
    for (int k = 0; k < 12; k++)
        fc_wal_step(w);
    CHECK(append(w, &m, 800) == 0);
    CHECK(fc_wal_close(w) == 0);
    fc_disk_close(disk);
}

static void test_bounds(void)
{
    fc_wal_options options = small();
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 3});
    fc_wal *w;
    fc_wal_pos pos;
    static char big[4096];
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    CHECK(fc_wal_append(w, 1, &(fc_slice){big, 1501}, 1, false, &pos) == FC_WAL_ELARGE);
    CHECK(fc_wal_append(w, 0, &(fc_slice){big, 1}, 1, false, &pos) == -EINVAL);
    CHECK(fc_wal_append(w, 255, &(fc_slice){big, 1}, 1, false, &pos) == -EINVAL);
    int error = 0;
    for (int i = 0; i < 100 && error == 0; i++)
        error = fc_wal_append(w, 1, &(fc_slice){big, 1500}, 1, false, &pos);
    CHECK(error == FC_WAL_EFULL);
    CHECK(fc_wal_step(w) == 1);
    CHECK(fc_wal_append(w, 1, &(fc_slice){big, 1500}, 1, false, &pos) == 0);
    CHECK(fc_wal_append(w, 1, NULL, 0, false, &pos) == 0);
    fc_wal_close(w);
    options.record_bytes_max = 4000;
    CHECK(fc_wal_open(disk, &options, &w) == -EINVAL);
    fc_disk_close(disk);
}

/* --- with its threads, on a real disk ----------------------------------------------------------------------------------- */

typedef struct appender {
    fc_wal *log;
    int n;
    bool right;
} appender;

static void *append_and_wait(void *ctx)
{
    appender *a = ctx;
    a->right = true;
    fc_wal_pos last = 0;
    for (int i = 0; i < a->n; i++) {
        fc_wal_pos pos;
        int error = fc_wal_append(a->log, 1, &(fc_slice){"some payload", 12}, 1, false, &pos);
        a->right &= error == 0 && pos > last && fc_wal_wait(a->log, pos) == 0 && fc_wal_durable(a->log) >= pos;
        last = pos;
    }
    return NULL;
}

static void test_threads(void)
{
    char path[] = "/tmp/fc-wal-XXXXXX";
    fc_disk *disk;
    fc_wal *w;
    fc_wal_options options = small();
    options.segment_bytes = 65536;
    options.threaded = true;
    if (mkdtemp(path) == NULL || fc_disk_open(path, false, &disk) != 0 || fc_wal_open(disk, &options, &w) != 0) {
        CHECK(!"a log in /tmp");
        return;
    }
    enum { THREADS = 8, EACH = 200 };
    pthread_t threads[THREADS];
    appender appenders[THREADS];
    for (int i = 0; i < THREADS; i++) {
        appenders[i] = (appender){w, EACH, false};
        pthread_create(&threads[i], NULL, append_and_wait, &appenders[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(appenders[i].right);
    }
    fc_wal_report report;
    fc_wal_get_report(w, &report);
    CHECK(report.appends == THREADS * EACH && report.batches < report.appends);
    CHECK(fc_wal_close(w) == 0);
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_get_report(w, &report);
    CHECK(report.records == THREADS * EACH && report.torn_bytes == 0);
    fc_wal_close(w);
    fc_disk_close(disk);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", path);
    CHECK(system(command) == 0);
}

int main(void)
{
    test_bounds();
    test_sticky_failure();
    test_full_disk();
    test_flipped_bits();
    test_threads();
    test_crash_at_every_step();
    return check_done("test_wal");
}
