/* crash_calls.h - a store's calls, each drawn at random and its answer compared with the model.
 *
 * The work ends (`dead`) at the first error that the disk's faults explain; any other is `wrong` (crash_model.h).
 */
#ifndef FC_TEST_CRASH_CALLS_H
#define FC_TEST_CRASH_CALLS_H

#include <errno.h>

#include "disk_watch.h"
#include "crash_model.h"

#define SNAPSHOTS_HELD 3
#define SCANS_HELD 2
#define CHECKPOINTS 3

typedef struct held_snapshot {
    fc_snapshot *snapshot; /* NULL: none */
    state at;
    model_space spaces[SPACES];
} held_snapshot;

typedef struct held_scan {
    fc_scan *scan;
    cell cells[KEYS];      /* what it shows */
    uint32_t space, at;    /* at KEYS: on nothing */
} held_scan;

typedef struct held_checkpoint {
    char folder[8];
    bool whole;            /* it was answered */
    state at;
    model_space spaces[SPACES];
} held_checkpoint;

typedef struct workload {
    model m;
    fc_disk *disk;
    fc_store *store;
    fc_store_options options;
    uint64_t chance;
    bool faulty;           /* the disk may fail for other reasons than a lost power */
    bool dead;
    bool unasked;          /* no flush and no compaction is asked for: full memtables and steps bring them about */
    held_snapshot snapshots[SNAPSHOTS_HELD];
    held_scan scans[SCANS_HELD];
    held_checkpoint checkpoints[CHECKPOINTS];
    unsigned checkpoints_n, checkpoints_made;
    unsigned long refused; /* -ENOSPC */
} workload;

/* So small that everything happens within a hundred calls. */
static inline fc_store_options work_options(workload *w, uint64_t seed)
{
    fc_store_options o = FC_STORE_OPTIONS;
    uint64_t d = fc_hash_mix(seed + 1);
    o.threaded = false;
    o.cache_bytes = 65536;
    o.log_bytes_max = 131072;
    o.seed = d | 1;
    o.now_ms = model_clock;
    o.now_ctx = &w->m;
    o.log.segment_bytes = d & 1 ? 32768 : 65536;
    o.log.record_bytes_max = 16384;
    o.log.buffer_bytes_max = 16384;
    o.log.salt_seed = d | 1;
    o.defaults.memtable_bytes = FC_MEMTABLE_MIN_BYTES;
    o.defaults.memtables_max = 2 + (d >> 1) % 3;
    o.defaults.table_bytes = 8192 << (d >> 3) % 3;
    o.defaults.level0_tables = 2 + (d >> 5) % 2;
    o.defaults.level_bytes = 16384;
    o.defaults.level_factor = 3;
    o.defaults.block_bytes = 512 << (d >> 6) % 3;
    o.defaults.restart_interval = 1 + (d >> 8) % 16;
    o.defaults.filter_bits = (d >> 12) % 2 * 10;
    o.defaults.codec = (fc_codec)((d >> 13) % 3);
    return o;
}

static inline uint64_t work_draw(workload *w)
{
    return fc_hash_next(&w->chance);
}

/* True when it was done. */
static inline bool ok(workload *w, int answer, const char *doing)
{
    if (answer >= 0)
        return true;
    bool full = answer == -ENOSPC && w->faulty;
    if (full)
        w->refused++;
    if (full && w->store && fc_store_error(w->store) == 0)
        return false;
    if (!full && (answer != -EIO || !(w->faulty || fc_disk_sim_off(w->disk))))
        wrong(&w->m, "%s answers %d (%s)", doing, answer, fc_store_strerror(answer));
    w->dead = true;
    return false;
}

static inline void doing(const char *what)
{
    watched.doing = what;
}

/* --- snapshots and scans ---------------------------------------------------------------------------------------- */

static inline void work_snapshot(workload *w)
{
    held_snapshot *h = &w->snapshots[work_draw(w) % SNAPSHOTS_HELD];
    doing("read");
    if (h->snapshot == NULL) {
        h->snapshot = fc_store_snapshot(w->store);
        h->at = w->m.now;
        memcpy(h->spaces, w->m.spaces, sizeof h->spaces);
        return;
    }
    ok(w, model_compare(&w->m, w->store, h->snapshot, &h->at, h->spaces, "a snapshot", &w->chance), "reading a snapshot");
    if (work_draw(w) % 3 == 0) {
        fc_snapshot_release(h->snapshot);
        h->snapshot = NULL;
    }
}

