/* lsm_model.h - a history of operations on a few keys, and what a reader of any snapshot of it must see. */
#ifndef FC_TEST_LSM_MODEL_H
#define FC_TEST_LSM_MODEL_H

#include <stdio.h>
#include <string.h>

#include "fc/memtable.h"

#define KEYS 40
#define OPERATIONS 600

static const fc_hash_key HASH = {1, 2};

typedef struct operation {
    fc_key_type type;
    unsigned key, end; /* end: of a range */
    char value[24];
    size_t value_n;
} operation;

static operation history[OPERATIONS + 1]; /* by sequence number */

/* Keys that are prefixes of each other, with zeros in them, of 0 to 40 bytes; in the order of their numbers. */
static inline fc_slice key_of(unsigned i, char out[48])
{
    size_t n = i % 4 * 8;
    if (i == 0)
        return (fc_slice){"", 0};
    out[0] = (char)(i / 4);
    memset(out + 1, 0, 47);
    return (fc_slice){out, 1 + n};
}

/* What a reader at the snapshot gets: sequence number of the value, 0 for none; *known: anything at all is said. */
static inline uint64_t model_get(unsigned key, uint64_t snapshot, uint64_t now, bool *known)
{
    for (uint64_t seq = snapshot; seq > 0; seq--) {
        operation *o = &history[seq];
        *known = true;
        if (o->type == FC_KEY_RANGE_DELETE && o->key <= key && key < o->end)
            return 0;
        if (o->type == FC_KEY_RANGE_DELETE || o->key != key)
            continue;
        if (o->type == FC_KEY_DELETE || (o->type == FC_KEY_EXPIRING && fc_get64(o->value) <= now))
            return 0;
        return seq;
    }
    *known = false;
    return 0;
}

static inline int apply(fc_memtable *m, uint64_t seq)
{
    char a[48], b[48];
    operation *o = &history[seq];
    if (o->type == FC_KEY_RANGE_DELETE)
        return fc_memtable_delete_range(m, seq, key_of(o->key, a), key_of(o->end, b));
    return fc_memtable_add(m, seq, o->type, key_of(o->key, a), (fc_slice){o->value, o->value_n});
}

static inline void draw(uint64_t *chance, uint64_t seq, bool ranges)
{
    uint64_t d = fc_hash_next(chance);
    operation *o = &history[seq];
    *o = (operation){.type = FC_KEY_VALUE, .key = (unsigned)(d >> 8) % KEYS};
    o->value_n = (size_t)snprintf(o->value, sizeof o->value, "%.*s%lu", (int)(d >> 20) % 9, "________",
                                  (unsigned long)seq);
    if (d % 8 == 0) {
        o->type = FC_KEY_DELETE;
        o->value_n = 0;
    } else if (d % 8 == 1) {
        o->type = FC_KEY_EXPIRING;
        fc_put64(o->value, (d >> 32) % 100);
        o->value_n = 8 + (d >> 40) % 8;
    } else if (d % 16 == 2 && ranges) {
        o->type = FC_KEY_RANGE_DELETE;
        o->end = o->key + (unsigned)(d >> 32) % 8;
        o->end = o->end < KEYS ? o->end : KEYS - 1;
    }
}

#endif
