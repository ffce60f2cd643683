/* A log looked at from outside against the log that opens: the same judgement of every damaged byte, and behind the
 * damage all records but the one that was hit. */
#include "fc/wal_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/hash.h"

#define RECORDS 70u
#define SEGMENT 4096u

static fc_wal_options small(void)
{
    fc_wal_options o = FC_WAL_OPTIONS;
    o.segment_bytes = SEGMENT;
    o.record_bytes_max = 1500;
    o.buffer_bytes_max = 16384;
    o.threaded = false;
    o.ballast = false;
    o.salt_seed = 77;
    return o;
}

static size_t length_of(unsigned i) { return 20 + i * 37 % 300; }

/* Batches of three records; the last one is whole. */
static fc_disk *make(fc_wal_pos *ends)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_options o = small();
    fc_wal *w;
    CHECK(fc_wal_open(disk, &o, &w) == 0);
    for (unsigned i = 0; i < RECORDS; i++) {
        char bytes[400];
        memset(bytes, (int)i, sizeof bytes);
        fc_slice piece = {bytes, length_of(i)};
        CHECK(fc_wal_append(w, (uint8_t)(1 + i), &piece, 1, false, &ends[i]) == 0);
        if (i % 3 == 2)
            CHECK(fc_wal_wait(w, ends[i]) == 0);
    }
    CHECK(fc_wal_close(w) == 0);
    return disk;
}

typedef struct seen {
    bool have[RECORDS];
    unsigned n, last, damages;
    bool first_ok;
    char name[24];
    uint64_t offset;
} seen;

static void damage(void *ctx, const char *name, uint64_t offset, const char *what)
{
    seen *s = ctx;
    CHECK(what != NULL);
    if (s->damages++ == 0) {
        snprintf(s->name, sizeof s->name, "%s", name);
        s->offset = offset;
    }
}

static int record(void *ctx, const fc_wal_record *r)
{
    seen *s = ctx;
    unsigned i = r->type - 1u;
    CHECK(i < RECORDS && r->payload.n == length_of(i) && r->payload.p[0] == (char)i && (s->n == 0 || i > s->last));
    s->have[i] = true;
    s->last = i;
    s->n++;
    return 0;
}

static fc_wal_scan_report scan(fc_disk *disk, fc_wal_pos after, seen *s)
{
    fc_wal_scan *w;
    int answer;
    *s = (seen){0};
    CHECK(fc_wal_scan_open(disk, &w) == 0);
    while ((answer = fc_wal_scan_step(w, damage, s)) == 1)
        ;
    CHECK(answer == 0);
    fc_wal_scan_report report = *fc_wal_scan_get_report(w);
    CHECK(report.bytes == report.bytes_done && report.damages == s->damages);
    for (size_t i = 0; i < report.segments; i++)
        CHECK(fc_wal_scan_records(w, i, after, record, s) == 0);
    fc_wal_scan_close(w);
    return report;
}

static void test_whole(void)
{
    fc_wal_pos ends[RECORDS];
    fc_disk *disk = make(ends);
    seen s;
    fc_wal_scan_report report = scan(disk, 0, &s);
    CHECK(s.damages == 0 && s.n == RECORDS && report.records == RECORDS && report.end == ends[RECORDS - 1]);
    CHECK(report.first == 0 && report.segments >= 3 && report.torn_bytes == 0);
    scan(disk, ends[9], &s);
    CHECK(s.n == RECORDS - 10 && !s.have[9] && s.have[10]);
    fc_disk_close(disk);
    disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    report = scan(disk, 0, &s);
    CHECK(report.segments == 0 && report.end == 32 && s.n == 0);
    fc_disk_close(disk);
}

/* As fc_wal_open judges: corruption at the same place, or a tail cut at the same place. */
static void test_each_byte(void)
{
    fc_wal_pos ends[RECORDS];
    fc_wal_options o = small();
    uint64_t chance = 3;
    for (uint64_t at = 0; at < 3 * SEGMENT; at += 5) {
        fc_disk *disk = make(ends);
        seen s;
        char name[24];
        snprintf(name, sizeof name, "%016llx.wal", (unsigned long long)(at / SEGMENT * SEGMENT));
        uint64_t bit = 8 * (at % SEGMENT) + fc_hash_next(&chance) % 8;
        CHECK(fc_disk_sim_flip(disk, name, bit) == 0);
        fc_wal_scan_report report = scan(disk, 0, &s);
        fc_wal *w;
        int error = fc_wal_open(disk, &o, &w);
        CHECK((error == FC_WAL_ECORRUPT) == (s.damages > 0) || error == FC_WAL_EFORMAT);
        if (error == FC_WAL_ECORRUPT) {
            fc_wal_report opened;
            fc_wal_get_report(w, &opened);
            CHECK(strcmp(opened.corrupt_name, s.name) == 0 && opened.corrupt_offset == s.offset);
            CHECK(s.n + 1 >= RECORDS || at % SEGMENT < 32);
        } else if (error == 0) {
            CHECK(fc_wal_end(w) == report.end);
        }
        if (error == 0 || error == FC_WAL_ECORRUPT)
            fc_wal_close(w);
        fc_disk_close(disk);
    }
}

static void test_hole(void)
{
    fc_wal_pos ends[RECORDS];
    fc_disk *disk = make(ends);
    seen s;
    CHECK(fc_disk_remove(disk, "0000000000001000.wal") == 0);
    fc_wal_scan_report report = scan(disk, 0, &s);
    CHECK(s.damages == 1 && s.offset == SEGMENT && s.have[0] && s.have[RECORDS - 1] && s.n < RECORDS);
    CHECK(report.end == ends[RECORDS - 1]);
    fc_disk_close(disk);
}

/* A log begun at a position goes on from there, and excludes what lies before. */
static void test_begin_at(void)
{
    fc_wal_pos ends[RECORDS], pos;
    fc_disk *disk = make(ends);
    fc_wal_options o = small();
    seen s;
    char name[24];
    fc_wal *w;
    fc_wal_pos from = (scan(disk, 0, &s).beyond + 8191) & ~(uint64_t)4095;
    CHECK(fc_wal_begin_at(disk, from + 1, 1) == -EINVAL && fc_wal_begin_at(disk, from, 1) == 0);
    CHECK(fc_wal_open(disk, &o, &w) == FC_WAL_ECORRUPT); /* a hole, until the old ones are gone */
    fc_wal_close(w);
    for (uint64_t base = 0; base < from; base += SEGMENT) {
        snprintf(name, sizeof name, "%016llx.wal", (unsigned long long)base);
        int error = fc_disk_remove(disk, name);
        CHECK(error == 0 || error == -ENOENT);
    }
    CHECK(fc_wal_open(disk, &o, &w) == 0 && fc_wal_end(w) == from + 32);
    char bytes[1400] = {0};
    for (int i = 0; i < 5; i++)
        CHECK(fc_wal_append(w, 1, &(fc_slice){bytes, sizeof bytes}, 1, false, &pos) == 0);
    CHECK(fc_wal_wait(w, pos) == 0 && pos > from + 5 * sizeof bytes);
    fc_wal_close(w);
    CHECK(fc_wal_open(disk, &o, &w) == 0 && fc_wal_end(w) == pos);
    fc_wal_close(w);
    fc_disk_close(disk);
}

int main(void)
{
    test_whole();
    test_each_byte();
    test_hole();
    test_begin_at();
    return check_done("wal_scan");
}