static inline void work_scan_close(held_scan *h)
{
    if (h->scan)
        fc_scan_close(h->scan);
    h->scan = NULL;
}

static inline void work_scan_open(workload *w, held_scan *h)
{
    char low[16], high[16];
    uint64_t d = work_draw(w);
    const held_snapshot *snap = &w->snapshots[d % SNAPSHOTS_HELD];
    uint32_t from = d & 16 ? (uint32_t)(d >> 8) % KEYS : 0, to = d & 32 ? (uint32_t)(d >> 16) % KEYS : KEYS;
    h->space = (d >> 24) % SPACES;
    h->at = KEYS;
    const model_space *is = &w->m.spaces[h->space];
    if (is->there != SPACE_THERE)
        return;
    bool old = snap->snapshot && snap->spaces[h->space].there == SPACE_THERE && snap->spaces[h->space].id == is->id;
    fc_scan_options how = {.snapshot = old ? snap->snapshot : NULL, .bounded_below = d & 16, .bounded_above = to < KEYS};
    how.lower = model_key(from, low);
    how.upper = model_key(to < KEYS ? to : 0, high);
    how.skip_max = d & 64 ? 3 : 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        const cell *c = old ? &snap->at.cells[h->space][i] : &w->m.now.cells[h->space][i];
        h->cells[i] = i >= from && i < to && cell_lives(c, w->m.clock_ms) ? *c : (cell){0};
    }
    ok(w, fc_scan_open(w->store, is->id, &how, &h->scan), "opening a scan");
}

/* The next key from `at` on that the scan shows, KEYS when there is none; at beyond the ends is allowed. */
static inline uint32_t shown_from(const held_scan *h, uint32_t at, int by)
{
    while (at < KEYS && h->cells[at].version == 0)
        at += (uint32_t)by;
    return at < KEYS ? at : KEYS;
}

static inline void work_scan_step(workload *w, held_scan *h)
{
    char bytes[16];
    fc_view *v = fc_scan_view(h->scan);
    uint64_t d = work_draw(w);
    uint32_t to = (uint32_t)(d >> 8) % KEYS, kind = d % 16;
    bool forwards = kind < 8;
    fc_scan_memory_only(h->scan, d >> 32 & 1);
    if (h->at == KEYS && kind != 0 && kind != 8)
        kind = forwards ? 1 : 9;
    if (kind == 0)
        fc_view_first(v), h->at = shown_from(h, 0, 1);
    else if (kind == 8)
        fc_view_last(v), h->at = shown_from(h, KEYS - 1, -1);
    else if (kind == 1)
        fc_view_seek(v, model_key(to, bytes)), h->at = shown_from(h, to, 1);
    else if (kind == 9)
        fc_view_seek_back(v, model_key(to, bytes)), h->at = shown_from(h, to, -1);
    else if (forwards)
        fc_view_next(v), h->at = shown_from(h, h->at + 1, 1);
    else
        fc_view_prev(v), h->at = shown_from(h, h->at - 1, -1);
    while (v->error == FC_EWOULDREAD || v->error == FC_VIEW_ESKIPPED) {
        fc_scan_memory_only(h->scan, false);
        (forwards ? fc_view_next : fc_view_prev)(v);
    }
    if (!ok(w, v->error, "a scan"))
        return;
    uint32_t seen = v->valid ? model_key_number(v->key) : KEYS;
    if (seen != h->at)
        wrong(&w->m, "a scan that was held (%u) shows key %u, not %u", kind, seen, h->at);
    else if (v->valid) {
        cell c = model_cell_of(v);
        if (!cell_same(&h->cells[seen], &c, 0))
            wrong(&w->m, "a scan that was held shows version %lu of key %u, not %lu", (unsigned long)c.version, seen,
                  (unsigned long)h->cells[seen].version);
    }
}

