/* store_repair_model.h - a store with a known history on a simulated disk, to be damaged: what may be read of each key
 * afterwards. */
#ifndef FC_TEST_STORE_REPAIR_MODEL_H
#define FC_TEST_STORE_REPAIR_MODEL_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/hash.h"
#include "fc/store_check.h"

#define KEYS 150u
#define SPACES 2u
#define ROUNDS_MAX 16

/* Of each key its values by round: 0 nothing was done, else what it was from then on; GONE deleted. */
#define GONE UINT32_MAX
typedef struct model {
    uint32_t by_round[SPACES][KEYS][ROUNDS_MAX];
    uint32_t under[SPACES][KEYS][ROUNDS_MAX]; /* what a range deletion of the same round has deleted */
    unsigned rounds;
    uint64_t last_version;
    uint32_t other; /* id of the second keyspace */
    bool covered[SPACES][KEYS]; /* by a loss that repair told of */
} model;

static inline fc_slice key_of(unsigned i, char out[24])
{
    return (fc_slice){out, (size_t)snprintf(out, 24, "key/%06u", i)};
}

static inline size_t value_of(uint32_t n, char out[120])
{
    memset(out, 'a' + n % 26, 120);
    return (size_t)snprintf(out, 16, "%010u", n) + n % 100;
}

static uint64_t segment_bytes = 8192; /* of the log: small ones are given back as tables are made */

static inline fc_store_options small_store(void)
{
    fc_store_options o = FC_STORE_OPTIONS;
    o.threaded = false;
    o.seed = 5;
    o.cache_bytes = FC_BLOCK_CACHE_MIN_BYTES;
    o.log.segment_bytes = segment_bytes;
    o.log.record_bytes_max = 4096;
    o.log.buffer_bytes_max = 65536;
    o.log.ballast = false;
    o.log.threaded = false;
    o.defaults.memtable_bytes = 256u << 10;
    o.defaults.table_bytes = 8192;
    o.defaults.block_bytes = FC_TABLE_BLOCK_MIN;
    return o;
}

static inline uint32_t space_of(const model *m, unsigned s) { return s == 0 ? 0 : m->other; }

static inline fc_store *open_store(fc_disk *disk, model *m)
{
    fc_store_options o = small_store();
    fc_store *store = NULL;
    fc_damage damage;
    int error = fc_store_open(disk, &o, &damage, &store);
    if (error < 0) {
        printf("open: %s (%s, %s)\n", fc_store_strerror(error), damage.name, damage.what ? damage.what : "");
        CHECK(error == 0);
        return NULL;
    }
    /* its name may have been lost with the manifest */
    if (fc_store_keyspace(store, (fc_slice){"recovered-1", 11}, NULL, false, &m->other) < 0)
        CHECK(fc_store_keyspace(store, (fc_slice){"other", 5}, NULL, true, &m->other) == 0);
    return store;
}

static inline void write_out(fc_store *s, model *m, fc_batch *b)
{
    fc_write_result result;
    CHECK(b->error == 0 && fc_store_write(s, b, 0, &result) == 0);
    CHECK(fc_wal_wait(fc_store_log(s), result.pos) == 0);
    CHECK(result.version > m->last_version);
    m->last_version = result.version + b->operations - 1;
    fc_batch_clear(b);
}

/* Every key with this chance in four is written, some are deleted; one range deletion. */
static inline void play_round(fc_store *s, model *m, unsigned chance_in_4, uint64_t *chance)
{
    fc_batch b = {0};
    unsigned round = m->rounds++;
    for (unsigned space = 0; space < SPACES; space++) {
        unsigned from = (unsigned)(fc_hash_next(chance) % KEYS), to = from + 5 < KEYS ? from + 5 : KEYS;
        char k[24], k2[24], value[120];
        for (unsigned i = 0; i < KEYS; i++) {
            uint32_t *now = &m->by_round[space][i][round];
            uint64_t draw = fc_hash_next(chance);
            *now = round ? m->by_round[space][i][round - 1] : GONE;
            if (draw % 4 >= chance_in_4)
                continue;
            *now = draw % 32 == 0 ? GONE : round * 1000 + i + 1;
            if (*now == GONE)
                fc_batch_delete(&b, space_of(m, space), key_of(i, k));
            else
                fc_batch_put(&b, space_of(m, space), key_of(i, k), (fc_slice){value, value_of(*now, value)}, 0);
            if (b.operations >= 10)
                write_out(s, m, &b);
        }
        if (round > 0) {
            fc_batch_delete_range(&b, space_of(m, space), key_of(from, k), key_of(to, k2));
            for (unsigned i = from; i < to; i++) {
                m->under[space][i][round] = m->by_round[space][i][round];
                m->by_round[space][i][round] = GONE;
            }
        }
        if (b.operations)
            write_out(s, m, &b);
    }
    fc_batch_free(&b);
}

