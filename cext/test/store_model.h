/* store_model.h - small stores for tests, and what one must hold: random operations on a few keys in two keyspaces. */
#ifndef FC_TEST_STORE_MODEL_H
#define FC_TEST_STORE_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/store.h"

static uint64_t test_now;

static inline uint64_t clock_ms(void *ctx)
{
    (void)ctx;
    return __atomic_load_n(&test_now, __ATOMIC_RELAXED);
}

static inline fc_store_options small(uint64_t seed)
{
    fc_store_options o = FC_STORE_OPTIONS;
    o.threaded = false;
    o.cache_bytes = FC_BLOCK_CACHE_MIN_BYTES;
    o.log.segment_bytes = 32768;
    o.log.record_bytes_max = 16384;
    o.log.buffer_bytes_max = 65536;
    o.log_bytes_max = 300000;
    o.defaults.memtable_bytes = FC_MEMTABLE_MIN_BYTES;
    o.defaults.block_bytes = 512;
    o.seed = seed;
    o.now_ms = clock_ms;
    return o;
}

static inline fc_store *opened(fc_disk *disk, const fc_store_options *o)
{
    fc_store *s = NULL;
    fc_damage damage;
    uint32_t id;
    int error = fc_store_open(disk, o, &damage, &s);
    CHECK(error == 0);
    if (error == 0 && fc_store_keyspace(s, (fc_slice){"second", 6}, NULL, true, &id) == 0)
        CHECK(id == 1);
    return s;
}

/* Once more when there is no room. */
static inline int write_all(fc_store *s, const fc_batch *b, fc_write_result *result)
{
    int error;
    while ((error = fc_store_write(s, b, 0, result)) == FC_STORE_EBUSY) {
        error = fc_store_wait_room(s, UINT64_MAX);
        if (error < 0)
            return error;
    }
    return error;
}

/* --- the model -------------------------------------------------------------------------------------------------- */

#define MODEL_KEYS 48
#define MODEL_SPACES 2
#define MODEL_VALUE_MAX 1500

typedef struct model_value {
    uint64_t version; /* 0: none */
    uint64_t expires_ms;
    uint32_t n;
    char fill;
} model_value;

typedef struct model {
    model_value values[MODEL_SPACES][MODEL_KEYS];
    uint64_t seq;
} model;

/* Ascending with i; some are prefixes of others, one is empty. */
static inline fc_slice model_key(unsigned i, char out[24])
{
    if (i == 0)
        return (fc_slice){"", 0};
    memset(out, 'k', 24);
    out[0] = (char)(i / 3);
    return (fc_slice){out, 1 + i % 3 * 8};
}

static inline bool model_lives(const model_value *v, uint64_t now)
{
    return v->version && (v->expires_ms == 0 || v->expires_ms > now);
}

static inline bool model_is_value(const model_value *m, fc_slice value)
{
    bool same = value.n == m->n;
    for (size_t i = 0; same && i < value.n; i++)
        same = value.p[i] == m->fill;
    return same;
}

/* A random operation: into the batch, and done to the model. */
static inline void model_operation(model *m, uint64_t *chance, uint64_t now, fc_batch *b, bool ranges)
{
    static char bytes[MODEL_VALUE_MAX];
    char text[24], end_text[24];
    uint64_t d = fc_hash_next(chance);
    unsigned space = d & 1, k = (d >> 1) % MODEL_KEYS, kind = (d >> 16) % 32;
    uint64_t seq = ++m->seq;
    fc_slice key = model_key(k, text);
    if (kind < 6) {
        m->values[space][k] = (model_value){0};
        fc_batch_delete(b, space, key);
    } else if (kind == 6 && ranges) {
        unsigned end = k + (d >> 24) % 12;
        bool open = (d >> 32) % 8 == 0 || end == 0;
        end = open ? MODEL_KEYS : end < MODEL_KEYS ? end : MODEL_KEYS - 1;
        for (unsigned i = k; i < end; i++)
            m->values[space][i] = (model_value){0};
        fc_batch_delete_range(b, space, key, open ? (fc_slice){"", 0} : model_key(end, end_text));
    } else {
        model_value *v = &m->values[space][k];
        *v = (model_value){seq, kind < 10 ? now + 1 + (d >> 24) % 50 : 0, (d >> 32) % MODEL_VALUE_MAX, (char)(d >> 48)};
        memset(bytes, v->fill, v->n);
        fc_batch_put(b, space, key, (fc_slice){bytes, v->n}, v->expires_ms);
    }
}

static inline bool model_same_get(fc_store *s, const model *m, const fc_snapshot *snapshot, unsigned space, unsigned k,
                                  uint64_t now)
{
    char text[24];
    fc_read r;
    fc_value v;
    const model_value *want = &m->values[space][k];
    if (fc_read_begin(s, space, snapshot, &r) < 0)
        return false;
    int answer = fc_read_get(&r, model_key(k, text), false, &v);
    bool same = answer == model_lives(want, now);
    if (answer == 1) {
        same = same && v.version == want->version && v.expires_ms == want->expires_ms && model_is_value(want, v.value);
        fc_value_release(&v);
    }
    fc_read_end(&r);
    return same;
}

/* From key `low` to before `high`, in both directions. */
static inline bool model_same_scan(fc_store *s, const model *m, const fc_snapshot *snapshot, unsigned space,
                                   uint64_t now, unsigned low, unsigned high)
{
    char low_text[24], high_text[24], text[24];
    fc_scan *scan;
    fc_slice lower = model_key(low, low_text), upper = model_key(high, high_text);
    fc_scan_options o = {snapshot, true, high < MODEL_KEYS, lower, upper, true, 0};
    if (fc_scan_open(s, space, &o, &scan) < 0)
        return false;
    fc_view *v = fc_scan_view(scan);
    bool same = true;
    fc_view_first(v);
    for (unsigned k = low; k < high; k++) {
        const model_value *want = &m->values[space][k];
        if (!model_lives(want, now))
            continue;
        same = same && v->valid && fc_key_equal(v->key, model_key(k, text)) && model_is_value(want, v->value) &&
               fc_tag_seq(v->tag) == want->version;
        if (v->valid)
            fc_view_next(v);
    }
    same = same && !v->valid && v->error == 0;
    fc_view_last(v);
    for (unsigned k = high; k-- > low;) {
        const model_value *want = &m->values[space][k];
        if (!model_lives(want, now))
            continue;
        same = same && v->valid && fc_key_equal(v->key, model_key(k, text)) && model_is_value(want, v->value);
        if (v->valid)
            fc_view_prev(v);
    }
    same = same && !v->valid && v->error == 0;
    fc_scan_close(scan);
    return same;
}

static inline bool model_same(fc_store *s, const model *m, const fc_snapshot *snapshot, uint64_t now)
{
    bool same = true;
    for (unsigned space = 0; space < MODEL_SPACES && same; space++) {
        same = model_same_scan(s, m, snapshot, space, now, 0, MODEL_KEYS);
        for (unsigned k = 0; k < MODEL_KEYS && same; k++)
            same = model_same_get(s, m, snapshot, space, k, now);
    }
    return same;
}

#endif