static inline void work_scan(workload *w)
{
    held_scan *h = &w->scans[work_draw(w) % SCANS_HELD];
    doing("read");
    if (h->scan == NULL)
        work_scan_open(w, h);
    for (uint64_t n = work_draw(w) % 16; n > 0 && h->scan && !w->dead; n--)
        work_scan_step(w, h);
    if (work_draw(w) % 4 == 0)
        work_scan_close(h);
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static inline int work_put(workload *w, const fc_batch *b, unsigned flags, fc_write_result *result)
{
    int error = fc_store_write(w->store, b, flags, result);
    for (int tries = 0; error == FC_STORE_EBUSY && tries < 100; tries++) {
        error = fc_store_wait_room(w->store, 1000000000);
        if (error == 0)
            error = fc_store_write(w->store, b, flags, result);
    }
    return error;
}

/* Conditions on some keys, of which at most one does not hold. */
static inline uint32_t work_expect(workload *w, fc_batch *out)
{
    uint32_t broken = UINT32_MAX;
    for (uint32_t i = 0, n = 1 + work_draw(w) % 3; i < n; i++) {
        char bytes[16];
        uint64_t d = work_draw(w);
        uint32_t space = d % SPACES, key = (uint32_t)(d >> 8) % KEYS;
        if (w->m.spaces[space].there != SPACE_THERE)
            space = 0;
        const cell *c = &w->m.now.cells[space][key];
        uint64_t version = cell_lives(c, w->m.clock_ms) ? c->version : 0;
        if (broken == UINT32_MAX && (d >> 16) % 4 == 0) {
            broken = i;
            version = version ? version - (d >> 20 & 1 ? version : 1) : 1 + d % 100;
        }
        fc_batch_expect(out, w->m.spaces[space].id, model_key(key, bytes), version);
    }
    return broken;
}

static inline void work_write(workload *w, bool expecting)
{
    model_batch b;
    fc_batch batch = {0};
    fc_write_result result = {0};
    uint32_t broken = UINT32_MAX;
    unsigned flags = 0;
    doing("write");
    model_draw(&w->m, &w->chance, &b);
    model_batch_to(&w->m, &b, &batch);
    if (expecting) {
        broken = work_expect(w, &batch);
        flags = work_draw(w) % 2 ? FC_WRITE_MEMORY_ONLY : 0;
    }
    int error = work_put(w, &batch, flags, &result);
    if (error == FC_EWOULDREAD && flags)
        error = work_put(w, &batch, 0, &result);
    if (broken != UINT32_MAX && (error == 0 || error == FC_STORE_ECONFLICT)) {
        if (error == 0 || result.conflict != broken)
            wrong(&w->m, "condition %u does not hold, and the answer is %d about %u", broken, error, result.conflict);
    } else if (ok(w, error, "a write")) {
        b.pos = result.pos;
        b.version = result.version;
        model_written(&w->m, &b);
    }
    fc_batch_free(&batch);
}

static inline void work_wait(workload *w)
{
    model *m = &w->m;
    doing("wait");
    if (m->n == m->durable)
        return;
    uint64_t d = work_draw(w);
    fc_wal_pos pos = m->batches[d % 2 ? m->n - 1 : m->durable + (d >> 1) % (m->n - m->durable)].pos;
    if (ok(w, fc_wal_wait(fc_store_log(w->store), pos), "a wait"))
        model_durable(m, pos);
}

/* --- the rest --------------------------------------------------------------------------------------------------- */

static inline uint32_t work_some_space(workload *w)
{
    uint32_t space = work_draw(w) % SPACES;
    return w->m.spaces[space].there == SPACE_THERE ? w->m.spaces[space].id : 0;
}

static inline void work_step(workload *w)
{
    fc_keyspace_stats stats;
    bool full = false;
    for (uint32_t i = 0; i < SPACES; i++)
        full = full || (w->m.spaces[i].there == SPACE_THERE &&
                        fc_store_get_keyspace_stats(w->store, w->m.spaces[i].id, &stats) == 0 && stats.memtables > 1);
    doing(full ? "step: flush" : "step");
    for (uint64_t n = 1 + work_draw(w) % (w->unasked ? 40 : 8); n > 0 && !w->dead; n--)
        if (fc_disk_sim_off(w->disk) || !ok(w, fc_store_step(w->store), "a step"))
            break;
    model_durable(&w->m, fc_wal_durable(fc_store_log(w->store)));
}

static inline void work_compact(workload *w)
{
    char a[16], z[16];
    uint64_t d = work_draw(w);
    uint32_t from = d & 1 ? (uint32_t)(d >> 8) % KEYS : 0, to = from + 1 + (uint32_t)(d >> 16) % 16;
    doing("compact");
    fc_slice end = d & 1 && to < KEYS ? model_key(to, z) : (fc_slice){"", 0};
    ok(w, fc_store_compact(w->store, work_some_space(w), model_key(from, a), end), "compaction");
}

static inline void work_spaces(workload *w)
{
    model_space *is = &w->m.spaces[SPACES - 1];
    const char *name = SPACE_NAMES[SPACES - 1];
    if (is->there == SPACE_GONE) {
        doing("keyspace");
        is->there = SPACE_UNSURE;
        if (ok(w, fc_store_keyspace(w->store, (fc_slice){name, strlen(name)}, NULL, true, &is->id), "a new keyspace"))
            is->there = SPACE_THERE;
        else if (!w->dead)
            is->there = SPACE_GONE;
        return;
    }
    doing("drop");
    for (int i = 0; i < SCANS_HELD; i++)
        if (w->scans[i].space == SPACES - 1)
            work_scan_close(&w->scans[i]);
    is->there = SPACE_UNSURE;
    if (ok(w, fc_store_drop(w->store, is->id), "dropping a keyspace"))
        model_dropped(&w->m, SPACES - 1);
    else if (!w->dead)
        is->there = SPACE_THERE;
}

/* --- checkpoints ------------------------------------------------------------------------------------------------ */

/* Opens one and compares it. An unfinished one may be no store. */
static inline void work_look_at(workload *w, held_checkpoint *c)
{
    fc_disk *folder;
    fc_store_options options = w->options;
    fc_store *s;
    options.create = false;
    doing("read");
    int error = fc_disk_folder(w->disk, c->folder, &folder);
    bool there = error == 0;
    if (there)
        error = fc_store_open(folder, &options, NULL, &s);
    if (!c->whole && error == -ENOENT)
        return;
    fc_store *parent = w->store;
    w->store = NULL; /* the error is not its */
    if (ok(w, error, "opening a checkpoint")) {
        for (uint32_t space = 0; space < SPACES && error == 0; space++) {
            cell seen[KEYS];
            uint32_t id;
            fc_slice name = {SPACE_NAMES[space], strlen(SPACE_NAMES[space])};
            error = fc_store_keyspace(s, name, NULL, false, &id);
            if (c->spaces[space].there != SPACE_THERE) {
                if (error == 0)
                    wrong(&w->m, "a checkpoint with a keyspace that was not there");
                error = 0;
                continue;
            }
            if (error == 0)
                error = model_see(&w->m, s, id, NULL, false, seen);
            uint32_t i = error == 0 ? cells_differ(c->at.cells[space], seen, w->m.clock_ms) : KEYS;
            if (i < KEYS)
                wrong(&w->m, "checkpoint %s: key %u in keyspace %u has version %lu, not %lu", c->folder, i, space,
                      (unsigned long)seen[i].version, (unsigned long)c->at.cells[space][i].version);
        }
        ok(w, error, "reading a checkpoint");
        error = fc_store_close(s);
        ok(w, error, "closing a checkpoint");
    }
    if (there)
        fc_disk_close(folder);
    w->store = parent;
}

static inline void work_checkpoint(workload *w)
{
    if (w->checkpoints_n == CHECKPOINTS)
        return;
    held_checkpoint *c = &w->checkpoints[w->checkpoints_n++];
    *c = (held_checkpoint){.at = w->m.now};
    snprintf(c->folder, sizeof c->folder, "cp%u", w->checkpoints_made++ % 10000);
    memcpy(c->spaces, w->m.spaces, sizeof c->spaces);
    doing("checkpoint");
    c->whole = ok(w, fc_store_checkpoint(w->store, c->folder), "a checkpoint");
    if (c->whole && work_draw(w) % 2)
        work_look_at(w, c);
}

/* After a crash. */
static inline void work_look_at_all(workload *w)
{
    for (unsigned i = 0; i < w->checkpoints_n && !w->dead; i++)
        work_look_at(w, &w->checkpoints[i]);
    if (!w->dead)
        w->checkpoints_n = 0;
}

#endif