static inline bool is_value(uint32_t n, int found, fc_slice v)
{
    char value[120];
    return n == GONE ? found == 0 : found == 1 && v.n == value_of(n, value) && memcmp(v.p, value, v.n) == 0;
}

/* What is read of a key: the round it is of (the newest that has this value), ROUNDS_MAX: what that round deleted
 * again, -1: of none. */
static inline int round_of(fc_store *s, const model *m, unsigned space, unsigned i)
{
    char k[24];
    fc_read r;
    fc_value v;
    int round = -1;
    CHECK(fc_read_begin(s, space_of(m, space), NULL, &r) == 0);
    int found = fc_read_get(&r, key_of(i, k), false, &v);
    CHECK(found >= 0);
    for (int at = (int)m->rounds - 1; at >= 0 && round < 0; at--) {
        if (is_value(m->by_round[space][i][at], found, v.value))
            round = at;
        else if (m->under[space][i][at] && is_value(m->under[space][i][at], found, v.value))
            round = ROUNDS_MAX;
    }
    if (round < 0 && found == 0)
        round = 0; /* never written, or all of it lost */
    if (found == 1)
        fc_value_release(&v);
    fc_read_end(&r);
    return round;
}

/* How many keys do not have their newest value; none has one that it never had, and all are in what was told lost. */
static inline unsigned behind(fc_store *s, const model *m)
{
    unsigned n = 0;
    for (unsigned space = 0; space < SPACES; space++)
        for (unsigned i = 0; i < KEYS; i++) {
            int round = round_of(s, m, space, i);
            CHECK(round >= 0);
            bool old = round == ROUNDS_MAX ||
                       (round >= 0 && m->by_round[space][i][round] != m->by_round[space][i][m->rounds - 1]);
            CHECK(!old || m->covered[space][i]);
            n += old;
        }
    return n;
}

/* --- checking and repairing ------------------------------------------------------------------------------------- */

static inline fc_store_check_report check_store(fc_disk *disk)
{
    fc_store_check_report report = {0};
    fc_store_check *c;
    int answer = fc_store_check_open(disk, &c);
    CHECK(answer == 0);
    if (answer < 0)
        return report;
    while ((answer = fc_store_check_step(c)) == 1)
        ;
    CHECK(answer == 0);
    fc_store_check_get_report(c, &report);
    CHECK(report.bytes_done == report.bytes);
    fc_store_check_close(c);
    return report;
}

static inline bool is_sound(const fc_store_check_report *r) { return r->damages + r->missing + r->unreadable == 0; }

static inline void note_losses(const fc_store_repair *r, model *m)
{
    const fc_store_loss *l;
    size_t n = fc_store_repair_losses(r, &l);
    for (size_t at = 0; at < n; at++)
        for (unsigned space = 0; space < SPACES; space++)
            for (unsigned i = 0; i < KEYS; i++) {
                char k[24];
                fc_slice key = key_of(i, k);
                if ((!l[at].keyspace_known || l[at].keyspace == space_of(m, space)) &&
                    (!l[at].from_known || fc_key_compare(l[at].from, key) <= 0) &&
                    (!l[at].to_known || fc_key_compare(key, l[at].to) <= 0))
                    m->covered[space][i] = true;
            }
}

/* 0, or the error; *report is the repair's. */
static inline int repair_store(fc_disk *disk, model *m, fc_store_repair_report *report)
{
    fc_store_repair *r;
    *report = (fc_store_repair_report){0};
    int answer = fc_store_repair_open(disk, &r);
    if (answer < 0)
        return answer;
    while ((answer = fc_store_repair_step(r)) == 1)
        ;
    fc_store_repair_get_report(r, report);
    if (m)
        note_losses(r, m);
    fc_store_repair_close(r);
    return answer;
}

#endif
