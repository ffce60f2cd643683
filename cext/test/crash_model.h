/* crash_model.h - what a store must hold: a few keys in a few keyspaces, each batch since the last opening, and how many
 * of them were acknowledged as durable.
 *
 * After a crash the store must hold what it held after one of the batches, none that was acknowledged missing
 * (model_recover finds out which). Nothing here stops at the first difference: it is remembered in `wrong`, for a test
 * that wants it (a safety step was removed) as well as for one that does not.
 */
#ifndef FC_TEST_CRASH_MODEL_H
#define FC_TEST_CRASH_MODEL_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fc/hash.h"
#include "fc/store.h"

#define SPACES 3u        /* the last one is dropped and made again */
#define KEYS 64u
#define VALUE_BYTES 4096u
#define BATCH_OPS 8u
#define BATCH_BYTES 12000u

/* What a reader gets of a key. Version 0: nothing. */
typedef struct cell {
    uint64_t version, expires_ms, hash;
    uint32_t length;
} cell;

typedef struct state {
    cell cells[SPACES][KEYS];
} state;

typedef struct model_op {
    fc_key_type type; /* 0: of a keyspace that has been dropped since */
    uint32_t space, key, end, write, length; /* write: the value's number; end KEYS: the end of all keys */
    uint64_t expires_ms;
} model_op;

typedef struct model_batch {
    model_op ops[BATCH_OPS];
    uint32_t n;
    uint64_t version;
    fc_wal_pos pos;
} model_batch;

typedef enum space_there { SPACE_GONE = 0, SPACE_THERE, SPACE_UNSURE } space_there;

typedef struct model_space {
    uint32_t id;
    space_there there; /* unsure: a call that makes or drops it has failed */
} model_space;

typedef struct model {
    state base, now;      /* before the first of the batches; after the last */
    model_batch *batches;
    size_t n, room;
    size_t durable;       /* so many were acknowledged */
    size_t recovered;     /* so many were there at the last opening */
    uint32_t writes;
    uint64_t last_version, clock_ms;
    model_space spaces[SPACES];
    char wrong[256];      /* the first thing that was, or "" */
} model;

static const char *const SPACE_NAMES[SPACES] = {"default", "second", "passing"};
static const fc_hash_key MODEL_HASH = {3, 4};

static inline void __attribute__((format(printf, 2, 3))) wrong(model *m, const char *format, ...)
{
    va_list args;
    if (m->wrong[0])
        return;
    va_start(args, format);
    vsnprintf(m->wrong, sizeof m->wrong, format, args);
    va_end(args);
}

static inline void model_init(model *m)
{
    *m = (model){.clock_ms = 1000};
    m->spaces[0].there = SPACE_THERE;
}

static inline void model_free(model *m)
{
    free(m->batches);
    m->batches = NULL;
}

static inline uint64_t model_clock(void *ctx)
{
    return __atomic_load_n(&((model *)ctx)->clock_ms, __ATOMIC_RELAXED); /* the store's threads ask, too */
}

/* --- keys and values -------------------------------------------------------------------------------------------- */

/* "", then a, a0, a00 to a0000000 (zeros, not digits), b, b0...: in the order of their numbers, prefixes of each other. */
static inline fc_slice model_key(uint32_t i, char out[16])
{
    memset(out, 0, 16);
    if (i > 0)
        out[0] = (char)('a' + (i - 1) / 8);
    return (fc_slice){out, i > 0 ? 1 + (i - 1) % 8 : 0};
}

/* The key's number; KEYS when it is none of these. */
static inline uint32_t model_key_number(fc_slice key)
{
    char bytes[16];
    uint32_t i = key.n == 0 ? 0 : ((uint32_t)(uint8_t)key.p[0] - 'a') * 8 + (uint32_t)key.n;
    return i < KEYS && fc_key_equal(key, model_key(i, bytes)) ? i : KEYS;
}

