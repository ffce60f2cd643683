/* Compaction that was asked for: level after level from the top, each from the front of the range to its end, in jobs
 * of bounded size between which others take their turn. */
#include <errno.h>
#include <stdlib.h>

#include "store_internal.h"

static fc_slice slice_of(const store_key *k) { return (fc_slice){k->p ? k->p : "", k->n}; }

static bool copy(store_key *to, fc_slice from)
{
    char *p = malloc(from.n + 1);
    if (p == NULL)
        return false;
    if (from.n)
        memcpy(p, from.p, from.n);
    free(to->p);
    *to = (store_key){p, from.n};
    return true;
}

/* --- the worker's side ------------------------------------------------------------------------------------------ */

int store_ask_pick(fc_store *s, store_ask *ask, const fc_pick_level *levels, const fc_pick_options *options,
                   fc_pick *pick)
{
    for (; ask->level < FC_STORE_LEVELS; ask->level++, ask->at.n = 0) {
        fc_slice at = slice_of(&ask->at), begin = slice_of(&ask->begin);
        fc_slice from = fc_key_compare(at, begin) > 0 ? at : begin;
        int error = fc_compaction_pick_range(levels, options, ask->level, from, slice_of(&ask->end), pick);
        if (error < 0 || pick->reason)
            return error < 0 ? error : 1;
    }
    store_ask_finish(s, ask, 0);
    return 0;
}

int store_ask_advance(store_ask *ask, const fc_pick *pick, const fc_pick_level *levels)
{
    if (pick->level == 0) {
        ask->level = 1;
        return 0;
    }
    const fc_pick_level *l = &levels[pick->level];
    return copy(&ask->at, l->tables[pick->upper[pick->upper_n - 1]].meta->largest) ? 0 : -ENOMEM;
}

/* With the lock held. */
static void unref(store_ask *ask)
{
    if (--ask->refs)
        return;
    store_keyspace_unref(ask->keyspace);
    free(ask->begin.p);
    free(ask->end.p);
    free(ask->at.p);
    free(ask);
}

void store_ask_finish(fc_store *s, store_ask *ask, int error)
{
    pthread_mutex_lock(&s->lock);
    store_ask **at = &s->asks;
    while (*at != ask)
        at = &(*at)->next;
    *at = ask->next;
    ask->done = true;
    ask->error = error;
    pthread_cond_broadcast(&s->progress);
    unref(ask);
    pthread_mutex_unlock(&s->lock);
}

/* --- the asker's side ------------------------------------------------------------------------------------------- */

static store_ask *ask_new(fc_slice begin, fc_slice end)
{
    store_ask *ask = calloc(1, sizeof *ask);
    if (ask && copy(&ask->begin, begin) && copy(&ask->end, end)) {
        ask->refs = 2;
        return ask;
    }
    if (ask)
        free(ask->begin.p);
    free(ask);
    return NULL;
}

/* With the lock held. */
static int queue(fc_store *s, uint32_t keyspace, store_ask *ask)
{
    store_keyspace *ks = store_find(s, keyspace);
    int error = store_state(s);
    if (error == 0 && ks == NULL)
        error = FC_STORE_ENOKEYSPACE;
    if (error < 0)
        return error;
    store_keyspace_ref(ks);
    ask->keyspace = ks;
    store_ask **at = &s->asks;
    while (*at)
        at = &(*at)->next;
    *at = ask;
    store_ask_compaction(s);
    return 0;
}

int fc_store_compact(fc_store *s, uint32_t keyspace, fc_slice begin, fc_slice end)
{
    int error = fc_store_flush(s, keyspace);
    store_ask *ask = error == 0 ? ask_new(begin, end) : NULL;
    if (ask == NULL)
        return error < 0 ? error : -ENOMEM;
    pthread_mutex_lock(&s->lock);
    error = queue(s, keyspace, ask);
    if (error < 0) {
        pthread_mutex_unlock(&s->lock);
        free(ask->begin.p);
        free(ask->end.p);
        free(ask);
        return error;
    }
    while (error == 0 && !ask->done) {
        error = store_state(s);
        if (error == 0)
            error = store_progress(s, NULL);
    }
    if (ask->done)
        error = ask->error;
    ask->gone = true;
    unref(ask);
    pthread_mutex_unlock(&s->lock);
    return error > 0 ? -ENOSPC : error; /* with no threads: another job has found no room, and nothing else can be done */
}
