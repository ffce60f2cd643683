/* fc/wheel.h - a hierarchical timer wheel: O(1) set and cancel, pure (now comes in as an argument).
 *
 * Time is counted in ticks of whatever length the owner likes (a millisecond in fc/loop.h). Eleven levels of 64 slots cover
 * all of 64 bits, so no deadline is too far. A timer sits on the level of the highest 6-bit group in which its deadline
 * differs from the wheel's time, so it is moved at most once per level on its way down (Varghese & Lauck 1987, scheme 7).
 * One bitmap word per level finds the next occupied slot without scanning.
 *
 * Invariants
 *  1. A timer never fires before its deadline; it fires in the first fc_wheel_advance (or fc_wheel_pop) with now >= deadline.
 *  2. Timers fire in order of their deadlines, those of one tick in the order they were set.
 *  3. Which list holds a timer is a function of its deadline and the wheel's time alone.
 *  4. fc_timer is embedded in its owner; a zeroed timer is idle; an owner cancels it before it dies.
 *  5. A callback may set or cancel any timer, its own included.
 * Not thread safe: a wheel belongs to its loop.
 */
#ifndef FC_WHEEL_H
#define FC_WHEEL_H

#include "fc/base.h"

#define FC_WHEEL_LEVELS 11
#define FC_WHEEL_SLOTS 64

typedef struct fc_timer fc_timer;
typedef void (*fc_timer_fn)(fc_timer *timer, void *ctx);

struct fc_timer {
    fc_timer *next, *prev; /* a ring; NULL when idle */
    uint64_t at;
    fc_timer_fn fn; /* for fc_wheel_advance */
};

typedef struct fc_wheel {
    uint64_t now;
    size_t count;
    fc_timer *due; /* at <= now */
    uint64_t occupied[FC_WHEEL_LEVELS];
    fc_timer *slot[FC_WHEEL_LEVELS][FC_WHEEL_SLOTS]; /* the first of each ring: its prev is the last */
} fc_wheel;

void fc_wheel_init(fc_wheel *w, uint64_t now);
/* (Re)arm at `at`; a deadline that is not in the future fires at the next tick: a callback that arms itself for now does
 * not keep fc_wheel_advance for ever. */
void fc_wheel_set(fc_wheel *w, fc_timer *t, uint64_t at);
/* (Re)arm at `at`; a deadline that is not in the future counts as now and is due at once. For owners that call
 * fc_wheel_pop and so decide themselves when they have had enough. */
void fc_wheel_add(fc_wheel *w, fc_timer *t, uint64_t at);
void fc_wheel_cancel(fc_wheel *w, fc_timer *t);

/* Fire everything due; returns how many fired. `ctx` is handed to the callbacks. */
size_t fc_wheel_advance(fc_wheel *w, uint64_t now, void *ctx);
/* The next timer that is due, disarmed, or NULL. While there are any, the wheel's time is the deadline of the one given
 * out; with NULL it becomes now, if that is later. */
fc_timer *fc_wheel_pop(fc_wheel *w, uint64_t now);

/* A time not later than the next deadline (exact within the lowest level), UINT64_MAX when empty. O(1). */
uint64_t fc_wheel_next(const fc_wheel *w);
/* The next deadline itself, UINT64_MAX when empty. Looks at each timer of one slot: those whose deadlines are closer to
 * each other than to now. */
uint64_t fc_wheel_deadline(const fc_wheel *w);

/* Any armed timer, or NULL: for owners who cancel all. */
fc_timer *fc_wheel_any(const fc_wheel *w);
/* Calls fn for every armed timer until one call does not return 0; returns what that one did. fn changes no timer. */
int fc_wheel_each(const fc_wheel *w, int (*fn)(fc_timer *timer, void *ctx), void *ctx);

static inline bool fc_timer_armed(const fc_timer *t) { return t->next != NULL; }

#endif