/* Halfway between what can be compressed and what cannot. */
static inline fc_slice model_value(uint32_t write, uint32_t length, char out[VALUE_BYTES])
{
    uint64_t chance = write;
    for (uint32_t i = 0; i < length; i += 16) {
        fc_put64(out + i, fc_hash_next(&chance));
        fc_put64(out + i + 8, write);
    }
    return (fc_slice){out, length};
}

static inline uint64_t model_hash(fc_slice value)
{
    return fc_hash(&MODEL_HASH, value.p, value.n);
}

/* --- batches ---------------------------------------------------------------------------------------------------- */

/* A batch of random operations on the keyspaces that are there. */
static inline void model_draw(model *m, uint64_t *chance, model_batch *b)
{
    uint64_t d = fc_hash_next(chance);
    uint32_t n = d % 2 ? 1 : 1 + (uint32_t)(d >> 1) % BATCH_OPS, bytes = 0;
    *b = (model_batch){0};
    while (b->n < n && bytes < BATCH_BYTES - VALUE_BYTES) {
        d = fc_hash_next(chance);
        model_op *o = &b->ops[b->n];
        *o = (model_op){.type = FC_KEY_VALUE, .space = d % SPACES, .key = (uint32_t)(d >> 8) % KEYS};
        if (m->spaces[o->space].there != SPACE_THERE)
            o->space = 0;
        if (d >> 16 & 1)
            o->key %= KEYS / 4; /* some are written more often */
        uint64_t kind = (d >> 20) % 32;
        if (kind < 6) {
            o->type = FC_KEY_DELETE;
        } else if (kind < 8) {
            o->type = FC_KEY_RANGE_DELETE;
            o->end = o->key + 1 + (uint32_t)(d >> 32) % 8;
            o->end = o->end < KEYS ? o->end : KEYS;
        } else {
            o->write = ++m->writes;
            o->length = (uint32_t)(d >> 32) % (kind < 14 ? VALUE_BYTES - 16 : 300);
            if (kind % 4 == 0) {
                o->type = FC_KEY_EXPIRING;
                o->expires_ms = m->clock_ms + (d >> 48) % 50;
            }
        }
        bytes += o->length;
        b->n++;
    }
}

static inline void model_batch_to(const model *m, const model_batch *b, fc_batch *out)
{
    char a[16], z[16], value[VALUE_BYTES];
    for (uint32_t i = 0; i < b->n; i++) {
        const model_op *o = &b->ops[i];
        uint32_t id = m->spaces[o->space].id;
        fc_slice key = model_key(o->key, a);
        if (o->type == FC_KEY_DELETE)
            fc_batch_delete(out, id, key);
        else if (o->type == FC_KEY_RANGE_DELETE)
            fc_batch_delete_range(out, id, key, o->end < KEYS ? model_key(o->end, z) : (fc_slice){"", 0});
        else
            fc_batch_put(out, id, key, model_value(o->write, o->length, value), o->expires_ms);
    }
}

static inline void model_apply(state *s, const model_batch *b)
{
    char value[VALUE_BYTES];
    for (uint32_t i = 0; i < b->n; i++) {
        const model_op *o = &b->ops[i];
        cell *cells = s->cells[o->space];
        if (o->type == FC_KEY_DELETE)
            cells[o->key] = (cell){0};
        else if (o->type == FC_KEY_RANGE_DELETE)
            memset(cells + o->key, 0, (o->end - o->key) * sizeof *cells);
        else if (o->type != 0)
            cells[o->key] = (cell){b->version + i, o->expires_ms,
                                   model_hash(model_value(o->write, o->length, value)), o->length};
    }
}

/* The store has taken it. */
static inline void model_written(model *m, const model_batch *b)
{
    if (b->version <= m->last_version)
        wrong(m, "version %lu after %lu", (unsigned long)b->version, (unsigned long)m->last_version);
    m->last_version = b->version + b->n - 1;
    if (m->n == m->room) {
        m->room = m->room ? 2 * m->room : 128;
        m->batches = realloc(m->batches, m->room * sizeof *m->batches);
        if (m->batches == NULL)
            abort();
    }
    m->batches[m->n++] = *b;
    model_apply(&m->now, b);
}

