/* The wheel against a list: random sets, cancels and jumps in time; what fires, and when, must be the same. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/wheel.h"

#define TIMERS 200

typedef struct twin {
    fc_timer timer;
    uint64_t due; /* model: 0 idle */
    uint64_t set; /* model: when, counted in settings */
    unsigned fired;
} twin;

static twin twins[TIMERS];
static uint64_t seed = 1;
static uint64_t advancing_to, last_fired_at, last_fired_set, settings;
static fc_wheel *const no_wheel = NULL;

static uint64_t rnd(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

static void on_fire(fc_timer *timer, void *ctx)
{
    twin *t = FC_CONTAINER_OF(timer, twin, timer);
    fc_wheel *w = ctx;
    CHECK(t->due != 0);
    CHECK(t->due <= advancing_to);
    CHECK(w->now <= advancing_to && w->now >= t->due);
    CHECK(t->due > last_fired_at || (t->due == last_fired_at && t->set > last_fired_set));
    last_fired_at = t->due;
    last_fired_set = t->set;
    t->due = 0;
    t->fired++;
    if (rnd(4) == 0) { /* a callback may arm itself or cancel another */
        t->due = w->now + 1 + rnd(500);
        t->set = ++settings;
        fc_wheel_set(w, timer, t->due);
    }
    if (rnd(4) == 0) {
        twin *other = &twins[rnd(TIMERS)];
        fc_wheel_cancel(w, &other->timer);
        other->due = 0;
    }
}

static void against_model(uint64_t start, uint64_t reach)
{
    fc_wheel w;
    fc_wheel_init(&w, start);
    memset(twins, 0, sizeof twins);
    for (int i = 0; i < TIMERS; i++)
        twins[i].timer.fn = on_fire;
    uint64_t now = start;
    for (int step = 0; step < 20000; step++) {
        twin *t = &twins[rnd(TIMERS)];
        switch (rnd(4)) {
        case 0:
        case 1:
            t->due = now + 1 + rnd(rnd(2) ? 100 : reach);
            t->set = ++settings;
            fc_wheel_set(&w, &t->timer, t->due);
            break;
        case 2:
            fc_wheel_cancel(&w, &t->timer);
            t->due = 0;
            break;
        default:
            now += rnd(8) ? rnd(50) : rnd(reach);
            advancing_to = now;
            last_fired_at = last_fired_set = 0;
            fc_wheel_advance(&w, now, &w);
            for (int i = 0; i < TIMERS; i++)
                CHECK(twins[i].due == 0 || twins[i].due > now);
        }
        size_t armed = 0;
        uint64_t next = UINT64_MAX;
        for (int i = 0; i < TIMERS; i++) {
            CHECK(fc_timer_armed(&twins[i].timer) == (twins[i].due != 0));
            armed += twins[i].due != 0;
            if (twins[i].due && twins[i].due < next)
                next = twins[i].due;
        }
        CHECK(w.count == armed);
        CHECK(fc_wheel_deadline(&w) == next);
        CHECK(fc_wheel_next(&w) <= next);
        CHECK((fc_wheel_next(&w) == UINT64_MAX) == (armed == 0));
        if (next != UINT64_MAX && next >> 6 == w.now >> 6)
            CHECK(fc_wheel_next(&w) == next);
    }
}

static void past_and_far_deadlines(void)
{
    fc_wheel w;
    fc_wheel_init(&w, 1000);
    memset(twins, 0, sizeof twins);
    twins[0].timer.fn = twins[1].timer.fn = on_fire;
    fc_wheel_set(&w, &twins[0].timer, 5); /* already past: the next tick */
    CHECK(fc_wheel_next(&w) == 1001);
    fc_wheel_set(&w, &twins[1].timer, UINT64_MAX); /* the last tick there is */
    CHECK(fc_timer_armed(&twins[1].timer));
    CHECK(w.count == 2);
    CHECK(fc_wheel_pop(&w, UINT64_MAX - 1) == &twins[0].timer);
    CHECK(fc_wheel_pop(&w, UINT64_MAX - 1) == NULL);
    CHECK(fc_wheel_deadline(&w) == UINT64_MAX && w.count == 1);
    CHECK(fc_wheel_pop(&w, UINT64_MAX) == &twins[1].timer);
    fc_wheel_cancel(&w, &twins[1].timer);
    CHECK(w.count == 0 && fc_wheel_next(&w) == UINT64_MAX && fc_wheel_deadline(&w) == UINT64_MAX);
    CHECK(fc_wheel_advance(&w, 1u << 30, no_wheel) == 0);
    CHECK(w.now == UINT64_MAX); /* time does not go backwards */
}

/* Each deadline is one bit away from now: every level and every slot boundary is met, and none is a tick early. */
static void every_level_is_exact(void)
{
    for (uint64_t start = 0; start < 3; start++) {
        for (int bit = 2; bit < 64; bit++) {
            fc_wheel w;
            fc_timer t = {0};
            fc_wheel_init(&w, start);
            fc_wheel_set(&w, &t, 1ull << bit);
            CHECK(fc_wheel_pop(&w, (1ull << bit) - 1) == NULL);
            CHECK(w.count == 1);
            CHECK(fc_wheel_pop(&w, 1ull << bit) == &t);
        }
    }
}

static void added_for_now_is_due_at_once(void)
{
    fc_wheel w;
    fc_timer t[4] = {{0}};
    fc_wheel_init(&w, 100);
    fc_wheel_add(&w, &t[0], 100);
    fc_wheel_add(&w, &t[1], 7);
    fc_wheel_add(&w, &t[2], 101);
    fc_wheel_add(&w, &t[3], 99);
    CHECK(fc_wheel_next(&w) == 100 && fc_wheel_deadline(&w) == 100);
    CHECK(fc_wheel_pop(&w, 0) == &t[0]);
    fc_wheel_cancel(&w, &t[1]);
    CHECK(fc_wheel_deadline(&w) == 100); /* 99 counts as now */
    CHECK(fc_wheel_pop(&w, 0) == &t[3]);
    CHECK(fc_wheel_pop(&w, 0) == NULL);
    CHECK(w.now == 100);
    fc_wheel_add(&w, &t[2], 50); /* rearmed, from ahead to due */
    CHECK(w.count == 1 && w.occupied[0] == 0);
    CHECK(fc_wheel_pop(&w, 100) == &t[2]);
    CHECK(w.count == 0);
}

/* pop stops between two that are due: what is set meanwhile takes its place in the order. */
static void set_between_two_pops(void)
{
    fc_wheel w;
    fc_timer t[4] = {{0}};
    fc_wheel_init(&w, 0);
    fc_wheel_add(&w, &t[0], 70);
    fc_wheel_add(&w, &t[1], 5000);
    CHECK(fc_wheel_pop(&w, 9000) == &t[0]);
    CHECK(w.now == 70);
    fc_wheel_add(&w, &t[2], 300);
    fc_wheel_add(&w, &t[3], 60);
    CHECK(fc_wheel_pop(&w, 9000) == &t[3]);
    CHECK(fc_wheel_pop(&w, 9000) == &t[2]);
    CHECK(fc_wheel_pop(&w, 9000) == &t[1]);
    CHECK(w.now == 5000);
    CHECK(fc_wheel_pop(&w, 9000) == NULL);
    CHECK(w.now == 9000);
}

typedef struct visit {
    size_t seen, stop_after;
    uint64_t sum;
} visit;

static int see(fc_timer *timer, void *ctx)
{
    visit *v = ctx;
    v->sum += timer->at;
    return ++v->seen == v->stop_after ? 7 : 0;
}

static void all_are_visited_once(void)
{
    fc_wheel w;
    fc_timer t[300] = {{0}};
    uint64_t sum = 0;
    fc_wheel_init(&w, 10);
    CHECK(fc_wheel_any(&w) == NULL);
    for (uint64_t i = 0; i < FC_ARRAY_LEN(t); i++) {
        uint64_t at = 10 + i * i * i;
        fc_wheel_add(&w, &t[i], at);
        sum += at;
    }
    visit all = {.stop_after = 0}, some = {.stop_after = 5};
    CHECK(fc_wheel_each(&w, see, &all) == 0 && all.seen == FC_ARRAY_LEN(t) && all.sum == sum);
    CHECK(fc_wheel_each(&w, see, &some) == 7 && some.seen == 5);
    for (fc_timer *any; (any = fc_wheel_any(&w)) != NULL;)
        fc_wheel_cancel(&w, any);
    CHECK(w.count == 0 && w.now == 10);
    for (int l = 0; l < FC_WHEEL_LEVELS; l++)
        CHECK(w.occupied[l] == 0);
}

int main(void)
{
    against_model(0, 5000);
    against_model(123456789, 1 << 20);
    against_model((1ull << 36) - 3000, 1 << 26); /* crosses a turn of the sixth level */
    against_model((1ull << 60) - 3000, 1ull << 50); /* and of the last */
    past_and_far_deadlines();
    every_level_is_exact();
    added_for_now_is_due_at_once();
    set_between_two_pops();
    all_are_visited_once();
    return check_done("test_wheel");
}
