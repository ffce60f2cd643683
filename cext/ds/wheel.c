#include "fc/wheel.h"

#include <string.h>

void fc_wheel_init(fc_wheel *w, uint64_t now)
{
    memset(w, 0, sizeof *w);
    w->now = now;
}

/* --- rings ------------------------------------------------------------------------------------------------------ */

static void append(fc_timer **ring, fc_timer *t)
{
    fc_timer *first = *ring;
    if (first == NULL) {
        t->next = t->prev = t;
        *ring = t;
        return;
    }
    t->next = first;
    t->prev = first->prev;
    first->prev->next = t;
    first->prev = t;
}

static void take(fc_timer **ring, fc_timer *t)
{
    if (*ring == t)
        *ring = t->next != t ? t->next : NULL;
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = t->prev = NULL;
}

/* --- places ----------------------------------------------------------------------------------------------------- */

typedef struct place {
    int level; /* -1: due */
    unsigned slot;
} place;

static place place_of(const fc_wheel *w, uint64_t at)
{
    if (at <= w->now)
        return (place){.level = -1};
    int level = (63 - __builtin_clzll(at ^ w->now)) / 6;
    return (place){level, (at >> (6 * level)) & (FC_WHEEL_SLOTS - 1)};
}

static void put(fc_wheel *w, fc_timer *t)
{
    place p = place_of(w, t->at);
    if (p.level < 0) {
        append(&w->due, t);
    } else {
        append(&w->slot[p.level][p.slot], t);
        w->occupied[p.level] |= 1ull << p.slot;
    }
}

void fc_wheel_cancel(fc_wheel *w, fc_timer *t)
{
    if (!fc_timer_armed(t))
        return;
    place p = place_of(w, t->at);
    fc_timer **ring = p.level < 0 ? &w->due : &w->slot[p.level][p.slot];
    take(ring, t);
    if (*ring == NULL && p.level >= 0)
        w->occupied[p.level] &= ~(1ull << p.slot);
    w->count--;
}

void fc_wheel_add(fc_wheel *w, fc_timer *t, uint64_t at)
{
    fc_wheel_cancel(w, t);
    t->at = at > w->now ? at : w->now;
    put(w, t);
    w->count++;
}

void fc_wheel_set(fc_wheel *w, fc_timer *t, uint64_t at)
{
    fc_wheel_add(w, t, at > w->now ? at : w->now + 1);
}

/* --- time ------------------------------------------------------------------------------------------------------- */

/* The first occupied slot: slots at a level all lie ahead of the wheel's own position there (see place_of). */
static bool first_slot(const fc_wheel *w, place *p, uint64_t *start)
{
    for (int l = 0; l < FC_WHEEL_LEVELS; l++) {
        if (!w->occupied[l])
            continue;
        unsigned s = (unsigned)__builtin_ctzll(w->occupied[l]);
        uint64_t turn = l < FC_WHEEL_LEVELS - 1 ? ~((1ull << (6 * (l + 1))) - 1) : 0;
        *p = (place){l, s};
        *start = (w->now & turn) | ((uint64_t)s << (6 * l));
        return true;
    }
    return false;
}

fc_timer *fc_wheel_pop(fc_wheel *w, uint64_t now)
{
    place p;
    uint64_t start;
    while (w->due == NULL) {
        if (!first_slot(w, &p, &start) || start > now) {
            w->now = now > w->now ? now : w->now;
            return NULL;
        }
        fc_timer *ring = w->slot[p.level][p.slot];
        w->slot[p.level][p.slot] = NULL;
        w->occupied[p.level] &= ~(1ull << p.slot);
        w->now = start;
        if (p.level == 0) {
            w->due = ring;
            continue;
        }
        for (fc_timer *t; (t = ring) != NULL;) {
            take(&ring, t);
            put(w, t);
        }
    }
    fc_timer *t = w->due;
    take(&w->due, t);
    w->count--;
    return t;
}

size_t fc_wheel_advance(fc_wheel *w, uint64_t now, void *ctx)
{
    size_t fired = 0;
    for (fc_timer *t; (t = fc_wheel_pop(w, now)) != NULL; fired++)
        t->fn(t, ctx);
    return fired;
}

uint64_t fc_wheel_next(const fc_wheel *w)
{
    place p;
    uint64_t start;
    if (w->due != NULL)
        return w->due->at;
    return first_slot(w, &p, &start) ? start : UINT64_MAX;
}

uint64_t fc_wheel_deadline(const fc_wheel *w)
{
    place p;
    uint64_t start;
    if (w->due != NULL)
        return w->due->at;
    if (!first_slot(w, &p, &start))
        return UINT64_MAX;
    const fc_timer *first = w->slot[p.level][p.slot];
    uint64_t least = first->at;
    for (const fc_timer *t = first->next; t != first; t = t->next)
        least = t->at < least ? t->at : least;
    return least;
}

/* --- all of them ------------------------------------------------------------------------------------------------ */

fc_timer *fc_wheel_any(const fc_wheel *w)
{
    place p;
    uint64_t start;
    if (w->due != NULL)
        return w->due;
    return first_slot(w, &p, &start) ? w->slot[p.level][p.slot] : NULL;
}

static int each_of(fc_timer *first, int (*fn)(fc_timer *timer, void *ctx), void *ctx)
{
    int answer = 0;
    fc_timer *t = first;
    if (t == NULL)
        return 0;
    do {
        answer = fn(t, ctx);
        t = t->next;
    } while (answer == 0 && t != first);
    return answer;
}

int fc_wheel_each(const fc_wheel *w, int (*fn)(fc_timer *timer, void *ctx), void *ctx)
{
    int answer = each_of(w->due, fn, ctx);
    for (int l = 0; l < FC_WHEEL_LEVELS && answer == 0; l++)
        for (uint64_t left = w->occupied[l]; left != 0 && answer == 0; left &= left - 1)
            answer = each_of(w->slot[l][__builtin_ctzll(left)], fn, ctx);
    return answer;
}