/* All up to the position are acknowledged. */
static inline void model_durable(model *m, fc_wal_pos pos)
{
    while (m->durable < m->n && m->batches[m->durable].pos <= pos)
        m->durable++;
}

static inline void model_dropped(model *m, uint32_t space)
{
    for (size_t i = 0; i < m->n; i++)
        for (uint32_t k = 0; k < m->batches[i].n; k++)
            if (m->batches[i].ops[k].space == space)
                m->batches[i].ops[k].type = (fc_key_type)0;
    memset(m->base.cells[space], 0, sizeof m->base.cells[space]);
    memset(m->now.cells[space], 0, sizeof m->now.cells[space]);
    m->spaces[space] = (model_space){0};
}

/* --- comparing -------------------------------------------------------------------------------------------------- */

static inline bool cell_lives(const cell *c, uint64_t now_ms)
{
    return c->version != 0 && (c->expires_ms == 0 || c->expires_ms > now_ms);
}

static inline bool cell_same(const cell *want, const cell *seen, uint64_t now_ms)
{
    if (!cell_lives(want, now_ms))
        return seen->version == 0;
    return want->version == seen->version && want->expires_ms == seen->expires_ms && want->hash == seen->hash &&
           want->length == seen->length;
}

/* The first key that differs, KEYS when none does. */
static inline uint32_t cells_differ(const cell *want, const cell *seen, uint64_t now_ms)
{
    uint32_t i = 0;
    while (i < KEYS && cell_same(&want[i], &seen[i], now_ms))
        i++;
    return i;
}

static inline cell model_cell_of(const fc_view *v)
{
    return (cell){fc_tag_seq(v->tag), v->expires_ms, model_hash(v->value), (uint32_t)v->value.n};
}

/* All that a scan of the keyspace shows: 0, or the store's error. */
static inline int model_see(model *m, fc_store *s, uint32_t id, const fc_snapshot *snapshot, bool back, cell out[KEYS])
{
    fc_scan *scan;
    fc_scan_options how = {.snapshot = snapshot, .fill_cache = !back};
    memset(out, 0, KEYS * sizeof *out);
    int error = fc_scan_open(s, id, &how, &scan);
    if (error < 0)
        return error;
    fc_view *v = fc_scan_view(scan);
    uint32_t before = back ? KEYS : 0;
    for ((back ? fc_view_last : fc_view_first)(v); v->valid; (back ? fc_view_prev : fc_view_next)(v)) {
        uint32_t i = model_key_number(v->key);
        if (i == KEYS || (back ? i >= before : before > i)) {
            wrong(m, "a scan of keyspace %u shows key %u after %u", id, i, before);
            break;
        }
        before = back ? i : i + 1;
        out[i] = model_cell_of(v);
    }
    error = v->error;
    fc_scan_close(scan);
    return error;
}

/* Some keys one by one. */
static inline int model_get_some(model *m, fc_store *s, uint32_t id, const fc_snapshot *snapshot, const cell *want,
                                 uint64_t *chance)
{
    fc_read r;
    int error = fc_read_begin(s, id, snapshot, &r);
    if (error < 0)
        return error;
    for (int n = 0; n < 8 && error == 0; n++) {
        char bytes[16];
        uint32_t i = fc_hash_next(chance) % KEYS;
        fc_value v;
        int answer = fc_read_get(&r, model_key(i, bytes), true, &v);
        if (answer == FC_EWOULDREAD)
            answer = fc_read_get(&r, model_key(i, bytes), false, &v);
        cell seen = {0};
        if (answer == 1) {
            seen = (cell){v.version, v.expires_ms, model_hash(v.value), (uint32_t)v.value.n};
            fc_value_release(&v);
        }
        error = answer < 0 ? answer : 0;
        if (error == 0 && !cell_same(&want[i], &seen, m->clock_ms))
            wrong(m, "get of key %u in keyspace %u: version %lu, not %lu", i, id, (unsigned long)seen.version,
                  (unsigned long)want[i].version);
    }
    fc_read_end(&r);
    return error;
}

