#include <errno.h>

#include "bytes.h"
#include "merge_internal.h"

/* Versions of one key, or entries under one range deletion, that are stepped over before a search is cheaper. */
#define STEPS_MAX 16u

/* Where the view goes on from: forwards at the first entry not below (at, at_tag), backwards at the last one below it.
 * So tag 0 is behind all versions of the key, UINT64_MAX before them. */
typedef struct view {
    fc_view v;
    fc_iter *merge; /* a lone source without range deletions is walked itself */
    fc_view_options options;
    fc_source *covers; /* sources with range deletions */
    size_t cover_n;
    fc_range_cover cover;
    bytes at, found, value; /* found, value: what is shown backwards */
    uint64_t at_tag;
    bool at_end; /* backwards from the end, instead of from `at` */
    bool backwards;
    uint32_t run; /* entries passed over in this call */
    uint32_t covered; /* of these, the last in a row under a range deletion */
} view;

fc_view *fc_view_open(const fc_source *sources, size_t n, const fc_view_options *options)
{
    view *v = calloc(1, sizeof *v);
    fc_source *covers = calloc(n + 1, sizeof *covers);
    fc_iter *merge = n == 1 && !sources[0].cover ? sources[0].points : fc_merge_iter(sources, n);
    if (v == NULL || covers == NULL || merge == NULL) {
        free(v);
        free(covers);
        fc_iter_close(merge);
        return NULL;
    }
    v->merge = merge;
    v->options = *options;
    v->covers = covers;
    for (size_t i = 0; i < n; i++)
        if (sources[i].cover)
            covers[v->cover_n++] = sources[i];
    return &v->v;
}

void fc_view_close(fc_view *public)
{
    view *v = (view *)public;
    if (v == NULL)
        return;
    fc_iter_close(v->merge);
    bytes_free(&v->at);
    bytes_free(&v->found);
    bytes_free(&v->value);
    free(v->covers);
    free(v);
}

static void fail(view *v, int error)
{
    v->v.valid = false;
    v->v.error = error;
}

static bool place(view *v, fc_slice key, uint64_t tag)
{
    v->at_tag = tag;
    v->at_end = false;
    if (bytes_set(&v->at, key.p, key.n))
        return true;
    fail(v, -ENOMEM);
    return false;
}

/* Sequence number of the newest range deletion over the key. */
static uint64_t covering_seq(view *v, fc_slice key)
{
    if (v->cover_n == 0)
        return 0;
    if (!fc_range_cover_holds(&v->cover, key)) {
        v->cover = (fc_range_cover){.from_open = true, .until_open = true, .known = true};
        for (size_t i = 0; i < v->cover_n; i++) {
            fc_range_cover one;
            v->covers[i].cover(v->covers[i].owner, key, v->options.snapshot, &one);
            fc_range_cover_meet(&v->cover, &one);
        }
    }
    return v->cover.seq;
}

/* Whether the version, the newest of its key that the snapshot sees, is one to show. */
static bool lives(view *v, fc_slice key, uint64_t tag, fc_slice stored)
{
    bool covered = fc_tag_seq(tag) < covering_seq(v, key);
    v->covered = covered ? v->covered + 1 : 0;
    if (!fc_value_split(tag, stored, &v->v.value, &v->v.expires_ms)) {
        fail(v, FC_TABLE_ECORRUPT);
        return false;
    }
    return !covered && fc_value_lives(tag, v->v.expires_ms, v->options.now_ms);
}

/* Counts an entry or key that is not shown; true: that is enough for one call. */
static bool enough(view *v)
{
    v->v.skipped++;
    if (++v->run <= v->options.skip_max || v->options.skip_max == 0)
        return false;
    fail(v, FC_VIEW_ESKIPPED);
    return true;
}

/* After a row of keys under one range deletion: to its other end, where the sources allow it. */
static bool leap(view *v)
{
    if (v->covered <= STEPS_MAX || !v->cover.known || !v->merge->valid)
        return false;
    v->covered = 0;
    merge_skip(v->merge, &v->cover);
    return true;
}

/* --- forwards --------------------------------------------------------------------------------------------------- */

/* Past an entry of the key `at`, or one that is too new: to the first version that can matter, by steps or by a search.
 * */
static bool pass(view *v, uint32_t *steps)
{
    fc_iter *m = v->merge;
    if (++*steps <= STEPS_MAX) {
        fc_iter_next(m);
        return true;
    }
    *steps = 0;
    bool past = v->at_tag == 0 && fc_key_equal(m->key, bytes_slice(&v->at));
    if (!past && !place(v, m->key, fc_tag_seek(v->options.snapshot)))
        return false;
    fc_iter_seek(m, bytes_slice(&v->at), v->at_tag);
    return true;
}