/* Everything in the keyspaces that are there; `at`: what they were when the state was taken (NULL: as they are). 0, or the
 * store's error. */
static inline int model_compare(model *m, fc_store *s, const fc_snapshot *snapshot, const state *want,
                                const model_space *at, const char *what, uint64_t *chance)
{
    for (uint32_t space = 0; space < SPACES; space++) {
        cell seen[KEYS];
        const model_space *is = &m->spaces[space];
        if (is->there != SPACE_THERE || (at && (at[space].there != SPACE_THERE || at[space].id != is->id)))
            continue;
        int error = model_see(m, s, is->id, snapshot, fc_hash_next(chance) & 1, seen);
        if (error < 0)
            return error;
        uint32_t i = cells_differ(want->cells[space], seen, m->clock_ms);
        if (i < KEYS)
            wrong(m, "%s: key %u in keyspace %u has version %lu, not %lu", what, i, space,
                  (unsigned long)seen[i].version, (unsigned long)want->cells[space][i].version);
        error = model_get_some(m, s, is->id, snapshot, want->cells[space], chance);
        if (error < 0)
            return error;
    }
    return 0;
}

/* --- after a crash ---------------------------------------------------------------------------------------------- */

/* Which keyspaces there are, where a call that changes them was not answered. */
static inline int model_find_spaces(model *m, fc_store *s)
{
    for (uint32_t space = 1; space < SPACES; space++) {
        model_space *is = &m->spaces[space];
        uint32_t id;
        int error = fc_store_keyspace(s, (fc_slice){SPACE_NAMES[space], strlen(SPACE_NAMES[space])}, NULL, false, &id);
        if (error < 0 && error != FC_STORE_ENOKEYSPACE)
            return error;
        if (is->there != SPACE_UNSURE && (error == 0) != (is->there == SPACE_THERE))
            wrong(m, "keyspace %s is %s", SPACE_NAMES[space], error == 0 ? "back" : "gone");
        if (error < 0)
            model_dropped(m, space);
        else
            *is = (model_space){id, SPACE_THERE};
    }
    return 0;
}

static inline bool state_same(const model *m, const state *want, const state *seen)
{
    for (uint32_t space = 0; space < SPACES; space++)
        if (m->spaces[space].there == SPACE_THERE &&
            cells_differ(want->cells[space], seen->cells[space], m->clock_ms) < KEYS)
            return false;
    return true;
}

/* The store has been opened again: it must hold the state after `durable` of the batches or more, from which the model
 * goes on. 0, or the store's error. */
static inline int model_recover(model *m, fc_store *s)
{
    state seen = {0}, at;
    int error = model_find_spaces(m, s);
    for (uint32_t space = 0; space < SPACES && error == 0; space++)
        if (m->spaces[space].there == SPACE_THERE)
            error = model_see(m, s, m->spaces[space].id, NULL, false, seen.cells[space]);
    if (error < 0)
        return error;
    size_t found = SIZE_MAX;
    at = m->base;
    for (size_t n = 0; n <= m->n; n++) {
        if (state_same(m, &at, &seen)) {
            found = n;
            m->now = at;
        }
        if (n < m->n)
            model_apply(&at, &m->batches[n]);
    }
    if (found == SIZE_MAX)
        wrong(m, "it holds what it never held (%zu of %zu batches were durable)", m->durable, m->n);
    else if (found < m->durable)
        wrong(m, "%zu batches, of which %zu were durable, and %zu are there", m->n, m->durable, found);
    m->base = m->now;
    m->recovered = found;
    m->n = m->durable = 0;
    m->last_version = 0; /* those of batches that are lost come again */
    for (uint32_t space = 0; space < SPACES; space++)
        for (uint32_t i = 0; i < KEYS; i++)
            if (seen.cells[space][i].version > m->last_version)
                m->last_version = seen.cells[space][i].version;
    return 0;
}

#endif