/* From where the merge stands to the first entry to show. Versions of the key `at` are past when at_tag is 0. */
static void find_forwards(view *v)
{
    fc_iter *m = v->merge;
    uint32_t steps = 0;
    v->v.error = 0;
    v->v.valid = false;
    while (m->valid) {
        bool past = v->at_tag == 0 && fc_key_equal(m->key, bytes_slice(&v->at));
        if (past || fc_tag_seq(m->tag) > v->options.snapshot) {
            if (!pass(v, &steps))
                return;
        } else if (lives(v, m->key, m->tag, m->value)) {
            v->v.key = m->key;
            v->v.tag = m->tag;
            v->v.valid = true;
            return;
        } else if (v->v.error < 0 || !place(v, m->key, 0)) {
            return;
        } else if (!leap(v)) {
            fc_iter_next(m);
        }
        if (m->valid && enough(v)) { /* the next call begins with the entry that comes now */
            past = v->at_tag == 0 && fc_key_equal(m->key, bytes_slice(&v->at));
            if (!past)
                place(v, m->key, m->tag);
            return;
        }
    }
    v->v.error = m->error;
}

static void go_forwards(view *v)
{
    v->run = v->covered = 0;
    v->backwards = false;
    fc_iter_seek(v->merge, bytes_slice(&v->at), v->at_tag);
    find_forwards(v);
}

void fc_view_seek(fc_view *public, fc_slice key)
{
    view *v = (view *)public;
    if (place(v, key, UINT64_MAX))
        go_forwards(v);
}

void fc_view_first(fc_view *public) { fc_view_seek(public, (fc_slice){"", 0}); }

void fc_view_next(fc_view *public)
{
    view *v = (view *)public;
    if (v->v.valid && !place(v, v->v.key, 0))
        return;
    if (!v->v.valid || v->backwards) {
        go_forwards(v);
        return;
    }
    v->run = v->covered = 0;
    fc_iter_next(v->merge);
    find_forwards(v);
}

/* --- backwards -------------------------------------------------------------------------------------------------- */

/* To the last entry below (key, tag). */
static void merge_below(fc_iter *m, fc_slice key, uint64_t tag)
{
    fc_iter_seek(m, key, tag);
    if (m->valid)
        fc_iter_prev(m);
    else if (m->error == 0)
        fc_iter_last(m);
}

/* Notes the version that the merge stands on. */
static bool note(view *v)
{
    v->v.tag = v->merge->tag;
    if (bytes_set(&v->value, v->merge->value.p, v->merge->value.n))
        return true;
    fail(v, -ENOMEM);
    return false;
}

/* The newest version that the snapshot sees of the key the merge stands on the oldest entry of; then on to the key
 * before. Versions come oldest first, so each one seen replaces the one before. False: there is no key, or an error. */
static bool gather(view *v, bool *seen)
{
    fc_iter *m = v->merge;
    *seen = false;
    if (m->valid && !bytes_set(&v->found, m->key.p, m->key.n)) {
        fail(v, -ENOMEM);
        return false;
    }
    bool here = m->valid;
    fc_slice key = bytes_slice(&v->found);
    for (uint32_t steps = 0; m->valid && fc_key_equal(m->key, key); fc_iter_prev(m)) {
        bool sees = fc_tag_seq(m->tag) <= v->options.snapshot;
        if (sees && !note(v))
            return false;
        *seen = *seen || sees;
        if (++steps <= STEPS_MAX)
            continue;
        fc_iter_seek(m, key, fc_tag_seek(v->options.snapshot));
        if (m->valid && fc_key_equal(m->key, key) && !note(v))
            return false;
        if (m->error == 0)
            merge_below(m, key, UINT64_MAX);
        break;
    }
    v->v.error = m->error;
    return here && m->error == 0;
}

static void find_backwards(view *v)
{
    bool seen;
    v->v.error = 0;
    v->v.valid = false;
    while (gather(v, &seen)) {
        fc_slice key = bytes_slice(&v->found);
        if (seen && lives(v, key, v->v.tag, bytes_slice(&v->value))) {
            v->v.key = key;
            v->v.valid = true;
            return;
        }
        if (v->v.error < 0 || !place(v, key, UINT64_MAX) || enough(v))
            return;
        leap(v);
    }
}

static void go_backwards(view *v)
{
    fc_iter *m = v->merge;
    v->run = v->covered = 0;
    v->backwards = true;
    if (v->at_end)
        fc_iter_last(m);
    else
        merge_below(m, bytes_slice(&v->at), v->at_tag);
    find_backwards(v);
}

void fc_view_seek_back(fc_view *public, fc_slice key)
{
    view *v = (view *)public;
    if (place(v, key, 0))
        go_backwards(v);
}

void fc_view_last(fc_view *public)
{
    view *v = (view *)public;
    v->at_end = true;
    go_backwards(v);
}

void fc_view_prev(fc_view *public)
{
    view *v = (view *)public;
    if (v->v.valid && !place(v, v->v.key, UINT64_MAX))
        return;
    if (!v->v.valid || !v->backwards) {
        go_backwards(v);
        return;
    }
    v->run = v->covered = 0;
    find_backwards(v);
}
